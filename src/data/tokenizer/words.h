/*
 * words.h - a table of short words that a model encodes as one token, asked before the model is.
 *
 * Most words of a text are tokens of their own. The table is filled when a tokenizer is opened, by encoding each
 * token's text the plain way and keeping those that come out as themselves; so it changes no id, only the time.
 */
#ifndef DT_DATA_TOKENIZER_WORDS_H
#define DT_DATA_TOKENIZER_WORDS_H

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { DT_WORD_BYTES = 15 };

typedef struct dt_word {
    uint64_t key[2]; /* the text, its length in the last byte; never 0: words are not empty */
    int32_t id;
    float margin; /* unigram: how much worse the next best way is */
} dt_word;

typedef struct dt_words {
    dt_word *slot; /* open addressing, at most half full; NULL: no table */
    size_t mask;
} dt_words;

bool dt_words_create(dt_words *words, dt_arena *arena, size_t capacity);
void dt_words_put(dt_words *words, const char *text, size_t bytes, int32_t id, float margin);

static inline uint64_t dt_word_load(const char *text, size_t bytes)
{
    uint64_t word = 0;
    if (bytes == 8) {
        memcpy(&word, text, 8);
    } else if (bytes >= 4) { /* two halves that overlap */
        uint32_t first, last;
        memcpy(&first, text, 4);
        memcpy(&last, text + bytes - 4, 4);
        word = first | (uint64_t)last << (8 * (bytes - 4));
    } else if (bytes > 0) {
        word = (uint64_t)(unsigned char)text[0] |
               (uint64_t)(unsigned char)text[bytes / 2] << (8 * (bytes / 2)) |
               (uint64_t)(unsigned char)text[bytes - 1] << (8 * (bytes - 1));
    }
    return word;
}

/* 1 to DT_WORD_BYTES bytes as two numbers. */
static inline void dt_word_key(const char *text, size_t bytes, uint64_t key[2])
{
    size_t low = bytes < 8 ? bytes : 8;
    key[0] = dt_word_load(text, low);
    key[1] = dt_word_load(text + low, bytes - low) | (uint64_t)bytes << 56;
}

static inline size_t dt_word_hash(const uint64_t key[2])
{
    uint64_t x = (key[0] ^ 0x243F6A8885A308D3u) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 32 ^ key[1]) * 0xBF58476D1CE4E5B9u;
    return (size_t)(x ^ x >> 32);
}

/* The word's entry, or NULL. */
static inline const dt_word *dt_words_find(const dt_words *words, const char *text, size_t bytes)
{
    if (words->slot == NULL || bytes == 0 || bytes > DT_WORD_BYTES)
        return NULL;
    uint64_t key[2];
    dt_word_key(text, bytes, key);
    for (size_t at = dt_word_hash(key) & words->mask;; at = (at + 1) & words->mask) {
        const dt_word *word = &words->slot[at];
        if (word->key[0] == key[0] && word->key[1] == key[1])
            return word;
        if (word->key[1] == 0)
            return NULL;
    }
}

#endif
