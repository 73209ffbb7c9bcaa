/*
 * forms.c - packing weights into panels, and reading a row back (forms.h has the layouts).
 *
 * Plain C: packing runs once, at load, and is bound by memory.
 */
#include "backend/cpu/forms.h"
#include "base/checked.h"
#include "tensor/convert.h"

#include <string.h>

enum { QUAD = 4, OFFSET = 128, GROUP_BYTES = DT_PANEL * DT_Q8_GROUP };

size_t dt_panel_bytes(dt_dtype dtype, int64_t k)
{
    size_t n = (size_t)k * DT_PANEL;
    switch (dtype) {
    case DT_F32:
        return n * sizeof(float);
    case DT_BF16:
        return (n + (size_t)(k & 1) * DT_PANEL) * sizeof(uint16_t);
    case DT_Q8_0:
        return n;
    default:
        return n * sizeof(uint16_t);
    }
}

/* All panels of a matrix with so many outputs and k; 0 when that does not fit a size. */
static size_t matrix_bytes(dt_dtype dtype, int64_t outputs, int64_t k)
{
    size_t elements, bytes;
    if (outputs < 0 || k < 0 ||
        !dt_mul_size((size_t)dt_panels(outputs) * DT_PANEL, (size_t)k + 1, &elements) ||
        !dt_mul_size(elements, 2 * sizeof(float), &bytes)) /* twice f32 bounds every form */
        return 0;
    bytes = (size_t)dt_panels(outputs) * dt_panel_bytes(dtype, k);
    return dtype == DT_Q8_0 ? bytes + bytes / DT_Q8_GROUP * sizeof(uint16_t) : bytes;
}

static size_t plain_bytes(const dt_weight_form *form, int64_t rows, int64_t cols)
{
    if (form->dtype == DT_Q8_0 && cols % DT_Q8_GROUP != 0)
        return 0;
    return matrix_bytes(form->dtype, rows, cols);
}

static size_t transposed_bytes(const dt_weight_form *form, int64_t rows, int64_t cols)
{
    return matrix_bytes(form->dtype, cols, rows);
}

/* Where element k of output `row` lies, in elements. */
static size_t place(dt_dtype dtype, int64_t outputs_k, int64_t row, int64_t k)
{
    size_t panel = (size_t)(row / DT_PANEL), lane = (size_t)(row % DT_PANEL), i = (size_t)k;
    if (dtype == DT_BF16)
        return panel * (size_t)((outputs_k + 1) & ~(int64_t)1) * DT_PANEL + i / 2 * (2 * DT_PANEL) +
               lane * 2 + i % 2;
    return (panel * (size_t)outputs_k + i) * DT_PANEL + lane;
}

/* One element; a NULL source stands for zeros. */
static void put(dt_dtype dtype, void *packed, size_t at, const void *source, size_t from)
{
    if (dtype == DT_F32)
        ((float *)packed)[at] = source == NULL ? 0.0f : ((const float *)source)[from];
    else
        ((uint16_t *)packed)[at] = source == NULL ? 0 : ((const uint16_t *)source)[from];
}

/* A whole panel of 16 rows as k x 16: the two sizes that matter, without a branch inside. */
#define DEFINE_TURN(name, type)                                                                              \
    static void name(type *restrict to, const type *restrict from, int64_t k)                                \
    {                                                                                                        \
        for (int64_t i = 0; i < k; i++)                                                                      \
            for (int64_t lane = 0; lane < DT_PANEL; lane++)                                                  \
                to[i * DT_PANEL + lane] = from[lane * k + i];                                                \
    }
DEFINE_TURN(turn_16, uint16_t)
DEFINE_TURN(turn_32, uint32_t)

/* Fewer than 16 rows, or an odd k in pairs: element by element, zeros where there is nothing. What is past the last
 * row is multiplied too, into sums that nobody reads; it must be finite. */
static void pack_part(dt_dtype dtype, void *packed, int64_t cols, int64_t row, int64_t count,
                      const void *source)
{
    int64_t padded = dtype == DT_BF16 ? (cols + 1) & ~(int64_t)1 : cols;
    for (int64_t i = 0; i < DT_PANEL; i++)
        for (int64_t k = 0; k < padded; k++)
            put(dtype, packed, place(dtype, cols, row + i, k), i < count && k < cols ? source : NULL,
                (size_t)(i * cols + k));
}

static void pack_plain(const dt_weight_form *form, void *packed, int64_t rows, int64_t cols, int64_t row,
                       int64_t count, dt_dtype from, const void *source)
{
    size_t row_bytes = (size_t)cols * (size_t)dt_dtype_block_bytes(form->dtype);
    (void)rows, (void)from;
    for (int64_t r = 0; r < count; r += DT_PANEL) {
        const char *in = (const char *)source + (size_t)r * row_bytes;
        char *out = (char *)packed + (size_t)((row + r) / DT_PANEL) * dt_panel_bytes(form->dtype, cols);
        if (count - r < DT_PANEL || (form->dtype == DT_BF16 && cols % 2 != 0))
            pack_part(form->dtype, packed, cols, row + r, count - r, in);
        else if (form->dtype == DT_F32)
            turn_32((uint32_t *)out, (const uint32_t *)in, cols);
        else if (form->dtype == DT_BF16) /* pairs are one word */
            turn_32((uint32_t *)out, (const uint32_t *)in, cols / 2);
        else
            turn_16((uint16_t *)out, (const uint16_t *)in, cols);
    }
}

static void pack_transposed(const dt_weight_form *form, void *packed, int64_t rows, int64_t cols, int64_t row,
                            int64_t count, dt_dtype from, const void *source)
{
    bool odd_end = form->dtype == DT_BF16 && row + count == rows && rows % 2 != 0;
    (void)from;
    for (int64_t i = 0; i < count + odd_end; i++)
        for (int64_t k = 0; k < dt_panels(cols) * DT_PANEL; k++)
            put(form->dtype, packed, place(form->dtype, rows, k, row + i),
                i < count && k < cols ? source : NULL, (size_t)(i * cols + k));
}

/* ---- q8_0: blocks of an f16 scale and 32 signed bytes ---- */

enum { BLOCK_BYTES = 2 + DT_Q8_GROUP };

static size_t scale_place(int64_t rows, int64_t cols, int64_t row, int64_t group)
{
    size_t before = (size_t)dt_panels(rows) * dt_panel_bytes(DT_Q8_0, cols);
    size_t at = ((size_t)(row / DT_PANEL) * (size_t)(cols / DT_Q8_GROUP) + (size_t)group) * DT_PANEL;
    return before + (at + (size_t)(row % DT_PANEL)) * sizeof(uint16_t);
}

static uint8_t *byte_place(const void *packed, int64_t cols, int64_t row, int64_t group, int64_t i)
{
    size_t at = (size_t)(row / DT_PANEL) * dt_panel_bytes(DT_Q8_0, cols) + (size_t)group * GROUP_BYTES;
    return (uint8_t *)packed + at + (size_t)(i / QUAD) * DT_PANEL * QUAD + (size_t)(row % DT_PANEL) * QUAD +
           (size_t)(i % QUAD);
}

static void pack_q8_0(const dt_weight_form *form, void *packed, int64_t rows, int64_t cols, int64_t row,
                      int64_t count, dt_dtype from, const void *source)
{
    const uint8_t *block = source;
    (void)form, (void)from;
    for (int64_t r = 0; r < count; r++)
        for (int64_t g = 0; g < cols / DT_Q8_GROUP; g++, block += BLOCK_BYTES) {
            memcpy((char *)packed + scale_place(rows, cols, row + r, g), block, sizeof(uint16_t));
            for (int64_t i = 0; i < DT_Q8_GROUP; i++)
                *byte_place(packed, cols, row + r, g, i) = (uint8_t)(block[2 + i] + OFFSET);
        }
    if (row + count < rows)
        return;
    for (int64_t r = rows; r < dt_panels(rows) * DT_PANEL;
         r++) /* outputs that do not exist: bytes of 0, scales of 0 */
        for (int64_t g = 0; g < cols / DT_Q8_GROUP; g++) {
            memset((char *)packed + scale_place(rows, cols, r, g), 0, sizeof(uint16_t));
            for (int64_t i = 0; i < DT_Q8_GROUP; i++)
                *byte_place(packed, cols, r, g, i) = OFFSET;
        }
}

static void pack_q8_0_transposed(const dt_weight_form *form, void *packed, int64_t rows, int64_t cols,
                                 int64_t row, int64_t count, dt_dtype from, const void *source)
{
    const uint8_t *block = source;
    (void)form, (void)from;
    for (int64_t r = 0; r < count; r++)
        for (int64_t g = 0; g < cols / DT_Q8_GROUP; g++, block += BLOCK_BYTES) {
            uint16_t scale;
            memcpy(&scale, block, sizeof scale);
            for (int64_t i = 0; i < DT_Q8_GROUP; i++)
                ((float *)packed)[place(DT_F32, rows, g * DT_Q8_GROUP + i, row + r)] =
                    dt_f16_to_f32(scale) * (float)(int8_t)block[2 + i];
        }
    for (int64_t r = 0; r < count; r++)
        for (int64_t k = cols; k < dt_panels(cols) * DT_PANEL; k++)
            ((float *)packed)[place(DT_F32, rows, k, row + r)] = 0.0f;
}

/* ---- reading back ---- */

static void q8_0_row(const void *packed, int64_t rows, int64_t cols, int64_t row, float *out)
{
    for (int64_t g = 0; g < cols / DT_Q8_GROUP; g++) {
        uint16_t scale;
        memcpy(&scale, (const char *)packed + scale_place(rows, cols, row, g), sizeof scale);
        for (int64_t i = 0; i < DT_Q8_GROUP; i++)
            out[g * DT_Q8_GROUP + i] =
                dt_f16_to_f32(scale) * (float)(*byte_place(packed, cols, row, g, i) - OFFSET);
    }
}

void dt_panels_row(dt_dtype dtype, const void *packed, int64_t rows, int64_t cols, int64_t row, float *out)
{
    const uint16_t *narrow = packed;
    if (dtype == DT_Q8_0) {
        q8_0_row(packed, rows, cols, row, out);
        return;
    }
    for (int64_t k = 0; k < cols; k++) {
        size_t at = place(dtype, cols, row, k);
        out[k] = dtype == DT_F32    ? ((const float *)packed)[at]
                 : dtype == DT_BF16 ? dt_bf16_to_f32(narrow[at])
                                    : dt_f16_to_f32(narrow[at]);
    }
}

/* ---- the table ---- */

#define PLAIN(type, text, how)                                                                               \
    {                                                                                                        \
        .name = "panels16 " text, .dtype = type, .bytes = plain_bytes, .pack = how, .from = type,            \
        .grain = DT_PANEL                                                                                    \
    }
#define TRANSPOSED(type, text, how, source)                                                                  \
    {                                                                                                        \
        .name = "panels16 transposed " text, .dtype = type, .bytes = transposed_bytes, .pack = how,          \
        .from = source, .grain = DT_PANEL                                                                    \
    }
static const struct {
    dt_dtype dtype;
    dt_weight_form form[2]; /* plain, transposed */
} forms[] = {
    {DT_F32, {PLAIN(DT_F32, "f32", pack_plain), TRANSPOSED(DT_F32, "f32", pack_transposed, DT_F32)}},
    {DT_BF16, {PLAIN(DT_BF16, "bf16", pack_plain), TRANSPOSED(DT_BF16, "bf16", pack_transposed, DT_BF16)}},
    {DT_F16, {PLAIN(DT_F16, "f16", pack_plain), TRANSPOSED(DT_F16, "f16", pack_transposed, DT_F16)}},
    {DT_Q8_0,
     {PLAIN(DT_Q8_0, "q8_0", pack_q8_0), TRANSPOSED(DT_F32, "f32 of q8_0", pack_q8_0_transposed, DT_Q8_0)}},
};

const dt_weight_form *dt_form_panels(dt_dtype dtype, bool transposed)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (forms[i].dtype == dtype)
            return &forms[i].form[transposed];
    return NULL;
}
