/*
 * sampling.c - drawing a token: temperature, top k, nucleus, min p, and one random number; Megatron's variant.
 *
 * transformers and Megatron agree but for the edge of the nucleus: a token is left out when the likelier ones reach
 * p (transformers) or exceed it (Megatron); and Megatron has either top k or top p.
 */
#include "inference/sampling.h"

#include "base/rng.h"
#include "inference/scores.h"

#include <math.h>
#include <stdlib.h>

/* What is drawn from: tokens and their weights, e^(score - largest), which need not sum to 1. */
typedef struct candidates {
    const float *score; /* by token */
    int32_t *token;
    double *weight;
    int64_t count;
} candidates;

typedef struct narrowing {
    int64_t top_k;
    double top_p, min_p;
    bool megatron;
} narrowing;

/* Candidates: every token above minus infinity and not below the k-th best. */
static void begin(candidates *c, int64_t vocab, int64_t top_k)
{
    float least = -INFINITY;
    if (top_k > 0 && top_k < vocab) {
        int64_t found = dt_scores_best(c->score, vocab, top_k, c->token);
        least = found ? c->score[c->token[found - 1]] : least;
    }
    c->count = 0;
    for (int64_t i = 0; i < vocab; i++)
        if (c->score[i] > -INFINITY && c->score[i] >= least)
            c->token[c->count++] = (int32_t)i;
}

/* Weights of all candidates, summed in f64 in their order. */
static double weigh(candidates *c)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < c->count; i++)
        most = fmax(most, c->score[c->token[i]]);
    for (int64_t i = 0; i < c->count; i++)
        sum += c->weight[i] = exp((double)c->score[c->token[i]] - most);
    return sum;
}

/* Is a token out when the likelier ones have `before`? f32 as both makers compare. */
static bool outside(double before, const narrowing *n)
{
    return n->megatron ? (float)before > (float)n->top_p : (float)before >= (float)n->top_p;
}

/*
 * Keep the likeliest tokens up to top_p, best first. Those are few as a rule, so the best 64, 512, … are ranked until
 * they suffice. `score` holds minus infinity for what is no candidate.
 */
static void nucleus(candidates *c, int64_t vocab, double sum, const narrowing *n)
{
    for (int64_t k = 64;; k *= 8) {
        int64_t found = dt_scores_best(c->score, vocab, k, c->token), kept = 0;
        double before = 0, most = found ? c->score[c->token[0]] : 0;
        for (; kept < found && (kept == 0 || !outside(before, n)); kept++) {
            c->weight[kept] = exp((double)c->score[c->token[kept]] - most);
            before += (float)(c->weight[kept] / sum);
        }
        c->count = kept;
        if (kept < found || found < k)
            return;
    }
}

static void drop_unlikely(candidates *c, double min_p)
{
    int64_t kept = 0; /* weights are relative to the likeliest token's */
    for (int64_t i = 0; i < c->count; i++)
        if (c->weight[i] >= min_p) {
            c->token[kept] = c->token[i];
            c->weight[kept++] = c->weight[i];
        }
    c->count = kept;
}

/* Narrow `score` (changed: what falls out of the top k becomes minus infinity) to what is drawn from. */
static double narrow(candidates *c, float *score, int64_t vocab, const narrowing *n)
{
    c->score = score;
    begin(c, vocab, n->top_k);
    double sum = weigh(c);
    if (n->top_p > 0 && (n->top_p < 1 || n->megatron)) {
        int64_t next = 0;
        for (int64_t i = 0; i < vocab; i++) {
            bool candidate = next < c->count && c->token[next] == i;
            next += candidate;
            score[i] = candidate ? score[i] : -INFINITY;
        }
        nucleus(c, vocab, sum, n);
    }
    if (n->min_p > 0)
        drop_unlikely(c, n->min_p);
    sum = 0;
    for (int64_t i = 0; i < c->count; i++)
        sum += c->weight[i];
    return sum;
}

static int32_t draw(const candidates *c, double sum, double uniform)
{
    double left = uniform * sum;
    for (int64_t i = 0; i < c->count; i++)
        if ((left -= c->weight[i]) < 0)
            return c->token[i];
    return c->count ? c->token[c->count - 1] : -1; /* rounding */
}

int32_t dt_pick(const dt_rules *rules, const dt_row_so_far *row, const float *logits,
                dt_pick_scratch *scratch)
{
    const dt_generate_options *o = rules->options;
    const float *score = dt_rules_apply(rules, row, logits, scratch);
    if (o->temperature <= 0 || o->top_k == 1)
        return dt_scores_largest(score, rules->vocab);
    for (int64_t i = 0; i < rules->vocab; i++)
        scratch->score[i] = score[i] / (float)o->temperature;
    candidates c = {.token = scratch->index, .weight = scratch->weight};
    narrowing n = {.top_k = o->top_k, .top_p = o->top_p, .min_p = o->min_p};
    double sum = narrow(&c, scratch->score, rules->vocab, &n);
    dt_rng rng = {.seed = o->seed, .stream = row->stream};
    return draw(&c, sum, dt_rng_uniform(&rng, (uint64_t)(row->count - row->start)));
}

/* ---- Megatron's ---- */

static dt_status check_megatron(int64_t vocab, double temperature, int64_t top_k, double top_p, dt_error *err)
{
    if (top_k > 0 && top_p > 0)
        return dt_fail(err, DT_INVALID, "top_k %lld and top_p %g: only one of them may be above 0",
                       (long long)top_k, top_p);
    if (!(top_p <= 1))
        return dt_fail(err, DT_INVALID, "top_p is %g, expected at most 1", top_p);
    if (top_k > 1 && top_k >= vocab)
        return dt_fail(err, DT_INVALID, "top_k is %lld, expected less than the vocabulary's %lld",
                       (long long)top_k, (long long)vocab);
    if (!(temperature > 0) && top_k != 1)
        return dt_fail(err, DT_INVALID, "temperature is %g, expected more than 0", temperature);
    return DT_OK;
}

dt_status dt_megatron_sampling(const float *logits, int64_t vocab, double temperature, int64_t top_k,
                               double top_p, float *probabilities, dt_error *err)
{
    DT_PASS(check_megatron(vocab, temperature, top_k, top_p, err));
    float *score = malloc((size_t)vocab * sizeof *score);
    candidates c = {.token = malloc((size_t)vocab * sizeof *c.token),
                    .weight = malloc((size_t)vocab * sizeof *c.weight)};
    narrowing n = {.top_k = top_k, .top_p = top_p, .megatron = true};
    bool ready = score && c.token && c.weight;
    if (ready && top_k == 1) {
        int32_t largest = dt_scores_largest(logits, vocab);
        for (int64_t i = 0; i < vocab; i++)
            probabilities[i] = i == largest;
    } else if (ready) {
        for (int64_t i = 0; i < vocab; i++)
            score[i] = logits[i] / (float)temperature;
        double sum = narrow(&c, score, vocab, &n);
        for (int64_t i = 0; i < vocab; i++)
            probabilities[i] = 0;
        for (int64_t i = 0; i < c.count; i++)
            probabilities[c.token[i]] = (float)(c.weight[i] / sum);
    }
    free(score);
    free(c.token);
    free(c.weight);
    return ready ? DT_OK : dt_fail_memory(err, (size_t)vocab * sizeof(double), "a row of logits");
}

void dt_megatron_update_status(int64_t rows, const int32_t *sampled, const bool *started,
                               int32_t termination_id, bool *done, int64_t *lengths)
{
    for (int64_t i = 0; i < rows; i++) {
        if (started[i] && sampled[i] == termination_id)
            done[i] = true;
        lengths[i] += started[i] && !done[i];
    }
}
