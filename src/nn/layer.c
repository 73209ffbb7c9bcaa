/*
 * layer.c - stacks of layers, and the pieces a layer spec builds with: projections, norms, rotation, attention.
 *
 * The skeleton of every layer is here (order of branches, names of parameters, caches); its flesh is the spec's.
 */
#include "nn/layer.h"

#include <stdio.h>

enum { NAME_BYTES = 192 };

typedef struct name_text {
    char text[NAME_BYTES];
} name_text;

/* "PREFIX.NAME", or NAME alone below an empty prefix. */
static name_text joined(const char *prefix, const char *name)
{
    name_text full;
    snprintf(full.text, sizeof full.text, "%s%s%s", prefix, prefix[0] ? "." : "", name);
    return full;
}

dt_tensor *dt_nn_weight(dt_graph *g, const char *prefix, const char *name, int64_t rows, int64_t cols,
                        dt_split split)
{
    name_text full = joined(prefix, name);
    dt_param_spec spec = {.name = full.text,
                          .rank = 2,
                          .dim = {rows, cols},
                          .split = split,
                          .init = split == DT_SPLIT_ROW ? DT_INIT_NORMAL_OUTPUT : DT_INIT_NORMAL,
                          .decay = true};
    return dt_graph_param(g, &spec);
}

dt_tensor *dt_nn_vector(dt_graph *g, const char *prefix, const char *name, int64_t size, dt_split split,
                        dt_init init)
{
    name_text full = joined(prefix, name);
    dt_param_spec spec = {.name = full.text, .rank = 1, .dim = {size}, .split = split, .init = init};
    return dt_graph_param(g, &spec);
}

dt_tensor *dt_nn_norm(dt_graph *g, const dt_model_config *c, const char *prefix, const char *stem,
                      dt_tensor *x, int64_t size)
{
    name_text weight = joined(stem, ""), bias = weight;
    snprintf(weight.text, sizeof weight.text, "%sweight", stem);
    snprintf(bias.text, sizeof bias.text, "%sbias", stem);
    dt_init one = c->layernorm_zero_centered_gamma ? DT_INIT_ZERO : DT_INIT_ONE;
    dt_tensor *w = dt_nn_vector(g, prefix, weight.text, size, DT_SPLIT_NONE, one);
    if (c->normalization == DT_NORM_RMSNORM)
        return dt_rms_norm(g, x, w, c->layernorm_epsilon, c->layernorm_zero_centered_gamma);
    dt_tensor *b = dt_nn_vector(g, prefix, bias.text, size, DT_SPLIT_NONE, DT_INIT_ZERO);
    return dt_layer_norm(g, x, w, b, c->layernorm_epsilon, c->layernorm_zero_centered_gamma);
}

/* ---- what a spec builds with ---- */

dt_graph *dt_layer_graph(dt_layer *layer)
{
    return layer->stack->g;
}

const dt_model_config *dt_layer_config(const dt_layer *layer)
{
    return layer->stack->config;
}

const char *dt_layer_prefix(const dt_layer *layer)
{
    return layer->prefix;
}

int dt_layer_number(const dt_layer *layer)
{
    return layer->number;
}

dt_tensor *dt_layer_linear(dt_layer *l, dt_tensor *x, const char *name, int64_t in, int64_t out,
                           dt_split split, bool bias)
{
    dt_graph *g = l->stack->g;
    name_text below = joined(l->prefix, name);
    dt_tensor *w = dt_nn_weight(g, below.text, "weight", out, in, split);
    dt_split bias_split =
        split == DT_SPLIT_ROW ? DT_SPLIT_NONE : split; /* a row-parallel bias is replicated */
    dt_tensor *b = bias ? dt_nn_vector(g, below.text, "bias", out, bias_split, DT_INIT_ZERO) : NULL;
    return dt_linear(g, x, w, b);
}

dt_tensor *dt_layer_norm_of(dt_layer *l, dt_tensor *x, const char *stem, int64_t size)
{
    return dt_nn_norm(l->stack->g, l->stack->config, l->prefix, stem, x, size);
}

dt_tensor *dt_layer_rotate(dt_layer *l, dt_tensor *x, int64_t heads)
{
    const dt_stack *s = l->stack;
    if (!s->inv_freq)
        return x;
    if (s->window_inv_freq && dt_config_layer_window(s->config, l->number) >= 0)
        return dt_rope(s->g, x, s->positions, s->window_inv_freq, heads, s->config->rotary_interleaved, 1);
    dt_rope_spec spec = dt_rope_spec_of(s->config, heads, s->rope_magnitude);
    return dt_rope_by_length(s->g, x, s->positions, s->inv_freq, s->lengths, &spec);
}

dt_tensor *dt_layer_rms_norm_of(dt_layer *l, dt_tensor *x, const char *stem, int64_t size)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%sweight", stem);
    dt_tensor *w = dt_nn_vector(l->stack->g, l->prefix, name, size, DT_SPLIT_NONE, DT_INIT_ONE);
    return dt_rms_norm(l->stack->g, x, w, l->stack->config->layernorm_epsilon, false);
}

/* A layer's half of a cache: "decoder.layers.3.k_cache", [blocks, DT_KV_BLOCK, groups·D]. */
static dt_tensor *cache(const dt_layer *l, const char *name, dt_dim blocks, int64_t groups)
{
    name_text full = joined(l->prefix, name);
    dt_dim dim[] = {blocks, {NULL, DT_KV_BLOCK}, {NULL, groups * l->stack->config->kv_channels}};
    return dt_graph_state(l->stack->g, full.text, l->stack->kv_dtype, 3, dim);
}

static dt_attention_spec attention_spec(const dt_model_config *c, int64_t groups)
{
    return (dt_attention_spec){.heads = c->num_attention_heads,
                               .groups = groups,
                               .head_dim = c->kv_channels,
                               .scale = c->softmax_scale,
                               .soft_cap = c->attention_soft_cap,
                               .window_left = -1,
                               .window_right = -1};
}

/* The stack's shared table of relative positions, or this layer's own (umT5), or none. */
static dt_tensor *bias_table(const dt_layer *l)
{
    const dt_stack *s = l->stack;
    if (!s->bias_name)
        return s->bias_table;
    return dt_nn_weight(s->g, l->prefix, s->bias_name, s->config->relative_attention_num_buckets,
                        s->config->num_attention_heads, DT_SPLIT_NONE);
}

/* The logit [A] beside the keys of a head, or none. */
static dt_tensor *sink(const dt_layer *l)
{
    const dt_model_config *c = l->stack->config;
    if (c->softmax_type == DT_SOFTMAX_LEARNABLE)
        return dt_nn_vector(l->stack->g, l->prefix, "self_attention.core_attention.softmax_offset",
                            c->num_attention_heads, DT_SPLIT_COLUMN, DT_INIT_NORMAL);
    return c->softmax_type == DT_SOFTMAX_OFF_BY_ONE ? l->stack->zero_logits : NULL;
}

dt_tensor *dt_layer_self_core(dt_layer *l, dt_tensor *q, dt_tensor *k, dt_tensor *v)
{
    const dt_stack *s = l->stack;
    int64_t groups = dt_config_layer_shape(s->config, l->number).num_query_groups;
    dt_attention_spec spec = attention_spec(s->config, groups);
    spec.causal = s->causal;
    spec.alibi = s->config->position_embedding_type == DT_POSITION_ALIBI;
    spec.window_left = dt_config_layer_window(s->config, l->number);
    spec.bias_max_distance = s->config->relative_attention_max_distance;
    spec.bias_bidirectional = !s->causal;
    dt_attention_inputs in = {.q = q,
                              .k = k,
                              .v = v,
                              .rows = s->rows,
                              .keys = s->rows,
                              .bias_table = bias_table(l),
                              .sink = sink(l)};
    if (s->rows.past) {
        in.k_cache = cache(l, "k_cache", s->kv_blocks, groups);
        in.v_cache = cache(l, "v_cache", s->kv_blocks, groups);
    }
    return dt_attention(s->g, &in, &spec);
}

dt_tensor *dt_layer_memory(dt_layer *l)
{
    return l->stack->memory;
}

dt_tensor *dt_layer_cross_core(dt_layer *l, dt_tensor *q, dt_tensor *k, dt_tensor *v)
{
    const dt_stack *s = l->stack;
    int64_t heads = s->config->num_attention_heads;
    dt_attention_spec spec = attention_spec(s->config, heads);
    dt_attention_inputs in = {.q = q, .k = k, .v = v, .rows = s->rows, .keys = s->memory_rows};
    if (!k) {
        in.k_cache = cache(l, "cross_k_cache", s->memory_blocks, heads);
        in.v_cache = cache(l, "cross_v_cache", s->memory_blocks, heads);
    }
    return dt_attention(s->g, &in, &spec);
}

/* ---- stacks ---- */

/* One of a layer's branches, and the places of norms around it. */
typedef struct branch {
    dt_tensor *(*run)(dt_layer *layer, dt_tensor *x);
    dt_norm_place before, after, sum;
    const char *scale; /* of its columns, where layers have that */
} branch;

/* x + f(norm x), x + norm(f(x)), x + norm(f(norm x)) or norm(x + f(x)) */
static dt_tensor *add_branch(dt_layer *l, dt_tensor *x, branch f)
{
    const dt_layer_spec *spec = l->stack->spec;
    dt_norm_placement at = l->stack->config->norm_placement;
    dt_tensor *y = at == DT_NORM_BEFORE || at == DT_NORM_BOTH ? spec->norm(l, x, f.before) : x;
    y = f.run(l, y);
    if (l->stack->config->layer_scale) {
        int64_t H = l->stack->config->hidden_size;
        y = dt_scale_columns(l->stack->g, y,
                             dt_nn_vector(l->stack->g, l->prefix, f.scale, H, DT_SPLIT_NONE, DT_INIT_ONE));
    }
    if (at == DT_NORM_BRANCH || at == DT_NORM_BOTH)
        y = spec->norm(l, y, f.after);
    y = spec->residual(l, x, y);
    return at == DT_NORM_AFTER ? spec->norm(l, y, f.sum) : y;
}

/* x + attention(norm x) + mlp(norm x); the norms are two, or one for both */
static dt_tensor *add_parallel(dt_layer *l, dt_tensor *x)
{
    const dt_layer_spec *spec = l->stack->spec;
    dt_tensor *read = spec->norm(l, x, DT_NORM_INPUT);
    dt_tensor *attention = spec->self_attention(l, read);
    if (!l->stack->config->parallel_shared_norm)
        read = spec->norm(l, x, DT_NORM_PRE_MLP);
    return spec->residual(l, spec->residual(l, x, attention), spec->mlp(l, read));
}

static dt_tensor *layer_build(dt_layer *l, dt_tensor *x)
{
    const dt_layer_spec *spec = l->stack->spec;
    dt_layer_shape shape = dt_config_layer_shape(l->stack->config, l->number);
    if (l->stack->config->parallel_residual)
        return add_parallel(l, x);
    if (shape.attention != DT_BRANCH_NONE)
        x = add_branch(
            l, x, (branch){spec->self_attention, DT_NORM_INPUT, DT_NORM_POST_SELF, DT_NORM_SELF_SUM, "ls1"});
    if (l->stack->cross)
        x = add_branch(l, x,
                       (branch){spec->cross_attention, DT_NORM_PRE_CROSS, DT_NORM_POST_CROSS,
                                DT_NORM_CROSS_SUM, "x_ls_cross"});
    if (shape.mlp == DT_BRANCH_NONE)
        return x;
    return add_branch(l, x, (branch){spec->mlp, DT_NORM_PRE_MLP, DT_NORM_POST_MLP, DT_NORM_MLP_SUM, "ls2"});
}

static name_text layer_prefix(const dt_stack *s, int64_t number)
{
    name_text prefix;
    snprintf(prefix.text, sizeof prefix.text, "%s.layers.%lld", s->name, (long long)number);
    return prefix;
}

dt_tensor *dt_stack_build(const dt_stack *s, dt_tensor *x)
{
    dt_graph_permit(s->g, s->spec->fuse);
    for (int64_t i = 0; i < s->layers; i++) {
        name_text prefix = layer_prefix(s, i);
        dt_layer layer = {.stack = s, .prefix = prefix.text, .number = (int)i};
        if (s->stream)
            s->stream[i] = x;
        x = dt_point(s->g, layer_build(&layer, x), "%slayer.%d", s->point, layer.number);
    }
    if (s->stream)
        s->stream[s->layers] = x;
    if (s->open_ended)
        return x;
    if (s->config->norm_placement != DT_NORM_AFTER) /* norms of sums end every layer already */
        x = dt_nn_norm(s->g, s->config, s->name, "final_layernorm.", x, s->config->hidden_size);
    return dt_point(s->g, x, "%shidden", s->point); /* [T, H] */
}

void dt_stack_store_cross(const dt_stack *s)
{
    int64_t heads = s->config->num_attention_heads, size = s->config->kv_channels;
    dt_graph_permit(s->g, s->spec->fuse);
    for (int64_t i = 0; i < s->layers; i++) {
        name_text prefix = layer_prefix(s, i);
        dt_layer layer = {.stack = s, .prefix = prefix.text, .number = (int)i};
        dt_tensor *kv[2];
        dt_cross_keys_values(&layer, s->memory, kv);
        dt_kv_store(s->g, kv[0], kv[1], s->memory_rows,
                    cache(&layer, "cross_k_cache", s->memory_blocks, heads),
                    cache(&layer, "cross_v_cache", s->memory_blocks, heads), heads, size);
    }
}
