/*
 * bias.h - T5's bucketed bias as attention adds it: for each head one row of values by distance, made once a call.
 *
 * A row is as long as the distances that differ (the most distance, or the keys there can be), so it stays in L1 or L2,
 * and 16 neighbouring keys are one load. ALiBi's rows go by the key's own position. Nothing of size T x T exists.
 */
#ifndef DT_CPU_BIAS_H
#define DT_CPU_BIAS_H

#include "backend/alibi.h"
#include "backend/bucket.h"
#include "backend/cpu/product.h"
#include "backend/cpu/rows.h"

typedef struct bias_rows {
    const float *row; /* of head 0; NULL without a bias */
    int64_t reach;    /* distances beyond +-reach have the values there */
    int64_t length;   /* of a row: 2 reach + 1, and 16 more at each end so that a vector may hang over */
    bool absolute;    /* ALiBi: entry i is for key i */
} bias_rows;

static int64_t most_keys(const dt_op *op)
{
    if (op->input[DT_ATTENTION_K_CACHE] != NULL)
        return capacity(op->input[DT_ATTENTION_BLOCK_TABLE], 1) * DT_KV_BLOCK;
    return capacity(op->input[DT_ATTENTION_K], 0);
}

static bias_rows bias_rows_of(const dt_op *op, const float *room)
{
    bias_rows b = {0};
    if (op->attr.attention.spec.alibi)
        return (bias_rows){
            .row = room, .absolute = true, .length = (most_keys(op) + DT_KV_BLOCK + 15) / 16 * 16};
    if (op->input[DT_ATTENTION_BIAS_TABLE] == NULL)
        return b;
    int64_t far = op->attr.attention.spec.bias_max_distance, keys = most_keys(op);
    int64_t rows = capacity(op->input[DT_ATTENTION_Q], 0), span = keys > rows ? keys : rows;
    int64_t buckets = capacity(op->input[DT_ATTENTION_BIAS_TABLE], 0);
    far = far > buckets ? far
                        : buckets; /* the first half of the buckets are single distances, whatever the most */
    b.reach = far < span ? least(far + far / 64 + 2, span) : span; /* f32 logarithms may reach the end late */
    b.length = 2 * b.reach + 33;
    b.row = room;
    return b;
}

static int64_t bucket_at(const dt_kernel_call *call, int64_t distance)
{
    const dt_attention_spec *spec = &call->op->attr.attention.spec;
    return dt_relative_bucket(distance, call->input[DT_ATTENTION_BIAS_TABLE].dim[0], spec->bias_max_distance,
                              spec->bias_bidirectional);
}

static void fill_alibi(const dt_attention_spec *spec, const bias_rows *b, float *room, int64_t begin,
                       int64_t end)
{
    for (int64_t h = 0; h < spec->heads; h++) {
        float slope = dt_alibi_slope(h, spec->heads);
        for (int64_t i = begin; i < end; i++)
            room[h * b->length + i] = dt_alibi_bias(slope, i, spec->head_dim);
    }
}

/* Each thread fills a share of the distances, for all heads. */
static void fill_bias(const dt_kernel_call *call, const bias_rows *b, float *room, int thread, int threads)
{
    const dt_data *table = &call->input[DT_ATTENTION_BIAS_TABLE];
    int64_t heads = call->op->attr.attention.spec.heads, begin, end;
    dt_share(b->length, 16, thread, threads, &begin, &end);
    if (b->absolute) {
        fill_alibi(&call->op->attr.attention.spec, b, room, begin, end);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        int64_t distance = i - 16 - b->reach;
        distance = distance > b->reach ? b->reach : distance < -b->reach ? -b->reach : distance;
        const float *by_head = row_of(table, bucket_at(call, distance));
        for (int64_t h = 0; h < heads; h++)
            room[h * b->length + i] = by_head[h];
    }
}

/* The bias of 16 keys from `key` on, for a query at `position`. */
static INLINE vf bias_at(const bias_rows *b, int64_t head, int64_t key, int64_t position)
{
    int64_t i = b->absolute ? key : key - position + b->reach + 16;
    i = i < 0 ? 0 : i > b->length - 16 ? b->length - 16 : i;
    return v_load(b->row + head * b->length + i);
}

#endif
