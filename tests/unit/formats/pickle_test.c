/* pickle_test.c - pickles of every protocol become trees; whatever would run something is refused by name. */
#include "formats/build.h"

#include "formats/torch/pickle.h"

#include <glob.h>

typedef struct reading {
    dt_arena *arena;
    dt_pickle pickle;
    dt_error err;
} reading;

static dt_status read_bytes(reading *r, const char *data, size_t bytes)
{
    r->arena = r->arena ? r->arena : dt_arena_create();
    dt_error_clear(&r->err);
    return dt_pickle_read_whole(&r->pickle, r->arena, (const uint8_t *)data, bytes, &r->err);
}

#define READ(r, literal) read_bytes((r), (literal), sizeof(literal) - 1)

static const dt_value *value_of(reading *r, const char *data, size_t bytes)
{
    assert_ok(read_bytes(r, data, bytes), r->err);
    return r->pickle.root;
}
#define VALUE(r, literal) value_of((r), (literal), sizeof(literal) - 1)

static void pickle__integers_of_every_spelling(void **state)
{
    reading r = {0};
    static const struct {
        const char *data;
        size_t bytes;
        int64_t expected;
    } CASES[] = {
#define CASE(literal, expected) {literal, sizeof(literal) - 1, expected}
        CASE("I-12\n.", -12),
        CASE("L12345678901L\n.", 12345678901),
        CASE("L5\n.", 5),
        CASE("K\xff.", 255),
        CASE("M\x01\x02.", 513),
        CASE("J\xff\xff\xff\xff.", -1),
        CASE("\x8a\x00.", 0),
        CASE("\x8a\x01\xff.", -1),
        CASE("\x8a\x02\xff\x00.", 255),
        CASE("\x8a\x08\0\0\0\0\0\0\0\x80.", INT64_MIN),
        CASE("\x8b\1\0\0\0\7.", 7),
#undef CASE
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const dt_value *v = value_of(&r, CASES[i].data, CASES[i].bytes);
        assert_int_equal(v->kind, DT_VALUE_INT);
        assert_true(v->integer == CASES[i].expected);
    }
    assert_int_equal(VALUE(&r, "\x8a\x09"
                               "123456789.")
                         ->kind,
                     DT_VALUE_BIG);
    assert_int_equal(VALUE(&r, "I01\n.")->kind, DT_VALUE_BOOL);
    assert_true(VALUE(&r, "\x88.")->truth);
    assert_false(VALUE(&r, "I00\n.")->truth);
    assert_int_equal(VALUE(&r, "N.")->kind, DT_VALUE_NONE);
    assert_true(VALUE(&r, "F-1.5e3\n.")->real == -1500.0);
    assert_true(VALUE(&r, "G\x3f\xf8\0\0\0\0\0\0.")->real == 1.5);
    dt_arena_destroy(r.arena);
}

static void assert_text(const dt_value *v, dt_value_kind kind, const char *expected, size_t bytes)
{
    assert_int_equal(v->kind, kind);
    assert_int_equal(v->text.bytes, bytes);
    assert_memory_equal(v->text.data, expected, bytes);
}

static void pickle__texts_of_every_spelling(void **state)
{
    reading r = {0};
    assert_text(VALUE(&r, "S'a\\x41\\n\\'\\\\'\n."), DT_VALUE_TEXT, "aA\n'\\", 5);
    assert_text(VALUE(&r, "S\"\\xff\"\n."), DT_VALUE_BYTES, "\xff", 1);
    assert_text(VALUE(&r, "U\3abc."), DT_VALUE_TEXT, "abc", 3);
    assert_text(VALUE(&r, "T\1\0\0\0\xfe."), DT_VALUE_BYTES, "\xfe", 1);
    assert_text(VALUE(&r, "V\xfc\\u20ac\\U0001f600\\n\n."), DT_VALUE_TEXT, "ü€😀\\n", 11);
    assert_text(VALUE(&r, "X\2\0\0\0\xc3\xbc."), DT_VALUE_TEXT, "ü", 2);
    assert_text(VALUE(&r, "\x8c\1x."), DT_VALUE_TEXT, "x", 1);
    assert_text(VALUE(&r, "\x8d\1\0\0\0\0\0\0\0x."), DT_VALUE_TEXT, "x", 1);
    assert_text(VALUE(&r, "B\1\0\0\0\xff."), DT_VALUE_BYTES, "\xff", 1);
    assert_text(VALUE(&r, "C\0."), DT_VALUE_BYTES, "", 0);
    assert_text(VALUE(&r, "\x8e\1\0\0\0\0\0\0\0x."), DT_VALUE_BYTES, "x", 1);
    assert_text(VALUE(&r, "\x96\1\0\0\0\0\0\0\0x."), DT_VALUE_BYTES, "x", 1);
    assert_text(VALUE(&r, "c_codecs\nencode\n(V\xff"
                          "a\nVlatin1\ntR."),
                DT_VALUE_BYTES,
                "\xff"
                "a",
                2);
    assert_text(VALUE(&r, "c__builtin__\nbytes\n)R."), DT_VALUE_BYTES, "", 0);
    assert_text(VALUE(&r, "cpathlib\nPosixPath\n(V/\nVa\nVb\ntR."), DT_VALUE_TEXT, "/a/b", 4);
    dt_arena_destroy(r.arena);
}

static void pickle__containers_of_every_spelling(void **state)
{
    reading r = {0};
    static const char *const LISTS[] = {"(I1\nI2\nl.", "(lI1\naI2\na.", "](I1\nI2\ne."};
    for (int i = 0; i < 3; i++) {
        const dt_value *v = value_of(&r, LISTS[i], strlen(LISTS[i]));
        assert_int_equal(v->kind, DT_VALUE_LIST);
        assert_int_equal(v->list.count, 2);
        assert_int_equal(v->list.item[1]->integer, 2);
    }
    static const char *const DICTS[] = {
        "(Va\nI1\nVb\nI2\nd.",
        "}Va\nI1\nsVb\nI2\ns.",
        "}(Va\nI1\nVb\nI2\nu.",
        "ccollections\nOrderedDict\n)R(Va\nI1\nVb\nI2\nu.",
        "ccollections\nOrderedDict\n(((Va\nI1\ntp0\n(Vb\nI2\nlltR.",
        "(ccollections\nOrderedDict\no(Va\nI1\nVb\nI2\nu.",
        "(icollections\nOrderedDict\n(Va\nI1\nVb\nI2\nu.",
        "ccollections\ndefaultdict\ncbuiltins\nint\n\x85R(Va\nI1\nVb\nI2\nu."};
    for (int i = 0; i < 8; i++) {
        const dt_value *v = value_of(&r, DICTS[i], strlen(DICTS[i]));
        assert_int_equal(v->kind, DT_VALUE_DICT);
        assert_int_equal(dt_value_get(v, "b")->integer, 2);
        assert_null(dt_value_get(v, "c"));
    }
    assert_int_equal(VALUE(&r, "}Va\nI1\nsVa\nI2\ns.")->list.count, 4);
    assert_int_equal(dt_value_get(r.pickle.root, "a")->integer, 2); /* as Python: the later one */
    assert_int_equal(VALUE(&r, "I1\nI2\nI3\n\x87.")->list.count, 3);
    assert_int_equal(VALUE(&r, ").")->kind, DT_VALUE_TUPLE);
    assert_int_equal(VALUE(&r, "\x8f(I1\nI2\n\x90.")->list.count, 2);
    assert_int_equal(VALUE(&r, "(I1\n\x91.")->kind, DT_VALUE_SET);
    assert_int_equal(VALUE(&r, "c__builtin__\nset\n(](I1\nI2\netR.")->list.count, 2);
    int64_t sizes[3];
    assert_int_equal(dt_value_sizes(VALUE(&r, "ctorch\nSize\n(I3\nI4\nt\x85R."), sizes, 3), 2);
    assert_int_equal(sizes[1], 4);
    assert_int_equal(dt_value_sizes(r.pickle.root, sizes, 1), -1);
    assert_int_equal(dt_value_sizes(VALUE(&r, "(I-3\nt."), sizes, 3), -1);
    dt_arena_destroy(r.arena);
}

static void pickle__memo_and_stack_instructions(void **state)
{
    reading r = {0};
    const dt_value *v = VALUE(&r, "(]p7\ng7\nh\7j\7\0\0\0l.");
    assert_ptr_equal(v->list.item[0], v->list.item[3]);
    v = VALUE(&r, "\x80\4\x95\6\0\0\0\0\0\0\0(\x8c\1a\x94h\0l.");
    assert_true(dt_value_is_text(v->list.item[1], "a"));
    assert_int_equal(VALUE(&r, "(I1\n2l.")->list.count, 2);
    assert_int_equal(VALUE(&r, "I1\n(I2\nI3\n1.")->integer, 1);
    assert_int_equal(VALUE(&r, "I1\n(0I2\n0.")->integer, 1);
    v = VALUE(&r, "]q\0h\0a."); /* a list that holds itself is a tree that a walker must survive */
    assert_ptr_equal(v->list.item[0], v);
    dt_arena_destroy(r.arena);
}

static void pickle__harmless_objects_keep_arguments_and_state(void **state)
{
    reading r = {0};
    const dt_value *v = VALUE(&r, "cargparse\nNamespace\n)\x81}Vx\nI1\nsb.");
    assert_true(dt_value_is_object(v, "Namespace"));
    assert_int_equal(dt_value_get(v, "x")->integer, 1);
    v = VALUE(&r, "ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR}Vx\nI1\nsb.");
    assert_true(dt_value_is_object(v, "Namespace"));
    assert_int_equal(dt_value_get(v, "x")->integer, 1);
    v = VALUE(&r, "cmegatron.core.enums\nModelType\nI1\n\x85R.");
    assert_string_equal(v->object->type->module, "megatron.core.enums");
    assert_int_equal(v->object->args->list.item[0]->integer, 1);
    v = VALUE(&r, "ctorch\nbfloat16\n.");
    assert_int_equal(v->kind, DT_VALUE_GLOBAL);
    assert_int_equal(v->global->detail, DT_BF16);
    v = VALUE(&r, "\x8c\x09omegaconf\x8c\x01X\x93)}\x92(I1\ne.");
    assert_int_equal(v->object->items->list.count, 1);
    v = VALUE(&r, "V9\nQ.");
    assert_ptr_equal(r.pickle.last_persistent, v);
    assert_true(dt_value_is_text(v->persistent.id, "9"));
    assert_true(dt_value_is_text(VALUE(&r, "P12\n.")->persistent.id, "12"));
    assert_int_equal(VALUE(&r, "ctorch._utils\n_rebuild_parameter\n(I1\n\x88NtR.")->integer, 1);
    dt_arena_destroy(r.arena);
}

static void pickle__whatever_could_run_is_refused_by_name(void **state)
{
    static const char *const BAD[][2] = {
        {"cos\nsystem\n(Vls\ntR.", "os.system"},
        {"cposix\nsystem\n.", "posix.system"},
        {"c__builtin__\neval\n.", "__builtin__.eval"},
        {"cbuiltins\ngetattr\n.", "builtins.getattr"},
        {"csubprocess\nPopen\n.", "subprocess.Popen"},
        {"cfunctools\npartial\n.", "functools.partial"},
        {"ctorch.hub\nload\n.", "torch.hub.load"},
        {"ctorch.storage\n_load_from_bytes\n.", "torch.storage._load_from_bytes"},
        {"cmegatron.core\nos.system\n.", "megatron.core.os.system"},
        {"cmegatronic\nX\n.", "megatronic.X"},
        {"ccollections\nOrderedDict.fromkeys\n.", "collections.OrderedDict.fromkeys"},
        {"(I1\nios\nsystem\n.", "os.system"},
        {"Vos\nVsystem\n\x93.", "os.system"},
    };
    reading r = {0};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_fails(read_bytes(&r, BAD[i][0], strlen(BAD[i][0])), DT_UNSUPPORTED, r.err, BAD[i][1]);
    assert_fails(READ(&r, "\x82\1."), DT_UNSUPPORTED, r.err, "extension registry");
    assert_fails(READ(&r, "\x80\6."), DT_UNSUPPORTED, r.err, "pickle protocol 6");
    dt_arena_destroy(r.arena);
}

static void pickle__malformed_instructions_are_refused(void **state)
{
    static const struct {
        const char *data;
        size_t bytes;
        const char *words;
    } CASES[] = {
#define CASE(literal, words) {literal, sizeof(literal) - 1, words}
        CASE("", "ends after 0 bytes without its STOP"),
        CASE("N", "ends after 1 bytes without its STOP"),
        CASE(".", "with 0 values on its stack"),
        CASE("NN.", "with 2 values on its stack"),
        CASE("(N.", "stops at byte 2"),
        CASE("N.x", "1 bytes follow the pickle's end at byte 2"),
        CASE("\xee", "byte 0 (0xee) is no instruction"),
        CASE("X\xff\xff\xff\xff"
             "a",
             "cut off in the instruction at byte 0 of 6"),
        CASE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
             "a",
             "cut off"),
        CASE("\x8b\xff\xff\xff\xff", "cut off"),
        CASE("T\xff\xff\xff\xff", "negative length"),
        CASE("\x95\xff\0\0\0\0\0\0\0N.", "cut off"),
        CASE("I12", "cut off"),
        CASE("I12x\n.", "no integer"),
        CASE("I99999999999999999999\n.", "one beyond 64 bits"),
        CASE("I\n.", "no number"),
        CASE("Fx\n.", "no number"),
        CASE("Sabc\n.", "without its quotes"),
        CASE("S'\\q'\n.", "escape that is not understood"),
        CASE("V\\ud800\n.", "escape that is no character"),
        CASE("V\\u12\n.", "escape that is no character"),
        CASE("X\1\0\0\0\xff.", "not UTF-8"),
        CASE("0.", "takes more than the stack has"),
        CASE("a.", "takes more than the stack has"),
        CASE("(a.", "takes more than the stack has"),
        CASE("I1\n(R.", "takes more than the stack has"),
        CASE("t.", "there is no mark"),
        CASE("(I1\nd.", "a key that has no value"),
        CASE("}(I1\nu.", "a key without a value"),
        CASE("](I1\nI2\nu.", "adds items to a list, not to a dict"),
        CASE("}I1\na.", "adds items to a dict, not to a list"),
        CASE("I1\n)R.", "calls an integer with a tuple"),
        CASE("ctorch\nfloat32\n)R.", "calls torch.float32, which is no function"),
        CASE("ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage, which is no function"),
        CASE("cargparse\nNamespace\nI1\nR.", "with an integer"),
        CASE("c_codecs\nencode\n(V\xff\nVutf-8\ntR.", "with arguments that it does not take"),
        CASE("c_codecs\nencode\n(V\\u0100\nVlatin1\ntR.", "with arguments that it does not take"),
        CASE("ccollections\nOrderedDict\n(I1\ntR.", "with arguments that it does not take"),
        CASE("ctorch\nSize\n(I1\ntR.", "with arguments that it does not take"),
        CASE("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nN)tR.",
             "with arguments that it does not take"),
        CASE("I1\nI2\nb.", "gives a state to an integer"),
        CASE("cargparse\nNamespace\n)\x81}b}b.", "gives a second state"),
        CASE("g3\n.", "memo 3, which was never set"),
        CASE("j\xff\xff\xff\xff.", "memo 4294967295, which was never set"),
        CASE("gx\n.", "a memo number that is none"),
        CASE("g-1\n.", "a memo number that is none"),
        CASE("I1\nI2\n\x93.", "a name must be two texts"),
        CASE("cos;\nx\n.", "names something that is no Python name"),
        CASE("c\n\n.", "names something that is no Python name"),
        CASE("cargparse\nNamespace\n)I1\n\x92.", "keyword arguments must be a dict"),
#undef CASE
    };
    reading r = {0};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        assert_fails(read_bytes(&r, CASES[i].data, CASES[i].bytes), DT_FORMAT, r.err, CASES[i].words);
    assert_fails(READ(&r, "Nr\xff\xff\xff\xff."), DT_LIMIT, r.err,
                 "memo number 4294967295 in a pickle of 7 bytes");
    dt_arena_destroy(r.arena);
}

/* A few bytes that ask for gigabytes: copies of one memoised list. */
static void pickle__a_copying_bomb_is_refused(void **state)
{
    reading r = {0};
    dt_text bomb = {0};
    pk(&bomb, "((");
    for (int i = 0; i < 20000; i++)
        pk(&bomb, "N");
    pk(&bomb, "lq\0c__builtin__\nlist\nq\1");
    for (int i = 0; i < 100000; i++)
        pk(&bomb, "h\1h\0\x85R");
    pk(&bomb, "l.");
    assert_fails(read_bytes(&r, bomb.data, bomb.bytes), DT_LIMIT, r.err, "copies itself beyond all measure");
    assert_true(dt_arena_bytes(r.arena) < 64 << 20);
    dt_text_free(&bomb);
    dt_arena_destroy(r.arena);
}

/* Depth is no recursion: a million nested tuples are read, and freed, without a deep stack. */
static void pickle__deep_nesting_needs_no_deep_stack(void **state)
{
    reading r = {0};
    dt_text deep = {0};
    pk(&deep, ")");
    for (int i = 0; i < 1000000; i++)
        pk(&deep, "\x85");
    pk(&deep, ".");
    assert_ok(read_bytes(&r, deep.data, deep.bytes), r.err);
    int depth = 0;
    for (const dt_value *v = r.pickle.root; v->list.count; v = v->list.item[0])
        depth++;
    assert_int_equal(depth, 1000000);
    dt_text_free(&deep);
    dt_arena_destroy(r.arena);
}

static void pickle__every_truncation_is_refused(void **state)
{
    static const char WHOLE[] =
        "\x80\4\x95\x20\0\0\0\0\0\0\0}(\x8c\1a\x94G\x3f\xf8\0\0\0\0\0\0V\\u20ac\nctorch\nSize\n(K\1t\x85Ru.";
    for (size_t bytes = 0; bytes < sizeof WHOLE - 1; bytes++) {
        reading r = {0};
        char *copy = malloc(bytes + 1);
        memcpy(copy, WHOLE, bytes);
        assert_int_not_equal(read_bytes(&r, copy, bytes), DT_OK);
        free(copy);
        dt_arena_destroy(r.arena);
    }
}

/* picklescan's collection: what is called malicious must be refused, what is called benign and a pickle is read. */
static void pickle__the_hostile_collection_is_refused(void **state)
{
    char command[9000];
    const char *archive = need("DT_DATA", "malformed/pickle-scan.tar.gz");
    snprintf(command, sizeof command, "tar -xzf '%s' -C '%s'", archive, (const char *)*state);
    if (system(command) != 0)
        skip();
    glob_t found;
    int read = 0;
    assert_int_equal(glob(in_folder(*state, "pickle/*"), 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 35);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        reading r = {0};
        dt_map map = {0};
        assert_ok(dt_map_open(&map, found.gl_pathv[i], &r.err), r.err);
        dt_status status = read_bytes(&r, (const char *)map.data, map.size);
        bool benign = strstr(found.gl_pathv[i], "benign0") != NULL;
        read += status == DT_OK;
        if (benign != (status == DT_OK))
            fail_msg("%s: %s", found.gl_pathv[i], dt_status_text(status));
        dt_map_close(&map);
        dt_arena_destroy(r.arena);
    }
    assert_int_equal(read, 3);
    globfree(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pickle__integers_of_every_spelling),
        cmocka_unit_test(pickle__texts_of_every_spelling),
        cmocka_unit_test(pickle__containers_of_every_spelling),
        cmocka_unit_test(pickle__memo_and_stack_instructions),
        cmocka_unit_test(pickle__harmless_objects_keep_arguments_and_state),
        cmocka_unit_test(pickle__whatever_could_run_is_refused_by_name),
        cmocka_unit_test(pickle__malformed_instructions_are_refused),
        cmocka_unit_test(pickle__a_copying_bomb_is_refused),
        cmocka_unit_test(pickle__deep_nesting_needs_no_deep_stack),
        cmocka_unit_test(pickle__every_truncation_is_refused),
        cmocka_unit_test_setup_teardown(pickle__the_hostile_collection_is_refused, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
