/*
 * forms.h - the layouts in which products read their weights.
 *
 * Panels    16 outputs side by side, all of their k: a kernel walks a panel from end to end and holds its 16 sums
 *           in one vector. Outputs past the last are zeros. Panels begin on 64 bytes for f32, bf16 and q8_0.
 *     f32, f16   [k][16]
 *     bf16       [k / 2][16][2]: pairs of k, the operand of a bf16 dot product; an odd last k is padded with zero
 *     q8_0       [k / 4][16][4] bytes q + 128: quads of k, the unsigned operand of a byte dot product; behind all
 *                panels, in a stream of their own, the scales [panel][k / 32][16] f16
 * A transposed form holds w^T the same way: outputs are w's columns, k its rows (linear_dx). q8_0 scales run along
 * w's columns, so its transpose holds the dequantised values in f32.
 */
#ifndef DT_CPU_FORMS_H
#define DT_CPU_FORMS_H

#include "backend/backend.h"

enum { DT_PANEL = 16, DT_Q8_GROUP = 32 };

const dt_weight_form *dt_form_panels(dt_dtype dtype, bool transposed);

/* Bytes of one panel (q8_0: without its scales) of k elements. */
size_t dt_panel_bytes(dt_dtype dtype, int64_t k);

/* Row `row` of a packed matrix [rows, cols], as f32. */
void dt_panels_row(dt_dtype dtype, const void *packed, int64_t rows, int64_t cols, int64_t row, float *out);

static inline int64_t dt_panels(int64_t outputs)
{
    return (outputs + DT_PANEL - 1) / DT_PANEL;
}

#endif
