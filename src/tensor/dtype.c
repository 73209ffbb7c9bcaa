/*
 * dtype.c - the type table (drivetrain/dtype.h) as functions, and the names that other programs use.
 */
#include <drivetrain/dtype.h>

#include <stddef.h>
#include <string.h>
#include <strings.h>

typedef struct row {
    const char *name, *safetensors;
    int64_t block_elements, block_bytes;
} row;

static const row table[DT_DTYPE_COUNT] = {
#define X(NAME, text, elements, bytes, safetensors) [DT_##NAME] = {text, safetensors, elements, bytes},
    DT_DTYPE_TABLE(X)
#undef X
};

/* What torch, numpy, Megatron and command lines say. */
static const struct {
    const char *name;
    dt_dtype dtype;
} alias[] = {
    {"fp32", DT_F32},
    {"float32", DT_F32},
    {"float", DT_F32},
    {"single", DT_F32},
    {"fp16", DT_F16},
    {"float16", DT_F16},
    {"half", DT_F16},
    {"bfloat16", DT_BF16},
    {"fp8e4m3", DT_F8E4M3},
    {"fp8_e4m3", DT_F8E4M3},
    {"float8_e4m3", DT_F8E4M3},
    {"float8_e4m3fn", DT_F8E4M3},
    {"f8_e4m3fn", DT_F8E4M3},
    {"fp8_e4m3fn", DT_F8E4M3},
    {"e4m3", DT_F8E4M3},
    {"fp8e5m2", DT_F8E5M2},
    {"fp8_e5m2", DT_F8E5M2},
    {"float8_e5m2", DT_F8E5M2},
    {"e5m2", DT_F8E5M2},
    {"fp64", DT_F64},
    {"float64", DT_F64},
    {"double", DT_F64},
    {"int8", DT_I8},
    {"uint8", DT_U8},
    {"int16", DT_I16},
    {"short", DT_I16},
    {"uint16", DT_U16},
    {"int32", DT_I32},
    {"int", DT_I32},
    {"uint32", DT_U32},
    {"int64", DT_I64},
    {"long", DT_I64},
    {"uint64", DT_U64},
};

static bool in_range(dt_dtype dtype)
{
    return (unsigned)dtype < DT_DTYPE_COUNT;
}

const char *dt_dtype_name(dt_dtype dtype)
{
    return in_range(dtype) ? table[dtype].name : "?";
}

bool dt_dtype_parse(const char *name, dt_dtype *out)
{
    if (strncasecmp(name, "torch.", 6) == 0)
        name += 6;
    for (int i = 0; i < DT_DTYPE_COUNT; i++) {
        const row *r = &table[i];
        if (strcasecmp(name, r->name) == 0 || (r->safetensors && strcasecmp(name, r->safetensors) == 0)) {
            *out = (dt_dtype)i;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof alias / sizeof *alias; i++)
        if (strcasecmp(name, alias[i].name) == 0) {
            *out = alias[i].dtype;
            return true;
        }
    return false;
}

int64_t dt_dtype_block_elements(dt_dtype dtype)
{
    return in_range(dtype) ? table[dtype].block_elements : 1;
}

int64_t dt_dtype_block_bytes(dt_dtype dtype)
{
    return in_range(dtype) ? table[dtype].block_bytes : 0;
}

bool dt_dtype_is_float(dt_dtype dtype)
{
    switch (dtype) {
    case DT_F32:
    case DT_F16:
    case DT_BF16:
    case DT_F8E4M3:
    case DT_F8E5M2:
    case DT_F64:
        return true;
    default:
        return false;
    }
}
