/*
 * vocab.c - the hash tables behind vocab.h: open addressing, at most half full, sized once.
 */
#include "data/tokenizer/vocab.h"

#include <string.h>

uint64_t dt_hash_bytes(const char *text, size_t bytes)
{
    uint64_t hash = 0x243F6A8885A308D3u ^ bytes;
    for (; bytes >= 8; text += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        hash = dt_hash_mix(hash ^ word);
    }
    if (bytes > 0) {
        uint64_t word = 0;
        memcpy(&word, text, bytes);
        hash = dt_hash_mix(hash ^ word);
    }
    return hash;
}

bool dt_vocab_create(dt_vocab *vocab, dt_arena *arena, size_t capacity)
{
    *vocab = (dt_vocab){.max_id = -1};
    if (capacity > (size_t)1 << 28)
        return false;
    size_t slots = 16;
    while (slots < capacity * 2)
        slots *= 2;
    vocab->entry = DT_NEW_ARRAY(arena, dt_entry, capacity + 1);
    vocab->by_text = DT_NEW_ARRAY(arena, uint32_t, slots);
    vocab->by_id = DT_NEW_ARRAY(arena, uint32_t, slots);
    vocab->capacity = (uint32_t)capacity;
    vocab->mask = (uint32_t)slots - 1;
    return vocab->entry != NULL && vocab->by_text != NULL && vocab->by_id != NULL;
}

/* The slot that holds `text`, or the free one where it would go. */
static uint32_t text_slot(const dt_vocab *vocab, const char *text, size_t bytes)
{
    uint32_t slot = (uint32_t)dt_hash_bytes(text, bytes) & vocab->mask;
    for (;; slot = (slot + 1) & vocab->mask) {
        uint32_t which = vocab->by_text[slot];
        if (which == 0)
            return slot;
        const dt_entry *entry = &vocab->entry[which - 1];
        if (entry->bytes == bytes && memcmp(entry->text, text, bytes) == 0)
            return slot;
    }
}

static uint32_t id_slot(const dt_vocab *vocab, int32_t id)
{
    uint32_t slot = (uint32_t)id & vocab->mask; /* ids are dense, so this hash is nearly perfect */
    while (vocab->by_id[slot] != 0 && vocab->entry[vocab->by_id[slot] - 1].id != id)
        slot = (slot + 1) & vocab->mask;
    return slot;
}

bool dt_vocab_add(dt_vocab *vocab, dt_arena *arena, const char *text, size_t bytes, int32_t id)
{
    if (vocab->count == vocab->capacity || bytes > UINT32_MAX)
        return false;
    dt_entry *entry = &vocab->entry[vocab->count];
    entry->text = dt_arena_text_n(arena, text, bytes);
    if (entry->text == NULL)
        return false;
    entry->bytes = (uint32_t)bytes;
    entry->id = id;
    vocab->count++;
    vocab->by_text[text_slot(vocab, text, bytes)] = vocab->count;
    vocab->by_id[id_slot(vocab, id)] = vocab->count;
    if (id > vocab->max_id)
        vocab->max_id = id;
    return true;
}

int32_t dt_vocab_find(const dt_vocab *vocab, const char *text, size_t bytes)
{
    if (vocab->count == 0)
        return -1;
    uint32_t which = vocab->by_text[text_slot(vocab, text, bytes)];
    return which == 0 ? -1 : vocab->entry[which - 1].id;
}

const dt_entry *dt_vocab_entry(const dt_vocab *vocab, int32_t id)
{
    if (vocab->count == 0 || id < 0)
        return NULL;
    uint32_t which = vocab->by_id[id_slot(vocab, id)];
    return which == 0 ? NULL : &vocab->entry[which - 1];
}
