/*
 * result.h - the answers of a call while they are written.
 */
#ifndef DT_INFERENCE_RESULT_H
#define DT_INFERENCE_RESULT_H

#include "base/arena.h"

#include <drivetrain/inference.h>

struct dt_generation {
    dt_arena *arena; /* owns all answers */
    dt_generated *row;
    size_t count;
    dt_generation_timing timing;
};

dt_status dt_generation_create(dt_generation **out, size_t count, dt_error *err);

/* `count` entries with room for `best` alternatives each. */
dt_status dt_generation_logprobs(dt_generation *generation, int64_t count, int64_t best,
                                 dt_token_logprob **out, dt_error *err);

/* Write row `row`: a copy of the tokens. */
dt_status dt_generation_write(dt_generation *generation, int64_t row, const int32_t *tokens, int64_t count,
                              dt_error *err);

#endif
