/* pixels_test.c - raw pictures of a recording: what the processor makes of them is compared, or run on. */
#include "../inference/models.h"
#include "recordings.h"

#include <drivetrain/verify.h>

static const char tower[] = "tests/golden/vision/tower";

static void pixels__raw_pictures_become_what_is_recorded(void **state)
{
    dt_error err = {0};
    dt_verify_report *r;
    assert_ok(dt_verify(&r, tower, "tests/golden/vision/tower/recording.safetensors", NULL, &err), err);
    assert_true(r->pass);
    assert_string_equal(r->points[0].name, "in.pixels");
    assert_true(r->points[0].max_abs == 0 && r->points[0].tolerance == 5e-6);
    dt_verify_report_destroy(r);
}

#define RAW(name, height, width, data) ((recorded){name, DT_U8, {3, {height, width, 3}}, data})

/* One value of 3 · 32 · 32 is another than the processor makes: by a step of 255 that may be, by two not. */
static void pixels__wrong_pixels_are_named(void **state)
{
    static uint8_t raw[32 * 32 * 3];
    static float pixels[3 * 32 * 32];
    static const float mean[] = {0.48145466f, 0.4578275f, 0.40821073f},
                       std[] = {0.26862954f, 0.26130258f, 0.27577711f};
    const char *path = in_folder(*state, "recording.safetensors");
    memset(raw, 51, sizeof raw);
    for (int i = 0; i < 3 * 32 * 32; i++)
        pixels[i] = (0.2f - mean[i / 1024]) / std[i / 1024];
    for (int steps = 0; steps < 3; steps++) {
        dt_error err = {0};
        dt_verify_report *r;
        pixels[1500] = ((51 + (float)steps) / 255 - mean[1]) / std[1];
        const recorded t[] = {{"in.pixels", DT_F32, {4, {1, 3, 32, 32}}, pixels},
                              RAW("in.image.0", 32, 32, raw)};
        write_recording(path, t, 2, "drivetrain-recording/1");
        assert_ok(dt_verify(&r, tower, path, NULL, &err), err);
        assert_true(r->pass == (steps < 2)); /* the class's arithmetic is torchvision's */
        if (steps == 2)
            assert_string_equal(r->first_divergence, "in.pixels");
        dt_verify_report_destroy(r);
    }
}

/* RADIO takes any size: golden/megatron/radio with a processor that leaves sizes alone. */
static const char *any_size(const char *folder)
{
    static const char processor[] =
        "{\"image_processor_type\": \"CLIPImageProcessor\", \"do_resize\": false, "
        "\"do_center_crop\": false}";
    static const char *const file[] = {"config.json", "state.safetensors"};
    char cwd[2048], from[4096];
    assert_non_null(getcwd(cwd, sizeof cwd));
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/tests/golden/megatron/radio/%s", cwd, file[i]);
        assert_int_equal(symlink(from, in_folder(folder, file[i])), 0);
    }
    put_file(in_folder(folder, "preprocessor_config.json"), processor, sizeof processor - 1);
    return folder;
}

static void pixels__pictures_of_any_size_are_seen_together(void **state)
{
    static uint8_t raw[2][40 * 32 * 3];
    const char *model = any_size(*state), *both = in_folder(*state, "both"), *one = in_folder(*state, "one");
    const char *seen = in_folder(*state, "seen"), *alone = in_folder(*state, "alone");
    dt_error err = {0};
    dt_verify_report *r;
    int64_t dim[5], dim_alone[5];
    for (size_t i = 0; i < sizeof raw[0]; i++) {
        raw[0][i] = (uint8_t)(i * 7);
        raw[1][i] = (uint8_t)(i * 13 >> 2);
    }
    const recorded t[] = {RAW("in.image.0", 16, 24, raw[0]), RAW("in.image.1", 40, 32, raw[1])};
    write_recording(both, t, 2, "drivetrain-recording/1");
    write_recording(one, t, 1, "drivetrain-recording/1");
    assert_ok(dt_trace(model, both, seen, NULL, NULL, &err), err);
    assert_ok(dt_trace(model, one, alone, NULL, NULL, &err), err);
    tensors all = open_tensors(seen), first = open_tensors(alone);
    float *a = read_tensor(all, "out.hidden", DT_F32, dim),
          *b = read_tensor(first, "out.hidden", DT_F32, dim_alone);
    assert_int_equal(dim[0], 2);
    assert_int_equal(dim[1], 8 + 10 * 8); /* class tokens and the larger one's patches of 4 x 4 */
    assert_int_equal(dim_alone[1], 8 + 4 * 6);
    assert_memory_equal(a, b, sizeof(float) * (size_t)(dim_alone[1] * dim_alone[2]));
    free(a);
    free(b);
    dt_stored_set_destroy(all.set);
    dt_stored_set_destroy(first.set);
    assert_ok(dt_verify(&r, model, seen, NULL, &err), err);
    assert_true(r->pass && r->point_count >= 4);
    dt_verify_report_destroy(r);
}

static void pixels__what_is_not_said_is_an_error(void **state)
{
    static const uint8_t raw[32 * 32 * 4];
    static const int32_t nothing[1];
    const char *path = in_folder(*state, "recording.safetensors"), *radio = "tests/golden/megatron/radio";
    dt_error err = {0};
    recorded t = RAW("in.image.0", 32, 32, raw);
    write_recording(path, &t, 1, "drivetrain-recording/1");
    assert_fails(dt_trace(radio, path, in_folder(*state, "out"), NULL, NULL, &err), DT_NOT_FOUND, err,
                 "holds no preprocessor_config.json");
    t = (recorded){"in.image.0", DT_U8, {3, {32, 32, 4}}, raw};
    write_recording(path, &t, 1, "drivetrain-recording/1");
    assert_fails(dt_trace(tower, path, in_folder(*state, "out"), NULL, NULL, &err), DT_FORMAT, err,
                 "[32, 32, 4], expected [height, width, 3]");
    t = RAW("in.image.0", 0, 32, raw);
    write_recording(path, &t, 1, "drivetrain-recording/1");
    assert_fails(dt_trace(tower, path, in_folder(*state, "out"), NULL, NULL, &err), DT_INVALID, err,
                 "\"in.image.0\"");
    t = (recorded){"in.tokens", DT_I32, {1, {1}}, nothing};
    write_recording(path, &t, 1, "drivetrain-recording/1");
    assert_fails(dt_trace(tower, path, in_folder(*state, "out"), NULL, NULL, &err), DT_NOT_FOUND, err,
                 "neither in.pixels nor in.image.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels__raw_pictures_become_what_is_recorded),
        cmocka_unit_test_setup_teardown(pixels__wrong_pixels_are_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(pixels__pictures_of_any_size_are_seen_together, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(pixels__what_is_not_said_is_an_error, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
