/* gguf_vocabulary_test.c - tokenizers inside GGUF: each kind becomes what it was made from; what is missing is told. */
#include "../base/gguf_build.h"
#include "tokenizers.h"

#define LOW "\xE2\x96\x81"

static void strings(dt_text *t, const char *key, const char *const *text, size_t count)
{
    gg_array(t, key, DT_GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        gg_text(t, text[i]);
}

static dt_status read_file(dt_tokenizer **out, dt_text *file, dt_error *err)
{
    dt_gguf *g = NULL;
    *out = dt_tokenizer_blank();
    assert_ok(gg_open(&g, file, err), *err);
    dt_status status = dt_tokenizer_read_gguf(*out, g, err);
    dt_gguf_close(g);
    dt_text_free(file);
    if (status == DT_OK)
        status = dt_added_finish(*out, err);
    if (status != DT_OK) {
        dt_tokenizer_close(*out);
        *out = NULL;
    }
    return status;
}

static const char *const words[] = {"[UNK]", "[CLS]", "[SEP]", LOW "he", "llo", LOW "w", "##x"};

static void bert_file(dt_text *file)
{
    gg_header(file, 3, 0, 6);
    gg_string(file, "tokenizer.ggml.model", "bert");
    strings(file, "tokenizer.ggml.tokens", words, 7);
    gg_array(file, "tokenizer.ggml.token_type", DT_GGUF_I32, 7);
    for (int i = 0; i < 7; i++)
        gg_number(file, i == 0 ? 2 : i < 3 ? 3 : 1, 4);
    gg_u32(file, "tokenizer.ggml.unknown_token_id", 0);
    gg_u32(file, "tokenizer.ggml.cls_token_id", 1);
    gg_u32(file, "tokenizer.ggml.seperator_token_id", 2);
}

static void gguf_vocabulary__bert_tokens_are_spelled_back(void **state)
{
    dt_text file = {0};
    dt_error err = {0};
    dt_tokenizer *t;
    bert_file(&file);
    assert_ok(read_file(&t, &file, &err), err);
    assert_ids(t, "Hello w ww [SEP]", "1 3 4 5 0 2 2");
    assert_string_equal(dt_tokenizer_token(t, 4), "##llo");
    dt_tokenizer_close(t);
}

static void t5_file(dt_text *file, bool scores)
{
    static const char *const piece[] = {"<pad>", "</s>", "<unk>", LOW, "h", "e", LOW "he", "ho"};
    static const float score[] = {0, 0, 0, -2, -5, -5, -4, -3};
    gg_header(file, 3, 0, scores ? 6 : 5);
    gg_string(file, "tokenizer.ggml.model", "t5");
    strings(file, "tokenizer.ggml.tokens", piece, 8);
    gg_array(file, "tokenizer.ggml.token_type", DT_GGUF_I32, 8);
    for (int i = 0; i < 8; i++)
        gg_number(file, i == 2 ? 2 : i < 2 ? 3 : 1, 4);
    gg_u32(file, "tokenizer.ggml.unknown_token_id", 2);
    gg_u32(file, "tokenizer.ggml.eos_token_id", 1);
    if (!scores)
        return;
    gg_array(file, "tokenizer.ggml.scores", DT_GGUF_F32, 8);
    for (int i = 0; i < 8; i++) {
        uint32_t bits;
        memcpy(&bits, &score[i], 4);
        gg_number(file, bits, 4);
    }
}

static void gguf_vocabulary__t5_is_a_unigram_model(void **state)
{
    dt_text file = {0};
    dt_error err = {0};
    dt_tokenizer *t;
    t5_file(&file, true);
    assert_ok(read_file(&t, &file, &err), err);
    assert_string_equal(dt_tokenizer_kind(t), "unigram");
    assert_ids(t, " he  ho", "6 3 7 1"); /* spaces at the ends and twice go, as in sentencepiece */
    assert_ids(t, "hez</s>", "6 2 1 1");
    dt_tokenizer_close(t);
}

static void gguf_vocabulary__what_is_missing_is_told(void **state)
{
    dt_text file = {0};
    dt_error err = {0};
    dt_tokenizer *t;
    t5_file(&file, false);
    assert_fails(read_file(&t, &file, &err), DT_FORMAT, err, "tokenizer.ggml.scores");
    gg_header(&file, 3, 0, 0);
    assert_fails(read_file(&t, &file, &err), DT_NOT_FOUND, err, "no tokenizer");
    gg_header(&file, 3, 0, 2);
    gg_string(&file, "tokenizer.ggml.model", "rwkv");
    strings(&file, "tokenizer.ggml.tokens", words, 7);
    assert_fails(read_file(&t, &file, &err), DT_UNSUPPORTED, err, "rwkv");
    gg_header(&file, 3, 0, 3);
    gg_string(&file, "tokenizer.ggml.model", "gpt2");
    gg_string(&file, "tokenizer.ggml.pre", "nonesuch");
    strings(&file, "tokenizer.ggml.tokens", words, 7);
    assert_fails(read_file(&t, &file, &err), DT_UNSUPPORTED, err, "nonesuch");
    gg_header(&file, 3, 0, 4);
    gg_string(&file, "tokenizer.ggml.model", "gpt2");
    gg_string(&file, "tokenizer.ggml.pre", "gpt-2");
    strings(&file, "tokenizer.ggml.tokens", words, 7);
    strings(&file, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
    assert_fails(read_file(&t, &file, &err), DT_FORMAT, err, "merge 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_vocabulary__bert_tokens_are_spelled_back),
        cmocka_unit_test(gguf_vocabulary__t5_is_a_unigram_model),
        cmocka_unit_test(gguf_vocabulary__what_is_missing_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
