/*
 * execute.c - statements: text goes out, names are set, bodies run as often as they should.
 */
#include "data/jinja/render.h"

#include <string.h>

/* ---- names ---- */

void dt_j_define(rendering *r, const char *name, value v)
{
    scope *s = r->scope;
    if (dt_j_failed(r))
        return;
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->name[i], name) == 0) {
            s->item[i] = v;
            return;
        }
    if (s->count == s->capacity) {
        int larger = s->capacity ? 2 * s->capacity : 4;
        const char **names = dt_j_alloc(r, (size_t)larger * sizeof *names);
        value *items = dt_j_alloc(r, (size_t)larger * sizeof *items);
        if (!names || !items)
            return;
        if (s->count) {
            memcpy(names, s->name, (size_t)s->count * sizeof *names);
            memcpy(items, s->item, (size_t)s->count * sizeof *items);
        }
        s->name = names;
        s->item = items;
        s->capacity = larger;
    }
    dt_j_spend(r, s->count / 8);
    s->name[s->count] = name;
    s->item[s->count++] = v;
}

static void assign_field(rendering *r, const node *target, value v)
{
    value of = dt_j_evaluate(r, target->a);
    if (dt_j_failed(r))
        return;
    if (of.kind != J_NAMESPACE)
        dt_j_fail(r, DT_FORMAT, "cannot assign attribute on non-namespace object");
    else if (target->name[0] == '_')
        dt_j_fail(r, DT_FORMAT, "a namespace cannot hold a name with a leading underscore: '%s'",
                  target->name);
    else {
        value key = dt_j_text(r, target->name);
        if (!dt_j_failed(r))
            dt_j_set(r, of.dict, key, v);
    }
}

static void assign_each(rendering *r, const node *target, value v)
{
    value all = dt_j_to_list(r, v);
    if (dt_j_failed(r))
        return;
    int64_t count = all.list->count, wanted = target->list.count;
    if (count < wanted)
        dt_j_fail(r, DT_FORMAT, "not enough values to unpack (expected %lld, got %lld)", (long long)wanted,
                  (long long)count);
    else if (count > wanted)
        dt_j_fail(r, DT_FORMAT, "too many values to unpack (expected %lld, got %lld)", (long long)wanted,
                  (long long)count);
    for (int64_t i = 0; i < wanted && !dt_j_failed(r); i++)
        dt_j_assign(r, target->list.node[i], all.list->item[i]);
}

void dt_j_assign(rendering *r, const node *target, value v)
{
    if (dt_j_failed(r))
        return;
    if (target->kind == N_NAME)
        dt_j_define(r, target->name, v);
    else if (target->kind == N_ATTRIBUTE)
        assign_field(r, target, v);
    else
        assign_each(r, target, v);
}

/* ---- output ---- */

static void write_text(rendering *r, const char *data, size_t bytes)
{
    if (r->out->bytes + bytes > r->limits.output)
        dt_j_fail(r, DT_LIMIT, "the template writes more than %zu bytes", r->limits.output);
    else if (dt_j_charge(r, bytes))
        dt_text_append(r->out, data, bytes);
}

static void write_value(rendering *r, value v)
{
    value text = dt_j_failed(r) ? v : dt_j_text_of(r, v);
    if (!dt_j_failed(r))
        write_text(r, text.string->data, text.string->bytes);
}

/* Run a body in a scope of its own, its output going to `out`. */
static flow run_scoped(rendering *r, const node *body)
{
    scope *before = r->scope;
    flow f = FLOW_ON;
    if ((r->scope = dt_j_scope(r, before)))
        f = dt_j_execute(r, body);
    r->scope = before;
    return f;
}

value dt_j_capture(rendering *r, const node *body)
{
    dt_text captured = {0}, *before = r->out;
    r->out = &captured;
    run_scoped(r, body);
    r->out = before;
    return dt_j_take_text(r, &captured);
}

/* What a body wrote, through the filters of {% filter %} or {% set %}: the innermost has no operand of its own. */
static value filtered(rendering *r, const node *filter, value v)
{
    if (!filter || dt_j_failed(r))
        return v;
    node copy = *filter, constant = {.kind = N_CONSTANT, .line = filter->line};
    constant.constant = filtered(r, filter->a, v);
    copy.a = &constant;
    return dt_j_evaluate(r, &copy);
}

/* ---- loops ---- */

/* The items that pass the loop's condition, which sees the loop's names but not `loop`. */
static value select_items(rendering *r, const node *n, value items)
{
    walk w;
    value item, chosen;
    if (!n->c)
        return dt_j_to_list(r, items);
    if (!dt_j_walk(r, items, &w))
        return dt_j_undefined;
    chosen = dt_j_list(r, J_LIST, 0);
    scope *before = r->scope;
    while (dt_j_next(r, &w, &item) && (r->scope = dt_j_scope(r, before))) {
        dt_j_assign(r, n->a, item);
        if (dt_j_truth(dt_j_evaluate(r, n->c)))
            dt_j_push(r, chosen, item);
        r->scope = before;
    }
    r->scope = before;
    return chosen;
}

static flow run_loop(rendering *r, const node *n, value items, int depth)
{
    scope *before = r->scope;
    value chosen = select_items(r, n, items);
    flow f = FLOW_ON;
    bool whole =
        false; /* an iteration ran to its end: where all are cut short, jinja2 runs the loop's else, too */
    if (dt_j_failed(r))
        return FLOW_ON;
    loop *l = dt_j_alloc(r, sizeof *l);
    if (!l)
        return FLOW_ON;
    *l = (loop){.items = chosen, .depth = depth, .changed = dt_j_absent, .outside = before};
    l->recursive = n->recursive ? n : NULL;
    for (; l->at < chosen.list->count && f != FLOW_BREAK && dt_j_spend(r, 1); l->at++) {
        if (!(r->scope = dt_j_scope(r, before)))
            break;
        dt_j_define(r, "loop", (value){.kind = J_LOOP, .loop = l});
        dt_j_assign(r, n->a, chosen.list->item[l->at]);
        f = dt_j_execute(r, n->list.node[0]);
        whole |= f == FLOW_ON;
    }
    r->scope = before;
    if (!whole && n->list.count > 1)
        return run_scoped(r, n->list.node[1]);
    return FLOW_ON;
}

value dt_j_loop_again(rendering *r, loop *l, value items)
{
    dt_text captured = {0}, *before = r->out;
    scope *inside = r->scope;
    if (!l->recursive)
        return dt_j_fail(r, DT_FORMAT, "The loop must have the 'recursive' marker to be called recursively.");
    if (!dt_j_deeper(r))
        return dt_j_undefined;
    r->out = &captured;
    r->scope = l->outside;
    run_loop(r, l->recursive, items, l->depth + 1);
    r->scope = inside;
    r->out = before;
    r->depth--;
    return dt_j_take_text(r, &captured);
}

/* ---- other statements ---- */

static flow run_if(rendering *r, const node *n)
{
    int i = 0;
    for (; i + 1 < n->list.count && !dt_j_failed(r); i += 2)
        if (dt_j_truth(dt_j_evaluate(r, n->list.node[i])))
            return dt_j_execute(r, n->list.node[i + 1]);
    return i < n->list.count && !dt_j_failed(r) ? dt_j_execute(r, n->list.node[i]) : FLOW_ON;
}

static value make_macro(rendering *r, const node *n)
{
    function *f = dt_j_alloc(r, sizeof *f);
    if (!f)
        return dt_j_undefined;
    *f = (function){.macro = {.definition = n, .scope = r->scope}};
    return (value){.kind = J_FUNCTION, .function = f};
}

/* {% call f(x) %}body{% endcall %}: f(x, caller=the body as a macro). */
static void run_call_block(rendering *r, const node *n)
{
    scope *before = r->scope;
    value caller = make_macro(r, n);
    node body = {.kind = N_CONSTANT, .line = n->line, .constant = caller};
    node with_caller = *n->a;
    node_arguments a = *n->a->arguments;
    size_t given = (size_t)a.named.count;
    node **named = dt_j_alloc(r, (given + 1) * sizeof *named);
    const char **names = dt_j_alloc(r, (given + 1) * sizeof *names);
    if (!named || !names)
        return;
    for (size_t i = 0; i < given; i++) {
        named[i] = a.named.node[i];
        names[i] = a.name[i];
    }
    named[given] = &body;
    names[given] = "caller";
    a.named = (node_list){.node = named, .count = (int)given + 1};
    a.name = names;
    with_caller.arguments = &a;
    write_value(r, dt_j_evaluate(r, &with_caller));
    r->scope = before;
}

static flow run_with(rendering *r, const node *n)
{
    scope *before = r->scope, *inner = dt_j_scope(r, before);
    for (int i = 0; i + 1 < n->list.count && !dt_j_failed(r); i += 2) {
        r->scope = before; /* the values do not see each other */
        value v = dt_j_evaluate(r, n->list.node[i + 1]);
        r->scope = inner;
        dt_j_assign(r, n->list.node[i], v);
    }
    r->scope = inner;
    flow f = dt_j_failed(r) ? FLOW_ON : dt_j_execute(r, n->c);
    r->scope = before;
    return f;
}

static flow run(rendering *r, const node *n)
{
    r->line = n->line;
    switch (n->kind) {
    case N_BODY:
        return dt_j_execute(r, n);
    case N_TEXT:
        write_text(r, n->constant.string->data, n->constant.string->bytes);
        break;
    case N_OUTPUT:
        write_value(r, dt_j_evaluate(r, n->a));
        break;
    case N_FOR:
        return run_loop(r, n, dt_j_evaluate(r, n->b), 0);
    case N_IF:
        return run_if(r, n);
    case N_SET:
        dt_j_assign(r, n->a, dt_j_evaluate(r, n->b));
        break;
    case N_SET_BLOCK:
        dt_j_assign(r, n->a, filtered(r, n->b, dt_j_capture(r, n->c)));
        break;
    case N_MACRO:
        dt_j_define(r, n->name, make_macro(r, n));
        break;
    case N_CALL_BLOCK:
        run_call_block(r, n);
        break;
    case N_FILTER_BLOCK:
        write_value(r, filtered(r, n->b, dt_j_capture(r, n->c)));
        break;
    case N_WITH:
        return run_with(r, n);
    case N_SCOPED:
        return run_scoped(r, n->c);
    case N_BREAK:
        return FLOW_BREAK;
    case N_CONTINUE:
        return FLOW_CONTINUE;
    default:
        dt_j_fail(r, DT_INTERNAL, "an expression where a statement belongs");
    }
    return FLOW_ON;
}

flow dt_j_execute(rendering *r, const node *body)
{
    flow f = FLOW_ON;
    if (!dt_j_deeper(r))
        return FLOW_ON;
    for (int i = 0; i < body->list.count && f == FLOW_ON && dt_j_spend(r, 0); i++)
        f = run(r, body->list.node[i]);
    r->depth--;
    return f;
}
