/*
 * gpt_neox.c (hf) - config.json of GPT-NeoX: attention and MLP side by side, each with a norm of its own; part of each head rotated.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

#define NAMES "formats/hf/names_gpt_neox.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_gpt_neox.def"
};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    c->vocab_size = 50432;
    c->hidden_size = 6144;
    c->ffn_hidden_size = 24576;
    c->num_layers = 44;
    c->num_attention_heads = 64;
    c->max_sequence_length = 2048;
    c->position_embedding_type = DT_POSITION_ROPE;
    c->rotary_percent = 0.25;
    c->parallel_residual = true;
    c->add_bias_linear = false; /* attention may go without, the MLP never does */
    c->add_qkv_bias = c->mlp_bias = true;
    c->bos_token_id = 0;
    c->eos_count = 1;
    c->eos_token_ids[0] = 2;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives both projections one */
    return dt_hf_read_partial_rope(c, json, err);
}

DT_HF_FAMILY(gpt_neox, "GPTNeoXForCausalLM", defaults, read, dt_hf_write_rope)
