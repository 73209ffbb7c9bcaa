/*
 * reference.h - the backend that is one plain function per op, f64 inside and f32 between ops.
 */
#ifndef DT_BACKEND_REFERENCE_H
#define DT_BACKEND_REFERENCE_H

#include "backend/backend.h"

/* Holding the weights of products in `dtype` (f32, bf16, f16, q8_0); NULL for any other. */
const dt_backend *dt_reference_backend(dt_dtype dtype);

#endif
