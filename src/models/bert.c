/*
 * bert.c - BERT: an encoder that fills in masked words; transformers' BERT and RoBERTa, and Megatron's BertModel.
 *
 * Papers  Devlin et al. 2018, arXiv:1810.04805; Liu et al. 2019, arXiv:1907.11692 (RoBERTa); Shoeybi et al. 2019,
 *         arXiv:1909.08053 (Megatron's, whose norms stand before the branches).
 * Peers   transformers models/{bert,roberta} · megatron core/models/bert/bert_model.py
 *
 *   tokens [T] → embed + positions + token types → L layers, every row sees its whole text → hidden [T, H]
 *   hidden → norm(gelu(dense)) → embedding table, bias → logits [T, V]           what word stands here?
 *   hidden of each first row → tanh(dense) → pooled [B, H] → binary head [B, 2]  does the second text follow the first?
 *
 * Unlike GPT:  no mask but the text's own ends; nothing is generated, so there is no cache and no STEP.
 *              transformers norms sums and embeddings (norm_placement, embedding_layernorm); Megatron does neither.
 *              RoBERTa's positions start behind the padding token's id (dt_model_number_positions).
 *              the loss is the sum of two means: of masked words, and of the order of sentences.
 */
#include "graph/ir.h"
#include "models/inputs.h"

dt_status dt_build_bert(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                        dt_error *err);

static dt_tensor *dense(dt_graph *g, dt_tensor *x, const char *name, int64_t in, int64_t out)
{
    dt_tensor *w = dt_nn_weight(g, name, "weight", out, in, DT_SPLIT_NONE);
    return dt_linear(g, x, w, dt_nn_vector(g, name, "bias", out, DT_SPLIT_NONE, DT_INIT_ZERO));
}

static dt_tensor *encode(dt_stack *s, const dt_build_options *o)
{
    dt_tensor *tokens = dt_model_rows(s, o, "", "tokens", o->tokens);
    dt_dim rows = {dt_graph_axis(s->g, "tokens", o->tokens), 0};
    if (s->config->num_tokentypes > 0)
        s->token_types = dt_graph_input(s->g, "token_types", DT_I32, 1, &rows);
    return dt_stack_build(s, dt_stack_embed(s, tokens)); /* [T, H] */
}

static dt_tensor *pool(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_tensor *hidden)
{
    dt_tensor *first = dt_take_rows(g, hidden, dt_model_sequence_input(g, o, "first_rows"));
    dt_tensor *x = dense(g, first, "pooler.dense", c->hidden_size, c->hidden_size);
    return dt_point(g, dt_activate(g, x, DT_ACT_TANH), "out.pooled"); /* [B, H] */
}

static dt_tensor *predict(dt_graph *g, const dt_model_config *c, dt_tensor *hidden)
{
    dt_tensor *x = dense(g, hidden, "lm_head.dense", c->hidden_size, c->hidden_size);
    x = dt_activate(g, x, c->lm_head_activation);
    x = dt_point(g, dt_nn_norm(g, c, "lm_head", "layer_norm.", x, c->hidden_size), "out.lm_head");
    return dt_point(g, dt_output_logits(g, c, NULL, x, "output_layer"),
                    "out.logits"); /* [R, padded vocabulary] */
}

/* Mean over the texts whose order is known. */
static dt_tensor *order_loss(dt_graph *g, const dt_build_options *o, dt_tensor *binary_logits)
{
    dt_dim texts = {dt_graph_axis(g, "sequences", o->sequences), 0};
    dt_tensor *labels = dt_graph_input(g, "sentence_order", DT_I32, 1, &texts);
    dt_tensor *known = dt_graph_input(g, "sentence_order_mask", DT_F32, 1, &texts);
    return dt_weighted_mean(g, dt_cross_entropy(g, binary_logits, labels, 2), known);
}

/* Everything there is, over every row. */
static void full(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_tensor *hidden)
{
    dt_tensor *pooled = c->add_binary_head || c->pooler ? pool(g, c, o, hidden) : NULL, *binary = NULL;
    if (c->add_binary_head)
        binary = dt_point(g, dense(g, pooled, "binary_head", c->hidden_size, 2), "out.binary_logits");
    if (c->no_lm_head || !(o->logits || o->loss))
        return;
    dt_tensor *logits = predict(g, c, hidden);
    if (!o->loss)
        return;
    dt_tensor *loss = dt_model_token_loss(g, c, o, logits);
    if (binary && o->sentence_order)
        loss = dt_add(g, loss, order_loss(g, o, binary));
    dt_point(g, loss, "out.loss");
}

/* What is asked of a text: its hidden states, and its pooled one or the words at `output_rows`. */
static dt_status embed(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_tensor *hidden,
                       dt_error *err)
{
    hidden->keep = true;
    if (o->pooled && !c->add_binary_head && !c->pooler)
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no pooler: pool by mean or cls", c->family);
    if (o->logits && c->no_lm_head)
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no head that names words: it can only embed",
                       c->family);
    if (o->pooled)
        pool(g, c, o, hidden);
    if (o->logits)
        predict(g, c, dt_model_output_rows(g, o, hidden));
    return DT_OK;
}

dt_status dt_build_bert(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_error *err)
{
    dt_stack s = dt_model_stack(g, c, o, "encoder", "out.", c->num_layers);
    if (o->mode == DT_BUILD_STEP || o->mode == DT_BUILD_ENCODE)
        return dt_fail(err, DT_UNSUPPORTED, "a %s is an encoder alone: it embeds, but cannot generate",
                       c->family);
    if (o->loss && c->no_lm_head)
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no head that names words, so it has no loss",
                       c->family);
    dt_tensor *hidden = encode(&s, o);
    if (o->mode == DT_BUILD_EMBED)
        return embed(g, c, o, hidden, err);
    full(g, c, o, hidden);
    return DT_OK;
}
