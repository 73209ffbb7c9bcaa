/*
 * lower_experts.c - a mixture of experts by standard operators: every expert computes every row, [B, E, S, ·], and
 * the choice is a matrix of weights [B, S, E] that is zero where an expert was not chosen.
 *
 * That is E / k times the work that is needed: ONNX has no product whose rows choose their matrix, and a loop over
 * experts would take shapes that depend on data, which TensorRT refuses. An expert whose numbers overflow reaches rows
 * that did not choose it as NaN.
 */
#include "formats/onnx/lower.h"

static const char *softmax(dt_onnx *o, const char *x)
{
    return DT_ONNX_WITH(o, "Softmax", ((dt_onnx_attribute[DT_ONNX_ATTRIBUTES]){{.name = "axis", .i = -1}}),
                        x);
}

static const char *chosen(dt_onnx *o, const char *of, const char *experts)
{
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = -1}};
    return DT_ONNX_WITH(o, "GatherElements", axis, of, experts);
}

static const char *sigmoid_weights(dt_onnx *o, const dt_route_spec *spec, const char *logits,
                                   const char *experts)
{
    const char *w = chosen(o, DT_ONNX_NODE(o, "Sigmoid", logits), experts);
    if (spec->topk == 1)
        return w;
    const char *sum = dt_onnx_reduce(o, "ReduceSum", w, -1, true);
    return DT_ONNX_NODE(o, "Div", w, DT_ONNX_NODE(o, "Add", sum, dt_onnx_number_f32(o, 1e-20)));
}

void dt_onnx_lower_route(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const dt_route_spec *spec = &op->attr.route;
    bool sigmoids = spec->score == DT_ROUTER_SIGMOID;
    const char *logits = dt_onnx_to_f32(o, dt_lower_input(l, op, 0)), *bias = dt_lower_input(l, op, 1);
    const char *score = sigmoids ? DT_ONNX_NODE(o, "Sigmoid", logits) : logits, *best[2], *weights;
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = -1}};
    if (bias)
        score = DT_ONNX_NODE(o, "Add", score, dt_onnx_to_f32(o, bias));
    dt_onnx_make(o, "TopK", (const char *[]){score, DT_ONNX_INTS(o, spec->topk), NULL}, axis, 2, best);
    if (sigmoids)
        weights = sigmoid_weights(o, spec, logits, best[1]);
    else if (spec->pre_softmax)
        weights = chosen(o, softmax(o, logits), best[1]);
    else
        weights = softmax(o, chosen(o, logits, best[1]));
    if (spec->scaling != 0)
        weights = DT_ONNX_NODE(o, "Mul", weights, dt_onnx_number_f32(o, spec->scaling));
    dt_lower_set(l, op->output[0], best[1]);
    dt_lower_set(l, op->output[1], dt_onnx_from_f32(o, weights));
}

/* x [B, S, K], or of every expert [B, E, S, K] → [B, E, S, N] */
void dt_onnx_lower_expert_linear(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const dt_tensor *w = op->input[1];
    int64_t E = op->attr.experts.count, N = w->dim[0].n / E;
    const char *x = dt_lower_input(l, op, 0), *weight = dt_lower_value(l, w),
               *bias = dt_lower_input(l, op, 3);
    if (op->input[0]->rank == 2)
        x = DT_ONNX_NODE(o, "Unsqueeze", x, DT_ONNX_INTS(o, 1));
    if (l->layout[w->id] != DT_ONNX_EXPERTS)
        weight = DT_ONNX_TRANSPOSE(o, DT_ONNX_RESHAPE(o, weight, E, N, w->dim[1].n), 0, 2, 1);
    const char *y = DT_ONNX_NODE(o, "MatMul", x, weight);
    dt_lower_set(l, op->output[0], bias ? DT_ONNX_NODE(o, "Add", y, DT_ONNX_RESHAPE(o, bias, E, 1, N)) : y);
}

/* The choices [B, S, k] and their weights as a row of weights of all experts: [B, E, S, 1] */
static const char *spread(dt_lowering *l, const char *experts, const char *weights)
{
    dt_onnx *o = l->o;
    const char *all = dt_onnx_range(o, dt_onnx_integer(o, l->config->num_moe_experts));
    const char *hit =
        DT_ONNX_NODE(o, "Equal", DT_ONNX_NODE(o, "Unsqueeze", experts, DT_ONNX_INTS(o, 3)), all);
    const char *each =
        DT_ONNX_NODE(o, "Where", hit, DT_ONNX_NODE(o, "Unsqueeze", weights, DT_ONNX_INTS(o, 3)),
                     dt_onnx_number(o, 0)); /* [B, S, k, E] */
    const char *sum = DT_ONNX_TRANSPOSE(o, dt_onnx_reduce(o, "ReduceSum", each, 2, false), 0, 2, 1);
    return DT_ONNX_NODE(o, "Unsqueeze", sum, DT_ONNX_INTS(o, 3));
}

void dt_onnx_lower_sum_choices(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const dt_tensor *weights = op->input_count > 1 ? op->input[1] : NULL;
    const char *y = dt_lower_input(l, op, 0), *w = dt_lower_input(l, op, 1);
    const dt_op *route = weights ? weights->producer : NULL;
    if (op->input[0]->rank == 2) {
        dt_lower_set(l, op->output[0], w ? DT_ONNX_NODE(o, "Mul", y, w) : y);
        return;
    }
    if (!route || route->kind != DT_OP_route) {
        dt_lower_fail(l, "choices that no router weighed have no counterpart in ONNX");
        return;
    }
    const char *each = DT_ONNX_NODE(o, "Mul", y, spread(l, dt_lower_value(l, route->output[0]), w));
    dt_lower_set(l, op->output[0], dt_onnx_reduce(o, "ReduceSum", each, 1, false));
}
