/*
 * node.h - a parsed template: statements and expressions, in the template's arena.
 */
#ifndef DT_JINJA_NODE_H
#define DT_JINJA_NODE_H

#include "data/jinja/value.h"

/* What each kind keeps in its node: `a`, `b`, `c` are nodes, `list` many, `name` and `constant` what they say. */
typedef enum node_kind {
    /* expressions */
    N_CONSTANT,  /* constant */
    N_NAME,      /* name */
    N_LIST,      /* list */
    N_TUPLE,     /* list */
    N_DICT,      /* list: key, value, key, value … */
    N_ATTRIBUTE, /* a . name */
    N_ITEM,      /* a [ b ] */
    N_SLICE,     /* a : b : c, each may be NULL */
    N_CALL,      /* a ( arguments ) */
    N_FILTER, /* a | name ( arguments ); a is NULL in {% filter %} and {% set %} blocks, where it is what was written */
    N_TEST,    /* a is name ( arguments ) */
    N_NOT,     /* a */
    N_AND,     /* a b */
    N_OR,      /* a b */
    N_UNARY,   /* op a */
    N_BINARY,  /* op a b */
    N_CONCAT,  /* list, joined by ~ */
    N_COMPARE, /* a, then list of N_BINARY whose b is the right side */
    N_CHOOSE,  /* a if b else c (c may be NULL) */
    /* statements */
    N_BODY,         /* list */
    N_OUTPUT,       /* a */
    N_TEXT,         /* constant */
    N_FOR,          /* for a in b if c: list = body, else (may be NULL) */
    N_IF,           /* list: condition, body, condition, body …, else's body when odd */
    N_SET,          /* a = b */
    N_SET_BLOCK,    /* a = body c, through filter b (may be NULL) */
    N_MACRO,        /* name, list = parameters (N_NAME), defaults = the last of them; body c */
    N_CALL_BLOCK,   /* a = the N_CALL; list, defaults and c as a macro's */
    N_FILTER_BLOCK, /* b = filter, c = body */
    N_WITH,         /* list: target, value …; c = body */
    N_SCOPED,       /* c = body with a scope of its own ({% generation %}, {% block %}) */
    N_BREAK,
    N_CONTINUE
} node_kind;

typedef enum operation {
    OP_ADD,
    OP_SUBTRACT,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_FLOOR_DIVIDE,
    OP_MODULO,
    OP_POWER,
    OP_NEGATE,
    OP_PLUS,
    OP_EQUAL,
    OP_UNEQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_MORE,
    OP_MORE_EQUAL,
    OP_IN,
    OP_NOT_IN
} operation;

typedef struct node node;
typedef struct node_list {
    node **node;
    int count, capacity;
} node_list;

typedef struct node_arguments {
    node_list positional, named;
    const char **name;       /* of the named */
    node *rest, *rest_named; /* *x, **y */
} node_arguments;

struct node {
    node_kind kind;
    operation op;
    int line, depth; /* depth of the tree below, which is bounded */
    const char *name;
    value constant;
    node *a, *b, *c;
    node_list list, defaults;
    node_arguments *arguments;
    bool recursive; /* N_FOR */
};

struct dt_jinja {
    dt_arena *arena;
    node *body;
    const char *text; /* the source, terminated */
};

enum {
    DT_JINJA_TEMPLATE_BYTES = 4 << 20,
    DT_JINJA_TREE_DEPTH = 400,
    DT_JINJA_NESTING = 120, /* brackets, or statements inside statements */
    DT_JINJA_CALL_DEPTH = 900
};

#endif
