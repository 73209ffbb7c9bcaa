/*
 * context.c - the block pool of a paged cache. What is in the blocks is the attention kernels' business.
 */
#include "inference/context.h"

#include "backend/pages.h"
#include "base/checked.h"

#include <drivetrain/graph.h>

#include <string.h>

typedef struct buffer {
    const char *name;
    char *data; /* pages of its own */
    size_t slot_bytes, bytes;
} buffer;

struct dt_context {
    dt_arena *arena; /* borrowed: owns all of this but the buffers' pages */
    int64_t blocks;
    int32_t *free; /* stack of free numbers, the lowest on top at first */
    int64_t free_count, most_used;
    int32_t *references; /* by block */
    buffer *buffer;
    int buffer_count, buffer_capacity;
};

dt_status dt_context_create(dt_context **out, dt_arena *arena, int64_t blocks, int buffers, dt_error *err)
{
    dt_context *c = DT_NEW(arena, dt_context);
    *out = c;
    if (blocks > INT32_MAX)
        return dt_fail(err, DT_LIMIT, "a cache of %lld blocks is more than block numbers reach (%d)",
                       (long long)blocks, INT32_MAX);
    if (c) {
        c->free = DT_NEW_ARRAY(arena, int32_t, blocks);
        c->references = DT_NEW_ARRAY(arena, int32_t, blocks);
        c->buffer = DT_NEW_ARRAY(arena, buffer, buffers);
    }
    if (!c || !c->free || !c->references || !c->buffer)
        return dt_fail_memory(err, (size_t)blocks * 2 * sizeof *c->free, "a cache's block table");
    c->arena = arena;
    c->blocks = c->free_count = blocks;
    c->buffer_capacity = buffers;
    for (int64_t i = 0; i < blocks; i++)
        c->free[i] = (int32_t)(blocks - 1 - i);
    return DT_OK;
}

void dt_context_destroy(dt_context *c)
{
    for (int i = 0; c && i < c->buffer_count; i++)
        dt_pages_give(c->buffer[i].data, c->buffer[i].bytes);
}

dt_status dt_context_add(dt_context *c, const char *name, size_t slot_bytes, void **data, dt_error *err)
{
    size_t bytes;
    if (c->buffer_count == c->buffer_capacity)
        return dt_fail(err, DT_INTERNAL, "no room for cache %s", name);
    if (!dt_mul_size(slot_bytes, (size_t)c->blocks * DT_KV_BLOCK, &bytes))
        return dt_fail(err, DT_LIMIT, "cache %s of %lld blocks is too large to address", name,
                       (long long)c->blocks);
    buffer *b = &c->buffer[c->buffer_count];
    *b = (buffer){.name = dt_arena_text(c->arena, name), .slot_bytes = slot_bytes, .bytes = bytes};
    b->data = dt_pages_take(bytes, false);
    if (!b->name || (!b->data && bytes)) {
        dt_pages_give(b->data, bytes);
        return dt_fail_memory(err, bytes, "a cache of keys and values");
    }
    c->buffer_count++;
    *data = b->data;
    return DT_OK;
}

void *dt_context_find(const dt_context *c, const char *name)
{
    for (int i = 0; i < c->buffer_count; i++)
        if (strcmp(c->buffer[i].name, name) == 0)
            return c->buffer[i].data;
    return NULL;
}

/* ---- blocks ---- */

static int32_t take(dt_context *c)
{
    int32_t block = c->free[--c->free_count];
    c->references[block] = 1;
    if (c->blocks - c->free_count > c->most_used)
        c->most_used = c->blocks - c->free_count;
    return block;
}

static void release(dt_context *c, int32_t block)
{
    if (--c->references[block] == 0)
        c->free[c->free_count++] = block;
}

static dt_status used_up(const dt_context *c, dt_error *err)
{
    return dt_fail(err, DT_LIMIT, "the cache's %lld blocks of %d positions are all in use",
                   (long long)c->blocks, DT_KV_BLOCK);
}

/* A block of one's own in place of a shared one. It is copied whole: how it is laid out is the backend's affair. */
static int32_t own_copy(dt_context *c, int32_t shared)
{
    int32_t block = take(c);
    for (int i = 0; i < c->buffer_count; i++) {
        const buffer *b = &c->buffer[i];
        size_t stride = b->slot_bytes * DT_KV_BLOCK;
        memcpy(b->data + stride * (size_t)block, b->data + stride * (size_t)shared, stride);
    }
    release(c, shared);
    return block;
}

dt_status dt_context_extend(dt_context *c, dt_block_table *t, int64_t length, dt_error *err)
{
    int64_t part = t->length % DT_KV_BLOCK, last = t->length / DT_KV_BLOCK;
    if (length > t->length && part && c->references[t->block[last]] > 1) {
        if (c->free_count == 0)
            return used_up(c, err);
        t->block[last] = own_copy(c, t->block[last]);
    }
    for (; t->count * DT_KV_BLOCK < length; t->count++) {
        if (c->free_count == 0)
            return used_up(c, err);
        t->block[t->count] = take(c);
    }
    return DT_OK;
}

void dt_context_share(dt_context *c, const dt_block_table *from, dt_block_table *to)
{
    for (int64_t i = 0; i < from->count; i++) {
        to->block[i] = from->block[i];
        c->references[from->block[i]]++;
    }
    to->count = from->count;
    to->length = from->length;
}

void dt_context_truncate(dt_context *c, dt_block_table *t, int64_t length)
{
    if (length >= t->length)
        return;
    while ((t->count - 1) * DT_KV_BLOCK >= length && t->count > 0)
        release(c, t->block[--t->count]);
    t->length = length;
}

void dt_context_clear(dt_context *c, dt_block_table *t)
{
    while (t->count > 0)
        release(c, t->block[--t->count]);
    t->length = 0;
}

int64_t dt_context_free_blocks(const dt_context *c)
{
    return c->free_count;
}

size_t dt_context_peak_bytes(const dt_context *c)
{
    size_t block = 0;
    for (int i = 0; i < c->buffer_count; i++)
        block += c->buffer[i].slot_bytes * DT_KV_BLOCK;
    return block * (size_t)c->most_used;
}
