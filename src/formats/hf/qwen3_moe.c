/*
 * qwen3_moe.c (hf) - config.json of Qwen3-MoE: a Qwen3 whose layers have experts. Its window is for all layers or none.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_qwen3_moe.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_qwen3_moe.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 151936;
    c->hidden_size = 2048;
    c->ffn_hidden_size = 6144;
    c->num_layers = 24;
    c->num_attention_heads = 32;
    c->num_query_groups = 4;
    c->max_sequence_length = 32768;
    c->qk_layernorm = true;
    c->num_moe_experts = 128;
    c->moe_router_topk = 8;
    c->moe_ffn_hidden_size = 768;
    c->bos_token_id = -1;
    c->eos_count = 0;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    bool on = false;
    (void)evidence;
    DT_PASS(dt_json_bool(json, "use_sliding_window", &on, err));
    if (on)
        DT_PASS(dt_hf_read_window(c, json, 4096, err));
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    DT_PASS(dt_hf_read_experts(c, json, err));
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool on = c->window_left >= 0;
    DT_PASS(dt_hf_write_window(c, json, err));
    if (json_object_set_new(json, "use_sliding_window", json_boolean(on)))
        return dt_fail_memory(err, 64, "config.json");
    DT_PASS(dt_hf_write_experts(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(qwen3_moe, "Qwen3MoeForCausalLM", defaults, read, write)
