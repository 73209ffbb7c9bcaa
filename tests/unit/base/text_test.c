/* text_test.c - strings grow and are matched as promised. */
#include "unit.h"

#include "base/text.h"

static bool fail_next;
void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes)
{
    return fail_next ? NULL : __real_realloc(old, bytes);
}

static void text__appends_stay_terminated(void **state)
{
    dt_text text = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(dt_text_put(&text, "ab"));
        assert_true(dt_text_append(&text, "c\0d", 3));
        assert_true(dt_text_printf(&text, "%03d", i));
        assert_int_equal(text.data[text.bytes], 0);
    }
    assert_int_equal(text.bytes, 8000);
    assert_memory_equal(text.data + 8 * 999, "abc\0d999", 9);
    dt_text_clear(&text);
    assert_string_equal(text.data, "");
    dt_text_free(&text);
}

static void text__a_failed_append_is_remembered(void **state)
{
    dt_text text = {0};
    fail_next = true;
    assert_false(dt_text_put(&text, "a"));
    fail_next = false;
    assert_false(dt_text_put(&text, "b"));
    assert_false(dt_text_printf(&text, "c"));
    assert_true(text.failed);
    assert_int_equal(text.bytes, 0);
    dt_text_free(&text);
}

static void text__prefixes_and_suffixes(void **state)
{
    assert_true(dt_starts_with("model.bin", "model") && dt_starts_with("x", ""));
    assert_false(dt_starts_with("mod", "model"));
    assert_true(dt_ends_with("model.bin", ".bin") && dt_ends_with("x", ""));
    assert_false(dt_ends_with("bin", ".bin"));
}

static void text__patterns_read_their_numbers(void **state)
{
    int64_t n[3];
    int count = -1;
    assert_true(dt_match_numbers("layers.{}.mlp.{}.w", "layers.12.mlp.0.w", n, 3, &count));
    assert_int_equal(count, 2);
    assert_int_equal(n[0], 12);
    assert_int_equal(n[1], 0);
    assert_true(dt_match_numbers("plain", "plain", n, 0, NULL));
    assert_true(dt_match_numbers("m-{}-of-{}", "m-00001-of-00012", n, 2, &count));
    assert_int_equal(n[1], 12);
    static const char *const wrong[] = {"layers..w",   "layers.-1.w",
                                        "layers.1.w.", "layers.1",
                                        "layers.1.wx", "layers.a.w",
                                        "layer.1.w",   "layers.99999999999999999999.w",
                                        "layers.+1.w", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(dt_match_numbers("layers.{}.w", wrong[i], n, 3, &count));
    assert_false(dt_match_numbers("{}.{}", "1.2", n, 1, &count));
}

static void text__suggests_the_nearest_word(void **state)
{
    static const char *const words[] = {"temperature", "top-k", "top-p", "seed"};
    assert_string_equal(dt_nearest("temprature", words, 4), "temperature");
    assert_string_equal(dt_nearest("topk", words, 4), "top-k");
    assert_string_equal(dt_nearest("sed", words, 4), "seed");
    assert_null(dt_nearest("quantise", words, 4));
    assert_null(dt_nearest("x", words, 4));
    assert_null(dt_nearest("x", NULL, 0));
}

static void text__bytes_read_well(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"},
                {999, "999 B"},
                {1000, "1.0 KB"},
                {412345, "412 KB"},
                {999499, "999 KB"},
                {999500, "1.0 MB"},
                {1500000000, "1.5 GB"},
                {99950000, "100 MB"},
                {UINT64_MAX, "18.4 EB"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[16];
        dt_human_bytes(rows[i].bytes, text);
        assert_string_equal(text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text__appends_stay_terminated),
        cmocka_unit_test(text__a_failed_append_is_remembered),
        cmocka_unit_test(text__prefixes_and_suffixes),
        cmocka_unit_test(text__patterns_read_their_numbers),
        cmocka_unit_test(text__suggests_the_nearest_word),
        cmocka_unit_test(text__bytes_read_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
