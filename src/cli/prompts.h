/*
 * prompts.h - what a command is asked to work on: text or ids, from the command line, a file or stdin.
 */
#ifndef DT_CLI_PROMPTS_H
#define DT_CLI_PROMPTS_H

#include "cli/command.h"

#include <drivetrain/text.h>

/* The options by which prompts are given; the second positional argument is the usual one. */
#define PROMPT_OPTIONS                                                                                       \
    {"tokens", 't', OPTION_TEXT, "IDS", "ids (1,2,3) instead of text"},                                      \
        {"batch", 0, OPTION_TEXT, "FILE", "one text a line; answers in input order"},                        \
    {                                                                                                        \
        "batch-tokens", 0, OPTION_TEXT, "FILE", "one JSON array of ids a line"                               \
    }

/* All prompts of a command, and what they are made of. */
typedef struct prompt_list {
    dt_text_prompt *prompt;
    size_t count, capacity;
} prompt_list;

/* Whatever the line says; with nothing said, all of stdin is one prompt. Free the list also after a failure. */
dt_status collect_prompts(const command_line *line, prompt_list *list, dt_error *err);
void free_prompts(prompt_list *list);

/* Does the line give texts, for which a tokenizer is needed? */
bool prompts_are_text(const command_line *line);

#endif
