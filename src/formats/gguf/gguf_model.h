/*
 * gguf_model.h - what reading and writing GGUF share: names of types, the tokenizer's keys.
 */
#ifndef DT_FORMATS_GGUF_MODEL_H
#define DT_FORMATS_GGUF_MODEL_H

#include "base/gguf.h"
#include "base/text.h"

#include <drivetrain/checkpoint.h>

/* A type's id in GGUF, or -1. */
int dt_gguf_type_id(dt_dtype dtype);

/* ---- the header being written: each appends one key ---- */
typedef struct dt_gguf_keys {
    dt_text text;
    uint64_t count;
} dt_gguf_keys;

void dt_gguf_put_number(dt_text *text, uint64_t value, int bytes);
void dt_gguf_put_text(dt_text *text, const char *data, size_t bytes);
void dt_gguf_key_u32(dt_gguf_keys *keys, const char *key, uint32_t value);
void dt_gguf_key_f32(dt_gguf_keys *keys, const char *key, float value);
void dt_gguf_key_bool(dt_gguf_keys *keys, const char *key, bool value);
void dt_gguf_key_string(dt_gguf_keys *keys, const char *key, const char *value);
void dt_gguf_key_array(dt_gguf_keys *keys, const char *key, dt_gguf_type type, uint64_t count);

/*
 * The keys of the tokenizer that lies in a model's folder, or in the GGUF file that the model is; without one, model
 * "none". The list of tokens has as many entries as the embedding has rows. What GGUF has no words for, and texts that
 * would be encoded otherwise, are told as warnings: the model is of use without. Errors: what cannot be read.
 */
dt_status dt_gguf_put_tokenizer(dt_gguf_keys *keys, const char *path, const dt_model_config *config,
                                const dt_log *log, dt_error *err);

/* How states become one vector, as sentence-transformers' files in a model's folder say; nothing where there are none. */
dt_status dt_gguf_put_pooling(dt_gguf_keys *keys, const char *folder, dt_error *err);

/* The tokenizer of a GGUF file as files in a Hugging Face folder; `files` grows by their number. */
dt_status dt_gguf_copy_tokenizer(const char *path, const char *folder, const dt_log *log, int *files,
                                 dt_error *err);

/* … and how its pictures are made, where it has eyes that drivetrain wrote. */
dt_status dt_gguf_copy_processor(const char *path, const char *folder, int *files, dt_error *err);

#endif
