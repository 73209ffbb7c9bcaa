/*
 * trace.c - runs a recording's inputs and writes every point under its name, as a recording of ours.
 */
#include "verify/replay.h"

#include "base/text.h"
#include "formats/safetensors/safetensors.h"
#include "inference/model.h"

#include <drivetrain/verify.h>
#include <drivetrain/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One tensor to write: an input copied from the recording, a point of the replay, or a gradient. */
typedef struct item {
    const dt_stored_tensor *input;
    dt_replay_value value;
    const char *gradient_of; /* the maker's name of a parameter */
    size_t bytes;
} item;

typedef struct tracing {
    dt_arena *arena;
    dt_recording recording;
    dt_model *model;
    dt_replay_inputs inputs;
    dt_replay *replay;
    item *items;
    dt_safetensors_entry *entries;
    size_t count;
    int points;
} tracing;

static dt_status add(tracing *t, const char *name, const item *what, dt_dtype dtype, dt_shape shape,
                     dt_error *err)
{
    dt_safetensors_entry *entry = &t->entries[t->count];
    *entry = (dt_safetensors_entry){.name = name, .dtype = dtype, .shape = shape};
    t->items[t->count] = *what;
    if (!dt_shape_bytes(&shape, dtype, &t->items[t->count++].bytes))
        return dt_fail(err, DT_LIMIT, "\"%s\" is too large", name);
    return DT_OK;
}

/* What the loss does not depend on has none: a frozen part, a tower that saw nothing, layers whose rows nobody reads. */
static bool has_gradient(const tracing *t, const char *canonical)
{
    char name[256];
    dt_replay_value value;
    return snprintf(name, sizeof name, "grad.%s", canonical) < (int)sizeof name &&
           dt_replay_find(t->replay, name, &value);
}

/* Gradients are written under the names of the file they belong to, as every recording has them. */
static dt_status list_gradients(tracing *t, dt_error *err)
{
    const dt_checkpoint *checkpoint = dt_model_checkpoint(t->model);
    dt_checkpoint_tensor c;
    for (int i = 0; t->inputs.gradients && dt_checkpoint_tensor_at(checkpoint, i, &c); i++) {
        const char *name = c.canonical ? dt_arena_printf(t->arena, "grad.%s", c.name) : NULL;
        if (!c.canonical || !has_gradient(t, c.canonical))
            continue;
        if (!name)
            return dt_fail_memory(err, strlen(c.name), "a gradient's name");
        item what = {.gradient_of = name + strlen("grad.")};
        DT_PASS(add(t, name, &what, DT_F32, dt_shape_of(c.rank, c.dim), err));
        t->points++;
    }
    return DT_OK;
}

static dt_status list_items(tracing *t, dt_error *err)
{
    size_t inputs = dt_stored_set_count(t->recording.tensors);
    size_t tensors = (size_t)dt_checkpoint_describe(dt_model_checkpoint(t->model)).tensor_count;
    size_t capacity = inputs + (size_t)dt_replay_point_count(t->replay) + tensors;
    t->items = DT_NEW_ARRAY(t->arena, item, capacity);
    t->entries = DT_NEW_ARRAY(t->arena, dt_safetensors_entry, capacity);
    if (!t->items || !t->entries)
        return dt_fail_memory(err, capacity * sizeof(item), "the list of points");
    for (size_t i = 0; i < inputs; i++) {
        const dt_stored_tensor *s = dt_stored_set_at(t->recording.tensors, i);
        if (dt_starts_with(s->name, "in.") && !s->unsupported)
            DT_PASS(add(t, s->name, &(item){.input = s}, s->dtype, s->shape, err));
    }
    for (int i = 0; i < dt_replay_point_count(t->replay); i++) {
        dt_replay_value v = dt_replay_point(t->replay, i);
        if (dt_starts_with(v.name, "grad."))
            continue; /* under its canonical name; list_gradients has the maker's */
        DT_PASS(add(t, v.name, &(item){.value = v}, DT_F32, v.shape, err));
        t->points++;
    }
    return list_gradients(t, err);
}

/* Packed rows back to [B, S, width], padding zero. */
static void unpack(const dt_replay_value *v, float *out)
{
    if (!v->rows) {
        memcpy(out, v->data, (size_t)v->width * sizeof *out);
        return;
    }
    for (int64_t b = 0; b < v->rows->batch; b++)
        for (int64_t row = v->rows->cu_seqlens[b]; row < v->rows->cu_seqlens[b + 1]; row++) {
            int64_t position = b * v->rows->length + row - v->rows->cu_seqlens[b];
            memcpy(out + position * v->width, v->data + row * v->stride, (size_t)v->width * sizeof *out);
        }
}

static dt_status write_item(tracing *t, dt_safetensors_writer *writer, size_t index, dt_error *err)
{
    const item *what = &t->items[index];
    void *bytes = calloc(1, what->bytes ? what->bytes : 1);
    dt_status status = DT_OK;
    if (!bytes)
        return dt_fail_memory(err, what->bytes, "a point");
    if (what->input)
        status = dt_stored_read(what->input, NULL, what->input->dtype, bytes, NULL, err);
    else if (what->gradient_of)
        status =
            dt_checkpoint_external(dt_model_checkpoint(t->model), what->gradient_of, dt_replay_read_gradient,
                                   t->replay, bytes, (int64_t)(what->bytes / sizeof(float)), err);
    else
        unpack(&what->value, bytes);
    if (status == DT_OK)
        status = dt_safetensors_write(writer, index, bytes, what->bytes, err);
    free(bytes);
    return status;
}

static dt_status write_recording(tracing *t, const char *path, const char *dtype, dt_error *err)
{
    const char *options = dt_stored_set_noted(t->recording.tensors, "options");
    const char *const notes[] = {"format",  "drivetrain-recording/1",
                                 "source",  "drivetrain " DT_VERSION,
                                 "model",   dt_model_get_config(t->model)->family,
                                 "dtype",   dtype,
                                 "options", options ? options : "{}"};
    dt_safetensors_writer *writer;
    DT_PASS(dt_safetensors_create(&writer, path, true, t->entries, t->count, notes,
                                  sizeof notes / sizeof *notes / 2, err));
    for (size_t place = 0; place < t->count; place++) {
        size_t index = dt_safetensors_order(writer, place);
        dt_status status = write_item(t, writer, index, err);
        if (status != DT_OK) {
            dt_safetensors_discard(writer);
            return status;
        }
    }
    return dt_safetensors_commit(writer, err);
}

static dt_status trace(tracing *t, const char *model, const char *inputs, const char *out,
                       const dt_trace_options *options, dt_error *err)
{
    dt_model_options open = options->model;
    open.dtype = open.dtype ? open.dtype : "f32";
    if (!(t->arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "a trace");
    DT_PASS(dt_recording_open(&t->recording, inputs, err));
    DT_PASS(dt_model_open(&t->model, model, &open, err));
    DT_PASS(dt_replay_inputs_read(&t->recording, model, dt_model_get_config(t->model), t->arena, &t->inputs,
                                  err));
    if (options->gradients && !t->inputs.loss)
        return dt_fail(err, DT_INVALID,
                       "%s has no in.labels and in.loss_mask: there is no loss to differentiate", inputs);
    t->inputs.gradients = options->gradients;
    t->inputs.frozen = options->frozen;
    DT_PASS(dt_replay_run(&t->replay, t->model, &t->inputs, err));
    DT_PASS(list_items(t, err));
    return write_recording(t, out, open.dtype, err);
}

dt_status dt_trace(const char *model, const char *inputs, const char *out, const dt_trace_options *options,
                   int *points, dt_error *err)
{
    static const dt_trace_options defaults;
    tracing t = {0};
    dt_status status = trace(&t, model, inputs, out, options ? options : &defaults, err);
    if (status != DT_OK)
        dt_error_while(err, "while tracing %s", model);
    if (points)
        *points = t.points;
    dt_replay_destroy(t.replay);
    dt_model_close(t.model);
    dt_recording_close(&t.recording);
    dt_arena_destroy(t.arena);
    return status;
}
