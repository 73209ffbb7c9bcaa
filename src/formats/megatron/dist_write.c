/*
 * dist_write.c (megatron) - writes a torch_dist checkpoint: which key each tensor has, which box of it each rank holds,
 * and common.pt with the run's arguments.
 *
 * Keys are Transformer Engine's whatever the layers are (a local spec's key map sees to that); layers of one kind are
 * stacked, layers of several kinds keep their numbers. Any number of ranks reads it: the boxes only say who wrote what.
 */
#include "base/text.h"
#include "formats/megatron/distcp_write.h"
#include "formats/megatron/writing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, OPEN_FILES = 16 /* each has a buffer of a megabyte */ };

/* The tensors of the folder as distcp_write.h wants them, and beside each box the part that fills it. */
typedef struct dist_plan {
    dt_megatron_plan *plan;
    bool stacked;
    dt_distcp_tensor *tensor;
    size_t count;
    size_t *tensor_of;     /* each canonical tensor's */
    dt_export_part **part; /* each tensor's, as its boxes */
    dt_distcp_item *object;
    size_t object_count, object_capacity;
    dt_torch_writer *none; /* what stands for every module's extra state */
} dist_plan;

/* ---- keys ---- */

static bool one_kind_of_layer(const dt_model_config *c)
{
    if (c->shape_count)
        return false;
    return c->num_moe_experts == 0 || (!c->moe_listed && c->moe_layer_freq == 1);
}

static bool is_towers(const dist_plan *d, const char *canonical)
{
    return dt_config_is_tower(&d->plan->config) || dt_config_part_of(canonical) == DT_PART_TOWER;
}

/* Do the tensors of its layers lie in one? A tower's layers are all alike, whatever the language model's are. */
static bool is_stacked(const dist_plan *d, const char *canonical)
{
    return d->stacked || is_towers(d, canonical);
}

/* A tower's local spec has no map of keys: its norms keep the module's names. */
static dt_megatron_spelling spelling_of(const dist_plan *d, const char *canonical)
{
    return !d->plan->options->local_names ? DT_SPELL_TE
           : is_towers(d, canonical)      ? DT_SPELL_LOCAL
                                          : DT_SPELL_DIST;
}

/* The key of a canonical tensor, with or without its layer's number. */
static void key_of(const dist_plan *d, const char *canonical, char *out, size_t bytes)
{
    char name[DT_RANKS_NAME];
    dt_megatron_layer l;
    dt_megatron_spell(name, sizeof name, canonical, spelling_of(d, canonical));
    if (is_stacked(d, canonical) && dt_megatron_split_layer(name, &l))
        snprintf(out, bytes, "%.*s.layers%s", l.stack_bytes, name, l.rest);
    else
        snprintf(out, bytes, "%s", name);
}

static dt_shape shape_of(const dist_plan *d, const dt_canonical *c)
{
    dt_shape shape = {0};
    dt_megatron_layer l;
    if (dt_megatron_file_shape(&d->plan->config, c, &shape))
        return shape;
    if (is_stacked(d, c->spec->name) && dt_megatron_split_layer(c->spec->name, &l))
        shape.dim[shape.rank++] = dt_megatron_stack_layers(&d->plan->config, c->spec->name);
    if (c->spec->experts)
        shape.dim[shape.rank++] = c->spec->experts;
    shape.dim[shape.rank++] = c->rows / (c->spec->experts ? c->spec->experts : 1);
    if (c->spec->rank == 2)
        shape.dim[shape.rank++] = c->cols;
    return shape;
}

/* The tensor of that key, added when new: stacks have few keys, and without stacks none comes twice. */
static dt_status find_tensor(dist_plan *d, const dt_canonical *c, size_t *index, dt_error *err)
{
    char key[DT_RANKS_NAME];
    key_of(d, c->spec->name, key, sizeof key);
    for (size_t i = 0; is_stacked(d, c->spec->name) && i < d->count; i++)
        if (strcmp(d->tensor[i].key, key) == 0) {
            *index = i;
            return DT_OK;
        }
    dt_distcp_tensor t = {
        .key = dt_arena_text(d->plan->arena, key), .shape = shape_of(d, c), .dtype = DT_DTYPE_COUNT};
    if (!t.key)
        return dt_fail_memory(err, strlen(key), "a tensor's key");
    *index = d->count;
    d->tensor[d->count++] = t;
    return DT_OK;
}

/* ---- boxes ---- */

static int global_rank(const dt_ranks *r, dt_rank rank)
{
    return (rank.stage * r->expert + rank.expert) * r->tensor + rank.tensor;
}

static dt_dtype wider(dt_dtype a, dt_dtype b)
{
    return a == b || b == DT_DTYPE_COUNT ? a : a == DT_DTYPE_COUNT ? b : DT_F32;
}

/* One rank's part of one expert's block as a box of the tensor. */
static dt_distcp_box box_of(const dist_plan *d, const dt_canonical *c, int64_t expert,
                            const dt_megatron_part *part, dt_rank rank)
{
    dt_distcp_box box = {.rank = global_rank(&d->plan->ranks, rank)};
    int64_t whole = c->rows / (c->spec->experts ? c->spec->experts : 1);
    dt_megatron_layer l;
    int at = 0;
    if (dt_megatron_file_shape(&d->plan->config, c, &box.shape))
        return box;
    if (is_stacked(d, c->spec->name) && dt_megatron_split_layer(c->spec->name, &l)) {
        box.offset[at] = l.layer;
        box.shape.dim[at++] = 1;
    }
    if (c->spec->experts) {
        box.offset[at] = expert;
        box.shape.dim[at++] = 1;
    }
    box.offset[at] = part->piece.to_row - expert * whole;
    box.shape.dim[at++] = part->piece.rows;
    if (c->spec->rank == 2) {
        box.offset[at] = part->piece.to_col;
        box.shape.dim[at++] = part->piece.cols;
    }
    box.shape.rank = at;
    return box;
}

/* Add the boxes of one expert's block (or of all of a tensor without experts) to the tensor. */
static dt_status add_block(dist_plan *d, int canonical, int64_t expert, dt_error *err)
{
    const dt_megatron_plan *p = d->plan;
    const dt_canonical *c = dt_mapping_at(p->mapping, canonical);
    dt_distcp_tensor *t = &d->tensor[d->tensor_of[canonical]];
    dt_export_part *parts = d->part[d->tensor_of[canonical]];
    dt_megatron_part part[2 * DT_RANKS_TENSOR];
    int64_t each = dt_megatron_plan_blocks(p, c);
    int count = 0;
    DT_PASS(dt_megatron_cut(c, p->ranks.tensor, expert, part, &count, err));
    for (int i = 0; i < count; i++) {
        dt_rank rank = {part[i].rank, p->place[canonical].stage, (int)(expert / each)};
        char name[DT_RANKS_NAME];
        dt_export_part *made = &parts[t->box_count];
        DT_PASS(dt_megatron_plan_tensor(p, canonical, rank, expert % each, name, &made->external, err));
        made->first = part[i].piece.row;
        made->rows = part[i].piece.rows;
        t->dtype = wider(t->dtype, p->dtype[made->external]);
        ((dt_distcp_box *)t->box)[t->box_count++] = box_of(d, c, expert, &part[i], rank);
    }
    return DT_OK;
}

/* How many boxes a canonical tensor makes. */
static size_t box_limit(const dist_plan *d, const dt_canonical *c)
{
    size_t ranks = c->spec->split == DT_SPLIT_NONE ? 1 : (size_t)d->plan->ranks.tensor;
    return ranks * (c->spec->split == DT_SPLIT_GATED ? 2 : 1) *
           (size_t)(c->spec->experts ? c->spec->experts : 1);
}

/* `limit`: tensors with their second names. */
static dt_status make_room(dist_plan *d, const size_t *boxes, size_t limit, dt_error *err)
{
    if (!(d->part = DT_NEW_ARRAY(d->plan->arena, dt_export_part *, limit)))
        return dt_fail_memory(err, sizeof *d->part * limit, "the tensors' parts");
    for (size_t i = 0; i < d->count; i++) {
        d->tensor[i].box = DT_NEW_ARRAY(d->plan->arena, dt_distcp_box, boxes[i] + 1);
        d->part[i] = DT_NEW_ARRAY(d->plan->arena, dt_export_part, boxes[i] + 1);
        if (!d->tensor[i].box || !d->part[i])
            return dt_fail_memory(err, sizeof *d->tensor[i].box * boxes[i], "the tensors' parts");
    }
    return DT_OK;
}

/* A T5's modules under their second names, where stock Megatron looks for both. */
static void add_aliases(dist_plan *d)
{
    size_t count = d->count;
    for (size_t i = 0; i < count; i++) {
        const char *alias = dt_megatron_plan_alias(d->plan, d->tensor[i].key);
        if (!alias)
            continue;
        d->tensor[d->count] = d->tensor[i];
        d->tensor[d->count].key = alias;
        d->part[d->count] = d->part[i];
        d->count++;
    }
}

static dt_status list_tensors(dist_plan *d, dt_error *err)
{
    const dt_mapping *m = d->plan->mapping;
    int count = dt_mapping_count(m);
    dt_arena *arena = d->plan->arena;
    size_t limit = (size_t)count + (size_t)dt_megatron_names.copy_count,
           *boxes = DT_NEW_ARRAY(arena, size_t, limit);
    d->tensor = DT_NEW_ARRAY(arena, dt_distcp_tensor, limit);
    d->tensor_of = DT_NEW_ARRAY(arena, size_t, limit);
    if (!boxes || !d->tensor || !d->tensor_of)
        return dt_fail_memory(err, sizeof *d->tensor * limit, "the tensors to write");
    for (int i = 0; i < count; i++) {
        DT_PASS(find_tensor(d, dt_mapping_at(m, i), &d->tensor_of[i], err));
        boxes[d->tensor_of[i]] += box_limit(d, dt_mapping_at(m, i));
    }
    DT_PASS(make_room(d, boxes, limit, err));
    for (int i = 0; i < count; i++) {
        int64_t experts = dt_mapping_at(m, i)->spec->experts;
        for (int64_t e = 0; e < (experts ? experts : 1); e++)
            DT_PASS(add_block(d, i, e, err));
    }
    add_aliases(d);
    return DT_OK;
}

/* ---- extra states ---- */

/* Transformer Engine's modules, and Megatron's parallel linears, save an extra state: None where there is no FP8. */
static const struct {
    const char *weight; /* the end of the weight's key */
    const char *module; /* what stands for it in the module's */
    bool engine_only;
} states[] = {
    {".linear_qkv.weight", ".linear_qkv", false},
    {".linear_proj.weight", ".linear_proj", false},
    {".linear_proj.weight", ".core_attention", true},
    {".linear_fc1.weight", ".linear_fc1", false},
    {".linear_fc2.weight", ".linear_fc2", false},
    {".linear_q.weight", ".linear_q", false},
    {".linear_kv.weight", ".linear_kv", false},
    {".pre_mlp_layernorm.weight", ".pre_mlp_layernorm", true},
    {".pre_cross_attn_layernorm.weight", ".pre_cross_attn_layernorm", true},
    {".final_layernorm.weight", ".final_layernorm", true},
    {"encoder.weight", "encoder", false},   /* a projector of one layer */
    {"embedder.weight", "embedder", false}, /* RADIO's */
};

static dt_status add_object(dist_plan *d, int rank, const char *key, dt_error *err)
{
    if (d->object_count == d->object_capacity) {
        size_t larger = d->object_capacity ? 2 * d->object_capacity : 256;
        void *list = dt_arena_grow(d->plan->arena, d->object, sizeof *d->object * d->object_count,
                                   sizeof *d->object * larger);
        if (!list)
            return dt_fail_memory(err, sizeof *d->object * larger, "the objects to write");
        d->object = list;
        d->object_capacity = larger;
    }
    const char *copy = dt_arena_text(d->plan->arena, key);
    if (!copy)
        return dt_fail_memory(err, strlen(key), "an object's key");
    d->object[d->object_count++] = (dt_distcp_item){copy, rank, d->none};
    return DT_OK;
}

/* "decoder.layers.mlp.experts.experts.linear_fc1._extra_state/shard_3.0_24.8": layer 3 of 24, expert 0 of 8. */
static dt_status add_state(dist_plan *d, int canonical, const char *weight, const char *module, dt_error *err)
{
    const dt_canonical *c = dt_mapping_at(d->plan->mapping, canonical);
    int64_t experts = c->spec->experts, each = dt_megatron_plan_blocks(d->plan, c);
    const char *key = d->tensor[d->tensor_of[canonical]].key;
    dt_megatron_layer l;
    bool layered = is_stacked(d, c->spec->name) && dt_megatron_split_layer(c->spec->name, &l);
    int stem = (int)(strlen(key) - strlen(weight));
    for (int64_t e = 0; e < (experts ? experts : 1); e++) {
        char full[DT_RANKS_NAME + 64], at[64] = "0", of[64] = "1";
        dt_rank rank = {0, d->plan->place[canonical].stage, experts ? (int)(e / each) : 0};
        int64_t layers = layered ? dt_megatron_stack_layers(&d->plan->config, c->spec->name) : 0;
        if (layered && experts) {
            snprintf(at, sizeof at, "%" PRId64 ".%" PRId64, l.layer, e);
            snprintf(of, sizeof of, "%" PRId64 ".%" PRId64, layers, experts);
        } else if (layered || experts) {
            snprintf(at, sizeof at, "%" PRId64, layered ? l.layer : e);
            snprintf(of, sizeof of, "%" PRId64, layered ? layers : experts);
        }
        snprintf(full, sizeof full, "%.*s%s._extra_state/shard_%s_%s", stem, key, module, at, of);
        DT_PASS(add_object(d, global_rank(&d->plan->ranks, rank), full, err));
    }
    return DT_OK;
}

static dt_status list_states(dist_plan *d, dt_error *err)
{
    DT_PASS(dt_torch_writer_create(&d->none, "archive", err));
    dt_pickle_open_list(dt_torch_pickler(d->none));
    dt_pickle_put_none(dt_torch_pickler(d->none));
    dt_pickle_close(dt_torch_pickler(d->none));
    for (int i = 0; i < dt_mapping_count(d->plan->mapping); i++)
        for (size_t k = 0; k < sizeof states / sizeof states[0]; k++)
            if (dt_ends_with(dt_mapping_at(d->plan->mapping, i)->spec->name, states[k].weight) &&
                dt_ends_with(d->tensor[d->tensor_of[i]].key, states[k].weight) &&
                (!states[k].engine_only || !d->plan->options->local_names))
                DT_PASS(add_state(d, i, states[k].weight, states[k].module, err));
    if (d->plan->stock && !d->plan->config.encoder_only) {
        DT_PASS(add_object(d, 0, "lm_head.output_layer._extra_state/shard_0_1", err));
        DT_PASS(add_object(d, 0, "output_layer._extra_state/shard_0_1", err));
    }
    return DT_OK;
}

/* ---- the folder ---- */

static void put_common(dt_pickler *p, const dt_megatron_plan *plan)
{
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
    dt_pickle_put_text(p, "content_metadata");
    dt_pickle_open_dict(p);
    dt_pickle_put_text(p, "singleton_local_shards");
    dt_pickle_put_bool(p, false);
    dt_pickle_close(p);
    dt_pickle_close(p);
}

static dt_status write_common(const dt_megatron_plan *plan, const char *folder, dt_error *err)
{
    char path[PATH_BYTES];
    dt_torch_writer *w = NULL;
    snprintf(path, sizeof path, "%s/common.pt", folder);
    DT_PASS(dt_torch_writer_create(&w, "common", err));
    put_common(dt_torch_pickler(w), plan);
    dt_status status = dt_torch_begin_file(w, path, false, err);
    if (status == DT_OK)
        return dt_torch_commit(w, err);
    dt_torch_writer_destroy(w);
    return status;
}

typedef struct box_sink {
    dt_distcp_writer *writer;
    dt_distcp_place place;
} box_sink;

static dt_status put_bytes(void *user, const void *data, size_t bytes, dt_error *err)
{
    const box_sink *sink = user;
    return dt_distcp_write(sink->writer, sink->place.tensor, sink->place.box, data, bytes, err);
}

static uint64_t total_bytes(const dist_plan *d)
{
    uint64_t total = 0;
    for (size_t i = 0; i < d->count; i++) {
        size_t bytes = 0;
        dt_shape_bytes(&d->tensor[i].shape, d->tensor[i].dtype, &bytes);
        total += bytes;
    }
    return total;
}

static dt_status write_box(const dist_plan *d, dt_distcp_writer *w, dt_distcp_place place, dt_export_run *run,
                           dt_error *err)
{
    box_sink sink = {w, place};
    const dt_distcp_tensor *t = &d->tensor[place.tensor];
    dt_status status = dt_export_stream(run, d->plan->mapping, t->dtype, &d->part[place.tensor][place.box],
                                        put_bytes, &sink, sizeof sink, err);
    if (status != DT_OK)
        dt_error_while(err, "while writing \"%s\"", t->key);
    return status;
}

/* Tensor by tensor, all ranks of a stage at once: each file is still written front to back, the source read once. */
static dt_status write_stage(const dist_plan *d, dt_distcp_writer *w, int stage, dt_export_run *run,
                             dt_error *err)
{
    const dt_ranks *r = &d->plan->ranks;
    for (size_t t = 0; t < d->count; t++)
        for (size_t b = 0; b < d->tensor[t].box_count; b++)
            if (d->tensor[t].box[b].rank / (r->tensor * r->expert) == stage)
                DT_PASS(write_box(d, w, (dt_distcp_place){t, b}, run, err));
    return DT_OK;
}

/* File by file, where a stage has too many to hold open. */
static dt_status write_files(const dist_plan *d, dt_distcp_writer *w, dt_export_run *run, dt_error *err)
{
    for (size_t i = 0; i < dt_distcp_box_count(w); i++)
        DT_PASS(write_box(d, w, dt_distcp_order(w, i), run, err));
    return DT_OK;
}

static dt_status write_boxes(const dist_plan *d, dt_distcp_writer *w, dt_export_result *result, dt_error *err)
{
    const dt_megatron_plan *p = d->plan;
    dt_export_run run = {.from = p->from, .options = p->options, .total = total_bytes(d)};
    dt_status status = DT_OK;
    if (p->ranks.tensor * p->ranks.expert > OPEN_FILES)
        status = write_files(d, w, &run, err);
    else
        for (int stage = 0; status == DT_OK && stage < p->ranks.pipeline; stage++)
            status = write_stage(d, w, stage, &run, err);
    dt_status written = dt_export_run_wait(&run, status == DT_OK ? err : NULL);
    status = status == DT_OK ? written : status;
    result->bytes += run.done;
    result->tensors += (int)d->count;
    dt_export_run_end(&run);
    return status;
}

static dt_status write_tensors(const dist_plan *d, const char *folder, dt_export_result *result,
                               dt_error *err)
{
    const dt_ranks *r = &d->plan->ranks;
    dt_distcp_writer *w = NULL;
    DT_PASS(dt_distcp_create(&w, folder, d->tensor, d->count, d->object, d->object_count, err));
    dt_status status = write_boxes(d, w, result, err);
    result->files += r->tensor * r->pipeline * r->expert + 3; /* metadata.json, .metadata and common.pt */
    if (status == DT_OK)
        return dt_distcp_commit(w, err);
    dt_distcp_discard(w);
    return status;
}

dt_status dt_megatron_dist_write(const dt_checkpoint *from, const char *path,
                                 const dt_export_options *options, dt_export_result *result, dt_error *err)
{
    dt_megatron_plan plan;
    dist_plan d = {.plan = &plan};
    dt_output_folder *folder = NULL;
    char iteration[PATH_BYTES];
    dt_status status;
    DT_GO(status, dt_megatron_plan_create(&plan, from, options, true, err));
    d.stacked = one_kind_of_layer(&plan.config);
    DT_GO(status, list_tensors(&d, err));
    DT_GO(status, list_states(&d, err));
    DT_GO(status, dt_megatron_begin_folder(&plan, path, &folder, iteration, sizeof iteration, err));
    result->files++;
    DT_GO(status, write_common(&plan, iteration, err));
    DT_GO(status, write_tensors(&d, iteration, result, err));
    DT_GO(status, dt_export_tokenizer(from, dt_output_folder_path(folder), result, err));
    status = dt_output_folder_commit(folder, err);
    folder = NULL;
done:
    dt_output_folder_discard(folder);
    dt_torch_writer_destroy(d.none);
    dt_megatron_plan_destroy(&plan);
    return status;
}
