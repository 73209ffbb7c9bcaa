/*
 * say.c - formats one line for the caller's log. Where it goes is the caller's.
 */
#include "base/say.h"

#include <stdarg.h>
#include <stdio.h>

void dt_say(const dt_log *log, dt_log_level level, const char *format, ...)
{
    if (!log || !log->write || level > log->verbosity)
        return;
    char text[1024]; /* a longer line is cut: it is meant for people */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log->write(log->user, level, text);
}
