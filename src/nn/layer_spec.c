/*
 * layer_spec.c - the two layer specs that come ready: norms, attention and MLP as Megatron's TransformerLayer has
 * them. They build the same ops; `local` forbids fusion, `fused` permits all.
 *
 * Peer  megatron core/models/gpt/gpt_layer_specs.py, core/transformer/{attention,mlp}.py
 */
#include "graph/ir.h"
#include "nn/layer.h"

#include <stdio.h>

static bool has_experts(const dt_layer *l)
{
    return dt_config_layer_is_moe(dt_layer_config(l), dt_layer_number(l));
}

static dt_tensor *layer_norm(dt_layer *l, dt_tensor *x, dt_norm_place place)
{
    static const char *const stem[] = {
        [DT_NORM_INPUT] = "self_attention.linear_qkv.layer_norm_",
        [DT_NORM_PRE_CROSS] = "pre_cross_attn_layernorm.",
        [DT_NORM_PRE_MLP] = "mlp.linear_fc1.layer_norm_",
        [DT_NORM_POST_SELF] = "self_attention.linear_proj.post_layernorm.",
        [DT_NORM_POST_CROSS] = "cross_attention.linear_proj.post_layernorm.",
        [DT_NORM_POST_MLP] = "mlp.linear_fc2.post_layernorm.",
        [DT_NORM_SELF_SUM] = "x_self_attn_sum_layernorm.",
        [DT_NORM_CROSS_SUM] = "x_cross_attn_sum_layernorm.",
        [DT_NORM_MLP_SUM] = "x_mlp_sum_layernorm.",
    };
    dt_layer_shape shape = dt_config_layer_shape(dt_layer_config(l), dt_layer_number(l));
    const char *name = stem[place];
    if (place == DT_NORM_INPUT && shape.attention == DT_BRANCH_LINEAR)
        name = "self_attention.layer_norm_";
    if (place == DT_NORM_PRE_MLP && shape.mlp == DT_BRANCH_LINEAR)
        name = "mlp.layer_norm_";
    bool apart = place == DT_NORM_PRE_MLP && has_experts(l); /* the router and every expert read it */
    return dt_layer_norm_of(l, x, apart ? "pre_mlp_layernorm." : name, dt_layer_config(l)->hidden_size);
}

/* q or k [T, heads·D], normed head by head, or whole, where the model does. */
static dt_tensor *norm_heads(dt_layer *l, dt_tensor *x, const char *stem, int64_t heads)
{
    const dt_model_config *c = dt_layer_config(l);
    if (!c->qk_layernorm)
        return x;
    int64_t size = c->qk_layernorm_whole ? heads * c->kv_channels : c->kv_channels;
    return c->qk_layernorm_rms ? dt_layer_rms_norm_of(l, x, stem, size) : dt_layer_norm_of(l, x, stem, size);
}

static dt_tensor *self_attention(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    dt_layer_shape shape = dt_config_layer_shape(c, dt_layer_number(l));
    int64_t A = c->num_attention_heads, K = shape.num_query_groups, D = c->kv_channels, H = c->hidden_size;
    if (shape.attention == DT_BRANCH_LINEAR)
        return dt_layer_linear(l, x, "self_attention", H, H, DT_SPLIT_COLUMN, c->add_bias_linear);
    dt_tensor *qkv = dt_layer_linear(l, x, "self_attention.linear_qkv", H, (A + 2 * K) * D, DT_SPLIT_QKV,
                                     c->add_bias_linear || c->add_qkv_bias);
    dt_tensor *part[3]; /* [T, A·D], [T, K·D], [T, K·D] */
    dt_split_groups(dt_layer_graph(l), qkv, K, 3, (int64_t[]){A / K * D, D, D}, part);
    dt_tensor *q = dt_layer_rotate(l, norm_heads(l, part[0], "self_attention.q_layernorm.", A), A);
    dt_tensor *k = dt_layer_rotate(l, norm_heads(l, part[1], "self_attention.k_layernorm.", K), K);
    dt_tensor *context = dt_layer_self_core(l, q, k, part[2]); /* [T, A·D] */
    return dt_layer_linear(l, context, "self_attention.linear_proj", A * D, H, DT_SPLIT_ROW,
                           c->add_bias_linear || c->attention_output_bias);
}

void dt_cross_keys_values(dt_layer *l, dt_tensor *memory, dt_tensor **kv)
{
    const dt_model_config *c = dt_layer_config(l);
    int64_t A = c->num_attention_heads, D = c->kv_channels;
    dt_tensor *both = dt_layer_linear(l, memory, "cross_attention.linear_kv", c->hidden_size, 2 * A * D,
                                      DT_SPLIT_QKV, c->add_bias_linear);
    dt_split_groups(dt_layer_graph(l), both, A, 2, (int64_t[]){D, D}, kv);
}

static dt_tensor *cross_attention(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    int64_t A = c->num_attention_heads, D = c->kv_channels, H = c->hidden_size;
    dt_tensor *q = dt_layer_linear(l, x, "cross_attention.linear_q", H, A * D, DT_SPLIT_COLUMN,
                                   c->add_bias_linear); /* add_qkv_bias is self attention's alone */
    dt_tensor *kv[2] = {NULL, NULL};
    if (dt_layer_memory(l))
        dt_cross_keys_values(l, dt_layer_memory(l), kv);
    dt_tensor *context = dt_layer_cross_core(l, q, kv[0], kv[1]);
    return dt_layer_linear(l, context, "cross_attention.linear_proj", A * D, H, DT_SPLIT_ROW,
                           c->add_bias_linear || c->attention_output_bias);
}

dt_tensor *dt_layer_activation(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    if (!c->gated_linear_unit)
        return dt_activate(dt_layer_graph(l), x, c->activation_func);
    return dt_glu_bounded(dt_layer_graph(l), x, c->activation_func, c->activation_func_clamp_value,
                          c->glu_linear_offset); /* [.., 2F] → [.., F] */
}

dt_tensor *dt_layer_mlp(dt_layer *l, dt_tensor *x, const char *name, int64_t F)
{
    const dt_model_config *c = dt_layer_config(l);
    bool gated = c->gated_linear_unit, bias = c->add_bias_linear || c->mlp_bias;
    char fc1[64], fc2[64];
    snprintf(fc1, sizeof fc1, "%s.linear_fc1", name);
    snprintf(fc2, sizeof fc2, "%s.linear_fc2", name);
    x = dt_layer_linear(l, x, fc1, c->hidden_size, gated ? 2 * F : F,
                        gated ? DT_SPLIT_GATED : DT_SPLIT_COLUMN, bias);
    return dt_layer_linear(l, dt_layer_activation(l, x), fc2, F, c->hidden_size, DT_SPLIT_ROW, bias);
}

static dt_tensor *mlp(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    dt_layer_shape shape = dt_config_layer_shape(c, dt_layer_number(l));
    if (has_experts(l))
        return dt_layer_mixture(l, x);
    if (shape.mlp == DT_BRANCH_LINEAR)
        return dt_layer_linear(l, x, "mlp", c->hidden_size, c->hidden_size, DT_SPLIT_COLUMN,
                               c->add_bias_linear);
    return dt_layer_mlp(l, x, "mlp", shape.ffn_hidden_size);
}

static dt_tensor *residual(dt_layer *l, dt_tensor *x, dt_tensor *branch)
{
    return dt_add(dt_layer_graph(l), x, branch);
}

#define READY_LAYER(spec_name, permitted)                                                                    \
    {                                                                                                        \
        .name = (spec_name), .fuse = (permitted), .norm = layer_norm, .self_attention = self_attention,      \
        .cross_attention = cross_attention, .mlp = mlp, .residual = residual                                 \
    }

static const dt_layer_spec local = READY_LAYER("local", DT_FUSE_NONE);
static const dt_layer_spec fused = READY_LAYER("fused", DT_FUSE_ALL);

const dt_layer_spec *dt_layer_spec_local(void)
{
    return &local;
}

const dt_layer_spec *dt_layer_spec_fused(void)
{
    return &fused;
}
