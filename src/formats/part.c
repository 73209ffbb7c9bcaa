/*
 * part.c - one part of a model with eyes, as a checkpoint of its own: the tower, the projector, or what reads.
 *
 * A part has its own configuration, and its tensors have the names that they have in such a model alone: the prefix goes,
 * pieces and files stay. So whatever takes a checkpoint takes a part, and nothing is copied.
 */
#include "formats/open.h"
#include "models/build.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 512 };

/* What reads is everything that the two others are not; a text tower keeps its prefix, which is part of its names. */
static const struct {
    const char *name, *prefix;
} parts[] = {
    {"tower", "vision_model."}, {"projector", "vision_projection."}, {"language", "language_model."}};

enum { PARTS = sizeof parts / sizeof parts[0] };

static bool is_part(const dt_model_config *c, int part)
{
    bool projector = strcmp(c->model_type, "projector") == 0, reads = dt_config_reads(c) && !c->vision;
    return part == 0 ? dt_config_is_tower(c) : part == 1 ? projector : reads;
}

/* What reads, by itself, is of the class it came from, or a GPT whose class is found by what it computes. */
static void take_language(dt_model_config *out, const dt_model_config *whole)
{
    bool decoder = dt_config_is_gpt(whole);
    *out = *whole;
    out->vision = out->projection = NULL;
    out->feature_layers = out->grid_points = 0;
    out->logit_bias = false;
    if (decoder)
        snprintf(out->model_type, sizeof out->model_type, "gpt");
    if (decoder || whole->text_family[0])
        snprintf(out->family, sizeof out->family, "%s",
                 whole->text_family[0] ? whole->text_family : "megatron_gpt");
    out->text_family[0] = 0;
    dt_config_clear_vision(out);
}

static dt_status take_config(dt_model_config *out, const dt_model_config *whole, int part, dt_error *err)
{
    const dt_model_config *of = part == 0 ? whole->vision : part == 1 ? whole->projection : whole;
    if (part == 2 && whole->vision) {
        take_language(out, whole);
        return DT_OK;
    }
    if (!of || part == 2)
        return dt_fail(err, DT_UNSUPPORTED, "a %s has no part \"%s\"%s", whole->family, parts[part].name,
                       whole->vision ? ": its towers project by themselves" : ", being one part alone");
    *out = *of;
    return DT_OK;
}

/* The tensor of the whole that a name of the part means; -1. */
static int find_whole(const dt_mapping *whole, int part, const char *name)
{
    char full[NAME_BYTES];
    snprintf(full, sizeof full, "%s%s", parts[part].prefix, name);
    int found = dt_mapping_find(whole, full);
    return found >= 0 ? found : dt_mapping_find(whole, name);
}

/* One piece more, in the part's own list of external tensors. */
static dt_status take_piece(dt_mapping *to, const dt_mapping *whole, int *place, const dt_piece *p,
                            dt_error *err)
{
    const dt_external *e = dt_mapping_external_at(whole, p->external);
    dt_piece own = *p;
    DT_PASS(dt_mapping_add_external(to, e->name, &e->shape, e->axes, &own.external, err));
    dt_external *taken = dt_mapping_external_at(to, own.external);
    taken->reshaped = e->reshaped;
    taken->file = e->file;
    taken->stored = e->stored;
    place[p->external] = own.external;
    return dt_mapping_add_piece(to, &own, err);
}

/* The part's mapping; place: of each external tensor of the whole its number there, -1 where another part has it. */
static dt_status take_mapping(dt_mapping **out, dt_arena *arena, const dt_mapping *whole, int part,
                              const dt_model_config *config, int *place, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    DT_PASS(dt_model_parameters(config, arena, &spec, &count, err));
    DT_PASS(dt_mapping_create(out, arena, spec, count, err));
    for (int i = 0; i < count; i++) {
        const dt_canonical *from = dt_mapping_at(whole, find_whole(whole, part, spec[i].name));
        const dt_canonical *to = dt_mapping_next(*out, err);
        if (!to)
            return DT_INTERNAL;
        if (!from || from->rows != to->rows || from->cols != to->cols)
            return dt_fail(err, DT_INTERNAL, "the %s's \"%s\" is not in the whole", parts[part].name,
                           spec[i].name);
        for (int k = 0; k < from->count; k++)
            DT_PASS(take_piece(*out, whole, place, dt_mapping_piece_at(whole, from->first + k), err));
    }
    return dt_mapping_finish(*out, err);
}

/* Stored tensors of other parts are left alone by a rule. */
static dt_status take_fates(dt_checkpoint *c, const int *place, dt_error *err)
{
    size_t count = c->fate ? dt_stored_set_count(c->set) : 0;
    dt_fate *fate = DT_NEW_ARRAY(c->arena, dt_fate, count + 1);
    if (!fate)
        return dt_fail_memory(err, sizeof *fate * count, "a part");
    for (size_t i = 0; i < count; i++) {
        fate[i] = c->fate[i];
        if (fate[i].external >= 0 && (fate[i].external = place[fate[i].external]) < 0)
            fate[i].rule = "another part's";
    }
    c->fate = fate;
    return DT_OK;
}

dt_status dt_open_part(dt_checkpoint *c, const char *name, dt_error *err)
{
    int part = 0, count = dt_mapping_external_count(c->mapping);
    dt_model_config config;
    dt_mapping *mapping = NULL;
    while (part < PARTS && strcmp(parts[part].name, name) != 0)
        part++;
    if (part == PARTS)
        return dt_fail(err, DT_UNSUPPORTED, "no part \"%s\"; there are tower, projector and language", name);
    if (is_part(&c->config, part))
        return DT_OK;
    DT_PASS(dt_checkpoint_refuse_engine(c, err));
    DT_PASS(take_config(&config, &c->config, part, err));
    int *place = DT_NEW_ARRAY(c->arena, int, count + 1);
    if (!place)
        return dt_fail_memory(err, sizeof *place * (size_t)count, "a part");
    memset(place, 0xff, sizeof *place * (size_t)count);
    DT_PASS(take_mapping(&mapping, c->arena, c->mapping, part, &config, place, err));
    DT_PASS(take_fates(c, place, err));
    c->config = config;
    c->mapping = mapping;
    return DT_OK;
}
