/*
 * cpu_bits_test.c - the cpu backend's products have the same bits for any number of rows, any place among them and
 * any number of threads, on every instruction set and in every type; and a fused product those of its parts.
 */
#include "backend/cpu_rig.h"

static const dt_dtype types[] = {DT_F32, DT_BF16, DT_F16, DT_Q8_0};

/* Row counts on both sides of every tile's and chunk's edge. */
enum { T = 470 };
static const int64_t counts[] = {1, 2, 3, 5, 6, 7, 13, 14, 15, 29, 97, 225, 300};

static void check_slices(rig_case *c)
{
    rig_result whole = rig_run(c);
    int64_t width = whole.n[0] / T;
    for (c->threads = 2; c->threads <= 3; c->threads++) {
        rig_result r = rig_run(c);
        assert_same_bits(r.out[0], whole.out[0], whole.n[0]);
        rig_free(&r);
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int64_t row = (int64_t)i * 11;
        rig_case some = cpu_slice(c, row, counts[i]);
        some.threads = 1 + (int)i % 3;
        some.slack = (int64_t)i;
        rig_result r = rig_run(&some);
        assert_same_bits(r.out[0], whole.out[0] + row * width, counts[i] * width);
        rig_free(&r);
    }
    rig_free(&whole);
}

static rig_case linear_case(const char *isa, dt_dtype dtype, int64_t K, int64_t N, cpu_dice *dice)
{
    rig_case c = {.kind = DT_OP_linear, .backend = "cpu", .isa = isa, .dtype = dtype};
    c.in[0] = rig_rows(T, K, cpu_floats(dice, T * K, 1));
    c.in[1] = rig_weight(N, K, cpu_floats(dice, N * K, 1));
    c.in[2] = rig_weight(N, 0, cpu_floats(dice, N, 1));
    return c;
}

static void cpu_bits__linear_rows_do_not_notice_company(void **state)
{
    cpu_dice dice = {1};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++)
        for (int t = 0; t < 4; t++) {
            rig_case c = linear_case(*isa, types[t], t == 3 ? 320 : 77, 51, &dice);
            check_slices(&c);
            cpu_free_operands(&c);
        }
}

static void cpu_bits__fused_rows_do_not_notice_company(void **state)
{
    cpu_dice dice = {2};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++)
        for (int t = 0; t < 4; t++) {
            rig_case c = linear_case(*isa, types[t], 288, 54, &dice);
            c.kind = DT_OP_fused_linear;
            c.attr = (dt_attributes){
                .fused = {.has_norm = true, .rms = t % 2, .glu = true, .kind = DT_ACT_SILU, .eps = 1e-5}};
            c.in[3] = rig_weight(288, 0, cpu_floats(&dice, 288, 1));
            c.in[5] = rig_rows(T, 27, cpu_floats(&dice, T * 27, 1));
            check_slices(&c);
            cpu_free_operands(&c);
        }
}

static void cpu_bits__input_gradients_do_not_notice_company(void **state)
{
    cpu_dice dice = {3};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++)
        for (int t = 0; t < 4; t++) {
            rig_case c = {.kind = DT_OP_linear_dx, .backend = "cpu", .isa = *isa, .dtype = types[t]};
            c.in[0] = rig_rows(T, 51, cpu_floats(&dice, T * 51, 1));
            c.in[1] = rig_weight(51, 64, cpu_floats(&dice, 51 * 64, 1));
            check_slices(&c);
            cpu_free_operands(&c);
        }
}

/* 4 experts of 51 outputs, which begin inside panels; choices of one row among 470 are gathered with others' and alone. */
static void cpu_bits__choices_do_not_notice_who_else_chose(void **state)
{
    cpu_dice dice = {6};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++)
        for (int t = 0; t < 8; t++) {
            bool back = t >= 4;
            int64_t K = t % 4 == 3 ? 320 : 77, N = t == 5 ? 52 : 51, wide = back ? N : K;
            rig_case c = {.backend = "cpu", .isa = *isa, .dtype = types[t % 4]};
            c.kind = back ? DT_OP_expert_linear_dx : DT_OP_expert_linear;
            c.attr.experts.count = 4;
            c.in[0] = rig_planes(T, 3, wide, cpu_floats(&dice, T * 3 * wide, 1));
            c.in[1] = rig_weight(4 * N, K, cpu_floats(&dice, 4 * N * K, 1));
            c.in[2] = rig_choices(T, 3, cpu_ids(&dice, T * 3, 0, 4));
            if (!back)
                c.in[3] = rig_weight(4 * N, 0, cpu_floats(&dice, 4 * N, 1));
            check_slices(&c);
            cpu_free_operands(&c);
        }
}

static void cpu_bits__weight_gradients_do_not_notice_threads(void **state)
{
    cpu_dice dice = {4};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++) {
        rig_case c = {.kind = DT_OP_linear_dw, .backend = "cpu", .isa = *isa};
        c.in[0] = rig_rows(T, 51, cpu_floats(&dice, T * 51, 1));
        c.in[1] = rig_rows(T, 77, cpu_floats(&dice, T * 77, 1));
        rig_result one = rig_run(&c);
        for (c.threads = 2; c.threads <= 3; c.threads++) {
            rig_result r = rig_run(&c);
            assert_same_bits(r.out[0], one.out[0], one.n[0]);
            rig_free(&r);
        }
        rig_free(&one), cpu_free_operands(&c);
    }
}

/* ---- fusion: the same little model with every pattern permitted and with none ---- */

typedef struct block {
    dt_graph *g;
    dt_tensor *out;
} block;

static dt_tensor *param(dt_graph *g, const char *name, int64_t rows, int64_t cols)
{
    return dt_graph_param(g, &(dt_param_spec){.name = name, .rank = cols ? 2 : 1, .dim = {rows, cols}});
}

enum { H = 64, F = 48 };

/* x + down(silu(gate(norm x)) * up(norm x)), then tanh(side(.)); `named` gives the norm's result a name. */
static block build_block(unsigned permit, bool named)
{
    dt_error err = {0};
    block b = {.g = dt_graph_create(&err)};
    dt_graph_permit(b.g, permit);
    dt_dim rows = {dt_graph_axis(b.g, "rows", 20), 0};
    dt_tensor *x = dt_graph_input(b.g, "x", DT_F32, 2, (dt_dim[]){rows, {NULL, H}});
    dt_tensor *n = dt_layer_norm(b.g, x, param(b.g, "nw", H, 0), param(b.g, "nb", H, 0), 1e-5, false);
    if (named)
        dt_point(b.g, n, "normed");
    dt_tensor *h =
        dt_glu(b.g, dt_linear(b.g, n, param(b.g, "up", 2 * F, H), param(b.g, "ub", 2 * F, 0)), DT_ACT_SILU);
    dt_tensor *y = dt_add(b.g, x, dt_linear(b.g, h, param(b.g, "down", H, F), NULL));
    b.out = dt_point(b.g, dt_activate(b.g, dt_linear(b.g, y, param(b.g, "side", H, H), NULL), DT_ACT_TANH),
                     "out");
    assert_ok(dt_graph_finish(b.g, &err), err);
    return b;
}

static int run_block(block *b, const char *isa, rig_arrays *arrays, float *x, float *out)
{
    dt_error err = {0};
    dt_pool *pool;
    dt_weights *weights;
    dt_executor *e;
    const dt_backend *backend;
    dt_data data;
    dt_weight_source source = rig_source(arrays);
    assert_ok(dt_backend_find(&backend, "cpu", DT_F32, isa, &err), err);
    assert_ok(dt_pool_create(&pool, 2, &err), err);
    assert_ok(dt_weights_create(&weights, &source, pool, &err), err);
    assert_ok(dt_executor_create(&e, backend, b->g, weights, pool, NULL, &err), err);
    assert_ok(dt_executor_bind(e, "x", x, &err), err);
    assert_ok(dt_executor_run(e, &err), err);
    assert_ok(dt_executor_read(e, "out", &data, &err), err);
    memcpy(out, data.data, 20 * H * sizeof *out);
    int ops = dt_executor_op_count(e);
    dt_executor_destroy(e), dt_weights_destroy(weights), dt_pool_destroy(pool), dt_graph_destroy(b->g);
    return ops;
}

static void cpu_bits__fusion_keeps_the_bits_and_the_names(void **state)
{
    cpu_dice dice = {5};
    float *x = cpu_floats(&dice, 20 * H, 2);
    rig_array array[] = {
        {"nw", dt_shape_of(1, (int64_t[]){H}), DT_F32, cpu_floats(&dice, H, 1)},
        {"nb", dt_shape_of(1, (int64_t[]){H}), DT_F32, cpu_floats(&dice, H, 1)},
        {"up", dt_shape_of(2, (int64_t[]){2 * F, H}), DT_F32, cpu_floats(&dice, 2 * F * H, 1)},
        {"ub", dt_shape_of(1, (int64_t[]){2 * F}), DT_F32, cpu_floats(&dice, 2 * F, 1)},
        {"down", dt_shape_of(2, (int64_t[]){H, F}), DT_F32, cpu_floats(&dice, H * F, 1)},
        {"side", dt_shape_of(2, (int64_t[]){H, H}), DT_F32, cpu_floats(&dice, H * H, 1)}};
    rig_arrays arrays = {.array = array, .count = 6};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++) {
        static float plain[20 * H], fused[20 * H], named[20 * H];
        block a = build_block(DT_FUSE_NONE, false), b = build_block(DT_FUSE_ALL, false),
              c = build_block(DT_FUSE_ALL, true);
        assert_int_equal(run_block(&a, *isa, &arrays, x, plain), 7);
        assert_int_equal(run_block(&b, *isa, &arrays, x, fused), 3);
        assert_int_equal(run_block(&c, *isa, &arrays, x, named), 4); /* a point stays */
        assert_same_bits(fused, plain, 20 * H);
        assert_same_bits(named, plain, 20 * H);
    }
    for (int i = 0; i < 6; i++)
        free((void *)array[i].data);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_bits__linear_rows_do_not_notice_company),
        cmocka_unit_test(cpu_bits__fused_rows_do_not_notice_company),
        cmocka_unit_test(cpu_bits__input_gradients_do_not_notice_company),
        cmocka_unit_test(cpu_bits__choices_do_not_notice_who_else_chose),
        cmocka_unit_test(cpu_bits__weight_gradients_do_not_notice_threads),
        cmocka_unit_test(cpu_bits__fusion_keeps_the_bits_and_the_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
