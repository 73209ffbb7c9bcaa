/*
 * text_of.c - values as Python's str() and repr() write them.
 */
#include "data/jinja/characters.h"
#include "data/jinja/render.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest digits that read back as the number; "d.ddde±x" of them. */
static int shortest(double real, char digits[40])
{
    for (int precision = 0; precision < 17; precision++) {
        snprintf(digits, 40, "%.*e", precision, real);
        if (strtod(digits, NULL) == real)
            break;
    }
    return atoi(strchr(digits, 'e') + 1);
}

void dt_j_put_real(dt_text *out, double real)
{
    char e[40];
    if (isnan(real) || isinf(real)) {
        dt_text_put(out, isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
        return;
    }
    int exponent = shortest(real, e);
    bool negative = *e == '-';
    char digit[24];
    int count = 0;
    for (const char *p = e + negative; *p != 'e'; p++)
        if (*p != '.')
            digit[count++] = *p;
    if (negative)
        dt_text_put(out, "-");
    if (exponent < -4 || exponent >= 16) {
        dt_text_printf(out, "%c%s%.*s", digit[0], count > 1 ? "." : "", count - 1, digit + 1);
        dt_text_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        dt_text_printf(out, "0.%.*s%.*s", -exponent - 1, "000", count, digit);
    } else if (count <= exponent + 1) {
        dt_text_printf(out, "%.*s%.*s.0", count, digit, exponent + 1 - count, "0000000000000000");
    } else {
        dt_text_printf(out, "%.*s.%.*s", exponent + 1, digit, count - exponent - 1, digit + exponent + 1);
    }
}

/* ---- repr of strings ---- */

static void put_escaped(dt_text *out, int32_t c, const char *as_is, size_t n, char quote)
{
    if (c == quote || c == '\\')
        dt_text_printf(out, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        dt_text_put(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    else if (dt_j_is_printable(c))
        dt_text_append(out, as_is, n);
    else
        dt_text_printf(out, c < 256 ? "\\x%02x" : c < 65536 ? "\\u%04x" : "\\U%08x", (unsigned)c);
}

static void put_quoted(dt_text *out, const string *s)
{
    bool one = memchr(s->data, '\'', s->bytes), two = memchr(s->data, '"', s->bytes);
    char quote = one && !two ? '"' : '\'';
    dt_text_append(out, &quote, 1);
    for (size_t at = 0, n; at < s->bytes; at += n) {
        int32_t c = dt_j_decode(s->data + at, s->bytes - at, &n);
        put_escaped(out, c, s->data + at, n, quote);
    }
    dt_text_append(out, &quote, 1);
}

/* ---- containers ---- */

static void put_items(rendering *r, dt_text *out, const item_list *l, const char *open, const char *close)
{
    dt_text_put(out, open);
    for (int64_t i = 0; i < l->count && dt_j_spend(r, 1); i++) {
        if (i)
            dt_text_put(out, ", ");
        dt_j_put_repr(r, out, l->item[i]);
    }
    dt_text_put(out, close);
}

static void put_dict(rendering *r, dt_text *out, const dict *d)
{
    dt_text_put(out, "{");
    for (int64_t i = 0; i < d->count && dt_j_spend(r, 1); i++) {
        if (i)
            dt_text_put(out, ", ");
        dt_j_put_repr(r, out, d->key[i]);
        dt_text_put(out, ": ");
        dt_j_put_repr(r, out, d->item[i]);
    }
    dt_text_put(out, "}");
}

static void put_range(dt_text *out, const range *g)
{
    dt_text_printf(out, "range(%lld, %lld", (long long)g->start, (long long)(g->start + g->count * g->step));
    if (g->step != 1)
        dt_text_printf(out, ", %lld", (long long)g->step);
    dt_text_put(out, ")");
}

static void put_container(rendering *r, dt_text *out, value v)
{
    char name[80];
    switch (v.kind) {
    case J_LIST:
        put_items(r, out, v.list, "[", "]");
        break;
    case J_TUPLE:
        put_items(r, out, v.list, "(", v.list->count == 1 ? ",)" : ")");
        break;
    case J_VIEW:
        snprintf(name, sizeof name, "%s([", v.list->name);
        put_items(r, out, v.list, name, "])");
        break;
    case J_DICT:
        put_dict(r, out, v.dict);
        break;
    case J_NAMESPACE:
        dt_text_put(out, "<Namespace ");
        put_dict(r, out, v.dict);
        dt_text_put(out, ">");
        break;
    case J_RANGE:
        put_range(out, v.range);
        break;
    case J_LOOP:
        dt_text_printf(out, "<LoopContext %lld/%lld>", (long long)v.loop->at + 1,
                       (long long)v.loop->items.list->count);
        break;
    default:
        dt_text_printf(out, "<%s>", dt_j_type(v));
    }
}

bool dt_j_put_repr(rendering *r, dt_text *out, value v)
{
    if (v.kind == J_STRING)
        put_quoted(out, v.string);
    else if (v.kind == J_UNDEFINED)
        dt_text_put(out, "Undefined");
    else
        return dt_j_put_text(r, out, v);
    return !dt_j_failed(r);
}

bool dt_j_put_text(rendering *r, dt_text *out, value v)
{
    size_t before = out->bytes;
    if (dt_j_failed(r) || !dt_j_deeper(r))
        return false;
    if (v.kind == J_STRING)
        dt_text_append(out, v.string->data, v.string->bytes);
    else if (v.kind == J_INT)
        dt_text_printf(out, "%lld", (long long)v.integer);
    else if (v.kind == J_REAL)
        dt_j_put_real(out, v.real);
    else if (v.kind == J_BOOL)
        dt_text_put(out, v.truth ? "True" : "False");
    else if (v.kind == J_NONE)
        dt_text_put(out, "None");
    else if (v.kind != J_UNDEFINED)
        put_container(r, out, v);
    r->depth--;
    if (out->failed)
        dt_j_fail(r, DT_NO_MEMORY, "out of memory for text");
    return dt_j_charge(r, v.kind == J_STRING ? out->bytes - before : 8);
}

value dt_j_text_of(rendering *r, value v)
{
    dt_text out = {0};
    if (v.kind == J_STRING)
        return v;
    dt_j_put_text(r, &out, v);
    return dt_j_take_text(r, &out);
}
