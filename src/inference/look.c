/*
 * look.c - pictures through a vision tower: who stands in which step.
 *
 * What the tower computes is models/'s, how pictures lie in a batch models/pictures.c's; what becomes of a step's outputs
 * is the caller's (classify.c, embed_pictures.c).
 */
#include "inference/look.h"

#include "graph/ir.h"
#include "models/build.h"

#include <inttypes.h>

enum { DEFAULT_BATCH = 2048, MAX_SIDE = 1 << 15 };

/* One call: the pictures, and the plan that each step runs. */
typedef struct looking {
    const dt_look *look;
    const dt_model_config *tower;
    dt_picture *picture;
    int64_t budget;       /* rows of a step */
    int64_t rows, images; /* capacities: the most that a step has */
    dt_arena *arena;
    dt_graph *graph;
    dt_executor *executor;
} looking;

static dt_status check(looking *k, dt_error *err)
{
    const dt_look *look = k->look;
    if (!dt_config_is_tower(k->tower))
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures", k->tower->family);
    if (!(k->picture = DT_NEW_ARRAY(k->arena, dt_picture, look->count + 1)))
        return dt_fail_memory(err, look->count * sizeof *k->picture, "pictures");
    for (size_t i = 0; i < look->count; i++) {
        const dt_planes *p = &look->picture[i];
        if (!p->pixels || p->height < 1 || p->width < 1 || p->height > MAX_SIDE || p->width > MAX_SIDE)
            return dt_fail(err, DT_INVALID,
                           "picture %zu has %" PRId64 " x %" PRId64 " pixels; 1 to %d are possible", i,
                           p->width, p->height, MAX_SIDE);
        k->picture[i] = (dt_picture){p->pixels, p->height, p->width};
    }
    return DT_OK;
}

/* ---- who stands in which step ---- */

static int64_t rows_of(const looking *k, size_t i)
{
    const dt_model_config *c = k->tower;
    return (k->picture[i].height / c->patch_dim) * (k->picture[i].width / c->patch_dim) + c->class_token_len;
}

/* Pictures from `first` on while they fit, one at least; *rows is theirs together. */
static size_t choose(const looking *k, size_t first, int64_t *rows)
{
    size_t count = 1;
    *rows = rows_of(k, first);
    while (first + count < k->look->count && *rows + rows_of(k, first + count) <= k->budget)
        *rows += rows_of(k, first + count++);
    return count;
}

static void measure(looking *k)
{
    int64_t rows;
    for (size_t first = 0, count; first < k->look->count; first += count) {
        count = choose(k, first, &rows);
        k->rows = rows > k->rows ? rows : k->rows;
        k->images = (int64_t)count > k->images ? (int64_t)count : k->images;
    }
}

/* ---- running ---- */

static dt_status plan(looking *k, dt_error *err)
{
    const dt_build_options options = {.mode = DT_BUILD_EMBED,
                                      .spec = dt_model_layer_spec(k->look->model),
                                      .images = k->images,
                                      .patches = k->rows,
                                      .vision_tokens = k->rows,
                                      .kv_dtype = DT_F32};
    const dt_executor_options plain = {0};
    if (!(k->graph = dt_graph_create(err)))
        return DT_NO_MEMORY;
    DT_PASS(dt_model_build(k->graph, k->look->model->config, &options, err));
    dt_tensor *point = dt_graph_find(k->graph, k->look->point);
    if (!point)
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no %s", k->tower->family, k->look->point);
    point->keep = true; /* also where what is behind it reads it */
    return dt_model_executor(k->look->model, k->graph, &plain, &k->executor, err);
}

static dt_status bind(looking *k, const dt_pictures *p, dt_error *err)
{
    dt_picture_input input;
    DT_PASS(dt_executor_count(k->executor, "images", p->images, err));
    DT_PASS(dt_executor_count(k->executor, "vision_tokens", p->rows, err));
    if (k->tower->class_token_len > 0) /* else each row is a patch, and there is one axis */
        DT_PASS(dt_executor_count(k->executor, "patches", p->patches, err));
    for (int i = 0; (input = dt_pictures_input(p, i)).name; i++)
        if (dt_graph_find(k->graph, input.name)) /* a tower has only the inputs that it reads */
            DT_PASS(dt_executor_bind(k->executor, input.name, input.data, err));
    return DT_OK;
}

static dt_status step(looking *k, dt_arena *arena, size_t first, size_t count, dt_error *err)
{
    dt_pictures packed;
    dt_data out;
    DT_TRY(dt_pictures_pack(&packed, arena, k->tower, (int64_t)count, k->picture + first, err), err,
           "among the pictures from %zu on", first);
    DT_PASS(bind(k, &packed, err));
    DT_PASS(dt_executor_run(k->executor, err));
    DT_PASS(dt_executor_read(k->executor, k->look->point, &out, err));
    return k->look->take(k->look->user, first, &packed, out.data, err);
}

static dt_status look(looking *k, dt_error *err)
{
    int64_t rows;
    DT_PASS(check(k, err));
    if (k->look->count == 0)
        return DT_OK;
    measure(k);
    DT_PASS(plan(k, err));
    for (size_t first = 0, count; first < k->look->count; first += count) {
        dt_arena *arena = dt_arena_create();
        if (!arena)
            return dt_fail_memory(err, 0, "a step's pictures");
        count = choose(k, first, &rows);
        dt_status status = step(k, arena, first, count, err);
        dt_arena_destroy(arena);
        DT_PASS(status);
    }
    return DT_OK;
}

dt_status dt_look_at(const dt_look *given, dt_error *err)
{
    const dt_model_config *c = given->model->config;
    looking k = {.look = given,
                 .tower = c->vision ? c->vision : c,
                 .budget = given->max_batch > 0 ? given->max_batch : DEFAULT_BATCH};
    if (!(k.arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "pictures");
    dt_status status = look(&k, err);
    dt_executor_destroy(k.executor);
    dt_graph_destroy(k.graph);
    dt_arena_destroy(k.arena);
    return status;
}
