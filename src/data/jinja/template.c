/*
 * template.c - parsing and rendering as callers see them, and the limits that every rendering keeps.
 */
#include "data/jinja/characters.h"
#include "data/jinja/parser.h"
#include "data/jinja/render.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 20000000, MEMORY = 512 << 20, OUTPUT = 64 << 20 };

/* ---- parsing ---- */

/* A copy with "\n" at line ends, less the last one: jinja2 leaves it out. */
static char *source_of(dt_arena *arena, const char *text, size_t *bytes)
{
    char *copy = dt_arena_alloc(arena, *bytes + 16); /* the lexer may look a few bytes ahead */
    size_t n = 0;
    for (size_t i = 0; copy && i < *bytes; i++) {
        bool pair = text[i] == '\r' && i + 1 < *bytes && text[i + 1] == '\n';
        if (!pair)
            copy[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (n && copy[n - 1] == '\n')
        copy[--n] = '\0';
    *bytes = n;
    return copy;
}

static dt_status parse(dt_jinja *j, const char *text, size_t bytes, dt_error *err)
{
    token_list tokens;
    dt_status status;
    if (bytes > DT_JINJA_TEMPLATE_BYTES)
        return dt_fail(err, DT_LIMIT, "a chat template of %zu bytes; at most %d are read", bytes,
                       DT_JINJA_TEMPLATE_BYTES);
    if (!dt_j_valid(text, bytes))
        return dt_fail(err, DT_FORMAT, "the chat template is not valid UTF-8");
    if (memchr(text, 0, bytes))
        return dt_fail(err, DT_FORMAT, "the chat template holds a NUL byte");
    char *copy = source_of(j->arena, text, &bytes);
    if (!copy)
        return dt_fail_memory(err, bytes, "a chat template");
    j->text = copy;
    DT_PASS(dt_j_lex(&tokens, j->arena, copy, bytes, err));
    j->body = dt_j_parse_template(tokens.token, j->arena, &status, err);
    return status;
}

dt_status dt_jinja_parse(dt_jinja **out, const char *text, size_t bytes, dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    dt_jinja *j = arena ? DT_NEW(arena, dt_jinja) : NULL;
    *out = NULL;
    if (!j) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *j, "a chat template");
    }
    j->arena = arena;
    dt_status status = parse(j, text, bytes, err);
    if (status == DT_OK)
        *out = j;
    else
        dt_arena_destroy(arena);
    return status;
}

void dt_jinja_destroy(dt_jinja *j)
{
    if (j)
        dt_arena_destroy(j->arena);
}

bool dt_jinja_mentions(const dt_jinja *j, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = j->text; (at = strstr(at, name)); at += n) {
        bool begins = at == j->text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
        if (begins && !isalnum((unsigned char)at[n]) && at[n] != '_')
            return true;
    }
    return false;
}

/* ---- limits and failure ---- */

value dt_j_fail(rendering *r, dt_status status, const char *format, ...)
{
    char text[DT_ERROR_LINE_BYTES];
    va_list args;
    if (r->status != DT_OK)
        return dt_j_undefined;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->status = dt_fail(r->err, status, "%s", text);
    dt_error_while(r->err, "in line %d of the chat template", r->line);
    return dt_j_undefined;
}

bool dt_j_failed(const rendering *r)
{
    return r->status != DT_OK;
}

bool dt_j_spend(rendering *r, int64_t steps)
{
    r->limits.steps -= steps + 1;
    if (r->limits.steps < 0)
        dt_j_fail(r, DT_LIMIT, "the template takes more steps than any conversation should: it may loop");
    return r->status == DT_OK;
}

bool dt_j_deeper(rendering *r)
{
    if (r->depth >= DT_JINJA_CALL_DEPTH) {
        dt_j_fail(r, DT_LIMIT, "calls or values are nested more than %d deep", DT_JINJA_CALL_DEPTH);
        return false;
    }
    r->depth++;
    return true;
}

bool dt_j_charge(rendering *r, size_t bytes)
{
    if (bytes > r->limits.memory)
        dt_j_fail(r, DT_LIMIT, "the template makes more text and lists than its memory limit allows");
    else
        r->limits.memory -= bytes;
    return r->status == DT_OK;
}

void *dt_j_alloc(rendering *r, size_t bytes)
{
    if (r->status != DT_OK || !dt_j_charge(r, bytes + 16))
        return NULL;
    void *data = dt_arena_alloc(r->arena, bytes ? bytes : 1);
    if (!data && r->status == DT_OK)
        r->status = dt_fail_memory(r->err, bytes, "a chat template's values");
    return data;
}

value dt_j_use_undefined(rendering *r, value v)
{
    const char *message = v.message ? v.message : "a value is undefined";
    return dt_j_fail(r, DT_FORMAT, "%s", message);
}

/* ---- rendering ---- */

static void begin(rendering *r, const json_t *variables)
{
    value v = variables ? dt_j_from_json(r, variables) : dt_j_dict(r, 0);
    if (!dt_j_failed(r) && v.kind != J_DICT)
        dt_j_fail(r, DT_INVALID, "a template's variables are a JSON object");
    r->variables = v.kind == J_DICT ? v.dict : NULL;
    r->scope = dt_j_scope(r, NULL);
}

dt_status dt_jinja_render(const dt_jinja *jinja, const json_t *variables, const dt_jinja_options *options,
                          dt_text *out, dt_error *err)
{
    rendering r = {.jinja = jinja, .out = out, .err = err, .line = 1};
    if (options)
        r.limits = *options;
    r.now = r.limits.now ? r.limits.now : time(NULL);
    r.limits.steps = r.limits.steps ? r.limits.steps : STEPS;
    r.limits.memory = r.limits.memory ? r.limits.memory : MEMORY;
    r.limits.output = r.limits.output ? r.limits.output : OUTPUT;
    if (!(r.arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "a rendering");
    begin(&r, variables);
    if (!dt_j_failed(&r) && dt_j_execute(&r, jinja->body) != FLOW_ON)
        dt_j_fail(&r, DT_FORMAT, "break or continue outside of a loop");
    if (out->failed && !dt_j_failed(&r))
        dt_j_fail(&r, DT_NO_MEMORY, "out of memory for the template's text");
    dt_arena_destroy(r.arena);
    return r.status;
}
