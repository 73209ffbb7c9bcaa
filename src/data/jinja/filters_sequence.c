/*
 * filters_sequence.c - filters on what can be walked. Where jinja2 hands back a generator so do we: it is walked once.
 */
#include "data/jinja/characters.h"
#include "data/jinja/text_work.h"

#include <string.h>

static value iterator(value items, const char *name)
{
    if (items.kind == J_LIST) {
        items.kind = J_ITERATOR;
        items.list->name = name;
    }
    return items;
}

/* ---- lengths and ends ---- */

static value length(call *c)
{
    value v = c->self;
    walk w;
    if (v.kind == J_NAMESPACE || !dt_j_sequence(v))
        return v.kind == J_LOOP
                   ? dt_j_int(v.loop->items.list->count)
                   : dt_j_fail(c->r, DT_FORMAT, "object of type '%s' has no len()", dt_j_type(v));
    return dt_j_walk(c->r, v, &w) ? dt_j_int(w.count) : dt_j_undefined;
}

static value first(call *c)
{
    static const value none = {.kind = J_UNDEFINED, .message = "No first item, sequence was empty."};
    walk w;
    value item;
    return dt_j_walk(c->r, c->self, &w) && dt_j_next(c->r, &w, &item) ? item : none;
}

static value last(call *c)
{
    static const value none = {.kind = J_UNDEFINED, .message = "No last item, sequence was empty."};
    if (c->self.kind == J_ITERATOR)
        return dt_j_fail(c->r, DT_FORMAT, "'generator' object is not reversible");
    value all = dt_j_to_list(c->r, c->self);
    return dt_j_failed(c->r) || all.list->count == 0 ? none : all.list->item[all.list->count - 1];
}

static value list_of(call *c)
{
    return dt_j_to_list(c->r, c->self);
}

static value items(call *c)
{
    static const arguments nothing;
    if (c->self.kind == J_UNDEFINED)
        return iterator(dt_j_list(c->r, J_LIST, 0), "generator");
    if (c->self.kind != J_DICT)
        return dt_j_fail(c->r, DT_FORMAT, "Can only get item pairs from a mapping.");
    value pairs = dt_j_run_builtin(c->r, dt_j_row(dt_j_dict_methods, "items"), c->self, &nothing);
    return iterator(dt_j_to_list(c->r, pairs), "generator");
}

static value reversed(call *c)
{
    value all = dt_j_to_list(c->r, c->self);
    if (dt_j_failed(c->r))
        return all;
    for (int64_t i = 0, k = all.list->count - 1; i < k; i++, k--) {
        value v = all.list->item[i];
        all.list->item[i] = all.list->item[k];
        all.list->item[k] = v;
    }
    if (c->self.kind != J_STRING)
        return iterator(all, "list_reverseiterator");
    value nothing = dt_j_text(c->r, "");
    return dt_j_failed(c->r) ? nothing : dt_j_join_items(c->r, nothing.string, all, true);
}

static value join(call *c)
{
    rendering *r = c->r;
    value separator = given(c->argument[0]) ? dt_j_text_of(r, c->argument[0]) : dt_j_text(r, "");
    value all = dt_j_to_list(r, c->self);
    if (dt_j_failed(r))
        return dt_j_undefined;
    for (int64_t i = 0; given(c->argument[1]) && i < all.list->count && !dt_j_failed(r); i++)
        all.list->item[i] = dt_j_path(r, all.list->item[i], c->argument[1]);
    return dt_j_failed(r) ? dt_j_undefined : dt_j_join_items(r, separator.string, all, true);
}

/* ---- order ---- */

typedef struct sorting {
    rendering *r;
    bool reverse;
} sorting;

static value folded(rendering *r, value v, bool ignore_case)
{
    return ignore_case && v.kind == J_STRING ? dt_j_change_case(r, v.string, CASE_LOWER) : v;
}

/* What an item is ordered by: itself, a field, or several ("a,b"), letter case apart. */
static value sort_key(rendering *r, value item, value attribute, bool ignore_case)
{
    if (!given(attribute) || attribute.kind == J_NONE)
        return folded(r, item, ignore_case);
    if (attribute.kind != J_STRING || !memchr(attribute.string->data, ',', attribute.string->bytes))
        return folded(r, dt_j_path(r, item, attribute), ignore_case);
    value keys = dt_j_list(r, J_LIST, 2);
    const char *at = attribute.string->data, *end = at + attribute.string->bytes;
    while (at <= end && !dt_j_failed(r)) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        comma = comma ? comma : end;
        value name = dt_j_string(r, at, (size_t)(comma - at));
        if (!dt_j_failed(r))
            dt_j_push(r, keys, folded(r, dt_j_path(r, item, name), ignore_case));
        at = comma + 1;
    }
    return keys;
}

/* Keys that are equal have an order even where their kind has none, as the lists that Python compares do. */
static int key_order(const sorting *s, value a, value b)
{
    return dt_j_equal(s->r, a, b) ? 0 : dt_j_order(s->r, "<", a, b);
}

/* A stable merge of [begin, middle) and [middle, end): pairs of key and item. */
static void merge(const sorting *s, value *pair, value *spare, int64_t begin, int64_t middle, int64_t end)
{
    int64_t a = begin, b = middle;
    for (int64_t i = begin; i < end; i++) {
        bool left = b == end;
        if (a < middle && b < end && dt_j_spend(s->r, 0)) {
            int order = key_order(s, pair[2 * b], pair[2 * a]);
            left = s->reverse ? key_order(s, pair[2 * a], pair[2 * b]) != -1 : order != -1;
        }
        int64_t from = left && a < middle ? a++ : b < end ? b++ : a++;
        spare[2 * i] = pair[2 * from];
        spare[2 * i + 1] = pair[2 * from + 1];
    }
    memcpy(pair + 2 * begin, spare + 2 * begin, (size_t)(end - begin) * 2 * sizeof *pair);
}

/* Sort a list in place by a key of each item. */
static value sort_items(rendering *r, value list, value attribute, bool ignore_case, bool reverse)
{
    if (dt_j_failed(r))
        return dt_j_undefined;
    int64_t n = list.list->count;
    sorting s = {.r = r, .reverse = reverse};
    value *pair = dt_j_alloc(r, (size_t)(n + 1) * 2 * sizeof *pair),
          *spare = dt_j_alloc(r, (size_t)(n + 1) * 2 * sizeof *spare);
    for (int64_t i = 0; i < n && !dt_j_failed(r); i++) {
        pair[2 * i] = sort_key(r, list.list->item[i], attribute, ignore_case);
        pair[2 * i + 1] = list.list->item[i];
    }
    for (int64_t width = 1; width < n && !dt_j_failed(r); width *= 2)
        for (int64_t at = 0; at + width < n && !dt_j_failed(r); at += 2 * width)
            merge(&s, pair, spare, at, at + width, at + 2 * width < n ? at + 2 * width : n);
    for (int64_t i = 0; i < n && !dt_j_failed(r); i++)
        list.list->item[i] = pair[2 * i + 1];
    return list;
}

static value sorted(call *c)
{
    bool reverse = dt_j_bool_argument(c, 0, false), exact = dt_j_bool_argument(c, 1, false);
    return sort_items(c->r, dt_j_to_list(c->r, c->self), c->argument[2], !exact, reverse);
}

static value dictsort(call *c)
{
    static const arguments nothing;
    rendering *r = c->r;
    bool exact = dt_j_bool_argument(c, 0, false), reverse = dt_j_bool_argument(c, 2, false);
    bool by_value = given(c->argument[1]) && dt_j_is(c->argument[1], "value");
    if (given(c->argument[1]) && !by_value && !dt_j_is(c->argument[1], "key"))
        return dt_j_fail(r, DT_FORMAT, "You can only sort by either \"key\" or \"value\"");
    if (c->self.kind != J_DICT)
        return c->self.kind == J_UNDEFINED
                   ? dt_j_use_undefined(r, c->self)
                   : dt_j_fail(r, DT_FORMAT, "'%s' object has no attribute 'items'", dt_j_type(c->self));
    value pairs = dt_j_run_builtin(r, dt_j_row(dt_j_dict_methods, "items"), c->self, &nothing);
    return sort_items(r, dt_j_to_list(r, pairs), dt_j_int(by_value), !exact, reverse);
}

static value extreme(call *c, int wanted)
{
    rendering *r = c->r;
    bool exact = dt_j_bool_argument(c, 0, false);
    value item, key, best = dt_j_undefined, best_key = dt_j_undefined;
    walk w;
    best.message = "No aggregated item, sequence was empty.";
    if (!dt_j_walk(r, c->self, &w))
        return dt_j_undefined;
    for (bool any = false; dt_j_next(r, &w, &item); any = true) {
        key = sort_key(r, item, c->argument[1], !exact);
        if (!any || dt_j_order(r, wanted < 0 ? "<" : ">", key, best_key) == wanted) {
            best = item;
            best_key = key;
        }
    }
    return best;
}

static value minimum(call *c)
{
    return extreme(c, -1);
}

static value maximum(call *c)
{
    return extreme(c, 1);
}

static value unique(call *c)
{
    rendering *r = c->r;
    bool exact = dt_j_bool_argument(c, 0, false);
    value out = dt_j_list(r, J_LIST, 0), seen = dt_j_list(r, J_LIST, 0), item;
    walk w;
    if (!dt_j_walk(r, c->self, &w))
        return dt_j_undefined;
    while (dt_j_next(r, &w, &item)) {
        value key = sort_key(r, item, c->argument[1], !exact);
        if (!dt_j_failed(r) && !dt_j_contains(r, seen, key)) {
            dt_j_push(r, seen, key);
            dt_j_push(r, out, item);
        }
    }
    return iterator(out, "generator");
}

static value sum(call *c)
{
    rendering *r = c->r;
    value total = given(c->argument[1]) ? c->argument[1] : dt_j_int(0), item;
    walk w;
    if (!dt_j_walk(r, c->self, &w))
        return dt_j_undefined;
    while (dt_j_next(r, &w, &item)) {
        if (given(c->argument[0]) && c->argument[0].kind != J_NONE)
            item = dt_j_path(r, item, c->argument[0]);
        total = dt_j_operate(r, OP_ADD, total, item);
    }
    return total;
}

/* ---- choosing and mapping ---- */

/* Does an item pass the test named by argument `at` of the call (truth when there is none)? */
static bool passes(call *c, value item, int64_t at)
{
    const arguments *a = c->given;
    if (a->count <= at)
        return dt_j_truth(item);
    call name = {.r = c->r, .argument = {a->positional[at]}};
    const char *test = dt_j_name_argument(&name, 0);
    arguments rest = dt_j_rest(a, at + 1);
    return test && dt_j_apply_test(c->r, test, item, &rest);
}

static value choose(call *c, bool by_attribute, bool wanted)
{
    rendering *r = c->r;
    value out = dt_j_list(r, J_LIST, 0), item;
    walk w;
    if (by_attribute && c->given->count == 0)
        return dt_j_fail(r, DT_FORMAT, "Missing parameter for attribute name");
    if (!dt_j_truth(c->self))
        return iterator(out, "generator");
    if (!dt_j_walk(r, c->self, &w))
        return dt_j_undefined;
    while (dt_j_next(r, &w, &item)) {
        value of = by_attribute ? dt_j_path(r, item, c->given->positional[0]) : item;
        if (!dt_j_failed(r) && passes(c, of, by_attribute) == wanted)
            dt_j_push(r, out, item);
    }
    return iterator(out, "generator");
}

static value select_(call *c)
{
    return choose(c, false, true);
}

static value reject(call *c)
{
    return choose(c, false, false);
}

static value selectattr(call *c)
{
    return choose(c, true, true);
}

static value rejectattr(call *c)
{
    return choose(c, true, false);
}

static value map_one(call *c, value item, value attribute, value otherwise)
{
    if (given(attribute)) {
        value v = dt_j_path(c->r, item, attribute);
        return v.kind == J_UNDEFINED && given(otherwise) ? otherwise : v;
    }
    call name = {.r = c->r, .argument = {c->given->positional[0]}};
    const char *filter = dt_j_name_argument(&name, 0);
    arguments rest = dt_j_rest(c->given, 1);
    return filter ? dt_j_apply_filter(c->r, filter, item, &rest) : dt_j_undefined;
}

static value map(call *c)
{
    rendering *r = c->r;
    value out = dt_j_list(r, J_LIST, 0), item, attribute = dt_j_absent, otherwise = dt_j_absent;
    walk w;
    for (int64_t i = 0; i < c->given->named_count && c->given->count == 0; i++) {
        if (strcmp(c->given->name[i], "attribute") == 0)
            attribute = c->given->named[i];
        else if (strcmp(c->given->name[i], "default") == 0)
            otherwise = c->given->named[i];
        else
            return dt_j_fail(r, DT_FORMAT, "Unexpected keyword argument '%s'", c->given->name[i]);
    }
    if (!dt_j_truth(c->self))
        return iterator(out, "generator");
    if (!given(attribute) && c->given->count == 0)
        return dt_j_fail(r, DT_FORMAT, "map requires a filter argument");
    if (!dt_j_walk(r, c->self, &w))
        return dt_j_undefined;
    while (dt_j_next(r, &w, &item))
        dt_j_push(r, out, map_one(c, item, attribute, otherwise));
    return iterator(out, "generator");
}

/* ---- cutting into parts ---- */

static value groupby(call *c)
{
    rendering *r = c->r;
    bool exact = dt_j_bool_argument(c, 2, false);
    value all = sort_items(r, dt_j_to_list(r, c->self), c->argument[0], !exact, false);
    value out = dt_j_list(r, J_LIST, 0), last_key = dt_j_undefined, members = dt_j_undefined;
    for (int64_t i = 0; !dt_j_failed(r) && i < all.list->count; i++) {
        value plain = dt_j_path(r, all.list->item[i], c->argument[0]);
        if (plain.kind == J_UNDEFINED && given(c->argument[1]))
            plain = c->argument[1];
        value key = folded(r, plain, !exact);
        if (i == 0 || !dt_j_equal(r, key, last_key)) {
            members = dt_j_list(r, J_LIST, 0);
            dt_j_push(r, out, dt_j_pair(r, plain, members));
            last_key = key;
        }
        if (!dt_j_failed(r))
            dt_j_push(r, members, all.list->item[i]);
    }
    return out;
}

static value batch(call *c)
{
    rendering *r = c->r;
    int64_t size = dt_j_int_argument(c, 0, 1);
    value out = dt_j_list(r, J_LIST, 0), row = dt_j_undefined, item;
    walk w;
    if (!dt_j_walk(r, c->self, &w))
        return dt_j_undefined;
    while (dt_j_next(r, &w, &item)) {
        if (row.kind != J_LIST || row.list->count == size) {
            row = dt_j_list(r, J_LIST, 0);
            dt_j_push(r, out, row);
        }
        dt_j_push(r, row, item);
    }
    bool fill = given(c->argument[1]) && c->argument[1].kind != J_NONE && row.kind == J_LIST;
    while (fill && !dt_j_failed(r) && row.list->count < size && dt_j_spend(r, 0))
        dt_j_push(r, row, c->argument[1]);
    return iterator(out, "generator");
}

static value slices(call *c)
{
    rendering *r = c->r;
    int64_t parts = dt_j_int_argument(c, 0, 1), at = 0;
    value all = dt_j_to_list(r, c->self), out = dt_j_list(r, J_LIST, 0);
    if (dt_j_failed(r))
        return dt_j_undefined;
    if (parts < 1)
        return dt_j_fail(r, DT_FORMAT, "integer division or modulo by zero");
    int64_t each = all.list->count / parts, more = all.list->count % parts;
    for (int64_t i = 0; i < parts && dt_j_spend(r, 1); i++) {
        int64_t count = each + (i < more);
        value row = dt_j_list(r, J_LIST, count);
        for (int64_t k = 0; k < count && !dt_j_failed(r); k++)
            dt_j_push(r, row, all.list->item[at++]);
        if (given(c->argument[1]) && c->argument[1].kind != J_NONE && i >= more && !dt_j_failed(r))
            dt_j_push(r, row, c->argument[1]);
        dt_j_push(r, out, row);
    }
    return iterator(out, "generator");
}

const builtin dt_j_filters_sequence[] = {
    {"length", "", length},
    {"count", "", length},
    {"first", "", first},
    {"last", "", last},
    {"list", "", list_of},
    {"items", "", items},
    {"reverse", "", reversed},
    {"join", "d? attribute?", join},
    {"sort", "reverse? case_sensitive? attribute?", sorted},
    {"dictsort", "case_sensitive? by? reverse?", dictsort},
    {"min", "case_sensitive? attribute?", minimum},
    {"max", "case_sensitive? attribute?", maximum},
    {"unique", "case_sensitive? attribute?", unique},
    {"sum", "attribute? start?", sum},
    {"select", "* **", select_},
    {"reject", "* **", reject},
    {"selectattr", "* **", selectattr},
    {"rejectattr", "* **", rejectattr},
    {"map", "* **", map},
    {"groupby", "attribute default? case_sensitive?", groupby},
    {"batch", "linecount fill_with?", batch},
    {"slice", "slices fill_with?", slices},
    {NULL, NULL, NULL},
};
