/*
 * lower_attention.c - attention and rotation over padded rows, with a cache of keys and values that grows by Concat.
 *
 * Shapes    q [B, S, A·D] → [B, A, S, D]; keys [B, K, T, D] with T = P + S. Queries of one group are rows of one product:
 *           [B, K, A/K·S, D] · [B, K, D, T], so grouped keys are never repeated.
 * Masks     one of bools, [B, 1, S, T] or what of it is needed: real keys, the order, the window. Hidden scores are f32's
 *           lowest number, so a row that sees nothing (padding) has some mean of values, and no NaN.
 * Numbers   scores are capped, biased and normed in f32 whatever the type.
 */
#include "formats/onnx/lower.h"

#include "backend/alibi.h"
#include "backend/bucket.h"
#include "backend/rope_table.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 96, BUCKET_LIMIT = 1 << 16 };

/* ---- caches ---- */

typedef struct cache_name {
    char text[NAME_BYTES];
} cache_name;

/* "past_key_values.3.key", "present.3.decoder.value" */
static cache_name name_cache(const dt_lowering *l, const char *when, int layer, bool self, const char *what)
{
    cache_name name;
    const char *stack = !l->frame->cross ? "" : self ? "decoder." : "encoder.";
    snprintf(name.text, sizeof name.text, "%s.%d.%s%s", when, layer, stack, what);
    return name;
}

static const char *past_input(dt_lowering *l, const dt_op *op, int layer, const char *what)
{
    const dt_attention_spec *spec = &op->attr.attention.spec;
    bool self = op->attr.attention.self;
    return dt_onnx_input(l->o, name_cache(l, "past_key_values", layer, self, what).text,
                         dt_onnx_type_of(l->o->type), 4,
                         (dt_onnx_dim[]){{"batch_size", 0},
                                         {NULL, spec->groups},
                                         {self ? "past_sequence_length" : "encoder_sequence_length", 0},
                                         {NULL, spec->head_dim}});
}

static void present_output(dt_lowering *l, const dt_op *op, int layer, const char *what, const char *value)
{
    const dt_attention_spec *spec = &op->attr.attention.spec;
    bool self = op->attr.attention.self;
    const char *length = !self              ? "encoder_sequence_length"
                         : l->frame->cached ? "total_sequence_length"
                                            : l->frame->own_length;
    dt_onnx_output(
        l->o, value, name_cache(l, "present", layer, self, what).text, dt_onnx_type_of(l->o->type), 4,
        (dt_onnx_dim[]){{"batch_size", 0}, {NULL, spec->groups}, {length, 0}, {NULL, spec->head_dim}});
}

/* The number in "decoder.layers.3.k_cache"; without a cache the attentions are counted. */
static int layer_of(dt_lowering *l, const dt_op *op)
{
    const dt_tensor *state = op->input[DT_ATTENTION_K_CACHE];
    int *count = op->attr.attention.self ? &l->self_count : &l->cross_count;
    const char *number = state ? strstr(state->name, ".layers.") : NULL;
    if (number)
        *count = atoi(number + strlen(".layers."));
    return (*count)++;
}

void dt_lower_find_past(dt_lowering *l)
{
    for (int i = 0; l->frame->cached && i < l->graph->op_count && !l->past_key; i++) {
        const dt_op *op = l->graph->op[i];
        if (op->kind == DT_OP_attention && op->attr.attention.self && op->input[DT_ATTENTION_K_CACHE]) {
            l->past_key = past_input(l, op, layer_of(l, op), "key");
            l->self_count = 0;
        }
    }
}

/* [B, S, n·D] → [B, n, S, D] */
static const char *by_heads(dt_onnx *o, const char *x, int64_t heads, int64_t d)
{
    return DT_ONNX_TRANSPOSE(o, DT_ONNX_RESHAPE(o, x, 0, 0, heads, d), 0, 2, 1, 3);
}

/* Keys, or values, [B, K, T, D]: those of the past, of now, or both; handed on where presents are wanted. */
static const char *stored(dt_lowering *l, const dt_op *op, int layer, bool value)
{
    const dt_attention_spec *spec = &op->attr.attention.spec;
    const char *what = value ? "value" : "key", *past = NULL;
    const char *now = dt_lower_input(l, op, value ? DT_ATTENTION_V : DT_ATTENTION_K);
    if (op->input[DT_ATTENTION_K_CACHE])
        past = past_input(l, op, layer, what);
    if (!now)
        return past;
    now = by_heads(l->o, now, spec->groups, spec->head_dim);
    if (past)
        now = dt_onnx_concat(l->o, past, now, 2);
    if (l->frame->presents)
        present_output(l, op, layer, what, now);
    return now;
}

/* ---- what a query sees ---- */

static const char *both(dt_onnx *o, const char *a, const char *b)
{
    return a && b ? DT_ONNX_NODE(o, "And", a, b) : a ? a : b;
}

/* [B, 1, 1, T]: keys that are tokens; NULL when all are. */
static const char *real_keys(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    if (dt_lower_sees(op->input[DT_ATTENTION_Q]))
        return NULL;
    const char *mask =
        op->attr.attention.self
            ? dt_lower_mask(l)
            : dt_onnx_input(o, "encoder_attention_mask", DT_ONNX_INT64, 2,
                            (dt_onnx_dim[]){{"batch_size", 0}, {"encoder_sequence_length", 0}});
    return mask ? DT_ONNX_NODE(o, "Unsqueeze", dt_onnx_cast(o, mask, DT_ONNX_BOOL), DT_ONNX_INTS(o, 1, 2))
                : NULL;
}

/* int64 [S, T] (or [S, 1]): key - query */
static const char *distance(dt_lowering *l, const dt_op *op, const char *keys)
{
    dt_onnx *o = l->o;
    const char *j = dt_onnx_range(o, dt_onnx_size(o, keys, 2));
    const char *rows = dt_lower_sees(op->input[DT_ATTENTION_Q]) ? dt_onnx_range(o, dt_lower_picture_rows(l))
                                                                : dt_lower_queries(l);
    const char *i = DT_ONNX_NODE(o, "Unsqueeze", rows, DT_ONNX_INTS(o, 1));
    return DT_ONNX_NODE(o, "Sub", j, i);
}

static const char *visible(dt_lowering *l, const dt_op *op, const char *keys)
{
    dt_onnx *o = l->o;
    const dt_attention_spec *spec = &op->attr.attention.spec;
    const char *seen = NULL;
    if (spec->causal)
        seen = DT_ONNX_NODE(o, "LessOrEqual", distance(l, op, keys), dt_onnx_integer(o, 0));
    if (spec->window_left >= 0)
        seen = both(
            o, seen,
            DT_ONNX_NODE(o, "GreaterOrEqual", distance(l, op, keys), dt_onnx_integer(o, -spec->window_left)));
    if (spec->window_right >= 0)
        seen = both(
            o, seen,
            DT_ONNX_NODE(o, "LessOrEqual", distance(l, op, keys), dt_onnx_integer(o, spec->window_right)));
    return both(o, real_keys(l, op), seen);
}

/* ---- what is added to scores ---- */

/*
 * T5's rule from distance to bucket is a table over all distances that differ: farther ones are as the farthest.
 * → [1, A, S, T]
 */
static const char *relative_bias(dt_lowering *l, const dt_op *op, const char *keys)
{
    dt_onnx *o = l->o;
    const dt_attention_spec *spec = &op->attr.attention.spec;
    const dt_tensor *table = op->input[DT_ATTENTION_BIAS_TABLE];
    int64_t buckets = table->dim[0].n,
            most = spec->bias_max_distance > buckets ? spec->bias_max_distance : buckets;
    if (most > BUCKET_LIMIT) {
        dt_lower_fail(l, "relative positions up to %lld are more than a table of buckets should hold",
                      (long long)most);
        return "";
    }
    int64_t *bucket = malloc(sizeof *bucket * (size_t)(2 * most + 1));
    l->o->failed |= !bucket;
    for (int64_t d = -most; bucket && d <= most; d++)
        bucket[d + most] = dt_relative_bucket(d, buckets, spec->bias_max_distance, spec->bias_bidirectional);
    const char *rule = bucket ? dt_onnx_integers(o, (int)(2 * most + 1), bucket) : "";
    free(bucket);
    const char *near = DT_ONNX_NODE(o, "Min", distance(l, op, keys), dt_onnx_integer(o, most));
    near = DT_ONNX_NODE(o, "Max", near, dt_onnx_integer(o, -most));
    const char *index =
        DT_ONNX_NODE(o, "Gather", rule, DT_ONNX_NODE(o, "Add", near, dt_onnx_integer(o, most)));
    const char *bias = DT_ONNX_NODE(o, "Gather", dt_onnx_to_f32(o, dt_lower_value(l, table)), index);
    return DT_ONNX_NODE(o, "Unsqueeze", DT_ONNX_TRANSPOSE(o, bias, 2, 0, 1), DT_ONNX_INTS(o, 0));
}

static const char *through_bf16(dt_onnx *o, const char *x)
{
    return dt_onnx_cast(o, dt_onnx_cast(o, x, DT_ONNX_BFLOAT16), DT_ONNX_FLOAT);
}

/* Slope times the key's own position, each rounded to bf16 as Falcon was trained → [B, A, 1, T] */
static const char *alibi(dt_lowering *l, const dt_op *op, const char *keys)
{
    dt_onnx *o = l->o;
    int64_t heads = op->attr.attention.spec.heads;
    float *slope = malloc(sizeof *slope * (size_t)heads);
    const char *mask = dt_lower_mask(l), *position;
    l->o->failed |= !slope;
    for (int64_t i = 0; slope && i < heads; i++)
        slope[i] = dt_alibi_slope(i, heads);
    const char *slopes = slope ? dt_onnx_floats(o, heads, 0, slope) : "";
    free(slope);
    slopes = DT_ONNX_RESHAPE(o, slopes, 1, heads, 1, 1);
    if (mask)
        position = DT_ONNX_NODE(o, "Sub", DT_ONNX_NODE(o, "CumSum", mask, dt_onnx_integer(o, 1)), mask);
    else
        position =
            DT_ONNX_NODE(o, "Unsqueeze", dt_onnx_range(o, dt_onnx_size(o, keys, 2)), DT_ONNX_INTS(o, 0));
    position = through_bf16(o, dt_onnx_cast(o, position, DT_ONNX_FLOAT));
    position = DT_ONNX_NODE(o, "Unsqueeze", position, DT_ONNX_INTS(o, 1, 2));
    const char *bias = through_bf16(o, DT_ONNX_NODE(o, "Mul", slopes, position));
    return DT_ONNX_NODE(o, "Div", bias,
                        dt_onnx_number_f32(o, sqrt((double)op->attr.attention.spec.head_dim)));
}

/* ---- attention ---- */

/* Softmax over keys; a sink takes its share of the sum and gives nothing. */
static const char *probabilities(dt_lowering *l, const dt_op *op, const char *scores)
{
    dt_onnx *o = l->o;
    const dt_tensor *sink = op->input[DT_ATTENTION_SINK];
    dt_onnx_attribute last[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = -1}};
    if (!sink)
        return DT_ONNX_WITH(o, "Softmax", last, scores);
    const char *logit = DT_ONNX_RESHAPE(o, dt_onnx_to_f32(o, dt_lower_value(l, sink)), 1,
                                        op->attr.attention.spec.heads, 1, 1);
    const char *most = DT_ONNX_NODE(o, "Max", dt_onnx_reduce(o, "ReduceMax", scores, -1, true), logit);
    const char *e = DT_ONNX_NODE(o, "Exp", DT_ONNX_NODE(o, "Sub", scores, most));
    const char *own = DT_ONNX_NODE(o, "Exp", DT_ONNX_NODE(o, "Sub", logit, most));
    return DT_ONNX_NODE(o, "Div", e,
                        DT_ONNX_NODE(o, "Add", dt_onnx_reduce(o, "ReduceSum", e, -1, true), own));
}

/* Queries of a group become rows: [B, A, S, ·] ↔ [B, K, A/K·S, ·]. */
static const char *regroup(dt_onnx *o, const char *x, int64_t heads, int64_t from)
{
    return heads == from ? x : DT_ONNX_RESHAPE(o, x, 0, heads, -1, 0);
}

static const char *score(dt_lowering *l, const dt_op *op, const char *q, const char *keys)
{
    dt_onnx *o = l->o;
    const dt_attention_spec *spec = &op->attr.attention.spec;
    q = regroup(o, by_heads(o, q, spec->heads, spec->head_dim), spec->groups, spec->heads);
    if (spec->scale != 1)
        q = DT_ONNX_NODE(o, "Mul", q, dt_onnx_number(o, spec->scale));
    const char *s = DT_ONNX_NODE(o, "MatMul", q, DT_ONNX_TRANSPOSE(o, keys, 0, 1, 3, 2));
    s = dt_onnx_to_f32(o, regroup(o, s, spec->heads, spec->groups)); /* [B, A, S, T] */
    if (spec->soft_cap != 0) {
        const char *cap = dt_onnx_number_f32(o, spec->soft_cap);
        s = DT_ONNX_NODE(o, "Mul", DT_ONNX_NODE(o, "Tanh", DT_ONNX_NODE(o, "Div", s, cap)), cap);
    }
    if (op->input[DT_ATTENTION_BIAS_TABLE])
        s = DT_ONNX_NODE(o, "Add", s, relative_bias(l, op, keys));
    if (spec->alibi)
        s = DT_ONNX_NODE(o, "Add", s, alibi(l, op, keys));
    const char *seen = visible(l, op, keys);
    return seen ? DT_ONNX_NODE(o, "Where", seen, s, dt_onnx_number_f32(o, -FLT_MAX)) : s;
}

void dt_onnx_lower_attention(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const dt_attention_spec *spec = &op->attr.attention.spec;
    int layer = layer_of(l, op);
    const char *keys = stored(l, op, layer, false), *values = stored(l, op, layer, true);
    if (!keys || !values) {
        dt_lower_fail(l, "attention without keys has no counterpart in ONNX");
        return;
    }
    const char *p = probabilities(l, op, score(l, op, dt_lower_input(l, op, DT_ATTENTION_Q), keys));
    p = regroup(o, dt_onnx_from_f32(o, p), spec->groups, spec->heads);
    const char *y = regroup(o, DT_ONNX_NODE(o, "MatMul", p, values), spec->heads, spec->groups);
    y = DT_ONNX_TRANSPOSE(o, y, 0, 2, 1, 3);
    bool pools = dt_lower_is_flat(op->input[DT_ATTENTION_Q]); /* one row a picture */
    dt_lower_set(l, op->output[0],
                 pools ? DT_ONNX_RESHAPE(o, y, 0, spec->heads * spec->head_dim)
                       : DT_ONNX_RESHAPE(o, y, 0, 0, spec->heads * spec->head_dim));
}

/* ---- rotation ---- */

/* Dynamic NTK beyond the trained length: the base grows with it, in f32 in the maker's order → [B, 1, R/2] */
static const char *grown(dt_onnx *o, const dt_rope_spec *spec, int64_t pairs, const char *length)
{
    double size = 2.0 * (double)pairs;
    float *exponent = malloc(sizeof *exponent * (size_t)pairs);
    o->failed |= !exponent;
    for (int64_t i = 0; exponent && i < pairs; i++)
        exponent[i] = (float)(2 * i) / (float)size;
    const char *exponents = exponent ? dt_onnx_floats(o, pairs, 0, exponent) : "";
    free(exponent);
    const char *stretch = DT_ONNX_NODE(
        o, "Div",
        DT_ONNX_NODE(o, "Mul", dt_onnx_cast(o, length, DT_ONNX_FLOAT), dt_onnx_number_f32(o, spec->factor)),
        dt_onnx_number_f32(o, (double)spec->trained));
    stretch = DT_ONNX_NODE(o, "Sub", stretch, dt_onnx_number_f32(o, spec->factor - 1));
    const char *base = DT_ONNX_NODE(o, "Pow", stretch, dt_onnx_number_f32(o, size / (size - 2)));
    base = DT_ONNX_NODE(o, "Mul", base, dt_onnx_number_f32(o, spec->base));
    return DT_ONNX_NODE(o, "Reciprocal", DT_ONNX_NODE(o, "Pow", base, exponents));
}

/* inv_freq [R/2], or what a sequence's length makes of it, [B, 1, R/2]; f32. */
static const char *frequencies(dt_lowering *l, const dt_op *op, int64_t pairs)
{
    dt_onnx *o = l->o;
    const dt_rope_spec *spec = &op->attr.rope.spec;
    const float *inv = op->input[2]->constant;
    const char *plain = dt_onnx_floats(o, pairs, 0, inv), *other, *length = dt_lower_input(l, op, 3);
    if (spec->growth == DT_ROPE_CONSTANT || !length)
        return plain;
    length = DT_ONNX_NODE(o, "Unsqueeze", length, DT_ONNX_INTS(o, 2)); /* [B, 1, 1] */
    other = spec->growth == DT_ROPE_TWO_TABLES ? dt_onnx_floats(o, pairs, 0, inv + pairs)
                                               : grown(o, spec, pairs, length);
    return DT_ONNX_NODE(o, "Where", DT_ONNX_NODE(o, "Greater", length, dt_onnx_integer(o, spec->trained)),
                        other, plain);
}

/* cos or sin of the angles, times the magnitude: [B, S, 1, R/2] in the graph's type */
static const char *wave(dt_lowering *l, const dt_op *op, int64_t pairs, const char *function)
{
    dt_onnx *o = l->o;
    double magnitude = op->attr.rope.spec.magnitude;
    const char *position = dt_onnx_cast(o, dt_lower_input(l, op, 1), DT_ONNX_FLOAT);
    position = DT_ONNX_NODE(o, "Unsqueeze", position, DT_ONNX_INTS(o, 2)); /* [B, S, 1] */
    const char *w = DT_ONNX_NODE(o, function, DT_ONNX_NODE(o, "Mul", position, frequencies(l, op, pairs)));
    if (magnitude != 1)
        w = DT_ONNX_NODE(o, "Mul", w, dt_onnx_number_f32(o, magnitude));
    return DT_ONNX_NODE(o, "Unsqueeze", dt_onnx_from_f32(o, w), DT_ONNX_INTS(o, 2));
}

/* The two halves of x's rotated dimensions, and the rest (absent: NULL), each [B, S, heads, ·]. */
static void take_apart(dt_onnx *o, const dt_op *op, const char *x, int64_t pairs, int64_t d,
                       const char *part[3])
{
    const dt_rope_spec *spec = &op->attr.rope.spec;
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = -1}};
    const char *turned = x, *rest[2] = {NULL, NULL};
    if (2 * pairs < d) {
        dt_onnx_make(o, "Split", (const char *[]){x, DT_ONNX_INTS(o, 2 * pairs, d - 2 * pairs), NULL}, axis,
                     2, rest);
        turned = rest[0];
    }
    part[2] = rest[1];
    if (!spec->interleaved) {
        dt_onnx_make(o, "Split", (const char *[]){turned, DT_ONNX_INTS(o, pairs, pairs), NULL}, axis, 2,
                     part);
        return;
    }
    turned = DT_ONNX_RESHAPE(o, turned, 0, 0, spec->heads * pairs, 2);
    dt_onnx_make(o, "Split", (const char *[]){turned, DT_ONNX_INTS(o, 1, 1), NULL}, axis, 2, part);
    for (int i = 0; i < 2; i++)
        part[i] = DT_ONNX_RESHAPE(o, part[i], 0, 0, spec->heads, pairs);
}

static const char *put_together(dt_onnx *o, const dt_op *op, int64_t pairs, const char *const part[3])
{
    const dt_rope_spec *spec = &op->attr.rope.spec;
    const char *y;
    if (spec->interleaved) {
        const char *even = DT_ONNX_RESHAPE(o, part[0], 0, 0, spec->heads * pairs, 1);
        const char *odd = DT_ONNX_RESHAPE(o, part[1], 0, 0, spec->heads * pairs, 1);
        y = DT_ONNX_RESHAPE(o, dt_onnx_concat(o, even, odd, -1), 0, 0, spec->heads, 2 * pairs);
    } else
        y = dt_onnx_concat(o, part[0], part[1], -1);
    return part[2] ? dt_onnx_concat(o, y, part[2], -1) : y;
}

void dt_onnx_lower_rope(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const dt_tensor *x = op->input[0], *inv_freq = op->input[2];
    int64_t width = x->dim[1].n, d = width / op->attr.rope.spec.heads;
    int64_t pairs = dt_rope_pairs(&op->attr.rope.spec, inv_freq->dim[0].n);
    const char *part[3], *turned[3];
    if (inv_freq->kind != DT_TENSOR_CONSTANT || op->attr.rope.inverse) {
        dt_lower_fail(l, "rotation by frequencies that are not constant has no counterpart in ONNX");
        return;
    }
    const char *c = wave(l, op, pairs, "Cos"), *s = wave(l, op, pairs, "Sin");
    take_apart(o, op, DT_ONNX_RESHAPE(o, dt_lower_value(l, x), 0, 0, op->attr.rope.spec.heads, d), pairs, d,
               part);
    turned[0] =
        DT_ONNX_NODE(o, "Sub", DT_ONNX_NODE(o, "Mul", part[0], c), DT_ONNX_NODE(o, "Mul", part[1], s));
    turned[1] =
        DT_ONNX_NODE(o, "Add", DT_ONNX_NODE(o, "Mul", part[1], c), DT_ONNX_NODE(o, "Mul", part[0], s));
    turned[2] = part[2];
    dt_lower_set(l, op->output[0], DT_ONNX_RESHAPE(o, put_together(o, op, pairs, turned), 0, 0, width));
}
