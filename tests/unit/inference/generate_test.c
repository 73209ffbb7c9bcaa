/*
 * Generation: the texts that transformers and Megatron Core generated; the same bits whatever the company; refusals.
 */
#include "recorded.h"

#include <math.h>

static void assert_rows_equal(const dt_generation *g, const int32_t *expected, int64_t rows, int64_t width,
                              const char *what)
{
    for (int64_t b = 0; b < rows; b++) {
        const dt_generated *row = dt_generation_row(g, (size_t)b);
        for (int64_t i = 0; i < width; i++) {
            int64_t count = (int64_t)row->count;
            int32_t ours = i < count                           ? row->tokens[i]
                           : i == count && row->end_token >= 0 ? row->end_token
                                                               : -1;
            if (ours != expected[b * width + i])
                fail_msg("%s: row %d token %d is %d, recorded %d", what, (int)b, (int)i, ours,
                         expected[b * width + i]);
        }
    }
}

/* One kind of text ("out.greedy", "out.beam4") of one model; false when it was not recorded. */
static bool check_texts(const char *folder, dt_model *model, const recorded *r, const char *name,
                        int64_t max_batch)
{
    dt_error err = {0};
    int64_t dim[5];
    int32_t ids[16], *expected = read_tensor(r->file, name, DT_I32, dim);
    dt_prompt prompt[64];
    dt_generation *g;
    dt_generate_options o;
    if (!expected)
        return false;
    assert_ok(dt_generate_options_of(model, &o, &err), err);
    set_prompts(r, prompt);
    set_ends(r, &o, ids);
    o.max_tokens = dim[1];
    o.max_batch = max_batch;
    if (strcmp(name, "out.beam4") == 0) {
        json_t *beams = json_object_get(r->options, "beams"),
               *early = json_object_get(beams, "early_stopping");
        o.beams = 4;
        o.length_penalty = json_number_value(json_object_get(beams, "length_penalty"));
        o.early_stopping = json_is_true(early) ? 1 : json_is_string(early) ? 2 : 0;
    }
    assert_ok(dt_generate(&g, model, (size_t)r->rows, prompt, &o, &err), err);
    assert_rows_equal(g, expected, r->rows, dim[1], folder);
    dt_generation_destroy(g);
    free(expected);
    return true;
}

/* Every family has greedy texts, the T5s beams as well. */
static int check_folder(const char *folder, const char *backend)
{
    recorded r;
    int checked = 0;
    assert_true(open_recorded(&r, folder));
    dt_model *model = open_model(folder, backend, "f32", 2);
    static const int64_t batches[] = {0, 1, 3, 8};
    for (size_t i = 0; i < 4; i++) {
        checked += check_texts(folder, model, &r, "out.greedy", batches[i]);
        checked += check_texts(folder, model, &r, "out.beam4", batches[i]);
    }
    dt_model_close(model);
    assert_int_equal(checked, r.starts && dt_stored_set_find(r.file.set, "out.beam4") ? 8 : 4);
    close_recorded(&r);
    return checked;
}

static const char *const families[] = {"hf/t5-v1.0",
                                       "hf/t5-v1.1",
                                       "hf/t5-v1.1-old-config",
                                       "hf/t5-overflow",
                                       "hf/t5-medium",
                                       "hf/mt5",
                                       "hf/umt5",
                                       "hf/byt5",
                                       "hf/gpt2",
                                       "hf/gpt2-hub",
                                       "hf/llama",
                                       "hf/llama-gqa",
                                       "hf/llama-linear",
                                       "hf/llama-medium",
                                       "megatron/t5_learned",
                                       "megatron/t5_rope",
                                       "megatron/t5_relative",
                                       "megatron/t5_untied",
                                       "megatron/gpt_learned",
                                       "megatron/gpt_llama",
                                       "megatron/gpt_rope_scaled",
                                       "trained/t5-g2p"};

static void check_families(const char *backend)
{
    int checked = 0;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const char *folder = fixture(families[i]);
        if (folder)
            checked += check_folder(folder, backend);
    }
    if (checked == 0)
        skip();
}

static void generate__gives_the_makers_texts_on_reference(void **state)
{
    check_families("reference");
}

static void generate__gives_the_makers_texts_on_cpu(void **state)
{
    if (!have_backend("cpu"))
        skip();
    check_families("cpu");
}

/* ---- beams of a model whose rotary frequencies follow from the length ---- */

enum { VOCABULARY = 99, MORE = 6 };

/* log p(token | what is before it), read afresh: so of the frequencies of that length. */
static double score_afresh(dt_model *model, const int32_t *tokens, size_t count, int32_t token)
{
    dt_error err = {0};
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    dt_prompt prompt = {.tokens = tokens, .count = count};
    o.max_tokens = 1;
    o.logprobs = VOCABULARY;
    o.ignore_eos = true;
    assert_ok(dt_generate(&g, model, 1, &prompt, &o, &err), err);
    const dt_token_logprob *p = dt_generation_row(g, 0)->logprobs;
    double found = NAN;
    for (int64_t i = 0; i < p->top_count; i++)
        if (p->top_ids[i] == token)
            found = (double)p->top_logprobs[i];
    dt_generation_destroy(g);
    return found;
}

static double sum_afresh(dt_model *model, const dt_prompt *prompt, const dt_generated *row)
{
    int32_t text[256];
    size_t count = prompt->count;
    double sum = 0;
    memcpy(text, prompt->tokens, count * sizeof *text);
    for (size_t i = 0; i < row->count; i++) {
        sum += score_afresh(model, text, count, row->tokens[i]);
        text[count++] = row->tokens[i];
    }
    return sum;
}

/* A beam's score is the sum of what each of its tokens has, given what precedes it at the frequencies of then. */
static void check_scores(const char *folder)
{
    dt_error err = {0};
    recorded r;
    dt_prompt prompt[64];
    dt_generation *together, *alone;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    assert_true(open_recorded(&r, folder));
    dt_model *model = open_model(folder, "reference", "f32", 1);
    set_prompts(&r, prompt);
    o.beams = 3;
    o.length_penalty = 0;
    o.max_tokens = MORE;
    o.ignore_eos = true;
    assert_ok(dt_generate(&together, model, (size_t)r.rows, prompt, &o, &err), err);
    for (int64_t b = 0; b < r.rows; b++) {
        const dt_generated *row = dt_generation_row(together, (size_t)b);
        double sum = sum_afresh(model, &prompt[b], row);
        assert_int_equal(row->count, MORE);
        if (!(fabs(sum - (double)row->score) < 1e-4))
            fail_msg("%s: row %d scores %g, its tokens %g", folder, (int)b, (double)row->score, sum);
        assert_ok(dt_generate(&alone, model, 1, &prompt[b], &o, &err), err);
        assert_memory_equal(dt_generation_row(alone, 0)->tokens, row->tokens, MORE * sizeof *row->tokens);
        assert_true(dt_generation_row(alone, 0)->score == row->score);
        dt_generation_destroy(alone);
    }
    dt_generation_destroy(together);
    dt_model_close(model);
    close_recorded(&r);
}

static void generate__beams_are_read_again_when_frequencies_change(void **state)
{
    static const char *const growing[] = {"hf/llama-dynamic", "hf/phi3-longrope"};
    for (size_t i = 0; i < 2; i++) {
        const char *folder = fixture(growing[i]);
        need(folder);
        check_scores(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate__gives_the_makers_texts_on_reference),
        cmocka_unit_test(generate__gives_the_makers_texts_on_cpu),
        cmocka_unit_test(generate__beams_are_read_again_when_frequencies_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
