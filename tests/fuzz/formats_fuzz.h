/*
 * formats_fuzz.h - what the container targets share: read every tensor of a set as a program would.
 */
#ifndef DT_FORMATS_FUZZ_H
#define DT_FORMATS_FUZZ_H

#include "formats/stored.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Dense in its own type, then as f32 with axes in reverse order: both kinds of copy. */
static inline void read_tensor(const dt_stored_tensor *t)
{
    enum { LIMIT = 1 << 16 };
    size_t bytes = dt_stored_bytes(t);
    int64_t stride[DT_MAX_RANK] = {0}, elements = 0, step = 1;
    if (!dt_shape_elements(&t->shape, &elements) || elements > LIMIT || bytes > 8 * (size_t)LIMIT)
        return;
    for (int axis = 0; axis < t->shape.rank; axis++) {
        stride[axis] = step;
        step *= elements ? t->shape.dim[axis] : 1;
    }
    void *out = malloc(bytes + 4 * (size_t)elements + 1);
    if (!out)
        return;
    dt_stored_read(t, NULL, t->dtype, out, NULL, NULL);
    dt_stored_read(t, NULL, DT_F32, out, stride, NULL);
    dt_stored_drop(t, NULL);
    free(out);
}

static inline void read_all(const dt_stored_set *set)
{
    for (size_t i = 0; i < dt_stored_set_count(set) && i < 64; i++)
        read_tensor(dt_stored_set_at(set, i));
}

#endif
