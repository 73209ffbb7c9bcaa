/*
 * legacy.c (megatron) - the layout of one file a rank: mp_rank_TT[_PPP]/model_optim_rng.pt.
 *
 * Each rank holds its tensor-parallel parts of its pipeline stage's layers, numbered from 0 (with virtual pipelines
 * in several chunks, model0, model1, …). How many layers a stage has is read from the names, so uneven pipelines need
 * no rule. The result is one mapping whose pieces point into all files.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/megatron/ranks.h"
#include "formats/torch/torch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

/* ---- files ---- */

static bool first_rank(const char *root, char *out, size_t bytes)
{
    static const char *const names[] = {"mp_rank_00", "mp_rank_00_000", "mp_rank_00_000_000"};
    for (int i = 0; i < 3; i++)
        if ((size_t)snprintf(out, bytes, "%s/%s/model_optim_rng.pt", root, names[i]) < bytes &&
            dt_is_file(out))
            return true;
    return false;
}

bool dt_megatron_legacy_detect(const char *path)
{
    char root[PATH_BYTES], file[PATH_BYTES];
    return dt_megatron_resolve(path, root, sizeof root) && first_rank(root, file, sizeof file);
}

/* The sizes that the first rank's arguments give. */
static dt_status read_sizes(const json_t *args, dt_ranks *l, dt_error *err)
{
    int64_t tensor = 1, pipeline = 1, expert = 1, split = 0, experts = 0;
    DT_PASS(dt_json_int(args, "tensor_model_parallel_size", &tensor, err));
    DT_PASS(dt_json_int(args, "pipeline_model_parallel_size", &pipeline, err));
    DT_PASS(dt_json_int(args, "expert_model_parallel_size", &expert, err));
    DT_PASS(dt_json_int(args, "expert_tensor_parallel_size", &split, err));
    DT_PASS(dt_json_int(args, "num_experts", &experts, err));
    if (tensor < 1 || tensor > DT_RANKS_TENSOR || pipeline < 1 || pipeline > DT_RANKS_PIPELINE ||
        expert < 1 || expert > DT_RANKS_EXPERT)
        return dt_fail(err, DT_UNSUPPORTED,
                       "the arguments speak of %" PRId64 " x %" PRId64 " x %" PRId64 " ranks", tensor,
                       pipeline, expert);
    if (experts > 0 && split > 0 && split != tensor)
        return dt_fail(err, DT_UNSUPPORTED,
                       "\"expert_tensor_parallel_size\" is %" PRId64
                       " beside \"tensor_model_parallel_size\" %" PRId64
                       "; in files of one rank each, drivetrain reads only equal ones",
                       split, tensor);
    *l = (dt_ranks){.tensor = (int)tensor, .pipeline = (int)pipeline, .chunks = 1, .expert = (int)expert};
    return DT_OK;
}

static dt_status check_version(const dt_value *root, dt_error *err)
{
    const dt_value *v = dt_value_get(root, "checkpoint_version");
    double version = dt_value_is(v, DT_VALUE_REAL)  ? v->real
                     : dt_value_is(v, DT_VALUE_INT) ? (double)v->integer
                                                    : 3;
    if (version >= 2)
        return DT_OK;
    return dt_fail(
        err, DT_UNSUPPORTED,
        "\"checkpoint_version\" is %g: query, key and value lie in an older order; drivetrain reads 2.0 "
        "and later",
        version);
}

static int count_chunks(const dt_value *root)
{
    int chunks = 0;
    char key[32];
    do
        snprintf(key, sizeof key, "model%d", chunks);
    while (dt_value_get(root, key) && ++chunks < DT_RANKS_CHUNKS);
    return chunks ? chunks : 1;
}

static dt_status read_rank(dt_checkpoint *c, const dt_ranks *l, dt_rank rank, dt_error *err)
{
    char folder[64], path[PATH_BYTES];
    dt_torch_file *file = NULL;
    dt_ranks_folder(l, rank, folder, sizeof folder);
    if (snprintf(path, sizeof path, "%s/%s/model_optim_rng.pt", c->root, folder) >= PATH_BYTES)
        return dt_fail(err, DT_INVALID, "the path %s is too long", c->root);
    if (!dt_is_file(path))
        return dt_fail(err, DT_NOT_FOUND,
                       "rank file %s/model_optim_rng.pt is missing: \"tensor_model_parallel_size\" is %d, "
                       "\"pipeline_model_parallel_size\" is %d and \"expert_model_parallel_size\" is %d",
                       folder, l->tensor, l->pipeline, l->expert);
    DT_TRY(dt_torch_open(&file, c->set, path, err), err, "while reading %s", path);
    if (l->chunks > 1 ? !dt_value_get(dt_torch_root(file), "model0")
                      : !dt_value_get(dt_torch_root(file), "model"))
        return dt_fail(err, DT_FORMAT, "%s has no \"model%s\"", path, l->chunks > 1 ? "0" : "");
    DT_TRY(dt_torch_flatten(file, dt_torch_root(file), folder, c->set, err), err, "while reading %s", path);
    return DT_OK;
}

/* ---- which layers lie where ---- */

/* A layer of the first tensor- and expert-parallel rank raises its chunk's count. */
static void count_layer(const dt_ranks *l, const char *stored)
{
    dt_rank_tensor t;
    dt_megatron_layer layer;
    if (!dt_ranks_parse(l, stored, &t) || t.rank.tensor || t.rank.expert ||
        !dt_megatron_split_layer(t.name, &layer))
        return;
    int stack = dt_ranks_stack_of(t.name, &layer);
    dt_stage_layers *s = stack < 0 ? NULL : dt_ranks_layers(l, stack, t.chunk, t.rank.stage);
    if (s && layer.layer >= s->count)
        s->count = layer.layer + 1;
}

static dt_status place_layers(dt_checkpoint *c, dt_ranks *l, dt_error *err)
{
    DT_PASS(dt_ranks_create(l, c->arena, err));
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        count_layer(l, dt_stored_set_at(c->set, i)->name);
    dt_ranks_number(l);
    return DT_OK;
}

/* ---- mapping ---- */

static bool has_name(const dt_checkpoint *c, const dt_ranks *l, const dt_rank_place *p, const char *local)
{
    char name[DT_RANKS_NAME];
    dt_ranks_name(l, (dt_rank){0, p->stage, 0}, p->chunk, local, name, sizeof name);
    return dt_stored_set_find(c->set, name) != NULL;
}

/* A tensor outside the layers: the first stage that has it. */
static bool place_other(const dt_checkpoint *c, const dt_ranks *l, const char *canonical, dt_rank_place *out)
{
    for (int stage = 0; stage < l->pipeline; stage++)
        for (int chunk = 0; chunk < l->chunks; chunk++) {
            dt_rank_place p = {.stage = stage, .chunk = chunk};
            if (!has_name(c, l, &p, canonical))
                continue;
            *out = p;
            snprintf(out->name, sizeof out->name, "%s", canonical);
            return true;
        }
    return false;
}

/* The spelling, and the form of experts, that the files have. */
static void find_spelling(const dt_checkpoint *c, const dt_ranks *l, dt_rank_place *p)
{
    for (int i = 0; i <= DT_SPELL_LOCAL; i++) {
        char spelled[DT_RANKS_NAME], name[DT_RANKS_NAME];
        dt_megatron_spell(spelled, sizeof spelled, p->name, (dt_megatron_spelling)i);
        for (int form = 0; form < DT_EXPERT_FORMS; form++)
            if (dt_megatron_expert(name, sizeof name, spelled, (dt_expert_form)form, 0) &&
                has_name(c, l, p, name)) {
                p->form = (dt_expert_form)form;
                snprintf(p->name, sizeof p->name, "%s", spelled);
                return;
            }
    }
    p->form = DT_EXPERTS_SEQUENTIAL; /* for the error to name */
}

static dt_rank_place find_place(const dt_checkpoint *c, const dt_ranks *l, const char *canonical)
{
    dt_rank_place p = {.stage = l->pipeline - 1, .chunk = l->chunks - 1};
    dt_megatron_layer layer;
    bool found = dt_megatron_split_layer(canonical, &layer) ? dt_ranks_place_layer(l, canonical, &p)
                                                            : place_other(c, l, canonical, &p);
    if (!found) /* for the error to name */
        snprintf(p.name, sizeof p.name, "%s", canonical);
    find_spelling(c, l, &p);
    return p;
}

static dt_status map_all(dt_checkpoint *c, const dt_ranks *l, dt_error *err)
{
    for (int i = 0; i < dt_mapping_count(c->mapping); i++) {
        const dt_canonical *to = dt_mapping_next(c->mapping, err);
        if (!to)
            return DT_INTERNAL;
        dt_rank_place p = find_place(c, l, to->spec->name);
        DT_PASS(dt_ranks_map(l, to, &p, c->mapping, err));
    }
    return dt_megatron_finish(&c->config, c->mapping, err);
}

/* ---- copies between ranks ---- */

static dt_ranks ranks_of(const dt_checkpoint *c)
{
    return (dt_ranks){.tensor = (int)c->tensor_parallel,
                      .pipeline = (int)c->pipeline_parallel,
                      .chunks = (int)c->virtual_pipeline,
                      .expert = (int)c->expert_parallel};
}

/* A stage after the first may hold a copy, and each tensor-parallel rank one of what is not cut. */
static dt_status find_repeated(dt_checkpoint *c, const dt_stored_tensor *s, int tensor, const char *of,
                               bool lenient, dt_fate *fate, dt_error *err)
{
    dt_ranks l = ranks_of(c);
    for (int stage = 0; stage < l.pipeline; stage++)
        for (int chunk = 0; chunk < l.chunks; chunk++) {
            char name[DT_RANKS_NAME];
            dt_ranks_name(&l, (dt_rank){tensor, stage, 0}, chunk, of, name, sizeof name);
            int external = dt_mapping_find_external(c->mapping, name);
            if (external >= 0)
                return dt_open_copy(c, s, external, lenient, fate, err);
        }
    return DT_OK;
}

/* The same name in the same stage and chunk of the first expert-parallel rank, or of the first tensor-parallel too. */
static dt_status find_replica(dt_checkpoint *c, const dt_stored_tensor *s, const dt_rank_tensor *t,
                              dt_fate *fate, dt_error *err)
{
    dt_ranks l = ranks_of(c);
    for (int i = 0; i < 2 && fate->external < 0; i++) {
        char name[DT_RANKS_NAME];
        dt_ranks_name(&l, (dt_rank){i ? 0 : t->rank.tensor, t->rank.stage, 0}, t->chunk, t->name, name,
                      sizeof name);
        int external = dt_mapping_find_external(c->mapping, name);
        if (external >= 0)
            DT_PASS(dt_open_copy(c, s, external, true, fate, err));
    }
    return DT_OK;
}

static dt_status find_fate(dt_checkpoint *c, const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    dt_rank_tensor t;
    dt_ranks l = ranks_of(c);
    if (!dt_ranks_parse(&l, s->name, &t))
        return DT_OK;
    if (t.rank.tensor > 0 || t.rank.expert > 0)
        DT_PASS(find_replica(c, s, &t, fate, err));
    for (int i = 0; i < dt_megatron_names.copy_count && fate->external < 0; i++) {
        const dt_name_copy *copy = &dt_megatron_names.copy[i];
        if (strcmp(copy->name, t.name) != 0)
            continue;
        DT_PASS(find_repeated(c, s, t.rank.tensor, copy->of, false, fate, err));
        if (fate->external < 0 && t.rank.tensor > 0)
            DT_PASS(find_repeated(c, s, 0, copy->of, true, fate, err));
    }
    return DT_OK;
}

/* ---- opening ---- */

static dt_status open_ranks(dt_checkpoint *c, const json_t *args, const dt_value *root, dt_ranks *l,
                            dt_error *err)
{
    DT_PASS(read_sizes(args, l, err));
    DT_PASS(check_version(root, err));
    l->chunks = count_chunks(root);
    c->tensor_parallel = l->tensor;
    c->pipeline_parallel = l->pipeline;
    c->virtual_pipeline = l->chunks;
    c->expert_parallel = l->expert;
    for (dt_rank r = {0}; r.stage < l->pipeline; r.stage++)
        for (r.expert = 0; r.expert < l->expert; r.expert++)
            for (r.tensor = 0; r.tensor < l->tensor; r.tensor++)
                DT_PASS(read_rank(c, l, r, err));
    return place_layers(c, l, err);
}

static dt_status open_model(dt_checkpoint *c, const dt_open_options *options, const json_t *args, dt_ranks *l,
                            dt_error *err)
{
    DT_PASS(dt_megatron_any_config(c, options, args, err));
    if (c->config.padded_vocab_size <= 0) {
        char words[DT_RANKS_NAME], name[DT_RANKS_NAME];
        snprintf(words, sizeof words, "%sembedding.word_embeddings.weight", dt_megatron_below(&c->config));
        dt_rank_place p = find_place(c, l, words);
        dt_ranks_name(l, (dt_rank){0, p.stage, 0}, p.chunk, p.name, name, sizeof name);
        dt_megatron_use_vocabulary(c, dt_stored_set_find(c->set, name), l->tensor);
    }
    dt_megatron_use_class_tokens(c);
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(map_all(c, l, err));
    return dt_open_bind_names(c, &dt_megatron_names, "", find_fate, err);
}

dt_status dt_megatron_legacy_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    char root[PATH_BYTES], path[PATH_BYTES];
    dt_ranks layout = {0};
    dt_torch_file *file = NULL;
    if (!dt_megatron_resolve(c->path, root, sizeof root) || !first_rank(root, path, sizeof path))
        return dt_fail(err, DT_NOT_FOUND, "%s has no mp_rank_00*/model_optim_rng.pt", c->path);
    if (!(c->root = dt_arena_text(c->arena, root)))
        return dt_fail_memory(err, PATH_BYTES, "a path");
    DT_TRY(dt_torch_open(&file, c->set, path, err), err, "while reading %s", path);
    const dt_value *iteration = dt_value_get(dt_torch_root(file), "iteration");
    c->iteration = dt_value_is(iteration, DT_VALUE_INT) ? iteration->integer : -1;
    json_t *args = NULL;
    DT_PASS(dt_megatron_arguments(&args, dt_value_get(dt_torch_root(file), "args"), err));
    dt_status status = open_ranks(c, args, dt_torch_root(file), &layout, err);
    c->config_file = dt_arena_printf(c->arena, "the arguments (\"args\") in %s", path + strlen(root) + 1);
    if (status == DT_OK)
        status = open_model(c, options, args, &layout, err);
    json_decref(args);
    return status;
}
