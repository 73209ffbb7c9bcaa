/*
 * pictures.c - see pictures.h.
 */
#include "cli/pictures.h"

#include "base/gguf.h"
#include "base/bundle.h"
#include "base/output.h"
#include "cli/common.h"

#include <stdlib.h>
#include <string.h>

/* ---- which files ---- */

bool has_pictures(const command_line *line)
{
    return option_of(line, "image")->list_count > 0;
}

bool gives_prompts(const command_line *line)
{
    return line->positional_count > 1 || text_of(line, "tokens") || text_of(line, "batch") ||
           text_of(line, "batch-tokens");
}

const dt_model_config *tower_of(const dt_model_config *config)
{
    return dt_config_is_tower(config) ? config : config->vision;
}

dt_status add_picture_file(picture_files *files, const char *name, dt_error *err)
{
    if ((files->count & (files->count - 1)) == 0) { /* full at each power of two */
        char **grown = realloc(files->name, (files->count ? 2 * files->count : 1) * sizeof *grown);
        if (!grown)
            return dt_fail_memory(err, files->count * sizeof *grown, "a list of pictures");
        files->name = grown;
    }
    char *copy = strdup(name);
    if (!copy)
        return dt_fail_memory(err, strlen(name), "a picture's name");
    files->name[files->count++] = copy;
    return DT_OK;
}

static dt_status add_lines(picture_files *files, const char *path, dt_error *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *text = NULL;
    size_t capacity = 0;
    ssize_t length;
    dt_status status = DT_OK;
    if (!file)
        return dt_fail_errno(err, "opening the list of pictures", path);
    while (status == DT_OK && (length = getline(&text, &capacity, file)) > 0) {
        while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
            text[--length] = '\0';
        if (length > 0)
            status = add_picture_file(files, text, err);
    }
    free(text);
    if (file != stdin)
        fclose(file);
    return status;
}

dt_status list_pictures(const command_line *line, bool batch, picture_files *out, dt_error *err)
{
    const option_value *image = option_of(line, "image");
    *out = (picture_files){0};
    for (int i = 0; i < image->list_count; i++)
        DT_PASS(add_picture_file(out, image->list[i], err));
    return batch && text_of(line, "batch") ? add_lines(out, text_of(line, "batch"), err) : DT_OK;
}

void free_picture_list(picture_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->name[i]);
    free(files->name);
    *files = (picture_files){0};
}

dt_status no_pictures(const command_line *line, const dt_model_config *config, dt_error *err)
{
    dt_fail(err, DT_INVALID,
            dt_config_reads(config) ? "this %s compares pictures with texts, and no picture is given"
            : gives_prompts(line)   ? "this %s looks at pictures, and reads no text"
                                    : "this %s looks at pictures, and none is given",
            config->family);
    dt_error_try(err, "--image FILE");
    return DT_INVALID;
}

/* ---- how they are read ---- */

static dt_status open_processor(const command_line *line, const char *model, dt_image_processor **out,
                                dt_error *err)
{
    const char *path = text_of(line, "processor");
    if (path)
        return dt_image_processor_open(out, path, NULL, err);
    if (dt_is_folder(model) || dt_bundle_is(model))
        return dt_image_processor_open(out, model, NULL, err);
    dt_status own = dt_gguf_detect(model) ? dt_image_processor_open(out, model, NULL, err) : DT_NOT_FOUND;
    if (own != DT_NOT_FOUND)
        return own;
    dt_error_clear(err);
    const char *slash = strrchr(model, '/');
    char *folder = slash ? strndup(model, slash == model ? 1 : (size_t)(slash - model)) : strdup(".");
    dt_status status =
        folder ? dt_image_processor_open(out, folder, NULL, err) : dt_fail_memory(err, 0, "a path");
    free(folder);
    return status;
}

dt_status open_reader(const command_line *line, const char *model, const dt_model_config *tower,
                      picture_reader *out, dt_error *err)
{
    *out = (picture_reader){.channels = tower->num_channels, .quiet = flag(line, "quiet")};
    if (tower->num_channels != 1 && tower->num_channels != 3)
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees %lld channels; files hold 1 or 3", tower->family,
                       (long long)tower->num_channels);
    dt_status status = open_processor(line, model, &out->processor, err);
    if (status == DT_NOT_FOUND && !text_of(line, "processor"))
        dt_error_try(err, "--processor preprocessor_config.json");
    return status;
}

void close_reader(picture_reader *reader)
{
    dt_image_processor_close(reader->processor);
}

/* ---- reading ---- */

static dt_status process(const picture_reader *reader, const dt_image *image, dt_pixels *out, dt_error *err)
{
    dt_image *grey;
    if (reader->channels == 3)
        return dt_image_process(reader->processor, image, out, err);
    DT_PASS(dt_image_to_grey(&grey, image, DT_IMAGE_ALPHA_WHITE, err));
    dt_status status = dt_image_process(reader->processor, grey, out, err);
    dt_image_close(grey);
    return status;
}

static dt_status read_picture(const picture_reader *reader, const char *file, dt_pixels *out, dt_error *err)
{
    dt_image *image;
    DT_PASS(dt_image_open(&image, file, NULL, err));
    if (dt_image_frames(image) > 1 && !reader->quiet)
        fprintf(stderr, "%s: %d frames; the first is used\n", file, dt_image_frames(image));
    dt_status status = process(reader, image, out, err);
    dt_image_close(image);
    if (status != DT_OK)
        dt_error_while(err, "while reading %s", file);
    return status;
}

/* A tower of one channel reads the first of three equal ones. */
static dt_status lay_planes(picture_batch *b, dt_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < b->count; i++)
        b->plane_count += (size_t)b->picture[i].tiles;
    if (!(b->planes = calloc(b->plane_count + 1, sizeof *b->planes)))
        return dt_fail_memory(err, b->plane_count * sizeof *b->planes, "pictures");
    for (size_t i = 0; i < b->count; i++) {
        const dt_pixels *p = &b->picture[i];
        for (int64_t t = 0; t < p->tiles; t++)
            b->planes[n++] = (dt_planes){p->values + t * 3 * p->height * p->width, p->height, p->width};
    }
    return DT_OK;
}

dt_status read_pictures(const picture_reader *reader, const picture_files *files, size_t first, size_t count,
                        picture_batch *out, dt_error *err)
{
    *out = (picture_batch){.picture = calloc(count + 1, sizeof *out->picture), .count = count};
    if (!out->picture)
        return dt_fail_memory(err, count * sizeof *out->picture, "pictures");
    for (size_t i = 0; i < count; i++)
        DT_PASS(read_picture(reader, files->name[first + i], &out->picture[i], err));
    return lay_planes(out, err);
}

void free_pictures(picture_batch *batch)
{
    for (size_t i = 0; batch->picture && i < batch->count; i++)
        dt_pixels_free(&batch->picture[i]);
    free(batch->picture);
    free(batch->planes);
    *batch = (picture_batch){0};
}
