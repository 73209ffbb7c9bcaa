/*
 * gradients.c - the gradient of each op, as ops: the `gradient` column of ops.def.
 *
 * A rule appends ops that turn dy, the gradients of the op's outputs, into dx, those of its inputs, for the inputs
 * that want one. Which ops are asked, and how several contributions add up, is gradient_pass.c's. Ops that yield a
 * parameter's gradient get their own phase, so that a schedule may put them off.
 */
#include "graph/rules.h"

#include <string.h>

/* Append an op that serves the gradient of `target`; returns it, or NULL once the graph is poisoned. */
static dt_op *append(dt_graph *g, const dt_tensor *target, dt_op_kind kind, const dt_attributes *attr,
                     int count, dt_tensor *const *input)
{
    g->phase = target->kind == DT_TENSOR_PARAM ? DT_PHASE_BACKWARD_WEIGHT : DT_PHASE_BACKWARD_INPUT;
    return dt_graph_add_op(g, kind, count, input, attr);
}

static dt_tensor *append_one(dt_graph *g, const dt_tensor *target, dt_op_kind kind, const dt_attributes *attr,
                             int count, dt_tensor *const *input)
{
    dt_op *op = append(g, target, kind, attr, count, input);
    return op ? op->output[0] : NULL;
}

#define INPUTS(...)                                                                                          \
    sizeof((dt_tensor *[]){__VA_ARGS__}) / sizeof(dt_tensor *), (dt_tensor *[])                              \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

/* y = table[ids] */
void dt_gradient_embedding(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                           dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_embedding_grad, &op->attr,
                           INPUTS(op->input[1], dy[0], op->input[0]));
}

/* y = x·wᵀ + b:  dx = dy·w, dw = dyᵀ·x, db = Σ dy */
void dt_gradient_linear(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx)
{
    dt_tensor *x = op->input[0], *w = op->input[1];
    if (want[1])
        dx[1] = append_one(g, w, DT_OP_linear_dw, NULL, INPUTS(dy[0], x));
    if (want[2])
        dx[2] = append_one(g, op->input[2], DT_OP_column_sum, NULL, INPUTS(dy[0]));
    if (want[0])
        dx[0] = append_one(g, x, DT_OP_linear_dx, NULL, INPUTS(dy[0], w));
}

static void gradient_norm(dt_graph *g, const dt_op *op, dt_op_kind to_x, dt_op_kind to_w, dt_tensor *dy,
                          const bool *want, dt_tensor **dx)
{
    dt_tensor *x = op->input[0], *w = op->input[1];
    dt_attributes sum = {.sum = {op->attr.norm.groups}};
    if (want[1])
        dx[1] = append_one(g, w, to_w, &op->attr, INPUTS(x, dy));
    if (want[2])
        dx[2] = append_one(g, op->input[2], DT_OP_column_sum, &sum, INPUTS(dy));
    if (want[0])
        dx[0] = append_one(g, x, to_x, &op->attr, INPUTS(x, w, dy));
}

void dt_gradient_rms_norm(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                          dt_tensor **dx)
{
    gradient_norm(g, op, DT_OP_rms_norm_dx, DT_OP_rms_norm_dw, dy[0], want, dx);
}

void dt_gradient_layer_norm(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                            dt_tensor **dx)
{
    gradient_norm(g, op, DT_OP_layer_norm_dx, DT_OP_layer_norm_dw, dy[0], want, dx);
}

void dt_gradient_add(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx)
{
    (void)g, (void)op;
    for (int i = 0; i < 2; i++)
        if (want[i])
            dx[i] = dy[0];
}

/* Each factor's gradient is dy times the other. */
void dt_gradient_multiply(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                          dt_tensor **dx)
{
    for (int i = 0; i < 2; i++)
        if (want[i])
            dx[i] = append_one(g, op->input[i], DT_OP_multiply, NULL, INPUTS(dy[0], op->input[1 - i]));
}

void dt_gradient_scale(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_scale, &op->attr, INPUTS(dy[0]));
}

void dt_gradient_activate(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                          dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_activate_grad, &op->attr, INPUTS(op->input[0], dy[0]));
}

void dt_gradient_glu(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_glu_grad, &op->attr, INPUTS(op->input[0], dy[0]));
}

/* Parts that led nowhere are zeros: join_groups takes them as NULL. */
void dt_gradient_split_groups(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                              dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_join_groups, &op->attr, op->output_count, dy);
}

/* An output nobody wants leaves the op, so that kernels need not compute it. */
static dt_tensor *drop_output(dt_op *op, int i)
{
    if (op->output[i])
        op->output[i]->producer = NULL;
    op->output[i] = NULL;
    return NULL;
}

void dt_gradient_join_groups(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                             dt_tensor **dx)
{
    dt_tensor *like = NULL;
    for (int i = 0; i < op->input_count; i++)
        like = want[i] && !like ? op->input[i] : like;
    dt_op *parts = like ? append(g, like, DT_OP_split_groups, &op->attr, INPUTS(dy[0])) : NULL;
    for (int i = 0; parts && i < op->input_count; i++)
        dx[i] = want[i] ? parts->output[i] : drop_output(parts, i);
}

/* The inverse rotation; a magnitude scales both ways alike. */
void dt_gradient_rope(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx)
{
    dt_attributes attr = op->attr;
    attr.rope.inverse = !attr.rope.inverse;
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_rope, &attr,
                           INPUTS(dy[0], op->input[1], op->input[2], op->input[3]));
    if (want[2])
        dt_graph_fail(g, DT_UNSUPPORTED, "rope has no gradient for its frequencies %s",
                      dt_tensor_print(op->input[2]).text);
}

void dt_gradient_attention(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                           dt_tensor **dx)
{
    static const int wrt[] = {DT_ATTENTION_Q, DT_ATTENTION_K, DT_ATTENTION_V, DT_ATTENTION_BIAS_TABLE,
                              DT_ATTENTION_SINK};
    dt_tensor *input[DT_ATTENTION_GRAD + 1];
    memcpy(input, op->input, (DT_ATTENTION_SINK + 1) * sizeof *input);
    input[DT_ATTENTION_OUT] = op->output[0];
    input[DT_ATTENTION_GRAD] = dy[0];
    dt_op *grad =
        append(g, op->input[DT_ATTENTION_Q], DT_OP_attention_grad, &op->attr, DT_ATTENTION_GRAD + 1, input);
    for (int i = 0; grad && i < 5; i++)
        dx[wrt[i]] = want[wrt[i]] ? grad->output[i] : drop_output(grad, i);
}

void dt_gradient_take_rows(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                           dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_put_rows, NULL, INPUTS(dy[0], op->input[1], op->input[0]));
}

/* Each source gets the rows that came from it. */
void dt_gradient_merge_rows(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                            dt_tensor **dx)
{
    for (int i = 0; i < 2; i++) {
        dt_attributes attr = {.rows = {.other = i == 1}};
        if (want[i])
            dx[i] =
                append_one(g, op->input[i], DT_OP_put_rows, &attr, INPUTS(dy[0], op->input[2], op->input[i]));
    }
}

/* The weights follow from sizes; nobody differentiates by them. */
void dt_gradient_blend_rows(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                            dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_blend_grad, NULL,
                           INPUTS(dy[0], op->input[1], op->input[2], op->input[0]));
    if (want[2])
        dt_graph_fail(g, DT_UNSUPPORTED, "blend_rows has no gradient for its weights %s",
                      dt_tensor_print(op->input[2]).text);
}

/* dx = dy · w by columns, dw = Σ_t dy · x */
void dt_gradient_scale_columns(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                               dt_tensor **dx)
{
    dt_attributes sum = {.sum = {1}};
    dt_tensor *x = op->input[0], *w = op->input[1];
    if (want[0])
        dx[0] = append_one(g, x, DT_OP_scale_columns, NULL, INPUTS(dy[0], w));
    if (want[1]) {
        dt_tensor *product = append_one(g, w, DT_OP_multiply, NULL, INPUTS(dy[0], x));
        dx[1] = product ? append_one(g, w, DT_OP_column_sum, &sum, INPUTS(product)) : NULL;
    }
}

void dt_gradient_cross_entropy(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                               dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_cross_entropy_grad, &op->attr,
                           INPUTS(op->input[0], op->input[1], dy[0]));
}

/* y = Σ x·w / Σ w:  dx = dy · w / Σ w. Weights are masks; nobody differentiates by them. */
void dt_gradient_weighted_mean(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                               dt_tensor **dx)
{
    if (want[0])
        dx[0] = append_one(g, op->input[0], DT_OP_weighted_mean_grad, NULL,
                           INPUTS(op->input[0], op->input[1], dy[0]));
    if (want[1])
        dt_graph_fail(g, DT_UNSUPPORTED, "weighted_mean has no gradient for its weights %s",
                      dt_tensor_print(op->input[1]).text);
}

/* y = f · Σ x·w:  dx = f · dy · w, dw = f · dy · x. The factor goes onto dy, the one number, in the earlier of the
 * phases that read it. */
void dt_gradient_dot(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx)
{
    dt_tensor *s = dy[0];
    bool second_first = want[1] && (!want[0] || op->input[1]->kind != DT_TENSOR_PARAM);
    if (op->attr.scale.factor != 1)
        s = append_one(g, op->input[second_first], DT_OP_scale, &op->attr, INPUTS(dy[0]));
    for (int i = 0; i < 2; i++)
        if (want[i])
            dx[i] = append_one(g, op->input[i], DT_OP_scale_by, NULL, INPUTS(op->input[1 - i], s));
}

/* ---- mixture of experts ---- */

/* The choice is a step function: only the weights carry a gradient, and none reaches the bias that helps to choose. */
void dt_gradient_route(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx)
{
    if (want[0] && dy[1])
        dx[0] = append_one(g, op->input[0], DT_OP_route_grad, &op->attr,
                           INPUTS(op->input[0], op->output[0], dy[1]));
}

/* As linear's, expert by expert; an x that all choices of a row share gets the sum of theirs. */
void dt_gradient_expert_linear(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                               dt_tensor **dx)
{
    dt_tensor *x = op->input[0], *w = op->input[1], *experts = op->input[2];
    if (want[1])
        dx[1] = append_one(g, w, DT_OP_expert_linear_dw, &op->attr, INPUTS(dy[0], x, experts));
    if (op->input_count > 3 && want[3])
        dx[3] = append_one(g, op->input[3], DT_OP_expert_column_sum, &op->attr, INPUTS(dy[0], experts));
    if (!want[0])
        return;
    dx[0] = append_one(g, x, DT_OP_expert_linear_dx, &op->attr, INPUTS(dy[0], w, experts));
    if (dx[0] && x->rank == 2)
        dx[0] = append_one(g, x, DT_OP_sum_choices, NULL, INPUTS(dx[0]));
}

/* y = Σ_j w_j·x_j:  dx_j = w_j · dy, dw_j = x_j · dy */
void dt_gradient_sum_choices(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                             dt_tensor **dx)
{
    dt_tensor *x = op->input[0], *weights = op->input_count > 1 ? op->input[1] : NULL;
    dt_attributes attr = {.experts = {.flat = x->rank == 2}};
    if (!weights) {
        dt_graph_fail(g, DT_UNSUPPORTED, "sum_choices without weights has no gradient");
        return;
    }
    if (want[0])
        dx[0] = append_one(g, x, DT_OP_spread_choices, &attr, INPUTS(dy[0], weights));
    if (want[1])
        dx[1] = append_one(g, weights, DT_OP_choice_dots, NULL, INPUTS(x, dy[0]));
}
