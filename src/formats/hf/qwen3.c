/*
 * qwen3.c (hf) - config.json of Qwen3: a Llama that norms each head of q and k.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_qwen3.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_qwen3.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 151936;
    c->ffn_hidden_size = 22016;
    c->num_query_groups = 32;
    c->kv_channels = 128;
    c->max_sequence_length = 32768;
    c->qk_layernorm = true;
    c->bos_token_id = -1;
    c->eos_count = 0;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    dt_hf_null_means(json, "num_key_value_heads", &c->num_query_groups, -1);
    DT_PASS(dt_hf_read_switched_windows(c, json, err));
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_switched_windows(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(qwen3, "Qwen3ForCausalLM", defaults, read, write)
