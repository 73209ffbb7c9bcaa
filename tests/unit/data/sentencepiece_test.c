/* sentencepiece_test.c - models written here by hand, byte by byte: what they do, and how bad ones are refused. */
#include "tokenizers.h"

#include "data/tokenizer/unigram.h"

/* A protobuf message under construction. */
static void put_key(dt_text *out, int field, int wire)
{
    uint32_t key = (uint32_t)(field << 3 | wire);
    for (; key >= 0x80; key >>= 7)
        dt_text_append(out, &(char){(char)(key | 0x80)}, 1);
    dt_text_append(out, &(char){(char)key}, 1);
}

static void put_bytes(dt_text *out, int field, const char *data, size_t bytes)
{
    put_key(out, field, 2);
    assert_true(bytes < 128);
    dt_text_append(out, &(char){(char)bytes}, 1);
    dt_text_append(out, data, bytes);
}

static void put_number(dt_text *out, int field, char value)
{
    put_key(out, field, 0);
    dt_text_append(out, &value, 1);
}

static void put_piece(dt_text *model, const char *text, float score, char type)
{
    dt_text piece = {0};
    put_bytes(&piece, 1, text, strlen(text));
    put_key(&piece, 2, 5);
    dt_text_append(&piece, (const char *)&score, 4);
    put_number(&piece, 3, type);
    put_bytes(model, 1, piece.data, piece.bytes);
    dt_text_free(&piece);
}

static void put_spec(dt_text *model, int field, int number, char value)
{
    dt_text spec = {0};
    put_number(&spec, number, value);
    put_bytes(model, field, spec.data, spec.bytes);
    dt_text_free(&spec);
}

static void start(dt_text *model, char model_type)
{
    put_piece(model, "<unk>", 0, DT_PIECE_UNKNOWN);
    put_piece(model, "<s>", 0, DT_PIECE_CONTROL);
    put_piece(model, "</s>", 0, DT_PIECE_CONTROL);
    put_spec(model, 2, 3, model_type);
}

static dt_status read_model(dt_tokenizer **out, dt_text *model, dt_error *err)
{
    *out = dt_tokenizer_blank();
    dt_status status = dt_tokenizer_read_sentencepiece(*out, model->data, model->bytes, err);
    if (status == DT_OK)
        status = dt_added_create(*out, 0, err);
    if (status == DT_OK)
        status = dt_added_finish(*out, err);
    if (status != DT_OK) {
        dt_tokenizer_close(*out);
        *out = NULL;
    }
    dt_text_free(model);
    return status;
}

static dt_tokenizer *built(dt_text *model)
{
    dt_error err = {0};
    dt_tokenizer *t;
    assert_ok(read_model(&t, model, &err), err);
    return t;
}

/* "bc" is UNUSED: it merges, and is taken apart again, unless it went into something used. */
static void sentencepiece__bpe_takes_unused_pieces_apart(void **state)
{
    dt_text model = {0};
    start(&model, 2);
    const char *const normal[] = {"\xE2\x96\x81", "a", "b", "c"};
    for (int i = 0; i < 4; i++)
        put_piece(&model, normal[i], -10, DT_PIECE_NORMAL); /* 3 to 6 */
    put_piece(&model, "bc", -1, DT_PIECE_UNUSED);           /* 7 */
    put_piece(&model, "abc", -2, DT_PIECE_NORMAL);          /* 8 */
    put_piece(&model, "zz", 0, DT_PIECE_USER_DEFINED);      /* 9 */
    dt_tokenizer *t = built(&model);
    assert_ids(t, "bc", "3 5 6");
    assert_ids(t, "abc", "3 8");
    assert_ids(t, "azza", "3 4 9 4");
    assert_ids(t, "xy a", "3 0 3 4"); /* unknown characters in a row are one */
    assert_ids(t, "  a  ", "3 4");
    assert_ids(t, "", "");
    dt_tokenizer_close(t);
}

/* z is no piece, but "zb" is: characters merge before they are looked up. */
static void sentencepiece__bpe_merges_characters_that_are_no_pieces(void **state)
{
    dt_text model = {0};
    start(&model, 2);
    put_piece(&model, "\xE2\x96\x81", -3, DT_PIECE_NORMAL);
    put_piece(&model, "zy", -1, DT_PIECE_NORMAL);  /* 4 */
    put_piece(&model, "zyz", -2, DT_PIECE_NORMAL); /* 5 */
    dt_tokenizer *t = built(&model);
    assert_ids(t, "zy", "3 4");
    assert_ids(t, "zyzz", "3 5 0");
    dt_tokenizer_close(t);
}

static void sentencepiece__unigram_finds_the_best_path(void **state)
{
    dt_text model = {0};
    start(&model, 1);
    put_piece(&model, "\xE2\x96\x81", -1, DT_PIECE_NORMAL);
    put_piece(&model, "a", -1, DT_PIECE_NORMAL);
    put_piece(&model, "ab", -1.5f, DT_PIECE_NORMAL);
    put_piece(&model, "b", -1, DT_PIECE_NORMAL);
    put_piece(&model, "ba", -0.1f, DT_PIECE_NORMAL);
    dt_tokenizer *t = built(&model);
    size_t bytes;
    assert_ids(t, "ab", "3 5");
    assert_ids(t, "aba", "3 4 7");
    assert_ids(t, "<s>", "3 0"); /* control pieces never match text */
    assert_ids(t,
               "a\xFF"
               "b",
               "3 4 0 6"); /* an invalid byte is an unknown character */
    char *text = decoded(t, (int32_t[]){1, 3, 4, 3, 7, 0, 2}, 7, false, &bytes);
    assert_string_equal(text, "a ba \xE2\x81\x87 ");
    dt_free(text);
    text = decoded(t, (int32_t[]){1, 3, 4, 0, 2}, 5, true, &bytes);
    assert_string_equal(text, "a");
    dt_free(text);
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_BOS), 1);
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_UNK), 0);
    dt_tokenizer_close(t);
}

static void sentencepiece__refuses_bad_models(void **state)
{
    dt_error err = {0};
    dt_tokenizer *t;
    dt_text model = {0};
    dt_text_put(&model, "not a protobuf");
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "no protobuf ModelProto");
    put_spec(&model, 2, 3, 1);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "no pieces");
    put_piece(&model, "a", 0, DT_PIECE_NORMAL);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "no piece is the unknown one");
    start(&model, 1), put_piece(&model, "", 0, DT_PIECE_NORMAL);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "piece 3 is empty");
    start(&model, 1), put_piece(&model, "\xFF", 0, DT_PIECE_NORMAL);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "piece 3 is not valid UTF-8");
    start(&model, 1), put_piece(&model, "<s>", 0, DT_PIECE_NORMAL);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "piece 3 \"<s>\" occurs twice");
    start(&model, 1), put_piece(&model, "a", 0, 9);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "type 9");
    start(&model, 1), put_piece(&model, "a", __builtin_nanf(""), DT_PIECE_NORMAL);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "not a finite number");
    start(&model, 1), put_piece(&model, "?", 0, DT_PIECE_UNKNOWN);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "pieces 0 and 3 are both");
    start(&model, 1), put_piece(&model, "<0x00>", 0, DT_PIECE_BYTE);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "byte_fallback is off");
    start(&model, 1), put_spec(&model, 2, 35, 1), put_piece(&model, "<0x00>", 0, DT_PIECE_BYTE);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "1 of 256 byte pieces");
    start(&model, 1), put_spec(&model, 2, 35, 1), put_piece(&model, "zero", 0, DT_PIECE_BYTE);
    assert_fails(read_model(&t, &model, &err), DT_FORMAT, err, "not spelled <0x00>");
    start(&model, 3);
    assert_fails(read_model(&t, &model, &err), DT_UNSUPPORTED, err, "model_type 3");
}

/* A T5 folder: the sentinels sit behind the pieces, the end is added, both named by no file but the class. */
static void sentencepiece__a_t5_folder_has_sentinels(void **state)
{
    dt_text model = {0};
    dt_tokenizer *t;
    dt_error err = {0};
    start(&model, 1);
    put_piece(&model, "\xE2\x96\x81", -1, DT_PIECE_NORMAL);
    put_piece(&model, "a", -1, DT_PIECE_NORMAL);
    put_file(in_folder(*state, "spiece.model"), model.data, model.bytes);
    dt_text_free(&model);
    put_file(in_folder(*state, "tokenizer_config.json"), "{\"tokenizer_class\": \"T5Tokenizer\"}", 34);
    assert_ok(dt_tokenizer_open(&t, *state, &err), err);
    assert_ids(t, "a <extra_id_0>", "3 4 104 2");
    assert_int_equal(dt_tokenizer_id(t, "<extra_id_99>"), 5);
    assert_int_equal(dt_tokenizer_vocab_size(t), 105);
    dt_tokenizer_close(t);
}

/* What transformers' SiglipTokenizer makes of texts before the model sees them: no capitals, no punctuation. */
static void sentencepiece__a_siglip_folder_has_plain_texts(void **state)
{
    static const struct {
        const char *config, *text, *ids;
    } row[] = {
        {"{\"tokenizer_class\": \"SiglipTokenizer\", \"do_lower_case\": true}", "Hello, World!",
         "39 88 21 887 2"},
        {"{\"tokenizer_class\": \"SiglipTokenizer\", \"do_lower_case\": true}", "It's a   DOG-house. ",
         "27 8 11 93 37 60 196 16 2"},
        {"{\"tokenizer_class\": \"SiglipTokenizer\", \"do_lower_case\": false}", "Hello, World!",
         "151 88 21 4 321 54 31 17 2"},
        {"{\"tokenizer_class\": \"SiglipTokenizer\", \"do_lower_case\": false}", "It's a   DOG-house. ",
         "225 8 11 304 258 525 60 196 16 2"},
    };
    char *target;
    dt_error err = {0};
    assert_true(asprintf(&target, "%s/tokenizers/test_model.model", getenv("DT_GOLDEN")) > 0);
    assert_int_equal(symlink(target, in_folder(*state, "spiece.model")), 0);
    free(target);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        dt_tokenizer *t;
        put_file(in_folder(*state, "tokenizer_config.json"), row[i].config, strlen(row[i].config));
        assert_ok(dt_tokenizer_open(&t, *state, &err), err);
        assert_string_equal(ids_of(t, row[i].text, strlen(row[i].text), (dt_encode_options){0}), row[i].ids);
        dt_tokenizer_close(t);
    }
}

/* The same text by the same pieces, numbered as the file does and as fairseq's models do. */
static void sentencepiece__fairseq_models_number_pieces_otherwise(void **state)
{
    char *target, *link = NULL, *config = NULL;
    dt_error err = {0};
    dt_tokenizer *t;
    assert_true(asprintf(&target, "%s/tokenizers/test_model.model", getenv("DT_GOLDEN")) > 0);
    assert_true(asprintf(&link, "%s/sentencepiece.bpe.model", (const char *)*state) > 0);
    assert_true(asprintf(&config, "%s/tokenizer_config.json", (const char *)*state) > 0);
    assert_int_equal(symlink(target, link), 0);
    assert_ok(dt_tokenizer_open(&t, target, &err), err);
    assert_ids(t, "Hello world", "151 88 21 887");
    dt_tokenizer_close(t);
    assert_ok(dt_tokenizer_open(&t, link, &err), err); /* XLM-R: <s> <pad> </s> <unk>, pieces, <mask> */
    assert_ids(t, "Hello world<mask>\xF0\x9F\x98\x80", "0 152 89 22 888 1001 5 3 2");
    assert_int_equal(dt_tokenizer_special(t, DT_TOKEN_PAD), 1);
    dt_tokenizer_close(t);
    static const char *const rows[][2] = {
        {"{\"tokenizer_class\": \"MBartTokenizer\"}", "152 89 22 888 2 1004"},
        {"{\"tokenizer_class\": \"MBartTokenizerFast\", \"src_lang\": \"de_DE\"}", "152 89 22 888 2 1003"},
        {"{\"tokenizer_class\": \"NllbTokenizer\", \"additional_special_tokens\": [\"ace_Arab\", "
         "\"eng_Latn\"]}",
         "1002 152 89 22 888 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        FILE *file = fopen(config, "w");
        assert_non_null(file);
        fputs(rows[i][0], file);
        fclose(file);
        assert_ok(dt_tokenizer_open(&t, *state, &err), err);
        assert_ids(t, "Hello world", rows[i][1]);
        dt_tokenizer_close(t);
    }
    FILE *file = fopen(config, "w");
    fputs("{\"tokenizer_class\": \"M2M100Tokenizer\"}", file);
    fclose(file);
    assert_fails(dt_tokenizer_open(&t, *state, &err), DT_UNSUPPORTED, err, "M2M100Tokenizer");
    free(target);
    free(link);
    free(config);
}

static dt_status keep_id(const dt_model_part *model, dt_work *work, int32_t id, const char *text,
                         size_t bytes, void *context)
{
    return dt_emit_id(work, id);
}

/* Word by word through the double array and the table of words, and at once through the trie: the same pieces. */
static void sentencepiece__viterbi_by_words_is_viterbi(void **state)
{
    static const char *const parts[] = {"\xE2\x96\x81",     "the", "e", "ing", "world", "aaaa", "....", "xq",
                                        "\xF0\x9F\x98\x80", "1"};
    char *path, text[4096];
    dt_error err = {0};
    dt_tokenizer *t;
    uint64_t seed = 3;
    assert_true(asprintf(&path, "%s/tokenizers/test_model.model", getenv("DT_GOLDEN")) > 0);
    assert_ok(dt_tokenizer_open(&t, path, &err), err);
    for (int round = 0; round < 300; round++) {
        dt_work fast = {.tokenizer = t, .arena = dt_arena_create(), .err = &err}, plain = fast;
        size_t bytes = 0;
        for (int k = 0; k < 1 + round; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const char *part = parts[(seed >> 33) % (sizeof parts / sizeof *parts)];
            memcpy(text + bytes, part, strlen(part));
            bytes += strlen(part);
        }
        assert_ok(dt_unigram_best(&t->model, &fast, text, bytes, keep_id, NULL), err);
        assert_ok(dt_unigram_best_plain(&t->model, &plain, text, bytes, keep_id, NULL), err);
        assert_int_equal(fast.ids.bytes, plain.ids.bytes);
        assert_memory_equal(fast.ids.data, plain.ids.data, plain.ids.bytes);
        dt_text_free(&fast.ids);
        dt_text_free(&plain.ids);
        dt_arena_destroy(fast.arena);
    }
    dt_tokenizer_close(t);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece__bpe_takes_unused_pieces_apart),
        cmocka_unit_test_setup_teardown(sentencepiece__fairseq_models_number_pieces_otherwise, make_folder,
                                        remove_folder),
        cmocka_unit_test(sentencepiece__viterbi_by_words_is_viterbi),
        cmocka_unit_test(sentencepiece__bpe_merges_characters_that_are_no_pieces),
        cmocka_unit_test(sentencepiece__unigram_finds_the_best_path),
        cmocka_unit_test(sentencepiece__refuses_bad_models),
        cmocka_unit_test_setup_teardown(sentencepiece__a_siglip_folder_has_plain_texts, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(sentencepiece__a_t5_folder_has_sentinels, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
