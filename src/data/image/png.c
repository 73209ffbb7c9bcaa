/*
 * png.c - PNG by libpng: rows as they are stored, made into RGB or RGBA as Pillow's convert does.
 *
 * Only what makes the picture is read: IHDR, PLTE, tRNS and IDAT. Colour profiles, texts and gammas are skipped unread,
 * so that what is wrong with them is not our concern, and cannot grow.
 *
 * libpng leaves by longjmp. All that lives across one is in `job`, which the function that calls setjmp does not own.
 */
#include "data/image/image.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

#include <png.h>

typedef struct job {
    png_structp png;
    png_infop info;
    const uint8_t *data;
    size_t bytes, place;
    dt_status status;
    dt_error *err;
    int64_t max_pixels;
    dt_image *image;
    uint8_t *stored; /* rows as libpng gives them; NULL when they go into the picture at once */
    png_bytep *rows;
    int type, depth;
} job;

/* ---- what libpng calls ---- */

static void on_error(png_structp png, png_const_charp message)
{
    job *j = png_get_error_ptr(png);
    if (j->status == DT_OK) /* else the story is told */
        j->status = dt_fail(j->err, DT_FORMAT, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep out, size_t count)
{
    job *j = png_get_io_ptr(png);
    if (count > j->bytes - j->place)
        png_error(png, "the file ends before the picture does");
    memcpy(out, j->data + j->place, count);
    j->place += count;
}

static void leave(job *j, dt_status status)
{
    j->status = status;
    png_longjmp(j->png, 1);
}

/* ---- colours ---- */

/* The one colour that tRNS calls transparent, compared as Pillow compares it: by its low byte. */
typedef struct clear_colour {
    bool given;
    uint8_t r, g, b;
} clear_colour;

static clear_colour clear_colour_of(const job *j)
{
    png_color_16p colour = NULL;
    if (!png_get_tRNS(j->png, j->info, NULL, NULL, &colour) || !colour)
        return (clear_colour){false, 0, 0, 0};
    if (j->type == PNG_COLOR_TYPE_RGB)
        return (clear_colour){true, (uint8_t)colour->red, (uint8_t)colour->green, (uint8_t)colour->blue};
    uint8_t grey = (uint8_t)colour->gray;
    return (clear_colour){true, grey, grey, grey};
}

static void from_palette(const job *j, size_t count)
{
    uint8_t table[256][4];
    png_colorp colour = NULL;
    png_bytep alpha = NULL;
    int colours = 0, alphas = 0, channels = j->image->channels;
    png_get_PLTE(j->png, j->info, &colour, &colours);
    png_get_tRNS(j->png, j->info, &alpha, &alphas, NULL);
    for (int i = 0; i < 256; i++) {
        memset(table[i], 0, 3);
        table[i][3] = alpha && i < alphas ? alpha[i] : 255;
        if (colour && i < colours)
            memcpy(table[i], (const uint8_t[]){colour[i].red, colour[i].green, colour[i].blue}, 3);
    }
    uint8_t *out = j->image->pixels;
    for (size_t i = 0; i < count; i++, out += channels)
        memcpy(out, table[j->stored[i]], (size_t)channels);
}

/* A stored grey as a byte: few bits are spread, sixteen are cut off at 255. */
static uint8_t grey_at(const job *j, size_t i)
{
    static const uint8_t spread[9] = {[1] = 255, [2] = 85, [4] = 17, [8] = 1};
    if (j->depth == 16)
        return j->stored[2 * i] ? 255 : j->stored[2 * i + 1];
    return (uint8_t)(j->stored[i] * spread[j->depth]);
}

static void from_grey(const job *j, size_t count)
{
    clear_colour clear = clear_colour_of(j);
    uint8_t *out = j->image->pixels;
    for (size_t i = 0; i < count; i++, out += j->image->channels) {
        uint8_t grey = grey_at(j, i);
        memset(out, grey, 3);
        if (clear.given)
            out[3] = grey == clear.r ? 0 : 255;
    }
}

static void from_grey_alpha(const job *j, size_t count)
{
    const uint8_t *in = j->stored;
    uint8_t *out = j->image->pixels;
    for (size_t i = 0; i < count; i++, in += 2, out += 4) {
        memset(out, in[0], 3);
        out[3] = in[1];
    }
}

static void from_rgb_and_clear(const job *j, size_t count)
{
    clear_colour clear = clear_colour_of(j);
    const uint8_t *in = j->stored;
    uint8_t *out = j->image->pixels;
    for (size_t i = 0; i < count; i++, in += 3, out += 4) {
        memcpy(out, in, 3);
        out[3] = in[0] == clear.r && in[1] == clear.g && in[2] == clear.b ? 0 : 255;
    }
}

static void convert(const job *j)
{
    size_t count = (size_t)j->image->width * (size_t)j->image->height;
    switch (j->type) {
    case PNG_COLOR_TYPE_PALETTE:
        from_palette(j, count);
        break;
    case PNG_COLOR_TYPE_GRAY:
        from_grey(j, count);
        break;
    case PNG_COLOR_TYPE_GRAY_ALPHA:
        from_grey_alpha(j, count);
        break;
    default:
        from_rgb_and_clear(j, count);
    }
}

/* ---- reading ---- */

/* Nothing but IHDR, PLTE, tRNS, IDAT and IEND is looked at. */
static void skip_the_rest(png_structp png)
{
    static const png_byte known[] = "acTL\0cHRM\0eXIf\0fcTL\0fdAT\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0"
                                    "sBIT\0sCAL\0sPLT\0sRGB\0sTER\0tEXt\0tIME\0zTXt\0bKGD";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, known, (int)(sizeof known / 5));
}

static void read_header(job *j)
{
    png_uint_32 width, height;
    int type, depth;
    png_set_read_fn(j->png, j, on_read);
    skip_the_rest(j->png);
    png_set_user_limits(j->png, 0x7FFFFFFF, 0x7FFFFFFF);
    png_read_info(j->png, j->info);
    png_get_IHDR(j->png, j->info, &width, &height, &depth, &type, NULL, NULL, NULL);
    dt_status status = dt_image_check_size(width, height, j->max_pixels, j->err);
    if (status != DT_OK)
        leave(j, status);
    j->type = type;
    j->depth = depth;
    png_set_packing(j->png);
    if (type != PNG_COLOR_TYPE_GRAY)
        png_set_strip_16(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
}

/* Rows of RGB without tRNS, and of RGBA, are a picture's rows; others are kept as stored until all are there. */
static void make_room(job *j)
{
    int width = (int)png_get_image_width(j->png, j->info),
        height = (int)png_get_image_height(j->png, j->info);
    size_t stride = png_get_rowbytes(j->png, j->info), bytes;
    bool clear = png_get_valid(j->png, j->info, PNG_INFO_tRNS) != 0;
    int channels = clear || j->type & PNG_COLOR_MASK_ALPHA ? 4 : 3;
    dt_status status = dt_image_new(&j->image, width, height, channels, j->max_pixels, j->err);
    if (status != DT_OK)
        leave(j, status);
    bool direct = j->type == PNG_COLOR_TYPE_RGB_ALPHA || (j->type == PNG_COLOR_TYPE_RGB && !clear);
    if (!dt_mul_size(stride, (size_t)height, &bytes))
        png_error(j->png, "rows too long");
    if (!direct && !(j->stored = malloc(bytes)))
        leave(j, dt_fail_memory(j->err, bytes, "a picture as stored"));
    if (!(j->rows = calloc((size_t)height, sizeof *j->rows)))
        leave(j, dt_fail_memory(j->err, (size_t)height * sizeof *j->rows, "rows"));
    for (int y = 0; y < height; y++)
        j->rows[y] = (direct ? j->image->pixels : j->stored) + (size_t)y * stride;
}

static void decode(job *j)
{
    if (setjmp(png_jmpbuf(j->png)))
        return;
    read_header(j);
    make_room(j);
    png_read_image(j->png, j->rows);
    if (j->stored)
        convert(j);
    png_read_end(j->png, NULL);
}

dt_status dt_image_decode_png(dt_image **out, const uint8_t *data, size_t bytes, int64_t max_pixels,
                              dt_error *err)
{
    job j = {.data = data, .bytes = bytes, .err = err, .max_pixels = max_pixels, .status = DT_OK};
    *out = NULL;
    j.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    j.info = j.png ? png_create_info_struct(j.png) : NULL;
    if (j.info)
        decode(&j);
    else
        j.status = dt_fail(err, DT_NO_MEMORY, "out of memory in libpng");
    png_destroy_read_struct(&j.png, &j.info, NULL);
    free(j.stored);
    free(j.rows);
    if (j.status == DT_OK)
        *out = j.image;
    else
        dt_image_close(j.image);
    return j.status;
}
