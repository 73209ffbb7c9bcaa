/*
 * chat_template_test.c - where templates are found, which one is chosen, and what they are shown.
 */
#include "unit.h"

#include <drivetrain/chat.h>
#include <sys/stat.h>

#define HELLO "[{\"role\":\"user\",\"content\":\"hi\"}]"

static void put(const char *path, const char *text)
{
    put_file(path, text, strlen(text));
}

static void assert_renders(const char *path, const char *messages, const dt_chat_options *o,
                           const char *expected)
{
    dt_error err = {0};
    dt_chat_template *t;
    char *text;
    size_t bytes;
    assert_ok(dt_chat_template_open(&t, path, &err), err);
    assert_ok(dt_chat_render(t, messages, o, &text, &bytes, &err), err);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
    dt_free(text);
    dt_chat_template_close(t);
}

static void chat_template__is_found_in_tokenizer_config(void **state)
{
    put(in_folder(*state, "tokenizer_config.json"),
        "{\"chat_template\": \"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token is "
        "defined }}\","
        "\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}, \"pad_token\": null}");
    assert_renders(*state, HELLO, NULL, "<s>hi</s>False");
}

static void chat_template__of_a_file_of_its_own_goes_first(void **state)
{
    put(in_folder(*state, "tokenizer_config.json"), "{\"chat_template\": \"old\", \"bos_token\": \"<s>\"}");
    put(in_folder(*state, "chat_template.jinja"), "new{{ bos_token }}\n");
    assert_renders(*state, HELLO, NULL, "new<s>");
}

static void chat_template__of_the_old_json_is_found_last(void **state)
{
    put(in_folder(*state, "chat_template.json"), "{\"chat_template\": \"old\"}");
    assert_renders(*state, HELLO, NULL, "old");
}

static void chat_template__is_chosen_by_name_and_by_tools(void **state)
{
    put(in_folder(*state, "tokenizer_config.json"),
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"d\"},"
        "{\"name\": \"tool_use\", \"template\": \"t{{ tools|length }}\"}, {\"name\": \"rag\", \"template\": "
        "\"r\"}]}");
    assert_renders(*state, HELLO, NULL, "d");
    assert_renders(*state, HELLO, &(dt_chat_options){.tools = "[{}]"}, "t1");
    assert_renders(*state, HELLO, &(dt_chat_options){.name = "rag"}, "r");
    dt_error err = {0};
    dt_chat_template *t;
    char *text;
    size_t bytes;
    assert_ok(dt_chat_template_open(&t, *state, &err), err);
    assert_fails(dt_chat_render(t, HELLO, &(dt_chat_options){.name = "x"}, &text, &bytes, &err), DT_INVALID,
                 err, "default, tool_use, rag");
    dt_chat_template_close(t);
}

static void chat_template__additional_ones_lie_in_a_folder(void **state)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/additional_chat_templates", (char *)*state);
    assert_int_equal(mkdir(path, 0777), 0);
    put(in_folder(*state, "chat_template.jinja"), "d");
    put(in_folder(path, "rag.jinja"), "r");
    assert_renders(*state, HELLO, &(dt_chat_options){.name = "rag"}, "r");
    assert_renders(*state, HELLO, NULL, "d");
}

/* As apply_chat_template: null keys vanish, reasoning has all of its names, tools and documents are none. */
static void chat_template__shows_what_transformers_shows(void **state)
{
    const char *path = in_folder(*state, "a.jinja");
    put(path,
        "{{ messages[0].content is defined }}{{ messages[0].thinking }}{{ messages[0].reasoning_content }}"
        "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ think }}");
    assert_renders(path, "[{\"role\":\"assistant\",\"content\":null,\"reasoning\":\"r\"}]",
                   &(dt_chat_options){.variables = "{\"think\": 3}"}, "FalserrTrueTrueFalse3");
}

static void chat_template__hands_on_what_the_template_refuses(void **state)
{
    dt_error err = {0};
    dt_chat_template *t;
    char *text;
    size_t bytes;
    const char *path = in_folder(*state, "a.jinja");
    put(path, "{{ raise_exception('Roles must alternate') }}");
    assert_ok(dt_chat_template_open(&t, path, &err), err);
    assert_int_equal(dt_chat_render(t, HELLO, NULL, &text, &bytes, &err), DT_INVALID);
    assert_string_equal(err.line[0], "Roles must alternate");
    assert_fails(dt_chat_render(t, "[]", NULL, &text, &bytes, &err), DT_INVALID, err, "at least one message");
    assert_fails(dt_chat_render(t, "[1]", NULL, &text, &bytes, &err), DT_FORMAT, err, "message 0");
    assert_fails(dt_chat_render(t, "{", NULL, &text, &bytes, &err), DT_FORMAT, err, "messages");
    dt_chat_template_close(t);
}

static void chat_template__tells_where_it_looked(void **state)
{
    dt_error err = {0};
    dt_chat_template *t;
    assert_fails(dt_chat_template_open(&t, *state, &err), DT_NOT_FOUND, err, "chat_template.jinja");
    put(in_folder(*state, "chat_template.jinja"), "\n{% if %}");
    assert_fails(dt_chat_template_open(&t, *state, &err), DT_FORMAT, err, "line 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chat_template__is_found_in_tokenizer_config, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chat_template__of_a_file_of_its_own_goes_first, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chat_template__of_the_old_json_is_found_last, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chat_template__is_chosen_by_name_and_by_tools, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chat_template__additional_ones_lie_in_a_folder, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chat_template__shows_what_transformers_shows, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chat_template__hands_on_what_the_template_refuses, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(chat_template__tells_where_it_looked, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
