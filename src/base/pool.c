/*
 * pool.c - a team of threads, woken together and meeting at spinning barriers.
 *
 * A run is announced by raising `generation`. A worker that saw the old number spins on it for about a tenth
 * of a millisecond, which bridges the gap between two steps of one generation, and then sleeps on a condition
 * variable. Who announces looks at `sleepers` afterwards, who falls asleep looks at `generation` afterwards; both
 * use sequentially consistent order, so at least one of them sees the other and no wake-up is lost.
 * Everything that is written by one side and spun on by another has a cache line of its own.
 * When the team is larger than the cores it has, spinning would only keep the last thread from its core, so
 * waits yield at once.
 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 64, SPINS_IN_STEP = 4096, SPINS_BETWEEN_RUNS = 2048, MOST_THREADS = 4096 };

typedef struct worker {
    dt_pool *pool;
    int thread;
    pthread_t handle;
} worker;

struct dt_pool {
    int threads;
    int spins_in_step, spins_between_runs;
    worker *workers; /* threads - 1 of them: the caller is thread 0 */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    /* The announced run: written before generation rises, read after. */
    dt_pool_function fn;
    void *context;
    bool stopping;

    alignas(LINE_BYTES) atomic_uint generation;
    alignas(LINE_BYTES) atomic_int sleepers; /* raised and lowered under `mutex` */
    alignas(LINE_BYTES) atomic_int running;  /* workers that have not finished this run */
    alignas(LINE_BYTES) atomic_int arrived;  /* threads at the barrier */
    alignas(LINE_BYTES) atomic_uint phase;   /* barriers passed */
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* One turn of a waiting loop: pause at first, then let others have the core. */
static inline void wait_a_turn(int *turn, int spins)
{
    if (*turn < spins) {
        ++*turn;
        relax();
    } else {
        sched_yield();
    }
}

static void sleep_until_raised(dt_pool *pool, unsigned seen)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_for_run(dt_pool *pool, unsigned seen)
{
    for (int turn = 0; turn < pool->spins_between_runs; turn++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen)
            return;
        relax();
    }
    sleep_until_raised(pool, seen);
}

static void *work(void *argument)
{
    worker *self = argument;
    dt_pool *pool = self->pool;
    for (unsigned seen = 0;; seen++) {
        wait_for_run(pool, seen);
        if (pool->stopping)
            return NULL;
        pool->fn(pool->context, self->thread, pool->threads);
        atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
    }
}

static void announce(dt_pool *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static dt_status start_workers(dt_pool *pool, int wanted, dt_error *err)
{
    for (int i = 0; i < wanted - 1; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        w->thread = i + 1;
        int failure = pthread_create(&w->handle, NULL, work, w);
        if (failure != 0)
            return dt_fail(err, DT_NO_MEMORY, "cannot start thread %d of %d: %s", i + 2, wanted,
                           strerrordesc_np(failure));
        pool->threads++;
    }
    return DT_OK;
}

dt_status dt_pool_create(dt_pool **out, int threads, dt_error *err)
{
    *out = NULL;
    int cores = dt_usable_cores();
    if (threads == 0)
        threads = cores;
    if (threads < 1 || threads > MOST_THREADS)
        return dt_fail(err, DT_INVALID, "a team of %d threads; it takes 1 to %d, or 0 for one a core",
                       threads, MOST_THREADS);
    dt_pool *pool = aligned_alloc(LINE_BYTES, sizeof *pool);
    worker *workers = calloc((size_t)threads, sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return dt_fail_memory(err, sizeof *pool + (size_t)threads * sizeof *workers, "a thread pool");
    }
    memset(pool, 0, sizeof *pool);
    pool->workers = workers;
    pool->threads = 1;
    pool->spins_in_step = threads <= cores ? SPINS_IN_STEP : 0;
    pool->spins_between_runs = threads <= cores ? SPINS_BETWEEN_RUNS : 0;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    dt_status status = start_workers(pool, threads, err);
    if (status != DT_OK)
        dt_pool_destroy(pool);
    else
        *out = pool;
    return status;
}

void dt_pool_destroy(dt_pool *pool)
{
    if (!pool)
        return;
    pool->stopping = true;
    announce(pool);
    for (int i = 0; i < pool->threads - 1; i++)
        pthread_join(pool->workers[i].handle, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

int dt_pool_threads(const dt_pool *pool)
{
    return pool->threads;
}

void dt_pool_run(dt_pool *pool, dt_pool_function fn, void *context)
{
    if (pool->threads == 1) {
        fn(context, 0, 1);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    atomic_store_explicit(&pool->running, pool->threads - 1, memory_order_relaxed);
    announce(pool);
    fn(context, 0, pool->threads);
    for (int turn = 0; atomic_load_explicit(&pool->running, memory_order_acquire) > 0;)
        wait_a_turn(&turn, pool->spins_in_step);
}

/* The last to arrive resets the count and opens the next phase; who reads the new phase reads the reset too. */
void dt_pool_barrier(dt_pool *pool)
{
    if (pool->threads == 1)
        return;
    unsigned phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->threads - 1) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->phase, phase + 1, memory_order_release);
        return;
    }
    for (int turn = 0; atomic_load_explicit(&pool->phase, memory_order_acquire) == phase;)
        wait_a_turn(&turn, pool->spins_in_step);
}
