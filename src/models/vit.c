/*
 * vit.c - vision transformers: pictures in, rows of hidden states out. One builder for the whole family.
 *
 * Papers  Dosovitskiy et al. 2020, arXiv:2010.11929 (ViT); Radford et al. 2021, arXiv:2103.00020 (CLIP); Zhai et al. 2023,
 *         arXiv:2303.15343 (SigLIP); Oquab et al. 2023, arXiv:2304.07193 (DINOv2); Ranzinger et al. 2023, arXiv:2312.06709
 *         (RADIO).
 * Peers   megatron core/models/vision/{clip_vit_model,radio}.py · transformers models/{clip,siglip,vit,dinov2,internvl}
 *
 *   patches [P, C·p·p] → linear → class tokens before each picture's → + positions → (norm) → L layers → (norm) → [T, H]
 *   hidden → the class token's row, or what a learnt query finds → pooled [N, H] → projection, or classes
 *
 * Unlike BERT:  rows are pictures' patches, packed one picture behind another, whatever their sizes; a picture's rows
 *               see one another and nobody else.
 *               CLIP norms before its layers, and behind them only the pooled row; Megatron's CLIP has no norm there.
 *               RADIO's positions belong to patches alone and are resampled from one large table; DINOv2's and InternVL's
 *               tables cover the class token too. Either way a row's position is a blend of the table's rows.
 *               Megatron's local spec attends causally unless it is told not to (vision_causal).
 */
#include "models/tower.h"
#include "graph/ir.h"

#include "models/pictures.h"

#include <stdio.h>
#include <string.h>

dt_status dt_build_vit(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                       dt_error *err);

enum { NAME_BYTES = 128 };

/* What the steps of one tower share. */
typedef struct vit {
    dt_graph *g;
    const dt_model_config *c;
    const dt_build_options *o;
    const char *prefix, *point;
    dt_dim rows, patches, images;
} vit;

typedef struct name_text {
    char text[NAME_BYTES];
} name_text;

static name_text named(const vit *v, const char *name)
{
    name_text full;
    snprintf(full.text, sizeof full.text, "%s%s", v->prefix, name);
    return full;
}

static dt_tensor *weight(const vit *v, const char *name, int64_t rows, int64_t cols)
{
    return dt_nn_weight(v->g, "", named(v, name).text, rows, cols, DT_SPLIT_NONE);
}

static dt_tensor *vector(const vit *v, const char *name, int64_t size)
{
    return dt_nn_vector(v->g, "", named(v, name).text, size, DT_SPLIT_NONE, DT_INIT_ZERO);
}

static dt_tensor *norm(const vit *v, const char *stem, dt_tensor *x)
{
    return dt_nn_norm(v->g, v->c, "", named(v, stem).text, x, v->c->hidden_size);
}

/* NAME.weight [out, in] and NAME.bias [out] applied to x. */
static dt_tensor *dense(const vit *v, const char *name, dt_tensor *x, int64_t in, int64_t out, bool bias)
{
    char part[NAME_BYTES];
    snprintf(part, sizeof part, "%s.weight", name);
    dt_tensor *w = weight(v, part, out, in);
    snprintf(part, sizeof part, "%s.bias", name);
    return dt_linear(v->g, x, w, bias ? vector(v, part, out) : NULL);
}

static dt_tensor *input(const vit *v, const char *name, dt_dtype type, dt_dim rows, int64_t cols)
{
    return dt_graph_input(v->g, name, type, cols ? 2 : 1, (dt_dim[]){rows, {NULL, cols}});
}

static vit begin(dt_graph *g, const dt_model_config *c, const dt_build_options *o, const char *prefix,
                 const char *point)
{
    vit v = {.g = g,
             .c = c,
             .o = o,
             .prefix = prefix,
             .point = point,
             .rows = {dt_graph_axis(g, "vision_tokens", o->vision_tokens), 0},
             .images = {dt_graph_axis(g, "images", o->images), 0}};
    v.patches = v.rows; /* without class tokens every row is a patch */
    if (c->class_token_len > 0)
        v.patches.axis = dt_graph_axis(g, "patches", o->patches);
    return v;
}

static dt_tensor *cu_seqlens(const vit *v)
{
    return input(v, "vision_cu_seqlens", DT_I32, (dt_dim){v->images.axis, 1}, 0);
}

/* ---- from pictures to rows ---- */

/* A convolution whose steps are as wide as its kernel is a product with each patch laid flat. */
static dt_tensor *embed_patches(const vit *v)
{
    const dt_model_config *c = v->c;
    int64_t flat = c->num_channels * c->patch_dim * c->patch_dim;
    dt_tensor *patches = input(v, "patches", DT_F32, v->patches, flat);
    if (strcmp(c->model_type, "radio") != 0)
        return dense(v, "conv1", patches, flat, c->hidden_size, c->patch_bias); /* [P, H] */
    name_text name = named(v, "embedder"); /* Megatron cuts it for its ranks */
    dt_tensor *w = dt_nn_weight(v->g, name.text, "weight", c->hidden_size, flat, DT_SPLIT_COLUMN);
    dt_tensor *b = c->patch_bias
                       ? dt_nn_vector(v->g, name.text, "bias", c->hidden_size, DT_SPLIT_COLUMN, DT_INIT_ZERO)
                       : NULL;
    return dt_linear(v->g, patches, w, b);
}

static dt_tensor *add_positions(const vit *v, dt_tensor *x)
{
    int64_t terms = dt_pictures_terms(v->c);
    const char *name =
        strcmp(v->c->model_type, "radio") == 0 ? "position_embeddings" : "position_embeddings.weight";
    dt_tensor *table = weight(v, name, dt_config_position_rows(v->c), v->c->hidden_size);
    dt_tensor *index = input(v, "vision_positions", DT_I32, v->rows, terms);
    dt_tensor *weights = input(v, "vision_position_weights", DT_F32, v->rows, terms);
    return dt_add(v->g, x, dt_blend_rows(v->g, table, index, weights));
}

static dt_tensor *embed(const vit *v)
{
    const dt_model_config *c = v->c;
    dt_tensor *x = embed_patches(v);
    if (c->class_token_len > 0) {
        dt_tensor *order = input(v, "vision_rows", DT_I32, v->rows, 0);
        x = dt_merge_rows(v->g, weight(v, "class_token", c->class_token_len, c->hidden_size), x, order);
    }
    if (c->use_mask_token)
        weight(v, "mask_token", 1, c->hidden_size); /* part of the model, though only its training uses it */
    x = add_positions(v, x);
    if (c->ln_pre)
        x = norm(v, "ln_pre.", x);
    return dt_point(v->g, x, "%sembedding", v->point); /* [T, H] */
}

/* ---- from rows to one a picture ---- */

static dt_tensor *first_rows(const vit *v, dt_tensor *hidden)
{
    return dt_take_rows(v->g, hidden, input(v, "vision_first_rows", DT_I32, v->images, 0));
}

/* A learnt query over each picture's rows, then an MLP around which the result passes. */
static dt_tensor *attend(const vit *v, dt_tensor *hidden, dt_tensor *cu_seqlens)
{
    const dt_model_config *c = v->c;
    int64_t A = c->num_attention_heads, D = c->kv_channels, H = c->hidden_size;
    dt_graph *g = v->g;
    dt_dim ends = {v->images.axis, 1};
    dt_tensor *probe =
        dt_embedding(g, weight(v, "x_head.probe", 1, H), input(v, "vision_probe", DT_I32, v->images, 0));
    dt_tensor *q = dense(v, "x_head.attention.linear_q", probe, H, A * D, true), *kv[2];
    dt_tensor *both = dense(v, "x_head.attention.linear_kv", hidden, H, 2 * A * D, true);
    dt_split_groups(g, both, A, 2, (int64_t[]){D, D}, kv);
    dt_attention_spec spec = {.heads = A,
                              .groups = A,
                              .head_dim = D,
                              .scale = c->softmax_scale,
                              .window_left = -1,
                              .window_right = -1};
    dt_attention_inputs in = {.q = q,
                              .k = kv[0],
                              .v = kv[1],
                              .rows = {.cu_seqlens = input(v, "vision_probe_cu_seqlens", DT_I32, ends, 0)},
                              .keys = {.cu_seqlens = cu_seqlens}};
    dt_tensor *x = dense(v, "x_head.attention.linear_proj", dt_attention(g, &in, &spec), A * D, H, true);
    dt_tensor *y =
        dense(v, "x_head.mlp.linear_fc1", norm(v, "x_head.layernorm.", x), H, c->ffn_hidden_size, true);
    y = dense(v, "x_head.mlp.linear_fc2", dt_activate(g, y, c->activation_func), c->ffn_hidden_size, H, true);
    return dt_add(g, x, y); /* [N, H] */
}

static dt_tensor *pool(const vit *v, dt_tensor *hidden, dt_tensor *cu_seqlens)
{
    const dt_model_config *c = v->c;
    dt_tensor *x = NULL;
    if (c->vision_pooling == DT_POOL_ATTENTION)
        x = attend(v, hidden, cu_seqlens);
    else if (c->vision_pooling != DT_POOL_NONE)
        x = first_rows(v, hidden);
    if (c->vision_pooling == DT_POOL_CLASS_NORM)
        x = norm(v, "ln_post.", x);
    if (x && c->pooler)
        x = dt_activate(v->g, dense(v, "pooler.dense", x, c->hidden_size, c->hidden_size, true), DT_ACT_TANH);
    return x ? dt_point(v->g, x, "%spooled", v->point) : NULL; /* [N, H] */
}

dt_tower dt_tower_build_part(dt_graph *g, const dt_model_config *c, const dt_build_options *o,
                             const char *prefix, const char *point, int64_t layers)
{
    vit v = begin(g, c, o, prefix, point);
    name_text name = named(&v, "decoder");
    dt_stack s = dt_model_stack(g, c, o, name.text, point, layers);
    dt_tower t = {.stream = DT_NEW_ARRAY(g->arena, dt_tensor *, layers + 1)};
    if (!t.stream) {
        dt_graph_fail(g, DT_NO_MEMORY, "no memory for the rows between %lld layers", (long long)layers);
        return t;
    }
    s.open_ended = true;
    s.causal = c->vision_causal;
    s.rows.cu_seqlens = cu_seqlens(&v);
    s.stream = t.stream;
    dt_stack_build(&s, embed(&v));
    return t;
}

dt_tower dt_tower_build(dt_graph *g, const dt_model_config *c, const dt_build_options *o, const char *prefix,
                        const char *point)
{
    vit v = begin(g, c, o, prefix, point);
    dt_tower t = dt_tower_build_part(g, c, o, prefix, point, c->num_layers);
    if (!t.stream)
        return t;
    t.hidden = t.stream[c->num_layers];
    if (c->ln_post && c->vision_pooling != DT_POOL_CLASS_NORM)
        t.hidden = norm(&v, "ln_post.", t.hidden);
    dt_point(g, t.hidden, "%shidden", point);
    t.pooled = pool(&v, t.hidden, cu_seqlens(&v));
    return t;
}

dt_tensor *dt_tower_project(dt_graph *g, const dt_model_config *c, const char *prefix, const dt_tower *t)
{
    vit v = {.g = g, .c = c, .prefix = prefix};
    if (!c->projection_dim)
        return t->pooled;
    return dense(&v, "x_projection", t->pooled, c->hidden_size, c->projection_dim, false);
}

/* ---- a tower alone ---- */

static dt_tensor *loss_of(dt_graph *g, const dt_build_options *o, const dt_tower *t)
{
    if (o->loss_kind == DT_LOSS_POOLED_SQUARES)
        return dt_dot(g, t->pooled, t->pooled, 1);
    dt_tensor *w = dt_graph_input(g, "hidden_weight", DT_F32, 2, t->hidden->dim);
    return dt_dot(g, t->hidden, w, o->loss_factor);
}

dt_status dt_build_vit(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_error *err)
{
    vit v = {.g = g, .c = c, .o = o, .prefix = "", .point = "out."};
    if (o->mode == DT_BUILD_STEP || o->mode == DT_BUILD_ENCODE)
        return dt_fail(err, DT_UNSUPPORTED, "a %s sees, and does not write: it can only embed", c->family);
    if (o->loss && o->loss_kind == DT_LOSS_POOLED_SQUARES && c->vision_pooling == DT_POOL_NONE)
        return dt_fail(err, DT_UNSUPPORTED, "this %s pools nothing, so it has no loss of what is pooled",
                       c->family);
    dt_tower t = dt_tower_build(g, c, o, "", "out.");
    if (c->projection_dim && t.pooled)
        dt_point(g, dt_tower_project(g, c, "", &t), "out.image_features");
    if (c->num_classes && t.pooled)
        dt_point(g, dense(&v, "x_classifier", t.pooled, c->hidden_size, c->num_classes, true), "out.logits");
    if (o->loss)
        dt_point(g, loss_of(g, o, &t), "out.loss");
    return DT_OK;
}
