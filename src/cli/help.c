/*
 * help.c - help texts, the man page and shell completions, all made from the command tables.
 */
#include "cli/command.h"
#include "models/build.h"

#include <drivetrain/checkpoint.h>
#include <drivetrain/version.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LEFT = 26 };

/* "  -o, --output PATH" */
static void option_label(const option_spec *o, char *label, size_t bytes)
{
    char letter[8] = "    ";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(label, bytes, "  %s--%s%s%s%s", letter, o->kind == OPTION_SWITCH ? "[no-]" : "", o->name,
             o->argument ? " " : "", o->argument ? o->argument : "");
}

static void print_row(const char *label, const char *text)
{
    if (strlen(label) < LEFT)
        printf("%-*s%s\n", LEFT, label, text);
    else
        printf("%s\n%*s%s\n", label, LEFT, "", text);
}

static void print_options(const option_spec *options)
{
    char label[96];
    for (const option_spec *o = options; o && o->name; o++) {
        option_label(o, label, sizeof label);
        print_row(label, o->help);
    }
}

static void print_formats(void)
{
    const dt_format_about *format;
    printf("\nMODEL is a path. Its format is found from its content:\n");
    for (int i = 0; (format = dt_format_at(i)); i++) /* what it consists of stands behind a colon */
        printf("  %-16s%.*s\n", format->name, (int)strcspn(format->description, ":"), format->description);
}

/* Words joined by commas, broken before column 80. */
static void print_families(void)
{
    const dt_model_type *type;
    size_t column = 0;
    printf("\nfamilies:\n");
    for (int i = 0; (type = dt_model_type_at(i)); i++) {
        size_t bytes = strlen(type->description) + 2;
        bool breaks = column == 0 || column + bytes > 79;
        printf("%s%s", i == 0 ? "  " : breaks ? ",\n  " : ", ", type->description);
        column = breaks ? 2 + bytes : column + bytes;
    }
    printf("\n");
}

void print_help(void)
{
    printf("drivetrain " DT_VERSION ": carries transformer models between formats, and drives them.\n\n"
           "usage: drivetrain COMMAND [arguments]\n\n");
    for (int i = 0; dt_commands[i]; i++)
        printf("  %-10s %s\n", dt_commands[i]->name, dt_commands[i]->summary);
    print_formats();
    print_families();
    printf("\nexamples:\n"
           "  drivetrain inspect t5-small/\n"
           "  drivetrain run t5-small/ \"translate English to German: The house is wonderful.\"\n"
           "  drivetrain verify t5-small/ --against recording.safetensors\n"
           "  drivetrain export iter_0100000/ --to hf -o t5-hf/\n\n"
           "Help on a command: drivetrain COMMAND --help. Exit: 0 done, 1 failed or the verdict is no, 2 "
           "usage.\n");
}

void print_command_help(const command_spec *c)
{
    char label[96];
    printf("%c%s.\n\nusage: drivetrain %s %s\n\n", toupper((unsigned char)c->summary[0]), c->summary + 1,
           c->name, c->usage);
    if (c->about[0])
        printf("%s\n\n", c->about);
    for (const char *const *p = c->positional; p && *p; p += 2) {
        snprintf(label, sizeof label, "  %s", p[0]);
        print_row(label, p[1]);
    }
    print_options(c->options);
    print_options(dt_common_options);
    printf("\nexamples:\n");
    for (const char *const *e = c->examples; *e; e++)
        printf("  drivetrain %s\n", *e);
    printf("\n%s\n", c->fact);
}

/* ---- man page ---- */

/* roff takes a leading '.' or "'" as a request and '-' as a hyphen. */
static void roff(const char *text)
{
    for (const char *p = text; *p; p++)
        if (*p == '-')
            fputs("\\-", stdout);
        else if (*p == '\\')
            fputs("\\e", stdout);
        else
            putchar(*p);
}

static void man_options(const option_spec *options)
{
    char label[96];
    for (const option_spec *o = options; o && o->name; o++) {
        option_label(o, label, sizeof label);
        printf(".TP\n.B ");
        roff(label + strspn(label, " "));
        printf("\n");
        roff(o->help);
        printf("\n");
    }
}

void print_man_page(void)
{
    printf(".TH DRIVETRAIN 1 \"\" \"drivetrain " DT_VERSION "\" \"User Commands\"\n.SH NAME\n"
           "drivetrain \\- carries transformer models between formats, and drives them\n"
           ".SH SYNOPSIS\n.B drivetrain\nCOMMAND [arguments]\n.SH COMMANDS\n");
    for (int i = 0; dt_commands[i]; i++) {
        const command_spec *c = dt_commands[i];
        printf(".SS \"drivetrain %s ", c->name);
        roff(c->usage);
        printf("\"\n");
        printf("%c%s.\n", toupper((unsigned char)c->summary[0]), c->summary + 1);
        if (c->about[0]) {
            printf(".PP\n");
            roff(c->about);
            printf("\n");
        }
        man_options(c->options);
        printf(".PP\n");
        roff(c->fact);
        printf("\n");
    }
    printf(".SH COMMON OPTIONS\n");
    man_options(dt_common_options);
    printf(".SH EXIT STATUS\n0 done; 1 failed, or the verdict is no; 2 the command line is wrong.\n");
}

/* ---- completions ---- */

static void bash_options(const option_spec *options)
{
    for (const option_spec *o = options; o && o->name; o++)
        printf(" --%s", o->name);
}

static void bash_completion(void)
{
    printf("_drivetrain() {\n  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}\n"
           "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W \"");
    for (int i = 0; dt_commands[i]; i++)
        printf("%s%s", i ? " " : "", dt_commands[i]->name);
    printf(
        "\" -- \"$word\"))\n    return\n  fi\n  case \"$word\" in\n  -*) ;;\n  *) COMPREPLY=($(compgen -f -- "
        "\"$word\")); return ;;\n  esac\n  case \"$command\" in\n");
    for (int i = 0; dt_commands[i]; i++) {
        printf("  %s) COMPREPLY=($(compgen -W \"", dt_commands[i]->name);
        bash_options(dt_commands[i]->options);
        bash_options(dt_common_options);
        printf("\" -- \"$word\")) ;;\n");
    }
    printf("  esac\n}\ncomplete -o filenames -F _drivetrain drivetrain\n");
}

static void zsh_completion(void)
{
    printf("#compdef drivetrain\nautoload -U +X bashcompinit && bashcompinit\n");
    bash_completion();
}

static void fish_completion(void)
{
    for (int i = 0; dt_commands[i]; i++) {
        const command_spec *c = dt_commands[i];
        printf("complete -c drivetrain -n __fish_use_subcommand -a %s -d \"%s\"\n", c->name, c->summary);
        for (const option_spec *o = c->options; o && o->name; o++)
            printf("complete -c drivetrain -n \"__fish_seen_subcommand_from %s\" -l %s\n", c->name, o->name);
    }
}

bool print_completion(const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        bash_completion();
    else if (strcmp(shell, "zsh") == 0)
        zsh_completion();
    else if (strcmp(shell, "fish") == 0)
        fish_completion();
    else
        return false;
    return true;
}
