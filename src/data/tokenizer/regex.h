/*
 * regex.h - the regular expressions of tokenizer.json, by PCRE2.
 *
 * The files are written for Oniguruma with Ruby's syntax. A pattern is translated where the two read the same text
 * differently (see regex.c) and refused where PCRE2 cannot say it. Compiled patterns are immutable; each thread
 * brings its own dt_regex_space. A pattern that backtracks without end runs into a limit, not into the night.
 */
#ifndef DT_DATA_TOKENIZER_REGEX_H
#define DT_DATA_TOKENIZER_REGEX_H

#include "base/fail.h"
#include "data/tokenizer/scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_regex dt_regex;

dt_status dt_regex_create(dt_regex **out, const char *pattern, size_t bytes, dt_error *err);
void dt_regex_destroy(dt_regex *regex); /* NULL is fine */

/* The scripts that \p{…} knows, by number; NULL behind the last. */
const char *dt_regex_script(size_t number);

/* What matching needs besides the pattern; zero-initialised, made on first use, freed by dt_regex_space_free. */
typedef struct dt_regex_space {
    void *match, *context;
    uint64_t steps; /* bytes that hand-written matchers walked over */
    size_t scale;   /* bytes of the whole text: the step limit grows with it */
} dt_regex_space;

void dt_regex_space_free(dt_regex_space *space);

/* The first match in valid UTF-8 at or after `from`, always by PCRE2; *found tells whether there is one. */
dt_status dt_regex_find(const dt_regex *regex, dt_regex_space *space, const char *text, size_t bytes,
                        size_t from, dt_match *match, bool *found, dt_error *err);

/*
 * All matches, one after the other, as Oniguruma's iterator gives them: an empty match right behind the last one
 * is skipped. Start with {.at = 0}. dt_regex_next takes a hand-written matcher where scan.h has one,
 * dt_regex_next_plain never does.
 */
typedef struct dt_match_walk {
    size_t at, last_end;
    bool any;
} dt_match_walk;

dt_status dt_regex_next(const dt_regex *regex, dt_regex_space *space, const char *text, size_t bytes,
                        dt_match_walk *walk, dt_match *match, bool *found, dt_error *err);
dt_status dt_regex_next_plain(const dt_regex *regex, dt_regex_space *space, const char *text, size_t bytes,
                              dt_match_walk *walk, dt_match *match, bool *found, dt_error *err);

#endif
