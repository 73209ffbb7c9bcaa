/*
 * ops.c - ops.def expanded: which rule, gradient and cost each op has. The functions are in the files that
 * rules.h names.
 */
#include "graph/rules.h"

#define OP(name, min, max, shape, gradient, cost, row_wise, in_place, onnx)                                  \
    {#name, min, max, dt_shape_##shape, dt_gradient_##gradient, dt_cost_##cost, row_wise, in_place},

static const dt_op_info table[DT_OP_COUNT] = {
#include "graph/ops.def"
};

const dt_op_info *dt_op_info_of(dt_op_kind kind)
{
    static const dt_op_info unknown = {.name = "unknown"};
    return (unsigned)kind < DT_OP_COUNT ? &table[kind] : &unknown;
}
