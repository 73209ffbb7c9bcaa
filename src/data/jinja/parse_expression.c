/*
 * parse_expression.c - expressions, by precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, **, sign,
 * then what follows a primary: . [] () | is.
 */
#include "data/jinja/parser.h"

#include "data/jinja/characters.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static node *unary(parser *p, bool with_filters);

/* ---- literals ---- */

/* False unless count hexadecimal digits stand there. Beyond 24 bits the number is held at 0x1000000: no character either way. */
static bool hex_value(const char *at, const char *end, int count, int32_t *out)
{
    static const char digits[] = "0123456789abcdef";
    *out = 0;
    for (int i = 0; i < count; i++) {
        char c = at + i < end ? at[i] : 0;
        const char *d = memchr(digits, c >= 'A' && c <= 'F' ? c | 32 : c, 16);
        if (!d)
            return false;
        *out = *out >= 0x100000 ? 0x1000000 : *out * 16 + (int32_t)(d - digits);
    }
    return true;
}

/* What follows a backslash: appends it and returns how many bytes were read; 0 = no escape that is known. */
static size_t escape(const char *at, const char *end, char **out)
{
    static const char letter[] = "\\'\"abfnrtv", meaning[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = *at ? strchr(letter, *at) : NULL;
    int32_t c = 0, low;
    size_t n = 0;
    if (*at == '\n')
        return 1;
    if (simple) {
        *(*out)++ = meaning[simple - letter];
        return 1;
    }
    if (*at >= '0' && *at <= '7')
        for (; n < 3 && at + n < end && at[n] >= '0' && at[n] <= '7'; n++)
            c = c * 8 + at[n] - '0';
    else if (*at == 'x' || *at == 'u' || *at == 'U')
        n = hex_value(at + 1, end,
                      *at == 'x'   ? 2
                      : *at == 'u' ? 4
                                   : 8,
                      &c)
                ? *at == 'x'   ? 3
                  : *at == 'u' ? 5
                               : 9
                : 0;
    if (n == 5 && c >= 0xD800 && c < 0xDC00 && end - at > 10 && at[5] == '\\' && at[6] == 'u' &&
        hex_value(at + 7, end, 4, &low) && low >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        n = 11;
    }
    if (n == 0)
        return 0;
    if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        c = 0xFFFD; /* half of a pair is no character */
    *out += dt_j_encode(c, *out);
    return n;
}

static size_t unescape(char *out, const char *at, const char *end)
{
    char *begin = out;
    while (at < end) {
        if (*at == '\\' && at + 1 < end) {
            size_t n = escape(at + 1, end, &out);
            if (n == 0) /* an unknown escape stands for itself */
                *out++ = *at;
            at += n == 0 ? 1 : 1 + n;
        } else {
            *out++ = *at++;
        }
    }
    return (size_t)(out - begin);
}

/* One or several strings side by side. Escapes never make text longer, but "\7" and the like may: 2 bytes for 2. */
static node *string_literal(parser *p)
{
    node *n = dt_j_new_node(p, N_CONSTANT);
    size_t room = 0, at = 0;
    const token *from = p->at;
    for (const token *t = from; t->kind == T_STRING; t++)
        room += t->bytes;
    char *data = dt_arena_alloc(p->arena, room + 4);
    string *s = DT_NEW(p->arena, string);
    if (!data || !s) {
        p->status = dt_fail_memory(p->err, room, "a string of a template");
        return n;
    }
    for (; p->at->kind == T_STRING; dt_j_advance(p))
        at += unescape(data + at, p->at->text + 1, p->at->text + p->at->bytes - 1);
    *s = (string){.data = data, .bytes = at, .chars = dt_j_chars(data, at)};
    n->constant = (value){.kind = J_STRING, .string = s};
    return n;
}

static node *number_literal(parser *p)
{
    node *n = dt_j_new_node(p, N_CONSTANT);
    char digits[128];
    size_t count = 0;
    for (size_t i = 0; i < p->at->bytes && count < sizeof digits - 1; i++)
        if (p->at->text[i] != '_')
            digits[count++] = p->at->text[i];
    digits[count] = '\0';
    errno = 0;
    bool binary = count > 1 && (digits[1] | 32) == 'b', octal = count > 1 && (digits[1] | 32) == 'o';
    if (p->at->kind == T_REAL)
        n->constant = dt_j_real(strtod(digits, NULL));
    else if (binary || octal)
        n->constant = dt_j_int(strtoll(digits + 2, NULL, binary ? 2 : 8));
    else
        n->constant =
            dt_j_int(strtoll(digits, NULL, digits[0] == '0' && count > 1 && digits[1] != '0' ? 16 : 10));
    if ((errno && p->at->kind == T_INTEGER) || count == sizeof digits - 1)
        return dt_j_syntax(p, "the number %.40s is larger than is supported", digits);
    dt_j_advance(p);
    return n;
}

/* ---- brackets ---- */

static node *list_literal(parser *p)
{
    node *n = dt_j_new_node(p, N_LIST);
    dt_j_expect(p, "[");
    while (p->status == DT_OK && !dt_j_at(p, "]")) {
        if (n->list.count)
            dt_j_expect(p, ",");
        if (dt_j_at(p, "]"))
            break;
        dt_j_append(p, n, &n->list, dt_j_parse_expression(p, true));
    }
    dt_j_expect(p, "]");
    return n;
}

static node *dict_literal(parser *p)
{
    node *n = dt_j_new_node(p, N_DICT);
    dt_j_expect(p, "{");
    while (p->status == DT_OK && !dt_j_at(p, "}")) {
        if (n->list.count)
            dt_j_expect(p, ",");
        if (dt_j_at(p, "}"))
            break;
        dt_j_append(p, n, &n->list, dt_j_parse_expression(p, true));
        dt_j_expect(p, ":");
        dt_j_append(p, n, &n->list, dt_j_parse_expression(p, true));
    }
    dt_j_expect(p, "}");
    return n;
}

static node *in_parentheses(parser *p)
{
    dt_j_expect(p, "(");
    if (dt_j_at(p, ")")) {
        dt_j_advance(p);
        return dt_j_new_node(p, N_TUPLE);
    }
    node *n = dt_j_parse_tuple(p, true, NULL);
    dt_j_expect(p, ")");
    return n;
}

static node *named(parser *p)
{
    static const struct {
        const char *name;
        value constant;
    } constant[] = {{"true", {.kind = J_BOOL, .truth = true}},
                    {"True", {.kind = J_BOOL, .truth = true}},
                    {"false", {.kind = J_BOOL, .truth = false}},
                    {"False", {.kind = J_BOOL, .truth = false}},
                    {"none", {.kind = J_NONE}},
                    {"None", {.kind = J_NONE}}};
    for (size_t i = 0; i < sizeof constant / sizeof *constant; i++)
        if (dt_j_at_name(p, constant[i].name)) {
            node *n = dt_j_new_node(p, N_CONSTANT);
            n->constant = constant[i].constant;
            dt_j_advance(p);
            return n;
        }
    node *n = dt_j_new_node(p, N_NAME);
    n->name = dt_j_expect_name(p);
    return n;
}

static node *primary(parser *p)
{
    node *n = NULL;
    if (!dt_j_nest(p))
        return dt_j_new_node(p, N_CONSTANT);
    if (p->at->kind == T_NAME)
        n = named(p);
    else if (p->at->kind == T_STRING)
        n = string_literal(p);
    else if (p->at->kind == T_INTEGER || p->at->kind == T_REAL)
        n = number_literal(p);
    else if (dt_j_at(p, "("))
        n = in_parentheses(p);
    else if (dt_j_at(p, "["))
        n = list_literal(p);
    else if (dt_j_at(p, "{"))
        n = dict_literal(p);
    else
        n = dt_j_syntax(p, "unexpected %s, expected a value", dt_j_token_name(p, p->at));
    p->nesting--;
    return n;
}

/* ---- what follows a primary ---- */

static void add_named(parser *p, node *call, const char *name, node *item)
{
    node_arguments *a = call->arguments;
    int count = a->named.count;
    dt_j_append(p, call, &a->named, item);
    if ((count & (count - 1)) == 0) { /* grows at powers of two */
        size_t old = (size_t)count * sizeof *a->name, larger = count ? 2 * old : sizeof *a->name;
        a->name = dt_arena_grow(p->arena, (void *)(uintptr_t)a->name, old, larger);
    }
    if (a->name && p->status == DT_OK)
        a->name[count] = name;
    else if (p->status == DT_OK)
        p->status = dt_fail_memory(p->err, sizeof *a->name, "a call");
}

static void call_argument(parser *p, node *call)
{
    node_arguments *a = call->arguments;
    if (dt_j_skip(p, "*") && !a->rest && !a->rest_named) {
        a->rest = dt_j_parse_expression(p, true);
        dt_j_adopt(p, call, a->rest);
    } else if (dt_j_skip(p, "**") && !a->rest_named) {
        a->rest_named = dt_j_parse_expression(p, true);
        dt_j_adopt(p, call, a->rest_named);
    } else if (p->at->kind == T_NAME && p->at[1].kind == T_OPERATOR && p->at[1].bytes == 1 &&
               p->at[1].text[0] == '=' && !a->rest_named) {
        const char *name = dt_j_expect_name(p);
        dt_j_advance(p);
        add_named(p, call, name, dt_j_parse_expression(p, true));
    } else if (!a->rest && !a->rest_named && a->named.count == 0) {
        dt_j_append(p, call, &a->positional, dt_j_parse_expression(p, true));
    } else {
        dt_j_syntax(p, "invalid order of a call's arguments");
    }
}

static void call_arguments(parser *p, node *call)
{
    bool first = true;
    dt_j_expect(p, "(");
    while (p->status == DT_OK && !dt_j_at(p, ")")) {
        if (!first)
            dt_j_expect(p, ",");
        if (dt_j_at(p, ")"))
            break;
        call_argument(p, call);
        first = false;
    }
    dt_j_expect(p, ")");
}

static node *with_arguments(parser *p, node_kind kind, node *of)
{
    node *n = dt_j_new_node(p, kind);
    n->a = of;
    n->arguments = DT_NEW(p->arena, node_arguments);
    if (!n->arguments)
        p->status = dt_fail_memory(p->err, sizeof *n->arguments, "a call");
    return of ? dt_j_adopt(p, n, of) : n;
}

static node *call(parser *p, node *of)
{
    node *n = with_arguments(p, N_CALL, of);
    if (n->arguments)
        call_arguments(p, n);
    return n;
}

/* One of the three places of a slice; NULL when it is left out. */
static node *slice_place(parser *p, node *slice)
{
    if (dt_j_at(p, ":") || dt_j_at(p, "]") || dt_j_at(p, ","))
        return NULL;
    node *n = dt_j_parse_expression(p, true);
    dt_j_adopt(p, slice, n);
    return n;
}

static node *subscribed(parser *p)
{
    node *slice = dt_j_new_node(p, N_SLICE);
    slice->a = slice_place(p, slice);
    if (!dt_j_skip(p, ":"))
        return slice->a ? slice->a : dt_j_syntax(p, "expected a subscript");
    slice->b = slice_place(p, slice);
    if (dt_j_skip(p, ":"))
        slice->c = slice_place(p, slice);
    return slice;
}

static node *subscript(parser *p, node *of)
{
    node *n = dt_j_new_node(p, N_ITEM);
    n->a = of;
    dt_j_adopt(p, n, of);
    if (dt_j_skip(p, ".")) {
        if (p->at->kind == T_INTEGER) {
            n->b = number_literal(p);
            return n;
        }
        n->kind = N_ATTRIBUTE;
        n->name = dt_j_expect_name(p);
        return n;
    }
    dt_j_expect(p, "[");
    n->b = subscribed(p);
    dt_j_adopt(p, n, n->b);
    if (dt_j_at(p, ",")) {
        node *tuple = dt_j_new_node(p, N_TUPLE);
        dt_j_append(p, tuple, &tuple->list, n->b);
        while (dt_j_skip(p, ",") && !dt_j_at(p, "]"))
            dt_j_append(p, tuple, &tuple->list, subscribed(p));
        n->b = tuple;
        dt_j_adopt(p, n, tuple);
    }
    dt_j_expect(p, "]");
    return n;
}

static node *postfix(parser *p, node *n)
{
    while (p->status == DT_OK) {
        if (dt_j_at(p, ".") || dt_j_at(p, "["))
            n = subscript(p, n);
        else if (dt_j_at(p, "("))
            n = call(p, n);
        else
            break;
    }
    return n;
}

/* "name" or "name.name" */
static const char *dotted_name(parser *p)
{
    const char *name = dt_j_expect_name(p);
    while (dt_j_skip(p, ".")) {
        const char *more = dt_j_expect_name(p);
        name = dt_arena_printf(p->arena, "%s.%s", name ? name : "", more ? more : "");
    }
    return name;
}

node *dt_j_parse_filter(parser *p, node *of, bool started)
{
    while (p->status == DT_OK && (started || dt_j_skip(p, "|"))) {
        node *n = with_arguments(p, N_FILTER, of);
        n->name = dotted_name(p);
        if (n->arguments && dt_j_at(p, "("))
            call_arguments(p, n);
        of = n;
        started = false;
    }
    return of;
}

/* Can what comes next be a test's argument without parentheses? */
static bool argument_follows(const parser *p)
{
    if (p->at->kind == T_NAME)
        return !dt_j_at_name(p, "else") && !dt_j_at_name(p, "or") && !dt_j_at_name(p, "and");
    return p->at->kind == T_STRING || p->at->kind == T_INTEGER || p->at->kind == T_REAL || dt_j_at(p, "[") ||
           dt_j_at(p, "{");
}

static node *test(parser *p, node *of)
{
    bool negated = dt_j_skip_name(p, "not");
    node *n = with_arguments(p, N_TEST, of);
    n->name = dotted_name(p);
    if (!n->arguments)
        return n;
    if (dt_j_at(p, "(")) {
        call_arguments(p, n);
    } else if (argument_follows(p)) {
        if (dt_j_at_name(p, "is"))
            return dt_j_syntax(p, "tests with \"is\" cannot be chained");
        dt_j_append(p, n, &n->arguments->positional, postfix(p, primary(p)));
    }
    if (!negated)
        return n;
    node *not = dt_j_new_node(p, N_NOT);
    not ->a = n;
    return dt_j_adopt(p, not, n);
}

static node *filters_and_tests(parser *p, node *n)
{
    while (p->status == DT_OK) {
        if (dt_j_at(p, "|"))
            n = dt_j_parse_filter(p, n, false);
        else if (dt_j_skip_name(p, "is"))
            n = test(p, n);
        else if (dt_j_at(p, "("))
            n = call(p, n);
        else
            break;
    }
    return n;
}

/* ---- operators ---- */

static node *two(parser *p, node_kind kind, operation op, node *a, node *b)
{
    node *n = dt_j_new_node(p, kind);
    n->op = op;
    n->a = a;
    n->b = b;
    if (a)
        dt_j_adopt(p, n, a);
    return dt_j_adopt(p, n, b);
}

static node *signed_value(parser *p, operation op)
{
    node *n = dt_j_new_node(p, N_UNARY);
    if (!dt_j_nest(p))
        return n;
    n->op = op;
    n->a = unary(p, false);
    p->nesting--;
    return dt_j_adopt(p, n, n->a);
}

static node *unary(parser *p, bool with_filters)
{
    node *n;
    if (dt_j_skip(p, "-"))
        n = signed_value(p, OP_NEGATE);
    else if (dt_j_skip(p, "+"))
        n = signed_value(p, OP_PLUS);
    else
        n = primary(p);
    n = postfix(p, n);
    return with_filters ? filters_and_tests(p, n) : n;
}

static node *power(parser *p)
{
    node *n = unary(p, true);
    while (dt_j_skip(p, "**"))
        n = two(p, N_BINARY, OP_POWER, n, unary(p, true));
    return n;
}

static node *product(parser *p)
{
    static const struct {
        const char *sign;
        operation op;
    } row[] = {{"*", OP_MULTIPLY}, {"/", OP_DIVIDE}, {"//", OP_FLOOR_DIVIDE}, {"%", OP_MODULO}};
    node *n = power(p);
    for (int i = 0; i < 4; i++)
        if (dt_j_skip(p, row[i].sign)) {
            n = two(p, N_BINARY, row[i].op, n, power(p));
            i = -1;
        }
    return n;
}

static node *concatenation(parser *p)
{
    node *first = product(p);
    if (!dt_j_at(p, "~"))
        return first;
    node *n = dt_j_new_node(p, N_CONCAT);
    dt_j_append(p, n, &n->list, first);
    while (dt_j_skip(p, "~"))
        dt_j_append(p, n, &n->list, product(p));
    return n;
}

static node *sum(parser *p)
{
    node *n = concatenation(p);
    while (p->status == DT_OK && (dt_j_at(p, "+") || dt_j_at(p, "-"))) {
        operation op = dt_j_at(p, "+") ? OP_ADD : OP_SUBTRACT;
        dt_j_advance(p);
        n = two(p, N_BINARY, op, n, concatenation(p));
    }
    return n;
}

static bool comparison_sign(parser *p, operation *op)
{
    static const struct {
        const char *sign;
        operation op;
    } row[] = {{"==", OP_EQUAL}, {"!=", OP_UNEQUAL},    {"<", OP_LESS},
               {">", OP_MORE},   {"<=", OP_LESS_EQUAL}, {">=", OP_MORE_EQUAL}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (dt_j_skip(p, row[i].sign)) {
            *op = row[i].op;
            return true;
        }
    if (dt_j_skip_name(p, "in")) {
        *op = OP_IN;
        return true;
    }
    if (dt_j_at_name(p, "not") && p->at[1].kind == T_NAME && p->at[1].bytes == 2 &&
        memcmp(p->at[1].text, "in", 2) == 0) {
        dt_j_advance(p);
        dt_j_advance(p);
        *op = OP_NOT_IN;
        return true;
    }
    return false;
}

static node *comparison(parser *p)
{
    node *first = sum(p), *n = NULL;
    operation op;
    while (p->status == DT_OK && comparison_sign(p, &op)) {
        if (!n) {
            n = dt_j_new_node(p, N_COMPARE);
            n->a = first;
            dt_j_adopt(p, n, first);
        }
        dt_j_append(p, n, &n->list, two(p, N_BINARY, op, NULL, sum(p)));
    }
    return n ? n : first;
}

static node *negation(parser *p)
{
    if (!dt_j_skip_name(p, "not"))
        return comparison(p);
    node *n = dt_j_new_node(p, N_NOT);
    if (!dt_j_nest(p))
        return n;
    n->a = negation(p);
    p->nesting--;
    return dt_j_adopt(p, n, n->a);
}

static node *conjunction(parser *p)
{
    node *n = negation(p);
    while (dt_j_skip_name(p, "and"))
        n = two(p, N_AND, OP_ADD, n, negation(p));
    return n;
}

static node *disjunction(parser *p)
{
    node *n = conjunction(p);
    while (dt_j_skip_name(p, "or"))
        n = two(p, N_OR, OP_ADD, n, conjunction(p));
    return n;
}

/* a if b else c if d … binds to the right: what follows else may choose again. */
static node *choice(parser *p)
{
    node *n = disjunction(p);
    while (dt_j_skip_name(p, "if")) {
        node *c = dt_j_new_node(p, N_CHOOSE);
        c->a = n;
        c->b = disjunction(p);
        dt_j_adopt(p, dt_j_adopt(p, c, c->a), c->b);
        if (dt_j_skip_name(p, "else") && dt_j_nest(p)) {
            c->c = choice(p);
            p->nesting--;
            dt_j_adopt(p, c, c->c);
        }
        n = c;
    }
    return n;
}

node *dt_j_parse_expression(parser *p, bool choose)
{
    return choose ? choice(p) : disjunction(p);
}

static bool tuple_ends(const parser *p, const char *end_name)
{
    return p->at->kind == T_VARIABLE_END || p->at->kind == T_BLOCK_END || dt_j_at(p, ")") ||
           (end_name && dt_j_at_name(p, end_name));
}

node *dt_j_parse_tuple(parser *p, bool choose, const char *end_name)
{
    node *first = dt_j_parse_expression(p, choose);
    if (!dt_j_at(p, ","))
        return first;
    node *n = dt_j_new_node(p, N_TUPLE);
    dt_j_append(p, n, &n->list, first);
    while (dt_j_skip(p, ",") && !tuple_ends(p, end_name))
        dt_j_append(p, n, &n->list, dt_j_parse_expression(p, choose));
    return n;
}

/* ---- what can be assigned to ---- */

static node *target(parser *p)
{
    if (dt_j_skip(p, "(")) {
        node *n = dt_j_parse_target(p, NULL);
        dt_j_expect(p, ")");
        return n;
    }
    node *n = named(p);
    if (n->kind != N_NAME)
        return dt_j_syntax(p, "true, false and none cannot be assigned to");
    if (!dt_j_skip(p, "."))
        return n;
    node *field = dt_j_new_node(p, N_ATTRIBUTE);
    field->a = n;
    field->name = dt_j_expect_name(p);
    return dt_j_adopt(p, field, n);
}

node *dt_j_parse_target(parser *p, const char *end_name)
{
    if (!dt_j_nest(p))
        return dt_j_new_node(p, N_NAME);
    node *n = target(p);
    if (dt_j_at(p, ",")) {
        node *tuple = dt_j_new_node(p, N_TUPLE);
        dt_j_append(p, tuple, &tuple->list, n);
        while (dt_j_skip(p, ",") && !dt_j_at(p, "=") && !tuple_ends(p, end_name))
            dt_j_append(p, tuple, &tuple->list, target(p));
        n = tuple;
    }
    p->nesting--;
    return n;
}
