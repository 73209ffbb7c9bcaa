/*
 * scores.h - what is asked of one row of logits: its largest, its best few, its normaliser. NaN never wins.
 */
#ifndef DT_INFERENCE_SCORES_H
#define DT_INFERENCE_SCORES_H

#include <stdint.h>

/* Index of the largest of n, the first of equals; -1 when none is above minus infinity. */
int32_t dt_scores_largest(const float *score, int64_t n);

/* Indices of the k largest above minus infinity, best first, the lower of equals first. Returns how many. */
int64_t dt_scores_best(const float *score, int64_t n, int64_t k, int32_t *index);

/* log Σ exp(score), in f64, in ascending order. Minus infinity when there is nothing; NaN when a score is NaN. */
double dt_scores_log_sum(const float *score, int64_t n);

#endif
