/*
 * product.h - products of rows with packed weights: linear, fused_linear, linear_dx.
 *
 *   y[t, n] = residual[t, n] + act(sum_k norm(x[t])[k] * w[n, k] + bias[n])        (glu: act(gate) * up)
 *
 * Shapes    any T, N, K; x, y f32; w in panels (forms.h), or plain rows when it is a value of the graph.
 * Numbers   one chain an output, ascending k (tiles.h); the row, once normed, is rounded to the type's activation form
 *           (f32; bf16; signed bytes with a scale per 256 k). Same bits for any T, threads, chunk.
 * Work      rows go in chunks that fit L2. The team first packs the chunk's rows, k-major and in blocks of as many as
 *           a register tile holds; meets; then shares (pair of panels, block) items, panel-major: a strip of weights is
 *           read from memory once a chunk and serves its blocks from L2. A block's sums get bias, activation, residual
 *           while they are in L1.
 * Measured  bench/kernels, 4096 x 4096 from memory, one thread with BF16 and VNNI: T = 1 0.91 to 1.0 of read bandwidth,
 *           T = 16 0.82 (f32), 0.90 (bf16), 0.67 (q8_0) and T = 512 0.90, 0.92, 0.73 of peak. docs/speed.md has the rest.
 */
#ifndef DT_CPU_PRODUCT_H
#define DT_CPU_PRODUCT_H

#include "backend/cpu/norm.h"
#include "backend/cpu/tiles.h"
#include "backend/cpu/vmath.h"

enum { BLOCKS_IN_CHUNK = 16, STRIP_BYTES = 1 << 19, AHEAD_BYTES = 4096, NORM_COLUMNS = Q8_STRETCH };

static inline size_t round_64(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What one call multiplies. */
typedef struct product {
    const product_type *type;
    int64_t rows, outputs, k;
    int64_t panel_k; /* that a whole panel holds: k, unless only a stretch of it is multiplied */
    const float *x;  /* [rows, k] */
    const char *panels;
    const float
        *plain_w; /* [outputs, k] (or [k, outputs] when transposed), packed on the way; NULL for parameters */
    bool transposed;
    const float *bias, *residual;
    float *y;          /* [rows, y_columns] */
    int64_t y_columns; /* outputs, or half of them with glu */
    bool has_norm, glu;
    norm_call norm;
    dt_activation kind;
} product;

/* A call's scratch: packed rows of a chunk, and panels of a w that is no parameter. */
typedef struct product_room {
    char *rows, *panels;
} product_room;

static int64_t chunk_rows(const product_type *type)
{
    return (int64_t)type->rows * BLOCKS_IN_CHUNK;
}

static size_t rows_room(const product_type *type, int64_t rows, int64_t k)
{
    return round_64((size_t)least(rows, chunk_rows(type)) * packed_row_bytes(type, k));
}

static product_room product_room_of(const product *p, void *scratch)
{
    product_room room = {.rows = scratch};
    room.panels = room.rows + rows_room(p->type, p->rows, p->k);
    return room;
}

/* ---- blocks: the rows of a chunk in as few and as equal parts as fit the tiles ---- */

typedef struct tiling {
    int64_t rows, count;
} tiling;

static tiling tiling_of(const product_type *type, int64_t rows)
{
    return (tiling){rows, (rows + type->rows - 1) / type->rows};
}

static int64_t block_begin(tiling b, int64_t index)
{
    return b.rows * index / b.count;
}

static int64_t block_holding(tiling b, int64_t row)
{
    return ((row + 1) * b.count - 1) / b.rows;
}

/* ---- packing ---- */

/* Rows [r, r + n) of a block of R, one alone or several turned together. */
static void pack_lines_of(const product_type *type, char *block, int64_t R, int64_t r, int64_t n,
                          const float *x, int64_t stride, int64_t k)
{
    if (n == 1)
        type->pack_row(block, R, r, x, k);
    else
        type->pack_rows(block, R, r, n, x, stride, k);
}

/* The same, normed on the way: stretch by stretch of the columns, so that what is normed stays in L1. */
static void pack_normed(const product *p, char *block, int64_t R, int64_t r, int64_t n, const float *x)
{
    _Alignas(64) float normed[TILE_ROWS * NORM_COLUMNS];
    norm_stats stats[TILE_ROWS];
    for (int64_t i = 0; i < n; i++)
        stats[i] = norm_stats_of(p->norm.rms, p->norm.eps, x + i * p->k, p->k);
    for (int64_t k = 0; k < p->k; k += NORM_COLUMNS) {
        int64_t count = least(NORM_COLUMNS, p->k - k);
        for (int64_t i = 0; i < n; i++)
            norm_columns(&p->norm, stats[i], x + i * p->k, k, k + count, normed + i * NORM_COLUMNS);
        pack_lines_of(p->type, block + (size_t)R * packed_row_bytes(p->type, k), R, r, n, normed,
                      NORM_COLUMNS, count);
    }
}

static void pack_rows(const product *p, const product_room *room, int64_t first, tiling b, int thread,
                      int threads)
{
    size_t row_bytes = packed_row_bytes(p->type, p->k);
    int64_t begin, end;
    dt_share(b.rows, 1, thread, threads, &begin, &end);
    for (int64_t row = begin, n; row < end; row += n) {
        int64_t index = block_holding(b, row), start = block_begin(b, index),
                R = block_begin(b, index + 1) - start;
        char *block = room->rows + (size_t)start * row_bytes;
        const float *x = p->x + (first + row) * p->k;
        n = least(start + R, end) - row;
        if (p->has_norm)
            pack_normed(p, block, R, row - start, n, x);
        else
            pack_lines_of(p->type, block, R, row - start, n, x, p->k, p->k);
    }
}

/* w as f32 panels, for a w that the graph computes. */
static void pack_w(const product *p, const product_room *room, int thread, int threads)
{
    const dt_weight_form *form = dt_form_panels(DT_F32, p->transposed);
    int64_t rows = p->transposed ? p->k : p->outputs, cols = p->transposed ? p->outputs : p->k, begin, end;
    dt_share(rows, DT_PANEL, thread, threads, &begin, &end);
    if (begin < end)
        form->pack(form, room->panels, rows, cols, begin, end - begin, DT_F32, p->plain_w + begin * cols);
}

/* ---- finishing ---- */

/* The bias of the n outputs from `column` on. */
static INLINE vf bias_of(const product *p, int64_t column, int64_t n)
{
    return p->bias == NULL ? v_set(0.0f) : v_load_n(p->bias + column, n);
}

static INLINE vf with_bias(const product *p, const float *sums, vf bias)
{
    return p->bias == NULL ? v_load(sums) : v_add(v_load(sums), bias);
}

/* What columns of a row's output are, from their sums. */
static INLINE void put_columns(const product *p, int64_t row, int64_t column, int64_t n, vf value)
{
    int64_t at = row * p->y_columns + column;
    if (p->residual != NULL)
        value = v_add(value, v_load_n(p->residual + at, n));
    v_store_n(p->y + at, value, n);
}

/* One panel of rows [row, row + R). */
static INLINE void finish_panel(const product *p, const float *sums, int64_t row, int64_t R, int64_t panel,
                                const dt_activation kind)
{
    int64_t column = panel * DT_PANEL, n = least(DT_PANEL, p->y_columns - column);
    vf bias = bias_of(p, column, n);
    for (int64_t r = 0; r < R; r++)
        put_columns(p, row + r, column, n, v_activate(kind, with_bias(p, sums + r * SUMS, bias)));
}

/* A panel of gate's sums beside one of up's. */
static INLINE void finish_gated(const product *p, const float *sums, int64_t row, int64_t R, int64_t panel,
                                const dt_activation kind)
{
    int64_t column = panel * DT_PANEL, n = least(DT_PANEL, p->y_columns - column);
    vf gate = bias_of(p, column, n), up = bias_of(p, p->y_columns + column, n);
    for (int64_t r = 0; r < R; r++) {
        const float *of_row = sums + r * SUMS;
        vf value = v_activate(kind, with_bias(p, of_row, gate));
        put_columns(p, row + r, column, n, v_mul(value, with_bias(p, of_row + DT_PANEL, up)));
    }
}

static INLINE void finish_as(const product *p, const float *sums, int64_t row, int64_t R, int64_t a,
                             int64_t b, const dt_activation kind)
{
    if (p->glu) {
        finish_gated(p, sums, row, R, a, kind);
        return;
    }
    finish_panel(p, sums, row, R, a, kind);
    if (b >= 0)
        finish_panel(p, sums + DT_PANEL, row, R, b, kind);
}

/* Panels `a` and, unless -1, `b` of rows [row, row + R). With glu the second half of the sums is up's. The activations
 * that are met most have loops of their own. */
static void finish_block(const product *p, const float *sums, int64_t row, int64_t R, int64_t a, int64_t b)
{
    switch (p->kind) {
    case DT_ACT_IDENTITY:
        finish_as(p, sums, row, R, a, b, DT_ACT_IDENTITY);
        break;
    case DT_ACT_GELU:
        finish_as(p, sums, row, R, a, b, DT_ACT_GELU);
        break;
    case DT_ACT_QUICK_GELU:
        finish_as(p, sums, row, R, a, b, DT_ACT_QUICK_GELU);
        break;
    case DT_ACT_SILU:
        finish_as(p, sums, row, R, a, b, DT_ACT_SILU);
        break;
    default:
        finish_as(p, sums, row, R, a, b, p->kind);
    }
}

/* Where a block's sums will go, and what is added to them: pieces of 128 bytes, a row apart, which the hardware does not
 * foresee. They are asked for before the block is multiplied. (gcc drops calls of a function that only fetches.) */
static INLINE void fetch_outputs(const product *p, int64_t row, int64_t R, int64_t a)
{
    for (int64_t r = 0; r < R; r++) {
        int64_t at = (row + r) * p->y_columns + a * DT_PANEL;
        for (int64_t i = 0; i < (p->glu ? 1 : 2) * DT_PANEL; i += DT_PANEL) {
            __builtin_prefetch(p->y + at + i, 1, 3);
            if (p->residual != NULL)
                __builtin_prefetch(p->residual + at + i, 0, 3);
        }
    }
}

/* ---- multiplying ---- */

static const uint16_t *scales_of(const product *p, int64_t panel)
{
    size_t bytes = dt_panel_bytes(DT_Q8_0, p->panel_k);
    const char *all = p->panels + (size_t)dt_panels(p->outputs) * bytes;
    return (const uint16_t *)all + panel * (p->panel_k / DT_Q8_GROUP) * DT_PANEL;
}

/* One block of a chunk's rows. */
typedef struct row_block {
    const char *x; /* packed */
    int64_t row, R;
    int64_t index, count; /* which of how many */
    int64_t panels_on;    /* how many panels further the next pair is */
} row_block;

/* What to fetch while block `index` of `count` meets panels a and b. Weights come from memory, and a loop with arithmetic
 * in it hides the next misses from the hardware. One block: a little ahead in its own panels. Several: the panels are in
 * L2 after the first, and each fetches its part of the next pair's, as long as both pairs fit. */
static void fetch_for(const row_block *rows, size_t panel_bytes, tile *t)
{
    bool next = rows->count > 1 && panel_bytes <= STRIP_BYTES / 2;
    size_t far =
        (size_t)rows->panels_on * panel_bytes + (size_t)rows->index * (panel_bytes / (size_t)rows->count);
    t->ahead_step = next ? 64 / rows->count : 64;
    for (int i = 0; i < 2; i++)
        t->ahead[i] = t->w[i] + (next ? far : AHEAD_BYTES);
}

/* Panels a and, unless -1, b. */
static void multiply_block(const product *p, const row_block *rows, int64_t a, int64_t b, float *sums)
{
    size_t panel_bytes = dt_panel_bytes(p->type->dtype, p->panel_k);
    bool scaled = p->type->dtype == DT_Q8_0;
    tile t = {.x = rows->x, .k = p->k, .sums = sums};
    t.w[0] = p->panels + (size_t)a * panel_bytes;
    t.scale[0] = scaled ? scales_of(p, a) : NULL;
    t.w[1] = t.w[0];
    if (b >= 0) {
        t.w[1] = p->panels + (size_t)b * panel_bytes;
        t.scale[1] = scaled ? scales_of(p, b) : NULL;
    }
    fetch_for(rows, panel_bytes, &t);
    p->type->tile[rows->R][b >= 0 ? TILE_PANELS : 1](&t);
    if (b < 0 || TILE_PANELS == 2)
        return;
    t.w[0] = t.w[1];
    t.ahead[0] = t.ahead[1];
    t.scale[0] = t.scale[1];
    t.sums += DT_PANEL;
    p->type->tile[rows->R][1](&t);
}

/* Gate's panel `a` beside up's 16 outputs from F + 16 a. Where F is a multiple of 16 these are a panel; else they lie
 * in two, from whose sums they are cut. */
static void multiply_gated(const product *p, const row_block *rows, int64_t a, float *sums)
{
    _Alignas(64) float both[TILE_ROWS * SUMS];
    int64_t up = p->y_columns + a * DT_PANEL, panel = up / DT_PANEL, shift = up % DT_PANEL;
    if (shift == 0) {
        multiply_block(p, rows, a, panel, sums);
        return;
    }
    multiply_block(p, rows, a, -1, sums);
    multiply_block(p, rows, panel, panel + 1 < dt_panels(p->outputs) ? panel + 1 : -1, both);
    for (int64_t r = 0; r < rows->R; r++)
        v_store(sums + r * SUMS + DT_PANEL, v_load(both + r * SUMS + shift));
}

static row_block block_at(const product *p, const product_room *room, tiling b, int64_t index)
{
    int64_t row = block_begin(b, index);
    return (row_block){.x = room->rows + (size_t)row * packed_row_bytes(p->type, p->k),
                       .row = row,
                       .R = block_begin(b, index + 1) - row,
                       .index = index,
                       .count = b.count,
                       .panels_on = p->glu ? 1 : 2};
}

static void multiply_chunk(const product *p, const product_room *room, int64_t first, tiling b, int thread,
                           int threads)
{
    int64_t panels = dt_panels(p->y_columns), units = p->glu ? panels : (panels + 1) / 2, begin, end;
    _Alignas(64) float sums[TILE_ROWS * SUMS];
    dt_share(units * b.count, 1, thread, threads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t unit = item / b.count, left = p->glu ? unit : 2 * unit;
        int64_t right = p->glu || left + 1 == panels ? -1 : left + 1;
        row_block rows = block_at(p, room, b, item % b.count);
        fetch_outputs(p, first + rows.row, rows.R, left);
        if (p->glu)
            multiply_gated(p, &rows, left, sums);
        else
            multiply_block(p, &rows, left, right, sums);
        finish_block(p, sums, first + rows.row, rows.R, left, right);
    }
}

static void multiply(const dt_kernel_call *call, product *p, int thread, int threads)
{
    product_room room = product_room_of(p, call->scratch);
    if (p->plain_w != NULL) {
        pack_w(p, &room, thread, threads); /* seen by all after the first chunk's barrier */
        p->panels = room.panels;
    }
    for (int64_t first = 0; first < p->rows; first += chunk_rows(p->type)) {
        tiling b = tiling_of(p->type, least(p->rows - first, chunk_rows(p->type)));
        if (first > 0)
            dt_pool_barrier(call->pool); /* the last chunk's rows are no longer read */
        pack_rows(p, &room, first, b, thread, threads);
        dt_pool_barrier(call->pool);
        multiply_chunk(p, &room, first, b, thread, threads);
    }
}

/* ---- the ops ---- */

enum { FUSED_X, FUSED_W, FUSED_BIAS, FUSED_NORM_W, FUSED_NORM_B, FUSED_RESIDUAL };

static product product_of(const dt_kernel_call *call, const product_type *type)
{
    const dt_data *x = &call->input[FUSED_X], *w = &call->input[FUSED_W], *y = &call->output[0];
    product p = {.type = type, .rows = x->dim[0], .outputs = w->dim[0], .k = w->dim[1], .panel_k = w->dim[1]};
    p.x = x->data;
    p.panels = w->data;
    p.plain_w = w->weight == NULL ? w->data : NULL;
    p.y = y->data;
    p.y_columns = y->dim[1];
    p.kind = DT_ACT_IDENTITY;
    return p;
}

static void linear(const dt_kernel_call *call, const product_type *type, int thread, int threads)
{
    product p = product_of(call, type);
    p.bias = call->input[FUSED_BIAS].data;
    multiply(call, &p, thread, threads);
}

static void fused_linear(const dt_kernel_call *call, const product_type *type, int thread, int threads)
{
    product p = product_of(call, type);
    const dt_data *in = call->input;
    p.bias = in[FUSED_BIAS].data;
    p.residual = in[FUSED_RESIDUAL].data;
    p.has_norm = call->op->attr.fused.has_norm;
    p.glu = call->op->attr.fused.glu;
    p.kind = call->op->attr.fused.kind;
    p.norm = (norm_call){.rms = call->op->attr.fused.rms,
                         .weight = in[FUSED_NORM_W].data,
                         .bias = in[FUSED_NORM_B].data,
                         .eps = call->op->attr.fused.eps,
                         .add = call->op->attr.fused.zero_centered ? 1.0f : 0.0f};
    multiply(call, &p, thread, threads);
}

/* dx[t, k] = sum over n of dy[t, n] * w[n, k]: the same product with w transposed. */
static void linear_dx(const dt_kernel_call *call, const product_type *type, int thread, int threads)
{
    product p = product_of(call, type);
    p.outputs = call->input[1].dim[1];
    p.k = p.panel_k = call->input[1].dim[0];
    p.transposed = true;
    multiply(call, &p, thread, threads);
}

static int64_t capacity(const dt_tensor *t, int dim)
{
    return dt_dim_count(t->dim[dim], NULL);
}

static size_t linear_room(const dt_op *op, const product_type *type, int threads)
{
    (void)threads;
    int64_t n = capacity(op->input[1], 0), k = capacity(op->input[1], 1);
    if (op->kind == DT_OP_linear_dx) {
        int64_t turned = n;
        n = k;
        k = turned;
    }
    size_t bytes = rows_room(type, capacity(op->input[0], 0), k);
    bool packs = op->input[1]->kind != DT_TENSOR_PARAM;
    return bytes + (packs ? (size_t)dt_panels(n) * dt_panel_bytes(DT_F32, k) : 0);
}

#endif
