/*
 * gemma3.c (hf) - config.json of Gemma 3's text models: a Gemma 2 that norms each head of q and k, caps nothing, and
 * has a window, with a rotary base of its own, in five layers of six.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_gemma3.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_gemma3.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 262208;
    c->hidden_size = 2304;
    c->ffn_hidden_size = 9216;
    c->num_layers = 26;
    c->num_attention_heads = 8;
    c->num_query_groups = 4;
    c->kv_channels = 256;
    c->max_sequence_length = 131072;
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_GELU_TANH;
    c->pad_token_id = 0;
    c->bos_token_id = 2;
    c->eos_token_ids[0] = 1;
    c->norm_placement = DT_NORM_BOTH;
    c->qk_layernorm = true;
    c->rotary_base = 1e6;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    int64_t pattern = 6;
    (void)evidence;
    DT_PASS(dt_json_int(json, "sliding_window_pattern", &pattern, err));
    if (pattern < 1)
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"sliding_window_pattern\" is %lld, expected at least 1",
                       (long long)pattern);
    DT_PASS(dt_hf_read_gemma(c, json, err));
    DT_PASS(dt_hf_read_layer_windows(c, json, 4096, pattern, err));
    return dt_hf_read_layer_rope(c, json, 1e4, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_gemma(c, json, err));
    DT_PASS(dt_hf_write_layer_windows(c, json, err));
    return dt_hf_write_layer_rope(c, json, err);
}

DT_HF_FAMILY(gemma3_text, "Gemma3ForCausalLM", defaults, read, write)
