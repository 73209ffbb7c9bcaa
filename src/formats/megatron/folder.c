/*
 * folder.c (megatron) - finds the folder of one iteration, and turns what a run saved beside its weights (arguments)
 * into flat JSON for config.c.
 */
#include "base/map.h"
#include "base/output.h"
#include "base/text.h"
#include "formats/megatron/megatron.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    char tracker[PATH_BYTES], folder[64];
    dt_map map;
    if ((size_t)snprintf(out, bytes, "%s", path) >= bytes ||
        snprintf(tracker, sizeof tracker, "%s/latest_checkpointed_iteration.txt", path) >= PATH_BYTES)
        return false;
    if (!dt_is_file(tracker))
        return dt_is_folder(path);
    if (dt_map_open(&map, tracker, NULL) != DT_OK)
        return false;
    bool ok = map.size <= TRACKER_BYTES && iteration_folder((const char *)map.data, map.size, folder);
    dt_map_close(&map);
    return ok && (size_t)snprintf(out, bytes, "%s/%s", path, folder) < bytes && dt_is_folder(out);
}

/* ---- arguments ---- */

static json_t *plain_value(const dt_value *v)
{
    if (v->kind == DT_VALUE_BOOL)
        return json_boolean(v->truth);
    if (v->kind == DT_VALUE_INT)
        return json_integer(v->integer);
    if (v->kind == DT_VALUE_REAL)
        return json_real(v->real); /* NULL for NaN: left out */
    if (v->kind == DT_VALUE_TEXT)
        return json_stringn(v->text.data, v->text.bytes);
    if (!dt_value_is_sequence(v) || v->list.count > DT_MAX_LAYERS)
        return NULL;
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < v->list.count; i++) {
        const dt_value *item = v->list.item[i];
        json_array_append_new(list,
                              dt_value_is(item, DT_VALUE_INT) ? json_integer(item->integer) : json_null());
    }
    return list;
}

json_t *dt_megatron_arguments(const dt_value *args)
{
    const dt_value *map = dt_value_is(args, DT_VALUE_DICT) ? args : args ? dt_value_attributes(args) : NULL;
    json_t *json = dt_value_is(map, DT_VALUE_DICT) ? json_object() : NULL;
    for (uint32_t i = 0; json && i + 1 < map->list.count && i < ARGUMENT_LIMIT; i += 2) {
        const dt_value *key = map->list.item[i];
        json_t *value = plain_value(map->list.item[i + 1]);
        if (value && dt_value_is(key, DT_VALUE_TEXT))
            json_object_setn_new(json, key->text.data, key->text.bytes, value);
        else
            json_decref(value);
    }
    return json;
}
