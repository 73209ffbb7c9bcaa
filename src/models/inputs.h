/*
 * inputs.h - what every builder needs around its layers: the inputs of a step, and the head.
 */
#ifndef DT_MODELS_INPUTS_H
#define DT_MODELS_INPUTS_H

#include "base/fail.h"
#include "models/build.h"
#include "nn/layer.h"

/* A stack with what the configuration and the options decide; rows are bound by dt_model_rows. */
dt_stack dt_model_stack(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                        const char *name, const char *point, int64_t layers);

/*
 * Declare the inputs PREFIXtokens, PREFIXpositions and PREFIXcu_seqlens over an axis, and in STEP mode past and
 * block_table; returns the tokens [T].
 */
dt_tensor *dt_model_rows(dt_stack *stack, const dt_build_options *options, const char *prefix,
                         const char *axis, int64_t capacity);

dt_tensor *dt_model_sequence_input(dt_graph *g, const dt_build_options *options,
                                   const char *name); /* [B] i32 */
dt_tensor *dt_model_block_table(dt_graph *g, const dt_build_options *options, const char *name,
                                int64_t blocks);

/* The rows of hidden [T, H] that the input output_rows names, [R, H]. */
dt_tensor *dt_model_output_rows(dt_graph *g, const dt_build_options *options, dt_tensor *hidden);

/* Logits [T, V] → out.token_loss; returns its mean over the inputs labels and loss_mask, which has no name yet. */
dt_tensor *dt_model_token_loss(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                               dt_tensor *logits);

/*
 * hidden [T, H] → out.logits, and with options->loss out.token_loss and out.loss. `selected`: of output_rows only. The head
 * is `name` below `prefix` (dt_output_logits).
 */
void dt_model_head(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                   const char *prefix, dt_tensor *hidden, const char *name, bool selected);

#endif
