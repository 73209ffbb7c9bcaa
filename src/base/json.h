/*
 * json.h - jansson with our errors: strict reading of foreign JSON and typed access that names the key.
 *
 * Readers refuse duplicate keys, NaN and Infinity, trailing text, nesting beyond 128 and documents beyond
 * `limit` bytes. A key whose value is null counts as absent everywhere.
 */
#ifndef DT_BASE_JSON_H
#define DT_BASE_JSON_H

#include "base/fail.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

dt_status dt_json_parse(json_t **out, const char *text, size_t bytes, const char *what, dt_error *err);
dt_status dt_json_load(json_t **out, const char *path, size_t limit, dt_error *err);
dt_status dt_json_save(const json_t *json, const char *path, dt_error *err); /* pretty, through dt_output */

/* Each leaves *out as it was when the key is absent or null; a wrong type is DT_FORMAT and names the key. */
dt_status dt_json_int(const json_t *object, const char *key, int64_t *out, dt_error *err);
dt_status dt_json_real(const json_t *object, const char *key, double *out, dt_error *err);
dt_status dt_json_bool(const json_t *object, const char *key, bool *out, dt_error *err);
dt_status dt_json_string(const json_t *object, const char *key, const char **out,
                         dt_error *err); /* borrowed */

/* A list of at most `limit` pairs of positive numbers; and back, NULL when memory is short. */
dt_status dt_json_pairs(const json_t *object, const char *key, int limit, int *count, int32_t (*out)[2],
                        dt_error *err);
json_t *dt_json_from_pairs(int count, const int32_t (*pair)[2]);

/* The value, or NULL when absent or null. */
json_t *dt_json_get(const json_t *object, const char *key);

#endif
