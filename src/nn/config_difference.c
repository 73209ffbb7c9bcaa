/*
 * config_difference.c - do two configurations compute the same? Fields that say nothing in a model are put to one value first.
 */
#include "base/fail.h"
#include "nn/layer.h"

#include <drivetrain/config.h>

#include <math.h>
#include <string.h>

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
