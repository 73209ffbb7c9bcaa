/*
 * processor.c - a picture becomes pixels: tiles of it are resized, cropped, and each byte looked up as a number.
 *
 * Numbers  a byte has 256 values, so rescaling and normalising are a table for each channel, filled in the reference's
 *          order of f32 (or, in Pillow's path, f64) operations.
 */
#include "data/image/processor.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 3 };

/* A picture on its way. */
typedef struct job {
    const dt_image_processor *p;
    const dt_image *image; /* RGB */
    dt_pixels *out;
    int64_t room; /* tiles that out->values holds */
    float value[CHANNELS][256];
} job;

/* ---- numbers ---- */

static float torchvision_value(const dt_image_settings *s, int c, int byte)
{
    float mean = (float)s->mean[c], std = (float)s->std[c], inverse = (float)(1.0 / s->rescale_factor);
    if (!s->normalize)
        return s->rescale ? (float)byte * (float)s->rescale_factor : (float)byte;
    if (s->rescale) {
        mean *= inverse;
        std *= inverse;
    }
    return ((float)byte - mean) / std;
}

static float pillow_value(const dt_image_settings *s, int c, int byte)
{
    float value = s->rescale ? (float)((double)byte * s->rescale_factor) : (float)byte;
    return s->normalize ? (value - (float)s->mean[c]) / (float)s->std[c] : value;
}

static void fill_table(job *j)
{
    bool torchvision = j->p->arithmetic == DT_IMAGE_TORCHVISION;
    for (int c = 0; c < CHANNELS; c++)
        for (int byte = 0; byte < 256; byte++)
            j->value[c][byte] = (torchvision ? torchvision_value : pillow_value)(&j->p->s, c, byte);
}

/* ---- cropping ---- */

/* One axis of a centred crop: `length` pixels from `first` of the picture land at `place` of the crop. */
typedef struct span {
    int first, length, place;
} span;

/* Where a crop is larger than the picture, the two implementations round the border differently. */
static span centred(int64_t size, int crop, bool torchvision)
{
    if (crop <= size)
        return (span){(int)((size - crop) / 2), crop, 0};
    int border = crop - (int)size;
    return (span){0, (int)size, torchvision ? border / 2 : (border + 1) / 2};
}

/* ---- one tile ---- */

/* What is cut out of a tile when it has its size, and where that lies in the result. */
typedef struct frame {
    int64_t height, width; /* after the resize */
    span y, x;
    int out_height, out_width; /* of the crop, before padding */
} frame;

static dt_status resized_frame(const job *j, int height, int width, frame *f, dt_error *err)
{
    const dt_image_settings *s = &j->p->s;
    int64_t target[2] = {height, width};
    dt_image_size size = s->size, crop = s->crop;
    bool cropped = s->center_crop && j->p->kind != DT_IMAGE_GOT_OCR2;
    if (s->resize && j->p->kind == DT_IMAGE_CONVNEXT) {
        size = (dt_image_size){.height = s->size.shortest, .width = s->size.shortest};
        if (s->size.shortest < 384)
            size = (dt_image_size){.shortest = (int)(s->size.shortest / s->crop_pct)};
    }
    if (s->resize)
        DT_PASS(dt_image_target(&size, height, width, target, err));
    if (s->resize && j->p->kind == DT_IMAGE_CONVNEXT && size.shortest) {
        if (cropped)
            return dt_fail(err, DT_UNSUPPORTED, "do_center_crop behind the crop that crop_pct asks for");
        cropped = true;
        crop = (dt_image_size){.height = s->size.shortest, .width = s->size.shortest};
    }
    bool torchvision = j->p->arithmetic == DT_IMAGE_TORCHVISION;
    f->height = target[0];
    f->width = target[1];
    f->y = cropped ? centred(target[0], crop.height, torchvision) : (span){0, (int)target[0], 0};
    f->x = cropped ? centred(target[1], crop.width, torchvision) : (span){0, (int)target[1], 0};
    f->out_height = cropped ? crop.height : (int)target[0];
    f->out_width = cropped ? crop.width : (int)target[1];
    return DT_OK;
}

/* The first tile decides the size of all; the reference stacks them, too. */
static dt_status make_room(job *j, const frame *f, dt_error *err)
{
    const dt_image_settings *s = &j->p->s;
    bool padded = s->pad && (j->p->kind == DT_IMAGE_PLAIN || j->p->kind == DT_IMAGE_CONVNEXT);
    int height = padded ? s->pad_to.height : f->out_height, width = padded ? s->pad_to.width : f->out_width;
    if (f->out_height > height || f->out_width > width)
        return dt_fail(err, DT_INVALID, "pad_size %d x %d is smaller than the picture's %d x %d", width,
                       height, f->out_width, f->out_height);
    if (j->out->values) {
        if (height == j->out->height && width == j->out->width)
            return DT_OK;
        return dt_fail(err, DT_INVALID,
                       "tiles of %d x %d and of %d x %d: crop_size, size and image_grid_pinpoints disagree",
                       j->out->width, j->out->height, width, height);
    }
    int64_t pixels;
    DT_PASS(dt_image_check_size(width, height, 0, err));
    if (!dt_mul_int64((int64_t)height * width, j->room, &pixels) || pixels > DT_IMAGE_MAX_PIXELS)
        return dt_fail(err, DT_LIMIT, "%" PRId64 " tiles of %d x %d pixels, at most %d pixels are allowed",
                       j->room, width, height, DT_IMAGE_MAX_PIXELS);
    j->out->values = calloc((size_t)pixels, CHANNELS * sizeof(float));
    if (!j->out->values)
        return dt_fail_memory(err, (size_t)pixels * CHANNELS * sizeof(float), "pixels");
    j->out->height = height;
    j->out->width = width;
    return DT_OK;
}

/* Bytes [height, width, 3] to the tile's planes; what a crop adds is black and is normalised as that. */
static void write_tile(job *j, const dt_image *tile, const frame *f)
{
    int height = j->out->height, width = j->out->width;
    float *out = j->out->values + j->out->tiles * CHANNELS * height * width;
    for (int c = 0; c < CHANNELS; c++, out += (size_t)height * (size_t)width) {
        const float *value = j->value[c];
        for (int y = 0; y < f->out_height; y++) {
            float *row = out + (size_t)y * (size_t)width;
            bool inside = y >= f->y.place && y < f->y.place + f->y.length;
            for (int x = 0; x < f->out_width; x++)
                row[x] = value[0];
            if (!inside)
                continue;
            const uint8_t *in = tile->pixels + (size_t)(y - f->y.place) * (size_t)tile->width * CHANNELS + c;
            for (int x = 0; x < f->x.length; x++)
                row[f->x.place + x] = value[in[x * CHANNELS]];
        }
    }
    j->out->tiles++;
}

static dt_status resize_window(const job *j, const dt_image *image, int64_t height, int64_t width,
                               const dt_image_window *window, dt_image **out, dt_error *err)
{
    dt_image_resize_options o = {.filter = (dt_image_filter)j->p->s.filter, .arithmetic = j->p->arithmetic};
    return dt_resize(out, image, width, height, window, &o, err);
}

/* Resize, crop, rescale, normalise: what every class ends in. */
static dt_status finish_tile(job *j, const dt_image *image, dt_error *err)
{
    frame f;
    dt_image *tile;
    DT_PASS(resized_frame(j, image->height, image->width, &f, err));
    DT_PASS(make_room(j, &f, err));
    dt_image_window window = {f.y.first, f.x.first, f.y.length, f.x.length};
    DT_PASS(resize_window(j, image, f.height, f.width, &window, &tile, err));
    write_tile(j, tile, &f);
    dt_image_close(tile);
    return DT_OK;
}

/* ---- pictures put on a ground ---- */

static void paste(dt_image *ground, const dt_image *image, int top, int left)
{
    for (int y = 0; y < image->height; y++)
        memcpy(ground->pixels + ((size_t)(top + y) * (size_t)ground->width + (size_t)left) * CHANNELS,
               image->pixels + (size_t)y * (size_t)image->width * CHANNELS, (size_t)image->width * CHANNELS);
}

static dt_status make_ground(dt_image **out, int height, int width, const uint8_t colour[3], dt_error *err)
{
    DT_PASS(dt_image_new(out, width, height, CHANNELS, 0, err));
    size_t count = (size_t)width * (size_t)height;
    for (size_t i = 0; i < count; i++)
        memcpy((*out)->pixels + i * CHANNELS, colour, CHANNELS);
    return DT_OK;
}

static dt_status cut(dt_image **out, const dt_image *image, int top, int left, int height, int width,
                     dt_error *err)
{
    DT_PASS(dt_image_new(out, width, height, CHANNELS, 0, err));
    for (int y = 0; y < height; y++)
        memcpy((*out)->pixels + (size_t)y * (size_t)width * CHANNELS,
               image->pixels + ((size_t)(top + y) * (size_t)image->width + (size_t)left) * CHANNELS,
               (size_t)width * CHANNELS);
    return DT_OK;
}

/* ---- the kinds ---- */

static dt_status plain(job *j, dt_error *err)
{
    return finish_tile(j, j->image, err);
}

static dt_status llava(job *j, dt_error *err)
{
    const dt_image *image = j->image;
    int edge = image->height > image->width ? image->height : image->width;
    uint8_t colour[CHANNELS];
    dt_image *square;
    if (!j->p->s.pad || image->height == image->width)
        return finish_tile(j, image, err);
    for (int c = 0; c < CHANNELS; c++)
        colour[c] = (uint8_t)(int)(j->p->s.mean[c] * 255);
    DT_PASS(make_ground(&square, edge, edge, colour, err));
    paste(square, image, (edge - image->height) / 2, (edge - image->width) / 2);
    dt_status status = finish_tile(j, square, err);
    dt_image_close(square);
    return status;
}

static dt_status finish_resized(job *j, int height, int width, dt_error *err)
{
    dt_image *resized;
    DT_PASS(resize_window(j, j->image, height, width, NULL, &resized, err));
    dt_status status = finish_tile(j, resized, err);
    dt_image_close(resized);
    return status;
}

/* Tiles of `patch` pixels, row by row; the last of a row or column may be smaller. */
static dt_status finish_patches(job *j, const dt_image *canvas, int patch_height, int patch_width,
                                dt_error *err)
{
    for (int top = 0; top < canvas->height; top += patch_height)
        for (int left = 0; left < canvas->width; left += patch_width) {
            dt_image *tile;
            int height = canvas->height - top < patch_height ? canvas->height - top : patch_height;
            int width = canvas->width - left < patch_width ? canvas->width - left : patch_width;
            DT_PASS(cut(&tile, canvas, top, left, height, width, err));
            dt_status status = finish_tile(j, tile, err);
            dt_image_close(tile);
            DT_PASS(status);
        }
    return DT_OK;
}

/* The picture inside the best resolution, on black. */
static dt_status any_resolution_canvas(const job *j, const int best[2], dt_image **canvas, dt_error *err)
{
    int fitted[2];
    dt_image *resized;
    dt_image_fit_inside(j->image->height, j->image->width, best, fitted);
    if (fitted[0] < 1 || fitted[1] < 1)
        return dt_fail(err, DT_INVALID, "a picture of %d x %d is too thin for tiles of %d x %d",
                       j->image->width, j->image->height, best[1], best[0]);
    DT_PASS(resize_window(j, j->image, fitted[0], fitted[1], NULL, &resized, err));
    dt_status status = make_ground(canvas, best[0], best[1], (const uint8_t[3]){0, 0, 0}, err);
    if (status == DT_OK)
        paste(*canvas, resized, (best[0] - fitted[0]) / 2, (best[1] - fitted[1]) / 2);
    dt_image_close(resized);
    return status;
}

static int tiles_along(int length, int patch)
{
    return (length + patch - 1) / patch;
}

static dt_status llava_next(job *j, dt_error *err)
{
    const dt_image_settings *s = &j->p->s;
    bool pair = s->size.height && s->size.width;
    int height = pair ? s->size.height : s->size.shortest, width = pair ? s->size.width : s->size.shortest;
    int patch = s->crop.height ? s->crop.height : height, best[2];
    dt_image *canvas;
    dt_image_best_resolution(s->pinpoint, s->pinpoint_count, j->image->height, j->image->width, best);
    if (best[0] < 1)
        return dt_fail(err, DT_INVALID, "image_grid_pinpoints: none fits a picture of %d x %d",
                       j->image->width, j->image->height);
    j->out->grid_rows = tiles_along(best[0], patch);
    j->out->grid_columns = tiles_along(best[1], patch);
    j->out->overview = 0;
    j->room = 1 + (int64_t)j->out->grid_rows * j->out->grid_columns;
    DT_PASS(finish_resized(j, height, width, err));
    DT_PASS(any_resolution_canvas(j, best, &canvas, err));
    dt_status status = finish_patches(j, canvas, patch, patch, err);
    dt_image_close(canvas);
    return status;
}

static dt_status got_ocr2(job *j, dt_error *err)
{
    const dt_image_settings *s = &j->p->s;
    int grid[2];
    dt_image *canvas;
    if (!s->crop_to_patches)
        return finish_tile(j, j->image, err);
    dt_image_tile_grid(j->image->height, j->image->width, s->size.height, s->size.width, (int)s->min_patches,
                       (int)s->max_patches, grid);
    int tiles = grid[0] * grid[1];
    j->out->grid_rows = grid[0];
    j->out->grid_columns = grid[1];
    j->room = tiles > 1 ? tiles + 1 : 1;
    DT_PASS(resize_window(j, j->image, (int64_t)grid[0] * s->size.height, (int64_t)grid[1] * s->size.width,
                          NULL, &canvas, err));
    dt_status status = finish_patches(j, canvas, s->size.height, s->size.width, err);
    dt_image_close(canvas);
    if (status != DT_OK || tiles == 1)
        return status;
    j->out->overview = tiles;
    return finish_resized(j, s->size.height, s->size.width, err);
}

static dt_status process_rgb(const dt_image_processor *p, const dt_image *image, dt_pixels *out,
                             dt_error *err)
{
    static dt_status (*const kinds[])(job *, dt_error *) = {[DT_IMAGE_PLAIN] = plain,
                                                            [DT_IMAGE_LLAVA] = llava,
                                                            [DT_IMAGE_LLAVA_NEXT] = llava_next,
                                                            [DT_IMAGE_GOT_OCR2] = got_ocr2,
                                                            [DT_IMAGE_CONVNEXT] = plain};
    job j = {.p = p, .image = image, .out = out, .room = 1};
    out->image_height = image->height;
    out->image_width = image->width;
    out->overview = -1;
    fill_table(&j);
    return kinds[p->kind](&j, err);
}

dt_status dt_image_process(const dt_image_processor *processor, const dt_image *image, dt_pixels *out,
                           dt_error *err)
{
    dt_image *rgb = NULL;
    *out = (dt_pixels){0};
    if (image->channels != CHANNELS)
        DT_PASS(dt_image_to_rgb(&rgb, image, processor->alpha, err));
    dt_status status = process_rgb(processor, rgb ? rgb : image, out, err);
    dt_image_close(rgb);
    if (status != DT_OK) {
        dt_pixels_free(out);
        dt_error_while(err, "while a %s made pixels of a picture of %d x %d", processor->name, image->width,
                       image->height);
    }
    return status;
}

void dt_pixels_free(dt_pixels *pixels)
{
    free(pixels->values);
    *pixels = (dt_pixels){0};
}
