/*
 * output.h - files that appear under their final name only when complete.
 *
 * dt_output_open makes PATH.partial-PID (a file) or dt_output_folder a folder of that name; commit syncs and
 * renames it, discard removes it. An existing PATH is replaced only by commit, and only when `replace` is set.
 */
#ifndef DT_BASE_OUTPUT_H
#define DT_BASE_OUTPUT_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dt_output dt_output;

dt_status dt_output_open(dt_output **out, const char *path, bool replace, dt_error *err);
dt_status dt_output_write(dt_output *output, const void *data, size_t bytes, dt_error *err); /* buffered */
dt_status dt_output_write_at(dt_output *output, uint64_t offset, const void *data, size_t bytes,
                             dt_error *err);
uint64_t dt_output_position(const dt_output *output);
dt_status dt_output_commit(dt_output *output, dt_error *err); /* destroys `output`, also on failure */
void dt_output_discard(dt_output *output);                    /* NULL is fine */

typedef struct dt_output_folder dt_output_folder;

dt_status dt_output_folder_create(dt_output_folder **out, const char *path, bool replace, dt_error *err);
const char *dt_output_folder_path(const dt_output_folder *folder);          /* write the files in here */
dt_status dt_output_folder_commit(dt_output_folder *folder, dt_error *err); /* destroys, also on failure */
void dt_output_folder_discard(dt_output_folder *folder);

dt_status dt_make_folder(const char *path, dt_error *err); /* below an output folder; it must not exist */
dt_status dt_copy_file(const char *from, const char *to, dt_error *err);
dt_status dt_remove_tree(const char *path, dt_error *err);
bool dt_is_folder(const char *path);
bool dt_is_file(const char *path);

#endif
