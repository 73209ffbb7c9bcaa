/*
 * nodes.c - makes nodes, constants, inputs and outputs of an ONNX graph; see onnx.h.
 *
 * What was made is found again by its serialised bytes (inputs, operator, attributes), so equal nodes are one.
 */
#include "formats/onnx/onnx.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dt_onnx_entry {
    const char *key;
    size_t bytes;
    const char **out;
};

enum { FIRST_SLOTS = 1024, OUTPUTS = 4 };

int dt_onnx_type_of(dt_dtype type)
{
    return type == DT_F32    ? DT_ONNX_FLOAT
           : type == DT_F16  ? DT_ONNX_FLOAT16
           : type == DT_BF16 ? DT_ONNX_BFLOAT16
                             : 0;
}

bool dt_onnx_failed(const dt_onnx *o)
{
    return o->failed || o->nodes.failed || o->constants.failed || o->inputs.failed || o->outputs.failed;
}

void dt_onnx_release(dt_onnx *o)
{
    dt_text_free(&o->nodes);
    dt_text_free(&o->constants);
    dt_text_free(&o->inputs);
    dt_text_free(&o->outputs);
    free(o->slot);
    o->slot = NULL;
}

/* ---- what was made before ---- */

static uint64_t hash_of(const char *key, size_t bytes)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (uint8_t)key[i]) * 1099511628211u;
    return hash;
}

/* Where the entry of these bytes is, or would go. */
static dt_onnx_entry **place_of(dt_onnx_entry **slot, int slots, const char *key, size_t bytes)
{
    uint64_t at = hash_of(key, bytes) & (uint64_t)(slots - 1);
    while (slot[at] && (slot[at]->bytes != bytes || memcmp(slot[at]->key, key, bytes) != 0))
        at = (at + 1) & (uint64_t)(slots - 1);
    return &slot[at];
}

static bool make_room(dt_onnx *o)
{
    if (2 * o->entry_count < o->slot_count)
        return true;
    int slots = o->slot_count ? 2 * o->slot_count : FIRST_SLOTS;
    dt_onnx_entry **slot = calloc((size_t)slots, sizeof(dt_onnx_entry *));
    for (int i = 0; slot && i < o->slot_count; i++)
        if (o->slot[i])
            *place_of(slot, slots, o->slot[i]->key, o->slot[i]->bytes) = o->slot[i];
    if (!slot)
        return false;
    free(o->slot);
    o->slot = slot;
    o->slot_count = slots;
    return true;
}

/* The names that the thing of these bytes has; NULL when it is new: *entry is then to be filled, or NULL for no memory. */
static const char **known(dt_onnx *o, const dt_text *key, dt_onnx_entry **entry)
{
    *entry = NULL;
    if (key->failed || !make_room(o))
        return NULL;
    dt_onnx_entry **place = place_of(o->slot, o->slot_count, key->data, key->bytes);
    if (*place)
        return (*place)->out;
    dt_onnx_entry *made = DT_NEW(o->arena, dt_onnx_entry);
    char *copy = dt_arena_text_n(o->arena, key->data, key->bytes);
    const char **out = DT_NEW_ARRAY(o->arena, const char *, OUTPUTS);
    if (!made || !copy || !out)
        return NULL;
    *made = (dt_onnx_entry){copy, key->bytes, out};
    *entry = *place = made;
    o->entry_count++;
    return NULL;
}

/* ---- nodes ---- */

static void put_attribute(dt_text *out, const dt_onnx_attribute *a)
{
    static const int type[] = {[DT_ONNX_F] = 1, [DT_ONNX_I] = 2, [DT_ONNX_S] = 3, [DT_ONNX_IS] = 7};
    dt_text t = {0};
    dt_wire_string(&t, 1, a->name);
    if (a->kind == DT_ONNX_F)
        dt_wire_float(&t, 2, a->f);
    else if (a->kind == DT_ONNX_I)
        dt_wire_int(&t, 3, a->i);
    else if (a->kind == DT_ONNX_S)
        dt_wire_string(&t, 4, a->text);
    for (int i = 0; a->kind == DT_ONNX_IS && i < a->count; i++)
        dt_wire_int(&t, 8, a->list[i]);
    dt_wire_int(&t, 20, type[a->kind]);
    dt_wire_text(out, 5, &t);
    dt_text_free(&t);
}

static void name_outputs(dt_onnx *o, const char *op, dt_text *node, int outputs, const char **out)
{
    int number = o->value_count++;
    for (int i = 0; i < outputs; i++) {
        const char *name = outputs > 1 ? dt_arena_printf(o->arena, "%s_%d.%d", op, number, i)
                                       : dt_arena_printf(o->arena, "%s_%d", op, number);
        o->failed |= !name;
        out[i] = name ? name : "";
        dt_wire_string(node, 2, out[i]);
    }
    dt_wire_string(node, 3, out[0]);
}

void dt_onnx_make(dt_onnx *o, const char *op, const char *const *input, const dt_onnx_attribute *attribute,
                  int outputs, const char **out)
{
    dt_text node = {0};
    dt_onnx_entry *entry;
    for (int i = 0; i < outputs; i++)
        out[i] = "";
    for (int i = 0; input[i]; i++)
        dt_wire_string(&node, 1, input[i]);
    dt_wire_string(&node, 4, op);
    for (int i = 0; attribute && i < DT_ONNX_ATTRIBUTES && attribute[i].name; i++)
        put_attribute(&node, &attribute[i]);
    const char **before = known(o, &node, &entry);
    if (entry) {
        name_outputs(o, op, &node, outputs, entry->out);
        dt_wire_text(&o->nodes, 1, &node);
        o->node_count++;
        before = entry->out;
    }
    o->failed |= !before;
    for (int i = 0; before && i < outputs; i++)
        out[i] = before[i];
    dt_text_free(&node);
}

const char *dt_onnx_node(dt_onnx *o, const char *op, const char *const *input,
                         const dt_onnx_attribute *attribute)
{
    const char *out;
    dt_onnx_make(o, op, input, attribute, 1, &out);
    return out;
}

/* ---- constants ---- */

static const char *constant(dt_onnx *o, int type, int rank, const int64_t *dim, const void *data,
                            size_t bytes)
{
    dt_text tensor = {0};
    dt_onnx_entry *entry;
    for (int i = 0; i < rank; i++)
        dt_wire_int(&tensor, 1, dim[i]);
    dt_wire_int(&tensor, 2, type);
    dt_wire_data(&tensor, 9, data, bytes);
    const char **before = known(o, &tensor, &entry);
    if (entry) {
        const char *name = dt_arena_printf(o->arena, "constant.%d", o->value_count++);
        o->failed |= !name;
        entry->out[0] = name ? name : "";
        dt_wire_string(&tensor, 8, entry->out[0]);
        dt_wire_text(&o->constants, 5, &tensor);
        before = entry->out;
    }
    o->failed |= !before;
    dt_text_free(&tensor);
    return before ? before[0] : "";
}

const char *dt_onnx_integer(dt_onnx *o, int64_t value)
{
    return constant(o, DT_ONNX_INT64, 0, NULL, &value, sizeof value);
}

const char *dt_onnx_integers(dt_onnx *o, int count, const int64_t *values)
{
    return constant(o, DT_ONNX_INT64, 1, &(int64_t){count}, values, sizeof *values * (size_t)count);
}

const char *dt_onnx_number_f32(dt_onnx *o, double value)
{
    float narrow = (float)value;
    return constant(o, DT_ONNX_FLOAT, 0, NULL, &narrow, sizeof narrow);
}

const char *dt_onnx_number(dt_onnx *o, double value)
{
    return dt_onnx_from_f32(o, dt_onnx_number_f32(o, value));
}

const char *dt_onnx_floats(dt_onnx *o, int64_t rows, int64_t cols, const float *values)
{
    int64_t dim[] = {rows, cols};
    return constant(o, DT_ONNX_FLOAT, cols ? 2 : 1, dim, values,
                    sizeof *values * (size_t)rows * (size_t)(cols ? cols : 1));
}

/* ---- what lowerings say often ---- */

const char *dt_onnx_cast(dt_onnx *o, const char *x, int type)
{
    return DT_ONNX_WITH(o, "Cast", ((dt_onnx_attribute[DT_ONNX_ATTRIBUTES]){{.name = "to", .i = type}}), x);
}

const char *dt_onnx_to_f32(dt_onnx *o, const char *x)
{
    return o->type == DT_F32 ? x : dt_onnx_cast(o, x, DT_ONNX_FLOAT);
}

const char *dt_onnx_from_f32(dt_onnx *o, const char *x)
{
    return o->type == DT_F32 ? x : dt_onnx_cast(o, x, dt_onnx_type_of(o->type));
}

const char *dt_onnx_reshape(dt_onnx *o, const char *x, int rank, const int64_t *dim)
{
    return DT_ONNX_NODE(o, "Reshape", x, dt_onnx_integers(o, rank, dim));
}

const char *dt_onnx_transpose(dt_onnx *o, const char *x, int rank, const int64_t *order)
{
    dt_onnx_attribute perm[DT_ONNX_ATTRIBUTES] = {{.name = "perm", .kind = DT_ONNX_IS, .count = rank}};
    memcpy(perm[0].list, order, sizeof *order * (size_t)rank);
    return DT_ONNX_WITH(o, "Transpose", perm, x);
}

const char *dt_onnx_concat(dt_onnx *o, const char *x, const char *y, int64_t axis)
{
    return DT_ONNX_WITH(o, "Concat", ((dt_onnx_attribute[DT_ONNX_ATTRIBUTES]){{.name = "axis", .i = axis}}),
                        x, y);
}

const char *dt_onnx_size(dt_onnx *o, const char *x, int64_t axis)
{
    return DT_ONNX_NODE(o, "Gather", DT_ONNX_NODE(o, "Shape", x), dt_onnx_integer(o, axis));
}

const char *dt_onnx_range(dt_onnx *o, const char *count)
{
    return DT_ONNX_NODE(o, "Range", dt_onnx_integer(o, 0), count, dt_onnx_integer(o, 1));
}

const char *dt_onnx_reduce(dt_onnx *o, const char *op, const char *x, int64_t axis, bool keep)
{
    dt_onnx_attribute keepdims[DT_ONNX_ATTRIBUTES] = {{.name = "keepdims", .i = keep}};
    return DT_ONNX_WITH(o, op, keepdims, x, dt_onnx_integers(o, 1, &axis));
}

/* ---- the graph's edge ---- */

/* ValueInfoProto */
static void put_value(dt_text *out, int field, const char *name, int type, int rank, const dt_onnx_dim *dim)
{
    dt_text value = {0}, of_type = {0}, tensor = {0}, shape = {0};
    for (int i = 0; i < rank; i++) {
        dt_text d = {0};
        if (dim[i].name)
            dt_wire_string(&d, 2, dim[i].name);
        else
            dt_wire_int(&d, 1, dim[i].n);
        dt_wire_text(&shape, 1, &d);
        dt_text_free(&d);
    }
    dt_wire_int(&tensor, 1, type);
    dt_wire_text(&tensor, 2, &shape);
    dt_wire_text(&of_type, 1, &tensor);
    dt_wire_string(&value, 1, name);
    dt_wire_text(&value, 2, &of_type);
    dt_wire_text(out, field, &value);
    dt_text_free(&shape);
    dt_text_free(&tensor);
    dt_text_free(&of_type);
    dt_text_free(&value);
}

const char *dt_onnx_input(dt_onnx *o, const char *name, int type, int rank, const dt_onnx_dim *dim)
{
    dt_text key = {0};
    dt_onnx_entry *entry;
    dt_wire_string(&key, 11, name); /* GraphProto.input: no node or tensor starts with that field */
    const char **before = known(o, &key, &entry);
    if (entry) {
        const char *copy = dt_arena_text(o->arena, name);
        o->failed |= !copy;
        entry->out[0] = copy ? copy : "";
        put_value(&o->inputs, 11, name, type, rank, dim);
        before = entry->out;
    }
    o->failed |= !before;
    dt_text_free(&key);
    return before ? before[0] : "";
}

void dt_onnx_output(dt_onnx *o, const char *value, const char *name, int type, int rank,
                    const dt_onnx_dim *dim)
{
    dt_text node = {0};
    dt_wire_string(&node, 1, value);
    dt_wire_string(&node, 2, name);
    dt_wire_string(&node, 3, name);
    dt_wire_string(&node, 4, "Identity");
    dt_wire_text(&o->nodes, 1, &node);
    dt_text_free(&node);
    o->node_count++;
    put_value(&o->outputs, 12, name, type, rank, dim);
}
