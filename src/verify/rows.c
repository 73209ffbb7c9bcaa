/*
 * rows.c - right-padded batches to packed rows; padding is dropped, never computed.
 */
#include "verify/rows.h"

#include "base/checked.h"

#include <stdio.h>
#include <string.h>

static dt_status allocate(dt_arena *arena, dt_row_batch *rows, dt_error *err)
{
    rows->tokens = DT_NEW_ARRAY(arena, int32_t, rows->total);
    rows->positions = DT_NEW_ARRAY(arena, int32_t, rows->total);
    rows->lengths = DT_NEW_ARRAY(arena, int32_t, rows->total);
    rows->cu_seqlens = DT_NEW_ARRAY(arena, int32_t, rows->batch + 1);
    if (!rows->tokens || !rows->positions || !rows->lengths || !rows->cu_seqlens)
        return dt_fail_memory(err, (size_t)rows->total * 8, "a batch of tokens");
    return DT_OK;
}

static void number_rows(dt_row_batch *rows, const int32_t *lengths)
{
    int32_t row = 0;
    for (int64_t b = 0; b < rows->batch; b++) {
        rows->cu_seqlens[b] = row;
        for (int32_t s = 0; s < lengths[b]; s++, row++) {
            rows->positions[row] = s;
            rows->lengths[row] = lengths[b];
        }
    }
    rows->cu_seqlens[rows->batch] = row;
}

dt_status dt_rows_make(dt_arena *arena, int64_t batch, const int32_t *lengths, const int32_t *tokens,
                       dt_row_batch *out, dt_error *err)
{
    *out = (dt_row_batch){.batch = batch};
    for (int64_t b = 0; b < batch; b++) {
        out->total += lengths[b];
        out->length = lengths[b] > out->length ? lengths[b] : out->length;
    }
    DT_PASS(allocate(arena, out, err));
    number_rows(out, lengths);
    memcpy(out->tokens, tokens, (size_t)out->total * sizeof *tokens);
    return DT_OK;
}

void dt_rows_pack(const dt_row_batch *rows, const void *padded, void *packed)
{
    for (int64_t b = 0; b < rows->batch; b++) {
        int64_t begin = rows->cu_seqlens[b], count = rows->cu_seqlens[b + 1] - begin;
        memcpy((char *)packed + 4 * begin, (const char *)padded + 4 * b * rows->length, 4 * (size_t)count);
    }
}

static dt_status check_lengths(const dt_shape *tokens, const dt_shape *lengths, const int32_t *length,
                               const char *prefix, dt_error *err)
{
    if (tokens->rank != 2 || lengths->rank != 1 || lengths->dim[0] != tokens->dim[0] || tokens->dim[0] < 1)
        return dt_fail(err, DT_FORMAT, "%stokens is %s and %slengths %s, expected [B, S] and [B]", prefix,
                       dt_shape_print(tokens).text, prefix, dt_shape_print(lengths).text);
    for (int64_t b = 0; b < lengths->dim[0]; b++)
        if (length[b] < 1 || length[b] > tokens->dim[1])
            return dt_fail(err, DT_FORMAT, "%slengths[%lld] is %d, expected 1 to %lld", prefix, (long long)b,
                           length[b], (long long)tokens->dim[1]);
    return DT_OK;
}

dt_status dt_rows_read(const dt_recording *r, const char *prefix, dt_arena *arena, dt_row_batch *out,
                       dt_error *err)
{
    char tokens_name[64], lengths_name[64];
    int32_t *tokens, *lengths;
    dt_shape shape, lengths_shape;
    snprintf(tokens_name, sizeof tokens_name, "%stokens", prefix);
    snprintf(lengths_name, sizeof lengths_name, "%slengths", prefix);
    DT_PASS(dt_recording_ints(r, tokens_name, arena, &tokens, &shape, err));
    DT_PASS(dt_recording_ints(r, lengths_name, arena, &lengths, &lengths_shape, err));
    if (!tokens || !lengths)
        return dt_fail(err, DT_NOT_FOUND, "the recording %s has no %s", r->path,
                       tokens ? lengths_name : tokens_name);
    DT_PASS(check_lengths(&shape, &lengths_shape, lengths, prefix, err));
    *out = (dt_row_batch){.batch = shape.dim[0], .length = shape.dim[1]};
    for (int64_t b = 0; b < out->batch; b++)
        out->total += lengths[b];
    DT_PASS(allocate(arena, out, err));
    number_rows(out, lengths);
    dt_rows_pack(out, tokens, out->tokens);
    return DT_OK;
}
