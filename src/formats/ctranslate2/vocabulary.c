/*
 * vocabulary.c (ctranslate2) - the texts of a CTranslate2 folder: the vocabulary, token by token as the model's tokenizer
 * spells them, and config.json, which names the special ones.
 *
 * Ids that no token has, and models without a tokenizer, get names of their own. What CTranslate2 has no key for stands
 * under "drivetrain" in config.json, which CTranslate2 passes over.
 */
#include "formats/ctranslate2/write.h"

#include "base/fail.h"
#include "base/json.h"
#include "base/say.h"
#include "formats/megatron/megatron.h"

#include <drivetrain/tokenizer.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

/* A name that no token has. */
static json_t *filler(int64_t id, bool tokens, const json_t *seen)
{
    char name[64];
    snprintf(name, sizeof name, tokens ? "<extra_id_%" PRId64 ">" : "<id_%" PRId64 ">", id);
    for (int i = 0; json_object_get(seen, name) && i < 1000; i++)
        snprintf(name, sizeof name, "<extra_id_%" PRId64 "_%d>", id, i);
    return json_string(name);
}

static dt_status list_tokens(json_t **out, const dt_tokenizer *t, int64_t count, dt_error *err)
{
    json_t *list = json_array(), *seen = json_object();
    int64_t known = t ? dt_tokenizer_vocab_size(t) : 0;
    int failed = !list || !seen;
    for (int64_t id = 0; id < count && !failed; id++) {
        const char *text = id < known ? dt_tokenizer_token(t, (int32_t)id) : NULL;
        json_t *name = text && !json_object_get(seen, text) ? json_string(text) : NULL;
        if (!name) /* none, not UTF-8, or a second of its spelling */
            name = filler(text || !t ? id : id - known, t != NULL, seen);
        failed = !name || json_object_set(seen, json_string_value(name), json_true()) ||
                 json_array_append_new(list, name);
    }
    json_decref(seen);
    if (failed) {
        json_decref(list);
        return dt_fail_memory(err, (size_t)count * 32, "a vocabulary");
    }
    *out = list;
    return DT_OK;
}

/* ---- config.json ---- */

static json_t *spelled(const json_t *tokens, int64_t id, const char *otherwise)
{
    const char *text = id < 0 ? NULL : json_string_value(json_array_get(tokens, (size_t)id));
    return text ? json_string(text) : otherwise ? json_string(otherwise) : json_null();
}

static int64_t unknown_id(const dt_model_config *c, const dt_tokenizer *t)
{
    int64_t id = t ? dt_tokenizer_special(t, DT_TOKEN_UNK) : -1;
    if (id >= 0 && id < c->vocab_size)
        return id;
    return c->bos_token_id >= 0 ? c->bos_token_id : c->eos_count ? c->eos_token_ids[0] : 0;
}

static dt_status make_config(json_t **out, const dt_model_config *c, const dt_tokenizer *t,
                             const json_t *tokens, dt_error *err)
{
    json_t *own = NULL, *json = json_object();
    bool two = dt_ct2_two_sided(c), zero = dt_ct2_starts_from_zero(c);
    int64_t start = c->decoder_start_token_id, end = c->eos_count ? c->eos_token_ids[0] : -1;
    int64_t begin = c->bos_token_id >= 0 ? c->bos_token_id : two ? c->pad_token_id : end;
    int failed = !json;
    failed |= json_object_set_new(json, "unk_token", spelled(tokens, unknown_id(c, t), "<unk>"));
    failed |=
        json_object_set_new(json, "bos_token", spelled(tokens, begin < c->vocab_size ? begin : -1, "<s>"));
    failed |= json_object_set_new(json, "eos_token", spelled(tokens, end, "</s>"));
    failed |= json_object_set_new(json, "layer_norm_epsilon", json_real(c->layernorm_epsilon));
    if (two) {
        failed |= json_object_set_new(json, "decoder_start_token", spelled(tokens, zero ? end : start, NULL));
        failed |= json_object_set_new(json, "add_source_bos", json_false());
        failed |= json_object_set_new(json, "add_source_eos", json_false());
    } else {
        failed |= json_object_set_new(json, "multi_query_attention",
                                      json_boolean(c->num_query_groups != c->num_attention_heads));
    }
    dt_status status =
        failed ? dt_fail_memory(err, 4096, "config.json") : dt_megatron_write_config(c, &own, err);
    if (status == DT_OK && json_object_set_new(own, "x_family", json_string(c->family)) |
                               json_object_set_new(json, "drivetrain", own))
        status = dt_fail_memory(err, 4096, "config.json");
    if (status == DT_OK)
        *out = json;
    else
        json_decref(json);
    return status;
}

static dt_status save(json_t *json, const char *folder, const char *name, dt_export_result *result,
                      dt_error *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    result->files++;
    return dt_json_save(json, path, err);
}

/* The model's own tokenizer; NULL when none lies there. */
static dt_status open_tokenizer(const dt_checkpoint *from, dt_tokenizer **out, dt_error *err)
{
    dt_status status = dt_tokenizer_open(out, from->path, err);
    if (status != DT_NOT_FOUND)
        return status;
    dt_error_clear(err);
    dt_say(from->log, DT_LOG_WARNING,
           "there is no tokenizer beside the model: its tokens are called <id_0>, <id_1>, …");
    return DT_OK;
}

dt_status dt_ct2_write_texts(const dt_checkpoint *from, const dt_model_config *c, const char *folder,
                             dt_export_result *result, dt_error *err)
{
    dt_tokenizer *t = NULL;
    json_t *tokens = NULL, *sources = NULL, *config = NULL;
    bool apart = dt_ct2_two_sided(c) && c->encoder_vocab_size > 0 && c->encoder_vocab_size != c->vocab_size;
    dt_status status;
    DT_GO(status, open_tokenizer(from, &t, err));
    DT_GO(status, list_tokens(&tokens, t, c->vocab_size, err));
    DT_GO(status, make_config(&config, c, t, tokens, err));
    DT_GO(status, save(config, folder, "config.json", result, err));
    DT_GO(status, save(tokens, folder,
                       apart                 ? "target_vocabulary.json"
                       : dt_ct2_two_sided(c) ? "shared_vocabulary.json"
                                             : "vocabulary.json",
                       result, err));
    if (!apart)
        goto done;
    DT_GO(status, list_tokens(&sources, t, c->encoder_vocab_size, err));
    status = save(sources, folder, "source_vocabulary.json", result, err);
done:
    json_decref(sources);
    json_decref(tokens);
    json_decref(config);
    dt_tokenizer_close(t);
    return status;
}
