/*
 * tokenizer_fuzz.h - what the tokenizer targets share: what must hold of any text under any tokenizer.
 */
#ifndef DT_TOKENIZER_FUZZ_H
#define DT_TOKENIZER_FUZZ_H

#include "data/tokenizer/parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Ids decode to valid UTF-8; pushed one by one, to the same, in whole characters. */
static inline void decode_both_ways(const dt_tokenizer *t, const int32_t *ids, size_t count, bool skip)
{
    dt_error err = {0};
    char *text = NULL;
    size_t bytes = 0, at = 0, piece_bytes;
    const char *piece;
    dt_decode_stream *stream = NULL;
    dt_status status = dt_tokenizer_decode(t, ids, count, skip, &text, &bytes, &err);
    assert(status == DT_OK || status == DT_LIMIT);
    if (status != DT_OK)
        return;
    assert(dt_utf8_valid(text, bytes));
    assert(dt_decode_stream_create(&stream, t, skip, &err) == DT_OK);
    for (size_t i = 0; i <= count; i++) {
        status = i < count ? dt_decode_stream_push(stream, ids[i], &piece, &piece_bytes, &err)
                           : dt_decode_stream_finish(stream, &piece, &piece_bytes, &err);
        assert(status == DT_OK && dt_utf8_valid(piece, piece_bytes));
        assert(piece_bytes <= bytes - at && memcmp(text + at, piece, piece_bytes) == 0);
        at += piece_bytes;
    }
    assert(at == bytes);
    dt_decode_stream_destroy(stream);
    dt_free(text);
}

/* Any bytes encode, or fail with a story, and what comes out is in the vocabulary unless a post-processor says so. */
static inline void encode_and_back(const dt_tokenizer *t, const char *text, size_t bytes)
{
    dt_error err = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    dt_encode_options options = {.no_special = true};
    dt_status status = dt_tokenizer_encode(t, text, bytes, &options, &ids, &count, &err);
    assert(status == DT_OK || err.line_count > 0);
    for (size_t i = 0; i < count; i++)
        assert(dt_tokenizer_token(t, ids[i]) != NULL && ids[i] < dt_tokenizer_vocab_size(t));
    decode_both_ways(t, ids, count, false);
    decode_both_ways(t, ids, count, true);
    dt_free(ids);
}

static inline void use(const dt_tokenizer *t)
{
    static const char text[] = "Hello,  w\xC3\xB6rld\n1234 <s> a\xCC\x81\xEF\xBF\xBD\xE4\xBD\xA0 "
                               "\xF0\x9F\x98\x80's\t!! \xFF\xE2\x82";
    encode_and_back(t, text, sizeof text - 1);
    encode_and_back(t, "", 0);
    int32_t ids[64];
    size_t count = 0;
    for (int32_t id = 0; id < dt_tokenizer_vocab_size(t) && id < 1000 && count < 64; id++)
        if (dt_tokenizer_token(t, id) != NULL)
            ids[count++] = id;
    decode_both_ways(t, ids, count, false);
}

#endif
