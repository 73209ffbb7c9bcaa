/*
 * folder.c - finds a tokenizer's file by what is in it, or in a folder by what it is called.
 *
 * Leaves what the files beside it say to companions.c and reading it to the reader of its kind.
 */
#include "base/bundle.h"
#include "base/map.h"
#include "base/output.h"
#include "data/tokenizer/companions.h"

#include <ctype.h>
#include <dirent.h>
#include <string.h>

static dt_status read_document(dt_tokenizer *t, const dt_companions *c, const char *path, dt_error *err)
{
    json_t *json = NULL;
    DT_PASS(dt_json_load(&json, path, DT_FILE_LIMIT, err));
    t->added.capacity = c->folder != NULL ? dt_companion_tokens(c) : 0;
    dt_status status = dt_tokenizer_read_json(t, json, err);
    json_decref(json);
    DT_PASS(status);
    if (c->folder == NULL)
        return DT_OK;
    DT_TRY(dt_companions_add_decoder_tokens(t, c, err), err, "while reading tokenizer_config.json");
    DT_PASS(dt_companions_name_specials(t, c, false, err));
    return c->family->config_rules ? dt_companions_frame(t, c, true, err) : DT_OK;
}

/* Only fairseq's models have a file of this name; XLM-R's numbering, unless something else is said. */
static dt_status unnamed_fairseq(const dt_tokenizer *t, dt_companions *c, dt_error *err)
{
    const char *name = NULL;
    if (c->config != NULL)
        DT_PASS(dt_json_string(c->config, "tokenizer_class", &name, err));
    const char *vocab = c->folder == NULL ? NULL : dt_arena_printf(t->arena, "%s/vocab.json", c->folder);
    if (name != NULL || (vocab != NULL && dt_is_file(vocab)))
        return dt_fail(err, DT_UNSUPPORTED,
                       "how %s numbers the pieces of sentencepiece.bpe.model is not known; a tokenizer.json "
                       "would say it",
                       name != NULL ? name : "vocab.json");
    c->family = dt_family_of_class("XLMRobertaTokenizer");
    return DT_OK;
}

static dt_status read_sentencepiece(dt_tokenizer *t, const dt_companions *c, const char *path, dt_error *err)
{
    dt_companions own = *c;
    if (c->family->class_name[0] == 0 && dt_ends_with(path, "sentencepiece.bpe.model"))
        DT_PASS(unnamed_fairseq(t, &own, err));
    c = &own;
    dt_map map = {0};
    DT_PASS(dt_map_open(&map, path, err));
    t->fairseq = dt_fairseq_family(c);
    dt_status status = dt_tokenizer_read_sentencepiece(t, map.data, map.size, err);
    dt_map_close(&map);
    DT_PASS(status);
    DT_TRY(dt_companions_canonicalize(t, c, err), err, "while reading %s", path);
    DT_PASS(dt_added_create(t, c->folder != NULL || t->fairseq ? dt_companion_tokens(c) : 0, err));
    if (c->folder == NULL && !t->fairseq)
        return DT_OK;
    DT_TRY(dt_companions_add_decoder_tokens(t, c, err), err, "while reading tokenizer_config.json");
    DT_PASS(dt_companions_add_listed_tokens(t, c, err));
    DT_PASS(dt_companions_add_sentinels(t, c, err));
    DT_PASS(dt_fairseq_add_tokens(t, c, err));
    DT_PASS(dt_companions_name_specials(t, c, true, err));
    DT_PASS(dt_companions_frame(t, c, false, err));
    return dt_fairseq_frame(t, c, err);
}

static dt_status read_tiktoken(dt_tokenizer *t, const dt_companions *c, const char *path, dt_error *err)
{
    dt_map map = {0};
    DT_PASS(dt_map_open(&map, path, err));
    t->added.capacity = c->folder != NULL ? dt_companion_tokens(c) : 0;
    dt_status status =
        dt_tokenizer_read_tiktoken(t, (const char *)map.data, map.size, path, t->options.split, err);
    dt_map_close(&map);
    DT_PASS(status);
    DT_TRY(dt_companions_add_decoder_tokens(t, c, err), err, "while reading tokenizer_config.json");
    return dt_companions_name_specials(t, c, false, err);
}

static dt_status read_gguf(dt_tokenizer *t, const char *path, dt_error *err)
{
    dt_gguf *file = NULL;
    DT_PASS(dt_gguf_open(&file, path, err));
    dt_status status = dt_tokenizer_read_gguf(t, file, err);
    dt_gguf_close(file);
    return status;
}

static dt_status read_llama2c(dt_tokenizer *t, const char *path, dt_error *err)
{
    dt_map map = {0};
    DT_PASS(dt_map_open(&map, path, err));
    dt_status status = dt_tokenizer_read_llama2c(t, map.data, map.size, err);
    dt_map_close(&map);
    return status;
}

typedef enum content { DOCUMENT, SENTENCEPIECE, TIKTOKEN, GGUF, WORDS, LLAMA2C } content;

/* "base64 rank" in the first line, as tiktoken writes it. */
static bool looks_like_tiktoken(const char *text, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && (isalnum((unsigned char)text[i]) || strchr("+/=", text[i]) != NULL) && text[i] != 0)
        i++;
    return i >= 4 && i % 4 == 0 && i + 1 < bytes && text[i] == ' ' && isdigit((unsigned char)text[i + 1]);
}

static dt_status detect(const char *path, content *found, dt_error *err)
{
    dt_map map = {0};
    DT_PASS(dt_map_open(&map, path, err));
    const char *text = (const char *)map.data;
    size_t at = 0;
    while (at < map.size && isspace((unsigned char)text[at]))
        at++;
    if (map.size >= 4 && memcmp(text, "GGUF", 4) == 0)
        *found = GGUF;
    else if (dt_llama2c_vocabulary_detect(map.data, map.size))
        *found = LLAMA2C;
    else if (dt_ends_with(path, ".txt"))
        *found = WORDS;
    else if (at < map.size && text[at] == '{' && !dt_ends_with(path, ".model"))
        *found = DOCUMENT;
    else if (map.size > 0 && looks_like_tiktoken(text, map.size))
        *found = TIKTOKEN;
    else
        *found = SENTENCEPIECE;
    dt_map_close(&map);
    return DT_OK;
}

static dt_status read_file(dt_tokenizer *t, const dt_companions *c, const char *path, dt_error *err)
{
    content found = SENTENCEPIECE;
    DT_PASS(detect(path, &found, err));
    t->source = dt_arena_text(t->arena, path);
    if (t->source == NULL)
        return dt_fail_memory(err, strlen(path), "a path");
    switch (found) {
    case DOCUMENT:
        return read_document(t, c, path, err);
    case WORDS:
        return dt_recipe_wordpiece(t, c, path, err);
    case TIKTOKEN:
        return read_tiktoken(t, c, path, err);
    case GGUF:
        return read_gguf(t, path, err);
    case LLAMA2C:
        return read_llama2c(t, path, err);
    case SENTENCEPIECE:
        break;
    }
    return read_sentencepiece(t, c, path, err);
}

/* The alphabetically first file of a folder that ends in `suffix`; NULL when there is none. */
static const char *any_file(const dt_tokenizer *t, const char *folder, const char *suffix)
{
    const char *best = NULL;
    DIR *list = opendir(folder);
    if (list == NULL)
        return NULL;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        if (dt_ends_with(entry->d_name, suffix) && (best == NULL || strcmp(entry->d_name, best) < 0))
            best = dt_arena_text(t->arena, entry->d_name);
    closedir(list);
    return best;
}

static const char *file_in(const dt_tokenizer *t, const char *folder, const char *name)
{
    const char *path = name == NULL ? NULL : dt_arena_printf(t->arena, "%s/%s", folder, name);
    return path != NULL && dt_is_file(path) ? path : NULL;
}

static dt_status read_folder(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    static const char *const whole[] = {"tokenizer.json", "tokenizer.model", "spiece.model",
                                        "sentencepiece.bpe.model"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        const char *path = file_in(t, c->folder, whole[i]);
        if (path != NULL)
            return read_file(t, c, path, err);
    }
    const char *vocab = file_in(t, c->folder, "vocab.json"), *merges = file_in(t, c->folder, "merges.txt");
    const char *model = file_in(t, c->folder, any_file(t, c->folder, ".model")),
               *ranks = file_in(t, c->folder, any_file(t, c->folder, ".tiktoken")),
               *words = file_in(t, c->folder, "vocab.txt");
    t->source = model != NULL                     ? model
                : vocab != NULL && merges != NULL ? vocab
                : words != NULL                   ? words
                                                  : c->folder;
    if (model != NULL)
        return read_file(t, c, model, err);
    if (vocab != NULL && merges != NULL)
        return dt_recipe_bpe(t, c, vocab, merges, err);
    if (words != NULL)
        return dt_recipe_wordpiece(t, c, words, err);
    if (ranks != NULL)
        return read_file(t, c, ranks, err);
    if (strcmp(c->family->class_name, "ByT5Tokenizer") == 0)
        return dt_recipe_byt5(t, c, err);
    return dt_fail(err, DT_NOT_FOUND,
                   "no tokenizer in %s: looked for tokenizer.json, *.model, vocab.json with "
                   "merges.txt, vocab.txt, *.tiktoken, and a tokenizer_config.json that names ByT5Tokenizer",
                   c->folder);
}

/*
 * llama2.c's models are NAME.bin with the vocabulary beside them, in a file that begins with "tok" (tokenizer.bin,
 * tok512.bin): the alphabetically first. `path` itself when it is one, or when there is none.
 */
static const char *llama2c_vocabulary(const dt_tokenizer *t, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *best = NULL;
    const char *folder = slash ? dt_arena_text_n(t->arena, path, (size_t)(slash + 1 - path)) : "./";
    DIR *list =
        !dt_ends_with(path, ".bin") || dt_starts_with(name, "tok") || !folder ? NULL : opendir(folder);
    for (struct dirent *entry; list && (entry = readdir(list)) != NULL;)
        if (dt_starts_with(entry->d_name, "tok") && dt_ends_with(entry->d_name, ".bin") &&
            (best == NULL || strcmp(entry->d_name, best) < 0))
            best = dt_arena_text(t->arena, entry->d_name);
    if (list)
        closedir(list);
    best = best ? dt_arena_printf(t->arena, "%s%s", folder, best) : NULL;
    return best ? best : path;
}

dt_status dt_tokenizer_read_path(dt_tokenizer *t, const char *path, dt_error *err)
{
    bool folder = dt_is_folder(path) || dt_bundle_is(path);
    dt_companions c;
    const char *kept = dt_arena_text(t->arena, folder ? path : llama2c_vocabulary(t, path));
    if (kept == NULL)
        return dt_fail_memory(err, strlen(path), "a path");
    dt_status status = dt_companions_load(t, &c, folder ? kept : NULL, err);
    if (status == DT_OK)
        status = folder ? read_folder(t, &c, err) : read_file(t, &c, kept, err);
    dt_companions_free(&c);
    return status;
}
