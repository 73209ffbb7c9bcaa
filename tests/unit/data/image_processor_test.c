/*
 * image_processor_test.c - pixels are those of transformers' processors, in both implementations, and configurations of
 * every spelling are understood or refused by name.
 */
#include "data/pictures.h"

#include "data/image/processor.h"

#include <math.h>

static dt_image_processor *processor_of(const char *json, dt_image_arithmetic arithmetic)
{
    dt_error err = {0};
    dt_image_processor *p;
    dt_image_processor_options o = {.arithmetic = arithmetic};
    assert_ok(dt_image_processor_parse(&p, json, strlen(json), &o, &err), err);
    return p;
}

/* Bytes are equal, and the table from bytes to numbers is the reference's: so are the pixels, bit for bit. */
static void assert_pixels(const dt_pixels *pixels, int64_t first, const float *expected, int64_t count)
{
    const float *values = pixels->values + first;
    for (int64_t i = 0; i < count; i++)
        if (values[i] != expected[i])
            fail_msg("value %lld: %.9g, expected %.9g", (long long)i, (double)values[i], (double)expected[i]);
}

/* ---- fixtures/images ---- */

static dt_image_processor *processor_of_case(const json_t *entry)
{
    static const struct {
        const char *operation, *name;
    } names[] = {{"processor clip", "CLIPImageProcessor"},
                 {"processor siglip", "SiglipImageProcessor"},
                 {"processor vit", "ViTImageProcessor"},
                 {"processor llava_next", "LlavaNextImageProcessor"}};
    const char *operation = json_string_value(json_object_get(entry, "operation")), *name = NULL;
    bool pillow = strcmp(json_string_value(json_object_get(entry, "implementation")), "pillow") == 0;
    for (int i = 0; i < 4; i++)
        if (strcmp(names[i].operation, operation) == 0)
            name = names[i].name;
    if (!name)
        return NULL;
    json_t *config = json_copy(json_object_get(entry, "parameters"));
    json_object_set_new(config, "image_processor_type", json_string(name));
    char *text = json_dumps(config, 0);
    dt_image_processor *p = processor_of(text, pillow ? DT_IMAGE_PILLOW : DT_IMAGE_TORCHVISION);
    free(text);
    json_decref(config);
    return p;
}

static void assert_processes(const json_t *entry, const dt_image_processor *p)
{
    char path[4096];
    dt_error err = {0};
    dt_pixels pixels;
    dt_shape shape;
    dt_image *image = picture_rgb(json_string_value(json_object_get(entry, "picture")));
    snprintf(path, sizeof path, "%s/images/%s", getenv("DT_FIXTURES"),
             json_string_value(json_object_get(entry, "file")));
    dt_stored_set *set = picture_tensors(path);
    const float *expected = picture_tensor(set, json_string_value(json_object_get(entry, "tensor")), &shape);
    assert_non_null(expected);
    assert_ok(dt_image_process(p, image, &pixels, &err), err);
    assert_int_equal(pixels.tiles, shape.rank == 4 ? shape.dim[0] : 1);
    assert_int_equal(pixels.height, shape.dim[shape.rank - 2]);
    assert_int_equal(pixels.width, shape.dim[shape.rank - 1]);
    assert_pixels(&pixels, 0, expected, pixels.tiles * 3 * pixels.height * pixels.width);
    dt_pixels_free(&pixels);
    dt_stored_set_destroy(set);
    dt_image_close(image);
}

static void image_processor__gives_the_pixels_of_both_references(void **state)
{
    json_t *index = picture_index();
    const json_t *entry;
    size_t i, checked = 0;
    json_array_foreach(json_object_get(index, "cases"), i, entry)
    {
        dt_image_processor *p = processor_of_case(entry);
        if (p && json_object_get(entry, "tensor")) {
            assert_processes(entry, p);
            checked++;
        }
        dt_image_processor_close(p);
    }
    assert_int_equal(checked, 13 * 8);
    json_decref(index);
}

/* ---- fixtures/hf ---- */

static void assert_recording(const char *folder, const char *recording)
{
    dt_error err = {0};
    dt_image_processor *p;
    dt_shape shape, image_shape;
    dt_stored_set *set = picture_tensors(recording);
    const float *expected = picture_tensor(set, "in.pixels", &shape);
    int64_t tiles = 0, each = shape.dim[1] * shape.dim[2] * shape.dim[3];
    assert_non_null(expected);
    assert_ok(dt_image_processor_open(&p, folder, NULL, &err), err);
    assert_int_equal(dt_image_processor_arithmetic(p), DT_IMAGE_TORCHVISION);
    for (int i = 0;; i++) {
        char name[32];
        dt_image *image;
        dt_pixels pixels;
        snprintf(name, sizeof name, "in.image.%d", i);
        const uint8_t *raw = picture_tensor(set, name, &image_shape);
        if (!raw)
            break;
        assert_ok(dt_image_create(&image, raw, (int)image_shape.dim[1], (int)image_shape.dim[0], 3, &err),
                  err);
        assert_ok(dt_image_process(p, image, &pixels, &err), err);
        assert_true(tiles + pixels.tiles <= shape.dim[0]);
        assert_pixels(&pixels, 0, expected + tiles * each, pixels.tiles * each);
        tiles += pixels.tiles;
        dt_pixels_free(&pixels);
        dt_image_close(image);
    }
    assert_int_equal(tiles, shape.dim[0]);
    dt_image_processor_close(p);
    dt_stored_set_destroy(set);
}

static void image_processor__gives_the_pixels_of_recordings(void **state)
{
    static const char *const models[] = {
        "clip",      "clip-vision", "clip-vision-large-patch", "siglip", "siglip-vision",
        "dinov2",    "vit",         "internvl-vision",         "llava",  "llava-old-names",
        "llava-next"};
    const char *fixtures = getenv("DT_FIXTURES");
    for (int i = 0; i < 11; i++) {
        char folder[4096], recording[4200];
        snprintf(folder, sizeof folder, "%s/hf/%s", fixtures ? fixtures : "", models[i]);
        snprintf(recording, sizeof recording, "%s/recording.safetensors", folder);
        if (access(recording, R_OK) != 0)
            skip();
        assert_recording(folder, recording);
    }
}

/* ---- sizes ---- */

/* From select_best_resolution of transformers 5.23. */
static void image_processor__chooses_resolutions_as_llava_next_does(void **state)
{
    static const int pinpoints[][2] = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}};
    static const struct {
        int height, width, best[2];
    } cases[] = {{300, 451, {336, 672}},   {1000, 300, {1008, 336}}, {40, 40, {336, 672}},
                 {2000, 2000, {672, 672}}, {20, 900, {336, 1008}},   {640, 427, {672, 672}},
                 {500, 2000, {336, 1008}}, {701, 700, {672, 672}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int best[2];
        dt_image_best_resolution(pinpoints, 5, cases[i].height, cases[i].width, best);
        assert_memory_equal(best, cases[i].best, sizeof best);
    }
    /* 35 x 52 in a grid of 4 x 4 patches keeps int(4 * 35 / 52) = 2 rows */
    dt_image_window w = dt_image_unpad(4, 4, 35, 52);
    assert_int_equal(w.height, 2);
    assert_int_equal(w.top, 1);
    assert_int_equal(w.width, 4);
    w = dt_image_unpad(4, 4, 40, 40);
    assert_true(w.height == 4 && w.width == 4 && w.top == 0 && w.left == 0);
}

/* From get_optimal_tiled_canvas of transformers 5.23, tiles of 384 x 384. */
static void image_processor__cuts_grids_as_internvl_does(void **state)
{
    static const struct {
        int height, width, least, most, columns, rows;
    } cases[] = {{2581, 1076, 3, 37, 3, 7}, {148, 1937, 2, 7, 7, 1},  {672, 493, 3, 34, 3, 4},
                 {1039, 1589, 1, 40, 3, 2}, {1051, 83, 2, 30, 1, 13}, {1174, 775, 4, 14, 2, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int grid[2];
        dt_image_tile_grid(cases[i].height, cases[i].width, 384, 384, cases[i].least, cases[i].most, grid);
        assert_int_equal(grid[0], cases[i].rows);
        assert_int_equal(grid[1], cases[i].columns);
    }
    dt_error err = {0};
    dt_image *image;
    dt_pixels pixels;
    static uint8_t grey[60 * 120 * 3];
    dt_image_processor *p =
        processor_of("{\"image_processor_type\": \"GotOcr2ImageProcessorFast\", \"size\": {\"height\": "
                     "28, \"width\": 28}, \"crop_to_patches\": true, \"max_patches\": 6}",
                     DT_IMAGE_AS_CONFIGURED);
    assert_ok(dt_image_create(&image, grey, 120, 60, 3, &err), err);
    assert_ok(dt_image_process(p, image, &pixels, &err), err);
    assert_int_equal(pixels.tiles, pixels.grid_rows * pixels.grid_columns + 1);
    assert_int_equal(pixels.overview, pixels.tiles - 1);
    dt_pixels_free(&pixels);
    dt_image_close(image);
    dt_image_processor_close(p);
}

/* 1 x 20000 becomes 224 x 4480000 before it is cropped to 224 x 224: only the window is computed. */
static void image_processor__takes_pictures_of_any_shape(void **state)
{
    static const int sizes[][2] = {{1, 20000}, {20000, 1}, {1, 1}};
    static const char *const classes[] = {"CLIPImageProcessor", "ViTImageProcessorPil",
                                          "LlavaNextImageProcessor"};
    for (int i = 0; i < 9; i++) {
        char json[128];
        dt_error err = {0};
        dt_image *image;
        dt_pixels pixels;
        uint8_t *raw = calloc(20000, 3);
        snprintf(json, sizeof json, "{\"image_processor_type\": \"%s\"}", classes[i / 3]);
        dt_image_processor *p = processor_of(json, DT_IMAGE_AS_CONFIGURED);
        assert_ok(dt_image_create(&image, raw, sizes[i % 3][0], sizes[i % 3][1], 3, &err), err);
        if (dt_image_process(p, image, &pixels, &err) == DT_OK) {
            assert_int_equal(pixels.height, 224);
            assert_int_equal(pixels.width, 224);
        } else {
            assert_int_equal(i / 3, 2); /* too thin for tiles: an error, and nothing left */
            assert_null(pixels.values);
        }
        dt_pixels_free(&pixels);
        dt_image_close(image);
        dt_image_processor_close(p);
        free(raw);
    }
}

/* ---- configurations ---- */

static void assert_settings_equal(const char *a, const char *b)
{
    dt_image_processor *p = processor_of(a, DT_IMAGE_AS_CONFIGURED),
                       *q = processor_of(b, DT_IMAGE_AS_CONFIGURED);
    assert_string_equal(p->name, q->name);
    assert_memory_equal(&p->s, &q->s, sizeof p->s);
    dt_image_processor_close(p);
    dt_image_processor_close(q);
}

static void image_processor__reads_old_and_new_spellings(void **state)
{
    assert_settings_equal(
        "{\"image_processor_type\": \"CLIPImageProcessor\", \"size\": {\"shortest_edge\": 96}, "
        "\"crop_size\": {\"height\": 80, \"width\": 80}, \"resample\": 3}",
        "{\"feature_extractor_type\": \"CLIPFeatureExtractor\", \"size\": 96, \"crop_size\": 80, "
        "\"resample\": \"bicubic\"}");
    assert_settings_equal(
        "{\"image_processor_type\": \"ViTImageProcessorFast\", \"size\": {\"height\": 96, \"width\": 96}}",
        "{\"image_processor_type\": \"ViTImageProcessor\", \"size\": 96}");
    assert_settings_equal("{\"image_processor_type\": \"ViTImageProcessor\", \"size\": [64, 96]}",
                          "{\"image_processor\": {\"image_processor_type\": \"ViTImageProcessor\", \"size\": "
                          "{\"height\": 64, \"width\": 96}}, \"processor_class\": \"SomeProcessor\"}");
    assert_settings_equal(
        "{\"image_processor_type\": \"SiglipImageProcessor\", \"image_mean\": 0.5}",
        "{\"image_processor_type\": \"SiglipImageProcessor\", \"do_pad\": false, \"crop_pct\": null}");
}

static void image_processor__takes_the_arithmetic_that_the_class_names(void **state)
{
    static const struct {
        const char *name;
        dt_image_arithmetic arithmetic;
    } cases[] = {{"CLIPImageProcessor", DT_IMAGE_TORCHVISION},
                 {"CLIPImageProcessorFast", DT_IMAGE_TORCHVISION},
                 {"CLIPImageProcessorPil", DT_IMAGE_PILLOW}};
    for (int i = 0; i < 3; i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"image_processor_type\": \"%s\"}", cases[i].name);
        dt_image_processor *p = processor_of(json, DT_IMAGE_AS_CONFIGURED);
        assert_int_equal(dt_image_processor_arithmetic(p), cases[i].arithmetic);
        assert_string_equal(dt_image_processor_class(p), "CLIPImageProcessor");
        dt_image_processor_close(p);
        p = processor_of(json, DT_IMAGE_PILLOW);
        assert_int_equal(dt_image_processor_arithmetic(p), DT_IMAGE_PILLOW);
        dt_image_processor_close(p);
    }
}

static void image_processor__names_what_it_refuses(void **state)
{
    static const struct {
        const char *json, *words;
        dt_status status;
    } cases[] = {
        {"[]", "no JSON object", DT_FORMAT},
        {"{}", "image_processor_type", DT_UNSUPPORTED},
        {"{\"image_processor_type\": \"FooImageProcessor\"}", "FooImageProcessor", DT_UNSUPPORTED},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"do_flip\": true}", "do_flip", DT_UNSUPPORTED},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"crop_to_patches\": true}", "crop_to_patches",
         DT_UNSUPPORTED},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"size\": -1}", "size", DT_FORMAT},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"size\": 1e99}", "size", DT_FORMAT},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"size\": {\"min_pixels\": 4}}", "min_pixels",
         DT_UNSUPPORTED},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"resample\": 17}", "resample", DT_UNSUPPORTED},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"image_std\": [1, 0, 1]}", "image_std",
         DT_FORMAT},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"image_mean\": [1, 0]}", "image_mean",
         DT_FORMAT},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"do_center_crop\": true}", "crop_size",
         DT_FORMAT},
        {"{\"image_processor_type\": \"ViTImageProcessor\", \"do_pad\": true}", "pad_size", DT_UNSUPPORTED},
        {"{\"image_processor_type\": \"LlavaNextImageProcessor\", \"image_grid_pinpoints\": [[1]]}",
         "image_grid_pinpoints", DT_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dt_error err = {0};
        dt_image_processor *p;
        assert_fails(dt_image_processor_parse(&p, cases[i].json, strlen(cases[i].json), NULL, &err),
                     cases[i].status, err, cases[i].words);
        assert_null(p);
    }
}

/* A folder: the nested part of processor_config.json wins; without a named class config.json's model_type says it. */
static void image_processor__finds_its_file_in_a_folder(void **state)
{
    const char *folder = *state;
    dt_error err = {0};
    dt_image_processor *p;
    assert_fails(dt_image_processor_open(&p, folder, NULL, &err), DT_NOT_FOUND, err,
                 "preprocessor_config.json");
    static const char plain[] = "{\"size\": 64}", model[] = "{\"model_type\": \"vit\"}";
    put_file(in_folder(folder, "preprocessor_config.json"), plain, sizeof plain - 1);
    assert_fails(dt_image_processor_open(&p, folder, NULL, &err), DT_UNSUPPORTED, err,
                 "image_processor_type");
    put_file(in_folder(folder, "config.json"), model, sizeof model - 1);
    assert_ok(dt_image_processor_open(&p, folder, NULL, &err), err);
    assert_string_equal(dt_image_processor_class(p), "ViTImageProcessor");
    dt_image_processor_close(p);
    static const char nested[] =
        "{\"image_processor\": {\"image_processor_type\": \"SiglipImageProcessor\"}}";
    put_file(in_folder(folder, "processor_config.json"), nested, sizeof nested - 1);
    assert_ok(dt_image_processor_open(&p, folder, NULL, &err), err);
    assert_string_equal(dt_image_processor_class(p), "SiglipImageProcessor");
    dt_image_processor_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_processor__gives_the_pixels_of_both_references),
        cmocka_unit_test(image_processor__gives_the_pixels_of_recordings),
        cmocka_unit_test(image_processor__chooses_resolutions_as_llava_next_does),
        cmocka_unit_test(image_processor__cuts_grids_as_internvl_does),
        cmocka_unit_test(image_processor__takes_pictures_of_any_shape),
        cmocka_unit_test(image_processor__reads_old_and_new_spellings),
        cmocka_unit_test(image_processor__takes_the_arithmetic_that_the_class_names),
        cmocka_unit_test(image_processor__names_what_it_refuses),
        cmocka_unit_test_setup_teardown(image_processor__finds_its_file_in_a_folder, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
