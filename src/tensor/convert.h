/*
 * convert.h - element types into one another. Narrowing rounds to nearest, ties to even; NaN stays NaN; f8e4m3
 * saturates to its largest finite value (it has no infinity), f8e5m2, f16 and bf16 overflow to infinity.
 * Widening is exact. Block types are quantised as ggml's reference does (blocks.h).
 */
#ifndef DT_TENSOR_CONVERT_H
#define DT_TENSOR_CONVERT_H

#include "base/fail.h"

#include <drivetrain/dtype.h>

#include <stdint.h>
#include <string.h>

float dt_f16_to_f32(uint16_t bits);
uint16_t dt_f32_to_f16(float value);
uint16_t dt_f32_to_bf16(float value);
float dt_f8e4m3_to_f32(uint8_t bits);
float dt_f8e5m2_to_f32(uint8_t bits);
uint8_t dt_f32_to_f8e4m3(float value);
uint8_t dt_f32_to_f8e5m2(float value);

static inline float dt_bf16_to_f32(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/*
 * Convert n consecutive elements. n must be a multiple of both types' blocks. Integer types convert only to
 * themselves. in and out must not overlap unless the types are equal.
 * Errors: DT_UNSUPPORTED names the pair.
 */
dt_status dt_convert(dt_dtype to, void *out, dt_dtype from, const void *in, int64_t n, dt_error *err);
bool dt_can_convert(dt_dtype to, dt_dtype from);

#endif
