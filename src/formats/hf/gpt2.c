/*
 * gpt2.c (hf) - config.json of GPT-2, where a number does not simply carry over.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void dt_hf_gpt2_defaults(dt_model_config *c)
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

static dt_status refuse_true(const json_t *json, const char *key, dt_error *err)
{
    bool value = false;
    DT_PASS(dt_json_bool(json, key, &value, err));
    return value ? dt_fail(err, DT_UNSUPPORTED,
                           "config.json: \"%s\" is true, which drivetrain does not compute", key)
                 : DT_OK;
}

dt_status dt_hf_gpt2_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                          dt_error *err)
{
    const char *activation = NULL;
    bool scaled = true;
    DT_PASS(dt_json_string(json, "activation_function", &activation, err));
    if (activation)
        DT_PASS(dt_hf_read_activation("activation_function", activation, &c->activation_func, err));
    DT_PASS(refuse_true(json, "add_cross_attention", err));
    DT_PASS(refuse_true(json, "scale_attn_by_inverse_layer_idx", err));
    DT_PASS(dt_json_bool(json, "scale_attn_weights", &scaled, err));
    c->softmax_scale = scaled ? 0 : 1;
    c->share_embeddings_and_output_weights = !evidence->head;
    return DT_OK;
}

/* ---- writing ---- */

static const char *obstacle(const dt_model_config *c)
{
    if (strcmp(c->model_type, "gpt") != 0)
        return "model_type";
    if (c->num_moe_experts)
        return "num_moe_experts";
    if (c->position_embedding_type != DT_POSITION_LEARNED)
        return "position_embedding_type";
    if (c->normalization != DT_NORM_LAYERNORM)
        return "normalization";
    if (c->layernorm_zero_centered_gamma)
        return "layernorm_zero_centered_gamma";
    if (!c->add_bias_linear)
        return "add_bias_linear";
    if (c->gated_linear_unit)
        return "gated_linear_unit";
    if (c->num_query_groups != c->num_attention_heads)
        return "num_query_groups";
    if (c->kv_channels * c->num_attention_heads != c->hidden_size)
        return "kv_channels";
    if (c->qk_layernorm)
        return "qk_layernorm";
    if (c->softmax_scale != 1.0 && c->softmax_scale != 1.0 / sqrt((double)c->kv_channels))
        return "softmax_scale";
    return dt_hf_activation_name(c->activation_func) ? NULL : "activation_func";
}

bool dt_hf_gpt2_holds(const dt_model_config *c, const char **key)
{
    *key = obstacle(c);
    return *key == NULL;
}

dt_status dt_hf_gpt2_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool scaled = c->softmax_scale != 1.0 || c->kv_channels == 1;
    int failed = json_object_set_new(json, "activation_function",
                                     json_string(dt_hf_activation_name(c->activation_func)));
    failed |= json_object_set_new(json, "scale_attn_weights", json_boolean(scaled));
    return failed ? dt_fail_memory(err, 256, "config.json") : DT_OK;
}
