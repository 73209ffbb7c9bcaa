/*
 * scan.h - hand-written matchers for the split patterns that published tokenizers use.
 *
 * regex.c asks for one when it compiles a pattern; patterns that no row names run in PCRE2. A matcher gives the
 * same matches as its pattern does there (scan_test compares the two), in one pass and without a match block.
 */
#ifndef DT_DATA_TOKENIZER_SCAN_H
#define DT_DATA_TOKENIZER_SCAN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dt_match {
    size_t begin, end;
} dt_match;

typedef struct dt_scan dt_scan;

/* The matcher of a pattern as it is spelled in tokenizer files; NULL when it has none. */
const dt_scan *dt_scan_find(const char *pattern, size_t bytes);

/* The pattern of row `number`, NULL behind the last: for tests. */
const char *dt_scan_pattern(size_t number);

/* The first match in valid UTF-8 at or after `at`, never empty; false when there is none. */
bool dt_scan_next(const dt_scan *scan, const char *text, size_t bytes, size_t at, dt_match *match);

#endif
