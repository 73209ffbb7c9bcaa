/*
 * gpt_bigcode.c (hf) - config.json of GPT-BigCode: a GPT-2 whose queries may share one key and value.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

#define NAMES "formats/hf/names_gpt_bigcode.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_gpt_bigcode.def"
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
    c->bos_token_id = 50256;
    c->eos_count = 1;
    c->eos_token_ids[0] = 50256;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    bool scaled = true, shared = true;
    DT_PASS(dt_hf_refuse_true(json, "add_cross_attention", err));
    DT_PASS(dt_json_bool(json, "scale_attn_weights", &scaled, err));
    DT_PASS(dt_json_bool(json, "multi_query", &shared, err));
    c->softmax_scale = scaled ? 0 : 1;
    c->num_query_groups = shared ? 1 : c->num_attention_heads;
    return DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool scaled = c->softmax_scale != 1.0 || c->kv_channels == 1;
    int failed = json_object_set_new(json, "scale_attn_weights", json_boolean(scaled));
    failed |= json_object_set_new(json, "multi_query", json_boolean(c->num_query_groups == 1));
    return failed ? dt_fail_memory(err, 256, "config.json") : DT_OK;
}

DT_HF_FAMILY(gpt_bigcode, "GPTBigCodeForCausalLM", defaults, read, write)
