/*
 * blocks.c - the table of block types, and how each is read. Quantising is in blocks_write.c (32 elements a block)
 * and blocks_k.c (256).
 *
 * Nibbles of the 32-element types: byte j holds element j low and element j + 16 high. "K" types hold 256 elements in
 * sub-blocks, whose scales are themselves small integers times one f16. The order of operations is ggml's, so that
 * the floats are.
 */
#include "tensor/blocks.h"

#include "tensor/convert.h"

static const dt_block_type TYPES[] = {
    {DT_Q8_0, dt_read_q8_0, dt_write_q8_0},
    {DT_Q4_0, dt_read_q4_0, dt_write_q4_0},
    {DT_Q4_1, dt_read_q4_1, dt_write_q4_1},
    {DT_Q5_0, dt_read_q5_0, dt_write_q5_0},
    {DT_Q5_1, dt_read_q5_1, dt_write_q5_1},
    {DT_Q2_K, dt_read_q2_k, NULL},
    {DT_Q3_K, dt_read_q3_k, NULL},
    {DT_Q4_K, dt_read_q4_k, dt_write_q4_k},
    {DT_Q5_K, dt_read_q5_k, dt_write_q5_k},
    {DT_Q6_K, dt_read_q6_k, dt_write_q6_k},
    {DT_IQ4_NL, dt_read_iq4_nl, NULL},
    {DT_IQ4_XS, dt_read_iq4_xs, NULL},
    {DT_TQ1_0, dt_read_tq1_0, NULL},
    {DT_TQ2_0, dt_read_tq2_0, NULL},
    {DT_MXFP4, dt_read_mxfp4, dt_write_mxfp4},
    {DT_NVFP4, dt_read_nvfp4, NULL},
};

const dt_block_type *dt_block_type_of(dt_dtype dtype)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (TYPES[i].dtype == dtype)
            return &TYPES[i];
    return NULL;
}

const int8_t dt_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t dt_e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static float half_at(const uint8_t *in)
{
    uint16_t bits;
    memcpy(&bits, in, sizeof bits);
    return dt_f16_to_f32(bits);
}

/* ---- 32 elements ---- */

void dt_read_q8_0(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 34, out += 32) {
        float d = half_at(in);
        for (int i = 0; i < 32; i++)
            out[i] = (float)(int8_t)in[2 + i] * d;
    }
}

void dt_read_q4_0(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 18, out += 32) {
        float d = half_at(in);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)((in[2 + j] & 15) - 8) * d;
            out[j + 16] = (float)((in[2 + j] >> 4) - 8) * d;
        }
    }
}

void dt_read_q4_1(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 20, out += 32) {
        float d = half_at(in), m = half_at(in + 2);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)(in[4 + j] & 15) * d + m;
            out[j + 16] = (float)(in[4 + j] >> 4) * d + m;
        }
    }
}

/* Fifth bits: element j's is bit j of a little-endian word. */
static uint32_t fifth_bits(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

void dt_read_q5_0(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 22, out += 32) {
        float d = half_at(in);
        uint32_t high = fifth_bits(in + 2);
        for (int j = 0; j < 16; j++) {
            int low = (int)((in[6 + j] & 15) | (high >> j & 1) << 4);
            int top = (int)((in[6 + j] >> 4) | (high >> (j + 16) & 1) << 4);
            out[j] = (float)(low - 16) * d;
            out[j + 16] = (float)(top - 16) * d;
        }
    }
}

void dt_read_q5_1(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 24, out += 32) {
        float d = half_at(in), m = half_at(in + 2);
        uint32_t high = fifth_bits(in + 4);
        for (int j = 0; j < 16; j++) {
            int low = (int)((in[8 + j] & 15) | (high >> j & 1) << 4);
            int top = (int)((in[8 + j] >> 4) | (high >> (j + 16) & 1) << 4);
            out[j] = (float)low * d + m;
            out[j + 16] = (float)top * d + m;
        }
    }
}

void dt_read_iq4_nl(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 18, out += 32) {
        float d = half_at(in);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)dt_iq4_values[in[2 + j] & 15];
            out[j + 16] = d * (float)dt_iq4_values[in[2 + j] >> 4];
        }
    }
}

float dt_e8m0_half(uint8_t code)
{
    /* 2^(code - 128), which for the two smallest codes is no normal number */
    uint32_t bits = code < 2 ? 0x00200000u << code : (uint32_t)(code - 1) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void dt_read_mxfp4(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 17, out += 32) {
        float s = dt_e8m0_half(in[0]);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)dt_e2m1_doubled[in[1 + j] & 15] * s;
            out[j + 16] = (float)dt_e2m1_doubled[in[1 + j] >> 4] * s;
        }
    }
}

/* ---- NVFP4: 64 elements, a small float for each 16 ---- */

/* Unsigned, 4 bits of exponent with bias 7, 3 of mantissa; the last code is NaN, which ggml reads as 0. */
static float ue4m3(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    if (code == 0 || code == 0x7F)
        return 0;
    if (exponent == 0)
        return (float)mantissa / 512;
    uint32_t bits = (uint32_t)(exponent - 7 + 127) << 23 | (uint32_t)mantissa << 20;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void dt_read_nvfp4(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 36, out += 64)
        for (int s = 0; s < 4; s++) {
            float d = ue4m3(in[s]) * 0.5f;
            const uint8_t *q = in + 4 + 8 * s;
            for (int j = 0; j < 8; j++) {
                out[16 * s + j] = (float)dt_e2m1_doubled[q[j] & 15] * d;
                out[16 * s + 8 + j] = (float)dt_e2m1_doubled[q[j] >> 4] * d;
            }
        }
}

/* ---- 256 elements ---- */

void dt_k_scale(const uint8_t *packed, int j, uint8_t *scale, uint8_t *minimum)
{
    if (j < 4) {
        *scale = packed[j] & 63;
        *minimum = packed[j + 4] & 63;
    } else {
        *scale = (uint8_t)((packed[j + 4] & 15) | packed[j - 4] >> 6 << 4);
        *minimum = (uint8_t)(packed[j + 4] >> 4 | packed[j] >> 6 << 4);
    }
}

void dt_read_q2_k(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 84, out += 256) {
        float d = half_at(in + 80), m = half_at(in + 82);
        for (int s = 0; s < 16; s++) { /* sub-block s: 16 elements, two bits each of half s / 8 */
            float scale = d * (float)(in[s] & 15), minimum = m * (float)(in[s] >> 4);
            const uint8_t *q = in + 16 + 32 * (s / 8) + 16 * (s % 2);
            for (int l = 0; l < 16; l++)
                out[16 * s + l] = scale * (float)(q[l] >> (s % 8 / 2 * 2) & 3) - minimum;
        }
    }
}

/* Six bits less 32: the low four in a nibble of bytes 0-7, the high two in bytes 8-11. */
static int q3_scale(const uint8_t *packed, int s)
{
    int low = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4;
    return (low | (packed[8 + s % 4] >> (s / 4 * 2) & 3) << 4) - 32;
}

void dt_read_q3_k(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 110, out += 256) {
        float d = half_at(in + 108);
        for (int s = 0; s < 16; s++) {
            float scale = d * (float)q3_scale(in + 96, s);
            const uint8_t *q = in + 32 + 32 * (s / 8) + 16 * (s % 2), *high = in + 16 * (s % 2);
            for (int l = 0; l < 16; l++) {
                int value = (q[l] >> (s % 8 / 2 * 2) & 3) - (high[l] >> (s / 2) & 1 ? 0 : 4);
                out[16 * s + l] = scale * (float)value;
            }
        }
    }
}

void dt_read_q4_k(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 144, out += 256) {
        float d = half_at(in), m = half_at(in + 2);
        for (int s = 0; s < 8; s++) {
            uint8_t sc, mn;
            dt_k_scale(in + 4, s, &sc, &mn);
            float scale = d * (float)sc, minimum = m * (float)mn;
            const uint8_t *q = in + 16 + 32 * (s / 2);
            int shift = 4 * (s % 2);
            for (int l = 0; l < 32; l++)
                out[32 * s + l] = scale * (float)(q[l] >> shift & 15) - minimum;
        }
    }
}

void dt_read_q5_k(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 176, out += 256) {
        float d = half_at(in), m = half_at(in + 2);
        for (int s = 0; s < 8; s++) {
            uint8_t sc, mn;
            dt_k_scale(in + 4, s, &sc, &mn);
            float scale = d * (float)sc, minimum = m * (float)mn;
            const uint8_t *high = in + 16, *q = in + 48 + 32 * (s / 2);
            int shift = 4 * (s % 2);
            for (int l = 0; l < 32; l++)
                out[32 * s + l] = scale * (float)((q[l] >> shift & 15) + (high[l] >> s & 1) * 16) - minimum;
        }
    }
}

void dt_read_q6_k(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 210, out += 256) {
        float d = half_at(in + 208);
        for (int s = 0; s < 16; s++) { /* quarter r of half h */
            int h = s / 8, r = s % 8 / 2;
            float scale = d * (float)(int8_t)in[192 + s];
            const uint8_t *low = in + 64 * h + 32 * (r % 2) + 16 * (s % 2);
            const uint8_t *high = in + 128 + 32 * h + 16 * (s % 2);
            for (int l = 0; l < 16; l++) {
                int value = (low[l] >> (4 * (r / 2)) & 15) | (high[l] >> (2 * r) & 3) << 4;
                out[16 * s + l] = scale * (float)(value - 32);
            }
        }
    }
}

void dt_read_iq4_xs(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 136, out += 256) {
        float d = half_at(in);
        unsigned high = (unsigned)in[2] | (unsigned)in[3] << 8;
        for (int s = 0; s < 8; s++) {
            unsigned scale = (in[4 + s / 2] >> (4 * (s % 2)) & 15u) | (high >> (2 * s) & 3u) << 4;
            float dl = d * (float)((int)scale - 32);
            const uint8_t *q = in + 8 + 16 * s;
            for (int j = 0; j < 16; j++) {
                out[32 * s + j] = dl * (float)dt_iq4_values[q[j] & 15];
                out[32 * s + 16 + j] = dl * (float)dt_iq4_values[q[j] >> 4];
            }
        }
    }
}

/* Five ternary digits in a byte, as a fraction: multiply by 3^n, and the digit is what leaves the byte at the next. */
static float ternary(uint8_t byte, int digit)
{
    static const uint8_t power[] = {1, 3, 9, 27, 81};
    uint8_t rest = (uint8_t)(byte * power[digit]);
    return (float)((rest * 3 >> 8) - 1);
}

void dt_read_tq1_0(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 54) {
        float d = half_at(in + 52);
        const struct {
            int at, bytes, digits;
        } run[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
        for (int r = 0; r < 3; r++)
            for (int n = 0; n < run[r].digits; n++)
                for (int m = 0; m < run[r].bytes; m++)
                    *out++ = ternary(in[run[r].at + m], n) * d;
    }
}

void dt_read_tq2_0(const uint8_t *in, float *out, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, in += 66) {
        float d = half_at(in + 64);
        for (int half = 0; half < 64; half += 32)
            for (int shift = 0; shift < 8; shift += 2)
                for (int m = 0; m < 32; m++)
                    *out++ = (float)((in[half + m] >> shift & 3) - 1) * d;
    }
}
