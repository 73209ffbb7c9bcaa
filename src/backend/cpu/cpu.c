/*
 * cpu.c - the cpu backend's tables: instruction sets, best first; kernels by op; the form of each parameter.
 *
 * Products (linear, fused_linear, linear_dx, and experts') read weights in panels of the backend's type. A type whose blocks do not
 * tile a weight's rows (q8_0 with K not a multiple of 32) gives way to f32 for that weight, as in the reference. An
 * embedding table is read in panels too when a product of the same graph shares it (a tied head), so that it is held
 * once; else row by row, where it may stay mapped. Everything else (norms, biases, bias tables) is f32 rows.
 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/forms.h"

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- instruction sets ---- */

typedef struct isa {
    const dt_cpu_kernels *kernels;
    bool (*here)(void);
} isa;

static bool anywhere(void)
{
    return true;
}

/* Asked of the processor itself: compilers know different names for the same features. A feature counts only when the
 * system also saves the registers that go with it (XCR0). */
#if defined(__x86_64__)
enum { SAVES_256 = 0x6, SAVES_512 = 0xe6 };

static bool system_saves(uint32_t registers)
{
    uint32_t a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & registers) == registers;
}

static bool has_avx2(void)
{
    const uint32_t needed = bit_AVX | bit_FMA | bit_F16C;
    uint32_t a, b, c, d;
    if (!system_saves(SAVES_256) || !__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

static bool has_avx512(void)
{
    const uint32_t needed = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    uint32_t a, b, c, d;
    if (!has_avx2() || !system_saves(SAVES_512) || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return false;
    return (b & needed) == needed;
}

static bool has_avx512bf16(void)
{
    uint32_t a, b, c, d;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & bit_AVX512VNNI))
        return false;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16);
}
#endif

static const isa isas[] = {
#if defined(__x86_64__)
    {&dt_cpu_avx512bf16, has_avx512bf16},
    {&dt_cpu_avx512, has_avx512},
    {&dt_cpu_avx2, has_avx2},
#endif
    {&dt_cpu_baseline, anywhere},
};
enum { ISAS = sizeof isas / sizeof isas[0] };

/* ---- kernels ---- */

static int type_index(dt_dtype dtype)
{
    switch (dtype) {
    case DT_F32:
        return DT_CPU_F32;
    case DT_BF16:
        return DT_CPU_BF16;
    case DT_F16:
        return DT_CPU_F16;
    case DT_Q8_0:
        return DT_CPU_Q8_0;
    default:
        return -1;
    }
}

/* The type in which `op` multiplies by w: the backend's, unless its blocks do not fit or w is no parameter. */
static dt_dtype product_dtype(const dt_backend *backend, const dt_tensor *w)
{
    bool whole_blocks = w->rank > 1 && w->dim[1].n % dt_dtype_block_elements(backend->dtype) == 0;
    return w->kind == DT_TENSOR_PARAM && whole_blocks ? backend->dtype : DT_F32;
}

static bool is_product(dt_op_kind kind)
{
    return kind == DT_OP_linear || kind == DT_OP_fused_linear || kind == DT_OP_linear_dx ||
           kind == DT_OP_expert_linear || kind == DT_OP_expert_linear_dx;
}

/* Does the op read w transposed, an expert being a stretch of k? */
static bool is_transposed(dt_op_kind kind)
{
    return kind == DT_OP_linear_dx || kind == DT_OP_expert_linear_dx;
}

/* An expert's stretch of an odd length would begin inside a pair of bf16. */
static dt_dtype type_of(const dt_backend *backend, const dt_op *op)
{
    const dt_tensor *w = op->input[1];
    dt_dtype dtype = product_dtype(backend, w);
    bool odd = op->kind == DT_OP_expert_linear_dx && w->dim[0].n / op->attr.experts.count % 2 != 0;
    return dtype == DT_BF16 && odd ? DT_F32 : dtype;
}

/* Attention's kernels read and write states in these types. */
static bool state_is_readable(const dt_tensor *state)
{
    return state == NULL || state->dtype == DT_F32 || state->dtype == DT_BF16 || state->dtype == DT_F16;
}

static bool is_served(const dt_op *op)
{
    switch (op->kind) {
    case DT_OP_attention:
        return state_is_readable(op->input[DT_ATTENTION_K_CACHE]);
    case DT_OP_kv_store:
        return state_is_readable(op->input[DT_KV_STORE_K_CACHE]);
    case DT_OP_attention_grad:
        return op->input[DT_ATTENTION_K_CACHE] == NULL;
    default:
        return true;
    }
}

static const dt_kernel *kernel(const dt_backend *backend, const dt_op *op)
{
    const dt_cpu_kernels *kernels = backend->private_table;
    if ((unsigned)op->kind >= DT_OP_COUNT || !is_served(op))
        return NULL;
    if (!is_product(op->kind))
        return kernels->common[op->kind].run == NULL ? NULL : &kernels->common[op->kind];
    const dt_cpu_products *products = &kernels->products[type_index(type_of(backend, op))];
    switch (op->kind) {
    case DT_OP_linear:
        return &products->linear;
    case DT_OP_fused_linear:
        return &products->fused_linear;
    case DT_OP_linear_dx:
        return &products->linear_dx;
    case DT_OP_expert_linear:
        return &products->expert_linear;
    default:
        return &products->expert_linear_dx;
    }
}

/* ---- forms ---- */

static const dt_weight_form *table_form(const dt_backend *backend, const dt_tensor *table)
{
    dt_dtype dtype = product_dtype(backend, table);
    return table->multiplied ? dt_form_panels(dtype, false) : dt_form_rows(dtype);
}

static const dt_weight_form *form(const dt_backend *backend, const dt_op *op, int slot)
{
    const dt_tensor *w = op->input[slot];
    if (is_product(op->kind) && slot == 1)
        return dt_form_panels(type_of(backend, op), is_transposed(op->kind));
    if ((op->kind == DT_OP_embedding && slot == 0) || (op->kind == DT_OP_embedding_grad && slot == 2))
        return table_form(backend, w); /* the gradient looks at the shape only: it asks for what is there */
    return dt_form_rows(DT_F32);
}

/* ---- backends: every instruction set in every type ---- */

#define BACKEND(set, text, type)                                                                             \
    {                                                                                                        \
        .name = "cpu", .isa = text, .dtype = type, .kernel = kernel, .form = form, .fuse = dt_cpu_fuse,      \
        .private_table = &set                                                                                \
    }
#define BACKENDS(set, text)                                                                                  \
    {                                                                                                        \
        BACKEND(set, text, DT_F32), BACKEND(set, text, DT_BF16), BACKEND(set, text, DT_F16),                 \
            BACKEND(set, text, DT_Q8_0)                                                                      \
    }
static const dt_backend backends[ISAS][DT_CPU_TYPES] = {
#if defined(__x86_64__)
    BACKENDS(dt_cpu_avx512bf16, "avx512bf16"),
    BACKENDS(dt_cpu_avx512, "avx512"),
    BACKENDS(dt_cpu_avx2, "avx2"),
#endif
    BACKENDS(dt_cpu_baseline, "baseline"),
};

dt_status dt_cpu_backend(const dt_backend **out, dt_dtype dtype, const char *name, dt_error *err)
{
    int type = type_index(dtype);
    *out = NULL;
    for (int i = 0; i < ISAS; i++) {
        if (name != NULL && strcmp(name, isas[i].kernels->isa) != 0)
            continue;
        if (isas[i].here()) {
            *out = type < 0 ? NULL : &backends[i][type];
            return DT_OK;
        }
        if (name != NULL)
            return dt_fail(err, DT_UNSUPPORTED, "this machine does not have the instruction set \"%s\"",
                           name);
    }
    return dt_fail(
        err, DT_UNSUPPORTED,
        "backend \"cpu\" knows no instruction set \"%s\"; it knows baseline, avx2, avx512 and avx512bf16",
        name);
}
