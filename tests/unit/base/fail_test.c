/* fail_test.c - stories read from the outside in, whatever their lines hold. */
#include "unit.h"

#include "base/fail.h"

#include <errno.h>

static dt_status innermost(dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "%d bytes are too few", 3);
}

static dt_status outer(dt_error *err)
{
    DT_TRY(innermost(err), err, "while reading %s", "header");
    return DT_OK;
}

static void fail__story_reads_from_outside_in(void **state)
{
    dt_error err = {0};
    char text[DT_ERROR_TEXT_BYTES];
    assert_int_equal(outer(&err), DT_FORMAT);
    dt_error_while(&err, "cannot load x");
    dt_error_try(&err, "drivetrain inspect x");
    size_t length = dt_error_format(&err, text, sizeof text);
    assert_string_equal(text, "cannot load x\n"
                              "  while reading header\n"
                              "    3 bytes are too few\n"
                              "  try: drivetrain inspect x");
    assert_int_equal(length, strlen(text));
    assert_int_equal(err.status, DT_FORMAT);
}

static void fail__format_reports_the_length_it_needed(void **state)
{
    dt_error err = {0};
    char whole[DT_ERROR_TEXT_BYTES], cut[8];
    outer(&err);
    size_t length = dt_error_format(&err, whole, sizeof whole);
    for (size_t bytes = 0; bytes <= sizeof cut; bytes++) {
        memset(cut, 'x', sizeof cut);
        assert_int_equal(dt_error_format(&err, cut, bytes), length);
        if (bytes > 0) {
            assert_int_equal(strlen(cut), bytes - 1);
            assert_memory_equal(cut, whole, bytes - 1);
        }
    }
}

static void fail__the_longest_story_fits_its_buffer(void **state)
{
    dt_error err = {0};
    char long_line[1000], text[DT_ERROR_TEXT_BYTES];
    memset(long_line, 'a', sizeof long_line);
    long_line[sizeof long_line - 1] = '\0';
    dt_fail(&err, DT_IO, "%s", long_line);
    for (int i = 0; i < 2 * DT_ERROR_LINES; i++)
        dt_error_while(&err, "%s", long_line);
    dt_error_try(&err, "%s", long_line);
    assert_int_equal(err.line_count, DT_ERROR_LINES);
    assert_true(dt_error_format(&err, text, sizeof text) < sizeof text);
    assert_non_null(strstr(err.line[0], "aaa..."));
}

static void fail__cutting_a_line_keeps_characters_whole(void **state)
{
    for (int shift = 0; shift < 4; shift++) {
        dt_error err = {0};
        char text[1000] = {0};
        memset(text, 'a', (size_t)shift);
        for (size_t i = (size_t)shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\u20ac", 3);
        dt_fail(&err, DT_IO, "%s", text);
        size_t length = strlen(err.line[0]);
        assert_string_equal(err.line[0] + length - 3, "...");
        assert_int_equal((length - 3 - (size_t)shift) % 3, 0);
    }
}

static void fail__foreign_names_cannot_drive_the_terminal(void **state)
{
    dt_error err = {0};
    dt_fail(&err, DT_FORMAT, "tensor \"%s\"", "a\033[2Jb\nc\x7f");
    assert_string_equal(err.line[0], "tensor \"a?[2Jb?c?\"");
}

static void fail__a_new_story_replaces_the_old(void **state)
{
    dt_error err = {0};
    outer(&err);
    dt_error_try(&err, "this");
    dt_fail(&err, DT_LIMIT, "again: %s", err.line[0]);
    assert_int_equal(err.line_count, 1);
    assert_string_equal(err.line[0], "again: 3 bytes are too few");
    assert_string_equal(err.hint, "");
    dt_error_clear(&err);
    assert_int_equal(err.status, DT_OK);
}

static void fail__no_one_has_to_listen(void **state)
{
    assert_int_equal(outer(NULL), DT_FORMAT);
    dt_error_try(NULL, "x");
    dt_error_clear(NULL);
    assert_int_equal(dt_fail_memory(NULL, 1, "x"), DT_NO_MEMORY);
}

static void fail__errno_chooses_the_status(void **state)
{
    dt_error err = {0};
    errno = ENOENT;
    assert_int_equal(dt_fail_errno(&err, "cannot open", "a/b"), DT_NOT_FOUND);
    assert_string_equal(err.line[0], "cannot open a/b: No such file or directory");
    errno = ENOMEM;
    assert_int_equal(dt_fail_errno(&err, "cannot map", "a/b"), DT_NO_MEMORY);
    errno = EACCES;
    assert_int_equal(dt_fail_errno(&err, "cannot lock", NULL), DT_IO);
    assert_string_equal(err.line[0], "cannot lock: Permission denied");
}

static void fail__every_status_has_a_text(void **state)
{
#define X(name, number, text) assert_string_equal(dt_status_text(DT_##name), text);
    DT_STATUS_TABLE(X)
#undef X
    assert_non_null(dt_status_text((dt_status)999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail__story_reads_from_outside_in),
        cmocka_unit_test(fail__format_reports_the_length_it_needed),
        cmocka_unit_test(fail__the_longest_story_fits_its_buffer),
        cmocka_unit_test(fail__cutting_a_line_keeps_characters_whole),
        cmocka_unit_test(fail__foreign_names_cannot_drive_the_terminal),
        cmocka_unit_test(fail__a_new_story_replaces_the_old),
        cmocka_unit_test(fail__no_one_has_to_listen),
        cmocka_unit_test(fail__errno_chooses_the_status),
        cmocka_unit_test(fail__every_status_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
