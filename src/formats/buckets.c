/*
 * buckets.c - how T5's table of relative positions is repeated for llama.cpp; names.c makes pieces of it.
 *
 * Of llama.cpp's buckets (of each direction's) the first half are single distances, as in T5. Only these are relied on,
 * so no logarithm of llama.cpp's matters: what it makes of larger distances lies in the other half, all of it our last row.
 * Its logarithm divides by log(128 / half), which is why the half must stay below 128.
 */
#include "formats/buckets.h"
#include "backend/bucket.h"

enum { LARGEST = 128 };

/* The distance from which on all share the last bucket; LARGEST when there is none below it. */
static int64_t far_distance(const dt_model_config *c, bool bidirectional)
{
    int64_t buckets = c->relative_attention_num_buckets, distance = 0;
    int64_t last = (bidirectional ? buckets / 2 : buckets) - 1;
    while (distance < LARGEST &&
           dt_relative_bucket(-distance, buckets, c->relative_attention_max_distance, bidirectional) < last)
        distance++;
    return distance;
}

bool dt_repeats_buckets(const dt_model_config *c)
{
    return c->relative_attention_max_distance != LARGEST;
}

int64_t dt_repeated_buckets(const dt_model_config *c)
{
    if (!dt_repeats_buckets(c))
        return c->relative_attention_num_buckets;
    if (c->relative_attention_num_buckets < 4 || c->relative_attention_max_distance < 1)
        return 0;
    int64_t encoder = far_distance(c, true), decoder = c->encoder_only ? 0 : far_distance(c, false);
    int64_t rows = 4 * encoder > 2 * decoder ? 4 * encoder : 2 * decoder;
    rows = (rows + 3) / 4 * 4; /* two directions of two halves */
    return rows / (c->encoder_only ? 4 : 2) < LARGEST ? rows : 0;
}

int64_t dt_repeated_bucket(const dt_model_config *c, int64_t row, bool bidirectional)
{
    int64_t buckets = c->relative_attention_num_buckets, base = 0, all = dt_repeated_buckets(c);
    if (!dt_repeats_buckets(c))
        return row;
    if (bidirectional) { /* rows of keys behind, then of keys ahead */
        all /= 2;
        base = row / all * (buckets / 2);
        row %= all;
    }
    if (row >= all / 2)
        return base + (bidirectional ? buckets / 2 : buckets) - 1;
    return base + dt_relative_bucket(-row, buckets, c->relative_attention_max_distance, bidirectional);
}
