/*
 * sampling.h - from a row of logits to a token: what the options forbid or penalise, what is kept, what is drawn.
 *
 * The order and meaning of the steps are those of transformers' logits processors: repetition penalty, repeated
 * n-grams, bad words, least length, forced tokens, banned tokens; then, when sampling, temperature, top k, top p,
 * min p. A row's numbers come from its own stream, so that it does not matter who its neighbours are.
 */
#ifndef DT_INFERENCE_SAMPLING_H
#define DT_INFERENCE_SAMPLING_H

#include "base/fail.h"

#include <drivetrain/inference.h>

/* What holds for every row of a call. */
typedef struct dt_rules {
    const dt_generate_options *options;
    int64_t vocab; /* the real one: padding is never seen here */
    int eos_count; /* 0 when end tokens are ignored */
    const int32_t *eos;
} dt_rules;

/* A row about to get its next token. */
typedef struct dt_row_so_far {
    const int32_t *tokens; /* what the decoder has seen, prompt included */
    int64_t count, start;  /* tokens so far; of the prompt */
    int64_t limit;         /* most tokens in all */
    uint64_t stream;       /* of random numbers */
} dt_row_so_far;

/* Room for one thread's work on one row, [vocab] each. */
typedef struct dt_pick_scratch {
    float *score;
    int32_t *index;
    double *weight;
    uint8_t *seen; /* zeros between calls */
} dt_pick_scratch;

bool dt_rules_is_end(const dt_rules *rules, int32_t token);

/*
 * Penalise and ban: `scores` [vocab] itself when nothing applies, else the changed copy in scratch->score.
 * Beam search passes log-probabilities, everything else logits, as transformers does.
 */
const float *dt_rules_apply(const dt_rules *rules, const dt_row_so_far *row, const float *scores,
                            dt_pick_scratch *scratch);

/* The next token, greedy or drawn; -1 when nothing may come (all banned, or no logit is a number). */
int32_t dt_pick(const dt_rules *rules, const dt_row_so_far *row, const float *logits,
                dt_pick_scratch *scratch);

#endif
