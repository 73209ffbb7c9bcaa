/*
 * export.c - streams a checkpoint's tensors into files of another naming.
 *
 * A writer (hf/write.c, megatron/) plans: target mapping, types, files. Here each target tensor is assembled from
 * canonical blocks a few MiB at a time, so memory does not grow with the model; safetensors files are written here
 * too.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/export_make.h"
#include "formats/gguf/gguf_model.h"
#include "formats/open.h"
#include "formats/safetensors/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 8 << 20, PATH_BYTES = 4096, CONFIG_LIMIT = 16 << 20 };

static dt_dtype wider(dt_dtype a, dt_dtype b)
{
    return a == b || b == DT_DTYPE_COUNT ? a : a == DT_DTYPE_COUNT ? b : DT_F32;
}

dt_status dt_export_types(const dt_checkpoint *from, const dt_mapping *to, const dt_export_options *options,
                          dt_arena *arena, const dt_dtype **out, dt_error *err)
{
    int count = dt_mapping_external_count(to);
    dt_dtype *type = DT_NEW_ARRAY(arena, dt_dtype, count + 1);
    if (!type)
        return dt_fail_memory(err, sizeof *type * (size_t)count, "the tensors' types");
    for (int i = 0; i < count; i++)
        type[i] = options->cast ? options->dtype : DT_DTYPE_COUNT;
    for (int i = 0; i < dt_mapping_count(to) && !options->cast; i++) {
        const dt_canonical *c = dt_mapping_at(to, i);
        int source;
        DT_PASS(dt_mapping_get(from->mapping, c->spec->name, &source, err));
        dt_dtype stored = dt_mapping_stored_type(from->mapping, source);
        for (int k = c->first; k < c->first + c->count; k++) {
            int external = dt_mapping_piece_at(to, k)->external;
            type[external] = wider(type[external], stored);
        }
    }
    *out = type;
    return DT_OK;
}

static uint64_t row_bytes(dt_dtype type, int64_t cols)
{
    return (uint64_t)(cols / dt_dtype_block_elements(type) * dt_dtype_block_bytes(type));
}

uint64_t dt_export_bytes(const dt_mapping *to, const dt_dtype *types, int external)
{
    int64_t rows, cols;
    dt_external_rows(dt_mapping_external_at(to, external), &rows, &cols);
    return (uint64_t)rows * row_bytes(types[external], cols);
}

dt_dtype dt_export_entry_type(const dt_export_plan *plan, const dt_export_entry *entry)
{
    return entry->form == DT_MAKE_FP8_SCALES ? DT_F32 : plan->dtype[entry->external];
}

dt_shape dt_export_entry_shape(const dt_export_plan *plan, const dt_export_entry *entry)
{
    const dt_external *e = dt_mapping_external_at(plan->mapping, entry->external);
    return entry->form == DT_MAKE_FP8_SCALES ? (dt_shape){2, {e->shape.dim[0], 1}}
                                             : dt_external_file_shape(e);
}

uint64_t dt_export_entry_bytes(const dt_export_plan *plan, const dt_export_entry *entry)
{
    int64_t rows, cols;
    dt_external_rows(dt_mapping_external_at(plan->mapping, entry->external), &rows, &cols);
    return entry->form == DT_MAKE_FP8_SCALES ? (uint64_t)rows * sizeof(float)
                                             : dt_export_bytes(plan->mapping, plan->dtype, entry->external);
}

uint64_t dt_export_total(const dt_export_plan *plan)
{
    uint64_t total = 0;
    for (int i = 0; i < plan->entry_count; i++)
        total += dt_export_entry_bytes(plan, &plan->entry[i]);
    return total;
}

/* Blocks of the source's canonical tensors; rows that it does not have (padding) are zero. */
static dt_status read_source(void *user, const dt_canonical *wanted, const dt_block *b, const dt_window *t,
                             dt_error *err)
{
    const dt_checkpoint *from = user;
    int index;
    DT_PASS(dt_mapping_get(from->mapping, wanted->spec->name, &index, err));
    const dt_canonical *have = dt_mapping_at(from->mapping, index);
    dt_block part = *b;
    if (b->row + b->rows > have->rows)
        part.rows = have->rows > b->row ? have->rows - b->row : 0;
    if (wanted->cols != have->cols)
        return dt_fail(err, DT_MISMATCH, "tensor \"%s\" has another width in the output", wanted->spec->name);
    if (part.rows < b->rows) /* padding comes after all real rows: whole rows of the target */
        for (int64_t i = part.rows; i < b->rows; i++)
            for (int64_t j = 0; j < b->cols; j++)
                memset((char *)t->out +
                           (i * t->row_stride + j * t->col_stride) * dt_dtype_block_bytes(t->dtype),
                       0, (size_t)dt_dtype_block_bytes(t->dtype));
    return part.rows ? dt_mapping_read(from->mapping, index, &part, t, err) : DT_OK;
}

/* The parts of one source tensor follow one another: it is read ahead at the first, and let go after the last. */
static void hold_source(dt_export_run *run, const char *canonical)
{
    if (run->held == canonical || (run->held && canonical && strcmp(run->held, canonical) == 0))
        return;
    int before = run->held ? dt_mapping_find(run->from->mapping, run->held) : -1;
    int next = canonical ? dt_mapping_find(run->from->mapping, canonical) : -1;
    if (before >= 0)
        dt_mapping_drop(run->from->mapping, before);
    if (next >= 0)
        dt_mapping_will_need(run->from->mapping, next);
    run->held = canonical;
}

dt_status dt_export_stream(dt_export_run *run, const dt_mapping *to, dt_dtype type,
                           const dt_export_part *part, dt_export_sink sink, const void *user,
                           size_t user_bytes, dt_error *err)
{
    const dt_external *e = dt_mapping_external_at(to, part->external);
    dt_canonical_source source = {read_source, (void *)run->from};
    int64_t all, cols, end = part->first + part->rows;
    dt_external_rows(e, &all, &cols);
    size_t row = (size_t)row_bytes(type, part->form == DT_MAKE_FP8_SCALES ? 1 : cols);
    int64_t chunk = row < CHUNK_BYTES ? (int64_t)(CHUNK_BYTES / (row ? row : 1)) : 1;
    if (!run->queue)
        DT_PASS(dt_export_queue_create(&run->queue, err));
    if (!run->pool)
        DT_PASS(dt_pool_create(&run->pool, run->options->threads, err));
    dt_make make = {to, part->external, type, row, &source, part->form, run->pool};
    hold_source(run, e->canonical);
    for (int64_t first = part->first; first < end; first += chunk) {
        int64_t n = end - first < chunk ? end - first : chunk;
        void *buffer;
        DT_PASS(dt_export_queue_buffer(run->queue, row * (size_t)n, &buffer, err));
        DT_PASS(dt_make_rows(&make, first, n, buffer, err));
        dt_export_queue_put(run->queue, sink, user, user_bytes);
        run->done += row * (size_t)n;
        if (run->options->progress && !run->options->progress(run->options->user, run->done, run->total))
            return dt_fail(err, DT_CANCELLED, "stopped after %llu of %llu bytes",
                           (unsigned long long)run->done, (unsigned long long)run->total);
    }
    return DT_OK;
}

dt_status dt_export_run_wait(dt_export_run *run, dt_error *err)
{
    return run->queue ? dt_export_queue_wait(run->queue, err) : DT_OK;
}

void dt_export_run_end(dt_export_run *run)
{
    hold_source(run, NULL);
    dt_export_queue_destroy(run->queue);
    dt_pool_destroy(run->pool);
    run->queue = NULL;
    run->pool = NULL;
}

/* ---- safetensors ---- */

typedef struct tensor_sink {
    dt_safetensors_writer *writer;
    size_t index;
} tensor_sink;

static dt_status put_bytes(void *user, const void *data, size_t bytes, dt_error *err)
{
    const tensor_sink *sink = user;
    return dt_safetensors_write(sink->writer, sink->index, data, bytes, err);
}

static dt_status write_tensor(dt_export_run *run, const dt_export_plan *plan, dt_safetensors_writer *writer,
                              size_t index, const dt_export_entry *entry, dt_error *err)
{
    tensor_sink sink = {writer, index};
    dt_export_part part = {.external = entry->external, .form = entry->form};
    int64_t cols;
    dt_external_rows(dt_mapping_external_at(plan->mapping, entry->external), &part.rows, &cols);
    return dt_export_stream(run, plan->mapping, dt_export_entry_type(plan, entry), &part, put_bytes, &sink,
                            sizeof sink, err);
}

static dt_status write_file(dt_export_run *run, const dt_export_plan *plan, const char *path,
                            const dt_export_file *file, dt_error *err)
{
    dt_safetensors_writer *writer = NULL;
    dt_safetensors_entry *list = calloc((size_t)file->count + 1, sizeof *list);
    dt_status status =
        list ? DT_OK : dt_fail_memory(err, sizeof *list * (size_t)file->count, "a file's tensors");
    for (int i = 0; list && i < file->count; i++) {
        const dt_export_entry *entry = &plan->entry[file->first + i];
        list[i] = (dt_safetensors_entry){entry->name, dt_export_entry_type(plan, entry),
                                         dt_export_entry_shape(plan, entry)};
    }
    if (status == DT_OK)
        status = dt_safetensors_create(&writer, path, true, list, (size_t)file->count, plan->notes,
                                       plan->note_count, err);
    free(list);
    for (int i = 0; status == DT_OK && i < file->count; i++) {
        size_t index = dt_safetensors_order(writer, (size_t)i);
        status = write_tensor(run, plan, writer, index, &plan->entry[(size_t)file->first + index], err);
    }
    dt_status written = dt_export_run_wait(run, status == DT_OK ? err : NULL);
    if (status == DT_OK && written == DT_OK)
        return dt_safetensors_commit(writer, err);
    dt_safetensors_discard(writer);
    return status == DT_OK ? written : status;
}

dt_status dt_export_tensors(const dt_checkpoint *from, const char *folder, const dt_export_plan *plan,
                            const dt_export_options *options, dt_export_result *result, dt_error *err)
{
    dt_export_run run = {.from = from, .options = options, .total = dt_export_total(plan)};
    dt_status status = DT_OK;
    for (int i = 0; status == DT_OK && i < plan->file_count; i++) {
        char path[PATH_BYTES];
        if (snprintf(path, sizeof path, "%s/%s", folder, plan->file[i].name) >= PATH_BYTES)
            status = dt_fail(err, DT_INVALID, "the path %s is too long", folder);
        else if ((status = write_file(&run, plan, path, &plan->file[i], err)) != DT_OK)
            dt_error_while(err, "while writing %s", plan->file[i].name);
    }
    dt_export_run_end(&run);
    result->tensors += plan->entry_count;
    result->files += plan->file_count;
    result->bytes += run.done;
    return status;
}

/* What goes along with a model that reads, and with one that sees. */
static const struct {
    const char *name;
    bool pictures;
} companions[] = {
    {"tokenizer.json", false},
    {"tokenizer_config.json", false},
    {"special_tokens_map.json", false},
    {"added_tokens.json", false},
    {"tokenizer.model", false},
    {"spiece.model", false},
    {"vocab.json", false},
    {"merges.txt", false},
    {"vocab.txt", false},
    {"chat_template.jinja", false},
    {"generation_config.json", false},
    {"preprocessor_config.json", true},
    {"processor_config.json", true},
};

const char *dt_export_companion(const dt_model_config *c, size_t index)
{
    bool reads = dt_config_reads(c), sees = c->vision || dt_config_is_tower(c);
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++)
        if ((companions[i].pictures ? sees : reads) && index-- == 0)
            return companions[i].name;
    return NULL;
}

dt_status dt_export_tokenizer(const dt_checkpoint *from, const char *folder, dt_export_result *result,
                              dt_error *err)
{
    const char *name;
    if (dt_gguf_detect(from->path)) {
        if (from->config.vision || dt_config_is_tower(&from->config))
            DT_PASS(dt_gguf_copy_processor(from->path, folder, &result->files, err));
        if (!dt_config_reads(&from->config))
            return DT_OK;
        return dt_gguf_copy_tokenizer(from->path, folder, from->log, &result->files, err);
    }
    for (size_t i = 0; (name = dt_export_companion(&from->config, i)); i++) {
        char source[PATH_BYTES], target[PATH_BYTES];
        if (snprintf(source, sizeof source, "%s/%s", from->path, name) >= PATH_BYTES ||
            snprintf(target, sizeof target, "%s/%s", folder, name) >= PATH_BYTES || !dt_is_file(source))
            continue;
        DT_TRY(dt_copy_file(source, target, err), err, "while copying %s", name);
        result->files++;
    }
    return DT_OK;
}

dt_status dt_export_labels(const dt_checkpoint *from, json_t *json, dt_error *err)
{
    static const char *const key[] = {"id2label", "label2id", "problem_type"};
    json_t *source = NULL;
    int failed = 0;
    if (from->config.num_classes < 1 || !from->config_file || !dt_ends_with(from->config_file, ".json"))
        return DT_OK;
    DT_PASS(dt_json_load(&source, from->config_file, CONFIG_LIMIT, err));
    bool fits = (int64_t)json_object_size(dt_json_get(source, key[0])) == from->config.num_classes;
    for (int i = 0; fits && i < 3; i++)
        if (dt_json_get(source, key[i]))
            failed |= json_object_set(json, key[i], dt_json_get(source, key[i]));
    json_decref(source);
    return failed ? dt_fail_memory(err, 4096, "names of classes") : DT_OK;
}
