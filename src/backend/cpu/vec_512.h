/*
 * vec_512.h - vec.h in one AVX-512 register (F, BW, VL, DQ).
 */
#include <immintrin.h>

typedef __m512 vf;    /* 16 floats */
typedef __m512i vi;   /* 16 32-bit integers, or 64 bytes */
typedef __mmask16 vm; /* 16 truths */

static INLINE __mmask16 v_first(int64_t n)
{
    return (__mmask16)((1u << n) - 1);
}
static INLINE vf v_set(float x)
{
    return _mm512_set1_ps(x);
}
static INLINE vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static INLINE vf v_load_n(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(v_first(n), p);
}
static INLINE void v_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
static INLINE void v_store_n(float *p, vf x, int64_t n)
{
    _mm512_mask_storeu_ps(p, v_first(n), x);
}
static INLINE vf v_widen_bf16(__m256i bits)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
static INLINE vf v_load_bf16(const uint16_t *p)
{
    return v_widen_bf16(_mm256_loadu_si256((const void *)p));
}
static INLINE vf v_load_bf16_n(const uint16_t *p, int64_t n)
{
    return v_widen_bf16(_mm256_maskz_loadu_epi16(v_first(n), p));
}
static INLINE vf v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
static INLINE vf v_load_f16_n(const uint16_t *p, int64_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(n), p));
}
/* Round to nearest, ties to even; NaN stays NaN. */
static INLINE __m256i v_narrow_bf16(vf x)
{
    __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    up = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), up, quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}
static INLINE void v_store_bf16_n(uint16_t *p, vf x, int64_t n)
{
    _mm256_mask_storeu_epi16(p, v_first(n), v_narrow_bf16(x));
}
static INLINE void v_store_f16_n(uint16_t *p, vf x, int64_t n)
{
    _mm256_mask_storeu_epi16(p, v_first(n),
                             _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* Sixteen pairs of bf16, the first of each pair in the low half. */
static INLINE vf v_pair_first(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
static INLINE vf v_pair_second(const uint16_t *p)
{
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int32_t)0xffff0000)));
}
static INLINE vf v_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static INLINE vf v_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static INLINE vf v_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static INLINE vf v_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static INLINE vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static INLINE vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static INLINE vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static INLINE vf v_abs(vf a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}
static INLINE vf v_with_sign(vf a, vf sign)
{
    return _mm512_or_ps(v_abs(a), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
static INLINE vf v_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static INLINE vf v_scale2(vf a, vf n)
{
    return _mm512_scalef_ps(a, n);
}
static INLINE vm v_less(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static INLINE vm v_both(vm a, vm b)
{
    return (vm)(a & b);
}
static INLINE vf v_select(vm m, vf yes, vf no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}
static INLINE vf v_iota(void)
{
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
/* The halves of a vector added (or compared) until one is left: the same tree in every variant. */
static INLINE float v_sum(vf a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
static INLINE float v_most(vf a)
{
    return _mm512_reduce_max_ps(a);
}

/* Rows become columns: lane c of vector r goes to lane r of vector c. */
static INLINE void v_turn(vf x[16])
{
    __m512 a[16];
    UNROLL for (int i = 0; i < 16; i += 2)
    {
        a[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    UNROLL for (int i = 0; i < 16;
                i++) /* x[4 g + c]: of rows 4 g to 4 g + 3 columns c, c + 4, c + 8, c + 12 */
    {
        __m512d low = _mm512_castps_pd(a[i / 4 * 4 + i % 4 / 2]);
        __m512d high = _mm512_castps_pd(a[i / 4 * 4 + i % 4 / 2 + 2]);
        x[i] = _mm512_castpd_ps(i % 2 == 0 ? _mm512_unpacklo_pd(low, high) : _mm512_unpackhi_pd(low, high));
    }
    UNROLL for (int c = 0; c < 4; c++)
    {
        __m512 even = _mm512_shuffle_f32x4(x[c], x[4 + c], 0x88),
               odd = _mm512_shuffle_f32x4(x[c], x[4 + c], 0xdd);
        __m512 even_2 = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0x88);
        __m512 odd_2 = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0xdd);
        x[c] = _mm512_shuffle_f32x4(even, even_2, 0x88);
        x[4 + c] = _mm512_shuffle_f32x4(odd, odd_2, 0x88);
        x[8 + c] = _mm512_shuffle_f32x4(even, even_2, 0xdd);
        x[12 + c] = _mm512_shuffle_f32x4(odd, odd_2, 0xdd);
    }
}

/* ---- quads: four consecutive k of each of 16 outputs, bytes ---- */

static INLINE vi i_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}
static INLINE vf v_from_int(vi a)
{
    return _mm512_cvtepi32_ps(a);
}
#if V_DOT_INT8
typedef int32_t v_quad; /* four signed bytes of an activation */
static INLINE v_quad v_make_quad(const int8_t *a)
{
    int32_t quad;
    memcpy(&quad, a, sizeof quad);
    return quad;
}
static INLINE vi i_dot4(vi sum, const uint8_t *weights, const v_quad *a)
{
    return _mm512_dpbusd_epi32(sum, _mm512_load_si512(weights), _mm512_set1_epi32(*a));
}
#else
static INLINE vi i_dot4(vi sum, const uint8_t *weights, const v_quad *a)
{
    vi w = _mm512_load_si512(weights);
    vi even = _mm512_and_si512(w, _mm512_set1_epi32(0x00ff00ff)), odd = _mm512_srli_epi16(w, 8);
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(even, _mm512_set1_epi32(a->even)));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(odd, _mm512_set1_epi32(a->odd)));
}
#endif

#if V_DOT_BF16
/* sum + second * second + first * first, for sixteen pairs of weights and one pair of an activation. */
static INLINE vf v_dot2(vf sum, const uint16_t *weights, const uint32_t *a)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_load_si512(weights),
                            (__m512bh)_mm512_set1_epi32((int32_t)*a));
}
/* Thirty-two floats as sixteen pairs of bf16. Subnormals become zeros, which v_dot2 takes them for anyway. */
static INLINE vf v_pairs_bf16(vf first, vf second)
{
    return (vf)_mm512_cvtne2ps_pbh(second, first);
}
#endif
