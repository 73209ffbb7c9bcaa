/*
 * clip_text.c (hf) - config.json of CLIP's text tower: which row of a text stands for it follows from the end token, and
 * whether it is projected from the tensors.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <stdio.h>

#define NAMES "formats/hf/names_clip_text.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_clip_text.def"
};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "clip");
    c->vocab_size = 49408;
    c->hidden_size = 512;
    c->num_layers = 12;
    c->num_attention_heads = 8;
    c->ffn_hidden_size = 2048;
    c->max_sequence_length = 77;
    c->activation_func = DT_ACT_QUICK_GELU;
    c->no_lm_head = true;
    c->pad_token_id = 1;
    c->bos_token_id = 49406;
    c->eos_count = 1;
    c->eos_token_ids[0] = 49407;
    c->text_pooling = DT_TEXT_POOL_END;
}

/* An end token of 2 is what files said before transformers learnt theirs: the row is then that of the largest id. */
static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    const json_t *end = json_object_get(json, "eos_token_id");
    if (end && !json_is_integer(end))
        return dt_fail(err, DT_UNSUPPORTED,
                       "config.json: \"eos_token_id\" is no single id; CLIP's texts are found by one");
    if (end && json_integer_value(end) == 2)
        c->text_pooling = DT_TEXT_POOL_LARGEST;
    if (!evidence->text_projection)
        return DT_OK;
    c->text_projection_dim = 512;
    return dt_json_int(json, "projection_dim", &c->text_projection_dim, err);
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    bool largest = c->text_pooling == DT_TEXT_POOL_LARGEST;
    json_int_t P = c->text_projection_dim;
    int failed = json_object_set_new(json, "eos_token_id", json_integer(largest ? 2 : c->eos_token_ids[0]));
    if (P)
        failed |= json_object_set_new(json, "projection_dim", json_integer(P));
    else
        failed |= json_object_set_new(json, "architectures", json_pack("[s]", "CLIPTextModel"));
    return failed ? dt_fail_memory(err, 256, "config.json") : DT_OK;
}

DT_HF_FAMILY(clip_text_model, "CLIPTextModelWithProjection", defaults, read, write)
