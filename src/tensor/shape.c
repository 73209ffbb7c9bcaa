/*
 * shape.c - counts and bytes of dense tensors. Sizes may come from hostile files: nothing here wraps.
 */
#include "tensor/shape.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>

dt_shape dt_shape_of(int rank, const int64_t *dims)
{
    dt_shape shape = {.rank = rank};
    for (int i = 0; i < rank && i < DT_MAX_RANK; i++)
        shape.dim[i] = dims[i];
    return shape;
}

bool dt_shape_equal(const dt_shape *a, const dt_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

/* A zero anywhere makes the product zero, but must not hide an absurd neighbour from a later user of its parts. */
bool dt_shape_elements(const dt_shape *shape, int64_t *out)
{
    int64_t elements = 1;
    bool empty = false;
    if (shape->rank < 0 || shape->rank > DT_MAX_RANK)
        return false;
    for (int i = 0; i < shape->rank; i++) {
        int64_t dim = shape->dim[i];
        if (dim < 0 || (dim > 0 && !dt_mul_int64(elements, dim, &elements)))
            return false;
        empty = empty || dim == 0;
    }
    *out = empty ? 0 : elements;
    return true;
}

bool dt_shape_bytes(const dt_shape *shape, dt_dtype dtype, size_t *out)
{
    int64_t elements, bytes;
    int64_t block = dt_dtype_block_elements(dtype);
    int64_t row = shape->rank > 0 && shape->rank <= DT_MAX_RANK ? shape->dim[shape->rank - 1] : 1;
    if (!dt_shape_elements(shape, &elements) || row % block != 0)
        return false;
    if (!dt_mul_int64(elements / block, dt_dtype_block_bytes(dtype), &bytes) || (uint64_t)bytes > SIZE_MAX)
        return false;
    *out = (size_t)bytes;
    return true;
}

dt_shape_text dt_shape_print(const dt_shape *shape)
{
    dt_shape_text out;
    size_t used = (size_t)snprintf(out.text, sizeof out.text, "[");
    for (int i = 0; i < shape->rank && i < DT_MAX_RANK; i++) /* 5 x 22 bytes fit */
        used += (size_t)snprintf(out.text + used, sizeof out.text - used, "%s%" PRId64, i ? ", " : "",
                                 shape->dim[i]);
    snprintf(out.text + used, sizeof out.text - used, "]");
    return out;
}
