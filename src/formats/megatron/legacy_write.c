/*
 * legacy_write.c (megatron) - writes one file a rank, mp_rank_TT[_PPP][_EEE]/model_optim_rng.pt, as Megatron's "torch"
 * format has it: the run's arguments and the rank's part of the model, without optimizer and random states.
 *
 * Each rank's file is complete in itself: what tensor- and expert-parallel ranks do not share is written for each.
 */
#include "base/text.h"
#include "formats/megatron/writing.h"
#include "formats/torch/torch_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

/* What a rank's file is written from: which external tensor each storage of it holds. */
typedef struct rank_file {
    const dt_megatron_plan *plan;
    dt_rank rank;
    dt_torch_writer *writer;
    int *external; /* of each storage, in the file's order */
    size_t count, capacity;
} rank_file;

static dt_status note_storage(rank_file *f, size_t storage, int external, dt_error *err)
{
    if (storage != f->count) /* SIZE_MAX: the writer keeps the story */
        return DT_OK;
    if (f->count == f->capacity) {
        size_t larger = f->capacity ? 2 * f->capacity : 256;
        int *list = realloc(f->external, sizeof *list * larger);
        if (!list)
            return dt_fail_memory(err, sizeof *list * larger, "the list of a rank's tensors");
        f->external = list;
        f->capacity = larger;
    }
    f->external[f->count++] = external;
    return DT_OK;
}

/* ---- the object ---- */

/* Modules that Megatron saves an extra state of; without FP8 it is None. */
static bool has_extra_state(const char *name)
{
    static const char *const modules[] = {".linear_qkv.weight",  ".linear_proj.weight", ".linear_fc1.weight",
                                          ".linear_fc2.weight",  ".linear_q.weight",    ".linear_kv.weight",
                                          "output_layer.weight", "encoder.weight",      "embedder.weight"};
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++)
        if (dt_ends_with(name, modules[i]))
            return true;
    return dt_ends_with(name, ".linear_fc1.weight0") || dt_ends_with(name, ".linear_fc2.weight0");
}

static void put_extra_state(dt_pickler *p, const char *name)
{
    char key[DT_RANKS_NAME];
    const char *end = strstr(name, ".weight");
    if (!end || !has_extra_state(name))
        return;
    snprintf(key, sizeof key, "%.*s._extra_state", (int)(end - name), name);
    dt_pickle_put_text(p, key);
    dt_pickle_put_none(p);
}

static dt_status put_tensor(rank_file *f, const char *name, int external, dt_error *err)
{
    const dt_megatron_plan *plan = f->plan;
    dt_shape file = dt_external_file_shape(dt_mapping_external_at(plan->mapping, external)), *shape = &file;
    dt_pickle_put_text(dt_torch_pickler(f->writer), name);
    size_t storage = dt_torch_put_tensor(f->writer, plan->dtype[external], shape);
    DT_PASS(note_storage(f, storage, external, err));
    const char *alias = dt_megatron_plan_alias(plan, name);
    if (alias) {
        dt_pickle_put_text(dt_torch_pickler(f->writer), alias);
        dt_torch_put_shared(f->writer, storage, 0, shape);
    }
    put_extra_state(dt_torch_pickler(f->writer), name);
    return DT_OK;
}

/* The last stage repeats a tied embedding that lies in the first. */
static dt_status put_tied_head(rank_file *f, int chunk, dt_error *err)
{
    const dt_megatron_plan *plan = f->plan;
    const dt_ranks *r = &plan->ranks;
    int embedding = dt_megatron_plan_embedding(plan), external;
    char name[DT_RANKS_NAME], head[DT_RANKS_NAME];
    dt_rank first = {f->rank.tensor, 0, f->rank.expert};
    if (!plan->config.share_embeddings_and_output_weights || r->pipeline == 1 || chunk != r->chunks - 1 ||
        f->rank.stage != r->pipeline - 1)
        return DT_OK;
    DT_PASS(dt_megatron_plan_tensor(plan, embedding, first, 0, name, &external, err));
    snprintf(head, sizeof head, "%soutput_layer.weight", dt_megatron_below(&plan->config));
    return put_tensor(f, head, external, err);
}

static dt_status put_model(rank_file *f, int chunk, dt_error *err)
{
    const dt_megatron_plan *plan = f->plan;
    for (int i = 0; i < dt_mapping_count(plan->mapping); i++) {
        int64_t blocks = dt_megatron_plan_blocks(plan, dt_mapping_at(plan->mapping, i));
        if (plan->place[i].stage != f->rank.stage || plan->place[i].chunk != chunk)
            continue;
        for (int64_t b = 0; b < blocks; b++) {
            char name[DT_RANKS_NAME];
            int external;
            DT_PASS(dt_megatron_plan_tensor(plan, i, f->rank, b, name, &external, err));
            DT_PASS(put_tensor(f, name, external, err));
        }
    }
    return put_tied_head(f, chunk, err);
}

static dt_status put_object(rank_file *f, dt_error *err)
{
    const dt_megatron_plan *plan = f->plan;
    dt_pickler *p = dt_torch_pickler(f->writer);
    int64_t iteration = plan->from->iteration;
    dt_pickle_open_dict(p);
    dt_pickle_put_text(p, "args");
    dt_megatron_put_args(p, plan);
    dt_pickle_put_text(p, "checkpoint_version");
    dt_pickle_put_real(p, 3.0);
    dt_pickle_put_text(p, "iteration");
    dt_pickle_put_int(p, iteration > 0 ? iteration : 0);
    dt_pickle_put_text(p, "num_floating_point_operations_so_far");
    dt_pickle_put_int(p, 0);
    for (int chunk = 0; chunk < plan->ranks.chunks; chunk++) {
        char key[32] = "model";
        if (plan->ranks.chunks > 1)
            snprintf(key, sizeof key, "model%d", chunk);
        dt_pickle_put_text(p, key);
        dt_pickle_open_ordered_dict(p);
        DT_PASS(put_model(f, chunk, err));
        dt_pickle_close(p);
    }
    dt_pickle_close(p);
    return DT_OK;
}

/* ---- the bytes ---- */

typedef struct storage_sink {
    dt_torch_writer *writer;
    size_t storage;
} storage_sink;

static dt_status put_bytes(void *user, const void *data, size_t bytes, dt_error *err)
{
    const storage_sink *sink = user;
    return dt_torch_write(sink->writer, sink->storage, data, bytes, err);
}

static dt_status put_storages(rank_file *f, dt_export_run *run, dt_error *err)
{
    const dt_mapping *m = f->plan->mapping;
    for (size_t i = 0; i < f->count; i++) {
        storage_sink sink = {f->writer, i};
        dt_export_part part = {.external = f->external[i]};
        int64_t cols;
        dt_external_rows(dt_mapping_external_at(m, part.external), &part.rows, &cols);
        DT_PASS(dt_export_stream(run, m, f->plan->dtype[part.external], &part, put_bytes, &sink, sizeof sink,
                                 err));
    }
    return DT_OK;
}

static dt_status write_rank(const dt_megatron_plan *plan, dt_rank rank, const char *folder,
                            dt_export_run *run, dt_export_result *result, dt_error *err)
{
    rank_file f = {.plan = plan, .rank = rank};
    char below[64], path[PATH_BYTES];
    dt_status status;
    dt_ranks_folder(&plan->ranks, rank, below, sizeof below);
    snprintf(path, sizeof path, "%s/%s", folder, below);
    DT_PASS(dt_make_folder(path, err));
    snprintf(path, sizeof path, "%s/%s/model_optim_rng.pt", folder, below);
    DT_PASS(dt_torch_writer_create(&f.writer, "model_optim_rng", err));
    DT_GO(status, put_object(&f, err));
    DT_GO(status, dt_torch_begin_file(f.writer, path, false, err));
    DT_GO(status, put_storages(&f, run, err));
    DT_GO(status, dt_export_run_wait(run, err));
    status = dt_torch_commit(f.writer, err);
    f.writer = NULL;
    result->tensors += (int)f.count;
    result->files++;
done:
    if (status != DT_OK)
        dt_error_while(err, "while writing %s/model_optim_rng.pt", below);
    dt_export_run_wait(run, NULL); /* nothing may still write to it */
    dt_torch_writer_destroy(f.writer);
    free(f.external);
    return status;
}

/* Bytes of all files' tensors: what is not shared counts once a rank. */
static uint64_t total_bytes(const dt_megatron_plan *plan)
{
    const dt_ranks *r = &plan->ranks;
    uint64_t total = 0;
    for (int i = 0; i < dt_mapping_external_count(plan->mapping); i++) {
        uint64_t bytes = dt_export_bytes(plan->mapping, plan->dtype, i);
        int index = dt_mapping_find(plan->mapping, dt_mapping_external_at(plan->mapping, i)->canonical);
        const dt_param_spec *spec = dt_mapping_at(plan->mapping, index)->spec;
        bool tied = plan->config.share_embeddings_and_output_weights && r->pipeline > 1 &&
                    dt_megatron_is_embedding(spec->name);
        total += bytes * (uint64_t)(spec->split == DT_SPLIT_NONE ? r->tensor : 1) *
                 (uint64_t)(spec->experts ? 1 : r->expert) * (tied ? 2 : 1);
    }
    return total;
}

static dt_status write_ranks(const dt_megatron_plan *plan, const char *folder, dt_export_result *result,
                             dt_error *err)
{
    dt_export_run run = {.from = plan->from, .options = plan->options, .total = total_bytes(plan)};
    dt_status status = DT_OK;
    for (dt_rank r = {0}; r.stage < plan->ranks.pipeline; r.stage++)
        for (r.expert = 0; r.expert < plan->ranks.expert; r.expert++)
            for (r.tensor = 0; status == DT_OK && r.tensor < plan->ranks.tensor; r.tensor++)
                status = write_rank(plan, r, folder, &run, result, err);
    result->bytes += run.done;
    dt_export_run_end(&run);
    return status;
}

dt_status dt_megatron_legacy_write(const dt_checkpoint *from, const char *path,
                                   const dt_export_options *options, dt_export_result *result, dt_error *err)
{
    dt_megatron_plan plan;
    dt_output_folder *folder = NULL;
    char iteration[PATH_BYTES];
    dt_status status;
    DT_GO(status, dt_megatron_plan_create(&plan, from, options, false, err));
    DT_GO(status, dt_megatron_begin_folder(&plan, path, &folder, iteration, sizeof iteration, err));
    result->files++;
    DT_GO(status, write_ranks(&plan, iteration, result, err));
    DT_GO(status, dt_export_tokenizer(from, dt_output_folder_path(folder), result, err));
    status = dt_output_folder_commit(folder, err);
    folder = NULL;
done:
    dt_output_folder_discard(folder);
    dt_megatron_plan_destroy(&plan);
    return status;
}
