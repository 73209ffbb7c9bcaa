/* arena_test.c - allocations are zeroed, aligned, apart from each other, and NULL when memory is short. */
#include "unit.h"

#include "base/arena.h"

/* The linker sends the library's calloc here; the call numbered `failing` finds no memory. */
static int calls, failing = -1;
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return calls++ == failing ? NULL : __real_calloc(count, bytes);
}

static void arena__allocations_are_zeroed_aligned_and_apart(void **state)
{
    dt_arena *arena = dt_arena_create();
    unsigned char *memory[300];
    size_t bytes[300];
    for (size_t i = 0; i < 300; i++) {
        size_t alignment = (size_t)16 << (i % 5);
        bytes[i] = i * i % 9001 + i / 7;
        memory[i] = dt_arena_aligned(arena, bytes[i], alignment);
        assert_non_null(memory[i]);
        assert_int_equal((uintptr_t)memory[i] % alignment, 0);
        for (size_t b = 0; b < bytes[i]; b++)
            assert_int_equal(memory[i][b], 0);
        memset(memory[i], (int)(i % 251) + 1, bytes[i]);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t b = 0; b < bytes[i]; b++)
            assert_int_equal(memory[i][b], i % 251 + 1);
    dt_arena_destroy(arena);
}

static void arena__large_requests_leave_the_current_block_in_use(void **state)
{
    dt_arena *arena = dt_arena_create();
    char *before = dt_arena_alloc(arena, 16);
    assert_non_null(dt_arena_alloc(arena, 64 << 20));
    char *after = dt_arena_alloc(arena, 16);
    assert_true(after > before && after - before < 256);
    assert_true(dt_arena_bytes(arena) < (64 << 20) + 16384);
    dt_arena_destroy(arena);
}

static void arena__absurd_sizes_are_refused(void **state)
{
    dt_arena *arena = dt_arena_create();
    assert_null(dt_arena_alloc(arena, SIZE_MAX));
    assert_null(dt_arena_alloc(arena, SIZE_MAX - 15));
    assert_null(dt_arena_alloc(arena, PTRDIFF_MAX));
    assert_null(dt_arena_array(arena, SIZE_MAX / 2, 3));
    assert_null(dt_arena_text_n(arena, "", SIZE_MAX));
    assert_non_null(dt_arena_array(arena, 0, 8));
    dt_arena_destroy(arena);
}

static void arena__growing_keeps_content_and_zeroes_the_rest(void **state)
{
    dt_arena *arena = dt_arena_create();
    unsigned char *array = NULL;
    size_t size = 0;
    for (size_t wanted = 1; wanted < 100000; wanted += wanted / 2 + 1) {
        array = dt_arena_grow(arena, array, size, wanted);
        assert_non_null(array);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(array[i], i % 255 + 1);
        for (size_t i = size; i < wanted; i++) {
            assert_int_equal(array[i], 0);
            array[i] = (unsigned char)(i % 255 + 1);
        }
        if (wanted % 2)
            dt_arena_alloc(arena, 5); /* now it is not the last one and has to move */
        size = wanted;
    }
    assert_ptr_equal(dt_arena_grow(arena, array, size, size / 2), array);
    dt_arena_destroy(arena);
}

static void arena__texts_are_copies(void **state)
{
    dt_arena *arena = dt_arena_create();
    char word[] = "gear";
    char *copy = dt_arena_text(arena, word), *part = dt_arena_text_n(arena, word, 2);
    word[0] = 'f';
    assert_string_equal(copy, "gear");
    assert_string_equal(part, "ge");
    assert_string_equal(dt_arena_printf(arena, "%s.%d", "layers", 7), "layers.7");
    dt_arena_destroy(arena);
}

static int fill(dt_arena *arena)
{
    int done = 0;
    for (int i = 0; i < 8; i++)
        done += dt_arena_alloc(arena, 3000) != NULL;
    return done + (dt_arena_printf(arena, "%*d", 9000, 1) != NULL);
}

static void arena__every_failing_allocation_is_reported(void **state)
{
    calls = 0;
    dt_arena *whole = dt_arena_create();
    assert_int_equal(fill(whole), 9);
    dt_arena_destroy(whole);
    int needed = calls;
    assert_true(needed > 2);
    for (int n = 0; n < needed; n++) {
        calls = 0;
        failing = n;
        dt_arena *arena = dt_arena_create();
        assert_true(n == 0 ? !arena : fill(arena) < 9);
        failing = -1;
        if (arena)
            assert_non_null(dt_arena_alloc(arena, 100)); /* and the arena still serves */
        dt_arena_destroy(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena__allocations_are_zeroed_aligned_and_apart),
        cmocka_unit_test(arena__large_requests_leave_the_current_block_in_use),
        cmocka_unit_test(arena__absurd_sizes_are_refused),
        cmocka_unit_test(arena__growing_keeps_content_and_zeroes_the_rest),
        cmocka_unit_test(arena__texts_are_copies),
        cmocka_unit_test(arena__every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
