/*
 * experts.c (reference) - a mixture of experts, choice by choice: route, expert_linear, sum_choices, their gradients.
 *
 * Numbers   each output is one chain of f64 additions in ascending order: of k, of choices, of rows. With bf16 weights
 *           the activation side of a product is rounded to bf16 first, as linear.c does.
 * Routing   NaN counts as greatest, equal scores go by number, as torch.topk has them where it promises anything.
 */
#include "backend/reference/kernels.h"

#include <math.h>
#include <string.h>

/* ---- routing ---- */

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* What experts are chosen by: the softmax rises with the logit. */
static double score(const dt_kernel_call *call, const float *logits, int64_t e)
{
    const float *bias = call->input[1].data;
    double s = call->op->attr.route.score == DT_ROUTER_SIGMOID ? sigmoid(logits[e]) : (double)logits[e];
    return s + (bias == NULL ? 0.0 : (double)bias[e]);
}

static bool beats(double a, double b)
{
    return a > b || (isnan(a) && !isnan(b));
}

/* The k best of E, by insertion. */
static void choose(const dt_kernel_call *call, const float *logits, int64_t E, int64_t k, int32_t *experts)
{
    int64_t held = 0;
    for (int64_t e = 0; e < E; e++) {
        double s = score(call, logits, e);
        int64_t at = held < k ? held : k;
        while (at > 0 && beats(s, score(call, logits, experts[at - 1])))
            at--;
        if (at == k)
            continue;
        held += held < k;
        memmove(experts + at + 1, experts + at, (size_t)(held - 1 - at) * sizeof *experts);
        experts[at] = (int32_t)e;
    }
}

/* What every weight of a row is divided by, and the logit that exponentials are taken from. */
typedef struct share {
    double most, total;
} share;

static share share_of(const dt_route_spec *spec, const float *logits, int64_t E, const int32_t *experts)
{
    int64_t k = spec->topk;
    share s = {.most = -INFINITY};
    if (spec->score == DT_ROUTER_SIGMOID) {
        for (int64_t j = 0; j < k; j++)
            s.total += sigmoid(logits[experts[j]]);
        s.total = k > 1 ? s.total + 1e-20 : 1.0;
        return s;
    }
    for (int64_t e = 0; e < E; e++)
        s.most = fmax(s.most, logits[e]);
    for (int64_t i = 0; i < (spec->pre_softmax ? E : k); i++)
        s.total += exp((double)logits[spec->pre_softmax ? i : experts[i]] - s.most);
    return s;
}

static double part_of(const dt_route_spec *spec, share s, double logit)
{
    return (spec->score == DT_ROUTER_SIGMOID ? sigmoid(logit) : exp(logit - s.most)) / s.total;
}

static double scaling_of(const dt_route_spec *spec)
{
    return spec->scaling == 0 ? 1.0 : spec->scaling;
}

void dt_reference_route(const dt_kernel_call *call, int thread, int threads)
{
    const dt_route_spec *spec = &call->op->attr.route;
    int64_t E = dt_reference_cols(&call->input[0]), k = spec->topk, begin, end;
    dt_share(dt_reference_rows(&call->input[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *logits = dt_f32_row(&call->input[0], t);
        int32_t *experts = (int32_t *)call->output[0].data + t * k;
        choose(call, logits, E, k, experts);
        share s = share_of(spec, logits, E, experts);
        for (int64_t j = 0; j < k; j++)
            dt_f32_row(&call->output[1], t)[j] =
                (float)(part_of(spec, s, logits[experts[j]]) * scaling_of(spec));
    }
}

/* p_i of the softmax over a set: dx_i = p_i (dp_i - Σ p dp). s_i = σ_i / Σσ: dσ_i = (ds_i - Σ s ds) / Σσ. */
static void route_grad_row(const dt_route_spec *spec, const float *logits, int64_t E, const int32_t *experts,
                           const float *dweights, float *dx)
{
    bool sigmoids = spec->score == DT_ROUTER_SIGMOID;
    share s = share_of(spec, logits, E, experts);
    double mean = 0, scaling = scaling_of(spec);
    for (int64_t j = 0; j < spec->topk && !(sigmoids && spec->topk == 1); j++)
        mean += part_of(spec, s, logits[experts[j]]) * (double)dweights[j] * scaling;
    for (int64_t e = 0; e < E; e++)
        dx[e] = !sigmoids && spec->pre_softmax ? (float)(-part_of(spec, s, logits[e]) * mean) : 0.0f;
    for (int64_t j = 0; j < spec->topk; j++) {
        double x = logits[experts[j]], slope = part_of(spec, s, x) * (sigmoids ? 1.0 - sigmoid(x) : 1.0);
        dx[experts[j]] = (float)(slope * ((double)dweights[j] * scaling - mean));
    }
}

void dt_reference_route_grad(const dt_kernel_call *call, int thread, int threads)
{
    const dt_route_spec *spec = &call->op->attr.route;
    int64_t E = dt_reference_cols(&call->input[0]), begin, end;
    dt_share(dt_reference_rows(&call->input[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        route_grad_row(spec, dt_f32_row(&call->input[0], t), E,
                       (const int32_t *)call->input[1].data + t * spec->topk, dt_f32_row(&call->input[2], t),
                       dt_f32_row(&call->output[0], t));
}

/* ---- products ---- */

/* Choice s of row s / k meets this row of x. */
static int64_t row_of_choice(const dt_data *x, const dt_data *experts, int64_t s)
{
    return x->rank == 3 ? s : s / experts->dim[1];
}

/* Per thread: one row of w, and one of the activation side. */
static size_t doubles_of(const dt_op *op)
{
    const dt_tensor *x = op->input[0], *w = op->input[1];
    return (size_t)(2 * dt_reference_capacity(w, 1) + dt_reference_capacity(x, x->rank - 1));
}

size_t dt_reference_expert_scratch(const dt_op *op, int threads)
{
    return doubles_of(op) * sizeof(double) * (size_t)threads;
}

void dt_reference_expert_linear(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *w = &call->input[1], *experts = &call->input[2];
    const float *bias = call->input[3].data;
    int64_t N = call->output[0].dim[2], K = w->dim[1], begin, end;
    double *row = (double *)call->scratch + (size_t)thread * doubles_of(call->op), *weights = row + K;
    dt_share(dt_reference_count(experts), 1, thread, threads, &begin, &end);
    for (int64_t s = begin; s < end; s++) {
        int64_t first = ((const int32_t *)experts->data)[s] * N;
        dt_reference_widen_for(w, x, row_of_choice(x, experts, s) * K, K, row);
        for (int64_t n = 0; n < N; n++) {
            double sum = 0;
            dt_reference_widen(w, (first + n) * K, K, weights);
            for (int64_t i = 0; i < K; i++)
                sum += row[i] * weights[i];
            ((float *)call->output[0].data)[s * N + n] =
                (float)(sum + (bias == NULL ? 0.0 : (double)bias[first + n]));
        }
    }
}

void dt_reference_expert_linear_dx(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *w = &call->input[1], *experts = &call->input[2];
    int64_t N = dy->dim[2], K = w->dim[1], begin, end;
    double *sum = (double *)call->scratch + (size_t)thread * doubles_of(call->op), *weights = sum + K;
    double *grad = weights + K;
    dt_share(dt_reference_count(experts), 1, thread, threads, &begin, &end);
    for (int64_t s = begin; s < end; s++) {
        int64_t first = ((const int32_t *)experts->data)[s] * N;
        dt_reference_widen_for(w, dy, s * N, N, grad);
        memset(sum, 0, (size_t)K * sizeof *sum);
        for (int64_t n = 0; n < N; n++) {
            dt_reference_widen(w, (first + n) * K, K, weights);
            for (int64_t i = 0; i < K; i++)
                sum[i] += grad[n] * weights[i];
        }
        for (int64_t i = 0; i < K; i++)
            ((float *)call->output[0].data)[s * K + i] = (float)sum[i];
    }
}

void dt_reference_expert_linear_dw(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *x = &call->input[1], *experts = &call->input[2];
    const int32_t *expert = experts->data;
    int64_t N = dy->dim[2], K = call->output[0].dim[1], begin, end;
    double *sum = (double *)call->scratch + thread * K;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        memset(sum, 0, (size_t)K * sizeof *sum);
        for (int64_t s = 0; s < dt_reference_count(experts); s++) {
            const float *from = (const float *)x->data + row_of_choice(x, experts, s) * K;
            double grad = ((const float *)dy->data)[s * N + row % N];
            for (int64_t i = 0; expert[s] == row / N && i < K; i++)
                sum[i] += grad * (double)from[i];
        }
        for (int64_t i = 0; i < K; i++)
            dt_f32_row(&call->output[0], row)[i] = (float)sum[i];
    }
}

void dt_reference_expert_column_sum(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *experts = &call->input[1];
    const int32_t *expert = experts->data;
    int64_t N = dy->dim[2], begin, end;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        double sum = 0;
        for (int64_t s = 0; s < dt_reference_count(experts); s++)
            sum += expert[s] == row / N ? (double)((const float *)dy->data)[s * N + row % N] : 0.0;
        ((float *)call->output[0].data)[row] = (float)sum;
    }
}

/* ---- choices back to rows ---- */

void dt_reference_sum_choices(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *y = &call->input[0], *out = &call->output[0];
    const float *weights = call->input[1].data, *values = y->data;
    int64_t H = out->dim[1], k = y->rank == 3 ? y->dim[1] : 1, begin, end;
    dt_share(out->dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t i = 0; i < H; i++) {
            double sum = 0;
            for (int64_t j = 0; j < k; j++)
                sum += (double)values[(t * k + j) * H + i] *
                       (weights == NULL ? 1.0 : (double)weights[t * k + j]);
            dt_f32_row(out, t)[i] = (float)sum;
        }
}

void dt_reference_spread_choices(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *weights = &call->input[1];
    int64_t H = dy->dim[1], k = weights->dim[1], begin, end;
    dt_share(dt_reference_count(weights), 1, thread, threads, &begin, &end);
    for (int64_t s = begin; s < end; s++)
        for (int64_t i = 0; i < H; i++)
            ((float *)call->output[0].data)[s * H + i] =
                dt_f32_row(dy, s / k)[i] * ((const float *)weights->data)[s];
}

void dt_reference_choice_dots(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *y = &call->input[0], *dy = &call->input[1], *out = &call->output[0];
    int64_t H = dy->dim[1], k = out->dim[1], begin, end;
    dt_share(dt_reference_count(out), 1, thread, threads, &begin, &end);
    for (int64_t s = begin; s < end; s++) {
        double sum = 0;
        for (int64_t i = 0; i < H; i++)
            sum += (double)((const float *)y->data)[s * H + i] * (double)dt_f32_row(dy, s / k)[i];
        ((float *)out->data)[s] = (float)sum;
    }
}
