/*
 * resize_fast.c - the two passes with sixteen bytes at a time; the sums, and so the bits, are the plain passes'.
 *
 * Along columns, lanes are neighbours in a row. Along rows, lanes are sixteen rows: a strip of them is turned on its
 * side, so that the same column of all rows is one load, whatever the distance between the taps' places.
 *
 * Measured  docs/speed.md, "Pictures".
 */
#include "data/image/resize.h"

#include "base/checked.h"
#include "tensor/lanes.h"

#include <stdlib.h>
#include <string.h>

enum { LANES = 16, CHANNELS = 3, STRIP_LIMIT = 1 << 26 };

typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int32_t i32x16 __attribute__((vector_size(64)));

DT_LANES u8x16 load(const uint8_t *in)
{
    u8x16 v;
    memcpy(&v, in, sizeof v);
    return v;
}

DT_LANES i32x16 widened(const uint8_t *in)
{
    return __builtin_convertvector(load(in), i32x16);
}

DT_LANES i32x16 all(int32_t value)
{
    return (i32x16){0} + value;
}

/* sum >> bits, clipped to 0..255 */
DT_LANES void store_clipped(uint8_t *out, const i32x16 *total, int bits)
{
    i32x16 sum = *total >> bits;
    sum &= sum > 0;
    i32x16 over = sum > 255;
    sum = (sum & ~over) | (over & 255);
    u8x16 bytes = __builtin_convertvector(sum, u8x16);
    memcpy(out, &bytes, sizeof bytes);
}

/* ---- along columns ---- */

DT_LANES void column_block(const dt_pass *p, int y, size_t x)
{
    const dt_taps *t = p->taps;
    const uint8_t *in = p->in + (size_t)t->first[y] * p->in_stride + x;
    const int32_t *weight = t->weight + (size_t)y * (size_t)t->reach;
    i32x16 sum = all(1 << (t->bits - 1)), next = sum;
    for (int i = 0; i < t->length[y]; i++, in += p->in_stride) {
        sum += widened(in) * weight[i];
        next += widened(in + LANES) * weight[i];
    }
    uint8_t *out = p->out + (size_t)y * p->out_stride + x;
    store_clipped(out, &sum, t->bits);
    store_clipped(out + LANES, &next, t->bits);
}

DT_WIDE static void wide_columns(const dt_pass *p, size_t whole)
{
    for (int y = 0; y < p->taps->outputs; y++)
        for (size_t x = 0; x < whole; x += 2 * LANES)
            column_block(p, y, x);
}

void dt_pass_columns(const dt_pass *pass)
{
    size_t whole = pass->bytes - pass->bytes % (2 * LANES);
    wide_columns(pass, whole);
    dt_pass rest = *pass;
    rest.in += whole;
    rest.out += whole;
    rest.bytes -= whole;
    dt_pass_columns_plain(&rest);
}

/* ---- along rows ---- */

/* A square of bytes turned on its side: four rounds of dealing two halves into one another. */
DT_LANES void transpose(const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride)
{
    u8x16 a[LANES], b[LANES];
    for (int i = 0; i < LANES; i++)
        a[i] = load(in + (size_t)i * in_stride);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                               22, 7, 23);
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                                   29, 14, 30, 15, 31);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < LANES; i++)
        memcpy(out + (size_t)i * out_stride, &a[i], LANES);
}

/* `bytes` columns (a multiple of 16) of sixteen rows, to bytes rows of sixteen. */
DT_WIDE static void turn_in(const uint8_t *in, size_t stride, uint8_t *out, size_t bytes)
{
    for (size_t x = 0; x < bytes; x += LANES)
        transpose(in + x, stride, out + x * LANES, LANES);
}

DT_WIDE static void turn_out(const uint8_t *in, uint8_t *out, size_t stride, size_t bytes)
{
    for (size_t x = 0; x < bytes; x += LANES)
        transpose(in + x * LANES, LANES, out + x, stride);
}

DT_WIDE static void wide_rows(const dt_taps *t, const uint8_t *in, int origin, uint8_t *out)
{
    for (int x = 0; x < t->outputs; x++, out += CHANNELS * LANES) {
        const uint8_t *from = in + (size_t)(t->first[x] - origin) * CHANNELS * LANES;
        const int32_t *weight = t->weight + (size_t)x * (size_t)t->reach;
        i32x16 r = all(1 << (t->bits - 1)), g = r, b = r;
        for (int i = 0; i < t->length[x]; i++, from += CHANNELS * LANES) {
            r += widened(from) * weight[i];
            g += widened(from + LANES) * weight[i];
            b += widened(from + 2 * LANES) * weight[i];
        }
        store_clipped(out, &r, t->bits);
        store_clipped(out + LANES, &g, t->bits);
        store_clipped(out + 2 * LANES, &b, t->bits);
    }
}

/* Which of a row's pixels are looked at. */
typedef struct span {
    int begin, end;
} span;

static span span_of(const dt_taps *t)
{
    span s = {t->first[0], 0};
    for (int i = 0; i < t->outputs; i++) {
        s.begin = t->first[i] < s.begin ? t->first[i] : s.begin;
        s.end = t->first[i] + t->length[i] > s.end ? t->first[i] + t->length[i] : s.end;
    }
    return s;
}

static size_t up(size_t bytes)
{
    return (bytes + LANES - 1) / LANES * LANES;
}

/* Sixteen rows that may be read and written in whole blocks of sixteen bytes, beside them turned. */
typedef struct strip {
    uint8_t *rows, *turned, *made, *made_rows;
    size_t in_bytes, out_bytes, in_room, out_room;
} strip;

static void copy_in(const strip *s, const dt_pass *p, int y, int rows, int begin)
{
    for (int r = 0; r < LANES; r++) /* a last strip repeats its last row */
        memcpy(s->rows + (size_t)r * s->in_room,
               p->in + (size_t)(y + (r < rows ? r : rows - 1)) * p->in_stride + (size_t)begin * CHANNELS,
               s->in_bytes);
}

static void do_strip(const strip *s, const dt_pass *p, int y, span used)
{
    int rows = p->rows - y < LANES ? p->rows - y : LANES;
    copy_in(s, p, y, rows, used.begin);
    turn_in(s->rows, s->in_room, s->turned, s->in_room);
    wide_rows(p->taps, s->turned, used.begin, s->made);
    turn_out(s->made, s->made_rows, s->out_room, s->out_room);
    for (int r = 0; r < rows; r++)
        memcpy(p->out + (size_t)(y + r) * p->out_stride, s->made_rows + (size_t)r * s->out_room,
               s->out_bytes);
}

dt_status dt_pass_rows(const dt_pass *pass, dt_error *err)
{
    span used = span_of(pass->taps);
    strip s = {.in_bytes = (size_t)(used.end - used.begin) * CHANNELS,
               .out_bytes = (size_t)pass->taps->outputs * CHANNELS};
    s.in_room = up(s.in_bytes);
    s.out_room = up(s.out_bytes);
    size_t bytes = 2 * LANES * (s.in_room + s.out_room);
    if (bytes > STRIP_LIMIT || pass->rows < LANES / 4) { /* one very long row: nothing to put side by side */
        dt_pass_rows_plain(pass);
        return DT_OK;
    }
    s.rows = calloc(1, bytes);
    if (!s.rows)
        return dt_fail_memory(err, bytes, "the rows of a resize");
    s.turned = s.rows + LANES * s.in_room;
    s.made = s.turned + LANES * s.in_room;
    s.made_rows = s.made + LANES * s.out_room;
    for (int y = 0; y < pass->rows; y += LANES)
        do_strip(&s, pass, y, used);
    free(s.rows);
    return DT_OK;
}
