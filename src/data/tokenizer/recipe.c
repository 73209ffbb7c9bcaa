/*
 * recipe.c - tokenizers that come as a bare vocabulary: vocab.json with merges.txt, vocab.txt, and ByT5's, which has
 * no file at all.
 *
 * The first two become a document in the form of tokenizer.json (the family's pipeline with this vocabulary), so
 * there is one reader for all.
 */
#include "data/tokenizer/companions.h"

#include "base/map.h"

#include <string.h>

#define BYTE_LEVEL_DECODER "\"decoder\": {\"type\": \"ByteLevel\"}"

const char dt_pipeline_gpt2[] =
    "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, " BYTE_LEVEL_DECODER ", "
    "\"model\": {\"type\": \"BPE\"}}";

const char dt_pipeline_clip[] =
    "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": "
    "\"Replace\", "
    "\"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"}, {\"type\": \"Lowercase\"}]}, "
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
    "{\"Regex\": "
    "\"'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"}, \"behavior\": "
    "\"Removed\", "
    "\"invert\": true}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}, " BYTE_LEVEL_DECODER ", "
    "\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\"}}";

const char dt_pipeline_bert[] =
    "{\"normalizer\": {\"type\": \"BertNormalizer\"}, \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, "
    "\"decoder\": {\"type\": \"WordPiece\", \"cleanup\": false}, \"model\": {\"type\": \"WordPiece\"}}";

/* Everything after the document is read: the companions' tokens, the specials, what encoding adds. */
static dt_status finish(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    DT_TRY(dt_companions_add_decoder_tokens(t, c, err), err, "while reading tokenizer_config.json");
    DT_PASS(dt_companions_add_listed_tokens(t, c, err));
    DT_PASS(dt_companions_name_specials(t, c, true, err));
    return dt_companions_frame(t, c, false, err);
}

/* The last of two equal words counts, as in the reference. Returns 0 when it went well, as jansson does. */
static int put_word(json_t *out, const char *text, size_t bytes, json_int_t line)
{
    dt_text word = {0}; /* jansson before 2.14 wants keys terminated */
    int bad =
        !dt_text_append(&word, text, bytes) || json_object_set_new(out, word.data, json_integer(line)) != 0;
    dt_text_free(&word);
    return bad;
}

/* The lines of a file: words numbered by their line into an object, or merges into an array. */
static dt_status read_lines(json_t *out, bool numbered, const char *path, dt_error *err)
{
    dt_map map = {0};
    DT_PASS(dt_map_open(&map, path, err));
    const char *text = (const char *)map.data;
    dt_status status = DT_OK;
    json_int_t line = 0;
    for (size_t at = 0, end; at < map.size && status == DT_OK; at = end + 1, line++) {
        const char *newline = memchr(text + at, '\n', map.size - at);
        end = newline == NULL ? map.size : (size_t)(newline - text);
        size_t bytes = end - at;
        bytes -= bytes > 0 && text[at + bytes - 1] == '\r';
        bool comment = !numbered && (bytes == 0 || (bytes >= 8 && memcmp(text + at, "#version", 8) == 0));
        if (comment || (numbered && bytes == 0))
            continue;
        if (memchr(text + at, 0, bytes) != NULL || !dt_utf8_valid(text + at, bytes)) {
            status = dt_fail(err, DT_FORMAT, "%s: line %lld is not UTF-8 text", path, (long long)line + 1);
        } else {
            int bad = numbered ? put_word(out, text + at, bytes, line)
                               : json_array_append_new(out, json_stringn(text + at, bytes));
            if (bad != 0)
                status = dt_fail_memory(err, bytes, path);
        }
    }
    dt_map_close(&map);
    return status;
}

/* Read the pipeline with its vocabulary; takes over `vocab` and `merges`. */
static dt_status read_pipeline(dt_tokenizer *t, const dt_companions *c, json_t *json, json_t *vocab,
                               json_t *merges, dt_error *err)
{
    json_t *model = json_object_get(json, "model");
    bool set = json_object_set_new(model, "vocab", vocab) == 0;
    if (merges != NULL)
        set = json_object_set_new(model, "merges", merges) == 0 && set;
    t->added.capacity = dt_companion_tokens(c) + 8;
    dt_status status = set ? dt_tokenizer_read_json(t, json, err) : dt_fail_memory(err, 0, "a vocabulary");
    json_decref(json);
    return status;
}

/* With no family named: the one that made this kind of file known. */
static dt_companions with_family(const dt_companions *c, const char *usual)
{
    dt_companions own = *c;
    if (own.family->pipeline == NULL)
        own.family = dt_family_of_class(usual);
    return own;
}

dt_status dt_recipe_bpe(dt_tokenizer *t, const dt_companions *companions, const char *vocab_path,
                        const char *merges_path, dt_error *err)
{
    dt_companions own = with_family(companions, "GPT2Tokenizer"), *c = &own;
    const char *pipeline = c->family->pipeline;
    json_t *json = NULL, *vocab = NULL, *merges = json_array();
    bool prefix = false;
    dt_status status = dt_json_load(&vocab, vocab_path, DT_FILE_LIMIT, err);
    if (status == DT_OK)
        status = read_lines(merges, false, merges_path, err);
    if (status == DT_OK && c->config != NULL)
        status = dt_json_bool(c->config, "add_prefix_space", &prefix, err);
    if (status == DT_OK)
        status = dt_json_parse(&json, pipeline, strlen(pipeline), "a built-in pipeline", err);
    if (status != DT_OK) {
        json_decref(vocab);
        json_decref(merges);
        return status;
    }
    if (prefix)
        json_object_set_new(json_object_get(json, "pre_tokenizer"), "add_prefix_space", json_true());
    const char *unk = dt_companions_role_token(c, DT_ROLE_UNK);
    if (unk != NULL && json_object_get(vocab, unk) != NULL)
        json_object_set_new(json_object_get(json, "model"), "unk_token", json_string(unk));
    DT_PASS(read_pipeline(t, c, json, vocab, merges, err));
    return finish(t, c, err);
}

/* Does a vocabulary hold capital letters, other than in bracketed tokens? Then it was made from cased text. */
static bool looks_cased(json_t *vocab)
{
    const char *token;
    json_t *id;
    json_object_foreach(vocab, token, id)
    {
        size_t bytes = strlen(token);
        if (bytes > 1 && token[0] == '[' && token[bytes - 1] == ']')
            continue;
        for (size_t i = 0; i < bytes; i++)
            if (token[i] >= 'A' && token[i] <= 'Z')
                return true;
    }
    return false;
}

dt_status dt_recipe_wordpiece(dt_tokenizer *t, const dt_companions *companions, const char *path,
                              dt_error *err)
{
    dt_companions own = with_family(companions, "BertTokenizer"), *c = &own;
    static const char *const specials[] = {"[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"};
    json_t *json = NULL, *vocab = json_object();
    dt_status status = read_lines(vocab, true, path, err);
    bool lower = !looks_cased(vocab);
    if (status == DT_OK && c->config != NULL)
        status = dt_json_bool(c->config, "do_lower_case", &lower, err);
    if (t->options.keep_case)
        lower = false;
    if (status == DT_OK)
        status = dt_json_parse(&json, dt_pipeline_bert, strlen(dt_pipeline_bert), "a built-in pipeline", err);
    if (status != DT_OK) {
        json_decref(vocab);
        return status;
    }
    json_object_set_new(json_object_get(json, "normalizer"), "lowercase", json_boolean(lower));
    DT_PASS(read_pipeline(t, c, json, vocab, NULL, err));
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        if (dt_tokenizer_id(t, specials[i]) >= 0)
            DT_PASS(dt_companions_add_special(t, specials[i], -1, err));
    return finish(t, c, err);
}

dt_status dt_recipe_read_bert(dt_tokenizer *t, json_t *vocab, const char *unknown, dt_error *err)
{
    json_t *json = NULL;
    bool lower = !looks_cased(vocab) && !t->options.keep_case;
    dt_status status =
        dt_json_parse(&json, dt_pipeline_bert, strlen(dt_pipeline_bert), "a built-in pipeline", err);
    if (status != DT_OK) {
        json_decref(vocab);
        return status;
    }
    json_t *model = json_object_get(json, "model");
    bool set = json_object_set_new(model, "vocab", vocab) == 0;
    set = json_object_set_new(model, "unk_token", json_string(unknown)) == 0 && set;
    set = json_object_set_new(json_object_get(json, "normalizer"), "lowercase", json_boolean(lower)) == 0 &&
          set;
    status = set ? dt_tokenizer_read_json(t, json, err) : dt_fail_memory(err, 0, "a vocabulary");
    json_decref(json);
    return status;
}

dt_status dt_recipe_byt5(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    enum { OFFSET = 3 }; /* <pad>, </s> and <unk> come before the bytes */
    static const char *const first[OFFSET] = {"<pad>", "</s>", "<unk>"};
    if (!dt_vocab_create(&t->vocab, t->arena, 256))
        return dt_fail_memory(err, 256, "a vocabulary");
    for (int byte = 0; byte < 256; byte++) {
        char letter[4];
        size_t bytes = dt_utf8_encode((uint32_t)byte, letter);
        t->model.byte_id[byte] = byte + OFFSET;
        if (!dt_vocab_add(&t->vocab, t->arena, letter, bytes, byte + OFFSET))
            return dt_fail_memory(err, 256, "a vocabulary");
    }
    t->model.kind = "byte";
    t->model.encode = dt_byte_encode;
    t->decoder[0] = (dt_decoder){.push = dt_byte_push, .finish = dt_byte_finish};
    t->decoder_count = 1;
    DT_PASS(dt_added_create(t, dt_companion_tokens(c) + OFFSET, err));
    for (int i = 0; i < OFFSET; i++) { /* they swallow the spaces around them */
        dt_added_token token = {.text = first[i], .bytes = strlen(first[i]), .id = i, .special = true};
        token.lstrip = token.rstrip = true;
        DT_PASS(dt_added_add(t, token, err));
    }
    int64_t sentinels = c->family->extra_ids;
    DT_PASS(c->config == NULL ? DT_OK : dt_json_int(c->config, "extra_ids", &sentinels, err));
    if (sentinels < 0 || sentinels > c->family->extra_ids)
        return dt_fail(err, DT_UNSUPPORTED, "extra_ids is %lld; at most %d are known", (long long)sentinels,
                       c->family->extra_ids);
    for (int32_t i = 0; i < sentinels; i++) {
        char name[32];
        dt_sentinel_name(name, i);
        DT_PASS(dt_companions_add_special(t, name, OFFSET + 256 + i, err));
    }
    t->special[DT_TOKEN_UNK] = 2;
    return finish(t, c, err);
}
