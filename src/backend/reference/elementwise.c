/*
 * elementwise.c (reference) - add, multiply, scale (factor rounded to f32), scale_by (a factor computed in the
 * graph), scale_columns (a factor a column), scale_exp (a factor whose logarithm is given, and a summand).
 */
#include "backend/reference/kernels.h"

#include <math.h>

/* The elements of output 0 that a thread owns. */
static void share(const dt_kernel_call *call, int thread, int threads, int64_t *begin, int64_t *end)
{
    dt_share(dt_reference_count(&call->output[0]), 16, thread, threads, begin, end);
}

void dt_reference_add(const dt_kernel_call *call, int thread, int threads)
{
    const float *a = call->input[0].data, *b = call->input[1].data;
    float *y = call->output[0].data;
    int64_t begin, end;
    share(call, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        y[i] = (float)((double)a[i] + (double)b[i]);
}

void dt_reference_multiply(const dt_kernel_call *call, int thread, int threads)
{
    const float *a = call->input[0].data, *b = call->input[1].data;
    float *y = call->output[0].data;
    int64_t begin, end;
    share(call, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        y[i] = (float)((double)a[i] * (double)b[i]);
}

void dt_reference_scale_columns(const dt_kernel_call *call, int thread, int threads)
{
    const float *x = call->input[0].data, *w = call->input[1].data;
    int64_t cols = dt_reference_cols(&call->input[0]), begin, end;
    float *y = call->output[0].data;
    share(call, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        y[i] = (float)((double)x[i] * (double)w[i % cols]);
}

static void scale(const dt_kernel_call *call, float factor, int thread, int threads)
{
    const float *x = call->input[0].data;
    float *y = call->output[0].data;
    int64_t begin, end;
    share(call, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        y[i] = (float)((double)x[i] * (double)factor);
}

void dt_reference_scale(const dt_kernel_call *call, int thread, int threads)
{
    scale(call, (float)call->op->attr.scale.factor, thread, threads);
}

void dt_reference_scale_by(const dt_kernel_call *call, int thread, int threads)
{
    scale(call, *(const float *)call->input[1].data, thread, threads);
}

void dt_reference_scale_exp(const dt_kernel_call *call, int thread, int threads)
{
    const float *x = call->input[0].data, *b = call->input[2].data;
    float *y = call->output[0].data;
    double factor = exp((double)*(const float *)call->input[1].data), summand = b ? (double)*b : 0;
    int64_t begin, end;
    share(call, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        y[i] = (float)((double)x[i] * factor + summand);
}
