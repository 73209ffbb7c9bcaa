/*
 * blocks.h - types whose elements share scales, as GGUF stores them: one row of functions each.
 *
 * Reading gives the floats that ggml gives, bit for bit; writing gives the bytes that ggml's own quantiser writes
 * without an importance matrix. A type without `write` is only read. A block that holds an infinity or NaN, of which
 * ggml makes arbitrary codes, reads back as NaN from all types that have an f16 scale.
 */
#ifndef DT_TENSOR_BLOCKS_H
#define DT_TENSOR_BLOCKS_H

#include <drivetrain/dtype.h>

typedef struct dt_block_type {
    dt_dtype dtype;
    void (*read)(const uint8_t *in, float *out, int64_t blocks);
    void (*write)(const float *in, uint8_t *out, int64_t blocks); /* NULL: only read */
} dt_block_type;

const dt_block_type *dt_block_type_of(dt_dtype dtype); /* NULL for plain types */

/* What the files of block types share. */
extern const int8_t dt_iq4_values[16];   /* IQ4_NL, IQ4_XS */
extern const int8_t dt_e2m1_doubled[16]; /* MXFP4, NVFP4: twice the value */
float dt_e8m0_half(uint8_t code);        /* half of 2^(code - 127) */
/* Of Q4_K and Q5_K: scale and minimum of sub-block j (0..7), 6 bits each, in 12 bytes. */
void dt_k_scale(const uint8_t *packed, int j, uint8_t *scale, uint8_t *minimum);

#define DT_BLOCK_READ(name)  void dt_read_##name(const uint8_t *in, float *out, int64_t blocks);
#define DT_BLOCK_WRITE(name) void dt_write_##name(const float *in, uint8_t *out, int64_t blocks);
DT_BLOCK_READ(q4_0)
DT_BLOCK_READ(q4_1)
DT_BLOCK_READ(q5_0)
DT_BLOCK_READ(q5_1)
DT_BLOCK_READ(q8_0)
DT_BLOCK_READ(q2_k)
DT_BLOCK_READ(q3_k)
DT_BLOCK_READ(q4_k)
DT_BLOCK_READ(q5_k)
DT_BLOCK_READ(q6_k)
DT_BLOCK_READ(iq4_nl)
DT_BLOCK_READ(iq4_xs)
DT_BLOCK_READ(tq1_0)
DT_BLOCK_READ(tq2_0)
DT_BLOCK_READ(mxfp4)
DT_BLOCK_READ(nvfp4)
DT_BLOCK_WRITE(q4_0)
DT_BLOCK_WRITE(q4_1)
DT_BLOCK_WRITE(q5_0)
DT_BLOCK_WRITE(q5_1)
DT_BLOCK_WRITE(q8_0)
DT_BLOCK_WRITE(q4_k)
DT_BLOCK_WRITE(q5_k)
DT_BLOCK_WRITE(q6_k)
DT_BLOCK_WRITE(mxfp4)

#endif
