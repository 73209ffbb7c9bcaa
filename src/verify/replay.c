/*
 * replay.c - builds a model's FULL graph for exactly the rows of a recording, runs it, and hands out its points.
 */
#include "verify/replay.h"

#include "inference/model.h"
#include "models/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MERGED_POINTS = 2 };

struct dt_replay {
    dt_arena *arena;
    dt_graph *graph;
    dt_executor *executor;
    const dt_model_config *config;
    dt_replay_inputs inputs;
    dt_replay_value *point;
    int point_count;
};

/* Positions that the model has no row for would read outside its table. */
static dt_status check_lengths(const dt_model *model, const dt_row_batch *rows, dt_error *err)
{
    int64_t most = dt_model_positions(model);
    if (dt_model_get_config(model)->position_embedding_type != DT_POSITION_LEARNED)
        return DT_OK;
    for (int64_t b = 0; b < rows->batch; b++)
        if (rows->cu_seqlens[b + 1] - rows->cu_seqlens[b] > most)
            return dt_fail(err, DT_INVALID, "row %lld has %d tokens, the model has %lld positions",
                           (long long)b, rows->cu_seqlens[b + 1] - rows->cu_seqlens[b], (long long)most);
    return DT_OK;
}

static void number_positions(const dt_model_config *config, const dt_row_batch *rows)
{
    for (int64_t b = 0; b < rows->batch; b++)
        dt_model_number_positions(config, rows->tokens + rows->cu_seqlens[b],
                                  rows->cu_seqlens[b + 1] - rows->cu_seqlens[b],
                                  rows->positions + rows->cu_seqlens[b]);
}

/* ---- building and running ---- */

static dt_status add_gradients(dt_replay *r, dt_error *err)
{
    dt_graph *g = r->graph;
    dt_tensor *loss = dt_graph_find(g, "out.loss");
    dt_tensor **wrt = DT_NEW_ARRAY(r->arena, dt_tensor *, g->tensor_count);
    dt_tensor **gradient = DT_NEW_ARRAY(r->arena, dt_tensor *, g->tensor_count);
    int count = 0;
    if (!wrt || !gradient)
        return dt_fail_memory(err, 0, "the list of gradients");
    for (int i = 0; i < g->tensor_count; i++)
        if (g->tensor[i]->kind == DT_TENSOR_PARAM &&
            !(r->inputs.frozen & dt_config_part_of(g->tensor[i]->name)))
            wrt[count++] = g->tensor[i];
    DT_PASS(dt_graph_gradient(g, 1, &loss, NULL, count, wrt, gradient, err));
    for (int i = 0; i < count; i++)
        if (gradient[i])
            dt_point(g, gradient[i], "grad.%s", wrt[i]->name);
    return DT_OK;
}

static dt_status build(dt_replay *r, const dt_layer_spec *spec, dt_error *err)
{
    const dt_replay_inputs *in = &r->inputs;
    dt_build_options options = {.mode = DT_BUILD_FULL,
                                .spec = spec,
                                .loss = in->loss,
                                .loss_over_padded = in->loss_over_padded,
                                .loss_kind = in->loss_kind,
                                .loss_factor = in->loss_factor,
                                .sentence_order = in->sentence_order != NULL,
                                .logits = true,
                                .tokens = in->target.total,
                                .source_tokens = in->source.batch ? in->source.total : in->target.total,
                                .sequences = in->target.batch,
                                .images = in->vision.batch,
                                .patches = in->pictures.patches ? in->pictures.patches : in->vision.total,
                                .vision_tokens = in->vision.total,
                                .features = in->features_of.rows,
                                .image_rows = in->image_rows.rows,
                                .kv_dtype = DT_F32};
    const dt_model_type *type = dt_model_type_find(r->config->family);
    if (!in->gradients || !in->loss)
        return dt_model_build(r->graph, r->config, &options, err);
    if (!type)
        return dt_fail(err, DT_UNSUPPORTED, "no model family \"%s\"", r->config->family);
    DT_PASS(dt_config_check(r->config, err));
    DT_PASS(type->build(r->graph, r->config, &options, err));
    DT_PASS(add_gradients(r, err)); /* before the graph is finished */
    return dt_graph_finish(r->graph, err);
}

static dt_status bind_one(dt_replay *r, const char *name, const void *data, dt_error *err)
{
    if (!data || !dt_graph_find(r->graph, name)) /* a model has only the inputs that it reads */
        return DT_OK;
    return dt_executor_bind(r->executor, name, (void *)(uintptr_t)data, err);
}

static dt_status bind_rows(dt_replay *r, const char *prefix, const dt_row_batch *rows, dt_error *err)
{
    char name[64];
    const struct {
        const char *name;
        const void *data;
    } input[] = {{"tokens", rows->tokens},
                 {"positions", rows->positions},
                 {"rope_lengths", rows->lengths},
                 {"cu_seqlens", rows->cu_seqlens}};
    for (size_t i = 0; i < sizeof input / sizeof input[0]; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, input[i].name);
        DT_PASS(bind_one(r, name, input[i].data, err));
    }
    return DT_OK;
}

static dt_status bind_counts(dt_replay *r, dt_error *err)
{
    const dt_replay_inputs *in = &r->inputs;
    const struct {
        const char *axis;
        int64_t count;
    } count[] = {{"sequences", in->target.batch},
                 {"source_tokens", in->source.batch ? in->source.total : in->target.total},
                 {"tokens", in->target.total},
                 {"images", in->vision.batch},
                 {"patches", in->pictures.patches},
                 {"vision_tokens", in->vision.total},
                 {"features", in->features_of.rows},
                 {"image_rows", in->image_rows.rows}};
    for (size_t i = 0; i < sizeof count / sizeof count[0]; i++)
        for (int k = 0; k < r->graph->axis_count; k++)
            if (strcmp(r->graph->axis[k]->name, count[i].axis) == 0)
                DT_PASS(dt_executor_count(r->executor, count[i].axis, count[i].count, err));
    return DT_OK;
}

static dt_status bind(dt_replay *r, dt_error *err)
{
    const dt_replay_inputs *in = &r->inputs;
    const struct {
        const char *name;
        const void *data;
    } input[] = {{"token_types", in->token_types},
                 {"first_rows", in->target.cu_seqlens},
                 {"pooled_rows", in->pooled_rows},
                 {"sentence_order", in->sentence_order},
                 {"sentence_order_mask", in->sentence_order_mask},
                 {"labels", in->labels},
                 {"loss_mask", in->loss_mask},
                 {"hidden_weight", in->hidden_weight},
                 {"image_features", in->features},
                 {"merged_rows", in->merged_rows}};
    dt_picture_input picture;
    DT_PASS(bind_counts(r, err));
    if (dt_replay_two_sided(r->config)) {
        DT_PASS(bind_rows(r, "encoder_", &in->source, err));
        DT_PASS(bind_rows(r, "decoder_", &in->target, err));
    } else {
        DT_PASS(bind_rows(r, "", &in->target, err));
    }
    for (size_t i = 0; i < sizeof input / sizeof input[0]; i++)
        DT_PASS(bind_one(r, input[i].name, input[i].data, err));
    for (int i = 0; (picture = dt_pictures_input(&in->pictures, i)).name; i++)
        DT_PASS(bind_one(r, picture.name, picture.data, err));
    for (int i = 0; (picture = dt_features_input(&in->features_of, &in->image_rows, i)).name; i++)
        DT_PASS(bind_one(r, picture.name, picture.data, err));
    return DT_OK;
}

/* ---- points ---- */

/* The batch whose rows an axis counts; NULL: none. */
static const dt_row_batch *rows_of(const dt_replay *r, const dt_axis *axis)
{
    bool two = dt_replay_two_sided(r->config);
    const struct {
        const char *axis;
        const dt_row_batch *rows;
    } side[] = {{"source_tokens", two ? &r->inputs.source : &r->inputs.target},
                {"tokens", &r->inputs.target},
                {"vision_tokens", &r->inputs.vision},
                {"features", &r->inputs.projected}};
    for (size_t i = 0; axis && i < sizeof side / sizeof side[0]; i++)
        if (strcmp(axis->name, side[i].axis) == 0)
            return side[i].rows;
    return NULL;
}

static dt_status describe_point(dt_replay *r, const char *name, const dt_tensor *t, dt_replay_value *value,
                                dt_error *err)
{
    dt_data data;
    DT_PASS(dt_executor_read_tensor(r->executor, t, &data, err));
    *value = (dt_replay_value){.name = name, .data = data.data, .width = 1, .shape.rank = data.rank};
    memcpy(value->shape.dim, data.dim, sizeof *data.dim * (size_t)data.rank);
    value->rows = rows_of(r, t->dim[0].axis);
    for (int i = value->rows ? 1 : 0; i < data.rank; i++)
        value->width *= data.dim[i];
    value->stride = value->width;
    if (!value->rows)
        return DT_OK;
    if (strcmp(name, "out.logits") == 0 && r->config->vocab_size > 0)
        value->width = r->config->vocab_size; /* the rows that pad the vocabulary are nobody's answer */
    value->shape =
        (dt_shape){.rank = data.rank + 1, .dim = {value->rows->batch, value->rows->length, value->width}};
    return DT_OK;
}

/* What became of labels and mask among pictures is no tensor of the graph, but a point of recordings. */
static void add_merged(dt_replay *r)
{
    const dt_replay_inputs *in = &r->inputs;
    const struct {
        const char *name;
        const float *data;
    } merged[] = {{"out.merged_labels", in->merged_labels},
                  {"out.merged_loss_mask", in->merged_labels ? in->loss_mask : NULL}};
    for (int i = 0; i < MERGED_POINTS; i++)
        if (merged[i].data)
            r->point[r->point_count++] =
                (dt_replay_value){.name = merged[i].name,
                                  .data = merged[i].data,
                                  .rows = &in->target,
                                  .width = 1,
                                  .stride = 1,
                                  .shape = dt_shape_of(2, (int64_t[]){in->target.batch, in->target.length})};
}

static dt_status collect_points(dt_replay *r, dt_error *err)
{
    const dt_graph *g = r->graph; /* by name: where norms end the layers, the last one is `hidden` too */
    r->point = DT_NEW_ARRAY(r->arena, dt_replay_value, g->named_count + MERGED_POINTS);
    if (!r->point)
        return dt_fail_memory(err, 0, "the list of points");
    for (int i = 0; i < g->named_count; i++)
        if (g->named[i].tensor->kind == DT_TENSOR_VALUE)
            DT_PASS(
                describe_point(r, g->named[i].name, g->named[i].tensor, &r->point[r->point_count++], err));
    add_merged(r);
    return DT_OK;
}

static dt_status run(dt_replay *r, dt_model *model, dt_error *err)
{
    if (!(r->arena = dt_arena_create()) || !(r->graph = dt_graph_create(err)))
        return dt_fail_memory(err, 0, "a graph");
    if (dt_replay_two_sided(r->config))
        DT_PASS(check_lengths(model, &r->inputs.source, err));
    DT_PASS(check_lengths(model, &r->inputs.target, err));
    number_positions(r->config, &r->inputs.target);
    DT_PASS(build(r, dt_model_layer_spec(model), err));
    dt_executor_options options = {.keep_points = true};
    DT_PASS(dt_model_executor(model, r->graph, &options, &r->executor, err));
    DT_PASS(bind(r, err));
    DT_PASS(dt_executor_run(r->executor, err));
    if (r->inputs.gradients && r->inputs.loss)
        DT_PASS(dt_executor_run_backward(r->executor, err));
    return collect_points(r, err);
}

dt_status dt_replay_run(dt_replay **out, dt_model *model, const dt_replay_inputs *inputs, dt_error *err)
{
    dt_replay *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return dt_fail_memory(err, sizeof *r, "a replay");
    r->config = dt_model_get_config(model);
    r->inputs = *inputs;
    dt_status status = run(r, model, err);
    if (status != DT_OK)
        dt_replay_destroy(r);
    else
        *out = r;
    return status;
}

void dt_replay_destroy(dt_replay *r)
{
    if (!r)
        return;
    dt_executor_destroy(r->executor);
    dt_graph_destroy(r->graph);
    dt_arena_destroy(r->arena);
    free(r);
}

int dt_replay_point_count(const dt_replay *r)
{
    return r->point_count;
}

dt_replay_value dt_replay_point(const dt_replay *r, int index)
{
    return r->point[index];
}

bool dt_replay_find(const dt_replay *r, const char *name, dt_replay_value *out)
{
    for (int i = 0; i < r->point_count; i++)
        if (strcmp(r->point[i].name, name) == 0) {
            *out = r->point[i];
            return true;
        }
    return false;
}

static dt_status read_nothing(const dt_tensor *parameter, int64_t row, int64_t rows, float *out,
                              dt_error *err)
{
    int64_t width = parameter->rank == 2 ? parameter->dim[1].n : 1;
    if (row < 0 || rows < 0 || row + rows > parameter->dim[0].n)
        return dt_fail(err, DT_INVALID, "rows %lld to %lld of the gradient of %s, which has %lld",
                       (long long)row, (long long)(row + rows), parameter->name,
                       (long long)parameter->dim[0].n);
    memset(out, 0, (size_t)(rows * width) * sizeof *out);
    return DT_OK;
}

dt_status dt_replay_read_gradient(void *user, const char *canonical, int64_t row, int64_t rows, float *out,
                                  dt_error *err)
{
    const dt_replay *r = user;
    char name[256];
    dt_data data;
    const dt_tensor *parameter = dt_graph_find(r->graph, canonical);
    snprintf(name, sizeof name, "grad.%s", canonical);
    if (parameter && parameter->kind == DT_TENSOR_PARAM && !dt_graph_find(r->graph, name))
        return read_nothing(parameter, row, rows, out,
                            err); /* part of the model, and the loss does not see it */
    DT_PASS(dt_executor_read(r->executor, name, &data, err));
    int64_t width = data.rank == 2 ? data.dim[1] : 1;
    if (row < 0 || rows < 0 || row + rows > data.dim[0])
        return dt_fail(err, DT_INVALID, "rows %lld to %lld of %s, which has %lld", (long long)row,
                       (long long)(row + rows), name, (long long)data.dim[0]);
    memcpy(out, (const float *)data.data + row * width, (size_t)(rows * width) * sizeof *out);
    return DT_OK;
}

const dt_executor *dt_replay_executor(const dt_replay *r)
{
    return r->executor;
}
