/*
 * clip_vision.c (hf) - config.json of the towers of CLIP and SigLIP. Whether one projects or pools is decided by its tensors.
 */
#include "base/json.h"
#include "formats/hf/tower.h"

#define NAMES "formats/hf/names_clip_vision.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_vision.def"
    KEY(INT, "intermediate_size", ffn_hidden_size) KEY(TORCH_ACTIVATION, "hidden_act", activation_func)};

/* ---- CLIP ---- */

static void defaults_clip(dt_model_config *c)
{
    dt_hf_tower_defaults(c, 32);
    c->activation_func = DT_ACT_QUICK_GELU;
    c->patch_bias = false;
    c->ln_pre = true;
    c->vision_pooling = DT_POOL_CLASS_NORM;
}

static dt_status read_clip(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                           dt_error *err)
{
    DT_PASS(dt_hf_read_picture_sizes(c, json, err));
    if (!evidence->projection)
        return DT_OK;
    c->projection_dim = 512;
    return dt_json_int(json, "projection_dim", &c->projection_dim, err);
}

static dt_status write_clip(const dt_model_config *c, json_t *json, dt_error *err)
{
    if (c->projection_dim && json_object_set_new(json, "projection_dim", json_integer(c->projection_dim)))
        return dt_fail_memory(err, 256, "config.json");
    if (!c->projection_dim && json_object_set_new(json, "architectures", json_pack("[s]", "CLIPVisionModel")))
        return dt_fail_memory(err, 256, "config.json");
    return dt_hf_write_picture_sizes(c, json, false, err);
}

/* ---- SigLIP ---- */

static void defaults_siglip(dt_model_config *c)
{
    dt_hf_tower_defaults(c, 16);
    c->activation_func = DT_ACT_GELU_TANH;
    c->layernorm_epsilon = 1e-6;
    c->class_token_len = 0;
}

static dt_status read_siglip(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                             dt_error *err)
{
    c->vision_pooling = evidence->attention_pooling ? DT_POOL_ATTENTION : DT_POOL_NONE;
    return dt_hf_read_picture_sizes(c, json, err);
}

static dt_status write_siglip(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool head = c->vision_pooling == DT_POOL_ATTENTION;
    if (json_object_set_new(json, "vision_use_head", json_boolean(head)))
        return dt_fail_memory(err, 256, "config.json");
    return dt_hf_write_picture_sizes(c, json, false, err);
}

DT_HF_FAMILY(clip_vision_model, "CLIPVisionModelWithProjection", defaults_clip, read_clip, write_clip)
DT_HF_FAMILY(siglip_vision_model, "SiglipVisionModel", defaults_siglip, read_siglip, write_siglip)
