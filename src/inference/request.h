/*
 * request.h - prompts and options checked and resolved: where each row starts, how long it may become.
 */
#ifndef DT_INFERENCE_REQUEST_H
#define DT_INFERENCE_REQUEST_H

#include "inference/sampling.h"
#include "inference/step.h"

typedef struct dt_request {
    dt_span source;        /* T5: the encoder's rows; else empty */
    const int32_t *tokens; /* what the decoder starts from */
    int64_t start, limit;  /* its length; and most tokens in all */
    const dt_pixels *pictures;
    size_t picture_count;
    int64_t picture_rows; /* of all of them: as many image tokens are among the tokens */
} dt_request;

/*
 * Rows of pictures, as dt_eyes_see gave them, to the places of a request's image tokens: seen [limit at least] is NULL
 * elsewhere.
 */
void dt_request_place(const dt_request *request, const dt_model_config *config, const float *rows,
                      const float **seen);

/* What the options mean for this model. Points into options, and into the model for its end tokens. */
dt_status dt_rules_resolve(dt_rules *out, const dt_model *model, const dt_generate_options *options,
                           dt_error *err);

/* The requests of a call, owned by `arena`; they point into the prompts, or into the arena where image
 * tokens became as many as their pictures take. */
dt_status dt_requests_resolve(dt_request **out, dt_arena *arena, const dt_model *model, const dt_rules *rules,
                              size_t count, const dt_prompt *prompts, dt_error *err);

#endif
