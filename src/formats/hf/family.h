/*
 * family.h - what drivetrain knows of one Hugging Face model type: its keys, defaults, names and classes.
 *
 * Keys that carry one number over are rows (keys_*.def) that run both ways; what takes thought (activations, rotary
 * settings, tied heads) is a pair of functions. A family is a row of families.c, found through models.def.
 */
#ifndef DT_FORMATS_HF_FAMILY_H
#define DT_FORMATS_HF_FAMILY_H

#include "formats/names.h"

#include <jansson.h>

/* An alias is another name that transformers reads, never writes: where it is given, it wins. */
typedef enum dt_hf_kind { DT_HF_INT, DT_HF_REAL, DT_HF_BOOL, DT_HF_ALIAS } dt_hf_kind;

typedef struct dt_hf_key {
    dt_hf_kind kind;
    const char *key;
    size_t offset; /* of the field in dt_model_config */
} dt_hf_key;

/* What the tensors say where a configuration is silent or wrong. */
typedef struct dt_hf_evidence {
    bool head;    /* there is a head of its own, different from the embedding */
    bool decoder; /* T5: there is a decoder */
} dt_hf_evidence;

typedef struct dt_hf_family {
    const char *model_type;   /* config.json's, and the row of models.def */
    const char *architecture; /* the class that transformers loads */
    const dt_hf_key *key;
    int key_count;
    const dt_name_table *names;
    void (*defaults)(dt_model_config *config);
    dt_status (*read)(dt_model_config *config, const json_t *json, const dt_hf_evidence *evidence,
                      dt_error *err);
    /* Can the class hold this configuration? false: *key is what stands in the way. */
    bool (*holds)(const dt_model_config *config, const char **key);
    dt_status (*write)(const dt_model_config *config, json_t *json, dt_error *err);
} dt_hf_family;

const dt_hf_family *dt_hf_family_at(int index);                /* NULL past the end */
const dt_hf_family *dt_hf_family_find(const char *model_type); /* NULL when unknown */
dt_status dt_hf_family_of(const json_t *json, const dt_hf_family **out, dt_error *err); /* by "model_type" */

/* Read config.json (and generation_config.json, which may be NULL) into a configuration. Derives nothing. */
dt_status dt_hf_read_config(const dt_hf_family *family, const json_t *json, const json_t *generation,
                            const dt_hf_evidence *evidence, dt_model_config *config, dt_error *err);

/* Shared by families: activation and rotary keys. */
dt_status dt_hf_read_activation(const char *key, const char *name, dt_activation *out, dt_error *err);
const char *dt_hf_activation_name(dt_activation activation); /* NULL: transformers has none */
dt_status dt_hf_read_rope(dt_model_config *config, const json_t *json, dt_error *err);
dt_status dt_hf_write_rope(const dt_model_config *config, json_t *json, dt_error *err);

/* What keeps a model out of Llama's attention, norms and positions, which other families share; NULL: nothing. */
const char *dt_hf_llama_obstacle(const dt_model_config *config);

/* The families' pairs. */
#define DT_HF_FAMILY_FUNCTIONS(name)                                                                         \
    void dt_hf_##name##_defaults(dt_model_config *);                                                         \
    dt_status dt_hf_##name##_read(dt_model_config *, const json_t *, const dt_hf_evidence *, dt_error *);    \
    bool dt_hf_##name##_holds(const dt_model_config *, const char **);                                       \
    dt_status dt_hf_##name##_write(const dt_model_config *, json_t *, dt_error *);
DT_HF_FAMILY_FUNCTIONS(gpt2)
DT_HF_FAMILY_FUNCTIONS(llama)
DT_HF_FAMILY_FUNCTIONS(mixtral)
DT_HF_FAMILY_FUNCTIONS(t5)
DT_HF_FAMILY_FUNCTIONS(mt5)
DT_HF_FAMILY_FUNCTIONS(umt5)

#endif
