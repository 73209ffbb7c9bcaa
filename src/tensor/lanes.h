/*
 * lanes.h - short vectors of floats, for code that is compiled once for every instruction set worth having.
 *
 * Vectors are the compiler's; a width that the machine lacks is made of narrower ones. DT_WIDE on a function makes
 * one version for AVX2 and one for any machine, chosen when the program is loaded; what it calls must be inlined to
 * profit (DT_LANES). Neither has fused multiply-adds, so all give the same bits.
 */
#ifndef DT_TENSOR_LANES_H
#define DT_TENSOR_LANES_H

#include <stdint.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wpsabi" /* vectors are passed to nobody: all of this is inlined */

typedef float dt_f32x8 __attribute__((vector_size(32)));
typedef int32_t dt_i32x8 __attribute__((vector_size(32)));

#define DT_LANES static inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) &&             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DT_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define DT_WIDE /* clang 14 has no clones in C; sanitizers run before their resolvers could */
#endif

DT_LANES dt_f32x8 lanes_of(float value)
{
    return (dt_f32x8){value, value, value, value, value, value, value, value};
}

DT_LANES dt_f32x8 lanes_load(const float *in)
{
    dt_f32x8 v;
    memcpy(&v, in, sizeof v);
    return v;
}

/* Lanes of `a` where the mask is set (-1), of `b` where it is 0. */
DT_LANES dt_f32x8 lanes_choose(dt_i32x8 mask, dt_f32x8 a, dt_f32x8 b)
{
    return (dt_f32x8)((mask & (dt_i32x8)a) | (~mask & (dt_i32x8)b));
}

DT_LANES dt_f32x8 lanes_abs(dt_f32x8 v)
{
    return (dt_f32x8)((dt_i32x8)v & 0x7FFFFFFF);
}

/* a where a > b, else b: the order of a NaN among them is that of the comparison. */
DT_LANES dt_f32x8 lanes_max(dt_f32x8 a, dt_f32x8 b)
{
    return lanes_choose(a > b, a, b);
}

DT_LANES dt_f32x8 lanes_min(dt_f32x8 a, dt_f32x8 b)
{
    return lanes_choose(a < b, a, b);
}

/* Nearest integer, ties to even, of |v| < 2^22. */
DT_LANES dt_f32x8 lanes_nearest(dt_f32x8 v)
{
    return (v + 12582912.0f) - 12582912.0f;
}

/* The nearest integer within [least, most]; a NaN gives `least`. */
DT_LANES dt_f32x8 lanes_code(dt_f32x8 v, float least, float most)
{
    return lanes_nearest(lanes_min(lanes_max(v, lanes_of(least)), lanes_of(most)));
}

#endif
