/*
 * read.c - reads one safetensors file into a stored set. The header's JSON is jansson's work; the checks that the
 * tensors tile the buffer are here; that each lies inside the file is checked once more by the set.
 */
#include "formats/safetensors/safetensors.h"

#include "base/checked.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100000000 }; /* the makers' limit */

typedef struct type_row {
    const char *name;
    int bits, dtype;
} type_row;

static const type_row TYPES[] = {
#define ST(name, bits, dtype) {name, bits, dtype},
#include "formats/safetensors/types.def"
#undef ST
};

typedef struct entry {
    const char *name;
    const type_row *type; /* NULL: a type that we have never heard of */
    const char *type_name;
    int rank; /* may exceed DT_MAX_RANK; then the tensor is unsupported */
    int64_t dim[DT_MAX_RANK];
    uint64_t begin, end; /* in the buffer */
} entry;

static const type_row *find_type(const char *name)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(TYPES[i].name, name) == 0)
            return &TYPES[i];
    }
    return NULL;
}

static dt_status fail_entry(dt_error *err, const char *name, const char *what)
{
    return dt_fail(err, DT_FORMAT, "tensor \"%s\": %s", name, what);
}

static bool is_size(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

/* Reads the shape; *elements is its product. */
static dt_status read_shape(entry *e, const json_t *shape, int64_t *elements, dt_error *err)
{
    if (!json_is_array(shape))
        return fail_entry(err, e->name, "\"shape\" is not an array");
    size_t rank = json_array_size(shape);
    if (rank > 64)
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" has %zu dimensions", e->name, rank);
    *elements = 1;
    bool empty = false, wide = false;
    for (size_t i = 0; i < rank; i++) {
        const json_t *value = json_array_get(shape, i);
        if (!is_size(value))
            return fail_entry(err, e->name, "\"shape\" holds something that is no size");
        int64_t dim = json_integer_value(value);
        empty |= dim == 0;
        wide |= !dt_mul_int64(*elements, dim, elements);
        if (i < DT_MAX_RANK)
            e->dim[i] = dim;
    }
    if (wide && !empty)
        return fail_entry(err, e->name, "the product of \"shape\" overflows");
    *elements = empty ? 0 : *elements;
    e->rank = (int)rank;
    return DT_OK;
}

static dt_status read_offsets(entry *e, const json_t *offsets, uint64_t buffer, dt_error *err)
{
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !is_size(json_array_get(offsets, 0)) ||
        !is_size(json_array_get(offsets, 1)))
        return fail_entry(err, e->name, "\"data_offsets\" is not [begin, end]");
    e->begin = (uint64_t)json_integer_value(json_array_get(offsets, 0));
    e->end = (uint64_t)json_integer_value(json_array_get(offsets, 1));
    if (e->begin > e->end || e->end > buffer)
        return dt_fail(err, DT_FORMAT,
                       "tensor \"%s\": bytes [%" PRIu64 ", %" PRIu64 ") lie outside the data (%" PRIu64
                       " bytes)",
                       e->name, e->begin, e->end, buffer);
    return DT_OK;
}

static dt_status check_length(const entry *e, int64_t elements, dt_error *err)
{
    int64_t bits;
    if (!e->type)
        return DT_OK;
    if (!dt_mul_int64(elements, e->type->bits, &bits) || bits % 8)
        return dt_fail(err, DT_FORMAT,
                       "tensor \"%s\": %" PRId64 " elements of %s are no whole number of bytes", e->name,
                       elements, e->type_name);
    if ((uint64_t)bits / 8 != e->end - e->begin)
        return dt_fail(err, DT_FORMAT,
                       "tensor \"%s\": its shape and type %s need %" PRId64
                       " bytes, its offsets span %" PRIu64,
                       e->name, e->type_name, bits / 8, e->end - e->begin);
    return DT_OK;
}

static dt_status read_entry(entry *e, const char *name, const json_t *value, uint64_t buffer, dt_error *err)
{
    int64_t elements = 0;
    e->name = name;
    if (!json_is_object(value))
        return fail_entry(err, name, "its entry is not an object");
    e->type_name = json_string_value(json_object_get(value, "dtype"));
    if (!e->type_name)
        return fail_entry(err, name, "\"dtype\" is not a string");
    e->type = find_type(e->type_name);
    if (json_object_size(value) != 3)
        return fail_entry(err, name, "its entry has other keys than dtype, shape and data_offsets");
    DT_PASS(read_shape(e, json_object_get(value, "shape"), &elements, err));
    DT_PASS(read_offsets(e, json_object_get(value, "data_offsets"), buffer, err));
    return check_length(e, elements, err);
}

static int by_begin(const void *a, const void *b)
{
    const entry *x = *(const entry *const *)a, *y = *(const entry *const *)b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Tensors in order of their bytes: each begins where the last ended, the last at the end of the file. */
static dt_status check_cover(dt_arena *scratch, const entry *e, size_t count, uint64_t buffer, dt_error *err)
{
    const entry **order = DT_NEW_ARRAY(scratch, const entry *, count + 1);
    if (!order)
        return dt_fail_memory(err, count * sizeof *order, "the tensors of a file");
    for (size_t i = 0; i < count; i++)
        order[i] = &e[i];
    qsort(order, count, sizeof *order, by_begin);
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        if (order[i]->begin < end)
            return dt_fail(err, DT_FORMAT,
                           "tensors \"%s\" and \"%s\" overlap: one ends at byte %" PRIu64
                           ", the other begins at %" PRIu64,
                           order[i - 1]->name, order[i]->name, end, order[i]->begin);
        if (order[i]->begin > end)
            return dt_fail(err, DT_FORMAT,
                           "tensor \"%s\" begins at byte %" PRIu64 ", the one before ends at %" PRIu64
                           ": bytes that belong to no tensor",
                           order[i]->name, order[i]->begin, end);
        end = order[i]->end;
    }
    if (end != buffer)
        return dt_fail(err, DT_FORMAT,
                       "the tensors end at byte %" PRIu64 " of the data, the file at %" PRIu64, end, buffer);
    return DT_OK;
}

static dt_status add_notes(dt_stored_set *set, json_t *notes, dt_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(notes))
        return dt_fail(err, DT_FORMAT, "\"__metadata__\" is not an object");
    json_object_foreach(notes, key, value)
    {
        if (!json_is_string(value))
            return dt_fail(err, DT_FORMAT, "\"__metadata__\": the value of \"%s\" is not a string", key);
        DT_PASS(dt_stored_set_note(set, key, json_string_value(value), err));
    }
    return DT_OK;
}

static dt_status add_tensor(dt_stored_set *set, const dt_map *map, uint64_t data_start, const entry *e,
                            const char *name, dt_error *err)
{
    char lacks[96] = "";
    dt_stored_tensor tensor = {.name = name};
    dt_stored_box box = {.map = map, .file_offset = data_start + e->begin};
    if (!e->type || e->type->dtype < 0)
        snprintf(lacks, sizeof lacks, "its type is %.40s", e->type_name);
    else if (e->rank > DT_MAX_RANK)
        snprintf(lacks, sizeof lacks, "it has %d dimensions, more than %d", e->rank, DT_MAX_RANK);
    if (*lacks) {
        tensor.unsupported = lacks;
        return dt_stored_set_add(set, &tensor, err);
    }
    tensor.dtype = (dt_dtype)e->type->dtype;
    tensor.shape = box.shape = dt_shape_of(e->rank, e->dim);
    uint64_t step = 1; /* unsigned: an empty tensor may have dimensions whose product wraps */
    for (int axis = e->rank - 1; axis >= 0; axis--) {
        box.stride[axis] = (int64_t)(step & INT64_MAX);
        step *= (uint64_t)e->dim[axis];
    }
    tensor.box = &box;
    tensor.box_count = 1;
    return dt_stored_set_add(set, &tensor, err);
}

/* Which of a file's tensors are read, and as what. */
typedef struct reading {
    const json_t
        *only; /* names → shard files; names that live in another file than `file` are left out. NULL: all */
    const char *file;
    const char *before; /* put before every name; NULL: nothing */
} reading;

static dt_status read_tensors(dt_stored_set *set, const dt_map *map, const json_t *header,
                              uint64_t data_start, const reading *how, dt_arena *scratch, dt_error *err)
{
    size_t count = 0;
    const char *key;
    json_t *value;
    entry *e = DT_NEW_ARRAY(scratch, entry, json_object_size(header) + 1);
    if (!e)
        return dt_fail_memory(err, json_object_size(header) * sizeof *e, "the tensors of a file");
    json_object_foreach((json_t *)header, key, value)
    {
        if (strcmp(key, "__metadata__") == 0)
            DT_PASS(add_notes(set, value, err));
        else
            DT_PASS(read_entry(&e[count++], key, value, map->size - data_start, err));
    }
    DT_PASS(check_cover(scratch, e, count, map->size - data_start, err));
    for (size_t i = 0; i < count; i++) {
        const char *home = how->only ? json_string_value(json_object_get(how->only, e[i].name)) : NULL;
        const char *name = how->before ? dt_arena_printf(scratch, "%s%s", how->before, e[i].name) : e[i].name;
        if (!name)
            return dt_fail_memory(err, strlen(e[i].name), "a tensor's name");
        if (!home || strcmp(home, how->file) == 0)
            DT_PASS(add_tensor(set, map, data_start, &e[i], name, err));
    }
    return DT_OK;
}

static dt_status read_header(const dt_map *map, json_t **header, uint64_t *data_start, dt_error *err)
{
    uint64_t bytes = 0;
    if (map->size < 8)
        return dt_fail(err, DT_FORMAT, "%zu bytes is too short for a header length", map->size);
    for (int i = 7; i >= 0; i--)
        bytes = bytes << 8 | map->data[i];
    if (bytes > map->size - 8)
        return dt_fail(err, DT_FORMAT, "the header claims %" PRIu64 " bytes, the file has %zu left", bytes,
                       map->size - 8);
    if (bytes > HEADER_LIMIT)
        return dt_fail(err, DT_LIMIT, "the header claims %" PRIu64 " bytes; the format allows %d", bytes,
                       HEADER_LIMIT);
    if (bytes < 2 || map->data[8] != '{')
        return dt_fail(err, DT_FORMAT, "the header does not begin with {");
    DT_TRY(dt_json_parse(header, (const char *)map->data + 8, (size_t)bytes, "the header", err), err,
           "while parsing the JSON header");
    *data_start = 8 + bytes;
    return DT_OK;
}

static dt_status read_file(dt_stored_set *set, const dt_map *map, const reading *how, dt_error *err)
{
    json_t *header = NULL;
    uint64_t data_start = 0;
    dt_arena *scratch = dt_arena_create();
    dt_status status = scratch ? DT_OK : dt_fail_memory(err, 0, "a safetensors header");
    DT_GO(status, status);
    DT_GO(status, read_header(map, &header, &data_start, err));
    if (!json_is_object(header)) {
        status = dt_fail(err, DT_FORMAT, "the header is not a JSON object");
        goto done;
    }
    DT_GO(status, read_tensors(set, map, header, data_start, how, scratch, err));
done:
    json_decref(header);
    dt_arena_destroy(scratch);
    if (status != DT_OK)
        dt_error_while(err, "while reading %s", map->path);
    return status;
}

dt_status dt_safetensors_read_map(dt_stored_set *set, const dt_map *map, dt_error *err)
{
    return read_file(set, map, &(reading){0}, err);
}

dt_status dt_safetensors_read(dt_stored_set *set, const char *path, dt_error *err)
{
    const dt_map *map = NULL;
    DT_PASS(dt_stored_set_map(set, path, &map, err));
    return read_file(set, map, &(reading){0}, err);
}

dt_status dt_safetensors_read_as(dt_stored_set *set, const char *path, const char *before, dt_error *err)
{
    const dt_map *map = NULL;
    DT_PASS(dt_stored_set_map(set, path, &map, err));
    return read_file(set, map, &(reading){.before = before}, err);
}

/* ---- sharded ---- */

static dt_status check_shard_name(const char *tensor, const json_t *value, dt_error *err)
{
    const char *file = json_string_value(value);
    if (!file || !*file)
        return dt_fail(err, DT_FORMAT, "\"weight_map\": the file of \"%s\" is not a string", tensor);
    if (strpbrk(file, "/\\") || strcmp(file, "..") == 0 || strcmp(file, ".") == 0)
        return dt_fail(err, DT_FORMAT,
                       "\"weight_map\" places \"%s\" in \"%s\": a shard must be a file of this folder",
                       tensor, file);
    return DT_OK;
}

static dt_status read_shard(dt_stored_set *set, const char *folder, size_t folder_bytes,
                            const json_t *weight_map, const char *file, dt_error *err)
{
    const dt_map *map = NULL;
    char *path = dt_arena_printf(dt_stored_set_arena(set), "%.*s%s", (int)folder_bytes, folder, file);
    if (!path)
        return dt_fail_memory(err, strlen(file), "a path");
    DT_PASS(dt_stored_set_map(set, path, &map, err));
    return read_file(set, map, &(reading){.only = weight_map, .file = file}, err);
}

static dt_status read_shards(dt_stored_set *set, json_t *weight_map, const char *index_path, dt_error *err)
{
    const char *slash = strrchr(index_path, '/'), *name;
    size_t folder_bytes = slash ? (size_t)(slash - index_path) + 1 : 0;
    json_t *value, *seen = json_object();
    dt_status status = seen ? DT_OK : dt_fail_memory(err, 0, "a list of shards");
    DT_GO(status, status);
    json_object_foreach(weight_map, name, value)
    {
        DT_GO(status, check_shard_name(name, value, err));
        const char *file = json_string_value(value);
        if (json_object_get(seen, file))
            continue;
        if (json_object_set_new(seen, file, json_true()) != 0)
            DT_GO(status, dt_fail_memory(err, 0, "a list of shards"));
        DT_GO(status, read_shard(set, index_path, folder_bytes, weight_map, file, err));
    }
    json_object_foreach(weight_map, name, value)
    {
        if (!dt_stored_set_find(set, name)) {
            status =
                dt_fail(err, DT_FORMAT, "\"weight_map\" places tensor \"%s\" in %s, which does not hold it",
                        name, json_string_value(value));
            goto done;
        }
    }
done:
    json_decref(seen);
    return status;
}

dt_status dt_safetensors_read_index(dt_stored_set *set, const char *index_path, dt_error *err)
{
    json_t *index = NULL;
    DT_PASS(dt_json_load(&index, index_path, HEADER_LIMIT, err));
    json_t *weight_map = json_object_get(index, "weight_map");
    dt_status status;
    if (!json_is_object(weight_map))
        status = dt_fail(err, DT_FORMAT, "\"weight_map\" is not an object");
    else
        status = read_shards(set, weight_map, index_path, err);
    json_decref(index);
    if (status != DT_OK)
        dt_error_while(err, "while following %s", index_path);
    return status;
}
