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

#define LOCAL(canonical, spelled) {DT_SPELL_LOCAL, canonical, spelled},
#define DIST(canonical, spelled)  {DT_SPELL_DIST, canonical, spelled},
#define COPY(name, of)
#define SKIP(pattern, rule)
static const struct {
    dt_megatron_spelling spelling;
    const char *canonical, *spelled;
} spellings[] = {
#include "formats/megatron/names.def"
};
#undef LOCAL
#undef DIST
#undef COPY
#define LOCAL(canonical, spelled)
#define DIST(canonical, spelled)
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
    if (dt_starts_with(name, "weights/")) /* an engine's */
        return "as kernels read it";
    for (int i = 0; i < COUNT(skips); i++)
        if (dt_names_fit(skips[i].pattern, name))
            return skips[i].rule;
    return "object";
}

/* Replace the part that is named otherwise. */
bool dt_megatron_spell(char *out, size_t bytes, const char *canonical, dt_megatron_spelling spelling)
{
    for (int i = 0; i < COUNT(spellings); i++) {
        const char *at = spellings[i].spelling == spelling ? strstr(canonical, spellings[i].canonical) : NULL;
        if (at)
            return (size_t)snprintf(out, bytes, "%.*s%s%s", (int)(at - canonical), canonical,
                                    spellings[i].spelled, at + strlen(spellings[i].canonical)) < bytes;
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

/* ---- experts ---- */

static const char expert_stem[] = "mlp.experts.experts.";

/* What stands for expert_stem, and behind the name; {} is the expert's number. */
static const struct {
    const char *stem, *behind;
} expert_forms[DT_EXPERT_FORMS] = {
    [DT_EXPERTS_TOGETHER] = {"mlp.experts.experts.", ""},
    [DT_EXPERTS_SEQUENTIAL] = {"mlp.experts.local_experts.{}.", ""},
    [DT_EXPERTS_GROUPED] = {"mlp.experts.", "{}"},
    [DT_EXPERTS_PACKED] = {"mlp.experts.", ""},
    [DT_EXPERTS_APART] = {"mlp.experts.experts.{}.", ""},
};

bool dt_megatron_expert(char *out, size_t bytes, const char *name, dt_expert_form form, int64_t expert)
{
    const char *at = strstr(name, expert_stem);
    char pattern[NAME_BYTES];
    if (!at)
        return (size_t)snprintf(out, bytes, "%s", name) < bytes;
    if (form == DT_EXPERTS_PACKED)
        return (size_t)snprintf(out, bytes, "%.*smlp.experts.weight%d", (int)(at - name), name,
                                strstr(at, "linear_fc2") ? 2 : 1) < bytes;
    if (snprintf(pattern, sizeof pattern, "%.*s%s%s%s", (int)(at - name), name, expert_forms[form].stem,
                 at + strlen(expert_stem), expert_forms[form].behind) >= NAME_BYTES)
        return false;
    return dt_names_fill(out, bytes, pattern, &expert, 1);
}

dt_status dt_megatron_add_packed(dt_mapping *m, const char *name, const dt_shape *one, int64_t expert,
                                 int64_t each, dt_piece *piece, dt_error *err)
{
    int64_t out = one->dim[0], in = one->dim[1];
    bool first = name[strlen(name) - 1] == '1';
    dt_shape shape = {.rank = 3, .dim = {each, in, out}};
    DT_PASS(dt_mapping_add_external(m, name, &shape, 2, &piece->external, err));
    dt_external *e = dt_mapping_external_at(m, piece->external);
    e->reshaped = true;
    e->file =
        first ? dt_shape_of(2, (int64_t[]){in, each * out}) : dt_shape_of(2, (int64_t[]){each * in, out});
    int64_t row = piece->row;
    piece->plane = expert;
    piece->row = piece->col;
    piece->col = row;
    piece->transposed = true;
    return DT_OK;
}

/* ---- files without ranks ---- */

typedef struct spelled {
    char name[NAME_BYTES]; /* of all experts together */
    bool stacked, halves;
    dt_expert_form form;
} spelled;

/* Has the set this name, in any form for experts, whole or in halves? */
static bool try_name(const dt_stored_set *set, spelled *s, bool experts)
{
    char name[NAME_BYTES], half[NAME_BYTES + 2];
    for (s->form = DT_EXPERTS_TOGETHER; s->form < DT_EXPERT_FORMS; s->form++) {
        if (!dt_megatron_expert(name, sizeof name, s->name, s->form, 0))
            continue;
        s->halves = false;
        if (dt_stored_set_find(set, name))
            return true;
        snprintf(half, sizeof half, "%s_w", name);
        if ((s->halves = dt_stored_set_find(set, half) != NULL))
            return true;
        if (!experts)
            break;
    }
    return false;
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
static spelled find_spelling(const dt_stored_set *set, const char *prefix, const dt_param_spec *spec,
                             dt_megatron_spelling preferred)
{
    spelled s = {0};
    char name[NAME_BYTES], flat[NAME_BYTES];
    for (int i = 0; set && i < DT_SPELLINGS; i++) {
        if (!dt_megatron_spell(name, sizeof name, spec->name, (dt_megatron_spelling)i))
            continue;
        snprintf(s.name, sizeof s.name, "%s%s", prefix, name);
        s.stacked = false;
        if (try_name(set, &s, spec->experts))
            return s;
        if (!drop_layer(flat, sizeof flat, name))
            continue;
        snprintf(s.name, sizeof s.name, "%s%s", prefix, flat);
        if ((s.stacked = try_name(set, &s, spec->experts)))
            return s;
    }
    dt_megatron_spell(name, sizeof name, spec->name, preferred);
    s = (spelled){.form = preferred == DT_SPELL_LOCAL ? DT_EXPERTS_SEQUENTIAL : DT_EXPERTS_GROUPED};
    snprintf(s.name, sizeof s.name, "%s%s", prefix, name);
    return s;
}

int64_t dt_megatron_stack_layers(const dt_model_config *c, const char *canonical)
{
    if (dt_starts_with(canonical, "vision_model.") && c->vision)
        return c->vision->num_layers;
    if (strcmp(c->model_type, "t5") != 0)
        return c->num_layers;
    return dt_starts_with(canonical, "encoder.") ? c->encoder_num_layers : c->decoder_num_layers;
}

const char *dt_megatron_below(const dt_model_config *c)
{
    return strcmp(c->model_type, "llava") == 0 ? "language_model." : "";
}

bool dt_megatron_is_embedding(const char *canonical)
{
    const char *below =
        dt_starts_with(canonical, "language_model.") ? canonical + strlen("language_model.") : canonical;
    return strcmp(below, "embedding.word_embeddings.weight") == 0;
}

/* A canonical tensor in a file: which of its experts lie in which external tensor, and on which plane. */
typedef struct extent {
    int64_t layers, layer; /* 0 layers: no layer axis */
    int64_t experts;       /* 0: no expert axis */
    int64_t rows;          /* of one expert's part */
} extent;

static dt_shape shape_of(const dt_canonical *to, const extent *x)
{
    dt_shape shape = {0};
    if (x->layers)
        shape.dim[shape.rank++] = x->layers;
    if (x->experts)
        shape.dim[shape.rank++] = x->experts;
    shape.dim[shape.rank++] = x->rows;
    if (to->spec->rank == 2)
        shape.dim[shape.rank++] = to->cols;
    return shape;
}

/* A convolution's kernel; class tokens and RADIO's positions behind an axis of one, which its class tokens lack. */
bool dt_megatron_file_shape(const dt_model_config *c, const dt_canonical *to, dt_shape *out)
{
    const dt_model_config *tower = c->vision ? c->vision : c;
    int64_t P = tower->patch_dim;
    if (!dt_config_is_tower(tower))
        return false;
    bool class_token = dt_ends_with(to->spec->name, "class_token") && strcmp(tower->model_type, "radio") != 0;
    if (dt_ends_with(to->spec->name, "conv1.weight"))
        *out = dt_shape_of(4, (int64_t[]){to->rows, tower->num_channels, P, P});
    else if (class_token || dt_ends_with(to->spec->name, "position_embeddings"))
        *out = dt_shape_of(3, (int64_t[]){1, to->rows, to->cols});
    else
        return false;
    return true;
}

static dt_status map_expert(dt_mapping *m, const dt_canonical *to, const spelled *s, const extent *x,
                            int64_t expert, dt_error *err)
{
    dt_shape shape = shape_of(to, x);
    for (int i = 0; i < (s->halves ? 2 : 1); i++) {
        char name[NAME_BYTES], part[NAME_BYTES + 2];
        dt_piece piece = {.plane = x->experts ? x->layer * x->experts + expert : x->layer,
                          .to_row = (expert * (s->halves ? 2 : 1) + i) * x->rows,
                          .rows = x->rows,
                          .cols = to->cols};
        if (!dt_megatron_expert(name, sizeof name, s->name, s->form, expert))
            return dt_fail(err, DT_LIMIT, "the name \"%s\" is too long", s->name);
        snprintf(part, sizeof part, "%s%s", name, !s->halves ? "" : i ? "_v" : "_w");
        if (to->spec->experts && s->form == DT_EXPERTS_PACKED && !s->stacked && !s->halves) {
            piece.plane = 0;
            DT_PASS(dt_megatron_add_packed(m, name, &shape, expert, to->spec->experts, &piece, err));
        } else
            DT_PASS(dt_mapping_add_external(m, part, &shape, to->spec->rank, &piece.external, err));
        DT_PASS(dt_mapping_add_piece(m, &piece, err));
    }
    return DT_OK;
}

static dt_status map_one(dt_mapping *m, const dt_model_config *c, const dt_canonical *to, const spelled *s,
                         dt_error *err)
{
    dt_megatron_layer layer = {0};
    int64_t experts = to->spec->experts, parts = (experts ? experts : 1) * (s->halves ? 2 : 1);
    extent x = {.rows = to->rows / parts, .experts = s->form == DT_EXPERTS_TOGETHER ? experts : 0};
    if (s->stacked) {
        dt_megatron_split_layer(to->spec->name, &layer);
        x.layers = dt_megatron_stack_layers(c, to->spec->name);
        x.layer = layer.layer;
    }
    for (int64_t e = 0; e < (experts ? experts : 1); e++)
        DT_PASS(map_expert(m, to, s, &x, e, err));
    return DT_OK;
}

dt_status dt_megatron_finish(const dt_model_config *config, dt_mapping *m, dt_error *err)
{
    DT_PASS(dt_mapping_finish(m, err));
    for (int i = 0; i < dt_mapping_count(m); i++) {
        const dt_canonical *to = dt_mapping_at(m, i);
        dt_shape file;
        if (!to->count || !dt_megatron_file_shape(config, to, &file))
            continue;
        dt_external *e = dt_mapping_external_at(m, dt_mapping_piece_at(m, to->first)->external);
        e->reshaped = true;
        e->file = file;
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
        spelled s = find_spelling(set, prefix, to->spec, spelling);
        if (s.halves && to->spec->split != DT_SPLIT_GATED)
            return dt_fail(err, DT_FORMAT, "\"%s\" comes in halves, which only gated weights do", s.name);
        DT_PASS(map_one(m, config, to, &s, err));
    }
    return dt_megatron_finish(config, m, err);
}

/* ---- tensor-parallel parts ---- */

/* The axis that is cut (0 rows, 1 columns, -1 none), and into how many equal stretches each rank's part falls. */
static int cut_axis(dt_split split, int *stretches)
{
    *stretches = split == DT_SPLIT_GATED ? 2 : 1; /* [gate; up]: each half is cut alike */
    return split == DT_SPLIT_NONE ? -1 : split == DT_SPLIT_ROW ? 1 : 0;
}

dt_status dt_megatron_cut(const dt_canonical *c, int ranks, int64_t expert, dt_megatron_part *part,
                          int *count, dt_error *err)
{
    int stretches, axis = cut_axis(c->spec->split, &stretches), n = axis < 0 ? 1 : ranks;
    int64_t whole = c->rows / (c->spec->experts ? c->spec->experts : 1);
    int64_t rows = axis == 0 ? whole / (n * stretches) : whole, cols = axis == 1 ? c->cols / n : c->cols;
    if (axis == 0 ? rows * n * stretches != whole : cols * n != c->cols)
        return dt_fail(err, DT_MISMATCH,
                       "\"%s\" [%" PRId64 ", %" PRId64 "] cannot be shared by %d tensor-parallel ranks",
                       c->spec->name, whole, c->cols, ranks);
    *count = 0;
    for (int s = 0; s < (axis == 0 ? stretches : 1); s++)
        for (int r = 0; r < n; r++) {
            dt_megatron_part *p = &part[(*count)++];
            p->rank = r;
            p->shape = (dt_shape){.rank = c->spec->rank, .dim = {axis == 0 ? rows * stretches : rows}};
            if (c->spec->rank == 2)
                p->shape.dim[1] = cols;
            p->piece = (dt_piece){.row = s * rows,
                                  .to_row = expert * whole + (axis == 0 ? (s * n + r) * rows : 0),
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
    {"query_key_value.", "a model from before Megatron Core"},
};

/* What a name's model sees with; NULL: it says nothing of pictures. */
static const char *seeing_part(const char *name)
{
    static const struct {
        const char *part, *type;
    } sign[] = {{"vision_model.", "llava"},
                {"conv1.weight", "clip_vit"},
                {"embedder.weight", "radio"},
                {"encoder.linear_fc1.weight", "projector"}, /* layers have theirs behind a number */
                {"encoder.weight", "projector"}};
    for (int i = 0; i < COUNT(sign); i++)
        if (strstr(name, sign[i].part))
            return sign[i].type;
    return NULL;
}

/* A head that is BERT's alone, wherever a file keeps it. */
static bool is_berts(const char *name)
{
    static const char *const part[] = {"binary_head.", "tokentype_embeddings.", "lm_head.dense."};
    for (int i = 0; i < COUNT(part); i++)
        if (strstr(name, part[i]))
            return true;
    return false;
}

dt_status dt_megatron_family(const dt_stored_set *set, const char **model_type, dt_error *err)
{
    bool encoder = false, decoder = false, bert = false;
    const char *sees = NULL;
    for (size_t i = 0; i < dt_stored_set_count(set); i++) {
        const char *name = dt_stored_set_at(set, i)->name;
        const char *part = seeing_part(name);
        sees = sees && strcmp(sees, "llava") == 0 ? sees : part ? part : sees;
        for (int k = 0; k < COUNT(strangers); k++)
            if (strstr(name, strangers[k].part))
                return dt_fail(err, DT_UNSUPPORTED,
                               "tensor \"%s\" belongs to %s, which drivetrain cannot read yet", name,
                               strangers[k].what);
        encoder = encoder || strstr(name, "encoder.layers.");
        decoder = decoder || strstr(name, "decoder.layers.");
        bert = bert || is_berts(name);
    }
    if (sees) {
        *model_type = sees;
        return DT_OK;
    }
    if (!encoder && !decoder)
        return dt_fail(err, DT_FORMAT, "no tensor is named like a layer (\"decoder.layers.…\")");
    *model_type = bert ? "bert" : encoder ? "t5" : "gpt";
    return DT_OK;
}
