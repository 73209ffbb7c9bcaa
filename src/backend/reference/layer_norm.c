/*
 * layer_norm.c (reference) - y[i] = (x[i] - mean) / sqrt(var + eps) * w[i] + b[i], var biased; its gradients.
 *
 * With r = 1 / sqrt(var + eps), h = (x - mean) * r and g = dy * w: dx = r * (g - mean(g) - h * mean(g * h)),
 * dw = sum over rows of dy * h. The bias' gradient is column_sum.
 */
#include "backend/reference/kernels.h"

#include <math.h>

typedef struct moments {
    double mean, r;
} moments;

static moments moments_of(const float *x, int64_t n, double eps)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (moments){mean, 1.0 / sqrt(squares / (double)n + eps)};
}

void dt_reference_layer_norm_row(const float *x, const float *w, const float *b, int64_t n, double eps,
                                 bool zero_centered, float *y)
{
    moments m = moments_of(x, n, eps);
    double add = zero_centered ? 1.0 : 0.0;
    for (int64_t i = 0; i < n; i++)
        y[i] =
            (float)(((double)x[i] - m.mean) * m.r * ((double)w[i] + add) + (b == NULL ? 0.0 : (double)b[i]));
}

void dt_reference_layer_norm(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0];
    int64_t n = dt_reference_norm_cols(call), begin, end;
    dt_share(dt_reference_count(x) / n, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        dt_reference_layer_norm_row((float *)x->data + t * n, call->input[1].data, call->input[2].data, n,
                                    call->op->attr.norm.eps, call->op->attr.norm.zero_centered,
                                    (float *)call->output[0].data + t * n);
}

static void dx_row(const float *x, const float *w, const float *dy, int64_t n, double eps, double add,
                   float *dx)
{
    moments m = moments_of(x, n, eps);
    double sum = 0, dot = 0;
    for (int64_t i = 0; i < n; i++) {
        double g = (double)dy[i] * ((double)w[i] + add);
        sum += g;
        dot += g * ((double)x[i] - m.mean) * m.r;
    }
    for (int64_t i = 0; i < n; i++) {
        double g = (double)dy[i] * ((double)w[i] + add), h = ((double)x[i] - m.mean) * m.r;
        dx[i] = (float)(m.r * (g - sum / (double)n - h * dot / (double)n));
    }
}

void dt_reference_layer_norm_dx(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *dy = &call->input[2];
    int64_t n = dt_reference_norm_cols(call), begin, end;
    dt_share(dt_reference_count(x) / n, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        dx_row((float *)x->data + t * n, call->input[1].data, (float *)dy->data + t * n, n,
               call->op->attr.norm.eps, call->op->attr.norm.zero_centered ? 1.0 : 0.0,
               (float *)call->output[0].data + t * n);
}

void dt_reference_layer_norm_dw(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *dy = &call->input[1];
    int64_t n = dt_reference_norm_cols(call), rows = dt_reference_count(x) / n;
    double *sum = (double *)call->scratch;
    (void)threads;
    if (thread != 0) /* one pass over the rows yields every column; the columns share each row's moments */
        return;
    for (int64_t i = 0; i < n; i++)
        sum[i] = 0;
    for (int64_t t = 0; t < rows; t++) {
        const float *row = (float *)x->data + t * n, *grad = (float *)dy->data + t * n;
        moments m = moments_of(row, n, call->op->attr.norm.eps);
        for (int64_t i = 0; i < n; i++)
            sum[i] += (double)grad[i] * ((double)row[i] - m.mean) * m.r;
    }
    for (int64_t i = 0; i < n; i++)
        ((float *)call->output[0].data)[i] = (float)sum[i];
}
