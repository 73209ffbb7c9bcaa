/*
 * zip.c - finds the entries of a stored zip archive. What the entries mean is torch_file.c's business.
 *
 * The central directory is the truth; each local header must agree with it, because programs that believe the one
 * and programs that believe the other must not see two different archives.
 */
#include "formats/torch/zip.h"

#include "base/checked.h"

#include <inttypes.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    COMMENT_LIMIT = 65535,
    FLAG_ENCRYPTED = 1 << 0,
    FLAG_SIZES_FOLLOW = 1 << 3,
    FLAG_STRONG_ENCRYPTION = 1 << 6,
    FLAG_MASKED = 1 << 13,
};

static const uint8_t LOCAL[4] = "PK\3\4", CENTRAL[4] = "PK\1\2", END[4] = "PK\5\6", END64[4] = "PK\6\6",
                     LOCATOR[4] = "PK\6\7", DESCRIPTOR[4] = "PK\7\10";

typedef struct archive {
    const uint8_t *data;
    size_t bytes;
    uint64_t directory, directory_bytes, entries;
    size_t end; /* where the end records begin */
} archive;

/* An entry as the central directory has it. */
typedef struct record {
    const char *name;
    const uint8_t *raw_name;
    size_t name_bytes;
    uint64_t bytes, packed, offset; /* offset: of the local header */
    uint32_t crc;
    unsigned flags, method;
} record;

/* From an entry's local header to the end of its data: what may follow is the next one, or a data descriptor. */
typedef struct extent {
    size_t begin, end;
    const char *name;
    uint64_t bytes;
    uint32_t crc;
    bool described;
} extent;

static uint64_t load(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

bool dt_zip_is(const uint8_t *data, size_t bytes)
{
    return bytes >= 4 && memcmp(data, LOCAL, 4) == 0;
}

/* The end record: the last one whose comment reaches exactly to the end of the bytes. */
static dt_status find_end(archive *a, dt_error *err)
{
    size_t lowest = a->bytes > END_BYTES + COMMENT_LIMIT ? a->bytes - END_BYTES - COMMENT_LIMIT : 0;
    for (size_t at = a->bytes >= END_BYTES ? a->bytes - END_BYTES + 1 : 0; at-- > lowest;) {
        const uint8_t *p = a->data + at;
        if (memcmp(p, END, 4) == 0 && load(p + 20, 2) == a->bytes - at - END_BYTES) {
            a->end = at;
            return DT_OK;
        }
    }
    return dt_fail(err, DT_FORMAT, "no end record: the archive is truncated or no zip (%zu bytes)", a->bytes);
}

/* The zip64 end record, when a locator stands before the end record. */
static dt_status read_end64(archive *a, bool *found, dt_error *err)
{
    size_t end = a->end;
    *found = end >= LOCATOR_BYTES && memcmp(a->data + end - LOCATOR_BYTES, LOCATOR, 4) == 0;
    if (!*found)
        return DT_OK;
    const uint8_t *locator = a->data + end - LOCATOR_BYTES;
    uint64_t at = load(locator + 8, 8);
    if (!dt_range_inside(at, END64_BYTES, end - LOCATOR_BYTES) || memcmp(a->data + at, END64, 4) != 0)
        return dt_fail(err, DT_FORMAT,
                       "the zip64 end record is not at byte %" PRIu64 ", where its locator says", at);
    const uint8_t *p = a->data + at;
    if (load(p + 4, 8) != end - LOCATOR_BYTES - at - 12)
        return dt_fail(err, DT_FORMAT, "the zip64 end record claims %" PRIu64 " bytes", load(p + 4, 8));
    if (load(p + 16, 4) || load(p + 20, 4) || load(p + 24, 8) != load(p + 32, 8))
        return dt_fail(err, DT_UNSUPPORTED, "the archive is split over several disks");
    a->entries = load(p + 32, 8);
    a->directory_bytes = load(p + 40, 8);
    a->directory = load(p + 48, 8);
    a->end = (size_t)at;
    return DT_OK;
}

static bool disagrees(uint64_t small, uint64_t limit, uint64_t large)
{
    return small != limit && small != large;
}

static dt_status read_end(archive *a, dt_error *err)
{
    bool wide;
    DT_PASS(find_end(a, err));
    const uint8_t *p = a->data + a->end;
    if (load(p + 4, 2) || load(p + 6, 2) || load(p + 8, 2) != load(p + 10, 2))
        return dt_fail(err, DT_UNSUPPORTED, "the archive is split over several disks");
    uint64_t entries = load(p + 10, 2), bytes = load(p + 12, 4), directory = load(p + 16, 4);
    DT_PASS(read_end64(a, &wide, err));
    if (!wide) {
        a->entries = entries;
        a->directory_bytes = bytes;
        a->directory = directory;
    } else if (disagrees(entries, UINT16_MAX, a->entries) ||
               disagrees(bytes, UINT32_MAX, a->directory_bytes) ||
               disagrees(directory, UINT32_MAX, a->directory)) {
        return dt_fail(err, DT_FORMAT, "the two end records disagree");
    }
    if (!dt_range_inside(a->directory, a->directory_bytes, a->end) ||
        a->directory + a->directory_bytes != a->end)
        return dt_fail(err, DT_FORMAT,
                       "the central directory [%" PRIu64 ", +%" PRIu64
                       ") does not end at the end record (byte %zu)",
                       a->directory, a->directory_bytes, a->end);
    if (a->entries > a->directory_bytes / CENTRAL_BYTES)
        return dt_fail(err, DT_FORMAT, "%" PRIu64 " entries cannot stand in a directory of %" PRIu64 " bytes",
                       a->entries, a->directory_bytes);
    return DT_OK;
}

/* The zip64 extra field holds, in this order, those of size, packed size and offset that were all ones. */
static bool read_extra64(record *r, const uint8_t *extra, size_t bytes)
{
    uint64_t *wide[3] = {&r->bytes, &r->packed, &r->offset};
    bool wants = r->bytes == UINT32_MAX || r->packed == UINT32_MAX || r->offset == UINT32_MAX;
    for (size_t at = 0; wants && bytes - at >= 4;) {
        size_t length = load(extra + at + 2, 2), field = at + 4, end = field + length;
        if (end > bytes)
            return false;
        if (load(extra + at, 2) == 1) {
            for (int i = 0; i < 3; i++) {
                if (*wide[i] != UINT32_MAX)
                    continue;
                if (end - field < 8)
                    return false;
                *wide[i] = load(extra + field, 8);
                field += 8;
            }
            return true;
        }
        at = end;
    }
    return true; /* all ones may also be the plain value */
}

/* Relative, made of parts that are neither empty nor dots, printable. */
static bool name_is_safe(const char *name, size_t bytes)
{
    size_t part = 0;
    if (bytes == 0 || memchr(name, 0, bytes) || memchr(name, '\\', bytes))
        return false;
    for (size_t i = 0; i <= bytes; i++) {
        if (i < bytes && ((uint8_t)name[i] < 0x20 || name[i] == 0x7f))
            return false;
        if (i < bytes && name[i] != '/')
            continue;
        size_t length = i - part;
        bool last_slash = i == bytes && length == 0; /* "folder/" */
        bool dots = (length == 1 && name[part] == '.') || (length == 2 && memcmp(name + part, "..", 2) == 0);
        if ((length == 0 && !last_slash) || dots)
            return false;
        part = i + 1;
    }
    return true;
}

static dt_status read_record(record *r, dt_arena *arena, const uint8_t *p, size_t left, size_t *used,
                             dt_error *err)
{
    *r = (record){0};
    if (left < CENTRAL_BYTES || memcmp(p, CENTRAL, 4) != 0)
        return dt_fail(err, DT_FORMAT, "the central directory has fewer entries than the end record says");
    size_t name = load(p + 28, 2), extra = load(p + 30, 2), comment = load(p + 32, 2);
    *used = CENTRAL_BYTES + name + extra + comment;
    if (*used > left)
        return dt_fail(err, DT_FORMAT, "an entry of the central directory is cut off");
    *r = (record){.raw_name = p + CENTRAL_BYTES,
                  .name_bytes = name,
                  .flags = (unsigned)load(p + 8, 2),
                  .method = (unsigned)load(p + 10, 2),
                  .crc = (uint32_t)load(p + 16, 4),
                  .packed = load(p + 20, 4),
                  .bytes = load(p + 24, 4),
                  .offset = load(p + 42, 4)};
    if (!name_is_safe((const char *)r->raw_name, name))
        return dt_fail(err, DT_FORMAT,
                       "the name of an entry at byte %" PRIu64
                       " is empty, absolute, climbs out of the archive or is unprintable",
                       r->offset);
    r->name = dt_arena_text_n(arena, (const char *)r->raw_name, name);
    if (!r->name)
        return dt_fail_memory(err, name, "an entry's name");
    if (!read_extra64(r, p + CENTRAL_BYTES + name, extra))
        return dt_fail(err, DT_FORMAT, "entry \"%s\": its zip64 field is cut off", r->name);
    return DT_OK;
}

static dt_status check_record(const record *r, dt_error *err)
{
    if (r->flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED))
        return dt_fail(err, DT_UNSUPPORTED, "entry \"%s\" is encrypted", r->name);
    if (r->method != 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "entry \"%s\" is compressed (method %u); torch stores its entries plain", r->name,
                       r->method);
    if (r->bytes != r->packed)
        return dt_fail(err, DT_FORMAT,
                       "entry \"%s\" is stored, yet %" PRIu64 " bytes are said to fill %" PRIu64, r->name,
                       r->packed, r->bytes);
    return DT_OK;
}

/* A local header's size must be the directory's, or absent because it follows the data or stands in an extra field. */
static bool local_size_agrees(const record *r, uint64_t size)
{
    return size == r->bytes || size == UINT32_MAX || (size == 0 && (r->flags & FLAG_SIZES_FOLLOW));
}

static dt_status read_local(const archive *a, const record *r, dt_zip_entry *entry, extent *e, dt_error *err)
{
    const uint8_t *p = dt_range_inside(r->offset, LOCAL_BYTES, a->directory) ? a->data + r->offset : NULL;
    if (!p || memcmp(p, LOCAL, 4) != 0)
        return dt_fail(err, DT_FORMAT, "entry \"%s\": no local header at byte %" PRIu64, r->name, r->offset);
    size_t name = load(p + 26, 2), extra = load(p + 28, 2);
    uint64_t start = r->offset + LOCAL_BYTES + name + extra;
    if (name != r->name_bytes || !dt_range_inside(r->offset + LOCAL_BYTES, name, a->directory) ||
        memcmp(p + LOCAL_BYTES, r->raw_name, name) != 0)
        return dt_fail(err, DT_FORMAT, "entry \"%s\" has another name in its local header", r->name);
    if (load(p + 6, 2) != r->flags || load(p + 8, 2) != r->method || !local_size_agrees(r, load(p + 18, 4)) ||
        !local_size_agrees(r, load(p + 22, 4)))
        return dt_fail(err, DT_FORMAT, "entry \"%s\" has other flags, method or size in its local header",
                       r->name);
    if (!dt_range_inside(start, r->bytes, a->directory))
        return dt_fail(err, DT_FORMAT,
                       "entry \"%s\": bytes [%" PRIu64 ", +%" PRIu64 ") lie outside the archive", r->name,
                       start, r->bytes);
    *entry = (dt_zip_entry){r->name, a->data + start, (size_t)r->bytes, r->crc, (size_t)start};
    *e = (extent){(size_t)r->offset,
                  (size_t)(start + r->bytes),
                  r->name,
                  r->bytes,
                  r->crc,
                  (r->flags & FLAG_SIZES_FOLLOW) != 0};
    return DT_OK;
}

static int by_begin(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const dt_zip_entry *)a)->name, ((const dt_zip_entry *)b)->name);
}

/* The data descriptor that may stand in `gap` bytes: a signature or none, the CRC, both sizes in 4 or 8 bytes. */
static bool is_descriptor(const uint8_t *p, size_t gap, const extent *e)
{
    bool signs = gap == 16 || gap == 24, wide = gap >= 20;
    if (!e->described || (gap != 12 && gap != 20 && !signs) || (signs && memcmp(p, DESCRIPTOR, 4) != 0))
        return false;
    p += signs ? 4 : 0;
    return load(p, 4) == e->crc && load(p + 4, wide ? 8 : 4) == e->bytes &&
           load(p + (wide ? 12 : 8), wide ? 8 : 4) == e->bytes;
}

/*
 * The entries fill the archive up to its directory. Padding goes into extra fields, so a hole means that a length is
 * wrong, which would shift the data, or that something is hidden.
 */
static dt_status check_cover(const archive *a, extent *e, size_t count, dt_error *err)
{
    size_t end = 0;
    qsort(e, count, sizeof *e, by_begin);
    for (size_t i = 0; i <= count; i++) {
        size_t begin = i < count ? e[i].begin : (size_t)a->directory;
        if (begin < end)
            return dt_fail(err, DT_FORMAT, "entries \"%s\" and \"%s\" overlap", e[i - 1].name, e[i].name);
        if (begin > end && (i == 0 || !is_descriptor(a->data + end, begin - end, &e[i - 1])))
            return dt_fail(err, DT_FORMAT, "bytes [%zu, %zu), after %s%s%s, belong to no entry", end, begin,
                           i ? "entry \"" : "the start", i ? e[i - 1].name : "", i ? "\"" : "");
        end = i < count ? e[i].end : end;
    }
    return DT_OK;
}

static dt_status check_names(dt_zip_entry *entry, size_t count, dt_error *err)
{
    qsort(entry, count, sizeof *entry, by_name);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(entry[i - 1].name, entry[i].name) == 0)
            return dt_fail(err, DT_FORMAT, "two entries are named \"%s\"", entry[i].name);
    }
    return DT_OK;
}

dt_status dt_zip_read(dt_zip *zip, dt_arena *arena, const uint8_t *data, size_t bytes, dt_error *err)
{
    archive a = {.data = data, .bytes = bytes};
    *zip = (dt_zip){0};
    DT_PASS(read_end(&a, err));
    size_t count = (size_t)a.entries; /* at most bytes / 46 */
    dt_zip_entry *entry = DT_NEW_ARRAY(arena, dt_zip_entry, count + 1);
    extent *extents = DT_NEW_ARRAY(arena, extent, count + 1);
    if (!entry || !extents)
        return dt_fail_memory(err, count * sizeof *entry, "an archive's entries");
    const uint8_t *p = data + a.directory;
    size_t left = (size_t)a.directory_bytes;
    for (size_t i = 0; i < count; i++) {
        record r;
        size_t used = 0;
        DT_PASS(read_record(&r, arena, p, left, &used, err));
        DT_PASS(check_record(&r, err));
        DT_PASS(read_local(&a, &r, &entry[i], &extents[i], err));
        p += used;
        left -= used;
    }
    if (left)
        return dt_fail(err, DT_FORMAT, "%zu bytes follow the last entry of the central directory", left);
    DT_PASS(check_names(entry, count, err));
    DT_PASS(check_cover(&a, extents, count, err));
    *zip = (dt_zip){entry, count};
    return DT_OK;
}

const dt_zip_entry *dt_zip_find(const dt_zip *zip, const char *name)
{
    dt_zip_entry key = {.name = name};
    return zip->count ? bsearch(&key, zip->entry, zip->count, sizeof key, by_name) : NULL;
}

dt_status dt_zip_check(const dt_zip_entry *entry, dt_error *err)
{
    if (entry->crc == 0) /* torch.serialization.set_crc32_options(False) writes zeros */
        return DT_OK;
    uint32_t crc = libdeflate_crc32(0, entry->data, entry->bytes);
    if (crc != entry->crc)
        return dt_fail(err, DT_FORMAT, "entry \"%s\": its bytes have CRC %08x, the archive says %08x",
                       entry->name, (unsigned)crc, (unsigned)entry->crc);
    return DT_OK;
}
