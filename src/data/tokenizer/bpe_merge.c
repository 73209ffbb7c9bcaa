/*
 * bpe_merge.c - the merge loop of byte pair encoding, three times: plainly, for few symbols, and with a heap.
 *
 * The plain loop looks up every pair for each merge. For few symbols the pairs' ranks stand in a row, and a merge
 * looks up two; finding the lowest is still a walk, which is the fastest there is for a word of normal length. The
 * heap takes n log n, so that a word of a megabyte is no attack. Leaves making symbols and reading them off to
 * bpe.c and sentencepiece.c.
 */
#include "data/tokenizer/bpe.h"

#include <string.h>

bool dt_bpe_pairs_create(dt_bpe *bpe, dt_arena *arena, size_t capacity)
{
    size_t slots = 16;
    if (capacity > (size_t)1 << 30)
        return false;
    while (slots < capacity * 2)
        slots *= 2;
    bpe->pair = DT_NEW_ARRAY(arena, dt_pair, slots);
    bpe->mask = slots - 1;
    for (size_t i = 0; bpe->pair != NULL && i < slots; i++)
        bpe->pair[i].to = -1;
    return bpe->pair != NULL;
}

void dt_bpe_pair_put(dt_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t to)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t slot = (size_t)dt_hash_mix(key) & bpe->mask;
    while (bpe->pair[slot].to >= 0 && bpe->pair[slot].key != key)
        slot = (slot + 1) & bpe->mask;
    bpe->pair[slot] = (dt_pair){key, rank, to};
}

size_t dt_bpe_segment(const char *text, size_t bytes)
{
    size_t at = 0;
    while (bytes - at >= DT_LOW_LINE_BYTES && memcmp(text + at, DT_LOW_LINE, DT_LOW_LINE_BYTES) == 0)
        at += DT_LOW_LINE_BYTES;
    for (; at + DT_LOW_LINE_BYTES <= bytes; at++) /* words are short: a call to memmem costs more */
        if (text[at] == DT_LOW_LINE[0] && memcmp(text + at, DT_LOW_LINE, DT_LOW_LINE_BYTES) == 0)
            return at;
    return bytes;
}

bool dt_bpe_breaks_at_spaces(const dt_vocab *vocab)
{
    if (dt_vocab_find(vocab, DT_LOW_LINE, DT_LOW_LINE_BYTES) < 0)
        return false; /* a low line would be unknown, and unknowns may fuse over the break */
    for (uint32_t i = 0; i < vocab->count; i++)
        if (dt_bpe_segment(vocab->entry[i].text, vocab->entry[i].bytes) < vocab->entry[i].bytes)
            return false;
    return true;
}

/* The right neighbour becomes part of `left`. */
static void join(dt_symbol *symbol, int32_t left, int32_t to)
{
    int32_t right = symbol[left].next;
    symbol[left].id = to;
    symbol[left].bytes += symbol[right].bytes;
    symbol[right].bytes = 0;
    symbol[left].next = symbol[right].next;
    if (symbol[left].next >= 0)
        symbol[symbol[left].next].prev = left;
}

void dt_bpe_merge_by_search(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol)
{
    for (;;) {
        const dt_pair *best = NULL;
        int32_t where = -1;
        for (int32_t i = 0; symbol[i].next >= 0; i = symbol[i].next) {
            work->steps++;
            const dt_pair *pair = dt_bpe_pair(bpe, symbol[i].id, symbol[symbol[i].next].id);
            if (pair != NULL && (best == NULL || pair->rank < best->rank)) {
                best = pair;
                where = i;
            }
        }
        if (best == NULL)
            return;
        join(symbol, where, best->to);
    }
}

/* Symbols still there, and the rank of each with its right neighbour; NONE: they do not merge. */
enum { NONE = UINT32_MAX };
typedef struct row {
    uint32_t rank[DT_BPE_FEW];
    int32_t to[DT_BPE_FEW], index[DT_BPE_FEW];
    int32_t count;
} row;

static void look_up(const dt_bpe *bpe, const dt_symbol *symbol, row *r, int32_t i)
{
    const dt_pair *pair =
        i + 1 < r->count ? dt_bpe_pair(bpe, symbol[r->index[i]].id, symbol[r->index[i + 1]].id) : NULL;
    r->rank[i] = pair != NULL ? pair->rank : NONE;
    r->to[i] = pair != NULL ? pair->to : -1;
}

static void remove_at(row *r, int32_t i)
{
    r->count--;
    for (; i < r->count; i++) {
        r->rank[i] = r->rank[i + 1];
        r->to[i] = r->to[i + 1];
        r->index[i] = r->index[i + 1];
    }
}

void dt_bpe_merge_few(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol, int32_t count)
{
    row r = {.count = count};
    for (int32_t i = 0; i < count; i++)
        r.index[i] = i;
    for (int32_t i = 0; i < count; i++)
        look_up(bpe, symbol, &r, i);
    for (;;) {
        int32_t best = 0;
        for (int32_t i = 1; i < r.count; i++)
            if (r.rank[i] < r.rank[best])
                best = i;
        work->steps += (uint64_t)r.count;
        if (r.rank[best] == NONE)
            return;
        join(symbol, r.index[best], r.to[best]);
        remove_at(&r, best + 1);
        look_up(bpe, symbol, &r, best);
        if (best > 0)
            look_up(bpe, symbol, &r, best - 1);
    }
}

/* A pair that may merge. The heap's top has the lowest (rank, left): one number, so one comparison. */
typedef struct candidate {
    uint64_t order; /* rank << 32 | left */
    int32_t to;
    uint32_t bytes; /* of both symbols: if they have grown since, the entry is stale */
} candidate;

typedef struct queue {
    candidate *item;
    size_t count;
    uint64_t *steps;
} queue;

static void push(queue *q, candidate one)
{
    size_t at = q->count++;
    for (; at > 0 && q->item[(at - 1) / 2].order > one.order; at = (at - 1) / 2) {
        q->item[at] = q->item[(at - 1) / 2];
        ++*q->steps;
    }
    ++*q->steps;
    q->item[at] = one;
}

static candidate pop(queue *q)
{
    candidate top = q->item[0], last = q->item[--q->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < q->count; at = child) {
        if (child + 1 < q->count && q->item[child + 1].order < q->item[child].order)
            child++;
        if (q->item[child].order >= last.order)
            break;
        q->item[at] = q->item[child];
        ++*q->steps;
    }
    q->item[at] = last;
    ++*q->steps;
    return top;
}

static void consider(const dt_bpe *bpe, const dt_symbol *symbol, int32_t left, queue *q, dt_bpe_watch watch,
                     void *context)
{
    int32_t right = left < 0 ? -1 : symbol[left].next;
    if (right < 0)
        return;
    const dt_pair *pair = dt_bpe_pair(bpe, symbol[left].id, symbol[right].id);
    if (pair == NULL)
        return;
    if (watch != NULL)
        watch(context, symbol[left].id, symbol[right].id, pair->to);
    push(q, (candidate){(uint64_t)pair->rank << 32 | (uint32_t)left, pair->to,
                        symbol[left].bytes + symbol[right].bytes});
}

dt_status dt_bpe_merge_by_heap(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol, int32_t count,
                               dt_bpe_watch watch, void *context)
{
    /* count - 1 pairs at first, and each merge takes one out and puts at most two in: never more than 2 count */
    queue q = {dt_block_need(work, &work->heap, 2 * (size_t)count * sizeof(candidate)), 0, &work->steps};
    if (q.item == NULL)
        return dt_work_no_memory(work);
    for (int32_t i = 0; i >= 0; i = symbol[i].next)
        consider(bpe, symbol, i, &q, watch, context);
    while (q.count > 0) {
        candidate best = pop(&q);
        int32_t left = (int32_t)(best.order & UINT32_MAX), right = symbol[left].next;
        if (symbol[left].bytes == 0 || right < 0 || symbol[left].bytes + symbol[right].bytes != best.bytes)
            continue;
        join(symbol, left, best.to);
        consider(bpe, symbol, symbol[left].prev, &q, watch, context);
        consider(bpe, symbol, left, &q, watch, context);
    }
    return DT_OK;
}

dt_status dt_bpe_merge(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol, int32_t count, dt_bpe_watch watch,
                       void *context)
{
    if (watch != NULL || count > DT_BPE_FEW)
        return dt_bpe_merge_by_heap(bpe, work, symbol, count, watch, context);
    dt_bpe_merge_few(bpe, work, symbol, count);
    return DT_OK;
}
