/*
 * beam.c - beam search equal to transformers' 5.x: candidates, finished hypotheses, and when to stop.
 *
 * Peer   transformers generation/utils.py, _beam_search and its helpers
 * Unlike it, beams that cannot win (transformers scores them -1e9) are not carried along: a first step has one beam,
 * a continuation of probability 0 none. Scores are f64.
 */
#include "inference/beam.h"

#include "inference/scores.h"

#include <math.h>
#include <string.h>

static bool new_sequences(dt_arena *arena, int32_t ***out, int64_t count, int64_t capacity)
{
    int32_t *tokens = DT_NEW_ARRAY(arena, int32_t, count * capacity);
    *out = DT_NEW_ARRAY(arena, int32_t *, count);
    for (int64_t i = 0; *out && tokens && i < count; i++)
        (*out)[i] = tokens + i * capacity;
    return *out && tokens;
}

dt_status dt_beam_search_create(dt_beam_search *s, dt_arena *arena, const dt_rules *rules, int64_t capacity,
                                dt_error *err)
{
    int64_t beams = rules->options->beams;
    int32_t **finished;
    *s = (dt_beam_search){.rules = rules, .beams = beams};
    s->keep = beams *
              (rules->eos_count > 0 ? 1 + rules->eos_count : 2); /* enough to go on if all ends come first */
    s->score = DT_NEW_ARRAY(arena, double, beams);
    s->parent = DT_NEW_ARRAY(arena, int64_t, beams);
    s->merged = DT_NEW_ARRAY(arena, dt_continuation, beams * s->keep);
    s->finished = DT_NEW_ARRAY(arena, dt_hypothesis, beams + 1);
    if (!s->score || !s->parent || !s->merged || !s->finished ||
        !new_sequences(arena, &s->tokens, beams, capacity) ||
        !new_sequences(arena, &s->next, beams, capacity) ||
        !new_sequences(arena, &finished, beams + 1, capacity))
        return dt_fail_memory(err, (size_t)(3 * beams * capacity) * sizeof(int32_t), "beams");
    for (int64_t i = 0; i <= beams; i++)
        s->finished[i].tokens = finished[i];
    return DT_OK;
}

void dt_beam_search_begin(dt_beam_search *s, const int32_t *tokens, int64_t start, int64_t limit)
{
    memcpy(s->tokens[0], tokens, (size_t)start * sizeof *tokens);
    s->start = s->count = start;
    s->limit = limit;
    s->running = 1;
    s->score[0] = 0;
    s->finished_count = 0;
    s->improvable = true;
}

int64_t dt_beam_search_continue(const dt_beam_search *s, int64_t beam, const float *logits,
                                dt_pick_scratch *scratch, dt_continuation *out)
{
    int64_t vocab = s->rules->vocab;
    double log_sum = dt_scores_log_sum(logits, vocab);
    dt_row_so_far row = {.tokens = s->tokens[beam], .count = s->count, .start = s->start, .limit = s->limit};
    for (int64_t i = 0; i < vocab; i++) /* processors see log-probabilities here */
        scratch->score[i] = (float)((double)logits[i] - log_sum);
    const float *score = dt_rules_apply(s->rules, &row, scratch->score, scratch);
    int64_t found = dt_scores_best(score, vocab, s->keep, scratch->index);
    for (int64_t i = 0; i < found; i++) {
        int32_t token = scratch->index[i];
        out[i] = (dt_continuation){
            .score = s->score[beam] + (double)score[token], .token = token, .beam = (int32_t)beam};
    }
    return found;
}

/* Of equals the earlier beam's lower token comes first. */
static bool better(const dt_continuation *a, const dt_continuation *b)
{
    if (a->score != b->score)
        return a->score > b->score;
    return a->beam != b->beam ? a->beam < b->beam : a->token < b->token;
}

/* Bring the best `keep` to the front in order. There are few, and qsort may allocate. */
static int64_t best_first(dt_continuation *c, int64_t count, int64_t keep)
{
    keep = keep < count ? keep : count;
    for (int64_t i = 0; i < keep; i++) {
        int64_t best = i;
        for (int64_t j = i + 1; j < count; j++)
            if (better(&c[j], &c[best]))
                best = j;
        dt_continuation moved = c[best];
        c[best] = c[i];
        c[i] = moved;
    }
    return keep;
}

static double penalised(const dt_beam_search *s, double score, int64_t length)
{
    return score / pow((double)length, s->rules->options->length_penalty);
}

static bool full(const dt_beam_search *s)
{
    return s->finished_count == s->beams;
}

/* Enter a finished hypothesis among the best, if it is one. The last place of `finished` is spare. */
static void finish(dt_beam_search *s, const dt_continuation *c)
{
    double score = penalised(s, c->score, s->count + 1 - s->start);
    int64_t at = s->finished_count;
    while (at > 0 && score > s->finished[at - 1].score)
        at--;
    if (at == s->beams)
        return;
    dt_hypothesis spare = s->finished[s->finished_count];
    memmove(s->finished + at + 1, s->finished + at, (size_t)(s->finished_count - at) * sizeof spare);
    spare.score = score;
    spare.count = s->count + 1;
    spare.ended = dt_rules_is_end(s->rules, c->token);
    memcpy(spare.tokens, s->tokens[c->beam], (size_t)s->count * sizeof *spare.tokens);
    spare.tokens[s->count] = c->token;
    s->finished[at] = spare;
    s->finished_count += !full(s); /* when full, the worst becomes the spare */
}

/* The best continuations that go on become the running beams. */
static void go_on(dt_beam_search *s, const dt_continuation *c, int64_t count)
{
    bool last = s->count + 1 >= s->limit;
    int64_t running = 0;
    for (int64_t i = 0; i < count && running < s->beams && !last; i++) {
        if (dt_rules_is_end(s->rules, c[i].token))
            continue;
        memcpy(s->next[running], s->tokens[c[i].beam], (size_t)s->count * sizeof **s->next);
        s->next[running][s->count] = c[i].token;
        s->parent[running] = c[i].beam;
        s->score[running++] = c[i].score; /* continuations hold the old scores already */
    }
    int32_t **tokens = s->tokens;
    s->tokens = s->next;
    s->next = tokens;
    s->running = running;
}

/* Could the best running beam still beat the worst finished one? transformers' three heuristics. */
static bool still_improvable(const dt_beam_search *s)
{
    const dt_generate_options *o = s->rules->options;
    bool longest = o->early_stopping == 2 && o->length_penalty > 0;
    if (!s->running || !full(s))
        return s->running > 0;
    double hope = penalised(s, s->score[0], (longest ? s->limit : s->count) - s->start);
    return hope > s->finished[s->finished_count - 1].score;
}

bool dt_beam_search_advance(dt_beam_search *s, int64_t count)
{
    bool first_suffice = s->rules->options->early_stopping == 1;
    count = best_first(s->merged, count, s->keep);
    bool open = s->improvable && !(first_suffice && full(s));
    for (int64_t i = 0; i < count && i < s->beams && open; i++)
        if (dt_rules_is_end(s->rules, s->merged[i].token) || s->count + 1 >= s->limit)
            finish(s, &s->merged[i]);
    go_on(s, s->merged, count);
    s->count++;
    s->improvable = s->improvable && still_improvable(s);
    return s->improvable && !(first_suffice && full(s));
}

const dt_hypothesis *dt_beam_search_best(const dt_beam_search *s)
{
    return s->finished_count ? &s->finished[0] : NULL;
}
