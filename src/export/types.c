/*
 * types.c - the tables of model types (model_types.def) and of data types. The latter's words are drivetrain's own type names,
 * and ways to quantise that a target has names of its own for.
 */
#include "export/types.h"

#include "base/fail.h"
#include "base/text.h"

#include <string.h>

static const struct {
    const char *name, *families, *about;
} model_types[] = {
#define MODEL_TYPE(name, families, about) {name, families, about},
#include "export/model_types.def"
#undef MODEL_TYPE
};

/* Ways to quantise: beside the quantised weights, others are in 16 bits. */
static const char *const quantized[] = {"fp8", "int8", "int4"};

const char *dt_model_type_of_export(const dt_model_config *config)
{
    if (config->export_model_type[0])
        return config->export_model_type;
    for (size_t i = 0; i < sizeof model_types / sizeof model_types[0]; i++)
        if (dt_target_takes(model_types[i].families, config->family))
            return model_types[i].name;
    return NULL;
}

dt_status dt_data_type_apply(const dt_target *target, const char *word, dt_export_options *write,
                             dt_error *err)
{
    for (size_t i = 0; i < sizeof quantized / sizeof quantized[0]; i++)
        if (strcmp(word, quantized[i]) == 0 && dt_target_takes(target->types, word)) {
            write->quantize = quantized[i];
            write->cast = true;
            write->dtype = DT_BF16;
            return DT_OK;
        }
    write->cast = true;
    if (dt_dtype_parse(word, &write->dtype) && dt_target_takes(target->types, dt_dtype_name(write->dtype)))
        return DT_OK;
    return dt_fail(err, DT_UNSUPPORTED, "data type \"%s\": %s holds %s", word, target->name, target->types);
}
