/*
 * charsmap.h - sentencepiece's precompiled replacement table (nmt_nfkc and its kin).
 *
 * u32 size of the trie in bytes | Darts double-array units, u32 little-endian | NUL-terminated replacements.
 * Every index that the trie yields is checked against the table: a hostile one finds nothing.
 */
#ifndef DT_DATA_TOKENIZER_CHARSMAP_H
#define DT_DATA_TOKENIZER_CHARSMAP_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_charsmap {
    const uint32_t *unit; /* NULL: no table, nothing is replaced */
    size_t units;
    const char *text; /* the replacements, valid UTF-8 */
    size_t text_bytes;
    bool starts[256]; /* can a rule begin with this byte? */
    bool alone[128];  /* does one begin with this character and nothing but ASCII? */
} dt_charsmap;

/* Copies what it keeps into the arena. */
dt_status dt_charsmap_parse(dt_charsmap *map, dt_arena *arena, const void *data, size_t bytes, dt_error *err);

typedef struct dt_rule {
    size_t used; /* bytes of the text that the rule replaces */
    const char *text;
    size_t bytes;
} dt_rule;

/* The longest (as sentencepiece) or the shortest (as tokenizers) rule that begins `text`; false when none does. */
bool dt_charsmap_find(const dt_charsmap *map, const char *text, size_t bytes, bool longest, dt_rule *rule);

#endif
