/*
 * Answers about pictures: the recorded ones of transformers and Megatron Core, from raw pictures where they are stored; a
 * prompt has the same answer alone and in any company; a conversation encodes a picture once.
 */
#include "recorded.h"

#include "inference/among.h"

#include <drivetrain/conversation.h>
#include <drivetrain/picture.h>

enum { MOST = 16 };

/* A recording's prompts with their pictures. */
typedef struct sights {
    recorded text;
    dt_prompt prompt[MOST];
    dt_pixels picture[MOST];
    int64_t pictures;
    float *pixels;
    int32_t *greedy;
    int64_t answer;
} sights;

static void count_answers(sights *s)
{
    int64_t dim[5] = {0};
    s->greedy = read_tensor(s->text.file, "out.greedy", DT_I32, dim);
    assert_non_null(s->greedy);
    s->answer = dim[1];
}

/* Which pictures are whose: in order, as many as `count` says of each row. */
static void share_out(sights *s, const int64_t *count)
{
    for (int64_t b = 0, n = 0; b < s->text.rows; n += count[b++]) {
        s->prompt[b].pictures = s->picture + n;
        s->prompt[b].picture_count = (size_t)count[b];
    }
}

/* hf: pixels are made of the raw pictures, as the folder's processor does. */
static void open_raw(sights *s, const char *folder)
{
    dt_error err = {0};
    dt_image_processor *processor;
    int64_t dim[5] = {0}, count[MOST] = {0};
    assert_true(open_recorded(&s->text, folder));
    set_prompts(&s->text, s->prompt);
    count_answers(s);
    int32_t *counts = read_tensor(s->text.file, "in.image_counts", DT_I32, dim);
    assert_ok(dt_image_processor_open(&processor, folder, NULL, &err), err);
    for (int64_t b = 0; b < s->text.rows; b++)
        for (count[b] = 0; count[b] < counts[b]; count[b]++, s->pictures++) {
            char name[32];
            dt_image *image;
            snprintf(name, sizeof name, "in.image.%d", (int)s->pictures);
            uint8_t *raw = read_tensor(s->text.file, name, DT_U8, dim);
            assert_ok(dt_image_create(&image, raw, (int)dim[1], (int)dim[0], 3, &err), err);
            assert_ok(dt_image_process(processor, image, &s->picture[s->pictures], &err), err);
            dt_image_close(image);
            free(raw);
        }
    share_out(s, count);
    dt_image_processor_close(processor);
    free(counts);
}

/* Megatron: pixels as they are, so many tiles a picture, a picture for each -200. */
static void open_tiled(sights *s, const char *folder)
{
    int64_t dim[5] = {0}, shape[5] = {0}, count[MOST] = {0}, at = 0;
    assert_true(open_recorded(&s->text, folder));
    set_prompts(&s->text, s->prompt);
    count_answers(s);
    int32_t *tiles = read_tensor(s->text.file, "in.num_image_tiles", DT_I32, dim);
    s->pictures = dim[0];
    s->pixels = read_tensor(s->text.file, "in.pixels", DT_F32, shape);
    for (int64_t i = 0; i < s->pictures; at += tiles[i++])
        s->picture[i] = (dt_pixels){.values = s->pixels + at * shape[1] * shape[2] * shape[3],
                                    .tiles = tiles[i],
                                    .height = (int)shape[2],
                                    .width = (int)shape[3],
                                    .overview = -1};
    for (int64_t b = 0; b < s->text.rows; b++)
        for (size_t t = 0; t < s->prompt[b].count; t++)
            count[b] += s->prompt[b].tokens[t] == -200;
    share_out(s, count);
    free(tiles);
}

static void close_sights(sights *s)
{
    for (int64_t i = 0; !s->pixels && i < s->pictures; i++)
        dt_pixels_free(&s->picture[i]);
    free(s->pixels);
    free(s->greedy);
    close_recorded(&s->text);
}

static void open_sights(sights *s, const char *folder)
{
    *s = (sights){0};
    (strstr(folder, "megatron") ? open_tiled : open_raw)(s, folder);
}

static dt_generation *answer(dt_model *model, const dt_prompt *prompt, size_t count, int64_t tokens,
                             int64_t chunk, int64_t beams)
{
    dt_error err = {0};
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    o.max_tokens = tokens;
    o.ignore_eos = true;
    o.chunk = chunk;
    o.beams = beams;
    assert_ok(dt_generate(&g, model, count, prompt, &o, &err), err);
    return g;
}

/* Answers end where the model's positions do; up to there they are the recorded ones. */
static void assert_recorded(const sights *s, const dt_generation *g, int64_t b)
{
    const dt_generated *row = dt_generation_row(g, (size_t)b);
    assert_in_range(row->count, (size_t)s->answer - 1, (size_t)s->answer);
    assert_memory_equal(row->tokens, s->greedy + b * s->answer, row->count * sizeof *row->tokens);
}

static const char *const folders[] = {"hf/llava", "hf/llava-old-names", "hf/llava-next",
                                      "megatron/llava_clip", "megatron/llava_siglip"};
enum { FOLDERS = sizeof folders / sizeof *folders };

/* The models that this machine has and this build reads; others are passed over. */
static const char *readable(const char *name, dt_model **model, const char *backend)
{
    dt_error err = {0};
    const char *folder = fixture(name);
    static char path[4096];
    if (!folder)
        return NULL;
    snprintf(path, sizeof path, "%s", folder);
    const dt_model_options o = {.backend = backend, .dtype = "f32", .threads = 2};
    return dt_model_open(model, path, &o, &err) == DT_OK ? path : NULL;
}

static void see__answers_are_the_recorded_ones(void **state)
{
    int seen = 0;
    for (int f = 0; f < FOLDERS; f++)
        for (int backend = 0; backend < 2; backend++) {
            dt_model *model;
            sights s;
            const char *folder = readable(folders[f], &model, backend ? "reference" : "cpu");
            if (!folder)
                continue;
            open_sights(&s, folder);
            dt_generation *g = answer(model, s.prompt, (size_t)s.text.rows, s.answer, 0, 1);
            for (int64_t b = 0; b < s.text.rows; b++)
                assert_recorded(&s, g, b);
            dt_generation_destroy(g);
            close_sights(&s);
            dt_model_close(model);
            seen++;
        }
    if (!seen)
        skip();
}

static void assert_same_answers(dt_model *model, const sights *s, int64_t chunk, int64_t beams)
{
    dt_generation *together = answer(model, s->prompt, (size_t)s->text.rows, s->answer, chunk, beams);
    for (int64_t b = 0; b < s->text.rows; b++) {
        dt_generation *alone = answer(model, &s->prompt[b], 1, s->answer, 0, beams);
        const dt_generated *t = dt_generation_row(together, (size_t)b), *a = dt_generation_row(alone, 0);
        assert_int_equal(t->count, a->count);
        assert_memory_equal(t->tokens, a->tokens, a->count * sizeof *a->tokens);
        assert_true(t->score == a->score); /* beams: the same bits */
        dt_generation_destroy(alone);
    }
    dt_generation_destroy(together);
}

static void see__company_and_chunks_change_nothing(void **state)
{
    int seen = 0;
    for (int f = 0; f < FOLDERS; f++) {
        dt_model *model;
        sights s;
        const char *folder = readable(folders[f], &model, "cpu");
        if (!folder)
            continue;
        open_sights(&s, folder);
        assert_same_answers(model, &s, 7, 1);
        assert_same_answers(model, &s, 0, 3);
        close_sights(&s);
        dt_model_close(model);
        seen++;
    }
    if (!seen)
        skip();
}

/* Turn by turn: what is stored is not computed again, a picture that changed is, and answers are those of one call. */
static void see__a_conversation_encodes_a_picture_once(void **state)
{
    enum { TURN = 3 };
    dt_error err = {0};
    dt_model *model;
    sights s;
    const char *folder = readable("megatron/llava_clip", &model, "cpu");
    need(folder);
    open_sights(&s, folder);
    dt_conversation *c;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    int32_t talk[64];
    size_t n = s.prompt[2].count; /* two pictures, words behind them */
    memcpy(talk, s.prompt[2].tokens, n * sizeof *talk);
    o.max_tokens = TURN;
    o.ignore_eos = true;
    assert_ok(dt_conversation_create(&c, model, 0, &err), err);
    for (int turn = 0; turn < 3; turn++) {
        dt_pixels shown[2] = {s.prompt[2].pictures[0], s.prompt[2].pictures[1]};
        if (turn == 2)
            shown[1] = s.picture[0]; /* another picture, of two tiles */
        const dt_prompt prompt = {.tokens = talk, .count = n, .pictures = shown, .picture_count = 2};
        dt_generation *kept, *whole = answer(model, &prompt, 1, TURN, 0, 1);
        assert_ok(dt_conversation_answer(&kept, c, &prompt, &o, &err), err);
        const dt_generated *k = dt_generation_row(kept, 0), *w = dt_generation_row(whole, 0);
        assert_int_equal(k->count, w->count);
        assert_memory_equal(k->tokens, w->tokens, k->count * sizeof *k->tokens);
        int64_t read = dt_generation_timing_of(kept).prefill_tokens;
        if (turn == 1)
            assert_int_equal(read, 2); /* the last token of the answer, and one more word */
        if (turn == 2)
            assert_int_equal(read, 16 + 4 + 2 * (TURN + 1) - 8); /* all but what stands before it */
        memcpy(talk + n, k->tokens, k->count * sizeof *talk);
        n += k->count;
        talk[n++] = 5;
        dt_generation_destroy(kept);
        dt_generation_destroy(whole);
    }
    dt_conversation_destroy(c);
    close_sights(&s);
    dt_model_close(model);
}

static void see__what_does_not_agree_is_refused_by_name(void **state)
{
    dt_error err = {0};
    dt_model *model;
    sights s;
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    const char *folder = readable("megatron/llava_clip", &model, "cpu");
    need(folder);
    open_sights(&s, folder);
    dt_prompt wrong = s.prompt[0];
    wrong.picture_count = 2;
    assert_fails(dt_generate(&g, model, 1, &wrong, &o, &err), DT_MISMATCH, err,
                 "1 image token (id -200), but 2 pictures are given");
    wrong.picture_count = 0;
    assert_fails(dt_generate(&g, model, 1, &wrong, &o, &err), DT_MISMATCH, err, "no picture is given");
    dt_pixels small = s.picture[0];
    small.height = 3;
    wrong.pictures = &small;
    wrong.picture_count = 1;
    assert_fails(dt_generate(&g, model, 1, &wrong, &o, &err), DT_MISMATCH, err, "patches");
    small.height = small.width = 14;
    assert_fails(dt_generate(&g, model, 1, &wrong, &o, &err), DT_MISMATCH, err, "28 x 28");
    o.prompt_logprobs = true;
    assert_fails(dt_generate(&g, model, 1, s.prompt, &o, &err), DT_UNSUPPORTED, err, "log-probabilities");
    o.prompt_logprobs = false;
    dt_model *words = open_model("examples/t5-g2p", "cpu", "f32", 1);
    wrong = (dt_prompt){.tokens = (int32_t[]){5}, .count = 1, .pictures = s.picture, .picture_count = 1};
    assert_fails(dt_generate(&g, words, 1, &wrong, &o, &err), DT_UNSUPPORTED, err, "sees none");
    dt_model_close(words);
    close_sights(&s);
    dt_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(see__answers_are_the_recorded_ones),
        cmocka_unit_test(see__company_and_chunks_change_nothing),
        cmocka_unit_test(see__a_conversation_encodes_a_picture_once),
        cmocka_unit_test(see__what_does_not_agree_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
