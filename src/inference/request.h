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
} dt_request;

/* What the options mean for this model. Points into options, and into the model for its end tokens. */
dt_status dt_rules_resolve(dt_rules *out, const dt_model *model, const dt_generate_options *options,
                           dt_error *err);

/* The requests of a call, owned by `arena`; they point into the prompts. */
dt_status dt_requests_resolve(dt_request **out, dt_arena *arena, const dt_model *model, const dt_rules *rules,
                              size_t count, const dt_prompt *prompts, dt_error *err);

#endif
