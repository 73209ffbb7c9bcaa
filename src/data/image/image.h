/*
 * image.h - a picture's bytes, and what the decoders hand over.
 */
#ifndef DT_DATA_IMAGE_IMAGE_H
#define DT_DATA_IMAGE_IMAGE_H

#include "base/fail.h"

#include <drivetrain/image.h>

#include <stddef.h>
#include <stdint.h>

struct dt_image {
    uint8_t *pixels; /* [height, width, channels], owned */
    int width, height, channels;
    int frames;         /* in the file */
    const char *format; /* constant text */
};

/* A picture with room for its pixels, not yet set. DT_LIMIT beyond max_pixels (0: DT_IMAGE_MAX_PIXELS). */
dt_status dt_image_new(dt_image **out, int64_t width, int64_t height, int channels, int64_t max_pixels,
                       dt_error *err);

/* width x height against the budget, before anything of that size is made. */
dt_status dt_image_check_size(int64_t width, int64_t height, int64_t max_pixels, dt_error *err);

/* The decoders: the first frame as it is stored. Each is absent, and then NULL in decode.c's table, without its library. */
dt_status dt_image_decode_jpeg(dt_image **out, const uint8_t *data, size_t bytes, int64_t max_pixels,
                               dt_error *err);
dt_status dt_image_decode_png(dt_image **out, const uint8_t *data, size_t bytes, int64_t max_pixels,
                              dt_error *err);
dt_status dt_image_decode_webp(dt_image **out, const uint8_t *data, size_t bytes, int64_t max_pixels,
                               dt_error *err);

/* What stands beside the pixels of a file: never an error, since a picture is a picture without it. */
typedef struct dt_image_remarks {
    int orientation; /* EXIF's 1..8 */
    int frames;      /* at least 1 */
} dt_image_remarks;
dt_image_remarks dt_image_remarks_of_jpeg(const uint8_t *data, size_t bytes);
dt_image_remarks dt_image_remarks_of_png(const uint8_t *data, size_t bytes);
dt_image_remarks dt_image_remarks_of_webp(const uint8_t *data, size_t bytes);

/* The same picture turned as orientation 2..8 asks; replaces *image. */
dt_status dt_image_turn(dt_image **image, int orientation, dt_error *err);

#endif
