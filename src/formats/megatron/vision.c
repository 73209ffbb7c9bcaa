/*
 * vision.c (megatron) - what CLIPViTModel, RADIOViTModel and MultimodalProjector say of themselves beside the keys of
 * config.def: a subtype that stands for norms and a bias, class tokens behind a switch, the mask of their attention.
 *
 * Peer  megatron core/models/vision/{clip_vit_model,radio,multimodal_projector}.py
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"

#include <string.h>

/* CLIPViTModel's subtypes. */
static const struct {
    const char *name;
    bool ln_pre, ln_post, bias;
} subtypes[] = {
    {"clip", true, false, false},
    {"siglip", false, true, true},
    {"internvit300M", false, false, true},
    {"internvit", false, false, true},
};

enum { SUBTYPES = sizeof subtypes / sizeof subtypes[0] };

/* Keys that a file has win over what its subtype stands for. */
static dt_status read_subtype(const json_t *json, dt_model_config *c, dt_error *err)
{
    const char *name = "clip";
    DT_PASS(dt_json_string(json, "model_subtype", &name, err));
    for (int i = 0; i < SUBTYPES; i++) {
        if (strcmp(subtypes[i].name, name) != 0)
            continue;
        if (!dt_json_get(json, "ln_pre"))
            c->ln_pre = subtypes[i].ln_pre;
        if (!dt_json_get(json, "ln_post"))
            c->ln_post = subtypes[i].ln_post;
        if (!dt_json_get(json, "embedder_bias"))
            c->patch_bias = subtypes[i].bias;
        return DT_OK;
    }
    return dt_fail(
        err, DT_UNSUPPORTED,
        "key \"model_subtype\" is \"%s\"; drivetrain knows clip, siglip, internvit300M and internvit", name);
}

/* Megatron's own defaults where sizes are not given. */
static void assume(int64_t *field, const json_t *json, const char *key, int64_t value)
{
    if (!dt_json_get(json, key))
        *field = value;
}

static dt_status read_class_tokens(const json_t *json, dt_model_config *c, int64_t usual, dt_error *err)
{
    bool have = true;
    assume(&c->class_token_len, json, "class_token_len", usual);
    DT_PASS(dt_json_bool(json, "add_class_token", &have, err));
    if (!have)
        c->class_token_len = 0;
    return DT_OK;
}

static dt_status read_mask(const json_t *json, dt_model_config *c, dt_error *err)
{
    const char *mask = NULL;
    DT_PASS(dt_json_string(json, "attn_mask_type", &mask, err));
    if (!mask)
        return DT_OK;
    c->vision_causal = strcmp(mask, "causal") == 0;
    if (!c->vision_causal && strcmp(mask, "no_mask") != 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"attn_mask_type\" is \"%s\"; a tower's is no_mask or causal", mask);
    return DT_OK;
}

static dt_status read_radio(const json_t *json, dt_model_config *c, dt_error *err)
{
    int64_t frames = 1;
    bool video = false;
    assume(&c->patch_dim, json, "patch_dim", 16);
    assume(&c->img_h, json, "img_h", 224);
    assume(&c->img_w, json, "img_w", 224);
    assume(&c->max_img_h, json, "max_img_h", 2048);
    assume(&c->max_img_w, json, "max_img_w", 2048);
    if (!dt_json_get(json, "x_position_resize"))
        c->position_resize = DT_RESIZE_BILINEAR;
    DT_PASS(dt_json_int(json, "temporal_patch_dim", &frames, err));
    DT_PASS(dt_json_bool(json, "separate_video_embedder", &video, err));
    if (frames > 1 || video)
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"%s\" is set: drivetrain computes RADIO on pictures, not on videos",
                       video ? "separate_video_embedder" : "temporal_patch_dim");
    return read_class_tokens(json, c, 8, err);
}

static dt_status read_clip(const json_t *json, dt_model_config *c, dt_error *err)
{
    assume(&c->patch_dim, json, "patch_dim", 14);
    assume(&c->img_h, json, "img_h", 336);
    assume(&c->img_w, json, "img_w", 336);
    DT_PASS(read_subtype(json, c, err));
    return read_class_tokens(json, c, 1, err);
}

static bool is_said(const dt_checkpoint *c, const char *key)
{
    for (int i = 0; i < c->fact_count; i++)
        if (strcmp(c->fact[i].key, key) == 0)
            return true;
    return false;
}

void dt_megatron_use_class_tokens(dt_checkpoint *c)
{
    dt_model_config *tower = c->config.vision ? &c->parts.vision : &c->config;
    if (strcmp(tower->model_type, "radio") != 0 || tower->class_token_len < 1 ||
        is_said(c, "class_token_len"))
        return;
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const dt_stored_tensor *t = dt_stored_set_at(c->set, i);
        if (t->unsupported || !dt_ends_with(t->name, "class_token") || t->shape.rank != 2)
            continue;
        if (c->config.vision && t->shape.dim[0] != tower->class_token_len)
            dt_open_problem(c, "tensor \"%s\" holds %lld class tokens, the configuration means %lld", t->name,
                            (long long)t->shape.dim[0], (long long)tower->class_token_len);
        tower->class_token_len = t->shape.dim[0];
    }
}

dt_status dt_megatron_read_vision(const json_t *json, dt_model_config *c, dt_error *err)
{
    bool tower = dt_config_is_tower(c), projector = strcmp(c->model_type, "projector") == 0;
    if (!tower && !projector) { /* a run's arguments hold pictures' sizes for every model */
        dt_config_clear_vision(c);
        return DT_OK;
    }
    c->position_embedding_type = DT_POSITION_NONE; /* the tower's table is no text's */
    c->max_sequence_length = -1;
    if (projector)
        return DT_OK;
    DT_PASS(read_mask(json, c, err));
    return strcmp(c->model_type, "radio") == 0 ? read_radio(json, c, err) : read_clip(json, c, err);
}

/* ---- writing ---- */

static const char *subtype_of(const dt_model_config *c)
{
    for (int i = 0; i < SUBTYPES; i++)
        if (subtypes[i].ln_pre == c->ln_pre && subtypes[i].ln_post == c->ln_post &&
            subtypes[i].bias == c->patch_bias)
            return subtypes[i].name;
    return "clip"; /* the keys beside it say the rest */
}

int dt_megatron_write_vision(const dt_model_config *c, json_t *json)
{
    if (!dt_config_is_tower(c))
        return 0;
    int failed = json_object_set_new(json, "add_class_token", json_boolean(c->class_token_len > 0));
    failed |= json_object_set_new(json, "class_token_len", json_integer(c->class_token_len));
    failed |=
        json_object_set_new(json, "attn_mask_type", json_string(c->vision_causal ? "causal" : "no_mask"));
    failed |= json_object_set_new(json, "ln_pre", json_boolean(c->ln_pre));
    failed |= json_object_set_new(json, "ln_post", json_boolean(c->ln_post));
    failed |= json_object_set_new(json, "embedder_bias", json_boolean(c->patch_bias));
    if (strcmp(c->model_type, "clip_vit") == 0)
        failed |= json_object_set_new(json, "model_subtype", json_string(subtype_of(c)));
    if (strcmp(c->model_type, "radio") == 0 && c->position_resize == DT_RESIZE_BILINEAR)
        json_object_del(json, "x_position_resize");
    json_object_del(json, "x_vision_causal");
    json_object_del(json, "position_embedding_type");
    return failed;
}
