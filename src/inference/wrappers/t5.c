/*
 * t5.c - the T5 wrapper: encoder and decoder tokens with their pads, Megatron's masks for those who want to see them.
 *
 * Peer   megatron core/inference/model_inference_wrappers/t5/t5_inference_wrapper.py, core/datasets/t5_dataset.py
 * Unlike it, the encoder runs once a prompt and the decoder keeps its keys: Megatron computes both anew each step.
 * Masks are not read: pads simply do not become rows, at whatever place they stand.
 */
#include "inference/wrappers/wrapper.h"

#include <inttypes.h>
#include <string.h>

/* ---- masks, as Megatron's local attention takes them: a pair is open when both tokens are no pads ---- */

static uint8_t *pad_mask(dt_arena *arena, const int32_t *tokens, int64_t count, int32_t pad)
{
    uint8_t *mask = DT_NEW_ARRAY(arena, uint8_t, count);
    for (int64_t i = 0; mask && i < count; i++)
        mask[i] = tokens[i] == pad;
    return mask;
}

/* [B, 1, queries, keys] */
static uint8_t *pair_mask(const dt_wrapper *w, const int32_t *query, int64_t queries, const int32_t *key,
                          int64_t keys, bool causal)
{
    int64_t batch = w->window.batch;
    uint8_t *mask = DT_NEW_ARRAY(w->window_arena, uint8_t, batch * queries * keys), *out = mask;
    for (int64_t b = 0; mask && b < batch; b++)
        for (int64_t q = 0; q < queries; q++)
            for (int64_t k = 0; k < keys; k++) {
                bool open = query[b * queries + q] != w->pad && key[b * keys + k] != w->pad;
                *out++ = !(open && (!causal || k <= q));
            }
    return mask;
}

/* ---- inputs and windows ---- */

static dt_status prep(dt_wrapper *w, const int32_t *tokens, const int32_t *encoder_tokens, dt_error *err)
{
    dt_wrapper_input *in = &w->input;
    int64_t count = in->batch * in->length, encoder_count = in->batch * in->encoder_length;
    in->encoder_tokens = dt_wrapper_copy(w->input_arena, encoder_tokens, encoder_count);
    in->attention_mask = pad_mask(w->input_arena, tokens, count, w->pad);
    in->encoder_mask = pad_mask(w->input_arena, encoder_tokens, encoder_count, w->pad);
    in->tokens = dt_wrapper_copy(w->input_arena, tokens, count);
    if (!in->tokens || !in->encoder_tokens || !in->attention_mask || !in->encoder_mask)
        return dt_fail_memory(err, (size_t)(count + encoder_count) * 5, "the inference input");
    return DT_OK;
}

static dt_status cut(dt_wrapper *w, dt_error *err)
{
    const dt_wrapper_input *in = &w->input;
    dt_wrapper_window *out = &w->window;
    int64_t end = out->end, source = in->encoder_length;
    out->encoder_tokens = in->encoder_tokens;
    out->tokens = DT_NEW_ARRAY(w->window_arena, int32_t, out->batch * end);
    for (int64_t b = 0; out->tokens && b < out->batch; b++)
        memcpy(out->tokens + b * end, in->tokens + b * in->length, (size_t)end * sizeof *out->tokens);
    bool ready = out->tokens;
    if (ready && w->config.local_masks) {
        out->encoder_mask = pair_mask(w, in->encoder_tokens, source, in->encoder_tokens, source, false);
        out->attention_mask = pair_mask(w, out->tokens, end, out->tokens, end, true);
        out->encoder_decoder_mask = pair_mask(w, out->tokens, end, in->encoder_tokens, source, false);
        ready = out->encoder_mask && out->attention_mask && out->encoder_decoder_mask;
    }
    return ready ? DT_OK : dt_fail_memory(err, (size_t)(out->batch * end) * 4, "a context window");
}

/* ---- rows without pads ---- */

/* Tokens [from, to) of one row into the wrapper's row arrays; place counts from `from`. */
static dt_status compact(dt_wrapper *w, const int32_t *tokens, int64_t b, int64_t from, int64_t to,
                         dt_wrapper_row *out, dt_error *err)
{
    bool relative = w->model->config->position_embedding_type == DT_POSITION_RELATIVE;
    int64_t count = 0;
    for (int64_t i = from; i < to; i++) {
        if (tokens[i] == w->pad)
            continue;
        w->row_tokens[count] = tokens[i];
        w->row_positions[count] = (int32_t)i;
        w->row_place[count++] = (int32_t)(i - from);
    }
    *out = (dt_wrapper_row){
        .tokens = w->row_tokens, .positions = w->row_positions, .place = w->row_place, .count = count};
    out->ends = count && w->row_place[count - 1] == to - from - 1;
    bool seen = false;
    for (int64_t i = 1; relative && i < to; i++) { /* distances are counted in stored rows */
        seen = seen || tokens[i - 1] != w->pad;
        if (seen && tokens[i] != w->pad && tokens[i - 1] == w->pad)
            return dt_fail(
                err, DT_UNSUPPORTED,
                "row %" PRId64 ": token %" PRId64 " follows a pad; relative positions cannot skip one", b, i);
    }
    return DT_OK;
}

static dt_status row(dt_wrapper *w, const dt_wrapper_window *window, int64_t b, dt_wrapper_row *out,
                     dt_error *err)
{
    return compact(w, window->tokens + b * window->end, b, window->start, window->end, out, err);
}

static dt_status encode_row(dt_wrapper *w, const dt_wrapper_window *window, int64_t b, dt_error *err)
{
    dt_wrapper_row source;
    int64_t length = window->encoder_length;
    DT_PASS(compact(w, window->encoder_tokens + b * length, b, 0, length, &source, err));
    if (source.count == 0)
        return dt_fail(err, DT_INVALID, "row %" PRId64 ": the encoder's input is all pads", b);
    dt_span span = {.tokens = source.tokens, .positions = source.positions, .count = source.count};
    dt_session_attach(w->session, b, b);
    return dt_session_encode(w->session, 1, &b, &span, err);
}

static dt_status begin(dt_wrapper *w, const dt_wrapper_window *window, dt_error *err)
{
    if (!window->encoder_tokens || window->encoder_length < 1 ||
        window->encoder_length > w->capacity.memory_length)
        return dt_fail(err, DT_INVALID, "%" PRId64 " encoder tokens, expected 1 to %" PRId64,
                       window->encoder_length, w->capacity.memory_length);
    for (int64_t b = 0; b < window->batch; b++)
        DT_PASS(encode_row(w, window, b, err));
    return DT_OK;
}

const dt_wrapper_kind dt_wrapper_t5 = {.prep = prep, .cut = cut, .begin = begin, .row = row};
