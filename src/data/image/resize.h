/*
 * resize.h - resizing as two passes of weighted sums in fixed point, first along rows, then along columns.
 *
 * Pillow and torchvision do the same two passes; they differ in the weights, which their own files make.
 */
#ifndef DT_DATA_IMAGE_RESIZE_H
#define DT_DATA_IMAGE_RESIZE_H

#include "data/image/image.h"

/* One axis: output i is clip((2^(bits-1) + sum over t of weight[i][t] * in[first[i] + t]) >> bits). */
typedef struct dt_taps {
    int outputs, reach; /* weights a row; those past length[i] are 0 */
    int bits;
    int *first, *length;
    int32_t *weight; /* [outputs, reach] */
} dt_taps;

/* Outputs [begin, begin + outputs) of `full`, made of `size` inputs. */
typedef struct dt_axis {
    int size, full, begin, outputs;
} dt_axis;

/* A filter as Pillow has it: a function that is 0 beyond `support`. */
typedef struct dt_filter {
    double (*at)(double x);
    double support;
} dt_filter;
const dt_filter *dt_filter_of(dt_image_filter filter); /* NULL for NEAREST and numbers that are none */

dt_status dt_taps_new(dt_taps *taps, int outputs, double reach, dt_error *err);
void dt_taps_free(dt_taps *taps); /* a zeroed one is fine */

/* resize_pillow.c, resize_torchvision.c */
dt_status dt_taps_pillow(dt_taps *taps, const dt_axis *axis, dt_image_filter filter, dt_error *err);
dt_status dt_taps_torchvision(dt_taps *taps, const dt_axis *axis, dt_image_filter filter, bool antialias,
                              dt_error *err);
void dt_nearest_pillow(int *index, const dt_axis *axis);      /* -1: outside, black */
void dt_nearest_torchvision(int *index, const dt_axis *axis); /* nearest-exact */

/*
 * The passes over rows of `channels` interleaved bytes, in rows of `stride` bytes; the plain ones are the meaning,
 * the fast ones give the same bits (resize_fast.c).
 */
typedef struct dt_pass {
    const dt_taps *taps;
    const uint8_t *in;
    size_t in_stride;
    uint8_t *out;
    size_t out_stride;
    int rows;     /* along rows: how many; along columns: taps->outputs */
    size_t bytes; /* along columns: of a row */
} dt_pass;
void dt_pass_rows_plain(const dt_pass *pass);
void dt_pass_columns_plain(const dt_pass *pass);
dt_status dt_pass_rows(const dt_pass *pass, dt_error *err);
void dt_pass_columns(const dt_pass *pass);

/*
 * The `window` (NULL: all) of what resizing an RGB picture to width x height gives; nothing outside it is computed,
 * so `width` and `height` may be large.
 */
dt_status dt_resize(dt_image **out, const dt_image *image, int64_t width, int64_t height,
                    const dt_image_window *window, const dt_image_resize_options *options, dt_error *err);

#endif
