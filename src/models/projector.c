/*
 * projector.c - from a tower's width to a language model's: one linear layer, or an MLP, norm and gate as configured.
 *
 * Peer  megatron core/models/vision/multimodal_projector.py
 */
#include "models/projector.h"

#include "graph/ir.h"

#include <stdio.h>

dt_status dt_build_projector(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                             dt_error *err);

enum { NAME_BYTES = 128 };

static dt_tensor *linear(dt_graph *g, const char *prefix, const char *name, dt_tensor *x, int64_t in,
                         int64_t out, dt_split split, bool bias)
{
    char full[NAME_BYTES];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    dt_tensor *w = dt_nn_weight(g, full, "weight", out, in, split);
    dt_split of_bias = split == DT_SPLIT_ROW ? DT_SPLIT_NONE : split;
    return dt_linear(g, x, w, bias ? dt_nn_vector(g, full, "bias", out, of_bias, DT_INIT_ZERO) : NULL);
}

static dt_tensor *activate(dt_graph *g, const dt_model_config *c, dt_tensor *x)
{
    return c->gated_linear_unit ? dt_glu(g, x, c->activation_func) : dt_activate(g, x, c->activation_func);
}

dt_tensor *dt_projector_build(dt_graph *g, const dt_model_config *c, const dt_build_options *o,
                              const char *prefix, dt_tensor *x)
{
    int64_t H = c->hidden_size, F = c->ffn_hidden_size, in = c->input_size;
    bool bias = c->add_bias_linear, gated = c->gated_linear_unit;
    char norm[NAME_BYTES];
    dt_graph_permit(g, (o->spec ? o->spec : dt_layer_spec_fused())->fuse);
    if (c->projector_type == DT_PROJECTOR_AFFINE)
        return linear(g, prefix, "encoder", x, in, H, DT_SPLIT_COLUMN, bias);
    snprintf(norm, sizeof norm, "%sencoder.linear_fc1.layer_norm_", prefix);
    if (c->projector_norm)
        x = dt_nn_norm(g, c, "", norm, x, in);
    x = linear(g, prefix, "encoder.linear_fc1", x, in, gated ? 2 * F : F,
               gated ? DT_SPLIT_GATED : DT_SPLIT_COLUMN, bias);
    return linear(g, prefix, "encoder.linear_fc2", activate(g, c, x), F, H, DT_SPLIT_ROW, bias);
}

dt_status dt_build_projector(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_error *err)
{
    dt_dim rows = {dt_graph_axis(g, "vision_tokens", o->vision_tokens), 0};
    if (o->mode == DT_BUILD_STEP || o->mode == DT_BUILD_ENCODE)
        return dt_fail(err, DT_UNSUPPORTED, "a projector alone does not write");
    dt_tensor *x = dt_graph_input(g, "image_features", DT_F32, 2, (dt_dim[]){rows, {NULL, c->input_size}});
    x = dt_point(g, dt_projector_build(g, c, o, "", x), "out.projected");
    if (o->loss) {
        dt_tensor *w = dt_graph_input(g, "hidden_weight", DT_F32, 2, x->dim);
        dt_point(g, dt_dot(g, x, w, o->loss_factor), "out.loss");
    }
    return DT_OK;
}
