/*
 * gemma.c (gguf) - architectures "gemma", "gemma2" and "gemma3".
 *
 * llama.cpp scales scores by 1 / sqrt(head size), so another "query_pre_attn_scalar" does not come back; but in the
 * 27 billion models (46 layers of Gemma 2, 62 of Gemma 3) by that of hidden / heads, which are theirs. Windowed layers
 * are all but each second one (Gemma 2) or each sixth (Gemma 3, whose windowed layers rotate by a base of their own).
 */
#include "formats/gguf/family.h"

#include "base/json.h"

#include <math.h>

#define NAMES "formats/gguf/names_split.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/gguf/keys_rms.def"
};

enum { PERIOD2 = 2, PERIOD3 = 6, LAYERS2 = 46, LAYERS3 = 62 };

static void defaults(dt_model_config *c)
{
    dt_gguf_llama_defaults(c);
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_GELU_TANH;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    c->embedding_multiplier = sqrt((double)c->hidden_size);
    return dt_gguf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    return dt_gguf_written(dt_gguf_write_rope(c, json), err);
}

static double scale_of(const dt_model_config *c, int64_t large)
{
    bool whole = c->num_layers == large && c->num_attention_heads > 0;
    int64_t head = whole ? c->hidden_size / c->num_attention_heads : c->kv_channels;
    return head > 0 ? 1 / sqrt((double)head) : 0;
}

static void defaults2(dt_model_config *c)
{
    defaults(c);
    c->norm_placement = DT_NORM_BOTH;
    c->attention_soft_cap = 50;
    c->final_logit_softcapping = 30;
}

static dt_status read2(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    DT_PASS(dt_json_real(json, "attn_logit_softcapping", &c->attention_soft_cap, err));
    DT_PASS(dt_json_real(json, "final_logit_softcapping", &c->final_logit_softcapping, err));
    c->softmax_scale = scale_of(c, LAYERS2);
    DT_PASS(dt_gguf_read_periodic_window(c, json, PERIOD2, err));
    return read(c, json, evidence, err);
}

static dt_status write2(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = dt_gguf_write_periodic_window(c, json, PERIOD2);
    failed |= json_object_set_new(json, "attn_logit_softcapping", json_real(c->attention_soft_cap));
    failed |= json_object_set_new(json, "final_logit_softcapping", json_real(c->final_logit_softcapping));
    return dt_gguf_written(failed | dt_gguf_write_rope(c, json), err);
}

static void defaults3(dt_model_config *c)
{
    defaults(c);
    c->norm_placement = DT_NORM_BOTH;
    c->qk_layernorm = true;
    c->rotary_base = 1000000;
}

static dt_status read3(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    DT_PASS(dt_json_real(json, "final_logit_softcapping", &c->final_logit_softcapping, err));
    c->softmax_scale = scale_of(c, LAYERS3);
    DT_PASS(dt_gguf_read_periodic_window(c, json, PERIOD3, err));
    c->window_rotary_base = 10000;
    DT_PASS(dt_json_real(json, "rope.freq_base_swa", &c->window_rotary_base, err));
    return read(c, json, evidence, err);
}

static dt_status write3(const dt_model_config *c, json_t *json, dt_error *err)
{
    double base = c->window_rotary_base != 0 ? c->window_rotary_base : c->rotary_base;
    int failed = dt_gguf_write_periodic_window(c, json, PERIOD3);
    failed |= json_object_set_new(json, "rope.freq_base_swa", json_real(base));
    if (c->final_logit_softcapping != 0)
        failed |= json_object_set_new(json, "final_logit_softcapping", json_real(c->final_logit_softcapping));
    return dt_gguf_written(failed | dt_gguf_write_rope(c, json), err);
}

DT_GGUF_FAMILY(gemma, "gemma", defaults, read, write, keys, names)
DT_GGUF_FAMILY(gemma2, "gemma2", defaults2, read2, write2, keys, names)
DT_GGUF_FAMILY(gemma3, "gemma3_text", defaults3, read3, write3, keys, names)
