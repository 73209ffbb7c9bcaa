/*
 * roberta.c (hf) - config.json of RoBERTa: BERT's encoder, positions counted from behind the padding token's id, a head
 * whose activation is GELU whatever hidden_act says.
 */
#include "formats/hf/bert.h"

#define NAMES "formats/hf/names_roberta.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_bert.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_bert_defaults(c);
    c->vocab_size = 50265;
    c->pad_token_id = 1;
    c->bos_token_id = 0;
    c->eos_count = 1;
    c->eos_token_ids[0] = 2;
    c->positions_skip_padding = true;
}

/* The padding token's id is part of the mathematics here. */
static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    if (json_object_set_new(json, "pad_token_id", json_integer(c->pad_token_id)))
        return dt_fail_memory(err, 64, "config.json");
    return dt_hf_bert_write(json, c->no_lm_head ? "RobertaModel" : "RobertaForMaskedLM", err);
}

DT_HF_FAMILY(roberta, "RobertaForMaskedLM", defaults, dt_hf_bert_read, write)
