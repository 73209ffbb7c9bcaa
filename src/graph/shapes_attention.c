/*
 * shapes_attention.c - the shape rules of attention, its gradient, and kv_store; see shapes.c.
 *
 * Attention has three uses (drivetrain/graph.h): without a cache, appending to one, and reading one. Which inputs
 * must be there depends on the use, so these rules look for absent ones themselves.
 */
#include "graph/rules.h"

#include <math.h>

static const char *name_of(const dt_op *op)
{
    return dt_op_info_of(op->kind)->name;
}

static dt_status check_spec(const dt_op *op, dt_error *err)
{
    const dt_attention_spec *s = &op->attr.attention.spec;
    const char *op_name = name_of(op);
    if (s->heads < 1 || s->groups < 1 || s->head_dim < 1 || s->heads % s->groups)
        return dt_fail(err, DT_INVALID, "%s: %lld heads of size %lld do not fall into %lld groups", op_name,
                       (long long)s->heads, (long long)s->head_dim, (long long)s->groups);
    int64_t columns;
    if (__builtin_mul_overflow(s->heads, s->head_dim, &columns))
        return dt_fail(err, DT_LIMIT, "%s: %lld heads of size %lld are too many", op_name,
                       (long long)s->heads, (long long)s->head_dim);
    if (!isfinite(s->scale) || !(s->soft_cap >= 0) || !isfinite(s->soft_cap))
        return dt_fail(err, DT_INVALID, "%s: scale %g and soft cap %g must be finite, the cap not negative",
                       op_name, s->scale, s->soft_cap);
    if (s->window_left < -1 || s->window_right < -1)
        return dt_fail(err, DT_INVALID, "%s: windows %lld and %lld: -1 means no limit, less means nothing",
                       op_name, (long long)s->window_left, (long long)s->window_right);
    return DT_OK;
}

/* [B + 1] i32; returns B in *sequences. */
static dt_status need_lengths(const dt_op *op, const char *role, const dt_tensor *t, dt_dim *sequences,
                              dt_error *err)
{
    DT_PASS(dt_need_indices(op, role, t, err));
    if (t->dim[0].n < 1)
        return dt_bad_shape(op, role, t, err, "have one entry more than there are sequences");
    *sequences = (dt_dim){t->dim[0].axis, t->dim[0].n - 1};
    return DT_OK;
}

/* What describes a cache: past [B], block_table [B, blocks], and the two states. */
typedef struct cache_inputs {
    const dt_tensor *past, *table, *k_cache, *v_cache;
    int64_t columns; /* K · D */
} cache_inputs;

static dt_status need_state(const dt_op *op, const char *role, const dt_tensor *t, int64_t columns,
                            dt_error *err)
{
    if (!t)
        return dt_fail(err, DT_INVALID, "%s needs both caches, %s is NULL", name_of(op), role);
    if (t->kind != DT_TENSOR_STATE || !dt_dtype_is_float(t->dtype))
        return dt_bad_shape(op, role, t, err, "be a state of floating type, made by dt_graph_state");
    if (t->rank != 3 || !dt_dim_equal(t->dim[1], (dt_dim){NULL, DT_KV_BLOCK}) ||
        !dt_dim_equal(t->dim[2], (dt_dim){NULL, columns}))
        return dt_bad_shape(op, role, t, err,
                            "be [blocks, %d, %lld]: %d positions a block, groups · head size wide",
                            DT_KV_BLOCK, (long long)columns, DT_KV_BLOCK);
    return DT_OK;
}

static dt_status check_cache(const dt_op *op, const cache_inputs *in, dt_dim sequences, dt_error *err)
{
    DT_PASS(need_state(op, "k_cache", in->k_cache, in->columns, err));
    DT_PASS(need_state(op, "v_cache", in->v_cache, in->columns, err));
    if (in->k_cache == in->v_cache)
        return dt_fail(err, DT_INVALID, "%s: k_cache and v_cache are one tensor", name_of(op));
    if (in->k_cache->dtype != in->v_cache->dtype || !dt_dim_equal(in->k_cache->dim[0], in->v_cache->dim[0]))
        return dt_bad_shape(op, "v_cache", in->v_cache, err, "be like k_cache %s",
                            dt_tensor_print(in->k_cache).text);
    DT_PASS(dt_need_indices(op, "past", in->past, err));
    if (!dt_dim_equal(in->past->dim[0], sequences))
        return dt_bad_shape(op, "past", in->past, err, "be %s, one for each sequence",
                            dt_dims_print(1, &sequences).text);
    if (!in->table)
        return dt_fail(err, DT_INVALID, "%s needs a block_table, which is NULL", name_of(op));
    if (in->table->rank != 2 || in->table->dtype != DT_I32 || !dt_dim_equal(in->table->dim[0], sequences))
        return dt_bad_shape(op, "block_table", in->table, err, "be i32 [%s, blocks of a sequence]",
                            dt_dims_print(1, &sequences).text);
    return DT_OK;
}

/* k, v [S, K · D] */
static dt_status check_keys(const dt_op *op, const dt_tensor *k, const dt_tensor *v, int64_t columns,
                            dt_error *err)
{
    DT_PASS(dt_need_matrix(op, "k", k, err));
    if (!dt_dim_equal(k->dim[1], (dt_dim){NULL, columns}))
        return dt_bad_shape(op, "k", k, err, "have %lld columns, groups · head size", (long long)columns);
    return dt_need_shape_of(op, "v", v, "k", k, err);
}

static dt_status check_extras(const dt_op *op, dt_error *err)
{
    const dt_attention_spec *s = &op->attr.attention.spec;
    const dt_tensor *table = op->input[DT_ATTENTION_BIAS_TABLE], *sink = op->input[DT_ATTENTION_SINK];
    if (table && s->alibi)
        return dt_fail(err, DT_INVALID, "%s: alibi and a bias table exclude each other", name_of(op));
    if (table) {
        DT_PASS(dt_need_matrix(op, "bias_table", table, err));
        if (table->dim[0].axis || table->dim[0].n < (s->bias_bidirectional ? 4 : 2) ||
            !dt_dim_equal(table->dim[1], (dt_dim){NULL, s->heads}))
            return dt_bad_shape(op, "bias_table", table, err, "be [buckets, %lld]: a column for each head",
                                (long long)s->heads);
        if (s->bias_max_distance < 1)
            return dt_fail(err, DT_INVALID, "%s: a bias table needs bias_max_distance, not %lld", name_of(op),
                           (long long)s->bias_max_distance);
    }
    if (sink)
        DT_PASS(dt_need_vector(op, "sink", sink, (dt_dim){NULL, s->heads}, "one for each head", err));
    return DT_OK;
}

static dt_status check_rows(const dt_op *op, dt_dim *sequences, dt_error *err)
{
    const dt_attention_spec *s = &op->attr.attention.spec;
    const dt_tensor *q = op->input[DT_ATTENTION_Q];
    DT_PASS(dt_need_matrix(op, "q", q, err));
    if (!dt_dim_equal(q->dim[1], (dt_dim){NULL, s->heads * s->head_dim}))
        return dt_bad_shape(op, "q", q, err, "have %lld columns, heads · head size",
                            (long long)(s->heads * s->head_dim));
    return need_lengths(op, "rows.cu_seqlens", op->input[DT_ATTENTION_CU_ROWS], sequences, err);
}

static dt_status check_key_rows(const dt_op *op, dt_dim sequences, dt_error *err)
{
    const dt_tensor *cu_rows = op->input[DT_ATTENTION_CU_ROWS], *cu_keys = op->input[DT_ATTENTION_CU_KEYS];
    const dt_tensor *q = op->input[DT_ATTENTION_Q], *k = op->input[DT_ATTENTION_K];
    const dt_attention_spec *s = &op->attr.attention.spec;
    DT_PASS(check_keys(op, k, op->input[DT_ATTENTION_V], s->groups * s->head_dim, err));
    dt_dim key_sequences;
    DT_PASS(need_lengths(op, "keys.cu_seqlens", cu_keys, &key_sequences, err));
    if (!dt_dim_equal(sequences, key_sequences))
        return dt_bad_shape(op, "keys.cu_seqlens", cu_keys, err,
                            "count the same sequences as rows.cu_seqlens %s", dt_tensor_print(cu_rows).text);
    if (op->attr.attention.self && !dt_dim_equal(q->dim[0], k->dim[0]))
        return dt_bad_shape(op, "k", k, err, "have the rows of q %s, since both have the same cu_seqlens",
                            dt_tensor_print(q).text);
    return DT_OK;
}

static dt_status check_attention(const dt_op *op, dt_error *err)
{
    dt_tensor *const *in = op->input;
    dt_dim sequences;
    DT_PASS(check_spec(op, err));
    DT_PASS(check_rows(op, &sequences, err));
    bool cached = in[DT_ATTENTION_K_CACHE] || in[DT_ATTENTION_V_CACHE];
    if (!cached || in[DT_ATTENTION_K] || in[DT_ATTENTION_V])
        DT_PASS(check_key_rows(op, sequences, err));
    if (cached) {
        const dt_attention_spec *s = &op->attr.attention.spec;
        cache_inputs cache = {in[DT_ATTENTION_PAST], in[DT_ATTENTION_BLOCK_TABLE], in[DT_ATTENTION_K_CACHE],
                              in[DT_ATTENTION_V_CACHE], s->groups * s->head_dim};
        DT_PASS(check_cache(op, &cache, sequences, err));
    }
    return check_extras(op, err);
}

/* The inputs of ir.h's enum → as q */
dt_status dt_shape_attention(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(check_attention(op, err));
    dt_signature_add_like(out, op->input[DT_ATTENTION_Q]);
    return DT_OK;
}

/* The same, the output, its gradient → dq, dk, dv, dbias_table, dsink. An output that is present is wanted; a new
 * op wants all that can be, and the gradient pass drops what it does not need. */
dt_status dt_shape_attention_grad(const dt_op *op, dt_signature *out, dt_error *err)
{
    static const int wrt[] = {DT_ATTENTION_Q, DT_ATTENTION_K, DT_ATTENTION_V, DT_ATTENTION_BIAS_TABLE,
                              DT_ATTENTION_SINK};
    DT_PASS(check_attention(op, err));
    if (op->input[DT_ATTENTION_K_CACHE])
        return dt_fail(err, DT_UNSUPPORTED, "%s: attention over a cache has no gradient", name_of(op));
    const dt_tensor *q = op->input[DT_ATTENTION_Q];
    DT_PASS(dt_need_shape_of(op, "the output", op->input[DT_ATTENTION_OUT], "q", q, err));
    DT_PASS(dt_need_shape_of(op, "the output's gradient", op->input[DT_ATTENTION_GRAD], "q", q, err));
    for (int i = 0; i < 5; i++) {
        if (op->input[wrt[i]])
            dt_signature_add_like(out, op->input[wrt[i]]);
        else
            dt_signature_skip(out);
    }
    return DT_OK;
}

/* (k, v [S, K · D], cu_seqlens, past, block_table, k_cache, v_cache) → nothing */
dt_status dt_shape_kv_store(const dt_op *op, dt_signature *out, dt_error *err)
{
    dt_tensor *const *in = op->input;
    int64_t columns;
    (void)out;
    if (op->attr.kv_store.groups < 1 || op->attr.kv_store.head_dim < 1 ||
        __builtin_mul_overflow(op->attr.kv_store.groups, op->attr.kv_store.head_dim, &columns))
        return dt_fail(err, DT_INVALID, "%s: %lld groups of head size %lld", name_of(op),
                       (long long)op->attr.kv_store.groups, (long long)op->attr.kv_store.head_dim);
    DT_PASS(check_keys(op, in[DT_KV_STORE_K], in[DT_KV_STORE_V], columns, err));
    dt_dim sequences;
    DT_PASS(need_lengths(op, "cu_seqlens", in[DT_KV_STORE_CU_SEQLENS], &sequences, err));
    cache_inputs cache = {in[DT_KV_STORE_PAST], in[DT_KV_STORE_BLOCK_TABLE], in[DT_KV_STORE_K_CACHE],
                          in[DT_KV_STORE_V_CACHE], columns};
    return check_cache(op, &cache, sequences, err);
}
