/*
 * batch.c - bench_batch MODEL [ROWS [ROUNDS]]: how full ragged batches are kept.
 *
 * The same number of prompt and answer tokens twice: rows that are all alike, and rows whose prompts and answers differ
 * in length by up to 8 times. Both run in turn, ROUNDS times, in one process; the ratio of their tokens a second is told
 * for the median round. 1 would be no loss to raggedness; what is asked is 0.9. One thread, in the process' own time, so
 * that other programs disturb it little.
 */
#include <drivetrain/inference.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MEAN_PROMPT = 72, MEAN_ANSWER = 36, MOST_ROWS = 4096, MOST_ROUNDS = 99 };

typedef struct load {
    dt_prompt prompt[MOST_ROWS];
    int64_t answer[MOST_ROWS], written[MOST_ROWS];
    int64_t rows, tokens;
} load;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Lengths from 2/9 to 16/9 of the mean, in a scattered order; pairs of rows add up to twice the mean. */
static int64_t length(int64_t mean, int64_t row, bool ragged)
{
    int64_t step = (row / 2 * 5) % 8, spread = mean * (step - 3) / 9 - mean / 9;
    return ragged ? mean + (row % 2 ? -spread : spread) : mean;
}

static void fill(load *l, int64_t rows, bool ragged, const int32_t *ids)
{
    *l = (load){.rows = rows};
    for (int64_t i = 0; i < rows; i++) {
        l->prompt[i] = (dt_prompt){.tokens = ids + i, .count = (size_t)length(MEAN_PROMPT, i, ragged)};
        l->answer[i] = length(MEAN_ANSWER, i + 1, ragged);
        l->tokens += (int64_t)l->prompt[i].count + l->answer[i];
    }
}

static bool count_token(void *user, int64_t row, int32_t token)
{
    load *l = user;
    (void)token;
    return ++l->written[row] < l->answer[row];
}

/* Tokens a second; 0 after a failure, which is told. */
static double run(dt_model *model, load *l)
{
    dt_error err = {0};
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    char text[DT_ERROR_TEXT_BYTES];
    o.max_tokens = 2 * MEAN_ANSWER;
    o.ignore_eos = true;
    o.on_token = count_token;
    o.user = l;
    memset(l->written, 0, sizeof l->written);
    double begin = now();
    if (dt_generate(&g, model, (size_t)l->rows, l->prompt, &o, &err) != DT_OK) {
        dt_error_format(&err, text, sizeof text);
        fprintf(stderr, "bench_batch: %s\n", text);
        return 0;
    }
    double seconds = now() - begin;
    dt_generation_destroy(g);
    return (double)l->tokens / seconds;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static load even, ragged;
    static int32_t ids[MOST_ROWS + 4 * MEAN_PROMPT];
    double ratio[MOST_ROUNDS];
    dt_error err = {0};
    dt_model *model;
    int64_t rows = argc > 2 ? atoll(argv[2]) : 256, rounds = argc > 3 ? atoll(argv[3]) : 5;
    if (argc < 2 || rows < 2 || rows > MOST_ROWS || rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: bench_batch MODEL [ROWS [ROUNDS]]\n");
        return 2;
    }
    if (dt_model_open(&model, argv[1], &(dt_model_options){.threads = 1}, &err) != DT_OK) {
        fprintf(stderr, "bench_batch: %s\n", err.line[0]);
        return 1;
    }
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ids[i] = (int32_t)((i * 2654435761U >> 7) % (size_t)dt_model_get_config(model)->vocab_size);
    fill(&even, rows, false, ids);
    fill(&ragged, rows, true, ids);
    bool failed = run(model, &even) == 0 || run(model, &ragged) == 0; /* once for the caches */
    for (int64_t i = 0; i < rounds && !failed; i++) {
        double plain = run(model, &even), other = run(model, &ragged);
        ratio[i] = other / plain;
        printf("equal %8.0f tokens/s   ragged %8.0f tokens/s   ratio %.3f\n", plain, other, ratio[i]);
        fflush(stdout);
    }
    dt_model_close(model);
    if (failed)
        return 1;
    qsort(ratio, (size_t)rounds, sizeof *ratio, by_size);
    printf("median ratio %.3f\n", ratio[rounds / 2]);
    return 0;
}
