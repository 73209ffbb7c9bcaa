/*
 * rope.c - rotary frequencies, with the scalings that stretch a model's context.
 *
 * Paper   Su et al. 2021, arXiv:2104.09864.
 * Peers   transformers modeling_rope_utils.py · megatron core/models/common/embeddings/rotary_pos_embedding.py
 * Numbers f32 throughout, in the makers' order of operations, so that angles agree to the last bit or nearly.
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

dt_tensor *dt_rope_frequencies(dt_graph *g, const dt_model_config *c, double *magnitude)
{
    float inv[DT_MAX_FREQUENCIES]; /* dt_config_check keeps head sizes within this */
    int rotary = (int)((double)c->kv_channels * c->rotary_percent);
    int count = rotary / 2 < DT_MAX_FREQUENCIES ? rotary / 2 : DT_MAX_FREQUENCIES;
    for (int i = 0; i < count; i++) {
        inv[i] = 1.0f / powf((float)c->rotary_base, (float)(2 * i) / (float)rotary);
        if (c->rope_scaling_type == DT_ROPE_LINEAR)
            inv[i] /= (float)c->rope_scaling_factor;
        else if (c->rope_scaling_type == DT_ROPE_LLAMA3)
            inv[i] = llama3(c, inv[i]);
    }
    *magnitude = 1;
    return dt_graph_constant(g, "rope.inv_freq", count, inv);
}
