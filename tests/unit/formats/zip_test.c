/* zip_test.c - stored archives are read as they are; every way to lie in one is refused by name. */
#include "formats/build.h"

#include "formats/torch/zip.h"

static dt_status read_zip(const dt_text *file, dt_zip *zip, dt_arena *arena, dt_error *err)
{
    return dt_zip_read(zip, arena, (const uint8_t *)file->data, file->bytes, err);
}

static void zip__finds_entries_by_name(void **state)
{
    dt_error err = {0};
    dt_zip zip;
    dt_text file = {0};
    dt_arena *arena = dt_arena_create();
    zip_part part[] = {{.name = "b/data", .data = "hello", .bytes = 5, .crc = 0x3610a686},
                       {.name = "a", .data = "", .bytes = 0},
                       {.name = "folder/", .data = "", .bytes = 0}};
    zip_build(&file, part, 3);
    assert_true(dt_zip_is((const uint8_t *)file.data, file.bytes));
    assert_ok(read_zip(&file, &zip, arena, &err), err);
    assert_int_equal(zip.count, 3);
    const dt_zip_entry *entry = dt_zip_find(&zip, "b/data");
    assert_int_equal(entry->bytes, 5);
    assert_memory_equal(entry->data, "hello", 5);
    assert_ptr_equal(entry->data, (const uint8_t *)file.data + entry->offset);
    assert_null(dt_zip_find(&zip, "b"));
    assert_ok(dt_zip_check(entry, &err), err);
    dt_zip_entry wrong = *entry;
    wrong.crc = 1;
    assert_fails(dt_zip_check(&wrong, &err), DT_FORMAT, err, "CRC 3610a686, the archive says 00000001");
    dt_text_free(&file);
    dt_arena_destroy(arena);
}

static void zip__an_empty_archive_has_no_entries(void **state)
{
    dt_error err = {0};
    dt_zip zip;
    dt_text file = {0};
    dt_arena *arena = dt_arena_create();
    zip_end(&file, 0, 0, 0);
    assert_ok(read_zip(&file, &zip, arena, &err), err);
    assert_int_equal(zip.count, 0);
    assert_null(dt_zip_find(&zip, "a"));
    dt_text_free(&file);
    dt_arena_destroy(arena);
}

/* Two entries; `part` replaces the second. */
static void refused(zip_part part, dt_status status, const char *words)
{
    dt_error err = {0};
    dt_zip zip;
    dt_text file = {0};
    dt_arena *arena = dt_arena_create();
    zip_part parts[] = {{.name = "first", .data = "12345678", .bytes = 8}, part};
    zip_build(&file, parts, 2);
    assert_fails(read_zip(&file, &zip, arena, &err), status, err, words);
    dt_text_free(&file);
    dt_arena_destroy(arena);
}

static void zip__refuses_entries_that_lie(void **state)
{
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .method = 8}, DT_UNSUPPORTED,
            "entry \"a\" is compressed (method 8)");
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .flags = 1}, DT_UNSUPPORTED,
            "entry \"a\" is encrypted");
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .flags = 1 << 6}, DT_UNSUPPORTED,
            "is encrypted");
    refused((zip_part){.name = "first", .data = "x", .bytes = 1}, DT_FORMAT,
            "two entries are named \"first\"");
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .local_name = "b"}, DT_FORMAT,
            "entry \"a\" has another name in its local header");
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .local_bytes = 2}, DT_FORMAT,
            "other flags, method or size in its local header");
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .central_bytes = 1000, .local_bytes = 1000},
            DT_FORMAT, "lie outside the archive");
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .central_offset = 5}, DT_FORMAT,
            "no local header at byte 5");
    refused((zip_part){.name = "a", .data = "x", .bytes = 1, .central_offset = 4000000000}, DT_FORMAT,
            "no local header at byte 4000000000");
}

static void zip__refuses_names_that_climb(void **state)
{
    static const char *const BAD[] = {"",    "/a",    "..",   "../a", "a/../b", "a/..",
                                      "./a", "a/./b", "a//b", "a\\b", "a\nb",   "a\x7f"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        refused((zip_part){.name = BAD[i], .data = "x", .bytes = 1}, DT_FORMAT, "climbs out of the archive");
}

/* An archive inside an archive's data: both directories name the same bytes. */
static void zip__refuses_entries_that_overlap(void **state)
{
    dt_error err = {0};
    dt_zip zip;
    dt_text inner = {0}, file = {0};
    dt_arena *arena = dt_arena_create();
    zip_part small = {.name = "small", .data = "xyz", .bytes = 3};
    zip_local(&inner, &small);
    zip_part large = {.name = "large", .data = inner.data, .bytes = inner.bytes};
    zip_local(&file, &large);
    size_t directory = file.bytes;
    zip_central(&file, &large, 0);
    zip_central(&file, &small, 30 + strlen("large"));
    zip_end(&file, 2, directory, file.bytes - directory);
    assert_fails(read_zip(&file, &zip, arena, &err), DT_FORMAT, err,
                 "entries \"large\" and \"small\" overlap");
    dt_text_free(&inner);
    dt_text_free(&file);
    dt_arena_destroy(arena);
}

static void zip__refuses_end_records_that_lie(void **state)
{
    static const struct {
        int at, bytes; /* in the end record */
        uint64_t value;
        dt_status status;
        const char *words;
    } CASES[] = {
        {4, 2, 1, DT_UNSUPPORTED, "split over several disks"},
        {8, 2, 2, DT_UNSUPPORTED, "split over several disks"},
        {12, 4, 1, DT_FORMAT, "does not end at the end record"},
        {16, 4, 0xffffffff, DT_FORMAT, "does not end at the end record"},
        {20, 2, 9, DT_FORMAT, "no end record"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        dt_zip zip;
        dt_text file = {0};
        dt_arena *arena = dt_arena_create();
        zip_part part = {.name = "a", .data = "x", .bytes = 1};
        zip_build(&file, &part, 1);
        for (int b = 0; b < CASES[i].bytes; b++)
            file.data[file.bytes - 22 + (size_t)(CASES[i].at + b)] = (char)(CASES[i].value >> (8 * b));
        assert_fails(read_zip(&file, &zip, arena, &err), CASES[i].status, err, CASES[i].words);
        dt_text_free(&file);
        dt_arena_destroy(arena);
    }
}

/* `entries` in both counts of the end record. */
static void counted(int entries, const char *words)
{
    dt_error err = {0};
    dt_zip zip;
    dt_text file = {0};
    dt_arena *arena = dt_arena_create();
    zip_part part[] = {{.name = "a", .data = "x", .bytes = 1}, {.name = "b", .data = "x", .bytes = 1}};
    zip_build(&file, part, 2);
    file.data[file.bytes - 22 + 8] = file.data[file.bytes - 22 + 10] = (char)entries;
    assert_fails(read_zip(&file, &zip, arena, &err), DT_FORMAT, err, words);
    dt_text_free(&file);
    dt_arena_destroy(arena);
}

static void zip__refuses_a_wrong_count_of_entries(void **state)
{
    counted(1, "47 bytes follow the last entry");
    counted(100, "100 entries cannot stand in a directory of 94 bytes");
}

/* zip64: the end record says "see elsewhere", or repeats; `total` and `size` are what elsewhere says. */
static void build64(dt_text *file, uint64_t total, uint64_t record_bytes, uint64_t at_shift, uint32_t small)
{
    zip_part part = {.name = "a", .data = "hello", .bytes = 5};
    zip_local(file, &part);
    size_t directory = file->bytes;
    zip_central(file, &part, 0);
    size_t bytes = file->bytes - directory, at = file->bytes;
    pk(file, "PK\6\6");
    put_number(file, record_bytes, 8);
    put_number(file, 0, 12);
    put_number(file, total, 8);
    put_number(file, total, 8);
    put_number(file, bytes, 8);
    put_number(file, directory, 8);
    pk(file, "PK\6\7");
    put_number(file, 0, 4);
    put_number(file, at + at_shift, 8);
    put_number(file, 1, 4);
    zip_end(file, 1, small ? small : directory, bytes);
}

static void zip__reads_zip64_and_refuses_its_lies(void **state)
{
    static const struct {
        uint64_t total, record_bytes, at_shift;
        uint32_t small;
        const char *words; /* NULL: it is fine */
    } CASES[] = {{1, 44, 0, 0, NULL},
                 {1, 44, 0, 0xffffffff, NULL},
                 {1, 44, 0, 7, "the two end records disagree"},
                 {2, 44, 0, 0, "the two end records disagree"},
                 {1, 45, 0, 0, "the zip64 end record claims 45 bytes"},
                 {1, UINT64_MAX, 0, 0, "the zip64 end record claims"},
                 {1, 44, 1, 0, "where its locator says"},
                 {1, 44, UINT64_MAX / 2, 0, "where its locator says"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        dt_zip zip;
        dt_text file = {0};
        dt_arena *arena = dt_arena_create();
        build64(&file, CASES[i].total, CASES[i].record_bytes, CASES[i].at_shift, CASES[i].small);
        if (CASES[i].words)
            assert_fails(read_zip(&file, &zip, arena, &err), DT_FORMAT, err, CASES[i].words);
        else
            assert_ok(read_zip(&file, &zip, arena, &err), err);
        dt_text_free(&file);
        dt_arena_destroy(arena);
    }
}

/* An entry whose sizes and offset stand in the extra field. */
static void zip__reads_wide_sizes_from_the_extra_field(void **state)
{
    for (int field_bytes = 24; field_bytes >= 16; field_bytes -= 8) {
        dt_error err = {0};
        dt_zip zip;
        dt_text file = {0};
        dt_arena *arena = dt_arena_create();
        zip_part part = {.name = "a",
                         .data = "hello",
                         .bytes = 5,
                         .local_bytes = 0xffffffff,
                         .central_bytes = 0xffffffff,
                         .central_offset = 0xffffffff};
        zip_local(&file, &part);
        size_t directory = file.bytes;
        zip_central(&file, &part, 0);
        file.data[directory + 30] = (char)(4 + 5 + 4 + field_bytes); /* length of the extra field */
        pk(&file, "\x99\x99\x05\0other\1\0");
        put_number(&file, (uint64_t)field_bytes, 2);
        put_number(&file, 5, 8);
        put_number(&file, 5, 8);
        if (field_bytes == 24)
            put_number(&file, 0, 8);
        zip_end(&file, 1, directory, file.bytes - directory);
        if (field_bytes == 24)
            assert_ok(read_zip(&file, &zip, arena, &err), err);
        else
            assert_fails(read_zip(&file, &zip, arena, &err), DT_FORMAT, err, "its zip64 field is cut off");
        dt_text_free(&file);
        dt_arena_destroy(arena);
    }
}

static void zip__every_truncation_is_refused(void **state)
{
    dt_text file = {0};
    dt_zip zip;
    zip_part part[] = {{.name = "a", .data = "x", .bytes = 1}, {.name = "b", .data = "yz", .bytes = 2}};
    zip_build(&file, part, 2);
    for (size_t bytes = 0; bytes < file.bytes; bytes++) {
        dt_arena *arena = dt_arena_create();
        uint8_t *copy = malloc(bytes + 1); /* so that a sanitizer sees a step beyond */
        memcpy(copy, file.data, bytes);
        assert_int_not_equal(dt_zip_read(&zip, arena, copy, bytes, NULL), DT_OK);
        free(copy);
        dt_arena_destroy(arena);
    }
    dt_text_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zip__finds_entries_by_name),
        cmocka_unit_test(zip__an_empty_archive_has_no_entries),
        cmocka_unit_test(zip__refuses_entries_that_lie),
        cmocka_unit_test(zip__refuses_names_that_climb),
        cmocka_unit_test(zip__refuses_entries_that_overlap),
        cmocka_unit_test(zip__refuses_end_records_that_lie),
        cmocka_unit_test(zip__refuses_a_wrong_count_of_entries),
        cmocka_unit_test(zip__reads_zip64_and_refuses_its_lies),
        cmocka_unit_test(zip__reads_wide_sizes_from_the_extra_field),
        cmocka_unit_test(zip__every_truncation_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
