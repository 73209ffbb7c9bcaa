/*
 * t5.c (hf) - config.json of T5, mT5 and umT5, where a number does not simply carry over.
 *
 * Transformers' T5 does not scale scores and has no bias; whether the tied head reads hidden / sqrt(d_model) is
 * told by scale_decoder_outputs in v5 files and by tie_word_embeddings in v4 ones. mT5 never scales; umT5 always.
 * Whether the head is tied is decided by the tensors: v5 writes tie_word_embeddings true for every T5.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/hf/family.h"

#include <stdio.h>
#include <string.h>

#define NAMES "formats/hf/names_t5.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/hf/keys_t5.def"
};

static void common_defaults(dt_model_config *c, bool first)
{
    snprintf(c->model_type, sizeof c->model_type, "t5");
    c->vocab_size = first ? 32128 : 250112;
    c->hidden_size = 512;
    c->kv_channels = 64;
    c->ffn_hidden_size = first ? 2048 : 1024;
    c->encoder_num_layers = first ? 6 : 8;
    c->decoder_num_layers = -1;
    c->num_attention_heads = first ? 8 : 6;
    c->layernorm_epsilon = 1e-6;
    c->normalization = DT_NORM_RMSNORM;
    c->add_bias_linear = false;
    c->position_embedding_type = DT_POSITION_RELATIVE;
    c->softmax_scale = 1.0;
    c->pad_token_id = 0;
    c->eos_count = 1;
    c->eos_token_ids[0] = 1;
    c->activation_func = first ? DT_ACT_RELU : DT_ACT_GELU_TANH;
    c->gated_linear_unit = !first;
}

static void defaults_t5(dt_model_config *c)
{
    common_defaults(c, true);
}

static void defaults_mt5(dt_model_config *c)
{
    common_defaults(c, false);
}

static void defaults_umt5(dt_model_config *c)
{
    common_defaults(c, false);
    c->relative_bias_per_layer = true;
}

/*
 * "relu", "gated-gelu", …; gated-gelu has always meant the tanh form. What newer files say again in two keys of their
 * own overrules it, as in transformers.
 */
static dt_status read_feed_forward(dt_model_config *c, const json_t *json, dt_error *err)
{
    const char *text = NULL;
    DT_PASS(dt_json_string(json, "feed_forward_proj", &text, err));
    if (text)
        c->gated_linear_unit = dt_starts_with(text, "gated-");
    if (text && c->gated_linear_unit)
        text += strlen("gated-");
    if (text && c->gated_linear_unit && strcmp(text, "gelu") == 0)
        text = "gelu_new";
    if (text)
        DT_PASS(dt_hf_read_activation("feed_forward_proj", text, &c->activation_func, err));
    DT_PASS(dt_json_bool(json, "is_gated_act", &c->gated_linear_unit, err));
    text = NULL;
    DT_PASS(dt_json_string(json, "dense_act_fn", &text, err));
    return text ? dt_hf_read_activation("dense_act_fn", text, &c->activation_func, err) : DT_OK;
}

static dt_status read_common(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                             dt_error *err)
{
    DT_PASS(read_feed_forward(c, json, err));
    c->encoder_only = !evidence->decoder;
    if (c->decoder_num_layers < 0)
        c->decoder_num_layers = c->encoder_num_layers;
    c->num_layers = c->encoder_only ? c->encoder_num_layers : c->decoder_num_layers;
    c->no_output_layer_bias = !evidence->head && evidence->decoder; /* Megatron's tied head has one */
    int64_t pad = c->pad_token_id;
    DT_PASS(dt_json_int(json, "pad_token_id", &pad, err));
    c->decoder_start_token_id = c->encoder_only ? -1 : pad; /* what transformers shifts right with */
    return DT_OK;
}

static dt_status read_t5(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                         dt_error *err)
{
    bool tied = true;
    DT_PASS(read_common(c, json, evidence, err));
    DT_PASS(dt_json_bool(json, "tie_word_embeddings", &tied, err));
    c->scale_decoder_outputs = tied;
    DT_PASS(dt_json_bool(json, "scale_decoder_outputs", &c->scale_decoder_outputs, err));
    c->scale_decoder_outputs = c->scale_decoder_outputs && !c->encoder_only;
    return DT_OK;
}

static dt_status read_mt5(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                          dt_error *err)
{
    return read_common(c, json, evidence, err);
}

static dt_status read_umt5(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence,
                           dt_error *err)
{
    DT_PASS(read_common(c, json, evidence, err));
    c->scale_decoder_outputs = !c->encoder_only;
    return DT_OK;
}

/* ---- writing ---- */

static dt_status write_common(const dt_model_config *c, json_t *json, dt_error *err)
{
    char text[64];
    bool gated = c->gated_linear_unit;
    const char *name = dt_hf_activation_name(c->activation_func);
    const char *spelled = name;
    if (gated && c->activation_func == DT_ACT_GELU_TANH)
        spelled = "gelu"; /* gated-gelu means the tanh form … */
    else if (gated && c->activation_func == DT_ACT_GELU)
        spelled = name = "gelu_python"; /* … so the exact one needs its other name */
    snprintf(text, sizeof text, "%s%s", gated ? "gated-" : "", spelled);
    int failed = json_object_set_new(json, "feed_forward_proj", json_string(text));
    failed |= json_object_set_new(json, "dense_act_fn", json_string(name));
    failed |= json_object_set_new(json, "is_gated_act", json_boolean(gated));
    failed |= json_object_set_new(json, "is_encoder_decoder", json_boolean(!c->encoder_only));
    failed |= json_object_set_new(json, "use_cache", json_boolean(!c->encoder_only));
    return failed ? dt_fail_memory(err, 256, "config.json") : DT_OK;
}

static dt_status write_class(const dt_model_config *c, json_t *json, const char *encoder_class, dt_error *err)
{
    DT_PASS(write_common(c, json, err));
    if (c->encoder_only && json_object_set_new(json, "architectures", json_pack("[s]", encoder_class)))
        return dt_fail_memory(err, 256, "config.json");
    return DT_OK;
}

static dt_status write_t5(const dt_model_config *c, json_t *json, dt_error *err)
{
    DT_PASS(write_class(c, json, "T5EncoderModel", err));
    if (json_object_set_new(json, "scale_decoder_outputs", json_boolean(c->scale_decoder_outputs)))
        return dt_fail_memory(err, 256, "config.json");
    return DT_OK;
}

static dt_status write_mt5(const dt_model_config *c, json_t *json, dt_error *err)
{
    return write_class(c, json, "MT5EncoderModel", err);
}

static dt_status write_umt5(const dt_model_config *c, json_t *json, dt_error *err)
{
    return write_class(c, json, "UMT5EncoderModel", err);
}

DT_HF_FAMILY(t5, "T5ForConditionalGeneration", defaults_t5, read_t5, write_t5)
DT_HF_FAMILY(mt5, "MT5ForConditionalGeneration", defaults_mt5, read_mt5, write_mt5)
DT_HF_FAMILY(umt5, "UMT5ForConditionalGeneration", defaults_umt5, read_umt5, write_umt5)
