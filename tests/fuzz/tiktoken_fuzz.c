/* tiktoken_fuzz.c - any bytes as a file of ranks: refused with a story, or a tokenizer that holds its promises. */
#include "tokenizer_fuzz.h"

/* The 256 single bytes come before the input, or hardly any would be accepted. */
static char *with_bytes(const uint8_t *data, size_t bytes, size_t *total)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc(256 * 16 + bytes);
    size_t at = 0;
    for (int i = 0; i < 256; i++)
        at += (size_t)sprintf(text + at, "%c%c== %d\n", digits[i >> 2], digits[(i & 3) << 4], i);
    memcpy(text + at, data, bytes);
    *total = at + bytes;
    return text;
}

static void read_ranks(const char *data, size_t bytes, const char *split)
{
    dt_error err = {0};
    dt_tokenizer *t = dt_tokenizer_blank();
    dt_status status = dt_tokenizer_read_tiktoken(t, data, bytes, NULL, split, &err);
    if (status == DT_OK)
        status = dt_added_finish(t, &err);
    assert(status == DT_OK || err.line_count > 0);
    if (status == DT_OK)
        use(t);
    dt_tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const splits[] = {"gpt2",   "cl100k", "qwen2",         "o200k",
                                         "tekken", "falcon", "deepseek-coder"};
    const char *split = bytes > 0 ? splits[data[0] % (sizeof splits / sizeof *splits)] : "gpt2";
    size_t total;
    char *text = with_bytes(data, bytes, &total);
    read_ranks(text, total, split);
    free(text);
    read_ranks((const char *)data, bytes, split);
    return 0;
}
