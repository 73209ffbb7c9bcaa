/*
 * tokenizer.c (gguf) - the tokenizer's keys of a GGUF file, from the files that lie beside a model; and back.
 *
 * What GGUF calls things is data/tokenizer/gguf_words.h's; here words become keys. What is written is read again and
 * compared with its source on texts that are hard to get right, and what differs is said. So is how an encoder's states
 * become one vector, which stands beside the tokenizer.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/say.h"
#include "data/tokenizer/gguf_words.h"
#include "formats/gguf/gguf_model.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096, TEMPLATE_LIMIT = 4 << 20 };

/* ---- keys ---- */

static void put_texts(dt_gguf_keys *k, const char *key, const dt_gguf_text *text, size_t count)
{
    if (count == 0)
        return;
    dt_gguf_key_array(k, key, DT_GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        dt_gguf_put_text(&k->text, text[i].data, text[i].bytes);
}

static void put_lists(dt_gguf_keys *k, const dt_gguf_vocabulary *v)
{
    put_texts(k, "tokenizer.ggml.tokens", v->token, v->token_count);
    if (v->score_count) {
        dt_gguf_key_array(k, "tokenizer.ggml.scores", DT_GGUF_F32, v->score_count);
        dt_text_append(&k->text, (const char *)v->score, v->score_count * sizeof *v->score);
    }
    if (v->type_count) {
        dt_gguf_key_array(k, "tokenizer.ggml.token_type", DT_GGUF_I32, v->type_count);
        for (size_t i = 0; i < v->type_count; i++)
            dt_gguf_put_number(&k->text, (uint64_t)v->type[i], 4);
    }
    put_texts(k, "tokenizer.ggml.merges", v->merge, v->merge_count);
    if (v->charsmap_bytes) {
        dt_gguf_key_array(k, "tokenizer.ggml.precompiled_charsmap", DT_GGUF_U8, v->charsmap_bytes);
        dt_text_append(&k->text, (const char *)v->charsmap, v->charsmap_bytes);
    }
}

static void put_ids(dt_gguf_keys *k, const dt_gguf_vocabulary *v, int64_t rows)
{
    const struct {
        const char *key;
        int64_t id;
    } row[] = {{"tokenizer.ggml.bos_token_id", v->bos},
               {"tokenizer.ggml.eos_token_id", v->eos},
               {"tokenizer.ggml.unknown_token_id", v->unknown},
               {"tokenizer.ggml.seperator_token_id", v->separator}, /* so spelt in the format */
               {"tokenizer.ggml.padding_token_id", v->pad},
               {"tokenizer.ggml.cls_token_id", v->cls},
               {"tokenizer.ggml.mask_token_id", v->mask},
               {"tokenizer.ggml.eot_token_id", v->eot},
               {"tokenizer.ggml.eom_token_id", v->eom}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].id >= 0 && row[i].id < rows)
            dt_gguf_key_u32(k, row[i].key, (uint32_t)row[i].id);
}

static void put_flags(dt_gguf_keys *k, const dt_gguf_vocabulary *v)
{
    const struct {
        const char *key;
        int flag;
    } row[] = {{"tokenizer.ggml.add_bos_token", v->add_bos},
               {"tokenizer.ggml.add_eos_token", v->add_eos},
               {"tokenizer.ggml.add_space_prefix", v->add_space_prefix},
               {"tokenizer.ggml.remove_extra_whitespaces", v->remove_extra_whitespaces}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].flag >= 0)
            dt_gguf_key_bool(k, row[i].key, row[i].flag > 0);
}

static void put_vocabulary(dt_gguf_keys *k, const dt_gguf_vocabulary *v, int64_t rows)
{
    dt_gguf_key_string(k, "tokenizer.ggml.model", v->model ? v->model : "none");
    if (v->pre)
        dt_gguf_key_string(k, "tokenizer.ggml.pre", v->pre);
    put_lists(k, v);
    put_ids(k, v, rows);
    put_flags(k, v);
    if (v->chat_template)
        dt_gguf_key_string(k, "tokenizer.chat_template", v->chat_template);
}

/* ---- as many tokens as rows ---- */

/* llama.cpp wants both to be equal: rows without a token are "[PADn]", tokens without a row go. */
static dt_status fit(dt_gguf_vocabulary *v, int64_t rows, dt_arena *arena, dt_error *err)
{
    size_t count = (size_t)rows, had = v->token_count < count ? v->token_count : count;
    dt_gguf_text *token = DT_NEW_ARRAY(arena, dt_gguf_text, count + 1);
    float *score = DT_NEW_ARRAY(arena, float, count + 1);
    int64_t *type = DT_NEW_ARRAY(arena, int64_t, count + 1);
    if (!token || !score || !type)
        return dt_fail_memory(err, count * sizeof *token, "a list of tokens");
    for (size_t i = 0; i < count; i++) {
        char *name = i < had ? NULL : dt_arena_printf(arena, "[PAD%zu]", i);
        if (i >= had && !name)
            return dt_fail_memory(err, 16, "a token");
        token[i] = i < had ? v->token[i] : (dt_gguf_text){name, strlen(name)};
        score[i] = i >= had ? -10000 : i < v->score_count ? v->score[i] : 0;
        type[i] = i >= had ? DT_PIECE_UNUSED : i < v->type_count ? v->type[i] : DT_PIECE_NORMAL;
    }
    v->token = token;
    v->type = type;
    v->score = score;
    v->score_count = v->score_count ? count : 0;
    v->token_count = v->type_count = count;
    return DT_OK;
}

/* The model's own ids where the tokenizer names none; its end of text goes before the tokenizer's. */
static void take_model_ids(dt_gguf_vocabulary *v, const dt_model_config *c)
{
    int64_t size = (int64_t)v->token_count;
    if (v->bos < 0 && c->bos_token_id < size)
        v->bos = c->bos_token_id;
    if (v->pad < 0 && c->pad_token_id < size)
        v->pad = c->pad_token_id;
    if (c->eos_count > 0 && v->add_eos <= 0 && c->eos_token_ids[0] < size && v->separator < 0)
        v->eos = c->eos_token_ids[0];
    if (c->eos_count > 1 && v->eot < 0 && c->eos_token_ids[1] < size)
        v->eot = c->eos_token_ids[1];
}

/* ---- the chat template beside a model ---- */

static dt_status read_text(const char *path, dt_arena *arena, const char **out, dt_error *err)
{
    dt_map map = {0};
    DT_PASS(dt_map_open(&map, path, err));
    dt_status status =
        map.size > TEMPLATE_LIMIT ? dt_fail(err, DT_LIMIT, "%s has %zu bytes", path, map.size) : DT_OK;
    if (status == DT_OK && !(*out = dt_arena_text_n(arena, (const char *)map.data, map.size)))
        status = dt_fail_memory(err, map.size, "a chat template");
    dt_map_close(&map);
    return status;
}

/* "chat_template": a text, or a list of which the one named "default" counts. */
static const char *template_of(const json_t *json)
{
    const json_t *value = json_object_get(json, "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(one, "template"));
    }
    return json_string_value(value);
}

static dt_status find_template(const char *folder, dt_arena *arena, const char **out, dt_error *err)
{
    static const char *const names[] = {"chat_template.jinja", "tokenizer_config.json", "chat_template.json"};
    for (int i = 0; i < 3 && !*out; i++) {
        char path[PATH_BYTES];
        json_t *json = NULL;
        if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) >= PATH_BYTES || !dt_is_file(path))
            continue;
        if (i == 0)
            return read_text(path, arena, out, err);
        DT_PASS(dt_json_load(&json, path, DT_FILE_LIMIT, err));
        const char *text = template_of(json);
        *out = text ? dt_arena_text(arena, text) : NULL;
        json_decref(json);
    }
    return DT_OK;
}

/* ---- pooling ---- */

dt_status dt_gguf_put_pooling(dt_gguf_keys *k, const char *folder, dt_error *err)
{
    enum { MEAN = 1, FIRST = 2 }; /* llama.cpp's numbers */
    char path[PATH_BYTES];
    json_t *json = NULL;
    bool first = false, mean = false;
    if (snprintf(path, sizeof path, "%s/1_Pooling/config.json", folder) >= PATH_BYTES || !dt_is_file(path))
        return DT_OK; /* every token's state */
    DT_PASS(dt_json_load(&json, path, DT_FILE_LIMIT, err));
    dt_status status = dt_json_bool(json, "pooling_mode_cls_token", &first, err);
    if (status == DT_OK)
        status = dt_json_bool(json, "pooling_mode_mean_tokens", &mean, err);
    json_decref(json);
    DT_TRY(status, err, "while reading %s", path);
    if (first != mean)
        dt_gguf_key_u32(k, "bert.pooling_type", first ? FIRST : MEAN);
    return DT_OK;
}

/* ---- writing ---- */

/* A table of whole words has no counterpart: that it is told apart otherwise is its nature, and no surprise. */
static bool is_table_of_words(const dt_tokenizer *t)
{
    return t->model.kind && strcmp(t->model.kind, "wordlevel") == 0;
}

static void tell_differences(const dt_tokenizer *from, const dt_gguf_vocabulary *v, dt_arena *arena,
                             const char *target, const dt_log *log)
{
    dt_tokenizer *read = NULL;
    dt_error err = {0};
    int texts = 0, differ = 0;
    const char *first = NULL;
    dt_status status = dt_tokenizer_of_gguf(&read, v, &err);
    if (status == DT_OK)
        status = dt_tokenizer_differences(from, read, arena, &texts, &differ, &first, &err);
    if (status != DT_OK)
        dt_say(log, DT_LOG_WARNING, "the tokenizer in %s cannot be read back: %s", target, err.line[0]);
    else if (differ && is_table_of_words(from))
        dt_say(
            log, DT_LOG_INFO,
            "GGUF has no tables of whole words: in %s a text is the fewest tokens that make it, and what is "
            "between words is unknown",
            target);
    else if (differ)
        dt_say(log, DT_LOG_WARNING,
               "the tokenizer in %s encodes %d of %d probing texts otherwise than its source, first \"%s\"",
               target, differ, texts, first ? first : "");
    dt_tokenizer_close(read);
}

static void put_none(dt_gguf_keys *k, const dt_model_config *c)
{
    dt_gguf_vocabulary v = {.token_count = (size_t)c->vocab_size, .unknown = -1, .separator = -1, .cls = -1};
    v.bos = v.eos = v.pad = v.mask = v.eot = v.eom = -1;
    v.add_bos = v.add_eos = v.add_space_prefix = v.remove_extra_whitespaces = -1;
    take_model_ids(&v, c);
    v.token_count = 0;
    put_vocabulary(k, &v, c->vocab_size);
}

static dt_status put_described(dt_gguf_keys *k, const dt_tokenizer *t, const char *path,
                               const dt_model_config *c, const dt_log *log, dt_arena *arena, dt_error *err)
{
    dt_gguf_vocabulary v;
    dt_error why = {0};
    dt_status status = dt_tokenizer_to_gguf(t, arena, &v, &why);
    if (status == DT_UNSUPPORTED) {
        dt_say(log, DT_LOG_WARNING,
               "GGUF has no words for %s: %s. The file is written without: runtimes take ids only",
               dt_tokenizer_source(t), why.line[0]);
        put_none(k, c);
        return DT_OK;
    }
    if (status != DT_OK)
        return dt_fail_memory(err, 4096, "a description of the tokenizer");
    DT_PASS(find_template(path, arena, &v.chat_template, err));
    if ((int64_t)v.token_count > c->vocab_size)
        dt_say(log, DT_LOG_WARNING,
               "the tokenizer has %zu tokens, the model %lld rows: the others are left out", v.token_count,
               (long long)c->vocab_size);
    DT_PASS(fit(&v, c->vocab_size, arena, err));
    take_model_ids(&v, c);
    put_vocabulary(k, &v, c->vocab_size);
    tell_differences(t, &v, arena, "the GGUF file", log);
    return DT_OK;
}

static dt_status put_copied(dt_gguf_keys *k, const char *path, const dt_model_config *c, dt_arena *arena,
                            dt_error *err)
{
    dt_gguf *g = NULL;
    dt_gguf_vocabulary v;
    DT_PASS(dt_gguf_open(&g, path, err));
    dt_status status = dt_gguf_vocabulary_of(g, &v, err);
    if (status == DT_OK && v.token_count > 0)
        status = fit(&v, c->vocab_size, arena, err);
    if (status == DT_OK)
        put_vocabulary(k, &v, c->vocab_size);
    dt_gguf_close(g);
    return status;
}

static dt_status put_from_folder(dt_gguf_keys *k, const char *path, const dt_model_config *c,
                                 const dt_log *log, dt_arena *arena, dt_error *err)
{
    dt_tokenizer *t = NULL;
    dt_error why = {0};
    dt_status status = dt_tokenizer_open(&t, path, &why);
    if (status == DT_OK) {
        status = put_described(k, t, path, c, log, arena, err);
        dt_tokenizer_close(t);
        return status;
    }
    if (status != DT_NOT_FOUND)
        dt_say(log, DT_LOG_WARNING, "the tokenizer is not put into the file: %s", why.line[0]);
    if (status == DT_NO_MEMORY)
        return dt_fail_memory(err, 4096, "a tokenizer");
    put_none(k, c);
    return DT_OK;
}

dt_status dt_gguf_put_tokenizer(dt_gguf_keys *k, const char *path, const dt_model_config *c,
                                const dt_log *log, dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    if (!arena)
        return dt_fail_memory(err, 4096, "a tokenizer");
    dt_status status = dt_gguf_detect(path) ? put_copied(k, path, c, arena, err)
                                            : put_from_folder(k, path, c, log, arena, err);
    dt_arena_destroy(arena);
    return status;
}

/* ---- back to a folder ---- */

static dt_status copy_vocabulary(const dt_gguf_vocabulary *v, const char *path, const char *folder,
                                 const dt_log *log, int *files, dt_error *err)
{
    dt_tokenizer *t = NULL;
    dt_status status = dt_gguf_vocabulary_write(v, folder, files, err);
    if (status == DT_UNSUPPORTED) {
        dt_say(log, DT_LOG_WARNING, "the tokenizer stays in %s: %s", path, err ? err->line[0] : "");
        dt_error_clear(err);
        return DT_OK;
    }
    DT_PASS(status);
    dt_arena *arena = v->token_count ? dt_arena_create() : NULL;
    if (!arena)
        return DT_OK; /* nothing to compare, or not now */
    if (dt_tokenizer_open(&t, folder, NULL) == DT_OK)
        tell_differences(t, v, arena, folder, log);
    else
        dt_say(log, DT_LOG_WARNING, "the tokenizer in %s cannot be read back", folder);
    dt_tokenizer_close(t);
    dt_arena_destroy(arena);
    return DT_OK;
}

/* How pictures are made, back as the file that it was. */
dt_status dt_gguf_copy_processor(const char *path, const char *folder, int *files, dt_error *err)
{
    char eyes[PATH_BYTES], to[PATH_BYTES];
    dt_gguf *g = NULL;
    const char *text = NULL;
    json_t *json = NULL;
    if (!dt_gguf_eyes_path(eyes, sizeof eyes, path) || !dt_gguf_detect(eyes))
        return DT_OK;
    DT_PASS(dt_gguf_open(&g, eyes, err));
    dt_status status = dt_gguf_string(g, DT_GGUF_PROCESSOR, &text, err);
    if (status == DT_OK && text)
        status = dt_json_parse(&json, text, strlen(text), DT_GGUF_PROCESSOR, err);
    if (status == DT_OK && text) {
        bool whole = json_is_object(json_object_get(json, "image_processor"));
        snprintf(to, sizeof to, "%s/%s", folder,
                 whole ? "processor_config.json" : "preprocessor_config.json");
        status = dt_json_save(json, to, err);
        *files += 1;
    }
    json_decref(json);
    dt_gguf_close(g);
    return status;
}

dt_status dt_gguf_copy_tokenizer(const char *path, const char *folder, const dt_log *log, int *files,
                                 dt_error *err)
{
    dt_gguf *g = NULL;
    dt_gguf_vocabulary v;
    DT_PASS(dt_gguf_open(&g, path, err));
    dt_status status = dt_gguf_vocabulary_of(g, &v, err);
    if (status == DT_OK)
        status = copy_vocabulary(&v, path, folder, log, files, err);
    dt_gguf_close(g);
    return status;
}
