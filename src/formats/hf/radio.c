/*
 * radio.c (hf) - config.json of RADIO: class tokens and registers together before each picture's patches, positions cropped
 * from one large table, and a model that normalises its pixels itself.
 *
 * Peer  transformers models/radio/{configuration,modeling}_radio.py
 *
 * Unlike Megatron's:  pixels come in from 0 to 1, and the mean and deviation belong to the model (pixel_mean_…); layer scale
 *                     is stored, or is ones where a file has none. Layers for videos are refused.
 */
#include "base/json.h"
#include "formats/hf/tower.h"

#include <math.h>

#define NAMES "formats/hf/names_radio.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_vision.def"
    KEY(ACTIVATION, "hidden_act", activation_func) KEY(BOOL, "qkv_bias", add_qkv_bias)};

enum { MAX_TOKENS = 1 << 12 };

/* CLIP's, which the class starts from. */
static const double usual_mean[] = {0.48145466, 0.4578275, 0.40821073},
                    usual_std[] = {0.26862954, 0.26130258, 0.27577711};

static void defaults(dt_model_config *c)
{
    dt_hf_tower_defaults(c, 16);
    snprintf(c->model_type, sizeof c->model_type, "radio");
    c->hidden_size = 1280;
    c->num_layers = 32;
    c->num_attention_heads = 16;
    c->layernorm_epsilon = 1e-6;
    c->add_qkv_bias = true;
    c->max_img_h = c->max_img_w = 2048;
    c->class_token_len = 10;
    c->num_registers = 7;
    c->patch_bias = c->ln_post = false;
    c->position_resize = DT_RESIZE_BILINEAR;
}

static dt_status read_triple(const json_t *json, const char *key, const double *usual, const float *stored,
                             double out[3], dt_error *err)
{
    const json_t *list = dt_json_get(json, key);
    if (list && json_array_size(list) != 3)
        return dt_fail(err, DT_FORMAT, "key \"%s\" is no list of three numbers", key);
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = list ? json_array_get(list, i) : NULL;
        if (list && !json_is_number(item))
            return dt_fail(err, DT_FORMAT, "key \"%s\" is no list of three numbers", key);
        out[i] = stored ? (double)stored[i] : item ? json_number_value(item) : usual[i];
        if (!isfinite(out[i]))
            return dt_fail(err, DT_FORMAT, "key \"%s\" holds a number that is not finite", key);
    }
    return DT_OK;
}

/* What a file stores wins over its configuration, as where the class loads it. */
static dt_status read_conditioner(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                                  dt_error *err)
{
    double mean[3], std[3];
    DT_PASS(read_triple(json, "norm_mean", usual_mean, evidence->pixel_mean, mean, err));
    DT_PASS(read_triple(json, "norm_std", usual_std, evidence->pixel_std, std, err));
    if (c->num_channels != 3)
        return dt_fail(err, DT_UNSUPPORTED, "config.json: a RADIO of %lld colours; drivetrain knows three",
                       (long long)c->num_channels);
    if (!mean[0] && !mean[1] && !mean[2] && std[0] == 1 && std[1] == 1 && std[2] == 1)
        return DT_OK;
    c->pixel_mean_0 = mean[0], c->pixel_mean_1 = mean[1], c->pixel_mean_2 = mean[2];
    c->pixel_std_0 = std[0], c->pixel_std_1 = std[1], c->pixel_std_2 = std[2];
    return DT_OK;
}

static dt_status refuse_videos(const json_t *json, dt_error *err)
{
    if (dt_json_get(json, "video_temporal_patch_size"))
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"video_temporal_patch_size\" is set: drivetrain computes RADIO on "
                       "pictures, not on videos");
    return DT_OK;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    double ratio = 4;
    int64_t tokens = 3, largest = c->max_img_h;
    DT_PASS(refuse_videos(json, err));
    DT_PASS(dt_hf_read_picture_sizes(c, json, err));
    DT_PASS(dt_json_real(json, "mlp_ratio", &ratio, err));
    DT_PASS(dt_json_bool(json, "use_swiglu_ffn", &c->gated_linear_unit, err));
    DT_PASS(dt_json_int(json, "max_img_size", &largest, err));
    DT_PASS(dt_json_int(json, "num_cls_tokens", &tokens, err));
    DT_PASS(dt_json_int(json, "num_registers", &c->num_registers, err));
    if (tokens < 0 || c->num_registers < 0 || tokens > MAX_TOKENS || c->num_registers > MAX_TOKENS)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"num_cls_tokens\" is %lld and \"num_registers\" %lld, expected 0 to %d",
                       (long long)tokens, (long long)c->num_registers, MAX_TOKENS);
    if (c->gated_linear_unit)
        c->activation_func = DT_ACT_SILU;
    c->max_img_h = c->max_img_w = largest;
    c->class_token_len = tokens + c->num_registers;
    c->ffn_hidden_size = dt_hf_mlp_width(c, ratio);
    c->layer_scale = evidence->layer_scale;
    dt_hf_tower_biases(c);
    return read_conditioner(c, json, evidence, err);
}

/* A model whose pixels come normalised does nothing to them: mean 0, deviation 1. */
static int write_conditioner(const dt_model_config *c, json_t *json)
{
    bool own = c->pixel_std_0 != 0;
    json_t *mean = json_pack("[f,f,f]", c->pixel_mean_0, c->pixel_mean_1, c->pixel_mean_2);
    json_t *std =
        json_pack("[f,f,f]", own ? c->pixel_std_0 : 1, own ? c->pixel_std_1 : 1, own ? c->pixel_std_2 : 1);
    return json_object_set_new(json, "norm_mean", mean) | json_object_set_new(json, "norm_std", std);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    json_t *ratio;
    json_int_t tokens = c->class_token_len - c->num_registers;
    if (c->max_img_h != c->max_img_w)
        return dt_fail(err, DT_UNSUPPORTED,
                       "the class's table of positions is square, this model's is for %lld x %lld",
                       (long long)c->max_img_w, (long long)c->max_img_h);
    DT_PASS(dt_hf_mlp_ratio(c, &ratio, err));
    int failed =
        json_object_set_new(json, "mlp_ratio", json_real(json_number_value(ratio))); /* never 4 for 4.0 */
    json_decref(ratio);
    failed |= json_object_set_new(json, "use_swiglu_ffn", json_boolean(c->gated_linear_unit));
    failed |= json_object_set_new(json, "max_img_size", json_integer(c->max_img_h));
    failed |= json_object_set_new(json, "num_cls_tokens", json_integer(tokens));
    failed |= json_object_set_new(json, "num_registers", json_integer(c->num_registers));
    failed |= json_object_set_new(json, "summary_idxs",
                                  tokens > 1    ? json_pack("[i,i]", 0, 1)
                                  : tokens == 1 ? json_pack("[i]", 0)
                                                : json_array());
    failed |= write_conditioner(c, json);
    return failed ? dt_fail_memory(err, 256, "config.json") : dt_hf_write_picture_sizes(c, json, false, err);
}

DT_HF_FAMILY(radio, "RadioModel", defaults, read, write)
