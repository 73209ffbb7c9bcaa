/*
 * engine.c (formats) - opens an engine as a checkpoint that can be run and inspected, but not read by rows.
 */
#include "formats/engine/engine.h"

#include "base/json.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"
#include "formats/open.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DOCUMENT_LIMIT = 16 << 20, ENTRY_BYTES = 512 };

bool dt_engine_detect(const char *path)
{
    return dt_bundle_is(path);
}

bool dt_engine_entry(char *out, size_t bytes, const char *name, const char *form)
{
    int length = snprintf(out, bytes, "weights/%s/%s", form, name);
    return length > 0 && (size_t)length < bytes;
}

static dt_status document(const dt_checkpoint *c, const char *name, json_t **out, dt_error *err)
{
    size_t bytes;
    const char *text = dt_bundle_find(c->bundle, name, &bytes);
    if (!text || bytes > DOCUMENT_LIMIT)
        return dt_fail(err, DT_FORMAT, "%s has no \"%s\": a bundle, but no engine", c->path, name);
    return dt_json_parse(out, text, bytes, name, err);
}

/* Versions differ in forms and configurations: another one's engine is refused, not guessed at. */
static dt_status read_about(dt_checkpoint *c, const json_t *json, dt_error *err)
{
    const char *dtype = NULL, *isa = NULL, *version = NULL;
    DT_PASS(dt_json_string(json, "drivetrain", &version, err));
    DT_PASS(dt_json_string(json, "isa", &isa, err));
    DT_PASS(dt_json_string(json, "dtype", &dtype, err));
    if (!version || !isa || !dtype || !dt_dtype_parse(dtype, &c->engine_dtype))
        return dt_fail(err, DT_FORMAT, "engine.json lacks one of \"drivetrain\", \"isa\" and \"dtype\"");
    c->engine_version = dt_arena_text(c->arena, version);
    c->engine_isa = dt_arena_text(c->arena, isa);
    if (!c->engine_version || !c->engine_isa)
        return dt_fail_memory(err, 64, "an engine's name");
    snprintf(c->config.written_by, sizeof c->config.written_by, "drivetrain %.40s", version);
    return DT_OK;
}

static dt_status list_weights(dt_checkpoint *c, dt_error *err)
{
    const char *name;
    for (size_t i = 0; (name = dt_bundle_name(c->bundle, i)); i++) {
        size_t bytes;
        const void *data = dt_bundle_find(c->bundle, name, &bytes);
        if (!dt_starts_with(name, "weights/"))
            continue;
        dt_stored_object object = {.name = name, .data = data, .bytes = bytes};
        DT_PASS(dt_stored_set_add_object(c->set, &object, err));
        c->engine_bytes += bytes;
    }
    return DT_OK;
}

/* Every parameter of the model, of which no external tensor is known. */
static dt_status list_parameters(dt_checkpoint *c, dt_error *err)
{
    DT_PASS(dt_open_parameters(c, err));
    for (int i = 0; i < dt_mapping_count(c->mapping); i++)
        dt_mapping_next(c->mapping, err);
    return dt_mapping_finish(c->mapping, err);
}

dt_status dt_engine_open(dt_checkpoint *c, const dt_open_options *options, dt_error *err)
{
    json_t *config = NULL, *about = NULL;
    dt_status status;
    (void)options;
    DT_GO(status, dt_bundle_open(&c->bundle, c->path, err));
    DT_GO(status, document(c, "config.json", &config, err));
    DT_GO(status, document(c, "engine.json", &about, err));
    c->config_file = "config.json";
    const char *type = NULL;
    DT_GO(status, dt_json_string(config, "model_type", &type, err));
    DT_GO(status, dt_megatron_read_model(config, type ? type : "", &c->config, &c->parts, err));
    DT_GO(status, read_about(c, about, err));
    DT_GO(status, list_weights(c, err));
    status = list_parameters(c, err);
done:
    json_decref(config);
    json_decref(about);
    return status;
}

bool dt_checkpoint_engine(const dt_checkpoint *c, dt_engine_about *out)
{
    if (c->bundle)
        *out = (dt_engine_about){c->engine_version, c->engine_isa, c->engine_dtype};
    return c->bundle != NULL;
}

dt_status dt_engine_weight(const dt_checkpoint *c, const char *name, const char *form, size_t bytes,
                           const void **data, dt_error *err)
{
    char entry[ENTRY_BYTES];
    size_t found = 0;
    *data =
        dt_engine_entry(entry, sizeof entry, name, form) ? dt_bundle_find(c->bundle, entry, &found) : NULL;
    if (!*data) {
        dt_fail(err, DT_NOT_FOUND,
                "%s was made by drivetrain %s for %s and %s; it does not hold \"%s\" as \"%s\", which is "
                "what is wanted "
                "here",
                c->path, c->engine_version, c->engine_isa, dt_dtype_name(c->engine_dtype), name, form);
        dt_error_try(err,
                     "drivetrain export MODEL --to engine on this machine, of the model it was made from");
        return DT_NOT_FOUND;
    }
    if (found != bytes)
        return dt_fail(err, DT_FORMAT, "%s: \"%s\" has %zu bytes, %zu are what it takes", c->path, entry,
                       found, bytes);
    return DT_OK;
}
