/*
 * operators.c - + - * / // % ** and comparisons, over Python's types. Integers are 64 bits: more is a story.
 */
#include "data/jinja/render.h"

#include <math.h>
#include <string.h>

static const char *const sign[] = {
    [OP_ADD] = "+",           [OP_SUBTRACT] = "-", [OP_MULTIPLY] = "*",        [OP_DIVIDE] = "/",
    [OP_FLOOR_DIVIDE] = "//", [OP_MODULO] = "%",   [OP_POWER] = "** or pow()", [OP_NEGATE] = "-",
    [OP_PLUS] = "+",          [OP_EQUAL] = "==",   [OP_UNEQUAL] = "!=",        [OP_LESS] = "<",
    [OP_LESS_EQUAL] = "<=",   [OP_MORE] = ">",     [OP_MORE_EQUAL] = ">=",     [OP_IN] = "in",
    [OP_NOT_IN] = "not in"};

static value too_large(rendering *r)
{
    return dt_j_fail(r, DT_LIMIT, "an integer beyond 64 bits");
}

static value by_zero(rendering *r)
{
    return dt_j_fail(r, DT_FORMAT, "division by zero");
}

static int64_t floor_quotient(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static value integer_power(rendering *r, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    if (exponent < 0)
        return base == 0 ? by_zero(r) : dt_j_real(pow((double)base, (double)exponent));
    if (base == 1 || base == 0 || base == -1)
        return dt_j_int(exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base);
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(result, base, &result))
            return too_large(r);
    return dt_j_int(result);
}

static value of_integers(rendering *r, operation op, int64_t a, int64_t b)
{
    int64_t result = 0;
    bool overflow = false;
    if (b == 0 && (op == OP_DIVIDE || op == OP_FLOOR_DIVIDE || op == OP_MODULO))
        return by_zero(r);
    if (op == OP_POWER)
        return integer_power(r, a, b);
    if (op == OP_DIVIDE)
        return dt_j_real((double)a / (double)b);
    if (b == -1 && (op == OP_FLOOR_DIVIDE || op == OP_MODULO)) { /* INT64_MIN / -1 traps */
        overflow = op == OP_FLOOR_DIVIDE && __builtin_sub_overflow((int64_t)0, a, &result);
        return overflow ? too_large(r) : dt_j_int(result);
    }
    if (op == OP_ADD)
        overflow = __builtin_add_overflow(a, b, &result);
    else if (op == OP_SUBTRACT)
        overflow = __builtin_sub_overflow(a, b, &result);
    else if (op == OP_MULTIPLY)
        overflow = __builtin_mul_overflow(a, b, &result);
    else if (op == OP_FLOOR_DIVIDE)
        result = floor_quotient(a, b);
    else
        result = a - floor_quotient(a, b) * b;
    return overflow ? too_large(r) : dt_j_int(result);
}

static value of_reals(rendering *r, operation op, double a, double b)
{
    if (b == 0 && (op == OP_DIVIDE || op == OP_FLOOR_DIVIDE || op == OP_MODULO))
        return by_zero(r);
    double rest = op == OP_MODULO || op == OP_FLOOR_DIVIDE ? fmod(a, b) : 0;
    if (rest != 0 && (rest < 0) != (b < 0))
        rest += b;
    switch (op) {
    case OP_ADD:
        return dt_j_real(a + b);
    case OP_SUBTRACT:
        return dt_j_real(a - b);
    case OP_MULTIPLY:
        return dt_j_real(a * b);
    case OP_DIVIDE:
        return dt_j_real(a / b);
    case OP_FLOOR_DIVIDE:
        return dt_j_real(round((a - rest) / b));
    case OP_MODULO:
        return dt_j_real(rest == 0 ? copysign(0, b) : rest);
    default:
        return dt_j_real(pow(a, b));
    }
}

/* ---- sequences ---- */

static value repeat_string(rendering *r, const string *s, int64_t times)
{
    size_t bytes;
    if (times <= 0 || s->bytes == 0)
        return dt_j_text(r, "");
    if (__builtin_mul_overflow(s->bytes, (size_t)times, &bytes) || bytes > r->limits.memory)
        return dt_j_fail(r, DT_LIMIT, "a string of %lld times %zu bytes is more than the memory limit allows",
                         (long long)times, s->bytes);
    char *data = dt_j_alloc(r, bytes + 1);
    if (!data || !dt_j_spend(r, (int64_t)(bytes / 64)))
        return dt_j_undefined;
    for (int64_t i = 0; i < times; i++)
        memcpy(data + (size_t)i * s->bytes, s->data, s->bytes);
    string *out = dt_j_alloc(r, sizeof *out);
    if (!out)
        return dt_j_undefined;
    *out = (string){.data = data, .bytes = bytes, .chars = s->chars * times};
    return (value){.kind = J_STRING, .string = out};
}

static value repeat_list(rendering *r, value v, int64_t times)
{
    int64_t count;
    if (times < 0)
        times = 0;
    if (__builtin_mul_overflow(v.list->count, times, &count) || count > (1 << 24))
        return dt_j_fail(r, DT_LIMIT, "a list of %lld times %lld items is too long", (long long)times,
                         (long long)v.list->count);
    value out = dt_j_list(r, v.kind, count);
    for (int64_t i = 0; i < count && dt_j_spend(r, 0); i++)
        dt_j_push(r, out, v.list->item[i % v.list->count]);
    return out;
}

static value repeat(rendering *r, value v, int64_t times)
{
    return v.kind == J_STRING ? repeat_string(r, v.string, times) : repeat_list(r, v, times);
}

static value append(rendering *r, value a, value b)
{
    value out = dt_j_list(r, a.kind, a.list->count + b.list->count);
    for (int64_t i = 0; i < a.list->count && dt_j_spend(r, 0); i++)
        dt_j_push(r, out, a.list->item[i]);
    for (int64_t i = 0; i < b.list->count && dt_j_spend(r, 0); i++)
        dt_j_push(r, out, b.list->item[i]);
    return out;
}

static bool repeatable(value v)
{
    return v.kind == J_STRING || v.kind == J_LIST || v.kind == J_TUPLE;
}

/* ---- the whole ---- */

static value mismatch(rendering *r, operation op, value a, value b)
{
    if (op == OP_ADD && a.kind == J_STRING)
        return dt_j_fail(r, DT_FORMAT, "can only concatenate str (not \"%s\") to str", dt_j_type(b));
    if (op == OP_ADD && (a.kind == J_LIST || a.kind == J_TUPLE))
        return dt_j_fail(r, DT_FORMAT, "can only concatenate %s (not \"%s\") to %s", dt_j_type(a),
                         dt_j_type(b), dt_j_type(a));
    return dt_j_fail(r, DT_FORMAT, "unsupported operand type(s) for %s: '%s' and '%s'", sign[op],
                     dt_j_type(a), dt_j_type(b));
}

static value arithmetic(rendering *r, operation op, value a, value b)
{
    int64_t i, k;
    double x, y;
    if (a.kind == J_STRING && op == OP_MODULO)
        return dt_j_percent(r, a, b);
    if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED)
        return dt_j_use_undefined(r, a.kind == J_UNDEFINED ? a : b);
    if (dt_j_integer(a, &i) && dt_j_integer(b, &k))
        return of_integers(r, op, i, k);
    if (dt_j_number(a, &x) && dt_j_number(b, &y))
        return of_reals(r, op, x, y);
    if (op == OP_ADD && a.kind == J_STRING && b.kind == J_STRING)
        return dt_j_join(r, a, b);
    if (op == OP_ADD && a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE))
        return append(r, a, b);
    if (op == OP_MULTIPLY && repeatable(a) && dt_j_integer(b, &k))
        return repeat(r, a, k);
    if (op == OP_MULTIPLY && dt_j_integer(a, &k) && repeatable(b))
        return repeat(r, b, k);
    return mismatch(r, op, a, b);
}

static value with_sign(rendering *r, operation op, value a)
{
    int64_t i;
    if (a.kind == J_UNDEFINED)
        return dt_j_use_undefined(r, a);
    if (a.kind == J_REAL)
        return dt_j_real(op == OP_NEGATE ? -a.real : a.real);
    if (!dt_j_integer(a, &i))
        return dt_j_fail(r, DT_FORMAT, "bad operand type for unary %s: '%s'", sign[op], dt_j_type(a));
    return op == OP_NEGATE ? of_integers(r, OP_SUBTRACT, 0, i) : dt_j_int(i);
}

value dt_j_operate(rendering *r, operation op, value a, value b)
{
    if (dt_j_failed(r))
        return dt_j_undefined;
    switch (op) {
    case OP_NEGATE:
    case OP_PLUS:
        return with_sign(r, op, a);
    case OP_EQUAL:
        return dt_j_bool(dt_j_equal(r, a, b));
    case OP_UNEQUAL:
        return dt_j_bool(!dt_j_equal(r, a, b));
    case OP_LESS:
        return dt_j_bool(dt_j_order(r, "<", a, b) < 0);
    case OP_LESS_EQUAL:
        return dt_j_bool(dt_j_order(r, "<=", a, b) <= 0);
    case OP_MORE:
        return dt_j_bool(dt_j_order(r, ">", a, b) == 1);
    case OP_MORE_EQUAL:
        return dt_j_bool((unsigned)dt_j_order(r, ">=", a, b) < J_UNORDERED);
    case OP_IN:
        return dt_j_bool(dt_j_contains(r, b, a));
    case OP_NOT_IN:
        return dt_j_bool(!dt_j_contains(r, b, a));
    default:
        return arithmetic(r, op, a, b);
    }
}
