/*
 * attention_grad.c (reference) - d loss / d q, k, v, bias table and sink, given d loss / d out.
 *
 * With p the probabilities of a query head and w[j] = grad . v[j]:  ds[j] = p[j] * (w[j] - sum p w);
 * dq = sum ds[j] * slope[j] * k[j],  dk[j] += ds[j] * slope[j] * q,  dv[j] += p[j] * grad,  dbias[bucket] += ds[j],
 * dsink = -p_sink * sum p w.  The probabilities are computed again; the forward output is not read.
 *
 * Layout    a thread owns groups of heads: the columns of dq, dk, dv and the heads of the tables that no other
 *           thread writes. dk and dv of one sequence and group add up in f64, and are rounded once. No caches.
 */
#include "backend/reference/heads.h"
#include "backend/bucket.h"
#include "backend/reference/kernels.h"

#include <string.h>

enum { DQ, DK, DV, DBIAS, DSINK };

/* What one thread adds up in; all f64. */
typedef struct sums {
    double *dk, *dv;             /* [keys, D], of one sequence and group */
    double *bias, *sink;         /* [buckets, heads of a group], [heads of a group], of one group */
    double *p, *w, *slope;       /* [keys], of one query head */
    double *q, *grad, *key, *dq; /* [D] */
} sums;

typedef struct sizes {
    int64_t keys, d, buckets, heads; /* heads of a group */
} sizes;

static sizes sizes_of(const dt_op *op)
{
    const dt_attention_spec *spec = &op->attr.attention.spec;
    const dt_tensor *table = op->input[DT_ATTENTION_BIAS_TABLE];
    return (sizes){.keys = dt_reference_most_keys(op),
                   .d = spec->head_dim,
                   .buckets = table == NULL ? 0 : dt_reference_capacity(table, 0),
                   .heads = spec->heads / spec->groups};
}

static size_t doubles_of(const dt_op *op)
{
    sizes n = sizes_of(op);
    return (size_t)(2 * n.keys * n.d + (n.buckets + 1) * n.heads + 3 * n.keys + 4 * n.d);
}

size_t dt_reference_attention_grad_scratch(const dt_op *op, int threads)
{
    return doubles_of(op) * sizeof(double) * (size_t)threads;
}

static sums lay_out(const dt_op *op, double *scratch)
{
    sizes n = sizes_of(op);
    sums s;
    s.dk = scratch;
    s.dv = s.dk + n.keys * n.d;
    s.bias = s.dv + n.keys * n.d;
    s.sink = s.bias + n.buckets * n.heads;
    s.p = s.sink + n.heads;
    s.w = s.p + n.keys;
    s.slope = s.w + n.keys;
    s.q = s.slope + n.keys;
    s.grad = s.q + n.d;
    s.key = s.grad + n.d;
    s.dq = s.key + n.d;
    return s;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void add_bias(const dt_kernel_call *call, int64_t relative, int64_t head, double ds, const sums *s)
{
    const dt_attention_spec *spec = &call->op->attr.attention.spec;
    const dt_data *table = &call->input[DT_ATTENTION_BIAS_TABLE];
    if (table->data == NULL)
        return;
    int64_t heads = spec->heads / spec->groups;
    int64_t bucket =
        dt_relative_bucket(relative, table->dim[0], spec->bias_max_distance, spec->bias_bidirectional);
    s->bias[bucket * heads + head % heads] += ds;
}

/* One key of one query head: its share of dq, dk, dv and the bias. */
static void add_key(const dt_kernel_call *call, const dt_reference_sequence *seq, int64_t j, int64_t group,
                    double ds, const sums *s)
{
    int64_t d = call->op->attr.attention.spec.head_dim;
    double through = ds * s->slope[j];
    dt_reference_key(call, seq, false, j, group, s->key);
    for (int64_t i = 0; i < d; i++) {
        s->dq[i] += through * s->key[i];
        s->dk[j * d + i] += through * s->q[i];
        s->dv[j * d + i] += s->p[j] * s->grad[i];
    }
}

static void query_head(const dt_kernel_call *call, const dt_reference_sequence *seq, int64_t row,
                       int64_t head, const sums *s)
{
    const dt_attention_spec *spec = &call->op->attr.attention.spec;
    int64_t d = spec->head_dim, heads = spec->heads / spec->groups, group = head / heads;
    int64_t position = seq->position + row - seq->row, place = row * spec->heads * d + head * d;
    dt_reference_span span = dt_reference_visible(spec, position, seq->keys);
    dt_reference_widen(&call->input[DT_ATTENTION_Q], place, d, s->q);
    dt_reference_widen(&call->input[DT_ATTENTION_GRAD], place, d, s->grad);
    double sink = dt_reference_probabilities(call, seq, position, head, s->q, s->key, s->p, s->slope);
    double mean = 0;
    for (int64_t j = span.first; j < span.last; j++) {
        dt_reference_key(call, seq, true, j, group, s->key);
        s->w[j] = dot(s->grad, s->key, d);
        mean += s->p[j] * s->w[j];
    }
    memset(s->dq, 0, (size_t)d * sizeof *s->dq);
    for (int64_t j = span.first; j < span.last; j++) {
        double ds = s->p[j] * (s->w[j] - mean);
        add_key(call, seq, j, group, ds, s);
        add_bias(call, j - position, head, ds, s);
    }
    s->sink[head % heads] -= sink * mean;
    for (int64_t i = 0; call->output[DQ].data != NULL && i < d; i++)
        ((float *)call->output[DQ].data)[place + i] = (float)s->dq[i];
}

/* Round one sequence's and group's sums into the rows of dk and dv. */
static void store_keys(const dt_data *out, const dt_reference_sequence *seq, int64_t group, int64_t d,
                       const double *sum)
{
    for (int64_t j = 0; out->data != NULL && j < seq->keys; j++)
        for (int64_t i = 0; i < d; i++)
            dt_f32_row(out, seq->key + j)[group * d + i] = (float)sum[j * d + i];
}

/* Rows that belong to no sequence get zeros, so every row starts with them. */
static void clear_columns(const dt_data *out, int64_t first, int64_t count)
{
    for (int64_t t = 0; out->data != NULL && t < dt_reference_rows(out); t++)
        memset(dt_f32_row(out, t) + first, 0, (size_t)count * sizeof(float));
}

static void store_tables(const dt_kernel_call *call, int64_t group, const sums *s)
{
    sizes n = sizes_of(call->op);
    for (int64_t h = 0; h < n.heads; h++) {
        int64_t head = group * n.heads + h;
        for (int64_t b = 0; call->output[DBIAS].data != NULL && b < n.buckets; b++)
            dt_f32_row(&call->output[DBIAS], b)[head] = (float)s->bias[b * n.heads + h];
        if (call->output[DSINK].data != NULL)
            ((float *)call->output[DSINK].data)[head] = (float)s->sink[h];
    }
}

static void group_gradient(const dt_kernel_call *call, int64_t group, const sums *s)
{
    sizes n = sizes_of(call->op);
    clear_columns(&call->output[DQ], group * n.heads * n.d, n.heads * n.d);
    clear_columns(&call->output[DK], group * n.d, n.d);
    clear_columns(&call->output[DV], group * n.d, n.d);
    memset(s->bias, 0, (size_t)((n.buckets + 1) * n.heads) * sizeof *s->bias); /* the sinks lie behind it */
    for (int64_t b = 0; b < dt_reference_rows(&call->input[DT_ATTENTION_CU_ROWS]) - 1; b++) {
        dt_reference_sequence seq = dt_reference_sequence_of(call, b);
        memset(s->dk, 0, (size_t)(seq.keys * n.d) * sizeof *s->dk);
        memset(s->dv, 0, (size_t)(seq.keys * n.d) * sizeof *s->dv);
        for (int64_t t = seq.row; t < seq.row + seq.rows; t++)
            for (int64_t h = 0; h < n.heads; h++)
                query_head(call, &seq, t, group * n.heads + h, s);
        store_keys(&call->output[DK], &seq, group, n.d, s->dk);
        store_keys(&call->output[DV], &seq, group, n.d, s->dv);
    }
    store_tables(call, group, s);
}

void dt_reference_attention_grad(const dt_kernel_call *call, int thread, int threads)
{
    sums s = lay_out(call->op, (double *)call->scratch + (size_t)thread * doubles_of(call->op));
    int64_t begin, end;
    dt_share(call->op->attr.attention.spec.groups, 1, thread, threads, &begin, &end);
    for (int64_t group = begin; group < end; group++)
        group_gradient(call, group, &s);
}
