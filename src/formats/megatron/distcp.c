/*
 * distcp.c - reads a torch_dist folder into a stored set: the classes of torch.distributed.checkpoint.metadata as
 * the pickle has them, an index from (key, offset) to a range of a file, and the small torch file in each range.
 */
#include "formats/megatron/distcp.h"

#include "base/checked.h"
#include "base/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A MetadataIndex and its _StorageInfo: where one box, or one object, lies. */
typedef struct item {
    const char *key;
    int rank; /* of `at`; -1 for an object */
    int64_t at[DT_MAX_RANK];
    const char *file;
    uint64_t offset, bytes;
} item;

typedef struct reader {
    dt_stored_set *set;
    const char *folder;
    dt_arena *scratch; /* the metadata's tree and index */
    item *item;        /* sorted by key, then offset */
    size_t item_count;
    dt_error *err;
} reader;

static const char *class_of(const dt_value *value)
{
    if (!value)
        return "nothing";
    return value->kind == DT_VALUE_OBJECT ? value->object->type->name : dt_value_kind_name(value->kind);
}

/* ---- the index ---- */

static int by_place(const void *a, const void *b)
{
    const item *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    if (order == 0)
        order = (x->rank > y->rank) - (x->rank < y->rank);
    for (int axis = 0; order == 0 && axis < x->rank; axis++)
        order = (x->at[axis] > y->at[axis]) - (x->at[axis] < y->at[axis]);
    return order;
}

/* A file of this folder: no path may lead out of it. */
static bool is_plain_file(const char *name)
{
    return *name && !strpbrk(name, "/\\") && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_none(const dt_value *value)
{
    return !value || value->kind == DT_VALUE_NONE;
}

static bool is_empty_sequence(const dt_value *value)
{
    return dt_value_is_sequence(value) && value->list.count == 0;
}

static dt_status read_place(reader *r, const dt_value *index, item *out)
{
    const dt_value *name = dt_value_get(index, "fqn");
    if (!dt_value_is_object(index, "MetadataIndex") || !dt_value_is_name(name))
        return dt_fail(r->err, DT_FORMAT,
                       "storage_data has a key that is no MetadataIndex with a text fqn (%s)",
                       class_of(index));
    out->key = dt_value_text(name, r->scratch);
    if (!out->key)
        return dt_fail_memory(r->err, name->text.bytes, "a tensor's name");
    const dt_value *offset = dt_value_get(index, "offset");
    out->rank = -1;
    if (is_none(offset))
        return DT_OK;
    out->rank = dt_value_sizes(offset, out->at, DT_MAX_RANK);
    if (out->rank >= 0)
        return DT_OK;
    out->rank = DT_MAX_RANK + 1; /* found by nobody: such a tensor is unsupported */
    memset(out->at, 0, sizeof out->at);
    int64_t many[64];
    return dt_value_sizes(offset, many, 64) >= 0
               ? DT_OK
               : dt_fail(r->err, DT_FORMAT, "storage_data: the offset of \"%s\" is no list of sizes",
                         out->key);
}

static dt_status read_info(reader *r, const dt_value *info, item *out)
{
    const dt_value *offset = dt_value_get(info, "offset"), *length = dt_value_get(info, "length");
    const dt_value *transforms = dt_value_get(info, "transform_descriptors");
    const dt_value *path = dt_value_get(info, "relative_path");
    if (!dt_value_is_name(path) || !dt_value_is(offset, DT_VALUE_INT) || !dt_value_is(length, DT_VALUE_INT) ||
        offset->integer < 0 || length->integer < 0)
        return dt_fail(r->err, DT_FORMAT, "storage_data: \"%s\" has no relative_path, offset and length (%s)",
                       out->key, class_of(info));
    out->file = dt_value_text(path, r->scratch);
    if (!out->file)
        return dt_fail_memory(r->err, path->text.bytes, "a file's name");
    if (!is_plain_file(out->file))
        return dt_fail(r->err, DT_FORMAT,
                       "storage_data places \"%s\" in \"%s\", which is no file of this folder", out->key,
                       out->file);
    if (!is_none(transforms) && !is_empty_sequence(transforms))
        return dt_fail(r->err, DT_UNSUPPORTED, "\"%s\" is stored transformed (compressed or the like)",
                       out->key);
    out->offset = (uint64_t)offset->integer;
    out->bytes = (uint64_t)length->integer;
    return DT_OK;
}

static bool same_range(const item *a, const item *b)
{
    return strcmp(a->file, b->file) == 0 && a->offset == b->offset && a->bytes == b->bytes;
}

/* Sorted and unique; the same box twice is one only when it is in the same place. */
static dt_status sort_index(reader *r)
{
    size_t kept = 0;
    qsort(r->item, r->item_count, sizeof *r->item, by_place);
    for (size_t i = 0; i < r->item_count; i++) {
        bool again = kept && by_place(&r->item[kept - 1], &r->item[i]) == 0 && r->item[i].rank <= DT_MAX_RANK;
        if (again && !same_range(&r->item[kept - 1], &r->item[i]))
            return dt_fail(r->err, DT_FORMAT, "storage_data places a part of \"%s\" both in %s and in %s",
                           r->item[i].key, r->item[kept - 1].file, r->item[i].file);
        if (!again)
            r->item[kept++] = r->item[i];
    }
    r->item_count = kept;
    return DT_OK;
}

static int by_range(const void *a, const void *b)
{
    const item *x = *(const item *const *)a, *y = *(const item *const *)b;
    int order = strcmp(x->file, y->file);
    return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

/* No byte belongs to two parts: .metadata has no checksum, and one wrong digit in it would give a tensor another's. */
static dt_status check_ranges(reader *r)
{
    const item **order = DT_NEW_ARRAY(r->scratch, const item *, r->item_count + 1);
    if (!order)
        return dt_fail_memory(r->err, r->item_count * sizeof *order, "the checkpoint's index");
    for (size_t i = 0; i < r->item_count; i++)
        order[i] = &r->item[i];
    qsort(order, r->item_count, sizeof *order, by_range);
    for (size_t i = 1; i < r->item_count; i++) {
        const item *x = order[i - 1], *y = order[i];
        if (strcmp(x->file, y->file) == 0 && y->offset - x->offset < x->bytes)
            return dt_fail(
                r->err, DT_FORMAT,
                "storage_data places parts of \"%s\" and \"%s\" in the same bytes of %s (at %" PRIu64 ")",
                x->key, y->key, x->file, y->offset);
    }
    return DT_OK;
}

static dt_status read_index(reader *r, const dt_value *storage_data)
{
    if (!dt_value_is(storage_data, DT_VALUE_DICT))
        return dt_fail(r->err, DT_FORMAT, "storage_data is %s, not a dict", class_of(storage_data));
    r->item_count = storage_data->list.count / 2;
    r->item = DT_NEW_ARRAY(r->scratch, item, r->item_count + 1);
    if (!r->item)
        return dt_fail_memory(r->err, r->item_count * sizeof *r->item, "the checkpoint's index");
    for (size_t i = 0; i < r->item_count; i++) {
        DT_PASS(read_place(r, storage_data->list.item[2 * i], &r->item[i]));
        DT_PASS(read_info(r, storage_data->list.item[2 * i + 1], &r->item[i]));
    }
    DT_PASS(sort_index(r));
    return check_ranges(r);
}

static const item *find_item(const reader *r, const char *key, int rank, const int64_t *at)
{
    item wanted = {.key = key, .rank = rank};
    if (rank > 0)
        memcpy(wanted.at, at, (size_t)rank * sizeof *at);
    return r->item_count ? bsearch(&wanted, r->item, r->item_count, sizeof wanted, by_place) : NULL;
}

static dt_status map_item(reader *r, const item *from, const dt_map **map)
{
    char *path = dt_arena_printf(r->scratch, "%s/%s", r->folder, from->file);
    if (!path)
        return dt_fail_memory(r->err, strlen(from->file), "a path");
    dt_status status = dt_stored_set_map(r->set, path, map, r->err);
    if (status == DT_NOT_FOUND)
        dt_error_while(r->err, "a file of this checkpoint is missing: it holds a part of \"%s\"", from->key);
    DT_PASS(status);
    if (!dt_range_inside(from->offset, from->bytes, (*map)->size))
        return dt_fail(r->err, DT_FORMAT,
                       "%s: bytes [%" PRIu64 ", +%" PRIu64 ") of \"%s\" lie outside its %zu bytes", path,
                       from->offset, from->bytes, from->key, (*map)->size);
    return DT_OK;
}

/* ---- tensors ---- */

/* The dtype that .metadata gives: properties, whose state is a dict or a tuple that begins with it. */
static const dt_pickle_global *declared_type(const dt_value *metadata)
{
    const dt_value *properties = dt_value_get(metadata, "properties");
    const dt_value *dtype = dt_value_get(properties, "dtype");
    if (!dtype && dt_value_is(properties, DT_VALUE_OBJECT)) {
        const dt_value *state = properties->object->state;
        dtype = dt_value_is(state, DT_VALUE_TUPLE) && state->list.count ? state->list.item[0] : NULL;
    }
    return dt_value_is(dtype, DT_VALUE_GLOBAL) && dtype->global->what == DT_GLOBAL_DTYPE ? dtype->global
                                                                                         : NULL;
}

/* The tensor inside an item: one box, whose torch tree is scratch. */
static dt_status open_item(reader *r, const item *from, dt_arena *arena, dt_stored_tensor *tensor,
                           dt_stored_box *box)
{
    const dt_map *map = NULL;
    dt_torch_file *file = NULL;
    DT_PASS(map_item(r, from, &map));
    DT_TRY(dt_torch_open_range(&file, arena, map, from->offset, (size_t)from->bytes, r->err), r->err,
           "while opening the part of \"%s\" at byte %" PRIu64, from->key, from->offset);
    DT_PASS(dt_torch_add_sums(file, r->set, r->err));
    return dt_torch_tensor(file, dt_torch_root(file), from->key, tensor, box, r->err);
}

/* whole->box_count counts the boxes read so far: all of them must have one byte order. */
static dt_status read_box(reader *r, const item *from, const dt_shape *sizes, const dt_pickle_global *type,
                          dt_stored_tensor *whole, dt_stored_box *box)
{
    dt_stored_tensor tensor;
    dt_arena *arena = dt_arena_create();
    dt_status status =
        arena ? open_item(r, from, arena, &tensor, box) : dt_fail_memory(r->err, 0, "a part of a tensor");
    DT_GO(status, status);
    if (tensor.unsupported) {
        status = dt_fail(r->err, DT_UNSUPPORTED, "a part of \"%s\" cannot be read: %s", from->key,
                         tensor.unsupported);
        goto done;
    }
    if ((int)tensor.dtype != type->detail)
        DT_GO(status, dt_fail(r->err, DT_FORMAT, "\"%s\" is torch.%s in .metadata, %s in %s", from->key,
                              type->name, dt_dtype_name(tensor.dtype), from->file));
    if (!dt_shape_equal(&tensor.shape, sizes))
        DT_GO(status,
              dt_fail(r->err, DT_FORMAT, "\"%s\": .metadata says that a part is %s, %s holds %s", from->key,
                      dt_shape_print(sizes).text, from->file, dt_shape_print(&tensor.shape).text));
    if (whole->box_count && whole->swap_bytes != tensor.swap_bytes)
        DT_GO(status, dt_fail(r->err, DT_UNSUPPORTED, "\"%s\" has parts of both byte orders", from->key));
    whole->swap_bytes = tensor.swap_bytes;
    whole->box_count++;
done:
    dt_arena_destroy(arena);
    return status;
}

static bool has_elements(const dt_shape *shape)
{
    int64_t elements;
    return dt_shape_elements(shape, &elements) && elements > 0;
}

/* A chunk of .metadata: where the box is in the tensor, then what the file holds there. */
static dt_status read_chunk(reader *r, const char *key, const dt_value *chunk, const dt_pickle_global *type,
                            dt_stored_tensor *whole, dt_stored_box *box)
{
    int64_t at[DT_MAX_RANK], sizes[DT_MAX_RANK];
    int rank = dt_value_sizes(dt_value_get(chunk, "sizes"), sizes, DT_MAX_RANK);
    if (rank != whole->shape.rank || dt_value_sizes(dt_value_get(chunk, "offsets"), at, DT_MAX_RANK) != rank)
        return dt_fail(r->err, DT_FORMAT, "\"%s\": a chunk's offsets and sizes do not fit the shape %s", key,
                       dt_shape_print(&whole->shape).text);
    dt_shape shape = dt_shape_of(rank, sizes), place = dt_shape_of(rank, at);
    *box = (dt_stored_box){0};
    const item *from = find_item(r, key, rank, at);
    if (from)
        DT_PASS(read_box(r, from, &shape, type, whole, box));
    else if (has_elements(&shape))
        return dt_fail(r->err, DT_FORMAT, "\"%s\": storage_data has no place for the part %s at %s", key,
                       dt_shape_print(&shape).text, dt_shape_print(&place).text);
    box->shape = shape;
    memcpy(box->offset, at, sizeof *at * (size_t)rank);
    return DT_OK;
}

static dt_status read_chunks(reader *r, const dt_value *chunks, const dt_pickle_global *type,
                             dt_stored_tensor *tensor, dt_arena *arena)
{
    uint32_t count = chunks->list.count;
    dt_stored_box *box = count > INT32_MAX ? NULL : DT_NEW_ARRAY(arena, dt_stored_box, count + 1);
    if (!box)
        return dt_fail_memory(r->err, count * sizeof *box, "the parts of a tensor");
    for (uint32_t i = 0; i < count; i++)
        DT_PASS(read_chunk(r, tensor->name, chunks->list.item[i], type, tensor, &box[i]));
    tensor->box = box;
    tensor->box_count = (int)count;
    return dt_stored_set_add(r->set, tensor, r->err);
}

static dt_status add_unsupported(reader *r, dt_stored_tensor *tensor, const char *why)
{
    tensor->unsupported = why ? why : "it is not supported";
    return dt_stored_set_add(r->set, tensor, r->err);
}

static dt_status add_tensor(reader *r, const char *key, const dt_value *metadata)
{
    int64_t sizes[64];
    dt_stored_tensor tensor = {.name = key};
    const dt_value *chunks = dt_value_get(metadata, "chunks");
    const dt_pickle_global *type = declared_type(metadata);
    int rank = dt_value_sizes(dt_value_get(metadata, "size"), sizes, 64);
    if (rank < 0 || !type || !dt_value_is_sequence(chunks))
        return dt_fail(r->err, DT_FORMAT, "\"%s\": .metadata gives no size, dtype and chunks", key);
    if (type->detail < 0)
        return add_unsupported(r, &tensor, dt_arena_printf(r->scratch, "its type is torch.%s", type->name));
    if (rank > DT_MAX_RANK)
        return add_unsupported(
            r, &tensor, dt_arena_printf(r->scratch, "it has %d dimensions, more than %d", rank, DT_MAX_RANK));
    tensor.dtype = (dt_dtype)type->detail;
    tensor.shape = dt_shape_of(rank, sizes);
    dt_arena *arena = dt_arena_create();
    dt_status status = arena ? read_chunks(r, chunks, type, &tensor, arena) : dt_fail_memory(r->err, 0, key);
    dt_arena_destroy(arena);
    return status;
}

/* ---- objects ---- */

static dt_status add_object(reader *r, const char *key)
{
    const dt_map *map = NULL;
    const item *from = find_item(r, key, -1, NULL);
    if (!from)
        return dt_fail(r->err, DT_FORMAT, "storage_data has no place for the object \"%s\"", key);
    DT_PASS(map_item(r, from, &map));
    dt_stored_object object = {.name = key,
                               .data = map->data ? map->data + from->offset : NULL,
                               .bytes = (size_t)from->bytes,
                               .map = map};
    return dt_stored_set_add_object(r->set, &object, r->err);
}

dt_status dt_distcp_object(dt_stored_set *set, const dt_stored_object *object, const dt_value **value,
                           dt_error *err)
{
    dt_torch_file *file = NULL;
    const dt_map *map = object->map;
    uint64_t offset = object->data ? (uint64_t)(object->data - map->data) : 0;
    *value = NULL;
    DT_TRY(dt_torch_open_range(&file, dt_stored_set_arena(set), map, offset, object->bytes, err), err,
           "while opening the object \"%s\"", object->name);
    const dt_value *root = dt_torch_root(file);
    bool wrapped = dt_value_is(root, DT_VALUE_LIST) && root->list.count == 1;
    *value = wrapped ? root->list.item[0] : root;
    return DT_OK;
}

/* ---- the folder ---- */

static dt_status add_entries(reader *r, const dt_value *entries)
{
    if (!dt_value_is(entries, DT_VALUE_DICT))
        return dt_fail(r->err, DT_FORMAT, "state_dict_metadata is %s, not a dict", class_of(entries));
    for (uint32_t i = 0; i < entries->list.count; i += 2) {
        const dt_value *entry = entries->list.item[i + 1];
        const dt_value *name = entries->list.item[i];
        if (!dt_value_is_name(name))
            return dt_fail(r->err, DT_FORMAT, "state_dict_metadata has a key that is no text");
        char *key = dt_value_text(name, r->scratch);
        if (!key)
            return dt_fail_memory(r->err, name->text.bytes, "a tensor's name");
        if (dt_value_is_object(entry, "TensorStorageMetadata"))
            DT_PASS(add_tensor(r, key, entry));
        else if (dt_value_is_object(entry, "BytesStorageMetadata"))
            DT_PASS(add_object(r, key));
        else
            return dt_fail(r->err, DT_FORMAT, "\"%s\" is neither a tensor nor bytes in .metadata (%s)", key,
                           class_of(entry));
    }
    return DT_OK;
}

static dt_status read_metadata(reader *r)
{
    const dt_map *map = NULL;
    dt_pickle pickle;
    char *path = dt_arena_printf(r->scratch, "%s/.metadata", r->folder);
    if (!path)
        return dt_fail_memory(r->err, strlen(r->folder), "a path");
    DT_PASS(dt_stored_set_map(r->set, path, &map, r->err));
    DT_TRY(dt_pickle_read_whole(&pickle, r->scratch, map->data, map->size, r->err), r->err,
           "while reading %s", path);
    if (!dt_value_is(pickle.root, DT_VALUE_OBJECT))
        return dt_fail(r->err, DT_FORMAT, "%s holds %s, no Metadata", path, class_of(pickle.root));
    DT_TRY(read_index(r, dt_value_get(pickle.root, "storage_data")), r->err, "while reading %s", path);
    DT_TRY(add_entries(r, dt_value_get(pickle.root, "state_dict_metadata")), r->err, "while following %s",
           path);
    return DT_OK;
}

static dt_status read_common(reader *r, const dt_value **common)
{
    dt_torch_file *file = NULL;
    const dt_stored_object *object = dt_stored_set_find_object(r->set, "common_state/shard_0_1");
    char *path = dt_arena_printf(r->scratch, "%s/common.pt", r->folder);
    if (!path)
        return dt_fail_memory(r->err, strlen(r->folder), "a path");
    if (dt_is_file(path)) {
        DT_PASS(dt_torch_open(&file, r->set, path, r->err));
        *common = dt_torch_root(file);
        return DT_OK;
    }
    return object ? dt_distcp_object(r->set, object, common, r->err) : DT_OK;
}

bool dt_distcp_is(const char *folder)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/.metadata", folder);
    return length > 0 && (size_t)length < sizeof path && dt_is_file(path);
}

dt_status dt_distcp_read(dt_stored_set *set, const char *folder, const dt_value **common, dt_error *err)
{
    reader r = {.set = set, .folder = folder, .err = err, .scratch = dt_arena_create()};
    *common = NULL;
    dt_status status = r.scratch ? DT_OK : dt_fail_memory(err, 0, "a checkpoint's index");
    DT_GO(status, status);
    DT_GO(status, read_metadata(&r));
    DT_GO(status, read_common(&r, common));
done:
    dt_arena_destroy(r.scratch);
    return status;
}
