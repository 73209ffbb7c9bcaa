/*
 * decoders.c - the GGUF architectures of decoders: what a file says beyond its keys, and what goes without saying.
 *
 * llama.cpp computes one thing an architecture: activation, kind of norm and biases are not written. Frequencies under
 * Llama 3's scaling are stored as a table (rope_freqs.weight); the numbers it was made from are kept in keys of ours,
 * and where these are missing the published ones are tried.
 */
#include "formats/gguf/family.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define name_rows   llama_rows
#define name_copies llama_copies
#define name_skips  llama_skips
#define names       llama_names
#define NAMES       "formats/gguf/names_llama.def"
#include "formats/hf/expand_names.h"
#undef name_rows
#undef name_copies
#undef name_skips
#undef names
#define name_rows   split_rows
#define name_copies split_copies
#define name_skips  split_skips
#define names       split_names
#define NAMES       "formats/gguf/names_split.def"
#include "formats/hf/expand_names.h"
#undef name_rows
#undef name_copies
#undef name_skips
#undef names
#define name_rows   fused_rows
#define name_copies fused_copies
#define name_skips  fused_skips
#define names       fused_names
#define NAMES       "formats/gguf/names_fused.def"
#include "formats/hf/expand_names.h"
#undef name_rows
#undef name_copies
#undef name_skips
#undef names

static const dt_hf_key rms_keys[] = {
#include "formats/gguf/keys_rms.def"
};
static const dt_hf_key expert_keys[] = {
#include "formats/gguf/keys_experts.def"
};
static const dt_hf_key norm_keys[] = {
#include "formats/gguf/keys_norm.def"
};

/* ---- rotation ---- */

void dt_gguf_rope_factors(const dt_model_config *c, float *out)
{
    double low = (double)c->rope_original_max_position / c->rope_low_freq_factor;
    double high = (double)c->rope_original_max_position / c->rope_high_freq_factor;
    for (int64_t i = 0; i < c->kv_channels / 2; i++) {
        double wave = 2 * M_PI * pow(c->rotary_base, 2.0 * (double)i / (double)c->kv_channels);
        double smooth = ((double)c->rope_original_max_position / wave - c->rope_low_freq_factor) /
                        (c->rope_high_freq_factor - c->rope_low_freq_factor);
        double divisor = wave < high  ? 1
                         : wave > low ? c->rope_scaling_factor
                                      : 1 / ((1 - smooth) / c->rope_scaling_factor + smooth);
        out[i] = (float)divisor;
    }
}

static dt_status read_rope(dt_model_config *c, const json_t *json, dt_error *err)
{
    const char *type = NULL;
    int64_t rotated = -1, head = c->kv_channels > 0           ? c->kv_channels
                                 : c->num_attention_heads > 0 ? c->hidden_size / c->num_attention_heads
                                                              : 0;
    DT_PASS(dt_json_real(json, "rope.freq_base", &c->rotary_base, err));
    DT_PASS(dt_json_int(json, "rope.dimension_count", &rotated, err));
    if (rotated >= 0 && head > 0)
        c->rotary_percent = (double)rotated / (double)head;
    DT_PASS(dt_json_string(json, "rope.scaling.type", &type, err));
    if (type && strcmp(type, "linear") == 0) {
        c->rope_scaling_type = DT_ROPE_LINEAR;
        DT_PASS(dt_json_real(json, "rope.scaling.factor", &c->rope_scaling_factor, err));
    } else if (type && strcmp(type, "none") != 0) {
        return dt_fail(err, DT_UNSUPPORTED,
                       "\"rope.scaling.type\" is \"%s\"; drivetrain reads none and linear from GGUF", type);
    }
    if (!dt_gguf_has(json, "rope_freqs.weight"))
        return DT_OK;
    c->rope_scaling_type = DT_ROPE_LLAMA3;
    c->rope_scaling_factor = 8;
    DT_PASS(dt_json_real(json, "drivetrain.rope.factor", &c->rope_scaling_factor, err));
    DT_PASS(dt_json_real(json, "drivetrain.rope.low_freq_factor", &c->rope_low_freq_factor, err));
    DT_PASS(dt_json_real(json, "drivetrain.rope.high_freq_factor", &c->rope_high_freq_factor, err));
    return dt_json_int(json, "drivetrain.rope.original_context_length", &c->rope_original_max_position, err);
}

static int write_llama3(const dt_model_config *c, json_t *json)
{
    int failed = dt_gguf_put_tensor(json, "rope_freqs.weight");
    failed |= json_object_set_new(json, "drivetrain.rope.factor", json_real(c->rope_scaling_factor));
    failed |=
        json_object_set_new(json, "drivetrain.rope.low_freq_factor", json_real(c->rope_low_freq_factor));
    failed |=
        json_object_set_new(json, "drivetrain.rope.high_freq_factor", json_real(c->rope_high_freq_factor));
    failed |= json_object_set_new(json, "drivetrain.rope.original_context_length",
                                  json_integer(c->rope_original_max_position));
    return failed;
}

static int write_rope(const dt_model_config *c, json_t *json)
{
    int failed = json_object_set_new(json, "rope.freq_base", json_real(c->rotary_base));
    failed |= json_object_set_new(json, "rope.dimension_count",
                                  json_integer((int64_t)((double)c->kv_channels * c->rotary_percent)));
    failed |= json_object_set_new(json, "attention.value_length", json_integer(c->kv_channels));
    if (c->rope_scaling_type == DT_ROPE_LINEAR) {
        failed |= json_object_set_new(json, "rope.scaling.type", json_string("linear"));
        failed |= json_object_set_new(json, "rope.scaling.factor", json_real(c->rope_scaling_factor));
    }
    return c->rope_scaling_type == DT_ROPE_LLAMA3 ? failed | write_llama3(c, json) : failed;
}

/* ---- what is common ---- */

static dt_status short_of_memory(int failed, dt_error *err)
{
    return failed ? dt_fail_memory(err, 256, "metadata") : DT_OK;
}

static void decoder_defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "gpt");
    c->add_bias_linear = false;
    c->bos_token_id = c->pad_token_id = -1;
    c->eos_count = 0;
}

static void llama_defaults(dt_model_config *c)
{
    decoder_defaults(c);
    c->normalization = DT_NORM_RMSNORM;
    c->activation_func = DT_ACT_SILU;
    c->gated_linear_unit = true;
    c->position_embedding_type = DT_POSITION_ROPE;
}

/* Biases are there when their tensors are. */
static void read_biases(dt_model_config *c, const json_t *json)
{
    c->add_qkv_bias = dt_gguf_has(json, "blk.0.attn_q.bias");
    c->attention_output_bias = dt_gguf_has(json, "blk.0.attn_output.bias");
    c->mlp_bias = dt_gguf_has(json, "blk.0.ffn_up.bias");
}

static int write_biases(const dt_model_config *c, json_t *json)
{
    int failed = 0;
    if (c->add_qkv_bias)
        failed |= dt_gguf_put_tensor(json, "blk.0.attn_q.bias");
    if (c->attention_output_bias)
        failed |= dt_gguf_put_tensor(json, "blk.0.attn_output.bias");
    if (c->mlp_bias)
        failed |= dt_gguf_put_tensor(json, "blk.0.ffn_up.bias");
    return failed;
}

/* llama.cpp's "llama" has optional biases everywhere and turns whole heads. */
static dt_status llama_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                            dt_error *err)
{
    (void)evidence;
    read_biases(c, json);
    DT_PASS(read_rope(c, json, err));
    if (c->rotary_percent != 1)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "\"rope.dimension_count\" is a part of a head, which drivetrain does not read from \"llama\"");
    return DT_OK;
}

static dt_status llama_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    return short_of_memory(write_biases(c, json) | write_rope(c, json), err);
}

static void mixtral_defaults(dt_model_config *c)
{
    llama_defaults(c);
    c->num_moe_experts = 0;
}

static dt_status mixtral_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                              dt_error *err)
{
    if (c->num_moe_experts < 1)
        return dt_fail(err, DT_UNSUPPORTED, "\"expert_count\" is missing");
    c->moe_ffn_hidden_size = c->ffn_hidden_size;
    return llama_read(c, json, evidence, err);
}

static void qwen2_defaults(dt_model_config *c)
{
    llama_defaults(c);
    c->add_qkv_bias = true;
}

static dt_status plain_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                            dt_error *err)
{
    (void)evidence;
    return read_rope(c, json, err);
}

static dt_status plain_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    return short_of_memory(write_rope(c, json), err);
}

static void qwen3_defaults(dt_model_config *c)
{
    llama_defaults(c);
    c->qk_layernorm = true;
}

static void gemma_defaults(dt_model_config *c)
{
    llama_defaults(c);
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_GELU_TANH;
}

static dt_status gemma_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                            dt_error *err)
{
    c->embedding_multiplier = sqrt((double)c->hidden_size);
    return plain_read(c, json, evidence, err);
}

static void nemotron_defaults(dt_model_config *c)
{
    decoder_defaults(c);
    c->position_embedding_type = DT_POSITION_ROPE;
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_SQUARED_RELU;
}

static dt_status nemotron_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                               dt_error *err)
{
    (void)evidence;
    read_biases(c, json);
    return read_rope(c, json, err);
}

static void starcoder2_defaults(dt_model_config *c)
{
    decoder_defaults(c);
    c->position_embedding_type = DT_POSITION_ROPE;
    c->activation_func = DT_ACT_GELU_TANH;
    c->add_bias_linear = c->add_qkv_bias = c->attention_output_bias = c->mlp_bias = true;
}

static void gpt2_defaults(dt_model_config *c)
{
    decoder_defaults(c);
    c->activation_func = DT_ACT_GELU_TANH;
    c->add_bias_linear = true;
}

DT_GGUF_FAMILY(llama, "llama", llama_defaults, llama_read, llama_write, rms_keys, llama_names)
DT_GGUF_FAMILY(mixtral, "mixtral", mixtral_defaults, mixtral_read, llama_write, expert_keys, llama_names)
DT_GGUF_FAMILY(qwen2, "qwen2", qwen2_defaults, plain_read, plain_write, rms_keys, split_names)
DT_GGUF_FAMILY(qwen3, "qwen3", qwen3_defaults, plain_read, plain_write, rms_keys, split_names)
DT_GGUF_FAMILY(gemma, "gemma", gemma_defaults, gemma_read, plain_write, rms_keys, split_names)
DT_GGUF_FAMILY(nemotron, "nemotron", nemotron_defaults, nemotron_read, llama_write, norm_keys, split_names)
DT_GGUF_FAMILY(starcoder2, "starcoder2", starcoder2_defaults, plain_read, plain_write, norm_keys, split_names)
DT_GGUF_FAMILY(gpt2, "gpt2", gpt2_defaults, NULL, NULL, norm_keys, fused_names)
DT_GGUF_FAMILY(gpt_bigcode, "gpt_bigcode", gpt2_defaults, NULL, NULL, norm_keys, fused_names)
