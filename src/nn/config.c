/*
 * config.c - defaults, derived fields and checks of dt_model_config; the fields themselves are rows of config.def.
 * Reading a configuration from files belongs to formats/.
 */
#include "base/fail.h"
#include "nn/layer.h"

#include <drivetrain/config.h>

#include <math.h>
#include <string.h>

static const char *const normalization_names[] = {
    [DT_NORM_LAYERNORM] = "LayerNorm",
    [DT_NORM_RMSNORM] = "RMSNorm",
};

static const char *const placement_names[] = {
    [DT_NORM_BEFORE] = "before",
    [DT_NORM_AFTER] = "after",
    [DT_NORM_BRANCH] = "branch",
    [DT_NORM_BOTH] = "both",
};

static const char *const position_names[] = {
    [DT_POSITION_LEARNED] = "learned_absolute",
    [DT_POSITION_ROPE] = "rope",
    [DT_POSITION_RELATIVE] = "relative",
    [DT_POSITION_NONE] = "none",
    [DT_POSITION_ALIBI] = "alibi",
    [DT_POSITION_SINUSOIDAL] = "sinusoidal",
};

static const char *const rope_names[] = {
    [DT_ROPE_PLAIN] = "default", [DT_ROPE_LINEAR] = "linear",   [DT_ROPE_LLAMA3] = "llama3",
    [DT_ROPE_YARN] = "yarn",     [DT_ROPE_DYNAMIC] = "dynamic", [DT_ROPE_LONGROPE] = "longrope",
};

static const char *const activation_names[] = {
    [DT_ACT_IDENTITY] = "identity",   [DT_ACT_GELU] = "gelu",
    [DT_ACT_GELU_TANH] = "fast_gelu", [DT_ACT_QUICK_GELU] = "quick_gelu",
    [DT_ACT_RELU] = "relu",           [DT_ACT_SQUARED_RELU] = "squared_relu",
    [DT_ACT_SILU] = "silu",           [DT_ACT_TANH] = "tanh",
    [DT_ACT_SIGMOID] = "sigmoid",
};

static const char *const softmax_names[] = {
    [DT_SOFTMAX_VANILLA] = "vanilla",
    [DT_SOFTMAX_OFF_BY_ONE] = "off-by-one",
    [DT_SOFTMAX_LEARNABLE] = "learnable",
};

static const char *const router_names[] = {
    [DT_ROUTER_SOFTMAX] = "softmax",
    [DT_ROUTER_SIGMOID] = "sigmoid",
};

static const char *const pooling_names[] = {
    [DT_POOL_NONE] = "none",
    [DT_POOL_CLASS] = "class",
    [DT_POOL_CLASS_NORM] = "class_norm",
    [DT_POOL_ATTENTION] = "attention",
};

static const char *const text_pooling_names[] = {
    [DT_TEXT_POOL_NONE] = "none",
    [DT_TEXT_POOL_END] = "end",
    [DT_TEXT_POOL_LARGEST] = "largest",
    [DT_TEXT_POOL_LAST] = "last",
};

static const char *const resize_names[] = {
    [DT_RESIZE_NONE] = "none",
    [DT_RESIZE_BILINEAR] = "bilinear",
    [DT_RESIZE_BICUBIC] = "bicubic",
};

static const char *const projector_names[] = {
    [DT_PROJECTOR_MLP] = "mlp",
    [DT_PROJECTOR_AFFINE] = "affine",
};

#define NAME_OF(table, value)                                                                                \
    ((size_t)(value) < sizeof(table) / sizeof((table)[0]) ? (table)[(size_t)(value)] : NULL)

const char *dt_normalization_name(dt_normalization value)
{
    return NAME_OF(normalization_names, value);
}

const char *dt_norm_placement_name(dt_norm_placement value)
{
    return NAME_OF(placement_names, value);
}

const char *dt_position_embedding_name(dt_position_embedding value)
{
    return NAME_OF(position_names, value);
}

const char *dt_rope_scaling_name(dt_rope_scaling value)
{
    return NAME_OF(rope_names, value);
}

const char *dt_activation_name(dt_activation value)
{
    return NAME_OF(activation_names, value);
}

const char *dt_softmax_type_name(dt_softmax_type value)
{
    return NAME_OF(softmax_names, value);
}

const char *dt_router_score_name(dt_router_score value)
{
    return NAME_OF(router_names, value);
}

const char *dt_vision_pooling_name(dt_vision_pooling value)
{
    return NAME_OF(pooling_names, value);
}

const char *dt_text_pooling_name(dt_text_pooling value)
{
    return NAME_OF(text_pooling_names, value);
}

const char *dt_position_resize_name(dt_position_resize value)
{
    return NAME_OF(resize_names, value);
}

const char *dt_projector_name(dt_projector value)
{
    return NAME_OF(projector_names, value);
}

bool dt_config_layer_is_moe(const dt_model_config *c, int64_t layer)
{
    if (c->num_moe_experts <= 0 || layer < 0 || layer >= DT_MAX_LAYERS)
        return false;
    if (c->moe_listed)
        return c->moe_layers[layer / 8] >> (layer % 8) & 1;
    return c->moe_layer_freq > 0 && layer % c->moe_layer_freq == 0;
}

int64_t dt_config_layer_window(const dt_model_config *c, int64_t layer)
{
    if (layer < 0 || layer >= DT_MAX_LAYERS)
        return -1;
    bool windowed = c->window_listed
                        ? c->window_layers[layer / 8] >> (layer % 8) & 1
                        : c->window_attn_skip_freq == 0 || (layer + 1) % c->window_attn_skip_freq;
    return windowed ? c->window_left : -1;
}

bool dt_config_rope_grows(const dt_model_config *c)
{
    return c->position_embedding_type == DT_POSITION_ROPE &&
           (c->rope_scaling_type == DT_ROPE_DYNAMIC || c->rope_scaling_type == DT_ROPE_LONGROPE);
}

bool dt_config_rope_differs(const dt_model_config *c, int64_t length, int64_t other)
{
    if (!dt_config_rope_grows(c) || length == other)
        return false;
    if (c->rope_scaling_type == DT_ROPE_DYNAMIC)
        return length > c->max_sequence_length || other > c->max_sequence_length;
    return (length > c->rope_original_max_position) != (other > c->rope_original_max_position);
}

void dt_config_list_windows(dt_model_config *c, const bool *windowed, int count)
{
    c->window_listed = count;
    memset(c->window_layers, 0, sizeof c->window_layers);
    for (int i = 0; i < count; i++)
        c->window_layers[i / 8] |= (uint8_t)(windowed[i] << (i % 8));
}

dt_layer_shape dt_config_layer_shape(const dt_model_config *c, int64_t layer)
{
    if (layer >= 0 && layer < c->shape_count)
        return c->shape[layer];
    return (dt_layer_shape){.num_query_groups = (int32_t)c->num_query_groups,
                            .ffn_hidden_size = (int32_t)c->ffn_hidden_size};
}

void dt_config_init(dt_model_config *config)
{
    memset(config, 0, sizeof *config);
    config->window_left = -1;
    config->moe_layer_freq = 1;
#define INT(field, key, initial, extension)        config->field = (initial);
#define REAL(field, key, initial, extension)       config->field = (initial);
#define BOOL(field, key, initial, extension)       config->field = (initial);
#define ENUM(field, key, type, initial, extension) config->field = (initial);
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
}

void dt_config_derive(dt_model_config *c)
{
    if (c->num_query_groups <= 0)
        c->num_query_groups = c->num_attention_heads;
    if (c->kv_channels <= 0 && c->num_attention_heads > 0)
        c->kv_channels = c->hidden_size / c->num_attention_heads;
    if (c->ffn_hidden_size <= 0)
        c->ffn_hidden_size = 4 * c->hidden_size;
    if (c->num_moe_experts > 0 && c->moe_ffn_hidden_size <= 0)
        c->moe_ffn_hidden_size = c->ffn_hidden_size;
    if (c->padded_vocab_size <= 0)
        c->padded_vocab_size = c->vocab_size;
    if (c->softmax_scale == 0 && c->kv_channels > 0)
        c->softmax_scale = 1.0 / sqrt((double)c->kv_channels);
    if (strcmp(c->model_type, "t5") == 0) {
        if (c->encoder_num_layers <= 0)
            c->encoder_num_layers = c->num_layers;
        if (c->decoder_num_layers <= 0)
            c->decoder_num_layers = c->num_layers;
        c->num_layers = c->decoder_num_layers;
    }
    if (c->encoder_num_attention_heads == c->num_attention_heads)
        c->encoder_num_attention_heads = -1;
    if (c->encoder_ffn_hidden_size == c->ffn_hidden_size)
        c->encoder_ffn_hidden_size = -1;
}

dt_model_config dt_config_of_encoder(const dt_model_config *config)
{
    dt_model_config c = *config;
    int64_t width = c.num_attention_heads * c.kv_channels;
    if (c.encoder_ffn_hidden_size > 0)
        c.ffn_hidden_size = c.encoder_ffn_hidden_size;
    if (c.encoder_num_attention_heads > 0) {
        bool usual = c.softmax_scale == 1.0 / sqrt((double)c.kv_channels);
        c.num_attention_heads = c.num_query_groups = c.encoder_num_attention_heads;
        c.kv_channels = width / c.num_attention_heads;
        c.softmax_scale = usual ? 1.0 / sqrt((double)c.kv_channels) : c.softmax_scale;
    }
    return c;
}

bool dt_config_has_output_bias(const dt_model_config *c)
{
    if (strcmp(c->model_type, "bert") == 0)
        return !c->no_lm_head;
    if (strcmp(c->model_type, "t5") != 0 || c->encoder_only)
        return false;
    return c->share_embeddings_and_output_weights ? !c->no_output_layer_bias : c->output_layer_bias;
}

/* Bounds keep every later product inside int64: sizes from a file are not trusted before this check. */
enum {
    MAX_LAYERS = DT_MAX_LAYERS,
    MAX_EXPERTS = 1 << 12,
    MAX_WIDTH = 1 << 20,
    MAX_POSITIONS = 1 << 26,
    MAX_VOCABULARY = 1 << 24,
    MAX_ROTARY = 2 * DT_MAX_FREQUENCIES
};

static dt_status check_range(const char *key, int64_t value, int64_t low, int64_t high, dt_error *err)
{
    if (value >= low && value <= high)
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED, "configuration: \"%s\" is %lld, expected %lld to %lld", key,
                   (long long)value, (long long)low, (long long)high);
}

static dt_status check_sizes(const dt_model_config *c, dt_error *err)
{
    bool t5 = strcmp(c->model_type, "t5") == 0;
    DT_PASS(check_range("hidden_size", c->hidden_size, 1, MAX_WIDTH, err));
    DT_PASS(check_range("num_attention_heads", c->num_attention_heads, 1, MAX_WIDTH, err));
    DT_PASS(check_range("num_query_groups", c->num_query_groups, 1, c->num_attention_heads, err));
    DT_PASS(check_range("kv_channels", c->kv_channels, 1, MAX_WIDTH, err));
    DT_PASS(check_range("kv_channels * num_attention_heads", c->kv_channels * c->num_attention_heads, 1,
                        MAX_WIDTH, err));
    DT_PASS(check_range("ffn_hidden_size", c->ffn_hidden_size, 1, MAX_WIDTH, err));
    if (!dt_config_reads(c))
        return check_range("num_layers", c->num_layers, 1, MAX_LAYERS, err);
    DT_PASS(check_range("vocab_size", c->vocab_size, 1, MAX_VOCABULARY, err));
    DT_PASS(check_range("padded_vocab_size", c->padded_vocab_size, c->vocab_size, MAX_VOCABULARY, err));
    if (c->position_embedding_type == DT_POSITION_LEARNED || c->max_sequence_length != -1)
        DT_PASS(check_range("max_sequence_length", c->max_sequence_length, 1, MAX_POSITIONS, err));
    if (!t5)
        return check_range("num_layers", c->num_layers, 1, MAX_LAYERS, err);
    DT_PASS(check_range("encoder_num_layers", c->encoder_num_layers, 1, MAX_LAYERS, err));
    return c->encoder_only ? DT_OK
                           : check_range("decoder_num_layers", c->decoder_num_layers, 1, MAX_LAYERS, err);
}

/* What the encoder has of its own. */
static dt_status check_encoder(const dt_model_config *c, dt_error *err)
{
    int64_t width = c->num_attention_heads * c->kv_channels, heads = c->encoder_num_attention_heads;
    if (c->encoder_vocab_size != -1)
        DT_PASS(check_range("x_encoder_vocab_size", c->encoder_vocab_size, 1, MAX_VOCABULARY, err));
    if (c->encoder_ffn_hidden_size != -1)
        DT_PASS(check_range("x_encoder_ffn_hidden_size", c->encoder_ffn_hidden_size, 1, MAX_WIDTH, err));
    if (heads == -1)
        return DT_OK;
    DT_PASS(check_range("x_encoder_num_attention_heads", heads, 1, width, err));
    if (width % heads || c->num_query_groups != c->num_attention_heads)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_encoder_num_attention_heads\" is %lld, expected a divisor of %lld",
                       (long long)heads, (long long)width);
    return DT_OK;
}

static dt_status check_sinusoids(const dt_model_config *c, dt_error *err)
{
    return check_range("hidden_size", c->hidden_size, c->sinusoids_to_base ? 4 : 1, 2 * DT_MAX_FREQUENCIES,
                       err);
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
        DT_PASS(check_range("max_sequence_length", c->max_sequence_length, 1, MAX_POSITIONS, err));
    if (yarn || longrope)
        DT_PASS(check_range("original_max_position_embeddings", c->rope_original_max_position, 2,
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
    DT_PASS(check_range("x_position_offset", c->position_offset, 0, MAX_POSITIONS, err));
    if (c->position_embedding_type == DT_POSITION_SINUSOIDAL)
        return check_sinusoids(c, err);
    if (c->position_embedding_type == DT_POSITION_RELATIVE) {
        int64_t buckets = c->relative_attention_num_buckets;
        if (strcmp(c->model_type, "t5") != 0)
            return dt_fail(err, DT_UNSUPPORTED,
                           "configuration: \"position_embedding_type\" is relative, which only T5 has");
        DT_PASS(check_range("relative_attention_num_buckets", buckets, 4, 1 << 16, err));
        return check_range("relative_attention_max_distance", c->relative_attention_max_distance,
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
    DT_PASS(check_range("kv_channels * rotary_percent", rotary, 2, MAX_ROTARY, err));
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
    DT_PASS(check_range("window_size", c->window_left, -1, MAX_POSITIONS, err));
    DT_PASS(check_range("window_attn_skip_freq", c->window_attn_skip_freq, 0, MAX_LAYERS, err));
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
    DT_PASS(check_range("num_tokentypes", c->num_tokentypes, 0, bert ? MAX_TYPES : 0, err));
    if (!c->positions_skip_padding)
        return DT_OK;
    if (c->position_embedding_type != DT_POSITION_LEARNED)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"x_positions_skip_padding\" is true, but positions are %s",
                       dt_position_embedding_name(c->position_embedding_type));
    return check_range("pad_token_id", c->pad_token_id, 0, c->max_sequence_length - 2, err);
}

static dt_status check_experts(const dt_model_config *c, dt_error *err)
{
    if (c->num_moe_experts == 0)
        return DT_OK;
    DT_PASS(check_range("num_moe_experts", c->num_moe_experts, 1, MAX_EXPERTS, err));
    if (strcmp(c->model_type, "t5") == 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"num_moe_experts\" is %lld, but no T5 has experts",
                       (long long)c->num_moe_experts);
    DT_PASS(check_range("moe_layer_freq", c->moe_layer_freq, 1, MAX_LAYERS, err));
    if (c->moe_listed && c->moe_listed != c->num_layers)
        return dt_fail(err, DT_UNSUPPORTED,
                       "configuration: \"moe_layer_freq\" lists %d layers, but \"num_layers\" is %lld",
                       c->moe_listed, (long long)c->num_layers);
    DT_PASS(check_range("moe_ffn_hidden_size", c->moe_ffn_hidden_size, 1, MAX_WIDTH, err));
    DT_PASS(check_range("moe_router_topk", c->moe_router_topk, 1, c->num_moe_experts, err));
    return check_range("moe_shared_expert_intermediate_size", c->moe_shared_expert_intermediate_size, 0,
                       MAX_WIDTH, err);
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
        DT_PASS(check_range("ffn_hidden_size", s->ffn_hidden_size, 1, MAX_WIDTH, err));
        DT_PASS(check_range("num_query_groups", s->num_query_groups, 1, c->num_attention_heads, err));
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

/* ---- equal mathematics ---- */

/* Set fields of `c` that have no influence to those of `plain`, which is as dt_config_init leaves it. */
static void clear_positions(dt_model_config *c, const dt_model_config *plain)
{
    bool rope = c->position_embedding_type == DT_POSITION_ROPE;
    bool llama3 = rope && c->rope_scaling_type == DT_ROPE_LLAMA3;
    if (c->position_embedding_type != DT_POSITION_LEARNED && !(rope && c->rope_scaling_type > DT_ROPE_LLAMA3))
        c->max_sequence_length = plain->max_sequence_length;
    if (!rope) {
        c->rotary_percent = plain->rotary_percent;
        c->rotary_base = plain->rotary_base;
        c->rotary_interleaved = plain->rotary_interleaved;
        c->rope_scaling_type = plain->rope_scaling_type;
    }
    if (!rope || c->rope_scaling_type == DT_ROPE_PLAIN)
        c->rope_scaling_factor = plain->rope_scaling_factor;
    bool yarn = rope && c->rope_scaling_type == DT_ROPE_YARN,
         longrope = rope && c->rope_scaling_type == DT_ROPE_LONGROPE;
    if (!yarn && !longrope)
        c->rope_attention_factor = 0;
    if (!yarn) {
        c->rope_beta_fast = plain->rope_beta_fast;
        c->rope_beta_slow = plain->rope_beta_slow;
        c->rope_no_truncate = false;
    }
    if (!rope)
        c->window_rotary_base = 0;
    if (!longrope)
        c->rope_factors = 0;
    if (!llama3) {
        c->rope_low_freq_factor = plain->rope_low_freq_factor;
        c->rope_high_freq_factor = plain->rope_high_freq_factor;
    }
    if (!llama3 && !(rope && c->rope_scaling_type > DT_ROPE_LLAMA3))
        c->rope_original_max_position = plain->rope_original_max_position;
    if (c->position_embedding_type != DT_POSITION_LEARNED) {
        c->positions_per_stack = plain->positions_per_stack;
        if (c->position_embedding_type != DT_POSITION_SINUSOIDAL)
            c->position_offset = plain->position_offset;
    }
    if (c->position_embedding_type != DT_POSITION_RELATIVE) {
        c->relative_attention_num_buckets = plain->relative_attention_num_buckets;
        c->relative_attention_max_distance = plain->relative_attention_max_distance;
    }
}

static void clear_experts(dt_model_config *c, const dt_model_config *plain)
{
    bool every = c->num_moe_experts > 0;
    for (int64_t i = 0; i < c->num_layers && every; i++)
        every = dt_config_layer_is_moe(c, i);
    if (every)
        c->ffn_hidden_size = plain->ffn_hidden_size; /* no layer has a plain MLP */
    if (!c->moe_shared_expert_intermediate_size)
        c->moe_shared_expert_gate = false;
    if (c->moe_router_topk_scaling_factor == 1)
        c->moe_router_topk_scaling_factor = 0;
    if (c->num_moe_experts)
        return;
    c->moe_ffn_hidden_size = plain->moe_ffn_hidden_size;
    c->moe_router_topk = plain->moe_router_topk;
    c->moe_router_pre_softmax = plain->moe_router_pre_softmax;
    c->moe_router_score_function = plain->moe_router_score_function;
    c->moe_router_topk_scaling_factor = plain->moe_router_topk_scaling_factor;
    c->moe_router_enable_expert_bias = plain->moe_router_enable_expert_bias;
    c->moe_shared_expert_intermediate_size = plain->moe_shared_expert_intermediate_size;
}

/* One word for each bias: those that add_bias_linear gives, by their own fields. T5's cross attention knows no other. */
static void spell_biases(dt_model_config *c, bool t5)
{
    bool every = c->add_bias_linear;
    c->no_router_bias = !c->num_moe_experts || !every || c->no_router_bias;
    c->add_qkv_bias |= every;
    c->attention_output_bias |= every;
    c->mlp_bias |= every;
    c->add_bias_linear = every && t5;
    c->output_layer_bias &= t5 && !c->share_embeddings_and_output_weights;
    c->no_output_layer_bias &= t5 && !c->encoder_only && c->share_embeddings_and_output_weights;
}

static dt_model_config influence(const dt_model_config *config)
{
    dt_model_config c = *config, plain;
    bool t5 = strcmp(c.model_type, "t5") == 0;
    dt_config_init(&plain);
    clear_positions(&c, &plain);
    clear_experts(&c, &plain);
    spell_biases(&c, t5);
    if (c.encoder_only) {
        c.decoder_num_layers = 0;
        c.share_embeddings_and_output_weights = c.scale_decoder_outputs = false;
    }
    c.qk_layernorm_whole &= c.qk_layernorm;
    if (c.embedding_multiplier == 1)
        c.embedding_multiplier = 0;
    if (c.no_lm_head) {
        c.share_embeddings_and_output_weights = false;
        c.lm_head_activation = plain.lm_head_activation;
    }
    if (!t5)
        c.encoder_num_layers = c.decoder_num_layers = 0;
    else
        c.num_layers = 0;
    if (!c.positions_skip_padding)
        c.pad_token_id = 0;
    c.padding_row_still = false; /* says how to train, not what is computed */
    c.padded_vocab_size = c.bos_token_id = c.decoder_start_token_id = 0;
    return c;
}

static bool same_shape(dt_layer_shape a, dt_layer_shape b)
{
    return a.attention == b.attention && a.mlp == b.mlp &&
           (a.attention != DT_BRANCH_FULL || a.num_query_groups == b.num_query_groups) &&
           (a.mlp != DT_BRANCH_FULL || a.ffn_hidden_size == b.ffn_hidden_size);
}

static const char *own_difference(const dt_model_config *first, const dt_model_config *second)
{
    dt_model_config a = influence(first), b = influence(second);
    if (strcmp(a.model_type, b.model_type) != 0)
        return "model_type";
    if (a.position_embedding_type != b.position_embedding_type) /* what most other differences follow from */
        return "position_embedding_type";
    if (a.rope_scaling_type != b.rope_scaling_type)
        return "rope_scaling_type";
    if (a.no_lm_head != b.no_lm_head)
        return "x_no_lm_head";
    if (!a.num_moe_experts != !b.num_moe_experts)
        return "num_moe_experts";
#define SAME(field, key)                                                                                     \
    if (a.field != b.field)                                                                                  \
        return key;
#define INT(field, key, initial, extension)        SAME(field, key)
#define REAL(field, key, initial, extension)       SAME(field, key)
#define BOOL(field, key, initial, extension)       SAME(field, key)
#define ENUM(field, key, type, initial, extension) SAME(field, key)
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
#undef SAME
    for (int i = 0; i < a.rope_factors || i < b.rope_factors; i++)
        if (a.rope_factors != b.rope_factors || a.rope_short_factor[i] != b.rope_short_factor[i] ||
            a.rope_long_factor[i] != b.rope_long_factor[i])
            return "x_rope_long_factor";
    for (int64_t i = 0; i < a.num_layers; i++)
        if (dt_config_layer_window(&a, i) != dt_config_layer_window(&b, i))
            return "window_size";
    for (int64_t i = 0; i < a.num_layers; i++)
        if (!same_shape(dt_config_layer_shape(&a, i), dt_config_layer_shape(&b, i)))
            return "heterogeneous_layers_config_encoded_json";
    for (int64_t i = 0; i < a.num_layers; i++)
        if (dt_config_layer_is_moe(&a, i) != dt_config_layer_is_moe(&b, i))
            return "moe_layer_freq";
    if (a.grid_points != b.grid_points ||
        memcmp(a.grid_point, b.grid_point, sizeof a.grid_point[0] * (size_t)a.grid_points) != 0)
        return "image_grid_pinpoints";
    if (a.text_pooling == DT_TEXT_POOL_END && a.eos_token_ids[0] != b.eos_token_ids[0])
        return "eos_token_id";
    if (a.feature_layers != b.feature_layers)
        return "x_vision_feature_layer";
    for (int i = 0; i < a.feature_layers; i++)
        if (dt_config_feature_depth(&a, i) != dt_config_feature_depth(&b, i))
            return "x_vision_feature_layer";
    return NULL;
}

/* "vision.hidden_size"; of what no row of config.def says, the part's own name. */
static const char *key_below(const char *key, bool projection)
{
    static const char *const keys[][3] = {
#define INT(field, key, initial, extension)        {key, "vision." key, "vision_projection." key},
#define REAL(field, key, initial, extension)       {key, "vision." key, "vision_projection." key},
#define BOOL(field, key, initial, extension)       {key, "vision." key, "vision_projection." key},
#define ENUM(field, key, type, initial, extension) {key, "vision." key, "vision_projection." key},
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
    };
    for (size_t i = 0; key && i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i][0], key) == 0)
            return keys[i][projection ? 2 : 1];
    return key ? projection ? "vision_projection" : "vision" : NULL;
}

static const char *part_difference(const dt_model_config *a, const dt_model_config *b, bool projection)
{
    if (!a || !b)
        return a == b ? NULL : projection ? "vision_projection" : "vision";
    return key_below(own_difference(a, b), projection);
}

const char *dt_config_difference(const dt_model_config *a, const dt_model_config *b)
{
    const char *key = own_difference(a, b);
    if (!key)
        key = part_difference(a->vision, b->vision, false);
    return key ? key : part_difference(a->projection, b->projection, true);
}
