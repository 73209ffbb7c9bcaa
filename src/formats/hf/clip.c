/*
 * clip.c (hf) - config.json of CLIP: its towers are clip_text.c's and clip_vision.c's, and what both are projected to is its own.
 */
#include "formats/hf/clip.h"

#include <stdio.h>

#define NAMES "formats/hf/names_clip.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {KEY(INT, "projection_dim", text_projection_dim)};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "clip");
    c->text_projection_dim = 512;
}

/* The towers' own "projection_dim" is for where they stand alone. */
static dt_status read_parts(dt_config_parts *parts, dt_model_config *c, const json_t *json, dt_error *err)
{
    (void)json, (void)err;
    parts->vision.projection_dim = c->text_projection_dim;
    return DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    (void)json;
    return c->text_projection_dim
               ? DT_OK
               : dt_fail(err, DT_UNSUPPORTED, "CLIP projects what it compares, this %s does not", c->family);
}

static const struct dt_hf_compound members = {DT_HF_TWO_TOWERS("clip_text_model", "clip_vision_model"),
                                              .read_parts = read_parts};

DT_HF_COMPOUND(clip, "CLIPModel", &members, defaults, NULL, write)
