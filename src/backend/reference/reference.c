/*
 * reference.c - the table of the reference backend: every op of ops.def has a kernel here.
 *
 * Weights of products (embedding tables included) are held in the backend's type, row by row; all other parameters
 * in f32. The kernels are in files named after their ops.
 */
#include "backend/reference/reference.h"
#include "backend/reference/kernels.h"

#define OP(op_name, ...) [DT_OP_##op_name] = {.name = "reference " #op_name, .run = dt_reference_##op_name},
static const dt_kernel plain[DT_OP_COUNT] = {
#include "graph/ops.def"
};
#undef OP

#define WITH_SCRATCH(op_name, need)                                                                          \
    [DT_OP_##op_name] = {.name = "reference " #op_name, .run = dt_reference_##op_name, .scratch = need}
static const dt_kernel with_scratch[DT_OP_COUNT] = {
    WITH_SCRATCH(linear, dt_reference_linear_scratch),
    WITH_SCRATCH(linear_dx, dt_reference_linear_dx_scratch),
    WITH_SCRATCH(linear_dw, dt_reference_columns_scratch),
    WITH_SCRATCH(embedding, dt_reference_columns_scratch),
    WITH_SCRATCH(embedding_grad, dt_reference_columns_scratch),
    WITH_SCRATCH(put_rows, dt_reference_columns_scratch),
    WITH_SCRATCH(blend_grad, dt_reference_columns_scratch),
    WITH_SCRATCH(rms_norm_dw, dt_reference_columns_scratch),
    WITH_SCRATCH(layer_norm_dw, dt_reference_columns_scratch),
    WITH_SCRATCH(fused_linear, dt_reference_fused_linear_scratch),
    WITH_SCRATCH(expert_linear, dt_reference_expert_scratch),
    WITH_SCRATCH(expert_linear_dx, dt_reference_expert_scratch),
    WITH_SCRATCH(expert_linear_dw, dt_reference_columns_scratch),
    WITH_SCRATCH(rope, dt_reference_rope_scratch),
    WITH_SCRATCH(attention, dt_reference_attention_scratch),
    WITH_SCRATCH(attention_grad, dt_reference_attention_grad_scratch),
};

static const dt_kernel *kernel(const dt_backend *backend, const dt_op *op)
{
    (void)backend;
    if ((unsigned)op->kind >= DT_OP_COUNT)
        return NULL;
    return with_scratch[op->kind].run != NULL ? &with_scratch[op->kind] : &plain[op->kind];
}

/* The input that is one side of a product, or a table that products share (a tied head); -1 = none. */
static int product_slot(dt_op_kind kind)
{
    switch (kind) {
    case DT_OP_embedding:
        return 0;
    case DT_OP_linear:
    case DT_OP_linear_dx:
    case DT_OP_fused_linear:
    case DT_OP_expert_linear:
    case DT_OP_expert_linear_dx:
        return 1;
    case DT_OP_embedding_grad: /* only the table's shape is read; the form the embedding uses costs nothing more */
        return 2;
    default:
        return -1;
    }
}

static const dt_weight_form *form(const dt_backend *backend, const dt_op *op, int slot)
{
    const dt_tensor *w = op->input[slot];
    bool whole_blocks = w->rank > 1 && w->dim[1].n % dt_dtype_block_elements(backend->dtype) == 0;
    if (slot != product_slot(op->kind) || !whole_blocks) /* a row that blocks cannot tile stays f32 */
        return dt_form_rows(DT_F32);
    return dt_form_rows(backend->dtype);
}

static const dt_backend backends[] = {
    {.name = "reference", .isa = "baseline", .dtype = DT_F32, .kernel = kernel, .form = form},
    {.name = "reference", .isa = "baseline", .dtype = DT_BF16, .kernel = kernel, .form = form},
    {.name = "reference", .isa = "baseline", .dtype = DT_F16, .kernel = kernel, .form = form},
    {.name = "reference", .isa = "baseline", .dtype = DT_Q8_0, .kernel = kernel, .form = form},
};

const dt_backend *dt_reference_backend(dt_dtype dtype)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
        if (backends[i].dtype == dtype)
            return &backends[i];
    return NULL;
}
