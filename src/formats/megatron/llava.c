/*
 * llava.c (megatron) - LLaVAModel's configuration: three TransformerConfigs and the arguments of its constructor, read as the
 * flat configurations of a language model, a tower and a projector (config.c), and written back.
 *
 * Peer  megatron core/models/multimodal/llava_model.py. What its constructor is told by name and not by a TransformerConfig
 *       stands beside the three: language_…, vision_projection_type, img_h, img_w, patch_dim and what is taken of the tower.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"

#include <stdio.h>
#include <string.h>

enum { IMAGE_TOKEN = -200, KEY_BYTES = 128 };

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static const char language_prefix[] = "language_";

/* Arguments of the constructor with language_ before them. */
static const char *const language_keys[] = {
    "vocab_size",  "max_sequence_length", "position_embedding_type", "rotary_percent",
    "rotary_base", "rope_scaling",        "rope_scaling_factor"};

/* … that are the model's, as they are. */
static const char *const model_keys[] = {"share_embeddings_and_output_weights",
                                         "padded_vocab_size",
                                         "image_token_index",
                                         "drop_vision_class_token",
                                         "pixel_shuffle",
                                         "x_image_newline",
                                         "x_vision_feature_layer",
                                         "eos_token_id",
                                         "bos_token_id",
                                         "pad_token_id",
                                         "megatron_core",
                                         "x_written_by",
                                         "x_family",
                                         "x_text_family",
                                         "consumed_train_samples"};

/* … and the tower's. */
static const char *const tower_keys[] = {"img_h", "img_w", "patch_dim"};

/* What LLaVAModel builds by vision_model_type: a tower, and what RADIO is told besides. */
static const struct {
    const char *begins, *model_type;
    int class_tokens, max_pixels;
    bool more; /* a bias of patches, a norm behind the layers, a mask token */
} towers[] = {{"clip", "clip_vit", 1, 0, false},      {"siglip", "clip_vit", 0, 0, false},
              {"internvit", "clip_vit", 1, 0, false}, {"radio-g", "radio", 5, 1792, true},
              {"cradio-g", "radio", 8, 2048, false},  {"radio", "radio", 8, 2048, false}};

bool dt_megatron_is_llava(const json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "model_type"));
    return type && strcmp(type, "llava") == 0;
}

/* ---- reading ---- */

/* A copy of an object within `json`, to be completed. json_copy does not tell when memory is short. */
static dt_status copy_part(const json_t *json, const char *key, json_t **out, dt_error *err)
{
    json_t *part = json_object_get(json, key), *copy, *value;
    const char *name;
    int failed = 0;
    *out = NULL;
    if (!json_is_object(part))
        return dt_fail(err, DT_FORMAT, "key \"%s\" is no object, which a llava needs", key);
    if (!(copy = json_object()))
        return dt_fail_memory(err, 4096, "a configuration");
    json_object_foreach(part, name, value) failed |= json_object_set(copy, name, value);
    if (failed) {
        json_decref(copy);
        return dt_fail_memory(err, 4096, "a configuration");
    }
    *out = copy;
    return DT_OK;
}

/* Give `part` what `json` has under a key, by another name. */
static int give(json_t *part, const char *name, const json_t *json, const char *key)
{
    json_t *value = json_object_get(json, key);
    return value ? json_object_set(part, name, value) : 0;
}

static int assume(json_t *part, const char *key, json_t *value)
{
    int failed = !value || (!json_object_get(part, key) && json_object_set(part, key, value));
    json_decref(value);
    return failed;
}

static dt_status refuse_parts(const json_t *json, dt_error *err)
{
    const json_t *tags = dt_json_get(json, "tile_tags");
    const char *type = json_string_value(dt_json_get(dt_json_get(json, "language"), "language_model_type"));
    if (tags)
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"tile_tags\" is set: drivetrain does not put words before tiles yet");
    if (type && (dt_starts_with(type, "hf://") || dt_starts_with(type, "nemotron5-hybrid")))
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"language_model_type\" is \"%s\"; drivetrain reads Megatron Core's GPT there",
                       type);
    return DT_OK;
}

static dt_status read_feature_layers(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *value = dt_json_get(json, "x_vision_feature_layer");
    size_t count = !value ? 0 : json_is_array(value) ? json_array_size(value) : 1;
    if (count > DT_MAX_FEATURE_LAYERS)
        return dt_fail(err, DT_LIMIT, "key \"x_vision_feature_layer\" lists %zu layers, at most %d are read",
                       count, DT_MAX_FEATURE_LAYERS);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        json_int_t layer = json_integer_value(item);
        if (!json_is_integer(item) || layer < -DT_MAX_LAYERS || layer > DT_MAX_LAYERS)
            return dt_fail(err, DT_FORMAT, "key \"x_vision_feature_layer\" holds something that is no layer");
        c->feature_layer[c->feature_layers++] = (int32_t)layer;
    }
    return DT_OK;
}

/* Heights and widths in turn: arguments of a run hold lists of numbers, not of lists. */
static dt_status read_grid_points(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *value = dt_json_get(json, "x_image_grid_pinpoints");
    size_t count = json_array_size(value);
    if (!value)
        return DT_OK;
    if (!json_is_array(value) || count % 2 || count > 2 * (size_t)DT_MAX_GRID_POINTS)
        return dt_fail(err, DT_FORMAT,
                       "key \"x_image_grid_pinpoints\" is no list of at most %d heights and widths",
                       DT_MAX_GRID_POINTS);
    for (size_t i = 0; i < count; i++) {
        json_int_t side = json_integer_value(json_array_get(value, i));
        if (side < 1 || side > INT32_MAX)
            return dt_fail(err, DT_FORMAT, "key \"x_image_grid_pinpoints\" holds something that is no size");
        c->grid_point[i / 2][i % 2] = (int32_t)side;
    }
    c->grid_points = (int)(count / 2);
    return DT_OK;
}

static dt_status read_language(const json_t *json, dt_model_config *c, dt_error *err)
{
    json_t *part = NULL;
    char key[KEY_BYTES];
    DT_PASS(copy_part(json, "language", &part, err));
    int failed = 0;
    for (int i = 0; i < COUNT(language_keys); i++) {
        snprintf(key, sizeof key, "%s%s", language_prefix, language_keys[i]);
        failed |= give(part, language_keys[i], json, key);
    }
    for (int i = 0; i < COUNT(model_keys); i++)
        failed |= give(part, model_keys[i], json, model_keys[i]);
    failed |= json_object_set_new(part, "model_type", json_string("llava"));
    failed |= assume(part, "share_embeddings_and_output_weights", json_false());
    failed |= assume(part, "image_token_index", json_integer(IMAGE_TOKEN));
    dt_status status = failed ? dt_fail_memory(err, 4096, "a configuration")
                              : dt_megatron_read_config(part, "llava", c, err);
    if (status == DT_OK)
        status = read_feature_layers(part, c, err);
    if (status == DT_OK)
        status = read_grid_points(json, c, err);
    json_decref(part);
    return status;
}

/* Up to core 0.16 RADIO's positions were always interpolated with aligned corners; later there is a switch, off by default. */
static bool aligns_corners(const json_t *json)
{
    const char *version = json_string_value(json_object_get(json, "megatron_core"));
    int major, minor;
    return version && sscanf(version, "%d.%d", &major, &minor) == 2 && major == 0 && minor <= 16;
}

/* The arguments that LLaVAModel makes of a type of tower; a file's own keys win. */
static int assume_tower(json_t *part, int row, const char *type, const json_t *json)
{
    bool radio = strcmp(towers[row].model_type, "radio") == 0;
    int failed = json_object_set_new(part, "model_type", json_string(towers[row].model_type));
    failed |= assume(part, "class_token_len", json_integer(towers[row].class_tokens));
    failed |= assume(part, "add_class_token", json_boolean(towers[row].class_tokens > 0));
    failed |= assume(part, "img_h", json_integer(336)) | assume(part, "img_w", json_integer(336));
    failed |= assume(part, "patch_dim", json_integer(14));
    if (!radio)
        return failed | assume(part, "model_subtype", json_string(type));
    failed |= assume(part, "max_img_h", json_integer(towers[row].max_pixels));
    failed |= assume(part, "max_img_w", json_integer(towers[row].max_pixels));
    failed |= assume(part, "embedder_bias", json_boolean(towers[row].more));
    failed |= assume(part, "ln_post", json_boolean(towers[row].more));
    failed |= assume(part, "interpolate_align_corners", json_boolean(aligns_corners(json)));
    return failed | assume(part, "use_mask_token", json_boolean(towers[row].more));
}

static dt_status complete_tower(const json_t *json, json_t *part, dt_error *err)
{
    const char *type = "clip";
    int failed = 0;
    DT_PASS(dt_json_string(part, "vision_model_type", &type, err));
    for (int i = 0; i < COUNT(tower_keys); i++)
        failed |= give(part, tower_keys[i], json, tower_keys[i]);
    for (int i = 0; i < COUNT(towers); i++)
        if (dt_starts_with(type, towers[i].begins))
            return failed | assume_tower(part, i, type, json) ? dt_fail_memory(err, 4096, "a configuration")
                                                              : DT_OK;
    return dt_fail(err, DT_UNSUPPORTED,
                   "key \"vision_model_type\" is \"%s\"; drivetrain reads clip, siglip, internvit, "
                   "internvit300M, radio, radio-g and cradio-g",
                   type);
}

static dt_status read_tower(const json_t *json, dt_model_config *tower, dt_error *err)
{
    json_t *part = NULL;
    DT_PASS(copy_part(json, "vision", &part, err));
    dt_status status = complete_tower(json, part, err);
    if (status == DT_OK)
        status = dt_megatron_read_config(part, "clip_vit", tower, err);
    json_decref(part);
    return status;
}

static dt_status read_projector(const json_t *json, const dt_model_config *c, dt_model_config *projector,
                                dt_error *err)
{
    json_t *part = NULL;
    DT_PASS(copy_part(json, "vision_projection", &part, err));
    int failed = json_object_set_new(part, "model_type", json_string("projector"));
    failed |= give(part, "projector_type", json, "vision_projection_type");
    failed |= assume(part, "input_size", json_integer(dt_config_feature_width(c)));
    dt_status status = failed ? dt_fail_memory(err, 4096, "a configuration")
                              : dt_megatron_read_config(part, "projector", projector, err);
    json_decref(part);
    return status;
}

dt_status dt_megatron_read_llava(const json_t *json, dt_model_config *c, dt_config_parts *parts,
                                 dt_error *err)
{
    DT_PASS(refuse_parts(json, err));
    DT_TRY(read_language(json, c, err), err, "while reading \"language\"");
    DT_TRY(read_tower(json, &parts->vision, err), err, "while reading \"vision\"");
    c->vision = &parts->vision;
    DT_TRY(read_projector(json, c, &parts->projection, err), err, "while reading \"vision_projection\"");
    c->projection = &parts->projection;
    return DT_OK;
}

/* CLIP and SigLIP: the text tower's configuration, and in "vision" the other one's. */
static dt_status read_other_tower(const json_t *json, dt_model_config *c, dt_config_parts *parts,
                                  dt_error *err)
{
    const json_t *tower = json_object_get(json, "vision");
    if (strcmp(c->model_type, "clip") != 0 || !json_is_object(tower))
        return DT_OK;
    DT_TRY(dt_megatron_read_config(tower, "clip_vit", &parts->vision, err), err, "while reading \"vision\"");
    c->vision = &parts->vision;
    return DT_OK;
}

dt_status dt_megatron_read_model(const json_t *json, const char *type, dt_model_config *c,
                                 dt_config_parts *parts, dt_error *err)
{
    if (dt_megatron_is_llava(json))
        return dt_megatron_read_llava(json, c, parts, err);
    DT_PASS(dt_megatron_read_config(json, type, c, err));
    return read_other_tower(json, c, parts, err);
}

/* ---- writing ---- */

/* Move a key of `part` to `json`, by another name. */
static int move_up(json_t *part, const char *key, json_t *json, const char *name)
{
    json_t *value = json_object_get(part, key);
    int failed = value ? json_object_set(json, name, value) : 0;
    json_object_del(part, key);
    return failed;
}

static int write_feature_layers(const dt_model_config *c, json_t *json)
{
    json_t *list = c->feature_layers ? json_array() : NULL;
    int failed = 0;
    if (!c->feature_layers)
        return 0;
    for (int i = 0; i < c->feature_layers; i++)
        failed |= json_array_append_new(list, json_integer(c->feature_layer[i]));
    return failed | json_object_set_new(json, "x_vision_feature_layer", list);
}

static int write_grid_points(const dt_model_config *c, json_t *json)
{
    json_t *list = c->grid_points ? json_array() : NULL;
    int failed = 0;
    if (!c->grid_points)
        return 0;
    for (int i = 0; i < 2 * c->grid_points; i++)
        failed |= json_array_append_new(list, json_integer(c->grid_point[i / 2][i % 2]));
    return failed | json_object_set_new(json, "x_image_grid_pinpoints", list);
}

static int write_language(const dt_model_config *c, json_t *part, json_t *json)
{
    char key[KEY_BYTES];
    int failed = 0;
    for (int i = 0; i < COUNT(language_keys); i++) {
        snprintf(key, sizeof key, "%s%s", language_prefix, language_keys[i]);
        failed |= move_up(part, language_keys[i], json, key);
    }
    for (int i = 0; i < COUNT(model_keys); i++)
        failed |= move_up(part, model_keys[i], json, model_keys[i]);
    json_object_del(part, "model_type");
    failed |= write_feature_layers(c, json);
    failed |= write_grid_points(c, json);
    failed |= json_object_set_new(json, "img_seq_len", json_integer(dt_config_feature_rows(c)));
    return failed | json_object_set(json, "language", part);
}

static int write_tower(json_t *part, json_t *json)
{
    const json_t *subtype = json_object_get(part, "model_subtype");
    int failed = json_object_set_new(
        part, "vision_model_type", subtype ? json_string(json_string_value(subtype)) : json_string("radio"));
    for (int i = 0; i < COUNT(tower_keys); i++)
        failed |= move_up(part, tower_keys[i], json, tower_keys[i]);
    json_object_del(part, "model_type");
    json_object_del(part, "model_subtype");
    return failed | json_object_set(json, "vision", part);
}

static int write_projector(const dt_model_config *projector, json_t *part, json_t *json)
{
    json_object_del(part, "model_type");
    json_object_del(part, "projector_type");
    json_object_del(part, "input_size");
    return json_object_set_new(json, "vision_projection_type",
                               json_string(dt_projector_name(projector->projector_type))) |
           json_object_set(json, "vision_projection", part);
}

dt_status dt_megatron_holds(const dt_model_config *c, dt_error *err)
{
    if (strcmp(c->model_type, "clip") != 0)
        return DT_OK;
    dt_fail(err, DT_UNSUPPORTED, "Megatron Core has no model of two towers, nor of %s's text tower alone",
            c->family);
    dt_error_try(
        err,
        "--part tower: the one that sees is its CLIPViTModel; --to hf and megatron-state hold the whole");
    return DT_UNSUPPORTED;
}

dt_status dt_megatron_write_llava(const dt_model_config *c, json_t **out, dt_error *err)
{
    json_t *language = NULL, *tower = NULL, *projector = NULL;
    dt_model_config words = *c;
    dt_status status;
    words.vision = words.projection = NULL;
    *out = json_object();
    DT_GO(status, *out ? DT_OK : dt_fail_memory(err, 4096, "config.json"));
    DT_GO(status, dt_megatron_write_config(&words, &language, err));
    DT_GO(status, dt_megatron_write_config(c->vision, &tower, err));
    DT_GO(status, dt_megatron_write_config(c->projection, &projector, err));
    if (json_object_set_new(*out, "model_type", json_string("llava")) | write_language(c, language, *out) |
        write_tower(tower, *out) | write_projector(c->projection, projector, *out))
        status = dt_fail_memory(err, 4096, "config.json");
done:
    json_decref(language);
    json_decref(tower);
    json_decref(projector);
    return status;
}
