/* scan_test.c - hand-written matchers give the matches of their patterns in PCRE2, on any text. */
#include "unit.h"

#include "data/tokenizer/regex.h"
#include "data/tokenizer/unicode.h"

/* What patterns tell apart: cases, marks, numbers, spaces of all kinds, apostrophes, line ends. */
static const char *const alphabet[] = {
    "a",
    "s",
    "S",
    "t",
    "T",
    "re",
    "LL",
    "d",
    "Z",
    "\xC5\xBF",
    "\xC7\x85",
    "\xCA\xB0",
    "\xE4\xBD\xA0",
    "\xCC\x81",
    "\xD0\x96",
    "\xD0\xB6",
    "1",
    "23",
    "\xC2\xB2",
    "\xE2\x85\xA7",
    "\xD9\xA3",
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\r",
    "\t",
    "\xC2\xA0",
    "\xE3\x80\x80",
    "\xC2\x85",
    "\xE2\x80\xA8",
    "'",
    "'",
    "'s",
    "'Re",
    "'ll",
    "!",
    "/",
    ".",
    "-",
    "\xF0\x9F\x98\x80",
    "\xE2\x80\x8D",
    "\xEF\xBF\xBD",
    "_",
    "<|endoftext|>",
    "<|startoftext|>",
    "<|",
    "\x01",
    "\xE0\xA4\xBE",
};

static void compare(const char *pattern, const char *text, size_t bytes)
{
    dt_error err = {0};
    dt_regex *regex;
    dt_regex_space space = {.scale = bytes};
    dt_match_walk plain = {0}, fast = {0};
    dt_match want = {0}, got = {0};
    bool more = true, found;
    assert_ok(dt_regex_create(&regex, pattern, strlen(pattern), &err), err);
    while (more) {
        assert_ok(dt_regex_next_plain(regex, &space, text, bytes, &plain, &want, &more, &err), err);
        assert_ok(dt_regex_next(regex, &space, text, bytes, &fast, &got, &found, &err), err);
        if (found != more || (more && (want.begin != got.begin || want.end != got.end)))
            fail_msg("%s\non \"%.*s\": match at %zu-%zu, expected %zu-%zu", pattern,
                     (int)(bytes < 200 ? bytes : 200), text, got.begin, got.end, want.begin, want.end);
    }
    dt_regex_space_free(&space);
    dt_regex_destroy(regex);
}

static void scan__matches_as_the_pattern_does(void **state)
{
    uint64_t seed = 1;
    assert_non_null(dt_scan_pattern(0));
    for (size_t row = 0; dt_scan_pattern(row) != NULL; row++)
        for (int round = 0; round < 400; round++) {
            char text[512];
            size_t bytes = 0;
            for (size_t parts = 1 + (size_t)round % 40; parts > 0; parts--) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                const char *part = alphabet[(seed >> 33) % (sizeof alphabet / sizeof *alphabet)];
                memcpy(text + bytes, part, strlen(part));
                bytes += strlen(part);
            }
            compare(dt_scan_pattern(row), text, bytes);
        }
}

/* Does PCRE2's Unicode know this code point? */
static bool assigned(const dt_regex *regex, uint32_t code)
{
    dt_error err = {0};
    dt_regex_space space = {0};
    dt_match match;
    char letter[4];
    bool found;
    assert_ok(dt_regex_find(regex, &space, letter, dt_utf8_encode(code, letter), 0, &match, &found, &err),
              err);
    dt_regex_space_free(&space);
    return found;
}

/* Every code point, between letters, so that its class shows. */
static void scan__classes_are_those_of_the_pattern(void **state)
{
    dt_text text = {0};
    dt_error err = {0};
    dt_regex *regex;
    assert_ok(dt_regex_create(&regex, "\\P{Cn}", 7, &err), err);
    for (uint32_t code = 1; code < 0x110000; code++) {
        char letter[4];
        if ((code >= 0xD800 && code < 0xE000) || (code >= 0x800 && code < 0xE0000 && !assigned(regex, code)))
            continue; /* the classes of ours are newer than PCRE2's */
        dt_put(&text, letter, dt_utf8_encode(code, letter));
        dt_put(&text, code % 3 == 0 ? "a" : code % 3 == 1 ? " " : "1", 1);
    }
    for (size_t row = 0; dt_scan_pattern(row) != NULL; row++)
        compare(dt_scan_pattern(row), text.data, text.bytes);
    dt_text_free(&text);
    dt_regex_destroy(regex);
}

static void scan__matches_as_the_pattern_does_on_real_text(void **state)
{
    static const char *const names[] = {"text/botchan.txt", "text/tinyshakespeare.txt",
                                        "text/gsm8k_test.jsonl", "tokenizers/vectors/blns.json"};
    const char *data = getenv("DT_DATA");
    char path[4096];
    if (!data || !dt_is_folder(data))
        skip();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text = malloc(1 << 21);
        FILE *file = fopen(joined(path, data, names[i]), "rb");
        assert_non_null(file);
        size_t bytes = fread(text, 1, 1 << 21, file);
        fclose(file);
        for (size_t row = 0; dt_scan_pattern(row) != NULL; row++)
            compare(dt_scan_pattern(row), text, bytes);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan__matches_as_the_pattern_does),
        cmocka_unit_test(scan__classes_are_those_of_the_pattern),
        cmocka_unit_test(scan__matches_as_the_pattern_does_on_real_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
