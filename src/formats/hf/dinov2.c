/*
 * dinov2.c (hf) - config.json of DINOv2. Its table of positions serves pictures of any size, by bicubic interpolation.
 */
#include "base/json.h"
#include "formats/hf/tower.h"

#define NAMES "formats/hf/names_dinov2.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_vision.def"
    KEY(ACTIVATION, "hidden_act", activation_func) KEY(BOOL, "qkv_bias", add_qkv_bias)};

static void defaults(dt_model_config *c)
{
    dt_hf_tower_defaults(c, 14);
    c->layernorm_epsilon = 1e-6;
    c->add_qkv_bias = true;
    c->layer_scale = true;
    c->position_resize = DT_RESIZE_BICUBIC;
    c->vision_pooling = DT_POOL_CLASS;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    double ratio = 4;
    DT_PASS(dt_hf_read_picture_sizes(c, json, err));
    DT_PASS(dt_json_real(json, "mlp_ratio", &ratio, err));
    DT_PASS(dt_json_bool(json, "use_swiglu_ffn", &c->gated_linear_unit, err));
    if (c->gated_linear_unit)
        c->activation_func = DT_ACT_SILU;
    c->ffn_hidden_size = dt_hf_mlp_width(c, ratio);
    c->use_mask_token = evidence->mask_token;
    dt_hf_tower_biases(c);
    return DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *ratio;
    DT_PASS(dt_hf_mlp_ratio(c, &ratio, err));
    int failed = json_object_set_new(json, "mlp_ratio", ratio);
    failed |= json_object_set_new(json, "use_swiglu_ffn", json_boolean(c->gated_linear_unit));
    failed |= json_object_set_new(json, "use_mask_token", json_boolean(c->use_mask_token));
    return failed ? dt_fail_memory(err, 256, "config.json") : dt_hf_write_picture_sizes(c, json, false, err);
}

DT_HF_FAMILY(dinov2, "Dinov2Model", defaults, read, write)
