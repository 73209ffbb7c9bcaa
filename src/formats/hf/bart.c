/*
 * bart.c (hf) - config.json of BART, mBART, M2M100 and NLLB, Marian and Pegasus.
 *
 * The classes fix what their configurations do not say: where norms stand and where positions come from. Whether tables
 * of tokens, head and positions are shared or stored is decided by the tensors, as transformers 5 does.
 */
#include "base/json.h"
#include "formats/hf/family.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAMES "formats/hf/names_bart.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_bart.def"
};

static void common_defaults(dt_model_config *c, int64_t vocab, int64_t pad, int32_t eos, int64_t start)
{
    snprintf(c->model_type, sizeof c->model_type, "t5");
    c->vocab_size = vocab;
    c->hidden_size = 1024;
    c->encoder_num_layers = c->decoder_num_layers = 12;
    c->num_attention_heads = 16;
    c->ffn_hidden_size = 4096;
    c->max_sequence_length = 1024;
    c->pad_token_id = pad;
    c->padding_row_still = true;
    c->eos_count = 1;
    c->eos_token_ids[0] = eos;
    c->decoder_start_token_id = start;
}

static void defaults_bart(dt_model_config *c)
{
    common_defaults(c, 50265, 1, 2, 2);
    c->bos_token_id = 0;
    c->norm_placement = DT_NORM_AFTER;
    c->embedding_layernorm = true;
    c->positions_per_stack = true;
    c->position_offset = 2;
}

static void defaults_mbart(dt_model_config *c)
{
    defaults_bart(c);
    c->decoder_start_token_id = -1;
    c->norm_placement = DT_NORM_BEFORE;
}

static void defaults_m2m_100(dt_model_config *c)
{
    common_defaults(c, 128112, 1, 2, 2);
    c->bos_token_id = 0;
    c->activation_func = DT_ACT_RELU;
    c->embedding_multiplier = 1; /* scaled: by the root of a width that is read later */
    c->position_embedding_type = DT_POSITION_SINUSOIDAL;
    c->sinusoids_to_base = true;
}

static void defaults_marian(dt_model_config *c)
{
    common_defaults(c, 58101, 58100, 0, 58100);
    c->norm_placement = DT_NORM_AFTER;
    c->position_embedding_type = DT_POSITION_SINUSOIDAL;
}

static void defaults_pegasus(dt_model_config *c)
{
    common_defaults(c, 50265, 0, 1, 0);
    c->positions_per_stack = true;
}

/* ---- reading ---- */

/* The encoder's heads and width have keys and defaults of their own, which are the class's, not the decoder's. */
static dt_status read_encoder(dt_model_config *c, const json_t *json, dt_error *err)
{
    c->encoder_num_attention_heads = 16;
    c->encoder_ffn_hidden_size = 4096;
    DT_PASS(dt_json_int(json, "encoder_attention_heads", &c->encoder_num_attention_heads, err));
    DT_PASS(
        dt_json_int(json, "num_attention_heads", &c->encoder_num_attention_heads, err)); /* its other name */
    return dt_json_int(json, "encoder_ffn_dim", &c->encoder_ffn_hidden_size, err);
}

static dt_status read_vocabularies(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                                   bool two, dt_error *err)
{
    int64_t target = 0;
    bool shared = true;
    if (two) {
        DT_PASS(dt_json_bool(json, "share_encoder_decoder_embeddings", &shared, err));
        DT_PASS(dt_json_int(json, "decoder_vocab_size", &target, err));
    }
    /* a class whose head is apart ties no tables either, though they may be equal */
    c->encoder_vocab_size = evidence->encoder_table || evidence->head ? c->vocab_size : -1;
    if (!shared && target > 0)
        c->vocab_size = target;
    return DT_OK;
}

static dt_status read_common(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, bool two,
                             dt_error *err)
{
    bool scaled = c->embedding_multiplier != 0;
    DT_PASS(dt_json_bool(json, "scale_embedding", &scaled, err));
    c->embedding_multiplier = scaled ? sqrt((double)c->hidden_size) : 0;
    DT_PASS(read_encoder(c, json, err));
    DT_PASS(read_vocabularies(c, json, evidence, two, err));
    c->num_layers = c->decoder_num_layers;
    c->no_output_layer_bias = !evidence->head && !evidence->head_bias;
    c->output_layer_bias = evidence->head && evidence->head_bias;
    return DT_OK;
}

static dt_status read_bart(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                           dt_error *err)
{
    return read_common(c, json, evidence, false, err);
}

/* Positions are counted from the padding token's id on, and padding has none: a text that starts with it would be shifted. */
static dt_status read_m2m_100(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                              dt_error *err)
{
    int64_t pad = c->pad_token_id;
    DT_PASS(dt_json_int(json, "pad_token_id", &pad, err));
    int64_t start = c->decoder_start_token_id;
    DT_PASS(dt_json_int(json, "decoder_start_token_id", &start, err));
    if (start == pad)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "key \"decoder_start_token_id\" is %lld, the padding token, which has no position in this "
            "class; drivetrain counts every token",
            (long long)start);
    c->position_offset = pad + 1;
    return read_common(c, json, evidence, false, err);
}

/* Its sinusoids are computed; files before version 5 store them, and what is stored is what transformers loads. */
static dt_status read_marian(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                             dt_error *err)
{
    c->position_embedding_type = evidence->positions ? DT_POSITION_LEARNED : DT_POSITION_SINUSOIDAL;
    c->positions_per_stack = evidence->positions;
    return read_common(c, json, evidence, true, err);
}

/* ---- writing ---- */

static dt_status write_common(const dt_model_config *c, json_t *json, dt_error *err)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    bool own = c->encoder_vocab_size > 0;
    int failed =
        json_object_set_new(json, "encoder_attention_heads", json_integer(encoder.num_attention_heads));
    failed |= json_object_set_new(json, "encoder_ffn_dim", json_integer(encoder.ffn_hidden_size));
    failed |=
        json_object_set_new(json, "vocab_size", json_integer(own ? c->encoder_vocab_size : c->vocab_size));
    failed |= json_object_set_new(json, "scale_embedding", json_boolean(c->embedding_multiplier != 0));
    failed |= json_object_set_new(json, "is_encoder_decoder", json_true());
    return failed ? dt_fail_memory(err, 256, "config.json") : DT_OK;
}

static dt_status write_marian(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = json_object_set_new(json, "decoder_vocab_size", json_integer(c->vocab_size));
    failed |= json_object_set_new(json, "share_encoder_decoder_embeddings",
                                  json_boolean(c->encoder_vocab_size <= 0));
    return failed ? dt_fail_memory(err, 256, "config.json") : write_common(c, json, err);
}

static dt_status write_m2m_100(const dt_model_config *c, json_t *json, dt_error *err)
{
    if (json_object_set_new(json, "pad_token_id", json_integer(c->position_offset - 1)))
        return dt_fail_memory(err, 256, "config.json");
    return write_common(c, json, err);
}

DT_HF_FAMILY(bart, "BartForConditionalGeneration", defaults_bart, read_bart, write_common)
DT_HF_FAMILY(mbart, "MBartForConditionalGeneration", defaults_mbart, read_bart, write_common)
DT_HF_FAMILY(m2m_100, "M2M100ForConditionalGeneration", defaults_m2m_100, read_m2m_100, write_m2m_100)
DT_HF_FAMILY(marian, "MarianMTModel", defaults_marian, read_marian, write_marian)
DT_HF_FAMILY(pegasus, "PegasusForConditionalGeneration", defaults_pegasus, read_bart, write_common)
