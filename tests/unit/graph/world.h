/*
 * world.h - a graph with one leaf of every sort that ops ask for, so that a test is one line of builders.
 */
#ifndef DT_UNIT_GRAPH_WORLD_H
#define DT_UNIT_GRAPH_WORLD_H

#include "unit.h"

#include "graph/ir.h"

/* 4 heads in 2 groups of size 2: q is 8 wide, keys and values 4. */
typedef struct world {
    dt_graph *g;
    dt_axis *tokens, *sources, *sequences;
    dt_tensor *x, *y, *odd, *half, *cube; /* [tokens, 8] twice, [tokens, 7], [tokens, 8] f16, [2, 3, 4] */
    dt_tensor *per_row, *one;             /* [tokens], [1] */
    dt_tensor *ids, *labels, *positions;  /* [tokens] i32 */
    dt_tensor *index;                     /* [sequences] i32 */
    dt_tensor *w, *tall, *norm, *bias;    /* [12, 8], [20, 8], [8], [12] */
    dt_tensor *inv_freq, *long_freq;      /* [1], [2] constants */
    dt_tensor *k, *v, *far_k, *far_v;     /* [tokens, 4] twice, [sources, 4] twice */
    dt_rows rows, cached, far;            /* self; with a cache; of the sources, with one */
    dt_tensor *k_cache, *v_cache;         /* [10, 64, 4] */
    dt_tensor *buckets, *sink;            /* [8, 4], [4] */
} world;

static const dt_attention_spec plain_attention = {.heads = 4,
                                                  .groups = 2,
                                                  .head_dim = 2,
                                                  .scale = 0.5,
                                                  .causal = true,
                                                  .window_left = -1,
                                                  .window_right = -1};

static inline dt_tensor *param(dt_graph *g, const char *name, int64_t rows, int64_t cols)
{
    return dt_graph_param(
        g, &(dt_param_spec){.name = name, .rank = cols ? 2 : 1, .dim = {rows, cols}, .init = DT_INIT_NORMAL});
}

static inline dt_tensor *rows_by(dt_graph *g, const char *name, const dt_axis *axis, int64_t columns)
{
    return dt_graph_input(g, name, DT_F32, columns ? 2 : 1, (dt_dim[]){{axis, 0}, {NULL, columns}});
}

static inline dt_tensor *whole(dt_graph *g, const char *name, const dt_axis *axis, int64_t more)
{
    return dt_graph_input(g, name, DT_I32, 1, (dt_dim[]){{axis, more}});
}

static inline void make_attention_leaves(world *w)
{
    dt_graph *g = w->g;
    dt_dim cache[3] = {{NULL, 10}, {NULL, DT_KV_BLOCK}, {NULL, 4}};
    w->k = rows_by(g, "k", w->tokens, 4);
    w->v = rows_by(g, "v", w->tokens, 4);
    w->far_k = rows_by(g, "far_k", w->sources, 4);
    w->far_v = rows_by(g, "far_v", w->sources, 4);
    w->rows = (dt_rows){.cu_seqlens = whole(g, "cu", w->sequences, 1)};
    w->cached = w->rows;
    w->cached.past = whole(g, "past", w->sequences, 0);
    w->cached.block_table =
        dt_graph_input(g, "block_table", DT_I32, 2, (dt_dim[]){{w->sequences, 0}, {NULL, 3}});
    w->far = (dt_rows){.cu_seqlens = whole(g, "far_cu", w->sequences, 1)};
    w->k_cache = dt_graph_state(g, "k_cache", DT_F16, 3, cache);
    w->v_cache = dt_graph_state(g, "v_cache", DT_F16, 3, cache);
    w->buckets = param(g, "buckets", 8, 4);
    w->sink = param(g, "sink", 4, 0);
}

static inline world make_world(void)
{
    world w = {.g = dt_graph_create(NULL)};
    dt_graph *g = w.g;
    assert_non_null(g);
    w.tokens = dt_graph_axis(g, "tokens", 16);
    w.sources = dt_graph_axis(g, "sources", 24);
    w.sequences = dt_graph_axis(g, "sequences", 4);
    w.x = rows_by(g, "x", w.tokens, 8);
    w.y = rows_by(g, "y", w.tokens, 8);
    w.odd = rows_by(g, "odd", w.tokens, 7);
    w.half = dt_graph_input(g, "half", DT_F16, 2, (dt_dim[]){{w.tokens, 0}, {NULL, 8}});
    w.cube = dt_graph_input(g, "cube", DT_F32, 3, (dt_dim[]){{NULL, 2}, {NULL, 3}, {NULL, 4}});
    w.per_row = rows_by(g, "per_row", w.tokens, 0);
    w.one = dt_graph_input(g, "one", DT_F32, 1, (dt_dim[]){{NULL, 1}});
    w.ids = whole(g, "ids", w.tokens, 0);
    w.labels = whole(g, "labels", w.tokens, 0);
    w.positions = whole(g, "positions", w.tokens, 0);
    w.index = whole(g, "index", w.sequences, 0);
    w.w = param(g, "w", 12, 8);
    w.tall = param(g, "tall", 20, 8);
    w.norm = param(g, "norm", 8, 0);
    w.bias = param(g, "bias", 12, 0);
    w.inv_freq = dt_graph_constant(g, "inv_freq", 1, (float[]){1});
    w.long_freq = dt_graph_constant(g, "long_freq", 2, (float[]){1, 0.5f});
    make_attention_leaves(&w);
    return w;
}

/* Self attention over `w`'s rows; tests change what they need. */
static inline dt_attention_inputs plain_inputs(const world *w)
{
    return (dt_attention_inputs){.q = w->x, .k = w->k, .v = w->v, .rows = w->rows, .keys = w->rows};
}

/* Build something in a new world; dt_graph_finish must refuse it with words about it. */
#define refuses(status, words, ...)                                                                          \
    do {                                                                                                     \
        world w = make_world();                                                                              \
        dt_graph *g = w.g;                                                                                   \
        dt_error err = {0};                                                                                  \
        __VA_ARGS__;                                                                                         \
        assert_fails(dt_graph_finish(g, &err), status, err, words);                                          \
        dt_graph_destroy(g);                                                                                 \
    } while (0)

/* The dims of a tensor, as messages print them. */
#define assert_dims(t, text_) assert_string_equal(dt_dims_print((t)->rank, (t)->dim).text, text_)

#endif
