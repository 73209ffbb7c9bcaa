/* rows_test.c - recordings are opened strictly, and padded batches become packed rows. */
#include "recordings.h"

#include "verify/rows.h"

#define RECORDING "drivetrain-recording/1"

static void rows__padding_is_dropped(void **state)
{
    dt_error err = {0};
    dt_recording r;
    dt_row_batch rows;
    dt_arena *arena = dt_arena_create();
    const char *path = in_folder(*state, "r.safetensors");
    recorded tensors[] = {INTS("in.tokens", 2, 3, 5, 6, 7, 8, 0, 0), LENGTHS("in.lengths", 2, 3, 1)};
    write_recording(path, tensors, 2, RECORDING);
    assert_ok(dt_recording_open(&r, path, &err), err);
    assert_int_equal(r.eos_count, 1);
    assert_ok(dt_rows_read(&r, "in.", arena, &rows, &err), err);
    assert_int_equal(rows.total, 4);
    assert_memory_equal(rows.tokens, ((int32_t[]){5, 6, 7, 8}), 16);
    assert_memory_equal(rows.positions, ((int32_t[]){0, 1, 2, 0}), 16);
    assert_memory_equal(rows.cu_seqlens, ((int32_t[]){0, 3, 4}), 12);
    dt_recording_close(&r);
    dt_arena_destroy(arena);
}

static void rows__lengths_beyond_the_batch_are_refused(void **state)
{
    dt_error err = {0};
    dt_recording r;
    dt_row_batch rows;
    dt_arena *arena = dt_arena_create();
    const char *path = in_folder(*state, "r.safetensors");
    static const int32_t bad[] = {0, 4, -1};
    for (int i = 0; i < 3; i++) {
        recorded tensors[] = {INTS("in.tokens", 1, 3, 5, 6, 7), LENGTHS("in.lengths", 1, bad[i])};
        write_recording(path, tensors, 2, RECORDING);
        assert_ok(dt_recording_open(&r, path, &err), err);
        assert_fails(dt_rows_read(&r, "in.", arena, &rows, &err), DT_FORMAT, err, "in.lengths[0]");
        dt_recording_close(&r);
    }
    dt_arena_destroy(arena);
}

static void rows__a_recording_without_tokens_says_so(void **state)
{
    dt_error err = {0};
    dt_recording r;
    dt_row_batch rows;
    dt_arena *arena = dt_arena_create();
    const char *path = in_folder(*state, "r.safetensors");
    recorded tensors[] = {LENGTHS("in.lengths", 1, 1)};
    write_recording(path, tensors, 1, RECORDING);
    assert_ok(dt_recording_open(&r, path, &err), err);
    assert_fails(dt_rows_read(&r, "in.", arena, &rows, &err), DT_NOT_FOUND, err, "in.tokens");
    dt_recording_close(&r);
    dt_arena_destroy(arena);
}

static void rows__another_safetensors_file_is_no_recording(void **state)
{
    dt_error err = {0};
    dt_recording r;
    const char *path = in_folder(*state, "r.safetensors");
    recorded tensors[] = {LENGTHS("in.lengths", 1, 1)};
    write_recording(path, tensors, 1, "pt");
    assert_fails(dt_recording_open(&r, path, &err), DT_FORMAT, err, "drivetrain-recording/1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows__padding_is_dropped, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(rows__lengths_beyond_the_batch_are_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(rows__a_recording_without_tokens_says_so, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(rows__another_safetensors_file_is_no_recording, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
