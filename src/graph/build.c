/*
 * build.c - the builders of drivetrain/graph.h: what models and layers are written in.
 *
 * Each makes one op and returns its result. Shapes are checked by the op's rule (shapes.c); errors stick to the
 * graph, and after the first every builder returns the graph's harmless tensor.
 */
#include "graph/rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool building(dt_graph *g)
{
    if (g && g->finished)
        dt_graph_fail(g, DT_INVALID, "the graph is finished: nothing can be added to it");
    return g && g->error.status == DT_OK;
}

static dt_tensor *harmless(dt_graph *g)
{
    return g ? &g->harmless_tensor : NULL;
}

/* ---- leaves ---- */

static bool same_leaf(const dt_tensor *t, dt_tensor_kind kind, dt_dtype dtype, int rank, const dt_dim *dim)
{
    bool same = t->kind == kind && t->dtype == dtype && t->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = dt_dim_equal(t->dim[i], dim[i]);
    return same;
}

/* The leaf of that name: the one that exists, when it agrees, or a new one; NULL poisons. */
static dt_tensor *leaf(dt_graph *g, dt_tensor_kind kind, const char *name, dt_dtype dtype, int rank,
                       const dt_dim *dim)
{
    static const char *const kind_name[] = {"input", "parameter", "state", "constant", "value"};
    if (!building(g))
        return NULL;
    if (!name || !*name) {
        dt_graph_fail(g, DT_INVALID, "a graph's %s needs a name", kind_name[kind]);
        return NULL;
    }
    dt_tensor *known = dt_graph_find(g, name);
    if (!known) {
        dt_tensor *t = dt_graph_new_tensor(g, kind, dtype, rank, dim);
        if (!t)
            dt_error_while(&g->error, "while making %s \"%s\"", kind_name[kind], name);
        return t && dt_graph_name(g, t, name) ? t : NULL;
    }
    if (dim && rank >= 1 && rank <= DT_MAX_RANK && same_leaf(known, kind, dtype, rank, dim))
        return known;
    bool printable = dim && rank >= 1 && rank <= DT_MAX_RANK;
    dt_graph_fail(g, DT_MISMATCH, "%s %s is already there and cannot also be %s %s %s",
                  kind_name[known->kind], dt_tensor_print(known).text, kind_name[kind],
                  printable ? dt_dims_print(rank, dim).text : "?", dt_dtype_name(dtype));
    return NULL;
}

dt_tensor *dt_graph_input(dt_graph *g, const char *name, dt_dtype dtype, int rank, const dt_dim *dim)
{
    dt_tensor *t = leaf(g, DT_TENSOR_INPUT, name, dtype, rank, dim);
    return t ? t : harmless(g);
}

dt_tensor *dt_graph_state(dt_graph *g, const char *name, dt_dtype dtype, int rank, const dt_dim *dim)
{
    dt_tensor *t = leaf(g, DT_TENSOR_STATE, name, dtype, rank, dim);
    return t ? t : harmless(g);
}

dt_tensor *dt_graph_constant(dt_graph *g, const char *name, int64_t count, const float *values)
{
    if (!values) {
        dt_graph_fail(g, DT_INVALID, "constant \"%.80s\" has no values", name ? name : "");
        return harmless(g);
    }
    dt_tensor *t = leaf(g, DT_TENSOR_CONSTANT, name, DT_F32, 1, (dt_dim[]){{NULL, count}});
    if (!t)
        return harmless(g);
    size_t bytes = (size_t)count * sizeof *values;
    if (t->constant) {
        if (memcmp(t->constant, values, bytes) != 0)
            dt_graph_fail(g, DT_MISMATCH, "constant \"%s\" is already there with other values", name);
        return t;
    }
    float *copy = DT_NEW_ARRAY(g->arena, float, count);
    if (!copy) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (%zu bytes for constant \"%s\")", bytes, name);
        return harmless(g);
    }
    memcpy(copy, values, bytes);
    t->constant = copy;
    return t;
}

static bool spec_agrees(const dt_param_spec *a, const dt_param_spec *b)
{
    return a->split == b->split && a->init == b->init && a->decay == b->decay && a->experts == b->experts;
}

dt_tensor *dt_graph_param(dt_graph *g, const dt_param_spec *spec)
{
    if (!spec || spec->rank < 1 || spec->rank > 2) {
        dt_graph_fail(g, DT_INVALID, "parameter \"%.120s\" has rank %d; 1 and 2 exist",
                      spec && spec->name ? spec->name : "", spec ? spec->rank : 0);
        return harmless(g);
    }
    dt_dim dim[2] = {{NULL, spec->dim[0]}, {NULL, spec->dim[1]}};
    dt_tensor *t = leaf(g, DT_TENSOR_PARAM, spec->name, DT_F32, spec->rank, dim);
    if (!t)
        return harmless(g);
    if (t->spec) {
        if (!spec_agrees(t->spec, spec))
            dt_graph_fail(g, DT_MISMATCH,
                          "parameter \"%s\" is already there with another split, initialiser or decay",
                          spec->name);
        return t;
    }
    dt_param_spec *copy = DT_NEW(g->arena, dt_param_spec);
    if (!copy) {
        dt_graph_fail(g, DT_NO_MEMORY, "out of memory (parameter \"%s\")", spec->name);
        return harmless(g);
    }
    *copy = *spec;
    copy->name = t->name;
    t->spec = copy;
    return t;
}

/* ---- names and permissions ---- */

dt_tensor *dt_point(dt_graph *g, dt_tensor *tensor, const char *format, ...)
{
    char name[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (!building(g))
        return tensor;
    if (length <= 0 || (size_t)length >= sizeof name) {
        dt_graph_fail(g, DT_INVALID, "the name of a point has 1 to %zu bytes, not %d", sizeof name - 1,
                      length);
        return tensor;
    }
    if (!tensor || tensor->id < 0 || tensor->id >= g->tensor_count || g->tensor[tensor->id] != tensor) {
        dt_graph_fail(g, DT_INVALID, "point \"%s\" is given to %s", name,
                      tensor ? "a tensor of another graph" : "NULL");
        return tensor;
    }
    const dt_tensor *known = dt_graph_find(g, name);
    if (!known)
        dt_graph_name(g, tensor, name);
    else if (known != tensor)
        dt_graph_fail(g, DT_MISMATCH, "the name \"%s\" is taken by %s", name, dt_tensor_print(known).text);
    return tensor;
}

void dt_graph_permit(dt_graph *g, unsigned fuse)
{
    if (g)
        g->permit = fuse & DT_FUSE_ALL;
}

dt_status dt_graph_finish(dt_graph *g, dt_error *err)
{
    if (!g)
        return dt_fail(err, DT_INVALID, "there is no graph to finish");
    if (g->error.status != DT_OK) {
        if (err)
            *err = g->error;
        return g->error.status;
    }
    DT_TRY(dt_graph_verify(g, err), err, "while checking the finished graph");
    g->finished = true;
    return DT_OK;
}

/* ---- ops ---- */

/* Make an op and return its only result. */
static dt_tensor *result_of(dt_graph *g, dt_op_kind kind, const dt_attributes *attr, int count,
                            dt_tensor *const *input)
{
    dt_op *op = building(g) ? dt_graph_add_op(g, kind, count, input, attr) : NULL;
    return op ? op->output[0] : harmless(g);
}

#define INPUTS(...)                                                                                          \
    sizeof((dt_tensor *[]){__VA_ARGS__}) / sizeof(dt_tensor *), (dt_tensor *[])                              \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

dt_tensor *dt_embedding(dt_graph *g, dt_tensor *table, dt_tensor *ids)
{
    return dt_embedding_from(g, table, ids, 0);
}

dt_tensor *dt_embedding_from(dt_graph *g, dt_tensor *table, dt_tensor *ids, int64_t first)
{
    dt_attributes attr = {.embedding = {.first = first}};
    if (first < 0 || first > INT32_MAX)
        dt_graph_fail(g, DT_INVALID, "embedding: row %lld cannot be the first", (long long)first);
    return result_of(g, DT_OP_embedding, &attr, INPUTS(table, ids));
}

dt_tensor *dt_embedding_padded(dt_graph *g, dt_tensor *table, dt_tensor *ids, int64_t padding)
{
    dt_attributes attr = {.embedding = {.still = padding + 1}};
    if (padding < -1 || padding > INT32_MAX)
        dt_graph_fail(g, DT_INVALID, "embedding: row %lld cannot be the padding's", (long long)padding);
    return result_of(g, DT_OP_embedding, &attr, INPUTS(table, ids));
}

dt_tensor *dt_sinusoid(dt_graph *g, dt_tensor *positions, dt_tensor *frequencies, int64_t width,
                       int64_t first, bool single)
{
    dt_attributes attr = {.sinusoid = {width, first, single}};
    return result_of(g, DT_OP_sinusoid, &attr, INPUTS(positions, frequencies));
}

dt_tensor *dt_linear(dt_graph *g, dt_tensor *x, dt_tensor *w, dt_tensor *bias)
{
    return result_of(g, DT_OP_linear, NULL, INPUTS(x, w, bias));
}

/* How many times a norm's weight goes into a row; 1 where it does not, for the shape rule to tell. */
static int64_t norms_in_row(const dt_tensor *x, const dt_tensor *w)
{
    if (!x || !w || x->rank != 2 || w->rank != 1 || x->dim[1].axis || w->dim[0].axis || w->dim[0].n < 1 ||
        x->dim[1].n % w->dim[0].n)
        return 1;
    return x->dim[1].n / w->dim[0].n;
}

dt_tensor *dt_rms_norm(dt_graph *g, dt_tensor *x, dt_tensor *w, double eps, bool zero_centered)
{
    dt_attributes attr = {.norm = {eps, zero_centered, norms_in_row(x, w)}};
    return result_of(g, DT_OP_rms_norm, &attr, INPUTS(x, w));
}

dt_tensor *dt_layer_norm(dt_graph *g, dt_tensor *x, dt_tensor *w, dt_tensor *b, double eps,
                         bool zero_centered)
{
    dt_attributes attr = {.norm = {eps, zero_centered, norms_in_row(x, w)}};
    return result_of(g, DT_OP_layer_norm, &attr, INPUTS(x, w, b));
}

dt_tensor *dt_add(dt_graph *g, dt_tensor *x, dt_tensor *y)
{
    return result_of(g, DT_OP_add, NULL, INPUTS(x, y));
}

dt_tensor *dt_multiply(dt_graph *g, dt_tensor *x, dt_tensor *y)
{
    return result_of(g, DT_OP_multiply, NULL, INPUTS(x, y));
}

/* A factor as kernels use it, f32; poisons when it is not finite there. */
static double rounded_factor(dt_graph *g, const char *op, double factor)
{
    double rounded = (float)factor;
    if (!isfinite(rounded))
        dt_graph_fail(g, DT_INVALID, "%s: factor %g is not a finite f32", op, factor);
    return rounded;
}

dt_tensor *dt_scale(dt_graph *g, dt_tensor *x, double factor)
{
    dt_attributes attr = {.scale = {rounded_factor(g, "scale", factor)}};
    return result_of(g, DT_OP_scale, &attr, INPUTS(x));
}

static void check_activation(dt_graph *g, const char *op, dt_activation kind)
{
    if ((unsigned)kind >= DT_ACT_COUNT)
        dt_graph_fail(g, DT_INVALID, "%s: there is no activation %d", op, (int)kind);
}

dt_tensor *dt_activate(dt_graph *g, dt_tensor *x, dt_activation kind)
{
    dt_attributes attr = {.activation = {.kind = kind}};
    check_activation(g, "activate", kind);
    return result_of(g, DT_OP_activate, &attr, INPUTS(x));
}

dt_tensor *dt_glu(dt_graph *g, dt_tensor *x, dt_activation kind)
{
    return dt_glu_bounded(g, x, kind, 0, 0);
}

dt_tensor *dt_glu_bounded(dt_graph *g, dt_tensor *x, dt_activation kind, double limit, double offset)
{
    dt_attributes attr = {.activation = {kind, (float)limit, (float)offset}};
    check_activation(g, "glu", kind);
    if (!(limit >= 0) || !isfinite(limit) || !isfinite(offset))
        dt_graph_fail(g, DT_INVALID, "glu: limit %g and offset %g cannot be", limit, offset);
    return result_of(g, DT_OP_glu, &attr, INPUTS(x));
}

void dt_split_groups(dt_graph *g, dt_tensor *x, int64_t groups, int parts, const int64_t *width,
                     dt_tensor **out)
{
    dt_attributes attr = {.split = {.groups = groups, .parts = parts}};
    if (parts < 1 || parts > 4 || !width)
        dt_graph_fail(g, DT_INVALID, "split_groups: %d parts; 1 to 4 exist", parts);
    for (int i = 0; width && i < parts && i < 4; i++)
        attr.split.width[i] = width[i];
    dt_op *op = building(g) ? dt_graph_add_op(g, DT_OP_split_groups, 1, &x, &attr) : NULL;
    for (int i = 0; out && i < parts; i++)
        out[i] = op ? op->output[i] : harmless(g);
}

dt_tensor *dt_join_groups(dt_graph *g, int64_t groups, int parts, dt_tensor *const *part)
{
    dt_attributes attr = {.split = {.groups = groups, .parts = parts}};
    if (parts < 1 || parts > 4 || groups < 1)
        dt_graph_fail(g, DT_INVALID, "join_groups: %d parts; 1 to 4 exist", parts);
    if (!building(g))
        return harmless(g);
    for (int i = 0; i < parts; i++)
        attr.split.width[i] = part[i]->rank == 2 ? part[i]->dim[1].n / groups : 0;
    dt_op *op = dt_graph_add_op(g, DT_OP_join_groups, parts, part, &attr);
    return op ? op->output[0] : harmless(g);
}

dt_tensor *dt_rope(dt_graph *g, dt_tensor *x, dt_tensor *positions, dt_tensor *inv_freq, int64_t heads,
                   bool interleaved, double magnitude)
{
    return dt_rope_by_length(
        g, x, positions, inv_freq, NULL,
        &(dt_rope_spec){.heads = heads, .interleaved = interleaved, .magnitude = magnitude});
}

dt_tensor *dt_rope_by_length(dt_graph *g, dt_tensor *x, dt_tensor *positions, dt_tensor *inv_freq,
                             dt_tensor *lengths, const dt_rope_spec *spec)
{
    dt_attributes attr = {.rope = {*spec, false}};
    if (!isfinite(spec->magnitude))
        dt_graph_fail(g, DT_INVALID, "rope: magnitude %g is not finite", spec->magnitude);
    return result_of(g, DT_OP_rope, &attr, INPUTS(x, positions, inv_freq, lengths));
}

/* Are queries and keys the same rows? Then query i sits at past + i, else at i. */
static bool is_self_attention(const dt_attention_inputs *in)
{
    if (in->k_cache)
        return in->k != NULL;
    return in->rows.cu_seqlens == in->keys.cu_seqlens;
}

dt_tensor *dt_attention(dt_graph *g, const dt_attention_inputs *in, const dt_attention_spec *spec)
{
    dt_attributes attr = {.attention = {*spec, is_self_attention(in)}};
    dt_tensor *input[DT_ATTENTION_SINK + 1] = {
        [DT_ATTENTION_Q] = in->q,
        [DT_ATTENTION_K] = in->k,
        [DT_ATTENTION_V] = in->v,
        [DT_ATTENTION_CU_ROWS] = in->rows.cu_seqlens,
        [DT_ATTENTION_CU_KEYS] = in->keys.cu_seqlens,
        [DT_ATTENTION_PAST] = in->k_cache ? in->keys.past : NULL,
        [DT_ATTENTION_BLOCK_TABLE] = in->k_cache ? in->keys.block_table : NULL,
        [DT_ATTENTION_K_CACHE] = in->k_cache,
        [DT_ATTENTION_V_CACHE] = in->v_cache,
        [DT_ATTENTION_BIAS_TABLE] = in->bias_table,
        [DT_ATTENTION_SINK] = in->sink,
    };
    return result_of(g, DT_OP_attention, &attr, DT_ATTENTION_SINK + 1, input);
}

void dt_kv_store(dt_graph *g, dt_tensor *k, dt_tensor *v, dt_rows rows, dt_tensor *k_cache,
                 dt_tensor *v_cache, int64_t groups, int64_t head_dim)
{
    dt_attributes attr = {.kv_store = {groups, head_dim}};
    dt_tensor *input[] = {k, v, rows.cu_seqlens, rows.past, rows.block_table, k_cache, v_cache};
    if (building(g))
        dt_graph_add_op(g, DT_OP_kv_store, 7, input, &attr);
}

void dt_route(dt_graph *g, dt_tensor *logits, dt_tensor *bias, const dt_route_spec *spec, dt_tensor **experts,
              dt_tensor **weights)
{
    dt_attributes attr = {.route = *spec};
    attr.route.scaling = rounded_factor(g, "route", spec->scaling);
    dt_op *op = building(g) ? dt_graph_add_op(g, DT_OP_route, INPUTS(logits, bias), &attr) : NULL;
    *experts = op ? op->output[0] : harmless(g);
    *weights = op ? op->output[1] : harmless(g);
}

dt_tensor *dt_expert_linear(dt_graph *g, dt_tensor *x, dt_tensor *w, dt_tensor *experts, dt_tensor *bias,
                            int64_t expert_count)
{
    dt_attributes attr = {.experts = {.count = expert_count}};
    return result_of(g, DT_OP_expert_linear, &attr, INPUTS(x, w, experts, bias));
}

dt_tensor *dt_sum_choices(dt_graph *g, dt_tensor *y, dt_tensor *weights)
{
    return result_of(g, DT_OP_sum_choices, NULL, INPUTS(y, weights));
}

dt_tensor *dt_take_rows(dt_graph *g, dt_tensor *x, dt_tensor *index)
{
    return result_of(g, DT_OP_take_rows, NULL, INPUTS(x, index));
}

dt_tensor *dt_merge_rows(dt_graph *g, dt_tensor *x, dt_tensor *y, dt_tensor *index)
{
    return result_of(g, DT_OP_merge_rows, NULL, INPUTS(x, y, index));
}

dt_tensor *dt_blend_rows(dt_graph *g, dt_tensor *table, dt_tensor *index, dt_tensor *weight)
{
    return result_of(g, DT_OP_blend_rows, NULL, INPUTS(table, index, weight));
}

dt_tensor *dt_scale_columns(dt_graph *g, dt_tensor *x, dt_tensor *w)
{
    return result_of(g, DT_OP_scale_columns, NULL, INPUTS(x, w));
}

dt_tensor *dt_scale_exp(dt_graph *g, dt_tensor *x, dt_tensor *s, dt_tensor *b)
{
    return result_of(g, DT_OP_scale_exp, NULL, INPUTS(x, s, b));
}

dt_tensor *dt_cross_entropy(dt_graph *g, dt_tensor *logits, dt_tensor *labels, int64_t vocab)
{
    dt_attributes attr = {.cross_entropy = {vocab}};
    return result_of(g, DT_OP_cross_entropy, &attr, INPUTS(logits, labels));
}

dt_tensor *dt_weighted_mean(dt_graph *g, dt_tensor *x, dt_tensor *w)
{
    return result_of(g, DT_OP_weighted_mean, NULL, INPUTS(x, w));
}

dt_tensor *dt_dot(dt_graph *g, dt_tensor *x, dt_tensor *w, double factor)
{
    dt_attributes attr = {.scale = {rounded_factor(g, "dot", factor)}};
    return result_of(g, DT_OP_dot, &attr, INPUTS(x, w));
}
