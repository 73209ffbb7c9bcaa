/*
 * gguf_words_test.c - tokenizers in GGUF's words and back, and as files: they must encode as before. What GGUF has no
 * words for is told by name.
 */
#include "tokenizers.h"

#include "data/tokenizer/gguf_words.h"

/* NULL when the folder with the published tokenizers is not there. */
static dt_tokenizer *published(const char *name)
{
    const char *root = getenv("DT_FIXTURES");
    char path[4096];
    dt_error err = {0};
    dt_tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/../data/tokenizers/%s", root ? root : "", name);
    if (!dt_is_folder(path) && !dt_is_file(path))
        return NULL;
    assert_ok(dt_tokenizer_open(&t, path, &err), err);
    return t;
}

static void assert_alike(const dt_tokenizer *a, const dt_tokenizer *b, const char *name)
{
    dt_error err = {0};
    int texts = 0, differ = 0;
    const char *first = NULL;
    dt_arena *arena = dt_arena_create();
    assert_ok(dt_tokenizer_differences(a, b, arena, &texts, &differ, &first, &err), err);
    assert_true(texts > 40);
    if (differ)
        fail_msg("%s: %d of %d texts are encoded otherwise, first \"%s\"", name, differ, texts, first);
    dt_arena_destroy(arena);
}

/* Through a description, and through the files made from it. */
static void assert_comes_back(const dt_tokenizer *t, const char *model, const char *pre, const char *folder,
                              const char *name)
{
    dt_error err = {0};
    dt_gguf_vocabulary v;
    dt_tokenizer *back = NULL;
    int files = 0;
    dt_arena *arena = dt_arena_create();
    assert_ok(dt_tokenizer_to_gguf(t, arena, &v, &err), err);
    assert_string_equal(v.model, model);
    assert_string_equal(v.pre, pre);
    assert_ok(dt_tokenizer_of_gguf(&back, &v, &err), err);
    assert_alike(t, back, name);
    dt_tokenizer_close(back);
    v.chat_template = "{{ messages }}";
    assert_ok(dt_gguf_vocabulary_write(&v, folder, &files, &err), err);
    assert_int_equal(files, 2);
    assert_ok(dt_tokenizer_open(&back, folder, &err), err);
    assert_alike(t, back, name);
    dt_tokenizer_close(back);
    dt_arena_destroy(arena);
}

static const struct {
    const char *name, *model, *pre;
} sources[] = {
    {"gpt2", "gpt2", "gpt-2"},
    {"roberta", "gpt2", "gpt-2"},
    {"llama3", "gpt2", "llama-bpe"},
    {"tiktoken/cl100k_base.tiktoken", "gpt2", "llama-bpe"},
    {"llama2/tokenizer.model", "llama", "default"},
    {"llama2/tokenizer.repaired.json", "llama", "default"},
    {"t5/spiece.model", "t5", "default"},
    {"t5/tokenizer.json", "t5", "default"},
    {"sentencepiece/test_model.model", "t5", "default"},
    {"sentencepiece/test_ja_model.model", "t5", "default"},
    {"bert/bert-base-uncased-vocab.txt", "bert", "default"},
};

static void gguf_words__published_tokenizers_encode_as_before(void **state)
{
    int seen = 0;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        char folder[4096];
        dt_error err = {0};
        dt_tokenizer *t = published(sources[i].name);
        if (!t)
            continue;
        snprintf(folder, sizeof folder, "%s/%zu", (const char *)*state, i);
        assert_ok(dt_make_folder(folder, &err), err);
        assert_comes_back(t, sources[i].model, sources[i].pre, folder, sources[i].name);
        dt_tokenizer_close(t);
        seen++;
    }
    if (!seen)
        skip();
}

/* Byte-level BPE of 256 letters would be long to write: one that knows a few is cut alike. */
#define MODEL                                                                                                \
    "'model': {'type': 'BPE', 'vocab': {'a': 0, 'b': 1, 'ab': 2, '\xC4\xA0': 3, '1': 4}, 'merges': ['a b']}"
#define SPLIT(pattern) "{'type': 'Split', 'pattern': {'Regex': '" pattern "'}, 'behavior': 'Isolated'}"
#define BYTES(regex)                                                                                         \
    "{'type': 'ByteLevel', 'add_prefix_space': false, 'trim_offsets': true, 'use_regex': " regex "}"

static const char *pre_of(const char *document)
{
    static char pre[64];
    dt_error err = {0};
    dt_gguf_vocabulary v;
    dt_arena *arena = dt_arena_create();
    dt_tokenizer *t = quoted(document);
    dt_status status = dt_tokenizer_to_gguf(t, arena, &v, &err);
    snprintf(pre, sizeof pre, "%s", status == DT_OK ? v.pre : "refused");
    dt_tokenizer_close(t);
    dt_arena_destroy(arena);
    return pre;
}

static void gguf_words__splits_are_known_by_their_patterns(void **state)
{
    (void)state;
    assert_string_equal(pre_of("{" MODEL ", 'pre_tokenizer': " BYTES("true") "}"), "gpt-2");
    assert_string_equal(pre_of("{" MODEL ", 'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': ["
                               "{'type': 'Digits', 'individual_digits': true}, " BYTES("true") "]}}"),
                        "starcoder");
    assert_string_equal(pre_of("{" MODEL ", 'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': ["
                               "{'type': 'Punctuation', 'behavior': 'Contiguous'}, " BYTES("true") ", " SPLIT(
                                   "[0-9][0-9][0-9]") ", " BYTES("false") "]}}"),
                        "falcon");
    assert_string_equal(pre_of("{" MODEL ", 'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [" SPLIT(
                            "x+") ", " BYTES("false") "]}}"),
                        "refused");
}

static void assert_refused(const char *document, const char *why)
{
    dt_error err = {0};
    dt_gguf_vocabulary v;
    dt_arena *arena = dt_arena_create();
    dt_tokenizer *t = quoted(document);
    assert_fails(dt_tokenizer_to_gguf(t, arena, &v, &err), DT_UNSUPPORTED, err, why);
    dt_tokenizer_close(t);
    dt_arena_destroy(arena);
}

static void gguf_words__what_has_no_words_is_named(void **state)
{
    (void)state;
    assert_refused("{" MODEL ", 'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': true}}",
                   "add_prefix_space");
    assert_refused("{" MODEL ", 'normalizer': {'type': 'Lowercase'}, 'pre_tokenizer': " BYTES("true") "}",
                   "Lowercase");
    assert_refused("{'model': {'type': 'WordPiece', 'vocab': {'[UNK]': 0, 'a': 1}, 'unk_token': '[UNK]'}, "
                   "'normalizer': {'type': 'BertNormalizer', 'lowercase': false}, "
                   "'pre_tokenizer': {'type': 'BertPreTokenizer'}}",
                   "keeps case");
    assert_refused("{'model': {'type': 'WordLevel', 'vocab': {'a': 0}}}", "without an unknown token");
}

/* Ids without a token are padding, added tokens keep their kind. */
static void gguf_words__tokens_have_their_types(void **state)
{
    (void)state;
    dt_error err = {0};
    dt_gguf_vocabulary v;
    dt_arena *arena = dt_arena_create();
    dt_tokenizer *t =
        quoted("{'model': {'type': 'WordLevel', 'vocab': {'a': 0, '<unk>': 1}, 'unk_token': '<unk>'}, "
               "'added_tokens': [{'id': 3, 'content': '<s>', 'special': true}, "
               "{'id': 4, 'content': 'own', 'special': false}]}");
    assert_ok(dt_tokenizer_to_gguf(t, arena, &v, &err), err);
    assert_int_equal(v.token_count, 5);
    assert_int_equal(v.type[0], DT_PIECE_NORMAL);
    assert_int_equal(v.type[1], DT_PIECE_UNKNOWN);
    assert_int_equal(v.type[2], DT_PIECE_UNUSED);
    assert_memory_equal(v.token[2].data, "[PAD2]", 6);
    assert_int_equal(v.type[3], DT_PIECE_CONTROL);
    assert_int_equal(v.type[4], DT_PIECE_USER_DEFINED);
    dt_tokenizer_close(t);
    dt_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gguf_words__published_tokenizers_encode_as_before, make_folder,
                                        remove_folder),
        cmocka_unit_test(gguf_words__splits_are_known_by_their_patterns),
        cmocka_unit_test(gguf_words__what_has_no_words_is_named),
        cmocka_unit_test(gguf_words__tokens_have_their_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
