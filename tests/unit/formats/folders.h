/*
 * folders.h - models to test on: the golden ones of this tree, and the larger set where DT_FIXTURES has it.
 */
#ifndef DT_UNIT_FORMATS_FOLDERS_H
#define DT_UNIT_FORMATS_FOLDERS_H

#include "unit.h"

#include <drivetrain/checkpoint.h>

/* "ROOT/NAME" of the fixtures, else of the golden files; skips the test when neither has it. */
static inline const char *model_folder(char out[4096], const char *name)
{
    const char *roots[] = {getenv("DT_FIXTURES"), getenv("DT_GOLDEN")};
    for (int i = 0; i < 2; i++) {
        snprintf(out, 4096, "%s/%s", roots[i] ? roots[i] : "?", name);
        if (dt_is_folder(out))
            return out;
    }
    return NULL;
}

#define require_model(name)                                                                                  \
    (model_folder((char[4096]){0}, (name)) ? model_folder((char[4096]){0}, (name))                           \
                                           : (skip(), (const char *)NULL))

static inline dt_checkpoint *open_model(const char *path, const dt_open_options *options)
{
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    assert_ok(dt_checkpoint_open(&c, path, options, &err), err);
    return c;
}

/* All of a canonical tensor as f32; freed by the caller. */
static inline float *read_all(const dt_checkpoint *c, const char *name, int64_t *elements)
{
    int64_t dim[5];
    int rank;
    dt_error err = {0};
    assert_ok(dt_checkpoint_shape(c, name, &rank, dim, NULL, &err), err);
    *elements = dim[0] * (rank == 2 ? dim[1] : 1);
    float *data = malloc(sizeof *data * (size_t)*elements);
    assert_non_null(data);
    assert_ok(dt_checkpoint_read(c, name, 0, dim[0], DT_F32, data, &err), err);
    return data;
}

#endif
