/*
 * trie.h - a byte trie: every prefix of a text that is a key, in one walk.
 *
 * Edges are one hash table from (node, byte) to node, with a direct table for the first byte. Grows in the arena
 * it was given; read-only, and so thread-safe, once filled.
 */
#ifndef DT_DATA_TOKENIZER_TRIE_H
#define DT_DATA_TOKENIZER_TRIE_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_edge {
    uint32_t key;  /* parent node << 8 | byte */
    uint32_t node; /* 0 = free slot */
} dt_edge;

typedef struct dt_trie {
    dt_arena *arena;
    dt_edge *edge;
    uint32_t mask;  /* slots - 1 */
    uint32_t nodes; /* nodes are 1 … nodes; 0 means "no node", and as a start the root */
    uint32_t capacity;
    int32_t *value; /* by node; -1 = no key ends here */
    uint32_t first[256];
} dt_trie;

bool dt_trie_create(dt_trie *trie, dt_arena *arena);

/* Add a key (not empty) with a value >= 0. The first value of a key stays. False when memory is short. */
bool dt_trie_insert(dt_trie *trie, const char *key, size_t bytes, int32_t value);

/* The child of `node` (0 = the root) along `byte`, 0 when there is none. */
static inline uint32_t dt_trie_step(const dt_trie *trie, uint32_t node, unsigned char byte)
{
    if (node == 0)
        return trie->first[byte];
    uint32_t key = node << 8 | byte;
    uint32_t slot = (key * 0x9E3779B1u ^ key >> 15) & trie->mask;
    while (trie->edge[slot].node != 0) {
        if (trie->edge[slot].key == key)
            return trie->edge[slot].node;
        slot = (slot + 1) & trie->mask;
    }
    return 0;
}

/* The longest key that begins `text`: its value, or -1; *used receives its bytes. */
int32_t dt_trie_longest(const dt_trie *trie, const char *text, size_t bytes, size_t *used);

#endif
