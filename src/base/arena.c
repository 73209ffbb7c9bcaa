/*
 * arena.c - memory that dies together: blocks from calloc, handed out front to back, freed at once.
 *
 * Blocks double from 4 KiB to 4 MiB, so a small owner stays small and a large one makes few calls. A request
 * larger than the next block gets one of its own, behind the current one, whose rest stays in use. Since
 * nothing is ever handed out twice, calloc's zeroes are the caller's zeroes.
 */
#include "base/arena.h"

#include "base/checked.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define DT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DT_ASAN 1
#endif
#endif
#ifdef DT_ASAN
#include <sanitizer/asan_interface.h>
enum { GAP_BYTES = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)   ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
enum { GAP_BYTES = 0 };
#endif

enum { FIRST_BLOCK_BYTES = 4096, LARGEST_BLOCK_BYTES = 4 << 20, ALIGNMENT = 16 };

typedef struct block {
    struct block *next;
    size_t size; /* bytes that follow the header */
    size_t used;
} block;

struct dt_arena {
    block *blocks; /* the first one is the one being filled */
    size_t next_block_bytes;
    size_t taken_bytes;
    char *last; /* the latest allocation of the first block, which may grow in place */
};

/* The header's size keeps the data behind it aligned. */
enum { HEADER_BYTES = (sizeof(block) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT };

static char *block_data(block *b)
{
    return (char *)b + HEADER_BYTES;
}

dt_arena *dt_arena_create(void)
{
    dt_arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return NULL;
    arena->next_block_bytes = FIRST_BLOCK_BYTES;
    arena->taken_bytes = sizeof *arena;
    return arena;
}

void dt_arena_destroy(dt_arena *arena)
{
    if (!arena)
        return;
    for (block *b = arena->blocks, *next; b; b = next) {
        next = b->next;
        ASAN_UNPOISON_MEMORY_REGION(block_data(b), b->size);
        free(b);
    }
    free(arena);
}

static block *new_block(dt_arena *arena, size_t size)
{
    size_t bytes;
    if (!dt_add_size(HEADER_BYTES, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    block *b = calloc(1, bytes);
    if (!b)
        return NULL;
    b->size = size;
    arena->taken_bytes += bytes;
    ASAN_POISON_MEMORY_REGION(block_data(b), size);
    return b;
}

/* Take `bytes` from `b`, or NULL when they do not fit. */
static void *take(block *b, size_t bytes, size_t alignment)
{
    uintptr_t start = (uintptr_t)block_data(b) + b->used + (b->used ? GAP_BYTES : 0);
    uintptr_t aligned = (start + alignment - 1) & ~(uintptr_t)(alignment - 1);
    size_t offset = (size_t)(aligned - (uintptr_t)block_data(b));
    if (offset > b->size || bytes > b->size - offset)
        return NULL;
    char *memory = block_data(b) + offset;
    b->used = offset + bytes;
    ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
    return memory;
}

/* A block with room for `needed` bytes: the next in the arena's row, or one of its own for a large request. */
static block *add_block(dt_arena *arena, size_t needed)
{
    if (needed > arena->next_block_bytes / 2 && arena->blocks) {
        block *own = new_block(arena, needed);
        if (!own)
            return NULL;
        own->next = arena->blocks->next;
        arena->blocks->next = own;
        return own;
    }
    block *b = new_block(arena, needed > arena->next_block_bytes ? needed : arena->next_block_bytes);
    if (!b)
        return NULL;
    b->next = arena->blocks;
    arena->blocks = b;
    if (arena->next_block_bytes < LARGEST_BLOCK_BYTES)
        arena->next_block_bytes *= 2;
    return b;
}

void *dt_arena_aligned(dt_arena *arena, size_t bytes, size_t alignment)
{
    if (bytes == 0)
        bytes = 1; /* an empty array still has an address of its own */
    if (alignment < ALIGNMENT)
        alignment = ALIGNMENT;
    char *memory = arena->blocks ? take(arena->blocks, bytes, alignment) : NULL;
    if (memory) {
        arena->last = memory;
        return memory;
    }
    size_t needed;
    if (!dt_add_size(bytes, alignment, &needed))
        return NULL;
    block *b = add_block(arena, needed);
    if (!b)
        return NULL;
    memory = take(b, bytes, alignment);
    if (b == arena->blocks)
        arena->last = memory;
    return memory;
}

void *dt_arena_alloc(dt_arena *arena, size_t bytes)
{
    return dt_arena_aligned(arena, bytes, ALIGNMENT);
}

void *dt_arena_array(dt_arena *arena, size_t count, size_t element_bytes)
{
    size_t bytes;
    return dt_mul_size(count, element_bytes, &bytes) ? dt_arena_alloc(arena, bytes) : NULL;
}

char *dt_arena_text(dt_arena *arena, const char *text)
{
    return dt_arena_text_n(arena, text, strlen(text));
}

char *dt_arena_text_n(dt_arena *arena, const char *text, size_t bytes)
{
    size_t with_end;
    char *copy = dt_add_size(bytes, 1, &with_end) ? dt_arena_alloc(arena, with_end) : NULL;
    if (copy && bytes > 0)
        memcpy(copy, text, bytes);
    return copy;
}

char *dt_arena_printf(dt_arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = bytes < 0 ? NULL : dt_arena_alloc(arena, (size_t)bytes + 1);
    if (!text)
        return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)bytes + 1, format, arguments);
    va_end(arguments);
    return text;
}

/* Lengthen the latest allocation where it stands, when the block has room behind it. */
static bool grow_in_place(dt_arena *arena, char *old, size_t new_bytes)
{
    block *b = arena->blocks;
    if (!old || old != arena->last)
        return false;
    size_t offset = (size_t)(old - block_data(b));
    if (new_bytes > b->size - offset)
        return false;
    b->used = offset + new_bytes;
    ASAN_UNPOISON_MEMORY_REGION(old, new_bytes);
    return true;
}

void *dt_arena_grow(dt_arena *arena, void *old, size_t old_bytes, size_t new_bytes)
{
    if ((old && new_bytes <= old_bytes) || grow_in_place(arena, old, new_bytes))
        return old;
    void *larger = dt_arena_alloc(arena, new_bytes);
    if (larger && old_bytes > 0)
        memcpy(larger, old, old_bytes);
    return larger;
}

size_t dt_arena_bytes(const dt_arena *arena)
{
    return arena->taken_bytes;
}
