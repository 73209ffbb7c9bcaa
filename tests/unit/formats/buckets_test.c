/*
 * buckets_test.c - repeated tables of T5's positions: for every distance, llama.cpp's bucket holds the model's row.
 */
#include "unit.h"

#include "backend/bucket.h"
#include "formats/buckets.h"

#include <math.h>

/* The bucket that llama.cpp takes: T5's formula with 128 for the largest distance, logarithms in its mixture of types. */
static int64_t of_llama_cpp(int64_t relative, int64_t buckets, bool bidirectional)
{
    int64_t base = 0, distance = relative < 0 ? -relative : 0;
    if (bidirectional) {
        buckets /= 2;
        base = relative > 0 ? buckets : 0;
        distance = relative < 0 ? -relative : relative;
    }
    int64_t exact = buckets / 2;
    if (distance < exact)
        return base + distance;
    double step = (double)(logf((float)distance / (float)exact) * (float)(buckets - exact)) /
                  log(128.0 / (double)exact);
    int64_t far = (int64_t)floorf((float)((double)exact + step));
    return base + (far < buckets - 1 ? far : buckets - 1);
}

static dt_model_config of(int64_t buckets, int64_t distance, bool encoder_only)
{
    dt_model_config c;
    dt_config_init(&c);
    c.relative_attention_num_buckets = buckets;
    c.relative_attention_max_distance = distance;
    c.encoder_only = encoder_only;
    return c;
}

static void check_direction(const dt_model_config *c, int64_t rows, bool both)
{
    for (int64_t d = -700; d <= (both ? 700 : 0); d++) {
        int64_t theirs = of_llama_cpp(d, rows, both);
        int64_t want = dt_relative_bucket(d, c->relative_attention_num_buckets,
                                          c->relative_attention_max_distance, both);
        assert_in_range(theirs, 0, rows - 1);
        if (dt_repeated_bucket(c, theirs, both) != want)
            fail_msg("%lld buckets to %lld, distance %lld: row %lld, expected %lld",
                     (long long)c->relative_attention_num_buckets,
                     (long long)c->relative_attention_max_distance, (long long)d,
                     (long long)dt_repeated_bucket(c, theirs, both), (long long)want);
    }
}

static void buckets__every_distance_finds_the_row_of_the_model(void **state)
{
    (void)state;
    int checked = 0;
    for (int64_t buckets = 4; buckets <= 64; buckets += 4)
        for (int64_t distance = 1; distance <= 160; distance++)
            for (int alone = 0; alone < 2; alone++) {
                dt_model_config c = of(buckets, distance, alone);
                int64_t rows = dt_repeated_buckets(&c);
                if (rows == 0 || distance == 128)
                    continue;
                check_direction(&c, rows, true);
                if (!alone)
                    check_direction(&c, rows, false);
                checked++;
            }
    assert_true(checked > 2000);
}

static void buckets__a_distance_of_128_repeats_nothing(void **state)
{
    (void)state;
    dt_model_config c = of(32, 128, false);
    assert_false(dt_repeats_buckets(&c));
    assert_int_equal(dt_repeated_buckets(&c), 32);
    for (int64_t row = 0; row < 32; row++)
        assert_int_equal(dt_repeated_bucket(&c, row, true), row);
}

static void buckets__distances_that_llama_cpp_cannot_tell_apart_have_no_table(void **state)
{
    (void)state;
    const dt_model_config row[] = {of(32, 1000, false),
                                   of(32, 100, false),
                                   of(32, 1000, true),
                                   of(0, 32, false),
                                   of(2, 32, false),
                                   of(32, -1, false),
                                   of(INT64_MAX, INT64_MAX, false)};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        assert_int_equal(dt_repeated_buckets(&row[i]), 0);
    dt_model_config alone = of(32, 100, true); /* a decoder's table needs twice as many single distances */
    assert_true(dt_repeated_buckets(&alone) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets__every_distance_finds_the_row_of_the_model),
        cmocka_unit_test(buckets__a_distance_of_128_repeats_nothing),
        cmocka_unit_test(buckets__distances_that_llama_cpp_cannot_tell_apart_have_no_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
