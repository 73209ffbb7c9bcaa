/*
 * executor_test.c - running a graph: bindings and counts, what is checked before, what stands in for what, what may
 * be read after, and that a run neither allocates nor remembers.
 */
#include "backend/op_rig.h"

#include <math.h>

enum { H = 16, F = 24, CAPACITY = 12 };

/* x [tokens, H] → rms_norm → linear → gelu → linear → + x, with points on the way. */
typedef struct model {
    dt_graph *g;
    dt_pool *pool;
    dt_weights *weights;
    dt_executor *executor;
    rig_array array[3];
    rig_arrays arrays;
    dt_tensor *hidden;
    dt_error err;
} model;

static dt_tensor *param(model *m, const char *name, int64_t rows, int64_t cols, uint32_t seed)
{
    int rank = cols == 0 ? 1 : 2;
    int64_t dims[2] = {rows, cols};
    m->array[m->arrays.count++] =
        (rig_array){name, dt_shape_of(rank, dims), DT_F32, rig_numbers(rows * (cols ? cols : 1), seed)};
    return dt_graph_param(m->g, &(dt_param_spec){.name = name, .rank = rank, .dim = {rows, cols}});
}

static dt_tensor *build_mlp(model *m, int64_t capacity)
{
    dt_graph *g = m->g;
    dt_axis *tokens = dt_graph_axis(g, "tokens", capacity);
    dt_tensor *x = dt_graph_input(g, "x", DT_F32, 2, (dt_dim[]){{tokens, 0}, {NULL, H}});
    dt_tensor *norm = param(m, "norm", H, 0, 1), *up = param(m, "up", F, H, 2),
              *down = param(m, "down", H, F, 3);
    m->hidden = dt_linear(g, dt_rms_norm(g, x, norm, 1e-6, false), up, NULL);
    dt_point(g, m->hidden, "out.hidden");
    dt_tensor *y = dt_linear(g, dt_activate(g, m->hidden, DT_ACT_GELU), down, NULL);
    return dt_point(g, dt_add(g, x, y), "out.y");
}

static void make_ready(model *m, const dt_backend *backend, const dt_executor_options *options, int threads)
{
    m->arrays.array = m->array;
    dt_weight_source source = rig_source(&m->arrays);
    assert_ok(dt_graph_finish(m->g, &m->err), m->err);
    assert_ok(dt_pool_create(&m->pool, threads, &m->err), m->err);
    assert_ok(dt_weights_create(&m->weights, &source, m->pool, &m->err), m->err);
    if (backend == NULL)
        assert_ok(dt_backend_find(&backend, "reference", DT_F32, NULL, &m->err), m->err);
    assert_ok(dt_executor_create(&m->executor, backend, m->g, m->weights, m->pool, options, &m->err), m->err);
}

static void start(model *m)
{
    memset(m, 0, sizeof *m);
    m->g = dt_graph_create(&m->err);
    assert_non_null(m->g);
}

static void open_mlp(model *m, int threads, bool keep_points)
{
    start(m);
    build_mlp(m, CAPACITY);
    make_ready(m, NULL, &(dt_executor_options){.keep_points = keep_points}, threads);
}

static void close_model(model *m)
{
    dt_executor_destroy(m->executor);
    dt_weights_destroy(m->weights);
    dt_pool_destroy(m->pool);
    dt_graph_destroy(m->g);
    for (int i = 0; i < m->arrays.count; i++)
        free((void *)m->array[i].data);
}

static const float *run_mlp(model *m, float *x, int64_t tokens)
{
    dt_data y;
    assert_ok(dt_executor_bind(m->executor, "x", x, &m->err), m->err);
    assert_ok(dt_executor_count(m->executor, "tokens", tokens, &m->err), m->err);
    assert_ok(dt_executor_run(m->executor, &m->err), m->err);
    assert_ok(dt_executor_read(m->executor, "out.y", &y, &m->err), m->err);
    assert_int_equal(y.rank, 2);
    assert_int_equal(y.dim[0], tokens);
    assert_int_equal(y.dim[1], H);
    return y.data;
}

/* ---- runs ---- */

static void executor__computes_what_the_graph_says(void **state)
{
    model m;
    float *x = rig_numbers(CAPACITY * H, 7);
    open_mlp(&m, 1, false);
    const float *y = run_mlp(&m, x, 3), *norm = m.array[0].data, *up = m.array[1].data,
                *down = m.array[2].data;
    for (int t = 0; t < 3; t++) {
        double squares = 0, hidden[F], out[H];
        for (int i = 0; i < H; i++)
            squares += (double)x[t * H + i] * (double)x[t * H + i];
        for (int f = 0; f < F; f++) {
            double sum = 0;
            for (int i = 0; i < H; i++)
                sum +=
                    (double)x[t * H + i] / sqrt(squares / H + 1e-6) * (double)norm[i] * (double)up[f * H + i];
            hidden[f] = sum / 2 * (1 + erf(sum / sqrt(2.0)));
        }
        for (int i = 0; i < H; i++) {
            out[i] = x[t * H + i];
            for (int f = 0; f < F; f++)
                out[i] += hidden[f] * (double)down[i * F + f];
        }
        assert_near(y + t * H, out, H, 5e-7); /* four roundings to f32 on the way */
    }
    close_model(&m), free(x);
}

/* Steps of other sizes, before or after, on one thread or three, leave no trace. */
static void executor__a_run_remembers_nothing(void **state)
{
    model one, three;
    float *x = rig_numbers(CAPACITY * H, 7), first[CAPACITY * H];
    open_mlp(&one, 1, false);
    open_mlp(&three, 3, true);
    memcpy(first, run_mlp(&one, x, CAPACITY), sizeof first);
    static const int64_t counts[] = {1, CAPACITY, 5, 0, 2};
    for (int i = 0; i < 5; i++) {
        assert_same_bits(run_mlp(&one, x, counts[i]), first, counts[i] * H);
        assert_same_bits(run_mlp(&three, x, counts[i]), first, counts[i] * H);
    }
    float *other = rig_numbers(CAPACITY * H, 8);
    assert_memory_not_equal(run_mlp(&one, other, 2), first, 2 * H * sizeof(float));
    assert_same_bits(run_mlp(&one, x, 2), first, 2 * H);
    close_model(&one), close_model(&three), free(x), free(other);
}

static int allocations;
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __real_realloc(old, bytes);
}

static void executor__a_run_allocates_nothing(void **state)
{
    model m;
    float *x = rig_numbers(CAPACITY * H, 7);
    allocations = 0;
    open_mlp(&m, 2, false);
    assert_true(allocations > 0); /* the count works */
    allocations = 0;
    for (int64_t tokens = 1; tokens <= CAPACITY; tokens++)
        run_mlp(&m, x, tokens);
    assert_int_equal(allocations, 0);
    close_model(&m), free(x);
}

static size_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    int fields = fscanf(file, "%lu %lu", &size, &resident);
    fclose(file);
    return fields == 2 ? resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static void executor__capacity_costs_no_memory_until_used(void **state)
{
    model m;
    float *x = rig_numbers(4 * H, 7);
    size_t before = resident_bytes();
    if (before == 0)
        skip();
    start(&m);
    build_mlp(&m, 1 << 20);
    make_ready(&m, NULL, NULL, 1);
    run_mlp(&m, x, 4);
    assert_true(dt_executor_bytes(m.executor) > (size_t)(1 << 20) * H * sizeof(float));
    assert_true(resident_bytes() - before < (size_t)16 << 20);
    close_model(&m), free(x);
}

/* ---- bindings and counts ---- */

static void executor__refuses_what_is_not_there(void **state)
{
    model m;
    float x[H];
    open_mlp(&m, 1, false);
    assert_fails(dt_executor_run(m.executor, &m.err), DT_INVALID, m.err, "input \"x\" is not bound");
    assert_fails(dt_executor_bind(m.executor, "z", x, &m.err), DT_NOT_FOUND, m.err,
                 "no input or state \"z\"");
    assert_fails(dt_executor_bind(m.executor, "up", x, &m.err), DT_NOT_FOUND, m.err,
                 "no input or state \"up\"");
    assert_fails(dt_executor_count(m.executor, "tokens", CAPACITY + 1, &m.err), DT_LIMIT, m.err,
                 "axis \"tokens\" was planned for at most 12, not 13");
    assert_fails(dt_executor_count(m.executor, "tokens", -1, &m.err), DT_LIMIT, m.err, "not -1");
    assert_fails(dt_executor_count(m.executor, "patches", 1, &m.err), DT_NOT_FOUND, m.err,
                 "no axis \"patches\"");
    close_model(&m);
}

static void executor__an_unfinished_graph_is_refused(void **state)
{
    model m;
    const dt_backend *backend;
    start(&m);
    build_mlp(&m, CAPACITY);
    m.arrays.array = m.array;
    dt_weight_source source = rig_source(&m.arrays);
    assert_ok(dt_pool_create(&m.pool, 1, &m.err), m.err);
    assert_ok(dt_weights_create(&m.weights, &source, m.pool, &m.err), m.err);
    assert_ok(dt_backend_find(&backend, "reference", DT_F32, NULL, &m.err), m.err);
    assert_fails(dt_executor_create(&m.executor, backend, m.g, m.weights, m.pool, NULL, &m.err), DT_INVALID,
                 m.err, "dt_graph_finish");
    assert_null(m.executor);
    close_model(&m);
}

static void executor__a_parameter_of_another_shape_is_named(void **state)
{
    model m;
    const dt_backend *backend;
    start(&m);
    build_mlp(&m, CAPACITY);
    m.array[1].shape.dim[0] = F - 1;
    m.arrays.array = m.array;
    dt_weight_source source = rig_source(&m.arrays);
    assert_ok(dt_graph_finish(m.g, &m.err), m.err);
    assert_ok(dt_pool_create(&m.pool, 1, &m.err), m.err);
    assert_ok(dt_weights_create(&m.weights, &source, m.pool, &m.err), m.err);
    assert_ok(dt_backend_find(&backend, "reference", DT_F32, NULL, &m.err), m.err);
    assert_fails(dt_executor_create(&m.executor, backend, m.g, m.weights, m.pool, NULL, &m.err), DT_MISMATCH,
                 m.err, "parameter \"up\": the model wants [24, 16], the checkpoint holds [23, 16]");
    close_model(&m);
}

static void executor__reads_points_only_when_kept(void **state)
{
    model plain, kept;
    dt_data hidden, y;
    float *x = rig_numbers(CAPACITY * H, 7);
    open_mlp(&plain, 1, false), open_mlp(&kept, 1, true);
    run_mlp(&plain, x, 3), run_mlp(&kept, x, 3);
    assert_fails(dt_executor_read(plain.executor, "out.hidden", &hidden, &plain.err), DT_INVALID, plain.err,
                 "out.hidden does not outlive a run");
    assert_ok(dt_executor_read(kept.executor, "out.hidden", &hidden, &kept.err), kept.err);
    assert_ok(dt_executor_read_tensor(kept.executor, kept.hidden, &y, &kept.err), kept.err);
    assert_ptr_equal(hidden.data, y.data);
    assert_int_equal(hidden.dim[1], F);
    assert_fails(dt_executor_read(kept.executor, "out.hiden", &hidden, &kept.err), DT_NOT_FOUND, kept.err,
                 "out.hidden");
    close_model(&plain), close_model(&kept), free(x);
}

/* ---- fallback ---- */

static void doubling(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *y = &call->output[0];
    for (int64_t i = 0; thread == 0 && i < y->dim[0] * y->dim[1]; i++)
        ((float *)y->data)[i] = 2 * ((const float *)call->input[0].data)[i];
}

static const dt_kernel *only_activations(const dt_backend *backend, const dt_op *op)
{
    static const dt_kernel kernel = {.name = "doubling", .run = doubling};
    return op->kind == DT_OP_activate ? &kernel : NULL;
}

static const dt_weight_form *no_form(const dt_backend *backend, const dt_op *op, int slot)
{
    fail(); /* parameters of ops that fell back come in the reference's forms */
    return NULL;
}

static void executor__falls_back_to_the_reference_and_says_so(void **state)
{
    static const dt_backend partial = {
        .name = "partial", .isa = "baseline", .dtype = DT_BF16, .kernel = only_activations, .form = no_form};
    model m;
    float *x = rig_numbers(CAPACITY * H, 7);
    start(&m);
    build_mlp(&m, CAPACITY);
    make_ready(&m, &partial, NULL, 2);
    int fallen = 0;
    for (int i = 0; i < dt_executor_op_count(m.executor); i++) {
        const char *kernel;
        bool fell_back;
        const dt_op *op = dt_executor_op(m.executor, i, &kernel, &fell_back);
        assert_string_equal(kernel, op->kind == DT_OP_activate ? "doubling"
                                    : op->kind == DT_OP_linear ? "reference linear"
                                                               : kernel);
        assert_int_equal(fell_back, op->kind != DT_OP_activate);
        fallen += fell_back;
    }
    assert_int_equal(fallen, 4);
    assert_null(dt_executor_op(m.executor, dt_executor_op_count(m.executor), NULL, NULL));
    run_mlp(&m, x, 2);
    close_model(&m), free(x);
}

/* ---- integers are checked before the run ---- */

static void executor__ids_outside_their_table_are_named(void **state)
{
    float table[6] = {0}, logits[8] = {0};
    int32_t ids[] = {0, 2, 3}, negative[] = {-1}, labels[] = {-100, 4};
    rig_result r;
    dt_error err = {0};
    rig_case c = {.kind = DT_OP_embedding, .in = {rig_weight(3, 2, table), rig_ids(3, ids)}, .slack = 2};
    assert_fails(rig_try(&c, &r, &err), DT_INVALID, err, "input \"in1\", row 2: 3 is outside [0, 3)");
    c.in[1] = rig_ids(1, negative);
    assert_fails(rig_try(&c, &r, &err), DT_INVALID, err, "row 0: -1 is outside [0, 3)");
    c = (rig_case){.kind = DT_OP_take_rows, .in = {rig_on(rig_rows(3, 2, table), "source"), rig_ids(3, ids)}};
    c.slack = 5; /* what counts is this run's rows, not the capacity */
    assert_fails(rig_try(&c, &r, &err), DT_INVALID, err, "row 2: 3 is outside [0, 3)");
    c = (rig_case){.kind = DT_OP_cross_entropy, .in = {rig_rows(2, 4, logits), rig_ids(2, labels)}};
    assert_fails(rig_try(&c, &r, &err), DT_INVALID, err, "row 1: 4 is outside [0, 4)");
}

static rig_case attention_case(int32_t *cu, int32_t *past, int32_t *table, float *x, float *state)
{
    rig_case c = {
        .kind = DT_OP_attention,
        .attr.attention = {
            .self = true,
            .spec = {
                .heads = 1, .groups = 1, .head_dim = 2, .scale = 1, .window_left = -1, .window_right = -1}}};
    rig_operand cache = {.role = RIG_STATE, .rank = 3, .dim = {3, DT_KV_BLOCK, 2}, .data = state};
    c.in[DT_ATTENTION_Q] = c.in[DT_ATTENTION_K] = c.in[DT_ATTENTION_V] = rig_rows(4, 2, x);
    c.in[DT_ATTENTION_CU_ROWS] = c.in[DT_ATTENTION_CU_KEYS] = rig_lengths(2, cu);
    c.in[DT_ATTENTION_PAST] = rig_on(rig_ids(2, past), "sequences");
    c.in[DT_ATTENTION_BLOCK_TABLE] =
        (rig_operand){.role = RIG_INTS, .axis = "sequences", .rank = 2, .dim = {2, 2}, .data = table};
    c.in[DT_ATTENTION_K_CACHE] = c.in[DT_ATTENTION_V_CACHE] = cache;
    c.in[DT_ATTENTION_V_CACHE].data = state + 3 * DT_KV_BLOCK * 2;
    return c;
}

static void executor__lengths_and_blocks_are_checked(void **state)
{
    float x[8] = {0}, cache[2 * 3 * DT_KV_BLOCK * 2] = {0};
    int32_t good[] = {0, 2, 4}, late[] = {1, 2, 4}, falling[] = {0, 3, 2}, far[] = {0, 2, 5};
    int32_t past[] = {62, 0}, full[] = {127, 0}, negative[] = {0, -1};
    int32_t table[] = {0, 2, 1, -1}, missing[] = {0, 3, 1, -1};
    static const struct {
        int cu, past, table; /* which of the arrays below */
        dt_status status;
        const char *words;
    } rows[] = {
        {0, 0, 0, DT_OK, ""}, /* an entry that no position uses may hold anything */
        {1, 0, 0, DT_INVALID, "starts with 1; cumulative lengths start with 0"},
        {2, 0, 0, DT_INVALID, "falls from 3 to 2 at entry 2"},
        {3, 0, 0, DT_INVALID, "ends with 5, but the step has 4 rows"},
        {0, 1, 0, DT_LIMIT, "sequence 0 would hold 129 positions, but its row of \"in6\" has room for 128"},
        {0, 2, 0, DT_INVALID, "sequence 1: -1 is negative"},
        {0, 0, 1, DT_OK, ""},
    };
    int32_t *cus[] = {good, late, falling, far}, *pasts[] = {past, full, negative},
            *tables[] = {table, missing};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rig_result r;
        dt_error err = {0};
        rig_case c = attention_case(cus[rows[i].cu], pasts[rows[i].past], tables[rows[i].table], x, cache);
        dt_status found = rig_try(&c, &r, &err);
        assert_int_equal(found, rows[i].status);
        if (found != DT_OK)
            assert_non_null(strstr(err.line[0], rows[i].words));
        rig_free(&r);
    }
    rig_result r;
    dt_error err = {0};
    past[0] = 63; /* now the second entry is used */
    rig_case c = attention_case(good, past, missing, x, cache);
    assert_fails(rig_try(&c, &r, &err), DT_INVALID, err, "sequence 0, entry 1: block 3 is outside [0, 3)");
}

/* ---- backward ---- */

static void executor__backward_follows_forward(void **state)
{
    model m;
    dt_data found;
    float *x = rig_numbers(CAPACITY * H, 7), *dy = rig_numbers(CAPACITY * H, 9),
          *plus = rig_numbers(CAPACITY * H, 7);
    start(&m);
    dt_tensor *y = build_mlp(&m, CAPACITY), *in = dt_graph_find(m.g, "x"), *gradient[1];
    dt_tensor *incoming = dt_graph_input(m.g, "dy", DT_F32, 2, y->dim);
    assert_ok(dt_graph_gradient(m.g, 1, &y, &incoming, 1, &in, gradient, &m.err), m.err);
    make_ready(&m, NULL, NULL, 2);
    assert_fails(dt_executor_run_backward(m.executor, &m.err), DT_INVALID, m.err, "run the forward phase");
    run_mlp(&m, x, 2); /* needs no dy yet */
    assert_fails(dt_executor_run_backward(m.executor, &m.err), DT_INVALID, m.err,
                 "input \"dy\" is not bound");
    assert_ok(dt_executor_bind(m.executor, "dy", dy, &m.err), m.err);
    assert_ok(dt_executor_run_backward(m.executor, &m.err), m.err);
    assert_ok(dt_executor_read_tensor(m.executor, gradient[0], &found, &m.err), m.err);
    float dx = ((float *)found.data)[H + 3];
    double up = 0, down = 0;
    const float step = 1.0f / 64;
    plus[H + 3] = x[H + 3] + step;
    const float *out = run_mlp(&m, plus, 2);
    for (int i = 0; i < 2 * H; i++)
        up += (double)out[i] * (double)dy[i];
    plus[H + 3] = x[H + 3] - step;
    out = run_mlp(&m, plus, 2);
    for (int i = 0; i < 2 * H; i++)
        down += (double)out[i] * (double)dy[i];
    double slope = (up - down) / (2 * (double)step); /* wrong by the third derivative times step^2 / 6 */
    assert_true(fabs(slope - (double)dx) < 2e-3 * (1 + fabs(slope)));
    assert_true(fabs(slope) > 0.01);
    assert_ok(dt_executor_count(m.executor, "tokens", 3, &m.err), m.err); /* saved values are of two rows */
    assert_fails(dt_executor_run_backward(m.executor, &m.err), DT_INVALID, m.err, "run the forward phase");
    close_model(&m), free(x), free(dy), free(plus);
}

static void executor__without_a_backward_phase_there_is_none_to_run(void **state)
{
    model m;
    open_mlp(&m, 1, false);
    assert_fails(dt_executor_run_backward(m.executor, &m.err), DT_INVALID, m.err, "dt_graph_gradient");
    close_model(&m);
}

static void executor__backends_are_found_by_name(void **state)
{
    const dt_backend *backend;
    dt_error err = {0};
    assert_ok(dt_backend_find(&backend, "reference", DT_Q8_0, NULL, &err), err);
    assert_int_equal(backend->dtype, DT_Q8_0);
    assert_fails(dt_backend_find(&backend, "tpu", DT_F32, NULL, &err), DT_UNSUPPORTED, err,
                 "no backend \"tpu\"");
    assert_fails(dt_backend_find(&backend, "reference", DT_I32, NULL, &err), DT_UNSUPPORTED, err, "in i32");
    assert_fails(dt_backend_find(&backend, "reference", DT_F32, "avx512", &err), DT_UNSUPPORTED, err,
                 "avx512");
    assert_null(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(executor__computes_what_the_graph_says),
        cmocka_unit_test(executor__a_run_remembers_nothing),
        cmocka_unit_test(executor__a_run_allocates_nothing),
        cmocka_unit_test(executor__capacity_costs_no_memory_until_used),
        cmocka_unit_test(executor__refuses_what_is_not_there),
        cmocka_unit_test(executor__an_unfinished_graph_is_refused),
        cmocka_unit_test(executor__a_parameter_of_another_shape_is_named),
        cmocka_unit_test(executor__reads_points_only_when_kept),
        cmocka_unit_test(executor__falls_back_to_the_reference_and_says_so),
        cmocka_unit_test(executor__ids_outside_their_table_are_named),
        cmocka_unit_test(executor__lengths_and_blocks_are_checked),
        cmocka_unit_test(executor__backward_follows_forward),
        cmocka_unit_test(executor__without_a_backward_phase_there_is_none_to_run),
        cmocka_unit_test(executor__backends_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
