/*
 * Generation: the texts that transformers and Megatron Core generated; the same bits whatever the company; refusals.
 */
#include "recorded.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate__gives_the_makers_texts_on_reference),
        cmocka_unit_test(generate__gives_the_makers_texts_on_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
