/*
 * command.h - the commands as data: parsing, help, man page and completions all come from these tables.
 */
#ifndef DT_CLI_COMMAND_H
#define DT_CLI_COMMAND_H

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum dt_exit { DT_EXIT_DONE = 0, DT_EXIT_FAILED = 1, DT_EXIT_USAGE = 2 } dt_exit;

typedef enum option_kind {
    OPTION_FLAG,   /* --json; sets true */
    OPTION_SWITCH, /* --stream / --no-stream */
    OPTION_TEXT,   /* --to FORMAT */
    OPTION_LIST,   /* --stop TEXT, repeatable */
    OPTION_INT,    /* --max-tokens N */
    OPTION_REAL,   /* --temperature T */
    OPTION_BYTES   /* --max-memory 4G */
} option_kind;

typedef struct option_spec {
    const char *name; /* "max-tokens", without dashes */
    char letter;      /* 'o' for -o, or 0 */
    option_kind kind;
    const char *argument; /* "N" in help; NULL for flags */
    const char *help;     /* one line; the default in brackets at its end */
} option_spec;

enum { OPTION_LIMIT = 48, POSITIONAL_LIMIT = 256, LIST_LIMIT = 64 };

/* The value of each option of a command, by place in its table. */
typedef struct option_value {
    bool given;
    bool on;
    const char *text;
    int64_t number;
    double real;
    const char *list[LIST_LIMIT];
    int list_count;
} option_value;

typedef struct command_line command_line;

typedef struct command_spec {
    const char *name;
    const char *summary; /* "write a model in another format" */
    const char *usage;   /* what follows "drivetrain NAME": "MODEL --to FORMAT -o PATH [options]" */
    const char *about;   /* a paragraph, may be "" */
    int positional_min, positional_max;
    const char *const *positional; /* pairs "MODEL", "directory or file …"; NULL ends */
    const option_spec *options;    /* ends with a NULL name; the common ones are added */
    const char *const *examples;   /* NULL ends */
    const char *fact;              /* one fact worth knowing */
    dt_exit (*run)(const command_line *line);
} command_spec;

struct command_line {
    const command_spec *command;
    const option_spec *option[OPTION_LIMIT];
    option_value value[OPTION_LIMIT];
    int option_count;
    const char *positional[POSITIONAL_LIMIT];
    int positional_count;
};

extern const command_spec *const dt_commands[]; /* NULL ends */
extern const option_spec dt_common_options[];

/* Parse argv after the command's name; complaints go to stderr. false: exit with DT_EXIT_USAGE. */
bool command_parse(command_line *line, const command_spec *command, int argc, char **argv);

const option_value *option_of(const command_line *line,
                              const char *name); /* never NULL for an option in the table */
bool flag(const command_line *line, const char *name);
const char *text_of(const command_line *line, const char *name); /* NULL when not given */
int64_t int_of(const command_line *line, const char *name, int64_t otherwise);
double real_of(const command_line *line, const char *name, double otherwise);

/* "drivetrain: STORY" on stderr; returns DT_EXIT_FAILED. */
dt_exit report_failure(const dt_error *err);
dt_exit usage_error(const command_line *line, const char *format, ...) DT_PRINTF(2, 3);

/* help.c */
void print_help(void);
void print_command_help(const command_spec *command);
void print_man_page(void);
bool print_completion(const char *shell);

#endif
