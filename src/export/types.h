/*
 * types.h - the words of an export: what a model is exported as, and what its weights become.
 */
#ifndef DT_EXPORT_TYPES_H
#define DT_EXPORT_TYPES_H

#include <drivetrain/export.h>

/* What the source says it is exported as, else what its family is by nature; NULL: whatever computes the same. */
const char *dt_model_type_of_export(const dt_model_config *config);

/* A data type by its word, into the fields of `write` that say it. Errors: DT_UNSUPPORTED lists the target's. */
dt_status dt_data_type_apply(const dt_target *target, const char *word, dt_export_options *write,
                             dt_error *err);

#endif
