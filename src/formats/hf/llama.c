/*
 * llama.c (hf) - config.json of Llama, where a number does not simply carry over.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

#define NAMES "formats/hf/names_llama.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_llama.def"
};

void dt_hf_llama_defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    c->vocab_size = 32000;
    c->hidden_size = 4096;
    c->ffn_hidden_size = 11008;
    c->num_layers = 32;
    c->num_attention_heads = 32;
    c->max_sequence_length = 2048;
    c->layernorm_epsilon = 1e-6;
    c->normalization = DT_NORM_RMSNORM;
    c->activation_func = DT_ACT_SILU;
    c->gated_linear_unit = true;
    c->add_bias_linear = false;
    c->position_embedding_type = DT_POSITION_ROPE;
    c->bos_token_id = 1;
    c->eos_count = 1;
    c->eos_token_ids[0] = 2;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    return dt_hf_read_rope(c, json, err);
}

DT_HF_FAMILY(llama, "LlamaForCausalLM", dt_hf_llama_defaults, read, dt_hf_write_rope)
