/*
 * pictures.h - pictures that a command is given: --image and lists of files, read as the model's processor makes them.
 */
#ifndef DT_CLI_PICTURES_H
#define DT_CLI_PICTURES_H

#include "cli/command.h"

#include <drivetrain/image.h>
#include <drivetrain/inference.h>

#define PICTURE_OPTIONS                                                                                      \
    {"image", 0, OPTION_LIST, "FILE", "a picture: JPEG, PNG or WebP (repeatable)"},                          \
    {                                                                                                        \
        "processor", 0, OPTION_TEXT, "PATH", "preprocessor_config.json, where the model's folder lacks one"  \
    }

/* So many are read before they are looked at: more would only take memory. */
enum { PICTURES_AT_ONCE = 32 };

/* Names of files: those of --image, and with `batch` the lines of --batch FILE. */
typedef struct picture_files {
    char **name;
    size_t count;
} picture_files;

bool has_pictures(const command_line *line);  /* is --image given? */
bool gives_prompts(const command_line *line); /* a text or ids? */

/* The tower of a model that sees: the model itself, or its part; NULL without. */
const dt_model_config *tower_of(const dt_model_config *config);
dt_status add_picture_file(picture_files *files, const char *name, dt_error *err);
dt_status list_pictures(const command_line *line, bool batch, picture_files *out, dt_error *err);
void free_picture_list(picture_files *files); /* also after a failure */
/* DT_INVALID: a model that looks at pictures was given none. Says what it was given, and what it looks at. */
dt_status no_pictures(const command_line *line, const dt_model_config *config, dt_error *err);

typedef struct picture_reader {
    dt_image_processor *processor;
    int64_t channels; /* 3, or 1: pictures are made grey */
    bool quiet;       /* no word of frames that are not looked at */
} picture_reader;

/* The processor of --processor, of the model's folder, or of the folder that the model's file lies in. */
dt_status open_reader(const command_line *line, const char *model, const dt_model_config *tower,
                      picture_reader *out, dt_error *err);
void close_reader(picture_reader *reader);

/* Some pictures, and the planes of them all: one each, or one a tile. */
typedef struct picture_batch {
    dt_pixels *picture;
    size_t count;
    dt_planes *planes;
    size_t plane_count;
} picture_batch;

dt_status read_pictures(const picture_reader *reader, const picture_files *files, size_t first, size_t count,
                        picture_batch *out, dt_error *err);
void free_pictures(picture_batch *batch); /* also after a failure */

#endif
