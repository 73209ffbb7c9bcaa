/*
 * value.c - making values, and asking what they are.
 */
#include "data/jinja/value.h"

#include "data/jinja/characters.h"
#include "data/jinja/render.h"

#include <stdio.h>
#include <string.h>

const value dt_j_none = {.kind = J_NONE}, dt_j_undefined = {.kind = J_UNDEFINED},
            dt_j_absent = {.kind = J_ABSENT};

value dt_j_bool(bool truth)
{
    return (value){.kind = J_BOOL, .truth = truth};
}

value dt_j_int(int64_t integer)
{
    return (value){.kind = J_INT, .integer = integer};
}

value dt_j_real(double real)
{
    return (value){.kind = J_REAL, .real = real};
}

/* ---- strings ---- */

int64_t dt_j_chars(const char *data, size_t bytes)
{
    int64_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)data[i] & 0xC0) != 0x80;
    return count;
}

static value string_at(rendering *r, const char *data, size_t bytes, string_tail *tail)
{
    string *s = dt_j_alloc(r, sizeof *s);
    if (!s)
        return dt_j_undefined;
    *s = (string){.data = data, .bytes = bytes, .chars = dt_j_chars(data, bytes), .tail = tail};
    return (value){.kind = J_STRING, .string = s};
}

value dt_j_string(rendering *r, const char *data, size_t bytes)
{
    char *copy = dt_j_alloc(r, bytes + 1);
    if (!copy)
        return dt_j_undefined;
    if (bytes)
        memcpy(copy, data, bytes);
    return string_at(r, copy, bytes, NULL);
}

value dt_j_text(rendering *r, const char *text)
{
    return dt_j_string(r, text, strlen(text));
}

value dt_j_printf(rendering *r, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= (int)sizeof text)
        n = (int)sizeof text - 1;
    while (n > 0 && !dt_j_valid(text, (size_t)n)) /* cut within a character */
        n--;
    return dt_j_string(r, text, (size_t)n);
}

value dt_j_take_text(rendering *r, dt_text *text)
{
    value v = dt_j_undefined;
    if (text->failed)
        v = dt_j_fail(r, DT_NO_MEMORY, "out of memory for a string");
    else if (!dt_j_failed(r))
        v = dt_j_string(r, text->data ? text->data : "", text->bytes);
    dt_text_free(text);
    return v;
}

static value join_with_room(rendering *r, const string *a, const string *b)
{
    size_t bytes = a->bytes + b->bytes, room = bytes < 256 ? 64 : bytes;
    char *data = dt_j_alloc(r, bytes + room);
    string_tail *t = dt_j_alloc(r, sizeof *t);
    if (!data || !t)
        return dt_j_undefined;
    memcpy(data, a->data, a->bytes);
    memcpy(data + a->bytes, b->data, b->bytes);
    *t = (string_tail){.end = data + bytes, .room = room};
    string *s = dt_j_alloc(r, sizeof *s);
    if (!s)
        return dt_j_undefined;
    *s = (string){.data = data, .bytes = bytes, .chars = a->chars + b->chars, .tail = t};
    return (value){.kind = J_STRING, .string = s};
}

value dt_j_join(rendering *r, value left, value right)
{
    const string *a = left.string, *b = right.string;
    if (dt_j_failed(r) || !dt_j_spend(r, (int64_t)(b->bytes / 64)))
        return dt_j_undefined;
    if (b->bytes == 0 || a->bytes == 0)
        return b->bytes == 0 ? left : right;
    if (!a->tail || a->tail->end != a->data + a->bytes || a->tail->room < b->bytes)
        return join_with_room(r, a, b);
    string *s = dt_j_alloc(r, sizeof *s);
    if (!s)
        return dt_j_undefined;
    memcpy(a->tail->end, b->data, b->bytes);
    a->tail->end += b->bytes;
    a->tail->room -= b->bytes;
    *s = (string){
        .data = a->data, .bytes = a->bytes + b->bytes, .chars = a->chars + b->chars, .tail = a->tail};
    return (value){.kind = J_STRING, .string = s};
}

/* ---- lists ---- */

value dt_j_list(rendering *r, value_kind kind, int64_t capacity)
{
    item_list *l = dt_j_alloc(r, sizeof *l);
    if (!l)
        return dt_j_undefined;
    *l = (item_list){.capacity = capacity, .name = "generator"};
    if (capacity && !(l->item = dt_j_alloc(r, (size_t)capacity * sizeof(value))))
        return dt_j_undefined;
    return (value){.kind = kind, .list = l};
}

bool dt_j_push(rendering *r, value v, value item)
{
    if (dt_j_failed(r))
        return false;
    item_list *l = v.list;
    if (l->count == l->capacity) {
        int64_t larger = l->capacity ? 2 * l->capacity : 8;
        value *grown = dt_j_alloc(r, (size_t)larger * sizeof(value));
        if (!grown)
            return false;
        if (l->count)
            memcpy(grown, l->item, (size_t)l->count * sizeof(value));
        l->item = grown;
        l->capacity = larger;
    }
    l->item[l->count++] = item;
    return true;
}

value dt_j_pair(rendering *r, value first, value second)
{
    value pair = dt_j_list(r, J_TUPLE, 2);
    if (!dt_j_push(r, pair, first) || !dt_j_push(r, pair, second))
        return dt_j_undefined;
    return pair;
}

/* ---- dicts: few keys, in order, found by looking ---- */

value dt_j_dict(rendering *r, int64_t capacity)
{
    dict *d = dt_j_alloc(r, sizeof *d);
    if (!d)
        return dt_j_undefined;
    *d = (dict){.capacity = capacity};
    if (capacity) {
        d->key = dt_j_alloc(r, (size_t)capacity * sizeof(value));
        d->item = dt_j_alloc(r, (size_t)capacity * sizeof(value));
    }
    return capacity && (!d->key || !d->item) ? dt_j_undefined : (value){.kind = J_DICT, .dict = d};
}

static bool grow_dict(rendering *r, dict *d)
{
    int64_t larger = d->capacity ? 2 * d->capacity : 8;
    value *key = dt_j_alloc(r, (size_t)larger * sizeof(value)),
          *item = dt_j_alloc(r, (size_t)larger * sizeof(value));
    if (!key || !item)
        return false;
    if (d->count) {
        memcpy(key, d->key, (size_t)d->count * sizeof(value));
        memcpy(item, d->item, (size_t)d->count * sizeof(value));
    }
    d->key = key;
    d->item = item;
    d->capacity = larger;
    return true;
}

bool dt_j_set_new(rendering *r, dict *d, value key, value item)
{
    if (dt_j_failed(r) || (d->count == d->capacity && !grow_dict(r, d)))
        return false;
    d->key[d->count] = key;
    d->item[d->count++] = item;
    return true;
}

bool dt_j_hashable(value v)
{
    if (v.kind == J_TUPLE)
        for (int64_t i = 0; i < v.list->count; i++)
            if (!dt_j_hashable(v.list->item[i]))
                return false;
    return v.kind != J_LIST && v.kind != J_DICT && v.kind != J_SLICE;
}

static int64_t place_of(rendering *r, const dict *d, value key)
{
    dt_j_spend(r, d->count / 8);
    for (int64_t i = 0; i < d->count && !dt_j_failed(r); i++)
        if (dt_j_equal(r, d->key[i], key))
            return i;
    return -1;
}

bool dt_j_set(rendering *r, dict *d, value key, value item)
{
    if (!dt_j_hashable(key)) {
        dt_j_fail(r, DT_FORMAT, "unhashable type: '%s'", dt_j_type(key));
        return false;
    }
    int64_t i = place_of(r, d, key);
    if (i < 0)
        return dt_j_set_new(r, d, key, item);
    d->item[i] = item;
    return true;
}

bool dt_j_find(rendering *r, const dict *d, value key, value *item)
{
    if (!dt_j_hashable(key)) {
        dt_j_fail(r, DT_FORMAT, "unhashable type: '%s'", dt_j_type(key));
        return false;
    }
    int64_t i = place_of(r, d, key);
    if (i >= 0)
        *item = d->item[i];
    return i >= 0;
}

bool dt_j_find_text(const dict *d, const char *key, value *item)
{
    for (int64_t i = 0; i < d->count; i++)
        if (dt_j_is(d->key[i], key)) {
            *item = d->item[i];
            return true;
        }
    return false;
}

/* ---- from JSON, whose nesting jansson bounds ---- */

static value array_from_json(rendering *r, const json_t *json)
{
    value v = dt_j_list(r, J_LIST, (int64_t)json_array_size(json));
    for (size_t i = 0; i < json_array_size(json) && !dt_j_failed(r); i++)
        dt_j_push(r, v, dt_j_from_json(r, json_array_get(json, i)));
    return v;
}

static value object_from_json(rendering *r, const json_t *json)
{
    value v = dt_j_dict(r, (int64_t)json_object_size(json));
    for (void *at = json_object_iter((json_t *)(uintptr_t)json); at && !dt_j_failed(r);
         at = json_object_iter_next((json_t *)(uintptr_t)json, at))
        dt_j_set_new(r, v.dict, dt_j_text(r, json_object_iter_key(at)),
                     dt_j_from_json(r, json_object_iter_value(at)));
    return v;
}

value dt_j_from_json(rendering *r, const json_t *json)
{
    switch (json ? json_typeof(json) : JSON_NULL) {
    case JSON_OBJECT:
        return object_from_json(r, json);
    case JSON_ARRAY:
        return array_from_json(r, json);
    case JSON_STRING:
        return dt_j_string(r, json_string_value(json), json_string_length(json));
    case JSON_INTEGER:
        return dt_j_int(json_integer_value(json));
    case JSON_REAL:
        return dt_j_real(json_real_value(json));
    case JSON_TRUE:
    case JSON_FALSE:
        return dt_j_bool(json_is_true(json));
    default:
        return dt_j_none;
    }
}

/* ---- asking ---- */

const char *dt_j_type(value v)
{
    static const char *const name[] = {[J_UNDEFINED] = "Undefined", [J_NONE] = "NoneType",
                                       [J_BOOL] = "bool",           [J_INT] = "int",
                                       [J_REAL] = "float",          [J_STRING] = "str",
                                       [J_LIST] = "list",           [J_TUPLE] = "tuple",
                                       [J_DICT] = "dict",           [J_RANGE] = "range",
                                       [J_NAMESPACE] = "namespace", [J_LOOP] = "LoopContext",
                                       [J_CYCLER] = "Cycler",       [J_JOINER] = "Joiner",
                                       [J_FUNCTION] = "function",   [J_SLICE] = "slice",
                                       [J_ABSENT] = "nothing"};
    return v.kind == J_ITERATOR || v.kind == J_VIEW ? v.list->name : name[v.kind];
}

const char *dt_j_type_object(value v)
{
    static const char *const name[] = {[J_UNDEFINED] = "Undefined object",
                                       [J_NONE] = "None",
                                       [J_BOOL] = "bool object",
                                       [J_INT] = "int object",
                                       [J_REAL] = "float object",
                                       [J_STRING] = "str object",
                                       [J_LIST] = "list object",
                                       [J_TUPLE] = "tuple object",
                                       [J_DICT] = "dict object",
                                       [J_RANGE] = "range object",
                                       [J_ITERATOR] = "generator object",
                                       [J_VIEW] = "dict view object",
                                       [J_NAMESPACE] = "namespace object",
                                       [J_LOOP] = "jinja2.runtime.LoopContext object",
                                       [J_CYCLER] = "jinja2.utils.Cycler object",
                                       [J_JOINER] = "jinja2.utils.Joiner object",
                                       [J_FUNCTION] = "function object",
                                       [J_SLICE] = "slice object",
                                       [J_ABSENT] = "nothing"};
    return name[v.kind];
}

bool dt_j_truth(value v)
{
    switch (v.kind) {
    case J_UNDEFINED:
    case J_NONE:
    case J_ABSENT:
        return false;
    case J_BOOL:
        return v.truth;
    case J_INT:
        return v.integer != 0;
    case J_REAL:
        return v.real != 0;
    case J_STRING:
        return v.string->bytes > 0;
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
        return v.list->count > 0;
    case J_DICT:
        return v.dict->count > 0;
    case J_RANGE:
        return v.range->count > 0;
    default:
        return true;
    }
}

bool dt_j_is(value v, const char *text)
{
    return v.kind == J_STRING && strlen(text) == v.string->bytes &&
           memcmp(v.string->data, text, v.string->bytes) == 0;
}

bool dt_j_sequence(value v)
{
    return v.kind == J_STRING || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_DICT ||
           v.kind == J_RANGE || v.kind == J_VIEW || v.kind == J_UNDEFINED;
}

bool dt_j_number(value v, double *out)
{
    *out = v.kind == J_REAL ? v.real : v.kind == J_INT ? (double)v.integer : v.kind == J_BOOL ? v.truth : 0;
    return v.kind == J_REAL || v.kind == J_INT || v.kind == J_BOOL;
}

bool dt_j_integer(value v, int64_t *out)
{
    *out = v.kind == J_INT ? v.integer : v.kind == J_BOOL ? v.truth : 0;
    return v.kind == J_INT || v.kind == J_BOOL;
}

/* ---- walking ---- */

bool dt_j_walk(rendering *r, value v, walk *w)
{
    *w = (walk){.of = v};
    if (v.kind == J_STRING) {
        w->count = v.string->chars;
        w->character = v.string->data;
    } else if (v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_VIEW)
        w->count = v.list->count;
    else if (v.kind == J_ITERATOR)
        w->count = v.list->count - v.list->next;
    else if (v.kind == J_DICT)
        w->count = v.dict->count;
    else if (v.kind == J_RANGE)
        w->count = v.range->count;
    else if (v.kind != J_UNDEFINED)
        dt_j_fail(r, DT_FORMAT, "'%s' object is not iterable", dt_j_type(v));
    return !dt_j_failed(r);
}

static value character(rendering *r, walk *w)
{
    size_t n;
    dt_j_decode(w->character, (size_t)(w->of.string->data + w->of.string->bytes - w->character), &n);
    w->character += n;
    return dt_j_string(r, w->character - n, n);
}

bool dt_j_next(rendering *r, walk *w, value *item)
{
    if (w->at >= w->count || !dt_j_spend(r, 1))
        return false;
    int64_t i = w->at++;
    switch (w->of.kind) {
    case J_STRING:
        *item = character(r, w);
        break;
    case J_DICT:
        *item = w->of.dict->key[i];
        break;
    case J_RANGE:
        *item = dt_j_int(w->of.range->start + i * w->of.range->step);
        break;
    case J_ITERATOR:
        if (w->of.list->next >= w->of.list->count) /* somebody else walked it, too */
            return false;
        *item = w->of.list->item[w->of.list->next++];
        break;
    default:
        *item = w->of.list->item[i];
    }
    return !dt_j_failed(r);
}

value dt_j_to_list(rendering *r, value v)
{
    walk w;
    value item, out;
    if (dt_j_failed(r) || !dt_j_walk(r, v, &w))
        return dt_j_undefined;
    out = dt_j_list(r, J_LIST, w.count);
    while (dt_j_next(r, &w, &item))
        dt_j_push(r, out, item);
    return dt_j_failed(r) ? dt_j_undefined : out;
}
