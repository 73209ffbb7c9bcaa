/*
 * jinja_test.c - the template language: what transformers makes of the same templates (jinja.json, made by jinja.py;
 * all chat templates of the shared fixtures), and that no template gets more than its limits.
 */
#include "data/jinja/jinja.h"
#include "unit.h"

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

static dt_status render(const char *template, const json_t *variables, const dt_jinja_options *o,
                        dt_text *out, dt_error *err)
{
    dt_jinja *j;
    dt_status status = dt_jinja_parse(&j, template, strlen(template), err);
    if (status != DT_OK)
        return status;
    status = dt_jinja_render(j, variables, o, out, err);
    dt_jinja_destroy(j);
    return status;
}

static void check(const char *template, const json_t *variables, const char *expected, const char *message)
{
    dt_error err = {0};
    dt_text out = {0};
    dt_status status = render(template, variables, NULL, &out, &err);
    if (expected && status != DT_OK)
        fail_msg("%s: %s", template, err.line[0]);
    if (expected && strcmp(out.data ? out.data : "", expected) != 0)
        fail_msg("%s: expected \"%s\", found \"%s\"", template, expected, out.data);
    if (message && (status == DT_OK || !strstr(err.line[0], message)))
        fail_msg("%s: expected the error \"%s\", found \"%s\"", template, message, err.line[0]);
    dt_text_free(&out);
}

static void jinja__renders_what_transformers_renders(void **state)
{
    json_t *all = load("tests/unit/data/jinja.json"), *one;
    size_t i;
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        const char *message = json_string_value(json_array_get(one, 2));
        check(json_string_value(json_array_get(one, 0)), json_object_get(all, "variables"),
              json_string_value(json_array_get(one, 1)), message);
    }
    assert_true(i > 40);
    json_decref(all);
}

static void jinja__is_exact_on_recorded_chat_templates(void **state)
{
    const char *fixtures = getenv("DT_FIXTURES");
    char path[4096];
    snprintf(path, sizeof path, "%s/chat_templates.json", fixtures ? fixtures : "");
    if (access(path, R_OK) != 0)
        skip();
    json_t *all = load(path), *one;
    size_t i;
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        json_t *v = json_copy(one);
        json_object_del(v, "expected");
        const char *error = json_string_value(json_object_get(one, "error"));
        check(json_string_value(json_object_get(one, "template")), v,
              json_string_value(json_object_get(one, "expected")), error);
        json_decref(v);
    }
    assert_true(i > 0);
    json_decref(all);
}

/* Each must end with DT_LIMIT and the words, soon; none may exhaust memory or the stack. */
static void jinja__stops_templates_that_do_not_end(void **state)
{
    static const struct {
        const char *template, *words;
    } greedy[] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested"},
        {"{{ 'x' * 10**12 }}", "memory"},
        {"{{ [0] * 10**9 }}", "too long"},
        {"{{ range(10**9) }}", "Range too big"},
        {"{{ 9 ** 99 }}", "64 bits"},
        {"{{ '%99999999d' % 1 }}", "incomplete format"},
        {"{{ 'x'.center(10**9) }}", "memory limit"},
        {"{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
         "memory"},
        {"{% set n = namespace(l=[0]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l "
         "}}",
         "steps"},
        {"{% for a in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' * "
         "99 }}"
         "{% endfor %}",
         "writes more"},
    };
    dt_jinja_options o = {.steps = 2000000, .memory = 64 << 20, .output = 4 << 20};
    for (size_t i = 0; i < sizeof greedy / sizeof *greedy; i++) {
        dt_error err = {0};
        dt_text out = {0};
        dt_status status = render(greedy[i].template, NULL, &o, &out, &err);
        dt_text_free(&out);
        if ((status != DT_LIMIT && i != 6) || !strstr(err.line[0], greedy[i].words))
            fail_msg("%s: expected \"%s\", found %d \"%s\"", greedy[i].template, greedy[i].words, status,
                     err.line[0]);
    }
}

/* Work grows with the text, not with its square, when a string is built piece by piece. */
static void jinja__builds_long_texts_in_linear_memory(void **state)
{
    dt_error err = {0};
    dt_text out = {0};
    dt_jinja_options o = {.memory = 32 << 20};
    assert_ok(
        render("{% set n = namespace(s='') %}{% for i in range(20000) %}{% set n.s = n.s ~ '0123456789' %}"
               "{% endfor %}{{ n.s | length }}",
               NULL, &o, &out, &err),
        err);
    assert_string_equal(out.data, "200000");
    dt_text_free(&out);
}

static char *repeated(const char *open, const char *middle, const char *close, int times)
{
    dt_text t = {0};
    for (int i = 0; i < times; i++)
        dt_text_put(&t, open);
    dt_text_put(&t, middle);
    for (int i = 0; i < times; i++)
        dt_text_put(&t, close);
    return t.data;
}

static void jinja__refuses_deep_nesting(void **state)
{
    static const char *const shape[][3] = {
        {"{{ ", "(", "1"},           {"{{ ", "[", ""},   {"{{ ", "-", "1"},
        {"{{ ", "not ", "1"},        {"{{ 1", "+1", ""}, {"{{ x", ".a", ""},
        {"", "{% if x %}", ""},      {"{{ x", "|a", ""}, {"{{ ", "1 if 1 else ", "1"},
        {"", "{% for a in b %}", ""}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        char *body = repeated(shape[i][1], shape[i][2], "", 100000), *all;
        dt_error err = {0};
        dt_jinja *j;
        assert_true(asprintf(&all, "%s%s", shape[i][0], body) > 0);
        assert_int_equal(dt_jinja_parse(&j, all, strlen(all), &err), DT_FORMAT);
        free(all);
        free(body);
    }
}

static void jinja__names_the_line(void **state)
{
    static const struct {
        const char *template, *line;
    } wrong[] = {
        {"a\nb{% if %}", "line 2"},      {"\n\n{{ 1 + }}", "line 3"},
        {"\n{% if a %}", "line 2"},      {"{{ 'a", "line 1"},
        {"{% nothing %}", "line 1"},     {"x\n{# no end", "line 2"},
        {"\n{{ undef.x }}", "line 2"},   {"\n\n{% for x in 1 %}{% endfor %}", "line 3"},
        {"{% include 'x' %}", "line 1"}, {"{{ (1] }}", "line 1"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dt_error err = {0};
        dt_text out = {0};
        assert_fails(render(wrong[i].template, NULL, NULL, &out, &err), DT_FORMAT, err, wrong[i].line);
        dt_text_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jinja__renders_what_transformers_renders),
        cmocka_unit_test(jinja__is_exact_on_recorded_chat_templates),
        cmocka_unit_test(jinja__stops_templates_that_do_not_end),
        cmocka_unit_test(jinja__builds_long_texts_in_linear_memory),
        cmocka_unit_test(jinja__refuses_deep_nesting),
        cmocka_unit_test(jinja__names_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
