/*
 * result.c - answers and their log-probabilities, in an arena of their own.
 */
#include "inference/result.h"

#include <stdlib.h>
#include <string.h>

dt_status dt_generation_create(dt_generation **out, size_t count, dt_error *err)
{
    dt_generation *g = calloc(1, sizeof *g);
    *out = g;
    if (g && (g->arena = dt_arena_create())) {
        g->row = DT_NEW_ARRAY(g->arena, dt_generated, count ? count : 1);
        g->count = count;
    }
    return g && g->row ? DT_OK : dt_fail_memory(err, count * sizeof *g->row, "answers");
}

void dt_generation_destroy(dt_generation *g)
{
    if (!g)
        return;
    dt_arena_destroy(g->arena);
    free(g);
}

dt_status dt_generation_logprobs(dt_generation *g, int64_t count, int64_t best, dt_token_logprob **out,
                                 dt_error *err)
{
    *out = DT_NEW_ARRAY(g->arena, dt_token_logprob, count > 0 ? count : 1);
    int32_t *ids = DT_NEW_ARRAY(g->arena, int32_t, count * best + 1);
    float *values = DT_NEW_ARRAY(g->arena, float, count *best + 1);
    if (!*out || !ids || !values)
        return dt_fail_memory(err, (size_t)(count * (best + 1)) * 8, "log-probabilities");
    for (int64_t i = 0; i < count; i++) {
        (*out)[i].top_ids = ids + i * best;
        (*out)[i].top_logprobs = values + i * best;
    }
    return DT_OK;
}

dt_status dt_generation_write(dt_generation *g, int64_t row, const int32_t *tokens, int64_t count,
                              dt_error *err)
{
    int32_t *copy = DT_NEW_ARRAY(g->arena, int32_t, count + 1);
    if (!copy)
        return dt_fail_memory(err, (size_t)count * sizeof *copy, "an answer");
    if (count > 0)
        memcpy(copy, tokens, (size_t)count * sizeof *copy);
    g->row[row].tokens = copy;
    g->row[row].count = (size_t)count;
    return DT_OK;
}

const dt_generated *dt_generation_row(const dt_generation *g, size_t row)
{
    return row < g->count ? &g->row[row] : NULL;
}

dt_generation_timing dt_generation_timing_of(const dt_generation *g)
{
    return g->timing;
}
