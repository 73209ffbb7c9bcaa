/*
 * filters_text.c - filters that take their operand as text.
 */
#include "data/jinja/characters.h"
#include "data/jinja/text_work.h"

#include <ctype.h>
#include <string.h>

/* The operand as a string; NULL: failed. */
static const string *self(call *c)
{
    value v = dt_j_text_of(c->r, c->self);
    return dt_j_failed(c->r) ? NULL : v.string;
}

/* The operand, which must be a string already. */
static const string *strict(call *c)
{
    if (c->self.kind == J_STRING)
        return c->self.string;
    if (c->self.kind == J_UNDEFINED)
        dt_j_use_undefined(c->r, c->self);
    else
        dt_j_fail(c->r, DT_FORMAT, "'%s' object is no string", dt_j_type(c->self));
    return NULL;
}

static value change(call *c, case_change change)
{
    const string *s = self(c);
    return s ? dt_j_change_case(c->r, s, change) : dt_j_undefined;
}

static value upper(call *c)
{
    return change(c, CASE_UPPER);
}

static value lower(call *c)
{
    return change(c, CASE_LOWER);
}

static value capitalize(call *c)
{
    return change(c, CASE_CAPITALIZE);
}

/* Words begin behind white space, hyphens and opening brackets; unlike str.title, not behind apostrophes. */
static value title(call *c)
{
    const string *s = self(c);
    dt_text out = {0};
    bool begins = true;
    int32_t to[3];
    char bytes[4];
    for (size_t at = 0, n; s && at < s->bytes && dt_j_spend(c->r, 0); at += n) {
        int32_t x = dt_j_decode(s->data + at, s->bytes - at, &n);
        bool separator = dt_j_is_space(x) || (x < 128 && strchr("-({[<", (char)x) && x);
        int count = begins ? dt_j_to_upper(x, to) : dt_j_to_lower(x, to);
        for (int i = 0; i < count; i++)
            dt_text_append(&out, bytes, dt_j_encode(to[i], bytes));
        begins = separator;
    }
    return dt_j_take_text(c->r, &out);
}

static value trim(call *c)
{
    const string *s = self(c), *chars = dt_j_string_argument(c, 0);
    return s ? dt_j_strip(c->r, s, chars, true, true) : dt_j_undefined;
}

static value center(call *c)
{
    const string *s = self(c);
    return s ? dt_j_center(c->r, s, dt_j_int_argument(c, 0, 80)) : dt_j_undefined;
}

static value replace(call *c)
{
    value s = dt_j_text_of(c->r, c->self), from = dt_j_text_of(c->r, c->argument[0]),
          to = dt_j_text_of(c->r, c->argument[1]);
    int64_t most = dt_j_int_argument(c, 2, -1);
    return dt_j_failed(c->r) ? dt_j_undefined : dt_j_replace(c->r, s.string, from.string, to.string, most);
}

static const char *indentation(call *c, size_t *bytes)
{
    int64_t width = 4;
    *bytes = 0;
    if (c->argument[0].kind == J_STRING) {
        *bytes = c->argument[0].string->bytes;
        return c->argument[0].string->data;
    }
    width = dt_j_int_argument(c, 0, 4);
    if (width > 10000) {
        dt_j_fail(c->r, DT_LIMIT, "an indentation of %lld spaces", (long long)width);
        return NULL;
    }
    char *spaces = dt_j_alloc(c->r, (size_t)(width > 0 ? width : 0) + 1);
    if (spaces && width > 0)
        memset(spaces, ' ', *bytes = (size_t)width);
    return spaces;
}

/* Every line after the first is indented (the first, too, when asked); blank ones only when asked. */
static value indent(call *c)
{
    const string *s = strict(c);
    size_t bytes;
    const char *spaces = s ? indentation(c, &bytes) : NULL;
    bool first = dt_j_bool_argument(c, 1, false), blank = dt_j_bool_argument(c, 2, false);
    if (!spaces)
        return dt_j_undefined;
    dt_text out = {0};
    value lines = dt_j_lines(c->r, s, false);
    if (dt_j_failed(c->r))
        return dt_j_undefined;
    bool ends = s->bytes && (s->data[s->bytes - 1] == '\n' || s->data[s->bytes - 1] == '\r');
    int64_t count = lines.list->count + ((ends || s->bytes == 0) && s->bytes != 0);
    for (int64_t i = 0; i < count && dt_j_charge(c->r, bytes + 1); i++) {
        const string nothing = {.data = ""},
                     *line = i < lines.list->count ? lines.list->item[i].string : &nothing;
        if (i)
            dt_text_append(&out, "\n", 1);
        if (i == 0 ? first : blank || line->bytes)
            dt_text_append(&out, spaces, bytes);
        dt_text_append(&out, line->data, line->bytes);
    }
    if (s->bytes == 0 && first)
        dt_text_append(&out, spaces, bytes);
    return dt_j_take_text(c->r, &out);
}

static value escape(call *c)
{
    const string *s = self(c);
    dt_text out = {0};
    for (size_t i = 0; s && i < s->bytes && dt_j_charge(c->r, 4); i++) {
        char x = s->data[i];
        const char *as = x == '&'   ? "&amp;"
                         : x == '<' ? "&lt;"
                         : x == '>' ? "&gt;"
                         : x == '"' ? "&#34;"
                                    : NULL;
        as = x == '\'' ? "&#39;" : as;
        dt_text_append(&out, as ? as : &x, as ? strlen(as) : 1);
    }
    return dt_j_take_text(c->r, &out);
}

static value urlencode(call *c)
{
    const string *s = self(c);
    dt_text out = {0};
    for (size_t i = 0; s && i < s->bytes && dt_j_charge(c->r, 3); i++) {
        unsigned char x = (unsigned char)s->data[i];
        if (x < 128 && (isalnum(x) || strchr("_.-~/", x)))
            dt_text_append(&out, (char *)&x, 1);
        else
            dt_text_printf(&out, "%%%02X", x);
    }
    return dt_j_take_text(c->r, &out);
}

static bool word_character(int32_t c)
{
    return c == '_' || dt_j_is_alpha(c) || dt_j_is_decimal(c);
}

static value wordcount(call *c)
{
    const string *s = self(c);
    int64_t words = 0;
    bool inside = false;
    for (size_t at = 0, n; s && at < s->bytes && dt_j_spend(c->r, 0); at += n) {
        bool word = word_character(dt_j_decode(s->data + at, s->bytes - at, &n));
        words += word && !inside;
        inside = word;
    }
    return dt_j_int(words);
}

/* The first `count` characters. */
static value head(rendering *r, const string *s, int64_t count)
{
    size_t at = 0, n;
    for (; count > 0 && at < s->bytes; count--, at += n)
        dt_j_decode(s->data + at, s->bytes - at, &n);
    return dt_j_string(r, s->data, at);
}

static value truncate(call *c)
{
    const string *s = dt_j_sequence(c->self) ? self(c) : strict(c);
    int64_t most = dt_j_int_argument(c, 0, 255), leeway = dt_j_int_argument(c, 3, 5);
    bool kill_words = dt_j_bool_argument(c, 1, false);
    value end = given(c->argument[2]) ? c->argument[2] : dt_j_text(c->r, "...");
    if (!s || dt_j_failed(c->r) || end.kind != J_STRING)
        return dt_j_undefined;
    if (most < end.string->chars)
        return dt_j_fail(c->r, DT_FORMAT, "expected length >= %lld, got %lld", (long long)end.string->chars,
                         (long long)most);
    if (s->chars <= most + leeway)
        return (value){.kind = J_STRING, .string = s};
    value cut = head(c->r, s, most - end.string->chars);
    if (dt_j_failed(c->r))
        return cut;
    const char *space = kill_words ? NULL : memrchr(cut.string->data, ' ', cut.string->bytes);
    if (space)
        cut = dt_j_string(c->r, cut.string->data, (size_t)(space - cut.string->data));
    return dt_j_failed(c->r) ? cut : dt_j_join(c->r, cut, end);
}

static value format(call *c)
{
    value operand = dt_j_list(c->r, J_TUPLE, c->given->count), text = dt_j_text_of(c->r, c->self);
    for (int64_t i = 0; i < c->given->count && !dt_j_failed(c->r); i++)
        dt_j_push(c->r, operand, c->given->positional[i]);
    if (c->given->named_count) {
        operand = dt_j_dict(c->r, c->given->named_count);
        for (int64_t i = 0; i < c->given->named_count && !dt_j_failed(c->r); i++)
            dt_j_set(c->r, operand.dict, dt_j_text(c->r, c->given->name[i]), c->given->named[i]);
    }
    return dt_j_failed(c->r) ? dt_j_undefined : dt_j_percent(c->r, text, operand);
}

const builtin dt_j_filters_text[] = {
    {"upper", "", upper},
    {"lower", "", lower},
    {"capitalize", "", capitalize},
    {"title", "", title},
    {"trim", "chars?", trim},
    {"center", "width?", center},
    {"replace", "old new count?", replace},
    {"indent", "width? first? blank?", indent},
    {"escape", "", escape},
    {"e", "", escape},
    {"forceescape", "", escape},
    {"urlencode", "", urlencode},
    {"wordcount", "", wordcount},
    {"truncate", "length? killwords? end? leeway?", truncate},
    {"format", "* **", format},
    {NULL, NULL, NULL},
};
