/*
 * siglip_text.c (hf) - config.json of SigLIP's text tower, whose head is always there.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

#define NAMES "formats/hf/names_siglip_text.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_clip_text.def"
};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "clip");
    c->vocab_size = 32000;
    c->hidden_size = 768;
    c->num_layers = 12;
    c->num_attention_heads = 12;
    c->ffn_hidden_size = 3072;
    c->max_sequence_length = 64;
    c->layernorm_epsilon = 1e-6;
    c->activation_func = DT_ACT_GELU_TANH;
    c->no_lm_head = true;
    c->pad_token_id = 1;
    c->bos_token_id = 49406;
    c->eos_count = 1;
    c->eos_token_ids[0] = 49407;
    c->text_pooling = DT_TEXT_POOL_LAST;
    c->text_bidirectional = true;
    c->text_projection_pools = true;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    (void)evidence;
    c->text_projection_dim = c->hidden_size;
    return dt_json_int(json, "projection_size", &c->text_projection_dim, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    if (json_object_set_new(json, "projection_size", json_integer(c->text_projection_dim)))
        return dt_fail_memory(err, 256, "config.json");
    return DT_OK;
}

DT_HF_FAMILY(siglip_text_model, "SiglipTextModel", defaults, read, write)
