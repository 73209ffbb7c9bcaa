/*
 * tests.c - what stands behind "is".
 */
#include "data/jinja/render.h"

#include "data/jinja/characters.h"

#include <string.h>

static value yes(bool truth)
{
    return dt_j_bool(truth);
}

static value is_defined(call *c)
{
    return yes(c->self.kind != J_UNDEFINED);
}

static value is_undefined(call *c)
{
    return yes(c->self.kind == J_UNDEFINED);
}

static value is_none(call *c)
{
    return yes(c->self.kind == J_NONE);
}

static value is_boolean(call *c)
{
    return yes(c->self.kind == J_BOOL);
}

static value is_true(call *c)
{
    return yes(c->self.kind == J_BOOL && c->self.truth);
}

static value is_false(call *c)
{
    return yes(c->self.kind == J_BOOL && !c->self.truth);
}

static value is_integer(call *c)
{
    return yes(c->self.kind == J_INT);
}

static value is_float(call *c)
{
    return yes(c->self.kind == J_REAL);
}

static value is_number(call *c)
{
    double ignored;
    return yes(dt_j_number(c->self, &ignored));
}

static value is_string(call *c)
{
    return yes(c->self.kind == J_STRING);
}

static value is_mapping(call *c)
{
    return yes(c->self.kind == J_DICT);
}

static value is_sequence(call *c)
{
    value_kind k = c->self.kind;
    return yes(k == J_STRING || k == J_LIST || k == J_TUPLE || k == J_DICT || k == J_RANGE ||
               k == J_UNDEFINED);
}

static value is_iterable(call *c)
{
    return yes(dt_j_sequence(c->self) || c->self.kind == J_ITERATOR || c->self.kind == J_LOOP);
}

static value is_callable(call *c)
{
    value_kind k = c->self.kind;
    return yes(k == J_FUNCTION || k == J_JOINER || k == J_LOOP || k == J_UNDEFINED);
}

static value is_divisible(call *c)
{
    value rest = dt_j_operate(c->r, OP_MODULO, c->self, c->argument[0]);
    return yes(!dt_j_failed(c->r) && dt_j_equal(c->r, rest, dt_j_int(0)));
}

static value parity(call *c, int64_t wanted)
{
    value rest = dt_j_operate(c->r, OP_MODULO, c->self, dt_j_int(2));
    return yes(!dt_j_failed(c->r) && dt_j_equal(c->r, rest, dt_j_int(wanted)));
}

static value is_even(call *c)
{
    return parity(c, 0);
}

static value is_odd(call *c)
{
    return parity(c, 1);
}

static value compare(call *c, operation op)
{
    return dt_j_operate(c->r, op, c->self, c->argument[0]);
}

static value is_equal(call *c)
{
    return compare(c, OP_EQUAL);
}

static value is_unequal(call *c)
{
    return compare(c, OP_UNEQUAL);
}

static value is_less(call *c)
{
    return compare(c, OP_LESS);
}

static value is_less_equal(call *c)
{
    return compare(c, OP_LESS_EQUAL);
}

static value is_more(call *c)
{
    return compare(c, OP_MORE);
}

static value is_more_equal(call *c)
{
    return compare(c, OP_MORE_EQUAL);
}

static value is_in(call *c)
{
    return compare(c, OP_IN);
}

static value is_same(call *c)
{
    value a = c->self, b = c->argument[0];
    bool plain = a.kind == J_NONE || a.kind == J_BOOL || a.kind == J_INT || a.kind == J_STRING;
    return yes(a.kind == b.kind && (plain ? dt_j_equal(c->r, a, b) : a.list == b.list));
}

/* str.isupper, str.islower: at least one letter with a case, and none of the other. */
static value all_cased(call *c, bool upper)
{
    value text = dt_j_text_of(c->r, c->self);
    bool some = false, other = false;
    for (size_t at = 0, n; !dt_j_failed(c->r) && at < text.string->bytes; at += n) {
        int32_t x = dt_j_decode(text.string->data + at, text.string->bytes - at, &n);
        some |= upper ? dt_j_is_upper(x) : dt_j_is_lower(x);
        other |= (upper ? dt_j_is_lower(x) : dt_j_is_upper(x)) || dt_j_is_title(x);
    }
    return yes(some && !other);
}

static value is_upper(call *c)
{
    return all_cased(c, true);
}

static value is_lower(call *c)
{
    return all_cased(c, false);
}

static value is_filter(call *c)
{
    const char *name = dt_j_name_argument(&(call){.r = c->r, .argument = {c->self}}, 0);
    return yes(name && (dt_j_row(dt_j_filters, name) || dt_j_row(dt_j_filters_sequence, name) ||
                        dt_j_row(dt_j_filters_text, name)));
}

static value is_test(call *c)
{
    const char *name = dt_j_name_argument(&(call){.r = c->r, .argument = {c->self}}, 0);
    return yes(name && dt_j_row(dt_j_tests, name));
}

static value is_escaped(call *c)
{
    (void)c;
    return yes(false); /* nothing is escaped here, so nothing is marked as such */
}

const builtin dt_j_tests[] = {
    {"defined", "", is_defined},
    {"undefined", "", is_undefined},
    {"none", "", is_none},
    {"boolean", "", is_boolean},
    {"true", "", is_true},
    {"false", "", is_false},
    {"integer", "", is_integer},
    {"float", "", is_float},
    {"number", "", is_number},
    {"string", "", is_string},
    {"mapping", "", is_mapping},
    {"sequence", "", is_sequence},
    {"iterable", "", is_iterable},
    {"callable", "", is_callable},
    {"divisibleby", "num", is_divisible},
    {"even", "", is_even},
    {"odd", "", is_odd},
    {"eq", "other", is_equal},
    {"equalto", "other", is_equal},
    {"==", "other", is_equal},
    {"ne", "other", is_unequal},
    {"!=", "other", is_unequal},
    {"lt", "other", is_less},
    {"lessthan", "other", is_less},
    {"<", "other", is_less},
    {"le", "other", is_less_equal},
    {"<=", "other", is_less_equal},
    {"gt", "other", is_more},
    {"greaterthan", "other", is_more},
    {">", "other", is_more},
    {"ge", "other", is_more_equal},
    {">=", "other", is_more_equal},
    {"in", "seq", is_in},
    {"sameas", "other", is_same},
    {"upper", "", is_upper},
    {"lower", "", is_lower},
    {"filter", "", is_filter},
    {"test", "", is_test},
    {"escaped", "", is_escaped},
    {NULL, NULL, NULL},
};
