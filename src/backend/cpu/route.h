/*
 * route.h - which experts a row goes to and with what weights, and the way back: route, sum_choices, their gradients.
 *
 * Numbers   f32; exponentials and sums in ascending order of experts, or of choice. NaN counts as greatest, equal
 *           scores go by number.
 * Work      a row at a time, threads share rows. E is some hundreds at most, and each row costs E comparisons.
 */
#ifndef DT_CPU_ROUTE_H
#define DT_CPU_ROUTE_H

#include "backend/cpu/rows.h"

/* ---- choosing ---- */

static float logistic(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static bool beats(float a, float b)
{
    return a > b || (a != a && b == b);
}

/* The k best of E by insertion; `best` holds their scores meanwhile. */
static void choose_experts(const dt_route_spec *spec, const float *logits, const float *bias, int64_t E,
                           int32_t *experts, float *best)
{
    int64_t held = 0, k = spec->topk;
    for (int64_t e = 0; e < E; e++) {
        float score = spec->score == DT_ROUTER_SIGMOID ? logistic(logits[e]) : logits[e];
        score += bias == NULL ? 0.0f : bias[e];
        if (held == k && !beats(score, best[k - 1]))
            continue;
        int64_t at = held < k ? held++ : k - 1;
        for (; at > 0 && beats(score, best[at - 1]); at--) {
            best[at] = best[at - 1];
            experts[at] = experts[at - 1];
        }
        best[at] = score;
        experts[at] = (int32_t)e;
    }
}

/* Weights are parts of a total: of exponentials from the greatest logit on, or of logistic functions. */
typedef struct route_share {
    float most, total;
} route_share;

static route_share route_share_of(const dt_route_spec *spec, const float *logits, int64_t E,
                                  const int32_t *experts)
{
    int64_t k = spec->topk, n = spec->pre_softmax ? E : k;
    route_share s = {-INFINITY, 0};
    if (spec->score == DT_ROUTER_SIGMOID) {
        for (int64_t j = 0; j < k; j++)
            s.total += logistic(logits[experts[j]]);
        s.total = k > 1 ? s.total + 1e-20f : 1.0f;
        return s;
    }
    for (int64_t e = 0; e < E; e++)
        s.most = fmaxf(s.most, logits[e]);
    for (int64_t i = 0; i < n; i++)
        s.total += expf(logits[spec->pre_softmax ? i : experts[i]] - s.most);
    return s;
}

static float route_part(const dt_route_spec *spec, route_share s, float logit)
{
    return (spec->score == DT_ROUTER_SIGMOID ? logistic(logit) : expf(logit - s.most)) / s.total;
}

static float route_scaling(const dt_route_spec *spec)
{
    return spec->scaling == 0 ? 1.0f : (float)spec->scaling;
}

static void route(const dt_kernel_call *call, int thread, int threads)
{
    const dt_route_spec *spec = &call->op->attr.route;
    int64_t E = call->input[0].dim[1], begin, end;
    dt_share(call->input[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *logits = row_of(&call->input[0], t);
        int32_t *experts = (int32_t *)call->output[0].data + t * spec->topk;
        float *weights = row_of(&call->output[1], t);
        choose_experts(spec, logits, call->input[1].data, E, experts, weights);
        route_share s = route_share_of(spec, logits, E, experts);
        for (int64_t j = 0; j < spec->topk; j++)
            weights[j] = route_part(spec, s, logits[experts[j]]) * route_scaling(spec);
    }
}

/* dx_i = p_i (dp_i - Σ p dp) over the softmax' set; for logistic functions with the slope 1 - σ as a factor more. */
static void route_grad_row(const dt_route_spec *spec, const float *logits, int64_t E, const int32_t *experts,
                           const float *dweights, float *dx)
{
    bool logistics = spec->score == DT_ROUTER_SIGMOID;
    route_share s = route_share_of(spec, logits, E, experts);
    float mean = 0, scaling = route_scaling(spec);
    for (int64_t j = 0; j < spec->topk && !(logistics && spec->topk == 1); j++)
        mean += route_part(spec, s, logits[experts[j]]) * dweights[j] * scaling;
    for (int64_t e = 0; e < E; e++)
        dx[e] = !logistics && spec->pre_softmax ? -route_part(spec, s, logits[e]) * mean : 0.0f;
    for (int64_t j = 0; j < spec->topk; j++) {
        float x = logits[experts[j]], slope = logistics ? logistic(-x) : 1.0f;
        dx[experts[j]] = route_part(spec, s, x) * slope * (dweights[j] * scaling - mean);
    }
}

static void route_grad(const dt_kernel_call *call, int thread, int threads)
{
    const dt_route_spec *spec = &call->op->attr.route;
    int64_t E = call->input[0].dim[1], begin, end;
    dt_share(call->input[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        route_grad_row(spec, row_of(&call->input[0], t), E,
                       (const int32_t *)call->input[1].data + t * spec->topk, row_of(&call->input[2], t),
                       row_of(&call->output[0], t));
}

/* ---- choices back to rows: y [T, k, H], or [T, H] where k is 1 ---- */

static void sum_choices(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *y = &call->input[0], *out = &call->output[0];
    const float *weights = call->input[1].data;
    int64_t H = out->dim[1], k = y->rank == 3 ? y->dim[1] : 1, begin, end;
    dt_share(out->dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t i = 0; i < H; i += 16) {
            int64_t n = H - i < 16 ? H - i : 16;
            vf sum = v_set(0.0f);
            for (int64_t j = t * k; j < (t + 1) * k; j++)
                sum = v_fma(v_load_n((const float *)y->data + j * H + i, n),
                            v_set(weights == NULL ? 1.0f : weights[j]), sum);
            v_store_n(row_of(out, t) + i, sum, n);
        }
}

static void spread_choices(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *weights = &call->input[1];
    int64_t H = dy->dim[1], k = weights->dim[1], begin, end;
    dt_share(elements_of(weights), 1, thread, threads, &begin, &end);
    for (int64_t s = begin; s < end; s++)
        for (int64_t i = 0; i < H; i += 16) {
            int64_t n = H - i < 16 ? H - i : 16;
            vf weight = v_set(((const float *)weights->data)[s]);
            v_store_n((float *)call->output[0].data + s * H + i,
                      v_mul(v_load_n(row_of(dy, s / k) + i, n), weight), n);
        }
}

static void choice_dots(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *y = &call->input[0], *dy = &call->input[1], *out = &call->output[0];
    int64_t H = dy->dim[1], k = out->dim[1], begin, end;
    dt_share(elements_of(out), 1, thread, threads, &begin, &end);
    for (int64_t s = begin; s < end; s++) {
        vf sum = v_set(0.0f);
        for (int64_t i = 0; i < H; i += 16) {
            int64_t n = H - i < 16 ? H - i : 16;
            vf both =
                v_mul(v_load_n((const float *)y->data + s * H + i, n), v_load_n(row_of(dy, s / k) + i, n));
            sum = v_add(sum, v_select(v_between(0, n), both, v_set(0.0f)));
        }
        ((float *)out->data)[s] = v_sum(sum);
    }
}

#endif
