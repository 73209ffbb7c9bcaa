/*
 * companions.c - the family table, and reading the files beside a tokenizer's own.
 *
 * Leaves finding the tokenizer itself to folder.c and building one from a bare vocabulary to recipe.c.
 */
#include "data/tokenizer/companions.h"

#include "base/output.h"

#include <stdio.h>
#include <string.h>

static const dt_family families[] = {
    {"ByT5Tokenizer", NULL, false, true, false, 125, {NULL, "</s>", "<pad>", "<unk>"}, NULL},
    {"T5Tokenizer", "t5", false, true, false, 100, {NULL, "</s>", "<pad>", "<unk>"}, NULL},
    {"MT5Tokenizer", "mt5", false, true, false, 0, {NULL, "</s>", "<pad>", "<unk>"}, NULL},
    {"SiglipTokenizer", "siglip", false, true, false, 0, {NULL, "</s>", "</s>", "<unk>"}, NULL},
    {"LlamaTokenizer", "llama", true, false, true, 0, {"<s>", "</s>", NULL, "<unk>"}, NULL},
    {"CodeLlamaTokenizer", NULL, true, false, true, 0, {"<s>", "</s>", NULL, "<unk>"}, NULL},
    {"GemmaTokenizer", "gemma", true, false, true, 0, {"<bos>", "<eos>", "<pad>", "<unk>"}, NULL},
    {"XLMRobertaTokenizer", "xlm-roberta", true, true, false, 0, {"<s>", "</s>", "<pad>", "<unk>"}, NULL},
    {"MBart50Tokenizer", NULL, false, true, false, 0, {"<s>", "</s>", "<pad>", "<unk>"}, NULL},
    {"MBartTokenizer", "mbart", false, true, false, 0, {"<s>", "</s>", "<pad>", "<unk>"}, NULL},
    {"NllbTokenizer", NULL, false, true, false, 0, {"<s>", "</s>", "<pad>", "<unk>"}, NULL},
    {"CLIPTokenizer",
     "clip",
     true,
     true,
     false,
     0,
     {"<|startoftext|>", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"},
     dt_pipeline_clip},
    {"RobertaTokenizer",
     "roberta",
     true,
     true,
     false,
     0,
     {"<s>", "</s>", "<pad>", "<unk>"},
     dt_pipeline_gpt2},
    {"BartTokenizer", "bart", true, true, false, 0, {"<s>", "</s>", "<pad>", "<unk>"}, dt_pipeline_gpt2},
    {"BertTokenizer", "bert", true, true, false, 0, {"[CLS]", "[SEP]", "[PAD]", "[UNK]"}, dt_pipeline_bert},
    {"DistilBertTokenizer",
     "distilbert",
     true,
     true,
     false,
     0,
     {"[CLS]", "[SEP]", "[PAD]", "[UNK]"},
     dt_pipeline_bert},
    {"ElectraTokenizer",
     "electra",
     true,
     true,
     false,
     0,
     {"[CLS]", "[SEP]", "[PAD]", "[UNK]"},
     dt_pipeline_bert},
    {"GPT2Tokenizer",
     "gpt2",
     false,
     false,
     false,
     0,
     {"<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>"},
     dt_pipeline_gpt2},
};
static const dt_family unknown_family = {"", NULL, false, false, false, 0, {NULL}, NULL};

const dt_family *dt_family_of_class(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof families / sizeof *families; i++)
        if (dt_starts_with(name, families[i].class_name))
            return &families[i];
    return NULL;
}

static const dt_family *family_of_model(const char *type)
{
    for (size_t i = 0; type != NULL && i < sizeof families / sizeof *families; i++)
        if (families[i].model_type != NULL && strcmp(type, families[i].model_type) == 0)
            return &families[i];
    return NULL;
}

/* ---- the folder's companion files --------------------------------------------------------------------------- */

static char *path_in(const dt_tokenizer *t, const char *folder, const char *name)
{
    return dt_arena_printf(t->arena, "%s/%s", folder, name);
}

static dt_status load_optional(const dt_tokenizer *t, json_t **out, const char *folder, const char *name,
                               dt_error *err)
{
    const char *path = path_in(t, folder, name);
    if (path == NULL)
        return dt_fail_memory(err, 0, "a path");
    if (!dt_is_file(path))
        return DT_OK;
    DT_PASS(dt_json_load(out, path, DT_FILE_LIMIT, err));
    return json_is_object(*out) ? DT_OK : dt_fail(err, DT_FORMAT, "%s is not an object", path);
}

dt_status dt_companions_load(const dt_tokenizer *t, dt_companions *c, const char *folder, dt_error *err)
{
    *c = (dt_companions){.folder = folder, .family = &unknown_family};
    if (folder == NULL)
        return DT_OK;
    DT_PASS(load_optional(t, &c->config, c->folder, "tokenizer_config.json", err));
    DT_PASS(load_optional(t, &c->special_map, c->folder, "special_tokens_map.json", err));
    DT_PASS(load_optional(t, &c->added, c->folder, "added_tokens.json", err));
    DT_PASS(load_optional(t, &c->model_config, c->folder, "config.json", err));
    const char *name = NULL, *type = NULL;
    if (c->config != NULL)
        DT_TRY(dt_json_string(c->config, "tokenizer_class", &name, err), err,
               "while reading tokenizer_config.json");
    if (c->model_config != NULL && name == NULL)
        DT_TRY(dt_json_string(c->model_config, "tokenizer_class", &name, err), err,
               "while reading config.json");
    if (c->model_config != NULL)
        DT_TRY(dt_json_string(c->model_config, "model_type", &type, err), err, "while reading config.json");
    const dt_family *found = dt_family_of_class(name);
    if (found == NULL)
        found = family_of_model(type);
    if (found != NULL)
        c->family = found;
    return DT_OK;
}

void dt_companions_free(dt_companions *c)
{
    json_decref(c->config);
    json_decref(c->special_map);
    json_decref(c->added);
    json_decref(c->model_config);
}

/* A token's spelling: a string, or an object with "content". NULL when absent. */
static const char *token_content(const json_t *token)
{
    const json_t *content = json_is_object(token) ? json_object_get(token, "content") : token;
    return json_string_value(content);
}

static const char *named_token(const dt_companions *c, const char *key)
{
    const char *name = token_content(dt_json_get(c->config, key));
    return name != NULL ? name : token_content(dt_json_get(c->special_map, key));
}

/* What role a token has: as the files say, or as the family does. */
const char *dt_companions_role_token(const dt_companions *c, dt_role role)
{
    static const char *const keys[DT_ROLES] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    static const char *const bert_keys[2] = {"cls_token", "sep_token"};
    const char *usual = c->family->token[role];
    if (role <= DT_ROLE_AFTER && usual != NULL && usual[0] == '[' && named_token(c, bert_keys[role]) != NULL)
        return named_token(c, bert_keys[role]);
    const char *name = named_token(c, keys[role]);
    return name != NULL ? name : usual;
}

void dt_sentinel_name(char name[32], int number)
{
    snprintf(name, 32, "<extra_id_%d>", number);
}

/* ---- what the companions change ----------------------------------------------------------------------------- */

dt_status dt_companions_add_special(dt_tokenizer *t, const char *text, int32_t id, dt_error *err)
{
    if (text == NULL || dt_added_find(t, text, strlen(text)) != NULL)
        return DT_OK;
    return dt_added_add(t, (dt_added_token){.text = text, .bytes = strlen(text), .id = id, .special = true},
                        err);
}

/* How many added tokens the companions can bring at most. */
int32_t dt_companion_tokens(const dt_companions *c)
{
    size_t count = DT_ROLES + 2 + (size_t)c->family->extra_ids + json_object_size(c->added) +
                   json_object_size(dt_json_get(c->config, "added_tokens_decoder")) +
                   (size_t)dt_fairseq_tokens(c);
    return count < DT_VOCAB_LIMIT / 2 ? (int32_t)count : DT_VOCAB_LIMIT / 2;
}

dt_status dt_companions_add_decoder_tokens(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    const char *key;
    json_t *json;
    json_object_foreach(dt_json_get(c->config, "added_tokens_decoder"), key, json)
    {
        const char *text = token_content(json);
        dt_added_token token = {.text = text, .bytes = text != NULL ? strlen(text) : 0, .id = -1};
        int64_t numbers[1];
        int count = 0;
        if (text == NULL || !dt_match_numbers("{}", key, numbers, 1, &count) || numbers[0] >= DT_VOCAB_LIMIT)
            return dt_fail(err, DT_FORMAT, "added_tokens_decoder: \"%s\" is not an id with a token", key);
        if (dt_added_find(t, text, token.bytes) != NULL)
            continue;
        token.id = (int32_t)numbers[0];
        DT_PASS(dt_json_bool(json, "special", &token.special, err));
        token.normalized = !token.special;
        DT_PASS(dt_json_bool(json, "single_word", &token.single_word, err));
        DT_PASS(dt_json_bool(json, "lstrip", &token.lstrip, err));
        DT_PASS(dt_json_bool(json, "rstrip", &token.rstrip, err));
        DT_PASS(dt_json_bool(json, "normalized", &token.normalized, err));
        DT_PASS(dt_added_add(t, token, err));
    }
    return DT_OK;
}

dt_status dt_companions_add_listed_tokens(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    const char *text;
    json_t *id;
    json_object_foreach(c->added, text, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= DT_VOCAB_LIMIT)
            return dt_fail(err, DT_FORMAT,
                           "added_tokens.json: the id of \"%s\" is not an integer from 0 to %d", text,
                           DT_VOCAB_LIMIT - 1);
        dt_added_token token = {.text = text, .bytes = strlen(text), .id = (int32_t)json_integer_value(id)};
        if (dt_added_find(t, text, token.bytes) == NULL)
            DT_PASS(dt_added_add(t, token, err));
    }
    return DT_OK;
}

/* T5's sentinels sit behind the pieces, the highest number first. */
dt_status dt_companions_add_sentinels(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    int64_t count = c->family->extra_ids;
    DT_PASS(c->config == NULL ? DT_OK : dt_json_int(c->config, "extra_ids", &count, err));
    if (count < 0 || count > c->family->extra_ids)
        return dt_fail(err, DT_UNSUPPORTED, "extra_ids is %lld; at most %d are known", (long long)count,
                       c->family->extra_ids);
    for (int32_t i = 0; i < count; i++) {
        char name[32];
        dt_sentinel_name(name, i);
        DT_PASS(dt_companions_add_special(t, name, t->piece_count + (int32_t)count - 1 - i, err));
    }
    return DT_OK;
}

dt_status dt_companions_name_specials(dt_tokenizer *t, const dt_companions *c, bool add, dt_error *err)
{
    for (int role = 0; role < DT_ROLES; role++) {
        const char *text = dt_companions_role_token(c, role);
        int32_t id = text == NULL ? -1 : dt_tokenizer_id(t, text);
        if (id < 0)
            continue;
        if (add)
            DT_PASS(dt_companions_add_special(t, text, id, err));
        if (text[0] != '[' || role >= DT_ROLE_PAD) /* BERT's frame is no beginning and no end */
            t->special[role] = id;
    }
    return DT_OK;
}

dt_status dt_companions_frame(dt_tokenizer *t, const dt_companions *c, bool explicit_only, dt_error *err)
{
    bool before = c->family->add_before, after = c->family->add_after;
    bool said =
        dt_json_get(c->config, "add_bos_token") != NULL || dt_json_get(c->config, "add_eos_token") != NULL;
    if (explicit_only && !said)
        return DT_OK;
    if (c->config != NULL) {
        DT_PASS(dt_json_bool(c->config, "add_bos_token", &before, err));
        DT_PASS(dt_json_bool(c->config, "add_eos_token", &after, err));
    }
    const char *first = dt_companions_role_token(c, DT_ROLE_BEFORE),
               *last = dt_companions_role_token(c, DT_ROLE_AFTER);
    int32_t first_id = before && first != NULL ? dt_tokenizer_id(t, first) : -1;
    int32_t last_id = after && last != NULL ? dt_tokenizer_id(t, last) : -1;
    if ((before && first_id < 0) || (after && last_id < 0))
        return dt_fail(err, DT_FORMAT, "the token \"%s\", to be added by encoding, is not in the vocabulary",
                       before && first_id < 0 ? (first ? first : "bos_token") : (last ? last : "eos_token"));
    return dt_post_set(t, first_id, last_id, err);
}

/* SigLIP's texts: lower case, no ASCII punctuation, single spaces; then what the model's own normalizer does. */
static const char canonical_texts[] =
    "[{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[!-/:-@\\\\[-`{-~]\"},\"content\":\"\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"content\":\" \"},"
    "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}]";

dt_status dt_companions_canonicalize(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    json_t *parts = NULL, *part;
    bool lower = true;
    size_t i;
    if (strcmp(c->family->class_name, "SiglipTokenizer") != 0)
        return DT_OK;
    if (c->config != NULL)
        DT_PASS(dt_json_bool(c->config, "do_lower_case", &lower, err));
    DT_PASS(dt_json_parse(&parts, canonical_texts, strlen(canonical_texts), "SigLIP's normalizer", err));
    if (lower)
        json_array_insert_new(parts, 0, json_pack("{s:s}", "type", "Lowercase"));
    dt_normalizer own = t->normalizer[0]; /* sentencepiece's stays the last */
    dt_status status = DT_OK;
    t->normalizer_count = 0;
    json_array_foreach(parts, i, part) if (status == DT_OK) status = dt_normalizers_read(t, part, err);
    t->normalizer[t->normalizer_count++] = own;
    json_decref(parts);
    return status;
}
