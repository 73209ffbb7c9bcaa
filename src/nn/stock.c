/*
 * stock.c - which settings of a configuration stock Megatron Core lacks, and so would compute something else for.
 *
 * A key that Megatron lacks starts with "x_"; so a new row of config.def is told of without a word here. A value that it
 * lacks of a key that it has is named here.
 */
#include "base/text.h"

#include <drivetrain/config.h>

#include <math.h>
#include <string.h>

static bool foreign(const char *key)
{
    return dt_starts_with(key, "x_") ||
           strcmp(key, "scale_decoder_outputs") == 0; /* Hugging Face's own name */
}

/* It turns whole heads, by halves; the factor of cosines is told as the mscale that it is computed from. */
bool dt_config_yarn_is_megatrons(const dt_model_config *c, double *mscale)
{
    double per_mscale = 0.1 * log(c->rope_scaling_factor), attention = c->rope_attention_factor;
    *mscale = 0;
    if (c->position_embedding_type != DT_POSITION_ROPE || c->rope_scaling_type != DT_ROPE_YARN ||
        !dt_config_is_gpt(c) || c->rotary_percent != 1 || c->rotary_interleaved)
        return false;
    if (attention == 0)
        return true;
    if (!(c->rope_scaling_factor > 1))
        return false;
    *mscale = (attention - 1) / per_mscale;
    return *mscale != 0 && 0.1 * *mscale * log(c->rope_scaling_factor) + 1 == attention;
}

/* Some keys say something only beside another one. */
static bool matters(const dt_model_config *c, const char *key)
{
    double mscale;
    if (dt_starts_with(key, "x_rope_") && dt_config_yarn_is_megatrons(c, &mscale))
        return false;
    if (strcmp(key, "x_rope_scaling_type") == 0)
        return c->rope_scaling_type > DT_ROPE_LLAMA3; /* that one is Megatron's use_rope_scaling */
    if (dt_starts_with(key, "x_rope_"))
        return c->rope_scaling_type != DT_ROPE_PLAIN;
    if (strcmp(key, "x_vision_causal") == 0 || /* attn_mask_type says it */
        strcmp(key, "x_num_registers") == 0)   /* class_token_len has them */
        return false;
    if (strcmp(key, "x_position_resize") == 0) /* what RADIO does anyway */
        return strcmp(c->model_type, "radio") != 0 || c->position_resize != DT_RESIZE_BILINEAR;
    if (strcmp(key, "x_attention_output_bias") == 0 || strcmp(key, "x_mlp_bias") == 0)
        return !c->add_bias_linear;
    return true;
}

/* The index-th of the model's own; NULL past the last, with *count then how many there are. */
static const char *own_beyond(const dt_model_config *c, int index, int *count)
{
    int asked = index;
    bool foreign_positions = c->position_embedding_type == DT_POSITION_SINUSOIDAL ||
                             c->position_embedding_type == DT_POSITION_ALIBI;
    if (foreign_positions && index-- == 0)
        return "position_embedding_type";
#define DIFFERS(field, key, initial)                                                                         \
    if (c->field != (initial) && foreign(key) && matters(c, key) && index-- == 0)                            \
        return key;
#define INT(field, key, initial, extension)        DIFFERS(field, key, initial)
#define REAL(field, key, initial, extension)       DIFFERS(field, key, initial)
#define BOOL(field, key, initial, extension)       DIFFERS(field, key, initial)
#define ENUM(field, key, type, initial, extension) DIFFERS(field, key, initial)
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
    if (c->feature_layers && index-- == 0)
        return "x_vision_feature_layer";
    *count = asked - index;
    return NULL;
}

const char *dt_config_beyond_megatron(const dt_model_config *c, int index)
{
    const dt_model_config *part[] = {c, c->vision, c->projection};
    const char *key = NULL;
    for (int i = 0, count = 0; i < 3 && !key; i++, index -= count, count = 0)
        if (part[i])
            key = own_beyond(part[i], index, &count);
    return key;
}
