/*
 * resize.c - a picture of another size, or a window of one: which passes there are, and the plain form of each.
 *
 * Leaves weights to resize_pillow.c and resize_torchvision.c, speed to resize_fast.c.
 */
#include "data/image/resize.h"

#include "base/checked.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 3, LONGEST_AXIS = 1 << 24 };

/* ---- weights ---- */

dt_status dt_taps_new(dt_taps *taps, int outputs, double reach, dt_error *err)
{
    size_t weights = 0;
    *taps = (dt_taps){.outputs = outputs, .reach = reach < INT_MAX ? (int)reach : INT_MAX};
    bool fits = dt_mul_size((size_t)outputs, (size_t)taps->reach, &weights) && weights < SIZE_MAX / 8;
    taps->first = calloc((size_t)outputs, sizeof *taps->first);
    taps->length = calloc((size_t)outputs, sizeof *taps->length);
    taps->weight = fits ? calloc(weights, sizeof *taps->weight) : NULL;
    if (taps->first && taps->length && taps->weight)
        return DT_OK;
    dt_taps_free(taps);
    return dt_fail_memory(err, weights * sizeof *taps->weight, "the weights of a resize");
}

void dt_taps_free(dt_taps *taps)
{
    free(taps->first);
    free(taps->length);
    free(taps->weight);
    *taps = (dt_taps){0};
}

/* ---- the plain passes ---- */

static uint8_t clipped(int32_t sum, int bits)
{
    sum >>= bits;
    return (uint8_t)(sum < 0 ? 0 : (sum > 255 ? 255 : sum));
}

void dt_pass_rows_plain(const dt_pass *p)
{
    const dt_taps *t = p->taps;
    for (int y = 0; y < p->rows; y++) {
        uint8_t *out = p->out + (size_t)y * p->out_stride;
        for (int x = 0; x < t->outputs; x++) {
            const uint8_t *in = p->in + (size_t)y * p->in_stride + (size_t)t->first[x] * CHANNELS;
            const int32_t *weight = t->weight + (size_t)x * (size_t)t->reach;
            for (int c = 0; c < CHANNELS; c++) {
                int32_t sum = 1 << (t->bits - 1);
                for (int i = 0; i < t->length[x]; i++)
                    sum += in[i * CHANNELS + c] * weight[i];
                *out++ = clipped(sum, t->bits);
            }
        }
    }
}

void dt_pass_columns_plain(const dt_pass *p)
{
    const dt_taps *t = p->taps;
    for (int y = 0; y < t->outputs; y++) {
        const uint8_t *in = p->in + (size_t)t->first[y] * p->in_stride;
        const int32_t *weight = t->weight + (size_t)y * (size_t)t->reach;
        for (size_t x = 0; x < p->bytes; x++) {
            int32_t sum = 1 << (t->bits - 1);
            for (int i = 0; i < t->length[y]; i++)
                sum += in[(size_t)i * p->in_stride + x] * weight[i];
            p->out[(size_t)y * p->out_stride + x] = clipped(sum, t->bits);
        }
    }
}

/* ---- the whole ---- */

typedef struct job {
    const dt_image *image;
    dt_axis x, y;
    dt_image_resize_options o;
    dt_image *out;
    dt_taps row_taps, column_taps;
    uint8_t *between; /* rows that the first pass made, when there are two */
} job;

static void copy_window(const job *j)
{
    size_t stride = (size_t)j->image->width * CHANNELS, bytes = (size_t)j->x.outputs * CHANNELS;
    for (int y = 0; y < j->y.outputs; y++)
        memcpy(j->out->pixels + (size_t)y * bytes,
               j->image->pixels + (size_t)(j->y.begin + y) * stride + (size_t)j->x.begin * CHANNELS, bytes);
}

static dt_status nearest(const job *j, dt_error *err)
{
    void (*indices)(int *, const dt_axis *) =
        j->o.arithmetic == DT_IMAGE_TORCHVISION ? dt_nearest_torchvision : dt_nearest_pillow;
    int *column = malloc((size_t)j->x.outputs * sizeof *column),
        *row = malloc((size_t)j->y.outputs * sizeof *row);
    uint8_t *out = j->out->pixels;
    if (!column || !row) {
        free(column);
        free(row);
        return dt_fail_memory(err, (size_t)j->x.outputs * sizeof *column, "a resize");
    }
    indices(column, &j->x);
    indices(row, &j->y);
    for (int y = 0; y < j->y.outputs; y++)
        for (int x = 0; x < j->x.outputs; x++, out += CHANNELS) {
            if (row[y] < 0 || column[x] < 0)
                memset(out, 0, CHANNELS);
            else
                memcpy(out,
                       j->image->pixels +
                           ((size_t)row[y] * (size_t)j->image->width + (size_t)column[x]) * CHANNELS,
                       CHANNELS);
        }
    free(column);
    free(row);
    return DT_OK;
}

static dt_status taps_of(dt_taps *taps, const dt_axis *axis, const dt_image_resize_options *o, dt_error *err)
{
    if (o->arithmetic == DT_IMAGE_TORCHVISION)
        return dt_taps_torchvision(taps, axis, o->filter, !o->no_antialias, err);
    return dt_taps_pillow(taps, axis, o->filter, err);
}

/* Along columns alone; the window's columns are read where they lie. */
static void only_columns(const job *j)
{
    size_t bytes = (size_t)j->x.outputs * CHANNELS;
    dt_pass columns = {.taps = &j->column_taps,
                       .in = j->image->pixels + (size_t)j->x.begin * CHANNELS,
                       .in_stride = (size_t)j->image->width * CHANNELS,
                       .out = j->out->pixels,
                       .out_stride = bytes,
                       .bytes = bytes};
    dt_pass_columns(&columns);
}

/* Along rows, of those rows that are wanted. */
static dt_status rows_into(const job *j, int first, int rows, uint8_t *out, dt_error *err)
{
    size_t stride = (size_t)j->image->width * CHANNELS;
    dt_pass pass = {.taps = &j->row_taps,
                    .in = j->image->pixels + (size_t)first * stride,
                    .in_stride = stride,
                    .out = out,
                    .out_stride = (size_t)j->x.outputs * CHANNELS,
                    .rows = rows};
    return dt_pass_rows(&pass, err);
}

/* Inputs that a whole axis needs; its taps are counted from there on. */
static int rebase(dt_taps *t, int *first)
{
    int end = 0;
    *first = INT_MAX;
    for (int i = 0; i < t->outputs; i++) {
        *first = t->first[i] < *first ? t->first[i] : *first;
        end = t->first[i] + t->length[i] > end ? t->first[i] + t->length[i] : end;
    }
    for (int i = 0; i < t->outputs; i++)
        t->first[i] -= *first;
    return end - *first;
}

static dt_status make_between(job *j, int width, int height, dt_error *err)
{
    size_t bytes;
    if (!dt_mul_size((size_t)width * CHANNELS, (size_t)height, &bytes) || !(j->between = malloc(bytes)))
        return dt_fail_memory(err, (size_t)width * CHANNELS, "the rows of a resize");
    return DT_OK;
}

static dt_status rows_then_columns(job *j, dt_error *err)
{
    int first, rows = rebase(&j->column_taps, &first);
    size_t stride = (size_t)j->x.outputs * CHANNELS;
    DT_PASS(make_between(j, j->x.outputs, rows, err));
    DT_PASS(rows_into(j, first, rows, j->between, err));
    dt_pass columns = {.taps = &j->column_taps,
                       .in = j->between,
                       .in_stride = stride,
                       .out = j->out->pixels,
                       .out_stride = stride,
                       .bytes = stride};
    dt_pass_columns(&columns);
    return DT_OK;
}

static dt_status columns_then_rows(job *j, dt_error *err)
{
    int first, width = rebase(&j->row_taps, &first);
    size_t stride = (size_t)width * CHANNELS;
    DT_PASS(make_between(j, width, j->y.outputs, err));
    dt_pass columns = {.taps = &j->column_taps,
                       .in = j->image->pixels + (size_t)first * CHANNELS,
                       .in_stride = (size_t)j->image->width * CHANNELS,
                       .out = j->between,
                       .out_stride = stride,
                       .bytes = stride};
    dt_pass_columns(&columns);
    dt_pass rows = {.taps = &j->row_taps,
                    .in = j->between,
                    .in_stride = stride,
                    .out = j->out->pixels,
                    .out_stride = (size_t)j->x.outputs * CHANNELS,
                    .rows = j->y.outputs};
    return dt_pass_rows(&rows, err);
}

/*
 * Each pass rounds to bytes, so their order shows. Rows come first, but since version 13 Pillow takes columns first
 * where height shrinks by more than twice as many pixels as width does.
 */
static bool columns_come_first(const job *j)
{
    int64_t lost_height = (int64_t)j->y.size - j->y.full, lost_width = (int64_t)j->x.size - j->x.full;
    return j->o.arithmetic != DT_IMAGE_TORCHVISION && lost_height > 0 && lost_height > 2 * lost_width;
}

static dt_status passes(job *j, dt_error *err)
{
    bool rows = j->x.full != j->x.size, columns = j->y.full != j->y.size;
    if (!rows && !columns) {
        copy_window(j);
        return DT_OK;
    }
    if (j->o.filter == DT_IMAGE_NEAREST)
        return nearest(j, err);
    if (rows)
        DT_PASS(taps_of(&j->row_taps, &j->x, &j->o, err));
    if (columns)
        DT_PASS(taps_of(&j->column_taps, &j->y, &j->o, err));
    if (rows && columns)
        return columns_come_first(j) ? columns_then_rows(j, err) : rows_then_columns(j, err);
    if (rows)
        return rows_into(j, j->y.begin, j->y.outputs, j->out->pixels, err);
    only_columns(j);
    return DT_OK;
}

static dt_status check(const dt_image *image, int64_t width, int64_t height, const dt_image_resize_options *o,
                       dt_error *err)
{
    if (image->channels != CHANNELS)
        return dt_fail(err, DT_UNSUPPORTED, "RGBA is not resized; make it RGB first");
    if (width > LONGEST_AXIS || height > LONGEST_AXIS)
        return dt_fail(err, DT_LIMIT, "a resize to %" PRId64 " x %" PRId64 " pixels; an edge has at most %d",
                       width, height, LONGEST_AXIS);
    if (width < 1 || height < 1)
        return dt_fail(err, DT_INVALID, "a resize to %" PRId64 " x %" PRId64 " pixels", width, height);
    if (o->filter != DT_IMAGE_NEAREST && !dt_filter_of(o->filter))
        return dt_fail(err, DT_UNSUPPORTED, "no filter has the number %d (0 to 5 are Pillow's)",
                       (int)o->filter);
    if (o->arithmetic == DT_IMAGE_TORCHVISION && (o->filter == DT_IMAGE_BOX || o->filter == DT_IMAGE_HAMMING))
        return dt_fail(err, DT_UNSUPPORTED,
                       "torchvision has no %s filter for tensors; Pillow's arithmetic has",
                       o->filter == DT_IMAGE_BOX ? "box" : "hamming");
    return DT_OK;
}

dt_status dt_resize(dt_image **out, const dt_image *image, int64_t width, int64_t height,
                    const dt_image_window *window, const dt_image_resize_options *options, dt_error *err)
{
    *out = NULL;
    DT_PASS(check(image, width, height, options, err));
    job j = {.image = image, .o = *options};
    j.x = (dt_axis){image->width, (int)width, 0, (int)width};
    j.y = (dt_axis){image->height, (int)height, 0, (int)height};
    if (window) {
        j.x = (dt_axis){image->width, (int)width, window->left, window->width};
        j.y = (dt_axis){image->height, (int)height, window->top, window->height};
    }
    DT_PASS(dt_image_new(&j.out, j.x.outputs, j.y.outputs, CHANNELS, 0, err));
    dt_status status = passes(&j, err);
    dt_taps_free(&j.row_taps);
    dt_taps_free(&j.column_taps);
    free(j.between);
    if (status == DT_OK)
        *out = j.out;
    else
        dt_image_close(j.out);
    return status;
}

dt_status dt_image_resize(dt_image **out, const dt_image *image, int width, int height,
                          const dt_image_resize_options *options, dt_error *err)
{
    dt_image_resize_options o = {.filter = DT_IMAGE_BICUBIC};
    if (options)
        o = *options;
    return dt_resize(out, image, width, height, NULL, &o, err);
}
