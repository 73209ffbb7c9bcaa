/*
 * embed_options.c - what sentence-transformers' files beside a model say of pooling: modules.json lists the steps behind
 * the encoder, and 1_Pooling/config.json which pooling it is. What drivetrain does not do is an error, never a guess.
 */
#include "base/arena.h"
#include "base/json.h"
#include "base/output.h"
#include "base/text.h"
#include "inference/embeddings.h"
#include "inference/model.h"

#include <string.h>

enum { MOST_BYTES = 1 << 20 };

static const struct {
    const char *key;
    dt_pooling pooling;
} modes[] = {{"pooling_mode_mean_tokens", DT_POOLING_MEAN}, {"pooling_mode_cls_token", DT_POOLING_CLS}};

/* The one mode that is true; several are concatenated there, which no vector here is. */
static dt_status read_pooling(const json_t *json, dt_pooling *out, dt_error *err)
{
    const char *key;
    json_t *value;
    int count = 0;
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        bool known = false;
        if (!dt_starts_with(key, "pooling_mode_") || !json_is_true(value))
            continue;
        for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
            if (strcmp(modes[i].key, key) == 0) {
                *out = modes[i].pooling;
                known = true;
            }
        if (!known || ++count > 1)
            return dt_fail(err, DT_UNSUPPORTED, "key \"%s\" is true, which drivetrain does not %s", key,
                           known ? "join to another pooling" : "compute (mean and cls it does)");
    }
    return count ? DT_OK : dt_fail(err, DT_FORMAT, "no key \"pooling_mode_…\" is true");
}

static dt_status load_pooling(dt_arena *arena, const char *folder, const char *module, dt_pooling *out,
                              dt_error *err)
{
    json_t *json = NULL;
    if (strchr(module, '/') || strcmp(module, "..") == 0)
        return dt_fail(err, DT_FORMAT, "key \"path\" is \"%s\", which is no folder's name", module);
    const char *path = dt_arena_printf(arena, "%s/%s/config.json", folder, module);
    if (!path)
        return dt_fail_memory(err, 0, "a path");
    DT_PASS(dt_json_load(&json, path, MOST_BYTES, err));
    dt_status status = read_pooling(json, out, err);
    json_decref(json);
    DT_TRY(status, err, "while reading %s", path);
    return DT_OK;
}

/* "sentence_transformers.models.Pooling": by its last word. */
static dt_status read_module(dt_arena *arena, const char *folder, const json_t *module, dt_embed_options *o,
                             dt_error *err)
{
    const char *type = NULL, *path = "";
    if (!json_is_object(module))
        return dt_fail(err, DT_FORMAT, "a module is no object");
    DT_PASS(dt_json_string(module, "type", &type, err));
    DT_PASS(dt_json_string(module, "path", &path, err));
    const char *dot = type ? strrchr(type, '.') : NULL, *word = dot ? dot + 1 : type ? type : "";
    if (strcmp(word, "Transformer") == 0)
        return DT_OK;
    if (strcmp(word, "Pooling") == 0)
        return load_pooling(arena, folder, path, &o->pooling, err);
    if (strcmp(word, "Normalize") != 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"type\" is \"%s\"; drivetrain does Transformer, Pooling and Normalize", word);
    o->normalize = true;
    return DT_OK;
}

static dt_status read_modules(dt_arena *arena, const char *folder, const json_t *list, dt_embed_options *o,
                              dt_error *err)
{
    if (!json_is_array(list))
        return dt_fail(err, DT_FORMAT, "the document is no list of modules");
    for (size_t i = 0; i < json_array_size(list); i++)
        DT_PASS(read_module(arena, folder, json_array_get(list, i), o, err));
    return DT_OK;
}

static dt_status load(dt_arena *arena, const char *folder, dt_embed_options *o, dt_error *err)
{
    json_t *list = NULL;
    const char *path = arena ? dt_arena_printf(arena, "%s/modules.json", folder) : NULL;
    if (!path)
        return dt_fail_memory(err, 0, "a path");
    if (!dt_is_file(path))
        return DT_OK;
    DT_PASS(dt_json_load(&list, path, MOST_BYTES, err));
    dt_status status = read_modules(arena, folder, list, o, err);
    json_decref(list);
    DT_TRY(status, err, "while reading %s", path);
    return DT_OK;
}

dt_status dt_embed_options_of(const dt_model *model, dt_embed_options *options, dt_error *err)
{
    static const dt_embed_options plain = DT_EMBED_OPTIONS_DEFAULT;
    const char *folder = dt_checkpoint_describe(model->checkpoint).path;
    *options = plain;
    const dt_model_config *tower = dt_config_is_tower(model->config) ? model->config : model->config->vision;
    if (tower)
        options->pooling = dt_tower_pooling(tower);
    if (tower && tower != model->config && options->pooling == DT_POOLING_PROJECTION)
        options->pooling = DT_POOLING_POOLER; /* below a language model, it projects nothing */
    if (model->config->text_pooling != DT_TEXT_POOL_NONE)
        options->pooling = dt_text_tower_pooling(model->config);
    if (!folder)
        return DT_OK;
    dt_arena *arena = dt_arena_create();
    dt_status status = load(arena, folder, options, err);
    dt_arena_destroy(arena);
    return status;
}
