/*
 * build.h - the graphs a model is run by, and the registry of models.
 *
 * One builder per model makes them all; what differs is what is bound around the same layers:
 *
 * A model whose rotary frequencies follow from a sequence's length (dynamic, longrope) also has rope_lengths beside
 * positions: for each row the length that its sequence has when the call or prompt that it belongs to is read.
 *
 *   FULL    every row in one run, no cache: traces, losses, gradients. Inputs: tokens, positions, cu_seqlens
 *           (T5: encoder_… and decoder_…), and with `loss`: labels, loss_mask. BERT: token_types, first_rows,
 *           and with `sentence_order` sentence_order and sentence_order_mask.
 *           A tower: the inputs that pictures.h lists; a projector: image_features [vision_tokens, input_size].
 *           Other losses than of tokens: hidden_weight, as the result.
 *   STEP    rows appended to a KV cache: prefill, chunks and decoding alike. Inputs: tokens, positions,
 *           cu_seqlens, past, block_table, output_rows; T5 also memory_lengths and memory_block_table.
 *           A model that sees (llava): the tower's, those of features.h, and merged_rows, which says where pictures stand;
 *           without `images`, of words alone.
 *   STEP    as said; with `image_rows` also image_rows [image_rows, H], what ENCODE gave, and merged_rows.
 *   ENCODE  llava's pictures once: the point out.image_rows [image_rows, H]. EMBED: its tower alone.
 *   ENCODE  T5's encoder once, its cross keys and values stored. Inputs: encoder_tokens, encoder_positions,
 *           encoder_cu_seqlens, memory_past (zeros), memory_block_table.
 *   EMBED   an encoder's rows, no cache: hidden states, and with `pooled` the pooler's. Inputs: tokens, positions,
 *           cu_seqlens; BERT also token_types, first_rows with `pooled`, and with `logits` output_rows.
 */
#ifndef DT_MODELS_BUILD_H
#define DT_MODELS_BUILD_H

#include "base/arena.h"

#include <drivetrain/layer_spec.h>

/* What a loss is of. */
typedef enum dt_loss_kind {
    DT_LOSS_TOKENS,         /* labels, loss_mask: the mean of what tokens cost */
    DT_LOSS_POOLED_SQUARES, /* a tower's pooled rows, squared and added up */
    DT_LOSS_HIDDEN_WEIGHTED, /* Σ result · hidden_weight · loss_factor, of a tower's hidden rows or what is projected */
} dt_loss_kind;

typedef enum dt_build_mode { DT_BUILD_FULL, DT_BUILD_STEP, DT_BUILD_ENCODE, DT_BUILD_EMBED } dt_build_mode;

typedef struct dt_build_options {
    dt_build_mode mode;
    const dt_layer_spec *spec; /* NULL = fused */
    bool loss;                 /* FULL: also out.token_loss and out.loss */
    bool loss_over_padded;     /* softmax over the padded vocabulary, as Megatron trains; else the real one */
    dt_loss_kind loss_kind;
    double loss_factor;  /* DT_LOSS_HIDDEN_WEIGHTED */
    bool sentence_order; /* BERT: the loss has the sentence order's part */
    bool logits;         /* FULL: out.logits of every row; EMBED: of output_rows */
    bool pooled;         /* EMBED: out.pooled, one row a sequence */
    bool listing;        /* for its parameters alone: what cannot be computed yet is listed all the same */
    /* capacities of the axes */
    int64_t tokens, source_tokens, sequences, output_rows;
    int64_t images, patches, vision_tokens; /* pictures, their patches, and rows with class tokens */
    int64_t features, image_rows;           /* … what is projected of these; what stands among words */
    int64_t kv_blocks, sequence_blocks;     /* blocks in the pool, and at most in one sequence's table */
    int64_t memory_blocks, memory_sequence_blocks;
    dt_dtype kv_dtype;
} dt_build_options;

typedef dt_status (*dt_model_builder)(dt_graph *g, const dt_model_config *config,
                                      const dt_build_options *options, dt_error *err);

typedef struct dt_model_type {
    const char *family;      /* "llama" */
    const char *model_type;  /* "gpt" */
    const char *description; /* for help and errors */
    dt_model_builder build;
} dt_model_type;

const dt_model_type *dt_model_type_find(const char *family); /* NULL when unknown */
const dt_model_type *dt_model_type_at(int index);            /* NULL past the end */

/* Build, finish and check a graph of the model. The graph is the caller's, also after a failure. */
dt_status dt_model_build(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                         dt_error *err);

/*
 * Positions of one sequence's tokens from its start: 0, 1, …; RoBERTa's count from behind the padding token's id, and
 * padding itself stays there.
 */
void dt_model_number_positions(const dt_model_config *config, const int32_t *tokens, int64_t count,
                               int32_t *positions);

/* Which of a text's rows stands for it (text_pooling), counted from its first. */
int64_t dt_model_pooled_row(const dt_model_config *config, const int32_t *tokens, int64_t count);

/* Can the model be computed? DT_UNSUPPORTED says what of it cannot be yet. */
dt_status dt_model_computes(const dt_model_config *config, dt_error *err);

/* The model's parameters (a FULL graph's, in order), without allocating the model. Owned by `arena`. */
dt_status dt_model_parameters(const dt_model_config *config, dt_arena *arena, const dt_param_spec **out,
                              int *count, dt_error *err);

#endif
