/*
 * hostile_test.c - the published weaknesses of other programs' readers, tried on ours. docs/security.md lists them with
 * their sources and names the test of each; those that a container's own test already covers are not repeated here.
 */
#include "unit.h"

#include "base/json.h"
#include "formats/build.h"
#include "formats/folders.h"
#include "formats/megatron/distcp.h"
#include "formats/megatron/megatron.h"
#include "formats/safetensors/safetensors.h"
#include "formats/torch/torch.h"

#include <time.h>

static float storage[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static const fake_tensor good = {"FloatStorage", "0", 16, 0, 2, {4, 4}, {4, 1}};

/* {"w": tensor} */
static void put_pickle(dt_text *t, const fake_tensor *f)
{
    pk(t, "\x80\2}");
    pk_string(t, "w");
    pk_tensor(t, f);
    pk(t, "s.");
}

static dt_status read_torch(const dt_text *file, dt_error *err)
{
    dt_stored_set *set = new_set();
    in_memory(set, "file", file->data, file->bytes);
    dt_status status = dt_torch_read(set, "file", "", err);
    if (status == DT_OK) {
        float out[16];
        status = dt_stored_read(dt_stored_set_find(set, "w"), NULL, DT_F32, out, NULL, err);
    }
    dt_stored_set_destroy(set);
    return status;
}

static dt_status read_pickle(const char *data, size_t bytes, size_t *used, dt_error *err)
{
    dt_pickle pickle;
    dt_arena *arena = dt_arena_create();
    dt_status status = dt_pickle_read_whole(&pickle, arena, (const uint8_t *)data, bytes, err);
    if (used)
        *used = dt_arena_bytes(arena);
    dt_arena_destroy(arena);
    return status;
}

/* ---- pickles that run something ---- */

/* What reports on scanners and restricted unpicklers found missing from lists of forbidden names. Ours lists the known. */
static void hostile__names_that_deny_lists_forgot_are_refused(void **state)
{
    static const char *const NAMES[][2] = {
        {"pip", "main"},
        {"pip._internal", "main"},
        {"ensurepip", "_run_pip"},
        {"importlib", "import_module"},
        {"marshal", "loads"},
        {"runpy", "_run_code"},
        {"timeit", "timeit"},
        {"cProfile", "run"},
        {"asyncio.unix_events", "_UnixSubprocessTransport._start"},
        {"multiprocessing.util", "spawnv_passfds"},
        {"logging", "FileHandler"},
        {"operator", "attrgetter"},
        {"operator", "methodcaller"},
        {"numpy", "__builtins__"},
        {"numpy.testing._private.utils", "runstring"},
        {"numpy.f2py.crackfortran", "getlincoef"},
        {"torch", "load"},
        {"torch.serialization", "load"},
        {"torch.storage", "_load_from_bytes"},
        {"torch.utils.collect_env", "run"},
        {"torch.utils._config_module", "load_config"},
        {"torch.jit.unsupported_tensor_ops", "execWrapper"},
        {"torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"},
        {"torch._dynamo.guards", "GuardBuilder.get"},
        {"torch._inductor.codecache", "compile_file"},
        {"pandas.io.parsers.readers", "read_csv"},
        {"mlflow.projects.backend.local", "_run_entry_point"},
        {"transformers.dynamic_module_utils", "get_class_in_module"},
        {"builtins", "__import__"},
        {"builtins", "exec"},
        {"sys", "modules"},
        {"hydra.utils", "instantiate"},
    };
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        dt_text t = {0};
        dt_error err = {0};
        char full[256];
        snprintf(full, sizeof full, "%s.%s", NAMES[i][0], NAMES[i][1]);
        pk_global(&t, NAMES[i][0], NAMES[i][1]);
        pk(&t, "(Vid\ntR.");
        assert_fails(read_pickle(t.data, t.bytes, NULL, &err), DT_UNSUPPORTED, err, full);
        dt_text_free(&t);
    }
}

/* The names lie in the memo, other texts lie between: scanners that guess STACK_GLOBAL's operands see something else. */
static void hostile__names_from_the_memo_are_seen(void **state)
{
    dt_error err = {0};
    static const char DATA[] =
        "\x80\4\x8c\2os\x94\x8c\6system\x94\x8c\13collections\x8c\13OrderedDict0000h\0h\1\x93"
        "\x8c\2id\x85R.";
    assert_fails(read_pickle(DATA, sizeof DATA - 1, NULL, &err), DT_UNSUPPORTED, err, "os.system");
}

/* Names below the modules of trainers are kept as words: called, they are objects with arguments that nobody reads. */
static void hostile__known_modules_stay_words(void **state)
{
    dt_error err = {0};
    dt_pickle pickle;
    dt_arena *arena = dt_arena_create();
    static const char DATA[] = "cmegatron.core.utils\nsystem\n(Vid\ntR.";
    assert_ok(dt_pickle_read_whole(&pickle, arena, (const uint8_t *)DATA, sizeof DATA - 1, &err), err);
    assert_true(dt_value_is_object(pickle.root, "system"));
    assert_null(pickle.root->object->state);
    dt_arena_destroy(arena);
    assert_fails(read_pickle("cmegatron.core\nutils.os.system\n.", 32, NULL, &err), DT_UNSUPPORTED, err,
                 "utils.os.system");
}

/* A pickle that acts and then breaks: every instruction before the damage has done nothing. */
static void hostile__a_broken_pickle_has_not_run(void **state)
{
    dt_error err = {0};
    char marker[64], data[256];
    snprintf(marker, sizeof marker, "/tmp/drivetrain-hostile-%d", (int)getpid());
    int n = snprintf(data, sizeof data, "cos\nsystem\n(Vtouch %s\ntR0\xee", marker);
    assert_fails(read_pickle(data, (size_t)n, NULL, &err), DT_UNSUPPORTED, err, "os.system");
    assert_int_not_equal(access(marker, F_OK), 0);
}

/* ---- pickles that corrupt or exhaust memory ---- */

static void hostile__items_go_only_into_their_own_containers(void **state)
{
    static const struct {
        const char *data, *words;
    } CASES[] = {
        {"I1\nI2\nI3\ns.", "adds items to an integer"},
        {"](I1\nI2\nu.", "adds items to a list, not to a dict"},
        {")(I1\nI2\nu.", "adds items to a tuple"},
        {"ctorch\nFloatStorage\n(I1\nI2\nu.", "adds items to a"},
        {"(I1\nI2\nu.", "takes more than the stack has"},
        {"}(I1\nI2\nI3\nu.", "a key without a value"},
        {"ctorch._tensor\n_rebuild_from_type_v2\n)R.", "with arguments that it does not take"},
        {"ctorch._tensor\n_rebuild_from_type_v2\n(NNNNtR.", "with arguments that it does not take"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        assert_fails(read_pickle(CASES[i].data, strlen(CASES[i].data), NULL, &err), DT_FORMAT, err,
                     CASES[i].words);
    }
}

/* Lengths that ask for gigabytes in a few bytes: nothing is allocated before they are seen to lie. */
static void hostile__lengths_beyond_the_pickle_allocate_nothing(void **state)
{
#define CASE(literal)                                                                                        \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }
    static const struct {
        const char *data;
        size_t bytes;
    } CASES[] = {
        CASE("\x8d\0\0\0\0\1\0\0\0."),                  /* BINUNICODE8 */
        CASE("\x8e\0\0\0\0\1\0\0\0."),                  /* BINBYTES8 */
        CASE("\x96\0\0\0\0\1\0\0\0."),                  /* BYTEARRAY8 */
        CASE("X\xff\xff\xff\x7f."),                     /* BINUNICODE */
        CASE("B\xff\xff\xff\x7f."),                     /* BINBYTES */
        CASE("T\xff\xff\xff\x7f."),                     /* BINSTRING */
        CASE("\x8b\xff\xff\xff\x7f."),                  /* LONG4 */
        CASE("\x8b\xff\xff\xff\xff."),                  /* LONG4, negative */
        CASE("\x95\xff\xff\xff\xff\xff\xff\xff\x7fN."), /* FRAME */
        CASE("Nr\xff\xff\xff\x7f."),                    /* LONG_BINPUT */
        CASE("Np2147483647\n."),                        /* PUT */
    };
#undef CASE
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_error err = {0};
        size_t used = 0;
        assert_int_not_equal(read_pickle(CASES[i].data, CASES[i].bytes, &used, &err), DT_OK);
        assert_true(used < 1 << 20);
    }
}

static void hostile__storage_sizes_that_wrap_are_refused(void **state)
{
    static const struct {
        fake_tensor f;
        const char *words;
    } CASES[] = {
        {{"FloatStorage", "0", 0x4000000000000001, 0, 1, {1}, {1}}, "need others"},
        {{"FloatStorage", "0", 0x4000000000000010, 0, 1, {16}, {1}}, "need others"},
        {{"FloatStorage", "0", -16, 0, 1, {1}, {1}}, "a persistent id that is no"},
        {{"FloatStorage", "0", 17, 0, 1, {17}, {1}}, "need others"},
        {{"FloatStorage", "0", 15, 0, 1, {15}, {1}}, "need others"},
        {{"FloatStorage", "0", 16, 0x4000000000000000, 1, {1}, {1}}, "reach beyond"},
        {{"FloatStorage", "0", 16, 1, 1, {16}, {1}}, "reach beyond"},
        {{"FloatStorage", "0", 16, 0, 2, {INT64_MAX, 3}, {INT64_MAX, 1}}, "reach beyond"},
        {{"FloatStorage", "0", 16, 0, 2, {4, 4}, {-4, 1}}, "no sizes"},
        {{"FloatStorage", "0", 16, 0, 2, {4, 4}, {3, 1}}, "make elements share storage"},
        {{"FloatStorage", "0", 16, 0, 2, {4, 4}, {1, 1}}, "make elements share storage"},
        {{"FloatStorage", "0", 16, 0, 1, {(int64_t)1 << 40}, {0}}, "repeat"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dt_text pickle = {0}, file = {0};
        dt_error err = {0};
        put_pickle(&pickle, &CASES[i].f);
        torch_build(&file, &pickle, storage, sizeof storage);
        dt_status status = read_torch(&file, &err);
        assert_int_not_equal(status, DT_OK);
        assert_fails(read_torch(&file, &err), status, err, CASES[i].words);
        dt_text_free(&pickle);
        dt_text_free(&file);
    }
}

/* ---- archives that show different things to different readers ---- */

/* An archive of the good pickle and storage, its parts to be edited. */
typedef struct archive {
    dt_text pickle, file;
    zip_part part[3];
} archive;

static archive good_archive(void)
{
    archive a = {0};
    put_pickle(&a.pickle, &good);
    a.part[0] = (zip_part){.name = "archive/data.pkl", .data = a.pickle.data, .bytes = a.pickle.bytes};
    a.part[1] = (zip_part){.name = "archive/data/0", .data = (const char *)storage, .bytes = sizeof storage};
    return a;
}

static void expect(archive *a, size_t parts, dt_status status, const char *words)
{
    dt_error err = {0};
    dt_text_clear(&a->file);
    zip_build(&a->file, a->part, parts);
    if (status == DT_OK)
        assert_ok(read_torch(&a->file, &err), err);
    else
        assert_fails(read_torch(&a->file, &err), status, err, words);
    dt_text_free(&a->pickle);
    dt_text_free(&a->file);
}

static void hostile__a_pickle_with_a_wrong_checksum_is_refused(void **state)
{
    archive a = good_archive();
    expect(&a, 2, DT_OK, NULL); /* a CRC of 0 is none: or the next case proves nothing */
    a = good_archive();
    a.part[0].crc = 0xdeadbeef;
    expect(&a, 2, DT_FORMAT, "its bytes have CRC");
}

/* Every flag but "sizes follow" and "UTF-8 names" must not be there, in either header or in both. */
static void hostile__flag_bits_hide_nothing(void **state)
{
    for (int bit = 0; bit < 16; bit++) {
        bool harmless = bit != 0 && bit != 6 && bit != 13;
        archive a = good_archive();
        a.part[0].flags = 1 << bit;
        expect(&a, 2, harmless ? DT_OK : DT_UNSUPPORTED, "is encrypted");
        for (int central = 0; central < 2; central++) {
            dt_error err = {0};
            a = good_archive();
            zip_build(&a.file, a.part, 2);
            char *header = memmem(a.file.data, a.file.bytes, central ? "PK\1\2" : "PK\3\4", 4);
            header[(central ? 8 : 6) + bit / 8] ^= (char)(1 << bit % 8);
            assert_int_not_equal(read_torch(&a.file, &err), DT_OK);
            dt_text_free(&a.pickle);
            dt_text_free(&a.file);
        }
    }
}

/* Pickles under other names are never looked at, and data.pkl in two folders is ambiguous for nobody. */
static void hostile__other_pickles_in_an_archive_are_not_read(void **state)
{
    archive a = good_archive();
    a.part[2] = (zip_part){.name = "archive/readme.txt", .data = "cos\nsystem\n(Vid\ntR.", .bytes = 20};
    expect(&a, 3, DT_OK, NULL);
    a = good_archive();
    a.part[2] = (zip_part){.name = "archive/DATA.PKL", .data = "cos\nsystem\n(Vid\ntR.", .bytes = 20};
    expect(&a, 3, DT_OK, NULL);
    a = good_archive();
    a.part[2] = (zip_part){.name = "other/data.pkl", .data = "cos\nsystem\n(Vid\ntR.", .bytes = 20};
    expect(&a, 3, DT_FORMAT, "two folders hold a data.pkl");
}

static void hostile__an_archive_has_no_holes(void **state)
{
    dt_error err = {0};
    archive a = good_archive();
    dt_text holed = {0};
    zip_build(&a.file, a.part, 2);
    char *second = memmem(a.file.data + 4, a.file.bytes - 4, "PK\3\4", 4);
    size_t at = (size_t)(second - a.file.data);
    dt_text_append(&holed, a.file.data, at);
    dt_text_put(&holed, "hidden");
    dt_text_append(&holed, second, a.file.bytes - at);
    char *end_of_file = holed.data + holed.bytes, *directory = memmem(holed.data, holed.bytes, "PK\1\2", 4),
         *other = memmem(directory + 4, (size_t)(end_of_file - directory) - 4, "PK\1\2", 4),
         *end = memmem(other, (size_t)(end_of_file - other), "PK\5\6", 4);
    other[42] = (char)(other[42] + 6);
    end[16] = (char)(end[16] + 6);
    assert_fails(read_torch(&holed, &err), DT_FORMAT, err, "belong to no entry");
    dt_text_free(&holed);
    dt_text_free(&a.pickle);
    dt_text_free(&a.file);
}

/* One file that is a zip archive to some readers and a pickle to others: neither to us. */
static void hostile__a_file_of_two_formats_is_refused(void **state)
{
    static const char OLD[] =
        "\x80\2\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3.\x80\2}.\x80\2}.\x80\2].";
    dt_error err = {0};
    archive a = good_archive();
    dt_text both = {0};
    dt_text_append(&both, OLD, sizeof OLD - 1);
    zip_build(&both, a.part, 2);
    assert_fails(read_torch(&both, &err), DT_FORMAT, err, "follow the last storage");
    dt_text_clear(&both);
    dt_text_put(&both, "#!/bin/sh\n");
    zip_build(&both, a.part, 2);
    assert_fails(read_torch(&both, &err), DT_FORMAT, err, "not a file of torch.save");
    dt_text_clear(&both);
    zip_build(&both, a.part, 2);
    dt_text_put(&both, "trailer");
    assert_fails(read_torch(&both, &err), DT_FORMAT, err, "no end record");
    dt_text_free(&both);
    dt_text_free(&a.pickle);
    dt_text_free(&a.file);
}

/* The restricted unpickler was once not used for older containers; here every pickle goes through the one machine. */
static void hostile__every_pickle_of_an_old_file_is_restricted(void **state)
{
    static const char EVIL[] = "\x80\2cposix\nsystem\n(Vid\ntR.";
    static const char *const PARTS[] = {"\x80\2\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.", "\x80\2M\xe9\3.",
                                        "\x80\2}.", "\x80\2}.", "\x80\2]."};
    for (int evil = 1; evil < 5; evil++) {
        dt_text file = {0};
        dt_error err = {0};
        for (int i = 0; i < 5; i++)
            dt_text_put(&file, i == evil ? EVIL : PARTS[i]);
        assert_fails(read_torch(&file, &err), DT_UNSUPPORTED, err, "posix.system");
        dt_text_free(&file);
    }
}

/* ---- folders ---- */

static void hostile__dist_metadata_cannot_run(void **state)
{
    static const char DATA[] = "\x80\4cbuiltins\neval\n(V1+1\ntR.";
    dt_error err = {0};
    const dt_value *common = NULL;
    dt_stored_set *set = new_set();
    in_memory(set, "folder/.metadata", DATA, sizeof DATA - 1);
    assert_fails(dt_distcp_read(set, "folder", &common, &err), DT_UNSUPPORTED, err, "builtins.eval");
    dt_stored_set_destroy(set);
}

/* NeMo instantiates what "_target_" names; here it is a word among others, and YAML is no way to make memory vanish. */
static void hostile__nemo_targets_are_words(void **state)
{
    static const struct {
        const char *text, *words;
    } BAD[] = {
        {"a: &x [1, 2]\nb: *x\n", "anchors and aliases"},
        {"a: 1\n---\nconfig: {b: 2}\n", "more than one document"},
        {"? [a, b]\n: 1\n", "a key that is no text"},
        {"a: [", "line"},
    };
    json_t *json = NULL;
    dt_error err = {0};
    static const char TARGET[] = "config:\n  activation_func:\n    _target_: os.system\n    _args_: [id]\n";
    dt_status status = dt_nemo_parse(&json, TARGET, sizeof TARGET - 1, &err);
    if (status == DT_UNSUPPORTED)
        skip(); /* built without libyaml */
    assert_ok(status, err);
    json_decref(json);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        dt_error_clear(&err);
        status = dt_nemo_parse(&json, BAD[i].text, strlen(BAD[i].text), &err);
        assert_null(json);
        assert_int_not_equal(status, DT_OK);
        assert_fails(dt_nemo_parse(&json, BAD[i].text, strlen(BAD[i].text), &err), status, err, BAD[i].words);
    }
    dt_text deep = {0};
    for (int i = 0; i < 100000; i++)
        dt_text_put(&deep, "[");
    assert_int_not_equal(dt_nemo_parse(&json, deep.data, deep.bytes, &err), DT_OK);
    dt_text_free(&deep);
    dt_nemo_parse(&json, NULL, 0, &err); /* an empty file: an error or nothing, no abort */
    json_decref(json);
}

/* "auto_map" makes transformers import Python from the folder. Nothing is imported here, whatever lies beside. */
static void hostile__code_beside_a_model_is_not_run(void **state)
{
    char from[4096], folder[4096], command[16384];
    dt_error err = {0};
    json_t *json = NULL;
    if (!model_folder(from, "hf/llama-gqa"))
        skip();
    snprintf(folder, sizeof folder, "%s/model", (char *)*state);
    snprintf(command, sizeof command, "cp -rL '%s' '%s' && chmod -R u+w '%s'", from, folder, folder);
    assert_int_equal(system(command), 0);
    assert_ok(dt_json_load(&json, in_folder(folder, "config.json"), 1 << 20, &err), err);
    json_object_set_new(json, "auto_map", json_pack("{s:s}", "AutoModel", "evil.Model"));
    assert_ok(dt_json_save(json, in_folder(folder, "config.json"), &err), err);
    json_decref(json);
    put_file(in_folder(folder, "evil.py"), "import os", 9);
    dt_checkpoint *c = open_model(folder, NULL);
    int64_t n;
    free(read_all(c, "embedding.word_embeddings.weight", &n));
    dt_checkpoint_close(c);
}

/* ---- headers that cost more than they are worth ---- */

/* A hundred thousand tensors of nothing: read in a time that grows with the header, not with its square. */
static void hostile__a_header_of_many_tensors_is_read_in_time(void **state)
{
    dt_text file = {0}, header = {0};
    dt_error err = {0};
    for (int i = 0; i < 100000; i++)
        dt_text_printf(&header, "%c\"t%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                       i ? ',' : '{', i);
    dt_text_put(&header, "}");
    put_number(&file, header.bytes, 8);
    put_text(&file, &header);
    dt_stored_set *set = new_set();
    clock_t start = clock();
    const dt_map *map = in_memory(set, "file", file.data, file.bytes);
    assert_ok(dt_safetensors_read_map(set, map, &err), err);
    assert_int_equal(dt_stored_set_count(set), 100000);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 30); /* 0.3 s; the square would take minutes */
    dt_stored_set_destroy(set);
    dt_text_free(&header);
    dt_text_free(&file);
}

/* A shape of exabytes over a few bytes is refused, and nothing is allocated for it. */
static void hostile__shapes_larger_than_the_file_allocate_nothing(void **state)
{
    static const char *const SHAPES[] = {"[1000000,1000000,1000000]", "[4611686018427387904,4]",
                                         "[9223372036854775807,9223372036854775807]",
                                         "[2147483648,2147483648,4]"};
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        dt_text file = {0}, header = {0};
        dt_error err = {0};
        dt_text_printf(&header, "{\"w\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,0]}}", SHAPES[i]);
        put_number(&file, header.bytes, 8);
        put_text(&file, &header);
        dt_stored_set *set = new_set();
        const dt_map *map = in_memory(set, "file", file.data, file.bytes);
        assert_int_equal(dt_safetensors_read_map(set, map, &err), DT_FORMAT);
        assert_true(dt_arena_bytes(dt_stored_set_arena(set)) < 1 << 20);
        dt_stored_set_destroy(set);
        dt_text_free(&header);
        dt_text_free(&file);
    }
}

static void hostile__deep_json_needs_no_deep_stack(void **state)
{
    dt_text file = {0}, header = {0};
    dt_error err = {0};
    dt_text_put(&header, "{\"a\":");
    for (int i = 0; i < 1000000; i++)
        dt_text_put(&header, "[");
    put_number(&file, header.bytes, 8);
    put_text(&file, &header);
    dt_stored_set *set = new_set();
    const dt_map *map = in_memory(set, "file", file.data, file.bytes);
    assert_fails(dt_safetensors_read_map(set, map, &err), DT_LIMIT, err, "nested deeper");
    dt_stored_set_destroy(set);
    dt_text_free(&header);
    dt_text_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile__names_that_deny_lists_forgot_are_refused),
        cmocka_unit_test(hostile__names_from_the_memo_are_seen),
        cmocka_unit_test(hostile__known_modules_stay_words),
        cmocka_unit_test(hostile__a_broken_pickle_has_not_run),
        cmocka_unit_test(hostile__items_go_only_into_their_own_containers),
        cmocka_unit_test(hostile__lengths_beyond_the_pickle_allocate_nothing),
        cmocka_unit_test(hostile__storage_sizes_that_wrap_are_refused),
        cmocka_unit_test(hostile__a_pickle_with_a_wrong_checksum_is_refused),
        cmocka_unit_test(hostile__flag_bits_hide_nothing),
        cmocka_unit_test(hostile__other_pickles_in_an_archive_are_not_read),
        cmocka_unit_test(hostile__an_archive_has_no_holes),
        cmocka_unit_test(hostile__a_file_of_two_formats_is_refused),
        cmocka_unit_test(hostile__every_pickle_of_an_old_file_is_restricted),
        cmocka_unit_test(hostile__dist_metadata_cannot_run),
        cmocka_unit_test(hostile__nemo_targets_are_words),
        cmocka_unit_test_setup_teardown(hostile__code_beside_a_model_is_not_run, make_folder, remove_folder),
        cmocka_unit_test(hostile__a_header_of_many_tensors_is_read_in_time),
        cmocka_unit_test(hostile__shapes_larger_than_the_file_allocate_nothing),
        cmocka_unit_test(hostile__deep_json_needs_no_deep_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
