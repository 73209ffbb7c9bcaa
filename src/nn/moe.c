/*
 * moe.c - a mixture of experts in place of an MLP: each row goes to its router's k best of E experts.
 *
 *   x [T, H] → router [T, E] → k experts and weights a row → fc1, unit, fc2 of each choice → weighted sum [T, H]
 *            → shared expert, perhaps behind a sigmoid gate ────────────────────────────────── + ┘
 *
 * Peers   megatron core/transformer/moe/{router,experts,shared_experts}.py · transformers models/{mixtral,qwen2_moe}
 *
 * Experts' matrices lie below one another in one parameter, under the names of a torch_dist checkpoint. Which rows
 * meet which expert is known at run time only; gathering them is the products' business (graph.h, dt_expert_linear).
 */
#include "nn/layer.h"

#include <stdio.h>

typedef struct moe_name {
    char text[192];
} moe_name;

static moe_name below(const dt_layer *l, const char *name, const char *leaf)
{
    moe_name full;
    snprintf(full.text, sizeof full.text, "%s.%s.%s", dt_layer_prefix(l), name, leaf);
    return full;
}

/* NAME.weight [E·out, in], and NAME.bias [E·out] when `bias`, of all experts. */
static dt_tensor *expert_linear(dt_layer *l, dt_tensor *x, dt_tensor *experts, const char *name, int64_t in,
                                int64_t out, dt_split split, bool bias)
{
    dt_graph *g = dt_layer_graph(l);
    int64_t E = dt_layer_config(l)->num_moe_experts;
    moe_name weight = below(l, name, "weight"), shift = below(l, name, "bias");
    bool row = split == DT_SPLIT_ROW;
    dt_tensor *w = dt_graph_param(g, &(dt_param_spec){.name = weight.text,
                                                      .rank = 2,
                                                      .dim = {E * out, in},
                                                      .split = split,
                                                      .init = row ? DT_INIT_NORMAL_OUTPUT : DT_INIT_NORMAL,
                                                      .decay = true,
                                                      .experts = E});
    dt_tensor *b = NULL;
    if (bias)
        b = dt_graph_param(g, &(dt_param_spec){.name = shift.text,
                                               .rank = 1,
                                               .dim = {E * out},
                                               .split = row ? DT_SPLIT_NONE : split,
                                               .experts = E});
    return dt_expert_linear(g, x, w, experts, b, E);
}

/* experts and weights [T, k] of rows [T, H] */
static void route(dt_layer *l, dt_tensor *x, dt_tensor **experts, dt_tensor **weights)
{
    const dt_model_config *c = dt_layer_config(l);
    dt_route_spec spec = {.topk = c->moe_router_topk,
                          .score = c->moe_router_score_function,
                          .pre_softmax = c->moe_router_pre_softmax,
                          .scaling = c->moe_router_topk_scaling_factor};
    dt_tensor *logits = dt_layer_linear(l, x, "mlp.router", c->hidden_size, c->num_moe_experts, DT_SPLIT_NONE,
                                        c->add_bias_linear && !c->no_router_bias);
    dt_tensor *bias = NULL;
    if (c->moe_router_enable_expert_bias)
        bias = dt_nn_vector(dt_layer_graph(l), dt_layer_prefix(l), "mlp.router.expert_bias",
                            c->num_moe_experts, DT_SPLIT_NONE, DT_INIT_ZERO);
    dt_route(dt_layer_graph(l), logits, bias, &spec, experts, weights);
}

static dt_tensor *shared_experts(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    dt_graph *g = dt_layer_graph(l);
    dt_tensor *y = dt_layer_mlp(l, x, "mlp.shared_experts", c->moe_shared_expert_intermediate_size);
    if (!c->moe_shared_expert_gate)
        return y;
    dt_tensor *w = dt_nn_weight(g, dt_layer_prefix(l), "mlp.shared_experts.gate_weight", 1, c->hidden_size,
                                DT_SPLIT_NONE);
    return dt_sum_choices(g, y, dt_activate(g, dt_linear(g, x, w, NULL), DT_ACT_SIGMOID));
}

dt_tensor *dt_layer_mixture(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    dt_graph *g = dt_layer_graph(l);
    int64_t H = c->hidden_size, F = c->moe_ffn_hidden_size;
    bool gated = c->gated_linear_unit, bias = c->add_bias_linear || c->mlp_bias;
    dt_tensor *experts, *weights;
    route(l, x, &experts, &weights);
    dt_tensor *h = expert_linear(l, x, experts, "mlp.experts.experts.linear_fc1", H, gated ? 2 * F : F,
                                 gated ? DT_SPLIT_GATED : DT_SPLIT_COLUMN, bias);
    h = dt_layer_activation(l, h); /* [T, k, F] */
    h = expert_linear(l, h, experts, "mlp.experts.experts.linear_fc2", F, H, DT_SPLIT_ROW, bias);
    dt_tensor *y = dt_sum_choices(g, h, weights); /* [T, H] */
    if (c->moe_shared_expert_intermediate_size)
        y = dt_add(g, y, shared_experts(l, x));
    return y;
}
