/*
 * config_check.c - does a configuration make sense: sizes within bounds, options that go together. What comes from a file is
 * trusted only after it.
 */
#include "base/fail.h"
#include "nn/layer.h"

#include <drivetrain/config.h>

#include <math.h>
#include <string.h>

/* Bounds keep every later product inside int64: sizes from a file are not trusted before this check. */
enum {
    MAX_LAYERS = DT_MAX_LAYERS,
    MAX_EXPERTS = 1 << 12,
    MAX_WIDTH = 1 << 20,
    MAX_POSITIONS = 1 << 26,
    MAX_VOCABULARY = 1 << 24,
    MAX_ROTARY = 2 * DT_MAX_FREQUENCIES
};

dt_status dt_config_check_range(const char *key, int64_t value, int64_t low, int64_t high, dt_error *err)
{
    if (value >= low && value <= high)
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED, "configuration: \"%s\" is %lld, expected %lld to %lld", key,
                   (long long)value, (long long)low, (long long)high);
}

static dt_status check_sizes(const dt_model_config *c, dt_error *err)
{
    bool t5 = strcmp(c->model_type, "t5") == 0;
    DT_PASS(dt_config_check_range("hidden_size", c->hidden_size, 1, MAX_WIDTH, err));
    DT_PASS(dt_config_check_range("num_attention_heads", c->num_attention_heads, 1, MAX_WIDTH, err));
    DT_PASS(dt_config_check_range("num_query_groups", c->num_query_groups, 1, c->num_attention_heads, err));
    DT_PASS(dt_config_check_range("kv_channels", c->kv_channels, 1, MAX_WIDTH, err));
    DT_PASS(dt_config_check_range("kv_channels * num_attention_heads",
                                  c->kv_channels * c->num_attention_heads, 1, MAX_WIDTH, err));
    DT_PASS(dt_config_check_range("ffn_hidden_size", c->ffn_hidden_size, 1, MAX_WIDTH, err));
    if (!dt_config_reads(c))
        return dt_config_check_range("num_layers", c->num_layers, 1, MAX_LAYERS, err);
    DT_PASS(dt_config_check_range("vocab_size", c->vocab_size, 1, MAX_VOCABULARY, err));
    DT_PASS(
        dt_config_check_range("padded_vocab_size", c->padded_vocab_size, c->vocab_size, MAX_VOCABULARY, err));
    if (c->position_embedding_type == DT_POSITION_LEARNED || c->max_sequence_length != -1)
        DT_PASS(dt_config_check_range("max_sequence_length", c->max_sequence_length, 1, MAX_POSITIONS, err));
    if (!t5)
        return dt_config_check_range("num_layers", c->num_layers, 1, MAX_LAYERS, err);
    DT_PASS(dt_config_check_range("encoder_num_layers", c->encoder_num_layers, 1, MAX_LAYERS, err));
    return c->encoder_only
               ? DT_OK
               : dt_config_check_range("decoder_num_layers", c->decoder_num_layers, 1, MAX_LAYERS, err);
}

/* What the encoder has of its own. */
static dt_status check_encoder(const dt_model_config *c, dt_error *err)
{
    int64_t width = c->num_attention_heads * c->kv_channels, heads = c->encoder_num_attention_heads;
    if (c->encoder_vocab_size != -1)
        DT_PASS(dt_config_check_range("x_encoder_vocab_size", c->encoder_vocab_size, 1, MAX_VOCABULARY, err));
    if (c->encoder_ffn_hidden_size != -1)
        DT_PASS(dt_config_check_range("x_encoder_ffn_hidden_size", c->encoder_ffn_hidden_size, 1, MAX_WIDTH,
                                      err));
    if (heads == -1)
        return DT_OK;
    DT_PASS(dt_config_check_range("x_encoder_num_attention_heads", heads, 1, width, err));
    if (width % heads || c->num_query_groups != c->num_attention_heads)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_encoder_num_attention_heads\" is %lld, expected a divisor of %lld",
                       (long long)heads, (long long)width);
    return DT_OK;
}

static dt_status check_sinusoids(const dt_model_config *c, dt_error *err)
{
    return dt_config_check_range("hidden_size", c->hidden_size, c->sinusoids_to_base ? 4 : 1,
                                 2 * DT_MAX_FREQUENCIES, err);
}

static bool positive(double x)
{
    return x > 0 && isfinite(x);
}

static dt_status check_rope_scaling(const dt_model_config *c, int64_t rotary, dt_error *err)
{
    bool yarn = c->rope_scaling_type == DT_ROPE_YARN, longrope = c->rope_scaling_type == DT_ROPE_LONGROPE;
    if (c->rope_attention_factor != 0 && !positive(c->rope_attention_factor))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: rope's \"attention_factor\" is %g, expected more than 0",
                       c->rope_attention_factor);
    if (c->window_rotary_base != 0 && !positive(c->window_rotary_base))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_window_rotary_base\" is %g, expected more than 0",
                       c->window_rotary_base);
    if (c->rope_scaling_type == DT_ROPE_DYNAMIC || yarn || longrope)
        DT_PASS(dt_config_check_range("max_sequence_length", c->max_sequence_length, 1, MAX_POSITIONS, err));
    if (yarn || longrope)
        DT_PASS(dt_config_check_range("original_max_position_embeddings", c->rope_original_max_position, 2,
                                      MAX_POSITIONS, err));
    if (yarn && !(positive(c->rope_beta_fast) && positive(c->rope_beta_slow) && c->rotary_base != 1))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: yarn's \"beta_fast\" is %g and \"beta_slow\" %g, expected more than 0",
                       c->rope_beta_fast, c->rope_beta_slow);
    if (c->rope_scaling_type == DT_ROPE_DYNAMIC && rotary < 4)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: dynamic rope scaling needs 4 dimensions that rotate, not %lld",
                       (long long)rotary);
    if (longrope && c->rope_factors != rotary / 2)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: longrope has %d factors, expected %lld, half of what rotates",
                       c->rope_factors, (long long)(rotary / 2));
    for (int i = 0; longrope && i < c->rope_factors; i++)
        if (!positive(c->rope_short_factor[i]) || !positive(c->rope_long_factor[i]))
            return dt_fail(err, DT_UNSUPPORTED, "configuration: longrope's factor %d is not more than 0", i);
    return DT_OK;
}

static dt_status check_positions(const dt_model_config *c, dt_error *err)
{
    DT_PASS(dt_config_check_range("x_position_offset", c->position_offset, 0, MAX_POSITIONS, err));
    if (c->position_embedding_type == DT_POSITION_SINUSOIDAL)
        return check_sinusoids(c, err);
    if (c->position_embedding_type == DT_POSITION_RELATIVE) {
        int64_t buckets = c->relative_attention_num_buckets;
        if (strcmp(c->model_type, "t5") != 0)
            return dt_fail(err, DT_UNSUPPORTED,
                           "configuration: \"position_embedding_type\" is relative, which only T5 has");
        DT_PASS(dt_config_check_range("relative_attention_num_buckets", buckets, 4, 1 << 16, err));
        return dt_config_check_range("relative_attention_max_distance", c->relative_attention_max_distance,
                                     buckets / 2 + 1, MAX_POSITIONS, err);
    }
    if (c->position_embedding_type != DT_POSITION_ROPE)
        return DT_OK;
    int64_t rotary = (int64_t)((double)c->kv_channels * c->rotary_percent);
    if (!(c->rotary_percent > 0 && c->rotary_percent <= 1) || rotary < 2 || rotary % 2)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "configuration: \"rotary_percent\" %g of %lld kv_channels rotates %lld dimensions, expected "
            "an even number of at least 2",
            c->rotary_percent, (long long)c->kv_channels, (long long)rotary);
    DT_PASS(dt_config_check_range("kv_channels * rotary_percent", rotary, 2, MAX_ROTARY, err));
    if (!(c->rotary_base > 0) || !isfinite(c->rotary_base))
        return dt_fail(err, DT_UNSUPPORTED, "configuration: \"rotary_base\" is %g, expected more than 0",
                       c->rotary_base);
    if (c->rope_scaling_type != DT_ROPE_PLAIN && c->rope_scaling_type != DT_ROPE_LONGROPE &&
        !(c->rope_scaling_factor >= 1 && isfinite(c->rope_scaling_factor)))
        return dt_fail(err, DT_UNSUPPORTED, "configuration: rope scaling factor is %g, expected at least 1",
                       c->rope_scaling_factor);
    return check_rope_scaling(c, rotary, err);
}

static dt_status check_attention(const dt_model_config *c, dt_error *err)
{
    DT_PASS(dt_config_check_range("window_size", c->window_left, -1, MAX_POSITIONS, err));
    DT_PASS(dt_config_check_range("window_attn_skip_freq", c->window_attn_skip_freq, 0, MAX_LAYERS, err));
    if (c->window_listed && c->window_listed != c->num_layers)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "configuration: the list of windowed layers has %d entries, but \"num_layers\" is %lld",
            c->window_listed, (long long)c->num_layers);
    if (!(c->attention_soft_cap >= 0) || !isfinite(c->attention_soft_cap))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: the soft cap of attention scores is %g, expected 0 or more",
                       c->attention_soft_cap);
    if (!dt_config_is_gpt(c) && (c->window_left >= 0 || c->softmax_type != DT_SOFTMAX_VANILLA))
        return dt_fail(err, DT_UNSUPPORTED, "configuration: \"%s\" is set, which only GPT models have",
                       c->window_left >= 0 ? "window_size" : "softmax_type");
    return DT_OK;
}

static dt_status check_bert(const dt_model_config *c, dt_error *err)
{
    enum { MAX_TYPES = 1 << 16 };
    bool bert = strcmp(c->model_type, "bert") == 0;
    DT_PASS(dt_config_check_range("num_tokentypes", c->num_tokentypes, 0, bert ? MAX_TYPES : 0, err));
    if (!c->positions_skip_padding)
        return DT_OK;
    if (c->position_embedding_type != DT_POSITION_LEARNED)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_positions_skip_padding\" is true, but positions are %s",
                       dt_position_embedding_name(c->position_embedding_type));
    return dt_config_check_range("pad_token_id", c->pad_token_id, 0, c->max_sequence_length - 2, err);
}

static dt_status check_experts(const dt_model_config *c, dt_error *err)
{
    if (c->num_moe_experts == 0)
        return DT_OK;
    DT_PASS(dt_config_check_range("num_moe_experts", c->num_moe_experts, 1, MAX_EXPERTS, err));
    if (strcmp(c->model_type, "t5") == 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"num_moe_experts\" is %lld, but no T5 has experts",
                       (long long)c->num_moe_experts);
    DT_PASS(dt_config_check_range("moe_layer_freq", c->moe_layer_freq, 1, MAX_LAYERS, err));
    if (c->moe_listed && c->moe_listed != c->num_layers)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"moe_layer_freq\" lists %d layers, but \"num_layers\" is %lld",
                       c->moe_listed, (long long)c->num_layers);
    DT_PASS(dt_config_check_range("moe_ffn_hidden_size", c->moe_ffn_hidden_size, 1, MAX_WIDTH, err));
    DT_PASS(dt_config_check_range("moe_router_topk", c->moe_router_topk, 1, c->num_moe_experts, err));
    return dt_config_check_range("moe_shared_expert_intermediate_size",
                                 c->moe_shared_expert_intermediate_size, 0, MAX_WIDTH, err);
}

static dt_status check_block(const dt_model_config *c, dt_error *err)
{
    bool t5 = strcmp(c->model_type, "t5") == 0;
    if (c->parallel_residual && (t5 || c->norm_placement != DT_NORM_BEFORE))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_parallel_residual\" is true, which needs a gpt whose norms stand "
                       "before its branches");
    if (c->parallel_shared_norm && !c->parallel_residual)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "configuration: \"x_parallel_shared_norm\" is true, but \"x_parallel_residual\" is not");
    if (c->qk_layernorm && t5)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"qk_layernorm\" is true, which drivetrain does not compute for T5");
    if (!isfinite(c->embedding_multiplier))
        return dt_fail(err, DT_UNSUPPORTED, "configuration: \"x_embedding_multiplier\" is %g",
                       c->embedding_multiplier);
    if (!(c->final_logit_softcapping >= 0) || !isfinite(c->final_logit_softcapping))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_final_logit_softcapping\" is %g, expected 0 (none) or more",
                       c->final_logit_softcapping);
    return DT_OK;
}

static dt_status check_shapes(const dt_model_config *c, dt_error *err)
{
    if (c->shape_count == 0)
        return DT_OK;
    if (!dt_config_is_gpt(c) || c->num_moe_experts || c->parallel_residual)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "configuration: layers of different shapes are computed only for a gpt without experts "
            "and without parallel branches");
    if (c->shape_count != c->num_layers)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"block_configs\" has %d layers, but \"num_layers\" is %lld",
                       c->shape_count, (long long)c->num_layers);
    for (int i = 0; i < c->shape_count; i++) {
        const dt_layer_shape *s = &c->shape[i];
        DT_PASS(dt_config_check_range("ffn_hidden_size", s->ffn_hidden_size, 1, MAX_WIDTH, err));
        DT_PASS(
            dt_config_check_range("num_query_groups", s->num_query_groups, 1, c->num_attention_heads, err));
        if (c->num_attention_heads % s->num_query_groups)
            return dt_fail(
                err, DT_UNSUPPORTED,
                "configuration: \"num_attention_heads\" %lld is not a multiple of the %d query groups of "
                "layer %d",
                (long long)c->num_attention_heads, s->num_query_groups, i);
    }
    return DT_OK;
}

dt_status dt_config_check(const dt_model_config *c, dt_error *err)
{
    DT_PASS(check_sizes(c, err));
    DT_PASS(dt_config_check_vision(c, err));
    DT_PASS(check_experts(c, err));
    DT_PASS(check_block(c, err));
    DT_PASS(check_shapes(c, err));
    DT_PASS(check_encoder(c, err));
    DT_PASS(check_attention(c, err));
    DT_PASS(check_bert(c, err));
    if (c->num_attention_heads % c->num_query_groups)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "configuration: \"num_attention_heads\" %lld is not a multiple of \"num_query_groups\" %lld",
            (long long)c->num_attention_heads, (long long)c->num_query_groups);
    if (strcmp(c->model_type, "t5") == 0 && !c->encoder_only && c->num_query_groups != c->num_attention_heads)
        return dt_fail(
            err, DT_UNSUPPORTED,
            "configuration: \"num_query_groups\" is %lld, but T5's cross attention has as many as heads "
            "(%lld)",
            (long long)c->num_query_groups, (long long)c->num_attention_heads);
    if (!(c->layernorm_epsilon > 0) || !isfinite(c->layernorm_epsilon))
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"layernorm_epsilon\" is %g, expected more than 0",
                       c->layernorm_epsilon);
    if (!(c->softmax_scale > 0) || !isfinite(c->softmax_scale))
        return dt_fail(err, DT_UNSUPPORTED, "configuration: \"softmax_scale\" is %g, expected more than 0",
                       c->softmax_scale);
    return check_positions(c, err);
}
