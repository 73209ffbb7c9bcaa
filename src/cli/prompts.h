/*
 * prompts.h - what a command is asked to work on: text or ids, from the command line, a file or stdin.
 */
#ifndef DT_CLI_PROMPTS_H
#define DT_CLI_PROMPTS_H

#include "cli/pictures.h"

#include <drivetrain/embed.h>
#include <drivetrain/text.h>

/* The options by which prompts are given; the second positional argument is the usual one. */
#define PROMPT_OPTIONS                                                                                       \
    {"tokens", 't', OPTION_TEXT, "IDS", "ids (1,2,3) instead of text"},                                      \
        {"batch", 0, OPTION_TEXT, "FILE",                                                                    \
         "one text a line, or in a .jsonl {\"prompt\": TEXT, \"images\": [FILE]}; answers in input order"},  \
    {                                                                                                        \
        "batch-tokens", 0, OPTION_TEXT, "FILE", "one JSON array of ids a line"                               \
    }

/* Pictures of one prompt. */
typedef struct prompt_pictures {
    picture_files files;
    picture_batch batch; /* what was read of them */
} prompt_pictures;

/* All prompts of a command, and what they are made of. */
typedef struct prompt_list {
    dt_text_prompt *prompt;
    prompt_pictures *pictures; /* of each */
    size_t count, capacity;
} prompt_list;

/* Whatever the line says; with nothing said, all of stdin is one prompt. Free the list also after a failure. */
dt_status collect_prompts(const command_line *line, prompt_list *list, dt_error *err);
void free_prompts(prompt_list *list);

/* One more prompt of a list: a copy of the text. */
dt_status add_prompt(prompt_list *list, const char *text, size_t bytes, dt_error *err);

/* What dt_embed takes of each: its ids, or those of its text, which *encoded then holds (free_encoded). */
dt_status encode_prompts(const prompt_list *list, const dt_tokenizer *tokenizer, dt_embed_input **input,
                         int32_t ***encoded, dt_error *err);
void free_encoded(const prompt_list *list, dt_embed_input *input,
                  int32_t **encoded); /* also after a failure */

/*
 * Read the prompts' pictures, those of --image included, which are the only prompt's, and place them: a text that does not say
 * where its pictures are (spelling: "<image>") has them before it, which is told on stderr. A model without eyes, where
 * `config` has no tower, has none: DT_UNSUPPORTED.
 */
dt_status place_pictures(const command_line *line, const dt_model_config *config, const char *spelling,
                         prompt_list *list, dt_error *err);

/* Does the line give texts, for which a tokenizer is needed? */
bool prompts_are_text(const command_line *line);

#endif
