/*
 * shown.c - see shown.h. Where pictures stand among words is the chat template's to say.
 */
#include "cli/shown.h"

#include <drivetrain/picture.h>

#include <stdlib.h>
#include <string.h>

dt_status check_eyes(const dt_model *model, dt_error *err)
{
    const dt_model_config *config = dt_model_get_config(model);
    if (config->vision && config->projection)
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures: it reads text", config->family);
}

dt_status show_picture_file(const command_line *line, const dt_model *model, shown_pictures *s,
                            const char *file, dt_error *err)
{
    DT_PASS(check_eyes(model, err));
    if (!s->reader.processor)
        DT_PASS(open_reader(line, line->positional[0], dt_model_get_config(model)->vision, &s->reader, err));
    picture_batch *grown = realloc(s->batch, (s->files.count + 1) * sizeof *grown);
    if (!grown)
        return dt_fail_memory(err, sizeof *grown, "a picture");
    s->batch = grown;
    DT_PASS(add_picture_file(&s->files, file, err));
    picture_batch *last = &s->batch[s->files.count - 1];
    *last = (picture_batch){0};
    return read_pictures(&s->reader, &s->files, s->files.count - 1, 1, last, err);
}

static dt_status show_part(const command_line *line, const dt_model *model, shown_pictures *s, size_t message,
                           const json_t *part, dt_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    const char *path = json_string_value(json_object_get(part, "path"));
    if (!type || strcmp(type, "image") != 0)
        return DT_OK;
    if (!path)
        return dt_fail(err, DT_FORMAT, "message %zu shows a picture without a \"path\"", message);
    return show_picture_file(line, model, s, path, err);
}

dt_status show_messages(const command_line *line, const dt_model *model, shown_pictures *s,
                        const json_t *messages, dt_error *err)
{
    forget_pictures(s, 0);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *content = json_object_get(json_array_get(messages, i), "content");
        for (size_t k = 0; k < json_array_size(content); k++)
            DT_PASS(show_part(line, model, s, i, json_array_get(content, k), err));
    }
    return DT_OK;
}

dt_status show_waiting(const command_line *line, const dt_model *model, shown_pictures *s, const char *text,
                       json_t **content, dt_error *err)
{
    json_t *list = json_array();
    dt_status status = DT_OK;
    for (size_t i = 0; status == DT_OK && i < s->waiting.count; i++) {
        const char *path = s->waiting.name[i];
        status = show_picture_file(line, model, s, path, err);
        json_t *part = json_pack("{s:s, s:s}", "type", "image", "path", path);
        if (status == DT_OK && (!part || json_array_append(list, part) != 0))
            status = dt_fail(err, DT_FORMAT, "a picture's name is not valid UTF-8");
        json_decref(part);
    }
    json_t *words = json_pack("{s:s, s:s}", "type", "text", "text", text);
    if (status == DT_OK && (!words || json_array_append(list, words) != 0))
        status = dt_fail(err, DT_FORMAT, "the message is not valid UTF-8");
    json_decref(words);
    free_picture_list(&s->waiting);
    if (status == DT_OK)
        *content = list;
    else
        json_decref(list);
    return status;
}

dt_pixels *all_pictures(const shown_pictures *s)
{
    dt_pixels *all = calloc(s->files.count + 1, sizeof *all);
    for (size_t i = 0; all && i < s->files.count; i++)
        all[i] = s->batch[i].picture[0];
    return all;
}

size_t further_positions(const dt_model *model, const shown_pictures *s)
{
    size_t sum = 0;
    int64_t rows;
    for (size_t i = 0; i < s->files.count; i++)
        if (dt_picture_tokens(model, &s->batch[i].picture[0], &rows, NULL) == DT_OK)
            sum += (size_t)rows - 1;
    return sum;
}

void forget_pictures(shown_pictures *s, size_t first)
{
    for (size_t i = first; i < s->files.count; i++) {
        free_pictures(&s->batch[i]);
        free(s->files.name[i]);
    }
    s->files.count = first < s->files.count ? first : s->files.count;
}

void close_shown(shown_pictures *s)
{
    forget_pictures(s, 0);
    free(s->batch);
    free_picture_list(&s->files);
    free_picture_list(&s->waiting);
    close_reader(&s->reader);
}
