/*
 * blocks_write.c - quantising to the types of 32 elements a block: one scale, perhaps a minimum, and codes by one
 * multiplication. The rules, and so the bytes, are ggml's: codes are made with the scale before its rounding to f16.
 */
#include "tensor/blocks.h"
#include "tensor/convert.h"
#include "tensor/lanes.h"

#include <math.h>

enum { ELEMENTS = 32, VECTORS = 4 };

/* A block in vectors, and what its scale is made from. */
typedef struct block {
    dt_f32x8 x[VECTORS];
    float least, most; /* of all elements */
    float signed_max;  /* the element of largest magnitude, the first of equals */
    bool finite;
} block;

DT_LANES float across(dt_f32x8 v, bool largest)
{
    float result = v[0];
    for (int i = 1; i < 8; i++)
        result = (largest ? v[i] > result : v[i] < result) ? v[i] : result;
    return result;
}

DT_LANES block load(const float *in)
{
    block b = {.finite = true};
    for (int i = 0; i < VECTORS; i++)
        b.x[i] = lanes_load(in + 8 * i);
    dt_f32x8 low = b.x[0], high = b.x[0];
    dt_i32x8 odd = {0};
    for (int i = 0; i < VECTORS; i++) {
        low = lanes_min(b.x[i], low);
        high = lanes_max(b.x[i], high);
        odd |= ~(lanes_abs(b.x[i]) <= 3.40282347e38f);
    }
    for (int i = 0; i < 8; i++)
        b.finite = b.finite && odd[i] == 0;
    b.least = across(low, false);
    b.most = across(high, true);
    b.signed_max = b.most > -b.least ? b.most : b.least;
    if (b.most == -b.least) /* as large on either side: the one that comes first */
        for (int i = 0; i < ELEMENTS; i++)
            if (fabsf(in[i]) == b.most) {
                b.signed_max = in[i];
                break;
            }
    return b;
}

DT_LANES float inverse(float d)
{
    return d != 0 ? 1 / d : 0;
}

DT_LANES void put_half(uint8_t *out, float value, bool finite)
{
    uint16_t bits = finite ? dt_f32_to_f16(value) : 0x7E00;
    memcpy(out, &bits, sizeof bits);
}

/* Truncated to integers no larger than `limit`; a scale too small to have a finite inverse gives zeros. */
DT_LANES void codes(const block *b, float add, float id, float offset, int limit, int32_t code[ELEMENTS])
{
    if (!b->finite || !(fabsf(id) <= 3.40282347e38f))
        id = 0;
    for (int i = 0; i < VECTORS; i++) {
        dt_f32x8 v = (b->finite ? b->x[i] - add : lanes_of(0)) * id + offset;
        dt_i32x8 q = __builtin_convertvector(v, dt_i32x8);
        dt_i32x8 over = q > limit;
        q = (over & limit) | (~over & q);
        memcpy(code + 8 * i, &q, sizeof q);
    }
}

DT_LANES void put_nibbles(uint8_t *out, const int32_t *code)
{
    for (int j = 0; j < 16; j++)
        out[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
}

DT_LANES void put_fifths(uint8_t *out, const int32_t *code)
{
    uint32_t bits = 0;
    for (int j = 0; j < 32; j++)
        bits |= (uint32_t)(code[j] >> 4 & 1) << j;
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(bits >> (8 * i));
}

DT_WIDE void dt_write_q4_0(const float *in, uint8_t *out, int64_t blocks)
{
    for (int64_t n = 0; n < blocks; n++, in += 32, out += 18) {
        int32_t code[ELEMENTS];
        block b = load(in);
        float d = b.signed_max / -8;
        put_half(out, d, b.finite);
        codes(&b, 0, inverse(d), 8.5f, 15, code);
        put_nibbles(out + 2, code);
    }
}

DT_WIDE void dt_write_q5_0(const float *in, uint8_t *out, int64_t blocks)
{
    for (int64_t n = 0; n < blocks; n++, in += 32, out += 22) {
        int32_t code[ELEMENTS];
        block b = load(in);
        float d = b.signed_max / -16;
        put_half(out, d, b.finite);
        codes(&b, 0, inverse(d), 16.5f, 31, code);
        put_fifths(out + 2, code);
        put_nibbles(out + 6, code);
    }
}

DT_WIDE void dt_write_q4_1(const float *in, uint8_t *out, int64_t blocks)
{
    for (int64_t n = 0; n < blocks; n++, in += 32, out += 20) {
        int32_t code[ELEMENTS];
        block b = load(in);
        float d = (b.most - b.least) / 15;
        put_half(out, d, b.finite);
        put_half(out + 2, b.least, b.finite);
        codes(&b, b.least, inverse(d), 0.5f, 15, code);
        put_nibbles(out + 4, code);
    }
}

DT_WIDE void dt_write_q5_1(const float *in, uint8_t *out, int64_t blocks)
{
    for (int64_t n = 0; n < blocks; n++, in += 32, out += 24) {
        int32_t code[ELEMENTS];
        block b = load(in);
        float d = (b.most - b.least) / 31;
        put_half(out, d, b.finite);
        put_half(out + 2, b.least, b.finite);
        codes(&b, b.least, inverse(d), 0.5f, 31, code);
        put_fifths(out + 4, code);
        put_nibbles(out + 8, code);
    }
}

/* Rounded to nearest, halves away from zero. */
DT_LANES dt_i32x8 rounded_away(dt_f32x8 v)
{
    dt_i32x8 whole = __builtin_convertvector(v, dt_i32x8);
    dt_f32x8 rest = v - __builtin_convertvector(whole, dt_f32x8);
    return whole - (rest >= 0.5f) + (rest <= -0.5f); /* a true comparison is -1 */
}

/* Codes of -128 to 127, a byte each. */
DT_LANES void put_bytes(const dt_i32x8 code[VECTORS], uint8_t *out)
{
    int32_t all[ELEMENTS];
    memcpy(all, code, sizeof all);
    for (int i = 0; i < ELEMENTS; i++)
        out[i] = (uint8_t)all[i];
}

DT_WIDE void dt_write_q8_0(const float *in, uint8_t *out, int64_t blocks)
{
    for (int64_t n = 0; n < blocks; n++, in += 32, out += 34) {
        dt_f32x8 x[VECTORS], largest = lanes_of(0);
        dt_i32x8 odd = {0};
        for (int i = 0; i < VECTORS; i++) {
            x[i] = lanes_load(in + 8 * i);
            largest = lanes_max(lanes_abs(x[i]), largest);
            odd |= ~(lanes_abs(x[i]) <= 3.40282347e38f);
        }
        bool finite = true;
        for (int i = 0; i < 8; i++)
            finite = finite && odd[i] == 0;
        float d = across(largest, true) / 127, id = inverse(d);
        put_half(out, d, finite);
        /* A scale below 2^-128 has an infinite inverse; its f16 is zero, and so are the codes. */
        bool coded = finite && id <= 3.40282347e38f;
        dt_i32x8 code[VECTORS];
        for (int i = 0; i < VECTORS; i++)
            code[i] = rounded_away(coded ? x[i] * id : lanes_of(0));
        put_bytes(code, out + 2);
    }
}

/* ---- MXFP4 ---- */

/*
 * The nearest of the 16 values, the first of equals: how many of the bounds between neighbouring magnitudes a
 * magnitude exceeds. Differences near a bound are exact, so this is ggml's search over all values.
 */
DT_LANES dt_i32x8 nearest_e2m1(dt_f32x8 x, float scale)
{
    static const float bound[] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
    dt_i32x8 code = {0};
    for (int i = 0; i < 7; i++)
        code -= lanes_abs(x) > bound[i] * scale;
    return code | ((x < 0) & (code != 0) & 8);
}

DT_WIDE void dt_write_mxfp4(const float *in, uint8_t *out, int64_t blocks)
{
    for (int64_t n = 0; n < blocks; n++, in += 32, out += 17) {
        int32_t code[ELEMENTS] = {0};
        block b = load(in);
        float largest = fabsf(b.signed_max);
        int exponent = 0;
        if (largest > 0 && b.finite)
            exponent = (int)floorf(log2f(largest)) - 2 + 127;
        out[0] = (uint8_t)(!b.finite ? 255 : exponent < 0 ? 0 : exponent);
        for (int i = 0; b.finite && i < VECTORS; i++) {
            dt_i32x8 q = nearest_e2m1(b.x[i], dt_e8m0_half(out[0]));
            memcpy(code + 8 * i, &q, sizeof q);
        }
        put_nibbles(out + 1, code);
    }
}
