/*
 * pickle_write.h - writes a pickle (protocol 2, which every Python and torch reads), one value after another.
 *
 *     dt_pickler p = {0};
 *     dt_pickle_start(&p);
 *     dt_pickle_open_dict(&p);                        {"iteration": 10, "sizes": [1, 2]}
 *     dt_pickle_put_text(&p, "iteration");
 *     dt_pickle_put_int(&p, 10);
 *     dt_pickle_put_text(&p, "sizes");
 *     dt_pickle_open_list(&p);
 *     dt_pickle_put_int(&p, 1);
 *     dt_pickle_put_int(&p, 2);
 *     dt_pickle_close(&p);
 *     dt_pickle_close(&p);
 *     DT_GO(status, dt_pickle_finish(&p, err));       p.text holds the bytes
 *
 * The bytes depend on the calls alone. The first failure is kept in the pickler and told by dt_pickle_finish; the
 * calls between need no check. Classes, functions and names (dt_pickle_put_name) are written once and then
 * referred to; every other value is written where it is put.
 */
#ifndef DT_FORMATS_PICKLE_WRITE_H
#define DT_FORMATS_PICKLE_WRITE_H

#include "base/text.h"

enum { DT_PICKLE_OPEN = 64, DT_PICKLE_MEMO = 128 };

typedef struct dt_pickler {
    dt_text text;
    const char *fault;            /* the first thing done wrong, or NULL */
    uint8_t open[DT_PICKLE_OPEN]; /* containers, by how they close */
    int open_count;
    struct {
        size_t at, bytes; /* the instruction in `text` that made the value */
    } memo[DT_PICKLE_MEMO];
    int memo_count;
} dt_pickler;

void dt_pickle_start(dt_pickler *p);
/* DT_INVALID: a container left open, a text that is no UTF-8, …; DT_NO_MEMORY. The bytes are p->text. */
dt_status dt_pickle_finish(dt_pickler *p, dt_error *err);
void dt_pickle_free(dt_pickler *p);

void dt_pickle_put_none(dt_pickler *p);
void dt_pickle_put_bool(dt_pickler *p, bool value);
void dt_pickle_put_int(dt_pickler *p, int64_t value);
void dt_pickle_put_real(dt_pickler *p, double value);
void dt_pickle_put_text(dt_pickler *p, const char *text);
void dt_pickle_put_text_n(dt_pickler *p, const char *text, size_t bytes); /* may hold zeros */
void dt_pickle_put_name(dt_pickler *p, const char *name); /* a text that comes again: an attribute's name */
void dt_pickle_put_bytes(dt_pickler *p, const void *data, size_t bytes);
void dt_pickle_put_global(dt_pickler *p, const char *module,
                          const char *name); /* a class, a function, a dtype */

/* Containers. A dict's items are key, value, key, value …; an ordered one is a collections.OrderedDict. */
void dt_pickle_open_list(dt_pickler *p);
void dt_pickle_open_tuple(dt_pickler *p);
void dt_pickle_open_dict(dt_pickler *p);
void dt_pickle_open_ordered_dict(dt_pickler *p);
/* module.name(items …) */
void dt_pickle_open_call(dt_pickler *p, const char *module, const char *name);
/* An instance of module.name made without a call; the items are its attributes: name, value, name, value … */
void dt_pickle_open_object(dt_pickler *p, const char *module, const char *name);
/* The same for a class whose state is a tuple (it has __setstate__); the items are the tuple's. */
void dt_pickle_open_state(dt_pickler *p, const char *module, const char *name);
/* A persistent id: the items are those of its tuple. */
void dt_pickle_open_persistent(dt_pickler *p);
void dt_pickle_close(dt_pickler *p); /* the innermost */

void dt_pickle_put_tuple(dt_pickler *p, int count, const int64_t *values);
void dt_pickle_put_size(dt_pickler *p, int count, const int64_t *values); /* torch.Size */

#endif
