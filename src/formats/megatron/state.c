/*
 * state.c (megatron) - the state format: config.json with Megatron's field names, state.safetensors with its tensors.
 */
#include "base/json.h"
#include "base/output.h"
#include "formats/megatron/megatron.h"
#include "formats/safetensors/safetensors.h"

#include <stdio.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20, PATH_BYTES = 4096 };

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_BYTES];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < PATH_BYTES && dt_is_file(path);
}

bool dt_megatron_state_detect(const char *path)
{
    return has_file(path, "state.safetensors") && has_file(path, "config.json");
}

static void note_facts(dt_checkpoint *c, const json_t *json, const dt_model_config *config)
{
#define INT(field, key, initial, extension)                                                                  \
    if (json_object_get(json, key))                                                                          \
        dt_open_fact(c, key, config->field);
#define REAL(field, key, initial, extension)
#define BOOL(field, key, initial, extension)
#define ENUM(field, key, type, initial, extension)
#include <drivetrain/config.def>
}

/* What a spec decides and no configuration says: whether a projector has a norm; and what it takes, to be checked. */
static void look_at_projector(dt_checkpoint *c, dt_model_config *projector)
{
    static const char *const first[] = {"encoder.linear_fc1.weight", "encoder.weight"};
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const dt_stored_tensor *s = dt_stored_set_at(c->set, i);
        const char *name = strstr(s->name, "vision_projection.");
        if (!name)
            continue;
        name += strlen("vision_projection.");
        projector->projector_norm |= strcmp(name, "encoder.linear_fc1.layer_norm_weight") == 0;
        for (int k = 0; k < 2; k++)
            if (strcmp(name, first[k]) == 0 && s->shape.rank == 2)
                projector->input_size = s->shape.dim[1];
    }
}

static dt_status use_run(dt_checkpoint *c, const json_t *args, dt_error *err)
{
    json_t *json = NULL;
    DT_PASS(dt_megatron_of_multimodal_run(&json, args, err));
    dt_status status = dt_megatron_use_config(c, json, err);
    json_decref(json);
    return status;
}

dt_status dt_megatron_use_config(dt_checkpoint *c, const json_t *json, dt_error *err)
{
    const char *type = NULL;
    DT_PASS(dt_megatron_family(c->set, &type, err));
    if (strcmp(type, "llava") == 0 && dt_megatron_is_multimodal_run(json))
        return use_run(c, json, err);
    if (!dt_megatron_is_llava(json)) {
        DT_PASS(dt_megatron_read_model(json, type, &c->config, &c->parts, err));
        note_facts(c, json, &c->config);
        return DT_OK;
    }
    DT_PASS(dt_megatron_read_llava(json, &c->config, &c->parts, err));
    look_at_projector(c, &c->parts.projection);
    note_facts(c, json_object_get(json, "language"), &c->config);
    note_facts(c, json, &c->parts.vision);
    note_facts(c, json_object_get(json, "vision"), &c->parts.vision);
    return DT_OK;
}

dt_status dt_megatron_load_config(dt_checkpoint *c, const char *path, dt_error *err)
{
    json_t *json = NULL;
    c->config_file = path;
    DT_PASS(dt_json_load(&json, path, CONFIG_LIMIT, err));
    dt_status status = dt_megatron_use_config(c, json, err);
    json_decref(json);
    if (status != DT_OK)
        dt_error_while(err, "while reading %s", path);
    return status;
}

dt_status dt_megatron_any_config(dt_checkpoint *c, const dt_open_options *options, const json_t *args,
                                 dt_error *err)
{
    if (options->config) {
        const char *path = dt_arena_text(c->arena, options->config);
        return path ? dt_megatron_load_config(c, path, err) : dt_fail_memory(err, PATH_BYTES, "a path");
    }
    if (args)
        DT_TRY(dt_megatron_use_config(c, args, err), err, "while reading %s", c->config_file);
    else {
        dt_fail(err, DT_NOT_FOUND, "the checkpoint holds no arguments (\"args\") that describe the model");
        dt_error_try(err, "--config FILE, a config.json with Megatron's field names");
        return DT_NOT_FOUND;
    }
    return DT_OK;
}

const dt_stored_tensor *dt_megatron_embedding(const dt_stored_set *set, const char *prefix)
{
    static const char *const below[] = {"", "language_model."};
    char name[PATH_BYTES];
    const dt_stored_tensor *found = NULL;
    for (int i = 0; i < 2 && !found; i++) {
        snprintf(name, sizeof name, "%s%sembedding.word_embeddings.weight", prefix, below[i]);
        found = dt_stored_set_find(set, name);
    }
    return found;
}

void dt_megatron_use_vocabulary(dt_checkpoint *c, const dt_stored_tensor *embedding, int64_t ranks)
{
    int64_t rows;
    if (!embedding || embedding->shape.rank != 2 ||
        __builtin_mul_overflow(embedding->shape.dim[0], ranks, &rows))
        return;
    c->config.padded_vocab_size = rows;
    if (c->config.vocab_size <= 0)
        c->config.vocab_size = rows;
}

dt_status dt_megatron_state_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    const char *state = dt_open_path(c, c->path, "state.safetensors");
    const char *config =
        options->config ? dt_arena_text(c->arena, options->config) : dt_open_path(c, c->path, "config.json");
    if (!state || !config)
        return dt_fail_memory(err, PATH_BYTES, "a path");
    DT_TRY(dt_safetensors_read(c->set, state, err), err, "while reading %s", state);
    DT_PASS(dt_megatron_load_config(c, config, err));
    if (c->config.padded_vocab_size <= 0)
        dt_megatron_use_vocabulary(c, dt_megatron_embedding(c->set, ""), 1);
    dt_megatron_use_class_tokens(c);
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(dt_megatron_map(&c->config, c->set, "", DT_SPELL_TE, c->mapping, err));
    return dt_open_bind_names(c, &dt_megatron_names, "", NULL, err);
}

/* ---- writing ---- */

/* T5's modules that are registered twice are stored twice, where stock Megatron is to load them. */
static dt_status list_entries(const dt_checkpoint *c, const dt_mapping *m, dt_arena *arena,
                              dt_export_plan *plan, dt_error *err)
{
    int count = dt_mapping_external_count(m);
    bool stock = !dt_config_beyond_megatron(&c->config, 0) && strcmp(c->config.model_type, "t5") == 0;
    dt_export_entry *entry = DT_NEW_ARRAY(arena, dt_export_entry, count + dt_megatron_names.copy_count);
    if (!entry)
        return dt_fail_memory(err, sizeof *entry * (size_t)count, "the tensors to write");
    for (int i = 0; i < count; i++)
        entry[i] = (dt_export_entry){.name = dt_mapping_external_at(m, i)->name, .external = i};
    for (int i = 0; stock && i < dt_megatron_names.copy_count; i++) {
        const dt_name_copy *copy = &dt_megatron_names.copy[i];
        int of = dt_mapping_find_external(m, copy->of);
        if (of >= 0 && strcmp(copy->of, "embedding.word_embeddings.weight") != 0)
            entry[count++] = (dt_export_entry){.name = copy->name, .external = of};
    }
    plan->entry = entry;
    plan->entry_count = count;
    return DT_OK;
}

static dt_status plan_state(const dt_checkpoint *c, const dt_export_options *o, dt_arena *arena,
                            dt_export_plan *plan, dt_error *err)
{
    static const char *const notes[] = {"format", "megatron-state"};
    int count = dt_mapping_count(c->mapping);
    dt_param_spec *spec = DT_NEW_ARRAY(arena, dt_param_spec, count + 1);
    dt_export_file *file = DT_NEW(arena, dt_export_file);
    if (!spec || !file)
        return dt_fail_memory(err, sizeof *spec * (size_t)count, "the tensors to write");
    for (int i = 0; i < count; i++)
        spec[i] = *dt_mapping_at(c->mapping, i)->spec;
    DT_PASS(dt_mapping_create(&plan->mapping, arena, spec, count, err));
    DT_PASS(dt_megatron_map(&c->config, NULL, "", o->local_names ? DT_SPELL_LOCAL : DT_SPELL_TE,
                            plan->mapping, err));
    DT_PASS(dt_export_types(c, plan->mapping, o, arena, &plan->dtype, err));
    DT_PASS(list_entries(c, plan->mapping, arena, plan, err));
    DT_PASS(dt_export_fp8(o, arena, plan, err));
    *file = (dt_export_file){"state.safetensors", 0, plan->entry_count};
    plan->file = file;
    plan->file_count = 1;
    plan->notes = notes;
    plan->note_count = 1;
    return DT_OK;
}

static dt_status write_config(const dt_checkpoint *c, const char *folder, dt_export_result *result,
                              dt_error *err)
{
    char path[PATH_BYTES];
    json_t *json = NULL;
    snprintf(path, sizeof path, "%s/config.json", folder);
    dt_status status = dt_megatron_write_config(&c->config, &json, err);
    if (status == DT_OK)
        status = dt_export_labels(c, json, err);
    if (status == DT_OK)
        status = dt_json_save(json, path, err);
    json_decref(json);
    result->files++;
    return status;
}

dt_status dt_megatron_state_write(const dt_checkpoint *c, const char *path, const dt_export_options *o,
                                  dt_export_result *result, dt_error *err)
{
    dt_export_plan plan = {0};
    dt_output_folder *folder = NULL;
    dt_arena *arena = dt_arena_create();
    dt_status status = arena ? DT_OK : dt_fail_memory(err, 4096, "an export");
    if (status != DT_OK)
        return status;
    DT_GO(status, plan_state(c, o, arena, &plan, err));
    DT_GO(status, dt_output_folder_create(&folder, path, o->replace, err));
    DT_GO(status, dt_export_tensors(c, dt_output_folder_path(folder), &plan, o, result, err));
    DT_GO(status, write_config(c, dt_output_folder_path(folder), result, err));
    DT_GO(status, dt_export_tokenizer(c, dt_output_folder_path(folder), result, err));
    status = dt_output_folder_commit(folder, err);
    folder = NULL;
done:
    dt_output_folder_discard(folder);
    dt_arena_destroy(arena);
    return status;
}
