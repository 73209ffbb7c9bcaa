/*
 * attribute.c - a.b and a[b]: fields and methods of plain data, items, slices. Nothing else is reachable: what begins
 * with an underscore, and methods that would change their value, are refused when they are used.
 */
#include "data/jinja/render.h"

#include "data/jinja/characters.h"

#include <stdio.h>
#include <string.h>

static value missing(rendering *r, value message)
{
    return (value){.kind = J_UNDEFINED, .message = dt_j_failed(r) ? NULL : message.string->data};
}

static value no_attribute(rendering *r, value of, const char *name)
{
    return missing(r, dt_j_printf(r, "'%s' has no attribute '%s'", dt_j_type_object(of), name));
}

static value unsafe(rendering *r, value of, const char *name)
{
    return missing(r,
                   dt_j_printf(r, "access to attribute '%s' of '%s' object is unsafe.", name, dt_j_type(of)));
}

/* Methods that change a list or dict, which templates may not. */
static bool changes(value of, const char *name)
{
    static const char *const list_changes[] = {"append", "clear",   "extend", "insert", "pop",
                                               "remove", "reverse", "sort",   NULL};
    static const char *const dict_changes[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    const char *const *row = of.kind == J_LIST ? list_changes : of.kind == J_DICT ? dict_changes : NULL;
    for (; row && *row; row++)
        if (strcmp(*row, name) == 0)
            return true;
    return false;
}

static const builtin *method(value of, const char *name)
{
    switch (of.kind) {
    case J_STRING:
        return dt_j_row(dt_j_string_methods, name);
    case J_LIST:
    case J_TUPLE:
        return dt_j_row(dt_j_list_methods, name);
    case J_DICT:
        return dt_j_row(dt_j_dict_methods, name);
    case J_LOOP:
        return dt_j_row(dt_j_loop_methods, name);
    case J_CYCLER:
        return dt_j_row(dt_j_cycler_methods, name);
    default:
        return NULL;
    }
}

static value loop_item(const loop *l, int64_t i)
{
    static const value outside = {.kind = J_UNDEFINED, .message = "there is no such item in the loop"};
    return i >= 0 && i < l->items.list->count ? l->items.list->item[i] : outside;
}

static bool loop_field(const loop *l, const char *name, value *out)
{
    int64_t count = l->items.list->count;
    const struct {
        const char *name;
        value item;
    } field[] = {{"index", dt_j_int(l->at + 1)},        {"index0", dt_j_int(l->at)},
                 {"revindex", dt_j_int(count - l->at)}, {"revindex0", dt_j_int(count - l->at - 1)},
                 {"first", dt_j_bool(l->at == 0)},      {"last", dt_j_bool(l->at == count - 1)},
                 {"length", dt_j_int(count)},           {"depth", dt_j_int(l->depth + 1)},
                 {"depth0", dt_j_int(l->depth)},        {"previtem", loop_item(l, l->at - 1)},
                 {"nextitem", loop_item(l, l->at + 1)}};
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (strcmp(field[i].name, name) == 0) {
            *out = field[i].item;
            return true;
        }
    return false;
}

static value macro_arguments(rendering *r, const node *definition)
{
    value v = dt_j_list(r, J_TUPLE, definition->list.count);
    for (int i = 0; i < definition->list.count && !dt_j_failed(r); i++)
        dt_j_push(r, v, dt_j_text(r, definition->list.node[i]->name));
    return v;
}

static bool field(rendering *r, value of, const char *name, value *out)
{
    if (of.kind == J_LOOP)
        return loop_field(of.loop, name, out);
    if (of.kind == J_NAMESPACE)
        return dt_j_find_text(of.dict, name, out);
    if (of.kind == J_CYCLER && strcmp(name, "current") == 0) {
        *out = of.list->item[of.list->next];
        return true;
    }
    bool macro = of.kind == J_FUNCTION && !of.function->builtin;
    if (macro && strcmp(name, "name") == 0)
        *out = dt_j_text(r, of.function->macro.definition->name);
    else if (macro && strcmp(name, "arguments") == 0)
        *out = macro_arguments(r, of.function->macro.definition);
    else
        return false;
    return true;
}

value dt_j_attribute(rendering *r, value of, const char *name)
{
    value v;
    if (dt_j_failed(r))
        return dt_j_undefined;
    if (of.kind == J_UNDEFINED)
        return dt_j_use_undefined(r, of);
    const builtin *m = method(of, name);
    if (m && (of.kind != J_TUPLE || strcmp(name, "copy") != 0))
        return dt_j_bind(r, m, of);
    if (changes(of, name))
        return unsafe(r, of, name);
    if (field(r, of, name, &v) || (of.kind == J_DICT && dt_j_find_text(of.dict, name, &v)))
        return v;
    return strncmp(name, "__", 2) == 0 && of.kind != J_NAMESPACE ? unsafe(r, of, name)
                                                                 : no_attribute(r, of, name);
}

/* ---- subscripts ---- */

static value no_element(rendering *r, value of, value key)
{
    dt_text text = {0};
    dt_j_put_repr(r, &text, key);
    value message = dt_j_printf(r, "%s has no element %s", dt_j_type_object(of), text.data ? text.data : "");
    dt_text_free(&text);
    return missing(r, message);
}

/* The byte at which character `at` of a string begins. */
static size_t byte_of(const string *s, int64_t at)
{
    size_t byte = 0;
    if (s->chars == (int64_t)s->bytes)
        return (size_t)at;
    for (; at > 0; at--)
        do
            byte++;
        while (byte < s->bytes && ((unsigned char)s->data[byte] & 0xC0) == 0x80);
    return byte;
}

static bool at_index(rendering *r, value of, int64_t i, value *out)
{
    int64_t count = of.kind == J_STRING                       ? of.string->chars
                    : of.kind == J_LIST || of.kind == J_TUPLE ? of.list->count
                    : of.kind == J_RANGE                      ? of.range->count
                                                              : 0;
    i += i < 0 ? count : 0;
    if (i < 0 || i >= count)
        return false;
    if (of.kind == J_RANGE) {
        *out = dt_j_int(of.range->start + i * of.range->step);
    } else if (of.kind == J_STRING) {
        dt_j_spend(r, (int64_t)(of.string->bytes / 64));
        size_t begin = byte_of(of.string, i), n;
        dt_j_decode(of.string->data + begin, of.string->bytes - begin, &n);
        *out = dt_j_string(r, of.string->data + begin, n);
    } else
        *out = of.list->item[i];
    return true;
}

/* ---- slices ---- */

static bool slice_place(rendering *r, value v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v.kind == J_NONE || dt_j_integer(v, out))
        return true;
    dt_j_fail(r, DT_FORMAT, "slice indices must be integers or None or have an __index__ method");
    return false;
}

static int64_t clamp(int64_t i, int64_t count, int64_t low, int64_t high)
{
    if (i < 0)
        i += count;
    return i < low ? low : i > high ? high : i;
}

/* First index, step and number of items of a slice over `count`. */
static bool resolve_slice(rendering *r, const item_list *l, int64_t count, range *out)
{
    int64_t step, start, stop;
    if (!slice_place(r, l->item[2], 1, &step))
        return false;
    if (step == 0) {
        dt_j_fail(r, DT_FORMAT, "slice step cannot be zero");
        return false;
    }
    bool back = step < 0;
    if (!slice_place(r, l->item[0], back ? INT64_MAX : 0, &start) ||
        !slice_place(r, l->item[1], back ? INT64_MIN : INT64_MAX, &stop))
        return false;
    int64_t low = back ? -1 : 0, high = back ? count - 1 : count;
    start = clamp(start, count, low, high);
    stop = l->item[1].kind == J_NONE && back ? -1 : clamp(stop, count, low, high);
    uint64_t span = back ? (uint64_t)(start - stop) : (uint64_t)(stop - start);
    uint64_t stride = back ? -(uint64_t)step : (uint64_t)step;
    bool empty = back ? start <= stop : stop <= start;
    *out = (range){.start = start, .step = step, .count = empty ? 0 : (int64_t)((span - 1) / stride + 1)};
    return true;
}

static value slice_string(rendering *r, const string *s, const range *g)
{
    dt_text out = {0};
    dt_j_spend(r, (int64_t)(s->bytes / 64));
    if (g->step == 1) {
        size_t begin = byte_of(s, g->start), end = byte_of(s, g->start + g->count);
        return g->count ? dt_j_string(r, s->data + begin, end - begin) : dt_j_text(r, "");
    }
    for (int64_t i = 0; i < g->count && dt_j_spend(r, s->chars == (int64_t)s->bytes ? 0 : s->chars / 8);
         i++) {
        size_t begin = byte_of(s, g->start + i * g->step), n;
        dt_j_decode(s->data + begin, s->bytes - begin, &n);
        dt_text_append(&out, s->data + begin, n);
    }
    return dt_j_take_text(r, &out);
}

static value slice_of(rendering *r, value of, const item_list *l)
{
    range g;
    int64_t count = of.kind == J_STRING  ? of.string->chars
                    : of.kind == J_RANGE ? of.range->count
                                         : of.list->count;
    if (!resolve_slice(r, l, count, &g))
        return dt_j_undefined;
    if (of.kind == J_STRING)
        return slice_string(r, of.string, &g);
    if (of.kind == J_RANGE) {
        range *part = dt_j_alloc(r, sizeof *part);
        if (!part)
            return dt_j_undefined;
        *part = (range){of.range->start + g.start * of.range->step, of.range->step * g.step, g.count};
        return (value){.kind = J_RANGE, .range = part};
    }
    value out = dt_j_list(r, of.kind, g.count);
    for (int64_t i = 0; i < g.count && dt_j_spend(r, 0); i++)
        dt_j_push(r, out, of.list->item[g.start + i * g.step]);
    return out;
}

static const char *as_name(rendering *r, value key)
{
    char *name = dt_j_alloc(r, key.string->bytes + 1);
    if (name)
        memcpy(name, key.string->data, key.string->bytes);
    return name;
}

value dt_j_item(rendering *r, value of, value key)
{
    value v;
    int64_t i;
    bool indexed = of.kind == J_STRING || of.kind == J_LIST || of.kind == J_TUPLE || of.kind == J_RANGE;
    if (dt_j_failed(r))
        return dt_j_undefined;
    if (of.kind == J_UNDEFINED)
        return dt_j_use_undefined(r, of);
    if (of.kind == J_DICT && dt_j_hashable(key) && dt_j_find(r, of.dict, key, &v))
        return v;
    if (indexed && key.kind == J_SLICE)
        return slice_of(r, of, key.list);
    if (indexed && dt_j_integer(key, &i) && at_index(r, of, i, &v))
        return v;
    if (key.kind == J_SLICE)
        return dt_j_fail(r, DT_FORMAT, "'%s' object is not subscriptable", dt_j_type(of));
    if (key.kind != J_STRING || dt_j_failed(r))
        return no_element(r, of, key);
    const char *name = as_name(r, key);
    return name ? dt_j_attribute(r, of, name) : dt_j_undefined;
}

/* Digits are an index, anything else a name. */
static value path_key(rendering *r, const char *at, size_t bytes)
{
    int64_t number = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] < '0' || at[i] > '9' || i == 18)
            return dt_j_string(r, at, bytes);
        number = 10 * number + at[i] - '0';
    }
    return bytes ? dt_j_int(number) : dt_j_text(r, "");
}

value dt_j_path(rendering *r, value of, value path)
{
    int64_t i;
    if (dt_j_integer(path, &i))
        return dt_j_item(r, of, path);
    if (path.kind != J_STRING)
        return path.kind == J_NONE ? of : dt_j_item(r, of, path);
    const char *at = path.string->data, *end = at + path.string->bytes;
    while (at <= end && !dt_j_failed(r)) {
        const char *dot = memchr(at, '.', (size_t)(end - at));
        dot = dot ? dot : end;
        value key = path_key(r, at, (size_t)(dot - at));
        of = dt_j_failed(r) ? of : dt_j_item(r, of, key);
        at = dot + 1;
    }
    return of;
}
