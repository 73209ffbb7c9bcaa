/*
 * backend.c - backends by name. Each keeps its own table; this file only knows who there is.
 */
#include "backend/backend.h"
#include "backend/reference/reference.h"

#include <string.h>

dt_status dt_backend_find(const dt_backend **out, const char *name, dt_dtype dtype, const char *isa,
                          dt_error *err)
{
    *out = NULL;
    if (strcmp(name, "reference") == 0) {
        if (isa != NULL && strcmp(isa, "baseline") != 0)
            return dt_fail(err, DT_UNSUPPORTED, "backend \"reference\" knows no instruction set \"%s\"", isa);
        *out = dt_reference_backend(dtype);
    } else {
        return dt_fail(err, DT_UNSUPPORTED, "there is no backend \"%s\"; there are \"reference\" and \"cpu\"",
                       name);
    }
    if (*out == NULL)
        return dt_fail(err, DT_UNSUPPORTED,
                       "backend \"%s\" does not compute products in %s; it does in f32, bf16, f16, q8_0",
                       name, dt_dtype_name(dtype));
    return DT_OK;
}
