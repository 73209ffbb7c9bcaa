/*
 * common.h - what several commands do alike: opening models as the options say, JSON, progress, numbers for people.
 */
#ifndef DT_CLI_COMMON_H
#define DT_CLI_COMMON_H

#include "cli/command.h"

#include <drivetrain/inference.h>
#include <drivetrain/tokenizer.h>
#include <drivetrain/verify.h>

#include <jansson.h>
#include <stdio.h>

/* The options of every command that opens a model: --config, --part, --weights. */
#define MODEL_OPTIONS                                                                                        \
    {"config", 0, OPTION_TEXT, "FILE", "configuration, where the model's folder lacks one"},                 \
        {"part", 0, OPTION_TEXT, "PART",                                                                     \
         "of a model with eyes: tower, projector or language alone [all of it]"},                            \
    {                                                                                                        \
        "weights", 0, OPTION_TEXT, "WHICH",                                                                  \
            "model, or master: the unrounded ones where both are stored [model]"                             \
    }
#define DTYPE_OPTION                                                                                         \
    {                                                                                                        \
        "dtype", 0, OPTION_TEXT, "TYPE", "compute in f32, bf16, f16 or q8_0 [as stored]"                     \
    }

/* dt_model_options and dt_open_options as the command line says; usage errors are reported and give false. */
bool model_options_of(const command_line *line, dt_model_options *out);

/* Limits this process' memory when --max-memory is given. */
void apply_memory_limit(const command_line *line);

/* The tokenizer of --tokenizer or of the model's folder; *out is NULL when there is none and it is not demanded. */
dt_status open_tokenizer(const command_line *line, const char *model, bool demanded, dt_tokenizer **out,
                         dt_error *err);

void print_json(json_t *json); /* one document and a newline on stdout; takes the reference */
/* Settings that stock Megatron lacks: a list of keys, and a line that names them (none: no line). */
json_t *beyond_megatron_json(const dt_model_config *config);
void print_beyond_megatron(const dt_model_config *config);
void print_anatomy(const dt_model_config *config); /* what it is made of, within 80 columns */
json_t *skipped_json(const dt_checkpoint *c);      /* [{"name","rule"}] of the tensors a format skips */
double seconds_now(void);
uint64_t peak_resident_bytes(void);

/* Progress on stderr: a bar on a terminal once a second has passed, else a line every 10 %; none with -q. */
typedef struct progress {
    const char *what;
    bool quiet, terminal;
    double started, shown;
    int tenth;
} progress;
progress progress_start(const command_line *line, const char *what);
bool progress_show(void *progress, uint64_t done, uint64_t total); /* true: go on; false after Ctrl-C */
void progress_end(progress *p);

/* Ctrl-C asks for a clean end instead of killing: interrupted() turns true. */
void catch_interrupt(void);
bool interrupted(void);

/* "1,2,3" to ids; *ids is freed with free. */
bool parse_ids(const char *text, int32_t **ids, size_t *count);

/* All of a stream; *text is terminated and freed with free. */
dt_status read_stream(FILE *file, char **text, size_t *bytes, dt_error *err);

/* Names in a folder, sorted, each freed with dt_free; at most `limit`. */
int list_folder(const char *path, char **names, int limit);

/* "12 345 678" and "1.2 M" */
void grouped_digits(int64_t n, char out[32]);

#endif
