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

static char *read_whole(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 22);
    if (!file || !text)
        fail_msg("%s: cannot be read", path);
    *bytes = fread(text, 1, (1 << 22) - 1, file);
    fclose(file);
    return text;
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
        {"cl100k", "tiktoken/cl100k_base.tiktoken"},
        {"llama3", "llama3/tokenizer.model"},
        {"gpt2", "gpt2/gpt2.tiktoken"},
        {"gpt2", "../gguf/ggml-vocab-gpt-2.gguf"},
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

/* llama.cpp's: texts separated by a line, ids a line; only what `tokenizer` itself is needed for. */
static void check_llama_cpp(const char *tokenizer, const char *folder, const char *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    dt_error err = {0};
    dt_tokenizer *t;
    char path[4200], *line = NULL;
    size_t capacity = 0, bytes;
    snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf.inp", folder, name);
    char *all = read_whole(path, &bytes), *text = all;
    snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf.out", folder, name);
    FILE *out = fopen(path, "r");
    assert_non_null(out);
    assert_ok(dt_tokenizer_open(&t, tokenizer, &err), err);
    int count = 0;
    for (;; count++) {
        char *end = strstr(text, separator);
        size_t length = end ? (size_t)(end - text) : strlen(text);
        bool ended = getline(&line, &capacity, out) < 0;
        assert_true(!ended || (length == 0 && !end)); /* the last text is empty, and so is its line */
        static char nothing[1];
        char *want = ended ? nothing : line + strspn(line, " ");
        for (size_t at = strlen(want); at > 0 && strchr(" \n", want[at - 1]); at--)
            want[at - 1] = 0;
        assert_string_equal(ids_of(t, text, length, (dt_encode_options){.no_special = true}), want);
        if (!end)
            break;
        text = end + sizeof separator - 1;
    }
    assert_true(count > 40);
    dt_tokenizer_close(t);
    free(all);
    free(line);
    fclose(out);
}

static void vectors__texts_of_llama_cpp(void **state)
{
    static const char *const rows[][2] = {
        {"llama-bpe", "tokenizers/llama3/tokenizer.model"},
        {"roberta-bpe", "tokenizers/roberta/tokenizer.json"},
        {"gpt-2", "tokenizers/gpt2"},
        {"bert-bge", "tokenizers/bert/bert-base-uncased-vocab.txt"},
        {"llama-spm", "tokenizers/llama2/tokenizer.model"},
        {"gpt-2", "gguf/ggml-vocab-gpt-2.gguf"},
        {"bert-bge", "gguf/ggml-vocab-bert-bge.gguf"},
        {"llama-spm", "gguf/ggml-vocab-llama-spm.gguf"},
        {"deepseek-coder", "gguf/ggml-vocab-deepseek-coder.gguf"},
    };
    const char *folder = from_environment("DT_DATA", "gguf"), *data = getenv("DT_DATA");
    if (!folder || !dt_is_folder(folder))
        skip();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char tokenizer[4096];
        check_llama_cpp(joined(tokenizer, data, rows[i][1]), folder, rows[i][0]);
    }
}

/* swift-transformers' recordings of transformers, for the vocabularies that are here. */
static void check_published(const dt_tokenizer *t, const json_t *item, bool decodes)
{
    const json_t *input = json_object_get(item, "input");
    const json_t *ids = json_object_get(json_object_get(item, "encoded"), "input_ids");
    const json_t *shown = json_object_get(item, "decoded_with_special");
    int32_t id[4096];
    size_t count = json_array_size(ids), bytes;
    assert_string_equal(
        ids_of(t, json_string_value(input), json_string_length(input), (dt_encode_options){0}), list(ids));
    for (size_t i = 0; i < count; i++)
        id[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    if (!decodes)
        return;
    char *out = decoded(t, id, count, false, &bytes);
    assert_string_equal(out, json_string_value(shown));
    dt_free(out);
}

static void vectors__published_recordings(void **state)
{
    /* decoded texts are transformers' 4, cleaned up (" ." to ".") or spaced by its Python classes, but for Llama */
    static const struct {
        const char *name, *tokenizer;
        bool decodes;
    } rows[] = {
        {"bert-base-uncased", "bert/bert-base-uncased-vocab.txt", false},
        {"google-bert/bert-base-uncased", "bert/bert-base-uncased-vocab.txt", false},
        {"distilgpt2", "gpt2", false},
        {"t5-base", "t5/tokenizer.json", false},
        {"coreml-projects/Llama-2-7b-chat-coreml", "llama2/tokenizer.repaired.json", true},
        {"pcuenq/Llama-3.2-1B-Instruct-tokenizer", "llama3/tokenizer.model", false},
    };
    const char *data = from_environment("DT_DATA", "tokenizers");
    if (!data || !dt_is_folder(data))
        skip();
    char path[4096];
    json_t *all = load(joined(path, data, "vectors/tokenizer_tests.json")), *item;
    for (size_t i = 0, k; i < sizeof rows / sizeof *rows; i++) {
        dt_error err = {0};
        dt_tokenizer *t;
        assert_ok(dt_tokenizer_open(&t, joined(path, data, rows[i].tokenizer), &err), err);
        json_array_foreach(json_object_get(all, rows[i].name), k, item)
            check_published(t, item, rows[i].decodes);
        assert_true(k > 10);
        dt_tokenizer_close(t);
    }
    json_decref(all);
}

static void vectors__long_published_texts(void **state)
{
    static const char *const rows[][3] = {
        {"bert_uncased", "bert/bert-base-uncased-vocab.txt", "token_ids"},
        {"gpt2", "gpt2", "token_ids"},
        {"llama_3.2", "llama3/tokenizer.model", "token_ids"},
        {"llama", "llama2/tokenizer.repaired.json", "token_ids"},
        {"t5_base", "t5/tokenizer.json", "token_ids"},
    };
    const char *data = from_environment("DT_DATA", "tokenizers");
    if (!data || !dt_is_folder(data))
        skip();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[4096], name[64];
        dt_error err = {0};
        dt_tokenizer *t;
        snprintf(name, sizeof name, "vectors/%s_encoded%s.json", rows[i][0], i == 1 ? "_tokens" : "");
        json_t *json = load(joined(path, data, name));
        const json_t *text = json_object_get(json, "text");
        assert_ok(dt_tokenizer_open(&t, joined(path, data, rows[i][1]), &err), err);
        assert_string_equal(ids_of(t, json_string_value(text), json_string_length(text),
                                   (dt_encode_options){.no_special = strcmp(rows[i][0], "gpt2") == 0}),
                            list(json_object_get(json, rows[i][2])));
        dt_tokenizer_close(t);
        json_decref(json);
    }
}

static json_t *load_gz(const char *path)
{
    char command[4200];
    json_error_t error;
    snprintf(command, sizeof command, "gzip -dc '%s'", path);
    FILE *pipe = popen(command, "r");
    json_t *json = pipe ? json_loadf(pipe, 0, &error) : NULL;
    if (pipe)
        pclose(pipe);
    if (!json)
        fail_msg("%s cannot be read", path);
    return json;
}

static void vectors__squad_questions(void **state)
{
    const char *data = from_environment("DT_DATA", "tokenizers");
    if (!data || !dt_is_folder(data))
        skip();
    char path[4096];
    dt_error err = {0};
    dt_tokenizer *t;
    json_t *texts = load_gz(joined(path, data, "vectors/squad_question_tokens.json.gz")), *item;
    json_t *ids = load_gz(joined(path, data, "vectors/squad_tokenized_questions.json.gz"));
    assert_ok(dt_tokenizer_open(&t, joined(path, data, "bert/bert-base-uncased-vocab.txt"), &err), err);
    size_t i;
    json_array_foreach(texts, i, item)
    {
        const json_t *text = json_object_get(item, "original");
        assert_string_equal(ids_of(t, json_string_value(text), json_string_length(text),
                                   (dt_encode_options){.no_special = true}),
                            list(json_array_get(ids, i)));
    }
    assert_int_equal(i, 10570);
    dt_tokenizer_close(t);
    json_decref(texts);
    json_decref(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors__every_component_does_as_tokenizers_does),
        cmocka_unit_test(vectors__sentencepiece_models_in_the_clone),
        cmocka_unit_test(vectors__all_recorded_tokenizers),
        cmocka_unit_test(vectors__texts_of_llama_cpp),
        cmocka_unit_test(vectors__published_recordings),
        cmocka_unit_test(vectors__long_published_texts),
        cmocka_unit_test(vectors__squad_questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
