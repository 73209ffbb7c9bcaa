/*
 * among.h - pictures among words, from the inside: where a picture's rows come from, and where they stand.
 */
#ifndef DT_INFERENCE_AMONG_H
#define DT_INFERENCE_AMONG_H

#include "base/fail.h"

#include <drivetrain/config.h>
#include <drivetrain/picture.h>

enum { DT_AMONG_NEWLINE = -1 };

/*
 * How many rows stand for a picture, and with `order` (of so many) which: the index of a row that the projector makes of its
 * tiles, one tile behind another, or DT_AMONG_NEWLINE for the learnt row behind a line.
 */
dt_status dt_among_rows(const dt_model_config *config, const dt_pixels *picture, int64_t *rows,
                        dt_error *err);
void dt_among_order(const dt_model_config *config, const dt_pixels *picture, int32_t *order);

/* Rows that the projector makes of one tile. */
int64_t dt_among_tile_rows(const dt_model_config *config, const dt_pixels *picture);

/* dt_picture_expand; `rows` [pictures] are dt_among_rows of each. *out is freed with dt_free. */
dt_status dt_among_expand(const dt_model_config *config, const int32_t *tokens, size_t count, size_t pictures,
                          const int64_t *rows, int32_t **out, size_t *out_count, dt_error *err);

#endif
