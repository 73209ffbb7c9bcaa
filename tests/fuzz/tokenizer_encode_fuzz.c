/*
 * tokenizer_encode_fuzz.c - any text through a few tokenizers that are shaped like published ones. The first byte
 * picks the tokenizer, the rest is the text.
 */
#include "tokenizer_fuzz.h"

#define VOCAB                                                                                                \
    "{\"<unk>\": 0, \"<s>\": 1, \"a\": 2, \"b\": 3, \"ab\": 4, \"\\u2581\": 5, \"\\u2581a\": 6, "            \
    "\"\\u0120\": 7, "                                                                                       \
    "\"\\u0120a\": 8, \"e\": 9, \"##b\": 10, \"\\u00e9\": 11, \"aa\": 12, \"!\": 13, \"1\": 14}"
#define ADDED                                                                                                \
    "\"added_tokens\": [{\"id\": 1, \"content\": \"<s>\", \"special\": true, \"lstrip\": true}, {\"id\": "   \
    "20, "                                                                                                   \
    "\"content\": \"a b\", \"single_word\": true, \"rstrip\": true}], "
#define MERGES "\"merges\": [\"a b\", [\"\\u2581\", \"a\"], \"\\u0120 a\", \"a a\"]"

static const char *const documents[] = {
    "{" ADDED "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"decoder\": {\"type\": \"ByteLevel\"}, "
    "\"model\": {\"type\": "
    "\"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true, \"vocab\": " VOCAB ", " MERGES "}}",
    "{" ADDED "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}, {\"type\": "
    "\"Prepend\", "
    "\"prepend\": \"\\u2581\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": "
    "\"\\u2581\"}]}, "
    "\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteFallback\"}, {\"type\": "
    "\"Fuse\"}, {\"type\": "
    "\"Strip\", \"content\": \"\\u2581\", \"start\": 1, \"stop\": 1}]}, \"model\": {\"type\": \"BPE\", "
    "\"unk_token\": "
    "\"<unk>\", \"vocab\": " VOCAB ", " MERGES "}}",
    "{" ADDED
    "\"normalizer\": {\"type\": \"BertNormalizer\"}, \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, "
    "\"decoder\": {\"type\": \"WordPiece\"}, \"model\": {\"type\": \"WordPiece\", \"unk_token\": \"<unk>\", "
    "\"vocab\": " VOCAB "}}",
    "{" ADDED "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
    "\"UnicodeScripts\"}, {\"type\": "
    "\"Metaspace\", \"replacement\": \"\\u2581\", \"prepend_scheme\": \"first\"}]}, \"decoder\": {\"type\": "
    "\"Metaspace\", "
    "\"replacement\": \"\\u2581\"}, \"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": "
    "[[\"<unk>\", 0], [\"<s>\", 0], "
    "[\"a\", -1.5], [\"ab\", -2], [\"\\u2581\", -3], [\"\\u00e9\", -1]]}}",
    "{" ADDED
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Whitespace\"}, {\"type\": "
    "\"Split\", \"pattern\": {\"Regex\": \"\\\\p{N}{1,3}|(?i:'s)|[^\\\\s\\\\w]+\"}, \"behavior\": "
    "\"MergedWithPrevious\"}, "
    "{\"type\": \"Digits\", \"individual_digits\": true}]}, \"model\": {\"type\": \"WordLevel\", "
    "\"unk_token\": \"<unk>\", "
    "\"vocab\": " VOCAB "}}",
};
enum { COUNT = sizeof documents / sizeof *documents };

static dt_tokenizer *read_document(const char *text)
{
    dt_error err = {0};
    json_t *json = NULL;
    dt_tokenizer *t = dt_tokenizer_blank();
    assert(dt_json_parse(&json, text, strlen(text), "document", &err) == DT_OK);
    assert(dt_tokenizer_read_json(t, json, &err) == DT_OK);
    assert(dt_added_finish(t, &err) == DT_OK);
    json_decref(json);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static dt_tokenizer *tokenizer[COUNT];
    if (tokenizer[0] == NULL)
        for (size_t i = 0; i < COUNT; i++)
            tokenizer[i] = read_document(documents[i]);
    if (bytes > 0)
        encode_and_back(tokenizer[data[0] % COUNT], (const char *)data + 1, bytes - 1);
    return 0;
}
