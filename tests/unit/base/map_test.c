/* map_test.c - a mapping is the file's bytes; what is not a file is refused by name. */
#include "unit.h"

#include "base/map.h"

#include <sys/stat.h>

static void map__shows_the_bytes_of_a_file(void **state)
{
    dt_error err = {0};
    dt_map map;
    const char *path = in_folder(*state, "bytes");
    put_file(path, "drive\0train", 11);
    assert_ok(dt_map_open(&map, path, &err), err);
    assert_int_equal(map.size, 11);
    assert_memory_equal(map.data, "drive\0train", 11);
    assert_string_equal(map.path, path);
    dt_map_close(&map);
    dt_map_close(&map);
}

static void map__an_empty_file_has_no_bytes(void **state)
{
    dt_error err = {0};
    dt_map map;
    put_file(in_folder(*state, "empty"), "", 0);
    assert_ok(dt_map_open(&map, in_folder(*state, "empty"), &err), err);
    assert_int_equal(map.size, 0);
    assert_null(map.data);
    dt_map_will_need(&map, 0, 10);
    dt_map_drop(&map, 0, 10);
    dt_map_close(&map);
}

static void map__refuses_what_is_not_a_file(void **state)
{
    dt_error err = {0};
    dt_map map;
    const char *pipe = in_folder(*state, "pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_fails(dt_map_open(&map, in_folder(*state, "none"), &err), DT_NOT_FOUND, err, "none: No such file");
    assert_fails(dt_map_open(&map, *state, &err), DT_INVALID, err, "is a folder");
    assert_fails(dt_map_open(&map, pipe, &err), DT_INVALID, err, "is a device or pipe");
}

static void map__dropped_pages_read_the_same_again(void **state)
{
    enum { BYTES = 300001 };
    dt_error err = {0};
    dt_map map;
    unsigned char *content = malloc(BYTES);
    for (int i = 0; i < BYTES; i++)
        content[i] = (unsigned char)(i * 7 >> 3);
    put_file(in_folder(*state, "large"), content, BYTES);
    assert_ok(dt_map_open(&map, in_folder(*state, "large"), &err), err);
    static const size_t range[][2] = {{0, BYTES}, {1, 4096},     {4095, 4098},
                                      {BYTES, 1}, {SIZE_MAX, 1}, {5, SIZE_MAX}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        dt_map_will_need(&map, range[i][0], range[i][1]);
        dt_map_drop(&map, range[i][0], range[i][1]);
        assert_memory_equal(map.data, content, BYTES);
    }
    dt_map_close(&map);
    free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(map__shows_the_bytes_of_a_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(map__an_empty_file_has_no_bytes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(map__refuses_what_is_not_a_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(map__dropped_pages_read_the_same_again, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
