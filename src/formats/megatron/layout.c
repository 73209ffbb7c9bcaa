/*
 * layout.c (megatron) - where canonical tensors lie in Megatron's files: spelling, stacking, tensor-parallel parts.
 *
 * Canonical names and layouts are Megatron Core's own, so most of this is finding which of the few spellings a file
 * uses. Ranks' files are legacy.c's.
 */
#include "base/text.h"
#include "formats/megatron/megatron.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 512 };

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

#define LOCAL(canonical, spelled) {canonical, spelled},
#define COPY(name, of)
#define SKIP(pattern, rule)
static const struct {
    const char *canonical, *spelled;
} local_names[] = {
#include "formats/megatron/names.def"
};
#undef LOCAL
#undef COPY
#define LOCAL(canonical, spelled)
#define COPY(name, of) {name, of},
static const dt_name_copy copies[] = {
#include "formats/megatron/names.def"
};
#undef COPY
#undef SKIP
#define COPY(name, of)
#define SKIP(pattern, rule) {pattern, rule},
static const dt_name_skip skips[] = {
#include "formats/megatron/names.def"
};

const dt_name_table dt_megatron_names = {
    .prefix = "", .copy = copies, .copy_count = COUNT(copies), .skip = skips, .skip_count = COUNT(skips)};

const char *dt_format_object_rule(const char *name)
{
    for (int i = 0; i < COUNT(skips); i++)
        if (dt_names_fit(skips[i].pattern, name))
            return skips[i].rule;
    return "object";
}

/* Replace the part that the local spec names otherwise. */
bool dt_megatron_spell(char *out, size_t bytes, const char *canonical, dt_megatron_spelling spelling)
{
    for (int i = 0; spelling == DT_SPELL_LOCAL && i < COUNT(local_names); i++) {
        const char *at = strstr(canonical, local_names[i].canonical);
        if (at)
            return (size_t)snprintf(out, bytes, "%.*s%s%s", (int)(at - canonical), canonical,
                                    local_names[i].spelled, at + strlen(local_names[i].canonical)) < bytes;
    }
    return (size_t)snprintf(out, bytes, "%s", canonical) < bytes;
}

bool dt_megatron_split_layer(const char *name, dt_megatron_layer *out)
{
    const char *at = strstr(name, ".layers.");
    char *end;
    if (!at || at[8] < '0' || at[8] > '9')
        return false;
    out->stack_bytes = (int)(at - name);
    out->layer = strtoll(at + 8, &end, 10);
    out->rest = end;
    return *end == '.' && out->layer < INT32_MAX;
}

/* ---- files without ranks ---- */

typedef struct spelled {
    char name[NAME_BYTES];
    bool stacked, halves;
} spelled;

static bool try_name(const dt_stored_set *set, spelled *s)
{
    char half[NAME_BYTES + 2];
    if (dt_stored_set_find(set, s->name))
        return true;
    snprintf(half, sizeof half, "%s_w", s->name);
    return (s->halves = dt_stored_set_find(set, half) != NULL);
}

/* Drop the layer number: "decoder.layers.3.mlp" → "decoder.layers.mlp". */
static bool drop_layer(char *out, size_t bytes, const char *name)
{
    dt_megatron_layer l;
    if (!dt_megatron_split_layer(name, &l))
        return false;
    return (size_t)snprintf(out, bytes, "%.*s.layers%s", l.stack_bytes, name, l.rest) < bytes;
}

/* The spelling that the set has; where it has none, the preferred one, for the error to name. */
static spelled find_spelling(const dt_stored_set *set, const char *prefix, const char *canonical,
                             dt_megatron_spelling preferred)
{
    static const dt_megatron_spelling order[] = {DT_SPELL_TE, DT_SPELL_LOCAL};
    spelled s = {0};
    char name[NAME_BYTES], flat[NAME_BYTES];
    for (int i = 0; set && i < COUNT(order); i++) {
        if (!dt_megatron_spell(name, sizeof name, canonical, order[i]))
            continue;
        snprintf(s.name, sizeof s.name, "%s%s", prefix, name);
        if (try_name(set, &s))
            return s;
        if (!drop_layer(flat, sizeof flat, name))
            continue;
        snprintf(s.name, sizeof s.name, "%s%s", prefix, flat);
        if ((s.stacked = try_name(set, &s)))
            return s;
    }
    dt_megatron_spell(name, sizeof name, canonical, preferred);
    snprintf(s.name, sizeof s.name, "%s%s", prefix, name);
    s.stacked = s.halves = false;
    return s;
}

/* Layers of the stack that a canonical name belongs to. */
static int64_t stack_layers(const dt_model_config *c, const char *canonical)
{
    if (strcmp(c->model_type, "t5") != 0)
        return c->num_layers;
    return dt_starts_with(canonical, "encoder.") ? c->encoder_num_layers : c->decoder_num_layers;
}

static dt_status map_one(dt_mapping *m, const dt_model_config *c, const dt_canonical *to, const spelled *s,
                         dt_error *err)
{
    dt_megatron_layer layer = {0};
    int parts = s->halves ? 2 : 1, axes = to->spec->rank;
    dt_shape shape = {0};
    if (s->stacked) {
        dt_megatron_split_layer(to->spec->name, &layer);
        shape.dim[shape.rank++] = stack_layers(c, to->spec->name);
    }
    shape.dim[shape.rank++] = to->rows / parts;
    if (axes == 2)
        shape.dim[shape.rank++] = to->cols;
    for (int i = 0; i < parts; i++) {
        char name[NAME_BYTES + 2];
        dt_piece piece = {.plane = layer.layer,
                          .to_row = i * (to->rows / parts),
                          .rows = to->rows / parts,
                          .cols = to->cols};
        snprintf(name, sizeof name, "%s%s", s->name, !s->halves ? "" : i ? "_v" : "_w");
        DT_PASS(dt_mapping_add_external(m, name, &shape, axes, &piece.external, err));
        DT_PASS(dt_mapping_add_piece(m, &piece, err));
    }
    return DT_OK;
}

dt_status dt_megatron_map(const dt_model_config *config, const dt_stored_set *set, const char *prefix,
                          dt_megatron_spelling spelling, dt_mapping *m, dt_error *err)
{
    for (int i = 0; i < dt_mapping_count(m); i++) {
        const dt_canonical *to = dt_mapping_next(m, err);
        if (!to)
            return DT_INTERNAL;
        spelled s = find_spelling(set, prefix, to->spec->name, spelling);
        if (s.halves && to->spec->split != DT_SPLIT_GATED)
            return dt_fail(err, DT_FORMAT, "\"%s\" comes in halves, which only gated weights do", s.name);
        DT_PASS(map_one(m, config, to, &s, err));
    }
    return dt_mapping_finish(m, err);
}

/* ---- tensor-parallel parts ---- */

/* The axis that is cut (0 rows, 1 columns, -1 none), and into how many equal stretches each rank's part falls. */
static int cut_axis(dt_split split, int *stretches)
{
    *stretches = split == DT_SPLIT_GATED ? 2 : 1; /* [gate; up]: each half is cut alike */
    return split == DT_SPLIT_NONE ? -1 : split == DT_SPLIT_ROW ? 1 : 0;
}

dt_status dt_megatron_cut(const dt_canonical *c, int ranks, dt_megatron_part *part, int *count, dt_error *err)
{
    int stretches, axis = cut_axis(c->spec->split, &stretches), n = axis < 0 ? 1 : ranks;
    int64_t rows = axis == 0 ? c->rows / (n * stretches) : c->rows, cols = axis == 1 ? c->cols / n : c->cols;
    if (axis == 0 ? rows * n * stretches != c->rows : cols * n != c->cols)
        return dt_fail(err, DT_MISMATCH,
                       "\"%s\" [%" PRId64 ", %" PRId64 "] cannot be shared by %d tensor-parallel ranks",
                       c->spec->name, c->rows, c->cols, ranks);
    *count = 0;
    for (int s = 0; s < (axis == 0 ? stretches : 1); s++)
        for (int r = 0; r < n; r++) {
            dt_megatron_part *p = &part[(*count)++];
            p->rank = r;
            p->shape = (dt_shape){.rank = c->spec->rank, .dim = {axis == 0 ? rows * stretches : rows}};
            if (c->spec->rank == 2)
                p->shape.dim[1] = cols;
            p->piece = (dt_piece){.row = s * rows,
                                  .to_row = axis == 0 ? (s * n + r) * rows : 0,
                                  .to_col = axis == 1 ? r * cols : 0,
                                  .rows = rows,
                                  .cols = cols};
        }
    return DT_OK;
}

/* ---- which model ---- */

/* Names that say: a model that is not read yet. */
static const struct {
    const char *part, *what;
} strangers[] = {
    {"vision_model.", "a vision-language model"},
    {"class_token", "a vision transformer"},
    {"binary_head.", "BERT"},
    {"tokentype_embeddings.", "BERT"},
    {"mlp.experts.", "a mixture of experts"},
    {"query_key_value.", "a model from before Megatron Core"},
};

dt_status dt_megatron_family(const dt_stored_set *set, bool *t5, dt_error *err)
{
    bool encoder = false, decoder = false;
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        const char *name = dt_stored_set_at(set, i)->name;
        for (int k = 0; k < COUNT(strangers); k++)
            if (strstr(name, strangers[k].part))
                return dt_fail(err, DT_UNSUPPORTED,
                               "tensor \"%s\" belongs to %s, which drivetrain cannot read yet", name,
                               strangers[k].what);
        encoder = encoder || strstr(name, "encoder.layers.");
        decoder = decoder || strstr(name, "decoder.layers.");
    }
    if (!encoder && !decoder)
        return dt_fail(err, DT_FORMAT, "no tensor is named like a layer (\"decoder.layers.…\")");
    *t5 = encoder;
    return DT_OK;
}
