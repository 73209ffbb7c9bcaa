/*
 * starcoder2.c (hf) - config.json of StarCoder2: grouped queries and rotation with LayerNorm, biases and no gate.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_starcoder2.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_starcoder2.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 49152;
    c->hidden_size = 3072;
    c->ffn_hidden_size = 12288;
    c->num_layers = 30;
    c->num_attention_heads = 24;
    c->num_query_groups = 2;
    c->max_sequence_length = 4096;
    c->normalization = DT_NORM_LAYERNORM;
    c->layernorm_epsilon = 1e-5;
    c->activation_func = DT_ACT_GELU_TANH;
    c->gated_linear_unit = false;
    c->add_bias_linear = true;
    c->bos_token_id = 50256;
    c->eos_token_ids[0] = 50256;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    DT_PASS(dt_hf_read_window(c, json, -1, err));
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_window(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(starcoder2, "Starcoder2ForCausalLM", defaults, read, write)
