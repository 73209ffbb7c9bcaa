/*
 * stops.h - stop strings: where the first is met in a growing text, and what of its end may yet become one.
 */
#ifndef DT_INFERENCE_STOPS_H
#define DT_INFERENCE_STOPS_H

#include <stddef.h>
#include <stdint.h>

typedef struct dt_stops {
    const char *const *text;
    int count;
} dt_stops;

/* Offset of the first in text, searched from where bytes from `from` on could complete one; -1 when there is none. */
int64_t dt_stops_find(dt_stops stops, const char *text, size_t bytes, size_t from);

/* Bytes at the end of text that may be the beginning of one: held back until that is known. */
size_t dt_stops_held(dt_stops stops, const char *text, size_t bytes);

#endif
