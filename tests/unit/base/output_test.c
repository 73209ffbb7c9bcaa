/* output_test.c - a result has its name when it is complete and never before, whatever fails. */
#include "unit.h"

#include "base/output.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int entries(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return count;
}

static void output__appears_only_on_commit(void **state)
{
    dt_error err = {0};
    dt_output *out;
    const char *path = in_folder(*state, "result");
    assert_ok(dt_output_open(&out, path, false, &err), err);
    assert_ok(dt_output_write(out, "drive", 5, &err), err);
    assert_false(dt_is_file(path));
    assert_ok(dt_output_write(out, "train", 5, &err), err);
    assert_int_equal(dt_output_position(out), 10);
    assert_ok(dt_output_commit(out, &err), err);
    assert_file_holds(path, "drivetrain", 10);
    assert_int_equal(entries(*state), 1);
}

static void output__large_and_small_writes_keep_their_order(void **state)
{
    enum { BYTES = 5000000 };
    dt_error err = {0};
    dt_output *out;
    unsigned char *content = malloc(BYTES);
    for (int i = 0; i < BYTES; i++)
        content[i] = (unsigned char)(i * 31 >> 4);
    const char *path = in_folder(*state, "large");
    assert_ok(dt_output_open(&out, path, false, &err), err);
    size_t at = 0;
    for (size_t n = 1; at < BYTES; n = n * 5 % 2500001 + 1) {
        size_t bytes = n < BYTES - at ? n : BYTES - at;
        assert_ok(dt_output_write(out, content + at, bytes, &err), err);
        at += bytes;
    }
    content[0] = 0xAA; /* a header filled in at the end */
    content[2000000] = 0xBB;
    assert_ok(dt_output_write_at(out, 0, content, 1, &err), err);
    assert_ok(dt_output_write_at(out, 2000000, content + 2000000, 1, &err), err);
    assert_int_equal(dt_output_position(out), BYTES);
    assert_ok(dt_output_commit(out, &err), err);
    assert_file_holds(path, content, BYTES);
    free(content);
}

static void output__discard_leaves_nothing(void **state)
{
    dt_error err = {0};
    dt_output *out;
    assert_ok(dt_output_open(&out, in_folder(*state, "x"), false, &err), err);
    assert_ok(dt_output_write(out, "x", 1, &err), err);
    dt_output_discard(out);
    dt_output_discard(NULL);
    assert_int_equal(entries(*state), 0);
}

static void output__replaces_only_when_told(void **state)
{
    dt_error err = {0};
    dt_output *out, *late;
    const char *path = in_folder(*state, "x");
    assert_ok(dt_output_open(&late, path, false, &err), err);
    assert_ok(dt_output_open(&out, path, false, &err), err); /* two at once have two partial names */
    assert_ok(dt_output_write(out, "old", 3, &err), err);
    assert_ok(dt_output_commit(out, &err), err);
    assert_fails(dt_output_commit(late, &err), DT_INVALID, err, "exists already");
    assert_fails(dt_output_open(&out, path, false, &err), DT_INVALID, err, "--force");
    assert_null(out);
    assert_file_holds(path, "old", 3);
    assert_ok(dt_output_open(&out, path, true, &err), err);
    assert_ok(dt_output_write(out, "newer", 5, &err), err);
    assert_file_holds(path, "old", 3);
    assert_ok(dt_output_commit(out, &err), err);
    assert_file_holds(path, "newer", 5);
    assert_int_equal(entries(*state), 1);
}

static void output__never_takes_the_place_of_a_device_or_folder(void **state)
{
    dt_error err = {0};
    dt_output *out;
    assert_fails(dt_output_open(&out, "/dev/null", true, &err), DT_INVALID, err, "not a file");
    assert_fails(dt_output_open(&out, *state, true, &err), DT_INVALID, err, "not a file");
    assert_fails(dt_output_open(&out, in_folder(*state, "no/x"), true, &err), DT_NOT_FOUND, err, "no/x");
}

/* In a child process, where files may not exceed `limit` bytes: what the caller of a full disk sees. */
static int write_on_full_disk(const char *path, rlim_t limit, size_t bytes, int pieces)
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit most = {limit, limit};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &most);
        dt_error err = {0};
        dt_output *out;
        char *data = calloc(1, bytes);
        dt_status status = dt_output_open(&out, path, true, &err);
        for (int i = 0; i < pieces; i++)
            status = dt_output_write(out, data, bytes, &err); /* careless: goes on after a failure */
        free(data);
        dt_status committed = dt_output_commit(out, &err);
        _exit(status == DT_OK && committed == DT_OK ? 0 : committed == DT_IO ? 1 : 2);
    }
    int result;
    waitpid(child, &result, 0);
    return WIFEXITED(result) ? WEXITSTATUS(result) : -1;
}

static void output__a_full_disk_leaves_the_old_file_and_no_half_one(void **state)
{
    const char *path = in_folder(*state, "x");
    put_file(path, "old", 3);
    assert_int_equal(write_on_full_disk(path, 1000, 10, 10), 0);
    put_file(path, "old", 3);
    assert_int_equal(write_on_full_disk(path, 1000, 600, 2), 1);        /* noticed at commit */
    assert_int_equal(write_on_full_disk(path, 1000000, 700000, 4), 1);  /* noticed while writing */
    assert_int_equal(write_on_full_disk(path, 1000000, 9000000, 2), 1); /* past the buffer */
    assert_file_holds(path, "old", 3);
    assert_int_equal(entries(*state), 1);
}

static void output__folders_appear_whole(void **state)
{
    dt_error err = {0};
    dt_output_folder *folder;
    const char *path = in_folder(*state, "out/"), *name = in_folder(*state, "out");
    assert_ok(dt_output_folder_create(&folder, path, false, &err), err);
    put_file(in_folder(dt_output_folder_path(folder), "a"), "1", 1);
    assert_int_equal(mkdir(in_folder(dt_output_folder_path(folder), "sub"), 0777), 0);
    put_file(in_folder(dt_output_folder_path(folder), "sub/b"), "2", 1);
    assert_false(dt_is_folder(name));
    assert_ok(dt_output_folder_commit(folder, &err), err);
    assert_file_holds(in_folder(name, "sub/b"), "2", 1);
    assert_fails(dt_output_folder_create(&folder, path, false, &err), DT_INVALID, err, "exists already");

    assert_ok(dt_output_folder_create(&folder, path, true, &err), err);
    put_file(in_folder(dt_output_folder_path(folder), "c"), "3", 1);
    assert_true(dt_is_file(in_folder(name, "a")));
    assert_ok(dt_output_folder_commit(folder, &err), err);
    assert_file_holds(in_folder(name, "c"), "3", 1);
    assert_false(dt_is_file(in_folder(name, "a")));
    assert_int_equal(entries(*state), 1);
}

static void output__discarded_folders_leave_nothing(void **state)
{
    dt_error err = {0};
    dt_output_folder *folder;
    assert_ok(dt_output_folder_create(&folder, in_folder(*state, "out"), false, &err), err);
    put_file(in_folder(dt_output_folder_path(folder), "a"), "1", 1);
    dt_output_folder_discard(folder);
    dt_output_folder_discard(NULL);
    assert_int_equal(entries(*state), 0);
}

static void output__removing_a_tree_does_not_follow_links(void **state)
{
    dt_error err = {0};
    const char *kept = in_folder(*state, "kept"), *gone = in_folder(*state, "gone");
    assert_int_equal(mkdir(kept, 0777) | mkdir(gone, 0777), 0);
    put_file(in_folder(kept, "a"), "1", 1);
    assert_int_equal(symlink(kept, in_folder(gone, "link")), 0);
    assert_ok(dt_remove_tree(gone, &err), err);
    assert_false(dt_is_folder(gone));
    assert_true(dt_is_file(in_folder(kept, "a")));
    assert_fails(dt_remove_tree(gone, &err), DT_NOT_FOUND, err, "gone");
}

static void output__copies_are_equal(void **state)
{
    dt_error err = {0};
    char content[200000];
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)(i * i);
    const char *from = in_folder(*state, "from"), *to = in_folder(*state, "to");
    put_file(from, content, sizeof content);
    assert_ok(dt_copy_file(from, to, &err), err);
    assert_file_holds(to, content, sizeof content);
    assert_fails(dt_copy_file(in_folder(*state, "none"), to, &err), DT_NOT_FOUND, err, "none");
    assert_fails(dt_copy_file(*state, to, &err), DT_IO, err, "cannot read");
    assert_int_equal(entries(*state), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(output__appears_only_on_commit, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(output__large_and_small_writes_keep_their_order, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(output__discard_leaves_nothing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(output__replaces_only_when_told, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(output__never_takes_the_place_of_a_device_or_folder, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(output__a_full_disk_leaves_the_old_file_and_no_half_one, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(output__folders_appear_whole, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(output__discarded_folders_leave_nothing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(output__removing_a_tree_does_not_follow_links, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(output__copies_are_equal, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
