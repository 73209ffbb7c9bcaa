/*
 * embedding.c - from tokens to rows, and from rows to logits.
 */
#include "nn/layer.h"

#include <string.h>

static dt_tensor *word_table(dt_graph *g, const dt_model_config *c)
{
    return dt_nn_weight(g, "embedding", "word_embeddings.weight", c->padded_vocab_size, c->hidden_size,
                        DT_SPLIT_VOCAB);
}

dt_tensor *dt_embed_tokens(dt_graph *g, const dt_model_config *c, dt_tensor *tokens, dt_tensor *positions)
{
    dt_tensor *x = dt_embedding(g, word_table(g, c), tokens); /* [T, H] */
    if (c->embedding_multiplier != 0)
        x = dt_scale(g, x, c->embedding_multiplier);
    if (c->position_embedding_type != DT_POSITION_LEARNED)
        return x;
    dt_tensor *table = dt_nn_weight(g, "embedding", "position_embeddings.weight", c->max_sequence_length,
                                    c->hidden_size, DT_SPLIT_NONE);
    return dt_add(g, x, dt_embedding(g, table, positions));
}

static dt_tensor *soft_cap(dt_graph *g, dt_tensor *x, double cap)
{
    if (cap == 0)
        return x;
    return dt_scale(g, dt_activate(g, dt_scale(g, x, 1 / cap), DT_ACT_TANH), cap);
}

dt_tensor *dt_output_logits(dt_graph *g, const dt_model_config *c, dt_tensor *hidden, const char *name)
{
    bool tied = c->share_embeddings_and_output_weights;
    bool bias = tied && strcmp(c->model_type, "t5") == 0 && !c->no_output_layer_bias;
    dt_tensor *w =
        tied ? word_table(g, c)
             : dt_nn_weight(g, name, "weight", c->padded_vocab_size, c->hidden_size, DT_SPLIT_VOCAB);
    dt_tensor *b =
        bias ? dt_nn_vector(g, name, "bias", c->padded_vocab_size, DT_SPLIT_VOCAB, DT_INIT_ZERO) : NULL;
    return soft_cap(g, dt_linear(g, hidden, w, b), c->final_logit_softcapping); /* [R, padded vocabulary] */
}
