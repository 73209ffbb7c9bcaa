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
#include "formats/trtllm/model_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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
json_t *dt_trtllm_number(double x)
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

json_t *dt_trtllm_rotary_scaling_json(const dt_model_config *c)
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

int dt_trtllm_write_helper(const dt_model_config *c, const dt_trtllm_plan *p, json_t *json)
{
    double part = c->position_embedding_type == DT_POSITION_ROPE ? c->rotary_percent : 1;
    return PUT(json, {"qk_layernorm", json_boolean(c->qk_layernorm)},
               {"bias", json_boolean(c->add_bias_linear)}, {"apply_query_key_layer_scaling", json_false()},
               {"rotary_pct", json_real(part)}, {"rotary_base", dt_trtllm_number(c->rotary_base)},
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

json_t *dt_trtllm_moe_json(const dt_model_config *c)
{
    return json_pack("{s:i, s:I, s:i, s:f, s:i, s:i, s:i, s:i, s:f}", "num_experts", experts_of(c), "top_k",
                     (json_int_t)c->moe_router_topk, "normalization_mode", renormalized(c),
                     "sparse_mixer_epsilon", 0.01, "tp_mode", 0, "shared_expert_intermediate_size", 0,
                     "device_limited_n_group", 0, "device_limited_topk_group", 0,
                     "device_limited_routed_scaling_factor", 1.0);
}

int dt_trtllm_write_flat_moe(const dt_model_config *c, json_t *json)
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

dt_status dt_trtllm_read_rotary(const json_t *json, dt_model_config *c, dt_error *err)
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

dt_status dt_trtllm_read_experts(const json_t *json, dt_model_config *c, dt_error *err)
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
