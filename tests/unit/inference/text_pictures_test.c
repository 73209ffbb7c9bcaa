/*
 * Texts with pictures as ids: one image token where a place is spelled, whether the tokenizer knows it or the model alone.
 */
#include "models.h"

#include <drivetrain/picture.h>
#include <drivetrain/text.h>

static dt_tokenizer *open_words(const char *folder)
{
    dt_error err = {0};
    dt_tokenizer *t;
    assert_ok(dt_tokenizer_open(&t, folder, &err), err);
    return t;
}

static size_t encoded(const dt_model *model, const dt_tokenizer *t, const char *text, int32_t ids[64])
{
    dt_error err = {0};
    int32_t *made;
    size_t count;
    if (model)
        assert_ok(dt_text_encode(model, t, text, strlen(text), NULL, &made, &count, &err), err);
    else
        assert_ok(dt_tokenizer_encode(t, text, strlen(text), NULL, &made, &count, &err), err);
    assert_in_range(count, 0, 64);
    for (size_t i = 0; i < count; i++)
        ids[i] = made[i];
    dt_free(made);
    return count;
}

static void text_pictures__a_known_token_is_the_tokenizers(void **state)
{
    const char *folder = fixture("vision/llava");
    need(folder);
    int32_t ids[64], plain[64];
    dt_model *model = open_model(folder, "cpu", "f32", 1);
    dt_tokenizer *t = open_words(folder);
    int64_t image = dt_model_get_config(model)->image_token_index;
    assert_string_equal(dt_text_image_token(model, t), "<image>");
    size_t count = encoded(model, t, "a <image> b <image>", ids);
    assert_int_equal(count, encoded(NULL, t, "a <image> b <image>", plain));
    assert_memory_equal(ids, plain, count * sizeof *ids);
    int places = 0;
    for (size_t i = 0; i < count; i++)
        places += ids[i] == image;
    assert_int_equal(places, 2);
    dt_tokenizer_close(t);
    dt_model_close(model);
}

/* Megatron's -200 is in no vocabulary: pieces around it are encoded each by itself, and only the first begins the text. */
static void text_pictures__an_unknown_token_stands_between_pieces(void **state)
{
    const char *folder = fixture("megatron/inference/vlm"), *words = fixture("vision/llava");
    need(folder);
    need(words);
    int32_t ids[64], piece[64];
    dt_error err = {0};
    dt_model *model = open_model(folder, "cpu", "f32", 1);
    dt_tokenizer *t = open_words(words);
    assert_string_equal(dt_text_image_token(model, t), "<image>");
    size_t count = encoded(model, t, "look <image>what", ids), n = encoded(NULL, t, "look ", piece);
    assert_memory_equal(ids, piece, n * sizeof *ids);
    assert_int_equal(ids[n], -200);
    int32_t *rest;
    size_t rest_count;
    const dt_encode_options bare = {.no_special = true};
    assert_ok(dt_tokenizer_encode(t, "what", 4, &bare, &rest, &rest_count, &err), err);
    assert_int_equal(count, n + 1 + rest_count);
    assert_memory_equal(ids + n + 1, rest, rest_count * sizeof *rest);
    dt_free(rest);
    dt_tokenizer_close(t);
    dt_model_close(model);
}

static void text_pictures__a_model_of_words_has_no_places(void **state)
{
    const char *folder = "examples/t5-g2p";
    int32_t ids[64], plain[64];
    dt_model *model = open_model(folder, "cpu", "f32", 1);
    dt_tokenizer *t = open_words(folder);
    assert_null(dt_text_image_token(model, t));
    size_t count = encoded(model, t, "hello", ids);
    assert_int_equal(count, encoded(NULL, t, "hello", plain));
    assert_memory_equal(ids, plain, count * sizeof *ids);
    dt_tokenizer_close(t);
    dt_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_pictures__a_known_token_is_the_tokenizers),
        cmocka_unit_test(text_pictures__an_unknown_token_stands_between_pieces),
        cmocka_unit_test(text_pictures__a_model_of_words_has_no_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
