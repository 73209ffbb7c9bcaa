/*
 * t5.c - encoder-decoder transformers: T5 (Hugging Face's and Megatron's own) and BART's kin (mBART, M2M100 and NLLB,
 * Marian, Pegasus), which are the same skeleton with other embeddings, norms and biases.
 *
 * Papers  Raffel et al. 2020, arXiv:1910.10683; gated GELU and untied head from T5 1.1; umT5 arXiv:2304.09151;
 *         Lewis et al. 2019, arXiv:1910.13461 (BART); Fan et al. 2020, arXiv:2010.11125 (M2M100).
 * Peers   transformers models/{t5,bart,mbart,m2m_100,marian,pegasus} · megatron core/models/T5/t5_model.py
 *
 *   src [S] → embed → L × { x += self(norm x);                     x += mlp(norm x) } → norm → memory [S, H]
 *   dst [T] → embed → L × { y += self(norm y); y += cross(norm y); y += mlp(norm y) } → norm → head [R, V]
 *
 * Unlike GPT:  positions are a bucketed bias on the scores of self attention, one table a stack (umT5: one a layer),
 *              none on cross attention; Megatron's T5 may instead learn a table (shared by both stacks) or rotate.
 *              Original T5 does not divide scores by √D (softmax_scale 1); Megatron's does.
 *              T5 1.0's tied head reads y / √H (scale_decoder_outputs); Megatron's tied head has a bias.
 *              BART and Marian norm the sums instead of the branches' inputs; BART and mBART norm the embeddings; the
 *              encoder may have its own table of tokens, heads and widths. All of it is configuration (config.def).
 *              the encoder runs once a prompt: an ENCODE graph stores every decoder layer's cross keys and values,
 *              and STEP graphs read them.
 */
#include "models/inputs.h"

#include <math.h>

dt_status dt_build_t5(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                      dt_error *err);

static void relative_positions(dt_stack *s)
{
    const dt_model_config *c = s->config;
    if (c->position_embedding_type != DT_POSITION_RELATIVE)
        return;
    if (c->relative_bias_per_layer) {
        s->bias_name = "self_attention.x_relative_attention_bias.weight";
        return;
    }
    s->bias_table = dt_nn_weight(s->g, s->causal ? "decoder_relative_pos_emb" : "encoder_relative_pos_emb",
                                 "relative_attention_bias.weight", c->relative_attention_num_buckets,
                                 c->num_attention_heads, DT_SPLIT_NONE);
}

/* Is the encoder the whole model, as far as this graph goes? */
static bool alone(const dt_model_config *c, const dt_build_options *o)
{
    return c->encoder_only || o->mode == DT_BUILD_EMBED;
}

/* [S] → memory [S, H]; *rows are the encoder's sequences. */
static dt_tensor *encoder(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_rows *rows)
{
    dt_build_options plain = *o;
    plain.mode = DT_BUILD_FULL; /* the encoder itself has no KV cache */
    bool embeds = o->mode == DT_BUILD_EMBED, whole = alone(c, o);
    dt_model_config own = dt_config_of_encoder(c);
    dt_stack s =
        dt_model_stack(g, &own, &plain, "encoder", whole ? "out." : "out.encoder.", c->encoder_num_layers);
    s.own_words = c->encoder_vocab_size > 0 ? c->encoder_vocab_size : 0;
    s.own_positions = c->positions_per_stack;
    dt_tensor *tokens =
        dt_model_rows(&s, &plain, whole ? "" : "encoder_", embeds ? "tokens" : "source_tokens",
                      embeds ? o->tokens : o->source_tokens);
    relative_positions(&s);
    *rows = s.rows;
    return dt_stack_build(&s, dt_stack_embed(&s, tokens));
}

static dt_stack decoder_stack(dt_graph *g, const dt_model_config *c, const dt_build_options *o)
{
    dt_stack s = dt_model_stack(g, c, o, "decoder", "out.decoder.", c->decoder_num_layers);
    s.own_positions = c->positions_per_stack;
    s.causal = true;
    s.cross = true;
    s.memory_blocks = (dt_dim){NULL, o->memory_blocks};
    return s;
}

static void encode(dt_graph *g, const dt_model_config *c, const dt_build_options *o)
{
    dt_rows rows = {0};
    dt_tensor *memory = encoder(g, c, o, &rows);
    dt_stack s = decoder_stack(g, c, o);
    s.memory = memory;
    s.memory_rows = rows;
    s.memory_rows.past = dt_model_sequence_input(g, o, "memory_past");
    s.memory_rows.block_table = dt_model_block_table(g, o, "memory_block_table", o->memory_sequence_blocks);
    dt_stack_store_cross(&s);
}

dt_status dt_build_t5(dt_graph *g, const dt_model_config *c, const dt_build_options *o, dt_error *err)
{
    dt_rows memory_rows = {0};
    if (o->mode == DT_BUILD_EMBED && o->pooled)
        return dt_fail(err, DT_UNSUPPORTED, "a T5 has no pooler: pool by mean or cls");
    if (o->mode == DT_BUILD_EMBED) {
        encoder(g, c, o, &memory_rows);
        return DT_OK;
    }
    if (c->encoder_only && o->mode != DT_BUILD_FULL)
        return dt_fail(err, DT_UNSUPPORTED, "this T5 is an encoder alone: it encodes, but cannot generate");
    if (o->mode == DT_BUILD_ENCODE) {
        encode(g, c, o);
        return DT_OK;
    }
    dt_tensor *memory = o->mode == DT_BUILD_FULL ? encoder(g, c, o, &memory_rows) : NULL;
    if (c->encoder_only)
        return DT_OK;
    dt_stack s = decoder_stack(g, c, o);
    dt_tensor *tokens = dt_model_rows(&s, o, o->mode == DT_BUILD_FULL ? "decoder_" : "", "tokens", o->tokens);
    relative_positions(&s);
    s.memory = memory;
    s.memory_rows = memory_rows;
    if (!memory) {
        s.memory_rows.past = dt_model_sequence_input(g, o, "memory_lengths");
        s.memory_rows.block_table =
            dt_model_block_table(g, o, "memory_block_table", o->memory_sequence_blocks);
    }
    dt_tensor *y = dt_stack_build(&s, dt_stack_embed(&s, tokens)); /* [T, H] */
    if (c->scale_decoder_outputs)
        y = dt_scale(g, y, 1.0 / sqrt((double)c->hidden_size));
    dt_model_head(g, c, o, NULL, y, "lm_head.output_layer", o->mode == DT_BUILD_STEP);
    return DT_OK;
}
