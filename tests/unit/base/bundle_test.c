/* bundle_test.c - files in one: what is put in comes out, as entries and as files; what is damaged is refused. */
#include "unit.h"

#include "base/bundle.h"
#include "base/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static int make(void **state)
{
    dt_bundle_writer *w = NULL;
    dt_error err = {0};
    *state = NULL;
    snprintf(path, sizeof path, "/tmp/bundle-test-%d", (int)getpid());
    return dt_bundle_create(&w, path, true, &err) || dt_bundle_begin(w, "a", &err) ||
           dt_bundle_write(w, "first", 5, &err) || dt_bundle_begin(w, "empty", &err) ||
           dt_bundle_begin(w, "b.json", &err) || dt_bundle_write(w, "{\"k\": ", 6, &err) ||
           dt_bundle_write(w, "1}", 2, &err) || dt_bundle_commit(w, &err);
}

static int clean(void **state)
{
    (void)state;
    return unlink(path);
}

static void bundle__entries_come_out_as_they_were_put_in(void **state)
{
    (void)state;
    dt_bundle *b = NULL;
    dt_error err = {0};
    size_t bytes;
    assert_true(dt_bundle_is(path));
    assert_ok(dt_bundle_open(&b, path, &err), err);
    const char *a = dt_bundle_find(b, "a", &bytes);
    assert_int_equal(bytes, 5);
    assert_memory_equal(a, "first", 5);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_non_null(dt_bundle_find(b, "empty", &bytes));
    assert_int_equal(bytes, 0);
    assert_null(dt_bundle_find(b, "none", &bytes));
    assert_non_null(dt_bundle_name(b, 2));
    assert_null(dt_bundle_name(b, 3));
    dt_bundle_close(b);
}

static void bundle__entries_are_files_of_a_folder(void **state)
{
    (void)state;
    char inside[96];
    dt_map map = {0};
    dt_error err = {0};
    snprintf(inside, sizeof inside, "%s/b.json", path);
    assert_true(dt_is_file(inside));
    assert_ok(dt_map_open(&map, inside, &err), err);
    assert_int_equal(map.size, 8);
    assert_memory_equal(map.data, "{\"k\": 1}", 8);
    dt_map_close(&map);
    snprintf(inside, sizeof inside, "%s/none", path);
    assert_false(dt_is_file(inside));
    assert_true(dt_map_open(&map, inside, &err) != DT_OK);
}

static void bundle__a_name_is_given_once(void **state)
{
    (void)state;
    char other[96];
    dt_bundle_writer *w = NULL;
    dt_error err = {0};
    snprintf(other, sizeof other, "%s.twice", path);
    assert_ok(dt_bundle_create(&w, other, true, &err), err);
    assert_ok(dt_bundle_begin(w, "a", &err), err);
    assert_fails(dt_bundle_begin(w, "a", &err), DT_INVALID, err, "was written before");
    dt_bundle_discard(w);
    assert_false(dt_is_file(other));
}

/* A whole file with an index of our choice. */
static dt_status open_with_index(const char *index, dt_error *err)
{
    static uint8_t file[512];
    dt_bundle *b = NULL;
    memset(file, 0, sizeof file);
    memcpy(file, "drivebnd", 8);
    file[8] = 1;
    file[16] = 192;
    file[24] = (uint8_t)strlen(index);
    memcpy(file + 192, index, strlen(index));
    dt_status status = dt_bundle_of_memory(&b, file, 192 + strlen(index), err);
    dt_bundle_close(b);
    return status;
}

static void bundle__lies_are_refused(void **state)
{
    (void)state;
    static const char *const lies[] = {
        "{}",
        "[1]",
        "[[\"a\", 64]]",
        "[[\"a\", -64, 1]]",
        "[[\"a\", 0, 1]]",
        "[[\"a\", 65, 1]]",
        "[[\"a\", 64, 999]]",
        "[[\"a\", 9223372036854775744, 9223372036854775807]]",
        "[[\"a\", 64, 65], [\"b\", 128, 1]]",
        "[[\"a\", 64, 1], [\"a\", 128, 1]]",
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        dt_error err = {0};
        assert_int_equal(open_with_index(lies[i], &err), DT_FORMAT);
    }
    dt_error err = {0};
    assert_ok(open_with_index("[[\"a\", 64, 64], [\"b\", 128, 1]]", &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundle__entries_come_out_as_they_were_put_in),
        cmocka_unit_test(bundle__entries_are_files_of_a_folder),
        cmocka_unit_test(bundle__a_name_is_given_once),
        cmocka_unit_test(bundle__lies_are_refused),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
