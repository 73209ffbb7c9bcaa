/*
 * image_decode_test.c - pictures become the bytes that Pillow makes of them, and broken files become errors.
 */
#include "data/pictures.h"

#include <dirent.h>
#include <nettle/sha2.h>
#include <sys/stat.h>

/* ---- against Pillow ---- */

static void sha256(const uint8_t *data, size_t bytes, char hex[65])
{
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&sha);
    sha256_update(&sha, bytes, data);
    sha256_digest(&sha, sizeof digest, digest);
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
        snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
}

static void assert_sum(const dt_image *image, const json_t *entry, const char *key)
{
    char hex[65];
    const char *expected = NULL;
    dt_error err = {0};
    assert_ok(dt_json_string(entry, key, &expected, &err), err);
    if (!expected)
        return;
    size_t bytes =
        (size_t)dt_image_width(image) * (size_t)dt_image_height(image) * (size_t)dt_image_channels(image);
    sha256(dt_image_pixels(image), bytes, hex);
    assert_string_equal(hex, expected);
}

/* RGBA, opaque where the file knows no transparency: Pillow's convert("RGBA"). */
static void assert_rgba_sum(const dt_image *image, const json_t *entry)
{
    dt_error err = {0};
    dt_image *rgba;
    int width = dt_image_width(image), height = dt_image_height(image), channels = dt_image_channels(image);
    size_t count = (size_t)width * (size_t)height;
    uint8_t *pixels = malloc(count * 4);
    assert_non_null(pixels);
    for (size_t i = 0; i < count; i++) {
        pixels[4 * i + 3] = 255;
        memcpy(pixels + 4 * i, dt_image_pixels(image) + i * (size_t)channels, (size_t)channels);
    }
    assert_ok(dt_image_create(&rgba, pixels, width, height, 4, &err), err);
    assert_sum(rgba, entry, "sha256_rgba");
    dt_image_close(rgba);
    free(pixels);
}

static void assert_decodes(const json_t *entry, const char *path)
{
    dt_error err = {0};
    dt_image *image, *rgb;
    dt_image_options stored = {0, true};
    assert_ok(dt_image_open(&image, path, &stored, &err), err);
    assert_ok(dt_image_to_rgb(&rgb, image, DT_IMAGE_ALPHA_DROP, &err), err);
    assert_sum(rgb, entry, "sha256_rgb");
    assert_rgba_sum(image, entry);
    dt_image_close(rgb);
    dt_image_close(image);
    assert_ok(dt_image_open(&image, path, NULL, &err), err);
    assert_ok(dt_image_to_rgb(&rgb, image, DT_IMAGE_ALPHA_DROP, &err), err);
    assert_sum(rgb, entry, "sha256_rgb_upright");
    dt_image_close(rgb);
    dt_image_close(image);
}

static void image_decode__gives_the_bytes_of_pillow(void **state)
{
    json_t *index = picture_index();
    const json_t *entry;
    size_t i;
    int decoded = 0;
    json_array_foreach(json_object_get(index, "decode"), i, entry)
    {
        char path[4096];
        dt_error err = {0};
        dt_image *image;
        const char *format = json_string_value(json_object_get(entry, "format"));
        picture_path(path, json_string_value(json_object_get(entry, "picture")));
        if (json_object_get(entry, "error") || strcmp(format, "PPM") == 0) {
            assert_int_not_equal(dt_image_open(&image, path, NULL, &err), DT_OK);
            assert_null(image);
            continue;
        }
        assert_decodes(entry, path);
        decoded++;
    }
    assert_true(decoded >= 40);
    json_decref(index);
}

/* The same of the few pictures that a plain clone has. */
static void image_decode__gives_the_golden_bytes(void **state)
{
    char path[4096];
    dt_error err = {0};
    json_t *index, *entry;
    size_t i;
    snprintf(path, sizeof path, "%s/images/index.json", getenv("DT_GOLDEN"));
    assert_ok(dt_json_load(&index, path, 1 << 20, &err), err);
    assert_int_equal(json_array_size(json_object_get(index, "decode")), 5);
    json_array_foreach(json_object_get(index, "decode"), i, entry)
    {
        snprintf(path, sizeof path, "%s/images/%s", getenv("DT_GOLDEN"),
                 json_string_value(json_object_get(entry, "picture")));
        assert_decodes(entry, path);
    }
    json_decref(index);
}

static void image_decode__turns_eight_ways_upright(void **state)
{
    char path[4096], name[64];
    dt_error err = {0};
    dt_image *image;
    /* 2 x 1 pixels; orientation 8 stands it up */
    assert_ok(dt_image_open(&image, picture_path(path, "pillow/orientation_rectangle.jpg"), NULL, &err), err);
    assert_int_equal(dt_image_width(image), 1);
    assert_int_equal(dt_image_height(image), 2);
    dt_image_close(image);
    for (int o = 2; o <= 8; o++) { /* the same face each time: its corner's colours must not wander */
        snprintf(name, sizeof name, "pillow/hopper_orientation_%d.jpg", o);
        assert_ok(dt_image_open(&image, picture_path(path, name), NULL, &err), err);
        dt_image *plain = picture_rgb("pillow/hopper.jpg");
        double gap = 0;
        for (size_t i = 0; i < 128 * 128 * 3; i++)
            gap += abs(dt_image_pixels(image)[i] - dt_image_pixels(plain)[i]);
        assert_true(gap / (128 * 128 * 3) < 8); /* two JPEG encodings of one picture */
        dt_image_close(plain);
        dt_image_close(image);
    }
}

static void image_decode__says_how_many_frames_there_are(void **state)
{
    char path[4096];
    dt_error err = {0};
    dt_image *image;
    assert_ok(dt_image_open(&image, picture_path(path, "pillow/apng_mode_16bit.png"), NULL, &err), err);
    assert_true(dt_image_frames(image) > 1);
    assert_string_equal(dt_image_format(image), "PNG");
    dt_image_close(image);
    assert_ok(dt_image_open(&image, picture_path(path, "pillow/hopper.webp"), NULL, &err), err);
    assert_int_equal(dt_image_frames(image), 1);
    dt_image_close(image);
}

static void image_decode__blends_transparency_onto_white(void **state)
{
    const uint8_t rgba[] = {10, 20, 30, 255, 10, 20, 30, 0, 0, 0, 0, 128};
    dt_error err = {0};
    dt_image *image, *rgb;
    assert_ok(dt_image_create(&image, rgba, 3, 1, 4, &err), err);
    assert_ok(dt_image_to_rgb(&rgb, image, DT_IMAGE_ALPHA_WHITE, &err), err);
    const uint8_t white[] = {10, 20, 30, 255, 255, 255, 127, 127, 127};
    assert_memory_equal(dt_image_pixels(rgb), white, sizeof white);
    dt_image_close(rgb);
    assert_ok(dt_image_to_rgb(&rgb, image, DT_IMAGE_ALPHA_DROP, &err), err);
    const uint8_t dropped[] = {10, 20, 30, 10, 20, 30, 0, 0, 0};
    assert_memory_equal(dt_image_pixels(rgb), dropped, sizeof dropped);
    dt_image_close(rgb);
    dt_image_close(image);
}

/* Brightness as Pillow's convert("L") counts it. */
static void image_decode__greys_are_those_of_pillow(void **state)
{
    const uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 255, 255, 255, 200, 13, 77};
    const uint8_t expected[] = {76, 150, 29, 2, 255, 76};
    dt_error err = {0};
    dt_image *image, *grey;
    assert_ok(dt_image_create(&image, rgb, 6, 1, 3, &err), err);
    assert_ok(dt_image_to_grey(&grey, image, DT_IMAGE_ALPHA_WHITE, &err), err);
    for (int i = 0; i < 18; i++)
        assert_int_equal(dt_image_pixels(grey)[i], expected[i / 3]);
    dt_image_close(grey);
    dt_image_close(image);
}

/* ---- refusals ---- */

static void image_decode__checks_the_budget_before_decoding(void **state)
{
    static const char *const names[] = {"pillow/hopper.jpg", "pillow/transparent.png", "pillow/hopper.webp"};
    char path[4096];
    dt_error err = {0};
    dt_image *image;
    for (int i = 0; i < 3; i++) {
        dt_image_options o = {.max_pixels = 128 * 128 - 1};
        assert_fails(dt_image_open(&image, picture_path(path, names[i]), &o, &err), DT_LIMIT, err,
                     "at most 16383");
        assert_null(image);
    }
    /* a PNG of 2^31-1 x 2^31-1 that ends after its header */
    static const uint8_t huge[] =
        "\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\x7F\xFF\xFF\xFF\x7F\xFF\xFF\xFF\x08\x02\0\0\0\xC6\x84\xAB\xF0";
    assert_int_not_equal(dt_image_decode(&image, huge, sizeof huge - 1, NULL, &err), DT_OK);
}

static void image_decode__names_what_it_does_not_read(void **state)
{
    dt_error err = {0};
    dt_image *image;
    assert_fails(dt_image_decode(&image, "GIF89a......", 12, NULL, &err), DT_UNSUPPORTED, err, "a GIF file");
    assert_fails(dt_image_decode(&image, "II*\0........", 12, NULL, &err), DT_UNSUPPORTED, err,
                 "a TIFF file");
    assert_fails(dt_image_decode(&image, "BM..........", 12, NULL, &err), DT_UNSUPPORTED, err, "a BMP file");
    assert_fails(dt_image_decode(&image, "hello, world", 12, NULL, &err), DT_UNSUPPORTED, err, "no picture");
    assert_fails(dt_image_decode(&image, "", 0, NULL, &err), DT_FORMAT, err, "empty");
    assert_fails(dt_image_decode(&image, "\xFF\xD8\xFF", 3, NULL, &err), DT_FORMAT, err, "ends before");
    assert_fails(dt_image_open(&image, "no/such/picture.png", NULL, &err), DT_NOT_FOUND, err,
                 "no/such/picture.png");
}

/* Every prefix of a file is an error or a picture; all but the last few bytes are needed. */
static void image_decode__refuses_what_is_cut_short(void **state)
{
    static const char *const names[] = {"pillow/hopper.jpg",  "pillow/app13-multiple.jpg",
                                        "pillow/p_16.png",    "pillow/pil123rgba.png",
                                        "pillow/hopper.webp", "pillow/transparent.webp"};
    for (int i = 0; i < 6; i++) {
        char path[4096];
        static uint8_t bytes[1 << 17];
        FILE *file = fopen(picture_path(path, names[i]), "rb");
        assert_non_null(file);
        size_t length = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        for (size_t cut = 0; cut + 16 < length; cut += 1 + length / 97) {
            dt_error err = {0};
            dt_image *image;
            assert_int_not_equal(dt_image_decode(&image, bytes, cut, NULL, &err), DT_OK);
            assert_null(image);
            assert_true(err.line_count > 0);
        }
    }
}

/* ---- hostile files ---- */

static int tried, decoded;

static void try_file(const char *path)
{
    dt_error err = {0};
    dt_image *image;
    dt_image_options o = {.max_pixels = 1 << 24};
    tried++;
    if (dt_image_open(&image, path, &o, &err) == DT_OK) {
        decoded++;
        unsigned sum = 0; /* every byte was set, or the sanitizer of memory would say so */
        size_t bytes = (size_t)dt_image_width(image) * (size_t)dt_image_height(image);
        for (size_t i = 0; i < bytes * (size_t)dt_image_channels(image); i++)
            sum += dt_image_pixels(image)[i];
        assert_true(sum + 1 > 0);
        dt_image_close(image);
    } else {
        assert_null(image);
        assert_true(err.line_count > 0);
    }
}

static void try_folder(const char *folder)
{
    DIR *stream = opendir(folder);
    struct dirent *entry;
    assert_non_null(stream);
    while ((entry = readdir(stream))) {
        char path[8192];
        struct stat found;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(path, &found) != 0)
            continue;
        if (S_ISDIR(found.st_mode))
            try_folder(path);
        else if (S_ISREG(found.st_mode))
            try_file(path);
    }
    closedir(stream);
}

static void image_decode__survives_every_broken_file(void **state)
{
    static const char *const archives[] = {"bad/png-fuzz-seeds", "bad/jpeg-afl-seeds", "bad/jpeg-bugs",
                                           "bad/libpng-bad",     "png-bugfixes",       "pngsuite",
                                           "webp-tests"};
    char path[4096], command[9000];
    tried = decoded = 0;
    for (int i = 0; i < 7; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.tar.gz", archives[i]);
        snprintf(command, sizeof command, "tar -xzf '%s' -C '%s'", picture_path(path, name), (char *)*state);
        assert_int_equal(system(command), 0);
    }
    try_folder(*state);
    try_folder(picture_path(path, "bad/pillow"));
    assert_true(tried > 550);
    assert_in_range(decoded, 200, tried);
}

/* What is written reads back; a file that is there stays, unless it may be replaced. */
static void image_decode__a_written_png_reads_back(void **state)
{
    uint8_t pixels[4 * 7 * 5];
    char path[4096];
    dt_error err = {0};
    dt_image *image, *again;
    snprintf(path, sizeof path, "%s/a.png", (char *)*state);
    for (int i = 0; i < (int)sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 37 + 11);
    for (int channels = 3; channels <= 4; channels++) {
        assert_ok(dt_image_create(&image, pixels, 7, 5, channels, &err), err);
        assert_ok(dt_image_save_png(image, path, true, &err), err);
        assert_fails(dt_image_save_png(image, path, false, &err), DT_INVALID, err, "a.png");
        assert_ok(dt_image_open(&again, path, NULL, &err), err);
        assert_string_equal(dt_image_format(again), "PNG");
        assert_int_equal(dt_image_width(again), 7);
        assert_int_equal(dt_image_height(again), 5);
        assert_int_equal(dt_image_channels(again), channels);
        assert_memory_equal(dt_image_pixels(again), pixels, (size_t)(7 * 5 * channels));
        dt_image_close(image);
        dt_image_close(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_decode__gives_the_bytes_of_pillow),
        cmocka_unit_test(image_decode__gives_the_golden_bytes),
        cmocka_unit_test(image_decode__turns_eight_ways_upright),
        cmocka_unit_test(image_decode__says_how_many_frames_there_are),
        cmocka_unit_test(image_decode__blends_transparency_onto_white),
        cmocka_unit_test(image_decode__greys_are_those_of_pillow),
        cmocka_unit_test(image_decode__checks_the_budget_before_decoding),
        cmocka_unit_test(image_decode__names_what_it_does_not_read),
        cmocka_unit_test(image_decode__refuses_what_is_cut_short),
        cmocka_unit_test_setup_teardown(image_decode__a_written_png_reads_back, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(image_decode__survives_every_broken_file, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
