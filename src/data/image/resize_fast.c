/*
 * resize_fast.c - the two passes with sixteen bytes at a time (AVX2); the sums, and so the bits, are the plain passes'.
 *
 * Along columns, lanes are neighbours in a row. Along rows, lanes are sixteen rows: a strip of them is turned on its
 * side, so that the same column of all rows is one load, whatever the distance between the taps' places.
 *
 * Measured  docs/speed.md, "Pictures".
 * Tried     the compiler's own vectors: gcc 12 widens bytes to integers one by one, slower than the plain loops.
 */
#include "data/image/resize.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

enum { LANES = 16, CHANNELS = 3, STRIP_LIMIT = 1 << 26 };

#define WIDE __attribute__((target("avx2")))

/* Sixteen sums. */
typedef struct sums {
    __m256i low, high;
} sums;

WIDE static inline sums start(int bits)
{
    __m256i half = _mm256_set1_epi32(1 << (bits - 1));
    return (sums){half, half};
}

WIDE static inline void add(sums *s, const uint8_t *in, __m256i weight)
{
    __m256i low = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)in));
    __m256i high = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(in + 8)));
    s->low = _mm256_add_epi32(s->low, _mm256_mullo_epi32(low, weight));
    s->high = _mm256_add_epi32(s->high, _mm256_mullo_epi32(high, weight));
}

/* sum >> bits, clipped to 0..255: packing to 16 bits and then to 8 saturates. */
WIDE static inline void store_clipped(uint8_t *out, const sums *s, int bits)
{
    __m128i count = _mm_cvtsi32_si128(bits);
    __m256i words = _mm256_packs_epi32(_mm256_sra_epi32(s->low, count), _mm256_sra_epi32(s->high, count));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)out, bytes);
}

/* ---- along columns ---- */

WIDE static void column_block(const dt_pass *p, int y, size_t x)
{
    const dt_taps *t = p->taps;
    const uint8_t *in = p->in + (size_t)t->first[y] * p->in_stride + x;
    const int32_t *weight = t->weight + (size_t)y * (size_t)t->reach;
    sums first = start(t->bits), second = first;
    for (int i = 0; i < t->length[y]; i++, in += p->in_stride) {
        __m256i w = _mm256_set1_epi32(weight[i]);
        add(&first, in, w);
        add(&second, in + LANES, w);
    }
    uint8_t *out = p->out + (size_t)y * p->out_stride + x;
    store_clipped(out, &first, t->bits);
    store_clipped(out + LANES, &second, t->bits);
}

void dt_pass_columns(const dt_pass *pass)
{
    size_t whole = __builtin_cpu_supports("avx2") ? pass->bytes - pass->bytes % (2 * LANES) : 0;
    for (int y = 0; y < pass->taps->outputs; y++)
        for (size_t x = 0; x < whole; x += 2 * LANES)
            column_block(pass, y, x);
    dt_pass rest = *pass;
    rest.in += whole;
    rest.out += whole;
    rest.bytes -= whole;
    dt_pass_columns_plain(&rest);
}

/* ---- along rows ---- */

/* A square of bytes turned on its side: four rounds of dealing two halves into one another. */
WIDE static inline void deal(const __m128i in[LANES], __m128i out[LANES])
{
    for (int i = 0; i < LANES / 2; i++) {
        out[2 * i] = _mm_unpacklo_epi8(in[i], in[i + LANES / 2]);
        out[2 * i + 1] = _mm_unpackhi_epi8(in[i], in[i + LANES / 2]);
    }
}

WIDE static void transpose(const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride)
{
    __m128i a[LANES], b[LANES];
    for (int i = 0; i < LANES; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(in + (size_t)i * in_stride));
    deal(a, b);
    deal(b, a);
    deal(a, b);
    deal(b, a);
    for (int i = 0; i < LANES; i++)
        _mm_storeu_si128((__m128i *)(out + (size_t)i * out_stride), a[i]);
}

/* `bytes` columns (a multiple of 16) of sixteen rows, to bytes rows of sixteen; and back. */
WIDE static void turn_in(const uint8_t *in, size_t stride, uint8_t *out, size_t bytes)
{
    for (size_t x = 0; x < bytes; x += LANES)
        transpose(in + x, stride, out + x * LANES, LANES);
}

WIDE static void turn_out(const uint8_t *in, uint8_t *out, size_t stride, size_t bytes)
{
    for (size_t x = 0; x < bytes; x += LANES)
        transpose(in + x * LANES, LANES, out + x, stride);
}

WIDE static void wide_rows(const dt_taps *t, const uint8_t *in, int origin, uint8_t *out)
{
    for (int x = 0; x < t->outputs; x++, out += CHANNELS * LANES) {
        const uint8_t *from = in + (size_t)(t->first[x] - origin) * CHANNELS * LANES;
        const int32_t *weight = t->weight + (size_t)x * (size_t)t->reach;
        sums r = start(t->bits), g = r, b = r;
        for (int i = 0; i < t->length[x]; i++, from += CHANNELS * LANES) {
            __m256i w = _mm256_set1_epi32(weight[i]);
            add(&r, from, w);
            add(&g, from + LANES, w);
            add(&b, from + 2 * LANES, w);
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
    if (!__builtin_cpu_supports("avx2") || bytes > STRIP_LIMIT ||
        pass->rows < LANES / 4) { /* one very long row: nothing to put side by side */
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

#else

void dt_pass_columns(const dt_pass *pass)
{
    dt_pass_columns_plain(pass);
}

dt_status dt_pass_rows(const dt_pass *pass, dt_error *err)
{
    (void)err;
    dt_pass_rows_plain(pass);
    return DT_OK;
}

#endif
