/* recordings.h - small recordings written by a test: named i32 and f32 tensors with the metadata a reader wants. */
#ifndef DT_UNIT_RECORDINGS_H
#define DT_UNIT_RECORDINGS_H

#include "unit.h"

#include "formats/safetensors/safetensors.h"

typedef struct recorded {
    const char *name;
    dt_dtype dtype;
    dt_shape shape;
    const void *data;
} recorded;

#define INTS(name, rows, cols, ...)                                                                          \
    ((recorded){name, DT_I32, {2, {rows, cols}}, (const int32_t[]){__VA_ARGS__}})
#define LENGTHS(name, rows, ...) ((recorded){name, DT_I32, {1, {rows}}, (const int32_t[]){__VA_ARGS__}})

static inline void write_recording(const char *path, const recorded *tensor, size_t count, const char *format)
{
    dt_error err = {0};
    dt_safetensors_entry entry[16];
    dt_safetensors_writer *writer;
    const char *notes[] = {"format", format, "source",  "a test",
                           "dtype",  "f32",  "options", "{\"eos_token_ids\": [1]}"};
    for (size_t i = 0; i < count; i++)
        entry[i] = (dt_safetensors_entry){tensor[i].name, tensor[i].dtype, tensor[i].shape};
    assert_ok(dt_safetensors_create(&writer, path, true, entry, count, notes, 4, &err), err);
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        assert_true(dt_shape_bytes(&tensor[i].shape, tensor[i].dtype, &bytes));
        assert_ok(dt_safetensors_write(writer, i, tensor[i].data, bytes, &err), err);
    }
    assert_ok(dt_safetensors_commit(writer, &err), err);
}

#endif
