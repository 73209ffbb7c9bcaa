/*
 * Vectors of encoders: recorded hidden states are the truth, and a text's vector has the same bits in any company.
 */
#include "models.h"

#include <drivetrain/embed.h>

#include <math.h>

enum { MOST_TEXTS = 16 };

static char *make_temporary(char folder[4096])
{
    snprintf(folder, 4096, "/tmp/embed_test_XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* A recording's texts. */
typedef struct texts {
    tensors file;
    int64_t count, length, width;
    int32_t *tokens, *types, *lengths;
    float *hidden, *pooled; /* NULL where not recorded */
    dt_embed_input input[MOST_TEXTS];
} texts;

static void open_texts(texts *t, const char *folder, const char *prefix)
{
    char path[4200], name[64];
    int64_t dim[5], at[5];
    snprintf(path, sizeof path, "%s/recording.safetensors", folder);
    *t = (texts){.file = open_tensors(path)};
    snprintf(name, sizeof name, "in.%stokens", prefix);
    t->tokens = read_tensor(t->file, name, DT_I32, dim);
    t->count = dim[0];
    t->length = dim[1];
    snprintf(name, sizeof name, "in.%slengths", prefix);
    t->lengths = read_tensor(t->file, name, DT_I32, at);
    t->types = read_tensor(t->file, "in.token_types", DT_I32, at);
    t->pooled = read_tensor(t->file, "out.pooled", DT_F32, at);
    snprintf(name, sizeof name, "out.%shidden", prefix[0] ? "encoder." : "");
    t->hidden = read_tensor(t->file, name, DT_F32, dim);
    assert_non_null(t->hidden);
    t->width = dim[2];
    for (int64_t b = 0; b < t->count; b++)
        t->input[b] = (dt_embed_input){.tokens = t->tokens + b * t->length,
                                       .count = (size_t)t->lengths[b],
                                       .token_types = t->types ? t->types + b * t->length : NULL};
}

static void close_texts(texts *t)
{
    free(t->tokens);
    free(t->types);
    free(t->lengths);
    free(t->hidden);
    free(t->pooled);
    dt_stored_set_destroy(t->file.set);
}

static dt_embeddings *embed(dt_model *model, const dt_embed_input *input, size_t count, dt_embed_options o)
{
    dt_error err = {0};
    dt_embeddings *e;
    assert_ok(dt_embed(&e, model, count, input, &o, &err), err);
    return e;
}

static void assert_close(const float *ours, const float *truth, int64_t n)
{
    double far = 0, large = 0;
    for (int64_t i = 0; i < n; i++) {
        far = fmax(far, fabs((double)ours[i] - (double)truth[i]));
        large = fmax(large, fabs((double)truth[i]));
    }
    assert_true(far <= 5e-6 * (large + 1e-6)); /* recording.md's tolerance */
}

/* ---- against recordings ---- */

static void assert_recorded(const char *folder, const char *prefix)
{
    texts t;
    open_texts(&t, folder, prefix);
    dt_model *model = open_model(folder, "cpu", "f32", 2);
    dt_embeddings *hidden =
        embed(model, t.input, (size_t)t.count, (dt_embed_options){.pooling = DT_POOLING_NONE});
    dt_embeddings *first =
        embed(model, t.input, (size_t)t.count, (dt_embed_options){.pooling = DT_POOLING_CLS});
    dt_embeddings *mean = embed(model, t.input, (size_t)t.count, (dt_embed_options){.normalize = true});
    assert_int_equal(dt_embeddings_width(hidden), t.width);
    for (int64_t b = 0; b < t.count; b++) {
        const float *truth = t.hidden + b * t.length * t.width;
        float *expected = calloc((size_t)t.width, sizeof *expected);
        double length = 0;
        assert_int_equal(dt_embeddings_at(hidden, (size_t)b).rows, t.lengths[b]);
        assert_close(dt_embeddings_at(hidden, (size_t)b).values, truth, t.lengths[b] * t.width);
        assert_close(dt_embeddings_at(first, (size_t)b).values, truth, t.width);
        for (int64_t i = 0; i < t.lengths[b] * t.width; i++)
            expected[i % t.width] += truth[i] / (float)t.lengths[b];
        for (int64_t i = 0; i < t.width; i++)
            length += (double)expected[i] * (double)expected[i];
        for (int64_t i = 0; i < t.width; i++)
            expected[i] /= (float)sqrt(length);
        assert_close(dt_embeddings_at(mean, (size_t)b).values, expected, t.width);
        free(expected);
    }
    dt_embeddings_destroy(hidden);
    dt_embeddings_destroy(first);
    dt_embeddings_destroy(mean);
    dt_model_close(model);
    close_texts(&t);
}

static void embed__gives_the_recorded_states_and_their_mean(void **state)
{
    (void)state;
    const char *folder = fixture("hf/t5-encoder");
    need(folder);
    assert_recorded(folder, "");
}

static void embed__gives_berts_states_and_its_pooler(void **state)
{
    static const char *const name[] = {"hf/bert", "hf/bert-encoder", "hf/roberta", "megatron/bert"};
    (void)state;
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        const char *folder = fixture(name[i]);
        texts t;
        need(folder);
        assert_recorded(folder, "");
        open_texts(&t, folder, "");
        dt_model *model = open_model(folder, "cpu", "f32", 2);
        dt_embed_options o = {.pooling = DT_POOLING_POOLER, .max_batch = 8};
        if (t.pooled) {
            dt_embeddings *e = embed(model, t.input, (size_t)t.count, o);
            for (int64_t b = 0; b < t.count; b++)
                assert_close(dt_embeddings_at(e, (size_t)b).values, t.pooled + b * t.width, t.width);
            dt_embeddings_destroy(e);
        }
        dt_model_close(model);
        close_texts(&t);
    }
}

static void embed__takes_the_encoder_of_a_whole_t5(void **state)
{
    (void)state;
    const char *folder = fixture("hf/t5-v1.1");
    need(folder);
    assert_recorded(folder, "encoder_");
}

/* ---- same bits ---- */

static void assert_same_bits_in_any_company(const char *folder, const char *prefix, dt_pooling pooling)
{
    texts t;
    open_texts(&t, folder, prefix);
    for (int threads = 1; threads <= 2; threads++) {
        dt_model *model = open_model(folder, "cpu", "f32", threads),
                 *one = open_model(folder, "cpu", "f32", 1);
        for (int64_t batch = 0; batch <= 32; batch += 8) {
            dt_embed_options o = {.pooling = pooling, .max_batch = batch};
            dt_embeddings *all = embed(model, t.input, (size_t)t.count, o);
            for (int64_t b = 0; b < t.count; b++) {
                dt_embeddings *alone = embed(one, &t.input[b], 1, (dt_embed_options){.pooling = pooling});
                dt_embedded x = dt_embeddings_at(all, (size_t)b), y = dt_embeddings_at(alone, 0);
                assert_int_equal(x.rows, y.rows);
                assert_memory_equal(x.values, y.values, (size_t)(x.rows * t.width) * sizeof(float));
                dt_embeddings_destroy(alone);
            }
            dt_embeddings_destroy(all);
        }
        dt_model_close(model);
        dt_model_close(one);
    }
    close_texts(&t);
}

static void embed__bits_do_not_depend_on_the_company(void **state)
{
    (void)state;
    const char *folder = fixture("hf/t5-encoder");
    need(folder);
    assert_same_bits_in_any_company(folder, "", DT_POOLING_MEAN);
    assert_same_bits_in_any_company(folder, "", DT_POOLING_NONE);
    need(fixture("hf/bert"));
    assert_same_bits_in_any_company(fixture("hf/bert"), "", DT_POOLING_POOLER);
    assert_same_bits_in_any_company(fixture("hf/roberta"), "", DT_POOLING_MEAN);
}

/* ---- refusals ---- */

static void assert_refused(dt_model *model, dt_embed_input input, dt_embed_options o, const char *words)
{
    dt_error err = {0};
    dt_embeddings *e;
    char text[DT_ERROR_TEXT_BYTES];
    assert_int_not_equal(dt_embed(&e, model, 1, &input, &o, &err), DT_OK);
    assert_null(e);
    dt_error_format(&err, text, sizeof text);
    assert_non_null(strstr(text, words));
}

static void embed__refuses_by_name(void **state)
{
    (void)state;
    const char *folder = fixture("hf/t5-encoder"), *gpt = fixture("hf/gpt2");
    const int32_t good[] = {3, 4, 1}, bad[] = {3, 128};
    need(folder);
    need(gpt);
    dt_model *model = open_model(folder, "cpu", "f32", 1), *other = open_model(gpt, "cpu", "f32", 1);
    dt_embed_options mean = DT_EMBED_OPTIONS_DEFAULT;
    assert_refused(model, (dt_embed_input){.tokens = good}, mean, "text 0 is empty");
    assert_refused(model, (dt_embed_input){.tokens = bad, .count = 2}, mean,
                   "text 0: token 1 has id 128, but the model has 128");
    assert_refused(model, (dt_embed_input){.tokens = good, .count = 3},
                   (dt_embed_options){.pooling = DT_POOLING_POOLER}, "pooler");
    assert_refused(other, (dt_embed_input){.tokens = good, .count = 3}, mean, "has no encoder");
    dt_model_close(model);
    dt_model_close(other);
}

/* modules.json and 1_Pooling/config.json beside a model: obeyed, or refused by name. */
static void embed__obeys_sentence_transformers_files(void **state)
{
    static const char *const begin =
        "[{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"\"},"
        "{\"type\":\"sentence_transformers.models.Pooling\",\"path\":\"1_Pooling\"}";
    static const struct {
        const char *rest, *pooling, *refused;
        dt_pooling kind;
        bool normalize;
    } cases[] = {
        {"]", "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}", NULL, DT_POOLING_CLS,
         false},
        {",{\"type\":\"a.Normalize\"}]", "{\"pooling_mode_mean_tokens\":true}", NULL, DT_POOLING_MEAN, true},
        {"]", "{\"pooling_mode_max_tokens\":true}", "pooling_mode_max_tokens", 0, false},
        {"]", "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":true}", "join", 0, false},
        {"]", "{}", "pooling_mode_", 0, false},
        {",{\"type\":\"a.Dense\"}]", "{\"pooling_mode_mean_tokens\":true}", "Dense", 0, false},
        {",{\"type\":\"a.Pooling\",\"path\":\"../x\"}]", "{\"pooling_mode_mean_tokens\":true}",
         "no folder's name", 0, false},
    };
    char folder[4096], path[4200], text[DT_ERROR_TEXT_BYTES], *made = make_temporary(folder);
    const char *model_folder = fixture("hf/bert");
    (void)state;
    need(model_folder);
    snprintf(path, sizeof path, "cp %s/config.json %s/model.safetensors %s && mkdir %s/1_Pooling",
             model_folder, model_folder, made, made);
    assert_int_equal(system(path), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dt_error err = {0};
        dt_embed_options o;
        snprintf(text, sizeof text, "%s%s", begin, cases[i].rest);
        write_text(made, "modules.json", text);
        write_text(made, "1_Pooling/config.json", cases[i].pooling);
        dt_model *model = open_model(made, "cpu", "f32", 1);
        dt_status status = dt_embed_options_of(model, &o, &err);
        dt_error_format(&err, text, sizeof text);
        if (cases[i].refused) {
            assert_int_not_equal(status, DT_OK);
            assert_non_null(strstr(text, cases[i].refused));
        } else {
            assert_ok(status, err);
            assert_int_equal(o.pooling, cases[i].kind);
            assert_int_equal(o.normalize, cases[i].normalize);
        }
        dt_model_close(model);
    }
    snprintf(path, sizeof path, "rm -r %s", made);
    assert_int_equal(system(path), 0);
}

static void embed__nothing_gives_nothing(void **state)
{
    (void)state;
    const char *folder = fixture("hf/t5-encoder");
    need(folder);
    dt_model *model = open_model(folder, "cpu", "f32", 1);
    dt_embeddings *e = embed(model, NULL, 0, (dt_embed_options)DT_EMBED_OPTIONS_DEFAULT);
    assert_null(dt_embeddings_at(e, 0).values);
    dt_embeddings_destroy(e);
    dt_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embed__gives_the_recorded_states_and_their_mean),
        cmocka_unit_test(embed__gives_berts_states_and_its_pooler),
        cmocka_unit_test(embed__takes_the_encoder_of_a_whole_t5),
        cmocka_unit_test(embed__bits_do_not_depend_on_the_company),
        cmocka_unit_test(embed__refuses_by_name),
        cmocka_unit_test(embed__obeys_sentence_transformers_files),
        cmocka_unit_test(embed__nothing_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
