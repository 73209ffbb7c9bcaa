/*
 * llama2c_test.c - the published 260 K parameter model of llama2.c tells its published story, token by token; carried
 * to Hugging Face's form it keeps every bit; files that lie are named.
 *
 * The story and its first ids are the ones that llama2.c's documentation publishes for this file.
 */
#include "inference/models.h"

#include "base/map.h"

#include <drivetrain/text.h>

static const char story[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
    "she "
    "saw a big, red ball. She wanted to play with it, but it was too high.\n"
    "Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I "
    "want to play with your ball, but I can't find it.\"\n"
    "Lily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to do.\"\n"
    "Lily didn't want to help her mom, so she said, \"I'm sorry, mom. I didn't know what to do.\" Her mom "
    "said, "
    "\"Don't worry, Lily. We can help you.";

static const int32_t first_ids[] = {403, 407, 261, 378, 432, 383, 286, 261,
                                    376, 298, 315, 421, 395, 317, 426, 338};

static const char *stories(char path[4096], const char *name)
{
    const char *data = getenv("DT_DATA");
    snprintf(path, 4096, "%s/checkpoints/stories260k/%s", data ? data : "?", name);
    return data && access(path, R_OK) == 0 ? path : NULL;
}

static void llama2c__a_published_model_tells_its_story(void **state)
{
    char path[4096];
    const char *file = stories(path, "stories260K.bin");
    dt_error err = {0};
    dt_tokenizer *tokenizer = NULL;
    need(file);
    assert_ok(dt_tokenizer_open(&tokenizer, file, &err), err); /* tok512.bin beside it */
    for (int backend = 0; backend < 2; backend++) {
        dt_model *model = open_model(file, backend ? "reference" : "cpu", NULL, 1);
        dt_text_prompt prompt = {.text = ""};
        dt_text_options o = {.generate = DT_GENERATE_OPTIONS_DEFAULT};
        dt_text_answers *answers = NULL;
        o.generate.max_tokens = 256;
        assert_ok(dt_generate_text(&answers, model, tokenizer, 1, &prompt, &o, &err), err);
        const dt_text_answer_row *row = dt_text_answer(answers, 0);
        assert_string_equal(row->text, story);
        assert_int_equal(row->generated->count, 256);
        assert_memory_equal(row->generated->tokens, first_ids, sizeof first_ids);
        dt_text_answers_destroy(answers);
        dt_model_close(model);
    }
    dt_tokenizer_close(tokenizer);
}

/* What the model wrote, the tokenizer reads back as the same ids: its merges are those of the texts it was trained on. */
static void llama2c__its_vocabulary_encodes_as_the_model_writes(void **state)
{
    char path[4096];
    const char *file = stories(path, "tok512.bin");
    dt_error err = {0};
    dt_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    size_t count = 0, bytes = 0;
    char *text = NULL;
    need(file);
    assert_ok(dt_tokenizer_open(&tokenizer, file, &err), err);
    assert_ok(dt_tokenizer_encode(tokenizer, story, strlen(story), NULL, &ids, &count, &err), err);
    assert_int_equal(count, 257);
    assert_int_equal(ids[0], 1);
    assert_memory_equal(ids + 1, first_ids, sizeof first_ids);
    assert_ok(dt_tokenizer_decode(tokenizer, ids, count, true, &text, &bytes, &err), err);
    assert_string_equal(text, story);
    dt_free(text);
    dt_free(ids);
    dt_tokenizer_close(tokenizer);
}

/* All of a model's tensors, bit by bit. */
static void assert_same_tensors(const char *one, const char *two)
{
    static float a[512 * 64], b[512 * 64];
    dt_checkpoint *x = NULL, *y = NULL;
    dt_error err = {0};
    assert_ok(dt_checkpoint_open(&x, one, NULL, &err), err);
    assert_ok(dt_checkpoint_open(&y, two, NULL, &err), err);
    int compared = 0;
    dt_checkpoint_tensor t;
    for (int i = 0; dt_checkpoint_tensor_at(x, i, &t); i++) {
        int rank;
        int64_t dim[5];
        if (!t.canonical)
            continue;
        assert_ok(dt_checkpoint_shape(x, t.canonical, &rank, dim, NULL, &err), err);
        int64_t elements = dim[0] * (rank > 1 ? dim[1] : 1);
        assert_true(elements <= (int64_t)(sizeof a / sizeof a[0]));
        assert_ok(dt_checkpoint_read(x, t.canonical, 0, dim[0], DT_F32, a, &err), err);
        assert_ok(dt_checkpoint_read(y, t.canonical, 0, dim[0], DT_F32, b, &err), err);
        assert_memory_equal(a, b, (size_t)elements * sizeof *a);
        compared++;
    }
    assert_true(compared > 5 * 5);
    dt_checkpoint_close(y);
    dt_checkpoint_close(x);
}

static void llama2c__goes_to_hugging_face_without_losing_a_bit(void **state)
{
    char path[4096];
    const char *file = stories(path, "stories260K.bin"), *carried = in_folder(*state, "hf");
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    need(file);
    assert_ok(dt_checkpoint_open(&c, file, NULL, &err), err);
    assert_ok(dt_checkpoint_export(c, carried, &(dt_export_options){.format = "hf"}, NULL, &err), err);
    dt_checkpoint_close(c);
    assert_same_tensors(file, carried);
}

/* Version 1 holds the same tensors in another order: made here from version 0, and read as the same model. */
static void llama2c__both_versions_are_the_same_model(void **state)
{
    enum { D = 64, F = 172, L = 5, KV = 32, V = 512, S = 512, HALF = 4, HEAD = 256 };
    static const struct {
        size_t elements, layers;
    } part[] = {{V * D, 1}, {D, L},     {D * D, L}, {KV * D, L}, {KV * D, L}, {D * D, L},
                {D, L},     {F * D, L}, {D * F, L}, {F * D, L},  {D, 1}};
    static const int order[] = {1, 6, 10, 0, 2, 3, 4, 5, 7, 8, 9};
    char path[4096];
    const char *file = stories(path, "stories260K.bin"), *made = in_folder(*state, "v1.bin");
    dt_error err = {0};
    dt_map map;
    need(file);
    assert_ok(dt_map_open(&map, file, &err), err);
    FILE *out = fopen(made, "wb");
    assert_non_null(out);
    uint8_t head[HEAD] = {'2', '4', 'k', 'a', 1};
    memcpy(head + 8, map.data, 28);
    head[36] = 1; /* the output shares the embedding */
    fwrite(head, 1, sizeof head, out);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        size_t at = 28;
        for (int k = 0; k < order[i]; k++)
            at += part[k].elements * part[k].layers * 4;
        fwrite(map.data + at, 4, part[order[i]].elements * part[order[i]].layers, out);
    }
    fclose(out);
    dt_map_close(&map);
    assert_same_tensors(file, made);
}

typedef struct lie {
    size_t at;
    uint8_t byte;
    dt_status status;
    const char *said;
} lie;

static const lie lies[] = {
    {0, 66, DT_FORMAT, "\"n_heads\" of its header is no size"}, /* 66 / 8 heads */
    {4, 173, DT_FORMAT, "1056540 bytes; its header (dim 64, hidden_dim 173"},
    {8, 6, DT_FORMAT, "n_layers 6"},
    {16, 3, DT_FORMAT, "\"n_kv_heads\""},
    {22, 1, DT_FORMAT, "vocab_size 66048"},
    {23, 255, DT_FORMAT, "vocab_size 16776704"},
    {27, 255, DT_FORMAT, "\"max_seq_len\""},
};

static void llama2c__lies_are_named(void **state)
{
    char path[4096];
    const char *file = stories(path, "stories260K.bin"), *bad = in_folder(*state, "bad.bin");
    dt_error err = {0};
    dt_checkpoint *c = NULL;
    dt_map map;
    need(file);
    assert_ok(dt_map_open(&map, file, &err), err);
    uint8_t *copy = malloc(map.size);
    assert_non_null(copy);
    dt_open_options options = {.format = "llama2c"};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(copy, map.data, map.size);
        copy[lies[i].at] = lies[i].byte;
        put_file(bad, copy, map.size);
        assert_fails(dt_checkpoint_open(&c, bad, &options, &err), lies[i].status, err, lies[i].said);
    }
    put_file(bad, map.data, map.size - 4);
    assert_fails(dt_checkpoint_open(&c, bad, NULL, &err), DT_FORMAT, err, "has 1056536 bytes; its header");
    memcpy(copy, "24ka\2\0\0\0", 8);
    put_file(bad, copy, map.size);
    assert_fails(dt_checkpoint_open(&c, bad, NULL, &err), DT_UNSUPPORTED, err,
                 "has version 2; 0 and 1 are read");
    free(copy);
    dt_map_close(&map);
}

static void llama2c__a_vocabulary_cut_short_is_named(void **state)
{
    static const uint8_t good[] = {5,   0,   0,   0,   0, 0, 0, 0, 5, 0, 0, 0, '<',
                                   'u', 'n', 'k', '>', 0, 0, 0, 0, 9, 0, 0, 0, 'x'};
    const char *path = in_folder(*state, "tokenizer.bin");
    dt_tokenizer *t = NULL;
    dt_error err = {0};
    put_file(path, good, sizeof good);
    assert_fails(dt_tokenizer_open(&t, path, &err), DT_FORMAT, err,
                 "the piece at byte 17 claims 9 bytes; 1 are left");
    put_file(path, good, 20);
    assert_fails(dt_tokenizer_open(&t, path, &err), DT_FORMAT, err, "ends at byte 20, inside a piece");
    put_file(path, good, 17);
    assert_fails(dt_tokenizer_open(&t, path, &err), DT_FORMAT, err, "the vocabulary has 1 pieces");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama2c__a_published_model_tells_its_story),
        cmocka_unit_test(llama2c__its_vocabulary_encodes_as_the_model_writes),
        cmocka_unit_test_setup_teardown(llama2c__goes_to_hugging_face_without_losing_a_bit, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(llama2c__both_versions_are_the_same_model, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(llama2c__lies_are_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(llama2c__a_vocabulary_cut_short_is_named, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
