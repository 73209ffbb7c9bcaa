/*
 * bert.c (hf) - config.json of BERT, where a number does not simply carry over. Which heads a file has is decided by its
 * tensors, not by "architectures".
 */
#include "formats/hf/bert.h"

#define NAMES "formats/hf/names_bert.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_bert.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_bert_defaults(c);
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    c->lm_head_activation = c->activation_func;
    return dt_hf_bert_read(c, json, evidence, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    const char *heads = c->add_binary_head && !c->no_lm_head ? "BertForPreTraining"
                        : c->add_binary_head                 ? "BertForNextSentencePrediction"
                        : !c->no_lm_head                     ? "BertForMaskedLM"
                                                             : "BertModel";
    return dt_hf_bert_write(json, heads, err);
}

DT_HF_FAMILY(bert, "BertForPreTraining", defaults, read, write)
