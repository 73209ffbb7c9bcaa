/*
 * see.h - pictures to the rows that stand for them among words: a tower's, projected, each picture encoded once.
 */
#ifndef DT_INFERENCE_SEE_H
#define DT_INFERENCE_SEE_H

#include "inference/model.h"

#include <drivetrain/image.h>

/* One model's way from pictures to rows; its plan is made when first needed and grows with what is shown. */
typedef struct dt_eyes dt_eyes;

/* DT_UNSUPPORTED: the model sees no pictures. */
dt_status dt_eyes_create(dt_eyes **out, dt_model *model, dt_error *err);
void dt_eyes_destroy(dt_eyes *eyes); /* NULL is fine */

/*
 * Look at `count` pictures: rows [sum of dt_among_rows, hidden_size], one picture's behind another's. They go through the
 * tower as many together as a step's budget of patches allows; a picture has the same bits in any company. The caller
 * holds the model's turn.
 */
dt_status dt_eyes_see(dt_eyes *eyes, size_t count, const dt_pixels *picture, float *rows, dt_error *err);

#endif
