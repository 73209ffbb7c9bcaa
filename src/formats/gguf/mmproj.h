/*
 * mmproj.h - what write.c and open.c need of mmproj.c: the second file of a model with eyes.
 */
#ifndef DT_FORMATS_GGUF_MMPROJ_H
#define DT_FORMATS_GGUF_MMPROJ_H

#include "formats/gguf/gguf_model.h"
#include "formats/open.h"

#define DT_GGUF_EYES "clip" /* the architecture of such files */

/* Can llama.cpp see with them? DT_UNSUPPORTED names the key in the way, and the nearest choice. */
dt_status dt_gguf_check_eyes(const dt_model_config *config, dt_error *err);
dt_status dt_gguf_put_eyes(dt_gguf_keys *keys, const dt_checkpoint *from, int file_type, dt_error *err);
/* The tensors of the second file, unbound. */
dt_status dt_gguf_map_eyes(dt_mapping **out, dt_arena *arena, const dt_model_config *config, dt_error *err);
/* The names of both files together, or of the second alone (language NULL). */
dt_status dt_gguf_eyes_names(dt_name_table *out, dt_arena *arena, const dt_model_config *config,
                             const dt_name_table *language, dt_error *err);
/* The configuration of the whole model, where drivetrain wrote the file; else *whole is false. */
dt_status dt_gguf_read_eyes(dt_checkpoint *checkpoint, dt_gguf *file, bool *whole, dt_error *err);

#endif
