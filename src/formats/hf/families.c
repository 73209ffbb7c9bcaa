/*
 * families.c - the table of Hugging Face model types, and config.json read into drivetrain's configuration and written
 * from it.
 *
 * Which types there are is models.def's last column; what is one family's own lies in its file. Keys are decided one by one, never by transformers' version:
 * null counts as absent, absent as the class default; but a null end token is none.
 */
#include "base/json.h"
#include "base/text.h"
#include "formats/hf/compound.h"

#include <stdio.h>
#include <string.h>

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

#define MODEL(family, type, builder, description, hf) extern const dt_hf_family dt_hf_##hf##_family;
#include "models/models.def"
#undef MODEL

const dt_hf_family dt_hf_none_family = {.model_type = NULL};
static const dt_hf_family *const families[] = {
#define MODEL(family, type, builder, description, hf) &dt_hf_##hf##_family,
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

static dt_status read_activation(const json_t *json, const char *key, dt_activation *out, dt_error *err)
{
    const char *name = NULL;
    DT_PASS(dt_json_string(json, key, &name, err));
    return name ? dt_hf_read_activation(key, name, out, err) : DT_OK;
}

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
        else if (k->kind == DT_HF_BOOL)
            DT_PASS(dt_json_bool(json, k->key, field, err));
        else
            DT_PASS(read_activation(json, k->key, field, err));
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
                            const dt_hf_evidence *evidence, dt_model_config *config, dt_config_parts *parts,
                            dt_error *err)
{
    const char *version = NULL;
    dt_config_init(config);
    if (family->compound && !parts)
        return dt_fail(err, DT_UNSUPPORTED, "a %s cannot be a part of another model", family->model_type);
    if (family->compound)
        DT_PASS(dt_hf_read_members(family, json, evidence, config, parts, err));
    DT_PASS(dt_hf_check_quantization(json, err));
    snprintf(config->family, sizeof config->family, "%s", family->model_type);
    family->defaults(config);
    DT_PASS(read_keys(family, json, config, err));
    config->share_embeddings_and_output_weights = !evidence->head;
    if (family->read)
        DT_PASS(family->read(config, json, evidence, err));
    if (family->compound && family->compound->read_parts)
        DT_PASS(family->compound->read_parts(parts, config, json, err));
    DT_PASS(read_tokens(json, config, err));
    if (generation)
        DT_TRY(read_tokens(generation, config, err), err, "while reading generation_config.json");
    DT_PASS(dt_json_string(json, "transformers_version", &version, err));
    if (version)
        snprintf(config->written_by, sizeof config->written_by, "transformers %.40s", version);
    return DT_OK;
}

/* ---- writing ---- */

static int write_key(const dt_hf_key *k, const dt_model_config *c, json_t *json)
{
    const void *field = (const char *)c + k->offset;
    switch (k->kind) {
    case DT_HF_ALIAS:
        return 0;
    case DT_HF_INT:
        return json_object_set_new(json, k->key, json_integer(*(const int64_t *)field));
    case DT_HF_REAL:
        return json_object_set_new(json, k->key, json_real(*(const double *)field));
    case DT_HF_BOOL:
        return json_object_set_new(json, k->key, json_boolean(*(const bool *)field));
    case DT_HF_ACTIVATION:
    case DT_HF_TORCH_ACTIVATION:
        break;
    }
    dt_activation activation = *(const dt_activation *)field;
    bool torch = k->kind == DT_HF_TORCH_ACTIVATION && activation == DT_ACT_GELU_TANH;
    return json_object_set_new(json, k->key,
                               json_string(torch ? "gelu_pytorch_tanh" : dt_hf_activation_name(activation)));
}

/* A bias that every linear has is said by either word; classes ask for the one or the other. */
static dt_model_config with_both_words(const dt_model_config *config)
{
    dt_model_config c = *config;
    if (strcmp(c.model_type, "gpt") != 0 && !dt_config_is_tower(&c))
        return c;
    c.add_bias_linear |= c.add_qkv_bias && c.attention_output_bias && c.mlp_bias;
    c.add_qkv_bias |= c.add_bias_linear;
    c.attention_output_bias |= c.add_bias_linear;
    c.mlp_bias |= c.add_bias_linear;
    return c;
}

dt_status dt_hf_write_config(const dt_hf_family *family, const dt_model_config *config, json_t *json,
                             dt_error *err)
{
    dt_model_config spelled = with_both_words(config), *c = &spelled;
    int failed = json_object_set_new(json, "model_type", json_string(family->model_type));
    failed |= json_object_set_new(json, "architectures", json_pack("[s]", family->architecture));
    if (dt_config_reads(c) && c->text_pooling == DT_TEXT_POOL_NONE) /* towers have no head to tie */
        failed |= json_object_set_new(json, "tie_word_embeddings",
                                      json_boolean(c->share_embeddings_and_output_weights));
    for (int i = 0; i < family->key_count; i++)
        failed |= write_key(&family->key[i], c, json);
    if (failed)
        return dt_fail_memory(err, 4096, "config.json");
    if (family->compound)
        DT_PASS(dt_hf_write_members(family, c, json, err));
    return family->write ? family->write(c, json, err) : DT_OK;
}

/* The first field that cannot be written at all; NULL: none. */
static const char *unwritable(const dt_hf_family *family, const dt_model_config *c)
{
    for (int i = 0; i < family->key_count; i++) {
        const dt_hf_key *k = &family->key[i];
        if (k->kind == DT_HF_INT && *(const int64_t *)((const char *)c + k->offset) < 0)
            return k->field;
    }
    return dt_hf_activation_name(c->activation_func) ? NULL : "activation_func";
}

/* What the tensors of a model would say. */
static dt_hf_evidence evidence_of(const dt_model_config *c)
{
    return (dt_hf_evidence){.head = !c->share_embeddings_and_output_weights,
                            .decoder = !c->encoder_only,
                            .encoder_table = c->encoder_vocab_size > 0,
                            .head_bias = dt_config_has_output_bias(c),
                            .positions = c->position_embedding_type == DT_POSITION_LEARNED,
                            .pooler = c->add_binary_head || c->pooler,
                            .lm_head = !c->no_lm_head,
                            .binary_head = c->add_binary_head,
                            .projection = c->projection_dim > 0,
                            .classifier = c->num_classes > 0,
                            .attention_pooling = c->vision_pooling == DT_POOL_ATTENTION,
                            .text_projection = c->text_projection_dim > 0,
                            .mask_token = c->use_mask_token,
                            .layer_scale = c->layer_scale};
}

static dt_status written_and_read(const dt_hf_family *family, const dt_model_config *c, dt_model_config *back,
                                  dt_config_parts *parts, dt_error *err)
{
    dt_hf_evidence evidence = evidence_of(c), vision;
    if (c->vision) {
        vision = evidence_of(c->vision);
        evidence.vision = &vision;
    }
    json_t *json = json_object();
    dt_status status = json ? DT_OK : dt_fail_memory(err, 64, "config.json");
    DT_GO(status, dt_hf_write_config(family, c, json, err));
    DT_GO(status, dt_hf_read_config(family, json, NULL, &evidence, back, parts, err));
    dt_config_derive(back);
    if (back->vision)
        dt_config_derive(&parts->vision);
    if (back->projection)
        dt_config_derive(&parts->projection);
done:
    json_decref(json);
    return status;
}

dt_status dt_hf_obstacle(const dt_hf_family *family, const dt_model_config *c, const char **key,
                         dt_error *err)
{
    dt_model_config back;
    dt_config_parts parts;
    dt_config_init(&back);
    family->defaults(&back);
    *key = strcmp(back.model_type, c->model_type) != 0 ? "model_type" : unwritable(family, c);
    if (*key)
        return DT_OK;
    DT_TRY(written_and_read(family, c, &back, &parts, err), err, "while describing a %s as Hugging Face's %s",
           c->family, family->architecture);
    *key = dt_config_difference(c, &back);
    return DT_OK;
}

dt_status dt_hf_first_class(const dt_model_config *c, const dt_hf_family **out, dt_error *err)
{
    for (int i = 0; (*out = dt_hf_family_at(i)); i++) {
        const char *key = NULL;
        dt_status status = dt_hf_obstacle(*out, c, &key, err);
        if (status == DT_NO_MEMORY)
            return status;
        if (status == DT_OK && !key)
            return DT_OK;
        dt_error_clear(err);
    }
    return DT_OK;
}

/* A way of spelling that a member has not is its first. */
static int place_of(const dt_hf_member *member, int spelling)
{
    return spelling < DT_HF_PLACES && member->place[spelling].inside ? spelling : 0;
}

dt_status dt_hf_names(const dt_hf_family *family, const dt_model_config *config, int spelling,
                      dt_arena *arena, const dt_name_table **out, dt_error *err)
{
    dt_hf_members members;
    *out = family->names;
    if (!family->compound)
        return DT_OK;
    DT_PASS(dt_hf_choose_members(family, config, &members, err));
    members.text_place = place_of(&family->compound->text, spelling);
    members.vision_place = place_of(&family->compound->vision, spelling);
    members.own_place = place_of(&family->compound->own, spelling);
    return dt_hf_compose(family, &members, arena, out, err);
}

/* ---- token ids ---- */

static json_t *token_id(int64_t id)
{
    return id < 0 ? json_null() : json_integer(id);
}

static json_t *stop_ids(const dt_model_config *c)
{
    if (c->eos_count <= 1)
        return c->eos_count ? json_integer(c->eos_token_ids[0]) : json_null();
    json_t *list = json_array();
    for (int i = 0; list && i < c->eos_count; i++)
        json_array_append_new(list, json_integer(c->eos_token_ids[i]));
    return list;
}

int dt_hf_write_tokens(const dt_model_config *c, json_t *json)
{
    int failed = json_object_set_new(json, "eos_token_id", stop_ids(c));
    failed |= json_object_set_new(json, "bos_token_id", token_id(c->bos_token_id));
    failed |= json_object_set_new(json, "pad_token_id", token_id(c->pad_token_id));
    if (strcmp(c->model_type, "t5") == 0)
        failed |= json_object_set_new(json, "decoder_start_token_id", token_id(c->decoder_start_token_id));
    return failed;
}
