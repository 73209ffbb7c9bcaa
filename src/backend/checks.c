/*
 * checks.c - the integers of a step, looked at before any kernel indexes with them.
 *
 * Many ops share their integers (every layer reads the same lengths), so equal checks are kept once. The cost of a
 * step is one pass over ids, lengths and the used part of the block tables; activations are not looked at.
 */
#include "backend/checks.h"

#include <inttypes.h>

typedef enum check_kind { CHECK_IDS, CHECK_LENGTHS, CHECK_CACHE, CHECK_MERGE } check_kind;

struct dt_check {
    check_kind kind;
    const dt_tensor *a; /* ids; cumulative lengths; past; an index into two sources */
    const dt_tensor *b; /* cumulative lengths of what is appended (CACHE; NULL = nothing is) */
    const dt_tensor *table;
    const dt_tensor *other; /* MERGE: the second source */
    const dt_tensor *of;    /* dim 0 bounds the ids, the rows, or the blocks */
    int64_t limit;          /* ids: fixed bound instead of `of`; 0 = none */
    int64_t first;          /* row of `of` that 0 stands for */
    bool negative_allowed;
    struct dt_check *next;
};

static bool same(const dt_check *x, const dt_check *y)
{
    return x->kind == y->kind && x->a == y->a && x->b == y->b && x->table == y->table && x->of == y->of &&
           x->other == y->other && x->limit == y->limit && x->first == y->first &&
           x->negative_allowed == y->negative_allowed;
}

/* ---- making the list ---- */

static bool is_bound_by_caller(const dt_tensor *t)
{
    return t == NULL || t->kind == DT_TENSOR_INPUT || t->kind == DT_TENSOR_STATE;
}

static dt_status add(dt_check **list, dt_check check, dt_arena *arena, dt_error *err)
{
    if (!is_bound_by_caller(check.a) || !is_bound_by_caller(check.b) || !is_bound_by_caller(check.table))
        return dt_fail(err, DT_UNSUPPORTED,
                       "ids, lengths and block tables must be inputs, not computed values");
    for (; *list != NULL; list = &(*list)->next)
        if (same(*list, &check))
            return DT_OK;
    if ((*list = DT_NEW(arena, dt_check)) == NULL)
        return dt_fail_memory(err, sizeof check, "the checks of a graph's inputs");
    **list = check;
    return DT_OK;
}

static dt_status add_attention(dt_check **list, const dt_op *op, dt_arena *arena, dt_error *err)
{
    dt_tensor *const *in = op->input;
    const dt_tensor *appended = in[DT_ATTENTION_K] == NULL ? NULL : in[DT_ATTENTION_CU_KEYS];
    DT_PASS(add(list,
                (dt_check){.kind = CHECK_LENGTHS, .a = in[DT_ATTENTION_CU_ROWS], .of = in[DT_ATTENTION_Q]},
                arena, err));
    if (appended != NULL)
        DT_PASS(add(list, (dt_check){.kind = CHECK_LENGTHS, .a = appended, .of = in[DT_ATTENTION_K]}, arena,
                    err));
    if (in[DT_ATTENTION_K_CACHE] == NULL)
        return DT_OK;
    return add(list,
               (dt_check){.kind = CHECK_CACHE,
                          .a = in[DT_ATTENTION_PAST],
                          .b = appended,
                          .table = in[DT_ATTENTION_BLOCK_TABLE],
                          .of = in[DT_ATTENTION_K_CACHE]},
               arena, err);
}

static dt_status add_kv_store(dt_check **list, const dt_op *op, dt_arena *arena, dt_error *err)
{
    dt_tensor *const *in = op->input;
    const dt_tensor *appended = in[DT_KV_STORE_CU_SEQLENS];
    DT_PASS(add(list, (dt_check){.kind = CHECK_LENGTHS, .a = appended, .of = in[DT_KV_STORE_K]}, arena, err));
    return add(list,
               (dt_check){.kind = CHECK_CACHE,
                          .a = in[DT_KV_STORE_PAST],
                          .b = appended,
                          .table = in[DT_KV_STORE_BLOCK_TABLE],
                          .of = in[DT_KV_STORE_K_CACHE]},
               arena, err);
}

static dt_status add_op(dt_check **list, const dt_op *op, dt_arena *arena, dt_error *err)
{
    dt_tensor *const *in = op->input;
    switch (op->kind) {
    case DT_OP_embedding: /* table, ids */
        return add(list,
                   (dt_check){.kind = CHECK_IDS, .a = in[1], .of = in[0], .first = op->attr.embedding.first},
                   arena, err);
    case DT_OP_take_rows: /* x, index */
        return add(list, (dt_check){.kind = CHECK_IDS, .a = in[1], .of = in[0]}, arena, err);
    case DT_OP_merge_rows: /* x, y, index */
        return add(list, (dt_check){.kind = CHECK_MERGE, .a = in[2], .of = in[0], .other = in[1]}, arena,
                   err);
    case DT_OP_blend_rows: /* table, index, weight */
        return add(list, (dt_check){.kind = CHECK_IDS, .a = in[1], .of = in[0]}, arena, err);
    case DT_OP_cross_entropy: { /* logits, labels */
        int64_t vocab = op->attr.cross_entropy.vocab;
        if (vocab == 0)
            vocab = in[0]->dim[in[0]->rank - 1].n;
        return add(list, (dt_check){.kind = CHECK_IDS, .a = in[1], .limit = vocab, .negative_allowed = true},
                   arena, err);
    }
    case DT_OP_expert_linear: /* experts; route's are what they must be */
        if (!is_bound_by_caller(in[2]))
            return DT_OK;
        return add(list, (dt_check){.kind = CHECK_IDS, .a = in[2], .limit = op->attr.experts.count}, arena,
                   err);
    case DT_OP_attention:
        return add_attention(list, op, arena, err);
    case DT_OP_kv_store:
        return add_kv_store(list, op, arena, err);
    default: /* gradients index with what the forward ops do */
        return DT_OK;
    }
}

dt_status dt_checks_make(dt_check **out, const dt_graph *graph, dt_arena *arena, dt_error *err)
{
    *out = NULL;
    for (int i = 0; i < graph->op_count; i++)
        if (graph->op[i]->phase == DT_PHASE_FORWARD)
            DT_PASS(add_op(out, graph->op[i], arena, err));
    return DT_OK;
}

/* ---- running it ---- */

static const char *name_of(const dt_tensor *t)
{
    return t->name == NULL ? "(unnamed)" : t->name;
}

static dt_status check_ids(const dt_check *check, const int32_t *ids, const int64_t *counts, dt_error *err)
{
    int64_t limit = check->of == NULL ? check->limit : dt_dim_count(check->of->dim[0], counts) - check->first;
    int64_t n = dt_tensor_elements(check->a, counts);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= limit || (ids[i] < 0 && !check->negative_allowed))
            return dt_fail(err, DT_INVALID,
                           "input \"%s\", row %" PRId64 ": %" PRId32 " is outside [0, %" PRId64 ")",
                           name_of(check->a), i, ids[i], limit);
    return DT_OK;
}

static dt_status check_merge(const dt_check *check, const int32_t *index, const int64_t *counts,
                             dt_error *err)
{
    int64_t first = dt_dim_count(check->of->dim[0], counts);
    int64_t second = dt_dim_count(check->other->dim[0], counts);
    int64_t n = dt_tensor_elements(check->a, counts);
    for (int64_t i = 0; i < n; i++)
        if (index[i] >= first || index[i] < -second)
            return dt_fail(err, DT_INVALID,
                           "input \"%s\", row %" PRId64 ": %" PRId32 " is outside [-%" PRId64 ", %" PRId64
                           "), the rows of its two sources",
                           name_of(check->a), i, index[i], second, first);
    return DT_OK;
}

static dt_status check_lengths(const dt_check *check, const int32_t *cu, const int64_t *counts, dt_error *err)
{
    int64_t rows = dt_dim_count(check->of->dim[0], counts), n = dt_tensor_elements(check->a, counts);
    const char *name = name_of(check->a);
    if (n > 0 && cu[0] != 0)
        return dt_fail(err, DT_INVALID,
                       "input \"%s\" starts with %" PRId32 "; cumulative lengths start with 0", name, cu[0]);
    for (int64_t i = 1; i < n; i++)
        if (cu[i] < cu[i - 1])
            return dt_fail(err, DT_INVALID,
                           "input \"%s\" falls from %" PRId32 " to %" PRId32 " at entry %" PRId64, name,
                           cu[i - 1], cu[i], i);
    if (n > 0 && cu[n - 1] > rows)
        return dt_fail(err, DT_INVALID,
                       "input \"%s\" ends with %" PRId32 ", but the step has %" PRId64 " rows", name,
                       cu[n - 1], rows);
    return DT_OK;
}

/* One sequence's stored positions: enough entries in its row of the table, each a block that exists. */
static dt_status check_blocks(const dt_check *check, int64_t sequence, int64_t positions, const int32_t *row,
                              const int64_t *counts, dt_error *err)
{
    int64_t blocks = dt_dim_count(check->of->dim[0], counts);
    int64_t entries = dt_dim_count(check->table->dim[1], counts);
    int64_t used = (positions + DT_KV_BLOCK - 1) / DT_KV_BLOCK;
    if (used > entries)
        return dt_fail(err, DT_LIMIT,
                       "sequence %" PRId64 " would hold %" PRId64
                       " positions, but its row of \"%s\" has room for %" PRId64,
                       sequence, positions, name_of(check->table), entries * DT_KV_BLOCK);
    for (int64_t i = 0; i < used; i++)
        if (row[i] < 0 || row[i] >= blocks)
            return dt_fail(err, DT_INVALID,
                           "input \"%s\", sequence %" PRId64 ", entry %" PRId64 ": block %" PRId32
                           " is outside [0, %" PRId64 ")",
                           name_of(check->table), sequence, i, row[i], blocks);
    return DT_OK;
}

static dt_status check_cache(const dt_check *check, void *const *bound, const int64_t *counts, dt_error *err)
{
    const int32_t *past = bound[check->a->id], *table = bound[check->table->id];
    const int32_t *cu = check->b == NULL ? NULL : bound[check->b->id];
    int64_t sequences = dt_dim_count(check->a->dim[0], counts);
    int64_t entries = dt_dim_count(check->table->dim[1], counts);
    for (int64_t b = 0; b < sequences; b++) {
        if (past[b] < 0)
            return dt_fail(err, DT_INVALID, "input \"%s\", sequence %" PRId64 ": %" PRId32 " is negative",
                           name_of(check->a), b, past[b]);
        int64_t added = cu == NULL ? 0 : (int64_t)cu[b + 1] - cu[b];
        DT_PASS(check_blocks(check, b, past[b] + added, table + b * entries, counts, err));
    }
    return DT_OK;
}

dt_status dt_checks_run(const dt_check *checks, void *const *bound, const int64_t *counts, dt_error *err)
{
    for (const dt_check *check = checks; check != NULL; check = check->next) {
        switch (check->kind) {
        case CHECK_IDS:
            DT_PASS(check_ids(check, bound[check->a->id], counts, err));
            break;
        case CHECK_LENGTHS:
            DT_PASS(check_lengths(check, bound[check->a->id], counts, err));
            break;
        case CHECK_MERGE:
            DT_PASS(check_merge(check, bound[check->a->id], counts, err));
            break;
        case CHECK_CACHE:
            DT_PASS(check_cache(check, bound, counts, err));
            break;
        }
    }
    return DT_OK;
}
