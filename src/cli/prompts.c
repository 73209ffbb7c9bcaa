/*
 * prompts.c - see prompts.h.
 */
#include "cli/prompts.h"

#include "base/json.h"
#include "base/text.h"
#include "cli/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dt_text_prompt *next_prompt(prompt_list *list)
{
    if (list->count == list->capacity) {
        size_t larger = list->capacity ? 2 * list->capacity : 16;
        dt_text_prompt *grown = realloc(list->prompt, larger * sizeof *grown);
        list->prompt = grown ? grown : list->prompt;
        prompt_pictures *pictures = grown ? realloc(list->pictures, larger * sizeof *pictures) : NULL;
        if (!pictures)
            return NULL;
        list->pictures = pictures;
        list->capacity = larger;
    }
    list->prompt[list->count] = (dt_text_prompt){0};
    list->pictures[list->count] = (prompt_pictures){0};
    return &list->prompt[list->count++];
}

void free_prompts(prompt_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->prompt[i].text);
        free((void *)(uintptr_t)list->prompt[i].tokens);
        free_picture_list(&list->pictures[i].files);
        free_pictures(&list->pictures[i].batch);
    }
    free(list->prompt);
    free(list->pictures);
}

dt_status add_prompt(prompt_list *list, const char *text, size_t bytes, dt_error *err)
{
    dt_text_prompt *p = next_prompt(list);
    return p && (p->text = strndup(text, bytes)) ? DT_OK : dt_fail_memory(err, bytes, "a prompt");
}

static dt_status add_ids(prompt_list *list, const char *text, dt_error *err)
{
    int32_t *ids;
    dt_text_prompt *p = next_prompt(list);
    if (!p)
        return dt_fail_memory(err, sizeof *p, "a prompt");
    if (!parse_ids(text, &ids, &p->count))
        return dt_fail(err, DT_INVALID, "\"%.60s\" is no list of ids such as 1,2,3", text);
    p->tokens = ids;
    return DT_OK;
}

/* ---- prompts from files ---- */

static dt_status add_images(picture_files *files, const json_t *images, dt_error *err)
{
    size_t i;
    json_t *image;
    if (images && !json_is_array(images))
        return dt_fail(err, DT_FORMAT, "\"images\" is no list of files");
    json_array_foreach(images, i, image)
    {
        if (!json_is_string(image))
            return dt_fail(err, DT_FORMAT, "\"images\": entry %zu is no file's name", i);
        DT_PASS(add_picture_file(files, json_string_value(image), err));
    }
    return DT_OK;
}

/* {"prompt": TEXT, "images": [FILE, …]} */
static dt_status add_object(prompt_list *list, const char *text, size_t bytes, dt_error *err)
{
    json_t *json = NULL;
    DT_PASS(dt_json_parse(&json, text, bytes, "the line", err));
    const char *prompt = json_string_value(json_object_get(json, "prompt"));
    dt_status status = prompt ? add_prompt(list, prompt, strlen(prompt), err)
                              : dt_fail(err, DT_FORMAT, "no object with a \"prompt\"");
    if (status == DT_OK)
        status = add_images(&list->pictures[list->count - 1].files, json_object_get(json, "images"), err);
    json_decref(json);
    return status;
}

static dt_status read_lines(prompt_list *list, const char *path, bool ids, dt_error *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t length;
    dt_status status = DT_OK;
    if (!file)
        return dt_fail_errno(err, "opening the prompts", path);
    while (status == DT_OK && (length = getline(&line, &capacity, file)) > 0) {
        number++;
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = '\0';
        status = ids                            ? add_ids(list, line, err)
                 : dt_ends_with(path, ".jsonl") ? add_object(list, line, (size_t)length, err)
                                                : add_prompt(list, line, (size_t)length, err);
    }
    if (status != DT_OK)
        dt_error_while(err, "while reading line %zu of %s", number, path);
    free(line);
    if (file != stdin)
        fclose(file);
    return status;
}

dt_status collect_prompts(const command_line *line, prompt_list *list, dt_error *err)
{
    const char *prompt = line->positional_count > 1 ? line->positional[1] : "-";
    char *text;
    size_t bytes;
    if (text_of(line, "tokens"))
        return add_ids(list, text_of(line, "tokens"), err);
    if (text_of(line, "batch"))
        return read_lines(list, text_of(line, "batch"), false, err);
    if (text_of(line, "batch-tokens"))
        return read_lines(list, text_of(line, "batch-tokens"), true, err);
    if (strcmp(prompt, "-") != 0)
        return add_prompt(list, prompt, strlen(prompt), err);
    DT_PASS(read_stream(stdin, &text, &bytes, err));
    while (bytes && (text[bytes - 1] == '\n' || text[bytes - 1] == '\r'))
        bytes--; /* the end of the line that was typed is no part of the prompt */
    dt_status status = add_prompt(list, text, bytes, err);
    free(text);
    return status;
}

bool prompts_are_text(const command_line *line)
{
    return !text_of(line, "tokens") && !text_of(line, "batch-tokens");
}

/* ---- prompts as ids ---- */

dt_status encode_prompts(const prompt_list *list, const dt_tokenizer *tokenizer, dt_embed_input **input,
                         int32_t ***encoded, dt_error *err)
{
    *input = calloc(list->count + 1, sizeof **input);
    *encoded = calloc(list->count + 1, sizeof **encoded);
    if (!*input || !*encoded)
        return dt_fail_memory(err, list->count, "texts");
    for (size_t i = 0; i < list->count; i++) {
        const dt_text_prompt *p = &list->prompt[i];
        dt_embed_input *in = &(*input)[i];
        *in = (dt_embed_input){.tokens = p->tokens, .count = p->count};
        if (p->tokens)
            continue;
        DT_TRY(
            dt_tokenizer_encode(tokenizer, p->text, strlen(p->text), NULL, &(*encoded)[i], &in->count, err),
            err, "while encoding text %zu", i);
        in->tokens = (*encoded)[i];
    }
    return DT_OK;
}

void free_encoded(const prompt_list *list, dt_embed_input *input, int32_t **encoded)
{
    for (size_t i = 0; encoded && i < list->count; i++)
        dt_free(encoded[i]);
    free(encoded);
    free(input);
}

/* ---- pictures ---- */

/* "<image>\n" for each picture before the text; *told: it was said already. */
static dt_status put_before(const command_line *line, dt_text_prompt *p, const char *spelling, bool *told,
                            dt_error *err)
{
    dt_text text = {0};
    for (size_t i = 0; i < p->picture_count; i++)
        dt_text_printf(&text, "%s\n", spelling);
    if (!dt_text_put(&text, p->text))
        return dt_fail_memory(err, strlen(p->text), "a prompt");
    if (!flag(line, "quiet") && !*told)
        fprintf(stderr, "no %s in the prompt: %s before it, as \"%s\\n\"%s\n", spelling,
                p->picture_count == 1 ? "its picture stands" : "its pictures stand", spelling,
                p->picture_count == 1 ? "" : " each");
    *told = true;
    free((void *)(uintptr_t)p->text);
    p->text = text.data;
    return DT_OK;
}

static dt_status read_and_place(const command_line *line, const picture_reader *reader, const char *spelling,
                                prompt_list *list, dt_error *err)
{
    bool told = false;
    for (size_t i = 0; i < list->count; i++) {
        prompt_pictures *pictures = &list->pictures[i];
        dt_text_prompt *p = &list->prompt[i];
        if (pictures->files.count == 0)
            continue;
        DT_PASS(read_pictures(reader, &pictures->files, 0, pictures->files.count, &pictures->batch, err));
        p->pictures = pictures->batch.picture;
        p->picture_count = pictures->batch.count;
        if (p->text && !strstr(p->text, spelling))
            DT_PASS(put_before(line, p, spelling, &told, err));
    }
    return DT_OK;
}

dt_status place_pictures(const command_line *line, const dt_model_config *config, const char *spelling,
                         prompt_list *list, dt_error *err)
{
    picture_reader reader;
    size_t files = 0;
    if (has_pictures(line) && list->count != 1)
        return dt_fail(err, DT_INVALID,
                       "--image with %zu prompts: a .jsonl of --batch says which pictures are whose",
                       list->count);
    if (has_pictures(line))
        DT_PASS(list_pictures(line, false, &list->pictures[0].files, err));
    for (size_t i = 0; i < list->count; i++)
        files += list->pictures[i].files.count;
    if (files == 0)
        return DT_OK;
    if (!spelling)
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures: it reads text", config->family);
    DT_PASS(open_reader(line, line->positional[0], config->vision, &reader, err));
    dt_status status = read_and_place(line, &reader, spelling, list, err);
    close_reader(&reader);
    return status;
}
