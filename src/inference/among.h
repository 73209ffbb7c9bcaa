/*
 * among.h - pictures among words, from the inside: how many rows one has, and where they stand.
 */
#ifndef DT_INFERENCE_AMONG_H
#define DT_INFERENCE_AMONG_H

#include "base/fail.h"

#include <drivetrain/config.h>
#include <drivetrain/picture.h>

/* How many rows stand for a picture. */
dt_status dt_among_rows(const dt_model_config *config, const dt_pixels *picture, int64_t *rows,
                        dt_error *err);

/* dt_picture_expand; `rows` [pictures] are dt_among_rows of each. *out is freed with dt_free. */
dt_status dt_among_expand(const dt_model_config *config, const int32_t *tokens, size_t count, size_t pictures,
                          const int64_t *rows, int32_t **out, size_t *out_count, dt_error *err);

#endif
