/*
 * generate.c - prompts to answers: rows come and go, every step packs what is there, answers leave in input order.
 *
 * How many are in work at once, and which comes next, is said by places.c.
 * A job is one prompt with its slots in the session (one, or one a beam). While its prompt is being read it gives
 * chunks to the steps; then a token of each beam. Finished jobs make room for waiting prompts at once. Which token
 * comes next is sampling.c's and beam.c's; whose rows share a step changes no answer.
 */
#include "inference/harvest.h"
#include "inference/places.h"
#include "inference/result.h"
#include "inference/see.h"
#include "inference/step.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SOURCE_TOKENS = 512, PROMPT_LOGIT_BYTES = 32 << 20 };

typedef enum phase { FREE, READING, WRITING } phase;

typedef struct job {
    phase phase;
    bool unread; /* an encoder has yet to read the prompt */
    int64_t row; /* of the call */
    const dt_request *request;
    int64_t *slot;   /* [beams] */
    int32_t *tokens; /* [limit]: the decoder's, prompt included. Beams have their own in `search` */
    int64_t count;   /* of them */
    int64_t reading; /* of them are to be stored before the next is chosen */
    dt_beam_search search;
    dt_token_logprob *logprobs, *prompt_logprobs;
    dt_arena *sight;    /* what was seen of the prompt's pictures; NULL: nothing */
    const float **seen; /* [limit]: rows of it at their places; NULL where no prompt has pictures */
    /* of this step */
    int64_t output, outputs; /* its first row of logits, and how many */
    int64_t first;           /* position of the first's token */
    dt_task **task;          /* [beams]: what decides the next token; NULL = nothing yet */
} job;

typedef struct engine {
    dt_arena *arena;
    dt_model *model;
    const dt_generate_options *options;
    dt_rules rules;
    dt_request *request;
    int64_t waiting, count; /* next of places.order to start; prompts */
    dt_places places;
    int64_t jobs;
    job *job;
    int64_t scored, source_rows; /* most rows of a step: of scored prompts, of the encoder */
    dt_span *span;               /* [jobs]: prompts to encode, */
    int64_t *memory;             /* [jobs]: and where to */
    dt_session *session;
    dt_eyes *eyes; /* NULL where no prompt has pictures */
    dt_harvest *harvest;
    dt_generation *result;
} engine;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool beams(const engine *e)
{
    return e->options->beams > 1;
}

/* ---- making ---- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* How much a step and the cache must hold: no more than these prompts can use. */
static dt_session_capacity capacity_for(engine *e)
{
    const dt_generate_options *o = e->options;
    const dt_places *p = &e->places;
    dt_session_capacity c = {.tokens = p->tokens, .blocks = p->prompt_blocks};
    int64_t source = 0;
    for (int64_t i = 0; i < e->count; i++) {
        const dt_request *r = &e->request[i];
        source += r->source.count;
        c.length = most(c.length, r->limit);
        c.memory_length = most(c.memory_length, r->source.count);
        c.pictures |= r->picture_count > 0;
    }
    e->jobs = p->count;
    c.sequences = e->jobs * o->beams;
    if (beams(e) && dt_config_rope_grows(e->model->config))
        c.tokens += c.sequences * c.length; /* beams are read again whole */
    c.output_rows = c.sequences;
    if (o->prompt_logprobs) /* logits of many rows are large: as many as fit into a bounded buffer */
        e->scored = least(p->tokens, most(1, PROMPT_LOGIT_BYTES / (4 * e->model->config->padded_vocab_size)));
    c.output_rows += e->scored;
    if (c.memory_length) {
        c.memories = e->jobs;
        c.cross_blocks = p->blocks;
        e->source_rows = c.source_tokens = most(c.memory_length, least(source, SOURCE_TOKENS));
    }
    return c;
}

static dt_status make_job(engine *e, int64_t index, int64_t length, dt_error *err)
{
    job *j = &e->job[index];
    int64_t n = e->options->beams;
    j->slot = DT_NEW_ARRAY(e->arena, int64_t, n);
    j->task = DT_NEW_ARRAY(e->arena, dt_task *, n);
    j->tokens = DT_NEW_ARRAY(e->arena, int32_t, length);
    if (!j->slot || !j->task || !j->tokens)
        return dt_fail_memory(err, (size_t)length * sizeof *j->tokens, "a row");
    for (int64_t i = 0; i < n; i++)
        j->slot[i] = index * n + i;
    if (e->eyes && !(j->seen = DT_NEW_ARRAY(e->arena, const float *, length)))
        return dt_fail_memory(err, (size_t)length * sizeof *j->seen, "a row");
    return beams(e) ? dt_beam_search_create(&j->search, e->arena, &e->rules, length, err) : DT_OK;
}

static dt_status make(engine *e, const dt_prompt *prompts, dt_error *err)
{
    if (!(e->arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "a generation");
    DT_PASS(dt_rules_resolve(&e->rules, e->model, e->options, err));
    DT_PASS(dt_requests_resolve(&e->request, e->arena, e->model, &e->rules, (size_t)e->count, prompts, err));
    DT_PASS(dt_generation_create(&e->result, (size_t)e->count, err));
    if (e->count == 0)
        return DT_OK;
    DT_PASS(dt_places_resolve(&e->places, e->arena, e->model, e->options, (size_t)e->count, e->request, err));
    dt_session_capacity capacity = capacity_for(e);
    e->job = DT_NEW_ARRAY(e->arena, job, e->jobs);
    e->span = DT_NEW_ARRAY(e->arena, dt_span, e->jobs);
    e->memory = DT_NEW_ARRAY(e->arena, int64_t, e->jobs);
    if (!e->job || !e->span || !e->memory)
        return dt_fail_memory(err, (size_t)e->jobs * sizeof *e->job, "rows");
    if (capacity.pictures)
        DT_PASS(dt_eyes_create(&e->eyes, e->model, err));
    for (int64_t i = 0; i < e->jobs; i++)
        DT_PASS(make_job(e, i, capacity.length, err));
    DT_PASS(dt_harvest_create(&e->harvest, e->arena, e->model->pool, &e->rules, capacity.output_rows, err));
    return dt_session_create(&e->session, e->model, &capacity, err);
}

/* ---- rows come ---- */

/* A prompt's pictures are looked at when its turn comes, once. */
static dt_status look(engine *e, job *j, dt_error *err)
{
    const dt_request *r = j->request;
    const dt_model_config *c = e->model->config;
    float *rows = NULL;
    if (r->picture_count && (j->sight = dt_arena_create()))
        rows = DT_NEW_ARRAY(j->sight, float, r->picture_rows * c->hidden_size);
    if (r->picture_count && !rows)
        return dt_fail_memory(err, (size_t)(r->picture_rows * c->hidden_size) * sizeof *rows, "pictures");
    dt_request_place(r, c, rows, j->seen);
    if (!r->picture_count)
        return DT_OK;
    DT_TRY(dt_eyes_see(e->eyes, r->picture_count, r->pictures, rows, err), err, "while reading prompt %lld",
           (long long)j->row);
    return DT_OK;
}

static void close_eyes(job *j)
{
    dt_arena_destroy(j->sight);
    j->sight = NULL;
}

static dt_status start_job(engine *e, job *j, dt_error *err)
{
    const dt_generate_options *o = e->options;
    j->row = (int64_t)e->places.order[e->waiting++];
    j->request = &e->request[j->row];
    j->phase = READING;
    j->unread = j->request->source.count > 0;
    j->count = j->reading = j->request->start;
    j->logprobs = j->prompt_logprobs = NULL;
    memcpy(j->tokens, j->request->tokens, (size_t)j->count * sizeof *j->tokens);
    int64_t best = o->logprobs > 0 ? o->logprobs : 0;
    if (o->logprobs >= 0)
        DT_PASS(dt_generation_logprobs(e->result, j->request->limit - j->count, best, &j->logprobs, err));
    if (o->prompt_logprobs)
        DT_PASS(dt_generation_logprobs(e->result, j->count - 1, best, &j->prompt_logprobs, err));
    if (beams(e))
        dt_beam_search_begin(&j->search, j->tokens, j->count, j->request->limit);
    return e->eyes ? look(e, j, err) : DT_OK;
}

/* Let the encoder read new prompts, as many together as its plan holds. */
static dt_status encode_unread(engine *e, dt_error *err)
{
    int64_t n = 0, rows = 0;
    for (int64_t i = 0; i < e->jobs; i++) {
        job *j = &e->job[i];
        if (j->phase != READING || !j->unread || rows + j->request->source.count > e->source_rows)
            continue;
        e->span[n] = j->request->source;
        e->memory[n++] = i;
        rows += j->request->source.count;
        j->unread = false;
        for (int64_t b = 0; b < e->options->beams; b++)
            dt_session_attach(e->session, j->slot[b], i);
    }
    if (n == 0)
        return DT_OK;
    e->result->timing.prefill_tokens += rows;
    DT_PASS(dt_session_encode(e->session, n, e->memory, e->span, err));
    return encode_unread(e, err); /* what did not fit */
}

/* ---- rows go ---- */

static dt_status write_answer(engine *e, const job *j, const int32_t *tokens, int64_t count, dt_error *err)
{
    int64_t start = j->request->start;
    dt_generated *out = &e->result->row[j->row];
    out->logprobs = j->logprobs;
    out->prompt_logprobs = j->prompt_logprobs;
    return dt_generation_write(e->result, j->row, tokens + start, count - start, err);
}

static dt_status finish(engine *e, job *j, dt_finish why, int32_t end_token, dt_error *err)
{
    dt_generated *out = &e->result->row[j->row];
    out->finish = why;
    out->end_token = end_token;
    j->phase = FREE;
    close_eyes(j);
    dt_places_give(&e->places, j->request);
    for (int64_t b = 0; b < e->options->beams; b++)
        dt_session_release(e->session, j->slot[b]);
    if (j->request->source.count)
        dt_session_forget(e->session, j - e->job);
    if (!beams(e))
        return write_answer(e, j, j->tokens, j->count, err);
    const dt_hypothesis *best = dt_beam_search_best(&j->search);
    if (!best) /* no new token was asked for */
        return write_answer(e, j, j->tokens, j->count, err);
    out->score = best->score;
    out->finish = best->ended ? DT_FINISH_EOS : DT_FINISH_LENGTH;
    out->end_token = best->ended ? best->tokens[best->count - 1] : -1;
    return write_answer(e, j, best->tokens, best->count - best->ended, err);
}

static dt_status nothing_to_say(const job *j, dt_error *err)
{
    return dt_fail(
        err, DT_INVALID,
        "prompt %lld: no token can follow token %lld: all are banned, or the logits hold no number",
        (long long)j->row, (long long)(j->count - 1));
}

static bool next_fits(engine *e)
{
    return e->waiting < e->count && dt_places_take(&e->places, &e->request[e->places.order[e->waiting]]);
}

/* Take free places, and leave at once where there is nothing to do. */
static dt_status admit(engine *e, dt_error *err)
{
    for (int64_t i = 0; i < e->jobs; i++) {
        job *j = &e->job[i];
        while (j->phase == FREE && next_fits(e)) {
            DT_PASS(start_job(e, j, err));
            if (j->request->limit == j->request->start && !j->prompt_logprobs)
                DT_PASS(finish(e, j, DT_FINISH_LENGTH, -1, err));
        }
    }
    return encode_unread(e, err);
}

/* ---- a step ---- */

/*
 * Where rotary frequencies follow from a sequence's length, every stored key and all that was computed from it belongs
 * to the length it was read at. When the frequencies change, the whole sequence is read again: so each token is what
 * transformers gives for the text so far. longrope: once, where it passes the trained length (transformers drops its
 * cache there too); dynamic: at every token beyond it, where transformers, keeping its cache, mixes frequencies.
 */
static bool outgrown(const engine *e, const job *j)
{
    return dt_config_rope_differs(e->model->config, j->count - 1, j->count);
}

static void read_again(engine *e, job *j)
{
    dt_session_release(e->session, j->slot[0]);
    j->phase = READING;
    j->reading = j->count;
}

/* A token of each beam. */
static dt_status pack_writing(engine *e, job *j, dt_error *err)
{
    j->outputs = beams(e) ? j->search.running : 1;
    j->first = j->count - 1;
    for (int64_t b = 0; b < j->outputs; b++) {
        const int32_t *tokens = beams(e) ? j->search.tokens[b] : j->tokens;
        dt_span span = {.tokens = tokens + j->count - 1, .count = 1};
        if (beams(e) && outgrown(e, j)) {
            dt_session_release(e->session, j->slot[b]);
            span = (dt_span){.tokens = tokens, .count = j->count, .seen = j->seen};
        }
        int64_t output;
        DT_PASS(dt_session_add(e->session, j->slot[b], &span, DT_WANT_LAST, &output, err));
        j->output = b == 0 ? output : j->output;
    }
    return DT_OK;
}

/* A prompt is scored when it is first read. */
static bool scores_prompt(const job *j)
{
    return j->prompt_logprobs && j->reading == j->request->start;
}

/* The next chunk of a prompt, out of what the step has left. */
static dt_status pack_reading(engine *e, job *j, int64_t *chunk, int64_t *scored, dt_error *err)
{
    int64_t stored = dt_session_length(e->session, j->slot[0]), left = j->reading - stored;
    int64_t rows = least(left, *chunk);
    dt_want want = rows == left && j->request->limit > j->request->start ? DT_WANT_LAST : DT_WANT_NONE;
    if (scores_prompt(j)) {
        want = DT_WANT_ALL;
        rows = least(rows, *scored);
        *scored -= rows;
    }
    j->first = stored;
    j->outputs = 0;
    if (rows == 0)
        return DT_OK;
    *chunk -= rows;
    dt_span span = {.tokens = j->tokens + stored, .count = rows, .length = j->reading};
    span.seen = j->seen ? j->seen + stored : NULL;
    j->outputs = want == DT_WANT_ALL ? rows : want == DT_WANT_LAST;
    if (want == DT_WANT_LAST)
        j->first = stored + rows - 1;
    return dt_session_add(e->session, j->slot[0], &span, want, &j->output, err);
}

/* Fill the step; *read and *written are its rows of either kind. */
static dt_status pack(engine *e, int64_t *read, int64_t *written, dt_error *err)
{
    int64_t scored = e->scored, budget = e->places.tokens;
    *read = *written = 0;
    dt_session_begin(e->session);
    for (int64_t i = 0; i < e->jobs; i++) {
        if (e->job[i].phase != WRITING)
            continue;
        DT_PASS(pack_writing(e, &e->job[i], err));
        *written += e->job[i].outputs;
    }
    /* A place that reads leaves its own row of the budget unwritten, so reading always goes on. */
    int64_t left = budget > *written ? budget - *written : 1, before = left;
    for (int64_t i = 0; i < e->jobs; i++)
        if (e->job[i].phase == READING)
            DT_PASS(pack_reading(e, &e->job[i], &left, &scored, err));
    *read = before - left;
    return DT_OK;
}

/* What decides a job's next token: one pick, or the continuations of each beam. */
static void plan_next(engine *e, job *j)
{
    int64_t last = j->output + j->outputs - 1;
    if (!beams(e)) {
        dt_row_so_far row = {.tokens = j->tokens,
                             .count = j->count,
                             .start = j->request->start,
                             .limit = j->request->limit,
                             .stream = (uint64_t)j->row};
        dt_task pick = {.kind = DT_TASK_PICK,
                        .logits = dt_session_logits(e->session, last),
                        .row = row,
                        .logprob = j->logprobs ? &j->logprobs[j->count - j->request->start] : NULL};
        j->task[0] = dt_harvest_add(e->harvest, &pick);
        return;
    }
    for (int64_t b = 0; b < j->search.running; b++) {
        dt_task go_on = {.kind = DT_TASK_BEAM,
                         .logits = dt_session_logits(e->session, last - j->search.running + 1 + b),
                         .search = &j->search,
                         .beam = b,
                         .out = j->search.merged + b * j->search.keep};
        j->task[b] = dt_harvest_add(e->harvest, &go_on);
    }
}

/* Hand out a job's rows of logits: prompt tokens are scored, the last row tells what comes next. */
static void plan_harvest(engine *e, job *j)
{
    j->task[0] = NULL;
    if (j->phase == FREE || j->outputs == 0)
        return;
    for (int64_t i = 0; j->phase == READING && scores_prompt(j) && i < j->outputs; i++) {
        int64_t scored = j->first + i + 1;
        if (scored == j->request->start)
            break;
        dt_task score = {.kind = DT_TASK_SCORE,
                         .logits = dt_session_logits(e->session, j->output + i),
                         .token = j->tokens[scored],
                         .logprob = &j->prompt_logprobs[scored - 1]};
        dt_harvest_add(e->harvest, &score);
    }
    bool complete = j->phase == WRITING || j->first + j->outputs == j->reading;
    if (complete && j->request->limit > j->request->start)
        plan_next(e, j);
}

static dt_status take_token(engine *e, job *j, dt_error *err)
{
    const dt_generate_options *o = e->options;
    int32_t token = j->task[0]->token;
    if (token < 0)
        return nothing_to_say(j, err);
    if (dt_rules_is_end(&e->rules, token))
        return finish(e, j, DT_FINISH_EOS, token, err);
    j->tokens[j->count++] = token;
    if (o->on_token && !o->on_token(o->user, j->row, token))
        return finish(e, j, DT_FINISH_STOP, -1, err);
    if (outgrown(e, j))
        read_again(e, j);
    return j->count == j->request->limit ? finish(e, j, DT_FINISH_LENGTH, -1, err) : DT_OK;
}

static dt_status take_beams(engine *e, job *j, dt_error *err)
{
    dt_beam_search *s = &j->search;
    int64_t count = 0;
    for (int64_t b = 0; b < s->running; b++) /* close the gaps between the beams' lists */
        for (int64_t i = 0; i < j->task[b]->found; i++)
            s->merged[count++] = j->task[b]->out[i];
    bool more = dt_beam_search_advance(s, count);
    j->count = s->count;
    if (!more)
        return dt_beam_search_best(s) ? finish(e, j, DT_FINISH_LENGTH, -1, err) : nothing_to_say(j, err);
    dt_session_reorder(e->session, s->running, s->beams, j->slot, s->parent);
    return DT_OK;
}

/* A job after its step: its prompt may be read, its next token known, its answer complete. */
static dt_status take(engine *e, job *j, dt_error *err)
{
    if (j->phase == READING && dt_session_length(e->session, j->slot[0]) == j->reading) {
        j->phase = WRITING;
        if (j->request->limit == j->request->start)
            return finish(e, j, DT_FINISH_LENGTH, -1, err);
    }
    if (j->phase != WRITING || !j->task[0])
        return DT_OK;
    return beams(e) ? take_beams(e, j, err) : take_token(e, j, err);
}

static dt_status step(engine *e, dt_error *err)
{
    dt_generation_timing *timing = &e->result->timing;
    int64_t read, written;
    double begin = now();
    DT_PASS(admit(e, err));
    DT_PASS(pack(e, &read, &written, err));
    if (read + written == 0)
        return DT_OK; /* the last prompts asked for nothing */
    DT_PASS(dt_session_run(e->session, err));
    dt_harvest_begin(e->harvest);
    for (int64_t i = 0; i < e->jobs; i++)
        plan_harvest(e, &e->job[i]);
    dt_harvest_run(e->harvest);
    for (int64_t i = 0; i < e->jobs; i++)
        if (e->job[i].phase != FREE)
            DT_PASS(take(e, &e->job[i], err));
    timing->prefill_tokens += read;
    timing->decode_tokens += written;
    *(read ? &timing->prefill_seconds : &timing->decode_seconds) += now() - begin;
    return DT_OK;
}

static bool busy(const engine *e)
{
    for (int64_t i = 0; i < e->jobs; i++)
        if (e->job[i].phase != FREE)
            return true;
    return e->waiting < e->count;
}

static dt_status run(engine *e, const dt_prompt *prompts, dt_error *err)
{
    DT_PASS(make(e, prompts, err));
    while (busy(e))
        DT_PASS(step(e, err));
    if (e->session)
        e->result->timing.peak_bytes =
            dt_model_weight_bytes(e->model) + dt_session_bytes(e->session) + dt_arena_bytes(e->arena);
    return DT_OK;
}

dt_status dt_generate(dt_generation **out, dt_model *model, size_t count, const dt_prompt *prompts,
                      const dt_generate_options *options, dt_error *err)
{
    static const dt_generate_options defaults = DT_GENERATE_OPTIONS_DEFAULT;
    engine e = {.model = model, .options = options ? options : &defaults, .count = (int64_t)count};
    *out = NULL;
    dt_model_enter(model);
    dt_status status = run(&e, prompts, err);
    for (int64_t i = 0; e.job && i < e.jobs; i++)
        close_eyes(&e.job[i]);
    dt_eyes_destroy(e.eyes);
    dt_session_destroy(e.session);
    dt_model_leave(model);
    dt_arena_destroy(e.arena);
    if (status == DT_OK)
        *out = e.result;
    else
        dt_generation_destroy(e.result);
    return status;
}
