/*
 * decode.c - a file's first bytes tell what it is; its decoder makes it a picture; EXIF turns it upright.
 *
 * Leaves each format to its own file, which is built where its library is.
 */
#include "data/image/image.h"

#include "base/map.h"

#include <string.h>

#ifndef DT_HAVE_JPEG
#define dt_image_decode_jpeg NULL
#endif
#ifndef DT_HAVE_PNG
#define dt_image_decode_png NULL
#endif
#ifndef DT_HAVE_WEBP
#define dt_image_decode_webp NULL
#endif

typedef dt_status decoder(dt_image **out, const uint8_t *data, size_t bytes, int64_t max_pixels,
                          dt_error *err);

/* What a file may be: bytes at a place. A row without a name of its library is no format that we read. */
typedef struct format {
    const char *name, *library;
    decoder *decode;
    dt_image_remarks (*remarks)(const uint8_t *data, size_t bytes);
    size_t place, length;
    const char *magic;
} format;

static const format formats[] = {
    {"JPEG", "libjpeg-turbo", dt_image_decode_jpeg, dt_image_remarks_of_jpeg, 0, 3, "\xFF\xD8\xFF"},
    {"PNG", "libpng", dt_image_decode_png, dt_image_remarks_of_png, 0, 8, "\x89PNG\r\n\x1A\n"},
    {"WebP", "libwebp", dt_image_decode_webp, dt_image_remarks_of_webp, 8, 4, "WEBP"},
    {"GIF", NULL, NULL, NULL, 0, 4, "GIF8"},
    {"TIFF", NULL, NULL, NULL, 0, 4, "II*\0"},
    {"TIFF", NULL, NULL, NULL, 0, 4, "MM\0*"},
    {"BMP", NULL, NULL, NULL, 0, 2, "BM"},
    {"JPEG 2000", NULL, NULL, NULL, 0, 8, "\0\0\0\x0CjP  "},
    {"JPEG 2000", NULL, NULL, NULL, 0, 4, "\xFF\x4F\xFF\x51"},
    {"JPEG XL", NULL, NULL, NULL, 0, 8, "\0\0\0\x0CJXL "},
    {"JPEG XL", NULL, NULL, NULL, 0, 2, "\xFF\x0A"},
    {"HEIC or AVIF", NULL, NULL, NULL, 4, 4, "ftyp"},
    {"Windows icon", NULL, NULL, NULL, 0, 4, "\0\0\1\0"},
    {"Photoshop", NULL, NULL, NULL, 0, 4, "8BPS"},
    {"PDF", NULL, NULL, NULL, 0, 4, "%PDF"},
    {"SVG", NULL, NULL, NULL, 0, 4, "<svg"},
    {"PPM", NULL, NULL, NULL, 0, 2, "P6"},
    {"PGM", NULL, NULL, NULL, 0, 2, "P5"},
};

static const format *format_of(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const format *f = &formats[i];
        if (bytes >= f->place + f->length && memcmp(data + f->place, f->magic, f->length) == 0)
            return f;
    }
    return NULL;
}

static dt_status not_readable(const format *f, size_t bytes, dt_error *err)
{
    if (bytes == 0)
        return dt_fail(err, DT_FORMAT, "the file is empty");
    if (!f)
        return dt_fail(err, DT_UNSUPPORTED, "no picture: its first bytes are not those of JPEG, PNG or WebP");
    if (!f->library)
        return dt_fail(err, DT_UNSUPPORTED, "a %s file; pictures are read from JPEG, PNG and WebP", f->name);
    return dt_fail(err, DT_UNSUPPORTED, "a %s file, and drivetrain was built without %s", f->name,
                   f->library);
}

dt_status dt_image_decode(dt_image **out, const void *data, size_t bytes, const dt_image_options *options,
                          dt_error *err)
{
    dt_image_options o = DT_IMAGE_OPTIONS_DEFAULT;
    if (options)
        o = *options;
    *out = NULL;
    const format *f = format_of(data, bytes);
    if (!f || !f->decode)
        return not_readable(f, bytes, err);
    DT_TRY(f->decode(out, data, bytes, o.max_pixels, err), err, "while decoding a %s picture", f->name);
    dt_image_remarks remarks = f->remarks(data, bytes);
    (*out)->format = f->name;
    (*out)->frames = remarks.frames;
    dt_status status = o.as_stored ? DT_OK : dt_image_turn(out, remarks.orientation, err);
    if (status != DT_OK) {
        dt_image_close(*out);
        *out = NULL;
    }
    return status;
}

dt_status dt_image_open(dt_image **out, const char *path, const dt_image_options *options, dt_error *err)
{
    dt_map map = {0};
    *out = NULL;
    DT_PASS(dt_map_open(&map, path, err));
    dt_status status = dt_image_decode(out, map.data, map.size, options, err);
    dt_map_close(&map);
    if (status != DT_OK)
        dt_error_while(err, "while reading %s", path);
    return status;
}
