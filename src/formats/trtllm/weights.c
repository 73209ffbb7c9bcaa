/*
 * weights.c (trtllm) - how tensor-parallel ranks share a canonical tensor, and pipeline stages the layers. What the shares
 * are called is layer_names.c's.
 *
 * TensorRT-LLM deals layers as numpy's array_split: the first stages get one more. Key heads are repeated where there are
 * more ranks than heads. Rank = stage * tensor ranks + tensor rank.
 */
#include "formats/trtllm/trtllm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One rank's share of a canonical tensor: up to two external tensors, and pieces in the order of canonical rows. */
typedef struct share {
    dt_arena *arena;
    const dt_trtllm_name *row;
    dt_shape shape[2];
    int tensors, axes;
    dt_piece *piece; /* .external is 0 or 1 */
    int count, capacity;
    bool failed;
} share;

static void add(share *s, dt_piece piece)
{
    if (piece.rows <= 0 || piece.cols <= 0 || s->failed)
        return;
    if (s->count == s->capacity) {
        int larger = s->capacity ? 2 * s->capacity : 8;
        void *list =
            dt_arena_grow(s->arena, s->piece, sizeof piece * (size_t)s->count, sizeof piece * (size_t)larger);
        if ((s->failed = !list))
            return;
        s->piece = list;
        s->capacity = larger;
    }
    s->piece[s->count++] = piece;
}

/* `rows` of the first external tensor at `row` are canonical ones at to_row. */
static void add_rows(share *s, const dt_canonical *to, int64_t row, int64_t to_row, int64_t rows)
{
    add(s, (dt_piece){.row = row, .to_row = to_row, .rows = rows, .cols = to->cols});
}

static void set_shape(share *s, const dt_canonical *to, int64_t rows, int64_t cols)
{
    s->tensors = 1;
    s->axes = to->spec->rank;
    s->shape[0] = s->shape[1] = (dt_shape){.rank = to->spec->rank, .dim = {rows, cols}};
}

/* ---- the cuts ---- */

/* Where a rank's heads lie. */
typedef struct heads {
    int64_t q, kv;       /* on the rank */
    int64_t group, skip; /* its first group, and heads of it that ranks before have */
    int64_t in_group;    /* q heads of a group */
    int64_t size;
} heads;

static heads heads_of(const dt_model_config *c, int64_t groups, int T, int t)
{
    int64_t A = c->num_attention_heads, each = A / groups;
    if (groups >= T)
        return (heads){A / T, groups / T, t * (groups / T), 0, each, c->kv_channels};
    int64_t sharing = T / groups;
    return (heads){A / T, 1, t / sharing, t % sharing * (A / T), each, c->kv_channels};
}

/* [q heads, k, v] of each group → the rank's q, k, v. */
static void cut_qkv(share *s, const dt_canonical *to, const heads *h)
{
    int64_t D = h->size, whole = (h->in_group + 2) * D, each = h->q / h->kv;
    set_shape(s, to, (h->q + 2 * h->kv) * D, to->cols);
    for (int64_t i = 0; i < h->kv; i++) {
        int64_t base = (h->group + i) * whole, kv = base + h->in_group * D;
        add_rows(s, to, i * each * D, base + h->skip * D, each * D);
        add_rows(s, to, (h->q + i) * D, kv, D);
        add_rows(s, to, (h->q + h->kv + i) * D, kv + D, D);
    }
}

/* [k, v] of each head → the k and v of q | k | v. */
static void cut_cross_kv(share *s, const dt_canonical *to, const heads *h, int t)
{
    set_shape(s, to, 3 * h->q * h->size, to->cols);
    for (int64_t i = 0; i < h->q; i++) {
        int64_t from = (t * h->q + i) * 2 * h->size;
        add_rows(s, to, (h->q + i) * h->size, from, h->size);
        add_rows(s, to, (2 * h->q + i) * h->size, from + h->size, h->size);
    }
}

static void cut_gated(share *s, const dt_canonical *to, int T, int t)
{
    int64_t half = to->rows / 2, each = half / T;
    set_shape(s, to, each, to->cols);
    s->tensors = 2;
    for (int i = 0; i < 2; i++)
        add(s, (dt_piece){.external = i, .to_row = i * half + t * each, .rows = each, .cols = to->cols});
}

/* Rows t·n to (t+1)·n of a tensor that may have fewer; `skip` rows before the first belong to no rank. */
static void cut_padded(share *s, const dt_canonical *to, int64_t n, int t, int64_t skip)
{
    int64_t left = to->rows - skip - t * n;
    set_shape(s, to, n, to->cols);
    add_rows(s, to, 0, skip + t * n, left < n ? left : n);
}

/* Each expert's halves, which lie the other way round: what is multiplied first. */
static void cut_experts(share *s, const dt_canonical *to, int T, int t, bool gated)
{
    int64_t E = to->spec->experts, each = to->rows / E, half = each / 2, rows = half / T, cols = to->cols / T;
    s->tensors = 1;
    s->axes = 2;
    s->shape[0] = (dt_shape){.rank = 3, .dim = {E, gated ? 2 * rows : each, gated ? to->cols : cols}};
    for (int64_t e = 0; e < E; e++) {
        dt_piece p = {.plane = e, .to_row = e * each, .rows = each, .cols = cols, .to_col = t * cols};
        if (gated)
            p = (dt_piece){
                .plane = e, .row = rows, .to_row = e * each + t * rows, .rows = rows, .cols = to->cols};
        add(s, p);
        p.row = 0;
        p.to_row += half;
        if (gated)
            add(s, p);
    }
}

static void cut_row(share *s, const dt_canonical *to, int T, int t)
{
    int64_t cols = to->cols / T;
    set_shape(s, to, to->rows, cols);
    add(s, (dt_piece){.to_col = t * cols, .rows = to->rows, .cols = cols});
}

static void cut_bias_table(share *s, const dt_canonical *to, int T, int t)
{
    int64_t each = to->cols / T;
    set_shape(s, to, each, to->rows);
    add(s, (dt_piece){.to_col = t * each, .rows = to->rows, .cols = each, .transposed = true});
}

static int64_t up_to(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static int64_t position_skip(const dt_model_config *c)
{
    return c->position_embedding_type == DT_POSITION_LEARNED ? c->position_offset : 0;
}

static void cut_table(share *s, const dt_canonical *to, const dt_model_config *c, const dt_trtllm_plan *p,
                      int t)
{
    bool words = s->row->cut == DT_CUT_vocab, model = strstr(to->spec->name, "x_word") == NULL;
    int64_t skip = words ? 0 : position_skip(c), rows = to->rows - skip;
    if (words && model && p->head_rows)
        rows = p->head_rows;
    if (p->parallel_embedding)
        cut_padded(s, to, up_to(rows, p->tensor) / p->tensor, t, skip);
    else
        cut_padded(s, to, rows, 0, skip);
}

static void cut_whole(share *s, const dt_canonical *to, float shift)
{
    set_shape(s, to, to->rows, to->cols);
    add(s, (dt_piece){.rows = to->rows, .cols = to->cols, .shift = shift});
}

static void cut(share *s, const dt_canonical *to, const dt_model_config *c, const dt_trtllm_plan *p,
                int64_t layer, int t)
{
    int T = p->tensor;
    bool encoder = strncmp(to->spec->name, "encoder.", 8) == 0;
    dt_model_config own = dt_config_of_encoder(c);
    int64_t groups = dt_config_layer_shape(c, layer).num_query_groups;
    if (encoder)
        groups = own.num_query_groups;
    heads h = heads_of(encoder ? &own : c, groups, T, t);
    switch (s->row->cut) {
    case DT_CUT_whole:
    case DT_CUT_router:
        return cut_whole(s, to, 0);
    case DT_CUT_norm:
        return cut_whole(s, to, c->layernorm_zero_centered_gamma ? 1.0f : 0.0f);
    case DT_CUT_zeros:
        set_shape(s, to, to->rows, 1);
        s->axes = s->shape[0].rank = 1;
        return;
    case DT_CUT_column:
        return cut_padded(s, to, to->rows / T, t, 0);
    case DT_CUT_row:
        return cut_row(s, to, T, t);
    case DT_CUT_gated:
        return cut_gated(s, to, T, t);
    case DT_CUT_qkv:
        return cut_qkv(s, to, &h);
    case DT_CUT_cross_q:
        set_shape(s, to, 3 * h.q * h.size, to->cols);
        return add_rows(s, to, 0, t * h.q * h.size, h.q * h.size);
    case DT_CUT_cross_kv:
        return cut_cross_kv(s, to, &h, t);
    case DT_CUT_vocab:
    case DT_CUT_position:
        return cut_table(s, to, c, p, t);
    case DT_CUT_head:
        return cut_padded(s, to, p->head_rows / T, t, 0);
    case DT_CUT_experts:
    case DT_CUT_experts_gated:
        return cut_experts(s, to, T, t, s->row->cut == DT_CUT_experts_gated);
    case DT_CUT_bias_table:
        return cut_bias_table(s, to, T, t);
    }
}

/* ---- stages ---- */

int64_t dt_trtllm_first_layer(int64_t layers, int pipeline, int stage)
{
    int64_t each = layers / pipeline, more = layers % pipeline;
    return stage * each + (stage < more ? stage : more);
}

int64_t dt_trtllm_layers(const dt_model_config *c, const dt_trtllm_names *names)
{
    if (!names->folder[0])
        return c->num_layers;
    return strcmp(names->folder, "encoder/") == 0 ? c->encoder_num_layers : c->decoder_num_layers;
}

/* The layers of a stage that a row's tensor has homes in, numbered within the stage; false: none. */
static bool homes(const dt_trtllm_name *row, int64_t layers, int pipeline, int stage, int64_t layer,
                  int64_t *first, int64_t *count)
{
    int64_t begin = dt_trtllm_first_layer(layers, pipeline, stage);
    int64_t end = dt_trtllm_first_layer(layers, pipeline, stage + 1);
    *first = layer - begin;
    *count = 1;
    switch (row->stage) {
    case DT_STAGE_layer:
        return layer >= begin && layer < end;
    case DT_STAGE_first:
        return stage == 0;
    case DT_STAGE_last:
        return stage == pipeline - 1;
    case DT_STAGE_each:
        *first = 0;
        *count = end - begin;
        return true;
    case DT_STAGE_every:
        break;
    }
    return true;
}

/* ---- mappings ---- */

static dt_status add_externals(dt_mapping *m, const share *s, const char *before, int64_t layer, int index[2],
                               dt_error *err)
{
    for (int i = 0; i < s->tensors; i++) {
        char name[DT_TRTLLM_NAME], full[DT_TRTLLM_NAME];
        if (!dt_names_fill(name, sizeof name, s->row->name[i], &layer, 1) ||
            snprintf(full, sizeof full, "%s%s", before, name) >= (int)sizeof full)
            return dt_fail(err, DT_LIMIT, "the name \"%s\" is too long", s->row->name[i]);
        DT_PASS(dt_mapping_add_external(m, full, &s->shape[i], s->axes, &index[i], err));
    }
    return DT_OK;
}

static dt_status no_place(const dt_trtllm_plan *plan, const char *canonical, dt_error *err)
{
    return dt_fail(err, DT_UNSUPPORTED, "%s has no place for the tensor \"%s\"", plan->type->architecture,
                   canonical);
}

/* What one rank has of a tensor: a row, and the layer's number within the stage. */
typedef struct home {
    const dt_param_spec *spec;
    const dt_trtllm_name *row;
    int64_t layer, number; /* of the model, of the stage */
} home;

typedef struct home_list {
    home *home;
    int count, capacity;
} home_list;

static dt_status add_home(home_list *list, dt_arena *arena, home next, dt_error *err)
{
    if (list->count == list->capacity) {
        int larger = list->capacity ? 2 * list->capacity : 64;
        void *data =
            dt_arena_grow(arena, list->home, sizeof next * (size_t)list->count, sizeof next * (size_t)larger);
        if (!data)
            return dt_fail_memory(err, sizeof next * (size_t)larger, "a rank's tensors");
        list->home = data;
        list->capacity = larger;
    }
    list->home[list->count++] = next;
    return DT_OK;
}

static dt_status list_homes(const dt_model_config *c, const dt_trtllm_plan *plan, int part, int stage,
                            const dt_param_spec *specs, int count, dt_arena *arena, home_list *list,
                            dt_error *err)
{
    const dt_trtllm_names *names = plan->type->names[part];
    int64_t layers = dt_trtllm_layers(c, names), layer, first, homes_here;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < names->count; k++) {
            const dt_trtllm_name *row = &names->row[k];
            if (!dt_trtllm_names_fit(row, specs[i].name, c, &layer) ||
                !homes(row, layers, plan->pipeline, stage, layer, &first, &homes_here))
                continue;
            for (int64_t n = 0; n < homes_here; n++)
                DT_PASS(add_home(list, arena, (home){&specs[i], row, layer, first + n}, err));
        }
    return DT_OK;
}

dt_status dt_trtllm_map_rank(const dt_model_config *c, const dt_trtllm_plan *plan, int part, int rank,
                             const dt_param_spec *specs, int count, dt_arena *arena, dt_mapping **out,
                             dt_error *err)
{
    home_list list = {0};
    DT_PASS(list_homes(c, plan, part, rank / plan->tensor, specs, count, arena, &list, err));
    dt_param_spec *spec = DT_NEW_ARRAY(arena, dt_param_spec, list.count + 1);
    if (!spec)
        return dt_fail_memory(err, sizeof *spec * (size_t)list.count, "a rank's tensors");
    for (int i = 0; i < list.count; i++)
        spec[i] = *list.home[i].spec;
    DT_PASS(dt_mapping_create(out, arena, spec, list.count, err));
    for (int i = 0; i < list.count; i++) {
        const dt_canonical *to = dt_mapping_next(*out, err);
        share s = {.arena = arena, .row = list.home[i].row};
        int index[2] = {0};
        cut(&s, to, c, plan, list.home[i].layer, rank % plan->tensor);
        if (s.failed)
            return dt_fail_memory(err, sizeof *s.piece, "a rank's tensors");
        DT_PASS(add_externals(*out, &s, "", list.home[i].number, index, err));
        for (int k = 0; k < s.count; k++) {
            s.piece[k].external = index[s.piece[k].external];
            DT_PASS(dt_mapping_add_piece(*out, &s.piece[k], err));
        }
    }
    return dt_mapping_finish(*out, err);
}

/* ---- reading: one home for every part of a tensor ---- */

static int by_place(const void *a, const void *b)
{
    const dt_piece *x = a, *y = b;
    if (x->to_row != y->to_row)
        return x->to_row < y->to_row ? -1 : 1;
    if (x->to_col != y->to_col)
        return x->to_col < y->to_col ? -1 : 1;
    return (x->external > y->external) - (x->external < y->external);
}

static dt_status add_sorted(dt_mapping *m, share *all, dt_error *err)
{
    qsort(all->piece, (size_t)all->count, sizeof *all->piece, by_place);
    for (int i = 0; i < all->count; i++) {
        const dt_piece *p = &all->piece[i];
        if (i && p[-1].to_row == p->to_row && p[-1].to_col == p->to_col)
            continue; /* another rank's copy */
        DT_PASS(dt_mapping_add_piece(m, p, err));
    }
    return DT_OK;
}

static dt_status map_shares(const dt_model_config *c, const dt_trtllm_plan *plan, const char *folder,
                            const home *h, int stage, const dt_canonical *to, dt_arena *arena, dt_mapping *m,
                            dt_error *err)
{
    share all = {.arena = arena};
    for (int t = 0; t < plan->tensor; t++) {
        share s = {.arena = arena, .row = h->row};
        char before[64];
        int index[2] = {0};
        cut(&s, to, c, plan, h->layer, t);
        bool repeated = t > 0 && s.count && s.piece[0].to_row == 0 && s.piece[0].to_col == 0;
        if (repeated && s.tensors == 1)
            continue; /* a whole tensor: the first rank's is read, the others must equal it */
        snprintf(before, sizeof before, "%srank%d:", folder, stage * plan->tensor + t);
        DT_PASS(add_externals(m, &s, before, h->number, index, err));
        for (int k = 0; k < s.count; k++) {
            s.piece[k].external = index[s.piece[k].external];
            add(&all, s.piece[k]);
        }
        if (s.failed || all.failed)
            return dt_fail_memory(err, sizeof *s.piece, "the ranks' tensors");
    }
    return add_sorted(m, &all, err);
}

/* The first home of a canonical tensor. */
static bool find_home(const dt_model_config *c, const dt_trtllm_plan *plan, const char *canonical, int *part,
                      int *stage, home *out)
{
    for (*part = 0; *part < plan->type->parts; ++*part) {
        const dt_trtllm_names *names = plan->type->names[*part];
        int64_t layers = dt_trtllm_layers(c, names), count;
        for (int k = 0; k < names->count; k++) {
            out->row = &names->row[k];
            if (out->row->again || !dt_trtllm_names_fit(out->row, canonical, c, &out->layer))
                continue;
            for (*stage = 0; *stage < plan->pipeline; ++*stage)
                if (homes(out->row, layers, plan->pipeline, *stage, out->layer, &out->number, &count))
                    return true;
        }
    }
    return false;
}

dt_status dt_trtllm_map(const dt_model_config *c, const dt_trtllm_plan *plan, dt_arena *arena, dt_mapping *m,
                        dt_error *err)
{
    for (int i = 0; i < dt_mapping_count(m); i++) {
        const dt_canonical *to = dt_mapping_next(m, err);
        int part, stage;
        home h;
        if (!to)
            return DT_INTERNAL;
        if (!find_home(c, plan, to->spec->name, &part, &stage, &h))
            return no_place(plan, to->spec->name, err);
        DT_PASS(map_shares(c, plan, plan->type->names[part]->folder, &h, stage, to, arena, m, err));
    }
    return dt_mapping_finish(m, err);
}

dt_status dt_trtllm_check_places(const dt_model_config *c, const dt_trtllm_plan *plan,
                                 const dt_param_spec *specs, int count, dt_error *err)
{
    for (int i = 0; i < count; i++) {
        int part, stage;
        home h;
        if (!find_home(c, plan, specs[i].name, &part, &stage, &h))
            return no_place(plan, specs[i].name, err);
    }
    return DT_OK;
}

/* ---- what divides ---- */

/* The largest number of ranks up to `wanted` that suits. */
static int nearest(const dt_model_config *c, int wanted, bool (*suits)(const dt_model_config *, int))
{
    while (wanted > 1 && !suits(c, wanted))
        wanted--;
    return wanted;
}

static bool groups_suit(int64_t groups, int T)
{
    return groups >= T ? groups % T == 0 : T % groups == 0;
}

static bool suits(const dt_model_config *c, int T)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    bool two = strcmp(c->model_type, "t5") == 0;
    bool fits = c->num_attention_heads % T == 0 &&
                (!two || (encoder.num_attention_heads % T == 0 && encoder.ffn_hidden_size % T == 0));
    fits = fits && (c->num_moe_experts ? c->moe_ffn_hidden_size : c->ffn_hidden_size) % T == 0;
    for (int64_t i = 0; i < c->num_layers && fits && !two; i++) {
        dt_layer_shape s = dt_config_layer_shape(c, i);
        fits = s.attention == DT_BRANCH_FULL   ? groups_suit(s.num_query_groups, T)
               : s.attention == DT_BRANCH_NONE ? fits
                                               : c->hidden_size % T == 0;
        fits = fits && (s.mlp == DT_BRANCH_FULL ? s.ffn_hidden_size % T == 0
                                                : s.mlp == DT_BRANCH_NONE || c->hidden_size % T == 0);
    }
    return fits;
}

static dt_status refuse_ranks(const dt_model_config *c, int T, const char *what, int64_t size, dt_error *err)
{
    dt_fail(err, DT_UNSUPPORTED,
            "%" PRId64 " %s cannot be shared by %d tensor-parallel ranks; the nearest that can: --tp %d",
            size, what, T, nearest(c, T, suits));
    return DT_UNSUPPORTED;
}

static dt_status check_shape(const dt_model_config *c, dt_layer_shape s, int T, dt_error *err)
{
    if (s.attention == DT_BRANCH_FULL && !groups_suit(s.num_query_groups, T))
        return refuse_ranks(c, T, "query groups", s.num_query_groups, err);
    if (s.mlp == DT_BRANCH_FULL && !c->num_moe_experts && s.ffn_hidden_size % T)
        return refuse_ranks(c, T, "rows of an MLP (\"ffn_hidden_size\")", s.ffn_hidden_size, err);
    if ((s.attention == DT_BRANCH_LINEAR || s.mlp == DT_BRANCH_LINEAR) && c->hidden_size % T)
        return refuse_ranks(c, T, "rows of a linear layer (\"hidden_size\")", c->hidden_size, err);
    return DT_OK;
}

static dt_status check_tensor(const dt_model_config *c, int T, dt_error *err)
{
    dt_model_config encoder = dt_config_of_encoder(c);
    bool two = strcmp(c->model_type, "t5") == 0;
    for (int64_t i = 0; i < c->num_layers && !two; i++)
        DT_PASS(check_shape(c, dt_config_layer_shape(c, i), T, err));
    if (c->num_attention_heads % T)
        return refuse_ranks(c, T, "attention heads", c->num_attention_heads, err);
    if (c->num_moe_experts && c->moe_ffn_hidden_size % T)
        return refuse_ranks(c, T, "rows of an expert (\"moe_ffn_hidden_size\")", c->moe_ffn_hidden_size, err);
    if (two && c->ffn_hidden_size % T)
        return refuse_ranks(c, T, "rows of an MLP (\"ffn_hidden_size\")", c->ffn_hidden_size, err);
    if (two && encoder.num_attention_heads % T)
        return refuse_ranks(c, T, "attention heads of the encoder", encoder.num_attention_heads, err);
    if (two && encoder.ffn_hidden_size % T)
        return refuse_ranks(c, T, "rows of an MLP of the encoder", encoder.ffn_hidden_size, err);
    return DT_OK;
}

dt_status dt_trtllm_check_ranks(const dt_model_config *c, const dt_trtllm_plan *plan, dt_error *err)
{
    int64_t ranks = (int64_t)plan->tensor * plan->pipeline;
    for (int i = 0; i < plan->type->parts; i++) {
        int64_t layers = dt_trtllm_layers(c, plan->type->names[i]);
        if (plan->pipeline > layers)
            return dt_fail(err, DT_UNSUPPORTED,
                           "%d pipeline stages are more than %" PRId64
                           " layers; the nearest that can: --pp %" PRId64,
                           plan->pipeline, layers, layers);
    }
    if (ranks > DT_TRTLLM_RANKS)
        return dt_fail(err, DT_UNSUPPORTED, "%" PRId64 " ranks are more than %d", ranks, DT_TRTLLM_RANKS);
    DT_PASS(check_tensor(c, plan->tensor, err));
    int64_t positions = c->max_sequence_length;
    if (plan->parallel_embedding && c->position_embedding_type == DT_POSITION_LEARNED &&
        positions % plan->tensor)
        return dt_fail(err, DT_UNSUPPORTED,
                       "a parallel embedding cuts %" PRId64
                       " positions into %d equal parts, which they do not "
                       "fall into; without --parallel-embedding they need not",
                       positions, plan->tensor);
    return DT_OK;
}
