/*
 * gguf_model.h - what reading and writing GGUF share: names of types, the tokenizer's keys.
 */
#ifndef DT_FORMATS_GGUF_MODEL_H
#define DT_FORMATS_GGUF_MODEL_H

#include "base/gguf.h"
#include "base/text.h"

#include <drivetrain/dtype.h>

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
 * The keys of the tokenizer that lies in a model's folder: tokenizer.json and its companions, or of another GGUF file.
 * `rows` is how many rows the embedding has: the list of tokens is filled up to it. Without a tokenizer: model "none".
 * Errors: DT_UNSUPPORTED a tokenizer that GGUF has no name for.
 */
dt_status dt_gguf_put_tokenizer(dt_gguf_keys *keys, const char *path, int64_t rows, dt_error *err);

#endif
