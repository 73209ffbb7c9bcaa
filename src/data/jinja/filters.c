/*
 * filters.c - filters on any value: defaults, numbers, JSON.
 */
#include "data/jinja/render.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static value or_default(call *c)
{
    bool falsy = dt_j_bool_argument(c, 1, false) && !dt_j_truth(c->self);
    if (c->self.kind != J_UNDEFINED && !falsy)
        return c->self;
    return given(c->argument[0]) ? c->argument[0] : dt_j_text(c->r, "");
}

static value attr(call *c)
{
    const char *name = dt_j_name_argument(c, 0);
    value v = name ? dt_j_attribute(c->r, c->self, name) : dt_j_undefined;
    /* a field or a method, but no key of a dictionary */
    return v.kind == J_FUNCTION || c->self.kind != J_DICT ? v : dt_j_undefined;
}

static value string_of(call *c)
{
    return dt_j_text_of(c->r, c->self);
}

/* ---- numbers ---- */

static value absolute(call *c)
{
    int64_t i;
    if (dt_j_integer(c->self, &i))
        return i < 0 ? dt_j_operate(c->r, OP_NEGATE, c->self, dt_j_none) : dt_j_int(i);
    if (c->self.kind == J_REAL)
        return dt_j_real(fabs(c->self.real));
    if (c->self.kind == J_UNDEFINED)
        return dt_j_use_undefined(c->r, c->self);
    return dt_j_fail(c->r, DT_FORMAT, "bad operand type for abs(): '%s'", dt_j_type(c->self));
}

/* Digits without the underscores that Python allows between them, and without the space around; NULL: none. */
static const char *number_text(call *c)
{
    const string *s = c->self.string;
    char *copy = dt_j_alloc(c->r, s->bytes + 1), *out = copy;
    size_t begin = 0, end = s->bytes;
    while (begin < end && strchr(" \t\n\r\f\v", s->data[begin]) && s->data[begin])
        begin++;
    while (end > begin && strchr(" \t\n\r\f\v", s->data[end - 1]) && s->data[end - 1])
        end--;
    for (size_t i = begin; copy && i < end; i++) {
        bool between = i > begin && i + 1 < end && s->data[i - 1] != '_';
        if (s->data[i] != '_')
            *out++ = s->data[i];
        else if (!between)
            return NULL;
    }
    return copy && *copy ? copy : NULL;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    if (!text || strpbrk(text, "xXpP("))
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

static value to_real(call *c)
{
    double x;
    value otherwise = given(c->argument[0]) ? c->argument[0] : dt_j_real(0);
    if (c->self.kind == J_UNDEFINED)
        return dt_j_use_undefined(c->r, c->self);
    if (dt_j_number(c->self, &x))
        return dt_j_real(x);
    return c->self.kind == J_STRING && parse_real(number_text(c), &x) ? dt_j_real(x) : otherwise;
}

static value truncated(call *c, double x, value otherwise)
{
    if (isnan(x) || isinf(x))
        return isnan(x) ? otherwise : dt_j_fail(c->r, DT_FORMAT, "cannot convert float infinity to integer");
    if (fabs(x) >= 9.2e18)
        return dt_j_fail(c->r, DT_LIMIT, "an integer beyond 64 bits");
    return dt_j_int((int64_t)x);
}

static value to_int(call *c)
{
    value otherwise = given(c->argument[0]) ? c->argument[0] : dt_j_int(0);
    int64_t base = dt_j_int_argument(c, 1, 10), i;
    double x;
    char *end;
    if (c->self.kind == J_UNDEFINED)
        return dt_j_use_undefined(c->r, c->self);
    if (dt_j_integer(c->self, &i))
        return dt_j_int(i);
    if (c->self.kind == J_REAL)
        return truncated(c, c->self.real, otherwise);
    const char *text = c->self.kind == J_STRING && base >= 2 && base <= 36 ? number_text(c) : NULL;
    if (!text)
        return otherwise;
    const char *digits = text + (*text == '-' || *text == '+');
    if (base == 2 && digits[0] == '0' && (digits[1] | 32) == 'b' && digits == text)
        digits += 2, text += 2;
    else if (base == 8 && digits[0] == '0' && (digits[1] | 32) == 'o' && digits == text)
        digits += 2, text += 2;
    errno = 0;
    i = strtoll(text, &end, (int)base);
    if (*end == '\0' && end > text)
        return errno ? dt_j_fail(c->r, DT_LIMIT, "an integer beyond 64 bits") : dt_j_int(i);
    return parse_real(text, &x) ? truncated(c, x, otherwise) : otherwise;
}

/* round(x, n) as Python's: correctly rounded decimal, ties to even of the exact binary value. */
static double round_common(double x, int64_t precision)
{
    char text[400];
    if (isnan(x) || isinf(x) || precision > 300)
        return x;
    if (precision >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)precision, x);
        return strtod(text, NULL);
    }
    double unit = pow(10, (double)-precision);
    return isinf(unit) ? 0 : nearbyint(x / unit) * unit;
}

static value rounded(call *c)
{
    const char *method = given(c->argument[1]) ? dt_j_name_argument(c, 1) : "common";
    int64_t precision = dt_j_int_argument(c, 0, 0);
    double x, unit = pow(10, (double)precision);
    if (dt_j_failed(c->r) || !method)
        return dt_j_undefined;
    bool common = strcmp(method, "common") == 0, up = strcmp(method, "ceil") == 0;
    if (!common && !up && strcmp(method, "floor") != 0)
        return dt_j_fail(c->r, DT_FORMAT, "method must be common, ceil or floor");
    if (c->self.kind == J_UNDEFINED)
        return dt_j_use_undefined(c->r, c->self);
    if (!dt_j_number(c->self, &x))
        return dt_j_fail(c->r, DT_FORMAT, "type %s doesn't define __round__ method", dt_j_type(c->self));
    if (common && c->self.kind != J_REAL)
        return precision >= 0 ? dt_j_int((int64_t)x) : dt_j_int((int64_t)round_common(x, precision));
    if (common)
        return dt_j_real(round_common(x, precision));
    return dt_j_real((up ? ceil(x * unit) : floor(x * unit)) / unit);
}

/* ---- JSON ---- */

static const char *repeated(rendering *r, int64_t spaces)
{
    char *indent = dt_j_alloc(r, (size_t)spaces + 1);
    if (indent)
        memset(indent, ' ', (size_t)spaces);
    return indent;
}

static const char *indent_of(call *c)
{
    int64_t spaces;
    value v = c->argument[1];
    if (!given(v) || v.kind == J_NONE)
        return NULL;
    if (v.kind == J_STRING && v.string->bytes <= 64)
        return dt_j_name_argument(c, 1);
    if (dt_j_integer(v, &spaces) && spaces <= 64)
        return repeated(c->r, spaces < 0 ? 0 : spaces);
    dt_j_fail(c->r, DT_FORMAT,
              "tojson(indent=…): expected at most 64 spaces, or a string no longer than that");
    return NULL;
}

static bool separators_of(call *c, json_style *style)
{
    value v = c->argument[2];
    if (!given(v) || v.kind == J_NONE)
        return true;
    if ((v.kind != J_LIST && v.kind != J_TUPLE) || v.list->count != 2 || v.list->item[0].kind != J_STRING ||
        v.list->item[1].kind != J_STRING) {
        dt_j_fail(c->r, DT_FORMAT, "tojson(separators=…): expected two strings");
        return false;
    }
    call parts = {.r = c->r, .argument = {v.list->item[0], v.list->item[1]}};
    style->item = dt_j_name_argument(&parts, 0);
    style->key = dt_j_name_argument(&parts, 1);
    return !dt_j_failed(c->r);
}

static value to_json(call *c)
{
    dt_text out = {0};
    json_style style = {.ascii = dt_j_bool_argument(c, 0, false), .sort = dt_j_bool_argument(c, 3, false)};
    style.indent = indent_of(c);
    style.item = style.indent ? "," : ", ";
    style.key = ": ";
    if (dt_j_failed(c->r) || !separators_of(c, &style))
        return dt_j_undefined;
    dt_j_put_json(c->r, &out, c->self, &style, 0);
    return dt_j_take_text(c->r, &out);
}

const builtin dt_j_filters[] = {
    {"default", "default_value? boolean?", or_default},
    {"d", "default_value? boolean?", or_default},
    {"attr", "name", attr},
    {"string", "", string_of},
    {"safe", "", string_of},
    {"abs", "", absolute},
    {"float", "default?", to_real},
    {"int", "default? base?", to_int},
    {"round", "precision? method?", rounded},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", to_json},
    {NULL, NULL, NULL},
};
