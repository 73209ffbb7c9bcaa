/*
 * labels.h - `run` on a vision tower with a classifier, or on two towers: what is in the pictures (labels.c).
 */
#ifndef DT_CLI_LABELS_H
#define DT_CLI_LABELS_H

#include "cli/common.h"

#define LABEL_OPTIONS                                                                                        \
    {                                                                                                        \
        "labels", 0, OPTION_TEXT, "TEXT,TEXT", "texts to choose among for each picture (CLIP, SigLIP)"       \
    }

/* Does the model tell what pictures show: a tower by itself, or one beside a text tower? */
bool labels_pictures(const dt_model_config *config);

/* The --top-k [5] likeliest classes, or texts of --labels, of each picture, printed, as --json, or as --jsonl. */
dt_exit label_pictures(const command_line *line, dt_model *model);

#endif
