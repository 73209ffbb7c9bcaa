/*
 * expand_names.h - makes `static const dt_name_table names` of the name table that the macro NAMES spells:
 *
 *     #define NAMES "formats/hf/names_llama.def"
 *     #include "formats/hf/expand_names.h"
 *
 * Once a family file; it has no guard and undefines what it defines. A table may include another one, and has
 * exactly one PREFIX.
 */
#define PREFIX(text)
#define COPY(name, of)
#define SKIP(pattern, rule)
#define NAME(when, transform, canonical, ...) {DT_WHEN_##when, DT_MAP_##transform, canonical, {__VA_ARGS__}},
static const dt_name_row name_rows[] = {
#include NAMES
};
#undef NAME
#undef COPY
#define NAME(when, transform, canonical, ...)
#define COPY(name, of) {name, of},
static const dt_name_copy name_copies[] = {
#include NAMES
    {NULL, NULL}};
#undef COPY
#undef SKIP
#define COPY(name, of)
#define SKIP(pattern, rule) {pattern, rule},
static const dt_name_skip name_skips[] = {
#include NAMES
    {NULL, NULL}};
#undef SKIP
#undef PREFIX
#define SKIP(pattern, rule)
#define PREFIX(text) .prefix = (text),
static const dt_name_table names = {
#include NAMES
    .row = name_rows,
    .row_count = (int)(sizeof name_rows / sizeof name_rows[0]),
    .copy = name_copies,
    .copy_count = (int)(sizeof name_copies / sizeof name_copies[0]) - 1,
    .skip = name_skips,
    .skip_count = (int)(sizeof name_skips / sizeof name_skips[0]) - 1};
#undef NAME
#undef PREFIX
#undef COPY
#undef SKIP
#undef NAMES
