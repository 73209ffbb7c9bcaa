/* tiktoken_test.c - ranks make the merges, the encoding table what the file does not say; bad files tell why. */
#include "tokenizers.h"

/* All single bytes by their own number, then `more` lines. The caller frees it. */
static char *ranks(const char *more)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    dt_text text = {0};
    for (int i = 0; i < 256; i++)
        dt_text_printf(&text, "%c%c== %d\n", digits[i >> 2], digits[(i & 3) << 4], i);
    dt_text_put(&text, more);
    return text.data;
}

static dt_status read_ranks(dt_tokenizer **t, const char *more, const char *split, dt_error *err)
{
    char *text = ranks(more);
    *t = dt_tokenizer_blank();
    dt_status status = dt_tokenizer_read_tiktoken(*t, text, strlen(text), NULL, split, err);
    if (status == DT_OK)
        status = dt_added_finish(*t, err);
    if (status != DT_OK) {
        dt_tokenizer_close(*t);
        *t = NULL;
    }
    free(text);
    return status;
}

/* "th", "the", " the": the lowest rank first, and a whole piece that is a token before any merging. */
static void tiktoken__merges_by_rank(void **state)
{
    dt_error err = {0};
    dt_tokenizer *t;
    assert_ok(read_ranks(&t, "dGg= 256\nIHRoZQ== 257\ndGhl 258\n", "gpt2", &err), err);
    assert_ids(t, "the the", "258 257");
    assert_ids(t, "thethe 12", "258 258 32 49 50");
    assert_ids(t, " thex", "257 120"); /* in spite of its rank the pair " ", "the" comes after "th", "e" */
    int32_t id[] = {257, 258, 0xC3, 0xA9};
    size_t bytes;
    char *text = decoded(t, id, 4, false, &bytes);
    assert_string_equal(text, " thethe\xC3\xA9");
    dt_free(text);
    dt_tokenizer_close(t);
}

static void tiktoken__split_by_name(void **state)
{
    dt_error err = {0};
    dt_tokenizer *t;
    assert_ok(read_ranks(&t, "MTI= 256\nMTIz 257\nMTIzNA== 258\n", "cl100k", &err), err);
    assert_ids(t, "1234", "257 52");
    dt_tokenizer_close(t);
    assert_ok(read_ranks(&t, "MTI= 256\nMTIz 257\nMTIzNA== 258\n", "gpt2", &err), err);
    assert_ids(t, "1234", "258");
    dt_tokenizer_close(t);
}

static void tiktoken__bad_files_tell_why(void **state)
{
    dt_error err = {0};
    dt_tokenizer *t;
    assert_fails(read_ranks(&t, "", NULL, &err), DT_UNSUPPORTED, err, "--split");
    assert_fails(read_ranks(&t, "", "none", &err), DT_INVALID, err, "cl100k");
    assert_fails(read_ranks(&t, "dGg= 256\ndGg= 257\n", "gpt2", &err), DT_FORMAT, err, "line 258");
    assert_fails(read_ranks(&t, "dGg= 255\n", "gpt2", &err), DT_FORMAT, err, "line 257");
    assert_fails(read_ranks(&t, "dGg=\n", "gpt2", &err), DT_FORMAT, err, "no space");
    assert_fails(read_ranks(&t, "d*g= 256\n", "gpt2", &err), DT_FORMAT, err, "not base64");
    assert_fails(read_ranks(&t, "dGg= 1x\n", "gpt2", &err), DT_FORMAT, err, "not a number");
    assert_fails(read_ranks(&t, "dGg= 999999999\n", "gpt2", &err), DT_FORMAT, err, "too large");
}

/* Special tokens: named by the encoding, found in texts only where the model's own tokenizer does so. */
static void tiktoken__known_encodings(void **state)
{
    const char *data = getenv("DT_DATA");
    char path[4096];
    dt_error err = {0};
    dt_tokenizer *t;
    if (!data || !dt_is_file(joined(path, data, "tokenizers/llama3/tokenizer.model")))
        skip();
    assert_ok(dt_tokenizer_open(&t, path, &err), err);
    assert_int_equal(dt_tokenizer_vocab_size(t), 128256);
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_BOS), 128000);
    assert_ids(t, "<|eot_id|>", "128000 128009");
    assert_string_equal(dt_tokenizer_token(t, 128255), "<|reserved_special_token_247|>");
    dt_tokenizer_close(t);
    assert_ok(dt_tokenizer_open(&t, joined(path, data, "tokenizers/tiktoken/cl100k_base.tiktoken"), &err),
              err);
    assert_int_equal(dt_tokenizer_vocab_size(t), 100277);
    assert_int_equal(dt_tokenizer_id(t, "<|endofprompt|>"), 100276);
    assert_string_equal(dt_tokenizer_token(t, 100257), "<|endoftext|>");
    assert_ids(t, "<|endoftext|>", "27 91 8862 728 428 91 29"); /* as tiktoken's encode_ordinary */
    dt_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiktoken__merges_by_rank),
        cmocka_unit_test(tiktoken__split_by_name),
        cmocka_unit_test(tiktoken__bad_files_tell_why),
        cmocka_unit_test(tiktoken__known_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
