/*
 * rows.h - what works element by element or row by row: add, multiply, scale, activate, glu, rope, the cutting of
 * columns, rows by index, and the gradients of these.
 *
 * Numbers   f32 throughout, one rounding an operation (multiply-adds are fused where the machine can).
 * Work      threads share elements in runs of 16 lanes, or rows; what is summed over rows (column_sum,
 *           embedding_grad, put_rows) has an owner for each output, who adds ascending rows.
 */
#ifndef DT_CPU_ROWS_H
#define DT_CPU_ROWS_H

#include "backend/cpu/forms.h"
#include "backend/cpu/vmath.h"
#include "backend/rope_table.h"

#include <math.h>

static int64_t elements_of(const dt_data *data)
{
    int64_t n = 1;
    for (int i = 0; i < data->rank; i++)
        n *= data->dim[i];
    return n;
}

static INLINE float *row_of(const dt_data *data, int64_t row)
{
    return (float *)data->data + row * data->dim[1];
}

/* ---- elements ---- */

typedef enum element_op {
    ELEMENT_ADD,
    ELEMENT_MULTIPLY,
    ELEMENT_SCALE,
    ELEMENT_ACTIVATE,
    ELEMENT_SLOPE
} element_op;

typedef struct element_call {
    const float *a, *b;
    float factor;
    dt_activation kind;
} element_call;

static INLINE vf element_lanes(const element_call *c, const element_op op, int64_t i, int64_t n)
{
    vf a = v_load_n(c->a + i, n);
    switch (op) {
    case ELEMENT_ADD:
        return v_add(a, v_load_n(c->b + i, n));
    case ELEMENT_MULTIPLY:
        return v_mul(a, v_load_n(c->b + i, n));
    case ELEMENT_SCALE:
        return v_mul(a, v_set(c->factor));
    case ELEMENT_ACTIVATE:
        return v_activate(c->kind, a);
    default:
        return v_mul(v_load_n(c->b + i, n), v_activate_slope(c->kind, a));
    }
}

static INLINE void elements(const dt_kernel_call *call, const element_call *c, const element_op op,
                            int thread, int threads)
{
    float *y = call->output[0].data;
    int64_t begin, end;
    dt_share(elements_of(&call->output[0]), 16, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i += 16) {
        int64_t n = end - i < 16 ? end - i : 16;
        v_store_n(y + i, element_lanes(c, op, i, n), n);
    }
}

static element_call element_call_of(const dt_kernel_call *call)
{
    return (element_call){.a = call->input[0].data, .b = call->input[1].data};
}

static void add(const dt_kernel_call *call, int thread, int threads)
{
    element_call c = element_call_of(call);
    elements(call, &c, ELEMENT_ADD, thread, threads);
}

static void multiply_elements(const dt_kernel_call *call, int thread, int threads)
{
    element_call c = element_call_of(call);
    elements(call, &c, ELEMENT_MULTIPLY, thread, threads);
}

static void scale(const dt_kernel_call *call, int thread, int threads)
{
    element_call c = element_call_of(call);
    c.factor = (float)call->op->attr.scale.factor;
    elements(call, &c, ELEMENT_SCALE, thread, threads);
}

static void scale_by(const dt_kernel_call *call, int thread, int threads)
{
    element_call c = element_call_of(call);
    c.factor = *c.b;
    elements(call, &c, ELEMENT_SCALE, thread, threads);
}

/* y = x * e^s + b */
static void scale_exp(const dt_kernel_call *call, int thread, int threads)
{
    const float *x = call->input[0].data, *s = call->input[1].data, *b = call->input[2].data;
    float *y = call->output[0].data, factor = (float)exp((double)*s);
    int64_t begin, end;
    dt_share(elements_of(&call->output[0]), 16, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i += 16) {
        int64_t n = end - i < 16 ? end - i : 16;
        v_store_n(y + i, v_add(v_mul(v_load_n(x + i, n), v_set(factor)), v_set(b ? *b : 0)), n);
    }
}

static void activate(const dt_kernel_call *call, int thread, int threads)
{
    element_call c = element_call_of(call);
    c.kind = call->op->attr.activation.kind;
    elements(call, &c, ELEMENT_ACTIVATE, thread, threads);
}

static void activate_grad(const dt_kernel_call *call, int thread, int threads)
{
    element_call c = element_call_of(call);
    c.kind = call->op->attr.activation.kind;
    elements(call, &c, ELEMENT_SLOPE, thread, threads);
}

/* ---- glu: x [.., 2F] = [gate | up], every dimension but the last counting rows ---- */

/* gate and up of 16 elements, bounded and offset (none of which changes a value that has no bound). */
typedef struct gated {
    vf gate, up;
} gated;

static INLINE gated gated_lanes(const dt_kernel_call *call, const float *gate, const float *up, int64_t n)
{
    float limit = (float)call->op->attr.activation.limit, offset = (float)call->op->attr.activation.offset;
    gated x = {v_load_n(gate, n), v_load_n(up, n)};
    if (limit > 0) { /* a NaN is the second operand, which is what is kept then */
        x.gate = v_min(v_set(limit), x.gate);
        x.up = v_max(v_set(-limit), v_min(v_set(limit), x.up));
    }
    if (offset != 0)
        x.up = v_add(x.up, v_set(offset));
    return x;
}

static void glu(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *y = &call->output[0];
    int64_t F = y->dim[y->rank - 1], begin, end;
    dt_share(elements_of(y) / F, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *gate = (const float *)call->input[0].data + t * 2 * F;
        for (int64_t i = 0; i < F; i += 16) {
            int64_t n = F - i < 16 ? F - i : 16;
            gated g = gated_lanes(call, gate + i, gate + F + i, n);
            v_store_n((float *)y->data + t * F + i,
                      v_mul(v_activate(call->op->attr.activation.kind, g.gate), g.up), n);
        }
    }
}

/* d where |x| is below the limit, or x below it where only the upper side is bounded; else 0. */
static INLINE vf unless_bounded(float limit, bool both_sides, vf x, vf d)
{
    if (limit <= 0)
        return d;
    d = v_select(v_less(v_set(limit), x), v_set(0.0f), d);
    return both_sides ? v_select(v_less(x, v_set(-limit)), v_set(0.0f), d) : d;
}

static void glu_grad(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[1];
    dt_activation kind = call->op->attr.activation.kind;
    float limit = (float)call->op->attr.activation.limit;
    int64_t F = dy->dim[dy->rank - 1], begin, end;
    dt_share(elements_of(dy) / F, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *gate = (const float *)call->input[0].data + t * 2 * F;
        float *dx = (float *)call->output[0].data + t * 2 * F;
        for (int64_t i = 0; i < F; i += 16) {
            int64_t n = F - i < 16 ? F - i : 16;
            gated g = gated_lanes(call, gate + i, gate + F + i, n);
            vf d = v_load_n((const float *)dy->data + t * F + i, n);
            vf dgate = v_mul(v_mul(d, g.up), v_activate_slope(kind, g.gate));
            vf dup = v_mul(d, v_activate(kind, g.gate));
            v_store_n(dx + i, unless_bounded(limit, false, v_load_n(gate + i, n), dgate), n);
            v_store_n(dx + F + i, unless_bounded(limit, true, v_load_n(gate + F + i, n), dup), n);
        }
    }
}

/* ---- rope: angles are f32 products of f32 factors; a row's cosines and sines serve all heads ---- */

/* `made` has room for frequencies. */
static void rope_angles(const dt_kernel_call *call, int64_t t, int64_t pairs, float *cosines, float *sines,
                        float *made)
{
    const dt_rope_spec *spec = &call->op->attr.rope.spec;
    int64_t length = call->op->input[3] != NULL ? ((const int32_t *)call->input[3].data)[t] : 0;
    const float *inv_freq = dt_rope_table(spec, call->input[2].data, pairs, length, made);
    float position = (float)((const int32_t *)call->input[1].data)[t];
    float magnitude = (float)spec->magnitude;
    for (int64_t p = 0; p < pairs; p++) {
        float sine, cosine;
        sincosf(position * inv_freq[p], &sine, &cosine);
        cosines[p] = cosine * magnitude;
        sines[p] = (call->op->attr.rope.inverse ? -sine : sine) * magnitude;
    }
}

static void turn_halves(const float *x, float *y, int64_t pairs, const float *cosines, const float *sines)
{
    for (int64_t p = 0; p < pairs; p += 16) {
        int64_t n = pairs - p < 16 ? pairs - p : 16;
        vf a = v_load_n(x + p, n), b = v_load_n(x + pairs + p, n);
        vf c = v_load_n(cosines + p, n), s = v_load_n(sines + p, n);
        v_store_n(y + p, v_sub(v_mul(a, c), v_mul(b, s)), n);
        v_store_n(y + pairs + p, v_fma(b, c, v_mul(a, s)), n);
    }
}

static void turn_pairs(const float *x, float *y, int64_t pairs, const float *cosines, const float *sines)
{
    for (int64_t p = 0; p < pairs; p++) {
        float a = x[2 * p], b = x[2 * p + 1];
        y[2 * p] = a * cosines[p] - b * sines[p];
        y[2 * p + 1] = b * cosines[p] + a * sines[p];
    }
}

static void rope(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *y = &call->output[0];
    const dt_rope_spec *spec = &call->op->attr.rope.spec;
    int64_t pairs = dt_rope_pairs(spec, elements_of(&call->input[2])), heads = spec->heads,
            d = x->dim[1] / heads;
    float *cosines = (float *)call->scratch + thread * 3 * pairs, *sines = cosines + pairs;
    int64_t begin, end;
    dt_share(x->dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        rope_angles(call, t, pairs, cosines, sines, sines + pairs);
        for (int64_t h = 0; h < heads; h++) {
            const float *from = row_of(x, t) + h * d;
            float *to = row_of(y, t) + h * d;
            if (spec->interleaved)
                turn_pairs(from, to, pairs, cosines, sines);
            else
                turn_halves(from, to, pairs, cosines, sines);
            memmove(to + 2 * pairs, from + 2 * pairs, (size_t)(d - 2 * pairs) * sizeof *to);
        }
    }
}

static size_t rope_room(const dt_op *op, int threads)
{
    return (size_t)threads * 3 * (size_t)dt_tensor_elements(op->input[2], NULL) * sizeof(float);
}

/* ---- columns by groups ---- */

static void split_groups(const dt_kernel_call *call, int thread, int threads)
{
    int64_t groups = call->op->attr.split.groups, begin, end;
    dt_share(call->input[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *from = row_of(&call->input[0], t);
        for (int64_t g = 0; g < groups; g++)
            for (int i = 0; i < call->op->attr.split.parts; i++) {
                int64_t width = call->op->attr.split.width[i];
                if (call->output[i].data != NULL)
                    memcpy(row_of(&call->output[i], t) + g * width, from, (size_t)width * sizeof *from);
                from += width;
            }
    }
}

static void join_groups(const dt_kernel_call *call, int thread, int threads)
{
    int64_t groups = call->op->attr.split.groups, begin, end;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *to = row_of(&call->output[0], t);
        for (int64_t g = 0; g < groups; g++)
            for (int i = 0; i < call->op->attr.split.parts; i++) {
                int64_t width = call->op->attr.split.width[i];
                if (call->input[i].data != NULL)
                    memcpy(to, row_of(&call->input[i], t) + g * width, (size_t)width * sizeof *to);
                else
                    memset(to, 0, (size_t)width * sizeof *to);
                to += width;
            }
    }
}

/* ---- rows by index ---- */

/* A table row as f32, from whichever form the table has. */
static void table_row(const dt_data *table, int64_t row, float *out)
{
    int64_t cols = table->dim[1], elements = dt_dtype_block_elements(table->dtype);
    if (table->weight != NULL && !table->weight->form->is_rows) {
        dt_panels_row(table->dtype, table->data, table->dim[0], cols, row, out);
        return;
    }
    size_t row_bytes = (size_t)(cols / elements) * (size_t)dt_dtype_block_bytes(table->dtype);
    dt_convert(DT_F32, out, table->dtype, (const char *)table->data + (size_t)row * row_bytes, cols, NULL);
}

static void embedding(const dt_kernel_call *call, int thread, int threads)
{
    const int32_t *ids = call->input[1].data;
    int64_t begin, end;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        table_row(&call->input[0], call->op->attr.embedding.first + ids[t], row_of(&call->output[0], t));
}

/* Sines of f64 angles, as the makers' tables were made; they are few beside a layer's products. */
static void sinusoid(const dt_kernel_call *call, int thread, int threads)
{
    const float *frequency = call->input[1].data;
    int64_t pairs = elements_of(&call->input[1]) / 2, width = call->output[0].dim[1], begin, end;
    int64_t cosines = width - pairs < pairs ? width - pairs : pairs;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        double position = (double)(((const int32_t *)call->input[0].data)[t] + call->op->attr.sinusoid.first);
        float *row = row_of(&call->output[0], t);
        for (int64_t i = 0; i < pairs; i++) {
            double angle = position * ((double)frequency[i] + frequency[pairs + i]);
            angle = call->op->attr.sinusoid.single ? (float)angle : angle;
            row[i] = (float)sin(angle);
            if (i < cosines)
                row[pairs + i] = (float)cos(angle);
        }
        for (int64_t i = pairs + cosines; i < width; i++)
            row[i] = 0;
    }
}

static void take_rows(const dt_kernel_call *call, int thread, int threads)
{
    const int32_t *index = call->input[1].data;
    int64_t begin, end;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        memcpy(row_of(&call->output[0], r), row_of(&call->input[0], index[r]),
               (size_t)call->output[0].dim[1] * sizeof(float));
}

/* y[i] += x[i] */
static void add_row(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        int64_t count = n - i < 16 ? n - i : 16;
        v_store_n(y + i, v_add(v_load_n(y + i, count), v_load_n(x + i, count)), count);
    }
}

/* A row of either source: merging copies, so it costs its bytes. */
static void merge_rows(const dt_kernel_call *call, int thread, int threads)
{
    const int32_t *index = call->input[2].data;
    int64_t begin, end;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        memcpy(row_of(&call->output[0], t),
               index[t] >= 0 ? row_of(&call->input[0], index[t]) : row_of(&call->input[1], -1 - index[t]),
               (size_t)call->output[0].dim[1] * sizeof(float));
}

/* y = w · x for the first term of a row's sum, y += w · x for the others. */
static void blend_row(float *y, const float *x, float w, bool first, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        int64_t count = n - i < 16 ? n - i : 16;
        vf term = v_load_n(x + i, count);
        v_store_n(y + i, first ? v_mul(v_set(w), term) : v_fma(v_set(w), term, v_load_n(y + i, count)),
                  count);
    }
}

static void blend_rows(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *table = &call->input[0], *out = &call->output[0];
    const int32_t *index = call->input[1].data;
    int64_t terms = call->input[2].dim[1], begin, end;
    dt_share(out->dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        bool first = true;
        for (int64_t j = 0; j < terms; j++) {
            float w = row_of(&call->input[2], t)[j];
            if (w == 0)
                continue;
            blend_row(row_of(out, t), row_of(table, index[t * terms + j]), w, first, out->dim[1]);
            first = false;
        }
        if (first)
            memset(row_of(out, t), 0, (size_t)out->dim[1] * sizeof(float));
    }
}

/* A thread owns rows of the table's gradient, as in scatter. */
static void blend_grad(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0], *out = &call->output[0];
    const int32_t *index = call->input[1].data;
    const float *weight = call->input[2].data;
    int64_t terms = call->input[2].dim[1], begin, end;
    dt_share(out->dim[0], 1, thread, threads, &begin, &end);
    memset(row_of(out, begin), 0, (size_t)((end - begin) * out->dim[1]) * sizeof(float));
    for (int64_t at = 0; at < dy->dim[0] * terms; at++)
        if (index[at] >= begin && index[at] < end && weight[at] != 0)
            blend_row(row_of(out, index[at]), row_of(dy, at / terms), weight[at], false, out->dim[1]);
}

static void scale_columns(const dt_kernel_call *call, int thread, int threads)
{
    const float *w = call->input[1].data;
    int64_t cols = call->output[0].dim[1], begin, end;
    dt_share(call->output[0].dim[0], 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t i = 0; i < cols; i += 16) {
            int64_t n = cols - i < 16 ? cols - i : 16;
            v_store_n(row_of(&call->output[0], t) + i,
                      v_mul(v_load_n(row_of(&call->input[0], t) + i, n), v_load_n(w + i, n)), n);
        }
}

/*
 * out[first + index[t]] += dy[t], `other`: out[-1 - index[t]]; a thread owns rows of `out` and looks through all indices
 * for them. What the index `still` has is dropped.
 */
static void scatter(const dt_data *dy, const dt_data *index, int64_t first, int64_t still, bool other,
                    const dt_data *out, int thread, int threads)
{
    const int32_t *ids = index->data;
    int64_t begin, end;
    dt_share(out->dim[0], 1, thread, threads, &begin, &end);
    memset(row_of(out, begin), 0, (size_t)((end - begin) * out->dim[1]) * sizeof(float));
    for (int64_t t = 0; t < index->dim[0]; t++) {
        int64_t to = other ? -1 - (int64_t)ids[t] : first + ids[t];
        if (to >= begin && to < end && ids[t] != still)
            add_row(row_of(out, to), row_of(dy, t), out->dim[1]);
    }
}

static void embedding_grad(const dt_kernel_call *call, int thread, int threads)
{
    scatter(&call->input[1], &call->input[0], call->op->attr.embedding.first,
            call->op->attr.embedding.still - 1, false, &call->output[0], thread, threads);
}

static void put_rows(const dt_kernel_call *call, int thread, int threads)
{
    scatter(&call->input[0], &call->input[1], 0, INT64_MIN, call->op->attr.rows.other, &call->output[0],
            thread, threads);
}

static void column_sum(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *dy = &call->input[0];
    int64_t groups = call->op->attr.sum.groups > 1 ? call->op->attr.sum.groups : 1;
    int64_t cols = dy->dim[1] / groups, begin, end;
    dt_share(cols, 16, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i += 16) {
        int64_t n = end - i < 16 ? end - i : 16;
        vf sum = v_set(0.0f);
        for (int64_t t = 0; t < dy->dim[0] * groups; t++)
            sum = v_add(sum, v_load_n((const float *)dy->data + t * cols + i, n));
        v_store_n((float *)call->output[0].data + i, sum, n);
    }
}

#endif
