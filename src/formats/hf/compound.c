/*
 * compound.c (hf) - see compound.h: the members' objects in config.json, read and written by the members' own families, and
 * one table of names made of theirs.
 */
#include "formats/hf/compound.h"

#include "base/json.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* ---- which families ---- */

/*
 * The object of a member. CLIP's oldest files have another one, "text_config_dict", which wins as a whole: its class fills it
 * up with its defaults before it is laid over the first.
 */
static const json_t *object_of(const json_t *json, const dt_hf_member *member)
{
    char older[64];
    snprintf(older, sizeof older, "%s_dict", member->key);
    const json_t *value = dt_json_get(json, older);
    return value ? value : dt_json_get(json, member->key);
}

static bool fits(const dt_hf_member *member, const dt_hf_family *family)
{
    dt_model_config c;
    dt_config_init(&c);
    family->defaults(&c);
    if (member->only && strcmp(family->model_type, member->model_type) != 0)
        return false;
    return member->kind ? strcmp(c.model_type, member->kind) == 0 && !family->compound
                        : dt_config_is_tower(&c);
}

static dt_status find_member(const dt_hf_family *family, const dt_hf_member *member, const json_t *json,
                             const dt_hf_family **out, dt_error *err)
{
    const json_t *object = object_of(json, member);
    const char *type = NULL;
    if (!json_is_object(object))
        return dt_fail(err, DT_FORMAT, "config.json: \"%s\" is no object, which a %s needs", member->key,
                       family->model_type);
    DT_PASS(dt_json_string(object, "model_type", &type, err));
    if (!type)
        type = member->model_type;
    *out = dt_hf_family_find(type);
    if (!*out || !fits(member, *out))
        return dt_fail(
            err, DT_UNSUPPORTED,
            "config.json: the \"model_type\" in \"%s\" is \"%s\", which drivetrain does not compute "
            "inside a %s",
            member->key, type, family->model_type);
    return DT_OK;
}

dt_status dt_hf_find_members(const dt_hf_family *family, const json_t *json, dt_hf_members *out,
                             dt_error *err)
{
    *out = (dt_hf_members){0};
    DT_PASS(find_member(family, &family->compound->text, json, &out->text, err));
    DT_PASS(find_member(family, &family->compound->vision, json, &out->vision, err));
    out->text_names = out->text->names;
    out->vision_names = out->vision->names;
    return DT_OK;
}

/* What reads, as if it stood alone. */
static dt_model_config text_alone(const dt_hf_family *family, const dt_model_config *config)
{
    dt_model_config c = *config;
    snprintf(c.model_type, sizeof c.model_type, "%s", family->compound->text.kind);
    snprintf(c.family, sizeof c.family, "%s", config->text_family);
    c.text_family[0] = 0;
    c.vision = c.projection = NULL;
    c.feature_layers = 0;
    c.logit_bias = false;
    dt_config_clear_vision(&c);
    return c;
}

static dt_status choose(const dt_hf_member *member, const dt_model_config *c, const dt_hf_family **out,
                        dt_error *err)
{
    const char *key = NULL;
    *out = dt_hf_family_find(c->family);
    if (*out)
        return DT_OK;
    DT_PASS(dt_hf_first_class(c, out, err));
    if (*out && fits(member, *out))
        return DT_OK;
    *out = dt_hf_family_find(member->model_type);
    DT_PASS(dt_hf_obstacle(*out, c, &key, err));
    return dt_fail(err, DT_UNSUPPORTED, "Hugging Face's %s cannot hold the %s: \"%s\" stands in the way",
                   (*out)->architecture, member->kind ? "language model" : "vision tower", key ? key : "it");
}

dt_status dt_hf_choose_members(const dt_hf_family *family, const dt_model_config *config, dt_hf_members *out,
                               dt_error *err)
{
    dt_model_config text = text_alone(family, config);
    *out = (dt_hf_members){0};
    if (!config->vision)
        return dt_fail(err, DT_UNSUPPORTED, "a %s has no tower to see with", config->family);
    DT_PASS(choose(&family->compound->text, &text, &out->text, err));
    DT_PASS(choose(&family->compound->vision, config->vision, &out->vision, err));
    out->text_names = out->text->names;
    out->vision_names = out->vision->names;
    return DT_OK;
}

/* ---- names ---- */

static dt_name_part part_at(const dt_name_table *names, const dt_hf_place *place, const char *canonical)
{
    return (dt_name_part){.canonical = canonical,
                          .external = place->inside,
                          .outside = place->outside,
                          .table = names,
                          .bare = place->bare};
}

dt_status dt_hf_names_at(const dt_name_table *names, const dt_hf_place *place, dt_arena *arena,
                         dt_name_table *out, dt_error *err)
{
    dt_name_part part = part_at(names, place, "");
    return dt_names_compose(out, arena, &part, 1, err);
}

dt_status dt_hf_compose(const dt_hf_family *family, const dt_hf_members *m, dt_arena *arena,
                        const dt_name_table **out, dt_error *err)
{
    const struct dt_hf_compound *k = family->compound;
    const dt_name_part part[] = {
        part_at(family->names, &k->own.place[m->own_place], ""),
        part_at(m->text_names, &k->text.place[m->text_place], k->text.canonical),
        part_at(m->vision_names, &k->vision.place[m->vision_place], k->vision.canonical)};
    dt_name_table *table = DT_NEW(arena, dt_name_table);
    if (!table)
        return dt_fail_memory(err, sizeof *table, "a table of names");
    *out = table;
    return dt_names_compose(table, arena, part, 3, err);
}

/* ---- configurations ---- */

dt_status dt_hf_read_members(const dt_hf_family *family, const json_t *json, const dt_hf_evidence *evidence,
                             dt_model_config *config, dt_config_parts *parts, dt_error *err)
{
    static const dt_hf_evidence none;
    const struct dt_hf_compound *k = family->compound;
    dt_hf_members m;
    DT_PASS(dt_hf_find_members(family, json, &m, err));
    DT_TRY(dt_hf_read_config(m.text, object_of(json, &k->text), NULL, evidence, config, NULL, err), err,
           "while reading \"%s\"", k->text.key);
    DT_TRY(dt_hf_read_config(m.vision, object_of(json, &k->vision), NULL,
                             evidence->vision ? evidence->vision : &none, &parts->vision, NULL, err),
           err, "while reading \"%s\"", k->vision.key);
    snprintf(config->text_family, sizeof config->text_family, "%s", m.text->model_type);
    config->vision = &parts->vision;
    return DT_OK;
}

/* One member's object, with its token ids where it reads. */
static dt_status write_member(const dt_hf_family *family, const dt_model_config *c, const char *key,
                              json_t *json, dt_error *err)
{
    json_t *object = json_object();
    dt_status status = object && !(dt_config_reads(c) && dt_hf_write_tokens(c, object))
                           ? dt_hf_write_config(family, c, object, err)
                           : dt_fail_memory(err, 4096, key);
    if (json_object_set_new(json, key, object) && status == DT_OK)
        status = dt_fail_memory(err, 64, key);
    return status;
}

dt_status dt_hf_write_members(const dt_hf_family *family, const dt_model_config *config, json_t *json,
                              dt_error *err)
{
    dt_model_config text = text_alone(family, config);
    dt_hf_members m;
    DT_PASS(dt_hf_choose_members(family, config, &m, err));
    DT_PASS(write_member(m.text, &text, family->compound->text.key, json, err));
    return write_member(m.vision, config->vision, family->compound->vision.key, json, err);
}
