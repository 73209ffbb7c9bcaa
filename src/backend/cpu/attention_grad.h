/*
 * attention_grad.h - d loss / d q, k, v, bias table and sink of attention without a cache.
 *
 * With p the weights of a line and w[j] = grad . v[j]:  ds[j] = p[j] * (w[j] - sum p w);  e = ds * d score / d (q . k);
 * dq = sum e[j] k[j],  dk[j] += e[j] q,  dv[j] += p[j] grad,  dbias[bucket] += ds[j],  dsink = -p_sink * sum p w.
 *
 * Numbers   f32, the weights computed again as attention does but divided out; the tables' sums in f64.
 * Work      keys and values are both laid out in blocks (attention.h), so w comes from the tile that makes scores.
 *           A thread owns groups of heads: it alone writes their columns of dk and dv and their heads of the tables, and
 *           adds ascending lines of ascending sequences. So one group (MQA) keeps one thread busy.
 */
#ifndef DT_CPU_ATTENTION_GRAD_H
#define DT_CPU_ATTENTION_GRAD_H

#include "backend/cpu/attention.h"

enum { GRAD_Q, GRAD_K, GRAD_V, GRAD_BIAS, GRAD_SINK };

typedef struct grad_sizes {
    int64_t keys, buckets, shared, padded; /* keys rounded up to blocks */
} grad_sizes;

static grad_sizes grad_sizes_of(const dt_op *op)
{
    const dt_attention_spec *spec = &op->attr.attention.spec;
    const dt_tensor *table = op->input[DT_ATTENTION_BIAS_TABLE];
    return (grad_sizes){.keys = (most_keys(op) + DT_KV_BLOCK - 1) / DT_KV_BLOCK * DT_KV_BLOCK,
                        .buckets = table == NULL ? 0 : capacity(table, 0),
                        .shared = spec->heads / spec->groups,
                        .padded = (spec->head_dim + 15) / 16 * 16};
}

/* A thread's room: three rows of keys for each line of a tile, the tile's q and gradient, its dq; sums of the tables. */
typedef struct grad_room {
    double *bias, *sink;  /* [buckets][shared], [shared] */
    float *p, *w, *slope; /* [R][keys] */
    float *x, *grad, *dq; /* [D][R], [D][R], [R][padded] */
} grad_room;

static size_t grad_room_bytes(const dt_op *op)
{
    grad_sizes n = grad_sizes_of(op);
    size_t floats = (size_t)(3 * n.keys + 3 * n.padded) * ATTEND_ROWS;
    return round_64((size_t)((n.buckets + 1) * n.shared) * sizeof(double)) + round_64(floats * sizeof(float));
}

static grad_room grad_room_in(const dt_op *op, char *at)
{
    grad_sizes n = grad_sizes_of(op);
    grad_room r = {.bias = (double *)at};
    r.sink = r.bias + n.buckets * n.shared;
    r.p = (float *)(at + round_64((size_t)((n.buckets + 1) * n.shared) * sizeof(double)));
    r.w = r.p + ATTEND_ROWS * n.keys;
    r.slope = r.w + ATTEND_ROWS * n.keys;
    r.x = r.slope + ATTEND_ROWS * n.keys;
    r.grad = r.x + ATTEND_ROWS * n.padded;
    r.dq = r.grad + ATTEND_ROWS * n.padded;
    return r;
}

/* One group of one sequence, as its lines are walked. */
typedef struct grad_call {
    const attend *a;
    const float *packed_v;
    grad_room room;
    grad_sizes n;
    stretch l; /* all lines of the sequence and group */
} grad_call;

/* x[r] . row j of a packed matrix, for the blocks that [from, to) touches. */
static void dot_blocks(const grad_call *c, const float *packed, const float *x, int64_t R, int64_t from,
                       int64_t to, float *out)
{
    const attend *a = c->a;
    _Alignas(64) float s[ATTEND_ROWS * DT_KV_BLOCK];
    for (int64_t block = from / DT_KV_BLOCK; block * DT_KV_BLOCK < to; block++) {
        int64_t at = (packed_block(c->l.s) + block) * a->spec->groups + c->l.group;
        attend_f32.score[R](x, R, packed + at * block_elements(a), a->D, KEY_PANELS, NULL, s);
        for (int64_t r = 0; r < R; r++)
            memcpy(out + r * c->n.keys + block * DT_KV_BLOCK, s + r * DT_KV_BLOCK, DT_KV_BLOCK * sizeof *s);
    }
}

/* d score / d (q . k): the scale, times the slope of the soft cap. */
static INLINE vf score_slope(const attend *a, vf dot_product)
{
    vf factor = v_set((float)a->spec->scale);
    if (a->spec->soft_cap == 0)
        return factor;
    vf t = v_tanh(v_div(v_mul(dot_product, factor), v_set((float)a->spec->soft_cap)));
    return v_mul(factor, v_sub(v_set(1.0f), v_mul(t, t)));
}

/* Products q . k of a line become weights; returns the sink's. Keys outside the blocks of [from, to) are not touched. */
static float soften_line(const grad_call *c, int64_t line, span seen, int64_t from, int64_t to, float *p,
                         float *slope)
{
    const attend *a = c->a;
    const float *sink = a->call->input[DT_ATTENTION_SINK].data;
    int64_t head = head_of(a, &c->l, line), position = line_position(a, &c->l, line);
    vf most = v_set(-INFINITY), sum = v_set(0.0f);
    for (int64_t j = from; j < to; j += 16) {
        v_store(slope + j, score_slope(a, v_load(p + j)));
        vf s = finish_scores(a, v_load(p + j), head, position, j, seen);
        v_store(p + j, s);
        most = v_max(most, s);
    }
    float m = v_most(most);
    if (sink != NULL && sink[head] > m)
        m = sink[head];
    if (m == -INFINITY)
        m = 0.0f; /* sees nothing: all weights are 0 */
    for (int64_t j = from; j < to; j += 16) {
        vf e = v_exp(v_sub(v_load(p + j), v_set(m)));
        v_store(p + j, e);
        sum = v_add(sum, e);
    }
    float taken = sink == NULL ? 0.0f : expf(sink[head] - m), all = v_sum(sum) + taken;
    vf factor = v_set(all > 0.0f || all != all ? 1.0f / all : 0.0f);
    for (int64_t j = from; j < to; j += 16)
        v_store(p + j, v_mul(v_load(p + j), factor));
    return all > 0.0f ? taken / all : 0.0f;
}

/* sum over keys of p[j] * w[j], where p is not 0. */
static float mean_of(const float *p, const float *w, span seen)
{
    vf sum = v_set(0.0f);
    for (int64_t j = seen.first / 16 * 16; j < seen.last; j += 16) {
        vf used = v_select(v_between(seen.first - j, seen.last - j), v_load(w + j), v_set(0.0f));
        sum = v_fma(v_load(p + j), used, sum);
    }
    return v_sum(sum);
}

static void add_to_bias(const grad_call *c, int64_t line, span seen, const float *ds)
{
    int64_t head = line % c->n.shared, position = line_position(c->a, &c->l, line);
    for (int64_t j = seen.first; j < seen.last; j++)
        c->room.bias[bucket_at(c->a->call, j - position) * c->n.shared + head] += (double)ds[j];
}

/* w becomes e; p stays. What a line does not see becomes 0. */
static void score_gradient(const grad_call *c, int64_t line, span seen, float sink, int64_t from, int64_t to,
                           const float *p, const float *slope, float *w)
{
    float mean = mean_of(p, w, seen);
    for (int64_t j = from; j < to; j += 16) {
        vf used = v_select(v_between(seen.first - j, seen.last - j), v_load(w + j), v_set(mean));
        v_store(w + j, v_mul(v_load(p + j), v_sub(used, v_set(mean))));
    }
    if (c->n.buckets > 0)
        add_to_bias(c, line, seen, w);
    for (int64_t j = from; j < to; j += 16) {
        vf e = v_mul(v_load(w + j), v_load(slope + j));
        v_store(w + j, v_select(v_between(seen.first - j, seen.last - j), e, v_set(0.0f)));
    }
    c->room.sink[line % c->n.shared] -= (double)sink * (double)mean;
}

/* out[j] += sum over r of factor[r][j] * x[r], rows of `out` being D columns of a wider matrix. */
static INLINE void spread(const grad_call *c, const float *factor, const float *x, int64_t first,
                          int64_t from, int64_t to, float *out, const int R)
{
    const attend *a = c->a;
    int64_t stride = a->spec->groups * a->D;
    for (int64_t d = 0; d < a->D; d += 16) {
        int64_t n = least(16, a->D - d);
        vf line[ATTEND_ROWS];
        UNROLL for (int r = 0; r < R; r++) line[r] = v_load_n(x + line_place(a, &c->l, first + r) + d, n);
        for (int64_t j = from; j < to; j++) {
            vf sum = v_load_n(out + j * stride + d, n);
            UNROLL for (int r = 0; r < R; r++) sum = v_fma(v_set(factor[r * c->n.keys + j]), line[r], sum);
            v_store_n(out + j * stride + d, sum, n);
        }
    }
}

typedef void spread_function(const grad_call *c, const float *factor, const float *x, int64_t first,
                             int64_t from, int64_t to, float *out);
#define DEFINE_SPREAD(R)                                                                                     \
    static void spread_##R(const grad_call *c, const float *factor, const float *x, int64_t first,           \
                           int64_t from, int64_t to, float *out)                                             \
    {                                                                                                        \
        spread(c, factor, x, first, from, to, out, R);                                                       \
    }
EACH_ATTEND_ROW(DEFINE_SPREAD)
#define SPREAD(R) [R] = spread_##R,
static spread_function *const spreads[ATTEND_ROWS + 1] = {EACH_ATTEND_ROW(SPREAD)};

/* Rows of k, v or their gradients that belong to this sequence and group. */
static float *group_rows(const grad_call *c, const dt_data *data)
{
    return data->data == NULL ? NULL : row_of(data, c->l.s->key) + c->l.group * c->a->D;
}

static void put_dq(const grad_call *c, int64_t first, int64_t R, int64_t from, int64_t to)
{
    const attend *a = c->a;
    values keys = {group_rows(c, &a->call->input[DT_ATTENTION_K]), a->spec->groups * a->D, NULL};
    memset(c->room.dq, 0, (size_t)(R * a->padded) * sizeof(float));
    attend_f32.value[R](c->room.w, c->n.keys, keys, a->D, from, to, NULL, c->room.dq, a->padded);
    for (int64_t r = 0; r < R; r++)
        memcpy((float *)a->call->output[GRAD_Q].data + line_place(a, &c->l, first + r),
               c->room.dq + r * a->padded, (size_t)a->D * sizeof(float));
}

/* R lines: their weights, their scores' gradients, and what these add to dq, dk, dv. */
static void grad_tile(const grad_call *c, int64_t first, int64_t R)
{
    const attend *a = c->a;
    const dt_data *in = a->call->input, *out = a->call->output;
    const float *q = in[DT_ATTENTION_Q].data, *grad = in[DT_ATTENTION_GRAD].data;
    int64_t from = line_span(a, &c->l, first).first, to = line_span(a, &c->l, first + R - 1).last;
    int64_t begin = from / DT_KV_BLOCK * DT_KV_BLOCK,
            end = (to + DT_KV_BLOCK - 1) / DT_KV_BLOCK * DT_KV_BLOCK;
    if (from >= to)
        begin = end = from = to = 0;
    pack_lines(a, &c->l, q, first, R, c->room.x, R);
    pack_lines(a, &c->l, grad, first, R, c->room.grad, R);
    dot_blocks(c, a->packed, c->room.x, R, from, to, c->room.p);
    dot_blocks(c, c->packed_v, c->room.grad, R, from, to, c->room.w);
    for (int64_t r = 0; r < R; r++) {
        float *p = c->room.p + r * c->n.keys, *w = c->room.w + r * c->n.keys,
              *slope = c->room.slope + r * c->n.keys;
        span seen = line_span(a, &c->l, first + r);
        float sink = soften_line(c, first + r, seen, begin, end, p, slope);
        score_gradient(c, first + r, seen, sink, begin, end, p, slope, w);
    }
    if (out[GRAD_Q].data != NULL)
        put_dq(c, first, R, from, to);
    if (out[GRAD_K].data != NULL)
        spreads[R](c, c->room.w, q, first, from, to, group_rows(c, &out[GRAD_K]));
    if (out[GRAD_V].data != NULL)
        spreads[R](c, c->room.p, grad, first, from, to, group_rows(c, &out[GRAD_V]));
}

static void clear_group(const dt_data *out, int64_t column, int64_t count)
{
    for (int64_t t = 0; out->data != NULL && t < out->dim[0]; t++)
        memset(row_of(out, t) + column, 0, (size_t)count * sizeof(float));
}

static void put_tables(const grad_call *c, int64_t group)
{
    const dt_data *out = c->a->call->output;
    for (int64_t h = 0; h < c->n.shared; h++) {
        int64_t head = group * c->n.shared + h;
        for (int64_t b = 0; out[GRAD_BIAS].data != NULL && b < c->n.buckets; b++)
            row_of(&out[GRAD_BIAS], b)[head] = (float)c->room.bias[b * c->n.shared + h];
        if (out[GRAD_SINK].data != NULL)
            ((float *)out[GRAD_SINK].data)[head] = (float)c->room.sink[h];
    }
}

static void group_gradient(grad_call *c, int64_t group)
{
    const attend *a = c->a;
    const dt_data *out = a->call->output;
    clear_group(&out[GRAD_Q], group * c->n.shared * a->D, c->n.shared * a->D);
    clear_group(&out[GRAD_K], group * a->D, a->D);
    clear_group(&out[GRAD_V], group * a->D, a->D);
    memset(c->room.bias, 0,
           (size_t)((c->n.buckets + 1) * c->n.shared) * sizeof(double)); /* the sinks lie behind */
    for (int64_t b = 0; b < a->call->input[DT_ATTENTION_CU_ROWS].dim[0] - 1; b++) {
        sequence s = sequence_of(a->call, b);
        c->l = (stretch){.s = &s, .group = group, .lines = s.rows * c->n.shared};
        tiling tiles = tiles_of(&c->l);
        for (int64_t i = 0; i < tiles.count; i++)
            grad_tile(c, block_begin(tiles, i), block_begin(tiles, i + 1) - block_begin(tiles, i));
    }
    put_tables(c, group);
}

static void attention_grad(const dt_kernel_call *call, int thread, int threads)
{
    attend a = attend_of(call);
    const dt_op *op = call->op;
    float *packed_v = a.packed + packed_floats(op);
    char *rooms = (char *)(packed_v + packed_floats(op));
    int64_t begin, end;
    if (a.bias.row != NULL)
        fill_bias(call, &a.bias, call->scratch, thread, threads);
    pack_blocks(&a, &call->input[DT_ATTENTION_K], a.packed, thread, threads);
    pack_blocks(&a, &call->input[DT_ATTENTION_V], packed_v, thread, threads);
    dt_pool_barrier(call->pool);
    grad_call c = {.a = &a, .packed_v = packed_v, .n = grad_sizes_of(op)};
    c.room = grad_room_in(op, rooms + (size_t)thread * grad_room_bytes(op));
    dt_share(a.spec->groups, 1, thread, threads, &begin, &end);
    for (int64_t group = begin; group < end; group++)
        group_gradient(&c, group);
}

static size_t attention_grad_room(const dt_op *op, int threads)
{
    return (bias_floats(op) + 2 * packed_floats(op)) * sizeof(float) + (size_t)threads * grad_room_bytes(op);
}

#endif
