/*
 * gguf_model_test.c - models to GGUF and back: not a bit of a weight moves where names only permute, and no more than
 * one unit in the last place of 1 where norms are stored with 1 added.
 */
#include "unit.h"

#include "base/gguf.h"
#include "base/json.h"
#include "base/map.h"
#include "base/output.h"

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
        "llama",       "llama-gqa",  "llama-linear", "gpt2",      "t5-medium",     "qwen2",   "qwen3",
        "gpt-bigcode", "mixtral",    "mistral",      "phi3",      "phi3-longrope", "olmo2",   "gpt-neox",
        "falcon-7b",   "falcon-40b", "falcon-11b",   "qwen2-moe", "qwen3-moe",     "gpt-oss", "starcoder2",
        "llama-yarn",  "t5-v1.0",    "t5-v1.1",      "mt5",       "umt5",          "byt5",    "t5-encoder"};
    static const dt_dtype types[] = {DT_F32, DT_F16, DT_BF16};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int t = 0; t < 3; t++)
            round_trip(*state, names[i], types[t], 0);
}

/* A fixture's BERT whose activation is what llama.cpp's has, with a pooling of its own. */
static const char *make_bert(const char *folder)
{
    static char made[4096];
    char source[4096], from[8192], to[8192];
    json_t *json = NULL;
    dt_error err = {0};
    if (!fixture(source, "bert-encoder"))
        return NULL;
    snprintf(made, sizeof made, "%s/bert", folder);
    snprintf(to, sizeof to, "%s/1_Pooling", made);
    assert_ok(dt_make_folder(made, &err), err);
    assert_ok(dt_make_folder(to, &err), err);
    snprintf(from, sizeof from, "%s/model.safetensors", source);
    snprintf(to, sizeof to, "%s/model.safetensors", made);
    assert_ok(dt_copy_file(from, to, &err), err);
    snprintf(from, sizeof from, "%s/config.json", source);
    snprintf(to, sizeof to, "%s/config.json", made);
    assert_ok(dt_json_load(&json, from, 1 << 20, &err), err);
    json_object_set_new(json, "hidden_act", json_string("gelu"));
    assert_ok(dt_json_save(json, to, &err), err);
    json_object_clear(json);
    json_object_set_new(json, "pooling_mode_cls_token", json_true());
    snprintf(to, sizeof to, "%s/1_Pooling/config.json", made);
    assert_ok(dt_json_save(json, to, &err), err);
    json_decref(json);
    return made;
}

static void gguf_model__bert_keeps_its_pooler_and_says_how_it_pools(void **state)
{
    const char *source = make_bert(*state);
    char path[4096];
    dt_error err = {0};
    dt_checkpoint *a, *b;
    dt_gguf *g;
    int64_t pooling = -1, types = -1;
    dt_export_options to = {.format = "gguf"};
    if (!source)
        skip();
    snprintf(path, sizeof path, "%s/bert.gguf", (const char *)*state);
    assert_ok(dt_checkpoint_open(&a, source, NULL, &err), err);
    assert_ok(dt_checkpoint_export(a, path, &to, NULL, &err), err);
    assert_ok(dt_checkpoint_open(&b, path, NULL, &err), err);
    assert_null(dt_config_difference(dt_checkpoint_config(a), dt_checkpoint_config(b)));
    assert_true(dt_checkpoint_config(b)->pooler);
    assert_same_weights(a, b, 0);
    assert_ok(dt_gguf_open(&g, path, &err), err);
    assert_ok(dt_gguf_int(g, "bert.pooling_type", &pooling, &err), err);
    assert_ok(dt_gguf_int(g, "tokenizer.ggml.token_type_count", &types, &err), err);
    assert_int_equal(pooling, 2);
    assert_int_equal(types, dt_checkpoint_config(a)->num_tokentypes);
    dt_gguf_close(g);
    dt_checkpoint_close(b);
    dt_checkpoint_close(a);
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
    } row[] = {{"falcon-rw", "position_embedding_type"},
               {"gemma2", "softmax_scale"},
               {"bart", "bart"},
               {"llama-dynamic", "rope_scaling_type"},
               {"bert", "x_no_lm_head"}};
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

/* A copy of a fixture in f32 whose first stored number is `value`. */
static const char *with_number(const char *folder, const char *name, float value)
{
    static char hf[4096];
    char source[4096], file[8192];
    dt_error err = {0};
    dt_checkpoint *c;
    dt_export_options to = {.format = "hf", .cast = true, .dtype = DT_F32};
    if (!fixture(source, name))
        return NULL;
    snprintf(hf, sizeof hf, "%s/large", folder);
    snprintf(file, sizeof file, "%s/model.safetensors", hf);
    assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
    assert_ok(dt_checkpoint_export(c, hf, &to, NULL, &err), err);
    dt_checkpoint_close(c);
    uint64_t header;
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    assert_int_equal(fread(&header, 8, 1, f), 1);
    assert_int_equal(fseek(f, (long)(8 + header), SEEK_SET), 0);
    assert_int_equal(fwrite(&value, 4, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    return hf;
}

static void gguf_model__values_beyond_f16_are_told_and_nothing_is_left(void **state)
{
    static const char *const formats[] = {"gguf", "hf", "megatron-dist", "megatron"};
    const char *source = with_number(*state, "llama", -131008);
    dt_error err = {0};
    dt_checkpoint *c;
    if (!source)
        skip();
    assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        char out[4096], story[DT_ERROR_TEXT_BYTES];
        dt_export_options to = {.format = formats[i], .cast = true, .dtype = DT_F16};
        snprintf(out, sizeof out, "%s/out-%s", (const char *)*state, formats[i]);
        assert_fails(dt_checkpoint_export(c, out, &to, NULL, &err), DT_UNSUPPORTED, err,
                     "1 values are larger than 65504, the largest 131008 (2 times");
        dt_error_format(&err, story, sizeof story);
        assert_non_null(strstr(story, "--dtype bf16"));
        assert_false(dt_is_file(out) || dt_is_folder(out));
        to.dtype = DT_BF16;
        assert_ok(dt_checkpoint_export(c, out, &to, NULL, &err), err);
    }
    dt_checkpoint_close(c);
}

/* What is infinite in the source is not this export's doing; the largest f16 fits. */
static void gguf_model__what_fits_f16_or_is_infinite_is_written(void **state)
{
    const float value[] = {65504, -INFINITY};
    for (int i = 0; i < 2; i++) {
        dt_error err = {0};
        dt_checkpoint *c;
        dt_export_options to = {.format = "gguf", .cast = true, .dtype = DT_F16, .replace = true};
        char out[4096];
        const char *source = with_number(*state, "llama", value[i]);
        if (!source)
            skip();
        snprintf(out, sizeof out, "%s/out", (const char *)*state);
        assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
        assert_ok(dt_checkpoint_export(c, out, &to, NULL, &err), err);
        dt_checkpoint_close(c);
        assert_ok(dt_remove_tree(source, &err), err);
    }
}

/* Rows are shared out; their bytes are the same. */
static void gguf_model__threads_change_no_byte(void **state)
{
    static const dt_dtype types[] = {DT_F16, DT_Q8_0, DT_Q4_K};
    char source[4096];
    if (!fixture(source, "llama-medium"))
        skip();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        dt_map map[2];
        for (int n = 0; n < 2; n++) {
            char path[4096];
            dt_error err = {0};
            dt_checkpoint *c;
            dt_export_options to = {
                .format = "gguf", .cast = true, .dtype = types[i], .replace = true, .threads = n ? 5 : 1};
            snprintf(path, sizeof path, "%s/%d.gguf", (const char *)*state, n);
            assert_ok(dt_checkpoint_open(&c, source, NULL, &err), err);
            assert_ok(dt_checkpoint_export(c, path, &to, NULL, &err), err);
            dt_checkpoint_close(c);
            assert_ok(dt_map_open(&map[n], path, &err), err);
        }
        assert_int_equal(map[0].size, map[1].size);
        assert_memory_equal(map[0].data, map[1].data, map[0].size);
        dt_map_close(&map[0]);
        dt_map_close(&map[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gguf_model__permuted_models_come_back_bit_for_bit, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__bert_keeps_its_pooler_and_says_how_it_pools, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__norms_with_one_added_come_back_within_an_ulp_of_one,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__quantised_models_stay_near, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__what_llama_cpp_lacks_is_refused_by_name, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__values_beyond_f16_are_told_and_nothing_is_left,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__what_fits_f16_or_is_infinite_is_written, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(gguf_model__threads_change_no_byte, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
