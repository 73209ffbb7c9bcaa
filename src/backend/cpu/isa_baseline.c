/*
 * isa_baseline.c - the kernels compiled for any machine: the compiler's own vectors, four lanes at a time; flags are in sources.cmake.
 */
#define ISA            "baseline"
#define DT_CPU_KERNELS dt_cpu_baseline
#include "backend/cpu/kernels.h"
