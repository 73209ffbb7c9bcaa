/*
 * llama.c (hf) - config.json of Llama, where a number does not simply carry over.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

dt_status dt_hf_llama_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                           dt_error *err)
{
    const char *activation = NULL;
    DT_PASS(dt_json_string(json, "hidden_act", &activation, err));
    if (activation)
        DT_PASS(dt_hf_read_activation("hidden_act", activation, &c->activation_func, err));
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    c->share_embeddings_and_output_weights = !evidence->head;
    return dt_hf_read_rope(c, json, err);
}

/* ---- writing ---- */

static bool has_qkv_bias(const dt_model_config *c)
{
    return c->add_bias_linear || c->add_qkv_bias;
}

const char *dt_hf_llama_obstacle(const dt_model_config *c)
{
    if (strcmp(c->model_type, "gpt") != 0)
        return "model_type";
    if (c->position_embedding_type != DT_POSITION_ROPE)
        return "position_embedding_type";
    if (c->rotary_percent != 1)
        return "rotary_percent";
    if (c->rotary_interleaved)
        return "rotary_interleaved";
    if (c->rope_scaling_type > DT_ROPE_LLAMA3)
        return "x_rope_scaling_type";
    if (c->normalization != DT_NORM_RMSNORM)
        return "normalization";
    if (c->layernorm_zero_centered_gamma)
        return "layernorm_zero_centered_gamma";
    if (!c->gated_linear_unit)
        return "gated_linear_unit";
    if (has_qkv_bias(c) != (c->add_bias_linear || c->attention_output_bias))
        return "add_qkv_bias"; /* attention_bias gives q, k, v and the output one, or none */
    if (c->qk_layernorm)
        return "qk_layernorm";
    if (c->softmax_scale != 1.0 / sqrt((double)c->kv_channels))
        return "softmax_scale";
    if (c->max_sequence_length < 1)
        return "max_sequence_length";
    return dt_hf_activation_name(c->activation_func) ? NULL : "activation_func";
}

bool dt_hf_llama_holds(const dt_model_config *c, const char **key)
{
    *key = c->num_moe_experts ? "num_moe_experts" : dt_hf_llama_obstacle(c);
    return *key == NULL;
}

dt_status dt_hf_llama_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed =
        json_object_set_new(json, "hidden_act", json_string(dt_hf_activation_name(c->activation_func)));
    failed |= json_object_set_new(json, "attention_bias", json_boolean(has_qkv_bias(c)));
    failed |= json_object_set_new(json, "mlp_bias", json_boolean(c->add_bias_linear || c->mlp_bias));
    return failed ? dt_fail_memory(err, 256, "config.json") : dt_hf_write_rope(c, json, err);
}
