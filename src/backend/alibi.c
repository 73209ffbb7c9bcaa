/*
 * alibi.c - ALiBi to the bit, as Falcon was trained and transformers computes it (models/falcon `build_alibi_tensor`).
 *
 * Paper    Press et al. 2022, arXiv:2108.12409.
 * Numbers  slopes, positions and their products are rounded to bf16 each, whatever the type of the model; the product is
 *          divided by sqrt(head_dim) as the scores are, in f32. The bias grows with the key's own position: a softmax
 *          does not see what a whole row has in common, so that is the paper's distance.
 */
#include "backend/alibi.h"

#include "tensor/convert.h"

#include <math.h>

static float to_bf16(float x)
{
    uint16_t narrow;
    float wide;
    dt_convert(DT_BF16, &narrow, DT_F32, &x, 1, NULL); /* between float types nothing can fail */
    dt_convert(DT_F32, &wide, DT_BF16, &narrow, 1, NULL);
    return wide;
}

/* Powers of one base for as many heads as the largest power of two; odd powers of its root for the others. */
float dt_alibi_slope(int64_t head, int64_t heads)
{
    int64_t whole = 1;
    while (whole <= heads / 2)
        whole *= 2;
    int64_t of = head < whole ? whole : 2 * whole;
    float base = (float)exp2(-exp2(3 - log2((double)of)));
    return to_bf16(powf(base, (float)(head < whole ? head + 1 : 2 * (head - whole) + 1)));
}

float dt_alibi_bias(float slope, int64_t key, int64_t head_dim)
{
    return to_bf16(slope * to_bf16((float)key)) / (float)sqrt((double)head_dim);
}
