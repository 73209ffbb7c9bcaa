/*
 * family.h - what drivetrain knows of one GGUF architecture: its keys, what goes without saying, names.
 *
 * The metadata are seen as JSON, "ARCHITECTURE." taken off; so a family is the same struct as in hf/, and what keeps a
 * model out of an architecture is found by reading back what would be written. Beside the file's own keys there are:
 * "tensors", an object with the name of every tensor; and the ids of tokens under their Hugging Face names.
 */
#ifndef DT_FORMATS_GGUF_FAMILY_H
#define DT_FORMATS_GGUF_FAMILY_H

#include "formats/hf/family.h"

typedef struct dt_gguf_family {
    const char *architecture;
    const dt_hf_family *model;
    bool (*fits)(const json_t *metadata); /* of several with one architecture; NULL: any file */
} dt_gguf_family;

/* The row that reads a file; DT_UNSUPPORTED lists the architectures. */
dt_status dt_gguf_family_of(const char *architecture, const json_t *metadata, const dt_gguf_family **out,
                            dt_error *err);
/* The row that holds a model; DT_UNSUPPORTED names the key that stands in the way. */
dt_status dt_gguf_family_for(const dt_model_config *config, const dt_gguf_family **out, dt_error *err);

bool dt_gguf_has(const json_t *metadata, const char *tensor);
/* Note that a model has this tensor. Nonzero: memory is short. */
int dt_gguf_put_tensor(json_t *metadata, const char *tensor);

/* A vector that llama.cpp wants beside the weights, made from the configuration. */
typedef struct dt_gguf_table {
    const char *name;
    void (*fill)(const dt_model_config *config, float *out);
} dt_gguf_table;

/* The tables that a model has, one by one, and their lengths; NULL past the last. */
const dt_gguf_table *dt_gguf_table_at(const dt_model_config *config, int index, int64_t *count);

/* ---- shared by architectures; what writes gives nonzero when memory is short ---- */

dt_status dt_gguf_read_rope(dt_model_config *config, const json_t *json, dt_error *err);
int dt_gguf_write_rope(const dt_model_config *config, json_t *json);

/* All layers but the last of each `period` are windowed (0: all), unless the file has another period. */
dt_status dt_gguf_read_periodic_window(dt_model_config *config, const json_t *json, int64_t period,
                                       dt_error *err);
int dt_gguf_write_periodic_window(const dt_model_config *config, json_t *json, int64_t period);
/* Of architectures that have none in llama.cpp. */
dt_status dt_gguf_read_ignored_window(dt_model_config *config, const json_t *json, dt_error *err);
int dt_gguf_write_ignored_window(const dt_model_config *config, json_t *json);
/* The longest sequence that no window cuts. */
int64_t dt_gguf_context(const dt_model_config *config);

void dt_gguf_decoder_defaults(dt_model_config *config);
void dt_gguf_llama_defaults(dt_model_config *config);
dt_status dt_gguf_written(int failed, dt_error *err);

#define DT_GGUF_FAMILY(label, name, defaults_of, read_of, write_of, key_table, name_table)                   \
    const dt_hf_family dt_gguf_##label##_family = {.model_type = name,                                       \
                                                   .architecture = "GGUF",                                   \
                                                   .key = key_table,                                         \
                                                   .key_count =                                              \
                                                       (int)(sizeof key_table / sizeof key_table[0]),        \
                                                   .names = &name_table,                                     \
                                                   .defaults = defaults_of,                                  \
                                                   .read = read_of,                                          \
                                                   .write = write_of};

#define ROW(label, architecture, fits) extern const dt_hf_family dt_gguf_##label##_family;
#include "formats/gguf/families.def"
#undef ROW

#endif
