/*
 * nemotron.c (hf) - config.json of Nemotron: LayerNorm of weight + 1, squared ReLU without a gate, half of each head rotated.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_nemotron.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_nemotron.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 256000;
    c->hidden_size = 6144;
    c->ffn_hidden_size = 24576;
    c->num_attention_heads = 48;
    c->max_sequence_length = 4096;
    c->normalization = DT_NORM_LAYERNORM;
    c->layernorm_epsilon = 1e-5;
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_SQUARED_RELU;
    c->gated_linear_unit = false;
    c->rotary_percent = 0.5;
    c->bos_token_id = 2;
    c->eos_token_ids[0] = 3;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    return dt_hf_read_partial_rope(c, json, err);
}

DT_HF_FAMILY(nemotron, "NemotronForCausalLM", defaults, read, dt_hf_write_rope)
