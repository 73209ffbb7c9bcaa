/*
 * lower.c - lowers a graph op by op, by the column of ops.def; and the ops that work on rows alone.
 *
 * Attention and rotation are in lower_attention.c, experts in lower_experts.c.
 */
#include "formats/onnx/lower.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const dt_onnx_lowering lowering[DT_OP_COUNT] = {
#define OP(name, min, max, shape, gradient, cost, row, in_place, onnx) [DT_OP_##name] = dt_onnx_lower_##onnx,
#include "graph/ops.def"
#undef OP
};

void dt_lower_fail(dt_lowering *l, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (l->status == DT_OK)
        l->status = dt_fail(l->err, DT_UNSUPPORTED, "%s", text);
}

/* ---- the frame ---- */

static const char *batch_name(const dt_lowering *l)
{
    return l->frame->own_batch ? l->frame->own_batch : "batch_size";
}

const char *dt_lower_ids(dt_lowering *l)
{
    if (l->frame->wordless)
        dt_lower_fail(l, "this graph is told no ids, which \"%s\" wants", l->config->family);
    return dt_onnx_input(l->o, "input_ids", DT_ONNX_INT64, 2,
                         (dt_onnx_dim[]){{batch_name(l), 0}, {l->frame->own_length, 0}});
}

const char *dt_lower_mask(dt_lowering *l)
{
    const char *name = l->frame->own_mask;
    const char *length = l->frame->cached ? "total_sequence_length" : l->frame->own_length;
    return name ? dt_onnx_input(l->o, name, DT_ONNX_INT64, 2, (dt_onnx_dim[]){{"batch_size", 0}, {length, 0}})
                : NULL;
}

const char *dt_lower_past(dt_lowering *l)
{
    return l->past_key ? dt_onnx_size(l->o, l->past_key, 2) : NULL;
}

const char *dt_lower_queries(dt_lowering *l)
{
    const char *own = l->frame->wordless && l->cut_value ? l->cut_value : dt_lower_ids(l);
    const char *rows = dt_onnx_range(l->o, dt_onnx_size(l->o, own, 1));
    const char *past = dt_lower_past(l);
    return past ? DT_ONNX_NODE(l->o, "Add", rows, past) : rows;
}

/* RoBERTa counts tokens from behind the padding token's id, and padding stays there. */
static const char *positions_beside_padding(dt_lowering *l)
{
    dt_onnx *o = l->o;
    const char *pad = dt_onnx_integer(o, l->config->pad_token_id);
    const char *real = dt_onnx_cast(o, DT_ONNX_NODE(o, "Not", DT_ONNX_NODE(o, "Equal", dt_lower_ids(l), pad)),
                                    DT_ONNX_INT64);
    const char *count = DT_ONNX_NODE(o, "CumSum", real, dt_onnx_integer(o, 1));
    if (l->past_key)
        dt_lower_fail(l, "positions that skip padding cannot be counted behind a cache");
    return DT_ONNX_NODE(o, "Add", DT_ONNX_NODE(o, "Mul", count, real), pad);
}

static const char *positions(dt_lowering *l)
{
    if (l->frame->numbered)
        return dt_onnx_input(l->o, "position_ids", DT_ONNX_INT64, 2,
                             (dt_onnx_dim[]){{"batch_size", 0}, {l->frame->own_length, 0}});
    if (l->config->positions_skip_padding)
        return positions_beside_padding(l);
    return DT_ONNX_NODE(l->o, "Unsqueeze", dt_lower_queries(l), DT_ONNX_INTS(l->o, 0)); /* [1, S] */
}

/* [B, 1]: how many tokens each sequence has so far. */
static const char *lengths(dt_lowering *l)
{
    const char *mask = dt_lower_mask(l);
    if (mask)
        return dt_onnx_reduce(l->o, "ReduceSum", mask, 1, true);
    dt_lower_fail(l, "rotary frequencies follow a sequence's length, which this graph is not told");
    return "";
}

/* The name behind the prefix of a stack: "encoder_tokens" is "tokens". */
static bool is_input(const dt_tensor *t, const char *name)
{
    return dt_ends_with(t->name, name) &&
           (strlen(t->name) == strlen(name) || t->name[strlen(t->name) - strlen(name) - 1] == '_');
}

static const char *input_value(dt_lowering *l, const dt_tensor *t)
{
    if (is_input(t, "tokens"))
        return dt_lower_ids(l);
    if (is_input(t, "positions"))
        return positions(l);
    if (is_input(t, "rope_lengths"))
        return lengths(l);
    if (is_input(t, "token_types"))
        return dt_onnx_input(l->o, "token_type_ids", DT_ONNX_INT64, 2,
                             (dt_onnx_dim[]){{"batch_size", 0}, {l->frame->own_length, 0}});
    if (is_input(t, "patches"))
        return dt_lower_patches(l);
    if (is_input(t, "image_features"))
        return dt_onnx_input(
            l->o, "image_features", dt_onnx_type_of(l->o->type), 3,
            (dt_onnx_dim[]){{"batch_size", 0}, {l->frame->own_length, 0}, {NULL, t->dim[1].n}});
    dt_lower_fail(l, "the input \"%s\" has no counterpart in ONNX", t->name);
    return "";
}

/* ---- values ---- */

const char *dt_lower_value(dt_lowering *l, const dt_tensor *t)
{
    if (l->value[t->id])
        return l->value[t->id];
    if (t->kind == DT_TENSOR_PARAM) {
        l->used[t->id] = true;
        return t->name;
    }
    if (t->kind == DT_TENSOR_INPUT)
        return input_value(l, t);
    if (t->kind == DT_TENSOR_CONSTANT)
        return dt_onnx_from_f32(l->o, dt_onnx_floats(l->o, t->dim[0].n, 0, t->constant));
    dt_lower_fail(l, "%s has no counterpart in ONNX", dt_tensor_print(t).text);
    return "";
}

const char *dt_lower_input(dt_lowering *l, const dt_op *op, int index)
{
    const dt_tensor *t = index < op->input_count ? op->input[index] : NULL;
    return t ? dt_lower_value(l, t) : NULL;
}

const char *dt_lower_weight(dt_lowering *l, const dt_tensor *t)
{
    const char *w = dt_lower_value(l, t);
    return l->layout[t->id] == DT_ONNX_TRANSPOSED ? w : DT_ONNX_TRANSPOSE(l->o, w, 1, 0);
}

void dt_lower_set(dt_lowering *l, const dt_tensor *t, const char *value)
{
    if (t)
        l->value[t->id] = value;
}

/* ---- rows ---- */

void dt_onnx_lower_embedding(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    if (strcmp(op->input[1]->name, "vision_probe") == 0) { /* one row, the same for every picture */
        dt_lower_set(l, op->output[0],
                     DT_ONNX_NODE(o, "Unsqueeze", dt_lower_input(l, op, 0), DT_ONNX_INTS(o, 0)));
        return;
    }
    const char *ids = dt_lower_input(l, op, 1);
    if (op->attr.embedding.first)
        ids = DT_ONNX_NODE(o, "Add", ids, dt_onnx_integer(o, op->attr.embedding.first));
    dt_lower_set(l, op->output[0], DT_ONNX_NODE(o, "Gather", dt_lower_input(l, op, 0), ids));
}

/* Waves of every position that the model may have, as a table: sines of large angles need more than f32. */
void dt_onnx_lower_sinusoid(dt_lowering *l, const dt_op *op)
{
    const dt_model_config *c = l->config;
    int64_t skipped = c->positions_skip_padding ? c->pad_token_id + 1 : 0, width = op->attr.sinusoid.width;
    int64_t rows = c->max_sequence_length + skipped, pairs = op->input[1]->dim[0].n / 2, bytes;
    const float *frequency = op->input[1]->constant;
    if (rows < 1 || __builtin_mul_overflow(rows, width * 4, &bytes) || bytes > 64 << 20) {
        dt_lower_fail(l, "a table of %lld sinusoid positions would be too long", (long long)rows);
        return;
    }
    float *table = malloc((size_t)bytes);
    for (int64_t t = 0; table && t < rows; t++)
        for (int64_t i = 0; i < width; i++) {
            int64_t pair = i < pairs ? i : i - pairs;
            double angle = pair < pairs ? (double)(t + op->attr.sinusoid.first) *
                                              ((double)frequency[pair] + frequency[pairs + pair])
                                        : 0;
            if (op->attr.sinusoid.single)
                angle = (float)angle;
            table[t * width + i] = pair >= pairs ? 0 : (float)(i < pairs ? sin(angle) : cos(angle));
        }
    l->o->failed |= !table;
    if (table)
        dt_lower_set(l, op->output[0],
                     DT_ONNX_NODE(l->o, "Gather",
                                  dt_onnx_from_f32(l->o, dt_onnx_floats(l->o, rows, width, table)),
                                  dt_lower_input(l, op, 0)));
    free(table);
}

void dt_onnx_lower_linear(dt_lowering *l, const dt_op *op)
{
    const char *y = DT_ONNX_NODE(l->o, "MatMul", dt_lower_input(l, op, 0), dt_lower_weight(l, op->input[1]));
    const char *bias = dt_lower_input(l, op, 2);
    dt_lower_set(l, op->output[0], bias ? DT_ONNX_NODE(l->o, "Add", y, bias) : y);
}

/* Heads normed one by one lie side by side in a row: [B, S, n·D] is seen as [B, S, n, D]. */
static const char *in_runs(dt_lowering *l, const dt_op *op, const char *x)
{
    int64_t n = op->attr.norm.groups;
    return n > 1 ? DT_ONNX_RESHAPE(l->o, x, 0, 0, n, op->input[1]->dim[0].n) : x;
}

static const char *in_rows(dt_lowering *l, const dt_op *op, const char *x)
{
    int64_t n = op->attr.norm.groups;
    return n > 1 ? DT_ONNX_RESHAPE(l->o, x, 0, 0, n * op->input[1]->dim[0].n) : x;
}

static const char *norm_weight(dt_lowering *l, const dt_op *op)
{
    const char *w = dt_lower_input(l, op, 1);
    return op->attr.norm.zero_centered ? DT_ONNX_NODE(l->o, "Add", w, dt_onnx_number(l->o, 1)) : w;
}

/* In f32 whatever the type; one operator from opset 23 on. */
static const char *rms_norm(dt_lowering *l, const dt_op *op, const char *x)
{
    dt_onnx *o = l->o;
    if (o->opset >= 23) {
        dt_onnx_attribute attribute[DT_ONNX_ATTRIBUTES] = {
            {.name = "axis", .i = -1}, {.name = "epsilon", .kind = DT_ONNX_F, .f = (float)op->attr.norm.eps}};
        return DT_ONNX_WITH(o, "RMSNormalization", attribute, x, norm_weight(l, op));
    }
    x = dt_onnx_to_f32(o, x);
    const char *mean = dt_onnx_reduce(o, "ReduceMean", DT_ONNX_NODE(o, "Mul", x, x), -1, true);
    const char *root =
        DT_ONNX_NODE(o, "Sqrt", DT_ONNX_NODE(o, "Add", mean, dt_onnx_number_f32(o, op->attr.norm.eps)));
    const char *y = dt_onnx_from_f32(o, DT_ONNX_NODE(o, "Div", x, root));
    return DT_ONNX_NODE(o, "Mul", y, norm_weight(l, op));
}

void dt_onnx_lower_rms_norm(dt_lowering *l, const dt_op *op)
{
    const char *x = in_runs(l, op, dt_lower_input(l, op, 0));
    dt_lower_set(l, op->output[0], in_rows(l, op, rms_norm(l, op, x)));
}

void dt_onnx_lower_layer_norm(dt_lowering *l, const dt_op *op)
{
    dt_onnx_attribute attribute[DT_ONNX_ATTRIBUTES] = {
        {.name = "axis", .i = -1}, {.name = "epsilon", .kind = DT_ONNX_F, .f = (float)op->attr.norm.eps}};
    const char *x = in_runs(l, op, dt_lower_input(l, op, 0)), *bias = dt_lower_input(l, op, 2);
    const char *input[] = {x, norm_weight(l, op), bias, NULL};
    dt_lower_set(l, op->output[0],
                 in_rows(l, op, dt_onnx_node(l->o, "LayerNormalization", input, attribute)));
}

void dt_onnx_lower_add(dt_lowering *l, const dt_op *op)
{
    dt_lower_set(l, op->output[0],
                 DT_ONNX_NODE(l->o, "Add", dt_lower_input(l, op, 0), dt_lower_input(l, op, 1)));
}

void dt_onnx_lower_multiply(dt_lowering *l, const dt_op *op)
{
    dt_lower_set(l, op->output[0],
                 DT_ONNX_NODE(l->o, "Mul", dt_lower_input(l, op, 0), dt_lower_input(l, op, 1)));
}

void dt_onnx_lower_scale(dt_lowering *l, const dt_op *op)
{
    const char *factor = dt_onnx_number(l->o, op->attr.scale.factor);
    dt_lower_set(l, op->output[0], DT_ONNX_NODE(l->o, "Mul", dt_lower_input(l, op, 0), factor));
}

/* x/2 (1 + part) */
static const char *half_gelu(dt_onnx *o, const char *x, const char *part)
{
    const char *one = DT_ONNX_NODE(o, "Add", part, dt_onnx_number(o, 1));
    return DT_ONNX_NODE(o, "Mul", DT_ONNX_NODE(o, "Mul", x, dt_onnx_number(o, 0.5)), one);
}

static const char *gelu_tanh(dt_onnx *o, const char *x)
{
    const char *cube = DT_ONNX_NODE(o, "Mul", DT_ONNX_NODE(o, "Mul", x, x), x);
    const char *sum = DT_ONNX_NODE(o, "Add", x, DT_ONNX_NODE(o, "Mul", cube, dt_onnx_number(o, 0.044715)));
    const char *inner = DT_ONNX_NODE(o, "Mul", sum, dt_onnx_number(o, sqrt(2 / M_PI)));
    return half_gelu(o, x, DT_ONNX_NODE(o, "Tanh", inner));
}

/* x/2 (1 + erf(x/√2)), or its tanh form; one operator from opset 20 on */
static const char *gelu(dt_onnx *o, const char *x, bool by_tanh)
{
    dt_onnx_attribute form[DT_ONNX_ATTRIBUTES] = {
        {.name = "approximate", .kind = DT_ONNX_S, .text = by_tanh ? "tanh" : "none"}};
    if (o->opset >= 20)
        return DT_ONNX_WITH(o, "Gelu", form, x);
    if (by_tanh)
        return gelu_tanh(o, x);
    return half_gelu(o, x, DT_ONNX_NODE(o, "Erf", DT_ONNX_NODE(o, "Mul", x, dt_onnx_number(o, sqrt(0.5)))));
}

static const char *times_sigmoid(dt_onnx *o, const char *x, double factor)
{
    const char *inner = factor != 1 ? DT_ONNX_NODE(o, "Mul", x, dt_onnx_number(o, factor)) : x;
    return DT_ONNX_NODE(o, "Mul", x, DT_ONNX_NODE(o, "Sigmoid", inner));
}

static const char *activate(dt_lowering *l, const char *x, dt_activation kind)
{
    dt_onnx *o = l->o;
    const char *y;
    switch (kind) {
    case DT_ACT_IDENTITY:
        return x;
    case DT_ACT_GELU:
        return gelu(o, x, false);
    case DT_ACT_GELU_TANH:
        return gelu(o, x, true);
    case DT_ACT_QUICK_GELU:
        return times_sigmoid(o, x, 1.702);
    case DT_ACT_RELU:
        return DT_ONNX_NODE(o, "Relu", x);
    case DT_ACT_SQUARED_RELU:
        y = DT_ONNX_NODE(o, "Relu", x);
        return DT_ONNX_NODE(o, "Mul", y, y);
    case DT_ACT_SILU:
        return times_sigmoid(o, x, 1);
    case DT_ACT_TANH:
        return DT_ONNX_NODE(o, "Tanh", x);
    case DT_ACT_SIGMOID:
        return DT_ONNX_NODE(o, "Sigmoid", x);
    default:
        dt_lower_fail(l, "activation %d has no counterpart in ONNX", (int)kind);
        return "";
    }
}

void dt_onnx_lower_activate(dt_lowering *l, const dt_op *op)
{
    dt_lower_set(l, op->output[0], activate(l, dt_lower_input(l, op, 0), op->attr.activation.kind));
}

void dt_onnx_lower_glu(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const dt_tensor *x = op->input[0];
    int64_t half = x->dim[x->rank - 1].n / 2;
    double limit = op->attr.activation.limit;
    const char *input[] = {dt_lower_value(l, x), DT_ONNX_INTS(o, half, half), NULL}, *part[2];
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = -1}};
    dt_onnx_make(o, "Split", input, axis, 2, part);
    if (limit != 0) {
        const char *most = dt_onnx_number(o, limit);
        part[0] = DT_ONNX_NODE(o, "Min", part[0], most);
        part[1] = DT_ONNX_NODE(o, "Clip", part[1], dt_onnx_number(o, -limit), most);
    }
    if (op->attr.activation.offset != 0)
        part[1] = DT_ONNX_NODE(o, "Add", part[1], dt_onnx_number(o, op->attr.activation.offset));
    dt_lower_set(l, op->output[0],
                 DT_ONNX_NODE(o, "Mul", activate(l, part[0], op->attr.activation.kind), part[1]));
}

void dt_onnx_lower_split_groups(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const int64_t *width = op->attr.split.width;
    int64_t groups = op->attr.split.groups, sum = 0;
    int parts = op->attr.split.parts;
    const char *part[4];
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = -1}};
    for (int i = 0; i < parts; i++)
        sum += width[i];
    const char *x = dt_lower_input(l, op, 0);
    if (groups > 1)
        x = DT_ONNX_RESHAPE(o, x, 0, 0, groups, sum);
    dt_onnx_make(o, "Split", (const char *[]){x, dt_onnx_integers(o, parts, width), NULL}, axis, parts, part);
    for (int i = 0; i < parts; i++)
        dt_lower_set(l, op->output[i],
                     groups > 1 ? DT_ONNX_RESHAPE(o, part[i], 0, 0, groups * width[i]) : part[i]);
}

void dt_onnx_lower_join_groups(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const int64_t *width = op->attr.split.width;
    int64_t groups = op->attr.split.groups, sum = 0;
    const char *part[5] = {NULL};
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = -1}};
    for (int i = 0; i < op->attr.split.parts; i++) {
        part[i] = dt_lower_input(l, op, i);
        if (groups > 1)
            part[i] = DT_ONNX_RESHAPE(o, part[i], 0, 0, groups, width[i]);
        sum += width[i];
    }
    const char *x = dt_onnx_node(o, "Concat", part, axis);
    dt_lower_set(l, op->output[0], groups > 1 ? DT_ONNX_RESHAPE(o, x, 0, 0, groups * sum) : x);
}

/* x · exp(s) + b, scalars that are stored as [1] */
void dt_onnx_lower_scale_exp(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const char *b = dt_lower_input(l, op, 2);
    const char *y =
        DT_ONNX_NODE(o, "Mul", dt_lower_input(l, op, 0), DT_ONNX_NODE(o, "Exp", dt_lower_input(l, op, 1)));
    dt_lower_set(l, op->output[0], b ? DT_ONNX_NODE(o, "Add", y, b) : y);
}

/* int64 [B]: where a text's row is that is taken for all of it: its end token's, that of the largest id, or the last. */
static const char *pooled_rows(dt_lowering *l)
{
    dt_onnx *o = l->o;
    dt_onnx_attribute first[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = 1}, {.name = "keepdims", .i = 0}};
    const char *ids = dt_lower_ids(l), *likely = ids;
    if (l->config->text_pooling == DT_TEXT_POOL_LAST) {
        const char *last = DT_ONNX_NODE(o, "Sub", dt_onnx_size(o, ids, 1), dt_onnx_integer(o, 1));
        return DT_ONNX_NODE(o, "Unsqueeze", last, DT_ONNX_INTS(o, 0)); /* [1], the same for all */
    }
    if (l->config->text_pooling == DT_TEXT_POOL_END)
        likely = DT_ONNX_NODE(o, "Equal", ids, dt_onnx_integer(o, l->config->eos_token_ids[0]));
    return DT_ONNX_WITH(o, "ArgMax", first, dt_onnx_cast(o, likely, DT_ONNX_FLOAT));
}

/* One row of each text, [B, H]. */
static const char *take_pooled(dt_lowering *l, const char *x, int64_t width)
{
    dt_onnx *o = l->o;
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = 1}};
    const char *batch = DT_ONNX_NODE(o, "Gather", DT_ONNX_NODE(o, "Shape", x), DT_ONNX_INTS(o, 0));
    const char *row = DT_ONNX_NODE(o, "Unsqueeze", pooled_rows(l), DT_ONNX_INTS(o, 1, 2));
    row = DT_ONNX_NODE(o, "Expand", row, dt_onnx_concat(o, batch, DT_ONNX_INTS(o, 1, width), 0));
    return DT_ONNX_NODE(o, "Squeeze", DT_ONNX_WITH(o, "GatherElements", axis, x, row), DT_ONNX_INTS(o, 1));
}

/* Rows whose logits are wanted are all of them; the first of each text or picture is the first of its row. */
void dt_onnx_lower_take_rows(dt_lowering *l, const dt_op *op)
{
    const dt_tensor *index = op->input[1];
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = 1}};
    const char *x = dt_lower_input(l, op, 0);
    if (index->kind == DT_TENSOR_INPUT && strcmp(index->name, "output_rows") == 0)
        dt_lower_set(l, op->output[0], x);
    else if (index->kind == DT_TENSOR_INPUT && is_input(index, "first_rows"))
        dt_lower_set(l, op->output[0], DT_ONNX_WITH(l->o, "Gather", axis, x, dt_onnx_integer(l->o, 0)));
    else if (index->kind == DT_TENSOR_INPUT && strcmp(index->name, "pooled_rows") == 0)
        dt_lower_set(l, op->output[0], take_pooled(l, x, op->input[0]->dim[1].n));
    else if (index->kind == DT_TENSOR_INPUT && dt_starts_with(index->name, "feature_rows_"))
        dt_lower_features(l, op, atoi(index->name + strlen("feature_rows_")));
    else
        dt_lower_fail(l, "rows chosen by %s have no counterpart in ONNX", dt_tensor_print(index).text);
}

/* ---- the whole ---- */

/* Mark what `needed` values need, from the last op to the first; the cut is given. */
static void mark_needed(const dt_lowering *l, bool *needed)
{
    for (int i = l->graph->op_count - 1; i >= 0; i--) {
        const dt_op *op = l->graph->op[i];
        bool wanted = false;
        for (int k = 0; k < op->output_count; k++)
            wanted |= op->output[k] && needed[op->output[k]->id] && !l->value[op->output[k]->id];
        for (int k = 0; wanted && k < op->input_count; k++)
            if (op->input[k])
                needed[op->input[k]->id] = true;
    }
}

static bool any_needed(const dt_lowering *l, const dt_op *op, const bool *needed)
{
    bool any = false;
    for (int k = 0; k < op->output_count; k++)
        any |= op->output[k] && needed[op->output[k]->id] && !l->value[op->output[k]->id];
    return any;
}

static dt_status use_cut(dt_lowering *l)
{
    const dt_onnx_result *cut = &l->frame->cut;
    const dt_tensor *rows = cut->point ? dt_graph_find(l->graph, cut->point) : NULL;
    if (!cut->point)
        return DT_OK;
    if (!rows)
        return dt_fail(l->err, DT_UNSUPPORTED, "the graph has no point \"%s\" to start from", cut->point);
    l->value[rows->id] = l->cut_value =
        dt_onnx_input(l->o, cut->name, dt_onnx_type_of(l->o->type), 3,
                      (dt_onnx_dim[]){{"batch_size", 0}, {l->frame->cut_length, 0}, {NULL, rows->dim[1].n}});
    return DT_OK;
}

dt_status dt_lower_graph(dt_lowering *l)
{
    const dt_onnx_result *r = l->frame->result;
    bool *needed = DT_NEW_ARRAY(l->o->arena, bool, l->graph->tensor_count);
    if (!needed)
        return dt_fail_memory(l->err, (size_t)l->graph->tensor_count, "an ONNX graph");
    DT_PASS(use_cut(l));
    for (int i = 0; i < DT_ONNX_RESULTS && r[i].point; i++) {
        const dt_tensor *t = dt_graph_find(l->graph, r[i].point);
        if (t)
            needed[t->id] = true;
    }
    mark_needed(l, needed);
    if (!l->frame->wordless)
        dt_lower_ids(l); /* the first of the inputs */
    dt_lower_find_past(l);
    for (int i = 0; i < l->graph->op_count && l->status == DT_OK; i++) {
        const dt_op *op = l->graph->op[i];
        if (!any_needed(l, op, needed))
            continue;
        if (lowering[op->kind])
            lowering[op->kind](l, op);
        else
            dt_lower_fail(l, "the op \"%s\" has no lowering to ONNX", dt_op_info_of(op->kind)->name);
    }
    return l->status;
}
