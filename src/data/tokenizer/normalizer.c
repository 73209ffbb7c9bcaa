/*
 * normalizer.c - the "normalizer" of tokenizer.json: text in, cleaner text out.
 *
 * Besides the text each step keeps one number, how many leading bytes stem from the very first character of the
 * caller's text: Metaspace's "first" asks for it (pre_tokenizer.c). Leaves sentencepiece's own normalizer to
 * sentencepiece.c, Unicode to unicode.c, the replacement table to charsmap.c.
 */
#include "data/tokenizer/base64.h"
#include "data/tokenizer/parts.h"

#include <string.h>

/* Writes normalized text and follows what becomes of the text's beginning. */
typedef struct writer {
    dt_text *out;
    size_t *zero;
    size_t zero_in;
} writer;

/* Append text that took the place of what stood at `source` in the input. */
static void write_text(writer *w, const char *text, size_t bytes, size_t source)
{
    if (source < w->zero_in && *w->zero == w->out->bytes)
        *w->zero += bytes;
    dt_put(w->out, text, bytes);
}

static void write_code(writer *w, uint32_t code, size_t source)
{
    char letter[4];
    write_text(w, letter, dt_utf8_encode(code, letter), source);
}

static dt_status written(const dt_work *work, const dt_text *out)
{
    return out->failed ? dt_work_no_memory(work) : DT_OK;
}

static size_t common_prefix(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    size_t i = 0;
    while (i < a_bytes && i < b_bytes && a[i] == b[i])
        i++;
    return i;
}

static dt_status run_form(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out, size_t *zero)
{
    dt_normal_form(out, n->form, in.text, in.bytes);
    dt_text first = {0};
    dt_normal_form(&first, n->form, in.text, in.zero);
    if (!out->failed && first.data != NULL)
        *zero = common_prefix(first.data, first.bytes, out->data, out->bytes);
    out->failed |= first.failed;
    dt_text_free(&first);
    return written(work, out);
}

static dt_status run_lowercase(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out, size_t *zero)
{
    (void)n;
    writer w = {out, zero, in.zero};
    for (size_t at = 0, used; at < in.bytes; at += used) {
        uint32_t lower[2];
        size_t count = dt_lower(dt_utf8_peek(in.text + at, &used), lower);
        for (size_t i = 0; i < count; i++)
            write_code(&w, lower[i], at);
    }
    return written(work, out);
}

static dt_status run_strip(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out, size_t *zero)
{
    size_t begin = in.bytes, end = 0, used;
    for (size_t at = 0; at < in.bytes; at += used) {
        if (dt_is_space(dt_utf8_peek(in.text + at, &used)))
            continue;
        if (at < begin)
            begin = at;
        end = at + used;
    }
    if (!n->left)
        begin = 0;
    if (!n->right)
        end = in.bytes;
    if (begin > end)
        begin = end;
    writer w = {out, zero, in.zero};
    if (in.zero > begin && in.zero < end) {
        write_text(&w, in.text + begin, in.zero - begin, begin);
        write_text(&w, in.text + in.zero, end - in.zero, in.zero);
    } else {
        write_text(&w, in.text + begin, end - begin, begin);
    }
    return written(work, out);
}

static dt_status run_strip_accents(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                   size_t *zero)
{
    (void)n;
    writer w = {out, zero, in.zero};
    for (size_t at = 0, used; at < in.bytes; at += used)
        if (!dt_is_mark(dt_utf8_peek(in.text + at, &used)))
            write_text(&w, in.text + at, used, at);
    return written(work, out);
}

static dt_status run_prepend(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out, size_t *zero)
{
    if (in.bytes > 0)
        dt_put(out, n->content, n->content_bytes);
    dt_put(out, in.text, in.bytes);
    *zero = in.zero > 0 ? in.zero + n->content_bytes : 0;
    return written(work, out);
}

static dt_status run_replace_string(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                    size_t *zero)
{
    writer w = {out, zero, in.zero};
    size_t at = 0;
    while (at < in.bytes) {
        const char *hit =
            n->pattern_bytes == 0 ? NULL : memmem(in.text + at, in.bytes - at, n->pattern, n->pattern_bytes);
        size_t begin = hit == NULL ? in.bytes : (size_t)(hit - in.text);
        size_t middle = in.zero > at && in.zero < begin ? in.zero : begin;
        write_text(&w, in.text + at, middle - at, at);
        write_text(&w, in.text + middle, begin - middle, middle);
        at = begin;
        if (hit != NULL) {
            at += n->pattern_bytes;
            write_text(&w, n->content, n->content_bytes, at - 1);
        }
    }
    return written(work, out);
}

static dt_status run_replace_regex(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                   size_t *zero)
{
    writer w = {out, zero, in.zero};
    dt_match_walk walk = {0};
    dt_match match;
    size_t at = 0;
    for (;;) {
        bool found;
        DT_PASS(dt_regex_next(n->regex, &work->regex, in.text, in.bytes, &walk, &match, &found, work->err));
        size_t begin = found ? match.begin : in.bytes;
        size_t middle = in.zero > at && in.zero < begin ? in.zero : begin;
        write_text(&w, in.text + at, middle - at, at);
        write_text(&w, in.text + middle, begin - middle, middle);
        if (!found)
            return written(work, out);
        write_text(&w, n->content, n->content_bytes, match.end > 0 ? match.end - 1 : 0);
        at = match.end;
    }
}

static dt_status run_byte_level(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                size_t *zero)
{
    (void)n;
    writer w = {out, zero, in.zero};
    for (size_t at = 0; at < in.bytes; at++)
        write_code(&w, dt_byte_to_code((unsigned char)in.text[at]), at);
    return written(work, out);
}

/* sentencepiece's "nmt" rules without NFKC: some controls vanish, odd spaces become spaces. */
static dt_status run_nmt(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out, size_t *zero)
{
    (void)n;
    writer w = {out, zero, in.zero};
    for (size_t at = 0, used; at < in.bytes; at += used) {
        uint32_t c = dt_utf8_peek(in.text + at, &used);
        bool gone =
            (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
        bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                     (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
        if (space)
            write_text(&w, " ", 1, at);
        else if (!gone)
            write_text(&w, in.text + at, used, at);
    }
    return written(work, out);
}

/* tokenizers' reading of a charsmap: whole short grapheme clusters first, then single characters; shortest rule. */
static dt_status run_precompiled(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                 size_t *zero)
{
    writer w = {out, zero, in.zero};
    dt_rule rule;
    for (size_t at = 0, cluster; at < in.bytes; at += cluster) {
        bool plain = (unsigned char)in.text[at] < 0x80 &&
                     (at + 1 == in.bytes || (unsigned char)in.text[at + 1] < 0x80);
        if (plain && at >= in.zero && in.text[at] != '\r' && !n->charsmap.alone[(unsigned char)in.text[at]]) {
            dt_put(out, in.text + at, 1); /* no rule can touch it */
            cluster = 1;
            continue;
        }
        cluster = plain && in.text[at] != '\r' ? 1 : dt_grapheme_bytes(in.text + at, in.bytes - at);
        if (cluster < 6 && dt_charsmap_find(&n->charsmap, in.text + at, cluster, false, &rule)) {
            write_text(&w, rule.text, rule.bytes, at);
            continue;
        }
        for (size_t i = at, used; i < at + cluster; i += used) {
            used = dt_utf8_length(in.text[i]);
            if (dt_charsmap_find(&n->charsmap, in.text + i, used, false, &rule))
                write_text(&w, rule.text, rule.bytes, i);
            else
                write_text(&w, in.text + i, used, i);
        }
    }
    return written(work, out);
}

/* The blocks that BERT sets apart; 2B920 (for 2B820) is what the reference says. */
static bool is_chinese(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
           (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* clean_text, handle_chinese_chars: all but what needs decomposed text. */
static dt_status bert_clean(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out, size_t *zero)
{
    writer w = {out, zero, in.zero};
    for (size_t at = 0, used; at < in.bytes; at += used) {
        uint32_t c = dt_utf8_peek(in.text + at, &used);
        if (n->clean && c != '\t' && c != '\n' && c != '\r' && (c == 0 || c == 0xFFFD || dt_is_other(c)))
            continue;
        if (n->clean && dt_is_space(c))
            c = ' ';
        bool apart = n->chinese && is_chinese(c);
        if (apart)
            write_text(&w, " ", 1, at);
        write_code(&w, c, at);
        if (apart)
            write_text(&w, " ", 1, at);
    }
    return written(work, out);
}

static dt_status bert_strip_and_lower(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                      size_t *zero)
{
    writer w = {out, zero, in.zero};
    for (size_t at = 0, used; at < in.bytes; at += used) {
        uint32_t c = dt_utf8_peek(in.text + at, &used);
        if (n->strip_accents && dt_is_nonspacing(c))
            continue;
        uint32_t lower[2] = {c};
        size_t count = n->lower ? dt_lower(c, lower) : 1;
        for (size_t i = 0; i < count; i++)
            write_code(&w, lower[i], at);
    }
    return written(work, out);
}

static dt_status run_bert(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out, size_t *zero)
{
    dt_text clean = {0}, apart = {0};
    size_t clean_zero = 0, apart_zero = 0;
    dt_normalizer decompose = {.form = DT_NFD};
    dt_status status = bert_clean(n, work, in, &clean, &clean_zero);
    dt_piece step = {clean.data ? clean.data : "", clean.bytes, clean_zero};
    if (status == DT_OK && n->strip_accents) {
        status = run_form(&decompose, work, step, &apart, &apart_zero);
        step = (dt_piece){apart.data ? apart.data : "", apart.bytes, apart_zero};
    }
    if (status == DT_OK)
        status = bert_strip_and_lower(n, work, step, out, zero);
    dt_text_free(&clean);
    dt_text_free(&apart);
    return status;
}

dt_status dt_normalize(dt_work *work, dt_piece in, dt_piece *out)
{
    const dt_tokenizer *t = work->tokenizer;
    for (int i = 0; i < t->normalizer_count; i++) {
        dt_text *to = &work->normal[i % 2];
        size_t zero = 0;
        dt_text_clear(to);
        DT_PASS(t->normalizer[i].run(&t->normalizer[i], work, in, to, &zero));
        in = (dt_piece){to->data ? to->data : "", to->bytes, zero};
    }
    *out = in;
    return DT_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

typedef dt_status (*read_function)(dt_tokenizer *t, dt_normalizer *n, const json_t *json, dt_error *err);

static dt_status read_strip(dt_tokenizer *t, dt_normalizer *n, const json_t *json, dt_error *err)
{
    (void)t;
    n->left = n->right = true;
    DT_PASS(dt_json_bool(json, "strip_left", &n->left, err));
    return dt_json_bool(json, "strip_right", &n->right, err);
}

static dt_status read_prepend(dt_tokenizer *t, dt_normalizer *n, const json_t *json, dt_error *err)
{
    n->content = "";
    return dt_json_text(t, json, "prepend", &n->content, &n->content_bytes, err);
}

static dt_status read_replace(dt_tokenizer *t, dt_normalizer *n, const json_t *json, dt_error *err)
{
    n->content = "";
    DT_PASS(dt_json_text(t, json, "content", &n->content, &n->content_bytes, err));
    DT_PASS(dt_json_pattern(t, json, &n->pattern, &n->pattern_bytes, &n->regex, err));
    if (n->regex != NULL)
        n->run = run_replace_regex;
    return DT_OK;
}

static dt_status read_bert(dt_tokenizer *t, dt_normalizer *n, const json_t *json, dt_error *err)
{
    (void)t;
    n->clean = n->chinese = n->lower = true;
    DT_PASS(dt_json_bool(json, "clean_text", &n->clean, err));
    DT_PASS(dt_json_bool(json, "handle_chinese_chars", &n->chinese, err));
    DT_PASS(dt_json_bool(json, "lowercase", &n->lower, err));
    n->strip_accents = n->lower;
    return dt_json_bool(json, "strip_accents", &n->strip_accents, err);
}

static dt_status read_precompiled(dt_tokenizer *t, dt_normalizer *n, const json_t *json, dt_error *err)
{
    const char *text = NULL;
    DT_PASS(dt_json_string(json, "precompiled_charsmap", &text, err));
    dt_text data = {0};
    dt_status status = DT_OK;
    size_t bytes = text ? strlen(text) : 0, read = dt_base64_decode(&data, text ? text : "", bytes);
    if (read < bytes)
        status = dt_fail(err, DT_FORMAT, "precompiled_charsmap: byte %zu is not base64", read);
    else if (data.failed)
        status = dt_fail_memory(err, bytes, "a precompiled charsmap");
    if (status == DT_OK)
        status = dt_charsmap_parse(&n->charsmap, t->arena, data.data, data.bytes, err);
    dt_text_free(&data);
    return status;
}

static const struct row {
    dt_type_row type;
    dt_normalize_function run; /* NULL: a sequence */
    read_function read;
    dt_form form;
} rows[] = {
    {{"Sequence", "normalizers"}, NULL, NULL, 0},
    {{"BertNormalizer", "handle_chinese_chars"}, run_bert, read_bert, 0},
    {{"ByteLevel", NULL}, run_byte_level, NULL, 0},
    {{"Lowercase", NULL}, run_lowercase, NULL, 0},
    {{"NFC", NULL}, run_form, NULL, DT_NFC},
    {{"NFD", NULL}, run_form, NULL, DT_NFD},
    {{"NFKC", NULL}, run_form, NULL, DT_NFKC},
    {{"NFKD", NULL}, run_form, NULL, DT_NFKD},
    {{"Nmt", NULL}, run_nmt, NULL, 0},
    {{"Precompiled", "precompiled_charsmap"}, run_precompiled, read_precompiled, 0},
    {{"Prepend", "prepend"}, run_prepend, read_prepend, 0},
    {{"Replace", "pattern"}, run_replace_string, read_replace, 0},
    {{"Strip", "strip_left"}, run_strip, read_strip, 0},
    {{"StripAccents", NULL}, run_strip_accents, NULL, 0},
};

static dt_status read_one(dt_tokenizer *t, const json_t *json, int depth, dt_error *err)
{
    size_t which;
    DT_PASS(dt_json_type(json, "normalizer", rows, sizeof *rows, sizeof rows / sizeof *rows, &which, err));
    if (rows[which].run == NULL) {
        const json_t *list = dt_json_get(json, "normalizers");
        if (!json_is_array(list) || depth > 16)
            return dt_fail(err, DT_FORMAT,
                           "normalizer Sequence: \"normalizers\" must be an array, nested at most 16 deep");
        for (size_t i = 0; i < json_array_size(list); i++)
            DT_PASS(read_one(t, json_array_get(list, i), depth + 1, err));
        return DT_OK;
    }
    if (t->normalizer_count == DT_PART_LIMIT)
        return dt_fail(err, DT_LIMIT, "more than %d normalizers", DT_PART_LIMIT);
    dt_normalizer *n = &t->normalizer[t->normalizer_count];
    n->run = rows[which].run;
    n->type = rows[which].type.type;
    n->form = rows[which].form;
    if (rows[which].read != NULL)
        DT_TRY(rows[which].read(t, n, json, err), err, "while reading the normalizer %s",
               rows[which].type.type);
    t->normalizer_count++;
    return DT_OK;
}

dt_status dt_normalizers_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err)
{
    return json == NULL ? DT_OK : read_one(tokenizer, json, 0, err);
}
