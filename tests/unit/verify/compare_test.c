/* compare_test.c - distances are what docs/recording.md says, and cannot hide a NaN. */
#include "unit.h"

#include "verify/compare.h"

#include <math.h>

static void compare__distance_is_the_largest_difference_over_the_largest_reference(void **state)
{
    dt_distance d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){1, 2.5f, -4}, (float[]){1, 2, -4}, 3);
    dt_distance_add(&d, (float[]){8}, (float[]){8.25f}, 1);
    assert_true(d.max_difference == 0.5 && d.max_reference == 8.25 && d.compared == 4);
    assert_true(fabs(dt_distance_relative(&d) - 0.5 / (8.25 + 1e-6)) < 1e-15);
    assert_true(d.finite && d.reference_finite);
}

static void compare__a_nan_of_ours_is_seen(void **state)
{
    dt_distance d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){NAN}, (float[]){1}, 1);
    assert_false(d.finite);
    d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){INFINITY}, (float[]){NAN}, 1);
    assert_false(d.finite);
}

static void compare__an_overflowed_reference_is_left_out(void **state)
{
    dt_distance d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){7, 1}, (float[]){INFINITY, 1.5f}, 2);
    assert_true(d.finite && !d.reference_finite);
    assert_int_equal(d.compared, 1);
    assert_true(d.max_difference == 0.5 && d.max_reference == 1.5);
}

/* A gradient that is mathematically zero is judged by the file's largest, or rounding noise would fail it. */
static void compare__tiny_gradients_are_judged_by_the_largest(void **state)
{
    dt_distance d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){2e-9f}, (float[]){1e-9f}, 1);
    assert_true(dt_distance_gradient(&d, 0) > 0.9);
    assert_true(dt_distance_gradient(&d, 1) < 1e-4);
    assert_true(dt_distance_gradient(&d, 1) < 1e-8); /* zero but for rounding, on both sides */
    d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){4e-7f}, (float[]){1e-7f}, 1);
    assert_true(dt_distance_gradient(&d, 1) > 1e-3); /* ours is not */
    d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){2e-6f}, (float[]){1e-6f}, 1);
    assert_true(dt_distance_gradient(&d, 1) > 1e-3);
    d = DT_DISTANCE_START;
    dt_distance_add(&d, (float[]){0}, (float[]){0}, 1);
    assert_true(dt_distance_gradient(&d, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compare__distance_is_the_largest_difference_over_the_largest_reference),
        cmocka_unit_test(compare__a_nan_of_ours_is_seen),
        cmocka_unit_test(compare__an_overflowed_reference_is_left_out),
        cmocka_unit_test(compare__tiny_gradients_are_judged_by_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
