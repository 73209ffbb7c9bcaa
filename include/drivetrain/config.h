/**
 * config.h - what a model is, in Megatron Core's words.
 *
 * dt_model_config is the union of what the families need. Every format's own configuration is read into it and
 * written from it; nothing else describes a model inside drivetrain. Names are those of Megatron's
 * TransformerConfig and model constructors; what Megatron lacks has an extension key (config.def marks it), so that
 * a model whose mathematics differs from stock Megatron's says so in words instead of in rescaled weights.
 */
#ifndef DRIVETRAIN_CONFIG_H
#define DRIVETRAIN_CONFIG_H

#include <drivetrain/graph.h>
#include <drivetrain/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dt_normalization { DT_NORM_LAYERNORM, DT_NORM_RMSNORM } dt_normalization;

/** Where a layer's norms stand. */
typedef enum dt_norm_placement {
    DT_NORM_BEFORE, /**< before each branch: x + f(norm x); the stack ends in a final norm */
    DT_NORM_AFTER,  /**< after each sum: norm(x + f(x)), as BERT and BART have it; no final norm */
    DT_NORM_BRANCH, /**< after each branch: x + norm(f(x)), as OLMo-2 has it */
    DT_NORM_BOTH    /**< before and after each branch: x + norm(f(norm x)), as Gemma 2 has it */
} dt_norm_placement;

typedef enum dt_position_embedding {
    DT_POSITION_LEARNED,   /**< learned_absolute: a table of max_sequence_length rows */
    DT_POSITION_ROPE,      /**< rope */
    DT_POSITION_RELATIVE,  /**< relative: T5's bucketed bias */
    DT_POSITION_ALIBI,     /**< alibi: scores fall with distance, by a slope a head */
    DT_POSITION_NONE,      /**< none */
    DT_POSITION_SINUSOIDAL /**< sinusoidal: computed waves, added to the embeddings */
} dt_position_embedding;

typedef enum dt_rope_scaling {
    DT_ROPE_PLAIN,
    DT_ROPE_LINEAR, /**< positions divided by the factor */
    DT_ROPE_LLAMA3, /**< Megatron's use_rope_scaling: long waves divided, short ones kept, a blend between */
    DT_ROPE_YARN,
    DT_ROPE_DYNAMIC,
    DT_ROPE_LONGROPE
} dt_rope_scaling;

/** What a head's softmax holds beside its keys: nothing, a logit of 0, or a learnt one (a sink). */
typedef enum dt_softmax_type {
    DT_SOFTMAX_VANILLA,
    DT_SOFTMAX_OFF_BY_ONE,
    DT_SOFTMAX_LEARNABLE
} dt_softmax_type;

/** What a tower's picture becomes where one row stands for all. */
typedef enum dt_vision_pooling {
    DT_POOL_NONE,
    DT_POOL_CLASS,      /**< class: the first row that the tower returns */
    DT_POOL_CLASS_NORM, /**< class_norm: ln_post of the first row, which no other row sees (CLIP) */
    DT_POOL_ATTENTION   /**< attention: what a learnt query finds among the rows (SigLIP) */
} dt_vision_pooling;

/** Which row of a text stands for all of it. */
typedef enum dt_text_pooling {
    DT_TEXT_POOL_NONE,
    DT_TEXT_POOL_END, /**< end: the first that holds eos_token_id (CLIP) */
    DT_TEXT_POOL_LARGEST, /**< largest: the first of the largest id, as CLIP did before its end token was told right */
    DT_TEXT_POOL_LAST /**< last: padding included (SigLIP) */
} dt_text_pooling;

/** How a table of positions serves a picture of another size. */
typedef enum dt_position_resize {
    DT_RESIZE_NONE, /**< not at all: such pictures are refused */
    DT_RESIZE_BILINEAR,
    DT_RESIZE_BICUBIC
} dt_position_resize;

typedef enum dt_projector {
    DT_PROJECTOR_MLP,   /**< two layers */
    DT_PROJECTOR_AFFINE /**< one */
} dt_projector;

enum {
    DT_MAX_ROPE_FACTORS = 512,
    DT_MAX_STOP_IDS = 16,
    DT_MAX_LAYERS = 1 << 12,
    DT_MAX_FEATURE_LAYERS = 32,
    DT_MAX_GRID_POINTS = 64
};

/** What a layer of a heterogeneous model has for attention, or for the MLP. */
typedef enum dt_branch_kind {
    DT_BRANCH_FULL,
    DT_BRANCH_LINEAR, /**< one linear layer below the norm */
    DT_BRANCH_NONE    /**< nothing: no norm either, the rows pass */
} dt_branch_kind;

/** Where layers are not all alike: what one of them has. */
typedef struct dt_layer_shape {
    dt_branch_kind attention, mlp;
    int32_t num_query_groups, ffn_hidden_size; /**< of a full branch */
} dt_layer_shape;

enum { DT_MAX_SHAPES = 512 };

typedef struct dt_model_config {
    char model_type[32]; /**< Megatron's: "gpt", "t5" */
    char family[32];     /**< the row of models.def: "llama", "gpt2", "mt5", … "megatron_gpt" */
    char text_family
        [32]; /**< of a model with eyes: the row that its language model is by itself; "" when unknown */
    char export_model_type
        [24];            /**< Megatron's ModelType that the files say it is exported as ("falcon"), or "" */
    char written_by[64]; /**< "transformers 5.23.0", "megatron-core 0.16.1"; "" when the files do not say */
#define INT(field, key, initial, extension)        int64_t field;
#define REAL(field, key, initial, extension)       double field;
#define BOOL(field, key, initial, extension)       bool field;
#define ENUM(field, key, type, initial, extension) type field;
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
    int eos_count;
    int32_t eos_token_ids[DT_MAX_STOP_IDS];
    int rope_factors; /**< longrope: of each list below, half of the dimensions that rotate; else 0 */
    double rope_short_factor[DT_MAX_ROPE_FACTORS], rope_long_factor[DT_MAX_ROPE_FACTORS];
    int64_t window_left; /**< Megatron's window_size[0]: keys seen before a query's own; -1: all */
    int64_t
        window_attn_skip_freq; /**< one layer in so many has no window (the last of each), 0: none; or … */
    int window_listed; /**< … a bit each of so many layers says who has one, in window_layers; else 0 */
    uint8_t window_layers[DT_MAX_LAYERS / 8];
    int shape_count; /**< 0, or num_layers shapes (Megatron's heterogeneous_layers_config_encoded_json) */
    dt_layer_shape shape[DT_MAX_SHAPES];
    int64_t
        moe_layer_freq; /**< one layer in so many has experts, from layer 0 on; or, where it was a list … */
    int moe_listed;     /**< … of so many layers: a bit each in moe_layers; else 0 */
    uint8_t moe_layers[DT_MAX_LAYERS / 8];
    int feature_layers; /**< which rows of its tower the projector sees: 0, those that the tower returns; or … */
    int32_t feature_layer[DT_MAX_FEATURE_LAYERS]; /**< … of these layers side by side, counted as transformers
                                                       does: 0 what enters the first, -1 what leaves the last */
    int grid_points; /**< LLaVA-NeXT: sizes that pictures are stretched to and cut into tiles; 0: none */
    int32_t grid_point[DT_MAX_GRID_POINTS][2]; /**< height, width */
    /* A model with eyes: everything above is its language model's (a dual encoder's: its text tower's). NULL without.
     * Borrowed from whoever read the configuration (dt_config_parts), so a copy has the same ones. */
    const struct dt_model_config *vision, *projection;
} dt_model_config;

/** The parts that a configuration points to, for who reads one: they live as long as it does. */
typedef struct dt_config_parts {
    dt_model_config vision, projection;
} dt_config_parts;

/** The parts of a model with eyes, as bits. */
typedef enum dt_config_part { DT_PART_LANGUAGE = 1, DT_PART_TOWER = 2, DT_PART_PROJECTOR = 4 } dt_config_part;

/** Whose a canonical tensor is, by its name: what reads has all that the two others have not. */
dt_config_part dt_config_part_of(const char *canonical);

/** Every field at Megatron's default. */
void dt_config_init(dt_model_config *config);

/** Does it see: is it a vision tower by itself? */
bool dt_config_is_tower(const dt_model_config *config);

/** Does it read: has it a vocabulary? Towers and projectors alone do not. */
bool dt_config_reads(const dt_model_config *config);

/** Is what reads a decoder of words alone: by itself (gpt), or behind pictures (llava)? */
bool dt_config_is_gpt(const dt_model_config *config);

/** Has it a text tower and a vision tower, whose features can be compared? */
bool dt_config_compares(const dt_model_config *config);
/** Columns of those features. */
int64_t dt_config_features(const dt_model_config *config);

/** Put the fields that only vision models have back to their defaults: in other models they say nothing. */
void dt_config_clear_vision(dt_model_config *config);

/** A tower's grid of patches: of pictures as it was trained on, and of its table of positions. */
typedef struct dt_patch_grid {
    int64_t rows, columns;
} dt_patch_grid;
dt_patch_grid dt_config_patches(const dt_model_config *tower);
dt_patch_grid dt_config_position_grid(const dt_model_config *tower);
/** Rows of the table: the grid's, behind those of class tokens where it has some (clip_vit). */
int64_t dt_config_position_rows(const dt_model_config *tower);

/** How many of a tower's layers stand before the rows of feature_layer[i]: 0 … its layers; -1: there are not so many. */
int64_t dt_config_feature_depth(const dt_model_config *config, int i);
/** Columns that the tower gives the projector for each row, and rows for each picture of the trained size. */
int64_t dt_config_feature_width(const dt_model_config *config);
int64_t dt_config_feature_rows(const dt_model_config *config);

/** Fill in what follows from other fields (kv_channels, query groups, ffn, softmax scale, padded vocabulary); of its parts
 *  nothing. */
void dt_config_derive(dt_model_config *config);

/** Do the fields agree with one another, and are they within what can be computed? Names the key when not. */
dt_status dt_config_check(const dt_model_config *config, dt_error *err);

/**
 * The index-th (from 0) key of a setting that stock Megatron Core lacks and this model differs in: it would compute
 * something else. NULL past the last; a model without any is one that Megatron computes as it is. Borrowed, static.
 */
const char *dt_config_beyond_megatron(const dt_model_config *config, int index);

/** Is the model's yarn that of Megatron's GPTModel? *mscale makes its attention factor; 0: yarn's own. */
bool dt_config_yarn_is_megatrons(const dt_model_config *config, double *mscale);

/**
 * Do two models compute the same? NULL, or the key of a field that keeps them apart. Fields without influence (rotary
 * settings of a model with learned positions, token ids, padding of the vocabulary) do not count. A part's keys are told as
 * "vision.hidden_size" and "vision_projection.hidden_size".
 */
const char *dt_config_difference(const dt_model_config *a, const dt_model_config *b);

/** The configuration that the encoder's layers are built with: its own heads and widths where it has some. */
dt_model_config dt_config_of_encoder(const dt_model_config *config);

/** Has the head a bias? */
bool dt_config_has_output_bias(const dt_model_config *config);

/** Is the MLP of this layer (from 0) a mixture of experts? */
bool dt_config_layer_is_moe(const dt_model_config *config, int64_t layer);

/** A layer's (from 0) branches; the model's own sizes where all layers are alike. */
dt_layer_shape dt_config_layer_shape(const dt_model_config *config, int64_t layer);

/** How many keys before its own a query of this layer (from 0) sees; -1: all. */
int64_t dt_config_layer_window(const dt_model_config *config, int64_t layer);

/** Do rotary frequencies depend on how long a sequence is (dynamic, longrope)? */
bool dt_config_rope_grows(const dt_model_config *config);
/** Do they differ between sequences of these lengths? */
bool dt_config_rope_differs(const dt_model_config *config, int64_t length, int64_t other);

/** Say which layers have the window, one after another from layer 0. `count` is at most DT_MAX_LAYERS. */
void dt_config_list_windows(dt_model_config *config, const bool *windowed, int count);

/** Text of enum values, as Megatron spells them ("RMSNorm", "learned_absolute", "silu"); NULL when out of range. */
const char *dt_normalization_name(dt_normalization value);
const char *dt_norm_placement_name(dt_norm_placement value);
const char *dt_position_embedding_name(dt_position_embedding value);
const char *dt_rope_scaling_name(dt_rope_scaling value);
const char *dt_activation_name(dt_activation value);
const char *dt_softmax_type_name(dt_softmax_type value);
const char *dt_router_score_name(dt_router_score value);
const char *dt_vision_pooling_name(dt_vision_pooling value);
const char *dt_text_pooling_name(dt_text_pooling value);
const char *dt_position_resize_name(dt_position_resize value);
const char *dt_projector_name(dt_projector value);

#ifdef __cplusplus
}
#endif
#endif
