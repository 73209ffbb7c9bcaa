/*
 * cpu_attention_test.c - attention of the cpu backend and its gradient against the reference at random sizes and
 * options, and what must not change a bit: neighbours, chunks, caches, threads.
 */
#include "backend/cpu_rig.h"

#include <math.h>

/* f32 against f64; scores reach about 10, so exponentials err by 10 units in the last place. */
static const double tolerance = 4e-6, gradient_tolerance = 1e-5;

typedef struct shape {
    dt_attention_spec spec;
    int64_t sequences;
    int32_t cu[8], cu_keys[8];
    bool self, bias, sink;
} shape;

static dt_attention_spec random_spec(cpu_dice *dice)
{
    static const int64_t dims[] = {8, 16, 32, 64, 80, 96, 128, 256};
    dt_attention_spec s = {.groups = cpu_roll(dice, 1, 4), .window_left = -1, .window_right = -1};
    s.heads = s.groups * cpu_size(dice, 9);
    s.head_dim = cpu_roll(dice, 0, 2) ? dims[cpu_roll(dice, 0, 7)] : cpu_size(dice, 100);
    s.scale = 1.5 / sqrt((double)s.head_dim);
    s.causal = cpu_roll(dice, 0, 1);
    if (cpu_roll(dice, 0, 2) == 0)
        s.window_left = cpu_roll(dice, 0, 100);
    if (cpu_roll(dice, 0, 3) == 0)
        s.window_right = cpu_roll(dice, 0, 100);
    if (cpu_roll(dice, 0, 3) == 0)
        s.soft_cap = 2.5;
    s.bias_max_distance = cpu_size(dice, 200);
    s.bias_bidirectional = cpu_roll(dice, 0, 1);
    return s;
}

static shape random_shape(cpu_dice *dice)
{
    shape s = {
        .spec = random_spec(dice), .sequences = cpu_roll(dice, 1, 4), .self = cpu_roll(dice, 0, 2) > 0};
    s.bias = cpu_roll(dice, 0, 1);
    s.spec.alibi = !s.bias && cpu_roll(dice, 0, 2) == 0;
    s.sink = cpu_roll(dice, 0, 2) == 0;
    for (int64_t b = 0; b < s.sequences; b++) {
        s.cu[b + 1] = s.cu[b] + (int32_t)cpu_size(dice, 200) - (int32_t)cpu_roll(dice, 0, 1);
        s.cu_keys[b + 1] = s.self ? s.cu[b + 1] : s.cu_keys[b] + (int32_t)cpu_size(dice, 200);
    }
    s.cu[s.sequences] += s.cu[s.sequences] == 0; /* at least one row, so that there is an output to compare */
    if (s.self)
        s.cu_keys[s.sequences] = s.cu[s.sequences];
    return s;
}

/* Operands for it; the lengths stay in `s`. */
static rig_case case_of(shape *s, cpu_dice *dice)
{
    int64_t T = s->cu[s->sequences], S = s->cu_keys[s->sequences], D = s->spec.head_dim;
    rig_case c = {.kind = DT_OP_attention, .attr.attention = {.spec = s->spec, .self = s->self}};
    c.in[DT_ATTENTION_Q] = rig_rows(T, s->spec.heads * D, cpu_floats(dice, T * s->spec.heads * D, 2));
    c.in[DT_ATTENTION_K] = rig_rows(S, s->spec.groups * D, cpu_floats(dice, S * s->spec.groups * D, 2));
    c.in[DT_ATTENTION_V] = rig_rows(S, s->spec.groups * D, cpu_floats(dice, S * s->spec.groups * D, 2));
    if (!s->self) {
        c.in[DT_ATTENTION_K] = rig_on(c.in[DT_ATTENTION_K], "keys");
        c.in[DT_ATTENTION_V] = rig_on(c.in[DT_ATTENTION_V], "keys");
    }
    c.in[DT_ATTENTION_CU_ROWS] = rig_lengths(s->sequences, s->cu);
    c.in[DT_ATTENTION_CU_KEYS] = rig_lengths(s->sequences, s->cu_keys);
    if (s->bias) {
        int64_t buckets = 4 * cpu_roll(dice, 1, 9);
        c.in[DT_ATTENTION_BIAS_TABLE] =
            rig_weight(buckets, s->spec.heads, cpu_floats(dice, buckets * s->spec.heads, 2));
    }
    if (s->sink)
        c.in[DT_ATTENTION_SINK] = rig_weight(s->spec.heads, 0, cpu_floats(dice, s->spec.heads, 2));
    return c;
}

static void free_case(rig_case *c)
{
    for (int i = 0; i < DT_OP_MAX_INPUTS; i++)
        if (c->in[i].role == RIG_FLOATS || c->in[i].role == RIG_WEIGHT)
            free(c->in[i].data);
}

static void check_gradient(const rig_case *forward, const char *isa, cpu_dice *dice)
{
    rig_case c = *forward;
    rig_operand q = c.in[DT_ATTENTION_Q];
    rig_result r = rig_run(forward);
    float *dy = cpu_floats(dice, q.dim[0] * q.dim[1], 1);
    c.kind = DT_OP_attention_grad;
    c.in[DT_ATTENTION_OUT] = rig_rows(q.dim[0], q.dim[1], r.out[0]);
    c.in[DT_ATTENTION_GRAD] = rig_rows(q.dim[0], q.dim[1], dy);
    cpu_agrees(&c, isa, gradient_tolerance);
    rig_free(&r), free(dy);
}

static void cpu_attention__agrees_with_the_reference(void **state)
{
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++) {
        cpu_dice dice = {(uint32_t)(*isa)[3]};
        for (int round = 0; round < 25; round++) {
            shape s = random_shape(&dice);
            rig_case c = case_of(&s, &dice);
            c.threads = 1 + round % 3;
            c.slack = round % 5;
            cpu_agrees(&c, *isa, tolerance);
            if (round % 2 == 0)
                check_gradient(&c, *isa, &dice);
            free_case(&c);
        }
    }
}

/* ---- caches: sequence b of a batch, fed in chunks ---- */

enum { BLOCKS = 4, CACHE_BLOCKS = 4 * BLOCKS };

typedef struct feed {
    const char *backend, *isa;
    dt_dtype dtype;
    int64_t chunk;
    int threads;
} feed;

static rig_operand state_of(dt_dtype dtype, const shape *s, void *data)
{
    return (rig_operand){.role = RIG_STATE,
                         .rank = 3,
                         .dim = {CACHE_BLOCKS, DT_KV_BLOCK, s->spec.groups * s->spec.head_dim},
                         .data = data,
                         .dtype = dtype};
}

/* A step's rows: [past, past + chunk) of every sequence, those of `from` copied together. */
static float *gather(const rig_operand *from, const shape *s, const int32_t *past, const int32_t *cu)
{
    float *x = malloc((size_t)(cu[s->sequences] * from->dim[1] + 1) * sizeof *x);
    for (int64_t b = 0; b < s->sequences; b++)
        memcpy(x + cu[b] * from->dim[1], (const float *)from->data + (s->cu[b] + past[b]) * from->dim[1],
               (size_t)((cu[b + 1] - cu[b]) * from->dim[1]) * sizeof *x);
    return x;
}

static void one_step(const rig_case *whole, const shape *s, const feed *f, void **caches, int32_t *past,
                     float *out)
{
    int32_t cu[8] = {0}, table[4 * BLOCKS];
    for (int i = 0; i < 4 * BLOCKS; i++)
        table[i] = (i * 7 + 3) % CACHE_BLOCKS; /* blocks in any order */
    for (int64_t b = 0; b < s->sequences; b++) {
        int64_t left = s->cu[b + 1] - s->cu[b] - past[b];
        cu[b + 1] = cu[b] + (int32_t)(left < f->chunk ? left : f->chunk);
    }
    rig_case c = *whole;
    c.backend = f->backend, c.isa = f->isa, c.threads = f->threads;
    for (int i = DT_ATTENTION_Q; i <= DT_ATTENTION_V; i++) {
        c.in[i].data = gather(&whole->in[i], s, past, cu);
        c.in[i].dim[0] = cu[s->sequences];
    }
    c.in[DT_ATTENTION_CU_ROWS].data = c.in[DT_ATTENTION_CU_KEYS].data = cu;
    c.in[DT_ATTENTION_PAST] = rig_on(rig_ids(s->sequences, past), "sequences");
    c.in[DT_ATTENTION_BLOCK_TABLE] = (rig_operand){
        .role = RIG_INTS, .axis = "sequences", .rank = 2, .dim = {s->sequences, BLOCKS}, .data = table};
    c.in[DT_ATTENTION_K_CACHE] = state_of(f->dtype, s, caches[0]);
    c.in[DT_ATTENTION_V_CACHE] = state_of(f->dtype, s, caches[1]);
    rig_result r = rig_run(&c);
    int64_t width = c.in[DT_ATTENTION_Q].dim[1];
    for (int64_t b = 0; b < s->sequences; b++) {
        memcpy(out + (s->cu[b] + past[b]) * width, r.out[0] + cu[b] * width,
               (size_t)((cu[b + 1] - cu[b]) * width) * sizeof *out);
        past[b] += cu[b + 1] - cu[b];
    }
    for (int i = DT_ATTENTION_Q; i <= DT_ATTENTION_V; i++)
        free(c.in[i].data);
    rig_free(&r);
}

/* All sequences of a self attention through a cache; memory of the cache starts as NaN, which must not be read. */
static float *through_cache(const rig_case *whole, const shape *s, feed f)
{
    size_t bytes = (size_t)(CACHE_BLOCKS * DT_KV_BLOCK * s->spec.groups * s->spec.head_dim) * 4;
    void *caches[2] = {malloc(bytes), malloc(bytes)};
    int32_t past[8] = {0};
    int64_t n = whole->in[DT_ATTENTION_Q].dim[0] * whole->in[DT_ATTENTION_Q].dim[1];
    float *out = calloc((size_t)n + 1, sizeof *out);
    memset(caches[0], 0xff, bytes), memset(caches[1], 0xff, bytes);
    for (bool more = true; more;) {
        one_step(whole, s, &f, caches, past, out);
        more = false;
        for (int64_t b = 0; b < s->sequences; b++)
            more |= past[b] < s->cu[b + 1] - s->cu[b];
    }
    free(caches[0]), free(caches[1]);
    return out;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double most = 1e-30, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        most = fabs((double)b[i]) > most ? fabs((double)b[i]) : most;
        worst = d <= worst ? worst : d;
    }
    return worst / most;
}

static shape cached_shape(cpu_dice *dice)
{
    shape s = random_shape(dice);
    s.self = true;
    s.spec.causal = true; /* what a chunk does not hold yet, it must not see */
    s.spec.window_right = -1;
    memcpy(s.cu_keys, s.cu, sizeof s.cu);
    return s;
}

static void check_cache(const char *isa, dt_dtype dtype, int64_t chunk, cpu_dice *dice)
{
    shape s = cached_shape(dice);
    rig_case c = case_of(&s, dice);
    int64_t n = c.in[DT_ATTENTION_Q].dim[0] * c.in[DT_ATTENTION_Q].dim[1];
    float *expected = through_cache(&c, &s, (feed){"reference", NULL, dtype, 200, 1});
    float *whole = through_cache(&c, &s, (feed){"cpu", isa, dtype, 200, 1});
    float *some = through_cache(&c, &s, (feed){"cpu", isa, dtype, chunk, 2});
    assert_true(distance(whole, expected, n) <= tolerance);
    assert_same_bits(some, whole, n);
    if (dtype == DT_F32) { /* a cache of f32 changes no bit */
        c.backend = "cpu", c.isa = isa, c.threads = 3;
        rig_result plain = rig_run(&c);
        assert_same_bits(plain.out[0], whole, n);
        rig_free(&plain);
    }
    free(expected), free(whole), free(some), free_case(&c);
}

static void cpu_attention__chunks_and_caches_change_no_bit(void **state)
{
    static const dt_dtype types[] = {DT_F32, DT_BF16, DT_F16};
    static const int64_t chunks[] = {1, 7, 64, 150};
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++) {
        cpu_dice dice = {(uint32_t)(*isa)[3] + 5};
        for (int round = 0; round < 12; round++)
            check_cache(*isa, types[round % 3], chunks[round % 4], &dice);
    }
}

static void cpu_attention__neighbours_change_no_bit(void **state)
{
    for (const char *const *isa = cpu_isas(); *isa != NULL; isa++) {
        cpu_dice dice = {(uint32_t)(*isa)[3] + 9};
        for (int round = 0; round < 6; round++) {
            shape s = random_shape(&dice);
            rig_case c = case_of(&s, &dice);
            c.backend = "cpu", c.isa = *isa, c.threads = 3;
            rig_result all = rig_run(&c);
            int64_t q = c.in[DT_ATTENTION_Q].dim[1], kv = c.in[DT_ATTENTION_K].dim[1];
            for (int64_t b = 0; b < s.sequences; b++) {
                int32_t cu[] = {0, s.cu[b + 1] - s.cu[b]}, keys[] = {0, s.cu_keys[b + 1] - s.cu_keys[b]};
                rig_case one = c;
                one.threads = 1;
                one.slack = 4;
                one.in[DT_ATTENTION_CU_ROWS] = rig_lengths(1, cu),
                one.in[DT_ATTENTION_CU_KEYS] = rig_lengths(1, keys);
                one.in[DT_ATTENTION_Q].data = (float *)c.in[DT_ATTENTION_Q].data + s.cu[b] * q;
                one.in[DT_ATTENTION_K].data = (float *)c.in[DT_ATTENTION_K].data + s.cu_keys[b] * kv;
                one.in[DT_ATTENTION_V].data = (float *)c.in[DT_ATTENTION_V].data + s.cu_keys[b] * kv;
                one.in[DT_ATTENTION_Q].dim[0] = cu[1];
                one.in[DT_ATTENTION_K].dim[0] = one.in[DT_ATTENTION_V].dim[0] = keys[1];
                rig_result r = rig_run(&one);
                assert_same_bits(r.out[0], all.out[0] + s.cu[b] * q, cu[1] * q);
                rig_free(&r);
            }
            rig_free(&all), free_case(&c);
        }
    }
}

static void cpu_attention__gradient_has_the_same_bits_with_any_threads(void **state)
{
    cpu_dice dice = {3};
    for (int round = 0; round < 6; round++) {
        shape s = random_shape(&dice);
        rig_case c = case_of(&s, &dice);
        rig_operand q = c.in[DT_ATTENTION_Q];
        c.kind = DT_OP_attention_grad, c.backend = "cpu";
        c.in[DT_ATTENTION_OUT] = rig_rows(q.dim[0], q.dim[1], cpu_floats(&dice, q.dim[0] * q.dim[1], 1));
        c.in[DT_ATTENTION_GRAD] = rig_rows(q.dim[0], q.dim[1], cpu_floats(&dice, q.dim[0] * q.dim[1], 1));
        rig_result one = rig_run(&c);
        for (c.threads = 2; c.threads <= 3; c.threads++) {
            rig_result r = rig_run(&c);
            for (int i = 0; i < 5; i++)
                if (one.out[i] != NULL)
                    assert_same_bits(r.out[i], one.out[i], one.n[i]);
            rig_free(&r);
        }
        rig_free(&one), free_case(&c);
    }
}

/* Cross attention while decoding: an encoder's keys are stored once, then read from the cache alone. */
static void cpu_attention__stored_keys_are_those_of_the_rows(void **state)
{
    enum { QUERIES = 3, KEYS = 150, A = 4, K = 2, D = 24 };
    cpu_dice dice = {5};
    dt_attention_spec spec = {
        .heads = A, .groups = K, .head_dim = D, .scale = 0.3, .window_left = -1, .window_right = -1};
    int32_t cu[] = {0, QUERIES}, cu_keys[] = {0, KEYS}, none[] = {0}, all[] = {KEYS}, table[] = {2, 0, 4};
    rig_case c = {.kind = DT_OP_attention, .attr.attention.spec = spec, .backend = "cpu"};
    c.in[DT_ATTENTION_Q] = rig_rows(QUERIES, A * D, cpu_floats(&dice, QUERIES * A * D, 2));
    rig_operand k = rig_on(rig_rows(KEYS, K * D, cpu_floats(&dice, KEYS * K * D, 2)), "keys");
    rig_operand v = rig_on(rig_rows(KEYS, K * D, cpu_floats(&dice, KEYS * K * D, 2)), "keys");
    c.in[DT_ATTENTION_CU_ROWS] = rig_lengths(1, cu), c.in[DT_ATTENTION_CU_KEYS] = rig_lengths(1, cu_keys);
    c.in[DT_ATTENTION_K] = k, c.in[DT_ATTENTION_V] = v;
    rig_result plain = rig_run(&c);

    rig_operand state_k = {.role = RIG_STATE, .rank = 3, .dim = {5, DT_KV_BLOCK, K * D}}, state_v = state_k;
    state_k.data = calloc(5 * DT_KV_BLOCK * K * D, 4), state_v.data = calloc(5 * DT_KV_BLOCK * K * D, 4);
    rig_operand blocks = {.role = RIG_INTS, .axis = "sequences", .rank = 2, .dim = {1, 3}, .data = table};
    rig_case store = {
        .kind = DT_OP_kv_store, .attr.kv_store = {.groups = K, .head_dim = D}, .backend = "cpu"};
    store.threads = 2;
    store.in[DT_KV_STORE_K] = k, store.in[DT_KV_STORE_V] = v;
    store.in[DT_KV_STORE_CU_SEQLENS] = rig_lengths(1, cu_keys);
    store.in[DT_KV_STORE_PAST] = rig_on(rig_ids(1, none), "sequences");
    store.in[DT_KV_STORE_BLOCK_TABLE] = blocks;
    store.in[DT_KV_STORE_K_CACHE] = state_k, store.in[DT_KV_STORE_V_CACHE] = state_v;
    rig_result nothing = rig_run(&store);
    rig_case read = c;
    read.in[DT_ATTENTION_K] = read.in[DT_ATTENTION_V] = read.in[DT_ATTENTION_CU_KEYS] = (rig_operand){0};
    read.in[DT_ATTENTION_PAST] = rig_on(rig_ids(1, all), "sequences");
    read.in[DT_ATTENTION_BLOCK_TABLE] = blocks;
    read.in[DT_ATTENTION_K_CACHE] = state_k, read.in[DT_ATTENTION_V_CACHE] = state_v;
    rig_result stored = rig_run(&read);
    assert_same_bits(stored.out[0], plain.out[0], QUERIES * A * D);
    rig_free(&plain), rig_free(&nothing), rig_free(&stored), free_case(&c);
    free(state_k.data), free(state_v.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_attention__agrees_with_the_reference),
        cmocka_unit_test(cpu_attention__chunks_and_caches_change_no_bit),
        cmocka_unit_test(cpu_attention__neighbours_change_no_bit),
        cmocka_unit_test(cpu_attention__gradient_has_the_same_bits_with_any_threads),
        cmocka_unit_test(cpu_attention__stored_keys_are_those_of_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
