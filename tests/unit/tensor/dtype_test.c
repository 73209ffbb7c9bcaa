/* dtype_test.c - names of types, ours and other programs'. */
#include "unit.h"

#include <drivetrain/dtype.h>

static void dtype__every_name_reads_back(void **state)
{
    dt_dtype found;
#define X(NAME, text, elements, bytes, safetensors)                                                          \
    assert_true(dt_dtype_parse(text, &found) && found == DT_##NAME);                                         \
    assert_true(!(safetensors) ||                                                                            \
                (dt_dtype_parse((safetensors) ? (safetensors) : "", &found) && found == DT_##NAME));         \
    assert_string_equal(dt_dtype_name(DT_##NAME), text);                                                     \
    assert_int_equal(dt_dtype_block_elements(DT_##NAME), elements);                                          \
    assert_int_equal(dt_dtype_block_bytes(DT_##NAME), bytes);
    DT_DTYPE_TABLE(X)
#undef X
}

static void dtype__knows_what_others_call_them(void **state)
{
    static const struct {
        const char *name;
        dt_dtype dtype;
    } rows[] = {{"torch.bfloat16", DT_BF16},
                {"BF16", DT_BF16},
                {"float32", DT_F32},
                {"fp32", DT_F32},
                {"Half", DT_F16},
                {"torch.float8_e4m3fn", DT_F8E4M3},
                {"F8_E5M2", DT_F8E5M2},
                {"torch.long", DT_I64},
                {"int8", DT_I8},
                {"double", DT_F64},
                {"Q8_0", DT_Q8_0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dt_dtype found;
        assert_true(dt_dtype_parse(rows[i].name, &found));
        assert_int_equal(found, rows[i].dtype);
    }
}

static void dtype__unknown_names_and_values_are_told_apart(void **state)
{
    dt_dtype kept = DT_I8;
    assert_false(dt_dtype_parse("f33", &kept) || dt_dtype_parse("", &kept) ||
                 dt_dtype_parse("torch.", &kept));
    assert_int_equal(kept, DT_I8);
    assert_string_equal(dt_dtype_name((dt_dtype)99), "?");
    assert_string_equal(dt_dtype_name((dt_dtype)-1), "?");
    assert_int_equal(dt_dtype_block_bytes((dt_dtype)99), 0);
    assert_true(dt_dtype_is_float(DT_F64) && dt_dtype_is_float(DT_F8E5M2));
    assert_false(dt_dtype_is_float(DT_Q8_0) || dt_dtype_is_float(DT_I32) || dt_dtype_is_float((dt_dtype)99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtype__every_name_reads_back),
        cmocka_unit_test(dtype__knows_what_others_call_them),
        cmocka_unit_test(dtype__unknown_names_and_values_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
