/*
 * lower_vision.c - pictures in a graph: pixel_values [B, C, height, width] become rows of patches, class tokens go before
 * them, positions are resampled for any grid.
 *
 * All pictures of a batch are of one size, so that their rows [B, T, ·] need no mask. Where a tower takes any size, whatever
 * follows from it is computed from the shape of pixel_values; models/pictures.c does the same for a packed batch, and says
 * whose rules these are. Sizes are int64 vectors of one element, ready to be joined into shapes.
 */
#include "formats/onnx/lower.h"

#include <string.h>

static const dt_model_config *tower(const dt_lowering *l)
{
    return l->config->vision ? l->config->vision : l->config;
}

static bool is_axis(const dt_tensor *t, const char *const *names)
{
    for (int i = 0; t->dim[0].axis && names[i]; i++)
        if (strcmp(t->dim[0].axis->name, names[i]) == 0)
            return true;
    return false;
}

bool dt_lower_sees(const dt_tensor *t)
{
    return is_axis(t, (const char *const[]){"patches", "vision_tokens", "images", NULL});
}

bool dt_lower_is_flat(const dt_tensor *t)
{
    return is_axis(t, (const char *const[]){"sequences", "images", NULL});
}

static bool is_radio(const dt_lowering *l)
{
    return strcmp(tower(l)->model_type, "radio") == 0;
}

/* A tower without resampling takes what it was trained on alone. */
static bool is_fixed(const dt_lowering *l)
{
    return tower(l)->position_resize == DT_RESIZE_NONE;
}

static const char *pixels(dt_lowering *l)
{
    const dt_model_config *c = tower(l);
    dt_onnx_dim any[] = {{"batch_size", 0}, {NULL, c->num_channels}, {"height", 0}, {"width", 0}};
    if (is_fixed(l)) {
        any[2] = (dt_onnx_dim){NULL, is_radio(l) ? c->max_img_h : c->img_h};
        any[3] = (dt_onnx_dim){NULL, is_radio(l) ? c->max_img_w : c->img_w};
    }
    return dt_onnx_input(l->o, "pixel_values", DT_ONNX_FLOAT, 4, any);
}

/* ---- sizes ---- */

/* Whole patches along an axis of the picture: 0 down, 1 to the right. */
static const char *patches_along(dt_lowering *l, int axis)
{
    dt_onnx *o = l->o;
    dt_patch_grid grid = dt_config_position_grid(tower(l));
    if (is_fixed(l))
        return DT_ONNX_INTS(o, axis ? grid.columns : grid.rows);
    const char *size =
        DT_ONNX_NODE(o, "Gather", DT_ONNX_NODE(o, "Shape", pixels(l)), DT_ONNX_INTS(o, 2 + axis));
    return DT_ONNX_NODE(o, "Div", size, DT_ONNX_INTS(o, tower(l)->patch_dim));
}

/* Sizes joined into a shape; NULL ends them. */
static const char *shape_of(dt_onnx *o, const char *const *sizes)
{
    dt_onnx_attribute axis[DT_ONNX_ATTRIBUTES] = {{.name = "axis", .i = 0}};
    return dt_onnx_node(o, "Concat", sizes, axis);
}
#define SHAPE(o, ...) shape_of((o), (const char *const[]){__VA_ARGS__, NULL})

static const char *smaller(dt_onnx *o, const char *a, const char *b)
{
    return DT_ONNX_NODE(o, "Min", a, b);
}

static const char *larger(dt_onnx *o, const char *a, const char *b)
{
    return DT_ONNX_NODE(o, "Max", a, b);
}

/* x up to the ends, along two axes. */
static const char *cut(dt_onnx *o, const char *x, int64_t axis, const char *rows, const char *columns)
{
    return DT_ONNX_NODE(o, "Slice", x, DT_ONNX_INTS(o, 0, 0), SHAPE(o, rows, columns),
                        DT_ONNX_INTS(o, axis, axis + 1));
}

/* ---- rows ---- */

/* The mean and deviation of a tower that normalises its pixels itself. */
static const char *normalised(dt_lowering *l)
{
    dt_onnx *o = l->o;
    const dt_model_config *c = tower(l);
    const float mean[] = {(float)c->pixel_mean_0, (float)c->pixel_mean_1, (float)c->pixel_mean_2},
                std[] = {(float)c->pixel_std_0, (float)c->pixel_std_1, (float)c->pixel_std_2};
    if (c->pixel_std_0 == 0)
        return pixels(l);
    const char *x =
        DT_ONNX_NODE(o, "Sub", pixels(l), DT_ONNX_RESHAPE(o, dt_onnx_floats(o, 3, 0, mean), 3, 1, 1));
    return DT_ONNX_NODE(o, "Div", x, DT_ONNX_RESHAPE(o, dt_onnx_floats(o, 3, 0, std), 3, 1, 1));
}

/* [B, P, C·p·p]: whole patches laid flat; what is over, at the right and below, is dropped. */
const char *dt_lower_patches(dt_lowering *l)
{
    dt_onnx *o = l->o;
    const dt_model_config *c = tower(l);
    int64_t p = c->patch_dim;
    const char *rows = patches_along(l, 0), *columns = patches_along(l, 1), *side = DT_ONNX_INTS(o, p);
    const char *x = dt_onnx_from_f32(o, normalised(l));
    if (!is_fixed(l) || c->img_h % p || c->img_w % p)
        x = cut(o, x, 2, DT_ONNX_NODE(o, "Mul", rows, side), DT_ONNX_NODE(o, "Mul", columns, side));
    x = DT_ONNX_NODE(o, "Reshape", x, SHAPE(o, DT_ONNX_INTS(o, 0, 0), rows, side, columns, side));
    x = DT_ONNX_TRANSPOSE(o, x, 0, 2, 4, 1, 3, 5); /* [B, rows, columns, C, p, p] */
    return DT_ONNX_RESHAPE(o, x, 0, -1, c->num_channels * p * p);
}

/* int64 scalar: patches and class tokens of one picture */
const char *dt_lower_picture_rows(dt_lowering *l)
{
    dt_onnx *o = l->o;
    const char *patches = DT_ONNX_NODE(o, "Mul", patches_along(l, 0), patches_along(l, 1));
    const char *rows = DT_ONNX_NODE(o, "Add", patches, DT_ONNX_INTS(o, tower(l)->class_token_len));
    return DT_ONNX_NODE(o, "Squeeze", rows, DT_ONNX_INTS(o, 0));
}

/* Class tokens go before the patches of every picture. */
void dt_onnx_lower_merge_rows(dt_lowering *l, const dt_op *op)
{
    dt_onnx *o = l->o;
    const dt_tensor *index = op->input[2];
    if (strcmp(index->name, "vision_rows") != 0) {
        dt_lower_fail(l, "rows merged by %s have no counterpart in ONNX", dt_tensor_print(index).text);
        return;
    }
    int64_t count = op->input[0]->dim[0].n, width = op->input[0]->dim[1].n;
    const char *batch = DT_ONNX_NODE(o, "Gather", DT_ONNX_NODE(o, "Shape", pixels(l)), DT_ONNX_INTS(o, 0));
    const char *tokens = DT_ONNX_RESHAPE(o, dt_lower_input(l, op, 0), 1, count, width);
    tokens = DT_ONNX_NODE(o, "Expand", tokens, SHAPE(o, batch, DT_ONNX_INTS(o, 1, 1)));
    dt_lower_set(l, op->output[0], dt_onnx_concat(o, tokens, dt_lower_input(l, op, 1), 1));
}

/* ---- positions ---- */

/* The part of the table's grid that is stretched over `to` cells, of which the picture has the first ones. */
typedef struct window {
    const char *from_rows, *from_columns, *to_rows, *to_columns;
} window;

/* ceil(table · side / other), and not beyond the table */
static const char *in_proportion(dt_onnx *o, const char *table, const char *side, const char *other)
{
    const char *up = DT_ONNX_NODE(o, "Add", DT_ONNX_NODE(o, "Mul", table, side),
                                  DT_ONNX_NODE(o, "Sub", other, DT_ONNX_INTS(o, 1)));
    return smaller(o, table, DT_ONNX_NODE(o, "Div", up, other));
}

static window choose(dt_onnx *o, const char *condition, const window *yes, const window *no)
{
    return (window){DT_ONNX_NODE(o, "Where", condition, yes->from_rows, no->from_rows),
                    DT_ONNX_NODE(o, "Where", condition, yes->from_columns, no->from_columns),
                    DT_ONNX_NODE(o, "Where", condition, yes->to_rows, no->to_rows),
                    DT_ONNX_NODE(o, "Where", condition, yes->to_columns, no->to_columns)};
}

/* RADIO's rule for a grid other than the table's, as in models/pictures.c. */
static window radio_window(dt_lowering *l, const window *whole)
{
    dt_onnx *o = l->o;
    const dt_model_config *c = tower(l);
    const char *rows = whole->to_rows, *columns = whole->to_columns;
    const char *longer = larger(o, rows, columns);
    window shaped = {in_proportion(o, whole->from_rows, rows, columns),
                     in_proportion(o, whole->from_columns, columns, rows), rows, columns};
    window corner = {smaller(o, whole->from_rows, rows), smaller(o, whole->from_columns, columns), rows,
                     columns};
    window square = {whole->from_rows, whole->from_columns, longer, longer};
    if (c->cpe_aspect_ratio_select)
        return shaped;
    if (c->interpolate_only_cpe)
        return *whole;
    if (!c->has_cpe)
        return corner;
    const char *elements =
        DT_ONNX_NODE(o, "Mul", DT_ONNX_NODE(o, "Mul", longer, longer), DT_ONNX_INTS(o, c->hidden_size));
    const char *too_large = DT_ONNX_NODE(o, "GreaterOrEqual", elements, DT_ONNX_INTS(o, INT32_MAX));
    return choose(o, too_large, &shaped, &square);
}

static window window_of(dt_lowering *l)
{
    dt_onnx *o = l->o;
    dt_patch_grid table = dt_config_position_grid(tower(l));
    window whole = {DT_ONNX_INTS(o, table.rows), DT_ONNX_INTS(o, table.columns), patches_along(l, 0),
                    patches_along(l, 1)};
    if (!is_radio(l))
        return whole;
    window other = radio_window(l, &whole);
    const char *same = DT_ONNX_NODE(o, "And", DT_ONNX_NODE(o, "Equal", whole.from_rows, whole.to_rows),
                                    DT_ONNX_NODE(o, "Equal", whole.from_columns, whole.to_columns));
    return choose(o, same, &whole, &other);
}

/* The patches' table [R·C, H] for the picture's grid: [1, P, H]. */
static const char *resampled(dt_lowering *l, const char *table, int64_t width)
{
    dt_onnx *o = l->o;
    const dt_model_config *c = tower(l);
    dt_patch_grid grid = dt_config_position_grid(c);
    window w = window_of(l);
    dt_onnx_attribute how[DT_ONNX_ATTRIBUTES] = {
        {.name = "mode",
         .kind = DT_ONNX_S,
         .text = c->position_resize == DT_RESIZE_BICUBIC ? "cubic" : "linear"},
        {.name = "coordinate_transformation_mode",
         .kind = DT_ONNX_S,
         .text = c->interpolate_align_corners ? "align_corners" : "half_pixel"}};
    const char *x = DT_ONNX_RESHAPE(o, dt_onnx_to_f32(o, table), 1, grid.rows, grid.columns, width);
    x = DT_ONNX_TRANSPOSE(o, x, 0, 3, 1, 2);
    if (is_radio(l))
        x = cut(o, x, 2, w.from_rows, w.from_columns);
    x = DT_ONNX_WITH(o, "Resize", how, x, "", "",
                     SHAPE(o, DT_ONNX_INTS(o, 1, width), w.to_rows, w.to_columns));
    if (is_radio(l))
        x = cut(o, x, 2, patches_along(l, 0), patches_along(l, 1));
    return dt_onnx_from_f32(o, DT_ONNX_TRANSPOSE(o, DT_ONNX_RESHAPE(o, x, 1, width, -1), 0, 2, 1));
}

/* Rows of class tokens come first: RADIO's have no positions, others' are the table's first. */
static const char *any_grid(dt_lowering *l, const char *table, int64_t width)
{
    dt_onnx *o = l->o;
    int64_t tokens = tower(l)->class_token_len;
    dt_patch_grid grid = dt_config_position_grid(tower(l));
    const char *part[2] = {NULL, table};
    if (tokens > 0 && is_radio(l)) {
        const char *zero = dt_onnx_from_f32(o, dt_onnx_floats(o, 1, 1, &(float){0}));
        part[0] = DT_ONNX_NODE(o, "Expand", zero, DT_ONNX_INTS(o, tokens, width));
    } else if (tokens > 0)
        dt_onnx_make(o, "Split",
                     (const char *[]){table, DT_ONNX_INTS(o, tokens, grid.rows * grid.columns), NULL}, NULL,
                     2, part);
    const char *x = resampled(l, part[1], width);
    return tokens > 0 ? dt_onnx_concat(o, DT_ONNX_RESHAPE(o, part[0], 1, tokens, width), x, 1) : x;
}

void dt_onnx_lower_blend_rows(dt_lowering *l, const dt_op *op)
{
    const dt_tensor *index = op->input[1];
    const char *table = dt_lower_input(l, op, 0);
    if (strcmp(index->name, "vision_positions") != 0)
        dt_lower_fail(l, "rows blended by %s have no counterpart in ONNX", dt_tensor_print(index).text);
    else
        dt_lower_set(l, op->output[0], is_fixed(l) ? table : any_grid(l, table, op->input[0]->dim[1].n));
}

/* ---- what of a tower is projected ---- */

/* Rows without class tokens, [B, P, H]; or of each square of two by two rows the one in the corner `part`, [B, P / 4, H]. */
void dt_lower_features(dt_lowering *l, const dt_op *op, int part)
{
    dt_onnx *o = l->o;
    const dt_model_config *c = l->config;
    int64_t dropped = c->drop_class_token ? tower(l)->class_token_len : 0, width = op->input[0]->dim[1].n;
    dt_patch_grid grid = dt_config_position_grid(tower(l));
    const char *x = dt_lower_input(l, op, 0);
    if (dropped)
        x = DT_ONNX_NODE(o, "Slice", x, DT_ONNX_INTS(o, dropped), DT_ONNX_INTS(o, INT64_MAX),
                         DT_ONNX_INTS(o, 1));
    if (!c->pixel_shuffle) {
        dt_lower_set(l, op->output[0], x);
        return;
    }
    if (tower(l)->class_token_len != dropped ||
        (is_fixed(l) && (grid.rows != grid.columns || grid.rows % 2))) {
        dt_lower_fail(
            l, "\"pixel_shuffle\" of rows that are no square of an even side has no counterpart in ONNX");
        return;
    }
    x = DT_ONNX_NODE(
        o, "Reshape", x,
        SHAPE(o, DT_ONNX_INTS(o, 0), patches_along(l, 0), patches_along(l, 1), DT_ONNX_INTS(o, width)));
    x = DT_ONNX_NODE(o, "Slice", x, DT_ONNX_INTS(o, part / 2, part % 2),
                     DT_ONNX_INTS(o, INT64_MAX, INT64_MAX), DT_ONNX_INTS(o, 1, 2), DT_ONNX_INTS(o, 2, 2));
    dt_lower_set(l, op->output[0], DT_ONNX_RESHAPE(o, x, 0, -1, width));
}
