/*
 * lexer.c - cuts a template into tokens, with jinja2's rules for white space around tags: trim_blocks takes the line
 * end behind a block or comment, lstrip_blocks the blanks before one that stands first in its line, "-" at either
 * side takes all white space there and "+" keeps it.
 */
#include "data/jinja/lexer.h"

#include "data/jinja/characters.h"

#include <ctype.h>
#include <string.h>

typedef struct lexer {
    const char *at, *end, *begin;
    int line;
    bool line_starting; /* the last thing read ended a line */
    char open[128];     /* brackets that await their partner */
    int open_count;
    token_list *out;
    dt_arena *arena;
    dt_error *err;
} lexer;

static dt_status syntax(const lexer *l, const char *what)
{
    dt_fail(l->err, DT_FORMAT, "%s", what);
    dt_error_while(l->err, "in line %d of the chat template", l->line);
    return DT_FORMAT;
}

static void count_lines(lexer *l, const char *from, const char *to)
{
    while ((from = memchr(from, '\n', (size_t)(to - from)))) {
        l->line++;
        from++;
    }
}

static dt_status emit(lexer *l, token_kind kind, const char *text, size_t bytes)
{
    token_list *o = l->out;
    if (o->count == o->capacity) {
        size_t larger = o->capacity ? 2 * o->capacity : 256;
        token *grown = dt_arena_grow(l->arena, o->token, o->count * sizeof *grown, larger * sizeof *grown);
        if (!grown)
            return dt_fail_memory(l->err, larger * sizeof *grown, "a template's tokens");
        o->token = grown;
        o->capacity = larger;
    }
    o->token[o->count++] = (token){.kind = kind, .line = l->line, .text = text, .bytes = bytes};
    return DT_OK;
}

/* ---- white space ---- */

static const char *skip_space(const char *at, const char *end)
{
    size_t n;
    while (at < end && dt_j_is_space(dt_j_decode(at, (size_t)(end - at), &n)))
        at += n;
    return at;
}

/* The end of a text whose trailing white space is cut away. */
static const char *cut_space(const char *begin, const char *end)
{
    while (end > begin) {
        const char *c = end - 1;
        size_t n;
        while (c > begin && ((unsigned char)*c & 0xC0) == 0x80)
            c--;
        if (!dt_j_is_space(dt_j_decode(c, (size_t)(end - c), &n)))
            break;
        end = c;
    }
    return end;
}

static bool all_space(const char *at, const char *end)
{
    return at < end && skip_space(at, end) == end;
}

/* Where the text before a tag ends, given the tag's sign and kind ('{' for a variable). */
static const char *text_end(const lexer *l, const char *tag, char sign, bool variable)
{
    if (sign == '-')
        return cut_space(l->at, tag);
    if (sign == '+' || variable)
        return tag;
    const char *line = memrchr(l->at, '\n', (size_t)(tag - l->at));
    line = line ? line + 1 : l->line_starting ? l->at : NULL;
    return line && all_space(line, tag) ? line : tag;
}

/* Behind a tag's end: `sign` '-' takes all white space, '+' none, otherwise one line end where `trim`. */
static void after_tag(lexer *l, const char *at, char sign, bool trim)
{
    const char *from = l->at;
    if (sign == '-')
        at = skip_space(at, l->end);
    else if (sign != '+' && trim && at < l->end && *at == '\n')
        at++;
    count_lines(l, from, at);
    l->at = at;
    l->line_starting = at > l->begin && at[-1] == '\n';
}

/* ---- comments and raw blocks ---- */

static dt_status skip_comment(lexer *l)
{
    const char *close = memmem(l->at, (size_t)(l->end - l->at), "#}", 2);
    if (!close)
        return syntax(l, "a comment {# is never closed");
    char sign = close > l->at && (close[-1] == '-' || close[-1] == '+') ? close[-1] : 0;
    after_tag(l, close + 2, sign, true);
    return DT_OK;
}

/* Is `{%` with this word at `tag`? *behind receives where its tag ends, *sign the sign there. */
static bool word_tag(const lexer *l, const char *tag, const char *word, const char **behind, char *sign)
{
    const char *at = tag + 2;
    size_t n = strlen(word);
    at += at < l->end && (*at == '-' || *at == '+');
    at = skip_space(at, l->end);
    if ((size_t)(l->end - at) < n || memcmp(at, word, n) != 0)
        return false;
    at = skip_space(at + n, l->end);
    *sign = at < l->end && (*at == '-' || *at == '+') ? *at++ : 0;
    *behind = at + 2;
    return l->end - at >= 2 && at[0] == '%' && at[1] == '}';
}

static dt_status raw_block(lexer *l)
{
    const char *behind;
    char sign;
    for (const char *tag = l->at; (tag = memmem(tag, (size_t)(l->end - tag), "{%", 2)); tag++) {
        if (!word_tag(l, tag, "endraw", &behind, &sign))
            continue;
        char before = tag[2] == '-' || tag[2] == '+' ? tag[2] : 0;
        const char *end = text_end(l, tag, before, false);
        if (end > l->at)
            DT_PASS(emit(l, T_TEXT, l->at, (size_t)(end - l->at)));
        after_tag(l, behind, sign, true);
        return DT_OK;
    }
    return syntax(l, "{% raw %} without {% endraw %}");
}

/* ---- inside tags ---- */

static bool digit_of(char c, int base)
{
    int d = isdigit((unsigned char)c) ? c - '0' : isalpha((unsigned char)c) ? (c | 32) - 'a' + 10 : 99;
    return d < base;
}

/* Digits with single underscores between them. */
static const char *digits(const char *at, int base)
{
    while (digit_of(*at, base) || (*at == '_' && digit_of(at[1], base)))
        at++;
    return at;
}

static dt_status number(lexer *l)
{
    const char *from = l->at, *at = from;
    bool after_dot = from > l->begin && from[-1] == '.';
    static const struct {
        char letter;
        int base;
    } prefix[] = {{'b', 2}, {'o', 8}, {'x', 16}};
    for (int i = 0; from[0] == '0' && i < 3; i++)
        if ((from[1] | 32) == prefix[i].letter && digits(from + 2, prefix[i].base) > from + 2) {
            l->at = digits(from + 2, prefix[i].base);
            return emit(l, T_INTEGER, from, (size_t)(l->at - from));
        }
    at = digits(from, 10);
    bool real = false;
    if (!after_dot && *at == '.' && isdigit((unsigned char)at[1])) {
        at = digits(at + 1, 10);
        real = true;
    }
    size_t sign = *at && (at[1] == '+' || at[1] == '-');
    if (!after_dot && (*at | 32) == 'e' && isdigit((unsigned char)at[1 + sign])) {
        at = digits(at + 1 + sign, 10);
        real = true;
    }
    if (!real && *from == '0' && strspn(from, "0_") < (size_t)(at - from))
        return syntax(l, "a number with a leading zero");
    l->at = at;
    return emit(l, real ? T_REAL : T_INTEGER, from, (size_t)(at - from));
}

static dt_status quoted(lexer *l)
{
    const char *at = l->at + 1;
    while (at < l->end && *at != *l->at)
        at += *at == '\\' && at + 1 < l->end ? 2 : 1;
    if (at >= l->end)
        return syntax(l, "a string is never closed");
    const char *from = l->at;
    DT_PASS(emit(l, T_STRING, from, (size_t)(at + 1 - from)));
    count_lines(l, from, at);
    l->at = at + 1;
    return DT_OK;
}

static dt_status bracket(lexer *l, char c)
{
    const char *open = strchr("([{", c);
    if (c && open) {
        if (l->open_count == (int)sizeof l->open)
            return syntax(l, "brackets are nested too deeply");
        l->open[l->open_count++] = ")]}"[open - "([{"];
    } else if (c && strchr(")]}", c)) {
        if (l->open_count == 0 || l->open[l->open_count - 1] != c)
            return syntax(l, "a closing bracket has no partner");
        l->open_count--;
    }
    return DT_OK;
}

static dt_status operator(lexer *l)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = 0;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (l->at + 1 < l->end && memcmp(l->at, two[i], 2) == 0)
            n = 2;
    if (n == 0 && *l->at && strchr("+-*/%~<>=.:|,;()[]{}", *l->at))
        n = 1;
    if (n == 0)
        return syntax(l, "a character that means nothing inside a tag");
    if (n == 1)
        DT_PASS(bracket(l, *l->at));
    l->at += n;
    return emit(l, T_OPERATOR, l->at - n, n);
}

static bool name_character(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

static dt_status word(lexer *l)
{
    const char *from = l->at;
    while (l->at < l->end && name_character(*l->at))
        l->at++;
    return emit(l, T_NAME, from, (size_t)(l->at - from));
}

/* Does the tag end here? Its end is read then, white space behind it included. */
static bool tag_ends(lexer *l, char first, dt_status *status)
{
    const char *at = l->at;
    bool variable = first == '}';
    char sign = *at == '-' || (*at == '+' && !variable) ? *at : 0;
    at += sign != 0;
    if (l->open_count || l->end - at < 2 || at[0] != first || at[1] != '}')
        return false;
    *status = emit(l, variable ? T_VARIABLE_END : T_BLOCK_END, l->at, 2);
    after_tag(l, at + 2, sign, !variable);
    return true;
}

static dt_status inside_tag(lexer *l, char first)
{
    dt_status status;
    for (;;) {
        const char *from = l->at;
        l->at = skip_space(l->at, l->end);
        count_lines(l, from, l->at);
        if (l->at >= l->end)
            return syntax(l, first == '}' ? "{{ is never closed" : "{% is never closed");
        if (tag_ends(l, first, &status))
            return status;
        if (isdigit((unsigned char)*l->at))
            DT_PASS(number(l));
        else if (name_character(*l->at))
            DT_PASS(word(l));
        else if (*l->at == '"' || *l->at == '\'')
            DT_PASS(quoted(l));
        else
            DT_PASS(operator(l));
    }
}

/* ---- the whole ---- */

static const char *find_tag(const char *at, const char *end)
{
    while ((at = memchr(at, '{', (size_t)(end - at)))) {
        if (end - at >= 2 && (at[1] == '{' || at[1] == '%' || at[1] == '#'))
            return at;
        at++;
    }
    return NULL;
}

static dt_status tag(lexer *l, const char *at)
{
    const char *behind;
    char sign, kind = at[1];
    if (kind == '%' && word_tag(l, at, "raw", &behind, &sign)) {
        count_lines(l, l->at, at);
        l->at = at;
        after_tag(l, behind, sign, false);
        return raw_block(l);
    }
    const char *from = l->at;
    l->at = at + 2;
    l->at += l->at < l->end && (*l->at == '-' || *l->at == '+');
    count_lines(l, from, l->at);
    if (kind == '#')
        return skip_comment(l);
    DT_PASS(emit(l, kind == '{' ? T_VARIABLE_BEGIN : T_BLOCK_BEGIN, at, 2));
    return inside_tag(l, kind == '{' ? '}' : '%');
}

dt_status dt_j_lex(token_list *out, dt_arena *arena, const char *text, size_t bytes, dt_error *err)
{
    lexer l = {.at = text, .end = text + bytes, .begin = text, .line = 1, .line_starting = true};
    l.out = out;
    l.arena = arena;
    l.err = err;
    *out = (token_list){0};
    while (l.at < l.end) {
        const char *at = find_tag(l.at, l.end), *end = l.end;
        if (at) {
            char sign = at + 2 < l.end && (at[2] == '-' || at[2] == '+') ? at[2] : 0;
            end = text_end(&l, at, sign, at[1] == '{');
        }
        if (end > l.at)
            DT_PASS(emit(&l, T_TEXT, l.at, (size_t)(end - l.at)));
        if (!at)
            break;
        DT_PASS(tag(&l, at));
    }
    return emit(&l, T_END, l.end, 0);
}
