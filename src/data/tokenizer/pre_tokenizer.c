/*
 * pre_tokenizer.c - the "pre_tokenizer" of tokenizer.json: cuts text into the pieces that the model sees.
 *
 * Stages are a chain in which each hands every piece on at once, so a piece is still in cache when the model reads
 * it and nothing is kept but one scratch text a stage. Leaves ids to the models.
 */
#include "data/tokenizer/parts.h"
#include "data/tokenizer/patterns.h"

#include <string.h>

dt_status dt_pre_next(dt_work *work, int index, dt_piece piece)
{
    const dt_tokenizer *t = work->tokenizer;
    if (piece.bytes == 0)
        return DT_OK;
    if (index + 1 < t->pre_count)
        return t->pre[index + 1].run(&t->pre[index + 1], work, piece);
    return t->model.encode(&t->model, work, piece.text, piece.bytes);
}

static dt_status hand_on(const dt_pre *pre, dt_work *work, dt_piece piece, size_t begin, size_t end)
{
    size_t zero = piece.zero > begin ? piece.zero - begin : 0;
    return dt_pre_next(work, pre->index, (dt_piece){piece.text + begin, end - begin, zero});
}

/* ---- splitting: a row of segments, matched and unmatched in turn, joined as the behavior says --------------- */

typedef struct splitter {
    const dt_pre *pre;
    dt_work *work;
    dt_piece piece;
    bool held; /* is there a segment that the next one may join? */
    bool held_match;
    size_t begin, end;
} splitter;

static dt_status let_go(splitter *s)
{
    if (!s->held)
        return DT_OK;
    s->held = false;
    return hand_on(s->pre, s->work, s->piece, s->begin, s->end);
}

/* Does a segment join the one before it? `before` is the kind of the one before. */
static bool joins(dt_behavior behavior, bool before, bool match)
{
    switch (behavior) {
    case DT_CONTIGUOUS:
        return before == match;
    case DT_MERGED_WITH_PREVIOUS:
        return match && !before;
    case DT_MERGED_WITH_NEXT:
        return before && !match;
    default:
        return false;
    }
}

static dt_status add_segment(splitter *s, size_t begin, size_t end, bool match)
{
    match ^= s->pre->invert;
    dt_behavior behavior = s->pre->behavior;
    if (behavior == DT_ISOLATED || behavior == DT_REMOVED)
        return behavior == DT_REMOVED && match ? DT_OK : hand_on(s->pre, s->work, s->piece, begin, end);
    if (s->held && joins(behavior, s->held_match, match)) {
        s->end = end;
    } else {
        DT_PASS(let_go(s));
        s->begin = begin;
        s->end = end;
        s->held = true;
    }
    s->held_match = match;
    return DT_OK;
}

static dt_status split_by_regex(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    splitter s = {.pre = pre, .work = work, .piece = piece};
    dt_match_walk walk = {0};
    dt_match match;
    size_t at = 0;
    for (;;) {
        bool found;
        DT_PASS(dt_regex_next(pre->regex, &work->regex, piece.text, piece.bytes, &walk, &match, &found,
                              work->err));
        size_t begin = found ? match.begin : piece.bytes;
        if (begin > at)
            DT_PASS(add_segment(&s, at, begin, false));
        if (!found)
            return let_go(&s);
        DT_PASS(add_segment(&s, match.begin, match.end, true));
        at = match.end;
    }
}

/* Each character of the class is one match; what lies between is one segment. */
static dt_status split_by_class(const dt_pre *pre, dt_work *work, dt_piece piece, bool (*is)(uint32_t))
{
    splitter s = {.pre = pre, .work = work, .piece = piece};
    size_t plain = 0, at = 0, used;
    for (; at < piece.bytes; at += used) {
        if (!is(dt_utf8_peek(piece.text + at, &used)))
            continue;
        if (at > plain)
            DT_PASS(add_segment(&s, plain, at, false));
        DT_PASS(add_segment(&s, at, at + used, true));
        plain = at + used;
    }
    if (at > plain)
        DT_PASS(add_segment(&s, plain, at, false));
    return let_go(&s);
}

static dt_status split_by_string(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    splitter s = {.pre = pre, .work = work, .piece = piece};
    size_t at = 0;
    while (at < piece.bytes) {
        const char *hit = pre->text_bytes == 0
                              ? NULL
                              : memmem(piece.text + at, piece.bytes - at, pre->text, pre->text_bytes);
        size_t begin = hit == NULL ? piece.bytes : (size_t)(hit - piece.text);
        if (begin > at)
            DT_PASS(add_segment(&s, at, begin, false));
        at = begin;
        if (hit != NULL) {
            at += pre->text_bytes;
            DT_PASS(add_segment(&s, begin, at, true));
        }
    }
    return let_go(&s);
}

/* ---- the stages --------------------------------------------------------------------------------------------- */

static dt_status run_split(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    return pre->regex != NULL ? split_by_regex(pre, work, piece) : split_by_string(pre, work, piece);
}

/* \w+ and [^\w\s]+, white space dropped. */
static dt_status run_whitespace(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    enum { SPACE, WORD, OTHER } kind, last = SPACE;
    size_t begin = 0, at = 0, used;
    for (; at < piece.bytes; at += used, last = kind) {
        uint32_t code = dt_utf8_peek(piece.text + at, &used);
        kind = dt_is_word(code) ? WORD : dt_is_space(code) ? SPACE : OTHER;
        if (kind == last)
            continue;
        if (last != SPACE)
            DT_PASS(hand_on(pre, work, piece, begin, at));
        begin = at;
    }
    return last == SPACE ? DT_OK : hand_on(pre, work, piece, begin, at);
}

static dt_status run_whitespace_split(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    return split_by_class(pre, work, piece, dt_is_space);
}

/* White space dropped, each punctuation character alone. */
static dt_status run_bert(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    size_t begin = 0, at = 0, used;
    for (; at < piece.bytes; at += used) {
        uint32_t code = dt_utf8_peek(piece.text + at, &used);
        bool space = dt_is_space(code);
        if (!space && !dt_is_punctuation(code))
            continue;
        DT_PASS(hand_on(pre, work, piece, begin, at));
        if (!space)
            DT_PASS(hand_on(pre, work, piece, at, at + used));
        begin = at + used;
    }
    return hand_on(pre, work, piece, begin, at);
}

static dt_status run_punctuation(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    return split_by_class(pre, work, piece, dt_is_punctuation);
}

static dt_status run_digits(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    return split_by_class(pre, work, piece, dt_is_number);
}

static dt_status run_fixed_length(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    size_t begin = 0, at = 0, count = 0;
    while (at < piece.bytes) {
        at += dt_utf8_length(piece.text[at]);
        if (++count == pre->length || at >= piece.bytes) {
            DT_PASS(hand_on(pre, work, piece, begin, at));
            begin = at;
            count = 0;
        }
    }
    return DT_OK;
}

/* Spell each byte of a piece as its printable character and hand it on. */
static dt_status spell_bytes(const dt_pre *pre, dt_work *work, const char *text, size_t bytes, size_t zero)
{
    if (pre->hands_bytes)
        return dt_pre_next(work, pre->index, (dt_piece){text, bytes, zero});
    dt_text *out = &work->stage[pre->index];
    dt_text_clear(out);
    size_t spelled_zero = 0;
    for (size_t i = 0; i < bytes; i++) {
        char letter[4];
        dt_put(out, letter, dt_utf8_encode(dt_byte_to_code((unsigned char)text[i]), letter));
        if (i + 1 == zero)
            spelled_zero = out->bytes;
    }
    if (out->failed)
        return dt_work_no_memory(work);
    return dt_pre_next(work, pre->index, (dt_piece){out->data, out->bytes, spelled_zero});
}

static dt_status run_byte_level(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    dt_text spaced = {0};
    if (pre->add_prefix_space && piece.text[0] != ' ') {
        dt_put(&spaced, " ", 1);
        if (!dt_put(&spaced, piece.text, piece.bytes))
            return dt_text_free(&spaced), dt_work_no_memory(work);
        piece = (dt_piece){spaced.data, spaced.bytes, piece.zero > 0 ? piece.zero + 1 : 0};
    }
    dt_status status = DT_OK;
    if (!pre->use_regex)
        status = spell_bytes(pre, work, piece.text, piece.bytes, piece.zero);
    dt_match_walk walk = {0};
    dt_match match;
    size_t at = 0;
    while (pre->use_regex && status == DT_OK && at < piece.bytes) {
        bool found = false;
        status = dt_regex_next(pre->regex, &work->regex, piece.text, piece.bytes, &walk, &match, &found,
                               work->err);
        size_t begin = found ? match.begin : piece.bytes, end = found ? match.end : piece.bytes;
        if (status == DT_OK && begin > at)
            status =
                spell_bytes(pre, work, piece.text + at, begin - at, piece.zero > at ? piece.zero - at : 0);
        if (status == DT_OK && end > begin)
            status = spell_bytes(pre, work, piece.text + begin, end - begin,
                                 piece.zero > begin ? piece.zero - begin : 0);
        at = end;
    }
    dt_text_free(&spaced);
    return status;
}

bool dt_pre_is_byte_level(const dt_pre *pre)
{
    return pre->run == run_byte_level;
}

static dt_status run_metaspace(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    dt_text *out = &work->stage[pre->index];
    dt_text_clear(out);
    bool first = piece.text[0] == ' ' ||
                 (piece.bytes >= pre->text_bytes && memcmp(piece.text, pre->text, pre->text_bytes) == 0);
    if (!first && (pre->prepend == DT_PREPEND_ALWAYS || (pre->prepend == DT_PREPEND_FIRST && piece.zero > 0)))
        dt_put(out, pre->text, pre->text_bytes);
    size_t zero = piece.zero > 0 ? out->bytes : 0;
    for (size_t at = 0; at < piece.bytes;) {
        const char *space = memchr(piece.text + at, ' ', piece.bytes - at);
        size_t end = space == NULL ? piece.bytes : (size_t)(space - piece.text);
        dt_put(out, piece.text + at, end - at);
        if (space != NULL)
            dt_put(out, pre->text, pre->text_bytes);
        if (at < piece.zero)
            zero = out->bytes; /* at least the first character */
        at = end + 1;
    }
    if (out->failed)
        return dt_work_no_memory(work);
    dt_piece whole = {out->data, out->bytes, zero};
    return pre->split ? split_by_string(pre, work, whole) : dt_pre_next(work, pre->index, whole);
}

/* Do two characters have one script? pre->regex matches a run of one script. */
static dt_status same_script(const dt_pre *pre, dt_work *work, const char *a, const char *b, bool *same)
{
    char both[8];
    size_t a_bytes = dt_utf8_length(*a), b_bytes = dt_utf8_length(*b);
    memcpy(both, a, a_bytes);
    memcpy(both + a_bytes, b, b_bytes);
    dt_match match = {0};
    bool found;
    DT_PASS(dt_regex_find(pre->regex, &work->regex, both, a_bytes + b_bytes, 0, &match, &found, work->err));
    *same = found && match.end - match.begin == a_bytes + b_bytes;
    return DT_OK;
}

/* A new piece at every change of script; spaces, and characters of no script, belong to any. */
static dt_status run_scripts(const dt_pre *pre, dt_work *work, dt_piece piece)
{
    dt_match_walk walk = {0};
    dt_match match;
    const char *last = NULL;
    size_t begin = 0;
    for (;;) {
        bool found, same = false;
        DT_PASS(dt_regex_next(pre->regex, &work->regex, piece.text, piece.bytes, &walk, &match, &found,
                              work->err));
        if (!found) /* text without any script vanishes, and so does what lies before the first, as in the reference */
            return last == NULL ? DT_OK : hand_on(pre, work, piece, begin, piece.bytes);
        if (last != NULL)
            DT_PASS(same_script(pre, work, last, piece.text + match.begin, &same));
        if (last != NULL && !same)
            DT_PASS(hand_on(pre, work, piece, begin, match.begin));
        if (!same)
            begin = match.begin;
        last = piece.text + match.begin;
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static dt_status read_behavior(dt_pre *pre, const json_t *json, dt_error *err)
{
    static const char *const names[] = {"removed", "isolated", "mergedwithprevious", "mergedwithnext",
                                        "contiguous"};
    const char *name = NULL;
    DT_PASS(dt_json_string(json, "behavior", &name, err));
    if (name == NULL)
        return DT_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(names[i], name) == 0) {
            pre->behavior = (dt_behavior)i;
            return DT_OK;
        }
    return dt_fail(err, DT_UNSUPPORTED,
                   "behavior \"%s\" is not one of Removed, Isolated, MergedWithPrevious, "
                   "MergedWithNext, Contiguous",
                   name);
}

static dt_status read_split(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    DT_PASS(read_behavior(pre, json, err));
    DT_PASS(dt_json_bool(json, "invert", &pre->invert, err));
    DT_PASS(dt_json_pattern(t, json, &pre->text, &pre->text_bytes, &pre->regex, err));
    const json_t *pattern = dt_json_get(dt_json_get(json, "pattern"), "Regex");
    if (json_is_string(pattern) &&
        (pre->pattern = dt_arena_text(t->arena, json_string_value(pattern))) == NULL)
        return dt_fail_memory(err, json_string_length(pattern), "a pattern");
    return DT_OK;
}

static dt_status read_byte_level(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    static const char pattern[] = DT_PATTERN_GPT2;
    pre->add_prefix_space = pre->use_regex = true;
    DT_PASS(dt_json_bool(json, "add_prefix_space", &pre->add_prefix_space, err));
    DT_PASS(dt_json_bool(json, "use_regex", &pre->use_regex, err));
    return dt_own_regex(t, &pre->regex, pattern, sizeof pattern - 1, err);
}

static dt_status read_metaspace(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    static const char *const schemes[] = {"always", "first", "never"};
    bool prefix = true;
    const char *scheme = NULL;
    pre->text = DT_LOW_LINE;
    pre->text_bytes = DT_LOW_LINE_BYTES;
    pre->split = true;
    DT_PASS(dt_json_text(t, json, "replacement", &pre->text, &pre->text_bytes, err));
    DT_PASS(dt_json_bool(json, "split", &pre->split, err));
    DT_PASS(dt_json_bool(json, "add_prefix_space", &prefix, err));
    DT_PASS(dt_json_string(json, "prepend_scheme", &scheme, err));
    if (pre->text_bytes == 0)
        return dt_fail(err, DT_FORMAT, "\"replacement\" is empty");
    pre->prepend = prefix ? DT_PREPEND_ALWAYS : DT_PREPEND_NEVER;
    if (scheme == NULL)
        return DT_OK;
    for (int i = 0; i < 3; i++)
        if (strcmp(schemes[i], scheme) == 0) {
            pre->prepend = i;
            return DT_OK;
        }
    return dt_fail(err, DT_UNSUPPORTED, "prepend_scheme \"%s\" is not always, first or never", scheme);
}

static dt_status read_punctuation(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    (void)t;
    return read_behavior(pre, json, err);
}

static dt_status read_digits(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    (void)t;
    DT_PASS(dt_json_bool(json, "individual_digits", &pre->individual, err));
    pre->behavior = pre->individual ? DT_ISOLATED : DT_CONTIGUOUS;
    return DT_OK;
}

static dt_status read_delimiter(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    DT_PASS(dt_json_text(t, json, "delimiter", &pre->text, &pre->text_bytes, err));
    if (pre->text_bytes == 0)
        return dt_fail(err, DT_FORMAT, "\"delimiter\" is missing or empty");
    return DT_OK;
}

static dt_status read_fixed_length(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    (void)t;
    int64_t length = 5;
    DT_PASS(dt_json_int(json, "length", &length, err));
    if (length < 1)
        return dt_fail(err, DT_FORMAT, "\"length\" is %lld, expected at least 1", (long long)length);
    pre->length = (size_t)length;
    return DT_OK;
}

/* One alternative a script, so a match is a run of one. Kana counts as Han, as in sentencepiece's trainer. */
static dt_status read_scripts(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err)
{
    (void)json;
    dt_text pattern = {0};
    dt_text_put(&pattern, "[\\p{Han}\\p{Hiragana}\\p{Katakana}\\x{30FC}]+");
    for (size_t i = 0; dt_regex_script(i) != NULL; i++)
        dt_text_printf(&pattern, "|(?:(?![\\x20\\x{30FC}])\\p{%s})+", dt_regex_script(i));
    dt_status status = pattern.failed ? dt_fail_memory(err, pattern.bytes, "a regex")
                                      : dt_own_regex(t, &pre->regex, pattern.data, pattern.bytes, err);
    dt_text_free(&pattern);
    return status;
}

static const struct row {
    dt_type_row type;
    dt_pre_function run; /* NULL: a sequence */
    dt_status (*read)(dt_tokenizer *t, dt_pre *pre, const json_t *json, dt_error *err);
    dt_behavior behavior;
} rows[] = {
    {{"Sequence", "pretokenizers"}, NULL, NULL, 0},
    {{"BertPreTokenizer", NULL}, run_bert, NULL, 0},
    {{"ByteLevel", "trim_offsets"}, run_byte_level, read_byte_level, 0},
    {{"CharDelimiterSplit", "delimiter"}, run_split, read_delimiter, DT_REMOVED},
    {{"Digits", "individual_digits"}, run_digits, read_digits, 0},
    {{"FixedLength", "length"}, run_fixed_length, read_fixed_length, 0},
    {{"Metaspace", "replacement"}, run_metaspace, read_metaspace, DT_MERGED_WITH_NEXT},
    {{"Punctuation", NULL}, run_punctuation, read_punctuation, DT_ISOLATED},
    {{"Split", "pattern"}, run_split, read_split, DT_ISOLATED},
    {{"UnicodeScripts", NULL}, run_scripts, read_scripts, 0},
    {{"Whitespace", NULL}, run_whitespace, NULL, 0},
    {{"WhitespaceSplit", NULL}, run_whitespace_split, NULL, DT_REMOVED},
};

static dt_status read_one(dt_tokenizer *t, const json_t *json, int depth, dt_error *err)
{
    size_t which;
    DT_PASS(dt_json_type(json, "pre_tokenizer", rows, sizeof *rows, sizeof rows / sizeof *rows, &which, err));
    if (rows[which].run == NULL) {
        const json_t *list = dt_json_get(json, "pretokenizers");
        if (!json_is_array(list) || depth > 16)
            return dt_fail(
                err, DT_FORMAT,
                "pre_tokenizer Sequence: \"pretokenizers\" must be an array, nested at most 16 deep");
        for (size_t i = 0; i < json_array_size(list); i++)
            DT_PASS(read_one(t, json_array_get(list, i), depth + 1, err));
        return DT_OK;
    }
    if (t->pre_count == DT_PART_LIMIT)
        return dt_fail(err, DT_LIMIT, "more than %d pre-tokenizers", DT_PART_LIMIT);
    dt_pre *pre = &t->pre[t->pre_count];
    *pre = (dt_pre){.type = rows[which].type.type,
                    .run = rows[which].run,
                    .index = t->pre_count,
                    .behavior = rows[which].behavior};
    if (rows[which].read != NULL)
        DT_TRY(rows[which].read(t, pre, json, err), err, "while reading the pre-tokenizer %s",
               rows[which].type.type);
    t->pre_count++;
    return DT_OK;
}

dt_status dt_pre_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err)
{
    return json == NULL ? DT_OK : read_one(tokenizer, json, 0, err);
}
