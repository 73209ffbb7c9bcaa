/*
 * splits.c - the table of split patterns by name, and the stages that a byte-level BPE model stands between.
 */
#include "data/tokenizer/splits.h"

#include "data/tokenizer/patterns.h"

#include <string.h>

static const dt_split splits[] = {
    {"gpt2", {DT_PATTERN_GPT2}, false},
    {"cl100k", {DT_PATTERN_LLAMA3}, false},
    {"llama3", {DT_PATTERN_LLAMA3}, false},
    {"qwen2", {DT_PATTERN_QWEN2}, true},
    {"o200k", {DT_PATTERN_O200K}, false},
    {"tekken", {DT_PATTERN_TEKKEN}, false},
    {"starcoder", {"\\p{N}", DT_PATTERN_GPT2}, false},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", DT_PATTERN_GPT2, "[0-9][0-9][0-9]"}, false},
    {"bloom",
     {" ?[^(\\s|.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C)]+"},
     false},
    {"deepseek-v3",
     {"\\p{N}{1,3}", "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
      "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     false},
    {"deepseek-coder",
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
      "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+", "\\p{N}"},
     false},
};

const dt_split *dt_split_find(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof splits / sizeof *splits; i++)
        if (strcmp(splits[i].name, name) == 0)
            return &splits[i];
    return NULL;
}

void dt_split_names(dt_text *out)
{
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        dt_text_printf(out, "%s%s", i > 0 ? ", " : "", splits[i].name);
}

static json_t *pre_tokenizers(const dt_split *split)
{
    json_t *list = json_array();
    for (int i = 0; i < DT_SPLIT_STEPS && split->pattern[i] != NULL; i++)
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern", "Regex",
                                              split->pattern[i], "behavior", "Isolated"));
    json_array_append_new(
        list, json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

json_t *dt_split_document(const dt_split *split)
{
    json_t *normalizer = split->compose ? json_pack("{s:s}", "type", "NFC") : json_null();
    return json_pack("{s:o, s:o, s:{s:s}}", "normalizer", normalizer, "pre_tokenizer", pre_tokenizers(split),
                     "decoder", "type", "ByteLevel");
}

dt_status dt_split_install(dt_tokenizer *t, const dt_split *split, dt_error *err)
{
    json_t *document = dt_split_document(split);
    if (document == NULL)
        return dt_fail_memory(err, 0, "the stages of a tokenizer");
    dt_status status = dt_normalizers_read(t, dt_json_get(document, "normalizer"), err);
    if (status == DT_OK)
        status = dt_pre_read(t, dt_json_get(document, "pre_tokenizer"), err);
    if (status == DT_OK)
        status = dt_decoders_read(t, dt_json_get(document, "decoder"), err);
    json_decref(document);
    return status;
}
