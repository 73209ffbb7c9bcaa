/*
 * row_wise_test.c - what ops.def calls row-wise is: a row's result has the same bits alone, among any neighbours,
 * in any order, with any number of threads. A row-wise op without a case here fails.
 */
#include "backend/op_rig.h"

enum { T = 11, K = 24, N = 18, V = 9 };

/* An operand: 'x' [T, a] rows, 'y' [T, a, b] rows, 'e' [T, a] ids below b, 'v' [T] rows, 'i' [T] ids below a, 'w' parameter [a, b], 'f' fixed [a], '-' absent. */
typedef struct part {
    char what;
    int64_t a, b;
} part;

typedef struct row_case {
    dt_op_kind kind;
    dt_attributes attr;
    part in[6];
} row_case;

#define NONE                                                                                                 \
    {                                                                                                        \
        .scale = { 0 }                                                                                       \
    }
#define NORM                                                                                                 \
    {                                                                                                        \
        .norm = {.eps = 1e-6 }                                                                               \
    }
#define ACT                                                                                                  \
    {                                                                                                        \
        .activation = {.kind = DT_ACT_GELU }                                                                 \
    }
#define PARTS                                                                                                \
    {                                                                                                        \
        .split = {.groups = 2, .parts = 2, .width = {7, 5} }                                                 \
    }
#define ROPE                                                                                                 \
    {                                                                                                        \
        .rope = {.spec = {.heads = 2, .magnitude = 1} }                                                      \
    }
#define ROUTE                                                                                                \
    {                                                                                                        \
        .route = {.topk = 2, .pre_softmax = true }                                                           \
    }
#define EXPERTS                                                                                              \
    {                                                                                                        \
        .experts = {.count = 3 }                                                                             \
    }
#define FUSED                                                                                                \
    {                                                                                                        \
        .fused = {.has_norm = true, .glu = true, .kind = DT_ACT_SILU, .eps = 1e-6 }                          \
    }

static const row_case cases[] = {
    {DT_OP_embedding, NONE, {{'w', V, K}, {'i', V, 0}}},
    {DT_OP_sinusoid, {.sinusoid = {.width = 9, .first = 2}}, {{'i', 5000, 0}, {'f', 8, 0}}},
    {DT_OP_linear, NONE, {{'x', K, 0}, {'w', N, K}, {'w', N, 0}}},
    {DT_OP_rms_norm, NORM, {{'x', K, 0}, {'w', K, 0}}},
    {DT_OP_layer_norm, NORM, {{'x', K, 0}, {'w', K, 0}, {'w', K, 0}}},
    {DT_OP_add, NONE, {{'x', K, 0}, {'x', K, 0}}},
    {DT_OP_multiply, NONE, {{'x', K, 0}, {'x', K, 0}}},
    {DT_OP_blend_rows, NONE, {{'w', V, K}, {'e', 3, V}, {'x', 3, 0}}},
    {DT_OP_scale_columns, NONE, {{'x', K, 0}, {'w', K, 0}}},
    {DT_OP_scale, {.scale = {.factor = 0.3}}, {{'x', K, 0}}},
    {DT_OP_activate, ACT, {{'x', K, 0}}},
    {DT_OP_glu, ACT, {{'x', K, 0}}},
    {DT_OP_split_groups, PARTS, {{'x', 24, 0}}},
    {DT_OP_join_groups, PARTS, {{'x', 14, 0}, {'x', 10, 0}}},
    {DT_OP_rope, ROPE, {{'x', K, 0}, {'i', 5000, 0}, {'f', 5, 0}}},
    {DT_OP_cross_entropy, NONE, {{'x', V, 0}, {'i', V, 0}}},
    {DT_OP_fused_linear,
     FUSED,
     {{'x', K, 0}, {'w', N, K}, {'w', N, 0}, {'w', K, 0}, {'w', K, 0}, {'x', N / 2, 0}}},
    {DT_OP_linear_dx, NONE, {{'x', N, 0}, {'w', N, K}}},
    {DT_OP_rms_norm_dx, NORM, {{'x', K, 0}, {'w', K, 0}, {'x', K, 0}}},
    {DT_OP_layer_norm_dx, NORM, {{'x', K, 0}, {'w', K, 0}, {'x', K, 0}}},
    {DT_OP_activate_grad, ACT, {{'x', K, 0}, {'x', K, 0}}},
    {DT_OP_glu_grad, ACT, {{'x', K, 0}, {'x', K / 2, 0}}},
    {DT_OP_cross_entropy_grad, NONE, {{'x', V, 0}, {'i', V, 0}, {'v', 0, 0}}},
    {DT_OP_scale_by, NONE, {{'x', K, 0}, {'f', 1, 0}}},
    {DT_OP_route, ROUTE, {{'x', V, 0}, {'w', V, 0}}},
    {DT_OP_expert_linear, EXPERTS, {{'x', K, 0}, {'w', 3 * N, K}, {'e', 2, 3}, {'w', 3 * N, 0}}},
    {DT_OP_sum_choices, NONE, {{'y', 2, K}, {'x', 2, 0}}},
    {DT_OP_route_grad, ROUTE, {{'x', V, 0}, {'e', 2, V}, {'x', 2, 0}}},
    {DT_OP_expert_linear_dx, EXPERTS, {{'y', 2, N}, {'w', 3 * N, K}, {'e', 2, 3}}},
    {DT_OP_spread_choices, NONE, {{'x', K, 0}, {'x', 2, 0}}},
    {DT_OP_choice_dots, NONE, {{'y', 2, K}, {'x', K, 0}}},
};

static const row_case *case_of(dt_op_kind kind)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (cases[i].kind == kind)
            return &cases[i];
    return NULL;
}

/* The operands of a case with rows[0..count) of the T rows that each of them has. */
static void fill(rig_case *c, const row_case *from, const int *rows, int64_t count)
{
    for (int i = 0; i < 6; i++) {
        part p = from->in[i];
        int64_t width = p.what == 'x' || p.what == 'e' ? p.a
                        : p.what == 'y'                ? p.a * p.b
                                                       : 1,
                n = p.what == 'w' ? p.a * (p.b ? p.b : 1) : p.a;
        bool has_rows = p.what != 'w' && p.what != 'f';
        float *all = rig_numbers(has_rows ? T * width : n, (uint32_t)(100 + i));
        if (p.what == 0) {
            free(all);
            continue;
        }
        float *picked = has_rows ? malloc((size_t)(count * width + 1) * sizeof *picked) : all;
        assert_non_null(picked);
        for (int64_t t = 0; has_rows && t < count; t++)
            memcpy(picked + t * width, all + rows[t] * width, (size_t)width * sizeof *all);
        for (int64_t at = 0; (p.what == 'i' || p.what == 'e') && at < count * width; at++) {
            float place = (all[rows[at / width] * width + at % width] + 1.0f) / 2.0f;
            ((int32_t *)picked)[at] = (int32_t)(place * (float)(p.what == 'i' ? p.a : p.b));
        }
        if (has_rows)
            free(all);
        c->in[i] = p.what == 'x'   ? rig_rows(count, p.a, picked)
                   : p.what == 'v' ? rig_vector(count, picked)
                   : p.what == 'i' ? rig_ids(count, (int32_t *)picked)
                   : p.what == 'e' ? rig_choices(count, p.a, (int32_t *)picked)
                   : p.what == 'y' ? rig_planes(count, p.a, p.b, picked)
                   : p.what == 'w' ? rig_weight(p.a, p.b, picked)
                                   : rig_fixed(p.a, picked);
    }
}

/* Run the case on some of its rows; one result row a picked row. */
static rig_result run_rows(const row_case *from, dt_dtype dtype, const int *rows, int64_t count, int threads)
{
    rig_case c = {
        .kind = from->kind, .attr = from->attr, .dtype = dtype, .threads = threads, .slack = count % 3};
    fill(&c, from, rows, count);
    rig_result r = rig_run(&c);
    for (int i = 0; i < 6; i++)
        free(c.in[i].data);
    return r;
}

/* Row rows[t] of `whole` is row t of `some`. */
static void compare_rows(const rig_result *whole, const rig_result *some, const int *rows, int64_t count)
{
    for (int i = 0; i < whole->count; i++) {
        int64_t width = whole->n[i] / T;
        assert_int_equal(some->n[i], width * count);
        for (int64_t t = 0; t < count; t++)
            assert_same_bits(some->out[i] + t * width, whole->out[i] + rows[t] * width, width);
    }
}

static void check_rows(const row_case *c, dt_dtype dtype, const rig_result *whole, const int *rows,
                       int64_t count, int threads)
{
    rig_result some = run_rows(c, dtype, rows, count, threads);
    compare_rows(whole, &some, rows, count);
    rig_free(&some);
}

static void check_case(const row_case *c, dt_dtype dtype)
{
    static const int in_order[T] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    static const int shuffled[T] = {7, 3, 10, 0, 5, 1, 9, 2, 8, 6, 4};
    rig_result whole = run_rows(c, dtype, in_order, T, 1);
    check_rows(c, dtype, &whole, in_order, T, 2);
    check_rows(c, dtype, &whole, in_order, T, 5);
    check_rows(c, dtype, &whole, shuffled, T, 3);
    check_rows(c, dtype, &whole, shuffled, 4, 1);
    for (int t = 0; t < T; t++)
        check_rows(c, dtype, &whole, &in_order[t], 1, 1 + t % 2);
    rig_free(&whole);
}

static void row_wise__every_such_op_has_a_case(void **state)
{
    for (int kind = 0; kind < DT_OP_COUNT; kind++)
        if (dt_op_info_of(kind)->row_wise != (case_of(kind) != NULL))
            fail_msg("%s: ops.def and the cases of this test disagree", dt_op_info_of(kind)->name);
}

static void row_wise__rows_keep_their_bits_in_any_company(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_case(&cases[i], DT_F32);
}

static void row_wise__so_they_do_with_bf16_weights(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_case(&cases[i], DT_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_wise__every_such_op_has_a_case),
        cmocka_unit_test(row_wise__rows_keep_their_bits_in_any_company),
        cmocka_unit_test(row_wise__so_they_do_with_bf16_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
