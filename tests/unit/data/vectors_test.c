/*
 * vectors_test.c - ids and texts recorded from the reference implementations: a subset on every clone, all of them
 * where the shared fixtures are.
 */
#include "tokenizers.h"

static const char *from_environment(const char *variable, const char *name)
{
    static char path[4][4096];
    static int turn;
    char *out = path[turn++ % 4];
    const char *folder = getenv(variable);
    snprintf(out, sizeof path[0], "%s/%s", folder ? folder : "", name);
    return folder ? out : NULL;
}

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, JSON_ALLOW_NUL, &error); /* texts hold NULs, which dt_json refuses */
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

static const char *list(const json_t *ids)
{
    static char shown[4][8192];
    static int turn;
    char *out = shown[turn++ % 4];
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < json_array_size(ids); i++)
        at += (size_t)snprintf(out + at, sizeof shown[0] - at, "%s%d", i ? " " : "",
                               (int)json_integer_value(json_array_get(ids, i)));
    return out;
}

static void check_text(const dt_tokenizer *t, const json_t *text, const json_t *ids, const json_t *special,
                       const json_t *shown)
{
    const char *data = json_string_value(text);
    size_t bytes = json_string_length(text), count = json_array_size(ids), out_bytes;
    int32_t id[4096];
    assert_true(count < 4096);
    assert_string_equal(ids_of(t, data, bytes, (dt_encode_options){.no_special = true}), list(ids));
    if (special)
        assert_string_equal(ids_of(t, data, bytes, (dt_encode_options){0}), list(special));
    for (size_t i = 0; i < count; i++)
        id[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    char *out = decoded(t, id, count, false, &out_bytes);
    assert_int_equal(out_bytes, json_string_length(shown));
    assert_memory_equal(out, json_string_value(shown), out_bytes);
    dt_free(out);
}

static void check_vectors(const char *tokenizer, const char *vectors)
{
    dt_error err = {0};
    dt_tokenizer *t;
    json_t *json = load(vectors), *item;
    size_t i;
    assert_ok(dt_tokenizer_open(&t, tokenizer, &err), err);
    json_array_foreach(json_object_get(json, "cases"), i, item)
        check_text(t, json_object_get(item, "text"), json_object_get(item, "ids"),
                   json_object_get(item, "special"), json_object_get(item, "decoded"));
    assert_true(i > 50);
    dt_tokenizer_close(t);
    json_decref(json);
}

static void vectors__every_component_does_as_tokenizers_does(void **state)
{
    json_t *json = load(from_environment("DT_GOLDEN", "tokenizers/components.json")), *item, *text;
    size_t i, k;
    json_array_foreach(json_object_get(json, "cases"), i, item)
    {
        dt_error err = {0};
        dt_tokenizer *t = dt_tokenizer_blank();
        assert_ok(dt_tokenizer_read_json(t, json_object_get(item, "document"), &err), err);
        assert_ok(dt_added_finish(t, &err), err);
        json_array_foreach(json_object_get(json, "texts"), k, text)
        {
            const json_t *result = json_array_get(json_object_get(item, "results"), k);
            check_text(t, text, json_array_get(result, 0), json_array_get(result, 1),
                       json_array_get(result, 2));
        }
        dt_tokenizer_close(t);
    }
    assert_true(i > 40);
    json_decref(json);
}

static void vectors__sentencepiece_models_in_the_clone(void **state)
{
    check_vectors(from_environment("DT_GOLDEN", "tokenizers/seqio_test.model"),
                  from_environment("DT_GOLDEN", "tokenizers/spm-seqio.json"));
    check_vectors(from_environment("DT_GOLDEN", "tokenizers/test_model.model"),
                  from_environment("DT_GOLDEN", "tokenizers/spm-test.json"));
}

static void vectors__all_recorded_tokenizers(void **state)
{
    static const char *const rows[][2] = {
        {"gpt2", "gpt2"},
        {"roberta", "roberta/tokenizer.json"},
        {"llama2-hf", "llama2/tokenizer.repaired.json"},
        {"llama2-spm", "llama2/tokenizer.model"},
        {"t5-hf", "t5/tokenizer.json"},
        {"t5-spm", "t5/spiece.model"},
        {"bert-uncased", "bert/bert-base-uncased-vocab.txt"},
        {"bert-cased", "bert/bert-base-cased-vocab.txt"},
        {"clip", "clip/tokenizer.json"},
        {"spm-test", "sentencepiece/test_model.model"},
        {"spm-ja", "sentencepiece/test_ja_model.model"},
        {"spm-seqio", "sentencepiece/seqio_test.model"},
    };
    const char *fixtures = from_environment("DT_FIXTURES", "tokenizers"),
               *data = from_environment("DT_DATA", "tokenizers");
    if (!fixtures || !data || !dt_is_folder(fixtures) || !dt_is_folder(data))
        skip();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64], tokenizer[4096], vectors[4096];
        snprintf(name, sizeof name, "%s.json", rows[i][0]);
        check_vectors(joined(tokenizer, data, rows[i][1]), joined(vectors, fixtures, name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors__every_component_does_as_tokenizers_does),
        cmocka_unit_test(vectors__sentencepiece_models_in_the_clone),
        cmocka_unit_test(vectors__all_recorded_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
