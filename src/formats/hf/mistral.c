/*
 * mistral.c (hf) - config.json of Mistral: Llama without biases, with a window in every layer.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_llama.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_mistral.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->ffn_hidden_size = 14336;
    c->num_query_groups = 8;
    c->max_sequence_length = 4096 * 32;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    dt_hf_null_means(json, "num_key_value_heads", &c->num_query_groups, -1);
    DT_PASS(dt_hf_read_window(c, json, 4096, err));
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_window(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(mistral, "MistralForCausalLM", defaults, read, write)
