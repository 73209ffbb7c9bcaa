/*
 * bucket.c - T5's relative position buckets, to the bit.
 *
 * Half of the buckets (of each direction's) are single distances; the others grow with the logarithm and end at
 * max_distance. The makers compute the logarithm in f32, dividing by a constant taken in f64 and rounded, and then
 * truncate: at powers the rounding decides, so this file does the same arithmetic (transformers
 * models/t5/modeling_t5.py `_relative_position_bucket`, Megatron Core relative_pos_embedding.py).
 */
#include "backend/bucket.h"

#include <math.h>

int64_t dt_relative_bucket(int64_t relative, int64_t buckets, int64_t max_distance, bool bidirectional)
{
    int64_t base = 0,
            distance = relative < 0 ? -relative : 0; /* one direction: keys ahead count as distance 0 */
    if (bidirectional) {
        buckets /= 2;
        base = relative > 0 ? buckets : 0;
        distance = relative < 0 ? -relative : relative;
    }
    int64_t exact = buckets / 2;
    if (distance < exact)
        return base + distance;
    if (max_distance <= exact) /* the logarithm would have no room to grow in */
        return base + buckets - 1;
    float ratio = (float)distance / (float)exact;
    float span = (float)log((double)max_distance / (double)exact);
    float step = logf(ratio) / span * (float)(buckets - exact);
    int64_t bucket = exact + (int64_t)step;
    return base + (bucket < buckets ? bucket : buckets - 1);
}
