/*
 * globals.c - functions that every template sees: jinja2's, and those that transformers adds.
 */
#include "data/jinja/render.h"

#include <string.h>
#include <time.h>

enum { RANGE_LIMIT = 100000 }; /* the sandbox's */

static value make_range(call *c)
{
    int64_t first = dt_j_int_argument(c, 0, 0), start = given(c->argument[1]) ? first : 0;
    int64_t stop = given(c->argument[1]) ? dt_j_int_argument(c, 1, 0) : first,
            step = dt_j_int_argument(c, 2, 1);
    if (dt_j_failed(c->r))
        return dt_j_undefined;
    if (step == 0)
        return dt_j_fail(c->r, DT_FORMAT, "range() arg 3 must not be zero");
    __int128 span = step > 0 ? (__int128)stop - start : (__int128)start - stop,
             stride = step > 0 ? step : -(__int128)step;
    __int128 count = span > 0 ? (span - 1) / stride + 1 : 0;
    if (count > RANGE_LIMIT)
        return dt_j_fail(c->r, DT_LIMIT,
                         "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", RANGE_LIMIT);
    range *g = dt_j_alloc(c->r, sizeof *g);
    if (!g)
        return dt_j_undefined;
    *g = (range){.start = start, .step = step, .count = (int64_t)count};
    return (value){.kind = J_RANGE, .range = g};
}

static bool add_pair(rendering *r, dict *d, value pair)
{
    value two = dt_j_to_list(r, pair);
    if (dt_j_failed(r))
        return false;
    if (two.list->count != 2) {
        dt_j_fail(r, DT_FORMAT, "a dictionary is made of pairs; found %lld items",
                  (long long)two.list->count);
        return false;
    }
    return dt_j_set(r, d, two.list->item[0], two.list->item[1]);
}

static value make_dict(call *c)
{
    rendering *r = c->r;
    value d = dt_j_dict(r, 0), from = c->argument[0], item;
    walk w;
    if (from.kind == J_DICT) {
        for (int64_t i = 0; i < from.dict->count && !dt_j_failed(r); i++)
            dt_j_set(r, d.dict, from.dict->key[i], from.dict->item[i]);
    } else if (given(from) && dt_j_walk(r, from, &w)) {
        while (dt_j_next(r, &w, &item) && add_pair(r, d.dict, item))
            ;
    }
    for (int64_t i = 0; i < c->given->named_count && !dt_j_failed(r); i++) {
        value key = dt_j_text(r, c->given->name[i]);
        if (!dt_j_failed(r))
            dt_j_set(r, d.dict, key, c->given->named[i]);
    }
    return d;
}

static value make_namespace(call *c)
{
    value d = make_dict(c);
    for (int64_t i = 0; !dt_j_failed(c->r) && i < d.dict->count; i++) {
        value key = d.dict->key[i];
        if (key.kind == J_STRING && key.string->bytes && key.string->data[0] == '_')
            return dt_j_fail(c->r, DT_FORMAT, "a namespace cannot hold a name with a leading underscore");
    }
    d.kind = J_NAMESPACE;
    return d;
}

static value raise_exception(call *c)
{
    rendering *r = c->r;
    value message = dt_j_text_of(r, c->argument[0]);
    if (dt_j_failed(r))
        return dt_j_undefined;
    return dt_j_fail(r, DT_INVALID, "%.*s",
                     (int)(message.string->bytes < 4000 ? message.string->bytes : 4000),
                     message.string->data);
}

static value strftime_now(call *c)
{
    char out[512];
    struct tm now;
    const char *format = dt_j_name_argument(c, 0);
    if (!format)
        return dt_j_failed(c->r) ? dt_j_undefined
                                 : dt_j_fail(c->r, DT_FORMAT, "strftime_now() needs a format");
    if (!localtime_r(&c->r->now, &now))
        return dt_j_fail(c->r, DT_FORMAT, "the clock tells no date");
    if (!*format)
        return dt_j_text(c->r, "");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                               \
    "-Wformat-nonliteral" /* the format is the template's; strftime reads no arguments by it */
    size_t n = strftime(out, sizeof out, format, &now);
#pragma GCC diagnostic pop
    if (n == 0)
        return dt_j_fail(c->r, DT_LIMIT, "strftime_now(\"%.60s\") makes nothing, or more than %zu bytes",
                         format, sizeof out);
    return dt_j_string(c->r, out, n);
}

static value make_cycler(call *c)
{
    rendering *r = c->r;
    if (c->given->count == 0)
        return dt_j_fail(r, DT_FORMAT, "at least one item has to be provided");
    value v = dt_j_list(r, J_CYCLER, c->given->count);
    for (int64_t i = 0; i < c->given->count && !dt_j_failed(r); i++)
        dt_j_push(r, v, c->given->positional[i]);
    return v;
}

static value make_joiner(call *c)
{
    value v = dt_j_list(c->r, J_JOINER, 1);
    dt_j_push(c->r, v, given(c->argument[0]) ? c->argument[0] : dt_j_text(c->r, ", "));
    return v;
}

const builtin dt_j_globals[] = {
    {"range", "start stop? step?", make_range},
    {"dict", "of? **", make_dict},
    {"namespace", "of? **", make_namespace},
    {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now},
    {"cycler", "*", make_cycler},
    {"joiner", "sep?", make_joiner},
    {NULL, NULL, NULL},
};
