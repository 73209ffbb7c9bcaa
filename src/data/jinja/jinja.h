/*
 * jinja.h - the part of Jinja that published chat templates use, rendered over plain data and nothing else.
 *
 * What it means is what jinja2's ImmutableSandboxedEnvironment means with trim_blocks, lstrip_blocks, loop controls
 * and the additions of transformers (raise_exception, strftime_now, an unescaped tojson, {% generation %}). A
 * template reaches the variables it is given and the functions of its own tables; there is no file, no import, no
 * attribute but of data. Work, depth, memory and output are limited, so that any template ends with text or a story.
 *
 *     dt_jinja *t;
 *     dt_jinja_parse(&t, text, bytes, &err);
 *     dt_jinja_render(t, variables, NULL, &out, &err);
 *     dt_jinja_destroy(t);
 */
#ifndef DT_JINJA_JINJA_H
#define DT_JINJA_JINJA_H

#include "base/text.h"

#include <jansson.h>
#include <stdint.h>
#include <time.h>

/* A parsed template: immutable, rendered by any number of threads at once. */
typedef struct dt_jinja dt_jinja;

/* DT_FORMAT with the line when it is no template; DT_LIMIT when it is larger or more deeply nested than any should be. */
dt_status dt_jinja_parse(dt_jinja **out, const char *text, size_t bytes, dt_error *err);
void dt_jinja_destroy(dt_jinja *jinja); /* NULL is fine */

/* Does the template read this variable anywhere? Tells templates that know `tools` from those that do not. */
bool dt_jinja_mentions(const dt_jinja *jinja, const char *name);

typedef struct dt_jinja_options {
    int64_t steps; /* operations; 0 = 20 million */
    size_t memory; /* bytes of values and text made on the way; 0 = 512 MiB */
    size_t output; /* bytes; 0 = 64 MiB */
    time_t now;    /* what strftime_now tells; 0 = the clock */
} dt_jinja_options;

/*
 * Append what the template makes of `variables` (an object, or NULL) to *out; on failure what was written so far is no result.
 *
 * Errors   DT_INVALID  the template called raise_exception: the innermost line is its message
 *          DT_FORMAT   a value is not what the template takes it for; the line is named
 *          DT_LIMIT    too many steps, too deep, too much memory or output
 */
dt_status dt_jinja_render(const dt_jinja *jinja, const json_t *variables, const dt_jinja_options *options,
                          dt_text *out, dt_error *err);

#endif
