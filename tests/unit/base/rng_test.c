/* rng_test.c - Philox by its published answers; numbers by what they promise. */
#include "unit.h"

#include "base/rng.h"

#include <math.h>

/* Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, answer. */
static const struct {
    uint32_t counter[4], key[2], answer[4];
} known[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void rng__philox_gives_the_published_answers(void **state)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const uint32_t *c = known[i].counter, *k = known[i].key;
        dt_rng rng = {.seed = (uint64_t)k[1] << 32 | k[0], .stream = (uint64_t)c[3] << 32 | c[2]};
        uint32_t out[4];
        dt_rng_block(&rng, (uint64_t)c[1] << 32 | c[0], out);
        assert_memory_equal(out, known[i].answer, sizeof out);
    }
}

static void rng__uniform_numbers_fill_the_unit_interval(void **state)
{
    enum { N = 100000 };
    dt_rng rng = {.seed = 1, .stream = 2};
    int bins[10] = {0};
    double sum = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = dt_rng_uniform(&rng, i);
        assert_true(u >= 0 && u < 1);
        bins[(int)(u * 10)]++;
        sum += u;
    }
    assert_true(fabs(sum / N - 0.5) < 5 * sqrt(1.0 / 12 / N)); /* five standard errors */
    for (int b = 0; b < 10; b++)
        assert_true(abs(bins[b] - N / 10) < 5 * sqrt(N * 0.09));
}

static void rng__normal_numbers_have_their_moments(void **state)
{
    enum { N = 100000 };
    static float x[N];
    dt_rng rng = {.seed = 3, .stream = 0};
    dt_rng_normal(&rng, 0, x, N);
    double sum = 0, squares = 0, fourth = 0, neighbours = 0;
    for (int i = 0; i < N; i++) {
        assert_true(isfinite(x[i]));
        sum += x[i];
        squares += (double)x[i] * x[i];
        fourth += (double)x[i] * x[i] * x[i] * x[i];
        neighbours += i ? (double)x[i] * x[i - 1] : 0;
    }
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(fourth / N - 3) < 5 * sqrt(96.0 / N));
    assert_true(fabs(neighbours / N) < 5 / sqrt(N));
}

static void rng__a_number_depends_on_its_index_alone(void **state)
{
    enum { N = 65 };
    float whole[N], part[N];
    dt_rng rng = {.seed = 9, .stream = 8};
    dt_rng_normal(&rng, 1000, whole, N);
    for (int64_t first = 0; first < N; first++)
        for (int64_t n = 0; n <= N - first; n += 7) {
            dt_rng_normal(&rng, 1000 + (uint64_t)first, part, n);
            assert_memory_equal(part, whole + first, (size_t)n * sizeof *part);
        }
}

static void rng__streams_and_seeds_differ(void **state)
{
    dt_rng a = {.seed = 1, .stream = 1}, b = {.seed = 1, .stream = 2}, c = {.seed = 2, .stream = 1};
    int same = 0;
    for (uint64_t i = 0; i < 1000; i++)
        same +=
            dt_rng_uniform(&a, i) == dt_rng_uniform(&b, i) || dt_rng_uniform(&a, i) == dt_rng_uniform(&c, i);
    assert_int_equal(same, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rng__philox_gives_the_published_answers),
        cmocka_unit_test(rng__uniform_numbers_fill_the_unit_interval),
        cmocka_unit_test(rng__normal_numbers_have_their_moments),
        cmocka_unit_test(rng__a_number_depends_on_its_index_alone),
        cmocka_unit_test(rng__streams_and_seeds_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
