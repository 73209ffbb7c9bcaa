/*
 * arguments.c (megatron) - a run's arguments for a model that no run has made: the configuration under the names that
 * Megatron's own loaders look for, and under the state format's, from which drivetrain reads everything back.
 */
#include "base/json.h"
#include "formats/megatron/writing.h"
#include "formats/torch/torch_write.h"

#include <drivetrain/version.h>

#include <math.h>
#include <string.h>

static int put(json_t *args, const char *key, json_t *value)
{
    return json_object_set_new(args, key, value);
}

static json_t *number_or_none(int64_t n)
{
    return n > 0 ? json_integer(n) : json_null();
}

/* Sizes and layers. */
static int put_sizes(const dt_model_config *c, json_t *args)
{
    bool t5 = strcmp(c->model_type, "t5") == 0;
    int failed = 0;
    failed |= put(args, "num_layers", json_integer(t5 ? c->encoder_num_layers : c->num_layers));
    failed |= put(args, "encoder_num_layers", json_integer(t5 ? c->encoder_num_layers : c->num_layers));
    failed |= put(args, "decoder_num_layers", t5 ? json_integer(c->decoder_num_layers) : json_null());
    failed |= put(args, "num_query_groups", json_integer(c->num_query_groups));
    failed |= put(args, "group_query_attention", json_boolean(c->num_query_groups != c->num_attention_heads));
    failed |= put(args, "kv_channels", json_integer(c->kv_channels));
    failed |= put(args, "ffn_hidden_size", json_integer(c->ffn_hidden_size));
    failed |= put(args, "max_position_embeddings", number_or_none(c->max_sequence_length));
    failed |= put(args, "seq_length", number_or_none(c->max_sequence_length));
    failed |= put(args, "encoder_seq_length", number_or_none(c->max_sequence_length));
    failed |= put(args, "decoder_seq_length", t5 ? number_or_none(c->max_sequence_length) : json_null());
    return failed;
}

/* What the layers compute, as switches. */
static int put_switches(const dt_model_config *c, json_t *args)
{
    bool gated = c->gated_linear_unit, scaled = c->rope_scaling_type == DT_ROPE_LLAMA3;
    double mscale;
    bool rope = c->position_embedding_type == DT_POSITION_ROPE && !dt_config_yarn_is_megatrons(c, &mscale);
    int failed = 0;
    failed |= put(args, "norm_epsilon", json_real(c->layernorm_epsilon));
    failed |= put(args, "apply_layernorm_1p", json_boolean(c->layernorm_zero_centered_gamma));
    failed |= put(args, "swiglu", json_boolean(gated && c->activation_func == DT_ACT_SILU));
    failed |= put(args, "quick_geglu", json_boolean(gated && c->activation_func == DT_ACT_QUICK_GELU));
    failed |= put(args, "squared_relu", json_boolean(c->activation_func == DT_ACT_SQUARED_RELU));
    failed |= put(args, "openai_gelu", json_boolean(!gated && c->activation_func == DT_ACT_GELU_TANH));
    failed |= put(args, "bias_gelu_fusion", json_false());
    failed |= put(args, "untie_embeddings_and_output_weights",
                  json_boolean(!c->share_embeddings_and_output_weights));
    failed |= put(args, "use_rotary_position_embeddings", json_boolean(rope)); /* would overrule yarn */
    failed |=
        put(args, "add_position_embedding", json_boolean(c->position_embedding_type == DT_POSITION_LEARNED));
    failed |= put(args, "use_rope_scaling", json_boolean(scaled));
    if (scaled)
        failed |= put(args, "rope_scaling_factor", json_real(c->rope_scaling_factor));
    failed |= put(args, "rotary_seq_len_interpolation_factor",
                  c->rope_scaling_type == DT_ROPE_LINEAR ? json_real(c->rope_scaling_factor) : json_null());
    if (strcmp(c->model_type, "bert") == 0)
        failed |= put(args, "bert_binary_head", json_boolean(c->add_binary_head));
    failed |= put(args, "hidden_dropout", json_real(0));
    failed |= put(args, "attention_dropout", json_real(0));
    return failed;
}

static int put_experts(const dt_model_config *c, bool grouped, json_t *args)
{
    int failed = put(args, "num_experts", number_or_none(c->num_moe_experts));
    if (c->num_moe_experts == 0)
        return failed;
    failed |= put(args, "moe_ffn_hidden_size", json_integer(c->moe_ffn_hidden_size));
    failed |= put(args, "moe_router_topk", json_integer(c->moe_router_topk));
    failed |= put(args, "moe_grouped_gemm", json_boolean(grouped));
    if (!c->moe_listed)
        failed |= put(args, "moe_layer_freq", json_integer(c->moe_layer_freq));
    return failed;
}

/* A divisor that makes Megatron arrive at this padding. */
static int64_t divisor(const dt_megatron_plan *p)
{
    int64_t by = p->options->vocab_divisible_by ? p->options->vocab_divisible_by : 128;
    int64_t step = by * p->ranks.tensor, rows = p->config.padded_vocab_size;
    return (p->config.vocab_size + step - 1) / step * step == rows ? by : rows / p->ranks.tensor;
}

static int put_layout(const dt_megatron_plan *p, bool dist, json_t *args)
{
    const dt_ranks *r = &p->ranks;
    bool local = p->options->local_names;
    int failed = 0;
    failed |= put(args, "tensor_model_parallel_size", json_integer(r->tensor));
    failed |= put(args, "pipeline_model_parallel_size", json_integer(r->pipeline));
    failed |= put(args, "virtual_pipeline_model_parallel_size",
                  r->chunks > 1 ? json_integer(r->chunks) : json_null());
    failed |= put(args, "expert_model_parallel_size", json_integer(r->expert));
    failed |= put(args, "expert_tensor_parallel_size", json_integer(r->tensor));
    failed |= put(args, "context_parallel_size", json_integer(1));
    failed |= put(args, "world_size", json_integer((int64_t)r->tensor * r->pipeline * r->expert));
    failed |= put(args, "data_parallel_size", json_integer(r->expert));
    failed |= put(args, "sequence_parallel", json_false());
    failed |= put(args, "make_vocab_size_divisible_by", json_integer(divisor(p)));
    failed |= put(args, "padded_vocab_size", json_integer(p->config.padded_vocab_size));
    failed |= put(args, "tokenizer_type", json_null());
    failed |= put(args, "tokenizer_model", json_null());
    failed |= put(args, "transformer_impl", json_string(local ? "local" : "transformer_engine"));
    failed |= put(args, "use_mcore_models", json_true());
    failed |= put(args, "ckpt_format", json_string(dist ? "torch_dist" : "torch"));
    failed |= put(args, "use_distributed_optimizer", json_false());
    failed |= put(args, "iteration", json_integer(p->from->iteration > 0 ? p->from->iteration : 0));
    failed |= put(args, "consumed_train_samples", json_integer(0));
    failed |= put(args, "consumed_valid_samples", json_integer(0));
    return failed;
}

/* The type that the embedding is written in. */
static dt_dtype weights_type(const dt_megatron_plan *p)
{
    int embedding = dt_megatron_plan_embedding(p);
    const dt_canonical *c = dt_mapping_at(p->mapping, embedding);
    return c && c->count ? p->dtype[dt_mapping_piece_at(p->mapping, c->first)->external] : DT_F32;
}

dt_status dt_megatron_make_args(const dt_megatron_plan *p, bool dist, json_t **out, dt_error *err)
{
    DT_PASS(dt_megatron_write_config(&p->config, out, err));
    int failed = put_sizes(&p->config, *out) | put_switches(&p->config, *out);
    failed |= put_experts(&p->config, !p->options->local_names, *out) | put_layout(p, dist, *out);
    failed |= put(*out, "bf16", json_boolean(weights_type(p) == DT_BF16));
    failed |= put(*out, "x_written_by", json_string("drivetrain " DT_VERSION));
    json_object_del(*out, "megatron_core"); /* who wrote the source does not write this */
    failed |= put(*out, "fp16", json_boolean(weights_type(p) == DT_F16));
    return failed ? dt_fail_memory(err, 4096, "the arguments") : DT_OK;
}

/* ---- as a pickle ---- */

static void put_value(dt_pickler *pickler, const json_t *value)
{
    double real = json_real_value(value);
    const json_t *item;
    size_t i;
    if (json_is_boolean(value))
        dt_pickle_put_bool(pickler, json_is_true(value));
    else if (json_is_integer(value))
        dt_pickle_put_int(pickler, json_integer_value(value));
    else if (json_is_real(value) && real == floor(real) && fabs(real) > 1 && fabs(real) < 1e15)
        dt_pickle_put_int(pickler, (int64_t)real); /* rotary_base 10000 is an int in Megatron */
    else if (json_is_real(value))
        dt_pickle_put_real(pickler, real);
    else if (json_is_string(value))
        dt_pickle_put_text(pickler, json_string_value(value));
    else if (json_is_array(value)) {
        dt_pickle_open_list(pickler);
        json_array_foreach(value, i, item) put_value(pickler, item);
        dt_pickle_close(pickler);
    } else if (json_is_object(value)) { /* the configurations of a llava's parts */
        const char *key;
        json_t *within;
        dt_pickle_open_dict(pickler);
        json_object_foreach((json_t *)(uintptr_t)value, key, within)
        {
            dt_pickle_put_text(pickler, key);
            put_value(pickler, within);
        }
        dt_pickle_close(pickler);
    } else
        dt_pickle_put_none(pickler);
}

void dt_megatron_put_args(dt_pickler *pickler, const dt_megatron_plan *p)
{
    const char *key;
    json_t *value;
    dt_pickle_open_object(pickler, "argparse", "Namespace");
    json_object_foreach(p->args, key, value)
    {
        dt_pickle_put_text(pickler, key);
        put_value(pickler, value);
    }
    dt_pickle_put_text(pickler, "params_dtype");
    dt_torch_put_dtype(pickler, weights_type(p));
    dt_pickle_close(pickler);
}
