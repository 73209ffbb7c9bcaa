/*
 * stored_read.c - copies a part of a stored tensor into memory: finds the boxes that it touches, walks the common
 * part of each in the longest runs that both sides allow, and converts run by run.
 *
 * Three kinds of runs: dense on both sides (one dt_convert), the same but misaligned or byte-swapped (through a
 * small buffer), and transposed (tiles through a buffer: long runs of the input, whole cache lines of the output).
 */
#include "formats/stored.h"

#include "base/checked.h"
#include "tensor/convert.h"

#include <string.h>

enum { STAGE_BYTES = 8192, TILE_ROWS = 128, TILE_COLUMNS = 16 };

/* One copy: `rank` axes, the last one innermost; strides in elements. */
typedef struct copy {
    dt_dtype from, to;
    bool swap;
    int rank;
    int64_t dim[DT_MAX_RANK], in_stride[DT_MAX_RANK], out_stride[DT_MAX_RANK];
    int64_t from_block, to_block; /* elements in a block of each type */
    size_t from_bytes, to_bytes;  /* bytes of a block */
} copy;

static const uint8_t *in_at(const copy *c, const uint8_t *in, int64_t elements)
{
    return in + elements / c->from_block * (int64_t)c->from_bytes;
}

static uint8_t *out_at(const copy *c, uint8_t *out, int64_t elements)
{
    return out + elements / c->to_block * (int64_t)c->to_bytes;
}

/* n elements of `bytes` bytes each from one stride to another; a fixed size each, so that a copy is one move. */
static void copy_strided(uint8_t *out, int64_t out_step, const uint8_t *in, int64_t in_step, int64_t n,
                         size_t bytes)
{
#define COPY(size)                                                                                           \
    case size:                                                                                               \
        for (int64_t i = 0; i < n; i++)                                                                      \
            memcpy(out + i * out_step * size, in + i * in_step * size, size);                                \
        break
    switch (bytes) {
        COPY(1);
        COPY(2);
        COPY(4);
        COPY(8);
    }
#undef COPY
}

static void swap_elements(uint8_t *data, size_t bytes, int64_t n)
{
    for (int64_t i = 0; i < n; i++, data += bytes) {
        for (size_t b = 0; b < bytes / 2; b++) {
            uint8_t kept = data[b];
            data[b] = data[bytes - 1 - b];
            data[bytes - 1 - b] = kept;
        }
    }
}

/* Place n stored elements (in_stride apart) densely, in native byte order. Plain types only. */
static void gather(const copy *c, uint8_t *stage, const uint8_t *in, int64_t in_stride, int64_t n)
{
    if (in_stride == 1)
        memcpy(stage, in, (size_t)n * c->from_bytes);
    else
        copy_strided(stage, 1, in, in_stride, n, c->from_bytes);
    if (c->swap)
        swap_elements(stage, c->from_bytes, n);
}

static bool aligned(const void *data, size_t bytes)
{
    return ((uintptr_t)data & (bytes - 1)) == 0; /* plain types have 1, 2, 4 or 8 bytes */
}

/* A row that is dense on both sides, or one that goes through the buffer piece by piece. */
static dt_status copy_row(const copy *c, const uint8_t *in, uint8_t *out, dt_error *err)
{
    int last = c->rank - 1;
    int64_t n = c->dim[last], in_stride = c->in_stride[last], out_stride = c->out_stride[last];
    bool plain = c->from_block == 1 && c->to_block == 1;
    bool direct = in_stride == 1 && out_stride == 1 && !c->swap;
    if (direct && (!plain || (aligned(in, c->from_bytes) && aligned(out, c->to_bytes))))
        return dt_convert(c->to, out, c->from, in, n, err);
    if (c->from_block != 1 || (c->to_block != 1 && out_stride != 1))
        return dt_fail(err, DT_UNSUPPORTED, "%s cannot be read with strides", dt_dtype_name(c->from));
    _Alignas(64) uint8_t stored[STAGE_BYTES], wanted[STAGE_BYTES];
    int64_t piece = STAGE_BYTES / 8; /* elements of the widest type; a multiple of any block */
    for (int64_t at = 0; at < n; at += piece) {
        int64_t now = n - at < piece ? n - at : piece;
        gather(c, stored, in_at(c, in, at * in_stride), in_stride, now);
        if (c->to_block != 1) {
            DT_PASS(dt_convert(c->to, out_at(c, out, at), c->from, stored, now, err));
            continue;
        }
        DT_PASS(dt_convert(c->to, wanted, c->from, stored, now, err));
        copy_strided(out_at(c, out, at * out_stride), out_stride, wanted, 1, now, c->to_bytes);
    }
    return DT_OK;
}

/* One tile of the last two axes, whose input runs along the first and whose output runs along the second. */
static dt_status copy_tile(const copy *c, const uint8_t *in, uint8_t *out, int64_t rows, int64_t columns,
                           dt_error *err)
{
    int a = c->rank - 2, b = c->rank - 1;
    _Alignas(64) uint8_t stored[TILE_ROWS * 8], wanted[TILE_COLUMNS][TILE_ROWS * 8];
    for (int64_t k = 0; k < columns; k++) {
        gather(c, stored, in_at(c, in, k * c->in_stride[b]), 1, rows);
        DT_PASS(dt_convert(c->to, wanted[k], c->from, stored, rows, err));
    }
    for (int64_t r = 0; r < rows; r++)
        copy_strided(out_at(c, out, r * c->out_stride[a]), 1, wanted[0] + (size_t)r * c->to_bytes,
                     TILE_ROWS * 8 / (int64_t)c->to_bytes, columns, c->to_bytes);
    return DT_OK;
}

static dt_status copy_transposed(const copy *c, const uint8_t *in, uint8_t *out, dt_error *err)
{
    int a = c->rank - 2, b = c->rank - 1;
    for (int64_t i = 0; i < c->dim[a]; i += TILE_ROWS) {
        int64_t rows = c->dim[a] - i < TILE_ROWS ? c->dim[a] - i : TILE_ROWS;
        for (int64_t j = 0; j < c->dim[b]; j += TILE_COLUMNS) {
            int64_t columns = c->dim[b] - j < TILE_COLUMNS ? c->dim[b] - j : TILE_COLUMNS;
            DT_PASS(copy_tile(c, in_at(c, in, i * c->in_stride[a] + j * c->in_stride[b]),
                              out_at(c, out, i * c->out_stride[a] + j * c->out_stride[b]), rows, columns,
                              err));
        }
    }
    return DT_OK;
}

static bool is_transposed(const copy *c)
{
    int a = c->rank - 2, b = c->rank - 1;
    return c->rank >= 2 && c->in_stride[a] == 1 && c->out_stride[b] == 1 && c->dim[a] > 1 && c->dim[b] > 1 &&
           c->from_block == 1 && c->to_block == 1;
}

static dt_status copy_all(const copy *c, const uint8_t *in, uint8_t *out, dt_error *err)
{
    bool transposed = is_transposed(c);
    int outer = c->rank - (transposed ? 2 : 1);
    int64_t at[DT_MAX_RANK] = {0};
    for (;;) {
        int64_t from = 0, to = 0;
        for (int axis = 0; axis < outer; axis++) {
            from += at[axis] * c->in_stride[axis];
            to += at[axis] * c->out_stride[axis];
        }
        DT_PASS((transposed ? copy_transposed : copy_row)(c, in_at(c, in, from), out_at(c, out, to), err));
        int axis = outer - 1;
        while (axis >= 0 && ++at[axis] == c->dim[axis])
            at[axis--] = 0;
        if (axis < 0)
            return DT_OK;
    }
}

static void swap_axes(copy *c, int a, int b)
{
    int64_t dim = c->dim[a], in = c->in_stride[a], out = c->out_stride[a];
    c->dim[a] = c->dim[b], c->in_stride[a] = c->in_stride[b], c->out_stride[a] = c->out_stride[b];
    c->dim[b] = dim, c->in_stride[b] = in, c->out_stride[b] = out;
}

/* Order the axes so that the output's smallest stride is innermost, drop axes of one element, join dense neighbours. */
static void simplify(copy *c)
{
    int kept = 0;
    for (int axis = 0; axis < c->rank; axis++) {
        if (c->dim[axis] != 1)
            swap_axes(c, axis, kept++);
    }
    c->rank = kept;
    for (int i = 1; i < c->rank; i++) {
        for (int j = i; j > 0 && c->out_stride[j - 1] < c->out_stride[j]; j--)
            swap_axes(c, j - 1, j);
    }
    for (int i = c->rank - 2; i >= 0; i--) {
        if (c->in_stride[i] != c->in_stride[i + 1] * c->dim[i + 1] ||
            c->out_stride[i] != c->out_stride[i + 1] * c->dim[i + 1])
            continue;
        c->dim[i + 1] *= c->dim[i];
        for (int j = i; j < c->rank - 1; j++)
            swap_axes(c, j, j + 1); /* the joined axis moves to the back, and off */
        c->rank--;
    }
    if (c->rank == 0)
        *c = (copy){c->from,       c->to,       c->swap,       1,          {1}, {1}, {1},
                    c->from_block, c->to_block, c->from_bytes, c->to_bytes};
    for (int i = 0; i < c->rank - 2; i++) { /* for copy_transposed: the input's dense axis next to the last */
        if (c->in_stride[i] == 1 && c->in_stride[c->rank - 1] != 1)
            swap_axes(c, i, c->rank - 2);
    }
}

/* The part of `region` that lies in `box`; false when there is none. */
static bool common_part(const dt_stored_region *region, const dt_stored_box *box, dt_stored_region *part)
{
    *part = (dt_stored_region){.shape.rank = region->shape.rank};
    for (int axis = 0; axis < region->shape.rank; axis++) {
        int64_t begin = region->offset[axis], end = begin + region->shape.dim[axis];
        int64_t box_begin = box->offset[axis], box_end = box_begin + box->shape.dim[axis];
        part->offset[axis] = begin > box_begin ? begin : box_begin;
        part->shape.dim[axis] = (end < box_end ? end : box_end) - part->offset[axis];
        if (part->shape.dim[axis] <= 0)
            return false;
    }
    return true;
}

/* The first box that may reach row `begin` of axis 0: boxes are sorted by offset and none is longer than `longest`. */
static int first_box(const dt_stored_tensor *tensor, int64_t begin)
{
    int low = 0, high = tensor->box_count;
    while (tensor->shape.rank > 0 && low < high) {
        int middle = low + (high - low) / 2;
        if (tensor->box[middle].offset[0] <= begin - tensor->longest)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_past(const dt_stored_box *box, const dt_stored_region *region)
{
    return region->shape.rank > 0 && box->offset[0] >= region->offset[0] + region->shape.dim[0];
}

static dt_status check_region(const dt_stored_tensor *tensor, const dt_stored_region *region, dt_error *err)
{
    bool inside = region->shape.rank == tensor->shape.rank;
    for (int axis = 0; inside && axis < tensor->shape.rank; axis++) {
        int64_t dim = tensor->shape.dim[axis], offset = region->offset[axis];
        inside = offset >= 0 && offset <= dim && region->shape.dim[axis] >= 0 &&
                 region->shape.dim[axis] <= dim - offset;
    }
    if (inside)
        return DT_OK;
    dt_shape at = dt_shape_of(region->shape.rank, region->offset);
    return dt_fail(err, DT_INVALID, "the part %s at %s lies outside tensor \"%s\" of shape %s",
                   dt_shape_print(&region->shape).text, dt_shape_print(&at).text, tensor->name,
                   dt_shape_print(&tensor->shape).text);
}

static dt_stored_region whole(const dt_stored_tensor *tensor)
{
    return (dt_stored_region){.shape = tensor->shape};
}

static bool is_empty(const dt_shape *shape)
{
    for (int axis = 0; axis < shape->rank; axis++) {
        if (shape->dim[axis] == 0)
            return true;
    }
    return false;
}

static void dense_strides(const dt_shape *shape, int64_t *stride)
{
    int64_t step = 1;
    for (int axis = shape->rank - 1; axis >= 0; axis--) {
        stride[axis] = step;
        step *= shape->dim[axis];
    }
}

/* A block type is cut only between blocks, and only along its dense last axis. */
static dt_status check_blocks(dt_dtype type, const dt_shape *shape, const int64_t *offset,
                              const int64_t *stride, dt_error *err)
{
    int64_t block = dt_dtype_block_elements(type);
    int last = shape->rank - 1;
    bool whole_blocks = block == 1 || (last >= 0 && stride[last] == 1 && shape->dim[last] % block == 0 &&
                                       offset[last] % block == 0);
    for (int axis = 0; whole_blocks && axis < last; axis++)
        whole_blocks = stride[axis] % block == 0;
    if (whole_blocks)
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED, "a part %s is not whole rows of %s blocks (%d elements each)",
                   dt_shape_print(shape).text, dt_dtype_name(type), (int)block);
}

static dt_status copy_part(const dt_stored_tensor *tensor, const dt_stored_box *box,
                           const dt_stored_region *part, const dt_stored_region *region, dt_dtype dtype,
                           void *out, const int64_t *out_stride, dt_error *err)
{
    copy c = {.from = tensor->dtype, .to = dtype, .swap = tensor->swap_bytes, .rank = part->shape.rank};
    c.from_block = dt_dtype_block_elements(c.from), c.from_bytes = (size_t)dt_dtype_block_bytes(c.from);
    c.to_block = dt_dtype_block_elements(c.to), c.to_bytes = (size_t)dt_dtype_block_bytes(c.to);
    int64_t in = 0, to = 0, in_offset[DT_MAX_RANK] = {0}, to_offset[DT_MAX_RANK] = {0};
    for (int axis = 0; axis < c.rank; axis++) {
        c.dim[axis] = part->shape.dim[axis];
        c.in_stride[axis] = box->stride[axis];
        c.out_stride[axis] = out_stride[axis];
        in_offset[axis] = part->offset[axis] - box->offset[axis];
        to_offset[axis] = part->offset[axis] - region->offset[axis];
        in += in_offset[axis] * c.in_stride[axis];
        to += to_offset[axis] * c.out_stride[axis];
    }
    DT_PASS(check_blocks(c.from, &part->shape, in_offset, c.in_stride, err));
    DT_PASS(check_blocks(c.to, &part->shape, to_offset, c.out_stride, err));
    const uint8_t *from = in_at(&c, box->data, in);
    uint8_t *target = out_at(&c, out, to);
    simplify(&c);
    return copy_all(&c, from, target, err);
}

dt_dtype dt_stored_type(const dt_stored_tensor *tensor)
{
    return tensor->divisor || tensor->factor ? DT_F32 : tensor->dtype;
}

enum { SCALED_RUN = 1024 }; /* elements; whole blocks of every type */

static float integer_at(const dt_stored_tensor *t, int64_t element)
{
    const uint8_t *data = t->box[0].data;
    int16_t wide;
    if (t->dtype == DT_I8)
        return (float)(int8_t)data[element];
    memcpy(&wide, data + 2 * element, sizeof wide);
    return (float)wide;
}

/* `n` values from a row and column on: quotients, or products. */
static void scaled_values(const dt_stored_tensor *t, int64_t row, int64_t col, int64_t n, float *out)
{
    int64_t first = row * t->shape.dim[1] + col;
    if (!t->factor) {
        float divisor = t->divisor[t->divisors > 1 ? row : 0];
        for (int64_t i = 0; i < n; i++)
            out[i] = integer_at(t, first + i) / divisor;
        return;
    }
    int64_t across = (t->shape.dim[1] + t->factor_cols - 1) / t->factor_cols;
    const float *factor = t->factor + row / t->factor_rows * across;
    const uint8_t *data = t->box[0].data + first;
    for (int64_t i = 0; i < n; i++)
        out[i] = (t->dtype == DT_F8E4M3 ? dt_f8e4m3_to_f32(data[i]) : dt_f8e5m2_to_f32(data[i])) *
                 factor[(col + i) / t->factor_cols];
}

/* Part of a row of `n` scaled values, as dtype. */
static dt_status copy_scaled(const dt_stored_tensor *t, int64_t row, int64_t col, int64_t n, dt_dtype dtype,
                             uint8_t *out, int64_t stride, dt_error *err)
{
    float value[SCALED_RUN];
    size_t bytes = (size_t)dt_dtype_block_bytes(dtype);
    scaled_values(t, row, col, n, value);
    if (stride == 1)
        return dt_convert(dtype, out, DT_F32, value, n, err);
    for (int64_t i = 0; i < n; i++)
        DT_PASS(dt_convert(dtype, out + (size_t)(i * stride) * bytes, DT_F32, &value[i], 1, err));
    return DT_OK;
}

static dt_status read_scaled(const dt_stored_tensor *t, const dt_stored_region *r, dt_dtype dtype, void *out,
                             const int64_t *stride, dt_error *err)
{
    int64_t block = dt_dtype_block_elements(dtype), cols = r->shape.dim[1];
    DT_PASS(check_blocks(dtype, &r->shape, r->offset, stride, err));
    for (int64_t i = 0; i < r->shape.dim[0]; i++)
        for (int64_t j = 0; j < cols; j += SCALED_RUN) {
            int64_t n = cols - j < SCALED_RUN ? cols - j : SCALED_RUN;
            size_t at =
                (size_t)((i * stride[0] + j * stride[1]) / block) * (size_t)dt_dtype_block_bytes(dtype);
            DT_PASS(copy_scaled(t, r->offset[0] + i, r->offset[1] + j, n, dtype, (uint8_t *)out + at,
                                stride[1], err));
        }
    return DT_OK;
}

dt_status dt_stored_read(const dt_stored_tensor *tensor, const dt_stored_region *region, dt_dtype dtype,
                         void *out, const int64_t *out_stride, dt_error *err)
{
    if (tensor->unsupported)
        return dt_fail(err, DT_UNSUPPORTED, "tensor \"%s\" cannot be read: %s", tensor->name,
                       tensor->unsupported);
    dt_stored_region all = whole(tensor), part;
    int64_t dense[DT_MAX_RANK] = {0};
    if (!region)
        region = &all;
    DT_PASS(check_region(tensor, region, err));
    bool scaled = dt_stored_type(tensor) != tensor->dtype &&
                  dtype != tensor->dtype; /* as its own type: what is stored */
    if (!dt_can_convert(dtype, scaled ? DT_F32 : tensor->dtype))
        return dt_fail(err, DT_UNSUPPORTED, "tensor \"%s\" is stored as %s, which has no conversion to %s",
                       tensor->name, dt_dtype_name(tensor->dtype), dt_dtype_name(dtype));
    if (is_empty(&region->shape))
        return DT_OK;
    if (!out_stride) {
        dense_strides(&region->shape, dense);
        out_stride = dense;
    }
    if (scaled)
        return read_scaled(tensor, region, dtype, out, out_stride, err);
    int64_t begin = region->shape.rank ? region->offset[0] : 0;
    for (int i = first_box(tensor, begin); i < tensor->box_count && !is_past(&tensor->box[i], region); i++) {
        const dt_stored_box *box = &tensor->box[i];
        if (common_part(region, box, &part))
            DT_TRY(copy_part(tensor, box, &part, region, dtype, out, out_stride, err), err,
                   "while reading tensor \"%s\" from %s", tensor->name, box->file);
    }
    return DT_OK;
}

/* Tell the kernel about the mapped bytes of a region. */
static void advise(const dt_stored_tensor *tensor, const dt_stored_region *region,
                   void (*tell)(const dt_map *map, size_t offset, size_t bytes))
{
    dt_stored_region all = whole(tensor), part;
    if (!region)
        region = &all;
    if (tensor->unsupported || check_region(tensor, region, NULL) != DT_OK || is_empty(&region->shape))
        return;
    int64_t begin = region->shape.rank ? region->offset[0] : 0;
    for (int i = first_box(tensor, begin); i < tensor->box_count && !is_past(&tensor->box[i], region); i++) {
        const dt_stored_box *box = &tensor->box[i];
        if (!box->data || !common_part(region, box, &part))
            continue;
        int64_t first = 0, last = 0, block = dt_dtype_block_elements(tensor->dtype);
        for (int axis = 0; axis < part.shape.rank; axis++) {
            int64_t from = part.offset[axis] - box->offset[axis];
            first += from * box->stride[axis];
            last += (from + part.shape.dim[axis] - 1) * box->stride[axis];
        }
        size_t bytes = (size_t)dt_dtype_block_bytes(tensor->dtype);
        size_t start = (size_t)(first / block) * bytes;
        tell(box->map, (size_t)box->file_offset + start, (size_t)(last / block + 1) * bytes - start);
    }
}

void dt_stored_drop(const dt_stored_tensor *tensor, const dt_stored_region *region)
{
    advise(tensor, region, dt_map_drop);
}

void dt_stored_will_need(const dt_stored_tensor *tensor, const dt_stored_region *region)
{
    advise(tensor, region, dt_map_will_need);
}

size_t dt_stored_bytes(const dt_stored_tensor *tensor)
{
    size_t bytes;
    return !tensor->unsupported && dt_shape_bytes(&tensor->shape, tensor->dtype, &bytes) ? bytes : 0;
}

const void *dt_stored_dense(const dt_stored_tensor *tensor)
{
    if (tensor->unsupported || tensor->box_count != 1 || tensor->swap_bytes || !tensor->box[0].data)
        return NULL;
    const dt_stored_box *box = &tensor->box[0];
    int64_t dense[DT_MAX_RANK] = {0};
    dense_strides(&tensor->shape, dense);
    for (int axis = 0; axis < tensor->shape.rank; axis++) {
        if (tensor->shape.dim[axis] != 1 && box->stride[axis] != dense[axis])
            return NULL;
    }
    size_t bytes = (size_t)dt_dtype_block_bytes(tensor->dtype);
    bool plain = dt_dtype_block_elements(tensor->dtype) == 1;
    return !plain || aligned(box->data, bytes) ? box->data : NULL;
}
