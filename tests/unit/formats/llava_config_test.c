/*
 * llava_config_test.c - LLaVAModel's compound configuration: read, written and read again; what it makes of types of towers;
 * and a multimodal run's arguments, which name presets.
 */
#include "unit.h"

#include "base/json.h"
#include "formats/megatron/megatron.h"

typedef struct model {
    dt_model_config c;
    dt_config_parts parts;
} model;

static json_t *parsed(const char *text)
{
    dt_error err = {0};
    json_t *json = NULL;
    assert_ok(dt_json_parse(&json, text, strlen(text), "the test", &err), err);
    return json;
}

static dt_status read_json(json_t *json, model *m, dt_error *err)
{
    dt_status status = dt_megatron_read_llava(json, &m->c, &m->parts, err);
    json_decref(json);
    if (status != DT_OK)
        return status;
    dt_config_derive(&m->c);
    dt_config_derive(&m->parts.vision);
    dt_config_derive(&m->parts.projection);
    return dt_config_check(&m->c, err);
}

#define LANGUAGE                                                                                             \
    "\"language\": {\"num_layers\": 2, \"hidden_size\": 24, \"num_attention_heads\": 2, \"normalization\": " \
    "\"RMSNorm\"}, "
#define PROJECTOR                                                                                            \
    "\"vision_projection\": {\"num_layers\": 1, \"hidden_size\": 24, \"num_attention_heads\": 1}, "
#define WORDS                                                                                                \
    "\"language_vocab_size\": 50, \"language_position_embedding_type\": \"rope\", "                          \
    "\"language_max_sequence_length\": 99"
#define TOWER(type)                                                                                          \
    "\"vision\": {\"num_layers\": 3, \"hidden_size\": 16, \"num_attention_heads\": 2, "                      \
    "\"vision_model_type\": \"" type "\"}, "
#define LLAVA(tower, more) "{\"model_type\": \"llava\", " LANGUAGE tower PROJECTOR WORDS more "}"

static void llava_config__has_the_constructors_defaults(void **state)
{
    dt_error err = {0};
    model m;
    assert_ok(read_json(parsed(LLAVA(TOWER("clip"), "")), &m, &err), err);
    assert_string_equal(m.c.family, "megatron_llava");
    assert_int_equal(m.c.image_token_index, -200);
    assert_false(m.c.share_embeddings_and_output_weights);
    assert_int_equal(m.c.max_sequence_length, 99);
    assert_int_equal(m.parts.vision.img_h, 336);
    assert_int_equal(m.parts.vision.patch_dim, 14);
    assert_true(m.parts.vision.ln_pre && !m.parts.vision.ln_post && m.parts.vision.class_token_len == 1);
    assert_int_equal(m.parts.projection.input_size, 16);
    assert_int_equal(m.c.img_h, 0); /* pictures' sizes are the tower's alone */
}

static void llava_config__towers_are_what_their_types_stand_for(void **state)
{
    dt_error err = {0};
    model m;
    assert_ok(read_json(parsed(LLAVA(TOWER("siglip"), ", \"pixel_shuffle\": true")), &m, &err), err);
    assert_true(m.parts.vision.ln_post && m.parts.vision.class_token_len == 0);
    assert_int_equal(m.parts.projection.input_size, 64);
    assert_ok(read_json(parsed(LLAVA(TOWER("radio-g"), ", \"megatron_core\": \"0.16.1\"")), &m, &err), err);
    assert_string_equal(m.parts.vision.model_type, "radio");
    assert_int_equal(m.parts.vision.class_token_len, 5);
    assert_int_equal(m.parts.vision.max_img_h, 1792);
    assert_true(m.parts.vision.use_mask_token && m.parts.vision.patch_bias && m.parts.vision.ln_post);
    assert_true(m.parts.vision.interpolate_align_corners); /* no switch for it then */
    assert_ok(read_json(parsed(LLAVA(TOWER("radio"), ", \"megatron_core\": \"0.17.0\"")), &m, &err), err);
    assert_true(m.parts.vision.class_token_len == 8 && !m.parts.vision.interpolate_align_corners);
    assert_fails(read_json(parsed(LLAVA(TOWER("hf://x"), "")), &m, &err), DT_UNSUPPORTED, err,
                 "vision_model_type");
}

static void llava_config__comes_back_as_it_was_written(void **state)
{
    static const char *const text[] = {
        LLAVA(TOWER("clip"), ", \"pixel_shuffle\": true, \"drop_vision_class_token\": true, \"img_h\": 56, "
                             "\"img_w\": 56, \"x_vision_feature_layer\": [-2, 1], \"eos_token_id\": [3, 4]"),
        LLAVA(TOWER("radio"), ", \"image_token_index\": 7, \"share_embeddings_and_output_weights\": true, "
                              "\"language_rope_scaling\": true, \"language_rope_scaling_factor\": 4.0"),
        LLAVA(TOWER("internvit300M"), ", \"vision_projection_type\": \"affine\", \"x_image_newline\": true")};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        dt_error err = {0};
        model m, back;
        json_t *written = NULL;
        assert_ok(read_json(parsed(text[i]), &m, &err), err);
        assert_ok(dt_megatron_write_config(&m.c, &written, &err), err);
        assert_ok(read_json(written, &back, &err), err);
        assert_null(dt_config_difference(&m.c, &back.c));
        assert_int_equal(m.c.image_token_index, back.c.image_token_index);
        assert_int_equal(m.c.max_sequence_length, back.c.max_sequence_length);
        assert_int_equal(m.c.eos_count, back.c.eos_count);
        assert_memory_equal(m.c.feature_layer, back.c.feature_layer, sizeof m.c.feature_layer);
    }
}

static void llava_config__refusals_name_the_key(void **state)
{
    dt_error err = {0};
    model m;
    assert_fails(read_json(parsed("{\"model_type\": \"llava\", " LANGUAGE WORDS "}"), &m, &err), DT_FORMAT,
                 err, "\"vision\"");
    assert_fails(read_json(parsed(LLAVA(TOWER("clip"), ", \"tile_tags\": [[1, 2]]")), &m, &err),
                 DT_UNSUPPORTED, err, "tile_tags");
    assert_fails(read_json(parsed(LLAVA(TOWER("clip"), ", \"x_vision_feature_layer\": [9]")), &m, &err),
                 DT_UNSUPPORTED, err, "the tower has 3 layers");
    assert_fails(read_json(parsed(LLAVA(TOWER("clip"), ", \"x_vision_feature_layer\": [1.5]")), &m, &err),
                 DT_FORMAT, err, "x_vision_feature_layer");
}

static void llava_config__a_runs_arguments_name_presets(void **state)
{
    static const char run[] =
        "{\"num_layers\": 32, \"hidden_size\": 4096, \"num_attention_heads\": 32, \"group_query_attention\": "
        "true, \"num_query_groups\": 8, \"ffn_hidden_size\": 14336, \"swiglu\": true, \"normalization\": "
        "\"RMSNorm\", \"untie_embeddings_and_output_weights\": true, \"position_embedding_type\": \"rope\", "
        "\"padded_vocab_size\": 128512, \"max_position_embeddings\": 8192, \"decoder_seq_length\": 1024, "
        "\"img_h\": 448, \"img_w\": 448, \"patch_dim\": 14, \"pixel_shuffle\": true, "
        "\"disable_vision_class_token\": true, \"language_model_type\": \"llama3.1_8b\", "
        "\"vision_model_type\": \"internvit300M\", \"use_tile_tags\": false}";
    dt_error err = {0};
    model m;
    json_t *args = parsed(run), *json = NULL;
    assert_true(dt_megatron_is_multimodal_run(args));
    assert_ok(dt_megatron_of_multimodal_run(&json, args, &err), err);
    assert_ok(read_json(json, &m, &err), err);
    assert_int_equal(m.c.num_query_groups, 8);
    assert_int_equal(m.c.activation_func, DT_ACT_SILU);
    assert_int_equal(m.c.max_sequence_length, 1024); /* as far as merged texts go */
    assert_true(m.c.pixel_shuffle && m.c.drop_class_token && !m.c.share_embeddings_and_output_weights);
    assert_int_equal(m.parts.vision.num_layers, 24);
    assert_true(m.parts.vision.layer_scale && m.parts.vision.patch_bias);
    assert_int_equal(m.parts.projection.input_size, 4096);
    assert_int_equal(m.parts.projection.ffn_hidden_size, 4096);
    assert_int_equal(dt_config_feature_rows(&m.c), 256);
    json_object_set_new(args, "use_tile_tags", json_true());
    assert_ok(dt_megatron_of_multimodal_run(&json, args, &err), err);
    assert_fails(read_json(json, &m, &err), DT_UNSUPPORTED, err, "tile_tags");
    json_object_set_new(args, "vision_model_type", json_string("internvit"));
    assert_fails(dt_megatron_of_multimodal_run(&json, args, &err), DT_UNSUPPORTED, err, "--config FILE");
    json_decref(args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llava_config__has_the_constructors_defaults),
        cmocka_unit_test(llava_config__towers_are_what_their_types_stand_for),
        cmocka_unit_test(llava_config__comes_back_as_it_was_written),
        cmocka_unit_test(llava_config__refusals_name_the_key),
        cmocka_unit_test(llava_config__a_runs_arguments_name_presets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
