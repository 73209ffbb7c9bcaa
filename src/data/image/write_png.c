/*
 * write_png.c - a picture as a PNG file, by libpng; the file appears under its name only when complete.
 *
 * Built without libpng, it refuses by name. Leaves reading to png.c.
 */
#include "data/image/image.h"

#include "base/output.h"

#ifdef DT_HAVE_PNG

#include <png.h>

/* libpng leaves by longjmp: what lives across one is here. */
typedef struct job {
    png_structp png;
    png_infop info;
    dt_output *output;
    dt_status status;
    dt_error *err;
} job;

static void on_error(png_structp png, png_const_charp message)
{
    job *j = png_get_error_ptr(png);
    if (j->status == DT_OK) /* else the story is told */
        j->status = dt_fail(j->err, DT_IO, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_write(png_structp png, png_bytep data, size_t bytes)
{
    job *j = png_get_io_ptr(png);
    j->status = dt_output_write(j->output, data, bytes, j->err);
    if (j->status != DT_OK)
        png_longjmp(png, 1);
}

static void on_flush(png_structp png)
{
    (void)png;
}

static void encode(job *j, const dt_image *image)
{
    if (setjmp(png_jmpbuf(j->png)))
        return;
    png_set_write_fn(j->png, j, on_write, on_flush);
    png_set_user_limits(j->png, 0x7FFFFFFF, 0x7FFFFFFF);
    png_set_IHDR(j->png, j->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 4 ? PNG_COLOR_TYPE_RGB_ALPHA : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(j->png, j->info);
    size_t stride = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; y < image->height; y++)
        png_write_row(j->png, image->pixels + (size_t)y * stride);
    png_write_end(j->png, NULL);
}

static dt_status write_to(dt_output *output, const dt_image *image, dt_error *err)
{
    job j = {.output = output, .err = err, .status = DT_OK};
    j.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    j.info = j.png ? png_create_info_struct(j.png) : NULL;
    if (j.info)
        encode(&j, image);
    else
        j.status = dt_fail(err, DT_NO_MEMORY, "out of memory in libpng");
    png_destroy_write_struct(&j.png, &j.info);
    return j.status;
}

dt_status dt_image_save_png(const dt_image *image, const char *path, bool replace, dt_error *err)
{
    dt_output *output = NULL;
    dt_status status = dt_output_open(&output, path, replace, err);
    if (status == DT_OK && (status = write_to(output, image, err)) != DT_OK)
        dt_output_discard(output);
    else if (status == DT_OK)
        status = dt_output_commit(output, err);
    if (status != DT_OK)
        dt_error_while(err, "cannot write %s", path);
    return status;
}

#else

dt_status dt_image_save_png(const dt_image *image, const char *path, bool replace, dt_error *err)
{
    (void)image;
    (void)replace;
    return dt_fail(err, DT_UNSUPPORTED, "cannot write %s: drivetrain was built without libpng", path);
}

#endif
