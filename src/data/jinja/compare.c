/*
 * compare.c - equality, order and membership as Python has them.
 */
#include "data/jinja/render.h"

#include <string.h>

static bool same_text(const string *a, const string *b)
{
    return a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

static bool same_items(rendering *r, const item_list *a, const item_list *b)
{
    if (a->count != b->count)
        return false;
    for (int64_t i = 0; i < a->count && dt_j_spend(r, 1); i++)
        if (!dt_j_equal(r, a->item[i], b->item[i]))
            return false;
    return true;
}

static bool same_entries(rendering *r, const dict *a, const dict *b)
{
    value other;
    if (a->count != b->count)
        return false;
    for (int64_t i = 0; i < a->count && dt_j_spend(r, 1); i++)
        if (!dt_j_find(r, b, a->key[i], &other) || !dt_j_equal(r, a->item[i], other))
            return false;
    return true;
}

static bool same_range(const range *a, const range *b)
{
    return a->count == b->count &&
           (a->count == 0 || (a->start == b->start && (a->count == 1 || a->step == b->step)));
}

static bool same(rendering *r, value a, value b)
{
    double x, y;
    if (a.kind == J_INT && b.kind == J_INT)
        return a.integer == b.integer;
    if (dt_j_number(a, &x) && dt_j_number(b, &y))
        return x == y;
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case J_STRING:
        return same_text(a.string, b.string);
    case J_LIST:
    case J_TUPLE:
        return same_items(r, a.list, b.list);
    case J_DICT:
        return same_entries(r, a.dict, b.dict);
    case J_RANGE:
        return same_range(a.range, b.range);
    case J_NONE:
    case J_UNDEFINED:
        return true;
    default:
        return a.list == b.list; /* the same thing */
    }
}

bool dt_j_equal(rendering *r, value a, value b)
{
    if (dt_j_failed(r) || !dt_j_deeper(r))
        return false;
    bool equal = same(r, a, b);
    r->depth--;
    return equal;
}

static int order_text(const string *a, const string *b)
{
    int order = memcmp(a->data, b->data, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order ? (order > 0) - (order < 0) : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int order_items(rendering *r, const char *operator, const item_list * a, const item_list *b)
{
    int64_t n = a->count < b->count ? a->count : b->count;
    for (int64_t i = 0; i < n && dt_j_spend(r, 1); i++)
        if (!dt_j_equal(r, a->item[i], b->item[i]))
            return dt_j_order(r, operator, a->item[i], b->item[i]);
    return (a->count > b->count) - (a->count < b->count);
}

int dt_j_order(rendering *r, const char *operator, value a, value b)
{
    double x, y;
    int order = 0;
    if (dt_j_failed(r))
        return 0;
    if (a.kind == J_INT && b.kind == J_INT)
        return (a.integer > b.integer) - (a.integer < b.integer);
    if (dt_j_number(a, &x) && dt_j_number(b, &y))
        return x < y ? -1 : x > y ? 1 : x == y ? 0 : J_UNORDERED;
    if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED) {
        dt_j_use_undefined(r, a.kind == J_UNDEFINED ? a : b);
    } else if (a.kind == J_STRING && b.kind == J_STRING) {
        dt_j_spend(r, (int64_t)(a.string->bytes / 64));
        order = order_text(a.string, b.string);
    } else if (a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE)) {
        if (dt_j_deeper(r)) {
            order = order_items(r, operator, a.list, b.list);
            r->depth--;
        }
    } else
        dt_j_fail(r, DT_FORMAT, "'%s' not supported between instances of '%s' and '%s'", operator,
                  dt_j_type(a), dt_j_type(b));
    return order;
}

bool dt_j_contains(rendering *r, value container, value item)
{
    walk w;
    value other;
    if (container.kind == J_STRING) {
        if (item.kind != J_STRING) {
            dt_j_fail(r, DT_FORMAT, "'in <string>' requires string as left operand, not %s", dt_j_type(item));
            return false;
        }
        dt_j_spend(r, (int64_t)(container.string->bytes / 64));
        return memmem(container.string->data, container.string->bytes, item.string->data, item.string->bytes);
    }
    if (container.kind == J_DICT)
        return dt_j_find(r, container.dict, item, &other);
    if (!dt_j_sequence(container) && container.kind != J_ITERATOR) {
        dt_j_fail(r, DT_FORMAT, "argument of type '%s' is not iterable", dt_j_type(container));
        return false;
    }
    if (!dt_j_walk(r, container, &w))
        return false;
    while (dt_j_next(r, &w, &other))
        if (dt_j_equal(r, other, item))
            return true;
    return false;
}
