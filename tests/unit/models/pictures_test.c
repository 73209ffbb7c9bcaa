/* pictures_test.c - pictures as rows: the order of a patch, class tokens, and positions of any grid as torch makes them. */
#include "unit.h"

#include "models/pictures.h"

#include <math.h>

static dt_model_config tower(const char *type, int64_t patch, int64_t height, int64_t width)
{
    dt_model_config c;
    dt_config_init(&c);
    snprintf(c.family, sizeof c.family, "megatron_%s", type);
    snprintf(c.model_type, sizeof c.model_type, "%s", type);
    c.hidden_size = 8;
    c.patch_dim = patch;
    c.img_h = c.max_img_h = height;
    c.img_w = c.max_img_w = width;
    c.num_channels = 1;
    return c;
}

/* A packed picture of `rows` by `columns` patches, each of one pixel. */
static dt_pictures packed(dt_arena *arena, const dt_model_config *c, int64_t rows, int64_t columns)
{
    static float pixels[64];
    dt_error err = {0};
    dt_pictures p;
    dt_picture picture = {pixels, rows, columns};
    assert_ok(dt_pictures_pack(&p, arena, c, 1, &picture, &err), err);
    return p;
}

static void pictures__a_patch_lies_flat_by_channel_row_and_column(void **state)
{
    dt_arena *arena = dt_arena_create();
    dt_model_config c = tower("clip_vit", 2, 2, 4);
    c.num_channels = 2;
    c.class_token_len = 1;
    dt_error err = {0};
    dt_pictures p;
    float pixels[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17};
    float expected[] = {0, 1, 4, 5, 10, 11, 14, 15, 2, 3, 6, 7, 12, 13, 16, 17};
    dt_picture picture[] = {{pixels, 2, 4}, {pixels, 2, 4}};
    assert_ok(dt_pictures_pack(&p, arena, &c, 2, picture, &err), err);
    assert_int_equal(p.patches, 4);
    assert_memory_equal(p.patch, expected, sizeof expected);
    assert_memory_equal(p.patch + 16, expected, sizeof expected);
    assert_memory_equal(p.order, ((int32_t[]){0, -1, -2, 0, -3, -4}), 6 * sizeof(int32_t));
    assert_memory_equal(p.position, ((int32_t[]){0, 1, 2, 0, 1, 2}), 6 * sizeof(int32_t));
    assert_memory_equal(p.cu_seqlens, ((int32_t[]){0, 3, 6}), 3 * sizeof(int32_t));
    assert_memory_equal(p.first, ((int32_t[]){0, 3}), 2 * sizeof(int32_t));
    dt_arena_destroy(arena);
}

/* What is over a whole number of patches is dropped, as a convolution drops it. */
static void pictures__a_rest_beside_the_patches_is_dropped(void **state)
{
    dt_arena *arena = dt_arena_create();
    dt_model_config c = tower("radio", 2, 8, 8);
    float pixels[15], expected[] = {0, 1, 5, 6, 2, 3, 7, 8};
    dt_error err = {0};
    dt_pictures p;
    for (int i = 0; i < 15; i++)
        pixels[i] = (float)i;
    c.position_resize = DT_RESIZE_BILINEAR;
    assert_ok(dt_pictures_pack(&p, arena, &c, 1, &(dt_picture){pixels, 3, 5}, &err), err);
    assert_int_equal(p.patches, 2);
    assert_memory_equal(p.patch, expected, sizeof expected);
    dt_arena_destroy(arena);
}

/* The 4 x 4 table of positions i * 7 % 16, resampled for the rows of `p`. */
static void expect_positions(const dt_pictures *p, int64_t terms, const double *expected)
{
    for (int64_t row = 0; row < p->rows; row++) {
        double sum = 0;
        for (int64_t k = row * terms; k < (row + 1) * terms; k++)
            sum += (double)p->weight[k] * (p->position[k] * 7 % 16);
        if (fabs(sum - expected[row]) > 1e-5)
            fail_msg("row %d: %.7g, torch has %.7g", (int)row, sum, expected[row]);
    }
}

/* Numbers of torch 2.12's interpolate, for 3 x 6 patches. */
static void pictures__positions_are_torchs(void **state)
{
    static const double cubic[] = {1.407472, 3.322338, 7.807358, 13.33308, 9.538774, 3.412232,
                                   11.71702, 10.34375, 8.65683,  8.186923, 7.40625,  6.913196,
                                   3.872883, 9.013312, 10.95628, 3.330765, 5.273728, 10.41416};
    static const double linear[] = {2,        4.166667, 7.5,      12.16667, 8.833333, 4.333333,
                                    10,       9.5,      8.833333, 8.166667, 7.5,      7,
                                    4.666666, 8.166666, 10.16667, 4.166666, 6.166666, 9.666666};
    static const double cropped[] = {0,    4.2, 8.4, 12.6, 10.4, 5,    7.2,  5.64, 6,
                                     10.2, 8,   2.6, 11.2, 7.72, 6.16, 8.44, 6.88, 3.4};
    static const double by_shape[] = {0,  3.5, 8.166667, 12.83333, 9.5, 5, 6, 5.5, 6.166667, 10.83333, 7.5, 3,
                                      12, 7.5, 4.166667, 8.833334, 5.5, 1};
    static const double window[] = {0,   4.2, 8.4, 12.6, 10.4, 5,    12,  6.6, 4.4,
                                    8.6, 6.4, 1,   8,    12.2, 13.2, 7.8, 8.8, 13};
    dt_arena *arena = dt_arena_create();
    dt_model_config c = tower("clip_vit", 1, 4, 4);
    c.position_resize = DT_RESIZE_BICUBIC;
    dt_pictures p = packed(arena, &c, 3, 6);
    expect_positions(&p, 16, cubic);
    c = tower("radio", 1, 4, 4);
    c.position_resize = DT_RESIZE_BILINEAR;
    c.interpolate_only_cpe = true;
    p = packed(arena, &c, 3, 6);
    expect_positions(&p, 4, linear);
    c.interpolate_only_cpe = false;
    c.cpe_aspect_ratio_select = true;
    p = packed(arena, &c, 3, 6);
    expect_positions(&p, 4, by_shape);
    c.cpe_aspect_ratio_select = false;
    c.interpolate_align_corners = true;
    p = packed(arena, &c, 3, 6);
    expect_positions(&p, 4, cropped);
    c.has_cpe = false;
    p = packed(arena, &c, 3, 6);
    expect_positions(&p, 4, window);
    dt_arena_destroy(arena);
}

/* The table's own grid is the table, bit for bit: one weight of 1 and zeros. */
static void pictures__the_tables_own_grid_is_not_resampled(void **state)
{
    static const dt_position_resize kinds[] = {DT_RESIZE_NONE, DT_RESIZE_BILINEAR, DT_RESIZE_BICUBIC};
    dt_arena *arena = dt_arena_create();
    for (int k = 0; k < 3; k++) {
        dt_model_config c = tower("clip_vit", 1, 4, 4);
        c.position_resize = kinds[k];
        dt_pictures p = packed(arena, &c, 4, 4);
        int64_t terms = dt_pictures_terms(&c);
        for (int64_t row = 0; row < 16; row++)
            for (int64_t i = row * terms; i < (row + 1) * terms; i++) {
                assert_true(p.weight[i] == 0 || (p.weight[i] == 1 && p.position[i] == row));
                assert_true(p.weight[row * terms] == 1);
            }
    }
    dt_arena_destroy(arena);
}

static void pictures__sizes_without_positions_are_refused(void **state)
{
    static float pixels[64];
    dt_arena *arena = dt_arena_create();
    dt_model_config c = tower("clip_vit", 2, 4, 4);
    dt_error err = {0};
    dt_pictures p;
    assert_int_equal(dt_pictures_pack(&p, arena, &c, 1, &(dt_picture){pixels, 4, 6}, &err), DT_MISMATCH);
    assert_non_null(
        strstr(err.line[0], "picture 0 is 6 x 4; this megatron_clip_vit has positions for 4 x 4 only"));
    err = (dt_error){0};
    c.position_resize = DT_RESIZE_BICUBIC;
    assert_int_equal(dt_pictures_pack(&p, arena, &c, 1, &(dt_picture){pixels, 1, 6}, &err), DT_MISMATCH);
    assert_non_null(strstr(err.line[0], "smaller than a patch of 2 x 2"));
    dt_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures__a_patch_lies_flat_by_channel_row_and_column),
        cmocka_unit_test(pictures__a_rest_beside_the_patches_is_dropped),
        cmocka_unit_test(pictures__positions_are_torchs),
        cmocka_unit_test(pictures__the_tables_own_grid_is_not_resampled),
        cmocka_unit_test(pictures__sizes_without_positions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
