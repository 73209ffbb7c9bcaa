/*
 * partial.c - names of unfinished files and folders, and the rename that ends them.
 */
#include "base/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PARTIALS = 1000 }; /* of one name, in one process */

dt_status dt_partial_exists(const char *path, dt_error *err)
{
    dt_status status = dt_fail(err, DT_INVALID, "%s exists already", path);
    dt_error_try(err, "another name, or --force to replace it");
    return status;
}

dt_status dt_partial_create(char **name, const char *path, bool (*create)(const char *name, void *context),
                            void *context, dt_error *err)
{
    *name = NULL;
    size_t bytes = strlen(path) + 48;
    char *trial = malloc(bytes);
    if (!trial)
        return dt_fail_memory(err, bytes, "an output's path");
    for (int i = 0; i < MOST_PARTIALS; i++) {
        int length = snprintf(trial, bytes, "%s.partial-%ld", path, (long)getpid());
        if (i > 0)
            snprintf(trial + length, bytes - (size_t)length, "-%d", i);
        if (create(trial, context)) {
            *name = trial;
            return DT_OK;
        }
        if (errno != EEXIST)
            break;
    }
    free(trial);
    return dt_fail_errno(err, "cannot create", path);
}

/* A name lasts once the folder that holds it is on disk. */
static void sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    int folder = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (folder >= 0) {
        fsync(folder); /* not every file system can; the rename itself is done */
        close(folder);
    }
    free(parent);
}

static int rename_without_replacing(const char *partial, const char *path)
{
    int result = renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE);
    if (result == 0 || (errno != EINVAL && errno != ENOSYS))
        return result;
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) { /* the best an old file system offers */
        errno = EEXIST;
        return -1;
    }
    return rename(partial, path);
}

dt_status dt_partial_rename(const char *partial, const char *path, bool replace, dt_error *err)
{
    if ((replace ? rename(partial, path) : rename_without_replacing(partial, path)) != 0)
        return errno == EEXIST ? dt_partial_exists(path, err) : dt_fail_errno(err, "cannot create", path);
    sync_parent(path);
    return DT_OK;
}
