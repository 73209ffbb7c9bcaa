/*
 * labels.h - `run` on a vision tower with a classifier: what is in the pictures (labels.c).
 */
#ifndef DT_CLI_LABELS_H
#define DT_CLI_LABELS_H

#include "cli/common.h"

/* The --top-k [5] likeliest classes of each picture, printed, as --json, or as --jsonl. */
dt_exit label_pictures(const command_line *line, dt_model *model);

#endif
