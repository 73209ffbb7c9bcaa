/*
 * scalars.c (reference) - sums over everything: dot, weighted_mean and its gradient.
 *
 * One thread adds in ascending order: there is one output, and one order for it.
 */
#include "backend/reference/kernels.h"

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double total(const float *a, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i];
    return sum;
}

void dt_reference_dot(const dt_kernel_call *call, int thread, int threads)
{
    (void)threads;
    if (thread == 0)
        *(float *)call->output[0].data =
            (float)(dot(call->input[0].data, call->input[1].data, dt_reference_count(&call->input[0])) *
                    call->op->attr.scale.factor);
}

/* Weights that sum to 0 give NaN, as they do in PyTorch: a batch without a single target is the caller's mistake. */
void dt_reference_weighted_mean(const dt_kernel_call *call, int thread, int threads)
{
    int64_t n = dt_reference_count(&call->input[0]);
    (void)threads;
    if (thread == 0)
        *(float *)call->output[0].data =
            (float)(dot(call->input[0].data, call->input[1].data, n) / total(call->input[1].data, n));
}

/* dx = dy * w / sum w */
void dt_reference_weighted_mean_grad(const dt_kernel_call *call, int thread, int threads)
{
    const float *w = call->input[1].data;
    float *dx = call->output[0].data;
    int64_t n = dt_reference_count(&call->input[1]), begin, end;
    dt_share(n, 16, thread, threads, &begin, &end);
    double factor = (double)*(const float *)call->input[2].data / total(w, n);
    for (int64_t i = begin; i < end; i++)
        dx[i] = (float)((double)w[i] * factor);
}
