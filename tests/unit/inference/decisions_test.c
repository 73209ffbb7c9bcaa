/*
 * Decisions: penalties, bans, forced tokens, beams and distributions as transformers decides them, for logits that are
 * a table of the last token (decisions.json, made by decisions.py); and Megatron's sampler.
 */
#include "models.h"

#include "base/arena.h"
#include "inference/beam.h"
#include "inference/generation_config.h"
#include "inference/sampling.h"
#include "inference/scores.h"

#include <jansson.h>
#include <math.h>

enum { V = 23, LONGEST = 64 };

typedef struct suite {
    json_t *document;
    dt_arena *arena;
    float table[3][V * V];
    dt_pick_scratch scratch;
} suite;

static int open_suite(void **state)
{
    static suite s;
    static float score[V];
    static int32_t index[V];
    static double weight[V];
    static uint8_t seen[V];
    s.document = json_load_file("tests/unit/inference/decisions.json", 0, NULL);
    s.arena = dt_arena_create();
    s.scratch = (dt_pick_scratch){score, index, weight, seen};
    for (size_t t = 0; t < 3; t++)
        for (size_t i = 0; i < V * V; i++)
            s.table[t][i] = (float)json_number_value(
                json_array_get(json_array_get(json_object_get(s.document, "tables"), t), i));
    *state = &s;
    return s.document && s.arena ? 0 : -1;
}

static int close_suite(void **state)
{
    suite *s = *state;
    json_decref(s->document);
    dt_arena_destroy(s->arena);
    return 0;
}

typedef struct decision {
    const json_t *json;
    const float *table;
    dt_generate_options options;
    dt_rules rules;
    int32_t tokens[LONGEST];
    int64_t start, limit;
} decision;

/* Options are read as generation_config.json's. */
static decision decision_of(suite *s, const json_t *json)
{
    static const dt_generate_options plain = DT_GENERATE_OPTIONS_DEFAULT;
    dt_error err = {0};
    decision d = {.json = json, .options = plain};
    const json_t *prompt = json_object_get(json, "prompt");
    d.table = s->table[json_integer_value(json_object_get(json, "table"))];
    assert_ok(dt_generation_config_read(json_object_get(json, "options"), s->arena, NULL, &d.options, &err),
              err);
    d.start = (int64_t)json_array_size(prompt);
    for (int64_t i = 0; i < d.start; i++)
        d.tokens[i] = (int32_t)json_integer_value(json_array_get(prompt, (size_t)i));
    d.limit = d.start + d.options.max_tokens;
    return d;
}

static void assert_decided(const decision *d, const int32_t *tokens, int64_t count)
{
    const json_t *expected = json_object_get(d->json, "tokens");
    bool same = (int64_t)json_array_size(expected) == count;
    for (int64_t i = 0; same && i < count; i++)
        same = json_integer_value(json_array_get(expected, (size_t)i)) == tokens[i];
    if (!same)
        fail_msg("ours are %d tokens, the first %d: %s", (int)count, count ? (int)tokens[0] : -1,
                 json_dumps(d->json, 0));
}

static void decide_greedy(suite *s, decision *d)
{
    int64_t count = d->start;
    while (count < d->limit) {
        dt_row_so_far row = {.tokens = d->tokens, .count = count, .start = d->start, .limit = d->limit};
        int32_t token = dt_pick(&d->rules, &row, d->table + d->tokens[count - 1] * V, &s->scratch);
        assert_in_range(token, 0, V - 1);
        d->tokens[count++] = token;
        if (dt_rules_is_end(&d->rules, token))
            break;
    }
    assert_decided(d, d->tokens + d->start, count - d->start);
}

static void decide_beams(suite *s, decision *d)
{
    dt_error err = {0};
    dt_beam_search search;
    int64_t count;
    assert_ok(dt_beam_search_create(&search, s->arena, &d->rules, LONGEST, &err), err);
    dt_beam_search_begin(&search, d->tokens, d->start, d->limit);
    do {
        count = 0;
        for (int64_t b = 0; b < search.running; b++)
            count += dt_beam_search_continue(&search, b, d->table + search.tokens[b][search.count - 1] * V,
                                             &s->scratch, search.merged + count);
    } while (dt_beam_search_advance(&search, count));
    const dt_hypothesis *best = dt_beam_search_best(&search);
    assert_non_null(best);
    assert_decided(d, best->tokens + d->start, best->count - d->start);
    double score = json_number_value(json_object_get(d->json, "score"));
    assert_true(fabs(best->score - score) < 2e-5 * (1 + fabs(score)));
}

/* 20 000 draws: nothing that has no probability, and every frequency within 5.5 standard deviations. */
static void decide_drawn(suite *s, decision *d)
{
    enum { DRAWS = 20000 };
    int64_t drawn[V] = {0};
    const json_t *expected = json_object_get(d->json, "probabilities");
    for (uint64_t i = 0; i < DRAWS; i++) {
        dt_row_so_far row = {
            .tokens = d->tokens, .count = d->start, .start = d->start, .limit = d->limit, .stream = i};
        int32_t token = dt_pick(&d->rules, &row, d->table + d->tokens[d->start - 1] * V, &s->scratch);
        assert_in_range(token, 0, V - 1);
        drawn[token]++;
    }
    for (size_t t = 0; t < V; t++) {
        double p = json_number_value(json_array_get(expected, t)), mean = p * DRAWS;
        if (fabs((double)drawn[t] - mean) > 5.5 * sqrt(mean * (1 - p)) + (p > 0 ? 1 : 0))
            fail_msg("token %d came %d times, expected %g: %s", (int)t, (int)drawn[t], mean,
                     json_dumps(d->json, 0));
    }
}

static void decide_all(suite *s, const char *key, bool has_beams, void (*decide)(suite *, decision *))
{
    const json_t *json;
    size_t i;
    int checked = 0;
    json_array_foreach(json_object_get(s->document, "cases"), i, json)
    {
        decision d = decision_of(s, json);
        if (!json_object_get(json, key) || (d.options.beams > 1) != has_beams)
            continue;
        d.rules = (dt_rules){
            .options = &d.options, .vocab = V, .eos_count = d.options.eos_count, .eos = d.options.eos_ids};
        decide(s, &d);
        checked++;
    }
    assert_true(checked >= 30);
}

static void decisions__greedy_tokens_are_transformers(void **state)
{
    decide_all(*state, "tokens", false, decide_greedy);
}

static void decisions__beams_and_their_scores_are_transformers(void **state)
{
    decide_all(*state, "tokens", true, decide_beams);
}

static void decisions__draws_follow_transformers_distribution(void **state)
{
    decide_all(*state, "probabilities", false, decide_drawn);
}

/* ---- ranking ---- */

static void decisions__the_best_few_are_those_of_a_full_sort(void **state)
{
    enum { N = 500 };
    float score[N];
    int32_t best[N];
    srand(3);
    for (int i = 0; i < N; i++)
        score[i] = i % 50 == 7 ? NAN : i % 60 == 9 ? -INFINITY : (float)(rand() % 90); /* ties */
    for (int64_t k = 1; k <= N; k += 37) {
        int64_t found = dt_scores_best(score, N, k, best);
        for (int64_t i = 0; i < found; i++) { /* each is the best of what the ones before left */
            int expected = -1;
            for (int t = 0; t < N; t++) {
                bool taken = !(score[t] > -INFINITY);
                for (int64_t j = 0; j < i && !taken; j++)
                    taken = best[j] == t;
                if (!taken && (expected < 0 || score[t] > score[expected]))
                    expected = t;
            }
            assert_int_equal(best[i], expected);
        }
    }
}

static void decisions__nothing_is_picked_when_all_is_banned(void **state)
{
    suite *s = *state;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    dt_rules rules = {.options = &o, .vocab = V};
    dt_row_so_far row = {.tokens = (int32_t[]){1}, .count = 1, .start = 1, .limit = 5};
    int32_t all[V];
    float nothing[V];
    for (int i = 0; i < V; i++) {
        all[i] = i;
        nothing[i] = NAN;
    }
    assert_int_equal(dt_pick(&rules, &row, nothing, &s->scratch), -1);
    o.banned = all;
    o.banned_count = V;
    for (int sample = 0; sample < 2; sample++) {
        o.temperature = sample;
        assert_int_equal(dt_pick(&rules, &row, s->table[0], &s->scratch), -1);
    }
}

/* ---- Megatron's sampler ---- */

typedef struct tied {
    float logit, probability;
} tied;

static int by_logit(const void *left, const void *right)
{
    const tied *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit < b->logit ? -1 : 1;
    return (a->probability > b->probability) - (a->probability < b->probability);
}

/* Which of equal logits fall out of a nucleus is left open by torch's sort, which is not stable: how many must agree. */
static void assert_same_distribution(const float *logits, const float *ours, const float *theirs,
                                     int64_t count, const char *what)
{
    tied a[64], b[64];
    assert_in_range(count, 1, 64);
    for (int64_t t = 0; t < count; t++) {
        a[t] = (tied){logits[t], ours[t]};
        b[t] = (tied){logits[t], theirs[t]};
    }
    qsort(a, (size_t)count, sizeof *a, by_logit);
    qsort(b, (size_t)count, sizeof *b, by_logit);
    for (int64_t t = 0; t < count; t++)
        if (!(fabsf(a[t].probability - b[t].probability) < 1e-6f))
            fail_msg("%s, logit %g: %.9g, recorded %.9g", what, a[t].logit, a[t].probability,
                     b[t].probability);
}

static void decisions__megatrons_distribution_is_handed_on(void **state)
{
    dt_error err = {0};
    const char *path = fixture("megatron/inference/sampling.safetensors");
    int64_t dim[5];
    size_t i;
    json_t *one;
    need(path);
    tensors file = open_tensors(path);
    float *logits = read_tensor(file, "logits", DT_F32, dim), ours[64];
    int32_t *greedy = read_tensor(file, "greedy", DT_I32, dim);
    json_t *cases = json_loads(dt_stored_set_noted(file.set, "cases"), 0, NULL);
    assert_true(json_array_size(cases) > 10);
    json_array_foreach(cases, i, one)
    {
        char name[32];
        snprintf(name, sizeof name, "probabilities.%d",
                 (int)json_integer_value(json_object_get(one, "index")));
        float *expected = read_tensor(file, name, DT_F32, dim);
        for (int64_t b = 0; b < dim[0]; b++) {
            assert_ok(dt_megatron_sampling(logits + b * dim[1], dim[1],
                                           json_number_value(json_object_get(one, "temperature")),
                                           json_integer_value(json_object_get(one, "top_k")),
                                           json_number_value(json_object_get(one, "top_p")), ours, &err),
                      err);
            assert_same_distribution(logits + b * dim[1], ours, expected + b * dim[1], dim[1], name);
        }
        free(expected);
    }
    free(read_tensor(file, "logits", DT_F32, dim)); /* its dims again */
    for (int64_t b = 0; b < dim[0]; b++) {
        assert_ok(dt_megatron_sampling(logits + b * dim[1], dim[1], 1, 1, 0, ours, &err), err);
        assert_true(ours[greedy[b]] == 1);
    }
    assert_fails(dt_megatron_sampling(logits, 40, 1, 3, 0.5, ours, &err), DT_INVALID, err, "only one");
    assert_fails(dt_megatron_sampling(logits, 40, 1, 41, 0, ours, &err), DT_INVALID, err, "top_k is 41");
    assert_fails(dt_megatron_sampling(logits, 40, 1, 0, 1.5, ours, &err), DT_INVALID, err, "top_p");
    json_decref(cases);
    free(logits);
    free(greedy);
    dt_stored_set_destroy(file.set);
}

static void decisions__megatrons_status_is_updated_alike(void **state)
{
    const char *path = fixture("megatron/inference/status.json");
    need(path);
    json_t *expected = json_load_file(path, 0, NULL);
    int32_t sampled[] = {1, 1, 9, 9};
    bool started[] = {true, false, true, true}, done[] = {false, false, true, false};
    int64_t lengths[] = {3, 0, 2, 5};
    dt_megatron_update_status(4, sampled, started, 1, done, lengths);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(done[i], json_is_true(json_array_get(json_object_get(expected, "is_done"), i)));
        assert_int_equal(lengths[i],
                         json_integer_value(json_array_get(json_object_get(expected, "lengths"), i)));
    }
    json_decref(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decisions__greedy_tokens_are_transformers),
        cmocka_unit_test(decisions__beams_and_their_scores_are_transformers),
        cmocka_unit_test(decisions__draws_follow_transformers_distribution),
        cmocka_unit_test(decisions__the_best_few_are_those_of_a_full_sort),
        cmocka_unit_test(decisions__nothing_is_picked_when_all_is_banned),
        cmocka_unit_test(decisions__megatrons_distribution_is_handed_on),
        cmocka_unit_test(decisions__megatrons_status_is_updated_alike),
    };
    return cmocka_run_group_tests(tests, open_suite, close_suite);
}
