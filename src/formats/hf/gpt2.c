/*
 * gpt2.c (hf) - config.json of GPT-2, where a number does not simply carry over.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

#define NAMES "formats/hf/names_gpt2.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_gpt2.def"
};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    c->vocab_size = 50257;
    c->max_sequence_length = 1024;
    c->hidden_size = 768;
    c->num_layers = 12;
    c->num_attention_heads = 12;
    c->activation_func = DT_ACT_GELU_TANH;
    c->position_embedding_type = DT_POSITION_LEARNED;
    c->bos_token_id = 50256;
    c->eos_count = 1;
    c->eos_token_ids[0] = 50256;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    bool scaled = true;
    (void)evidence;
    DT_PASS(dt_hf_refuse_true(json, "add_cross_attention", err));
    DT_PASS(dt_hf_refuse_true(json, "scale_attn_by_inverse_layer_idx", err));
    DT_PASS(dt_json_bool(json, "scale_attn_weights", &scaled, err));
    c->softmax_scale = scaled ? 0 : 1;
    return DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool scaled = c->softmax_scale != 1.0 || c->kv_channels == 1;
    if (json_object_set_new(json, "scale_attn_weights", json_boolean(scaled)))
        return dt_fail_memory(err, 256, "config.json");
    return DT_OK;
}

DT_HF_FAMILY(gpt2, "GPT2LMHeadModel", defaults, read, write)
