/*
 * jpeg.c - baseline, progressive and arithmetic JPEG by libjpeg-turbo, as Pillow calls it.
 *
 * Numbers  the accurate integer transform, triangle upsampling (both are the library's defaults); four channels are
 *          taken as Adobe writes them, inverted, and go to RGB as Pillow's CMYK does.
 * Broken   warnings are passed over, as Pillow does; data that ends early is an error.
 *
 * libjpeg leaves by longjmp. All that lives across one is in `job`, which the function that calls setjmp does not own.
 */
#include "data/image/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

enum {
    MAX_SCANS = 256
}; /* honest progressive files have about ten; each costs a pass over the whole picture */

typedef struct job {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    dt_status status;
    dt_error *err;
    int64_t max_pixels;
    dt_image *image;
    uint8_t *row; /* of a CMYK picture */
} job;

/* ---- what libjpeg calls ---- */

static void leave(job *j, dt_status status)
{
    j->status = status;
    longjmp(j->failed, 1);
}

static void on_error(j_common_ptr jpeg)
{
    job *j = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    if (jpeg->err->msg_code == JERR_OUT_OF_MEMORY)
        leave(j, dt_fail(j->err, DT_NO_MEMORY, "out of memory in libjpeg"));
    jpeg->err->format_message(jpeg, message);
    leave(j, dt_fail(j->err, DT_FORMAT, "%s", message));
}

static void ignore_message(j_common_ptr jpeg, int level)
{
    (void)jpeg;
    (void)level;
}

static void nothing(j_decompress_ptr jpeg)
{
    (void)jpeg;
}

static boolean no_more(j_decompress_ptr jpeg)
{
    job *j = jpeg->client_data;
    leave(j, dt_fail(j->err, DT_FORMAT, "the file ends before the picture does"));
    return FALSE;
}

static void skip(j_decompress_ptr jpeg, long count)
{
    if (count <= 0)
        return;
    if ((size_t)count > jpeg->src->bytes_in_buffer)
        no_more(jpeg);
    jpeg->src->next_input_byte += count;
    jpeg->src->bytes_in_buffer -= (size_t)count;
}

/* Called at least once a scan: a small file must not ask for thousands of passes. */
static void watch_scans(j_common_ptr jpeg)
{
    job *j = jpeg->client_data;
    if (jpeg->is_decompressor && j->jpeg.input_scan_number > MAX_SCANS)
        leave(j, dt_fail(j->err, DT_LIMIT, "more than %d scans", MAX_SCANS));
}

/* ---- rows ---- */

/* Adobe's inverted inks to light, rounded as Pillow does. */
static void row_from_cmyk(uint8_t *out, const uint8_t *in, int width)
{
    for (int x = 0; x < width; x++, in += 4, out += 3) {
        int light = in[3];
        for (int c = 0; c < 3; c++) {
            int product = (255 - in[c]) * light + 128;
            int value = light - (((product >> 8) + product) >> 8);
            out[c] = (uint8_t)(value < 0 ? 0 : value);
        }
    }
}

/* What the library should hand out; DT_UNSUPPORTED for numbers of channels that mean nothing known. */
static void choose_colours(job *j)
{
    switch (j->jpeg.num_components) {
    case 1:
    case 3:
        j->jpeg.out_color_space = JCS_RGB;
        break;
    case 4:
        j->jpeg.out_color_space = JCS_CMYK;
        break;
    default:
        leave(j, dt_fail(j->err, DT_UNSUPPORTED, "a JPEG of %d channels; 1, 3 and 4 are known",
                         j->jpeg.num_components));
    }
}

static void read_rows(job *j)
{
    struct jpeg_decompress_struct *jpeg = &j->jpeg;
    size_t stride = (size_t)j->image->width * 3;
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *out = j->image->pixels + (size_t)jpeg->output_scanline * stride;
        JSAMPROW row = j->row ? j->row : out;
        if (jpeg_read_scanlines(jpeg, &row, 1) == 1 && j->row)
            row_from_cmyk(out, j->row, j->image->width);
    }
}

static void decode(job *j, const uint8_t *data, size_t bytes)
{
    struct jpeg_decompress_struct *jpeg = &j->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->client_data = j;
    jpeg->progress = &j->progress;
    jpeg->src = &j->source;
    j->source.next_input_byte = data;
    j->source.bytes_in_buffer = bytes;
    jpeg_read_header(jpeg, TRUE);
    if (dt_image_check_size(jpeg->image_width, jpeg->image_height, j->max_pixels, j->err) != DT_OK)
        leave(j, DT_LIMIT);
    choose_colours(j);
    jpeg_start_decompress(jpeg);
    dt_status status =
        dt_image_new(&j->image, jpeg->output_width, jpeg->output_height, 3, j->max_pixels, j->err);
    if (status != DT_OK)
        leave(j, status);
    if (jpeg->out_color_space == JCS_CMYK && !(j->row = malloc((size_t)jpeg->output_width * 4)))
        leave(j, dt_fail_memory(j->err, (size_t)jpeg->output_width * 4, "a row"));
    read_rows(j);
    j->status = DT_OK;
}

dt_status dt_image_decode_jpeg(dt_image **out, const uint8_t *data, size_t bytes, int64_t max_pixels,
                               dt_error *err)
{
    *out = NULL;
    job *j = calloc(1, sizeof *j);
    if (!j)
        return dt_fail_memory(err, sizeof *j, "libjpeg");
    j->max_pixels = max_pixels;
    j->err = err;
    j->jpeg.err = jpeg_std_error(&j->errors);
    j->jpeg.client_data = j;
    j->errors.error_exit = on_error;
    j->errors.emit_message = ignore_message;
    j->source = (struct jpeg_source_mgr){.init_source = nothing,
                                         .fill_input_buffer = no_more,
                                         .skip_input_data = skip,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = nothing};
    j->progress.progress_monitor = watch_scans;
    if (setjmp(j->failed) == 0)
        decode(j, data, bytes);
    jpeg_destroy_decompress(&j->jpeg);
    free(j->row);
    dt_status status = j->status;
    if (status == DT_OK)
        *out = j->image;
    else
        dt_image_close(j->image);
    free(j);
    return status;
}
