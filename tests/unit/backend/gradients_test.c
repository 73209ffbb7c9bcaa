/*
 * gradients_test.c - every differentiable op of ops.def, and compositions of them, at random shapes: gradients as
 * the pass builds and the backends compute them, against central differences of an independent f64 program.
 *
 * Distances are recording.md's: max |a - b| / max(max |b|, 1e-4 G), G the largest gradient of the case. Differences
 * with a step of 1e-5 are good to 1e-9; a backend that rounds values to f32 between ops is within 2e-5 (and see
 * `allowance`).
 */
#include "backend/graph_f64.h"
#include "backend/op_rig.h"

#include "base/rng.h"

#include <math.h>

enum { LEAVES = 24, SHAPES = 12 };

/* A graph being made, with the data of its leaves. */
typedef struct lab {
    dt_graph *g;
    dt_rng rng;
    uint64_t at;
    int64_t T, S, B, H; /* rows, rows of the other side, sequences, columns: random and small */
    dt_axis *tokens, *sources, *sequences;
    struct {
        dt_tensor *tensor;
        void *data;  /* f32 or i32 */
        bool wanted; /* differentiate by it */
    } leaf[LEAVES];
    int leaf_count;
} lab;

static int64_t between(lab *l, int64_t low, int64_t high)
{
    return low + (int64_t)(dt_rng_uniform(&l->rng, l->at++) * (double)(high - low + 1));
}

static dt_tensor *keep_leaf(lab *l, dt_tensor *t, void *data, bool wanted)
{
    assert_true(l->leaf_count < LEAVES);
    l->leaf[l->leaf_count].tensor = t;
    l->leaf[l->leaf_count].data = data;
    l->leaf[l->leaf_count++].wanted = wanted;
    return t;
}

static const char *new_name(lab *l, char name[16])
{
    snprintf(name, 16, "leaf%d", l->leaf_count);
    return name;
}

static float *normal(lab *l, int64_t n)
{
    float *data = malloc((size_t)n * sizeof *data + 1);
    dt_rng_normal(&(dt_rng){l->rng.seed, 2 + (uint64_t)l->leaf_count}, 0, data, n);
    return data;
}

/* [rows of axis, cols], or [rows] when cols is 0, or fixed rows when the axis is NULL. */
static dt_tensor *values(lab *l, const dt_axis *axis, int64_t rows, int64_t cols, bool wanted)
{
    char name[16];
    dt_dim dim[2] = {{axis, axis ? 0 : rows}, {NULL, cols}};
    dt_tensor *t = dt_graph_input(l->g, new_name(l, name), DT_F32, cols ? 2 : 1, dim);
    return keep_leaf(l, t, normal(l, rows * (cols ? cols : 1)), wanted);
}

static dt_tensor *rows(lab *l, int64_t cols)
{
    return values(l, l->tokens, l->T, cols, true);
}

static dt_tensor *weight(lab *l, int64_t r, int64_t c)
{
    char name[16];
    dt_param_spec spec = {.name = new_name(l, name), .rank = c ? 2 : 1, .dim = {r, c}};
    return keep_leaf(l, dt_graph_param(l->g, &spec), normal(l, r * (c ? c : 1)), true);
}

static dt_tensor *whole(lab *l, const dt_axis *axis, int64_t more, int64_t n, int64_t low, int64_t high)
{
    char name[16];
    int32_t *data = malloc((size_t)n * sizeof *data + 1);
    for (int64_t i = 0; i < n; i++)
        data[i] = (int32_t)between(l, low, high);
    dt_tensor *t = dt_graph_input(l->g, new_name(l, name), DT_I32, 1, (dt_dim[]){{axis, more}});
    return keep_leaf(l, t, data, false);
}

/* Random cuts of `n` rows into B sequences, empty ones among them. */
static dt_rows lengths(lab *l, int64_t n)
{
    dt_tensor *t = whole(l, l->sequences, 1, l->B + 1, 0, n);
    int32_t *cu = l->leaf[l->leaf_count - 1].data;
    for (int64_t i = 1; i <= l->B; i++) /* insertion sort */
        for (int64_t j = i; j > 0 && cu[j] < cu[j - 1]; j--) {
            int32_t swap = cu[j];
            cu[j] = cu[j - 1];
            cu[j - 1] = swap;
        }
    cu[0] = 0;
    cu[l->B] = (int32_t)n;
    return (dt_rows){.cu_seqlens = t};
}

/* ---- running ---- */

typedef struct machine {
    dt_pool *pool;
    dt_weights *weights;
    dt_executor *executor;
    rig_array array[LEAVES];
    rig_arrays arrays;
} machine;

/* false: there is no such backend in this build. */
static bool start(machine *m, lab *l, const char *backend_name)
{
    dt_error err = {0};
    const dt_backend *backend;
    memset(m, 0, sizeof *m);
    if (dt_backend_find(&backend, backend_name, DT_F32, NULL, &err) != DT_OK)
        return false;
    for (int i = 0; i < l->leaf_count; i++) {
        const dt_tensor *t = l->leaf[i].tensor;
        int64_t dims[2] = {t->dim[0].n, t->rank == 2 ? t->dim[1].n : 0};
        if (t->kind == DT_TENSOR_PARAM)
            m->array[m->arrays.count++] =
                (rig_array){t->name, dt_shape_of(t->rank, dims), DT_F32, l->leaf[i].data};
    }
    m->arrays.array = m->array;
    dt_weight_source source = rig_source(&m->arrays);
    assert_ok(dt_pool_create(&m->pool, 2, &err), err);
    assert_ok(dt_weights_create(&m->weights, &source, m->pool, &err), err);
    assert_ok(dt_executor_create(&m->executor, backend, l->g, m->weights, m->pool, NULL, &err), err);
    for (int i = 0; i < l->leaf_count; i++)
        if (l->leaf[i].tensor->kind == DT_TENSOR_INPUT)
            assert_ok(dt_executor_bind(m->executor, l->leaf[i].tensor->name, l->leaf[i].data, &err), err);
    assert_ok(dt_executor_count(m->executor, "tokens", l->T, &err), err);
    assert_ok(dt_executor_count(m->executor, "sources", l->S, &err), err);
    assert_ok(dt_executor_count(m->executor, "sequences", l->B, &err), err);
    assert_ok(dt_executor_run(m->executor, &err), err);
    assert_ok(dt_executor_run_backward(m->executor, &err), err);
    return true;
}

static void stop(machine *m)
{
    dt_executor_destroy(m->executor);
    dt_weights_destroy(m->weights);
    dt_pool_destroy(m->pool);
}

/* ---- differences ---- */

static graph_f64 fill(const lab *l, const int64_t *counts)
{
    graph_f64 f = graph_f64_make(l->g, counts);
    for (int i = 0; i < l->leaf_count; i++) {
        const dt_tensor *t = l->leaf[i].tensor;
        for (int64_t j = 0; j < dt_tensor_elements(t, counts); j++)
            f.value[t->id][j] =
                t->dtype == DT_I32 ? ((int32_t *)l->leaf[i].data)[j] : (double)((float *)l->leaf[i].data)[j];
    }
    return f;
}

static double loss_at(const graph_f64 *f, const dt_tensor *loss, double *place, double value)
{
    double before = *place;
    *place = value;
    graph_f64_run(f);
    *place = before;
    return f->value[loss->id][0];
}

static double *differences(const graph_f64 *f, const dt_tensor *loss, const dt_tensor *t)
{
    const double step = 1e-5;
    int64_t n = dt_tensor_elements(t, f->counts);
    double *d = malloc((size_t)n * sizeof *d + 1);
    for (int64_t i = 0; i < n; i++) {
        double *place = &f->value[t->id][i];
        d[i] = (loss_at(f, loss, place, *place + step) - loss_at(f, loss, place, *place - step)) / (2 * step);
    }
    return d;
}

static double largest(const double *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

/* One leaf's gradient on one backend: no element farther than `allowed`. */
static void compare(const machine *m, const dt_tensor *gradient, const double *expected, int64_t n,
                    double allowed, const char *what)
{
    dt_data found;
    dt_error err = {0};
    if (!gradient) {
        assert_true(largest(expected, n) < 1e-9);
        return;
    }
    assert_ok(dt_executor_read_tensor(m->executor, gradient, &found, &err), err);
    for (int64_t i = 0; i < n; i++) {
        double value = (double)((const float *)found.data)[i];
        if (!(fabs(value - expected[i]) <= allowed))
            fail_msg("%s, element %lld: %.9g, by differences %.9g (%.2g away, %.2g allowed)", what,
                     (long long)i, value, expected[i], fabs(value - expected[i]), allowed);
    }
}

/* Incoming gradients are of order one: rounding one or two of them to f32 is 2e-7. The cpu backend computes in f32
 * as well, where sums that cancel (softmax) leave a few millionths of the largest gradient around. */
static double allowance(int backend, double largest_here, double largest_of_all)
{
    double distance = 2e-5 * fmax(largest_here, 1e-4 * largest_of_all) + 2e-7;
    return backend == 0 ? distance : distance + 4e-6 * largest_of_all;
}

typedef dt_tensor *build_function(lab *l);

/* Build, reduce to one number by random weights, differentiate by every leaf, compare on every backend. */
static void check_shape(const char *name, build_function *build, uint64_t seed)
{
    lab l = {.g = dt_graph_create(NULL), .rng = {seed, 1}};
    dt_error err = {0};
    l.T = between(&l, 1, 9), l.S = between(&l, 1, 9), l.B = between(&l, 1, 3), l.H = between(&l, 1, 10);
    l.tokens = dt_graph_axis(l.g, "tokens", l.T + between(&l, 0, 3));
    l.sources = dt_graph_axis(l.g, "sources", l.S + between(&l, 0, 3));
    l.sequences = dt_graph_axis(l.g, "sequences", l.B + 1);
    int64_t counts[3] = {l.T, l.S, l.B};
    dt_tensor *y = build(&l), *wrt[LEAVES], *gradient[LEAVES];
    const dt_axis *axis = y->dim[0].axis;
    dt_tensor *r = values(&l, axis, dt_dim_count(y->dim[0], counts), y->rank == 2 ? y->dim[1].n : 0, false);
    dt_tensor *loss = dt_dot(l.g, y, r, 0.75);
    int wanted = 0;
    for (int i = 0; i < l.leaf_count; i++)
        if (l.leaf[i].wanted)
            wrt[wanted++] = l.leaf[i].tensor;
    assert_ok(dt_graph_gradient(l.g, 1, &loss, NULL, wanted, wrt, gradient, &err), err);
    assert_ok(dt_graph_finish(l.g, &err), err);
    graph_f64 f = fill(&l, counts);
    double *expected[LEAVES], most = 0;
    for (int i = 0; i < wanted; i++) {
        expected[i] = differences(&f, loss, wrt[i]);
        most = fmax(most, largest(expected[i], dt_tensor_elements(wrt[i], counts)));
    }
    static const char *const backends[] = {"reference", "cpu"};
    for (int b = 0; b < 2; b++) {
        machine m;
        char what[96];
        if (!start(&m, &l, backends[b])) {
            assert_true(b > 0); /* the reference is always there */
            continue;
        }
        for (int i = 0; i < wanted; i++) {
            snprintf(what, sizeof what, "%s on %s, seed %d, by %s", name, backends[b], (int)seed,
                     wrt[i]->name);
            int64_t n = dt_tensor_elements(wrt[i], counts);
            compare(&m, gradient[i], expected[i], n, allowance(b, largest(expected[i], n), most), what);
        }
        stop(&m);
    }
    for (int i = 0; i < wanted; i++)
        free(expected[i]);
    for (int i = 0; i < l.leaf_count; i++)
        free(l.leaf[i].data);
    graph_f64_free(&f);
    dt_graph_destroy(l.g);
}

static void check(const char *name, build_function *build)
{
    for (uint64_t seed = 1; seed <= SHAPES; seed++)
        check_shape(name, build, seed);
}
#define CHECK(build) check(#build, build)

/* ---- products, tables and rows ---- */

static dt_tensor *embedding(lab *l)
{
    int64_t V = between(l, 1, 7);
    return dt_embedding(l->g, weight(l, V, l->H), whole(l, l->tokens, 0, l->T, 0, V - 1));
}

static dt_tensor *linear(lab *l)
{
    int64_t N = between(l, 1, 11);
    dt_tensor *x = rows(l, l->H), *w = weight(l, N, l->H);
    return dt_linear(l->g, x, w, between(l, 0, 1) ? weight(l, N, 0) : NULL);
}

static dt_tensor *take_rows(lab *l)
{
    dt_tensor *x = rows(l, l->H),
              *index = whole(l, l->sources, 0, l->S, 0, l->T - 1); /* rows twice, rows never */
    return dt_take_rows(l->g, x, index);
}

static dt_tensor *merge_rows(lab *l)
{
    int64_t B = between(l, 1, 4);
    dt_tensor *x = rows(l, l->H), *y = weight(l, B, l->H);
    return dt_merge_rows(l->g, x, y, whole(l, l->sources, 0, l->S, -B, l->T - 1));
}

static dt_tensor *blend_rows(lab *l)
{
    char name[16];
    int64_t V = between(l, 1, 5), k = between(l, 1, 4);
    dt_tensor *table = weight(l, V, l->H);
    int32_t *data = malloc((size_t)(l->T * k) * sizeof *data + 1);
    for (int64_t i = 0; i < l->T * k; i++)
        data[i] = (int32_t)between(l, 0, V - 1);
    dt_tensor *index =
        dt_graph_input(l->g, new_name(l, name), DT_I32, 2, (dt_dim[]){{l->tokens, 0}, {NULL, k}});
    keep_leaf(l, index, data, false);
    return dt_blend_rows(l->g, table, index, values(l, l->tokens, l->T, k, false));
}

static dt_tensor *scale_columns(lab *l)
{
    dt_tensor *x = rows(l, l->H);
    return dt_scale_columns(l->g, x, weight(l, l->H, 0));
}

static dt_tensor *split_groups(lab *l)
{
    int64_t groups = between(l, 1, 3), width[3] = {between(l, 1, 4), between(l, 1, 3), 2};
    dt_tensor *part[3], *x = rows(l, groups * (width[0] + width[1] + width[2]));
    dt_split_groups(l->g, x, groups, 3, width, part);
    dt_tensor *a = dt_linear(l->g, part[0], weight(l, 5, groups * width[0]), NULL);
    if (between(l, 0, 1))
        return a; /* the other parts lead nowhere */
    return dt_add(l->g, a, dt_linear(l->g, part[2], weight(l, 5, groups * 2), NULL));
}

/* The same part twice, too: its gradients add up. */
static dt_tensor *join_groups(lab *l)
{
    int64_t groups = between(l, 1, 3), width[3] = {between(l, 1, 4), between(l, 1, 3), 2};
    dt_tensor *part[4];
    for (int i = 0; i < 3; i++)
        part[i] = rows(l, groups * width[i]);
    part[3] = part[0];
    return dt_join_groups(l->g, groups, (int)between(l, 1, 4), part);
}

static void gradients__of_rows(void **state)
{
    CHECK(embedding);
    CHECK(linear);
    CHECK(take_rows);
    CHECK(merge_rows);
    CHECK(blend_rows);
    CHECK(scale_columns);
    CHECK(split_groups);
    CHECK(join_groups);
}

/* ---- norms ---- */

static dt_tensor *rms_norm(lab *l)
{
    dt_tensor *x = rows(l, l->H);
    return dt_rms_norm(l->g, x, weight(l, l->H, 0), 1e-3, between(l, 0, 1));
}

static dt_tensor *layer_norm(lab *l)
{
    dt_tensor *x = rows(l, l->H), *w = weight(l, l->H, 0);
    return dt_layer_norm(l->g, x, w, between(l, 0, 1) ? weight(l, l->H, 0) : NULL, 1e-3, between(l, 0, 1));
}

static void gradients__of_norms(void **state)
{
    CHECK(rms_norm);
    CHECK(layer_norm);
}

/* ---- element by element ---- */

static dt_tensor *arithmetic(lab *l)
{
    dt_tensor *x = rows(l, l->H), *y = rows(l, l->H);
    dt_tensor *sum = dt_add(l->g, dt_multiply(l->g, x, y), dt_scale(l->g, x, 0.3));
    return dt_add(l->g, sum, dt_multiply(l->g, y, y));
}

static dt_tensor *doubled(lab *l)
{
    dt_tensor *x = rows(l, l->H);
    return dt_add(l->g, x, x);
}

static void gradients__of_arithmetic(void **state)
{
    CHECK(arithmetic);
    CHECK(doubled);
}

static dt_tensor *activate(lab *l)
{
    return dt_activate(l->g, rows(l, l->H), (dt_activation)((l->rng.seed - 1) % DT_ACT_COUNT));
}

static dt_tensor *glu(lab *l)
{
    return dt_glu(l->g, rows(l, 2 * l->H), (dt_activation)((l->rng.seed - 1) % DT_ACT_COUNT));
}

static void gradients__of_activations(void **state)
{
    assert_true(SHAPES >= (int)DT_ACT_COUNT); /* one each at least */
    CHECK(activate);
    CHECK(glu);
}

static dt_tensor *turned(lab *l, dt_tensor *x, int64_t heads, int64_t pairs)
{
    float freq[8];
    for (int64_t i = 0; i < pairs; i++)
        freq[i] = (float)pow(10, -(double)i / (double)pairs);
    dt_tensor *positions = whole(l, l->tokens, 0, l->T, 0, 40);
    return dt_rope(l->g, x, positions, dt_graph_constant(l->g, "freq", pairs, freq), heads, l->rng.seed % 2,
                   1.25);
}

static dt_tensor *rope(lab *l)
{
    int64_t heads = between(l, 1, 3), pairs = between(l, 1, 4), rest = between(l, 0, 3);
    return turned(l, rows(l, heads * (2 * pairs + rest)), heads, pairs);
}

static void gradients__of_rope(void **state)
{
    CHECK(rope);
}

/* ---- attention ---- */

typedef struct attention_case {
    bool cross, causal, windows, cap, bias, both_ways, sink, alibi;
} attention_case;

static dt_tensor *attention(lab *l, attention_case c)
{
    int64_t K = between(l, 1, 2), A = K * between(l, 1, 3), D = between(l, 1, 5), S = c.cross ? l->S : l->T;
    const dt_axis *axis = c.cross ? l->sources : l->tokens;
    dt_attention_spec spec = {.heads = A, .groups = K, .head_dim = D, .scale = 0.6, .causal = c.causal};
    spec.window_left = c.windows ? between(l, 0, 3) : -1;
    spec.window_right = c.windows ? between(l, 0, 2) : -1;
    spec.soft_cap = c.cap ? 1.5 : 0;
    spec.bias_max_distance = 64, spec.bias_bidirectional = c.both_ways;
    spec.alibi = c.alibi;
    dt_attention_inputs in = {.q = rows(l, A * D)};
    in.k = values(l, axis, S, K * D, true);
    in.v = values(l, axis, S, K * D, true);
    in.rows = lengths(l, l->T);
    in.keys = c.cross ? lengths(l, l->S) : in.rows;
    in.bias_table = c.bias ? weight(l, c.both_ways ? 40 : 20, A) : NULL;
    in.sink = c.sink ? weight(l, A, 0) : NULL;
    return dt_attention(l->g, &in, &spec);
}

static dt_tensor *causal_attention(lab *l)
{
    return attention(l, (attention_case){.causal = true});
}

static dt_tensor *open_attention(lab *l)
{
    return attention(l, (attention_case){.bias = true, .both_ways = true});
}

static dt_tensor *decoder_attention(lab *l)
{
    return attention(l, (attention_case){.causal = true, .bias = true});
}

static dt_tensor *cross_attention(lab *l)
{
    return attention(l, (attention_case){.cross = true});
}

static dt_tensor *windowed_attention(lab *l)
{
    return attention(l, (attention_case){.windows = true, .causal = l->rng.seed % 2});
}

static dt_tensor *capped_attention(lab *l)
{
    return attention(l, (attention_case){.cap = true, .causal = true});
}

static dt_tensor *sink_attention(lab *l)
{
    return attention(l, (attention_case){.sink = true, .causal = true});
}

static dt_tensor *alibi_attention(lab *l)
{
    return attention(l, (attention_case){.alibi = true, .causal = l->rng.seed % 2});
}

static dt_tensor *full_attention(lab *l)
{
    return attention(
        l, (attention_case){.causal = true, .windows = true, .cap = true, .bias = true, .sink = true});
}

static void gradients__of_attention(void **state)
{
    CHECK(causal_attention);
    CHECK(open_attention);
    CHECK(decoder_attention);
    CHECK(cross_attention);
    CHECK(windowed_attention);
    CHECK(capped_attention);
    CHECK(sink_attention);
    CHECK(alibi_attention);
    CHECK(full_attention);
}

/* ---- losses ---- */

static dt_tensor *cross_entropy(lab *l)
{
    int64_t V = between(l, 2, 9), vocab = between(l, 0, V - 1);
    dt_tensor *logits = rows(l, V);
    return dt_cross_entropy(l->g, logits, whole(l, l->tokens, 0, l->T, -2, (vocab ? vocab : V) - 1), vocab);
}

static dt_tensor *weighted_mean(lab *l)
{
    dt_tensor *x = values(l, l->tokens, l->T, 0, true), *w = values(l, l->tokens, l->T, 0, false);
    float *mask = l->leaf[l->leaf_count - 1].data;
    for (int64_t i = 0; i < l->T; i++)
        mask[i] = i % 3 != 1;
    return dt_weighted_mean(l->g, x, w);
}

static dt_tensor *dot(lab *l)
{
    dt_tensor *x = rows(l, l->H);
    return dt_dot(l->g, x, between(l, 0, 1) ? x : rows(l, l->H), 0.5);
}

static void gradients__of_losses(void **state)
{
    CHECK(cross_entropy);
    CHECK(weighted_mean);
    CHECK(dot);
}

/* ---- compositions ---- */

/* A GPT of two layers: tied table, rotary positions, gated units, shared norms, a masked mean. */
static dt_tensor *gpt(lab *l)
{
    dt_graph *g = l->g;
    int64_t V = 7, H = 8;
    dt_tensor *table = weight(l, V, H), *norm = weight(l, H, 0), *qkv = weight(l, 16, H),
              *o = weight(l, H, H);
    dt_tensor *fc1 = weight(l, 12, H), *fc2 = weight(l, H, 6),
              *positions = whole(l, l->tokens, 0, l->T, 0, 9);
    dt_tensor *x = dt_embedding(g, table, whole(l, l->tokens, 0, l->T, 0, V - 1));
    dt_attention_spec spec = {.heads = 4,
                              .groups = 2,
                              .head_dim = 2,
                              .scale = 0.7,
                              .causal = true,
                              .window_left = -1,
                              .window_right = -1};
    dt_attention_inputs in = {.rows = lengths(l, l->T)};
    dt_tensor *freq = dt_graph_constant(g, "freq", 1, (float[]){0.5f});
    in.keys = in.rows;
    for (int layer = 0; layer < 2; layer++) { /* both layers share their weights: uses add up */
        dt_tensor *part[3];
        dt_split_groups(g, dt_linear(g, dt_rms_norm(g, x, norm, 1e-3, true), qkv, NULL), 2, 3,
                        (int64_t[]){4, 2, 2}, part);
        in.q = dt_rope(g, part[0], positions, freq, 4, false, 1);
        in.k = dt_rope(g, part[1], positions, freq, 2, false, 1), in.v = part[2];
        x = dt_add(g, x, dt_linear(g, dt_attention(g, &in, &spec), o, NULL));
        dt_tensor *h = dt_glu(g, dt_linear(g, dt_rms_norm(g, x, norm, 1e-3, true), fc1, NULL), DT_ACT_SILU);
        x = dt_add(g, x, dt_linear(g, h, fc2, NULL));
    }
    dt_tensor *logits = dt_linear(g, dt_scale(g, dt_rms_norm(g, x, norm, 1e-3, true), 0.5), table, NULL);
    return dt_cross_entropy(g, logits, whole(l, l->tokens, 0, l->T, -1, V - 1), 0);
}

/* A T5 of one layer a side: one table for both, biases shared by two attentions, cross attention, layer norms. */
static dt_tensor *t5(lab *l)
{
    dt_graph *g = l->g;
    int64_t V = 6, H = 8;
    dt_tensor *table = weight(l, V, H), *norm = weight(l, H, 0), *shift = weight(l, H, 0),
              *bias = weight(l, 16, 2);
    dt_tensor *q = weight(l, H, H), *kv = weight(l, 2 * H, H), *up = weight(l, 9, H), *down = weight(l, H, 9);
    dt_tensor *x = dt_embedding(g, table, whole(l, l->sources, 0, l->S, 0, V - 1));
    dt_tensor *y = dt_embedding(g, table, whole(l, l->tokens, 0, l->T, 0, V - 1)), *part[2];
    dt_rows src = lengths(l, l->S), dst = lengths(l, l->T);
    dt_attention_spec spec = {.heads = 2,
                              .groups = 2,
                              .head_dim = 4,
                              .scale = 0.3,
                              .window_left = -1,
                              .window_right = -1,
                              .bias_max_distance = 64,
                              .bias_bidirectional = true};
    for (int i = 0; i < 2; i++) {
        dt_tensor *h = dt_layer_norm(g, x, norm, shift, 1e-3, false);
        dt_split_groups(g, dt_linear(g, h, kv, NULL), 2, 2, (int64_t[]){4, 4}, part);
        dt_attention_inputs in = {
            dt_linear(g, h, q, NULL), part[0], part[1], src, src, NULL, NULL, bias, NULL};
        x = dt_add(g, x, dt_attention(g, &in, &spec));
        x = dt_add(g, x,
                   dt_linear(g, dt_activate(g, dt_linear(g, x, up, NULL), DT_ACT_GELU_TANH), down, NULL));
    }
    dt_tensor *memory = dt_layer_norm(g, x, norm, shift, 1e-3, false);
    dt_tensor *asking = dt_layer_norm(g, y, norm, shift, 1e-3, false);
    dt_split_groups(g, dt_linear(g, memory, kv, NULL), 2, 2, (int64_t[]){4, 4}, part);
    dt_attention_inputs in = {
        dt_linear(g, asking, q, NULL), part[0], part[1], dst, src, NULL, NULL, NULL, NULL};
    y = dt_add(g, y, dt_attention(g, &in, &spec));
    return dt_linear(g, dt_layer_norm(g, y, norm, NULL, 1e-3, false), table, NULL);
}

/* ---- mixture of experts ---- */

static dt_route_spec route_spec(lab *l, int64_t E)
{
    return (dt_route_spec){.topk = between(l, 1, E < 4 ? E : 4),
                           .score = between(l, 0, 2) == 0 ? DT_ROUTER_SIGMOID : DT_ROUTER_SOFTMAX,
                           .pre_softmax = between(l, 0, 1),
                           .scaling = between(l, 0, 1) ? 2.5 : 0};
}

static dt_tensor *route(lab *l)
{
    int64_t E = between(l, 1, 7);
    dt_route_spec spec = route_spec(l, E);
    dt_tensor *experts, *weights, *logits = rows(l, E);
    dt_tensor *bias = between(l, 0, 1) ? weight(l, E, 0) : NULL;
    dt_route(l->g, logits, bias, &spec, &experts, &weights);
    return weights;
}

/* Router, experts with biases, a bounded unit, weighted sum, and a gated shared expert: rows once shared, once not. */
static dt_tensor *mixture(lab *l)
{
    int64_t E = between(l, 1, 6), F = between(l, 1, 19), H = l->H;
    dt_route_spec spec = route_spec(l, E);
    dt_tensor *experts, *weights, *x = rows(l, H);
    dt_tensor *router = weight(l, E, H), *up = weight(l, E * 2 * F, H), *down = weight(l, E * H, F);
    dt_tensor *b = between(l, 0, 1) ? weight(l, E * 2 * F, 0) : NULL;
    bool bounded = between(l, 0, 1);
    dt_route(l->g, dt_linear(l->g, x, router, NULL), NULL, &spec, &experts, &weights);
    dt_tensor *h = dt_expert_linear(l->g, x, up, experts, b, E);
    h = dt_glu_bounded(l->g, h, bounded ? DT_ACT_QUICK_GELU : DT_ACT_SILU, bounded ? 1.5 : 0, bounded);
    h = dt_expert_linear(l->g, h, down, experts, bounded ? weight(l, E * H, 0) : NULL, E);
    dt_tensor *gate = dt_activate(l->g, dt_linear(l->g, x, weight(l, 1, H), NULL), DT_ACT_SIGMOID);
    dt_tensor *shared = dt_linear(l->g, x, weight(l, H, H), NULL);
    return dt_add(l->g, dt_sum_choices(l->g, h, weights), dt_sum_choices(l->g, shared, gate));
}

static void gradients__of_experts(void **state)
{
    CHECK(route);
    CHECK(mixture);
}

static void gradients__of_whole_models(void **state)
{
    CHECK(gpt);
    CHECK(t5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients__of_rows),         cmocka_unit_test(gradients__of_norms),
        cmocka_unit_test(gradients__of_arithmetic),   cmocka_unit_test(gradients__of_activations),
        cmocka_unit_test(gradients__of_rope),         cmocka_unit_test(gradients__of_attention),
        cmocka_unit_test(gradients__of_losses),       cmocka_unit_test(gradients__of_experts),
        cmocka_unit_test(gradients__of_whole_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
