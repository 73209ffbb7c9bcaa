/*
 * backend.c - backends by name. Each keeps its own table; this file only knows who there is.
 */
#include "backend/backend.h"
#include "backend/reference/reference.h"

#include <string.h>

/* A build without src/backend/cpu has only the reference. cpu.h declares
 * dt_status dt_cpu_backend(const dt_backend **out, dt_dtype dtype, const char *isa, dt_error *err). */
#if __has_include("backend/cpu/cpu.h")
#include "backend/cpu/cpu.h"
#define HAS_CPU 1
#else
#define HAS_CPU 0
#endif

static dt_status find_reference(const dt_backend **out, dt_dtype dtype, const char *isa, dt_error *err)
{
    if (isa != NULL && strcmp(isa, "baseline") != 0)
        return dt_fail(err, DT_UNSUPPORTED, "backend \"reference\" knows no instruction set \"%s\"", isa);
    *out = dt_reference_backend(dtype);
    if (*out == NULL)
        return dt_fail(err, DT_UNSUPPORTED,
                       "backend \"reference\" computes no products in %s, but in f32, bf16, f16, q8_0",
                       dt_dtype_name(dtype));
    return DT_OK;
}

dt_status dt_backend_find(const dt_backend **out, const char *name, dt_dtype dtype, const char *isa,
                          dt_error *err)
{
    *out = NULL;
    if (strcmp(name, "reference") == 0)
        return find_reference(out, dtype, isa, err);
#if HAS_CPU
    if (strcmp(name, "cpu") == 0)
        return dt_cpu_backend(out, dtype, isa, err);
#endif
    return dt_fail(err, DT_UNSUPPORTED, "there is no backend \"%s\"; there are %s", name,
                   HAS_CPU ? "\"cpu\" and \"reference\"" : "\"reference\"");
}
