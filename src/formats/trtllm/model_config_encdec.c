/*
 * model_config_encdec.c (trtllm) - config.json of encoder-decoders: EncoderModel's and DecoderModel's keys, of T5's kin
 * and BART's.
 */
#include "base/json.h"
#include "formats/trtllm/model_config.h"

#include <math.h>
#include <stdio.h>

static bool has_bias(const dt_model_config *c)
{
    return c->add_bias_linear || c->add_qkv_bias;
}

static bool is_implicit(const dt_trtllm_type *type)
{
    return type->names[1] == &dt_trtllm_implicit_names;
}

static int write_decoder(const dt_model_config *c, const dt_trtllm_plan *p, json_t *json)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    const pair tokens[] = {
        {"decoder_start_token_id", json_integer(c->decoder_start_token_id)},
        {"eos_token_id", c->eos_count ? json_integer(c->eos_token_ids[0]) : json_null()},
        {"bos_token_id", c->bos_token_id >= 0 ? json_integer(c->bos_token_id) : json_null()},
        {"pad_token_id", c->pad_token_id >= 0 ? json_integer(c->pad_token_id) : json_null()}};
    return put(json, tokens, COUNT(tokens)) |
           PUT(json, {"rescale_before_lm_head", json_boolean(c->scale_decoder_outputs)},
               {"encoder_hidden_size", json_integer(c->hidden_size)},
               {"encoder_num_heads", json_integer(encoder.num_attention_heads)},
               {"encoder_head_size", json_integer(encoder.kv_channels)}, {"skip_cross_kv", json_false()},
               {"use_implicit_relative_attention", json_boolean(is_implicit(p->type))},
               {"has_lm_head_bias", json_boolean(dt_config_has_output_bias(c))});
}

int dt_trtllm_write_encdec(const dt_model_config *c, const dt_trtllm_plan *p, int part, json_t *json)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    const dt_model_config *own = part == 0 ? &encoder : c;
    bool relative = c->position_embedding_type == DT_POSITION_RELATIVE;
    bool learned = c->position_embedding_type == DT_POSITION_LEARNED;
    int64_t words = part == 0 && c->encoder_vocab_size > 0 ? c->encoder_vocab_size
                    : p->head_rows                         ? p->head_rows
                                                           : c->padded_vocab_size;
    double scaling = 1 / (own->softmax_scale * sqrt((double)own->kv_channels));
    const pair list[] = {
        {"vocab_size", json_integer(words)},
        {"num_attention_heads", json_integer(own->num_attention_heads)},
        {"num_key_value_heads", json_integer(own->num_attention_heads)},
        {"head_size", json_integer(own->kv_channels)},
        {"intermediate_size", json_integer(own->ffn_hidden_size)},
        {"max_position_embeddings", json_integer(c->max_sequence_length > 0 ? c->max_sequence_length : 512)},
        {"gated_act", json_boolean(c->gated_linear_unit)},
        {"mlp_type", json_integer(c->gated_linear_unit)},
        {"relative_attention", json_boolean(relative)},
        {"num_buckets", relative ? json_integer(c->relative_attention_num_buckets) : json_null()},
        {"max_distance", relative ? json_integer(c->relative_attention_max_distance) : json_null()},
        {"has_position_embedding", json_boolean(learned)},
        {"type_vocab_size", json_null()},
        {"has_token_type_embedding", json_false()},
        {"has_embedding_layernorm", json_boolean(c->embedding_layernorm)},
        {"has_embedding_scale", json_boolean(c->embedding_multiplier != 0)},
        {"has_attention_qkvo_bias", json_boolean(has_bias(c))},
        {"has_mlp_bias", json_boolean(c->add_bias_linear || c->mlp_bias)},
        {"has_model_final_layernorm", json_boolean(c->norm_placement != DT_NORM_AFTER)},
        {"layernorm_type", json_integer(c->normalization == DT_NORM_RMSNORM)},
        {"layernorm_position", json_integer(c->norm_placement == DT_NORM_AFTER)},
        {"q_scaling", json_real(fabs(scaling - 1) < 1e-9 ? 1 : scaling)},
        {"model_type", json_string(learned ? "bart" : "t5")},
    };
    int failed = put(json, list, COUNT(list));
    return part == 0 ? failed : failed | write_decoder(c, p, json);
}

static dt_status read_norms(const json_t *json, dt_model_config *c, dt_error *err)
{
    int64_t type = 0, position = 0;
    bool final = true;
    DT_PASS(dt_json_int(json, "layernorm_type", &type, err));
    DT_PASS(dt_json_int(json, "layernorm_position", &position, err));
    DT_PASS(dt_json_bool(json, "has_model_final_layernorm", &final, err));
    DT_PASS(dt_json_bool(json, "has_embedding_layernorm", &c->embedding_layernorm, err));
    if (type < 0 || type > 1 || position < 0 || position > 1 || final == (position == 1))
        return dt_fail(
            err, DT_UNSUPPORTED,
            "keys \"layernorm_type\" %lld, \"layernorm_position\" %lld and \"has_model_final_layernorm\" "
            "%d together are not computed",
            (long long)type, (long long)position, final);
    c->normalization = type == 1 ? DT_NORM_RMSNORM : DT_NORM_LAYERNORM;
    c->norm_placement = position == 1 ? DT_NORM_AFTER : DT_NORM_BEFORE;
    return DT_OK;
}

static dt_status read_scales(const json_t *json, dt_model_config *c, dt_error *err)
{
    double scaling = 1;
    bool scaled = false;
    DT_PASS(dt_json_real(json, "q_scaling", &scaling, err));
    DT_PASS(dt_json_bool(json, "has_embedding_scale", &scaled, err));
    DT_PASS(dt_json_bool(json, "rescale_before_lm_head", &c->scale_decoder_outputs, err));
    if (!(scaling > 0))
        return dt_fail(err, DT_FORMAT, "key \"q_scaling\" is %g", scaling);
    if (c->kv_channels > 0)
        c->softmax_scale = 1 / (scaling * sqrt((double)c->kv_channels));
    if (fabs(c->softmax_scale - 1) < 1e-9)
        c->softmax_scale = 1;
    if (scaled)
        c->embedding_multiplier = sqrt((double)c->hidden_size);
    return DT_OK;
}

/* json[0] is the encoder's, json[1] the decoder's, which the common keys were read from. */
dt_status dt_trtllm_read_encdec(dt_model_config *c, const json_t *const json[2], dt_error *err)
{
    bool bias = false, head_bias = false;
    int64_t gate = 0, words = c->vocab_size;
    snprintf(c->model_type, sizeof c->model_type, "t5");
    DT_PASS(dt_json_int(json[0], "num_hidden_layers", &c->encoder_num_layers, err));
    DT_PASS(dt_json_int(json[0], "vocab_size", &words, err));
    DT_PASS(dt_json_int(json[0], "num_attention_heads", &c->encoder_num_attention_heads, err));
    DT_PASS(dt_json_int(json[0], "intermediate_size", &c->encoder_ffn_hidden_size, err));
    c->decoder_num_layers = c->num_layers;
    DT_PASS(dt_json_int(json[1], "num_buckets", &c->relative_attention_num_buckets, err));
    DT_PASS(dt_json_int(json[1], "max_distance", &c->relative_attention_max_distance, err));
    DT_PASS(dt_json_int(json[1], "mlp_type", &gate, err));
    c->gated_linear_unit = gate == 1;
    DT_PASS(dt_json_bool(json[1], "has_attention_qkvo_bias", &bias, err));
    c->add_bias_linear = bias;
    DT_PASS(dt_json_bool(json[1], "has_lm_head_bias", &head_bias, err));
    c->no_output_layer_bias = !head_bias; /* where the head is the embedding */
    c->output_layer_bias = head_bias;     /* where it is not */
    DT_PASS(dt_json_int(json[1], "decoder_start_token_id", &c->decoder_start_token_id, err));
    c->positions_per_stack = c->position_embedding_type == DT_POSITION_LEARNED;
    if (words != c->vocab_size)
        c->encoder_vocab_size = words;
    DT_PASS(read_norms(json[1], c, err));
    return read_scales(json[1], c, err);
}
