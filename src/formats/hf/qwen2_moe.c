/*
 * qwen2_moe.c (hf) - config.json of Qwen2-MoE: a Qwen2 whose layers have experts, and a shared one behind a gate.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_qwen2_moe.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_qwen2_moe.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 151936;
    c->hidden_size = 2048;
    c->ffn_hidden_size = 5632;
    c->num_layers = 24;
    c->num_attention_heads = 16;
    c->num_query_groups = 16;
    c->max_sequence_length = 32768;
    c->add_qkv_bias = true;
    c->num_moe_experts = 60;
    c->moe_router_topk = 4;
    c->moe_ffn_hidden_size = 1408;
    c->moe_shared_expert_intermediate_size = 5632;
    c->moe_shared_expert_gate = true;
    c->bos_token_id = -1;
    c->eos_count = 0;
}

/* Where nothing lists them, every other layer below "max_window_layers" has the window. */
static dt_status read_windows(dt_model_config *c, const json_t *json, dt_error *err)
{
    bool on = false, windowed[DT_MAX_LAYERS];
    int64_t full = 28;
    DT_PASS(dt_json_bool(json, "use_sliding_window", &on, err));
    DT_PASS(dt_json_int(json, "max_window_layers", &full, err));
    DT_PASS(dt_hf_read_switched_windows(c, json, err));
    if (!on || dt_json_get(json, "layer_types") || c->num_layers < 1 || c->num_layers > DT_MAX_LAYERS)
        return DT_OK;
    for (int64_t i = 0; i < c->num_layers; i++)
        windowed[i] = i % 2 == 0 && i < full;
    dt_config_list_windows(c, windowed, (int)c->num_layers);
    return DT_OK;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    dt_hf_null_means(json, "num_key_value_heads", &c->num_query_groups, -1);
    DT_PASS(read_windows(c, json, err));
    DT_PASS(dt_hf_read_experts(c, json, err));
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_switched_windows(c, json, err));
    DT_PASS(dt_hf_write_experts(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(qwen2_moe, "Qwen2MoeForCausalLM", defaults, read, write)
