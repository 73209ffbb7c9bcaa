/*
 * scan.c - the split patterns of GPT-2, GPT-4, Llama 3, Qwen 2, GPT-4o, Tekken and CLIP, by hand.
 *
 * Each takes the class of a character (letter, number, white space, the rest) from a table for ASCII and from
 * utf8proc beyond it, and walks runs of one class. Where an alternative of the pattern would backtrack, the comment
 * says where it ends up. Leaves everything else to PCRE2.
 */
#include "data/tokenizer/scan.h"

#include "data/tokenizer/patterns.h"
#include "data/tokenizer/unicode.h"

#include <string.h>

/* ---- classes ------------------------------------------------------------------------------------------------ */

enum {
    LETTER = DT_CLASS_LETTER,
    NUMBER = DT_CLASS_NUMBER,
    SPACE = DT_CLASS_SPACE,
    NEWLINE = 8, /* \r and \n, which are SPACE as well */
    UPPER = DT_CLASS_UPPER,
    LOWER = DT_CLASS_LOWER,
    WORDLIKE = LETTER | NUMBER | SPACE,
};

#define O 0
#define S SPACE
#define E (SPACE | NEWLINE)
#define D NUMBER
#define U (LETTER | UPPER)
#define L (LETTER | LOWER)
static const unsigned char ascii[128] = {
    O, O, O, O, O, O, O, O, O, S, E, S, S, E, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, D, D, D, D, D, D, D, D, D, D, O, O, O, O, O, O,
    O, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
#undef O
#undef S
#undef E
#undef D
#undef U
#undef L

typedef struct span {
    const char *text;
    size_t bytes;
} span;

/* The class of the character at `at`; 0 beyond the end, where *used is 0. */
static inline unsigned class_at(span s, size_t at, size_t *used)
{
    if (at >= s.bytes) {
        *used = 0;
        return 0;
    }
    unsigned char byte = (unsigned char)s.text[at];
    if (byte < 0x80) {
        *used = 1;
        return ascii[byte];
    }
    return dt_class(dt_utf8_peek(s.text + at, used));
}

/* Behind the run of characters with any of `wanted`. */
static inline size_t run_of(span s, size_t at, unsigned wanted)
{
    size_t used;
    while (at < s.bytes && (class_at(s, at, &used) & wanted) != 0)
        at += used;
    return at;
}

/* Behind the run of characters with none of `unwanted`. */
static inline size_t run_without(span s, size_t at, unsigned unwanted)
{
    size_t used;
    while (at < s.bytes && (class_at(s, at, &used) & unwanted) == 0)
        at += used;
    return at;
}

/* Behind at most `most` numbers. */
static size_t digits(span s, size_t at, int most)
{
    size_t used;
    for (int i = 0; i < most && (class_at(s, at, &used) & NUMBER) != 0; i++)
        at += used;
    return at;
}

static inline char lower_ascii(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* 's 't 're 've 'm 'll 'd at `at`, its bytes; 0 when none. Of any case, the long s (U+017F) is an s too. */
static size_t contraction(span s, size_t at, bool any_case)
{
    if (s.bytes - at < 2 || s.text[at] != '\'')
        return 0;
    char a = s.text[at + 1], b = s.bytes - at > 2 ? s.text[at + 2] : 0;
    if (any_case) {
        if (a == '\xC5' && b == '\xBF')
            return 3;
        a = lower_ascii(a);
        b = lower_ascii(b);
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* ---- \s+(?!\S)|\s+ : a run of white space leaves its last character to what follows it ---------------------- */

static size_t spaces(span s, size_t at, bool stop_after_newline)
{
    size_t used = 0, last = at, after_newline = 0;
    size_t end = at;
    unsigned kind;
    while (end < s.bytes && ((kind = class_at(s, end, &used)) & SPACE) != 0) {
        last = end;
        end += used;
        if (kind & NEWLINE)
            after_newline = end;
    }
    if (stop_after_newline && after_newline > 0) /* \s*[\r\n]+ comes first and ends behind the last newline */
        return after_newline;
    return end < s.bytes && last > at ? last : end;
}

/* ---- the patterns ------------------------------------------------------------------------------------------- */

struct dt_scan {
    const char *pattern;
    size_t (*end)(span s, size_t at, int most_digits); /* matches tile the text: where the one at `at` ends */
    bool (*find)(span s, size_t at, dt_match *match);  /* or they do not */
    int most_digits;
};

static size_t gpt2(span s, size_t at, int most_digits)
{
    (void)most_digits;
    size_t used, begin = at, short_form = contraction(s, at, false);
    if (short_form > 0)
        return at + short_form;
    unsigned kind = class_at(s, at, &used);
    if (s.text[at] == ' ') {
        unsigned next = class_at(s, at + 1, &used);
        if (used > 0 && (next & SPACE) == 0) {
            begin = at + 1;
            kind = next;
        }
    }
    if (kind & LETTER)
        return run_of(s, begin, LETTER);
    if (kind & NUMBER)
        return run_of(s, begin, NUMBER);
    return kind & SPACE ? spaces(s, at, false) : run_without(s, begin, WORDLIKE);
}

/* Behind " ?[^\s\p{L}\p{N}]+[\r\n]*" (o200k: [\r\n/]*) at `at`, or `at` when it does not match. */
static size_t symbols(span s, size_t at, bool slash)
{
    size_t used, begin = at + (s.text[at] == ' ');
    unsigned kind = class_at(s, begin, &used);
    if (used == 0 || (kind & WORDLIKE) != 0)
        return at;
    size_t end = run_without(s, begin, WORDLIKE);
    while (end < s.bytes && (s.text[end] == '\r' || s.text[end] == '\n' || (slash && s.text[end] == '/')))
        end++;
    return end;
}

static size_t llama3(span s, size_t at, int most_digits)
{
    size_t used, next_used, short_form = contraction(s, at, true);
    if (short_form > 0)
        return at + short_form;
    unsigned kind = class_at(s, at, &used);
    if (kind & LETTER)
        return run_of(s, at + used, LETTER);
    if (kind & NUMBER)
        return digits(s, at, most_digits);
    if ((kind & NEWLINE) == 0 && (class_at(s, at + used, &next_used) & LETTER) != 0)
        return run_of(s, at + used, LETTER);
    size_t end = symbols(s, at, false);
    return end > at ? end : spaces(s, at, true);
}

/*
 * U*L+ at `from`, or else U+L*; `from` itself when neither matches. Letters without case and marks are U and L, so
 * where no L follows the run of U, it gives back down to its last such character.
 */
static size_t cased_word(span s, size_t from, bool lower_demanded)
{
    size_t end = from, both = from, used;
    for (unsigned kind; ((kind = class_at(s, end, &used)) & UPPER) != 0;) {
        end += used;
        if (kind & LOWER)
            both = end;
    }
    size_t lower = run_of(s, end, LOWER);
    if (lower > end)
        return lower;
    if (both > from)
        return both;
    return lower_demanded ? from : end;
}

static size_t cased(span s, size_t at, int most_digits, bool contractions)
{
    size_t used;
    unsigned kind = class_at(s, at, &used);
    bool before =
        (kind & (NEWLINE | LETTER | NUMBER)) == 0; /* [^\r\n\p{L}\p{N}]? is tried with the character first */
    size_t from = before ? at + used : at, end = cased_word(s, from, true);
    if (end == from && before) { /* without it: a mark may begin a word */
        from = at;
        end = cased_word(s, at, true);
    }
    if (end == from) {
        from = before ? at + used : at;
        end = cased_word(s, from, false);
    }
    if (end > from)
        return contractions && end < s.bytes ? end + contraction(s, end, true) : end;
    if (kind & NUMBER)
        return digits(s, at, most_digits);
    end = symbols(s, at, true);
    return end > at ? end : spaces(s, at, true);
}

static size_t o200k(span s, size_t at, int most_digits)
{
    return cased(s, at, most_digits, true);
}

static size_t tekken(span s, size_t at, int most_digits)
{
    return cased(s, at, most_digits, false);
}

static bool clip(span s, size_t at, dt_match *match)
{
    size_t used;
    at = run_of(s, at, SPACE);
    if (at >= s.bytes)
        return false;
    unsigned kind = class_at(s, at, &used);
    size_t short_form = contraction(s, at, false);
    match->begin = at;
    match->end = short_form > 0  ? at + short_form
                 : kind & LETTER ? run_of(s, at, LETTER)
                 : kind & NUMBER ? at + used
                                 : run_without(s, at, WORDLIKE);
    return true;
}

/* The same with the two special tokens in front, as the published file has it. */
static bool clip_marked(span s, size_t at, dt_match *match)
{
    static const char *const marks[] = {"<|startoftext|>", "<|endoftext|>"};
    at = run_of(s, at, SPACE);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t bytes = strlen(marks[i]);
        if (s.bytes - at >= bytes && memcmp(s.text + at, marks[i], bytes) == 0) {
            *match = (dt_match){at, at + bytes};
            return true;
        }
    }
    return clip(s, at, match);
}

static bool white_space(span s, size_t at, dt_match *match)
{
    match->begin = run_without(s, at, SPACE);
    match->end = run_of(s, match->begin, SPACE);
    return match->end > match->begin;
}

static bool blanks(span s, size_t at, dt_match *match)
{
    while (at < s.bytes) {
        const char *blank = memchr(s.text + at, ' ', s.bytes - at);
        if (blank == NULL)
            return false;
        match->begin = match->end = (size_t)(blank - s.text);
        while (match->end < s.bytes && s.text[match->end] == ' ')
            match->end++;
        if (match->end - match->begin >= 2)
            return true;
        at = match->end;
    }
    return false;
}

static const dt_scan scans[] = {
    {DT_PATTERN_GPT2, gpt2, NULL, 0},
    {DT_PATTERN_LLAMA3, llama3, NULL, 3},
    {DT_PATTERN_CL100K, llama3, NULL, 3},
    {DT_PATTERN_QWEN2, llama3, NULL, 1},
    {DT_PATTERN_O200K, o200k, NULL, 3},
    {DT_PATTERN_TEKKEN, tekken, NULL, 1},
    {DT_PATTERN_CLIP, NULL, clip, 0},
    {"<\\|startoftext\\|>|<\\|endoftext\\|>|" DT_PATTERN_CLIP, NULL, clip_marked, 0},
    {"\\s+", NULL, white_space, 0},
    {" {2,}", NULL, blanks, 0},
};

const dt_scan *dt_scan_find(const char *pattern, size_t bytes)
{
    for (size_t i = 0; i < sizeof scans / sizeof *scans; i++)
        if (strlen(scans[i].pattern) == bytes && memcmp(scans[i].pattern, pattern, bytes) == 0)
            return &scans[i];
    return NULL;
}

const char *dt_scan_pattern(size_t number)
{
    return number < sizeof scans / sizeof *scans ? scans[number].pattern : NULL;
}

bool dt_scan_next(const dt_scan *scan, const char *text, size_t bytes, size_t at, dt_match *match)
{
    span s = {text, bytes};
    if (at >= bytes)
        return false;
    if (scan->find != NULL)
        return scan->find(s, at, match);
    *match = (dt_match){at, scan->end(s, at, scan->most_digits)};
    return true;
}
