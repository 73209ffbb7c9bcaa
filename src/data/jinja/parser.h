/*
 * parser.h - what the two halves of the parser share: statements (parser.c) and expressions (parse_expression.c).
 *
 * Failure sticks: after the first error the parser stands still on its end token, and nodes are harmless.
 */
#ifndef DT_JINJA_PARSER_H
#define DT_JINJA_PARSER_H

#include "data/jinja/lexer.h"
#include "data/jinja/node.h"

typedef struct parser {
    const token *at;
    dt_arena *arena;
    int nesting; /* of what is being parsed, bounded */
    node lost;   /* stands in when memory is short: nobody looks into it then */
    dt_status status;
    dt_error *err;
} parser;

node *dt_j_new_node(parser *p, node_kind kind);
node *dt_j_adopt(parser *p, node *parent, const node *child); /* keeps the depth; hands back the parent */
void dt_j_append(parser *p, node *parent, node_list *list, node *child);
node *dt_j_syntax(parser *p, const char *format, ...) DT_PRINTF(2, 3);
bool dt_j_nest(parser *p); /* pair with nesting-- when true */
const char *dt_j_token_name(parser *p, const token *t);

bool dt_j_at(const parser *p, const char *operator);
bool dt_j_at_name(const parser *p, const char *name);
bool dt_j_skip(parser *p, const char *operator);
bool dt_j_skip_name(parser *p, const char *name);
void dt_j_expect(parser *p, const char *operator);
void dt_j_advance(parser *p);
const char *dt_j_expect_name(parser *p);

node *dt_j_parse_expression(parser *p, bool choose); /* choose: "a if b else c" is allowed at the top */
node *dt_j_parse_tuple(parser *p, bool choose, const char *end_name); /* "a, b", or one expression */
node *dt_j_parse_target(parser *p, const char *end_name);             /* what can be assigned to */
node *dt_j_parse_filter(parser *p, node *of,
                        bool started); /* | f | g(x); started: the first "|" is not written */

/* The whole; *status tells whether it is one. */
node *dt_j_parse_template(const token *tokens, dt_arena *arena, dt_status *status, dt_error *err);

#endif
