/*
 * bundle.c - reads and writes the container of bundle.h. What the entries mean is their readers' business.
 */
#include "base/bundle.h"

#include "base/arena.h"
#include "base/checked.h"
#include "base/json.h"
#include "base/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER_BYTES = 64, ALIGNMENT = 64, VERSION = 1, INDEX_LIMIT = 64 << 20, NAME_BYTES = 1024 };

static const char magic[8] = "drivebnd";

typedef struct entry {
    const char *name; /* the index's own text */
    uint64_t offset, bytes;
} entry;

struct dt_bundle {
    dt_map map;
    bool borrowed;
    json_t *index;
    entry *list; /* sorted by name */
    size_t count;
};

/* ---- reading ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static dt_status read_entry(const dt_bundle *b, const json_t *item, uint64_t *end, entry *out, dt_error *err)
{
    const json_t *name = json_array_get(item, 0), *offset = json_array_get(item, 1),
                 *bytes = json_array_get(item, 2);
    if (!json_is_string(name) || !json_is_integer(offset) || !json_is_integer(bytes) ||
        json_integer_value(offset) < 0 || json_integer_value(bytes) < 0)
        return dt_fail(err, DT_FORMAT, "an entry of the index is not [\"name\", offset, bytes]");
    *out = (entry){json_string_value(name), (uint64_t)json_integer_value(offset),
                   (uint64_t)json_integer_value(bytes)};
    if (out->offset < *end || out->offset % ALIGNMENT ||
        !dt_range_inside(out->offset, out->bytes, b->map.size))
        return dt_fail(err, DT_FORMAT,
                       "entry \"%s\" at [%" PRIu64 ", +%" PRIu64
                       ") overlaps another, is not on %d bytes, or is outside "
                       "the %zu bytes of the file",
                       out->name, out->offset, out->bytes, ALIGNMENT, b->map.size);
    *end = out->offset + out->bytes;
    return DT_OK;
}

static dt_status read_index(dt_bundle *b, uint64_t offset, uint64_t bytes, dt_error *err)
{
    uint64_t end = HEADER_BYTES;
    if (bytes > INDEX_LIMIT || !dt_range_inside(offset, bytes, b->map.size))
        return dt_fail(err, DT_FORMAT,
                       "the index at [%" PRIu64 ", +%" PRIu64 ") is outside the %zu bytes of the file",
                       offset, bytes, b->map.size);
    DT_PASS(dt_json_parse(&b->index, (const char *)b->map.data + offset, (size_t)bytes, "the index", err));
    if (!json_is_array(b->index))
        return dt_fail(err, DT_FORMAT, "the index is no list");
    size_t count = json_array_size(b->index);
    if (!(b->list = calloc(count + 1, sizeof *b->list)))
        return dt_fail_memory(err, count * sizeof *b->list, "an index");
    for (; b->count < count; b->count++)
        DT_PASS(read_entry(b, json_array_get(b->index, b->count), &end, &b->list[b->count], err));
    qsort(b->list, count, sizeof *b->list, by_name);
    for (size_t i = 1; i < count; i++)
        if (strcmp(b->list[i - 1].name, b->list[i].name) == 0)
            return dt_fail(err, DT_FORMAT, "two entries are called \"%s\"", b->list[i].name);
    return DT_OK;
}

static uint64_t number_at(const uint8_t *data, size_t bytes)
{
    uint64_t n = 0;
    while (bytes-- > 0)
        n = n << 8 | data[bytes];
    return n;
}

static dt_status read_bundle(dt_bundle *b, dt_error *err)
{
    const uint8_t *data = b->map.data;
    if (b->map.size < HEADER_BYTES || memcmp(data, magic, sizeof magic) != 0)
        return dt_fail(err, DT_FORMAT, "not a bundle: it does not begin with \"%.8s\"", magic);
    if (number_at(data + 8, 4) != VERSION)
        return dt_fail(err, DT_UNSUPPORTED, "a bundle of version %" PRIu64 ", this drivetrain reads %d",
                       number_at(data + 8, 4), VERSION);
    return read_index(b, number_at(data + 16, 8), number_at(data + 24, 8), err);
}

static dt_status finish_opening(dt_bundle **out, dt_bundle *b, const char *path, dt_error *err)
{
    dt_status status = read_bundle(b, err);
    if (status != DT_OK) {
        dt_error_while(err, "while reading %s", path);
        dt_bundle_close(b);
        return status;
    }
    *out = b;
    return DT_OK;
}

dt_status dt_bundle_open(dt_bundle **out, const char *path, dt_error *err)
{
    dt_bundle *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b)
        return dt_fail_memory(err, sizeof *b, "a bundle");
    dt_status status = dt_map_open(&b->map, path, err);
    if (status != DT_OK) {
        free(b);
        return status;
    }
    return finish_opening(out, b, path, err);
}

dt_status dt_bundle_of_memory(dt_bundle **out, const void *data, size_t bytes, dt_error *err)
{
    dt_bundle *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b)
        return dt_fail_memory(err, sizeof *b, "a bundle");
    b->map = (dt_map){.data = data, .size = bytes};
    b->borrowed = true;
    return finish_opening(out, b, "memory", err);
}

void dt_bundle_close(dt_bundle *b)
{
    if (!b)
        return;
    json_decref(b->index);
    free(b->list);
    if (!b->borrowed)
        dt_map_close(&b->map);
    free(b);
}

static const entry *find(const dt_bundle *b, const char *name)
{
    entry wanted = {.name = name};
    return b->count ? bsearch(&wanted, b->list, b->count, sizeof wanted, by_name) : NULL;
}

const void *dt_bundle_find(const dt_bundle *b, const char *name, size_t *bytes)
{
    const entry *e = find(b, name);
    *bytes = e ? (size_t)e->bytes : 0;
    return e ? b->map.data + e->offset : NULL;
}

const char *dt_bundle_name(const dt_bundle *b, size_t index)
{
    return index < b->count ? b->list[index].name : NULL;
}

bool dt_bundle_is(const char *path)
{
    struct stat info;
    char head[sizeof magic];
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return false;
    FILE *file = fopen(path, "rb");
    bool is =
        file && fread(head, 1, sizeof head, file) == sizeof head && memcmp(head, magic, sizeof head) == 0;
    if (file)
        fclose(file);
    return is;
}

/* ---- entries as files ---- */

/* The bundle that "FILE/NAME" names, opened, and the name in it; NULL when it is none. */
static dt_bundle *bundle_of(const char *path, const char **name)
{
    dt_error ignored = {0};
    dt_bundle *b = NULL;
    char folder[4096];
    const char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash - path) >= sizeof folder)
        return NULL;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = 0;
    *name = slash + 1;
    return dt_bundle_is(folder) && dt_bundle_open(&b, folder, &ignored) == DT_OK ? b : NULL;
}

bool dt_bundle_has_file(const char *path)
{
    const char *name;
    dt_bundle *b = bundle_of(path, &name);
    bool has = b && find(b, name);
    dt_bundle_close(b);
    return has;
}

dt_status dt_bundle_map_file(dt_map *map, const char *path, dt_error *err)
{
    const char *name;
    dt_bundle *b = bundle_of(path, &name);
    const entry *e = b ? find(b, name) : NULL;
    dt_status status = e ? DT_OK : dt_fail(err, DT_NOT_FOUND, "cannot open %s: there is no such file", path);
    if (e) {
        *map = (dt_map){.data = b->map.data + e->offset, .size = (size_t)e->bytes, .path = strdup(path)};
        map->whole = b->map.data;
        map->whole_size = b->map.size;
        free((void *)b->map.path);
        b->borrowed = true; /* the map owns the pages now */
        if (!map->path) {
            status = dt_fail_memory(err, strlen(path), "a path");
            dt_map_close(map);
        }
    }
    dt_bundle_close(b);
    return status;
}

/* ---- writing ---- */

struct dt_bundle_writer {
    dt_output *output;
    json_t *index, *open; /* open: the entry being written, in the index already */
    json_t *names;        /* given before */
    uint64_t begun;
};

dt_status dt_bundle_create(dt_bundle_writer **out, const char *path, bool replace, dt_error *err)
{
    static const uint8_t zeros[HEADER_BYTES];
    dt_bundle_writer *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w)
        return dt_fail_memory(err, sizeof *w, "a bundle");
    dt_status status = DT_OK;
    w->index = json_array();
    w->names = json_object();
    if (!w->index || !w->names)
        DT_GO(status, dt_fail_memory(err, 64, "an index"));
    DT_GO(status, dt_output_open(&w->output, path, replace, err));
    DT_GO(status, dt_output_write(w->output, zeros, sizeof zeros, err));
    *out = w;
    return DT_OK;
done:
    dt_bundle_discard(w);
    return status;
}

/* The open entry's length is known now. */
static void close_entry(dt_bundle_writer *w)
{
    if (w->open)
        json_array_set_new(w->open, 2, json_integer((json_int_t)(dt_output_position(w->output) - w->begun)));
    w->open = NULL;
}

static dt_status align(dt_bundle_writer *w, dt_error *err)
{
    static const uint8_t zeros[ALIGNMENT];
    return dt_output_write(w->output, zeros, -dt_output_position(w->output) & (ALIGNMENT - 1), err);
}

dt_status dt_bundle_begin(dt_bundle_writer *w, const char *name, dt_error *err)
{
    close_entry(w);
    if (json_object_get(w->names, name))
        return dt_fail(err, DT_INVALID, "an entry \"%s\" was written before", name);
    DT_PASS(align(w, err));
    w->begun = dt_output_position(w->output);
    w->open = json_pack("[s, I, I]", name, (json_int_t)w->begun, (json_int_t)0);
    if (!w->open || json_array_append_new(w->index, w->open) ||
        json_object_set_new(w->names, name, json_true()))
        return dt_fail_memory(err, 64, "an index");
    return DT_OK;
}

dt_status dt_bundle_write(dt_bundle_writer *w, const void *data, size_t bytes, dt_error *err)
{
    return dt_output_write(w->output, data, bytes, err);
}

static void put_number(uint8_t *out, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++, n >>= 8)
        out[i] = (uint8_t)n;
}

static dt_status write_index(dt_bundle_writer *w, dt_error *err)
{
    uint8_t head[HEADER_BYTES] = {0};
    close_entry(w);
    char *text = json_dumps(w->index, JSON_COMPACT);
    if (!text)
        return dt_fail_memory(err, 4096, "an index");
    uint64_t at = dt_output_position(w->output);
    dt_status status = dt_output_write(w->output, text, strlen(text), err);
    memcpy(head, magic, sizeof magic);
    put_number(head + 8, VERSION, 4);
    put_number(head + 16, at, 8);
    put_number(head + 24, strlen(text), 8);
    free(text);
    return status == DT_OK ? dt_output_write_at(w->output, 0, head, sizeof head, err) : status;
}

dt_status dt_bundle_commit(dt_bundle_writer *w, dt_error *err)
{
    dt_status status = write_index(w, err);
    if (status == DT_OK) {
        status = dt_output_commit(w->output, err);
        w->output = NULL;
    }
    dt_bundle_discard(w);
    return status;
}

void dt_bundle_discard(dt_bundle_writer *w)
{
    if (!w)
        return;
    dt_output_discard(w->output);
    json_decref(w->index);
    json_decref(w->names);
    free(w);
}
