/* regex_test.c - patterns written for Oniguruma mean here what they mean there, and none runs for ever. */
#include "unit.h"

#include "data/tokenizer/regex.h"

/* All matches of a pattern, each in brackets. */
static const char *matches(const char *pattern, const char *text)
{
    static char out[1024];
    dt_regex *regex;
    dt_regex_space space = {0};
    dt_match_walk walk = {0};
    dt_match match;
    dt_error err = {0};
    bool found;
    size_t at = 0;
    out[0] = 0;
    assert_ok(dt_regex_create(&regex, pattern, strlen(pattern), &err), err);
    for (;;) {
        assert_ok(dt_regex_next(regex, &space, text, strlen(text), &walk, &match, &found, &err), err);
        if (!found)
            break;
        at += (size_t)snprintf(out + at, sizeof out - at, "[%.*s]", (int)(match.end - match.begin),
                               text + match.begin);
    }
    dt_regex_space_free(&space);
    dt_regex_destroy(regex);
    return out;
}

static void regex__reads_classes_as_oniguruma(void **state)
{
    assert_string_equal(matches("\\w+", "a\xCC\x81_1-\xC2\xB2 b"), "[a\xCC\x81_1][\xC2\xB2][b]");
    assert_string_equal(matches("\\h+", "cafe 09 xyz"), "[cafe][09]");
    assert_string_equal(matches("\\s", "\xE1\xA0\x8E \xE3\x80\x80"), "[ ][\xE3\x80\x80]"); /* not U+180E */
    assert_string_equal(matches("[^\\s\\w]+", "a+-b \xE2\x82\xAC"), "[+-][\xE2\x82\xAC]");
    assert_string_equal(matches("[[:punct:]]", "a$.b"), "[$][.]");
    assert_string_equal(matches("\\u0061", "ba"), "[a]");
    assert_string_equal(matches("(?m)a.b", "a\nb"), "[a\nb]");
    assert_string_equal(matches("^.", "ab\ncd"), "[a][c]");
    assert_string_equal(matches("\\p{Han}+", "\xE4\xBD\xA0\xE3\x80\x82"), "[\xE4\xBD\xA0]");
    assert_string_equal(matches("(?i:'s)", "'S'\xC5\xBF"), "['S]['\xC5\xBF]");
}

static void regex__an_interval_with_a_plus_repeats(void **state)
{
    assert_string_equal(matches("\\p{N}{1,3}+", "1234567"), "[1234567]");
    assert_string_equal(matches("(ab){2}+", "ababababab"), "[abababab]");
    assert_string_equal(matches("[ab]{2}+c", "ababac"), "[babac]");
    assert_string_equal(matches("a++b|a", "aab"), "[aab]");
}

static void regex__empty_matches_move_on(void **state)
{
    assert_string_equal(matches("a*", "baac"), "[][aa][]");
    assert_string_equal(matches("", "ab"), "[][][]");
    assert_string_equal(matches("(?=b)", "abb"), "[][]");
}

static void regex__refuses_what_it_cannot_say(void **state)
{
    dt_regex *regex;
    dt_error err = {0};
    assert_fails(dt_regex_create(&regex, "[a[bc]]", 7, &err), DT_UNSUPPORTED, err, "a class inside a class");
    assert_fails(dt_regex_create(&regex, "[a-z&&b]", 8, &err), DT_UNSUPPORTED, err, "intersection");
    assert_fails(dt_regex_create(&regex, "[a\\H]", 5, &err), DT_UNSUPPORTED, err, "\\W or \\H");
    assert_fails(dt_regex_create(&regex, "(a", 2, &err), DT_FORMAT, err, "while compiling the regex (a");
    assert_fails(dt_regex_create(&regex, "\\C", 2, &err), DT_FORMAT, err, "does not compile");
}

static void regex__gives_up_rather_than_hang(void **state)
{
    dt_regex *regex;
    dt_regex_space space = {.scale = 64};
    dt_match match;
    bool found;
    dt_error err = {0};
    const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!b";
    assert_ok(dt_regex_create(&regex, "(a|a|aa)+b", 10, &err), err);
    assert_fails(dt_regex_find(regex, &space, text, sizeof text - 1, 0, &match, &found, &err), DT_LIMIT, err,
                 "gave up");
    dt_regex_space_free(&space);
    dt_regex_destroy(regex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regex__reads_classes_as_oniguruma),
        cmocka_unit_test(regex__an_interval_with_a_plus_repeats),
        cmocka_unit_test(regex__empty_matches_move_on),
        cmocka_unit_test(regex__refuses_what_it_cannot_say),
        cmocka_unit_test(regex__gives_up_rather_than_hang),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
