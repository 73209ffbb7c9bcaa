/*
 * registry.c - the table of models (models.def) and what can be asked of any of them.
 */
#include "base/arena.h"
#include "graph/ir.h"
#include "models/build.h"

#include <string.h>

#define MODEL(family, type, builder, description, hf)                                                        \
    dt_status dt_build_##builder(dt_graph *g, const dt_model_config *config,                                 \
                                 const dt_build_options *options, dt_error *err);
#include "models/models.def"
#undef MODEL

static const dt_model_type types[] = {
#define MODEL(family, type, builder, description, hf) {#family, type, description, dt_build_##builder},
#include "models/models.def"
#undef MODEL
};

enum { TYPE_COUNT = sizeof types / sizeof types[0] };

const dt_model_type *dt_model_type_at(int index)
{
    return index >= 0 && index < TYPE_COUNT ? &types[index] : NULL;
}

const dt_model_type *dt_model_type_find(const char *family)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (strcmp(types[i].family, family) == 0)
            return &types[i];
    return NULL;
}

dt_status dt_model_build(dt_graph *g, const dt_model_config *config, const dt_build_options *options,
                         dt_error *err)
{
    const dt_model_type *type = dt_model_type_find(config->family);
    if (!type)
        return dt_fail(err, DT_UNSUPPORTED, "no model family \"%s\"", config->family);
    DT_PASS(dt_config_check(config, err));
    DT_TRY(type->build(g, config, options, err), err, "while building the graph of %s", type->description);
    DT_TRY(dt_graph_finish(g, err), err, "while building the graph of %s", type->description);
    return DT_OK;
}

void dt_model_number_positions(const dt_model_config *config, const int32_t *tokens, int64_t count,
                               int32_t *positions)
{
    int32_t pad = (int32_t)config->pad_token_id, next = config->positions_skip_padding ? pad + 1 : 0;
    for (int64_t i = 0; i < count; i++)
        positions[i] = config->positions_skip_padding && tokens[i] == pad ? pad : next++;
}

static int64_t first_of(const int32_t *tokens, int64_t count, int32_t id)
{
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] == id)
            return i;
    return 0; /* as transformers has it */
}

int64_t dt_model_pooled_row(const dt_model_config *config, const int32_t *tokens, int64_t count)
{
    int32_t largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = tokens[i] > largest ? tokens[i] : largest;
    if (config->text_pooling == DT_TEXT_POOL_END)
        return first_of(tokens, count, config->eos_token_ids[0]);
    return config->text_pooling == DT_TEXT_POOL_LARGEST ? first_of(tokens, count, largest) : count - 1;
}

static dt_status copy_parameters(const dt_graph *g, dt_arena *arena, const dt_param_spec **out, int *count,
                                 dt_error *err)
{
    dt_param_spec *list = DT_NEW_ARRAY(arena, dt_param_spec, g->tensor_count);
    int n = 0;
    if (!list)
        return dt_fail_memory(err, sizeof *list * (size_t)g->tensor_count, "the parameter list");
    for (int i = 0; i < g->tensor_count; i++) {
        if (g->tensor[i]->kind != DT_TENSOR_PARAM)
            continue;
        list[n] = *g->tensor[i]->spec;
        list[n].name = dt_arena_text(arena, g->tensor[i]->spec->name);
        if (!list[n++].name)
            return dt_fail_memory(err, 64, "a parameter's name");
    }
    *out = list;
    *count = n;
    return DT_OK;
}

static const dt_build_options smallest = {.mode = DT_BUILD_FULL,
                                          .logits = true,
                                          .tokens = 1,
                                          .source_tokens = 1,
                                          .sequences = 1,
                                          .output_rows = 1,
                                          .images = 1,
                                          .patches = 1,
                                          .vision_tokens = 1,
                                          .features = 1,
                                          .image_rows = 1,
                                          .kv_dtype = DT_F32};

dt_status dt_model_computes(const dt_model_config *config, dt_error *err)
{
    dt_graph *g = dt_graph_create(err);
    if (!g)
        return DT_NO_MEMORY;
    dt_status status = dt_model_build(g, config, &smallest, err);
    dt_graph_destroy(g);
    return status;
}

dt_status dt_model_parameters(const dt_model_config *config, dt_arena *arena, const dt_param_spec **out,
                              int *count, dt_error *err)
{
    dt_build_options options = smallest;
    options.listing = true;
    dt_graph *g = dt_graph_create(err);
    if (!g)
        return DT_NO_MEMORY;
    dt_status status = dt_model_build(g, config, &options, err);
    if (status == DT_OK)
        status = copy_parameters(g, arena, out, count, err);
    dt_graph_destroy(g);
    return status;
}
