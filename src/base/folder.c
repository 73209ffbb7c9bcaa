/*
 * folder.c - a folder that appears under its final name only when complete, and removing trees.
 *
 * Files are written into PATH.partial-PID by whoever fills it. Commit syncs them and renames the folder. To replace
 * an existing folder the two names are exchanged in one step where the system can, and the old one removed.
 */
#include "base/output.h"

#include "base/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_FOLDERS = 16 }; /* that nftw keeps open while it walks */

struct dt_output_folder {
    char *path;
    char *partial;
    bool replace;
};

static char *without_trailing_slashes(const char *path)
{
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    return strndup(path, bytes);
}

static bool create_folder(const char *name, void *context)
{
    (void)context;
    return mkdir(name, 0777) == 0;
}

static dt_status check_target(const char *path, bool replace, dt_error *err)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return DT_OK;
    if (!replace)
        return dt_partial_exists(path, err);
    return S_ISDIR(info.st_mode) ? DT_OK : dt_fail(err, DT_INVALID, "%s exists and is not a folder", path);
}

static void free_folder(dt_output_folder *folder)
{
    free(folder->path);
    free(folder->partial);
    free(folder);
}

dt_status dt_output_folder_create(dt_output_folder **out, const char *path, bool replace, dt_error *err)
{
    *out = NULL;
    dt_output_folder *folder = calloc(1, sizeof *folder);
    if (!folder || !(folder->path = without_trailing_slashes(path))) {
        free(folder);
        return dt_fail_memory(err, strlen(path) + 1, "an output's path");
    }
    folder->replace = replace;
    dt_status status;
    DT_GO(status, check_target(folder->path, replace, err));
    DT_GO(status, dt_partial_create(&folder->partial, folder->path, create_folder, NULL, err));
    *out = folder;
    return DT_OK;
done:
    free_folder(folder);
    return status;
}

const char *dt_output_folder_path(const dt_output_folder *folder)
{
    return folder->partial;
}

static int sync_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)walk;
    if (kind != FTW_F && kind != FTW_DP)
        return 0;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return -1;
    int result = fsync(file) == 0 || errno == EINVAL ? 0 : -1;
    int failure = errno;
    close(file);
    errno = failure;
    return result;
}

/* Put the new folder in the old one's place. Afterwards what was there is called `partial`. */
static dt_status exchange(const dt_output_folder *folder, dt_error *err)
{
    if (renameat2(AT_FDCWD, folder->partial, AT_FDCWD, folder->path, RENAME_EXCHANGE) == 0)
        return dt_remove_tree(folder->partial, err);
    if (errno != EINVAL && errno != ENOSYS)
        return dt_fail_errno(err, "cannot replace", folder->path);
    /* Without an exchange there is a moment when no folder has the name; the old one survives beside it. */
    size_t bytes = strlen(folder->partial) + sizeof ".old";
    char *old = malloc(bytes);
    if (!old)
        return dt_fail_memory(err, bytes, "an output's path");
    snprintf(old, bytes, "%s.old", folder->partial);
    dt_status status = DT_OK;
    if (rename(folder->path, old) != 0) {
        status = dt_fail_errno(err, "cannot replace", folder->path);
    } else if (rename(folder->partial, folder->path) != 0) {
        status = dt_fail_errno(err, "cannot replace", folder->path);
        rename(old, folder->path);
    } else {
        status = dt_remove_tree(old, err);
    }
    free(old);
    return status;
}

dt_status dt_output_folder_commit(dt_output_folder *folder, dt_error *err)
{
    dt_status status = DT_OK;
    if (nftw(folder->partial, sync_entry, OPEN_FOLDERS, FTW_PHYS | FTW_DEPTH) != 0)
        DT_GO(status, dt_fail_errno(err, "cannot write", folder->path));
    if (folder->replace && dt_is_folder(folder->path))
        DT_GO(status, exchange(folder, err));
    else
        DT_GO(status, dt_partial_rename(folder->partial, folder->path, false, err));
    free_folder(folder);
    return DT_OK;
done:
    dt_output_folder_discard(folder);
    return status;
}

dt_status dt_make_folder(const char *path, dt_error *err)
{
    return mkdir(path, 0777) == 0 ? DT_OK : dt_fail_errno(err, "cannot create the folder", path);
}

void dt_output_folder_discard(dt_output_folder *folder)
{
    if (!folder)
        return;
    dt_remove_tree(folder->partial, NULL);
    free_folder(folder);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

/* Symbolic links are removed, never followed. */
dt_status dt_remove_tree(const char *path, dt_error *err)
{
    if (nftw(path, remove_entry, OPEN_FOLDERS, FTW_PHYS | FTW_DEPTH) != 0)
        return dt_fail_errno(err, "cannot remove", path);
    return DT_OK;
}
