/*
 * methods_text.c - the methods of str.
 */
#include "data/jinja/characters.h"
#include "data/jinja/text_work.h"

#include <string.h>

static const string *self(const call *c)
{
    return c->self.string;
}

/* ---- case and padding ---- */

static value upper(call *c)
{
    return dt_j_change_case(c->r, self(c), CASE_UPPER);
}

static value lower(call *c)
{
    return dt_j_change_case(c->r, self(c), CASE_LOWER);
}

static value capitalize(call *c)
{
    return dt_j_change_case(c->r, self(c), CASE_CAPITALIZE);
}

static value title(call *c)
{
    return dt_j_change_case(c->r, self(c), CASE_TITLE);
}

static value swapcase(call *c)
{
    return dt_j_change_case(c->r, self(c), CASE_SWAP);
}

/* ljust, rjust, center: shares of the missing width that go to the left. */
static value justify(call *c, bool left, bool right)
{
    const string *fill = dt_j_string_argument(c, 1);
    int64_t width = dt_j_int_argument(c, 0, 0), room = width - self(c)->chars;
    if (fill && fill->chars != 1)
        return dt_j_fail(c->r, DT_FORMAT, "The fill character must be exactly one character long");
    room = room > 0 ? room : 0;
    int64_t before = left && right ? room / 2 + (room & width & 1) : left ? room : 0;
    return dt_j_pad(c->r, self(c), before, room - before, fill ? fill->data : " ", fill ? fill->bytes : 1);
}

static value ljust(call *c)
{
    return justify(c, false, true);
}

static value rjust(call *c)
{
    return justify(c, true, false);
}

static value center(call *c)
{
    return justify(c, true, true);
}

static value zfill(call *c)
{
    const string *s = self(c);
    int64_t room = dt_j_int_argument(c, 0, 0) - s->chars;
    bool sign = s->bytes && (s->data[0] == '-' || s->data[0] == '+');
    if (!sign)
        return dt_j_pad(c->r, s, room, 0, "0", 1);
    string digits = {.data = s->data + 1, .bytes = s->bytes - 1, .chars = s->chars - 1};
    value padded = dt_j_pad(c->r, &digits, room, 0, "0", 1), first = dt_j_string(c->r, s->data, 1);
    return dt_j_failed(c->r) ? dt_j_undefined : dt_j_join(c->r, first, padded);
}

/* ---- stripping ---- */

static value strip(call *c)
{
    return dt_j_strip(c->r, self(c), dt_j_string_argument(c, 0), true, true);
}

static value lstrip(call *c)
{
    return dt_j_strip(c->r, self(c), dt_j_string_argument(c, 0), true, false);
}

static value rstrip(call *c)
{
    return dt_j_strip(c->r, self(c), dt_j_string_argument(c, 0), false, true);
}

static bool begins(const string *s, const string *with)
{
    return with->bytes <= s->bytes && memcmp(s->data, with->data, with->bytes) == 0;
}

static bool ends(const string *s, const string *with)
{
    return with->bytes <= s->bytes && memcmp(s->data + s->bytes - with->bytes, with->data, with->bytes) == 0;
}

static value removeprefix(call *c)
{
    const string *s = self(c), *p = dt_j_string_argument(c, 0);
    return p && begins(s, p) ? dt_j_string(c->r, s->data + p->bytes, s->bytes - p->bytes) : c->self;
}

static value removesuffix(call *c)
{
    const string *s = self(c), *p = dt_j_string_argument(c, 0);
    return p && ends(s, p) ? dt_j_string(c->r, s->data, s->bytes - p->bytes) : c->self;
}

/* ---- finding: all take a range of characters, as str.find(sub, start, end) does ---- */

/* The characters [start, end) of the string; false when the range lies behind it. */
static bool window(call *c, string *out, int64_t *start)
{
    const string *s = self(c);
    int64_t from = dt_j_int_argument(c, 1, 0), to = dt_j_int_argument(c, 2, s->chars), at = 0;
    from = from < 0 ? from + s->chars : from;
    to = to < 0 ? to + s->chars : to > s->chars ? s->chars : to;
    from = from < 0 ? 0 : from;
    *start = from;
    if (dt_j_failed(c->r) || from > to || !dt_j_spend(c->r, (int64_t)(s->bytes / 32)))
        return false;
    size_t byte = 0, begin = 0, n;
    for (; at < to && byte < s->bytes; at++, byte += n) {
        if (at == from)
            begin = byte;
        dt_j_decode(s->data + byte, s->bytes - byte, &n);
    }
    if (at == from)
        begin = byte;
    *out = (string){.data = s->data + begin, .bytes = byte - begin, .chars = to - from};
    return true;
}

static const char *last_in(const string *s, const string *sub)
{
    for (size_t at = s->bytes - sub->bytes + 1; sub->bytes <= s->bytes && at-- > 0;)
        if (memcmp(s->data + at, sub->data, sub->bytes) == 0)
            return s->data + at;
    return NULL;
}

static int64_t place(call *c, bool last)
{
    string in;
    int64_t start;
    const string *sub = dt_j_string_argument(c, 0);
    if (!sub || !window(c, &in, &start))
        return -1;
    dt_j_spend(c->r, last ? (int64_t)(in.bytes / 8) : (int64_t)(in.bytes / 64));
    const char *found = last ? last_in(&in, sub) : memmem(in.data, in.bytes, sub->data, sub->bytes);
    return found ? start + dt_j_chars(in.data, (size_t)(found - in.data)) : -1;
}

static value find(call *c)
{
    return dt_j_int(place(c, false));
}

static value rfind(call *c)
{
    return dt_j_int(place(c, true));
}

static value found_or_fail(call *c, int64_t at)
{
    return at < 0 ? dt_j_fail(c->r, DT_FORMAT, "substring not found") : dt_j_int(at);
}

static value index_of(call *c)
{
    return found_or_fail(c, place(c, false));
}

static value rindex_of(call *c)
{
    return found_or_fail(c, place(c, true));
}

static value count(call *c)
{
    string in;
    int64_t start, found = 0;
    const string *sub = dt_j_string_argument(c, 0);
    if (!sub || !window(c, &in, &start))
        return dt_j_int(0);
    if (sub->bytes == 0)
        return dt_j_int(in.chars + 1);
    for (const char *at = in.data, *end = in.data + in.bytes;
         (at = memmem(at, (size_t)(end - at), sub->data, sub->bytes)) && dt_j_spend(c->r, 0);
         at += sub->bytes)
        found++;
    return dt_j_int(found);
}

/* startswith, endswith: a string, or any of a tuple of them. */
static value any_affix(call *c, bool (*holds)(const string *, const string *), const char *name)
{
    string in;
    int64_t start;
    value affix = c->argument[0];
    const item_list one = {.item = &affix, .count = 1}, *all = affix.kind == J_TUPLE ? affix.list : &one;
    if (affix.kind == J_UNDEFINED)
        return dt_j_use_undefined(c->r, affix);
    bool inside = window(c, &in, &start), found = false;
    for (int64_t i = 0; i < all->count; i++) {
        if (all->item[i].kind != J_STRING)
            return dt_j_fail(c->r, DT_FORMAT, "%s first arg must be str or a tuple of str, not %s", name,
                             dt_j_type(all->item[i]));
        found |= inside && holds(&in, all->item[i].string);
    }
    return dt_j_bool(found);
}

static value startswith(call *c)
{
    return any_affix(c, begins, "startswith");
}

static value endswith(call *c)
{
    return any_affix(c, ends, "endswith");
}

/* ---- cutting ---- */

static value split_at_spaces(rendering *r, const string *s, int64_t most)
{
    value out = dt_j_list(r, J_LIST, 0);
    const char *at = s->data, *end = s->data + s->bytes;
    size_t n;
    for (int64_t cuts = 0; dt_j_spend(r, 0); cuts++) {
        while (at < end && dt_j_is_space(dt_j_decode(at, (size_t)(end - at), &n)))
            at += n;
        const char *begin = at;
        if (at >= end)
            break;
        if (most >= 0 && cuts == most) { /* the rest in one, but for the white space at its end */
            string rest = {.data = at, .bytes = (size_t)(end - at)};
            dt_j_push(r, out, dt_j_strip(r, &rest, NULL, false, true));
            break;
        }
        while (at < end && !dt_j_is_space(dt_j_decode(at, (size_t)(end - at), &n)))
            at += n;
        dt_j_push(r, out, dt_j_string(r, begin, (size_t)(at - begin)));
    }
    return out;
}

static value split(call *c)
{
    const string *s = self(c), *separator = dt_j_string_argument(c, 0);
    int64_t most = dt_j_int_argument(c, 1, -1);
    rendering *r = c->r;
    if (dt_j_failed(r) || !dt_j_spend(r, (int64_t)(s->bytes / 16)))
        return dt_j_undefined;
    if (!separator)
        return split_at_spaces(r, s, most);
    if (separator->bytes == 0)
        return dt_j_fail(r, DT_FORMAT, "empty separator");
    value out = dt_j_list(r, J_LIST, 0);
    const char *at = s->data, *end = s->data + s->bytes, *found;
    for (int64_t cuts = 0; (most < 0 || cuts < most) &&
                           (found = memmem(at, (size_t)(end - at), separator->data, separator->bytes)) &&
                           dt_j_push(r, out, dt_j_string(r, at, (size_t)(found - at)));
         cuts++)
        at = found + separator->bytes;
    dt_j_push(r, out, dt_j_string(r, at, (size_t)(end - at)));
    return out;
}

static void reverse(item_list *l)
{
    for (int64_t i = 0, k = l->count - 1; i < k; i++, k--) {
        value v = l->item[i];
        l->item[i] = l->item[k];
        l->item[k] = v;
    }
}

/* rsplit(None, n): cut from the end; white space around every piece is dropped. */
static value rsplit_at_spaces(rendering *r, const string *s, int64_t most)
{
    value out = dt_j_list(r, J_LIST, 0);
    string rest = *s;
    for (int64_t cuts = 0; dt_j_spend(r, (int64_t)(rest.bytes / 16)); cuts++) {
        value trimmed = dt_j_strip(r, &rest, NULL, cuts == 0 && most < 0, true);
        if (dt_j_failed(r) || trimmed.string->bytes == 0)
            break;
        rest = *trimmed.string;
        size_t begin = rest.bytes, n;
        while (begin > 0 && !(most >= 0 && cuts == most)) {
            size_t last = begin - 1;
            while (last > 0 && ((unsigned char)rest.data[last] & 0xC0) == 0x80)
                last--;
            if (dt_j_is_space(dt_j_decode(rest.data + last, begin - last, &n)))
                break;
            begin = last;
        }
        if (most >= 0 && cuts == most)
            begin = 0;
        value piece = dt_j_string(r, rest.data + begin, rest.bytes - begin);
        dt_j_push(r, out,
                  begin == 0 && !dt_j_failed(r) ? dt_j_strip(r, piece.string, NULL, true, false) : piece);
        rest.bytes = begin;
    }
    if (!dt_j_failed(r))
        reverse(out.list);
    return out;
}

static value rsplit(call *c)
{
    const string *s = self(c), *separator = dt_j_string_argument(c, 0);
    int64_t most = dt_j_int_argument(c, 1, -1);
    rendering *r = c->r;
    if (dt_j_failed(r))
        return dt_j_undefined;
    if (!separator)
        return rsplit_at_spaces(r, s, most);
    if (separator->bytes == 0)
        return dt_j_fail(r, DT_FORMAT, "empty separator");
    value out = dt_j_list(r, J_LIST, 0);
    string rest = *s;
    const char *found;
    for (int64_t cuts = 0; (most < 0 || cuts < most) && dt_j_spend(r, (int64_t)(rest.bytes / 32)) &&
                           (found = last_in(&rest, separator));
         cuts++) {
        const char *after = found + separator->bytes;
        dt_j_push(r, out, dt_j_string(r, after, (size_t)(rest.data + rest.bytes - after)));
        rest.bytes = (size_t)(found - rest.data);
    }
    dt_j_push(r, out, dt_j_string(r, rest.data, rest.bytes));
    if (!dt_j_failed(r))
        reverse(out.list);
    return out;
}

static value three(rendering *r, value a, value b, value c)
{
    value v = dt_j_list(r, J_TUPLE, 3);
    bool ok = dt_j_push(r, v, a) && dt_j_push(r, v, b) && dt_j_push(r, v, c);
    return ok ? v : dt_j_undefined;
}

static value cut_once(call *c, bool last)
{
    const string *s = self(c), *separator = dt_j_string_argument(c, 0);
    rendering *r = c->r;
    if (!separator)
        return dt_j_fail(r, DT_FORMAT, "must be str, not NoneType");
    if (separator->bytes == 0)
        return dt_j_fail(r, DT_FORMAT, "empty separator");
    const char *found =
        last ? last_in(s, separator) : memmem(s->data, s->bytes, separator->data, separator->bytes);
    value empty = dt_j_text(r, "");
    if (!found)
        return last ? three(r, empty, empty, c->self) : three(r, c->self, empty, empty);
    const char *after = found + separator->bytes;
    return three(r, dt_j_string(r, s->data, (size_t)(found - s->data)), c->argument[0],
                 dt_j_string(r, after, (size_t)(s->data + s->bytes - after)));
}

static value partition(call *c)
{
    return cut_once(c, false);
}

static value rpartition(call *c)
{
    return cut_once(c, true);
}

static value splitlines(call *c)
{
    return dt_j_lines(c->r, self(c), dt_j_bool_argument(c, 0, false));
}

/* ---- others ---- */

static value replace(call *c)
{
    const string *from = dt_j_string_argument(c, 0), *to = dt_j_string_argument(c, 1);
    if (!from || !to)
        return dt_j_fail(c->r, DT_FORMAT, "replace() argument must be str, not None");
    return dt_j_replace(c->r, self(c), from, to, dt_j_int_argument(c, 2, -1));
}

static value join(call *c)
{
    return dt_j_join_items(c->r, self(c), c->argument[0], false);
}

static value format(call *c)
{
    return dt_j_format(c->r, c->self, c->given);
}

static value expandtabs(call *c)
{
    dt_text out = {0};
    const string *s = self(c);
    int64_t size = dt_j_int_argument(c, 0, 8), column = 0;
    if (size > 1000)
        return dt_j_fail(c->r, DT_LIMIT, "tabs of more than 1000 columns");
    for (size_t i = 0; i < s->bytes && dt_j_spend(c->r, 0); i++) {
        if (s->data[i] == '\t') {
            for (int64_t n = size > 0 ? size - column % size : 0; n > 0 && dt_j_charge(c->r, 1);
                 n--, column++)
                dt_text_append(&out, " ", 1);
            continue;
        }
        dt_text_append(&out, &s->data[i], 1);
        column = s->data[i] == '\n' || s->data[i] == '\r'
                     ? 0
                     : column + (((unsigned char)s->data[i] & 0xC0) != 0x80);
    }
    return dt_j_take_text(c->r, &out);
}

/* Does `holds` hold of every character, of which there is at least one? */
static value every(call *c, bool (*holds)(int32_t))
{
    const string *s = self(c);
    dt_j_spend(c->r, (int64_t)(s->bytes / 16));
    for (size_t at = 0, n; at < s->bytes; at += n)
        if (!holds(dt_j_decode(s->data + at, s->bytes - at, &n)))
            return dt_j_bool(false);
    return dt_j_bool(s->bytes > 0);
}

static bool alphanumeric(int32_t c)
{
    return dt_j_is_alpha(c) || dt_j_is_decimal(c);
}

static bool ascii(int32_t c)
{
    return c < 128;
}

static value isalpha_(call *c)
{
    return every(c, dt_j_is_alpha);
}

static value isalnum_(call *c)
{
    return every(c, alphanumeric);
}

static value isdigit_(call *c)
{
    return every(c, dt_j_is_decimal);
}

static value isspace_(call *c)
{
    return every(c, dt_j_is_space);
}

static value isascii_(call *c)
{
    return self(c)->bytes ? every(c, ascii) : dt_j_bool(true);
}

static value isupper_(call *c)
{
    return dt_j_bool(dt_j_apply_test(c->r, "upper", c->self, c->given));
}

static value islower_(call *c)
{
    return dt_j_bool(dt_j_apply_test(c->r, "lower", c->self, c->given));
}

const builtin dt_j_string_methods[] = {
    {"upper", "", upper},
    {"lower", "", lower},
    {"casefold", "", lower},
    {"capitalize", "", capitalize},
    {"title", "", title},
    {"swapcase", "", swapcase},
    {"ljust", "width fillchar?", ljust},
    {"rjust", "width fillchar?", rjust},
    {"center", "width fillchar?", center},
    {"zfill", "width", zfill},
    {"strip", "chars?", strip},
    {"lstrip", "chars?", lstrip},
    {"rstrip", "chars?", rstrip},
    {"removeprefix", "prefix", removeprefix},
    {"removesuffix", "suffix", removesuffix},
    {"find", "sub start? end?", find},
    {"rfind", "sub start? end?", rfind},
    {"index", "sub start? end?", index_of},
    {"rindex", "sub start? end?", rindex_of},
    {"count", "sub start? end?", count},
    {"startswith", "prefix start? end?", startswith},
    {"endswith", "suffix start? end?", endswith},
    {"split", "sep? maxsplit?", split},
    {"rsplit", "sep? maxsplit?", rsplit},
    {"partition", "sep", partition},
    {"rpartition", "sep", rpartition},
    {"splitlines", "keepends?", splitlines},
    {"replace", "old new count?", replace},
    {"join", "iterable", join},
    {"format", "* **", format},
    {"expandtabs", "tabsize?", expandtabs},
    {"isalpha", "", isalpha_},
    {"isalnum", "", isalnum_},
    {"isdigit", "", isdigit_},
    {"isdecimal", "", isdigit_},
    {"isnumeric", "", isdigit_},
    {"isspace", "", isspace_},
    {"isascii", "", isascii_},
    {"isupper", "", isupper_},
    {"islower", "", islower_},
    {NULL, NULL, NULL},
};
