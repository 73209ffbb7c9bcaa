/*
 * unicode.h - UTF-8 in and out, and the character classes that tokenizers ask for.
 *
 * Classes follow the reference implementations, which differ among themselves: White_Space for `\s`, Alphabetic,
 * marks, digits and connectors for `\w`, general categories for the rest.
 */
#ifndef DT_DATA_TOKENIZER_UNICODE_H
#define DT_DATA_TOKENIZER_UNICODE_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DT_REPLACEMENT       "\xEF\xBF\xBD" /* U+FFFD */
#define DT_REPLACEMENT_BYTES 3
#define DT_LOW_LINE          "\xE2\x96\x81" /* U+2581, how sentencepiece spells a space */
#define DT_LOW_LINE_BYTES    3

/* The first character of `text`; returns its bytes, 0 when it is not valid UTF-8 (or `bytes` is 0). */
size_t dt_utf8_decode(const char *text, size_t bytes, uint32_t *code);

/* Bytes of the character that begins here; only for text known to be valid. */
static inline size_t dt_utf8_length(char lead)
{
    unsigned char byte = (unsigned char)lead;
    return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/* The character that begins here, in text known to be valid; *used receives its bytes. */
static inline uint32_t dt_utf8_peek(const char *text, size_t *used)
{
    const unsigned char *byte = (const unsigned char *)text;
    *used = dt_utf8_length(*text);
    switch (*used) {
    case 1:
        return byte[0];
    case 2:
        return (uint32_t)(byte[0] & 0x1F) << 6 | (byte[1] & 0x3F);
    case 3:
        return (uint32_t)(byte[0] & 0x0F) << 12 | (uint32_t)(byte[1] & 0x3F) << 6 | (byte[2] & 0x3F);
    default:
        return (uint32_t)(byte[0] & 0x07) << 18 | (uint32_t)(byte[1] & 0x3F) << 12 |
               (uint32_t)(byte[2] & 0x3F) << 6 | (byte[3] & 0x3F);
    }
}

size_t dt_utf8_encode(uint32_t code, char out[4]); /* returns the bytes written */
bool dt_utf8_valid(const char *text, size_t bytes);
bool dt_is_ascii(const char *text, size_t bytes);

/* How many bytes at `text` are a maximal part of an ill-formed sequence (Unicode 3.9, table 3-8): 1 to 3. */
size_t dt_utf8_bad_bytes(const char *text, size_t bytes);

/* Could `bytes` (fewer than a whole character) still become a valid character? */
bool dt_utf8_incomplete(const char *text, size_t bytes);

/* Append `text`, each maximal ill-formed part as one U+FFFD. */
bool dt_utf8_repair(dt_text *out, const char *text, size_t bytes);

/* dt_text_append with the common case inline. */
static inline bool dt_put(dt_text *out, const char *data, size_t bytes)
{
    if (bytes == 0)
        return !out->failed;
    if (!out->failed && bytes < out->capacity && out->bytes < out->capacity - bytes) {
        memcpy(out->data + out->bytes, data, bytes);
        out->bytes += bytes;
        out->data[out->bytes] = 0;
        return true;
    }
    return dt_text_append(out, data, bytes);
}

/* What split patterns ask of a character, in one lookup. */
enum {
    DT_CLASS_LETTER = 1, /* L* */
    DT_CLASS_NUMBER = 2, /* N* */
    DT_CLASS_SPACE = 4,  /* White_Space */
    DT_CLASS_UPPER = 16, /* Lu Lt Lm Lo M* */
    DT_CLASS_LOWER = 32, /* Ll Lm Lo M* */
};
unsigned dt_class(uint32_t code);

bool dt_is_space(uint32_t code);       /* White_Space */
bool dt_is_word(uint32_t code);        /* \w of the Rust regex library */
bool dt_is_number(uint32_t code);      /* N* */
bool dt_is_punctuation(uint32_t code); /* P* of Unicode 8, and all of ASCII's */
bool dt_is_mark(uint32_t code);        /* M* */
bool dt_is_nonspacing(uint32_t code);  /* Mn */
bool dt_is_other(uint32_t code);       /* Cc Cf Co Cs */
size_t dt_lower(uint32_t code,
                uint32_t out[2]); /* full lower case, one character at a time; returns 1 or 2 */

typedef enum dt_form { DT_NFC, DT_NFD, DT_NFKC, DT_NFKD } dt_form;

/* Append the normal form of valid text. Linear, also for long runs of marks. False when memory is short. */
bool dt_normal_form(dt_text *out, dt_form form, const char *text, size_t bytes);

/* GPT-2's spelling of bytes as printable characters, and back (-1: no such character). */
uint32_t dt_byte_to_code(unsigned char byte);
int dt_code_to_byte(uint32_t code);

/* Bytes of the extended grapheme cluster that begins valid `text`. */
size_t dt_grapheme_bytes(const char *text, size_t bytes);

#endif
