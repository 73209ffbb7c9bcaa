/*
 * pickle.h - Python's pickles, protocols 0 to 5, as a tree of values. Nothing is executed.
 *
 * A pickle is a program for a stack machine whose instructions can call anything. This reader runs the stack
 * machine but calls nothing: it knows a table of names (pickle_globals.def), turns calls of those it understands
 * into plain containers, keeps calls of harmless classes as named objects, and refuses every other name.
 *
 * The tree borrows texts and bytes from the pickle, which must outlive it. A value may be reached on several ways
 * and, in a hostile file, from itself: walkers cap their depth (DT_PICKLE_DEPTH) and their steps.
 */
#ifndef DT_FORMATS_PICKLE_H
#define DT_FORMATS_PICKLE_H

#include "base/arena.h"

#include <drivetrain/dtype.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DT_PICKLE_DEPTH = 64, DT_PICKLE_VALUES = 1 << 25 };

typedef enum dt_value_kind {
    DT_VALUE_NONE,
    DT_VALUE_BOOL,
    DT_VALUE_INT,
    DT_VALUE_BIG, /* an integer beyond 64 bits: `text` holds its little-endian two's complement */
    DT_VALUE_REAL,
    DT_VALUE_TEXT, /* valid UTF-8, not terminated, may hold zeros */
    DT_VALUE_BYTES,
    DT_VALUE_LIST,
    DT_VALUE_TUPLE,
    DT_VALUE_SET,
    DT_VALUE_DICT,       /* `list` holds key, value, key, value … */
    DT_VALUE_GLOBAL,     /* a class, function, dtype that was named but not called */
    DT_VALUE_OBJECT,     /* what calling or instantiating `type` would have made */
    DT_VALUE_PERSISTENT, /* an id that the pickle's owner understands; torch keeps storages so */
} dt_value_kind;

typedef enum dt_global_what {
    DT_GLOBAL_DICT,
    DT_GLOBAL_LIST,
    DT_GLOBAL_SET,
    DT_GLOBAL_TUPLE,
    DT_GLOBAL_BYTES,
    DT_GLOBAL_TEXT,
    DT_GLOBAL_FIRST,
    DT_GLOBAL_CALL,
    DT_GLOBAL_NEW,
    DT_GLOBAL_TENSOR,
    DT_GLOBAL_STORAGE,
    DT_GLOBAL_DTYPE,
    DT_GLOBAL_OPAQUE,
} dt_global_what;

typedef struct dt_pickle_global {
    const char *module, *name;
    dt_global_what what;
    int detail; /* dt_dtype or -1; a version */
} dt_pickle_global;

typedef struct dt_value dt_value;

typedef struct dt_pickle_object {
    const dt_pickle_global *type;
    const dt_value *args;  /* a tuple */
    const dt_value *state; /* what BUILD gave, or NULL */
    dt_value *items;       /* what was appended (a list) or set (a dict), or NULL */
} dt_pickle_object;

struct dt_value {
    dt_value_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        struct {
            const char *data;
            size_t bytes;
        } text; /* TEXT BYTES BIG */
        struct {
            dt_value **item;
            uint32_t count, capacity;
        } list; /* LIST TUPLE SET DICT */
        const dt_pickle_global *global;
        dt_pickle_object *object;
        struct {
            const dt_value *id, *previous; /* previous: the one read before it, whatever the tree */
        } persistent;
    };
};

typedef struct dt_pickle {
    const dt_value *root;
    const dt_value *last_persistent; /* NULL when there is none */
    size_t used;                     /* bytes */
    size_t values; /* made; a walk of an honest tree takes no more than a few times as many steps */
} dt_pickle;

/*
 * Read one pickle at the start of `data`; dt_pickle_read_whole refuses bytes after it.
 * Errors: DT_FORMAT not a pickle, names the byte and opcode; DT_UNSUPPORTED names the class or function that is
 * not in the table; DT_LIMIT too many values.
 */
dt_status dt_pickle_read(dt_pickle *out, dt_arena *arena, const uint8_t *data, size_t bytes, dt_error *err);
dt_status dt_pickle_read_whole(dt_pickle *out, dt_arena *arena, const uint8_t *data, size_t bytes,
                               dt_error *err);

const char *dt_value_kind_name(dt_value_kind kind); /* "a dict", for messages */

/* The value under a text key of a dict, or of an object's attributes; NULL when absent. The last of equals wins. */
const dt_value *dt_value_get(const dt_value *map, const char *key);

/* An object's attributes as a dict, or NULL: its state, where that is a dict. */
const dt_value *dt_value_attributes(const dt_value *object);

bool dt_value_is(const dt_value *value, dt_value_kind kind); /* false for NULL */
bool dt_value_is_text(const dt_value *value, const char *text);
bool dt_value_is_object(const dt_value *value, const char *class_name); /* of any module */
bool dt_value_is_tensor(const dt_value *value);
bool dt_value_is_name(const dt_value *value);     /* a text without zeros: what dt_value_text copies */
bool dt_value_is_sequence(const dt_value *value); /* a list or a tuple */

/* A terminated copy of a text without zeros; NULL when it is none, or memory is short. */
char *dt_value_text(const dt_value *value, dt_arena *arena);

/* Sizes: a list or tuple of at most `limit` integers, none negative. Returns their count or -1. */
int dt_value_sizes(const dt_value *value, int64_t *sizes, int limit);

#endif
