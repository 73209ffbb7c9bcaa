/*
 * embed_pictures.c - pictures to vectors: what a tower pools of each, projects, or gives for every patch.
 *
 * Who stands in which step is look.c's, how rows become one vector embeddings.c's.
 */
#include "inference/embeddings.h"
#include "inference/look.h"

/* One call: where in a step's outputs a picture's rows are. */
typedef struct embedding {
    const dt_model_config *model, *tower; /* the same, where the tower stands alone */
    const dt_embed_options *options;
    dt_embeddings *result;
} embedding;

dt_pooling dt_tower_pooling(const dt_model_config *tower)
{
    if (tower->vision_pooling == DT_POOL_NONE)
        return DT_POOLING_MEAN;
    return tower->projection_dim ? DT_POOLING_PROJECTION : DT_POOLING_POOLER;
}

static dt_status check(const embedding *e, dt_error *err)
{
    const dt_model_config *c = e->tower;
    if (!dt_config_is_tower(c))
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures: it embeds text", c->family);
    switch (e->options->pooling) {
    case DT_POOLING_MEAN:
    case DT_POOLING_NONE:
        return DT_OK;
    case DT_POOLING_CLS:
        return c->class_token_len ? DT_OK
                                  : dt_fail(err, DT_UNSUPPORTED, "this %s has no class token", c->family);
    case DT_POOLING_POOLER:
        return c->vision_pooling != DT_POOL_NONE
                   ? DT_OK
                   : dt_fail(err, DT_UNSUPPORTED, "this %s has no pooler", c->family);
    case DT_POOLING_PROJECTION:
        return (e->model == c ? c->projection_dim > 0 : dt_config_compares(e->model)) &&
                       c->vision_pooling != DT_POOL_NONE
                   ? DT_OK
                   : dt_fail(err, DT_UNSUPPORTED, "this %s has no projection", c->family);
    }
    return dt_fail(err, DT_INVALID, "%d is no kind of pooling", (int)e->options->pooling);
}

static const char *point_of(dt_pooling pooling)
{
    return pooling == DT_POOLING_PROJECTION ? "out.image_features"
           : pooling == DT_POOLING_POOLER   ? "out.pooled"
                                            : "out.hidden";
}

/* A mean is over patches: class tokens are the tower's own. */
static dt_status keep(const embedding *e, size_t picture, const dt_pictures *packed, int64_t i,
                      const float *row, dt_error *err)
{
    dt_pooling pooling = e->options->pooling;
    int64_t width = dt_embeddings_width(e->result), first = packed->cu_seqlens[i];
    int64_t rows = packed->cu_seqlens[i + 1] - first;
    bool mean = pooling == DT_POOLING_MEAN;
    if (pooling == DT_POOLING_PROJECTION || pooling == DT_POOLING_POOLER) {
        first = i;
        rows = 1;
    } else if (mean) {
        first += e->tower->class_token_len;
        rows -= e->tower->class_token_len;
    } else if (pooling == DT_POOLING_CLS) {
        rows = 1;
    }
    return dt_embeddings_keep(e->result, picture, row + first * width, rows, mean, e->options->normalize,
                              err);
}

static dt_status take(void *user, size_t first, const dt_pictures *packed, const float *values, dt_error *err)
{
    const embedding *e = user;
    for (int64_t i = 0; i < packed->images; i++)
        DT_PASS(keep(e, first + (size_t)i, packed, i, values, err));
    return DT_OK;
}

dt_status dt_embed_pictures(dt_embeddings **out, dt_model *model, size_t count, const dt_planes *pictures,
                            const dt_embed_options *options, dt_error *err)
{
    const dt_model_config *c = model->config;
    embedding e = {.model = c, .tower = c->vision ? c->vision : c};
    dt_embed_options defaults = DT_EMBED_OPTIONS_DEFAULT;
    defaults.pooling = dt_config_compares(c) ? DT_POOLING_PROJECTION : dt_tower_pooling(e.tower);
    e.options = options ? options : &defaults;
    const dt_look look = {.model = model,
                          .picture = pictures,
                          .count = count,
                          .max_batch = e.options->max_batch,
                          .point = point_of(e.options->pooling),
                          .take = take,
                          .user = &e};
    *out = NULL;
    DT_PASS(check(&e, err));
    bool projected = e.options->pooling == DT_POOLING_PROJECTION && e.tower->projection_dim;
    dt_status status = dt_embeddings_create(&e.result, count,
                                            projected ? e.tower->projection_dim : e.tower->hidden_size, err);
    dt_model_enter(model);
    if (status == DT_OK)
        status = dt_look_at(&look, err);
    dt_model_leave(model);
    if (status == DT_OK)
        *out = e.result;
    else
        dt_embeddings_destroy(e.result);
    return status;
}
