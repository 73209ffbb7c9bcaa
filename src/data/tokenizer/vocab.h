/*
 * vocab.h - token text to id and back: one hash table by text, one by id.
 *
 * Ids may be sparse and texts may share an id (the last one added then spells it). Entries live in the arena that
 * was given at creation; the table is read-only, and so thread-safe, once filled.
 */
#ifndef DT_DATA_TOKENIZER_VOCAB_H
#define DT_DATA_TOKENIZER_VOCAB_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_entry {
    const char *text; /* terminated, in the arena */
    uint32_t bytes;
    int32_t id;
} dt_entry;

typedef struct dt_vocab {
    dt_entry *entry; /* in the order of addition */
    uint32_t count, capacity;
    uint32_t *by_text, *by_id; /* entry + 1, 0 = free; `mask` + 1 slots each */
    uint32_t mask;
    int32_t max_id; /* -1 when empty */
} dt_vocab;

/* Room for `capacity` entries and no more. False when memory is short or there are too many. */
bool dt_vocab_create(dt_vocab *vocab, dt_arena *arena, size_t capacity);

/* Copies `text`. A text that is there already gets the new id. False when memory is short. */
bool dt_vocab_add(dt_vocab *vocab, dt_arena *arena, const char *text, size_t bytes, int32_t id);

int32_t dt_vocab_find(const dt_vocab *vocab, const char *text, size_t bytes); /* -1 when unknown */
const dt_entry *dt_vocab_entry(const dt_vocab *vocab, int32_t id);            /* NULL when unknown */

uint64_t dt_hash_bytes(const char *text, size_t bytes);

static inline uint64_t dt_hash_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9E3779B97F4A7C15u;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    return x ^ x >> 32;
}

#endif
