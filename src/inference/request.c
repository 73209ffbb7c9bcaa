/*
 * request.c - refuses what cannot be answered before anything runs, and says which row, id and limit.
 */
#include "inference/request.h"

#include "inference/among.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { DEFAULT_MAX_TOKENS = 256 };

static dt_status check_sampling(const dt_generate_options *o, dt_error *err)
{
    if (!(o->temperature >= 0) || isinf(o->temperature))
        return dt_fail(err, DT_INVALID, "temperature is %g, expected 0 (greedy) or more", o->temperature);
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return dt_fail(err, DT_INVALID, "top_p is %g, expected 0 to 1", o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return dt_fail(err, DT_INVALID, "min_p is %g, expected 0 to 1", o->min_p);
    if (o->top_k < 0)
        return dt_fail(err, DT_INVALID, "top_k is %" PRId64 ", expected 0 (off) or more", o->top_k);
    if (!(o->repetition_penalty > 0) || isinf(o->repetition_penalty))
        return dt_fail(err, DT_INVALID, "repetition_penalty is %g, expected more than 0",
                       o->repetition_penalty);
    return DT_OK;
}

static dt_status check_beams(const dt_generate_options *o, dt_error *err)
{
    enum { MOST_BEAMS = 256 };
    if (o->beams < 1 || o->beams > MOST_BEAMS)
        return dt_fail(err, DT_INVALID, "beams is %" PRId64 ", expected 1 to %d", o->beams, MOST_BEAMS);
    if (o->beams == 1)
        return DT_OK;
    if (o->temperature > 0)
        return dt_fail(err, DT_UNSUPPORTED,
                       "beam search draws nothing: %" PRId64 " beams need temperature 0, found %g", o->beams,
                       o->temperature);
    if (o->logprobs >= 0 || o->prompt_logprobs)
        return dt_fail(err, DT_UNSUPPORTED, "log-probabilities are not kept along beams; ask for 1 beam");
    if (!isfinite(o->length_penalty) || o->early_stopping < 0 || o->early_stopping > 2)
        return dt_fail(err, DT_INVALID, "length_penalty %g, early_stopping %d: not what beam search knows",
                       o->length_penalty, o->early_stopping);
    return DT_OK;
}

static dt_status check_forced(const char *key, int32_t id, int64_t vocab, dt_error *err)
{
    if (id < vocab)
        return DT_OK;
    return dt_fail(err, DT_INVALID, "%s is %" PRId32 ", but the vocabulary has %" PRId64 " ids", key, id,
                   vocab);
}

dt_status dt_rules_resolve(dt_rules *out, const dt_model *model, const dt_generate_options *o, dt_error *err)
{
    const dt_model_config *c = model->config;
    *out = (dt_rules){.options = o, .vocab = c->vocab_size};
    if (!dt_config_reads(c))
        return dt_fail(err, DT_UNSUPPORTED, "this %s reads no text, so it cannot continue one", c->family);
    if (c->encoder_only || strcmp(c->model_type, "bert") == 0) {
        dt_fail(err, DT_UNSUPPORTED, "this %s is an encoder alone: it encodes, but cannot generate",
                c->family);
        dt_error_try(err, "drivetrain embed MODEL TEXT");
        return DT_UNSUPPORTED;
    }
    if (!o->ignore_eos) {
        out->eos_count = o->eos_count ? o->eos_count : c->eos_count;
        out->eos = o->eos_count ? o->eos_ids : c->eos_token_ids;
    }
    if (o->logprobs > c->vocab_size)
        return dt_fail(err, DT_INVALID,
                       "%" PRId64 " log-probabilities a token: the vocabulary has %" PRId64 " ids",
                       o->logprobs, c->vocab_size);
    if (o->max_tokens < -1)
        return dt_fail(err, DT_INVALID, "max_tokens is %" PRId64 ", expected 0 or more", o->max_tokens);
    DT_PASS(check_forced("forced_bos", o->forced_bos, c->vocab_size, err));
    DT_PASS(check_forced("forced_eos", o->forced_eos, c->vocab_size, err));
    DT_PASS(check_sampling(o, err));
    return check_beams(o, err);
}

/* `seen`: an id that stands for pictures, whatever the vocabulary; else -1. */
static dt_status check_ids(size_t row, const char *what, const int32_t *ids, int64_t count, int64_t vocab,
                           int64_t positions, int64_t seen, dt_error *err)
{
    if (count == 0)
        return dt_fail(err, DT_INVALID, "prompt %zu is empty%s", row, what);
    if (count > positions)
        return dt_fail(err, DT_INVALID,
                       "prompt %zu has %" PRId64 " tokens%s, but the model has %" PRId64 " positions", row,
                       count, what, positions);
    for (int64_t i = 0; i < count; i++)
        if ((ids[i] < 0 || ids[i] >= vocab) && (ids[i] != seen || seen == -1))
            return dt_fail(err, DT_INVALID,
                           "prompt %zu: token %" PRId64 " is id %" PRId32
                           "%s, but the vocabulary has %" PRId64 " ids",
                           row, i, ids[i], what, vocab);
    return DT_OK;
}

/* ---- pictures ---- */

static dt_status expand(dt_request *r, dt_arena *arena, const dt_model *model, const dt_prompt *p,
                        dt_error *err)
{
    int32_t *expanded, *copy;
    size_t count;
    DT_PASS(
        dt_picture_expand(model, p->tokens, p->count, p->pictures, p->picture_count, &expanded, &count, err));
    if ((copy = DT_NEW_ARRAY(arena, int32_t, count + 1)))
        memcpy(copy, expanded, count * sizeof *copy);
    dt_free(expanded);
    r->tokens = copy;
    r->start = (int64_t)count;
    return copy ? DT_OK : dt_fail_memory(err, count * sizeof *copy, "a prompt");
}

static dt_status resolve_pictures(dt_request *r, dt_arena *arena, const dt_model *model, const dt_prompt *p,
                                  const dt_rules *rules, dt_error *err)
{
    bool sees = model->config->vision && model->config->projection;
    if (!sees && p->picture_count)
        return dt_fail(err, DT_UNSUPPORTED, "a picture is given, and this %s sees none",
                       model->config->family);
    if (!sees)
        return DT_OK;
    if (p->picture_count && rules->options->prompt_logprobs)
        return dt_fail(err, DT_UNSUPPORTED,
                       "pictures have no log-probabilities: those of a prompt with pictures are not told");
    DT_PASS(expand(r, arena, model, p, err));
    r->pictures = p->pictures;
    r->picture_count = p->picture_count;
    for (size_t i = 0; i < p->picture_count; i++) {
        int64_t rows;
        DT_PASS(dt_among_rows(model->config, &p->pictures[i], &rows, err));
        r->picture_rows += rows;
    }
    return DT_OK;
}

void dt_request_place(const dt_request *r, const dt_model_config *config, const float *rows,
                      const float **seen)
{
    for (int64_t i = 0; i < r->start; i++) {
        bool picture = r->picture_count && r->tokens[i] == config->image_token_index;
        seen[i] = picture ? rows : NULL;
        rows += picture ? config->hidden_size : 0;
    }
    for (int64_t i = r->start; i < r->limit; i++)
        seen[i] = NULL; /* an answer has no pictures */
}

/* ---- the whole ---- */

/* T5's decoder starts from what the prompt says, or the model's start token. */
static dt_status resolve_decoder(dt_request *r, size_t row, const dt_prompt *p, const int32_t *start,
                                 dt_error *err)
{
    if (p->decoder_tokens && p->decoder_count) {
        r->tokens = p->decoder_tokens;
        r->start = (int64_t)p->decoder_count;
        return DT_OK;
    }
    if (*start < 0)
        return dt_fail(
            err, DT_INVALID,
            "prompt %zu: the model's configuration names no decoder_start_token_id; give decoder tokens",
            row);
    r->tokens = start;
    r->start = 1;
    return DT_OK;
}

/*
 * Most tokens in all. max_tokens counts new ones; max_length everything, as transformers has it. The last one is named and
 * never read, so it needs no position.
 */
static int64_t limit_of(const dt_generate_options *o, int64_t start, int64_t positions)
{
    int64_t limit = INT32_MAX;
    positions += positions < INT32_MAX;
    if (o->max_tokens < 0 && o->max_length > 0)
        limit = o->max_length > start ? o->max_length : start;
    else if (o->max_tokens < INT32_MAX - start)
        limit = start + (o->max_tokens < 0 ? DEFAULT_MAX_TOKENS : o->max_tokens);
    return limit < positions ? limit : positions;
}

dt_status dt_requests_resolve(dt_request **out, dt_arena *arena, const dt_model *model, const dt_rules *rules,
                              size_t count, const dt_prompt *prompts, dt_error *err)
{
    const dt_model_config *c = model->config;
    int64_t positions = dt_model_positions(model);
    dt_request *request = DT_NEW_ARRAY(arena, dt_request, count ? count : 1);
    int32_t *start = DT_NEW(arena, int32_t); /* the model's start token, for all rows */
    if (!request || !start)
        return dt_fail_memory(err, count * sizeof *request, "requests");
    *out = request;
    int64_t named =
        rules->options->decoder_start >= 0 ? rules->options->decoder_start : c->decoder_start_token_id;
    if (named < 0)
        named = c->bos_token_id; /* as transformers starts a decoder that says nothing */
    *start = (int32_t)(named > INT32_MAX ? -1 : named);
    for (size_t i = 0; i < count; i++) {
        dt_request *r = &request[i];
        *r = (dt_request){.tokens = prompts[i].tokens, .start = (int64_t)prompts[i].count};
        DT_TRY(resolve_pictures(r, arena, model, &prompts[i], rules, err), err, "while reading prompt %zu",
               i);
        DT_PASS(check_ids(i, "", r->tokens, r->start, c->vocab_size, positions,
                          r->picture_count ? c->image_token_index : -1, err));
        if (dt_model_has_encoder(model)) {
            r->source = (dt_span){.tokens = r->tokens, .count = r->start};
            DT_PASS(resolve_decoder(r, i, &prompts[i], start, err));
            DT_PASS(check_ids(i, " for the decoder", r->tokens, r->start, c->padded_vocab_size, positions, -1,
                              err));
        }
        r->limit = limit_of(rules->options, r->start, positions);
    }
    return DT_OK;
}
