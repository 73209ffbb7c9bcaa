/*
 * op_rig.c - builds a graph of one op around arrays, runs it, and copies the results out.
 */
#include "backend/op_rig.h"

#include "tensor/convert.h"

#include <math.h>

/* ---- operands ---- */

rig_operand rig_rows(int64_t rows, int64_t cols, float *data)
{
    return (rig_operand){.role = RIG_FLOATS, .axis = "rows", .rank = 2, .dim = {rows, cols}, .data = data};
}

rig_operand rig_vector(int64_t rows, float *data)
{
    return (rig_operand){.role = RIG_FLOATS, .axis = "rows", .rank = 1, .dim = {rows}, .data = data};
}

rig_operand rig_ids(int64_t rows, int32_t *data)
{
    return (rig_operand){.role = RIG_INTS, .axis = "rows", .rank = 1, .dim = {rows}, .data = data};
}

rig_operand rig_choices(int64_t rows, int64_t k, int32_t *data)
{
    return (rig_operand){.role = RIG_INTS, .axis = "rows", .rank = 2, .dim = {rows, k}, .data = data};
}

rig_operand rig_planes(int64_t rows, int64_t k, int64_t cols, float *data)
{
    return (rig_operand){.role = RIG_FLOATS, .axis = "rows", .rank = 3, .dim = {rows, k, cols}, .data = data};
}

rig_operand rig_fixed(int64_t n, float *data)
{
    return (rig_operand){.role = RIG_FLOATS, .rank = 1, .dim = {n}, .data = data};
}

rig_operand rig_weight(int64_t rows, int64_t cols, float *data)
{
    return (rig_operand){.role = RIG_WEIGHT, .rank = cols == 0 ? 1 : 2, .dim = {rows, cols}, .data = data};
}

rig_operand rig_on(rig_operand operand, const char *axis)
{
    operand.axis = axis;
    return operand;
}

rig_operand rig_lengths(int64_t sequences, int32_t *cu)
{
    return (rig_operand){
        .role = RIG_INTS, .axis = "sequences", .extra = 1, .rank = 1, .dim = {sequences + 1}, .data = cu};
}

float *rig_numbers(int64_t n, uint32_t seed)
{
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        uint32_t h = (uint32_t)i * 2654435761u + seed * 40503u + 12345u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        x[i] = (float)((int32_t)(h >> 8 & 2047) - 1024) / 1024.0f;
    }
    return x;
}

/* ---- sources ---- */

static const rig_array *find(const rig_arrays *arrays, const char *name)
{
    for (int i = 0; i < arrays->count; i++)
        if (strcmp(arrays->array[i].name, name) == 0)
            return &arrays->array[i];
    return NULL;
}

static dt_status describe(void *user, const char *name, dt_shape *shape, dt_dtype *dtype, dt_error *err)
{
    const rig_array *a = find(user, name);
    if (a == NULL)
        return dt_fail(err, DT_NOT_FOUND, "no parameter \"%s\"", name);
    *shape = a->shape;
    *dtype = a->dtype;
    return DT_OK;
}

static int64_t cols_of(const rig_array *a)
{
    return a->shape.rank == 2 ? a->shape.dim[1] : 1;
}

static dt_status read_rows(void *user, const char *name, int64_t row, int64_t rows, dt_dtype dtype, void *out,
                           dt_error *err)
{
    const rig_array *a = find(user, name);
    int64_t block = dt_dtype_block_elements(a->dtype);
    const char *from = (const char *)a->data + row * cols_of(a) / block * dt_dtype_block_bytes(a->dtype);
    __atomic_fetch_add(&((rig_arrays *)user)->reads, 1, __ATOMIC_RELAXED);
    return dt_convert(dtype, out, a->dtype, from, rows * cols_of(a), err);
}

static const void *direct(void *user, const char *name, dt_dtype dtype)
{
    const rig_arrays *arrays = user;
    const rig_array *a = find(arrays, name);
    return arrays->mapped && a->dtype == dtype ? a->data : NULL;
}

static void drop(void *user, const char *name)
{
    ((rig_arrays *)user)->drops++;
    assert_non_null(find(user, name));
}

dt_weight_source rig_source(rig_arrays *arrays)
{
    return (dt_weight_source){
        .user = arrays, .describe = describe, .read = read_rows, .direct = direct, .drop = drop};
}

/* ---- one op ---- */

static const char *const operand_name[DT_OP_MAX_INPUTS] = {"in0", "in1", "in2", "in3",  "in4",  "in5", "in6",
                                                           "in7", "in8", "in9", "in10", "in11", "in12"};

static dt_tensor *make_operand(dt_graph *g, const rig_case *c, int i)
{
    const rig_operand *o = &c->in[i];
    dt_dim dim[3] = {{NULL, o->dim[0]}, {NULL, o->dim[1]}, {NULL, o->dim[2]}};
    if (o->axis != NULL)
        dim[0] = (dt_dim){dt_graph_axis(g, o->axis, o->dim[0] - o->extra + c->slack), o->extra};
    switch (o->role) {
    case RIG_FLOATS:
        return dt_graph_input(g, operand_name[i], DT_F32, o->rank, dim);
    case RIG_INTS:
        return dt_graph_input(g, operand_name[i], DT_I32, o->rank, dim);
    case RIG_STATE:
        return dt_graph_state(g, operand_name[i], o->dtype, o->rank, dim);
    case RIG_WEIGHT:
        return dt_graph_param(
            g, &(dt_param_spec){.name = operand_name[i], .rank = o->rank, .dim = {o->dim[0], o->dim[1]}});
    case RIG_ABSENT:
        break;
    }
    return NULL;
}

typedef struct rig {
    dt_graph *g;
    dt_op *op;
    dt_pool *pool;
    dt_weights *weights;
    dt_executor *executor;
    rig_array array[DT_OP_MAX_INPUTS];
    rig_arrays arrays;
} rig;

static void build(rig *r, const rig_case *c, dt_error *err)
{
    dt_tensor *in[DT_OP_MAX_INPUTS];
    int count = 0;
    r->g = dt_graph_create(err);
    assert_non_null(r->g);
    for (int i = 0; i < DT_OP_MAX_INPUTS; i++) {
        const rig_operand *o = &c->in[i];
        in[i] = make_operand(r->g, c, i);
        if (o->role != RIG_ABSENT)
            count = i + 1;
        if (o->role == RIG_WEIGHT)
            r->array[r->arrays.count++] =
                (rig_array){operand_name[i], dt_shape_of(o->rank, o->dim), DT_F32, o->data};
    }
    int least = dt_op_info_of(c->kind)->max_inputs;
    if (c->kind == DT_OP_attention || c->kind == DT_OP_attention_grad || c->kind == DT_OP_fused_linear)
        count = least; /* these name all their places */
    r->op = dt_graph_add_op(r->g, c->kind, count, in, &c->attr);
    assert_ok(dt_graph_finish(r->g, err), *err);
}

static void ready(rig *r, const rig_case *c, dt_error *err)
{
    const dt_backend *backend;
    r->arrays.array = r->array;
    dt_weight_source source = rig_source(&r->arrays);
    assert_ok(dt_backend_find(&backend, c->backend ? c->backend : "reference", c->dtype, c->isa, err), *err);
    assert_ok(dt_pool_create(&r->pool, c->threads ? c->threads : 1, err), *err);
    assert_ok(dt_weights_create(&r->weights, &source, r->pool, err), *err);
    assert_ok(dt_executor_create(&r->executor, backend, r->g, r->weights, r->pool, NULL, err), *err);
    for (int i = 0; i < DT_OP_MAX_INPUTS; i++) {
        const rig_operand *o = &c->in[i];
        if (o->role == RIG_ABSENT || o->role == RIG_WEIGHT)
            continue;
        assert_ok(dt_executor_bind(r->executor, operand_name[i], o->data, err), *err);
        if (o->axis != NULL)
            assert_ok(dt_executor_count(r->executor, o->axis, o->dim[0] - o->extra, err), *err);
    }
}

static void copy_out(rig *r, rig_result *result, dt_error *err)
{
    result->count = r->op->output_count;
    for (int i = 0; i < r->op->output_count; i++) {
        if (r->op->output[i] == NULL)
            continue;
        dt_data data;
        assert_ok(dt_executor_read_tensor(r->executor, r->op->output[i], &data, err), *err);
        result->n[i] = 1;
        for (int d = 0; d < data.rank; d++)
            result->n[i] *= data.dim[d];
        result->out[i] = malloc((size_t)result->n[i] * sizeof(float) + 1);
        assert_non_null(result->out[i]);
        memcpy(result->out[i], data.data, (size_t)result->n[i] * sizeof(float));
    }
}

dt_status rig_try(const rig_case *c, rig_result *result, dt_error *err)
{
    rig r = {0};
    *result = (rig_result){0};
    build(&r, c, err);
    ready(&r, c, err);
    dt_status status = dt_executor_run(r.executor, err);
    if (status == DT_OK)
        copy_out(&r, result, err);
    dt_executor_destroy(r.executor);
    dt_weights_destroy(r.weights);
    dt_pool_destroy(r.pool);
    dt_graph_destroy(r.g);
    return status;
}

rig_result rig_run(const rig_case *c)
{
    rig_result result;
    dt_error err = {0};
    assert_ok(rig_try(c, &result, &err), err);
    return result;
}

void rig_free(rig_result *result)
{
    for (int i = 0; i < DT_OP_MAX_OUTPUTS; i++)
        free(result->out[i]);
    *result = (rig_result){0};
}

/* ---- comparing ---- */

void assert_same_bits(const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("element %lld: %a is not %a", (long long)i, (double)a[i], (double)b[i]);
}

void assert_near(const float *found, const double *expected, int64_t n, double tolerance)
{
    double most = 1e-30;
    for (int64_t i = 0; i < n; i++)
        most = fabs(expected[i]) > most ? fabs(expected[i]) : most;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)found[i] - expected[i]) <= tolerance * most))
            fail_msg("element %lld: found %.9g, expected %.9g", (long long)i, (double)found[i], expected[i]);
}
