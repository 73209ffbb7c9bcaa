/**
 * text.h - prompts as text, answers as text: a model and its tokenizer together.
 *
 *     dt_text_options o = {.generate = DT_GENERATE_OPTIONS_DEFAULT};
 *     dt_text_answers *a;
 *     if (dt_generate_text(&a, model, tokenizer, 1, &(dt_text_prompt){.text = "drive"}, &o, &err)) ...
 *     puts(dt_text_answer(a, 0)->text);
 *     dt_text_answers_destroy(a);
 */
#ifndef DRIVETRAIN_TEXT_H
#define DRIVETRAIN_TEXT_H

#include <drivetrain/inference.h>
#include <drivetrain/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A prompt as text, or as ids when `tokens` is set (then no tokenizer is needed). */
typedef struct dt_text_prompt {
    const char *text; /**< UTF-8, terminated */
    const int32_t *tokens;
    size_t count;
    /** LLaVA: pictures in the order of their places in the text, which are told by the tokenizer's image token
     *  (dt_text_image_token); borrowed. */
    const dt_pixels *pictures;
    size_t picture_count;
} dt_text_prompt;

/** How a text tells a picture's place: "<image>", or as the model's tokenizer spells it; NULL: it sees no pictures. */
const char *dt_text_image_token(const dt_model *model, const dt_tokenizer *tokenizer);

/**
 * A text with pictures as ids: image tokens where they are spelled, one each; also where the tokenizer has none (Megatron).
 *
 * Memory   *ids is the caller's, freed with dt_free
 */
dt_status dt_text_encode(const dt_model *model, const dt_tokenizer *tokenizer, const char *text, size_t bytes,
                         const dt_encode_options *options, int32_t **ids, size_t *count, dt_error *err);

typedef struct dt_text_options {
    dt_generate_options generate; /**< its on_token is replaced by on_text */
    int stop_count;
    const char *const *stop; /**< an answer ends before the first of these that it would contain */
    /** Pieces as they become certain, whole characters; row from 0. Not called with beams. Return false to stop. */
    bool (*on_text)(void *user, size_t row, const char *piece, size_t bytes);
    void *user;
} dt_text_options;

typedef struct dt_text_answer_row {
    const char *text; /**< NULL without a tokenizer */
    dt_finish finish;
    size_t prompt_tokens;
    const dt_generated *generated; /**< tokens and log-probabilities; may run past a stop string's cut */
} dt_text_answer_row;

typedef struct dt_text_answers dt_text_answers;

/** `tokenizer` may be NULL when every prompt is ids. Answers come in the order of the prompts. */
dt_status dt_generate_text(dt_text_answers **out, dt_model *model, const dt_tokenizer *tokenizer,
                           size_t count, const dt_text_prompt *prompts, const dt_text_options *options,
                           dt_error *err);
void dt_text_answers_destroy(dt_text_answers *answers);
const dt_text_answer_row *dt_text_answer(const dt_text_answers *answers, size_t row);
dt_generation_timing dt_text_answers_timing(const dt_text_answers *answers);

#ifdef __cplusplus
}
#endif
#endif
