/*
 * utf8.h - is it UTF-8? For names and texts that readers take from files.
 */
#ifndef DT_FORMATS_UTF8_H
#define DT_FORMATS_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the sequence at s (left > 0 bytes are there); 0 when it is none: cut off, overlong, a surrogate. */
static inline size_t dt_utf8_length(const uint8_t *s, size_t left)
{
    if (s[0] < 0x80)
        return 1;
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    bool bad = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
               (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
    return bad ? 0 : length;
}

static inline bool dt_utf8_valid(const uint8_t *s, size_t bytes)
{
    while (bytes) {
        size_t length = dt_utf8_length(s, bytes);
        if (!length)
            return false;
        s += length;
        bytes -= length;
    }
    return true;
}

#endif
