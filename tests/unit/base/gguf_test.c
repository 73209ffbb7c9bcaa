/*
 * gguf_test.c - the GGUF container: every kind of value, every lie by name. "hostile" tests are the rows of
 * docs/security.md.
 */
#include "gguf_build.h"
#include "unit.h"

#include <glob.h>

/* A file of two tensors, of which any field may be changed afterwards. */
static void build_two(dt_text *t)
{
    gg_header(t, 3, 2, 1);
    gg_string(t, "general.architecture", "llama");
    gg_tensor(t, "a.weight", 2, (uint64_t[]){4, 3}, 0, 0);
    gg_tensor(t, "b.weight", 2, (uint64_t[]){32, 2}, 8, 64);
    gg_pad(t, 32);
    for (int i = 0; i < 64 + 96; i++)
        gg_number(t, (uint64_t)i, 1);
}

static void gguf__reads_every_kind_of_value(void **state)
{
    dt_error err = {0};
    dt_gguf *g = NULL;
    dt_text t = {0};
    gg_header(&t, 2, 0, 13);
    const struct {
        const char *key;
        dt_gguf_type type;
        int bytes;
        uint64_t bits;
        int64_t value;
    } whole[] = {
        {"u8", DT_GGUF_U8, 1, 0xff, 255},
        {"i8", DT_GGUF_I8, 1, 0xff, -1},
        {"u16", DT_GGUF_U16, 2, 0xfffe, 65534},
        {"i16", DT_GGUF_I16, 2, 0xfffe, -2},
        {"u32", DT_GGUF_U32, 4, 0xfffffffd, 4294967293},
        {"i32", DT_GGUF_I32, 4, 0xfffffffd, -3},
        {"u64", DT_GGUF_U64, 8, 1ull << 62, (int64_t)1 << 62},
        {"i64", DT_GGUF_I64, 8, (uint64_t)-5, -5},
    };
    for (size_t i = 0; i < 8; i++) {
        gg_key(&t, whole[i].key, whole[i].type);
        gg_number(&t, whole[i].bits, whole[i].bytes);
    }
    gg_key(&t, "f32", DT_GGUF_F32);
    gg_number(&t, 0x3fc00000, 4);
    gg_key(&t, "f64", DT_GGUF_F64);
    gg_number(&t, 0x4004000000000000, 8);
    gg_key(&t, "yes", DT_GGUF_BOOL);
    gg_number(&t, 1, 1);
    gg_string(&t, "text", "grüß");
    gg_array(&t, "list", DT_GGUF_STRING, 3);
    gg_text(&t, "");
    gg_text(&t, "one");
    gg_text(&t, "two words");
    assert_ok(gg_open(&g, &t, &err), err);
    for (size_t i = 0; i < 8; i++) {
        int64_t value = 0;
        assert_ok(dt_gguf_int(g, whole[i].key, &value, &err), err);
        assert_true(value == whole[i].value);
    }
    double real = 0;
    bool yes = false;
    const char *text = NULL;
    const dt_gguf_text *list = NULL;
    size_t count = 0;
    assert_ok(dt_gguf_real(g, "f32", &real, &err), err);
    assert_true(real == 1.5);
    assert_ok(dt_gguf_real(g, "f64", &real, &err), err);
    assert_true(real == 2.5);
    assert_ok(dt_gguf_bool(g, "yes", &yes, &err), err);
    assert_true(yes);
    assert_ok(dt_gguf_string(g, "text", &text, &err), err);
    assert_string_equal(text, "grüß");
    assert_ok(dt_gguf_texts(g, "list", &list, &count, &err), err);
    assert_int_equal(count, 3);
    assert_int_equal(list[0].bytes, 0);
    assert_memory_equal(list[2].data, "two words", 9);
    assert_fails(dt_gguf_int(g, "text", &(int64_t){0}, &err), DT_FORMAT, err,
                 "\"text\" is not a whole number");
    assert_fails(dt_gguf_string(g, "u8", &text, &err), DT_FORMAT, err, "\"u8\" is not a string");
    assert_fails(dt_gguf_bool(g, "u8", &yes, &err), DT_FORMAT, err, "\"u8\" is not true or false");
    assert_null(dt_gguf_find(g, "absent"));
    dt_gguf_close(g);
    dt_text_free(&t);
}

static void gguf__lists_tensors_with_their_places(void **state)
{
    dt_error err = {0};
    dt_gguf *g = NULL;
    dt_text t = {0};
    build_two(&t);
    assert_ok(gg_open(&g, &t, &err), err);
    const dt_gguf_tensor *b = dt_gguf_tensor_at(g, 1);
    assert_string_equal(b->name, "b.weight");
    assert_string_equal(b->type_name, "q8_0");
    assert_int_equal(b->bytes, 68);
    assert_int_equal(t.data[b->offset], 64); /* its first byte */
    assert_null(dt_gguf_tensor_at(g, 2));
    dt_gguf_close(g);
    dt_text_free(&t);
}

/* The file must be refused, with these words. */
static void refuse(dt_text *t, dt_status status, const char *words)
{
    dt_error err = {0};
    dt_gguf *g = NULL;
    assert_fails(gg_open(&g, t, &err), status, err, words);
    assert_null(g);
    dt_text_free(t);
    *t = (dt_text){0};
}

static void gguf__other_files_are_refused_with_what_they_are(void **state)
{
    dt_text t = {0};
    dt_text_put(&t, "GGML");
    refuse(&t, DT_FORMAT, "does not begin with GGUF");
    gg_header(&t, 1, 0, 0);
    refuse(&t, DT_UNSUPPORTED, "version 1");
    gg_header(&t, 4, 0, 0);
    refuse(&t, DT_UNSUPPORTED, "version 4");
    gg_header(&t, 3u << 24, 0, 0);
    refuse(&t, DT_UNSUPPORTED, "big-endian");
}

/* Whatever it is cut to, the rest is an error. */
static void gguf__a_truncated_file_is_refused(void **state)
{
    dt_text t = {0};
    build_two(&t);
    for (size_t bytes = 0; bytes < t.bytes; bytes++) {
        dt_text part = {0};
        dt_error err = {0};
        dt_gguf *g = NULL;
        char *copy = malloc(bytes + 1); /* its own block, so that a sanitizer sees one byte too many */
        assert_non_null(copy);
        memcpy(copy, t.data, bytes);
        part.data = copy;
        part.bytes = bytes;
        assert_int_not_equal(gg_open(&g, &part, &err), DT_OK);
        free(copy);
    }
    dt_text_free(&t);
}

static void gguf__hostile_counts_and_lengths_allocate_nothing(void **state)
{
    dt_text t = {0};
    gg_header(&t, 3, 0, 1ull << 62);
    refuse(&t, DT_FORMAT, "4611686018427387904 keys are claimed");
    gg_header(&t, 3, UINT64_MAX, 0);
    refuse(&t, DT_FORMAT, "18446744073709551615 tensors are claimed");
    gg_header(&t, 3, 0, 1);
    gg_number(&t, UINT64_MAX - 3, 8); /* a key's length that wraps */
    dt_text_put(&t, "general.architecture");
    refuse(&t, DT_FORMAT, "bytes are wanted");
    gg_header(&t, 3, 0, 1);
    gg_array(&t, "list", DT_GGUF_STRING, 1ull << 61); /* times 8 wraps to 0 */
    refuse(&t, DT_FORMAT, "elements are claimed");
    gg_header(&t, 3, 0, 1);
    gg_array(&t, "list", DT_GGUF_STRING, 1);
    gg_number(&t, UINT64_MAX, 8); /* a string's length: + 1 wraps to 0 */
    refuse(&t, DT_FORMAT, "bytes are wanted");
    gg_header(&t, 3, 0, 1);
    gg_array(&t, "list", DT_GGUF_F64, (1ull << 61) + 1);
    refuse(&t, DT_FORMAT, "elements are claimed");
}

static void gguf__hostile_types_alignments_and_keys_are_refused(void **state)
{
    dt_text t = {0};
    gg_header(&t, 3, 0, 1);
    gg_key(&t, "k", 13);
    gg_number(&t, 0, 8);
    refuse(&t, DT_FORMAT, "type is 13");
    gg_header(&t, 3, 0, 1);
    gg_array(&t, "k", DT_GGUF_ARRAY, 1);
    gg_number(&t, 0, 16);
    refuse(&t, DT_UNSUPPORTED, "arrays of arrays");
    const uint32_t alignments[] = {0, 48, 1u << 31};
    for (int i = 0; i < 3; i++) {
        gg_header(&t, 3, 0, 1);
        gg_u32(&t, "general.alignment", alignments[i]);
        refuse(&t, DT_FORMAT, "no power of two");
    }
    gg_header(&t, 3, 0, 1);
    gg_string(&t, "general.alignment", "32");
    refuse(&t, DT_FORMAT, "no 32-bit number");
    gg_header(&t, 3, 0, 2);
    gg_u32(&t, "k", 1);
    gg_u32(&t, "k", 2);
    refuse(&t, DT_FORMAT, "\"k\" occurs twice");
    gg_header(&t, 3, 0, 1);
    gg_u32(&t, "", 1);
    gg_number(&t, 0, 8);
    refuse(&t, DT_FORMAT, "empty");
    gg_header(&t, 3, 0, 1);
    gg_u32(&t, "k\033[2J", 1);
    refuse(&t, DT_FORMAT, "no ASCII");
    gg_header(&t, 3, 0, 1);
    gg_key(&t, "kk", DT_GGUF_BOOL);
    gg_number(&t, 2, 1);
    refuse(&t, DT_FORMAT, "truth value is 2");
}

/* One tensor of a type, dims and offset over `bytes` of data. */
static void one_tensor(dt_text *t, uint32_t rank, const uint64_t *dim, uint32_t type, uint64_t offset,
                       size_t bytes)
{
    gg_header(t, 3, 1, 0);
    gg_tensor(t, "w", rank, dim, type, offset);
    gg_pad(t, 32);
    for (size_t i = 0; i < bytes; i++)
        gg_number(t, 0, 1);
}

static void gguf__hostile_tensor_sizes_are_refused(void **state)
{
    dt_text t = {0};
    one_tensor(&t, 4, (uint64_t[]){1ull << 31, 1ull << 31, 1ull << 31, 2}, 0, 0, 64);
    refuse(&t, DT_FORMAT, "too large");
    one_tensor(&t, 1, (uint64_t[]){1ull << 63}, 0, 0, 64);
    refuse(&t, DT_FORMAT, "too large");
    one_tensor(&t, 2, (uint64_t[]){1ull << 31, 1ull << 31}, 0, 0, 64); /* its bytes wrap */
    refuse(&t, DT_FORMAT, "overflows");
    one_tensor(&t, 1, (uint64_t[]){INT64_MAX / 4}, 0, 0, 64); /* fits a count of bytes, and no file */
    refuse(&t, DT_FORMAT, "the file has 64 left");
    one_tensor(&t, 2, (uint64_t[]){8, 3}, 0, 0, 64);
    refuse(&t, DT_FORMAT, "has 96 bytes, the file has 64 left");
    one_tensor(&t, 1, (uint64_t[]){0}, 0, 0, 64);
    refuse(&t, DT_FORMAT, "zero");
    one_tensor(&t, 0, NULL, 0, 0, 64);
    refuse(&t, DT_FORMAT, "0 dimensions");
    one_tensor(&t, 5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0, 64);
    refuse(&t, DT_FORMAT, "5 dimensions");
    one_tensor(&t, 1, (uint64_t[]){48}, 8, 0, 64);
    refuse(&t, DT_FORMAT, "no whole q8_0 blocks");
    one_tensor(&t, 1, (uint64_t[]){16}, 43, 0, 64);
    refuse(&t, DT_UNSUPPORTED, "type is 43");
    one_tensor(&t, 1, (uint64_t[]){16}, 0, 32, 96);
    refuse(&t, DT_FORMAT, "said to begin at byte 32");
    one_tensor(&t, 1, (uint64_t[]){16}, 0, 0, 65);
    refuse(&t, DT_FORMAT, "1 bytes follow the last tensor");
    one_tensor(&t, 1, (uint64_t[]){9}, 0, 0, 63);
    refuse(&t, DT_FORMAT, "within the padding");
}

static void gguf__tensors_share_no_bytes_and_no_name(void **state)
{
    dt_text t = {0};
    for (int kind = 0; kind < 2; kind++) {
        gg_header(&t, 3, 2, 0);
        gg_tensor(&t, "a", 1, (uint64_t[]){8}, 0, 0);
        gg_tensor(&t, kind ? "a" : "b", 1, (uint64_t[]){8}, 0, kind ? 32 : 0);
        gg_pad(&t, 32);
        dt_text_append(&t, (char[64]){0}, 64);
        refuse(&t, DT_FORMAT, kind ? "occurs twice" : "said to begin at byte 0");
    }
    gg_header(&t, 3, 1, 0);
    gg_tensor(&t, "a123456789b123456789c123456789d123456789e123456789f123456789g123", 1, (uint64_t[]){8}, 0,
              0);
    gg_pad(&t, 32);
    dt_text_append(&t, (char[32]){0}, 32);
    refuse(&t, DT_FORMAT, "its name has 64 bytes");
}

static dt_status vocabulary(const dt_text *t, dt_gguf **g, dt_gguf_vocabulary *v, dt_error *err)
{
    DT_PASS(gg_open(g, t, err));
    return dt_gguf_vocabulary_of(*g, v, err);
}

static void gguf__a_vocabulary_is_read_whole(void **state)
{
    dt_error err = {0};
    dt_gguf *g = NULL;
    dt_gguf_vocabulary v;
    dt_text t = {0};
    gg_header(&t, 3, 0, 7);
    gg_string(&t, "tokenizer.ggml.model", "gpt2");
    gg_array(&t, "tokenizer.ggml.tokens", DT_GGUF_STRING, 2);
    gg_text(&t, "a");
    gg_text(&t, "bc");
    gg_array(&t, "tokenizer.ggml.token_type", DT_GGUF_I32, 2);
    gg_number(&t, 1, 4);
    gg_number(&t, 3, 4);
    gg_u32(&t, "tokenizer.ggml.eos_token_id", 1);
    gg_u32(&t, "tokenizer.ggml.bos_token_id", UINT32_MAX);
    gg_string(&t, "tokenizer.chat_template", "{{ x }}");
    gg_string(&t, "tokenizer.chat_template.tool_use", "{{ y }}");
    assert_ok(vocabulary(&t, &g, &v, &err), err);
    assert_string_equal(v.model, "gpt2");
    assert_int_equal(v.token_count, 2);
    assert_memory_equal(v.token[1].data, "bc", 2);
    assert_int_equal(v.type[1], 3);
    assert_int_equal(v.eos, 1);
    assert_int_equal(v.bos, -1);
    assert_int_equal(v.add_bos, -1);
    assert_string_equal(v.chat_template, "{{ x }}");
    const char *other = NULL;
    assert_ok(dt_gguf_chat_template(g, "tool_use", &other, &err), err);
    assert_string_equal(other, "{{ y }}");
    dt_gguf_close(g);
    dt_text_free(&t);
}

static void gguf__hostile_vocabularies_are_refused(void **state)
{
    for (int kind = 0; kind < 3; kind++) {
        dt_error err = {0};
        dt_gguf *g = NULL;
        dt_gguf_vocabulary v;
        dt_text t = {0};
        gg_header(&t, 3, 0, 2);
        gg_array(&t, "tokenizer.ggml.tokens", DT_GGUF_STRING, 1);
        gg_text(&t, "a");
        if (kind == 0) {
            gg_array(&t, "tokenizer.ggml.scores", DT_GGUF_F32, 2);
            gg_number(&t, 0, 8);
        } else {
            gg_key(&t, "tokenizer.ggml.eos_token_id", kind == 1 ? DT_GGUF_U32 : DT_GGUF_I32);
            gg_number(&t, kind == 1 ? 1 : (uint32_t)-7, 4);
        }
        static const char *const words[] = {"has 2 entries", "is 1, but there are 1 tokens", "is -7"};
        assert_fails(vocabulary(&t, &g, &v, &err), DT_FORMAT, err, words[kind]);
        dt_gguf_close(g);
        dt_text_free(&t);
    }
}

static void gguf__published_vocabularies_are_read(void **state)
{
    glob_t found;
    char pattern[4096];
    const char *data = getenv("DT_DATA");
    snprintf(pattern, sizeof pattern, "%s/gguf/*.gguf", data ? data : "");
    if (glob(pattern, 0, NULL, &found) != 0)
        skip();
    for (size_t i = 0; i < found.gl_pathc; i++) {
        dt_error err = {0};
        dt_gguf *g = NULL;
        dt_gguf_vocabulary v;
        assert_true(dt_gguf_detect(found.gl_pathv[i]));
        assert_ok(dt_gguf_open(&g, found.gl_pathv[i], &err), err);
        assert_ok(dt_gguf_vocabulary_of(g, &v, &err), err);
        assert_true(v.model && v.token_count > 1000);
        dt_gguf_close(g);
    }
    globfree(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf__reads_every_kind_of_value),
        cmocka_unit_test(gguf__lists_tensors_with_their_places),
        cmocka_unit_test(gguf__other_files_are_refused_with_what_they_are),
        cmocka_unit_test(gguf__a_truncated_file_is_refused),
        cmocka_unit_test(gguf__hostile_counts_and_lengths_allocate_nothing),
        cmocka_unit_test(gguf__hostile_types_alignments_and_keys_are_refused),
        cmocka_unit_test(gguf__hostile_tensor_sizes_are_refused),
        cmocka_unit_test(gguf__tensors_share_no_bytes_and_no_name),
        cmocka_unit_test(gguf__a_vocabulary_is_read_whole),
        cmocka_unit_test(gguf__hostile_vocabularies_are_refused),
        cmocka_unit_test(gguf__published_vocabularies_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
