/*
 * darray.c - lays a trie out as a double array, breadth first.
 *
 * Each node asks for a place where all its children's units are free. Free units form a list; only the last few
 * blocks stay on it, so that a full array is not searched again and again, at the price of some holes.
 */
#include "data/tokenizer/darray.h"

#include "base/text.h"

#include <string.h>

enum { BLOCK = 256, OPEN_BLOCKS = 16, FREE = UINT32_MAX };

/* A trie's edges by parent, found by counting. */
typedef struct edges {
    uint32_t *begin; /* by node; the children of n are [begin[n], begin[n + 1]) */
    uint32_t *child;
    unsigned char *byte;
} edges;

typedef struct building {
    dt_arena *scratch;
    edges edges;
    dt_unit *unit;
    uint32_t *next, *prev; /* the list of free units, by unit; unit 0 is its head and never free */
    uint32_t units, capacity;
} building;

static void add_edge(edges *e, uint32_t *fill, uint32_t parent, unsigned char byte, uint32_t child)
{
    uint32_t at = fill[parent]++;
    e->child[at] = child;
    e->byte[at] = byte;
}

static bool sort_edges(building *b, const dt_trie *trie)
{
    edges *e = &b->edges;
    size_t nodes = (size_t)trie->nodes + 2;
    uint32_t *fill = DT_NEW_ARRAY(b->scratch, uint32_t, nodes);
    e->begin = DT_NEW_ARRAY(b->scratch, uint32_t, nodes);
    e->child = DT_NEW_ARRAY(b->scratch, uint32_t, nodes);
    e->byte = DT_NEW_ARRAY(b->scratch, unsigned char, nodes);
    if (fill == NULL || e->begin == NULL || e->child == NULL || e->byte == NULL)
        return false;
    for (uint32_t byte = 0; byte < 256; byte++)
        e->begin[1] += trie->first[byte] != 0;
    for (uint32_t i = 0; i <= trie->mask; i++)
        if (trie->edge[i].node != 0)
            e->begin[(trie->edge[i].key >> 8) + 1]++;
    for (size_t i = 1; i < nodes; i++)
        e->begin[i] += e->begin[i - 1];
    memcpy(fill, e->begin, nodes * sizeof *fill);
    for (uint32_t byte = 0; byte < 256; byte++)
        if (trie->first[byte] != 0)
            add_edge(e, fill, 0, (unsigned char)byte, trie->first[byte]);
    for (uint32_t i = 0; i <= trie->mask; i++)
        if (trie->edge[i].node != 0)
            add_edge(e, fill, trie->edge[i].key >> 8, (unsigned char)trie->edge[i].key, trie->edge[i].node);
    return true;
}

static void *grown(building *b, void *data, size_t item)
{
    return dt_arena_grow(b->scratch, data, b->units * item, (size_t)b->capacity * item);
}

static void take(building *b, uint32_t unit)
{
    b->next[b->prev[unit]] = b->next[unit];
    b->prev[b->next[unit]] = b->prev[unit];
}

/* One more block of free units at the end of the list; the oldest open block leaves it. */
static bool add_block(building *b)
{
    if (b->units + BLOCK > b->capacity) {
        b->capacity = b->capacity * 2 + 4 * BLOCK;
        b->unit = grown(b, b->unit, sizeof *b->unit);
        b->next = grown(b, b->next, sizeof *b->next);
        b->prev = grown(b, b->prev, sizeof *b->prev);
        if (b->unit == NULL || b->next == NULL || b->prev == NULL)
            return false;
    }
    uint32_t first = b->units;
    b->units += BLOCK;
    for (uint32_t i = first; i < b->units; i++) {
        b->unit[i] = (dt_unit){0, FREE, -1};
        if (i == 0) {
            b->next[0] = b->prev[0] = 0;
            continue;
        }
        b->prev[i] = b->prev[0];
        b->next[i] = 0;
        b->next[b->prev[0]] = i;
        b->prev[0] = i;
    }
    if (first >= OPEN_BLOCKS * BLOCK)
        for (uint32_t i = first - OPEN_BLOCKS * BLOCK, end = i + BLOCK; i < end; i++)
            if (i > 0 && b->unit[i].parent == FREE)
                take(b, i);
    return true;
}

/* A base at which all children of a node fall on free units. */
static bool find_base(building *b, const unsigned char *byte, uint32_t count, uint32_t *base)
{
    for (uint32_t at = b->next[0]; at != 0; at = b->next[at]) {
        *base = at ^ byte[0];
        uint32_t i = 1;
        while (i < count && (*base ^ byte[i]) != 0 && b->unit[*base ^ byte[i]].parent == FREE)
            i++;
        if (i == count)
            return true;
    }
    *base = b->units;
    return add_block(b);
}

static bool place(building *b, const dt_trie *trie, uint32_t *queue)
{
    /* queue holds trie nodes in breadth-first order, `at` their units; node 0 is the root at unit 0 */
    uint32_t *at = DT_NEW_ARRAY(b->scratch, uint32_t, (size_t)trie->nodes + 1);
    size_t head = 0, tail = 1;
    if (at == NULL)
        return false;
    while (head < tail) {
        uint32_t node = queue[head++], begin = b->edges.begin[node], count = b->edges.begin[node + 1] - begin,
                 base;
        if (count == 0)
            continue;
        if (!find_base(b, b->edges.byte + begin, count, &base))
            return false;
        b->unit[at[node]].base = base;
        for (uint32_t i = begin; i < begin + count; i++) {
            uint32_t unit = base ^ b->edges.byte[i], child = b->edges.child[i];
            take(b, unit);
            b->unit[unit].parent = at[node];
            b->unit[unit].value = trie->value[child];
            at[child] = unit;
            queue[tail++] = child;
        }
    }
    return true;
}

bool dt_darray_create(dt_darray *array, dt_arena *arena, const dt_trie *trie)
{
    building b = {.scratch = dt_arena_create()};
    bool done = b.scratch != NULL && sort_edges(&b, trie) && add_block(&b);
    uint32_t *queue = done ? DT_NEW_ARRAY(b.scratch, uint32_t, (size_t)trie->nodes + 1) : NULL;
    done = queue != NULL && place(&b, trie, queue);
    array->unit = done ? DT_NEW_ARRAY(arena, dt_unit, b.units) : NULL;
    array->units = b.units;
    if (array->unit != NULL)
        memcpy(array->unit, b.unit, b.units * sizeof *b.unit);
    dt_arena_destroy(b.scratch);
    return array->unit != NULL;
}
