/*
 * isa_avx512.c - the kernels compiled for AVX-512 F, BW, VL and DQ; flags are in sources.cmake.
 */
#define ISA            "avx512"
#define DT_CPU_KERNELS dt_cpu_avx512
#include "backend/cpu/kernels.h"
