/*
 * t5.c (gguf) - architectures "t5" and "t5encoder".
 *
 * llama.cpp's T5 has GELU (its tanh form) with a gate and ReLU without, a largest distance of 128, and does not divide
 * a tied head's input by sqrt(width): where T5 1.0 does, its logits are larger by that factor, in the same order. A
 * key of ours says so, for whoever reads the file with drivetrain. Tables of another largest distance are repeated for
 * llama.cpp (formats/buckets.h), and keys of ours tell the model's own numbers, by which they are read back.
 */
#include "formats/gguf/family.h"

#include "base/json.h"
#include "formats/buckets.h"

#include <inttypes.h>
#include <stdio.h>

#define NAMES "formats/gguf/names_t5.def"
#include "formats/hf/expand_names.h"

static const dt_hf_key keys[] = {
#include "formats/gguf/keys_t5.def"
};

static void defaults(dt_model_config *c)
{
    snprintf(c->model_type, sizeof c->model_type, "t5");
    c->decoder_num_layers = -1;
    c->normalization = DT_NORM_RMSNORM;
    c->add_bias_linear = false;
    c->position_embedding_type = DT_POSITION_RELATIVE;
    c->softmax_scale = 1.0;
    c->relative_attention_max_distance = 128;
}

static void defaults_umt5(dt_model_config *c)
{
    defaults(c);
    c->relative_bias_per_layer = true;
}

static void defaults_encoder(dt_model_config *c)
{
    defaults(c);
    c->encoder_only = true;
}

#define COUNT        "attention.relative_buckets_count"
#define OWN_COUNT    "drivetrain.relative_buckets_count"
#define OWN_DISTANCE "drivetrain.relative_max_distance"

/* Of a table that was repeated, the model's own number of buckets and largest distance. */
static dt_status read_buckets(dt_model_config *c, const json_t *json, dt_error *err)
{
    int64_t rows = c->relative_attention_num_buckets;
    if (!json_object_get(json, OWN_COUNT))
        return DT_OK;
    DT_PASS(dt_json_int(json, OWN_COUNT, &c->relative_attention_num_buckets, err));
    DT_PASS(dt_json_int(json, OWN_DISTANCE, &c->relative_attention_max_distance, err));
    int64_t expected = dt_repeated_buckets(c);
    if (rows == expected)
        return DT_OK;
    return dt_fail(err, DT_MISMATCH,
                   "\"" COUNT "\" is %" PRId64 ", expected %" PRId64 " of %" PRId64
                   " buckets up to a distance of %" PRId64 " (\"" OWN_COUNT "\", \"" OWN_DISTANCE "\")",
                   rows, expected, c->relative_attention_num_buckets, c->relative_attention_max_distance);
}

/* Where there is no such table, llama.cpp's distance stays, and reading back finds the difference. */
static int write_buckets(const dt_model_config *c, json_t *json)
{
    int64_t rows = dt_repeated_buckets(c);
    if (rows == 0 || !dt_repeats_buckets(c))
        return 0;
    int failed = json_object_set_new(json, COUNT, json_integer(rows));
    failed |= json_object_set_new(json, OWN_COUNT, json_integer(c->relative_attention_num_buckets));
    failed |= json_object_set_new(json, OWN_DISTANCE, json_integer(c->relative_attention_max_distance));
    return failed;
}

static dt_status read(dt_model_config *c, const json_t *json, const dt_hf_evidence *evidence, dt_error *err)
{
    c->gated_linear_unit = dt_gguf_has(json, "enc.blk.0.ffn_gate.weight");
    c->activation_func = c->gated_linear_unit ? DT_ACT_GELU_TANH : DT_ACT_RELU;
    DT_PASS(dt_json_bool(json, "drivetrain.scale_decoder_outputs", &c->scale_decoder_outputs, err));
    c->decoder_num_layers = c->encoder_num_layers;
    DT_PASS(dt_json_int(json, "decoder_block_count", &c->decoder_num_layers, err));
    DT_PASS(read_buckets(c, json, err));
    c->num_layers = c->encoder_only ? c->encoder_num_layers : c->decoder_num_layers;
    c->no_output_layer_bias = !evidence->head && !c->encoder_only;
    return DT_OK;
}

static dt_status write(const dt_model_config *c, json_t *json, dt_error *err)
{
    int failed = json_object_set_new(json, "context_length",
                                     json_integer(c->max_sequence_length > 0 ? c->max_sequence_length : 512));
    failed |= write_buckets(c, json);
    failed |= json_object_set_new(json, "attention.value_length", json_integer(c->kv_channels));
    failed |= json_object_set_new(json, "attention.layer_norm_epsilon", json_real(c->layernorm_epsilon));
    if (!c->encoder_only)
        failed |= json_object_set_new(json, "decoder_block_count", json_integer(c->decoder_num_layers));
    if (!c->encoder_only && c->decoder_start_token_id >= 0)
        failed |=
            json_object_set_new(json, "decoder_start_token_id", json_integer(c->decoder_start_token_id));
    if (c->scale_decoder_outputs)
        failed |= json_object_set_new(json, "drivetrain.scale_decoder_outputs", json_true());
    if (c->gated_linear_unit)
        failed |= dt_gguf_put_tensor(json, "enc.blk.0.ffn_gate.weight");
    return failed ? dt_fail_memory(err, 256, "metadata") : DT_OK;
}

DT_GGUF_FAMILY(t5, "t5", defaults, read, write, keys, names)
DT_GGUF_FAMILY(mt5, "mt5", defaults, read, write, keys, names)
DT_GGUF_FAMILY(umt5, "umt5", defaults_umt5, read, write, keys, names)
DT_GGUF_FAMILY(t5encoder, "t5", defaults_encoder, read, write, keys, names)
