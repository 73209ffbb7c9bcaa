/*
 * gguf_files.c - the files of a Hugging Face folder made from a vocabulary in GGUF's words; and whether two tokenizers
 * encode alike.
 *
 *   gpt2       tokenizer.json
 *   llama, t5  tokenizer.model, as sentencepiece writes it
 *   bert       vocab.txt
 *
 * tokenizer_config.json names the special tokens and has the chat template.
 */
#include "base/output.h"
#include "data/tokenizer/gguf_words.h"
#include "data/tokenizer/sentencepiece.h"
#include "data/tokenizer/splits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- do two encode alike? ---- */

/* Scripts, spaces, digits, marks, contractions, code, what is rare and what is no word. */
static const char *const probes[] = {
    "",
    "Hello, world!",
    " leading space",
    "trailing space ",
    "two  spaces   three",
    "tab\tnew\nline\r\nand\n\n\nmore",
    "It's we're I'm they've you'll he'd DON'T WE'LL",
    "1 12 123 1234 12345678 3.14159 1,000,000 50%",
    "int main(void) { return x[i]++ != 0 && y->z; } // done",
    "snake_case camelCase UPPER lower MiXeD",
    "Über die Straße läuft ein Bär; señor, garçon, naïve café, Ångström",
    "Привет, мир! Как дела?",
    "Καλημέρα κόσμε",
    "مرحبا بالعالم",
    "שלום עולם",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "你好，世界！这是一个测试。",
    "こんにちは世界、カタカナ",
    "안녕하세요 세계",
    "emoji 😀 👩‍👩‍👧 🇩🇪 ✓",
    "e\xCC\x81 combining \xC3\xA9 composed",
    "\xEF\xBC\xA1\xEF\xBC\xA2 fullwidth \xEF\xAC\x81 ligature \xE2\x84\xA2",
    "non\xC2\xA0"
    "breaking \xE2\x80\x8B"
    "zero width",
    "http://example.org/a?b=c&d=e#f user@example.org",
    "!!! ??? ... --- === *** ### $$$",
    "the quick brown fox jumps over the lazy dog",
    "ÀÉÎÕÜ ßẞ İı",
    "x=1;y=-2.5e-10;z=0xFF",
    "\"quoted\" 'single' `code` “curly” ‘too’",
};

static dt_status encode_both(const dt_tokenizer *const t[2], const char *text, size_t bytes, bool *same,
                             dt_error *err)
{
    int32_t *ids[2] = {NULL, NULL};
    size_t count[2];
    dt_status status = DT_OK;
    for (int i = 0; i < 2 && status == DT_OK; i++)
        status = dt_tokenizer_encode(t[i], text, bytes, NULL, &ids[i], &count[i], err);
    *same = status == DT_OK && count[0] == count[1] &&
            (count[0] == 0 || memcmp(ids[0], ids[1], count[0] * sizeof *ids[0]) == 0);
    dt_free(ids[0]);
    dt_free(ids[1]);
    return status;
}

/* Texts of tokens that follow one another: such as the vocabulary makes. */
static dt_status own_text(const dt_tokenizer *t, int32_t first, char **text, size_t *bytes, dt_error *err)
{
    int32_t ids[4], count = 0, size = dt_tokenizer_vocab_size(t);
    for (int32_t id = first; id < size && count < 4; id += 7)
        if (dt_tokenizer_token(t, id) != NULL && !dt_tokenizer_is_special(t, id))
            ids[count++] = id;
    return dt_tokenizer_decode(t, ids, (size_t)count, true, text, bytes, err);
}

static dt_status note(const dt_tokenizer *const t[2], const char *text, size_t bytes, dt_arena *arena,
                      int *differ, const char **first, dt_error *err)
{
    bool same = true;
    DT_PASS(encode_both(t, text, bytes, &same, err));
    if (!same && *first == NULL)
        *first = dt_arena_text_n(arena, text, bytes);
    *differ += !same;
    return DT_OK;
}

dt_status dt_tokenizer_differences(const dt_tokenizer *a, const dt_tokenizer *b, dt_arena *arena, int *texts,
                                   int *differ, const char **first, dt_error *err)
{
    enum { OWN_TEXTS = 400 };
    const dt_tokenizer *const t[2] = {a, b};
    int32_t size = dt_tokenizer_vocab_size(a), step = size > OWN_TEXTS ? size / OWN_TEXTS : 1;
    *texts = *differ = 0;
    *first = NULL;
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++, (*texts)++)
        DT_PASS(note(t, probes[i], strlen(probes[i]), arena, differ, first, err));
    for (int32_t id = 0; id < size; id += step, (*texts)++) {
        char *text = NULL;
        size_t bytes = 0;
        dt_status status = own_text(a, id, &text, &bytes, err);
        if (status == DT_OK)
            status = note(t, text, bytes, arena, differ, first, err);
        dt_free(text);
        DT_PASS(status);
    }
    return DT_OK;
}

/* ---- files ---- */

static int type_of(const dt_gguf_vocabulary *v, size_t id)
{
    return v->type_count > 0 ? (int)v->type[id] : DT_PIECE_NORMAL;
}

static dt_status save(const char *folder, const char *name, const void *data, size_t bytes, dt_error *err)
{
    char path[4096];
    dt_output *output = NULL;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return dt_fail(err, DT_INVALID, "the path %s is too long", folder);
    DT_PASS(dt_output_open(&output, path, true, err));
    dt_status status = dt_output_write(output, data, bytes, err);
    if (status == DT_OK)
        return dt_output_commit(output, err);
    dt_output_discard(output);
    return status;
}

/* Takes `json`; NULL: memory was short. */
static dt_status save_json(const char *folder, const char *name, json_t *json, dt_error *err)
{
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;
    dt_status status =
        text ? save(folder, name, text, strlen(text), err) : dt_fail_memory(err, 4096, "a tokenizer's file");
    free(text);
    json_decref(json);
    return status;
}

static json_t *text_of(const dt_gguf_vocabulary *v, int64_t id)
{
    return id >= 0 ? json_stringn(v->token[id].data, v->token[id].bytes) : json_null();
}

/* ---- gpt2 ---- */

/* Of several tokens with one spelling the first counts; it is what the reader of GGUF takes, too. */
static json_t *bpe_model(const dt_gguf_vocabulary *v, bool whole)
{
    json_t *vocab = json_object(), *merges = json_array();
    dt_text key = {0};
    bool done = vocab != NULL && merges != NULL;
    for (size_t id = 0; id < v->token_count && done; id++) {
        dt_text_clear(&key);
        done = dt_put(&key, v->token[id].data, v->token[id].bytes);
        const char *text = key.data ? key.data : "";
        if (done && !json_object_get(vocab, text))
            done = json_object_set_new(vocab, text, json_integer((json_int_t)id)) == 0;
    }
    for (size_t i = 0; i < v->merge_count && done; i++)
        done = json_array_append_new(merges, json_stringn(v->merge[i].data, v->merge[i].bytes)) == 0;
    dt_text_free(&key);
    json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                              "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                              "byte_fallback", 0, "ignore_merges", whole, "vocab", vocab, "merges", merges);
    if (!done) {
        json_decref(model);
        return NULL;
    }
    return model;
}

static json_t *added_tokens(const dt_gguf_vocabulary *v)
{
    json_t *list = json_array();
    for (size_t id = 0; id < v->token_count; id++) {
        int type = type_of(v, id);
        if ((type != DT_PIECE_CONTROL && type != DT_PIECE_USER_DEFINED) || v->token[id].bytes == 0)
            continue;
        json_array_append_new(list,
                              json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id,
                                        "content", text_of(v, (int64_t)id), "single_word", 0, "lstrip", 0,
                                        "rstrip", 0, "normalized", 0, "special", type == DT_PIECE_CONTROL));
    }
    return list;
}

static json_t *special(const dt_gguf_vocabulary *v, int64_t id)
{
    return json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text_of(v, id), "type_id", 0);
}

/* What stands around a text; null when nothing does. */
static json_t *post_processor(const dt_gguf_vocabulary *v, bool before, bool after)
{
    json_t *single = json_array(), *tokens = json_object();
    const int64_t id[2] = {v->bos, v->eos};
    const bool added[2] = {before && v->bos >= 0, after && v->eos >= 0};
    for (int i = 0; i < 2; i++) {
        if (i == 1)
            json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
        if (!added[i])
            continue;
        json_t *text = text_of(v, id[i]);
        json_array_append_new(single, special(v, id[i]));
        json_object_set_new(
            tokens, text ? json_string_value(text) : "",
            json_pack("{s:O?, s:[I], s:[O?]}", "id", text, "ids", (json_int_t)id[i], "tokens", text));
        json_decref(text);
    }
    json_t *pair = json_deep_copy(single);
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", tokens);
}

static dt_status write_gpt2(const dt_gguf_vocabulary *v, const char *folder, dt_error *err)
{
    bool whole = false;
    const dt_split *split = dt_split_find(dt_gguf_pre_split(v->pre, &whole));
    if (split == NULL)
        return dt_fail(err, DT_UNSUPPORTED, "tokenizer.ggml.pre \"%s\" is not known", v->pre ? v->pre : "");
    json_t *document = dt_split_document(split);
    int failed = document == NULL;
    failed |= json_object_set_new(document, "version", json_string("1.0"));
    failed |= json_object_set_new(document, "truncation", json_null());
    failed |= json_object_set_new(document, "padding", json_null());
    failed |= json_object_set_new(document, "added_tokens", added_tokens(v));
    failed |=
        json_object_set_new(document, "post_processor", post_processor(v, v->add_bos > 0, v->add_eos > 0));
    failed |= json_object_set_new(document, "model", bpe_model(v, whole));
    if (failed) {
        json_decref(document);
        document = NULL;
    }
    return save_json(folder, "tokenizer.json", document, err);
}

/* ---- llama, t5 ---- */

static dt_status write_model(const DtSpm__Model *model, const char *folder, dt_error *err)
{
    size_t bytes = dt_spm__model__get_packed_size(model);
    uint8_t *data = malloc(bytes + 1);
    if (data == NULL)
        return dt_fail_memory(err, bytes, "a sentencepiece model");
    dt_spm__model__pack(model, data);
    dt_status status = save(folder, "tokenizer.model", data, bytes, err);
    free(data);
    return status;
}

static void put_piece(const dt_gguf_vocabulary *v, size_t id, DtSpm__Piece *piece)
{
    int type = type_of(v, id);
    dt_spm__piece__init(piece);
    piece->piece.data = (uint8_t *)v->token[id].data; /* only read */
    piece->piece.len = v->token[id].bytes;
    piece->score = v->score[id];
    piece->type = (int64_t)id == v->unknown  ? DT_PIECE_UNKNOWN
                  : type == DT_PIECE_UNKNOWN ? DT_PIECE_CONTROL
                                             : type;
    piece->has_piece = piece->has_score = true;
    piece->has_type = piece->type != DT_PIECE_NORMAL;
}

static dt_status write_sentencepiece(const dt_gguf_vocabulary *v, bool unigram, const char *folder,
                                     dt_arena *arena, dt_error *err)
{
    DtSpm__Model model = DT_SPM__MODEL__INIT;
    DtSpm__Trainer trainer = DT_SPM__TRAINER__INIT;
    DtSpm__Normalizer normalizer = DT_SPM__NORMALIZER__INIT;
    DtSpm__Piece *piece = DT_NEW_ARRAY(arena, DtSpm__Piece, v->token_count + 1);
    model.pieces = DT_NEW_ARRAY(arena, DtSpm__Piece *, v->token_count + 1);
    if (piece == NULL || model.pieces == NULL || v->score_count != v->token_count)
        return dt_fail(err, v->score_count ? DT_NO_MEMORY : DT_FORMAT, "the scores of %zu pieces",
                       v->token_count);
    model.n_pieces = v->token_count;
    for (size_t id = 0; id < v->token_count; id++) {
        put_piece(v, id, &piece[id]);
        model.pieces[id] = &piece[id];
        trainer.byte_fallback |= piece[id].type == DT_PIECE_BYTE;
    }
    trainer.model_type = unigram ? 1 : 2;
    trainer.unk_id = (int32_t)v->unknown;
    trainer.bos_id = (int32_t)v->bos;
    trainer.eos_id = (int32_t)v->eos;
    trainer.pad_id = (int32_t)v->pad;
    trainer.has_model_type = trainer.has_byte_fallback = true;
    trainer.has_unk_id = trainer.has_bos_id = trainer.has_eos_id = trainer.has_pad_id = true;
    normalizer.add_dummy_prefix = v->add_space_prefix != 0;
    normalizer.remove_extra_whitespaces =
        v->remove_extra_whitespaces < 0 ? unigram : v->remove_extra_whitespaces > 0;
    normalizer.precompiled_charsmap.data = (uint8_t *)v->charsmap; /* only read */
    normalizer.precompiled_charsmap.len = v->charsmap_bytes;
    normalizer.has_add_dummy_prefix = normalizer.has_remove_extra_whitespaces = true;
    normalizer.has_precompiled_charsmap = v->charsmap_bytes > 0;
    model.trainer_spec = &trainer;
    model.normalizer_spec = &normalizer;
    return write_model(&model, folder, err);
}

/* ---- bert ---- */

static dt_status write_bert(const dt_gguf_vocabulary *v, const char *folder, dt_error *err)
{
    dt_text all = {0}, token = {0};
    for (size_t id = 0; id < v->token_count; id++)
        if (dt_gguf_bert_token(v, id, &token))
            dt_text_printf(&all, "%s\n", token.data ? token.data : "");
    dt_status status = all.failed || token.failed ? dt_fail_memory(err, all.bytes, "vocab.txt")
                                                  : save(folder, "vocab.txt", all.data, all.bytes, err);
    dt_text_free(&all);
    dt_text_free(&token);
    return status;
}

/* ---- tokenizer_config.json ---- */

static dt_status write_config(const dt_gguf_vocabulary *v, const char *folder, dt_error *err)
{
    static const struct {
        const char *model, *class_name;
    } row[] = {{"gpt2", "PreTrainedTokenizerFast"},
               {"llama", "LlamaTokenizer"},
               {"t5", "T5Tokenizer"},
               {"bert", "BertTokenizer"}};
    const struct {
        const char *key;
        int64_t id;
    } token[] = {{"bos_token", v->bos},  {"eos_token", v->eos}, {"unk_token", v->unknown},
                 {"pad_token", v->pad},  {"cls_token", v->cls}, {"sep_token", v->separator},
                 {"mask_token", v->mask}};
    json_t *json = json_object();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (strcmp(row[i].model, v->model) == 0)
            json_object_set_new(json, "tokenizer_class", json_string(row[i].class_name));
    for (size_t i = 0; i < sizeof token / sizeof *token; i++)
        if (token[i].id >= 0)
            json_object_set_new(json, token[i].key, text_of(v, token[i].id));
    if (strcmp(v->model, "bert") == 0)
        json_object_set_new(json, "do_lower_case", json_true());
    if (strcmp(v->model, "t5") == 0)
        json_object_set_new(json, "extra_ids", json_integer(0)); /* they are among the pieces */
    if (v->add_bos >= 0)
        json_object_set_new(json, "add_bos_token", json_boolean(v->add_bos));
    if (v->add_eos >= 0)
        json_object_set_new(json, "add_eos_token", json_boolean(v->add_eos));
    if (v->chat_template)
        json_object_set_new(json, "chat_template", json_string(v->chat_template));
    return save_json(folder, "tokenizer_config.json", json, err);
}

dt_status dt_gguf_vocabulary_write(const dt_gguf_vocabulary *v, const char *folder, int *files, dt_error *err)
{
    dt_status status = DT_OK;
    if (v->model == NULL || strcmp(v->model, "none") == 0 || v->token_count == 0)
        return DT_OK;
    dt_arena *arena = dt_arena_create();
    if (arena == NULL)
        return dt_fail_memory(err, 4096, "a tokenizer's files");
    if (strcmp(v->model, "gpt2") == 0)
        status = write_gpt2(v, folder, err);
    else if (strcmp(v->model, "llama") == 0 || strcmp(v->model, "t5") == 0)
        status = write_sentencepiece(v, v->model[0] == 't', folder, arena, err);
    else if (strcmp(v->model, "bert") == 0)
        status = write_bert(v, folder, err);
    else
        status = dt_fail(err, DT_UNSUPPORTED, "tokenizer.ggml.model is \"%s\"", v->model);
    dt_arena_destroy(arena);
    DT_PASS(status);
    *files += 2;
    return write_config(v, folder, err);
}
