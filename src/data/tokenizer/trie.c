/*
 * trie.c - filling the byte trie of trie.h.
 */
#include "data/tokenizer/trie.h"

#include <string.h>

enum { NODE_LIMIT = 1 << 24 }; /* a node and a byte share 32 bits */

bool dt_trie_create(dt_trie *trie, dt_arena *arena)
{
    memset(trie, 0, sizeof *trie);
    trie->arena = arena;
    trie->mask = 255;
    trie->capacity = 128;
    trie->edge = DT_NEW_ARRAY(arena, dt_edge, 256);
    trie->value = DT_NEW_ARRAY(arena, int32_t, trie->capacity);
    return trie->edge != NULL && trie->value != NULL;
}

static void put_edge(dt_edge *edge, uint32_t mask, dt_edge one)
{
    uint32_t slot = (one.key * 0x9E3779B1u ^ one.key >> 15) & mask;
    while (edge[slot].node != 0)
        slot = (slot + 1) & mask;
    edge[slot] = one;
}

static bool grow(dt_trie *trie)
{
    uint32_t slots = (trie->mask + 1) * 2;
    dt_edge *edge = DT_NEW_ARRAY(trie->arena, dt_edge, slots);
    int32_t *value = dt_arena_grow(trie->arena, trie->value, trie->capacity * sizeof *value,
                                   (size_t)trie->capacity * 2 * sizeof *value);
    if (edge == NULL || value == NULL)
        return false;
    for (uint32_t i = 0; i <= trie->mask; i++)
        if (trie->edge[i].node != 0)
            put_edge(edge, slots - 1, trie->edge[i]);
    trie->edge = edge;
    trie->mask = slots - 1;
    trie->value = value;
    trie->capacity *= 2;
    return true;
}

static uint32_t add_node(dt_trie *trie, uint32_t parent, unsigned char byte)
{
    if (trie->nodes + 1 >= NODE_LIMIT || (trie->nodes + 1 >= trie->capacity && !grow(trie)))
        return 0;
    uint32_t node = ++trie->nodes;
    trie->value[node] = -1;
    if (parent == 0)
        trie->first[byte] = node;
    else
        put_edge(trie->edge, trie->mask, (dt_edge){parent << 8 | byte, node});
    return node;
}

bool dt_trie_insert(dt_trie *trie, const char *key, size_t bytes, int32_t value)
{
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t next = dt_trie_step(trie, node, (unsigned char)key[i]);
        if (next == 0 && (next = add_node(trie, node, (unsigned char)key[i])) == 0)
            return false;
        node = next;
    }
    if (trie->value[node] < 0)
        trie->value[node] = value;
    return true;
}

int32_t dt_trie_longest(const dt_trie *trie, const char *text, size_t bytes, size_t *used)
{
    int32_t best = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        node = dt_trie_step(trie, node, (unsigned char)text[i]);
        if (node == 0)
            break;
        if (trie->value[node] >= 0) {
            best = trie->value[node];
            *used = i + 1;
        }
    }
    return best;
}
