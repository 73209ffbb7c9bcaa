/*
 * evaluate.c - expressions to values.
 */
#include "data/jinja/render.h"

#include <string.h>

/* ---- names ---- */

scope *dt_j_scope(rendering *r, scope *parent)
{
    scope *s = dt_j_alloc(r, sizeof *s);
    if (s)
        *s = (scope){.parent = parent};
    return s;
}

bool dt_j_lookup(rendering *r, const char *name, value *out)
{
    for (const scope *s = r->scope; s; s = s->parent)
        for (int i = 0; i < s->count; i++)
            if (strcmp(s->name[i], name) == 0) {
                *out = s->item[i];
                return true;
            }
    if (r->variables && dt_j_find_text(r->variables, name, out))
        return true;
    const builtin *global = dt_j_row(dt_j_globals, name);
    if (global)
        *out = dt_j_bind(r, global, dt_j_none);
    return global != NULL;
}

static value named(rendering *r, const char *name)
{
    value v;
    if (dt_j_lookup(r, name, &v))
        return v;
    value message = dt_j_printf(r, "'%s' is undefined", name);
    return (value){.kind = J_UNDEFINED, .message = dt_j_failed(r) ? NULL : message.string->data};
}

/* ---- literals ---- */

static value items(rendering *r, value_kind kind, const node_list *list)
{
    value v = dt_j_list(r, kind, list->count);
    for (int i = 0; i < list->count && !dt_j_failed(r); i++)
        dt_j_push(r, v, dt_j_evaluate(r, list->node[i]));
    return v;
}

static value entries(rendering *r, const node_list *list)
{
    value v = dt_j_dict(r, list->count / 2);
    for (int i = 0; i < list->count && !dt_j_failed(r); i += 2) {
        value key = dt_j_evaluate(r, list->node[i]);
        value item = dt_j_evaluate(r, list->node[i + 1]);
        if (!dt_j_failed(r))
            dt_j_set(r, v.dict, key, item);
    }
    return v;
}

static value slice(rendering *r, const node *n)
{
    const node *place[3] = {n->a, n->b, n->c};
    value v = dt_j_list(r, J_SLICE, 3);
    for (int i = 0; i < 3 && !dt_j_failed(r); i++)
        dt_j_push(r, v, place[i] ? dt_j_evaluate(r, place[i]) : dt_j_none);
    return v;
}

/* ---- calls ---- */

static bool add_rest(rendering *r, arguments *a, value rest)
{
    value all = dt_j_to_list(r, rest);
    if (dt_j_failed(r))
        return false;
    value *more = dt_j_alloc(r, (size_t)(a->count + all.list->count + 1) * sizeof *more);
    if (!more)
        return false;
    if (a->count)
        memcpy(more, a->positional, (size_t)a->count * sizeof *more);
    if (all.list->count)
        memcpy(more + a->count, all.list->item, (size_t)all.list->count * sizeof *more);
    a->positional = more;
    a->count += all.list->count;
    return true;
}

static bool add_named(rendering *r, arguments *a, const char *name, value item)
{
    for (int64_t i = 0; i < a->named_count; i++)
        if (strcmp(a->name[i], name) == 0) {
            dt_j_fail(r, DT_FORMAT, "got multiple values for keyword argument '%s'", name);
            return false;
        }
    a->name[a->named_count] = name;
    a->named[a->named_count++] = item;
    return dt_j_spend(r, a->named_count / 8);
}

static const char *terminated(rendering *r, value v)
{
    char *copy = dt_j_alloc(r, v.string->bytes + 1);
    if (copy)
        memcpy(copy, v.string->data, v.string->bytes);
    return copy;
}

static bool all_named(rendering *r, arguments *a, const node_arguments *n)
{
    value rest = n->rest_named ? dt_j_evaluate(r, n->rest_named) : dt_j_none;
    int64_t extra = rest.kind == J_DICT ? rest.dict->count : 0;
    if (n->rest_named && rest.kind != J_DICT)
        dt_j_fail(r, DT_FORMAT, "argument after ** must be a mapping, not %s", dt_j_type(rest));
    a->name = dt_j_alloc(r, (size_t)(n->named.count + extra + 1) * sizeof *a->name);
    a->named = dt_j_alloc(r, (size_t)(n->named.count + extra + 1) * sizeof *a->named);
    for (int i = 0; i < n->named.count && !dt_j_failed(r); i++)
        add_named(r, a, n->name[i], dt_j_evaluate(r, n->named.node[i]));
    for (int64_t i = 0; i < extra && !dt_j_failed(r); i++) {
        if (rest.dict->key[i].kind != J_STRING)
            dt_j_fail(r, DT_FORMAT, "keywords must be strings");
        else
            add_named(r, a, terminated(r, rest.dict->key[i]), rest.dict->item[i]);
    }
    return !dt_j_failed(r);
}

static bool evaluate_arguments(rendering *r, const node_arguments *n, arguments *a)
{
    *a = (arguments){0};
    a->positional = dt_j_alloc(r, (size_t)(n->positional.count + 1) * sizeof *a->positional);
    for (int i = 0; i < n->positional.count && !dt_j_failed(r); i++)
        a->positional[a->count++] = dt_j_evaluate(r, n->positional.node[i]);
    if (n->rest && !dt_j_failed(r))
        add_rest(r, a, dt_j_evaluate(r, n->rest));
    if (!n->named.count && !n->rest_named)
        return !dt_j_failed(r);
    return !dt_j_failed(r) && all_named(r, a, n);
}

static value call_node(rendering *r, const node *n)
{
    arguments a;
    value callee = dt_j_evaluate(r, n->a);
    if (dt_j_failed(r) || !evaluate_arguments(r, n->arguments, &a))
        return dt_j_undefined;
    r->line = n->line;
    return dt_j_call(r, callee, &a);
}

static value filter_node(rendering *r, const node *n)
{
    arguments a;
    value v = dt_j_evaluate(r, n->a);
    if (dt_j_failed(r) || !evaluate_arguments(r, n->arguments, &a))
        return dt_j_undefined;
    r->line = n->line;
    return dt_j_apply_filter(r, n->name, v, &a);
}

static value test_node(rendering *r, const node *n)
{
    arguments a;
    value v = dt_j_evaluate(r, n->a);
    if (dt_j_failed(r) || !evaluate_arguments(r, n->arguments, &a))
        return dt_j_undefined;
    r->line = n->line;
    return dt_j_bool(dt_j_apply_test(r, n->name, v, &a));
}

/* ---- operators ---- */

static value concatenation(rendering *r, const node_list *list)
{
    value all = dt_j_text_of(r, dt_j_evaluate(r, list->node[0]));
    for (int i = 1; i < list->count && !dt_j_failed(r); i++) {
        value more = dt_j_text_of(r, dt_j_evaluate(r, list->node[i]));
        if (!dt_j_failed(r))
            all = dt_j_join(r, all, more);
    }
    return all;
}

/* a < b < c: each compared with the next, up to the first that does not hold. */
static value comparison(rendering *r, const node *n)
{
    value left = dt_j_evaluate(r, n->a), result = dt_j_undefined;
    for (int i = 0; i < n->list.count && !dt_j_failed(r); i++) {
        value right = dt_j_evaluate(r, n->list.node[i]->b);
        if (dt_j_failed(r))
            break;
        result = dt_j_operate(r, n->list.node[i]->op, left, right);
        if (!dt_j_truth(result))
            break;
        left = right;
    }
    return result;
}

static value choice(rendering *r, const node *n)
{
    value condition = dt_j_evaluate(r, n->b);
    if (dt_j_truth(condition))
        return dt_j_evaluate(r, n->a);
    if (n->c)
        return dt_j_evaluate(r, n->c);
    return (value){.kind = J_UNDEFINED,
                   .message = "the inline if-expression evaluated to false and no else section was defined."};
}

static value either(rendering *r, const node *n)
{
    value left = dt_j_evaluate(r, n->a);
    if (dt_j_failed(r) || dt_j_truth(left) == (n->kind == N_OR))
        return left;
    return dt_j_evaluate(r, n->b);
}

static value binary(rendering *r, const node *n)
{
    value a = dt_j_evaluate(r, n->a);
    value b = dt_j_evaluate(r, n->b);
    r->line = n->line;
    return dt_j_failed(r) ? dt_j_undefined : dt_j_operate(r, n->op, a, b);
}

static value evaluate(rendering *r, const node *n)
{
    value a;
    switch (n->kind) {
    case N_CONSTANT:
        return n->constant;
    case N_NAME:
        return named(r, n->name);
    case N_LIST:
        return items(r, J_LIST, &n->list);
    case N_TUPLE:
        return items(r, J_TUPLE, &n->list);
    case N_DICT:
        return entries(r, &n->list);
    case N_SLICE:
        return slice(r, n);
    case N_CALL:
        return call_node(r, n);
    case N_FILTER:
        return filter_node(r, n);
    case N_TEST:
        return test_node(r, n);
    case N_AND:
    case N_OR:
        return either(r, n);
    case N_BINARY:
        return binary(r, n);
    case N_CONCAT:
        return concatenation(r, &n->list);
    case N_COMPARE:
        return comparison(r, n);
    case N_CHOOSE:
        return choice(r, n);
    case N_ATTRIBUTE:
        a = dt_j_evaluate(r, n->a);
        r->line = n->line;
        return dt_j_failed(r) ? a : dt_j_attribute(r, a, n->name);
    case N_ITEM:
        a = dt_j_evaluate(r, n->a);
        r->line = n->line;
        return dt_j_failed(r) ? a : dt_j_item(r, a, dt_j_evaluate(r, n->b));
    case N_NOT:
        a = dt_j_evaluate(r, n->a);
        return dt_j_bool(!dt_j_truth(a));
    case N_UNARY:
        a = dt_j_evaluate(r, n->a);
        return dt_j_operate(r, n->op, a, dt_j_none);
    default:
        return dt_j_fail(r, DT_INTERNAL, "a statement where an expression belongs");
    }
}

value dt_j_evaluate(rendering *r, const node *n)
{
    if (!dt_j_spend(r, 0) || !dt_j_deeper(r))
        return dt_j_undefined;
    value v = evaluate(r, n);
    r->depth--;
    return dt_j_failed(r) ? dt_j_undefined : v;
}
