/*
 * vec_split.h - vec.h in two registers of 8 floats (AVX2, FMA, F16C), or in four of 4 written with the compiler's
 * own vectors, which any machine can run.
 */
#if defined(__AVX2__)
#include <immintrin.h>
enum { V_PART = 8 };
#define EACH(f)                                                                                              \
    {                                                                                                        \
        {                                                                                                    \
            f(0), f(1)                                                                                       \
        }                                                                                                    \
    }
#define DO_EACH(f) (f(0), f(1))
#else
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
enum { V_PART = 4 };
#define EACH(f)                                                                                              \
    {                                                                                                        \
        {                                                                                                    \
            f(0), f(1), f(2), f(3)                                                                           \
        }                                                                                                    \
    }
#define DO_EACH(f) (f(0), f(1), f(2), f(3))
#endif

typedef float part __attribute__((vector_size(4 * V_PART)));
typedef float part_u __attribute__((vector_size(4 * V_PART), aligned(4), may_alias));
typedef int32_t part_i __attribute__((vector_size(4 * V_PART)));
typedef uint32_t part_w __attribute__((vector_size(4 * V_PART)));
typedef uint16_t part_h __attribute__((vector_size(2 * V_PART)));

typedef struct vf {
    part p[16 / V_PART];
} vf;
typedef struct vi {
    part_i p[16 / V_PART];
} vi;
typedef vi vm; /* all ones where true */

static INLINE part part_set(float x)
{
    return x - (part){0}; /* x - 0 is x to the bit, for -0 too */
}
static INLINE vf v_set(float x)
{
#define F(i) part_set(x)
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_load(const float *p)
{
#define F(i) *(const part_u *)(p + (i)*V_PART)
    return (vf)EACH(F);
#undef F
}
static INLINE void v_store(float *p, vf x)
{
#define F(i) *(part_u *)(p + (i)*V_PART) = x.p[i]
    DO_EACH(F);
#undef F
}
static INLINE vf v_load_n(const float *p, int64_t n)
{
    float all[16] = {0};
    if (n == 16)
        return v_load(p);
    memcpy(all, p, (size_t)n * sizeof *p);
    return v_load(all);
}
static INLINE void v_store_n(float *p, vf x, int64_t n)
{
    float all[16];
    v_store(n == 16 ? p : all, x);
    if (n != 16)
        memcpy(p, all, (size_t)n * sizeof *p);
}

/* ---- narrow types ---- */

static INLINE part_w part_load_h(const uint16_t *p)
{
    part_h bits;
    memcpy(&bits, p, sizeof bits);
    return __builtin_convertvector(bits, part_w);
}
static INLINE part part_from_bf16(const uint16_t *p)
{
    return (part)(part_load_h(p) << 16);
}
static INLINE part part_from_f16(const uint16_t *p)
{
#if defined(__AVX2__)
    return (part)_mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
#else
    /* Exponent and fraction moved into place are off by 2^112, which a multiplication mends, subnormals included;
     * infinities and NaN come out at 2^16 and above and get the exponent of their kind. */
    part_w bits = part_load_h(p), sign = (bits & 0x8000) << 16;
    part size = (part)((bits & 0x7fff) << 13) * 0x1p112f;
    part_w special = (part_w)(size >= 65536.0f) & 0x7f800000;
    return (part)((part_w)size | special | sign);
#endif
}
/* Round to nearest, ties to even; NaN stays NaN. */
static INLINE void part_to_bf16(uint16_t *p, part x)
{
    part_w bits = (part_w)x, up = bits + 0x7fff + ((bits >> 16) & 1), nan = (part_w)(x != x);
    part_h narrow = __builtin_convertvector(((up & ~nan) | ((bits | 0x400000) & nan)) >> 16, part_h);
    memcpy(p, &narrow, sizeof narrow);
}
static INLINE void part_to_f16(uint16_t *p, part x)
{
#if defined(__AVX2__)
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
    for (int i = 0; i < V_PART; i++)
        p[i] = dt_f32_to_f16(x[i]);
#endif
}
static INLINE void v_store_bf16_n(uint16_t *p, vf x, int64_t n)
{
    uint16_t all[16];
#define F(i) part_to_bf16(all + (i)*V_PART, x.p[i])
    DO_EACH(F);
#undef F
    memcpy(p, all, (size_t)n * sizeof *p);
}
static INLINE void v_store_f16_n(uint16_t *p, vf x, int64_t n)
{
    uint16_t all[16];
#define F(i) part_to_f16(all + (i)*V_PART, x.p[i])
    DO_EACH(F);
#undef F
    memcpy(p, all, (size_t)n * sizeof *p);
}
static INLINE vf v_load_bf16(const uint16_t *p)
{
#define F(i) part_from_bf16(p + (i)*V_PART)
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_load_f16(const uint16_t *p)
{
#define F(i) part_from_f16(p + (i)*V_PART)
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_load_bf16_n(const uint16_t *p, int64_t n)
{
    uint16_t all[16] = {0};
    memcpy(all, p, (size_t)n * sizeof *p);
    return v_load_bf16(all);
}
static INLINE vf v_load_f16_n(const uint16_t *p, int64_t n)
{
    uint16_t all[16] = {0};
    memcpy(all, p, (size_t)n * sizeof *p);
    return v_load_f16(all);
}
static INLINE vf v_pair_first(const uint16_t *p)
{
    const part_u *words = (const part_u *)p;
#define F(i) (part)((part_w)words[i] << 16)
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_pair_second(const uint16_t *p)
{
    const part_u *words = (const part_u *)p;
#define F(i) (part)((part_w)words[i] & 0xffff0000u)
    return (vf)EACH(F);
#undef F
}

/* ---- arithmetic ---- */

static INLINE part part_fma(part a, part b, part c)
{
#if defined(__AVX2__)
    return (part)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}
static INLINE part part_select(part_i m, part yes, part no)
{
    return (part)((m & (part_i)yes) | (~m & (part_i)no));
}
static INLINE part part_max(part a, part b)
{
#if defined(__AVX2__)
    return (part)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (part)_mm_max_ps((__m128)a, (__m128)b);
#else
    return part_select(a > b, a, b);
#endif
}
static INLINE part part_min(part a, part b)
{
#if defined(__AVX2__)
    return (part)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (part)_mm_min_ps((__m128)a, (__m128)b);
#else
    return part_select(a < b, a, b);
#endif
}
static INLINE part part_round(part a)
{
#if defined(__AVX2__)
    return (part)_mm256_round_ps((__m256)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    return (a + 0x1.8p23f) - 0x1.8p23f; /* |a| < 2^22 */
#endif
}
static INLINE vf v_add(vf a, vf b)
{
#define F(i) a.p[i] + b.p[i]
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_sub(vf a, vf b)
{
#define F(i) a.p[i] - b.p[i]
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_mul(vf a, vf b)
{
#define F(i) a.p[i] * b.p[i]
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_div(vf a, vf b)
{
#define F(i) a.p[i] / b.p[i]
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_fma(vf a, vf b, vf c)
{
#define F(i) part_fma(a.p[i], b.p[i], c.p[i])
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_max(vf a, vf b)
{
#define F(i) part_max(a.p[i], b.p[i])
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_min(vf a, vf b)
{
#define F(i) part_min(a.p[i], b.p[i])
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_abs(vf a)
{
#define F(i) (part)((part_w)a.p[i] & 0x7fffffffu)
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_with_sign(vf a, vf sign)
{
#define F(i) (part)(((part_w)a.p[i] & 0x7fffffffu) | ((part_w)sign.p[i] & 0x80000000u))
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_round(vf a)
{
#define F(i) part_round(a.p[i])
    return (vf)EACH(F);
#undef F
}
/* a * 2^n in two steps, so that n from -252 to 254 works and subnormal results round once. */
static INLINE part part_scale2(part a, part n)
{
    part_i whole = __builtin_convertvector(n, part_i), half = whole >> 1;
    part one = (part)((half + 127) << 23), other = (part)((whole - half + 127) << 23);
    return a * one * other;
}
static INLINE vf v_scale2(vf a, vf n)
{
#define F(i) part_scale2(a.p[i], n.p[i])
    return (vf)EACH(F);
#undef F
}
static INLINE vm v_less(vf a, vf b)
{
#define F(i) a.p[i] < b.p[i]
    return (vm)EACH(F);
#undef F
}
static INLINE vm v_both(vm a, vm b)
{
#define F(i) a.p[i] & b.p[i]
    return (vm)EACH(F);
#undef F
}
static INLINE vf v_select(vm m, vf yes, vf no)
{
#define F(i) part_select(m.p[i], yes.p[i], no.p[i])
    return (vf)EACH(F);
#undef F
}
static INLINE vf v_iota(void)
{
    static const float steps[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return v_load(steps);
}
static INLINE float v_sum(vf a)
{
    float x[16];
    v_store(x, a);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] += x[i + half];
    return x[0];
}
static INLINE float v_most(vf a)
{
    float x[16];
    v_store(x, a);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}

#if defined(__AVX2__)
/* Eight rows of eight become columns. */
static INLINE void part_turn(part x[8])
{
    __m256 a[8], b[8];
    UNROLL for (int i = 0; i < 8; i += 2)
    {
        a[i] = _mm256_unpacklo_ps((__m256)x[i], (__m256)x[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps((__m256)x[i], (__m256)x[i + 1]);
    }
    UNROLL for (int i = 0; i < 8; i += 4)
    {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++)
    {
        x[i] = (part)_mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        x[i + 4] = (part)_mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}
#endif
/* Rows become columns: lane c of vector r goes to lane r of vector c. */
static INLINE void v_turn(vf x[16])
{
#if defined(__AVX2__)
    part quarter[2][2][8];
    for (int r = 0; r < 16; r++)
        for (int h = 0; h < 2; h++)
            quarter[r / 8][h][r % 8] = x[r].p[h];
    for (int q = 0; q < 4; q++)
        part_turn(quarter[q / 2][q % 2]);
    for (int r = 0; r < 16; r++)
        for (int h = 0; h < 2; h++)
            x[r].p[h] = quarter[h][r / 8][r % 8];
#else
    float all[16][16];
    for (int r = 0; r < 16; r++)
        v_store(all[r], x[r]);
    for (int r = 0; r < 16; r++)
        for (int c = 0; c < r; c++) {
            float other = all[c][r];
            all[c][r] = all[r][c];
            all[r][c] = other;
        }
    for (int r = 0; r < 16; r++)
        x[r] = v_load(all[r]);
#endif
}

/* ---- quads ---- */

static INLINE vi i_set(int32_t x)
{
#define F(i)                                                                                                 \
    x - (part_i)                                                                                             \
    {                                                                                                        \
        0                                                                                                    \
    }
    return (vi)EACH(F);
#undef F
}
static INLINE vf v_from_int(vi a)
{
#define F(i) __builtin_convertvector(a.p[i], part)
    return (vf)EACH(F);
#undef F
}
/* Products of the low and of the high 16 bits of each lane, added. */
static INLINE part_i part_madd(part_i w, int32_t a)
{
#if defined(__AVX2__)
    return (part_i)_mm256_madd_epi16((__m256i)w, _mm256_set1_epi32(a));
#elif defined(__SSE2__)
    return (part_i)_mm_madd_epi16((__m128i)w, _mm_set1_epi32(a));
#else
    return ((w << 16) >> 16) * (int16_t)a + (w >> 16) * (a >> 16);
#endif
}
static INLINE part_i part_dot4(part_i sum, part_i w, const v_quad *a)
{
    part_i even = w & 0x00ff00ff, odd = (part_i)((part_w)w >> 8) & 0x00ff00ff;
    return sum + part_madd(even, a->even) + part_madd(odd, a->odd);
}
static INLINE vi i_dot4(vi sum, const uint8_t *weights, const v_quad *a)
{
    const part_i *w = (const part_i *)(const void *)weights; /* panels are 64-byte aligned */
#define F(i) part_dot4(sum.p[i], w[i], a)
    return (vi)EACH(F);
#undef F
}
