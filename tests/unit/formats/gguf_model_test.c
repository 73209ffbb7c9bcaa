/*
 * gguf_model_test.c - models to GGUF and back: not a bit of a weight moves where names only permute, and no more than
 * one unit in the last place of 1 where norms are stored with 1 added.
 */
#include "unit.h"

#include <drivetrain/checkpoint.h>

#include <math.h>

static const char *fixture(char path[4096], const char *name)
{
    const char *root = getenv("DT_FIXTURES");
    snprintf(path, 4096, "%s/hf/%s", root ? root : "", name);
    return dt_is_folder(path) ? path : NULL;
}

/* Every canonical tensor of a is in b, within `allowed`. */
static void assert_same_weights(const dt_checkpoint *a, const dt_checkpoint *b, float allowed)
{
    dt_checkpoint_tensor t;
    dt_error err = {0};
    int compared = 0;
    for (int i = 0; dt_checkpoint_tensor_at(a, i, &t); i++) {
        int rank;
        int64_t dim[5];
        if (!t.canonical)
            continue;
        assert_ok(dt_checkpoint_shape(a, t.canonical, &rank, dim, NULL, &err), err);
        size_t n = (size_t)dim[0] * (size_t)(rank > 1 ? dim[1] : 1);
        float *x = malloc(n * 4), *y = malloc(n * 4);
        assert_true(x && y);
        assert_ok(dt_checkpoint_read(a, t.canonical, 0, dim[0], DT_F32, x, &err), err);
        assert_ok(dt_checkpoint_read(b, t.canonical, 0, dim[0], DT_F32, y, &err), err);
        bool norm = strstr(t.canonical, "norm") != NULL;
        for (size_t k = 0; k < n; k++)
            if (norm ? !(fabsf(x[k] - y[k]) <= allowed) : memcmp(&x[k], &y[k], 4) != 0)
                fail_msg("%s: element %zu is %.9g, was %.9g", t.canonical, k, (double)y[k], (double)x[k]);
        free(x);
        free(y);
        compared++;
    }
    assert_true(compared > 5);
}

static void round_trip(const char *folder, const char *name, dt_dtype dtype, float allowed)
{
    char source[4096], gguf[4096], hf[4096];
    dt_error err = {0};
    dt_checkpoint *a, *b, *c;
    dt_export_options to = {.format = "gguf", .cast = true, .dtype = dtype, .replace = true};
    if (!fixture(source, name))
        skip();
    snprintf(gguf, sizeof gguf, "%s/%s.gguf", folder, name);
    snprintf(hf, sizeof hf, "%s/%s-%s", folder, name, dt_dtype_name(dtype));
    dt_export_options start = {.format = "hf", .cast = true, .dtype = dtype, .replace = true};
    assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
    assert_ok(dt_checkpoint_export(c, hf, &start, NULL, &err), err);
    dt_checkpoint_close(c);
    assert_ok(dt_checkpoint_open(&a, hf, NULL, &err), err);
    assert_ok(dt_checkpoint_export(a, gguf, &to, NULL, &err), err);
    assert_ok(dt_checkpoint_open(&b, gguf, NULL, &err), err);
    const char *difference = dt_config_difference(dt_checkpoint_config(a), dt_checkpoint_config(b));
    if (difference)
        fail_msg("%s: \"%s\" does not come back", name, difference);
    assert_same_weights(a, b, allowed);
    snprintf(hf, sizeof hf, "%s/%s-back", folder, name);
    start.dtype = dtype;
    assert_ok(dt_checkpoint_export(b, hf, &start, NULL, &err), err);
    assert_ok(dt_checkpoint_open(&c, hf, NULL, &err), err);
    assert_same_weights(a, c, allowed);
    dt_checkpoint_close(c);
    dt_checkpoint_close(b);
    dt_checkpoint_close(a);
}

static void gguf_model__permuted_models_come_back_bit_for_bit(void **state)
{
    static const char *const names[] = {
        "llama",     "llama-gqa",   "llama-linear", "gpt2",       "t5-medium",  "qwen2",
        "qwen3",     "gpt-bigcode", "mixtral",      "mistral",    "phi3",       "phi3-longrope",
        "olmo2",     "gpt-neox",    "falcon-7b",    "falcon-40b", "falcon-11b", "qwen2-moe",
        "qwen3-moe", "gpt-oss",     "starcoder2",   "llama-yarn"};
    static const dt_dtype types[] = {DT_F32, DT_F16, DT_BF16};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int t = 0; t < 3; t++)
            round_trip(*state, names[i], types[t], 0);
}

static void gguf_model__norms_with_one_added_come_back_within_an_ulp_of_one(void **state)
{
    round_trip(*state, "gemma", DT_F32, 1.2e-7f);
    round_trip(*state, "nemotron", DT_F32, 1.2e-7f);
}

static void gguf_model__quantised_models_stay_near(void **state)
{
    static const struct {
        dt_dtype dtype;
        double part; /* root mean square error against that of the weights */
    } row[] = {{DT_Q8_0, 0.006}, {DT_Q5_1, 0.04}, {DT_Q5_0, 0.05},
               {DT_Q4_1, 0.09},  {DT_Q4_0, 0.11}, {DT_MXFP4, 0.15}};
    char source[4096], gguf[4096];
    if (!fixture(source, "llama-medium"))
        skip();
    for (size_t r = 0; r < sizeof row / sizeof row[0]; r++) {
        dt_error err = {0};
        dt_checkpoint *a, *b;
        dt_export_options to = {.format = "gguf", .cast = true, .dtype = row[r].dtype, .replace = true};
        snprintf(gguf, sizeof gguf, "%s/model.gguf", (const char *)*state);
        assert_ok(dt_checkpoint_open(&a, source, NULL, &err), err);
        assert_ok(dt_checkpoint_export(a, gguf, &to, NULL, &err), err);
        assert_ok(dt_checkpoint_open(&b, gguf, NULL, &err), err);
        const char *name = "decoder.layers.0.mlp.linear_fc2.weight";
        int64_t dim[5];
        assert_ok(dt_checkpoint_shape(a, name, NULL, dim, NULL, &err), err);
        size_t n = (size_t)(dim[0] * dim[1]);
        float *x = malloc(n * 4), *y = malloc(n * 4);
        assert_true(x && y);
        assert_ok(dt_checkpoint_read(a, name, 0, dim[0], DT_F32, x, &err), err);
        assert_ok(dt_checkpoint_read(b, name, 0, dim[0], DT_F32, y, &err), err);
        double squares = 0, errors = 0;
        for (size_t k = 0; k < n; k++) {
            squares += (double)x[k] * (double)x[k];
            errors += (double)(x[k] - y[k]) * (double)(x[k] - y[k]);
        }
        if (!(sqrt(errors / squares) <= row[r].part))
            fail_msg("%s is off by %g", dt_dtype_name(row[r].dtype), sqrt(errors / squares));
        free(x);
        free(y);
        dt_checkpoint_close(b);
        dt_checkpoint_close(a);
    }
}

static void gguf_model__what_llama_cpp_lacks_is_refused_by_name(void **state)
{
    static const struct {
        const char *name, *key;
    } row[] = {{"t5-v1.0", "relative_attention_max_distance"},
               {"falcon-rw", "position_embedding_type"},
               {"gemma2", "softmax_scale"},
               {"bart", "bart"}};
    int seen = 0;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char source[4096], gguf[4096];
        dt_error err = {0};
        dt_checkpoint *a;
        dt_export_options to = {.format = "gguf"};
        if (!fixture(source, row[i].name))
            continue;
        snprintf(gguf, sizeof gguf, "%s/model.gguf", (const char *)*state);
        assert_ok(dt_checkpoint_open(&a, source, NULL, &err), err);
        assert_fails(dt_checkpoint_export(a, gguf, &to, NULL, &err), DT_UNSUPPORTED, err, row[i].key);
        assert_false(dt_is_file(gguf));
        dt_checkpoint_close(a);
        seen++;
    }
    if (!seen)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gguf_model__permuted_models_come_back_bit_for_bit, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__norms_with_one_added_come_back_within_an_ulp_of_one,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__quantised_models_stay_near, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__what_llama_cpp_lacks_is_refused_by_name, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
