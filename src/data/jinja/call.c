/*
 * call.c - calling: functions of our tables, whose arguments are put in their places, and macros.
 */
#include "data/jinja/render.h"

#include <string.h>

/* ---- functions of the tables ---- */

const builtin *dt_j_row(const builtin *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

value dt_j_bind(rendering *r, const builtin *b, value self)
{
    function *f = dt_j_alloc(r, sizeof *f);
    if (!f)
        return dt_j_undefined;
    *f = (function){.builtin = b, .self = self};
    return (value){.kind = J_FUNCTION, .function = f};
}

/* The place of `name` among "a b? c?"; -1 when it is none. */
static int place_of(const char *parameters, const char *name, size_t bytes)
{
    int place = 0;
    for (const char *at = parameters; *at; place++) {
        size_t n = strcspn(at, " "), bare = n - (at[n - 1] == '?');
        if (bare == bytes && memcmp(at, name, bytes) == 0)
            return place;
        at += n;
        at += strspn(at, " ");
    }
    return -1;
}

static bool check_required(rendering *r, const builtin *b, const call *c)
{
    int place = 0;
    for (const char *at = b->parameters; *at; place++) {
        size_t n = strcspn(at, " ");
        if (at[n - 1] != '?' && at[0] != '*' && !given(c->argument[place])) {
            dt_j_fail(r, DT_FORMAT, "%s() missing required argument: '%.*s'", b->name, (int)n, at);
            return false;
        }
        at += n;
        at += strspn(at, " ");
    }
    return true;
}

static bool put_named(rendering *r, const builtin *b, const arguments *given_ones, call *c)
{
    bool any = strstr(b->parameters, "**");
    for (int64_t i = 0; i < given_ones->named_count; i++) {
        const char *name = given_ones->name[i];
        int place = place_of(b->parameters, name, strlen(name));
        if (place < 0 && any)
            continue;
        if (place < 0 || given(c->argument[place])) {
            dt_j_fail(r, DT_FORMAT, "%s() got %s argument '%s'", b->name,
                      place < 0 ? "an unexpected keyword" : "multiple values for", name);
            return false;
        }
        c->argument[place] = given_ones->named[i];
    }
    return true;
}

value dt_j_run_builtin(rendering *r, const builtin *b, value self, const arguments *a)
{
    call c = {.r = r, .self = self, .given = a};
    int places = 0;
    for (const char *at = b->parameters; *at && *at != '*'; places++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    for (int i = 0; i < CALL_ARGUMENTS; i++)
        c.argument[i] = i < a->count && i < places ? a->positional[i] : dt_j_absent;
    const char *star = strchr(b->parameters, '*');
    if (a->count > places && !(star && (star[1] == ' ' || !star[1])))
        return dt_j_fail(r, DT_FORMAT, "%s() takes at most %d arguments (%lld given)", b->name, places,
                         (long long)a->count);
    if (!put_named(r, b, a, &c) || !check_required(r, b, &c) || !dt_j_deeper(r))
        return dt_j_undefined;
    value v = b->run(&c);
    r->depth--;
    return dt_j_failed(r) ? dt_j_undefined : v;
}

arguments dt_j_rest(const arguments *a, int64_t first)
{
    arguments rest = *a;
    first = first < rest.count ? first : rest.count;
    rest.positional += first;
    rest.count -= first;
    return rest;
}

/* ---- macros ---- */

static const node *default_of(const node *definition, int parameter)
{
    int first = definition->list.count - definition->defaults.count;
    return parameter >= first ? definition->defaults.node[parameter - first] : NULL;
}

static bool uses(rendering *r, const char *name)
{
    return dt_jinja_mentions(r->jinja, name);
}

static value surplus(rendering *r, const arguments *a, int64_t first)
{
    value v = dt_j_list(r, J_TUPLE, a->count > first ? a->count - first : 0);
    for (int64_t i = first; i < a->count && !dt_j_failed(r); i++)
        dt_j_push(r, v, a->positional[i]);
    return v;
}

/* Named arguments: each to its parameter, `caller` to itself, others to kwargs where the template knows that word. */
static void bind_named(rendering *r, const node *d, const arguments *a, value *bound)
{
    value others = dt_j_dict(r, 0);
    for (int64_t i = 0; i < a->named_count && !dt_j_failed(r); i++) {
        int p = 0;
        while (p < d->list.count && strcmp(d->list.node[p]->name, a->name[i]) != 0)
            p++;
        if (p < d->list.count && given(bound[p]))
            dt_j_fail(r, DT_FORMAT, "macro '%s' got multiple values for argument '%s'", d->name, a->name[i]);
        else if (p < d->list.count)
            bound[p] = a->named[i];
        else if (strcmp(a->name[i], "caller") == 0)
            dt_j_define(r, "caller", a->named[i]);
        else if (uses(r, "kwargs"))
            dt_j_set(r, others.dict, dt_j_text(r, a->name[i]), a->named[i]);
        else
            dt_j_fail(r, DT_FORMAT, "macro '%s' takes no keyword argument '%s'", d->name, a->name[i]);
    }
    if (uses(r, "kwargs"))
        dt_j_define(r, "kwargs", others);
}

static value not_provided(rendering *r, const char *name)
{
    value message = dt_j_printf(r, "parameter '%s' was not provided", name);
    return (value){.kind = J_UNDEFINED, .message = dt_j_failed(r) ? NULL : message.string->data};
}

static void bind_macro(rendering *r, const node *d, const arguments *a)
{
    value *bound = dt_j_alloc(r, (size_t)(d->list.count + 1) * sizeof *bound);
    if (!bound)
        return;
    for (int i = 0; i < d->list.count; i++)
        bound[i] = i < a->count ? a->positional[i] : dt_j_absent;
    if (a->count > d->list.count && !uses(r, "varargs"))
        dt_j_fail(r, DT_FORMAT, "macro '%s' takes not more than %d argument(s)", d->name, d->list.count);
    bind_named(r, d, a, bound);
    if (uses(r, "varargs"))
        dt_j_define(r, "varargs", surplus(r, a, d->list.count));
    for (int i = 0; i < d->list.count && !dt_j_failed(r); i++) {
        const node *otherwise = default_of(d, i);
        if (!given(bound[i]))
            bound[i] = otherwise ? dt_j_evaluate(r, otherwise) : not_provided(r, d->list.node[i]->name);
        dt_j_define(r, d->list.node[i]->name, bound[i]);
    }
}

static value call_macro(rendering *r, const closure *m, const arguments *a)
{
    scope *before = r->scope;
    value v = dt_j_undefined;
    r->scope = dt_j_scope(r, m->scope);
    if (r->scope)
        bind_macro(r, m->definition, a);
    if (!dt_j_failed(r))
        v = dt_j_capture(r, m->definition->c);
    r->scope = before;
    return v;
}

/* ---- any call ---- */

static value call_joiner(rendering *r, value joiner)
{
    item_list *l = joiner.list;
    if (l->next++ == 0)
        return dt_j_text(r, "");
    return l->item[0];
}

value dt_j_call(rendering *r, value callee, const arguments *a)
{
    if (!dt_j_spend(r, 4))
        return dt_j_undefined;
    if (callee.kind == J_UNDEFINED)
        return dt_j_use_undefined(r, callee);
    if (callee.kind == J_LOOP) {
        if (a->count != 1)
            return dt_j_fail(r, DT_FORMAT, "loop() takes one argument");
        return dt_j_loop_again(r, callee.loop, a->positional[0]);
    }
    if (callee.kind == J_JOINER)
        return call_joiner(r, callee);
    if (callee.kind != J_FUNCTION)
        return dt_j_fail(r, DT_FORMAT, "'%s' object is not callable", dt_j_type(callee));
    const function *f = callee.function;
    if (f->builtin)
        return dt_j_run_builtin(r, f->builtin, f->self, a);
    if (!dt_j_deeper(r))
        return dt_j_undefined;
    value v = call_macro(r, &f->macro, a);
    r->depth--;
    return v;
}

/* ---- filters and tests by name ---- */

value dt_j_apply_filter(rendering *r, const char *name, value v, const arguments *a)
{
    const builtin *const tables[] = {dt_j_filters, dt_j_filters_sequence, dt_j_filters_text};
    for (int i = 0; i < 3; i++) {
        const builtin *b = dt_j_row(tables[i], name);
        if (b)
            return dt_j_spend(r, 2) ? dt_j_run_builtin(r, b, v, a) : dt_j_undefined;
    }
    return dt_j_fail(r, DT_FORMAT, "No filter named '%s'.", name);
}

bool dt_j_apply_test(rendering *r, const char *name, value v, const arguments *a)
{
    const builtin *b = dt_j_row(dt_j_tests, name);
    if (b)
        return dt_j_spend(r, 2) && dt_j_truth(dt_j_run_builtin(r, b, v, a));
    dt_j_fail(r, DT_FORMAT, "No test named '%s'.", name);
    return false;
}

/* ---- arguments ---- */

int64_t dt_j_int_argument(call *c, int i, int64_t otherwise)
{
    int64_t n;
    if (!given(c->argument[i]) || c->argument[i].kind == J_NONE)
        return otherwise;
    if (dt_j_integer(c->argument[i], &n))
        return n;
    dt_j_fail(c->r, DT_FORMAT, "'%s' object cannot be interpreted as an integer", dt_j_type(c->argument[i]));
    return otherwise;
}

bool dt_j_bool_argument(call *c, int i, bool otherwise)
{
    return given(c->argument[i]) ? dt_j_truth(c->argument[i]) : otherwise;
}

const string *dt_j_string_argument(call *c, int i)
{
    if (!given(c->argument[i]) || c->argument[i].kind == J_NONE)
        return NULL;
    if (c->argument[i].kind == J_STRING)
        return c->argument[i].string;
    if (c->argument[i].kind == J_UNDEFINED)
        dt_j_use_undefined(c->r, c->argument[i]);
    else
        dt_j_fail(c->r, DT_FORMAT, "expected str, got %s", dt_j_type(c->argument[i]));
    return NULL;
}

const char *dt_j_name_argument(call *c, int i)
{
    const string *s = dt_j_string_argument(c, i);
    char *copy = s ? dt_j_alloc(c->r, s->bytes + 1) : NULL;
    if (copy && s->bytes)
        memcpy(copy, s->data, s->bytes);
    return copy;
}
