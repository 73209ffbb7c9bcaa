/*
 * fused_linear.c (reference) - y = residual + act(norm(x) * w^T + bias), made of the parts and rounded where they are.
 *
 * The unfused ops store f32 between them; so does this, at the same places, and has the same bits. With glu the rows
 * of w are [gate; up] and act(gate) * up is what remains.
 */
#include "backend/reference/kernels.h"

enum { X, W, BIAS, NORM_WEIGHT, NORM_BIAS, RESIDUAL };

/* Per thread: a row of products, a normed row, a tile of w, and the f64 row that meets it; in doubles. */
static size_t doubles_of(const dt_op *op)
{
    int64_t n = dt_reference_capacity(op->input[W], 0), k = dt_reference_capacity(op->input[W], 1);
    return (size_t)(n + k + k * (DT_REFERENCE_TILE + 1));
}

size_t dt_reference_fused_linear_scratch(const dt_op *op, int threads)
{
    return doubles_of(op) * sizeof(double) * (size_t)threads;
}

static const float *norm(const dt_kernel_call *call, const float *x, int64_t k, float *room)
{
    const dt_data *in = call->input;
    const dt_op *op = call->op;
    if (!op->attr.fused.has_norm)
        return x;
    if (op->attr.fused.rms)
        dt_reference_rms_norm_row(x, in[NORM_WEIGHT].data, k, op->attr.fused.eps,
                                  op->attr.fused.zero_centered, room);
    else
        dt_reference_layer_norm_row(x, in[NORM_WEIGHT].data, in[NORM_BIAS].data, k, op->attr.fused.eps,
                                    op->attr.fused.zero_centered, room);
    return room;
}

static void product(const dt_kernel_call *call, const float *x, double *tile, float *out)
{
    const dt_data *w = &call->input[W];
    const float *bias = call->input[BIAS].data;
    int64_t k = dt_reference_cols(w), n = dt_reference_rows(w);
    double *row = tile + k * DT_REFERENCE_TILE, sum[DT_REFERENCE_TILE];
    dt_data as_data = {.data = (void *)x, .rank = 1, .dim = {k}, .dtype = DT_F32};
    for (int64_t first = 0; first < n; first += DT_REFERENCE_TILE) {
        int64_t count = n - first < DT_REFERENCE_TILE ? n - first : DT_REFERENCE_TILE;
        dt_reference_load_tile(w, first, count, tile);
        dt_reference_widen_for(w, &as_data, 0, k, row);
        dt_reference_multiply_tile(row, tile, k, sum);
        for (int64_t j = 0; j < count; j++)
            out[first + j] = (float)(sum[j] + (bias == NULL ? 0.0 : (double)bias[first + j]));
    }
}

static void finish(const dt_kernel_call *call, const float *sum, int64_t t)
{
    const dt_data *y = &call->output[0], *residual = &call->input[RESIDUAL];
    dt_activation kind = call->op->attr.fused.kind;
    int64_t n = dt_reference_cols(y);
    for (int64_t i = 0; i < n; i++) {
        double value = dt_reference_activation(kind, sum[i]);
        if (call->op->attr.fused.glu)
            value *= (double)sum[n + i];
        if (residual->data != NULL)
            value = (double)(float)value + (double)dt_f32_row(residual, t)[i];
        dt_f32_row(y, t)[i] = (float)value;
    }
}

void dt_reference_fused_linear(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[X];
    int64_t k = dt_reference_cols(x), n = dt_reference_rows(&call->input[W]), begin, end;
    double *scratch = (double *)call->scratch + (size_t)thread * doubles_of(call->op);
    float *sum = (float *)scratch, *room = (float *)(scratch + n);
    dt_share(dt_reference_rows(x), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        product(call, norm(call, dt_f32_row(x, t), k, room), scratch + n + k, sum);
        finish(call, sum, t);
    }
}
