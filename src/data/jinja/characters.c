/*
 * characters.c - see characters.h. utf8proc maps one character to one; the few that become several are listed here.
 */
#include "data/jinja/characters.h"

#include <string.h>
#include <utf8proc.h>

int32_t dt_j_decode(const char *text, size_t bytes, size_t *length)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
    *length = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : 0xFFFD;
}

size_t dt_j_encode(int32_t character, char out[4])
{
    return (size_t)utf8proc_encode_char(character, (utf8proc_uint8_t *)out);
}

bool dt_j_valid(const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* str.isspace: the separators of Unicode and the control characters that Python counts in. */
bool dt_j_is_space(int32_t c)
{
    if (c < 128)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool dt_j_is_upper(int32_t c)
{
    return utf8proc_isupper(c);
}

bool dt_j_is_lower(int32_t c)
{
    return utf8proc_islower(c);
}

bool dt_j_is_title(int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
}

bool dt_j_is_alpha(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool dt_j_is_decimal(int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
}

/* repr() escapes separators but the space, and what is unassigned, private or a control. */
bool dt_j_is_printable(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return c == ' ' || (k != UTF8PROC_CATEGORY_CN && k < UTF8PROC_CATEGORY_ZS);
}

typedef struct several {
    int32_t from, to[3];
} several;

static const several upper[] = {
    {0xDF, {'S', 'S'}},   {0x149, {0x2BC, 'N'}}, {0x1F0, {'J', 0x30C}},     {0xFB00, {'F', 'F'}},
    {0xFB01, {'F', 'I'}}, {0xFB02, {'F', 'L'}},  {0xFB03, {'F', 'F', 'I'}}, {0xFB04, {'F', 'F', 'L'}},
    {0xFB05, {'S', 'T'}}, {0xFB06, {'S', 'T'}},  {0x587, {0x535, 0x552}},   {0, {0}},
};
static const several title[] = {
    {0xDF, {'S', 's'}},   {0x149, {0x2BC, 'N'}}, {0x1F0, {'J', 0x30C}},     {0xFB00, {'F', 'f'}},
    {0xFB01, {'F', 'i'}}, {0xFB02, {'F', 'l'}},  {0xFB03, {'F', 'f', 'i'}}, {0xFB04, {'F', 'f', 'l'}},
    {0xFB05, {'S', 't'}}, {0xFB06, {'S', 't'}},  {0x587, {0x535, 0x582}},   {0, {0}},
};
static const several lower[] = {{0x130, {'i', 0x307}}, {0, {0}}};

static int map(const several *table, int32_t c, int32_t simple, int32_t out[3])
{
    for (; c > 127 && table->from; table++)
        if (table->from == c) {
            memcpy(out, table->to, sizeof table->to);
            return out[2] ? 3 : 2;
        }
    out[0] = simple;
    return 1;
}

int dt_j_to_upper(int32_t c, int32_t out[3])
{
    return map(upper, c, utf8proc_toupper(c), out);
}

int dt_j_to_lower(int32_t c, int32_t out[3])
{
    return map(lower, c, utf8proc_tolower(c), out);
}

int dt_j_to_title(int32_t c, int32_t out[3])
{
    return map(title, c, utf8proc_totitle(c), out);
}
