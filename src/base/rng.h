/*
 * rng.h - counter-based random numbers (Philox4x32-10, Salmon et al. 2011, "Parallel Random Numbers: As Easy
 * as 1, 2, 3"). A number is a pure function of (seed, stream, index): any thread may compute any of them, in any
 * order, and a run resumes by remembering an index.
 */
#ifndef DT_BASE_RNG_H
#define DT_BASE_RNG_H

#include <stdint.h>

typedef struct dt_rng {
    uint64_t seed;   /* the user's --seed */
    uint64_t stream; /* what the numbers are for: a request, a parameter, a dropout site */
} dt_rng;

void dt_rng_block(const dt_rng *rng, uint64_t index, uint32_t out[4]);
double dt_rng_uniform(const dt_rng *rng, uint64_t index);                     /* [0, 1), 53 bits */
void dt_rng_normal(const dt_rng *rng, uint64_t first, float *out, int64_t n); /* Box-Muller, f64 inside */

#endif
