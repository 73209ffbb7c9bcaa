/*
 * characters.h - what Python knows about characters: spaces, cases, digits. UTF-8 in and out, by utf8proc's tables.
 */
#ifndef DT_JINJA_CHARACTERS_H
#define DT_JINJA_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at `text`, which holds at least one byte of valid UTF-8; *bytes receives its length. */
int32_t dt_j_decode(const char *text, size_t bytes, size_t *length);
size_t dt_j_encode(int32_t character, char out[4]);
bool dt_j_valid(const char *text, size_t bytes);

bool dt_j_is_space(int32_t c);
bool dt_j_is_upper(int32_t c);
bool dt_j_is_lower(int32_t c);
bool dt_j_is_title(int32_t c);
bool dt_j_is_alpha(int32_t c);
bool dt_j_is_decimal(int32_t c);
bool dt_j_is_printable(int32_t c);

/* Case mappings may make several characters; returns how many. */
int dt_j_to_upper(int32_t c, int32_t out[3]);
int dt_j_to_lower(int32_t c, int32_t out[3]);
int dt_j_to_title(int32_t c, int32_t out[3]);

#endif
