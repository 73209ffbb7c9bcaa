/*
 * recording.h - a recording file: inputs, outputs, and what a replay must know (docs/recording.md).
 */
#ifndef DT_VERIFY_RECORDING_H
#define DT_VERIFY_RECORDING_H

#include "formats/stored.h"

#include <stdint.h>

enum { DT_RECORDING_MAX_EOS = 16 };

typedef struct dt_recording {
    dt_stored_set *tensors; /* owned */
    const char *path, *source, *dtype;
    /* from the metadata key `options` */
    const char *loss;   /* "masked_mean", … or NULL */
    const char *pixels; /* whose arithmetic made in.pixels: "pillow", "torchvision", or NULL */
    bool loss_over_padded_vocab;
    bool sentence_order; /* the loss has its part */
    int64_t new_tokens;  /* of out.greedy */
    int eos_count;
    int32_t eos[DT_RECORDING_MAX_EOS];
    struct {
        int64_t num_beams, max_new_tokens;
        double length_penalty;
        int early_stopping; /* 0 false, 1 true, 2 "never" */
    } beams;
} dt_recording;

dt_status dt_recording_open(dt_recording *out, const char *path, dt_error *err);
void dt_recording_close(dt_recording *recording); /* a zeroed one is fine */

/* Whole tensors in `arena`; NULL results when the recording lacks them and `err` is untouched. */
dt_status dt_recording_floats(const dt_recording *r, const char *name, dt_arena *arena, float **out,
                              dt_shape *shape, dt_error *err);
dt_status dt_recording_ints(const dt_recording *r, const char *name, dt_arena *arena, int32_t **out,
                            dt_shape *shape, dt_error *err);

#endif
