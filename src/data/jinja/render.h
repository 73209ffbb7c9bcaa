/*
 * render.h - a rendering: what is left of its limits, where its text goes, which names it sees, and how it fails.
 *
 * Failure sticks: after the first one nothing is computed or written, and every function hands back something
 * harmless. Whatever loops or recurses asks dt_j_spend or dt_j_deeper and stops when that says no.
 */
#ifndef DT_JINJA_RENDER_H
#define DT_JINJA_RENDER_H

#include "data/jinja/node.h"

/* Names of one block of the template, innermost first. Macros keep the scope they were made in. */
typedef struct scope {
    struct scope *parent;
    const char **name;
    value *item;
    int count, capacity;
} scope;

typedef enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;

struct rendering {
    const dt_jinja *jinja;
    const dict *variables;
    dt_arena *arena;
    dt_jinja_options limits; /* what is left of steps and memory; the most that output may be */
    int depth;
    int line; /* of what is being done */
    time_t now;
    dt_text *out;
    scope *scope;
    dt_status status;
    dt_error *err;
};

struct loop {
    value items; /* J_LIST */
    int64_t at;
    int depth;
    value changed;         /* what loop.changed() saw last */
    const node *recursive; /* the statement, when it may be called again */
    scope *outside;
};

typedef struct closure {
    const node *definition; /* N_MACRO or N_CALL_BLOCK */
    scope *scope;
} closure;

/* Arguments of a call, evaluated. */
typedef struct arguments {
    value *positional;
    int64_t count;
    const char **name; /* of the named ones */
    value *named;
    int64_t named_count;
} arguments;

/* A call of a function of our tables: its arguments by place in `parameters`, J_ABSENT where not given. */
enum { CALL_ARGUMENTS = 8 };
typedef struct call {
    rendering *r;
    value self; /* what a filter or test is applied to, or a method bound to */
    value argument[CALL_ARGUMENTS];
    const arguments *given;
} call;

/*
 * A row of a table. `parameters` are names in order, "?" behind those that may be left out; "*" takes any number of
 * further positional arguments, "**" any named ones (both then read from call->given).
 */
typedef struct builtin {
    const char *name, *parameters;
    value (*run)(call *c);
} builtin;

struct function {
    const builtin *builtin; /* or NULL: a macro */
    value self;
    closure macro;
};

/* ---- template.c ---- */
value dt_j_fail(rendering *r, dt_status status, const char *format, ...) DT_PRINTF(3, 4); /* undefined */
bool dt_j_failed(const rendering *r);
bool dt_j_spend(rendering *r, int64_t steps);    /* false: failed, stop */
bool dt_j_deeper(rendering *r);                  /* pair with depth-- when true */
void *dt_j_alloc(rendering *r, size_t bytes);    /* NULL: failed */
bool dt_j_charge(rendering *r, size_t bytes);    /* memory that is taken elsewhere */
value dt_j_use_undefined(rendering *r, value v); /* the failure that using it is */

/* ---- evaluate.c, execute.c, operators.c ---- */
value dt_j_evaluate(rendering *r, const node *n);
flow dt_j_execute(rendering *r, const node *body);
value dt_j_capture(rendering *r, const node *body); /* what it writes, as a string */
value dt_j_loop_again(rendering *r, loop *l, value items);
value dt_j_operate(rendering *r, operation op, value a, value b);
void dt_j_assign(rendering *r, const node *target, value v);
void dt_j_define(rendering *r, const char *name, value v); /* in the innermost scope */
scope *dt_j_scope(rendering *r, scope *parent);
bool dt_j_lookup(rendering *r, const char *name, value *out);

/* ---- attribute.c ---- */
value dt_j_attribute(rendering *r, value of, const char *name);
value dt_j_item(rendering *r, value of, value key);
value dt_j_path(rendering *r, value of, value path); /* "a.b.0", or a number */

/* ---- call.c ---- */
value dt_j_call(rendering *r, value callee, const arguments *given);
value dt_j_run_builtin(rendering *r, const builtin *b, value self, const arguments *given);
const builtin *dt_j_row(const builtin *table, const char *name);
value dt_j_bind(rendering *r, const builtin *b, value self); /* a method */
value dt_j_apply_filter(rendering *r, const char *name, value v, const arguments *given);
bool dt_j_apply_test(rendering *r, const char *name, value v, const arguments *given);
arguments dt_j_rest(const arguments *given, int64_t first); /* without the first positional ones */

/* format.c */
value dt_j_percent(rendering *r, value format, value operand);         /* "%s" % x */
value dt_j_format(rendering *r, value format, const arguments *given); /* "{}".format(x) */

/* The tables; each ends with a NULL name. */
extern const builtin dt_j_filters[], dt_j_filters_sequence[], dt_j_filters_text[], dt_j_tests[],
    dt_j_globals[], dt_j_string_methods[], dt_j_list_methods[], dt_j_dict_methods[], dt_j_loop_methods[],
    dt_j_cycler_methods[];

/* ---- arguments of builtins ---- */
static inline bool given(value v)
{
    return v.kind != J_ABSENT;
}
int64_t dt_j_int_argument(call *c, int i, int64_t otherwise);
bool dt_j_bool_argument(call *c, int i, bool otherwise);
const string *dt_j_string_argument(call *c, int i); /* NULL: failed, or absent or None */
const char *dt_j_name_argument(call *c, int i);     /* terminated; NULL likewise */

#endif
