/*
 * arena.h - one owner for everything that dies together.
 *
 * An arena hands out memory in growing blocks and frees it all at once. Allocation returns NULL when memory is
 * short; callers turn that into dt_fail_memory. Under AddressSanitizer allocations have poisoned gaps between
 * them. One thread at a time.
 */
#ifndef DT_BASE_ARENA_H
#define DT_BASE_ARENA_H

#include "base/fail.h"

#include <stdarg.h>
#include <stddef.h>

typedef struct dt_arena dt_arena;

dt_arena *dt_arena_create(void);        /* NULL when memory is short */
void dt_arena_destroy(dt_arena *arena); /* NULL is fine */

void *dt_arena_alloc(dt_arena *arena, size_t bytes);                     /* 16-byte aligned, zeroed */
void *dt_arena_aligned(dt_arena *arena, size_t bytes, size_t alignment); /* zeroed; alignment a power of 2 */
void *dt_arena_array(dt_arena *arena, size_t count, size_t element_bytes); /* checked product; zeroed */
char *dt_arena_text(dt_arena *arena, const char *text);                    /* copy of a C string */
char *dt_arena_text_n(dt_arena *arena, const char *text, size_t bytes);    /* copy and terminate */
char *dt_arena_printf(dt_arena *arena, const char *format, ...) DT_PRINTF(2, 3);
void *dt_arena_grow(dt_arena *arena, void *old, size_t old_bytes,
                    size_t new_bytes);        /* copy to a larger one */
size_t dt_arena_bytes(const dt_arena *arena); /* taken from the system */

#define DT_NEW(arena, type)              ((type *)dt_arena_alloc((arena), sizeof(type)))
#define DT_NEW_ARRAY(arena, type, count) ((type *)dt_arena_array((arena), (size_t)(count), sizeof(type)))

#endif
