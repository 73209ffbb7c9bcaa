/*
 * dual_encoder.c - pictures and texts as points of one space: CLIP and SigLIP, whole, or their text towers alone.
 *
 * Papers  Radford et al. 2021, arXiv:2103.00020 (CLIP); Zhai et al. 2023, arXiv:2303.15343 (SigLIP).
 * Peers   transformers models/{clip,siglip}
 *
 *   tokens [T] → embed + positions → L layers → norm → one row a text → projection → t [B, P], of length 1
 *   pictures   → vision tower (vit.c)        → pooled [N, H] → projection → v [N, P], of length 1
 *   logits [N, B] = v · tᵀ · exp(logit scale) + logit bias
 *
 * Unlike BERT:  CLIP's text tower sees only what stands before (causal); SigLIP's sees all, padding included, because it
 *               was trained on texts of one length (dt_embed pads them).
 *               a text's row is that of its end token, or of its largest id (files whose end token is the historical 2),
 *               or the last: the host finds it (dt_model_pooled_row).
 *               SigLIP's projection of texts has a bias and is part of what is pooled; its pictures have none.
 *               without a vision tower there is nothing to compare with, and features keep their length.
 */
#include "models/tower.h"

#include "graph/ir.h"

#include <math.h>

dt_status dt_build_dual_encoder(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                                dt_error *err);

/* ---- texts ---- */

static dt_tensor *project(dt_graph *g, const dt_model_config *c, dt_tensor *x)
{
    int64_t P = c->text_projection_dim;
    dt_tensor *w = dt_nn_weight(g, "text_model.x_projection", "weight", P, c->hidden_size, DT_SPLIT_NONE);
    dt_tensor *b = c->text_projection_pools
                       ? dt_nn_vector(g, "text_model.x_projection", "bias", P, DT_SPLIT_NONE, DT_INIT_ZERO)
                       : NULL;
    return dt_linear(g, x, w, b); /* [B, P] */
}

/* [T] → [B, P], or [B, H] without a projection; points below `point`. */
static dt_tensor *read_texts(dt_graph *g, const dt_model_config *c, const dt_build_options *o,
                             const char *point)
{
    dt_stack s = dt_model_stack(g, c, o, "text_model.encoder", point, c->num_layers);
    s.prefix = "text_model.";
    s.causal = !c->text_bidirectional;
    dt_tensor *tokens = dt_model_rows(&s, o, "", "tokens", o->tokens);
    dt_tensor *x = dt_stack_build(&s, dt_stack_embed(&s, tokens)); /* [T, H] */
    x->keep = true;
    if (c->text_pooling == DT_TEXT_POOL_NONE)
        return NULL;
    x = dt_take_rows(g, x, dt_model_sequence_input(g, o, "pooled_rows"));
    if (c->text_projection_pools)
        x = project(g, c, x);
    dt_point(g, x, "%spooled", point)->keep = true;
    return c->text_projection_dim && !c->text_projection_pools ? project(g, c, x) : x;
}

/* ---- both ---- */

/* x / |x|: an RMSNorm whose weight takes the root of the width back. */
static dt_tensor *of_length_one(dt_graph *g, dt_tensor *x, const char *name, int64_t width)
{
    float *weight = DT_NEW_ARRAY(g->arena, float, width);
    if (!weight) {
        dt_graph_fail(g, DT_NO_MEMORY, "no memory for %lld weights", (long long)width);
        return x;
    }
    for (int64_t i = 0; i < width; i++)
        weight[i] = (float)(1.0 / sqrt((double)width));
    return dt_rms_norm(g, x, dt_graph_constant(g, name, width, weight), 0, false);
}

static dt_tensor *scalar(dt_graph *g, const char *name)
{
    return dt_nn_vector(g, "", name, 1, DT_SPLIT_NONE, DT_INIT_ZERO);
}

static dt_tensor *compare(dt_graph *g, const dt_model_config *c, dt_tensor *pictures, dt_tensor *texts)
{
    dt_tensor *cosines = dt_linear(g, pictures, texts, NULL); /* [N, B] */
    return dt_scale_exp(g, cosines, scalar(g, "x_logit_scale"),
                        c->logit_bias ? scalar(g, "x_logit_bias") : NULL);
}

static dt_status build_both(dt_graph *g, const dt_model_config *c, const dt_build_options *o, bool reads,
                            bool sees)
{
    int64_t width = dt_config_features(c);
    dt_tensor *texts = NULL, *pictures = NULL;
    if (sees) {
        dt_tower tower = dt_tower_build(g, c->vision, o, "vision_model.", "out.");
        pictures = of_length_one(g, dt_tower_project(g, c->vision, "vision_model.", &tower),
                                 "image_features.unit", width);
        dt_point(g, pictures, "out.image_features")->keep = true;
    }
    if (reads) {
        const char *point = o->mode == DT_BUILD_EMBED ? "out." : "out.text.";
        texts = of_length_one(g, read_texts(g, c, o, point), "text_features.unit", width);
        dt_point(g, texts, "out.text_features")->keep = true;
    }
    if (sees && reads)
        dt_point(g, compare(g, c, pictures, texts), "out.logits");
    return DT_OK;
}

/* Without words nothing is read, without pictures nothing is seen: an embedding asks for one side, as if it stood alone. */
dt_status dt_build_dual_encoder(dt_graph *g, const dt_model_config *c, const dt_build_options *o,
                                dt_error *err)
{
    if (o->mode == DT_BUILD_STEP || o->mode == DT_BUILD_ENCODE)
        return dt_fail(err, DT_UNSUPPORTED, "a %s compares, and does not write: it can only embed",
                       c->family);
    if (o->loss)
        return dt_fail(err, DT_UNSUPPORTED, "a %s's contrastive loss is not computed", c->family);
    if (c->vision)
        return build_both(g, c, o, o->tokens > 0, o->images > 0);
    dt_tensor *x = read_texts(g, c, o, "out.");
    if (x && c->text_projection_dim && !c->text_projection_pools)
        dt_point(g, x, "out.text_features");
    return DT_OK;
}
