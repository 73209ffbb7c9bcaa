/*
 * gguf_words.h - tokenizers in GGUF's words: a tokenizer described so, a description read, files made from one.
 */
#ifndef DT_DATA_TOKENIZER_GGUF_WORDS_H
#define DT_DATA_TOKENIZER_GGUF_WORDS_H

#include "data/tokenizer/parts.h"

/*
 * Describe a tokenizer, wherever it was read from. What `out` points to lies in `arena` or in the tokenizer; ids that
 * no token has are "[PADn]". Errors: DT_UNSUPPORTED says what GGUF has no word for.
 */
dt_status dt_tokenizer_to_gguf(const dt_tokenizer *t, dt_arena *arena, dt_gguf_vocabulary *out,
                               dt_error *err);

/* The tokenizer that a description means; nothing of it is kept. */
dt_status dt_tokenizer_of_gguf(dt_tokenizer **out, const dt_gguf_vocabulary *v, dt_error *err);

/* How many of the probing texts two tokenizers encode differently; *first is one of them, in `arena`, or NULL. */
dt_status dt_tokenizer_differences(const dt_tokenizer *a, const dt_tokenizer *b, dt_arena *arena, int *texts,
                                   int *differ, const char **first, dt_error *err);

/*
 * Write the files of a Hugging Face folder that mean the same: tokenizer.json, tokenizer.model or vocab.txt, and
 * tokenizer_config.json with the chat template. `files` grows by their number.
 */
dt_status dt_gguf_vocabulary_write(const dt_gguf_vocabulary *v, const char *folder, int *files,
                                   dt_error *err);

/* llama.cpp's name for how text is split before merging; NULL: it has none. Stages are split patterns, in order. */
const char *dt_gguf_pre_name(const char *const *stage, int stages, bool whole);
/* The split behind such a name; NULL when unknown. `whole`: a piece that is a token needs no merging. */
const char *dt_gguf_pre_split(const char *pre, bool *whole);

/* A token of "bert" as vocab.txt has it: "##" in front of what continues a word, no low line. */
bool dt_gguf_bert_token(const dt_gguf_vocabulary *v, size_t id, dt_text *out);

#endif
