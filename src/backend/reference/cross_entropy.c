/*
 * cross_entropy.c (reference) - loss[t] = log sum_v exp(x[t,v]) - x[t, label], over the first `vocab` columns.
 *
 * A negative label gives loss 0 and no gradient. Columns at and past `vocab` (padding of the vocabulary) take no
 * part and get the gradient 0. Labels were checked before the run.
 */
#include "backend/reference/kernels.h"

#include <math.h>
#include <string.h>

static int64_t vocab_of(const dt_kernel_call *call)
{
    int64_t vocab = call->op->attr.cross_entropy.vocab;
    return vocab == 0 ? dt_reference_cols(&call->input[0]) : vocab;
}

static double log_sum_exp(const float *x, int64_t n)
{
    double most = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        most = (double)x[i] > most ? (double)x[i] : most;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    return most + log(sum);
}

void dt_reference_cross_entropy(const dt_kernel_call *call, int thread, int threads)
{
    const int32_t *labels = call->input[1].data;
    float *loss = call->output[0].data;
    int64_t begin, end;
    dt_share(dt_reference_rows(&call->input[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *x = dt_f32_row(&call->input[0], t);
        loss[t] = labels[t] < 0 ? 0.0f : (float)(log_sum_exp(x, vocab_of(call)) - (double)x[labels[t]]);
    }
}

/* dx = (softmax(x) - onehot(label)) * dloss */
void dt_reference_cross_entropy_grad(const dt_kernel_call *call, int thread, int threads)
{
    const int32_t *labels = call->input[1].data;
    const float *dloss = call->input[2].data;
    int64_t vocab = vocab_of(call), begin, end;
    dt_share(dt_reference_rows(&call->input[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *x = dt_f32_row(&call->input[0], t);
        float *dx = dt_f32_row(&call->output[0], t);
        memset(dx, 0, (size_t)dt_reference_cols(&call->output[0]) * sizeof *dx);
        if (labels[t] < 0)
            continue;
        double all = log_sum_exp(x, vocab);
        for (int64_t v = 0; v < vocab; v++)
            dx[v] = (float)((double)dloss[t] * (exp((double)x[v] - all) - (v == labels[t] ? 1.0 : 0.0)));
    }
}
