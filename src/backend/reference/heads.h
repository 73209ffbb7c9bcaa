/*
 * heads.h - what attention, its gradient and kv_store share: where keys lie, and which of them a query sees.
 */
#ifndef DT_BACKEND_REFERENCE_HEADS_H
#define DT_BACKEND_REFERENCE_HEADS_H

#include "backend/backend.h"

/* A cache's two states and one sequence's row of the block table. */
typedef struct dt_reference_cache {
    const dt_data *state;
    const int32_t *blocks;
} dt_reference_cache;

/* Element index, in its state, of the K*D values of `position`. */
int64_t dt_reference_cache_place(const dt_reference_cache *cache, int64_t position);
/* Write a row of K*D f32 values there, in the state's type. */
void dt_reference_cache_store(const dt_reference_cache *cache, int64_t position, const float *values);
/* Append rows [cu[b], cu[b+1]) of x at past[b] for every sequence; threads share rows. */
void dt_reference_cache_append(const dt_data *x, const dt_data *cu, const dt_data *past, const dt_data *table,
                               const dt_data *state, int thread, int threads);

/* One sequence of an attention call. */
typedef struct dt_reference_sequence {
    int64_t row, rows; /* its queries are rows [row, row + rows) of q */
    int64_t position;  /* of its first query */
    int64_t key,
        keys; /* without a cache: its keys are rows [key, key + keys) of k; with one: keys are stored */
    const int32_t *blocks; /* its row of the block table; NULL without a cache */
} dt_reference_sequence;

dt_reference_sequence dt_reference_sequence_of(const dt_kernel_call *call, int64_t b);

/* Key (or value) `j` of a sequence, group g's D elements, as f64. */
void dt_reference_key(const dt_kernel_call *call, const dt_reference_sequence *s, bool value, int64_t j,
                      int64_t g, double *out);

/* The keys that a query sees are [first, last). */
typedef struct dt_reference_span {
    int64_t first, last;
} dt_reference_span;
dt_reference_span dt_reference_visible(const dt_attention_spec *spec, int64_t position, int64_t keys);

/* Most keys that a sequence of this op can have. */
int64_t dt_reference_most_keys(const dt_op *op);

/* One query head against the keys of a span: fills weights[first..last) with probabilities and returns what the
 * sink took. `slope`, when not NULL, gets d score / d (q . k): scale times the soft cap's slope. */
double dt_reference_probabilities(const dt_kernel_call *call, const dt_reference_sequence *s,
                                  int64_t position, int64_t head, const double *q, double *key,
                                  double *weights, double *slope);

#endif
