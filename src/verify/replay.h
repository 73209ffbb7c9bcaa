/*
 * replay.h - a model's FULL graph run over packed rows, every named point kept.
 */
#ifndef DT_VERIFY_REPLAY_H
#define DT_VERIFY_REPLAY_H

#include "backend/backend.h"
#include "models/build.h"
#include "models/features.h"
#include "models/pictures.h"
#include "verify/rows.h"

#include <drivetrain/image.h>
#include <drivetrain/inference.h>

typedef struct dt_replay_inputs {
    dt_row_batch source;    /* encoder-decoder: the encoder's side */
    dt_row_batch target;    /* everything else that reads */
    dt_row_batch vision;    /* rows of pictures; `tokens` and what follows from them are NULL */
    dt_pictures pictures;   /* what a tower sees */
    const dt_picture *tile; /* … and what was packed there */
    const float *features;  /* [vision.total, input_size]: a projector alone */
    bool loss;              /* there is one, of a kind that we know */
    dt_loss_kind loss_kind;
    double loss_factor;         /* DT_LOSS_HIDDEN_WEIGHTED */
    const float *hidden_weight; /* … as what it weighs */
    const int32_t *labels;      /* [T], or NULL: no loss */
    const float *loss_mask;     /* [T] */
    bool loss_over_padded;
    const int32_t *token_types;       /* [T]: BERT */
    const int32_t *pooled_rows;       /* [B]: a text tower's */
    const int32_t *sentence_order;    /* [B], or NULL: no part of the loss */
    const float *sentence_order_mask; /* [B]: 0 where it is unknown */
    /* pictures among words (seen.c): then `target` has merged rows, and labels and mask theirs */
    dt_row_batch words, projected; /* the texts as they were; projected rows of each tile */
    dt_features features_of;
    dt_image_rows image_rows;
    dt_pixels *shown;           /* the pictures, text by text … */
    int64_t *shown_count;       /* [B]: … so many each */
    int32_t *merged_rows;       /* [T] */
    const float *merged_labels; /* [T], where texts became longer, or NULL */
    unsigned frozen;            /* dt_config_part bits without gradients */
    bool gradients;             /* of out.loss, for every parameter: points "grad.CANONICAL" */
} dt_replay_inputs;

typedef struct dt_replay dt_replay;

/* Builds, runs, keeps. `inputs` is only read during the call, but for its row batches, which must stay. */
dt_status dt_replay_run(dt_replay **out, dt_model *model, const dt_replay_inputs *inputs, dt_error *err);
void dt_replay_destroy(dt_replay *replay); /* NULL is fine */

/* A point as packed rows: `rows` NULL means that `data` is dense and all of it counts. */
typedef struct dt_replay_value {
    const char *name;
    const float *data;
    const dt_row_batch *rows; /* data is [rows->total, stride] */
    int64_t width, stride;    /* columns that count (the real vocabulary), and columns stored */
    dt_shape shape;           /* in a recording: [B, S, width], [B, S], or as it is */
} dt_replay_value;

int dt_replay_point_count(const dt_replay *replay);
dt_replay_value dt_replay_point(const dt_replay *replay, int index); /* in execution order */
bool dt_replay_find(const dt_replay *replay, const char *name, dt_replay_value *out);

/* A dt_canonical_reader over the gradients; `user` is the replay. */
dt_status dt_replay_read_gradient(void *user, const char *canonical, int64_t row, int64_t rows, float *out,
                                  dt_error *err);

const dt_executor *dt_replay_executor(const dt_replay *replay);

/* The inputs of a recording, for this model (one side or two; labels when it has a loss that we know); `model` is its
 * folder, whose processor makes pixels of raw pictures where the recording has no pixels. */
dt_status dt_replay_inputs_read(const dt_recording *r, const char *model, const dt_model_config *config,
                                dt_arena *arena, dt_replay_inputs *out, dt_error *err);

/* A recording's raw pictures made into pixels: pictures or, where they are cut, tiles, each of its own size. */
typedef struct dt_replay_pixels {
    int64_t count; /* 0: the recording has no raw pictures */
    dt_picture *picture;
    int64_t pictures;
    dt_tiling *tiling; /* of each raw picture */
    bool exact; /* Pillow's arithmetic, which is the same everywhere; torchvision's is within a step of 255 */
    double step; /* … which makes so much of a pixel, at most */
} dt_replay_pixels;

/* Errors: DT_NOT_FOUND the model's folder has no processor. */
dt_status dt_replay_pixels_make(const dt_recording *r, const char *model, dt_arena *arena,
                                dt_replay_pixels *out, dt_error *err);
/* Put pictures in their places among the words of `target`: as the recording says, or one tile each. */
dt_status dt_replay_read_seen(const dt_recording *r, const char *model, const dt_model_config *config,
                              dt_arena *arena, dt_replay_inputs *inputs, dt_error *err);
dt_status dt_replay_see(const dt_model_config *config, dt_arena *arena, dt_replay_inputs *inputs,
                        dt_error *err);
/* Fixed inputs for this model, which no recording has: two models are compared by them. */
dt_status dt_replay_inputs_make(const dt_model_config *config, dt_arena *arena, dt_replay_inputs *out,
                                dt_error *err);

/* Has it an encoder's side and a decoder's? */
bool dt_replay_two_sided(const dt_model_config *config);

#endif
