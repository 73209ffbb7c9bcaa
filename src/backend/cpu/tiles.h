/*
 * tiles.h - the inner loops of products: R rows by P panels of 16 outputs, held in registers from first k to last.
 *
 * Numbers   sums[r][o] += x[r][k] * w[o][k] for ascending k, one fused multiply-add at a time: one chain an output,
 *           whatever R and P, so a row has the same bits in any company. bf16 pairs: where the machine has the dot
 *           product of pairs, its order; else the second of each pair, then the first, as that instruction does.
 *           q8_0: integer sums of 32, exact; times their f16 scales, added over 256 k in f32; times the row's scale
 *           of those 256, added to the sum.
 * Layout    x is packed k-major: for each k the R rows side by side, so that the loop has one pointer for all rows and
 *           broadcasts with fixed displacements. Weights: forms.h. Sums: R rows of 32 floats.
 */
#ifndef DT_CPU_TILES_H
#define DT_CPU_TILES_H

#include "backend/cpu/forms.h"
#include "backend/cpu/vec.h"

enum { SUMS = 2 * DT_PANEL, Q8_STRETCH = 256, Q8_QUADS = DT_Q8_GROUP / 4 };

typedef struct tile {
    const void *x;            /* packed rows */
    const char *w[2];         /* panels */
    const uint16_t *scale[2]; /* q8_0: their scales */
    const char *ahead[2];     /* for each panel: what to fetch meanwhile, so many bytes for each 64 read */
    int64_t ahead_step;
    int64_t k;
    float *sums;
    bool onto; /* what is in the sums; else they begin at 0 */
} tile;

typedef void tile_function(const tile *t);

static INLINE vf sum_before(const tile *t, const int r, const int p)
{
    return t->onto ? v_load(t->sums + r * SUMS + p * DT_PANEL) : v_set(0.0f);
}

static INLINE void load_sums(vf sum[][TILE_PANELS], const tile *t, const int R, const int P)
{
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++) sum[r][p] = sum_before(t, r, p);
}

static INLINE void store_sums(vf sum[][TILE_PANELS], float *sums, const int R, const int P)
{
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++)
        v_store(sums + r * SUMS + p * DT_PANEL, sum[r][p]);
}

/* Line `i` of what a tile fetches while it reads line i of its weights. One row is little more than loads, which the
 * hardware follows best undisturbed. */
static INLINE void fetch_line(const tile *t, const int R, const int p, int64_t i)
{
    if (R > 1)
        __builtin_prefetch(t->ahead[p] + i * t->ahead_step, 0, 3);
}

/* ---- f32, and f16 widened ---- */

static INLINE vf load_weights(const char *w, int64_t k, const bool half)
{
    return half ? v_load_f16((const uint16_t *)w + k * DT_PANEL) : v_load((const float *)w + k * DT_PANEL);
}

static INLINE void tile_plain(const tile *t, const int R, const int P, const bool half)
{
    vf sum[TILE_ROWS][TILE_PANELS], w[TILE_PANELS];
    const float *x = t->x;
    load_sums(sum, t, R, P);
    for (int64_t k = 0; k < t->k; k++, x += R) {
        UNROLL for (int p = 0; p < P; p++)
        {
            w[p] = load_weights(t->w[p], k, half);
            if (!half || k % 2 == 0)
                fetch_line(t, R, p, half ? k / 2 : k);
        }
        UNROLL for (int r = 0; r < R; r++)
        {
            vf one = v_set(x[r]);
            UNROLL for (int p = 0; p < P; p++) sum[r][p] = v_fma(one, w[p], sum[r][p]);
        }
    }
    store_sums(sum, t->sums, R, P);
}

/* ---- bf16: pairs ---- */

#if V_DOT_BF16
typedef uint32_t pair_x; /* two bf16, the first in the low half */
#else
typedef struct pair_x {
    float first, second; /* rounded to bf16 */
} pair_x;
#endif

static INLINE void tile_pairs(const tile *t, const int R, const int P)
{
    vf sum[TILE_ROWS][TILE_PANELS];
    const pair_x *x = t->x;
    load_sums(sum, t, R, P);
    for (int64_t k = 0; k < (t->k + 1) / 2; k++, x += R) {
        UNROLL for (int p = 0; p < P; p++) fetch_line(t, R, p, k);
#if V_DOT_BF16
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++) sum[r][p] =
            v_dot2(sum[r][p], (const uint16_t *)t->w[p] + k * 2 * DT_PANEL, x + r);
#else
        UNROLL for (int p = 0; p < P; p++)
        {
            const uint16_t *w = (const uint16_t *)t->w[p] + k * 2 * DT_PANEL;
            vf first = v_pair_first(w), second = v_pair_second(w);
            UNROLL for (int r = 0; r < R; r++) sum[r][p] = v_fma(v_set(x[r].second), second, sum[r][p]);
            UNROLL for (int r = 0; r < R; r++) sum[r][p] = v_fma(v_set(x[r].first), first, sum[r][p]);
        }
#endif
    }
    store_sums(sum, t->sums, R, P);
}

/* ---- q8_0: packed rows are stretches of 256 k: R scales, then per group of 32: R start values, 8 x R quads ---- */

static INLINE size_t q8_stretch_bytes(int64_t groups, int64_t rows)
{
    return (size_t)rows * (sizeof(float) + (size_t)groups * (sizeof(int32_t) + Q8_QUADS * sizeof(v_quad)));
}

/* One group of 32 k: integer sums, times the weights' scales, onto `stage`. */
static INLINE void q8_group(const tile *t, const char *x, int64_t g, vf stage[][TILE_PANELS], const int R,
                            const int P)
{
    vi sum[TILE_ROWS_Q8][TILE_PANELS];
    const int32_t *start = (const int32_t *)x;
    const v_quad *quad = (const v_quad *)(start + R);
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++) sum[r][p] = i_set(start[r]);
    UNROLL for (int i = 0; i < Q8_QUADS; i++)
    {
        UNROLL for (int p = 0; p < P; p++) fetch_line(t, R, p, g * Q8_QUADS + i);
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++) sum[r][p] =
            i_dot4(sum[r][p], (const uint8_t *)t->w[p] + (g * Q8_QUADS + i) * 4 * DT_PANEL, quad + i * R + r);
    }
    if (R > 1)
        UNROLL for (int p = 0; p < P; p++) __builtin_prefetch(t->scale[p] + (g + 8) * DT_PANEL, 0, 3);
    UNROLL for (int p = 0; p < P; p++)
    {
        vf scale = v_load_f16(t->scale[p] + g * DT_PANEL);
        UNROLL for (int r = 0; r < R; r++) stage[r][p] = v_fma(v_from_int(sum[r][p]), scale, stage[r][p]);
    }
}

static INLINE void tile_q8(const tile *t, const int R, const int P)
{
    const char *x = t->x;
    int64_t groups = t->k / DT_Q8_GROUP;
    for (int64_t g = 0; g < groups;) {
        vf stage[TILE_ROWS_Q8][TILE_PANELS];
        const float *scale = (const float *)x;
        const bool first = g == 0;
        int64_t end = groups - g < Q8_STRETCH / DT_Q8_GROUP ? groups : g + Q8_STRETCH / DT_Q8_GROUP;
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++) stage[r][p] = v_set(0.0f);
        for (x += R * sizeof(float); g < end; g++, x += R * (sizeof(int32_t) + Q8_QUADS * sizeof(v_quad)))
            q8_group(t, x, g, stage, R, P);
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int p = 0; p < P; p++)
        {
            float *sum = t->sums + r * SUMS + p * DT_PANEL;
            vf before = first ? sum_before(t, r, p) : v_load(sum);
            v_store(sum, v_fma(v_set(scale[r]), stage[r][p], before));
        }
    }
}

/* ---- packing: row r of a block of R; then rows [r, r + n) of it, which lie `stride` apart ---- */

static void pack_row_plain(void *block, int64_t R, int64_t r, const float *x, int64_t k)
{
    float *to = (float *)block + r;
    for (int64_t i = 0; i < k; i++)
        to[i * R] = x[i];
}

static void pack_row_pairs(void *block, int64_t R, int64_t r, const float *x, int64_t k)
{
    pair_x *to = (pair_x *)block + r;
    for (int64_t i = 0; i < k; i += 16) {
        int64_t n = k - i < 16 ? k - i : 16;
        uint16_t narrow[16];
        v_store_bf16_n(narrow, v_load_n(x + i, n), 16);
        for (int64_t j = 0; j < n; j += 2, to += R) {
#if V_DOT_BF16
            *to = narrow[j] | (uint32_t)narrow[j + 1] << 16;
#else
            *to = (pair_x){dt_bf16_to_f32(narrow[j]), dt_bf16_to_f32(narrow[j + 1])};
#endif
        }
    }
}

/* Sixteen vectors, one of each row (the last again and again where there are fewer). */
static INLINE void load_lines(vf line[16], const float *x, int64_t stride, int64_t n, int64_t count)
{
    UNROLL for (int i = 0; i < 16; i++) line[i] = v_load_n(x + (i < n ? i : n - 1) * stride, count);
}

/* Columns of what was turned: `count` of them, `step` apart, n rows each. */
static INLINE void store_lines(float *to, int64_t step, vf line[16], int64_t n, int64_t count)
{
    UNROLL for (int i = 0; i < 16; i++) if (i < count) v_store_n(to + i * step, line[i], n);
}

#if V_TURNS
static void pack_rows_plain(void *block, int64_t R, int64_t r, int64_t n, const float *x, int64_t stride,
                            int64_t k)
{
    float *to = (float *)block + r;
    for (int64_t i = 0; i < k; i += 16, to += 16 * R) {
        vf line[16];
        load_lines(line, x + i, stride, n, k - i < 16 ? k - i : 16);
        v_turn(line);
        store_lines(to, R, line, n, k - i);
    }
}
#else
static void pack_rows_plain(void *block, int64_t R, int64_t r, int64_t n, const float *x, int64_t stride,
                            int64_t k)
{
    for (int64_t i = 0; i < n; i++)
        pack_row_plain(block, R, r + i, x + i * stride, k);
}
#endif

#if V_DOT_BF16
/* Pairs are turned as the words that they are. */
static void pack_rows_pairs(void *block, int64_t R, int64_t r, int64_t n, const float *x, int64_t stride,
                            int64_t k)
{
    float *to = (float *)block + r;
    for (int64_t i = 0; i < k; i += 32, to += 16 * R) {
        vf line[16], more[16];
        int64_t left = k - i;
        load_lines(line, x + i, stride, n, left < 16 ? left : 16);
        load_lines(more, x + i + 16, stride, n, left < 16 ? 0 : left < 32 ? left - 16 : 16);
        UNROLL for (int j = 0; j < 16; j++) line[j] = v_pairs_bf16(line[j], more[j]);
        v_turn(line);
        store_lines(to, R, line, n, (left + 1) / 2);
    }
}
#else
static void pack_rows_pairs(void *block, int64_t R, int64_t r, int64_t n, const float *x, int64_t stride,
                            int64_t k)
{
    for (int64_t i = 0; i < n; i++)
        pack_row_pairs(block, R, r + i, x + i * stride, k);
}
#endif

/* The greatest size among n values, n a multiple of 16; NaN when one of them is not finite. */
static float greatest(const float *x, int64_t n)
{
    vf most = v_set(0.0f), poison = most;
    for (int64_t i = 0; i < n; i += 16) {
        most = v_max(most, v_abs(v_load(x + i)));
        poison = v_fma(v_load(x + i), v_set(0.0f), poison);
    }
    return v_most(most) + v_sum(poison);
}

/* One group: 32 values as signed bytes, and the start value that takes the weights' offset back out. */
static void pack_group(char *to, int64_t R, int64_t r, const float *x, float inverse)
{
    float scaled[DT_Q8_GROUP];
    int8_t q[DT_Q8_GROUP];
    int32_t sum = 0;
    for (int i = 0; i < DT_Q8_GROUP; i += 16)
        v_store(scaled + i, v_round(v_mul(v_load(x + i), v_set(inverse))));
    for (int i = 0; i < DT_Q8_GROUP; i++) {
        q[i] = (int8_t)scaled[i];
        sum += q[i];
    }
    ((int32_t *)to)[r] = -128 * sum;
    v_quad *quad = (v_quad *)((int32_t *)to + R);
    for (int i = 0; i < Q8_QUADS; i++)
        quad[i * R + r] = v_make_quad(q + 4 * i);
}

static void pack_row_q8(void *block, int64_t R, int64_t r, const float *x, int64_t k)
{
    char *to = block;
    for (int64_t first = 0; first < k; first += Q8_STRETCH) {
        int64_t n = k - first < Q8_STRETCH ? k - first : Q8_STRETCH;
        float most = greatest(x + first, n), inverse = most > 1e-30f ? 127.0f / most : 0.0f;
        ((float *)to)[r] = most > 1e-30f ? most / 127.0f : most - most; /* 0, or NaN */
        char *group = to + (size_t)R * sizeof(float);
        for (int64_t i = 0; i < n;
             i += DT_Q8_GROUP, group += q8_stretch_bytes(1, R) - (size_t)R * sizeof(float))
            pack_group(group, R, r, x + first + i, inverse);
        to = group;
    }
}

static void pack_rows_q8(void *block, int64_t R, int64_t r, int64_t n, const float *x, int64_t stride,
                         int64_t k)
{
    for (int64_t i = 0; i < n; i++)
        pack_row_q8(block, R, r + i, x + i * stride, k);
}

/* ---- the table: one row a type ---- */

#define DEFINE_TILES(R)                                                                                      \
    static void f32_##R##_1(const tile *t)                                                                   \
    {                                                                                                        \
        tile_plain(t, R, 1, false);                                                                          \
    }                                                                                                        \
    static void f32_##R##_2(const tile *t)                                                                   \
    {                                                                                                        \
        tile_plain(t, R, TILE_PANELS, false);                                                                \
    }                                                                                                        \
    static void f16_##R##_1(const tile *t)                                                                   \
    {                                                                                                        \
        tile_plain(t, R, 1, true);                                                                           \
    }                                                                                                        \
    static void f16_##R##_2(const tile *t)                                                                   \
    {                                                                                                        \
        tile_plain(t, R, TILE_PANELS, true);                                                                 \
    }                                                                                                        \
    static void bf16_##R##_1(const tile *t)                                                                  \
    {                                                                                                        \
        tile_pairs(t, R, 1);                                                                                 \
    }                                                                                                        \
    static void bf16_##R##_2(const tile *t)                                                                  \
    {                                                                                                        \
        tile_pairs(t, R, TILE_PANELS);                                                                       \
    }
#define DEFINE_TILES_Q8(R)                                                                                   \
    static void q8_##R##_1(const tile *t)                                                                    \
    {                                                                                                        \
        tile_q8(t, R, 1);                                                                                    \
    }                                                                                                        \
    static void q8_##R##_2(const tile *t)                                                                    \
    {                                                                                                        \
        tile_q8(t, R, TILE_PANELS);                                                                          \
    }
EACH_TILE_ROW(DEFINE_TILES)
EACH_TILE_ROW_Q8(DEFINE_TILES_Q8)

typedef struct product_type {
    dt_dtype dtype;
    int rows; /* most rows of a block */
    void (*pack_row)(void *block, int64_t R, int64_t r, const float *x, int64_t k);
    void (*pack_rows)(void *block, int64_t R, int64_t r, int64_t n, const float *x, int64_t stride,
                      int64_t k);
    tile_function *tile[TILE_ROWS + 1][3]; /* by rows and panels */
} product_type;

#define F32_TILE(R)  [R] = {NULL, f32_##R##_1, f32_##R##_2},
#define F16_TILE(R)  [R] = {NULL, f16_##R##_1, f16_##R##_2},
#define BF16_TILE(R) [R] = {NULL, bf16_##R##_1, bf16_##R##_2},
#define Q8_TILE(R)   [R] = {NULL, q8_##R##_1, q8_##R##_2},
static const product_type product_f32 = {
    DT_F32, TILE_ROWS, pack_row_plain, pack_rows_plain, {EACH_TILE_ROW(F32_TILE)}};
static const product_type product_f16 = {
    DT_F16, TILE_ROWS, pack_row_plain, pack_rows_plain, {EACH_TILE_ROW(F16_TILE)}};
static const product_type product_bf16 = {
    DT_BF16, TILE_ROWS, pack_row_pairs, pack_rows_pairs, {EACH_TILE_ROW(BF16_TILE)}};
static const product_type product_q8_0 = {
    DT_Q8_0, TILE_ROWS_Q8, pack_row_q8, pack_rows_q8, {EACH_TILE_ROW_Q8(Q8_TILE)}};

/* Bytes of one packed row. */
static size_t packed_row_bytes(const product_type *type, int64_t k)
{
    switch (type->dtype) {
    case DT_BF16:
        return (size_t)(k + 1) / 2 * sizeof(pair_x);
    case DT_Q8_0: {
        int64_t whole = k / Q8_STRETCH, rest = k % Q8_STRETCH / DT_Q8_GROUP;
        return (size_t)whole * q8_stretch_bytes(Q8_STRETCH / DT_Q8_GROUP, 1) +
               (rest > 0 ? q8_stretch_bytes(rest, 1) : 0);
    }
    default:
        return (size_t)k * sizeof(float);
    }
}

#endif
