/*
 * gradient_pass.c - dt_graph_gradient: walk the ops backwards from the outputs, add up what reaches each tensor.
 *
 * Only tensors on a path from something in `wrt` to something in `outputs` get a gradient; the rest of the graph
 * is never visited. What each op contributes is gradients.c's.
 */
#include "graph/rules.h"

typedef struct pass {
    dt_graph *g;
    int op_count, tensor_count; /* as they were before the pass added its own */
    bool *active;               /* by tensor: wrt reaches it, and it reaches an output */
    dt_tensor **grad;           /* by tensor: the sum so far, NULL = none yet */
    dt_arena *scratch;
} pass;

/* Add one contribution. Sums grow in the order of the walk, so gradients have one summation order. */
static void accumulate(pass *p, const dt_tensor *t, dt_tensor *contribution)
{
    dt_tensor **sum = &p->grad[t->id];
    if (!*sum || !contribution) {
        *sum = *sum ? *sum : contribution;
        return;
    }
    p->g->phase = t->kind == DT_TENSOR_PARAM ? DT_PHASE_BACKWARD_WEIGHT : DT_PHASE_BACKWARD_INPUT;
    dt_op *add = dt_graph_add_op(p->g, DT_OP_add, 2, (dt_tensor *[]){*sum, contribution}, NULL);
    *sum = add ? add->output[0] : NULL;
}

/* active = reached from wrt (first sweep) and leading to an output (second sweep). */
static dt_status mark_active(pass *p, int output_count, dt_tensor *const *outputs, int wrt_count,
                             dt_tensor *const *wrt, dt_error *err)
{
    bool *reached = DT_NEW_ARRAY(p->scratch, bool, p->tensor_count);
    if (!reached)
        return dt_fail_memory(err, (size_t)p->tensor_count, "gradients");
    for (int i = 0; i < wrt_count; i++)
        reached[wrt[i]->id] = true;
    for (int i = 0; i < p->op_count; i++) {
        const dt_op *op = p->g->op[i];
        bool any = false;
        for (int j = 0; j < op->input_count; j++)
            any |= op->input[j] && op->input[j]->dtype == DT_F32 && reached[op->input[j]->id];
        for (int j = 0; any && j < op->output_count; j++)
            if (op->output[j])
                reached[op->output[j]->id] = true;
    }
    for (int i = 0; i < output_count; i++)
        p->active[outputs[i]->id] = reached[outputs[i]->id];
    for (int i = p->op_count - 1; i >= 0; i--) {
        const dt_op *op = p->g->op[i];
        bool any = false;
        for (int j = 0; j < op->output_count; j++)
            any |= op->output[j] && p->active[op->output[j]->id];
        for (int j = 0; any && j < op->input_count; j++)
            if (op->input[j] && reached[op->input[j]->id])
                p->active[op->input[j]->id] = true;
    }
    return DT_OK;
}

static bool owned(const dt_graph *g, const dt_tensor *t)
{
    return t && t->id >= 0 && t->id < g->tensor_count && g->tensor[t->id] == t;
}

static dt_status check_request(const dt_graph *g, int output_count, dt_tensor *const *outputs,
                               dt_tensor *const *incoming, int wrt_count, dt_tensor *const *wrt,
                               dt_error *err)
{
    for (int i = 0; i < output_count; i++) {
        const dt_tensor *y = outputs[i], *dy = incoming ? incoming[i] : NULL;
        if (!owned(g, y) || (dy && !owned(g, dy)))
            return dt_fail(err, DT_INVALID, "gradient: output %d is not a tensor of this graph", i);
        bool same = dy && dy->dtype == DT_F32 && dy->rank == y->rank;
        for (int d = 0; same && d < y->rank; d++)
            same = dt_dim_equal(dy->dim[d], y->dim[d]);
        if (dy && !same)
            return dt_fail(err, DT_MISMATCH,
                           "gradient: what comes in, %s, must have the shape of the output %s",
                           dt_tensor_print(dy).text, dt_tensor_print(y).text);
        if (!dy && !(y->rank == 1 && dt_dim_equal(y->dim[0], (dt_dim){NULL, 1})))
            return dt_fail(err, DT_INVALID,
                           "gradient: output %s is not one number, so it needs an incoming gradient",
                           dt_tensor_print(y).text);
    }
    for (int i = 0; i < wrt_count; i++) {
        if (!owned(g, wrt[i]))
            return dt_fail(err, DT_INVALID, "gradient: tensor %d to differentiate by is not of this graph",
                           i);
        if (wrt[i]->dtype != DT_F32 || wrt[i]->kind == DT_TENSOR_STATE)
            return dt_fail(err, DT_UNSUPPORTED, "gradient: cannot differentiate by %s",
                           dt_tensor_print(wrt[i]).text);
    }
    return DT_OK;
}

static void seed(pass *p, int output_count, dt_tensor *const *outputs, dt_tensor *const *incoming)
{
    for (int i = 0; i < output_count; i++) {
        dt_tensor *dy = incoming ? incoming[i] : NULL;
        if (!p->active[outputs[i]->id])
            continue;
        if (!dy)
            dy = dt_graph_constant(p->g, "constant.one", 1, (float[]){1.0f});
        accumulate(p, outputs[i], dy);
    }
}

/* Ask one op for its contributions, when a gradient reached it and an input wants one. */
static void visit(pass *p, const dt_op *op)
{
    const dt_op_info *info = dt_op_info_of(op->kind);
    dt_tensor *dy[DT_OP_MAX_OUTPUTS] = {NULL}, *dx[DT_OP_MAX_INPUTS] = {NULL};
    bool want[DT_OP_MAX_INPUTS] = {false}, any_dy = false, any_want = false;
    for (int i = 0; i < op->output_count; i++) {
        dy[i] = op->output[i] ? p->grad[op->output[i]->id] : NULL;
        any_dy |= dy[i] != NULL;
    }
    for (int i = 0; i < op->input_count; i++) {
        want[i] = op->input[i] && p->active[op->input[i]->id];
        any_want |= want[i];
    }
    if (!any_dy || !any_want)
        return;
    if (!info->gradient) {
        dt_graph_fail(p->g, DT_UNSUPPORTED, "gradient: %s, which makes %s, has none", info->name,
                      dt_tensor_print(op->output[0]).text);
        return;
    }
    info->gradient(p->g, op, dy, want, dx);
    for (int i = 0; i < op->input_count; i++)
        if (want[i])
            accumulate(p, op->input[i], dx[i]);
}

static dt_status run(pass *p, int output_count, dt_tensor *const *outputs, dt_tensor *const *incoming,
                     int wrt_count, dt_tensor *const *wrt, dt_tensor **gradients, dt_error *err)
{
    dt_graph *g = p->g;
    p->active = DT_NEW_ARRAY(p->scratch, bool, p->tensor_count);
    p->grad = DT_NEW_ARRAY(p->scratch, dt_tensor *, p->tensor_count);
    if (!p->active || !p->grad)
        return dt_fail_memory(err, (size_t)p->tensor_count * sizeof(dt_tensor *), "gradients");
    DT_PASS(mark_active(p, output_count, outputs, wrt_count, wrt, err));
    seed(p, output_count, outputs, incoming);
    for (int i = p->op_count - 1; i >= 0 && g->error.status == DT_OK; i--)
        visit(p, g->op[i]);
    if (g->error.status != DT_OK) {
        if (err)
            *err = g->error;
        return g->error.status;
    }
    for (int i = 0; i < wrt_count; i++) {
        gradients[i] = p->grad[wrt[i]->id];
        if (gradients[i])
            gradients[i]->keep = true;
    }
    return DT_OK;
}

/* Refused requests poison the graph too: half a gradient is no graph to go on with. */
static dt_status refuse(dt_graph *g, dt_status status, dt_error *err)
{
    if (status != DT_OK && g->error.status == DT_OK) {
        if (err)
            g->error = *err;
        else
            dt_graph_fail(g, status, "gradient: %s", dt_status_text(status));
    }
    return status;
}

dt_status dt_graph_gradient(dt_graph *g, int output_count, dt_tensor *const *outputs,
                            dt_tensor *const *incoming, int wrt_count, dt_tensor *const *wrt,
                            dt_tensor **gradients, dt_error *err)
{
    for (int i = 0; i < wrt_count; i++)
        gradients[i] = NULL;
    if (!g)
        return dt_fail(err, DT_INVALID, "there is no graph to differentiate");
    dt_error own = {0};
    err = err ? err : &own;
    if (g->finished)
        dt_graph_fail(g, DT_INVALID, "the graph is finished: nothing can be added to it");
    if (g->error.status != DT_OK) {
        *err = g->error;
        return g->error.status;
    }
    dt_status status = check_request(g, output_count, outputs, incoming, wrt_count, wrt, err);
    if (status != DT_OK)
        return refuse(g, status, err);
    pass p = {.g = g, .op_count = g->op_count, .tensor_count = g->tensor_count, .scratch = dt_arena_create()};
    if (!p.scratch)
        return refuse(g, dt_fail_memory(err, 0, "gradients"), err);
    status = run(&p, output_count, outputs, incoming, wrt_count, wrt, gradients, err);
    dt_arena_destroy(p.scratch);
    g->phase = DT_PHASE_FORWARD;
    return refuse(g, status, err);
}
