/*
 * tokenizer_json.c - reads a document in the form of Hugging Face's tokenizer.json, part by part.
 *
 * Leaves each part to its file (normalizer.c, pre_tokenizer.c, bpe.c, …); what they share for reading JSON is here.
 * `truncation` and `padding` are the caller's business and not read.
 */
#include "data/tokenizer/parts.h"

#include <string.h>

static const dt_type_row *row_at(const void *rows, size_t row_bytes, size_t i)
{
    return (const dt_type_row *)(const void *)((const char *)rows + i * row_bytes);
}

static dt_status unknown_type(const char *what, const char *type, const void *rows, size_t row_bytes,
                              size_t count, dt_error *err)
{
    dt_text known = {0};
    for (size_t i = 0; i < count; i++)
        dt_text_printf(&known, "%s%s", i > 0 ? ", " : "", row_at(rows, row_bytes, i)->type);
    dt_status status = type != NULL ? dt_fail(err, DT_UNSUPPORTED, "%s of type \"%s\"; known are %s", what,
                                              type, known.data ? known.data : "")
                                    : dt_fail(err, DT_FORMAT, "a %s has no \"type\"; known are %s", what,
                                              known.data ? known.data : "");
    dt_text_free(&known);
    return status;
}

dt_status dt_json_type(const json_t *json, const char *what, const void *rows, size_t row_bytes, size_t count,
                       size_t *row, dt_error *err)
{
    const char *type = NULL;
    if (!json_is_object(json))
        return dt_fail(err, DT_FORMAT, "a %s is not an object", what);
    DT_PASS(dt_json_string(json, "type", &type, err));
    for (size_t i = 0; i < count; i++) {
        const dt_type_row *candidate = row_at(rows, row_bytes, i);
        bool fits = type != NULL ? strcmp(type, candidate->type) == 0
                                 : candidate->hint != NULL && json_object_get(json, candidate->hint) != NULL;
        if (fits) {
            *row = i;
            return DT_OK;
        }
    }
    return unknown_type(what, type, rows, row_bytes, count, err);
}

dt_status dt_json_text(const dt_tokenizer *t, const json_t *json, const char *key, const char **text,
                       size_t *bytes, dt_error *err)
{
    const char *value = NULL;
    DT_PASS(dt_json_string(json, key, &value, err));
    if (value == NULL)
        return DT_OK;
    *bytes = json_string_length(dt_json_get(json, key)); /* a NUL inside is text like any other */
    *text = dt_arena_text_n(t->arena, value, *bytes);
    return *text == NULL ? dt_fail_memory(err, *bytes, key) : DT_OK;
}

dt_status dt_json_pattern(dt_tokenizer *t, const json_t *json, const char **text, size_t *bytes,
                          const dt_regex **regex, dt_error *err)
{
    const json_t *pattern = dt_json_get(json, "pattern");
    const json_t *expression = dt_json_get(pattern, "Regex");
    if (json_is_string(expression))
        return dt_own_regex(t, regex, json_string_value(expression), json_string_length(expression), err);
    *text = NULL;
    DT_PASS(dt_json_text(t, pattern, "String", text, bytes, err));
    if (*text == NULL)
        return dt_fail(err, DT_FORMAT, "\"pattern\" is neither {\"String\": …} nor {\"Regex\": …}");
    return DT_OK;
}

dt_status dt_json_vocab(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    json_t *vocab = dt_json_get(json, "vocab");
    if (!json_is_object(vocab))
        return dt_fail(err, DT_FORMAT, "\"vocab\" is not an object of token: id");
    if (!dt_vocab_create(&t->vocab, t->arena, json_object_size(vocab)))
        return dt_fail_memory(err, json_object_size(vocab), "a vocabulary");
    const char *token;
    json_t *id;
    json_object_foreach(vocab, token, id)
    {
        size_t bytes = strlen(token); /* jansson refuses keys with a NUL inside */
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= DT_VOCAB_LIMIT)
            return dt_fail(err, DT_FORMAT, "\"vocab\": the id of \"%.*s\" is not an integer from 0 to %d",
                           (int)(bytes < 80 ? bytes : 80), token, DT_VOCAB_LIMIT - 1);
        if (!dt_vocab_add(&t->vocab, t->arena, token, bytes, (int32_t)json_integer_value(id)))
            return dt_fail_memory(err, bytes, "a vocabulary");
    }
    return DT_OK;
}

int dt_find_byte_tokens(dt_model_part *model, const dt_vocab *vocab)
{
    static const char digits[] = "0123456789ABCDEF";
    int found = 0;
    for (int byte = 0; byte < 256; byte++) {
        const char name[6] = {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
        model->byte_id[byte] = dt_vocab_find(vocab, name, sizeof name);
        found += model->byte_id[byte] >= 0;
    }
    return found;
}

/* In the order in which files without "type" are tried. */
static const struct model_row {
    dt_type_row type;
    dt_status (*read)(dt_tokenizer *t, const json_t *json, dt_error *err);
} models[] = {
    {{"BPE", "merges"}, dt_bpe_read},
    {{"Unigram", "unk_id"}, dt_unigram_read},
    {{"WordPiece", "max_input_chars_per_word"}, dt_wordpiece_read},
    {{"WordLevel", "vocab"}, dt_wordlevel_read},
};

static dt_status read_model(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    size_t which;
    DT_PASS(dt_json_type(json, "model", models, sizeof *models, sizeof models / sizeof *models, &which, err));
    if (dt_json_get(json, "type") == NULL && json_is_array(dt_json_get(json, "vocab")))
        which = 1; /* only Unigram lists its vocabulary */
    DT_TRY(models[which].read(t, json, err), err, "while reading the model (%s)", models[which].type.type);
    return DT_OK;
}

static dt_status read_added_token(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    dt_added_token token = {.text = "", .id = -1};
    int64_t id = -1;
    if (!json_is_object(json))
        return dt_fail(err, DT_FORMAT, "not an object");
    DT_PASS(dt_json_text(t, json, "content", &token.text, &token.bytes, err));
    DT_PASS(dt_json_int(json, "id", &id, err));
    DT_PASS(dt_json_bool(json, "special", &token.special, err));
    token.normalized = !token.special;
    DT_PASS(dt_json_bool(json, "single_word", &token.single_word, err));
    DT_PASS(dt_json_bool(json, "lstrip", &token.lstrip, err));
    DT_PASS(dt_json_bool(json, "rstrip", &token.rstrip, err));
    DT_PASS(dt_json_bool(json, "normalized", &token.normalized, err));
    if (id < -1 || id >= DT_VOCAB_LIMIT)
        return dt_fail(err, DT_FORMAT, "\"id\" of \"%s\" is not from 0 to %d", token.text,
                       DT_VOCAB_LIMIT - 1);
    token.id = (int32_t)id;
    return dt_added_add(t, token, err);
}

static dt_status read_added(dt_tokenizer *t, const json_t *list, dt_error *err)
{
    if (list != NULL && !json_is_array(list))
        return dt_fail(err, DT_FORMAT, "\"added_tokens\" is not an array");
    size_t count = json_array_size(list);
    if (count > DT_VOCAB_LIMIT)
        return dt_fail(err, DT_LIMIT, "%zu added tokens", count);
    /* room for what a folder's other files may add */
    DT_PASS(dt_added_create(t, (int32_t)count + t->added.capacity, err));
    for (size_t i = 0; i < count; i++)
        DT_TRY(read_added_token(t, json_array_get(list, i), err), err, "while reading added_tokens[%zu]", i);
    return DT_OK;
}

dt_status dt_tokenizer_read_json(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    if (!json_is_object(json) || dt_json_get(json, "model") == NULL)
        return dt_fail(err, DT_FORMAT, "no \"model\": this is not a tokenizer.json");
    DT_PASS(read_model(t, dt_json_get(json, "model"), err));
    DT_PASS(dt_normalizers_read(t, dt_json_get(json, "normalizer"), err));
    DT_PASS(dt_pre_read(t, dt_json_get(json, "pre_tokenizer"), err));
    DT_PASS(dt_post_read(t, dt_json_get(json, "post_processor"), err));
    DT_PASS(dt_decoders_read(t, dt_json_get(json, "decoder"), err));
    DT_PASS(read_added(t, dt_json_get(json, "added_tokens"), err));
    t->special[DT_TOKEN_UNK] = t->model.unk;
    return DT_OK;
}
