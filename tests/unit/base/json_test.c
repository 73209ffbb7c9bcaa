/* json_test.c - strict where JSON is, forgiving only where real files need it, and every refusal names its place. */
#include "unit.h"

#include "base/json.h"

#include <math.h>

static dt_status parse(json_t **out, const char *text, dt_error *err)
{
    return dt_json_parse(out, text, strlen(text), "config.json", err);
}

static void json__reads_typed_values(void **state)
{
    dt_error err = {0};
    json_t *json;
    assert_ok(parse(&json, "{\"n\": 7, \"e\": 1e-6, \"b\": true, \"s\": \"gelu\", \"z\": null}", &err), err);
    int64_t n = -1, absent = -2;
    double e = 0, whole = 0;
    bool b = false;
    const char *s = NULL, *none = "kept";
    assert_ok(dt_json_int(json, "n", &n, &err), err);
    assert_ok(dt_json_real(json, "e", &e, &err), err);
    assert_ok(dt_json_real(json, "n", &whole, &err), err);
    assert_ok(dt_json_bool(json, "b", &b, &err), err);
    assert_ok(dt_json_string(json, "s", &s, &err), err);
    assert_ok(dt_json_int(json, "z", &absent, &err), err);
    assert_ok(dt_json_string(json, "missing", &none, &err), err);
    assert_int_equal(n, 7);
    assert_true(e == 1e-6 && whole == 7 && b);
    assert_string_equal(s, "gelu");
    assert_int_equal(absent, -2);
    assert_string_equal(none, "kept");
    assert_null(dt_json_get(json, "z"));
    assert_null(dt_json_get(NULL, "z"));
    json_decref(json);
}

static void json__a_wrong_type_names_the_key_and_both_types(void **state)
{
    dt_error err = {0};
    json_t *json;
    int64_t n;
    double e;
    bool b;
    const char *s;
    assert_ok(parse(&json, "{\"n\": 1.5, \"e\": \"1\", \"b\": 1, \"s\": [], \"u\": \"a\\u0000b\"}", &err),
              err);
    assert_fails(dt_json_int(json, "n", &n, &err), DT_FORMAT, err,
                 "\"n\": expected an integer, found a real number");
    assert_fails(dt_json_real(json, "e", &e, &err), DT_FORMAT, err,
                 "\"e\": expected a number, found a string");
    assert_fails(dt_json_bool(json, "b", &b, &err), DT_FORMAT, err, "\"b\": expected true or false");
    assert_fails(dt_json_string(json, "s", &s, &err), DT_FORMAT, err,
                 "\"s\": expected a string, found an array");
    assert_fails(dt_json_string(json, "u", &s, &err), DT_FORMAT, err, "\"u\": the string holds a NUL");
    json_decref(json);
}

static void json__refuses_what_is_not_json(void **state)
{
    static const char *const wrong[] = {
        "",        " ",   "{",          "[1,]",    "{\"a\":1,\"a\":2}", "NaN",     "Infinity",      "[1] 2",
        "{'a':1}", "[-]", "[\"\xff\"]", "[1e999]", "\"\\ud800\"",       "// c\n1", "\xef\xbb\xbf[]"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dt_error err = {0};
        json_t *json;
        assert_fails(parse(&json, wrong[i], &err), DT_FORMAT, err, "config.json:");
        assert_null(json);
    }
    dt_error err = {0};
    json_t *json;
    assert_fails(dt_json_parse(&json, "12\0", 3, "x", &err), DT_FORMAT, err, "NUL byte at byte 2");
    assert_fails(parse(&json, "{\n  \"a\": ?\n}", &err), DT_FORMAT, err, "line 2, column 8");
}

static char *nested(size_t depth, char open, char close)
{
    char *text = calloc(1, 2 * depth + 1);
    memset(text, open, depth);
    memset(text + depth, close, depth);
    return text;
}

static void json__nesting_is_capped(void **state)
{
    static const size_t depths[] = {1, 127, 128, 129, 100000};
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        dt_error err = {0};
        json_t *json;
        char *text = nested(depths[i], '[', ']');
        if (depths[i] <= 128)
            assert_ok(parse(&json, text, &err), err);
        else
            assert_fails(parse(&json, text, &err), DT_LIMIT, err, "nested deeper than 128 at byte 128");
        json_decref(json);
        free(text);
    }
    dt_error err = {0};
    json_t *json;
    char text[2000] = "[\"\\\"";
    memset(text + 4, '[', 1000); /* brackets inside a string nest nothing */
    strcat(text, "\"]");
    assert_ok(parse(&json, text, &err), err);
    json_decref(json);
}

static void json__integers_beyond_64_bits_become_reals(void **state)
{
    dt_error err = {0};
    json_t *json;
    const char *text =
        "{\"model_max_length\": 1000000000000000019884624838656, \"most\": 9223372036854775807,"
        " \"least\": -9223372036854775808, \"past\": 9223372036854775808,"
        " \"in \\\" text 99999999999999999999\": \"99999999999999999999\", \"low\":-9223372036854775809}";
    assert_ok(parse(&json, text, &err), err);
    assert_true(json_real_value(dt_json_get(json, "model_max_length")) == 1e30);
    assert_true(json_real_value(dt_json_get(json, "past")) == 0x1p63);
    assert_true(json_real_value(dt_json_get(json, "low")) == -0x1p63);
    assert_true(json_integer_value(dt_json_get(json, "most")) == INT64_MAX);
    assert_true(json_integer_value(dt_json_get(json, "least")) == INT64_MIN);
    assert_string_equal(json_string_value(dt_json_get(json, "in \" text 99999999999999999999")),
                        "99999999999999999999");
    json_decref(json);
    assert_fails(parse(&json, "[099999999999999999999]", &err), DT_FORMAT, err, "config.json");
    assert_fails(parse(&json, "[--99999999999999999999]", &err), DT_FORMAT, err, "config.json");
}

static void json__files_beyond_the_limit_are_not_read(void **state)
{
    dt_error err = {0};
    json_t *json;
    const char *path = in_folder(*state, "a.json");
    put_file(path, "[1, 2]", 6);
    assert_ok(dt_json_load(&json, path, 6, &err), err);
    assert_int_equal(json_array_size(json), 2);
    json_decref(json);
    assert_fails(dt_json_load(&json, path, 5, &err), DT_LIMIT, err,
                 "a.json: 6 bytes, where at most 5 are read");
    assert_fails(dt_json_load(&json, in_folder(*state, "b.json"), 5, &err), DT_NOT_FOUND, err, "b.json");
    put_file(path, "", 0);
    assert_fails(dt_json_load(&json, path, 5, &err), DT_FORMAT, err, "empty");
}

static void json__saves_numbers_as_people_write_them(void **state)
{
    dt_error err = {0};
    json_t *json = json_pack("{s:f, s:f, s:f, s:I, s:s}", "eps", 1e-5, "drop", 0.1, "one", 1.0, "n",
                             (json_int_t)-3, "text", "\"0.10000000000000001");
    const char *path = in_folder(*state, "a.json");
    assert_ok(dt_json_save(json, path, &err), err);
    const char *text = "{\n  \"eps\": 1e-5,\n  \"drop\": 0.1,\n  \"one\": 1.0,\n  \"n\": -3,\n"
                       "  \"text\": \"\\\"0.10000000000000001\"\n}\n";
    assert_file_holds(path, text, strlen(text));
    json_decref(json);
}

static void json__saved_reals_read_back_with_the_same_bits(void **state)
{
    dt_error err = {0};
    const char *path = in_folder(*state, "a.json");
    json_t *array = json_array(), *again;
    uint64_t bits = 88172645463325252u;
    while (json_array_size(array) < 2000) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value))
            json_array_append_new(array, json_real(value));
    }
    assert_ok(dt_json_save(array, path, &err), err);
    assert_ok(dt_json_load(&again, path, SIZE_MAX, &err), err);
    assert_true(json_equal(array, again));
    json_decref(array);
    json_decref(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json__reads_typed_values),
        cmocka_unit_test(json__a_wrong_type_names_the_key_and_both_types),
        cmocka_unit_test(json__refuses_what_is_not_json),
        cmocka_unit_test(json__nesting_is_capped),
        cmocka_unit_test(json__integers_beyond_64_bits_become_reals),
        cmocka_unit_test_setup_teardown(json__files_beyond_the_limit_are_not_read, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(json__saves_numbers_as_people_write_them, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(json__saved_reals_read_back_with_the_same_bits, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
