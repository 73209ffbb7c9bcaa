/*
 * heads.c (reference) - keys in rows or in paged blocks, the span a query sees, and its probabilities.
 *
 * score = cap(q . k * scale) + bias[bucket(key - query)] or ALiBi, all f64, keys in ascending position; the softmax runs over
 * the visible keys and, where there is one, the sink. A query that sees nothing has no probabilities, and attends
 * to zeros.
 */
#include "backend/reference/heads.h"
#include "backend/alibi.h"
#include "backend/bucket.h"
#include "backend/reference/kernels.h"
#include "tensor/convert.h"

#include <math.h>

/* ---- caches ---- */

int64_t dt_reference_cache_place(const dt_reference_cache *cache, int64_t position)
{
    int64_t slot = (int64_t)cache->blocks[position / DT_KV_BLOCK] * DT_KV_BLOCK + position % DT_KV_BLOCK;
    return slot * cache->state->dim[2];
}

void dt_reference_cache_store(const dt_reference_cache *cache, int64_t position, const float *values)
{
    int64_t place = dt_reference_cache_place(cache, position), n = cache->state->dim[2];
    char *out = (char *)cache->state->data + place * dt_dtype_block_bytes(cache->state->dtype);
    dt_convert(cache->state->dtype, out, DT_F32, values, n,
               NULL); /* the shape rule allows float types only */
}

void dt_reference_cache_append(const dt_data *x, const dt_data *cu, const dt_data *past, const dt_data *table,
                               const dt_data *state, int thread, int threads)
{
    const int32_t *starts = cu->data;
    int64_t begin, end;
    dt_share(dt_reference_rows(x), 1, thread, threads, &begin, &end);
    for (int64_t b = 0; b < dt_reference_rows(past); b++) {
        const int32_t *blocks = (const int32_t *)table->data + b * table->dim[1];
        dt_reference_cache cache = {.state = state, .blocks = blocks};
        for (int64_t t = starts[b]; t < starts[b + 1]; t++)
            if (t >= begin && t < end)
                dt_reference_cache_store(&cache, ((const int32_t *)past->data)[b] + t - starts[b],
                                         dt_f32_row(x, t));
    }
}

void dt_reference_kv_store(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *in = call->input;
    const dt_data *cu = &in[DT_KV_STORE_CU_SEQLENS], *past = &in[DT_KV_STORE_PAST],
                  *table = &in[DT_KV_STORE_BLOCK_TABLE];
    dt_reference_cache_append(&in[DT_KV_STORE_K], cu, past, table, &in[DT_KV_STORE_K_CACHE], thread, threads);
    dt_reference_cache_append(&in[DT_KV_STORE_V], cu, past, table, &in[DT_KV_STORE_V_CACHE], thread, threads);
}

/* ---- sequences ---- */

dt_reference_sequence dt_reference_sequence_of(const dt_kernel_call *call, int64_t b)
{
    const dt_data *in = call->input;
    const int32_t *rows = in[DT_ATTENTION_CU_ROWS].data, *keys = in[DT_ATTENTION_CU_KEYS].data;
    dt_reference_sequence s = {.row = rows[b], .rows = rows[b + 1] - rows[b]};
    if (in[DT_ATTENTION_K].data != NULL) {
        s.key = keys[b];
        s.keys = keys[b + 1] - keys[b];
    }
    if (in[DT_ATTENTION_K_CACHE].data == NULL)
        return s;
    int64_t past = ((const int32_t *)in[DT_ATTENTION_PAST].data)[b];
    s.blocks = (const int32_t *)in[DT_ATTENTION_BLOCK_TABLE].data + b * in[DT_ATTENTION_BLOCK_TABLE].dim[1];
    s.keys += past;
    s.position = call->op->attr.attention.self ? past : 0;
    return s;
}

void dt_reference_key(const dt_kernel_call *call, const dt_reference_sequence *s, bool value, int64_t j,
                      int64_t g, double *out)
{
    int64_t d = call->op->attr.attention.spec.head_dim;
    if (s->blocks == NULL) {
        const dt_data *x = &call->input[value ? DT_ATTENTION_V : DT_ATTENTION_K];
        dt_reference_widen(x, (s->key + j) * dt_reference_cols(x) + g * d, d, out);
        return;
    }
    const dt_data *state = &call->input[value ? DT_ATTENTION_V_CACHE : DT_ATTENTION_K_CACHE];
    dt_reference_cache cache = {.state = state, .blocks = s->blocks};
    dt_reference_widen(state, dt_reference_cache_place(&cache, j) + g * d, d, out);
}

dt_reference_span dt_reference_visible(const dt_attention_spec *spec, int64_t position, int64_t keys)
{
    dt_reference_span span = {.first = 0, .last = keys};
    if (spec->causal && position + 1 < span.last)
        span.last = position + 1;
    if (spec->window_right >= 0 && position + spec->window_right + 1 < span.last)
        span.last = position + spec->window_right + 1;
    if (spec->window_left >= 0 && position - spec->window_left > 0)
        span.first = position - spec->window_left;
    if (span.last < span.first)
        span.last = span.first;
    return span;
}

int64_t dt_reference_most_keys(const dt_op *op)
{
    if (op->input[DT_ATTENTION_K_CACHE] != NULL)
        return dt_reference_capacity(op->input[DT_ATTENTION_BLOCK_TABLE], 1) * DT_KV_BLOCK;
    return dt_reference_capacity(op->input[DT_ATTENTION_K], 0);
}

/* ---- scores ---- */

static double capped(double score, double cap, double *slope)
{
    if (cap == 0)
        return score;
    double t = tanh(score / cap);
    *slope *= 1.0 - t * t;
    return cap * t;
}

static double bias_of(const dt_kernel_call *call, int64_t position, int64_t relative, int64_t head)
{
    const dt_attention_spec *spec = &call->op->attr.attention.spec;
    const dt_data *table = &call->input[DT_ATTENTION_BIAS_TABLE];
    if (spec->alibi)
        return dt_alibi_bias(dt_alibi_slope(head, spec->heads), position + relative, spec->head_dim);
    if (table->data == NULL)
        return 0;
    int64_t bucket =
        dt_relative_bucket(relative, table->dim[0], spec->bias_max_distance, spec->bias_bidirectional);
    return dt_f32_row(table, bucket)[head];
}

/* Turn scores into probabilities in place; returns the sink's. */
static double softmax(double *x, dt_reference_span span, const float *sink)
{
    double most = sink == NULL ? -INFINITY : (double)*sink, sum = 0;
    for (int64_t j = span.first; j < span.last; j++)
        most = x[j] > most ? x[j] : most;
    double taken = sink == NULL ? 0 : exp((double)*sink - most);
    for (int64_t j = span.first; j < span.last; j++)
        sum += x[j] = exp(x[j] - most);
    sum += taken;
    for (int64_t j = span.first; j < span.last; j++)
        x[j] /= sum;
    return taken > 0 ? taken / sum : 0;
}

double dt_reference_probabilities(const dt_kernel_call *call, const dt_reference_sequence *s,
                                  int64_t position, int64_t head, const double *q, double *key,
                                  double *weights, double *slope)
{
    const dt_attention_spec *spec = &call->op->attr.attention.spec;
    const float *sink = call->input[DT_ATTENTION_SINK].data;
    int64_t group = head / (spec->heads / spec->groups);
    dt_reference_span span = dt_reference_visible(spec, position, s->keys);
    for (int64_t j = span.first; j < span.last; j++) {
        double dot = 0, rise = spec->scale;
        dt_reference_key(call, s, false, j, group, key);
        for (int64_t i = 0; i < spec->head_dim; i++)
            dot += q[i] * key[i];
        weights[j] =
            capped(dot * spec->scale, spec->soft_cap, &rise) + bias_of(call, position, j - position, head);
        if (slope != NULL)
            slope[j] = rise;
    }
    return softmax(weights, span, sink == NULL ? NULL : sink + head);
}
