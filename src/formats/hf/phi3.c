/*
 * phi3.c (hf) - config.json of Phi-3: Llama with fused projections, a window, and longrope.
 *
 * Part of each head may rotate. "original_max_position_embeddings" stands beside the rotary settings, and wins over
 * one inside. Phi-3's first files call longrope "su", later ones "yarn"; transformers takes both for longrope.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#define NAMES "formats/hf/names_phi3.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_phi3.def"
};

static void defaults(dt_model_config *c)
{
    dt_hf_llama_defaults(c);
    c->vocab_size = 32064;
    c->hidden_size = 3072;
    c->ffn_hidden_size = 8192;
    c->max_sequence_length = 4096;
    c->layernorm_epsilon = 1e-5;
    c->eos_token_ids[0] = 32000;
    c->pad_token_id = 32000;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    DT_PASS(dt_hf_read_window(c, json, -1, err));
    return dt_hf_read_trained_rope(c, json, 4096, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(dt_hf_write_window(c, json, err));
    return dt_hf_write_rope(c, json, err);
}

DT_HF_FAMILY(phi3, "Phi3ForCausalLM", defaults, read, write)
