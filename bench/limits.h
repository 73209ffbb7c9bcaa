/*
 * limits.h - what the machine can do, measured in the same run as what is compared with it.
 */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <stddef.h>

double bench_seconds(void); /* this thread's own time: what others did on its core meanwhile is not counted */

/* Rates of this thread's core, measured for about `seconds`. 0 = the machine lacks the instruction. */
double bench_peak_f32(double seconds);  /* multiply-adds of f32 from registers, FLOP/s */
double bench_peak_bf16(double seconds); /* dot products of pairs of bf16, FLOP/s */
double bench_peak_int8(double seconds); /* dot products of quads of bytes, OP/s */
double bench_read(const void *data, size_t bytes,
                  double seconds); /* reading `data` again and again, bytes/s */

#endif
