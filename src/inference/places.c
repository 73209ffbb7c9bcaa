/*
 * places.c - see places.h. What is done in the places is generate.c's.
 *
 * Longest first: a long row that starts last runs on alone, when all that could share its steps is gone.
 */
#include "inference/places.h"

#include <stdlib.h>

enum { STEP_TOKENS = 512, LOGIT_BYTES = 64 << 20 };
static const uint64_t least_cache_bytes = 256 << 20;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t blocks_of(int64_t positions)
{
    return (positions + DT_KV_BLOCK - 1) / DT_KV_BLOCK;
}

/* Never so many that a sum over prompts could overflow; the cache refuses them all the same. */
static int64_t decoder_blocks(const dt_places *p, const dt_request *r)
{
    enum { TOO_MANY = INT32_MAX };
    int64_t blocks = blocks_of(r->limit);
    return blocks > TOO_MANY / p->beams ? TOO_MANY : p->beams * blocks;
}

static int64_t need(const dt_places *p, const dt_request *r)
{
    return decoder_blocks(p, r) + blocks_of(r->source.count);
}

/* Bytes of a block in all layers, of an encoder's keys or a decoder's, whichever is more. */
static uint64_t block_bytes(const dt_model *model)
{
    const dt_model_config *c = model->config;
    bool encoder = dt_model_has_encoder(model);
    uint64_t layers = (uint64_t)(encoder ? c->decoder_num_layers : c->num_layers);
    uint64_t heads = (uint64_t)(encoder ? c->num_attention_heads : c->num_query_groups);
    return 2 * layers * heads * (uint64_t)c->kv_channels * DT_KV_BLOCK *
           dt_dtype_block_bytes(dt_model_kv_dtype(model));
}

/* The cache may take what the weights take; a small model's, somewhat more. */
static int64_t blocks_allowed(const dt_model *model, const dt_generate_options *o)
{
    uint64_t weights = dt_model_weight_bytes(model), one = block_bytes(model);
    uint64_t bytes = o->cache_bytes ? o->cache_bytes : weights;
    if (!o->cache_bytes && bytes < least_cache_bytes)
        bytes = least_cache_bytes;
    return (int64_t)(bytes / (one ? one : 1));
}

/* ---- order ---- */

static const dt_request *request_at(const void *index, void *requests)
{
    return (const dt_request *)requests + *(const size_t *)index;
}

static int longest_first(const void *a, const void *b, void *requests)
{
    const dt_request *x = request_at(a, requests), *y = request_at(b, requests);
    int64_t work_x = x->limit + x->source.count, work_y = y->limit + y->source.count;
    if (work_x != work_y)
        return work_x > work_y ? -1 : 1;
    return x < y ? -1 : x > y;
}

dt_status dt_places_resolve(dt_places *p, dt_arena *arena, const dt_model *model,
                            const dt_generate_options *o, size_t count, const dt_request *request,
                            dt_error *err)
{
    int64_t rows = 0, blocks = 0, largest = 0, budget = o->chunk > 0 ? o->chunk : STEP_TOKENS;
    *p = (dt_places){.beams = o->beams, .order = DT_NEW_ARRAY(arena, size_t, count)};
    if (!p->order)
        return dt_fail_memory(err, count * sizeof *p->order, "the order of prompts");
    for (size_t i = 0; i < count; i++) {
        p->order[i] = i;
        rows += request[i].start;
        blocks += need(p, &request[i]);
        p->prompt_blocks += decoder_blocks(p, &request[i]);
        largest = most(largest, need(p, &request[i]));
    }
    int64_t logits = LOGIT_BYTES / (4 * model->config->padded_vocab_size);
    int64_t places = (o->max_batch > 0 ? o->max_batch : least(budget, logits)) / o->beams;
    p->count = least((int64_t)count, most(1, places));
    p->tokens = most(least(rows, budget), p->count * o->beams);
    p->blocks = least(blocks, most(largest, blocks_allowed(model, o)));
    p->prompt_blocks = least(p->prompt_blocks, p->blocks);
    qsort_r(p->order, count, sizeof *p->order, longest_first, (void *)(uintptr_t)request);
    return DT_OK;
}

bool dt_places_take(dt_places *p, const dt_request *request)
{
    if (p->promised + need(p, request) > p->blocks)
        return false;
    p->promised += need(p, request);
    return true;
}

void dt_places_give(dt_places *p, const dt_request *request)
{
    p->promised -= need(p, request);
}
