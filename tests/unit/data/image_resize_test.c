/*
 * image_resize_test.c - resized pictures are Pillow's and torchvision's bytes; the fast passes are the plain ones' bits.
 */
#include "data/pictures.h"

#include "data/image/resize.h"

/* ---- against Pillow and torchvision ---- */

static dt_image_filter filter_named(const char *name)
{
    static const char *const names[] = {"nearest", "lanczos", "bilinear", "bicubic"};
    for (int i = 0; i < 4; i++)
        if (strcmp(names[i], name) == 0)
            return (dt_image_filter)i;
    fail_msg("filter %s", name);
    return DT_IMAGE_NEAREST;
}

/* 0 for both: torchvision's bytes are reproduced too, though one step would be allowed. */
static void assert_case(const json_t *entry, const dt_image *image)
{
    char path[4096];
    const json_t *p = json_object_get(entry, "parameters");
    const char *filter = json_string_value(json_object_get(p, "filter"));
    dt_image_resize_options o = {.filter = filter_named(filter),
                                 .no_antialias = !json_is_true(json_object_get(p, "antialias"))};
    bool pillow = strcmp(json_string_value(json_object_get(entry, "implementation")), "pillow") == 0;
    int width = (int)json_integer_value(json_object_get(p, "width"));
    int height = (int)json_integer_value(json_object_get(p, "height"));
    dt_error err = {0};
    dt_image *resized;
    dt_shape shape;
    o.arithmetic = pillow ? DT_IMAGE_PILLOW : DT_IMAGE_TORCHVISION;
    snprintf(path, sizeof path, "%s/images/%s", getenv("DT_FIXTURES"),
             json_string_value(json_object_get(entry, "file")));
    dt_stored_set *set = picture_tensors(path);
    const uint8_t *expected =
        picture_tensor(set, json_string_value(json_object_get(entry, "tensor")), &shape);
    assert_non_null(expected);
    assert_int_equal(shape.dim[0], height);
    assert_int_equal(shape.dim[1], width);
    assert_ok(dt_image_resize(&resized, image, width, height, &o, &err), err);
    assert_memory_equal(dt_image_pixels(resized), expected, (size_t)width * (size_t)height * 3);
    dt_image_close(resized);
    dt_stored_set_destroy(set);
}

static void image_resize__gives_the_bytes_of_the_references(void **state)
{
    json_t *index = picture_index();
    const json_t *entry;
    const char *last = "";
    dt_image *image = NULL;
    size_t i, checked = 0;
    json_array_foreach(json_object_get(index, "cases"), i, entry)
    {
        const char *picture = json_string_value(json_object_get(entry, "picture"));
        if (strcmp(json_string_value(json_object_get(entry, "operation")), "resize") != 0)
            continue;
        if (strcmp(picture, last) != 0) {
            dt_image_close(image);
            image = picture_rgb(picture);
            last = picture;
        }
        assert_case(entry, image);
        checked++;
    }
    assert_true(checked >= 260);
    dt_image_close(image);
    json_decref(index);
}

/* ---- properties ---- */

static dt_image *noise(int width, int height, unsigned seed)
{
    dt_error err = {0};
    dt_image *image;
    size_t bytes = (size_t)width * (size_t)height * 3;
    uint8_t *pixels = malloc(bytes);
    assert_non_null(pixels);
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        pixels[i] =
            seed & 1u << 30 ? (uint8_t)(seed >> 16) : (seed & 1u << 29 ? 255 : 0); /* and hard edges */
    }
    assert_ok(dt_image_create(&image, pixels, width, height, 3, &err), err);
    free(pixels);
    return image;
}

static void assert_same_passes(const dt_taps *taps, const dt_image *image, bool rows)
{
    dt_error err = {0};
    size_t stride = (size_t)image->width * 3;
    size_t out_stride = rows ? (size_t)taps->outputs * 3 : stride;
    size_t out_rows = rows ? (size_t)image->height : (size_t)taps->outputs;
    uint8_t *plain = calloc(out_rows, out_stride), *fast = calloc(out_rows, out_stride);
    assert_true(plain && fast);
    dt_pass pass = {.taps = taps,
                    .in = image->pixels,
                    .in_stride = stride,
                    .out = plain,
                    .out_stride = out_stride,
                    .rows = image->height,
                    .bytes = stride};
    (rows ? dt_pass_rows_plain : dt_pass_columns_plain)(&pass);
    pass.out = fast;
    if (rows)
        assert_ok(dt_pass_rows(&pass, &err), err);
    else
        dt_pass_columns(&pass);
    assert_memory_equal(plain, fast, out_rows * out_stride);
    free(plain);
    free(fast);
}

static void image_resize__fast_passes_give_the_plain_bits(void **state)
{
    static const int sizes[] = {1, 2, 5, 15, 16, 17, 33, 64, 131};
    for (unsigned n = 0; n < 9 * 9 * 6; n++) {
        int width = sizes[n % 9], height = sizes[n / 9 % 9], full = sizes[(n * 7 + n / 81) % 9];
        dt_image_filter filter = 1 + n % 5;
        dt_image *image = noise(width, height, n);
        dt_axis x = {width, full, 0, full}, y = {height, full, 0, full};
        dt_error err = {0};
        dt_taps taps;
        assert_ok(dt_taps_pillow(&taps, &x, filter, &err), err);
        assert_same_passes(&taps, image, true);
        dt_taps_free(&taps);
        assert_ok(dt_taps_torchvision(&taps, &y, DT_IMAGE_BICUBIC, n & 1, &err), err);
        assert_same_passes(&taps, image, false);
        dt_taps_free(&taps);
        dt_image_close(image);
    }
}

/* A window has the bytes that the whole has there, in both orders of the passes. */
static void image_resize__a_window_is_a_part_of_the_whole(void **state)
{
    static const int sizes[][4] = {
        {90, 40, 33, 31}, {40, 90, 60, 21}, {20, 20, 64, 64}, {64, 48, 64, 20}, {48, 64, 20, 64}};
    for (unsigned n = 0; n < 5 * 2 * 4; n++) {
        const int *s = sizes[n / 8];
        dt_image_resize_options o = {.filter = n % 4,
                                     .arithmetic = n & 4 ? DT_IMAGE_PILLOW : DT_IMAGE_TORCHVISION};
        dt_image_window w = {s[3] / 4, s[2] / 5, s[3] / 2, s[2] / 3};
        dt_image *image = noise(s[0], s[1], n), *whole, *part;
        dt_error err = {0};
        assert_ok(dt_resize(&whole, image, s[2], s[3], NULL, &o, &err), err);
        assert_ok(dt_resize(&part, image, s[2], s[3], &w, &o, &err), err);
        for (int y = 0; y < w.height; y++)
            assert_memory_equal(part->pixels + (size_t)(y * w.width) * 3,
                                whole->pixels + (size_t)((y + w.top) * s[2] + w.left) * 3,
                                (size_t)w.width * 3);
        dt_image_close(part);
        dt_image_close(whole);
        dt_image_close(image);
    }
}

/* One colour stays one colour, whatever the filter: weights add up to 1. */
static void image_resize__keeps_a_flat_colour(void **state)
{
    uint8_t pixels[23 * 19 * 3];
    memset(pixels, 201, sizeof pixels);
    dt_error err = {0};
    dt_image *image, *resized;
    assert_ok(dt_image_create(&image, pixels, 23, 19, 3, &err), err);
    for (int filter = 0; filter <= 5; filter++) {
        dt_image_resize_options o = {.filter = (dt_image_filter)filter};
        assert_ok(dt_image_resize(&resized, image, 7, 50, &o, &err), err);
        for (int i = 0; i < 7 * 50 * 3; i++)
            assert_int_equal(dt_image_pixels(resized)[i], 201);
        dt_image_close(resized);
    }
    dt_image_close(image);
}

static void image_resize__refuses_what_cannot_be(void **state)
{
    const uint8_t rgba[4] = {0}, rgb[3] = {0};
    dt_error err = {0};
    dt_image *image, *out;
    dt_image_resize_options o = {.filter = DT_IMAGE_BICUBIC};
    assert_ok(dt_image_create(&image, rgba, 1, 1, 4, &err), err);
    assert_fails(dt_image_resize(&out, image, 2, 2, &o, &err), DT_UNSUPPORTED, err, "RGB first");
    dt_image_close(image);
    assert_ok(dt_image_create(&image, rgb, 1, 1, 3, &err), err);
    assert_fails(dt_image_resize(&out, image, 0, 2, &o, &err), DT_INVALID, err, "0 x 2");
    assert_fails(dt_image_resize(&out, image, 1 << 20, 1 << 20, &o, &err), DT_LIMIT, err, "1048576");
    o.filter = (dt_image_filter)9;
    assert_fails(dt_image_resize(&out, image, 2, 2, &o, &err), DT_UNSUPPORTED, err, "number 9");
    o = (dt_image_resize_options){.filter = DT_IMAGE_HAMMING, .arithmetic = DT_IMAGE_TORCHVISION};
    assert_fails(dt_image_resize(&out, image, 2, 2, &o, &err), DT_UNSUPPORTED, err, "hamming");
    dt_image_close(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_resize__gives_the_bytes_of_the_references),
        cmocka_unit_test(image_resize__fast_passes_give_the_plain_bits),
        cmocka_unit_test(image_resize__a_window_is_a_part_of_the_whole),
        cmocka_unit_test(image_resize__keeps_a_flat_colour),
        cmocka_unit_test(image_resize__refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
