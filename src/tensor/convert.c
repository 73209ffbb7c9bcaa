/*
 * convert.c - element types into one another, by way of f32.
 *
 * Every pair is two steps, widen to f32 and narrow from it, both exact or correctly rounded; so a pair's result
 * is the one rounding its types allow. f64 is the exception: its values are first brought to f32 by rounding to
 * odd, after which the second rounding cannot err (Boldo and Melquiond 2008, "Emulation of FMA and correctly
 * rounded sums: proved algorithms using rounding to odd"). The loops are plain: compilers vectorise them.
 */
#include "tensor/convert.h"
#include "tensor/blocks.h"
#include "tensor/lanes.h"

#include <float.h>
#include <math.h>

DT_LANES uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

DT_LANES float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

enum { F32_BIAS = 127, F32_MANTISSA = 23 };
static const uint32_t f32_infinity = 0x7F800000;

/*
 * A small float is a sign, `exponent` bits and `mantissa` bits, with the usual bias. Its largest finite number,
 * what follows it on overflow, and its NaN differ; callers pass constants, so each use folds to its own code.
 */
typedef struct small_float {
    int exponent, mantissa;
    uint32_t overflow; /* bits of what is too large: infinity, or the largest finite number */
    uint32_t nan;
} small_float;

#define F16    ((small_float){5, 10, 0x7C00, 0x7E00})
#define F8E4M3 ((small_float){4, 3, 0x7E, 0x7F})
#define F8E5M2 ((small_float){5, 2, 0x7C, 0x7E})

DT_LANES uint32_t narrow(float value, small_float to)
{
    const int bias = (1 << (to.exponent - 1)) - 1;
    const int shift = F32_MANTISSA - to.mantissa;
    const uint32_t least_normal = (uint32_t)(F32_BIAS + 1 - bias) << F32_MANTISSA;
    /* Adding this constant leaves in the sum's low bits the value in units of the least subnormal, rounded. */
    const uint32_t magic = (uint32_t)(F32_BIAS + 1 - bias + shift) << F32_MANTISSA;
    uint32_t bits = bits_of(value);
    uint32_t sign = bits >> 31 << (to.exponent + to.mantissa);
    uint32_t magnitude = bits & 0x7FFFFFFF;

    uint32_t rebiased = magnitude - ((uint32_t)(F32_BIAS - bias) << F32_MANTISSA);
    uint32_t half = (1u << (shift - 1)) - 1 + (rebiased >> shift & 1); /* a tie goes to the even neighbour */
    uint32_t normal = (rebiased + half) >> shift;
    uint32_t subnormal = bits_of(float_of(magnitude) + float_of(magic)) - magic;

    uint32_t result = magnitude < least_normal ? subnormal : normal;
    result = magnitude >= least_normal && result > to.overflow ? to.overflow : result;
    return sign | (magnitude > f32_infinity ? to.nan : result);
}

/* `infinite`: the largest exponent means infinity and NaN, as in IEEE 754. */
DT_LANES float widen(uint32_t bits, small_float from, bool infinite)
{
    const int bias = (1 << (from.exponent - 1)) - 1;
    const int shift = F32_MANTISSA - from.mantissa;
    const float least_subnormal = float_of((uint32_t)(F32_BIAS + 1 - bias - from.mantissa) << F32_MANTISSA);
    const uint32_t top_bit = 1u << (from.exponent + from.mantissa);
    uint32_t magnitude = bits & (top_bit - 1);
    uint32_t sign = (bits & top_bit) << (31 - from.exponent - from.mantissa);

    uint32_t normal = (magnitude << shift) + ((uint32_t)(F32_BIAS - bias) << F32_MANTISSA);
    uint32_t subnormal = bits_of((float)(int32_t)magnitude * least_subnormal);
    uint32_t special = magnitude << shift | f32_infinity; /* NaN keeps its payload */
    bool is_special = infinite ? magnitude >= from.overflow : magnitude == from.nan;
    uint32_t finite = magnitude >> from.mantissa ? normal : subnormal;
    return float_of(sign | (is_special ? special : finite));
}

float dt_f16_to_f32(uint16_t bits)
{
    return widen(bits, F16, true);
}

float dt_f8e4m3_to_f32(uint8_t bits)
{
    return widen(bits, F8E4M3, false);
}

float dt_f8e5m2_to_f32(uint8_t bits)
{
    return widen(bits, F8E5M2, true);
}

uint16_t dt_f32_to_f16(float value)
{
    return (uint16_t)narrow(value, F16);
}

uint8_t dt_f32_to_f8e4m3(float value)
{
    return (uint8_t)narrow(value, F8E4M3);
}

uint8_t dt_f32_to_f8e5m2(float value)
{
    return (uint8_t)narrow(value, F8E5M2);
}

/* bf16 is the upper half of f32, so its exponents need no care. A NaN is made quiet lest its payload round away. */
uint16_t dt_f32_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    uint32_t nan = bits >> 16 | 0x0040;
    return (uint16_t)((bits & 0x7FFFFFFF) > f32_infinity ? nan : rounded);
}

/* Mapped files promise no alignment, so elements go through memcpy; compilers make plain loads of it. */
#define EACH(in_type, out_type, expression)                                                                  \
    for (int64_t i = 0; i < n; i++) {                                                                        \
        in_type x;                                                                                           \
        memcpy(&x, (const uint8_t *)in + i * (int64_t)sizeof x, sizeof x);                                   \
        out_type y = (expression);                                                                           \
        memcpy((uint8_t *)out + i * (int64_t)sizeof y, &y, sizeof y);                                        \
    }

static DT_WIDE bool to_f32(dt_dtype from, const void *in, float *out, int64_t n)
{
    switch (from) {
    case DT_F32:
        memcpy(out, in, (size_t)n * sizeof *out);
        return true;
    case DT_F16:
        EACH(uint16_t, float, widen(x, F16, true));
        return true;
    case DT_BF16:
        EACH(uint16_t, float, dt_bf16_to_f32(x));
        return true;
    case DT_F8E4M3:
        EACH(uint8_t, float, widen(x, F8E4M3, false));
        return true;
    case DT_F8E5M2:
        EACH(uint8_t, float, widen(x, F8E5M2, true));
        return true;
    default:
        break;
    }
    const dt_block_type *block = dt_block_type_of(from);
    if (block)
        block->read(in, out, n / dt_dtype_block_elements(from));
    return block != NULL;
}

static DT_WIDE bool from_f32(dt_dtype to, const float *in, void *out, int64_t n)
{
    switch (to) {
    case DT_F32:
        memcpy(out, in, (size_t)n * sizeof *in);
        return true;
    case DT_F16:
        EACH(float, uint16_t, (uint16_t)narrow(x, F16));
        return true;
    case DT_BF16:
        EACH(float, uint16_t, dt_f32_to_bf16(x));
        return true;
    case DT_F8E4M3:
        EACH(float, uint8_t, (uint8_t)narrow(x, F8E4M3));
        return true;
    case DT_F8E5M2:
        EACH(float, uint8_t, (uint8_t)narrow(x, F8E5M2));
        return true;
    case DT_F64:
        EACH(float, double, (double)x);
        return true;
    default:
        break;
    }
    const dt_block_type *block = dt_block_type_of(to);
    if (block)
        block->write(in, out, n / dt_dtype_block_elements(to));
    return block != NULL;
}

/* The f32 next to `value` toward zero, its last bit set when that is not `value` itself: "rounding to odd". */
static float round_to_odd(double value)
{
    float nearest = (float)value;
    uint32_t bits = bits_of(nearest);
    if ((double)nearest == value || isnan(value))
        return nearest;
    if (fabs((double)nearest) > fabs(value))
        bits--;
    return float_of(bits | 1);
}

/* Block types divide and so have no single right rounding: they take f64 as they would take the f32 nearest to it. */
static void f64_to_f32(dt_dtype destination, const void *in, float *out, int64_t n)
{
    if (destination == DT_F32 || dt_block_type_of(destination))
        EACH(double, float, (float)x)
    else
        EACH(double, float, round_to_odd(x))
}

bool dt_can_convert(dt_dtype to, dt_dtype from)
{
    const dt_block_type *out = dt_block_type_of(to);
    bool from_real = dt_dtype_is_float(from) || dt_block_type_of(from);
    bool to_real = dt_dtype_is_float(to) || (out && out->write);
    return to == from || (from_real && to_real);
}

static void convert_by_chunks(dt_dtype to, uint8_t *out, dt_dtype from, const uint8_t *in, int64_t n)
{
    enum { CHUNK = 1024 }; /* a multiple of every block; stays in the first cache */
    float wide[CHUNK];
    for (int64_t done = 0; done < n; done += CHUNK) {
        int64_t count = n - done < CHUNK ? n - done : CHUNK;
        const uint8_t *source = in + done / dt_dtype_block_elements(from) * dt_dtype_block_bytes(from);
        uint8_t *target = out + done / dt_dtype_block_elements(to) * dt_dtype_block_bytes(to);
        if (from == DT_F64)
            f64_to_f32(to, source, wide, count);
        else
            to_f32(from, source, wide, count);
        from_f32(to, wide, target, count);
    }
}

dt_status dt_convert(dt_dtype to, void *out, dt_dtype from, const void *in, int64_t n, dt_error *err)
{
    if (!dt_can_convert(to, from))
        return dt_fail(err, DT_UNSUPPORTED, "no conversion from %s to %s", dt_dtype_name(from),
                       dt_dtype_name(to));
    if (n < 0 || n % dt_dtype_block_elements(from) != 0 || n % dt_dtype_block_elements(to) != 0)
        return dt_fail(err, DT_INVALID, "%lld elements are not whole blocks of %s and %s", (long long)n,
                       dt_dtype_name(from), dt_dtype_name(to));
    if (n == 0)
        return DT_OK;
    if (to == from)
        memmove(out, in, (size_t)(n / dt_dtype_block_elements(from) * dt_dtype_block_bytes(from)));
    else if (to == DT_F32 && from != DT_F64)
        to_f32(from, in, out, n);
    else if (from == DT_F32)
        from_f32(to, in, out, n);
    else
        convert_by_chunks(to, out, from, in, n);
    return DT_OK;
}
