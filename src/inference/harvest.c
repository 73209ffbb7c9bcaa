/*
 * harvest.c - works through a step's rows of logits on the team of threads. What each result means is generate.c's.
 */
#include "inference/harvest.h"

#include "inference/scores.h"

struct dt_harvest {
    dt_pool *pool;
    const dt_rules *rules;
    dt_pick_scratch *scratch; /* one a thread */
    dt_task *task;
    int64_t count, capacity;
};

dt_status dt_harvest_create(dt_harvest **out, dt_arena *arena, dt_pool *pool, const dt_rules *rules,
                            int64_t capacity, dt_error *err)
{
    int threads = dt_pool_threads(pool);
    dt_harvest *h = DT_NEW(arena, dt_harvest);
    dt_pick_scratch *scratch = DT_NEW_ARRAY(arena, dt_pick_scratch, threads);
    bool ready = h && scratch && (h->task = DT_NEW_ARRAY(arena, dt_task, capacity));
    for (int i = 0; ready && i < threads; i++) {
        scratch[i].score = DT_NEW_ARRAY(arena, float, rules->vocab);
        scratch[i].index = DT_NEW_ARRAY(arena, int32_t, rules->vocab);
        scratch[i].weight = DT_NEW_ARRAY(arena, double, rules->vocab);
        scratch[i].seen = DT_NEW_ARRAY(arena, uint8_t, rules->vocab);
        ready = scratch[i].score && scratch[i].index && scratch[i].weight && scratch[i].seen;
    }
    if (!ready)
        return dt_fail_memory(err, (size_t)rules->vocab * 17, "sampling");
    h->pool = pool;
    h->rules = rules;
    h->scratch = scratch;
    h->capacity = capacity;
    *out = h;
    return DT_OK;
}

void dt_harvest_begin(dt_harvest *h)
{
    h->count = 0;
}

dt_task *dt_harvest_add(dt_harvest *h, const dt_task *task)
{
    h->task[h->count] = *task;
    return &h->task[h->count++];
}

/* The model's own log-probabilities: of the token, and of the best. */
static void fill_logprob(const dt_rules *rules, const dt_task *t, dt_pick_scratch *scratch)
{
    dt_token_logprob *out = t->logprob;
    int64_t wanted = rules->options->logprobs > 0 ? rules->options->logprobs : 0;
    double log_sum = dt_scores_log_sum(t->logits, rules->vocab);
    int64_t found = wanted ? dt_scores_best(t->logits, rules->vocab, wanted, scratch->index) : 0;
    int32_t *ids = (int32_t *)(uintptr_t)out->top_ids; /* ours, shown to the caller as constant */
    float *values = (float *)(uintptr_t)out->top_logprobs;
    out->token = t->token;
    out->logprob = (float)((double)t->logits[t->token] - log_sum);
    out->top_count = (int)found;
    for (int64_t i = 0; i < found; i++) {
        ids[i] = scratch->index[i];
        values[i] = (float)((double)t->logits[ids[i]] - log_sum);
    }
}

static void work(const dt_rules *rules, dt_task *t, dt_pick_scratch *scratch)
{
    if (t->kind == DT_TASK_BEAM) {
        t->found = dt_beam_search_continue(t->search, t->beam, t->logits, scratch, t->out);
        return;
    }
    if (t->kind == DT_TASK_PICK)
        t->token = dt_pick(rules, &t->row, t->logits, scratch);
    if (t->logprob && t->token >= 0)
        fill_logprob(rules, t, scratch);
}

static void work_share(void *context, int thread, int threads)
{
    dt_harvest *h = context;
    for (int64_t i = thread; i < h->count; i += threads)
        work(h->rules, &h->task[i], &h->scratch[thread]);
}

void dt_harvest_run(dt_harvest *h)
{
    if (h->count == 1) /* not worth waking the team */
        work(h->rules, &h->task[0], &h->scratch[0]);
    else if (h->count > 1)
        dt_pool_run(h->pool, work_share, h);
}
