/*
 * mixtral.c (hf) - config.json of Mixtral: Llama with experts, where a number does not simply carry over.
 *
 * Mixtral takes the softmax of all router logits, keeps the top k and makes them add up to one: the same numbers as
 * Megatron's softmax of the top k logits.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_mixtral.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_mixtral.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->moe_ffn_hidden_size = 14336;
    c->num_query_groups = 8;
    c->max_sequence_length = 4096 * 32;
    c->layernorm_epsilon = 1e-5;
    c->rotary_base = 1e6;
    c->num_moe_experts = 8;
    c->moe_router_topk = 2;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    DT_PASS(dt_hf_read_window(c, json, -1, err));
    c->ffn_hidden_size = c->moe_ffn_hidden_size;
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_window(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(mixtral, "MixtralForCausalLM", defaults, read, write)
