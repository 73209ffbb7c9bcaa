/*
 * gpt.c - the GPT wrapper: positions from 0, a causal mask for those who want to see one, windows by cutting.
 *
 * Peer  megatron core/inference/model_inference_wrappers/gpt/gpt_inference_wrapper.py
 */
#include "inference/wrappers/wrapper.h"

#include <string.h>

/* [rows from `start` to `end`, keys before `end`]: 1 where a key lies after the query. */
static uint8_t *causal_mask(dt_arena *arena, int64_t start, int64_t end)
{
    uint8_t *mask = DT_NEW_ARRAY(arena, uint8_t, (end - start) * end);
    for (int64_t q = start; mask && q < end; q++)
        for (int64_t k = 0; k < end; k++)
            mask[(q - start) * end + k] = k > q;
    return mask;
}

static dt_status prep(dt_wrapper *w, const int32_t *tokens, const int32_t *encoder_tokens, dt_error *err)
{
    dt_wrapper_input *in = &w->input;
    int64_t count = in->batch * in->length;
    int32_t *positions = DT_NEW_ARRAY(w->input_arena, int32_t, count);
    int32_t *copy = dt_wrapper_copy(w->input_arena, tokens, count);
    (void)encoder_tokens;
    if (w->config.local_masks)
        in->attention_mask = causal_mask(w->input_arena, 0, in->length);
    if (!copy || !positions || (w->config.local_masks && !in->attention_mask))
        return dt_fail_memory(err, (size_t)count * 8, "the inference input");
    for (int64_t i = 0; i < count; i++)
        positions[i] = (int32_t)(i % in->length);
    in->tokens = copy;
    in->position_ids = positions;
    return DT_OK;
}

static dt_status cut(dt_wrapper *w, dt_error *err)
{
    const dt_wrapper_input *in = &w->input;
    dt_wrapper_window *out = &w->window;
    int64_t length = out->end - out->start;
    out->tokens = DT_NEW_ARRAY(w->window_arena, int32_t, out->batch * length);
    out->position_ids = DT_NEW_ARRAY(w->window_arena, int32_t, out->batch * length);
    if (w->config.local_masks)
        out->attention_mask = causal_mask(w->window_arena, out->start, out->end);
    if (!out->tokens || !out->position_ids || (w->config.local_masks && !out->attention_mask))
        return dt_fail_memory(err, (size_t)(out->batch * length) * 8, "a context window");
    for (int64_t b = 0; b < out->batch; b++) {
        size_t bytes = (size_t)length * sizeof *out->tokens;
        memcpy(out->tokens + b * length, in->tokens + b * in->length + out->start, bytes);
        memcpy(out->position_ids + b * length, in->position_ids + b * in->length + out->start, bytes);
    }
    return DT_OK;
}

/* Every token counts; positions are the window's where it has them. */
static dt_status row(dt_wrapper *w, const dt_wrapper_window *window, int64_t b, dt_wrapper_row *out,
                     dt_error *err)
{
    int64_t length = window->end - window->start;
    (void)err;
    for (int64_t i = 0; i < length; i++) {
        w->row_place[i] = (int32_t)i;
        w->row_positions[i] =
            window->position_ids ? window->position_ids[b * length + i] : (int32_t)(window->start + i);
    }
    *out = (dt_wrapper_row){.tokens = window->tokens + b * length,
                            .positions = w->row_positions,
                            .place = w->row_place,
                            .count = length,
                            .ends = true};
    return DT_OK;
}

const dt_wrapper_kind dt_wrapper_gpt = {.prep = prep, .cut = cut, .row = row};
