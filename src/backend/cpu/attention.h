/*
 * attention.h - softmax(q . k * scale + bias) v over blocks of keys, with or without a paged cache.
 *
 * Blocks    DT_KV_BLOCK = 64 absolute positions, combined in ascending order with a running maximum. A query and head
 *           ("a line") meets the same blocks with the same sums whether it is prefilled or decoded, alone or not, cached
 *           or not, so it has the same bits; a block of which it sees nothing leaves it untouched.
 * Numbers   scores: one chain over ascending d, then times scale, soft cap, bias. Weights exp(s - m) in f32; their sum
 *           on 16 lanes and one tree a block; values: one chain over ascending positions. The states' type (f32, bf16,
 *           f16) only stores: arithmetic is f32. Keys that no line of a tile sees are left out: they would add 0.
 * Layout    in a block, for each group: keys as 4 panels of 16 positions, [4][D][16], so that 16 scores build up in one
 *           register without horizontal sums; values [64][D]. Without a cache keys are laid out so in scratch first, and
 *           values are read where they are.
 * Work      items are (sequence, stretch of queries, group), dealt to threads in turn. All heads of a group share each
 *           load. The bias is looked up by distance in a row a head, made once a call: no T x T matrix anywhere.
 */
#ifndef DT_CPU_ATTENTION_H
#define DT_CPU_ATTENTION_H

#include "backend/cpu/attention_tiles.h"
#include "backend/cpu/bias.h"
#include "backend/cpu/product.h"

enum { LINES = 48 }; /* lines worked on together */

/* ---- one call ---- */

typedef struct attend {
    const dt_kernel_call *call;
    const attend_type *type;
    const dt_attention_spec *spec;
    int64_t D, padded, shared; /* D rounded up to 16; heads of a group */
    bias_rows bias;
    float *packed; /* keys laid out in scratch; NULL with a cache */
} attend;

/* A sequence of the call. */
typedef struct sequence {
    int64_t index, row, rows; /* its queries */
    int64_t position;         /* of the first query */
    int64_t key, keys;        /* without a cache, keys begin at row `key` of k */
    const int32_t *blocks;    /* its row of the block table */
} sequence;

static sequence sequence_of(const dt_kernel_call *call, int64_t b)
{
    const dt_data *in = call->input;
    const int32_t *rows = in[DT_ATTENTION_CU_ROWS].data, *keys = in[DT_ATTENTION_CU_KEYS].data;
    sequence s = {.index = b, .row = rows[b], .rows = rows[b + 1] - rows[b]};
    if (call->op->input[DT_ATTENTION_K] != NULL) {
        s.key = keys[b];
        s.keys = keys[b + 1] - keys[b];
    }
    if (call->op->input[DT_ATTENTION_K_CACHE] == NULL)
        return s;
    int64_t past = ((const int32_t *)in[DT_ATTENTION_PAST].data)[b];
    s.blocks = (const int32_t *)in[DT_ATTENTION_BLOCK_TABLE].data + b * in[DT_ATTENTION_BLOCK_TABLE].dim[1];
    s.keys += past;
    s.position = call->op->attr.attention.self ? past : 0;
    return s;
}

/* The keys that a query sees are [first, last). */
typedef struct span {
    int64_t first, last;
} span;

static span visible(const dt_attention_spec *spec, int64_t position, int64_t keys)
{
    span s = {0, keys};
    if (spec->causal)
        s.last = least(s.last, position + 1);
    if (spec->window_right >= 0 && spec->window_right < keys)
        s.last = least(s.last, position + spec->window_right + 1);
    if (spec->window_left >= 0 && position > spec->window_left)
        s.first = position - spec->window_left;
    if (s.first > s.last)
        s.first = s.last; /* nothing, and nothing past the last key */
    return s;
}

/* First packed block of a sequence without a cache: the blocks of those before it end at or before it. */
static int64_t packed_block(const sequence *s)
{
    return s->key / DT_KV_BLOCK + s->index;
}

static int64_t block_elements(const attend *a)
{
    return DT_KV_BLOCK * a->D;
}

static const void *keys_of(const attend *a, const sequence *s, int64_t block, int64_t group)
{
    if (a->packed != NULL)
        return a->packed + ((packed_block(s) + block) * a->spec->groups + group) * block_elements(a);
    size_t at = (size_t)((s->blocks[block] * a->spec->groups + group) * block_elements(a));
    return (const char *)a->call->input[DT_ATTENTION_K_CACHE].data + at * element_bytes(a->type->dtype);
}

static values values_of(const attend *a, const sequence *s, int64_t block, int64_t group)
{
    if (a->packed != NULL)
        return (values){row_of(&a->call->input[DT_ATTENTION_V], s->key + block * DT_KV_BLOCK) + group * a->D,
                        a->spec->groups * a->D, NULL};
    size_t at = (size_t)((s->blocks[block] * a->spec->groups + group) * block_elements(a));
    return (values){(const char *)a->call->input[DT_ATTENTION_V_CACHE].data +
                        at * element_bytes(a->type->dtype),
                    a->D, NULL};
}

/* Positions [first, first + 16) of a sequence, as far as there are any, in all groups: a panel each. */
static void pack_panel(const attend *a, const dt_data *k, const sequence *s, int64_t first, float *packed)
{
    int64_t n = least(16, s->keys - first), block = packed_block(s) + first / DT_KV_BLOCK;
    for (int64_t g = 0; g < a->spec->groups; g++) {
        const float *from = row_of(k, s->key + first) + g * a->D;
        float *to = packed + (block * a->spec->groups + g) * block_elements(a) + first % DT_KV_BLOCK * a->D;
        for (int64_t d = 0; d < a->D; d += 16) {
            vf line[16];
            load_lines(line, from + d, k->dim[1], n, least(16, a->D - d));
            v_turn(line);
            store_lines(to + d * 16, 16, line, 16, a->D - d);
        }
    }
}

/* Lay out rows of k (or of v) in blocks, as a cache lays out keys; threads share the panels. */
static void pack_blocks(const attend *a, const dt_data *k, float *packed, int thread, int threads)
{
    int64_t item = 0;
    for (int64_t b = 0; b < a->call->input[DT_ATTENTION_CU_KEYS].dim[0] - 1; b++) {
        sequence s = sequence_of(a->call, b);
        for (int64_t first = 0; first < s.keys; first += 16)
            if (item++ % threads == thread)
                pack_panel(a, k, &s, first, packed);
    }
}

/* ---- a stretch of lines: query i and head h of the group are line i * shared + h ---- */

typedef struct stretch {
    const sequence *s;
    int64_t query, group, lines; /* lines are of queries [query, ...) of the sequence */
    float *x;                    /* [D][stride] */
    int64_t stride;              /* room for all lines, in sixteens */
    float *out;                  /* [lines][padded] */
    float *most, *sum;           /* [lines] */
} stretch;

static int64_t lines_at_once(const dt_attention_spec *spec)
{
    int64_t shared = spec->heads / spec->groups;
    return shared >= LINES ? shared : LINES / shared * shared;
}

static int64_t in_sixteens(int64_t n)
{
    return (n + 15) / 16 * 16;
}

static size_t stretch_floats(const dt_attention_spec *spec)
{
    int64_t lines = in_sixteens(lines_at_once(spec)), padded = in_sixteens(spec->head_dim);
    return (size_t)(lines * (2 * padded + 2));
}

static stretch stretch_in(const attend *a, float *room)
{
    int64_t lines = in_sixteens(lines_at_once(a->spec));
    stretch l = {.x = room, .stride = lines, .out = room + lines * a->padded};
    l.most = l.out + lines * a->padded;
    l.sum = l.most + lines;
    return l;
}

static tiling tiles_of(const stretch *l)
{
    return (tiling){l->lines, (l->lines + ATTEND_ROWS - 1) / ATTEND_ROWS};
}

/* Which query of the stretch a line is. A head that shares its keys with none is worth a question: divisions are slow. */
static int64_t query_of(const attend *a, int64_t line)
{
    return a->shared == 1 ? line : (int64_t)((uint32_t)line / (uint32_t)a->shared);
}

static int64_t head_of(const attend *a, const stretch *l, int64_t line)
{
    return l->group * a->shared + line - query_of(a, line) * a->shared;
}

/* Row of q (and of the output) and place in it. */
static int64_t line_place(const attend *a, const stretch *l, int64_t line)
{
    return ((l->s->row + l->query + query_of(a, line)) * a->spec->heads + head_of(a, l, line)) * a->D;
}

static int64_t line_position(const attend *a, const stretch *l, int64_t line)
{
    return l->s->position + l->query + query_of(a, line);
}

static span line_span(const attend *a, const stretch *l, int64_t line)
{
    return visible(a->spec, line_position(a, l, line), l->s->keys);
}

/* `n` lines of `from` (q, or a gradient of the output) from `first` on, d-major, `stride` apart. */
static void pack_lines(const attend *a, const stretch *l, const float *from, int64_t first, int64_t n,
                       float *to, int64_t stride)
{
    for (int64_t r = 0; r < n; r += 16, to += 16) {
        int64_t lines = least(16, n - r);
        const float *at[16];
        for (int64_t i = 0; i < 16; i++)
            at[i] = from + line_place(a, l, first + r + least(i, lines - 1));
        for (int64_t d = 0; d < a->D; d += 16) {
            vf line[16];
            UNROLL for (int i = 0; i < 16; i++) line[i] = v_load_n(at[i] + d, least(16, a->D - d));
            v_turn(line);
            store_lines(to + d * stride, stride, line, lines, a->D - d);
        }
    }
}

static void begin_lines(const attend *a, const stretch *l)
{
    const float *sink = a->call->input[DT_ATTENTION_SINK].data;
    pack_lines(a, l, a->call->input[DT_ATTENTION_Q].data, 0, l->lines, l->x, l->stride);
    memset(l->out, 0, (size_t)(l->lines * a->padded) * sizeof *l->out);
    for (int64_t line = 0; line < l->lines;
         line++) { /* a sink is a key that is seen first and has no value */
        l->most[line] = sink == NULL ? -INFINITY : sink[head_of(a, l, line)];
        l->sum[line] = sink == NULL ? 0.0f : 1.0f;
    }
}

/* 16 scores as the softmax takes them; -inf where the line does not see. */
static INLINE vf finish_scores(const attend *a, vf s, int64_t head, int64_t position, int64_t key, span seen)
{
    s = v_mul(s, v_set((float)a->spec->scale));
    if (a->spec->soft_cap != 0) {
        vf cap = v_set((float)a->spec->soft_cap);
        s = v_mul(cap, v_tanh(v_div(s, cap)));
    }
    if (a->bias.row != NULL)
        s = v_add(s, bias_at(&a->bias, head, key, position));
    if (seen.first <= key && key + 16 <= seen.last)
        return s;
    return v_select(v_between(seen.first - key, seen.last - key), s, v_set(-INFINITY));
}

/* A tile: R lines from `first` against a block of keys, of which they see at most the first 16 * `panels`. */
typedef struct attend_block {
    int64_t first, R, key, panels;
    span seen[ATTEND_ROWS];
} attend_block;

static bool sees(const attend_block *t, int64_t r)
{
    return t->seen[r].first < t->key + DT_KV_BLOCK && t->seen[r].last > t->key &&
           t->seen[r].first < t->seen[r].last;
}

/* One line's scores as the softmax takes them, and the greatest of them. */
static INLINE float finish_line(const attend *a, const stretch *l, const attend_block *t, int64_t r, float *s)
{
    int64_t line = t->first + r, head = head_of(a, l, line), position = line_position(a, l, line);
    vf most = v_set(-INFINITY);
    UNROLL for (int p = 0; p < KEY_PANELS; p++) if (p < t->panels)
    {
        vf x = finish_scores(a, v_load(s + p * 16), head, position, t->key + p * 16, t->seen[r]);
        v_store(s + p * 16, x);
        most = v_max(most, x);
    }
    return v_most(most);
}

/* exp(s - most) in place, and their sum. */
static INLINE float weigh_line(const attend_block *t, float most, float *s)
{
    vf x[KEY_PANELS];
    UNROLL for (int p = 0; p < KEY_PANELS; p++)
    {
        x[p] = v_set(0.0f);
        if (p < t->panels) {
            x[p] = v_exp(v_sub(v_load(s + p * 16), v_set(most)));
            v_store(s + p * 16, x[p]);
        }
    }
    return v_sum(v_add(v_add(x[0], x[1]), v_add(x[2], x[3])));
}

/* Scores become weights; the lines' maxima and sums are brought along, `shrink` is what their outputs are to be
 * multiplied by. Step by step over all lines, so that what one waits for another does meanwhile. */
static void soften(const attend *a, const stretch *l, const attend_block *t, float *s, float *shrink)
{
    float after[ATTEND_ROWS];
    v_store(shrink, v_set(0.0f));
    for (int64_t r = 0; r < t->R; r++) {
        float before = l->most[t->first + r];
        after[r] = sees(t, r) ? finish_line(a, l, t, r, s + r * DT_KV_BLOCK) : before;
        after[r] = before > after[r] ? before : after[r];
        shrink[r] = before == after[r] ? 0.0f : before - after[r];
    }
    v_store(shrink, v_exp(v_load(shrink)));
    for (int64_t r = 0; r < t->R; r++) {
        float *line = s + r * DT_KV_BLOCK;
        if (!sees(t, r)) {
            memset(line, 0, DT_KV_BLOCK * sizeof *line);
            continue;
        }
        float *sum = &l->sum[t->first + r];
        *sum = *sum * shrink[r] + weigh_line(t, after[r], line);
        l->most[t->first + r] = after[r];
    }
}

/* Few lines read a cache as fast as memory gives it; many find it near after the first tile. */
static bool streams(const attend *a, const stretch *l)
{
    return a->packed == NULL && l->lines <= 2 * ATTEND_ROWS;
}

/* R lines from `first` against block `block` of those up to `last`. */
static void attend_tile(const attend *a, const stretch *l, int64_t first, int64_t R, int64_t block,
                        int64_t last)
{
    _Alignas(64) float s[ATTEND_ROWS * DT_KV_BLOCK], shrink[16];
    attend_block t = {.first = first, .R = R, .key = block * DT_KV_BLOCK};
    int64_t from = DT_KV_BLOCK, to = 0;
    for (int64_t r = 0; r < R; r++) {
        t.seen[r] = line_span(a, l, first + r);
        int64_t low = t.seen[r].first > t.key ? t.seen[r].first - t.key : 0,
                high = least(t.seen[r].last - t.key, DT_KV_BLOCK);
        if (low >= high)
            continue;
        from = least(from, low);
        to = high > to ? high : to;
    }
    if (from >= to)
        return;
    t.panels = (to + 15) / 16;
    values v = values_of(a, l->s, block, l->group);
    bool far = streams(a, l) && first == 0;
    if (far && block < last)
        v.ahead = keys_of(a, l->s, block + 1, l->group);
    a->type->score[R](l->x + first, l->stride, keys_of(a, l->s, block, l->group), a->D, t.panels,
                      far ? v.p : NULL, s);
    soften(a, l, &t, s, shrink);
    a->type->value[R](s, DT_KV_BLOCK, v, a->D, from, to, shrink, l->out + first * a->padded, a->padded);
}

static void end_lines(const attend *a, const stretch *l)
{
    float *out = a->call->output[0].data;
    for (int64_t line = 0; line < l->lines; line++) {
        float factor =
            l->sum[line] == 0.0f ? 0.0f : 1.0f / l->sum[line]; /* a query that sees nothing gets zeros */
        float *to = out + line_place(a, l, line);
        for (int64_t d = 0; d < a->D; d += 16)
            v_store_n(to + d, v_mul(v_load(l->out + line * a->padded + d), v_set(factor)),
                      least(16, a->D - d));
    }
}

static void attend_stretch(const attend *a, const stretch *l)
{
    span front = line_span(a, l, 0), back = line_span(a, l, l->lines - 1); /* spans move on with positions */
    tiling tiles = tiles_of(l);
    begin_lines(a, l);
    int64_t last = (back.last - 1) / DT_KV_BLOCK;
    for (int64_t block = front.first / DT_KV_BLOCK; block <= last; block++)
        for (int64_t tile_index = 0; tile_index < tiles.count; tile_index++) {
            int64_t first = block_begin(tiles, tile_index);
            attend_tile(a, l, first, block_begin(tiles, tile_index + 1) - first, block, last);
        }
    end_lines(a, l);
}

/* Deal out (stretch of queries, group) of every sequence. */
static void attend_all(const attend *a, float *room, int thread, int threads)
{
    int64_t queries = lines_at_once(a->spec) / a->shared, item = 0;
    stretch l = stretch_in(a, room);
    for (int64_t b = 0; b < a->call->input[DT_ATTENTION_CU_ROWS].dim[0] - 1; b++) {
        sequence s = sequence_of(a->call, b);
        for (int64_t q = 0; q < s.rows; q += queries)
            for (int64_t g = 0; g < a->spec->groups; g++, item++) {
                if (item % threads != thread)
                    continue;
                l.s = &s;
                l.query = q;
                l.group = g;
                l.lines = least(queries, s.rows - q) * a->shared;
                attend_stretch(a, &l);
            }
    }
}

/* Rows that no sequence owns are zeros: what lies before the first and behind the last. */
static void clear_unowned(const dt_kernel_call *call, int thread)
{
    const dt_data *cu = &call->input[DT_ATTENTION_CU_ROWS], *out = &call->output[0];
    const int32_t *starts = cu->data;
    int64_t last = starts[cu->dim[0] - 1];
    if (thread != 0)
        return;
    memset(out->data, 0, (size_t)(starts[0] * out->dim[1]) * sizeof(float));
    memset(row_of(out, last), 0, (size_t)((out->dim[0] - last) * out->dim[1]) * sizeof(float));
}

/* ---- the op ---- */

/* Scratch: bias rows; keys laid out in blocks; a stretch for each thread. Floats. */
static size_t packed_floats(const dt_op *op)
{
    const dt_attention_spec *spec = &op->attr.attention.spec;
    if (op->input[DT_ATTENTION_K_CACHE] != NULL)
        return 0;
    int64_t most =
        capacity(op->input[DT_ATTENTION_K], 0) / DT_KV_BLOCK + capacity(op->input[DT_ATTENTION_CU_KEYS], 0);
    return (size_t)(most * DT_KV_BLOCK * spec->groups * spec->head_dim);
}

static size_t bias_floats(const dt_op *op)
{
    bias_rows b = bias_rows_of(op, NULL);
    return ((size_t)(b.length * op->attr.attention.spec.heads) + 15) / 16 * 16;
}

static size_t attention_room(const dt_op *op, int threads)
{
    size_t floats =
        bias_floats(op) + packed_floats(op) + (size_t)threads * stretch_floats(&op->attr.attention.spec);
    return floats * sizeof(float);
}

static const attend_type *attend_type_of(dt_dtype dtype)
{
    return dtype == DT_BF16 ? &attend_bf16 : dtype == DT_F16 ? &attend_f16 : &attend_f32;
}

static attend attend_of(const dt_kernel_call *call)
{
    const dt_op *op = call->op;
    attend a = {.call = call, .spec = &op->attr.attention.spec, .type = &attend_f32};
    float *room = call->scratch;
    a.D = a.spec->head_dim;
    a.padded = (a.D + 15) / 16 * 16;
    a.shared = a.spec->heads / a.spec->groups;
    a.bias = bias_rows_of(op, room);
    if (op->input[DT_ATTENTION_K_CACHE] == NULL)
        a.packed = room + bias_floats(op);
    else
        a.type = attend_type_of(call->input[DT_ATTENTION_K_CACHE].dtype);
    return a;
}

static void attention(const dt_kernel_call *call, int thread, int threads)
{
    attend a = attend_of(call);
    const dt_data *in = call->input;
    bool appends = call->op->input[DT_ATTENTION_K] != NULL && a.packed == NULL;
    float *room = (float *)call->scratch + bias_floats(call->op) + packed_floats(call->op);
    if (a.bias.row != NULL)
        fill_bias(call, &a.bias, call->scratch, thread, threads);
    if (a.packed != NULL)
        pack_blocks(&a, &in[DT_ATTENTION_K], a.packed, thread, threads);
    if (appends) {
        append_call c = {&in[DT_ATTENTION_K],
                         &in[DT_ATTENTION_V],
                         &in[DT_ATTENTION_CU_KEYS],
                         &in[DT_ATTENTION_PAST],
                         &in[DT_ATTENTION_BLOCK_TABLE],
                         &in[DT_ATTENTION_K_CACHE],
                         &in[DT_ATTENTION_V_CACHE],
                         a.spec->groups,
                         a.D};
        append(&c, thread, threads);
    }
    clear_unowned(call, thread);
    dt_pool_barrier(call->pool);
    attend_all(&a, room + (size_t)thread * stretch_floats(a.spec), thread, threads);
}

#endif
