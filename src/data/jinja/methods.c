/*
 * methods.c - the methods of lists, dictionaries, loops and cyclers that change nothing but what is theirs to change.
 */
#include "data/jinja/render.h"

/* ---- lists and tuples ---- */

static value list_count(call *c)
{
    int64_t found = 0;
    for (int64_t i = 0; i < c->self.list->count && dt_j_spend(c->r, 0); i++)
        found += dt_j_equal(c->r, c->self.list->item[i], c->argument[0]);
    return dt_j_int(found);
}

static value list_index(call *c)
{
    for (int64_t i = 0; i < c->self.list->count && dt_j_spend(c->r, 0); i++)
        if (dt_j_equal(c->r, c->self.list->item[i], c->argument[0]))
            return dt_j_int(i);
    return dt_j_fail(c->r, DT_FORMAT, "the value is not in the %s", dt_j_type(c->self));
}

static value list_copy(call *c)
{
    return dt_j_to_list(c->r, c->self);
}

const builtin dt_j_list_methods[] = {
    {"count", "value", list_count},
    {"index", "value", list_index},
    {"copy", "", list_copy},
    {NULL, NULL, NULL},
};

/* ---- dictionaries ---- */

static value get(call *c)
{
    value v = given(c->argument[1]) ? c->argument[1] : dt_j_none;
    dt_j_find(c->r, c->self.dict, c->argument[0], &v);
    return v;
}

static value view(call *c, const char *name, bool keys, bool items)
{
    const dict *d = c->self.dict;
    value v = dt_j_list(c->r, J_VIEW, d->count);
    for (int64_t i = 0; i < d->count && dt_j_spend(c->r, 0); i++)
        dt_j_push(c->r, v,
                  keys && items ? dt_j_pair(c->r, d->key[i], d->item[i])
                  : keys        ? d->key[i]
                                : d->item[i]);
    if (!dt_j_failed(c->r))
        v.list->name = name;
    return v;
}

static value items(call *c)
{
    return view(c, "dict_items", true, true);
}

static value keys(call *c)
{
    return view(c, "dict_keys", true, false);
}

static value values(call *c)
{
    return view(c, "dict_values", false, true);
}

static value dict_copy(call *c)
{
    return c->self; /* nothing can change it */
}

const builtin dt_j_dict_methods[] = {
    {"get", "key default?", get}, {"items", "", items},    {"keys", "", keys},
    {"values", "", values},       {"copy", "", dict_copy}, {NULL, NULL, NULL},
};

/* ---- loops ---- */

static value loop_cycle(call *c)
{
    const arguments *a = c->given;
    if (a->count == 0)
        return dt_j_fail(c->r, DT_FORMAT, "no items for cycling given");
    return a->positional[c->self.loop->at % a->count];
}

static value loop_changed(call *c)
{
    loop *l = c->self.loop;
    value now = dt_j_list(c->r, J_TUPLE, c->given->count);
    for (int64_t i = 0; i < c->given->count && !dt_j_failed(c->r); i++)
        dt_j_push(c->r, now, c->given->positional[i]);
    bool changed = !given(l->changed) || !dt_j_equal(c->r, l->changed, now);
    if (changed)
        l->changed = now;
    return dt_j_bool(changed);
}

const builtin dt_j_loop_methods[] = {
    {"cycle", "*", loop_cycle}, {"changed", "*", loop_changed}, {NULL, NULL, NULL}};

/* ---- cyclers ---- */

static value cycler_next(call *c)
{
    item_list *l = c->self.list;
    value now = l->item[l->next];
    l->next = (l->next + 1) % l->count;
    return now;
}

static value cycler_reset(call *c)
{
    c->self.list->next = 0;
    return dt_j_none;
}

const builtin dt_j_cycler_methods[] = {
    {"next", "", cycler_next}, {"reset", "", cycler_reset}, {NULL, NULL, NULL}};
