/* torch_write_test.c - what torch.save would have written: its archives byte for byte, read back bit for bit. */
#include "formats/build.h"

#include "formats/torch/torch.h"
#include "formats/torch/torch_write.h"
#include "formats/torch/zip.h"
#include "formats/torch/zip_write.h"

#include <glob.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static dt_torch_writer *new_writer(const char *top)
{
    dt_error err = {0};
    dt_torch_writer *w = NULL;
    assert_ok(dt_torch_writer_create(&w, top, &err), err);
    return w;
}

static dt_text file_text(const char *path)
{
    dt_text text = {0};
    char chunk[4096];
    size_t bytes;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    while ((bytes = fread(chunk, 1, sizeof chunk, file)) > 0)
        dt_text_append(&text, chunk, bytes);
    fclose(file);
    return text;
}

/* ---- archives ---- */

static int by_offset(const void *a, const void *b)
{
    const dt_zip_entry *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The entries that torch wrote, in its order, laid out and written by us. */
static void rebuild(const dt_zip *zip, dt_text *out)
{
    dt_error err = {0};
    uint64_t directory, bytes;
    dt_zip_entry *entry = calloc(zip->count, sizeof *entry);
    dt_zip_part *part = calloc(zip->count, sizeof *part);
    assert_true(entry && part);
    memcpy(entry, zip->entry, zip->count * sizeof *entry);
    qsort(entry, zip->count, sizeof *entry, by_offset);
    for (size_t i = 0; i < zip->count; i++)
        part[i] = (dt_zip_part){.name = entry[i].name, .bytes = entry[i].bytes};
    assert_ok(dt_zip_lay_out(part, zip->count, &directory, &bytes, &err), err);
    for (size_t i = 0; i < zip->count; i++) {
        assert_int_equal(out->bytes, part[i].header);
        dt_zip_put_header(out, &part[i]);
        assert_int_equal(out->bytes, part[i].at);
        if (part[i].bytes)
            dt_text_append(out, (const char *)entry[i].data, entry[i].bytes);
        part[i].crc = dt_zip_crc(0, entry[i].data, entry[i].bytes);
        dt_zip_put_footer(out, &part[i]);
    }
    assert_int_equal(out->bytes, directory);
    dt_zip_put_directory(out, part, zip->count, directory);
    assert_int_equal(out->bytes, bytes);
    free(entry);
    free(part);
}

static void torch_write__archives_are_torchs_byte_for_byte(void **state)
{
    const char *root = need("DT_FIXTURES", "megatron/checkpoints");
    glob_t found;
    assert_int_equal(glob(in_folder(root, "*/*/iter_*/common.pt"), 0, NULL, &found), 0);
    assert_int_equal(glob(in_folder(root, "*/*/iter_*/mp_rank_*/*.pt"), GLOB_APPEND, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        dt_error err = {0};
        dt_zip zip;
        dt_text theirs = file_text(found.gl_pathv[i]), ours = {0};
        dt_arena *arena = dt_arena_create();
        assert_ok(dt_zip_read(&zip, arena, (const uint8_t *)theirs.data, theirs.bytes, &err), err);
        rebuild(&zip, &ours);
        assert_int_equal(ours.bytes, theirs.bytes);
        assert_memory_equal(ours.data, theirs.data, ours.bytes);
        dt_arena_destroy(arena);
        dt_text_free(&theirs);
        dt_text_free(&ours);
    }
    assert_true(found.gl_pathc > 20);
    globfree(&found);
}

/* torch.save({'t': ones(3), 'a': zeros(2^32 + 100, uint8), 'b': arange(5)}, "big.pt") by torch 2.15. */
static void torch_write__zip64_is_where_torch_puts_it(void **state)
{
    static const uint64_t HEADERS[] = {0, 405, 529, 658, 790, 924, 4294968444, 4294968576, 4294968666};
    dt_zip_part part[] = {
        {.name = "big/data.pkl", .bytes = 325},
        {.name = "big/.format_version", .bytes = 1},
        {.name = "big/.storage_alignment", .bytes = 2},
        {.name = "big/byteorder", .bytes = 6},
        {.name = "big/data/0", .bytes = 12},
        {.name = "big/data/1", .bytes = (1ULL << 32) + 100},
        {.name = "big/data/2", .bytes = 40},
        {.name = "big/version", .bytes = 2},
        {.name = "big/.data/serialization_id", .bytes = 40},
    };
    dt_error err = {0};
    dt_text text = {0};
    uint64_t directory, bytes;
    assert_ok(dt_zip_lay_out(part, 9, &directory, &bytes, &err), err);
    for (int i = 0; i < 9; i++)
        assert_int_equal(part[i].header, HEADERS[i]);
    assert_int_equal(directory, 4294968832);
    assert_int_equal(bytes, 4294969533);
    dt_zip_put_header(&text, &part[6]);
    assert_memory_equal(text.data + 26, "\12\0\34\0big/data/2\1\0\10\0\x7c\4\0\0\1\0\0\0FB\14\0ZZZZZZZZZZZZ",
                        42);
    dt_text_clear(&text);
    dt_zip_put_header(&text, &part[5]);
    assert_memory_equal(text.data + 14,
                        "\0\0\0\0\0\0\0\0\0\0\0\0\12\0\x3c\0big/data/1"
                        "\1\0\20\0d\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0FB$\0ZZZ",
                        53);
    dt_text_clear(&text);
    part[5].crc = 0xa92a4ce5;
    dt_zip_put_footer(&text, &part[5]);
    assert_int_equal(text.bytes, 24);
    assert_memory_equal(text.data,
                        "PK\7\10\xe5L*\xa9"
                        "d\0\0\0\1\0\0\0d\0\0\0\1\0\0\0",
                        24);
    dt_text_free(&text);
}

/* ---- files ---- */

enum { TYPES = DT_Q8_0, CASES = TYPES + 3 };

/* One tensor of each type, then a scalar, an empty one and one of five axes. */
static dt_shape shape_of(int i)
{
    static const int64_t FIVE[] = {2, 1, 3, 2, 5}, EMPTY[] = {0, 3};
    return i < TYPES        ? dt_shape_of(2, (int64_t[]){3, 7})
           : i == TYPES     ? dt_shape_of(0, NULL)
           : i == TYPES + 1 ? dt_shape_of(2, EMPTY)
                            : dt_shape_of(5, FIVE);
}

static dt_dtype type_of(int i)
{
    return i < TYPES ? (dt_dtype)i : DT_F32;
}

/* Byte k of tensor i; a bool is 0 or 1, and no number is a NaN. */
static uint8_t byte_of(int i, size_t k)
{
    return type_of(i) == DT_BOOL ? k & 1 : (uint8_t)((37 * k + (size_t)i) % 96);
}

static size_t bytes_of(int i)
{
    dt_shape shape = shape_of(i);
    size_t bytes = 0;
    assert_true(dt_shape_bytes(&shape, type_of(i), &bytes));
    return bytes;
}

static void put_samples(dt_torch_writer *w, size_t storage[CASES])
{
    dt_pickler *p = dt_torch_pickler(w);
    dt_pickle_open_dict(p);
    dt_pickle_put_text(p, "iteration");
    dt_pickle_put_int(p, 10);
    dt_pickle_put_text(p, "tensors");
    dt_pickle_open_ordered_dict(p);
    for (int i = 0; i < CASES; i++) {
        char name[32];
        dt_shape shape = shape_of(i);
        snprintf(name, sizeof name, "%s.%d", dt_dtype_name(type_of(i)), i);
        dt_pickle_put_text(p, name);
        storage[i] = dt_torch_put_tensor(w, type_of(i), &shape);
    }
    dt_pickle_put_text(p, "tied");
    dt_torch_put_shared(w, storage[DT_F32], 7, &(dt_shape){.rank = 1, .dim = {7}});
    dt_pickle_put_text(p, "copied");
    dt_torch_put_copy(w, DT_I64, &(dt_shape){.rank = 1, .dim = {2}}, (int64_t[]){-5, 6});
    dt_pickle_close(p);
    dt_pickle_close(p);
}

typedef enum order { WHOLE, BYTES, BACKWARDS } order;

static void write_samples(const char *path, order how)
{
    dt_error err = {0};
    size_t storage[CASES];
    dt_torch_writer *w = new_writer("samples");
    put_samples(w, storage);
    assert_ok(dt_torch_begin_file(w, path, false, &err), err);
    for (int n = 0; n < CASES; n++) {
        int i = how == BACKWARDS ? CASES - 1 - n : n;
        size_t bytes = bytes_of(i), step = how == BYTES ? 1 : bytes;
        uint8_t *data = malloc(bytes + 1);
        for (size_t k = 0; k < bytes; k++)
            data[k] = byte_of(i, k);
        for (size_t at = 0; at < bytes; at += step)
            assert_ok(dt_torch_write(w, storage[i], data + at, step, &err), err);
        free(data);
    }
    assert_ok(dt_torch_commit(w, &err), err);
}

static void check_sample(dt_stored_set *set, int i)
{
    dt_error err = {0};
    char name[32];
    const dt_stored_tensor *t = NULL;
    uint8_t out[4096];
    snprintf(name, sizeof name, "%s.%d", dt_dtype_name(type_of(i)), i);
    assert_ok(dt_stored_set_get(set, name, &t, &err), err);
    assert_int_equal(t->dtype, type_of(i));
    assert_true(dt_shape_equal(&t->shape, &(dt_shape[]){shape_of(i)}[0]));
    assert_ok(dt_stored_read(t, NULL, t->dtype, out, NULL, &err), err);
    for (size_t k = 0; k < bytes_of(i); k++)
        assert_int_equal(out[k], byte_of(i, k));
}

static void torch_write__our_reader_reads_it_back(void **state)
{
    dt_error err = {0};
    dt_torch_file *file = NULL;
    dt_stored_set *set = new_set();
    const dt_stored_tensor *t = NULL;
    uint8_t out[28];
    int64_t copied[2];
    const char *path = in_folder(*state, "samples.pt");
    write_samples(path, WHOLE);
    assert_ok(dt_torch_open(&file, set, path, &err), err);
    assert_sums(set);
    assert_int_equal(dt_value_get(dt_torch_root(file), "iteration")->integer, 10);
    assert_ok(dt_torch_flatten(file, dt_value_get(dt_torch_root(file), "tensors"), "", set, &err), err);
    for (int i = 0; i < CASES; i++)
        check_sample(set, i);
    assert_ok(dt_stored_set_get(set, "tied", &t, &err), err);
    assert_ok(dt_stored_read(t, NULL, DT_F32, out, NULL, &err), err);
    for (size_t k = 0; k < 28; k++)
        assert_int_equal(out[k], byte_of(DT_F32, 28 + k));
    assert_ok(dt_stored_set_get(set, "copied", &t, &err), err);
    assert_ok(dt_stored_read(t, NULL, DT_I64, copied, NULL, &err), err);
    assert_true(copied[0] == -5 && copied[1] == 6);
    dt_stored_set_destroy(set);
}

static void torch_write__pieces_and_order_change_no_byte(void **state)
{
    write_samples(in_folder(*state, "whole.pt"), WHOLE);
    write_samples(in_folder(*state, "bytes.pt"), BYTES);
    write_samples(in_folder(*state, "backwards.pt"), BACKWARDS);
    dt_text whole = file_text(in_folder(*state, "whole.pt"));
    assert_file_holds(in_folder(*state, "bytes.pt"), whole.data, whole.bytes);
    assert_file_holds(in_folder(*state, "backwards.pt"), whole.data, whole.bytes);
    dt_text_free(&whole);
}

/* Placed at any byte of a larger file, the archive is the same: its alignment is its own. */
static void torch_write__an_archive_can_lie_anywhere_twice(void **state)
{
    dt_error err = {0};
    dt_output *output = NULL;
    uint64_t bytes;
    dt_torch_writer *w = new_writer("archive");
    dt_pickle_open_list(dt_torch_pickler(w));
    dt_torch_put_copy(w, DT_F32, &(dt_shape){.rank = 1, .dim = {3}}, (float[]){1, 2, 3});
    dt_pickle_close(dt_torch_pickler(w));
    assert_ok(dt_torch_measure(w, &bytes, &err), err);
    assert_ok(dt_output_open(&output, in_folder(*state, "two"), false, &err), err);
    assert_ok(dt_output_write(output, "x", 1, &err), err);
    for (int i = 0; i < 2; i++) {
        assert_ok(dt_torch_begin(w, output, 1 + (uint64_t)i * bytes, &err), err);
        assert_ok(dt_torch_end(w, &err), err);
    }
    assert_ok(dt_output_commit(output, &err), err);
    dt_text two = file_text(in_folder(*state, "two"));
    assert_int_equal(two.bytes, 1 + 2 * bytes);
    assert_memory_equal(two.data + 1, two.data + 1 + bytes, bytes);
    dt_text_free(&two);
    dt_torch_writer_destroy(w);
}

/* ---- what cannot be written ---- */

static void refused(dt_torch_writer *w, const char *folder, const char *words)
{
    dt_error err = {0};
    assert_fails(dt_torch_begin_file(w, in_folder(folder, "bad.pt"), false, &err), DT_INVALID, err, words);
    dt_torch_writer_destroy(w);
    assert_false(dt_is_file(in_folder(folder, "bad.pt")));
}

static void torch_write__objects_that_are_none_are_refused(void **state)
{
    dt_torch_writer *w = new_writer("bad");
    dt_pickle_open_dict(dt_torch_pickler(w));
    refused(w, *state, "a container was left open");
    w = new_writer("bad");
    dt_pickle_close(dt_torch_pickler(w));
    refused(w, *state, "a container was closed that was not open");
    w = new_writer("bad");
    dt_pickle_put_text(dt_torch_pickler(w), "\xff");
    refused(w, *state, "a text is not UTF-8");
    w = new_writer("bad");
    dt_pickle_put_global(dt_torch_pickler(w), "os\nsystem", "x");
    refused(w, *state, "without a proper name");
    w = new_writer("bad");
    dt_torch_put_tensor(w, DT_Q8_0, &(dt_shape){.rank = 1, .dim = {32}});
    refused(w, *state, "a type that torch lacks");
    w = new_writer("bad");
    dt_torch_put_tensor(w, DT_F32, &(dt_shape){.rank = 1, .dim = {-1}});
    refused(w, *state, "shape is impossible");
    w = new_writer("bad");
    dt_torch_put_tensor(w, DT_F32, &(dt_shape){.rank = 1, .dim = {3}});
    dt_torch_put_shared(w, 0, 1, &(dt_shape){.rank = 1, .dim = {3}});
    refused(w, *state, "outside its storage");
    w = new_writer("bad");
    for (int i = 0; i <= DT_PICKLE_OPEN; i++)
        dt_pickle_open_list(dt_torch_pickler(w));
    refused(w, *state, "too deep");
}

static void torch_write__bytes_too_few_or_many_are_refused(void **state)
{
    dt_error err = {0};
    dt_torch_writer *w = new_writer("t");
    const char *path = in_folder(*state, "t.pt");
    dt_torch_put_tensor(w, DT_F32, &(dt_shape){.rank = 1, .dim = {3}});
    assert_ok(dt_torch_begin_file(w, path, false, &err), err);
    assert_fails(dt_torch_write(w, 1, "", 1, &err), DT_INVALID, err, "storage 1 of 1");
    assert_ok(dt_torch_write(w, 0, "abcd", 4, &err), err);
    assert_fails(dt_torch_write(w, 0, "abcdefghi", 9, &err), DT_INVALID, err, "9 more after 4 are too many");
    assert_fails(dt_torch_commit(w, &err), DT_INVALID, err, "storage 0 got 4 of its 12 bytes");
    assert_int_equal(rmdir(*state), 0); /* empty: no file, no partial one */
    assert_int_equal(mkdir(*state, 0700), 0);
}

static void torch_write__a_full_disk_leaves_nothing(void **state)
{
    dt_error err = {0};
    struct rlimit old, small;
    dt_torch_writer *w = new_writer("t");
    char *data = calloc(1, 1 << 20);
    dt_torch_put_tensor(w, DT_U8, &(dt_shape){.rank = 1, .dim = {8 << 20}});
    assert_ok(dt_torch_begin_file(w, in_folder(*state, "t.pt"), false, &err), err);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){3 << 20, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    dt_status status = DT_OK;
    for (int i = 0; i < 8; i++) {
        dt_status one = dt_torch_write(w, 0, data, 1 << 20, &err);
        status = status == DT_OK ? one : status;
    }
    dt_status commit = dt_torch_commit(w, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    free(data);
    assert_int_equal(status, DT_IO);
    assert_int_not_equal(commit, DT_OK);
    assert_int_equal(rmdir(*state), 0);
    assert_int_equal(mkdir(*state, 0700), 0);
}

/* For tools/interop: torch loads what is left in DT_SAMPLES. */
static void torch_write__samples_for_torch(void **state)
{
    const char *folder = getenv("DT_SAMPLES");
    if (!folder)
        skip();
    write_samples(in_folder(folder, "samples.pt"), WHOLE);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_write__archives_are_torchs_byte_for_byte),
        cmocka_unit_test(torch_write__zip64_is_where_torch_puts_it),
        IN_FOLDER(torch_write__our_reader_reads_it_back),
        IN_FOLDER(torch_write__pieces_and_order_change_no_byte),
        IN_FOLDER(torch_write__an_archive_can_lie_anywhere_twice),
        IN_FOLDER(torch_write__objects_that_are_none_are_refused),
        IN_FOLDER(torch_write__bytes_too_few_or_many_are_refused),
        IN_FOLDER(torch_write__a_full_disk_leaves_nothing),
        cmocka_unit_test(torch_write__samples_for_torch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
