/*
 * see.c - pictures to the rows that stand for them among words: who stands in which step of the ENCODE graph.
 *
 * What the tower and the projector compute is models/llava.c's, where rows come from models/features.c's.
 */
#include "inference/see.h"

#include "graph/ir.h"
#include "models/build.h"
#include "models/features.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 2048 }; /* of the tower in a step, one larger picture excepted */

/* What a step must hold, or holds. */
typedef struct sizes {
    int64_t tiles, rows, patches, features, image_rows;
} sizes;

struct dt_eyes {
    dt_model *model;
    sizes capacity; /* of the plan */
    dt_graph *graph;
    dt_executor *executor;
};

/* One step: its pictures laid out. */
typedef struct glance {
    dt_arena *arena;
    dt_picture *tile;
    dt_tiling *tiling;
    dt_pictures pictures;
    dt_features features;
    dt_image_rows rows;
} glance;

dt_status dt_eyes_create(dt_eyes **out, dt_model *model, dt_error *err)
{
    *out = NULL;
    if (!model->config->vision || !model->config->projection)
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures", model->config->family);
    dt_eyes *e = calloc(1, sizeof *e);
    if (!e)
        return dt_fail_memory(err, sizeof *e, "eyes");
    e->model = model;
    *out = e;
    return DT_OK;
}

static void drop_plan(dt_eyes *e)
{
    dt_executor_destroy(e->executor);
    dt_graph_destroy(e->graph);
    e->executor = NULL;
    e->graph = NULL;
}

void dt_eyes_destroy(dt_eyes *e)
{
    if (!e)
        return;
    drop_plan(e);
    free(e);
}

/* ---- who stands in which step ---- */

static int64_t tower_rows(const dt_eyes *e, const dt_pixels *p)
{
    const dt_model_config *tower = e->model->config->vision;
    return p->tiles *
           ((p->height / tower->patch_dim) * (p->width / tower->patch_dim) + tower->class_token_len);
}

/* Pictures from the first on while they fit, one at least. */
static size_t choose(const dt_eyes *e, size_t count, const dt_pixels *picture)
{
    int64_t rows = tower_rows(e, &picture[0]);
    size_t n = 1;
    while (n < count && rows + tower_rows(e, &picture[n]) <= ROWS)
        rows += tower_rows(e, &picture[n++]);
    return n;
}

static dt_status lay_out(const dt_eyes *e, glance *g, size_t count, const dt_pixels *picture, dt_error *err)
{
    const dt_model_config *c = e->model->config;
    int64_t tiles = 0, n = 0;
    for (size_t i = 0; i < count; i++)
        tiles += picture[i].tiles;
    g->tile = DT_NEW_ARRAY(g->arena, dt_picture, tiles);
    g->tiling = DT_NEW_ARRAY(g->arena, dt_tiling, count);
    if (!g->tile || !g->tiling)
        return dt_fail_memory(err, (size_t)tiles * sizeof *g->tile, "pictures");
    for (size_t i = 0; i < count; i++) {
        const dt_pixels *p = &picture[i];
        g->tiling[i] = (dt_tiling){p->tiles, p->grid_rows, p->grid_columns, p->image_height, p->image_width};
        for (int64_t t = 0; t < p->tiles; t++)
            g->tile[n++] = (dt_picture){p->values + t * 3 * p->height * p->width, p->height, p->width};
    }
    DT_PASS(dt_pictures_pack(&g->pictures, g->arena, c->vision, tiles, g->tile, err));
    DT_PASS(dt_features_pack(&g->features, g->arena, c, &g->pictures, err));
    return dt_image_rows_pack(&g->rows, g->arena, c, &g->features, (int64_t)count, g->tiling, err);
}

/* ---- the plan ---- */

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bool fits(const sizes *have, const sizes *need)
{
    return need->tiles <= have->tiles && need->rows <= have->rows && need->patches <= have->patches &&
           need->features <= have->features && need->image_rows <= have->image_rows;
}

static dt_status plan(dt_eyes *e, const sizes *need, dt_error *err)
{
    sizes *c = &e->capacity;
    if (e->executor && fits(c, need))
        return DT_OK;
    drop_plan(e);
    *c = (sizes){.tiles = most(c->tiles, need->tiles),
                 .rows = most(c->rows, need->rows),
                 .patches = most(c->patches, need->patches),
                 .features = most(c->features, need->features),
                 .image_rows = most(c->image_rows, need->image_rows)};
    const dt_build_options options = {.mode = DT_BUILD_ENCODE,
                                      .spec = dt_model_layer_spec(e->model),
                                      .images = c->tiles,
                                      .patches = c->patches,
                                      .vision_tokens = c->rows,
                                      .features = c->features,
                                      .image_rows = c->image_rows,
                                      .kv_dtype = DT_F32};
    if (!(e->graph = dt_graph_create(err)))
        return DT_NO_MEMORY;
    DT_PASS(dt_model_build(e->graph, e->model->config, &options, err));
    return dt_model_executor(e->model, e->graph, NULL, &e->executor, err);
}

/* Axes that a model has no use for are not in its graph. */
static dt_status count(const dt_eyes *e, const char *axis, int64_t value, dt_error *err)
{
    for (int i = 0; i < e->graph->axis_count; i++)
        if (strcmp(e->graph->axis[i]->name, axis) == 0)
            return dt_executor_count(e->executor, axis, value, err);
    return DT_OK;
}

static dt_status bind(dt_eyes *e, const glance *g, dt_error *err)
{
    dt_picture_input input;
    DT_PASS(count(e, "images", g->pictures.images, err));
    DT_PASS(count(e, "vision_tokens", g->pictures.rows, err));
    DT_PASS(count(e, "patches", g->pictures.patches, err));
    DT_PASS(count(e, "features", g->features.rows, err));
    DT_PASS(count(e, "image_rows", g->rows.rows, err));
    for (int i = 0; (input = dt_pictures_input(&g->pictures, i)).name; i++)
        if (dt_graph_find(e->graph, input.name))
            DT_PASS(dt_executor_bind(e->executor, input.name, input.data, err));
    for (int i = 0; (input = dt_features_input(&g->features, &g->rows, i)).name; i++)
        if (dt_graph_find(e->graph, input.name))
            DT_PASS(dt_executor_bind(e->executor, input.name, input.data, err));
    return DT_OK;
}

/* ---- looking ---- */

static dt_status look(dt_eyes *e, glance *g, size_t count, const dt_pixels *picture, float **rows,
                      dt_error *err)
{
    dt_data out;
    DT_PASS(lay_out(e, g, count, picture, err));
    const sizes need = {.tiles = g->pictures.images,
                        .rows = g->pictures.rows,
                        .patches = g->pictures.patches,
                        .features = g->features.rows,
                        .image_rows = g->rows.rows};
    DT_PASS(plan(e, &need, err));
    DT_PASS(bind(e, g, err));
    DT_PASS(dt_executor_run(e->executor, err));
    DT_PASS(dt_executor_read(e->executor, "out.image_rows", &out, err));
    size_t values = (size_t)g->rows.rows * (size_t)e->model->config->hidden_size;
    memcpy(*rows, out.data, values * sizeof **rows);
    *rows += values;
    return DT_OK;
}

dt_status dt_eyes_see(dt_eyes *e, size_t count, const dt_pixels *picture, float *rows, dt_error *err)
{
    for (size_t first = 0, n; first < count; first += n) {
        glance g = {.arena = dt_arena_create()};
        if (!g.arena)
            return dt_fail_memory(err, 0, "pictures");
        n = choose(e, count - first, picture + first);
        dt_status status = look(e, &g, n, picture + first, &rows, err);
        dt_arena_destroy(g.arena);
        DT_TRY(status, err, "while looking at the pictures from %zu on", first);
    }
    return DT_OK;
}
