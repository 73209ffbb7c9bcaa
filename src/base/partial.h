/*
 * partial.h - the names that output.c and folder.c write under until a result is complete, and the last step.
 */
#ifndef DT_BASE_PARTIAL_H
#define DT_BASE_PARTIAL_H

#include "base/fail.h"

#include <stdbool.h>

/* "PATH exists already", with the way out. */
dt_status dt_partial_exists(const char *path, dt_error *err);

/*
 * Find a free name PATH.partial-PID[-N] by calling `create` until it succeeds or fails for another reason than
 * EEXIST. *name is the caller's to free.
 */
dt_status dt_partial_create(char **name, const char *path, bool (*create)(const char *name, void *context),
                            void *context, dt_error *err);

/* Give `partial` its final name, and make the name last. An existing file is replaced only with `replace`. */
dt_status dt_partial_rename(const char *partial, const char *path, bool replace, dt_error *err);

#endif
