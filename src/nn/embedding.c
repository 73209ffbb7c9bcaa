/*
 * embedding.c - from tokens to rows, and from rows to logits.
 */
#include "nn/layer.h"

#include <math.h>
#include <stdio.h>

enum { NAME_BYTES = 192 };

typedef struct name_text {
    char text[NAME_BYTES];
} name_text;

/* A name of the whole model's, below the prefix that it has inside another one. */
static name_text below(const char *prefix, const char *name)
{
    name_text full;
    snprintf(full.text, sizeof full.text, "%s%s", prefix ? prefix : "", name);
    return full;
}

static dt_tensor *word_table(dt_graph *g, const dt_model_config *c, const char *prefix)
{
    return dt_nn_weight(g, below(prefix, "embedding").text, "word_embeddings.weight", c->padded_vocab_size,
                        c->hidden_size, DT_SPLIT_VOCAB);
}

static dt_tensor *learned_positions(const dt_stack *s)
{
    const dt_model_config *c = s->config;
    name_text shared = below(s->prefix, "embedding");
    dt_tensor *table =
        dt_nn_weight(s->g, s->own_positions ? s->name : shared.text,
                     s->own_positions ? "x_position_embeddings.weight" : "position_embeddings.weight",
                     c->max_sequence_length + c->position_offset, c->hidden_size, DT_SPLIT_NONE);
    return dt_embedding_from(s->g, table, s->positions, c->position_offset);
}

/*
 * Waves of 1, …, 1/10000 radians a position: fairseq's reach the last, and are counted in f32; the others stop a step
 * before it, and are counted in f64.
 */
static dt_tensor *sinusoids(const dt_stack *s)
{
    const dt_model_config *c = s->config;
    float frequency[2 * DT_MAX_FREQUENCIES] = {0}; /* dt_config_check keeps the width within this */
    int64_t H = c->hidden_size <= 2 * DT_MAX_FREQUENCIES ? c->hidden_size : 2 * DT_MAX_FREQUENCIES;
    int64_t pairs = c->sinusoids_to_base ? H / 2 : (H + 1) / 2;
    for (int64_t i = 0; i < pairs; i++) {
        double exact = pow(10000, -2.0 * (double)i / (double)H);
        if (c->sinusoids_to_base)
            exact = expf((float)i * (float)(-log(10000) / (double)(pairs - 1)));
        frequency[i] = (float)exact;
        frequency[pairs + i] = (float)(exact - frequency[i]);
    }
    dt_tensor *f = dt_graph_constant(s->g, "embedding.sinusoids", 2 * pairs, frequency);
    return dt_sinusoid(s->g, s->positions, f, H, c->position_offset, c->sinusoids_to_base);
}

static dt_tensor *words(const dt_stack *s)
{
    const dt_model_config *c = s->config;
    if (!s->own_words)
        return word_table(s->g, c, s->prefix);
    return dt_nn_weight(s->g, s->name, "x_word_embeddings.weight", s->own_words, c->hidden_size,
                        DT_SPLIT_NONE);
}

static dt_tensor *token_types(const dt_stack *s)
{
    return dt_nn_weight(s->g, below(s->prefix, "embedding").text, "tokentype_embeddings.weight",
                        s->config->num_tokentypes, s->config->hidden_size, DT_SPLIT_NONE);
}

dt_tensor *dt_stack_words(const dt_stack *s, dt_tensor *tokens)
{
    const dt_model_config *c = s->config;
    dt_tensor *x = dt_embedding_padded(s->g, words(s), tokens, c->padding_row_still ? c->pad_token_id : -1);
    if (c->embedding_multiplier != 0)
        x = dt_scale(s->g, x, c->embedding_multiplier);
    if (c->position_embedding_type == DT_POSITION_LEARNED)
        x = dt_add(s->g, x, learned_positions(s));
    else if (c->position_embedding_type == DT_POSITION_SINUSOIDAL)
        x = dt_add(s->g, x, sinusoids(s));
    if (s->token_types)
        x = dt_add(s->g, x, dt_embedding(s->g, token_types(s), s->token_types));
    if (c->embedding_layernorm)
        x = dt_nn_norm(s->g, c, s->name, "x_embedding_layernorm.", x, c->hidden_size);
    return x;
}

dt_tensor *dt_stack_embed(const dt_stack *s, dt_tensor *tokens)
{
    return dt_point(s->g, dt_stack_words(s, tokens), "%sembedding", s->point);
}

static dt_tensor *soft_cap(dt_graph *g, dt_tensor *x, double cap)
{
    if (cap == 0)
        return x;
    return dt_scale(g, dt_activate(g, dt_scale(g, x, 1 / cap), DT_ACT_TANH), cap);
}

dt_tensor *dt_output_logits(dt_graph *g, const dt_model_config *c, const char *prefix, dt_tensor *hidden,
                            const char *name)
{
    bool tied = c->share_embeddings_and_output_weights;
    name_text head = below(prefix, name);
    int64_t V = c->padded_vocab_size;
    dt_tensor *w = tied ? word_table(g, c, prefix)
                        : dt_nn_weight(g, head.text, "weight", V, c->hidden_size, DT_SPLIT_VOCAB);
    dt_tensor *b = dt_config_has_output_bias(c)
                       ? dt_nn_vector(g, head.text, "bias", V, DT_SPLIT_VOCAB, DT_INIT_ZERO)
                       : NULL;
    return soft_cap(g, dt_linear(g, hidden, w, b), c->final_logit_softcapping); /* [R, padded vocabulary] */
}
