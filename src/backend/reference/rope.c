/*
 * rope.c (reference) - turns pairs of dimensions of each head by position * inv_freq.
 *
 * Numbers   the angle is an f32 product of f32 factors, as the makers compute it (at position 100 000 its rounding
 *           is visible, so more digits would be wrong); its cosine and sine are exact, rounded to f32 and then
 *           multiplied by the f32 magnitude, as transformers does. The turn itself is f64.
 * Layout    dimensions beyond 2 * count(inv_freq) of a head pass through. `inverse` turns back: since magnitude
 *           times a rotation has the transpose magnitude times its inverse, that is the gradient.
 */
#include "backend/reference/kernels.h"
#include "backend/rope_table.h"

#include <math.h>

static void turn(const float *x, float *y, int64_t i, int64_t j, double c, double s)
{
    double a = x[i], b = x[j];
    y[i] = (float)(a * c - b * s);
    y[j] = (float)(b * c + a * s);
}

size_t dt_reference_rope_scratch(const dt_op *op, int threads)
{
    return (size_t)threads * (size_t)dt_tensor_elements(op->input[2], NULL) * sizeof(float);
}

static void turn_row(const dt_kernel_call *call, int64_t t, float *room)
{
    const dt_data *x_data = &call->input[0];
    const dt_rope_spec *spec = &call->op->attr.rope.spec;
    const float *x = dt_f32_row(x_data, t);
    float *y = dt_f32_row(&call->output[0], t);
    float position = (float)((const int32_t *)call->input[1].data)[t];
    int64_t length = call->op->input[3] ? ((const int32_t *)call->input[3].data)[t] : 0;
    int64_t heads = spec->heads, pairs = dt_rope_pairs(spec, dt_reference_count(&call->input[2]));
    int64_t d = dt_reference_cols(x_data) / heads;
    float magnitude = (float)spec->magnitude;
    const float *inv_freq = dt_rope_table(spec, call->input[2].data, pairs, length, room);
    for (int64_t p = 0; p < pairs; p++) {
        float angle = position * inv_freq[p];
        float c = (float)cos((double)angle) * magnitude, s = (float)sin((double)angle) * magnitude;
        int64_t i = spec->interleaved ? 2 * p : p;
        int64_t j = spec->interleaved ? 2 * p + 1 : p + pairs;
        for (int64_t h = 0; h < heads; h++)
            turn(x + h * d, y + h * d, i, j, c, call->op->attr.rope.inverse ? -(double)s : (double)s);
    }
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 2 * pairs; i < d; i++)
            y[h * d + i] = x[h * d + i];
}

void dt_reference_rope(const dt_kernel_call *call, int thread, int threads)
{
    float *room = (float *)call->scratch + thread * dt_reference_count(&call->input[2]);
    int64_t begin, end;
    dt_share(dt_reference_rows(&call->input[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        turn_row(call, t, room);
}
