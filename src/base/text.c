/*
 * text.c - a growing string and small questions about strings. Not for tokenizing: nothing here knows UTF-8.
 */
#include "base/text.h"

#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dt_text_free(dt_text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}

void dt_text_clear(dt_text *text)
{
    text->bytes = 0;
    text->failed = false;
    if (text->data)
        text->data[0] = '\0';
}

/* Make room for `bytes` more and the terminator. */
static bool reserve(dt_text *text, size_t bytes)
{
    size_t wanted;
    if (text->failed)
        return false;
    if (!dt_add_size(text->bytes, bytes, &wanted) || !dt_add_size(wanted, 1, &wanted))
        return !(text->failed = true);
    if (wanted <= text->capacity)
        return true;
    size_t capacity = text->capacity < 32 ? 64 : text->capacity + text->capacity / 2;
    if (capacity < wanted)
        capacity = wanted;
    char *data = realloc(text->data, capacity);
    if (!data)
        return !(text->failed = true);
    text->data = data;
    text->capacity = capacity;
    return true;
}

bool dt_text_append(dt_text *text, const char *data, size_t bytes)
{
    if (!reserve(text, bytes))
        return false;
    if (bytes > 0)
        memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
    text->data[text->bytes] = '\0';
    return true;
}

bool dt_text_put(dt_text *text, const char *string)
{
    return dt_text_append(text, string, strlen(string));
}

bool dt_text_printf(dt_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (bytes < 0 || !reserve(text, (size_t)bytes))
        return !(text->failed = true);
    va_start(arguments, format);
    vsnprintf(text->data + text->bytes, (size_t)bytes + 1, format, arguments);
    va_end(arguments);
    text->bytes += (size_t)bytes;
    return true;
}

bool dt_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool dt_ends_with(const char *text, const char *suffix)
{
    size_t text_bytes = strlen(text), suffix_bytes = strlen(suffix);
    return text_bytes >= suffix_bytes && strcmp(text + text_bytes - suffix_bytes, suffix) == 0;
}

/* Read the decimal digits at *at and step over them. false: none there, or too large. */
static bool read_number(const char **at, int64_t *out)
{
    const char *c = *at;
    int64_t value = 0;
    for (; *c >= '0' && *c <= '9'; c++)
        if (!dt_mul_int64(value, 10, &value) || !dt_add_int64(value, *c - '0', &value))
            return false;
    bool any = c != *at;
    *at = c;
    *out = value;
    return any;
}

bool dt_match_numbers(const char *pattern, const char *name, int64_t *numbers, int limit, int *count)
{
    int found = 0;
    while (*pattern) {
        if (pattern[0] == '{' && pattern[1] == '}') {
            if (found == limit || !read_number(&name, &numbers[found]))
                return false;
            found++;
            pattern += 2;
        } else if (*pattern++ != *name++) {
            return false;
        }
    }
    if (count)
        *count = found;
    return *name == '\0';
}

enum { LONGEST_WORD = 256 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, row by row. Both words are at most LONGEST_WORD long. */
static size_t edit_distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    size_t row[LONGEST_WORD + 1];
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(replace, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_bytes];
}

const char *dt_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t bytes = strlen(word);
    size_t nearest = bytes / 3 + 2; /* "near" is fewer changes than this */
    const char *best = NULL;
    if (bytes > LONGEST_WORD)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t other = strlen(candidates[i]);
        if (other > LONGEST_WORD)
            continue;
        size_t distance = edit_distance(word, bytes, candidates[i], other);
        if (distance < nearest && distance < other) { /* changing every letter is not a likeness */
            nearest = distance;
            best = candidates[i];
        }
    }
    return best;
}

void dt_human_bytes(uint64_t bytes, char out[16])
{
    static const char *const unit[] = {"KB", "MB", "GB", "TB", "PB", "EB"};
    if (bytes < 1000) {
        snprintf(out, 16, "%d B", (int)bytes);
        return;
    }
    int u = 0;
    double value = (double)bytes / 1000;
    for (; value >= 999.5 && u < 5; u++)
        value /= 1000;
    snprintf(out, 16, value < 99.95 ? "%.1f %s" : "%.0f %s", value, unit[u]);
}
