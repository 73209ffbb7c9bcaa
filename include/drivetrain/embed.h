/**
 * embed.h - texts and pictures as vectors: what an encoder makes of its tokens, or a vision tower of its patches, whole or
 * pooled into one vector each.
 *
 *     dt_model *m;
 *     dt_model_open(&m, "all-MiniLM-L6-v2", NULL, &err);
 *     dt_embed_options o = DT_EMBED_OPTIONS_DEFAULT;
 *     o.normalize = true;
 *     dt_embeddings *e;
 *     dt_embed(&e, m, 1, &(dt_embed_input){.tokens = ids, .count = n}, &o, &err);
 *     dt_embedded v = dt_embeddings_at(e, 0);    // v.values[0 … dt_embeddings_width(e) - 1]
 *     dt_embeddings_destroy(e);
 */
#ifndef DRIVETRAIN_EMBED_H
#define DRIVETRAIN_EMBED_H

#include <drivetrain/inference.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dt_pooling {
    DT_POOLING_MEAN,   /**< the mean over a text's tokens, special ones included; over a picture's patches */
    DT_POOLING_CLS,    /**< the first token's hidden state; a picture's first class token's */
    DT_POOLING_POOLER, /**< BERT's pooler: tanh of a linear map of the first token's; what a tower pools */
    DT_POOLING_NONE,   /**< every token's, or row's, hidden state */
    DT_POOLING_PROJECTION /**< what is pooled, projected into the space that texts and pictures share (CLIP) */
} dt_pooling;

/** "mean", "cls", "pooler", "none", "projection"; NULL when out of range. */
const char *dt_pooling_name(dt_pooling pooling);

typedef struct dt_embed_input {
    const int32_t *tokens; /**< ids, special tokens included */
    size_t count;
    const int32_t *token_types; /**< segment of each token (BERT); NULL: all 0 */
} dt_embed_input;

typedef struct dt_embed_options {
    dt_pooling pooling;
    bool normalize; /**< each vector to length 1 */
    bool truncate;  /**< a text beyond the model's positions loses tokens before its last; else an error */
    int64_t
        max_batch; /**< most rows (tokens) in a step, one longer text excepted; 0 = 2048. Changes no bit */
} dt_embed_options;
#define DT_EMBED_OPTIONS_DEFAULT                                                                             \
    {                                                                                                        \
        .pooling = DT_POOLING_MEAN                                                                           \
    }

/**
 * Set *options to the defaults, and over them what sentence-transformers' modules.json and 1_Pooling/config.json beside
 * the model say of pooling and normalizing; without those files the defaults alone. A vision tower's default is what it
 * makes of a picture by itself: its projection, else what it pools, else the mean.
 *
 * Errors   DT_UNSUPPORTED  a step or a pooling that drivetrain does not do: names the file and the key
 *          DT_FORMAT       names the file and the key
 */
dt_status dt_embed_options_of(const dt_model *model, dt_embed_options *options, dt_error *err);

typedef struct dt_embeddings dt_embeddings;

/** Of one text: values [rows, width], row-major; rows is 1, or its tokens with DT_POOLING_NONE. */
typedef struct dt_embedded {
    const float *values;
    int64_t rows;
} dt_embedded;

/**
 * Embed texts by the encoder of a T5 or BERT, or the text tower of a CLIP or SigLIP (DT_POOLING_PROJECTION: the features that
 * dt_similarities compares, of length 1 beside a vision tower; SigLIP's texts are padded to the tower's positions). Texts are packed raggedly, as many to a step as max_batch allows; a
 * text has the same bits alone and in any company, with any number of threads.
 *
 * Shapes   count vectors, or matrices, of dt_embeddings_width columns, in the order of the inputs
 * Numbers  means and lengths are summed in f64, ascending; a vector of length below 1e-12 is divided by that
 * Memory   *out owns all values
 * Threads  calls on one model take turns
 * Errors   DT_UNSUPPORTED  the model has no encoder, or no pooler
 *          DT_INVALID      an empty text, an id or token type outside its table, or more tokens than positions:
 *                          names the text, the id and the limit
 */
dt_status dt_embed(dt_embeddings **out, dt_model *model, size_t count, const dt_embed_input *inputs,
                   const dt_embed_options *options, dt_error *err);

/**
 * Embed pictures by a vision tower, alone or inside a CLIP, SigLIP or LLaVA. They are packed raggedly, as many to a step as max_batch (rows: patches and class
 * tokens) allows; a picture has the same bits alone and in any company, whatever their sizes.
 *
 * Shapes   count vectors of hidden_size columns (projection_dim with DT_POOLING_PROJECTION), or matrices, in the order of
 *          the pictures
 * Memory   *out owns all values; the pictures are only read; options NULL: as dt_embed_options_of begins
 * Errors   DT_UNSUPPORTED  the model is no tower, or does not pool so
 *          DT_INVALID      a picture without pixels
 *          DT_MISMATCH     a picture of a size that the tower has no positions for: names it and both sizes
 */
dt_status dt_embed_pictures(dt_embeddings **out, dt_model *model, size_t count, const dt_planes *pictures,
                            const dt_embed_options *options, dt_error *err);
void dt_embeddings_destroy(dt_embeddings *embeddings); /**< NULL is fine */

/**
 * How well pictures and texts fit, as CLIP and SigLIP say it: exp(logit scale) · cosine, plus SigLIP's bias. Zero-shot
 * classification is the texts of the labels and dt_similarity_probabilities.
 *
 *     dt_embed_options o;
 *     dt_embed_options_of(m, &o, &err);                    // DT_POOLING_PROJECTION, for a model of two towers
 *     dt_embed_pictures(&pictures, m, 1, &planes, &o, &err);
 *     dt_embed(&texts, m, 2, inputs, &o, &err);
 *     dt_similarities(m, pictures, texts, logits, 2, &err);
 *     dt_similarity_probabilities(m, logits, 2, shares);   // of the one picture
 *
 * Shapes   logits [pictures, texts], row-major; `elements` is their product
 * Numbers  summed in f64, ascending
 * Errors   DT_UNSUPPORTED  the model has no two towers, or is an engine
 *          DT_INVALID      `elements`, or vectors that are no features of this model
 */
dt_status dt_similarities(const dt_model *model, const dt_embeddings *pictures, const dt_embeddings *texts,
                          float *logits, size_t elements, dt_error *err);
/** Of one picture's logits: their softmax, or where the model has a bias (SigLIP) of each its sigmoid. In f64. */
void dt_similarity_probabilities(const dt_model *model, const float *logits, int64_t texts,
                                 float *probabilities);

size_t dt_embeddings_count(const dt_embeddings *embeddings);

int64_t dt_embeddings_width(const dt_embeddings *embeddings);
dt_embedded dt_embeddings_at(const dt_embeddings *embeddings, size_t index); /**< borrowed */

#ifdef __cplusplus
}
#endif
#endif
