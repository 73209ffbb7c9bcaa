/*
 * gguf_values.c - values of a GGUF header by key, and its vocabulary. Parsing has checked that every value lies
 * inside the file; here a value of another type than asked for is an error that names the key.
 */
#include "base/gguf_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const dt_gguf_value *dt_gguf_value_at(const dt_gguf *g, size_t index)
{
    return index < g->value_count ? &g->value[index] : NULL;
}

const dt_gguf_tensor *dt_gguf_tensor_at(const dt_gguf *g, size_t index)
{
    return index < g->tensor_count ? &g->tensor[index] : NULL;
}

size_t dt_gguf_tensor_count(const dt_gguf *g)
{
    return g->tensor_count;
}

const dt_map *dt_gguf_map(const dt_gguf *g)
{
    return g->map;
}

/* ---- one number ---- */

bool dt_gguf_int_at(const dt_gguf_value *v, size_t index, int64_t *out)
{
    size_t size = dt_gguf_size(v->type);
    if (index >= v->count || !size || v->type == DT_GGUF_F32 || v->type == DT_GGUF_F64)
        return false;
    uint64_t bits = dt_gguf_load(v->data + index * size, size);
    switch (v->type) {
    case DT_GGUF_I8:
        *out = (int8_t)bits;
        return true;
    case DT_GGUF_I16:
        *out = (int16_t)bits;
        return true;
    case DT_GGUF_I32:
        *out = (int32_t)bits;
        return true;
    default:
        *out = (int64_t)bits;
        return v->type != DT_GGUF_U64 || bits <= INT64_MAX;
    }
}

bool dt_gguf_real_at(const dt_gguf_value *v, size_t index, double *out)
{
    int64_t whole;
    if (index < v->count && v->type == DT_GGUF_F32) {
        float value;
        memcpy(&value, v->data + index * sizeof value, sizeof value);
        *out = (double)value;
        return true;
    }
    if (index < v->count && v->type == DT_GGUF_F64) {
        memcpy(out, v->data + index * sizeof *out, sizeof *out);
        return true;
    }
    if (v->type == DT_GGUF_BOOL || !dt_gguf_int_at(v, index, &whole))
        return false;
    *out = (double)whole;
    return true;
}

static dt_status wrong(const char *key, const char *expected, dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "key \"%s\" is not %s", key, expected);
}

dt_status dt_gguf_int(const dt_gguf *g, const char *key, int64_t *out, dt_error *err)
{
    const dt_gguf_value *v = dt_gguf_find(g, key);
    if (v && (v->is_array || v->type == DT_GGUF_BOOL || !dt_gguf_int_at(v, 0, out)))
        return wrong(key, "a whole number", err);
    return DT_OK;
}

dt_status dt_gguf_real(const dt_gguf *g, const char *key, double *out, dt_error *err)
{
    const dt_gguf_value *v = dt_gguf_find(g, key);
    if (v && (v->is_array || !dt_gguf_real_at(v, 0, out)))
        return wrong(key, "a number", err);
    return DT_OK;
}

dt_status dt_gguf_bool(const dt_gguf *g, const char *key, bool *out, dt_error *err)
{
    const dt_gguf_value *v = dt_gguf_find(g, key);
    if (v && (v->is_array || v->type != DT_GGUF_BOOL))
        return wrong(key, "true or false", err);
    if (v)
        *out = v->data[0];
    return DT_OK;
}

dt_status dt_gguf_string(dt_gguf *g, const char *key, const char **out, dt_error *err)
{
    const dt_gguf_value *v = dt_gguf_find(g, key);
    if (!v)
        return DT_OK;
    if (v->is_array || v->type != DT_GGUF_STRING || memchr(v->data + 8, 0, v->bytes - 8))
        return wrong(key, "a string without NUL", err);
    const char *text = dt_arena_text_n(g->arena, (const char *)v->data + 8, v->bytes - 8);
    if (!text)
        return dt_fail_memory(err, v->bytes, key);
    *out = text;
    return DT_OK;
}

/* ---- arrays ---- */

static const dt_gguf_value *array_of(const dt_gguf *g, const char *key, size_t *count)
{
    const dt_gguf_value *v = dt_gguf_find(g, key);
    *count = v ? v->count : 0;
    return v;
}

dt_status dt_gguf_texts(dt_gguf *g, const char *key, const dt_gguf_text **out, size_t *count, dt_error *err)
{
    const dt_gguf_value *v = array_of(g, key, count);
    *out = NULL;
    if (!v)
        return DT_OK;
    if (!v->is_array || v->type != DT_GGUF_STRING)
        return wrong(key, "a list of strings", err);
    dt_gguf_text *list = DT_NEW_ARRAY(g->arena, dt_gguf_text, v->count + 1);
    if (!list)
        return dt_fail_memory(err, v->count * sizeof *list, key);
    const uint8_t *at = v->data;
    for (size_t i = 0; i < v->count; i++) {
        list[i] = (dt_gguf_text){(const char *)at + 8, (size_t)dt_gguf_load(at, 8)};
        at += 8 + list[i].bytes;
    }
    *out = list;
    return DT_OK;
}

dt_status dt_gguf_reals(dt_gguf *g, const char *key, const float **out, size_t *count, dt_error *err)
{
    const dt_gguf_value *v = array_of(g, key, count);
    *out = NULL;
    if (!v)
        return DT_OK;
    float *list = DT_NEW_ARRAY(g->arena, float, v->count + 1);
    if (!list)
        return dt_fail_memory(err, v->count * sizeof *list, key);
    for (size_t i = 0; i < v->count; i++) {
        double value;
        if (!v->is_array || !dt_gguf_real_at(v, i, &value))
            return wrong(key, "a list of numbers", err);
        list[i] = (float)value;
    }
    *out = list;
    return DT_OK;
}

dt_status dt_gguf_ints(dt_gguf *g, const char *key, const int64_t **out, size_t *count, dt_error *err)
{
    const dt_gguf_value *v = array_of(g, key, count);
    *out = NULL;
    if (!v)
        return DT_OK;
    int64_t *list = DT_NEW_ARRAY(g->arena, int64_t, v->count + 1);
    if (!list)
        return dt_fail_memory(err, v->count * sizeof *list, key);
    for (size_t i = 0; i < v->count; i++)
        if (!v->is_array || !dt_gguf_int_at(v, i, &list[i]))
            return wrong(key, "a list of whole numbers", err);
    *out = list;
    return DT_OK;
}

/* ---- the vocabulary ---- */

static dt_status read_token_id(const dt_gguf *g, const char *key, size_t tokens, int64_t *out, dt_error *err)
{
    *out = -1;
    DT_PASS(dt_gguf_int(g, key, out, err));
    if (*out == UINT32_MAX)
        *out = -1; /* what writers put for "none" */
    if (*out < -1 || (tokens && *out >= 0 && (uint64_t)*out >= tokens))
        return dt_fail(err, DT_FORMAT, "key \"%s\" is %" PRId64 ", but there are %zu tokens", key, *out,
                       tokens);
    return DT_OK;
}

static dt_status read_ids(const dt_gguf *g, dt_gguf_vocabulary *v, dt_error *err)
{
    const struct {
        const char *key;
        int64_t *id;
    } row[] = {{"tokenizer.ggml.bos_token_id", &v->bos},
               {"tokenizer.ggml.eos_token_id", &v->eos},
               {"tokenizer.ggml.unknown_token_id", &v->unknown},
               {"tokenizer.ggml.seperator_token_id", &v->separator}, /* so spelt in the format */
               {"tokenizer.ggml.padding_token_id", &v->pad},
               {"tokenizer.ggml.cls_token_id", &v->cls},
               {"tokenizer.ggml.mask_token_id", &v->mask},
               {"tokenizer.ggml.eot_token_id", &v->eot},
               {"tokenizer.ggml.eom_token_id", &v->eom}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        DT_PASS(read_token_id(g, row[i].key, v->token_count, row[i].id, err));
    return DT_OK;
}

static dt_status read_flag(const dt_gguf *g, const char *key, int *out, dt_error *err)
{
    bool value = false;
    DT_PASS(dt_gguf_bool(g, key, &value, err));
    *out = dt_gguf_find(g, key) ? value : -1;
    return DT_OK;
}

static dt_status same_length(const char *key, size_t count, size_t tokens, dt_error *err)
{
    if (count == 0 || count == tokens)
        return DT_OK;
    return dt_fail(err, DT_FORMAT, "key \"%s\" has %zu entries, \"tokenizer.ggml.tokens\" has %zu", key,
                   count, tokens);
}

static dt_status read_lists(dt_gguf *g, dt_gguf_vocabulary *v, dt_error *err)
{
    DT_PASS(dt_gguf_texts(g, "tokenizer.ggml.tokens", &v->token, &v->token_count, err));
    DT_PASS(dt_gguf_reals(g, "tokenizer.ggml.scores", &v->score, &v->score_count, err));
    DT_PASS(dt_gguf_ints(g, "tokenizer.ggml.token_type", &v->type, &v->type_count, err));
    DT_PASS(dt_gguf_texts(g, "tokenizer.ggml.merges", &v->merge, &v->merge_count, err));
    if (v->token_count > INT32_MAX)
        return dt_fail(err, DT_LIMIT, "%zu tokens are more than ids can number", v->token_count);
    DT_PASS(same_length("tokenizer.ggml.scores", v->score_count, v->token_count, err));
    return same_length("tokenizer.ggml.token_type", v->type_count, v->token_count, err);
}

static dt_status read_charsmap(const dt_gguf *g, dt_gguf_vocabulary *v, dt_error *err)
{
    const dt_gguf_value *map = dt_gguf_find(g, "tokenizer.ggml.precompiled_charsmap");
    if (!map)
        return DT_OK;
    if (!map->is_array || (map->type != DT_GGUF_U8 && map->type != DT_GGUF_I8))
        return wrong(map->key, "a list of bytes", err);
    v->charsmap = map->data;
    v->charsmap_bytes = map->bytes;
    return DT_OK;
}

dt_status dt_gguf_chat_template(dt_gguf *g, const char *name, const char **out, dt_error *err)
{
    char key[256];
    *out = NULL;
    snprintf(key, sizeof key, "tokenizer.chat_template%s%s", name ? "." : "", name ? name : "");
    return dt_gguf_string(g, key, out, err);
}

dt_status dt_gguf_vocabulary_of(dt_gguf *g, dt_gguf_vocabulary *v, dt_error *err)
{
    *v = (dt_gguf_vocabulary){0};
    DT_PASS(dt_gguf_string(g, "tokenizer.ggml.model", &v->model, err));
    DT_PASS(dt_gguf_string(g, "tokenizer.ggml.pre", &v->pre, err));
    DT_PASS(dt_gguf_string(g, "tokenizer.huggingface.json", &v->huggingface_json, err));
    DT_PASS(read_lists(g, v, err));
    DT_PASS(read_ids(g, v, err));
    DT_PASS(read_flag(g, "tokenizer.ggml.add_bos_token", &v->add_bos, err));
    DT_PASS(read_flag(g, "tokenizer.ggml.add_eos_token", &v->add_eos, err));
    DT_PASS(read_flag(g, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix, err));
    DT_PASS(read_flag(g, "tokenizer.ggml.remove_extra_whitespaces", &v->remove_extra_whitespaces, err));
    DT_PASS(read_charsmap(g, v, err));
    return dt_gguf_chat_template(g, NULL, &v->chat_template, err);
}
