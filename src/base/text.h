/*
 * text.h - a growing string, and the few string helpers that C lacks.
 */
#ifndef DT_BASE_TEXT_H
#define DT_BASE_TEXT_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_text {
    char *data;   /* NULL when empty, else terminated; freed by dt_text_free */
    size_t bytes; /* without the terminator */
    size_t capacity;
    bool failed; /* sticky: an allocation failed and later appends did nothing */
} dt_text;

void dt_text_free(dt_text *text);
void dt_text_clear(dt_text *text);
bool dt_text_append(dt_text *text, const char *data, size_t bytes);
bool dt_text_put(dt_text *text, const char *string);
bool dt_text_printf(dt_text *text, const char *format, ...) DT_PRINTF(2, 3);

bool dt_starts_with(const char *text, const char *prefix);
bool dt_ends_with(const char *text, const char *suffix);

/* Does `name` fit `pattern`, where each "{}" stands for a decimal number? numbers[] receives up to `limit`. */
bool dt_match_numbers(const char *pattern, const char *name, int64_t *numbers, int limit, int *count);

/* The nearest of `count` candidates by edit distance, for "did you mean"; NULL when none is near. */
const char *dt_nearest(const char *word, const char *const *candidates, size_t count);

/* "1.5 GB", "412 KB": for people. */
void dt_human_bytes(uint64_t bytes, char out[16]);

#endif
