/*
 * kernels.h - every kernel of one instruction set, as the table that cpu.c reads.
 *
 * Included once by each isa_*.c, which is compiled for its instruction set and defines ISA, the name.
 */
#include "backend/backend.h"
#include "backend/cpu/cpu.h"

#include "backend/cpu/attention.h"
#include "backend/cpu/attention_grad.h"
#include "backend/cpu/experts.h"
#include "backend/cpu/linear_dw.h"
#include "backend/cpu/loss.h"
#include "backend/cpu/norm.h"
#include "backend/cpu/product.h"
#include "backend/cpu/route.h"
#include "backend/cpu/rows.h"

/* ---- products: one kernel a type ---- */

#define DEFINE_PRODUCTS(type)                                                                                \
    static void linear_##type(const dt_kernel_call *call, int thread, int threads)                           \
    {                                                                                                        \
        linear(call, &product_##type, thread, threads);                                                      \
    }                                                                                                        \
    static void fused_linear_##type(const dt_kernel_call *call, int thread, int threads)                     \
    {                                                                                                        \
        fused_linear(call, &product_##type, thread, threads);                                                \
    }                                                                                                        \
    static size_t linear_room_##type(const dt_op *op, int threads)                                           \
    {                                                                                                        \
        return linear_room(op, &product_##type, threads);                                                    \
    }                                                                                                        \
    static void expert_linear_##type(const dt_kernel_call *call, int thread, int threads)                    \
    {                                                                                                        \
        expert_linear(call, &product_##type, thread, threads);                                               \
    }                                                                                                        \
    static size_t expert_room_##type(const dt_op *op, int threads)                                           \
    {                                                                                                        \
        return expert_room(op, &product_##type, threads);                                                    \
    }
#define DEFINE_PRODUCTS_BACK(type)                                                                           \
    static void linear_dx_##type(const dt_kernel_call *call, int thread, int threads)                        \
    {                                                                                                        \
        linear_dx(call, &product_##type, thread, threads);                                                   \
    }                                                                                                        \
    static void expert_linear_dx_##type(const dt_kernel_call *call, int thread, int threads)                 \
    {                                                                                                        \
        expert_linear_dx(call, &product_##type, thread, threads);                                            \
    }
DEFINE_PRODUCTS(f32)
DEFINE_PRODUCTS(bf16)
DEFINE_PRODUCTS(f16)
DEFINE_PRODUCTS(q8_0)
DEFINE_PRODUCTS_BACK(f32)
DEFINE_PRODUCTS_BACK(bf16)
DEFINE_PRODUCTS_BACK(f16)

#define PRODUCTS(type, back)                                                                                 \
    {                                                                                                        \
        .linear = {"linear panels16 " #type " " ISA, linear_##type, linear_room_##type},                     \
        .fused_linear = {"fused_linear panels16 " #type " " ISA, fused_linear_##type, linear_room_##type},   \
        .linear_dx = {"linear_dx panels16 transposed " #back " " ISA, linear_dx_##back, linear_room_##back}, \
        .expert_linear = {"expert_linear panels16 " #type " " ISA, expert_linear_##type,                     \
                          expert_room_##type},                                                               \
        .expert_linear_dx = {"expert_linear_dx panels16 transposed " #back " " ISA, expert_linear_dx_##back, \
                             expert_room_##back},                                                            \
    }

/* ---- the table ---- */

#define KERNEL(op, function, room) [DT_OP_##op] = {#op " " ISA, function, room}

const dt_cpu_kernels DT_CPU_KERNELS = {
    .isa = ISA,
    .products = {PRODUCTS(f32, f32), PRODUCTS(bf16, bf16), PRODUCTS(f16, f16), PRODUCTS(q8_0, f32)},
    .common =
        {
            KERNEL(embedding, embedding, NULL),
            KERNEL(sinusoid, sinusoid, NULL),
            KERNEL(rms_norm, rms_norm, NULL),
            KERNEL(layer_norm, layer_norm, NULL),
            KERNEL(add, add, NULL),
            KERNEL(multiply, multiply_elements, NULL),
            KERNEL(scale, scale, NULL),
            KERNEL(activate, activate, NULL),
            KERNEL(glu, glu, NULL),
            KERNEL(split_groups, split_groups, NULL),
            KERNEL(join_groups, join_groups, NULL),
            KERNEL(rope, rope, rope_room),
            KERNEL(attention, attention, attention_room),
            KERNEL(kv_store, kv_store, NULL),
            KERNEL(take_rows, take_rows, NULL),
            KERNEL(merge_rows, merge_rows, NULL),
            KERNEL(blend_rows, blend_rows, NULL),
            KERNEL(blend_grad, blend_grad, NULL),
            KERNEL(scale_columns, scale_columns, NULL),
            KERNEL(scale_exp, scale_exp, NULL),
            KERNEL(cross_entropy, cross_entropy, NULL),
            KERNEL(weighted_mean, weighted_mean, whole_sum_room),
            KERNEL(dot, dot, whole_sum_room),
            KERNEL(embedding_grad, embedding_grad, NULL),
            KERNEL(linear_dw, linear_dw, linear_dw_room),
            KERNEL(column_sum, column_sum, NULL),
            KERNEL(rms_norm_dx, rms_norm_dx, NULL),
            KERNEL(rms_norm_dw, rms_norm_dw, norm_dw_room),
            KERNEL(layer_norm_dx, layer_norm_dx, NULL),
            KERNEL(layer_norm_dw, layer_norm_dw, norm_dw_room),
            KERNEL(activate_grad, activate_grad, NULL),
            KERNEL(glu_grad, glu_grad, NULL),
            KERNEL(attention_grad, attention_grad, attention_grad_room),
            KERNEL(put_rows, put_rows, NULL),
            KERNEL(cross_entropy_grad, cross_entropy_grad, NULL),
            KERNEL(weighted_mean_grad, weighted_mean_grad, whole_sum_room),
            KERNEL(scale_by, scale_by, NULL),
            KERNEL(route, route, NULL),
            KERNEL(route_grad, route_grad, NULL),
            KERNEL(sum_choices, sum_choices, NULL),
            KERNEL(spread_choices, spread_choices, NULL),
            KERNEL(choice_dots, choice_dots, NULL),
            KERNEL(expert_linear_dw, expert_linear_dw, expert_dw_room),
            KERNEL(expert_column_sum, expert_column_sum, NULL),
        },
};
