/*
 * context.h - a paged cache of keys and values: blocks of DT_KV_BLOCK positions, counted references, block tables.
 *
 * One pool of block numbers serves all layers: block 7 of a sequence's history is block 7 of every layer's buffers.
 * Tables share blocks (beams share their history); a block is copied when one of several owners writes into it.
 * Address space for all blocks is reserved once; memory is touched as blocks are first used, lowest numbers first,
 * so the cache grows with what is in it, never moves, and no plan has to be made again.
 */
#ifndef DT_INFERENCE_CONTEXT_H
#define DT_INFERENCE_CONTEXT_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_context dt_context;

/* The blocks of one sequence. Zeroed means empty; `block` is an array of the context's `table_blocks`. */
typedef struct dt_block_table {
    int32_t *block;
    int64_t count;  /* blocks held */
    int64_t length; /* positions stored; the last block may be part full */
} dt_block_table;

/* `blocks` in the pool. Everything but the buffers belongs to `arena`. */
dt_status dt_context_create(dt_context **out, dt_arena *arena, int64_t blocks, int buffers, dt_error *err);
void dt_context_destroy(dt_context *context); /* gives the buffers back; NULL is fine */

/* One layer's keys or values: `slot_bytes` a position. *data stays where it is. */
dt_status dt_context_add(dt_context *context, const char *name, size_t slot_bytes, void **data,
                         dt_error *err);
void *dt_context_find(const dt_context *context, const char *name); /* NULL when there is no such buffer */

/*
 * Make positions [table->length, length) of a table writable: takes blocks, and copies the part-full last one when
 * others hold it, too. Allocates nothing. DT_LIMIT when the pool is used up.
 */
dt_status dt_context_extend(dt_context *context, dt_block_table *table, int64_t length, dt_error *err);
void dt_context_share(dt_context *context, const dt_block_table *from,
                      dt_block_table *to); /* `to` is empty */
/* Forget positions from `length` on. */
void dt_context_truncate(dt_context *context, dt_block_table *table, int64_t length);
void dt_context_clear(dt_context *context, dt_block_table *table);

int64_t dt_context_free_blocks(const dt_context *context);
size_t dt_context_peak_bytes(const dt_context *context); /* of the blocks ever in use at once */

#endif
