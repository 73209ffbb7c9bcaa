/* safetensors_test.c - strict reading, every refusal by name; writing gives the makers' own bytes. */
#include "formats/build.h"

#include "formats/safetensors/safetensors.h"

#include <glob.h>

/* A file of this header and `bytes` bytes of data (0, 1, 2, …). */
static void build(dt_text *file, const char *header, size_t bytes)
{
    put_number(file, strlen(header), 8);
    dt_text_put(file, header);
    for (size_t i = 0; i < bytes; i++)
        put_number(file, i, 1);
}

static dt_status read_text(dt_stored_set *set, const dt_text *file, dt_error *err)
{
    dt_status status = dt_safetensors_read_map(set, in_memory(set, "file", file->data, file->bytes), err);
    return status;
}

static void safetensors__reads_names_types_and_notes(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    dt_text file = {0};
    build(&file,
          "{\"__metadata__\":{\"format\":\"pt\",\"who\":\"\\u00fc\"},"
          "\"w\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]},"
          "\"s\":{\"shape\":[],\"data_offsets\":[6,8],\"dtype\":\"I16\"},"
          "\"none\":{\"dtype\":\"F32\",\"shape\":[4,0,3],\"data_offsets\":[8,8]}}   ",
          8);
    assert_ok(read_text(set, &file, &err), err);
    const dt_stored_tensor *w = dt_stored_set_find(set, "w"), *s = dt_stored_set_find(set, "s");
    uint8_t out[6];
    int16_t scalar;
    assert_int_equal(dt_stored_set_count(set), 3);
    assert_ok(dt_stored_read(w, NULL, DT_U8, out, NULL, &err), err);
    assert_memory_equal(out, "\0\1\2\3\4\5", 6);
    assert_ok(dt_stored_read(s, NULL, DT_I16, &scalar, NULL, &err), err);
    assert_int_equal(scalar, 0x0706);
    assert_int_equal(s->shape.rank, 0);
    assert_int_equal(dt_stored_bytes(dt_stored_set_find(set, "none")), 0);
    assert_string_equal(dt_stored_set_noted(set, "format"), "pt");
    assert_string_equal(dt_stored_set_noted(set, "who"), "ü");
    dt_text_free(&file);
    dt_stored_set_destroy(set);
}

static void safetensors__types_it_lacks_fail_only_when_read(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    dt_text file = {0};
    char byte;
    build(&file,
          "{\"c\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]},"
          "\"f\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[8,10]},"
          "\"new\":{\"dtype\":\"F128\",\"shape\":[1],\"data_offsets\":[10,13]},"
          "\"deep\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1],\"data_offsets\":[13,14]},"
          "\"w\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[14,16]}}",
          16);
    assert_ok(read_text(set, &file, &err), err);
    static const char *const WHY[][2] = {{"c", "its type is C64"},
                                         {"f", "its type is F4"},
                                         {"new", "its type is F128"},
                                         {"deep", "it has 6 dimensions, more than 5"}};
    for (size_t i = 0; i < 4; i++)
        assert_fails(dt_stored_read(dt_stored_set_find(set, WHY[i][0]), NULL, DT_U8, &byte, NULL, &err),
                     DT_UNSUPPORTED, err, WHY[i][1]);
    assert_null(dt_stored_set_find(set, "w")->unsupported);
    dt_text_free(&file);
    dt_stored_set_destroy(set);
}

#define ENTRY(name, dtype, shape, offsets)                                                                   \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"

static void safetensors__refuses_headers_that_lie(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        const char *words;
    } CASES[] = {
        {"[]", 0, "does not begin with {"},
        {" {}", 0, "does not begin with {"},
        {"{", 0, "does not begin with {"},
        {"{\"a\":", 0, "while parsing the JSON header"},
        {"{} x", 0, "while parsing the JSON header"},
        {"{}", 1, "the tensors end at byte 0 of the data, the file at 1"},
        {"{" ENTRY("a", "U8", "1", "0,1") "," ENTRY("a", "U8", "1", "1,2") "}", 2,
         "while parsing the JSON header"},
        {"{" ENTRY("a", "U8", "2", "0,2") "," ENTRY("b", "U8", "2", "1,3") "}", 3, "\"a\" and \"b\" overlap"},
        {"{" ENTRY("a", "U8", "2", "0,2") "," ENTRY("b", "U8", "2", "0,2") "}", 2, "\"a\" and \"b\" overlap"},
        {"{" ENTRY("a", "U8", "1", "0,1") "," ENTRY("b", "U8", "1", "2,3") "}", 3,
         "bytes that belong to no tensor"},
        {"{" ENTRY("a", "U8", "1", "1,2") "}", 2, "bytes that belong to no tensor"},
        {"{" ENTRY("a", "U8", "1", "0,1") "}", 2, "the tensors end at byte 1 of the data, the file at 2"},
        {"{" ENTRY("a", "U8", "2", "0,2") "}", 1, "bytes [0, 2) lie outside the data (1 bytes)"},
        {"{" ENTRY("a", "U8", "2", "2,0") "}", 2, "lie outside the data"},
        {"{" ENTRY("a", "F32", "2", "0,4") "}", 4, "its shape and type F32 need 8 bytes, its offsets span 4"},
        {"{" ENTRY("a", "F4", "3", "0,1") "}", 1, "3 elements of F4 are no whole number of bytes"},
        {"{" ENTRY("a", "U8", "4294967296,4294967296", "0,0") "}", 0, "the product of \"shape\" overflows"},
        {"{" ENTRY("a", "F32", "4611686018427387904", "0,0") "}", 0, "no whole number of bytes"},
        {"{" ENTRY("a", "U8", "-1", "0,1") "}", 1, "\"shape\" holds something that is no size"},
        {"{" ENTRY("a", "U8", "1.0", "0,1") "}", 1, "\"shape\" holds something that is no size"},
        {"{" ENTRY("a", "U8", "1", "-1,0") "}", 1, "\"data_offsets\" is not [begin, end]"},
        {"{" ENTRY("a", "U8", "1", "0,1,2") "}", 1, "\"data_offsets\" is not [begin, end]"},
        {"{" ENTRY("a", "U8", "1", "0,99999999999999999999") "}", 1, "\"data_offsets\" is not [begin, end]"},
        {"{\"a\":{\"dtype\":3,\"shape\":[],\"data_offsets\":[0,1]}}", 1, "\"dtype\" is not a string"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "\"shape\" is not an array"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "other keys than dtype, shape and data_offsets"},
        {"{\"a\":[]}", 0, "its entry is not an object"},
        {"{\"__metadata__\":[]}", 0, "\"__metadata__\" is not an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "\"__metadata__\": the value of \"a\" is not a string"},
        {"{" ENTRY("a\\n", "U8", "1", "0,1") "}", 1, "has control characters"},
        {"{" ENTRY("\xff", "U8", "1", "0,1") "}", 1, "while parsing the JSON header"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        dt_text file = {0};
        build(&file, CASES[i].header, CASES[i].bytes);
        assert_fails(read_text(set, &file, &err), DT_FORMAT, err, CASES[i].words);
        dt_text_free(&file);
        dt_stored_set_destroy(set);
    }
}

static void safetensors__refuses_header_lengths_that_lie(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    dt_text file = {0};
    assert_fails(dt_safetensors_read_map(set, in_memory(set, "short", "\2\0\0", 3), &err), DT_FORMAT, err,
                 "3 bytes is too short for a header length");
    put_number(&file, UINT64_MAX, 8);
    dt_text_put(&file, "{}");
    assert_fails(read_text(set, &file, &err), DT_FORMAT, err,
                 "claims 18446744073709551615 bytes, the file has 2 left");
    size_t large = 100000001;
    uint8_t *zeros = calloc(large + 8, 1);
    for (int i = 0; i < 8; i++)
        zeros[i] = (uint8_t)(large >> (8 * i));
    assert_fails(dt_safetensors_read_map(set, in_memory(set, "large", zeros, large + 8), &err), DT_LIMIT, err,
                 "the format allows 100000000");
    free(zeros);
    dt_text_free(&file);
    dt_stored_set_destroy(set);
}

static void safetensors__every_truncation_is_refused(void **state)
{
    dt_text file = {0};
    build(&file, "{" ENTRY("a", "U8", "5", "0,5") "," ENTRY("b", "U8", "3", "5,8") "}", 8);
    for (size_t bytes = 0; bytes < file.bytes; bytes++) {
        dt_stored_set *set = new_set();
        assert_int_equal(dt_safetensors_read_map(set, in_memory(set, "cut", file.data, bytes), NULL),
                         DT_FORMAT);
        dt_stored_set_destroy(set);
    }
    dt_text_free(&file);
}

/* ---- shards ---- */

static void put_shard(const char *folder, const char *name, const char *tensor, const char *more)
{
    dt_text file = {0}, header = {0};
    dt_text_printf(&header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}", tensor);
    if (more)
        dt_text_printf(&header, ",\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}", more);
    dt_text_put(&header, "}");
    build(&file, header.data, more ? 2 : 1);
    put_file(in_folder(folder, name), file.data, file.bytes);
    dt_text_free(&file);
    dt_text_free(&header);
}

static dt_status read_index(const char *folder, const char *json, dt_stored_set *set, dt_error *err)
{
    put_file(in_folder(folder, "index.json"), json, strlen(json));
    return dt_safetensors_read_index(set, in_folder(folder, "index.json"), err);
}

static void safetensors__an_index_gathers_its_shards(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    put_shard(*state, "1.safetensors", "a", "extra");
    put_shard(*state, "2.safetensors", "b", "a"); /* an older copy of a: the index says which counts */
    assert_ok(read_index(*state,
                         "{\"metadata\":{\"total_size\":3},\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2."
                         "safetensors\"}}",
                         set, &err),
              err);
    assert_int_equal(dt_stored_set_count(set), 3);
    assert_non_null(strstr(dt_stored_set_find(set, "a")->box[0].file, "1.safetensors"));
    assert_non_null(dt_stored_set_find(set, "extra"));
    dt_stored_set_destroy(set);
}

static void safetensors__an_index_that_lies_is_refused(void **state)
{
    static const struct {
        const char *json;
        dt_status status;
        const char *words;
    } CASES[] = {
        {"{}", DT_FORMAT, "\"weight_map\" is not an object"},
        {"{\"weight_map\":{\"a\":3}}", DT_FORMAT, "the file of \"a\" is not a string"},
        {"{\"weight_map\":{\"a\":\"../1.safetensors\"}}", DT_FORMAT, "a shard must be a file of this folder"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", DT_FORMAT, "a shard must be a file of this folder"},
        {"{\"weight_map\":{\"a\":\"..\"}}", DT_FORMAT, "a shard must be a file of this folder"},
        {"{\"weight_map\":{\"a\":\"3.safetensors\"}}", DT_NOT_FOUND, "3.safetensors"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"z\":\"1.safetensors\"}}", DT_FORMAT,
         "places tensor \"z\" in 1.safetensors, which does not hold it"},
    };
    put_shard(*state, "1.safetensors", "a", NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        assert_fails(read_index(*state, CASES[i].json, set, &err), CASES[i].status, err, CASES[i].words);
        dt_stored_set_destroy(set);
    }
}

/* ---- writing ---- */

enum { TENSOR_LIMIT = 512 };

static size_t entries_of(const dt_stored_set *set, dt_safetensors_entry *entry)
{
    size_t count = dt_stored_set_count(set);
    assert_true(count <= TENSOR_LIMIT);
    for (size_t i = 0; i < count; i++) {
        const dt_stored_tensor *t = dt_stored_set_at(set, count - 1 - i); /* any order must do */
        entry[i] = (dt_safetensors_entry){t->name, t->dtype, t->shape};
    }
    return count;
}

/* Write every tensor of `set` in pieces of `piece` bytes; tensors in file order, or the other way round. */
static void write_set(const dt_stored_set *set, const char *path, size_t piece, bool backwards)
{
    dt_error err = {0};
    dt_safetensors_writer *writer = NULL;
    dt_safetensors_entry entry[TENSOR_LIMIT];
    size_t count = entries_of(set, entry);
    const char *notes[2] = {"format", dt_stored_set_noted(set, "format")};
    assert_ok(dt_safetensors_create(&writer, path, true, entry, count, notes, notes[1] != NULL, &err), err);
    for (size_t i = 0; i < count; i++) {
        size_t index = dt_safetensors_order(writer, backwards ? count - 1 - i : i);
        const dt_stored_tensor *t = dt_stored_set_find(set, entry[index].name);
        size_t bytes = dt_stored_bytes(t);
        uint8_t *data = malloc(bytes + 1);
        assert_ok(dt_stored_read(t, NULL, t->dtype, data, NULL, &err), err);
        for (size_t at = 0; at < bytes; at += piece)
            assert_ok(
                dt_safetensors_write(writer, index, data + at, bytes - at < piece ? bytes - at : piece, &err),
                err);
        free(data);
    }
    assert_ok(dt_safetensors_commit(writer, &err), err);
}

static void assert_same_file(const char *path, const char *other)
{
    dt_error err = {0};
    dt_map a = {0};
    assert_ok(dt_map_open(&a, path, &err), err);
    assert_file_holds(other, a.data, a.size);
    dt_map_close(&a);
}

/* The makers' file, read and written again, is the makers' file. */
static void rewrite(const char *path, const char *folder)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    assert_ok(dt_safetensors_read(set, path, &err), err);
    write_set(set, in_folder(folder, "again.safetensors"), SIZE_MAX / 2, false);
    assert_same_file(path, in_folder(folder, "again.safetensors"));
    write_set(set, in_folder(folder, "again.safetensors"), 7, true);
    assert_same_file(path, in_folder(folder, "again.safetensors"));
    dt_stored_set_destroy(set);
}

static void rewrite_all(const char *pattern, const char *folder)
{
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        rewrite(found.gl_pathv[i], folder);
    globfree(&found);
}

static void safetensors__writes_the_makers_bytes(void **state)
{
    rewrite_all(in_folder(need("DT_FIXTURES", "hf"), "*/model*.safetensors"), *state);
    rewrite_all(in_folder(need("DT_FIXTURES", "megatron"), "*/state.safetensors"), *state);
}

static void safetensors__reads_the_makers_samples(void **state)
{
    glob_t found;
    assert_int_equal(
        glob(in_folder(need("DT_DATA", "formats/safetensors"), "*.safetensors"), 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 14);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        assert_ok(dt_safetensors_read(set, found.gl_pathv[i], &err), err);
        assert_true(dt_stored_set_count(set) > 0);
        dt_stored_set_destroy(set);
    }
    globfree(&found);
}

/* By hand: the order is by type, widest first, then by name; the header is padded to 8; texts are escaped. */
static void safetensors__lays_a_file_out_as_the_makers_do(void **state)
{
    dt_error err = {0};
    dt_safetensors_writer *writer = NULL;
    const dt_safetensors_entry entry[] = {
        {"b", DT_U8, {1, {2}}}, {"a\"\\/ü", DT_BF16, {0}}, {"z", DT_I64, {1, {1}}}, {"a", DT_U8, {1, {1}}}};
    const char *notes[] = {"k", "\n\x1f\""};
    const char *path = in_folder(*state, "file");
    assert_ok(dt_safetensors_create(&writer, path, false, entry, 4, notes, 1, &err), err);
    assert_ok(dt_safetensors_write(writer, 0, "12", 2, &err), err);
    assert_ok(dt_safetensors_write(writer, 3, "3", 1, &err), err);
    assert_ok(dt_safetensors_write(writer, 2, "45678901", 8, &err), err);
    assert_ok(dt_safetensors_write(writer, 1, "ab", 2, &err), err);
    uint64_t bytes = dt_safetensors_file_bytes(writer);
    assert_ok(dt_safetensors_commit(writer, &err), err);
    dt_text expected = {0};
    static const char header[] = "{\"__metadata__\":{\"k\":\"\\n\\u001f\\\"\"},\"z\":{\"dtype\":\"I64\","
                                 "\"shape\":[1],\"data_offsets\":[0,8]},"
                                 "\"a\\\"\\\\/ü\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]},"
                                 "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[10,11]},"
                                 "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[11,13]}}";
    size_t padded = (sizeof header - 1 + 7) / 8 * 8;
    put_number(&expected, padded, 8);
    dt_text_put(&expected, header);
    while (expected.bytes < 8 + padded)
        dt_text_put(&expected, " ");
    dt_text_put(&expected, "45678901ab312");
    assert_int_equal(bytes, expected.bytes);
    assert_file_holds(path, expected.data, expected.bytes);
    dt_text_free(&expected);
}

static void safetensors__a_wrong_list_or_wrong_bytes_are_refused(void **state)
{
    dt_error err = {0};
    dt_safetensors_writer *writer = NULL;
    const char *path = in_folder(*state, "file");
    const dt_safetensors_entry twice[] = {{"a", DT_U8, {1, {2}}}, {"a", DT_I8, {1, {2}}}};
    assert_fails(dt_safetensors_create(&writer, path, false, twice, 2, NULL, 0, &err), DT_INVALID, err,
                 "two tensors are named \"a\"");
    const dt_safetensors_entry q8 = {"a", DT_Q8_0, {1, {32}}};
    assert_fails(dt_safetensors_create(&writer, path, false, &q8, 1, NULL, 0, &err), DT_UNSUPPORTED, err,
                 "safetensors has no type q8_0");
    const dt_safetensors_entry meta = {"__metadata__", DT_U8, {1, {1}}};
    assert_fails(dt_safetensors_create(&writer, path, false, &meta, 1, NULL, 0, &err), DT_INVALID, err,
                 "cannot name a tensor");
    const dt_safetensors_entry odd = {"a", DT_U8, {1, {-1}}};
    assert_fails(dt_safetensors_create(&writer, path, false, &odd, 1, NULL, 0, &err), DT_INVALID, err,
                 "is impossible");
    assert_ok(dt_safetensors_create(&writer, path, false, twice, 1, NULL, 0, &err), err);
    assert_fails(dt_safetensors_write(writer, 0, "abc", 3, &err), DT_INVALID, err,
                 "3 more after 0 are too many");
    assert_fails(dt_safetensors_write(writer, 1, "a", 1, &err), DT_INVALID, err, "tensor 1 of 1");
    assert_ok(dt_safetensors_write(writer, 0, "a", 1, &err), err);
    assert_fails(dt_safetensors_commit(writer, &err), DT_INVALID, err, "tensor \"a\" got 1 of its 2 bytes");
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors__reads_names_types_and_notes),
        cmocka_unit_test(safetensors__types_it_lacks_fail_only_when_read),
        cmocka_unit_test(safetensors__refuses_headers_that_lie),
        cmocka_unit_test(safetensors__refuses_header_lengths_that_lie),
        cmocka_unit_test(safetensors__every_truncation_is_refused),
        cmocka_unit_test_setup_teardown(safetensors__an_index_gathers_its_shards, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(safetensors__an_index_that_lies_is_refused, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(safetensors__writes_the_makers_bytes, make_folder, remove_folder),
        cmocka_unit_test(safetensors__reads_the_makers_samples),
        cmocka_unit_test_setup_teardown(safetensors__lays_a_file_out_as_the_makers_do, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(safetensors__a_wrong_list_or_wrong_bytes_are_refused, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
