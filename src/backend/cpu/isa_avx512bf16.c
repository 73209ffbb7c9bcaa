/*
 * isa_avx512bf16.c - the kernels compiled for AVX-512 with the bf16 and byte dot products (BF16, VNNI); flags are in sources.cmake.
 */
#define ISA            "avx512bf16"
#define DT_CPU_KERNELS dt_cpu_avx512bf16
#include "backend/cpu/kernels.h"
