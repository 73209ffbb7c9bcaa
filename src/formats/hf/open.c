/*
 * open.c (hf) - opens a Hugging Face folder: configuration, weight files, and what ties them.
 *
 * Containers are read by safetensors/ and torch/; what keys mean is for families.c and the families' own files;
 * binding and accounting is bind.c's.
 */
#include "base/json.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/hf/compound.h"
#include "formats/open.h"
#include "formats/safetensors/safetensors.h"
#include "formats/torch/torch.h"

#include <stdio.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20, PATH_BYTES = 4096, NAME_BYTES = 512 };

static dt_status read_bin_index(dt_stored_set *set, const char *path, dt_error *err);

static dt_status read_bin(dt_stored_set *set, const char *path, dt_error *err)
{
    return dt_torch_read(set, path, "", err);
}

/* In transformers' own order of preference. */
static const struct {
    const char *name;
    dt_status (*read)(dt_stored_set *set, const char *path, dt_error *err);
} weights[] = {
    {"model.safetensors", dt_safetensors_read},
    {"model.safetensors.index.json", dt_safetensors_read_index},
    {"pytorch_model.bin", read_bin},
    {"pytorch_model.bin.index.json", read_bin_index},
};

enum { WEIGHT_FILES = sizeof weights / sizeof weights[0] };

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_BYTES];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < PATH_BYTES && dt_is_file(path);
}

bool dt_hf_detect(const char *path)
{
    bool found = false;
    for (int i = 0; i < WEIGHT_FILES; i++)
        found = found || has_file(path, weights[i].name);
    return found && has_file(path, "config.json");
}

static dt_status read_weights(dt_checkpoint *c, dt_error *err)
{
    for (int i = 0; i < WEIGHT_FILES; i++)
        if (has_file(c->path, weights[i].name)) {
            const char *path = dt_open_path(c, c->path, weights[i].name);
            if (!path)
                return dt_fail_memory(err, PATH_BYTES, "a path");
            DT_TRY(weights[i].read(c->set, path, err), err, "while reading %s", path);
            return DT_OK;
        }
    return dt_fail(err, DT_NOT_FOUND, "%s has no model.safetensors, pytorch_model.bin or their index",
                   c->path);
}

/* The shards of pytorch_model.bin.index.json, each once. */
static dt_status read_bin_index(dt_stored_set *set, const char *path, dt_error *err)
{
    json_t *index = NULL, *done = json_object(), *value;
    const char *name, *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) : 0;
    dt_status status = done ? DT_OK : dt_fail_memory(err, 64, "an index");
    if (status == DT_OK)
        status = dt_json_load(&index, path, CONFIG_LIMIT * 4, err);
    json_t *map = dt_json_get(index, "weight_map");
    if (status == DT_OK && !json_is_object(map))
        status = dt_fail(err, DT_FORMAT, "%s has no object \"weight_map\"", path);
    json_object_foreach(map, name, value)
    {
        const char *file = json_string_value(value);
        char full[PATH_BYTES];
        if (status != DT_OK || (file && json_object_get(done, file)))
            continue;
        if (!file || !file[0] || strchr(file, '/') || strcmp(file, "..") == 0 ||
            snprintf(full, sizeof full, "%.*s/%s", folder, path, file) >= PATH_BYTES) {
            status = dt_fail(err, DT_FORMAT, "%s: tensor \"%s\" lies in \"%s\", which is no file name", path,
                             name, file ? file : "?");
            continue;
        }
        status = read_bin(set, full, err);
        if (status != DT_OK)
            dt_error_while(err, "while reading %s", full);
        else if (json_object_set_new(done, file, json_true()))
            status = dt_fail_memory(err, 64, "an index");
    }
    json_decref(index);
    json_decref(done);
    return status;
}

/* ---- what the tensors say ---- */

/* Are two tensors there, and different? */
static dt_status differ(const dt_stored_tensor *a, const dt_stored_tensor *b, bool *yes, dt_error *err)
{
    bool same = true;
    if (a && b && a != b)
        DT_PASS(dt_stored_same(a, b, &same, err));
    *yes = !same;
    return DT_OK;
}

/* The stored tensor that a canonical one is made of (the first of several), or NULL. */
static const dt_stored_tensor *find_canonical(const dt_checkpoint *c, const dt_name_table *names,
                                              const char *canonical)
{
    dt_model_config plain;
    int64_t numbers[2];
    int count;
    char name[NAME_BYTES];
    dt_config_init(&plain);
    const dt_name_row *row = dt_names_row(names, canonical, &plain, numbers, &count);
    return row && dt_names_fill(name, sizeof name, row->external[0], numbers, count)
               ? dt_open_find(c, names, "", name)
               : NULL;
}

/* A stack's table of tokens, or the one that both share. */
static const dt_stored_tensor *table_of(const dt_checkpoint *c, const dt_name_table *names, const char *stack)
{
    static const char *const prefix[] = {"model.", ""};
    char name[64];
    const dt_stored_tensor *found = NULL;
    for (int i = 0; i < 2 && !found; i++) {
        snprintf(name, sizeof name, "%s%s.embed_tokens.weight", prefix[i], stack);
        found = dt_stored_set_find(c->set, name);
    }
    return found ? found : find_canonical(c, names, "embedding.word_embeddings.weight");
}

/* Three numbers that a model stores beside its weights; NULL where it has none of that name. */
static dt_status read_triple(const dt_checkpoint *c, const char *name, const float **out, dt_error *err)
{
    const dt_stored_tensor *t = dt_stored_set_find(c->set, name);
    int64_t n;
    *out = NULL;
    if (!t)
        return DT_OK;
    if (t->unsupported || !dt_shape_elements(&t->shape, &n) || n != 3)
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" is %s, expected three numbers", name,
                       dt_shape_print(&t->shape).text);
    float *kept = DT_NEW_ARRAY(c->arena, float, 3);
    if (!kept)
        return dt_fail_memory(err, 3 * sizeof *kept, name);
    *out = kept;
    return dt_stored_read(t, NULL, DT_F32, kept, NULL, err);
}

static dt_status gather_evidence(const dt_checkpoint *c, const dt_name_table *names, dt_hf_evidence *evidence,
                                 dt_error *err)
{
    const dt_stored_tensor *table = table_of(c, names, "decoder");
    const dt_stored_tensor *head = find_canonical(c, names, "output_layer.weight");
    if (!head)
        head = dt_stored_set_find(c->set, "lm_head.weight");
    *evidence =
        (dt_hf_evidence){.head_bias = dt_stored_set_find(c->set, "final_logits_bias"),
                         .pooler = find_canonical(c, names, "pooler.dense.weight"),
                         .lm_head = find_canonical(c, names, "lm_head.dense.weight"),
                         .binary_head = find_canonical(c, names, "binary_head.weight"),
                         .projection = find_canonical(c, names, "x_projection.weight"),
                         .classifier = find_canonical(c, names, "x_classifier.weight"),
                         .attention_pooling = find_canonical(c, names, "x_head.probe"),
                         .text_projection = find_canonical(c, names, "text_model.x_projection.weight"),
                         .mask_token = find_canonical(c, names, "mask_token"),
                         .layer_scale = find_canonical(c, names, "decoder.layers.0.ls1")};
    DT_PASS(read_triple(c, "radio_model.input_conditioner.norm_mean", &evidence->pixel_mean, err));
    DT_PASS(read_triple(c, "radio_model.input_conditioner.norm_std", &evidence->pixel_std, err));
    DT_PASS(differ(head, table, &evidence->head, err));
    DT_PASS(differ(table_of(c, names, "encoder"), table, &evidence->encoder_table, err));
    for (size_t i = 0; i < dt_stored_set_count(c->set); i++) {
        const char *name = dt_stored_set_at(c->set, i)->name;
        evidence->decoder |= dt_starts_with(name, "decoder.block.");
        evidence->positions |= dt_names_fit("*encoder.embed_positions.weight", name);
    }
    return DT_OK;
}

/* The class's names; or, where each layer's experts lie in one tensor although the class writes one an expert, those. */
static const dt_name_table *names_of(const dt_checkpoint *c, const dt_hf_family *family)
{
    dt_model_config plain;
    int64_t numbers[2];
    int count;
    dt_config_init(&plain);
    const dt_name_row *fc1 = dt_names_row(
        family->names, "decoder.layers.0.mlp.experts.experts.linear_fc1.weight", &plain, numbers, &count);
    bool fused = false;
    for (size_t i = 0; fc1 && fc1->transform == DT_MAP_expert_join && i < dt_stored_set_count(c->set); i++)
        fused |= dt_names_fit("*.mlp.experts.gate_up_proj", dt_stored_set_at(c->set, i)->name);
    return fused ? dt_hf_fused_expert_names() : family->names;
}

/* ---- models of several ---- */

/* The first place of a member where its probe is found; the first of all where none is, so that what is missing is named. */
static dt_status find_place(const dt_checkpoint *c, const dt_name_table *names, const dt_hf_member *member,
                            int *place, dt_name_table *at, dt_error *err)
{
    for (*place = 0; *place < DT_HF_PLACES && member->place[*place].inside; (*place)++) {
        DT_PASS(dt_hf_names_at(names, &member->place[*place], c->arena, at, err));
        if (find_canonical(c, at, member->probe))
            return DT_OK;
    }
    *place = 0;
    return dt_hf_names_at(names, &member->place[0], c->arena, at, err);
}

/* A text model's evidence, a tower's in `vision`, and the table of all names. */
static dt_status gather_members(dt_checkpoint *c, const dt_hf_family *family, const json_t *json,
                                dt_hf_evidence *evidence, dt_hf_evidence *vision, const dt_name_table **names,
                                dt_error *err)
{
    const struct dt_hf_compound *k = family->compound;
    dt_name_table at;
    dt_hf_members m;
    DT_PASS(dt_hf_find_members(family, json, &m, err));
    m.text_names = names_of(c, m.text);
    m.vision_names = names_of(c, m.vision);
    DT_PASS(find_place(c, family->names, &k->own, &m.own_place, &at, err));
    DT_PASS(find_place(c, m.vision_names, &k->vision, &m.vision_place, &at, err));
    DT_PASS(gather_evidence(c, &at, vision, err));
    DT_PASS(find_place(c, m.text_names, &k->text, &m.text_place, &at, err));
    DT_PASS(gather_evidence(c, &at, evidence, err));
    evidence->vision = vision;
    return dt_hf_compose(family, &m, c->arena, names, err);
}

/* ---- */

static void note_facts(dt_checkpoint *c, const dt_hf_family *family, const dt_model_config *config)
{
    for (int i = 0; family && i < family->key_count; i++)
        if (family->key[i].kind == DT_HF_INT)
            dt_open_fact(c, family->key[i].key,
                         *(const int64_t *)((const char *)config + family->key[i].offset));
}

static dt_status open_with(dt_checkpoint *c, const json_t *json, const json_t *generation, dt_error *err)
{
    const dt_hf_family *family = NULL;
    dt_hf_evidence evidence, vision;
    DT_PASS(dt_hf_family_of(json, &family, err));
    DT_PASS(read_weights(c, err));
    const dt_name_table *names = names_of(c, family);
    if (family->compound)
        DT_TRY(gather_members(c, family, json, &evidence, &vision, &names, err), err, "while reading %s",
               c->config_file);
    else
        DT_PASS(gather_evidence(c, names, &evidence, err));
    DT_TRY(dt_hf_read_config(family, json, generation, &evidence, &c->config, &c->parts, err), err,
           "while reading %s", c->config_file);
    note_facts(c, family, &c->config);
    note_facts(c, dt_hf_family_find(c->config.text_family), &c->config);
    if (c->config.vision)
        note_facts(c, dt_hf_family_find(c->parts.vision.family), &c->parts.vision);
    DT_PASS(dt_open_parameters(c, err));
    DT_PASS(dt_names_map(c->mapping, names, &c->config, err));
    return dt_open_bind_names(c, names, "", NULL, err);
}

dt_status dt_hf_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    json_t *json = NULL, *generation = NULL;
    const char *path = dt_open_path(c, c->path, "generation_config.json");
    dt_status status = DT_OK;
    c->config_file =
        options->config ? dt_arena_text(c->arena, options->config) : dt_open_path(c, c->path, "config.json");
    if (!path || !c->config_file)
        return dt_fail_memory(err, PATH_BYTES, "a path");
    DT_GO(status, dt_json_load(&json, c->config_file, CONFIG_LIMIT, err));
    if (dt_is_file(path))
        DT_GO(status, dt_json_load(&generation, path, CONFIG_LIMIT, err));
    status = open_with(c, json, generation, err);
done:
    json_decref(json);
    json_decref(generation);
    return status;
}
