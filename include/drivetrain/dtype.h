/**
 * dtype.h - the types that tensors are stored and computed in.
 *
 * A type is a row of DT_DTYPE_TABLE: its name, how many elements one block holds, and the block's bytes. Plain
 * types have blocks of one element; block types (q8_0: 32 signed bytes under one f16 scale) are GGUF's.
 */
#ifndef DRIVETRAIN_DTYPE_H
#define DRIVETRAIN_DTYPE_H

#include <drivetrain/status.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** X(NAME, "name", elements in a block, bytes of a block, "safetensors name" or NULL) */
#define DT_DTYPE_TABLE(X)                                                                                    \
    X(F32, "f32", 1, 4, "F32")                                                                               \
    X(F16, "f16", 1, 2, "F16")                                                                               \
    X(BF16, "bf16", 1, 2, "BF16")                                                                            \
    X(F8E4M3, "f8e4m3", 1, 1, "F8_E4M3")                                                                     \
    X(F8E5M2, "f8e5m2", 1, 1, "F8_E5M2")                                                                     \
    X(F64, "f64", 1, 8, "F64")                                                                               \
    X(I8, "i8", 1, 1, "I8")                                                                                  \
    X(U8, "u8", 1, 1, "U8")                                                                                  \
    X(I16, "i16", 1, 2, "I16")                                                                               \
    X(U16, "u16", 1, 2, "U16")                                                                               \
    X(I32, "i32", 1, 4, "I32")                                                                               \
    X(U32, "u32", 1, 4, "U32")                                                                               \
    X(I64, "i64", 1, 8, "I64")                                                                               \
    X(U64, "u64", 1, 8, "U64")                                                                               \
    X(BOOL, "bool", 1, 1, "BOOL")                                                                            \
    X(Q8_0, "q8_0", 32, 34, NULL)                                                                            \
    X(Q4_0, "q4_0", 32, 18, NULL)                                                                            \
    X(Q4_1, "q4_1", 32, 20, NULL)                                                                            \
    X(Q5_0, "q5_0", 32, 22, NULL)                                                                            \
    X(Q5_1, "q5_1", 32, 24, NULL)                                                                            \
    X(Q2_K, "q2_K", 256, 84, NULL)                                                                           \
    X(Q3_K, "q3_K", 256, 110, NULL)                                                                          \
    X(Q4_K, "q4_K", 256, 144, NULL)                                                                          \
    X(Q5_K, "q5_K", 256, 176, NULL)                                                                          \
    X(Q6_K, "q6_K", 256, 210, NULL)                                                                          \
    X(IQ4_NL, "iq4_nl", 32, 18, NULL)                                                                        \
    X(IQ4_XS, "iq4_xs", 256, 136, NULL)                                                                      \
    X(TQ1_0, "tq1_0", 256, 54, NULL)                                                                         \
    X(TQ2_0, "tq2_0", 256, 66, NULL)                                                                         \
    X(MXFP4, "mxfp4", 32, 17, NULL)                                                                          \
    X(NVFP4, "nvfp4", 64, 36, NULL)

typedef enum dt_dtype {
#define X(name, text, elements, bytes, safetensors) DT_##name,
    DT_DTYPE_TABLE(X)
#undef X
        DT_DTYPE_COUNT
} dt_dtype;

const char *dt_dtype_name(dt_dtype dtype);            /**< "bf16"; "?" for a value out of range */
bool dt_dtype_parse(const char *name, dt_dtype *out); /**< accepts f32, float32, F32, fp32, … */
int64_t dt_dtype_block_elements(dt_dtype dtype);      /**< elements in a block: 1, 32, 64 or 256 */
int64_t dt_dtype_block_bytes(dt_dtype dtype);         /**< bytes of a block */
bool dt_dtype_is_float(dt_dtype dtype); /**< f32 f16 bf16 f8* f64: convertible element by element */

#ifdef __cplusplus
}
#endif
#endif
