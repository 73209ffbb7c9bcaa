/*
 * pictures.c - lays pictures out as a tower's rows, and says where each row stands: the positions of a grid, resampled
 * from the table where the grid is another than the table's.
 *
 * Peers  megatron core/models/vision/radio.py (bilinear) · transformers models/dinov2 (bicubic); the resampling itself is
 *        torch.nn.functional.interpolate's, whose sums run over the same neighbours with the same weights.
 */
#include "models/pictures.h"

#include "base/checked.h"
#include "base/fail.h"

#include <math.h>
#include <string.h>

enum { MAX_ROWS = 1 << 24 };

int64_t dt_pictures_terms(const dt_model_config *tower)
{
    static const int64_t terms[] = {[DT_RESIZE_NONE] = 1, [DT_RESIZE_BILINEAR] = 4, [DT_RESIZE_BICUBIC] = 16};
    return terms[tower->position_resize];
}

static dt_patch_grid grid_of(const dt_model_config *tower, const dt_picture *picture)
{
    return (dt_patch_grid){picture->height / tower->patch_dim, picture->width / tower->patch_dim};
}

/* ---- where positions come from ---- */

/* The part of the table's grid that is stretched over `to` cells, of which the picture has the first ones. */
typedef struct window {
    dt_patch_grid from, to;
} window;

/* Along one axis: up to four neighbours of a cell and their weights. */
typedef struct taps {
    int64_t at[4];
    float weight[4];
} taps;

static int64_t clamped(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Where cell i of `to` lies among `from` cells; torch counts it in f32. */
static float source_of(int64_t i, int64_t from, int64_t to, bool align_corners)
{
    if (align_corners)
        return to > 1 ? (float)i * ((float)(from - 1) / (float)(to - 1)) : 0;
    return ((float)i + 0.5f) * ((float)from / (float)to) - 0.5f;
}

static taps linear_taps(int64_t i, int64_t from, int64_t to, bool align_corners)
{
    float at = source_of(i, from, to, align_corners);
    at = at < 0 ? 0 : at;
    int64_t low = clamped((int64_t)at, from);
    float part = at - (float)low;
    return (taps){.at = {low, clamped(low + 1, from)}, .weight = {1 - part, part}};
}

/* Keys' kernel with a = -0.75, as torch has it. */
static float cubic(float x)
{
    const float a = -0.75f;
    x = fabsf(x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static taps cubic_taps(int64_t i, int64_t from, int64_t to, bool align_corners)
{
    float at = source_of(i, from, to, align_corners), part = at - floorf(at);
    taps t;
    for (int k = 0; k < 4; k++) {
        t.at[k] = clamped((int64_t)floorf(at) + k - 1, from);
        t.weight[k] = cubic(part + 1 - (float)k);
    }
    return t;
}

static bool same_grid(dt_patch_grid a, dt_patch_grid b)
{
    return a.rows == b.rows && a.columns == b.columns;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The table cut to the picture's shape: fewer columns for a narrow one, fewer rows for a low one. */
static dt_patch_grid cut_to_shape(dt_patch_grid table, dt_patch_grid grid)
{
    if (grid.columns < grid.rows)
        table.columns = least(table.columns, (table.columns * grid.columns + grid.rows - 1) / grid.rows);
    else if (grid.rows < grid.columns)
        table.rows = least(table.rows, (table.rows * grid.rows + grid.columns - 1) / grid.columns);
    return table;
}

/* RADIO's: which part of the table, stretched over what, gives a picture's positions. */
static window radio_window(const dt_model_config *c, dt_patch_grid table, dt_patch_grid grid)
{
    int64_t longer = grid.rows > grid.columns ? grid.rows : grid.columns;
    bool too_large = (double)c->hidden_size * (double)longer * (double)longer >= INT32_MAX;
    if (c->interpolate_only_cpe || !c->has_cpe) {
        dt_patch_grid part = c->cpe_aspect_ratio_select ? cut_to_shape(table, grid) : table;
        if (!c->interpolate_only_cpe &&
            !c->cpe_aspect_ratio_select) /* the top left window, as far as there is one */
            part = (dt_patch_grid){least(table.rows, grid.rows), least(table.columns, grid.columns)};
        return (window){part, grid};
    }
    if (c->cpe_aspect_ratio_select || too_large)
        return (window){cut_to_shape(table, grid), grid};
    return (window){table, {longer, longer}};
}

static window window_of(const dt_model_config *c, dt_patch_grid grid)
{
    dt_patch_grid table = dt_config_position_grid(c);
    if (same_grid(table, grid))
        return (window){table, grid};
    return strcmp(c->model_type, "radio") == 0 ? radio_window(c, table, grid) : (window){table, grid};
}

static taps taps_of(const dt_model_config *c, int64_t i, int64_t from, int64_t to)
{
    if (from == to)
        return (taps){.at = {i}, .weight = {1}};
    return c->position_resize == DT_RESIZE_BICUBIC ? cubic_taps(i, from, to, c->interpolate_align_corners)
                                                   : linear_taps(i, from, to, c->interpolate_align_corners);
}

/* The position of one patch: rows of the table, and what each counts. */
static void place_patch(const dt_model_config *c, const window *w, int64_t row, int64_t column, int64_t first,
                        int32_t *index, float *weight)
{
    int side = c->position_resize == DT_RESIZE_BICUBIC ? 4 : c->position_resize == DT_RESIZE_BILINEAR ? 2 : 1;
    int64_t width = dt_config_position_grid(c).columns;
    taps down = taps_of(c, row, w->from.rows, w->to.rows),
         right = taps_of(c, column, w->from.columns, w->to.columns);
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            index[i * side + j] = (int32_t)(first + down.at[i] * width + right.at[j]);
            weight[i * side + j] = down.weight[i] * right.weight[j];
        }
}

/* ---- laying out ---- */

/* A tower that normalises its pixels itself: in f32, as where it does. */
static void normalise(const dt_model_config *c, int64_t patches, float *patch)
{
    const double mean[] = {c->pixel_mean_0, c->pixel_mean_1, c->pixel_mean_2},
                 std[] = {c->pixel_std_0, c->pixel_std_1, c->pixel_std_2};
    int64_t plane = c->patch_dim * c->patch_dim;
    for (int64_t i = 0; c->pixel_std_0 != 0 && i < patches * c->num_channels; i++)
        for (int64_t k = i * plane; k < (i + 1) * plane; k++)
            patch[k] = (patch[k] - (float)mean[i % c->num_channels]) / (float)std[i % c->num_channels];
}

static void flatten(const dt_model_config *c, const dt_picture *p, dt_patch_grid grid, float *out)
{
    int64_t size = c->patch_dim;
    for (int64_t y = 0; y < grid.rows; y++)
        for (int64_t x = 0; x < grid.columns; x++)
            for (int64_t channel = 0; channel < c->num_channels; channel++)
                for (int64_t line = 0; line < size; line++, out += size)
                    memcpy(out, p->pixels + (channel * p->height + y * size + line) * p->width + x * size,
                           (size_t)size * sizeof *out);
}

/* Class tokens first: the table's first rows are theirs, but for RADIO's, which have no positions. */
static void place(const dt_model_config *c, dt_patch_grid grid, int64_t row, int64_t patch, dt_pictures *out)
{
    int64_t terms = dt_pictures_terms(c), own = strcmp(c->model_type, "radio") == 0 ? 0 : c->class_token_len;
    window w = window_of(c, grid);
    for (int64_t i = 0; i < c->class_token_len; i++, row++) {
        out->order[row] = (int32_t)i;
        out->position[row * terms] = (int32_t)(own ? i : 0);
        out->weight[row * terms] = own ? 1 : 0;
    }
    for (int64_t y = 0; y < grid.rows; y++)
        for (int64_t x = 0; x < grid.columns; x++, row++) {
            out->order[row] = (int32_t)(-1 - patch++);
            place_patch(c, &w, y, x, own, out->position + row * terms, out->weight + row * terms);
        }
}

static dt_status check_picture(const dt_model_config *c, const dt_picture *p, int64_t number, dt_error *err)
{
    dt_patch_grid grid = grid_of(c, p);
    if (p->height < c->patch_dim || p->width < c->patch_dim)
        return dt_fail(err, DT_MISMATCH, "picture %lld is %lld x %lld, smaller than a patch of %lld x %lld",
                       (long long)number, (long long)p->width, (long long)p->height, (long long)c->patch_dim,
                       (long long)c->patch_dim);
    if (c->position_resize == DT_RESIZE_NONE && !same_grid(grid, dt_config_position_grid(c)))
        return dt_fail(err, DT_MISMATCH,
                       "picture %lld is %lld x %lld; this %s has positions for %lld x %lld only",
                       (long long)number, (long long)p->width, (long long)p->height, c->family,
                       (long long)c->img_w, (long long)c->img_h);
    return DT_OK;
}

static dt_status count_rows(dt_pictures *out, const dt_model_config *c, int64_t count,
                            const dt_picture *picture, dt_error *err)
{
    for (int64_t i = 0; i < count; i++) {
        dt_patch_grid grid = grid_of(c, &picture[i]);
        int64_t patches;
        DT_PASS(check_picture(c, &picture[i], i, err));
        if (__builtin_mul_overflow(grid.rows, grid.columns, &patches) || patches > MAX_ROWS ||
            (out->patches += patches) > MAX_ROWS || (out->rows += patches + c->class_token_len) > MAX_ROWS)
            return dt_fail(err, DT_LIMIT, "%lld pictures have more than %d patches together",
                           (long long)count, MAX_ROWS);
    }
    return DT_OK;
}

static dt_status allocate(dt_pictures *out, dt_arena *arena, const dt_model_config *c, dt_error *err)
{
    int64_t terms = dt_pictures_terms(c), flat = c->num_channels * c->patch_dim * c->patch_dim;
    out->patch = DT_NEW_ARRAY(arena, float, out->patches *flat + 1);
    out->order = DT_NEW_ARRAY(arena, int32_t, out->rows + 1);
    out->position = DT_NEW_ARRAY(arena, int32_t, out->rows * terms + 1);
    out->weight = DT_NEW_ARRAY(arena, float, out->rows *terms + 1);
    out->cu_seqlens = DT_NEW_ARRAY(arena, int32_t, out->images + 1);
    out->first = DT_NEW_ARRAY(arena, int32_t, out->images + 1);
    out->probe = DT_NEW_ARRAY(arena, int32_t, out->images + 1);
    out->probe_ends = DT_NEW_ARRAY(arena, int32_t, out->images + 1);
    if (out->patch && out->order && out->position && out->weight && out->cu_seqlens && out->first &&
        out->probe && out->probe_ends)
        return DT_OK;
    return dt_fail_memory(err, sizeof(float) * (size_t)(out->patches * flat), "pictures");
}

dt_status dt_pictures_pack(dt_pictures *out, dt_arena *arena, const dt_model_config *c, int64_t count,
                           const dt_picture *picture, dt_error *err)
{
    int64_t flat = c->num_channels * c->patch_dim * c->patch_dim, patch = 0, row = 0;
    *out = (dt_pictures){.images = count};
    DT_PASS(count_rows(out, c, count, picture, err));
    DT_PASS(allocate(out, arena, c, err));
    for (int64_t i = 0; i < count; i++) {
        dt_patch_grid grid = grid_of(c, &picture[i]);
        flatten(c, &picture[i], grid, out->patch + patch * flat);
        normalise(c, grid.rows * grid.columns, out->patch + patch * flat);
        place(c, grid, row, patch, out);
        out->first[i] = (int32_t)row;
        patch += grid.rows * grid.columns;
        row += c->class_token_len + grid.rows * grid.columns;
        out->cu_seqlens[i + 1] = (int32_t)row;
        out->probe_ends[i + 1] = (int32_t)(i + 1);
    }
    return DT_OK;
}

dt_picture_input dt_pictures_input(const dt_pictures *p, int index)
{
    const dt_picture_input input[] = {{"patches", p->patch},
                                      {"vision_rows", p->order},
                                      {"vision_positions", p->position},
                                      {"vision_position_weights", p->weight},
                                      {"vision_cu_seqlens", p->cu_seqlens},
                                      {"vision_first_rows", p->first},
                                      {"vision_probe", p->probe},
                                      {"vision_probe_cu_seqlens", p->probe_ends}};
    int count = sizeof input / sizeof input[0];
    return index >= 0 && index < count ? input[index] : (dt_picture_input){0};
}
