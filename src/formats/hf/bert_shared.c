/*
 * bert_shared.c (hf) - see bert.h: the defaults of BertConfig, its heads, and the options that are not computed.
 */
#include "formats/hf/bert.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

void dt_hf_bert_defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "bert");
    c->vocab_size = 30522;
    c->hidden_size = 768;
    c->num_layers = 12;
    c->num_attention_heads = 12;
    c->ffn_hidden_size = 3072;
    c->max_sequence_length = 512;
    c->num_tokentypes = 2;
    c->layernorm_epsilon = 1e-12;
    c->activation_func = DT_ACT_GELU;
    c->norm_placement = DT_NORM_AFTER;
    c->embedding_layernorm = true;
    c->pad_token_id = 0;
}

static dt_status refuse_other_positions(const json_t *json, dt_error *err)
{
    const char *type = NULL;
    DT_PASS(dt_json_string(json, "position_embedding_type", &type, err));
    return !type || strcmp(type, "absolute") == 0
               ? DT_OK
               : dt_fail(err, DT_UNSUPPORTED,
                         "config.json: \"position_embedding_type\" is \"%s\"; drivetrain computes absolute",
                         type);
}

static dt_status refuse_decoders(const json_t *json, dt_error *err)
{
    static const char *const key[] = {"is_decoder", "add_cross_attention"};
    for (int i = 0; i < 2; i++) {
        bool value = false;
        DT_PASS(dt_json_bool(json, key[i], &value, err));
        if (value)
            return dt_fail(err, DT_UNSUPPORTED,
                           "config.json: \"%s\" is true; drivetrain computes this model as an encoder",
                           key[i]);
    }
    return DT_OK;
}

/* transformers cuts hidden_size into heads by whole numbers, and refuses a rest. */
static dt_status refuse_rest(const dt_model_config *c, dt_error *err)
{
    if (c->num_attention_heads > 0 && c->hidden_size % c->num_attention_heads == 0)
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED,
                   "config.json: \"hidden_size\" %lld is not a multiple of \"num_attention_heads\" %lld",
                   (long long)c->hidden_size, (long long)c->num_attention_heads);
}

dt_status dt_hf_bert_read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                          dt_error *err)
{
    DT_PASS(refuse_other_positions(json, err));
    DT_PASS(refuse_decoders(json, err));
    DT_PASS(refuse_rest(c, err));
    c->no_lm_head = !evidence->lm_head;
    c->add_binary_head = evidence->binary_head;
    c->pooler = evidence->pooler && !evidence->binary_head;
    return DT_OK;
}

dt_status dt_hf_bert_write(json_t *json, const char *architecture, dt_error *err)
{
    if (json_object_set_new(json, "architectures", json_pack("[s]", architecture)) ||
        json_object_set_new(json, "position_embedding_type", json_string("absolute")))
        return dt_fail_memory(err, 256, "config.json");
    return DT_OK;
}
