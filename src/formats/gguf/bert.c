/*
 * bert.c (gguf) - architecture "bert": an encoder, with the pooler or without; heads have no place there.
 *
 * llama.cpp computes GELU by its tanh form where BERT has the exact one: vectors are some 1e-3 apart.
 */
#include "formats/gguf/family.h"

#include "base/json.h"

#include <stdio.h>

#define NAMES "formats/gguf/names_bert.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/gguf/keys_bert.def"
};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "bert");
    c->activation_func = DT_ACT_GELU;
    c->norm_placement = DT_NORM_AFTER;
    c->embedding_layernorm = true;
    c->no_lm_head = true;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    bool causal = false;
    (void)evidence;
    DT_PASS(dt_json_bool(json, "attention.causal", &causal, err));
    if (causal)
        return dt_fail(err, DT_UNSUPPORTED,
                       "\"bert.attention.causal\" is true; drivetrain computes encoders that see all tokens");
    c->pooler = dt_gguf_has(json, "cls.weight");
    return DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = json_object_set_new(json, "attention.causal", json_false());
    if (c->pooler)
        failed |= dt_gguf_put_tensor(json, "cls.weight");
    return dt_gguf_written(failed, err);
}

DT_GGUF_FAMILY(bert, "bert", defaults, read, write, keys, names)
