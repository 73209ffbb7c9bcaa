/*
 * text.c - text in, text out: encodes prompts, watches tokens arrive as text, ends answers at stop strings.
 *
 * A GPT's answer continues its prompt, so its decoder is first shown the prompt's tokens (a sentencepiece decoder
 * would otherwise drop the answer's first space); T5's answer stands alone.
 */
#include "base/arena.h"
#include "base/text.h"
#include "inference/stops.h"

#include <drivetrain/picture.h>
#include <drivetrain/text.h>

#include <stdlib.h>
#include <string.h>

/* One answer while it grows. */
typedef struct writing {
    dt_decode_stream *stream; /* NULL without a tokenizer */
    dt_text text;             /* all that became certain */
    size_t shown;             /* bytes given to on_text */
    bool stopped;             /* a stop string was met; text is cut before it */
    dt_status status;         /* of the stream */
} writing;

struct dt_text_answers {
    dt_arena *arena;
    const dt_text_options *options; /* during the call */
    size_t count;
    dt_prompt *prompt;
    int32_t **encoded; /* ids that were made of texts; freed with dt_free */
    writing *row;
    dt_text_answer_row *answer;
    dt_generation *generation;
    dt_error failure; /* of the first stream that failed */
};

/* ---- a token arrives ---- */

/* Take a piece into the row; false when the answer is over. */
static bool take_piece(dt_text_answers *a, size_t index, const char *piece, size_t bytes, bool last)
{
    writing *w = &a->row[index];
    size_t from = w->text.bytes;
    if (!dt_text_append(&w->text, piece, bytes)) {
        w->status = DT_NO_MEMORY;
        return false;
    }
    dt_stops stops = {a->options->stop, a->options->stop_count};
    int64_t stop = dt_stops_find(stops, w->text.data, w->text.bytes, from);
    if (stop >= 0) {
        w->text.bytes = (size_t)stop;
        w->text.data[stop] = '\0';
        w->stopped = true;
    }
    size_t certain =
        w->text.bytes - (last || w->stopped ? 0 : dt_stops_held(stops, w->text.data, w->text.bytes));
    bool more = true;
    if (a->options->on_text && certain > w->shown)
        more = a->options->on_text(a->options->user, index, w->text.data + w->shown, certain - w->shown);
    w->shown = certain > w->shown ? certain : w->shown;
    return more && !w->stopped;
}

static bool take_token(void *user, int64_t row, int32_t token)
{
    dt_text_answers *a = user;
    writing *w = &a->row[row];
    const char *piece;
    size_t bytes;
    if (!w->stream)
        return true;
    w->status =
        dt_decode_stream_push(w->stream, token, &piece, &bytes, a->failure.status ? NULL : &a->failure);
    return w->status == DT_OK && take_piece(a, (size_t)row, piece, bytes, false);
}

/* ---- prompts ---- */

/* Pictures take their places here, so that a prompt's length is told with them. */
static dt_status place_pictures(dt_text_answers *a, size_t i, const dt_model *model,
                                const dt_text_prompt *given, dt_error *err)
{
    int32_t *expanded;
    dt_prompt *p = &a->prompt[i];
    if (given->picture_count == 0)
        return DT_OK;
    DT_PASS(dt_picture_expand(model, p->tokens, p->count, given->pictures, given->picture_count, &expanded,
                              &p->count, err));
    dt_free(a->encoded[i]);
    p->tokens = a->encoded[i] = expanded;
    p->pictures = given->pictures;
    p->picture_count = given->picture_count;
    return DT_OK;
}

static dt_status encode_prompt(dt_text_answers *a, size_t i, const dt_model *model,
                               const dt_tokenizer *tokenizer, const dt_text_prompt *given, dt_error *err)
{
    a->prompt[i] = (dt_prompt){.tokens = given->tokens, .count = given->count};
    if (given->tokens)
        return place_pictures(a, i, model, given, err);
    if (!tokenizer)
        return dt_fail(err, DT_INVALID,
                       "the model has no tokenizer: give ids instead of text, or a tokenizer");
    size_t count;
    DT_PASS(dt_text_encode(model, tokenizer, given->text, strlen(given->text), NULL, &a->encoded[i], &count,
                           err));
    a->prompt[i] = (dt_prompt){.tokens = a->encoded[i], .count = count};
    return place_pictures(a, i, model, given, err);
}

/* Show a continued prompt to its decoder, so that the answer's text begins where the prompt's ended. */
static dt_status begin_row(dt_text_answers *a, size_t i, const dt_model *model, const dt_tokenizer *tokenizer,
                           dt_error *err)
{
    const dt_model_config *c = dt_model_get_config(model);
    bool continues = dt_config_is_gpt(c);
    const char *piece;
    size_t bytes;
    if (!tokenizer)
        return DT_OK;
    DT_PASS(dt_decode_stream_create(&a->row[i].stream, tokenizer, true, err));
    for (size_t t = 0; continues && t < a->prompt[i].count; t++)
        if (!a->prompt[i].picture_count || a->prompt[i].tokens[t] != c->image_token_index)
            DT_PASS(dt_decode_stream_push(a->row[i].stream, a->prompt[i].tokens[t], &piece, &bytes, err));
    return DT_OK;
}

/* An id that the model has and the tokenizer has not: the story is the first row's that met one. */
static dt_status undecoded(const dt_text_answers *a, dt_status status, size_t i, dt_error *err)
{
    if (a->failure.status == DT_OK || !err)
        return dt_fail(err, status, "the tokens of answer %zu could not be decoded", i);
    *err = a->failure;
    dt_error_while(err, "while decoding answer %zu", i);
    return status;
}

static dt_status finish_row(dt_text_answers *a, size_t i, bool beams, dt_error *err)
{
    writing *w = &a->row[i];
    const dt_generated *g = dt_generation_row(a->generation, i);
    const char *piece;
    size_t bytes;
    for (size_t t = 0; beams && t < g->count; t++)
        if (!take_token(a, (int64_t)i, g->tokens[t]))
            break;
    if (w->status != DT_OK)
        return undecoded(a, w->status, i, err);
    if (w->stream && !w->stopped) {
        DT_PASS(dt_decode_stream_finish(w->stream, &piece, &bytes, err));
        take_piece(a, i, piece, bytes, true);
    }
    a->answer[i] = (dt_text_answer_row){.text = w->stream ? (w->text.data ? w->text.data : "") : NULL,
                                        .finish = w->stopped ? DT_FINISH_STOP : g->finish,
                                        .prompt_tokens = a->prompt[i].count,
                                        .generated = g};
    return DT_OK;
}

static dt_status generate(dt_text_answers *a, dt_model *model, const dt_tokenizer *tokenizer,
                          const dt_text_prompt *prompts, dt_error *err)
{
    for (size_t i = 0; i < a->count; i++) {
        DT_TRY(encode_prompt(a, i, model, tokenizer, &prompts[i], err), err, "while encoding prompt %zu", i);
        DT_TRY(begin_row(a, i, model, tokenizer, err), err, "while reading prompt %zu", i);
    }
    dt_generate_options options = a->options->generate;
    options.on_token = tokenizer ? take_token : NULL;
    options.user = a;
    DT_PASS(dt_generate(&a->generation, model, a->count, a->prompt, &options, err));
    for (size_t i = 0; i < a->count; i++)
        DT_PASS(finish_row(a, i, options.beams > 1, err));
    return DT_OK;
}

static dt_status allocate(dt_text_answers *a, dt_error *err)
{
    if ((a->arena = dt_arena_create())) {
        a->prompt = DT_NEW_ARRAY(a->arena, dt_prompt, a->count);
        a->encoded = DT_NEW_ARRAY(a->arena, int32_t *, a->count);
        a->row = DT_NEW_ARRAY(a->arena, writing, a->count);
        a->answer = DT_NEW_ARRAY(a->arena, dt_text_answer_row, a->count);
    }
    bool short_of_memory = !a->arena || !a->prompt || !a->encoded || !a->row || !a->answer;
    return short_of_memory ? dt_fail_memory(err, a->count * sizeof(writing), "answers") : DT_OK;
}

dt_status dt_generate_text(dt_text_answers **out, dt_model *model, const dt_tokenizer *tokenizer,
                           size_t count, const dt_text_prompt *prompts, const dt_text_options *options,
                           dt_error *err)
{
    dt_text_answers *a = calloc(1, sizeof *a);
    *out = NULL;
    if (!a)
        return dt_fail_memory(err, sizeof *a, "answers");
    a->count = count;
    a->options = options;
    dt_status status = allocate(a, err);
    if (status == DT_OK)
        status = generate(a, model, tokenizer, prompts, err);
    a->options = NULL;
    if (status != DT_OK)
        dt_text_answers_destroy(a);
    else
        *out = a;
    return status;
}

void dt_text_answers_destroy(dt_text_answers *a)
{
    if (!a)
        return;
    for (size_t i = 0; a->row && i < a->count; i++) {
        dt_decode_stream_destroy(a->row[i].stream);
        dt_text_free(&a->row[i].text);
        dt_free(a->encoded[i]);
    }
    dt_generation_destroy(a->generation);
    dt_arena_destroy(a->arena);
    free(a);
}

const dt_text_answer_row *dt_text_answer(const dt_text_answers *a, size_t row)
{
    return row < a->count ? &a->answer[row] : NULL;
}

dt_generation_timing dt_text_answers_timing(const dt_text_answers *a)
{
    return dt_generation_timing_of(a->generation);
}
