/*
 * compound_test.c - models of several in Hugging Face's words: whose object says what, which names a file may have, and what is
 * refused by name. Whole folders are verify_test's, their names' pieces mapping_test's.
 */
#include "folders.h"

#include "base/json.h"
#include "formats/hf/compound.h"

#include <drivetrain/export.h>

typedef struct model {
    dt_model_config c;
    dt_config_parts parts;
} model;

static const dt_hf_evidence tower = {.projection = true, .attention_pooling = true};
static const dt_hf_evidence whole = {.head = true, .text_projection = true, .vision = &tower};

static dt_status read_text(const char *text, model *m, dt_error *err)
{
    json_t *json = NULL;
    const dt_hf_family *family = NULL;
    dt_status status;
    DT_GO(status, dt_json_parse(&json, text, strlen(text), "config.json", err));
    DT_GO(status, dt_hf_family_of(json, &family, err));
    DT_GO(status, dt_hf_read_config(family, json, NULL, &whole, &m->c, &m->parts, err));
    dt_config_derive(&m->c);
    dt_config_derive(&m->parts.vision);
    if (m->c.projection)
        dt_config_derive(&m->parts.projection);
    status = dt_config_check(&m->c, err);
done:
    json_decref(json);
    return status;
}

static void read_ok(const char *text, model *m)
{
    dt_error err = {0};
    assert_ok(read_text(text, m, &err), err);
}

#define CLIP_TOWER                                                                                           \
    "\"vision_config\": {\"hidden_size\": 16, \"num_attention_heads\": 2, \"intermediate_size\": 8}"

static void compound__an_end_token_of_2_means_the_largest_id(void **state)
{
    model m;
    read_ok("{\"model_type\": \"clip\", \"projection_dim\": 6, \"text_config\": {\"eos_token_id\": "
            "2}, " CLIP_TOWER "}",
            &m);
    assert_int_equal(m.c.text_pooling, DT_TEXT_POOL_LARGEST);
    assert_int_equal(m.c.text_projection_dim, 6); /* the whole's, not the towers' own */
    assert_int_equal(m.parts.vision.projection_dim, 6);
    assert_string_equal(m.c.family, "clip");
    assert_string_equal(m.c.text_family, "clip_text_model");
}

/* transformers fills "text_config_dict" up with its class's defaults, and lays all of that over "text_config". */
static void compound__clips_older_object_wins_whole(void **state)
{
    model m;
    read_ok("{\"model_type\": \"clip\", \"text_config\": {\"eos_token_id\": 2, \"hidden_size\": 24, "
            "\"num_hidden_layers\": "
            "5}, \"text_config_dict\": {\"hidden_size\": 16}, " CLIP_TOWER "}",
            &m);
    assert_int_equal(m.c.hidden_size, 16);
    assert_int_equal(m.c.num_layers, 12);
    assert_int_equal(m.c.text_pooling, DT_TEXT_POOL_END);
    assert_int_equal(m.c.eos_token_ids[0], 49407);
}

#define LLAVA(more)                                                                                          \
    "{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"mistral\", \"hidden_size\": 16, "       \
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1}, \"vision_config\": {\"hidden_size\": 16, "     \
    "\"num_attention_heads\": 2}" more "}"
#define SIGLIP_LLAVA(more)                                                                                   \
    "{\"model_type\": \"llava\", \"text_config\": {\"hidden_size\": 16, \"num_attention_heads\": 2}, "       \
    "\"vision_config\": {\"model_type\": \"siglip_vision_model\", \"hidden_size\": 16, "                     \
    "\"num_attention_heads\": 2}" more "}"

static void compound__what_is_not_computed_is_refused_by_name(void **state)
{
    static const struct {
        const char *text, *words;
    } row[] = {
        {LLAVA(", \"vision_feature_select_strategy\": \"middle\""), "\"middle\""},
        {SIGLIP_LLAVA(""), "would cut off a patch"},
        {LLAVA(", \"vision_feature_layer\": []"), "lists 0 layers"},
        {LLAVA(", \"vision_feature_layer\": \"last\""), "is no layer"},
        {LLAVA(", \"vision_feature_layer\": -40"), "-40"},
        {LLAVA(", \"projector_hidden_act\": \"swoosh\""), "swoosh"},
        {"{\"model_type\": \"llava\", \"vision_config\": {}}", "\"text_config\" is no object"},
        {"{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"llava\"}, \"vision_config\": {}}",
         "inside a llava"},
        {"{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"t5\"}, \"vision_config\": {}}",
         "\"t5\""},
        {"{\"model_type\": \"llava\", \"text_config\": {}, \"vision_config\": {\"model_type\": \"llama\"}}",
         "\"vision_config\" is \"llama\""},
        {"{\"model_type\": \"clip\", \"text_config\": {\"model_type\": \"siglip_text_model\"}, " CLIP_TOWER
         "}",
         "siglip_text_model"},
        {"{\"model_type\": \"clip\", \"text_config\": {\"eos_token_id\": [2, 3]}, " CLIP_TOWER "}",
         "no single id"},
        {"{\"model_type\": \"llava_next\", \"image_grid_pinpoints\": [[28, 0]], \"text_config\": {}, "
         "\"vision_config\": {}}",
         "no pair of positive numbers"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        model m;
        char story[DT_ERROR_TEXT_BYTES];
        dt_error err = {0};
        assert_int_not_equal(read_text(row[i].text, &m, &err), DT_OK);
        dt_error_format(&err, story, sizeof story);
        if (!strstr(story, row[i].words))
            fail_msg("expected \"%s\" in: %s", row[i].words, story);
    }
}

/* Every option of LLaVA, written and read again; the class of what reads stays its own. */
static void compound__what_is_written_is_read(void **state)
{
    static const char *const text[] = {
        LLAVA(", \"vision_feature_layer\": [-2, 0, 3], \"image_token_index\": 77, "
              "\"multimodal_projector_bias\": false"),
        LLAVA(", \"vision_feature_select_strategy\": \"full\", \"projector_hidden_act\": \"silu\""),
        SIGLIP_LLAVA(", \"vision_feature_select_strategy\": \"full\", \"image_token_id\": 78"),
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        model m, back;
        dt_error err = {0};
        json_t *json = json_object();
        const char *key;
        read_ok(text[i], &m);
        const dt_hf_family *family = dt_hf_family_find(m.c.family);
        assert_ok(dt_hf_obstacle(family, &m.c, &key, &err), err);
        assert_null(key);
        assert_ok(dt_hf_write_config(family, &m.c, json, &err), err);
        char *written = json_dumps(json, 0);
        read_ok(written, &back);
        assert_null(dt_config_difference(&m.c, &back.c));
        assert_string_equal(back.c.text_family, i < 2 ? "mistral" : "llama");
        free(written);
        json_decref(json);
    }
}

static void compound__a_llava_is_spelt_in_three_ways(void **state)
{
    static const struct {
        const char *canonical, *external[DT_HF_SPELLINGS];
    } row[] = {
        {"language_model.embedding.word_embeddings.weight",
         {"language_model.model.embed_tokens.weight", "language_model.model.embed_tokens.weight",
          "model.language_model.embed_tokens.weight"}},
        {"language_model.output_layer.weight",
         {"language_model.lm_head.weight", "language_model.lm_head.weight", "lm_head.weight"}},
        {"vision_model.conv1.weight",
         {"vision_tower.vision_model.embeddings.patch_embedding.weight",
          "vision_tower.embeddings.patch_embedding.weight",
          "model.vision_tower.embeddings.patch_embedding.weight"}},
        {"vision_projection.encoder.linear_fc2.bias",
         {"multi_modal_projector.linear_2.bias", "multi_modal_projector.linear_2.bias",
          "model.multi_modal_projector.linear_2.bias"}},
    };
    dt_arena *arena = dt_arena_create();
    dt_error err = {0};
    model m;
    read_ok(LLAVA(""), &m);
    for (int s = 0; s < DT_HF_SPELLINGS; s++) {
        const dt_name_table *names;
        assert_ok(dt_hf_names(dt_hf_family_find("llava"), &m.c, s, arena, &names, &err), err);
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            int64_t numbers[2];
            int count;
            const dt_name_row *found = dt_names_row(names, row[i].canonical, &m.c, numbers, &count);
            assert_non_null(found);
            assert_string_equal(found->external[0], row[i].external[s]);
        }
    }
    dt_arena_destroy(arena);
}

/* What classes are called goes along to Hugging Face's and to Megatron's configuration, and from there. */
static void compound__names_of_classes_go_along(void **state)
{
    char path[4096], config[4096], out[4096], file[4096];
    json_t *json = NULL, *labels = json_object();
    dt_error err = {0};
    if (!model_folder(path, "hf/vit"))
        skip();
    snprintf(file, sizeof file, "%s/config.json", path);
    assert_ok(dt_json_load(&json, file, 1 << 20, &err), err);
    for (int i = 0; i < 10; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        json_object_set_new(labels, key, json_sprintf("kind %d of cat", i));
    }
    json_object_set(json, "id2label", labels);
    snprintf(config, sizeof config, "%s/config.json", (char *)*state);
    assert_ok(dt_json_save(json, config, &err), err);
    json_decref(json);
    const char *from = path, *formats[] = {"megatron-state", "hf"};
    for (int i = 0; i < 2; i++) {
        dt_open_options options = {.config = i == 0 ? config : NULL};
        dt_checkpoint *c = open_model(from, &options);
        dt_export_options o = {.format = formats[i]};
        dt_export_result result;
        snprintf(out, sizeof out, "%s/%d", (char *)*state, i);
        assert_ok(dt_checkpoint_export(c, out, &o, &result, &err), err);
        dt_checkpoint_close(c);
        snprintf(file, sizeof file, "%s/config.json", out);
        assert_ok(dt_json_load(&json, file, 1 << 20, &err), err);
        assert_true(json_equal(json_object_get(json, "id2label"), labels));
        json_decref(json);
        from = i == 0 ? strdup(out) : from;
    }
    free((char *)(uintptr_t)from);
    json_decref(labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compound__an_end_token_of_2_means_the_largest_id),
        cmocka_unit_test(compound__clips_older_object_wins_whole),
        cmocka_unit_test(compound__what_is_not_computed_is_refused_by_name),
        cmocka_unit_test(compound__what_is_written_is_read),
        cmocka_unit_test(compound__a_llava_is_spelt_in_three_ways),
        cmocka_unit_test_setup_teardown(compound__names_of_classes_go_along, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
