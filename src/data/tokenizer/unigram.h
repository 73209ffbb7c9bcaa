/*
 * unigram.h - the unigram language model: the best segmentation by Viterbi.
 *
 * tokenizer.json's and sentencepiece's differ in precision and in what may match; unigram.c says how.
 */
#ifndef DT_DATA_TOKENIZER_UNIGRAM_H
#define DT_DATA_TOKENIZER_UNIGRAM_H

#include "data/tokenizer/darray.h"
#include "data/tokenizer/parts.h"
#include "data/tokenizer/words.h"

typedef struct dt_unigram {
    dt_trie trie;          /* value = id */
    dt_darray pieces;      /* the same, laid out for speed; made by dt_unigram_finish */
    bool breaks_at_spaces; /* texts fall into words, each with a best path of its own */
    dt_words words;        /* words that are best as one piece, and by how much */
    double *score;         /* by id */
    const bool *bonus;     /* sentencepiece: user-defined pieces score by length */
    float per_byte;        /* … times this, minus 0.1 */
    double unk_score;
    bool f32; /* sentencepiece: sums are rounded to f32 */
} dt_unigram;

/* Lay out `u`, its trie and scores filled, and make it the tokenizer's model; `known` by id or NULL: it has a score. */
dt_status dt_unigram_finish(dt_tokenizer *tokenizer, dt_unigram *u, dt_error *err);

/* The best path's pieces in order; `unk` pieces one a character. Calls `emit` for each. */
typedef dt_status (*dt_unigram_emit)(const dt_model_part *model, dt_work *work, int32_t id, const char *text,
                                     size_t bytes, void *context);
dt_status dt_unigram_best_plain(const dt_model_part *model, dt_work *work, const char *text, size_t bytes,
                                dt_unigram_emit emit, void *context); /* the text as one, by the plain trie */
dt_status dt_unigram_best(const dt_model_part *model, dt_work *work, const char *text, size_t bytes,
                          dt_unigram_emit emit, void *context);

#endif
