/*
 * bert.h (hf) - what the families around BERT have in common.
 */
#ifndef DT_FORMATS_HF_BERT_H
#define DT_FORMATS_HF_BERT_H

#include "formats/hf/family.h"

void dt_hf_bert_defaults(dt_model_config *config);

/* Which heads there are, and refusals of what the encoder would compute otherwise. */
dt_status dt_hf_bert_read(dt_model_config *config, const json_t *json, const dt_hf_evidence *evidence,
                          dt_error *err);
dt_status dt_hf_bert_write(json_t *json, const char *architecture, dt_error *err);

#endif
