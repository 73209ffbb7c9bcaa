/*
 * write.c (onnx) - writes a folder of ONNX graphs, the data file of their weights, config.json and the tokenizer.
 *
 * Every graph is lowered before anything is written. Weights are streamed into one data file, each at a multiple of
 * 4096 bytes, so that runtimes may map it; vectors of up to 1 KiB are in the graphs themselves.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/say.h"
#include "formats/hf/family.h"
#include "formats/megatron/megatron.h"
#include "formats/onnx/model.h"
#include "formats/open.h"

#include <drivetrain/version.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, PAGE = 4096, INLINE_BYTES = 1024 };

/* What is written, all known before. */
typedef struct job {
    const dt_checkpoint *from;
    const dt_export_options *options;
    dt_arena *arena;
    dt_model_config config;
    dt_mapping *mapping;
    dt_dtype type;
    int opset;
    uint64_t *offset; /* of each external tensor in the data file; UINT64_MAX: in the graphs */
    dt_onnx_model model[DT_ONNX_GRAPHS];
    int models;
    char *config_text;
} job;

/* ---- what will be written ---- */

/* One type for weights and activations: the one asked for, or the narrowest that holds every stored value. */
static dt_status choose_type(job *j, dt_error *err)
{
    const dt_dtype *type = NULL;
    DT_PASS(dt_export_types(j->from, j->mapping, j->options, j->arena, &type, err));
    j->type = type[0];
    for (int i = 1; i < dt_mapping_external_count(j->mapping); i++)
        if (type[i] != j->type)
            j->type = DT_F32;
    if (!dt_onnx_type_of(j->type))
        j->type = DT_F32;
    return DT_OK;
}

static uint64_t bytes_of(const job *j, int external)
{
    dt_shape shape = dt_external_file_shape(dt_mapping_external_at(j->mapping, external));
    size_t bytes;
    return dt_shape_bytes(&shape, j->type, &bytes) ? bytes : 0;
}

static dt_status place_weights(job *j, dt_error *err)
{
    int count = dt_mapping_external_count(j->mapping);
    uint64_t at = 0;
    j->offset = DT_NEW_ARRAY(j->arena, uint64_t, count + 1);
    if (!j->offset)
        return dt_fail_memory(err, sizeof *j->offset * (size_t)count, "the places of weights");
    for (int i = 0; i < count; i++) {
        bool here = dt_mapping_external_at(j->mapping, i)->shape.rank == 1 && bytes_of(j, i) <= INLINE_BYTES;
        j->offset[i] = here ? UINT64_MAX : at;
        if (!here)
            at += (bytes_of(j, i) + PAGE - 1) / PAGE * PAGE;
    }
    return DT_OK;
}

static dt_status lower_all(job *j, dt_error *err)
{
    const dt_onnx_file *file;
    int count;
    DT_PASS(dt_onnx_files(&j->config, &file, &count, err));
    for (int i = 0; i < count; i++) {
        j->models = i + 1;
        DT_PASS(
            dt_onnx_lower(&j->model[i], &file[i], &j->config, j->mapping, j->arena, j->opset, j->type, err));
    }
    return DT_OK;
}

/*
 * What no op reads is kept all the same in models that see: DINOv2's mask token, a tower's layers behind those that are
 * projected, and its head are part of the model.
 */
static bool keep(const job *j, const char *name)
{
    for (int k = 0; k < j->models; k++) {
        const dt_tensor *t = dt_graph_find(j->model[k].graph, name);
        if (t && (j->config.vision || dt_config_is_tower(&j->config)))
            return j->model[k].used[t->id] = true;
    }
    return false;
}

/* What no graph reads would be lost. */
static dt_status check_used(const job *j, dt_error *err)
{
    for (int i = 0; i < dt_mapping_external_count(j->mapping); i++) {
        const char *name = dt_mapping_external_at(j->mapping, i)->name;
        bool used = false;
        for (int k = 0; k < j->models; k++) {
            const dt_tensor *t = dt_graph_find(j->model[k].graph, name);
            used |= t && j->model[k].used[t->id];
        }
        if (!used && !keep(j, name))
            return dt_fail(err, DT_UNSUPPORTED, "no ONNX graph of this %s reads its \"%s\"", j->config.family,
                           name);
    }
    return DT_OK;
}

static dt_status describe(job *j, dt_error *err)
{
    json_t *json = NULL;
    DT_PASS(dt_megatron_write_config(&j->config, &json, err));
    j->config_text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return j->config_text ? DT_OK : dt_fail_memory(err, 4096, "a configuration");
}

static dt_status plan(job *j, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    j->opset = j->options->opset ? j->options->opset : DT_ONNX_OPSET;
    if (j->opset < DT_ONNX_OPSET || j->opset > DT_ONNX_NEWEST_OPSET)
        return dt_fail(err, DT_UNSUPPORTED, "opset %d: graphs are written for %d to %d", j->opset,
                       DT_ONNX_OPSET, DT_ONNX_NEWEST_OPSET);
    j->config.padded_vocab_size = j->config.vocab_size; /* as many rows as the tokenizer has tokens */
    DT_PASS(dt_model_parameters(&j->config, j->arena, &spec, &count, err));
    DT_PASS(dt_mapping_create(&j->mapping, j->arena, spec, count, err));
    DT_PASS(dt_onnx_map(&j->config, j->mapping, err));
    DT_PASS(choose_type(j, err));
    DT_PASS(place_weights(j, err));
    DT_PASS(lower_all(j, err));
    DT_PASS(check_used(j, err));
    return describe(j, err);
}

/* ---- graphs ---- */

/* StringStringEntryProto */
static void put_pair(dt_text *out, int field, const char *key, const char *value)
{
    dt_text pair = {0};
    dt_wire_string(&pair, 1, key);
    dt_wire_string(&pair, 2, value);
    dt_wire_text(out, field, &pair);
    dt_text_free(&pair);
}

static void put_place(dt_text *out, uint64_t offset, uint64_t bytes)
{
    char text[32];
    put_pair(out, 13, "location", DT_ONNX_DATA);
    snprintf(text, sizeof text, "%" PRIu64, offset);
    put_pair(out, 13, "offset", text);
    snprintf(text, sizeof text, "%" PRIu64, bytes);
    put_pair(out, 13, "length", text);
    dt_wire_int(out, 14, 1); /* EXTERNAL */
}

static dt_status put_values(dt_text *out, const job *j, const dt_external *e, dt_error *err)
{
    char values[INLINE_BYTES];
    DT_PASS(dt_checkpoint_read(j->from, e->name, 0, e->shape.dim[0], j->type, values, err));
    dt_wire_data(out, 9, values, (size_t)(e->shape.dim[0] * dt_dtype_block_bytes(j->type)));
    return DT_OK;
}

/* TensorProto of a parameter */
static dt_status put_parameter(dt_text *out, const job *j, int external, dt_error *err)
{
    const dt_external *e = dt_mapping_external_at(j->mapping, external);
    dt_text tensor = {0};
    dt_status status = DT_OK;
    for (int i = 0; i < e->shape.rank; i++)
        dt_wire_int(&tensor, 1, e->shape.dim[i]);
    dt_wire_int(&tensor, 2, dt_onnx_type_of(j->type));
    dt_wire_string(&tensor, 8, e->name);
    if (j->offset[external] != UINT64_MAX)
        put_place(&tensor, j->offset[external], bytes_of(j, external));
    else
        status = put_values(&tensor, j, e, err);
    dt_wire_text(out, 5, &tensor);
    dt_text_free(&tensor);
    return status;
}

static dt_status put_graph(dt_text *out, const job *j, const dt_onnx_model *m, dt_error *err)
{
    dt_text graph = {0};
    dt_status status = DT_OK;
    dt_text_append(&graph, m->onnx.nodes.data, m->onnx.nodes.bytes);
    dt_wire_string(&graph, 2, j->config.family);
    dt_text_append(&graph, m->onnx.constants.data, m->onnx.constants.bytes);
    for (int i = 0; status == DT_OK && i < m->graph->tensor_count; i++)
        if (m->used[i])
            status = put_parameter(&graph, j, dt_mapping_find_external(j->mapping, m->graph->tensor[i]->name),
                                   err);
    dt_text_append(&graph, m->onnx.inputs.data, m->onnx.inputs.bytes);
    dt_text_append(&graph, m->onnx.outputs.data, m->onnx.outputs.bytes);
    dt_wire_text(out, 7, &graph);
    dt_text_free(&graph);
    return status;
}

/* The oldest version of the format that knows an opset: runtimes refuse newer ones than they know. */
static int64_t ir_version(int opset)
{
    static const int8_t of[] = {8, 9, 9, 10, 10, 11, 12, 13, 13}; /* from opset 18 on */
    return of[opset - DT_ONNX_OPSET];
}

static dt_status write_graph(const job *j, const dt_onnx_model *m, const char *folder,
                             dt_export_result *result, dt_error *err)
{
    dt_text model = {0}, opset = {0};
    char path[PATH_BYTES];
    dt_output *file = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, m->file->name);
    dt_wire_int(&model, 1, ir_version(j->opset));
    dt_wire_string(&model, 2, "drivetrain");
    dt_wire_string(&model, 3, DT_VERSION);
    dt_status status = put_graph(&model, j, m, err);
    dt_wire_string(&opset, 1, "");
    dt_wire_int(&opset, 2, j->opset);
    dt_wire_text(&model, 8, &opset);
    put_pair(&model, 14, DT_ONNX_CONFIG, j->config_text);
    if (status == DT_OK && model.failed)
        status = dt_fail_memory(err, model.bytes, m->file->name);
    if (status == DT_OK)
        status = dt_output_open(&file, path, true, err);
    if (status == DT_OK)
        status = dt_output_write(file, model.data, model.bytes, err);
    if (status == DT_OK)
        status = dt_output_commit(file, err);
    else
        dt_output_discard(file);
    result->files++;
    result->bytes += model.bytes;
    dt_text_free(&opset);
    dt_text_free(&model);
    return status;
}

/* ---- weights ---- */

typedef struct weight_sink {
    dt_output *output;
    uint64_t start; /* of the tensor in the file */
} weight_sink;

static dt_status pad_to(dt_output *output, uint64_t position, dt_error *err)
{
    static const char zeros[PAGE];
    while (dt_output_position(output) < position) {
        uint64_t missing = position - dt_output_position(output);
        DT_PASS(dt_output_write(output, zeros, missing < PAGE ? (size_t)missing : PAGE, err));
    }
    return DT_OK;
}

static dt_status put_bytes(void *user, const void *data, size_t bytes, dt_error *err)
{
    const weight_sink *sink = user;
    DT_PASS(pad_to(sink->output, sink->start, err));
    return dt_output_write(sink->output, data, bytes, err);
}

static dt_status stream_weights(job *j, dt_export_run *run, dt_output *output, dt_error *err)
{
    dt_status status = DT_OK;
    for (int i = 0; status == DT_OK && i < dt_mapping_external_count(j->mapping); i++) {
        dt_export_part part = {.external = i};
        weight_sink sink = {output, j->offset[i]};
        int64_t cols;
        if (sink.start == UINT64_MAX)
            continue;
        dt_external_rows(dt_mapping_external_at(j->mapping, i), &part.rows, &cols);
        status = dt_export_stream(run, j->mapping, j->type, &part, put_bytes, &sink, sizeof sink, err);
        if (status != DT_OK)
            dt_error_while(err, "while writing tensor \"%s\"", dt_mapping_external_at(j->mapping, i)->name);
    }
    dt_status written = dt_export_run_wait(run, status == DT_OK ? err : NULL);
    return status == DT_OK ? written : status;
}

static dt_status write_weights(job *j, const char *folder, dt_export_result *result, dt_error *err)
{
    char path[PATH_BYTES];
    dt_output *output = NULL;
    dt_export_run run = {.from = j->from, .options = j->options};
    for (int i = 0; i < dt_mapping_external_count(j->mapping); i++)
        run.total += j->offset[i] == UINT64_MAX ? 0 : bytes_of(j, i);
    snprintf(path, sizeof path, "%s/" DT_ONNX_DATA, folder);
    DT_PASS(dt_output_open(&output, path, true, err));
    dt_status status = stream_weights(j, &run, output, err);
    result->bytes += run.done;
    result->files++;
    dt_export_run_end(&run);
    if (status == DT_OK)
        return dt_output_commit(output, err);
    dt_output_discard(output);
    return status;
}

/* ---- the whole ---- */

/* Optimum and others ask config.json what a model is; one that no class of transformers computes goes without. */
static dt_status write_config(const job *j, const char *folder, dt_export_result *result, dt_error *err)
{
    dt_status status = dt_hf_save_config(j->from, &j->config, j->type, folder, result, err);
    if (status != DT_UNSUPPORTED)
        return status;
    dt_say(j->from->log, DT_LOG_INFO, "no config.json: transformers has no class for this %s",
           j->config.family);
    dt_error_clear(err);
    return DT_OK;
}

static dt_status write_folder(job *j, const char *path, dt_export_result *result, dt_error *err)
{
    dt_output_folder *folder = NULL;
    DT_PASS(dt_output_folder_create(&folder, path, j->options->replace, err));
    const char *into = dt_output_folder_path(folder);
    dt_status status = write_weights(j, into, result, err);
    for (int i = 0; status == DT_OK && i < j->models; i++)
        status = write_graph(j, &j->model[i], into, result, err);
    if (status == DT_OK)
        status = dt_export_tokenizer(j->from, into, result, err);
    if (status == DT_OK)
        status = write_config(j, into, result, err);
    if (status == DT_OK)
        return dt_output_folder_commit(folder, err);
    dt_output_folder_discard(folder);
    return status;
}

dt_status dt_onnx_write(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                        dt_export_result *result, dt_error *err)
{
    job j = {.from = from, .options = o, .arena = dt_arena_create(), .config = from->config};
    if (!j.arena)
        return dt_fail_memory(err, 4096, "an export");
    dt_status status = plan(&j, err);
    if (status == DT_OK)
        status = write_folder(&j, path, result, err);
    result->tensors += status == DT_OK ? dt_mapping_external_count(j.mapping) : 0;
    for (int i = 0; i < j.models; i++)
        dt_onnx_model_release(&j.model[i]);
    free(j.config_text);
    dt_arena_destroy(j.arena);
    return status;
}
