/*
 * gather.c (reference) - rows by index: embedding, take_rows, merge_rows, blend_rows; and what undoes them:
 * embedding_grad, put_rows, blend_grad.
 *
 * y[t] = x[index[t]]; undone, dx[v] = sum of dy[t] over index[t] = v, added in ascending t in f64 and rounded once.
 * Indices were checked before the run.
 */
#include "backend/reference/kernels.h"

#include <string.h>

void dt_reference_embedding(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *table = &call->input[0], *ids = &call->input[1], *y = &call->output[0];
    int64_t cols = dt_reference_cols(table), begin, end;
    double *row = (double *)call->scratch + thread * cols;
    dt_share(dt_reference_rows(ids), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        int64_t id = ((const int32_t *)ids->data)[t] + call->op->attr.embedding.first;
        dt_reference_widen(table, id * cols, cols, row);
        for (int64_t i = 0; i < cols; i++)
            dt_f32_row(y, t)[i] = (float)row[i];
    }
}

/* Is `t` the first place where its id stands? Each id's sum belongs to the thread that owns that place. */
static bool is_first(const int32_t *ids, int64_t t)
{
    for (int64_t i = 0; i < t; i++)
        if (ids[i] == ids[t])
            return false;
    return true;
}

/* out[to] = sum of the rows of dy whose id is ids[t]. */
static void add_up(const dt_data *dy, const int32_t *ids, int64_t t, int64_t to, const dt_data *out,
                   double *sum)
{
    int64_t cols = dt_reference_cols(dy), rows = dt_reference_rows(dy);
    memset(sum, 0, (size_t)cols * sizeof *sum);
    for (int64_t u = t; u < rows; u++) {
        const float *row = dt_f32_row(dy, u);
        for (int64_t i = 0; ids[u] == ids[t] && i < cols; i++)
            sum[i] += row[i];
    }
    for (int64_t i = 0; i < cols; i++)
        dt_f32_row(out, to)[i] = (float)sum[i];
}

/* Id i is row first + i; `other`: row -1 - i. Ids of no row are of another source. */
static void scatter(const dt_kernel_call *call, const dt_data *dy, const dt_data *ids, int64_t first,
                    int64_t still, bool other, int thread, int threads)
{
    const dt_data *out = &call->output[0];
    int64_t cols = dt_reference_cols(out), begin, end;
    dt_share(dt_reference_rows(out), 1, thread, threads, &begin, &end);
    memset(dt_f32_row(out, begin), 0, (size_t)((end - begin) * cols) * sizeof(float));
    dt_pool_barrier(call->pool); /* zeros first, sums over them */
    dt_share(dt_reference_rows(ids), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        int64_t id = ((const int32_t *)ids->data)[t], to = other ? -1 - id : first + id;
        if (to >= 0 && ((const int32_t *)ids->data)[t] != still && is_first(ids->data, t))
            add_up(dy, ids->data, t, to, out, (double *)call->scratch + thread * cols);
    }
}

void dt_reference_embedding_grad(const dt_kernel_call *call, int thread, int threads)
{
    int64_t first = call->op->attr.embedding.first, still = call->op->attr.embedding.still - 1;
    scatter(call, &call->input[1], &call->input[0], first, still, false, thread,
            threads); /* ids, dy, table */
}

void dt_reference_put_rows(const dt_kernel_call *call, int thread, int threads)
{
    scatter(call, &call->input[0], &call->input[1], 0, INT64_MIN, call->op->attr.rows.other, thread,
            threads); /* dy, index, x */
}

void dt_reference_take_rows(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *index = &call->input[1], *y = &call->output[0];
    int64_t begin, end;
    dt_share(dt_reference_rows(index), 1, thread, threads, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        memcpy(dt_f32_row(y, r), dt_f32_row(x, ((const int32_t *)index->data)[r]),
               (size_t)dt_reference_cols(x) * sizeof(float));
}

void dt_reference_merge_rows(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *y = &call->input[1], *index = &call->input[2];
    int64_t begin, end;
    dt_share(dt_reference_rows(index), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        int64_t i = ((const int32_t *)index->data)[t];
        memcpy(dt_f32_row(&call->output[0], t), i >= 0 ? dt_f32_row(x, i) : dt_f32_row(y, -1 - i),
               (size_t)dt_reference_cols(x) * sizeof(float));
    }
}

/* Terms of weight 0 are left out: what they would multiply need not be finite. */
void dt_reference_blend_rows(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *table = &call->input[0], *weight = &call->input[2];
    int64_t cols = dt_reference_cols(table), terms = dt_reference_cols(weight), begin, end;
    const int32_t *index = call->input[1].data;
    dt_share(dt_reference_rows(weight), 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t i = 0; i < cols; i++) {
            double sum = -0.0; /* what leaves every first term as it is */
            for (int64_t j = 0; j < terms; j++)
                if (dt_f32_row(weight, t)[j] != 0)
                    sum +=
                        (double)dt_f32_row(weight, t)[j] * (double)dt_f32_row(table, index[t * terms + j])[i];
            dt_f32_row(&call->output[0], t)[i] = (float)sum;
        }
}

/* d[v] = sum of weight[t, j] · dy[t] over index[t, j] = v */
void dt_reference_blend_grad(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *weight = &call->input[2], *out = &call->output[0];
    int64_t cols = dt_reference_cols(out), terms = dt_reference_cols(weight), begin, end;
    const int32_t *index = call->input[1].data;
    double *sum = (double *)call->scratch + thread * cols;
    dt_share(dt_reference_rows(out), 1, thread, threads, &begin, &end);
    for (int64_t v = begin; v < end; v++) {
        memset(sum, 0, (size_t)cols * sizeof *sum);
        for (int64_t at = 0; at < dt_reference_rows(weight) * terms; at++)
            for (int64_t i = 0; index[at] == v && i < cols; i++)
                sum[i] += (double)((const float *)weight->data)[at] * (double)dt_f32_row(dy, at / terms)[i];
        for (int64_t i = 0; i < cols; i++)
            dt_f32_row(out, v)[i] = (float)sum[i];
    }
}
