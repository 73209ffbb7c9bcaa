/*
 * plan.h - where every value of a graph lives: one arena, its size known before the first FLOP.
 *
 * Values whose lifetimes do not meet share memory; offsets are made once for the axes' capacities, so a run with
 * any counts up to them uses the same plan. Values that a backward phase needs lie in a saved block of their own:
 * a pipeline stage holds as many of those as it has micro-batches in flight, and one arena.
 */
#ifndef DT_GRAPH_PLAN_H
#define DT_GRAPH_PLAN_H

#include "graph/ir.h"

typedef struct dt_plan_options {
    bool keep_points; /* named values keep their memory to the end of the run (trace, verify) */
    size_t (*scratch)(void *user, const dt_op *op); /* bytes a kernel needs while it runs; NULL = none */
    void *user;
} dt_plan_options;

typedef enum dt_place { DT_PLACE_NONE, DT_PLACE_ARENA, DT_PLACE_SAVED } dt_place;

typedef struct dt_plan {
    size_t arena_bytes, saved_bytes; /* multiples of 64 */
    struct {
        dt_place place;
        size_t offset; /* multiple of 64 */
    } * tensor;        /* by tensor id */
    size_t *scratch;   /* by op id: offset in the arena */
} dt_plan;

/* The plan is owned by `arena`. Graph must be finished. Outputs that no op reads stay until the end. */
dt_status dt_plan_make(dt_plan **out, const dt_graph *g, const dt_plan_options *options, dt_arena *arena,
                       dt_error *err);

#endif
