/*
 * checks.h - what must hold of a caller's integers before kernels may index with them.
 *
 * Made once from a graph, run before every step: ids inside their tables, cumulative lengths that rise, cache
 * positions that have a block, blocks that exist. Kernels then trust what they read.
 */
#ifndef DT_BACKEND_CHECKS_H
#define DT_BACKEND_CHECKS_H

#include "base/arena.h"
#include "graph/ir.h"

typedef struct dt_check dt_check;

/* The checks of a graph's forward ops, owned by `arena`; backward ops index with the same integers. */
dt_status dt_checks_make(dt_check **out, const dt_graph *graph, dt_arena *arena, dt_error *err);

/* All inputs are bound. `bound` by tensor id, `counts` by axis id. DT_INVALID names the input, the place and the range. */
dt_status dt_checks_run(const dt_check *checks, void *const *bound, const int64_t *counts, dt_error *err);

#endif
