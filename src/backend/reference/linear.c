/*
 * linear.c (reference) - y[t,n] = sum over ascending k of x[t,k] * w[n,k], plus bias[n]; and its gradients.
 *
 * Shapes    x [T, K], w [N, K] in the backend's type, bias [N] f32, y [T, N].
 * Numbers   each output is one chain of f64 additions in ascending order (k; n for dx; t for dw and the bias).
 *           With bf16 weights the activation side is rounded to bf16 first (operands.c); linear_dw has no weight
 *           side and multiplies what it is given.
 * Layout    eight rows of w are widened and laid side by side: eight independent chains hide the latency of one.
 */
#include "backend/reference/kernels.h"

#include <string.h>

enum { TILE = DT_REFERENCE_TILE };

void dt_reference_load_tile(const dt_data *w, int64_t row, int64_t count, double *tile)
{
    int64_t k = dt_reference_cols(w);
    double *one = tile + k * TILE; /* room for one row behind the tile */
    if (count < TILE)
        memset(tile, 0, (size_t)(k * TILE) * sizeof *tile);
    for (int64_t j = 0; j < count; j++) {
        dt_reference_widen(w, (row + j) * k, k, one);
        for (int64_t i = 0; i < k; i++)
            tile[i * TILE + j] = one[i];
    }
}

void dt_reference_multiply_tile(const double *x, const double *tile, int64_t k, double *sum)
{
    double chain[TILE] = {0};
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < TILE; j++)
            chain[j] += x[i] * tile[i * TILE + j];
    memcpy(sum, chain, sizeof chain);
}

/* Per thread: a tile of w and the row of x that meets it. */
static size_t doubles_of(const dt_op *op)
{
    return (size_t)dt_reference_capacity(op->input[1], 1) * (TILE + 1);
}

size_t dt_reference_linear_scratch(const dt_op *op, int threads)
{
    return doubles_of(op) * sizeof(double) * (size_t)threads;
}

void dt_reference_linear(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *w = &call->input[1], *y = &call->output[0];
    const float *bias = call->input[2].data;
    int64_t rows = dt_reference_rows(x), k = dt_reference_cols(w), n = dt_reference_rows(w), begin, end;
    double *tile = (double *)call->scratch + (size_t)thread * doubles_of(call->op);
    double *row = tile + k * TILE, sum[TILE];
    dt_share(n, TILE, thread, threads, &begin, &end);
    for (int64_t first = begin; first < end; first += TILE) {
        int64_t count = end - first < TILE ? end - first : TILE;
        dt_reference_load_tile(w, first, count, tile);
        for (int64_t t = 0; t < rows; t++) {
            dt_reference_widen_for(w, x, t * k, k, row);
            dt_reference_multiply_tile(row, tile, k, sum);
            for (int64_t j = 0; j < count; j++)
                dt_f32_row(y, t)[first + j] =
                    (float)(sum[j] + (bias == NULL ? 0.0 : (double)bias[first + j]));
        }
    }
}

/* Per thread: TILE rows of dx being summed, a row of w, and TILE rows of dy. */
static size_t dx_doubles_of(const dt_op *op)
{
    const dt_tensor *w = op->input[1];
    return (size_t)dt_reference_capacity(w, 1) * (TILE + 1) + (size_t)dt_reference_capacity(w, 0) * TILE;
}

size_t dt_reference_linear_dx_scratch(const dt_op *op, int threads)
{
    return dx_doubles_of(op) * sizeof(double) * (size_t)threads;
}

/* dx[t,k] = sum over ascending n of dy[t,n] * w[n,k], for TILE rows t at once. */
static void dx_rows(const dt_kernel_call *call, int64_t first, int64_t count, double *scratch)
{
    const dt_data *dy = &call->input[0], *w = &call->input[1], *dx = &call->output[0];
    int64_t n = dt_reference_rows(w), k = dt_reference_cols(w);
    double *sum = scratch, *row = sum + k * TILE, *grad = row + k;
    memset(sum, 0, (size_t)(k * TILE) * sizeof *sum);
    dt_reference_widen_for(w, dy, first * n, count * n, grad);
    for (int64_t i = 0; i < n; i++) {
        dt_reference_widen(w, i * k, k, row);
        for (int64_t t = 0; t < count; t++)
            for (int64_t j = 0; j < k; j++)
                sum[t * k + j] += grad[t * n + i] * row[j];
    }
    for (int64_t j = 0; j < count * k; j++)
        dt_f32_row(dx, first)[j] = (float)sum[j];
}

void dt_reference_linear_dx(const dt_kernel_call *call, int thread, int threads)
{
    int64_t begin, end;
    dt_share(dt_reference_rows(&call->input[0]), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t += TILE)
        dx_rows(call, t, end - t < TILE ? end - t : TILE,
                (double *)call->scratch + (size_t)thread * dx_doubles_of(call->op));
}

/* A row of output 0 in f64 for each thread. */
size_t dt_reference_columns_scratch(const dt_op *op, int threads)
{
    return (size_t)dt_reference_capacity(op->output[0], op->output[0]->rank - 1) * sizeof(double) *
           (size_t)threads;
}

void dt_reference_linear_dw(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *x = &call->input[1], *dw = &call->output[0];
    int64_t rows = dt_reference_rows(x), k = dt_reference_cols(x), begin, end;
    double *sum = (double *)call->scratch + thread * k;
    dt_share(dt_reference_rows(dw), 1, thread, threads, &begin, &end);
    for (int64_t n = begin; n < end; n++) {
        memset(sum, 0, (size_t)k * sizeof *sum);
        for (int64_t t = 0; t < rows; t++) {
            double grad = dt_f32_row(dy, t)[n];
            const float *row = dt_f32_row(x, t);
            for (int64_t i = 0; i < k; i++)
                sum[i] += grad * (double)row[i];
        }
        for (int64_t i = 0; i < k; i++)
            dt_f32_row(dw, n)[i] = (float)sum[i];
    }
}

void dt_reference_column_sum(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0];
    int64_t groups = call->op->attr.sum.groups > 1 ? call->op->attr.sum.groups : 1;
    int64_t cols = dt_reference_cols(dy) / groups, begin, end;
    dt_share(cols, 1, thread, threads, &begin, &end);
    for (int64_t n = begin; n < end; n++) {
        double sum = 0;
        for (int64_t t = 0; t < dt_reference_rows(dy) * groups; t++)
            sum += ((const float *)dy->data)[t * cols + n];
        ((float *)call->output[0].data)[n] = (float)sum;
    }
}
