/*
 * unigram.h - the unigram language model: the best segmentation by Viterbi.
 *
 * tokenizer.json's and sentencepiece's differ in precision and in what may match; unigram.c says how.
 */
#ifndef DT_DATA_TOKENIZER_UNIGRAM_H
#define DT_DATA_TOKENIZER_UNIGRAM_H

#include "data/tokenizer/parts.h"

typedef struct dt_unigram {
    dt_trie trie;      /* value = id */
    double *score;     /* by id */
    const bool *bonus; /* sentencepiece: user-defined pieces score by length */
    float per_byte;    /* … times this, minus 0.1 */
    double unk_score;
    bool f32; /* sentencepiece: sums are rounded to f32 */
} dt_unigram;

/* The best path's pieces in order; `unk` pieces one a character. Calls `emit` for each. */
typedef dt_status (*dt_unigram_emit)(const dt_model_part *model, dt_work *work, int32_t id, const char *text,
                                     size_t bytes, void *context);
dt_status dt_unigram_best(const dt_model_part *model, dt_work *work, const char *text, size_t bytes,
                          dt_unigram_emit emit, void *context);

#endif
