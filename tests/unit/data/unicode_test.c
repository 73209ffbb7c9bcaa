/* unicode_test.c - UTF-8 is read strictly and repaired as Unicode asks, classes and normal forms are right. */
#include "unit.h"

#include "data/tokenizer/unicode.h"

static void unicode__every_code_point_survives_encoding(void **state)
{
    char letter[4];
    uint32_t code, failures = 0;
    size_t used;
    for (uint32_t c = 0; c < 0x110000; c++) {
        size_t bytes = dt_utf8_encode(c, letter);
        bool surrogate = c >= 0xD800 && c < 0xE000;
        if (surrogate) {
            failures += dt_utf8_decode(letter, bytes, &code) != 0;
            continue;
        }
        failures += dt_utf8_decode(letter, bytes, &code) != bytes || code != c;
        failures += dt_utf8_peek(letter, &used) != c || used != bytes;
        failures += bytes > 1 &&
                    (dt_utf8_decode(letter, bytes - 1, &code) != 0 || !dt_utf8_incomplete(letter, bytes - 1));
    }
    assert_int_equal(failures, 0);
}

/* The examples of Unicode 15, section 3.9, table 3-8 to 3-11. */
static void unicode__ill_formed_parts_become_one_replacement_each(void **state)
{
    static const char *const cases[][2] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "88888888A"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "88888888A"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "88888A88B"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "8888A"},
        {"plain \xC3\xA9", "plain \xC3\xA9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dt_text repaired = {0}, expected = {0};
        for (const char *at = cases[i][1]; *at; at++)
            dt_text_append(&expected, *at == '8' ? DT_REPLACEMENT : at, *at == '8' ? 3 : 1);
        assert_true(dt_utf8_repair(&repaired, cases[i][0], strlen(cases[i][0])));
        assert_string_equal(repaired.data, expected.data);
        dt_text_free(&repaired);
        dt_text_free(&expected);
    }
}

static void unicode__bytes_and_their_letters_are_one_to_one(void **state)
{
    for (int byte = 0; byte < 256; byte++)
        assert_int_equal(dt_code_to_byte(dt_byte_to_code((unsigned char)byte)), byte);
    assert_int_equal(dt_byte_to_code(' '), 0x120);
    assert_int_equal(dt_byte_to_code('\n'), 0x10A);
    assert_int_equal(dt_code_to_byte(' '), -1);
    assert_int_equal(dt_code_to_byte(0x144), -1);
}

static void check_form(dt_form form, const char *text, const char *expected)
{
    dt_text out = {0};
    assert_true(dt_normal_form(&out, form, text, strlen(text)));
    assert_string_equal(out.data, expected);
    dt_text_free(&out);
}

static void unicode__normal_forms_compose_and_decompose(void **state)
{
    check_form(DT_NFC, "e\xCC\x81\xE2\x84\xAB", "\xC3\xA9\xC3\x85");
    check_form(DT_NFD, "\xC3\xA9", "e\xCC\x81");
    check_form(DT_NFKC, "\xEF\xAC\x81\xEF\xBC\xA1\xC2\xBD",
               "fiA1\xE2\x81\x84"
               "2");
    check_form(DT_NFD, "\xEA\xB8\x80", "\xE1\x84\x80\xE1\x85\xB3\xE1\x86\xAF");
    check_form(DT_NFC, "\xE1\x84\x80\xE1\x85\xB3\xE1\x86\xAF", "\xEA\xB8\x80");
    check_form(DT_NFC, "a\xCC\x81\xCC\xA3", "\xE1\xBA\xA1\xCC\x81"); /* dot below sorts before acute */
}

/* Two megabytes of marks in the worst order: utf8proc's own sort would take hours. */
static void unicode__a_long_run_of_marks_is_sorted_in_linear_time(void **state)
{
    enum { PAIRS = 500000 };
    char *text = malloc(PAIRS * 4);
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(text + 4 * i, "\xCC\x81\xCC\xA3", 4); /* above (230), below (220) */
    dt_text out = {0};
    assert_true(dt_normal_form(&out, DT_NFD, text, PAIRS * 4));
    assert_int_equal(out.bytes, PAIRS * 4);
    assert_memory_equal(out.data, "\xCC\xA3\xCC\xA3", 4);
    assert_memory_equal(out.data + PAIRS * 2 - 2, "\xCC\xA3\xCC\x81", 4);
    dt_text_free(&out);
    free(text);
}

static void unicode__classes_follow_the_standard(void **state)
{
    uint32_t lower[2];
    assert_true(dt_is_space(0x3000) && dt_is_space(0x85) && !dt_is_space(0x180E) && !dt_is_space(0x200B));
    assert_true(dt_is_word('_') && dt_is_word(0x301) && dt_is_word(0x24B6) && !dt_is_word(0xB2) &&
                !dt_is_word('-'));
    assert_true(dt_is_punctuation('$') && dt_is_punctuation(0xBF) && !dt_is_punctuation(0xA9));
    assert_true(dt_is_number(0x2167) && dt_is_number(0x663) && !dt_is_number(0x4E00));
    assert_int_equal(dt_lower(0x130, lower), 2);
    assert_int_equal(dt_lower(0x3A3, lower), 1);
    assert_int_equal(lower[0], 0x3C3);
    assert_int_equal(dt_grapheme_bytes("e\xCC\x81x", 4), 3);
    assert_int_equal(dt_grapheme_bytes("\r\nx", 3), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unicode__every_code_point_survives_encoding),
        cmocka_unit_test(unicode__ill_formed_parts_become_one_replacement_each),
        cmocka_unit_test(unicode__bytes_and_their_letters_are_one_to_one),
        cmocka_unit_test(unicode__normal_forms_compose_and_decompose),
        cmocka_unit_test(unicode__a_long_run_of_marks_is_sorted_in_linear_time),
        cmocka_unit_test(unicode__classes_follow_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
