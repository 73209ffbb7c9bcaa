/*
 * open.c (ctranslate2) - opens a CTranslate2 folder: model.bin, its vocabularies, and config.json where there is one.
 */
#include "base/fail.h"
#include "base/json.h"
#include "base/output.h"
#include "formats/ctranslate2/ctranslate2.h"
#include "formats/megatron/megatron.h"
#include "formats/open.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096, CONFIG_LIMIT = 16 << 20, VOCABULARY_LIMIT = 256 << 20 };

#define NAMES "formats/ctranslate2/names.def"
#include "formats/hf/expand_names.h"

/* ---- tokens by their text ---- */

/* Line or list item `token` of a vocabulary → *id; -1 when it is not there. */
static dt_status find_in_lines(dt_checkpoint *c, const char *path, const char *token, int64_t *id,
                               dt_error *err)
{
    const dt_map *map = NULL;
    int64_t line = 0;
    DT_PASS(dt_stored_set_map(c->set, path, &map, err));
    const char *at = (const char *)map->data, *end = at + map->size;
    for (; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t bytes = (size_t)((stop ? stop : end) - at);
        if (bytes == strlen(token) && memcmp(at, token, bytes) == 0) {
            *id = line;
            return DT_OK;
        }
        at += bytes + 1;
    }
    return DT_OK;
}

static dt_status find_in_list(const char *path, const char *token, int64_t *id, dt_error *err)
{
    json_t *list = NULL;
    DT_PASS(dt_json_load(&list, path, VOCABULARY_LIMIT, err));
    dt_status status = json_is_array(list) ? DT_OK : dt_fail(err, DT_FORMAT, "%s is no list of tokens", path);
    for (size_t i = 0; status == DT_OK && i < json_array_size(list) && *id < 0; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text && strcmp(text, token) == 0)
            *id = (int64_t)i;
    }
    json_decref(list);
    return status;
}

/* The target's vocabulary, under the names that it has had. */
static dt_status find_token(dt_checkpoint *c, const char *token, int64_t *id, dt_error *err)
{
    static const char *const files[] = {"target_vocabulary", "shared_vocabulary", "vocabulary"};
    *id = -1;
    for (int i = 0; token && i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s", files[i / 2], i % 2 ? "txt" : "json");
        const char *path = dt_open_path(c, c->path, name);
        if (!path)
            return dt_fail_memory(err, PATH_BYTES, "a path");
        if (!dt_is_file(path))
            continue;
        DT_TRY(i % 2 ? find_in_lines(c, path, token, id, err) : find_in_list(path, token, id, err), err,
               "while looking for \"%s\" in %s", token, path);
        return DT_OK;
    }
    return DT_OK;
}

static dt_status read_tokens(dt_checkpoint *c, const json_t *json, dt_error *err)
{
    const char *bos = "<s>", *eos = "</s>", *start = "<s>";
    int64_t end = -1;
    DT_PASS(dt_json_string(json, "bos_token", &bos, err));
    DT_PASS(dt_json_string(json, "eos_token", &eos, err));
    DT_PASS(dt_json_string(json, "decoder_start_token", &start, err));
    DT_PASS(find_token(c, bos, &c->config.bos_token_id, err));
    DT_PASS(find_token(c, eos, &end, err));
    if (end >= 0 && end < c->config.vocab_size)
        c->config.eos_token_ids[c->config.eos_count++] = (int32_t)end;
    if (strcmp(c->config.model_type, "t5") == 0 && c->config.decoder_start_token_id < 0)
        DT_PASS(find_token(c, start, &c->config.decoder_start_token_id, err));
    double epsilon = c->config.layernorm_epsilon;
    DT_PASS(dt_json_real(json, "layer_norm_epsilon", &epsilon, err));
    c->config.layernorm_epsilon = epsilon;
    return DT_OK;
}

/* Our own files tell the whole configuration; what the scalars do not show is not guessed then. */
static dt_status use_own_config(dt_checkpoint *c, const json_t *own, dt_error *err)
{
    dt_model_config told;
    DT_PASS(dt_megatron_read_config(own, c->config.model_type, &told, err));
    snprintf(told.written_by, sizeof told.written_by, "%s", c->config.written_by);
    if (strcmp(told.model_type, c->config.model_type) != 0)
        return dt_fail(err, DT_MISMATCH, "\"drivetrain\" tells of a %s, model.bin holds a %s",
                       told.model_type, c->config.model_type);
    c->config = told;
    return DT_OK;
}

static dt_status configure(dt_checkpoint *c, const dt_ct2_file *file, const json_t *json, dt_error *err)
{
    const json_t *own = json ? json_object_get(json, "drivetrain") : NULL;
    if (own) {
        DT_PASS(dt_ct2_identify(file, &c->config, err));
        return use_own_config(c, own, err);
    }
    DT_PASS(dt_ct2_configure(c->set, file, &c->config, err));
    return read_tokens(c, json, err);
}

static dt_status read_config(dt_checkpoint *c, const dt_ct2_file *file, dt_error *err)
{
    json_t *json = NULL;
    const char *path = dt_open_path(c, c->path, "config.json");
    if (!path)
        return dt_fail_memory(err, PATH_BYTES, "a path");
    if (!dt_is_file(path))
        return configure(c, file, NULL, err);
    DT_PASS(dt_json_load(&json, path, CONFIG_LIMIT, err));
    dt_status status = configure(c, file, json, err);
    json_decref(json);
    DT_TRY(status, err, "while reading %s", path);
    return DT_OK;
}

/* ---- opening ---- */

bool dt_ct2_detect(const char *path)
{
    char name[PATH_BYTES];
    uint8_t head[8] = {0};
    FILE *file = snprintf(name, sizeof name, "%s/model.bin", path) < PATH_BYTES ? fopen(name, "rb") : NULL;
    size_t bytes = file ? fread(head, 1, sizeof head, file) : 0;
    if (file)
        fclose(file);
    /* a small version, then a text that starts with a capital letter */
    return bytes == sizeof head && head[0] < 64 && !head[1] && !head[2] && !head[3] && !head[5] &&
           head[6] >= 'A' && head[6] <= 'Z';
}

static dt_status open_file(dt_checkpoint *c, const dt_ct2_file *file, dt_error *err)
{
    DT_PASS(read_config(c, file, err));
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(dt_names_map(c->mapping, &names, &c->config, err));
    return dt_open_bind_names(c, &names, "", NULL, err);
}

dt_status dt_ct2_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    dt_ct2_file file;
    (void)options;
    c->config_file = dt_open_path(c, c->path, "model.bin");
    if (!c->config_file)
        return dt_fail_memory(err, PATH_BYTES, "a path");
    dt_status status = dt_ct2_read(c->set, c->config_file, &file, err);
    if (status == DT_OK)
        status = open_file(c, &file, err);
    json_decref(file.scalars);
    DT_TRY(status, err, "while reading %s", c->config_file);
    return DT_OK;
}
