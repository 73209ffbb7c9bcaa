/*
 * attention_test.c - the reference attention against PyTorch, and what must not change its bits: neighbours,
 * chunks, caches, blocks in any order, threads.
 */
#include "backend/op_rig.h"

#include "../../golden/ops/torch_ops.h"

enum { A = 4, K = 2, D = 3 };

static const double tolerance = 2e-7;

/* Self attention over sequences of these lengths, no cache. */
static rig_case self_case(const dt_attention_spec *spec, int64_t sequences, int32_t *cu, float *q, float *k,
                          float *v)
{
    int64_t rows = cu[sequences];
    rig_case c = {.kind = DT_OP_attention, .attr.attention = {.spec = *spec, .self = true}};
    c.in[DT_ATTENTION_Q] = rig_rows(rows, spec->heads * spec->head_dim, q);
    c.in[DT_ATTENTION_K] = rig_rows(rows, spec->groups * spec->head_dim, k);
    c.in[DT_ATTENTION_V] = rig_rows(rows, spec->groups * spec->head_dim, v);
    c.in[DT_ATTENTION_CU_ROWS] = rig_lengths(sequences, cu);
    c.in[DT_ATTENTION_CU_KEYS] = rig_lengths(sequences, cu);
    return c;
}

static float *doubled(int64_t n, uint32_t seed)
{
    float *x = rig_numbers(n, seed);
    for (int64_t i = 0; i < n; i++)
        x[i] *= 2;
    return x;
}

static void free_floats(rig_case *c)
{
    for (int i = 0; i < DT_OP_MAX_INPUTS; i++)
        if (c->in[i].role == RIG_FLOATS || c->in[i].role == RIG_WEIGHT || c->in[i].role == RIG_STATE)
            free(c->in[i].data);
}

/* The gradient of the same case: appends the output and its gradient. */
static rig_result run_gradient(rig_case c, rig_result *forward, float *dy)
{
    rig_operand q = c.in[DT_ATTENTION_Q];
    c.kind = DT_OP_attention_grad;
    c.in[DT_ATTENTION_OUT] = rig_rows(q.dim[0], q.dim[1], forward->out[0]);
    c.in[DT_ATTENTION_GRAD] = rig_rows(q.dim[0], q.dim[1], dy);
    return rig_run(&c);
}

static void attention__window_cap_and_sink_are_pytorchs(void **state)
{
    dt_attention_spec spec = {.heads = A,
                              .groups = K,
                              .head_dim = D,
                              .scale = 0.7,
                              .causal = true,
                              .window_left = 2,
                              .window_right = -1,
                              .soft_cap = 1.5};
    int32_t cu[] = {0, 4, 6};
    rig_case c =
        self_case(&spec, 2, cu, doubled(6 * A * D, 11), doubled(6 * K * D, 12), doubled(6 * K * D, 13));
    c.in[DT_ATTENTION_SINK] = rig_weight(A, 0, rig_numbers(A, 16));
    float *dy = doubled(6 * A * D, 14);
    for (int threads = 1; threads <= 3; threads++) {
        c.threads = threads;
        rig_result r = rig_run(&c), g = run_gradient(c, &r, dy);
        assert_near(r.out[0], torch_attention_window, 6 * A * D, tolerance);
        assert_near(g.out[0], torch_attention_window_dq, 6 * A * D, tolerance);
        assert_near(g.out[1], torch_attention_window_dk, 6 * K * D, tolerance);
        assert_near(g.out[2], torch_attention_window_dv, 6 * K * D, tolerance);
        assert_null(g.out[3]);
        assert_near(g.out[4], torch_attention_window_dsink, A, tolerance);
        rig_free(&r), rig_free(&g);
    }
    free_floats(&c), free(dy);
}

static void attention__bucketed_bias_is_transformers(void **state)
{
    dt_attention_spec spec = {.heads = 2,
                              .groups = 2,
                              .head_dim = D,
                              .scale = 1,
                              .window_left = -1,
                              .window_right = -1,
                              .bias_max_distance = 10,
                              .bias_bidirectional = true};
    int32_t cu[] = {0, 5, 6};
    rig_case c =
        self_case(&spec, 2, cu, doubled(6 * 2 * D, 11), doubled(6 * 2 * D, 12), doubled(6 * 2 * D, 13));
    c.in[DT_ATTENTION_BIAS_TABLE] = rig_weight(8, 2, rig_numbers(16, 15));
    float *dy = doubled(6 * 2 * D, 14);
    rig_result r = rig_run(&c), g = run_gradient(c, &r, dy);
    assert_near(r.out[0], torch_attention_bias, 6 * 2 * D, tolerance);
    assert_near(g.out[0], torch_attention_bias_dq, 6 * 2 * D, tolerance);
    assert_near(g.out[1], torch_attention_bias_dk, 6 * 2 * D, tolerance);
    assert_near(g.out[2], torch_attention_bias_dv, 6 * 2 * D, tolerance);
    assert_near(g.out[3], torch_attention_bias_dbias, 8 * 2, tolerance);
    rig_free(&r), rig_free(&g), free_floats(&c), free(dy);
}

static dt_attention_spec plain_spec(bool causal)
{
    return (dt_attention_spec){.heads = A,
                               .groups = K,
                               .head_dim = D,
                               .scale = 0.6,
                               .causal = causal,
                               .window_left = -1,
                               .window_right = -1};
}

static void attention__causal_output_ignores_later_tokens(void **state)
{
    dt_attention_spec spec = plain_spec(true);
    int32_t cu[] = {0, 7};
    rig_case c = self_case(&spec, 1, cu, rig_numbers(7 * A * D, 1), rig_numbers(7 * K * D, 2),
                           rig_numbers(7 * K * D, 3));
    rig_result before = rig_run(&c);
    ((float *)c.in[DT_ATTENTION_K].data)[5 * K * D] += 1;
    ((float *)c.in[DT_ATTENTION_V].data)[5 * K * D] += 1;
    rig_result after = rig_run(&c);
    assert_same_bits(before.out[0], after.out[0], 5 * A * D); /* rows 0..4 */
    for (int t = 5; t < 7; t++)                               /* or the test proves nothing */
        assert_memory_not_equal(before.out[0] + t * A * D, after.out[0] + t * A * D, A * D * sizeof(float));
    rig_free(&before), rig_free(&after), free_floats(&c);
}

static void attention__ragged_rows_have_the_bits_of_rows_alone(void **state)
{
    dt_attention_spec spec = plain_spec(false);
    int32_t cu[] = {0, 3, 3, 11, 12};
    float *q = rig_numbers(12 * A * D, 1), *k = rig_numbers(12 * K * D, 2), *v = rig_numbers(12 * K * D, 3);
    rig_case c = self_case(&spec, 4, cu, q, k, v);
    c.threads = 3;
    rig_result all = rig_run(&c);
    for (int b = 0; b < 4; b++) {
        int32_t alone[] = {0, cu[b + 1] - cu[b]};
        rig_case one = self_case(&spec, 1, alone, q + cu[b] * A * D, k + cu[b] * K * D, v + cu[b] * K * D);
        one.slack = 4;
        rig_result r = rig_run(&one);
        assert_same_bits(r.out[0], all.out[0] + cu[b] * A * D, alone[1] * A * D);
        rig_free(&r);
    }
    rig_free(&all), free_floats(&c);
}

/* Rows at the end that no sequence owns are zeros, and so is what a query that sees no key attends to. */
static void attention__rows_without_keys_are_zeros(void **state)
{
    dt_attention_spec spec = plain_spec(false);
    int32_t rows[] = {0, 2, 4}, keys[] = {0, 0, 3};
    float zeros[2 * A * D] = {0};
    rig_case c = self_case(&spec, 2, rows, rig_numbers(6 * A * D, 1), rig_numbers(3 * K * D, 2),
                           rig_numbers(3 * K * D, 3));
    c.attr.attention.self = false;
    c.in[DT_ATTENTION_Q].dim[0] = 6;
    c.in[DT_ATTENTION_K] = rig_on(c.in[DT_ATTENTION_K], "keys");
    c.in[DT_ATTENTION_V] = rig_on(c.in[DT_ATTENTION_V], "keys");
    c.in[DT_ATTENTION_K].dim[0] = c.in[DT_ATTENTION_V].dim[0] = 3;
    c.in[DT_ATTENTION_CU_KEYS].data = keys;
    rig_result r = rig_run(&c);
    assert_same_bits(r.out[0], zeros, 2 * A * D);
    assert_memory_not_equal(r.out[0] + 2 * A * D, zeros, sizeof zeros);
    assert_same_bits(r.out[0] + 4 * A * D, zeros, 2 * A * D);
    rig_free(&r), free_floats(&c);
}

/* ---- caches ---- */

enum { LONG = 150, BLOCKS = 4 };

/* One sequence of LONG rows fed through a cache of type `dtype` in chunks; the outputs side by side. */
static float *run_chunks(const dt_attention_spec *spec, dt_dtype dtype, int64_t chunk, int threads)
{
    static int32_t table[BLOCKS] = {5, 0, 3, 1}; /* blocks need not follow each other */
    float *q = rig_numbers(LONG * A * D, 1), *k = rig_numbers(LONG * K * D, 2),
          *v = rig_numbers(LONG * K * D, 3);
    float *out = malloc(LONG * A * D * sizeof *out);
    rig_operand state = {.role = RIG_STATE, .rank = 3, .dim = {6, DT_KV_BLOCK, K * D}, .dtype = dtype};
    void *caches[2] = {calloc(6 * DT_KV_BLOCK * K * D, 4), calloc(6 * DT_KV_BLOCK * K * D, 4)};
    for (int64_t at = 0; at < LONG; at += chunk) {
        int32_t past[] = {(int32_t)at}, cu[] = {0, (int32_t)(LONG - at < chunk ? LONG - at : chunk)};
        rig_case c = self_case(spec, 1, cu, q + at * A * D, k + at * K * D, v + at * K * D);
        c.threads = threads;
        c.in[DT_ATTENTION_PAST] = rig_on(rig_ids(1, past), "sequences");
        c.in[DT_ATTENTION_BLOCK_TABLE] = (rig_operand){
            .role = RIG_INTS, .axis = "sequences", .rank = 2, .dim = {1, BLOCKS}, .data = table};
        c.in[DT_ATTENTION_K_CACHE] = c.in[DT_ATTENTION_V_CACHE] = state;
        c.in[DT_ATTENTION_K_CACHE].data = caches[0];
        c.in[DT_ATTENTION_V_CACHE].data = caches[1];
        rig_result r = rig_run(&c);
        memcpy(out + at * A * D, r.out[0], (size_t)r.n[0] * sizeof *out);
        rig_free(&r);
    }
    free(q), free(k), free(v), free(caches[0]), free(caches[1]);
    return out;
}

static void check_chunks(const dt_attention_spec *spec, dt_dtype dtype)
{
    float *whole = run_chunks(spec, dtype, LONG, 1);
    static const int64_t chunks[] = {1, 7, 64, 149};
    for (int i = 0; i < 4; i++) {
        float *some = run_chunks(spec, dtype, chunks[i], 1 + i % 2);
        assert_same_bits(some, whole, LONG * A * D);
        free(some);
    }
    free(whole);
}

static void attention__chunks_have_the_bits_of_the_whole(void **state)
{
    dt_attention_spec spec = plain_spec(true);
    check_chunks(&spec, DT_F32);
    check_chunks(&spec, DT_BF16);
    spec.window_left = 40;
    check_chunks(&spec, DT_F16);
}

static void attention__a_cache_of_f32_changes_no_bit(void **state)
{
    dt_attention_spec spec = plain_spec(true);
    int32_t cu[] = {0, LONG};
    rig_case c = self_case(&spec, 1, cu, rig_numbers(LONG * A * D, 1), rig_numbers(LONG * K * D, 2),
                           rig_numbers(LONG * K * D, 3));
    rig_result plain = rig_run(&c);
    float *cached = run_chunks(&spec, DT_F32, 7, 2);
    assert_same_bits(cached, plain.out[0], LONG * A * D);
    rig_free(&plain), free_floats(&c), free(cached);
}

/* Cross attention while decoding: an encoder's keys are stored once, then read from the cache alone. */
static void attention__stored_keys_are_those_of_the_rows(void **state)
{
    enum { QUERIES = 3, KEYS = 70 };
    dt_attention_spec spec = plain_spec(false);
    int32_t cu[] = {0, QUERIES}, cu_keys[] = {0, KEYS}, past[] = {0}, table[] = {2, 0};
    float *q = rig_numbers(QUERIES * A * D, 1), *k = rig_numbers(KEYS * K * D, 2),
          *v = rig_numbers(KEYS * K * D, 3);
    rig_operand rows = rig_on(rig_rows(KEYS, K * D, k), "keys"),
                values = rig_on(rig_rows(KEYS, K * D, v), "keys");
    rig_operand blocks = {.role = RIG_INTS, .axis = "sequences", .rank = 2, .dim = {1, 2}, .data = table};
    rig_operand state_k = {.role = RIG_STATE, .rank = 3, .dim = {3, DT_KV_BLOCK, K * D}}, state_v = state_k;
    state_k.data = calloc(3 * DT_KV_BLOCK * K * D, 4), state_v.data = calloc(3 * DT_KV_BLOCK * K * D, 4);
    rig_operand stored = rig_on(rig_ids(1, past), "sequences");

    rig_case c = {.kind = DT_OP_attention, .attr.attention.spec = spec};
    c.in[DT_ATTENTION_Q] = rig_rows(QUERIES, A * D, q);
    c.in[DT_ATTENTION_K] = rows, c.in[DT_ATTENTION_V] = values;
    c.in[DT_ATTENTION_CU_ROWS] = rig_lengths(1, cu), c.in[DT_ATTENTION_CU_KEYS] = rig_lengths(1, cu_keys);
    rig_result plain = rig_run(&c);

    rig_case store = {.kind = DT_OP_kv_store, .attr.kv_store = {.groups = K, .head_dim = D}, .threads = 2};
    store.in[DT_KV_STORE_K] = rows, store.in[DT_KV_STORE_V] = values;
    store.in[DT_KV_STORE_CU_SEQLENS] = rig_lengths(1, cu_keys), store.in[DT_KV_STORE_PAST] = stored;
    store.in[DT_KV_STORE_BLOCK_TABLE] = blocks;
    store.in[DT_KV_STORE_K_CACHE] = state_k, store.in[DT_KV_STORE_V_CACHE] = state_v;
    rig_result nothing = rig_run(&store);

    past[0] = KEYS;
    c.in[DT_ATTENTION_K] = c.in[DT_ATTENTION_V] = c.in[DT_ATTENTION_CU_KEYS] = (rig_operand){0};
    c.in[DT_ATTENTION_PAST] = stored, c.in[DT_ATTENTION_BLOCK_TABLE] = blocks;
    c.in[DT_ATTENTION_K_CACHE] = state_k, c.in[DT_ATTENTION_V_CACHE] = state_v;
    rig_result cached = rig_run(&c);
    assert_same_bits(cached.out[0], plain.out[0], QUERIES * A * D);
    rig_free(&plain), rig_free(&nothing), rig_free(&cached);
    free(q), free(k), free(v), free(state_k.data), free(state_v.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention__window_cap_and_sink_are_pytorchs),
        cmocka_unit_test(attention__bucketed_bias_is_transformers),
        cmocka_unit_test(attention__causal_output_ignores_later_tokens),
        cmocka_unit_test(attention__ragged_rows_have_the_bits_of_rows_alone),
        cmocka_unit_test(attention__rows_without_keys_are_zeros),
        cmocka_unit_test(attention__chunks_have_the_bits_of_the_whole),
        cmocka_unit_test(attention__a_cache_of_f32_changes_no_bit),
        cmocka_unit_test(attention__stored_keys_are_those_of_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
