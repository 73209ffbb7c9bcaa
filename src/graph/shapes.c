/*
 * shapes.c - the shape rules of forward ops but attention: they check the inputs and infer the outputs.
 *
 * A rule sees an op whose required inputs are present (graph.c) and says in one sentence what does not fit. It
 * makes nothing, so that the verifier can ask it again about a finished graph.
 */
#include "graph/rules.h"

#include <stdio.h>
#include <string.h>

/* ---- sentences ---- */

static const char *name_of(const dt_op *op)
{
    return dt_op_info_of(op->kind)->name;
}

dt_status dt_bad_shape(const dt_op *op, const char *role, const dt_tensor *t, dt_error *err, const char *must,
                       ...)
{
    char text[256];
    va_list args;
    va_start(args, must);
    vsnprintf(text, sizeof text, must, args);
    va_end(args);
    return dt_fail(err, DT_MISMATCH, "%s: %s %s must %s", name_of(op), role, dt_tensor_print(t).text, text);
}

static dt_status need_f32(const dt_op *op, const char *role, const dt_tensor *t, dt_error *err)
{
    if (!t)
        return dt_fail(err, DT_INVALID, "%s needs %s, which is NULL", name_of(op), role);
    if (t->dtype != DT_F32)
        return dt_bad_shape(op, role, t, err, "be f32");
    return DT_OK;
}

dt_status dt_need_matrix(const dt_op *op, const char *role, const dt_tensor *t, dt_error *err)
{
    DT_PASS(need_f32(op, role, t, err));
    return t->rank == 2 ? DT_OK : dt_bad_shape(op, role, t, err, "have two dimensions");
}

dt_status dt_need_vector(const dt_op *op, const char *role, const dt_tensor *t, dt_dim n, const char *of,
                         dt_error *err)
{
    DT_PASS(need_f32(op, role, t, err));
    if (t->rank != 1 || !dt_dim_equal(t->dim[0], n))
        return dt_bad_shape(op, role, t, err, "be %s, %s", dt_dims_print(1, &n).text, of);
    return DT_OK;
}

dt_status dt_need_indices(const dt_op *op, const char *role, const dt_tensor *t, dt_error *err)
{
    if (!t)
        return dt_fail(err, DT_INVALID, "%s needs %s, which is NULL", name_of(op), role);
    if (t->rank != 1 || t->dtype != DT_I32)
        return dt_bad_shape(op, role, t, err, "have one dimension and type i32");
    return DT_OK;
}

static bool same_dims(const dt_tensor *a, const dt_tensor *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = dt_dim_equal(a->dim[i], b->dim[i]);
    return same;
}

dt_status dt_need_shape_of(const dt_op *op, const char *role, const dt_tensor *t, const char *model_role,
                           const dt_tensor *model, dt_error *err)
{
    DT_PASS(need_f32(op, role, t, err));
    if (!same_dims(t, model))
        return dt_bad_shape(op, role, t, err, "have the shape of %s %s", model_role,
                            dt_tensor_print(model).text);
    return DT_OK;
}

/* ---- outputs ---- */

void dt_signature_add(dt_signature *out, int rank, const dt_dim *dim)
{
    out->output[out->count].dtype = DT_F32;
    out->output[out->count].rank = rank;
    memcpy(out->output[out->count].dim, dim, (size_t)rank * sizeof *dim);
    out->count++;
}

void dt_signature_add_like(dt_signature *out, const dt_tensor *model)
{
    dt_signature_add(out, model->rank, model->dim);
}

void dt_signature_skip(dt_signature *out)
{
    out->count++;
}

/* ---- rules ---- */

/* (table [V, H], ids [T]) → [T, H] */
dt_status dt_shape_embedding(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *table = op->input[0], *ids = op->input[1];
    DT_PASS(dt_need_matrix(op, "table", table, err));
    DT_PASS(dt_need_indices(op, "ids", ids, err));
    if (!table->dim[0].axis && op->attr.embedding.first >= table->dim[0].n)
        return dt_bad_shape(op, "table", table, err, "have more than %lld rows, the first one read",
                            (long long)op->attr.embedding.first);
    dt_signature_add(out, 2, (dt_dim[]){ids->dim[0], table->dim[1]});
    return DT_OK;
}

/* (positions [T], frequencies [2F], F ≤ width) → [T, width] */
dt_status dt_shape_sinusoid(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *positions = op->input[0], *f = op->input[1];
    int64_t width = op->attr.sinusoid.width;
    DT_PASS(dt_need_indices(op, "positions", positions, err));
    DT_PASS(need_f32(op, "frequencies", f, err));
    if (f->rank != 1 || f->dim[0].axis || f->dim[0].n % 2 || f->dim[0].n / 2 > width)
        return dt_bad_shape(op, "frequencies", f, err, "have twice as many entries as sines, of %lld columns",
                            (long long)width);
    dt_signature_add(out, 2, (dt_dim[]){positions->dim[0], {NULL, width}});
    return DT_OK;
}

/* x [T, K] and w [N, K]: the part that linear and fused_linear share. */
static dt_status check_product(const dt_op *op, dt_error *err)
{
    const dt_tensor *x = op->input[0], *w = op->input[1];
    DT_PASS(dt_need_matrix(op, "x", x, err));
    DT_PASS(dt_need_matrix(op, "w", w, err));
    if (!dt_dim_equal(x->dim[1], w->dim[1]))
        return dt_bad_shape(op, "w", w, err, "have as many columns as x %s", dt_tensor_print(x).text);
    if (op->input_count > 2 && op->input[2])
        return dt_need_vector(op, "bias", op->input[2], w->dim[0], "one for each row of w", err);
    return DT_OK;
}

/* (x [T, K], w [N, K], bias [N]) → [T, N] */
dt_status dt_shape_linear(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(check_product(op, err));
    dt_signature_add(out, 2, (dt_dim[]){op->input[0]->dim[0], op->input[1]->dim[0]});
    return DT_OK;
}

/* (x [T, K], w [N, K], bias [N], norm w [K], norm b [K], residual as the result) → [T, N], or [T, N/2] with glu */
dt_status dt_shape_fused_linear(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(check_product(op, err));
    const dt_tensor *const *in = (const dt_tensor *const *)op->input; /* absent ones are NULL */
    dt_dim k = in[0]->dim[1], result[2] = {in[0]->dim[0], in[1]->dim[0]};
    if (op->attr.fused.has_norm)
        DT_PASS(dt_need_vector(op, "norm weight", in[3], k, "one for each column of x", err));
    if (op->attr.fused.has_norm && in[4])
        DT_PASS(dt_need_vector(op, "norm bias", in[4], k, "one for each column of x", err));
    if (op->attr.fused.glu) {
        if (result[1].axis || result[1].n % 2)
            return dt_bad_shape(op, "w", in[1], err, "have an even number of rows: [gate; up]");
        result[1].n /= 2;
    }
    dt_signature_add(out, 2, result);
    if (in[5]) {
        dt_tensor expected = {.id = -1, .name = "the result", .rank = 2, .dim = {result[0], result[1]}};
        DT_PASS(dt_need_shape_of(op, "residual", in[5], "the product", &expected, err));
    }
    return DT_OK;
}

dt_dim dt_dim_part(dt_dim whole, int64_t parts)
{
    if (parts <= 1 || whole.axis || whole.n % parts)
        return whole;
    return (dt_dim){NULL, whole.n / parts};
}

/* (x [T, n·H], w [H], b [H]) → [T, n·H] */
dt_status dt_shape_norm(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0];
    DT_PASS(dt_need_matrix(op, "x", x, err));
    dt_dim n = dt_dim_part(x->dim[1], op->attr.norm.groups);
    DT_PASS(dt_need_vector(op, "w", op->input[1], n, "one for each column of x", err));
    if (op->input_count > 2 && op->input[2])
        DT_PASS(dt_need_vector(op, "b", op->input[2], n, "one for each column of x", err));
    if (!(op->attr.norm.eps >= 0 && op->attr.norm.eps < 1))
        return dt_fail(err, DT_INVALID, "%s: eps %g is not in [0, 1)", name_of(op), op->attr.norm.eps);
    dt_signature_add_like(out, x);
    return DT_OK;
}

/* All inputs of one shape → that shape. */
dt_status dt_shape_same(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(need_f32(op, "x", op->input[0], err));
    for (int i = 1; i < op->input_count; i++)
        DT_PASS(dt_need_shape_of(op, i == 1 ? "y" : "z", op->input[i], "x", op->input[0], err));
    dt_signature_add_like(out, op->input[0]);
    return DT_OK;
}

/* x [.., 2F] → [.., F] */
dt_status dt_shape_glu(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0];
    DT_PASS(need_f32(op, "x", x, err));
    dt_dim columns = x->dim[x->rank - 1];
    if (x->rank < 2 || columns.axis || columns.n % 2)
        return dt_bad_shape(op, "x", x, err, "have an even number of columns: [gate | up]");
    dt_signature_add(out, x->rank, x->dim);
    out->output[0].dim[x->rank - 1].n /= 2;
    return DT_OK;
}

/* Σ width · groups, checked against overflow; -1 when the attributes make no sense. */
static int64_t grouped_columns(const dt_op *op)
{
    int64_t groups = op->attr.split.groups, sum = 0, columns;
    if (groups < 1 || op->attr.split.parts < 1 || op->attr.split.parts > 4)
        return -1;
    for (int i = 0; i < op->attr.split.parts; i++) {
        int64_t width = op->attr.split.width[i];
        if (width < 1 || __builtin_add_overflow(sum, width, &sum))
            return -1;
    }
    return __builtin_mul_overflow(sum, groups, &columns) ? -1 : columns;
}

static dt_status bad_groups(const dt_op *op, dt_error *err)
{
    return dt_fail(err, DT_INVALID, "%s: %lld groups of %d parts (1 to 4, each at least one wide) cannot be",
                   name_of(op), (long long)op->attr.split.groups, op->attr.split.parts);
}

/* x [T, groups · Σ width] → parts × [T, groups · width[i]] */
dt_status dt_shape_split_groups(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0];
    int64_t columns = grouped_columns(op);
    if (columns < 0)
        return bad_groups(op, err);
    DT_PASS(dt_need_matrix(op, "x", x, err));
    if (!dt_dim_equal(x->dim[1], (dt_dim){NULL, columns}))
        return dt_bad_shape(op, "x", x, err, "have %lld columns, which %lld groups of its %d parts make",
                            (long long)columns, (long long)op->attr.split.groups, op->attr.split.parts);
    for (int i = 0; i < op->attr.split.parts; i++)
        dt_signature_add(out, 2,
                         (dt_dim[]){x->dim[0], {NULL, op->attr.split.groups * op->attr.split.width[i]}});
    return DT_OK;
}

/* The parts of split_groups, absent ones being zeros → [T, groups · Σ width] */
dt_status dt_shape_join_groups(const dt_op *op, dt_signature *out, dt_error *err)
{
    int64_t columns = grouped_columns(op);
    if (columns < 0 || op->input_count != op->attr.split.parts)
        return bad_groups(op, err);
    const dt_tensor *first = NULL;
    for (int i = 0; i < op->input_count; i++) {
        const dt_tensor *part = op->input[i];
        if (!part)
            continue;
        DT_PASS(dt_need_matrix(op, "part", part, err));
        first = first ? first : part;
        dt_dim expected[2] = {first->dim[0], {NULL, op->attr.split.groups * op->attr.split.width[i]}};
        if (!dt_dim_equal(part->dim[0], expected[0]) || !dt_dim_equal(part->dim[1], expected[1]))
            return dt_bad_shape(op, "part", part, err, "be %s", dt_dims_print(2, expected).text);
    }
    if (!first)
        return dt_fail(err, DT_INVALID, "%s: every part is NULL", name_of(op));
    dt_signature_add(out, 2, (dt_dim[]){first->dim[0], {NULL, columns}});
    return DT_OK;
}

/* (x [T, heads · D], positions [T], inv_freq [n], 2n ≤ D) → as x */
dt_status dt_shape_rope(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0], *positions = op->input[1], *inv_freq = op->input[2];
    const dt_tensor *lengths = op->input[3];
    const dt_rope_spec *spec = &op->attr.rope.spec;
    int64_t heads = spec->heads, tables = spec->growth == DT_ROPE_TWO_TABLES ? 2 : 1;
    DT_PASS(dt_need_matrix(op, "x", x, err));
    DT_PASS(dt_need_indices(op, "positions", positions, err));
    DT_PASS(need_f32(op, "inv_freq", inv_freq, err));
    if (heads < 1 || x->dim[1].axis || x->dim[1].n % heads)
        return dt_bad_shape(op, "x", x, err, "have a multiple of %lld heads as columns", (long long)heads);
    if (!dt_dim_equal(positions->dim[0], x->dim[0]))
        return dt_bad_shape(op, "positions", positions, err, "have one entry for each row of x %s",
                            dt_tensor_print(x).text);
    int64_t head_dim = x->dim[1].n / heads;
    if (inv_freq->rank != 1 || inv_freq->dim[0].axis || inv_freq->dim[0].n % tables ||
        inv_freq->dim[0].n / tables > head_dim / 2)
        return dt_bad_shape(op, "inv_freq", inv_freq, err,
                            "have at most %lld entries, half of the head size %lld",
                            (long long)(head_dim / 2), (long long)head_dim);
    if (!lengths && spec->growth != DT_ROPE_CONSTANT)
        return dt_fail(err, DT_INVALID,
                       "rope: frequencies that grow with a sequence need lengths, which is NULL");
    if (lengths) {
        DT_PASS(dt_need_indices(op, "lengths", lengths, err));
        if (!dt_dim_equal(lengths->dim[0], x->dim[0]))
            return dt_bad_shape(op, "lengths", lengths, err, "have one entry for each row of x %s",
                                dt_tensor_print(x).text);
    }
    dt_signature_add_like(out, x);
    return DT_OK;
}

/* (x [T, H], index [R]) → [R, H] */
dt_status dt_shape_take_rows(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(dt_need_matrix(op, "x", op->input[0], err));
    DT_PASS(dt_need_indices(op, "index", op->input[1], err));
    dt_signature_add(out, 2, (dt_dim[]){op->input[1]->dim[0], op->input[0]->dim[1]});
    return DT_OK;
}

/* (x [A, H], y [B, H], index [T]) → [T, H] */
dt_status dt_shape_merge_rows(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0], *y = op->input[1], *index = op->input[2];
    DT_PASS(dt_need_matrix(op, "x", x, err));
    DT_PASS(dt_need_matrix(op, "y", y, err));
    DT_PASS(dt_need_indices(op, "index", index, err));
    if (!dt_dim_equal(x->dim[1], y->dim[1]))
        return dt_bad_shape(op, "y", y, err, "have the columns of x %s", dt_tensor_print(x).text);
    dt_signature_add(out, 2, (dt_dim[]){index->dim[0], x->dim[1]});
    return DT_OK;
}

/* What index [T, k] and weight [T, k] must be for a table [V, H]. */
static dt_status check_blend(const dt_op *op, const dt_tensor *table, const dt_tensor *index,
                             const dt_tensor *weight, dt_error *err)
{
    DT_PASS(dt_need_matrix(op, "table", table, err));
    DT_PASS(dt_need_matrix(op, "weight", weight, err));
    if (index->dtype != DT_I32 || index->rank != 2 || !dt_dim_equal(index->dim[0], weight->dim[0]) ||
        !dt_dim_equal(index->dim[1], weight->dim[1]))
        return dt_bad_shape(op, "index", index, err, "be i32 and have the shape of weight %s",
                            dt_tensor_print(weight).text);
    return DT_OK;
}

/* (table [V, H], index [T, k], weight [T, k]) → [T, H] */
dt_status dt_shape_blend_rows(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *table = op->input[0], *index = op->input[1];
    DT_PASS(check_blend(op, table, index, op->input[2], err));
    dt_signature_add(out, 2, (dt_dim[]){index->dim[0], table->dim[1]});
    return DT_OK;
}

/* (dy [T, H], index [T, k], weight [T, k], table [V, H]) → as table */
dt_status dt_shape_blend_grad(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *dy = op->input[0], *table = op->input[3];
    DT_PASS(dt_need_matrix(op, "dy", dy, err));
    DT_PASS(check_blend(op, table, op->input[1], op->input[2], err));
    if (!dt_dim_equal(dy->dim[0], op->input[1]->dim[0]) || !dt_dim_equal(dy->dim[1], table->dim[1]))
        return dt_bad_shape(op, "dy", dy, err, "have the rows of index %s and the columns of table %s",
                            dt_tensor_print(op->input[1]).text, dt_tensor_print(table).text);
    dt_signature_add_like(out, table);
    return DT_OK;
}

/* (x [T, H], w [H]) → as x */
dt_status dt_shape_scale_columns(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0];
    DT_PASS(dt_need_matrix(op, "x", x, err));
    DT_PASS(dt_need_vector(op, "w", op->input[1], x->dim[1], "one for each column of x", err));
    dt_signature_add_like(out, x);
    return DT_OK;
}

/* (x, s [1], b [1]) → as x */
dt_status dt_shape_scale_exp(const dt_op *op, dt_signature *out, dt_error *err)
{
    dt_dim one = {NULL, 1};
    DT_PASS(need_f32(op, "x", op->input[0], err));
    DT_PASS(dt_need_vector(op, "s", op->input[1], one, "one factor's logarithm", err));
    if (op->input_count > 2 && op->input[2])
        DT_PASS(dt_need_vector(op, "b", op->input[2], one, "one summand", err));
    dt_signature_add_like(out, op->input[0]);
    return DT_OK;
}

/* (logits [T, V], labels [T]) → [T] */
dt_status dt_shape_cross_entropy(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *logits = op->input[0], *labels = op->input[1];
    int64_t vocab = op->attr.cross_entropy.vocab;
    DT_PASS(dt_need_matrix(op, "logits", logits, err));
    DT_PASS(dt_need_indices(op, "labels", labels, err));
    if (!dt_dim_equal(logits->dim[0], labels->dim[0]))
        return dt_bad_shape(op, "labels", labels, err, "have one entry for each row of logits %s",
                            dt_tensor_print(logits).text);
    if (vocab < 0 || logits->dim[1].axis || vocab > logits->dim[1].n)
        return dt_bad_shape(op, "logits", logits, err, "have at least vocab = %lld columns",
                            (long long)vocab);
    dt_signature_add(out, 1, labels->dim);
    return DT_OK;
}

/* (x, w of one shape) → [1] */
dt_status dt_shape_scalar(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(need_f32(op, "x", op->input[0], err));
    DT_PASS(dt_need_shape_of(op, "w", op->input[1], "x", op->input[0], err));
    dt_signature_add(out, 1, (dt_dim[]){{NULL, 1}});
    return DT_OK;
}
