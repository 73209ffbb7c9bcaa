/*
 * inputs.c - the inputs of a step and the head, alike for every model.
 */
#include "graph/ir.h"
#include "models/inputs.h"

#include <stdio.h>

/* [A] zeros */
static dt_tensor *zero_logits(dt_graph *g, const dt_model_config *config)
{
    int64_t heads = config->num_attention_heads;
    float *zeros = DT_NEW_ARRAY(g->arena, float, heads);
    if (zeros)
        return dt_graph_constant(g, "softmax.offset", heads, zeros);
    dt_graph_fail(g, DT_NO_MEMORY, "no memory for %lld logits", (long long)heads);
    return NULL;
}

dt_stack dt_model_stack(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                        const char *name, const char *point, int64_t layers)
{
    dt_stack stack = {.g = g,
                      .config = config,
                      .spec = options->spec ? options->spec : dt_layer_spec_fused(),
                      .name = name,
                      .point = point,
                      .layers = layers,
                      .listing = options->listing,
                      .kv_dtype = options->kv_dtype,
                      .rope_magnitude = 1};
    if (config->position_embedding_type == DT_POSITION_ROPE)
        stack.inv_freq = dt_rope_frequencies(g, config, &stack.rope_magnitude);
    if (stack.inv_freq && config->window_rotary_base != 0)
        stack.window_inv_freq = dt_rope_window_frequencies(g, config);
    if (config->softmax_type == DT_SOFTMAX_OFF_BY_ONE)
        stack.zero_logits = zero_logits(g, config);
    return stack;
}

static dt_dim sequences(dt_graph *g, const dt_build_options *options, int64_t extra)
{
    return (dt_dim){dt_graph_axis(g, "sequences", options->sequences), extra};
}

dt_tensor *dt_model_sequence_input(dt_graph *g, const dt_build_options *options, const char *name)
{
    dt_dim dim[] = {sequences(g, options, 0)};
    return dt_graph_input(g, name, DT_I32, 1, dim);
}

dt_tensor *dt_model_block_table(dt_graph *g, const dt_build_options *options, const char *name,
                                int64_t blocks)
{
    dt_dim dim[] = {sequences(g, options, 0), {NULL, blocks}};
    return dt_graph_input(g, name, DT_I32, 2, dim);
}

/* "encoder_" + "tokens" */
static dt_tensor *prefixed_input(dt_graph *g, const char *prefix, const char *name, dt_dim dim)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return dt_graph_input(g, full, DT_I32, 1, &dim);
}

dt_tensor *dt_model_rows(dt_stack *stack, const dt_build_options *options, const char *prefix,
                         const char *axis, int64_t capacity)
{
    dt_graph *g = stack->g;
    dt_dim rows = {dt_graph_axis(g, axis, capacity), 0};
    dt_tensor *tokens = prefixed_input(g, prefix, "tokens", rows);
    stack->positions = prefixed_input(g, prefix, "positions", rows);
    if (dt_config_rope_grows(stack->config))
        stack->lengths = prefixed_input(g, prefix, "rope_lengths", rows);
    stack->rows.cu_seqlens = prefixed_input(g, prefix, "cu_seqlens", sequences(g, options, 1));
    if (options->mode == DT_BUILD_STEP) {
        stack->rows.past = dt_model_sequence_input(g, options, "past");
        stack->rows.block_table = dt_model_block_table(g, options, "block_table", options->sequence_blocks);
        stack->kv_blocks = (dt_dim){NULL, options->kv_blocks};
    }
    return tokens;
}

dt_tensor *dt_model_output_rows(dt_graph *g, const dt_build_options *options, dt_tensor *hidden)
{
    dt_dim dim = {dt_graph_axis(g, "output_rows", options->output_rows), 0};
    return dt_take_rows(g, hidden, dt_graph_input(g, "output_rows", DT_I32, 1, &dim));
}

dt_tensor *dt_model_token_loss(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                               dt_tensor *logits)
{
    dt_dim rows = {dt_graph_axis(g, "tokens", options->tokens), 0};
    dt_tensor *labels = dt_graph_input(g, "labels", DT_I32, 1, &rows);
    dt_tensor *mask = dt_graph_input(g, "loss_mask", DT_F32, 1, &rows);
    int64_t vocab = options->loss_over_padded ? config->padded_vocab_size : config->vocab_size;
    dt_tensor *token_loss = dt_point(g, dt_cross_entropy(g, logits, labels, vocab), "out.token_loss");
    return dt_weighted_mean(g, token_loss, mask);
}

void dt_model_head(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                   const char *prefix, dt_tensor *hidden, const char *name, bool selected)
{
    if (!selected && !options->logits && !options->loss)
        return;
    if (selected)
        hidden = dt_model_output_rows(g, options, hidden);
    dt_tensor *logits = dt_point(g, dt_output_logits(g, config, prefix, hidden, name), "out.logits");
    if (options->loss)
        dt_point(g, dt_model_token_loss(g, config, options, logits), "out.loss");
}
