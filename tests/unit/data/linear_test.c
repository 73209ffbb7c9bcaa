/*
 * linear_test.c - work grows no faster than the text, whatever the text: counted in steps, not in seconds.
 *
 * A step is a symbol looked at, a level of the heap, a unit of a trie. The heap of a word that is one run takes
 * n log n, so 32 times the text may cost 48 times the steps (and one a byte, where a short cut ends), and a megabyte
 * never more than MOST a byte.
 */
#include "tokenizers.h"

enum { SMALL = 1 << 12, LARGE = 1 << 17, MEGABYTE = 1 << 20, MOST = 80 };

/* A text of `bytes`: `part` again and again, up to whole characters. */
static char *repeated(const char *part, size_t bytes)
{
    size_t length = strlen(part);
    char *text = calloc(1, bytes + 1);
    for (size_t at = 0; at + length <= bytes; at += length)
        memcpy(text + at, part, length);
    for (size_t at = bytes - bytes % length; at < bytes; at++)
        text[at] = 'a';
    return text;
}

static uint64_t steps_of(const dt_tokenizer *t, const char *part, size_t bytes)
{
    dt_error err = {0};
    char *text = repeated(part, bytes);
    uint64_t steps = 0;
    assert_ok(dt_tokenizer_count_steps(t, text, bytes, &steps, &err), err);
    free(text);
    return steps;
}

static void check(const dt_tokenizer *t, const char *name)
{
    static const char *const parts[] = {"a",
                                        " ",
                                        "ab",
                                        "\n",
                                        "\xCC\x81",
                                        "a\xCC\x81\xCC\xA3",
                                        "\xF0\x9F\x98\x80",
                                        "1",
                                        "\xE4\xBD\xA0",
                                        "'s",
                                        " '",
                                        "a ",
                                        "<",
                                        "<s",
                                        "\r\n ",
                                        "\xE2\x96\x81",
                                        "the",
                                        "Aa",
                                        "\xE4\xBD\xA0"
                                        "A",
                                        "_",
                                        "\xE0\xA4\xBE",
                                        "!/"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t small = steps_of(t, parts[i], SMALL), large = steps_of(t, parts[i], LARGE);
        if (large > (uint64_t)MOST * LARGE || large > 48 * small + LARGE)
            fail_msg(
                "%s on \"%s\" again and again: %.2f steps a byte, %.2f times those of a 32nd of the text",
                name, parts[i], (double)large / LARGE, (double)large / (double)small);
    }
    for (size_t i = 0; i < 3; i++) {
        static const char *const long_parts[] = {"a", " ", "\xCC\x81"};
        uint64_t steps = steps_of(t, long_parts[i], MEGABYTE);
        if (steps > (uint64_t)MOST * MEGABYTE)
            fail_msg("%s on a megabyte of \"%s\": %.2f steps a byte", name, long_parts[i],
                     (double)steps / MEGABYTE);
    }
}

static void linear__models_in_the_clone(void **state)
{
    static const char *const names[] = {"seqio_test.model", "test_model.model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        dt_error err = {0};
        dt_tokenizer *t;
        snprintf(path, sizeof path, "%s/tokenizers/%s", getenv("DT_GOLDEN"), names[i]);
        assert_ok(dt_tokenizer_open(&t, path, &err), err);
        assert_true(steps_of(t, "a", 4096) >= 4096); /* or nothing is counted */
        check(t, names[i]);
        dt_tokenizer_close(t);
    }
}

static void linear__published_tokenizers(void **state)
{
    static const char *const names[] = {
        "gpt2",
        "llama3/tokenizer.model",
        "llama2/tokenizer.model",
        "t5/spiece.model",
        "llama2/tokenizer.repaired.json",
        "t5/tokenizer.json",
        "clip/tokenizer.json",
        "bert/bert-base-uncased-vocab.txt",
    };
    const char *data = getenv("DT_DATA");
    if (!data || !dt_is_folder(data))
        skip();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        dt_error err = {0};
        dt_tokenizer *t;
        snprintf(path, sizeof path, "%s/tokenizers/%s", data, names[i]);
        assert_ok(dt_tokenizer_open(&t, path, &err), err);
        check(t, names[i]);
        dt_tokenizer_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear__models_in_the_clone),
        cmocka_unit_test(linear__published_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
