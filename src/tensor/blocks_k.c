/*
 * blocks_k.c - quantising to the "K" types: 256 elements in sub-blocks whose scales, and perhaps minima, are searched
 * for by weighted least squares and then quantised themselves.
 *
 * A lane is a sub-block: all eight of a Q4_K or Q5_K block (twice eight of a Q6_K one) are searched side by side,
 * each summing its own elements in their order. So the sums, and with them every byte, are those that ggml's
 * reference gets one sub-block at a time.
 */
#include "tensor/blocks.h"
#include "tensor/convert.h"
#include "tensor/lanes.h"

#include <math.h>

enum { ELEMENTS = 256, LANES = 8 };

typedef float row8[LANES];

DT_LANES void put_half(uint8_t *out, float value)
{
    uint16_t bits = dt_f32_to_f16(value);
    memcpy(out, &bits, sizeof bits);
}

DT_LANES float as_half(float value)
{
    return dt_f16_to_f32(dt_f32_to_f16(value));
}

static int nearest(float v)
{
    return (int)((v + 12582912.0f) - 12582912.0f);
}

static bool all_finite(const float *in)
{
    uint32_t odd = 0;
    for (int i = 0; i < ELEMENTS; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], sizeof bits);
        odd |= (bits & 0x7F800000) == 0x7F800000;
    }
    return odd == 0;
}

/* Element i of each of 8 sub-blocks that lie `apart` elements from one another. */
DT_LANES dt_f32x8 gather(const float *in, int i, int apart)
{
    dt_f32x8 v;
    for (int lane = 0; lane < LANES; lane++)
        v[lane] = in[lane * apart + i];
    return v;
}

/* ---- scale and minimum: Q4_K, Q5_K ---- */

typedef struct search {
    float most;        /* the largest code */
    float first, step; /* scales tried: (first + step * i + most) / range … */
    int steps;         /* … for i from 0 to this */
} search;

enum { SUB = 32 }; /* elements of a sub-block */

typedef struct fit {
    dt_f32x8 x[SUB], w[SUB], code[SUB];
    dt_f32x8 scale, minimum; /* x = scale * code - minimum */
    dt_f32x8 least, largest; /* of x; the least is at most 0 */
    dt_f32x8 sum_w, sum_x;   /* weighted */
} fit;

/* Weights are larger where elements are, by the root of their mean square. */
DT_LANES void weigh(fit *f, const float *in)
{
    dt_f32x8 squares = lanes_of(0), root;
    for (int i = 0; i < SUB; i++) {
        f->x[i] = gather(in, i, SUB);
        squares += f->x[i] * f->x[i];
    }
    squares /= (float)SUB;
    for (int lane = 0; lane < LANES; lane++)
        root[lane] = sqrtf(squares[lane]);
    dt_f32x8 most = f->x[0];
    f->least = f->x[0];
    f->w[0] = root + lanes_abs(f->x[0]);
    f->sum_w = f->w[0];
    f->sum_x = f->w[0] * f->x[0];
    for (int i = 1; i < SUB; i++) {
        f->w[i] = root + lanes_abs(f->x[i]);
        f->least = lanes_min(f->x[i], f->least);
        most = lanes_max(f->x[i], most);
        f->sum_w += f->w[i];
        f->sum_x += f->w[i] * f->x[i];
    }
    f->least = lanes_min(f->least, lanes_of(0));
    f->largest = most;
}

/* The codes under a scale, and the weighted squares by which they miss. */
DT_LANES dt_f32x8 first_error(fit *f, dt_f32x8 inverse, dt_f32x8 scale, float most)
{
    dt_f32x8 error = lanes_of(0);
    for (int i = 0; i < SUB; i++) {
        f->code[i] = lanes_code(inverse * (f->x[i] - f->least), 0, most);
        dt_f32x8 miss = scale * f->code[i] + f->least - f->x[i];
        error += f->w[i] * (miss * miss);
    }
    return error;
}

/*
 * One trial: codes that would put `levels` steps between the minimum so far and the largest element, then the scale and
 * minimum that fit these codes best; kept where they are better.
 */
DT_LANES void try_scale(fit *f, float levels, float most, dt_f32x8 *minimum, dt_f32x8 *best)
{
    dt_f32x8 inverse = levels / (f->largest - *minimum);
    dt_f32x8 code[SUB], l = lanes_of(0), l2 = lanes_of(0), xl = lanes_of(0), error = lanes_of(0);
    for (int i = 0; i < SUB; i++) {
        code[i] = lanes_code(inverse * (f->x[i] - *minimum), 0, most);
        dt_f32x8 wl = f->w[i] * code[i];
        l += wl;
        l2 += wl * code[i];
        xl += wl * f->x[i];
    }
    dt_f32x8 d = f->sum_w * l2 - l * l;
    dt_f32x8 scale = (f->sum_w * xl - f->sum_x * l) / d;
    dt_f32x8 low = (l2 * f->sum_x - l * xl) / d;
    dt_i32x8 above = low > 0;
    scale = lanes_choose(above, xl / l2, scale);
    low = lanes_choose(above, lanes_of(0), low);
    for (int i = 0; i < SUB; i++) {
        dt_f32x8 miss = scale * code[i] + low - f->x[i];
        error += f->w[i] * (miss * miss);
    }
    dt_i32x8 better = (d > 0) & (error < *best);
    *best = lanes_choose(better, error, *best);
    *minimum = lanes_choose(better, low, *minimum);
    f->scale = lanes_choose(better, scale, f->scale);
    for (int i = 0; i < SUB; i++)
        f->code[i] = lanes_choose(better, code[i], f->code[i]);
}

DT_LANES void find_fit(fit *f, const float *in, const search *s)
{
    weigh(f, in);
    dt_i32x8 flat = f->largest == f->least;
    dt_f32x8 minimum = f->least, inverse = s->most / (f->largest - f->least);
    f->scale = 1.0f / inverse;
    dt_f32x8 best = first_error(f, inverse, f->scale, s->most);
    for (int i = 0; i <= s->steps; i++)
        try_scale(f, s->first + s->step * (float)i + s->most, s->most, &minimum, &best);
    f->scale = lanes_choose(flat, lanes_of(0), f->scale);
    f->minimum = -lanes_choose(flat, f->least, minimum);
    for (int i = 0; i < SUB; i++)
        f->code[i] = lanes_choose(flat, lanes_of(0), f->code[i]);
}

/* Scales and minima as six bits of their largest, in the layout that dt_k_scale reads. */
DT_LANES void put_scales(uint8_t *out, const fit *f, float most_scale, float most_minimum)
{
    float by_scale = most_scale > 0 ? 63 / most_scale : 0,
          by_minimum = most_minimum > 0 ? 63 / most_minimum : 0;
    memset(out, 0, 12);
    for (int j = 0; j < LANES; j++) {
        /* of a block whose largest is too small to be divided by, the low byte counts, as in ggml */
        int s = (uint8_t)nearest(by_scale * f->scale[j]), m = (uint8_t)nearest(by_minimum * f->minimum[j]);
        s = s < 63 ? s : 63;
        m = m < 63 ? m : 63;
        if (j < 4) {
            out[j] = (uint8_t)s;
            out[j + 4] = (uint8_t)m;
        } else {
            out[j + 4] = (uint8_t)((s & 15) | (m & 15) << 4);
            out[j - 4] = (uint8_t)(out[j - 4] | s >> 4 << 6);
            out[j] = (uint8_t)(out[j] | m >> 4 << 6);
        }
    }
}

/* Codes again, under the scales as they are stored. A sub-block whose stored scale is 0 keeps what it had. */
DT_LANES void code_again(fit *f, const uint8_t *scales, float d, float m, float most)
{
    dt_f32x8 scale, minimum;
    for (int j = 0; j < LANES; j++) {
        uint8_t sc, mn;
        dt_k_scale(scales, j, &sc, &mn);
        scale[j] = d * (float)sc;
        minimum[j] = m * (float)mn;
    }
    dt_i32x8 none = scale == 0;
    for (int i = 0; i < SUB; i++)
        f->code[i] = lanes_choose(none, f->code[i], lanes_code((f->x[i] + minimum) / scale, 0, most));
}

/* The header of 16 bytes; codes stay in *f. */
DT_LANES void fit_block(fit *f, const float *in, uint8_t *out, const search *s)
{
    float most_scale = 0, most_minimum = 0;
    find_fit(f, in, s);
    for (int j = 0; j < LANES; j++) {
        most_scale = f->scale[j] > most_scale ? f->scale[j] : most_scale;
        most_minimum = f->minimum[j] > most_minimum ? f->minimum[j] : most_minimum;
    }
    put_scales(out + 4, f, most_scale, most_minimum);
    float d = most_scale / 63, m = most_minimum / 63;
    put_half(out, d);
    put_half(out + 2, m);
    code_again(f, out + 4, as_half(d), as_half(m), s->most);
}

DT_LANES void take_codes(const fit *f, uint8_t code[SUB][LANES])
{
    for (int i = 0; i < SUB; i++) {
        dt_i32x8 q = __builtin_convertvector(f->code[i], dt_i32x8);
        for (int j = 0; j < LANES; j++)
            code[i][j] = (uint8_t)q[j];
    }
}

/* A block that no codes can stand for: its scale is NaN. */
static void put_nan(uint8_t *out, int bytes, int at)
{
    memset(out, 0, (size_t)bytes);
    out[at] = 0x00;
    out[at + 1] = 0x7E;
}

DT_WIDE void dt_write_q4_k(const float *in, uint8_t *out, int64_t blocks)
{
    static const search rule = {15, -1.0f, 0.1f, 20};
    for (int64_t n = 0; n < blocks; n++, in += ELEMENTS, out += 144) {
        fit f;
        uint8_t code[SUB][LANES];
        if (!all_finite(in)) {
            put_nan(out, 144, 0);
            continue;
        }
        fit_block(&f, in, out, &rule);
        take_codes(&f, code);
        for (int pair = 0; pair < 4; pair++)
            for (int i = 0; i < SUB; i++)
                out[16 + 32 * pair + i] = (uint8_t)(code[i][2 * pair] | code[i][2 * pair + 1] << 4);
    }
}

DT_WIDE void dt_write_q5_k(const float *in, uint8_t *out, int64_t blocks)
{
    static const search rule = {31, -0.5f, 0.1f, 15};
    for (int64_t n = 0; n < blocks; n++, in += ELEMENTS, out += 176) {
        fit f;
        uint8_t code[SUB][LANES];
        if (!all_finite(in)) {
            put_nan(out, 176, 0);
            continue;
        }
        fit_block(&f, in, out, &rule);
        take_codes(&f, code);
        for (int i = 0; i < SUB; i++) {
            unsigned high = 0;
            for (int j = 0; j < LANES; j++)
                high |= (unsigned)(code[i][j] >> 4) << j;
            out[16 + i] = (uint8_t)high;
            for (int pair = 0; pair < 4; pair++)
                out[48 + 32 * pair + i] =
                    (uint8_t)((code[i][2 * pair] & 15) | (code[i][2 * pair + 1] & 15) << 4);
        }
    }
}

/* ---- a signed scale alone: Q6_K ---- */

enum { SMALL = 16 };
static const float NOTHING = 1e-15f; /* magnitudes below are none */

typedef struct signed_fit {
    dt_f32x8 x[SMALL], w[SMALL], code[SMALL];
    dt_f32x8 scale;
} signed_fit;

/* Sums of x * code and code^2, weighted by x^2, under a scale's inverse. */
DT_LANES void fit_codes(const signed_fit *f, dt_f32x8 inverse, dt_f32x8 *code, dt_f32x8 *xl, dt_f32x8 *l2)
{
    *xl = *l2 = lanes_of(0);
    for (int i = 0; i < SMALL; i++) {
        code[i] = lanes_code(inverse * f->x[i], -32, 31);
        *xl += f->w[i] * f->x[i] * code[i];
        *l2 += f->w[i] * code[i] * code[i];
    }
}

/* Of 8 sub-blocks of 16 elements from `in` on. */
DT_LANES void find_signed(signed_fit *f, const float *in)
{
    dt_f32x8 largest = lanes_of(0), most = lanes_of(0), xl, l2;
    for (int i = 0; i < SMALL; i++) {
        f->x[i] = gather(in, i, SMALL);
        f->w[i] = f->x[i] * f->x[i];
        dt_i32x8 larger = lanes_abs(f->x[i]) > largest;
        largest = lanes_choose(larger, lanes_abs(f->x[i]), largest);
        most = lanes_choose(larger, f->x[i], most);
    }
    fit_codes(f, -32.0f / most, f->code, &xl, &l2);
    f->scale = lanes_choose(l2 != 0, xl / l2, lanes_of(0));
    dt_f32x8 best = f->scale * xl;
    for (int is = -9; is <= 9; is++) {
        dt_f32x8 code[SMALL];
        if (is == 0)
            continue;
        fit_codes(f, -(32.0f + 0.1f * (float)is) / most, code, &xl, &l2);
        dt_i32x8 better = (l2 > 0) & (xl * xl > best * l2);
        f->scale = lanes_choose(better, xl / l2, f->scale);
        best = lanes_choose(better, f->scale * xl, best);
        for (int i = 0; i < SMALL; i++)
            f->code[i] = lanes_choose(better, code[i], f->code[i]);
    }
    dt_i32x8 none = largest < NOTHING;
    f->scale = lanes_choose(none, lanes_of(0), f->scale);
    for (int i = 0; i < SMALL;
         i++) /* what such a sub-block's codes are is ggml's: 0, where the others have 32 added */
        f->code[i] = lanes_choose(none, lanes_of(-32), f->code[i]);
}

DT_LANES void code_signed(const signed_fit *f, const int8_t *scales, float d, uint8_t *code)
{
    dt_f32x8 scale;
    for (int j = 0; j < LANES; j++)
        scale[j] = d * (float)scales[j];
    dt_i32x8 none = scale == 0;
    for (int i = 0; i < SMALL; i++) {
        dt_f32x8 v = lanes_choose(none, f->code[i], lanes_code(f->x[i] / scale, -32, 31));
        dt_i32x8 q = __builtin_convertvector(v, dt_i32x8) + 32;
        for (int j = 0; j < LANES; j++)
            code[j * SMALL + i] = (uint8_t)q[j];
    }
}

DT_LANES void put_q6(uint8_t *out, const uint8_t *code)
{
    for (int h = 0; h < 2; h++, code += 128)
        for (int l = 0; l < 32; l++) {
            out[64 * h + l] = (uint8_t)((code[l] & 15) | (code[l + 64] & 15) << 4);
            out[64 * h + 32 + l] = (uint8_t)((code[l + 32] & 15) | (code[l + 96] & 15) << 4);
            out[128 + 32 * h + l] = (uint8_t)(code[l] >> 4 | code[l + 32] >> 4 << 2 | code[l + 64] >> 4 << 4 |
                                              code[l + 96] >> 4 << 6);
        }
}

DT_WIDE void dt_write_q6_k(const float *in, uint8_t *out, int64_t blocks)
{
    for (int64_t n = 0; n < blocks; n++, in += ELEMENTS, out += 210) {
        signed_fit f[2];
        uint8_t code[ELEMENTS];
        float largest = 0, most = 0;
        memset(out, 0, 210);
        if (!all_finite(in)) {
            put_nan(out, 210, 208);
            continue;
        }
        for (int s = 0; s < 16; s++) {
            if (s % LANES == 0)
                find_signed(&f[s / LANES], in + s / LANES * 128);
            float scale = f[s / LANES].scale[s % LANES];
            most = fabsf(scale) > largest ? scale : most;
            largest = fabsf(scale) > largest ? fabsf(scale) : largest;
        }
        if (largest < NOTHING)
            continue;
        float inverse = -128.0f / most, d = 1 / inverse;
        int8_t scales[16];
        for (int s = 0; s < 16; s++) {
            int scale = nearest(inverse * f[s / LANES].scale[s % LANES]);
            scales[s] = (int8_t)(scale < 127 ? scale : 127);
        }
        put_half(out + 208, d);
        memcpy(out + 192, scales, 16);
        for (int half = 0; half < 2; half++)
            code_signed(&f[half], scales + 8 * half, as_half(d), code + 128 * half);
        put_q6(out, code);
    }
}
