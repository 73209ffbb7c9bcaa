/*
 * shapes_backward.c - the shape rules of the ops that gradients are made of; see shapes.c.
 *
 * Only the gradient pass builds these, from shapes that forward rules have checked already; the rules state the
 * contract with the backends, and catch a pass that breaks it.
 */
#include "graph/rules.h"

#include <string.h>

/* (ids [T], dy [T, H], table [V, H]) → [V, H] */
dt_status dt_shape_embedding_grad(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *ids = op->input[0], *dy = op->input[1], *table = op->input[2];
    DT_PASS(dt_need_indices(op, "ids", ids, err));
    DT_PASS(dt_need_matrix(op, "dy", dy, err));
    DT_PASS(dt_need_matrix(op, "table", table, err));
    if (!dt_dim_equal(dy->dim[0], ids->dim[0]) || !dt_dim_equal(dy->dim[1], table->dim[1]))
        return dt_bad_shape(op, "dy", dy, err, "have the rows of ids %s and the columns of table %s",
                            dt_tensor_print(ids).text, dt_tensor_print(table).text);
    dt_signature_add_like(out, table);
    return DT_OK;
}

/* (dy [T, N], w [N, K]) → [T, K] */
dt_status dt_shape_linear_dx(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *dy = op->input[0], *w = op->input[1];
    DT_PASS(dt_need_matrix(op, "dy", dy, err));
    DT_PASS(dt_need_matrix(op, "w", w, err));
    if (!dt_dim_equal(dy->dim[1], w->dim[0]))
        return dt_bad_shape(op, "w", w, err, "have as many rows as dy %s has columns",
                            dt_tensor_print(dy).text);
    dt_signature_add(out, 2, (dt_dim[]){dy->dim[0], w->dim[1]});
    return DT_OK;
}

/* (dy [T, N], x [T, K]) → [N, K] */
dt_status dt_shape_linear_dw(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *dy = op->input[0], *x = op->input[1];
    DT_PASS(dt_need_matrix(op, "dy", dy, err));
    DT_PASS(dt_need_matrix(op, "x", x, err));
    if (!dt_dim_equal(dy->dim[0], x->dim[0]))
        return dt_bad_shape(op, "x", x, err, "have as many rows as dy %s", dt_tensor_print(dy).text);
    dt_signature_add(out, 2, (dt_dim[]){dy->dim[1], x->dim[1]});
    return DT_OK;
}

/* dy [T, n·N] → [N] */
dt_status dt_shape_column_sum(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(dt_need_matrix(op, "dy", op->input[0], err));
    dt_dim n = dt_dim_part(op->input[0]->dim[1], op->attr.sum.groups);
    dt_signature_add(out, 1, &n);
    return DT_OK;
}

/* (x [T, n·H], w [H], dy [T, n·H]) → [T, n·H] */
dt_status dt_shape_norm_dx(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0];
    DT_PASS(dt_need_matrix(op, "x", x, err));
    dt_dim n = dt_dim_part(x->dim[1], op->attr.norm.groups);
    DT_PASS(dt_need_vector(op, "w", op->input[1], n, "one for each column of x", err));
    DT_PASS(dt_need_shape_of(op, "dy", op->input[2], "x", x, err));
    dt_signature_add_like(out, x);
    return DT_OK;
}

/* (x [T, n·H], dy [T, n·H]) → [H] */
dt_status dt_shape_norm_dw(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0];
    DT_PASS(dt_need_matrix(op, "x", x, err));
    DT_PASS(dt_need_shape_of(op, "dy", op->input[1], "x", x, err));
    dt_dim n = dt_dim_part(x->dim[1], op->attr.norm.groups);
    dt_signature_add(out, 1, &n);
    return DT_OK;
}

/* (x [.., 2F], dy [.., F]) → as x */
dt_status dt_shape_glu_grad(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0], *dy = op->input[1];
    dt_signature forward = {0};
    DT_PASS(dt_shape_glu(op, &forward, err));
    dt_tensor half = {.id = -1, .name = "the result", .rank = x->rank};
    memcpy(half.dim, forward.output[0].dim, sizeof half.dim);
    DT_PASS(dt_need_shape_of(op, "dy", dy, "the unit's result", &half, err));
    dt_signature_add_like(out, x);
    return DT_OK;
}

/* (dy [R, H], index [R], x [T, H]) → [T, H] */
dt_status dt_shape_put_rows(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *dy = op->input[0], *index = op->input[1], *x = op->input[2];
    DT_PASS(dt_need_matrix(op, "dy", dy, err));
    DT_PASS(dt_need_indices(op, "index", index, err));
    DT_PASS(dt_need_matrix(op, "x", x, err));
    if (!dt_dim_equal(dy->dim[0], index->dim[0]) || !dt_dim_equal(dy->dim[1], x->dim[1]))
        return dt_bad_shape(op, "dy", dy, err, "have the rows of index %s and the columns of x %s",
                            dt_tensor_print(index).text, dt_tensor_print(x).text);
    dt_signature_add_like(out, x);
    return DT_OK;
}

/* (logits [T, V], labels [T], dloss [T]) → [T, V] */
dt_status dt_shape_cross_entropy_grad(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *logits = op->input[0];
    DT_PASS(dt_shape_cross_entropy(op, out, err));
    *out = (dt_signature){0};
    DT_PASS(dt_need_vector(op, "dloss", op->input[2], logits->dim[0], "one for each row of logits", err));
    dt_signature_add_like(out, logits);
    return DT_OK;
}

static dt_status need_scalar(const dt_op *op, const char *role, const dt_tensor *t, dt_error *err)
{
    return dt_need_vector(op, role, t, (dt_dim){NULL, 1}, "one number", err);
}

/* (x, w of one shape, dy [1]) → as w */
dt_status dt_shape_weighted_mean_grad(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(dt_need_shape_of(op, "x", op->input[0], "w", op->input[1], err));
    DT_PASS(need_scalar(op, "dy", op->input[2], err));
    dt_signature_add_like(out, op->input[1]);
    return DT_OK;
}

/* (x, s [1]) → as x */
dt_status dt_shape_scale_by(const dt_op *op, dt_signature *out, dt_error *err)
{
    DT_PASS(dt_need_shape_of(op, "x", op->input[0], "x", op->input[0], err));
    DT_PASS(need_scalar(op, "s", op->input[1], err));
    dt_signature_add_like(out, op->input[0]);
    return DT_OK;
}
