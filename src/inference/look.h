/*
 * look.h - pictures through a vision tower: packed raggedly into steps, each handed on to whoever wants its outputs.
 */
#ifndef DT_INFERENCE_LOOK_H
#define DT_INFERENCE_LOOK_H

#include "inference/model.h"
#include "models/pictures.h"

/* What a step of pictures [first, first + packed->images) gave at the wanted point. */
typedef dt_status (*dt_look_take)(void *user, size_t first, const dt_pictures *packed, const float *values,
                                  dt_error *err);

typedef struct dt_look {
    dt_model *model;
    const dt_planes *picture;
    size_t count;
    int64_t max_batch; /* most rows in a step, one larger picture excepted; 0 = 2048. Changes no bit */
    const char *point; /* the output that is wanted: it outlives each step */
    dt_look_take take;
    void *user;
} dt_look;

/*
 * Look at all pictures, in order. The caller holds the model's turn.
 * Errors: DT_UNSUPPORTED the model is no tower and has none, DT_INVALID a picture without pixels, DT_MISMATCH one of a size that the
 * tower has no positions for, and whatever `take` says.
 */
dt_status dt_look_at(const dt_look *look, dt_error *err);

#endif
