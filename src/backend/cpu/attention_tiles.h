/*
 * attention_tiles.h - the inner loops of attention: R lines (a query and head each) against a block of 64 positions.
 *
 * Numbers   scores: one chain over ascending d; values: one chain over ascending positions. Arithmetic is f32, whatever
 *           type keys and values are stored in, so a line has the same bits in any tile.
 * Layout    lines d-major, [D][stride]; keys in panels of 16 positions, [4][D][16]; values [position][D] at any stride.
 */
#ifndef DT_CPU_ATTENTION_TILES_H
#define DT_CPU_ATTENTION_TILES_H

#include "backend/cpu/cache.h"

enum { KEY_PANELS = DT_KV_BLOCK / 16 };

/* While a block is read the next bytes wanted (its values; then the next block's keys) are asked for, as many as are
 * read. Each of these streams is short, so the hardware does not see where it goes. NULL = they are near already. */
static INLINE const char *fetch(const char *ahead, const int64_t bytes)
{
    if (ahead == NULL)
        return NULL;
    for (int64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(ahead + i, 0, 3);
    return ahead + bytes;
}

/* P panels of keys from `first` on; what is to be fetched goes on behind what is returned. */
static INLINE const char *score_panels(const dt_dtype type, const float *x, int64_t stride, const void *keys,
                                       int64_t D, const char *ahead, float *s, const int R, int64_t first,
                                       const int P)
{
    vf sum[ATTEND_ROWS][ATTEND_PANELS], key[ATTEND_PANELS];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++) sum[r][p] = v_set(0.0f);
    for (int64_t d = 0; d < D; d++, x += stride) {
        ahead = fetch(ahead, (int64_t)element_bytes(type) * 16 * P);
        UNROLL for (int p = 0; p < P; p++) key[p] = load_as(type, keys, ((first + p) * D + d) * 16);
        UNROLL for (int r = 0; r < R; r++)
        {
            vf one = v_set(x[r]);
            UNROLL for (int p = 0; p < P; p++) sum[r][p] = v_fma(one, key[p], sum[r][p]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++)
        v_store(s + r * DT_KV_BLOCK + (first + p) * 16, sum[r][p]);
    return ahead;
}

/* s[r][j] = sum over d of x[d * stride + r] * keys[j][d] for the first 16 * `panels` positions of a block. */
static INLINE void score_tile(const dt_dtype type, const float *x, int64_t stride, const void *keys,
                              int64_t D, int64_t panels, const char *ahead, float *s, const int R)
{
    int64_t first = 0;
    for (; first + ATTEND_PANELS <= panels; first += ATTEND_PANELS)
        ahead = score_panels(type, x, stride, keys, D, ahead, s, R, first, ATTEND_PANELS);
    for (; first < panels; first++)
        ahead = score_panels(type, x, stride, keys, D, ahead, s, R, first, 1);
}

/* Where a block's values are: row j at p + j * stride elements. */
typedef struct values {
    const void *p;
    int64_t stride;
    const char *ahead; /* for fetch */
} values;

/* Columns from `d` on, and the part of what is fetched that goes with them. */
static INLINE values values_from(const dt_dtype type, values v, int64_t d)
{
    size_t step = element_bytes(type) * (size_t)d;
    return (values){(const char *)v.p + step, v.stride,
                    v.ahead == NULL ? NULL : v.ahead + step * DT_KV_BLOCK};
}

static INLINE void value_columns(const dt_dtype type, const float *s, int64_t s_stride, values v,
                                 int64_t from, int64_t to, const float *shrink, float *out,
                                 int64_t out_stride, const int R, const int P, int64_t n)
{
    vf sum[ATTEND_ROWS][ATTEND_PANELS], value[ATTEND_PANELS];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++)
    {
        vf before = v_load(out + r * out_stride + p * 16);
        sum[r][p] = shrink == NULL ? before : v_mul(before, v_set(shrink[r]));
    }
    for (int64_t j = from; j < to; j++) {
        v.ahead = fetch(v.ahead, (int64_t)element_bytes(type) * 16 * P);
        UNROLL for (int p = 0; p < P; p++) value[p] =
            n == 16 ? load_as(type, v.p, j * v.stride + p * 16) : load_as_n(type, v.p, j * v.stride, n);
        UNROLL for (int r = 0; r < R; r++)
        {
            vf one = v_set(s[r * s_stride + j]);
            UNROLL for (int p = 0; p < P; p++) sum[r][p] = v_fma(one, value[p], sum[r][p]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++)
        v_store(out + r * out_stride + p * 16, sum[r][p]);
}

/* out[r][d] = shrink[r] * out[r][d] + sum over positions from <= j < to of s[r][j] * v[j][d], without `shrink` 1 of it;
 * rows of `out` are padded to 16. */
static INLINE void value_tile(const dt_dtype type, const float *s, int64_t s_stride, values v, int64_t D,
                              int64_t from, int64_t to, const float *shrink, float *out, int64_t out_stride,
                              const int R)
{
    int64_t d = 0;
    for (; d + 16 * ATTEND_PANELS <= D; d += 16 * ATTEND_PANELS)
        value_columns(type, s, s_stride, values_from(type, v, d), from, to, shrink, out + d, out_stride, R,
                      ATTEND_PANELS, 16);
    for (; d < D; d += 16)
        value_columns(type, s, s_stride, values_from(type, v, d), from, to, shrink, out + d, out_stride, R, 1,
                      least(16, D - d));
}

typedef void score_function(const float *x, int64_t stride, const void *keys, int64_t D, int64_t panels,
                            const char *ahead, float *s);
typedef void value_function(const float *s, int64_t s_stride, values v, int64_t D, int64_t from, int64_t to,
                            const float *shrink, float *out, int64_t out_stride);

#define DEFINE_ATTEND(R, name, type)                                                                         \
    static void score_##name##_##R(const float *x, int64_t stride, const void *keys, int64_t D,              \
                                   int64_t panels, const char *ahead, float *s)                              \
    {                                                                                                        \
        score_tile(type, x, stride, keys, D, panels, ahead, s, R);                                           \
    }                                                                                                        \
    static void value_##name##_##R(const float *s, int64_t s_stride, values v, int64_t D, int64_t from,      \
                                   int64_t to, const float *shrink, float *out, int64_t out_stride)          \
    {                                                                                                        \
        value_tile(type, s, s_stride, v, D, from, to, shrink, out, out_stride, R);                           \
    }
#define DEFINE_ATTEND_ALL(R)                                                                                 \
    DEFINE_ATTEND(R, f32, DT_F32)                                                                            \
    DEFINE_ATTEND(R, bf16, DT_BF16)                                                                          \
    DEFINE_ATTEND(R, f16, DT_F16)
EACH_ATTEND_ROW(DEFINE_ATTEND_ALL)

typedef struct attend_type {
    dt_dtype dtype;
    score_function *score[ATTEND_ROWS + 1];
    value_function *value[ATTEND_ROWS + 1];
} attend_type;

#define SCORE_F32(R)  [R] = score_f32_##R,
#define VALUE_F32(R)  [R] = value_f32_##R,
#define SCORE_BF16(R) [R] = score_bf16_##R,
#define VALUE_BF16(R) [R] = value_bf16_##R,
#define SCORE_F16(R)  [R] = score_f16_##R,
#define VALUE_F16(R)  [R] = value_f16_##R,
static const attend_type attend_f32 = {DT_F32, {EACH_ATTEND_ROW(SCORE_F32)}, {EACH_ATTEND_ROW(VALUE_F32)}};
static const attend_type attend_bf16 = {
    DT_BF16, {EACH_ATTEND_ROW(SCORE_BF16)}, {EACH_ATTEND_ROW(VALUE_BF16)}};
static const attend_type attend_f16 = {DT_F16, {EACH_ATTEND_ROW(SCORE_F16)}, {EACH_ATTEND_ROW(VALUE_F16)}};

#endif
