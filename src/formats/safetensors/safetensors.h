/*
 * safetensors.h - the safetensors container: u64 header length, JSON header, one flat buffer.
 *
 * Reading is strict, as the format asks: the tensors tile the buffer without hole, overlap or trailing byte. A
 * type that drivetrain lacks (C64, F4, …) is listed and fails only when read. Writing gives the bytes that the
 * makers' library gives for the same tensors: sorted by type then name, data 8-byte aligned.
 */
#ifndef DT_FORMATS_SAFETENSORS_H
#define DT_FORMATS_SAFETENSORS_H

#include "formats/stored.h"

#include <stddef.h>

/* Add one file's tensors and notes to the set. */
dt_status dt_safetensors_read(dt_stored_set *set, const char *path, dt_error *err);
/* The same, `before` put before every name: files of ranks that call their tensors alike. */
dt_status dt_safetensors_read_as(dt_stored_set *set, const char *path, const char *before, dt_error *err);
/* The same for a map that the set has. */
dt_status dt_safetensors_read_map(dt_stored_set *set, const dt_map *map, dt_error *err);
/*
 * Read model.safetensors.index.json and the shards that it names, from its own folder. A tensor that the index
 * places in another shard is left out; one that it does not mention is kept; one that its shard lacks is an error.
 */
dt_status dt_safetensors_read_index(dt_stored_set *set, const char *index_path, dt_error *err);

typedef struct dt_safetensors_entry {
    const char *name;
    dt_dtype dtype;
    dt_shape shape;
} dt_safetensors_entry;

typedef struct dt_safetensors_writer dt_safetensors_writer;

/*
 * Start a file with its complete list of tensors. notes holds note_count pairs key, value ({"format", "pt"}),
 * written in the order given. Entries are copied.
 * Errors: DT_INVALID a name twice or unfit; DT_UNSUPPORTED a type without a safetensors name.
 */
dt_status dt_safetensors_create(dt_safetensors_writer **out, const char *path, bool replace,
                                const dt_safetensors_entry *entry, size_t count, const char *const *notes,
                                size_t note_count, dt_error *err);
/* The entry (index into the list given) that lies at `place` in the file: writing in this order is sequential. */
size_t dt_safetensors_order(const dt_safetensors_writer *writer, size_t place);
/* Append bytes to tensor `index`: any number of pieces of any size, tensors in any order. */
dt_status dt_safetensors_write(dt_safetensors_writer *writer, size_t index, const void *data, size_t bytes,
                               dt_error *err);
/* Finish; destroys the writer, also on failure. DT_INVALID names a tensor that lacks bytes. */
dt_status dt_safetensors_commit(dt_safetensors_writer *writer, dt_error *err);
void dt_safetensors_discard(dt_safetensors_writer *writer); /* NULL is fine */

/* The writer's size in bytes when complete, known from the start. */
uint64_t dt_safetensors_file_bytes(const dt_safetensors_writer *writer);

#endif
