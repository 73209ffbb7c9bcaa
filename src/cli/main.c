/*
 * main.c - finds the command and runs it. Everything a command is stands in its own file's table.
 */
#include "cli/command.h"

#include "base/text.h"

#include <drivetrain/version.h>

#include <stdio.h>
#include <string.h>

extern const command_spec command_inspect, command_run, command_chat, command_trace, command_verify,
    command_export, command_tokenize, command_bench, command_embed, command_preprocess;

const command_spec *const dt_commands[] = {
    &command_inspect,
    &command_run,
    &command_chat,
    &command_embed,
    &command_verify,
    &command_trace,
    &command_export,
    &command_tokenize,
    &command_preprocess,
    &command_bench,
    NULL,
};

static const command_spec *find_command(const char *name)
{
    for (int i = 0; dt_commands[i]; i++)
        if (strcmp(dt_commands[i]->name, name) == 0)
            return dt_commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[32];
    size_t count = 0;
    while (dt_commands[count]) {
        names[count] = dt_commands[count]->name;
        count++;
    }
    const char *near = dt_nearest(name, names, count);
    fprintf(stderr, "drivetrain: no command \"%s\"", name);
    if (near)
        fprintf(stderr, "; did you mean %s?", near);
    fprintf(stderr, "\ntry: drivetrain --help\n");
    return DT_EXIT_USAGE;
}

static int help_on(int argc, char **argv)
{
    const command_spec *command = argc > 0 ? find_command(argv[0]) : NULL;
    if (argc > 0 && !command)
        return unknown_command(argv[0]);
    if (command)
        print_command_help(command);
    else
        print_help();
    return DT_EXIT_DONE;
}

/* What the packager asks for; not listed among the commands. */
static int meta_command(int argc, char **argv)
{
    if (strcmp(argv[0], "--version") == 0) {
        printf("drivetrain " DT_VERSION "\n");
        return DT_EXIT_DONE;
    }
    if (strcmp(argv[0], "--man") == 0) {
        print_man_page();
        return DT_EXIT_DONE;
    }
    if (strcmp(argv[0], "--completion") == 0 && argc > 1 && print_completion(argv[1]))
        return DT_EXIT_DONE;
    return unknown_command(argv[0]);
}

static int run_command(const command_spec *command, int argc, char **argv)
{
    command_line line;
    if (!command_parse(&line, command, argc, argv))
        return DT_EXIT_USAGE;
    if (flag(&line, "help")) {
        print_command_help(command);
        return DT_EXIT_DONE;
    }
    int code = (int)command->run(&line);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "drivetrain: stdout could not be written\n");
        return DT_EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv)
{
    argc--;
    argv++;
    if (argc == 0) {
        print_help();
        return DT_EXIT_USAGE;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0)
        return help_on(argc - 1, argv + 1);
    const command_spec *command = find_command(argv[0]);
    return command ? run_command(command, argc - 1, argv + 1) : meta_command(argc, argv);
}
