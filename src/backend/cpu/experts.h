/*
 * experts.h - products by expert: expert_linear and its gradients.
 *
 *   y[s, n] = sum_k x[row of s][k] * w[e * N + n, k] + bias[e * N + n],   e = experts[s], s = t * choices + j
 *
 * Numbers   those of product.h: one chain an output, so a choice has the same bits whoever else chose its expert.
 * Work      choices are sorted by expert (counting, stable), and packed in that order; an expert's rows go in chunks,
 *           and the team shares (chunk, pair of panels, block) items of all experts in one sequence. An expert that
 *           nobody chose has no items: its weights are not read.
 * Layout    all experts' weights are one matrix of panels (forms.h). Where N is no multiple of 16 an expert begins
 *           inside a panel, which it then shares with the one before: both multiply it, each keeps its own lanes.
 *           Transposed, an expert is a stretch of k in every panel.
 */
#ifndef DT_CPU_EXPERTS_H
#define DT_CPU_EXPERTS_H

#include "backend/cpu/linear_dw.h"
#include "backend/cpu/product.h"
#include "backend/cpu/rows.h"

/* Choices in the order of their experts: expert e has order[begin[e]] up to order[begin[e + 1]]. */
typedef struct sorted_choices {
    int32_t *order, *begin;
} sorted_choices;

static size_t sorted_room(int64_t choices, int64_t E)
{
    return round_64((size_t)(choices + E + 1) * sizeof(int32_t));
}

static sorted_choices sorted_at(void *scratch, int64_t E)
{
    sorted_choices c = {.begin = scratch};
    c.order = c.begin + E + 1;
    return c;
}

/* One thread's work: some additions a choice. */
static void sort_choices(const dt_data *experts, int64_t E, sorted_choices c)
{
    const int32_t *expert = experts->data;
    int64_t n = elements_of(experts);
    memset(c.begin, 0, (size_t)(E + 1) * sizeof *c.begin);
    for (int64_t s = 0; s < n; s++)
        c.begin[expert[s] + 1]++;
    for (int64_t e = 0; e < E; e++)
        c.begin[e + 1] += c.begin[e];
    for (int64_t s = 0; s < n; s++)
        c.order[c.begin[expert[s]]++] = (int32_t)s;
    for (int64_t e = E; e > 0; e--) /* each now stands where the next begins */
        c.begin[e] = c.begin[e - 1];
    c.begin[0] = 0;
}

/* Rows of one expert that are packed and multiplied together. */
typedef struct expert_chunk {
    int64_t expert, first, rows; /* places in the order */
    int64_t item;                /* how many items earlier chunks make */
} expert_chunk;

typedef struct expert_product {
    product p;            /* panels of all experts; k of one */
    int64_t N;            /* outputs of one expert */
    int64_t choices_of_x; /* this many choices share a row of x */
    sorted_choices sorted;
    char *rows;          /* packed, in order */
    expert_chunk *chunk; /* behind the last stands one of no rows */
    int64_t *chunk_count;
} expert_product;

/* ---- the plan of a call ---- */

/* Columns of an expert as panels [first, end) of the whole matrix; the first `skip` lanes are another's. */
typedef struct panel_range {
    int64_t first, end, skip;
} panel_range;

static panel_range panels_of(const expert_product *x, int64_t expert)
{
    if (x->p.transposed)
        return (panel_range){0, dt_panels(x->N), 0};
    int64_t begin = expert * x->N;
    return (panel_range){begin / DT_PANEL, dt_panels(begin + x->N), begin % DT_PANEL};
}

static int64_t units_of(panel_range r)
{
    return (r.end - r.first + 1) / 2;
}

static void plan_chunks(const expert_product *x, int64_t E)
{
    int64_t count = 0, item = 0, most = chunk_rows(x->p.type);
    for (int64_t e = 0; e < E; e++)
        for (int64_t first = x->sorted.begin[e]; first < x->sorted.begin[e + 1]; first += most) {
            int64_t rows = least(most, x->sorted.begin[e + 1] - first);
            x->chunk[count++] = (expert_chunk){e, first, rows, item};
            item += units_of(panels_of(x, e)) * tiling_of(x->p.type, rows).count;
        }
    x->chunk[count] = (expert_chunk){.item = item};
    *x->chunk_count = count;
}

/* ---- packing ---- */

static void pack_choices(const expert_product *x, int64_t choices, int thread, int threads)
{
    size_t row_bytes = packed_row_bytes(x->p.type, x->p.k);
    const expert_chunk *c = x->chunk;
    int64_t begin, end;
    dt_share(choices, 1, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        while (i >= c->first + c->rows)
            c++;
        tiling b = tiling_of(x->p.type, c->rows);
        int64_t block = block_holding(b, i - c->first), start = block_begin(b, block);
        x->p.type->pack_row(x->rows + (size_t)(c->first + start) * row_bytes,
                            block_begin(b, block + 1) - start, i - c->first - start,
                            x->p.x + x->sorted.order[i] / x->choices_of_x * x->p.k, x->p.k);
    }
}

/* ---- multiplying ---- */

/* Lanes of panel `panel`, whose sums are the 16 from `sums` on, that belong to the chunk's expert. */
static void finish_choices(const expert_product *x, const expert_chunk *c, const row_block *rows,
                           const float *sums, int64_t panel)
{
    panel_range range = panels_of(x, c->expert);
    int64_t lane = panel == range.first ? range.skip : 0;
    int64_t column = (panel - range.first) * DT_PANEL + lane - range.skip,
            n = least(DT_PANEL - lane, x->N - column);
    const float *bias = x->p.bias == NULL ? NULL : x->p.bias + c->expert * x->N + column;
    for (int64_t r = 0; r < rows->R; r++) {
        int64_t choice = x->sorted.order[c->first + rows->row + r];
        vf sum = v_load_n(sums + r * SUMS + lane, n);
        if (bias != NULL)
            sum = v_add(sum, v_load_n(bias, n));
        v_store_n(x->p.y + choice * x->N + column, sum, n);
    }
}

static void multiply_item(const expert_product *x, const expert_chunk *c, int64_t item, product *p,
                          float *sums)
{
    tiling b = tiling_of(p->type, c->rows);
    panel_range range = panels_of(x, c->expert);
    int64_t left = range.first + item / b.count * 2, right = left + 1 < range.end ? left + 1 : -1;
    product_room room = {.rows = x->rows + (size_t)c->first * packed_row_bytes(p->type, p->k)};
    row_block rows = block_at(p, &room, b, item % b.count);
    multiply_block(p, &rows, left, right, sums);
    finish_choices(x, c, &rows, sums, left);
    if (right >= 0)
        finish_choices(x, c, &rows, sums + DT_PANEL, right);
}

static void multiply_choices(const expert_product *x, int thread, int threads)
{
    const expert_chunk *c = x->chunk;
    product p = x->p;
    size_t step = x->p.transposed ? dt_panel_bytes(x->p.type->dtype, x->p.k) : 0;
    _Alignas(64) float sums[TILE_ROWS * SUMS];
    int64_t begin, end;
    dt_share(c[*x->chunk_count].item, 1, thread, threads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        while (item >= c[1].item)
            c++;
        p.panels = x->p.panels + (size_t)c->expert * step;
        multiply_item(x, c, item - c->item, &p, sums);
    }
}

/* ---- the ops ---- */

static int64_t most_chunks(const product_type *type, int64_t choices, int64_t E)
{
    return least(choices, choices / chunk_rows(type) + E) + 1;
}

static void multiply_by_expert(const dt_kernel_call *call, expert_product *x, int thread, int threads)
{
    const dt_data *experts = &call->input[2];
    int64_t E = call->op->attr.experts.count, choices = elements_of(experts);
    char *room = call->scratch;
    x->sorted = sorted_at(room, E);
    x->chunk_count = (int64_t *)(room += sorted_room(choices, E));
    x->chunk = (expert_chunk *)(room += 64);
    x->rows = room + round_64((size_t)most_chunks(x->p.type, choices, E) * sizeof(expert_chunk));
    if (thread == 0) {
        sort_choices(experts, E, x->sorted);
        plan_chunks(x, E);
    }
    dt_pool_barrier(call->pool);
    pack_choices(x, choices, thread, threads);
    dt_pool_barrier(call->pool);
    multiply_choices(x, thread, threads);
}

static void expert_linear(const dt_kernel_call *call, const product_type *type, int thread, int threads)
{
    expert_product x = {.p = product_of(call, type), .N = call->output[0].dim[2]};
    x.p.bias = call->input[3].data;
    x.choices_of_x = call->input[0].rank == 3 ? 1 : call->input[2].dim[1];
    multiply_by_expert(call, &x, thread, threads);
}

/* dx[s, k] = sum over n of dy[s, n] * w[e * N + n, k] */
static void expert_linear_dx(const dt_kernel_call *call, const product_type *type, int thread, int threads)
{
    expert_product x = {.p = product_of(call, type), .N = call->input[1].dim[1], .choices_of_x = 1};
    x.p.transposed = true;
    x.p.outputs = x.N;
    x.p.panel_k = call->input[1].dim[0];
    x.p.k = call->input[0].dim[2];
    multiply_by_expert(call, &x, thread, threads);
}

static size_t expert_room(const dt_op *op, const product_type *type, int threads)
{
    int64_t E = op->attr.experts.count, choices = dt_tensor_elements(op->input[2], NULL);
    const dt_tensor *x = op->input[0];
    (void)threads;
    return sorted_room(choices, E) + 64 +
           round_64((size_t)most_chunks(type, choices, E) * sizeof(expert_chunk)) +
           (size_t)choices * packed_row_bytes(type, capacity(x, x->rank - 1));
}

/* dw of each expert over its choices in ascending order; zeros where there are none. */
static void expert_linear_dw(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *x = &call->input[1], *experts = &call->input[2];
    int64_t E = call->op->attr.experts.count, choices = elements_of(experts);
    dw_product d = {.dy = dy->data, .x = x->data, .n = dy->dim[2], .k = call->output[0].dim[1]};
    d.choices_of_x = x->rank == 3 ? 1 : experts->dim[1];
    sorted_choices sorted = sorted_at(call->scratch, E);
    dw_room room = dw_room_of((char *)call->scratch + sorted_room(choices, E), choices, d.k);
    if (thread == 0)
        sort_choices(experts, E, sorted);
    for (int64_t e = 0; e < E; e++) {
        if (e == 0 || d.rows > 0)
            dt_pool_barrier(call->pool); /* sorted; and the last expert's rows are no longer read */
        d.dw = (float *)call->output[0].data + e * d.n * d.k;
        d.choice = sorted.order + sorted.begin[e];
        d.rows = sorted.begin[e + 1] - sorted.begin[e];
        sum_dw(call, &d, &room, thread, threads);
        if (d.rows == 0 && thread == e % threads)
            memset(d.dw, 0, (size_t)(d.n * d.k) * sizeof(float));
    }
}

static size_t expert_dw_room(const dt_op *op, int threads)
{
    int64_t choices = dt_tensor_elements(op->input[2], NULL), most = least(choices, DW_STRETCH);
    const dt_tensor *dy = op->input[0];
    (void)threads;
    return sorted_room(choices, op->attr.experts.count) +
           (size_t)((dt_panels(capacity(op->output[0], 1)) * DT_PANEL + capacity(dy, 2)) * most) *
               sizeof(float);
}

/* db[e * N + n] = sum of dy[s, n] over e's choices; threads share columns. */
static void expert_column_sum(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *experts = &call->input[1];
    const int32_t *expert = experts->data;
    int64_t E = call->op->attr.experts.count, N = dy->dim[2], begin, end;
    float *out = call->output[0].data;
    dt_share(N, 16, thread, threads, &begin, &end);
    for (int64_t e = 0; e < E && begin < end; e++)
        memset(out + e * N + begin, 0, (size_t)(end - begin) * sizeof *out);
    for (int64_t s = 0; s < elements_of(experts) && begin < end; s++)
        add_row(out + expert[s] * N + begin, (const float *)dy->data + s * N + begin, end - begin);
}

#endif
