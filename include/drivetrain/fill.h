/**
 * fill.h - which words an encoder with a masked-language head (BERT, RoBERTa) expects where a text has its mask.
 *
 *     dt_filled *f;
 *     dt_fill(&f, m, ids, count, dt_tokenizer_id(tok, "[MASK]"), 5, &err);
 *     const dt_fill_place *p = dt_filled_place(f, 0);    // p->ids[0 … p->count - 1], the likeliest first
 *     dt_filled_destroy(f);
 */
#ifndef DRIVETRAIN_FILL_H
#define DRIVETRAIN_FILL_H

#include <drivetrain/inference.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One mask: its place among the tokens, and the likeliest ids there. */
typedef struct dt_fill_place {
    size_t position, count;
    const int32_t *ids;
    const float *probabilities; /**< softmax over the vocabulary; descending, the lower id first of equals */
} dt_fill_place;

typedef struct dt_filled dt_filled;

/**
 * Tell the `best` likeliest tokens at each place whose token is `mask`. Each mask is judged with all others masked, as
 * transformers' fill-mask does.
 *
 * Memory   *out owns the places
 * Threads  calls on one model take turns
 * Errors   DT_UNSUPPORTED  the model is no such encoder, or has no head that names words
 *          DT_INVALID      no mask among the tokens, an id outside the vocabulary, more tokens than positions
 */
dt_status dt_fill(dt_filled **out, dt_model *model, const int32_t *tokens, size_t count, int32_t mask,
                  size_t best, dt_error *err);
void dt_filled_destroy(dt_filled *filled); /**< NULL is fine */

size_t dt_filled_count(const dt_filled *filled);
const dt_fill_place *dt_filled_place(const dt_filled *filled,
                                     size_t index); /**< borrowed; NULL beyond the last */

#ifdef __cplusplus
}
#endif
#endif
