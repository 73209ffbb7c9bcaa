/*
 * compound.h (hf) - models of several: what reads and what sees are families of their own, whose configurations are objects
 * in config.json and whose names hang below prefixes. A compound says where; nothing of its members is repeated.
 */
#ifndef DT_FORMATS_HF_COMPOUND_H
#define DT_FORMATS_HF_COMPOUND_H

#include "formats/hf/family.h"

/* Where files put a member's names: what comes before those with its table's own prefix, and before the others. */
typedef struct dt_hf_place {
    const char *inside, *outside;
    bool bare; /* the own prefix is left out */
} dt_hf_place;

enum { DT_HF_PLACES = 5 };

typedef struct dt_hf_member {
    const char *key;        /* of its object: "text_config" */
    const char *model_type; /* of the object that says none */
    bool only;              /* and no other stands there */
    const char *kind;       /* dt_model_config's model_type that it must have; NULL: any tower's */
    const char *canonical;  /* before its canonical names: "vision_model." */
    const char
        *probe; /* a canonical name that its table always has: found at a place, that place is the file's */
    dt_hf_place place
        [DT_HF_PLACES]; /* the first is written; a NULL ends them. One way of spelling has the same in all */
} dt_hf_member;

struct dt_hf_compound {
    dt_hf_member text, vision;
    dt_hf_member own; /* what belongs to neither, by the compound's own table; it has no object */
    /* What the parts have from the whole, once all else is read: a projection's width, a projector. May be NULL. */
    dt_status (*read_parts)(dt_config_parts *parts, dt_model_config *config, const json_t *json,
                            dt_error *err);
};

/* One model's members: their families, their tables, and which of their places is used. */
typedef struct dt_hf_members {
    const dt_hf_family *text, *vision;
    const dt_name_table *text_names, *vision_names;
    int text_place, vision_place, own_place;
} dt_hf_members;

/* The families that config.json names. Errors: DT_UNSUPPORTED a model_type that cannot stand there. */
dt_status dt_hf_find_members(const dt_hf_family *family, const json_t *json, dt_hf_members *out,
                             dt_error *err);

/* The families that hold a configuration's parts: those it was read from, else the first that compute the same. */
dt_status dt_hf_choose_members(const dt_hf_family *family, const dt_model_config *config, dt_hf_members *out,
                               dt_error *err);

/* A table at one of its member's places, under canonical names as if it stood alone. */
dt_status dt_hf_names_at(const dt_name_table *names, const dt_hf_place *place, dt_arena *arena,
                         dt_name_table *out, dt_error *err);

/* The whole model's table. */
dt_status dt_hf_compose(const dt_hf_family *family, const dt_hf_members *members, dt_arena *arena,
                        const dt_name_table **out, dt_error *err);

/* Both objects into *config and *parts, and back; the compound's own keys are its family's. */
dt_status dt_hf_read_members(const dt_hf_family *family, const json_t *json, const dt_hf_evidence *evidence,
                             dt_model_config *config, dt_config_parts *parts, dt_error *err);
dt_status dt_hf_write_members(const dt_hf_family *family, const dt_model_config *config, json_t *json,
                              dt_error *err);

#endif
