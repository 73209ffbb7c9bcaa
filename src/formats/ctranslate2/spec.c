/*
 * spec.c (ctranslate2) - what CTranslate2 must compute, as the scalars of a model.bin; and what it cannot.
 *
 * Peer  ctranslate2 4.8.5 specs/transformer_spec.py, attention_spec.py, converters/transformers.py.
 */
#include "formats/ctranslate2/write.h"

#include "base/fail.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* Numbers of ctranslate2's Activation. */
static const dt_activation activations[] = {DT_ACT_RELU,       DT_ACT_GELU_TANH, DT_ACT_SILU,   DT_ACT_GELU,
                                            DT_ACT_QUICK_GELU, DT_ACT_TANH,      DT_ACT_SIGMOID};

bool dt_ct2_two_sided(const dt_model_config *c)
{
    return strcmp(c->model_type, "t5") == 0;
}

bool dt_ct2_starts_from_zero(const dt_model_config *c)
{
    return dt_ct2_two_sided(c) && c->decoder_start_token_id == c->vocab_size;
}

static int activation_number(dt_activation activation)
{
    int i = 0;
    while (i < COUNT(activations) && activations[i] != activation)
        i++;
    return i < COUNT(activations) ? i : -1;
}

/* ---- what it cannot ---- */

static bool rope_known(const dt_model_config *c)
{
    return c->position_embedding_type != DT_POSITION_ROPE || c->rope_scaling_type == DT_ROPE_PLAIN ||
           c->rope_scaling_type == DT_ROPE_LINEAR || c->rope_scaling_type == DT_ROPE_LLAMA3;
}

/* One window for all layers, or none. */
static bool windows_alike(const dt_model_config *c)
{
    for (int64_t i = 1; i < c->num_layers; i++)
        if (dt_config_layer_window(c, i) != dt_config_layer_window(c, 0))
            return false;
    return true;
}

/* The key in the way, or NULL. */
static const char *obstacle(const dt_model_config *c)
{
    bool two = dt_ct2_two_sided(c);
    const struct {
        const char *key;
        bool there;
    } list[] = {
        {"model_type", !two && strcmp(c->model_type, "gpt") != 0},
        {"x_encoder_only", c->encoder_only},
        {"num_moe_experts", c->num_moe_experts > 0},
        {"heterogeneous_layers_config_encoded_json", c->shape_count > 0},
        {"x_norm_placement", c->norm_placement != DT_NORM_BEFORE && c->norm_placement != DT_NORM_AFTER},
        {"x_qk_layernorm_whole", c->qk_layernorm && c->qk_layernorm_whole},
        {"qk_layernorm", c->qk_layernorm && c->normalization != DT_NORM_RMSNORM},
        {"x_attention_soft_cap", c->attention_soft_cap != 0},
        {"x_final_logit_softcapping", c->final_logit_softcapping != 0},
        {"softmax_type", c->softmax_type != DT_SOFTMAX_VANILLA},
        {"activation_func", activation_number(c->activation_func) < 0},
        {"activation_func_clamp_value", c->activation_func_clamp_value != 0 || c->glu_linear_offset != 0},
        {"x_rope_scaling_type", !rope_known(c)},
        {"x_window_rotary_base", c->window_rotary_base != 0},
        {"window_attn_skip_freq", !windows_alike(c)},
        {"x_parallel_residual", c->parallel_residual && c->normalization != DT_NORM_LAYERNORM},
        {"x_positions_skip_padding", c->positions_skip_padding},
        {"num_tokentypes", c->num_tokentypes > 0},
        {"layernorm_zero_centered_gamma",
         c->layernorm_zero_centered_gamma && c->normalization != DT_NORM_RMSNORM},
    };
    for (int i = 0; i < COUNT(list); i++)
        if (list[i].there)
            return list[i].key;
    return NULL;
}

/* ---- what it can ---- */

typedef struct writer {
    dt_ct2_list *list;
    const dt_model_config *config; /* of the stack */
    const char *stack;
} writer;

static void put(const writer *w, dt_dtype type, double value, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%s/%s", w->stack, name);
    dt_ct2_add(w->list, &(dt_ct2_variable){.name = full, .type = type, .external = -1, .value = value});
}

static void put_of_layer(const writer *w, dt_dtype type, double value, int64_t layer, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "layer_%" PRId64 "/%s", layer, name);
    put(w, type, value, full);
}

static void put_rotary(const writer *w, int64_t layer)
{
    const dt_model_config *c = w->config;
    int64_t rotated = (int64_t)(c->rotary_percent * (double)c->kv_channels);
    put_of_layer(w, DT_I32, rotated == c->kv_channels ? 0 : (double)rotated, layer,
                 "self_attention/rotary_dim");
    put_of_layer(w, DT_I8, c->rotary_interleaved, layer, "self_attention/rotary_interleave");
    put_of_layer(w, DT_F32, c->rotary_base, layer, "self_attention/rotary_base");
    if (c->rope_scaling_type == DT_ROPE_PLAIN)
        return;
    bool llama3 = c->rope_scaling_type == DT_ROPE_LLAMA3;
    put_of_layer(w, DT_I8, llama3 ? 2 : 0, layer, "self_attention/rotary_scaling_type");
    put_of_layer(w, DT_F32, c->rope_scaling_factor, layer, "self_attention/rotary_scaling_factor");
    if (!llama3)
        return;
    put_of_layer(w, DT_F32, c->rope_low_freq_factor, layer, "self_attention/rotary_low_freq_factor");
    put_of_layer(w, DT_F32, c->rope_high_freq_factor, layer, "self_attention/rotary_high_freq_factor");
    put_of_layer(w, DT_I32, (double)c->rope_original_max_position, layer,
                 "self_attention/original_max_position_embeddings");
}

/* Norms whose weights are told less one. */
static void put_residual_norms(const writer *w, int64_t layer)
{
    if (!w->config->layernorm_zero_centered_gamma)
        return;
    put_of_layer(w, DT_I8, 1, layer, "self_attention/layer_norm/layer_norm_use_residual");
    put_of_layer(w, DT_I8, 1, layer, "ffn/layer_norm/layer_norm_use_residual");
    if (!w->config->qk_layernorm)
        return;
    put_of_layer(w, DT_I8, 1, layer, "self_attention/q_norm/layer_norm_use_residual");
    put_of_layer(w, DT_I8, 1, layer, "self_attention/k_norm/layer_norm_use_residual");
}

static void put_layer(const writer *w, int64_t layer, bool cross)
{
    const dt_model_config *c = w->config;
    double usual = 1 / sqrt((double)c->kv_channels);
    bool own_scale = fabs(c->softmax_scale - usual) > 1e-6 * usual;
    if (own_scale)
        put_of_layer(w, DT_F32, c->softmax_scale, layer, "self_attention/queries_scale");
    if (own_scale && cross)
        put_of_layer(w, DT_F32, c->softmax_scale, layer, "attention/queries_scale");
    if (c->position_embedding_type == DT_POSITION_RELATIVE)
        put_of_layer(w, DT_I32, (double)c->relative_attention_max_distance, layer,
                     "self_attention/relative_attention_max_distance");
    if (c->position_embedding_type == DT_POSITION_ROPE)
        put_rotary(w, layer);
    if (c->num_query_groups != c->num_attention_heads)
        put_of_layer(w, DT_I32, (double)c->num_query_groups, layer, "self_attention/num_heads_kv");
    if (!dt_ct2_two_sided(c) && c->kv_channels * c->num_attention_heads != c->hidden_size)
        put_of_layer(w, DT_I32, (double)c->kv_channels, layer, "self_attention/head_dim");
    put_residual_norms(w, layer);
}

/* Of the word embeddings; 1 is told as "no". */
static void put_multiplier(const writer *w)
{
    double factor = w->config->embedding_multiplier;
    if (factor == 0 || factor == 1)
        put(w, DT_I8, 0, "scale_embeddings");
    else
        put(w, DT_F32, factor, "scale_embeddings");
}

static void put_stack(const writer *w, int64_t layers, bool cross)
{
    const dt_model_config *c = w->config;
    put(w, DT_I8, activation_number(c->activation_func), "activation");
    put(w, DT_I16, (double)c->num_attention_heads, "num_heads");
    put(w, DT_I8, c->norm_placement == DT_NORM_BEFORE, "pre_norm");
    put_multiplier(w);
    if (c->layernorm_zero_centered_gamma)
        put(w, DT_I8, 1, "layer_norm/layer_norm_use_residual");
    for (int64_t i = 0; i < layers; i++)
        put_layer(w, i, cross);
}

static void put_encoder(const writer *w, int64_t layers)
{
    put_stack(w, layers, false);
    put(w, DT_I8, 0, "embeddings_merge");
    put(w, DT_I8, 0, "multi_query_attention");
}

static void put_decoder(const writer *w, int64_t layers)
{
    const dt_model_config *c = w->config;
    bool alibi = c->position_embedding_type == DT_POSITION_ALIBI;
    int64_t window = dt_config_layer_window(c, 0);
    put_stack(w, layers, dt_ct2_two_sided(c));
    put(w, DT_I8, alibi, "alibi");
    put(w, DT_I8, alibi, "alibi_use_positive_positions");
    put(w, DT_I8, alibi, "scale_alibi");
    put(w, DT_I16, 1, "alignment_heads");
    put(w, DT_I16, -1, "alignment_layer");
    put(w, DT_I8, dt_ct2_starts_from_zero(c), "start_from_zero_embedding");
    if (c->scale_decoder_outputs)
        put(w, DT_F32, 1 / sqrt((double)c->hidden_size), "scale_outputs");
    if (window < 0)
        return;
    put(w, DT_I32, (double)window + 1, "sliding_window"); /* its own key is one of them */
    for (int64_t i = 0; i < layers; i++)
        put_of_layer(w, DT_I32, (double)window + 1, i, "self_attention/sliding_window");
}

dt_status dt_ct2_describe(dt_ct2_list *list, const dt_model_config *c, dt_error *err)
{
    const char *key = obstacle(c);
    if (key) {
        dt_fail(err, DT_UNSUPPORTED, "CTranslate2 cannot compute this %s: \"%s\" is in the way", c->family,
                key);
        dt_error_try(err, "--to hf, or --to megatron-state, which holds every model");
        return DT_UNSUPPORTED;
    }
    dt_model_config encoder = dt_config_of_encoder(c);
    bool two = dt_ct2_two_sided(c);
    if (two)
        put_encoder(&(writer){list, &encoder, "encoder"}, c->encoder_num_layers);
    put_decoder(&(writer){list, c, "decoder"}, two ? c->decoder_num_layers : c->num_layers);
    return list->failed ? dt_fail_memory(err, (size_t)list->count * sizeof *list->variable, "variables")
                        : DT_OK;
}

/* As nn/embedding.c makes them. */
void dt_ct2_wave(const dt_model_config *c, int64_t position, float *row)
{
    int64_t H = c->hidden_size, pairs = c->sinusoids_to_base ? H / 2 : (H + 1) / 2;
    memset(row, 0, (size_t)H * sizeof *row);
    for (int64_t i = 0; i < pairs; i++) {
        double frequency = pow(10000, -2.0 * (double)i / (double)H);
        if (c->sinusoids_to_base)
            frequency = expf((float)i * (float)(-log(10000) / (double)(pairs - 1)));
        double angle = (double)(position + c->position_offset) * frequency;
        if (c->sinusoids_to_base)
            angle = (float)angle;
        row[i] = (float)sin(angle);
        if (pairs + i < H)
            row[pairs + i] = (float)cos(angle);
    }
}
