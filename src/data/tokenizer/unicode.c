/*
 * unicode.c - UTF-8, character classes and normal forms, by utf8proc.
 *
 * Leaves to normalizer.c what a tokenizer does with them. Normal forms are put together here from utf8proc's
 * parts, because its own pass over a whole string sorts long runs of marks in quadratic time.
 */
#include "data/tokenizer/unicode.h"

#include <utf8proc.h>

size_t dt_utf8_decode(const char *text, size_t bytes, uint32_t *code)
{
    if (bytes == 0)
        return 0;
    unsigned char lead = (unsigned char)text[0];
    if (lead < 0x80) {
        *code = lead;
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    size_t length = dt_utf8_length(text[0]), used;
    if (length > bytes)
        return 0;
    for (size_t i = 1; i < length; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80)
            return 0;
    uint32_t value = dt_utf8_peek(text, &used);
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        return 0;
    *code = value;
    return length;
}

size_t dt_utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

bool dt_is_ascii(const char *text, size_t bytes)
{
    unsigned char all = 0;
    for (size_t i = 0; i < bytes; i++)
        all |= (unsigned char)text[i];
    return all < 0x80;
}

bool dt_utf8_valid(const char *text, size_t bytes)
{
    if (dt_is_ascii(text, bytes))
        return true;
    uint32_t code;
    for (size_t at = 0, used; at < bytes; at += used)
        if ((used = dt_utf8_decode(text + at, bytes - at, &code)) == 0)
            return false;
    return true;
}

/* May `second` follow `lead` in a valid sequence? */
static bool second_fits(unsigned char lead, unsigned char second)
{
    switch (lead) {
    case 0xE0:
        return second >= 0xA0 && second <= 0xBF;
    case 0xED:
        return second >= 0x80 && second <= 0x9F;
    case 0xF0:
        return second >= 0x90 && second <= 0xBF;
    case 0xF4:
        return second >= 0x80 && second <= 0x8F;
    default:
        return second >= 0x80 && second <= 0xBF;
    }
}

size_t dt_utf8_bad_bytes(const char *text, size_t bytes)
{
    unsigned char lead = (unsigned char)text[0];
    if (lead < 0xC2 || lead > 0xF4 || bytes < 2 || !second_fits(lead, (unsigned char)text[1]))
        return 1;
    size_t length = dt_utf8_length(text[0]), good = 2;
    while (good < length && good < bytes && ((unsigned char)text[good] & 0xC0) == 0x80)
        good++;
    return good < length ? good : 1;
}

bool dt_utf8_incomplete(const char *text, size_t bytes)
{
    unsigned char lead = (unsigned char)text[0];
    if (lead < 0xC2 || lead > 0xF4 || bytes >= dt_utf8_length(text[0]))
        return false;
    return bytes == 1 || dt_utf8_bad_bytes(text, bytes) == bytes;
}

bool dt_utf8_repair(dt_text *out, const char *text, size_t bytes)
{
    if (dt_utf8_valid(text, bytes))
        return dt_put(out, text, bytes);
    uint32_t code;
    size_t at = 0;
    while (at < bytes) {
        size_t used = dt_utf8_decode(text + at, bytes - at, &code);
        if (used > 0) {
            dt_put(out, text + at, used);
        } else {
            dt_put(out, DT_REPLACEMENT, DT_REPLACEMENT_BYTES);
            used = dt_utf8_bad_bytes(text + at, bytes - at);
        }
        at += used;
    }
    return !out->failed;
}

bool dt_is_space(uint32_t code)
{
    if (code < 0x80)
        return code == ' ' || (code >= 9 && code <= 13);
    return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

/* 33-126, 161-172 and 174-255 stand for themselves; the other 68, in ascending order, for U+0100 and on. */
uint32_t dt_byte_to_code(unsigned char byte)
{
    if (byte <= 32)
        return 0x100u + byte;
    if (byte < 127 || (byte >= 161 && byte != 173))
        return byte;
    return byte == 173 ? 0x143 : 0x121u + (byte - 127u);
}

int dt_code_to_byte(uint32_t code)
{
    if (code >= 0x100)
        return code <= 0x120   ? (int)code - 0x100
               : code <= 0x142 ? (int)code - 0x121 + 127
               : code == 0x143 ? 173
                               : -1;
    return (code > 32 && code < 127) || (code >= 161 && code != 173) ? (int)code : -1;
}

static utf8proc_category_t category(uint32_t code)
{
    return utf8proc_category((utf8proc_int32_t)code);
}

typedef struct range {
    uint32_t first, last;
    unsigned kind;
} range;

/* The range of a sorted table that holds `code`, or NULL. */
static const range *range_of(const range *table, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && table[low].first <= code ? &table[low] : NULL;
}

enum {
    MARK = DT_CLASS_UPPER | DT_CLASS_LOWER,
    UPPER_LETTER = DT_CLASS_LETTER | DT_CLASS_UPPER,
    LOWER_LETTER = DT_CLASS_LETTER | DT_CLASS_LOWER,
    OTHER_LETTER = DT_CLASS_LETTER | DT_CLASS_UPPER | DT_CLASS_LOWER,
};

/* Letters, marks and digits that Unicode 15.1 and 16 added: tokenizers' regexes know them, older utf8procs do not. */
static const range newer[] = {{0x897, 0x897, MARK},
                              {0x1C89, 0x1C89, UPPER_LETTER},
                              {0x1C8A, 0x1C8A, LOWER_LETTER},
                              {0xA7CB, 0xA7CC, UPPER_LETTER},
                              {0xA7CD, 0xA7CD, LOWER_LETTER},
                              {0xA7DA, 0xA7DA, UPPER_LETTER},
                              {0xA7DB, 0xA7DB, LOWER_LETTER},
                              {0xA7DC, 0xA7DC, UPPER_LETTER},
                              {0x105C0, 0x105F3, OTHER_LETTER},
                              {0x10D40, 0x10D49, DT_CLASS_NUMBER},
                              {0x10D4A, 0x10D4F, OTHER_LETTER},
                              {0x10D50, 0x10D65, UPPER_LETTER},
                              {0x10D69, 0x10D6D, MARK},
                              {0x10D6F, 0x10D6F, OTHER_LETTER},
                              {0x10D70, 0x10D85, LOWER_LETTER},
                              {0x10EC2, 0x10EC4, OTHER_LETTER},
                              {0x10EFC, 0x10EFC, MARK},
                              {0x11380, 0x11389, OTHER_LETTER},
                              {0x1138B, 0x1138B, OTHER_LETTER},
                              {0x1138E, 0x1138E, OTHER_LETTER},
                              {0x11390, 0x113B5, OTHER_LETTER},
                              {0x113B7, 0x113B7, OTHER_LETTER},
                              {0x113B8, 0x113C0, MARK},
                              {0x113C2, 0x113C2, MARK},
                              {0x113C5, 0x113C5, MARK},
                              {0x113C7, 0x113CA, MARK},
                              {0x113CC, 0x113D0, MARK},
                              {0x113D1, 0x113D1, OTHER_LETTER},
                              {0x113D2, 0x113D2, MARK},
                              {0x113D3, 0x113D3, OTHER_LETTER},
                              {0x113E1, 0x113E2, MARK},
                              {0x116D0, 0x116E3, DT_CLASS_NUMBER},
                              {0x11BC0, 0x11BE0, OTHER_LETTER},
                              {0x11BF0, 0x11BF9, DT_CLASS_NUMBER},
                              {0x11F5A, 0x11F5A, MARK},
                              {0x13460, 0x143FA, OTHER_LETTER},
                              {0x16100, 0x1611D, OTHER_LETTER},
                              {0x1611E, 0x1612F, MARK},
                              {0x16130, 0x16139, DT_CLASS_NUMBER},
                              {0x16D40, 0x16D6C, OTHER_LETTER},
                              {0x16D70, 0x16D79, DT_CLASS_NUMBER},
                              {0x18CFF, 0x18CFF, OTHER_LETTER},
                              {0x1CCF0, 0x1CCF9, DT_CLASS_NUMBER},
                              {0x1E5D0, 0x1E5ED, OTHER_LETTER},
                              {0x1E5EE, 0x1E5EF, MARK},
                              {0x1E5F0, 0x1E5F0, OTHER_LETTER},
                              {0x1E5F1, 0x1E5FA, DT_CLASS_NUMBER},
                              {0x2EBF0, 0x2EE5D, OTHER_LETTER}};

unsigned dt_class(uint32_t code)
{
    const range *found;
    switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return UPPER_LETTER;
    case UTF8PROC_CATEGORY_LL:
        return LOWER_LETTER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return OTHER_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return DT_CLASS_NUMBER;
    case UTF8PROC_CATEGORY_CN:
        found = range_of(newer, sizeof newer / sizeof *newer, code);
        return found != NULL ? found->kind : 0;
    default:
        return dt_is_space(code) ? DT_CLASS_SPACE : 0;
    }
}

bool dt_is_number(uint32_t code)
{
    if (code < 0x80)
        return code >= '0' && code <= '9';
    utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

/* Punctuation since Unicode 9, which tokenizers' table (Unicode 8) does not have … */
static const range later_punctuation[] = {
    {0x61D, 0x61D, 0},     {0x9FD, 0x9FD, 0},     {0xA76, 0xA76, 0},     {0xC77, 0xC77, 0},
    {0xC84, 0xC84, 0},     {0x1B7D, 0x1B7E, 0},   {0x2E43, 0x2E4F, 0},   {0x2E52, 0x2E5D, 0},
    {0x10EAD, 0x10EAD, 0}, {0x10F55, 0x10F59, 0}, {0x10F86, 0x10F89, 0}, {0x1144B, 0x1144F, 0},
    {0x1145A, 0x1145B, 0}, {0x1145D, 0x1145D, 0}, {0x11660, 0x1166C, 0}, {0x116B9, 0x116B9, 0},
    {0x1183B, 0x1183B, 0}, {0x11944, 0x11946, 0}, {0x119E2, 0x119E2, 0}, {0x11A3F, 0x11A46, 0},
    {0x11A9A, 0x11A9C, 0}, {0x11A9E, 0x11AA2, 0}, {0x11B00, 0x11B09, 0}, {0x11C41, 0x11C45, 0},
    {0x11C70, 0x11C71, 0}, {0x11EF7, 0x11EF8, 0}, {0x11F43, 0x11F4F, 0}, {0x11FFF, 0x11FFF, 0},
    {0x12FF1, 0x12FF2, 0}, {0x16E97, 0x16E9A, 0}, {0x16FE2, 0x16FE2, 0}, {0x1E95E, 0x1E95F, 0}};

/* … and two that changed since. */
static bool was_punctuation(uint32_t code)
{
    return code == 0x166D || code == 0x111C9;
}

bool dt_is_punctuation(uint32_t code)
{
    if (code < 0x80)
        return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) || (code >= 91 && code <= 96) ||
               (code >= 123 && code <= 126);
    utf8proc_category_t c = category(code);
    if (c < UTF8PROC_CATEGORY_PC || c > UTF8PROC_CATEGORY_PO)
        return was_punctuation(code);
    return range_of(later_punctuation, sizeof later_punctuation / sizeof *later_punctuation, code) == NULL;
}

bool dt_is_nonspacing(uint32_t code)
{
    return code >= 0x300 && category(code) == UTF8PROC_CATEGORY_MN;
}

bool dt_is_mark(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

bool dt_is_other(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CS ||
           c == UTF8PROC_CATEGORY_CO;
}

/* Alphabetic is L, Nl and Other_Alphabetic; what of the last is neither a letter nor a mark are these four. */
static bool is_circled_letter(uint32_t code)
{
    return (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
           (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
}

bool dt_is_word(uint32_t code)
{
    if (code < 0x80)
        return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || code == '_' ||
               (code >= 'a' && code <= 'z');
    utf8proc_category_t c = category(code);
    if (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) /* letters, marks, Nd, Nl in that order */
        return true;
    return c == UTF8PROC_CATEGORY_PC || code == 0x200C || code == 0x200D || is_circled_letter(code);
}

size_t dt_lower(uint32_t code, uint32_t out[2])
{
    if (code == 0x130) { /* the one unconditional special case of SpecialCasing.txt */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    if (code < 0x80)
        out[0] = code >= 'A' && code <= 'Z' ? code + 32 : code;
    else
        out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    return 1;
}

size_t dt_grapheme_bytes(const char *text, size_t bytes)
{
    if (bytes == 0)
        return 0;
    size_t used, at;
    utf8proc_int32_t state = 0, last = (utf8proc_int32_t)dt_utf8_peek(text, &at);
    while (at < bytes) {
        utf8proc_int32_t next = (utf8proc_int32_t)dt_utf8_peek(text + at, &used);
        if (utf8proc_grapheme_break_stateful(last, next, &state))
            break;
        last = next;
        at += used;
    }
    return at;
}

static bool put_code(dt_text *codes, utf8proc_int32_t code)
{
    return dt_put(codes, (const char *)&code, sizeof code);
}

/* Sort one run of marks by combining class, stably: by insertion when short, else by counting. */
static bool sort_marks(utf8proc_int32_t *run, size_t count, dt_text *spare)
{
    if (count < 16) {
        for (size_t i = 1; i < count; i++) {
            utf8proc_int32_t code = run[i];
            int rank = utf8proc_get_property(code)->combining_class;
            size_t at = i;
            for (; at > 0 && utf8proc_get_property(run[at - 1])->combining_class > rank; at--)
                run[at] = run[at - 1];
            run[at] = code;
        }
        return true;
    }
    size_t start[257] = {0};
    for (size_t i = 0; i < count; i++)
        start[(utf8proc_get_property(run[i])->combining_class & 255) + 1]++;
    for (int i = 0; i < 256; i++)
        start[i + 1] += start[i];
    dt_text_clear(spare);
    if (!dt_text_append(spare, (const char *)run, count * sizeof *run))
        return false;
    const utf8proc_int32_t *from = (const utf8proc_int32_t *)(void *)spare->data;
    for (size_t i = 0; i < count; i++)
        run[start[utf8proc_get_property(from[i])->combining_class & 255]++] = from[i];
    return true;
}

static bool sort_all_marks(dt_text *codes)
{
    utf8proc_int32_t *code = (utf8proc_int32_t *)(void *)codes->data;
    size_t count = codes->bytes / sizeof *code;
    dt_text spare = {0};
    bool done = true;
    for (size_t i = 0, end; i < count && done; i = end + 1) {
        for (end = i; end < count && utf8proc_get_property(code[end])->combining_class != 0;)
            end++;
        if (end - i > 1)
            done = sort_marks(code + i, end - i, &spare);
    }
    dt_text_free(&spare);
    return done;
}

static bool decompose(dt_text *codes, bool compatible, const char *text, size_t bytes)
{
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
    utf8proc_int32_t parts[64]; /* the longest decomposition has 18 */
    for (size_t at = 0, used; at < bytes; at += used) {
        utf8proc_int32_t code = (utf8proc_int32_t)dt_utf8_peek(text + at, &used);
        int boundary = 0;
        utf8proc_ssize_t count = utf8proc_decompose_char(code, parts, 64, options, &boundary);
        if (count < 0 || count > 64) {
            parts[0] = code;
            count = 1;
        }
        for (utf8proc_ssize_t i = 0; i < count; i++)
            put_code(codes, parts[i]);
    }
    return !codes->failed;
}

bool dt_normal_form(dt_text *out, dt_form form, const char *text, size_t bytes)
{
    if (dt_is_ascii(text, bytes))
        return dt_put(out, text, bytes);
    dt_text codes = {0};
    bool done = decompose(&codes, form == DT_NFKC || form == DT_NFKD, text, bytes) && sort_all_marks(&codes);
    if (done) {
        utf8proc_int32_t *code = (utf8proc_int32_t *)(void *)codes.data;
        utf8proc_ssize_t count = (utf8proc_ssize_t)(codes.bytes / sizeof *code);
        if (form == DT_NFC || form == DT_NFKC)
            count = utf8proc_normalize_utf32(code, count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        for (utf8proc_ssize_t i = 0; i < count; i++) {
            char letter[4];
            dt_put(out, letter, dt_utf8_encode((uint32_t)code[i], letter));
        }
    }
    dt_text_free(&codes);
    return done && !out->failed;
}
