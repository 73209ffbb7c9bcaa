/*
 * torch_write.c - a torch file front to back: the pickle, small entries that describe the file, the storages, the
 * directory. The pickle's instructions are pickle_write.c's, the archive's bytes zip_write.c's.
 *
 * Between two storages lie the footer of the one and the header of the other: both are written when the first is
 * complete, because then its checksum is known.
 */
#include "formats/torch/torch_write.h"

#include "base/arena.h"
#include "base/checked.h"
#include "formats/torch/zip_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Entries before the storages: data.pkl and three that describe the file; two come after. */
enum { BEFORE = 4, AFTER = 2, ID_DIGITS = 40 };

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTE_ORDER_NAME "little"
#else
#define BYTE_ORDER_NAME "big"
#endif

typedef struct storage {
    dt_dtype dtype;
    int64_t elements;
    uint64_t bytes, written;
    const void *data; /* what put_copy gave; else NULL */
} storage;

struct dt_torch_writer {
    dt_arena *arena;
    const char *top;
    dt_pickler pickler;
    storage *storage;
    size_t count, capacity;
    bool no_memory; /* a storage could not be added */
    bool measured;
    dt_zip_part *part; /* BEFORE, the storages, AFTER */
    uint64_t directory, bytes;
    dt_output *output; /* NULL until it begins */
    uint64_t base;     /* of the archive in the output */
    bool owns_output;
    dt_text block; /* for footers and headers; reused */
};

/* Types as torch names them. Those without a storage class came later and lie in untyped storages. */
static const struct {
    const char *name, *storage;
} TYPES[DT_DTYPE_COUNT] = {
    [DT_F32] = {"float32", "FloatStorage"},  [DT_F16] = {"float16", "HalfStorage"},
    [DT_F64] = {"float64", "DoubleStorage"}, [DT_BF16] = {"bfloat16", "BFloat16Storage"},
    [DT_F8E4M3] = {"float8_e4m3fn", NULL},   [DT_F8E5M2] = {"float8_e5m2", NULL},
    [DT_I8] = {"int8", "CharStorage"},       [DT_U8] = {"uint8", "ByteStorage"},
    [DT_I16] = {"int16", "ShortStorage"},    [DT_U16] = {"uint16", NULL},
    [DT_I32] = {"int32", "IntStorage"},      [DT_U32] = {"uint32", NULL},
    [DT_I64] = {"int64", "LongStorage"},     [DT_U64] = {"uint64", NULL},
    [DT_BOOL] = {"bool", "BoolStorage"},
};

static void fault(dt_pickler *p, const char *what)
{
    if (!p->fault)
        p->fault = what;
}

dt_status dt_torch_writer_create(dt_torch_writer **out, const char *top, dt_error *err)
{
    *out = NULL;
    dt_arena *arena = dt_arena_create();
    dt_torch_writer *w = arena ? DT_NEW(arena, dt_torch_writer) : NULL;
    const char *copy = w ? dt_arena_text(arena, top) : NULL;
    if (!copy) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *w, "a torch file's writer");
    }
    w->arena = arena;
    w->top = copy;
    dt_pickle_start(&w->pickler);
    *out = w;
    return DT_OK;
}

void dt_torch_writer_destroy(dt_torch_writer *w)
{
    if (!w)
        return;
    if (w->owns_output)
        dt_output_discard(w->output);
    dt_pickle_free(&w->pickler);
    dt_text_free(&w->block);
    dt_arena_destroy(w->arena);
}

dt_pickler *dt_torch_pickler(dt_torch_writer *w)
{
    return &w->pickler;
}

/* ---- the object ---- */

void dt_torch_put_dtype(dt_pickler *p, dt_dtype dtype)
{
    bool known = (unsigned)dtype < DT_DTYPE_COUNT && TYPES[dtype].name;
    if (!known)
        fault(p, "torch has no such type");
    dt_pickle_put_global(p, "torch", known ? TYPES[dtype].name : "?");
}

static void put_storage(dt_torch_writer *w, size_t index)
{
    dt_pickler *p = &w->pickler;
    const storage *s = &w->storage[index];
    const char *class = TYPES[s->dtype].storage;
    char key[24];
    snprintf(key, sizeof key, "%zu", index);
    dt_pickle_open_persistent(p);
    dt_pickle_put_name(p, "storage");
    dt_pickle_put_global(p, class ? "torch" : "torch.storage", class ? class : "UntypedStorage");
    dt_pickle_put_text(p, key);
    dt_pickle_put_name(p, "cpu");
    dt_pickle_put_int(p, class ? s->elements : (int64_t)s->bytes);
    dt_pickle_close(p);
}

static void put_view(dt_torch_writer *w, size_t index, int64_t first, const dt_shape *shape)
{
    dt_pickler *p = &w->pickler;
    dt_dtype dtype = w->storage[index].dtype;
    bool typed = TYPES[dtype].storage != NULL;
    int64_t stride[DT_MAX_RANK] = {0}, step = 1;
    for (int axis = shape->rank - 1; axis >= 0; axis--) {
        stride[axis] = step;
        step *= shape->dim[axis] ? shape->dim[axis] : 1;
    }
    dt_pickle_open_call(p, "torch._utils", typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
    put_storage(w, index);
    dt_pickle_put_int(p, first);
    dt_pickle_put_tuple(p, shape->rank, shape->dim);
    dt_pickle_put_tuple(p, shape->rank, stride);
    dt_pickle_put_bool(p, false); /* requires_grad */
    dt_pickle_open_ordered_dict(p);
    dt_pickle_close(p);
    if (!typed)
        dt_torch_put_dtype(p, dtype);
    dt_pickle_close(p);
}

static bool grow(dt_torch_writer *w)
{
    if (w->count < w->capacity)
        return true;
    size_t capacity = w->capacity ? 2 * w->capacity : 8;
    storage *more = dt_arena_grow(w->arena, w->storage, w->capacity * sizeof *more, capacity * sizeof *more);
    if (!more)
        return false;
    w->storage = more;
    w->capacity = capacity;
    return true;
}

static bool add_storage(dt_torch_writer *w, dt_dtype dtype, const dt_shape *shape)
{
    storage s = {.dtype = dtype};
    size_t bytes;
    bool known = (unsigned)dtype < DT_DTYPE_COUNT && TYPES[dtype].name;
    if (!known || !dt_shape_elements(shape, &s.elements) || !dt_shape_bytes(shape, dtype, &bytes)) {
        fault(&w->pickler, known ? "a tensor's shape is impossible" : "a tensor has a type that torch lacks");
        return false;
    }
    s.bytes = bytes;
    if (!grow(w)) {
        w->no_memory = true;
        return false;
    }
    w->storage[w->count++] = s;
    return true;
}

size_t dt_torch_put_tensor(dt_torch_writer *w, dt_dtype dtype, const dt_shape *shape)
{
    if (!add_storage(w, dtype, shape))
        return SIZE_MAX;
    put_view(w, w->count - 1, 0, shape);
    return w->count - 1;
}

void dt_torch_put_shared(dt_torch_writer *w, size_t index, int64_t first, const dt_shape *shape)
{
    int64_t elements = 0, end;
    if (index >= w->count || first < 0 || !dt_shape_elements(shape, &elements) ||
        !dt_add_int64(first, elements, &end) || end > w->storage[index].elements)
        fault(&w->pickler, "a shared tensor lies outside its storage");
    else
        put_view(w, index, first, shape);
}

void dt_torch_put_copy(dt_torch_writer *w, dt_dtype dtype, const dt_shape *shape, const void *data)
{
    size_t index = dt_torch_put_tensor(w, dtype, shape);
    if (index == SIZE_MAX)
        return;
    storage *s = &w->storage[index];
    void *copy = dt_arena_alloc(w->arena, (size_t)s->bytes + 1);
    w->no_memory |= !copy;
    if (copy && s->bytes)
        memcpy(copy, data, (size_t)s->bytes);
    s->data = copy;
}

/* ---- the layout ---- */

static const struct {
    const char *name, *data;
} SMALL[BEFORE + AFTER] = {
    {"data.pkl", NULL},
    {".format_version", "1"}, /* 1: storages are in the order of their numbers */
    {".storage_alignment", "64"},
    {"byteorder", BYTE_ORDER_NAME},
    {"version", "3\n"},
    {".data/serialization_id", NULL},
};

static size_t part_count(const dt_torch_writer *w)
{
    return BEFORE + w->count + AFTER;
}

/* A part's name, and its size. */
static bool describe(dt_torch_writer *w, size_t i)
{
    dt_zip_part *part = &w->part[i];
    if (i >= BEFORE && i < BEFORE + w->count) {
        part->name = dt_arena_printf(w->arena, "%s/data/%zu", w->top, i - BEFORE);
        part->bytes = w->storage[i - BEFORE].bytes;
        return part->name != NULL;
    }
    size_t small = i < BEFORE ? i : i - w->count;
    part->name = dt_arena_printf(w->arena, "%s/%s", w->top, SMALL[small].name);
    part->bytes = SMALL[small].data ? strlen(SMALL[small].data) : i == 0 ? w->pickler.text.bytes : ID_DIGITS;
    return part->name != NULL;
}

dt_status dt_torch_measure(dt_torch_writer *w, uint64_t *bytes, dt_error *err)
{
    if (!w->measured) {
        DT_PASS(dt_pickle_finish(&w->pickler, err));
        w->part = w->no_memory ? NULL : DT_NEW_ARRAY(w->arena, dt_zip_part, part_count(w));
        bool done = w->part != NULL;
        for (size_t i = 0; done && i < part_count(w); i++)
            done = describe(w, i);
        if (!done)
            return dt_fail_memory(err, part_count(w) * sizeof *w->part, "a torch file's entries");
        DT_PASS(dt_zip_lay_out(w->part, part_count(w), &w->directory, &w->bytes, err));
        w->measured = true;
    }
    *bytes = w->bytes;
    return DT_OK;
}

/* ---- the bytes ---- */

/* `at` counts from the archive's start. */
static dt_status put_at(dt_torch_writer *w, uint64_t at, const void *data, size_t bytes, dt_error *err)
{
    if (w->base + at == dt_output_position(w->output))
        return dt_output_write(w->output, data, bytes, err);
    return dt_output_write_at(w->output, w->base + at, data, bytes, err);
}

static dt_status put_block(dt_torch_writer *w, uint64_t at, dt_error *err)
{
    if (w->block.failed)
        return dt_fail_memory(err, w->block.bytes, "an archive's headers");
    return put_at(w, at, w->block.data, w->block.bytes, err);
}

/* Append a small part's data and footer, then the next part's header, to the block. */
static void add_small(dt_torch_writer *w, size_t i, const char *data)
{
    dt_zip_part *part = &w->part[i];
    part->crc = dt_zip_crc(0, data, (size_t)part->bytes);
    dt_text_append(&w->block, data, (size_t)part->bytes);
    dt_zip_put_footer(&w->block, part);
    if (i + 1 < part_count(w))
        dt_zip_put_header(&w->block, part + 1);
}

/* Part i is complete: its footer and the next header; empty storages behind it are complete too. */
static dt_status close_part(dt_torch_writer *w, size_t i, dt_error *err)
{
    uint64_t at = w->part[i].at + w->part[i].bytes;
    dt_text_clear(&w->block);
    for (bool more = true; more; i++) {
        dt_zip_put_footer(&w->block, &w->part[i]);
        dt_zip_put_header(&w->block, &w->part[i + 1]);
        more = i + 1 < BEFORE + w->count && w->part[i + 1].bytes == 0;
    }
    return put_block(w, at, err);
}

static dt_status write_front(dt_torch_writer *w, dt_error *err)
{
    dt_text_clear(&w->block);
    dt_zip_put_header(&w->block, &w->part[0]);
    for (size_t i = 0; i < BEFORE; i++)
        add_small(w, i, i == 0 ? w->pickler.text.data : SMALL[i].data);
    DT_PASS(put_block(w, 0, err));
    if (w->count && w->part[BEFORE].bytes == 0)
        DT_PASS(close_part(w, BEFORE, err));
    return DT_OK;
}

dt_status dt_torch_begin(dt_torch_writer *w, dt_output *output, uint64_t base, dt_error *err)
{
    uint64_t bytes;
    DT_PASS(dt_torch_measure(w, &bytes, err));
    w->output = output;
    w->base = base;
    for (size_t i = 0; i < w->count; i++) {
        w->storage[i].written = 0;
        w->part[BEFORE + i].crc = 0;
    }
    DT_PASS(write_front(w, err));
    for (size_t i = 0; i < w->count; i++) {
        const storage *s = &w->storage[i];
        if (s->data && s->bytes)
            DT_PASS(dt_torch_write(w, i, s->data, (size_t)s->bytes, err));
    }
    return DT_OK;
}

dt_status dt_torch_write(dt_torch_writer *w, size_t index, const void *data, size_t bytes, dt_error *err)
{
    if (!w->output || index >= w->count)
        return dt_fail(err, DT_INVALID, "storage %zu of %zu, or the file has not begun", index, w->count);
    storage *s = &w->storage[index];
    dt_zip_part *part = &w->part[BEFORE + index];
    if (bytes > s->bytes - s->written)
        return dt_fail(err, DT_INVALID,
                       "storage %zu takes %" PRIu64 " bytes; %zu more after %" PRIu64 " are too many", index,
                       s->bytes, bytes, s->written);
    if (bytes == 0)
        return DT_OK;
    DT_PASS(put_at(w, part->at + s->written, data, bytes, err));
    part->crc = dt_zip_crc(part->crc, data, bytes);
    s->written += bytes;
    return s->written == s->bytes ? close_part(w, BEFORE + index, err) : DT_OK;
}

/* FNV-1a. */
static uint64_t hash(uint64_t state, const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        state = (state ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001b3);
    return state;
}

/* What tells one file from another: twenty digits from the names, twenty from the checksums. */
static void identify(const dt_torch_writer *w, char id[ID_DIGITS + 1])
{
    uint64_t names = UINT64_C(0xcbf29ce484222325), data = names;
    for (size_t i = 0; i + 1 < part_count(w); i++) {
        names = hash(names, w->part[i].name, strlen(w->part[i].name) + 1);
        for (int byte = 0; byte < 4; byte++)
            data = hash(data, &(uint8_t){(uint8_t)(w->part[i].crc >> (8 * byte))}, 1);
    }
    snprintf(id, ID_DIGITS + 1, "%020" PRIu64 "%020" PRIu64, names, data);
}

dt_status dt_torch_end(dt_torch_writer *w, dt_error *err)
{
    char id[ID_DIGITS + 1];
    size_t version = BEFORE + w->count;
    for (size_t i = 0; i < w->count; i++) {
        const storage *s = &w->storage[i];
        if (s->written != s->bytes)
            return dt_fail(err, DT_INVALID, "storage %zu got %" PRIu64 " of its %" PRIu64 " bytes", i,
                           s->written, s->bytes);
    }
    dt_text_clear(&w->block);
    add_small(w, version, SMALL[BEFORE].data);
    identify(w, id);
    add_small(w, version + 1, id);
    dt_zip_put_directory(&w->block, w->part, part_count(w), w->directory);
    DT_PASS(put_block(w, w->part[version].at, err));
    if (!w->owns_output)
        w->output = NULL;
    return DT_OK;
}

dt_status dt_torch_begin_file(dt_torch_writer *w, const char *path, bool replace, dt_error *err)
{
    uint64_t bytes;
    DT_TRY(dt_torch_measure(w, &bytes, err), err, "while starting %s", path);
    DT_PASS(dt_output_open(&w->output, path, replace, err));
    w->owns_output = true;
    return dt_torch_begin(w, w->output, 0, err);
}

dt_status dt_torch_commit(dt_torch_writer *w, dt_error *err)
{
    dt_status status = w->owns_output ? dt_torch_end(w, err) : dt_fail(err, DT_INVALID, "no file was begun");
    if (status == DT_OK) {
        dt_output *output = w->output;
        w->owns_output = false;
        status = dt_output_commit(output, err);
    }
    dt_torch_writer_destroy(w);
    return status;
}
