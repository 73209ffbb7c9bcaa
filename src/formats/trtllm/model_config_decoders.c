/*
 * model_config_decoders.c (trtllm) - config.json of the classes that decode: what each has beyond the common keys.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/trtllm/model_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- GPT ---- */

int dt_trtllm_write_gpt(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    double scaling = 1 / (c->softmax_scale * sqrt((double)c->kv_channels));
    return dt_trtllm_write_helper(c, p, json) |
           PUT(json, {"q_scaling", json_real(fabs(scaling - 1) < 1e-9 ? 1 : scaling)},
               {"embedding_scale",
                c->embedding_multiplier ? json_real(c->embedding_multiplier) : json_null()},
               {"rotary_scaling", dt_trtllm_rotary_scaling_json(c)}, {"moe", dt_trtllm_moe_json(c)},
               {"rotary_embedding_dim", json_integer(c->kv_channels)});
}

dt_status dt_trtllm_read_gpt(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    double scaling = 1;
    DT_PASS(dt_trtllm_read_rotary(json[0], c, err));
    DT_PASS(dt_trtllm_read_experts(json[0], c, err));
    DT_PASS(dt_json_bool(json[0], "bias", &c->add_bias_linear, err));
    DT_PASS(dt_json_real(json[0], "q_scaling", &scaling, err));
    DT_PASS(dt_json_real(json[0], "embedding_scale", &c->embedding_multiplier, err));
    if (!(scaling > 0))
        return dt_fail(err, DT_FORMAT, "key \"q_scaling\" is %g", scaling);
    if (scaling != 1 && c->kv_channels > 0)
        c->softmax_scale = 1 / (scaling * sqrt((double)c->kv_channels));
    return DT_OK;
}

/* ---- Llama, Mixtral ---- */

static bool has_qkv_bias(const dt_model_config *c)
{
    return c->add_bias_linear || c->add_qkv_bias;
}

int dt_trtllm_write_llama(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    return dt_trtllm_write_helper(c, p, json) |
           PUT(json, {"mlp_bias", json_boolean(c->add_bias_linear || c->mlp_bias)},
               {"attn_bias", json_boolean(has_qkv_bias(c))},
               {"rotary_scaling", dt_trtllm_rotary_scaling_json(c)}, {"residual_mlp", json_false()},
               {"disable_weight_only_quant_plugin", json_false()}, {"moe", dt_trtllm_moe_json(c)},
               {"remove_duplicated_kv_heads", json_false()}, {"fc_after_embed", json_false()},
               {"use_input_layernorm_in_first_layer", json_true()}, {"use_last_layernorm", json_true()},
               {"layer_idx_offset", json_integer(0)},
               {"embedding_multiplier", json_real(c->embedding_multiplier ? c->embedding_multiplier : 1)},
               {"attention_multiplier", json_real(1)}, {"residual_multiplier", json_real(1)},
               {"output_multiplier_scale", json_real(1)});
}

static dt_status read_split_biases(const json_t *json, dt_model_config *c, dt_error *err)
{
    bool attention = false;
    DT_PASS(dt_json_bool(json, "attn_bias", &attention, err));
    DT_PASS(dt_json_bool(json, "mlp_bias", &c->mlp_bias, err));
    c->add_bias_linear = false;
    c->add_qkv_bias = c->attention_output_bias = attention;
    return DT_OK;
}

static void be_rms(dt_model_config *c)
{
    c->normalization = DT_NORM_RMSNORM;
    c->gated_linear_unit = true;
}

dt_status dt_trtllm_read_llama(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    static const char *const ones[] = {"attention_multiplier", "residual_multiplier",
                                       "output_multiplier_scale"};
    be_rms(c);
    DT_PASS(dt_trtllm_read_rotary(json[0], c, err));
    DT_PASS(dt_trtllm_read_experts(json[0], c, err));
    DT_PASS(dt_json_real(json[0], "embedding_multiplier", &c->embedding_multiplier, err));
    for (int i = 0; i < COUNT(ones); i++) {
        double one = 1;
        DT_PASS(dt_json_real(json[0], ones[i], &one, err));
        if (one != 1)
            return dt_fail(err, DT_UNSUPPORTED, "key \"%s\" is %g, which drivetrain does not compute",
                           ones[i], one);
    }
    return read_split_biases(json[0], c, err);
}

/* ---- Qwen 2 and 3 ---- */

int dt_trtllm_write_qwen(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    return dt_trtllm_write_helper(c, p, json) |
           PUT(json, {"qwen_type", json_string(p->type->name)}, {"mlp_bias", json_false()},
               {"attn_bias", json_boolean(has_qkv_bias(c))},
               {"rotary_scaling", dt_trtllm_rotary_scaling_json(c)},
               {"disable_weight_only_quant_plugin", json_false()}, {"seq_length", json_integer(8192)},
               {"use_logn_attn", json_false()}, {"num_labels", json_integer(1)},
               {"moe", dt_trtllm_moe_json(c)},
               {"tie_word_embeddings", json_boolean(c->share_embeddings_and_output_weights)});
}

dt_status dt_trtllm_read_qwen(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    const char *type = "qwen2";
    be_rms(c);
    DT_PASS(dt_json_string(json[0], "qwen_type", &type, err));
    if (strcmp(type, "qwen2") != 0 && strcmp(type, "qwen3") != 0)
        return dt_fail(err, DT_UNSUPPORTED, "key \"qwen_type\" is \"%s\"; qwen2 and qwen3 are read", type);
    DT_PASS(dt_trtllm_read_rotary(json[0], c, err));
    DT_PASS(dt_trtllm_read_experts(json[0], c, err));
    c->add_qkv_bias = true;
    DT_PASS(dt_json_bool(json[0], "attn_bias", &c->add_qkv_bias, err));
    c->add_bias_linear = c->attention_output_bias = false;
    return DT_OK;
}

/* ---- Falcon ---- */

int dt_trtllm_write_falcon(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    bool two = c->parallel_residual && !c->parallel_shared_norm;
    int failed = dt_trtllm_write_helper(c, p, json) | dt_trtllm_write_flat_moe(c, json);
    if (c->rope_scaling_type != DT_ROPE_PLAIN)
        failed |= json_object_set_new(json, "rotary_scaling", dt_trtllm_rotary_scaling_json(c));
    return failed | PUT(json, {"new_decoder_architecture", json_boolean(two)},
                        {"parallel_attention", json_boolean(c->parallel_residual)});
}

dt_status dt_trtllm_read_falcon(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    bool grouped = false;
    c->add_bias_linear = false;
    DT_PASS(dt_trtllm_read_rotary(json[0], c, err));
    DT_PASS(dt_json_bool(json[0], "bias", &c->add_bias_linear, err));
    DT_PASS(dt_json_bool(json[0], "parallel_attention", &c->parallel_residual, err));
    DT_PASS(dt_json_bool(json[0], "new_decoder_architecture", &grouped, err));
    c->parallel_shared_norm = c->parallel_residual && !grouped;
    return dt_trtllm_read_experts(json[0], c, err);
}

/* ---- Gemma, Gemma 2 ---- */

static int write_gemma(const dt_model_config *c, const dt_trtllm_plan *p, bool four, json_t *json)
{
    return dt_trtllm_write_helper(c, p, json) | dt_trtllm_write_flat_moe(c, json) |
           PUT(json, {"attn_bias", json_boolean(has_qkv_bias(c))},
               {"mlp_bias", json_boolean(c->add_bias_linear || c->mlp_bias)},
               {"rotary_scaling", dt_trtllm_rotary_scaling_json(c)}, {"share_embedding_table", json_true()},
               {"inter_layernorms", json_boolean(four)});
}

int dt_trtllm_write_gemma(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    return write_gemma(c, p, false, json);
}

int dt_trtllm_write_gemma2(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    return write_gemma(c, p, true, json) |
           PUT(json,
               {"query_pre_attn_scalar",
                dt_trtllm_number(round(1e6 / (c->softmax_scale * c->softmax_scale)) / 1e6)},
               {"final_logit_softcapping",
                c->final_logit_softcapping ? json_real(c->final_logit_softcapping) : json_null()},
               {"attn_logit_softcapping",
                c->attention_soft_cap ? json_real(c->attention_soft_cap) : json_null()});
}

dt_status dt_trtllm_read_gemma(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    be_rms(c);
    c->embedding_multiplier = sqrt((double)c->hidden_size);
    DT_PASS(dt_trtllm_read_rotary(json[0], c, err));
    DT_PASS(dt_trtllm_read_experts(json[0], c, err));
    return read_split_biases(json[0], c, err);
}

dt_status dt_trtllm_read_gemma2(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    double scalar = 0;
    DT_PASS(dt_trtllm_read_gemma(c, json, err));
    c->norm_placement = DT_NORM_BOTH;
    DT_PASS(dt_json_real(json[0], "query_pre_attn_scalar", &scalar, err));
    DT_PASS(dt_json_real(json[0], "final_logit_softcapping", &c->final_logit_softcapping, err));
    DT_PASS(dt_json_real(json[0], "attn_logit_softcapping", &c->attention_soft_cap, err));
    if (!(scalar >= 1))
        return dt_fail(err, DT_FORMAT, "key \"query_pre_attn_scalar\" is %g, expected at least 1", scalar);
    c->softmax_scale = 1 / sqrt(scalar);
    return DT_OK;
}

/* ---- Nemotron-NAS ---- */

static const char *const attention_kinds[] = {
    [DT_BRANCH_FULL] = "attention", [DT_BRANCH_LINEAR] = "linear", [DT_BRANCH_NONE] = "no_op"};
static const char *const mlp_kinds[] = {
    [DT_BRANCH_FULL] = "mlp", [DT_BRANCH_LINEAR] = "linear", [DT_BRANCH_NONE] = "no_op"};

static json_t *size_or_null(dt_branch_kind kind, int64_t size)
{
    return kind == DT_BRANCH_FULL ? json_integer(size) : json_null();
}

int dt_trtllm_write_deci(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    json_t *layers = json_array(), *types = json_array(), *heads = json_array();
    for (int64_t i = 0; i < c->num_layers; i++) {
        dt_layer_shape s = dt_config_layer_shape(c, i);
        json_array_append_new(layers, json_pack("{s:{s:s, s:o}, s:{s:s, s:o}}", "attention", "impl",
                                                attention_kinds[s.attention], "num_key_value_heads",
                                                size_or_null(s.attention, s.num_query_groups), "ffn", "impl",
                                                mlp_kinds[s.mlp], "intermediate_size",
                                                size_or_null(s.mlp, s.ffn_hidden_size)));
        json_array_append_new(types, json_string(attention_kinds[s.attention]));
        if (s.attention == DT_BRANCH_FULL)
            json_array_append_new(heads, json_integer(s.num_query_groups));
    }
    return dt_trtllm_write_helper(c, p, json) | dt_trtllm_write_flat_moe(c, json) |
           PUT(json, {"rotary_scaling", dt_trtllm_rotary_scaling_json(c)}, {"layer_configs", layers},
               {"layer_types", types}, {"num_kv_heads_per_layer", heads});
}

static dt_status read_kind(const json_t *part, const char *const words[], dt_branch_kind *out, dt_error *err)
{
    const char *word = words[DT_BRANCH_FULL];
    DT_PASS(dt_json_string(part, "impl", &word, err));
    for (int i = 0; i <= DT_BRANCH_NONE; i++)
        if (words[i] && strcmp(words[i], word) == 0) {
            *out = (dt_branch_kind)i;
            return DT_OK;
        }
    return dt_fail(err, DT_FORMAT, "key \"impl\" is \"%s\"", word);
}

static dt_status read_shape(const json_t *layer, const dt_model_config *c, dt_layer_shape *out, dt_error *err)
{
    const json_t *attention = dt_json_get(layer, "attention"), *ffn = dt_json_get(layer, "ffn");
    int64_t groups = c->num_query_groups, width = c->ffn_hidden_size;
    if (!json_is_object(attention) || !json_is_object(ffn))
        return dt_fail(err, DT_FORMAT, "it has no objects \"attention\" and \"ffn\"");
    DT_PASS(read_kind(attention, attention_kinds, &out->attention, err));
    DT_PASS(read_kind(ffn, mlp_kinds, &out->mlp, err));
    DT_PASS(dt_json_int(attention, "num_key_value_heads", &groups, err));
    DT_PASS(dt_json_int(ffn, "intermediate_size", &width, err));
    if (groups < 1 || groups > INT32_MAX || width < 1 || width > INT32_MAX)
        return dt_fail(err, DT_FORMAT, "its sizes are %lld and %lld", (long long)groups, (long long)width);
    out->num_query_groups = (int32_t)groups;
    out->ffn_hidden_size = (int32_t)width;
    return DT_OK;
}

dt_status dt_trtllm_read_deci(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    const json_t *list = dt_json_get(json[0], "layer_configs");
    be_rms(c);
    c->add_bias_linear = false;
    DT_PASS(dt_trtllm_read_rotary(json[0], c, err));
    DT_PASS(dt_trtllm_read_experts(json[0], c, err));
    if (!list)
        return dt_json_get(json[0], "block_configs")
                   ? dt_fail(err, DT_UNSUPPORTED, "key \"block_configs\" is not read, \"layer_configs\" is")
                   : DT_OK;
    if (!json_is_array(list) || json_array_size(list) > DT_MAX_SHAPES)
        return dt_fail(err, DT_FORMAT, "key \"layer_configs\" is no list of at most %d layers",
                       DT_MAX_SHAPES);
    c->shape_count = (int)json_array_size(list);
    for (int i = 0; i < c->shape_count; i++)
        DT_TRY(read_shape(json_array_get(list, (size_t)i), c, &c->shape[i], err), err,
               "while reading layer %d of \"layer_configs\"", i);
    return DT_OK;
}
