/*
 * pickle_scalar.c - the pickle machine's operands and plain values: integers, numbers, bytes and texts in every
 * spelling that six protocols have. Texts and bytes stay where they are; only escapes make copies.
 */
#include "formats/torch/pickle_machine.h"

#include "formats/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef dt_pickle_machine machine;

/* ---- operands ---- */

static dt_status take(machine *m, uint64_t bytes, const uint8_t **p)
{
    *p = m->data + m->at;
    if (bytes > m->bytes - m->at)
        return dt_pickle_fail_cut(m);
    m->at += (size_t)bytes;
    return DT_OK;
}

dt_status dt_pickle_take_number(machine *m, int bytes, uint64_t *number)
{
    const uint8_t *p;
    *number = 0;
    DT_PASS(take(m, (uint64_t)bytes, &p));
    for (int i = bytes - 1; i >= 0; i--)
        *number = *number << 8 | p[i];
    return DT_OK;
}

dt_status dt_pickle_take_line(machine *m, const char **line, size_t *bytes)
{
    *line = "";
    *bytes = 0;
    const uint8_t *start = m->data + m->at;
    const uint8_t *end = m->at < m->bytes ? memchr(start, '\n', m->bytes - m->at) : NULL;
    if (!end)
        return dt_pickle_fail_cut(m);
    *line = (const char *)start;
    *bytes = (size_t)(end - start);
    m->at += *bytes + 1;
    return DT_OK;
}

/* ---- scalars ---- */

dt_status dt_pickle_push_int(machine *m, int64_t integer)
{
    bool small = integer >= 0 && integer < DT_PICKLE_SMALL_INTS;
    if (small && m->small[integer])
        return dt_pickle_push(m, m->small[integer]);
    dt_value *value = dt_pickle_new(m, DT_VALUE_INT);
    if (!value)
        return m->failed;
    value->integer = integer;
    if (small)
        m->small[integer] = value;
    return dt_pickle_push(m, value);
}

dt_status dt_pickle_push_bool(machine *m, bool truth)
{
    return dt_pickle_push(m, m->truth[truth]);
}

/* Little-endian two's complement of any length. */
dt_status dt_pickle_push_long(machine *m, int length_bytes)
{
    uint64_t bytes, bits = 0;
    const uint8_t *p;
    DT_PASS(dt_pickle_take_number(m, length_bytes, &bytes));
    DT_PASS(take(m, bytes, &p));
    if (bytes > 8) {
        dt_value *value = dt_pickle_new(m, DT_VALUE_BIG);
        if (value) {
            value->text.data = (const char *)p;
            value->text.bytes = (size_t)bytes;
        }
        return dt_pickle_push(m, value);
    }
    if (bytes && (p[bytes - 1] & 0x80))
        bits = UINT64_MAX;
    for (int i = (int)bytes - 1; i >= 0; i--)
        bits = bits << 8 | p[i];
    return dt_pickle_push_int(m, (int64_t)bits);
}

/* A short line as a terminated copy, for strtoll and strtod. */
dt_status dt_pickle_number_line(machine *m, char text[64])
{
    const char *line;
    size_t bytes;
    DT_PASS(dt_pickle_take_line(m, &line, &bytes));
    if (bytes == 0 || bytes >= 64 || memchr(line, 0, bytes))
        return dt_pickle_fail_operand(m, "no number, or one of too many digits");
    memcpy(text, line, bytes);
    text[bytes] = 0;
    return DT_OK;
}

dt_status dt_pickle_push_text_int(machine *m, bool is_long)
{
    char text[64], *end;
    DT_PASS(dt_pickle_number_line(m, text));
    if (!is_long && (strcmp(text, "00") == 0 || strcmp(text, "01") == 0))
        return dt_pickle_push_bool(m, text[1] == '1');
    long long number = strtoll(text, &end, 10);
    if (is_long && *end == 'L')
        end++;
    if (*end || end == text || number == INT64_MAX || number == INT64_MIN)
        return dt_pickle_fail_operand(m, "no integer, or one beyond 64 bits");
    return dt_pickle_push_int(m, number);
}

static dt_status push_real(machine *m, double real)
{
    dt_value *value = dt_pickle_new(m, DT_VALUE_REAL);
    if (value)
        value->real = real;
    return dt_pickle_push(m, value);
}

dt_status dt_pickle_push_text_real(machine *m)
{
    char text[64], *end;
    DT_PASS(dt_pickle_number_line(m, text));
    double real = strtod(text, &end);
    return *end || end == text ? dt_pickle_fail_operand(m, "no number") : push_real(m, real);
}

dt_status dt_pickle_push_binary_real(machine *m)
{
    const uint8_t *p;
    uint64_t bits = 0;
    double real;
    DT_PASS(take(m, 8, &p));
    for (int i = 0; i < 8; i++) /* big-endian, unlike everything else */
        bits = bits << 8 | p[i];
    memcpy(&real, &bits, sizeof real);
    return push_real(m, real);
}

/* ---- texts ---- */

static dt_status push_run(machine *m, dt_value_kind kind, const char *data, size_t bytes)
{
    dt_value *value = dt_pickle_new(m, kind);
    if (value) {
        value->text.data = data;
        value->text.bytes = bytes;
    }
    return dt_pickle_push(m, value);
}

dt_status dt_pickle_push_text(machine *m, int length_bytes)
{
    uint64_t bytes;
    const uint8_t *p;
    DT_PASS(dt_pickle_take_number(m, length_bytes, &bytes));
    DT_PASS(take(m, bytes, &p));
    if (!dt_utf8_valid(p, (size_t)bytes))
        return dt_pickle_fail_operand(m, "a text that is not UTF-8");
    return push_run(m, DT_VALUE_TEXT, (const char *)p, (size_t)bytes);
}

dt_status dt_pickle_push_bytes(machine *m, int length_bytes)
{
    uint64_t bytes;
    const uint8_t *p;
    DT_PASS(dt_pickle_take_number(m, length_bytes, &bytes));
    DT_PASS(take(m, bytes, &p));
    return push_run(m, DT_VALUE_BYTES, (const char *)p, (size_t)bytes);
}

/* Python 2's str: a text when it is UTF-8 (ASCII nearly always), bytes otherwise. */
dt_status dt_pickle_push_python2(machine *m, const char *data, size_t bytes)
{
    bool text = dt_utf8_valid((const uint8_t *)data, bytes);
    return push_run(m, text ? DT_VALUE_TEXT : DT_VALUE_BYTES, data, bytes);
}

dt_status dt_pickle_push_string(machine *m, int length_bytes)
{
    uint64_t bytes;
    const uint8_t *p;
    DT_PASS(dt_pickle_take_number(m, length_bytes, &bytes));
    if (length_bytes == 4 && bytes > INT32_MAX)
        return dt_pickle_fail_operand(m, "a string of negative length");
    DT_PASS(take(m, bytes, &p));
    return dt_pickle_push_python2(m, (const char *)p, (size_t)bytes);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* `digits` hexadecimal digits at p; -1 when they are not there. */
static int64_t hex_number(const char *p, const char *end, int digits)
{
    int64_t number = 0;
    if (end - p < digits)
        return -1;
    for (int i = 0; i < digits; i++) {
        if (hex_digit(p[i]) < 0)
            return -1;
        number = number << 4 | hex_digit(p[i]);
    }
    return number;
}

/* A protocol-0 str: quoted, with Python's escapes. */
dt_status dt_pickle_push_quoted(machine *m)
{
    const char *line;
    size_t bytes, n = 0;
    DT_PASS(dt_pickle_take_line(m, &line, &bytes));
    if (bytes < 2 || line[0] != line[bytes - 1] || (line[0] != '\'' && line[0] != '"'))
        return dt_pickle_fail_operand(m, "a string without its quotes");
    char *copy = dt_arena_alloc(m->arena, bytes);
    if (!copy)
        return dt_fail_memory(m->err, bytes, "a pickled string");
    for (const char *p = line + 1, *end = line + bytes - 1; p < end; p++) {
        static const char CODES[] = "nrtabfv\\'\"", VALUES[] = "\n\r\t\a\b\f\v\\'\"";
        if (*p != '\\') {
            copy[n++] = *p;
            continue;
        }
        const char *code = ++p < end ? memchr(CODES, *p, sizeof CODES - 1) : NULL;
        if (code) {
            copy[n++] = VALUES[code - CODES];
        } else if (p < end && *p == 'x' && hex_number(p + 1, end, 2) >= 0) {
            copy[n++] = (char)hex_number(p + 1, end, 2);
            p += 2;
        } else {
            return dt_pickle_fail_operand(m, "a string with an escape that is not understood");
        }
    }
    return dt_pickle_push_python2(m, copy, n);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((length == 2 ? 0xc0 : length == 3 ? 0xe0 : 0xf0) | c);
    return length;
}

/* A protocol-0 text: Latin-1 bytes and \uXXXX, \UXXXXXXXX. */
dt_status dt_pickle_push_unicode_line(machine *m)
{
    const char *line;
    size_t bytes, n = 0;
    DT_PASS(dt_pickle_take_line(m, &line, &bytes));
    char *copy =
        dt_arena_alloc(m->arena, 2 * bytes + 1); /* a Latin-1 byte needs two at most, \uXXXX less than six */
    if (!copy)
        return dt_fail_memory(m->err, bytes, "a pickled text");
    for (const char *p = line, *end = line + bytes; p < end; p++) {
        int digits = *p == '\\' && p + 1 < end ? (p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0) : 0;
        if (!digits) {
            n += put_utf8(copy + n, (uint8_t)*p);
            continue;
        }
        int64_t c = hex_number(p + 2, end, digits);
        if (c < 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return dt_pickle_fail_operand(m, "a text with an escape that is no character");
        n += put_utf8(copy + n, (uint32_t)c);
        p += 1 + digits;
    }
    return push_run(m, DT_VALUE_TEXT, copy, n);
}
