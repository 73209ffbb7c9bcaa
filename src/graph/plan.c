/*
 * plan.c - give every value of a graph its place in the arena or the saved block; see plan.h.
 *
 * Three steps: how long each value lives (liveness), which values may take over an input's memory (in place), and
 * where the resulting blocks lie. Laying intervals with sizes into the least memory is NP-hard; a few greedy orders,
 * each putting a block into the tightest gap that is free for its lifetime, come so close to the lower bound (the
 * most bytes alive at one op) that the best of them is taken and the search ends when one meets the bound.
 */
#include "graph/plan.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

/* Memory that one value, a chain of values in place, or a kernel's scratch holds from op `first` to op `last`. */
typedef struct block {
    size_t bytes, offset;
    int first, last;
} block;

typedef struct planner {
    const dt_graph *g;
    const dt_plan_options *options;
    dt_plan *plan;
    dt_arena *scratch;
    int *last;       /* by tensor: the last op that reads it; op_count = to the end */
    bool *saved;     /* by tensor: forward value that a backward op reads */
    int *block_of;   /* by tensor: index in block, -1 = none */
    int *scratch_of; /* by op: the same for its scratch */
    block *block;
    int block_count;
    size_t bound; /* most bytes alive at one op: no layout is smaller */
} planner;

/* ---- liveness ---- */

static bool is_placed(const dt_tensor *t)
{
    return t && t->kind == DT_TENSOR_VALUE && t->producer;
}

static void find_lifetimes(planner *p)
{
    const dt_graph *g = p->g;
    for (int i = 0; i < g->tensor_count; i++)
        p->last[i] = -1;
    for (int i = 0; i < g->op_count; i++) {
        const dt_op *op = g->op[i];
        for (int j = 0; j < op->input_count; j++) {
            const dt_tensor *t = op->input[j];
            if (!is_placed(t))
                continue;
            p->last[t->id] = i;
            if (op->phase != DT_PHASE_FORWARD && t->producer->phase == DT_PHASE_FORWARD)
                p->saved[t->id] = true;
        }
    }
    for (int i = 0; i < g->tensor_count; i++) {
        const dt_tensor *t = g->tensor[i];
        if (p->last[i] < 0 || t->keep || (p->options->keep_points && t->name))
            p->last[i] = g->op_count;
    }
}

/* ---- blocks ---- */

static dt_status round_up(size_t bytes, size_t *out, dt_error *err)
{
    size_t padded;
    if (!dt_add_size(bytes, ALIGNMENT - 1, &padded))
        return dt_fail(err, DT_LIMIT, "a block of %zu bytes is larger than memory can be", bytes);
    *out = padded / ALIGNMENT * ALIGNMENT;
    return DT_OK;
}

static dt_status new_block(planner *p, size_t bytes, int first, int last, int *index, dt_error *err)
{
    block *b = &p->block[p->block_count];
    DT_PASS(round_up(bytes, &b->bytes, err));
    b->first = first;
    b->last = last;
    *index = p->block_count++;
    return DT_OK;
}

/* May the op write its output over input 0? Only when that dies here and nothing else of the op reads it. */
static bool may_reuse_input(const planner *p, const dt_op *op)
{
    const dt_tensor *x = op->input[0], *y = op->output[0];
    if (!dt_op_info_of(op->kind)->in_place || !is_placed(x) || p->block_of[x->id] < 0 || !y)
        return false;
    for (int i = 1; i < op->input_count; i++)
        if (op->input[i] == x)
            return false;
    bool same = x->dtype == y->dtype && x->rank == y->rank;
    for (int i = 0; same && i < x->rank; i++)
        same = dt_dim_equal(x->dim[i], y->dim[i]);
    return same && p->last[x->id] == op->id && !p->saved[y->id];
}

static dt_status make_blocks_of(planner *p, const dt_op *op, dt_error *err)
{
    for (int i = 0; i < op->output_count; i++) {
        const dt_tensor *t = op->output[i];
        if (!t || p->saved[t->id])
            continue;
        if (i == 0 && may_reuse_input(p, op)) {
            int shared = p->block_of[op->input[0]->id];
            p->block_of[t->id] = shared;
            p->block[shared].last = p->last[t->id];
        } else {
            DT_PASS(new_block(p, dt_tensor_bytes(t, NULL), op->id, p->last[t->id], &p->block_of[t->id], err));
        }
    }
    size_t bytes = p->options->scratch ? p->options->scratch(p->options->user, op) : 0;
    return bytes ? new_block(p, bytes, op->id, op->id, &p->scratch_of[op->id], err) : DT_OK;
}

/* All blocks, and the two sums that bound the arena: it fits below Σ bytes, so that no offset can wrap. */
static dt_status make_blocks(planner *p, dt_error *err)
{
    int ops = p->g->op_count;
    for (int i = 0; i < ops; i++)
        DT_PASS(make_blocks_of(p, p->g->op[i], err));
    size_t sum = 0, alive = 0;
    for (int i = 0; i < p->block_count; i++)
        if (!dt_add_size(sum, p->block[i].bytes, &sum) || sum > PTRDIFF_MAX)
            return dt_fail(err, DT_LIMIT, "the values of the graph are larger than memory can be");
    size_t *change = DT_NEW_ARRAY(p->scratch, size_t, (size_t)ops + 2); /* differences, modulo 2^64 */
    if (!change)
        return dt_fail_memory(err, ((size_t)ops + 2) * sizeof *change, "a plan");
    for (int i = 0; i < p->block_count; i++) {
        change[p->block[i].first] += p->block[i].bytes;
        change[p->block[i].last + 1] -= p->block[i].bytes;
    }
    for (int i = 0; i <= ops; i++) {
        alive += change[i];
        p->bound = alive > p->bound ? alive : p->bound;
    }
    return DT_OK;
}

/* ---- layout ---- */

typedef enum order { BY_SIZE, BY_TIME, BY_AREA, BY_LIFE, ORDER_COUNT } order;

typedef struct place_in_order {
    double key; /* larger first */
    int index;
} place_in_order;

static int compare_places(const void *a, const void *b)
{
    const place_in_order *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->index < y->index ? -1 : 1; /* ties by index: the same plan everywhere */
}

static double key_of(const block *b, order by)
{
    double life = (double)(b->last - b->first + 1);
    switch (by) {
    case BY_SIZE:
        return (double)b->bytes;
    case BY_TIME:
        return -(double)b->first;
    case BY_AREA:
        return (double)b->bytes * life;
    default:
        return life;
    }
}

/* The tightest gap among the blocks already laid that live at the same time; behind all of them when none fits. */
static size_t best_gap(const block *all, const int *laid, int laid_count, const block *b)
{
    size_t end = 0, best = SIZE_MAX, best_slack = SIZE_MAX;
    for (int i = 0; i < laid_count; i++) { /* ascending offset */
        const block *other = &all[laid[i]];
        if (other->last < b->first || other->first > b->last)
            continue;
        if (other->offset > end && other->offset - end >= b->bytes &&
            other->offset - end - b->bytes < best_slack) {
            best = end;
            best_slack = other->offset - end - b->bytes;
        }
        if (other->offset + other->bytes > end)
            end = other->offset + other->bytes;
    }
    return best != SIZE_MAX ? best : end;
}

/* Lay all blocks in one order; returns the arena's size. `laid` is room for as many indices. */
static size_t lay(block *all, const place_in_order *places, int count, int *laid)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        block *b = &all[places[i].index];
        b->offset = best_gap(all, laid, i, b);
        if (b->offset + b->bytes > total)
            total = b->offset + b->bytes;
        int at = i;
        while (at > 0 && all[laid[at - 1]].offset > b->offset) {
            laid[at] = laid[at - 1];
            at--;
        }
        laid[at] = places[i].index;
    }
    return total;
}

static dt_status lay_out(planner *p, dt_error *err)
{
    int count = p->block_count;
    place_in_order *places = DT_NEW_ARRAY(p->scratch, place_in_order, count);
    int *laid = DT_NEW_ARRAY(p->scratch, int, count);
    size_t *best_offset = DT_NEW_ARRAY(p->scratch, size_t, count);
    if (!places || !laid || !best_offset)
        return dt_fail_memory(err, (size_t)count * sizeof *places, "a plan");
    size_t best = SIZE_MAX;
    for (order by = BY_SIZE; by < ORDER_COUNT && best > p->bound; by++) {
        for (int i = 0; i < count; i++)
            places[i] = (place_in_order){key_of(&p->block[i], by), i};
        qsort(places, (size_t)count, sizeof *places, compare_places);
        size_t total = lay(p->block, places, count, laid);
        if (total >= best)
            continue;
        best = total;
        for (int i = 0; i < count; i++)
            best_offset[i] = p->block[i].offset;
    }
    for (int i = 0; i < count; i++)
        p->block[i].offset = best_offset[i];
    p->plan->arena_bytes = best;
    return DT_OK;
}

/* ---- the result ---- */

/* Saved values all live between the phases, so they simply lie side by side. */
static dt_status record(planner *p, dt_error *err)
{
    dt_plan *plan = p->plan;
    for (int i = 0; i < p->g->tensor_count; i++) {
        if (p->saved[i]) {
            size_t bytes;
            DT_PASS(round_up(dt_tensor_bytes(p->g->tensor[i], NULL), &bytes, err));
            plan->tensor[i].place = DT_PLACE_SAVED;
            plan->tensor[i].offset = plan->saved_bytes;
            if (!dt_add_size(plan->saved_bytes, bytes, &plan->saved_bytes) || plan->saved_bytes > PTRDIFF_MAX)
                return dt_fail(err, DT_LIMIT, "the saved values of the graph are larger than memory can be");
        } else if (p->block_of[i] >= 0) {
            plan->tensor[i].place = DT_PLACE_ARENA;
            plan->tensor[i].offset = p->block[p->block_of[i]].offset;
        }
    }
    for (int i = 0; i < p->g->op_count; i++)
        plan->scratch[i] = p->scratch_of[i] >= 0 ? p->block[p->scratch_of[i]].offset : 0;
    return DT_OK;
}

static bool allocate(planner *p, dt_plan **out, dt_arena *arena)
{
    size_t tensors = (size_t)p->g->tensor_count, ops = (size_t)p->g->op_count;
    dt_plan *plan = *out = p->plan = DT_NEW(arena, dt_plan);
    p->last = DT_NEW_ARRAY(p->scratch, int, tensors);
    p->saved = DT_NEW_ARRAY(p->scratch, bool, tensors);
    p->block_of = DT_NEW_ARRAY(p->scratch, int, tensors);
    p->scratch_of = DT_NEW_ARRAY(p->scratch, int, ops);
    p->block = DT_NEW_ARRAY(p->scratch, block, tensors + ops);
    if (!plan || !p->last || !p->saved || !p->block_of || !p->scratch_of || !p->block)
        return false;
    plan->tensor = dt_arena_array(arena, tensors, sizeof *plan->tensor);
    plan->scratch = DT_NEW_ARRAY(arena, size_t, ops);
    memset(p->block_of, 0xff, tensors * sizeof(int));
    memset(p->scratch_of, 0xff, ops * sizeof(int));
    return plan->tensor && plan->scratch;
}

static dt_status make(planner *p, dt_plan **out, dt_arena *arena, dt_error *err)
{
    if (!allocate(p, out, arena))
        return dt_fail_memory(err, (size_t)p->g->tensor_count * sizeof(block), "a plan");
    find_lifetimes(p);
    DT_PASS(make_blocks(p, err));
    if (p->block_count)
        DT_PASS(lay_out(p, err));
    return record(p, err);
}

dt_status dt_plan_make(dt_plan **out, const dt_graph *g, const dt_plan_options *options, dt_arena *arena,
                       dt_error *err)
{
    static const dt_plan_options defaults = {0};
    *out = NULL;
    if (!g->finished)
        return dt_fail(err, DT_INVALID, "only a finished graph can be planned: call dt_graph_finish first");
    planner p = {.g = g, .options = options ? options : &defaults, .scratch = dt_arena_create()};
    if (!p.scratch)
        return dt_fail_memory(err, 0, "a plan");
    dt_status status = make(&p, out, arena, err);
    dt_arena_destroy(p.scratch);
    if (status != DT_OK)
        *out = NULL;
    return status;
}
