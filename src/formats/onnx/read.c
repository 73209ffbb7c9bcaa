/*
 * read.c (onnx) - the initializers of an ONNX file as stored tensors, in the file itself or in a data file beside it, and
 * drivetrain's configuration in its metadata. Nodes are skipped: a graph is not turned back into a model.
 *
 * Data files must lie in the model's folder: no absolute path, no "..", no folder below.
 */
#include "formats/onnx/model.h"
#include "formats/open.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 512, GIVEN_LIMIT = 1 << 20 };

/* A TensorProto. */
typedef struct tensor {
    char name[NAME_BYTES], location[NAME_BYTES];
    dt_shape shape;
    int type;
    bool external, raw, typed;
    uint64_t offset, length;
    bool measured; /* a length was given */
    dt_wire_reader data;
} tensor;

static bool copy_text(char out[NAME_BYTES], dt_wire_reader from)
{
    size_t bytes = (size_t)(from.end - from.at);
    out[0] = 0;
    if (bytes == 0)
        return true;
    if (bytes >= NAME_BYTES || memchr(from.at, 0, bytes))
        return false;
    memcpy(out, from.at, bytes);
    out[bytes] = 0;
    return true;
}

static dt_status take_pair(dt_wire_reader from, char key[NAME_BYTES], dt_wire_reader *value, dt_error *err)
{
    dt_wire_field f;
    bool more;
    key[0] = 0;
    *value = (dt_wire_reader){from.end, from.end};
    for (;;) {
        DT_PASS(dt_wire_next(&from, &f, &more, err));
        if (!more)
            return DT_OK;
        if (f.number == 1 && (f.wire != DT_WIRE_BYTES || !copy_text(key, f.bytes)))
            return dt_fail(err, DT_FORMAT, "a key that is no text");
        if (f.number == 2 && f.wire == DT_WIRE_BYTES)
            *value = f.bytes;
    }
}

static dt_status take_place(dt_wire_reader from, tensor *t, dt_error *err)
{
    char key[NAME_BYTES], text[NAME_BYTES], *end = text;
    dt_wire_reader value;
    DT_PASS(take_pair(from, key, &value, err));
    if (!copy_text(text, value))
        return dt_fail(err, DT_FORMAT, "the \"%s\" of external data is no text", key);
    if (strcmp(key, "location") == 0)
        memcpy(t->location, text, sizeof text);
    bool number = strcmp(key, "offset") == 0 || strcmp(key, "length") == 0;
    uint64_t n = number && text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (number && (end == text || *end))
        return dt_fail(err, DT_FORMAT, "the \"%s\" of external data is \"%s\"", key, text);
    if (strcmp(key, "offset") == 0)
        t->offset = n;
    if (strcmp(key, "length") == 0) {
        t->length = n;
        t->measured = true;
    }
    return DT_OK;
}

static dt_status take_dimension(tensor *t, const dt_wire_field *f, dt_error *err)
{
    dt_wire_reader packed = f->bytes;
    dt_wire_field one = *f;
    if (f->wire == DT_WIRE_BYTES && packed.at == packed.end)
        return DT_OK;
    if (f->wire != DT_WIRE_VARINT)
        return dt_fail(err, DT_UNSUPPORTED, "packed dimensions, which no writer of ONNX makes");
    if (t->shape.rank >= DT_MAX_RANK || (int64_t)one.value < 0)
        return dt_fail(err, DT_FORMAT, "dimensions that drivetrain cannot hold");
    t->shape.dim[t->shape.rank++] = (int64_t)one.value;
    return DT_OK;
}

static dt_status take_tensor(dt_wire_reader from, tensor *t, dt_error *err)
{
    dt_wire_field f;
    bool more;
    *t = (tensor){0};
    for (;;) {
        DT_PASS(dt_wire_next(&from, &f, &more, err));
        if (!more)
            return DT_OK;
        if (f.number == 1)
            DT_PASS(take_dimension(t, &f, err));
        else if (f.number == 2)
            t->type = f.value > 1000 ? 0 : (int)f.value;
        else if (f.number == 8 && !copy_text(t->name, f.bytes))
            return dt_fail(err, DT_FORMAT, "a tensor's name is too long, or no text");
        else if (f.number == 9 && f.wire == DT_WIRE_BYTES) {
            t->raw = true;
            t->data = f.bytes;
        } else if (f.number == 13)
            DT_PASS(take_place(f.bytes, t, err));
        else if (f.number == 14)
            t->external = f.value == 1;
    }
}

/* ---- into the set ---- */

static bool type_of(int onnx, dt_dtype *out)
{
    static const dt_dtype types[] = {DT_F32, DT_F16, DT_BF16};
    for (int i = 0; i < 3; i++)
        if (dt_onnx_type_of(types[i]) == onnx) {
            *out = types[i];
            return true;
        }
    return false;
}

static dt_status find_data(dt_stored_set *set, const char *folder, const tensor *t, const dt_map **map,
                           dt_error *err)
{
    const char *name = t->location;
    if (!folder || !name[0] || strchr(name, '/') || strchr(name, '\\') || strcmp(name, "..") == 0 ||
        strcmp(name, ".") == 0)
        return dt_fail(err, DT_FORMAT,
                       "tensor \"%s\" is said to lie in \"%s\", which is no file of this folder", t->name,
                       name);
    char *path = dt_arena_printf(dt_stored_set_arena(set), "%s/%s", folder, name);
    return path ? dt_stored_set_map(set, path, map, err) : dt_fail_memory(err, NAME_BYTES, "a path");
}

/* The same tensor in another file of the folder must be the same bytes. */
static dt_status compare(const dt_stored_tensor *known, const dt_stored_tensor *again, size_t bytes,
                         dt_error *err)
{
    const dt_stored_box *a = known->box, *b = again->box;
    bool same =
        known->dtype == again->dtype && dt_shape_equal(&known->shape, &again->shape) && known->box_count == 1;
    if (same && bytes && !(a->map == b->map && a->file_offset == b->file_offset))
        same = memcmp(a->map->data + a->file_offset, b->map->data + b->file_offset, bytes) == 0;
    return same ? DT_OK
                : dt_fail(err, DT_MISMATCH, "two graphs hold \"%s\", and they do not agree on it",
                          again->name);
}

static dt_status add(dt_stored_set *set, const char *folder, const dt_map *map, const tensor *t,
                     dt_error *err)
{
    dt_stored_box box = {.shape = t->shape, .map = map};
    dt_stored_tensor s = {.name = t->name, .shape = t->shape, .box = &box};
    size_t bytes;
    int64_t stride = 1;
    if (!type_of(t->type, &s.dtype) || (!t->raw && !t->external))
        return dt_fail(err, DT_UNSUPPORTED, "tensor \"%s\" is of ONNX type %d, or not stored raw", t->name,
                       t->type);
    if (!dt_shape_bytes(&t->shape, s.dtype, &bytes))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" has impossible dimensions", t->name);
    if (t->external) {
        DT_PASS(find_data(set, folder, t, &box.map, err));
        box.file_offset = t->offset;
    } else
        box.file_offset = (uint64_t)(t->data.at - map->data);
    uint64_t given = t->external ? (t->measured ? t->length : bytes) : (uint64_t)(t->data.end - t->data.at);
    if (given != bytes || !dt_range_inside(box.file_offset, bytes, box.map->size))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" has %llu bytes at %llu; its dimensions make %zu",
                       t->name, (unsigned long long)given, (unsigned long long)box.file_offset, bytes);
    for (int a = s.shape.rank - 1; a >= 0; stride *= s.shape.dim[a--])
        box.stride[a] = stride;
    s.box_count = bytes > 0;
    const dt_stored_tensor *known = dt_stored_set_find(set, s.name);
    return known ? compare(known, &s, bytes, err) : dt_stored_set_add(set, &s, err);
}

static dt_status read_graph(dt_stored_set *set, const char *folder, const dt_map *map, dt_wire_reader graph,
                            dt_error *err)
{
    dt_wire_field f;
    bool more;
    tensor t;
    for (;;) {
        DT_PASS(dt_wire_next(&graph, &f, &more, err));
        if (!more)
            return DT_OK;
        if (f.number != 5 || f.wire != DT_WIRE_BYTES)
            continue;
        DT_PASS(take_tensor(f.bytes, &t, err));
        if (!dt_starts_with(t.name, DT_ONNX_CONSTANT))
            DT_PASS(add(set, folder, map, &t, err));
    }
}

static dt_status read_note(dt_stored_set *set, dt_wire_reader pair, const char **config, dt_error *err)
{
    char key[NAME_BYTES];
    dt_wire_reader value;
    DT_PASS(take_pair(pair, key, &value, err));
    if (strcmp(key, DT_ONNX_CONFIG) != 0 || *config || value.end - value.at > GIVEN_LIMIT)
        return DT_OK;
    *config =
        dt_arena_text_n(dt_stored_set_arena(set), (const char *)value.at, (size_t)(value.end - value.at));
    return *config ? DT_OK : dt_fail_memory(err, GIVEN_LIMIT, "a configuration");
}

dt_status dt_onnx_read_map(dt_stored_set *set, const char *folder, const dt_map *map, const char **config,
                           dt_error *err)
{
    dt_wire_reader model = {map->data, map->data + map->size};
    dt_wire_field f;
    bool more;
    for (;;) {
        DT_PASS(dt_wire_next(&model, &f, &more, err));
        if (!more)
            return DT_OK;
        if (f.number == 7 && f.wire == DT_WIRE_BYTES)
            DT_PASS(read_graph(set, folder, map, f.bytes, err));
        if (f.number == 14 && f.wire == DT_WIRE_BYTES)
            DT_PASS(read_note(set, f.bytes, config, err));
    }
}

dt_status dt_onnx_read(dt_stored_set *set, const char *folder, const char *path, const char **config,
                       dt_error *err)
{
    const dt_map *map = NULL;
    DT_PASS(dt_stored_set_map(set, path, &map, err));
    return dt_onnx_read_map(set, folder, map, config, err);
}
