/*
 * rms_norm.c (reference) - y[i] = x[i] / sqrt(mean_j x[j]^2 + eps) * w[i], w + 1 when zero_centered; its gradients.
 *
 * With r = 1 / sqrt(mean x^2 + eps) and g = dy * w: dx = r * (g - x * r^2 * mean(g * x)), dw = sum over rows of
 * dy * x * r (zero_centered changes w, not dw).
 */
#include "backend/reference/kernels.h"

#include <math.h>

static double inverse_rms(const float *x, int64_t n, double eps)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return 1.0 / sqrt(sum / (double)n + eps);
}

void dt_reference_rms_norm_row(const float *x, const float *w, int64_t n, double eps, bool zero_centered,
                               float *y)
{
    double r = inverse_rms(x, n, eps), add = zero_centered ? 1.0 : 0.0;
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)((double)x[i] * r * ((double)w[i] + add));
}

void dt_reference_rms_norm(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0];
    int64_t n = dt_reference_norm_cols(call), begin, end;
    dt_share(dt_reference_count(x) / n, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        dt_reference_rms_norm_row((float *)x->data + t * n, call->input[1].data, n, call->op->attr.norm.eps,
                                  call->op->attr.norm.zero_centered, (float *)call->output[0].data + t * n);
}

static void dx_row(const float *x, const float *w, const float *dy, int64_t n, double eps, double add,
                   float *dx)
{
    double r = inverse_rms(x, n, eps), dot = 0;
    for (int64_t i = 0; i < n; i++)
        dot += (double)dy[i] * ((double)w[i] + add) * (double)x[i];
    double along = dot / (double)n * r * r;
    for (int64_t i = 0; i < n; i++)
        dx[i] = (float)(r * ((double)dy[i] * ((double)w[i] + add) - (double)x[i] * along));
}

void dt_reference_rms_norm_dx(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *dy = &call->input[2];
    int64_t n = dt_reference_norm_cols(call), begin, end;
    dt_share(dt_reference_count(x) / n, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        dx_row((float *)x->data + t * n, call->input[1].data, (float *)dy->data + t * n, n,
               call->op->attr.norm.eps, call->op->attr.norm.zero_centered ? 1.0 : 0.0,
               (float *)call->output[0].data + t * n);
}

void dt_reference_rms_norm_dw(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *dy = &call->input[1];
    int64_t n = dt_reference_norm_cols(call), rows = dt_reference_count(x) / n;
    double *sum = (double *)call->scratch;
    (void)threads;
    if (thread != 0) /* one pass over the rows yields every column; the columns share each row's root */
        return;
    for (int64_t i = 0; i < n; i++)
        sum[i] = 0;
    for (int64_t t = 0; t < rows; t++) {
        const float *row = (float *)x->data + t * n, *grad = (float *)dy->data + t * n;
        double r = inverse_rms(row, n, call->op->attr.norm.eps);
        for (int64_t i = 0; i < n; i++)
            sum[i] += (double)grad[i] * (double)row[i] * r;
    }
    for (int64_t i = 0; i < n; i++)
        ((float *)call->output[0].data)[i] = (float)sum[i];
}
