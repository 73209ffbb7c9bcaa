/* pool_test.c - a team runs a function once each, meets at barriers, and sleeps in between. Runs under TSan too. */
#include "unit.h"

#include "base/pool.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

typedef struct counts {
    dt_pool *pool;
    int calls[16]; /* plain on purpose: TSan sees a missing order */
    int threads;
} counts;

static void count_call(void *context, int thread, int threads)
{
    counts *c = context;
    c->calls[thread]++;
    if (thread == 0)
        c->threads = threads;
}

static void pool__every_thread_runs_once_a_run(void **state)
{
    dt_error err = {0};
    for (int threads = 1; threads <= 5; threads++) {
        counts c = {0};
        assert_ok(dt_pool_create(&c.pool, threads, &err), err);
        assert_int_equal(dt_pool_threads(c.pool), threads);
        for (int run = 1; run <= 500; run++) {
            dt_pool_run(c.pool, count_call, &c);
            for (int t = 0; t < threads; t++)
                assert_int_equal(c.calls[t], run);
        }
        assert_int_equal(c.threads, threads);
        dt_pool_destroy(c.pool);
    }
}

typedef struct relay {
    dt_pool *pool;
    int64_t cell[16];
    atomic_int wrong;
} relay;

/* Each step every thread writes its cell, meets, reads all the others' cells, meets. */
static void relay_steps(void *context, int thread, int threads)
{
    relay *r = context;
    for (int64_t step = 1; step <= 300; step++) {
        r->cell[thread] = step * (thread + 1);
        dt_pool_barrier(r->pool);
        for (int other = 0; other < threads; other++)
            if (r->cell[other] != step * (other + 1))
                r->wrong++;
        dt_pool_barrier(r->pool);
    }
}

static void pool__a_barrier_shows_everyone_what_was_written_before(void **state)
{
    dt_error err = {0};
    for (int threads = 1; threads <= 4; threads++) {
        relay r = {0};
        assert_ok(dt_pool_create(&r.pool, threads, &err), err);
        for (int run = 0; run < 5; run++)
            dt_pool_run(r.pool, relay_steps, &r);
        assert_int_equal(r.wrong, 0);
        dt_pool_destroy(r.pool);
    }
}

static void pool__wakes_a_team_that_fell_asleep(void **state)
{
    dt_error err = {0};
    counts c = {0};
    assert_ok(dt_pool_create(&c.pool, 3, &err), err);
    for (int run = 1; run <= 20; run++) {
        usleep(run % 2 ? 3000 : 50); /* long enough to sleep, or about when falling asleep */
        dt_pool_run(c.pool, count_call, &c);
        assert_int_equal(c.calls[2], run);
    }
    dt_pool_destroy(c.pool);
}

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void pool__idle_teams_use_no_processor(void **state)
{
    dt_error err = {0};
    counts c = {0};
    assert_ok(dt_pool_create(&c.pool, 2, &err), err);
    dt_pool_run(c.pool, count_call, &c);
    usleep(50000);
    double before = cpu_seconds();
    usleep(300000);
    assert_true(cpu_seconds() - before < 0.1); /* a thread that spun would have used 0.3 s */
    dt_pool_destroy(c.pool);
}

static void pool__takes_the_usable_cores_by_default(void **state)
{
    dt_error err = {0};
    dt_pool *pool;
    assert_true(dt_usable_cores() >= 1);
    assert_ok(dt_pool_create(&pool, 0, &err), err);
    assert_int_equal(dt_pool_threads(pool), dt_usable_cores());
    dt_pool_destroy(pool);
    dt_pool_destroy(NULL);
}

static void pool__refuses_absurd_teams(void **state)
{
    dt_error err = {0};
    dt_pool *pool;
    assert_fails(dt_pool_create(&pool, -1, &err), DT_INVALID, err, "-1 threads");
    assert_fails(dt_pool_create(&pool, 1 << 30, &err), DT_INVALID, err, "1 to");
    assert_null(pool);
}

static void pool__shares_cover_everything_once(void **state)
{
    for (int64_t count = 0; count < 70; count++)
        for (int64_t grain = 1; grain < 20; grain += 3)
            for (int threads = 1; threads < 9; threads++) {
                int64_t next = 0;
                for (int t = 0; t < threads; t++) {
                    int64_t begin, end;
                    dt_share(count, grain, t, threads, &begin, &end);
                    assert_int_equal(begin, next);
                    assert_true(end >= begin && (end % grain == 0 || end == count));
                    next = end;
                }
                assert_int_equal(next, count);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool__every_thread_runs_once_a_run),
        cmocka_unit_test(pool__a_barrier_shows_everyone_what_was_written_before),
        cmocka_unit_test(pool__wakes_a_team_that_fell_asleep),
        cmocka_unit_test(pool__idle_teams_use_no_processor),
        cmocka_unit_test(pool__takes_the_usable_cores_by_default),
        cmocka_unit_test(pool__refuses_absurd_teams),
        cmocka_unit_test(pool__shares_cover_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
