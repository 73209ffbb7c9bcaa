/*
 * reference_ops_test.c - the reference kernels against PyTorch in f64 (tests/golden/ops), and what every op promises.
 *
 * Kernels round once to f32, so 2e-7 of the largest value (two units in the last place) is all they may differ by.
 */
#include "backend/op_rig.h"

#include "../../golden/ops/torch_ops.h"

#include "backend/bucket.h"
#include "base/json.h"
#include "tensor/convert.h"

#include <math.h>

static const double tolerance = 2e-7;

/* rig_numbers times a power of two or small factor, as the script scales them. */
static float *scaled(int64_t n, uint32_t seed, float factor)
{
    float *x = rig_numbers(n, seed);
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
    return x;
}

/* Run, compare output 0 with what torch found, and free the operands. */
static void expect(const rig_case *c, const double *expected, int64_t n)
{
    rig_result r = rig_run(c);
    assert_int_equal(r.n[0], n);
    assert_near(r.out[0], expected, n, tolerance);
    rig_free(&r);
}

static void free_operands(rig_case *c)
{
    for (int i = 0; i < DT_OP_MAX_INPUTS; i++)
        if (c->in[i].role == RIG_FLOATS || c->in[i].role == RIG_WEIGHT)
            free(c->in[i].data);
}

static void reference_ops__activations_are_pytorchs(void **state)
{
    static const struct {
        dt_activation kind;
        const double *value, *slope;
    } rows[] = {
        {DT_ACT_GELU, torch_gelu, torch_gelu_slope},
        {DT_ACT_GELU_TANH, torch_gelu_tanh, torch_gelu_tanh_slope},
        {DT_ACT_QUICK_GELU, torch_quick_gelu, torch_quick_gelu_slope},
        {DT_ACT_RELU, torch_relu, torch_relu_slope},
        {DT_ACT_SQUARED_RELU, torch_squared_relu, torch_squared_relu_slope},
        {DT_ACT_SILU, torch_silu, torch_silu_slope},
        {DT_ACT_TANH, torch_tanh, torch_tanh_slope},
        {DT_ACT_SIGMOID, torch_sigmoid, torch_sigmoid_slope},
    };
    assert_int_equal(sizeof rows / sizeof rows[0], DT_ACT_COUNT - 1); /* all but the identity */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rig_case c = {.kind = DT_OP_activate, .attr.activation.kind = rows[i].kind};
        c.in[0] = rig_rows(3, 4, scaled(12, 1, 6));
        expect(&c, rows[i].value, 12);
        float *ones = scaled(12, 1, 0);
        for (int j = 0; j < 12; j++)
            ones[j] = 1;
        c.kind = DT_OP_activate_grad;
        c.in[1] = rig_rows(3, 4, ones);
        expect(&c, rows[i].slope, 12);
        free_operands(&c);
    }
}

static void reference_ops__gated_unit_is_pytorchs(void **state)
{
    rig_case c = {.kind = DT_OP_glu, .attr.activation.kind = DT_ACT_SILU};
    c.in[0] = rig_rows(2, 8, rig_numbers(16, 2));
    expect(&c, torch_swiglu, 8);
    c.kind = DT_OP_glu_grad;
    c.in[1] = rig_rows(2, 4, rig_numbers(8, 3));
    expect(&c, torch_swiglu_dx, 16);
    free_operands(&c);
}

static void check_norm(dt_op_kind kind, dt_op_kind dx, dt_op_kind dw, const double *y, const double *gx,
                       const double *gw)
{
    bool rms = kind == DT_OP_rms_norm;
    dt_attributes attr = {.norm = {.eps = 1e-3, .zero_centered = rms}};
    rig_operand x = rig_rows(3, 6, rig_numbers(18, 4)), w = rig_weight(6, 0, rig_numbers(6, 5));
    rig_operand b = rig_weight(6, 0, rig_numbers(6, 6)), dy = rig_rows(3, 6, rig_numbers(18, 7));
    rig_case forward = {.kind = kind, .attr = attr, .in = {x, w, rms ? (rig_operand){0} : b}};
    expect(&forward, y, 18);
    expect(&(rig_case){.kind = dx, .attr = attr, .in = {x, w, dy}}, gx, 18);
    expect(&(rig_case){.kind = dw, .attr = attr, .in = {x, dy}}, gw, 6);
    free(x.data), free(w.data), free(b.data), free(dy.data);
}

static void reference_ops__norms_are_pytorchs(void **state)
{
    check_norm(DT_OP_rms_norm, DT_OP_rms_norm_dx, DT_OP_rms_norm_dw, torch_rms_norm, torch_rms_norm_dx,
               torch_rms_norm_dw);
    check_norm(DT_OP_layer_norm, DT_OP_layer_norm_dx, DT_OP_layer_norm_dw, torch_layer_norm,
               torch_layer_norm_dx, torch_layer_norm_dw);
    rig_case bias = {.kind = DT_OP_column_sum, .in = {rig_rows(3, 6, rig_numbers(18, 7))}};
    expect(&bias, torch_layer_norm_db, 6);
    free_operands(&bias);
}

static void reference_ops__rope_is_transformers(void **state)
{
    float inv_freq[] = {1.0f, 0.1f};
    int32_t positions[] = {0, 7, 100000};
    rig_case c = {.kind = DT_OP_rope, .attr.rope.spec = {.heads = 2, .magnitude = 1.25}};
    c.in[0] = rig_rows(3, 12, rig_numbers(36, 8));
    c.in[1] = rig_ids(3, positions);
    c.in[2] = rig_fixed(2, inv_freq);
    expect(&c, torch_rope_halves, 36);
    c.attr.rope.spec.interleaved = true;
    expect(&c, torch_rope_pairs, 36);
    free(c.in[0].data);
}

/* Turning forth and back leaves x times the square of the magnitude. */
static void reference_ops__rope_turns_back(void **state)
{
    float inv_freq[] = {1.0f, 0.1f, 0.01f};
    int32_t positions[] = {5, 1000, 31, 2};
    rig_case c = {.kind = DT_OP_rope, .attr.rope.spec = {.heads = 1, .magnitude = 1.0}};
    c.in[0] = rig_rows(4, 6, rig_numbers(24, 9));
    c.in[1] = rig_ids(4, positions);
    c.in[2] = rig_fixed(3, inv_freq);
    rig_result there = rig_run(&c);
    double x[24];
    for (int i = 0; i < 24; i++)
        x[i] = ((float *)c.in[0].data)[i];
    free(c.in[0].data);
    c.in[0].data = there.out[0];
    c.attr.rope.inverse = true;
    expect(&c, x, 24);
    rig_free(&there);
}

static void reference_ops__cross_entropy_is_pytorchs(void **state)
{
    int32_t labels[] = {4, -100, 0};
    rig_case c = {.kind = DT_OP_cross_entropy, .attr.cross_entropy.vocab = 5};
    c.in[0] = rig_rows(3, 7, scaled(21, 21, 3));
    c.in[1] = rig_ids(3, labels);
    expect(&c, torch_cross_entropy, 3);
    c.kind = DT_OP_cross_entropy_grad;
    c.in[2] = rig_vector(3, rig_numbers(3, 22));
    expect(&c, torch_cross_entropy_dx, 21);
    free(c.in[0].data), free(c.in[2].data);
}

/* ---- small numbers that can be checked by hand ---- */

static void reference_ops__products_and_their_gradients(void **state)
{
    float x[] = {1, 2, 3, 4, 5, 6}, w[] = {1, 0, -1, 2, 1, 0, 0, 0, 4, 1, 1, 1}, bias[] = {10, 20, 30, 40};
    float dy[] = {1, 0, 2, 0, 0, 1, 0, 1};
    rig_case c = {.kind = DT_OP_linear,
                  .in = {rig_rows(2, 3, x), rig_weight(4, 3, w), rig_weight(4, 0, bias)}};
    expect(&c, (double[]){8, 24, 42, 46, 8, 33, 54, 55}, 8);
    c = (rig_case){.kind = DT_OP_linear_dx, .in = {rig_rows(2, 4, dy), rig_weight(4, 3, w)}};
    expect(&c, (double[]){1, 0, 7, 3, 2, 1}, 6);
    c = (rig_case){.kind = DT_OP_linear_dw, .in = {rig_rows(2, 4, dy), rig_rows(2, 3, x)}};
    expect(&c, (double[]){1, 2, 3, 4, 5, 6, 2, 4, 6, 4, 5, 6}, 12);
}

static void reference_ops__rows_are_gathered_and_added_back(void **state)
{
    float table[] = {1, 2, 3, 4, 5, 6}, dy[] = {1, 2, 10, 20, 100, 200, 1000, 2000};
    int32_t ids[] = {2, 0, 2, 2};
    rig_case c = {.kind = DT_OP_embedding, .in = {rig_weight(3, 2, table), rig_ids(4, ids)}};
    expect(&c, (double[]){5, 6, 1, 2, 5, 6, 5, 6}, 8);
    c = (rig_case){.kind = DT_OP_embedding_grad,
                   .in = {rig_ids(4, ids), rig_rows(4, 2, dy), rig_weight(3, 2, table)}};
    expect(&c, (double[]){10, 20, 0, 0, 1101, 2202}, 6);
    int32_t shifted[] = {1, 0, 1, 1};
    c = (rig_case){.kind = DT_OP_embedding,
                   .attr.embedding.first = 1,
                   .in = {rig_weight(3, 2, table), rig_ids(4, shifted)}};
    expect(&c, (double[]){5, 6, 3, 4, 5, 6, 5, 6}, 8);
    c = (rig_case){.kind = DT_OP_embedding_grad,
                   .attr.embedding.first = 1,
                   .in = {rig_ids(4, shifted), rig_rows(4, 2, dy), rig_weight(3, 2, table)}};
    expect(&c, (double[]){0, 0, 10, 20, 1101, 2202}, 6);
    c.attr.embedding.still = 1 + 1; /* the gradient of id 1 is dropped */
    expect(&c, (double[]){0, 0, 10, 20, 0, 0}, 6);
    c = (rig_case){.kind = DT_OP_take_rows, .in = {rig_on(rig_rows(3, 2, table), "source"), rig_ids(4, ids)}};
    expect(&c, (double[]){5, 6, 1, 2, 5, 6, 5, 6}, 8);
    c = (rig_case){.kind = DT_OP_put_rows,
                   .in = {rig_rows(4, 2, dy), rig_ids(4, ids), rig_on(rig_rows(3, 2, table), "source")}};
    expect(&c, (double[]){10, 20, 0, 0, 1101, 2202}, 6);
}

static void reference_ops__rows_of_two_sources_are_merged_and_parted(void **state)
{
    float x[] = {1, 2, 3, 4}, y[] = {5, 6, 7, 8, 9, 10}, dy[] = {1, 1, 2, 2, 4, 4, 8, 8};
    int32_t index[] = {1, -1, -3, 1};
    rig_operand a = rig_on(rig_rows(2, 2, x), "a"), b = rig_on(rig_rows(3, 2, y), "b");
    rig_case c = {.kind = DT_OP_merge_rows, .in = {a, b, rig_ids(4, index)}};
    expect(&c, (double[]){3, 4, 5, 6, 9, 10, 3, 4}, 8);
    c = (rig_case){.kind = DT_OP_put_rows, .in = {rig_rows(4, 2, dy), rig_ids(4, index), a}};
    expect(&c, (double[]){0, 0, 9, 9}, 4);
    c.attr.rows.other = true;
    c.in[2] = b;
    expect(&c, (double[]){2, 2, 0, 0, 4, 4}, 6);
}

static void reference_ops__rows_are_blended_and_columns_scaled(void **state)
{
    float table[] = {1, 2, 10, 20, INFINITY, 200}, weight[] = {0.5f, 0.25f, 0, 1}, dy[] = {4, 8, 1, 1};
    int32_t index[] = {0, 1, 2, 1};
    rig_operand picked = rig_choices(2, 2, index), weights = rig_rows(2, 2, weight);
    rig_case c = {.kind = DT_OP_blend_rows, .in = {rig_weight(3, 2, table), picked, weights}};
    expect(&c, (double[]){3, 6, 10, 20}, 4); /* a weight of 0 reads nothing */
    c = (rig_case){.kind = DT_OP_blend_grad,
                   .in = {rig_rows(2, 2, dy), picked, weights, rig_weight(3, 2, table)}};
    expect(&c, (double[]){2, 4, 2, 3, 0, 0}, 6);
    c = (rig_case){.kind = DT_OP_scale_columns, .in = {rig_rows(2, 2, dy), rig_weight(2, 0, weight)}};
    expect(&c, (double[]){2, 2, 0.5, 0.25}, 4);
}

static void reference_ops__cosines_become_logits(void **state)
{
    float cosine[] = {1, -0.5f, 0, 0.25f}, scale[] = {1.5f}, bias[] = {-2};
    double e = exp(1.5);
    rig_case c = {.kind = DT_OP_scale_exp, .in = {rig_rows(2, 2, cosine), rig_fixed(1, scale)}};
    expect(&c, (double[]){e, -e / 2, 0, e / 4}, 4);
    c.in[2] = rig_fixed(1, bias);
    expect(&c, (double[]){e - 2, -e / 2 - 2, -2, e / 4 - 2}, 4);
}

/* Rows of torch tables: Marian's of an odd width (a sine more than cosines), and M2M100's (a zero at the end). */
static void reference_ops__sinusoids_are_transformers(void **state)
{
    float marian[] = {1, (float)pow(10000, -2.0 / 5), (float)pow(10000, -4.0 / 5), 0, 0, 0};
    for (int i = 0; i < 3; i++)
        marian[3 + i] = (float)(pow(10000, -2.0 * i / 5) - marian[i]);
    float m2m[] = {1, 1e-4f, 0, 0};
    int32_t positions[] = {0, 511};
    rig_case c = {.kind = DT_OP_sinusoid, .attr.sinusoid = {.width = 5}};
    c.in[0] = rig_ids(2, positions);
    c.in[1] = rig_fixed(6, marian);
    expect(&c, torch_sinusoid_marian, 10);
    c.attr.sinusoid = (typeof(c.attr.sinusoid)){.width = 5, .first = 2, .single = true};
    c.in[1] = rig_fixed(4, m2m);
    expect(&c, torch_sinusoid_m2m100, 10);
}

static void reference_ops__columns_are_split_and_joined(void **state)
{
    float x[] = {0, 1, 2, 3, 4, 5, 6, 7}; /* two groups of {2, 1, 1} */
    dt_attributes attr = {.split = {.groups = 2, .parts = 3, .width = {2, 1, 1}}};
    rig_case c = {.kind = DT_OP_split_groups, .attr = attr, .in = {rig_rows(1, 8, x)}};
    rig_result r = rig_run(&c);
    assert_near(r.out[0], (double[]){0, 1, 4, 5}, 4, 0);
    assert_near(r.out[1], (double[]){2, 6}, 2, 0);
    assert_near(r.out[2], (double[]){3, 7}, 2, 0);
    c = (rig_case){.kind = DT_OP_join_groups,
                   .attr = attr,
                   .in = {rig_rows(1, 4, r.out[0]), {0}, rig_rows(1, 2, r.out[2])}};
    expect(&c, (double[]){0, 1, 0, 3, 4, 5, 0, 7}, 8); /* the absent part is zeros */
    rig_free(&r);
}

static void reference_ops__sums_over_everything(void **state)
{
    float x[] = {1, 2, 3, 4}, w[] = {1, 0, 1, 2}, one[] = {3};
    rig_operand a = rig_vector(4, x), b = rig_vector(4, w), dy = rig_fixed(1, one);
    expect(&(rig_case){.kind = DT_OP_dot, .attr.scale.factor = 0.5, .in = {a, b}}, (double[]){6}, 1);
    expect(&(rig_case){.kind = DT_OP_weighted_mean, .in = {a, b}}, (double[]){3}, 1);
    expect(&(rig_case){.kind = DT_OP_weighted_mean_grad, .in = {a, b, dy}}, (double[]){0.75, 0, 0.75, 1.5},
           4);
    expect(&(rig_case){.kind = DT_OP_scale_by, .in = {a, dy}}, (double[]){3, 6, 9, 12}, 4);
    expect(&(rig_case){.kind = DT_OP_scale, .attr.scale.factor = 0.1, .in = {a}},
           (double[]){(double)0.1f, 2 * (double)0.1f, 3 * (double)0.1f, 4 * (double)0.1f}, 4);
    expect(&(rig_case){.kind = DT_OP_add, .in = {a, b}}, (double[]){2, 2, 4, 6}, 4);
    expect(&(rig_case){.kind = DT_OP_multiply, .in = {a, b}}, (double[]){1, 0, 3, 8}, 4);
}

/* ---- types of weights ---- */

/* With bf16 weights both sides of a product are bf16 numbers; with f16 only the weights are rounded. */
static void reference_ops__products_round_as_their_type_says(void **state)
{
    float x[] = {1.00390625f, 1}, w[] = {1, 1.00390625f}; /* 1 + 2^-8 lies halfway between two bf16 numbers */
    rig_case c = {.kind = DT_OP_linear, .in = {rig_rows(1, 2, x), rig_weight(1, 2, w)}};
    expect(&c, (double[]){2.0078125}, 1);
    c.dtype = DT_F16;
    expect(&c, (double[]){2.0078125}, 1);
    c.dtype = DT_BF16;
    expect(&c, (double[]){2}, 1);
}

static void reference_ops__q8_0_weights_are_their_blocks(void **state)
{
    float *w = rig_numbers(3 * 64, 30), *x = rig_numbers(2 * 64, 31);
    uint8_t blocks[6 * 34];
    float back[3 * 64];
    assert_int_equal(dt_convert(DT_Q8_0, blocks, DT_F32, w, 3 * 64, NULL), DT_OK);
    assert_int_equal(dt_convert(DT_F32, back, DT_Q8_0, blocks, 3 * 64, NULL), DT_OK);
    rig_case c = {.kind = DT_OP_linear, .dtype = DT_Q8_0, .in = {rig_rows(2, 64, x), rig_weight(3, 64, w)}};
    double expected[6] = {0};
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 64; k++)
            expected[i] += (double)x[i / 3 * 64 + k] * (double)back[i % 3 * 64 + k];
    expect(&c, expected, 6);
    free_operands(&c);
}

static void reference_ops__q8_0_leaves_odd_rows_in_f32(void **state)
{
    float w[] = {0.1f, 0.2f, 0.3f}, x[] = {1, 10, 100};
    rig_case c = {.kind = DT_OP_linear, .dtype = DT_Q8_0, .in = {rig_rows(1, 3, x), rig_weight(1, 3, w)}};
    expect(&c, (double[]){(double)0.1f + 10 * (double)0.2f + 100 * (double)0.3f}, 1);
}

/* ---- fused_linear is its parts ---- */

static float *run_part(dt_op_kind kind, dt_attributes attr, rig_operand a, rig_operand b, rig_operand c)
{
    rig_result r = rig_run(&(rig_case){.kind = kind, .attr = attr, .in = {a, b, c}});
    return r.out[0];
}

static void reference_ops__fused_linear_has_the_bits_of_its_parts(void **state)
{
    enum { T = 5, K = 20, N = 14 };
    rig_operand x = rig_rows(T, K, rig_numbers(T * K, 40)), w = rig_weight(N, K, rig_numbers(N * K, 41));
    rig_operand bias = rig_weight(N, 0, rig_numbers(N, 42)), nw = rig_weight(K, 0, rig_numbers(K, 43));
    rig_operand nb = rig_weight(K, 0, rig_numbers(K, 44)),
                residual = rig_rows(T, N / 2, rig_numbers(T * N, 45));
    rig_operand none = {0};
    for (int rms = 0; rms < 2; rms++) {
        dt_attributes norm = {.norm = {.eps = 1e-5, .zero_centered = rms}},
                      act = {.activation.kind = DT_ACT_GELU_TANH};
        rig_case fused = {
            .kind = DT_OP_fused_linear, .in = {x, w, bias, nw, rms ? none : nb, residual}, .threads = 2};
        fused.attr.fused.has_norm = fused.attr.fused.glu = true;
        fused.attr.fused.rms = fused.attr.fused.zero_centered = rms;
        fused.attr.fused.eps = 1e-5;
        fused.attr.fused.kind = DT_ACT_GELU_TANH;
        rig_result r = rig_run(&fused);
        float *a = run_part(rms ? DT_OP_rms_norm : DT_OP_layer_norm, norm, x, nw, rms ? none : nb);
        float *b = run_part(DT_OP_linear, (dt_attributes){0}, rig_rows(T, K, a), w, bias);
        float *c = run_part(DT_OP_glu, act, rig_rows(T, N, b), none, none);
        float *d = run_part(DT_OP_add, act, rig_rows(T, N / 2, c), residual, none);
        assert_same_bits(r.out[0], d, T * N / 2);
        free(a), free(b), free(c), free(d);
        rig_free(&r);
    }
    free(x.data), free(w.data), free(bias.data), free(nw.data), free(nb.data), free(residual.data);
}

/* ---- T5's buckets ---- */

static void check_bucket_case(const json_t *c)
{
    int64_t buckets = 0, distance = 0;
    bool both = false;
    dt_error err = {0};
    assert_ok(dt_json_int(c, "num_buckets", &buckets, &err), err);
    assert_ok(dt_json_int(c, "max_distance", &distance, &err), err);
    assert_ok(dt_json_bool(c, "bidirectional", &both, &err), err);
    const json_t *list = dt_json_get(c, "bucket");
    assert_true(json_array_size(list) > 0);
    for (size_t i = 0; i < json_array_size(list); i++) /* relative position i - 300 */
        assert_int_equal(dt_relative_bucket((int64_t)i - 300, buckets, distance, both),
                         json_integer_value(json_array_get(list, i)));
}

static void reference_ops__buckets_are_megatrons(void **state)
{
    char path[4096];
    const char *fixtures = getenv("DT_FIXTURES");
    snprintf(path, sizeof path, "%s/megatron/training/buckets.json",
             fixtures ? fixtures : "../shared/fixtures");
    if (!dt_is_file(path))
        skip();
    json_t *document;
    dt_error err = {0};
    assert_ok(dt_json_load(&document, path, 1 << 24, &err), err);
    const json_t *cases = dt_json_get(document, "cases");
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_bucket_case(json_array_get(cases, i));
    json_decref(document);
}

/* Every distance has a bucket in range, whatever a configuration asks for, and buckets rise with the distance. */
static void reference_ops__buckets_stay_in_range(void **state)
{
    static const int64_t buckets[] = {2, 3, 4, 7, 32, 320}, distances[] = {1, 2, 16, 128, 1 << 20};
    for (size_t i = 0; i < 6; i++) {
        for (size_t j = 0; j < 5; j++) {
            int64_t last = 0;
            for (int64_t far = 0; far < 3000; far++) {
                int64_t b = dt_relative_bucket(-far, buckets[i], distances[j], false);
                assert_in_range(b, last, buckets[i] - 1);
                last = b;
                if (buckets[i] >= 4)
                    assert_in_range(dt_relative_bucket(far, buckets[i], distances[j], true), 0,
                                    buckets[i] - 1);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_ops__activations_are_pytorchs),
        cmocka_unit_test(reference_ops__gated_unit_is_pytorchs),
        cmocka_unit_test(reference_ops__norms_are_pytorchs),
        cmocka_unit_test(reference_ops__rope_is_transformers),
        cmocka_unit_test(reference_ops__rope_turns_back),
        cmocka_unit_test(reference_ops__rows_of_two_sources_are_merged_and_parted),
        cmocka_unit_test(reference_ops__rows_are_blended_and_columns_scaled),
        cmocka_unit_test(reference_ops__cosines_become_logits),
        cmocka_unit_test(reference_ops__sinusoids_are_transformers),
        cmocka_unit_test(reference_ops__cross_entropy_is_pytorchs),
        cmocka_unit_test(reference_ops__products_and_their_gradients),
        cmocka_unit_test(reference_ops__rows_are_gathered_and_added_back),
        cmocka_unit_test(reference_ops__columns_are_split_and_joined),
        cmocka_unit_test(reference_ops__sums_over_everything),
        cmocka_unit_test(reference_ops__products_round_as_their_type_says),
        cmocka_unit_test(reference_ops__q8_0_weights_are_their_blocks),
        cmocka_unit_test(reference_ops__q8_0_leaves_odd_rows_in_f32),
        cmocka_unit_test(reference_ops__fused_linear_has_the_bits_of_its_parts),
        cmocka_unit_test(reference_ops__buckets_are_megatrons),
        cmocka_unit_test(reference_ops__buckets_stay_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
