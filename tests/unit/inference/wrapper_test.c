/*
 * Wrappers: what Megatron Core's own wrappers, controller and static engine gave (fixtures/megatron/inference), through
 * the C API. The fixtures' tokenizer is one id a character; here it is a few lines of test.
 */
#include "models.h"

#include <jansson.h>

enum { ROWS = 4, LENGTH = 21, VOCAB = 40 };

static const double close_enough =
    2e-5; /* logits up to 10, f32; Megatron's own cache differs from none by 3e-6 */

typedef struct wrapped {
    tensors file;
    dt_model *model;
    dt_wrapper *wrapper;
    int32_t *tokens, *encoder_tokens;
    const dt_wrapper_input *input;
} wrapped;

static wrapped open_wrapped(const char *folder, dt_wrapper_config config, bool encoder)
{
    dt_error err = {0};
    int64_t dim[5];
    wrapped w = {.file = open_tensors(in_folder(folder, "wrapper.safetensors"))};
    w.model = open_model(folder, "reference", "f32", 2);
    config.local_masks = true;
    assert_ok(dt_wrapper_create(&w.wrapper, w.model, &config, &err), err);
    w.tokens = read_tensor(w.file, encoder ? "prep.decoder_tokens" : "prep.tokens", DT_I32, dim);
    w.encoder_tokens = read_tensor(w.file, "prep.encoder_tokens", DT_I32, dim);
    assert_ok(dt_wrapper_prep_model_for_inference(w.wrapper, &err), err);
    assert_ok(dt_wrapper_prep_inference_input(w.wrapper, ROWS, LENGTH, w.tokens, encoder ? dim[1] : 0,
                                              w.encoder_tokens, &w.input, &err),
              err);
    return w;
}

static void close_wrapped(wrapped *w)
{
    free(w->tokens);
    free(w->encoder_tokens);
    dt_wrapper_destroy(w->wrapper);
    dt_model_close(w->model);
    dt_stored_set_destroy(w->file.set);
}

/* A tensor of the fixture, whole, equals ours. */
static void assert_holds(const wrapped *w, const char *name, const void *ours, dt_dtype dtype)
{
    int64_t dim[5] = {1, 1, 1, 1, 1};
    void *expected = read_tensor(w->file, name, dtype, dim);
    if (!expected)
        fail_msg("%s is not in the fixture", name);
    assert_non_null(ours);
    assert_memory_equal(ours, expected,
                        (size_t)(dim[0] * dim[1] * dim[2] * dim[3]) * (dtype == DT_I32 ? 4 : 1));
    free(expected);
}

static const float *step(wrapped *w, int64_t start, int64_t end)
{
    dt_error err = {0};
    const dt_wrapper_window *window;
    const float *logits;
    assert_ok(dt_wrapper_get_batch_for_context_window(w->wrapper, start, end, &window, &err), err);
    assert_ok(dt_wrapper_run_one_forward_step(w->wrapper, window, &logits, &err), err);
    return logits;
}

/* Logits [ROWS, to - from] equal columns [from, to) of `full` [ROWS, columns]. */
static void assert_columns(const float *logits, const float *full, int64_t columns, int64_t from, int64_t to)
{
    for (int64_t b = 0; b < ROWS; b++) {
        double far = largest_difference(logits + b * (to - from) * VOCAB, full + (b * columns + from) * VOCAB,
                                        (to - from) * VOCAB);
        if (!(far < close_enough))
            fail_msg("row %d, columns %d to %d: off by %g", (int)b, (int)from, (int)to, far);
    }
}

/* ---- GPT ---- */

static void wrapper__gpt_inputs_and_windows_are_megatrons(void **state)
{
    static const int64_t cut[][2] = {{0, 1}, {0, 5}, {5, 6}, {6, 9}, {0, LENGTH}};
    const char *folder = fixture("megatron/inference/gpt");
    need(folder);
    wrapped w = open_wrapped(folder, (dt_wrapper_config)DT_WRAPPER_CONFIG_DEFAULT, false);
    assert_holds(&w, "prep.tokens", w.input->tokens, DT_I32);
    assert_holds(&w, "prep.position_ids", w.input->position_ids, DT_I32);
    assert_holds(&w, "prep.attention_mask", w.input->attention_mask, DT_U8);
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        dt_error err = {0};
        const dt_wrapper_window *window;
        char name[64],
            *end = name + snprintf(name, sizeof name, "window.%d_%d.", (int)cut[i][0], (int)cut[i][1]);
        assert_ok(dt_wrapper_get_batch_for_context_window(w.wrapper, cut[i][0], cut[i][1], &window, &err),
                  err);
        assert_holds(&w, strcat(name, "tokens"), window->tokens, DT_I32);
        *end = '\0';
        assert_holds(&w, strcat(name, "position_ids"), window->position_ids, DT_I32);
        *end = '\0';
        assert_holds(&w, strcat(name, "attention_mask"), window->attention_mask, DT_U8);
    }
    close_wrapped(&w);
}

/* Prefill of 5, then one token at a time: every logit, and the last ones alone. */
static void wrapper__gpt_steps_give_megatrons_logits(void **state)
{
    const char *folder = fixture("megatron/inference/gpt");
    need(folder);
    for (int last_only = 0; last_only < 2; last_only++) {
        int64_t dim[5];
        dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
        config.materialize_only_last_token_logits = last_only;
        wrapped w = open_wrapped(folder, config, false);
        float *expected = read_tensor(
            w.file, last_only ? "forward.prefill5_then_1.last" : "forward.prefill5_then_1.all", DT_F32, dim);
        int64_t done = last_only ? 1 : 5;
        assert_columns(step(&w, 0, 5), expected, dim[1], 0, done);
        for (int64_t i = 5; i < LENGTH; i++, done++)
            assert_columns(step(&w, i, i + 1), expected, dim[1], done, done + 1);
        assert_int_equal(done, dim[1]);
        free(expected);
        close_wrapped(&w);
    }
}

/* Micro-batches of any size give the bits of one plain forward, and are as many as Megatron makes. */
static void wrapper__micro_batches_change_no_bit(void **state)
{
    static const struct {
        int64_t threshold, prefill;
    } way[] = {{-1, 1}, {20, 1}, {10, 2}, {5, 4}, {1, 4}};
    const char *folder = fixture("megatron/inference/gpt");
    need(folder);
    float plain[ROWS * 5 * VOCAB];
    for (size_t i = 0; i < sizeof way / sizeof way[0]; i++) {
        dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
        config.materialize_only_last_token_logits = false;
        config.inference_batch_times_seqlen_threshold = way[i].threshold;
        wrapped w = open_wrapped(folder, config, false);
        const float *logits = step(&w, 0, 5);
        assert_int_equal(dt_wrapper_micro_batches(w.wrapper), way[i].prefill);
        if (i == 0)
            memcpy(plain, logits, sizeof plain);
        assert_memory_equal(plain, logits, sizeof plain);
        close_wrapped(&w);
    }
}

static void wrapper__the_whole_window_at_once_is_the_full_forward(void **state)
{
    static const char *const folder_of[] = {"megatron/inference/gpt", "megatron/inference/t5"};
    for (int t5 = 0; t5 < 2; t5++) {
        int64_t dim[5];
        const char *folder = fixture(folder_of[t5]);
        need(folder);
        dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
        config.materialize_only_last_token_logits = false;
        wrapped w = open_wrapped(folder, config, t5);
        float *expected = read_tensor(w.file, t5 ? "forward.21" : "forward.full", DT_F32, dim);
        assert_columns(step(&w, 0, LENGTH), expected, dim[1], 0, LENGTH);
        assert_columns(step(&w, 0, LENGTH), expected, dim[1], 0, LENGTH); /* a window at 0 begins anew */
        free(expected);
        close_wrapped(&w);
    }
}

/*
 * Where frequencies follow from the length, a window that begins anew is read at its own length, in however many steps; one
 * that follows a context of other frequencies is refused.
 */
static void check_growing(const char *folder)
{
    enum {
        WORDS = 99,
        SHORT = 5
    }; /* both models' trained lengths are between SHORT and the recorded rows' */
    dt_error err = {0};
    int64_t dim[5];
    const dt_wrapper_window *window;
    const dt_wrapper_input *input;
    const float *logits;
    dt_wrapper *wrapper;
    dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
    config.materialize_only_last_token_logits = false;
    config.inference_max_requests = 1;
    tensors file = open_tensors(in_folder(folder, "recording.safetensors"));
    int32_t *lengths = read_tensor(file, "in.lengths", DT_I32, dim);
    int32_t *tokens = read_tensor(file, "in.tokens", DT_I32, dim), length = lengths[0];
    float *expected = read_tensor(file, "out.logits", DT_F32, dim);
    dt_model *model = open_model(folder, "reference", "f32", 1);
    assert_ok(dt_wrapper_create(&wrapper, model, &config, &err), err);
    assert_ok(dt_wrapper_prep_inference_input(wrapper, 1, length, tokens, 0, NULL, &input, &err), err);
    assert_ok(dt_wrapper_get_batch_for_context_window(wrapper, 0, length, &window, &err), err);
    assert_ok(dt_wrapper_run_one_forward_step(wrapper, window, &logits, &err), err);
    assert_true(largest_difference(logits, expected, length * WORDS) < close_enough);
    assert_ok(dt_wrapper_get_batch_for_context_window(wrapper, 0, SHORT, &window, &err), err);
    assert_ok(dt_wrapper_run_one_forward_step(wrapper, window, &logits, &err), err);
    assert_ok(dt_wrapper_get_batch_for_context_window(wrapper, SHORT, length, &window, &err), err);
    assert_fails(dt_wrapper_run_one_forward_step(wrapper, window, &logits, &err), DT_UNSUPPORTED, err,
                 "must be read again, by a window that starts at 0");
    dt_wrapper_destroy(wrapper);
    dt_model_close(model);
    dt_stored_set_destroy(file.set);
    free(lengths), free(tokens), free(expected);
}

static void wrapper__windows_have_the_frequencies_of_their_length(void **state)
{
    static const char *const growing[] = {"hf/llama-dynamic", "hf/phi3-longrope"};
    for (size_t i = 0; i < 2; i++) {
        const char *folder = fixture(growing[i]);
        need(folder);
        check_growing(folder);
    }
}

/* ---- T5 ---- */

static void wrapper__t5_inputs_and_windows_are_megatrons(void **state)
{
    static const int end_of[] = {1, 3, 7, LENGTH};
    const char *folder = fixture("megatron/inference/t5");
    need(folder);
    wrapped w = open_wrapped(folder, (dt_wrapper_config)DT_WRAPPER_CONFIG_DEFAULT, true);
    assert_holds(&w, "prep.decoder_tokens", w.input->tokens, DT_I32);
    assert_holds(&w, "prep.encoder_tokens", w.input->encoder_tokens, DT_I32);
    assert_holds(&w, "prep.decoder_mask", w.input->attention_mask, DT_U8);
    assert_holds(&w, "prep.encoder_mask", w.input->encoder_mask, DT_U8);
    for (size_t i = 0; i < 4; i++) {
        dt_error err = {0};
        const dt_wrapper_window *window;
        char name[64], *tail = name + snprintf(name, sizeof name, "window.%d.", end_of[i]);
        assert_ok(dt_wrapper_get_batch_for_context_window(w.wrapper, end_of[i] - 1, end_of[i], &window, &err),
                  err);
        const struct {
            const char *name;
            const void *ours;
            dt_dtype dtype;
        } part[] = {{"decoder_tokens", window->tokens, DT_I32},
                    {"encoder_tokens", window->encoder_tokens, DT_I32},
                    {"decoder_mask", window->attention_mask, DT_U8},
                    {"encoder_mask", window->encoder_mask, DT_U8},
                    {"encoder_decoder_mask", window->encoder_decoder_mask, DT_U8}};
        for (size_t k = 0; k < sizeof part / sizeof part[0]; k++) {
            strcpy(tail, part[k].name);
            assert_holds(&w, name, part[k].ours, part[k].dtype);
        }
    }
    close_wrapped(&w);
}

/* Megatron computes everything anew for each window; a cached step gives the same columns. */
static void wrapper__t5_steps_give_megatrons_logits(void **state)
{
    static const int end_of[] = {1, 3, 7, LENGTH};
    const char *folder = fixture("megatron/inference/t5");
    need(folder);
    dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
    config.materialize_only_last_token_logits = false;
    config.inference_batch_times_seqlen_threshold = 6;
    wrapped w = open_wrapped(folder, config, true);
    for (int64_t i = 0, start = 0; i < 4; start = end_of[i++]) {
        int64_t dim[5];
        char name[32];
        snprintf(name, sizeof name, "forward.%d", end_of[i]);
        float *expected = read_tensor(w.file, name, DT_F32, dim);
        assert_columns(step(&w, start, end_of[i]), expected, dim[1], start, end_of[i]);
        free(expected);
    }
    close_wrapped(&w);
}

/* ---- VLM ---- */

typedef struct seeing {
    wrapped w;
    float *pixels;
    int32_t *tiles;
    dt_wrapper_images images;
    int64_t length;
} seeing;

static seeing open_seeing(const char *folder, bool last_only)
{
    dt_error err = {0};
    int64_t dim[5];
    seeing s = {.w.file = open_tensors(in_folder(folder, "wrapper.safetensors"))};
    dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
    config.inference_max_seq_length = 64;
    config.materialize_only_last_token_logits = last_only;
    s.w.model = open_model(folder, "reference", "f32", 2);
    assert_ok(dt_wrapper_create(&s.w.wrapper, s.w.model, &config, &err), err);
    s.w.tokens = read_tensor(s.w.file, "prep.tokens", DT_I32, dim);
    s.length = dim[1];
    s.tiles = read_tensor(s.w.file, "in.num_tiles", DT_I32, dim);
    s.images = (dt_wrapper_images){
        .num_tiles = s.tiles, .count = dim[0], .num_img_embeddings_per_tile = 4, .decoder_seq_length = 64};
    s.images.pixels = s.pixels = read_tensor(s.w.file, "in.pixels", DT_F32, dim);
    s.images.height = dim[2];
    s.images.width = dim[3];
    assert_ok(dt_wrapper_prep_model_for_inference(s.w.wrapper, &err), err);
    assert_ok(dt_wrapper_prep_vlm_inference_input(s.w.wrapper, 1, s.length, s.w.tokens, &s.images, &s.w.input,
                                                  &err),
              err);
    return s;
}

static void close_seeing(seeing *s)
{
    free(s->pixels);
    free(s->tiles);
    close_wrapped(&s->w);
}

static void wrapper__vlm_inputs_and_windows_are_megatrons(void **state)
{
    static const int64_t cut[][2] = {{0, 16}, {16, 17}, {19, 20}, {21, 22}};
    const char *folder = fixture("megatron/inference/vlm");
    need(folder);
    seeing s = open_seeing(folder, false);
    assert_holds(&s.w, "prep.tokens", s.w.input->tokens, DT_I32);
    assert_holds(&s.w, "prep.position_ids", s.w.input->position_ids, DT_I32);
    json_t *told = json_load_file(in_folder(folder, "generations.json"), 0, NULL);
    const json_t *prep = json_object_get(told, "prep");
    assert_int_equal(s.w.input->num_img_embeddings,
                     json_integer_value(json_object_get(prep, "num_img_embeddings")));
    assert_int_equal(s.w.input->decoder_seq_length,
                     json_integer_value(json_object_get(prep, "decoder_seq_length")));
    json_decref(told);
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        dt_error err = {0};
        const dt_wrapper_window *window;
        char name[64],
            *end = name + snprintf(name, sizeof name, "window.%d_%d.", (int)cut[i][0], (int)cut[i][1]);
        assert_ok(dt_wrapper_get_batch_for_context_window(s.w.wrapper, cut[i][0], cut[i][1], &window, &err),
                  err);
        assert_holds(&s.w, strcat(name, "tokens"), window->tokens, DT_I32);
        *end = '\0';
        assert_holds(&s.w, strcat(name, "position_ids"), window->position_ids, DT_I32);
    }
    close_seeing(&s);
}

/* Prefill with its picture, then a token at a time; all at once; and the last rows alone. */
static void wrapper__vlm_steps_give_megatrons_logits(void **state)
{
    enum { PROMPT = 16 };
    const char *folder = fixture("megatron/inference/vlm");
    need(folder);
    for (int last_only = 0; last_only < 2; last_only++) {
        int64_t dim[5];
        seeing s = open_seeing(folder, last_only);
        float *prefill = read_tensor(s.w.file, "forward.prefill", DT_F32, dim);
        int64_t rows = dim[1];
        const float *first = step(&s.w, 0, PROMPT);
        assert_int_equal(dt_wrapper_logit_rows(s.w.wrapper), last_only ? 1 : rows);
        assert_true(largest_difference(first, prefill + (last_only ? rows - 1 : 0) * VOCAB,
                                       (last_only ? 1 : rows) * VOCAB) < close_enough);
        float *decode = read_tensor(s.w.file, "forward.decode", DT_F32, dim);
        for (int64_t i = 0; i < dim[1]; i++)
            assert_true(largest_difference(step(&s.w, PROMPT + i, PROMPT + i + 1), decode + i * VOCAB,
                                           VOCAB) < close_enough);
        float *whole = read_tensor(s.w.file, "forward.without_cache", DT_F32, dim);
        const float *again = step(&s.w, 0, s.length); /* a window at 0 begins anew */
        assert_int_equal(dt_wrapper_logit_rows(s.w.wrapper), last_only ? 1 : dim[1]);
        assert_true(largest_difference(again, whole + (last_only ? dim[1] - 1 : 0) * VOCAB,
                                       (last_only ? 1 : dim[1]) * VOCAB) < close_enough);
        free(prefill), free(decode), free(whole);
        close_seeing(&s);
    }
}

/* Rows of several pictures, of tiles, and of words alone: the recorded logits, however windows are cut and rows shared out. */
static void wrapper__vlm_rows_differ_in_pictures(void **state)
{
    static const int64_t cut[][3] = {{10, 10, 10}, {5, 10, 10}, {1, 4, 10}};
    const char *folder = fixture("megatron/llava_clip");
    need(folder);
    tensors file = open_tensors(in_folder(folder, "recording.safetensors"));
    int64_t dim[5], shape[5];
    int32_t *tokens = read_tensor(file, "in.tokens", DT_I32, dim);
    int32_t *merged = read_tensor(file, "in.merged_lengths", DT_I32, dim);
    int32_t *tiles = read_tensor(file, "in.num_image_tiles", DT_I32, dim);
    dt_wrapper_images images = {.num_tiles = tiles, .count = dim[0], .num_img_embeddings_per_tile = 4};
    float *pixels = read_tensor(file, "in.pixels", DT_F32, dim);
    float *truth = read_tensor(file, "out.logits", DT_F32, shape);
    images.pixels = pixels;
    images.height = dim[2];
    images.width = dim[3];
    images.decoder_seq_length = 64;
    dt_model *model = open_model(folder, "reference", "f32", 2);
    int64_t padded = dt_model_get_config(model)->padded_vocab_size;
    for (int way = 0; way < 6; way++) {
        dt_error err = {0};
        dt_wrapper *w;
        const dt_wrapper_input *input;
        dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
        int64_t done[3] = {0};
        config.inference_max_seq_length = 64;
        config.materialize_only_last_token_logits = false;
        config.inference_batch_times_seqlen_threshold = way < 3 ? -1 : 8;
        assert_ok(dt_wrapper_create(&w, model, &config, &err), err);
        assert_ok(dt_wrapper_prep_vlm_inference_input(w, 3, 10, tokens, &images, &input, &err), err);
        for (int64_t i = 0, start = 0; start < 10; start = cut[way % 3][i++]) {
            const dt_wrapper_window *window;
            const float *logits;
            assert_ok(dt_wrapper_get_batch_for_context_window(w, start, cut[way % 3][i], &window, &err), err);
            assert_ok(dt_wrapper_run_one_forward_step(w, window, &logits, &err), err);
            for (int64_t b = 0; b < 3; b++) {
                int64_t rows = 0;
                for (int64_t t = start; t < cut[way % 3][i]; t++) /* pictures: 8, then 4 and 4 */
                    rows += tokens[b * 10 + t] != -200 ? 1 : b == 0 ? 8 : 4;
                for (int64_t r = 0; r < rows && done[b] + r < merged[b]; r++)
                    assert_true(largest_difference(logits + (b * dt_wrapper_logit_rows(w) + r) * padded,
                                                   truth + (b * shape[1] + done[b] + r) * shape[2],
                                                   shape[2]) < close_enough);
                done[b] += rows;
            }
        }
        assert_true(done[0] == 17 && done[1] == 10 && done[2] == 16);
        dt_wrapper_destroy(w);
    }
    dt_model_close(model);
    dt_stored_set_destroy(file.set);
    free(tokens), free(merged), free(tiles), free(pixels), free(truth);
}

static void wrapper__vlm_misuse_is_refused(void **state)
{
    dt_error err = {0};
    const dt_wrapper_input *input;
    const dt_wrapper_window *window;
    const char *folder = fixture("megatron/inference/vlm");
    need(folder);
    seeing s = open_seeing(folder, false);
    dt_wrapper *w = s.w.wrapper;
    dt_wrapper_images images = s.images;
    assert_fails(dt_wrapper_prep_inference_input(w, 1, s.length, s.w.tokens, 0, NULL, &input, &err),
                 DT_MISMATCH, err, "1 images (id -200), but 0 are given");
    assert_fails(dt_wrapper_get_batch_for_context_window(w, 0, 1, &window, &err), DT_INVALID, err,
                 "no inference input");
    images.num_img_embeddings_per_tile = 5;
    assert_fails(dt_wrapper_prep_vlm_inference_input(w, 1, s.length, s.w.tokens, &images, &input, &err),
                 DT_MISMATCH, err, "num_img_embeddings_per_tile 5");
    images = s.images;
    images.decoder_seq_length = 20;
    assert_fails(dt_wrapper_prep_vlm_inference_input(w, 1, s.length, s.w.tokens, &images, &input, &err),
                 DT_LIMIT, err, "decoder_seq_length");
    images = s.images;
    images.height = 7;
    assert_fails(dt_wrapper_prep_vlm_inference_input(w, 1, s.length, s.w.tokens, &images, &input, &err),
                 DT_MISMATCH, err, "2 positions");
    close_seeing(&s);
}

/* ---- texts of the static engine ---- */

/* One id a character: pad, end, begin, four sentinels ("<mask>" takes the next), then the alphabet. */
static size_t tokenize(const char *text, int32_t *ids)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz .";
    size_t count = 0;
    int32_t sentinel = 3;
    for (; *text; text++)
        if (strncmp(text, "<mask>", 6) == 0) {
            ids[count++] = sentinel++;
            text += 5;
        } else if (strchr(alphabet, *text)) {
            ids[count++] = 7 + (int32_t)(strchr(alphabet, *text) - alphabet);
        }
    return count;
}

static void assert_ids(const json_t *list, const int32_t *ids, size_t count)
{
    assert_int_equal(json_array_size(list), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(json_integer_value(json_array_get(list, i)), ids[i]);
}

static void assert_logprobs(const json_t *list, const dt_token_logprob *ours, size_t count)
{
    if (!json_is_array(list))
        return;
    assert_int_equal(json_array_size(list), count);
    for (size_t i = 0; i < count; i++) {
        double far = json_number_value(json_array_get(list, i)) - (double)ours[i].logprob;
        assert_true(far < close_enough && far > -close_enough);
    }
}

/* Megatron's T5 takes log-probabilities after the first step from position 0; those are not compared. */
static void check_run(dt_model *model, const json_t *run, bool t5)
{
    dt_error err = {0};
    static int32_t ids[8][64], encoder_ids[8][64];
    dt_prompt prompt[8] = {0};
    dt_generation *g;
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    const json_t *prompts = json_object_get(run, "prompts"), *params = json_object_get(run, "params");
    const json_t *sources = json_object_get(run, "encoder_prompts"),
                 *results = json_object_get(run, "results");
    size_t rows = json_array_size(prompts);
    assert_in_range(rows, 1, 8);
    for (size_t i = 0; i < rows; i++) {
        prompt[i].tokens = ids[i];
        prompt[i].count = tokenize(json_string_value(json_array_get(prompts, i)), ids[i]);
        if (t5) {
            prompt[i].decoder_tokens = ids[i];
            prompt[i].decoder_count = prompt[i].count;
            prompt[i].tokens = encoder_ids[i];
            prompt[i].count = tokenize(json_string_value(json_array_get(sources, i)), encoder_ids[i]);
        }
    }
    o.max_tokens = json_integer_value(json_object_get(params, "num_tokens_to_generate"));
    o.eos_count = 1;
    o.eos_ids = (int32_t[]){1};
    o.logprobs = 0;
    o.prompt_logprobs = true;
    assert_ok(dt_generate(&g, model, rows, prompt, &o, &err), err);
    for (size_t i = 0; i < rows; i++) {
        const dt_generated *row = dt_generation_row(g, i);
        const json_t *result = json_array_get(results, i);
        size_t start = t5 ? prompt[i].decoder_count : prompt[i].count;
        assert_ids(json_object_get(result, "prompt_tokens"), ids[i], start);
        assert_ids(json_object_get(result, "generated_tokens"), row->tokens, row->count);
        if (!t5) {
            assert_logprobs(json_object_get(result, "prompt_log_probs"), row->prompt_logprobs, start - 1);
            assert_logprobs(json_object_get(result, "generated_log_probs"), row->logprobs, row->count);
        }
    }
    dt_generation_destroy(g);
}

static void wrapper__generations_are_those_of_megatrons_static_engine(void **state)
{
    static const char *const folder_of[] = {"megatron/inference/gpt", "megatron/inference/t5"};
    for (int t5 = 0; t5 < 2; t5++) {
        const char *folder = fixture(folder_of[t5]), *name;
        need(folder);
        json_t *runs = json_load_file(in_folder(folder, "generations.json"), 0, NULL), *run;
        dt_model *model = open_model(folder, "reference", "f32", 1);
        int checked = 0;
        assert_non_null(runs);
        json_object_foreach(runs, name, run)
        {
            const json_t *params = json_object_get(run, "params");
            if (!json_object_get(run, "results") || json_object_get(params, "no_early_termination"))
                continue;
            check_run(model, run, t5);
            checked++;
        }
        assert_true(checked >= 3);
        json_decref(runs);
        dt_model_close(model);
    }
}

static void wrapper__vlm_greedy_is_the_static_engines(void **state)
{
    dt_error err = {0};
    const char *folder = fixture("megatron/inference/vlm");
    need(folder);
    seeing s = open_seeing(folder, false);
    json_t *told = json_load_file(in_folder(folder, "generations.json"), 0, NULL);
    const json_t *greedy = json_object_get(told, "greedy"), *ids = json_object_get(greedy, "prompt_tokens");
    int32_t prompt[64];
    size_t count = json_array_size(ids);
    for (size_t i = 0; i < count; i++)
        prompt[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    const dt_pixels picture = {.values = s.pixels, .tiles = 1, .height = 14, .width = 14, .overview = -1};
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    dt_generation *g;
    o.max_tokens = 8;
    o.ignore_eos = true;
    assert_ok(
        dt_generate(&g, s.w.model, 1,
                    &(dt_prompt){.tokens = prompt, .count = count, .pictures = &picture, .picture_count = 1},
                    &o, &err),
        err);
    assert_ids(json_object_get(greedy, "generated_tokens"), dt_generation_row(g, 0)->tokens,
               dt_generation_row(g, 0)->count);
    dt_generation_destroy(g);
    json_decref(told);
    close_seeing(&s);
}

/* ---- refusals ---- */

static void wrapper__misuse_is_refused(void **state)
{
    dt_error err = {0};
    const dt_wrapper_window *window;
    const dt_wrapper_input *input;
    const float *logits;
    dt_wrapper *other;
    int32_t bad[] = {5, 41};
    const char *folder = fixture("megatron/inference/gpt");
    need(folder);
    wrapped w = open_wrapped(folder, (dt_wrapper_config)DT_WRAPPER_CONFIG_DEFAULT, false);
    assert_fails(dt_wrapper_get_batch_for_context_window(w.wrapper, 3, 99, &window, &err), DT_INVALID, err,
                 "[3, 99)");
    assert_ok(dt_wrapper_get_batch_for_context_window(w.wrapper, 3, 4, &window, &err), err);
    assert_fails(dt_wrapper_run_one_forward_step(w.wrapper, window, &logits, &err), DT_INVALID, err,
                 "does not follow");
    assert_fails(dt_wrapper_prep_inference_input(w.wrapper, 9, 2, w.tokens, 0, NULL, &input, &err),
                 DT_INVALID, err, "inference_max_requests");
    assert_fails(dt_wrapper_prep_inference_input(w.wrapper, 1, 65, w.tokens, 0, NULL, &input, &err),
                 DT_INVALID, err, "65 tokens");
    assert_fails(dt_wrapper_prep_inference_input(w.wrapper, 1, 2, bad, 0, NULL, &input, &err), DT_INVALID,
                 err, "row 0: token 1 is id 41");
    assert_fails(dt_wrapper_prep_inference_input(w.wrapper, 1, 2, w.tokens, 2, w.tokens, &input, &err),
                 DT_INVALID, err, "no encoder tokens");
    dt_wrapper_config config = DT_WRAPPER_CONFIG_DEFAULT;
    config.hidden_size = 33;
    assert_fails(dt_wrapper_create(&other, w.model, &config, &err), DT_MISMATCH, err, "hidden_size");
    close_wrapped(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrapper__gpt_inputs_and_windows_are_megatrons),
        cmocka_unit_test(wrapper__gpt_steps_give_megatrons_logits),
        cmocka_unit_test(wrapper__micro_batches_change_no_bit),
        cmocka_unit_test(wrapper__the_whole_window_at_once_is_the_full_forward),
        cmocka_unit_test(wrapper__windows_have_the_frequencies_of_their_length),
        cmocka_unit_test(wrapper__t5_inputs_and_windows_are_megatrons),
        cmocka_unit_test(wrapper__t5_steps_give_megatrons_logits),
        cmocka_unit_test(wrapper__generations_are_those_of_megatrons_static_engine),
        cmocka_unit_test(wrapper__vlm_inputs_and_windows_are_megatrons),
        cmocka_unit_test(wrapper__vlm_steps_give_megatrons_logits),
        cmocka_unit_test(wrapper__vlm_greedy_is_the_static_engines),
        cmocka_unit_test(wrapper__vlm_rows_differ_in_pictures),
        cmocka_unit_test(wrapper__vlm_misuse_is_refused),
        cmocka_unit_test(wrapper__misuse_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
