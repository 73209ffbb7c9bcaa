/*
 * tokenizers.h - what the tests of tokenizers share: documents written in place, ids compared aloud.
 */
#ifndef DT_UNIT_TOKENIZERS_H
#define DT_UNIT_TOKENIZERS_H

#include "unit.h"

#include "data/tokenizer/parts.h"

/* A tokenizer from a document in the form of tokenizer.json, its quotes written as '. */
static inline dt_status read_quoted(dt_tokenizer **out, const char *document, dt_error *err)
{
    char *text = strdup(document);
    for (char *at = text; *at; at++)
        if (*at == '\'')
            *at = '"';
    json_t *json = NULL;
    dt_status status = dt_json_parse(&json, text, strlen(text), "document", err);
    *out = dt_tokenizer_blank();
    if (status == DT_OK)
        status = dt_tokenizer_read_json(*out, json, err);
    if (status == DT_OK)
        status = dt_added_finish(*out, err);
    if (status != DT_OK) {
        dt_tokenizer_close(*out);
        *out = NULL;
    }
    json_decref(json);
    free(text);
    return status;
}

static inline dt_tokenizer *quoted(const char *document)
{
    dt_error err = {0};
    dt_tokenizer *t = NULL;
    assert_ok(read_quoted(&t, document, &err), err);
    return t;
}

/* The text's ids as "1 2 3". */
static inline const char *ids_of(const dt_tokenizer *t, const char *text, size_t bytes,
                                 dt_encode_options options)
{
    static char shown[4][4096];
    static int turn;
    char *out = shown[turn++ % 4];
    dt_error err = {0};
    int32_t *ids;
    size_t count, at = 0;
    assert_ok(dt_tokenizer_encode(t, text, bytes, &options, &ids, &count, &err), err);
    out[0] = 0;
    for (size_t i = 0; i < count && at < sizeof shown[0]; i++)
        at += (size_t)snprintf(out + at, sizeof shown[0] - at, "%s%d", i ? " " : "", ids[i]);
    dt_free(ids);
    return out;
}

#define assert_ids(t, text, ...)                                                                             \
    assert_string_equal(ids_of(t, text, sizeof(text) - 1, (dt_encode_options){0}), __VA_ARGS__)

/* Decoded at once and token by token, which must agree; the caller frees it. */
static inline char *decoded(const dt_tokenizer *t, const int32_t *ids, size_t count, bool skip, size_t *bytes)
{
    dt_error err = {0};
    char *text;
    dt_decode_stream *stream;
    size_t at = 0, piece_bytes;
    const char *piece;
    assert_ok(dt_tokenizer_decode(t, ids, count, skip, &text, bytes, &err), err);
    assert_ok(dt_decode_stream_create(&stream, t, skip, &err), err);
    for (size_t i = 0; i <= count; i++) {
        if (i < count)
            assert_ok(dt_decode_stream_push(stream, ids[i], &piece, &piece_bytes, &err), err);
        else
            assert_ok(dt_decode_stream_finish(stream, &piece, &piece_bytes, &err), err);
        assert_true(dt_utf8_valid(piece, piece_bytes));
        assert_true(piece_bytes <= *bytes - at);
        assert_memory_equal(text + at, piece, piece_bytes);
        at += piece_bytes;
    }
    assert_int_equal(at, *bytes);
    dt_decode_stream_destroy(stream);
    return text;
}

#endif
