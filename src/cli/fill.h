/*
 * fill.h - `run` on an encoder: masked words (fill.c).
 */
#ifndef DT_CLI_FILL_H
#define DT_CLI_FILL_H

#include "cli/common.h"
#include "cli/prompts.h"

/* The --top-k [5] likeliest words at each mask of each prompt, printed or as --json. */
dt_exit fill_masks(const command_line *line, dt_model *model, const dt_tokenizer *tokenizer,
                   const prompt_list *prompts);

#endif
