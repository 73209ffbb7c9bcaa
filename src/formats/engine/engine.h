/*
 * engine.h - the finished car: one file with the weights as the cpu backend's kernels read them, mapped and not read.
 *
 * A bundle (base/bundle.h) of
 *   config.json             the configuration, in Megatron's words
 *   engine.json             {"drivetrain": version, "dtype": of products, "isa": instruction set, "plan": …}
 *   weights/FORM/NAME       a parameter in a form of backend/: bytes as a kernel reads them
 *   tokenizer.json, …       the tokenizer, the chat template and the generation settings of the model
 * Nobody else's format can be made of it again, and nothing trains it. export/engine.c writes it.
 */
#ifndef DT_FORMATS_ENGINE_H
#define DT_FORMATS_ENGINE_H

#include "base/bundle.h"

#include <drivetrain/checkpoint.h>

/* What an engine was made for. */
typedef struct dt_engine_about {
    const char *version, *isa; /* borrowed from the checkpoint */
    dt_dtype dtype;
} dt_engine_about;

/* false: the checkpoint is none. */
bool dt_checkpoint_engine(const dt_checkpoint *checkpoint, dt_engine_about *out);

/*
 * A parameter's bytes in a form, mapped, 64-byte aligned. Errors: DT_NOT_FOUND, an engine for another machine or an
 * older drivetrain: says what it was made for and how to rebuild it; DT_FORMAT, not as many bytes as the form takes.
 */
dt_status dt_engine_weight(const dt_checkpoint *checkpoint, const char *name, const char *form, size_t bytes,
                           const void **data, dt_error *err);

/* "weights/FORM/NAME" */
bool dt_engine_entry(char *out, size_t bytes, const char *name, const char *form);

#endif
