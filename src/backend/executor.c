/*
 * executor.c - one planned graph on one team: kernels chosen, weights in their forms, an arena, and the run.
 *
 * Everything is resolved when an executor is made; a run only patches pointers and counts that changed since the
 * last one, checks the caller's integers (checks.c), and lets the team walk the ops, meeting after each. Where a
 * backend has no kernel for an op the reference's stands in, reading weights in the reference's forms.
 * Fusing is the backend's, offsets are the plan's, packing is weights.c's.
 */
#include "backend/backend.h"
#include "backend/checks.h"
#include "backend/pages.h"
#include "backend/reference/reference.h"
#include "base/arena.h"
#include "base/text.h"

#include <inttypes.h>
#include <string.h>

typedef struct step {
    const dt_backend *backend; /* whose kernel it is: this executor's, or the reference */
    const dt_kernel *kernel;
    bool fell_back;
    dt_kernel_call call;
} step;

/* The ops of one phase in order, and the inputs and states that they read. */
typedef struct phase {
    int *op;
    const dt_tensor **needs;
    int op_count, need_count;
} phase;

struct dt_executor {
    dt_arena *arena; /* this struct and the tables below; the two blocks of pages are taken apart */
    const dt_backend *backend, *fallback;
    dt_graph *graph;
    dt_weights *weights;
    dt_pool *pool;
    dt_plan *plan;
    void *values, *saved; /* plan->arena_bytes and plan->saved_bytes */
    step *step;           /* by op id */
    phase forward, backward;
    void **bound;    /* by tensor id: inputs and states; set by the caller */
    bool *read_back; /* by tensor id: its value survives the run */
    int64_t *counts; /* by axis id */
    dt_check *checks;
    bool stale;   /* a binding or a count changed since pointers were resolved */
    bool has_run; /* the saved block holds a forward run with these counts */
};

/* ---- making ---- */

static dt_status choose_kernel(dt_executor *e, const dt_op *op, dt_error *err)
{
    step *s = &e->step[op->id];
    s->backend = e->backend;
    s->kernel = e->backend->kernel(e->backend, op);
    if (s->kernel == NULL) {
        s->backend = e->fallback;
        s->kernel = e->fallback->kernel(e->fallback, op);
        s->fell_back = e->backend != e->fallback;
    }
    if (s->kernel == NULL)
        return dt_fail(err, DT_UNSUPPORTED,
                       "neither backend \"%s\" nor \"reference\" has a kernel for op %d, %s",
                       e->backend->name, op->id, dt_op_info_of(op->kind)->name);
    return DT_OK;
}

static size_t scratch_of(void *user, const dt_op *op)
{
    const dt_executor *e = user;
    const dt_kernel *kernel = e->step[op->id].kernel;
    return kernel->scratch == NULL ? 0 : kernel->scratch(op, dt_pool_threads(e->pool));
}

static dt_status bind_weight(dt_executor *e, const dt_op *op, int slot, dt_error *err)
{
    const dt_tensor *t = op->input[slot];
    step *s = &e->step[op->id];
    const dt_weight_form *form = s->backend->form(s->backend, op, slot);
    if (form == NULL)
        return dt_fail(err, DT_INTERNAL, "kernel \"%s\" names no form for parameter \"%s\"", s->kernel->name,
                       t->name);
    const dt_weight *weight;
    DT_PASS(dt_weights_get(e->weights, t->name, form, &weight, err));
    int64_t rows = t->rank == 0 ? 1 : t->dim[0].n;
    int64_t cols = rows == 0 ? 0 : dt_tensor_elements(t, NULL) / rows;
    if (weight->rows != rows || weight->cols != cols)
        return dt_fail(err, DT_MISMATCH,
                       "parameter \"%s\": the model wants [%" PRId64 ", %" PRId64
                       "], the checkpoint holds [%" PRId64 ", %" PRId64 "]",
                       t->name, rows, cols, weight->rows, weight->cols);
    s->call.input[slot].weight = weight;
    s->call.input[slot].data = (void *)weight->data; /* kernels do not write parameters */
    s->call.input[slot].dtype = form->dtype;
    return DT_OK;
}

static void *place_of(const dt_executor *e, const dt_tensor *t)
{
    size_t offset = e->plan->tensor[t->id].offset;
    switch (e->plan->tensor[t->id].place) {
    case DT_PLACE_ARENA:
        return (char *)e->values + offset;
    case DT_PLACE_SAVED:
        return (char *)e->saved + offset;
    default:
        return NULL;
    }
}

/* What of `data` never changes: type, rank, and where values, constants live. */
static void settle(const dt_executor *e, const dt_tensor *t, dt_data *data)
{
    if (t == NULL)
        return;
    data->rank = t->rank;
    if (data->weight == NULL)
        data->dtype = t->dtype;
    if (t->kind == DT_TENSOR_CONSTANT)
        data->data = (void *)t->constant; /* kernels do not write constants */
    if (t->kind == DT_TENSOR_VALUE)
        data->data = place_of(e, t);
}

static dt_status settle_step(dt_executor *e, const dt_op *op, dt_error *err)
{
    dt_kernel_call *call = &e->step[op->id].call;
    call->op = op;
    call->pool = e->pool;
    if (scratch_of(e, op) > 0)
        call->scratch = (char *)e->values + e->plan->scratch[op->id];
    for (int i = 0; i < op->input_count; i++) {
        if (op->input[i] != NULL && op->input[i]->kind == DT_TENSOR_PARAM)
            DT_TRY(bind_weight(e, op, i, err), err, "while readying op %d, %s", op->id,
                   e->step[op->id].kernel->name);
        settle(e, op->input[i], &call->input[i]);
    }
    for (int i = 0; i < op->output_count; i++)
        settle(e, op->output[i], &call->output[i]);
    return DT_OK;
}

/* Which values may be read after a run: those that no op consumes, those marked to be kept, and with keep_points
 * all that have names. A value that a pass left without an op has none. */
static void mark_readable(dt_executor *e, bool keep_points)
{
    const dt_graph *g = e->graph;
    for (int i = 0; i < g->tensor_count; i++)
        e->read_back[i] = true;
    for (int i = 0; i < g->op_count; i++)
        for (int j = 0; j < g->op[i]->input_count; j++)
            if (g->op[i]->input[j] != NULL)
                e->read_back[g->op[i]->input[j]->id] = false;
    for (int i = 0; i < g->tensor_count; i++) {
        const dt_tensor *t = g->tensor[i];
        bool lives = e->read_back[i] || t->keep || (keep_points && t->name != NULL);
        e->read_back[i] = lives && t->kind == DT_TENSOR_VALUE && t->producer != NULL;
    }
}

static bool is_bindable(const dt_executor *e, const dt_tensor *t)
{
    (void)e;
    return t->kind == DT_TENSOR_INPUT || t->kind == DT_TENSOR_STATE;
}

static dt_status take_phase(dt_executor *e, phase *p, dt_error *err)
{
    const dt_graph *g = e->graph;
    p->op = DT_NEW_ARRAY(e->arena, int, g->op_count);
    p->needs = DT_NEW_ARRAY(e->arena, const dt_tensor *, g->tensor_count);
    if (p->op == NULL || p->needs == NULL)
        return dt_fail_memory(err, sizeof(void *) * (size_t)g->tensor_count, "the order of a phase");
    bool is_forward = p == &e->forward;
    for (int i = 0; i < g->op_count; i++)
        if ((g->op[i]->phase == DT_PHASE_FORWARD) == is_forward)
            p->op[p->op_count++] = i;
    for (int i = 0; i < g->tensor_count; i++) {
        bool needed = false;
        for (int j = 0; j < p->op_count && !needed && is_bindable(e, g->tensor[i]); j++)
            for (int k = 0; k < g->op[p->op[j]]->input_count; k++)
                needed = needed || g->op[p->op[j]]->input[k] == g->tensor[i];
        if (needed)
            p->needs[p->need_count++] = g->tensor[i];
    }
    return DT_OK;
}

static dt_status take_tables(dt_executor *e, dt_error *err)
{
    const dt_graph *g = e->graph;
    e->step = DT_NEW_ARRAY(e->arena, step, g->op_count);
    e->bound = DT_NEW_ARRAY(e->arena, void *, g->tensor_count);
    e->read_back = DT_NEW_ARRAY(e->arena, bool, g->tensor_count);
    e->counts = DT_NEW_ARRAY(e->arena, int64_t, g->axis_count);
    if (e->step == NULL || e->bound == NULL || e->read_back == NULL || e->counts == NULL)
        return dt_fail_memory(err, sizeof(step) * (size_t)g->op_count, "an executor's tables");
    for (int i = 0; i < g->axis_count; i++)
        e->counts[i] = g->axis[i]->capacity;
    return DT_OK;
}

static dt_status take_memory(dt_executor *e, dt_error *err)
{
    e->values = dt_pages_take(e->plan->arena_bytes, false);
    e->saved = dt_pages_take(e->plan->saved_bytes, false);
    if (e->values == NULL && e->plan->arena_bytes > 0)
        return dt_fail_memory(err, e->plan->arena_bytes, "a plan's arena");
    if (e->saved == NULL && e->plan->saved_bytes > 0)
        return dt_fail_memory(err, e->plan->saved_bytes, "a plan's saved block");
    return DT_OK;
}

static dt_status ready(dt_executor *e, const dt_executor_options *options, dt_error *err)
{
    dt_graph *g = e->graph;
    bool keep = options != NULL && options->keep_points;
    if (e->backend->fuse != NULL)
        DT_TRY(e->backend->fuse(e->backend, g, err), err, "while fusing ops for backend \"%s\"",
               e->backend->name);
    DT_PASS(take_tables(e, err));
    for (int i = 0; i < g->op_count; i++)
        DT_PASS(choose_kernel(e, g->op[i], err));
    dt_plan_options plan = {.keep_points = keep, .scratch = scratch_of, .user = e};
    DT_TRY(dt_plan_make(&e->plan, g, &plan, e->arena, err), err, "while planning memory");
    DT_PASS(take_memory(e, err));
    for (int i = 0; i < g->op_count; i++)
        DT_PASS(settle_step(e, g->op[i], err));
    DT_PASS(dt_checks_make(&e->checks, g, e->arena, err));
    mark_readable(e, keep);
    DT_PASS(take_phase(e, &e->forward, err));
    DT_PASS(take_phase(e, &e->backward, err));
    e->stale = true;
    return DT_OK;
}

dt_status dt_executor_create(dt_executor **out, const dt_backend *backend, dt_graph *graph,
                             dt_weights *weights, dt_pool *pool, const dt_executor_options *options,
                             dt_error *err)
{
    *out = NULL;
    if (!graph->finished)
        return dt_fail(err, DT_INVALID, "the graph is not finished: call dt_graph_finish before running it");
    dt_arena *arena = dt_arena_create();
    dt_executor *e = arena == NULL ? NULL : DT_NEW(arena, dt_executor);
    if (e == NULL) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof *e, "an executor");
    }
    *e = (dt_executor){.arena = arena, .backend = backend, .graph = graph, .weights = weights, .pool = pool};
    e->fallback = dt_reference_backend(backend->dtype);
    dt_status status = e->fallback == NULL
                           ? dt_fail(err, DT_UNSUPPORTED, "no reference backend computes in %s",
                                     dt_dtype_name(backend->dtype))
                           : ready(e, options, err);
    if (status != DT_OK)
        dt_executor_destroy(e);
    else
        *out = e;
    return status;
}

/* The forms of one op's parameters. */
static dt_status use_forms(dt_executor *e, const dt_op *op, dt_form_user use, void *user, dt_error *err)
{
    const step *s = &e->step[op->id];
    bool none = true;
    for (int i = 0; i < op->input_count; i++) {
        const dt_tensor *t = op->input[i];
        if (t == NULL || t->kind != DT_TENSOR_PARAM)
            continue;
        none = false;
        DT_PASS(use(user, op, s->kernel, t->name, s->backend->form(s->backend, op, i), err));
    }
    return none ? use(user, op, s->kernel, NULL, NULL, err) : DT_OK;
}

static dt_status settle_forms(dt_executor *e, dt_form_user use, void *user, dt_error *err)
{
    dt_graph *g = e->graph;
    if (e->backend->fuse != NULL)
        DT_PASS(e->backend->fuse(e->backend, g, err));
    DT_PASS(take_tables(e, err));
    for (int i = 0; i < g->op_count; i++) {
        DT_PASS(choose_kernel(e, g->op[i], err));
        DT_PASS(use_forms(e, g->op[i], use, user, err));
    }
    return DT_OK;
}

dt_status dt_executor_forms(const dt_backend *backend, dt_graph *graph, dt_form_user use, void *user,
                            dt_error *err)
{
    dt_arena *arena = dt_arena_create();
    if (arena == NULL)
        return dt_fail_memory(err, sizeof(dt_executor), "an executor's tables");
    dt_executor e = {
        .arena = arena, .backend = backend, .fallback = dt_reference_backend(backend->dtype), .graph = graph};
    dt_status status = e.fallback == NULL
                           ? dt_fail(err, DT_UNSUPPORTED, "no reference backend computes in %s",
                                     dt_dtype_name(backend->dtype))
                           : settle_forms(&e, use, user, err);
    dt_arena_destroy(arena);
    return status;
}

void dt_executor_destroy(dt_executor *e)
{
    if (e == NULL)
        return;
    if (e->plan != NULL) {
        dt_pages_give(e->values, e->plan->arena_bytes);
        dt_pages_give(e->saved, e->plan->saved_bytes);
    }
    dt_arena_destroy(e->arena);
}

size_t dt_executor_bytes(const dt_executor *e)
{
    return e->plan->arena_bytes + e->plan->saved_bytes;
}

/* ---- binding ---- */

/* "did you mean": the nearest name among those of tensors of which `wanted` holds. */
static dt_status no_such(const dt_executor *e, const char *what, const char *name,
                         bool (*wanted)(const dt_executor *, const dt_tensor *), dt_error *err)
{
    const dt_graph *g = e->graph;
    dt_arena *arena = dt_arena_create();
    const char **names = arena == NULL ? NULL : DT_NEW_ARRAY(arena, const char *, g->named_count + 1);
    size_t count = 0;
    for (int i = 0; names != NULL && i < g->named_count; i++)
        if (wanted(e, g->named[i].tensor))
            names[count++] = g->named[i].name;
    const char *near = count == 0 ? NULL : dt_nearest(name, names, count);
    dt_fail(err, DT_NOT_FOUND, "the graph has no %s \"%s\"", what, name);
    if (near != NULL)
        dt_error_try(err, "the name \"%s\"", near);
    dt_arena_destroy(arena);
    return DT_NOT_FOUND;
}

dt_status dt_executor_bind(dt_executor *e, const char *name, void *data, dt_error *err)
{
    const dt_tensor *t = dt_graph_find(e->graph, name);
    if (t == NULL || !is_bindable(e, t))
        return no_such(e, "input or state", name, is_bindable, err);
    if (e->bound[t->id] != data) {
        e->bound[t->id] = data;
        e->stale = true;
    }
    return DT_OK;
}

dt_status dt_executor_count(dt_executor *e, const char *axis, int64_t count, dt_error *err)
{
    for (int i = 0; i < e->graph->axis_count; i++) {
        const dt_axis *a = e->graph->axis[i];
        if (strcmp(a->name, axis) != 0)
            continue;
        if (count < 0 || count > a->capacity)
            return dt_fail(err, DT_LIMIT, "axis \"%s\" was planned for at most %" PRId64 ", not %" PRId64,
                           axis, a->capacity, count);
        if (e->counts[i] != count) {
            e->counts[i] = count;
            e->stale = true;
            e->has_run = false; /* saved values are of other counts */
        }
        return DT_OK;
    }
    return dt_fail(err, DT_NOT_FOUND, "the graph has no axis \"%s\"", axis);
}

/* ---- running ---- */

static void size_up(const dt_executor *e, const dt_tensor *t, dt_data *data)
{
    for (int d = 0; d < t->rank; d++)
        data->dim[d] = dt_dim_count(t->dim[d], e->counts);
    if (is_bindable(e, t))
        data->data = e->bound[t->id];
}

static void resolve(dt_executor *e)
{
    for (int i = 0; i < e->graph->op_count; i++) {
        const dt_op *op = e->graph->op[i];
        dt_kernel_call *call = &e->step[i].call;
        for (int j = 0; j < op->input_count; j++)
            if (op->input[j] != NULL)
                size_up(e, op->input[j], &call->input[j]);
        for (int j = 0; j < op->output_count; j++)
            if (op->output[j] != NULL)
                size_up(e, op->output[j], &call->output[j]);
    }
    e->stale = false;
}

/* What a phase reads must be bound, unless it has no elements this time. */
static dt_status check_bound(const dt_executor *e, const phase *p, dt_error *err)
{
    for (int i = 0; i < p->need_count; i++) {
        const dt_tensor *t = p->needs[i];
        if (e->bound[t->id] != NULL || dt_tensor_elements(t, e->counts) == 0)
            continue;
        return dt_fail(err, DT_INVALID, "%s \"%s\" is not bound",
                       t->kind == DT_TENSOR_STATE ? "state" : "input", t->name);
    }
    return DT_OK;
}

typedef struct walk_job {
    const dt_executor *executor;
    const phase *phase;
} walk_job;

static void walk(void *context, int thread, int threads)
{
    const walk_job *job = context;
    const dt_executor *e = job->executor;
    for (int i = 0; i < job->phase->op_count; i++) {
        const step *s = &e->step[job->phase->op[i]];
        s->kernel->run(&s->call, thread, threads);
        dt_pool_barrier(e->pool);
    }
}

static dt_status run_phase(dt_executor *e, const phase *p, dt_error *err)
{
    DT_PASS(check_bound(e, p, err));
    DT_PASS(dt_checks_run(e->checks, e->bound, e->counts, err));
    if (e->stale)
        resolve(e);
    walk_job job = {.executor = e, .phase = p};
    dt_pool_run(e->pool, walk, &job);
    return DT_OK;
}

dt_status dt_executor_run(dt_executor *e, dt_error *err)
{
    DT_PASS(run_phase(e, &e->forward, err));
    e->has_run = true;
    return DT_OK;
}

dt_status dt_executor_run_backward(dt_executor *e, dt_error *err)
{
    if (e->backward.op_count == 0)
        return dt_fail(err, DT_INVALID,
                       "the graph has no backward phase: call dt_graph_gradient while building it");
    if (!e->has_run)
        return dt_fail(err, DT_INVALID, "run the forward phase before the backward one");
    return run_phase(e, &e->backward, err);
}

/* ---- reading ---- */

static bool is_readable(const dt_executor *e, const dt_tensor *t)
{
    if (is_bindable(e, t))
        return e->bound[t->id] != NULL;
    return t->kind == DT_TENSOR_CONSTANT || e->read_back[t->id];
}

dt_status dt_executor_read_tensor(const dt_executor *e, const dt_tensor *t, dt_data *out, dt_error *err)
{
    if (!is_readable(e, t))
        return dt_fail(
            err, DT_INVALID,
            "tensor %d%s%s does not outlive a run: it is no output, and the executor keeps no points", t->id,
            t->name == NULL ? "" : ", ", t->name == NULL ? "" : t->name);
    *out = (dt_data){0};
    settle(e, t, out);
    size_up(e, t, out);
    return DT_OK;
}

dt_status dt_executor_read(const dt_executor *e, const char *name, dt_data *out, dt_error *err)
{
    const dt_tensor *t = dt_graph_find(e->graph, name);
    if (t == NULL || t->kind == DT_TENSOR_PARAM)
        return no_such(e, "value", name, is_readable, err);
    return dt_executor_read_tensor(e, t, out, err);
}

int dt_executor_op_count(const dt_executor *e)
{
    return e->graph->op_count;
}

const dt_op *dt_executor_op(const dt_executor *e, int index, const char **kernel, bool *fell_back)
{
    if (index < 0 || index >= e->graph->op_count)
        return NULL;
    if (kernel != NULL)
        *kernel = e->step[index].kernel->name;
    if (fell_back != NULL)
        *fell_back = e->step[index].fell_back;
    return e->graph->op[index];
}
