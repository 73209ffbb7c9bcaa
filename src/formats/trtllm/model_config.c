/*
 * model_config.c (trtllm) - config.json of each class: what TensorRT-LLM's configuration classes write for such a model, and
 * what a model whose configuration says so computes.
 *
 * Every key is written that the classes' own to_dict gives, defaults too, so that a file is the one that Megatron's
 * exporter makes. Where that is wrong (docs/trtllm.md lists it) the file is right instead: gates of GPT, biases of Llama,
 * the parallel embedding of Gemma.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/trtllm/trtllm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* ---- words ---- */

/* TensorRT-LLM's gelu is the tanh form, whichever form a model was trained with. */
static const struct {
    dt_activation activation;
    const char *plain, *gated;
} activations[] = {
    {DT_ACT_GELU_TANH, "gelu", "geglu"},
    {DT_ACT_GELU, "gelu", "geglu"},
    {DT_ACT_SILU, "silu", "swiglu"},
    {DT_ACT_RELU, "relu", NULL},
    {DT_ACT_SQUARED_RELU, "squared-relu", NULL},
    {DT_ACT_QUICK_GELU, "quick_gelu", NULL},
    {DT_ACT_GELU_TANH, "gelu_new", NULL},
    {DT_ACT_GELU_TANH, "gelu_pytorch_tanh", NULL},
    {DT_ACT_GELU_TANH, "gelu_fast", NULL},
    {DT_ACT_SQUARED_RELU, "relu2", NULL},
};

static const char *activation_word(const dt_model_config *c, bool gated)
{
    for (int i = 0; i < COUNT(activations); i++)
        if (activations[i].activation == c->activation_func)
            return gated ? activations[i].gated : activations[i].plain;
    return NULL;
}

static const char *const position_words[] = {
    [DT_POSITION_LEARNED] = "learned_absolute",
    [DT_POSITION_ROPE] = "rope_gpt_neox",
    [DT_POSITION_RELATIVE] = "relative",
    [DT_POSITION_ALIBI] = "alibi_with_scale",
};

static const char *position_word(const dt_model_config *c)
{
    if (c->position_embedding_type == DT_POSITION_ROPE && c->rotary_interleaved)
        return "rope_gptj";
    return (int)c->position_embedding_type < COUNT(position_words)
               ? position_words[c->position_embedding_type]
               : NULL;
}

/* A number, without a point where it has no fraction. */
static json_t *number(double x)
{
    return x == floor(x) && fabs(x) < 1e15 ? json_integer((json_int_t)x) : json_real(x);
}

static json_t *word_or_null(const char *word)
{
    return word ? json_string(word) : json_null();
}

/* Is the class's gated MLP told from its activation's name? Elsewhere it always has one. */
static bool names_gate(const dt_model_config *c, const char *architecture)
{
    return c->gated_linear_unit && (c->num_moe_experts > 0 || strcmp(architecture, "GPTForCausalLM") == 0);
}

/* ---- writing: what all classes have ---- */

static json_t *mapping_json(const dt_trtllm_plan *p)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b}", "world_size",
                     p->tensor * p->pipeline, "gpus_per_node", 8, "cp_size", 1, "tp_size", p->tensor,
                     "pp_size", p->pipeline, "moe_tp_size", p->tensor, "moe_cluster_size", 1, "moe_ep_size",
                     1, "attn_tp_size", p->tensor, "attn_cp_size", 1, "auto_parallel", 0);
}

static json_t *quantization_json(const dt_trtllm_plan *p)
{
    bool grouped = p->group > 0;
    return json_pack("{s:o, s:o, s:I, s:f, s:n, s:b, s:b, s:b, s:o}", "quant_algo",
                     word_or_null(p->quant_algo), "kv_cache_quant_algo", word_or_null(p->kv_cache),
                     "group_size", (json_int_t)(grouped ? p->group : 128), "smoothquant_val", 0.5,
                     "clamp_val", "use_meta_recipe", 0, "has_zero_point", 0, "pre_quant_scale", grouped,
                     "exclude_modules", grouped ? json_pack("[s]", "lm_head") : json_null());
}

static json_t *rotary_scaling_json(const dt_model_config *c)
{
    json_t *json;
    if (c->position_embedding_type != DT_POSITION_ROPE || c->rope_scaling_type == DT_ROPE_PLAIN)
        return json_null();
    json = json_pack("{s:s, s:f}", "type", c->rope_scaling_type == DT_ROPE_LINEAR ? "linear" : "llama3",
                     "factor", c->rope_scaling_factor);
    if (c->rope_scaling_type == DT_ROPE_LLAMA3 &&
        (c->rope_low_freq_factor != 1 || c->rope_high_freq_factor != 4 ||
         c->rope_original_max_position != 8192)) {
        json_object_set_new(json, "low_freq_factor", json_real(c->rope_low_freq_factor));
        json_object_set_new(json, "high_freq_factor", json_real(c->rope_high_freq_factor));
        json_object_set_new(json, "original_max_position_embeddings",
                            json_integer(c->rope_original_max_position));
    }
    return json;
}

typedef struct pair {
    const char *key;
    json_t *value;
} pair;

static int put(json_t *json, const pair *list, int count)
{
    int failed = 0;
    for (int i = 0; i < count; i++)
        failed |= json_object_set_new(json, list[i].key, list[i].value);
    return failed;
}
#define PUT(json, ...) put(json, (pair[]){__VA_ARGS__}, COUNT(((pair[]){__VA_ARGS__})))

static int64_t mlp_width(const dt_model_config *c)
{
    return c->num_moe_experts ? c->moe_ffn_hidden_size : c->ffn_hidden_size;
}

/* What the class is called for one part: two have a class each. */
static const char *architecture_of(const dt_trtllm_plan *p, int part)
{
    return p->type->parts == 2 && part == 0 ? "EncoderModel" : p->type->architecture;
}

static int write_common(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    const char *architecture = architecture_of(p, part);
    int64_t rows = p->head_rows ? p->head_rows : c->padded_vocab_size;
    const pair list[] = {
        {"architecture", json_string(architecture)},
        {"dtype", json_string(p->dtype)},
        {"logits_dtype", json_string("float32")},
        {"vocab_size", json_integer(rows)},
        {"hidden_size", json_integer(c->hidden_size)},
        {"num_hidden_layers", json_integer(dt_trtllm_layers(c, p->type->names[part]))},
        {"num_attention_heads", json_integer(c->num_attention_heads)},
        {"num_key_value_heads", json_integer(c->num_query_groups)},
        {"head_size", json_integer(c->kv_channels)},
        {"intermediate_size", json_integer(mlp_width(c))},
        {"hidden_act", word_or_null(activation_word(c, names_gate(c, architecture)))},
        {"norm_epsilon", json_real(c->layernorm_epsilon)},
        {"position_embedding_type", word_or_null(position_word(c))},
        {"max_position_embeddings",
         c->max_sequence_length > 0 ? json_integer(c->max_sequence_length) : json_null()},
        {"use_parallel_embedding", json_boolean(p->parallel_embedding)},
        {"embedding_sharding_dim", json_integer(0)},
        {"mapping", mapping_json(p)},
        {"quantization", quantization_json(p)},
        {"runtime_defaults", json_null()},
    };
    return put(json, list, COUNT(list));
}

/* What Megatron's helper passes to every class, whether it reads it or not. */
static int write_helper(const dt_model_config *c, const dt_trtllm_plan *p, json_t *json)
{
    double part = c->position_embedding_type == DT_POSITION_ROPE ? c->rotary_percent : 1;
    return PUT(json, {"qk_layernorm", json_boolean(c->qk_layernorm)},
               {"bias", json_boolean(c->add_bias_linear)}, {"apply_query_key_layer_scaling", json_false()},
               {"rotary_pct", json_real(part)}, {"rotary_base", number(c->rotary_base)},
               {"rotary_embedding_dim", json_integer((json_int_t)((double)c->kv_channels * part))},
               {"share_embedding_table", json_boolean(c->share_embeddings_and_output_weights)},
               {"moe_tp_mode", json_integer(2)}, {"world_size", json_integer(p->tensor * p->pipeline)},
               {"tp_size", json_integer(p->tensor)}, {"pp_size", json_integer(p->pipeline)},
               {"gpus_per_node", json_integer(p->tensor)});
}

/* A model without experts counts as one of one expert, of which the router's default number would be taken. */
static int experts_of(const dt_model_config *c)
{
    return c->moe_router_topk == 0 ? 0 : c->num_moe_experts ? (int)c->num_moe_experts : 1;
}

/* 1: weights of the experts taken sum to one; 0: they are of a softmax over all. */
static int renormalized(const dt_model_config *c)
{
    return c->num_moe_experts && c->moe_router_pre_softmax ? 0 : 1;
}

static json_t *moe_json(const dt_model_config *c)
{
    return json_pack("{s:i, s:I, s:i, s:f, s:i, s:i, s:i, s:i, s:f}", "num_experts", experts_of(c), "top_k",
                     (json_int_t)c->moe_router_topk, "normalization_mode", renormalized(c),
                     "sparse_mixer_epsilon", 0.01, "tp_mode", 0, "shared_expert_intermediate_size", 0,
                     "device_limited_n_group", 0, "device_limited_topk_group", 0,
                     "device_limited_routed_scaling_factor", 1.0);
}

static int write_flat_moe(const dt_model_config *c, json_t *json)
{
    return PUT(json, {"moe_num_experts", json_integer(experts_of(c))},
               {"moe_top_k", json_integer(c->moe_router_topk)},
               {"moe_normalization_mode", json_integer(renormalized(c))});
}

/* ---- reading: what all classes have ---- */

static dt_status read_activation(const json_t *json, dt_model_config *c, dt_error *err)
{
    const char *word = "gelu";
    DT_PASS(dt_json_string(json, "hidden_act", &word, err));
    for (int i = 0; i < COUNT(activations); i++) {
        bool gated = activations[i].gated && strcmp(word, activations[i].gated) == 0;
        if (!gated && strcmp(word, activations[i].plain) != 0)
            continue;
        c->activation_func = activations[i].activation;
        c->gated_linear_unit = gated;
        return DT_OK;
    }
    return dt_fail(err, DT_UNSUPPORTED, "key \"hidden_act\" is \"%s\", which drivetrain does not compute",
                   word);
}

static dt_status read_positions(const json_t *json, dt_model_config *c, dt_error *err)
{
    const char *word = "learned_absolute";
    DT_PASS(dt_json_string(json, "position_embedding_type", &word, err));
    DT_PASS(dt_json_int(json, "max_position_embeddings", &c->max_sequence_length, err));
    c->rotary_interleaved = strcmp(word, "rope_gptj") == 0;
    if (c->rotary_interleaved)
        word = "rope_gpt_neox";
    for (int i = 0; i < COUNT(position_words); i++)
        if (position_words[i] && strcmp(position_words[i], word) == 0) {
            c->position_embedding_type = (dt_position_embedding)i;
            return DT_OK;
        }
    return dt_fail(err, DT_UNSUPPORTED,
                   "key \"position_embedding_type\" is \"%s\", which drivetrain does not compute", word);
}

static dt_status read_rotary(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *scaling = dt_json_get(json, "rotary_scaling");
    const char *type = NULL;
    DT_PASS(dt_json_real(json, "rotary_pct", &c->rotary_percent, err));
    DT_PASS(dt_json_real(json, "rotary_base", &c->rotary_base, err));
    if (!scaling)
        return DT_OK;
    if (!json_is_object(scaling))
        return dt_fail(err, DT_FORMAT, "key \"rotary_scaling\" is not an object");
    DT_PASS(dt_json_string(scaling, "rope_type", &type, err));
    DT_PASS(dt_json_string(scaling, "type", &type, err));
    if (!type || (strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0))
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"rotary_scaling\" is of type \"%s\"; linear and llama3 are read",
                       type ? type : "");
    c->rope_scaling_type = strcmp(type, "linear") == 0 ? DT_ROPE_LINEAR : DT_ROPE_LLAMA3;
    DT_PASS(dt_json_real(scaling, "factor", &c->rope_scaling_factor, err));
    DT_PASS(dt_json_real(scaling, "low_freq_factor", &c->rope_low_freq_factor, err));
    DT_PASS(dt_json_real(scaling, "high_freq_factor", &c->rope_high_freq_factor, err));
    return dt_json_int(scaling, "original_max_position_embeddings", &c->rope_original_max_position, err);
}

static dt_status read_experts(const json_t *json, dt_model_config *c, dt_error *err)
{
    const json_t *moe = dt_json_get(json, "moe");
    int64_t experts = 0, mode = 1, top = 0;
    if (json_is_object(moe)) {
        DT_PASS(dt_json_int(moe, "num_experts", &experts, err));
        DT_PASS(dt_json_int(moe, "top_k", &top, err));
        DT_PASS(dt_json_int(moe, "normalization_mode", &mode, err));
    } else {
        DT_PASS(dt_json_int(json, "moe_num_experts", &experts, err));
        DT_PASS(dt_json_int(json, "moe_top_k", &top, err));
        DT_PASS(dt_json_int(json, "moe_normalization_mode", &mode, err));
    }
    c->moe_router_topk = top;
    if (experts < 2)
        return DT_OK;
    if (mode < 0 || mode > 1)
        return dt_fail(err, DT_UNSUPPORTED, "key \"normalization_mode\" is %lld; 0 and 1 are computed",
                       (long long)mode);
    c->num_moe_experts = experts;
    c->moe_router_pre_softmax = mode == 0;
    c->moe_ffn_hidden_size = c->ffn_hidden_size;
    return DT_OK;
}

static dt_status read_common(const json_t *json, dt_model_config *c, dt_error *err)
{
    DT_PASS(dt_json_int(json, "vocab_size", &c->vocab_size, err));
    DT_PASS(dt_json_int(json, "hidden_size", &c->hidden_size, err));
    DT_PASS(dt_json_int(json, "num_attention_heads", &c->num_attention_heads, err));
    DT_PASS(dt_json_int(json, "num_key_value_heads", &c->num_query_groups, err));
    DT_PASS(dt_json_int(json, "head_size", &c->kv_channels, err));
    DT_PASS(dt_json_int(json, "intermediate_size", &c->ffn_hidden_size, err));
    DT_PASS(dt_json_int(json, "num_hidden_layers", &c->num_layers, err));
    DT_PASS(dt_json_real(json, "norm_epsilon", &c->layernorm_epsilon, err));
    DT_PASS(dt_json_bool(json, "qk_layernorm", &c->qk_layernorm, err));
    DT_PASS(read_activation(json, c, err));
    return read_positions(json, c, err);
}

/* ---- GPT ---- */

int dt_trtllm_write_gpt(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    (void)part;
    double scaling = 1 / (c->softmax_scale * sqrt((double)c->kv_channels));
    return write_helper(c, p, json) |
           PUT(json, {"q_scaling", json_real(fabs(scaling - 1) < 1e-9 ? 1 : scaling)},
               {"embedding_scale",
                c->embedding_multiplier ? json_real(c->embedding_multiplier) : json_null()},
               {"rotary_scaling", rotary_scaling_json(c)}, {"moe", moe_json(c)},
               {"rotary_embedding_dim", json_integer(c->kv_channels)});
}

dt_status dt_trtllm_read_gpt(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    double scaling = 1;
    DT_PASS(read_rotary(json[0], c, err));
    DT_PASS(read_experts(json[0], c, err));
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
    return write_helper(c, p, json) |
           PUT(json, {"mlp_bias", json_boolean(c->add_bias_linear || c->mlp_bias)},
               {"attn_bias", json_boolean(has_qkv_bias(c))}, {"rotary_scaling", rotary_scaling_json(c)},
               {"residual_mlp", json_false()}, {"disable_weight_only_quant_plugin", json_false()},
               {"moe", moe_json(c)}, {"remove_duplicated_kv_heads", json_false()},
               {"fc_after_embed", json_false()}, {"use_input_layernorm_in_first_layer", json_true()},
               {"use_last_layernorm", json_true()}, {"layer_idx_offset", json_integer(0)},
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
    DT_PASS(read_rotary(json[0], c, err));
    DT_PASS(read_experts(json[0], c, err));
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
    return write_helper(c, p, json) |
           PUT(json, {"qwen_type", json_string(p->type->name)}, {"mlp_bias", json_false()},
               {"attn_bias", json_boolean(has_qkv_bias(c))}, {"rotary_scaling", rotary_scaling_json(c)},
               {"disable_weight_only_quant_plugin", json_false()}, {"seq_length", json_integer(8192)},
               {"use_logn_attn", json_false()}, {"num_labels", json_integer(1)}, {"moe", moe_json(c)},
               {"tie_word_embeddings", json_boolean(c->share_embeddings_and_output_weights)});
}

dt_status dt_trtllm_read_qwen(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    const char *type = "qwen2";
    be_rms(c);
    DT_PASS(dt_json_string(json[0], "qwen_type", &type, err));
    if (strcmp(type, "qwen2") != 0 && strcmp(type, "qwen3") != 0)
        return dt_fail(err, DT_UNSUPPORTED, "key \"qwen_type\" is \"%s\"; qwen2 and qwen3 are read", type);
    DT_PASS(read_rotary(json[0], c, err));
    DT_PASS(read_experts(json[0], c, err));
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
    int failed = write_helper(c, p, json) | write_flat_moe(c, json);
    if (c->rope_scaling_type != DT_ROPE_PLAIN)
        failed |= json_object_set_new(json, "rotary_scaling", rotary_scaling_json(c));
    return failed | PUT(json, {"new_decoder_architecture", json_boolean(two)},
                        {"parallel_attention", json_boolean(c->parallel_residual)});
}

dt_status dt_trtllm_read_falcon(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    bool grouped = false;
    c->add_bias_linear = false;
    DT_PASS(read_rotary(json[0], c, err));
    DT_PASS(dt_json_bool(json[0], "bias", &c->add_bias_linear, err));
    DT_PASS(dt_json_bool(json[0], "parallel_attention", &c->parallel_residual, err));
    DT_PASS(dt_json_bool(json[0], "new_decoder_architecture", &grouped, err));
    c->parallel_shared_norm = c->parallel_residual && !grouped;
    return read_experts(json[0], c, err);
}

/* ---- Gemma, Gemma 2 ---- */

static int write_gemma(const dt_model_config *c, const dt_trtllm_plan *p, bool four, json_t *json)
{
    return write_helper(c, p, json) | write_flat_moe(c, json) |
           PUT(json, {"attn_bias", json_boolean(has_qkv_bias(c))},
               {"mlp_bias", json_boolean(c->add_bias_linear || c->mlp_bias)},
               {"rotary_scaling", rotary_scaling_json(c)}, {"share_embedding_table", json_true()},
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
               {"query_pre_attn_scalar", number(round(1e6 / (c->softmax_scale * c->softmax_scale)) / 1e6)},
               {"final_logit_softcapping",
                c->final_logit_softcapping ? json_real(c->final_logit_softcapping) : json_null()},
               {"attn_logit_softcapping",
                c->attention_soft_cap ? json_real(c->attention_soft_cap) : json_null()});
}

dt_status dt_trtllm_read_gemma(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    be_rms(c);
    c->embedding_multiplier = sqrt((double)c->hidden_size);
    DT_PASS(read_rotary(json[0], c, err));
    DT_PASS(read_experts(json[0], c, err));
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
    return write_helper(c, p, json) | write_flat_moe(c, json) |
           PUT(json, {"rotary_scaling", rotary_scaling_json(c)}, {"layer_configs", layers},
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
    DT_PASS(read_rotary(json[0], c, err));
    DT_PASS(read_experts(json[0], c, err));
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

/* ---- T5 and BART ---- */

static bool has_bias(const dt_model_config *c)
{
    return c->add_bias_linear || c->add_qkv_bias;
}

static bool is_implicit(const dt_trtllm_type *type)
{
    return type->names[1] == &dt_trtllm_implicit_names;
}

static int write_decoder(const dt_model_config *c, const dt_trtllm_plan *p, json_t *json)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    const pair tokens[] = {
        {"decoder_start_token_id", json_integer(c->decoder_start_token_id)},
        {"eos_token_id", c->eos_count ? json_integer(c->eos_token_ids[0]) : json_null()},
        {"bos_token_id", c->bos_token_id >= 0 ? json_integer(c->bos_token_id) : json_null()},
        {"pad_token_id", c->pad_token_id >= 0 ? json_integer(c->pad_token_id) : json_null()}};
    return put(json, tokens, COUNT(tokens)) |
           PUT(json, {"rescale_before_lm_head", json_boolean(c->scale_decoder_outputs)},
               {"encoder_hidden_size", json_integer(c->hidden_size)},
               {"encoder_num_heads", json_integer(encoder.num_attention_heads)},
               {"encoder_head_size", json_integer(encoder.kv_channels)}, {"skip_cross_kv", json_false()},
               {"use_implicit_relative_attention", json_boolean(is_implicit(p->type))},
               {"has_lm_head_bias", json_boolean(dt_config_has_output_bias(c))});
}

int dt_trtllm_write_encdec(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    const dt_model_config *own = part == 0 ? &encoder : c;
    bool relative = c->position_embedding_type == DT_POSITION_RELATIVE;
    bool learned = c->position_embedding_type == DT_POSITION_LEARNED;
    int64_t words = part == 0 && c->encoder_vocab_size > 0 ? c->encoder_vocab_size
                    : p->head_rows                         ? p->head_rows
                                                           : c->padded_vocab_size;
    double scaling = 1 / (own->softmax_scale * sqrt((double)own->kv_channels));
    const pair list[] = {
        {"vocab_size", json_integer(words)},
        {"num_attention_heads", json_integer(own->num_attention_heads)},
        {"num_key_value_heads", json_integer(own->num_attention_heads)},
        {"head_size", json_integer(own->kv_channels)},
        {"intermediate_size", json_integer(own->ffn_hidden_size)},
        {"max_position_embeddings", json_integer(c->max_sequence_length > 0 ? c->max_sequence_length : 512)},
        {"gated_act", json_boolean(c->gated_linear_unit)},
        {"mlp_type", json_integer(c->gated_linear_unit)},
        {"relative_attention", json_boolean(relative)},
        {"num_buckets", relative ? json_integer(c->relative_attention_num_buckets) : json_null()},
        {"max_distance", relative ? json_integer(c->relative_attention_max_distance) : json_null()},
        {"has_position_embedding", json_boolean(learned)},
        {"type_vocab_size", json_null()},
        {"has_token_type_embedding", json_false()},
        {"has_embedding_layernorm", json_boolean(c->embedding_layernorm)},
        {"has_embedding_scale", json_boolean(c->embedding_multiplier != 0)},
        {"has_attention_qkvo_bias", json_boolean(has_bias(c))},
        {"has_mlp_bias", json_boolean(c->add_bias_linear || c->mlp_bias)},
        {"has_model_final_layernorm", json_boolean(c->norm_placement != DT_NORM_AFTER)},
        {"layernorm_type", json_integer(c->normalization == DT_NORM_RMSNORM)},
        {"layernorm_position", json_integer(c->norm_placement == DT_NORM_AFTER)},
        {"q_scaling", json_real(fabs(scaling - 1) < 1e-9 ? 1 : scaling)},
        {"model_type", json_string(learned ? "bart" : "t5")},
    };
    int failed = put(json, list, COUNT(list));
    return part == 0 ? failed : failed | write_decoder(c, p, json);
}

static dt_status read_norms(const json_t *json, dt_model_config *c, dt_error *err)
{
    int64_t type = 0, position = 0;
    bool final = true;
    DT_PASS(dt_json_int(json, "layernorm_type", &type, err));
    DT_PASS(dt_json_int(json, "layernorm_position", &position, err));
    DT_PASS(dt_json_bool(json, "has_model_final_layernorm", &final, err));
    DT_PASS(dt_json_bool(json, "has_embedding_layernorm", &c->embedding_layernorm, err));
    if (type < 0 || type > 1 || position < 0 || position > 1 || final == (position == 1))
        return dt_fail(
            err, DT_UNSUPPORTED,
            "keys \"layernorm_type\" %lld, \"layernorm_position\" %lld and \"has_model_final_layernorm\" "
            "%d together are not computed",
            (long long)type, (long long)position, final);
    c->normalization = type == 1 ? DT_NORM_RMSNORM : DT_NORM_LAYERNORM;
    c->norm_placement = position == 1 ? DT_NORM_AFTER : DT_NORM_BEFORE;
    return DT_OK;
}

static dt_status read_scales(const json_t *json, dt_model_config *c, dt_error *err)
{
    double scaling = 1;
    bool scaled = false;
    DT_PASS(dt_json_real(json, "q_scaling", &scaling, err));
    DT_PASS(dt_json_bool(json, "has_embedding_scale", &scaled, err));
    DT_PASS(dt_json_bool(json, "rescale_before_lm_head", &c->scale_decoder_outputs, err));
    if (!(scaling > 0))
        return dt_fail(err, DT_FORMAT, "key \"q_scaling\" is %g", scaling);
    if (c->kv_channels > 0)
        c->softmax_scale = 1 / (scaling * sqrt((double)c->kv_channels));
    if (fabs(c->softmax_scale - 1) < 1e-9)
        c->softmax_scale = 1;
    if (scaled)
        c->embedding_multiplier = sqrt((double)c->hidden_size);
    return DT_OK;
}

/* json[0] is the encoder's, json[1] the decoder's, which the common keys were read from. */
dt_status dt_trtllm_read_encdec(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    bool bias = false, head_bias = false;
    int64_t gate = 0, words = c->vocab_size;
    snprintf(c->model_type, sizeof c->model_type, "t5");
    DT_PASS(dt_json_int(json[0], "num_hidden_layers", &c->encoder_num_layers, err));
    DT_PASS(dt_json_int(json[0], "vocab_size", &words, err));
    DT_PASS(dt_json_int(json[0], "num_attention_heads", &c->encoder_num_attention_heads, err));
    DT_PASS(dt_json_int(json[0], "intermediate_size", &c->encoder_ffn_hidden_size, err));
    c->decoder_num_layers = c->num_layers;
    DT_PASS(dt_json_int(json[1], "num_buckets", &c->relative_attention_num_buckets, err));
    DT_PASS(dt_json_int(json[1], "max_distance", &c->relative_attention_max_distance, err));
    DT_PASS(dt_json_int(json[1], "mlp_type", &gate, err));
    c->gated_linear_unit = gate == 1;
    DT_PASS(dt_json_bool(json[1], "has_attention_qkvo_bias", &bias, err));
    c->add_bias_linear = bias;
    DT_PASS(dt_json_bool(json[1], "has_lm_head_bias", &head_bias, err));
    c->no_output_layer_bias = !head_bias; /* where the head is the embedding */
    c->output_layer_bias = head_bias;     /* where it is not */
    DT_PASS(dt_json_int(json[1], "decoder_start_token_id", &c->decoder_start_token_id, err));
    c->positions_per_stack = c->position_embedding_type == DT_POSITION_LEARNED;
    if (words != c->vocab_size)
        c->encoder_vocab_size = words;
    DT_PASS(read_norms(json[1], c, err));
    return read_scales(json[1], c, err);
}

/* ---- whole files ---- */

dt_status dt_trtllm_write_config(const dt_model_config *c, const dt_trtllm_plan *plan, int part, json_t **out,
                                 dt_error *err)
{
    json_t *json = json_object();
    int failed = !json || write_common(c, plan, part, json);
    failed |= !failed && plan->type->write(c, plan, part, json);
    if (!failed) {
        *out = json;
        return DT_OK;
    }
    json_decref(json);
    return dt_fail_memory(err, 4096, "config.json");
}

/* What the format has no words for, or says less exactly than the model did. */
static void take_hints(const dt_model_config *said, dt_model_config *c)
{
    bool gelu = c->activation_func == DT_ACT_GELU_TANH;
    if (gelu && said->activation_func == DT_ACT_GELU)
        c->activation_func = DT_ACT_GELU;
    if (said->vocab_size > 0 && said->vocab_size <= c->vocab_size)
        c->vocab_size = said->vocab_size;
    c->layernorm_zero_centered_gamma = said->layernorm_zero_centered_gamma;
    c->attention_output_bias &= said->attention_output_bias || said->add_bias_linear;
    c->position_offset = said->position_offset;
    if (c->softmax_scale > 0 && fabs(c->softmax_scale - said->softmax_scale) < 1e-6 * c->softmax_scale)
        c->softmax_scale = said->softmax_scale;
    c->window_left = said->window_left; /* which TensorRT-LLM is told when it runs */
    c->window_attn_skip_freq = said->window_attn_skip_freq;
    c->window_listed = said->window_listed;
    memcpy(c->window_layers, said->window_layers, sizeof c->window_layers);
    c->pad_token_id = said->pad_token_id;
    c->bos_token_id = said->bos_token_id;
    c->eos_count = said->eos_count;
    memcpy(c->eos_token_ids, said->eos_token_ids, sizeof c->eos_token_ids);
    if (strcmp(c->model_type, "t5") == 0) { /* a head is always stored; two tables alike are one */
        c->share_embeddings_and_output_weights = said->share_embeddings_and_output_weights;
        c->encoder_vocab_size = said->encoder_vocab_size;
    }
    if (strcmp(said->model_type, c->model_type) == 0)
        memcpy(c->family, said->family, sizeof c->family);
}

static dt_status read_plan(const json_t *json, dt_trtllm_plan *plan, dt_error *err)
{
    const json_t *mapping = dt_json_get(json, "mapping"), *sizes = mapping ? mapping : json;
    int64_t tensor = 1, pipeline = 1, sharding = 0;
    DT_PASS(dt_json_int(sizes, "tp_size", &tensor, err));
    DT_PASS(dt_json_int(sizes, "pp_size", &pipeline, err));
    DT_PASS(dt_json_bool(json, "use_parallel_embedding", &plan->parallel_embedding, err));
    DT_PASS(dt_json_int(json, "embedding_sharding_dim", &sharding, err));
    if (tensor < 1 || pipeline < 1 || tensor > DT_TRTLLM_RANKS || pipeline > DT_TRTLLM_RANKS ||
        tensor * pipeline > DT_TRTLLM_RANKS)
        return dt_fail(err, DT_UNSUPPORTED, "\"tp_size\" is %lld and \"pp_size\" %lld", (long long)tensor,
                       (long long)pipeline);
    if (plan->parallel_embedding && sharding != 0)
        return dt_fail(err, DT_UNSUPPORTED, "\"embedding_sharding_dim\" is %lld, expected 0",
                       (long long)sharding);
    plan->tensor = (int)tensor;
    plan->pipeline = (int)pipeline;
    return DT_OK;
}

static dt_status read_type(const json_t *json, const dt_trtllm_type **type, dt_error *err)
{
    const char *architecture = NULL;
    if (!json_is_object(json))
        return dt_fail(err, DT_FORMAT, "a configuration must be a JSON object");
    DT_PASS(dt_json_string(json, "architecture", &architecture, err));
    if (!architecture)
        return dt_fail(err, DT_FORMAT, "key \"architecture\" is missing");
    DT_PASS(dt_trtllm_type_of(architecture, type, err));
    bool implicit = false;
    DT_PASS(dt_json_bool(json, "use_implicit_relative_attention", &implicit, err));
    return implicit && (*type)->parts == 2 ? dt_trtllm_type_named("t5_implicit", type, err) : DT_OK;
}

dt_status dt_trtllm_read_config(const json_t *const json[2], const dt_model_config *hints, bool has_head,
                                dt_model_config *c, dt_trtllm_plan *plan, dt_error *err)
{
    const json_t *main = json[1] ? json[1] : json[0];
    *plan = (dt_trtllm_plan){0};
    dt_config_init(c);
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    DT_PASS(read_type(main, &plan->type, err));
    if ((plan->type->parts == 2) != (json[1] != NULL))
        return dt_fail(err, DT_FORMAT, "an encoder and a decoder come in folders of these names");
    DT_PASS(read_plan(main, plan, err));
    DT_PASS(read_common(main, c, err));
    DT_PASS(plan->type->read(c, json, err));
    snprintf(c->family, sizeof c->family, "megatron_%.20s", c->model_type);
    int64_t rows = c->vocab_size;
    c->share_embeddings_and_output_weights = !has_head;
    if (hints)
        take_hints(hints, c);
    c->padded_vocab_size = rows;
    plan->head_rows =
        has_head || plan->type->parts == 2 ? (rows + plan->tensor - 1) / plan->tensor * plan->tensor : 0;
    return DT_OK;
}

dt_status dt_trtllm_obstacle(const dt_model_config *config, const dt_trtllm_plan *plan, const char **key,
                             dt_error *err)
{
    json_t *json[2] = {NULL, NULL};
    dt_model_config back;
    dt_trtllm_plan read;
    dt_status status = DT_OK;
    for (int i = 0; i < plan->type->parts; i++)
        DT_GO(status, dt_trtllm_write_config(config, plan, i, &json[i], err));
    DT_GO(status,
          dt_trtllm_read_config((const json_t *const *)json, config, plan->head_rows > 0, &back, &read, err));
    dt_config_derive(&back);
    *key = dt_config_difference(config, &back);
done:
    json_decref(json[0]);
    json_decref(json[1]);
    return status;
}
