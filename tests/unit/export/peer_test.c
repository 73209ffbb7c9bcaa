/*
 * peer_test.c - `--check peer`: a runtime that answers, one that is not installed, one that fails, one that says something
 * else; and arguments reach it as they are. The runtime is a shell script here: which program runs the scripts is an option.
 */
#include "unit.h"

#include <drivetrain/export.h>

static const char *golden(char path[4096], const char *name)
{
    const char *folder = getenv("DT_GOLDEN");
    snprintf(path, 4096, "%s/%s", folder ? folder : "?", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

/* Export the golden Llama below `folder` and ask a runtime that runs `script`. */
static dt_status export_with(const char *folder, const char *target, const char *script, dt_exported *done,
                             dt_error *err)
{
    char path[4096], output[4200];
    dt_checkpoint *c = NULL;
    const char *model = golden(path, "hf/llama");
    dt_export_request request = {.target = target, .ask_peer = true, .python = "/bin/sh", .peers = folder};
    if (!model)
        skip();
    put_file(in_folder(folder, "ask_transformers.py"), script, strlen(script));
    snprintf(output, sizeof output, "%s/it's; touch $(nothing)", folder);
    assert_ok(dt_checkpoint_open(&c, model, NULL, err), *err);
    request.write.replace = true;
    dt_status status = dt_export(done, c, output, &request, err);
    dt_checkpoint_close(c);
    return status;
}

static void peer__an_answer_is_replayed_and_its_verdict_kept(void **state)
{
    char script[8192], path[4096];
    dt_exported done;
    dt_error err = {0};
    const char *recording = golden(path, "hf/llama/recording.safetensors");
    if (!recording)
        skip();
    snprintf(script, sizeof script,
             "grep -q 'touch ..nothing' \"$1\" && grep -q '\"prompts\"' \"$1\" && cp '%s' \"$2\"\n",
             recording);
    assert_ok(export_with(*state, "hf", script, &done, &err), err);
    assert_true(done.proof->pass && done.peer && done.peer->pass);
    assert_true(done.peer->tolerance == 1e-4 && strstr(done.peer->source, "transformers"));
    dt_exported_release(&done);
    FILE *file = fopen(in_folder(*state, "it's; touch $(nothing)/parity.json"), "r");
    assert_non_null(file);
    char text[1 << 16];
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    assert_non_null(strstr(text, "\"peer\": {"));
    assert_non_null(strstr(text, "\"runtime\": \"transformers"));
}

static void peer__an_answer_computed_in_16_bits_may_be_further_away(void **state)
{
    char script[8192], path[4096];
    dt_exported done;
    dt_error err = {0};
    const char *recording = golden(path, "hf/llama/recording.safetensors");
    if (!recording)
        skip();
    snprintf(script, sizeof script, "LC_ALL=C sed 's/\"dtype\":\"f32\"/\"dtype\":\"f16\"/' '%s' > \"$2\"\n",
             recording);
    assert_ok(export_with(*state, "hf", script, &done, &err), err);
    assert_true(done.peer->pass && done.peer->tolerance == 2e-2);
    assert_non_null(strstr(done.peer_reason, "f16"));
    dt_exported_release(&done);
}

static void peer__another_models_answer_is_no(void **state)
{
    char script[8192], path[4096];
    dt_exported done;
    dt_error err = {0};
    const char *recording = golden(path, "hf/llama-gqa/recording.safetensors");
    if (!recording)
        skip();
    snprintf(script, sizeof script, "cp '%s' \"$2\"\n", recording);
    assert_ok(export_with(*state, "hf", script, &done, &err), err);
    assert_true(done.proof->pass && !done.peer->pass);
    dt_exported_release(&done);
}

static void peer__an_absent_runtime_says_what_to_install(void **state)
{
    dt_exported done;
    dt_error err = {0};
    assert_fails(export_with(*state, "hf", "exit 77\n", &done, &err), DT_NOT_FOUND, err,
                 "pip install transformers torch");
    assert_int_equal(access(in_folder(*state, "it's; touch $(nothing)/config.json"), R_OK),
                     0); /* it is written */
}

static void peer__a_failing_runtime_is_quoted(void **state)
{
    dt_exported done;
    dt_error err = {0};
    assert_fails(
        export_with(*state, "hf", "echo first; echo ValueError: no such axle >&2; exit 3\n", &done, &err),
        DT_MISMATCH, err, "ask_transformers.py ended with code 3: ValueError: no such axle");
    assert_fails(export_with(*state, "hf", "exit 0\n", &done, &err), DT_NOT_FOUND, err,
                 "recording.safetensors");
}

static void peer__a_target_without_one_is_refused_before_anything_is_written(void **state)
{
    dt_exported done;
    dt_error err = {0};
    assert_fails(export_with(*state, "megatron-state", "exit 0\n", &done, &err), DT_UNSUPPORTED, err,
                 "no runtime is known that could check megatron-state; there is one for hf");
    assert_int_not_equal(access(in_folder(*state, "it's; touch $(nothing)"), F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(peer__an_answer_is_replayed_and_its_verdict_kept, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(peer__an_answer_computed_in_16_bits_may_be_further_away, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(peer__another_models_answer_is_no, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(peer__an_absent_runtime_says_what_to_install, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(peer__a_failing_runtime_is_quoted, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(peer__a_target_without_one_is_refused_before_anything_is_written,
                                        make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
