/*
 * conversation.c - a sequence that outlives its answers: each prompt is compared with the tokens that are stored, the
 * cache is cut back to what they share, and only the rest is computed. Sampling is sampling.c's.
 *
 * Pictures are compared whole, by copies of those that are stored: one that is shown again where it was is not encoded again.
 */
#include "inference/album.h"
#include "inference/result.h"
#include "inference/see.h"

#include <drivetrain/conversation.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHUNK = 512, MOST_POSITIONS = 32768 };

struct dt_conversation {
    dt_arena *arena;
    dt_model *model;
    dt_session *session;
    int64_t positions;
    int32_t *stored; /* [positions]: tokens of the cache, as many as the session has of slot 0 */
    int32_t *tokens; /* [positions]: prompt and answer while they grow */
    dt_pick_scratch scratch;
    dt_eyes *eyes;      /* NULL: the model sees no pictures */
    const float **seen; /* [positions]: rows of pictures at their places, during an answer */
    dt_album album;     /* the pictures that the cache holds */
};

/* ---- making ---- */

static bool make_scratch(dt_conversation *c, int64_t vocab)
{
    c->scratch.score = DT_NEW_ARRAY(c->arena, float, vocab);
    c->scratch.index = DT_NEW_ARRAY(c->arena, int32_t, vocab);
    c->scratch.weight = DT_NEW_ARRAY(c->arena, double, vocab);
    c->scratch.seen = DT_NEW_ARRAY(c->arena, uint8_t, vocab);
    return c->scratch.score && c->scratch.index && c->scratch.weight && c->scratch.seen;
}

static dt_status make(dt_conversation *c, int64_t positions, dt_error *err)
{
    int64_t most = dt_model_positions(c->model);
    if (dt_model_has_encoder(c->model) || c->model->config->encoder_only)
        return dt_fail(err, DT_UNSUPPORTED,
                       "a conversation needs a model that continues its prompt; this %s encodes it",
                       c->model->config->family);
    most = most < MOST_POSITIONS ? most : MOST_POSITIONS;
    c->positions = positions > 0 && positions < most ? positions : most;
    bool sees = c->model->config->vision && c->model->config->projection;
    dt_session_capacity capacity = {
        .tokens = CHUNK, .sequences = 1, .output_rows = 1, .length = c->positions, .pictures = sees};
    if (sees)
        DT_PASS(dt_eyes_create(&c->eyes, c->model, err));
    if (sees && !(c->seen = DT_NEW_ARRAY(c->arena, const float *, c->positions)))
        return dt_fail_memory(err, (size_t)c->positions * sizeof *c->seen, "a conversation");
    c->stored = DT_NEW_ARRAY(c->arena, int32_t, c->positions);
    c->tokens = DT_NEW_ARRAY(c->arena, int32_t, c->positions);
    if (!c->stored || !c->tokens || !make_scratch(c, c->model->config->vocab_size))
        return dt_fail_memory(err, (size_t)c->positions * 8, "a conversation");
    return dt_session_create(&c->session, c->model, &capacity, err);
}

dt_status dt_conversation_create(dt_conversation **out, dt_model *model, int64_t positions, dt_error *err)
{
    dt_conversation *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c || !(c->arena = dt_arena_create())) {
        free(c);
        return dt_fail_memory(err, sizeof *c, "a conversation");
    }
    c->model = model;
    dt_model_enter(model);
    dt_status status = make(c, positions, err);
    dt_model_leave(model);
    if (status == DT_OK)
        *out = c;
    else
        dt_conversation_destroy(c);
    return status;
}

void dt_conversation_destroy(dt_conversation *c)
{
    if (!c)
        return;
    dt_album_empty(&c->album);
    dt_eyes_destroy(c->eyes);
    dt_session_destroy(c->session);
    dt_arena_destroy(c->arena);
    free(c);
}

int64_t dt_conversation_kept(const dt_conversation *c)
{
    return dt_session_length(c->session, 0);
}

/* ---- answering ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Look at the pictures that are not wholly stored, and put their rows at their places. */
static dt_status look(dt_conversation *c, const dt_request *r, dt_arena *arena, dt_error *err)
{
    const dt_model_config *config = c->model->config;
    int64_t stored = 0, skipped = 0,
            n = 0; /* places of pictures: in the cache, of those wholly there, so far */
    size_t first = 0;
    memset(c->seen, 0, (size_t)r->limit * sizeof *c->seen);
    for (int64_t i = 0; i < dt_session_length(c->session, 0); i++)
        stored += r->tokens[i] == config->image_token_index;
    while (first < r->picture_count && skipped + c->album.rows[first] <= stored)
        skipped += c->album.rows[first++];
    if (first == r->picture_count)
        return DT_OK;
    int64_t values = (r->picture_rows - skipped) * config->hidden_size;
    float *row = DT_NEW_ARRAY(arena, float, values);
    if (!row)
        return dt_fail_memory(err, (size_t)values * sizeof *row, "pictures");
    DT_PASS(dt_eyes_see(c->eyes, r->picture_count - first, r->pictures + first, row, err));
    for (int64_t i = 0; i < r->start; i++)
        if (r->tokens[i] == config->image_token_index && n++ >= skipped)
            c->seen[i] = row + (n - 1 - skipped) * config->hidden_size;
    return DT_OK;
}

/* Cut the cache to what the prompt shares with it, less one: the last token's logits are wanted. */
static void keep_shared(dt_conversation *c, int64_t count, int64_t known)
{
    int64_t kept = dt_session_length(c->session, 0), shared = 0;
    known = known < count - 1 ? known : count - 1;
    while (shared < kept && shared < known && c->stored[shared] == c->tokens[shared])
        shared++;
    dt_session_truncate(c->session, 0, shared);
}

/* Store tokens [stored, count) and leave the logits of the last. */
static dt_status read_to(dt_conversation *c, int64_t count, int64_t chunk, dt_error *err)
{
    for (int64_t at = dt_session_length(c->session, 0), output; at < count;) {
        int64_t rows = count - at < chunk ? count - at : chunk;
        dt_span span = {.tokens = c->tokens + at, .count = rows, .seen = c->seen ? c->seen + at : NULL};
        dt_session_begin(c->session);
        DT_PASS(dt_session_add(c->session, 0, &span, at + rows == count ? DT_WANT_LAST : DT_WANT_NONE,
                               &output, err));
        DT_PASS(dt_session_run(c->session, err));
        memcpy(c->stored + at, c->tokens + at, (size_t)rows * sizeof *c->stored);
        at += rows;
    }
    return DT_OK;
}

static dt_status write_answer(dt_conversation *c, const dt_rules *rules, const dt_request *request,
                              dt_generation *result, dt_error *err)
{
    const dt_generate_options *o = rules->options;
    dt_generated *out = &result->row[0];
    int64_t count = request->start;
    out->finish = DT_FINISH_LENGTH;
    out->end_token = -1;
    while (count < request->limit) {
        dt_row_so_far row = {
            .tokens = c->tokens, .count = count, .start = request->start, .limit = request->limit};
        int32_t token = dt_pick(rules, &row, dt_session_logits(c->session, 0), &c->scratch);
        if (token < 0)
            return dt_fail(err, DT_INVALID,
                           "no token can follow token %lld: all are banned, or the logits hold no number",
                           (long long)(count - 1));
        if (dt_rules_is_end(rules, token)) {
            out->finish = DT_FINISH_EOS;
            out->end_token = token;
            break;
        }
        c->tokens[count++] = token;
        if (o->on_token && !o->on_token(o->user, 0, token)) {
            out->finish = DT_FINISH_STOP;
            break;
        }
        if (count < request->limit) {
            DT_PASS(read_to(c, count, 1, err));
            result->timing.decode_tokens++;
        }
    }
    return dt_generation_write(result, 0, c->tokens + request->start, count - request->start, err);
}

static dt_status too_long(const dt_conversation *c, size_t count, dt_error *err)
{
    return dt_fail(err, DT_LIMIT,
                   "the conversation has %zu tokens, and there is room for %lld with their answer", count,
                   (long long)c->positions);
}

static dt_status check(const dt_conversation *c, const dt_prompt *prompt, const dt_generate_options *o,
                       dt_error *err)
{
    if (o->beams > 1 || o->logprobs >= 0 || o->prompt_logprobs)
        return dt_fail(err, DT_UNSUPPORTED, "a conversation keeps neither beams nor log-probabilities");
    if (prompt->count >= (size_t)c->positions)
        return too_long(c, prompt->count, err);
    return DT_OK;
}

static dt_status answer(dt_conversation *c, const dt_prompt *prompt, const dt_generate_options *o,
                        dt_arena *arena, dt_generation *result, dt_error *err)
{
    dt_rules rules;
    dt_request *request;
    DT_PASS(check(c, prompt, o, err));
    DT_PASS(dt_rules_resolve(&rules, c->model, o, err));
    DT_PASS(dt_requests_resolve(&request, arena, c->model, &rules, 1, prompt, err));
    if (request->start >= c->positions) /* with all that its pictures take */
        return too_long(c, (size_t)request->start, err);
    if (request->limit > c->positions)
        request->limit = c->positions;
    memcpy(c->tokens, request->tokens, (size_t)request->start * sizeof *c->tokens);
    keep_shared(c, request->start, dt_album_agrees(&c->album, c->model->config, request));
    DT_PASS(dt_album_fill(&c->album, c->model->config, request, err));
    if (c->eyes)
        DT_PASS(look(c, request, arena, err));
    int64_t chunk = o->chunk > 0 && o->chunk < CHUNK ? o->chunk : CHUNK;
    double begin = now();
    result->timing.prefill_tokens = request->start - dt_conversation_kept(c);
    DT_PASS(read_to(c, request->start, chunk, err));
    double middle = now();
    DT_PASS(write_answer(c, &rules, request, result, err));
    result->timing.prefill_seconds = middle - begin;
    result->timing.decode_seconds = now() - middle;
    result->timing.peak_bytes = dt_model_weight_bytes(c->model) + dt_session_bytes(c->session);
    return DT_OK;
}

dt_status dt_conversation_answer(dt_generation **out, dt_conversation *c, const dt_prompt *prompt,
                                 const dt_generate_options *options, dt_error *err)
{
    static const dt_generate_options defaults = DT_GENERATE_OPTIONS_DEFAULT;
    dt_generation *result;
    *out = NULL;
    DT_PASS(dt_generation_create(&result, 1, err));
    dt_model_enter(c->model);
    dt_status status = answer(c, prompt, options ? options : &defaults, result->arena, result, err);
    dt_model_leave(c->model);
    if (status == DT_OK)
        *out = result;
    else
        dt_generation_destroy(result);
    return status;
}
