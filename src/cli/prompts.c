/*
 * prompts.c - see prompts.h.
 */
#include "cli/prompts.h"

#include "cli/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dt_text_prompt *next_prompt(prompt_list *list)
{
    if (list->count == list->capacity) {
        size_t larger = list->capacity ? 2 * list->capacity : 16;
        dt_text_prompt *grown = realloc(list->prompt, larger * sizeof *grown);
        if (!grown)
            return NULL;
        list->prompt = grown;
        list->capacity = larger;
    }
    list->prompt[list->count] = (dt_text_prompt){0};
    return &list->prompt[list->count++];
}

void free_prompts(prompt_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->prompt[i].text);
        free((void *)(uintptr_t)list->prompt[i].tokens);
    }
    free(list->prompt);
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
        status = ids ? add_ids(list, line, err) : add_prompt(list, line, (size_t)length, err);
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
