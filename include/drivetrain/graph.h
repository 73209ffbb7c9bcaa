/**
 * graph.h - describe a computation; nothing runs while building.
 *
 * A graph is a list of ops over shaped tensors, in the order they were made (which is already topological).
 * Passes over it give everything else: gradients, the memory plan, the cost, a picture. Models are functions
 * that build graphs; a caller who brings a layer of his own (layer_spec.h) builds it from these calls.
 *
 * Rows      Activations are [T, H]: T packed rows of all sequences of a step, no padding. A dimension is a number
 *           or an axis (a name with a capacity): plans are made once for capacities, runs bind counts up to them.
 * Errors    stick: the first failing call poisons the graph, later ones return a harmless tensor, and
 *           dt_graph_finish reports the first failure. So model code reads as mathematics.
 * Memory    everything belongs to the graph and dies in dt_graph_destroy. Names are copied.
 * Threads   one thread builds a graph; a finished one may be read by many.
 *
 *     dt_graph *g = dt_graph_create(&err);
 *     dt_axis *tokens = dt_graph_axis(g, "tokens", 512);
 *     dt_tensor *x = dt_graph_input(g, "x", DT_F32, 2, (dt_dim[]){{tokens, 0}, {NULL, 64}});
 *     dt_tensor *y = dt_linear(g, x, dt_graph_param(g, &(dt_param_spec){.name = "w", .rank = 2, .dim = {32, 64}}), NULL);
 *     dt_point(g, y, "out.y");
 *     if (dt_graph_finish(g, &err)) ...
 */
#ifndef DRIVETRAIN_GRAPH_H
#define DRIVETRAIN_GRAPH_H

#include <drivetrain/dtype.h>
#include <drivetrain/status.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dt_graph dt_graph;
typedef struct dt_tensor dt_tensor;
typedef struct dt_axis dt_axis;

/** A size: `n`, or when `axis` is set that axis' count plus `n` (cumulative lengths have sequences + 1 entries). */
typedef struct dt_dim {
    const dt_axis *axis;
    int64_t n;
} dt_dim;

dt_graph *dt_graph_create(dt_error *err); /**< NULL when memory is short */
void dt_graph_destroy(dt_graph *graph);   /**< NULL is fine */

/** End building: reports the first failed call, then checks the whole graph against the op table. */
dt_status dt_graph_finish(dt_graph *graph, dt_error *err);

/** A named extent with a capacity, e.g. "tokens". The same name again returns the same axis (capacities must agree). */
dt_axis *dt_graph_axis(dt_graph *graph, const char *name, int64_t capacity);

/** What the caller binds before each run. */
dt_tensor *dt_graph_input(dt_graph *graph, const char *name, dt_dtype dtype, int rank, const dt_dim *dim);
/** What outlives runs and is read and written in place (a KV cache); bound by the caller like an input. */
dt_tensor *dt_graph_state(dt_graph *graph, const char *name, dt_dtype dtype, int rank, const dt_dim *dim);
/** f32 numbers known while building (rotary frequencies); copied. */
dt_tensor *dt_graph_constant(dt_graph *graph, const char *name, int64_t count, const float *values);

/** How tensor parallelism cuts a parameter (Megatron: column = dim 0, row = dim 1). */
typedef enum dt_split {
    DT_SPLIT_NONE,   /**< replicated */
    DT_SPLIT_COLUMN, /**< dim 0 in equal parts */
    DT_SPLIT_ROW,    /**< dim 1 in equal parts */
    DT_SPLIT_VOCAB,  /**< dim 0, after padding the vocabulary */
    DT_SPLIT_QKV,    /**< dim 0 by query groups */
    DT_SPLIT_GATED   /**< dim 0 is [gate; up]: each half cut alike */
} dt_split;

typedef enum dt_init { DT_INIT_ZERO, DT_INIT_ONE, DT_INIT_NORMAL, DT_INIT_NORMAL_OUTPUT } dt_init;

/** A parameter: canonical name (Megatron Core's, Transformer Engine spelling), global shape, meaning. */
typedef struct dt_param_spec {
    const char *name;
    int rank;
    int64_t dim[2];
    dt_split split;
    dt_init init;
    bool decay; /**< weight decay applies */
    int64_t
        experts; /**< 0, or dim 0 is this many equal blocks, one an expert, and `split` cuts each of them */
} dt_param_spec;

/** The parameter of that name; the same name again returns the same tensor (specs must agree). */
dt_tensor *dt_graph_param(dt_graph *graph, const dt_param_spec *spec);

/** Give a tensor a name that traces, recordings and errors use ("out.layer.3"); printf-like. Returns the tensor.
 *  Names are unique; a tensor may have several (the last layer's output is also the hidden state). */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
dt_tensor *
dt_point(dt_graph *graph, dt_tensor *tensor, const char *format, ...);

/** Fusions that a backend may apply to ops built from now on; DT_FUSE_NONE is the readable truth. */
typedef enum dt_fuse {
    DT_FUSE_NONE = 0,
    DT_FUSE_NORM_LINEAR = 1,     /**< norm → linear */
    DT_FUSE_LINEAR_GLU = 2,      /**< linear → activation or gated unit */
    DT_FUSE_LINEAR_RESIDUAL = 4, /**< linear → add */
    DT_FUSE_ALL = 7
} dt_fuse;
void dt_graph_permit(dt_graph *graph, unsigned fuse);

/* ---- ops: T rows, H hidden, V vocabulary, A heads, K key-value heads, D head size ---- */

typedef enum dt_activation {
    DT_ACT_IDENTITY,
    DT_ACT_GELU,       /**< x/2 (1 + erf(x/√2)) */
    DT_ACT_GELU_TANH,  /**< x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) */
    DT_ACT_QUICK_GELU, /**< x σ(1.702 x) */
    DT_ACT_RELU,
    DT_ACT_SQUARED_RELU, /**< max(x, 0)² */
    DT_ACT_SILU,         /**< x σ(x) */
    DT_ACT_TANH,
    DT_ACT_SIGMOID,
    DT_ACT_COUNT
} dt_activation;

/** rows of table [V, H] picked by ids [T] i32 → [T, H]. An id outside the table fails the run. */
dt_tensor *dt_embedding(dt_graph *g, dt_tensor *table, dt_tensor *ids);
/** The same from row `first` of the table on: id 0 picks that row. */
dt_tensor *dt_embedding_from(dt_graph *g, dt_tensor *table, dt_tensor *ids, int64_t first);
/** dt_embedding whose row `padding` gets no gradient from this use (PyTorch's padding_idx); -1: every row gets its own. */
dt_tensor *dt_embedding_padded(dt_graph *g, dt_tensor *table, dt_tensor *ids, int64_t padding);
/**
 * Absolute positions as waves → [T, width]: the sines of (position + first) · frequency, then the cosines, then zeros.
 * `frequencies` [2F] are F numbers and below them what their rounding to f32 left over, so that angles have 48 bits;
 * `single`: the angle is rounded to f32 before its sine is taken, as makers do who count in f32.
 */
dt_tensor *dt_sinusoid(dt_graph *g, dt_tensor *positions, dt_tensor *frequencies, int64_t width,
                       int64_t first, bool single);
/** x [T, K] · wᵀ, w [N, K], plus bias [N] when not NULL → [T, N]. */
dt_tensor *dt_linear(dt_graph *g, dt_tensor *x, dt_tensor *w, dt_tensor *bias);
/**
 * x / √(mean x² + eps) · w, with w + 1 in place of w when zero_centered. Where w is [D] and x [T, n·D], each run of D
 * columns is normed by itself (the heads of q and k).
 */
dt_tensor *dt_rms_norm(dt_graph *g, dt_tensor *x, dt_tensor *w, double eps, bool zero_centered);
/** (x − mean) / √(var + eps) · w + b, variance biased; b may be NULL. Runs of columns as in dt_rms_norm. */
dt_tensor *dt_layer_norm(dt_graph *g, dt_tensor *x, dt_tensor *w, dt_tensor *b, double eps,
                         bool zero_centered);
dt_tensor *dt_add(dt_graph *g, dt_tensor *x, dt_tensor *y);      /**< equal shapes */
dt_tensor *dt_multiply(dt_graph *g, dt_tensor *x, dt_tensor *y); /**< equal shapes */
dt_tensor *dt_scale(dt_graph *g, dt_tensor *x, double factor);   /**< the factor is rounded to f32 */
dt_tensor *dt_activate(dt_graph *g, dt_tensor *x, dt_activation kind);
/** [T, 2F] = [gate | up] → act(gate) · up, [T, F]. */
dt_tensor *dt_glu(dt_graph *g, dt_tensor *x, dt_activation kind);
/** The same of bounded halves: act(min(gate, limit)) · (clamp(up, −limit, limit) + offset); a limit of 0 is none. */
dt_tensor *dt_glu_bounded(dt_graph *g, dt_tensor *x, dt_activation kind, double limit, double offset);

/**
 * Cut columns by groups: x [T, groups · Σwidth] holds for each group its parts side by side; out[i] collects part
 * i of every group: [T, groups · width[i]]. Megatron's linear_qkv is groups = K, widths {A/K·D, D, D}; linear_kv
 * groups = A, widths {D, D}.
 */
void dt_split_groups(dt_graph *g, dt_tensor *x, int64_t groups, int parts, const int64_t *width,
                     dt_tensor **out);

/** Undone: rows' parts side by side, of each group after the other; 1 to 4 of them, each [T, groups · its width]. */
dt_tensor *dt_join_groups(dt_graph *g, int64_t groups, int parts, dt_tensor *const *part);

/**
 * Rotary embedding of x [T, heads·D]: angle = position · inv_freq[i] (f32 product), applied to the first
 * 2·count(inv_freq) dims of each head; halves (i, i + R/2) or, interleaved, pairs (2i, 2i + 1). cos and sin are
 * multiplied by `magnitude` (yarn's and longrope's attention factor; else 1).
 */
dt_tensor *dt_rope(dt_graph *g, dt_tensor *x, dt_tensor *positions, dt_tensor *inv_freq, int64_t heads,
                   bool interleaved, double magnitude);

/** How the frequencies of a sequence follow from its length. */
typedef enum dt_rope_growth {
    DT_ROPE_CONSTANT,
    DT_ROPE_GROWING_BASE, /**< dynamic NTK: beyond the trained length the base grows */
    DT_ROPE_TWO_TABLES    /**< longrope: inv_freq [2n] is one table up to the trained length, then another */
} dt_rope_growth;

typedef struct dt_rope_spec {
    int64_t heads;
    bool interleaved;
    double magnitude;
    dt_rope_growth growth;
    int64_t trained;     /* positions */
    double base, factor; /* of DT_ROPE_GROWING_BASE */
} dt_rope_spec;

/** The same; `lengths` [T] i32 is the length of each row's sequence (NULL: nothing depends on it). */
dt_tensor *dt_rope_by_length(dt_graph *g, dt_tensor *x, dt_tensor *positions, dt_tensor *inv_freq,
                             dt_tensor *lengths, const dt_rope_spec *spec);

/**
 * Where the rows of a step belong. Sequence b owns rows [cu_seqlens[b], cu_seqlens[b+1]). With a cache, past[b] of
 * its keys are already stored, and position p of sequence b lives in block block_table[b][p / block], slot p % block.
 */
typedef struct dt_rows {
    dt_tensor *cu_seqlens;  /**< [B + 1] i32 */
    dt_tensor *past;        /**< [B] i32; NULL without a cache */
    dt_tensor *block_table; /**< [B, blocks of a sequence] i32; NULL without a cache */
} dt_rows;

enum { DT_KV_BLOCK = 64 }; /**< positions in one block of a paged cache */

typedef struct dt_attention_spec {
    int64_t heads, groups, head_dim; /**< A, K, D; A a multiple of K; head i reads group i / (A/K) */
    double scale;                    /**< scores = q·k · scale */
    bool causal;                     /**< key position ≤ query position */
    int64_t window_left;             /**< keys at most this far before the query; -1 = no limit */
    int64_t window_right;            /**< and after; -1 = no limit */
    double soft_cap;                 /**< cap · tanh(score / cap); 0 = none */
    /* T5's bucketed bias: bias_table [buckets, A] is added to the scores; computed per key, never materialised. */
    int64_t bias_max_distance;
    bool bias_bidirectional;
    bool alibi; /**< scores grow with the key's position, by Falcon's slopes; not beside a bias table */
} dt_attention_spec;

/**
 * q [T, A·D] over keys and values of the same sequence → [T, A·D].
 *
 * Keys      k, v [S, K·D] rows of this step, described by `keys`. Three uses:
 *           no cache: keys->cu_seqlens says whose they are (self attention: keys == rows);
 *           cache and k, v: they are first appended at positions past[b]…, then everything stored is read;
 *           cache alone (k = v = NULL): past[b] stored keys are read (cross attention while decoding).
 * Positions query i of sequence b is at past[b] + i (self attention) or i.
 * bias_table and sink ([A], a learnt logit that takes probability and gives nothing) may be NULL.
 */
typedef struct dt_attention_inputs {
    dt_tensor *q, *k, *v;
    dt_rows rows;                 /**< of q */
    dt_rows keys;                 /**< of k, v */
    dt_tensor *k_cache, *v_cache; /**< states [blocks, DT_KV_BLOCK, K·D], both or none */
    dt_tensor *bias_table, *sink;
} dt_attention_inputs;
dt_tensor *dt_attention(dt_graph *g, const dt_attention_inputs *in, const dt_attention_spec *spec);

/** Store k, v [S, K·D] at positions past[b]… of the caches without attending (an encoder's output, once). */
void dt_kv_store(dt_graph *g, dt_tensor *k, dt_tensor *v, dt_rows rows, dt_tensor *k_cache,
                 dt_tensor *v_cache, int64_t groups, int64_t head_dim);

/* ---- mixture of experts: E experts, of which each row chooses k ---- */

/** What a router makes of its logits. */
typedef enum dt_router_score { DT_ROUTER_SOFTMAX, DT_ROUTER_SIGMOID } dt_router_score;

typedef struct dt_route_spec {
    int64_t topk;
    dt_router_score score;
    bool pre_softmax; /**< softmax over all experts, then the top k; else over the k chosen ones */
    double scaling;   /**< of the weights; 0 = none. Sigmoids of k > 1 are divided by their sum first */
} dt_route_spec;

/**
 * logits [T, E] → experts [T, k] i32, best first, equal ones by number, and their weights [T, k]. Chosen by
 * softmax (that is: by logit) or by sigmoid plus `bias` [E], which weights do not see; NULL without one. The choice
 * itself has no gradient.
 */
void dt_route(dt_graph *g, dt_tensor *logits, dt_tensor *bias, const dt_route_spec *spec, dt_tensor **experts,
              dt_tensor **weights);
/**
 * y[t, j] = x[t] · w_eᵀ + bias_e with e = experts[t, j]: [T, k, N]. w is [E·N, K], the experts' matrices below one
 * another, bias [E·N] or NULL. x is [T, K], or [T, k, K] with a row for each choice. Rows of one expert are
 * multiplied together, and only chosen experts' weights are read.
 */
dt_tensor *dt_expert_linear(dt_graph *g, dt_tensor *x, dt_tensor *w, dt_tensor *experts, dt_tensor *bias,
                            int64_t expert_count);
/** Σ_j weights[t, j] · y[t, j] in the order of choice: y [T, k, H] → [T, H]. y [T, H] with weights [T, 1] will do. */
dt_tensor *dt_sum_choices(dt_graph *g, dt_tensor *y, dt_tensor *weights);

/** x [T, H], index [R] i32 → [R, H]: the rows whose logits are wanted. */
dt_tensor *dt_take_rows(dt_graph *g, dt_tensor *x, dt_tensor *index);
/** Rows of two sources [A, H] and [B, H] in any order → [T, H]: row t is x[i], i = index[t] ≥ 0, or y[-1 - i]. */
dt_tensor *dt_merge_rows(dt_graph *g, dt_tensor *x, dt_tensor *y, dt_tensor *index);
/**
 * Σ_j weight[t, j] · table[index[t, j]] → [T, H]; index [T, k] i32, weight [T, k]. A table of positions resampled for
 * another grid is k neighbours a row. Terms of weight 0 are left out, so a lone 1 gives the row's own bits.
 */
dt_tensor *dt_blend_rows(dt_graph *g, dt_tensor *table, dt_tensor *index, dt_tensor *weight);
/** x [T, H], each column times its entry of w [H]: layer scale. */
dt_tensor *dt_scale_columns(dt_graph *g, dt_tensor *x, dt_tensor *w);

/** x · exp(s) + b, s and b [1]; b may be NULL: logits of cosines (CLIP, SigLIP). Not differentiable yet. */
dt_tensor *dt_scale_exp(dt_graph *g, dt_tensor *x, dt_tensor *s, dt_tensor *b);

/** logits [T, V], labels [T] i32 → −log softmax(logits)[label] in [T]; a negative label gives 0. The softmax is over
 *  the first `vocab` columns (0 = all). */
dt_tensor *dt_cross_entropy(dt_graph *g, dt_tensor *logits, dt_tensor *labels, int64_t vocab);
/** Σ x·w / Σ w over all elements → [1]; x and w of equal shape. */
dt_tensor *dt_weighted_mean(dt_graph *g, dt_tensor *x, dt_tensor *w);
/** Σ x·w · factor over all elements → [1]. */
dt_tensor *dt_dot(dt_graph *g, dt_tensor *x, dt_tensor *w, double factor);

/* ---- passes ---- */

/**
 * Append the ops that compute gradients[j] = d Σ_i ⟨outputs[i], incoming[i]⟩ / d wrt[j].
 *
 * incoming may be NULL, or hold NULLs: 1 for outputs of one element. gradients[j] is NULL when wrt[j] has no
 * influence. Call it before dt_graph_finish; ops made here carry the phase BACKWARD (split into those that lead
 * to inputs and those that yield parameter gradients).
 * Errors   DT_UNSUPPORTED  an op on the way has no gradient (it is named)
 */
dt_status dt_graph_gradient(dt_graph *g, int output_count, dt_tensor *const *outputs,
                            dt_tensor *const *incoming, int wrt_count, dt_tensor *const *wrt,
                            dt_tensor **gradients, dt_error *err);

typedef struct dt_cost {
    double flops;            /**< multiply and add count as two */
    double weight_bytes;     /**< parameters read once, at `weight` type */
    double activation_bytes; /**< values read and written, caches included */
} dt_cost;

/** Work of one run with every axis at the given counts (NULL: capacities), by axis in creation order. */
dt_cost dt_graph_cost(const dt_graph *g, const int64_t *counts, dt_dtype weight);

/** The graph in Graphviz' language. *text is the caller's, freed with dt_free. */
dt_status dt_graph_dot(const dt_graph *g, char **text, dt_error *err);

#ifdef __cplusplus
}
#endif
#endif
