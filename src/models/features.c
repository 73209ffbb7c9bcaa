/*
 * features.c - see features.h: which of a tower's rows are projected, and in what order they become a picture's.
 *
 * Peers  megatron core/models/multimodal/llava_model.py (pixel_shuffle, version 2) · transformers models/llava_next
 *        (pack_image_features); what of a grid is padding is data/image's to say
 */
#include "models/features.h"

#include "base/fail.h"

#include <drivetrain/image.h>

enum { MAX_ROWS = 1 << 24 };

/* ---- from rows of the tower to features ---- */

/* Rows of a tile of the tower's that are left when class tokens are dropped, and where they begin. */
typedef struct kept {
    int64_t first, count, side; /* side: of the square that is joined two by two */
} kept;

static kept kept_of(const dt_model_config *c, const dt_pictures *p, int64_t tile)
{
    int64_t dropped = c->drop_class_token ? c->vision->class_token_len : 0;
    kept k = {p->cu_seqlens[tile] + dropped, p->cu_seqlens[tile + 1] - p->cu_seqlens[tile] - dropped, 0};
    while ((k.side + 1) * (k.side + 1) <= k.count)
        k.side++;
    return k;
}

static dt_status check_kept(const kept *k, const dt_model_config *c, int64_t tile, dt_error *err)
{
    if (!c->pixel_shuffle || (k->side * k->side == k->count && k->side % 2 == 0))
        return DT_OK;
    return dt_fail(
        err, DT_MISMATCH,
        "\"pixel_shuffle\" joins the rows of a picture two by two, and picture %lld has %lld, which are no "
        "square of an even side",
        (long long)tile, (long long)k->count);
}

/* Row i of the result is made of a square of four: above left, above right, below left, below right. */
static int64_t part_of(const kept *k, int64_t i, int part)
{
    int64_t half = k->side / 2;
    return k->first + (i / half * 2 + part / 2) * k->side + i % half * 2 + part % 2;
}

static void place_features(const kept *k, int64_t at, dt_features *out)
{
    int64_t count = out->parts == DT_FEATURE_PARTS ? k->count / 4 : k->count;
    for (int part = 0; part < out->parts; part++)
        for (int64_t i = 0; i < count; i++)
            out->row[part][at + i] = (int32_t)(out->parts == 1 ? k->first + i : part_of(k, i, part));
}

dt_status dt_features_pack(dt_features *out, dt_arena *arena, const dt_model_config *c,
                           const dt_pictures *pictures, dt_error *err)
{
    bool drops = c->drop_class_token && c->vision->class_token_len > 0;
    *out = (dt_features){.images = pictures->images,
                         .parts = c->pixel_shuffle ? DT_FEATURE_PARTS
                                  : drops          ? 1
                                                   : 0,
                         .cu_rows = DT_NEW_ARRAY(arena, int32_t, pictures->images + 1)};
    if (!out->cu_rows)
        return dt_fail_memory(err, sizeof(int32_t) * (size_t)pictures->images, "pictures");
    for (int64_t i = 0; i < pictures->images; i++) {
        kept k = kept_of(c, pictures, i);
        DT_PASS(check_kept(&k, c, i, err));
        out->rows += c->pixel_shuffle ? k.count / 4 : k.count;
        out->cu_rows[i + 1] = (int32_t)out->rows;
    }
    for (int part = 0; part < out->parts; part++)
        if (!(out->row[part] = DT_NEW_ARRAY(arena, int32_t, out->rows + 1)))
            return dt_fail_memory(err, sizeof(int32_t) * (size_t)out->rows, "pictures");
    for (int64_t i = 0; i < pictures->images; i++) {
        kept k = kept_of(c, pictures, i);
        place_features(&k, out->cu_rows[i], out);
    }
    return DT_OK;
}

/* ---- from tiles to pictures ---- */

/* Patches of one tile as features are: all of them, in lines. */
static dt_patch_grid tile_grid(const dt_model_config *c)
{
    dt_patch_grid grid = dt_config_patches(c->vision);
    return c->pixel_shuffle ? (dt_patch_grid){grid.rows / 2, grid.columns / 2} : grid;
}

static dt_status check_tiling(const dt_model_config *c, const dt_features *f, int64_t tile,
                              const dt_tiling *t, int64_t number, dt_error *err)
{
    if (t->tiles < 0 || t->tiles > f->images - tile)
        return dt_fail(err, DT_MISMATCH, "picture %lld has %lld tiles, but %lld are left of %lld",
                       (long long)number, (long long)t->tiles, (long long)(f->images - tile),
                       (long long)f->images);
    if (!c->image_newline)
        return DT_OK;
    dt_patch_grid grid = tile_grid(c);
    bool grown = t->tiles > 1;
    if (t->tiles < 1 || t->height < 1 || t->width < 1 || t->height > MAX_ROWS || t->width > MAX_ROWS ||
        (grown && (t->grid_rows < 1 || t->grid_columns < 1 || t->grid_rows > t->tiles ||
                   t->grid_columns > t->tiles || t->tiles != 1 + t->grid_rows * t->grid_columns)))
        return dt_fail(
            err, DT_MISMATCH,
            "picture %lld of %lld x %lld pixels has %lld tiles, which are no whole and a grid of %lld x %lld",
            (long long)number, (long long)t->width, (long long)t->height, (long long)t->tiles,
            (long long)t->grid_columns, (long long)t->grid_rows);
    for (int64_t i = 0; grown && i < t->tiles; i++)
        if (f->cu_rows[tile + i + 1] - f->cu_rows[tile + i] != grid.rows * grid.columns)
            return dt_fail(
                err, DT_MISMATCH,
                "tile %lld of picture %lld gives %d rows, but a line of tiles needs %lld x %lld patches",
                (long long)i, (long long)number, f->cu_rows[tile + i + 1] - f->cu_rows[tile + i],
                (long long)grid.columns, (long long)grid.rows);
    return DT_OK;
}

/* Lines across the grid of tiles, a newline behind each; with `out` NULL they are only counted. */
static int64_t place_grid(const dt_model_config *c, const dt_tiling *t, int64_t first, int32_t *out)
{
    dt_patch_grid one = tile_grid(c), all = {t->grid_rows * one.rows, t->grid_columns * one.columns};
    dt_image_window shown = dt_image_unpad((int)all.rows, (int)all.columns, (int)t->height, (int)t->width);
    int64_t n = 0;
    if (!out)
        return (int64_t)shown.height * (shown.width + 1);
    for (int64_t y = shown.top; y < shown.top + shown.height; y++) {
        for (int64_t x = shown.left; x < shown.left + shown.width; x++) {
            int64_t tile = y / one.rows * t->grid_columns + x / one.columns;
            int64_t in_tile = y % one.rows * one.columns + x % one.columns;
            out[n++] = (int32_t)(-1 - (first + tile * one.rows * one.columns + in_tile));
        }
        out[n++] = 0;
    }
    return n;
}

/* The whole picture, then the lines of its grid; or, of one tile, its rows and one newline. */
static int64_t place_picture(const dt_model_config *c, const dt_features *f, int64_t tile, const dt_tiling *t,
                             int32_t *out)
{
    int64_t n = 0;
    for (int32_t i = f->cu_rows[tile]; i < f->cu_rows[tile + 1]; i++, n++)
        if (out)
            out[n] = -1 - i;
    if (t->tiles > 1)
        return n + place_grid(c, t, f->cu_rows[tile + 1], out ? out + n : NULL);
    if (out)
        out[n] = 0;
    return n + 1;
}

dt_status dt_image_rows_pack(dt_image_rows *out, dt_arena *arena, const dt_model_config *c,
                             const dt_features *f, int64_t count, const dt_tiling *tiling, dt_error *err)
{
    int64_t tile = 0;
    *out = (dt_image_rows){.images = count, .cu_rows = DT_NEW_ARRAY(arena, int32_t, count + 1)};
    if (!out->cu_rows)
        return dt_fail_memory(err, sizeof(int32_t) * (size_t)count, "pictures");
    for (int64_t i = 0; i < count; tile += tiling[i++].tiles) {
        DT_PASS(check_tiling(c, f, tile, &tiling[i], i, err));
        out->rows += c->image_newline ? place_picture(c, f, tile, &tiling[i], NULL)
                                      : f->cu_rows[tile + tiling[i].tiles] - f->cu_rows[tile];
        if (out->rows > MAX_ROWS)
            return dt_fail(err, DT_LIMIT, "%lld pictures have more than %d rows together", (long long)count,
                           MAX_ROWS);
        out->cu_rows[i + 1] = (int32_t)out->rows;
    }
    if (tile != f->images)
        return dt_fail(err, DT_MISMATCH, "there are %lld tiles, but the pictures are made of %lld",
                       (long long)f->images, (long long)tile);
    if (!c->image_newline)
        return DT_OK;
    if (!(out->order = DT_NEW_ARRAY(arena, int32_t, out->rows + 1)))
        return dt_fail_memory(err, sizeof(int32_t) * (size_t)out->rows, "pictures");
    tile = 0;
    for (int64_t i = 0; i < count; tile += tiling[i++].tiles)
        place_picture(c, f, tile, &tiling[i], out->order + out->cu_rows[i]);
    return DT_OK;
}

dt_picture_input dt_features_input(const dt_features *f, const dt_image_rows *r, int index)
{
    const dt_picture_input input[] = {{"feature_rows_0", f->row[0]},
                                      {"feature_rows_1", f->row[1]},
                                      {"feature_rows_2", f->row[2]},
                                      {"feature_rows_3", f->row[3]},
                                      {"image_order", r->order}};
    int count = sizeof input / sizeof input[0];
    return index >= 0 && index < count ? input[index] : (dt_picture_input){0};
}
