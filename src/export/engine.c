/*
 * engine.c (export) - makes an engine: the weights in the forms that this machine's kernels ask for, one after another, with
 * the configuration, the tokenizer and the template in one file (formats/engine/engine.h has the layout).
 *
 * At most one weight is in memory at a time. The plan is told, not used: plans are made for capacities, in
 * milliseconds, when a session is.
 */
#include "export/engine.h"

#include "base/json.h"
#include "base/map.h"
#include "base/output.h"
#include "backend/backend.h"
#include "formats/engine/engine.h"
#include "formats/megatron/megatron.h"
#include "formats/open.h"
#include "inference/model.h"

#include <drivetrain/version.h>

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096, ENTRY_BYTES = 512 };

typedef struct making {
    const dt_checkpoint *from;
    const dt_export_options *options;
    dt_model *model;
    dt_bundle_writer *out;
    dt_export_result *result;
    json_t *seen, *kernels; /* entries written; kernels of the graphs, each once */
} making;

static dt_status put_document(making *m, const char *name, const json_t *json, dt_error *err)
{
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!text)
        return dt_fail_memory(err, 4096, name);
    dt_status status = dt_bundle_begin(m->out, name, err);
    if (status == DT_OK)
        status = dt_bundle_write(m->out, text, strlen(text), err);
    free(text);
    return status;
}

static dt_status put_config(making *m, dt_error *err)
{
    json_t *json = NULL;
    dt_status status = dt_megatron_write_config(dt_checkpoint_config(m->from), &json, err);
    if (status == DT_OK)
        status = put_document(m, "config.json", json, err);
    json_decref(json);
    return status;
}

/* The tokenizer, the template, the settings of generation and of pictures. */
static dt_status put_companions(making *m, dt_error *err)
{
    const char *name;
    for (size_t i = 0; (name = dt_export_companion(dt_checkpoint_config(m->from), i)); i++) {
        char path[PATH_BYTES];
        dt_map map = {0};
        if (snprintf(path, sizeof path, "%s/%s", m->from->path, name) >= PATH_BYTES || !dt_is_file(path))
            continue;
        DT_PASS(dt_map_open(&map, path, err));
        dt_status status = dt_bundle_begin(m->out, name, err);
        if (status == DT_OK)
            status = dt_bundle_write(m->out, map.data, map.size, err);
        dt_map_close(&map);
        DT_TRY(status, err, "while copying %s", name);
    }
    return DT_OK;
}

/* ---- weights ---- */

static dt_status tell_progress(making *m, dt_error *err)
{
    const dt_export_options *o = m->options;
    uint64_t total = dt_checkpoint_describe(m->from).bytes;
    if (!o->progress || o->progress(o->user, m->result->bytes < total ? m->result->bytes : total, total))
        return DT_OK;
    return dt_fail(err, DT_CANCELLED, "the export was interrupted");
}

static dt_status put_weight(making *m, const char *entry, const char *name, const dt_weight_form *form,
                            dt_error *err)
{
    const dt_weight *weight = NULL;
    DT_PASS(dt_weights_get(m->model->weights, name, form, &weight, err));
    size_t bytes = form->bytes(form, weight->rows, weight->cols);
    dt_status status = dt_bundle_begin(m->out, entry, err);
    if (status == DT_OK)
        status = dt_bundle_write(m->out, weight->data, bytes, err);
    dt_weights_forget(m->model->weights, weight);
    dt_checkpoint_drop(m->from, name);
    DT_PASS(status);
    m->result->tensors++;
    m->result->bytes += bytes;
    return tell_progress(m, err);
}

static dt_status use_form(void *user, const dt_op *op, const dt_kernel *kernel, const char *name,
                          const dt_weight_form *form, dt_error *err)
{
    making *m = user;
    char entry[ENTRY_BYTES];
    (void)op;
    if (json_object_set_new(m->kernels, kernel->name, json_true()))
        return dt_fail_memory(err, 64, "the list of kernels");
    if (!name)
        return DT_OK;
    if (!dt_engine_entry(entry, sizeof entry, name, form->name))
        return dt_fail(err, DT_LIMIT, "the name \"%s\" is too long for an engine", name);
    if (json_object_get(m->seen, entry))
        return DT_OK;
    if (json_object_set_new(m->seen, entry, json_true()))
        return dt_fail_memory(err, 64, "the list of weights");
    DT_TRY(put_weight(m, entry, name, form, err), err, "while writing \"%s\"", entry);
    return DT_OK;
}

/* ---- what it is for ---- */

static dt_status put_about(making *m, const char *isa, dt_error *err)
{
    json_t *kernels = json_array();
    const char *name;
    json_t *value;
    json_object_foreach(m->kernels, name, value) json_array_append_new(kernels, json_string(name));
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:o}}", "drivetrain", DT_VERSION, "dtype",
                  dt_dtype_name(m->model->backend->dtype), "backend", m->model->backend->name, "isa", isa,
                  "made_from", dt_checkpoint_describe(m->from).format, "plan", "kernels", kernels);
    dt_status status =
        json ? put_document(m, "engine.json", json, err) : dt_fail_memory(err, 256, "engine.json");
    json_decref(json);
    return status;
}

static dt_status make(making *m, const char *isa, dt_error *err)
{
    DT_PASS(put_config(m, err));
    DT_PASS(put_companions(m, err));
    DT_PASS(dt_model_forms(m->model, use_form, m, err));
    return put_about(m, isa, err);
}

dt_status dt_engine_write(const dt_checkpoint *from, const char *path, const dt_export_options *options,
                          const char *type, dt_export_result *result, dt_error *err)
{
    dt_model_options open = {.dtype = type};
    making m = {
        .from = from, .options = options, .result = result, .seen = json_object(), .kernels = json_object()};
    dt_status status;
    *result = (dt_export_result){.files = 1};
    if (!m.seen || !m.kernels)
        DT_GO(status, dt_fail_memory(err, 64, "an engine"));
    DT_GO(status, dt_model_from_checkpoint(&m.model, from, &open, err));
    DT_GO(status, dt_bundle_create(&m.out, path, options->replace, err));
    DT_GO(status, make(&m, m.model->backend->isa, err));
    status = dt_bundle_commit(m.out, err);
    m.out = NULL;
done:
    dt_bundle_discard(m.out);
    dt_model_close(m.model);
    json_decref(m.seen);
    json_decref(m.kernels);
    return status;
}
