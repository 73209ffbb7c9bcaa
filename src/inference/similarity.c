/*
 * similarity.c - how well pictures and texts fit: features that dt_embed and dt_embed_pictures made, compared as their model
 * compares them.
 */
#include "base/fail.h"
#include "inference/model.h"

#include <drivetrain/embed.h>

#include <inttypes.h>
#include <math.h>

static dt_status check_features(const dt_model_config *c, const dt_embeddings *e, const char *what,
                                dt_error *err)
{
    if (dt_embeddings_width(e) != dt_config_features(c))
        return dt_fail(err, DT_INVALID,
                       "the %s have vectors of %" PRId64 " columns; a %s compares features of %" PRId64, what,
                       dt_embeddings_width(e), c->family, dt_config_features(c));
    for (size_t i = 0; i < dt_embeddings_count(e); i++)
        if (dt_embeddings_at(e, i).rows != 1)
            return dt_fail(err, DT_INVALID, "the %s have matrices where one vector each can be compared",
                           what);
    return DT_OK;
}

static double cosine(const float *a, const float *b, int64_t width)
{
    double sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

dt_status dt_similarities(const dt_model *model, const dt_embeddings *pictures, const dt_embeddings *texts,
                          float *logits, size_t elements, dt_error *err)
{
    const dt_model_config *c = model->config;
    size_t columns = dt_embeddings_count(texts);
    float scale = 0, bias = 0;
    if (!dt_config_compares(c))
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no two towers whose features could be compared",
                       c->family);
    DT_PASS(check_features(c, pictures, "pictures", err));
    DT_PASS(check_features(c, texts, "texts", err));
    if (elements != dt_embeddings_count(pictures) * columns)
        return dt_fail(err, DT_INVALID,
                       "room for %zu logits, but %zu pictures and %zu texts have another number", elements,
                       dt_embeddings_count(pictures), columns);
    DT_PASS(dt_checkpoint_read(model->checkpoint, "x_logit_scale", 0, 1, DT_F32, &scale, err));
    if (c->logit_bias)
        DT_PASS(dt_checkpoint_read(model->checkpoint, "x_logit_bias", 0, 1, DT_F32, &bias, err));
    for (size_t i = 0; i < elements; i++) {
        const float *picture = dt_embeddings_at(pictures, i / columns).values;
        const float *text = dt_embeddings_at(texts, i % columns).values;
        logits[i] = (float)(exp((double)scale) * cosine(picture, text, dt_config_features(c)) + (double)bias);
    }
    return DT_OK;
}

void dt_similarity_probabilities(const dt_model *model, const float *logits, int64_t texts,
                                 float *probabilities)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < texts; i++)
        most = fmax(most, (double)logits[i]);
    for (int64_t i = 0; i < texts; i++)
        sum += exp((double)logits[i] - most);
    for (int64_t i = 0; i < texts; i++)
        probabilities[i] = (float)(model->config->logit_bias ? 1 / (1 + exp(-(double)logits[i]))
                                                             : exp((double)logits[i] - most) / sum);
}
