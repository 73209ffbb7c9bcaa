/*
 * beam.h - beam search over one prompt, decision by decision as transformers 5 takes them.
 *
 * The search holds token sequences and scores; whose cached history a beam continues is told by `parent` after each
 * advance, and the caller reorders its slots by that.
 */
#ifndef DT_INFERENCE_BEAM_H
#define DT_INFERENCE_BEAM_H

#include "base/arena.h"
#include "inference/sampling.h"

/* A token that may come next on a running beam. */
typedef struct dt_continuation {
    double score; /* the beam's, and this token's log-probability */
    int32_t token;
    int32_t beam;
} dt_continuation;

typedef struct dt_hypothesis {
    double score; /* over length^penalty */
    int32_t *tokens;
    int64_t count;
    bool ended; /* its last token is an end token */
} dt_hypothesis;

/* All arrays from one arena; `beams` long but for `merged` (beams · keep). */
typedef struct dt_beam_search {
    const dt_rules *rules;
    int64_t beams, keep; /* keep: continuations looked at in a step, and of each beam */
    int64_t start, count, limit;
    int64_t running;
    double *score;            /* of the running ones, best first */
    int32_t **tokens, **next; /* [limit] each */
    int64_t *parent;          /* which beam of the step before each one continues */
    dt_continuation *merged;
    dt_hypothesis *finished; /* best first */
    int64_t finished_count;
    bool improvable;
} dt_beam_search;

/* Room for `beams` beams of at most `capacity` tokens. */
dt_status dt_beam_search_create(dt_beam_search *search, dt_arena *arena, const dt_rules *rules,
                                int64_t capacity, dt_error *err);
void dt_beam_search_begin(dt_beam_search *search, const int32_t *tokens, int64_t start, int64_t limit);

/* The best `keep` continuations of running beam `beam`, from its logits. Returns how many; `out` has room for keep. */
int64_t dt_beam_search_continue(const dt_beam_search *search, int64_t beam, const float *logits,
                                dt_pick_scratch *scratch, dt_continuation *out);

/* Decide a step from the `count` continuations gathered in search->merged. false: the search is over. */
bool dt_beam_search_advance(dt_beam_search *search, int64_t count);

/* The answer of a finished search; NULL when every continuation was banned. */
const dt_hypothesis *dt_beam_search_best(const dt_beam_search *search);

#endif
