/*
 * darray.h - a byte trie laid out as a double array: one step is one load and one comparison.
 *
 * Made once from a filled dt_trie, with the same keys and values; the plain trie stays the truth in tests.
 */
#ifndef DT_DATA_TOKENIZER_DARRAY_H
#define DT_DATA_TOKENIZER_DARRAY_H

#include "data/tokenizer/trie.h"

typedef struct dt_unit {
    uint32_t base;   /* the child along byte b lies at base ^ b … */
    uint32_t parent; /* … if that one names us; UINT32_MAX: free */
    int32_t value;   /* -1: no key ends here */
} dt_unit;

typedef struct dt_darray {
    dt_unit *unit; /* unit 0 is the root; blocks of 256, so base ^ b stays inside */
    uint32_t units;
} dt_darray;

/* False when memory is short. */
bool dt_darray_create(dt_darray *array, dt_arena *arena, const dt_trie *trie);

/* The child of `node` (0 = the root) along `byte`, 0 when there is none. */
static inline uint32_t dt_darray_step(const dt_darray *array, uint32_t node, unsigned char byte)
{
    uint32_t next = array->unit[node].base ^ byte;
    return array->unit[next].parent == node ? next : 0;
}

#endif
