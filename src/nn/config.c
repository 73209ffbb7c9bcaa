/*
 * config.c - defaults, words and derived fields of dt_model_config; the fields themselves are rows of config.def.
 * Whether a configuration makes sense is config_check.c's, whether two compute the same config_difference.c's; reading one from
 * files belongs to formats/.
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
