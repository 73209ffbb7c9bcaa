/*
 * kernels.h - what the files of this folder share: a kernel for each row of ops.def, and ways to read operands.
 *
 * Every kernel widens to f64, computes there in ascending order, and rounds once to f32 on storing. Work is shared
 * out by whole outputs (rows, columns or groups), so the number of threads changes no bit.
 */
#ifndef DT_BACKEND_REFERENCE_KERNELS_H
#define DT_BACKEND_REFERENCE_KERNELS_H

#include "backend/backend.h"

#define OP(name, ...) void dt_reference_##name(const dt_kernel_call *call, int thread, int threads);
#include "graph/ops.def"
#undef OP

/* Scratch that some kernels ask for, in bytes for the whole team. */
size_t dt_reference_linear_scratch(const dt_op *op, int threads);
size_t dt_reference_linear_dx_scratch(const dt_op *op, int threads);
size_t dt_reference_columns_scratch(const dt_op *op, int threads);
size_t dt_reference_fused_linear_scratch(const dt_op *op, int threads);
size_t dt_reference_expert_scratch(const dt_op *op, int threads);
size_t dt_reference_rope_scratch(const dt_op *op, int threads);
size_t dt_reference_attention_scratch(const dt_op *op, int threads);
size_t dt_reference_attention_grad_scratch(const dt_op *op, int threads);

/* ---- operands (operands.c) ---- */

int64_t dt_reference_rows(const dt_data *data);             /* dim 0 */
int64_t dt_reference_cols(const dt_data *data);             /* the product of the others */
int64_t dt_reference_count(const dt_data *data);            /* of elements */
int64_t dt_reference_norm_cols(const dt_kernel_call *call); /* columns of one norm: a row may hold several */

/* Elements [first, first + n) of dense data of any float type, exactly. q8_0: multiples of its block. */
void dt_reference_widen(const dt_data *data, int64_t first, int64_t n, double *out);
/* The same for the activation side of a product with `weight`: where that is bf16, values are first rounded to
 * bf16, as hardware that multiplies bf16 by bf16 sees them. Other types leave the activations as they are. */
void dt_reference_widen_for(const dt_data *weight, const dt_data *x, int64_t first, int64_t n, double *out);

/* Dimension `d` when every axis is at its capacity: what scratch is sized for. */
static inline int64_t dt_reference_capacity(const dt_tensor *t, int d)
{
    return dt_dim_count(t->dim[d], NULL);
}

static inline float *dt_f32_row(const dt_data *data, int64_t row)
{
    return (float *)data->data + row * dt_reference_cols(data);
}

/* ---- products (linear.c) ---- */

enum { DT_REFERENCE_TILE = 8 };

/* A tile holds up to 8 rows of a matrix [N, K] side by side: tile[k][j]. Missing rows are zeros.
 * `tile` has room for one row more, which is used on the way. */
void dt_reference_load_tile(const dt_data *w, int64_t row, int64_t count, double *tile);
/* sum[j] = sum over ascending k of x[k] * tile[k][j]: eight chains next to each other. */
void dt_reference_multiply_tile(const double *x, const double *tile, int64_t k, double *sum);

/* ---- rows of norms, and activations ---- */

/* w, b in f32; b may be NULL; x == y allowed. */
void dt_reference_rms_norm_row(const float *x, const float *w, int64_t n, double eps, bool zero_centered,
                               float *y);
void dt_reference_layer_norm_row(const float *x, const float *w, const float *b, int64_t n, double eps,
                                 bool zero_centered, float *y);
double dt_reference_activation(dt_activation kind, double x);
double dt_reference_activation_slope(dt_activation kind, double x);

#endif
