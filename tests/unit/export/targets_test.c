/* targets_test.c - the table of targets: every row can be written, names what it holds, and unknown names are told. */
#include "unit.h"

#include <drivetrain/checkpoint.h>
#include <drivetrain/export.h>

#include <string.h>

static bool written(const char *name)
{
    const dt_format_about *f;
    for (int i = 0; (f = dt_format_at(i)); i++)
        if (strcmp(f->name, name) == 0)
            return f->writes;
    return false;
}

static void targets__every_row_is_a_format_that_writes_and_every_such_format_a_row(void **state)
{
    (void)state;
    const dt_format_about *f;
    const dt_target *t;
    dt_error err = {0};
    for (int i = 0; (t = dt_target_at(i)); i++) {
        assert_true(written(t->name) || strcmp(t->name, "engine") == 0 || /* which this floor writes */
                    strchr(t->name, '+'));                                /* both of two rows */
        assert_true(t->releases[0] && t->types[0] && t->about[0]);
    }
    for (int i = 0; (f = dt_format_at(i)); i++)
        if (f->writes)
            assert_ok(dt_target_find(f->name, &t, &err), err);
}

static void targets__a_word_is_found_whole(void **state)
{
    (void)state;
    assert_true(dt_target_takes("f32 bf16 f16", "f16"));
    assert_true(dt_target_takes("f32 bf16 f16", "f32"));
    assert_false(dt_target_takes("f32 bf16", "f16"));
    assert_false(dt_target_takes("f32 bf16", ""));
    assert_false(dt_target_takes("", "f16"));
}

static void targets__an_unknown_name_is_told_the_nearest(void **state)
{
    (void)state;
    const dt_target *t = NULL;
    dt_error err = {0};
    assert_fails(dt_target_find("megatron-dits", &t, &err), DT_UNSUPPORTED, err, "nearest: megatron-dist");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets__every_row_is_a_format_that_writes_and_every_such_format_a_row),
        cmocka_unit_test(targets__a_word_is_found_whole),
        cmocka_unit_test(targets__an_unknown_name_is_told_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
