/* say_test.c - lines reach the caller's log, at the level he asked for. */
#include "unit.h"

#include "base/say.h"

static void keep(void *user, dt_log_level level, const char *text)
{
    snprintf(user, 64, "%d:%.60s", (int)level, text);
}

static void say__lines_reach_the_log_up_to_its_level(void **state)
{
    char last[64] = "";
    dt_log log = {.write = keep, .user = last, .verbosity = DT_LOG_INFO};
    dt_say(&log, DT_LOG_INFO, "read %d tensors", 3);
    assert_string_equal(last, "1:read 3 tensors");
    dt_say(&log, DT_LOG_DETAIL, "not wanted");
    assert_string_equal(last, "1:read 3 tensors");
    dt_say(NULL, DT_LOG_WARNING, "nobody listens");
    dt_say(&(dt_log){0}, DT_LOG_WARNING, "nobody listens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(say__lines_reach_the_log_up_to_its_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
