/*
 * folder.c (megatron) - finds the folder of one iteration, and turns what a run saved beside its weights (arguments)
 * into flat JSON for config.c.
 */
#include "base/output.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, TRACKER_BYTES = 64, ARGUMENT_LIMIT = 4096 };

/* "12345" → iter_0012345, "release" → release; false for anything else: the text becomes part of a path. */
static bool iteration_folder(const char *text, size_t bytes, char out[64])
{
    while (bytes && (text[bytes - 1] == '\n' || text[bytes - 1] == '\r' || text[bytes - 1] == ' '))
        bytes--;
    if (bytes == 7 && memcmp(text, "release", 7) == 0) {
        strcpy(out, "release");
        return true;
    }
    long long number = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9' || bytes > 12)
            return false;
        number = number * 10 + (text[i] - '0');
    }
    snprintf(out, 64, "iter_%07lld", number);
    return bytes > 0;
}

bool dt_megatron_resolve(const char *path, char out[], size_t bytes)
{
    char tracker[PATH_BYTES], folder[64], text[TRACKER_BYTES + 1];
    if ((size_t)snprintf(out, bytes, "%s", path) >= bytes ||
        snprintf(tracker, sizeof tracker, "%s/latest_checkpointed_iteration.txt", path) >= PATH_BYTES)
        return false;
    if (!dt_is_file(tracker))
        return dt_is_folder(path);
    int file = open(tracker, O_RDONLY | O_CLOEXEC); /* not mapped: detection cannot run out of memory */
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text);
    if (file >= 0)
        close(file);
    return length >= 0 && length <= TRACKER_BYTES && iteration_folder(text, (size_t)length, folder) &&
           (size_t)snprintf(out, bytes, "%s/%s", path, folder) < bytes && dt_is_folder(out);
}

/* ---- arguments ---- */

static bool is_plain(const dt_value *v)
{
    return v->kind == DT_VALUE_BOOL || v->kind == DT_VALUE_INT || v->kind == DT_VALUE_TEXT ||
           (v->kind == DT_VALUE_REAL && isfinite(v->real)) ||
           (dt_value_is_sequence(v) && v->list.count <= DT_MAX_LAYERS);
}

static json_t *plain_object(const dt_value *map);

/* NULL when memory is short. */
static json_t *plain_value(const dt_value *v)
{
    if (v->kind == DT_VALUE_DICT)
        return plain_object(v);
    if (v->kind == DT_VALUE_BOOL)
        return json_boolean(v->truth);
    if (v->kind == DT_VALUE_INT)
        return json_integer(v->integer);
    if (v->kind == DT_VALUE_REAL)
        return json_real(v->real);
    if (v->kind == DT_VALUE_TEXT)
        return json_stringn(v->text.data, v->text.bytes);
    json_t *list = json_array();
    int failed = list == NULL;
    for (uint32_t i = 0; !failed && i < v->list.count; i++) {
        const dt_value *item = v->list.item[i];
        failed = json_array_append_new(list, dt_value_is(item, DT_VALUE_INT)    ? json_integer(item->integer)
                                             : dt_value_is(item, DT_VALUE_REAL) ? json_real(item->real)
                                             : dt_value_is(item, DT_VALUE_BOOL) ? json_boolean(item->truth)
                                                                                : json_null());
    }
    if (!failed)
        return list;
    json_decref(list);
    return NULL;
}

/* A dict of plain values; what is not plain, and a dict within it, is left out. NULL when memory is short. */
static json_t *plain_object(const dt_value *map)
{
    json_t *json = json_object();
    int failed = json == NULL;
    for (uint32_t i = 0; !failed && i + 1 < map->list.count && i < ARGUMENT_LIMIT; i += 2) {
        const dt_value *key = map->list.item[i], *value = map->list.item[i + 1];
        if (dt_value_is(key, DT_VALUE_TEXT) && is_plain(value))
            failed = json_object_setn_new(json, key->text.data, key->text.bytes, plain_value(value));
    }
    if (!failed)
        return json;
    json_decref(json);
    return NULL;
}

dt_status dt_megatron_arguments(json_t **out, const dt_value *args, dt_error *err)
{
    const dt_value *map = dt_value_is(args, DT_VALUE_DICT) ? args : args ? dt_value_attributes(args) : NULL;
    *out = NULL;
    if (!dt_value_is(map, DT_VALUE_DICT))
        return DT_OK;
    json_t *json = json_object();
    int failed = json == NULL;
    for (uint32_t i = 0; !failed && i + 1 < map->list.count && i < ARGUMENT_LIMIT; i += 2) {
        const dt_value *key = map->list.item[i], *value = map->list.item[i + 1];
        if (dt_value_is(key, DT_VALUE_TEXT) && (is_plain(value) || dt_value_is(value, DT_VALUE_DICT)))
            failed = json_object_setn_new(json, key->text.data, key->text.bytes, plain_value(value));
    }
    if (!failed) {
        *out = json;
        return DT_OK;
    }
    json_decref(json);
    return dt_fail_memory(err, map->list.count, "the arguments of a training run");
}
