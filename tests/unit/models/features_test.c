/*
 * features_test.c - what of a tower is projected, and where it stands among words, against the makers' own procedures told
 * with whole tensors: pixel_shuffle and _preprocess_data of Megatron Core, pack_image_features of transformers.
 */
#include "unit.h"

#include "base/rng.h"
#include "models/features.h"

#include <drivetrain/image.h>

typedef struct lab {
    dt_arena *arena;
    dt_model_config config, tower;
    uint64_t drawn;
} lab;

static int setup(void **state)
{
    lab *l = calloc(1, sizeof *l);
    if (!l || !(l->arena = dt_arena_create()))
        return -1;
    dt_config_init(&l->config);
    dt_config_init(&l->tower);
    snprintf(l->tower.model_type, sizeof l->tower.model_type, "clip_vit");
    l->tower.patch_dim = l->tower.num_channels = 1;
    l->config.vision = &l->tower;
    l->config.image_token_index = -200;
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    lab *l = *state;
    dt_arena_destroy(l->arena);
    free(l);
    return 0;
}

static int64_t between(lab *l, int64_t low, int64_t high)
{
    return low + (int64_t)(dt_rng_uniform(&(dt_rng){7, 1}, l->drawn++) * (double)(high - low + 1));
}

/* `count` tiles of side x side patches, as the tower lays them out. */
static dt_features features_of(lab *l, int64_t count, int64_t side)
{
    static float pixels[64 * 64];
    dt_picture picture[16];
    dt_pictures packed;
    dt_features f;
    dt_error err = {0};
    l->tower.img_h = l->tower.img_w = side;
    for (int64_t i = 0; i < count; i++)
        picture[i] = (dt_picture){pixels, side, side};
    assert_ok(dt_pictures_pack(&packed, l->arena, &l->tower, count, picture, &err), err);
    assert_ok(dt_features_pack(&f, l->arena, &l->config, &packed, &err), err);
    return f;
}

/* ---- features ---- */

static void features__class_tokens_are_dropped_or_kept(void **state)
{
    lab *l = *state;
    l->tower.class_token_len = 3;
    dt_features f = features_of(l, 2, 2);
    assert_int_equal(f.parts, 0);
    assert_int_equal(f.rows, 14);
    l->config.drop_class_token = true;
    f = features_of(l, 2, 2);
    assert_int_equal(f.parts, 1);
    assert_int_equal(f.rows, 8);
    assert_memory_equal(f.row[0], ((int32_t[]){3, 4, 5, 6, 10, 11, 12, 13}), 8 * sizeof(int32_t));
    assert_memory_equal(f.cu_rows, ((int32_t[]){0, 4, 8}), 3 * sizeof(int32_t));
    l->tower.class_token_len = 0;
    assert_int_equal(features_of(l, 2, 2).parts, 0); /* there is none to drop */
}

/*
 * Columns two by two, axes turned, rows two by two, axes turned back: of x [q, q] with one channel, seen as the file's
 * reshape and permute see it.
 */
static void shuffle(int64_t q, const int32_t *x, int32_t *out)
{
    int64_t half = q / 2;
    int32_t *turned = malloc(sizeof *turned * (size_t)(q * q));
    for (int64_t w = 0; w < q; w++) /* [q, q/2, 2] -> [q/2, q, 2], read as [q/2, q/2, 4] */
        for (int64_t h = 0; h < half; h++)
            for (int64_t c = 0; c < 2; c++)
                turned[(h * q + w) * 2 + c] = x[w * q + h * 2 + c];
    for (int64_t h = 0; h < half; h++) /* -> [q/2, q/2, 4] turned back */
        for (int64_t w = 0; w < half; w++)
            for (int64_t c = 0; c < 4; c++)
                out[(w * half + h) * 4 + c] = turned[(h * half + w) * 4 + c];
    free(turned);
}

static void features__four_patches_lie_as_pixel_shuffle_has_them(void **state)
{
    lab *l = *state;
    l->config.pixel_shuffle = l->config.drop_class_token = true;
    l->tower.class_token_len = 1;
    for (int64_t q = 2; q <= 8; q += 2) {
        int32_t x[64], expected[64];
        dt_features f = features_of(l, 2, q);
        assert_int_equal(f.parts, 4);
        assert_int_equal(f.rows, 2 * q * q / 4);
        for (int64_t tile = 0; tile < 2; tile++) {
            for (int64_t i = 0; i < q * q; i++)
                x[i] = (int32_t)(tile * (q * q + 1) + 1 + i);
            shuffle(q, x, expected);
            for (int64_t i = 0; i < q * q; i++)
                assert_int_equal(f.row[i % 4][tile * q * q / 4 + i / 4], expected[i]);
        }
    }
}

static void features__what_cannot_be_joined_is_refused(void **state)
{
    lab *l = *state;
    float pixels[64] = {0};
    dt_picture odd = {pixels, 3, 3}, oblong = {pixels, 2, 4};
    dt_pictures packed;
    dt_features f;
    dt_error err = {0};
    l->config.pixel_shuffle = true;
    l->tower.img_h = l->tower.img_w = 3;
    assert_ok(dt_pictures_pack(&packed, l->arena, &l->tower, 1, &odd, &err), err);
    assert_fails(dt_features_pack(&f, l->arena, &l->config, &packed, &err), DT_MISMATCH, err, "has 9");
    l->tower.img_h = 2, l->tower.img_w = 4;
    assert_ok(dt_pictures_pack(&packed, l->arena, &l->tower, 1, &oblong, &err), err);
    assert_fails(dt_features_pack(&f, l->arena, &l->config, &packed, &err), DT_MISMATCH, err, "has 8");
    l->tower.class_token_len = 1; /* not dropped, so counted with the patches */
    l->tower.img_h = l->tower.img_w = 2;
    assert_ok(dt_pictures_pack(&packed, l->arena, &l->tower, 1, &(dt_picture){pixels, 2, 2}, &err), err);
    assert_fails(dt_features_pack(&f, l->arena, &l->config, &packed, &err), DT_MISMATCH, err, "has 5");
}

/* ---- image rows ---- */

/* Tiles put together as one canvas of row numbers, cut, and a newline (0) behind every line. */
static int64_t canvas_rows(const dt_tiling *t, int64_t side, int64_t first, int32_t *out)
{
    int64_t height = t->grid_rows * side, width = t->grid_columns * side, n = 0;
    int32_t *canvas = malloc(sizeof *canvas * (size_t)(height * width));
    for (int64_t r = 0; r < t->grid_rows; r++)
        for (int64_t c = 0; c < t->grid_columns; c++)
            for (int64_t y = 0; y < side; y++)
                for (int64_t x = 0; x < side; x++)
                    canvas[(r * side + y) * width + c * side + x] = (int32_t)first++;
    dt_image_window w = dt_image_unpad((int)height, (int)width, (int)t->height, (int)t->width);
    for (int64_t y = w.top; y < w.top + w.height; y++) {
        for (int64_t x = w.left; x < w.left + w.width; x++)
            out[n++] = -1 - canvas[y * width + x];
        out[n++] = 0;
    }
    free(canvas);
    return n;
}

static void features__lines_of_tiles_end_in_newlines(void **state)
{
    lab *l = *state;
    dt_error err = {0};
    l->config.image_newline = l->config.drop_class_token = true;
    l->tower.class_token_len = 1;
    const dt_tiling tiling[] = {{5, 2, 2, 40, 40}, {1, 0, 0, 9, 9}, {3, 1, 2, 20, 90}, {4, 3, 1, 70, 21}};
    dt_features f = features_of(l, 13, 4);
    dt_image_rows r;
    assert_ok(dt_image_rows_pack(&r, l->arena, &l->config, &f, 4, tiling, &err), err);
    for (int64_t p = 0, tile = 0; p < 4; tile += tiling[p++].tiles) {
        int32_t expected[512];
        int64_t n = 0;
        while (n < 16) {
            expected[n] = (int32_t)(-1 - (tile * 16 + n));
            n++;
        }
        if (tiling[p].tiles > 1)
            n += canvas_rows(&tiling[p], 4, (tile + 1) * 16, expected + n);
        else
            expected[n++] = 0;
        assert_int_equal(r.cu_rows[p + 1] - r.cu_rows[p], n);
        assert_memory_equal(r.order + r.cu_rows[p], expected, (size_t)n * sizeof *expected);
    }
}

static void features__tiles_that_make_no_picture_are_refused(void **state)
{
    lab *l = *state;
    dt_error err = {0};
    dt_image_rows r;
    dt_features f = features_of(l, 5, 2);
    assert_fails(dt_image_rows_pack(&r, l->arena, &l->config, &f, 1, (dt_tiling[]){{.tiles = 6}}, &err),
                 DT_MISMATCH, err, "has 6 tiles, but 5 are left");
    assert_fails(dt_image_rows_pack(&r, l->arena, &l->config, &f, 1, (dt_tiling[]){{.tiles = 4}}, &err),
                 DT_MISMATCH, err, "there are 5 tiles, but the pictures are made of 4");
    assert_ok(
        dt_image_rows_pack(&r, l->arena, &l->config, &f, 2, (dt_tiling[]){{.tiles = 4}, {.tiles = 1}}, &err),
        err);
    assert_null(r.order);
    assert_memory_equal(r.cu_rows, ((int32_t[]){0, 16, 20}), 3 * sizeof(int32_t));
    l->config.image_newline = true;
    assert_fails(dt_image_rows_pack(&r, l->arena, &l->config, &f, 1, (dt_tiling[]){{5, 3, 1, 9, 9}}, &err),
                 DT_MISMATCH, err, "no whole and a grid of 1 x 3");
    assert_fails(dt_image_rows_pack(&r, l->arena, &l->config, &f, 1, (dt_tiling[]){{5, 2, 2, 0, 9}}, &err),
                 DT_MISMATCH, err, "of 9 x 0 pixels");
}

/* ---- among words ---- */

enum { WORDS = 12, MERGED = 128 };

/* What _preprocess_data makes of one text that fills its batch's length. */
typedef struct truth {
    int64_t count;
    int32_t labels[MERGED], row[MERGED], token[MERGED];
    float mask[MERGED];
} truth;

/* New positions by a cumulative sum; labels are set by the token that follows, from its new position minus one. */
static void preprocess(const dt_seen_text *t, int32_t image_token, truth *out)
{
    int64_t place[WORDS], end = 0, image = t->first_image;
    bool picture[MERGED];
    *out = (truth){0};
    for (int i = 0; i < MERGED; i++) {
        out->labels[i] = -100;
        picture[i] = true;
    }
    for (int64_t j = 0; j < t->count; j++) {
        end += t->tokens[j] != image_token ? 1 : t->image->cu_rows[image + 1] - t->image->cu_rows[image];
        image += t->tokens[j] == image_token;
        place[j] = end - 1;
    }
    out->count = end;
    for (int64_t j = 0; j < t->count; j++) {
        if (t->tokens[j] == image_token)
            continue;
        picture[place[j]] = false;
        out->token[place[j]] = t->tokens[j];
        out->mask[place[j]] = t->loss_mask[j];
        if (place[j] >= 1 && j >= 1)
            out->labels[place[j] - 1] = t->labels[j - 1];
    }
    out->labels[end - 1] = t->labels[t->count - 1];
    int32_t next = t->image->cu_rows[t->first_image];
    for (int64_t i = 0; i < end; i++) {
        out->row[i] = picture[i] ? -1 - next++ : (int32_t)(t->first_row + i);
        out->mask[i] = picture[i] ? 0 : out->mask[i];
    }
    for (int64_t j = 1; j < t->count; j++)
        if (t->tokens[j] == image_token)
            out->mask[place[j - 1]] = 0;
}

static void features__words_and_pictures_merge_as_megatron_has_them(void **state)
{
    lab *l = *state;
    dt_error err = {0};
    int32_t cu_rows[8] = {0}, tokens[WORDS], labels[WORDS];
    float mask[WORDS];
    dt_image_rows image = {.images = 7, .cu_rows = cu_rows};
    for (int round = 0; round < 400; round++) {
        dt_seen_text t = {.tokens = tokens,
                          .count = between(l, 1, WORDS),
                          .labels = labels,
                          .loss_mask = mask,
                          .image = &image,
                          .first_image = between(l, 0, 3),
                          .first_row = between(l, 0, 50)};
        truth expected;
        dt_merged merged;
        for (int i = 0; i < 7; i++)
            cu_rows[i + 1] = cu_rows[i] + (int32_t)between(l, 1, 9);
        for (int64_t j = 0; j < t.count; j++) {
            bool picture = t.images < 4 && between(l, 0, 3) == 0;
            tokens[j] = picture ? -200 : (int32_t)between(l, 0, 90);
            labels[j] = (int32_t)between(l, 100, 190);
            mask[j] = (float)between(l, 1, 4);
            t.images += picture;
        }
        preprocess(&t, -200, &expected);
        t.limit = between(l, 0, 1) ? between(l, 1, 30) : 0;
        if (t.limit && t.limit < expected.count)
            expected.count = t.limit;
        assert_ok(dt_merge_pictures(&merged, l->arena, &l->config, &t, &err), err);
        assert_int_equal(merged.count, expected.count);
        size_t bytes = sizeof(int32_t) * (size_t)expected.count;
        assert_memory_equal(merged.tokens, expected.token, bytes);
        assert_memory_equal(merged.row, expected.row, bytes);
        assert_memory_equal(merged.labels, expected.labels, bytes);
        assert_memory_equal(merged.loss_mask, expected.mask, bytes);
    }
}

static void features__expanded_texts_keep_their_labels(void **state)
{
    lab *l = *state;
    dt_error err = {0};
    int32_t cu_rows[] = {0, 2, 5}, tokens[] = {7, 99, 99, 8, 99, 99, 99, 9};
    int32_t labels[] = {1, 2, 3, 4, 5, 6, 7, 8};
    float mask[] = {1, 0, 0, 1, 1, 0, 0, 1};
    dt_image_rows image = {.images = 2, .cu_rows = cu_rows};
    dt_seen_text t = {
        .tokens = tokens, .count = 8, .labels = labels, .loss_mask = mask, .image = &image, .images = 2};
    dt_merged merged;
    l->config.image_token_index = 99;
    assert_ok(dt_merge_pictures(&merged, l->arena, &l->config, &t, &err), err);
    assert_int_equal(merged.count, 8);
    assert_memory_equal(merged.tokens, ((int32_t[]){7, 0, 0, 8, 0, 0, 0, 9}), sizeof tokens);
    assert_memory_equal(merged.row, ((int32_t[]){0, -1, -2, 3, -3, -4, -5, 7}), sizeof tokens);
    assert_memory_equal(merged.labels, labels, sizeof labels);
    assert_memory_equal(merged.loss_mask, mask, sizeof mask);
}

static void features__image_tokens_and_pictures_that_differ_are_both_told(void **state)
{
    lab *l = *state;
    dt_error err = {0};
    int32_t cu_rows[] = {0, 4, 8}, tokens[] = {7, -200, -200, -200};
    dt_image_rows image = {.images = 2, .cu_rows = cu_rows};
    dt_seen_text t = {.tokens = tokens, .count = 4, .image = &image, .images = 2};
    dt_merged merged;
    assert_fails(dt_merge_pictures(&merged, l->arena, &l->config, &t, &err), DT_MISMATCH, err,
                 "3 image tokens (id -200), but there are 2 pictures of 8 rows");
    t.count = 2;
    assert_fails(dt_merge_pictures(&merged, l->arena, &l->config, &t, &err), DT_MISMATCH, err,
                 "1 image tokens (id -200), but there are 2 pictures");
    t.images = 0;
    t.image = NULL;
    assert_fails(dt_merge_pictures(&merged, l->arena, &l->config, &t, &err), DT_MISMATCH, err,
                 "but there are 0 pictures");
    t.count = 1;
    assert_ok(dt_merge_pictures(&merged, l->arena, &l->config, &t, &err), err); /* words alone */
    assert_int_equal(merged.row[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(features__class_tokens_are_dropped_or_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(features__four_patches_lie_as_pixel_shuffle_has_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(features__what_cannot_be_joined_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(features__lines_of_tiles_end_in_newlines, setup, teardown),
        cmocka_unit_test_setup_teardown(features__tiles_that_make_no_picture_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(features__words_and_pictures_merge_as_megatron_has_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(features__expanded_texts_keep_their_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(features__image_tokens_and_pictures_that_differ_are_both_told, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
