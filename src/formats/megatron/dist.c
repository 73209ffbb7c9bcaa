/*
 * dist.c (megatron) - torch_dist checkpoints: one key a tensor of global shape, whatever ranks wrote it.
 *
 * distcp.c reads the container. Keys may have a prefix (NeMo: "module."), a layer axis or a layer number, gated halves
 * apart; unrounded masters lie under the optimizer's keys.
 */
#include "formats/megatron/distcp.h"
#include "base/json.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096, NAME_BYTES = 512 };

static const char *const prefixes[] = {"", "module.", "model."};
static const char *const master_prefixes[] = {"optimizer.state.fp32_param.", "optimizer.state.param.",
                                              "chained_0.optimizer.state.fp32_param.",
                                              "chained_0.optimizer.state.param."};

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* What every model has one of: a table of words, or what a tower or projector begins with. */
static bool begins_model(const dt_stored_set *set, const char *prefix)
{
    static const char *const first[] = {"embedding.word_embeddings.weight",
                                        "language_model.embedding.word_embeddings.weight",
                                        "conv1.weight",
                                        "embedder.weight",
                                        "encoder.linear_fc1.weight",
                                        "encoder.weight"};
    char name[NAME_BYTES];
    for (int i = 0; i < COUNT(first); i++) {
        snprintf(name, sizeof name, "%s%s", prefix, first[i]);
        if (dt_stored_set_find(set, name))
            return true;
    }
    return false;
}

static const char *find_prefix(const dt_stored_set *set, const char *const *list, int count)
{
    for (int i = 0; i < count; i++)
        if (begins_model(set, list[i]))
            return list[i];
    return NULL;
}

static bool is_model_tensor(const dt_checkpoint *c, const char *name)
{
    char full[NAME_BYTES];
    snprintf(full, sizeof full, "%s%s", c->before, name);
    return dt_mapping_find_external(c->mapping, full) >= 0;
}

/* With masters read, the rounded weights are skipped: the same names without the optimizer's prefix. */
static dt_status skip_rounded(dt_checkpoint *c, const dt_stored_tensor *s, dt_fate *fate, dt_error *err)
{
    (void)err;
    const char *name = dt_starts_with(s->name, "module.") ? s->name + strlen("module.") : s->name;
    bool ours = is_model_tensor(c, name);
    for (int i = 0; i < dt_megatron_names.copy_count && !ours; i++)
        ours = strcmp(dt_megatron_names.copy[i].name, name) == 0 &&
               is_model_tensor(c, dt_megatron_names.copy[i].of);
    if (ours)
        fate->rule = "rounded weights; the masters are read";
    return DT_OK;
}

static dt_status open_tensors(dt_checkpoint *c, bool masters, dt_error *err)
{
    const char *prefix = find_prefix(c->set, prefixes, COUNT(prefixes));
    const char *master = masters ? find_prefix(c->set, master_prefixes, COUNT(master_prefixes)) : NULL;
    if (!prefix)
        return dt_fail(err, DT_NOT_FOUND,
                       "no tensor \"embedding.word_embeddings.weight\", with or without "
                       "\"module.\"");
    if (c->config.padded_vocab_size <= 0)
        dt_megatron_use_vocabulary(c, dt_megatron_embedding(c->set, prefix), 1);
    if (master)
        prefix = master;
    dt_megatron_use_class_tokens(c);
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(dt_megatron_map(&c->config, c->set, prefix, DT_SPELL_TE, c->mapping, err));
    return dt_open_bind_names(c, &dt_megatron_names, prefix, master ? skip_rounded : NULL, err);
}

static void note_layout(dt_checkpoint *c, const json_t *args)
{
    dt_json_int(args, "tensor_model_parallel_size", &c->tensor_parallel, NULL);
    dt_json_int(args, "pipeline_model_parallel_size", &c->pipeline_parallel, NULL);
    dt_json_int(args, "virtual_pipeline_model_parallel_size", &c->virtual_pipeline, NULL);
    dt_json_int(args, "expert_model_parallel_size", &c->expert_parallel, NULL);
}

bool dt_megatron_dist_detect(const char *path)
{
    char root[PATH_BYTES];
    return dt_megatron_resolve(path, root, sizeof root) && dt_distcp_is(root);
}

dt_status dt_megatron_dist_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    char root[PATH_BYTES];
    const dt_value *common = NULL;
    if (!dt_megatron_resolve(c->path, root, sizeof root))
        return dt_fail(err, DT_NOT_FOUND, "%s holds no iteration", c->path);
    if (!(c->root = dt_arena_text(c->arena, root)))
        return dt_fail_memory(err, strlen(root), "a path");
    DT_TRY(dt_distcp_read(c->set, c->root, &common, err), err, "while reading %s", c->root);
    const dt_value *iteration = common ? dt_value_get(common, "iteration") : NULL;
    c->iteration = dt_value_is(iteration, DT_VALUE_INT) ? iteration->integer : -1;
    c->config_file = "the arguments (\"args\") in common.pt";
    json_t *args = NULL;
    DT_PASS(dt_megatron_arguments(&args, common ? dt_value_get(common, "args") : NULL, err));
    note_layout(c, args);
    dt_status status = dt_megatron_any_config(c, options, args, err);
    if (status == DT_OK)
        status = open_tensors(c, options->master_weights, err);
    json_decref(args);
    return status;
}

/* ---- NeMo 2: weights/ is torch_dist, context/model.yaml the configuration ---- */

bool dt_nemo_detect(const char *path)
{
    char weights[PATH_BYTES];
    return snprintf(weights, sizeof weights, "%s/weights", path) < PATH_BYTES && dt_distcp_is(weights);
}

dt_status dt_nemo_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    const dt_value *common = NULL;
    const char *weights = dt_open_path(c, c->path, "weights"),
               *yaml = dt_open_path(c, c->path, "context/model.yaml");
    json_t *config = NULL;
    if (!weights || !yaml)
        return dt_fail_memory(err, PATH_BYTES, "a path");
    DT_TRY(dt_distcp_read(c->set, weights, &common, err), err, "while reading %s", weights);
    const dt_value *step = common ? dt_value_get(common, "global_step") : NULL;
    c->iteration = dt_value_is(step, DT_VALUE_INT) ? step->integer : -1;
    c->config_file = yaml;
    if (!options->config)
        DT_TRY(dt_nemo_config(&config, yaml, err), err, "while reading %s", yaml);
    dt_status status = dt_megatron_any_config(c, options, config, err);
    if (status == DT_OK)
        status = open_tensors(c, options->master_weights, err);
    json_decref(config);
    return status;
}
