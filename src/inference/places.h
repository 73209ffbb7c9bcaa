/*
 * places.h - how many prompts are answered at once, in what order they come, and which of them fits beside the others.
 *
 * A step has a budget of rows, shared by prompts being read and answers being written; the cache has a budget of
 * blocks. A prompt is let in when its longest answer's blocks are still unpromised, so no row ever meets a full cache.
 */
#ifndef DT_INFERENCE_PLACES_H
#define DT_INFERENCE_PLACES_H

#include "inference/request.h"

typedef struct dt_places {
    int64_t count;         /* prompts in work at once */
    int64_t tokens;        /* rows of a step: a place's beams always fit */
    int64_t blocks;        /* of the caches, the encoder's included, that may be promised */
    int64_t prompt_blocks; /* the most of them that decoders use together */
    int64_t promised;
    int64_t beams;
    size_t *order; /* of the requests: the longest first, else as given */
} dt_places;

/* Memory: `order` is the arena's. */
dt_status dt_places_resolve(dt_places *out, dt_arena *arena, const dt_model *model,
                            const dt_generate_options *options, size_t count, const dt_request *request,
                            dt_error *err);

bool dt_places_take(dt_places *places,
                    const dt_request *request); /* false: not beside those that are there */
void dt_places_give(dt_places *places, const dt_request *request);

#endif
