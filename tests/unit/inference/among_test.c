/*
 * Pictures among words: counts are those of transformers' processors, and a prompt's image tokens and its pictures must agree.
 */
#include "models.h"

#include "inference/among.h"

#include <drivetrain/image.h>

/* LlavaNextProcessor of transformers 5.23 on pictures of these sizes (strategy "default"). */
static const struct {
    int patch, tile, height, width, count;
} next_counts[] = {
    {14, 336, 480, 640, 2340},   {14, 336, 640, 480, 2352},   {14, 336, 1, 1000, 576},
    {14, 336, 1000, 3, 648},     {14, 336, 336, 336, 1176},   {14, 336, 37, 991, 722},
    {14, 336, 1080, 1920, 1948}, {14, 336, 2000, 2001, 2928}, {14, 336, 500, 499, 2928},
    {14, 336, 100, 1700, 868},   {7, 28, 40, 40, 88},         {7, 28, 35, 52, 70},
    {7, 28, 7, 90, 16},          {7, 28, 128, 128, 88},       {7, 28, 91, 17, 40},
    {7, 28, 3, 2, 28},
};

/* A model of a tower, a projector and words, as far as pictures' places go. */
typedef struct eyes {
    dt_model_config whole, tower, projector;
} eyes;

static void make_eyes(eyes *e, int patch, int class_tokens, bool drop)
{
    dt_config_init(&e->whole);
    dt_config_init(&e->tower);
    dt_config_init(&e->projector);
    e->tower.patch_dim = patch;
    e->tower.class_token_len = class_tokens;
    e->tower.img_h = e->tower.img_w = patch == 14 ? 336 : 28;
    e->whole.drop_class_token = drop;
    e->whole.image_token_index = 99;
    strcpy(e->whole.family, "llava");
    e->whole.vision = &e->tower;
    e->whole.projection = &e->projector;
}

/* A processor's text: LLaVA-NeXT's published grids in tiles of 336, or the fixture's in tiles of 28. */
static dt_image_processor *next_processor(int tile)
{
    static const char large[] = "[[336,672],[672,336],[672,672],[1008,336],[336,1008]]",
                      small[] = "[[28,56],[56,28],[56,56]]";
    char text[1024];
    dt_error err = {0};
    dt_image_processor *p;
    int n = snprintf(text, sizeof text,
                     "{\"image_processor_type\":\"LlavaNextImageProcessor\",\"size\":{\"shortest_edge\":%d},"
                     "\"crop_size\":{\"height\":%d,\"width\":%d},\"image_grid_pinpoints\":%s}",
                     tile, tile, tile, tile == 336 ? large : small);
    assert_ok(dt_image_processor_parse(&p, text, (size_t)n, NULL, &err), err);
    return p;
}

static dt_pixels processed(const dt_image_processor *p, int height, int width)
{
    dt_error err = {0};
    dt_image *image;
    dt_pixels pixels;
    uint8_t *raw = calloc((size_t)height * (size_t)width, 3);
    assert_ok(dt_image_create(&image, raw, width, height, 3, &err), err);
    assert_ok(dt_image_process(p, image, &pixels, &err), err);
    dt_image_close(image);
    free(raw);
    return pixels;
}

static void among__llava_next_counts_are_those_of_its_processor(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof next_counts / sizeof *next_counts; i++) {
        dt_error err = {0};
        eyes e;
        int64_t rows;
        make_eyes(&e, next_counts[i].patch, 1, true);
        e.whole.image_newline = true;
        dt_image_processor *p = next_processor(next_counts[i].tile);
        dt_pixels pixels = processed(p, next_counts[i].height, next_counts[i].width);
        assert_ok(dt_among_rows(&e.whole, &pixels, &rows, &err), err);
        assert_int_equal(rows, next_counts[i].count);
        dt_pixels_free(&pixels);
        dt_image_processor_close(p);
    }
}

static void among__tiles_make_up_their_grid(void **state)
{
    dt_error err = {0};
    eyes e;
    int64_t rows;
    (void)state;
    make_eyes(&e, 7, 1, true);
    e.whole.image_newline = true;
    dt_image_processor *p = next_processor(28);
    dt_pixels pixels = processed(p, 40, 40); /* two by two tiles, nothing padded: 8 lines of 8 */
    assert_int_equal(pixels.tiles, 5);
    assert_ok(dt_among_rows(&e.whole, &pixels, &rows, &err), err);
    assert_int_equal(rows, 16 + 8 * 9);
    pixels.grid_rows = 3;
    assert_fails(dt_among_rows(&e.whole, &pixels, &rows, &err), DT_MISMATCH, err, "5 tiles");
    pixels.grid_rows = 2;
    e.whole.drop_class_token = false;
    assert_fails(dt_among_rows(&e.whole, &pixels, &rows, &err), DT_MISMATCH, err, "17 rows");
    dt_pixels_free(&pixels);
    dt_image_processor_close(p);
}

/* LlavaProcessor: patches, with the class token or without; Megatron: as many for each tile, a quarter when shuffled. */
static void among__plain_counts_follow_from_the_configuration(void **state)
{
    static const struct {
        int class_tokens, drop, shuffle, rows;
    } way[] = {{1, 1, 0, 16}, {1, 0, 0, 17}, {8, 0, 0, 24}, {0, 0, 0, 16}, {1, 1, 1, 4}, {0, 1, 1, 4}};
    (void)state;
    float value = 0;
    for (size_t i = 0; i < sizeof way / sizeof *way; i++)
        for (int tiles = 1; tiles < 4; tiles++) {
            dt_error err = {0};
            eyes e;
            int64_t rows;
            dt_pixels pixels = {.values = &value, .tiles = tiles, .height = 28, .width = 28, .overview = -1};
            make_eyes(&e, 7, way[i].class_tokens, way[i].drop);
            e.whole.pixel_shuffle = way[i].shuffle;
            assert_ok(dt_among_rows(&e.whole, &pixels, &rows, &err), err);
            assert_int_equal(rows, tiles * way[i].rows);
        }
}

static void among__recorded_prompts_have_as_many_image_tokens(void **state)
{
    static const char *const folders[] = {"hf/llava", "hf/llava-old-names", "hf/llava-next"};
    (void)state;
    for (size_t f = 0; f < 3; f++) {
        dt_error err = {0};
        int64_t dim[5], rows;
        const char *folder = fixture(folders[f]);
        need(folder);
        bool next = f == 2;
        eyes e;
        make_eyes(&e, 7, 1, true);
        e.whole.image_newline = next;
        e.whole.image_token_index = f == 1 ? 120 : 127;
        tensors file = open_tensors(in_folder(folder, "recording.safetensors"));
        int32_t *counts = read_tensor(file, "in.image_counts", DT_I32, dim);
        int32_t *tokens = read_tensor(file, "in.tokens", DT_I32, dim);
        int64_t width = dim[1], batch = dim[0], picture = 0;
        dt_image_processor *p;
        assert_ok(dt_image_processor_open(&p, folder, NULL, &err), err);
        for (int64_t b = 0; b < batch; b++) {
            int64_t expected = 0, found = 0;
            for (int i = 0; i < counts[b]; i++, picture++) {
                char name[32];
                snprintf(name, sizeof name, "in.image.%d", (int)picture);
                uint8_t *raw = read_tensor(file, name, DT_U8, dim);
                dt_pixels pixels = processed(p, (int)dim[0], (int)dim[1]);
                assert_ok(dt_among_rows(&e.whole, &pixels, &rows, &err), err);
                expected += rows;
                dt_pixels_free(&pixels);
                free(raw);
            }
            for (int64_t t = 0; t < width; t++)
                found += tokens[b * width + t] == e.whole.image_token_index;
            assert_int_equal(found, expected);
        }
        dt_image_processor_close(p);
        dt_stored_set_destroy(file.set);
        free(counts), free(tokens);
    }
}

static void among__every_picture_gets_its_place(void **state)
{
    (void)state;
    dt_error err = {0};
    eyes e;
    int32_t *out;
    size_t count;
    make_eyes(&e, 7, 1, true);
    const int32_t prompt[] = {1, 99, 5, 99, 6}, whole[] = {1, 99, 99, 99, 5, 99, 99, 6}, none[] = {1, 5};
    const int64_t rows[] = {3, 2, 4};
    assert_ok(dt_among_expand(&e.whole, prompt, 5, 2, rows, &out, &count, &err), err);
    assert_int_equal(count, 8);
    assert_memory_equal(out, whole, sizeof whole);
    dt_free(out);
    assert_ok(dt_among_expand(&e.whole, whole, 8, 2, rows, &out, &count, &err), err); /* expanded already */
    assert_int_equal(count, 8);
    assert_memory_equal(out, whole, sizeof whole);
    dt_free(out);
    assert_ok(dt_among_expand(&e.whole, none, 2, 0, NULL, &out, &count, &err), err); /* words alone */
    assert_memory_equal(out, none, sizeof none);
    dt_free(out);
    assert_fails(dt_among_expand(&e.whole, prompt, 5, 3, rows, &out, &count, &err), DT_MISMATCH, err,
                 "has 2 image tokens (id 99), but 3 pictures are given: one each is expected, or all 9");
    assert_fails(dt_among_expand(&e.whole, prompt, 5, 1, rows, &out, &count, &err), DT_MISMATCH, err,
                 "2 image tokens (id 99), but 1 picture is given");
    assert_fails(dt_among_expand(&e.whole, prompt, 5, 0, NULL, &out, &count, &err), DT_MISMATCH, err,
                 "has 2 image tokens (id 99), and no picture is given");
    const int64_t vast[] = {INT32_MAX, INT32_MAX};
    assert_fails(dt_among_expand(&e.whole, prompt, 5, 2, vast, &out, &count, &err), DT_LIMIT, err,
                 "pictures");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(among__llava_next_counts_are_those_of_its_processor),
        cmocka_unit_test(among__tiles_make_up_their_grid),
        cmocka_unit_test(among__plain_counts_follow_from_the_configuration),
        cmocka_unit_test(among__recorded_prompts_have_as_many_image_tokens),
        cmocka_unit_test(among__every_picture_gets_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
