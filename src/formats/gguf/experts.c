/*
 * experts.c (gguf) - architectures "qwen2moe", "qwen3moe" and "gpt-oss": experts in every layer.
 *
 * What weighs experts goes with the architecture: of all experts' softmax the largest, as they are (qwen2moe); of the
 * largest scores the softmax (qwen3moe, gpt-oss). gpt-oss has windows in every other layer. Where its ends of yarn's
 * ramp are not rounded ("truncate" is false), llama.cpp rounds them all the same; a key of ours remembers.
 */
#include "formats/gguf/family.h"

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
#define name_rows   shared_rows
#define name_copies shared_copies
#define name_skips  shared_skips
#define names       shared_names
#define NAMES       "formats/gguf/names_experts.def"
#include "formats/hf/expand_names.h"
#undef name_rows
#undef name_copies
#undef name_skips
#undef names
#define NAMES "formats/gguf/names_gpt_oss.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key moe_keys[] = {
#include "formats/gguf/keys_moe.def"
};
static const dt_hf_key shared_keys[] = {
#include "formats/gguf/keys_shared_moe.def"
};

static void qwen2_moe_defaults(dt_model_config *c)
{
    dt_gguf_llama_defaults(c);
    c->add_qkv_bias = true;
    c->moe_router_pre_softmax = true;
    c->moe_shared_expert_gate = true;
}

static void qwen3_moe_defaults(dt_model_config *c)
{
    dt_gguf_llama_defaults(c);
    c->qk_layernorm = true;
}

static dt_status qwen_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                           dt_error *err)
{
    (void)evidence;
    if (c->num_moe_experts < 1)
        return dt_fail(err, DT_UNSUPPORTED, "\"expert_count\" is missing");
    DT_PASS(dt_gguf_read_ignored_window(c, json, err));
    return dt_gguf_read_rope(c, json, err);
}

static dt_status qwen_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    return dt_gguf_written(dt_gguf_write_ignored_window(c, json) | dt_gguf_write_rope(c, json), err);
}

static void gpt_oss_defaults(dt_model_config *c)
{
    dt_gguf_llama_defaults(c);
    c->add_bias_linear = true;
    c->activation_func = DT_ACT_QUICK_GELU;
    c->activation_func_clamp_value = 7;
    c->glu_linear_offset = 1;
    c->softmax_type = DT_SOFTMAX_LEARNABLE;
}

static dt_status gpt_oss_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                              dt_error *err)
{
    (void)evidence;
    if (c->num_moe_experts < 1)
        return dt_fail(err, DT_UNSUPPORTED, "\"expert_count\" is missing");
    DT_PASS(dt_gguf_read_periodic_window(c, json, 2, err));
    return dt_gguf_read_rope(c, json, err);
}

static dt_status gpt_oss_write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = dt_gguf_write_periodic_window(c, json, 2);
    return dt_gguf_written(failed | dt_gguf_write_rope(c, json), err);
}

DT_GGUF_FAMILY(qwen2_moe, "qwen2_moe", qwen2_moe_defaults, qwen_read, qwen_write, shared_keys, shared_names)
DT_GGUF_FAMILY(qwen3_moe, "qwen3_moe", qwen3_moe_defaults, qwen_read, qwen_write, moe_keys, split_names)
DT_GGUF_FAMILY(gpt_oss, "gpt_oss", gpt_oss_defaults, gpt_oss_read, gpt_oss_write, moe_keys, names)
