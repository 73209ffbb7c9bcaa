/*
 * shapes_test.c - what each op makes of its inputs, and what it says when they do not fit.
 */
#include "graph/world.h"

#include <math.h>

static void shapes__results_carry_axes(void **state)
{
    world w = make_world();
    dt_graph *g = w.g;
    dt_error err = {0};
    dt_tensor *part[3];
    dt_attention_inputs in = plain_inputs(&w);
    assert_dims(dt_embedding(g, w.w, w.ids), "[tokens, 8]");
    assert_dims(dt_linear(g, w.x, w.w, w.bias), "[tokens, 12]");
    assert_dims(dt_linear(g, dt_take_rows(g, w.x, w.index), w.w, NULL), "[sequences, 12]");
    assert_dims(dt_rms_norm(g, w.x, w.norm, 1e-5, true), "[tokens, 8]");
    assert_dims(dt_layer_norm(g, w.x, w.norm, w.norm, 1e-5, false), "[tokens, 8]");
    assert_dims(dt_add(g, w.cube, w.cube), "[2, 3, 4]");
    assert_dims(dt_multiply(g, w.x, w.y), "[tokens, 8]");
    assert_dims(dt_scale(g, w.per_row, 2), "[tokens]");
    assert_dims(dt_activate(g, w.x, DT_ACT_GELU), "[tokens, 8]");
    assert_dims(dt_glu(g, w.x, DT_ACT_SILU), "[tokens, 4]");
    assert_dims(dt_rope(g, w.x, w.positions, w.inv_freq, 4, false, 1), "[tokens, 8]");
    assert_dims(dt_attention(g, &in, &plain_attention), "[tokens, 8]");
    assert_dims(dt_cross_entropy(g, w.x, w.labels, 5), "[tokens]");
    assert_dims(dt_weighted_mean(g, w.per_row, w.per_row), "[1]");
    assert_dims(dt_dot(g, w.x, w.y, 0.5), "[1]");
    dt_split_groups(g, w.x, 2, 3, (int64_t[]){2, 1, 1}, part);
    assert_dims(part[0], "[tokens, 4]");
    assert_dims(part[2], "[tokens, 2]");
    assert_dims(w.rows.cu_seqlens, "[sequences + 1]");
    assert_ok(dt_graph_finish(g, &err), err);
    dt_graph_destroy(g);
}

static void shapes__products_and_tables(void **state)
{
    refuses(DT_MISMATCH, "embedding: table \"norm\" [8] must have two dimensions",
            dt_embedding(g, w.norm, w.ids));
    refuses(DT_MISMATCH, "embedding: ids \"per_row\" [tokens] must have one dimension and type i32",
            dt_embedding(g, w.w, w.per_row));
    refuses(DT_INVALID, "embedding needs 2 inputs, but input 1 is NULL", dt_embedding(g, w.w, NULL));
    refuses(DT_MISMATCH, "linear: w \"w\" [12, 8] must have as many columns as x \"odd\" [tokens, 7]",
            dt_linear(g, w.odd, w.w, NULL));
    refuses(DT_MISMATCH, "linear: x \"half\" [tokens, 8] f16 must be f32", dt_linear(g, w.half, w.w, NULL));
    refuses(DT_MISMATCH, "linear: x \"per_row\" [tokens] must have two", dt_linear(g, w.per_row, w.w, NULL));
    refuses(DT_MISMATCH, "linear: bias \"norm\" [8] must be [12], one for each row of w",
            dt_linear(g, w.x, w.w, w.norm));
    refuses(DT_INVALID, "linear needs 2 inputs, but input 0 is NULL", dt_linear(g, NULL, w.w, NULL));
    refuses(DT_MISMATCH, "take_rows: index \"x\" [tokens, 8] must", dt_take_rows(g, w.x, w.x));
    refuses(DT_MISMATCH, "take_rows: x \"cube\" [2, 3, 4] must", dt_take_rows(g, w.cube, w.index));
}

static void shapes__norms(void **state)
{
    refuses(DT_MISMATCH, "rms_norm: w \"bias\" [12] must be [8], one for each column of x",
            dt_rms_norm(g, w.x, w.bias, 1e-5, false));
    refuses(DT_MISMATCH, "layer_norm: b \"bias\" [12] must",
            dt_layer_norm(g, w.x, w.norm, w.bias, 1e-5, false));
    refuses(DT_MISMATCH, "rms_norm: x \"per_row\" [tokens] must",
            dt_rms_norm(g, w.per_row, w.norm, 1e-5, false));
    refuses(DT_INVALID, "rms_norm: eps -1", dt_rms_norm(g, w.x, w.norm, -1, false));
    refuses(DT_INVALID, "layer_norm: eps nan", dt_layer_norm(g, w.x, w.norm, NULL, NAN, false));
}

static void shapes__elementwise(void **state)
{
    refuses(DT_MISMATCH, "add: y \"odd\" [tokens, 7] must have the shape of x \"x\" [tokens, 8]",
            dt_add(g, w.x, w.odd));
    refuses(DT_MISMATCH, "multiply: y \"cube\" [2, 3, 4] must", dt_multiply(g, w.x, w.cube));
    refuses(DT_MISMATCH, "add: y the result of scale [tokens] must",
            dt_add(g, w.x, dt_scale(g, w.per_row, 1)));
    refuses(DT_MISMATCH, "scale: x \"ids\" [tokens] i32 must be f32", dt_scale(g, w.ids, 1));
    refuses(DT_INVALID, "scale: factor inf", dt_scale(g, w.x, INFINITY));
    refuses(DT_INVALID, "scale: factor 1e+39 is not a finite f32", dt_scale(g, w.x, 1e39));
    refuses(DT_INVALID, "activate: there is no activation 99", dt_activate(g, w.x, (dt_activation)99));
    refuses(DT_INVALID, "glu: there is no activation -1", dt_glu(g, w.x, (dt_activation)-1));
    refuses(DT_MISMATCH, "glu: x \"odd\" [tokens, 7] must have an even number of columns",
            dt_glu(g, w.odd, DT_ACT_SILU));
    refuses(DT_MISMATCH, "dot: w \"y\" [tokens, 8] must", dt_dot(g, w.odd, w.y, 1));
    refuses(DT_INVALID, "dot: factor nan", dt_dot(g, w.x, w.y, NAN));
    refuses(DT_MISMATCH, "weighted_mean: w \"one\" [1] must", dt_weighted_mean(g, w.per_row, w.one));
}

static void shapes__groups(void **state)
{
    dt_tensor *out[4];
    int64_t width[4] = {2, 1, 1, 0}, huge[2] = {INT64_MAX, 2};
    refuses(DT_MISMATCH,
            "split_groups: x \"x\" [tokens, 8] must have 12 columns, which 3 groups of its 3 parts",
            dt_split_groups(g, w.x, 3, 3, width, out));
    refuses(DT_INVALID, "0 groups of 3 parts", dt_split_groups(g, w.x, 0, 3, width, out));
    refuses(DT_INVALID, "2 groups of 4 parts", dt_split_groups(g, w.x, 2, 4, width, out)); /* one is 0 wide */
    refuses(DT_INVALID, "5 parts; 1 to 4 exist", dt_split_groups(g, w.x, 2, 5, width, (dt_tensor *[5]){0}));
    refuses(DT_INVALID, "2 groups of 2 parts", dt_split_groups(g, w.x, 2, 2, huge, out)); /* overflow */
}

static void shapes__rope(void **state)
{
    refuses(DT_MISMATCH, "rope: x \"x\" [tokens, 8] must have a multiple of 3 heads",
            dt_rope(g, w.x, w.positions, w.inv_freq, 3, false, 1));
    refuses(DT_MISMATCH, "rope: x \"x\" [tokens, 8] must have a multiple of 0 heads",
            dt_rope(g, w.x, w.positions, w.inv_freq, 0, false, 1));
    refuses(DT_MISMATCH, "rope: positions \"index\" [sequences] i32 must have one entry for each row of x",
            dt_rope(g, w.x, w.index, w.inv_freq, 4, false, 1));
    refuses(DT_MISMATCH,
            "rope: inv_freq \"long_freq\" [2] must have at most 1 entries, half of the head size 2",
            dt_rope(g, w.x, w.positions, w.long_freq, 4, false, 1));
    refuses(DT_INVALID, "rope: magnitude nan", dt_rope(g, w.x, w.positions, w.inv_freq, 4, false, NAN));
    refuses(DT_INVALID, "rope needs 3 inputs", dt_rope(g, w.x, w.positions, NULL, 4, false, 1));
}

static void shapes__losses(void **state)
{
    refuses(DT_MISMATCH, "cross_entropy: labels \"index\" [sequences] i32 must have one entry for each row",
            dt_cross_entropy(g, w.x, w.index, 0));
    refuses(DT_MISMATCH, "must have at least vocab = 9 columns", dt_cross_entropy(g, w.x, w.labels, 9));
    refuses(DT_MISMATCH, "must have at least vocab = -1 columns", dt_cross_entropy(g, w.x, w.labels, -1));
    refuses(DT_MISMATCH, "cross_entropy: logits \"per_row\"", dt_cross_entropy(g, w.per_row, w.labels, 0));
}

/* ---- attention ---- */

#define attention_refuses(status, words, ...)                                                                \
    refuses(status, words, dt_attention_inputs in = plain_inputs(&w);                                        \
            dt_attention_spec spec = plain_attention; __VA_ARGS__; dt_attention(g, &in, &spec))

static void shapes__attention_specs(void **state)
{
    attention_refuses(DT_INVALID, "4 heads of size 2 do not fall into 3 groups", spec.groups = 3);
    attention_refuses(DT_INVALID, "4 heads of size 0", spec.head_dim = 0);
    attention_refuses(DT_LIMIT, "are too many", spec.head_dim = INT64_MAX);
    attention_refuses(DT_INVALID, "scale nan", spec.scale = NAN);
    attention_refuses(DT_INVALID, "soft cap -1", spec.soft_cap = -1);
    attention_refuses(DT_INVALID, "windows -2 and -1", spec.window_left = -2);
    attention_refuses(DT_MISMATCH, "attention: q \"x\" [tokens, 8] must have 12 columns, heads · head size",
                      spec.head_dim = 3);
    attention_refuses(DT_MISMATCH, "bias_table \"w\" [12, 8] must be [buckets, 4]", in.bias_table = w.w);
    attention_refuses(DT_INVALID, "needs bias_max_distance, not 0", in.bias_table = w.buckets);
    attention_refuses(DT_MISMATCH, "sink \"norm\" [8] must be [4], one for each head", in.sink = w.norm);
}

static void shapes__attention_without_a_cache(void **state)
{
    attention_refuses(DT_INVALID, "attention needs 1 input, but input 0 is NULL", in.q = NULL);
    attention_refuses(DT_INVALID, "attention needs rows.cu_seqlens, which is NULL",
                      in.rows.cu_seqlens = NULL);
    attention_refuses(DT_INVALID, "attention needs keys.cu_seqlens, which is NULL",
                      in.keys.cu_seqlens = NULL);
    attention_refuses(DT_INVALID, "attention needs k, which is NULL", in.k = NULL);
    attention_refuses(DT_INVALID, "attention needs v, which is NULL", in.v = NULL);
    attention_refuses(DT_MISMATCH, "k \"x\" [tokens, 8] must have 4 columns", in.k = w.x);
    attention_refuses(DT_MISMATCH, "v \"x\" [tokens, 8] must have the shape of k", in.v = w.x);
    attention_refuses(DT_MISMATCH, "must have the rows of q", in.k = w.far_k, in.v = w.far_v);
    attention_refuses(DT_MISMATCH, "keys.cu_seqlens \"index\" [sequences] i32 must have one entry more",
                      in.keys.cu_seqlens = w.index);
    attention_refuses(DT_MISMATCH, "must count the same sequences as rows.cu_seqlens",
                      in.keys.cu_seqlens = whole(g, "other", w.tokens, 1));
}

static void shapes__attention_with_a_cache(void **state)
{
#define CACHED in.keys = w.cached, in.k_cache = w.k_cache, in.v_cache = w.v_cache
    attention_refuses(DT_INVALID, "needs both caches, v_cache is NULL", CACHED, in.v_cache = NULL);
    attention_refuses(DT_INVALID, "k_cache and v_cache are one tensor", CACHED, in.v_cache = in.k_cache);
    attention_refuses(DT_INVALID, "needs past, which is NULL", CACHED, in.keys.past = NULL);
    attention_refuses(DT_MISMATCH, "past \"ids\" [tokens] i32 must be [sequences]", CACHED,
                      in.keys.past = w.ids);
    attention_refuses(DT_INVALID, "needs a block_table", CACHED, in.keys.block_table = NULL);
    attention_refuses(DT_MISMATCH, "block_table \"index\"", CACHED, in.keys.block_table = w.index);
    attention_refuses(DT_MISMATCH, "v_cache \"cube\" [2, 3, 4] must be a state", CACHED, in.v_cache = w.cube);
    attention_refuses(DT_INVALID, "needs v, which is NULL", CACHED, in.v = NULL);
    attention_refuses(
        DT_MISMATCH, "v_cache \"short\" [9, 64, 4] f16 must be like k_cache", CACHED,
        in.v_cache = dt_graph_state(g, "short", DT_F16, 3, (dt_dim[]){{NULL, 9}, {NULL, 64}, {NULL, 4}}));
    attention_refuses(
        DT_MISMATCH, "must be [blocks, 64, 4]", CACHED,
        in.k_cache = dt_graph_state(g, "odd_block", DT_F16, 3, (dt_dim[]){{NULL, 9}, {NULL, 32}, {NULL, 4}}));
}

/* Which positions queries have follows from the use (drivetrain/graph.h). */
static void shapes__attention_knows_self_from_cross(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_attention_inputs self = plain_inputs(&w), cross = self, appending = self, reading = self;
    cross.k = w.far_k, cross.v = w.far_v, cross.keys = w.far;
    appending.keys = w.cached, appending.k_cache = w.k_cache, appending.v_cache = w.v_cache;
    reading = appending, reading.k = reading.v = NULL, reading.keys.cu_seqlens = NULL;
    const dt_attention_inputs *in[] = {&self, &cross, &appending, &reading};
    const bool is_self[] = {true, false, true, false};
    for (int i = 0; i < 4; i++) {
        const dt_op *op = dt_attention(w.g, in[i], &plain_attention)->producer;
        assert_non_null(op);
        assert_int_equal(op->attr.attention.self, is_self[i]);
        assert_int_equal(op->input_count, DT_ATTENTION_SINK + 1);
    }
    dt_kv_store(w.g, w.k, w.v, w.cached, w.k_cache, w.v_cache, 2, 2);
    assert_ok(dt_graph_finish(w.g, &err), err);
    assert_int_equal(w.g->op[w.g->op_count - 1]->output_count, 0);
    dt_graph_destroy(w.g);
}

static void shapes__kv_store(void **state)
{
    refuses(DT_INVALID, "kv_store: 0 groups", dt_kv_store(g, w.k, w.v, w.cached, w.k_cache, w.v_cache, 0, 2));
    refuses(DT_MISMATCH, "kv_store: k \"x\" [tokens, 8] must have 4 columns",
            dt_kv_store(g, w.x, w.v, w.cached, w.k_cache, w.v_cache, 2, 2));
    refuses(DT_INVALID, "kv_store needs 7 inputs, but input 3 is NULL",
            dt_kv_store(g, w.k, w.v, w.rows, w.k_cache, w.v_cache, 2, 2));
}

/* ---- ops that only passes build ---- */

#define op_refuses(words, kind, attr, ...)                                                                   \
    refuses(DT_MISMATCH, words, dt_tensor *in_[] = {__VA_ARGS__};                                            \
            dt_graph_add_op(g, kind, sizeof in_ / sizeof *in_, in_, attr))

static void shapes__backward_ops(void **state)
{
    op_refuses("embedding_grad: dy \"odd\"", DT_OP_embedding_grad, NULL, w.ids, w.odd, w.w);
    op_refuses("linear_dx: w \"w\"", DT_OP_linear_dx, NULL, w.x, w.w);
    op_refuses("linear_dw: x \"far_k\"", DT_OP_linear_dw, NULL, w.x, w.far_k);
    op_refuses("column_sum: dy \"norm\"", DT_OP_column_sum, NULL, w.norm);
    op_refuses("rms_norm_dx: dy \"odd\"", DT_OP_rms_norm_dx, NULL, w.x, w.norm, w.odd);
    op_refuses("rms_norm_dx: w \"bias\"", DT_OP_rms_norm_dx, NULL, w.x, w.bias, w.y);
    op_refuses("layer_norm_dw: dy \"odd\"", DT_OP_layer_norm_dw, NULL, w.x, w.odd);
    op_refuses("activate_grad: y \"odd\"", DT_OP_activate_grad, NULL, w.x, w.odd);
    op_refuses("glu_grad: dy \"y\"", DT_OP_glu_grad, NULL, w.x, w.y);
    op_refuses("put_rows: dy \"x\"", DT_OP_put_rows, NULL, w.x, w.index, w.y);
    op_refuses("cross_entropy_grad: dloss \"one\"", DT_OP_cross_entropy_grad, NULL, w.x, w.labels, w.one);
    op_refuses("weighted_mean_grad: dy \"per_row\"", DT_OP_weighted_mean_grad, NULL, w.x, w.y, w.per_row);
    op_refuses("scale_by: s \"x\"", DT_OP_scale_by, NULL, w.x, w.x);
}

static void shapes__join_groups(void **state)
{
    dt_attributes attr = {.split = {.groups = 2, .parts = 2, .width = {4, 2}}};
    world ok = make_world();
    dt_op *op = dt_graph_add_op(ok.g, DT_OP_join_groups, 2, (dt_tensor *[]){NULL, ok.k}, &attr);
    assert_dims(op->output[0], "[tokens, 12]");
    dt_graph_destroy(ok.g);
    op_refuses("part \"y\" [tokens, 8] must be [tokens, 4]", DT_OP_join_groups, &attr, w.x, w.y);
    op_refuses("part \"far_k\" [sources, 4] must be [tokens, 4]", DT_OP_join_groups, &attr, w.x, w.far_k);
    refuses(DT_INVALID, "every part is NULL",
            dt_graph_add_op(g, DT_OP_join_groups, 2, (dt_tensor *[]){NULL, NULL}, &attr));
    refuses(DT_INVALID, "2 groups of 2 parts", dt_graph_add_op(g, DT_OP_join_groups, 1, &w.x, &attr));
}

static void shapes__fused_linear(void **state)
{
    dt_attributes glu = {.fused = {.glu = true}}, norm = {.fused = {.has_norm = true}}, plain = {0};
    world ok = make_world();
    dt_tensor *in[6] = {ok.x, ok.w, ok.bias, ok.norm, NULL, rows_by(ok.g, "r", ok.tokens, 6)};
    glu.fused.has_norm = true;
    dt_op *op = dt_graph_add_op(ok.g, DT_OP_fused_linear, 6, in, &glu);
    assert_non_null(op);
    assert_dims(op->output[0], "[tokens, 6]");
    dt_graph_destroy(ok.g);
    op_refuses("norm weight \"bias\"", DT_OP_fused_linear, &norm, w.x, w.w, NULL, w.bias, NULL, NULL);
    op_refuses("norm bias \"bias\"", DT_OP_fused_linear, &norm, w.x, w.w, NULL, w.norm, w.bias, NULL);
    op_refuses("residual \"x\" [tokens, 8] must have the shape of the product", DT_OP_fused_linear, &plain,
               w.x, w.w, NULL, NULL, NULL, w.x);
    refuses(DT_MISMATCH, "must have an even number of rows", glu.fused.has_norm = false;
            dt_tensor *w13 = param(g, "w13", 13, 8);
            dt_graph_add_op(g, DT_OP_fused_linear, 2, (dt_tensor *[]){w.x, w13}, &glu));
}

static void shapes__too_many_inputs(void **state)
{
    refuses(DT_INVALID, "add takes at most 2 inputs, not 3",
            dt_graph_add_op(g, DT_OP_add, 3, (dt_tensor *[]){w.x, w.x, w.x}, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes__results_carry_axes),
        cmocka_unit_test(shapes__products_and_tables),
        cmocka_unit_test(shapes__norms),
        cmocka_unit_test(shapes__elementwise),
        cmocka_unit_test(shapes__groups),
        cmocka_unit_test(shapes__rope),
        cmocka_unit_test(shapes__losses),
        cmocka_unit_test(shapes__attention_specs),
        cmocka_unit_test(shapes__attention_without_a_cache),
        cmocka_unit_test(shapes__attention_with_a_cache),
        cmocka_unit_test(shapes__attention_knows_self_from_cross),
        cmocka_unit_test(shapes__kv_store),
        cmocka_unit_test(shapes__backward_ops),
        cmocka_unit_test(shapes__join_groups),
        cmocka_unit_test(shapes__fused_linear),
        cmocka_unit_test(shapes__too_many_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
