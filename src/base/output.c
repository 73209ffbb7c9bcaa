/*
 * output.c - a file that appears under its final name only when complete; folder.c does the same for folders.
 *
 * Bytes go to PATH.partial-PID through one buffer. Commit flushes, syncs, renames and syncs the folder that
 * holds the name, so that after a crash the name stands for the old file or for all of the new one. The first
 * failure is remembered: a caller who ignored it cannot commit half a file.
 */
#include "base/output.h"

#include "base/bundle.h"
#include "base/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20, START_BYTES = 8 << 20 };

struct dt_output {
    char *path;    /* the final name */
    char *partial; /* the name while writing */
    int file;
    bool replace;
    bool failed; /* a write failed; what is in the file is unknown */
    uint64_t position;
    uint64_t started; /* bytes before this are on their way to the disk */
    size_t buffered;
    uint8_t buffer[BUFFER_BYTES];
};

static dt_status check_target(const char *path, bool replace, dt_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) /* lacks: the rest shows when the file is made */
        return DT_OK;
    if (!S_ISREG(info.st_mode)) /* a rename would put a file in the place of /dev/null */
        return dt_fail(err, DT_INVALID, "%s exists and is not a file", path);
    return replace ? DT_OK : dt_partial_exists(path, err);
}

static bool create_file(const char *name, void *context)
{
    int *file = context;
    *file = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return *file >= 0;
}

dt_status dt_output_open(dt_output **out, const char *path, bool replace, dt_error *err)
{
    *out = NULL;
    DT_PASS(check_target(path, replace, err));
    dt_output *output = malloc(sizeof *output);
    if (!output)
        return dt_fail_memory(err, sizeof *output, "an output buffer");
    memset(output, 0, offsetof(dt_output, buffer));
    output->file = -1;
    output->replace = replace;
    output->path = strdup(path);
    dt_status status = output->path
                           ? dt_partial_create(&output->partial, path, create_file, &output->file, err)
                           : dt_fail_memory(err, strlen(path) + 1, "an output's path");
    if (status != DT_OK)
        dt_output_discard(output);
    else
        *out = output;
    return status;
}

/*
 * Let the disk begin with what is written instead of waiting for the sync at the end: a large output is then written
 * while the next part of it is made.
 */
static void start_writing(dt_output *output, uint64_t end)
{
    if (end < output->started + START_BYTES)
        return;
    sync_file_range(output->file, (off_t)output->started, (off_t)(end - output->started),
                    SYNC_FILE_RANGE_WRITE);
    output->started = end; /* only a wish: the sync is what counts */
}

/* pwrite may write less than asked, or be interrupted. */
static dt_status write_all(dt_output *output, uint64_t offset, const uint8_t *data, size_t bytes,
                           dt_error *err)
{
    while (bytes > 0) {
        ssize_t written = pwrite(output->file, data, bytes, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            output->failed = true;
            return dt_fail_errno(err, "cannot write", output->path);
        }
        data += written;
        bytes -= (size_t)written;
        offset += (uint64_t)written;
    }
    return DT_OK;
}

static dt_status flush(dt_output *output, dt_error *err)
{
    size_t bytes = output->buffered;
    output->buffered = 0;
    return write_all(output, output->position - bytes, output->buffer, bytes, err);
}

static dt_status refuse_after_failure(const dt_output *output, dt_error *err)
{
    return output->failed ? dt_fail(err, DT_IO, "an earlier write to %s failed", output->path) : DT_OK;
}

dt_status dt_output_write(dt_output *output, const void *data, size_t bytes, dt_error *err)
{
    DT_PASS(refuse_after_failure(output, err));
    if (bytes > BUFFER_BYTES - output->buffered)
        DT_PASS(flush(output, err));
    if (bytes > BUFFER_BYTES) {
        DT_PASS(write_all(output, output->position, data, bytes, err));
    } else if (bytes > 0) {
        memcpy(output->buffer + output->buffered, data, bytes);
        output->buffered += bytes;
    }
    output->position += bytes;
    start_writing(output, output->position - output->buffered);
    return DT_OK;
}

dt_status dt_output_write_at(dt_output *output, uint64_t offset, const void *data, size_t bytes,
                             dt_error *err)
{
    DT_PASS(refuse_after_failure(output, err));
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return dt_fail(err, DT_LIMIT, "cannot write %s beyond 2^63 bytes", output->path);
    DT_PASS(flush(output, err));
    return write_all(output, offset, data, bytes, err);
}

uint64_t dt_output_position(const dt_output *output)
{
    return output->position;
}

/* Close the file; with `sync`, only after its bytes reached the disk. */
static dt_status close_file(dt_output *output, dt_error *err)
{
    int file = output->file;
    output->file = -1;
    if (fsync(file) != 0 && errno != EINVAL) { /* EINVAL: a file system without sync */
        dt_status status = dt_fail_errno(err, "cannot write", output->path);
        close(file);
        return status;
    }
    return close(file) == 0 ? DT_OK : dt_fail_errno(err, "cannot write", output->path);
}

dt_status dt_output_commit(dt_output *output, dt_error *err)
{
    dt_status status;
    DT_GO(status, refuse_after_failure(output, err));
    DT_GO(status, flush(output, err));
    DT_GO(status, close_file(output, err));
    DT_GO(status, dt_partial_rename(output->partial, output->path, output->replace, err));
    free(output->partial); /* nothing of that name is left to remove */
    output->partial = NULL;
done:
    dt_output_discard(output);
    return status;
}

void dt_output_discard(dt_output *output)
{
    if (!output)
        return;
    if (output->file >= 0)
        close(output->file);
    if (output->partial)
        unlink(output->partial);
    free(output->partial);
    free(output->path);
    free(output);
}

static dt_status copy_bytes(int from, const char *from_path, dt_output *output, dt_error *err)
{
    uint8_t chunk[65536];
    for (;;) {
        ssize_t bytes = read(from, chunk, sizeof chunk);
        if (bytes == 0)
            return DT_OK;
        if (bytes < 0 && errno != EINTR)
            return dt_fail_errno(err, "cannot read", from_path);
        if (bytes > 0)
            DT_PASS(dt_output_write(output, chunk, (size_t)bytes, err));
    }
}

dt_status dt_copy_file(const char *from, const char *to, dt_error *err)
{
    int file = open(from, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return dt_fail_errno(err, "cannot open", from);
    dt_output *output = NULL;
    dt_status status = dt_output_open(&output, to, true, err);
    if (status == DT_OK)
        status = copy_bytes(file, from, output, err);
    close(file);
    if (status == DT_OK)
        return dt_output_commit(output, err);
    dt_output_discard(output);
    return status;
}

bool dt_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool dt_is_file(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return errno == ENOTDIR && dt_bundle_has_file(path);
    return S_ISREG(info.st_mode);
}
