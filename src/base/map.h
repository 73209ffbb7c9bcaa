/*
 * map.h - a file's bytes, mapped read-only.
 *
 * Bytes are valid until dt_map_close. A file that shrinks under a mapping raises SIGBUS in any program; the
 * readers therefore check sizes once, at open. Thread-safe for reading.
 */
#ifndef DT_BASE_MAP_H
#define DT_BASE_MAP_H

#include "base/fail.h"

#include <stddef.h>
#include <stdint.h>

typedef struct dt_map {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
    const char *path;  /* owned copy, for messages */
    const void *whole; /* of an entry of a bundle: what is mapped; else NULL */
    size_t whole_size;
} dt_map;

/* Also of an entry of a bundle, "FILE/NAME" (bundle.h). */
dt_status dt_map_open(dt_map *map, const char *path, dt_error *err);
void dt_map_close(dt_map *map); /* zeroed struct is fine */

/* Tell the kernel that a range will be read soon, or is no longer needed (its pages leave our residency). */
void dt_map_will_need(const dt_map *map, size_t offset, size_t bytes);
void dt_map_drop(const dt_map *map, size_t offset, size_t bytes);

#endif
