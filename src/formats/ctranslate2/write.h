/*
 * write.h - what a model.bin is going to hold: variables in the order of their names, and aliases.
 */
#ifndef DT_FORMATS_CTRANSLATE2_WRITE_H
#define DT_FORMATS_CTRANSLATE2_WRITE_H

#include "formats/open.h"

typedef struct dt_ct2_variable {
    const char *name;
    const char *alias; /* of which variable it is only another name; NULL: it has values */
    dt_dtype type;     /* as written */
    int external;      /* whose values these are; -1: `value`, a scalar, or … */
    double value;
    bool waves;         /* … the table of sinusoids of config->max_sequence_length positions */
    bool scaled;        /* integers; the scales of their rows follow as a variable of their own */
    const float *scale; /* of a variable that is those scales; filled while the integers are written */
    int64_t rows;       /* of scales */
} dt_ct2_variable;

typedef struct dt_ct2_list {
    dt_arena *arena;
    dt_ct2_variable *variable;
    int count, capacity;
    bool failed; /* memory was short */
} dt_ct2_list;

void dt_ct2_add(dt_ct2_list *list, const dt_ct2_variable *variable); /* the name is copied */
void dt_ct2_add_alias(dt_ct2_list *list, const char *alias, const char *of);

/*
 * The scalars that tell CTranslate2 what to compute.
 * Errors: DT_UNSUPPORTED names the key that CTranslate2 has no place for.
 */
dt_status dt_ct2_describe(dt_ct2_list *list, const dt_model_config *config, dt_error *err);
bool dt_ct2_two_sided(const dt_model_config *config);
/* Does the file say that the decoder starts from a zero embedding, which is no row of its tables? */
bool dt_ct2_starts_from_zero(const dt_model_config *config);

/* Vocabularies and config.json. */
dt_status dt_ct2_write_texts(const dt_checkpoint *from, const dt_model_config *config, const char *folder,
                             dt_export_result *result, dt_error *err);

/* Row `position` of the table of sinusoids. */
void dt_ct2_wave(const dt_model_config *config, int64_t position, float *row);

#endif
