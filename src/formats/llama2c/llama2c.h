/*
 * llama2c.h - llama2.c's model files: a header, then tensors in a fixed order.
 */
#ifndef DT_FORMATS_LLAMA2C_H
#define DT_FORMATS_LLAMA2C_H

#include "formats/stored.h"

#include <drivetrain/config.h>

/*
 * Add a file's tensors to the set, a layer's one by one, under Meta's names, and tell the configuration.
 * Errors: DT_FORMAT names the number of the header that cannot be, or the file's size against the one that the
 * header makes; DT_UNSUPPORTED the version.
 */
dt_status dt_llama2c_read(dt_stored_set *set, const dt_map *map, dt_model_config *config, dt_error *err);

/* Do a file's first bytes look like a header? */
bool dt_llama2c_header(const uint8_t *data, size_t bytes);

#endif
