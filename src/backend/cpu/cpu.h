/*
 * cpu.h - the backend for CPUs: own kernels, packed weights, an instruction set chosen at run time.
 */
#ifndef DT_CPU_CPU_H
#define DT_CPU_CPU_H

#include "backend/backend.h"

/* Products in `dtype` with the best instruction set of this machine, or with the one named. NULL in *out when this
 * backend does not compute in `dtype`; DT_UNSUPPORTED when the instruction set is unknown or not here. */
dt_status dt_cpu_backend(const dt_backend **out, dt_dtype dtype, const char *isa, dt_error *err);

/* The fusion pass (fuse.c). */
dt_status dt_cpu_fuse(const dt_backend *backend, dt_graph *g, dt_error *err);

/* ---- what one instruction set offers ---- */

/* Products of weights in one type. */
typedef struct dt_cpu_products {
    dt_kernel linear, fused_linear, linear_dx, expert_linear, expert_linear_dx;
} dt_cpu_products;

enum { DT_CPU_F32, DT_CPU_BF16, DT_CPU_F16, DT_CPU_Q8_0, DT_CPU_TYPES };

typedef struct dt_cpu_kernels {
    const char *isa;
    dt_cpu_products products[DT_CPU_TYPES];
    dt_kernel common[DT_OP_COUNT]; /* run == NULL: not here */
} dt_cpu_kernels;

extern const dt_cpu_kernels dt_cpu_baseline;
#if defined(__x86_64__)
extern const dt_cpu_kernels dt_cpu_avx2, dt_cpu_avx512, dt_cpu_avx512bf16;
#endif

#endif
