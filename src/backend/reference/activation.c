/*
 * activation.c (reference) - the activation functions, their slopes, and the gated unit act(gate) * up.
 *
 * One row of a switch each, in f64; drivetrain/graph.h has the formulas.
 */
#include "backend/reference/kernels.h"

#include <math.h>

static const double sqrt_half = 0.70710678118654752440;
static const double sqrt_2_over_pi = 0.79788456080286535588;
static const double gelu_cubic = 0.044715;
static const double quick_gelu_slope = 1.702;

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double gelu_tanh_inner(double x)
{
    return tanh(sqrt_2_over_pi * (x + gelu_cubic * x * x * x));
}

double dt_reference_activation(dt_activation kind, double x)
{
    switch (kind) {
    case DT_ACT_GELU:
        return x * 0.5 *
               erfc(-x * sqrt_half); /* 1 + erf(z) = erfc(-z), which keeps its digits far below zero */
    case DT_ACT_GELU_TANH:
        return x * 0.5 * (1.0 + gelu_tanh_inner(x));
    case DT_ACT_QUICK_GELU:
        return x * sigmoid(quick_gelu_slope * x);
    case DT_ACT_RELU:
        return x > 0 || isnan(x) ? x : 0.0;
    case DT_ACT_SQUARED_RELU:
        return x > 0 || isnan(x) ? x * x : 0.0;
    case DT_ACT_SILU:
        return x * sigmoid(x);
    case DT_ACT_TANH:
        return tanh(x);
    case DT_ACT_SIGMOID:
        return sigmoid(x);
    case DT_ACT_IDENTITY:
    case DT_ACT_COUNT:
        break;
    }
    return x;
}

/* d/dx x * sigmoid(c * x) */
static double swish_slope(double x, double c)
{
    double s = sigmoid(c * x);
    return s + c * x * s * (1.0 - s);
}

double dt_reference_activation_slope(dt_activation kind, double x)
{
    switch (kind) {
    case DT_ACT_GELU: /* the normal distribution plus x times its density */
        return 0.5 * erfc(-x * sqrt_half) + x * exp(-0.5 * x * x) * sqrt_2_over_pi * 0.5;
    case DT_ACT_GELU_TANH: {
        double t = gelu_tanh_inner(x);
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * sqrt_2_over_pi * (1.0 + 3.0 * gelu_cubic * x * x);
    }
    case DT_ACT_QUICK_GELU:
        return swish_slope(x, quick_gelu_slope);
    case DT_ACT_RELU:
        return x > 0 ? 1.0 : 0.0;
    case DT_ACT_SQUARED_RELU:
        return x > 0 ? 2.0 * x : 0.0;
    case DT_ACT_SILU:
        return swish_slope(x, 1.0);
    case DT_ACT_TANH:
        return 1.0 - tanh(x) * tanh(x);
    case DT_ACT_SIGMOID:
        return sigmoid(x) * (1.0 - sigmoid(x));
    case DT_ACT_IDENTITY:
    case DT_ACT_COUNT:
        break;
    }
    return 1.0;
}

void dt_reference_activate(const dt_kernel_call *call, int thread, int threads)
{
    const float *x = call->input[0].data;
    float *y = call->output[0].data;
    int64_t begin, end;
    dt_share(dt_reference_count(&call->output[0]), 16, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        y[i] = (float)dt_reference_activation(call->op->attr.activation.kind, x[i]);
}

void dt_reference_activate_grad(const dt_kernel_call *call, int thread, int threads)
{
    const float *x = call->input[0].data, *dy = call->input[1].data;
    float *dx = call->output[0].data;
    int64_t begin, end;
    dt_share(dt_reference_count(&call->output[0]), 16, thread, threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        dx[i] = (float)((double)dy[i] * dt_reference_activation_slope(call->op->attr.activation.kind, x[i]));
}

/* One element of a gated unit, with its bounds applied; a slope is 0 beyond one. */
typedef struct gated {
    double gate, up, gate_slope, up_slope;
} gated;

static gated bound(const dt_kernel_call *call, double gate, double up)
{
    double limit = call->op->attr.activation.limit;
    gated x = {gate, up, 1, 1};
    if (limit > 0 && gate > limit)
        x.gate = limit, x.gate_slope = 0;
    if (limit > 0 && fabs(up) > limit)
        x.up = up < 0 ? -limit : limit, x.up_slope = 0;
    x.up += call->op->attr.activation.offset;
    return x;
}

/* Rows of x are [gate | up]: all dimensions but the last count rows. */
void dt_reference_glu(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *y = &call->output[0];
    int64_t half = y->dim[y->rank - 1], begin, end;
    dt_share(dt_reference_count(y) / half, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *gate = (const float *)x->data + t * 2 * half;
        for (int64_t i = 0; i < half; i++) {
            gated g = bound(call, gate[i], gate[half + i]);
            ((float *)y->data)[t * half + i] =
                (float)(dt_reference_activation(call->op->attr.activation.kind, g.gate) * g.up);
        }
    }
}

void dt_reference_glu_grad(const dt_kernel_call *call, int thread, int threads)
{
    const dt_data *x = &call->input[0], *grad = &call->input[1], *dx = &call->output[0];
    dt_activation kind = call->op->attr.activation.kind;
    int64_t half = grad->dim[grad->rank - 1], begin, end;
    dt_share(dt_reference_count(grad) / half, 1, thread, threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *gate = (const float *)x->data + t * 2 * half, *dy = (const float *)grad->data + t * half;
        float *dgate = (float *)dx->data + t * 2 * half;
        for (int64_t i = 0; i < half; i++) {
            gated g = bound(call, gate[i], gate[half + i]);
            dgate[i] =
                (float)((double)dy[i] * g.up * g.gate_slope * dt_reference_activation_slope(kind, g.gate));
            dgate[half + i] = (float)((double)dy[i] * g.up_slope * dt_reference_activation(kind, g.gate));
        }
    }
}
