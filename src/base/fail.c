/*
 * fail.c - builds and prints error stories. What they say is the caller's; nothing here allocates.
 */
#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

const char *dt_status_text(dt_status status)
{
    switch (status) {
#define X(name, number, text)                                                                                \
    case DT_##name:                                                                                          \
        return text;
        DT_STATUS_TABLE(X)
#undef X
    }
    return "unknown status";
}

/* Where a text of `bytes` may be cut at or before `limit` without splitting a UTF-8 character. */
static size_t cut_before(const char *text, size_t limit)
{
    while (limit > 0 && ((unsigned char)text[limit] & 0xC0) == 0x80)
        limit--;
    return limit;
}

/*
 * Format one line. Stories quote names from foreign files, which must not drive the reader's terminal: control
 * characters become '?'. A line that is too long ends in "...".
 */
DT_PRINTF(2, 0)
static void write_line(char line[DT_ERROR_LINE_BYTES], const char *format, va_list arguments)
{
    char text[DT_ERROR_LINE_BYTES + 1]; /* apart from `line`: an argument may point into the error itself */
    int wanted = vsnprintf(text, sizeof text, format, arguments);
    if (wanted < 0)
        snprintf(text, sizeof text, "(message could not be formatted: %s)", format);
    if (wanted >= DT_ERROR_LINE_BYTES) {
        size_t end = cut_before(text, DT_ERROR_LINE_BYTES - 4);
        memcpy(text + end, "...", 4);
    }
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
    memcpy(line, text, DT_ERROR_LINE_BYTES - 1);
    line[DT_ERROR_LINE_BYTES - 1] = '\0';
}

dt_status dt_fail(dt_error *err, dt_status status, const char *format, ...)
{
    if (!err)
        return status;
    va_list arguments;
    va_start(arguments, format);
    write_line(err->line[0], format, arguments);
    va_end(arguments);
    err->status = status;
    err->line_count = 1;
    err->hint[0] = '\0';
    return status;
}

void dt_error_while(dt_error *err, const char *format, ...)
{
    if (!err || err->line_count >= DT_ERROR_LINES)
        return;
    va_list arguments;
    va_start(arguments, format);
    write_line(err->line[err->line_count++], format, arguments);
    va_end(arguments);
}

void dt_error_try(dt_error *err, const char *format, ...)
{
    if (!err)
        return;
    va_list arguments;
    va_start(arguments, format);
    write_line(err->hint, format, arguments);
    va_end(arguments);
}

dt_status dt_fail_memory(dt_error *err, size_t bytes, const char *what)
{
    return dt_fail(err, DT_NO_MEMORY, "out of memory (%zu bytes for %s)", bytes, what);
}

dt_status dt_fail_errno(dt_error *err, const char *what, const char *path)
{
    int number = errno;
    char buffer[128];
    const char *reason = strerror_r(number, buffer, sizeof buffer);
    dt_status status = number == ENOENT ? DT_NOT_FOUND : number == ENOMEM ? DT_NO_MEMORY : DT_IO;
    return path ? dt_fail(err, status, "%s %s: %s", what, path, reason)
                : dt_fail(err, status, "%s: %s", what, reason);
}

void dt_error_clear(dt_error *err)
{
    if (!err)
        return;
    err->status = DT_OK;
    err->line_count = 0;
    err->hint[0] = '\0';
}

typedef struct writer {
    char *text;
    size_t room; /* bytes of text */
    size_t used; /* bytes wanted so far, maybe more than room */
} writer;

static void put(writer *w, const char *string)
{
    for (; *string; string++, w->used++)
        if (w->used + 1 < w->room)
            w->text[w->used] = *string;
}

static void put_indented(writer *w, int level, const char *label, const char *line)
{
    if (w->used > 0)
        put(w, "\n");
    for (int i = 0; i < level; i++)
        put(w, "  ");
    put(w, label);
    put(w, line);
}

size_t dt_error_format(const dt_error *err, char *text, size_t bytes)
{
    writer w = {.text = text, .room = bytes};
    if (err) {
        for (int i = err->line_count - 1, level = 0; i >= 0; i--, level++)
            put_indented(&w, level, "", err->line[i]);
        if (err->line_count == 0)
            put(&w, dt_status_text(err->status));
        if (err->hint[0])
            put_indented(&w, 1, "try: ", err->hint);
    }
    if (bytes > 0)
        text[w.used < bytes ? w.used : bytes - 1] = '\0';
    return w.used;
}
