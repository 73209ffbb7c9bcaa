/*
 * rng.c - Philox4x32-10 and what is drawn from it. The counter is (index, stream), the key is the seed.
 *
 * dt_rng_uniform and dt_rng_normal read the same blocks, so one stream serves one of them.
 */
#include "base/rng.h"

#include <math.h>

/* Salmon et al. 2011, table 2 and section 3.3: multipliers, and Weyl constants that bump the key each round. */
static const uint32_t multiplier[2] = {0xD2511F53, 0xCD9E8D57};
static const uint32_t weyl[2] = {0x9E3779B9, 0xBB67AE85};

void dt_rng_block(const dt_rng *rng, uint64_t index, uint32_t out[4])
{
    uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)rng->stream,
                     (uint32_t)(rng->stream >> 32)};
    uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)multiplier[0] * c[0];
        uint64_t product1 = (uint64_t)multiplier[1] * c[2];
        c[0] = (uint32_t)(product1 >> 32) ^ c[1] ^ key[0];
        c[2] = (uint32_t)(product0 >> 32) ^ c[3] ^ key[1];
        c[1] = (uint32_t)product1;
        c[3] = (uint32_t)product0;
        key[0] += weyl[0];
        key[1] += weyl[1];
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

static double unit(uint32_t high, uint32_t low)
{
    uint64_t bits = ((uint64_t)high << 32 | low) >> 11;
    return (double)bits * 0x1p-53;
}

double dt_rng_uniform(const dt_rng *rng, uint64_t index)
{
    uint32_t block[4];
    dt_rng_block(rng, index, block);
    return unit(block[0], block[1]);
}

/* Numbers 2p and 2p + 1 are the two that Box and Muller make of block p. */
void dt_rng_normal(const dt_rng *rng, uint64_t first, float *out, int64_t n)
{
    const double turn = 6.283185307179586;
    for (int64_t i = 0; i < n;) {
        uint64_t index = first + (uint64_t)i;
        uint32_t block[4];
        dt_rng_block(rng, index / 2, block);
        double radius = sqrt(-2 * log(1 - unit(block[0], block[1]))); /* 1 - u is never 0 */
        double angle = turn * unit(block[2], block[3]);
        if (index % 2 == 0)
            out[i++] = (float)(radius * cos(angle));
        if (i < n)
            out[i++] = (float)(radius * sin(angle));
    }
}
