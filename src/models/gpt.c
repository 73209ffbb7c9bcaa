/*
 * gpt.c - the decoder-only skeleton: GPT-2, Llama, and Megatron's GPTModel.
 *
 * Papers  Radford et al. 2019 (GPT-2); Touvron et al. 2023, arXiv:2302.13971 (Llama).
 * Peers   megatron core/models/gpt/gpt_model.py · transformers models/{gpt2,llama}
 *
 *   tokens [T] → embed (+ learned positions) → L × { x += attn(norm x); x += mlp(norm x) } → norm → head [R, V]
 *
 * What the families differ in (norms and where they stand, parallel branches, biases, gating, rotary, grouped
 * queries, tied head) is configuration; the layer itself is its layer spec's. A STEP graph computes logits only for `output_rows`; a FULL one for every row.
 */
#include "models/inputs.h"

dt_status dt_build_gpt(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                       dt_error *err);

dt_status dt_build_gpt(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                       dt_error *err)
{
    bool step = options->mode == DT_BUILD_STEP;
    if (options->mode == DT_BUILD_ENCODE)
        return dt_fail(err, DT_INVALID, "a GPT model has no encoder");
    if (options->mode == DT_BUILD_EMBED)
        return dt_fail(err, DT_UNSUPPORTED,
                       "a %s has no encoder to embed with (the encoders of T5 and BERT do)", config->family);
    dt_stack stack = dt_model_stack(g, config, options, "decoder", "out.", config->num_layers);
    stack.causal = true;
    dt_tensor *tokens = dt_model_rows(&stack, options, "", "tokens", options->tokens);
    dt_tensor *x = dt_stack_build(&stack, dt_stack_embed(&stack, tokens)); /* [T, H] */
    dt_model_head(g, config, options, NULL, x, "output_layer", step);
    return DT_OK;
}
