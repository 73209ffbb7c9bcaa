/*
 * vmath.h - exp, tanh, erf and the activations on sixteen lanes, each within 2 ulp of the true value (gelu: of its
 * larger term), with derivatives. Polynomials were fitted by weighted least squares in 40 digits (Lawson's
 * iteration towards the smallest greatest error); fit errors are below 5e-9, so f32 rounding decides.
 */
#ifndef DT_CPU_VMATH_H
#define DT_CPU_VMATH_H

#include "backend/cpu/vec.h"

#include <drivetrain/graph.h>

static INLINE vf v_polynomial(vf x, const float *c, int degree)
{
    vf sum = v_set(c[degree]);
    UNROLL for (int i = degree - 1; i >= 0; i--) sum = v_fma(sum, x, v_set(c[i]));
    return sum;
}

/* e^x: x = n ln 2 + r with |r| <= ln 2 / 2, e^r = 1 + r + r^2 q(r). NaN stays NaN; below -104 the result is 0. */
static INLINE vf v_exp(vf x)
{
    static const float q[] = {0.5f,           0.166666672f,   0.0416662693f,
                              0.00833326392f, 0.00139461772f, 0.000199185015f};
    x = v_min(v_set(89.0f), v_max(v_set(-104.0f), x)); /* NaN passes: it is the second operand */
    vf n = v_round(v_mul(x, v_set(0x1.715476p0f)));
    vf r = v_fma(n, v_set(-0x1.62e400p-1f),
                 x); /* ln 2 in two parts, the first of few digits: n times it is exact */
    r = v_fma(n, v_set(-0x1.7f7d1cp-20f), r);
    vf y = v_fma(v_mul(r, r), v_polynomial(r, q, 5), r);
    return v_scale2(v_add(y, v_set(1.0f)), n);
}

static INLINE vf v_tanh(vf x)
{
    static const float q[] = {-0.333332837f, 0.133314908f, -0.0537434965f, 0.0206505861f, -0.0057170447f};
    vf z = v_mul(x, x), size = v_abs(x);
    vf small = v_fma(v_mul(x, z), v_polynomial(z, q, 4), x);
    vf e = v_exp(v_add(size, size));
    vf large = v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(e, v_set(1.0f))));
    return v_select(v_less(size, v_set(0.625f)), small, v_with_sign(large, x));
}

static INLINE vf v_erf(vf x)
{
    static const float near[] = {1.12837911f,    -0.37612626f,     0.112836003f,  -0.0268544443f,
                                 0.00518953521f, -0.000802084105f, 7.8891193e-05f};
    static const float far[] = {0.00017055092f,  -1.12949514f,    -0.633386672f,
                                -0.108236603f,   0.0250914861f,   -0.00416052295f,
                                0.000432302128f, -2.09094742e-05f}; /* log erfc */
    vf z = v_mul(x, x), size = v_min(v_set(4.0f), v_abs(x));        /* erf(4) is 1 in f32 */
    vf small = v_mul(x, v_polynomial(z, near, 6));
    vf large = v_sub(v_set(1.0f), v_exp(v_polynomial(size, far, 7)));
    return v_select(v_less(size, v_set(1.0f)), small, v_with_sign(large, x));
}

static INLINE vf v_sigmoid(vf x)
{
    return v_div(v_set(1.0f), v_add(v_set(1.0f), v_exp(v_sub(v_set(0.0f), x))));
}

/* sqrt(2/pi) (x + 0.044715 x^3) */
static INLINE vf v_gelu_inner(vf x)
{
    vf cube = v_mul(v_mul(x, x), x);
    return v_mul(v_set(0.797884561f), v_fma(v_set(0.044715f), cube, x));
}

static INLINE vf v_activate(dt_activation kind, vf x)
{
    vf zero = v_set(0.0f), one = v_set(1.0f), half = v_mul(x, v_set(0.5f));
    switch (kind) {
    case DT_ACT_GELU:
        return v_fma(half, v_erf(v_mul(x, v_set(0.707106781f))), half);
    case DT_ACT_GELU_TANH:
        return v_fma(half, v_tanh(v_gelu_inner(x)), half);
    case DT_ACT_QUICK_GELU:
        return v_mul(x, v_sigmoid(v_mul(x, v_set(1.702f))));
    case DT_ACT_RELU:
        return v_max(zero, x);
    case DT_ACT_SQUARED_RELU:
        return v_mul(v_max(zero, x), v_max(zero, x));
    case DT_ACT_SILU:
        return v_mul(x, v_sigmoid(x));
    case DT_ACT_TANH:
        return v_tanh(x);
    case DT_ACT_SIGMOID:
        return v_sigmoid(x);
    default:
        (void)one;
        return x;
    }
}

/* s = sigmoid(k x): the slope of x s is s + k x s (1 - s). */
static INLINE vf v_swish_slope(vf x, float k)
{
    vf s = v_sigmoid(v_mul(x, v_set(k)));
    return v_fma(v_mul(v_mul(x, v_set(k)), s), v_sub(v_set(1.0f), s), s);
}

static INLINE vf v_gelu_slope(vf x)
{
    vf cdf = v_fma(v_set(0.5f), v_erf(v_mul(x, v_set(0.707106781f))), v_set(0.5f));
    vf density = v_mul(v_set(0.398942280f), v_exp(v_mul(v_set(-0.5f), v_mul(x, x))));
    return v_fma(x, density, cdf);
}

static INLINE vf v_gelu_tanh_slope(vf x)
{
    vf t = v_tanh(v_gelu_inner(x)), half = v_set(0.5f);
    vf inner = v_mul(v_set(0.797884561f), v_fma(v_set(0.134145f), v_mul(x, x), v_set(1.0f)));
    vf bend = v_mul(v_mul(v_mul(half, x), v_sub(v_set(1.0f), v_mul(t, t))), inner);
    return v_add(v_fma(half, t, half), bend);
}

/* d activate / dx */
static INLINE vf v_activate_slope(dt_activation kind, vf x)
{
    vf zero = v_set(0.0f), one = v_set(1.0f), y;
    switch (kind) {
    case DT_ACT_GELU:
        return v_gelu_slope(x);
    case DT_ACT_GELU_TANH:
        return v_gelu_tanh_slope(x);
    case DT_ACT_QUICK_GELU:
        return v_swish_slope(x, 1.702f);
    case DT_ACT_RELU:
        return v_select(v_less(zero, x), one, zero);
    case DT_ACT_SQUARED_RELU:
        return v_mul(v_set(2.0f), v_max(zero, x));
    case DT_ACT_SILU:
        return v_swish_slope(x, 1.0f);
    case DT_ACT_TANH:
        y = v_tanh(x);
        return v_sub(one, v_mul(y, y));
    case DT_ACT_SIGMOID:
        y = v_sigmoid(x);
        return v_mul(y, v_sub(one, y));
    default:
        return one;
    }
}

#endif
