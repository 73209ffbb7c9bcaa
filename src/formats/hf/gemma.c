/*
 * gemma.c (hf) - config.json of Gemma: a Llama with norms of weight + 1 and embeddings times sqrt(hidden_size).
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <math.h>

#define NAMES "formats/hf/names_llama.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_gemma.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 256000;
    c->hidden_size = 3072;
    c->ffn_hidden_size = 24576;
    c->num_layers = 28;
    c->num_attention_heads = 16;
    c->num_query_groups = 16;
    c->kv_channels = 256;
    c->max_sequence_length = 8192;
    c->layernorm_zero_centered_gamma = true;
    c->activation_func = DT_ACT_GELU_TANH;
    c->pad_token_id = 0;
    c->bos_token_id = 2;
    c->eos_token_ids[0] = 1;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    DT_PASS(dt_hf_refuse_true(json, "use_bidirectional_attention", err));
    c->embedding_multiplier =
        sqrt((double)c->hidden_size);           /* transformers rounds it to the type it runs in */
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    if (c->activation_func == DT_ACT_GELU)      /* what the first files say; the tanh form is meant */
        c->activation_func = DT_ACT_GELU_TANH;
    return dt_hf_read_rope(c, json, err);
}

DT_HF_FAMILY(gemma, "GemmaForCausalLM", defaults, read, dt_hf_write_rope)
