/*
 * pool.h - a team of threads that runs one function together.
 *
 * dt_pool_run wakes the team, runs fn(context, thread, threads) on each (the caller is thread 0) and returns
 * when all are done. Inside, dt_pool_barrier makes them meet; it spins briefly, then yields, so a step of many
 * small ops costs fractions of a microsecond a meeting. Between runs the team spins for a moment, then sleeps.
 * A pool of one thread never starts any. Calls of dt_pool_run on one pool must not overlap.
 */
#ifndef DT_BASE_POOL_H
#define DT_BASE_POOL_H

#include "base/fail.h"

#include <stdint.h>

typedef struct dt_pool dt_pool;
typedef void (*dt_pool_function)(void *context, int thread, int threads);

/* threads 0 = as many as the cores this process may use (affinity and cgroup quota). */
dt_status dt_pool_create(dt_pool **out, int threads, dt_error *err);
void dt_pool_destroy(dt_pool *pool); /* NULL is fine */
int dt_pool_threads(const dt_pool *pool);
void dt_pool_run(dt_pool *pool, dt_pool_function fn, void *context);
void dt_pool_barrier(dt_pool *pool); /* only inside fn, by every thread */
int dt_usable_cores(void);

/* The part of [0, count) that `thread` owns, in multiples of `grain`; static, so a core meets the same data. */
static inline void dt_share(int64_t count, int64_t grain, int thread, int threads, int64_t *begin,
                            int64_t *end)
{
    int64_t grains = (count + grain - 1) / grain;
    *begin = grains * thread / threads * grain;
    *end = grains * (thread + 1) / threads * grain;
    if (*begin > count)
        *begin = count;
    if (*end > count)
        *end = count;
}

#endif
