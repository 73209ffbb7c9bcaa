/*
 * pickle_value.c - looking at the tree that a pickle became. Reads only; allocates only copies asked for.
 */
#include "formats/torch/pickle.h"

#include <string.h>

const char *dt_value_kind_name(dt_value_kind kind)
{
    static const char *const NAMES[] = {"None",   "a bool", "an integer", "an integer",     "a number",
                                        "a text", "bytes",  "a list",     "a tuple",        "a set",
                                        "a dict", "a name", "an object",  "a persistent id"};
    return (size_t)kind < sizeof NAMES / sizeof *NAMES ? NAMES[kind] : "?";
}

bool dt_value_is(const dt_value *value, dt_value_kind kind)
{
    return value && value->kind == kind;
}

bool dt_value_is_text(const dt_value *value, const char *text)
{
    size_t bytes = strlen(text);
    return dt_value_is(value, DT_VALUE_TEXT) && value->text.bytes == bytes &&
           (bytes == 0 || memcmp(value->text.data, text, bytes) == 0);
}

bool dt_value_is_object(const dt_value *value, const char *class_name)
{
    return dt_value_is(value, DT_VALUE_OBJECT) && strcmp(value->object->type->name, class_name) == 0;
}

bool dt_value_is_tensor(const dt_value *value)
{
    return dt_value_is(value, DT_VALUE_OBJECT) && value->object->type->what == DT_GLOBAL_TENSOR;
}

bool dt_value_is_sequence(const dt_value *value)
{
    return dt_value_is(value, DT_VALUE_LIST) || dt_value_is(value, DT_VALUE_TUPLE);
}

const dt_value *dt_value_attributes(const dt_value *object)
{
    if (!dt_value_is(object, DT_VALUE_OBJECT))
        return NULL;
    const dt_value *state = object->object->state;
    if (dt_value_is(state, DT_VALUE_TUPLE) && state->list.count == 2) /* (dict, slots) */
        state = dt_value_is(state->list.item[0], DT_VALUE_DICT) ? state->list.item[0] : state->list.item[1];
    return dt_value_is(state, DT_VALUE_DICT) ? state : NULL;
}

const dt_value *dt_value_get(const dt_value *map, const char *key)
{
    if (dt_value_is(map, DT_VALUE_OBJECT))
        map = dt_value_attributes(map);
    if (!dt_value_is(map, DT_VALUE_DICT))
        return NULL;
    for (uint32_t i = map->list.count; i >= 2; i -= 2) {
        if (dt_value_is_text(map->list.item[i - 2], key))
            return map->list.item[i - 1];
    }
    return NULL;
}

bool dt_value_is_name(const dt_value *value)
{
    return dt_value_is(value, DT_VALUE_TEXT) &&
           !(value->text.bytes && memchr(value->text.data, 0, value->text.bytes));
}

char *dt_value_text(const dt_value *value, dt_arena *arena)
{
    if (!dt_value_is_name(value))
        return NULL;
    return dt_arena_text_n(arena, value->text.bytes ? value->text.data : "", value->text.bytes);
}

int dt_value_sizes(const dt_value *value, int64_t *sizes, int limit)
{
    if (!dt_value_is_sequence(value) || value->list.count > (uint32_t)limit)
        return -1;
    for (uint32_t i = 0; i < value->list.count; i++) {
        const dt_value *size = value->list.item[i];
        if (!dt_value_is(size, DT_VALUE_INT) || size->integer < 0)
            return -1;
        sizes[i] = size->integer;
    }
    return (int)value->list.count;
}
