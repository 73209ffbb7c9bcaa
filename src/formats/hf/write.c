/*
 * write.c (hf) - writes a Hugging Face folder: configuration, weights in shards, generation settings, tokenizer.
 *
 * Keys are the ones that transformers 4 and 5 both read. Which class holds a model is asked of the families: the
 * model's own, or for Megatron's models the first that computes exactly the same.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/hf/family.h"
#include "formats/open.h"
#include "models/build.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

#define DEFAULT_SHARD_BYTES ((uint64_t)5 * 1000 * 1000 * 1000)

/* ---- which class ---- */

static dt_status refuse(const dt_model_config *c, const dt_hf_family *family, const char *key, dt_error *err)
{
    dt_fail(err, DT_UNSUPPORTED, "Hugging Face's %s cannot hold this %s: \"%s\" stands in the way",
            family->architecture, c->family, key);
    dt_error_try(err, "--to megatron-state, which holds every model");
    return DT_UNSUPPORTED;
}

/* The class whose lack is worth naming: experts make a Mixtral, learned positions a GPT-2, a table a layer an umT5. */
static const char *nearest_class(const dt_model_config *c)
{
    if (strcmp(c->model_type, "bert") == 0)
        return "bert";
    if (strcmp(c->model_type, "t5") == 0)
        return c->relative_bias_per_layer ? "umt5" : "t5";
    if (dt_config_is_tower(c))
        return strcmp(c->model_type, "radio") == 0 ? "radio" : "clip_vision_model";
    if (c->num_moe_experts)
        return "mixtral";
    return c->position_embedding_type == DT_POSITION_LEARNED ? "gpt2" : "llama";
}

static dt_status choose_family(const dt_model_config *c, const dt_hf_family **out, dt_error *err)
{
    const char *key = NULL;
    *out = dt_hf_family_find(c->family);
    if (!*out)
        DT_PASS(dt_hf_first_class(c, out, err));
    if (!*out)
        *out = dt_hf_family_find(nearest_class(c));
    DT_PASS(dt_hf_obstacle(*out, c, &key, err));
    return key ? refuse(c, *out, key, err) : DT_OK;
}

/* ---- config.json ---- */

static const char *torch_type(dt_dtype type)
{
    return type == DT_BF16 ? "bfloat16" : type == DT_F16 ? "float16" : "float32";
}

static dt_status write_config(const dt_checkpoint *from, const dt_hf_family *family, const dt_model_config *c,
                              dt_dtype type, const char *quantize, const char *folder, dt_error *err)
{
    char path[PATH_BYTES];
    json_t *json = json_object();
    int failed = json_object_set_new(json, "torch_dtype", json_string(torch_type(type)));
    failed |= quantize ? dt_hf_write_quantization(json) : 0;
    if (!family->compound) /* they are its text model's */
        failed |= dt_hf_write_tokens(c, json);
    dt_status status =
        failed ? dt_fail_memory(err, 4096, "config.json") : dt_hf_write_config(family, c, json, err);
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (status == DT_OK)
        status = dt_export_labels(from, json, err);
    if (status == DT_OK)
        status = dt_json_save(json, path, err);
    json_decref(json);
    return status;
}

/* Does it write texts? */
static bool writes(const dt_model_config *c)
{
    return dt_config_is_gpt(c) || (strcmp(c->model_type, "t5") == 0 && !c->encoder_only);
}

/* The source's own file has been copied where there was one: it may hold more than ids. */
static dt_status write_generation(const dt_model_config *c, const char *folder, dt_export_result *result,
                                  dt_error *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    if (dt_is_file(path) || !writes(c))
        return DT_OK;
    json_t *json = json_object();
    dt_status status = dt_hf_write_tokens(c, json) ? dt_fail_memory(err, 4096, "generation_config.json")
                                                   : dt_json_save(json, path, err);
    json_decref(json);
    result->files++;
    return status;
}

dt_status dt_hf_save_config(const dt_checkpoint *from, const dt_model_config *c, dt_dtype type,
                            const char *folder, dt_export_result *result, dt_error *err)
{
    const dt_hf_family *family = NULL;
    DT_PASS(choose_family(c, &family, err));
    DT_PASS(write_config(from, family, c, type, NULL, folder, err));
    result->files++;
    return write_generation(c, folder, result, err);
}

/* ---- shards ---- */

static dt_status list_entries(dt_arena *arena, dt_export_plan *plan, dt_error *err)
{
    int count = dt_mapping_external_count(plan->mapping);
    dt_export_entry *entry = DT_NEW_ARRAY(arena, dt_export_entry, count + 1);
    if (!entry)
        return dt_fail_memory(err, sizeof *entry * (size_t)count, "the tensors to write");
    for (int i = 0; i < count; i++)
        entry[i] = (dt_export_entry){.name = dt_mapping_external_at(plan->mapping, i)->name, .external = i};
    plan->entry = entry;
    plan->entry_count = count;
    return DT_OK;
}

/* How many entries from `first` on fit into one file; at least one. */
static int fill_shard(const dt_export_plan *plan, int first, uint64_t limit)
{
    uint64_t bytes = 0;
    int count = 0;
    while (first + count < plan->entry_count) {
        bytes += dt_export_entry_bytes(plan, &plan->entry[first + count]);
        if (count && bytes > limit)
            break;
        count++;
    }
    return count;
}

static dt_status cut_shards(dt_arena *arena, uint64_t limit, dt_export_plan *plan, dt_error *err)
{
    int shards = 0;
    for (int first = 0; first < plan->entry_count; first += fill_shard(plan, first, limit))
        shards++;
    dt_export_file *file = DT_NEW_ARRAY(arena, dt_export_file, shards + 1);
    if (!file)
        return dt_fail_memory(err, sizeof *file * (size_t)shards, "the list of shards");
    for (int i = 0, first = 0; i < shards; first += file[i++].count) {
        file[i] = (dt_export_file){"model.safetensors", first, fill_shard(plan, first, limit)};
        if (shards > 1)
            file[i].name = dt_arena_printf(arena, "model-%05d-of-%05d.safetensors", i + 1, shards);
        if (!file[i].name)
            return dt_fail_memory(err, 64, "a file's name");
    }
    plan->file = file;
    plan->file_count = shards;
    return DT_OK;
}

static dt_status write_index(const dt_export_plan *plan, const char *folder, dt_export_result *result,
                             dt_error *err)
{
    char path[PATH_BYTES];
    if (plan->file_count < 2)
        return DT_OK;
    json_t *map = json_object();
    int failed = map == NULL;
    for (int i = 0; i < plan->file_count; i++)
        for (int k = plan->file[i].first; k < plan->file[i].first + plan->file[i].count; k++)
            failed |= json_object_set_new(map, plan->entry[k].name, json_string(plan->file[i].name));
    json_t *json = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)dt_export_total(plan),
                             "weight_map", map);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    dt_status status =
        failed || !json ? dt_fail_memory(err, 4096, "the shard index") : dt_json_save(json, path, err);
    json_decref(json);
    result->files++;
    return status;
}

/* ---- the whole ---- */

static dt_status plan_folder(const dt_checkpoint *from, const dt_hf_family *family, const dt_model_config *c,
                             const dt_export_options *o, dt_arena *arena, dt_export_plan *plan, dt_error *err)
{
    static const char *const notes[] = {"format", "pt"};
    const dt_param_spec *spec = NULL;
    const dt_name_table *names = NULL;
    int count = 0;
    DT_PASS(dt_model_parameters(c, arena, &spec, &count, err));
    DT_PASS(dt_mapping_create(&plan->mapping, arena, spec, count, err));
    DT_PASS(dt_hf_names(family, c, 0, arena, &names, err));
    DT_PASS(dt_names_map(plan->mapping, names, c, err));
    DT_PASS(dt_export_types(from, plan->mapping, o, arena, &plan->dtype, err));
    DT_PASS(list_entries(arena, plan, err));
    DT_PASS(dt_export_fp8(o, arena, plan, err));
    plan->notes = notes;
    plan->note_count = 1;
    return cut_shards(arena, o->shard_bytes ? o->shard_bytes : DEFAULT_SHARD_BYTES, plan, err);
}

dt_status dt_hf_write(const dt_checkpoint *from, const char *path, const dt_export_options *o,
                      dt_export_result *result, dt_error *err)
{
    dt_export_plan plan = {0};
    dt_model_config config = from->config;
    const dt_hf_family *family = NULL;
    dt_output_folder *folder = NULL;
    DT_PASS(choose_family(&config, &family, err));
    dt_arena *arena = dt_arena_create();
    dt_status status = arena ? DT_OK : dt_fail_memory(err, 4096, "an export");
    if (status != DT_OK)
        return status;
    config.padded_vocab_size = config.vocab_size; /* Hugging Face keeps no padding rows */
    DT_GO(status, plan_folder(from, family, &config, o, arena, &plan, err));
    DT_GO(status, dt_output_folder_create(&folder, path, o->replace, err));
    const char *into = dt_output_folder_path(folder);
    DT_GO(status, dt_export_tensors(from, into, &plan, o, result, err));
    DT_GO(status, write_index(&plan, into, result, err));
    DT_GO(status, write_config(from, family, &config, plan.dtype[0], o->quantize, into, err));
    result->files++;
    DT_GO(status, dt_export_tokenizer(from, into, result, err));
    DT_GO(status, write_generation(&config, into, result, err));
    status = dt_output_folder_commit(folder, err);
    folder = NULL;
done:
    dt_output_folder_discard(folder);
    dt_arena_destroy(arena);
    return status;
}
