/*
 * alibi.h - what ALiBi adds to scores: for each head a slope times the key's position.
 */
#ifndef DT_BACKEND_ALIBI_H
#define DT_BACKEND_ALIBI_H

#include <stdint.h>

/* The slope of a head, as bf16 holds it. */
float dt_alibi_slope(int64_t head, int64_t heads);
/* What is added to scores that are q . k / sqrt(head_dim). */
float dt_alibi_bias(float slope, int64_t key, int64_t head_dim);

#endif
