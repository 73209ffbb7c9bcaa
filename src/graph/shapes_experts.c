/*
 * shapes_experts.c - the shape rules of a mixture of experts, forward and backward; see shapes.c.
 *
 * T rows choose k of E experts each. What belongs to a choice is [T, k, ·]; experts' matrices lie below one another.
 */
#include "graph/rules.h"

static dt_status need_choices(const dt_op *op, const char *role, const dt_tensor *t, dt_dtype dtype,
                              dt_error *err)
{
    if (!t || t->dtype != dtype || t->rank != 2 || t->dim[1].axis)
        return dt_bad_shape(op, role, t, err, "be %s [rows, k]", dt_dtype_name(dtype));
    return DT_OK;
}

/* t is [T, k, ·] with the rows and choices of `choices`. */
static dt_status need_of_choices(const dt_op *op, const char *role, const dt_tensor *t,
                                 const dt_tensor *choices, dt_error *err)
{
    bool fits = t && t->dtype == DT_F32 && t->rank == 3;
    for (int d = 0; fits && d < 2; d++)
        fits = dt_dim_equal(t->dim[d], choices->dim[d]);
    return fits ? DT_OK
                : dt_bad_shape(op, role, t, err, "be f32 with a row for each choice of %s",
                               dt_tensor_print(choices).text);
}

static dt_status need_same_rows(const dt_op *op, const char *role, const dt_tensor *t, const dt_tensor *as,
                                dt_error *err)
{
    if (!dt_dim_equal(t->dim[0], as->dim[0]))
        return dt_bad_shape(op, role, t, err, "have the rows of %s", dt_tensor_print(as).text);
    return DT_OK;
}

/* (logits [T, E], bias [E]) → experts [T, k] i32, weights [T, k] */
dt_status dt_shape_route(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *logits = op->input[0];
    const dt_route_spec *spec = &op->attr.route;
    DT_PASS(dt_need_matrix(op, "logits", logits, err));
    if (op->input_count > 1 && op->input[1])
        DT_PASS(dt_need_vector(op, "bias", op->input[1], logits->dim[1], "one for each expert", err));
    if (spec->topk < 1 || logits->dim[1].axis || spec->topk > logits->dim[1].n)
        return dt_bad_shape(op, "logits", logits, err, "have at least topk = %lld columns",
                            (long long)spec->topk);
    if ((unsigned)spec->score > DT_ROUTER_SIGMOID)
        return dt_fail(err, DT_INVALID, "route: there is no score function %d", (int)spec->score);
    dt_dim choices[2] = {logits->dim[0], {NULL, spec->topk}};
    dt_signature_add(out, 2, choices);
    out->output[0].dtype = DT_I32;
    dt_signature_add(out, 2, choices);
    return DT_OK;
}

/* (logits [T, E], experts [T, k], dweights [T, k]) → [T, E] */
dt_status dt_shape_route_grad(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *logits = op->input[0], *experts = op->input[1], *dweights = op->input[2];
    DT_PASS(dt_need_matrix(op, "logits", logits, err));
    DT_PASS(need_choices(op, "experts", experts, DT_I32, err));
    DT_PASS(need_choices(op, "dweights", dweights, DT_F32, err));
    DT_PASS(need_same_rows(op, "experts", experts, logits, err));
    DT_PASS(need_same_rows(op, "dweights", dweights, logits, err));
    if (!dt_dim_equal(dweights->dim[1], experts->dim[1]))
        return dt_bad_shape(op, "dweights", dweights, err, "have the columns of experts %s",
                            dt_tensor_print(experts).text);
    dt_signature_add_like(out, logits);
    return DT_OK;
}

/* w is [E·N, K]: N, or a sentence. */
static dt_status each_expert(const dt_op *op, const dt_tensor *w, int64_t *rows, dt_error *err)
{
    int64_t E = op->attr.experts.count;
    DT_PASS(dt_need_matrix(op, "w", w, err));
    if (E < 1 || w->dim[0].axis || w->dim[1].axis || w->dim[0].n % E)
        return dt_bad_shape(op, "w", w, err, "have as many rows for each of %lld experts", (long long)E);
    *rows = w->dim[0].n / E;
    return DT_OK;
}

/* x is [T, K] or [T, k, K], K the columns of w. */
static dt_status check_x(const dt_op *op, const dt_tensor *x, const dt_tensor *experts, dt_error *err)
{
    if (x->rank == 3)
        return need_of_choices(op, "x", x, experts, err);
    DT_PASS(dt_need_matrix(op, "x", x, err));
    return need_same_rows(op, "x", x, experts, err);
}

/* (x [T, K] or [T, k, K], w [E·N, K], experts [T, k], bias [E·N]) → [T, k, N] */
dt_status dt_shape_expert_linear(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *x = op->input[0], *w = op->input[1], *experts = op->input[2];
    int64_t N;
    DT_PASS(each_expert(op, w, &N, err));
    DT_PASS(need_choices(op, "experts", experts, DT_I32, err));
    DT_PASS(check_x(op, x, experts, err));
    if (!dt_dim_equal(x->dim[x->rank - 1], w->dim[1]))
        return dt_bad_shape(op, "w", w, err, "have as many columns as x %s", dt_tensor_print(x).text);
    if (op->input_count > 3 && op->input[3])
        DT_PASS(dt_need_vector(op, "bias", op->input[3], w->dim[0], "one for each row of w", err));
    dt_signature_add(out, 3, (dt_dim[]){experts->dim[0], experts->dim[1], {NULL, N}});
    return DT_OK;
}

/* (dy [T, k, N], w [E·N, K], experts [T, k]) → [T, k, K] */
dt_status dt_shape_expert_linear_dx(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *dy = op->input[0], *w = op->input[1], *experts = op->input[2];
    int64_t N;
    DT_PASS(each_expert(op, w, &N, err));
    DT_PASS(need_choices(op, "experts", experts, DT_I32, err));
    DT_PASS(need_of_choices(op, "dy", dy, experts, err));
    if (!dt_dim_equal(dy->dim[2], (dt_dim){NULL, N}))
        return dt_bad_shape(op, "dy", dy, err, "have %lld columns, an expert's", (long long)N);
    dt_signature_add(out, 3, (dt_dim[]){experts->dim[0], experts->dim[1], w->dim[1]});
    return DT_OK;
}

/* All experts' rows, where each has the columns of dy [T, k, N]. */
static dt_status rows_of_all(const dt_op *op, const dt_tensor *dy, dt_dim *rows, dt_error *err)
{
    int64_t E = op->attr.experts.count;
    if (E < 1 || dy->dim[2].axis || __builtin_mul_overflow(E, dy->dim[2].n, &rows->n))
        return dt_bad_shape(op, "dy", dy, err, "be of %lld experts", (long long)E);
    rows->axis = NULL;
    return DT_OK;
}

/* (dy [T, k, N], x [T, K] or [T, k, K], experts [T, k]) → [E·N, K] */
dt_status dt_shape_expert_linear_dw(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *dy = op->input[0], *x = op->input[1], *experts = op->input[2];
    dt_dim dims[2];
    DT_PASS(need_choices(op, "experts", experts, DT_I32, err));
    DT_PASS(need_of_choices(op, "dy", dy, experts, err));
    DT_PASS(check_x(op, x, experts, err));
    DT_PASS(rows_of_all(op, dy, &dims[0], err));
    dims[1] = x->dim[x->rank - 1];
    dt_signature_add(out, 2, dims);
    return DT_OK;
}

/* (dy [T, k, N], experts [T, k]) → [E·N] */
dt_status dt_shape_expert_column_sum(const dt_op *op, dt_signature *out, dt_error *err)
{
    dt_dim rows;
    DT_PASS(need_choices(op, "experts", op->input[1], DT_I32, err));
    DT_PASS(need_of_choices(op, "dy", op->input[0], op->input[1], err));
    DT_PASS(rows_of_all(op, op->input[0], &rows, err));
    dt_signature_add(out, 1, &rows);
    return DT_OK;
}

/* y is [T, k, H] or, k being 1, [T, H]; *k tells. */
static dt_status choices_of(const dt_op *op, const dt_tensor *y, dt_dim *k, dt_error *err)
{
    if (y->dtype != DT_F32 || y->rank < 2 || y->rank > 3)
        return dt_bad_shape(op, "y", y, err, "be f32 [rows, k, columns], or [rows, columns]");
    *k = y->rank == 3 ? y->dim[1] : (dt_dim){NULL, 1};
    return DT_OK;
}

/* (y [T, k, H], weights [T, k]) → [T, H] */
dt_status dt_shape_sum_choices(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *y = op->input[0], *weights = op->input_count > 1 ? op->input[1] : NULL;
    dt_dim k;
    DT_PASS(choices_of(op, y, &k, err));
    if (weights) {
        DT_PASS(need_choices(op, "weights", weights, DT_F32, err));
        DT_PASS(need_same_rows(op, "weights", weights, y, err));
        if (!dt_dim_equal(weights->dim[1], k))
            return dt_bad_shape(op, "weights", weights, err, "have one for each choice of y %s",
                                dt_tensor_print(y).text);
    }
    dt_signature_add(out, 2, (dt_dim[]){y->dim[0], y->dim[y->rank - 1]});
    return DT_OK;
}

/* (dy [T, H], weights [T, k]) → [T, k, H], or [T, H] */
dt_status dt_shape_spread_choices(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *dy = op->input[0], *weights = op->input[1];
    DT_PASS(dt_need_matrix(op, "dy", dy, err));
    DT_PASS(need_choices(op, "weights", weights, DT_F32, err));
    DT_PASS(need_same_rows(op, "weights", weights, dy, err));
    if (op->attr.experts.flat)
        dt_signature_add_like(out, dy);
    else
        dt_signature_add(out, 3, (dt_dim[]){dy->dim[0], weights->dim[1], dy->dim[1]});
    return DT_OK;
}

/* (y [T, k, H], dy [T, H]) → [T, k] */
dt_status dt_shape_choice_dots(const dt_op *op, dt_signature *out, dt_error *err)
{
    const dt_tensor *y = op->input[0], *dy = op->input[1];
    dt_dim k;
    DT_PASS(choices_of(op, y, &k, err));
    DT_PASS(dt_need_matrix(op, "dy", dy, err));
    DT_PASS(need_same_rows(op, "dy", dy, y, err));
    if (!dt_dim_equal(dy->dim[1], y->dim[y->rank - 1]))
        return dt_bad_shape(op, "dy", dy, err, "have the columns of y %s", dt_tensor_print(y).text);
    dt_signature_add(out, 2, (dt_dim[]){y->dim[0], k});
    return DT_OK;
}
