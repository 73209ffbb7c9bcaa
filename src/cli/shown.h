/*
 * shown.h - the pictures of a conversation in the terminal: those of its messages, and those that wait for the next.
 */
#ifndef DT_CLI_SHOWN_H
#define DT_CLI_SHOWN_H

#include "cli/common.h"
#include "cli/pictures.h"

typedef struct shown_pictures {
    picture_reader reader; /* without a processor until a picture is shown */
    picture_files waiting; /* pictures that the next message shows */
    picture_files files;   /* those of all messages, in order … */
    picture_batch *batch;  /* … and what was read of each: a batch of one */
} shown_pictures;

dt_status check_eyes(const dt_model *model, dt_error *err); /* DT_UNSUPPORTED: the model sees no pictures */

/* Read a file behind those that are there. */
dt_status show_picture_file(const command_line *line, const dt_model *model, shown_pictures *shown,
                            const char *file, dt_error *err);

/* Read all pictures of a list of messages in place of what was there: content items {"type": "image", "path": FILE}. */
dt_status show_messages(const command_line *line, const dt_model *model, shown_pictures *shown,
                        const json_t *messages, dt_error *err);

/* The content of a message with the pictures that wait, which are read and wait no longer; its text comes behind them. */
dt_status show_waiting(const command_line *line, const dt_model *model, shown_pictures *shown,
                       const char *text, json_t **content, dt_error *err);

/* The pictures side by side, freed with free; they belong to `shown`. NULL: no memory. */
dt_pixels *all_pictures(const shown_pictures *shown);

/* Positions that they take beyond one token each. */
size_t further_positions(const dt_model *model, const shown_pictures *shown);

void forget_pictures(shown_pictures *shown, size_t first); /* from `first` on */
void close_shown(shown_pictures *shown);

#endif
