/*
 * text_pictures.c - where a text has its pictures: how their places are spelled, and texts around them as ids.
 *
 * Peers  transformers' processors (image_token) · Megatron's multimodal tokenizer, whose <image> is no word of the
 *        vocabulary but the id -200
 */
#include "base/fail.h"
#include "inference/model.h"

#include <drivetrain/text.h>

#include <stdlib.h>
#include <string.h>

static const char common_spelling[] = "<image>";

const char *dt_text_image_token(const dt_model *model, const dt_tokenizer *tokenizer)
{
    const dt_model_config *c = model->config;
    if (!c->vision || !c->projection)
        return NULL;
    const char *own = NULL;
    if (tokenizer && c->image_token_index >= 0 && c->image_token_index <= INT32_MAX)
        own = dt_tokenizer_token(tokenizer, (int32_t)c->image_token_index);
    return own && *own ? own : common_spelling;
}

/* The tokenizer's ids of one piece, behind what is there. */
static dt_status append(const dt_tokenizer *tokenizer, const char *text, size_t bytes,
                        const dt_encode_options *options, int32_t **ids, size_t *count, dt_error *err)
{
    int32_t *piece;
    size_t n;
    DT_PASS(dt_tokenizer_encode(tokenizer, text, bytes, options, &piece, &n, err));
    int32_t *grown = realloc(*ids, (*count + n + 2) * sizeof *grown); /* and an image token */
    if (grown) {
        for (size_t i = 0; i < n; i++)
            grown[*count + i] = piece[i];
        *ids = grown;
        *count += n;
    }
    dt_free(piece);
    return grown ? DT_OK : dt_fail_memory(err, n * sizeof *grown, "a prompt");
}

/* Pieces between pictures, each by itself; special tokens (a beginning) belong to the first. */
static dt_status encode_around(const dt_tokenizer *tokenizer, const char *text, size_t bytes,
                               const dt_encode_options *options, int32_t image, int32_t **ids, size_t *count,
                               dt_error *err)
{
    dt_encode_options further = options ? *options : (dt_encode_options){0};
    further.no_special = true;
    const char *end = text + bytes, *place;
    bool first = true;
    while ((place = memmem(text, (size_t)(end - text), common_spelling, strlen(common_spelling)))) {
        DT_PASS(append(tokenizer, text, (size_t)(place - text), first ? options : &further, ids, count, err));
        (*ids)[(*count)++] = image;
        text = place + strlen(common_spelling);
        first = false;
    }
    return append(tokenizer, text, (size_t)(end - text), first ? options : &further, ids, count, err);
}

dt_status dt_text_encode(const dt_model *model, const dt_tokenizer *tokenizer, const char *text, size_t bytes,
                         const dt_encode_options *options, int32_t **ids, size_t *count, dt_error *err)
{
    const dt_model_config *c = model->config;
    const char *spelling = dt_text_image_token(model, tokenizer);
    *ids = NULL;
    *count = 0;
    bool known =
        spelling && c->image_token_index >= 0 && dt_tokenizer_id(tokenizer, spelling) == c->image_token_index;
    if (!spelling || known)
        return dt_tokenizer_encode(tokenizer, text, bytes, options, ids, count, err);
    dt_status status =
        encode_around(tokenizer, text, bytes, options, (int32_t)c->image_token_index, ids, count, err);
    if (status != DT_OK) {
        free(*ids);
        *ids = NULL;
    }
    return status;
}
