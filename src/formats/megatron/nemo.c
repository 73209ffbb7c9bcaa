/*
 * nemo.c (megatron) - NeMo 2's context/model.yaml as flat JSON with Megatron's names.
 *
 * The file lists every field of the model's configuration below "config:". Functions are mappings with a "_target_"
 * (torch.nn.functional.silu), of which the target's name is kept. YAML is parsed by libyaml; anchors and aliases,
 * which can make small files huge, are refused.
 */
#include "base/json.h"
#include "base/map.h"
#include "formats/megatron/megatron.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#ifdef DT_HAVE_YAML
#include <yaml.h>

enum { YAML_BYTES = 4 << 20, YAML_DEPTH = 32 };

/* A plain scalar by YAML's usual rules: null, booleans, numbers, else text. */
static json_t *plain_scalar(const char *text, size_t bytes)
{
    char *end;
    if (bytes == 0 || strcmp(text, "null") == 0 || strcmp(text, "~") == 0)
        return json_null();
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return json_boolean(text[0] == 't');
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (*end == 0 && errno == 0)
        return json_integer(whole);
    double real = strtod(text, &end);
    if (*end == 0 && strspn(text, "+-.0123456789eE") == bytes)
        return json_real(real);
    return json_stringn(text, bytes);
}

/* The mapping of the file: depth and key of the value that comes next. */
typedef struct yaml_reader {
    yaml_parser_t parser;
    json_t *open[YAML_DEPTH]; /* containers from the outside in, borrowed */
    char *key[YAML_DEPTH];    /* the mapping's key whose value is awaited, or NULL */
    int depth;
    json_t *root;
} yaml_reader;

/* Put a value where it belongs; takes it over. */
static dt_status place_value(yaml_reader *r, json_t *value, dt_error *err)
{
    int failed = value == NULL;
    if (r->depth == 0 && r->root) {
        json_decref(value);
        return dt_fail(err, DT_FORMAT, "more than one document");
    } else if (r->depth == 0) {
        r->root = value;
    } else if (json_is_array(r->open[r->depth - 1])) {
        failed |= json_array_append_new(r->open[r->depth - 1], value);
    } else {
        failed |= json_object_set_new(r->open[r->depth - 1], r->key[r->depth - 1], value);
        free(r->key[r->depth - 1]);
        r->key[r->depth - 1] = NULL;
    }
    return failed ? dt_fail_memory(err, 64, "a value of a configuration") : DT_OK;
}

static dt_status on_scalar(yaml_reader *r, const yaml_event_t *e, dt_error *err)
{
    const char *text = (const char *)e->data.scalar.value;
    if (r->depth && json_is_object(r->open[r->depth - 1]) && !r->key[r->depth - 1]) {
        r->key[r->depth - 1] = strdup(text);
        return r->key[r->depth - 1] ? DT_OK : dt_fail_memory(err, e->data.scalar.length, "a YAML key");
    }
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return place_value(
        r, plain ? plain_scalar(text, e->data.scalar.length) : json_stringn(text, e->data.scalar.length),
        err);
}

static dt_status on_start(yaml_reader *r, json_t *container, dt_error *err)
{
    if (r->depth == YAML_DEPTH ||
        (r->depth && json_is_object(r->open[r->depth - 1]) && !r->key[r->depth - 1])) {
        json_decref(container);
        return dt_fail(err, DT_LIMIT, "nested deeper than %d, or a key that is no text", YAML_DEPTH);
    }
    DT_PASS(place_value(r, container, err));
    r->open[r->depth++] = container;
    return DT_OK;
}

static dt_status on_event(yaml_reader *r, const yaml_event_t *e, dt_error *err)
{
    const yaml_char_t *anchor = e->type == YAML_SCALAR_EVENT           ? e->data.scalar.anchor
                                : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.anchor
                                : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.anchor
                                                                       : NULL;
    if (anchor || e->type == YAML_ALIAS_EVENT)
        return dt_fail(err, DT_UNSUPPORTED, "anchors and aliases are not read");
    if (e->type == YAML_SCALAR_EVENT)
        return on_scalar(r, e, err);
    if (e->type == YAML_MAPPING_START_EVENT)
        return on_start(r, json_object(), err);
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return on_start(r, json_array(), err);
    if (e->type == YAML_MAPPING_END_EVENT || e->type == YAML_SEQUENCE_END_EVENT)
        r->depth--;
    return DT_OK;
}

dt_status dt_nemo_parse(json_t **out, const char *text, size_t bytes, dt_error *err)
{
    yaml_reader r = {.depth = 0};
    dt_status status = DT_OK;
    bool done = false;
    *out = NULL;
    if (!yaml_parser_initialize(&r.parser))
        return dt_fail_memory(err, bytes, "a YAML parser");
    if (!bytes)
        text = ""; /* an empty map has no address, which libyaml would answer by aborting */
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, bytes);
    while (status == DT_OK && !done) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r.parser, &event)) {
            status = dt_fail(err, DT_FORMAT, "line %zu: %s", r.parser.problem_mark.line + 1,
                             r.parser.problem ? r.parser.problem : "not YAML");
            break;
        }
        done = event.type == YAML_STREAM_END_EVENT;
        status = on_event(&r, &event, err);
        yaml_event_delete(&event);
    }
    for (int i = 0; i < YAML_DEPTH; i++)
        free(r.key[i]);
    yaml_parser_delete(&r.parser);
    if (status == DT_OK)
        *out = r.root;
    else
        json_decref(r.root);
    return status;
}

/* Values that name a function become its name; other nested values are left out. */
static dt_status flatten(json_t *config, json_t **out, dt_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(config))
        return dt_fail(err, DT_FORMAT, "there is no mapping \"config\"");
    if (!(*out = json_object()))
        return dt_fail_memory(err, 64, "a configuration");
    json_object_foreach(config, key, value)
    {
        json_t *flat = json_is_object(value) ? json_object_get(value, "_target_") : value;
        if (flat && json_object_set(*out, key, flat))
            return dt_fail_memory(err, 64, "a configuration");
    }
    return DT_OK;
}

dt_status dt_nemo_config(json_t **out, const char *path, dt_error *err)
{
    dt_map map;
    json_t *root = NULL;
    *out = NULL;
    DT_PASS(dt_map_open(&map, path, err));
    dt_status status = map.size > YAML_BYTES
                           ? dt_fail(err, DT_LIMIT, "%zu bytes, at most %d are read", map.size, YAML_BYTES)
                           : dt_nemo_parse(&root, (const char *)map.data, map.size, err);
    dt_map_close(&map);
    if (status == DT_OK)
        status = flatten(json_object_get(root, "config"), out, err);
    json_decref(root);
    if (status != DT_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

#else

dt_status dt_nemo_parse(json_t **out, const char *text, size_t bytes, dt_error *err)
{
    (void)text;
    (void)bytes;
    *out = NULL;
    return dt_fail(err, DT_UNSUPPORTED, "this drivetrain was built without libyaml");
}

dt_status dt_nemo_config(json_t **out, const char *path, dt_error *err)
{
    *out = NULL;
    dt_fail(err, DT_UNSUPPORTED, "%s cannot be read: this drivetrain was built without libyaml", path);
    dt_error_try(err, "--config FILE, a config.json with Megatron's field names");
    return DT_UNSUPPORTED;
}

#endif
