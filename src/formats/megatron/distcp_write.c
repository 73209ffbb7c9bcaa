/*
 * distcp_write.c - places every object and box in its rank's file, streams the boxes there and writes the pickle
 * that says where they are. An item of a file is a whole torch file, which torch_write.c writes; which tensors a
 * model has and who holds what is for the model's writer.
 */
#include "formats/megatron/distcp_write.h"

#include "base/arena.h"
#include "base/checked.h"
#include "formats/stored_tiling.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METADATA "torch.distributed.checkpoint.metadata"

enum { NO_TENSOR = -1 };

/* One object, or one box of a tensor, in a file. */
typedef struct item {
    const char *key;
    int64_t tensor; /* NO_TENSOR: an object */
    size_t box;
    int rank;
    size_t file;
    uint64_t begin, bytes;   /* in the file */
    uint64_t wanted, got;    /* of the box's data */
    dt_torch_writer *writer; /* an object's value (borrowed), or the box's while it is being written */
} item;

typedef struct file {
    int rank;
    size_t first, count; /* items */
    size_t incomplete;   /* boxes with bytes to come */
    dt_output *output;   /* NULL before and after */
    bool done;
} file;

struct dt_distcp_writer {
    dt_arena *arena;
    const char *folder;
    dt_distcp_tensor *tensor;
    size_t *first_box; /* of each tensor among all boxes, in the order given */
    size_t tensor_count, object_count, box_count;
    item *item;    /* by rank; in each file objects, then boxes, in the order given */
    size_t *place; /* a box among all boxes -> item */
    size_t *order; /* the other way, boxes only: item of the n-th box in the files */
    size_t item_count;
    file *file;
    size_t file_count;
};

/* ---- the lists ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dt_status check_keys(dt_distcp_writer *w, const dt_distcp_tensor *tensor, const dt_distcp_item *object,
                            dt_error *err)
{
    size_t count = w->tensor_count + w->object_count;
    const char **key = DT_NEW_ARRAY(w->arena, const char *, count + 1);
    if (!key)
        return dt_fail_memory(err, count * sizeof *key, "a list of keys");
    for (size_t i = 0; i < count; i++)
        key[i] = i < w->tensor_count ? tensor[i].key : object[i - w->tensor_count].key;
    qsort(key, count, sizeof *key, by_text);
    for (size_t i = 0; i < count; i++) {
        if (!*key[i])
            return dt_fail(err, DT_INVALID, "a tensor or object has no name");
        if (i && strcmp(key[i - 1], key[i]) == 0)
            return dt_fail(err, DT_INVALID, "two tensors or objects are named \"%s\"", key[i]);
    }
    return DT_OK;
}

static dt_status check_tiling(const dt_distcp_tensor *t, dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    dt_stored_box *box = arena ? DT_NEW_ARRAY(arena, dt_stored_box, t->box_count + 1) : NULL;
    dt_status status = box ? DT_OK : dt_fail_memory(err, t->box_count * sizeof *box, "a tensor's boxes");
    for (size_t i = 0; box && i < t->box_count; i++) {
        box[i].shape = t->box[i].shape;
        memcpy(box[i].offset, t->box[i].offset, sizeof box[i].offset);
    }
    if (box)
        status = dt_stored_check_tiling(t->key, &t->shape, box, t->box_count, err);
    dt_arena_destroy(arena);
    return status;
}

static dt_status copy_tensor(dt_distcp_writer *w, const dt_distcp_tensor *from, dt_distcp_tensor *to,
                             dt_error *err)
{
    dt_distcp_box *box = DT_NEW_ARRAY(w->arena, dt_distcp_box, from->box_count + 1);
    *to = *from;
    to->key = dt_arena_text(w->arena, from->key);
    to->box = box;
    if (!box || !to->key)
        return dt_fail_memory(err, from->box_count * sizeof *box, "a tensor's boxes");
    if (from->box_count)
        memcpy(box, from->box, from->box_count * sizeof *box);
    return check_tiling(to, err);
}

static dt_status copy_tensors(dt_distcp_writer *w, const dt_distcp_tensor *tensor, dt_error *err)
{
    w->tensor = DT_NEW_ARRAY(w->arena, dt_distcp_tensor, w->tensor_count + 1);
    w->first_box = DT_NEW_ARRAY(w->arena, size_t, w->tensor_count + 1);
    if (!w->tensor || !w->first_box)
        return dt_fail_memory(err, w->tensor_count * sizeof *w->tensor, "a list of tensors");
    for (size_t i = 0; i < w->tensor_count; i++) {
        DT_PASS(copy_tensor(w, &tensor[i], &w->tensor[i], err));
        w->first_box[i] = w->box_count;
        w->box_count += tensor[i].box_count;
    }
    return DT_OK;
}

/* ---- the layout ---- */

/* Files by rank; in a file objects first, then boxes, each in the order given (`begin` holds it until then). */
static int by_file(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if ((x->tensor == NO_TENSOR) != (y->tensor == NO_TENSOR))
        return x->tensor == NO_TENSOR ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static dt_status add_box(dt_distcp_writer *w, size_t tensor, size_t box, item *out, dt_error *err)
{
    const dt_distcp_tensor *t = &w->tensor[tensor];
    const dt_distcp_box *b = &t->box[box];
    size_t bytes;
    if (!dt_shape_bytes(&b->shape, t->dtype, &bytes))
        return dt_fail(err, DT_INVALID, "tensor \"%s\": a box of shape %s is impossible", t->key,
                       dt_shape_print(&b->shape).text);
    *out = (item){.key = t->key, .tensor = (int64_t)tensor, .box = box, .rank = b->rank, .wanted = bytes};
    return DT_OK;
}

static dt_status list_items(dt_distcp_writer *w, const dt_distcp_item *object, dt_error *err)
{
    item *at = w->item;
    for (size_t i = 0; i < w->object_count; i++) {
        *at = (item){.tensor = NO_TENSOR, .rank = object[i].rank, .writer = object[i].value};
        at->key = dt_arena_text(w->arena, object[i].key);
        if (!at++->key)
            return dt_fail_memory(err, strlen(object[i].key), "an object's name");
    }
    for (size_t t = 0; t < w->tensor_count; t++) {
        for (size_t b = 0; b < w->tensor[t].box_count; b++)
            DT_PASS(add_box(w, t, b, at++, err));
    }
    for (size_t i = 0; i < w->item_count; i++) {
        w->item[i].begin = i;
        if (w->item[i].rank < 0)
            return dt_fail(err, DT_INVALID, "\"%s\" is given to rank %d", w->item[i].key, w->item[i].rank);
    }
    qsort(w->item, w->item_count, sizeof *w->item, by_file);
    return DT_OK;
}

/* A torch file of one tensor, as torch.save(tensor) makes it without a file's name. */
static dt_status box_writer(const dt_distcp_writer *w, const item *it, dt_torch_writer **out, dt_error *err)
{
    const dt_distcp_tensor *t = &w->tensor[it->tensor];
    DT_PASS(dt_torch_writer_create(out, "archive", err));
    dt_torch_put_tensor(*out, t->dtype, &t->box[it->box].shape);
    return DT_OK;
}

static dt_status measure_box(const dt_distcp_writer *w, item *it, dt_error *err)
{
    dt_torch_writer *writer = NULL;
    DT_PASS(box_writer(w, it, &writer, err));
    dt_status status = dt_torch_measure(writer, &it->bytes, err);
    dt_torch_writer_destroy(writer);
    return status;
}

/* Boxes of one tensor mostly have one shape, so the last size found is tried before it is computed anew. */
static bool same_size(const dt_distcp_writer *w, const item *a, const item *b)
{
    if (a->tensor == NO_TENSOR || b->tensor == NO_TENSOR)
        return false;
    const dt_distcp_tensor *x = &w->tensor[a->tensor], *y = &w->tensor[b->tensor];
    return x->dtype == y->dtype && dt_shape_equal(&x->box[a->box].shape, &y->box[b->box].shape);
}

static dt_status measure(dt_distcp_writer *w, item *it, dt_error *err)
{
    if (it->tensor == NO_TENSOR)
        return dt_torch_measure(it->writer, &it->bytes, err);
    if (it == w->item || !same_size(w, it - 1, it))
        return measure_box(w, it, err);
    it->bytes = (it - 1)->bytes;
    return DT_OK;
}

static dt_status lay_out(dt_distcp_writer *w, dt_error *err)
{
    uint64_t at = 0;
    size_t boxes = 0;
    for (size_t i = 0; i < w->item_count; i++) {
        item *it = &w->item[i];
        if (i == 0 || it->rank != (it - 1)->rank) {
            w->file[w->file_count++] = (file){.rank = it->rank, .first = i};
            at = 0;
        }
        file *f = &w->file[w->file_count - 1];
        DT_TRY(measure(w, it, err), err, "while placing \"%s\"", it->key);
        it->file = w->file_count - 1;
        it->begin = at;
        if (__builtin_add_overflow(at, it->bytes, &at) || at > INT64_MAX)
            return dt_fail(err, DT_INVALID, "the tensors of rank %d are larger than any file", it->rank);
        f->count++;
        f->incomplete += it->tensor != NO_TENSOR && it->wanted > 0;
        if (it->tensor != NO_TENSOR) {
            w->order[boxes++] = i;
            w->place[w->first_box[it->tensor] + it->box] = i;
        }
    }
    return DT_OK;
}

static dt_status place_items(dt_distcp_writer *w, const dt_distcp_item *object, dt_error *err)
{
    w->item_count = w->object_count + w->box_count;
    w->item = DT_NEW_ARRAY(w->arena, item, w->item_count + 1);
    w->file = DT_NEW_ARRAY(w->arena, file, w->item_count + 1);
    w->place = DT_NEW_ARRAY(w->arena, size_t, w->box_count + 1);
    w->order = DT_NEW_ARRAY(w->arena, size_t, w->box_count + 1);
    if (!w->item || !w->file || !w->place || !w->order)
        return dt_fail_memory(err, w->item_count * sizeof *w->item, "a checkpoint's items");
    DT_PASS(list_items(w, object, err));
    return lay_out(w, err);
}

dt_status dt_distcp_create(dt_distcp_writer **out, const char *folder, const dt_distcp_tensor *tensor,
                           size_t count, const dt_distcp_item *object, size_t object_count, dt_error *err)
{
    *out = NULL;
    dt_arena *arena = dt_arena_create();
    dt_distcp_writer *w = arena ? DT_NEW(arena, dt_distcp_writer) : NULL;
    dt_status status = DT_OK;
    if (!w) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *w, "a checkpoint's writer");
    }
    w->arena = arena;
    w->tensor_count = count;
    w->object_count = object_count;
    w->folder = dt_arena_text(arena, folder);
    if (!w->folder)
        DT_GO(status, dt_fail_memory(err, strlen(folder), "a path"));
    DT_GO(status, check_keys(w, tensor, object, err));
    DT_GO(status, copy_tensors(w, tensor, err));
    DT_GO(status, place_items(w, object, err));
    *out = w;
done:
    if (status != DT_OK) {
        dt_error_while(err, "while starting %s", folder);
        dt_distcp_discard(w);
    }
    return status;
}

size_t dt_distcp_box_count(const dt_distcp_writer *w)
{
    return w->box_count;
}

dt_distcp_place dt_distcp_order(const dt_distcp_writer *w, size_t place)
{
    const item *it = &w->item[w->order[place]];
    return (dt_distcp_place){(size_t)it->tensor, it->box};
}

/* ---- the data files ---- */

static void file_name(char out[32], int rank)
{
    snprintf(out, 32, "__%d_0.distcp", rank);
}

static dt_status open_output(const dt_distcp_writer *w, const char *name, dt_output **out, dt_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", w->folder, name) < 0)
        return dt_fail_memory(err, strlen(w->folder), "a path");
    dt_status status = dt_output_open(out, path, false, err);
    free(path);
    return status;
}

static dt_status write_object(file *f, const item *it, dt_error *err)
{
    DT_PASS(dt_torch_begin(it->writer, f->output, it->begin, err));
    return dt_torch_end(it->writer, err);
}

/* Objects lie at the front of a file, so they are written when it opens. */
static dt_status open_file(dt_distcp_writer *w, file *f, dt_error *err)
{
    char name[32];
    file_name(name, f->rank);
    DT_PASS(open_output(w, name, &f->output, err));
    for (size_t i = f->first; i < f->first + f->count; i++) {
        const item *it = &w->item[i];
        if (it->tensor == NO_TENSOR)
            DT_TRY(write_object(f, it, err), err, "while writing \"%s\"", it->key);
    }
    return DT_OK;
}

static dt_status begin_box(dt_distcp_writer *w, file *f, item *it, dt_error *err)
{
    DT_PASS(box_writer(w, it, &it->writer, err));
    return dt_torch_begin(it->writer, f->output, it->begin, err);
}

static dt_status end_box(item *it, dt_error *err)
{
    dt_status status = dt_torch_end(it->writer, err);
    dt_torch_writer_destroy(it->writer);
    it->writer = NULL;
    return status;
}

/* Boxes without elements get no write call: they are written last. */
static dt_status close_file(dt_distcp_writer *w, file *f, dt_error *err)
{
    for (size_t i = f->first; i < f->first + f->count; i++) {
        item *it = &w->item[i];
        if (it->tensor == NO_TENSOR || it->wanted)
            continue;
        DT_PASS(begin_box(w, f, it, err));
        DT_PASS(end_box(it, err));
    }
    dt_output *output = f->output;
    f->output = NULL;
    f->done = true;
    return dt_output_commit(output, err);
}

static dt_status append(dt_distcp_writer *w, item *it, const void *data, size_t bytes, dt_error *err)
{
    file *f = &w->file[it->file];
    if (bytes > it->wanted - it->got)
        return dt_fail(err, DT_INVALID,
                       "a box takes %" PRIu64 " bytes; %zu more after %" PRIu64 " are too many", it->wanted,
                       bytes, it->got);
    if (bytes == 0)
        return DT_OK;
    if (!f->output)
        DT_PASS(open_file(w, f, err));
    if (!it->writer)
        DT_PASS(begin_box(w, f, it, err));
    DT_PASS(dt_torch_write(it->writer, 0, data, bytes, err));
    it->got += bytes;
    if (it->got < it->wanted)
        return DT_OK;
    DT_PASS(end_box(it, err));
    return --f->incomplete ? DT_OK : close_file(w, f, err);
}

dt_status dt_distcp_write(dt_distcp_writer *w, size_t tensor, size_t box, const void *data, size_t bytes,
                          dt_error *err)
{
    if (tensor >= w->tensor_count || box >= w->tensor[tensor].box_count)
        return dt_fail(err, DT_INVALID, "box %zu of tensor %zu: there is none", box, tensor);
    DT_TRY(append(w, &w->item[w->place[w->first_box[tensor] + box]], data, bytes, err), err,
           "while writing \"%s\"", w->tensor[tensor].key);
    return DT_OK;
}

/* ---- .metadata ---- */

static void put_size(dt_pickler *p, const char *name, int rank, const int64_t *values)
{
    dt_pickle_put_name(p, name);
    dt_pickle_put_size(p, rank, values);
}

/* The tuple that TensorProperties keeps; torch 2.0 to 2.15 read five values. */
static void put_properties(dt_pickler *p, dt_dtype dtype)
{
    dt_pickle_put_name(p, "properties");
    dt_pickle_open_state(p, METADATA, "TensorProperties");
    dt_torch_put_dtype(p, dtype);
    dt_pickle_open_call(p, "torch.serialization", "_get_layout");
    dt_pickle_put_name(p, "torch.strided");
    dt_pickle_close(p);
    dt_pickle_put_bool(p, false); /* requires_grad */
    dt_pickle_open_call(p, METADATA, "_MEM_FORMAT_ENCODING");
    dt_pickle_put_int(p, 0); /* contiguous */
    dt_pickle_close(p);
    dt_pickle_put_bool(p, false); /* pin_memory */
    dt_pickle_close(p);
}

static void put_tensor(dt_pickler *p, const dt_distcp_tensor *t)
{
    dt_pickle_open_object(p, METADATA, "TensorStorageMetadata");
    put_properties(p, t->dtype);
    put_size(p, "size", t->shape.rank, t->shape.dim);
    dt_pickle_put_name(p, "chunks");
    dt_pickle_open_list(p);
    for (size_t i = 0; i < t->box_count; i++) {
        dt_pickle_open_object(p, METADATA, "ChunkStorageMetadata");
        put_size(p, "offsets", t->shape.rank, t->box[i].offset);
        put_size(p, "sizes", t->shape.rank, t->box[i].shape.dim);
        dt_pickle_close(p);
    }
    dt_pickle_close(p);
    dt_pickle_close(p);
}

static void put_entries(dt_pickler *p, const dt_distcp_writer *w)
{
    dt_pickle_open_dict(p);
    for (size_t i = 0; i < w->tensor_count; i++) {
        dt_pickle_put_text(p, w->tensor[i].key);
        put_tensor(p, &w->tensor[i]);
    }
    for (size_t i = 0; i < w->item_count; i++) {
        if (w->item[i].tensor != NO_TENSOR)
            continue;
        dt_pickle_put_text(p, w->item[i].key);
        dt_pickle_open_object(p, METADATA, "BytesStorageMetadata");
        dt_pickle_close(p);
    }
    dt_pickle_close(p);
}

static void put_index(dt_pickler *p, const dt_distcp_writer *w, const item *it)
{
    dt_pickle_open_object(p, METADATA, "MetadataIndex");
    dt_pickle_put_name(p, "fqn");
    dt_pickle_put_text(p, it->key);
    if (it->tensor == NO_TENSOR) {
        dt_pickle_put_name(p, "offset");
        dt_pickle_put_none(p);
    } else {
        const dt_distcp_tensor *t = &w->tensor[it->tensor];
        put_size(p, "offset", t->shape.rank, t->box[it->box].offset);
    }
    dt_pickle_put_name(p, "index");
    dt_pickle_put_none(p);
    dt_pickle_close(p);
}

static void put_place(dt_pickler *p, const item *it)
{
    char name[32];
    file_name(name, it->rank);
    dt_pickle_open_object(p, "torch.distributed.checkpoint.filesystem", "_StorageInfo");
    dt_pickle_put_name(p, "relative_path");
    dt_pickle_put_name(p, name);
    dt_pickle_put_name(p, "offset");
    dt_pickle_put_int(p, (int64_t)it->begin);
    dt_pickle_put_name(p, "length");
    dt_pickle_put_int(p, (int64_t)it->bytes);
    dt_pickle_close(p);
}

/* storage_meta would name the folder and the save, which readers do not need: they make an empty one. */
static void put_metadata(dt_pickler *p, const dt_distcp_writer *w)
{
    dt_pickle_open_object(p, METADATA, "Metadata");
    dt_pickle_put_name(p, "state_dict_metadata");
    put_entries(p, w);
    dt_pickle_put_name(p, "planner_data");
    dt_pickle_put_none(p);
    dt_pickle_put_name(p, "storage_data");
    dt_pickle_open_dict(p);
    for (size_t i = 0; i < w->item_count; i++) {
        put_index(p, w, &w->item[i]);
        put_place(p, &w->item[i]);
    }
    dt_pickle_close(p);
    dt_pickle_put_name(p, "storage_meta");
    dt_pickle_put_none(p);
    dt_pickle_put_name(p, "version");
    dt_pickle_put_text(p, "1.0.0");
    dt_pickle_close(p);
}

static dt_status write_small(const dt_distcp_writer *w, const char *name, const char *data, size_t bytes,
                             dt_error *err)
{
    dt_output *output = NULL;
    DT_PASS(open_output(w, name, &output, err));
    dt_status status = dt_output_write(output, data, bytes, err);
    if (status == DT_OK)
        return dt_output_commit(output, err);
    dt_output_discard(output);
    return status;
}

static dt_status write_metadata(const dt_distcp_writer *w, dt_error *err)
{
    static const char BACKEND[] = "{\"sharded_backend\": \"torch_dist\", \"sharded_backend_version\": 1, "
                                  "\"common_backend\": \"torch\", \"common_backend_version\": 1}";
    dt_pickler p = {0};
    dt_status status;
    dt_pickle_start(&p);
    put_metadata(&p, w);
    DT_GO(status, dt_pickle_finish(&p, err));
    DT_GO(status, write_small(w, "metadata.json", BACKEND, sizeof BACKEND - 1, err));
    DT_GO(status, write_small(w, ".metadata", p.text.data, p.text.bytes, err));
done:
    dt_pickle_free(&p);
    return status;
}

/* ---- the end ---- */

static dt_status finish_file(dt_distcp_writer *w, file *f, dt_error *err)
{
    for (size_t i = f->first; i < f->first + f->count; i++) {
        const item *it = &w->item[i];
        if (it->got != it->wanted)
            return dt_fail(err, DT_INVALID, "tensor \"%s\": a box got %" PRIu64 " of its %" PRIu64 " bytes",
                           it->key, it->got, it->wanted);
    }
    if (f->done)
        return DT_OK;
    DT_PASS(open_file(w, f, err)); /* only objects and boxes without elements */
    return close_file(w, f, err);
}

dt_status dt_distcp_commit(dt_distcp_writer *w, dt_error *err)
{
    dt_status status = DT_OK;
    for (size_t i = 0; i < w->file_count; i++)
        DT_GO(status, finish_file(w, &w->file[i], err));
    DT_GO(status, write_metadata(w, err));
done:
    dt_distcp_discard(w);
    return status;
}

void dt_distcp_discard(dt_distcp_writer *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->item_count; i++) {
        if (w->item && w->item[i].tensor != NO_TENSOR)
            dt_torch_writer_destroy(w->item[i].writer);
    }
    for (size_t i = 0; i < w->file_count; i++)
        dt_output_discard(w->file[i].output);
    dt_arena_destroy(w->arena);
}
