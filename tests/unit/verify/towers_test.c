/*
 * towers_test.c - pictures of different sizes in one batch: each has the bits that it has alone. Either layer spec attends
 * as the configuration says: to all of a picture, or only backwards.
 */
#include "../inference/models.h"

#include "base/json.h"
#include "verify/replay.h"

#include <drivetrain/checkpoint.h>
#include <drivetrain/layer_spec.h>

#include <math.h>

enum { PICTURES = 4, CHANNELS = 3 };

static const int64_t size[PICTURES][2] = {{32, 32}, {24, 8}, {4, 4}, {16, 40}};

static float *pixels_of(dt_arena *arena, int picture)
{
    int64_t n = CHANNELS * size[picture][0] * size[picture][1];
    float *x = DT_NEW_ARRAY(arena, float, n);
    for (int64_t i = 0; i < n; i++)
        x[i] = sinf((float)(i * (picture + 2)));
    return x;
}

/* Pictures [first, first + count) in one batch. */
static dt_replay *see(dt_model *model, dt_arena *arena, int first, int count)
{
    dt_error err = {0};
    dt_picture picture[PICTURES];
    dt_replay_inputs in = {0};
    dt_replay *r;
    for (int i = 0; i < count; i++)
        picture[i] = (dt_picture){pixels_of(arena, first + i), size[first + i][0], size[first + i][1]};
    assert_ok(dt_pictures_pack(&in.pictures, arena, dt_model_get_config(model), count, picture, &err), err);
    in.vision = (dt_row_batch){.batch = count,
                               .total = in.pictures.rows,
                               .length = in.pictures.rows,
                               .cu_seqlens = in.pictures.cu_seqlens};
    assert_ok(dt_replay_run(&r, model, &in, &err), err);
    return r;
}

static void check(const char *backend, int threads)
{
    const char *path = fixture("megatron/radio");
    need(path);
    dt_model *model = open_model(path, backend, "f32", threads);
    dt_arena *arena = dt_arena_create();
    dt_replay *all = see(model, arena, 0, PICTURES);
    dt_replay_value together, alone;
    assert_true(dt_replay_find(all, "out.hidden", &together));
    for (int i = 0; i < PICTURES; i++) {
        dt_replay *one = see(model, arena, i, 1);
        assert_true(dt_replay_find(one, "out.hidden", &alone));
        assert_int_equal(alone.rows->total, together.rows->cu_seqlens[i + 1] - together.rows->cu_seqlens[i]);
        assert_memory_equal(together.data + together.rows->cu_seqlens[i] * together.stride, alone.data,
                            sizeof(float) * (size_t)(alone.rows->total * alone.stride));
        dt_replay_destroy(one);
    }
    dt_replay_destroy(all);
    dt_arena_destroy(arena);
    dt_model_close(model);
}

static void towers__a_picture_has_the_same_bits_in_any_company(void **state)
{
    check("cpu", 1);
    check("cpu", 3);
    check("reference", 1);
}

/* ---- specs and masks ---- */

/* golden/megatron/radio with another mask in its configuration. */
static void ask_for(const char *folder, const char *mask)
{
    dt_error err = {0};
    json_t *json;
    char cwd[2048], from[4096];
    assert_ok(dt_json_load(&json, "tests/golden/megatron/radio/config.json", 1 << 16, &err), err);
    if (mask)
        json_object_set_new(json, "attn_mask_type", json_string(mask));
    assert_ok(dt_json_save(json, in_folder(folder, "config.json"), &err), err);
    json_decref(json);
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(from, sizeof from, "%s/tests/golden/megatron/radio/state.safetensors", cwd);
    assert_true(symlink(from, in_folder(folder, "state.safetensors")) == 0 || mask);
}

/* out.hidden of one picture of 4 x 4 patches, whose last patch has `last` added. */
static dt_replay_value hidden_of(dt_replay **out, const char *path, const dt_layer_spec *spec,
                                 dt_arena *arena, float last)
{
    dt_error err = {0};
    dt_model *model;
    dt_model_options options = {.dtype = "f32", .threads = 1, .spec = spec};
    dt_replay_inputs in = {0};
    dt_replay_value value;
    float *x = DT_NEW_ARRAY(arena, float, 3 * 16 * 16);
    for (int i = 0; i < 3 * 16 * 16; i++)
        x[i] = sinf((float)i) + (i % 16 >= 12 && i / 16 % 16 >= 12 ? last : 0);
    assert_ok(dt_model_open(&model, path, &options, &err), err);
    assert_ok(
        dt_pictures_pack(&in.pictures, arena, dt_model_get_config(model), 1, &(dt_picture){x, 16, 16}, &err),
        err);
    in.vision = (dt_row_batch){.batch = 1,
                               .total = in.pictures.rows,
                               .length = in.pictures.rows,
                               .cu_seqlens = in.pictures.cu_seqlens};
    assert_ok(dt_replay_run(out, model, &in, &err), err);
    assert_true(dt_replay_find(*out, "out.hidden", &value));
    float *copy = DT_NEW_ARRAY(arena, float, value.rows->total *value.width);
    memcpy(copy, value.data, sizeof *copy * (size_t)(value.rows->total * value.width));
    value.data = copy;
    dt_replay_destroy(*out);
    dt_model_close(model);
    return value;
}

static void towers__either_spec_attends_as_the_configuration_says(void **state)
{
    static const char *const masks[] = {NULL, "no_mask", "causal"};
    const dt_layer_spec *spec[] = {dt_layer_spec_local(), dt_layer_spec_fused()};
    for (int m = 0; m < 3; m++) {
        dt_arena *arena = dt_arena_create();
        dt_replay *r;
        ask_for(*state, masks[m]);
        float *first = NULL;
        for (int s = 0; s < 2; s++) {
            dt_replay_value a = hidden_of(&r, *state, spec[s], arena, 0),
                            b = hidden_of(&r, *state, spec[s], arena, 1);
            int64_t n = (8 + 16) * a.width; /* class tokens, then patches; the last row is the changed one */
            bool sees_later = memcmp(a.data, b.data, sizeof(float) * (size_t)(n - a.width)) != 0;
            assert_true(sees_later == (m < 2));
            assert_true(memcmp(a.data + n - a.width, b.data + n - a.width, sizeof(float)) != 0);
            for (int64_t i = 0; first && i < n; i++)
                assert_true(fabsf(a.data[i] - first[i]) <= 2e-5f);
            first = (float *)(uintptr_t)a.data;
        }
        dt_arena_destroy(arena);
    }
}

static void towers__another_mask_is_refused(void **state)
{
    dt_error err = {0};
    dt_model *model = NULL;
    ask_for(*state, NULL);
    ask_for(*state, "padding");
    assert_fails(dt_model_open(&model, *state, NULL, &err), DT_UNSUPPORTED, err,
                 "\"attn_mask_type\" is \"padding\"");
}

/* A run's arguments do not hold RADIO's class tokens; their tensor does. Where they are told they must be right. */
static void towers__class_tokens_are_as_many_as_are_stored(void **state)
{
    static const dt_export_options options = {.format = "megatron-state"};
    static const int64_t told[] = {-1, 5, 11};
    dt_error err = {0};
    dt_export_result result;
    dt_checkpoint *c;
    const char *out = in_folder(*state, "radio"), *config = in_folder(*state, "radio/config.json");
    assert_ok(dt_checkpoint_open(&c, "tests/golden/vision/radio", NULL, &err), err);
    assert_ok(dt_checkpoint_export(c, out, &options, &result, &err), err);
    dt_checkpoint_close(c);
    for (int i = 0; i < 3; i++) {
        json_t *json;
        assert_ok(dt_json_load(&json, config, 1 << 16, &err), err);
        json_object_del(json, "class_token_len");
        if (told[i] >= 0)
            json_object_set_new(json, "class_token_len", json_integer(told[i]));
        assert_ok(dt_json_save(json, config, &err), err);
        json_decref(json);
        if (i == 2) {
            assert_fails(dt_checkpoint_open(&c, out, NULL, &err), DT_MISMATCH, err,
                         "\"class_token_len\" is 11");
            continue;
        }
        assert_ok(dt_checkpoint_open(&c, out, NULL, &err), err);
        assert_int_equal(dt_checkpoint_config(c)->class_token_len, 5);
        dt_checkpoint_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(towers__a_picture_has_the_same_bits_in_any_company),
        cmocka_unit_test_setup_teardown(towers__either_spec_attends_as_the_configuration_says, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(towers__class_tokens_are_as_many_as_are_stored, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(towers__another_mask_is_refused, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
