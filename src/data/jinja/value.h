/*
 * value.h - what a template computes with: Python's plain types, as far as they can be seen from a template.
 *
 * Values are small and copied; what they point to lives in the rendering's arena until the end of it. Nothing a
 * template holds can be changed by it, but namespaces, iterators (which are consumed) and cyclers.
 */
#ifndef DT_JINJA_VALUE_H
#define DT_JINJA_VALUE_H

#include "base/arena.h"
#include "base/text.h"
#include "data/jinja/jinja.h"

typedef enum value_kind {
    J_UNDEFINED, /* .message says of what; most uses of it fail */
    J_NONE,
    J_BOOL,
    J_INT,
    J_REAL,
    J_STRING,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_RANGE,
    J_ITERATOR, /* a generator: walked once */
    J_VIEW,     /* dict.items() and the like */
    J_NAMESPACE,
    J_LOOP,
    J_CYCLER,
    J_JOINER,
    J_FUNCTION, /* of our tables, perhaps bound to a value; or a macro */
    J_SLICE,    /* only ever a subscript */
    J_ABSENT    /* an argument that was not given; never seen by a template */
} value_kind;

typedef struct string string;
typedef struct item_list item_list;
typedef struct dict dict;
typedef struct range range;
typedef struct loop loop;
typedef struct function function;

typedef struct value {
    value_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        const string *string;
        item_list *list; /* J_LIST, J_TUPLE, J_ITERATOR, J_VIEW, J_CYCLER; of J_SLICE three numbers or None */
        dict *dict;      /* J_DICT, J_NAMESPACE */
        const range *range;
        loop *loop;
        const function *function;
        bool *used;          /* J_JOINER's second item is its separator */
        const char *message; /* J_UNDEFINED; NULL = nothing to tell */
    };
} value;

/* UTF-8. The tail of a string that was joined last can grow in place, so that s = s ~ x in a loop stays linear. */
typedef struct string_tail {
    char *end;
    size_t room;
} string_tail;
struct string {
    const char *data; /* not terminated */
    size_t bytes;
    int64_t chars;
    string_tail *tail; /* NULL: never grows */
};

struct item_list {
    value *item;
    int64_t count, capacity;
    int64_t next;     /* J_ITERATOR: how many were walked; J_CYCLER: whose turn it is */
    const char *name; /* J_ITERATOR, J_VIEW: what Python calls it */
};

struct dict {
    value *key, *item;
    int64_t count, capacity;
};

struct range {
    int64_t start, step, count;
};

typedef struct rendering rendering;

/* ---- making (value.c): on failure the rendering has failed, and the value is undefined ---- */

extern const value dt_j_none, dt_j_undefined, dt_j_absent;
value dt_j_bool(bool truth);
value dt_j_int(int64_t integer);
value dt_j_real(double real);
value dt_j_string(rendering *r, const char *data, size_t bytes);
value dt_j_text(rendering *r, const char *text);
value dt_j_printf(rendering *r, const char *format, ...) DT_PRINTF(2, 3);
value dt_j_take_text(rendering *r, dt_text *text);      /* a string of its content; frees it */
value dt_j_join(rendering *r, value left, value right); /* of two strings */
value dt_j_list(rendering *r, value_kind kind, int64_t capacity);
value dt_j_dict(rendering *r, int64_t capacity);
value dt_j_pair(rendering *r, value first, value second); /* a tuple */
bool dt_j_push(rendering *r, value list, value item);
bool dt_j_set(rendering *r, dict *dict, value key, value item);
bool dt_j_set_new(rendering *r, dict *dict, value key, value item); /* a key that is not there yet */
bool dt_j_hashable(value v);                                        /* may it be a key? */
bool dt_j_find(rendering *r, const dict *dict, value key, value *item);
bool dt_j_find_text(const dict *dict, const char *key, value *item);
value dt_j_from_json(rendering *r, const json_t *json);
int64_t dt_j_chars(const char *data, size_t bytes);

/* ---- asking ---- */

const char *dt_j_type(value v);        /* "str", "NoneType" */
const char *dt_j_type_object(value v); /* "str object", "None": as jinja2's messages have it */
bool dt_j_truth(value v);
bool dt_j_is(value v, const char *text);  /* a string of just this text */
bool dt_j_sequence(value v);              /* has items that can be walked and counted */
bool dt_j_number(value v, double *out);   /* bool, int and real */
bool dt_j_integer(value v, int64_t *out); /* bool and int */

/* compare.c */
bool dt_j_equal(rendering *r, value a, value b);
enum { J_UNORDERED = 2 }; /* one is not a number */
int dt_j_order(rendering *r, const char *operator, value a,
               value b); /* -1, 0, 1; fails for what has no order */
bool dt_j_contains(rendering *r, value container, value item);

/* text_of.c, json_of.c */
bool dt_j_put_text(rendering *r, dt_text *out, value v); /* str(v) */
bool dt_j_put_repr(rendering *r, dt_text *out, value v); /* repr(v) */
value dt_j_text_of(rendering *r, value v);               /* a string as it is */
void dt_j_put_real(dt_text *out, double real);           /* as Python writes floats */
typedef struct json_style {
    bool ascii, sort;
    const char *item, *key; /* separators */
    const char *indent;     /* NULL = one line */
} json_style;
bool dt_j_put_json(rendering *r, dt_text *out, value v, const json_style *style, int level);

/* ---- walking ---- */

typedef struct walk {
    value of;
    int64_t at, count; /* count is of what is left to see at the beginning */
    const char *character;
} walk;
bool dt_j_walk(rendering *r, value v, walk *w); /* fails for what cannot be walked; undefined is empty */
bool dt_j_next(rendering *r, walk *w, value *item);
value dt_j_to_list(rendering *r, value v); /* a new J_LIST of the items */

#endif
