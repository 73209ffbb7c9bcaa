/* distcp_write_test.c - torch_dist folders that we wrote: our reader finds every bit, and half a folder is none. */
#include "formats/build.h"

#include "base/fail.h"
#include "formats/megatron/distcp.h"
#include "formats/megatron/distcp_write.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* "w" [4, 6] in four boxes of two ranks, "layers" [2, 3, 2] by layer, a scalar, one without elements, an f8. */
static const dt_distcp_box W[] = {
    {{0, 0}, {2, {2, 6}}, 0}, {{2, 0}, {2, {1, 2}}, 1}, {{2, 2}, {2, {1, 4}}, 0}, {{3, 0}, {2, {1, 6}}, 1}};
static const dt_distcp_box LAYERS[] = {{{0, 0, 0}, {3, {1, 3, 2}}, 1}, {{1, 0, 0}, {3, {1, 3, 2}}, 0}};
static const dt_distcp_box ONE[] = {{{0}, {0, {0}}, 12}};
static const dt_distcp_box NONE[] = {{{0, 0}, {2, {0, 5}}, 1}};
static const dt_distcp_box EIGHT[] = {{{0}, {1, {5}}, 0}};
static const dt_distcp_tensor TENSORS[] = {{"w", DT_F32, {2, {4, 6}}, W, 4},
                                           {"layers", DT_BF16, {3, {2, 3, 2}}, LAYERS, 2},
                                           {"one", DT_F64, {0, {0}}, ONE, 1},
                                           {"none", DT_F32, {2, {0, 5}}, NONE, 1},
                                           {"eight", DT_F8E4M3, {1, {5}}, EIGHT, 1}};
enum { TENSOR_COUNT = 5 };

/* Element k of a tensor, row-major, holds these bytes: no NaN in any type. */
static void element(size_t tensor, int64_t k, size_t bytes, uint8_t *out)
{
    for (size_t b = 0; b < bytes; b++)
        out[b] = (uint8_t)((37 * k + 11 * (int64_t)b + (int64_t)tensor) % 96);
}

/* A box's bytes as the tensor's numbers fill it. */
static size_t fill(size_t tensor, size_t box, uint8_t *out)
{
    const dt_distcp_tensor *t = &TENSORS[tensor];
    const dt_distcp_box *b = &t->box[box];
    size_t bytes = (size_t)dt_dtype_block_bytes(t->dtype);
    int64_t count;
    assert_true(dt_shape_elements(&b->shape, &count));
    for (int64_t i = 0; i < count; i++) {
        int64_t left = i, k = 0, step = 1;
        for (int axis = t->shape.rank - 1; axis >= 0; axis--) {
            k += (left % b->shape.dim[axis] + b->offset[axis]) * step;
            left /= b->shape.dim[axis];
            step *= t->shape.dim[axis];
        }
        element(tensor, k, bytes, out + (size_t)i * bytes);
    }
    return (size_t)count * bytes;
}

/* [value], as megatron-core saves an object. */
static dt_torch_writer *new_object(void)
{
    dt_error err = {0};
    dt_torch_writer *w = NULL;
    assert_ok(dt_torch_writer_create(&w, "archive", &err), err);
    dt_pickler *p = dt_torch_pickler(w);
    dt_pickle_open_list(p);
    dt_pickle_open_dict(p);
    dt_pickle_put_text(p, "bytes");
    dt_pickle_put_bytes(p, "\0a\xff", 3);
    dt_pickle_put_text(p, "state");
    dt_torch_put_copy(w, DT_U8, &(dt_shape){.rank = 1, .dim = {4}}, "seed");
    dt_pickle_close(p);
    dt_pickle_close(p);
    return w;
}

static dt_distcp_writer *start(const char *folder, dt_torch_writer *object)
{
    dt_error err = {0};
    dt_distcp_writer *w = NULL;
    dt_distcp_item items[] = {{"rng_state/shard_0_2", 0, object},
                              {"rng_state/shard_1_2", 1, object},
                              {"extra/shard_0_1", 7, object}}; /* a rank without tensors */
    assert_ok(dt_distcp_create(&w, folder, TENSORS, TENSOR_COUNT, items, 3, &err), err);
    return w;
}

static void write_common(const char *folder)
{
    dt_error err = {0};
    dt_torch_writer *w = NULL;
    assert_ok(dt_torch_writer_create(&w, "common", &err), err);
    dt_pickle_open_dict(dt_torch_pickler(w));
    dt_pickle_put_text(dt_torch_pickler(w), "iteration");
    dt_pickle_put_int(dt_torch_pickler(w), 10);
    dt_pickle_close(dt_torch_pickler(w));
    assert_ok(dt_torch_begin_file(w, in_folder(folder, "common.pt"), false, &err), err);
    assert_ok(dt_torch_commit(w, &err), err);
}

/* Places n, n-1 … or 0, 1 …; in pieces of `step` bytes. */
static void write_folder(const char *folder, bool backwards, size_t step)
{
    dt_error err = {0};
    dt_torch_writer *object = new_object();
    dt_distcp_writer *w = start(folder, object);
    size_t count = dt_distcp_box_count(w);
    for (size_t n = 0; n < count; n++) {
        uint8_t data[512];
        dt_distcp_place at = dt_distcp_order(w, backwards ? count - 1 - n : n);
        size_t bytes = fill(at.tensor, at.box, data);
        for (size_t i = 0; i < bytes; i += step)
            assert_ok(
                dt_distcp_write(w, at.tensor, at.box, data + i, bytes - i < step ? bytes - i : step, &err),
                err);
    }
    assert_ok(dt_distcp_commit(w, &err), err);
    dt_torch_writer_destroy(object);
    write_common(folder);
}

static void check_tensor(dt_stored_set *set, size_t tensor)
{
    dt_error err = {0};
    const dt_distcp_tensor *t = &TENSORS[tensor];
    const dt_stored_tensor *found = NULL;
    size_t bytes = (size_t)dt_dtype_block_bytes(t->dtype), all;
    uint8_t out[512], wanted[8];
    assert_ok(dt_stored_set_get(set, t->key, &found, &err), err);
    assert_int_equal(found->dtype, t->dtype);
    assert_true(dt_shape_equal(&found->shape, &t->shape));
    assert_true(dt_shape_bytes(&t->shape, t->dtype, &all));
    assert_ok(dt_stored_read(found, NULL, t->dtype, out, NULL, &err), err);
    for (size_t k = 0; k < all / bytes; k++) {
        element(tensor, (int64_t)k, bytes, wanted);
        assert_memory_equal(out + k * bytes, wanted, bytes);
    }
}

static void distcp_write__our_reader_finds_every_bit(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    const dt_value *common = NULL, *value = NULL;
    write_folder(*state, false, 512);
    assert_true(dt_distcp_is(*state));
    assert_ok(dt_distcp_read(set, *state, &common, &err), err);
    assert_int_equal(dt_stored_set_count(set), TENSOR_COUNT);
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        check_tensor(set, i);
    assert_int_equal(dt_value_get(common, "iteration")->integer, 10);
    assert_int_equal(dt_stored_set_object_count(set), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_ok(dt_distcp_object(set, dt_stored_set_object_at(set, i), &value, &err), err);
        value = dt_value_get(value, "bytes");
        assert_int_equal(value->text.bytes, 3);
        assert_memory_equal(value->text.data, "\0a\xff", 3);
    }
    dt_stored_set_destroy(set);
}

static dt_text file_text(const char *folder, const char *name)
{
    dt_text text = {0};
    char chunk[4096];
    FILE *file = fopen(in_folder(folder, name), "rb");
    assert_non_null(file);
    for (size_t bytes; (bytes = fread(chunk, 1, sizeof chunk, file)) > 0;)
        dt_text_append(&text, chunk, bytes);
    fclose(file);
    return text;
}

static void distcp_write__pieces_and_order_change_no_byte(void **state)
{
    static const char *const FILES[] = {".metadata",    "metadata.json", "__0_0.distcp",
                                        "__1_0.distcp", "__7_0.distcp",  "__12_0.distcp"};
    char one[4096], other[4096];
    snprintf(one, sizeof one, "%s/one", (char *)*state);
    snprintf(other, sizeof other, "%s/other", (char *)*state);
    assert_int_equal(mkdir(one, 0700) | mkdir(other, 0700), 0);
    write_folder(one, false, 512);
    write_folder(other, true, 1);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        dt_text wanted = file_text(one, FILES[i]);
        assert_file_holds(in_folder(other, FILES[i]), wanted.data, wanted.bytes);
        dt_text_free(&wanted);
    }
}

/* ---- what cannot be written ---- */

static void refused(const char *folder, const dt_distcp_tensor *tensor, size_t count, dt_status status,
                    const char *words)
{
    dt_error err = {0};
    dt_distcp_writer *w = NULL;
    assert_fails(dt_distcp_create(&w, folder, tensor, count, NULL, 0, &err), status, err, words);
    assert_null(w);
}

static void distcp_write__lists_that_are_no_checkpoint_are_refused(void **state)
{
    dt_distcp_tensor t[2] = {TENSORS[0], TENSORS[0]};
    dt_distcp_box box[4];
    refused(*state, t, 2, DT_INVALID, "two tensors or objects are named \"w\"");
    t[0].key = "";
    refused(*state, t, 1, DT_INVALID, "has no name");
    t[0] = TENSORS[0];
    t[0].box_count = 3;
    refused(*state, t, 1, DT_FORMAT, "its boxes hold 18 of 24 elements");
    t[0].box_count = 4;
    t[0].box = box;
    memcpy(box, W, sizeof W);
    box[3].offset[0] = 2;
    refused(*state, t, 1, DT_FORMAT, "overlaps");
    memcpy(box, W, sizeof W);
    box[3].offset[0] = 4;
    refused(*state, t, 1, DT_FORMAT, "outside");
    memcpy(box, W, sizeof W);
    box[3].rank = -1;
    refused(*state, t, 1, DT_INVALID, "\"w\" is given to rank -1");
    t[0] = TENSORS[0];
    t[0].dtype = DT_Q8_0;
    refused(*state, t, 1, DT_INVALID, "is impossible");
}

static void distcp_write__without_all_bytes_there_is_no_checkpoint(void **state)
{
    dt_error err = {0};
    dt_torch_writer *object = new_object();
    dt_distcp_writer *w = start(*state, object);
    uint8_t data[512];
    assert_int_equal(fill(0, 0, data), 48);
    assert_ok(dt_distcp_write(w, 0, 0, data, 40, &err), err);
    assert_fails(dt_distcp_write(w, 0, 0, data, 9, &err), DT_INVALID, err, "9 more after 40 are too many");
    assert_fails(dt_distcp_write(w, 0, 4, data, 1, &err), DT_INVALID, err, "there is none");
    assert_fails(dt_distcp_commit(w, &err), DT_INVALID, err, "tensor \"w\": a box got 40 of its 48 bytes");
    dt_torch_writer_destroy(object);
    assert_int_equal(rmdir(*state), 0);
    assert_int_equal(mkdir(*state, 0700), 0);
}

static void distcp_write__a_full_disk_leaves_no_checkpoint(void **state)
{
    static const dt_distcp_box BIG[] = {{{0}, {1, {4 << 20}}, 0}};
    static const dt_distcp_tensor TENSOR = {"big", DT_U8, {1, {4 << 20}}, BIG, 1};
    dt_error err = {0};
    dt_distcp_writer *w = NULL;
    struct rlimit old, small;
    char *data = calloc(1, 4 << 20);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){1 << 20, old.rlim_max};
    assert_ok(dt_distcp_create(&w, *state, &TENSOR, 1, NULL, 0, &err), err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    dt_status status = dt_distcp_write(w, 0, 0, data, 4 << 20, &err);
    dt_status commit = dt_distcp_commit(w, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    free(data);
    assert_int_equal(status, DT_IO);
    assert_int_not_equal(commit, DT_OK);
    assert_int_equal(rmdir(*state), 0);
    assert_int_equal(mkdir(*state, 0700), 0);
}

/* ---- memory that runs out ---- */

static long left = -1; /* allocations until the one that fails; -1: none fails */

static bool fails_now(void)
{
    return left >= 0 && left-- == 0;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t bytes)
{
    return fails_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails_now() ? NULL : __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

/* An object, two tensors, two ranks, on whatever memory there is. */
static dt_status write_one(const char *folder, dt_error *err)
{
    static const dt_distcp_tensor TWO[] = {{"w", DT_F32, {2, {4, 6}}, W, 4},
                                           {"one", DT_F64, {0, {0}}, ONE, 1}};
    dt_torch_writer *object = NULL;
    dt_distcp_writer *w = NULL;
    dt_status status;
    uint8_t data[512] = {0};
    DT_GO(status, dt_torch_writer_create(&object, "archive", err));
    dt_torch_put_copy(object, DT_U8, &(dt_shape){.rank = 1, .dim = {512}}, data);
    DT_GO(status, dt_distcp_create(&w, folder, TWO, 2, &(dt_distcp_item){"o/shard_0_1", 0, object}, 1, err));
    for (size_t n = 0; n < dt_distcp_box_count(w); n++) {
        dt_distcp_place at = dt_distcp_order(w, n);
        size_t bytes = fill(at.tensor ? 2 : 0, at.box, data);
        DT_GO(status, dt_distcp_write(w, at.tensor, at.box, data, bytes, err));
    }
    status = dt_distcp_commit(w, err);
    w = NULL;
done:
    dt_distcp_discard(w);
    dt_torch_writer_destroy(object);
    return status;
}

static void distcp_write__want_of_memory_is_told(void **state)
{
    dt_status status = DT_NO_MEMORY;
    long n = 0;
    for (; status != DT_OK; n++) {
        dt_error err = {0};
        left = n;
        status = write_one(*state, &err);
        left = -1;
        if (status != DT_OK) {
            assert_int_equal(status, DT_NO_MEMORY);
            assert_false(dt_is_file(in_folder(*state, ".metadata")));
            assert_int_equal(dt_remove_tree(*state, NULL), DT_OK);
            assert_int_equal(mkdir(*state, 0700), 0);
        }
    }
    assert_true(n > 20);
    assert_true(dt_is_file(in_folder(*state, ".metadata")));
}

/* For tools/interop: torch and megatron-core load what is left in DT_SAMPLES. */
static void distcp_write__samples_for_megatron(void **state)
{
    const char *folder = getenv("DT_SAMPLES");
    char path[4096];
    if (!folder)
        skip();
    snprintf(path, sizeof path, "%s/dist", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    write_folder(path, false, 512);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(distcp_write__our_reader_finds_every_bit),
        IN_FOLDER(distcp_write__pieces_and_order_change_no_byte),
        IN_FOLDER(distcp_write__lists_that_are_no_checkpoint_are_refused),
        IN_FOLDER(distcp_write__without_all_bytes_there_is_no_checkpoint),
        IN_FOLDER(distcp_write__a_full_disk_leaves_no_checkpoint),
        IN_FOLDER(distcp_write__want_of_memory_is_told),
        cmocka_unit_test(distcp_write__samples_for_megatron),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
