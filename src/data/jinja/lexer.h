/*
 * lexer.h - a template's text as tokens: pieces of text, and names, literals and operators inside of tags.
 */
#ifndef DT_JINJA_LEXER_H
#define DT_JINJA_LEXER_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum token_kind {
    T_END,
    T_TEXT,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VARIABLE_BEGIN,
    T_VARIABLE_END,
    T_NAME,
    T_STRING, /* with its quotes */
    T_INTEGER,
    T_REAL,
    T_OPERATOR
} token_kind;

typedef struct token {
    token_kind kind;
    int line;
    const char *text; /* into the source */
    size_t bytes;
} token;

typedef struct token_list {
    token *token; /* ends with a T_END */
    size_t count, capacity;
} token_list;

/* `text` is terminated, has "\n" at line ends, and outlives the tokens. */
dt_status dt_j_lex(token_list *out, dt_arena *arena, const char *text, size_t bytes, dt_error *err);

#endif
