/*
 * pickle_machine.h - the state that pickle.c (instructions) and pickle_call.c (names and calls) share.
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

/*
 * Calls copy: list(x), encode(text). One memoised x can be copied by every few bytes of a pickle, so copies are
 * paid from a budget of a few times the pickle's length, which honest pickles do not touch.
 */
dt_status dt_pickle_spend(dt_pickle_machine *m, size_t bytes);

/* The value for a name, or DT_UNSUPPORTED. */
dt_status dt_pickle_find_global(dt_pickle_machine *m, const char *module, size_t module_bytes, const char *name,
                                size_t name_bytes, dt_value **out);
/* What callable(*args) stands for. `args` is a tuple. */
dt_status dt_pickle_call(dt_pickle_machine *m, const dt_value *callable, const dt_value *args, dt_value **out);
/* BUILD: gives `value` its state. */
dt_status dt_pickle_build(dt_pickle_machine *m, dt_value *value, const dt_value *state);

#endif
