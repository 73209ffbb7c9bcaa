/*
 * shape.h - sizes of dense row-major tensors, with checked arithmetic (sizes come from files).
 */
#ifndef DT_TENSOR_SHAPE_H
#define DT_TENSOR_SHAPE_H

#include "base/fail.h"

#include <drivetrain/dtype.h>

#include <stddef.h>
#include <stdint.h>

enum { DT_MAX_RANK = 5 };

typedef struct dt_shape {
    int rank; /* 0 = a scalar: one element */
    int64_t dim[DT_MAX_RANK];
} dt_shape;

dt_shape dt_shape_of(int rank, const int64_t *dims);
bool dt_shape_equal(const dt_shape *a, const dt_shape *b);
bool dt_shape_elements(const dt_shape *shape, int64_t *out); /* false: negative or too large */

/* Bytes of a dense tensor. false: overflow, or the last dimension is not a multiple of the type's block. */
bool dt_shape_bytes(const dt_shape *shape, dt_dtype dtype, size_t *out);

/* "[3, 8, 32]" for messages. */
typedef struct dt_shape_text {
    char text[128];
} dt_shape_text;
dt_shape_text dt_shape_print(const dt_shape *shape);

#endif
