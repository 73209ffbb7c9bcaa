/*
 * rows.h - a recording's padded batch [B, S] as packed rows [T], and back.
 */
#ifndef DT_VERIFY_ROWS_H
#define DT_VERIFY_ROWS_H

#include "verify/recording.h"

/* One side of a model: GPT and encoder-only models have one, encoder-decoders two. */
typedef struct dt_row_batch {
    int64_t batch, length; /* B, S */
    int64_t total;         /* T = Σ lengths */
    int32_t *tokens;       /* [T] */
    int32_t *positions;    /* [T]: 0… within each sequence */
    int32_t *lengths;      /* [T]: of each row's sequence */
    int32_t *cu_seqlens;   /* [B + 1] */
} dt_row_batch;

/* From PREFIXtokens [B, S] and PREFIXlengths [B] ("in." or "in.encoder_" or "in.decoder_"). */
dt_status dt_rows_read(const dt_recording *r, const char *prefix, dt_arena *arena, dt_row_batch *out,
                       dt_error *err);

/* From ragged tokens: sequence b has lengths[b] of them. */
dt_status dt_rows_make(dt_arena *arena, int64_t batch, const int32_t *lengths, const int32_t *tokens,
                       dt_row_batch *out, dt_error *err);

/* Scalars of each position, [B, S] → [T] (labels i32, loss mask f32: both 4 bytes). */
void dt_rows_pack(const dt_row_batch *rows, const void *padded, void *packed);

#endif
