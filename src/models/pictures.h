/*
 * pictures.h - pictures packed as the rows of one ragged batch: what a tower's graph takes.
 *
 * Patches are laid flat (channel, row, column) in row-major order, one picture behind another, each of its own size; so
 * there is no padding, and a picture's rows do not depend on its neighbours.
 */
#ifndef DT_MODELS_PICTURES_H
#define DT_MODELS_PICTURES_H

#include "base/arena.h"

#include <drivetrain/config.h>

/* One picture, preprocessed: planes [channels, height, width]. */
typedef struct dt_picture {
    const float *pixels;
    int64_t height, width;
} dt_picture;

/* The inputs of dt_tower_build by name, and the counts of its axes. */
typedef struct dt_pictures {
    int64_t images, patches, rows;
    float *patch;        /* patches [patches, channels · size · size] */
    int32_t *cu_seqlens; /* vision_cu_seqlens [images + 1] */
    int32_t *order;      /* vision_rows [rows]: a class token, or -1 - patch */
    int32_t *position;   /* vision_positions [rows, terms] */
    float *weight;       /* vision_position_weights [rows, terms] */
    int32_t *first;      /* vision_first_rows [images] */
    int32_t *probe;      /* vision_probe [images]: zeros */
    int32_t *probe_ends; /* vision_probe_cu_seqlens [images + 1]: 0, 1, … */
} dt_pictures;

/* Rows of the table that one position is blended of. */
int64_t dt_pictures_terms(const dt_model_config *tower);

/*
 * Lay `count` pictures out for a tower, in `arena`. What is over a whole number of patches is dropped, at the right and
 * below.
 * Errors: DT_MISMATCH a size that the tower has no positions for, DT_LIMIT too many rows.
 */
dt_status dt_pictures_pack(dt_pictures *out, dt_arena *arena, const dt_model_config *tower, int64_t count,
                           const dt_picture *picture, dt_error *err);

/* The inputs of a packed batch, to bind: NULL past the last. */
typedef struct dt_picture_input {
    const char *name;
    void *data;
} dt_picture_input;
dt_picture_input dt_pictures_input(const dt_pictures *pictures, int index);

#endif
