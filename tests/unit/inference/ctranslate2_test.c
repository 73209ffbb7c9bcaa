/*
 * ctranslate2_test.c - models of CTranslate2 answer as CTranslate2 does: a transliteration model of OpenNMT as it was
 * published, in f32 and in int8, and a T5 converted to int8.
 *
 * Expected scores are those of CTranslate2 4.8.5's score_batch, computing in f32: sums of log-probabilities, the end
 * token included. (translate_batch bans the end as the first token before it normalises, which adds 4e-5; in its own
 * int8 arithmetic it quantises activations too, which moves the sums by 2 %.)
 */
#include "inference/models.h"

#include "base/map.h"

#include <drivetrain/text.h>

#include <math.h>

static const char *data_folder(char path[4096], const char *name)
{
    const char *data = getenv("DT_DATA");
    snprintf(path, 4096, "%s/checkpoints/%s", data ? data : "?", name);
    return data && access(path, R_OK) == 0 ? path : NULL;
}

/* The line of `token` in a vocabulary, one a line. */
static int32_t line_of(const char *path, const char *token)
{
    char line[64];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (int32_t i = 0; fgets(line, sizeof line, file); i++) {
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, token) == 0) {
            fclose(file);
            return i;
        }
    }
    fclose(file);
    fail_msg("%s has no \"%s\"", path, token);
    return -1;
}

/* Tokens between spaces → ids. */
static size_t ids_of(const char *folder, const char *vocabulary, const char *text, int32_t ids[16])
{
    char path[4200], copy[64], *rest = copy, *token;
    size_t count = 0;
    snprintf(path, sizeof path, "%s/%s", folder, vocabulary);
    snprintf(copy, sizeof copy, "%s", text);
    while ((token = strtok_r(rest, " ", &rest)))
        ids[count++] = line_of(path, token);
    return count;
}

typedef struct translation {
    const char *source, *prefix, *target;
    double score, score_i8; /* of the new tokens and the end */
} translation;

static void check_translation(dt_model *model, const char *folder, const translation *t, bool i8)
{
    int32_t source[16], prefix[17], target[16];
    size_t expected = ids_of(folder, "target_vocabulary.txt", t->target, target);
    dt_prompt prompt = {.tokens = source, .decoder_tokens = prefix};
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    dt_generation *g = NULL;
    dt_error err = {0};
    double sum = 0;
    prompt.count = ids_of(folder, "source_vocabulary.txt", t->source, source);
    ids_of(folder, "target_vocabulary.txt", "<s>", prefix);
    prompt.decoder_count = 1 + ids_of(folder, "target_vocabulary.txt", t->prefix, prefix + 1);
    o.ignore_eos = true; /* so that the end token is there with its log-probability */
    o.max_tokens = (int64_t)expected + 1;
    o.logprobs = 0;
    assert_ok(dt_generate(&g, model, 1, &prompt, &o, &err), err);
    const dt_generated *row = dt_generation_row(g, 0);
    assert_int_equal(row->count, expected + 1);
    for (size_t i = 0; i < row->count; i++) {
        sum += (double)row->logprobs[i].logprob;
        assert_int_equal(row->tokens[i],
                         i < expected ? target[i] : dt_model_get_config(model)->eos_token_ids[0]);
    }
    double score = i8 ? t->score_i8 : t->score;
    if (fabs(sum - score) > 2e-6)
        fail_msg("%s: %.9g, expected %.9g", t->source, sum, score);
    dt_generation_destroy(g);
}

static const translation translations[] = {
    {"آ ت ز م و ن", "", "a t z m o n", -1.0617494583, -1.0876746178},
    {"آ ز ا", "", "a z z a", -0.7545557022, -0.7394285202},
    {"آ ت ز م و ن", "a t s", "u m o n", -0.5939173698, -0.5966963768},
};

static void check_model(const char *name, bool i8)
{
    char path[4096];
    const char *folder = data_folder(path, name);
    need(folder);
    for (int backend = 0; backend < 2; backend++) {
        dt_model *model = open_model(folder, backend ? "reference" : "cpu", NULL, 1);
        for (size_t i = 0; i < sizeof translations / sizeof translations[0]; i++)
            check_translation(model, folder, &translations[i], i8);
        dt_model_close(model);
    }
}

static void ctranslate2__a_published_model_answers_as_stated(void **state)
{
    check_model("ct2-aren-transliteration", false);
}

static void ctranslate2__int8_weights_answer_as_stated(void **state)
{
    check_model("ct2-aren-transliteration-i8", true);
}

/*
 * CTranslate2's int8 answers for 50 words, and ours for the same file: it rounds activations to int8 as well, we compute
 * in f32, and two words come out with another vowel: exactly what CTranslate2 itself answers with compute_type float32.
 */
static const char *const spoken_otherwise[][2] = {{"evander", "IY0 V AE1 N D ER0"},
                                                  {"pothitos", "P AH0 TH AY1 T OW0 Z"}};

static const char *expected_answer(const char *word, const char *recorded)
{
    for (size_t i = 0; i < sizeof spoken_otherwise / sizeof spoken_otherwise[0]; i++)
        if (strcmp(word, spoken_otherwise[i][0]) == 0) {
            assert_string_not_equal(recorded, spoken_otherwise[i][1]);
            return spoken_otherwise[i][1];
        }
    return recorded;
}

static void check_word(dt_model *model, const dt_tokenizer *tokenizer, const char *word, const char *expected)
{
    dt_text_prompt prompt = {.text = word};
    dt_text_options o = {.generate = DT_GENERATE_OPTIONS_DEFAULT};
    dt_text_answers *answers = NULL;
    dt_error err = {0};
    o.generate.max_tokens = 32;
    assert_ok(dt_generate_text(&answers, model, tokenizer, 1, &prompt, &o, &err), err);
    assert_string_equal(dt_text_answer(answers, 0)->text, expected);
    dt_text_answers_destroy(answers);
}

static void ctranslate2__a_converted_t5_pronounces_as_recorded(void **state)
{
    const char *folder = fixture("trained/t5-g2p-ct2"), *words = fixture("trained/t5-g2p");
    char line[512];
    dt_tokenizer *tokenizer = NULL;
    dt_error err = {0};
    int count = 0;
    need(folder && words ? folder : NULL);
    FILE *file = fopen(in_folder(folder, "greedy.tsv"), "r");
    assert_non_null(file);
    assert_ok(dt_tokenizer_open(&tokenizer, words, &err), err);
    dt_model *model = open_model(folder, "cpu", NULL, 1);
    for (bool head = true; fgets(line, sizeof line, file); head = false) {
        char *rest = line, *word = strsep(&rest, "\t"), *spoken = strsep(&rest, "\t");
        if (head)
            continue;
        check_word(model, tokenizer, word, expected_answer(word, spoken));
        count++;
    }
    assert_int_equal(count, 50);
    dt_model_close(model);
    dt_tokenizer_close(tokenizer);
    fclose(file);
}

/* What a weight in integers reads as: q / scale of its row, as the f32 file has it to a step (its maker truncated). */
static void ctranslate2__int8_weights_are_the_floats_to_a_step(void **state)
{
    char one[4096], two[4096];
    const char *exact = data_folder(one, "ct2-aren-transliteration");
    const char *rounded = data_folder(two, "ct2-aren-transliteration-i8");
    static const char name[] = "decoder.layers.3.cross_attention.linear_kv.weight";
    static float a[64 * 32], b[64 * 32];
    dt_checkpoint *c = NULL;
    dt_error err = {0};
    need(exact && rounded ? exact : NULL);
    assert_ok(dt_checkpoint_open(&c, exact, NULL, &err), err);
    assert_ok(dt_checkpoint_read(c, name, 0, 64, DT_F32, a, &err), err);
    dt_checkpoint_close(c);
    assert_ok(dt_checkpoint_open(&c, rounded, NULL, &err), err);
    assert_ok(dt_checkpoint_read(c, name, 0, 64, DT_F32, b, &err), err);
    dt_checkpoint_close(c);
    for (int row = 0; row < 64; row++) {
        float largest = 0;
        for (int i = 0; i < 32; i++)
            largest = fmaxf(largest, fabsf(a[32 * row + i]));
        for (int i = 0; i < 32; i++)
            assert_true(fabsf(a[32 * row + i] - b[32 * row + i]) <= largest / 127 * 1.001f);
    }
}

/* ---- files that lie ---- */

typedef struct lie {
    size_t at;
    uint8_t byte;
    dt_status status;
    const char *said;
} lie;

/* Byte by byte of a good file; its first variable is "decoder/embeddings/weight" [43, 32]. */
static const lie lies[] = {
    {0, 7, DT_UNSUPPORTED, "version 7; 2 to 6 are read"},
    {0, 1, DT_UNSUPPORTED, "version 1"},
    {4, 0, DT_FORMAT, "the name of the spec at byte 6 is no text"},
    {6, 'X', DT_UNSUPPORTED, "the spec is \"XransformerBase\""},
    {26, 255, DT_FORMAT, "the file ends"},
    {26, 199, DT_FORMAT, "bytes follow the last alias"},
    {58, 200, DT_FORMAT, "has 200 dimensions"},
    {59, 44, DT_FORMAT, "\"decoder/embeddings/weight\" [44, 32] in f32 does not fill its 5504"},
    {67, 3, DT_FORMAT, "items of 3 bytes"},
    {40, 'X', DT_FORMAT, "\"decoder/embeddings/weight\" is missing"}};

static void ctranslate2__lies_are_named(void **state)
{
    char path[4096];
    const char *good = data_folder(path, "ct2-aren-transliteration");
    dt_error err = {0};
    dt_map map;
    need(good);
    assert_ok(dt_map_open(&map, in_folder(good, "model.bin"), &err), err);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        dt_checkpoint *c = NULL;
        FILE *out = fopen(in_folder(*state, "model.bin"), "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(map.data, 1, map.size, out), map.size);
        fseek(out, (long)lies[i].at, SEEK_SET);
        fputc(lies[i].byte, out);
        fclose(out);
        dt_open_options options = {.format = "ctranslate2"};
        assert_fails(dt_checkpoint_open(&c, *state, &options, &err), lies[i].status, err, lies[i].said);
    }
    dt_map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ctranslate2__a_published_model_answers_as_stated),
        cmocka_unit_test(ctranslate2__int8_weights_answer_as_stated),
        cmocka_unit_test(ctranslate2__a_converted_t5_pronounces_as_recorded),
        cmocka_unit_test(ctranslate2__int8_weights_are_the_floats_to_a_step),
        cmocka_unit_test_setup_teardown(ctranslate2__lies_are_named, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
