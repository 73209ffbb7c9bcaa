/* torch_file_test.c - both formats of torch.save; tensors that reach beyond what the file has are refused. */
#include "formats/build.h"

#include "formats/safetensors/safetensors.h"
#include "formats/torch/torch.h"

static float storage[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static fake_tensor good(void)
{
    return (fake_tensor){"FloatStorage", "0", 16, 2, 2, {3, 4}, {1, 3}};
}

/* Read a torch file whose pickle is {"w": tensor}. */
static dt_status read_fake(dt_stored_set *set, const fake_tensor *f, dt_error *err)
{
    static dt_text pickle, file;
    dt_text_clear(&pickle);
    dt_text_clear(&file);
    pk(&pickle, "}");
    pk_string(&pickle, "w");
    pk_tensor(&pickle, f);
    pk(&pickle, "s.");
    torch_build(&file, &pickle, storage, sizeof storage);
    in_memory(set, "file", file.data, file.bytes);
    dt_status status = dt_torch_read(set, "file", "", err);
    return status;
}

static void torch_file__reads_offsets_and_strides(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    fake_tensor f = good();
    float out[12];
    assert_ok(read_fake(set, &f, &err), err);
    const dt_stored_tensor *w = dt_stored_set_find(set, "w");
    assert_ok(dt_stored_read(w, NULL, DT_F32, out, NULL, &err), err);
    for (int i = 0; i < 12; i++)
        assert_true(out[i] == (float)(2 + i / 4 + 3 * (i % 4)));
    dt_stored_set_destroy(set);
}

static void torch_file__tensors_beyond_their_storage_are_refused(void **state)
{
    struct {
        fake_tensor f;
        dt_status status;
        const char *words;
    } cases[12];
    for (int i = 0; i < 12; i++)
        cases[i].f = good(), cases[i].status = DT_FORMAT;
    cases[0].f.offset = 5, cases[0].words = "reach beyond the 64 bytes of storage \"0\"";
    cases[1].f.stride[0] = 100, cases[1].words = "reach beyond";
    cases[2].f.stride[1] = INT64_MAX, cases[2].words = "reach beyond";
    cases[3].f.offset = INT64_MAX, cases[3].words = "reach beyond";
    cases[4].f.offset = -1, cases[4].words = "no sizes";
    cases[5].f.size[0] = -3, cases[5].words = "no sizes";
    cases[6].f.stride[0] = -1, cases[6].words = "no sizes";
    cases[7].f.elements = 15,
    cases[7].words = "storage \"0\" holds 64 bytes, its 15 elements of 4 need others";
    cases[8].f.elements = INT64_MAX / 2, cases[8].words = "need others";
    cases[9].f.key = "1", cases[9].words = "storage \"1\" is missing from the file";
    cases[10].f.key = "../data/0", cases[10].words = "is missing from the file";
    cases[11].f = (fake_tensor){"FloatStorage", "0", 16, 0, 1, {1 << 30}, {0}}, cases[11].status = DT_LIMIT;
    cases[11].words = "claims 1073741824 elements but repeats";
    for (int i = 0; i < 12; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        assert_fails(read_fake(set, &cases[i].f, &err), cases[i].status, err, cases[i].words);
        dt_stored_set_destroy(set);
    }
}

static void torch_file__what_it_lacks_fails_only_when_read(void **state)
{
    dt_error err = {0};
    char byte;
    fake_tensor lacking[] = {{"ComplexFloatStorage", "0", 8, 0, 1, {8}, {1}},
                             {"FloatStorage", "0", 16, 0, 6, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}}};
    const char *words[] = {"its type is torch.ComplexFloatStorage", "it has 6 dimensions, more than 5"};
    for (int i = 0; i < 2; i++) {
        dt_stored_set *set = new_set();
        assert_ok(read_fake(set, &lacking[i], &err), err);
        assert_fails(dt_stored_read(dt_stored_set_at(set, 0), NULL, DT_F32, &byte, NULL, &err),
                     DT_UNSUPPORTED, err, words[i]);
        dt_stored_set_destroy(set);
    }
}

static dt_status read_pickle(dt_stored_set *set, const char *name, const dt_text *pickle, dt_error *err)
{
    static dt_text file[64];
    static int next;
    dt_text *f = &file[next++ % 64];
    dt_text_clear(f);
    torch_build(f, pickle, storage, sizeof storage);
    in_memory(set, name, f->data, f->bytes);
    return dt_torch_read(set, name, "", err);
}

static void torch_file__persistent_ids_must_be_storages(void **state)
{
    static const char *const IDS[] = {"N",
                                      "V0\n",
                                      ")",
                                      "(Vmodule\nctorch\nFloatStorage\nV0\nVcpu\nI16\nt",
                                      "(Vstorage\nctorch\nfloat32\nV0\nVcpu\nI16\nt",
                                      "(Vstorage\nctorch\nFloatStorage\nI0\nVcpu\nI16\nt",
                                      "(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI-16\nt",
                                      "(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI16\nI1\nt"};
    for (size_t i = 0; i < sizeof IDS / sizeof *IDS; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        dt_text pickle = {0};
        dt_text_printf(&pickle, "}Vw\nctorch._utils\n_rebuild_tensor_v2\n(%sQI0\n(I1\nt(I1\ntI00\n}tRs.",
                       IDS[i]);
        assert_fails(read_pickle(set, "file", &pickle, &err), DT_FORMAT, err, "a persistent id that is no");
        dt_text_free(&pickle);
        dt_stored_set_destroy(set);
    }
}

static void torch_file__lazily_negated_tensors_are_not_misread(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    dt_text pickle = {0};
    char byte;
    dt_text_put(&pickle,
                "}Vw\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI16\ntQ"
                "I0\n(I1\nt(I1\ntI00\n}}Vneg\nI01\nstRs.");
    assert_ok(read_pickle(set, "file", &pickle, &err), err);
    assert_fails(dt_stored_read(dt_stored_set_at(set, 0), NULL, DT_F32, &byte, NULL, &err), DT_UNSUPPORTED,
                 err, "stored negated or conjugated");
    dt_text_free(&pickle);
    dt_stored_set_destroy(set);
}

static void torch_file__trees_that_loop_or_explode_are_refused(void **state)
{
    static const struct {
        const char *pickle, *words;
        int repeat;
    } CASES[] = {
        {"(lp0\ng0\na.", "nests deeper than 64 levels", 0},
        {"(lp0\ng0\nag0\na.", "nests deeper than 64 levels", 0},
        {NULL, "repeats its containers beyond all measure", 30}, /* each list holds the one before it twice */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        dt_text pickle = {0};
        dt_text_put(&pickle, CASES[i].pickle ? CASES[i].pickle : "(lp0\n");
        for (int n = 0; n < CASES[i].repeat; n++)
            dt_text_printf(&pickle, "(g%d\ng%d\nlp%d\n", n, n, n + 1);
        if (CASES[i].repeat) { /* leave only the last on the stack */
            dt_text tail = {0};
            dt_text_put(&tail, "(");
            put_text(&tail, &pickle);
            dt_text_printf(&tail, "1g%d\n.", CASES[i].repeat);
            dt_text_free(&pickle);
            pickle = tail;
        }
        assert_fails(read_pickle(set, "file", &pickle, &err), DT_LIMIT, err, CASES[i].words);
        dt_text_free(&pickle);
        dt_stored_set_destroy(set);
    }
}

static void torch_file__names_come_from_keys_and_indices(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    dt_text pickle = {0};
    fake_tensor f = good();
    pk(&pickle, "}");
    pk_string(&pickle, "model");
    pk(&pickle, "}(I7\n](");
    pk_tensor(&pickle, &f);
    pk(&pickle, "Nq\1");
    pk_tensor(&pickle, &f);
    pk(&pickle, "eX\4\0\0\0leafI5\nX\5\0\0\0state");
    pk(&pickle, "c_io\nBytesIO\n)\x81(C\3abcI0\nNtb");
    pk(&pickle, "us.");
    assert_ok(read_pickle(set, "file", &pickle, &err), err);
    assert_int_equal(dt_stored_set_count(set), 2);
    assert_non_null(dt_stored_set_find(set, "model.7.0"));
    assert_non_null(dt_stored_set_find(set, "model.7.2"));
    const dt_stored_object *object = dt_stored_set_find_object(set, "model.state");
    assert_int_equal(object->bytes, 3);
    assert_memory_equal(object->data, "abc", 3);
    dt_text_free(&pickle);
    dt_stored_set_destroy(set);
}

static void torch_file__other_files_are_refused_with_what_they_are(void **state)
{
    char tar[512] = {0};
    memcpy(tar, "sys_info", 8);
    memcpy(tar + 257, "ustar", 5);
    const struct {
        const char *data;
        size_t bytes;
        dt_status status;
        const char *words;
    } cases[] = {
        {"", 0, DT_FORMAT, "the file is empty"},
        {"\x89PNG", 4, DT_FORMAT, "begins with bytes 0x89 0x50"},
        {"\x80\2N.", 4, DT_UNSUPPORTED, "a bare pickle"},
        {"PK\3\4", 4, DT_FORMAT, "while reading it as a zip archive"},
        {tar, sizeof tar, DT_UNSUPPORTED, "a tar archive of torch 0.1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        in_memory(set, "file", cases[i].data, cases[i].bytes);
        assert_fails(dt_torch_read(set, "file", "", &err), cases[i].status, err, cases[i].words);
        dt_stored_set_destroy(set);
    }
}

static void archive_refused(zip_part *part, size_t count, dt_status status, const char *words)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    dt_text file = {0};
    zip_build(&file, part, count);
    in_memory(set, "file", file.data, file.bytes);
    assert_fails(dt_torch_read(set, "file", "", &err), status, err, words);
    dt_text_free(&file);
    dt_stored_set_destroy(set);
}

static void torch_file__archives_of_other_programs_are_refused(void **state)
{
    zip_part part[] = {{.name = "a/data.pkl", .data = "}.", .bytes = 2},
                       {.name = "a/byteorder", .data = "middle", .bytes = 6}};
    archive_refused(part, 2, DT_FORMAT, "\"byteorder\" is neither");
    part[1] = (zip_part){.name = "a/constants.pkl", .data = ").", .bytes = 2};
    archive_refused(part, 2, DT_UNSUPPORTED, "a TorchScript archive");
    part[0].name = "word/document.xml";
    archive_refused(part, 1, DT_FORMAT, "a zip archive without data.pkl");
    part[0] = (zip_part){.name = "a/data.pkl", .data = "cos\nsystem\n.", .bytes = 12};
    archive_refused(part, 1, DT_UNSUPPORTED, "os.system");
}

static void torch_file__a_big_endian_file_is_swapped(void **state)
{
    dt_error err = {0};
    dt_stored_set *set = new_set();
    dt_text pickle = {0}, file = {0};
    fake_tensor f = {"ShortStorage", "0", 2, 0, 1, {2}, {1}};
    int16_t out[2];
    pk(&pickle, "}Vw\n");
    pk_tensor(&pickle, &f);
    pk(&pickle, "s.");
    zip_part part[] = {{.name = "a/data.pkl", .data = pickle.data, .bytes = pickle.bytes},
                       {.name = "a/byteorder", .data = "big", .bytes = 3},
                       {.name = "a/data/0", .data = "\1\2\3\4", .bytes = 4}};
    zip_build(&file, part, 3);
    in_memory(set, "file", file.data, file.bytes);
    assert_ok(dt_torch_read(set, "file", "", &err), err);
    assert_ok(dt_stored_read(dt_stored_set_find(set, "w"), NULL, DT_I16, out, NULL, &err), err);
    assert_int_equal(out[0], 0x0102);
    assert_int_equal(out[1], 0x0304);
    dt_text_free(&pickle);
    dt_text_free(&file);
    dt_stored_set_destroy(set);
}

/* ---- before torch 1.6 ---- */

typedef struct legacy {
    const char *protocol, *system, *keys;
    int64_t count; /* of the storage's elements, as the file says */
    size_t bytes;  /* of the storage, as they are */
    const char *tail;
} legacy;

static dt_status read_legacy(dt_stored_set *set, const legacy *l, dt_error *err)
{
    static dt_text file;
    fake_tensor f = good();
    dt_text_clear(&file);
    pk(&file, "\x80\2\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.");
    dt_text_put(&file, l->protocol);
    dt_text_put(&file, l->system);
    pk(&file, "\x80\2}Vw\n");
    pk_tensor(&file, &f);
    pk(&file, "s.");
    dt_text_put(&file, l->keys);
    put_number(&file, (uint64_t)l->count, 8);
    dt_text_append(&file, (const char *)storage, l->bytes);
    dt_text_put(&file, l->tail);
    in_memory(set, "file", file.data, file.bytes);
    return dt_torch_read(set, "file", "", err);
}

/* Storages are little-endian whatever machine wrote them, so "little_endian" must change nothing. */
static void torch_file__reads_the_format_before_zip(void **state)
{
    static const char *const SYSTEMS[] = {"}.", "}Vlittle_endian\nI01\ns.", "}Vlittle_endian\nI00\ns."};
    for (int s = 0; s < 3; s++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        float out[12];
        assert_ok(read_legacy(set, &(legacy){"I1001\n.", SYSTEMS[s], "(V0\nl.", 16, 64, ""}, &err), err);
        assert_ok(dt_stored_read(dt_stored_set_find(set, "w"), NULL, DT_F32, out, NULL, &err), err);
        for (int i = 0; i < 12; i++)
            assert_true(out[i] == (float)(2 + i / 4 + 3 * (i % 4)));
        dt_stored_set_destroy(set);
    }
}

static void torch_file__refuses_older_files_that_lie(void **state)
{
    const struct {
        legacy l;
        dt_status status;
        const char *words;
    } cases[] = {
        {{"I1000\n.", "}.", "(V0\nl.", 16, 64, ""}, DT_UNSUPPORTED, "protocol version other than 1001"},
        {{"I1001\n.", "}.", "I3\n.", 16, 64, ""}, DT_FORMAT, "the list of storages is an integer"},
        {{"I1001\n.", "}.", "(I0\nl.", 16, 64, ""}, DT_FORMAT, "the key of storage 0 is no text"},
        {{"I1001\n.", "}.", "(V1\nl.", 16, 64, ""}, DT_FORMAT, "storage \"0\" is used but not in the list"},
        {{"I1001\n.", "}.", "(V0\nV0\nl.", 16, 64, ""}, DT_FORMAT, "two storages are named \"0\""},
        {{"I1001\n.", "}.", "(V0\nV1\nl.", 16, 64, ""}, DT_FORMAT, "storage \"1\" belongs to no tensor"},
        {{"I1001\n.", "}.", "(V0\nl.", 17, 64, ""}, DT_FORMAT, "17 elements of 4 bytes lie outside the file"},
        {{"I1001\n.", "}.", "(V0\nl.", -1, 64, ""}, DT_FORMAT, "lie outside the file"},
        {{"I1001\n.", "}.", "(V0\nl.", 16, 64, "x"}, DT_FORMAT, "1 bytes follow the last storage"},
        {{"I1001\n.", "}.", "(V0\nl.", 15, 60, ""},
         DT_FORMAT,
         "holds 60 bytes, its 16 elements of 4 need others"},
        {{"cos\nsystem\n.", "}.", "(V0\nl.", 16, 64, ""}, DT_UNSUPPORTED, "os.system"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        assert_fails(read_legacy(set, &cases[i].l, &err), cases[i].status, err, cases[i].words);
        dt_stored_set_destroy(set);
    }
}

/* ---- files of the makers ---- */

static void assert_same_tensor(const dt_stored_tensor *a, const dt_stored_tensor *b)
{
    dt_error err = {0};
    size_t bytes = dt_stored_bytes(a);
    assert_int_equal(a->dtype, b->dtype);
    assert_true(dt_shape_equal(&a->shape, &b->shape));
    char *x = malloc(bytes + 1), *y = malloc(bytes + 1);
    assert_ok(dt_stored_read(a, NULL, a->dtype, x, NULL, &err), err);
    assert_ok(dt_stored_read(b, NULL, b->dtype, y, NULL, &err), err);
    assert_memory_equal(x, y, bytes);
    free(x);
    free(y);
}

static void torch_file__a_megatron_file_holds_its_state(void **state)
{
    static const char *const FILES[][2] = {
        {"megatron/checkpoints/gpt_llama/legacy_tp1_pp1/iter_0000010/mp_rank_00/model_optim_rng.pt",
         "megatron/checkpoints/gpt_llama/state.safetensors"},
        {"megatron/checkpoints/t5/legacy_tp1/iter_0000010/mp_rank_00/model_optim_rng.pt",
         "megatron/checkpoints/t5/state.safetensors"},
    };
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set(), *truth = new_set();
        dt_torch_file *file = NULL;
        assert_ok(dt_torch_open(&file, set, need("DT_FIXTURES", FILES[i][0]), &err), err);
        assert_sums(set);
        const dt_value *root = dt_torch_root(file), *args = dt_value_get(root, "args");
        assert_int_equal(dt_value_get(root, "iteration")->integer, 10);
        assert_true(dt_value_is_object(args, "Namespace"));
        assert_true(dt_value_get(args, "hidden_size")->integer > 0);
        assert_ok(dt_torch_flatten(file, dt_value_get(root, "model"), "", set, &err), err);
        assert_ok(dt_safetensors_read(truth, need("DT_FIXTURES", FILES[i][1]), &err), err);
        assert_true(dt_stored_set_count(truth) > 10);
        for (size_t n = 0; n < dt_stored_set_count(truth); n++) {
            const dt_stored_tensor *t = dt_stored_set_at(truth, n), *found = NULL;
            assert_ok(dt_stored_set_get(set, t->name, &found, &err), err);
            assert_same_tensor(found, t);
        }
        dt_stored_set_destroy(set);
        dt_stored_set_destroy(truth);
    }
}

static void torch_file__old_and_real_files_are_read(void **state)
{
    static const struct {
        const char *name, *tensor;
        size_t count;
    } FILES[] = {
        {"formats/torch/legacy_pytorch_model.bin", "distilbert.embeddings.word_embeddings.weight", 38},
        {"checkpoints/vit-mnist/vit_mnist_gpu.pt", NULL, 0}};
    for (size_t i = 0; i < 2; i++) {
        dt_error err = {0};
        dt_stored_set *set = new_set();
        assert_ok(dt_torch_read(set, need("DT_DATA", FILES[i].name), "", &err), err);
        if (FILES[i].count)
            assert_int_equal(dt_stored_set_count(set), FILES[i].count);
        if (FILES[i].tensor)
            assert_true(
                dt_shape_equal(&dt_stored_set_find(set, FILES[i].tensor)->shape, &(dt_shape){2, {28996, 2}}));
        dt_stored_set_destroy(set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_file__reads_offsets_and_strides),
        cmocka_unit_test(torch_file__tensors_beyond_their_storage_are_refused),
        cmocka_unit_test(torch_file__what_it_lacks_fails_only_when_read),
        cmocka_unit_test(torch_file__persistent_ids_must_be_storages),
        cmocka_unit_test(torch_file__lazily_negated_tensors_are_not_misread),
        cmocka_unit_test(torch_file__trees_that_loop_or_explode_are_refused),
        cmocka_unit_test(torch_file__names_come_from_keys_and_indices),
        cmocka_unit_test(torch_file__other_files_are_refused_with_what_they_are),
        cmocka_unit_test(torch_file__archives_of_other_programs_are_refused),
        cmocka_unit_test(torch_file__a_big_endian_file_is_swapped),
        cmocka_unit_test(torch_file__reads_the_format_before_zip),
        cmocka_unit_test(torch_file__refuses_older_files_that_lie),
        cmocka_unit_test(torch_file__a_megatron_file_holds_its_state),
        cmocka_unit_test(torch_file__old_and_real_files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
