/*
 * format.c - the two ways of Python to put values into a text: "%s" % x and "{}".format(x).
 */
#include "data/jinja/text_work.h"

#include "data/jinja/characters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* [[fill]align][sign][#][0][width][,][.precision][type], and what % knows of it. */
typedef struct spec {
    char fill[4];
    size_t fill_bytes;
    char align; /* < > ^ =, or 0 */
    char sign;  /* + - or a space */
    bool alternate, comma;
    int64_t width, precision; /* precision -1: not given */
    char type;                /* 0: not given */
} spec;

enum { WIDTH_LIMIT = 100000 };

static bool number_at(const char **at, const char *end, int64_t *out)
{
    const char *from = *at;
    for (*out = 0; *at < end && **at >= '0' && **at <= '9'; (*at)++)
        if ((*out = *out * 10 + (**at - '0')) > WIDTH_LIMIT)
            return false;
    return *at > from;
}

/* Put body into the width that is asked for. */
static void put_padded(rendering *r, dt_text *out, const spec *f, const char *body, size_t bytes, char usual)
{
    int64_t room = f->width - dt_j_chars(body, bytes);
    char align = f->align ? f->align : usual;
    size_t sign = align == '=' && bytes && strchr("+- ", body[0]) ? 1 : 0;
    int64_t before = room <= 0 || align == '<' ? 0 : align == '^' ? room / 2 : room;
    if (room < 0)
        room = 0;
    if (!dt_j_charge(r, bytes + (size_t)room * f->fill_bytes) || !dt_j_spend(r, room / 16))
        return;
    dt_text_append(out, body, sign);
    for (int64_t i = 0; i < before; i++)
        dt_text_append(out, f->fill, f->fill_bytes);
    dt_text_append(out, body + sign, bytes - sign);
    for (int64_t i = before; i < room; i++)
        dt_text_append(out, f->fill, f->fill_bytes);
}

static void put_string(rendering *r, dt_text *out, const spec *f, const string *s)
{
    size_t at = 0, n;
    for (int64_t left = f->precision; at < s->bytes && left != 0; left--, at += n)
        dt_j_decode(s->data + at, s->bytes - at, &n);
    put_padded(r, out, f, s->data, at, '<');
}

/* Digits with a comma between thousands. */
static void group(dt_text *text)
{
    char *from = strdup(text->data ? text->data : "");
    if (!from) {
        text->failed = true;
        return;
    }
    size_t begin = strspn(from, "+- "), digits = strspn(from + begin, "0123456789");
    dt_text_clear(text);
    dt_text_append(text, from, begin);
    for (size_t i = 0; i < digits; i++) {
        if (i && (digits - i) % 3 == 0)
            dt_text_put(text, ",");
        dt_text_append(text, from + begin + i, 1);
    }
    dt_text_put(text, from + begin + digits);
    free(from);
}

static void put_integer(rendering *r, dt_text *out, const spec *f, int64_t i)
{
    dt_text body = {0};
    char digits[70];
    uint64_t n = i < 0 ? -(uint64_t)i : (uint64_t)i;
    int base = f->type == 'x' || f->type == 'X' ? 16 : f->type == 'o' ? 8 : f->type == 'b' ? 2 : 10, at = 69;
    digits[at] = '\0';
    do
        digits[--at] = (f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[n % (unsigned)base];
    while (n /= (unsigned)base);
    while (69 - at < f->precision && at > 0)
        digits[--at] = '0';
    dt_text_put(&body, i < 0 ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : "");
    if (f->alternate && base != 10)
        dt_text_printf(&body, "0%c", f->type);
    dt_text_put(&body, digits + at);
    if (f->comma)
        group(&body);
    put_padded(r, out, f, body.data ? body.data : "", body.bytes, '>');
    dt_text_free(&body);
}

static void put_real(rendering *r, dt_text *out, const spec *f, double x)
{
    dt_text body = {0};
    char type = f->type, form[8];
    int precision = f->precision < 0 ? 6 : f->precision > 500 ? 500 : (int)f->precision;
    if (f->sign != '-' && !signbit(x))
        dt_text_append(&body, &f->sign, 1);
    if (!type && f->precision < 0)
        dt_j_put_real(&body, x);
    else {
        char letter = type == '%' ? 'f' : type ? type : 'g';
        snprintf(form, sizeof form, f->alternate ? "%%#.*%c" : "%%.*%c", letter);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        dt_text_printf(&body, form, precision, type == '%' ? 100 * x : x);
#pragma GCC diagnostic pop
        if (type == '%')
            dt_text_put(&body, "%");
    }
    if (f->comma)
        group(&body);
    put_padded(r, out, f, body.data ? body.data : "", body.bytes, '>');
    dt_text_free(&body);
}

/* ---- "%s" % x ---- */

typedef struct percent {
    rendering *r;
    value operand;
    int64_t used;
} percent;

static value next_operand(percent *p)
{
    if (p->operand.kind != J_TUPLE) {
        if (p->used++)
            return dt_j_fail(p->r, DT_FORMAT, "not enough arguments for format string");
        return p->operand;
    }
    if (p->used >= p->operand.list->count)
        return dt_j_fail(p->r, DT_FORMAT, "not enough arguments for format string");
    return p->operand.list->item[p->used++];
}

static value named_operand(percent *p, const char **at, const char *end)
{
    const char *close = memchr(*at, ')', (size_t)(end - *at));
    value v = dt_j_undefined;
    if (!close || p->operand.kind != J_DICT)
        return dt_j_fail(p->r, DT_FORMAT, close ? "format requires a mapping" : "incomplete format key");
    value key = dt_j_string(p->r, *at, (size_t)(close - *at));
    if (!dt_j_failed(p->r) && !dt_j_find(p->r, p->operand.dict, key, &v))
        dt_j_fail(p->r, DT_FORMAT, "the format names '%.*s', which the mapping lacks", (int)(close - *at),
                  *at);
    *at = close + 1;
    return v;
}

static void put_percent(percent *p, dt_text *out, spec *f, value v)
{
    rendering *r = p->r;
    int64_t i;
    double x;
    if (f->type == 's' || f->type == 'r' || f->type == 'a') {
        dt_text text = {0};
        (f->type == 's' ? dt_j_put_text : dt_j_put_repr)(r, &text, v);
        value s = dt_j_take_text(r, &text);
        f->align = f->align == '<' ? '<' : '>';
        f->fill[0] = ' ';
        if (!dt_j_failed(r))
            put_string(r, out, f, s.string);
    } else if (strchr("diuxXo", f->type)) {
        bool real = v.kind == J_REAL && strchr("diu", f->type) && fabs(v.real) < 9e18;
        if (!dt_j_integer(v, &i) && !real)
            dt_j_fail(r, DT_FORMAT, "%%%c format: a real number is required, not %s", f->type, dt_j_type(v));
        else
            put_integer(r, out, f, real ? (int64_t)v.real : i);
    } else if (strchr("eEfFgG", f->type)) {
        if (!dt_j_number(v, &x))
            dt_j_fail(r, DT_FORMAT, "must be real number, not %s", dt_j_type(v));
        else
            put_real(r, out, f, x);
    } else if (f->type == 'c' && (dt_j_integer(v, &i) || (v.kind == J_STRING && v.string->chars == 1))) {
        char bytes[4];
        size_t n = v.kind == J_STRING || i < 0 || i > 0x10FFFF ? 0 : dt_j_encode((int32_t)i, bytes);
        put_padded(r, out, f,
                   n                    ? bytes
                   : v.kind == J_STRING ? v.string->data
                                        : "",
                   n                    ? n
                   : v.kind == J_STRING ? v.string->bytes
                                        : 0,
                   '>');
    } else
        dt_j_fail(r, DT_FORMAT, "unsupported format character '%c'", f->type > 31 ? f->type : '?');
}

/* One conversion, `*at` behind its "%". */
static void convert(percent *p, dt_text *out, const char **at, const char *end)
{
    spec f = {.fill = " ", .fill_bytes = 1, .sign = '-', .precision = -1};
    value v = dt_j_absent;
    if (*at < end && **at == '(') {
        (*at)++;
        v = named_operand(p, at, end);
    }
    for (; *at < end && **at && strchr("#0- +", **at); (*at)++) {
        f.alternate |= **at == '#';
        f.align = **at == '-' ? '<' : **at == '0' && !f.align ? '=' : f.align;
        f.sign = **at == '+' || (**at == ' ' && f.sign != '+') ? **at : f.sign;
    }
    f.fill[0] = f.align == '=' ? '0' : ' ';
    number_at(at, end, &f.width);
    if (*at < end && **at == '.') {
        (*at)++;
        number_at(at, end, &f.precision);
    }
    if (*at < end && **at && strchr("hlL", **at))
        (*at)++;
    if (*at >= end || f.width > WIDTH_LIMIT) {
        dt_j_fail(p->r, DT_FORMAT, "incomplete format");
        return;
    }
    f.type = *(*at)++;
    if (f.type == '%') {
        dt_text_put(out, "%");
        return;
    }
    if (!given(v))
        v = next_operand(p);
    if (!dt_j_failed(p->r))
        put_percent(p, out, &f, v);
}

value dt_j_percent(rendering *r, value format, value operand)
{
    percent p = {.r = r, .operand = operand};
    dt_text out = {0};
    const char *at = format.string->data, *end = at + format.string->bytes;
    while (at < end && dt_j_spend(r, 0)) {
        const char *sign = memchr(at, '%', (size_t)(end - at));
        const char *stop = sign ? sign : end;
        if (dt_j_charge(r, (size_t)(stop - at)))
            dt_text_append(&out, at, (size_t)(stop - at));
        at = stop + (sign != NULL);
        if (sign)
            convert(&p, &out, &at, end);
    }
    bool single = operand.kind != J_TUPLE && operand.kind != J_DICT && operand.kind != J_LIST;
    int64_t wanted = operand.kind == J_TUPLE ? operand.list->count : single;
    if (!dt_j_failed(r) && p.used < wanted)
        dt_j_fail(r, DT_FORMAT, "not all arguments converted during string formatting");
    return dt_j_take_text(r, &out);
}

/* ---- "{}".format(x) ---- */

static bool read_spec(const char *at, const char *end, spec *f)
{
    size_t n = 0;
    *f = (spec){.fill = " ", .fill_bytes = 1, .sign = '-', .precision = -1};
    if (at < end)
        dt_j_decode(at, (size_t)(end - at), &n);
    if (n && at + n < end && strchr("<>^=", at[n])) {
        memcpy(f->fill, at, n);
        f->fill_bytes = n;
        f->align = at[n];
        at += n + 1;
    } else if (at < end && strchr("<>^=", *at))
        f->align = *at++;
    if (at < end && strchr("+- ", *at))
        f->sign = *at++;
    if (at < end && *at == '#') {
        f->alternate = true;
        at++;
    }
    if (at < end && *at == '0') {
        if (!f->align) {
            f->align = '=';
            f->fill[0] = '0';
        }
        at++;
    }
    if (!number_at(&at, end, &f->width) && f->width > WIDTH_LIMIT)
        return false;
    if (at < end && *at == ',') {
        f->comma = true;
        at++;
    }
    if (at < end && *at == '.' && (at++, !number_at(&at, end, &f->precision)))
        return false;
    if (at < end && strchr("bcdeEfFgGnosxX%", *at))
        f->type = *at++;
    return at == end;
}

static void put_formatted(rendering *r, dt_text *out, const spec *f, value v)
{
    int64_t i;
    double x;
    if (v.kind != J_BOOL && dt_j_integer(v, &i) && (!f->type || strchr("bdoxXn", f->type)))
        put_integer(r, out, f, i);
    else if (dt_j_number(v, &x) && v.kind != J_BOOL && (!f->type || strchr("eEfFgG%n", f->type)))
        put_real(r, out, f, x);
    else if (!f->type || f->type == 's') {
        value s = dt_j_text_of(r, v);
        if (!dt_j_failed(r))
            put_string(r, out, f, s.string);
    } else
        dt_j_fail(r, DT_FORMAT, "Unknown format code '%c' for object of type '%s'", f->type, dt_j_type(v));
}

/* "name.field[key]" of a replacement field. */
static value field_value(rendering *r, const char *at, const char *end, const arguments *a,
                         int64_t *automatic)
{
    size_t n = 0;
    int64_t number;
    const char *digits = at;
    while (at + n < end && at[n] != '.' && at[n] != '[')
        n++;
    value v = dt_j_undefined;
    bool numbered = number_at(&digits, at + n, &number) && digits == at + n, found = false;
    if (n == 0 || numbered) {
        number = n == 0 ? (*automatic)++ : number;
        if ((found = number < a->count))
            v = a->positional[number];
    }
    for (int64_t i = 0; i < a->named_count && !found && n; i++)
        if (strlen(a->name[i]) == n && memcmp(a->name[i], at, n) == 0) {
            v = a->named[i];
            found = true;
        }
    if (!found)
        return dt_j_fail(r, DT_FORMAT, "format() has no argument for '{%.*s}'", (int)(n < 60 ? n : 60), at);
    for (at += n; at < end && !dt_j_failed(r);) {
        bool item = *at++ == '[';
        for (n = 0; at + n < end && (item ? at[n] != ']' : at[n] != '.' && at[n] != '[');)
            n++;
        value key = dt_j_string(r, at, n);
        digits = at;
        if (item && number_at(&digits, at + n, &number) && digits == at + n)
            key = dt_j_int(number);
        if (!dt_j_failed(r))
            v = dt_j_item(r, v, key);
        at += n + (item && at + n < end);
    }
    return v;
}

static void put_field(rendering *r, dt_text *out, const char *at, const char *end, const arguments *a,
                      int64_t *automatic)
{
    const char *colon = memchr(at, ':', (size_t)(end - at)), *stop = colon ? colon : end;
    spec f;
    char conversion = 0;
    if (stop - at >= 2 && stop[-2] == '!') {
        conversion = stop[-1];
        stop -= 2;
    }
    value v = field_value(r, at, stop, a, automatic);
    if (conversion && !dt_j_failed(r)) {
        dt_text text = {0};
        (conversion == 's' ? dt_j_put_text : dt_j_put_repr)(r, &text, v);
        v = dt_j_take_text(r, &text);
    }
    if (!read_spec(colon ? colon + 1 : end, end, &f))
        dt_j_fail(r, DT_FORMAT, "Invalid format specifier");
    if (!dt_j_failed(r))
        put_formatted(r, out, &f, v);
}

value dt_j_format(rendering *r, value format, const arguments *a)
{
    dt_text out = {0};
    int64_t automatic = 0;
    const char *at = format.string->data, *end = at + format.string->bytes;
    while (at < end && dt_j_spend(r, 0) && dt_j_charge(r, 1)) {
        if ((*at == '{' || *at == '}') && at + 1 < end && at[1] == *at) {
            dt_text_append(&out, at, 1);
            at += 2;
        } else if (*at == '{') {
            const char *close = memchr(at, '}', (size_t)(end - at));
            if (!close) {
                dt_j_fail(r, DT_FORMAT, "expected '}' before end of string");
                break;
            }
            put_field(r, &out, at + 1, close, a, &automatic);
            at = close + 1;
        } else if (*at == '}') {
            dt_j_fail(r, DT_FORMAT, "Single '}' encountered in format string");
        } else
            dt_text_append(&out, at++, 1);
    }
    return dt_j_take_text(r, &out);
}
