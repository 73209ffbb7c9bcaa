/*
 * gradient_test.c - which ops the gradient pass appends, in which phase, and what it refuses. Whether the numbers
 * are right is tested where there are kernels (tests/unit/backend/gradients_test.c).
 */
#include "graph/world.h"

static int count_ops(const dt_graph *g, dt_op_kind kind)
{
    int count = 0;
    for (int i = 0; i < g->op_count; i++)
        count += g->op[i]->kind == kind;
    return count;
}

static int count_phase(const dt_graph *g, dt_phase phase)
{
    int count = 0;
    for (int i = 0; i < g->op_count; i++)
        count += g->op[i]->phase == phase;
    return count;
}

static void finish(world *w)
{
    dt_error err = {0};
    assert_ok(dt_graph_finish(w->g, &err), err);
    dt_graph_destroy(w->g);
}

/* A tied embedding is used twice: both uses contribute, and their sum has the table's shape. */
static void gradient__contributions_of_all_uses_add_up(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *x = dt_embedding(w.g, w.w, w.ids), *logits = dt_linear(w.g, x, w.w, NULL), *gradient;
    dt_tensor *loss = dt_weighted_mean(w.g, dt_cross_entropy(w.g, logits, w.labels, 0), w.per_row);
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 1, &w.w, &gradient, &err), err);
    assert_dims(gradient, "[12, 8]");
    assert_int_equal(gradient->producer->kind, DT_OP_add);
    assert_int_equal(count_ops(w.g, DT_OP_embedding_grad), 1);
    assert_int_equal(count_ops(w.g, DT_OP_linear_dw), 1);
    assert_true(gradient->keep);
    finish(&w);
}

/* The forward ops stay, in front of all others; gradients of parameters are a phase of their own. */
static void gradient__phases_split_inputs_from_weights(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *h = dt_rms_norm(w.g, dt_linear(w.g, w.x, param(w.g, "w1", 8, 8), NULL), w.norm, 1e-5, false);
    dt_tensor *y = dt_linear(w.g, h, w.w, w.bias), *loss = dt_dot(w.g, y, y, 1);
    dt_tensor *wrt[] = {w.w, w.bias, w.norm, dt_graph_find(w.g, "w1")}, *gradient[4];
    int forward = w.g->op_count;
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 4, wrt, gradient, &err), err);
    assert_int_equal(count_phase(w.g, DT_PHASE_FORWARD), forward);
    assert_int_equal(count_phase(w.g, DT_PHASE_BACKWARD_WEIGHT), 4); /* dw, db, dnorm, dw1 */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(gradient[i]->producer->phase, DT_PHASE_BACKWARD_WEIGHT);
        assert_string_equal(dt_dims_print(gradient[i]->rank, gradient[i]->dim).text,
                            dt_dims_print(wrt[i]->rank, wrt[i]->dim).text);
    }
    assert_int_equal(w.g->phase, DT_PHASE_FORWARD);
    finish(&w);
}

/* x needs none here, so that the lowest layer has no dx; what leads nowhere is never visited. */
static void gradient__only_needed_ones_are_computed(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *y = dt_linear(w.g, w.x, w.w, NULL), *loss = dt_dot(w.g, y, y, 1), *gradient[2];
    dt_activate(w.g, dt_linear(w.g, w.y, w.tall, NULL), DT_ACT_RELU); /* reaches no loss */
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 2, (dt_tensor *[]){w.w, w.tall}, gradient, &err), err);
    assert_non_null(gradient[0]);
    assert_null(gradient[1]);
    assert_int_equal(count_ops(w.g, DT_OP_linear_dx), 0);
    assert_int_equal(count_ops(w.g, DT_OP_linear_dw), 1);
    assert_int_equal(count_ops(w.g, DT_OP_activate_grad), 0);
    finish(&w);
}

static void gradient__attention_wants_only_what_is_asked(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_attention_inputs in = plain_inputs(&w);
    dt_attention_spec spec = plain_attention;
    spec.bias_max_distance = 16;
    in.bias_table = w.buckets, in.sink = w.sink;
    dt_tensor *y = dt_attention(w.g, &in, &spec), *loss = dt_dot(w.g, y, y, 1), *gradient[2];
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 2, (dt_tensor *[]){w.v, w.buckets}, gradient, &err),
              err);
    const dt_op *op = gradient[0]->producer;
    assert_int_equal(op->kind, DT_OP_attention_grad);
    assert_ptr_equal(op->output[2], gradient[0]);
    assert_ptr_equal(op->output[3], gradient[1]);
    assert_null(op->output[0]);
    assert_null(op->output[1]);
    assert_null(op->output[4]);
    finish(&w);
}

/* Only one part of a split leads to the loss: the others are zeros, not a gradient's defect. */
static void gradient__absent_parts_are_zeros(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *part[2], *gradient;
    dt_split_groups(w.g, w.x, 2, 2, (int64_t[]){3, 1}, part);
    dt_tensor *loss = dt_dot(w.g, part[1], part[1], 1);
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 1, &w.x, &gradient, &err), err);
    assert_int_equal(gradient->producer->kind, DT_OP_join_groups);
    assert_null(gradient->producer->input[0]);
    assert_dims(gradient, "[tokens, 8]");
    finish(&w);
}

/* A stage in the middle of a pipeline: gradients come in for its output and go out for its input. */
static void gradient__any_output_and_any_input(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *mid = dt_scale(w.g, w.x, 2), *y = dt_activate(w.g, mid, DT_ACT_SILU), *dy = w.y, *gradient[3];
    dt_tensor *outputs[] = {y, mid}, *incoming[] = {dy, dy}, *wrt[] = {w.x, mid, y};
    assert_ok(dt_graph_gradient(w.g, 2, outputs, incoming, 3, wrt, gradient, &err), err);
    assert_ptr_equal(gradient[2], dy); /* d y / d y */
    assert_int_equal(gradient[1]->producer->kind, DT_OP_add);
    assert_int_equal(gradient[0]->producer->kind, DT_OP_scale);
    assert_ptr_equal(gradient[0]->producer->input[0], gradient[1]);
    assert_true(gradient[1]->keep); /* though the scale reads it */
    finish(&w);
}

static void gradient__a_factor_that_feeds_both_phases_comes_first(void **state)
{
    world w = make_world();
    dt_error err = {0};
    dt_tensor *p = param(w.g, "p", 16, 8), *q = dt_graph_input(w.g, "q", DT_F32, 2, p->dim), *gradient[2];
    dt_tensor *loss = dt_dot(w.g, p, dt_scale(w.g, q, 3), 0.5);
    assert_ok(dt_graph_gradient(w.g, 1, &loss, NULL, 2, (dt_tensor *[]){p, q}, gradient, &err), err);
    finish(&w); /* the verifier knows */
}

static dt_status differentiate(world *w, dt_tensor *y, dt_tensor *dy, dt_tensor *wrt, dt_error *err)
{
    dt_tensor *gradient = wrt;
    dt_status status = dt_graph_gradient(w->g, 1, &y, &dy, 1, &wrt, &gradient, err);
    if (status != DT_OK)
        assert_null(gradient);
    return status;
}

#define gradient_refuses(status, words, y, dy, wrt)                                                          \
    do {                                                                                                     \
        world w = make_world();                                                                              \
        dt_graph *g = w.g;                                                                                   \
        dt_error err = {0};                                                                                  \
        assert_fails(differentiate(&w, y, dy, wrt, &err), status, err, words);                               \
        assert_fails(dt_graph_finish(g, &err), status, err, words); /* it sticks */                          \
        dt_graph_destroy(g);                                                                                 \
    } while (0)

static dt_tensor *cached_attention(world *w)
{
    dt_attention_inputs in = plain_inputs(w);
    in.keys = w->cached, in.k_cache = w->k_cache, in.v_cache = w->v_cache;
    return dt_attention(w->g, &in, &plain_attention);
}

static dt_tensor *fused(world *w)
{
    dt_tensor *in[] = {w->x, w->w};
    return dt_graph_add_op(w->g, DT_OP_fused_linear, 2, in, NULL)->output[0];
}

static void gradient__refusals_name_what_they_refuse(void **state)
{
    gradient_refuses(DT_INVALID, "is not one number, so it needs an incoming", dt_add(g, w.x, w.y), NULL,
                     w.x);
    gradient_refuses(DT_MISMATCH, "comes in, \"odd\" [tokens, 7], must have the shape", dt_add(g, w.x, w.y),
                     w.odd, w.x);
    gradient_refuses(DT_UNSUPPORTED, "cannot differentiate by \"ids\"", dt_add(g, w.x, w.y), w.y, w.ids);
    gradient_refuses(DT_UNSUPPORTED, "cannot differentiate by \"k_cache\"", dt_add(g, w.x, w.y), w.y,
                     w.k_cache);
    gradient_refuses(DT_UNSUPPORTED, "weighted_mean has no gradient for its weights \"y\"",
                     dt_weighted_mean(g, w.x, w.y), NULL, w.y);
    gradient_refuses(DT_UNSUPPORTED, "rope has no gradient for its frequencies \"inv_freq\"",
                     dt_rope(g, w.x, w.positions, w.inv_freq, 4, false, 1), w.y, w.inv_freq);
    gradient_refuses(DT_UNSUPPORTED, "attention over a cache has no gradient", cached_attention(&w), w.y,
                     w.x);
    gradient_refuses(DT_UNSUPPORTED,
                     "fused_linear, which makes the result of fused_linear [tokens, 12], has none", fused(&w),
                     dt_linear(g, w.x, w.w, NULL), w.x);
    gradient_refuses(DT_INVALID, "output 0 is not a tensor of this graph", NULL, NULL, w.x);
    gradient_refuses(DT_INVALID, "tensor 0 to differentiate by is not", w.one, NULL, NULL);
}

/* Every row of ops.def either names a gradient or is refused with a sentence: none is skipped in silence. */
static void gradient__ops_without_one_are_the_known_ones(void **state)
{
    for (int kind = 0; kind < DT_OP_embedding_grad; kind++) {
        bool known = kind == DT_OP_sinusoid || kind == DT_OP_kv_store || kind == DT_OP_fused_linear;
        assert_int_equal(dt_op_info_of((dt_op_kind)kind)->gradient == NULL, known);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient__contributions_of_all_uses_add_up),
        cmocka_unit_test(gradient__phases_split_inputs_from_weights),
        cmocka_unit_test(gradient__only_needed_ones_are_computed),
        cmocka_unit_test(gradient__attention_wants_only_what_is_asked),
        cmocka_unit_test(gradient__absent_parts_are_zeros),
        cmocka_unit_test(gradient__any_output_and_any_input),
        cmocka_unit_test(gradient__a_factor_that_feeds_both_phases_comes_first),
        cmocka_unit_test(gradient__refusals_name_what_they_refuse),
        cmocka_unit_test(gradient__ops_without_one_are_the_known_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
