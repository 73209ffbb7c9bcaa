/*
 * abstract.c - Megatron Core's AbstractModelInferenceWrapper: the context, micro-batches, one forward step.
 *
 * Peer   megatron core/inference/model_inference_wrappers/abstract_model_inference_wrapper.py
 * Unlike it, the model runs on packed ragged rows over a paged cache: a window's rows go through in as many steps as
 * the plan's capacity needs, whatever the micro-batches. What a window holds is its kind's business (gpt.c, t5.c, vlm.c).
 */
#include "inference/wrappers/wrapper.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_TOKENS = 512, LOGIT_BYTES = 32 << 20 };

/* ---- making ---- */

static dt_status resolve_size(int64_t *given, int64_t model, const char *key, dt_error *err)
{
    if (*given && *given != model)
        return dt_fail(err, DT_MISMATCH,
                       "%s is %" PRId64 " in the wrapper's configuration, but the model's is %" PRId64, key,
                       *given, model);
    *given = model;
    return DT_OK;
}

static dt_status resolve_config(dt_wrapper *w, dt_error *err)
{
    dt_wrapper_config *c = &w->config;
    const dt_model_config *m = w->model->config;
    DT_PASS(resolve_size(&c->hidden_size, m->hidden_size, "hidden_size", err));
    DT_PASS(resolve_size(&c->padded_vocab_size, m->padded_vocab_size, "padded_vocab_size", err));
    if (c->inference_max_requests < 1 || c->inference_max_requests > INT32_MAX)
        return dt_fail(err, DT_INVALID, "inference_max_requests is %" PRId64 ", expected at least 1",
                       c->inference_max_requests);
    if (c->inference_max_seq_length < 1 || c->inference_max_seq_length > INT32_MAX)
        return dt_fail(err, DT_INVALID, "inference_max_seq_length is %" PRId64 ", expected at least 1",
                       c->inference_max_seq_length);
    if (m->encoder_only)
        return dt_fail(err, DT_UNSUPPORTED, "this %s is an encoder alone: it encodes, but cannot generate",
                       m->family);
    if (strcmp(m->model_type, "gpt") == 0)
        w->kind = &dt_wrapper_gpt;
    else if (strcmp(m->model_type, "t5") == 0)
        w->kind = &dt_wrapper_t5;
    else if (strcmp(m->model_type, "llava") == 0)
        w->kind = &dt_wrapper_vlm;
    else
        return dt_fail(err, DT_UNSUPPORTED, "there is no inference wrapper for a model of type \"%s\"",
                       m->model_type);
    return DT_OK;
}

static dt_session_capacity capacity_for(const dt_wrapper *w)
{
    const dt_wrapper_config *c = &w->config;
    int64_t positions = dt_model_positions(w->model), rows = LOGIT_BYTES / (4 * c->padded_vocab_size);
    dt_session_capacity k = {.sequences = c->inference_max_requests, .length = c->inference_max_seq_length};
    k.length = k.length < positions ? k.length : positions;
    k.tokens = STEP_TOKENS > k.sequences ? STEP_TOKENS : k.sequences;
    k.output_rows = k.sequences;
    if (!c->materialize_only_last_token_logits && rows > k.output_rows)
        k.output_rows = rows < k.tokens ? rows : k.tokens;
    k.pictures = w->kind == &dt_wrapper_vlm;
    if (dt_model_has_encoder(w->model)) {
        k.memories = k.sequences;
        k.memory_length = k.source_tokens = k.length;
    }
    return k;
}

static dt_status make(dt_wrapper *w, dt_error *err)
{
    DT_PASS(resolve_config(w, err));
    w->capacity = capacity_for(w);
    w->pad = w->model->config->pad_token_id >= 0 ? (int32_t)w->model->config->pad_token_id : 0;
    if ((w->arena = dt_arena_create())) {
        w->row_tokens = DT_NEW_ARRAY(w->arena, int32_t, w->capacity.length);
        w->row_positions = DT_NEW_ARRAY(w->arena, int32_t, w->capacity.length);
        w->row_place = DT_NEW_ARRAY(w->arena, int32_t, w->capacity.length);
        w->delivery = DT_NEW_ARRAY(w->arena, dt_wrapper_delivery, w->capacity.sequences);
        w->row_seen = DT_NEW_ARRAY(w->arena, const float *, w->capacity.length);
    }
    if (!w->arena || !w->row_tokens || !w->row_seen || !w->row_positions || !w->row_place || !w->delivery)
        return dt_fail_memory(err, (size_t)w->capacity.length * 12, "a wrapper");
    if (w->capacity.pictures)
        DT_PASS(dt_eyes_create(&w->eyes, w->model, err));
    return dt_session_create(&w->session, w->model, &w->capacity, err);
}

dt_status dt_wrapper_create(dt_wrapper **out, dt_model *model, const dt_wrapper_config *config, dt_error *err)
{
    static const dt_wrapper_config defaults = DT_WRAPPER_CONFIG_DEFAULT;
    dt_wrapper *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w)
        return dt_fail_memory(err, sizeof *w, "a wrapper");
    w->model = model;
    w->config = config ? *config : defaults;
    dt_model_enter(model);
    dt_status status = make(w, err);
    dt_model_leave(model);
    if (status != DT_OK)
        dt_wrapper_destroy(w);
    else
        *out = w;
    return status;
}

void dt_wrapper_destroy(dt_wrapper *w)
{
    if (!w)
        return;
    dt_session_destroy(w->session);
    dt_eyes_destroy(w->eyes);
    dt_arena_destroy(w->window_arena);
    dt_arena_destroy(w->input_arena);
    dt_arena_destroy(w->arena);
    free(w->logits);
    free(w);
}

/* ---- inputs and windows ---- */

static void forget(dt_wrapper *w)
{
    for (int64_t i = 0; i < w->capacity.sequences; i++)
        dt_session_release(w->session, i);
    w->stored = 0;
}

dt_status dt_wrapper_prep_model_for_inference(dt_wrapper *w, dt_error *err)
{
    (void)err; /* a model here is never in training mode */
    forget(w);
    return DT_OK;
}

dt_status dt_wrapper_check_ids(const dt_wrapper *w, const char *what, const int32_t *tokens, int64_t batch,
                               int64_t length, dt_error *err)
{
    int64_t image = w->kind == &dt_wrapper_vlm ? w->model->config->image_token_index : -1;
    for (int64_t i = 0; i < batch * length; i++)
        if ((tokens[i] != image || image == -1) &&
            (tokens[i] < 0 || tokens[i] >= w->config.padded_vocab_size))
            return dt_fail(err, DT_INVALID,
                           "row %" PRId64 ": %s %" PRId64 " is id %" PRId32
                           ", but the vocabulary has %" PRId64 " ids",
                           i / length, what, i % length, tokens[i], w->config.padded_vocab_size);
    return DT_OK;
}

static dt_status check_size(const dt_wrapper *w, int64_t batch, int64_t length, const char *what,
                            dt_error *err)
{
    if (batch < 1 || batch > w->capacity.sequences)
        return dt_fail(err, DT_INVALID,
                       "%" PRId64 " rows, expected 1 to %" PRId64 " (inference_max_requests)", batch,
                       w->capacity.sequences);
    if (length < 1 || length > w->capacity.length)
        return dt_fail(err, DT_INVALID,
                       "%" PRId64 " %s, expected 1 to %" PRId64
                       " (inference_max_seq_length, or the model's positions)",
                       length, what, w->capacity.length);
    return DT_OK;
}

int32_t *dt_wrapper_copy(dt_arena *arena, const int32_t *tokens, int64_t count)
{
    int32_t *copy = DT_NEW_ARRAY(arena, int32_t, count);
    if (copy)
        memcpy(copy, tokens, (size_t)count * sizeof *copy);
    return copy;
}

static dt_status prep(dt_wrapper *w, int64_t batch, int64_t length, const int32_t *tokens,
                      int64_t encoder_length, const int32_t *encoder_tokens, dt_error *err)
{
    bool encoder = dt_model_has_encoder(w->model);
    DT_PASS(check_size(w, batch, length, "tokens", err));
    DT_PASS(dt_wrapper_check_ids(w, "token", tokens, batch, length, err));
    if (encoder != (encoder_tokens != NULL))
        return dt_fail(err, DT_INVALID,
                       encoder ? "T5 needs encoder tokens" : "a GPT takes no encoder tokens");
    if (encoder) {
        DT_PASS(check_size(w, batch, encoder_length, "encoder tokens", err));
        DT_PASS(dt_wrapper_check_ids(w, "encoder token", encoder_tokens, batch, encoder_length, err));
    }
    dt_arena_destroy(w->input_arena);
    w->input =
        (dt_wrapper_input){.batch = batch, .length = length, .encoder_length = encoder ? encoder_length : 0};
    if (!(w->input_arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "the inference input");
    w->sight = (dt_wrapper_sight){0};
    return w->kind->prep(w, tokens, encoder_tokens, err);
}

dt_status dt_wrapper_prep_inference_input(dt_wrapper *w, int64_t batch, int64_t length, const int32_t *tokens,
                                          int64_t encoder_length, const int32_t *encoder_tokens,
                                          const dt_wrapper_input **out, dt_error *err)
{
    *out = NULL;
    if (w->kind == &dt_wrapper_vlm && !encoder_tokens)
        return dt_wrapper_prep_vlm_inference_input(w, batch, length, tokens, NULL, out, err);
    DT_PASS(prep(w, batch, length, tokens, encoder_length, encoder_tokens, err));
    *out = &w->input;
    return DT_OK;
}

dt_status dt_wrapper_prep_vlm_inference_input(dt_wrapper *w, int64_t batch, int64_t length,
                                              const int32_t *tokens, const dt_wrapper_images *images,
                                              const dt_wrapper_input **out, dt_error *err)
{
    *out = NULL;
    if (w->kind != &dt_wrapper_vlm)
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures", w->model->config->family);
    DT_PASS(prep(w, batch, length, tokens, 0, NULL, err));
    dt_model_enter(w->model);
    dt_status status = dt_wrapper_look(w, images, err);
    dt_model_leave(w->model);
    if (status == DT_OK)
        *out = &w->input;
    else
        w->input = (dt_wrapper_input){0}; /* no window is cut out of half an input */
    return status;
}

dt_status dt_wrapper_get_batch_for_context_window(dt_wrapper *w, int64_t start, int64_t end,
                                                  const dt_wrapper_window **out, dt_error *err)
{
    *out = NULL;
    if (!w->input.tokens)
        return dt_fail(err, DT_INVALID, "no inference input was prepared");
    if (start < 0 || end <= start || end > w->input.length)
        return dt_fail(err, DT_INVALID, "window [%" PRId64 ", %" PRId64 ") of %" PRId64 " tokens", start, end,
                       w->input.length);
    dt_arena_destroy(w->window_arena);
    w->window = (dt_wrapper_window){
        .batch = w->input.batch, .start = start, .end = end, .encoder_length = w->input.encoder_length};
    if (!(w->window_arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "a context window");
    DT_PASS(w->kind->cut(w, err));
    *out = &w->window;
    return DT_OK;
}

/* ---- a forward step ---- */

static float *logits_at(const dt_wrapper *w, int64_t rows, int64_t b, int64_t place)
{
    return w->logits + (b * rows + place) * w->config.padded_vocab_size;
}

/* Copy what a step gave to its places in the window. */
static dt_status deliver(dt_wrapper *w, const dt_wrapper_window *window, const dt_wrapper_delivery *d,
                         dt_error *err)
{
    bool last_only = w->config.materialize_only_last_token_logits;
    int64_t rows = w->logit_rows;
    dt_wrapper_row row;
    DT_PASS(w->kind->row(w, window, d->row, &row, err));
    for (int64_t i = 0; i < d->count; i++)
        memcpy(logits_at(w, rows, d->row, last_only ? 0 : row.place[d->first + i]),
               dt_session_logits(w->session, d->output + i),
               (size_t)w->config.padded_vocab_size * sizeof(float));
    return DT_OK;
}

/*
 * Put as much of row b, from its token *done on, into the step as fits. Wanted are all its rows of logits, or that of
 * the window's last position alone (none when that is a pad).
 */
static dt_status add_row(dt_wrapper *w, const dt_wrapper_window *window, int64_t b, int64_t *done,
                         bool *complete, dt_error *err)
{
    bool last_only = w->config.materialize_only_last_token_logits;
    dt_wrapper_row row;
    DT_PASS(w->kind->row(w, window, b, &row, err));
    int64_t room = dt_session_room(w->session), wanted = dt_session_output_room(w->session);
    int64_t left = row.count - *done, count = left < room ? left : room;
    if (!last_only && count > wanted)
        count = wanted;
    *complete = count == left;
    if (count == 0)
        return DT_OK;
    bool at_end = *complete && row.ends;
    dt_want want = !last_only ? DT_WANT_ALL : at_end ? DT_WANT_LAST : DT_WANT_NONE;
    dt_span span = {.tokens = row.tokens + *done,
                    .positions = row.positions + *done,
                    .count = count,
                    .length = dt_session_length(w->session, b) + left,
                    .seen = row.seen ? row.seen + *done : NULL};
    dt_wrapper_delivery *d = &w->delivery[w->deliveries++];
    *d = (dt_wrapper_delivery){.row = b, .first = *done, .count = last_only ? at_end : count};
    *done += count;
    return dt_session_add(w->session, b, &span, want, &d->output, err);
}

/* Rows [from, to) of the window, in as many steps as they need. */
static dt_status forward(dt_wrapper *w, const dt_wrapper_window *window, int64_t from, int64_t to,
                         dt_error *err)
{
    int64_t b = from, done = 0;
    while (b < to) {
        bool complete = true;
        w->deliveries = 0;
        dt_session_begin(w->session);
        while (b < to && complete) {
            DT_PASS(add_row(w, window, b, &done, &complete, err));
            if (complete) {
                b++;
                done = 0;
            }
        }
        if (w->deliveries)
            DT_PASS(dt_session_run(w->session, err));
        for (int64_t i = 0; i < w->deliveries; i++)
            DT_PASS(deliver(w, window, &w->delivery[i], err));
    }
    return DT_OK;
}

/* Rows a micro-batch: all of them unless the window is larger than the threshold. */
static int64_t micro_batch(const dt_wrapper *w, int64_t batch, int64_t length)
{
    int64_t threshold = w->config.inference_batch_times_seqlen_threshold;
    if (threshold == -1 || batch * length <= threshold)
        return batch;
    return threshold / length > 1 ? threshold / length : 1;
}

static dt_status make_room(dt_wrapper *w, int64_t batch, int64_t rows, dt_error *err)
{
    size_t bytes = (size_t)(batch * rows * w->config.padded_vocab_size) * sizeof *w->logits;
    if (bytes > w->logits_bytes) {
        float *logits = realloc(w->logits, bytes);
        if (!logits)
            return dt_fail_memory(err, bytes, "the logits of a window");
        w->logits = logits;
        w->logits_bytes = bytes;
    }
    memset(w->logits, 0, bytes);
    return DT_OK;
}

static dt_status check_window(const dt_wrapper *w, const dt_wrapper_window *window, dt_error *err)
{
    DT_PASS(check_size(w, window->batch, window->end, "tokens", err));
    if (window->start < 0 || window->start >= window->end)
        return dt_fail(err, DT_INVALID, "window [%" PRId64 ", %" PRId64 ") is empty", window->start,
                       window->end);
    if (window->start != 0 && window->start != w->stored)
        return dt_fail(err, DT_INVALID,
                       "window [%" PRId64 ", %" PRId64 ") does not follow the context, which ends at %" PRId64
                       "; a window that starts at 0 begins anew",
                       window->start, window->end, w->stored);
    if (window->start != 0 && dt_config_rope_differs(w->model->config, w->stored, window->end))
        return dt_fail(err, DT_UNSUPPORTED,
                       "%s rotary scaling gives %" PRId64
                       " tokens other frequencies than the context's %" PRId64
                       ": it must be read again, by a window that starts at 0",
                       dt_rope_scaling_name(w->model->config->rope_scaling_type), window->end, w->stored);
    return DT_OK;
}

static dt_status run(dt_wrapper *w, const dt_wrapper_window *window, dt_error *err)
{
    int64_t length = window->end - window->start, size = micro_batch(w, window->batch, length);
    w->logit_rows = w->kind->rows ? w->kind->rows(w, window) : length;
    if (w->config.materialize_only_last_token_logits)
        w->logit_rows = 1;
    DT_PASS(make_room(w, window->batch, w->logit_rows, err));
    if (window->start == 0) {
        forget(w);
        if (w->kind->begin)
            DT_PASS(w->kind->begin(w, window, err));
    }
    w->micro_batches = 0;
    for (int64_t from = 0; from < window->batch; from += size, w->micro_batches++)
        DT_PASS(forward(w, window, from, from + size < window->batch ? from + size : window->batch, err));
    w->stored = window->end;
    return DT_OK;
}

dt_status dt_wrapper_run_one_forward_step(dt_wrapper *w, const dt_wrapper_window *window,
                                          const float **logits, dt_error *err)
{
    *logits = NULL;
    DT_PASS(check_window(w, window, err));
    dt_model_enter(w->model);
    dt_status status = run(w, window, err);
    dt_model_leave(w->model);
    if (status != DT_OK)
        forget(w); /* half a window is no context */
    else
        *logits = w->logits;
    return status;
}

int64_t dt_wrapper_logit_rows(const dt_wrapper *w)
{
    return w->logit_rows;
}

int64_t dt_wrapper_micro_batches(const dt_wrapper *w)
{
    return w->micro_batches;
}
