/*
 * map.c - maps whole files read-only. What the bytes mean, and whether they make sense, is the reader's.
 */
#include "base/map.h"

#include "base/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The size of an open regular file. A folder, a pipe or a device has no bytes to map. */
static dt_status file_size(int file, const char *path, size_t *out, dt_error *err)
{
    struct stat info;
    if (fstat(file, &info) != 0)
        return dt_fail_errno(err, "cannot examine", path);
    if (!S_ISREG(info.st_mode))
        return dt_fail(err, DT_INVALID, "%s is %s, not a file", path,
                       S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    *out = (size_t)info.st_size;
    return DT_OK;
}

static dt_status map_bytes(dt_map *map, int file, const char *path, dt_error *err)
{
    DT_PASS(file_size(file, path, &map->size, err));
    if (map->size > 0) {
        void *data = mmap(NULL, map->size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED)
            return dt_fail_errno(err, "cannot map", path);
        map->data = data;
    }
    map->path = strdup(path);
    return map->path ? DT_OK : dt_fail_memory(err, strlen(path) + 1, "a file's path");
}

dt_status dt_map_open(dt_map *map, const char *path, dt_error *err)
{
    memset(map, 0, sizeof *map);
    /* O_NONBLOCK: opening a pipe that nobody writes to must fail below instead of waiting here. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0 && errno == ENOTDIR && dt_bundle_has_file(path))
        return dt_bundle_map_file(map, path, err);
    if (file < 0)
        return dt_fail_errno(err, "cannot open", path);
    dt_status status = map_bytes(map, file, path, err);
    close(file);
    if (status != DT_OK)
        dt_map_close(map);
    return status;
}

void dt_map_close(dt_map *map)
{
    if (!map)
        return;
    if (map->whole)
        munmap((void *)map->whole, map->whole_size);
    else if (map->data)
        munmap((void *)map->data, map->size);
    free((void *)map->path);
    memset(map, 0, sizeof *map);
}

static void advise(const dt_map *map, size_t begin, size_t end, int advice)
{
    if (begin < end)
        madvise((void *)(map->data + begin), end - begin, advice); /* only advice: failure changes nothing */
}

static size_t range_end(const dt_map *map, size_t offset, size_t bytes)
{
    return offset > map->size || bytes > map->size - offset ? map->size : offset + bytes;
}

void dt_map_will_need(const dt_map *map, size_t offset, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    advise(map, offset / page * page, range_end(map, offset, bytes), MADV_WILLNEED);
}

/* Only pages wholly inside the range go: those at its edges belong to neighbours too. */
void dt_map_drop(const dt_map *map, size_t offset, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t end = range_end(map, offset, bytes);
    size_t begin = offset / page * page + (offset % page ? page : 0);
    advise(map, begin, end == map->size ? end : end / page * page, MADV_DONTNEED);
}
