/*
 * base64.c - reads base64 (RFC 4648, the plain alphabet), as charsmaps and tiktoken files are written.
 */
#include "data/tokenizer/base64.h"

#include "data/tokenizer/unicode.h"

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t dt_base64_decode(dt_text *out, const char *text, size_t bytes)
{
    uint32_t bits = 0;
    int count = 0;
    size_t end = bytes;
    while (end > 0 && text[end - 1] == '=')
        end--;
    for (size_t i = 0; i < end; i++) {
        int value = digit(text[i]);
        if (value < 0)
            return i;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            char byte = (char)(bits >> (count -= 8));
            dt_put(out, &byte, 1);
        }
    }
    return bytes;
}
