/*
 * bench.c - `drivetrain bench`: how fast a model runs here, as fractions of what this machine can do.
 *
 * The read bandwidth is measured in the same run, before and after, on one thread and on all; decode is judged by
 * the weight bytes it must stream. The programs in bench/ compare kernels and peers.
 */
#include "cli/common.h"

#include "base/pool.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const option_spec options[] = {
    {"prompt-tokens", 0, OPTION_INT, "N", "tokens of each prompt [128]"},
    {"new-tokens", 0, OPTION_INT, "N", "tokens to generate [64]"},
    {"batch", 0, OPTION_INT, "N", "prompts at once [1]"},
    {"rounds", 0, OPTION_INT, "N", "repetitions; medians are shown [3]"},
    DTYPE_OPTION,
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

enum { MAX_ROUNDS = 101, READ_BYTES = 256 << 20 };

/* ---- read bandwidth ---- */

typedef struct reading {
    const uint64_t *data;
    size_t words;
    uint64_t sum[256]; /* one a thread: keeps the reads from being optimised away */
} reading;

static void read_share(void *context, int thread, int threads)
{
    reading *r = context;
    int64_t begin, end;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    dt_share((int64_t)r->words, 512, thread, threads, &begin, &end);
    for (int64_t i = begin; i + 4 <= end; i += 4) {
        a += r->data[i];
        b += r->data[i + 1];
        c += r->data[i + 2];
        d += r->data[i + 3];
    }
    r->sum[thread & 255] = a + b + c + d;
}

/* Bytes a second that this many threads read from memory; the best of three passes. 0 when memory is short. */
static double read_bandwidth(int threads)
{
    dt_pool *pool;
    double best = 0;
    reading r = {.data = malloc(READ_BYTES), .words = READ_BYTES / sizeof(uint64_t)};
    if (!r.data || dt_pool_create(&pool, threads, NULL) != DT_OK) {
        free((void *)(uintptr_t)r.data);
        return 0;
    }
    memset((void *)(uintptr_t)r.data, 1, READ_BYTES);
    for (int i = 0; i < 3; i++) {
        double started = seconds_now();
        dt_pool_run(pool, read_share, &r);
        double bandwidth = READ_BYTES / (seconds_now() - started);
        best = bandwidth > best ? bandwidth : best;
    }
    dt_pool_destroy(pool);
    free((void *)(uintptr_t)r.data);
    return best;
}

/* ---- one model ---- */

typedef struct measured {
    double prefill, decode; /* tokens a second */
    double seconds;         /* of a whole round */
    uint64_t peak;
} measured;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

static int32_t *random_prompt(const dt_model_config *c, int64_t count)
{
    int32_t *ids = malloc((size_t)count * sizeof *ids);
    for (int64_t i = 0; ids && i < count; i++)
        ids[i] = (int32_t)((uint64_t)(i * 7919 + 13) % (uint64_t)c->vocab_size);
    return ids;
}

static dt_status measure(dt_model *model, const command_line *line, measured *out, dt_error *err)
{
    int64_t batch = int_of(line, "batch", 1), prompt = int_of(line, "prompt-tokens", 128);
    int rounds = (int)int_of(line, "rounds", 3);
    double prefill[MAX_ROUNDS], decode[MAX_ROUNDS], seconds[MAX_ROUNDS];
    const dt_model_config *config = dt_model_get_config(model);
    if (!dt_config_reads(config))
        return dt_fail(err, DT_UNSUPPORTED, "this %s reads no text: bench measures models that write",
                       config->family);
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    dt_prompt *prompts = calloc((size_t)batch, sizeof *prompts);
    int32_t *ids = random_prompt(config, prompt);
    dt_status status = prompts && ids ? DT_OK : dt_fail_memory(err, (size_t)prompt * 4, "prompts");
    o.max_tokens = int_of(line, "new-tokens", 64);
    o.ignore_eos = true;
    for (int64_t b = 0; status == DT_OK && b < batch; b++)
        prompts[b] = (dt_prompt){.tokens = ids, .count = (size_t)prompt};
    for (int i = -1; status == DT_OK && i < rounds; i++) { /* the first round warms up */
        dt_generation *g;
        status = dt_generate(&g, model, (size_t)batch, prompts, &o, err);
        if (status != DT_OK)
            break;
        dt_generation_timing t = dt_generation_timing_of(g);
        if (i >= 0) {
            seconds[i] = t.prefill_seconds + t.decode_seconds;
            prefill[i] = (double)t.prefill_tokens / t.prefill_seconds;
            decode[i] = t.decode_seconds > 0 ? (double)t.decode_tokens / t.decode_seconds : 0;
        }
        out->peak = t.peak_bytes;
        dt_generation_destroy(g);
    }
    if (status == DT_OK) {
        out->prefill = median(prefill, rounds);
        out->decode = median(decode, rounds);
        out->seconds = median(seconds, rounds);
    }
    free(prompts);
    free(ids);
    return status;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_model_options o;
    dt_model *model;
    measured m = {0};
    int64_t batch = int_of(line, "batch", 1), rounds = int_of(line, "rounds", 3);
    if (batch < 1 || batch > 4096 || rounds < 1 || rounds > MAX_ROUNDS ||
        int_of(line, "prompt-tokens", 128) < 1 || int_of(line, "new-tokens", 64) < 1)
        return usage_error(line, "--batch is 1 to 4096, --rounds 1 to %d, the token counts at least 1",
                           MAX_ROUNDS);
    if (!model_options_of(line, &o))
        return DT_EXIT_USAGE;
    int threads = o.threads ? o.threads : dt_usable_cores();
    if (dt_model_open(&model, line->positional[0], &o, &err) != DT_OK)
        return report_failure(&err);
    double bandwidth = read_bandwidth(threads);
    dt_status status = measure(model, line, &m, &err);
    double after = read_bandwidth(threads);
    bandwidth = after > bandwidth ? after : bandwidth;
    dt_checkpoint_about about = dt_checkpoint_describe(dt_model_checkpoint(model));
    dt_model_close(model);
    if (status != DT_OK)
        return report_failure(&err);
    double streamed = m.decode / (double)batch * (double)about.bytes;
    if (flag(line, "json")) {
        print_json(json_pack("[{s:s, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:I}]", "model", line->positional[0],
                             "threads", threads, "batch", (json_int_t)batch, "prefill_tokens_per_second",
                             m.prefill, "decode_tokens_per_second", m.decode, "seconds", m.seconds,
                             "read_bytes_per_second", bandwidth, "decode_bandwidth_ratio",
                             bandwidth > 0 ? streamed / bandwidth : 0.0, "peak_bytes", (json_int_t)m.peak));
        return DT_EXIT_DONE;
    }
    char rate[16], peak[16];
    dt_human_bytes((uint64_t)bandwidth, rate);
    dt_human_bytes(m.peak, peak);
    printf("%d threads, batch %lld; this machine reads %s/s\n", threads, (long long)batch, rate);
    printf("prefill  %10.1f tokens/s\n", m.prefill);
    printf("decode   %10.1f tokens/s  (stored weights x steps = %.2f of the read bandwidth)\n", m.decode,
           bandwidth > 0 ? streamed / bandwidth : 0.0);
    printf("memory   %10s   packed weights, caches and plans\n", peak);
    return DT_EXIT_DONE;
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         NULL};
static const char *const examples[] = {"bench t5-small/ --batch 8", "bench llama/ --dtype bf16 --threads 1",
                                       NULL};

const command_spec command_bench = {
    .name = "bench",
    .summary = "measure prefill and decode here, beside what the machine can do",
    .usage = "MODEL [options]",
    .about = "",
    .positional_min = 1,
    .positional_max = 1,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "Small models are read from cache, so their ratio may pass 1. Kernels and peers: the programs in "
            "bench/.",
    .run = run,
};
