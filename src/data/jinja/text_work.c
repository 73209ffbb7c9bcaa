/*
 * text_work.c - case, stripping, replacing, padding, lines: as str's methods do them.
 */
#include "data/jinja/text_work.h"

#include "data/jinja/characters.h"

#include <string.h>

/* ---- case ---- */

static void put_mapped(dt_text *out, int32_t c, int (*map)(int32_t, int32_t[3]))
{
    int32_t to[3] = {0};
    char bytes[4];
    int count = map(c, to);
    for (int i = 0; i < count; i++)
        dt_text_append(out, bytes, dt_j_encode(to[i], bytes));
}

static void put_changed(dt_text *out, int32_t c, case_change change, bool first, bool in_word)
{
    bool upper = change == CASE_UPPER || (change == CASE_SWAP && dt_j_is_lower(c));
    bool title = (change == CASE_CAPITALIZE && first) || (change == CASE_TITLE && !in_word);
    bool keep = change == CASE_SWAP && !dt_j_is_lower(c) && !dt_j_is_upper(c);
    char bytes[4];
    if (keep)
        dt_text_append(out, bytes, dt_j_encode(c, bytes));
    else
        put_mapped(out, c, upper ? dt_j_to_upper : title ? dt_j_to_title : dt_j_to_lower);
}

value dt_j_change_case(rendering *r, const string *s, case_change change)
{
    dt_text out = {0};
    bool in_word = false;
    dt_j_spend(r, (int64_t)(s->bytes / 16));
    for (size_t at = 0, n; at < s->bytes && !dt_j_failed(r); at += n) {
        int32_t c = dt_j_decode(s->data + at, s->bytes - at, &n);
        put_changed(&out, c, change, at == 0, in_word);
        in_word = dt_j_is_upper(c) || dt_j_is_lower(c) || dt_j_is_title(c);
    }
    return dt_j_take_text(r, &out);
}

/* ---- stripping ---- */

static bool strippable(const char *at, size_t bytes, const string *chars, size_t *n)
{
    int32_t c = dt_j_decode(at, bytes, n);
    return chars ? memmem(chars->data, chars->bytes, at, *n) != NULL : dt_j_is_space(c);
}

value dt_j_strip(rendering *r, const string *s, const string *chars, bool left, bool right)
{
    const char *begin = s->data, *end = s->data + s->bytes;
    size_t n;
    dt_j_spend(r, (int64_t)(s->bytes / 16) + (chars ? (int64_t)chars->bytes : 0));
    while (left && begin < end && strippable(begin, (size_t)(end - begin), chars, &n))
        begin += n;
    while (right && begin < end) {
        const char *last = end - 1;
        while (last > begin && ((unsigned char)*last & 0xC0) == 0x80)
            last--;
        if (!strippable(last, (size_t)(end - last), chars, &n))
            break;
        end = last;
    }
    return dt_j_string(r, begin, (size_t)(end - begin));
}

/* ---- replacing ---- */

/* Replacing nothing: `to` before every character and at the end. */
static value intersperse(rendering *r, const string *s, const string *to, int64_t most)
{
    dt_text out = {0};
    size_t at = 0, n;
    for (int64_t done = 0; (most < 0 || done < most) && dt_j_charge(r, to->bytes) && dt_j_spend(r, 0);
         done++) {
        dt_text_append(&out, to->data, to->bytes);
        if (at >= s->bytes)
            break;
        dt_j_decode(s->data + at, s->bytes - at, &n);
        dt_text_append(&out, s->data + at, n);
        at += n;
    }
    dt_text_append(&out, s->data + at, s->bytes - at);
    return dt_j_take_text(r, &out);
}

value dt_j_replace(rendering *r, const string *s, const string *from, const string *to, int64_t most)
{
    dt_text out = {0};
    size_t at = 0;
    if (from->bytes == 0)
        return intersperse(r, s, to, most);
    dt_j_spend(r, (int64_t)(s->bytes / 16));
    for (int64_t done = 0; (most < 0 || done < most) && dt_j_spend(r, 0); done++) {
        const char *found = memmem(s->data + at, s->bytes - at, from->data, from->bytes);
        if (!found || !dt_j_charge(r, to->bytes))
            break;
        dt_text_append(&out, s->data + at, (size_t)(found - s->data) - at);
        dt_text_append(&out, to->data, to->bytes);
        at = (size_t)(found - s->data) + from->bytes;
    }
    dt_text_append(&out, s->data + at, s->bytes - at);
    return dt_j_take_text(r, &out);
}

/* ---- padding ---- */

value dt_j_pad(rendering *r, const string *s, int64_t left, int64_t right, const char *fill,
               size_t fill_bytes)
{
    dt_text out = {0};
    left = left < 0 ? 0 : left;
    right = right < 0 ? 0 : right;
    if (left > (1 << 28) || right > (1 << 28) || !dt_j_charge(r, (size_t)(left + right) * fill_bytes))
        return dt_j_fail(r, DT_LIMIT, "a string padded by more than the memory limit allows");
    dt_j_spend(r, (left + right) / 16);
    for (int64_t i = 0; i < left && !dt_j_failed(r); i++)
        dt_text_append(&out, fill, fill_bytes);
    dt_text_append(&out, s->data, s->bytes);
    for (int64_t i = 0; i < right && !dt_j_failed(r); i++)
        dt_text_append(&out, fill, fill_bytes);
    return dt_j_take_text(r, &out);
}

value dt_j_center(rendering *r, const string *s, int64_t width)
{
    int64_t room = width - s->chars;
    int64_t left = room > 0 ? room / 2 + (room & width & 1) : 0;
    return dt_j_pad(r, s, left, room - left, " ", 1);
}

/* ---- lines and joining ---- */

/* Bytes of the line end at `at`; 0 when there is none. */
static size_t line_end(const char *at, const char *end)
{
    size_t n;
    int32_t c = dt_j_decode(at, (size_t)(end - at), &n);
    if (c == '\r' && at + 1 < end && at[1] == '\n')
        return 2;
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029 ? n : 0;
}

value dt_j_lines(rendering *r, const string *s, bool keep_ends)
{
    value out = dt_j_list(r, J_LIST, 0);
    const char *begin = s->data, *end = s->data + s->bytes;
    dt_j_spend(r, (int64_t)(s->bytes / 16));
    for (const char *at = begin; at < end && !dt_j_failed(r);) {
        size_t n = line_end(at, end);
        if (n) {
            dt_j_push(r, out, dt_j_string(r, begin, (size_t)(at - begin) + (keep_ends ? n : 0)));
            begin = at + n;
        }
        at += n ? n : 1;
    }
    if (begin < end)
        dt_j_push(r, out, dt_j_string(r, begin, (size_t)(end - begin)));
    return out;
}

value dt_j_join_items(rendering *r, const string *separator, value items, bool convert)
{
    dt_text out = {0};
    walk w;
    value item;
    if (!dt_j_walk(r, items, &w))
        return dt_j_undefined;
    for (bool first = true; dt_j_next(r, &w, &item); first = false) {
        if (!first && dt_j_charge(r, separator->bytes))
            dt_text_append(&out, separator->data, separator->bytes);
        if (!convert && item.kind != J_STRING)
            dt_j_fail(r, DT_FORMAT, "sequence item %lld: expected str instance, %s found",
                      (long long)w.at - 1, dt_j_type(item));
        dt_j_put_text(r, &out, item);
    }
    return dt_j_take_text(r, &out);
}
