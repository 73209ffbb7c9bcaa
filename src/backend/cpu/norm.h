/*
 * norm.h - rms_norm and layer_norm of one row, which fused products share with the ops, and the ops' gradients.
 *
 *   rms_norm:   y = x * r * (w + add),            r = 1 / sqrt(mean x^2 + eps)
 *   layer_norm: y = (x - m) * r * (w + add) + b,  r = 1 / sqrt(mean (x - m)^2 + eps)
 *
 * Numbers   sums over a row in f32 on 16 lanes, then one tree (vec.h); the mean and r in f64, rounded once. The
 *           variance is taken from differences to a first mean: mean x^2 - m^2 loses digits where |m| is large.
 * Work      a row at a time, threads share rows; dw shares columns, each summed over ascending rows.
 */
#ifndef DT_CPU_NORM_H
#define DT_CPU_NORM_H

#include "backend/cpu/vec.h"

#include <math.h>

typedef struct norm_call {
    bool rms;
    const float *weight, *bias; /* bias may be NULL */
    double eps;
    float add; /* 1 when zero_centered */
} norm_call;

/* What a row is shifted and scaled by. The mean in two parts: its rounding to f32 would be seen where a row's values
 * are nearly equal. */
typedef struct norm_stats {
    float mean, rest, r;
} norm_stats;

static INLINE vf centred(norm_stats s, vf x)
{
    return v_sub(v_sub(x, v_set(s.mean)), v_set(s.rest));
}

/* Sums of d and d^2 with d = x - shift; the last vector's missing lanes count as nothing. */
static void row_sums(const float *x, int64_t n, float shift, double *sum, double *squares)
{
    vf total = v_set(0.0f), square = total;
    int64_t whole = n / 16 * 16;
    for (int64_t i = 0; i < whole; i += 16) {
        vf d = v_sub(v_load(x + i), v_set(shift));
        total = v_add(total, d);
        square = v_fma(d, d, square);
    }
    if (whole < n) {
        vf d = v_sub(v_load_n(x + whole, n - whole), v_set(shift));
        d = v_select(v_between(0, n - whole), d, v_set(0.0f));
        total = v_add(total, d);
        square = v_fma(d, d, square);
    }
    *sum = (double)v_sum(total);
    *squares = (double)v_sum(square);
}

static norm_stats norm_stats_of(bool rms, double eps, const float *x, int64_t n)
{
    double sum, squares;
    norm_stats s = {0};
    row_sums(x, n, 0.0f, &sum, &squares);
    if (!rms) {
        s.mean = (float)(sum / (double)n);
        row_sums(x, n, s.mean, &sum, &squares);
        double rest = sum / (double)n;
        s.rest = (float)rest;
        squares -= rest * rest * (double)n;
    }
    s.r = (float)(1.0 / sqrt(squares / (double)n + eps));
    return s;
}

static INLINE vf norm_lanes(const norm_call *c, norm_stats s, vf x, int64_t i, int64_t n)
{
    vf y = v_mul(centred(s, x), v_set(s.r));
    y = v_mul(y, v_add(v_load_n(c->weight + i, n), v_set(c->add)));
    return c->bias == NULL ? y : v_add(y, v_load_n(c->bias + i, n));
}

/* Columns [begin, end) of a row, to y on. */
static void norm_columns(const norm_call *c, norm_stats s, const float *x, int64_t begin, int64_t end,
                         float *y)
{
    for (int64_t i = begin; i < end; i += 16, y += 16) {
        int64_t count = end - i < 16 ? end - i : 16;
        v_store_n(y, norm_lanes(c, s, v_load_n(x + i, count), i, count), count);
    }
}

static void norm_row(const norm_call *c, const float *x, int64_t n, float *y)
{
    norm_columns(c, norm_stats_of(c->rms, c->eps, x, n), x, 0, n, y);
}

/* A row of several norms is that many rows. */
static INLINE int64_t norms_of(const dt_op *op)
{
    return op->attr.norm.groups > 1 ? op->attr.norm.groups : 1;
}

static void norm(const dt_kernel_call *call, bool rms, int thread, int threads)
{
    const dt_data *x = &call->input[0];
    norm_call c = {.rms = rms, .weight = call->input[1].data, .bias = call->input[2].data};
    c.eps = call->op->attr.norm.eps;
    c.add = call->op->attr.norm.zero_centered ? 1.0f : 0.0f;
    int64_t groups = norms_of(call->op), n = x->dim[1] / groups, begin, end;
    dt_share(x->dim[0] * groups, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        norm_row(&c, (const float *)x->data + t * n, n, (float *)call->output[0].data + t * n);
}

static void rms_norm(const dt_kernel_call *call, int thread, int threads)
{
    norm(call, true, thread, threads);
}

static void layer_norm(const dt_kernel_call *call, int thread, int threads)
{
    norm(call, false, thread, threads);
}

/* ---- gradients; z = (x - mean) * r, g = dy * (w + add) ---- */

/* dx = r * (g - mean g - z * mean(g z)); rms_norm has no mean to take out. */
static void norm_dx_row(const norm_call *c, const float *x, const float *dy, int64_t n, float *dx)
{
    norm_stats s = norm_stats_of(c->rms, c->eps, x, n);
    vf sum_g = v_set(0.0f), sum_gz = sum_g, r = v_set(s.r), add = v_set(c->add);
    for (int64_t i = 0; i < n; i += 16) {
        int64_t count = n - i < 16 ? n - i : 16; /* past the end dy, and so g, is 0 */
        vf g = v_mul(v_load_n(dy + i, count), v_add(v_load_n(c->weight + i, count), add));
        vf z = v_mul(centred(s, v_load_n(x + i, count)), r);
        sum_g = v_add(sum_g, g);
        sum_gz = v_fma(g, z, sum_gz);
    }
    vf mean_g = v_set(c->rms ? 0.0f : (float)((double)v_sum(sum_g) / (double)n));
    vf mean_gz = v_set((float)((double)v_sum(sum_gz) / (double)n));
    for (int64_t i = 0; i < n; i += 16) {
        int64_t count = n - i < 16 ? n - i : 16;
        vf g = v_mul(v_load_n(dy + i, count), v_add(v_load_n(c->weight + i, count), add));
        vf z = v_mul(centred(s, v_load_n(x + i, count)), r);
        v_store_n(dx + i, v_mul(r, v_sub(v_sub(g, mean_g), v_mul(z, mean_gz))), count);
    }
}

static void norm_dx(const dt_kernel_call *call, bool rms, int thread, int threads)
{
    const dt_data *x = &call->input[0];
    norm_call c = {.rms = rms, .weight = call->input[1].data, .eps = call->op->attr.norm.eps};
    c.add = call->op->attr.norm.zero_centered ? 1.0f : 0.0f;
    int64_t groups = norms_of(call->op), n = x->dim[1] / groups, begin, end;
    dt_share(x->dim[0] * groups, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        norm_dx_row(&c, (const float *)x->data + t * n, (const float *)call->input[2].data + t * n, n,
                    (float *)call->output[0].data + t * n);
}

static void rms_norm_dx(const dt_kernel_call *call, int thread, int threads)
{
    norm_dx(call, true, thread, threads);
}

static void layer_norm_dx(const dt_kernel_call *call, int thread, int threads)
{
    norm_dx(call, false, thread, threads);
}

/* dw[i] = sum over t of dy[t, i] * z[t, i]: first every row's numbers, then columns. */
static void norm_dw(const dt_kernel_call *call, bool rms, int thread, int threads)
{
    const dt_data *x = &call->input[0];
    norm_stats *stats = call->scratch;
    int64_t groups = norms_of(call->op), rows = x->dim[0] * groups, n = x->dim[1] / groups, begin, end;
    dt_share(rows, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        stats[t] = norm_stats_of(rms, call->op->attr.norm.eps, (const float *)x->data + t * n, n);
    dt_pool_barrier(call->pool);
    dt_share(n, 16, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i += 16) {
        int64_t count = end - i < 16 ? end - i : 16;
        vf sum = v_set(0.0f);
        for (int64_t t = 0; t < rows; t++) {
            vf z = centred(stats[t], v_load_n((const float *)x->data + t * n + i, count));
            z = v_mul(z, v_set(stats[t].r));
            sum = v_fma(v_load_n((const float *)call->input[1].data + t * n + i, count), z, sum);
        }
        v_store_n((float *)call->output[0].data + i, sum, count);
    }
}

static void rms_norm_dw(const dt_kernel_call *call, int thread, int threads)
{
    norm_dw(call, true, thread, threads);
}

static void layer_norm_dw(const dt_kernel_call *call, int thread, int threads)
{
    norm_dw(call, false, thread, threads);
}

static size_t norm_dw_room(const dt_op *op, int threads)
{
    (void)threads;
    return (size_t)(dt_dim_count(op->input[0]->dim[0], NULL) * norms_of(op)) * sizeof(norm_stats);
}

#endif
