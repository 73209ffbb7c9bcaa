/*
 * cpu_rig.c - sizes and numbers at random but repeatable, and one op on two backends.
 */
#include "backend/cpu_rig.h"

#include <math.h>

const char *const *cpu_isas(void)
{
    static const char *const all[] = {"avx512bf16", "avx512", "avx2", "baseline"};
    static const char *here[5];
    const dt_backend *backend;
    int count = 0;
    for (int i = 0; i < 4; i++)
        if (dt_backend_find(&backend, "cpu", DT_F32, all[i], NULL) == DT_OK)
            here[count++] = all[i];
    here[count] = NULL;
    return here;
}

static uint32_t next(cpu_dice *dice)
{
    dice->state = dice->state * 1664525u + 1013904223u;
    uint32_t x = dice->state ^ dice->state >> 16;
    x *= 0x45d9f3bu;
    return x ^ x >> 16;
}

int64_t cpu_roll(cpu_dice *dice, int64_t low, int64_t high)
{
    return low + (int64_t)(next(dice) % (uint64_t)(high - low + 1));
}

int64_t cpu_size(cpu_dice *dice, int64_t most)
{
    double x = exp(log((double)most + 1) * ((double)next(dice) / 4294967296.0));
    int64_t size = (int64_t)x;
    return size < 1 ? 1 : size > most ? most : size;
}

float *cpu_floats(cpu_dice *dice, int64_t n, float size)
{
    float *x = malloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = size * ((float)next(dice) / 2147483648.0f - 1.0f);
    return x;
}

int32_t *cpu_ids(cpu_dice *dice, int64_t n, int64_t low, int64_t limit)
{
    int32_t *x = malloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (int32_t)cpu_roll(dice, low, limit - 1);
    return x;
}

void cpu_free_operands(rig_case *c)
{
    for (int i = 0; i < DT_OP_MAX_INPUTS; i++)
        if (c->in[i].role != RIG_ABSENT && c->in[i].role != RIG_STATE)
            free(c->in[i].data);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double most = 1e-30, worst = 0;
    for (int64_t i = 0; i < n; i++)
        most = fabs((double)b[i]) > most ? fabs((double)b[i]) : most;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]) / most;
        if (!(d <= worst))
            worst = d;
    }
    return worst;
}

static void say_case(const rig_case *c, char *text, size_t bytes)
{
    int at = snprintf(text, bytes, "%s %s %s threads %d:", dt_op_info_of(c->kind)->name, c->isa,
                      dt_dtype_name(c->dtype), c->threads);
    for (int i = 0; i < DT_OP_MAX_INPUTS && at < (int)bytes; i++)
        if (c->in[i].role != RIG_ABSENT)
            at += snprintf(text + at, bytes - (size_t)at, " [%lld, %lld]", (long long)c->in[i].dim[0],
                           (long long)c->in[i].dim[1]);
}

void cpu_agrees(rig_case *c, const char *isa, double tolerance)
{
    char text[512];
    rig_case truth = *c;
    truth.backend = "reference";
    truth.isa = NULL;
    c->backend = "cpu";
    c->isa = isa;
    rig_result expected = rig_run(&truth), found = rig_run(c);
    say_case(c, text, sizeof text);
    assert_int_equal(expected.count, found.count);
    for (int i = 0; i < found.count; i++) {
        assert_int_equal(expected.out[i] == NULL, found.out[i] == NULL);
        if (found.out[i] == NULL)
            continue;
        assert_int_equal(expected.n[i], found.n[i]);
        double d = distance(found.out[i], expected.out[i], found.n[i]);
        if (!(d <= tolerance))
            fail_msg("%s output %d is %.3g from the reference, more than %.3g", text, i, d, tolerance);
    }
    rig_free(&expected), rig_free(&found);
}

rig_case cpu_slice(const rig_case *c, int64_t row, int64_t rows)
{
    rig_case slice = *c;
    for (int i = 0; i < DT_OP_MAX_INPUTS; i++) {
        rig_operand *o = &slice.in[i];
        if (o->axis == NULL)
            continue;
        int64_t width = (o->rank > 1 ? o->dim[1] : 1) * (o->rank > 2 ? o->dim[2] : 1);
        o->dim[0] = rows;
        o->data = (char *)o->data + row * width * 4; /* f32 and i32 alike */
    }
    return slice;
}
