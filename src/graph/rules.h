/*
 * rules.h - what the columns of ops.def name, and the pieces of graph.c that only this room shares.
 */
#ifndef DT_GRAPH_RULES_H
#define DT_GRAPH_RULES_H

#include "graph/ir.h"

typedef dt_status dt_shape_rule(const dt_op *op, dt_signature *out, dt_error *err);
typedef void dt_gradient_rule(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want,
                              dt_tensor **dx);
typedef void dt_cost_rule(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight);

/* shapes.c */
dt_shape_rule dt_shape_embedding, dt_shape_sinusoid, dt_shape_linear, dt_shape_fused_linear, dt_shape_norm,
    dt_shape_same, dt_shape_glu, dt_shape_split_groups, dt_shape_join_groups, dt_shape_rope,
    dt_shape_take_rows, dt_shape_merge_rows, dt_shape_blend_rows, dt_shape_scale_columns, dt_shape_scale_exp,
    dt_shape_cross_entropy, dt_shape_scalar;
/* shapes_attention.c */
dt_shape_rule dt_shape_attention, dt_shape_attention_grad, dt_shape_kv_store;
/* shapes_experts.c */
dt_shape_rule dt_shape_route, dt_shape_expert_linear, dt_shape_sum_choices, dt_shape_route_grad,
    dt_shape_expert_linear_dx, dt_shape_expert_linear_dw, dt_shape_expert_column_sum, dt_shape_spread_choices,
    dt_shape_choice_dots;
/* shapes_backward.c */
dt_shape_rule dt_shape_embedding_grad, dt_shape_linear_dx, dt_shape_linear_dw, dt_shape_column_sum,
    dt_shape_norm_dx, dt_shape_norm_dw, dt_shape_glu_grad, dt_shape_put_rows, dt_shape_blend_grad,
    dt_shape_cross_entropy_grad, dt_shape_weighted_mean_grad, dt_shape_scale_by;

/* gradients.c */
dt_gradient_rule dt_gradient_embedding, dt_gradient_linear, dt_gradient_rms_norm, dt_gradient_layer_norm,
    dt_gradient_add, dt_gradient_multiply, dt_gradient_scale, dt_gradient_activate, dt_gradient_glu,
    dt_gradient_split_groups, dt_gradient_join_groups, dt_gradient_rope, dt_gradient_attention,
    dt_gradient_take_rows, dt_gradient_merge_rows, dt_gradient_blend_rows, dt_gradient_scale_columns,
    dt_gradient_cross_entropy, dt_gradient_weighted_mean, dt_gradient_dot, dt_gradient_route,
    dt_gradient_expert_linear, dt_gradient_sum_choices;
#define dt_gradient_none NULL /* the column of ops that have none */

/* cost.c */
dt_cost_rule dt_cost_elementwise, dt_cost_gather, dt_cost_linear, dt_cost_linear_dw, dt_cost_attention,
    dt_cost_attention_grad, dt_cost_expert_linear, dt_cost_expert_linear_dw;

/* graph.c */
dt_tensor *dt_graph_new_tensor(dt_graph *g, dt_tensor_kind kind, dt_dtype dtype, int rank, const dt_dim *dim);
bool dt_graph_name(dt_graph *g, dt_tensor *t, const char *name); /* the name must be free */
dt_status dt_op_infer(const dt_graph *g, const dt_op *op, dt_signature *out,
                      dt_error *err); /* arity, then shapes */

/* What shape rules say when things do not fit: each returns DT_OK or fails with a sentence (shapes.c). */
dt_status dt_need_matrix(const dt_op *op, const char *role, const dt_tensor *t,
                         dt_error *err); /* f32 [rows, cols] */
dt_status dt_need_vector(const dt_op *op, const char *role, const dt_tensor *t, dt_dim n, const char *of,
                         dt_error *err);         /* f32 [n] */
dt_dim dt_dim_part(dt_dim whole, int64_t parts); /* one of so many equal parts; the whole where it has none */
dt_status dt_need_indices(const dt_op *op, const char *role, const dt_tensor *t,
                          dt_error *err); /* i32 [any] */
dt_status dt_need_shape_of(const dt_op *op, const char *role, const dt_tensor *t, const char *model_role,
                           const dt_tensor *model, dt_error *err); /* f32, equal dims */
dt_status dt_bad_shape(const dt_op *op, const char *role, const dt_tensor *t, dt_error *err, const char *must,
                       ...) DT_PRINTF(5, 6); /* "op: role NAME [..] must …" */

void dt_signature_add(dt_signature *out, int rank, const dt_dim *dim); /* an f32 output */
void dt_signature_add_like(dt_signature *out, const dt_tensor *model); /* the same, shaped as `model` */
void dt_signature_skip(dt_signature *out);                             /* an output nobody wants */

#endif
