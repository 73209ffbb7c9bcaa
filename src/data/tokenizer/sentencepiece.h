/*
 * sentencepiece.h - what the files that read sentencepiece models share.
 */
#ifndef DT_DATA_TOKENIZER_SENTENCEPIECE_H
#define DT_DATA_TOKENIZER_SENTENCEPIECE_H

#include "data/tokenizer/parts.h"

#include "sentencepiece.pb-c.h" /* made from sentencepiece.proto by protoc-c */

/* The whole model, decoder included; it is only read. */
dt_status dt_spm_read(dt_tokenizer *tokenizer, const DtSpm__Model *model, dt_error *err);
dt_status dt_fairseq_read(dt_tokenizer *tokenizer, DtSpm__Model *model, dt_error *err);
dt_status dt_spm_read_bpe(dt_tokenizer *tokenizer, const DtSpm__Model *model, dt_error *err);

/* Emit a piece; unknown ones as bytes, or a run of them as one. `context` is a bool: was the last one unknown? */
dt_status dt_spm_emit(const dt_model_part *model, dt_work *work, int32_t id, const char *text, size_t bytes,
                      void *context);

#endif
