/*
 * rope.c - rotary frequencies, with the scalings that stretch a model's context.
 *
 * Papers  Su et al. 2021, arXiv:2104.09864; yarn Peng et al. 2023, arXiv:2309.00071; longrope Ding et al. 2024, 2402.13753.
 * Peers   transformers modeling_rope_utils.py · megatron core/models/common/embeddings/{,yarn_}rotary_pos_embedding.py
 * Numbers f32 throughout, in the makers' order of operations, so that angles agree to the last bit or nearly.
 *
 * Frequencies of dynamic and longrope follow from a sequence's length: what is computed here are those of short ones
 * (longrope: and of long ones behind them); the op chooses, row by row.
 */
#include "nn/layer.h"

#include <math.h>

/* Long waves are slowed by the factor, short ones kept, those between blended. */
static float llama3(const dt_model_config *c, float inv)
{
    float factor = (float)c->rope_scaling_factor, low = (float)c->rope_low_freq_factor;
    float high = (float)c->rope_high_freq_factor, old = (float)c->rope_original_max_position;
    float wave = (float)(2 * M_PI) / inv;
    if (wave < old / high)
        return inv;
    if (wave > old / low)
        return inv / factor;
    float smooth = (old / wave - low) / (high - low);
    return (1 - smooth) * inv / factor + smooth * inv;
}

/* ---- yarn: dimensions that turn often are kept, those that turn seldom slowed, a ramp between ---- */

typedef struct ramp {
    double low, high;
} ramp;

/* The dimension that turns so often within the trained length. */
static double turning(const dt_model_config *c, double turns, int rotary)
{
    return rotary * log((double)c->rope_original_max_position / (turns * 2 * M_PI)) /
           (2 * log(c->rotary_base));
}

static ramp yarn_ramp(const dt_model_config *c, int rotary)
{
    ramp r = {turning(c, c->rope_beta_fast, rotary), turning(c, c->rope_beta_slow, rotary)};
    if (!c->rope_no_truncate)
        r = (ramp){floor(r.low), ceil(r.high)};
    r.low = fmax(r.low, 0);
    r.high = fmin(r.high, rotary - 1);
    if (r.low == r.high)
        r.high += 0.001; /* as the makers avoid dividing by zero */
    return r;
}

static float yarn(const dt_model_config *c, const ramp *r, int i, float wave)
{
    float along = ((float)i - (float)r->low) / (float)(r->high - r->low);
    float kept = 1 - (along < 0 ? 0 : along > 1 ? 1 : along);
    return 1.0f / ((float)c->rope_scaling_factor * wave) * (1 - kept) + 1.0f / wave * kept;
}

/* What cosines and sines are multiplied by. */
static double magnitude_of(const dt_model_config *c)
{
    double factor = c->rope_scaling_factor;
    if (c->rope_scaling_type != DT_ROPE_YARN && c->rope_scaling_type != DT_ROPE_LONGROPE)
        return 1;
    if (c->rope_attention_factor != 0)
        return c->rope_attention_factor;
    if (factor <= 1)
        return 1;
    return c->rope_scaling_type == DT_ROPE_YARN
               ? 0.1 * log(factor) + 1
               : sqrt(1 + log(factor) / log((double)c->rope_original_max_position));
}

/* ---- */

static int pairs_of(const dt_model_config *c)
{
    int count = (int)((double)c->kv_channels * c->rotary_percent) / 2;
    return count < DT_MAX_FREQUENCIES ? count
                                      : DT_MAX_FREQUENCIES; /* dt_config_check keeps head sizes within this */
}

static float wave_of(double base, int i, int rotary)
{
    return powf((float)base, (float)(2 * i) / (float)rotary);
}

dt_tensor *dt_rope_frequencies(dt_graph *g, const dt_model_config *c, double *magnitude)
{
    float inv[2 * DT_MAX_FREQUENCIES];
    int count = pairs_of(c), rotary = (int)((double)c->kv_channels * c->rotary_percent);
    bool two = c->rope_scaling_type == DT_ROPE_LONGROPE && c->rope_factors == count;
    ramp r = c->rope_scaling_type == DT_ROPE_YARN ? yarn_ramp(c, rotary) : (ramp){0, 1};
    for (int i = 0; i < count; i++) {
        float wave = wave_of(c->rotary_base, i, rotary);
        inv[i] = 1.0f / wave;
        if (c->rope_scaling_type == DT_ROPE_LINEAR)
            inv[i] /= (float)c->rope_scaling_factor;
        else if (c->rope_scaling_type == DT_ROPE_LLAMA3)
            inv[i] = llama3(c, inv[i]);
        else if (c->rope_scaling_type == DT_ROPE_YARN)
            inv[i] = yarn(c, &r, i, wave);
        else if (two) {
            inv[i] = 1.0f / ((float)c->rope_short_factor[i] * wave);
            inv[count + i] = 1.0f / ((float)c->rope_long_factor[i] * wave);
        }
    }
    *magnitude = magnitude_of(c);
    return dt_graph_constant(g, "rope.inv_freq", two ? 2 * count : count, inv);
}

dt_tensor *dt_rope_window_frequencies(dt_graph *g, const dt_model_config *c)
{
    float inv[DT_MAX_FREQUENCIES];
    int count = pairs_of(c), rotary = (int)((double)c->kv_channels * c->rotary_percent);
    for (int i = 0; i < count; i++)
        inv[i] = 1.0f / wave_of(c->window_rotary_base, i, rotary);
    return dt_graph_constant(g, "rope.window_inv_freq", count, inv);
}

dt_rope_spec dt_rope_spec_of(const dt_model_config *c, int64_t heads, double magnitude)
{
    dt_rope_spec spec = {.heads = heads, .interleaved = c->rotary_interleaved, .magnitude = magnitude};
    if (c->rope_scaling_type == DT_ROPE_DYNAMIC) {
        spec.growth = DT_ROPE_GROWING_BASE;
        spec.trained = c->max_sequence_length;
        spec.base = c->rotary_base;
        spec.factor = c->rope_scaling_factor;
    } else if (c->rope_scaling_type == DT_ROPE_LONGROPE) {
        spec.growth = DT_ROPE_TWO_TABLES;
        spec.trained = c->rope_original_max_position;
    }
    return spec;
}
