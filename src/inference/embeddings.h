/*
 * embeddings.h - what dt_embed hands out, while it is filled: a vector or a matrix for each text or picture.
 */
#ifndef DT_INFERENCE_EMBEDDINGS_H
#define DT_INFERENCE_EMBEDDINGS_H

#include "base/fail.h"

#include <drivetrain/embed.h>

/* Room for `count` vectors or matrices of `width` columns, all empty. */
dt_status dt_embeddings_create(dt_embeddings **out, size_t count, int64_t width, dt_error *err);

/* Keep rows [rows, width] at `index`, or their mean; each vector that is kept to length 1 with `normalize`. */
dt_status dt_embeddings_keep(dt_embeddings *e, size_t index, const float *row, int64_t rows, bool mean,
                             bool normalize, dt_error *err);

/* What a tower makes of a picture by itself: what it projects, else pools, else the mean over its patches. */
dt_pooling dt_tower_pooling(const dt_model_config *tower);
/* What a text tower makes of a text: its projection where it has one or is compared with pictures, else its one row. */
dt_pooling dt_text_tower_pooling(const dt_model_config *config);
/* Has it a projection of texts that is no part of pooling, or pictures to compare with? */
bool dt_projects_texts(const dt_model_config *config);

#endif
