/*
 * kernels.c - the cpu backend's products and attention as fractions of what the machine can do, one pinned thread.
 *
 *     bench_kernels [CPU [ISA]]        e.g. bench_kernels 1 avx2
 *
 * Limits are measured beside every case: slices of about 20 ms of the limit and of the kernel alternate, and the median
 * of the rounds' ratios is printed with its quartiles, and the best limit over the best run ("best"), which a busy
 * machine disturbs least. A case's limit is the longer of (bytes of weights or cache / read
 * bandwidth) and (operations / peak of the type). Weights come from memory: copies of more than 128 MB in turn.
 */
#include "limits.h"

#include "backend/backend.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUNDS = 15, SIDE = 4096 };
static const double slice = 0.02;
static const size_t from_memory = (size_t)160 << 20;

typedef struct machine {
    const char *isa;
    dt_pool *pool;
    const void *read; /* what the bandwidth is measured over */
    size_t read_bytes;
} machine;

static void *take(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "bench_kernels: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

static void fill(float *x, int64_t n)
{
    uint32_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
}

/* ---- a case: something to run, what it moves and computes ---- */

typedef struct bench_case {
    const char *name;
    char size[32];
    double bytes, operations; /* of one run */
    double (*peak)(double seconds);
    const dt_kernel *kernel;
    dt_kernel_call call;
    void **turn[2]; /* operands that rotate through copies */
    char *copies[2];
    size_t copy_bytes;
    int copy_count, next;
} bench_case;

static void run_once(bench_case *c)
{
    for (int i = 0; i < 2; i++)
        if (c->turn[i] != NULL)
            *c->turn[i] = c->copies[i] + (size_t)c->next * c->copy_bytes;
    c->next = (c->next + 1) % c->copy_count;
    c->kernel->run(&c->call, 0, 1);
}

static double seconds_a_run(bench_case *c)
{
    double start = bench_seconds(), now = start;
    int runs = 0;
    for (; now - start < slice || runs < 2; now = bench_seconds(), runs++)
        run_once(c);
    return (now - start) / runs;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const machine *m, bench_case *c)
{
    double ratio[ROUNDS], best = 1e30, best_memory = 1e30, best_arithmetic = 1e30;
    for (int i = 0; i < c->copy_count && i < 3; i++)
        run_once(c);
    for (int i = 0; i < ROUNDS; i++) {
        double memory = c->bytes / bench_read(m->read, m->read_bytes, slice / 2);
        double peak = c->peak(slice / 4), arithmetic = peak > 0 ? c->operations / peak : 0;
        double seconds = seconds_a_run(c);
        ratio[i] = (memory > arithmetic ? memory : arithmetic) / seconds;
        best = seconds < best ? seconds : best;
        best_memory = memory < best_memory ? memory : best_memory;
        best_arithmetic = arithmetic < best_arithmetic ? arithmetic : best_arithmetic;
    }
    qsort(ratio, ROUNDS, sizeof *ratio, ascending);
    bool by_memory = best_memory > best_arithmetic;
    printf("%-22s %-14s %9.1f us %6.1f GB/s %7.1f GOP/s  %.2f [%.2f %.2f] best %.2f of %s\n", c->name,
           c->size, best * 1e6, c->bytes / best * 1e-9, c->operations / best * 1e-9, ratio[ROUNDS / 2],
           ratio[ROUNDS / 4], ratio[ROUNDS - 1 - ROUNDS / 4],
           (by_memory ? best_memory : best_arithmetic) / best, by_memory ? "bandwidth" : "peak");
    fflush(stdout);
}

/* ---- products ---- */

static const dt_backend *backend_of(const machine *m, dt_dtype dtype)
{
    const dt_backend *backend;
    dt_error err = {0};
    char text[DT_ERROR_TEXT_BYTES];
    if (dt_backend_find(&backend, "cpu", dtype, m->isa, &err) == DT_OK)
        return backend;
    dt_error_format(&err, text, sizeof text);
    fprintf(stderr, "bench_kernels: %s\n", text);
    exit(1);
}

/* SIDE x SIDE weights in the backend's type; `bits` random ones of small finite values will do. */
static void fill_packed(char *packed, size_t bytes, dt_dtype dtype)
{
    uint32_t state = 7;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        state = state * 1664525u + 1013904223u;
        uint32_t x = dtype == DT_F32 ? (state >> 9 | 0x3f800000u) : (state & 0x83ff83ffu) | 0x38003800u;
        if (dtype == DT_BF16)
            x = (state & 0x807f807fu) | 0x3f003f00u;
        memcpy(packed + i, &x, 4);
    }
}

static void bench_linear(const machine *m, dt_dtype dtype, int64_t rows)
{
    const dt_backend *backend = backend_of(m, dtype);
    dt_tensor w = {.kind = DT_TENSOR_PARAM, .rank = 2, .dim = {{NULL, SIDE}, {NULL, SIDE}}};
    dt_tensor x = {.kind = DT_TENSOR_VALUE, .rank = 2, .dim = {{NULL, rows}, {NULL, SIDE}}};
    dt_op op = {.kind = DT_OP_linear, .input_count = 2, .output_count = 1, .input = {&x, &w}};
    const dt_weight_form *form = backend->form(backend, &op, 1);
    size_t bytes = form->bytes(form, SIDE, SIDE);
    bench_case c = {.kernel = backend->kernel(backend, &op), .copy_bytes = (bytes + 63) / 64 * 64};
    c.name = c.kernel->name;
    snprintf(c.size, sizeof c.size, "T=%lld", (long long)rows);
    c.peak = dtype == DT_BF16 ? bench_peak_bf16 : dtype == DT_Q8_0 ? bench_peak_int8 : bench_peak_f32;
    c.copy_count = (int)(from_memory / bytes) + 1;
    c.copies[0] = take(c.copy_bytes * (size_t)c.copy_count);
    for (int i = 0; i < c.copy_count; i++)
        fill_packed(c.copies[0] + (size_t)i * c.copy_bytes, bytes, dtype);
    dt_weight weight = {.form = form, .rows = SIDE, .cols = SIDE};
    float *in = take((size_t)(rows * SIDE) * 4), *out = take((size_t)(rows * SIDE) * 4);
    fill(in, rows * SIDE);
    c.call = (dt_kernel_call){.op = &op, .pool = m->pool};
    c.call.input[0] = (dt_data){.data = in, .rank = 2, .dim = {rows, SIDE}, .dtype = DT_F32};
    c.call.input[1] = (dt_data){.rank = 2, .dim = {SIDE, SIDE}, .dtype = form->dtype, .weight = &weight};
    c.call.output[0] = (dt_data){.data = out, .rank = 2, .dim = {rows, SIDE}, .dtype = DT_F32};
    size_t room = c.kernel->scratch(&op, 1) + 64;
    c.call.scratch = take(room);
    c.turn[0] = &c.call.input[1].data;
    c.bytes = (double)bytes;
    c.operations = 2.0 * (double)rows * SIDE * SIDE;
    measure(m, &c);
    munmap(c.copies[0], c.copy_bytes * (size_t)c.copy_count);
    munmap(in, (size_t)(rows * SIDE) * 4), munmap(out, (size_t)(rows * SIDE) * 4),
        munmap(c.call.scratch, room);
}

/* ---- attention: 32 query heads over 8 groups of 128 ---- */

enum { HEADS = 32, GROUPS = 8, D = 128 };

typedef struct attention_case {
    dt_op op;
    dt_tensor q, k, cu, past, table, state;
    int32_t cu_values[2], past_value, *blocks;
} attention_case;

static void describe_attention(attention_case *a, int64_t rows, int64_t stored, dt_dtype dtype)
{
    int64_t blocks = (stored + rows + DT_KV_BLOCK - 1) / DT_KV_BLOCK;
    a->q = (dt_tensor){.rank = 2, .dim = {{NULL, rows}, {NULL, HEADS * D}}};
    a->k = (dt_tensor){.rank = 2, .dim = {{NULL, rows}, {NULL, GROUPS * D}}};
    a->cu = (dt_tensor){.rank = 1, .dim = {{NULL, 2}}};
    a->past = (dt_tensor){.rank = 1, .dim = {{NULL, 1}}};
    a->table = (dt_tensor){.rank = 2, .dim = {{NULL, 1}, {NULL, blocks}}};
    a->state = (dt_tensor){
        .rank = 3, .dtype = dtype, .dim = {{NULL, blocks}, {NULL, DT_KV_BLOCK}, {NULL, GROUPS * D}}};
    a->cu_values[1] = (int32_t)rows;
    a->past_value = (int32_t)stored;
    a->blocks = take((size_t)blocks * 4);
    for (int64_t i = 0; i < blocks; i++)
        a->blocks[i] = (int32_t)i;
    a->op = (dt_op){.kind = DT_OP_attention, .input_count = 11, .output_count = 1};
    a->op.attr.attention.spec = (dt_attention_spec){.heads = HEADS,
                                                    .groups = GROUPS,
                                                    .head_dim = D,
                                                    .scale = 0.088,
                                                    .causal = true,
                                                    .window_left = -1,
                                                    .window_right = -1};
    a->op.attr.attention.self = true;
    dt_tensor *in[] = {&a->q, &a->k, &a->k, &a->cu, &a->cu, &a->past, &a->table, &a->state, &a->state};
    memcpy(a->op.input, in, sizeof in);
}

static dt_data bound(const dt_tensor *t, void *data)
{
    dt_data d = {.data = data, .rank = t->rank, .dtype = t->dtype};
    for (int i = 0; i < t->rank; i++)
        d.dim[i] = t->dim[i].n;
    return d;
}

static void bench_attention(const machine *m, dt_dtype dtype, int64_t rows, int64_t stored)
{
    const dt_backend *backend = backend_of(m, DT_F32);
    attention_case a = {0};
    describe_attention(&a, rows, stored, dtype);
    bench_case c = {.name = dtype == DT_F32 ? "attention f32 cache" : "attention bf16 cache"};
    c.kernel = backend->kernel(backend, &a.op);
    snprintf(c.size, sizeof c.size, "T=%lld S=%lld", (long long)rows, (long long)(stored + rows));
    c.peak = bench_peak_f32;
    c.copy_bytes = (size_t)(a.state.dim[0].n * DT_KV_BLOCK * GROUPS * D) * (dtype == DT_F32 ? 4 : 2);
    c.copy_count = (int)(from_memory / c.copy_bytes / 2) + 1;
    for (int i = 0; i < 2; i++) {
        c.copies[i] = take(c.copy_bytes * (size_t)c.copy_count);
        fill_packed(c.copies[i], c.copy_bytes * (size_t)c.copy_count, dtype);
        c.turn[i] = &c.call.input[DT_ATTENTION_K_CACHE + i].data;
    }
    float *q = take((size_t)(rows * HEADS * D) * 4), *k = take((size_t)(rows * GROUPS * D) * 4),
          *out = take((size_t)(rows * HEADS * D) * 4);
    fill(q, rows * HEADS * D), fill(k, rows * GROUPS * D);
    c.call.op = &a.op;
    c.call.pool = m->pool;
    void *data[] = {q, k, k, a.cu_values, a.cu_values, &a.past_value, a.blocks, NULL, NULL};
    for (int i = 0; i < 9; i++)
        c.call.input[i] = bound(a.op.input[i], data[i]);
    c.call.output[0] = bound(&a.q, out);
    c.call.scratch = take(c.kernel->scratch(&a.op, 1) + 64);
    c.bytes = 2.0 * (double)c.copy_bytes;
    double pairs = (double)rows * (double)stored + 0.5 * (double)rows * (double)(rows + 1);
    c.operations = 4.0 * HEADS * D * pairs;
    measure(m, &c);
    for (int i = 0; i < 2; i++)
        munmap(c.copies[i], c.copy_bytes * (size_t)c.copy_count);
}

int main(int argc, char **argv)
{
    static const int64_t rows[] = {1, 2, 4, 8, 16, 64, 512};
    static const dt_dtype types[] = {DT_F32, DT_BF16, DT_F16, DT_Q8_0};
    machine m = {.isa = argc > 2 ? argv[2] : NULL};
    dt_error err = {0};
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(argc > 1 ? atoi(argv[1]) : sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    if (dt_pool_create(&m.pool, 1, &err) != DT_OK)
        return 1;
    m.read_bytes = (size_t)192 << 20;
    void *read = take(m.read_bytes);
    fill(read, (int64_t)m.read_bytes / 4);
    m.read = read;
    printf("one thread: read %.1f GB/s, f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s, int8 %.0f GOP/s\n",
           bench_read(m.read, m.read_bytes, 0.3) * 1e-9, bench_peak_f32(0.2) * 1e-9,
           bench_peak_bf16(0.2) * 1e-9, bench_peak_int8(0.2) * 1e-9);
    const char *only = getenv("BENCH_ONLY"); /* a word of a case's type: f32, bf16, f16, q8_0, attention */
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < 7 && (only == NULL || strcmp(only, dt_dtype_name(types[t])) == 0); i++)
            bench_linear(&m, types[t], rows[i]);
    if (only == NULL || strcmp(only, "attention") == 0) {
        bench_attention(&m, DT_F32, 1, 4095);
        bench_attention(&m, DT_BF16, 1, 4095);
        bench_attention(&m, DT_F32, 512, 0);
        bench_attention(&m, DT_BF16, 512, 0);
    }
    dt_pool_destroy(m.pool);
    return 0;
}
