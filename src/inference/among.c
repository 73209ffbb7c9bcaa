/*
 * among.c - pictures among words: counts a picture's rows, and gives each its place in a prompt.
 *
 * Which rows these are is models/features.c's.
 */
#include "inference/among.h"

#include "base/checked.h"
#include "inference/model.h"
#include "models/features.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the rows of one picture ---- */

static dt_status check_picture(const dt_model_config *c, const dt_pixels *p, dt_error *err)
{
    enum { MAX_TILES = 1 << 16 };
    if (!c->vision || !c->projection)
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures", c->family);
    if (c->vision->num_channels != 3)
        return dt_fail(err, DT_UNSUPPORTED,
                       "this tower sees %" PRId64 " channels; pictures among words have 3",
                       c->vision->num_channels);
    if (!p->values || p->tiles < 1 || p->tiles > MAX_TILES || p->height < c->vision->patch_dim ||
        p->width < c->vision->patch_dim)
        return dt_fail(err, DT_MISMATCH,
                       "%" PRId64 " tiles of %d x %d pixels, and the tower's patches are %" PRId64, p->tiles,
                       p->width, p->height, c->vision->patch_dim);
    return DT_OK;
}

/* What features.c asks of a picture's tiles: where the rows of each end. */
static dt_status count_rows(const dt_model_config *c, const dt_pixels *p, dt_arena *arena, int64_t *rows,
                            dt_error *err)
{
    const dt_model_config *tower = c->vision;
    const dt_tiling tiling = {p->tiles, p->grid_rows, p->grid_columns, p->image_height, p->image_width};
    dt_pictures tiles = {.images = p->tiles, .cu_seqlens = DT_NEW_ARRAY(arena, int32_t, p->tiles + 1)};
    dt_features features;
    dt_image_rows result;
    int64_t own, all;
    if (!tiles.cu_seqlens)
        return dt_fail_memory(err, (size_t)p->tiles * sizeof(int32_t), "tiles");
    own = (int64_t)(p->height / tower->patch_dim) * (p->width / tower->patch_dim) + tower->class_token_len;
    if (!dt_mul_int64(own, p->tiles, &all) || all >= INT32_MAX)
        return dt_fail(err, DT_LIMIT, "%" PRId64 " tiles of %" PRId64 " rows are too many", p->tiles, own);
    for (int64_t i = 0; i < p->tiles; i++)
        tiles.cu_seqlens[i + 1] = (int32_t)((i + 1) * own);
    tiles.rows = all;
    DT_PASS(dt_features_pack(&features, arena, c, &tiles, err));
    DT_PASS(dt_image_rows_pack(&result, arena, c, &features, 1, &tiling, err));
    *rows = result.rows;
    return DT_OK;
}

dt_status dt_among_rows(const dt_model_config *c, const dt_pixels *p, int64_t *rows, dt_error *err)
{
    DT_PASS(check_picture(c, p, err));
    dt_arena *arena = dt_arena_create();
    if (!arena)
        return dt_fail_memory(err, 0, "a picture");
    dt_status status = count_rows(c, p, arena, rows, err);
    dt_arena_destroy(arena);
    return status;
}

/* ---- places in a prompt ---- */

static dt_status mismatch(const dt_model_config *c, size_t found, size_t pictures, size_t rows, dt_error *err)
{
    if (pictures == 0)
        return dt_fail(err, DT_MISMATCH,
                       "the prompt has %zu image token%s (id %" PRId64 "), and no picture is given", found,
                       found == 1 ? "" : "s", c->image_token_index);
    return dt_fail(err, DT_MISMATCH,
                   "the prompt has %zu image token%s (id %" PRId64 "), but %zu picture%s given: one each is "
                   "expected, or all %zu that they take",
                   found, found == 1 ? "" : "s", c->image_token_index, pictures,
                   pictures == 1 ? " is" : "s are", rows);
}

static int32_t *copy_expanded(const dt_model_config *c, const int32_t *tokens, size_t count,
                              const int64_t *rows, size_t total)
{
    size_t n = 0, picture = 0;
    int32_t *out = malloc((total + 1) * sizeof *out);
    for (size_t i = 0; out && i < count; i++) {
        int64_t times = rows && tokens[i] == c->image_token_index ? rows[picture++] : 1;
        while (times-- > 0)
            out[n++] = tokens[i];
    }
    return out;
}

dt_status dt_among_expand(const dt_model_config *c, const int32_t *tokens, size_t count, size_t pictures,
                          const int64_t *rows, int32_t **out, size_t *out_count, dt_error *err)
{
    size_t found = 0, all = 0;
    *out = NULL;
    for (size_t i = 0; i < count; i++)
        found += tokens[i] == c->image_token_index;
    for (size_t i = 0; i < pictures; i++)
        if (!dt_add_size(all, (size_t)rows[i], &all) || all >= INT32_MAX)
            return dt_fail(err, DT_LIMIT, "%zu pictures take more positions than can be counted", pictures);
    if (found != pictures && found != all)
        return mismatch(c, found, pictures, all, err);
    bool single = found == pictures;
    *out_count = single ? count - pictures + all : count;
    if (!(*out = copy_expanded(c, tokens, count, single ? rows : NULL, *out_count)))
        return dt_fail_memory(err, *out_count * sizeof **out, "a prompt");
    return DT_OK;
}

/* ---- the public calls ---- */

dt_status dt_picture_tokens(const dt_model *model, const dt_pixels *picture, int64_t *tokens, dt_error *err)
{
    return dt_among_rows(model->config, picture, tokens, err);
}

dt_status dt_picture_expand(const dt_model *model, const int32_t *tokens, size_t count,
                            const dt_pixels *pictures, size_t picture_count, int32_t **expanded,
                            size_t *expanded_count, dt_error *err)
{
    dt_status status = DT_OK;
    int64_t *rows = calloc(picture_count + 1, sizeof *rows);
    *expanded = NULL;
    if (!rows)
        return dt_fail_memory(err, picture_count * sizeof *rows, "pictures");
    for (size_t i = 0; status == DT_OK && i < picture_count; i++)
        if ((status = dt_among_rows(model->config, &pictures[i], &rows[i], err)) != DT_OK)
            dt_error_while(err, "while counting the rows of picture %zu", i);
    if (status == DT_OK)
        status =
            dt_among_expand(model->config, tokens, count, picture_count, rows, expanded, expanded_count, err);
    free(rows);
    return status;
}
