/*
 * bundle.h - many named files in one, mapped: what an engine is kept in.
 *
 *   bytes 0-63   "drivebnd", u32 version 1, u32 0, u64 offset and u64 bytes of the index, zeros; little endian
 *   entries      each begins on 64 bytes
 *   index        JSON, last: [["name", offset, bytes], …] in the order of offsets
 *
 * Other files of this floor see the entries as files of a folder: dt_map_open, dt_is_file and dt_json_load take
 * "model.engine/tokenizer.json".
 */
#ifndef DT_BASE_BUNDLE_H
#define DT_BASE_BUNDLE_H

#include "base/fail.h"
#include "base/map.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct dt_bundle dt_bundle;

bool dt_bundle_is(const char *path); /* a regular file that begins like one */
dt_status dt_bundle_open(dt_bundle **out, const char *path, dt_error *err);
/* The same for bytes in memory, which the caller keeps alive: tests and fuzzing. */
dt_status dt_bundle_of_memory(dt_bundle **out, const void *data, size_t bytes, dt_error *err);
void dt_bundle_close(dt_bundle *bundle); /* unmaps; NULL is fine */

/* An entry's bytes, 64-byte aligned in the map; NULL when there is none of that name. An empty one is not NULL. */
const void *dt_bundle_find(const dt_bundle *bundle, const char *name, size_t *bytes);
const char *dt_bundle_name(const dt_bundle *bundle, size_t index); /* NULL past the end */

/* "FILE/NAME", where FILE is a bundle. What map.c and output.c call for a path that is no file of its own. */
bool dt_bundle_has_file(const char *path);
dt_status dt_bundle_map_file(dt_map *map, const char *path, dt_error *err);

typedef struct dt_bundle_writer dt_bundle_writer;

/* The file appears under its name when committed (output.h). */
dt_status dt_bundle_create(dt_bundle_writer **out, const char *path, bool replace, dt_error *err);
/* Start an entry; what is written then is its. Errors: DT_INVALID a name that was given before. */
dt_status dt_bundle_begin(dt_bundle_writer *writer, const char *name, dt_error *err);
dt_status dt_bundle_write(dt_bundle_writer *writer, const void *data, size_t bytes, dt_error *err);
dt_status dt_bundle_commit(dt_bundle_writer *writer, dt_error *err); /* destroys, also on failure */
void dt_bundle_discard(dt_bundle_writer *writer);                    /* NULL is fine */

#endif
