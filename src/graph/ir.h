/*
 * ir.h - the graph as its passes see it: tensors, ops, attributes. Models use drivetrain/graph.h instead.
 */
#ifndef DT_GRAPH_IR_H
#define DT_GRAPH_IR_H

#include "base/arena.h"
#include "tensor/shape.h"

#include <drivetrain/graph.h>

enum { DT_OP_MAX_INPUTS = 13, DT_OP_MAX_OUTPUTS = 5 };

struct dt_axis {
    int id; /* index in graph->axis */
    const char *name;
    int64_t capacity;
};

typedef enum dt_tensor_kind {
    DT_TENSOR_INPUT,
    DT_TENSOR_PARAM,
    DT_TENSOR_STATE,
    DT_TENSOR_CONSTANT,
    DT_TENSOR_VALUE
} dt_tensor_kind;

typedef struct dt_op dt_op;

struct dt_tensor {
    int id; /* index in graph->tensor */
    dt_tensor_kind kind;
    dt_dtype dtype;
    int rank;
    dt_dim dim[DT_MAX_RANK];
    const char *name;          /* binding name, parameter name, or point; NULL for unnamed values */
    dt_op *producer;           /* VALUE only */
    const dt_param_spec *spec; /* PARAM only */
    const float *constant;     /* CONSTANT only */
    bool keep; /* keeps its memory to the end of the run although ops read it (a gradient asked for) */
    bool
        multiplied; /* PARAM: a product reads it too; set by a backend's fusion pass, for its choice of form */
};

typedef enum dt_op_kind {
#define OP(name, ...) DT_OP_##name,
#include "graph/ops.def"
#undef OP
    DT_OP_COUNT
} dt_op_kind;

typedef enum dt_phase { DT_PHASE_FORWARD, DT_PHASE_BACKWARD_INPUT, DT_PHASE_BACKWARD_WEIGHT } dt_phase;

/* Inputs of `attention`, by place; absent ones are NULL. attention_grad appends the output and its gradient. */
enum {
    DT_ATTENTION_Q,
    DT_ATTENTION_K,
    DT_ATTENTION_V,
    DT_ATTENTION_CU_ROWS,
    DT_ATTENTION_CU_KEYS,
    DT_ATTENTION_PAST,        /* of the keys */
    DT_ATTENTION_BLOCK_TABLE, /* of the keys */
    DT_ATTENTION_K_CACHE,
    DT_ATTENTION_V_CACHE,
    DT_ATTENTION_BIAS_TABLE,
    DT_ATTENTION_SINK,
    DT_ATTENTION_OUT,
    DT_ATTENTION_GRAD
};

/* Inputs of `kv_store`, all present. It has no output. */
enum {
    DT_KV_STORE_K,
    DT_KV_STORE_V,
    DT_KV_STORE_CU_SEQLENS,
    DT_KV_STORE_PAST,
    DT_KV_STORE_BLOCK_TABLE,
    DT_KV_STORE_K_CACHE,
    DT_KV_STORE_V_CACHE
};

typedef union dt_attributes {
    struct {
        int64_t first; /* embedding and its gradient: row of the table that id 0 stands for */
        int64_t still; /* 1 + the id whose row gets no gradient from this use; 0: none */
    } embedding;
    struct {
        bool other; /* put_rows: of merge_rows' second source */
    } rows;
    struct {
        int64_t width, first;
        bool single;
    } sinusoid;
    struct {
        double eps;
        bool zero_centered;
        int64_t groups; /* each row is so many norms side by side, of one weight; 0: one */
    } norm;
    struct {
        int64_t groups; /* column_sum: each row is so many summands side by side; 0: one */
    } sum;
    struct {
        double factor; /* scale, dot */
    } scale;
    struct {
        dt_activation kind;   /* activate, glu and their gradients */
        double limit, offset; /* glu: 0, or gate ≤ limit and |up| ≤ limit; added to up */
    } activation;
    dt_route_spec route;
    struct {
        int64_t count; /* expert_linear and its gradients: equal blocks of w, one an expert */
        bool flat;     /* spread_choices: one choice, and a result [T, H] */
    } experts;
    struct {
        dt_rope_spec spec;
        bool inverse; /* rotate back: the gradient */
    } rope;
    struct {
        int64_t groups;
        int parts;
        int64_t width[4]; /* join_groups: an absent part is zeros of its width */
    } split;
    struct {
        dt_attention_spec spec;
        bool self; /* rows and keys are the same rows: query i sits at past + i */
    } attention;
    struct {
        int64_t groups, head_dim;
    } kv_store;
    struct {
        int64_t vocab;
    } cross_entropy;
    /* linear with what a backend's fusion pass folded into it: y = residual + act(norm(x)·wᵀ + bias).
     * inputs: x, w, bias, norm weight, norm bias, residual; absent ones are NULL. */
    struct {
        bool has_norm, rms, zero_centered, glu;
        double eps;
        dt_activation kind;
    } fused;
} dt_attributes;

struct dt_op {
    int id; /* index in graph->op */
    dt_op_kind kind;
    dt_phase phase;
    unsigned fuse; /* dt_fuse bits that its layer spec permitted */
    int input_count, output_count;
    dt_tensor *input[DT_OP_MAX_INPUTS];   /* NULL = absent */
    dt_tensor *output[DT_OP_MAX_OUTPUTS]; /* NULL = not wanted */
    dt_attributes attr;
};

/* A name and its tensor. A tensor may have several (a stack's last layer is also its hidden state). */
typedef struct dt_named {
    const char *name;
    dt_tensor *tensor;
} dt_named;

struct dt_graph {
    dt_arena *arena; /* owns everything here, the graph itself included */
    dt_tensor **tensor;
    int tensor_count, tensor_capacity;
    dt_op **op;
    int op_count, op_capacity;
    dt_axis **axis;
    int axis_count, axis_capacity;
    dt_named *named; /* every name, in the order given */
    int named_count, named_capacity;
    int *name_slot; /* open-addressing hash into `named`, -1 = free; a power of two of slots */
    int name_slot_count;
    dt_phase phase; /* given to new ops */
    unsigned permit;
    bool finished;
    dt_error error;            /* sticky: status != DT_OK once poisoned */
    dt_tensor harmless_tensor; /* what builders return then; never in `tensor` */
    dt_axis harmless_axis;
};

/* What a shape rule infers. */
typedef struct dt_signature {
    int count;
    struct {
        dt_dtype dtype;
        int rank;
        dt_dim dim[DT_MAX_RANK];
    } output[DT_OP_MAX_OUTPUTS]; /* rank 0 = this output is absent */
} dt_signature;

/* One row of ops.def, expanded. */
typedef struct dt_op_info {
    const char *name;
    int min_inputs, max_inputs; /* the first min_inputs must be present */
    dt_status (*shape)(const dt_op *op, dt_signature *out,
                       dt_error *err); /* checks the inputs, infers the outputs */
    /* Appends the ops for dx[i] of every input i with want[i]; dy[j] is NULL where output j has no influence.
     * NULL = not differentiable. Errors stick to the graph. */
    void (*gradient)(dt_graph *g, const dt_op *op, dt_tensor *const *dy, const bool *want, dt_tensor **dx);
    void (*cost)(const dt_op *op, const int64_t *counts, dt_cost *cost, dt_dtype weight); /* adds to *cost */
    bool row_wise; /* output row i depends on row i of its row inputs only; a test proves it */
    bool in_place; /* output 0 may share the memory of input 0 */
} dt_op_info;

const dt_op_info *dt_op_info_of(dt_op_kind kind);

/* Make an op, run its shape rule, and return it (NULL once the graph is poisoned). Used by builders and passes. */
dt_op *dt_graph_add_op(dt_graph *g, dt_op_kind kind, int input_count, dt_tensor *const *input,
                       const dt_attributes *attr);
dt_tensor *dt_graph_new_value(dt_graph *g, dt_op *producer, dt_dtype dtype, int rank, const dt_dim *dim);

/* Poison the graph unless it is already. NULL is fine. */
void dt_graph_fail(dt_graph *g, dt_status status, const char *format, ...) DT_PRINTF(3, 4);

/* After a pass set entries of g->op to NULL: close the gaps, renumber, and detach the values that lost their op. */
void dt_graph_compact(dt_graph *g);

bool dt_dim_equal(dt_dim a, dt_dim b);
int64_t dt_dim_count(dt_dim dim, const int64_t *counts); /* counts by axis id; NULL = capacities */
int64_t dt_tensor_elements(const dt_tensor *t, const int64_t *counts);
size_t dt_tensor_bytes(const dt_tensor *t, const int64_t *counts);
dt_tensor *dt_graph_find(const dt_graph *g, const char *name); /* NULL when no tensor has that name */

/* `"out.layer.3" [tokens, 64]` for messages; an unnamed value is "the result of rms_norm [tokens, 64]". */
typedef struct dt_tensor_text {
    char text[224];
} dt_tensor_text;
dt_tensor_text dt_tensor_print(const dt_tensor *t);
dt_tensor_text dt_dims_print(int rank, const dt_dim *dim); /* "[sequences + 1]" */

/* Check everything ops.def promises: arity, shapes, dtypes, order, phases. Run by dt_graph_finish. */
dt_status dt_graph_verify(const dt_graph *g, dt_error *err);

#endif
