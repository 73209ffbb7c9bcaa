/* parts_test.c - a configuration with a tower and a projector: the parts fit, or the refusal names both sizes. */
#include "seeing.h"
#include "unit.h"

static void refuses(const seeing *s, const char *first, const char *second)
{
    dt_error err = {0};
    char story[DT_ERROR_TEXT_BYTES];
    assert_int_not_equal(dt_config_check(&s->c, &err), DT_OK);
    dt_error_format(&err, story, sizeof story);
    if (!strstr(story, first) || !strstr(story, second))
        fail_msg("expected \"%s\" and \"%s\" in: %s", first, second, story);
}

static void parts__that_fit_are_taken(void **state)
{
    dt_error err = {0};
    seeing s;
    make_seeing(&s);
    assert_ok(dt_config_check(&s.c, &err), err);
    assert_true(dt_config_is_gpt(&s.c) && dt_config_reads(&s.c) && !dt_config_is_tower(&s.c));
    s.c.pixel_shuffle = true;
    s.parts.projection.input_size = 64;
    assert_ok(dt_config_check(&s.c, &err), err);
    s.c.pixel_shuffle = false;
    s.c.feature_layers = 4;
    s.c.feature_layer[1] = -1;
    s.c.feature_layer[2] = 2;
    assert_ok(dt_config_check(&s.c, &err), err);
}

static void parts__that_do_not_fit_are_named_with_both_sizes(void **state)
{
    seeing s;
    make_seeing(&s);
    s.parts.projection.input_size = 17;
    refuses(&s, "17", "16");
    make_seeing(&s);
    s.parts.projection.hidden_size = 26;
    refuses(&s, "26", "24");
    make_seeing(&s);
    s.parts.vision.img_h = 0;
    refuses(&s, "img_h", "vision tower");
    make_seeing(&s);
    s.parts.projection.ffn_hidden_size = 0;
    refuses(&s, "ffn_hidden_size", "projector");
    make_seeing(&s);
    s.c.feature_layers = 1;
    s.c.feature_layer[0] = -5;
    refuses(&s, "-5", "3 layers");
}

static void parts__must_be_there_and_be_parts(void **state)
{
    seeing s;
    make_seeing(&s);
    s.c.projection = NULL;
    refuses(&s, "needs", "projector");
    make_seeing(&s);
    s.c.vision = NULL;
    refuses(&s, "needs", "tower");
    make_seeing(&s);
    s.c.vision = &s.c; /* a part within itself would never end */
    refuses(&s, "llava", "tower");
    make_seeing(&s);
    s.parts.vision.vision = &s.parts.vision;
    refuses(&s, "clip_vit", "parts");
}

static void parts__layers_are_counted_as_transformers_counts(void **state)
{
    seeing s;
    make_seeing(&s);
    const int32_t said[] = {0, 3, -1, -2, -4, 4, -5};
    const int64_t depth[] = {0, 3, 3, 2, 0, -1, -1};
    for (int i = 0; i < 7; i++) {
        s.c.feature_layer[0] = said[i];
        assert_int_equal(dt_config_feature_depth(&s.c, 0), depth[i]);
    }
}

static void parts__of_a_picture_are_as_many_rows_as_are_left(void **state)
{
    seeing s;
    make_seeing(&s);
    assert_int_equal(dt_config_feature_rows(&s.c), 16);
    s.c.pixel_shuffle = true;
    assert_int_equal(dt_config_feature_rows(&s.c), 4);
    s.c.pixel_shuffle = s.c.drop_class_token = false;
    assert_int_equal(dt_config_feature_rows(&s.c), 17);
}

static void parts__differences_are_told_by_part(void **state)
{
    seeing a, b;
    make_seeing(&a);
    make_seeing(&b);
    assert_null(dt_config_difference(&a.c, &b.c));
    b.parts.vision.layernorm_epsilon = 1e-6;
    assert_string_equal(dt_config_difference(&a.c, &b.c), "vision.layernorm_epsilon");
    make_seeing(&b);
    b.parts.projection.activation_func = DT_ACT_SILU;
    assert_string_equal(dt_config_difference(&a.c, &b.c), "vision_projection.activation_func");
    make_seeing(&b);
    b.c.feature_layers = 1;
    b.c.feature_layer[0] = -2;
    assert_string_equal(dt_config_difference(&a.c, &b.c), "x_vision_feature_layer");
    a.c.feature_layers = 1;
    a.c.feature_layer[0] = 2; /* another word for the same layer */
    assert_null(dt_config_difference(&a.c, &b.c));
    b.c.projection = NULL;
    assert_string_equal(dt_config_difference(&a.c, &b.c), "vision_projection");
}

static void parts__settings_that_megatron_lacks_are_told_of_all(void **state)
{
    seeing s;
    make_seeing(&s);
    assert_null(dt_config_beyond_megatron(&s.c, 0));
    s.c.image_newline = true;
    s.parts.vision.layer_scale = true;
    s.parts.projection.projector_norm = true;
    assert_string_equal(dt_config_beyond_megatron(&s.c, 0), "x_image_newline");
    assert_string_equal(dt_config_beyond_megatron(&s.c, 1), "x_layer_scale");
    assert_string_equal(dt_config_beyond_megatron(&s.c, 2), "x_projector_norm");
    assert_null(dt_config_beyond_megatron(&s.c, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts__that_fit_are_taken),
        cmocka_unit_test(parts__that_do_not_fit_are_named_with_both_sizes),
        cmocka_unit_test(parts__must_be_there_and_be_parts),
        cmocka_unit_test(parts__layers_are_counted_as_transformers_counts),
        cmocka_unit_test(parts__of_a_picture_are_as_many_rows_as_are_left),
        cmocka_unit_test(parts__differences_are_told_by_part),
        cmocka_unit_test(parts__settings_that_megatron_lacks_are_told_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
