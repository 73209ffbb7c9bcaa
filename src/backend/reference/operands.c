/*
 * operands.c - reading tensors of any float type as f64.
 */
#include "backend/reference/kernels.h"
#include "tensor/convert.h"

int64_t dt_reference_rows(const dt_data *data)
{
    return data->rank == 0 ? 1 : data->dim[0];
}

int64_t dt_reference_cols(const dt_data *data)
{
    int64_t cols = 1;
    for (int i = 1; i < data->rank; i++)
        cols *= data->dim[i];
    return cols;
}

int64_t dt_reference_norm_cols(const dt_kernel_call *call)
{
    int64_t groups = call->op->attr.norm.groups;
    return dt_reference_cols(&call->input[0]) / (groups > 1 ? groups : 1);
}

int64_t dt_reference_count(const dt_data *data)
{
    return dt_reference_rows(data) * dt_reference_cols(data);
}

static void widen_q8_0(const uint8_t *block, int64_t n, double *out)
{
    int64_t elements = dt_dtype_block_elements(DT_Q8_0);
    for (int64_t i = 0; i < n; i += elements, block += dt_dtype_block_bytes(DT_Q8_0)) {
        uint16_t scale;
        memcpy(&scale, block, sizeof scale);
        for (int64_t j = 0; j < elements; j++)
            out[i + j] = (double)dt_f16_to_f32(scale) * (double)(int8_t)block[sizeof scale + (size_t)j];
    }
}

void dt_reference_widen(const dt_data *data, int64_t first, int64_t n, double *out)
{
    switch (data->dtype) {
    case DT_F32:
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const float *)data->data)[first + i];
        return;
    case DT_F16:
        for (int64_t i = 0; i < n; i++)
            out[i] = dt_f16_to_f32(((const uint16_t *)data->data)[first + i]);
        return;
    case DT_BF16:
        for (int64_t i = 0; i < n; i++)
            out[i] = dt_bf16_to_f32(((const uint16_t *)data->data)[first + i]);
        return;
    case DT_Q8_0: {
        int64_t block = first / dt_dtype_block_elements(DT_Q8_0);
        widen_q8_0((const uint8_t *)data->data + block * dt_dtype_block_bytes(DT_Q8_0), n, out);
        return;
    }
    default: /* a state of a narrower type: through the general conversion, one element at a time */
        for (int64_t i = 0; i < n; i++) {
            float value = 0;
            const char *place = (const char *)data->data + (first + i) * dt_dtype_block_bytes(data->dtype);
            dt_convert(DT_F32, &value, data->dtype, place, 1, NULL);
            out[i] = value;
        }
    }
}

void dt_reference_widen_for(const dt_data *weight, const dt_data *x, int64_t first, int64_t n, double *out)
{
    dt_reference_widen(x, first, n, out);
    if (weight->dtype != DT_BF16)
        return;
    for (int64_t i = 0; i < n; i++)
        out[i] = dt_bf16_to_f32(dt_f32_to_bf16((float)out[i]));
}
