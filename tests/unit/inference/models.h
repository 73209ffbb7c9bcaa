/*
 * models.h - models and recorded numbers for the tests of this floor: from the shared fixtures, else from tests/golden.
 */
#ifndef DT_UNIT_INFERENCE_MODELS_H
#define DT_UNIT_INFERENCE_MODELS_H

#include "unit.h"

#include "backend/backend.h"
#include "formats/safetensors/safetensors.h"
#include "formats/stored.h"

#include <drivetrain/inference.h>

/* Path of a fixture ("hf/llama") in `path`; NULL when this machine does not have it. */
static inline const char *find_fixture(char path[4096], const char *name)
{
    static const char *const place[] = {"DT_FIXTURES", "DT_GOLDEN"};
    for (size_t i = 0; i < 2; i++) {
        const char *folder = getenv(place[i]);
        snprintf(path, 4096, "%s/%s", folder ? folder : "", name);
        if (folder && access(path, R_OK) == 0)
            return path;
    }
    return NULL;
}

#define fixture(name) find_fixture((char[4096]){0}, (name))

/* Is the backend of this name in the library? */
static inline bool have_backend(const char *name)
{
    const dt_backend *backend;
    return dt_backend_find(&backend, name, DT_F32, NULL, NULL) == DT_OK;
}

/* Skip the test where the fixture is absent. */
#define need(path)                                                                                           \
    do {                                                                                                     \
        if (!(path))                                                                                         \
            skip();                                                                                          \
    } while (0)

static inline dt_model *open_model(const char *path, const char *backend, const char *dtype, int threads)
{
    dt_error err = {0};
    dt_model *model;
    dt_model_options options = {.backend = backend, .dtype = dtype, .threads = threads};
    assert_ok(dt_model_open(&model, path, &options, &err), err);
    return model;
}

typedef struct tensors {
    dt_stored_set *set;
} tensors;

static inline tensors open_tensors(const char *path)
{
    dt_error err = {0};
    tensors t;
    assert_ok(dt_stored_set_create(&t.set, &err), err);
    assert_ok(dt_safetensors_read(t.set, path, &err), err);
    return t;
}

/* A tensor in `dtype`, malloc'ed; dims into dim[5]. NULL when there is none. */
static inline void *read_tensor(tensors t, const char *name, dt_dtype dtype, int64_t dim[5])
{
    dt_error err = {0};
    const dt_stored_tensor *tensor = dt_stored_set_find(t.set, name);
    int64_t count = 1;
    if (!tensor)
        return NULL;
    for (int i = 0; i < tensor->shape.rank; i++)
        count *= dim[i] = tensor->shape.dim[i];
    void *data = malloc((size_t)count * (size_t)dt_dtype_block_bytes(dtype) + 1);
    assert_non_null(data);
    assert_ok(dt_stored_read(tensor, NULL, dtype, data, NULL, &err), err);
    return data;
}

static inline double largest_difference(const float *a, const float *b, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        d = d < 0 ? -d : d;
        most = d > most || d != d ? d : most;
    }
    return most;
}

#endif
