/*
 * mixtral.c (hf) - config.json of Mixtral: Llama with experts, where a number does not simply carry over.
 *
 * Mixtral takes the softmax of all router logits, keeps the top k and makes them add up to one: the same numbers as
 * Megatron's softmax of the top k logits.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

void dt_hf_mixtral_defaults(dt_model_config *c)
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

dt_status dt_hf_mixtral_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                             dt_error *err)
{
    const char *activation = NULL;
    if (dt_json_get(json, "sliding_window"))
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"sliding_window\" is set, which drivetrain does not "
                       "compute yet");
    DT_PASS(dt_json_string(json, "hidden_act", &activation, err));
    if (activation)
        DT_PASS(dt_hf_read_activation("hidden_act", activation, &c->activation_func, err));
    c->ffn_hidden_size = c->moe_ffn_hidden_size;
    c->share_embeddings_and_output_weights = !evidence->head;
    return dt_hf_read_rope(c, json, err);
}

/* ---- writing ---- */

static bool every_layer(const dt_model_config *c)
{
    for (int64_t i = 0; i < c->num_layers; i++)
        if (!dt_config_layer_is_moe(c, i))
            return false;
    return true;
}

static const char *obstacle(const dt_model_config *c)
{
    if (c->num_moe_experts == 0)
        return "num_moe_experts";
    if (!every_layer(c))
        return "moe_layer_freq";
    if (c->moe_router_pre_softmax)
        return "moe_router_pre_softmax";
    if (c->moe_router_score_function != DT_ROUTER_SOFTMAX)
        return "moe_router_score_function";
    if (c->moe_router_topk_scaling_factor != 0 && c->moe_router_topk_scaling_factor != 1)
        return "moe_router_topk_scaling_factor";
    if (c->moe_router_enable_expert_bias)
        return "moe_router_enable_expert_bias";
    if (c->moe_shared_expert_intermediate_size)
        return "moe_shared_expert_intermediate_size";
    if (c->add_bias_linear)
        return "add_bias_linear";
    if (c->add_qkv_bias || c->attention_output_bias)
        return "add_qkv_bias";
    return dt_hf_llama_obstacle(c);
}

bool dt_hf_mixtral_holds(const dt_model_config *c, const char **key)
{
    *key = obstacle(c);
    return *key == NULL;
}

dt_status dt_hf_mixtral_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed =
        json_object_set_new(json, "hidden_act", json_string(dt_hf_activation_name(c->activation_func)));
    failed |= json_object_set_new(json, "sliding_window", json_null());
    return failed ? dt_fail_memory(err, 256, "config.json") : dt_hf_write_rope(c, json, err);
}
