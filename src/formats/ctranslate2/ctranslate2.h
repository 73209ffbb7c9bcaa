/*
 * ctranslate2.h - CTranslate2's model.bin: named variables one after another, and scalars that configure the model.
 */
#ifndef DT_FORMATS_CTRANSLATE2_H
#define DT_FORMATS_CTRANSLATE2_H

#include "formats/names.h"

#include <jansson.h>

/* What is said beside the tensors. */
typedef struct dt_ct2_file {
    uint32_t version, revision; /* of the file's layout; of the spec */
    const char *spec;           /* "TransformerSpec"; in the set's arena */
    json_t *scalars;            /* name → number; the caller's to decref, also after an error */
} dt_ct2_file;

/*
 * Add a model.bin's tensors to the set: weights in integers are readable as floats through their scales, which are
 * tensors too; an alias is a tensor of the same bytes.
 * Errors: DT_FORMAT names the variable and the offset; DT_UNSUPPORTED the version.
 */
dt_status dt_ct2_read(dt_stored_set *set, const char *path, dt_ct2_file *out, dt_error *err);
dt_status dt_ct2_read_map(dt_stored_set *set, const dt_map *map, dt_ct2_file *out, dt_error *err);

/* What kind of model it is: an empty configuration of its type. Errors: DT_UNSUPPORTED the spec. */
dt_status dt_ct2_identify(const dt_ct2_file *file, dt_model_config *config, dt_error *err);

/* The configuration that scalars and shapes tell of. Derives nothing. */
dt_status dt_ct2_configure(const dt_stored_set *set, const dt_ct2_file *file, dt_model_config *config,
                           dt_error *err);

#endif
