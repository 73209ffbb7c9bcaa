/*
 * mapping.c - canonical tensors as pieces of external ones: building the list, and copying either way.
 *
 * Which pieces a format needs is for names.c (Hugging Face) and megatron/layout.c; moving bytes and converting them
 * is for stored_read.c.
 */
#include "formats/mapping.h"
#include "base/checked.h"
#include "base/text.h"
#include "tensor/convert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct name_index {
    int *slot; /* open addressing; -1 = free */
    int capacity;
} name_index;

struct dt_mapping {
    dt_arena *arena;
    dt_canonical *canonical;
    int count, started; /* `started` parameters have been given to dt_mapping_next */
    dt_external *external;
    int external_count, external_capacity;
    dt_piece *piece;
    int piece_count, piece_capacity;
    name_index canonical_names, external_names;
};

/* ---- names ---- */

static uint32_t hash_text(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

static const char *canonical_name(const dt_mapping *m, int i)
{
    return m->canonical[i].spec->name;
}

static const char *external_name(const dt_mapping *m, int i)
{
    return m->external[i].name;
}

typedef const char *(*name_of)(const dt_mapping *, int);

/* The slot of `name`: it, or the free one where it would go. */
static int *find_slot(const dt_mapping *m, const name_index *index, name_of get, const char *name)
{
    uint32_t mask = (uint32_t)index->capacity - 1;
    for (uint32_t i = hash_text(name) & mask;; i = (i + 1) & mask)
        if (index->slot[i] < 0 || strcmp(get(m, index->slot[i]), name) == 0)
            return &index->slot[i];
}

/* Make room for `count` names at half load, entering the first `present`. */
static bool index_names(dt_mapping *m, name_index *index, name_of get, int present, int count)
{
    int capacity = 64;
    while (capacity < 2 * count)
        capacity *= 2;
    if (capacity <= index->capacity)
        return true;
    int *slot = DT_NEW_ARRAY(m->arena, int, capacity);
    if (!slot)
        return false;
    memset(slot, 0xff, sizeof *slot * (size_t)capacity);
    *index = (name_index){slot, capacity};
    for (int i = 0; i < present; i++)
        *find_slot(m, index, get, get(m, i)) = i;
    return true;
}

/* ---- building ---- */

dt_status dt_mapping_create(dt_mapping **out, dt_arena *arena, const dt_param_spec *specs, int count,
                            dt_error *err)
{
    dt_mapping *m = DT_NEW(arena, dt_mapping);
    if (!m || !(m->canonical = DT_NEW_ARRAY(arena, dt_canonical, count + 1)))
        return dt_fail_memory(err, sizeof *m->canonical * (size_t)count, "the tensor mapping");
    m->arena = arena;
    m->count = count;
    for (int i = 0; i < count; i++)
        m->canonical[i] = (dt_canonical){
            .spec = &specs[i], .rows = specs[i].dim[0], .cols = specs[i].rank == 2 ? specs[i].dim[1] : 1};
    if (!index_names(m, &m->canonical_names, canonical_name, count, count) ||
        !index_names(m, &m->external_names, external_name, 0, count))
        return dt_fail_memory(err, sizeof(int) * 4 * (size_t)count, "the tensor mapping");
    *out = m;
    return DT_OK;
}

const dt_canonical *dt_mapping_next(dt_mapping *m, dt_error *err)
{
    if (m->started == m->count) {
        dt_fail(err, DT_INTERNAL, "a mapping has %d parameters, one more was asked for", m->count);
        return NULL;
    }
    dt_canonical *c = &m->canonical[m->started++];
    c->first = m->piece_count;
    return c;
}

static void *grown(dt_arena *arena, void *old, int count, int *capacity, size_t element)
{
    if (count < *capacity)
        return old;
    int larger = *capacity ? 2 * *capacity : 64;
    void *data = dt_arena_grow(arena, old, element * (size_t)count, element * (size_t)larger);
    if (data)
        *capacity = larger;
    return data;
}

dt_status dt_mapping_add_external(dt_mapping *m, const char *name, const dt_shape *shape, int axes,
                                  int *index, dt_error *err)
{
    int found = dt_mapping_find_external(m, name);
    if (found >= 0) {
        *index = found;
        if (dt_shape_equal(&m->external[found].shape, shape))
            return DT_OK;
        return dt_fail(err, DT_MISMATCH, "tensor \"%s\" would have to be both %s and %s", name,
                       dt_shape_print(&m->external[found].shape).text, dt_shape_print(shape).text);
    }
    void *list = grown(m->arena, m->external, m->external_count, &m->external_capacity, sizeof *m->external);
    if (!list || !index_names(m, &m->external_names, external_name, m->external_count, m->external_count + 1))
        return dt_fail_memory(err, sizeof *m->external, "the tensor mapping");
    m->external = list;
    dt_external *e = &m->external[m->external_count];
    *e = (dt_external){.name = dt_arena_text(m->arena, name), .shape = *shape, .axes = axes};
    if (!e->name)
        return dt_fail_memory(err, strlen(name), "a tensor's name");
    e->canonical = m->started ? m->canonical[m->started - 1].spec->name : NULL;
    *find_slot(m, &m->external_names, external_name, e->name) = m->external_count;
    *index = m->external_count++;
    return DT_OK;
}

dt_status dt_mapping_add_piece(dt_mapping *m, const dt_piece *piece, dt_error *err)
{
    if (piece->rows <= 0 || piece->cols <= 0)
        return DT_OK;
    void *list = grown(m->arena, m->piece, m->piece_count, &m->piece_capacity, sizeof *m->piece);
    if (!list)
        return dt_fail_memory(err, sizeof *m->piece, "the tensor mapping");
    m->piece = list;
    m->piece[m->piece_count++] = *piece;
    m->canonical[m->started - 1].count++;
    return DT_OK;
}

void dt_external_rows(const dt_external *e, int64_t *rows, int64_t *cols)
{
    *rows = 1;
    *cols = 1;
    for (int i = 0; i < e->shape.rank; i++)
        *(e->axes == 2 && i == e->shape.rank - 1 ? cols : rows) *= e->shape.dim[i];
}

dt_shape dt_external_file_shape(const dt_external *e)
{
    return e->reshaped ? e->file : e->shape;
}

/* Rows of one plane. */
static int64_t plane_rows(const dt_external *e)
{
    return e->shape.dim[e->shape.rank - e->axes];
}

/* The piece's extent in the external plane. */
static void external_extent(const dt_piece *p, int64_t *rows, int64_t *cols)
{
    *rows = p->transposed ? p->cols : p->rows;
    *cols = p->transposed ? p->rows : p->cols;
}

/* From a canonical row to the next in the external plane. */
static int64_t step_of(const dt_piece *p)
{
    return p->step > 1 ? p->step : 1;
}

static dt_status check_piece(const dt_mapping *m, const dt_canonical *c, const dt_piece *p, dt_error *err)
{
    const dt_external *e = &m->external[p->external];
    int64_t all, cols, rows = 0, width = 0;
    dt_external_rows(e, &all, &cols);
    external_extent(p, &rows, &width);
    *(p->transposed ? &width : &rows) += (p->rows - 1) * (step_of(p) - 1);
    if (p->row >= 0 && rows <= plane_rows(e) - p->row && p->col >= 0 && width <= cols - p->col &&
        p->plane >= 0 && p->plane < all / plane_rows(e) && p->to_row >= 0 && p->rows <= c->rows - p->to_row &&
        p->to_col >= 0 && p->cols <= c->cols - p->to_col)
        return DT_OK;
    return dt_fail(err, DT_MISMATCH, "\"%s\" %s cannot hold its part of \"%s\" [%" PRId64 ", %" PRId64 "]",
                   e->name, dt_shape_print(&e->shape).text, c->spec->name, c->rows, c->cols);
}

/* Does the piece before it, of the same tensor, give the same rectangle? */
static bool is_repeat(const dt_mapping *m, const dt_canonical *c, int i)
{
    const dt_piece *p = &m->piece[i], *before = p - 1;
    return i > c->first && before->to_row == p->to_row && before->to_col == p->to_col;
}

static dt_status check_canonical(const dt_mapping *m, dt_canonical *c, dt_error *err)
{
    int64_t area = 0;
    for (int i = c->first; i < c->first + c->count; i++) {
        const dt_piece *p = &m->piece[i], *before = i > c->first ? p - 1 : NULL;
        DT_PASS(check_piece(m, c, p, err));
        area += is_repeat(m, c, i) ? 0 : p->rows * p->cols;
        bool same_band = before && before->to_row == p->to_row;
        if (before && (same_band ? before->rows != p->rows : before->to_row + before->rows > p->to_row))
            return dt_fail(err, DT_INTERNAL, "the pieces of \"%s\" are not in bands", c->spec->name);
    }
    c->covered = area == c->rows * c->cols;
    return DT_OK;
}

/* Give each external tensor the list of its pieces. */
static dt_status list_pieces(dt_mapping *m, dt_error *err)
{
    for (int i = 0; i < m->piece_count; i++)
        m->external[m->piece[i].external].piece_count++;
    for (int i = 0; i < m->external_count; i++) {
        dt_external *e = &m->external[i];
        if (!(e->piece = DT_NEW_ARRAY(m->arena, int, e->piece_count + 1)))
            return dt_fail_memory(err, sizeof(int) * (size_t)e->piece_count, "the tensor mapping");
        e->piece_count = 0;
    }
    for (int i = 0; i < m->piece_count; i++) {
        dt_external *e = &m->external[m->piece[i].external];
        ((int *)e->piece)[e->piece_count++] = i;
    }
    return DT_OK;
}

dt_status dt_mapping_finish(dt_mapping *m, dt_error *err)
{
    if (m->started != m->count)
        return dt_fail(err, DT_INTERNAL, "%d of %d parameters were mapped", m->started, m->count);
    for (int i = 0; i < m->count; i++)
        DT_PASS(check_canonical(m, &m->canonical[i], err));
    return list_pieces(m, err);
}

/* ---- asking ---- */

int dt_mapping_count(const dt_mapping *m)
{
    return m->count;
}

const dt_canonical *dt_mapping_at(const dt_mapping *m, int index)
{
    return index >= 0 && index < m->count ? &m->canonical[index] : NULL;
}

int dt_mapping_find(const dt_mapping *m, const char *canonical)
{
    return *find_slot(m, &m->canonical_names, canonical_name, canonical);
}

dt_status dt_mapping_get(const dt_mapping *m, const char *canonical, int *index, dt_error *err)
{
    *index = dt_mapping_find(m, canonical);
    if (*index >= 0)
        return DT_OK;
    const char **names = malloc(sizeof *names * (size_t)(m->count + 1));
    for (int i = 0; names && i < m->count; i++)
        names[i] = canonical_name(m, i);
    const char *near = names ? dt_nearest(canonical, names, (size_t)m->count) : NULL;
    dt_fail(err, DT_NOT_FOUND, "the model has no tensor \"%s\"%s%s%s", canonical,
            near ? "; nearest is \"" : "", near ? near : "", near ? "\"" : "");
    free(names);
    return DT_NOT_FOUND;
}

int dt_mapping_external_count(const dt_mapping *m)
{
    return m->external_count;
}

dt_external *dt_mapping_external_at(const dt_mapping *m, int index)
{
    return index >= 0 && index < m->external_count ? &m->external[index] : NULL;
}

int dt_mapping_find_external(const dt_mapping *m, const char *name)
{
    return *find_slot(m, &m->external_names, external_name, name);
}

const dt_piece *dt_mapping_piece_at(const dt_mapping *m, int index)
{
    return &m->piece[index];
}

/* ---- copying ---- */

/* Element (row, col) of a window; offsets of block types are whole blocks or stored_read refuses them. */
static void *element_at(const dt_window *t, int64_t row, int64_t col)
{
    int64_t element = row * t->row_stride + col * t->col_stride;
    return (char *)t->out + element / dt_dtype_block_elements(t->dtype) * dt_dtype_block_bytes(t->dtype);
}

static void zero_block(const dt_window *t, int64_t rows, int64_t cols)
{
    int64_t bytes = dt_dtype_block_bytes(t->dtype), elements = dt_dtype_block_elements(t->dtype);
    for (int64_t i = 0; i < rows; i++) {
        if (t->col_stride == 1)
            memset(element_at(t, i, 0), 0, (size_t)((cols + elements - 1) / elements * bytes));
        else
            for (int64_t j = 0; j < cols; j++)
                memset(element_at(t, i, j), 0, (size_t)bytes);
    }
}

/* The part of a piece inside a block, in canonical coordinates; false when there is none. */
static bool clip(const dt_piece *p, const dt_block *b, dt_block *part)
{
    int64_t top = p->to_row > b->row ? p->to_row : b->row;
    int64_t left = p->to_col > b->col ? p->to_col : b->col;
    int64_t bottom = p->to_row + p->rows < b->row + b->rows ? p->to_row + p->rows : b->row + b->rows;
    int64_t right = p->to_col + p->cols < b->col + b->cols ? p->to_col + p->cols : b->col + b->cols;
    *part = (dt_block){top, left, bottom - top, right - left};
    return bottom > top && right > left;
}

/* The external region that a part of a piece lies in, with what lies between its rows. */
static dt_stored_region region_of(const dt_external *e, const dt_piece *p, const dt_block *part)
{
    dt_stored_region r = {.shape = {.rank = e->shape.rank}};
    int64_t i = (part->row - p->to_row) * step_of(p), j = part->col - p->to_col, plane = p->plane;
    int64_t extent = (part->rows - 1) * step_of(p) + 1;
    int lead = e->shape.rank - e->axes;
    for (int a = lead - 1; a >= 0; a--) {
        r.offset[a] = plane % e->shape.dim[a];
        plane /= e->shape.dim[a];
        r.shape.dim[a] = 1;
    }
    r.offset[lead] = p->row + (p->transposed ? j : i);
    r.shape.dim[lead] = p->transposed ? part->cols : extent;
    if (e->axes == 2) {
        r.offset[lead + 1] = p->col + (p->transposed ? i : j);
        r.shape.dim[lead + 1] = p->transposed ? extent : part->cols;
    }
    return r;
}

/* A region row by row through f32, so that only the sum is rounded. */
static dt_status read_shifted(const dt_stored_tensor *stored, dt_stored_region region, int axes,
                              const dt_window *t, float shift, dt_error *err)
{
    enum { PIECE = 1024 };
    int lead = region.shape.rank - axes;
    int64_t rows = region.shape.dim[lead], cols = axes == 2 ? region.shape.dim[lead + 1] : 1;
    int64_t step = cols < PIECE ? PIECE / cols : 0;
    float value[PIECE];
    if (!step)
        return dt_fail(err, DT_UNSUPPORTED, "\"%s\" is too wide for a norm", stored->name);
    for (int64_t row = 0; row < rows; row += step) {
        int64_t n = rows - row < step ? rows - row : step;
        region.shape.dim[lead] = n;
        DT_PASS(dt_stored_read(stored, &region, DT_F32, value, NULL, err));
        region.offset[lead] += n;
        for (int64_t i = 0; i < n * cols; i++) {
            value[i] += shift;
            DT_PASS(dt_convert(t->dtype, element_at(t, row + i / cols, i % cols), DT_F32, &value[i], 1, err));
        }
    }
    return DT_OK;
}

static dt_status read_part(const dt_mapping *m, const dt_piece *p, const dt_block *block,
                           const dt_block *part, const dt_window *t, dt_error *err)
{
    const dt_external *e = &m->external[p->external];
    if (!e->stored)
        return dt_fail(err, DT_INTERNAL, "\"%s\" is not bound to a file", e->name);
    dt_stored_region region = region_of(e, p, part);
    int64_t stride[DT_MAX_RANK] = {0};
    int lead = e->shape.rank - e->axes;
    stride[lead] = p->transposed ? t->col_stride : t->row_stride;
    if (e->axes == 2)
        stride[lead + 1] = p->transposed ? t->row_stride : t->col_stride;
    dt_window to = {t->dtype, element_at(t, part->row - block->row, part->col - block->col), t->row_stride,
                    t->col_stride};
    if (p->shift != 0)
        return read_shifted(e->stored, region, e->axes, &to, -p->shift, err);
    return dt_stored_read(e->stored, &region, t->dtype, to.out, stride, err);
}

/* Rows that do not lie side by side are read one by one. */
static dt_status read_rows(const dt_mapping *m, const dt_piece *p, const dt_block *block,
                           const dt_block *part, const dt_window *t, dt_error *err)
{
    if (step_of(p) == 1)
        return read_part(m, p, block, part, t, err);
    for (int64_t i = 0; i < part->rows; i++)
        DT_PASS(read_part(m, p, block, &(dt_block){part->row + i, part->col, 1, part->cols}, t, err));
    return DT_OK;
}

/* The first piece whose band ends below `row`: bands ascend, so a binary search finds it. */
static int first_piece(const dt_mapping *m, const dt_canonical *c, int64_t row)
{
    int low = c->first, high = c->first + c->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (m->piece[middle].to_row + m->piece[middle].rows > row)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

dt_status dt_mapping_read(const dt_mapping *m, int index, const dt_block *b, const dt_window *t,
                          dt_error *err)
{
    const dt_canonical *c = dt_mapping_at(m, index);
    if (!c || b->row < 0 || b->rows < 0 || b->rows > c->rows - b->row || b->col < 0 || b->cols < 0 ||
        b->cols > c->cols - b->col)
        return dt_fail(err, DT_INVALID, "rows %" PRId64 " + %" PRId64 " lie outside \"%s\"", b->row, b->rows,
                       c ? c->spec->name : "?");
    if (!c->covered)
        zero_block(t, b->rows, b->cols);
    for (int i = first_piece(m, c, b->row); i < c->first + c->count; i++) {
        dt_block part;
        if (m->piece[i].to_row >= b->row + b->rows)
            break;
        if (!is_repeat(m, c, i) && clip(&m->piece[i], b, &part))
            DT_TRY(read_rows(m, &m->piece[i], b, &part, t, err), err, "while reading \"%s\"", c->spec->name);
    }
    return DT_OK;
}

static void advise(const dt_mapping *m, int index,
                   void (*tell)(const dt_stored_tensor *, const dt_stored_region *))
{
    const dt_canonical *c = dt_mapping_at(m, index);
    for (int i = c ? c->first : 0; c && i < c->first + c->count; i++) {
        const dt_piece *p = &m->piece[i];
        const dt_external *e = &m->external[p->external];
        dt_block all = {p->to_row, p->to_col, p->rows, p->cols};
        dt_stored_region region = region_of(e, p, &all);
        if (e->stored)
            tell(e->stored, &region);
    }
}

void dt_mapping_drop(const dt_mapping *m, int index)
{
    advise(m, index, dt_stored_drop);
}

void dt_mapping_will_need(const dt_mapping *m, int index)
{
    advise(m, index, dt_stored_will_need);
}

dt_dtype dt_mapping_stored_type(const dt_mapping *m, int index)
{
    const dt_canonical *c = dt_mapping_at(m, index);
    dt_dtype type = DT_DTYPE_COUNT;
    for (int i = c->first; i < c->first + c->count; i++) {
        const dt_stored_tensor *s = m->external[m->piece[i].external].stored;
        if (!s || dt_stored_type(s) == type)
            continue;
        type = type == DT_DTYPE_COUNT ? dt_stored_type(s) : DT_F32; /* f32 holds f16, bf16 and f8 exactly */
    }
    return type == DT_DTYPE_COUNT ? DT_F32 : type;
}

/* ---- the other way ---- */

/* Rows [first, first + count) of the external tensor that a piece gives, as a canonical block; false when none. */
static bool clip_external(const dt_external *e, const dt_piece *p, int64_t first, int64_t count,
                          dt_block *part, int64_t *row)
{
    int64_t rows, cols, begin = p->plane * plane_rows(e) + p->row, step = p->transposed ? 1 : step_of(p);
    external_extent(p, &rows, &cols);
    int64_t top = first > begin ? (first - begin + step - 1) / step : 0; /* rows of the piece */
    int64_t bottom = first + count > begin ? (first + count - begin + step - 1) / step : 0;
    bottom = bottom < rows ? bottom : rows;
    if (bottom <= top)
        return false;
    *row = begin + top * step - first;
    if (p->transposed)
        *part = (dt_block){p->to_row, p->to_col + top, p->rows, bottom - top};
    else
        *part = (dt_block){p->to_row + top, p->to_col, bottom - top, p->cols};
    return true;
}

/* The canonical tensor of a piece: pieces are grouped by it, in order. */
static const dt_canonical *owner_of(const dt_mapping *m, int piece)
{
    int low = 0, high = m->count - 1;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (m->canonical[middle].first <= piece)
            low = middle;
        else
            high = middle - 1;
    }
    return &m->canonical[low];
}

/* A block with `shift` added, by way of f32, so that only the sum is rounded. Norms are short: one element at a time. */
static dt_status make_shifted(const dt_canonical_source *source, const dt_canonical *owner,
                              const dt_block *part, const dt_window *t, float shift, dt_error *err)
{
    for (int64_t i = 0; i < part->rows; i++)
        for (int64_t j = 0; j < part->cols; j++) {
            float value;
            dt_block one = {part->row + i, part->col + j, 1, 1};
            dt_window to = {DT_F32, &value, 1, 1};
            DT_PASS(source->read(source->user, owner, &one, &to, err));
            value += shift;
            DT_PASS(dt_convert(t->dtype, element_at(t, i, j), DT_F32, &value, 1, err));
        }
    return DT_OK;
}

dt_status dt_mapping_assemble(const dt_mapping *m, int external, int64_t first, int64_t count,
                              const dt_canonical_source *source, dt_dtype dtype, void *out, dt_error *err)
{
    const dt_external *e = &m->external[external];
    int64_t rows, cols, area = 0;
    dt_external_rows(e, &rows, &cols);
    dt_window whole = {dtype, out, cols, 1};
    for (int i = 0; i < e->piece_count; i++)
        area += m->piece[e->piece[i]].rows * m->piece[e->piece[i]].cols;
    if (area != rows * cols)
        zero_block(&whole, count, cols);
    for (int i = 0; i < e->piece_count; i++) {
        const dt_piece *p = &m->piece[e->piece[i]];
        dt_block part;
        int64_t row;
        if (!clip_external(e, p, first, count, &part, &row))
            continue;
        dt_window t = {dtype, element_at(&whole, row, p->col), step_of(p) * (p->transposed ? 1 : cols),
                       p->transposed ? cols : 1};
        const dt_canonical *owner = owner_of(m, e->piece[i]);
        DT_TRY(p->shift != 0 ? make_shifted(source, owner, &part, &t, p->shift, err)
                             : source->read(source->user, owner, &part, &t, err),
               err, "while making \"%s\"", e->name);
    }
    return DT_OK;
}
