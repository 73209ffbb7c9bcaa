/*
 * parser.c - statements: what stands between {% and %}, and the text around it.
 */
#include "data/jinja/parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- nodes ---- */

node *dt_j_new_node(parser *p, node_kind kind)
{
    node *n = p->status == DT_NO_MEMORY ? NULL : DT_NEW(p->arena, node);
    if (!n) {
        if (p->status == DT_OK)
            p->status = dt_fail_memory(p->err, sizeof *n, "a template");
        return &p->lost;
    }
    n->kind = kind;
    n->line = p->at->line;
    n->depth = 1;
    return n;
}

node *dt_j_adopt(parser *p, node *parent, const node *child)
{
    if (p->status == DT_OK && child->depth >= parent->depth) {
        parent->depth = child->depth + 1;
        if (parent->depth > DT_JINJA_TREE_DEPTH)
            dt_j_syntax(p, "an expression of more than %d steps, or statements nested as deeply",
                        DT_JINJA_TREE_DEPTH);
    }
    return parent;
}

void dt_j_append(parser *p, node *parent, node_list *list, node *child)
{
    if (p->status != DT_OK)
        return;
    if (list->count == list->capacity) {
        size_t larger = list->capacity ? 2 * (size_t)list->capacity : 4;
        node **grown = dt_arena_grow(p->arena, list->node, (size_t)list->count * sizeof(node *),
                                     larger * sizeof(node *));
        if (!grown) {
            p->status = dt_fail_memory(p->err, larger * sizeof(node *), "a template");
            return;
        }
        list->node = grown;
        list->capacity = (int)larger;
    }
    list->node[list->count++] = child;
    dt_j_adopt(p, parent, child);
}

/* ---- failing ---- */

node *dt_j_syntax(parser *p, const char *format, ...)
{
    char text[DT_ERROR_LINE_BYTES];
    va_list args;
    int line = p->at->line;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (p->status == DT_OK) {
        p->status = dt_fail(p->err, DT_FORMAT, "%s", text);
        dt_error_while(p->err, "in line %d of the chat template", line);
        while (p->at->kind != T_END)
            p->at++;
    }
    return dt_j_new_node(p, N_CONSTANT);
}

bool dt_j_nest(parser *p)
{
    if (p->nesting >= DT_JINJA_NESTING) {
        dt_j_syntax(p, "nested more than %d deep", DT_JINJA_NESTING);
        return false;
    }
    p->nesting++;
    return true;
}

/* ---- tokens ---- */

const char *dt_j_token_name(parser *p, const token *t)
{
    if (t->kind == T_END)
        return "the end of the template";
    if (t->kind == T_TEXT)
        return "text";
    const char *quoted = dt_arena_printf(p->arena, "\"%.*s\"", (int)(t->bytes < 60 ? t->bytes : 60), t->text);
    return quoted ? quoted : "what is there";
}

static bool is(const token *t, token_kind kind, const char *text)
{
    return t->kind == kind && strlen(text) == t->bytes && memcmp(t->text, text, t->bytes) == 0;
}

bool dt_j_at(const parser *p, const char *operator)
{
    return is(p->at, T_OPERATOR, operator);
}

bool dt_j_at_name(const parser *p, const char *name)
{
    return is(p->at, T_NAME, name);
}

void dt_j_advance(parser *p)
{
    if (p->at->kind != T_END)
        p->at++;
}

bool dt_j_skip(parser *p, const char *operator)
{
    bool there = dt_j_at(p, operator);
    if (there)
        dt_j_advance(p);
    return there;
}

bool dt_j_skip_name(parser *p, const char *name)
{
    bool there = dt_j_at_name(p, name);
    if (there)
        dt_j_advance(p);
    return there;
}

void dt_j_expect(parser *p, const char *operator)
{
    if (!dt_j_skip(p, operator))
        dt_j_syntax(p, "expected \"%s\", found %s", operator, dt_j_token_name(p, p->at));
}

const char *dt_j_expect_name(parser *p)
{
    if (p->at->kind != T_NAME) {
        dt_j_syntax(p, "expected a name, found %s", dt_j_token_name(p, p->at));
        return "";
    }
    const char *name = dt_arena_text_n(p->arena, p->at->text, p->at->bytes);
    if (!name && p->status == DT_OK)
        p->status = dt_fail_memory(p->err, p->at->bytes, "a name");
    dt_j_advance(p);
    return name ? name : "";
}

static void expect_block_end(parser *p)
{
    if (p->at->kind != T_BLOCK_END)
        dt_j_syntax(p, "expected \"%%}\", found %s", dt_j_token_name(p, p->at));
    dt_j_advance(p);
}

/* ---- statements ---- */

static node *body_until(parser *p, const char *const *ends);

/* A body up to {% end %}, which is read, its %} included. */
static node *body_to(parser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    expect_block_end(p);
    node *body = body_until(p, ends);
    dt_j_advance(p);
    expect_block_end(p);
    return body;
}

static node *give_body(parser *p, node *n, node *body)
{
    n->c = body;
    return dt_j_adopt(p, n, body);
}

static node *parse_for(parser *p, node *n)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    n->a = dt_j_parse_target(p, "in");
    if (!dt_j_skip_name(p, "in"))
        return dt_j_syntax(p, "expected \"in\", found %s", dt_j_token_name(p, p->at));
    n->b = dt_j_parse_tuple(p, false, "recursive");
    dt_j_adopt(p, n, n->b);
    if (dt_j_skip_name(p, "if")) {
        n->c = dt_j_parse_expression(p, true);
        dt_j_adopt(p, n, n->c);
    }
    n->recursive = dt_j_skip_name(p, "recursive");
    expect_block_end(p);
    dt_j_append(p, n, &n->list, body_until(p, ends));
    if (dt_j_skip_name(p, "else"))
        dt_j_append(p, n, &n->list, body_to(p, "endfor"));
    else {
        dt_j_advance(p);
        expect_block_end(p);
    }
    return n;
}

static node *parse_if(parser *p, node *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    do {
        dt_j_append(p, n, &n->list, dt_j_parse_tuple(p, false, NULL));
        expect_block_end(p);
        dt_j_append(p, n, &n->list, body_until(p, ends));
    } while (dt_j_skip_name(p, "elif"));
    if (dt_j_skip_name(p, "else")) {
        dt_j_append(p, n, &n->list, body_to(p, "endif"));
        return n;
    }
    dt_j_advance(p);
    expect_block_end(p);
    return n;
}

static node *parse_set(parser *p, node *n)
{
    n->a = dt_j_parse_target(p, NULL);
    dt_j_adopt(p, n, n->a);
    if (dt_j_skip(p, "=")) {
        n->b = dt_j_parse_tuple(p, true, NULL);
        dt_j_adopt(p, n, n->b);
        expect_block_end(p);
        return n;
    }
    n->kind = N_SET_BLOCK;
    n->b = dt_j_parse_filter(p, NULL, false);
    if (n->b)
        dt_j_adopt(p, n, n->b);
    return give_body(p, n, body_to(p, "endset"));
}

/* (a, b, c=1): parameters, and the defaults of the last of them. */
static void signature(parser *p, node *n)
{
    dt_j_expect(p, "(");
    while (p->status == DT_OK && !dt_j_at(p, ")")) {
        if (n->list.count)
            dt_j_expect(p, ",");
        node *parameter = dt_j_new_node(p, N_NAME);
        parameter->name = dt_j_expect_name(p);
        dt_j_append(p, n, &n->list, parameter);
        if (dt_j_skip(p, "="))
            dt_j_append(p, n, &n->defaults, dt_j_parse_expression(p, true));
        else if (n->defaults.count)
            dt_j_syntax(p, "a parameter without a default follows one that has it");
    }
    dt_j_expect(p, ")");
}

static node *parse_macro(parser *p, node *n)
{
    n->name = dt_j_expect_name(p);
    signature(p, n);
    return give_body(p, n, body_to(p, "endmacro"));
}

static node *parse_call_block(parser *p, node *n)
{
    n->name = "caller";
    if (dt_j_at(p, "("))
        signature(p, n);
    n->a = dt_j_parse_expression(p, true);
    dt_j_adopt(p, n, n->a);
    if (n->a->kind != N_CALL)
        return dt_j_syntax(p, "{%% call %%} needs a call");
    return give_body(p, n, body_to(p, "endcall"));
}

static node *parse_filter_block(parser *p, node *n)
{
    n->b = dt_j_parse_filter(p, NULL, true);
    dt_j_adopt(p, n, n->b);
    return give_body(p, n, body_to(p, "endfilter"));
}

static node *parse_with(parser *p, node *n)
{
    while (p->status == DT_OK && p->at->kind != T_BLOCK_END) {
        if (n->list.count)
            dt_j_expect(p, ",");
        dt_j_append(p, n, &n->list, dt_j_parse_target(p, NULL));
        dt_j_expect(p, "=");
        dt_j_append(p, n, &n->list, dt_j_parse_expression(p, true));
    }
    return give_body(p, n, body_to(p, "endwith"));
}

static node *parse_generation(parser *p, node *n)
{
    return give_body(p, n, body_to(p, "endgeneration"));
}

static node *parse_block(parser *p, node *n)
{
    dt_j_expect_name(p);
    dt_j_skip_name(p, "scoped");
    expect_block_end(p);
    static const char *const ends[] = {"endblock", NULL};
    node *body = body_until(p, ends);
    dt_j_advance(p);
    if (p->at->kind == T_NAME)
        dt_j_advance(p);
    expect_block_end(p);
    return give_body(p, n, body);
}

static node *parse_alone(parser *p, node *n)
{
    expect_block_end(p);
    return n;
}

static const struct statement {
    const char *word;
    node_kind kind;
    node *(*parse)(parser *p, node *n);
} statements[] = {
    {"for", N_FOR, parse_for},
    {"if", N_IF, parse_if},
    {"set", N_SET, parse_set},
    {"macro", N_MACRO, parse_macro},
    {"call", N_CALL_BLOCK, parse_call_block},
    {"filter", N_FILTER_BLOCK, parse_filter_block},
    {"with", N_WITH, parse_with},
    {"generation", N_SCOPED, parse_generation},
    {"block", N_SCOPED, parse_block},
    {"break", N_BREAK, parse_alone},
    {"continue", N_CONTINUE, parse_alone},
};

static node *unknown_statement(parser *p)
{
    static const char *const other[] = {"extends",    "include", "import", "from",
                                        "autoescape", "do",      "trans",  "debug"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (dt_j_at_name(p, other[i]))
            return dt_j_syntax(p, "{%% %s %%} is not for chat templates", other[i]);
    return dt_j_syntax(p, "unknown tag %s", dt_j_token_name(p, p->at));
}

static node *statement(parser *p)
{
    node *n = NULL;
    if (!dt_j_nest(p))
        return dt_j_new_node(p, N_BODY);
    for (size_t i = 0; !n && i < sizeof statements / sizeof *statements; i++)
        if (dt_j_at_name(p, statements[i].word)) {
            n = dt_j_new_node(p, statements[i].kind);
            dt_j_advance(p);
            n = statements[i].parse(p, n);
        }
    if (!n)
        n = unknown_statement(p);
    p->nesting--;
    return n;
}

/* ---- bodies ---- */

static node *text(parser *p)
{
    node *n = dt_j_new_node(p, N_TEXT);
    string *s = DT_NEW(p->arena, string);
    if (s) {
        *s = (string){.data = p->at->text, .bytes = p->at->bytes};
        n->constant = (value){.kind = J_STRING, .string = s};
    } else if (p->status == DT_OK)
        p->status = dt_fail_memory(p->err, sizeof *s, "a template");
    dt_j_advance(p);
    return n;
}

static node *output(parser *p)
{
    node *n = dt_j_new_node(p, N_OUTPUT);
    dt_j_advance(p);
    n->a = dt_j_parse_tuple(p, true, NULL);
    if (p->at->kind != T_VARIABLE_END)
        dt_j_syntax(p, "expected \"}}\", found %s", dt_j_token_name(p, p->at));
    dt_j_advance(p);
    return dt_j_adopt(p, n, n->a);
}

static bool one_of(const parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (dt_j_at_name(p, *ends))
            return true;
    return false;
}

/* Up to one of `ends` (its name is next then), or the template's end where there are none. */
static node *body_until(parser *p, const char *const *ends)
{
    node *body = dt_j_new_node(p, N_BODY);
    while (p->status == DT_OK && p->at->kind != T_END) {
        if (p->at->kind == T_TEXT) {
            dt_j_append(p, body, &body->list, text(p));
        } else if (p->at->kind == T_VARIABLE_BEGIN) {
            dt_j_append(p, body, &body->list, output(p));
        } else {
            dt_j_advance(p);
            if (one_of(p, ends))
                return body;
            dt_j_append(p, body, &body->list, statement(p));
        }
    }
    if (ends)
        dt_j_syntax(p, "the template ends where {%% %s %%} is expected", ends[0]);
    return body;
}

node *dt_j_parse_template(const token *tokens, dt_arena *arena, dt_status *status, dt_error *err)
{
    parser p = {.at = tokens, .arena = arena, .err = err};
    node *body = body_until(&p, NULL);
    *status = p.status;
    return body;
}
