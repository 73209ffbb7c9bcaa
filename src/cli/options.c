/*
 * options.c - parses a command line against a command's table, and answers for its options.
 */
#include "cli/command.h"

#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

const option_spec dt_common_options[] = {
    {"backend", 0, OPTION_TEXT, "NAME", "cpu or reference (slow, f64 inside: the truth) [cpu]"},
    {"threads", 0, OPTION_INT, "N", "threads that compute [as many as the cores it may use]"},
    {"max-memory", 0, OPTION_BYTES, "BYTES", "refuse rather than use more (K, M, G) [no limit]"},
    {"json", 0, OPTION_FLAG, NULL, "exactly one JSON document on stdout"},
    {"quiet", 'q', OPTION_FLAG, NULL, "no progress"},
    {"verbose", 'v', OPTION_FLAG, NULL, "explain"},
    {"help", 'h', OPTION_FLAG, NULL, "this text"},
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* ---- errors ---- */

dt_exit report_failure(const dt_error *err)
{
    char text[DT_ERROR_TEXT_BYTES];
    struct rlimit data;
    dt_error_format(err, text, sizeof text);
    fprintf(stderr, "drivetrain: %s\n", text);
    if (err->status == DT_NO_MEMORY && getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY)
        fprintf(stderr, "  the limit is %llu bytes (--max-memory)\n", (unsigned long long)data.rlim_cur);
    return DT_EXIT_FAILED;
}

dt_exit usage_error(const command_line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "drivetrain %s: ", line->command->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\ntry: drivetrain %s --help\n", line->command->name);
    va_end(args);
    return DT_EXIT_USAGE;
}

/* ---- looking up ---- */

static int find_option(const command_line *line, const char *name, size_t length)
{
    for (int i = 0; i < line->option_count; i++)
        if (strlen(line->option[i]->name) == length && strncmp(line->option[i]->name, name, length) == 0)
            return i;
    return -1;
}

static int find_letter(const command_line *line, char letter)
{
    for (int i = 0; i < line->option_count; i++)
        if (line->option[i]->letter == letter)
            return i;
    return -1;
}

const option_value *option_of(const command_line *line, const char *name)
{
    static const option_value absent;
    int i = find_option(line, name, strlen(name));
    return i < 0 ? &absent : &line->value[i];
}

bool flag(const command_line *line, const char *name)
{
    return option_of(line, name)->on;
}

const char *text_of(const command_line *line, const char *name)
{
    return option_of(line, name)->text;
}

int64_t int_of(const command_line *line, const char *name, int64_t otherwise)
{
    const option_value *v = option_of(line, name);
    return v->given ? v->number : otherwise;
}

double real_of(const command_line *line, const char *name, double otherwise)
{
    const option_value *v = option_of(line, name);
    return v->given ? v->real : otherwise;
}

/* ---- parsing ---- */

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !*end && errno == 0;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return *text && !*end && isfinite(*out);
}

/* 512, 64K, 1.5G: powers of 1024. */
static bool parse_bytes(const char *text, int64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (end == text || !(value >= 0) || (*end && !unit) || (unit && end[1] && strcmp(end + 1, "B") != 0))
        return false;
    for (const char *u = units; unit && u <= unit; u++)
        value *= 1024;
    *out = value < 9e18 ? (int64_t)value : INT64_MAX;
    return true;
}

static bool set_value(command_line *line, int i, const char *text)
{
    option_value *v = &line->value[i];
    v->given = true;
    v->text = text;
    switch (line->option[i]->kind) {
    case OPTION_INT:
        return parse_int(text, &v->number);
    case OPTION_REAL:
        return parse_real(text, &v->real);
    case OPTION_BYTES:
        return parse_bytes(text, &v->number);
    case OPTION_LIST:
        if (v->list_count == LIST_LIMIT)
            return false;
        v->list[v->list_count++] = text;
        return true;
    default:
        return true;
    }
}

static bool needs_argument(option_kind kind)
{
    return kind != OPTION_FLAG && kind != OPTION_SWITCH;
}

static bool unknown_option(command_line *line, const char *argument)
{
    const char *names[OPTION_LIMIT];
    for (int i = 0; i < line->option_count; i++)
        names[i] = line->option[i]->name;
    const char *near = dt_nearest(argument + strspn(argument, "-"), names, (size_t)line->option_count);
    if (near)
        usage_error(line, "no option \"%s\"; did you mean --%s?", argument, near);
    else
        usage_error(line, "no option \"%s\"", argument);
    return false;
}

/* One option at argv[*at], with its argument in the same word ("--to=hf") or the next. */
static bool parse_option(command_line *line, int argc, char **argv, int *at)
{
    const char *word = argv[*at], *value = NULL;
    bool negated = false;
    int i;
    if (word[1] == '-') {
        const char *name = word + 2, *equals = strchr(name, '=');
        size_t length = equals ? (size_t)(equals - name) : strlen(name);
        i = find_option(line, name, length);
        if (i < 0 && length > 3 && strncmp(name, "no-", 3) == 0) {
            i = find_option(line, name + 3, length - 3);
            negated = i >= 0 && line->option[i]->kind == OPTION_SWITCH;
            i = negated ? i : -1;
        }
        value = equals ? equals + 1 : NULL;
    } else {
        i = find_letter(line, word[1]);
        value = word[2] ? word + 2 : NULL;
    }
    if (i < 0)
        return unknown_option(line, word);
    const option_spec *o = line->option[i];
    if (!needs_argument(o->kind)) {
        line->value[i].given = true;
        line->value[i].on = !negated;
        return value ? (usage_error(line, "--%s takes no argument", o->name), false) : true;
    }
    if (!value && ++*at < argc)
        value = argv[*at];
    if (!value)
        return usage_error(line, "--%s needs %s", o->name, o->argument), false;
    if (!set_value(line, i, value))
        return usage_error(line, "--%s \"%s\": expected %s", o->name, value, o->argument), false;
    return true;
}

static void collect_options(command_line *line)
{
    for (const option_spec *o = line->command->options; o && o->name; o++)
        line->option[line->option_count++] = o;
    for (const option_spec *o = dt_common_options; o->name; o++)
        line->option[line->option_count++] = o;
}

bool command_parse(command_line *line, const command_spec *command, int argc, char **argv)
{
    bool only_positional = false;
    *line = (command_line){.command = command};
    collect_options(line);
    for (int at = 0; at < argc; at++) {
        const char *word = argv[at];
        if (!only_positional && strcmp(word, "--") == 0)
            only_positional = true;
        else if (!only_positional && word[0] == '-' && word[1]) {
            if (!parse_option(line, argc, argv, &at))
                return false;
        } else if (line->positional_count == command->positional_max)
            return usage_error(line, "unexpected \"%s\"", word), false;
        else
            line->positional[line->positional_count++] = word;
    }
    if (flag(line, "help"))
        return true;
    if (line->positional_count < command->positional_min)
        return usage_error(line, "needs %s", command->usage), false;
    return true;
}
