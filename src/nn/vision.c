/*
 * vision.c - what a configuration says of pictures: a tower's grids of patches, and whether its sizes make sense.
 */
#include "base/fail.h"
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

bool dt_config_reads(const dt_model_config *c)
{
    return !dt_config_is_tower(c) && strcmp(c->model_type, "projector") != 0;
}

/* They are config.def's rows from patch_dim to num_classes. */
void dt_config_clear_vision(dt_model_config *c)
{
    dt_model_config plain;
    size_t first = offsetof(dt_model_config, patch_dim), end = offsetof(dt_model_config, encoder_only);
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

static dt_status check_range(const char *key, int64_t value, int64_t low, int64_t high, dt_error *err)
{
    if (value >= low && value <= high)
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED, "configuration: \"%s\" is %lld, expected %lld to %lld", key,
                   (long long)value, (long long)low, (long long)high);
}

/* A picture of the trained size is so many whole patches; what is over is dropped, as makers' convolutions do. */
static dt_status check_tower(const dt_model_config *c, dt_error *err)
{
    bool pools_class = c->vision_pooling == DT_POOL_CLASS || c->vision_pooling == DT_POOL_CLASS_NORM;
    DT_PASS(check_range("patch_dim", c->patch_dim, 1, MAX_PIXELS, err));
    DT_PASS(check_range("img_h", c->img_h, c->patch_dim, MAX_PIXELS, err));
    DT_PASS(check_range("img_w", c->img_w, c->patch_dim, MAX_PIXELS, err));
    DT_PASS(check_range("num_channels", c->num_channels, 1, MAX_CHANNELS, err));
    DT_PASS(check_range("patch_dim * patch_dim * num_channels", c->patch_dim * c->patch_dim * c->num_channels,
                        1, MAX_WIDTH, err));
    DT_PASS(check_range("class_token_len", c->class_token_len, pools_class ? 1 : 0, MAX_CLASS_TOKENS, err));
    DT_PASS(check_range("x_projection_dim", c->projection_dim, 0, MAX_WIDTH, err));
    DT_PASS(check_range("x_num_classes", c->num_classes, 0, MAX_WIDTH, err));
    if (is_radio(c)) {
        DT_PASS(check_range("max_img_h", c->max_img_h, c->patch_dim, MAX_PIXELS, err));
        DT_PASS(check_range("max_img_w", c->max_img_w, c->patch_dim, MAX_PIXELS, err));
    }
    if ((c->projection_dim || c->num_classes) && c->vision_pooling == DT_POOL_NONE)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"%s\" is set, but \"x_vision_pooling\" says that nothing is pooled",
                       c->projection_dim ? "x_projection_dim" : "x_num_classes");
    return DT_OK;
}

dt_status dt_config_check_vision(const dt_model_config *c, dt_error *err)
{
    if (dt_config_is_tower(c))
        return check_tower(c, err);
    if (strcmp(c->model_type, "projector") == 0)
        return check_range("input_size", c->input_size, 1, MAX_WIDTH, err);
    return DT_OK;
}
