/*
 * vec.h - vectors of sixteen floats, the same for every instruction set.
 *
 * A kernel is written once, for 16 lanes; this header makes a lane-for-lane equal `vf` out of one AVX-512 register,
 * two AVX2 registers, or four of the compiler's own vectors of four. Sums across lanes use one tree everywhere.
 * v_fma is fused where the machine can, so results are reproducible for one instruction set, not across them.
 * Every file that includes this is compiled for one instruction set (sources.cmake), and everything here is static.
 *
 * Also here: what follows from the register count - how large a tile of a product may be.
 */
#ifndef DT_CPU_VEC_H
#define DT_CPU_VEC_H

#include "tensor/convert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE __attribute__((always_inline)) inline
#define UNROLL _Pragma("GCC unroll 16")

/*
 * Sizes of register tiles. AVX-512 has 32 registers: 14 x 2 sums, 2 weights, 1 broadcast; with bytes 6 x 2 integer and
 * 6 x 2 float sums. The others have 16, of which a panel takes two (AVX2) or four.
 */
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define V_DOT_BF16 1
#define V_DOT_INT8 1
#else
#define V_DOT_BF16 0
#define V_DOT_INT8 0
#endif

/* Turning sixteen vectors is worth it where they are registers, and the rows of a tile are nearly as many. */
#if defined(__AVX512F__)
#define V_TURNS 1
#else
#define V_TURNS 0
#endif

#if !V_DOT_INT8
/* Four bytes of an activation where there is no byte dot product: 0 and 2, 1 and 3, each pair widened to 16 bits. */
typedef struct v_quad {
    int32_t even, odd;
} v_quad;
static INLINE int32_t v_make_pair(int8_t low, int8_t high)
{
    return (int32_t)((uint32_t)(uint16_t)low | (uint32_t)(uint16_t)high << 16);
}
static INLINE v_quad v_make_quad(const int8_t *a)
{
    return (v_quad){v_make_pair(a[0], a[2]), v_make_pair(a[1], a[3])};
}
#endif

#if defined(__AVX512F__)
enum { TILE_ROWS = 14, TILE_PANELS = 2, TILE_ROWS_Q8 = 6, ATTEND_ROWS = 6, ATTEND_PANELS = 4 };
#define EACH_TILE_ROW(F)    F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14)
#define EACH_TILE_ROW_Q8(F) F(1) F(2) F(3) F(4) F(5) F(6)
#define EACH_ATTEND_ROW(F)  F(1) F(2) F(3) F(4) F(5) F(6)
#include "backend/cpu/vec_512.h"
#elif defined(__AVX2__)
enum { TILE_ROWS = 6, TILE_PANELS = 1, TILE_ROWS_Q8 = 2, ATTEND_ROWS = 6, ATTEND_PANELS = 1 };
#define EACH_TILE_ROW(F)    F(1) F(2) F(3) F(4) F(5) F(6)
#define EACH_TILE_ROW_Q8(F) F(1) F(2)
#define EACH_ATTEND_ROW(F)  F(1) F(2) F(3) F(4) F(5) F(6)
#include "backend/cpu/vec_split.h"
#else
enum { TILE_ROWS = 3, TILE_PANELS = 1, TILE_ROWS_Q8 = 1, ATTEND_ROWS = 3, ATTEND_PANELS = 1 };
#define EACH_TILE_ROW(F)    F(1) F(2) F(3)
#define EACH_TILE_ROW_Q8(F) F(1)
#define EACH_ATTEND_ROW(F)  F(1) F(2) F(3)
#include "backend/cpu/vec_split.h"
#endif

/* Lanes i with low <= i < high. */
static INLINE vm v_between(int64_t low, int64_t high)
{
    float from = (float)(low < -1 ? -1 : low > 17 ? 17 : low) - 0.5f;
    float to = (float)(high < -1 ? -1 : high > 17 ? 17 : high) - 0.5f;
    return v_both(v_less(v_set(from), v_iota()), v_less(v_iota(), v_set(to)));
}

#endif
