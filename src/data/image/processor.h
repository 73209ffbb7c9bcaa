/*
 * processor.h - what a preprocessor_config.json says, read, and the steps that follow from it.
 *
 * config.c reads it, processor.c does it, tiling.c says how a picture is cut into tiles.
 */
#ifndef DT_DATA_IMAGE_PROCESSOR_H
#define DT_DATA_IMAGE_PROCESSOR_H

#include "data/image/resize.h"

#include <stdbool.h>

/* What a class does beyond resize, crop, rescale and normalise. */
typedef enum dt_image_kind {
    DT_IMAGE_PLAIN,
    DT_IMAGE_LLAVA,      /* do_pad: padded to a square with its mean colour first */
    DT_IMAGE_LLAVA_NEXT, /* tiles from the best of some resolutions, behind an overview */
    DT_IMAGE_GOT_OCR2,   /* crop_to_patches: a grid of tiles, before an overview */
    DT_IMAGE_CONVNEXT    /* crop_pct below 384 pixels */
} dt_image_kind;

/* A size as transformers says it; 0 is absent. */
typedef struct dt_image_size {
    int height, width, shortest, longest, max_height, max_width;
} dt_image_size;

enum { DT_IMAGE_MAX_PINPOINTS = 256, DT_IMAGE_MAX_TILES = 1024 };

/* Defaults of a class, and the settings of one processor. */
typedef struct dt_image_settings {
    bool resize, center_crop, rescale, normalize, pad, crop_to_patches;
    dt_image_size size, crop, pad_to;
    int64_t filter; /* dt_image_filter */
    double rescale_factor, mean[3], std[3], crop_pct;
    int64_t min_patches, max_patches;
    int pinpoint_count;
    int pinpoint[DT_IMAGE_MAX_PINPOINTS][2]; /* height, width */
} dt_image_settings;

struct dt_image_processor {
    const char *name; /* constant text */
    dt_image_kind kind;
    dt_image_arithmetic arithmetic; /* not AS_CONFIGURED */
    dt_image_alpha alpha;
    dt_image_settings s;
};

/* The file of a model's folder that says how its pictures are made; false: there is none. */
bool dt_image_processor_file(char *out, size_t bytes, const char *folder);

/* ---- tiling.c ---- */

/* The one of `count` resolutions that keeps most of a picture and wastes least; the first of equals. */
void dt_image_best_resolution(const int (*resolution)[2], int count, int height, int width, int best[2]);
/* The largest size of a picture's shape inside a resolution. */
void dt_image_fit_inside(int height, int width, const int resolution[2], int fitted[2]);
/* Rows and columns of at most `most` tiles whose shape is nearest the picture's. */
void dt_image_tile_grid(int height, int width, int tile_height, int tile_width, int least, int most,
                        int grid[2]);

/* Height and width after the resize that `size` asks for. DT_UNSUPPORTED where it asks for none. */
dt_status dt_image_target(const dt_image_size *size, int height, int width, int64_t target[2], dt_error *err);

#endif
