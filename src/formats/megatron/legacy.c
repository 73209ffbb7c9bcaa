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
#include "formats/megatron/megatron.h"
#include "formats/torch/torch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_BYTES = 512,
    PATH_BYTES = 4096,
    MAX_TENSOR = 99,
    MAX_PIPELINE = 999,
    MAX_CHUNKS = 64,
    STACKS = 2
};

static const char *const stack_names[STACKS] = {"encoder", "decoder"};

/* Layers [first, first + count) of a stack lie in one chunk of one stage, there numbered from 0. */
typedef struct stage_layers {
    int64_t first, count;
} stage_layers;

typedef struct rank_layout {
    int tensor, pipeline, chunks;
    stage_layers *layers; /* [stack][chunk][stage] */
} rank_layout;

static stage_layers *layers_at(const rank_layout *l, int stack, int chunk, int stage)
{
    return &l->layers[(stack * l->chunks + chunk) * l->pipeline + stage];
}

static void rank_folder(const rank_layout *l, int tensor, int stage, char *out, size_t bytes)
{
    if (l->pipeline > 1)
        snprintf(out, bytes, "mp_rank_%02d_%03d", tensor, stage);
    else
        snprintf(out, bytes, "mp_rank_%02d", tensor);
}

/* "mp_rank_00_001.model0.NAME" */
static void rank_name(const rank_layout *l, int tensor, int stage, int chunk, const char *name, char *out,
                      size_t bytes)
{
    char folder[64], number[16] = "";
    rank_folder(l, tensor, stage, folder, sizeof folder);
    if (l->chunks > 1)
        snprintf(number, sizeof number, "%d", chunk);
    snprintf(out, bytes, "%s.model%s.%s", folder, number, name);
}

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
static dt_status read_sizes(const json_t *args, rank_layout *l, int *experts, dt_error *err)
{
    int64_t tensor = 1, pipeline = 1, expert = 1;
    DT_PASS(dt_json_int(args, "tensor_model_parallel_size", &tensor, err));
    DT_PASS(dt_json_int(args, "pipeline_model_parallel_size", &pipeline, err));
    DT_PASS(dt_json_int(args, "expert_model_parallel_size", &expert, err));
    if (tensor < 1 || tensor > MAX_TENSOR || pipeline < 1 || pipeline > MAX_PIPELINE || expert < 1 ||
        expert > 999)
        return dt_fail(err, DT_UNSUPPORTED,
                       "the arguments speak of %" PRId64 " x %" PRId64 " x %" PRId64 " ranks", tensor,
                       pipeline, expert);
    *l = (rank_layout){.tensor = (int)tensor, .pipeline = (int)pipeline, .chunks = 1};
    *experts = (int)expert;
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
    while (dt_value_get(root, key) && ++chunks < MAX_CHUNKS);
    return chunks ? chunks : 1;
}

static dt_status read_rank(dt_checkpoint *c, const rank_layout *l, int tensor, int stage, dt_error *err)
{
    char folder[64], path[PATH_BYTES];
    dt_torch_file *file = NULL;
    rank_folder(l, tensor, stage, folder, sizeof folder);
    if (snprintf(path, sizeof path, "%s/%s/model_optim_rng.pt", c->root, folder) >= PATH_BYTES)
        return dt_fail(err, DT_INVALID, "the path %s is too long", c->root);
    if (!dt_is_file(path))
        return dt_fail(err, DT_NOT_FOUND,
                       "rank file %s/model_optim_rng.pt is missing: \"tensor_model_parallel_size\" is %d and "
                       "\"pipeline_model_parallel_size\" is %d",
                       folder, l->tensor, l->pipeline);
    DT_TRY(dt_torch_open(&file, c->set, path, err), err, "while reading %s", path);
    if (l->chunks > 1 ? !dt_value_get(dt_torch_root(file), "model0")
                      : !dt_value_get(dt_torch_root(file), "model"))
        return dt_fail(err, DT_FORMAT, "%s has no \"model%s\"", path, l->chunks > 1 ? "0" : "");
    DT_TRY(dt_torch_flatten(file, dt_torch_root(file), folder, c->set, err), err, "while reading %s", path);
    return DT_OK;
}

/* ---- which layers lie where ---- */

/* A tensor of a rank's model, taken apart: "mp_rank_01_002.model3.NAME". */
typedef struct rank_tensor {
    int64_t tensor, stage, chunk;
    const char *name;
} rank_tensor;

/* Digits at *at, past them; 0 without any. */
static int64_t take_number(const char **at)
{
    int64_t n = 0;
    for (; **at >= '0' && **at <= '9'; ++*at)
        n = n < INT32_MAX ? n * 10 + (**at - '0') : n;
    return n;
}

static bool parse_rank_name(const char *stored, rank_tensor *out)
{
    const char *at = stored + strlen("mp_rank_");
    *out = (rank_tensor){0};
    if (!dt_starts_with(stored, "mp_rank_"))
        return false;
    out->tensor = take_number(&at);
    if (*at == '_') {
        at++;
        out->stage = take_number(&at);
    }
    if (!dt_starts_with(at, ".model"))
        return false;
    at += strlen(".model");
    out->chunk = take_number(&at);
    out->name = at + 1;
    return *at == '.' && at[1];
}

/* A layer of a tensor-parallel rank 0 raises its chunk's count. */
static void count_layer(const rank_layout *l, const char *stored)
{
    rank_tensor t;
    dt_megatron_layer layer;
    if (!parse_rank_name(stored, &t) || t.tensor || t.stage >= l->pipeline || t.chunk >= l->chunks ||
        !dt_megatron_split_layer(t.name, &layer))
        return;
    for (int stack = 0; stack < STACKS; stack++) {
        stage_layers *s = layers_at(l, stack, (int)t.chunk, (int)t.stage);
        if (strncmp(t.name, stack_names[stack], (size_t)layer.stack_bytes) == 0 && layer.layer >= s->count)
            s->count = layer.layer + 1;
    }
}

/* Chunk by chunk, and in each stage by stage: the order in which layers were dealt out. */
static dt_status place_layers(dt_checkpoint *c, rank_layout *l, dt_error *err)
{
    size_t count = (size_t)(STACKS * l->chunks * l->pipeline);
    if (!(l->layers = DT_NEW_ARRAY(c->arena, stage_layers, count)))
        return dt_fail_memory(err, sizeof *l->layers * count, "the pipeline's stages");
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++)
        count_layer(l, dt_stored_set_at(c->set, i)->name);
    for (int stack = 0; stack < STACKS; stack++) {
        int64_t next = 0;
        for (int chunk = 0; chunk < l->chunks; chunk++)
            for (int stage = 0; stage < l->pipeline; stage++) {
                stage_layers *s = layers_at(l, stack, chunk, stage);
                s->first = next;
                next += s->count;
            }
    }
    return DT_OK;
}

/* ---- mapping ---- */

/* Where a canonical tensor lies: stage, chunk, and its name there in the canonical spelling. */
typedef struct place {
    int stage, chunk;
    char name[NAME_BYTES];
} place;

static bool place_layer(const rank_layout *l, const char *canonical, const dt_megatron_layer *layer,
                        place *out)
{
    int stack = strncmp(canonical, stack_names[0], (size_t)layer->stack_bytes) == 0 ? 0 : 1;
    for (int chunk = 0; chunk < l->chunks; chunk++)
        for (int stage = 0; stage < l->pipeline; stage++) {
            const stage_layers *s = layers_at(l, stack, chunk, stage);
            if (layer->layer < s->first || layer->layer >= s->first + s->count)
                continue;
            *out = (place){.stage = stage, .chunk = chunk};
            snprintf(out->name, sizeof out->name, "%.*s.layers.%" PRId64 "%s", layer->stack_bytes, canonical,
                     layer->layer - s->first, layer->rest);
            return true;
        }
    return false;
}

/* A tensor outside the layers: the first stage that has it. */
static bool place_other(const dt_checkpoint *c, const rank_layout *l, const char *canonical, place *out)
{
    for (int stage = 0; stage < l->pipeline; stage++)
        for (int chunk = 0; chunk < l->chunks; chunk++) {
            char name[NAME_BYTES];
            rank_name(l, 0, stage, chunk, canonical, name, sizeof name);
            if (!dt_stored_set_find(c->set, name))
                continue;
            *out = (place){.stage = stage, .chunk = chunk};
            snprintf(out->name, sizeof out->name, "%s", canonical);
            return true;
        }
    return false;
}

static place find_place(const dt_checkpoint *c, const rank_layout *l, const char *canonical)
{
    dt_megatron_layer layer;
    place p = {.stage = l->pipeline - 1, .chunk = l->chunks - 1};
    bool found = dt_megatron_split_layer(canonical, &layer) ? place_layer(l, canonical, &layer, &p)
                                                            : place_other(c, l, canonical, &p);
    if (!found) /* for the error to name */
        snprintf(p.name, sizeof p.name, "%s", canonical);
    for (int i = 0; i < 2; i++) {
        char spelled[NAME_BYTES], name[NAME_BYTES];
        dt_megatron_spell(spelled, sizeof spelled, p.name, i ? DT_SPELL_LOCAL : DT_SPELL_TE);
        rank_name(l, 0, p.stage, p.chunk, spelled, name, sizeof name);
        if (!dt_stored_set_find(c->set, name))
            continue;
        snprintf(p.name, sizeof p.name, "%s", spelled);
        break;
    }
    return p;
}

static dt_status map_parts(dt_mapping *m, const rank_layout *l, const dt_canonical *to, const place *p,
                           dt_error *err)
{
    dt_megatron_part part[2 * MAX_TENSOR];
    int parts = 0;
    DT_PASS(dt_megatron_cut(to, l->tensor, part, &parts, err));
    for (int i = 0; i < parts; i++) {
        char name[NAME_BYTES];
        dt_piece piece = part[i].piece;
        rank_name(l, part[i].rank, p->stage, p->chunk, p->name, name, sizeof name);
        DT_PASS(dt_mapping_add_external(m, name, &part[i].shape, part[i].shape.rank, &piece.external, err));
        DT_PASS(dt_mapping_add_piece(m, &piece, err));
    }
    return DT_OK;
}

static dt_status map_all(dt_checkpoint *c, const rank_layout *l, dt_error *err)
{
    for (int i = 0; i < dt_mapping_count(c->mapping); i++) {
        const dt_canonical *to = dt_mapping_next(c->mapping, err);
        if (!to)
            return DT_INTERNAL;
        place p = find_place(c, l, to->spec->name);
        DT_PASS(map_parts(c->mapping, l, to, &p, err));
    }
    return dt_mapping_finish(c->mapping, err);
}

/* ---- copies between ranks ---- */

/* A stage after the first may hold a copy, and each tensor-parallel rank one of what is not cut. */
static dt_status find_repeated(dt_checkpoint *c, const dt_stored_tensor *s, int tensor, const char *of,
                               bool lenient, dt_fate *fate, dt_error *err)
{
    for (int64_t stage = 0; stage < c->pipeline_parallel; stage++)
        for (int64_t chunk = 0; chunk < c->virtual_pipeline; chunk++) {
            rank_layout l = {.pipeline = (int)c->pipeline_parallel, .chunks = (int)c->virtual_pipeline};
            char name[NAME_BYTES];
            rank_name(&l, tensor, (int)stage, (int)chunk, of, name, sizeof name);
            int external = dt_mapping_find_external(c->mapping, name);
            if (external >= 0)
                return dt_open_copy(c, s, external, lenient, fate, err);
        }
    return DT_OK;
}

/* The same name in the same place of tensor-parallel rank 0. */
static dt_status find_replica(dt_checkpoint *c, const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "mp_rank_00%s", s->name + strcspn(s->name + 8, "_.") + 8);
    int external = dt_mapping_find_external(c->mapping, name);
    return external >= 0 ? dt_open_copy(c, s, external, true, fate, err) : DT_OK;
}

static dt_status find_fate(dt_checkpoint *c, const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    rank_tensor t;
    if (!parse_rank_name(s->name, &t))
        return DT_OK;
    if (t.tensor > 0)
        DT_PASS(find_replica(c, s, fate, err));
    for (int i = 0; i < dt_megatron_names.copy_count && fate->external < 0; i++) {
        const dt_name_copy *copy = &dt_megatron_names.copy[i];
        if (strcmp(copy->name, t.name) != 0)
            continue;
        DT_PASS(find_repeated(c, s, (int)t.tensor, copy->of, false, fate, err));
        if (fate->external < 0 && t.tensor > 0)
            DT_PASS(find_repeated(c, s, 0, copy->of, true, fate, err));
    }
    return DT_OK;
}

/* ---- opening ---- */

static dt_status open_ranks(dt_checkpoint *c, const json_t *args, const dt_value *root, rank_layout *l,
                            dt_error *err)
{
    int experts = 1;
    DT_PASS(read_sizes(args, l, &experts, err));
    DT_PASS(check_version(root, err));
    if (experts > 1)
        return dt_fail(err, DT_UNSUPPORTED,
                       "\"expert_model_parallel_size\" is %d; drivetrain cannot read a mixture of "
                       "experts yet",
                       experts);
    l->chunks = count_chunks(root);
    c->tensor_parallel = l->tensor;
    c->pipeline_parallel = l->pipeline;
    c->virtual_pipeline = l->chunks;
    for (int stage = 0; stage < l->pipeline; stage++)
        for (int tensor = 0; tensor < l->tensor; tensor++)
            DT_PASS(read_rank(c, l, tensor, stage, err));
    return place_layers(c, l, err);
}

static dt_status open_model(dt_checkpoint *c, const dt_open_options *options, const json_t *args,
                            rank_layout *l, dt_error *err)
{
    DT_PASS(dt_megatron_any_config(c, options, args, err));
    if (c->config.padded_vocab_size <= 0) {
        place p = find_place(c, l, "embedding.word_embeddings.weight");
        char name[NAME_BYTES];
        rank_name(l, 0, p.stage, p.chunk, p.name, name, sizeof name);
        dt_megatron_use_vocabulary(c, dt_stored_set_find(c->set, name), l->tensor);
    }
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(map_all(c, l, err));
    return dt_open_bind_names(c, &dt_megatron_names, "", find_fate, err);
}

dt_status dt_megatron_legacy_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    char root[PATH_BYTES], path[PATH_BYTES];
    rank_layout layout = {0};
    dt_torch_file *file = NULL;
    if (!dt_megatron_resolve(c->path, root, sizeof root) || !first_rank(root, path, sizeof path))
        return dt_fail(err, DT_NOT_FOUND, "%s has no mp_rank_00*/model_optim_rng.pt", c->path);
    if (!(c->root = dt_arena_text(c->arena, root)))
        return dt_fail_memory(err, PATH_BYTES, "a path");
    DT_TRY(dt_torch_open(&file, c->set, path, err), err, "while reading %s", path);
    const dt_value *iteration = dt_value_get(dt_torch_root(file), "iteration");
    c->iteration = dt_value_is(iteration, DT_VALUE_INT) ? iteration->integer : -1;
    json_t *args = dt_megatron_arguments(dt_value_get(dt_torch_root(file), "args"));
    dt_status status = open_ranks(c, args, dt_torch_root(file), &layout, err);
    c->config_file = dt_arena_printf(c->arena, "the arguments (\"args\") in %s", path + strlen(root) + 1);
    if (status == DT_OK)
        status = open_model(c, options, args, &layout, err);
    json_decref(args);
    return status;
}
