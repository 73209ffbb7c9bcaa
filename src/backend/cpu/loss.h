/*
 * loss.h - cross entropy and its gradient; sums over everything: dot, weighted_mean and its gradient.
 *
 * Numbers   cross entropy in f32: greatest logit, exponentials on 16 lanes, one tree, log. Whole sums in f64, in
 *           stretches of a fixed length whose results are added in order, whoever computed them.
 */
#ifndef DT_CPU_LOSS_H
#define DT_CPU_LOSS_H

#include "backend/cpu/rows.h"

enum { STRETCH = 4096 };

static int64_t vocab_of(const dt_kernel_call *call)
{
    int64_t vocab = call->op->attr.cross_entropy.vocab;
    return vocab == 0 ? call->input[0].dim[1] : vocab;
}

static INLINE vf logits_at(const float *x, int64_t i, int64_t n)
{
    if (n - i >= 16)
        return v_load(x + i);
    return v_select(v_between(0, n - i), v_load_n(x + i, n - i), v_set(-INFINITY));
}

typedef struct log_sum {
    float most, log; /* log sum exp(x) = most + log */
} log_sum;

static log_sum log_sum_exp(const float *x, int64_t n)
{
    vf most = v_set(-INFINITY), sum = v_set(0.0f);
    for (int64_t i = 0; i < n; i += 16)
        most = v_max(most, logits_at(x, i, n));
    float m = v_most(most);
    for (int64_t i = 0; i < n; i += 16)
        sum = v_add(sum, v_exp(v_sub(logits_at(x, i, n), v_set(m))));
    return (log_sum){m, logf(v_sum(sum))};
}

static void cross_entropy(const dt_kernel_call *call, int thread, int threads)
{
    const int32_t *labels = call->input[1].data;
    float *loss = call->output[0].data;
    int64_t begin, end;
    dt_share(call->input[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *x = row_of(&call->input[0], t);
        loss[t] = 0.0f;
        if (labels[t] < 0)
            continue;
        log_sum all = log_sum_exp(x, vocab_of(call));
        loss[t] = (all.most - x[labels[t]]) + all.log;
    }
}

/* dx = (softmax(x) - onehot(label)) * dloss; columns past the vocabulary get 0 */
static void cross_entropy_grad(const dt_kernel_call *call, int thread, int threads)
{
    const int32_t *labels = call->input[1].data;
    const float *dloss = call->input[2].data;
    int64_t vocab = vocab_of(call), begin, end;
    dt_share(call->input[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *x = row_of(&call->input[0], t);
        float *dx = row_of(&call->output[0], t);
        memset(dx, 0, (size_t)call->output[0].dim[1] * sizeof *dx);
        if (labels[t] < 0)
            continue;
        log_sum all = log_sum_exp(x, vocab);
        for (int64_t i = 0; i < vocab; i += 16) {
            int64_t n = vocab - i < 16 ? vocab - i : 16;
            vf p = v_exp(v_sub(v_sub(logits_at(x, i, vocab), v_set(all.most)), v_set(all.log)));
            v_store_n(dx + i, v_mul(p, v_set(dloss[t])), n);
        }
        float chosen = expf((x[labels[t]] - all.most) - all.log);
        dx[labels[t]] = (chosen - 1.0f) * dloss[t];
    }
}

/* ---- whole sums ---- */

/* Stretches of sum a*b (b NULL: of a) into sums[]. */
static void sum_stretches(const float *a, const float *b, int64_t n, double *sums, int thread, int threads)
{
    int64_t begin, end;
    dt_share((n + STRETCH - 1) / STRETCH, 1, thread, threads, &begin, &end);
    for (int64_t s = begin; s < end; s++) {
        double sum = 0;
        for (int64_t i = s * STRETCH; i < n && i < (s + 1) * STRETCH; i++)
            sum += b == NULL ? (double)a[i] : (double)a[i] * (double)b[i];
        sums[s] = sum;
    }
}

static double add_stretches(const double *sums, int64_t n)
{
    double sum = 0;
    for (int64_t s = 0; s < (n + STRETCH - 1) / STRETCH; s++)
        sum += sums[s];
    return sum;
}

static void dot(const dt_kernel_call *call, int thread, int threads)
{
    int64_t n = elements_of(&call->input[0]);
    sum_stretches(call->input[0].data, call->input[1].data, n, call->scratch, thread, threads);
    dt_pool_barrier(call->pool);
    if (thread == 0)
        *(float *)call->output[0].data =
            (float)(add_stretches(call->scratch, n) * call->op->attr.scale.factor);
}

static void weighted_mean(const dt_kernel_call *call, int thread, int threads)
{
    int64_t n = elements_of(&call->input[0]);
    double *products = call->scratch, *weights = products + (n + STRETCH - 1) / STRETCH;
    sum_stretches(call->input[0].data, call->input[1].data, n, products, thread, threads);
    sum_stretches(call->input[1].data, NULL, n, weights, thread, threads);
    dt_pool_barrier(call->pool);
    if (thread == 0) /* weights that sum to 0 give NaN, as in PyTorch */
        *(float *)call->output[0].data = (float)(add_stretches(products, n) / add_stretches(weights, n));
}

/* dx = dy * w / sum w */
static void weighted_mean_grad(const dt_kernel_call *call, int thread, int threads)
{
    int64_t n = elements_of(&call->input[1]);
    sum_stretches(call->input[1].data, NULL, n, call->scratch, thread, threads);
    dt_pool_barrier(call->pool);
    double factor = (double)*(const float *)call->input[2].data / add_stretches(call->scratch, n);
    element_call c = {.a = call->input[1].data, .factor = (float)factor};
    elements(call, &c, ELEMENT_SCALE, thread, threads);
}

static size_t whole_sum_room(const dt_op *op, int threads)
{
    (void)threads;
    return 2 * (size_t)(dt_tensor_elements(op->input[1], NULL) / STRETCH + 1) * sizeof(double);
}

#endif
