/*
 * harvest.h - what becomes of a step's rows of logits: a token is picked, a beam continued, a given token scored.
 *
 * Rows are independent, so the team shares them out; each thread has its own scratch.
 */
#ifndef DT_INFERENCE_HARVEST_H
#define DT_INFERENCE_HARVEST_H

#include "base/pool.h"
#include "inference/beam.h"

typedef enum dt_task_kind { DT_TASK_PICK, DT_TASK_BEAM, DT_TASK_SCORE } dt_task_kind;

typedef struct dt_task {
    dt_task_kind kind;
    const float *logits;
    dt_row_so_far row;         /* PICK */
    int32_t token;             /* PICK: the result, -1 when there is none; SCORE: given */
    dt_token_logprob *logprob; /* filled when not NULL; its arrays have room for options->logprobs */
    const dt_beam_search *search;
    int64_t beam;         /* BEAM */
    dt_continuation *out; /* BEAM: the results, */
    int64_t found;        /* and how many */
} dt_task;

typedef struct dt_harvest dt_harvest;

/* Room for `capacity` tasks at a time; owned by `arena`. */
dt_status dt_harvest_create(dt_harvest **out, dt_arena *arena, dt_pool *pool, const dt_rules *rules,
                            int64_t capacity, dt_error *err);
void dt_harvest_begin(dt_harvest *harvest);
dt_task *dt_harvest_add(dt_harvest *harvest, const dt_task *task); /* valid until begin */
void dt_harvest_run(dt_harvest *harvest);

#endif
