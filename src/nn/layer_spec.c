/*
 * layer_spec.c - the two layer specs that come ready: pre-norm attention and MLP as Megatron's TransformerLayer has
 * them. They build the same ops; `local` forbids fusion, `fused` permits all.
 *
 * Peer  megatron core/models/gpt/gpt_layer_specs.py, core/transformer/{attention,mlp}.py
 */
#include "nn/layer.h"

static dt_tensor *pre_norm(dt_layer *l, dt_tensor *x, dt_norm_place place)
{
    static const char *const stem[] = {
        [DT_NORM_INPUT] = "self_attention.linear_qkv.layer_norm_",
        [DT_NORM_PRE_CROSS] = "pre_cross_attn_layernorm.",
        [DT_NORM_PRE_MLP] = "mlp.linear_fc1.layer_norm_",
    };
    return dt_layer_norm_of(l, x, stem[place], dt_layer_config(l)->hidden_size);
}

static dt_tensor *self_attention(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    int64_t A = c->num_attention_heads, K = c->num_query_groups, D = c->kv_channels, H = c->hidden_size;
    dt_tensor *qkv = dt_layer_linear(l, x, "self_attention.linear_qkv", H, (A + 2 * K) * D, DT_SPLIT_QKV,
                                     c->add_bias_linear || c->add_qkv_bias);
    dt_tensor *part[3]; /* [T, A·D], [T, K·D], [T, K·D] */
    dt_split_groups(dt_layer_graph(l), qkv, K, 3, (int64_t[]){A / K * D, D, D}, part);
    dt_tensor *q = dt_layer_rotate(l, part[0], A);
    dt_tensor *k = dt_layer_rotate(l, part[1], K);
    dt_tensor *context = dt_layer_self_core(l, q, k, part[2]); /* [T, A·D] */
    return dt_layer_linear(l, context, "self_attention.linear_proj", A * D, H, DT_SPLIT_ROW,
                           c->add_bias_linear || c->attention_output_bias);
}

void dt_cross_keys_values(dt_layer *l, dt_tensor *memory, dt_tensor **kv)
{
    const dt_model_config *c = dt_layer_config(l);
    int64_t A = c->num_attention_heads, D = c->kv_channels;
    dt_tensor *both = dt_layer_linear(l, memory, "cross_attention.linear_kv", c->hidden_size, 2 * A * D,
                                      DT_SPLIT_QKV, c->add_bias_linear || c->add_qkv_bias);
    dt_split_groups(dt_layer_graph(l), both, A, 2, (int64_t[]){D, D}, kv);
}

static dt_tensor *cross_attention(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    int64_t A = c->num_attention_heads, D = c->kv_channels, H = c->hidden_size;
    dt_tensor *q = dt_layer_linear(l, x, "cross_attention.linear_q", H, A * D, DT_SPLIT_COLUMN,
                                   c->add_bias_linear || c->add_qkv_bias);
    dt_tensor *kv[2] = {NULL, NULL};
    if (dt_layer_memory(l))
        dt_cross_keys_values(l, dt_layer_memory(l), kv);
    dt_tensor *context = dt_layer_cross_core(l, q, kv[0], kv[1]);
    return dt_layer_linear(l, context, "cross_attention.linear_proj", A * D, H, DT_SPLIT_ROW,
                           c->add_bias_linear || c->attention_output_bias);
}

static dt_tensor *mlp(dt_layer *l, dt_tensor *x)
{
    const dt_model_config *c = dt_layer_config(l);
    int64_t H = c->hidden_size, F = c->ffn_hidden_size;
    bool gated = c->gated_linear_unit, bias = c->add_bias_linear || c->mlp_bias;
    x = dt_layer_linear(l, x, "mlp.linear_fc1", H, gated ? 2 * F : F,
                        gated ? DT_SPLIT_GATED : DT_SPLIT_COLUMN, bias);
    x = gated ? dt_glu(dt_layer_graph(l), x, c->activation_func) /* [T, 2F] → [T, F] */
              : dt_activate(dt_layer_graph(l), x, c->activation_func);
    return dt_layer_linear(l, x, "mlp.linear_fc2", F, H, DT_SPLIT_ROW, bias);
}

static dt_tensor *residual(dt_layer *l, dt_tensor *x, dt_tensor *branch)
{
    return dt_add(dt_layer_graph(l), x, branch);
}

#define PRE_NORM_LAYER(spec_name, permitted)                                                                 \
    {                                                                                                        \
        .name = (spec_name), .fuse = (permitted), .norm = pre_norm, .self_attention = self_attention,        \
        .cross_attention = cross_attention, .mlp = mlp, .residual = residual                                 \
    }

static const dt_layer_spec local = PRE_NORM_LAYER("local", DT_FUSE_NONE);
static const dt_layer_spec fused = PRE_NORM_LAYER("fused", DT_FUSE_ALL);

const dt_layer_spec *dt_layer_spec_local(void)
{
    return &local;
}

const dt_layer_spec *dt_layer_spec_fused(void)
{
    return &fused;
}
