/*
 * graph.c - the graph itself: its tensors, names, axes and ops, and the error that sticks to it.
 *
 * What an op means is in ops.def and the files it names; this file only keeps the lists. Everything lives in the
 * graph's arena. Builders that users call are in build.c.
 */
#include "graph/rules.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

/* ---- life ---- */

dt_graph *dt_graph_create(dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    dt_graph *g = arena ? DT_NEW(arena, dt_graph) : NULL;
    if (!g) {
        dt_arena_destroy(arena);
        dt_fail_memory(err, sizeof(dt_graph), "a graph");
        return NULL;
    }
    g->arena = arena;
    g->harmless_axis = (dt_axis){.id = -1, .name = "none", .capacity = 1};
    g->harmless_tensor = (dt_tensor){.id = -1, .kind = DT_TENSOR_VALUE, .rank = 1, .dim = {{NULL, 1}}};
    return g;
}

void dt_graph_destroy(dt_graph *g)
{
    if (g)
        dt_arena_destroy(g->arena);
}

void dt_graph_fail(dt_graph *g, dt_status status, const char *format, ...)
{
    if (!g || g->error.status != DT_OK)
        return;
    char line[DT_ERROR_LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    dt_fail(&g->error, status, "%s", line);
}

/* Make room for one more entry of a list; false poisons the graph. */
static bool reserve(dt_graph *g, void **list, int count, int *capacity, size_t entry_bytes)
{
    if (count < *capacity)
        return true;
    int larger = *capacity ? 2 * *capacity : 64;
    void *grown = dt_arena_grow(g->arena, *list, (size_t)count * entry_bytes, (size_t)larger * entry_bytes);
    if (!grown) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (%zu bytes for a graph)", (size_t)larger * entry_bytes);
        return false;
    }
    *list = grown;
    *capacity = larger;
    return true;
}

/* ---- dimensions ---- */

bool dt_dim_equal(dt_dim a, dt_dim b)
{
    return a.axis == b.axis && a.n == b.n;
}

int64_t dt_dim_count(dt_dim dim, const int64_t *counts)
{
    if (!dim.axis)
        return dim.n;
    return (counts && dim.axis->id >= 0 ? counts[dim.axis->id] : dim.axis->capacity) + dim.n;
}

int64_t dt_tensor_elements(const dt_tensor *t, const int64_t *counts)
{
    int64_t elements = 1;
    for (int i = 0; i < t->rank; i++)
        elements *= dt_dim_count(t->dim[i], counts);
    return elements;
}

/* Sizes at capacity were checked when the tensor was made, so that this cannot wrap. */
size_t dt_tensor_bytes(const dt_tensor *t, const int64_t *counts)
{
    int64_t block = dt_dtype_block_elements(t->dtype);
    return (size_t)(dt_tensor_elements(t, counts) / block) * (size_t)dt_dtype_block_bytes(t->dtype);
}

static bool dims_are_sane(int rank, const dt_dim *dim, dt_dtype dtype)
{
    if (rank < 1 || rank > DT_MAX_RANK || !dim || (unsigned)dtype >= DT_DTYPE_COUNT)
        return false;
    dt_shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++) {
        if (dim[i].n < (dim[i].axis ? 0 : 1))
            return false;
        if (!dt_add_int64(dim[i].axis ? dim[i].axis->capacity : 0, dim[i].n, &shape.dim[i]))
            return false;
    }
    size_t bytes;
    return dt_shape_bytes(&shape, dtype, &bytes) && bytes <= PTRDIFF_MAX;
}

dt_tensor_text dt_dims_print(int rank, const dt_dim *dim)
{
    dt_tensor_text out = {"["};
    size_t used = 1;
    for (int i = 0; i < rank && used < sizeof out.text; i++) {
        const char *comma = i ? ", " : "";
        size_t left = sizeof out.text - used;
        if (!dim[i].axis)
            used += (size_t)snprintf(out.text + used, left, "%s%lld", comma, (long long)dim[i].n);
        else if (dim[i].n)
            used += (size_t)snprintf(out.text + used, left, "%s%s + %lld", comma, dim[i].axis->name,
                                     (long long)dim[i].n);
        else
            used += (size_t)snprintf(out.text + used, left, "%s%s", comma, dim[i].axis->name);
    }
    if (used < sizeof out.text)
        snprintf(out.text + used, sizeof out.text - used, "]");
    return out;
}

dt_tensor_text dt_tensor_print(const dt_tensor *t)
{
    dt_tensor_text out;
    if (!t) {
        snprintf(out.text, sizeof out.text, "NULL");
        return out;
    }
    dt_tensor_text dims = dt_dims_print(t->rank, t->dim);
    const char *type = t->dtype == DT_F32 ? "" : dt_dtype_name(t->dtype);
    const char *space = *type ? " " : "";
    if (t->name)
        snprintf(out.text, sizeof out.text, "\"%.120s\" %.90s%s%s", t->name, dims.text, space, type);
    else
        snprintf(out.text, sizeof out.text, "the result of %s %.90s%s%s",
                 t->producer ? dt_op_info_of(t->producer->kind)->name : "nothing", dims.text, space, type);
    return out;
}

/* ---- names ---- */

static uint32_t hash(const char *name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

/* The slot that holds `name`, or the free one where it belongs. */
static int *slot_of(const dt_graph *g, const char *name)
{
    uint32_t mask = (uint32_t)g->name_slot_count - 1, at = hash(name) & mask;
    while (g->name_slot[at] >= 0 && strcmp(g->named[g->name_slot[at]].name, name) != 0)
        at = (at + 1) & mask;
    return &g->name_slot[at];
}

static bool grow_slots(dt_graph *g)
{
    if (g->named_count * 2 < g->name_slot_count)
        return true;
    int larger = g->name_slot_count ? 2 * g->name_slot_count : 256;
    int *slots = DT_NEW_ARRAY(g->arena, int, larger);
    if (!slots) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (%zu bytes for the names of a graph)",
                      (size_t)larger * sizeof(int));
        return false;
    }
    memset(slots, 0xff, (size_t)larger * sizeof(int));
    g->name_slot = slots;
    g->name_slot_count = larger;
    for (int i = 0; i < g->named_count; i++)
        *slot_of(g, g->named[i].name) = i;
    return true;
}

dt_tensor *dt_graph_find(const dt_graph *g, const char *name)
{
    if (!g || !name || g->name_slot_count == 0)
        return NULL;
    int at = *slot_of(g, name);
    return at < 0 ? NULL : g->named[at].tensor;
}

bool dt_graph_name(dt_graph *g, dt_tensor *t, const char *name)
{
    if (!grow_slots(g) ||
        !reserve(g, (void **)&g->named, g->named_count, &g->named_capacity, sizeof *g->named))
        return false;
    char *copy = dt_arena_text(g->arena, name);
    if (!copy) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (the name %.80s)", name);
        return false;
    }
    *slot_of(g, name) = g->named_count;
    g->named[g->named_count++] = (dt_named){copy, t};
    if (!t->name)
        t->name = copy;
    return true;
}

/* ---- tensors, axes, ops ---- */

dt_tensor *dt_graph_new_tensor(dt_graph *g, dt_tensor_kind kind, dt_dtype dtype, int rank, const dt_dim *dim)
{
    if (!dims_are_sane(rank, dim, dtype)) {
        bool printable = rank >= 1 && rank <= DT_MAX_RANK && dim;
        dt_graph_fail(g, DT_INVALID, "a tensor of rank %d and shape %s in %s is not possible", rank,
                      printable ? dt_dims_print(rank, dim).text : "?", dt_dtype_name(dtype));
        return NULL;
    }
    dt_tensor *t = DT_NEW(g->arena, dt_tensor);
    if (!t) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (%zu bytes for a tensor)", sizeof *t);
        return NULL;
    }
    if (!reserve(g, (void **)&g->tensor, g->tensor_count, &g->tensor_capacity, sizeof *g->tensor))
        return NULL;
    *t = (dt_tensor){.id = g->tensor_count, .kind = kind, .dtype = dtype, .rank = rank};
    memcpy(t->dim, dim, (size_t)rank * sizeof *dim);
    g->tensor[g->tensor_count++] = t;
    return t;
}

dt_tensor *dt_graph_new_value(dt_graph *g, dt_op *producer, dt_dtype dtype, int rank, const dt_dim *dim)
{
    dt_tensor *t = dt_graph_new_tensor(g, DT_TENSOR_VALUE, dtype, rank, dim);
    if (t)
        t->producer = producer;
    return t;
}

static dt_axis *find_axis(dt_graph *g, const char *name)
{
    for (int i = 0; i < g->axis_count; i++)
        if (strcmp(g->axis[i]->name, name) == 0)
            return g->axis[i];
    return NULL;
}

static dt_axis *new_axis(dt_graph *g, const char *name, int64_t capacity)
{
    dt_axis *axis = DT_NEW(g->arena, dt_axis);
    char *copy = dt_arena_text(g->arena, name);
    if (!axis || !copy) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (the axis %.80s)", name);
        return NULL;
    }
    if (!reserve(g, (void **)&g->axis, g->axis_count, &g->axis_capacity, sizeof *g->axis))
        return NULL;
    *axis = (dt_axis){.id = g->axis_count, .name = copy, .capacity = capacity};
    g->axis[g->axis_count++] = axis;
    return axis;
}

dt_axis *dt_graph_axis(dt_graph *g, const char *name, int64_t capacity)
{
    if (!g)
        return NULL;
    if (g->error.status != DT_OK)
        return &g->harmless_axis;
    dt_axis *axis = NULL;
    if (!name || !*name)
        dt_graph_fail(g, DT_INVALID, "an axis needs a name");
    else if (capacity < 1)
        dt_graph_fail(g, DT_INVALID, "axis %.80s: capacity %lld is not positive", name, (long long)capacity);
    else if (!(axis = find_axis(g, name)))
        axis = new_axis(g, name, capacity);
    else if (axis->capacity != capacity)
        dt_graph_fail(g, DT_MISMATCH, "axis %.80s has capacity %lld and cannot have %lld as well", name,
                      (long long)axis->capacity, (long long)capacity);
    return g->error.status == DT_OK ? axis : &g->harmless_axis;
}

/* ---- ops ---- */

static const char *last_point(const dt_graph *g)
{
    for (int i = g->named_count - 1; i >= 0; i--)
        if (g->named[i].tensor->kind == DT_TENSOR_VALUE)
            return g->named[i].name;
    return NULL;
}

static dt_status check_arity(const dt_graph *g, const dt_op *op, dt_error *err)
{
    const dt_op_info *info = dt_op_info_of(op->kind);
    if (op->input_count > info->max_inputs)
        return dt_fail(err, DT_INVALID, "%s takes at most %d inputs, not %d", info->name, info->max_inputs,
                       op->input_count);
    for (int i = 0; i < info->min_inputs; i++)
        if (i >= op->input_count || !op->input[i])
            return dt_fail(err, DT_INVALID, "%s needs %d input%s, but input %d is NULL", info->name,
                           info->min_inputs, info->min_inputs == 1 ? "" : "s", i);
    for (int i = 0; i < op->input_count; i++) {
        const dt_tensor *t = op->input[i];
        if (t && (t->id < 0 || t->id >= g->tensor_count || g->tensor[t->id] != t))
            return dt_fail(err, DT_INVALID, "%s: input %d belongs to another graph", info->name, i);
    }
    return DT_OK;
}

dt_status dt_op_infer(const dt_graph *g, const dt_op *op, dt_signature *out, dt_error *err)
{
    *out = (dt_signature){0};
    if ((unsigned)op->kind >= DT_OP_COUNT)
        return dt_fail(err, DT_INTERNAL, "op %d has no row in the op table", (int)op->kind);
    DT_PASS(check_arity(g, op, err));
    return dt_op_info_of(op->kind)->shape(op, out, err);
}

static bool make_outputs(dt_graph *g, dt_op *op, const dt_signature *signature)
{
    op->output_count = signature->count;
    for (int i = 0; i < signature->count; i++) {
        if (signature->output[i].rank == 0)
            continue;
        op->output[i] = dt_graph_new_value(g, op, signature->output[i].dtype, signature->output[i].rank,
                                           signature->output[i].dim);
        if (!op->output[i])
            return false;
    }
    return true;
}

dt_op *dt_graph_add_op(dt_graph *g, dt_op_kind kind, int input_count, dt_tensor *const *input,
                       const dt_attributes *attr)
{
    if (!g || g->error.status != DT_OK)
        return NULL;
    dt_op *op = DT_NEW(g->arena, dt_op);
    if (!op) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (%zu bytes for an op)", sizeof *op);
        return NULL;
    }
    if (!reserve(g, (void **)&g->op, g->op_count, &g->op_capacity, sizeof *g->op))
        return NULL;
    *op = (dt_op){.id = g->op_count, .kind = kind, .phase = g->phase, .fuse = g->permit};
    op->input_count = input_count < DT_OP_MAX_INPUTS ? input_count : DT_OP_MAX_INPUTS;
    memcpy(op->input, input, (size_t)op->input_count * sizeof *input);
    if (attr)
        op->attr = *attr;
    dt_signature signature;
    if (dt_op_infer(g, op, &signature, &g->error) != DT_OK) {
        const char *point = last_point(g);
        if (point)
            dt_error_while(&g->error, "while building op %d, after point \"%s\"", op->id, point);
        return NULL;
    }
    g->op[g->op_count++] = op;
    return make_outputs(g, op, &signature) ? op : NULL;
}

void dt_graph_compact(dt_graph *g)
{
    int kept = 0;
    for (int i = 0; i < g->op_count; i++) {
        if (!g->op[i])
            continue;
        g->op[kept] = g->op[i];
        g->op[kept]->id = kept;
        kept++;
    }
    g->op_count = kept;
    for (int i = 0; i < g->tensor_count; i++) {
        dt_tensor *t = g->tensor[i];
        const dt_op *op = t->producer;
        if (!op)
            continue;
        bool made = op->id < kept && g->op[op->id] == op;
        bool listed = false;
        for (int j = 0; made && j < op->output_count; j++)
            listed |= op->output[j] == t;
        if (!listed)
            t->producer = NULL;
    }
}
