/* tokenizer_test.c - opening files and folders, options, streaming, long texts, and every way to be refused. */
#include "tokenizers.h"

#define SMALL                                                                                                \
    "{'added_tokens': [{'id': 1, 'content': '<s>', 'special': true}], 'pre_tokenizer': {'type': "            \
    "'ByteLevel', "                                                                                          \
    "'add_prefix_space': false}, 'decoder': {'type': 'ByteLevel'}, 'post_processor': {'type': "              \
    "'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>'}}, {'Sequence': {'id': 'A'}}], "         \
    "'special_tokens': {'<s>': {'ids': [1]}}}, 'model': {'type': 'BPE', 'vocab': {'<unk>': 0, '<s>': 1, "    \
    "'a': 2, 'b': 3, 'ab': 4, '\\u0120': 5, '<': 6, 's': 7, '>': 8, '\\u00c3': 9, '\\u00a9': 10}, "          \
    "'merges': ['a b']}}"

static void tokenizer__options_leave_out_and_flatten_specials(void **state)
{
    dt_tokenizer *t = quoted(SMALL);
    assert_ids(t, "ab a", "1 4 5 2");
    assert_ids(t, "a<s>b", "1 2 1 3");
    assert_ids(t, "", "1");
    assert_string_equal(ids_of(t, "a<s>", 4, (dt_encode_options){.no_special = true}), "2 1");
    assert_string_equal(ids_of(t, "a<s>", 4, (dt_encode_options){.plain_special = true}), "1 2 6 7 8");
    assert_int_equal(dt_tokenizer_vocab_size(t), 11);
    assert_int_equal(dt_tokenizer_id(t, "ab"), 4);
    assert_int_equal(dt_tokenizer_id(t, "no"), -1);
    assert_string_equal(dt_tokenizer_token(t, 4), "ab");
    assert_null(dt_tokenizer_token(t, 11));
    assert_true(dt_tokenizer_is_special(t, 1) && !dt_tokenizer_is_special(t, 2));
    assert_string_equal(dt_tokenizer_kind(t), "bpe");
    dt_tokenizer_close(t);
}

static void tokenizer__streaming_never_splits_a_character(void **state)
{
    dt_tokenizer *t = quoted(SMALL);
    dt_error err = {0};
    dt_decode_stream *stream;
    const char *piece;
    size_t bytes;
    assert_ok(dt_decode_stream_create(&stream, t, true, &err), err);
    assert_ok(dt_decode_stream_push(stream, 1, &piece, &bytes, &err), err);
    assert_int_equal(bytes, 0); /* special */
    assert_ok(dt_decode_stream_push(stream, 9, &piece, &bytes, &err), err);
    assert_int_equal(bytes, 0); /* the first byte of é */
    assert_ok(dt_decode_stream_push(stream, 10, &piece, &bytes, &err), err);
    assert_string_equal(piece, "\xC3\xA9");
    assert_ok(dt_decode_stream_push(stream, 9, &piece, &bytes, &err), err);
    assert_ok(dt_decode_stream_finish(stream, &piece, &bytes, &err), err);
    assert_string_equal(piece, DT_REPLACEMENT);
    dt_decode_stream_destroy(stream);
    assert_fails(dt_tokenizer_decode(t, (int32_t[]){2, 99}, 2, false, (char **)&piece, &bytes, &err),
                 DT_INVALID, err, "token id 99");
    assert_fails(dt_tokenizer_decode(t, (int32_t[]){2, -1}, 2, false, (char **)&piece, &bytes, &err),
                 DT_INVALID, err, "token 2 of 2");
    dt_tokenizer_close(t);
}

/* A megabyte without a break, in each model: quadratic code would need hours. */
static void tokenizer__a_word_of_a_megabyte_is_no_attack(void **state)
{
    static const char *const documents[] = {
        SMALL,
        "{'model': {'type': 'BPE', 'ignore_merges': true, 'vocab': {'a': 0, 'aa': 1, 'aaaa': 2}, 'merges': "
        "['a a', 'aa aa']}}",
        "{'model': {'type': 'Unigram', 'unk_id': 0, 'vocab': [['<unk>', 0], ['a', -1], ['aa', -1.5], "
        "['aaaa', -2]]}}",
        "{'model': {'type': 'WordPiece', 'unk_token': '?', 'max_input_chars_per_word': 10000000, 'vocab': "
        "{'?': 0, 'a': 1, '##aa': 2, '##a': 3}}}",
        "{'pre_tokenizer': {'type': 'ByteLevel'}, 'model': {'type': 'BPE', 'vocab': {'\\u0120': 0, "
        "'\\u0120\\u0120': 1}, 'merges': ['\\u0120 \\u0120']}}",
    };
    enum { MEGABYTE = 1 << 20 };
    char *text = malloc(MEGABYTE);
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        dt_tokenizer *t = quoted(documents[i]);
        dt_error err = {0};
        int32_t *ids;
        size_t count;
        memset(text, i == 4 ? ' ' : 'a', MEGABYTE);
        assert_ok(dt_tokenizer_encode(t, text, MEGABYTE, NULL, &ids, &count, &err), err);
        assert_true(count >= MEGABYTE / 4);
        dt_free(ids);
        dt_tokenizer_close(t);
    }
    free(text);
}

static void tokenizer__names_what_is_wrong_in_a_document(void **state)
{
    static const struct {
        const char *document;
        dt_status status;
        const char *words;
    } rows[] = {
        {"{}", DT_FORMAT, "no \"model\""},
        {"{'model': 1}", DT_FORMAT, "model is not an object"},
        {"{'model': {'type': 'Char', 'vocab': {}}}", DT_UNSUPPORTED, "type \"Char\"; known are BPE, Unigram"},
        {"{'model': {'type': 'BPE', 'merges': []}}", DT_FORMAT, "\"vocab\" is not an object"},
        {"{'model': {'type': 'BPE', 'vocab': {'a': -1}, 'merges': []}}", DT_FORMAT, "the id of \"a\""},
        {"{'model': {'type': 'BPE', 'vocab': {'a': 4294967296}, 'merges': []}}", DT_FORMAT,
         "the id of \"a\""},
        {"{'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': ['a']}}", DT_FORMAT,
         "merge 0 is not two tokens"},
        {"{'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': ['a  a']}}", DT_FORMAT,
         "merge 0 is not two tokens"},
        {"{'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': ['a b']}}", DT_FORMAT,
         "merge 0: \"b\" is not"},
        {"{'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': ['a a']}}", DT_FORMAT,
         "\"aa\" is not in the"},
        {"{'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': {}}}", DT_FORMAT,
         "\"merges\" is not an array"},
        {"{'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': [], 'unk_token': 'u'}}", DT_FORMAT,
         "unk_token \"u\""},
        {"{'model': {'type': 'Unigram', 'unk_id': 0, 'vocab': {}}}", DT_FORMAT,
         "not an array of [piece, score]"},
        {"{'model': {'type': 'Unigram', 'unk_id': 0, 'vocab': [['a']]}}", DT_FORMAT, "\"vocab\"[0]"},
        {"{'model': {'type': 'Unigram', 'unk_id': 5, 'vocab': [['a', 0]]}}", DT_FORMAT, "unk_id is 5"},
        {"{'model': {'type': 'WordPiece', 'vocab': {'a': 0}}}", DT_FORMAT, "unk_token \"[UNK]\""},
        {"{'normalizer': {'type': 'Odd'}, 'model': {'vocab': {}}}", DT_UNSUPPORTED,
         "normalizer of type \"Odd\""},
        {"{'normalizer': {}, 'model': {'vocab': {}}}", DT_FORMAT, "a normalizer has no \"type\""},
        {"{'normalizer': {'type': 'Replace', 'content': ''}, 'model': {'vocab': {}}}", DT_FORMAT,
         "\"pattern\" is neither"},
        {"{'normalizer': {'type': 'Precompiled', 'precompiled_charsmap': '!'}, 'model': {'vocab': {}}}",
         DT_FORMAT, "is not base64"},
        {"{'normalizer': {'type': 'Precompiled', 'precompiled_charsmap': 'AAA='}, 'model': {'vocab': {}}}",
         DT_FORMAT, "too short"},
        {"{'normalizer': {'type': 'Precompiled', 'precompiled_charsmap': '/////wAA'}, 'model': {'vocab': "
         "{}}}",
         DT_FORMAT, "claims a trie"},
        {"{'normalizer': {'type': 'Precompiled', 'precompiled_charsmap': 'BAAAAAAAAABh'}, 'model': {'vocab': "
         "{}}}",
         DT_FORMAT, "do not end in a NUL"},
        {"{'pre_tokenizer': {'type': 'Odd'}, 'model': {'vocab': {}}}", DT_UNSUPPORTED,
         "pre_tokenizer of type \"Odd\""},
        {"{'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': 1}, 'model': {'vocab': {}}}", DT_FORMAT,
         "must be an array"},
        {"{'pre_tokenizer': {'type': 'Split', 'behavior': 'x', 'pattern': {'String': 'a'}}, 'model': "
         "{'vocab': {}}}",
         DT_UNSUPPORTED, "behavior \"x\""},
        {"{'pre_tokenizer': {'type': 'Split', 'pattern': {'Regex': '('}}, 'model': {'vocab': {}}}", DT_FORMAT,
         "while reading the pre-tokenizer Split"},
        {"{'pre_tokenizer': {'type': 'Metaspace', 'prepend_scheme': 'x'}, 'model': {'vocab': {}}}",
         DT_UNSUPPORTED, "prepend_scheme \"x\""},
        {"{'pre_tokenizer': {'type': 'FixedLength', 'length': 0}, 'model': {'vocab': {}}}", DT_FORMAT,
         "\"length\" is 0"},
        {"{'pre_tokenizer': {'type': 'CharDelimiterSplit'}, 'model': {'vocab': {}}}", DT_FORMAT,
         "\"delimiter\""},
        {"{'post_processor': {'type': 'Odd'}, 'model': {'vocab': {}}}", DT_UNSUPPORTED,
         "post_processor of type \"Odd\""},
        {"{'post_processor': {'type': 'TemplateProcessing', 'single': [{'Sequence': {'id': 'B'}}]}, 'model': "
         "{'vocab': {}}}",
         DT_FORMAT, "sequence \"B\""},
        {"{'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': 'x'}}]}, "
         "'model': {'vocab': {}}}",
         DT_FORMAT, "the ids of \"x\""},
        {"{'post_processor': {'type': 'BertProcessing', 'cls': ['a', -1]}, 'model': {'vocab': {}}}",
         DT_FORMAT, "\"cls\""},
        {"{'decoder': {'type': 'Odd'}, 'model': {'vocab': {}}}", DT_UNSUPPORTED, "decoder of type \"Odd\""},
        {"{'decoder': {'type': 'Strip', 'content': '', 'start': 0, 'stop': 0}, 'model': {'vocab': {}}}",
         DT_FORMAT, "\"content\""},
        {"{'added_tokens': 1, 'model': {'vocab': {}}}", DT_FORMAT, "\"added_tokens\" is not an array"},
        {"{'added_tokens': [{'content': 'a', 'id': 'x'}], 'model': {'vocab': {}}}", DT_FORMAT,
         "added_tokens[0]"},
        {"{'added_tokens': [{'content': 'a', 'id': 999999999}], 'model': {'vocab': {}}}", DT_FORMAT,
         "\"id\" of \"a\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dt_error err = {0};
        dt_tokenizer *t = NULL;
        assert_fails(read_quoted(&t, rows[i].document, &err), rows[i].status, err, rows[i].words);
        assert_null(t);
    }
}

static void tokenizer__sequences_that_never_end_are_refused(void **state)
{
    dt_text text = {0};
    dt_error err = {0};
    dt_tokenizer *t;
    dt_text_put(&text, "{'model': {'vocab': {}}, 'normalizer': ");
    for (int i = 0; i < 30; i++)
        dt_text_put(&text, "{'type': 'Sequence', 'normalizers': [");
    dt_text_put(&text, "{'type': 'NFC'}");
    for (int i = 0; i < 30; i++)
        dt_text_put(&text, "]}");
    dt_text_put(&text, "}");
    assert_fails(read_quoted(&t, text.data, &err), DT_FORMAT, err, "nested at most 16 deep");
    dt_text_clear(&text);
    dt_text_put(
        &text, "{'model': {'vocab': {}}, 'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'NFC'}");
    for (int i = 0; i < 100; i++)
        dt_text_put(&text, ", {'type': 'NFC'}");
    dt_text_put(&text, "]}}");
    assert_fails(read_quoted(&t, text.data, &err), DT_LIMIT, err, "more than 64 normalizers");
    dt_text_free(&text);
}

static void tokenizer__a_word_without_unknown_token_is_an_error(void **state)
{
    dt_tokenizer *t = quoted("{'model': {'type': 'WordLevel', 'vocab': {'a': 0}}}");
    dt_error err = {0};
    int32_t *ids;
    size_t count;
    assert_fails(dt_tokenizer_encode(t, "b", 1, NULL, &ids, &count, &err), DT_INVALID, err,
                 "\"b\" is not in the vocabulary");
    assert_null(ids);
    dt_tokenizer_close(t);
}

static void put_text(const char *folder, const char *name, const char *text)
{
    char *copy = strdup(text);
    for (char *at = copy; *at; at++)
        if (*at == '\'')
            *at = '"';
    put_file(in_folder(folder, name), copy, strlen(copy));
    free(copy);
}

static dt_tokenizer *opened(const char *path)
{
    dt_error err = {0};
    dt_tokenizer *t;
    assert_ok(dt_tokenizer_open(&t, path, &err), err);
    return t;
}

static void tokenizer__byt5_needs_no_file(void **state)
{
    put_text(*state, "tokenizer_config.json", "{'tokenizer_class': 'ByT5Tokenizer', 'eos_token': '</s>'}");
    dt_tokenizer *t = opened(*state);
    size_t bytes;
    assert_string_equal(dt_tokenizer_kind(t), "byte");
    assert_int_equal(dt_tokenizer_vocab_size(t), 384);
    assert_ids(t, "h\xC3\xA9</s> a <extra_id_1> b", "107 198 172 1 100 35 260 35 101 1");
    assert_ids(t, "a <pad> b", "100 0 101 1");
    char *text = decoded(t, (int32_t[]){107, 198, 1, 50, 0, 259, 300}, 7, false, &bytes);
    assert_string_equal(
        text, "h</s>/<pad><extra_id_0><extra_id_41>"); /* half a character is dropped, not replaced */
    dt_free(text);
    text = decoded(t, (int32_t[]){107, 198, 1, 50, 0, 259, 300}, 7, true, &bytes);
    assert_string_equal(text, "h/");
    dt_free(text);
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_EOS), 1);
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_PAD), 0);
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_BOS), -1);
    dt_tokenizer_close(t);
}

static void tokenizer__a_vocabulary_and_merges_make_gpt2(void **state)
{
    put_text(*state, "vocab.json", "{'a': 0, 'b': 1, 'ab': 2, '\\u0120': 3, '<|endoftext|>': 4}");
    put_text(*state, "merges.txt", "#version: 0.2\na b\n");
    dt_tokenizer *t = opened(*state);
    assert_ids(t, "ab b<|endoftext|>a", "2 3 1 4 0");
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_EOS), 4);
    dt_tokenizer_close(t);
    put_text(*state, "merges.txt", "a \xFF\n");
    dt_error err = {0};
    assert_fails(dt_tokenizer_open(&t, *state, &err), DT_FORMAT, err, "line 1 is not UTF-8");
}

static void tokenizer__a_word_list_makes_bert(void **state)
{
    put_text(*state, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncafe\n##s\n.\n");
    dt_tokenizer *t = opened(*state);
    assert_ids(t, "The CAF\xC3\x89s. [MASK] x", "2 5 6 7 8 4 1 3");
    dt_tokenizer_close(t);
    put_text(*state, "tokenizer_config.json", "{'do_lower_case': false}");
    t = opened(*state);
    assert_ids(t, "The cafe", "2 1 6 3");
    dt_tokenizer_close(t);
}

static void tokenizer__the_config_says_what_llama_adds(void **state)
{
    put_text(*state, "tokenizer.json",
             "{'added_tokens': [], 'model': {'type': 'WordLevel', 'unk_token': '<unk>', 'vocab': "
             "{'<unk>': 0, '<s>': 1, '</s>': 2, 'a': 3}}}");
    dt_tokenizer *t = opened(*state);
    assert_ids(t, "a", "3");
    dt_tokenizer_close(t);
    put_text(*state, "tokenizer_config.json",
             "{'tokenizer_class': 'LlamaTokenizer', 'add_bos_token': true, 'add_eos_token': true,"
             " 'bos_token': {'content': '<s>'}, 'eos_token': '</s>', 'added_tokens_decoder': "
             "{'7': {'content': '<x>', 'special': true}}}");
    t = opened(*state);
    assert_ids(t, "a", "1 3 2");
    assert_ids(t, "a<x>", "1 3 7 2");
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_BOS), 1);
    dt_tokenizer_close(t);
    put_text(*state, "tokenizer_config.json",
             "{'tokenizer_class': 'LlamaTokenizer', 'add_bos_token': true, 'bos_token': '<no>'}");
    dt_error err = {0};
    assert_fails(dt_tokenizer_open(&t, *state, &err), DT_FORMAT, err, "the token \"<no>\"");
    put_text(*state, "tokenizer_config.json", "{'added_tokens_decoder': {'x': {'content': 'y'}}}");
    assert_fails(dt_tokenizer_open(&t, *state, &err), DT_FORMAT, err, "added_tokens_decoder: \"x\"");
}

static void tokenizer__says_which_file_is_missing_or_not_readable(void **state)
{
    dt_tokenizer *t;
    dt_error err = {0};
    assert_fails(dt_tokenizer_open(&t, *state, &err), DT_NOT_FOUND, err, "looked for tokenizer.json");
    assert_fails(dt_tokenizer_open(&t, in_folder(*state, "none"), &err), DT_NOT_FOUND, err, "none");
    put_text(*state, "t.json", "{'model': ");
    assert_fails(dt_tokenizer_open(&t, in_folder(*state, "t.json"), &err), DT_FORMAT, err, "t.json");
    put_text(*state, "x.tiktoken", "IQ== 0\nIg== 1\n");
    assert_fails(dt_tokenizer_open(&t, in_folder(*state, "x.tiktoken"), &err), DT_FORMAT, err, "tiktoken");
    put_text(*state, "x.gguf", "GGUF....");
    assert_fails(dt_tokenizer_open(&t, in_folder(*state, "x.gguf"), &err), DT_UNSUPPORTED, err, "version");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer__options_leave_out_and_flatten_specials),
        cmocka_unit_test(tokenizer__streaming_never_splits_a_character),
        cmocka_unit_test(tokenizer__a_word_of_a_megabyte_is_no_attack),
        cmocka_unit_test(tokenizer__names_what_is_wrong_in_a_document),
        cmocka_unit_test(tokenizer__sequences_that_never_end_are_refused),
        cmocka_unit_test(tokenizer__a_word_without_unknown_token_is_an_error),
        cmocka_unit_test_setup_teardown(tokenizer__byt5_needs_no_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(tokenizer__a_vocabulary_and_merges_make_gpt2, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(tokenizer__a_word_list_makes_bert, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(tokenizer__the_config_says_what_llama_adds, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(tokenizer__says_which_file_is_missing_or_not_readable, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
