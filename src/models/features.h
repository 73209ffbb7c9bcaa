/*
 * features.h - what of a tower's rows a language model sees, and where it stands among its words: indices that the host
 * works out from sizes, and the graph of llava.c takes.
 *
 * Three steps, each over all pictures of a batch: which of the tower's rows are projected (features), how the rows of a
 * picture's tiles become the picture's (image rows), and which row of a text is a word's or a picture's (merged rows).
 */
#ifndef DT_MODELS_FEATURES_H
#define DT_MODELS_FEATURES_H

#include "models/pictures.h"

enum { DT_FEATURE_PARTS = 4 };

/* Of each tile, the rows that are projected: axis features. Without class tokens to drop and rows to join, all of them. */
typedef struct dt_features {
    int64_t images, rows; /* tiles, and rows of all of them */
    int parts;            /* rows of the tower that make one: 1, or 4; 0: its rows are taken as they are */
    int32_t *row[DT_FEATURE_PARTS]; /* feature_rows_0 … [rows] */
    int32_t *cu_rows;               /* [images + 1] */
} dt_features;

/* Errors: DT_MISMATCH rows that cannot be joined two by two. */
dt_status dt_features_pack(dt_features *out, dt_arena *arena, const dt_model_config *config,
                           const dt_pictures *pictures, dt_error *err);

/*
 * One picture as it was cut: `tiles` of them one behind another. Where lines end in a newline, the first is the whole
 * picture and the others are a grid, from whose lines the padding of the picture (height x width pixels) is cut off.
 */
typedef struct dt_tiling {
    int64_t tiles, grid_rows, grid_columns, height, width;
} dt_tiling;

/* What stands for each picture among words: axis image_rows. */
typedef struct dt_image_rows {
    int64_t images, rows; /* pictures, and rows of all of them */
    int32_t *
        order; /* image_order [rows]: 0 a newline, or -1 - feature; NULL without newlines: features as they are */
    int32_t *cu_rows; /* [images + 1] */
} dt_image_rows;

/* Errors: DT_MISMATCH tiles that are not those of `features`, or do not make the grid. */
dt_status dt_image_rows_pack(dt_image_rows *out, dt_arena *arena, const dt_model_config *config,
                             const dt_features *features, int64_t count, const dt_tiling *tiling,
                             dt_error *err);

/* One sequence with the places of its pictures: config.image_token_index once a picture, or once a row of it. */
typedef struct dt_seen_text {
    const int32_t *tokens;
    int64_t count;
    const int32_t *labels;      /* of each token the one that follows, or NULL */
    const float *loss_mask;     /* or NULL */
    const dt_image_rows *image; /* of the batch; NULL: no pictures */
    int64_t first_image, images;
    int64_t first_row; /* of the batch, where its merged rows begin */
    int64_t limit;     /* merged rows beyond are cut off; 0: none are */
} dt_seen_text;

/* The same with pictures in their places. */
typedef struct dt_merged {
    int64_t count;
    int32_t *tokens; /* 0 where a picture is */
    int32_t *row;    /* merged_rows: a row of the batch, or -1 - image row */
    int32_t *labels; /* -100 before and inside a picture; NULL without labels */
    float *loss_mask;
} dt_merged;

/* Errors: DT_MISMATCH more or fewer image tokens than pictures. */
dt_status dt_merge_pictures(dt_merged *out, dt_arena *arena, const dt_model_config *config,
                            const dt_seen_text *text, dt_error *err);

/* The inputs that are the same for a whole batch, by name: NULL past the last. */
dt_picture_input dt_features_input(const dt_features *features, const dt_image_rows *rows, int index);

#endif
