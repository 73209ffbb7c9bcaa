/*
 * vision.c - what a configuration says of pictures: a tower's grids of patches, and whether its sizes make sense.
 */
#include "base/fail.h"
#include "base/text.h"
#include "nn/layer.h"

#include <stddef.h>
#include <string.h>

enum { MAX_PIXELS = 1 << 15, MAX_CLASS_TOKENS = 1 << 12, MAX_CHANNELS = 64, MAX_WIDTH = 1 << 20 };

static bool is_radio(const dt_model_config *c)
{
    return strcmp(c->model_type, "radio") == 0;
}

bool dt_config_is_tower(const dt_model_config *c)
{
    return strcmp(c->model_type, "clip_vit") == 0 || is_radio(c);
}

dt_config_part dt_config_part_of(const char *canonical)
{
    return dt_starts_with(canonical, "vision_model.")        ? DT_PART_TOWER
           : dt_starts_with(canonical, "vision_projection.") ? DT_PART_PROJECTOR
                                                             : DT_PART_LANGUAGE;
}

bool dt_config_is_gpt(const dt_model_config *c)
{
    return strcmp(c->model_type, "gpt") == 0 || strcmp(c->model_type, "llava") == 0;
}

bool dt_config_reads(const dt_model_config *c)
{
    return !dt_config_is_tower(c) && strcmp(c->model_type, "projector") != 0;
}

bool dt_config_compares(const dt_model_config *c)
{
    return strcmp(c->model_type, "clip") == 0 && c->vision;
}

int64_t dt_config_features(const dt_model_config *c)
{
    return c->text_projection_dim ? c->text_projection_dim : c->hidden_size;
}

/* They are config.def's rows from patch_dim on; those from image_token_index on are a llava's own. */
void dt_config_clear_vision(dt_model_config *c)
{
    dt_model_config plain;
    bool sees = strcmp(c->model_type, "llava") == 0;
    size_t first = offsetof(dt_model_config, patch_dim);
    size_t end =
        sees ? offsetof(dt_model_config, image_token_index) : offsetof(dt_model_config, encoder_only);
    dt_config_init(&plain);
    memcpy((char *)c + first, (char *)&plain + first, end - first);
}

dt_patch_grid dt_config_patches(const dt_model_config *c)
{
    int64_t P = c->patch_dim > 0 ? c->patch_dim : 1;
    return (dt_patch_grid){c->img_h / P, c->img_w / P};
}

dt_patch_grid dt_config_position_grid(const dt_model_config *c)
{
    int64_t P = c->patch_dim > 0 ? c->patch_dim : 1;
    return is_radio(c) ? (dt_patch_grid){c->max_img_h / P, c->max_img_w / P} : dt_config_patches(c);
}

int64_t dt_config_position_rows(const dt_model_config *c)
{
    dt_patch_grid grid = dt_config_position_grid(c);
    return grid.rows * grid.columns + (is_radio(c) ? 0 : c->class_token_len);
}

/* ---- what a language model takes of its tower ---- */

int64_t dt_config_feature_depth(const dt_model_config *c, int i)
{
    int64_t layers = c->vision ? c->vision->num_layers : 0, at = c->feature_layer[i];
    at = at < 0 ? layers + 1 + at : at;
    return at >= 0 && at <= layers ? at : -1;
}

int64_t dt_config_feature_width(const dt_model_config *c)
{
    int64_t layers = c->feature_layers ? c->feature_layers : 1;
    return c->vision ? c->vision->hidden_size * layers * (c->pixel_shuffle ? 4 : 1) : 0;
}

int64_t dt_config_feature_rows(const dt_model_config *c)
{
    if (!c->vision)
        return 0;
    dt_patch_grid grid = dt_config_patches(c->vision);
    int64_t rows = grid.rows * grid.columns + (c->drop_class_token ? 0 : c->vision->class_token_len);
    return c->pixel_shuffle ? rows / 4 : rows;
}

/* A picture of the trained size is so many whole patches; what is over is dropped, as makers' convolutions do. */
static dt_status check_tower(const dt_model_config *c, dt_error *err)
{
    bool pools_class = c->vision_pooling == DT_POOL_CLASS || c->vision_pooling == DT_POOL_CLASS_NORM;
    DT_PASS(dt_config_check_range("patch_dim", c->patch_dim, 1, MAX_PIXELS, err));
    DT_PASS(dt_config_check_range("img_h", c->img_h, c->patch_dim, MAX_PIXELS, err));
    DT_PASS(dt_config_check_range("img_w", c->img_w, c->patch_dim, MAX_PIXELS, err));
    DT_PASS(dt_config_check_range("num_channels", c->num_channels, 1, MAX_CHANNELS, err));
    DT_PASS(dt_config_check_range("patch_dim * patch_dim * num_channels",
                                  c->patch_dim * c->patch_dim * c->num_channels, 1, MAX_WIDTH, err));
    DT_PASS(dt_config_check_range("class_token_len", c->class_token_len, pools_class ? 1 : 0,
                                  MAX_CLASS_TOKENS, err));
    DT_PASS(dt_config_check_range("x_projection_dim", c->projection_dim, 0, MAX_WIDTH, err));
    DT_PASS(dt_config_check_range("x_num_classes", c->num_classes, 0, MAX_WIDTH, err));
    if (c->pixel_std_0 != 0 &&
        (c->num_channels != 3 || !(c->pixel_std_0 > 0 && c->pixel_std_1 > 0 && c->pixel_std_2 > 0)))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_pixel_std_0\" is set, and there are not three deviations above 0");
    DT_PASS(dt_config_check_range("x_num_registers", c->num_registers, 0, c->class_token_len, err));
    if (is_radio(c)) {
        DT_PASS(dt_config_check_range("max_img_h", c->max_img_h, c->patch_dim, MAX_PIXELS, err));
        DT_PASS(dt_config_check_range("max_img_w", c->max_img_w, c->patch_dim, MAX_PIXELS, err));
    }
    if ((c->projection_dim || c->num_classes) && c->vision_pooling == DT_POOL_NONE)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"%s\" is set, but \"x_vision_pooling\" says that nothing is pooled",
                       c->projection_dim ? "x_projection_dim" : "x_num_classes");
    return DT_OK;
}

/* ---- the parts of a model with eyes fit ---- */

static dt_status check_feature_layers(const dt_model_config *c, dt_error *err)
{
    DT_PASS(dt_config_check_range("vision_feature_layer, of which there", c->feature_layers, 0,
                                  DT_MAX_FEATURE_LAYERS, err));
    for (int i = 0; i < c->feature_layers; i++)
        if (dt_config_feature_depth(c, i) < 0)
            return dt_fail(err, DT_UNSUPPORTED,
                           "configuration: \"vision_feature_layer\" is %d, but the tower has %lld layers",
                           c->feature_layer[i], (long long)c->vision->num_layers);
    return DT_OK;
}

static dt_status check_features(const dt_model_config *c, dt_error *err)
{
    const dt_model_config *projector = c->projection;
    int64_t width = dt_config_feature_width(c);
    DT_PASS(check_feature_layers(c, err));
    if (projector->input_size != width)
        return dt_fail(
            err, DT_MISMATCH,
            "the projector does not fit the tower: it takes %lld columns, but a tower of hidden_size "
            "%lld%s%s gives %lld",
            (long long)projector->input_size, (long long)c->vision->hidden_size,
            c->feature_layers > 1 ? ", of several layers" : "",
            c->pixel_shuffle ? ", four patches side by side" : "", (long long)width);
    if (projector->hidden_size != c->hidden_size)
        return dt_fail(
            err, DT_MISMATCH,
            "the projector does not fit the language model: it gives %lld columns, but \"hidden_size\" "
            "is %lld",
            (long long)projector->hidden_size, (long long)c->hidden_size);
    return DT_OK;
}

static bool is_projector(const dt_model_config *c)
{
    return strcmp(c->model_type, "projector") == 0;
}

static dt_status check_parts(const dt_model_config *c, dt_error *err)
{
    if (!c->vision || !dt_config_is_tower(c->vision) || (c->projection && !is_projector(c->projection)))
        return dt_fail(err, DT_INVALID, "configuration: a %s needs a tower to see with", c->model_type);
    DT_TRY(dt_config_check(c->vision, err), err, "while checking the vision tower");
    if (!c->projection)
        return DT_OK;
    DT_TRY(dt_config_check(c->projection, err), err, "while checking the projector");
    return check_features(c, err);
}

static dt_status check_llava(const dt_model_config *c, dt_error *err)
{
    if (!c->vision || !c->projection)
        return dt_fail(err, DT_INVALID, "configuration: a llava needs a tower and a projector, and has no %s",
                       c->vision ? "projector" : "tower");
    if (c->position_embedding_type == DT_POSITION_LEARNED ||
        c->position_embedding_type == DT_POSITION_SINUSOIDAL)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"position_embedding_type\" is %s, but rows of pictures have no such "
                       "positions; a llava's are rope, alibi or none",
                       dt_position_embedding_name(c->position_embedding_type));
    return dt_config_check_range("image_token_index", c->image_token_index, INT32_MIN, INT32_MAX, err);
}

/* A dual encoder's features lie in one space. */
static dt_status check_common_space(const dt_model_config *c, dt_error *err)
{
    const dt_model_config *tower = c->vision;
    int64_t seen = tower->projection_dim ? tower->projection_dim : tower->hidden_size;
    if (c->text_pooling == DT_TEXT_POOL_NONE || tower->vision_pooling == DT_POOL_NONE)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"%s\" is none, so there is nothing to compare %s by",
                       c->text_pooling == DT_TEXT_POOL_NONE ? "x_text_pooling" : "x_vision_pooling",
                       c->text_pooling == DT_TEXT_POOL_NONE ? "texts" : "pictures");
    return seen == dt_config_features(c)
               ? DT_OK
               : dt_fail(
                     err, DT_MISMATCH,
                     "texts and pictures cannot be compared: the text tower's features have %lld columns, "
                     "the vision tower's %lld",
                     (long long)dt_config_features(c), (long long)seen);
}

static dt_status check_texts(const dt_model_config *c, dt_error *err)
{
    if (strcmp(c->model_type, "clip") != 0)
        return c->text_pooling == DT_TEXT_POOL_NONE
                   ? DT_OK
                   : dt_fail(err, DT_UNSUPPORTED,
                             "configuration: \"x_text_pooling\" is %s, which only text towers (clip) have",
                             dt_text_pooling_name(c->text_pooling));
    DT_PASS(dt_config_check_range("x_text_projection_dim", c->text_projection_dim,
                                  c->text_projection_pools ? 1 : 0, MAX_WIDTH, err));
    if (c->text_pooling == DT_TEXT_POOL_END)
        DT_PASS(dt_config_check_range("eos_token_id, of which there", c->eos_count, 1, 1, err));
    return c->vision ? check_common_space(c, err) : DT_OK;
}

dt_status dt_config_check_vision(const dt_model_config *c, dt_error *err)
{
    bool alone = dt_config_is_tower(c) || is_projector(c);
    DT_PASS(check_texts(c, err));
    if (alone && (c->vision || c->projection))
        return dt_fail(err, DT_INVALID, "configuration: a %s has no parts that see", c->model_type);
    if (strcmp(c->model_type, "llava") == 0)
        DT_PASS(check_llava(c, err));
    if (c->vision || c->projection)
        return check_parts(c, err);
    if (dt_config_is_tower(c))
        return check_tower(c, err);
    return is_projector(c) ? dt_config_check_range("input_size", c->input_size, 1, MAX_WIDTH, err) : DT_OK;
}
