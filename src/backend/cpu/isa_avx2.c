/*
 * isa_avx2.c - the kernels compiled for AVX2, FMA and F16C; flags are in sources.cmake.
 */
#define ISA            "avx2"
#define DT_CPU_KERNELS dt_cpu_avx2
#include "backend/cpu/kernels.h"
