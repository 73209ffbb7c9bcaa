/*
 * regex.c - Oniguruma's syntax translated for PCRE2, and matching within limits.
 *
 * Where the two differ, and what is done about it:
 *   \s \S      White_Space; PCRE2's \s has U+180E besides
 *   \w \W      Alphabetic, marks, Nd, Pc, and the six No of Latin-1; PCRE2's \w (before 10.43) lacks marks
 *   \h         a hexadecimal digit; PCRE2: horizontal space
 *   \uHHHH     a code point; PCRE2: nothing
 *   \p{Han}    the script; PCRE2 since 10.40: with its extensions, unless written sc:Han
 *   [:punct:]  with symbols; [:space:], [:word:] as \s, \w
 *   (?m)       dot matches newline, PCRE2's (?s); ^ and $ are line anchors always
 *   {1,3}+     the repeated item repeated; PCRE2: possessive
 *   (?i)ss     also matches ß, and other foldings of several characters; PCRE2 folds one to one: left so
 *   [a[b]] &&  nested and intersected classes: refused, PCRE2 10.4x has neither
 */
#include "data/tokenizer/regex.h"

#include "base/text.h"
#include "data/tokenizer/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dt_regex {
    pcre2_code *code;
    const dt_scan *scan; /* the same by hand, or NULL */
};

#define SPACE_CLASS "\\p{Z}\\x09-\\x0d\\x{85}"
#define WORD_CLASS                                                                                           \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xB2\\xB3\\xB9\\xBC-\\xBE\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"    \
    "\\x{1F150}-\\x{1F169}"                                                                                  \
    "\\x{1F170}-\\x{1F189}"
#define HEX_CLASS "0-9a-fA-F"

/* How an escape is written for PCRE2, outside and inside brackets; NULL = it cannot be. */
static const struct {
    char letter;
    const char *outside, *inside;
} escapes[] = {
    {'s', "[" SPACE_CLASS "]", SPACE_CLASS}, {'S', "[^" SPACE_CLASS "]", "\\S"},
    {'w', "[" WORD_CLASS "]", WORD_CLASS},   {'W', "[^" WORD_CLASS "]", NULL},
    {'h', "[" HEX_CLASS "]", HEX_CLASS},     {'H', "[^" HEX_CLASS "]", NULL},
};

static const char *const scripts[] = {
    "Han",
    "Hiragana",
    "Katakana",
    "Arabic",
    "Armenian",
    "Balinese",
    "Bamum",
    "Batak",
    "Bengali",
    "Bopomofo",
    "Braille",
    "Buginese",
    "Buhid",
    "Canadian_Aboriginal",
    "Chakma",
    "Cham",
    "Cherokee",
    "Common",
    "Coptic",
    "Cuneiform",
    "Cypriot",
    "Cyrillic",
    "Deseret",
    "Devanagari",
    "Egyptian_Hieroglyphs",
    "Ethiopic",
    "Georgian",
    "Glagolitic",
    "Gothic",
    "Greek",
    "Gujarati",
    "Gurmukhi",
    "Hangul",
    "Hanunoo",
    "Hebrew",
    "Inherited",
    "Javanese",
    "Kannada",
    "Kayah_Li",
    "Kharoshthi",
    "Khmer",
    "Lao",
    "Latin",
    "Lepcha",
    "Limbu",
    "Linear_A",
    "Linear_B",
    "Lisu",
    "Malayalam",
    "Meetei_Mayek",
    "Mongolian",
    "Myanmar",
    "New_Tai_Lue",
    "Nko",
    "Ogham",
    "Ol_Chiki",
    "Old_Italic",
    "Old_Persian",
    "Oriya",
    "Osmanya",
    "Phags_Pa",
    "Phoenician",
    "Runic",
    "Samaritan",
    "Saurashtra",
    "Sinhala",
    "Sundanese",
    "Syloti_Nagri",
    "Syriac",
    "Tagalog",
    "Tagbanwa",
    "Tai_Le",
    "Tai_Tham",
    "Tai_Viet",
    "Tamil",
    "Telugu",
    "Thaana",
    "Thai",
    "Tibetan",
    "Tifinagh",
    "Ugaritic",
    "Vai",
    "Yi",
};

const char *dt_regex_script(size_t number)
{
    return number < sizeof scripts / sizeof *scripts ? scripts[number] : NULL;
}

enum { NESTING_LIMIT = 100, PATTERN_LIMIT = 1 << 16 };

typedef struct translation {
    const char *in;
    size_t bytes, at;
    dt_text out;
    size_t group[NESTING_LIMIT]; /* where each open group begins in `out` */
    int depth;
    size_t atom; /* where the last complete item begins in `out` */
    dt_error *err;
} translation;

static char peek(const translation *t, size_t ahead)
{
    return t->at + ahead < t->bytes ? t->in[t->at + ahead] : 0;
}

static void copy(translation *t, size_t bytes)
{
    if (bytes > t->bytes - t->at)
        bytes = t->bytes - t->at;
    dt_put(&t->out, t->in + t->at, bytes);
    t->at += bytes;
}

static void put_string(translation *t, const char *text)
{
    dt_put(&t->out, text, strlen(text));
}

static dt_status unsupported(translation *t, const char *what)
{
    return dt_fail(t->err, DT_UNSUPPORTED, "regex construct at byte %zu: %s", t->at, what);
}

/* Does "{Name}" stand here, Name a script, and would PCRE2 take it for more than the script? */
static bool names_script(const translation *t)
{
    char version[64] = "";
    int major = 0, minor = 0;
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) <= (int)sizeof version)
        pcre2_config(PCRE2_CONFIG_VERSION, version);
    if (sscanf(version, "%d.%d", &major, &minor) != 2 || major < 10 || (major == 10 && minor < 40))
        return false;
    const char *name = t->in + t->at + 1, *end = memchr(name, '}', t->bytes - t->at - 1);
    for (size_t i = 0; end != NULL && i < sizeof scripts / sizeof *scripts; i++)
        if (strlen(scripts[i]) == (size_t)(end - name) && memcmp(scripts[i], name, (size_t)(end - name)) == 0)
            return true;
    return false;
}

/* "[:name:]" inside brackets. */
static void posix_class(translation *t)
{
    static const char *const classes[][2] = {
        {"[:punct:]", "\\p{P}\\p{S}"}, {"[:space:]", SPACE_CLASS}, {"[:word:]", WORD_CLASS}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        size_t length = strlen(classes[i][0]);
        if (t->bytes - t->at >= length && memcmp(t->in + t->at, classes[i][0], length) == 0) {
            put_string(t, classes[i][1]);
            t->at += length;
            return;
        }
    }
    const char *end = memchr(t->in + t->at, ']', t->bytes - t->at);
    copy(t, end != NULL ? (size_t)(end - (t->in + t->at)) + 1 : 2);
}

static dt_status escape(translation *t, bool inside)
{
    char letter = peek(t, 1);
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        if (escapes[i].letter != letter)
            continue;
        const char *text = inside ? escapes[i].inside : escapes[i].outside;
        if (text == NULL)
            return unsupported(t, "a negated \\W or \\H inside brackets");
        put_string(t, text);
        t->at += 2;
        return DT_OK;
    }
    if (letter == 'u' && t->bytes - t->at >= 6) {
        put_string(t, "\\x{");
        dt_put(&t->out, t->in + t->at + 2, 4);
        put_string(t, "}");
        t->at += 6;
        return DT_OK;
    }
    copy(t, 2);
    if ((letter == 'p' || letter == 'P') && peek(t, 0) == '{' && names_script(t))
        put_string(t, "{sc:"), t->at++;
    if ((letter == 'p' || letter == 'P' || letter == 'x') && (peek(t, 0) == '{' || t->in[t->at - 1] == '{'))
        while (t->at < t->bytes && t->in[t->at - 1] != '}')
            copy(t, 1);
    return DT_OK;
}

static dt_status bracket(translation *t)
{
    copy(t, 1);
    if (peek(t, 0) == '^')
        copy(t, 1);
    bool first = true;
    for (; t->at < t->bytes; first = false) {
        char c = peek(t, 0);
        if (c == ']' && !first) {
            copy(t, 1);
            return DT_OK;
        }
        if (c == '\\') {
            DT_PASS(escape(t, true));
        } else if (c == '[' && peek(t, 1) == ':') {
            posix_class(t);
        } else if (c == '[') {
            return unsupported(t, "a class inside a class");
        } else if (c == '&' && peek(t, 1) == '&') {
            return unsupported(t, "an intersection of classes (&&)");
        } else {
            copy(t, 1);
        }
    }
    return DT_OK; /* PCRE2 will say that the bracket is not closed */
}

/* "(", with "(?…" options: Oniguruma's m is PCRE2's s. */
static dt_status open_group(translation *t)
{
    if (t->depth == NESTING_LIMIT)
        return unsupported(t, "more than 100 nested groups");
    t->group[t->depth++] = t->out.bytes;
    copy(t, 1);
    if (peek(t, 0) != '?')
        return DT_OK;
    copy(t, 1);
    size_t length = 0;
    while (memchr("imx-", peek(t, length), 4) != NULL && peek(t, length) != 0)
        length++;
    if (length == 0 || (peek(t, length) != ':' && peek(t, length) != ')'))
        return DT_OK;
    for (; length > 0; length--) {
        char letter = peek(t, 0) == 'm' ? 's' : peek(t, 0);
        dt_put(&t->out, &letter, 1);
        t->at++;
    }
    return DT_OK;
}

/* "{n,m}" followed by "+": wrap the item, so that the plus repeats instead of possessing. */
static void interval(translation *t)
{
    const char *end = memchr(t->in + t->at, '}', t->bytes - t->at);
    size_t length = end == NULL ? 1 : (size_t)(end - (t->in + t->at)) + 1;
    bool repeated =
        end != NULL && length > 2 && peek(t, 1) >= '0' && peek(t, 1) <= '9' && peek(t, length) == '+';
    copy(t, length);
    if (!repeated)
        return;
    dt_text tail = {0};
    dt_put(&tail, t->out.data + t->atom, t->out.bytes - t->atom);
    t->out.bytes = t->atom;
    put_string(t, "(?:");
    if (tail.data != NULL)
        dt_put(&t->out, tail.data, tail.bytes);
    t->out.failed |= tail.failed;
    put_string(t, ")");
    dt_text_free(&tail);
}

static dt_status translate(translation *t)
{
    while (t->at < t->bytes) {
        char c = peek(t, 0);
        if (strchr("*+?{|", c) == NULL || c == 0)
            t->atom = t->out.bytes;
        if (c == '\\') {
            DT_PASS(escape(t, false));
        } else if (c == '[') {
            DT_PASS(bracket(t));
        } else if (c == '(') {
            DT_PASS(open_group(t));
        } else if (c == ')') {
            if (t->depth > 0)
                t->atom = t->group[--t->depth];
            copy(t, 1);
        } else if (c == '{') {
            interval(t);
        } else {
            copy(t, dt_utf8_length(c));
        }
    }
    return t->out.failed ? dt_fail_memory(t->err, t->bytes, "a regex") : DT_OK;
}

static dt_status compile(pcre2_code **code, const dt_text *pattern, dt_error *err)
{
    const uint32_t options =
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL)
        return dt_fail_memory(err, 0, "a regex");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE where = 0;
    *code = pcre2_compile((PCRE2_SPTR)(pattern->data ? pattern->data : ""), pattern->bytes, options, &error,
                          &where, context);
    pcre2_compile_context_free(context);
    if (*code == NULL) {
        PCRE2_UCHAR text[160] = "";
        pcre2_get_error_message(error, text, sizeof text);
        return dt_fail(err, DT_FORMAT, "regex does not compile at byte %zu of its PCRE2 form: %s",
                       (size_t)where, text);
    }
    pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE); /* where it cannot, pcre2_match interprets */
    return DT_OK;
}

dt_status dt_regex_create(dt_regex **out, const char *pattern, size_t bytes, dt_error *err)
{
    *out = NULL;
    if (bytes > PATTERN_LIMIT)
        return dt_fail(err, DT_LIMIT, "regex of %zu bytes; at most %d are read", bytes, PATTERN_LIMIT);
    translation t = {.in = pattern, .bytes = bytes, .err = err};
    pcre2_code *code = NULL;
    dt_status status = translate(&t);
    if (status == DT_OK)
        status = compile(&code, &t.out, err);
    dt_text_free(&t.out);
    if (status != DT_OK)
        dt_error_while(err, "while compiling the regex %.*s", (int)(bytes < 200 ? bytes : 200), pattern);
    if (status != DT_OK)
        return status;
    *out = malloc(sizeof **out);
    if (*out == NULL) {
        pcre2_code_free(code);
        return dt_fail_memory(err, sizeof **out, "a regex");
    }
    **out = (dt_regex){code, dt_scan_find(pattern, bytes)};
    return DT_OK;
}

void dt_regex_destroy(dt_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    free(regex);
}

static bool space_ready(dt_regex_space *space)
{
    if (space->match != NULL)
        return true;
    size_t steps = space->scale > 4u << 20 ? 64u << 20 : (1u << 20) + space->scale * 15;
    space->match = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    space->context = context;
    if (context != NULL) {
        pcre2_set_match_limit(context, (uint32_t)steps);
        pcre2_set_heap_limit(context, 256 * 1024); /* KiB */
    }
    return space->match != NULL && context != NULL;
}

void dt_regex_space_free(dt_regex_space *space)
{
    pcre2_match_data_free(space->match);
    pcre2_match_context_free(space->context);
    *space = (dt_regex_space){0};
}

dt_status dt_regex_find(const dt_regex *regex, dt_regex_space *space, const char *text, size_t bytes,
                        size_t from, dt_match *match, bool *found, dt_error *err)
{
    if (!space_ready(space))
        return dt_fail_memory(err, 0, "a regex match");
    const pcre2_code *code = regex->code;
    PCRE2_SPTR subject = (PCRE2_SPTR)(text != NULL ? text : "");
    int result = pcre2_match(code, subject, bytes, from, PCRE2_NO_UTF_CHECK, space->match, space->context);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result = pcre2_match(code, subject, bytes, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, space->match,
                             space->context);
    *found = result >= 0;
    if (result == PCRE2_ERROR_NOMATCH)
        return DT_OK;
    if (result < 0) {
        PCRE2_UCHAR message[160] = "";
        pcre2_get_error_message(result, message, sizeof message);
        return dt_fail(err, DT_LIMIT, "the tokenizer's regex gave up on this text: %s", message);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(space->match);
    match->begin = range[0];
    match->end = range[1] < range[0] ? range[0] : range[1]; /* \K can turn them round */
    return DT_OK;
}

dt_status dt_regex_next(const dt_regex *regex, dt_regex_space *space, const char *text, size_t bytes,
                        dt_match_walk *walk, dt_match *match, bool *found, dt_error *err)
{
    if (regex->scan == NULL)
        return dt_regex_next_plain(regex, space, text, bytes, walk, match, found, err);
    *found = dt_scan_next(regex->scan, text, bytes, walk->at, match);
    space->steps += (*found ? match->end : bytes) - walk->at + 1;
    if (*found)
        walk->at = match->end;
    return DT_OK;
}

dt_status dt_regex_next_plain(const dt_regex *regex, dt_regex_space *space, const char *text, size_t bytes,
                              dt_match_walk *walk, dt_match *match, bool *found, dt_error *err)
{
    *found = false;
    while (walk->at <= bytes) {
        DT_PASS(dt_regex_find(regex, space, text, bytes, walk->at, match, found, err));
        if (!*found)
            return DT_OK;
        if (match->begin < walk->last_end) /* a look-behind with \K; never hand out overlapping matches */
            match->begin = walk->last_end;
        if (match->end < match->begin)
            match->end = match->begin;
        if (match->end > match->begin || !walk->any || match->end != walk->last_end) {
            walk->at = walk->last_end = match->end;
            walk->any = true;
            return DT_OK;
        }
        walk->at += walk->at < bytes ? dt_utf8_length(text[walk->at]) : 1;
        *found = false;
    }
    return DT_OK;
}
