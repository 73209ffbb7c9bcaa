/*
 * classify.c - pictures to logits: packs them into steps of a tower's graph, and copies out what its classifier gives.
 *
 * What the tower computes is models/'s, how pictures lie in a batch models/pictures.c's; here is only who stands in
 * which step.
 */
#include "base/checked.h"
#include "inference/model.h"
#include "models/build.h"
#include "models/pictures.h"

#include <drivetrain/classify.h>

#include <inttypes.h>
#include <string.h>

enum { DEFAULT_BATCH = 2048, MAX_SIDE = 1 << 15 };

/* One call: the pictures, and the plan that each step runs. */
typedef struct classification {
    dt_model *model;
    const dt_picture *picture;
    size_t count;
    int64_t budget;       /* rows of a step */
    int64_t rows, images; /* capacities: the most that a step has */
    dt_arena *arena;
    dt_graph *graph;
    dt_executor *executor;
} classification;

/* ---- what is asked ---- */

static dt_status check_pictures(classification *k, const dt_classify_input *input, dt_error *err)
{
    dt_picture *picture = DT_NEW_ARRAY(k->arena, dt_picture, k->count + 1);
    if (!picture)
        return dt_fail_memory(err, k->count * sizeof *picture, "pictures");
    for (size_t i = 0; i < k->count; i++) {
        if (!input[i].pixels || input[i].height < 1 || input[i].width < 1 || input[i].height > MAX_SIDE ||
            input[i].width > MAX_SIDE)
            return dt_fail(err, DT_INVALID,
                           "picture %zu has %" PRId64 " x %" PRId64 " pixels; 1 to %d are possible", i,
                           input[i].width, input[i].height, MAX_SIDE);
        picture[i] = (dt_picture){input[i].pixels, input[i].height, input[i].width};
    }
    k->picture = picture;
    return DT_OK;
}

static dt_status check(classification *k, const dt_classify_input *input, size_t elements, dt_error *err)
{
    const dt_model_config *c = k->model->config;
    size_t expected;
    if (!dt_config_is_tower(c) || c->num_classes < 1)
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no classes to put pictures into", c->family);
    if (!dt_mul_size(k->count, (size_t)c->num_classes, &expected) || expected != elements)
        return dt_fail(err, DT_INVALID, "room for %zu logits, but %zu pictures have %" PRId64 " each",
                       elements, k->count, c->num_classes);
    return check_pictures(k, input, err);
}

/* ---- who stands in which step ---- */

static int64_t rows_of(const classification *k, size_t i)
{
    const dt_model_config *c = k->model->config;
    return (k->picture[i].height / c->patch_dim) * (k->picture[i].width / c->patch_dim) + c->class_token_len;
}

/* Pictures from `first` on while they fit, one at least; *rows is theirs together. */
static size_t take(const classification *k, size_t first, int64_t *rows)
{
    size_t count = 1;
    *rows = rows_of(k, first);
    while (first + count < k->count && *rows + rows_of(k, first + count) <= k->budget)
        *rows += rows_of(k, first + count++);
    return count;
}

static void measure(classification *k)
{
    int64_t rows;
    for (size_t first = 0, count; first < k->count; first += count) {
        count = take(k, first, &rows);
        k->rows = rows > k->rows ? rows : k->rows;
        k->images = (int64_t)count > k->images ? (int64_t)count : k->images;
    }
}

/* ---- running ---- */

static dt_status plan(classification *k, dt_error *err)
{
    const dt_build_options options = {.mode = DT_BUILD_EMBED,
                                      .spec = dt_model_layer_spec(k->model),
                                      .images = k->images,
                                      .patches = k->rows,
                                      .vision_tokens = k->rows,
                                      .kv_dtype = DT_F32};
    const dt_executor_options plain = {0};
    if (!(k->graph = dt_graph_create(err)))
        return DT_NO_MEMORY;
    DT_PASS(dt_model_build(k->graph, k->model->config, &options, err));
    return dt_model_executor(k->model, k->graph, &plain, &k->executor, err);
}

static dt_status bind(classification *k, const dt_pictures *p, dt_error *err)
{
    dt_picture_input input;
    DT_PASS(dt_executor_count(k->executor, "images", p->images, err));
    DT_PASS(dt_executor_count(k->executor, "vision_tokens", p->rows, err));
    if (k->model->config->class_token_len > 0) /* else each row is a patch, and there is one axis */
        DT_PASS(dt_executor_count(k->executor, "patches", p->patches, err));
    for (int i = 0; (input = dt_pictures_input(p, i)).name; i++)
        if (dt_graph_find(k->graph, input.name)) /* a tower has only the inputs that it reads */
            DT_PASS(dt_executor_bind(k->executor, input.name, input.data, err));
    return DT_OK;
}

static dt_status step(classification *k, dt_arena *arena, size_t first, size_t count, float *logits,
                      dt_error *err)
{
    dt_pictures packed;
    dt_data out;
    DT_TRY(dt_pictures_pack(&packed, arena, k->model->config, (int64_t)count, k->picture + first, err), err,
           "among the pictures from %zu on", first);
    DT_PASS(bind(k, &packed, err));
    DT_PASS(dt_executor_run(k->executor, err));
    DT_PASS(dt_executor_read(k->executor, "out.logits", &out, err));
    memcpy(logits, out.data, count * (size_t)k->model->config->num_classes * sizeof *logits);
    return DT_OK;
}

static dt_status classify(classification *k, float *logits, dt_error *err)
{
    int64_t rows;
    measure(k);
    DT_PASS(plan(k, err));
    for (size_t first = 0, count; first < k->count; first += count) {
        dt_arena *arena = dt_arena_create();
        if (!arena)
            return dt_fail_memory(err, 0, "a step's pictures");
        count = take(k, first, &rows);
        dt_status status =
            step(k, arena, first, count, logits + first * (size_t)k->model->config->num_classes, err);
        dt_arena_destroy(arena);
        DT_PASS(status);
    }
    return DT_OK;
}

dt_status dt_classify(dt_model *model, size_t count, const dt_classify_input *inputs,
                      const dt_classify_options *options, float *logits, size_t elements, dt_error *err)
{
    classification k = {.model = model, .count = count, .budget = DEFAULT_BATCH};
    if (options && options->max_batch > 0)
        k.budget = options->max_batch;
    if (!(k.arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "pictures");
    dt_model_enter(model);
    dt_status status = check(&k, inputs, elements, err);
    if (status == DT_OK && count > 0)
        status = classify(&k, logits, err);
    dt_executor_destroy(k.executor);
    dt_graph_destroy(k.graph);
    dt_arena_destroy(k.arena);
    dt_model_leave(model);
    return status;
}
