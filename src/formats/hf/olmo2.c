/*
 * olmo2.c (hf) - config.json of OLMo-2: a Llama that norms what its branches give instead of what they read, and q and k
 * as whole vectors.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_olmo2.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_olmo2.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 50304;
    c->layernorm_epsilon = 1e-5;
    c->norm_placement = DT_NORM_BRANCH;
    c->qk_layernorm = c->qk_layernorm_whole = true;
    c->pad_token_id = 1;
    c->bos_token_id = -1;
    c->eos_token_ids[0] = 50279;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    c->attention_output_bias = c->add_qkv_bias; /* attention_bias gives all four projections one */
    return dt_hf_read_rope(c, json, err);
}

DT_HF_FAMILY(olmo2, "Olmo2ForCausalLM", defaults, read, dt_hf_write_rope)
