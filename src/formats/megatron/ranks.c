/*
 * ranks.c (megatron) - dealing tensors out to ranks, and the ranks' names. Which files there are and what they hold
 * besides is for legacy.c (reading), legacy_write.c and dist_write.c.
 */
#include "formats/megatron/ranks.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const dt_ranks_stack[DT_RANKS_STACKS] = {"encoder", "decoder"};

/* ---- layers ---- */

dt_stage_layers *dt_ranks_layers(const dt_ranks *r, int stack, int chunk, int stage)
{
    return &r->layers[(stack * r->chunks + chunk) * r->pipeline + stage];
}

dt_status dt_ranks_create(dt_ranks *r, dt_arena *arena, dt_error *err)
{
    size_t count = (size_t)(DT_RANKS_STACKS * r->chunks * r->pipeline);
    r->layers = DT_NEW_ARRAY(arena, dt_stage_layers, count);
    return r->layers ? DT_OK : dt_fail_memory(err, sizeof *r->layers * count, "the pipeline's stages");
}

void dt_ranks_number(dt_ranks *r)
{
    for (int stack = 0; stack < DT_RANKS_STACKS; stack++) {
        int64_t next = 0;
        for (int chunk = 0; chunk < r->chunks; chunk++)
            for (int stage = 0; stage < r->pipeline; stage++) {
                dt_stage_layers *s = dt_ranks_layers(r, stack, chunk, stage);
                s->first = next;
                next += s->count;
            }
    }
}

dt_status dt_ranks_deal(dt_ranks *r, int stack, int64_t layers, dt_error *err)
{
    int64_t parts = (int64_t)r->pipeline * r->chunks;
    if (layers % parts)
        return dt_fail(err, DT_UNSUPPORTED,
                       "%" PRId64 " %s layers cannot be dealt out evenly to %d pipeline stages of %d chunks",
                       layers, dt_ranks_stack[stack], r->pipeline, r->chunks);
    for (int chunk = 0; chunk < r->chunks; chunk++)
        for (int stage = 0; stage < r->pipeline; stage++)
            dt_ranks_layers(r, stack, chunk, stage)->count = layers / parts;
    return DT_OK;
}

int dt_ranks_stack_of(const char *name, const dt_megatron_layer *layer)
{
    const char *last = name;
    if (dt_starts_with(name, "vision_model."))
        return -1;
    for (const char *at = name; at < name + layer->stack_bytes; at++)
        last = *at == '.' ? at + 1 : last; /* "language_model.decoder" is a decoder */
    for (int stack = 0; stack < DT_RANKS_STACKS; stack++)
        if (strlen(dt_ranks_stack[stack]) == (size_t)(name + layer->stack_bytes - last) &&
            strncmp(last, dt_ranks_stack[stack], strlen(dt_ranks_stack[stack])) == 0)
            return stack;
    return -1;
}

bool dt_ranks_place_layer(const dt_ranks *r, const char *canonical, dt_rank_place *out)
{
    dt_megatron_layer layer;
    if (!dt_megatron_split_layer(canonical, &layer))
        return false;
    int stack = dt_ranks_stack_of(canonical, &layer);
    if (stack < 0) { /* a tower is whole in the first stage */
        out->stage = out->chunk = 0;
        snprintf(out->name, sizeof out->name, "%s", canonical);
        return true;
    }
    for (int chunk = 0; chunk < r->chunks; chunk++)
        for (int stage = 0; stage < r->pipeline; stage++) {
            const dt_stage_layers *s = dt_ranks_layers(r, stack, chunk, stage);
            if (layer.layer < s->first || layer.layer >= s->first + s->count)
                continue;
            out->stage = stage;
            out->chunk = chunk;
            snprintf(out->name, sizeof out->name, "%.*s.layers.%" PRId64 "%s", layer.stack_bytes, canonical,
                     layer.layer - s->first, layer.rest);
            return true;
        }
    return false;
}

/* ---- names ---- */

void dt_ranks_folder(const dt_ranks *r, dt_rank rank, char *out, size_t bytes)
{
    char stage[16] = "", expert[16] = "";
    if (r->pipeline > 1)
        snprintf(stage, sizeof stage, "_%03d", rank.stage);
    if (r->expert > 1)
        snprintf(expert, sizeof expert, "_%03d", rank.expert);
    snprintf(out, bytes, "mp_rank_%02d%s%s", rank.tensor, stage, expert);
}

void dt_ranks_name(const dt_ranks *r, dt_rank rank, int chunk, const char *name, char *out, size_t bytes)
{
    char folder[64], number[16] = "";
    dt_ranks_folder(r, rank, folder, sizeof folder);
    if (r->chunks > 1)
        snprintf(number, sizeof number, "%d", chunk);
    snprintf(out, bytes, "%s.model%s.%s", folder, number, name);
}

/* Digits at *at, past them; 0 without any. */
static int take_number(const char **at)
{
    int n = 0;
    for (; **at >= '0' && **at <= '9'; ++*at)
        n = n < 100000 ? n * 10 + (**at - '0') : n;
    return n;
}

/* "_" and a number. */
static int take_part(const char **at)
{
    if (**at != '_')
        return 0;
    ++*at;
    return take_number(at);
}

bool dt_ranks_parse(const dt_ranks *r, const char *stored, dt_rank_tensor *out)
{
    const char *at = stored + strlen("mp_rank_");
    *out = (dt_rank_tensor){0};
    if (!dt_starts_with(stored, "mp_rank_"))
        return false;
    out->rank.tensor = take_number(&at);
    if (r->pipeline > 1)
        out->rank.stage = take_part(&at);
    if (r->expert > 1)
        out->rank.expert = take_part(&at);
    if (!dt_starts_with(at, ".model"))
        return false;
    at += strlen(".model");
    out->chunk = take_number(&at);
    out->name = at + 1;
    return *at == '.' && at[1] && out->rank.tensor < r->tensor && out->rank.stage < r->pipeline &&
           out->rank.expert < r->expert && out->chunk < r->chunks;
}

/* ---- parts ---- */

/* One expert's block (or all of a tensor without experts), lying in the files of one expert-parallel rank. */
static dt_status map_block(const dt_ranks *r, const dt_canonical *to, const dt_rank_place *place,
                           int64_t expert, int64_t each, dt_mapping *m, dt_error *err)
{
    dt_megatron_part part[2 * DT_RANKS_TENSOR];
    char local[DT_RANKS_NAME], name[DT_RANKS_NAME];
    int parts = 0;
    DT_PASS(dt_megatron_cut(to, r->tensor, expert, part, &parts, err));
    if (!dt_megatron_expert(local, sizeof local, place->name, place->form, expert % each))
        return dt_fail(err, DT_LIMIT, "the name of \"%s\" is too long", to->spec->name);
    for (int i = 0; i < parts; i++) {
        dt_piece piece = part[i].piece;
        dt_rank rank = {part[i].rank, place->stage, (int)(expert / each)};
        dt_ranks_name(r, rank, place->chunk, local, name, sizeof name);
        if (to->spec->experts && place->form == DT_EXPERTS_PACKED)
            DT_PASS(dt_megatron_add_packed(m, name, &part[i].shape, expert % each, each, &piece, err));
        else
            DT_PASS(
                dt_mapping_add_external(m, name, &part[i].shape, part[i].shape.rank, &piece.external, err));
        DT_PASS(dt_mapping_add_piece(m, &piece, err));
    }
    return DT_OK;
}

dt_status dt_ranks_map(const dt_ranks *r, const dt_canonical *to, const dt_rank_place *place, dt_mapping *m,
                       dt_error *err)
{
    int64_t experts = to->spec->experts;
    if (experts % r->expert)
        return dt_fail(err, DT_MISMATCH, "%" PRId64 " experts cannot be shared by %d expert-parallel ranks",
                       experts, r->expert);
    int64_t each = experts ? experts / r->expert : 1;
    for (int64_t e = 0; e < (experts ? experts : 1); e++)
        DT_PASS(map_block(r, to, place, e, each, m, err));
    return DT_OK;
}
