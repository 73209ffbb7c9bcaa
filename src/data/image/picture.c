/*
 * picture.c - a picture in memory: made, asked about, turned upright, freed of its transparency.
 *
 * Leaves files to decode.c and its decoders, other sizes to resize.c.
 */
#include "data/image/image.h"

#include "base/checked.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

dt_status dt_image_check_size(int64_t width, int64_t height, int64_t max_pixels, dt_error *err)
{
    int64_t pixels, limit = max_pixels > 0 ? max_pixels : DT_IMAGE_MAX_PIXELS;
    if (width < 1 || height < 1)
        return dt_fail(err, DT_FORMAT, "a picture of %" PRId64 " x %" PRId64 " pixels", width, height);
    if (!dt_mul_int64(width, height, &pixels) || pixels > limit || width > INT_MAX || height > INT_MAX)
        return dt_fail(err, DT_LIMIT, "%" PRId64 " x %" PRId64 " pixels, at most %" PRId64 " are allowed",
                       width, height, limit);
    return DT_OK;
}

dt_status dt_image_new(dt_image **out, int64_t width, int64_t height, int channels, int64_t max_pixels,
                       dt_error *err)
{
    size_t bytes;
    *out = NULL;
    DT_PASS(dt_image_check_size(width, height, max_pixels, err));
    if (!dt_mul_size((size_t)width * (size_t)height, (size_t)channels, &bytes))
        return dt_fail(err, DT_LIMIT, "%" PRId64 " x %" PRId64 " pixels", width, height);
    dt_image *image = malloc(sizeof *image);
    uint8_t *pixels = malloc(bytes);
    if (!image || !pixels) {
        free(image);
        free(pixels);
        return dt_fail_memory(err, bytes, "a picture");
    }
    *image = (dt_image){pixels, (int)width, (int)height, channels, 1, "raw"};
    *out = image;
    return DT_OK;
}

dt_status dt_image_create(dt_image **out, const uint8_t *pixels, int width, int height, int channels,
                          dt_error *err)
{
    *out = NULL;
    if (!pixels || width < 1 || height < 1 || (channels != 3 && channels != 4))
        return dt_fail(err, DT_INVALID, "a picture of %d x %d pixels with %d channels", width, height,
                       channels);
    DT_PASS(dt_image_new(out, width, height, channels, INT64_MAX, err));
    memcpy((*out)->pixels, pixels, (size_t)width * (size_t)height * (size_t)channels);
    return DT_OK;
}

void dt_image_close(dt_image *image)
{
    if (image)
        free(image->pixels);
    free(image);
}

int dt_image_width(const dt_image *image)
{
    return image->width;
}

int dt_image_height(const dt_image *image)
{
    return image->height;
}

int dt_image_channels(const dt_image *image)
{
    return image->channels;
}

const uint8_t *dt_image_pixels(const dt_image *image)
{
    return image->pixels;
}

const char *dt_image_format(const dt_image *image)
{
    return image->format;
}

int dt_image_frames(const dt_image *image)
{
    return image->frames;
}

/* ---- turning ---- */

/* Where the pixel at (x, y) of the turned picture is found in one of w x h, by EXIF's orientations 1..8. */
typedef struct turn {
    bool swap;   /* x and y change places */
    bool flip_x; /* counted from the right of the stored picture */
    bool flip_y; /* from its bottom */
} turn;
static const turn turns[9] = {
    [2] = {false, true, false}, [3] = {false, true, true}, [4] = {false, false, true},
    [5] = {true, false, false}, [6] = {true, false, true}, [7] = {true, true, true},
    [8] = {true, true, false},
};

dt_status dt_image_turn(dt_image **image, int orientation, dt_error *err)
{
    const dt_image *from = *image;
    dt_image *to;
    if (orientation < 2 || orientation > 8)
        return DT_OK;
    turn t = turns[orientation];
    int width = t.swap ? from->height : from->width, height = t.swap ? from->width : from->height;
    DT_PASS(dt_image_new(&to, width, height, from->channels, INT64_MAX, err));
    to->frames = from->frames;
    to->format = from->format;
    size_t channels = (size_t)from->channels;
    uint8_t *out = to->pixels;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++, out += channels) {
            int sx = t.swap ? y : x, sy = t.swap ? x : y;
            sx = t.flip_x ? from->width - 1 - sx : sx;
            sy = t.flip_y ? from->height - 1 - sy : sy;
            memcpy(out, from->pixels + ((size_t)sy * (size_t)from->width + (size_t)sx) * channels, channels);
        }
    dt_image_close(*image);
    *image = to;
    return DT_OK;
}

/* ---- transparency ---- */

/* One channel over white, in Pillow's fixed point (7 bits below the point, products of 255 divided by shifts). */
static uint8_t over_white(unsigned colour, unsigned alpha)
{
    /* the background is opaque, so the result is: blend = 255 - alpha, outa255 = 255 * 255 */
    unsigned coefficient = alpha * 255u * 255u * (1u << 7) / (255u * 255u);
    unsigned sum = colour * coefficient + 255u * ((255u << 7) - coefficient);
    sum += 0x80u << 7;
    return (uint8_t)(((sum >> 8) + sum) >> 8 >> 7);
}

dt_status dt_image_to_rgb(dt_image **out, const dt_image *image, dt_image_alpha alpha, dt_error *err)
{
    DT_PASS(dt_image_new(out, image->width, image->height, 3, INT64_MAX, err));
    (*out)->frames = image->frames;
    (*out)->format = image->format;
    size_t count = (size_t)image->width * (size_t)image->height;
    const uint8_t *in = image->pixels;
    uint8_t *to = (*out)->pixels;
    if (image->channels == 3)
        memcpy(to, in, count * 3);
    else
        for (size_t i = 0; i < count; i++, in += 4, to += 3)
            for (int c = 0; c < 3; c++)
                to[c] = alpha == DT_IMAGE_ALPHA_DROP ? in[c] : over_white(in[c], in[3]);
    return DT_OK;
}

dt_status dt_image_to_grey(dt_image **out, const dt_image *image, dt_image_alpha alpha, dt_error *err)
{
    DT_PASS(dt_image_to_rgb(out, image, alpha, err));
    uint8_t *p = (*out)->pixels;
    for (size_t i = 0, count = (size_t)image->width * (size_t)image->height; i < count; i++, p += 3)
        p[0] = p[1] = p[2] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
    return DT_OK;
}
