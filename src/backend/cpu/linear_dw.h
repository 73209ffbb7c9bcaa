/*
 * linear_dw.h - dw[n, k] = sum over ascending t of dy[t, n] * x[t, k], in f32 for every type of weights.
 *
 * Numbers   one chain an output through all rows: stretches of rows go on with the sums of the last one.
 * Work      the f32 tile of tiles.h, with columns of dy as its rows and columns of x as its panels; each stretch of 256
 *           rows is laid out so by the team first. Threads share (pair of panels, block) items.
 */
#ifndef DT_CPU_LINEAR_DW_H
#define DT_CPU_LINEAR_DW_H

#include "backend/cpu/product.h"

enum { DW_STRETCH = 256 };

/* A stretch of rows t: x becomes panels of 16 columns, dy blocks of TILE_ROWS columns, both t-major. */
typedef struct dw_room {
    float *panels, *blocks;
} dw_room;

/* One matrix of gradients and the rows it is a sum over: all rows of dy and x, or those that `choice` lists. */
typedef struct dw_product {
    const float *dy, *x;
    float *dw; /* [n, k] */
    int64_t rows, n, k;
    const int32_t *choice; /* row t of dy is choice[t]; NULL = t itself */
    int64_t choices_of_x;  /* and that of x is its quotient by this */
} dw_product;

static INLINE const float *dw_row_of_dy(const dw_product *d, int64_t t)
{
    return d->dy + (d->choice == NULL ? t : d->choice[t]) * d->n;
}

static INLINE const float *dw_row_of_x(const dw_product *d, int64_t t)
{
    return d->x + (d->choice == NULL ? t : d->choice[t] / d->choices_of_x) * d->k;
}

static void pack_dw_panels(const dw_product *d, int64_t t, int64_t rows, float *to, int thread, int threads)
{
    int64_t begin, end;
    dt_share(dt_panels(d->k), 1, thread, threads, &begin, &end);
    for (int64_t p = begin; p < end; p++)
        for (int64_t i = 0; i < rows; i++)
            v_store(to + (p * rows + i) * DT_PANEL,
                    v_load_n(dw_row_of_x(d, t + i) + p * DT_PANEL, least(DT_PANEL, d->k - p * DT_PANEL)));
}

static void pack_dw_blocks(const dw_product *d, int64_t t, int64_t rows, tiling b, float *to, int thread,
                           int threads)
{
    int64_t begin, end;
    dt_share(b.count, 1, thread, threads, &begin, &end);
    for (int64_t block = begin; block < end; block++) {
        int64_t first = block_begin(b, block), R = block_begin(b, block + 1) - first;
        for (int64_t i = 0; i < rows; i++)
            memcpy(to + first * rows + i * R, dw_row_of_dy(d, t + i) + first, (size_t)R * sizeof *to);
    }
}

/* R x (up to 32) elements of dw from `sums`, or into them. */
static void move_dw(float *dw, int64_t n, int64_t k, int64_t R, int64_t column, float *sums, bool load)
{
    for (int64_t r = 0; r < R; r++) {
        float *row = dw + (n + r) * k + column;
        for (int64_t i = 0; i < SUMS && column + i < k; i += DT_PANEL) {
            int64_t count = least(DT_PANEL, k - column - i);
            if (load)
                v_store(sums + r * SUMS + i, v_load_n(row + i, count));
            else
                v_store_n(row + i, v_load(sums + r * SUMS + i), count);
        }
    }
}

static void multiply_dw(const dw_product *d, const dw_room *room, int64_t t, int64_t rows, tiling b,
                        int thread, int threads)
{
    int64_t k = d->k, panels = dt_panels(k), pairs = (panels + 1) / 2, begin, end;
    product p = {.type = &product_f32, .k = rows, .panels = (const char *)room->panels};
    _Alignas(64) float sums[TILE_ROWS * SUMS];
    dt_share(pairs * b.count, 1, thread, threads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t left = item / b.count * 2, n = block_begin(b, item % b.count);
        int64_t R = block_begin(b, item % b.count + 1) - n;
        tile tile_call = {.x = room->blocks + n * rows, .k = rows, .sums = sums, .onto = true};
        memset(sums, 0, sizeof sums);
        if (t > 0)
            move_dw(d->dw, n, k, R, left * DT_PANEL, sums, true);
        for (int64_t panel = left; panel < least(left + 2, panels); panel++, tile_call.sums += DT_PANEL) {
            tile_call.w[0] = p.panels + (size_t)panel * dt_panel_bytes(DT_F32, rows);
            tile_call.w[1] = tile_call.w[0] + dt_panel_bytes(DT_F32, rows);
            tile_call.ahead[0] = tile_call.w[0],
            tile_call.ahead[1] = tile_call.w[1]; /* all near: fetch nothing new */
            bool both = TILE_PANELS == 2 && panel + 1 < panels && panel == left;
            product_f32.tile[R][both ? 2 : 1](&tile_call);
            if (both)
                break;
        }
        move_dw(d->dw, n, k, R, left * DT_PANEL, sums, false);
    }
}

static dw_room dw_room_of(void *scratch, int64_t rows, int64_t k)
{
    dw_room room = {.panels = scratch};
    room.blocks = room.panels + dt_panels(k) * DT_PANEL * least(rows, DW_STRETCH);
    return room;
}

/* The whole team; it has met after the last reading of the room, and not after the last writing of dw. */
static void sum_dw(const dt_kernel_call *call, const dw_product *d, const dw_room *room, int thread,
                   int threads)
{
    tiling b = tiling_of(&product_f32, d->n);
    for (int64_t t = 0; t < d->rows; t += DW_STRETCH) {
        int64_t count = least(d->rows - t, DW_STRETCH);
        if (t > 0)
            dt_pool_barrier(call->pool);
        pack_dw_panels(d, t, count, room->panels, thread, threads);
        pack_dw_blocks(d, t, count, b, room->blocks, thread, threads);
        dt_pool_barrier(call->pool);
        multiply_dw(d, room, t, count, b, thread, threads);
    }
}

static void linear_dw(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *x = &call->input[1], *dw = &call->output[0];
    dw_product d = {.dy = dy->data, .x = x->data, .dw = dw->data};
    d.rows = x->dim[0], d.n = dw->dim[0], d.k = dw->dim[1];
    dw_room room = dw_room_of(call->scratch, d.rows, d.k);
    sum_dw(call, &d, &room, thread, threads);
    if (d.rows == 0 && thread == 0)
        memset(d.dw, 0, (size_t)(d.n * d.k) * sizeof(float));
}

static size_t linear_dw_room(const dt_op *op, int threads)
{
    int64_t most = least(capacity(op->input[1], 0), DW_STRETCH);
    (void)threads;
    return (size_t)((dt_panels(capacity(op->input[1], 1)) * DT_PANEL + capacity(op->input[0], 1)) * most) *
           sizeof(float);
}

#endif
