/*
 * sinusoid.c (reference) - absolute positions as waves: sines, then cosines, then zeros up to the width.
 *
 * Numbers   a frequency is the sum of its two f32 halves in f64. The angle is f64, or with `single` the f32 product of
 *           position and frequency, as the makers of M2M100 compute it; its sine is rounded to f32 once.
 */
#include "backend/reference/kernels.h"

#include <math.h>

void dt_reference_sinusoid(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *y = &call->output[0];
    const float *frequency = call->input[1].data;
    int64_t pairs = dt_reference_count(&call->input[1]) / 2, width = dt_reference_cols(y), begin, end;
    dt_share(dt_reference_rows(y), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        int64_t position = ((const int32_t *)call->input[0].data)[t] + call->op->attr.sinusoid.first;
        float *row = dt_f32_row(y, t);
        for (int64_t i = 0; i < width; i++) {
            int64_t pair = i < pairs ? i : i - pairs;
            double angle =
                pair < pairs ? (double)position * ((double)frequency[pair] + frequency[pairs + pair]) : 0;
            if (call->op->attr.sinusoid.single)
                angle = (float)angle;
            row[i] = pair >= pairs ? 0 : (float)(i < pairs ? sin(angle) : cos(angle));
        }
    }
}
