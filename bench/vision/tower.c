/*
 * tower.c - a vision tower kept ready, and timed whenever compare.py asks: bench_tower MODEL DTYPE THREADS [ISA].
 *
 * Each line of input is a request, each answered by one line:
 *
 *     run PIXELS N H W [N H W ...]     the tower over so many pictures of each size: wall and processor seconds, rows
 *     one PIXELS N H W ...             the same with the first layer only
 *     write PIXELS OUT N H W ...       the hidden rows (f32) to file OUT: their number
 *     prepare PICTURE FOLDER           one file decoded, then made into pixels by FOLDER's processor: seconds of each
 *     limits                           peaks of this core: f32 and bf16, FLOP/s
 *
 * PIXELS is a file of f32 that pictures are read from, one behind another. A run begins with pixels and ends with the
 * tower's rows: laying out patches is inside. Plans are made, and weights packed, at the first request of a size.
 */
#include "../limits.h"

#include "inference/model.h"
#include "models/build.h"
#include "models/pictures.h"

#include <drivetrain/image.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_PICTURES = 256, MAX_PLANS = 16, LINE = 4096, PATH = 1024 };

/* What is run. */
typedef enum part { FIRST_LAYER, WHOLE, WHOLE_KEPT } part;

/* A tower planned for so many rows; kept: its points may be read. */
typedef struct planned {
    part part;
    int64_t images, rows;
    dt_model_config config;
    dt_graph *graph;
    dt_executor *executor;
} planned;

typedef struct bench {
    dt_model *model;
    planned plan[MAX_PLANS];
    int plans;
    char path[PATH]; /* of the pixels that are held */
    float *pixels;
    size_t elements;
    dt_picture picture[MAX_PICTURES];
    int64_t count;
    dt_error err;
} bench;

static double clock_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is asked ---- */

static bool read_pixels(bench *b, const char *path)
{
    if (b->pixels && strcmp(path, b->path) == 0)
        return true;
    free(b->pixels);
    b->pixels = NULL;
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        return false;
    long bytes = ftell(f);
    rewind(f);
    b->elements = (size_t)bytes / sizeof *b->pixels;
    b->pixels = malloc((size_t)bytes);
    bool read = b->pixels && fread(b->pixels, 1, (size_t)bytes, f) == (size_t)bytes;
    fclose(f);
    snprintf(b->path, sizeof b->path, "%s", path);
    return read;
}

/* "N H W" again and again: where each picture's pixels begin. */
static bool read_sizes(bench *b, char *text)
{
    size_t at = 0;
    b->count = 0;
    for (char *end; *text && *text != '\n'; text = end) {
        long n = strtol(text, &end, 10), h = strtol(end, &end, 10), w = strtol(end, &end, 10);
        size_t size = (size_t)dt_model_get_config(b->model)->num_channels * (size_t)h * (size_t)w;
        for (long i = 0; i < n; i++, at += size) {
            if (h < 1 || w < 1 || b->count == MAX_PICTURES || at + size > b->elements)
                return false;
            b->picture[b->count++] = (dt_picture){b->pixels + at, h, w};
        }
    }
    return b->count > 0;
}

/* ---- plans ---- */

static dt_status make_plan(bench *b, planned *p, int64_t patches)
{
    dt_build_options o = {.mode = DT_BUILD_EMBED,
                          .spec = dt_model_layer_spec(b->model),
                          .images = p->images,
                          .patches = patches,
                          .vision_tokens = p->rows,
                          .kv_dtype = DT_F32};
    p->config = *dt_model_get_config(b->model);
    if (p->part == FIRST_LAYER)
        p->config.num_layers = 1;
    if (!(p->graph = dt_graph_create(&b->err)))
        return DT_NO_MEMORY;
    DT_PASS(dt_model_build(p->graph, &p->config, &o, &b->err));
    return dt_model_executor(b->model, p->graph, &(dt_executor_options){.keep_points = p->part == WHOLE_KEPT},
                             &p->executor, &b->err);
}

static planned *plan_for(bench *b, part which, const dt_pictures *packed)
{
    for (int i = 0; i < b->plans; i++)
        if (b->plan[i].part == which && b->plan[i].images == packed->images &&
            b->plan[i].rows == packed->rows)
            return &b->plan[i];
    if (b->plans == MAX_PLANS)
        return NULL;
    planned *p = &b->plan[b->plans];
    *p = (planned){.part = which, .images = packed->images, .rows = packed->rows};
    if (make_plan(b, p, packed->patches) != DT_OK)
        return NULL;
    b->plans++;
    return p;
}

/* ---- one run ---- */

typedef struct timed {
    double wall, own;
    int64_t rows;
    const planned *plan;
} timed;

static dt_status run_plan(bench *b, planned *p, const dt_pictures *packed)
{
    dt_picture_input input;
    for (int i = 0; (input = dt_pictures_input(packed, i)).name; i++)
        if (dt_graph_find(p->graph, input.name))
            DT_PASS(dt_executor_bind(p->executor, input.name, input.data, &b->err));
    return dt_executor_run(p->executor, &b->err);
}

static dt_status once(bench *b, part which, timed *out)
{
    dt_arena *arena = dt_arena_create();
    dt_pictures packed;
    double wall = clock_of(CLOCK_MONOTONIC), own = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    dt_status status =
        dt_pictures_pack(&packed, arena, dt_model_get_config(b->model), b->count, b->picture, &b->err);
    planned *p = status == DT_OK ? plan_for(b, which, &packed) : NULL;
    if (p)
        status = run_plan(b, p, &packed);
    else if (status == DT_OK)
        status = DT_LIMIT;
    *out = (timed){.wall = clock_of(CLOCK_MONOTONIC) - wall,
                   .own = clock_of(CLOCK_PROCESS_CPUTIME_ID) - own,
                   .rows = packed.rows,
                   .plan = p};
    dt_arena_destroy(arena);
    return status;
}

static bool answer_run(bench *b, part which)
{
    timed t;
    if (once(b, which, &t) != DT_OK)
        return false;
    printf("%.9f %.9f %lld\n", t.wall, t.own, (long long)t.rows);
    return true;
}

static bool answer_write(bench *b, const char *path)
{
    timed t;
    dt_data hidden;
    if (once(b, WHOLE_KEPT, &t) != DT_OK ||
        dt_executor_read(t.plan->executor, "out.hidden", &hidden, &b->err) != DT_OK)
        return false;
    FILE *f = fopen(path, "wb");
    size_t count = (size_t)(hidden.dim[0] * hidden.dim[1]);
    bool written = f && fwrite(hidden.data, sizeof(float), count, f) == count;
    if (!f || fclose(f) != 0 || !written)
        return false;
    printf("%lld\n", (long long)t.rows);
    return true;
}

static bool answer_prepare(bench *b, const char *picture, const char *folder)
{
    dt_image *image = NULL;
    dt_image_processor *processor = NULL;
    dt_pixels pixels = {0};
    bool done = dt_image_processor_open(&processor, folder, NULL, &b->err) == DT_OK;
    double start = clock_of(CLOCK_PROCESS_CPUTIME_ID), decoded = 0, made = 0;
    done = done && dt_image_open(&image, picture, NULL, &b->err) == DT_OK;
    decoded = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    done = done && dt_image_process(processor, image, &pixels, &b->err) == DT_OK;
    made = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    if (done)
        printf("%.9f %.9f\n", decoded - start, made - decoded);
    dt_pixels_free(&pixels);
    dt_image_close(image);
    dt_image_processor_close(processor);
    return done;
}

static bool answer(bench *b, char *line)
{
    char verb[16], first[PATH], second[PATH];
    int after = 0;
    if (sscanf(line, "%15s %n", verb, &after) != 1)
        return false;
    if (strcmp(verb, "limits") == 0)
        return printf("%.6g %.6g\n", bench_peak_f32(0.02), bench_peak_bf16(0.02)) > 0;
    bool writes = strcmp(verb, "write") == 0, prepares = strcmp(verb, "prepare") == 0;
    line += after;
    if (sscanf(line, "%1023s %n", first, &after) != 1)
        return false;
    line += after;
    if (writes || prepares) {
        if (sscanf(line, "%1023s %n", second, &after) != 1)
            return false;
        line += after;
    }
    if (prepares)
        return answer_prepare(b, first, second);
    if (!read_pixels(b, first) || !read_sizes(b, line))
        return false;
    return writes ? answer_write(b, second) : answer_run(b, strcmp(verb, "run") == 0 ? WHOLE : FIRST_LAYER);
}

int main(int argc, char **argv)
{
    static bench b;
    static char line[LINE];
    char text[DT_ERROR_TEXT_BYTES];
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: bench_tower MODEL DTYPE THREADS [ISA]\n");
        return 2;
    }
    dt_model_options o = {.dtype = argv[2], .threads = atoi(argv[3]), .isa = argv[4]}; /* NULL ends argv */
    bool done = dt_model_open(&b.model, argv[1], &o, &b.err) == DT_OK;
    while (done && fgets(line, sizeof line, stdin)) {
        done = answer(&b, line);
        fflush(stdout);
    }
    if (!done) {
        dt_error_format(&b.err, text, sizeof text);
        fprintf(stderr, "bench_tower: %s\n%s\n", line, text);
    }
    for (int i = 0; i < b.plans; i++) {
        dt_executor_destroy(b.plan[i].executor);
        dt_graph_destroy(b.plan[i].graph);
    }
    dt_model_close(b.model);
    free(b.pixels);
    return !done;
}
