/*
 * attention.c (reference) - out[t, head] = sum over visible keys j, ascending, of p[j] * v[j].
 *
 * Shapes    q, out [T, A*D]; k, v [S, K*D] or paged states; see drivetrain/graph.h for the uses, heads.c for p.
 * Numbers   f64 throughout, no blocks, no running maximum: three passes over the keys of a row.
 * Layout    a thread owns rows. New keys are stored before any thread reads; rows that belong to no sequence are 0.
 */
#include "backend/reference/heads.h"
#include "backend/reference/kernels.h"

#include <string.h>

/* Per thread: probabilities of every key, a query, a key, and the sum. */
static size_t doubles_of(const dt_op *op)
{
    return (size_t)(dt_reference_most_keys(op) + 3 * op->attr.attention.spec.head_dim);
}

size_t dt_reference_attention_scratch(const dt_op *op, int threads)
{
    return doubles_of(op) * sizeof(double) * (size_t)threads;
}

static void attend_head(const dt_kernel_call *call, const dt_reference_sequence *s, int64_t row, int64_t head,
                        double *scratch)
{
    const dt_attention_spec *spec = &call->op->attr.attention.spec;
    int64_t d = spec->head_dim, position = s->position + row - s->row, columns = spec->heads * d;
    double *q = scratch, *key = q + d, *sum = key + d, *p = sum + d;
    dt_reference_widen(&call->input[DT_ATTENTION_Q], row * columns + head * d, d, q);
    dt_reference_probabilities(call, s, position, head, q, key, p, NULL);
    memset(sum, 0, (size_t)d * sizeof *sum);
    dt_reference_span span = dt_reference_visible(spec, position, s->keys);
    for (int64_t j = span.first; j < span.last; j++) {
        dt_reference_key(call, s, true, j, head / (spec->heads / spec->groups), key);
        for (int64_t i = 0; i < d; i++)
            sum[i] += p[j] * key[i];
    }
    for (int64_t i = 0; i < d; i++)
        dt_f32_row(&call->output[0], row)[head * d + i] = (float)sum[i];
}

static void append_keys(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *in = call->input;
    const dt_data *cu = &in[DT_ATTENTION_CU_KEYS], *past = &in[DT_ATTENTION_PAST],
                  *table = &in[DT_ATTENTION_BLOCK_TABLE];
    dt_reference_cache_append(&in[DT_ATTENTION_K], cu, past, table, &in[DT_ATTENTION_K_CACHE], thread,
                              threads);
    dt_reference_cache_append(&in[DT_ATTENTION_V], cu, past, table, &in[DT_ATTENTION_V_CACHE], thread,
                              threads);
    dt_pool_barrier(call->pool);
}

void dt_reference_attention(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *q = &call->input[DT_ATTENTION_Q], *out = &call->output[0];
    const dt_data *cu = &call->input[DT_ATTENTION_CU_ROWS];
    int64_t begin, end, columns = dt_reference_cols(out);
    if (call->op->input[DT_ATTENTION_K] != NULL && call->op->input[DT_ATTENTION_K_CACHE] != NULL)
        append_keys(call, thread, threads);
    dt_share(dt_reference_rows(q), 1, thread, threads, &begin, &end);
    if (end > begin)
        memset(dt_f32_row(out, begin), 0, (size_t)((end - begin) * columns) * sizeof(float));
    for (int64_t b = 0; b < dt_reference_rows(cu) - 1; b++) {
        dt_reference_sequence s = dt_reference_sequence_of(call, b);
        for (int64_t t = s.row; t < s.row + s.rows; t++)
            for (int64_t head = 0; t >= begin && t < end && head < call->op->attr.attention.spec.heads;
                 head++)
                attend_head(call, &s, t, head,
                            (double *)call->scratch + (size_t)thread * doubles_of(call->op));
    }
}
