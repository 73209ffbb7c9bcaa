/*
 * fuse.c - folds what stands around a product into it: norm -> linear -> activation or glu -> add.
 *
 * Only where the layer spec permits it (op->fuse) and nobody else can notice: a value is fused away only when exactly
 * one op reads it and it has no name. A point thus keeps its memory and its meaning, whether or not the caller wants to
 * read it; and in a graph with gradients the backward ops' reads keep apart what they need. The product takes over the
 * last op of the pattern, so its other operand (the residual) has been computed by then.
 */
#include "backend/cpu/cpu.h"

#include <string.h>

enum { X, W, BIAS, NORM_WEIGHT, NORM_BIAS, RESIDUAL, FUSED_INPUTS };

typedef struct fusion {
    dt_graph *g;
    int *readers;   /* by tensor id: how many inputs of ops it is */
    dt_op **reader; /* the last of them */
} fusion;

static void count_readers(fusion *f)
{
    for (int i = 0; i < f->g->op_count; i++) {
        dt_op *op = f->g->op[i];
        for (int j = 0; j < op->input_count; j++) {
            if (op->input[j] == NULL)
                continue;
            f->readers[op->input[j]->id]++;
            f->reader[op->input[j]->id] = op;
        }
        bool product = op->kind == DT_OP_linear || op->kind == DT_OP_fused_linear;
        if (product && op->input[W]->kind == DT_TENSOR_PARAM)
            op->input[W]->multiplied = true;
    }
}

/* The only op that reads `t`, when it is of this phase and nothing else would miss the value. */
static dt_op *only_reader(const fusion *f, const dt_tensor *t, const dt_op *of)
{
    if (t->kind != DT_TENSOR_VALUE || t->name != NULL || t->keep || f->readers[t->id] != 1)
        return NULL;
    return f->reader[t->id]->phase == of->phase ? f->reader[t->id] : NULL;
}

static bool permits(const dt_op *a, const dt_op *b, dt_fuse pattern)
{
    return (a->fuse & b->fuse & (unsigned)pattern) != 0;
}

/* ---- the three patterns; each returns the op that is now last, having removed what it folded ---- */

static void take_norm(const fusion *f, dt_op *linear, dt_op *fused)
{
    dt_op *norm = linear->input[X]->producer;
    if (norm == NULL || (norm->kind != DT_OP_rms_norm && norm->kind != DT_OP_layer_norm) ||
        norm->attr.norm.groups > 1 || only_reader(f, norm->output[0], norm) != linear ||
        !permits(norm, linear, DT_FUSE_NORM_LINEAR))
        return;
    fused->attr.fused.has_norm = true;
    fused->attr.fused.rms = norm->kind == DT_OP_rms_norm;
    fused->attr.fused.zero_centered = norm->attr.norm.zero_centered;
    fused->attr.fused.eps = norm->attr.norm.eps;
    fused->input[X] = norm->input[0];
    fused->input[NORM_WEIGHT] = norm->input[1];
    fused->input[NORM_BIAS] = norm->input_count > 2 ? norm->input[2] : NULL;
    f->g->op[norm->id] = NULL;
}

static dt_op *take_activation(const fusion *f, dt_op *last, dt_op *fused)
{
    dt_op *next = only_reader(f, last->output[0], last);
    if (next == NULL || (next->kind != DT_OP_activate && next->kind != DT_OP_glu) ||
        !permits(last, next, DT_FUSE_LINEAR_GLU))
        return last;
    if (next->kind == DT_OP_glu && (next->attr.activation.limit != 0 || next->attr.activation.offset != 0))
        return last; /* bounds stay an op of their own */
    fused->attr.fused.kind = next->attr.activation.kind;
    fused->attr.fused.glu = next->kind == DT_OP_glu;
    f->g->op[last->id] = NULL;
    return next;
}

static dt_op *take_residual(const fusion *f, dt_op *last, dt_op *fused)
{
    dt_op *next = only_reader(f, last->output[0], last);
    if (next == NULL || next->kind != DT_OP_add || !permits(last, next, DT_FUSE_LINEAR_RESIDUAL))
        return last;
    fused->input[RESIDUAL] = next->input[0] == last->output[0] ? next->input[1] : next->input[0];
    f->g->op[last->id] = NULL;
    return next;
}

/* `linear` with all that can be folded into it; the last op of the pattern becomes the fused one. */
static void fuse_around(const fusion *f, dt_op *linear)
{
    dt_op fused = {.kind = DT_OP_fused_linear, .input_count = FUSED_INPUTS, .output_count = 1};
    fused.attr.fused.kind = DT_ACT_IDENTITY;
    memcpy(fused.input, linear->input, (size_t)linear->input_count * sizeof fused.input[0]);
    take_norm(f, linear, &fused);
    dt_op *last = take_activation(f, linear, &fused);
    last = take_residual(f, last, &fused);
    if (last == linear && !fused.attr.fused.has_norm)
        return;
    fused.id = last->id;
    fused.phase = last->phase;
    fused.fuse = last->fuse;
    fused.output[0] = last->output[0];
    *last = fused;
}

dt_status dt_cpu_fuse(const dt_backend *backend, dt_graph *g, dt_error *err)
{
    (void)backend;
    dt_arena *arena = dt_arena_create();
    fusion f = {.g = g};
    if (arena != NULL) {
        f.readers = DT_NEW_ARRAY(arena, int, g->tensor_count + 1);
        f.reader = DT_NEW_ARRAY(arena, dt_op *, g->tensor_count + 1);
    }
    if (f.readers == NULL || f.reader == NULL) {
        dt_arena_destroy(arena);
        return dt_fail_memory(err, sizeof(dt_op *) * (size_t)g->tensor_count, "the fusion pass");
    }
    count_readers(&f);
    for (int i = 0; i < g->op_count; i++)
        if (g->op[i] != NULL && g->op[i]->kind == DT_OP_linear)
            fuse_around(&f, g->op[i]);
    dt_arena_destroy(arena);
    dt_graph_compact(g);
    return DT_OK;
}
