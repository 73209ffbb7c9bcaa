/* shape_test.c - counts and bytes, and that hostile sizes never wrap into small ones. */
#include "unit.h"

#include "tensor/shape.h"

static dt_shape shape(int rank, int64_t a, int64_t b, int64_t c)
{
    return dt_shape_of(rank, (int64_t[]){a, b, c});
}

static void shape__counts_elements_and_bytes(void **state)
{
    dt_shape s = shape(3, 3, 8, 32), scalar = shape(0, 0, 0, 0), empty = shape(2, 0, 5, 0);
    int64_t elements;
    size_t bytes;
    assert_true(dt_shape_elements(&s, &elements) && elements == 768);
    assert_true(dt_shape_bytes(&s, DT_BF16, &bytes) && bytes == 1536);
    assert_true(dt_shape_bytes(&s, DT_Q8_0, &bytes) && bytes == 24 * 34);
    assert_true(dt_shape_elements(&scalar, &elements) && elements == 1);
    assert_true(dt_shape_bytes(&scalar, DT_F64, &bytes) && bytes == 8);
    assert_true(dt_shape_elements(&empty, &elements) && elements == 0);
    assert_true(dt_shape_bytes(&empty, DT_F32, &bytes) && bytes == 0);
}

static void shape__refuses_what_does_not_fit(void **state)
{
    int64_t elements;
    size_t bytes;
    dt_shape negative = shape(2, -1, 4, 0), huge = shape(3, INT64_C(1) << 40, INT64_C(1) << 40, 1);
    dt_shape hidden = shape(3, 0, INT64_MAX, INT64_MAX), large = shape(1, INT64_MAX, 0, 0);
    dt_shape broken_block = shape(2, 32, 33, 0), too_many = {.rank = DT_MAX_RANK + 1}, too_few = {.rank = -1};
    assert_false(dt_shape_elements(&negative, &elements));
    assert_false(dt_shape_elements(&huge, &elements));
    assert_false(dt_shape_elements(&hidden, &elements)); /* a zero does not excuse its neighbours */
    assert_false(dt_shape_bytes(&large, DT_F16, &bytes));
    assert_false(dt_shape_bytes(&broken_block, DT_Q8_0, &bytes));
    assert_false(dt_shape_elements(&too_many, &elements) || dt_shape_bytes(&too_many, DT_F32, &bytes));
    assert_false(dt_shape_elements(&too_few, &elements) || dt_shape_bytes(&too_few, DT_F32, &bytes));
}

static void shape__equality_reads_only_its_rank(void **state)
{
    dt_shape a = shape(2, 3, 4, 5), b = shape(2, 3, 4, 6), c = shape(3, 3, 4, 5), d = shape(2, 4, 3, 0);
    assert_true(dt_shape_equal(&a, &b));
    assert_false(dt_shape_equal(&a, &c) || dt_shape_equal(&a, &d));
}

static void shape__prints_for_messages(void **state)
{
    dt_shape s = shape(3, 3, 8, 32), scalar = shape(0, 0, 0, 0);
    dt_shape widest = dt_shape_of(5, (int64_t[]){INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN});
    assert_string_equal(dt_shape_print(&s).text, "[3, 8, 32]");
    assert_string_equal(dt_shape_print(&scalar).text, "[]");
    assert_int_equal(strlen(dt_shape_print(&widest).text), 2 + 5 * 20 + 4 * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape__counts_elements_and_bytes),
        cmocka_unit_test(shape__refuses_what_does_not_fit),
        cmocka_unit_test(shape__equality_reads_only_its_rank),
        cmocka_unit_test(shape__prints_for_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
