/*
 * stored_set.c - the set of stored tensors: what it owns, its index by name, its checks on what is added. Where
 * the tensors come from is the container readers' business; copying out of them is stored_read.c's.
 */
#include "formats/stored.h"

#include "base/checked.h"
#include "base/text.h"
#include "formats/stored_tiling.h"
#include "formats/utf8.h"

#include <string.h>

/* A list that grows in the set's arena, with an open-addressing index by name. Items begin with their name. */
typedef struct named_list {
    void **item; /* each points to a struct whose first member is const char *name */
    size_t count, capacity;
    uint32_t *slot; /* item number + 1; 0 is free; a power of two, at most half full */
    size_t slots;
} named_list;

typedef struct note {
    const char *name, *value;
} note;

typedef struct mapped {
    const char *name; /* the path asked for */
    dt_map map;
    bool borrowed;
} mapped;

struct dt_stored_set {
    dt_arena *arena; /* everything but the mapped bytes */
    named_list tensors, objects, notes, maps;
    dt_stored_sum *sum;
    size_t sum_count, sum_capacity;
};

static const char *name_of(const void *item)
{
    return *(const char *const *)item;
}

static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash ^ (hash >> 29);
}

static uint32_t *find_slot(const named_list *list, const char *name)
{
    size_t at = (size_t)hash_name(name) & (list->slots - 1);
    while (list->slot[at] && strcmp(name_of(list->item[list->slot[at] - 1]), name) != 0)
        at = (at + 1) & (list->slots - 1);
    return &list->slot[at];
}

static void *list_find(const named_list *list, const char *name)
{
    if (!list->slots)
        return NULL;
    uint32_t number = *find_slot(list, name);
    return number ? list->item[number - 1] : NULL;
}

static dt_status list_grow(dt_arena *arena, named_list *list, dt_error *err)
{
    size_t capacity = list->capacity ? list->capacity * 2 : 64;
    if (capacity > UINT32_MAX / 4)
        return dt_fail(err, DT_LIMIT, "more than %zu names", list->capacity);
    void **item = dt_arena_grow(arena, list->item, list->capacity * sizeof *item, capacity * sizeof *item);
    uint32_t *slot = DT_NEW_ARRAY(arena, uint32_t, capacity * 2);
    if (!item || !slot)
        return dt_fail_memory(err, capacity * (sizeof *item + 2 * sizeof *slot), "a list of names");
    *list = (named_list){item, list->count, capacity, slot, capacity * 2};
    for (size_t i = 0; i < list->count; i++)
        *find_slot(list, name_of(item[i])) = (uint32_t)i + 1;
    return DT_OK;
}

/* The caller has looked that the name is new. */
static dt_status list_add(dt_arena *arena, named_list *list, void *item, dt_error *err)
{
    if (list->count == list->capacity)
        DT_PASS(list_grow(arena, list, err));
    list->item[list->count++] = item;
    *find_slot(list, name_of(item)) = (uint32_t)list->count;
    return DT_OK;
}

dt_status dt_stored_set_create(dt_stored_set **out, dt_error *err)
{
    *out = NULL;
    dt_arena *arena = dt_arena_create();
    dt_stored_set *set = arena ? DT_NEW(arena, dt_stored_set) : NULL;
    if (!set) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *set, "a list of tensors");
    }
    set->arena = arena;
    *out = set;
    return DT_OK;
}

void dt_stored_set_destroy(dt_stored_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->maps.count; i++) {
        mapped *m = set->maps.item[i];
        if (!m->borrowed)
            dt_map_close(&m->map);
    }
    dt_arena_destroy(set->arena);
}

dt_arena *dt_stored_set_arena(dt_stored_set *set)
{
    return set->arena;
}

static dt_status add_map(dt_stored_set *set, const char *name, mapped **out, dt_error *err)
{
    mapped *m = DT_NEW(set->arena, mapped);
    if (!m || !(m->name = dt_arena_text(set->arena, name)))
        return dt_fail_memory(err, sizeof *m, name);
    *out = m;
    return list_add(set->arena, &set->maps, m, err);
}

dt_status dt_stored_set_map(dt_stored_set *set, const char *path, const dt_map **out, dt_error *err)
{
    mapped *m = list_find(&set->maps, path);
    if (!m) {
        dt_map map = {0};
        DT_PASS(dt_map_open(&map, path, err));
        dt_status status = add_map(set, path, &m, err);
        if (status != DT_OK) {
            dt_map_close(&map);
            return status;
        }
        m->map = map;
    }
    *out = &m->map;
    return DT_OK;
}

dt_status dt_stored_set_memory(dt_stored_set *set, const char *name, const void *data, size_t bytes,
                               const dt_map **out, dt_error *err)
{
    mapped *m = NULL;
    if (list_find(&set->maps, name))
        return dt_fail(err, DT_INVALID, "%s is mapped already", name);
    DT_PASS(add_map(set, name, &m, err));
    m->map = (dt_map){.data = data, .size = bytes, .path = m->name};
    m->borrowed = true;
    *out = &m->map;
    return DT_OK;
}

/* Names end on terminals and in JSON: UTF-8, and nothing that moves a cursor. */
static bool name_is_fit(const char *name)
{
    const uint8_t *s = (const uint8_t *)name;
    size_t left = strlen(name);
    if (!left)
        return false;
    while (left) {
        size_t length = dt_utf8_length(s, left);
        bool control = *s < 0x20 || *s == 0x7f || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0);
        if (!length || control)
            return false;
        s += length;
        left -= length;
    }
    return true;
}

static dt_status check_name(const named_list *list, const char *name, dt_error *err)
{
    if (!name_is_fit(name))
        return dt_fail(err, DT_FORMAT, "a name that is empty, not UTF-8 or has control characters");
    if (list_find(list, name))
        return dt_fail(err, DT_FORMAT, "the name \"%s\" occurs twice", name);
    return DT_OK;
}

static dt_status check_tensor(dt_stored_tensor *tensor, dt_stored_box *box, dt_error *err)
{
    if (tensor->unsupported)
        return DT_OK;
    size_t bytes;
    int64_t elements;
    if (!dt_shape_bytes(&tensor->shape, tensor->dtype, &bytes))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\": the shape %s is impossible for %s", tensor->name,
                       dt_shape_print(&tensor->shape).text, dt_dtype_name(tensor->dtype));
    for (int i = 0; i < tensor->box_count; i++)
        box[i].file = box[i].map ? box[i].map->path : "no file";
    DT_PASS(dt_stored_check_tiling(tensor->name, &tensor->shape, box, (size_t)tensor->box_count, err));
    for (int i = 0; i < tensor->box_count; i++) {
        DT_PASS(dt_stored_check_box(tensor, &box[i], err));
        bool empty = !dt_shape_elements(&box[i].shape, &elements) || elements == 0;
        box[i].data = empty ? NULL : box[i].map->data + box[i].file_offset;
        if (tensor->shape.rank > 0 && box[i].shape.dim[0] > tensor->longest)
            tensor->longest = box[i].shape.dim[0];
    }
    return DT_OK;
}

dt_status dt_stored_set_add(dt_stored_set *set, const dt_stored_tensor *tensor, dt_error *err)
{
    DT_PASS(check_name(&set->tensors, tensor->name, err));
    size_t boxes = tensor->unsupported ? 0 : (size_t)tensor->box_count;
    dt_stored_tensor *copy = DT_NEW(set->arena, dt_stored_tensor);
    dt_stored_box *box = DT_NEW_ARRAY(set->arena, dt_stored_box, boxes ? boxes : 1);
    char *name = dt_arena_text(set->arena, tensor->name);
    if (!copy || !box || !name)
        return dt_fail_memory(err, sizeof *copy + boxes * sizeof *box, tensor->name);
    *copy = *tensor;
    if (boxes)
        memcpy(box, tensor->box, boxes * sizeof *box);
    copy->name = name;
    copy->box = box;
    copy->box_count = (int)boxes;
    copy->longest = 0;
    if (tensor->unsupported && !(copy->unsupported = dt_arena_text(set->arena, tensor->unsupported)))
        return dt_fail_memory(err, strlen(tensor->unsupported), tensor->name);
    DT_PASS(check_tensor(copy, box, err));
    return list_add(set->arena, &set->tensors, copy, err);
}

dt_status dt_stored_set_add_object(dt_stored_set *set, const dt_stored_object *object, dt_error *err)
{
    DT_PASS(check_name(&set->objects, object->name, err));
    dt_stored_object *copy = DT_NEW(set->arena, dt_stored_object);
    char *name = dt_arena_text(set->arena, object->name);
    if (!copy || !name)
        return dt_fail_memory(err, sizeof *copy, object->name);
    *copy = *object;
    copy->name = name;
    return list_add(set->arena, &set->objects, copy, err);
}

dt_status dt_stored_set_note(dt_stored_set *set, const char *key, const char *value, dt_error *err)
{
    if (list_find(&set->notes, key))
        return DT_OK;
    note *n = DT_NEW(set->arena, note);
    if (!n || !(n->name = dt_arena_text(set->arena, key)) || !(n->value = dt_arena_text(set->arena, value)))
        return dt_fail_memory(err, sizeof *n, "a file's metadata");
    return list_add(set->arena, &set->notes, n, err);
}

const char *dt_stored_set_noted(const dt_stored_set *set, const char *key)
{
    const note *n = list_find(&set->notes, key);
    return n ? n->value : NULL;
}

dt_status dt_stored_set_add_sum(dt_stored_set *set, const dt_stored_sum *sum, dt_error *err)
{
    if (set->sum_count == set->sum_capacity) {
        size_t larger = set->sum_capacity ? set->sum_capacity * 2 : 64;
        dt_stored_sum *list =
            dt_arena_grow(set->arena, set->sum, set->sum_capacity * sizeof *list, larger * sizeof *list);
        if (!list)
            return dt_fail_memory(err, larger * sizeof *list, "a list of checksums");
        set->sum = list;
        set->sum_capacity = larger;
    }
    dt_stored_sum copy = *sum;
    if (!(copy.name = dt_arena_text(set->arena, sum->name)))
        return dt_fail_memory(err, strlen(sum->name), "the name of a checksum");
    set->sum[set->sum_count++] = copy;
    return DT_OK;
}

const dt_stored_sum *dt_stored_set_sum_at(const dt_stored_set *set, size_t index)
{
    return index < set->sum_count ? &set->sum[index] : NULL;
}

void dt_stored_set_divide(dt_stored_set *set, size_t index, const float *divisor, int64_t divisors)
{
    const dt_stored_tensor *t = dt_stored_set_at(set, index);
    dt_stored_tensor *own = (dt_stored_tensor *)(uintptr_t)t; /* the set's own copy */
    own->divisor = divisor;
    own->divisors = divisors;
}

void dt_stored_set_multiply(dt_stored_set *set, size_t index, const float *factor, int64_t rows, int64_t cols)
{
    dt_stored_tensor *own = (dt_stored_tensor *)(uintptr_t)dt_stored_set_at(set, index);
    own->factor = factor;
    own->factor_rows = rows;
    own->factor_cols = cols;
}

size_t dt_stored_set_count(const dt_stored_set *set)
{
    return set->tensors.count;
}

const dt_stored_tensor *dt_stored_set_at(const dt_stored_set *set, size_t index)
{
    return index < set->tensors.count ? set->tensors.item[index] : NULL;
}

const dt_stored_tensor *dt_stored_set_find(const dt_stored_set *set, const char *name)
{
    return list_find(&set->tensors, name);
}

/* NULL too when memory is short: the suggestion is a courtesy. */
static const char *nearest_name(const dt_stored_set *set, const char *name)
{
    dt_arena *scratch = dt_arena_create();
    const char **names = scratch ? DT_NEW_ARRAY(scratch, const char *, set->tensors.count + 1) : NULL;
    const char *nearest = NULL;
    if (names) {
        for (size_t i = 0; i < set->tensors.count; i++)
            names[i] = name_of(set->tensors.item[i]);
        nearest = dt_nearest(name, names, set->tensors.count);
    }
    dt_arena_destroy(scratch);
    return nearest;
}

dt_status dt_stored_set_get(const dt_stored_set *set, const char *name, const dt_stored_tensor **out,
                            dt_error *err)
{
    *out = dt_stored_set_find(set, name);
    if (*out)
        return DT_OK;
    const char *nearest = nearest_name(set, name);
    if (nearest)
        return dt_fail(err, DT_NOT_FOUND, "no tensor \"%s\"; the nearest of %zu is \"%s\"", name,
                       set->tensors.count, nearest);
    return dt_fail(err, DT_NOT_FOUND, "no tensor \"%s\" among %zu", name, set->tensors.count);
}

size_t dt_stored_set_object_count(const dt_stored_set *set)
{
    return set->objects.count;
}

const dt_stored_object *dt_stored_set_object_at(const dt_stored_set *set, size_t index)
{
    return index < set->objects.count ? set->objects.item[index] : NULL;
}

const dt_stored_object *dt_stored_set_find_object(const dt_stored_set *set, const char *name)
{
    return list_find(&set->objects, name);
}
