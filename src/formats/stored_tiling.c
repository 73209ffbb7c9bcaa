/*
 * stored_tiling.c - the two promises a stored tensor makes, checked once when it is added: its boxes stay inside
 * their files, and they cover the tensor's shape exactly once.
 *
 * Covering is proven by counting: boxes inside the shape that do not overlap, and as many elements as the shape
 * has. Overlaps are found by cutting: boxes are sorted along one axis and split wherever no box crosses, then each
 * part along the next axis. What checkpoints hold (grids, stacks, flat buckets) falls apart into single boxes; a
 * part that cannot be cut is compared pair by pair, up to a cap, so that a hostile file costs bounded time.
 */
#include "formats/stored_tiling.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdlib.h>

/* A tensor whose strides repeat elements may not claim more than this many: a few bytes must not ask for terabytes. */
enum { PAIRWISE_LIMIT = 4096, CUT_DEPTH = 64, REPEAT_LIMIT = 1 << 24 };

/* The index of the last element that the strides reach; false when it overflows. */
static bool last_element(const dt_stored_box *box, int64_t *last)
{
    *last = 0;
    for (int axis = 0; axis < box->shape.rank; axis++) {
        int64_t reach;
        if (box->stride[axis] < 0 || !dt_mul_int64(box->shape.dim[axis] - 1, box->stride[axis], &reach) ||
            !dt_add_int64(*last, reach, last))
            return false;
    }
    return true;
}

dt_status dt_stored_check_box(const dt_stored_tensor *tensor, const dt_stored_box *box, dt_error *err)
{
    int64_t elements, last, reach;
    if (box->shape.rank != tensor->shape.rank)
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" has %d dimensions, one of its boxes has %d",
                       tensor->name, tensor->shape.rank, box->shape.rank);
    if (!dt_shape_elements(&box->shape, &elements))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\": the shape %s is impossible", tensor->name,
                       dt_shape_print(&box->shape).text);
    if (elements == 0)
        return DT_OK;
    int64_t block = dt_dtype_block_elements(tensor->dtype);
    if (!last_element(box, &last) || !dt_add_int64(last, block, &reach) ||
        !dt_mul_int64(reach / block, dt_dtype_block_bytes(tensor->dtype), &reach))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\" of shape %s has impossible strides", tensor->name,
                       dt_shape_print(&box->shape).text);
    if (!box->map || !dt_range_inside(box->file_offset, (uint64_t)reach, box->map->size))
        return dt_fail(err, DT_FORMAT,
                       "tensor \"%s\": bytes [%" PRIu64 ", +%" PRId64 ") lie outside the file (%zu bytes)",
                       tensor->name, box->file_offset, reach, box->map ? box->map->size : 0);
    if (elements - 1 > last && elements > REPEAT_LIMIT)
        return dt_fail(err, DT_LIMIT,
                       "tensor \"%s\" claims %" PRId64 " elements but repeats the same %" PRId64
                       " of the file",
                       tensor->name, elements, last + 1);
    return DT_OK;
}

static int compare_int64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_offset(const void *a, const void *b)
{
    const dt_stored_box *x = a, *y = b;
    for (int axis = 0; axis < x->shape.rank; axis++) {
        int order = compare_int64(x->offset[axis], y->offset[axis]);
        if (order)
            return order;
    }
    return 0;
}

/* qsort has no context, so the axis travels in the function: one comparison per axis. */
#define BY_AXIS(axis)                                                                                        \
    static int by_axis_##axis(const void *a, const void *b)                                                  \
    {                                                                                                        \
        const dt_stored_box *x = *(dt_stored_box *const *)a, *y = *(dt_stored_box *const *)b;                \
        return compare_int64(x->offset[axis], y->offset[axis]);                                              \
    }
BY_AXIS(0)
BY_AXIS(1)
BY_AXIS(2)
BY_AXIS(3)
BY_AXIS(4)
static int (*const BY_AXIS_TABLE[DT_MAX_RANK])(const void *, const void *) = {by_axis_0, by_axis_1, by_axis_2,
                                                                              by_axis_3, by_axis_4};

static int64_t box_end(const dt_stored_box *box, int axis)
{
    return box->offset[axis] + box->shape.dim[axis]; /* inside the shape, so it cannot overflow */
}

static bool overlap(const dt_stored_box *a, const dt_stored_box *b)
{
    for (int axis = 0; axis < a->shape.rank; axis++) {
        if (box_end(a, axis) <= b->offset[axis] || box_end(b, axis) <= a->offset[axis])
            return false;
    }
    return true;
}

static dt_status fail_overlap(const char *name, const dt_stored_box *a, const dt_stored_box *b, dt_error *err)
{
    dt_shape at_a = dt_shape_of(a->shape.rank, a->offset), at_b = dt_shape_of(b->shape.rank, b->offset);
    return dt_fail(err, DT_FORMAT, "tensor \"%s\": the box %s at %s (%s) overlaps the box %s at %s (%s)",
                   name, dt_shape_print(&a->shape).text, dt_shape_print(&at_a).text, a->file,
                   dt_shape_print(&b->shape).text, dt_shape_print(&at_b).text, b->file);
}

static dt_status compare_pairs(const char *name, dt_stored_box **part, size_t count, dt_error *err)
{
    if (count > PAIRWISE_LIMIT)
        return dt_fail(err, DT_LIMIT, "tensor \"%s\": %zu boxes interlock so that they cannot be checked",
                       name, count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            if (overlap(part[i], part[j]))
                return fail_overlap(name, part[i], part[j], err);
        }
    }
    return DT_OK;
}

/* No two boxes of `part` overlap. `axis` is the next one to try; `stuck` counts the axes in a row that cut nothing. */
static dt_status check_part(const char *name, dt_stored_box **part, size_t count, int axis, int stuck,
                            int depth, dt_error *err)
{
    if (count < 2)
        return DT_OK;
    int rank = part[0]->shape.rank;
    if (rank == 0 || stuck == rank || depth == CUT_DEPTH)
        return compare_pairs(name, part, count, err);
    qsort(part, count, sizeof *part, BY_AXIS_TABLE[axis]);
    for (size_t begin = 0; begin < count;) {
        int64_t end = box_end(part[begin], axis);
        size_t next = begin + 1;
        for (; next < count && part[next]->offset[axis] < end; next++) {
            if (box_end(part[next], axis) > end)
                end = box_end(part[next], axis);
        }
        bool cut = next - begin < count;
        DT_PASS(check_part(name, part + begin, next - begin, (axis + 1) % rank, cut ? 0 : stuck + 1,
                           depth + 1, err));
        begin = next;
    }
    return DT_OK;
}

static dt_status check_inside(const char *name, const dt_shape *shape, const dt_stored_box *box,
                              int64_t *covered, dt_error *err)
{
    int64_t elements = 0;
    bool inside = box->shape.rank == shape->rank && dt_shape_elements(&box->shape, &elements);
    for (int axis = 0; inside && axis < shape->rank; axis++) {
        inside = box->offset[axis] >= 0 && box->offset[axis] <= shape->dim[axis] &&
                 box->shape.dim[axis] <= shape->dim[axis] - box->offset[axis];
    }
    if (!inside || !dt_add_int64(*covered, elements, covered)) {
        dt_shape at = dt_shape_of(box->shape.rank, box->offset);
        return dt_fail(err, DT_FORMAT, "tensor \"%s\": the box %s at %s lies outside the shape %s", name,
                       dt_shape_print(&box->shape).text, dt_shape_print(&at).text,
                       dt_shape_print(shape).text);
    }
    return DT_OK;
}

static dt_status check_overlaps(const char *name, dt_stored_box *box, size_t count, dt_error *err)
{
    dt_arena *scratch = dt_arena_create();
    dt_stored_box **part = scratch ? DT_NEW_ARRAY(scratch, dt_stored_box *, count) : NULL;
    dt_status status = DT_OK;
    size_t used = 0;
    if (!part) {
        status = dt_fail_memory(err, count * sizeof *part, "the boxes of a tensor");
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        int64_t elements = 0;
        if (dt_shape_elements(&box[i].shape, &elements) && elements > 0)
            part[used++] = &box[i];
    }
    status = check_part(name, part, used, 0, 0, 0, err);
done:
    dt_arena_destroy(scratch);
    return status;
}

dt_status dt_stored_check_tiling(const char *name, const dt_shape *shape, dt_stored_box *box, size_t count,
                                 dt_error *err)
{
    int64_t elements, covered = 0;
    if (!dt_shape_elements(shape, &elements))
        return dt_fail(err, DT_FORMAT, "tensor \"%s\": the shape %s is impossible", name,
                       dt_shape_print(shape).text);
    for (size_t i = 0; i < count; i++)
        DT_PASS(check_inside(name, shape, &box[i], &covered, err));
    if (count > 1) {
        qsort(box, count, sizeof *box, by_offset);
        DT_PASS(check_overlaps(name, box, count, err));
    }
    if (covered != elements)
        return dt_fail(err, DT_FORMAT,
                       "tensor \"%s\" of shape %s: its boxes hold %" PRId64 " of %" PRId64 " elements", name,
                       dt_shape_print(shape).text, covered, elements);
    return DT_OK;
}
