/*
 * names.c - expands a name table into the pieces of a mapping, and matches names against patterns.
 *
 * Every transform is one loop: groups of rows, each with up to three parts, part p of group g being `width` rows at
 * `base + g * width` of one external tensor. A new transform is a case in describe(). Only T5's table of buckets, whose
 * rows are repeated, has a loop of its own.
 */
#include "formats/names.h"
#include "base/text.h"
#include "formats/buckets.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 256 };

/* One part of each group. */
typedef struct row_part {
    int tensor;          /* which of the row's external names */
    int64_t base, width; /* rows there */
} row_part;

typedef struct row_plan {
    int64_t groups;
    int parts;
    row_part part[DT_NAME_PARTS];
    bool transposed;
    int64_t step;    /* rows of a part lie so far apart, part p's from p on; 0: they do not */
    int64_t experts; /* the whole again for each; 0: the names hold no expert's number */
    bool planes;     /* … as planes of one tensor, whose names hold none either */
    int64_t turned;  /* rows of a head of tensors 0 and 1, to be turned; 0: none */
    bool flat;       /* the one row is stored as a vector */
    int64_t first;   /* canonical rows before it are not told */
    float shift;     /* what external elements have more */
    int64_t whole;   /* rows of the tensor, where the plan takes only some; 0: all */
    bool reshaped;   /* the file has the shape `file` */
    dt_shape file;
} row_plan;

static row_plan one(int64_t rows, bool transposed)
{
    return (row_plan){.groups = 1, .parts = 1, .part = {{0, 0, rows}}, .transposed = transposed};
}

static row_plan fused_qkv(const dt_model_config *c, bool transposed)
{
    int64_t A = c->num_attention_heads, K = c->num_query_groups, D = c->kv_channels;
    return (row_plan){.groups = K,
                      .parts = 3,
                      .part = {{0, 0, A / K * D}, {0, A * D, D}, {0, (A + K) * D, D}},
                      .transposed = transposed};
}

/* The same elements in another shape: one kernel a channel, a leading axis of one, or none at all. */
static row_plan reshaped(const dt_canonical *to, int rank, const int64_t *dim)
{
    row_plan plan = one(to->rows, false);
    plan.reshaped = true;
    plan.file = dt_shape_of(rank, dim);
    return plan;
}

static row_plan describe(dt_transform transform, const dt_canonical *to, const dt_model_config *c)
{
    int64_t A = c->num_attention_heads, K = c->num_query_groups, D = c->kv_channels;
    int64_t experts = to->spec->experts, each = to->rows / (experts ? experts : 1);
    switch (transform) {
    case DT_MAP_vocab:
        return one(c->vocab_size < to->rows ? c->vocab_size : to->rows, false);
    case DT_MAP_vocab_row:
        return one(c->vocab_size < to->rows ? c->vocab_size : to->rows, true);
    case DT_MAP_transpose:
        return one(to->rows, true);
    case DT_MAP_qkv:
        return (row_plan){.groups = K, .parts = 3, .part = {{0, 0, A / K * D}, {1, 0, D}, {2, 0, D}}};
    case DT_MAP_kv:
        return (row_plan){.groups = A, .parts = 2, .part = {{0, 0, D}, {1, 0, D}}};
    case DT_MAP_fused_kv:
        return (row_plan){.groups = A, .parts = 2, .part = {{0, 0, D}, {0, A * D, D}}};
    case DT_MAP_join:
        return (row_plan){.groups = 1, .parts = 2, .part = {{0, 0, to->rows / 2}, {1, 0, to->rows / 2}}};
    case DT_MAP_fused_qkv:
        return fused_qkv(c, false);
    case DT_MAP_fused_qkv_transposed:
        return fused_qkv(c, true);
    case DT_MAP_expert:
        return (row_plan){.groups = 1, .parts = 1, .part = {{0, 0, each}}, .experts = experts};
    case DT_MAP_experts:
    case DT_MAP_experts_transposed:
        return (row_plan){.groups = 1,
                          .parts = 1,
                          .part = {{0, 0, each}},
                          .transposed = transform == DT_MAP_experts_transposed,
                          .experts = experts,
                          .planes = true};
    case DT_MAP_experts_turns:
    case DT_MAP_experts_turns_transposed:
        return (row_plan){.groups = 1,
                          .parts = 2,
                          .part = {{0, 0, each / 2}, {0, 1, each / 2}},
                          .transposed = transform == DT_MAP_experts_turns_transposed,
                          .step = 2,
                          .experts = experts,
                          .planes = true};
    case DT_MAP_expert_join:
        return (row_plan){
            .groups = 1, .parts = 2, .part = {{0, 0, each / 2}, {1, 0, each / 2}}, .experts = experts};
    case DT_MAP_norm:
        return (row_plan){.groups = 1,
                          .parts = 1,
                          .part = {{0, 0, to->rows}},
                          .shift = c->layernorm_zero_centered_gamma ? 1.0f : 0.0f};
    case DT_MAP_flat:
        return (row_plan){
            .groups = 1, .parts = 1, .part = {{0, 0, to->rows}}, .transposed = true, .flat = true};
    case DT_MAP_qkv_turned:
        return (row_plan){
            .groups = K, .parts = 3, .part = {{0, 0, A / K * D}, {1, 0, D}, {2, 0, D}}, .turned = D};
    case DT_MAP_experts_join:
        return (row_plan){.groups = 1,
                          .parts = 2,
                          .part = {{0, 0, each / 2}, {1, 0, each / 2}},
                          .experts = experts,
                          .planes = true};
    case DT_MAP_kernel:
        return reshaped(to, 4, (int64_t[]){to->rows, c->num_channels, c->patch_dim, c->patch_dim});
    case DT_MAP_row:
        return reshaped(to, 1, (int64_t[]){to->cols});
    case DT_MAP_batch:
        return reshaped(to, 3, (int64_t[]){1, to->rows, to->cols});
    case DT_MAP_scalar:
        return reshaped(to, 0, NULL);
    case DT_MAP_stacked_q:
        return (row_plan){.groups = 1, .parts = 1, .part = {{0, 0, A * D}}, .whole = 3 * A * D};
    case DT_MAP_stacked_kv:
        return (row_plan){
            .groups = A, .parts = 2, .part = {{0, A * D, D}, {0, 2 * A * D, D}}, .whole = 3 * A * D};
    case DT_MAP_positions:
        return (row_plan){.groups = 1,
                          .parts = 1,
                          .part = {{0, 0, to->rows - c->position_offset}},
                          .first = c->position_offset};
    case DT_MAP_buckets: /* map_buckets */
    case DT_MAP_buckets_both:
    case DT_MAP_direct:
        break;
    }
    return one(to->rows, false);
}

/* Rows that the plan takes from each external tensor together. */
static void count_rows(const row_plan *plan, int64_t rows[DT_NAME_PARTS])
{
    if (plan->whole) {
        rows[0] = plan->whole;
        return;
    }
    for (int p = 0; p < plan->parts; p++)
        rows[plan->part[p].tensor] += plan->groups * plan->part[p].width;
}

static dt_status add_externals(dt_mapping *m, const dt_canonical *to, const dt_name_row *row,
                               const row_plan *plan, const int64_t *numbers, int count, int *index,
                               dt_error *err)
{
    int64_t rows[DT_NAME_PARTS] = {0};
    count_rows(plan, rows);
    for (int i = 0; i < DT_NAME_PARTS && row->external[i]; i++) {
        char name[NAME_BYTES];
        dt_shape shape = {.rank = to->spec->rank, .dim = {rows[i], to->cols}};
        if (plan->transposed)
            shape = (dt_shape){.rank = plan->flat ? 1 : 2, .dim = {to->cols, plan->flat ? 0 : rows[i]}};
        int axes = shape.rank;
        if (plan->planes)
            shape = (dt_shape){.rank = axes + 1, .dim = {plan->experts, shape.dim[0], shape.dim[1]}};
        if (!dt_names_fill(name, sizeof name, row->external[i], numbers, count))
            return dt_fail(err, DT_INTERNAL, "name pattern \"%s\" does not fit \"%s\"", row->external[i],
                           to->spec->name);
        bool turned = plan->turned && i < 2; /* seen as pairs of rows side by side */
        if (turned)
            shape = (dt_shape){.rank = axes = 2, .dim = {rows[i] / 2, 2 * to->cols}};
        DT_PASS(dt_mapping_add_external(m, name, &shape, axes, &index[i], err));
        dt_external *e = dt_mapping_external_at(m, index[i]);
        if (turned) {
            e->reshaped = true;
            e->file = dt_shape_of(to->spec->rank, (int64_t[]){rows[i], to->cols});
        } else if (plan->reshaped) {
            e->reshaped = true;
            e->file = plan->file;
        }
    }
    return DT_OK;
}

/* Both halves of each head's rows, which lie in turn outside: columns of the pairs of rows that external_shape makes. */
static dt_status add_turned(dt_mapping *m, const dt_piece *whole, int64_t head, dt_error *err)
{
    for (int64_t at = 0; at < whole->rows; at += head / 2) {
        dt_piece half = *whole;
        half.row = (whole->row + at - at % head) / 2;
        half.col = at % head ? whole->cols : 0;
        half.to_row = whole->to_row + at;
        half.rows = head / 2;
        DT_PASS(dt_mapping_add_piece(m, &half, err));
    }
    return DT_OK;
}

/* Canonical rows from `row` on. */
static dt_status add_pieces(dt_mapping *m, const dt_canonical *to, const row_plan *plan, int64_t row,
                            int64_t plane, const int *index, dt_error *err)
{
    for (int64_t g = 0; g < plan->groups; g++)
        for (int p = 0; p < plan->parts; p++) {
            const row_part *part = &plan->part[p];
            int64_t from = part->base + g * part->width;
            dt_piece piece = {.external = index[part->tensor],
                              .plane = plane,
                              .row = plan->transposed ? 0 : from,
                              .col = plan->transposed ? from : 0,
                              .to_row = row,
                              .rows = part->width,
                              .cols = to->cols,
                              .transposed = plan->transposed,
                              .step = plan->step,
                              .shift = plan->shift};
            if (plan->turned && part->tensor < 2)
                DT_PASS(add_turned(m, &piece, plan->turned, err));
            else
                DT_PASS(dt_mapping_add_piece(m, &piece, err));
            row += part->width;
        }
    return DT_OK;
}

static dt_status map_row(dt_mapping *m, const dt_canonical *to, const dt_name_row *row, const row_plan *plan,
                         int64_t numbers[2], int count, dt_error *err)
{
    int64_t blocks = plan->experts ? plan->experts : 1;
    for (int64_t e = 0; e < blocks; e++) {
        int index[DT_NAME_PARTS] = {-1, -1, -1};
        bool numbered = plan->experts && !plan->planes;
        if (numbered)
            numbers[1] = e;
        DT_PASS(add_externals(m, to, row, plan, numbers, numbered ? 2 : count, index, err));
        DT_PASS(
            add_pieces(m, to, plan, plan->first + e * (to->rows / blocks), plan->planes ? e : 0, index, err));
    }
    return DT_OK;
}

/* Each of our rows with all the rows that repeat it; in bands, so rows of ours are the outer loop. */
static dt_status map_buckets(dt_mapping *m, const dt_canonical *to, const dt_name_row *row,
                             const dt_model_config *c, const int64_t numbers[2], int count, dt_error *err)
{
    bool both = row->transform == DT_MAP_buckets_both;
    int64_t rows = dt_repeated_buckets(c);
    dt_shape shape = {.rank = 2, .dim = {rows, to->cols}};
    char name[NAME_BYTES];
    int index = -1;
    if (rows == 0)
        return dt_fail(err, DT_UNSUPPORTED, "\"%s\" has no place where distances end at 128", to->spec->name);
    if (!dt_names_fill(name, sizeof name, row->external[0], numbers, count))
        return dt_fail(err, DT_INTERNAL, "name pattern \"%s\" does not fit \"%s\"", row->external[0],
                       to->spec->name);
    DT_PASS(dt_mapping_add_external(m, name, &shape, 2, &index, err));
    for (int64_t ours = 0; ours < to->rows; ours++)
        for (int64_t i = 0; i < rows; i++) {
            dt_piece piece = {.external = index, .row = i, .to_row = ours, .rows = 1, .cols = to->cols};
            if (dt_repeated_bucket(c, i, both) == ours)
                DT_PASS(dt_mapping_add_piece(m, &piece, err));
        }
    return DT_OK;
}

static bool repeats_rows(const dt_name_row *row, const dt_model_config *c)
{
    bool table = row->transform == DT_MAP_buckets || row->transform == DT_MAP_buckets_both;
    return table && dt_repeats_buckets(c);
}

static bool applies(dt_when when, const dt_model_config *c)
{
    switch (when) {
    case DT_WHEN_gated:
        return c->gated_linear_unit;
    case DT_WHEN_plain:
        return !c->gated_linear_unit;
    case DT_WHEN_shared:
        return c->encoder_vocab_size <= 0;
    case DT_WHEN_apart:
        return c->encoder_vocab_size > 0;
    case DT_WHEN_tied:
        return c->share_embeddings_and_output_weights;
    case DT_WHEN_untied:
        return !c->share_embeddings_and_output_weights;
    case DT_WHEN_two_norms:
        return c->parallel_residual && !c->parallel_shared_norm;
    case DT_WHEN_one_norm:
        return c->parallel_residual && c->parallel_shared_norm;
    case DT_WHEN_always:
        break;
    }
    return true;
}

const dt_model_config *dt_names_config(const dt_model_config *c, const char *canonical)
{
    if (c->vision && dt_starts_with(canonical, "vision_model."))
        return c->vision;
    return c->projection && dt_starts_with(canonical, "vision_projection.") ? c->projection : c;
}

dt_status dt_names_map(dt_mapping *m, const dt_name_table *table, const dt_model_config *c, dt_error *err)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    for (int i = 0; i < dt_mapping_count(m); i++) {
        int64_t numbers[2];
        int count = 0;
        const dt_canonical *to = dt_mapping_next(m, err);
        if (!to)
            return DT_INTERNAL;
        const dt_name_row *row = dt_names_row(table, to->spec->name, c, numbers, &count);
        if (!row)
            return dt_fail(err, DT_UNSUPPORTED, "this format has no place for the tensor \"%s\"",
                           to->spec->name);
        const dt_model_config *of =
            dt_starts_with(to->spec->name, "encoder.") ? &encoder : dt_names_config(c, to->spec->name);
        if (repeats_rows(row, of)) {
            DT_PASS(map_buckets(m, to, row, of, numbers, count, err));
            continue;
        }
        row_plan plan = describe(row->transform, to, of);
        DT_PASS(map_row(m, to, row, &plan, numbers, count, err));
    }
    return dt_mapping_finish(m, err);
}

const dt_name_row *dt_names_row(const dt_name_table *table, const char *canonical,
                                const dt_model_config *config, int64_t *numbers, int *count)
{
    const dt_model_config *of = dt_names_config(config, canonical);
    for (int i = 0; i < table->row_count; i++) {
        const dt_name_row *row = &table->row[i];
        if (applies(row->when, of) && dt_match_numbers(row->canonical, canonical, numbers, 2, count))
            return row;
    }
    return NULL;
}

/* ---- tables made of tables ---- */

/* A maker's name or pattern below a part's; NULL stays so. */
static const char *below(dt_arena *arena, const dt_name_part *part, const char *name, bool *short_of_memory)
{
    const char *own = part->table->prefix;
    if (!name)
        return NULL;
    bool inside = dt_starts_with(name, own);
    if (part->bare && inside)
        name += strlen(own);
    const char *before = inside || !part->outside ? part->external : part->outside;
    const char *full = dt_arena_printf(arena, "%s%s", before, name);
    *short_of_memory |= !full;
    return full;
}

/* Append a part to tables that have the room. */
static bool append_part(dt_arena *arena, const dt_name_part *part, dt_name_table *out, dt_name_row *row,
                        dt_name_copy *copy, dt_name_skip *skip)
{
    const dt_name_table *t = part->table;
    bool failed = false;
    for (int i = 0; i < t->row_count; i++) {
        dt_name_row *r = &row[out->row_count++];
        *r = t->row[i];
        r->canonical = dt_arena_printf(arena, "%s%s", part->canonical, t->row[i].canonical);
        failed |= !r->canonical;
        for (int k = 0; k < DT_NAME_PARTS; k++)
            r->external[k] = below(arena, part, t->row[i].external[k], &failed);
    }
    for (int i = 0; i < t->copy_count; i++)
        copy[out->copy_count++] = (dt_name_copy){below(arena, part, t->copy[i].name, &failed),
                                                 below(arena, part, t->copy[i].of, &failed)};
    for (int i = 0; i < t->skip_count; i++)
        skip[out->skip_count++] =
            (dt_name_skip){below(arena, part, t->skip[i].pattern, &failed), t->skip[i].rule};
    return !failed;
}

dt_status dt_names_compose(dt_name_table *out, dt_arena *arena, const dt_name_part *part, int count,
                           dt_error *err)
{
    int64_t rows = 0, copies = 0, skips = 0;
    for (int i = 0; i < count; i++) {
        rows += part[i].table->row_count;
        copies += part[i].table->copy_count;
        skips += part[i].table->skip_count;
    }
    dt_name_row *row = DT_NEW_ARRAY(arena, dt_name_row, rows + 1);
    dt_name_copy *copy = DT_NEW_ARRAY(arena, dt_name_copy, copies + 1);
    dt_name_skip *skip = DT_NEW_ARRAY(arena, dt_name_skip, skips + 1);
    bool made = row && copy && skip;
    *out = (dt_name_table){.prefix = "", .row = row, .copy = copy, .skip = skip};
    for (int i = 0; i < count && made; i++)
        made = append_part(arena, &part[i], out, row, copy, skip);
    return made ? DT_OK : dt_fail_memory(err, sizeof *row * (size_t)rows, "a table of names");
}

/* ---- patterns ---- */

bool dt_names_fill(char *out, size_t bytes, const char *pattern, const int64_t *numbers, int count)
{
    size_t used = 0;
    int next = 0;
    while (*pattern) {
        if (pattern[0] == '{' && pattern[1] == '}') {
            if (next == count)
                return false;
            int n = snprintf(out + used, bytes - used, "%lld", (long long)numbers[next++]);
            if (n < 0 || (size_t)n >= bytes - used)
                return false;
            used += (size_t)n;
            pattern += 2;
        } else {
            if (used + 1 >= bytes)
                return false;
            out[used++] = *pattern++;
        }
    }
    out[used] = 0;
    return true;
}

/* Where a match may be taken up again: the last "*" seen, and the text it has swallowed so far. */
bool dt_names_fit(const char *pattern, const char *name)
{
    const char *star = NULL, *resume = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = name;
        } else if (pattern[0] == '{' && pattern[1] == '}' && *name >= '0' && *name <= '9') {
            while (*name >= '0' && *name <= '9')
                name++;
            pattern += 2;
        } else if (*pattern == *name && *pattern != '{') {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == 0;
}
