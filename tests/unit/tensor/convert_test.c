/*
 * convert_test.c - every 8- and 16-bit value against plain arithmetic in f64, written from the types' definitions.
 *
 * The definition of a small float is decode() below: a search over all its values, not a formula, then gives the
 * nearest one, ties to the even code. That is slow, obvious, and shares nothing with convert.c.
 */
#include "unit.h"

#include "tensor/convert.h"

#include <float.h>
#include <math.h>

typedef struct format {
    dt_dtype dtype;
    int exponent, mantissa;
    bool infinite; /* the top exponent holds infinity and NaN; else only its last code is NaN */
} format;

static const format formats[] = {
    {DT_F16, 5, 10, true}, {DT_BF16, 8, 7, true}, {DT_F8E5M2, 5, 2, true}, {DT_F8E4M3, 4, 3, false}};
enum { FORMATS = sizeof formats / sizeof *formats };

static uint32_t sign_bit(const format *f)
{
    return 1u << (f->exponent + f->mantissa);
}

/* What a code means, by definition. */
static double decode(const format *f, uint32_t code)
{
    int bias = (1 << (f->exponent - 1)) - 1, top = (1 << f->exponent) - 1;
    double sign = code & sign_bit(f) ? -1 : 1;
    int exponent = (int)(code >> f->mantissa) & top;
    int mantissa = (int)(code & ((1u << f->mantissa) - 1));
    if (f->infinite && exponent == top)
        return mantissa ? NAN : sign * INFINITY;
    if (!f->infinite && (code | sign_bit(f)) == 2 * sign_bit(f) - 1)
        return NAN;
    double scale = ldexp(1, -f->mantissa);
    return sign *
           (exponent ? ldexp(1 + mantissa * scale, exponent - bias) : ldexp(mantissa * scale, 1 - bias));
}

static uint32_t largest_finite(const format *f)
{
    return f->infinite ? (((1u << f->exponent) - 1) << f->mantissa) - 1 : sign_bit(f) - 2;
}

/* The code nearest to a magnitude, ties to even; beyond the last, infinity from half a step on, or saturation. */
static uint32_t nearest(const format *f, double magnitude)
{
    uint32_t low = 0, high = largest_finite(f);
    double last = decode(f, high), step = last - decode(f, high - 1);
    if (magnitude >= last + step / 2)
        return f->infinite ? high + 1 : high;
    if (magnitude >= last)
        return high;
    while (high - low > 1) { /* decode is monotonic */
        uint32_t middle = (low + high) / 2;
        if (decode(f, middle) <= magnitude)
            low = middle;
        else
            high = middle;
    }
    double below = magnitude - decode(f, low), above = decode(f, high) - magnitude;
    return below < above ? low : above < below ? high : low % 2 == 0 ? low : high;
}

static uint32_t convert_to(const format *f, dt_dtype from, const void *value)
{
    uint8_t narrow8 = 0;
    uint16_t narrow16 = 0;
    bool wide = dt_dtype_block_bytes(f->dtype) == 2;
    dt_convert(f->dtype, wide ? (void *)&narrow16 : (void *)&narrow8, from, value, 1, NULL);
    return wide ? narrow16 : narrow8;
}

static double convert_from(const format *f, dt_dtype to, uint32_t code)
{
    uint8_t narrow8 = (uint8_t)code;
    uint16_t narrow16 = (uint16_t)code;
    const void *in = dt_dtype_block_bytes(f->dtype) == 2 ? (const void *)&narrow16 : (const void *)&narrow8;
    double as_f64 = 0;
    float as_f32 = 0;
    dt_convert(to, to == DT_F64 ? (void *)&as_f64 : (void *)&as_f32, f->dtype, in, 1, NULL);
    return to == DT_F64 ? as_f64 : as_f32;
}

static void convert__widening_every_code_is_exact(void **state)
{
    for (int i = 0; i < FORMATS; i++)
        for (uint32_t code = 0; code < 2 * sign_bit(&formats[i]); code++) {
            double expected = decode(&formats[i], code);
            double found = convert_from(&formats[i], DT_F32, code),
                   found64 = convert_from(&formats[i], DT_F64, code);
            if (isnan(expected)) {
                assert_true(isnan(found) && isnan(found64));
            } else {
                assert_true(found == expected && found64 == expected);
                assert_int_equal(signbit(found) != 0, code >= sign_bit(&formats[i]));
            }
        }
}

static void convert__every_code_survives_a_round_trip(void **state)
{
    for (int i = 0; i < FORMATS; i++)
        for (uint32_t code = 0; code < 2 * sign_bit(&formats[i]); code++) {
            float wide = (float)convert_from(&formats[i], DT_F32, code);
            uint32_t back = convert_to(&formats[i], DT_F32, &wide);
            if (isnan(wide))
                assert_true(isnan(decode(&formats[i], back)));
            else
                assert_int_equal(back, code);
        }
}

static void check_f32(const format *f, float value)
{
    uint32_t expected = nearest(f, fabs((double)value)) | (signbit(value) ? sign_bit(f) : 0);
    if (isinf(value))
        expected = (largest_finite(f) + (f->infinite ? 1 : 0)) | (signbit(value) ? sign_bit(f) : 0);
    uint32_t found = convert_to(f, DT_F32, &value);
    if (found != expected)
        fail_msg("%s of %a: expected %#x, found %#x", dt_dtype_name(f->dtype), (double)value, expected,
                 found);
}

/* Round-to-nearest can go wrong at the codes, between them, and one f32 beside either. */
static void convert__narrowing_is_right_around_every_code_and_midpoint(void **state)
{
    for (int i = 0; i < FORMATS; i++) {
        const format *f = &formats[i];
        for (uint32_t code = 0; code <= largest_finite(f); code++) {
            double here = decode(f, code), gap = decode(f, code + (code < largest_finite(f))) - here;
            float points[] = {(float)here, (float)(here + gap / 2)};
            for (int p = 0; p < 2; p++) {
                check_f32(f, points[p]);
                check_f32(f, -points[p]);
                check_f32(f, nextafterf(points[p], INFINITY));
                check_f32(f, nextafterf(points[p], -INFINITY));
            }
        }
        const float edges[] = {INFINITY, -INFINITY,  FLT_MAX, -FLT_MAX, FLT_MIN, FLT_TRUE_MIN,
                               0,        -0.0f,      448,     464,      465,     480,
                               65504,    65519.996f, 65520,   61440,    57344};
        for (size_t e = 0; e < sizeof edges / sizeof *edges; e++)
            check_f32(f, edges[e]);
    }
}

static uint64_t scramble(uint64_t *x)
{
    *x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
    return *x;
}

static void convert__narrowing_random_bits_is_right(void **state)
{
    uint64_t x = 88172645463325252u;
    for (int n = 0; n < 200000; n++) {
        uint32_t bits = (uint32_t)scramble(&x);
        float value;
        memcpy(&value, &bits, sizeof value);
        for (int i = 0; i < FORMATS; i++)
            if (isnan(value))
                assert_true(isnan(decode(&formats[i], convert_to(&formats[i], DT_F32, &value))));
            else
                check_f32(&formats[i], value);
    }
}

/* A double just beside a midpoint rounds to f32 onto the midpoint; rounding that again would go the wrong way. */
static void convert__f64_is_rounded_once(void **state)
{
    for (int i = 0; i < FORMATS; i++) {
        const format *f = &formats[i];
        for (uint32_t code = 0; code < largest_finite(f); code++) {
            double middle = (decode(f, code) + decode(f, code + 1)) / 2;
            double values[] = {nextafter(middle, 0), middle, nextafter(middle, INFINITY),
                               -nextafter(middle, INFINITY)};
            for (int v = 0; v < 4; v++) {
                uint32_t expected = nearest(f, fabs(values[v])) | (values[v] < 0 ? sign_bit(f) : 0);
                assert_int_equal(convert_to(f, DT_F64, &values[v]), expected);
            }
        }
        double extremes[] = {1e300, DBL_TRUE_MIN, 1e-50};
        for (int e = 0; e < 3; e++)
            assert_int_equal(convert_to(f, DT_F64, &extremes[e]), nearest(f, extremes[e]));
        double nan_value = NAN;
        assert_true(isnan(decode(f, convert_to(f, DT_F64, &nan_value))));
    }
}

/* From any type straight to any other is the same as through its exact f64 value. */
static void convert__pairs_of_narrow_types_round_once(void **state)
{
    for (int i = 0; i < FORMATS; i++)
        for (int j = 0; j < FORMATS; j++)
            for (uint32_t code = 0; code < 2 * sign_bit(&formats[i]); code++) {
                uint16_t narrow16 = (uint16_t)code;
                uint8_t narrow8 = (uint8_t)code;
                bool wide = dt_dtype_block_bytes(formats[i].dtype) == 2;
                double value = decode(&formats[i], code);
                const void *in = wide ? (const void *)&narrow16 : (const void *)&narrow8;
                uint32_t found = convert_to(&formats[j], formats[i].dtype, in);
                if (isnan(value))
                    assert_true(isnan(decode(&formats[j], found)));
                else
                    assert_int_equal(found, convert_to(&formats[j], DT_F64, &value));
            }
}

static void convert__long_and_unaligned_runs_equal_single_elements(void **state)
{
    enum { N = 5000 };
    static uint8_t in[N * 8 + 1], out[N * 8 + 1], one[8];
    dt_error err = {0};
    static const dt_dtype types[] = {DT_F32, DT_F64, DT_F16, DT_BF16, DT_F8E4M3, DT_F8E5M2};
    uint64_t x = 1;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(scramble(&x) % 127); /* no NaN, whose payload may differ */
    for (int from = 0; from < 6; from++)
        for (int to = 0; to < 6; to++) {
            size_t in_bytes = (size_t)dt_dtype_block_bytes(types[from]),
                   out_bytes = (size_t)dt_dtype_block_bytes(types[to]);
            assert_ok(dt_convert(types[to], out + 1, types[from], in + 1, N, &err), err);
            for (size_t i = 0; i < N; i++) {
                dt_convert(types[to], one, types[from], in + 1 + i * in_bytes, 1, NULL);
                assert_memory_equal(one, out + 1 + i * out_bytes, out_bytes);
            }
        }
}

/* q8_0 by its definition: the scale is max|x| / 127 in f16, and codes restore x to half a step of that scale. */
static void convert__q8_0_restores_within_half_a_step(void **state)
{
    enum { BLOCKS = 500, N = BLOCKS * 32 };
    static float in[N], out[N];
    static uint8_t packed[BLOCKS * 34];
    dt_error err = {0};
    uint64_t x = 7;
    for (int i = 0; i < N; i++)
        in[i] = (float)ldexp((double)(int64_t)scramble(&x), -63 + i / 32 % 12 - 6);
    assert_ok(dt_convert(DT_Q8_0, packed, DT_F32, in, N, &err), err);
    assert_ok(dt_convert(DT_F32, out, DT_Q8_0, packed, N, &err), err);
    for (int b = 0; b < BLOCKS; b++) {
        float largest = 0;
        uint16_t stored;
        for (int i = 0; i < 32; i++)
            largest = fmaxf(largest, fabsf(in[b * 32 + i]));
        memcpy(&stored, packed + b * 34, 2);
        assert_int_equal(stored, dt_f32_to_f16(largest / 127));
        for (int i = b * 32; i < b * 32 + 32;
             i++) /* plus what rounding the scale to 11 bits costs 127 codes */
            assert_true(fabsf(out[i] - in[i]) <= largest / 127 * (0.5f + 127.0f / 2048 + 1e-3f));
    }
}

static void convert__q8_0_of_zeroes_ties_and_the_unrepresentable(void **state)
{
    dt_error err = {0};
    float in[32] = {0}, out[32];
    uint8_t packed[34], zeroes[34] = {0};
    assert_ok(dt_convert(DT_Q8_0, packed, DT_F32, in, 32, &err), err);
    assert_memory_equal(packed, zeroes, sizeof packed);
    in[0] = 127, in[1] = 0.5f, in[2] = -0.5f, in[3] = 2.5f, in[4] = -127;
    assert_ok(dt_convert(DT_Q8_0, packed, DT_F32, in, 32, &err), err);
    const int8_t codes[] = {127, 1, -1, 3, -127}; /* ggml rounds halves away from zero */
    assert_memory_equal(packed + 2, codes, sizeof codes);
    in[0] = FLT_TRUE_MIN, in[1] = in[2] = in[3] = in[4] = 0;
    assert_ok(dt_convert(DT_Q8_0, packed, DT_F32, in, 32, &err), err);
    assert_memory_equal(packed, zeroes, sizeof packed);
    for (int bad = 0; bad < 2; bad++) {
        in[0] = bad ? NAN : INFINITY;
        assert_ok(dt_convert(DT_Q8_0, packed, DT_F32, in, 32, &err), err);
        assert_ok(dt_convert(DT_F32, out, DT_Q8_0, packed, 32, &err), err);
        assert_true(isnan(out[0]) && isnan(out[31]));
    }
}

static void convert__integers_stay_what_they_are(void **state)
{
    dt_error err = {0};
    int32_t in[3] = {1, -2, 3}, out[3];
    assert_ok(dt_convert(DT_I32, out, DT_I32, in, 3, &err), err);
    assert_memory_equal(in, out, sizeof in);
    assert_fails(dt_convert(DT_F32, out, DT_I32, in, 3, &err), DT_UNSUPPORTED, err, "from i32 to f32");
    assert_fails(dt_convert(DT_I64, out, DT_I32, in, 1, &err), DT_UNSUPPORTED, err, "from i32 to i64");
    assert_fails(dt_convert(DT_Q8_0, out, DT_F32, in, 3, &err), DT_INVALID, err, "3 elements");
    assert_fails(dt_convert(DT_F32, out, DT_F32, in, -1, &err), DT_INVALID, err, "-1 elements");
    assert_ok(dt_convert(DT_F16, NULL, DT_F32, NULL, 0, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convert__widening_every_code_is_exact),
        cmocka_unit_test(convert__every_code_survives_a_round_trip),
        cmocka_unit_test(convert__narrowing_is_right_around_every_code_and_midpoint),
        cmocka_unit_test(convert__narrowing_random_bits_is_right),
        cmocka_unit_test(convert__f64_is_rounded_once),
        cmocka_unit_test(convert__pairs_of_narrow_types_round_once),
        cmocka_unit_test(convert__long_and_unaligned_runs_equal_single_elements),
        cmocka_unit_test(convert__q8_0_restores_within_half_a_step),
        cmocka_unit_test(convert__q8_0_of_zeroes_ties_and_the_unrepresentable),
        cmocka_unit_test(convert__integers_stay_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
