/*
 * among.c - pictures among words: counts a picture's rows, orders those of its tiles, gives each its place in a prompt.
 *
 * Peers  transformers models/llava_next (pack_image_features, unpad_image) · megatron core/models/multimodal/llava_model.py
 */
#include "inference/among.h"

#include "base/checked.h"
#include "inference/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the rows of one picture ---- */

/* Patches of one tile, and of all that lie in the grid. */
typedef struct layout {
    dt_patch_grid tile, canvas;
    dt_image_window shown; /* what of the canvas is picture, and not padding */
} layout;

static bool has_lines(const dt_model_config *c, const dt_pixels *p)
{
    return c->image_newline && p->tiles > 1;
}

static layout layout_of(const dt_model_config *c, const dt_pixels *p)
{
    layout l = {.tile = {p->height / c->vision->patch_dim, p->width / c->vision->patch_dim}};
    l.canvas = (dt_patch_grid){l.tile.rows * p->grid_rows, l.tile.columns * p->grid_columns};
    if (has_lines(c, p))
        l.shown = dt_image_unpad((int)l.canvas.rows, (int)l.canvas.columns, p->image_height, p->image_width);
    return l;
}

int64_t dt_among_tile_rows(const dt_model_config *c, const dt_pixels *p)
{
    layout l = layout_of(c, p);
    int64_t rows = l.tile.rows * l.tile.columns + (c->drop_class_token ? 0 : c->vision->class_token_len);
    return c->pixel_shuffle ? rows / 4 : rows;
}

static dt_status check_picture(const dt_model_config *c, const dt_pixels *p, dt_error *err)
{
    if (!c->vision || !c->projection)
        return dt_fail(err, DT_UNSUPPORTED, "this %s sees no pictures", c->family);
    if (!p->values || p->tiles < 1 || p->height < c->vision->patch_dim || p->width < c->vision->patch_dim)
        return dt_fail(err, DT_MISMATCH, "%d x %d pixels, and the tower's patches are %" PRId64, p->width,
                       p->height, c->vision->patch_dim);
    if (!has_lines(c, p))
        return DT_OK;
    if (!c->drop_class_token && c->vision->class_token_len)
        return dt_fail(err, DT_UNSUPPORTED,
                       "tiles put together have no place for their class tokens: "
                       "\"vision_feature_select_strategy\" must be \"default\"");
    if (p->grid_rows < 1 || p->grid_columns < 1 || p->tiles != 1 + (int64_t)p->grid_rows * p->grid_columns ||
        p->overview != 0)
        return dt_fail(err, DT_MISMATCH, "%" PRId64 " tiles are no overview and a grid of %d x %d", p->tiles,
                       p->grid_rows, p->grid_columns);
    return DT_OK;
}

dt_status dt_among_rows(const dt_model_config *c, const dt_pixels *p, int64_t *rows, dt_error *err)
{
    DT_PASS(check_picture(c, p, err));
    int64_t own = dt_among_tile_rows(c, p);
    layout l = layout_of(c, p);
    if (has_lines(c, p))
        *rows = own + (int64_t)l.shown.height * (l.shown.width + 1);
    else if (!dt_mul_int64(own, p->tiles, rows) || *rows >= INT32_MAX)
        return dt_fail(err, DT_LIMIT, "%" PRId64 " tiles of %" PRId64 " rows are too many", p->tiles, own);
    else if (c->image_newline)
        *rows += 1;
    return DT_OK;
}

/* Row of the tile that holds a place of the canvas; tile 0 is the overview. */
static int32_t row_at(const layout *l, int grid_columns, int64_t y, int64_t x)
{
    int64_t tile = 1 + y / l->tile.rows * grid_columns + x / l->tile.columns;
    int64_t place = y % l->tile.rows * l->tile.columns + x % l->tile.columns;
    return (int32_t)(tile * l->tile.rows * l->tile.columns + place);
}

void dt_among_order(const dt_model_config *c, const dt_pixels *p, int32_t *order)
{
    layout l = layout_of(c, p);
    int64_t n = 0, plain = dt_among_tile_rows(c, p) * (has_lines(c, p) ? 1 : p->tiles);
    while (n < plain) {
        order[n] = (int32_t)n;
        n++;
    }
    for (int y = 0; has_lines(c, p) && y < l.shown.height; y++) {
        for (int x = 0; x < l.shown.width; x++)
            order[n++] = row_at(&l, p->grid_columns, l.shown.top + y, l.shown.left + x);
        order[n++] = DT_AMONG_NEWLINE;
    }
    if (c->image_newline && !has_lines(c, p))
        order[n] = DT_AMONG_NEWLINE;
}

/* ---- places in a prompt ---- */

static dt_status mismatch(const dt_model_config *c, size_t found, size_t pictures, size_t rows, dt_error *err)
{
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
