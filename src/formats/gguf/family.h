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

const dt_gguf_family *dt_gguf_family_at(int index); /* NULL past the end */
/* The row that reads a file; DT_UNSUPPORTED lists the architectures. */
dt_status dt_gguf_family_of(const char *architecture, const json_t *metadata, const dt_gguf_family **out,
                            dt_error *err);
/* The row that holds a model; DT_UNSUPPORTED names the key that stands in the way. */
dt_status dt_gguf_family_for(const dt_model_config *config, const dt_gguf_family **out, dt_error *err);

bool dt_gguf_has(const json_t *metadata, const char *tensor);
/* Note that a model has this tensor. Nonzero: memory is short. */
int dt_gguf_put_tensor(json_t *metadata, const char *tensor);

/* Divisors of rotary frequencies under Llama 3's scaling: kv_channels / 2 floats. */
void dt_gguf_rope_factors(const dt_model_config *config, float *out);

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
