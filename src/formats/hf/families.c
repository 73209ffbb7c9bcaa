/*
 * families.c - the table of Hugging Face model types, and reading config.json into drivetrain's configuration.
 *
 * Which types there are is models.def's last column. Keys are decided one by one, never by transformers' version:
 * null counts as absent, absent as the class default; but a null end token is none.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/hf/family.h"

#include <stdio.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* ---- names: one table a file ---- */

#define NAME(when, transform, canonical, ...) {DT_WHEN_##when, DT_MAP_##transform, canonical, {__VA_ARGS__}},
#define PREFIX(text)
#define COPY(name, of)
#define SKIP(pattern, rule)
static const dt_name_row t5_rows[] = {
#include "formats/hf/names_t5.def"
};
static const dt_name_row llama_rows[] = {
#include "formats/hf/names_llama.def"
};
static const dt_name_row mixtral_rows[] = {
#include "formats/hf/names_mixtral.def"
};
static const dt_name_row gpt2_rows[] = {
#include "formats/hf/names_gpt2.def"
};
#undef NAME
#undef COPY
#define NAME(when, transform, canonical, ...)
#define COPY(name, of) {name, of},
static const dt_name_copy t5_copies[] = {
#include "formats/hf/names_t5.def"
};
static const dt_name_copy llama_copies[] = {
#include "formats/hf/names_llama.def"
};
static const dt_name_copy mixtral_copies[] = {
#include "formats/hf/names_mixtral.def"
};
static const dt_name_copy gpt2_copies[] = {
#include "formats/hf/names_gpt2.def"
};
#undef COPY
#undef SKIP
#define COPY(name, of)
#define SKIP(pattern, rule) {pattern, rule},
static const dt_name_skip t5_skips[] = {
#include "formats/hf/names_t5.def"
};
static const dt_name_skip llama_skips[] = {
#include "formats/hf/names_llama.def"
};
static const dt_name_skip mixtral_skips[] = {
#include "formats/hf/names_mixtral.def"
};
static const dt_name_skip gpt2_skips[] = {
#include "formats/hf/names_gpt2.def"
};
#undef NAME
#undef PREFIX
#undef COPY
#undef SKIP

#define NAME_TABLE(name, prefix_text)                                                                        \
    static const dt_name_table name##_names = {.prefix = prefix_text,                                        \
                                               .row = name##_rows,                                           \
                                               .row_count = COUNT(name##_rows),                              \
                                               .copy = name##_copies,                                        \
                                               .copy_count = COUNT(name##_copies),                           \
                                               .skip = name##_skips,                                         \
                                               .skip_count = COUNT(name##_skips)};
NAME_TABLE(t5, "")
NAME_TABLE(llama, "model.")
NAME_TABLE(mixtral, "model.")
NAME_TABLE(gpt2, "transformer.")

/* ---- keys ---- */

#define KEY(kind, key, field) {DT_HF_##kind, key, offsetof(dt_model_config, field)},
static const dt_hf_key t5_keys[] = {
#include "formats/hf/keys_t5.def"
};
static const dt_hf_key llama_keys[] = {
#include "formats/hf/keys_llama.def"
};
static const dt_hf_key mixtral_keys[] = {
#include "formats/hf/keys_mixtral.def"
};
static const dt_hf_key gpt2_keys[] = {
#include "formats/hf/keys_gpt2.def"
};
#undef KEY

#define FAMILY(name, class_name, table)                                                                      \
    static const dt_hf_family name##_family = {.model_type = #name,                                          \
                                               .architecture = class_name,                                   \
                                               .key = table##_keys,                                          \
                                               .key_count = COUNT(table##_keys),                             \
                                               .names = &table##_names,                                      \
                                               .defaults = dt_hf_##name##_defaults,                          \
                                               .read = dt_hf_##name##_read,                                  \
                                               .holds = dt_hf_##name##_holds,                                \
                                               .write = dt_hf_##name##_write};
FAMILY(gpt2, "GPT2LMHeadModel", gpt2)
FAMILY(llama, "LlamaForCausalLM", llama)
FAMILY(mixtral, "MixtralForCausalLM", mixtral)
FAMILY(t5, "T5ForConditionalGeneration", t5)
FAMILY(mt5, "MT5ForConditionalGeneration", t5)
FAMILY(umt5, "UMT5ForConditionalGeneration", t5)

#define none_family no_family
static const dt_hf_family no_family = {.model_type = NULL};
static const dt_hf_family *const families[] = {
#define MODEL(family, type, builder, description, hf) &hf##_family,
#include "models/models.def"
#undef MODEL
};

const dt_hf_family *dt_hf_family_at(int index)
{
    for (int i = 0; i < COUNT(families); i++)
        if (families[i]->model_type && index-- == 0)
            return families[i];
    return NULL;
}

const dt_hf_family *dt_hf_family_find(const char *model_type)
{
    const dt_hf_family *f;
    for (int i = 0; (f = dt_hf_family_at(i)); i++)
        if (strcmp(f->model_type, model_type) == 0)
            return f;
    return NULL;
}

dt_status dt_hf_family_of(const json_t *json, const dt_hf_family **out, dt_error *err)
{
    const char *type = NULL, *names[COUNT(families)];
    dt_text list = {0};
    int count = 0;
    DT_PASS(dt_json_string(json, "model_type", &type, err));
    if (!type)
        return dt_fail(err, DT_FORMAT, "config.json has no \"model_type\"");
    if ((*out = dt_hf_family_find(type)))
        return DT_OK;
    for (const dt_hf_family *f; (f = dt_hf_family_at(count)); count++) {
        names[count] = f->model_type;
        dt_text_printf(&list, "%s%s", count ? ", " : "", f->model_type);
    }
    const char *near = dt_nearest(type, names, (size_t)count);
    dt_fail(err, DT_UNSUPPORTED, "config.json: \"model_type\" is \"%s\"; drivetrain reads %s%s%s%s", type,
            list.data ? list.data : "", near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
    dt_text_free(&list);
    return DT_UNSUPPORTED;
}

/* ---- reading ---- */

static dt_status read_keys(const dt_hf_family *family, const json_t *json, dt_model_config *config,
                           dt_error *err)
{
    for (int i = 0; i < family->key_count; i++) {
        const dt_hf_key *k = &family->key[i];
        void *field = (char *)config + k->offset;
        if (k->kind == DT_HF_INT || k->kind == DT_HF_ALIAS)
            DT_PASS(dt_json_int(json, k->key, field, err));
        else if (k->kind == DT_HF_REAL)
            DT_PASS(dt_json_real(json, k->key, field, err));
        else
            DT_PASS(dt_json_bool(json, k->key, field, err));
    }
    return DT_OK;
}

static dt_status read_token_id(const json_t *value, const char *key, int64_t *out, dt_error *err)
{
    if (!json_is_integer(value))
        return dt_fail(err, DT_FORMAT, "key \"%s\" holds something that is no token id", key);
    *out = json_integer_value(value);
    if (*out < -1 || *out > INT32_MAX)
        return dt_fail(err, DT_FORMAT, "key \"%s\" is %lld, which is no token id", key, (long long)*out);
    return DT_OK;
}

/* One id, a list of them, or null: the model has none, whatever its class's default. */
static dt_status read_stop_ids(const json_t *json, dt_model_config *config, dt_error *err)
{
    const json_t *value = json_object_get(json, "eos_token_id");
    if (!value)
        return DT_OK;
    if (json_is_null(value)) {
        config->eos_count = 0;
        return DT_OK;
    }
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > DT_MAX_STOP_IDS)
        return dt_fail(err, DT_LIMIT, "key \"eos_token_id\" lists %zu ids, at most %d are kept", count,
                       DT_MAX_STOP_IDS);
    config->eos_count = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t id;
        DT_PASS(
            read_token_id(json_is_array(value) ? json_array_get(value, i) : value, "eos_token_id", &id, err));
        if (id >= 0)
            config->eos_token_ids[config->eos_count++] = (int32_t)id;
    }
    return DT_OK;
}

static dt_status read_tokens(const json_t *json, dt_model_config *config, dt_error *err)
{
    const struct {
        const char *key;
        int64_t *field;
    } id[] = {{"bos_token_id", &config->bos_token_id},
              {"pad_token_id", &config->pad_token_id},
              {"decoder_start_token_id", &config->decoder_start_token_id}};
    for (int i = 0; i < COUNT(id); i++) {
        const json_t *value = dt_json_get(json, id[i].key);
        if (value)
            DT_PASS(read_token_id(value, id[i].key, id[i].field, err));
    }
    return read_stop_ids(json, config, err);
}

dt_status dt_hf_read_config(const dt_hf_family *family, const json_t *json, const json_t *generation,
                            const dt_hf_evidence *evidence, dt_model_config *config, dt_error *err)
{
    const char *version = NULL;
    dt_config_init(config);
    if (dt_json_get(json, "quantization_config"))
        return dt_fail(err, DT_UNSUPPORTED,
                       "key \"quantization_config\": quantised weights cannot be read yet");
    snprintf(config->family, sizeof config->family, "%s", family->model_type);
    family->defaults(config);
    DT_PASS(read_keys(family, json, config, err));
    DT_PASS(family->read(config, json, evidence, err));
    DT_PASS(read_tokens(json, config, err));
    if (generation)
        DT_TRY(read_tokens(generation, config, err), err, "while reading generation_config.json");
    DT_PASS(dt_json_string(json, "transformers_version", &version, err));
    if (version)
        snprintf(config->written_by, sizeof config->written_by, "transformers %.40s", version);
    return DT_OK;
}
