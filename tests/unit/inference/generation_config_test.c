/*
 * generation_config.json: what is obeyed, what is refused, what is warned of.
 */
#include "unit.h"

#include "inference/generation_config.h"

static dt_status parse(dt_arena *arena, const char *text, const dt_log *log, dt_generate_options *o,
                       dt_error *err)
{
    static const dt_generate_options plain = DT_GENERATE_OPTIONS_DEFAULT;
    json_t *document = NULL;
    *o = plain;
    DT_PASS(dt_json_parse(&document, text, strlen(text), "generation_config.json", err));
    dt_status status = dt_generation_config_read(document, arena, log, o, err);
    json_decref(document);
    return status;
}

static int open_arena(void **state)
{
    return (*state = dt_arena_create()) ? 0 : -1;
}

static int close_arena(void **state)
{
    dt_arena_destroy(*state);
    return 0;
}

static void generation_config__tokens_and_bans_are_obeyed(void **state)
{
    dt_error err = {0};
    dt_generate_options o;
    assert_ok(
        parse(
            *state,
            "{\"eos_token_id\": [2, 5], \"forced_bos_token_id\": 7, \"forced_eos_token_id\": [2],"
            " \"suppress_tokens\": [1, 3], \"begin_suppress_tokens\": [9], \"bad_words_ids\": [[4], [6, 8]],"
            " \"no_repeat_ngram_size\": 3, \"repetition_penalty\": 1.5, \"decoder_start_token_id\": 11}",
            NULL, &o, &err),
        err);
    assert_int_equal(o.eos_count, 2);
    assert_int_equal(o.eos_ids[1], 5);
    assert_int_equal(o.forced_bos, 7);
    assert_int_equal(o.forced_eos, 2);
    assert_int_equal(o.banned_count, 2);
    assert_int_equal(o.banned[1], 3);
    assert_int_equal(o.begin_banned[0], 9);
    assert_int_equal(o.bad_words_count, 2);
    assert_int_equal(o.bad_words[1].count, 2);
    assert_int_equal(o.bad_words[1].tokens[1], 8);
    assert_int_equal(o.no_repeat_ngram, 3);
    assert_true(o.repetition_penalty == 1.5);
    assert_int_equal(o.decoder_start, 11);
}

static void generation_config__new_tokens_go_before_lengths(void **state)
{
    dt_error err = {0};
    dt_generate_options o;
    assert_ok(parse(*state, "{\"max_length\": 30, \"min_length\": 4}", NULL, &o, &err), err);
    assert_int_equal(o.max_tokens, -1);
    assert_int_equal(o.max_length, 30);
    assert_int_equal(o.min_length, 4);
    assert_ok(parse(*state,
                    "{\"max_length\": 30, \"max_new_tokens\": 9, \"min_length\": 4, \"min_new_tokens\": 2}",
                    NULL, &o, &err),
              err);
    assert_int_equal(o.max_tokens, 9);
    assert_int_equal(o.min_tokens, 2);
    assert_int_equal(o.min_length, 0);
    assert_ok(parse(*state, "{}", NULL, &o, &err), err);
    assert_int_equal(o.max_tokens, 256);
}

/* Without do_sample the numbers of sampling mean nothing; with it transformers' defaults hold. */
static void generation_config__sampling_needs_do_sample(void **state)
{
    dt_error err = {0};
    dt_generate_options o;
    assert_ok(parse(*state, "{\"temperature\": 0.6, \"top_p\": 0.9}", NULL, &o, &err), err);
    assert_true(o.temperature == 0 && o.top_p == 0 && o.top_k == 0);
    assert_ok(parse(*state, "{\"do_sample\": true, \"temperature\": 0.6, \"top_p\": 0.9}", NULL, &o, &err),
              err);
    assert_true(o.temperature == 0.6 && o.top_p == 0.9 && o.top_k == 50);
}

static void generation_config__beams_are_obeyed(void **state)
{
    dt_error err = {0};
    dt_generate_options o;
    assert_ok(parse(*state, "{\"num_beams\": 4, \"length_penalty\": 2.0, \"early_stopping\": \"never\"}",
                    NULL, &o, &err),
              err);
    assert_int_equal(o.beams, 4);
    assert_true(o.length_penalty == 2);
    assert_int_equal(o.early_stopping, 2);
}

static void generation_config__wrong_types_name_their_key(void **state)
{
    static const char *const bad[][2] = {{"{\"eos_token_id\": \"x\"}", "eos_token_id"},
                                         {"{\"eos_token_id\": [1, -2]}", "eos_token_id"},
                                         {"{\"eos_token_id\": 99999999999}", "eos_token_id"},
                                         {"{\"suppress_tokens\": [1.5]}", "suppress_tokens"},
                                         {"{\"bad_words_ids\": [3]}", "bad_words_ids"},
                                         {"{\"bad_words_ids\": 3}", "bad_words_ids"},
                                         {"{\"max_length\": \"long\"}", "max_length"},
                                         {"{\"do_sample\": 1}", "do_sample"},
                                         {"{\"early_stopping\": \"soon\"}", "early_stopping"},
                                         {"[]", "object"}};
    dt_error err = {0};
    dt_generate_options o;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(parse(*state, bad[i][0], NULL, &o, &err), DT_FORMAT, err, bad[i][1]);
    assert_fails(parse(*state, "{\"forced_eos_token_id\": [1, 2]}", NULL, &o, &err), DT_UNSUPPORTED, err,
                 "forced_eos_token_id");
}

static void generation_config__impossible_values_name_their_key(void **state)
{
    const char *bad[][2] = {{"{\"num_beams\": 0}", "num_beams"},
                            {"{\"num_beams\": -3}", "num_beams"},
                            {"{\"repetition_penalty\": 0}", "repetition_penalty"},
                            {"{\"no_repeat_ngram_size\": -1}", "no_repeat_ngram_size"},
                            {"{\"do_sample\": true, \"temperature\": -1.0}", "temperature"},
                            {"{\"do_sample\": true, \"top_k\": -2}", "top_k"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        dt_error err = {0};
        dt_generate_options o;
        assert_fails(parse(*state, bad[i][0], NULL, &o, &err), DT_FORMAT, err, bad[i][1]);
    }
}

static void count_line(void *user, dt_log_level level, const char *text)
{
    (*(int *)user)++;
    assert_non_null(strstr(text, "typical_p"));
}

static void generation_config__what_is_not_done_is_warned_of(void **state)
{
    dt_error err = {0};
    dt_generate_options o;
    int lines = 0;
    dt_log log = {.write = count_line, .user = &lines};
    assert_ok(parse(*state, "{\"typical_p\": 1.0, \"guidance_scale\": null, \"renormalize_logits\": false}",
                    &log, &o, &err),
              err);
    assert_int_equal(lines, 0);
    assert_ok(parse(*state, "{\"typical_p\": 0.9}", &log, &o, &err), err);
    assert_int_equal(lines, 1);
}

/* Models of before generation_config.json have its keys in config.json; where that file is, it alone counts. */
static void generation_config__an_old_model_has_its_settings_in_config_json(void **state)
{
    char path[4096], text[1 << 14];
    const char *golden = getenv("DT_GOLDEN"), *folder = *state;
    dt_model_options plain = {.threads = 1};
    dt_generate_options o;
    dt_model *model = NULL;
    dt_error err = {0};
    snprintf(path, sizeof path, "%s/hf/t5-v1.0/config.json", golden ? golden : "?");
    FILE *file = fopen(path, "r");
    if (!file)
        skip();
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    snprintf(path, sizeof path, "%s/hf/t5-v1.0/model.safetensors", golden);
    assert_ok(dt_copy_file(path, in_folder(folder, "model.safetensors"), &err), err);
    file = fopen(in_folder(folder, "config.json"), "w");
    assert_non_null(file);
    fprintf(
        file,
        "{\"num_beams\": 4, \"no_repeat_ngram_size\": 3, \"length_penalty\": 2.0, \"max_length\": null, %s",
        strchr(text, '{') + 1);
    fclose(file);
    for (int beside = 0; beside < 2; beside++) {
        if (beside)
            put_file(in_folder(folder, "generation_config.json"), "{}", 2);
        assert_ok(dt_model_open(&model, folder, &plain, &err), err);
        assert_ok(dt_generate_options_of(model, &o, &err), err);
        assert_int_equal(o.beams, beside ? 1 : 4);
        assert_int_equal(o.no_repeat_ngram, beside ? 0 : 3);
        assert_true(o.length_penalty == (beside ? 1.0 : 2.0));
        dt_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(generation_config__an_old_model_has_its_settings_in_config_json,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(generation_config__tokens_and_bans_are_obeyed, open_arena,
                                        close_arena),
        cmocka_unit_test_setup_teardown(generation_config__new_tokens_go_before_lengths, open_arena,
                                        close_arena),
        cmocka_unit_test_setup_teardown(generation_config__sampling_needs_do_sample, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(generation_config__beams_are_obeyed, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(generation_config__wrong_types_name_their_key, open_arena,
                                        close_arena),
        cmocka_unit_test_setup_teardown(generation_config__impossible_values_name_their_key, open_arena,
                                        close_arena),
        cmocka_unit_test_setup_teardown(generation_config__what_is_not_done_is_warned_of, open_arena,
                                        close_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
