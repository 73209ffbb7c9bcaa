/*
 * splits.h - the published split patterns of byte-level BPE, by name.
 *
 * A tiktoken file and a vocabulary inside GGUF say nothing about how text is cut before merging, or only its name.
 */
#ifndef DT_DATA_TOKENIZER_SPLITS_H
#define DT_DATA_TOKENIZER_SPLITS_H

#include "data/tokenizer/parts.h"

enum { DT_SPLIT_STEPS = 6 };

typedef struct dt_split {
    const char *name;
    const char
        *pattern[DT_SPLIT_STEPS]; /* applied one after the other, each to the pieces of the last; NULL ends */
    bool compose;                 /* NFC comes first */
} dt_split;

const dt_split *dt_split_find(const char *name); /* NULL when unknown */

/* All names, separated by ", "; the caller frees *out. */
void dt_split_names(dt_text *out);

/* {"normalizer", "pre_tokenizer", "decoder"} of tokenizer.json; NULL when memory is short. */
json_t *dt_split_document(const dt_split *split);

/* The stages around a byte-level BPE model: normal form, splits, bytes to characters and back. */
dt_status dt_split_install(dt_tokenizer *tokenizer, const dt_split *split, dt_error *err);

#endif
