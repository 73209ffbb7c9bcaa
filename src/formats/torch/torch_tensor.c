/*
 * torch_tensor.c - what a pickled tensor's arguments mean: which storage, from where, with what shape and strides.
 * Everything a file claims is checked here against the storage; that the storage lies in the file is torch_file.c's.
 */
#include "formats/torch/torch_storage.h"

#include "base/checked.h"
#include "base/text.h"

#include <inttypes.h>
#include <string.h>

enum { RANK_LIMIT = 64 };

static const dt_value *item(const dt_value *tuple, uint32_t index)
{
    return index < tuple->list.count ? tuple->list.item[index] : NULL;
}

static bool is_size(const dt_value *value)
{
    return dt_value_is(value, DT_VALUE_INT) && value->integer >= 0;
}

static dt_status fail_id(dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "a persistent id that is no (\"storage\", type, key, location, elements)");
}

dt_status dt_torch_storage_id_read(dt_torch_storage_id *out, const dt_torch_file *file,
                                   const dt_value *persistent, dt_error *err)
{
    const dt_value *id = dt_value_is(persistent, DT_VALUE_PERSISTENT) ? persistent->persistent.id : NULL;
    if (!dt_value_is(id, DT_VALUE_TUPLE) || id->list.count < 5 || !dt_value_is_text(item(id, 0), "storage") ||
        !dt_value_is(item(id, 1), DT_VALUE_GLOBAL) || item(id, 1)->global->what != DT_GLOBAL_STORAGE ||
        !dt_value_is_name(item(id, 2)) || !is_size(item(id, 4)))
        return fail_id(err);
    *out = (dt_torch_storage_id){.type = item(id, 1)->global, .elements = item(id, 4)->integer};
    out->view_elements = out->elements;
    out->key = dt_value_text(item(id, 2), file->arena);
    if (!out->key)
        return dt_fail_memory(err, item(id, 2)->text.bytes, "the key of a storage");
    const dt_value *view = item(id, 5);
    if (!view || view->kind == DT_VALUE_NONE)
        return DT_OK;
    if (!dt_value_is(view, DT_VALUE_TUPLE) || view->list.count != 3 || !is_size(item(view, 1)) ||
        !is_size(item(view, 2)))
        return fail_id(err);
    out->view_offset = item(view, 1)->integer;
    out->view_elements = item(view, 2)->integer;
    if (!dt_range_inside((uint64_t)out->view_offset, (uint64_t)out->view_elements, (uint64_t)out->elements))
        return dt_fail(err, DT_FORMAT, "a view of storage \"%s\" reaches beyond its %" PRId64 " elements",
                       out->key, out->elements);
    return DT_OK;
}

int dt_torch_element_bytes(const dt_pickle_global *type)
{
    static const struct {
        const char *name;
        int bytes;
    } LACKING[] = {{"ComplexFloatStorage", 8},
                   {"ComplexDoubleStorage", 16},
                   {"QInt8Storage", 1},
                   {"QUInt8Storage", 1},
                   {"QInt32Storage", 4}};
    if (type->detail >= 0)
        return (int)dt_dtype_block_bytes((dt_dtype)type->detail);
    for (size_t i = 0; i < sizeof LACKING / sizeof *LACKING; i++) {
        if (strcmp(LACKING[i].name, type->name) == 0)
            return LACKING[i].bytes;
    }
    return 1;
}

/* The bytes that the tensor may touch: the storage, or its part of it. */
static dt_status find_bytes(const dt_torch_file *file, const dt_torch_storage_id *id, dt_torch_storage *s,
                            dt_error *err)
{
    int element = dt_torch_element_bytes(id->type);
    int64_t bytes;
    if (!dt_torch_find_storage(file, id->key, s))
        return dt_fail(err, DT_FORMAT, "storage \"%s\" is missing from the file", id->key);
    if (!dt_mul_int64(id->elements, element, &bytes) || (uint64_t)bytes != s->bytes)
        return dt_fail(err, DT_FORMAT,
                       "storage \"%s\" holds %" PRIu64 " bytes, its %" PRId64 " elements of %d need others",
                       id->key, s->bytes, id->elements, element);
    s->offset += (uint64_t)id->view_offset * (uint64_t)element;
    s->bytes = (uint64_t)id->view_elements * (uint64_t)element;
    return DT_OK;
}

/* How many elements from the first one the strides reach; 0 for an empty tensor. false: it overflows. */
static bool reach_of(const int64_t *dim, const int64_t *stride, int rank, int64_t *reach)
{
    *reach = 1;
    for (int axis = 0; axis < rank; axis++) {
        if (dim[axis] == 0) {
            *reach = 0;
            return true;
        }
    }
    for (int axis = 0; axis < rank; axis++) {
        int64_t step;
        if (!dt_mul_int64(dim[axis] - 1, stride[axis], &step) || !dt_add_int64(*reach, step, reach))
            return false;
    }
    return true;
}

/* The tensor's type: the storage's, or for version 3 its own (the storage is untyped then). */
static dt_status element_type(const dt_pickle_object *call, const dt_torch_storage_id *id,
                              const dt_pickle_global **type, dt_error *err)
{
    *type = id->type;
    if (call->type->detail != 3)
        return DT_OK;
    const dt_value *dtype = item(call->args, 6);
    if (!dt_value_is(dtype, DT_VALUE_GLOBAL) || dtype->global->what != DT_GLOBAL_DTYPE)
        return dt_fail(err, DT_FORMAT, "_rebuild_tensor_v3 without its dtype");
    *type = dtype->global;
    return DT_OK;
}

/* A lazily negated or conjugated tensor stores other values than it means. */
static bool is_lazy(const dt_pickle_object *call)
{
    const dt_value *metadata = item(call->args, call->type->detail == 3 ? 7 : 6);
    const dt_value *neg = dt_value_get(metadata, "neg"), *conj = dt_value_get(metadata, "conj");
    return call->type->detail >= 2 && ((dt_value_is(neg, DT_VALUE_BOOL) && neg->truth) ||
                                       (dt_value_is(conj, DT_VALUE_BOOL) && conj->truth));
}

/*
 * Do different indices reach one element, other than by a stride of 0? Such a view can be computed with, but is no
 * weight that anybody trained: one wrong digit in a stride makes one. Axes are taken from the smallest stride on; each
 * must step over all that those before it reach.
 */
static bool shares_elements(const int64_t *dim, const int64_t *stride, int rank)
{
    int64_t reached = 0, last = 0;
    for (int step = 0; step < rank; step++) {
        int next = -1;
        for (int axis = 0; axis < rank; axis++)
            if (dim[axis] > 1 && stride[axis] > last && (next < 0 || stride[axis] < stride[next]))
                next = axis;
        if (next < 0)
            return false;
        if (stride[next] <= reached)
            return true;
        last = stride[next];
        reached += (dim[next] - 1) * stride[next]; /* reach_of has shown that this does not overflow */
        for (int axis = 0; axis < rank; axis++)
            if (axis != next && dim[axis] > 1 && stride[axis] == last)
                return true;
    }
    return false;
}

static const char *what_lacks(const dt_torch_file *file, const dt_pickle_object *call,
                              const dt_pickle_global *type, int rank)
{
    const char *text = NULL;
    if (type->detail < 0) {
        text = dt_arena_printf(file->arena, "its type is torch.%s", type->name);
        return text ? text : "its type is unknown";
    }
    if (rank > DT_MAX_RANK) {
        text = dt_arena_printf(file->arena, "it has %d dimensions, more than %d", rank, DT_MAX_RANK);
        return text ? text : "it has too many dimensions";
    }
    return is_lazy(call) ? "it is stored negated or conjugated" : NULL;
}

static dt_status read_tensor(const dt_torch_file *file, const dt_pickle_object *call,
                             dt_stored_tensor *tensor, dt_stored_box *box, dt_error *err)
{
    int64_t dim[RANK_LIMIT], stride[RANK_LIMIT], reach, start, end;
    dt_torch_storage_id id;
    dt_torch_storage s;
    const dt_pickle_global *type;
    if (!item(call->args, 0))
        return dt_fail(err, DT_FORMAT, "a tensor without arguments");
    DT_PASS(dt_torch_storage_id_read(&id, file, item(call->args, 0), err));
    DT_PASS(find_bytes(file, &id, &s, err));
    DT_PASS(element_type(call, &id, &type, err));
    int rank = dt_value_sizes(item(call->args, 2), dim, RANK_LIMIT);
    if (rank < 0 || dt_value_sizes(item(call->args, 3), stride, RANK_LIMIT) != rank ||
        !is_size(item(call->args, 1)))
        return dt_fail(err, DT_FORMAT,
                       "an offset, shape or strides that are no sizes, or of different lengths");
    tensor->unsupported = what_lacks(file, call, type, rank);
    if (tensor->unsupported)
        return DT_OK;
    int64_t element = dt_dtype_block_bytes((dt_dtype)type->detail);
    if (!reach_of(dim, stride, rank, &reach) ||
        !dt_mul_int64(item(call->args, 1)->integer, element, &start) || !dt_mul_int64(reach, element, &end) ||
        !dt_add_int64(start, end, &end) || (uint64_t)end > s.bytes)
        return dt_fail(err, DT_FORMAT,
                       "the shape and strides reach beyond the %" PRIu64 " bytes of storage \"%s\"", s.bytes,
                       id.key);
    tensor->dtype = (dt_dtype)type->detail;
    tensor->swap_bytes = file->big_endian && element > 1;
    tensor->shape = box->shape = dt_shape_of(rank, dim);
    memcpy(box->stride, stride, (size_t)rank * sizeof *stride);
    box->map = file->map;
    box->file = file->map->path;
    box->file_offset = s.offset + (uint64_t)start;
    box->data = reach ? file->map->data + box->file_offset : NULL;
    tensor->box = box;
    tensor->box_count = 1;
    if (reach && shares_elements(dim, stride, rank))
        tensor->unsupported = "its strides make elements share storage";
    return DT_OK;
}

dt_status dt_torch_tensor(const dt_torch_file *file, const dt_value *leaf, const char *name,
                          dt_stored_tensor *tensor, dt_stored_box *box, dt_error *err)
{
    *tensor = (dt_stored_tensor){.name = name};
    *box = (dt_stored_box){0};
    if (!dt_value_is_tensor(leaf))
        return dt_fail(err, DT_FORMAT, "\"%s\" is %s, not a tensor", name,
                       leaf ? dt_value_kind_name(leaf->kind) : "absent");
    DT_TRY(read_tensor(file, leaf->object, tensor, box, err), err, "while reading tensor \"%s\" of %s", name,
           file->map->path);
    return DT_OK;
}

/* ---- flattening ---- */

typedef struct walk {
    const dt_torch_file *file;
    dt_stored_set *set;
    dt_text name;
    size_t steps;
    dt_error *err;
} walk;

static dt_status visit(walk *w, const dt_value *value, int depth);

static dt_status visit_child(walk *w, const dt_value *key, uint32_t index, const dt_value *value, int depth)
{
    size_t length = w->name.bytes;
    if (length)
        dt_text_put(&w->name, ".");
    if (dt_value_is(key, DT_VALUE_TEXT))
        dt_text_append(&w->name, key->text.data, key->text.bytes);
    else
        dt_text_printf(&w->name, "%" PRId64, key ? key->integer : (int64_t)index);
    if (w->name.failed)
        return dt_fail_memory(w->err, length, "a tensor's name");
    dt_status status = visit(w, value, depth + 1);
    w->name.bytes = length;
    if (w->name.data)
        w->name.data[length] = 0;
    return status;
}

static dt_status visit_items(walk *w, const dt_value *container, int depth)
{
    bool dict = container->kind == DT_VALUE_DICT;
    for (uint32_t i = 0; i < container->list.count; i += dict ? 2 : 1) {
        const dt_value *key = dict ? container->list.item[i] : NULL;
        if (!key || key->kind == DT_VALUE_TEXT || key->kind == DT_VALUE_INT)
            DT_PASS(visit_child(w, key, i, container->list.item[i + dict], depth));
    }
    return DT_OK;
}

static bool has_zero(const dt_text *name)
{
    return memchr(name->data, 0, name->bytes) != NULL;
}

static dt_status check_name(const walk *w)
{
    if (!w->name.bytes)
        return dt_fail(w->err, DT_FORMAT, "the file holds a bare tensor without a name");
    if (has_zero(&w->name))
        return dt_fail(w->err, DT_FORMAT, "the name \"%s\" has a zero byte in it", w->name.data);
    return DT_OK;
}

static dt_status visit_tensor(walk *w, const dt_value *leaf)
{
    dt_stored_tensor tensor;
    dt_stored_box box;
    DT_PASS(check_name(w));
    DT_PASS(dt_torch_tensor(w->file, leaf, w->name.data, &tensor, &box, w->err));
    DT_TRY(dt_stored_set_add(w->set, &tensor, w->err), w->err, "while listing %s", w->file->map->path);
    return DT_OK;
}

/* io.BytesIO: its state is (bytes, position, attributes). */
static dt_status visit_stream(walk *w, const dt_value *stream)
{
    const dt_value *state = stream->object->state;
    const dt_value *bytes = dt_value_is(state, DT_VALUE_TUPLE) ? item(state, 0) : NULL;
    if (!dt_value_is(bytes, DT_VALUE_BYTES))
        return DT_OK;
    DT_PASS(check_name(w));
    dt_stored_object object = {w->name.data, (const uint8_t *)bytes->text.data, bytes->text.bytes,
                               w->file->map};
    return dt_stored_set_add_object(w->set, &object, w->err);
}

static dt_status visit(walk *w, const dt_value *value, int depth)
{
    if (++w->steps > 2 * w->file->pickle.values + 1000)
        return dt_fail(w->err, DT_LIMIT, "%s repeats its containers beyond all measure, at \"%s\"",
                       w->file->map->path, w->name.data ? w->name.data : "");
    if (dt_value_is_tensor(value))
        return visit_tensor(w, value);
    if (dt_value_is_object(value, "BytesIO"))
        return visit_stream(w, value);
    if (value->kind == DT_VALUE_OBJECT)
        value = value->object->items; /* a subclass of dict or list */
    if (!value || (value->kind != DT_VALUE_DICT && !dt_value_is_sequence(value)))
        return DT_OK;
    if (depth >= DT_PICKLE_DEPTH)
        return dt_fail(w->err, DT_LIMIT, "%s nests deeper than %d levels, at \"%s\"", w->file->map->path,
                       DT_PICKLE_DEPTH, w->name.data ? w->name.data : "");
    return visit_items(w, value, depth);
}

dt_status dt_torch_flatten(const dt_torch_file *file, const dt_value *from, const char *prefix,
                           dt_stored_set *set, dt_error *err)
{
    walk w = {.file = file, .set = set, .err = err};
    dt_text_put(&w.name, prefix);
    dt_status status =
        w.name.failed ? dt_fail_memory(err, strlen(prefix), "a tensor's name") : visit(&w, from, 0);
    dt_text_free(&w.name);
    return status;
}

dt_status dt_torch_read(dt_stored_set *set, const char *path, const char *prefix, dt_error *err)
{
    dt_torch_file *file = NULL;
    DT_PASS(dt_torch_open(&file, set, path, err));
    return dt_torch_flatten(file, dt_torch_root(file), prefix, set, err);
}
