/*
 * graph_f64.c - each forward op in f64, written from the formulas of drivetrain/graph.h.
 */
#include "backend/graph_f64.h"

#include "backend/alibi.h"

#include <math.h>

graph_f64 graph_f64_make(const dt_graph *g, const int64_t *counts)
{
    graph_f64 f = {g, counts, calloc((size_t)g->tensor_count, sizeof(double *))};
    for (int i = 0; i < g->tensor_count; i++) {
        const dt_tensor *t = g->tensor[i];
        int64_t n = dt_tensor_elements(t, counts);
        f.value[i] = calloc((size_t)n + 1, sizeof(double));
        for (int64_t j = 0; t->constant && j < n; j++)
            f.value[i][j] = t->constant[j];
    }
    return f;
}

void graph_f64_free(graph_f64 *f)
{
    for (int i = 0; i < f->g->tensor_count; i++)
        free(f->value[i]);
    free(f->value);
}

/* ---- operands ---- */

typedef struct matrix {
    double *at;
    int64_t rows, cols;
} matrix;

static matrix view(const graph_f64 *f, const dt_tensor *t)
{
    if (!t)
        return (matrix){0};
    int64_t rows = dt_dim_count(t->dim[0], f->counts), n = dt_tensor_elements(t, f->counts);
    return (matrix){f->value[t->id], rows, rows ? n / rows : 0};
}

static matrix in(const graph_f64 *f, const dt_op *op, int i)
{
    return view(f, i < op->input_count ? op->input[i] : NULL);
}

/* ---- rows ---- */

static void embedding(matrix table, matrix ids, matrix y)
{
    for (int64_t t = 0; t < ids.rows; t++)
        memcpy(y.at + t * table.cols, table.at + (int64_t)ids.at[t] * table.cols,
               (size_t)table.cols * sizeof(double));
}

static void linear(matrix x, matrix w, matrix bias, matrix y)
{
    for (int64_t t = 0; t < x.rows; t++) {
        for (int64_t n = 0; n < w.rows; n++) {
            double sum = bias.at ? bias.at[n] : 0;
            for (int64_t k = 0; k < x.cols; k++)
                sum += x.at[t * x.cols + k] * w.at[n * x.cols + k];
            y.at[t * w.rows + n] = sum;
        }
    }
}

static void norm(const dt_op *op, matrix x, matrix w, matrix b, matrix y)
{
    bool rms = op->kind == DT_OP_rms_norm;
    for (int64_t t = 0; t < x.rows; t++) {
        const double *row = x.at + t * x.cols;
        double mean = 0, square = 0;
        for (int64_t i = 0; i < x.cols; i++)
            mean += rms ? 0 : row[i] / (double)x.cols;
        for (int64_t i = 0; i < x.cols; i++)
            square += (row[i] - mean) * (row[i] - mean) / (double)x.cols;
        for (int64_t i = 0; i < x.cols; i++)
            y.at[t * x.cols + i] = (row[i] - mean) / sqrt(square + op->attr.norm.eps) *
                                       (w.at[i] + (op->attr.norm.zero_centered ? 1 : 0)) +
                                   (b.at ? b.at[i] : 0);
    }
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double act(dt_activation kind, double x)
{
    switch (kind) {
    case DT_ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case DT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case DT_ACT_QUICK_GELU:
        return x * sigmoid(1.702 * x);
    case DT_ACT_RELU:
        return x > 0 ? x : 0;
    case DT_ACT_SQUARED_RELU:
        return x > 0 ? x * x : 0;
    case DT_ACT_SILU:
        return x * sigmoid(x);
    case DT_ACT_TANH:
        return tanh(x);
    case DT_ACT_SIGMOID:
        return sigmoid(x);
    default:
        return x;
    }
}

static void glu(const dt_op *op, matrix x, matrix y)
{
    double limit = op->attr.activation.limit > 0 ? op->attr.activation.limit : INFINITY;
    const dt_tensor *t = op->output[0];
    int64_t F = t->dim[t->rank - 1].n;
    for (int64_t i = 0; i < y.rows * y.cols; i++) {
        const double *gate = x.at + i / F * 2 * F + i % F, *up = gate + F;
        y.at[i] = act(op->attr.activation.kind, fmin(*gate, limit)) *
                  (fmax(-limit, fmin(*up, limit)) + op->attr.activation.offset);
    }
}

/* ---- mixture of experts ---- */

/* Repeatedly the greatest score not yet taken; equal ones by number. */
static void route(const dt_op *op, matrix logits, matrix bias, matrix experts, matrix weights)
{
    const dt_route_spec *s = &op->attr.route;
    bool logistic = s->score == DT_ROUTER_SIGMOID;
    for (int64_t t = 0; t < logits.rows; t++) {
        const double *x = logits.at + t * logits.cols;
        bool taken[64] = {false};
        double all = 0, chosen = 0;
        for (int64_t e = 0; e < logits.cols; e++)
            all += exp(x[e]);
        for (int64_t j = 0; j < s->topk; j++) {
            int64_t best = -1;
            double most = 0;
            for (int64_t e = 0; e < logits.cols; e++) {
                double score = (logistic ? sigmoid(x[e]) : x[e]) + (bias.at ? bias.at[e] : 0);
                if (!taken[e] && (best < 0 || score > most))
                    best = e, most = score;
            }
            taken[best] = true;
            experts.at[t * s->topk + j] = (double)best;
            weights.at[t * s->topk + j] = logistic ? sigmoid(x[best]) : exp(x[best]);
            chosen += weights.at[t * s->topk + j];
        }
        double whole = logistic ? (s->topk > 1 ? chosen : 1) : s->pre_softmax ? all : chosen;
        for (int64_t j = 0; j < s->topk; j++)
            weights.at[t * s->topk + j] *= (s->scaling != 0 ? s->scaling : 1) / whole;
    }
}

static void expert_linear(const dt_op *op, matrix x, matrix w, matrix experts, matrix bias, matrix y)
{
    int64_t k = experts.cols, N = w.rows / op->attr.experts.count, K = w.cols;
    for (int64_t s = 0; s < experts.rows * k; s++)
        for (int64_t n = 0; n < N; n++) {
            int64_t row = (int64_t)experts.at[s] * N + n;
            const double *from = x.at + (op->input[0]->rank == 3 ? s : s / k) * K;
            double sum = bias.at ? bias.at[row] : 0;
            for (int64_t i = 0; i < K; i++)
                sum += from[i] * w.at[row * K + i];
            y.at[s * N + n] = sum;
        }
}

static void sum_choices(matrix x, matrix weights, matrix y)
{
    int64_t k = weights.cols, H = y.cols;
    for (int64_t i = 0; i < y.rows * H; i++) {
        y.at[i] = 0;
        for (int64_t j = 0; j < k; j++)
            y.at[i] += x.at[(i / H * k + j) * H + i % H] * weights.at[i / H * k + j];
    }
}

static void split(const graph_f64 *f, const dt_op *op, matrix x)
{
    int64_t start = 0, stride = x.cols / op->attr.split.groups;
    for (int part = 0; part < op->attr.split.parts; part++) {
        int64_t width = op->attr.split.width[part];
        matrix y = view(f, op->output[part]);
        for (int64_t t = 0; t < x.rows; t++)
            for (int64_t i = 0; i < y.cols; i++)
                y.at[t * y.cols + i] = x.at[t * x.cols + i / width * stride + start + i % width];
        start += width;
    }
}

static void rope(const dt_op *op, matrix x, matrix positions, matrix freq, matrix y)
{
    int64_t heads = op->attr.rope.spec.heads, size = x.cols / heads;
    memcpy(y.at, x.at, (size_t)(x.rows * x.cols) * sizeof(double));
    for (int64_t t = 0; t < x.rows * heads; t++) {
        for (int64_t i = 0; i < freq.rows; i++) {
            int64_t a = op->attr.rope.spec.interleaved ? 2 * i : i;
            int64_t b = op->attr.rope.spec.interleaved ? 2 * i + 1 : i + freq.rows;
            double angle = (double)((float)positions.at[t / heads] * (float)freq.at[i]);
            double c = cos(angle) * op->attr.rope.spec.magnitude,
                   s = sin(angle) * op->attr.rope.spec.magnitude;
            double u = x.at[t * size + a], v = x.at[t * size + b];
            y.at[t * size + a] = u * c - v * s;
            y.at[t * size + b] = v * c + u * s;
        }
    }
}

/* ---- attention ---- */

/* T5's buckets, in f64: near a power the makers' f32 may decide otherwise, so tests stay below half the table. */
static int64_t bucket(int64_t relative, int64_t buckets, int64_t most, bool both_ways)
{
    int64_t base = 0;
    if (both_ways) {
        buckets /= 2;
        base = relative > 0 ? buckets : 0;
    }
    int64_t distance = both_ways ? llabs(relative) : relative < 0 ? -relative : 0, exact = buckets / 2;
    if (distance < exact)
        return base + distance;
    double steps = log((double)distance / (double)exact) / log((double)most / (double)exact);
    int64_t far = exact + (int64_t)(steps * (double)(buckets - exact));
    return base + (far < buckets ? far : buckets - 1);
}

static bool visible(const dt_attention_spec *s, int64_t query, int64_t key)
{
    return (!s->causal || key <= query) && (s->window_left < 0 || key >= query - s->window_left) &&
           (s->window_right < 0 || key <= query + s->window_right);
}

/* The score of a query and a key, -inf where the key is not visible. */
static double score_of(const graph_f64 *f, const dt_op *op, int64_t row, int64_t query, int64_t first,
                       int64_t key, int64_t head)
{
    const dt_attention_spec *s = &op->attr.attention.spec;
    matrix q = in(f, op, DT_ATTENTION_Q), k = in(f, op, DT_ATTENTION_K);
    matrix table = in(f, op, DT_ATTENTION_BIAS_TABLE);
    int64_t group = head / (s->heads / s->groups), size = s->head_dim;
    double score = 0;
    if (!visible(s, query, key))
        return -INFINITY;
    for (int64_t i = 0; i < size; i++)
        score += q.at[row * q.cols + head * size + i] * k.at[(first + key) * k.cols + group * size + i];
    score *= s->scale;
    if (s->soft_cap > 0)
        score = s->soft_cap * tanh(score / s->soft_cap);
    if (s->alibi) /* Falcon's roundings and all: they are part of what it computes */
        score += (double)dt_alibi_bias(dt_alibi_slope(head, s->heads), key, size);
    if (table.at)
        score += table.at[bucket(key - query, table.rows, s->bias_max_distance, s->bias_bidirectional) *
                              table.cols +
                          head];
    return score;
}

/* One query of one head over the keys [first, first + keys). */
static void attend(const graph_f64 *f, const dt_op *op, int64_t row, int64_t query, int64_t first,
                   int64_t keys, int64_t head)
{
    const dt_attention_spec *s = &op->attr.attention.spec;
    matrix v = in(f, op, DT_ATTENTION_V), sink = in(f, op, DT_ATTENTION_SINK), y = view(f, op->output[0]);
    int64_t group = head / (s->heads / s->groups), size = s->head_dim;
    double *out = y.at + row * y.cols + head * size, most = sink.at ? sink.at[head] : -INFINITY;
    for (int64_t j = 0; j < keys; j++)
        most = fmax(most, score_of(f, op, row, query, first, j, head));
    double total = sink.at ? exp(sink.at[head] - most) : 0;
    memset(out, 0, (size_t)size * sizeof *out);
    for (int64_t j = 0; j < keys && most > -INFINITY; j++) {
        double weight = exp(score_of(f, op, row, query, first, j, head) - most);
        total += weight;
        for (int64_t i = 0; i < size; i++)
            out[i] += weight * v.at[(first + j) * v.cols + group * size + i];
    }
    for (int64_t i = 0; i < size && total > 0; i++)
        out[i] /= total;
}

static void attention(const graph_f64 *f, const dt_op *op)
{
    matrix rows = in(f, op, DT_ATTENTION_CU_ROWS), keys = in(f, op, DT_ATTENTION_CU_KEYS);
    for (int64_t b = 0; b + 1 < rows.rows; b++)
        for (int64_t row = (int64_t)rows.at[b]; row < (int64_t)rows.at[b + 1]; row++)
            for (int64_t head = 0; head < op->attr.attention.spec.heads; head++)
                attend(f, op, row, row - (int64_t)rows.at[b], (int64_t)keys.at[b],
                       (int64_t)(keys.at[b + 1] - keys.at[b]), head);
}

/* ---- losses ---- */

static void cross_entropy(int64_t vocab, matrix logits, matrix labels, matrix y)
{
    vocab = vocab ? vocab : logits.cols;
    for (int64_t t = 0; t < labels.rows; t++) {
        const double *row = logits.at + t * logits.cols;
        double sum = 0;
        for (int64_t i = 0; i < vocab; i++)
            sum += exp(row[i]);
        y.at[t] = labels.at[t] < 0 ? 0 : log(sum) - row[(int64_t)labels.at[t]];
    }
}

static double dot(matrix a, matrix b)
{
    double sum = 0;
    for (int64_t i = 0; i < a.rows * a.cols; i++)
        sum += a.at[i] * (b.at ? b.at[i] : 1);
    return sum;
}

static void join(const graph_f64 *f, const dt_op *op, matrix y)
{
    int64_t groups = op->attr.split.groups, at = 0, sum = y.cols / groups;
    for (int p = 0; p < op->input_count; p++) {
        matrix part = in(f, op, p);
        int64_t width = op->attr.split.width[p];
        for (int64_t t = 0; t < y.rows; t++)
            for (int64_t i = 0; i < groups * width; i++)
                y.at[t * y.cols + i / width * sum + at + i % width] = part.at[t * part.cols + i];
        at += width;
    }
}

/* ---- the walk ---- */

static void run_op(const graph_f64 *f, const dt_op *op)
{
    matrix x = in(f, op, 0), w = in(f, op, 1), b = in(f, op, 2), y = view(f, op->output[0]);
    int64_t n = y.rows * y.cols;
    switch (op->kind) {
    case DT_OP_embedding:
    case DT_OP_take_rows:
        return embedding(x, w, y);
    case DT_OP_merge_rows:
        for (int64_t t = 0; t < y.rows; t++)
            for (int64_t i = 0; i < y.cols; i++)
                y.at[t * y.cols + i] = b.at[t] >= 0 ? x.at[(int64_t)b.at[t] * y.cols + i]
                                                    : w.at[(-1 - (int64_t)b.at[t]) * y.cols + i];
        return;
    case DT_OP_blend_rows:
        for (int64_t t = 0; t < y.rows; t++)
            for (int64_t i = 0; i < y.cols; i++) {
                y.at[t * y.cols + i] = 0;
                for (int64_t j = 0; j < b.cols; j++)
                    y.at[t * y.cols + i] +=
                        b.at[t * b.cols + j] * x.at[(int64_t)w.at[t * b.cols + j] * y.cols + i];
            }
        return;
    case DT_OP_scale_columns:
        for (int64_t i = 0; i < n; i++)
            y.at[i] = x.at[i] * w.at[i % y.cols];
        return;
    case DT_OP_linear:
        return linear(x, w, b, y);
    case DT_OP_rms_norm:
    case DT_OP_layer_norm:
        return norm(op, x, w, b, y);
    case DT_OP_add:
        for (int64_t i = 0; i < n; i++)
            y.at[i] = x.at[i] + w.at[i];
        return;
    case DT_OP_multiply:
        for (int64_t i = 0; i < n; i++)
            y.at[i] = x.at[i] * w.at[i];
        return;
    case DT_OP_scale:
        for (int64_t i = 0; i < n; i++)
            y.at[i] = x.at[i] * op->attr.scale.factor;
        return;
    case DT_OP_activate:
        for (int64_t i = 0; i < n; i++)
            y.at[i] = act(op->attr.activation.kind, x.at[i]);
        return;
    case DT_OP_glu:
        return glu(op, x, y);
    case DT_OP_route:
        return route(op, x, w, y, view(f, op->output[1]));
    case DT_OP_expert_linear:
        return expert_linear(op, x, w, b, in(f, op, 3), y);
    case DT_OP_sum_choices:
        return sum_choices(x, w, y);
    case DT_OP_split_groups:
        return split(f, op, x);
    case DT_OP_join_groups:
        return join(f, op, y);
    case DT_OP_rope:
        return rope(op, x, w, b, y);
    case DT_OP_attention:
        return attention(f, op);
    case DT_OP_cross_entropy:
        return cross_entropy(op->attr.cross_entropy.vocab, x, w, y);
    case DT_OP_weighted_mean:
        y.at[0] = dot(x, w) / dot(w, (matrix){0});
        return;
    case DT_OP_dot:
        y.at[0] = dot(x, w) * op->attr.scale.factor;
        return;
    default:
        fail_msg("the f64 program does not know %s", dt_op_info_of(op->kind)->name);
    }
}

void graph_f64_run(const graph_f64 *f)
{
    for (int i = 0; i < f->g->op_count; i++)
        if (f->g->op[i]->phase == DT_PHASE_FORWARD)
            run_op(f, f->g->op[i]);
}
