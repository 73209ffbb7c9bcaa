/*
 * layer.h - one transformer layer being built, and the stack it belongs to.
 */
#ifndef DT_NN_LAYER_H
#define DT_NN_LAYER_H

#include <drivetrain/layer_spec.h>

/* A tower's sizes, a projector's, and that the parts of a model with eyes fit (vision.c). */
dt_status dt_config_check_vision(const dt_model_config *config, dt_error *err);

/* A number of the configuration within its bounds (config_check.c). */
dt_status dt_config_check_range(const char *key, int64_t value, int64_t low, int64_t high, dt_error *err);

/* What the layers of one stack (encoder, decoder) share while a graph is built. */
typedef struct dt_stack {
    dt_graph *g;
    const dt_model_config *config;
    const dt_layer_spec *spec;
    const char
        *prefix; /* before the names of parameters that are the whole model's ("language_model."), or NULL */
    const char *name;  /* "encoder", "language_model.decoder": prefix of its parameters and caches */
    const char *point; /* "out.", "out.encoder.": prefix of its points */
    int64_t layers;
    int64_t own_words;  /* rows of its own table of tokens; 0: the model's */
    bool own_positions; /* it learns positions apart from the other stack */
    bool listing;       /* the graph is built for its parameters alone and never run */
    bool causal;
    dt_tensor **stream;     /* NULL, or [layers + 1] to fill: rows before each layer, and behind the last */
    bool open_ended;        /* no norm at its end, and no point for it: the tower's own follows */
    dt_rows rows;           /* of the stack's tokens; past and block_table set when it has a KV cache */
    dt_tensor *positions;   /* [T] i32 */
    dt_tensor *token_types; /* [T] i32, or NULL */
    dt_tensor *inv_freq;    /* rotary frequencies, or NULL */
    double rope_magnitude;
    dt_tensor *window_inv_freq; /* of windowed layers where these have their own, or NULL */
    dt_tensor *lengths;     /* [T] i32: of each row's sequence, where frequencies follow from it, or NULL */
    dt_tensor *zero_logits; /* [A] zeros where every softmax counts one more, or NULL */
    dt_tensor *bias_table;  /* relative positions shared by the layers, or NULL */
    const char *bias_name;  /* its own table in every layer: name below the layer's prefix, or NULL */
    dt_dim kv_blocks;       /* with a cache: blocks in the pool */
    dt_dtype kv_dtype;
    /* cross attention; memory_rows.cu_seqlens describes `memory`, or past and block_table what was stored of it */
    bool cross;
    dt_tensor *memory;
    dt_rows memory_rows;
    dt_dim memory_blocks;
} dt_stack;

struct dt_layer {
    const dt_stack *stack;
    const char *prefix;
    int number;
};

/* Token embeddings, as the model has them; and the same with a point, embedding. */
dt_tensor *dt_stack_words(const dt_stack *stack, dt_tensor *tokens);

/* Rows that enter the stack: token embeddings with positions, normed where the model does → [T, H]; point: embedding. */
dt_tensor *dt_stack_embed(const dt_stack *stack, dt_tensor *tokens);

/* The whole stack with its final norm, [T, H] → [T, H]; points: layer.K and hidden. */
dt_tensor *dt_stack_build(const dt_stack *stack, dt_tensor *x);

/* Cross keys and values of every layer from the encoder's output, stored in the cross caches: run once a prompt. */
void dt_stack_store_cross(const dt_stack *stack);

/* linear_kv of the encoder rows [S, H] → keys and values [S, A·D] each. */
void dt_cross_keys_values(dt_layer *layer, dt_tensor *memory, dt_tensor **kv);

/* fc1, activation or gated unit, fc2 below PREFIX.NAME, F wide: the MLP, and a shared expert. */
dt_tensor *dt_layer_mlp(dt_layer *layer, dt_tensor *x, const char *name, int64_t F);
/* An RMSNorm, whatever norm the layer's are: PREFIX.STEMweight. */
dt_tensor *dt_layer_rms_norm_of(dt_layer *layer, dt_tensor *x, const char *stem, int64_t size);
/* The configured activation, or gated unit of [.., 2F]. */
dt_tensor *dt_layer_activation(dt_layer *layer, dt_tensor *x);
/* Router, experts and shared expert in place of an MLP (moe.c). */
dt_tensor *dt_layer_mixture(dt_layer *layer, dt_tensor *x);

/* PREFIX.NAME of rank 2 or 1, as a parameter. */
dt_tensor *dt_nn_weight(dt_graph *g, const char *prefix, const char *name, int64_t rows, int64_t cols,
                        dt_split split);
dt_tensor *dt_nn_vector(dt_graph *g, const char *prefix, const char *name, int64_t size, dt_split split,
                        dt_init init);

/* The configured norm of x [T, size]: PREFIX.STEMweight and, but for an RMSNorm, PREFIX.STEMbias. */
dt_tensor *dt_nn_norm(dt_graph *g, const dt_model_config *config, const char *prefix, const char *stem,
                      dt_tensor *x, int64_t size);

enum { DT_MAX_FREQUENCIES = 4096 }; /* of one head */

/* Rotary frequencies for a configuration, computed in f32 as the makers do; *magnitude is 1 but for yarn and longrope. */
dt_tensor *dt_rope_frequencies(dt_graph *g, const dt_model_config *config, double *magnitude);
dt_tensor *dt_rope_window_frequencies(dt_graph *g, const dt_model_config *config);
dt_rope_spec dt_rope_spec_of(const dt_model_config *config, int64_t heads, double magnitude);

/*
 * Logits of hidden rows [R, H] → [R, padded vocabulary]; `name` is the head's canonical prefix, below the model's own where
 * it is part of another one ("language_model."; NULL: it is none).
 */
dt_tensor *dt_output_logits(dt_graph *g, const dt_model_config *config, const char *prefix, dt_tensor *hidden,
                            const char *name);

#endif
