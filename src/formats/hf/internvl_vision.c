/*
 * internvl_vision.c (hf) - config.json of InternVL's tower: layer scale, norms of q and k over all heads together, and no
 * final norm where it pools by the mean (whoever uses the tower does that, or not).
 */
#include "base/json.h"
#include "formats/hf/tower.h"

#include <string.h>

#define NAMES "formats/hf/names_internvl_vision.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_vision.def"
    KEY(INT, "intermediate_size", ffn_hidden_size) KEY(ACTIVATION, "hidden_act", activation_func)
        KEY(BOOL, "attention_bias", add_qkv_bias) KEY(BOOL, "use_qk_norm", qk_layernorm)};

static void defaults(dt_model_config *c)
{
    dt_hf_tower_defaults(c, 14);
    c->hidden_size = 1024;
    c->num_layers = 24;
    c->num_attention_heads = 16;
    c->ffn_hidden_size = 4096;
    c->img_h = c->img_w = 448;
    c->layernorm_epsilon = 1e-6;
    c->layer_scale = true;
    c->position_resize = DT_RESIZE_BICUBIC;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    bool mean = true, absolute = true;
    const char *norm = "layer_norm";
    DT_PASS(dt_hf_read_picture_sizes(c, json, err));
    DT_PASS(dt_json_bool(json, "use_mean_pooling", &mean, err));
    DT_PASS(dt_json_bool(json, "use_absolute_position_embeddings", &absolute, err));
    DT_PASS(dt_json_string(json, "norm_type", &norm, err));
    if (!absolute)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: \"use_absolute_position_embeddings\" is false, which drivetrain does not compute");
    if (strcmp(norm, "layer_norm") != 0 && strcmp(norm, "rms_norm") != 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"norm_type\" is \"%s\"; drivetrain knows layer_norm and rms_norm",
                       norm);
    c->normalization = strcmp(norm, "rms_norm") == 0 ? DT_NORM_RMSNORM : DT_NORM_LAYERNORM;
    if (!mean &&
        strcmp(norm, "rms_norm") == 0) /* the class's last norm is a LayerNorm whatever the others are */
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: \"norm_type\" is \"rms_norm\" beside \"use_mean_pooling\" false, which drivetrain "
            "does not compute");
    if (c->qk_layernorm && c->layernorm_epsilon != 1e-6) /* the class's own for these norms */
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"layer_norm_eps\" is %g beside \"use_qk_norm\", whose norms have 1e-6",
                       c->layernorm_epsilon);
    c->qk_layernorm_whole = c->qk_layernorm_rms = c->qk_layernorm;
    c->ln_post = !mean;
    c->use_mask_token = evidence->mask_token;
    dt_hf_tower_biases(c);
    return DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool rms = c->normalization == DT_NORM_RMSNORM;
    int failed = json_object_set_new(json, "norm_type", json_string(rms ? "rms_norm" : "layer_norm"));
    failed |= json_object_set_new(json, "use_mean_pooling", json_boolean(!c->ln_post));
    failed |= json_object_set_new(json, "use_absolute_position_embeddings", json_true());
    failed |= json_object_set_new(json, "use_mask_token", json_boolean(c->use_mask_token));
    return failed ? dt_fail_memory(err, 256, "config.json") : dt_hf_write_picture_sizes(c, json, true, err);
}

DT_HF_FAMILY(internvl_vision, "InternVLVisionModel", defaults, read, write)
