/*
 * writing.c (megatron) - checks the layout that is asked for and deals a model's tensors out to its ranks.
 *
 * A model whose iteration is unknown is written as "release", Megatron's word for weights without a run.
 */
#include "formats/megatron/writing.h"
#include "base/text.h"
#include "models/build.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DIVISIBLE_BY = 128 }; /* Megatron's make_vocab_size_divisible_by */

/* ---- the layout ---- */

static dt_status check_count(const char *option, int value, int limit, dt_error *err)
{
    if (value >= 0 && value <= limit)
        return DT_OK;
    return dt_fail(err, DT_INVALID, "%s is %d, expected 1 to %d", option, value, limit);
}

static dt_status check_layout(const dt_export_options *o, const dt_model_config *c, const dt_ranks *r,
                              dt_error *err)
{
    DT_PASS(check_count("tensor_parallel", o->tensor_parallel, DT_RANKS_TENSOR, err));
    DT_PASS(check_count("pipeline_parallel", o->pipeline_parallel, DT_RANKS_PIPELINE, err));
    DT_PASS(check_count("virtual_pipeline", o->virtual_pipeline, DT_RANKS_CHUNKS, err));
    DT_PASS(check_count("expert_parallel", o->expert_parallel, DT_RANKS_EXPERT, err));
    if (r->chunks > 1 && r->pipeline == 1)
        return dt_fail(err, DT_INVALID, "%d virtual stages need more than one pipeline stage", r->chunks);
    if (r->expert > 1 && c->num_moe_experts == 0)
        return dt_fail(err, DT_UNSUPPORTED, "%d expert-parallel ranks, but the model has no experts",
                       r->expert);
    if (strcmp(c->model_type, "t5") == 0 && r->pipeline > 1)
        return dt_fail(err, DT_UNSUPPORTED,
                       "%d pipeline stages: Megatron Core's T5 has no pipeline parallelism", r->pipeline);
    if (c->num_attention_heads % r->tensor || (c->vision && c->vision->num_attention_heads % r->tensor))
        return dt_fail(
            err, DT_UNSUPPORTED, "%" PRId64 " attention heads cannot be shared by %d tensor-parallel ranks",
            c->num_attention_heads % r->tensor ? c->num_attention_heads : c->vision->num_attention_heads,
            r->tensor);
    return DT_OK;
}

static int at_least_one(int n)
{
    return n > 1 ? n : 1;
}

static dt_status lay_out(dt_megatron_plan *p, dt_error *err)
{
    const dt_export_options *o = p->options;
    dt_ranks *r = &p->ranks;
    *r = (dt_ranks){.tensor = at_least_one(o->tensor_parallel),
                    .pipeline = at_least_one(o->pipeline_parallel),
                    .chunks = at_least_one(o->virtual_pipeline),
                    .expert = at_least_one(o->expert_parallel)};
    DT_PASS(check_layout(o, &p->config, r, err));
    DT_PASS(dt_ranks_create(r, p->arena, err));
    if (strcmp(p->config.model_type, "t5") == 0) {
        DT_PASS(dt_ranks_deal(r, 0, p->config.encoder_num_layers, err));
        DT_PASS(dt_ranks_deal(r, 1, p->config.encoder_only ? 0 : p->config.decoder_num_layers, err));
    } else {
        bool encoder = strcmp(p->config.model_type, "bert") == 0;
        DT_PASS(dt_ranks_deal(r, encoder ? 0 : 1, p->config.num_layers, err));
    }
    dt_ranks_number(r);
    return DT_OK;
}

static int64_t padded(int64_t rows, int64_t multiple)
{
    return (rows + multiple - 1) / multiple * multiple;
}

/* A source that is padded already stays as it is, where the ranks can share it. */
static dt_status pad_vocabulary(dt_megatron_plan *p, dt_error *err)
{
    dt_model_config *c = &p->config;
    int64_t by = p->options->vocab_divisible_by, tensor = p->ranks.tensor;
    if (by < 0 || by > 1 << 20)
        return dt_fail(err, DT_INVALID, "the vocabulary cannot be padded to a multiple of %" PRId64, by);
    bool kept =
        by == 0 && dt_starts_with(p->from->format->name, "megatron") && c->padded_vocab_size % tensor == 0;
    if (!kept)
        c->padded_vocab_size = padded(c->vocab_size, (by ? by : DIVISIBLE_BY) * tensor);
    return DT_OK;
}

/* ---- tensors ---- */

/* What comes before the layers: words, and all that sees. */
static bool in_first_stage(const char *canonical)
{
    static const char *const begin[] = {"embedding.", "language_model.embedding.", "vision_model.",
                                        "vision_projection.", "x_image_newline"};
    bool first = false;
    for (size_t i = 0; i < sizeof begin / sizeof begin[0]; i++)
        first |= dt_starts_with(canonical, begin[i]);
    return first;
}

static dt_rank_place place_of(const dt_megatron_plan *p, const char *canonical, bool dist)
{
    dt_rank_place place = {.stage = p->ranks.pipeline - 1, .chunk = p->ranks.chunks - 1};
    bool local = p->options->local_names;
    char name[DT_RANKS_NAME];
    if (in_first_stage(canonical))
        place.stage = place.chunk = 0;
    if (!dt_ranks_place_layer(&p->ranks, canonical, &place))
        snprintf(place.name, sizeof place.name, "%s", canonical);
    dt_megatron_spell(name, sizeof name, place.name, local && !dist ? DT_SPELL_LOCAL : DT_SPELL_TE);
    memcpy(place.name, name, sizeof name);
    place.form = local ? DT_EXPERTS_SEQUENTIAL : DT_EXPERTS_GROUPED;
    return place;
}

static dt_status map_tensors(dt_megatron_plan *p, bool dist, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    DT_PASS(dt_model_parameters(&p->config, p->arena, &spec, &count, err));
    DT_PASS(dt_mapping_create(&p->mapping, p->arena, spec, count, err));
    dt_rank_place *place = DT_NEW_ARRAY(p->arena, dt_rank_place, count + 1);
    if (!place)
        return dt_fail_memory(err, sizeof *place * (size_t)count, "the tensors' places");
    p->place = place;
    for (int i = 0; i < count; i++) {
        const dt_canonical *to = dt_mapping_next(p->mapping, err);
        if (!to)
            return DT_INTERNAL;
        place[i] = place_of(p, to->spec->name, dist);
        DT_PASS(dt_ranks_map(&p->ranks, to, &place[i], p->mapping, err));
    }
    DT_PASS(dt_megatron_finish(&p->config, p->mapping, err));
    return dt_export_types(p->from, p->mapping, p->options, p->arena, &p->dtype, err);
}

dt_status dt_megatron_plan_create(dt_megatron_plan *p, const dt_checkpoint *from,
                                  const dt_export_options *options, bool dist, dt_error *err)
{
    *p = (dt_megatron_plan){.from = from, .options = options, .config = from->config};
    if (!(p->arena = dt_arena_create()))
        return dt_fail_memory(err, 4096, "an export");
    DT_PASS(dt_megatron_holds(&p->config, err));
    p->stock = strcmp(p->config.model_type, "t5") == 0 && !dt_config_beyond_megatron(&p->config, 0);
    DT_PASS(lay_out(p, err));
    DT_PASS(pad_vocabulary(p, err));
    DT_PASS(map_tensors(p, dist, err));
    return dt_megatron_make_args(p, dist, &p->args, err);
}

int dt_megatron_plan_embedding(const dt_megatron_plan *p)
{
    char name[DT_RANKS_NAME];
    snprintf(name, sizeof name, "%sembedding.word_embeddings.weight", dt_megatron_below(&p->config));
    return dt_mapping_find(p->mapping, name);
}

void dt_megatron_plan_destroy(dt_megatron_plan *p)
{
    json_decref(p->args);
    dt_arena_destroy(p->arena);
}

int64_t dt_megatron_plan_blocks(const dt_megatron_plan *p, const dt_canonical *c)
{
    return c->spec->experts ? c->spec->experts / p->ranks.expert : 1;
}

dt_status dt_megatron_plan_tensor(const dt_megatron_plan *p, int canonical, dt_rank rank, int64_t block,
                                  char name[DT_RANKS_NAME], int *external, dt_error *err)
{
    const dt_canonical *c = dt_mapping_at(p->mapping, canonical);
    const dt_rank_place *place = &p->place[canonical];
    char full[DT_RANKS_NAME];
    if (c->spec->split == DT_SPLIT_NONE)
        rank.tensor = 0;
    if (!c->spec->experts)
        rank.expert = 0;
    if (!dt_megatron_expert(name, DT_RANKS_NAME, place->name, place->form, block))
        return dt_fail(err, DT_LIMIT, "the name of \"%s\" is too long", c->spec->name);
    dt_ranks_name(&p->ranks, rank, place->chunk, name, full, sizeof full);
    *external = dt_mapping_find_external(p->mapping, full);
    return *external >= 0 ? DT_OK : dt_fail(err, DT_INTERNAL, "\"%s\" was not dealt out", full);
}

const char *dt_megatron_plan_alias(const dt_megatron_plan *p, const char *canonical)
{
    for (int i = 0; p->stock && i < dt_megatron_names.copy_count; i++) {
        const dt_name_copy *copy = &dt_megatron_names.copy[i];
        if (strcmp(copy->of, canonical) == 0 && !dt_megatron_is_embedding(canonical))
            return copy->name;
    }
    return NULL;
}

/* ---- the folder ---- */

static dt_status write_tracker(const char *folder, const char *text, dt_error *err)
{
    char path[4096];
    dt_output *file = NULL;
    snprintf(path, sizeof path, "%s/latest_checkpointed_iteration.txt", folder);
    DT_PASS(dt_output_open(&file, path, false, err));
    dt_status status = dt_output_write(file, text, strlen(text), err);
    if (status == DT_OK)
        return dt_output_commit(file, err);
    dt_output_discard(file);
    return status;
}

dt_status dt_megatron_begin_folder(const dt_megatron_plan *p, const char *path, dt_output_folder **out,
                                   char iteration[], size_t bytes, dt_error *err)
{
    char number[32] = "release", below[48] = "release";
    int64_t n = p->from->iteration;
    *out = NULL;
    if (n > 0) {
        snprintf(number, sizeof number, "%" PRId64, n);
        snprintf(below, sizeof below, "iter_%07" PRId64, n);
    }
    DT_PASS(dt_output_folder_create(out, path, p->options->replace, err));
    const char *folder = dt_output_folder_path(*out);
    if ((size_t)snprintf(iteration, bytes, "%s/%s", folder, below) >= bytes - 64)
        return dt_fail(err, DT_INVALID, "the path %s is too long", path);
    DT_PASS(write_tracker(folder, number, err));
    return dt_make_folder(iteration, err);
}
