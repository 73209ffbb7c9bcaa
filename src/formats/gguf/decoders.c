/*
 * decoders.c - the GGUF architectures of decoders: what a file says beyond its keys, and what goes without saying.
 *
 * llama.cpp computes one thing an architecture: activation, kind of norm and biases are not written. Here are Llama and those
 * that differ from it, or from GPT-2, by little; gemma.c, parallel.c and experts.c have the others, rope.c the rotation.
 */
#include "formats/gguf/family.h"

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

#define name_rows   phi3_rows
#define name_copies phi3_copies
#define name_skips  phi3_skips
#define names       phi3_names
#define NAMES       "formats/gguf/names_phi3.def"
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
    DT_PASS(dt_gguf_read_ignored_window(c, json, err));
    DT_PASS(dt_gguf_read_rope(c, json, err));
    if (c->rotary_percent != 1)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "\"rope.dimension_count\" is a part of a head, which drivetrain does not read from \"llama\"");
    return DT_OK;
}

static dt_status llama_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    return dt_gguf_written(
        write_biases(c, json) | dt_gguf_write_ignored_window(c, json) | dt_gguf_write_rope(c, json), err);
}

static void mixtral_defaults(dt_model_config *c)
{
    dt_gguf_llama_defaults(c);
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
    dt_gguf_llama_defaults(c);
    c->add_qkv_bias = true;
}

static dt_status plain_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                            dt_error *err)
{
    (void)evidence;
    DT_PASS(dt_gguf_read_ignored_window(c, json, err));
    return dt_gguf_read_rope(c, json, err);
}

static dt_status plain_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    return dt_gguf_written(dt_gguf_write_ignored_window(c, json) | dt_gguf_write_rope(c, json), err);
}

static void qwen3_defaults(dt_model_config *c)
{
    dt_gguf_llama_defaults(c);
    c->qk_layernorm = true;
}

static void nemotron_defaults(dt_model_config *c)
{
    dt_gguf_decoder_defaults(c);
    c->position_embedding_type = DT_POSITION_ROPE;
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_SQUARED_RELU;
}

static dt_status nemotron_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                               dt_error *err)
{
    (void)evidence;
    read_biases(c, json);
    DT_PASS(dt_gguf_read_ignored_window(c, json, err));
    return dt_gguf_read_rope(c, json, err);
}

static void starcoder2_defaults(dt_model_config *c)
{
    dt_gguf_decoder_defaults(c);
    c->position_embedding_type = DT_POSITION_ROPE;
    c->activation_func = DT_ACT_GELU_TANH;
    c->add_bias_linear = c->add_qkv_bias = c->attention_output_bias = c->mlp_bias = true;
}

static void gpt2_defaults(dt_model_config *c)
{
    dt_gguf_decoder_defaults(c);
    c->activation_func = DT_ACT_GELU_TANH;
    c->add_bias_linear = true;
}

static void olmo2_defaults(dt_model_config *c)
{
    dt_gguf_llama_defaults(c);
    c->norm_placement = DT_NORM_BRANCH;
    c->qk_layernorm = c->qk_layernorm_whole = true;
}

DT_GGUF_FAMILY(llama, "llama", dt_gguf_llama_defaults, llama_read, llama_write, rms_keys, llama_names)
DT_GGUF_FAMILY(mistral, "mistral", dt_gguf_llama_defaults, llama_read, llama_write, rms_keys, llama_names)
DT_GGUF_FAMILY(mixtral, "mixtral", mixtral_defaults, mixtral_read, llama_write, expert_keys, llama_names)
DT_GGUF_FAMILY(qwen2, "qwen2", qwen2_defaults, plain_read, plain_write, rms_keys, split_names)
DT_GGUF_FAMILY(qwen3, "qwen3", qwen3_defaults, plain_read, plain_write, rms_keys, split_names)
DT_GGUF_FAMILY(nemotron, "nemotron", nemotron_defaults, nemotron_read, llama_write, norm_keys, split_names)
DT_GGUF_FAMILY(starcoder2, "starcoder2", starcoder2_defaults, plain_read, plain_write, norm_keys, split_names)
DT_GGUF_FAMILY(gpt2, "gpt2", gpt2_defaults, NULL, NULL, norm_keys, fused_names)
DT_GGUF_FAMILY(gpt_bigcode, "gpt_bigcode", gpt2_defaults, NULL, NULL, norm_keys, fused_names)
DT_GGUF_FAMILY(phi3, "phi3", dt_gguf_llama_defaults, plain_read, plain_write, rms_keys, phi3_names)
DT_GGUF_FAMILY(olmo2, "olmo2", olmo2_defaults, plain_read, plain_write, rms_keys, split_names)
