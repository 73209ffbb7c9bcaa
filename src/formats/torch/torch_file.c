/*
 * torch_file.c - torch.save's two formats: where the pickle and the storages lie. What a tensor's arguments mean
 * is torch_tensor.c's; the pickle is read by pickle.c, the archive by zip.c.
 */
#include "formats/torch/torch_storage.h"

#include "base/checked.h"
#include "formats/torch/zip.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEGACY_MAGIC_BYTES = 10 };

/* 0x1950a86a20f9469cfc6c, little-endian. */
static const uint8_t LEGACY_MAGIC[LEGACY_MAGIC_BYTES] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                                         0x20, 0x6a, 0xa8, 0x50, 0x19};

/* ---- zip ---- */

/* The folder that data.pkl lies in: torch names it after the file, and reads whichever of two comes first. */
static dt_status find_top(dt_torch_file *file, dt_error *err)
{
    for (size_t i = 0; i < file->zip.count; i++) {
        const char *name = file->zip.entry[i].name, *slash = strchr(name, '/');
        if (!slash || strcmp(slash, "/data.pkl") != 0)
            continue;
        if (file->top)
            return dt_fail(err, DT_FORMAT, "two folders hold a data.pkl: %s and %s", file->top, name);
        file->top = dt_arena_text_n(file->arena, name, (size_t)(slash - name) + 1);
        if (!file->top)
            return dt_fail_memory(err, strlen(name), "a path");
    }
    if (!file->top)
        return dt_fail(err, DT_FORMAT,
                       "a zip archive without data.pkl: no file of torch.save (TorchScript has code/)");
    return DT_OK;
}

static const dt_zip_entry *find_entry(const dt_torch_file *file, dt_arena *arena, const char *name)
{
    char *path = dt_arena_printf(arena, "%s%s", file->top, name);
    return path ? dt_zip_find(&file->zip, path) : NULL;
}

static dt_status read_byte_order(dt_torch_file *file, dt_error *err)
{
    const dt_zip_entry *entry = find_entry(file, file->arena, "byteorder");
    if (!entry ||
        (entry->bytes == 6 && memcmp(entry->data, "little", 6) == 0)) /* before torch 2.1: not said */
        return DT_OK;
    if (entry->bytes != 3 || memcmp(entry->data, "big", 3) != 0)
        return dt_fail(err, DT_FORMAT, "\"byteorder\" is neither \"little\" nor \"big\"");
    file->big_endian = true;
    return DT_OK;
}

static dt_status read_zip(dt_torch_file *file, const uint8_t *data, size_t bytes, dt_error *err)
{
    DT_TRY(dt_zip_read(&file->zip, file->arena, data, bytes, err), err, "while reading it as a zip archive");
    DT_PASS(find_top(file, err));
    const dt_zip_entry *pickle = find_entry(file, file->arena, "data.pkl");
    if (!pickle)
        return dt_fail_memory(err, strlen(file->top), "a path");
    if (find_entry(file, file->arena, "constants.pkl"))
        return dt_fail(err, DT_UNSUPPORTED, "a TorchScript archive: save the state_dict instead");
    DT_PASS(read_byte_order(file, err));
    DT_PASS(dt_zip_check(pickle, err)); /* small, and one flipped bit in it can move a tensor */
    DT_TRY(dt_pickle_read_whole(&file->pickle, file->arena, pickle->data, pickle->bytes, err), err,
           "while reading %sdata.pkl", file->top);
    return DT_OK;
}

/* ---- before torch 1.6 ---- */

typedef struct cursor {
    const uint8_t *data;
    size_t bytes, at;
} cursor;

static dt_status next_pickle(dt_torch_file *file, cursor *c, const char *what, dt_pickle *pickle,
                             dt_error *err)
{
    DT_TRY(dt_pickle_read(pickle, file->arena, c->data + c->at, c->bytes - c->at, err), err,
           "while reading the %s (pickle at byte %zu)", what, c->at);
    c->at += pickle->used;
    return DT_OK;
}

static bool is_legacy(const uint8_t *data, size_t bytes)
{
    static const uint8_t HEAD[4] = {0x80, 0x02, 0x8a, LEGACY_MAGIC_BYTES};
    return bytes >= 4 + LEGACY_MAGIC_BYTES && memcmp(data, HEAD, 4) == 0 &&
           memcmp(data + 4, LEGACY_MAGIC, LEGACY_MAGIC_BYTES) == 0;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const dt_torch_storage *)a)->key, ((const dt_torch_storage *)b)->key);
}

static int by_order(const void *a, const void *b)
{
    size_t x = ((const dt_torch_storage *)a)->order, y = ((const dt_torch_storage *)b)->order;
    return (x > y) - (x < y);
}

/* The keys, sorted, each with its place in the file. */
static dt_status read_keys(dt_torch_file *file, const dt_value *keys, dt_error *err)
{
    if (!dt_value_is(keys, DT_VALUE_LIST))
        return dt_fail(err, DT_FORMAT, "the list of storages is %s", dt_value_kind_name(keys->kind));
    file->storage = DT_NEW_ARRAY(file->arena, dt_torch_storage, keys->list.count + 1);
    if (!file->storage)
        return dt_fail_memory(err, keys->list.count * sizeof *file->storage, "a list of storages");
    file->storage_count = keys->list.count;
    for (uint32_t i = 0; i < keys->list.count; i++) {
        const dt_value *name = keys->list.item[i];
        if (!dt_value_is_name(name))
            return dt_fail(err, DT_FORMAT, "the key of storage %u is no text", i);
        char *key = dt_value_text(name, file->arena);
        if (!key)
            return dt_fail_memory(err, name->text.bytes, "the key of a storage");
        file->storage[i] = (dt_torch_storage){.key = key, .order = i};
    }
    qsort(file->storage, file->storage_count, sizeof *file->storage, by_key);
    for (size_t i = 1; i < file->storage_count; i++) {
        if (strcmp(file->storage[i - 1].key, file->storage[i].key) == 0)
            return dt_fail(err, DT_FORMAT, "two storages are named \"%s\"", file->storage[i].key);
    }
    return DT_OK;
}

static dt_torch_storage *find_legacy(const dt_torch_file *file, const char *key)
{
    dt_torch_storage wanted = {.key = key};
    return file->storage_count ? bsearch(&wanted, file->storage, file->storage_count, sizeof wanted, by_key)
                               : NULL;
}

/* The file counts a storage's elements; their size is known from the ids that name it in the object's pickle. */
static dt_status learn_element_sizes(dt_torch_file *file, dt_error *err)
{
    for (const dt_value *p = file->pickle.last_persistent; p; p = p->persistent.previous) {
        dt_torch_storage_id id;
        DT_PASS(dt_torch_storage_id_read(&id, file, p, err));
        dt_torch_storage *s = find_legacy(file, id.key);
        if (!s)
            return dt_fail(err, DT_FORMAT, "storage \"%s\" is used but not in the list of storages", id.key);
        int bytes = dt_torch_element_bytes(id.type);
        if (s->element_bytes && s->element_bytes != bytes)
            return dt_fail(err, DT_FORMAT, "storage \"%s\" has elements of %d and of %d bytes", id.key,
                           s->element_bytes, bytes);
        s->element_bytes = bytes;
    }
    return DT_OK;
}

/*
 * The storages follow in the order of the keys: int64 element count, then the elements, both little-endian whatever
 * machine wrote them (the system information's "little_endian" tells about the machine, not the file).
 */
static dt_status place_storage(dt_torch_file *file, dt_torch_storage *s, cursor *c, dt_error *err)
{
    uint64_t count = 0, bytes;
    if (!s->element_bytes)
        return dt_fail(err, DT_FORMAT, "storage \"%s\" belongs to no tensor, so its type is unknown", s->key);
    if (c->bytes - c->at < 8)
        return dt_fail(err, DT_FORMAT, "storage \"%s\" is missing: the file ends at byte %zu", s->key,
                       c->bytes);
    for (int b = 7; b >= 0; b--)
        count = count << 8 | c->data[c->at + (size_t)b];
    c->at += 8;
    if (__builtin_mul_overflow(count, (uint64_t)s->element_bytes, &bytes) || bytes > c->bytes - c->at)
        return dt_fail(err, DT_FORMAT,
                       "storage \"%s\": %" PRIu64 " elements of %d bytes lie outside the file", s->key, count,
                       s->element_bytes);
    s->offset = file->offset + c->at;
    s->bytes = bytes;
    c->at += (size_t)bytes;
    return DT_OK;
}

static dt_status place_storages(dt_torch_file *file, cursor *c, dt_error *err)
{
    if (!file->storage_count)
        return DT_OK;
    qsort(file->storage, file->storage_count, sizeof *file->storage, by_order);
    for (size_t i = 0; i < file->storage_count; i++)
        DT_PASS(place_storage(file, &file->storage[i], c, err));
    qsort(file->storage, file->storage_count, sizeof *file->storage, by_key);
    return DT_OK;
}

static dt_status read_legacy(dt_torch_file *file, const uint8_t *data, size_t bytes, dt_error *err)
{
    cursor c = {data, bytes, 0};
    dt_pickle p;
    DT_PASS(next_pickle(file, &c, "magic number", &p, err));
    DT_PASS(next_pickle(file, &c, "protocol version", &p, err));
    if (!dt_value_is(p.root, DT_VALUE_INT) || p.root->integer != 1001)
        return dt_fail(err, DT_UNSUPPORTED, "a torch file of a protocol version other than 1001");
    DT_PASS(next_pickle(file, &c, "system information", &p, err));
    DT_PASS(next_pickle(file, &c, "object", &file->pickle, err));
    DT_PASS(next_pickle(file, &c, "list of storages", &p, err));
    DT_PASS(read_keys(file, p.root, err));
    DT_PASS(learn_element_sizes(file, err));
    DT_PASS(place_storages(file, &c, err));
    if (c.at != bytes)
        return dt_fail(err, DT_FORMAT, "%zu bytes follow the last storage", bytes - c.at);
    return DT_OK;
}

/* ---- both ---- */

static bool is_tar(const uint8_t *data, size_t bytes)
{
    return bytes >= 262 && memcmp(data + 257, "ustar", 5) == 0;
}

static dt_status read_any(dt_torch_file *file, const uint8_t *data, size_t bytes, dt_error *err)
{
    if (bytes == 0)
        return dt_fail(err, DT_FORMAT, "the file is empty");
    if (dt_zip_is(data, bytes))
        return read_zip(file, data, bytes, err);
    if (is_legacy(data, bytes)) {
        file->legacy = true;
        return read_legacy(file, data, bytes, err);
    }
    if (is_tar(data, bytes))
        return dt_fail(err, DT_UNSUPPORTED,
                       "a tar archive of torch 0.1: load it and save it again with any later torch");
    if (data[0] == 0x80)
        return dt_fail(err, DT_UNSUPPORTED, "a bare pickle, not a file of torch.save");
    return dt_fail(err, DT_FORMAT, "not a file of torch.save: it begins with bytes 0x%02x 0x%02x", data[0],
                   bytes > 1 ? data[1] : 0);
}

dt_status dt_torch_open_range(dt_torch_file **out, dt_arena *arena, const dt_map *map, uint64_t offset,
                              size_t bytes, dt_error *err)
{
    *out = NULL;
    dt_torch_file *file = DT_NEW(arena, dt_torch_file);
    if (!file)
        return dt_fail_memory(err, sizeof *file, "a torch file");
    if (!dt_range_inside(offset, bytes, map->size))
        return dt_fail(err, DT_FORMAT, "%s: bytes [%" PRIu64 ", +%zu) lie outside its %zu bytes", map->path,
                       offset, bytes, map->size);
    file->arena = arena;
    file->map = map;
    file->offset = offset;
    DT_TRY(read_any(file, bytes ? map->data + offset : NULL, bytes, err), err, "while reading %s", map->path);
    *out = file;
    return DT_OK;
}

dt_status dt_torch_open(dt_torch_file **out, dt_stored_set *set, const char *path, dt_error *err)
{
    const dt_map *map = NULL;
    *out = NULL;
    DT_PASS(dt_stored_set_map(set, path, &map, err));
    DT_PASS(dt_torch_open_range(out, dt_stored_set_arena(set), map, 0, map->size, err));
    return dt_torch_add_sums(*out, set, err);
}

/* The pickle's is compared on opening; a CRC of 0 is what torch writes when told to compute none. */
dt_status dt_torch_add_sums(const dt_torch_file *file, dt_stored_set *set, dt_error *err)
{
    for (size_t i = 0; i < file->zip.count; i++) {
        const dt_zip_entry *e = &file->zip.entry[i];
        if (e->crc == 0)
            continue;
        DT_PASS(dt_stored_set_add_sum(
            set, &(dt_stored_sum){e->name, file->map, file->offset + e->offset, e->bytes, e->crc}, err));
    }
    return DT_OK;
}

const dt_value *dt_torch_root(const dt_torch_file *file)
{
    return file->pickle.root;
}

/* Where a storage's bytes are; false when the file has none of that key. */
bool dt_torch_find_storage(const dt_torch_file *file, const char *key, dt_torch_storage *out)
{
    char path[512];
    *out = (dt_torch_storage){.key = key};
    if (file->legacy) {
        const dt_torch_storage *found = find_legacy(file, key);
        if (found)
            *out = *found;
        return found != NULL;
    }
    int length = snprintf(path, sizeof path, "%sdata/%s", file->top, key);
    const dt_zip_entry *entry =
        length > 0 && (size_t)length < sizeof path ? dt_zip_find(&file->zip, path) : NULL;
    if (entry) {
        out->offset = file->offset + entry->offset;
        out->bytes = entry->bytes;
    }
    return entry != NULL;
}
