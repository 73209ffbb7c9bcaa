/*
 * gemma2.c (hf) - config.json of Gemma 2: a Gemma with four norms a layer, soft caps, and a window in every other layer.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <math.h>

#define NAMES "formats/hf/names_gemma3.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_gemma2.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 256000;
    c->hidden_size = 2304;
    c->ffn_hidden_size = 9216;
    c->num_layers = 26;
    c->num_attention_heads = 8;
    c->num_query_groups = 4;
    c->kv_channels = 256;
    c->max_sequence_length = 8192;
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_GELU_TANH;
    c->pad_token_id = 0;
    c->bos_token_id = 2;
    c->eos_token_ids[0] = 1;
    c->norm_placement = DT_NORM_BOTH;
    c->attention_soft_cap = 50;
    c->final_logit_softcapping = 30;
}

dt_status dt_hf_read_gemma(dt_model_config *c, const json_t *json, dt_error *err)
{
    int64_t scalar = 256;
    DT_PASS(dt_hf_refuse_true(json, "use_bidirectional_attention", err));
    DT_PASS(dt_json_int(json, "query_pre_attn_scalar", &scalar, err));
    if (scalar < 1)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"query_pre_attn_scalar\" is %lld, expected at least 1",
                       (long long)scalar);
    c->softmax_scale = 1 / sqrt((double)scalar);
    if (json_is_null(json_object_get(json, "attn_logit_softcapping")))
        c->attention_soft_cap = 0;
    if (json_is_null(json_object_get(json, "final_logit_softcapping")))
        c->final_logit_softcapping = 0;
    c->embedding_multiplier =
        sqrt((double)c->hidden_size);           /* transformers rounds it to the type it runs in */
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    return DT_OK;
}

/* No cap is null; 0 would be divided by. */
dt_status dt_hf_write_gemma(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = json_object_set_new(json, "query_pre_attn_scalar",
                                     json_integer(llround(1 / (c->softmax_scale * c->softmax_scale))));
    if (c->attention_soft_cap == 0)
        failed |= json_object_set_new(json, "attn_logit_softcapping", json_null());
    if (c->final_logit_softcapping == 0)
        failed |= json_object_set_new(json, "final_logit_softcapping", json_null());
    return failed ? dt_fail_memory(err, 256, "config.json") : DT_OK;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    DT_PASS(dt_hf_read_gemma(c, json, err));
    DT_PASS(dt_hf_read_layer_windows(c, json, 4096, 2, err));
    return dt_hf_read_rope(c, json, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_gemma(c, json, err));
    DT_PASS(dt_hf_write_layer_windows(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(gemma2, "Gemma2ForCausalLM", defaults, read, write)
