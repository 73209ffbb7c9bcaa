/*
 * classify_test.c - a trained ViT of vit-pytorch classifies MNIST's test digits as its makers published: 9721 of 10 000;
 * a picture keeps its bits in any company; what cannot be classified is refused by name.
 *
 * The logits of the first digit come from a computation in NumPy that is independent of this project.
 */
#include "unit.h"

#include "../../examples/vit-mnist/digits.h"

#include <drivetrain/classify.h>
#include <drivetrain/image.h>

#include <math.h>

#define MODEL  "examples/vit-mnist/vit_mnist_gpu.pt"
#define DIGITS "examples/vit-mnist/mnist"

enum { CLASSES = 10, SIDE = 28 };

static const float first_logits[CLASSES] = {-3.0184f, -0.0744f, 1.4037f,  -0.9799f, -0.8194f,
                                            -2.9901f, -8.4885f, 12.2899f, -4.2239f, 1.6769f};

static dt_model *open_model(const char *path, const char *backend)
{
    dt_error err = {0};
    dt_model *model = NULL;
    dt_model_options o = {.backend = backend, .threads = 1};
    assert_ok(dt_model_open(&model, path, &o, &err), err);
    return model;
}

/* The example's digits and their planes; skips where a packager has taken them out. */
static const float *digits_of(digits *d)
{
    if (access(MODEL, R_OK) != 0 || access(DIGITS "/t10k-images-idx3-ubyte.gz", R_OK) != 0)
        skip();
    assert_true(digits_read(d, DIGITS));
    assert_int_equal(d->height, SIDE);
    assert_int_equal(d->width, SIDE);
    return digits_planes(d);
}

static void classify_digits(dt_model *model, const float *planes, int64_t count, int64_t max_batch,
                            float *logits)
{
    dt_error err = {0};
    dt_classify_options o = {.max_batch = max_batch};
    dt_classify_input *in = calloc((size_t)count, sizeof *in);
    for (int64_t i = 0; i < count; i++)
        in[i] = (dt_classify_input){planes + i * SIDE * SIDE, SIDE, SIDE};
    assert_ok(dt_classify(model, (size_t)count, in, &o, logits, (size_t)(count * CLASSES), &err), err);
    free(in);
}

static void classify__the_first_digit_has_its_known_logits(void **state)
{
    digits d;
    const float *planes = digits_of(&d);
    for (int backend = 0; backend < 2; backend++) {
        float logits[CLASSES];
        dt_model *model = open_model(MODEL, backend ? "reference" : "cpu");
        classify_digits(model, planes, 1, 0, logits);
        for (int i = 0; i < CLASSES; i++)
            assert_true(fabsf(logits[i] - first_logits[i]) < 1e-4f); /* they are told to four places */
        dt_model_close(model);
    }
    free((void *)(uintptr_t)planes);
    digits_free(&d);
}

static void classify__ten_thousand_digits_are_read_as_published(void **state)
{
    digits d;
    const float *planes = digits_of(&d);
    dt_model *model = open_model(MODEL, "cpu");
    float *logits = calloc((size_t)d.count * CLASSES, sizeof *logits);
    int right = 0;
    assert_int_equal(d.count, 10000);
    classify_digits(model, planes, d.count, 0, logits);
    for (int64_t i = 0; i < d.count; i++) {
        int best = 0;
        for (int k = 1; k < CLASSES; k++)
            best = logits[i * CLASSES + k] > logits[i * CLASSES + best] ? k : best;
        right += best == d.label[i];
    }
    assert_int_equal(right, 9721);
    free(logits);
    free((void *)(uintptr_t)planes);
    digits_free(&d);
    dt_model_close(model);
}

static void classify__a_picture_has_the_same_bits_in_any_company(void **state)
{
    enum { COUNT = 23 };
    digits d;
    float alone[COUNT * CLASSES], together[COUNT * CLASSES];
    const float *planes = digits_of(&d);
    dt_model *model = open_model(MODEL, "cpu");
    classify_digits(model, planes, COUNT, 1, alone); /* a budget of one row: a picture a step */
    const int64_t budget[] = {0, 100, 349};
    for (size_t i = 0; i < sizeof budget / sizeof *budget; i++) {
        memset(together, 0, sizeof together);
        classify_digits(model, planes, COUNT, budget[i], together);
        assert_memory_equal(alone, together, sizeof alone);
    }
    dt_model_close(model);
    free((void *)(uintptr_t)planes);
    digits_free(&d);
}

static void classify__what_cannot_be_is_refused_by_name(void **state)
{
    dt_error err = {0};
    float plane[SIDE * SIDE] = {0}, logits[2 * CLASSES];
    dt_model *model = open_model(MODEL, "cpu"), *words = open_model("examples/t5-g2p", "cpu");
    const dt_classify_input fits = {plane, SIDE, SIDE}, small = {plane, 24, SIDE}, none = {NULL, SIDE, SIDE};
    assert_fails(dt_classify(model, 1, &fits, NULL, logits, 9, &err), DT_INVALID, err, "room for 9 logits");
    assert_fails(dt_classify(model, 1, &none, NULL, logits, CLASSES, &err), DT_INVALID, err, "picture 0");
    assert_fails(dt_classify(model, 1, &small, NULL, logits, CLASSES, &err), DT_MISMATCH, err,
                 "28 x 28 only");
    assert_fails(dt_classify(words, 1, &fits, NULL, logits, CLASSES, &err), DT_UNSUPPORTED, err,
                 "no classes");
    assert_ok(dt_classify(model, 0, NULL, NULL, NULL, 0, &err), err);
    dt_model_close(model);
    dt_model_close(words);
}

/* Names are config.json's; probabilities a softmax, or of each class by itself where several may hold. */
static void classify__classes_are_named_by_the_configuration(void **state)
{
    const char *fixtures = getenv("DT_FIXTURES"), *several = *state;
    char path[4096], to[4096], weights[4096], moved[4096];
    const float logits[3] = {1, 2, 3};
    float p[3];
    dt_error err = {0};
    dt_classes *classes;
    snprintf(path, sizeof path, "%s/hf/vit", fixtures ? fixtures : "?");
    if (access(path, R_OK) != 0)
        skip();
    dt_model *model = open_model(path, "cpu");
    assert_ok(dt_classes_of(&classes, model, &err), err);
    assert_string_equal(dt_classes_name(classes, 4), "LABEL_4");
    assert_null(dt_classes_name(classes, 4000));
    assert_true(dt_classes_exclude(classes));
    dt_classes_probabilities(classes, logits, 3, p);
    assert_true(fabsf(p[0] - 0.0900306f) < 1e-6f && fabsf(p[2] - 0.6652410f) < 1e-6f);
    dt_classes_close(classes);
    dt_model_close(model);
    snprintf(to, sizeof to, "%s/config.json", several);
    snprintf(path, sizeof path, "%s/hf/vit/config.json", fixtures);
    FILE *in = fopen(path, "r"), *out = fopen(to, "w");
    assert_true(in && out);
    fputs("{\"problem_type\": \"multi_label_classification\",", out);
    for (int c = fgetc(in), first = 1; c != EOF; c = fgetc(in), first = 0)
        if (!first)
            fputc(c, out);
    fclose(in), fclose(out);
    snprintf(weights, sizeof weights, "%s/hf/vit/model.safetensors", fixtures);
    snprintf(moved, sizeof moved, "%s/model.safetensors", several);
    assert_ok(dt_copy_file(weights, moved, &err), err);
    model = open_model(several, "cpu");
    assert_ok(dt_classes_of(&classes, model, &err), err);
    assert_false(dt_classes_exclude(classes));
    dt_classes_probabilities(classes, logits, 3, p);
    assert_true(fabsf(p[0] - 0.7310586f) < 1e-6f && fabsf(p[2] - 0.9525741f) < 1e-6f);
    dt_classes_close(classes);
    dt_model_close(model);
}

/* ---- the format: what shapes do not tell ---- */

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void classify__heads_must_be_told_and_fit(void **state)
{
    static const struct {
        const char *json, *words;
        dt_status status;
    } wrong[] = {{"{}", "num_attention_heads", DT_MISMATCH},
                 {"{\"num_attention_heads\": 7}", "q has 256", DT_MISMATCH},
                 {"{\"num_attention_heads\": 4, \"activation_func\": \"sine\"}", "sine", DT_UNSUPPORTED},
                 {"{\"num_attention_heads\": 4, \"heads\": 4}", "heads", DT_UNSUPPORTED},
                 {"{\"num_attention_heads\": 4, \"img_h\": 32}", "pos_embedding", DT_MISMATCH}};
    char model[4096], config[4096];
    dt_error err = {0};
    dt_checkpoint *c = NULL;
    snprintf(model, sizeof model, "%s/model.pt", (char *)*state);
    snprintf(config, sizeof config, "%s/config.json", (char *)*state);
    assert_ok(dt_copy_file(MODEL, model, &err), err);
    assert_fails(dt_checkpoint_open(&c, model, NULL, &err), DT_NOT_FOUND, err, "model.json");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text(*state, "config.json", wrong[i].json);
        assert_fails(dt_checkpoint_open(&c, model, &(dt_open_options){.config = config}, &err),
                     wrong[i].status, err, wrong[i].words);
    }
    write_text(*state, "model.json", "{\"num_attention_heads\": 4}");
    assert_ok(dt_checkpoint_open(&c, model, NULL, &err), err);
    assert_int_equal(dt_checkpoint_config(c)->activation_func, DT_ACT_GELU); /* vit-pytorch's own */
    assert_int_equal(dt_checkpoint_config(c)->kv_channels, 64);
    dt_checkpoint_close(c);
}

/* Right answers among the first `count` digits of class 0 to 2, by a model of three classes. */
static int right_of_three(dt_model *model, const digits *d, const float *planes, int count)
{
    dt_error err = {0};
    int right = 0;
    for (int64_t i = 0, taken = 0; taken < count && i < d->count; i++) {
        float l[3];
        if (d->label[i] > 2)
            continue;
        const dt_classify_input in = {planes + i * SIDE * SIDE, SIDE, SIDE};
        assert_ok(dt_classify(model, 1, &in, NULL, l, 3, &err), err);
        int best = l[1] > l[0] ? 1 : 0;
        right += (l[2] > l[best] ? 2 : best) == d->label[i];
        taken++;
    }
    return right;
}

/* Other sizes of the layout: patches of 7, heads of 16 and of 1. The shares are those of the data's own description. */
static void classify__models_of_other_sizes_read_as_published(void **state)
{
    static const struct {
        const char *name;
        int right; /* of a thousand */
    } models[] = {{"vit_mnist_3class.pt", 993}, {"vit_455_mlp.pt", 983}};
    digits d;
    const char *data = getenv("DT_DATA");
    const float *planes = digits_of(&d);
    write_text(*state, "config.json", "{\"num_attention_heads\": 4, \"activation_func\": \"relu\"}");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[4096], config[4096];
        dt_error err = {0};
        dt_model *model = NULL;
        snprintf(path, sizeof path, "%s/checkpoints/vit-mnist/%s", data ? data : "?", models[i].name);
        snprintf(config, sizeof config, "%s/config.json", (char *)*state);
        if (access(path, R_OK) != 0)
            skip();
        dt_model_options o = {.threads = 1, .open.config = config};
        assert_ok(dt_model_open(&model, path, &o, &err), err);
        assert_int_equal(right_of_three(model, &d, planes, 1000), models[i].right);
        dt_model_close(model);
    }
    free((void *)(uintptr_t)planes);
    digits_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classify__the_first_digit_has_its_known_logits),
        cmocka_unit_test(classify__ten_thousand_digits_are_read_as_published),
        cmocka_unit_test(classify__a_picture_has_the_same_bits_in_any_company),
        cmocka_unit_test(classify__what_cannot_be_is_refused_by_name),
        cmocka_unit_test_setup_teardown(classify__classes_are_named_by_the_configuration, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(classify__heads_must_be_told_and_fit, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(classify__models_of_other_sizes_read_as_published, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
