/*
 * pickle_machine.h - the state that pickle.c (instructions), pickle_scalar.c (plain values) and pickle_call.c
 * (names and calls) share.
 */
#ifndef DT_FORMATS_PICKLE_MACHINE_H
#define DT_FORMATS_PICKLE_MACHINE_H

#include "formats/torch/pickle.h"

enum { DT_PICKLE_SMALL_INTS = 256 };

typedef struct dt_pickle_stack {
    void **item;
    size_t count, capacity;
} dt_pickle_stack;

typedef struct dt_pickle_machine {
    const uint8_t *data;
    size_t bytes, at;
    size_t opcode_at; /* for messages */
    dt_arena *arena;  /* the tree's */
    dt_arena *scratch;
    dt_pickle_stack stack; /* of dt_value * */
    size_t *mark;
    size_t mark_count, mark_capacity;
    dt_value **memo;
    size_t memo_count, memo_capacity; /* memo_count: next number for MEMOIZE */
    size_t values;
    const dt_value *last_persistent;
    size_t spent; /* bytes copied by calls; see dt_pickle_spend */
    dt_value *none, *truth[2], *empty, *small[DT_PICKLE_SMALL_INTS];
    dt_status failed; /* why dt_pickle_new returned NULL */
    dt_error *err;
} dt_pickle_machine;

/* NULL after a failure that is already told, with its status in m->failed: memory, or too many values. */
dt_value *dt_pickle_new(dt_pickle_machine *m, dt_value_kind kind);
dt_status dt_pickle_append(dt_pickle_machine *m, dt_value *list, dt_value *item);

/* Put a value on the stack; NULL passes m->failed on. */
dt_status dt_pickle_push(dt_pickle_machine *m, dt_value *value);
dt_status dt_pickle_push_int(dt_pickle_machine *m, int64_t integer);
dt_status dt_pickle_push_bool(dt_pickle_machine *m, bool truth);

/* "The instruction at byte N: what"; "… is cut off". */
dt_status dt_pickle_fail_operand(dt_pickle_machine *m, const char *what);
dt_status dt_pickle_fail_cut(dt_pickle_machine *m);

/* Operands: a little-endian number of up to 8 bytes, a line, a line that holds a number. */
dt_status dt_pickle_take_number(dt_pickle_machine *m, int bytes, uint64_t *number);
dt_status dt_pickle_take_line(dt_pickle_machine *m, const char **line, size_t *bytes);
dt_status dt_pickle_number_line(dt_pickle_machine *m, char text[64]);

/* One instruction each; length_bytes is the width of its length. */
dt_status dt_pickle_push_long(dt_pickle_machine *m, int length_bytes);
dt_status dt_pickle_push_text_int(dt_pickle_machine *m, bool is_long);
dt_status dt_pickle_push_text_real(dt_pickle_machine *m);
dt_status dt_pickle_push_binary_real(dt_pickle_machine *m);
dt_status dt_pickle_push_text(dt_pickle_machine *m, int length_bytes);
dt_status dt_pickle_push_bytes(dt_pickle_machine *m, int length_bytes);
dt_status dt_pickle_push_string(dt_pickle_machine *m, int length_bytes);
dt_status dt_pickle_push_quoted(dt_pickle_machine *m);
dt_status dt_pickle_push_unicode_line(dt_pickle_machine *m);
/* Python 2's str: a text when it is UTF-8, else bytes. */
dt_status dt_pickle_push_python2(dt_pickle_machine *m, const char *data, size_t bytes);

/*
 * Calls copy: list(x), encode(text). One memoised x can be copied by every few bytes of a pickle, so copies are
 * paid from a budget of a few times the pickle's length, which honest pickles do not touch.
 */
dt_status dt_pickle_spend(dt_pickle_machine *m, size_t bytes);

/* The value for a name, or DT_UNSUPPORTED. */
dt_status dt_pickle_find_global(dt_pickle_machine *m, const char *module, size_t module_bytes,
                                const char *name, size_t name_bytes, dt_value **out);
/* What callable(*args) stands for. `args` is a tuple. */
dt_status dt_pickle_call(dt_pickle_machine *m, const dt_value *callable, const dt_value *args,
                         dt_value **out);
/* BUILD: gives `value` its state. */
dt_status dt_pickle_build(dt_pickle_machine *m, dt_value *value, const dt_value *state);

#endif
