/*
 * replay.c - builds a model's FULL graph for exactly the rows of a recording, runs it, and hands out its points.
 */
#include "verify/replay.h"

#include "inference/model.h"
#include "models/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dt_replay {
    dt_arena *arena;
    dt_graph *graph;
    dt_executor *executor;
    const dt_model_config *config;
    dt_replay_inputs inputs;
    dt_replay_value *point;
    int point_count;
};

static bool two_sided(const dt_model_config *config)
{
    return strcmp(config->model_type, "t5") == 0 && !config->encoder_only;
}

/* ---- inputs ---- */

/* Token types of each row, and which sentence comes first; what is not recorded stays NULL. */
static dt_status read_bert(const dt_recording *r, dt_arena *arena, dt_replay_inputs *out, dt_error *err)
{
    int32_t *types, *order;
    dt_shape shape, tokens = {.rank = 2, .dim = {out->target.batch, out->target.length}};
    DT_PASS(dt_recording_ints(r, "in.token_types", arena, &types, &shape, err));
    if (types && !dt_shape_equal(&shape, &tokens))
        return dt_fail(err, DT_FORMAT, "in.token_types is %s, expected %s", dt_shape_print(&shape).text,
                       dt_shape_print(&tokens).text);
    int32_t *packed = DT_NEW_ARRAY(arena, int32_t, out->target.total);
    float *known = DT_NEW_ARRAY(arena, float, out->target.batch);
    if (!packed || !known)
        return dt_fail_memory(err, (size_t)out->target.total * 4, "token types");
    if (types)
        dt_rows_pack(&out->target, types, packed);
    out->token_types = packed;
    DT_PASS(dt_recording_ints(r, "in.sentence_order", arena, &order, &shape, err));
    if (!r->sentence_order || !order)
        return DT_OK;
    if (shape.rank != 1 || shape.dim[0] != out->target.batch)
        return dt_fail(err, DT_FORMAT, "in.sentence_order is %s, expected [%lld]",
                       dt_shape_print(&shape).text, (long long)out->target.batch);
    for (int64_t b = 0; b < out->target.batch; b++)
        known[b] = order[b] >= 0;
    out->sentence_order = order;
    out->sentence_order_mask = known;
    return DT_OK;
}

static dt_status read_targets(const dt_recording *r, dt_arena *arena, dt_replay_inputs *out, dt_error *err)
{
    int32_t *labels;
    float *mask;
    dt_shape shape, mask_shape, tokens = {.rank = 2, .dim = {out->target.batch, out->target.length}};
    DT_PASS(dt_recording_ints(r, "in.labels", arena, &labels, &shape, err));
    DT_PASS(dt_recording_floats(r, "in.loss_mask", arena, &mask, &mask_shape, err));
    if (!labels || !mask || !r->loss || strcmp(r->loss, "masked_mean") != 0)
        return DT_OK;
    if (!dt_shape_equal(&shape, &tokens) || !dt_shape_equal(&mask_shape, &tokens))
        return dt_fail(err, DT_FORMAT, "in.labels is %s and in.loss_mask %s, expected %s",
                       dt_shape_print(&shape).text, dt_shape_print(&mask_shape).text,
                       dt_shape_print(&tokens).text);
    int32_t *packed_labels = DT_NEW_ARRAY(arena, int32_t, out->target.total);
    float *packed_mask = DT_NEW_ARRAY(arena, float, out->target.total);
    if (!packed_labels || !packed_mask)
        return dt_fail_memory(err, (size_t)out->target.total * 8, "labels");
    dt_rows_pack(&out->target, labels, packed_labels);
    dt_rows_pack(&out->target, mask, packed_mask);
    out->labels = packed_labels;
    out->loss_mask = packed_mask;
    out->loss_over_padded = r->loss_over_padded_vocab;
    return DT_OK;
}

dt_status dt_replay_inputs_read(const dt_recording *r, const dt_model_config *config, dt_arena *arena,
                                dt_replay_inputs *out, dt_error *err)
{
    *out = (dt_replay_inputs){0};
    bool both = two_sided(config);
    if (both)
        DT_PASS(dt_rows_read(r, "in.encoder_", arena, &out->source, err));
    DT_PASS(dt_rows_read(r, both ? "in.decoder_" : "in.", arena, &out->target, err));
    if (both && out->source.batch != out->target.batch)
        return dt_fail(err, DT_FORMAT, "in.encoder_tokens has %lld rows, in.decoder_tokens %lld",
                       (long long)out->source.batch, (long long)out->target.batch);
    if (strcmp(config->model_type, "bert") == 0)
        DT_PASS(read_bert(r, arena, out, err));
    return config->encoder_only || config->no_lm_head ? DT_OK : read_targets(r, arena, out, err);
}

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
        if (g->tensor[i]->kind == DT_TENSOR_PARAM)
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
                                .loss = in->labels != NULL,
                                .loss_over_padded = in->loss_over_padded,
                                .sentence_order = in->sentence_order != NULL,
                                .logits = true,
                                .tokens = in->target.total,
                                .source_tokens = in->source.batch ? in->source.total : in->target.total,
                                .sequences = in->target.batch,
                                .kv_dtype = DT_F32};
    const dt_model_type *type = dt_model_type_find(r->config->family);
    if (!in->gradients || !in->labels)
        return dt_model_build(r->graph, r->config, &options, err);
    if (!type)
        return dt_fail(err, DT_UNSUPPORTED, "no model family \"%s\"", r->config->family);
    DT_PASS(dt_config_check(r->config, err));
    DT_PASS(type->build(r->graph, r->config, &options, err));
    DT_PASS(add_gradients(r, err)); /* before the graph is finished */
    return dt_graph_finish(r->graph, err);
}

static dt_status bind_rows(dt_replay *r, const char *prefix, const char *axis, const dt_row_batch *rows,
                           dt_error *err)
{
    char name[64];
    const struct {
        const char *name;
        void *data;
    } input[] = {{"tokens", rows->tokens},
                 {"positions", rows->positions},
                 {"rope_lengths", rows->lengths},
                 {"cu_seqlens", rows->cu_seqlens}};
    DT_PASS(dt_executor_count(r->executor, axis, rows->total, err));
    for (size_t i = 0; i < sizeof input / sizeof input[0]; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, input[i].name);
        if (dt_graph_find(r->graph, name)) /* positions are no input of a model that has none */
            DT_PASS(dt_executor_bind(r->executor, name, input[i].data, err));
    }
    return DT_OK;
}

/* Inputs that BERT has, each where the graph has it. */
static dt_status bind_bert(dt_replay *r, dt_error *err)
{
    const dt_replay_inputs *in = &r->inputs;
    const int32_t *types =
        in->token_types ? in->token_types : DT_NEW_ARRAY(r->arena, int32_t, in->target.total);
    const struct {
        const char *name;
        const void *data;
    } input[] = {{"token_types", types},
                 {"first_rows", in->target.cu_seqlens},
                 {"sentence_order", in->sentence_order},
                 {"sentence_order_mask", in->sentence_order_mask}};
    if (!types)
        return dt_fail_memory(err, (size_t)in->target.total * 4, "token types");
    for (size_t i = 0; i < sizeof input / sizeof input[0]; i++)
        if (dt_graph_find(r->graph, input[i].name))
            DT_PASS(dt_executor_bind(r->executor, input[i].name, (void *)(uintptr_t)input[i].data, err));
    return DT_OK;
}

static dt_status bind(dt_replay *r, dt_error *err)
{
    const dt_replay_inputs *in = &r->inputs;
    DT_PASS(dt_executor_count(r->executor, "sequences", in->target.batch, err));
    if (two_sided(r->config)) {
        DT_PASS(bind_rows(r, "encoder_", "source_tokens", &in->source, err));
        DT_PASS(bind_rows(r, "decoder_", "tokens", &in->target, err));
    } else {
        DT_PASS(bind_rows(r, "", r->config->encoder_only ? "source_tokens" : "tokens", &in->target, err));
    }
    DT_PASS(bind_bert(r, err));
    if (!in->labels)
        return DT_OK;
    DT_PASS(dt_executor_bind(r->executor, "labels", (void *)(uintptr_t)in->labels, err));
    return dt_executor_bind(r->executor, "loss_mask", (void *)(uintptr_t)in->loss_mask, err);
}

/* ---- points ---- */

static dt_status describe_point(dt_replay *r, const char *name, const dt_tensor *t, dt_replay_value *value,
                                dt_error *err)
{
    dt_data data;
    const char *axis = t->dim[0].axis ? t->dim[0].axis->name : "";
    DT_PASS(dt_executor_read_tensor(r->executor, t, &data, err));
    *value = (dt_replay_value){.name = name, .data = data.data, .width = 1, .shape.rank = data.rank};
    memcpy(value->shape.dim, data.dim, sizeof *data.dim * (size_t)data.rank);
    if (strcmp(axis, "source_tokens") == 0 && two_sided(r->config))
        value->rows = &r->inputs.source;
    else if (strcmp(axis, "tokens") == 0 || strcmp(axis, "source_tokens") == 0)
        value->rows = &r->inputs.target;
    for (int i = value->rows ? 1 : 0; i < data.rank; i++)
        value->width *= data.dim[i];
    value->stride = value->width;
    if (!value->rows)
        return DT_OK;
    if (strcmp(name, "out.logits") == 0)
        value->width = r->config->vocab_size; /* the rows that pad the vocabulary are nobody's answer */
    value->shape =
        (dt_shape){.rank = data.rank + 1, .dim = {value->rows->batch, value->rows->length, value->width}};
    return DT_OK;
}

static dt_status collect_points(dt_replay *r, dt_error *err)
{
    const dt_graph *g = r->graph; /* by name: where norms end the layers, the last one is `hidden` too */
    r->point = DT_NEW_ARRAY(r->arena, dt_replay_value, g->named_count);
    if (!r->point)
        return dt_fail_memory(err, 0, "the list of points");
    for (int i = 0; i < g->named_count; i++)
        if (g->named[i].tensor->kind == DT_TENSOR_VALUE)
            DT_PASS(
                describe_point(r, g->named[i].name, g->named[i].tensor, &r->point[r->point_count++], err));
    return DT_OK;
}

static dt_status run(dt_replay *r, dt_model *model, dt_error *err)
{
    if (!(r->arena = dt_arena_create()) || !(r->graph = dt_graph_create(err)))
        return dt_fail_memory(err, 0, "a graph");
    if (two_sided(r->config))
        DT_PASS(check_lengths(model, &r->inputs.source, err));
    DT_PASS(check_lengths(model, &r->inputs.target, err));
    number_positions(r->config, &r->inputs.target);
    DT_PASS(build(r, dt_model_layer_spec(model), err));
    dt_executor_options options = {.keep_points = true};
    DT_PASS(dt_model_executor(model, r->graph, &options, &r->executor, err));
    DT_PASS(bind(r, err));
    DT_PASS(dt_executor_run(r->executor, err));
    if (r->inputs.gradients && r->inputs.labels)
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

dt_status dt_replay_read_gradient(void *user, const char *canonical, int64_t row, int64_t rows, float *out,
                                  dt_error *err)
{
    const dt_replay *r = user;
    char name[256];
    dt_data data;
    snprintf(name, sizeof name, "grad.%s", canonical);
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
