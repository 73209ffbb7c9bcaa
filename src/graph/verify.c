/*
 * verify.c - is a graph what ops.def promises? Run by dt_graph_finish, and worth running after any pass that
 * rewrites a graph: builders check one op at a time, passes can break what lies between ops.
 *
 * A finding here is never the user's input but a defect of a pass, hence DT_INTERNAL throughout.
 */
#include "graph/rules.h"

static dt_status check_output(const dt_op *op, int i, const dt_signature *signature, dt_error *err)
{
    const dt_tensor *t = op->output[i];
    const char *name = dt_op_info_of(op->kind)->name;
    if (i >= signature->count)
        return dt_fail(err, DT_INTERNAL, "%s has %d outputs, its rule makes %d", name, op->output_count,
                       signature->count);
    if (!t)
        return DT_OK; /* not wanted */
    if (t->producer != op || t->kind != DT_TENSOR_VALUE)
        return dt_fail(err, DT_INTERNAL, "%s is listed as made by %s, but says otherwise",
                       dt_tensor_print(t).text, name);
    bool same = t->rank == signature->output[i].rank && t->dtype == signature->output[i].dtype;
    for (int d = 0; same && d < t->rank; d++)
        same = dt_dim_equal(t->dim[d], signature->output[i].dim[d]);
    if (!same)
        return dt_fail(err, DT_INTERNAL, "%s should be %s", dt_tensor_print(t).text,
                       dt_dims_print(signature->output[i].rank, signature->output[i].dim).text);
    return DT_OK;
}

static dt_status check_input(const dt_graph *g, const dt_op *op, const dt_tensor *t, dt_error *err)
{
    const char *name = dt_op_info_of(op->kind)->name;
    if (t->kind != DT_TENSOR_VALUE)
        return DT_OK;
    const dt_op *from = t->producer;
    bool listed = false;
    for (int i = 0; from && i < from->output_count; i++)
        listed |= from->output[i] == t;
    if (!listed || from->id < 0 || from->id >= g->op_count || g->op[from->id] != from)
        return dt_fail(err, DT_INTERNAL, "%s reads %s, which no op of the graph makes", name,
                       dt_tensor_print(t).text);
    if (from->id >= op->id)
        return dt_fail(err, DT_INTERNAL, "%s reads %s before it is made", name, dt_tensor_print(t).text);
    if (from->phase > op->phase)
        return dt_fail(err, DT_INTERNAL, "%s reads %s, which a later phase makes", name,
                       dt_tensor_print(t).text);
    return DT_OK;
}

static dt_status check_op(const dt_graph *g, const dt_op *op, dt_error *err)
{
    dt_signature signature;
    for (int i = 0; i < op->input_count; i++)
        if (op->input[i])
            DT_PASS(check_input(g, op, op->input[i], err));
    DT_PASS(dt_op_infer(g, op, &signature, err));
    for (int i = 0; i < op->output_count; i++)
        DT_PASS(check_output(op, i, &signature, err));
    return DT_OK;
}

static dt_status check_tensors(const dt_graph *g, dt_error *err)
{
    for (int i = 0; i < g->tensor_count; i++) {
        const dt_tensor *t = g->tensor[i];
        if (t->id != i)
            return dt_fail(err, DT_INTERNAL, "tensor %d calls itself %d", i, t->id);
        if (t->kind != DT_TENSOR_VALUE && !t->name)
            return dt_fail(err, DT_INTERNAL, "tensor %d must be bound by a name and has none", i);
        if ((t->kind == DT_TENSOR_PARAM) != (t->spec != NULL))
            return dt_fail(err, DT_INTERNAL, "parameter %s has no specification", dt_tensor_print(t).text);
        if ((t->kind == DT_TENSOR_CONSTANT) != (t->constant != NULL))
            return dt_fail(err, DT_INTERNAL, "constant %s has no values", dt_tensor_print(t).text);
    }
    return DT_OK;
}

dt_status dt_graph_verify(const dt_graph *g, dt_error *err)
{
    DT_PASS(check_tensors(g, err));
    bool backward = false;
    for (int i = 0; i < g->op_count; i++) {
        const dt_op *op = g->op[i];
        if (!op || op->id != i)
            return dt_fail(err, DT_INTERNAL, "op %d calls itself %d", i, op ? op->id : -1);
        DT_TRY(check_op(g, op, err), err, "while checking op %d (%s)", i, dt_op_info_of(op->kind)->name);
        if (op->phase != DT_PHASE_FORWARD)
            backward = true;
        else if (backward)
            return dt_fail(
                err, DT_INVALID,
                "%s (op %d) is forward but was built after dt_graph_gradient; build the whole forward "
                "graph first",
                dt_op_info_of(op->kind)->name, i);
    }
    return DT_OK;
}
