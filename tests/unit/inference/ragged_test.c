/*
 * Same bits: a row's log-probabilities do not depend on its neighbours, the threads, or how its prompt was cut.
 * And what must not happen: an allocation in a decoding step, a refusal that does not name row, id and limit.
 */
#include "recorded.h"

enum { ROWS = 8 };

/* ---- same bits ---- */

static void set_options(dt_generate_options *o, int64_t chunk, int64_t batch)
{
    static const dt_generate_options plain = DT_GENERATE_OPTIONS_DEFAULT;
    *o = plain;
    o->max_tokens = 5;
    o->ignore_eos = true;
    o->prompt_logprobs = true;
    o->logprobs = 3;
    o->chunk = chunk;
    o->max_batch = batch;
}

static void assert_same_logprobs(const dt_token_logprob *a, const dt_token_logprob *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(a[i].token, b[i].token);
        assert_memory_equal(&a[i].logprob, &b[i].logprob, sizeof a[i].logprob);
        assert_int_equal(a[i].top_count, b[i].top_count);
        assert_memory_equal(a[i].top_ids, b[i].top_ids, (size_t)a[i].top_count * sizeof *a[i].top_ids);
        assert_memory_equal(a[i].top_logprobs, b[i].top_logprobs,
                            (size_t)a[i].top_count * sizeof *a[i].top_logprobs);
    }
}

static void assert_same_answer(const dt_generated *a, const dt_generated *b, size_t scored)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->tokens, b->tokens, a->count * sizeof *a->tokens);
    assert_same_logprobs(a->logprobs, b->logprobs, a->count);
    assert_same_logprobs(a->prompt_logprobs, b->prompt_logprobs, scored);
}

/* Tokens of a prompt that are scored: all but the first of what the decoder is given. */
static size_t scored_of(const dt_prompt *p)
{
    return (p->decoder_tokens ? p->decoder_count : p->count) - 1;
}

static void compare_ways(const char *folder, const char *backend, const char *dtype)
{
    dt_error err = {0};
    recorded r;
    dt_prompt prompt[64];
    dt_generation *alone[ROWS], *other;
    dt_generate_options o;
    int64_t dim[5];
    assert_true(open_recorded(&r, folder));
    int64_t rows = r.rows < ROWS ? r.rows : ROWS;
    set_prompts(&r, prompt);
    int32_t *lengths = r.starts ? read_tensor(r.file, "in.decoder_lengths", DT_I32, dim) : NULL;
    for (int64_t b = 0; lengths && b < rows; b++)
        prompt[b].decoder_count = (size_t)lengths[b];
    for (int threads = 1; threads <= 2; threads++) {
        dt_model *model = open_model(folder, backend, dtype, threads);
        for (int64_t b = 0; threads == 1 && b < rows; b++) {
            set_options(&o, 0, 0);
            assert_ok(dt_generate(&alone[b], model, 1, &prompt[b], &o, &err), err);
        }
        static const int64_t chunk[] = {0, 1, 7, 64}, batch[] = {0, 2};
        for (size_t i = 0; i < 8; i++) {
            set_options(&o, chunk[i % 4], batch[i / 4]);
            assert_ok(dt_generate(&other, model, (size_t)rows, prompt, &o, &err), err);
            for (int64_t b = 0; b < rows; b++)
                assert_same_answer(dt_generation_row(alone[b], 0), dt_generation_row(other, (size_t)b),
                                   scored_of(&prompt[b]));
            dt_generation_destroy(other);
        }
        dt_model_close(model);
    }
    for (int64_t b = 0; b < rows; b++)
        dt_generation_destroy(alone[b]);
    free(lengths);
    close_recorded(&r);
}

static void compare_families(const char *backend, const char *dtype)
{
    static const char *const family[] = {
        "hf/llama-gqa",     "hf/llama-medium",
        "hf/gpt2",          "megatron/gpt_rope_scaled",
        "hf/t5-v1.1",       "hf/t5-medium",
        "megatron/t5_rope", "hf/mistral",
        "hf/gemma3",        "megatron/gpt_window_sink", /* windows, over a cache in chunks */
        "hf/falcon-rw6",    "hf/gpt-oss",
        "hf/llama-dynamic", "hf/phi3-longrope"};
    int found = 0;
    if (!have_backend(backend))
        skip();
    for (size_t i = 0; i < sizeof family / sizeof family[0]; i++) {
        const char *folder = fixture(family[i]);
        if (!folder || (strstr(folder, "medium") && strcmp(backend, "reference") == 0)) /* slow there */
            continue;
        compare_ways(folder, backend, dtype);
        found++;
    }
    if (!found)
        skip();
}

static void ragged__bits_are_the_same_in_any_company_on_reference(void **state)
{
    compare_families("reference", "f32");
}

static void ragged__bits_are_the_same_in_any_company_on_cpu(void **state)
{
    compare_families("cpu", "f32");
}

static void ragged__bits_are_the_same_in_any_company_in_bf16(void **state)
{
    compare_families("cpu", "bf16");
}

/* Drawn answers come from a row's own stream: alone as row 0, or at another place, the seed decides with the row. */
static void ragged__drawn_answers_do_not_depend_on_neighbours(void **state)
{
    dt_error err = {0};
    recorded r;
    dt_prompt prompt[64];
    dt_generation *all, *some;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    const char *folder = fixture("hf/llama-gqa");
    need(folder);
    assert_true(open_recorded(&r, folder));
    set_prompts(&r, prompt);
    dt_model *model = open_model(folder, "reference", "f32", 2);
    o.max_tokens = 20;
    o.temperature = 1.5;
    o.top_p = 0.9;
    o.seed = 7;
    o.ignore_eos = true;
    assert_ok(dt_generate(&all, model, (size_t)r.rows, prompt, &o, &err), err);
    o.max_batch = 1;
    assert_ok(dt_generate(&some, model, (size_t)r.rows - 1, prompt, &o, &err), err);
    for (int64_t b = 0; b < r.rows - 1; b++)
        assert_memory_equal(dt_generation_row(all, (size_t)b)->tokens,
                            dt_generation_row(some, (size_t)b)->tokens, 20 * sizeof(int32_t));
    dt_generation_destroy(some);
    o.seed = 8;
    assert_ok(dt_generate(&some, model, 1, prompt, &o, &err), err);
    assert_memory_not_equal(dt_generation_row(all, 0)->tokens, dt_generation_row(some, 0)->tokens,
                            20 * sizeof(int32_t));
    dt_generation_destroy(some);
    dt_generation_destroy(all);
    dt_model_close(model);
    close_recorded(&r);
}

/* ---- no allocation in a step ---- */

static size_t allocations;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __real_realloc(old, bytes);
}

static bool note_allocations(void *user, int64_t row, int32_t token)
{
    size_t **next = user;
    *(*next)++ = allocations;
    return true;
}

static void ragged__decoding_allocates_nothing(void **state)
{
    static const char *const backend[] = {"reference", "cpu"};
    dt_error err = {0};
    const char *folder = fixture("hf/llama-gqa");
    need(folder);
    for (size_t i = 0; i < 2; i++) {
        size_t seen[130], *next = seen;
        int32_t tokens[] = {5, 9, 11};
        dt_generation *g;
        dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
        if (!have_backend(backend[i]))
            continue;
        dt_model *model = open_model(folder, backend[i], "f32", 2);
        o.max_tokens = 40; /* 2 rows of 3 + 40 tokens */
        o.ignore_eos = true;
        o.temperature = 1;
        o.top_k = 20;
        o.top_p = 0.9;
        o.repetition_penalty = 1.1;
        o.no_repeat_ngram = 4;
        o.logprobs = 2;
        o.on_token = note_allocations;
        o.user = &next;
        dt_prompt prompt[] = {{.tokens = tokens, .count = 3}, {.tokens = tokens, .count = 2}};
        assert_ok(dt_generate(&g, model, 2, prompt, &o, &err), err);
        assert_int_equal(next - seen, 80);
        assert_true(seen[0] > 0);            /* or nothing was counted */
        assert_int_equal(seen[0], seen[78]); /* the last tokens end their rows, and an answer is copied */
        dt_generation_timing timing = dt_generation_timing_of(g);
        assert_int_equal(timing.prefill_tokens, 5);
        assert_int_equal(timing.decode_tokens, 78);
        assert_true(timing.peak_bytes > 0);
        dt_generation_destroy(g);
        dt_model_close(model);
    }
}

/* ---- places ---- */

enum { CROWD = 24 };

/* Rows in the order of their first tokens. */
typedef struct arrivals {
    int64_t row[CROWD], count;
    bool seen[CROWD];
} arrivals;

static bool note_arrival(void *user, int64_t row, int32_t token)
{
    arrivals *a = user;
    if (!a->seen[row])
        a->row[a->count++] = row;
    return a->seen[row] = true;
}

static void crowd_prompts(dt_prompt *prompt, const int32_t *tokens)
{
    for (size_t i = 0; i < CROWD; i++)
        prompt[i] = (dt_prompt){.tokens = tokens + i, .count = 1 + (i * 7) % 19};
}

/* A cache for few rows, a step for few, places for few: the same bits as with room for all, answers in input order. */
static void compare_room(const char *folder, const dt_generate_options *tight)
{
    dt_error err = {0};
    int32_t tokens[64];
    dt_prompt prompt[CROWD];
    dt_generation *all, *some;
    dt_generate_options roomy = *tight;
    for (int i = 0; i < 64; i++)
        tokens[i] = 3 + i % 50;
    crowd_prompts(prompt, tokens);
    roomy.chunk = roomy.max_batch = 0;
    roomy.cache_bytes = 0;
    dt_model *model = open_model(folder, "cpu", "f32", 2);
    assert_ok(dt_generate(&all, model, CROWD, prompt, &roomy, &err), err);
    assert_ok(dt_generate(&some, model, CROWD, prompt, tight, &err), err);
    for (size_t i = 0; i < CROWD; i++) {
        const dt_generated *a = dt_generation_row(all, i), *b = dt_generation_row(some, i);
        assert_int_equal(a->count, b->count);
        assert_memory_equal(a->tokens, b->tokens, a->count * sizeof *a->tokens);
        assert_same_logprobs(a->logprobs, b->logprobs, a->logprobs ? a->count : 0);
    }
    assert_true(dt_generation_timing_of(some).peak_bytes < dt_generation_timing_of(all).peak_bytes);
    dt_generation_destroy(all);
    dt_generation_destroy(some);
    dt_model_close(model);
}

static void ragged__little_room_changes_no_bit(void **state)
{
    static const char *const family[] = {"hf/llama-gqa", "hf/t5-v1.1"};
    if (!have_backend("cpu"))
        skip();
    for (size_t i = 0; i < 2; i++) {
        const char *folder = fixture(family[i]);
        need(folder);
        for (int beams = 1; beams <= 3; beams += 2) {
            dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
            o.max_tokens = 9;
            o.logprobs = beams == 1 ? 2 : -1;
            o.beams = beams;
            o.chunk = 5;
            o.cache_bytes = 1; /* the longest alone */
            compare_room(folder, &o);
            o.chunk = 16;
            o.cache_bytes = 60 << 10;
            compare_room(folder, &o);
        }
    }
}

static void ragged__the_longest_prompts_come_first(void **state)
{
    dt_error err = {0};
    int32_t tokens[64];
    dt_prompt prompt[CROWD];
    dt_generation *g;
    arrivals a = {.count = 0};
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    const char *folder = fixture("hf/llama-gqa");
    need(folder);
    for (int i = 0; i < 64; i++)
        tokens[i] = 3 + i % 50;
    crowd_prompts(prompt, tokens);
    dt_model *model = open_model(folder, "reference", "f32", 1);
    o.max_tokens = 2;
    o.max_batch = 1;
    o.ignore_eos = true;
    o.on_token = note_arrival;
    o.user = &a;
    assert_ok(dt_generate(&g, model, CROWD, prompt, &o, &err), err);
    assert_int_equal(a.count, CROWD);
    for (int i = 1; i < CROWD; i++) {
        size_t before = prompt[a.row[i - 1]].count, here = prompt[a.row[i]].count;
        assert_true(before > here || (before == here && a.row[i - 1] < a.row[i]));
    }
    dt_generation_destroy(g);
    dt_model_close(model);
}

/* ---- ends ---- */

static bool stop_at_third(void *user, int64_t row, int32_t token)
{
    int *count = user;
    return ++*count < 3;
}

static void ragged__a_caller_can_stop_a_row(void **state)
{
    dt_error err = {0};
    int32_t tokens[] = {5, 9, 11};
    int count = 0;
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    const char *folder = fixture("hf/llama-gqa");
    need(folder);
    dt_model *model = open_model(folder, "reference", "f32", 1);
    o.ignore_eos = true;
    o.on_token = stop_at_third;
    o.user = &count;
    assert_ok(dt_generate(&g, model, 1, &(dt_prompt){.tokens = tokens, .count = 3}, &o, &err), err);
    assert_int_equal(dt_generation_row(g, 0)->finish, DT_FINISH_STOP);
    assert_int_equal(dt_generation_row(g, 0)->count, 3);
    dt_generation_destroy(g);
    dt_model_close(model);
}

/* No new tokens are asked for: prompts are scored, and without that nothing runs. */
static void ragged__zero_tokens_only_score(void **state)
{
    dt_error err = {0};
    int32_t tokens[] = {5, 9, 11};
    dt_prompt prompt[] = {{.tokens = tokens, .count = 3}, {.tokens = tokens, .count = 1}};
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    const char *folder = fixture("hf/llama-gqa");
    need(folder);
    dt_model *model = open_model(folder, "reference", "f32", 1);
    o.max_tokens = 0;
    for (int score = 0; score < 2; score++) {
        o.prompt_logprobs = score;
        assert_ok(dt_generate(&g, model, 2, prompt, &o, &err), err);
        assert_int_equal(dt_generation_row(g, 0)->count, 0);
        assert_int_equal(dt_generation_row(g, 1)->finish, DT_FINISH_LENGTH);
        if (score)
            assert_true(dt_generation_row(g, 0)->prompt_logprobs[1].logprob < 0);
        dt_generation_destroy(g);
    }
    o.max_tokens = -1;
    o.max_length = 5;
    o.ignore_eos = true;
    assert_ok(dt_generate(&g, model, 2, prompt, &o, &err), err);
    assert_int_equal(dt_generation_row(g, 0)->count, 2);
    assert_int_equal(dt_generation_row(g, 1)->count, 4);
    dt_generation_destroy(g);
    dt_model_close(model);
}

/* ---- refusals ---- */

static void ragged__bad_prompts_are_refused_by_row_id_and_limit(void **state)
{
    dt_error err = {0};
    int32_t tokens[200] = {5, 9, 11}, outside[] = {4, 100000};
    dt_generation *g;
    const char *folder = fixture("megatron/gpt_learned");
    need(folder);
    dt_model *model = open_model(folder, "reference", "f32", 1);
    dt_prompt good = {.tokens = tokens, .count = 3};
    dt_prompt two[] = {good, {.tokens = tokens, .count = 0}};
    assert_fails(dt_generate(&g, model, 2, two, NULL, &err), DT_INVALID, err, "prompt 1 is empty");
    two[1] = (dt_prompt){.tokens = outside, .count = 2};
    assert_fails(dt_generate(&g, model, 2, two, NULL, &err), DT_INVALID, err,
                 "prompt 1: token 1 is id 100000");
    two[1] = (dt_prompt){.tokens = tokens, .count = 200};
    assert_fails(dt_generate(&g, model, 2, two, NULL, &err), DT_INVALID, err, "prompt 1 has 200 tokens");
    assert_null(g);
    assert_ok(dt_generate(&g, model, 0, NULL, NULL, &err), err);
    assert_null(dt_generation_row(g, 0));
    dt_generation_destroy(g);
    dt_model_close(model);
}

static void ragged__options_that_make_no_sense_are_refused(void **state)
{
    static const dt_generate_options plain = DT_GENERATE_OPTIONS_DEFAULT;
    dt_error err = {0};
    int32_t tokens[] = {5, 9, 11};
    dt_prompt prompt = {.tokens = tokens, .count = 3};
    dt_generation *g;
    dt_generate_options o;
    const char *folder = fixture("hf/llama-gqa");
    need(folder);
    dt_model *model = open_model(folder, "reference", "f32", 1);
#define refused(field, value, words)                                                                         \
    o = plain;                                                                                               \
    o.field = (value);                                                                                       \
    assert_fails(dt_generate(&g, model, 1, &prompt, &o, &err), DT_INVALID, err, words)
    refused(temperature, -1, "temperature");
    refused(top_p, 1.5, "top_p");
    refused(min_p, -1, "min_p");
    refused(top_k, -3, "top_k");
    refused(repetition_penalty, 0, "repetition_penalty");
    refused(beams, 0, "beams");
    refused(forced_bos, 100000, "forced_bos");
    refused(max_tokens, -2, "max_tokens");
    refused(logprobs, 100000, "log-probabilities");
#undef refused
    o = plain;
    o.beams = 2;
    o.temperature = 1;
    assert_fails(dt_generate(&g, model, 1, &prompt, &o, &err), DT_UNSUPPORTED, err, "temperature 0");
    dt_model_close(model);
}

static void ragged__an_encoder_alone_cannot_generate(void **state)
{
    dt_error err = {0};
    int32_t tokens[] = {5, 9, 1};
    dt_generation *g;
    const char *folder = fixture("hf/t5-encoder");
    need(folder);
    dt_model *model = open_model(folder, "reference", "f32", 1);
    assert_fails(dt_generate(&g, model, 1, &(dt_prompt){.tokens = tokens, .count = 3}, NULL, &err),
                 DT_UNSUPPORTED, err, "encoder alone");
    dt_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ragged__bits_are_the_same_in_any_company_on_reference),
        cmocka_unit_test(ragged__bits_are_the_same_in_any_company_on_cpu),
        cmocka_unit_test(ragged__bits_are_the_same_in_any_company_in_bf16),
        cmocka_unit_test(ragged__drawn_answers_do_not_depend_on_neighbours),
        cmocka_unit_test(ragged__decoding_allocates_nothing),
        cmocka_unit_test(ragged__little_room_changes_no_bit),
        cmocka_unit_test(ragged__the_longest_prompts_come_first),
        cmocka_unit_test(ragged__a_caller_can_stop_a_row),
        cmocka_unit_test(ragged__zero_tokens_only_score),
        cmocka_unit_test(ragged__bad_prompts_are_refused_by_row_id_and_limit),
        cmocka_unit_test(ragged__options_that_make_no_sense_are_refused),
        cmocka_unit_test(ragged__an_encoder_alone_cannot_generate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
