/*
 * json_of.c - values as Python's json.dumps writes them.
 */
#include "data/jinja/characters.h"
#include "data/jinja/render.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void put_control(dt_text *out, int32_t c)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *short_form = c ? strchr(from, (char)c) : NULL;
    if (c < 128 && short_form)
        dt_text_printf(out, "\\%c", to[short_form - from]);
    else if (c > 0xFFFF)
        dt_text_printf(out, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((c - 0x10000) >> 10)),
                       (unsigned)(0xDC00 + ((c - 0x10000) & 0x3FF)));
    else
        dt_text_printf(out, "\\u%04x", (unsigned)c);
}

static void put_string(dt_text *out, const string *s, bool ascii)
{
    size_t plain = 0; /* where what can be copied begins */
    dt_text_put(out, "\"");
    for (size_t at = 0, n; at < s->bytes; at += n) {
        int32_t c = dt_j_decode(s->data + at, s->bytes - at, &n);
        if (c >= 32 && c != '"' && c != '\\' && !(ascii && c > 126))
            continue;
        dt_text_append(out, s->data + plain, at - plain);
        put_control(out, c);
        plain = at + n;
    }
    dt_text_append(out, s->data + plain, s->bytes - plain);
    dt_text_put(out, "\"");
}

static void new_line(dt_text *out, const json_style *style, int level)
{
    if (!style->indent)
        return;
    dt_text_put(out, "\n");
    for (int i = 0; i < level; i++)
        dt_text_put(out, style->indent);
}

static void put_list(rendering *r, dt_text *out, const item_list *l, const json_style *style, int level)
{
    dt_text_put(out, "[");
    for (int64_t i = 0; i < l->count && dt_j_spend(r, 1); i++) {
        if (i)
            dt_text_put(out, style->item);
        new_line(out, style, level + 1);
        dt_j_put_json(r, out, l->item[i], style, level + 1);
    }
    if (l->count)
        new_line(out, style, level);
    dt_text_put(out, "]");
}

static void put_key(rendering *r, dt_text *out, value key, const json_style *style)
{
    if (key.kind == J_STRING)
        put_string(out, key.string, style->ascii);
    else if (key.kind == J_NONE || key.kind == J_BOOL || key.kind == J_INT || key.kind == J_REAL) {
        dt_text_put(out, "\"");
        dt_j_put_json(r, out, key, style, 0);
        dt_text_put(out, "\"");
    } else
        dt_j_fail(r, DT_FORMAT, "keys must be str, int, float, bool or None, not %s", dt_j_type(key));
}

typedef struct entry {
    value key, item;
} entry;

static int by_key(const void *a, const void *b)
{
    const string *x = ((const entry *)a)->key.string, *y = ((const entry *)b)->key.string;
    int order = memcmp(x->data, y->data, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The entries in the order they are written; NULL: failed. */
static entry *entries(rendering *r, const dict *d, bool sort)
{
    entry *e = dt_j_alloc(r, (size_t)(d->count + 1) * sizeof *e);
    bool strings = true;
    for (int64_t i = 0; e && i < d->count; i++) {
        e[i] = (entry){d->key[i], d->item[i]};
        strings &= d->key[i].kind == J_STRING;
    }
    if (sort && !strings)
        dt_j_fail(r, DT_UNSUPPORTED, "sort_keys of keys that are no strings");
    else if (sort && e)
        qsort(e, (size_t)d->count, sizeof *e, by_key);
    return dt_j_failed(r) ? NULL : e;
}

static void put_dict(rendering *r, dt_text *out, const dict *d, const json_style *style, int level)
{
    const entry *e = entries(r, d, style->sort);
    dt_text_put(out, "{");
    for (int64_t i = 0; e && i < d->count && dt_j_spend(r, 1); i++) {
        if (i)
            dt_text_put(out, style->item);
        new_line(out, style, level + 1);
        put_key(r, out, e[i].key, style);
        dt_text_put(out, style->key);
        dt_j_put_json(r, out, e[i].item, style, level + 1);
    }
    if (d->count)
        new_line(out, style, level);
    dt_text_put(out, "}");
}

static void put_real(dt_text *out, double real)
{
    if (isnan(real) || isinf(real))
        dt_text_put(out, isnan(real) ? "NaN" : real < 0 ? "-Infinity" : "Infinity");
    else
        dt_j_put_real(out, real);
}

bool dt_j_put_json(rendering *r, dt_text *out, value v, const json_style *style, int level)
{
    size_t before = out->bytes;
    if (dt_j_failed(r) || !dt_j_deeper(r))
        return false;
    if (v.kind == J_STRING)
        put_string(out, v.string, style->ascii);
    else if (v.kind == J_NONE)
        dt_text_put(out, "null");
    else if (v.kind == J_BOOL)
        dt_text_put(out, v.truth ? "true" : "false");
    else if (v.kind == J_INT)
        dt_text_printf(out, "%lld", (long long)v.integer);
    else if (v.kind == J_REAL)
        put_real(out, v.real);
    else if (v.kind == J_LIST || v.kind == J_TUPLE)
        put_list(r, out, v.list, style, level);
    else if (v.kind == J_DICT)
        put_dict(r, out, v.dict, style, level);
    else
        dt_j_fail(r, DT_FORMAT, "Object of type %s is not JSON serializable", dt_j_type(v));
    r->depth--;
    return dt_j_charge(r, v.kind == J_STRING ? out->bytes - before : 8);
}
