/*
 * backend.h - what executes a planned graph: kernels found by op, weights in the form a kernel reads, and the run.
 *
 * A backend is a table: for an op it names a kernel (or NULL: the executor then falls back to `reference` and says
 * so), for a parameter's use it names the form it wants, and it may rewrite a graph's permitted patterns into fused
 * ops before the plan is made. The executor is common to all CPU backends: it owns the plan's memory, resolves
 * pointers, and lets the whole team walk the ops together, meeting at a barrier after each.
 */
#ifndef DT_BACKEND_BACKEND_H
#define DT_BACKEND_BACKEND_H

#include "base/pool.h"
#include "graph/ir.h"
#include "graph/plan.h"

typedef struct dt_backend dt_backend;
typedef struct dt_weights dt_weights;
typedef struct dt_executor dt_executor;

/* ---- weights ---- */

struct dt_weight_form;

/* Where parameters come from: a checkpoint, a test's arrays. Rows are of the parameter seen as [dim 0, rest]. */
typedef struct dt_weight_source {
    void *user;
    /* Shape and stored type of a canonical name. DT_NOT_FOUND when there is none. */
    dt_status (*describe)(void *user, const char *name, dt_shape *shape, dt_dtype *dtype, dt_error *err);
    /* Rows [row, row + rows) converted to `dtype`, dense, into `out`. Thread-safe. */
    dt_status (*read)(void *user, const char *name, int64_t row, int64_t rows, dt_dtype dtype, void *out,
                      dt_error *err);
    /* All rows, mapped, dense, in exactly this type; NULL when they do not lie so. May be a NULL pointer. */
    const void *(*direct)(void *user, const char *name, dt_dtype dtype);
    /* The source pages behind a name are no longer needed. May be a NULL pointer. */
    void (*drop)(void *user, const char *name);
    /* Where parameters are kept in forms already (an engine): the bytes of one, mapped. Then nothing is packed, and a
     * form that is not there is an error. A NULL pointer elsewhere. */
    dt_status (*formed)(void *user, const char *name, const struct dt_weight_form *form, size_t bytes,
                        const void **data, dt_error *err);
} dt_weight_source;

/* A layout in which a kernel reads a matrix [rows, cols]. `rows`: row-major, in a given type (dt_form_rows). */
typedef struct dt_weight_form {
    const char *name; /* "rows f32", "panels16 bf16" */
    dt_dtype dtype;   /* element type inside */
    size_t (*bytes)(const struct dt_weight_form *form, int64_t rows, int64_t cols);
    /* Pack rows [row, row + count) given row-major as f32 (when `from` is DT_F32) or in the stored type. row and
     * count are multiples of `grain` except at the end. Thread-safe for disjoint rows. */
    void (*pack)(const struct dt_weight_form *form, void *packed, int64_t rows, int64_t cols, int64_t row,
                 int64_t count, dt_dtype from, const void *source);
    dt_dtype from; /* the type `pack` wants its source in */
    int64_t grain; /* rows packed together */
    bool is_rows;  /* plain row-major: may be the mapped bytes themselves */
} dt_weight_form;

const dt_weight_form *dt_form_rows(dt_dtype dtype); /* f32, f16, bf16, q8_0 */

typedef struct dt_weight {
    const dt_weight_form *form;
    const char *name;
    int64_t rows, cols;
    const void *data; /* packed (ours, 64-byte aligned) or mapped (the source's) */
    size_t bytes;     /* 0 when mapped */
} dt_weight;

/* A cache of forms over one source, shared by all graphs of a model: each (name, form) is made once. */
dt_status dt_weights_create(dt_weights **out, const dt_weight_source *source, dt_pool *pool, dt_error *err);
void dt_weights_destroy(dt_weights *weights);
dt_status dt_weights_get(dt_weights *weights, const char *name, const dt_weight_form *form,
                         const dt_weight **out, dt_error *err);
/* Give the memory of one back; no executor may hold it. */
void dt_weights_forget(dt_weights *weights, const dt_weight *weight);
size_t dt_weights_bytes(const dt_weights *weights); /* private memory held in packed forms */

/* ---- kernels ---- */

typedef struct dt_data {
    void *data;
    int rank;
    int64_t dim[DT_MAX_RANK]; /* this run's counts */
    dt_dtype dtype;
    const dt_weight *weight; /* parameters: data == weight->data */
} dt_data;

/* One op of one run. Absent inputs and outputs have data == NULL. */
typedef struct dt_kernel_call {
    const dt_op *op;
    dt_data input[DT_OP_MAX_INPUTS];
    dt_data output[DT_OP_MAX_OUTPUTS];
    void *scratch; /* as many bytes as `scratch` asked for, 64-byte aligned */
    dt_pool *pool; /* for dt_pool_barrier inside a kernel; every thread must then come by */
} dt_kernel_call;

typedef struct dt_kernel {
    const char *name; /* "linear panels16 bf16 avx512": what verify -v prints */
    void (*run)(const dt_kernel_call *call, int thread, int threads);
    size_t (*scratch)(const dt_op *op, int threads); /* NULL = none; for capacities */
} dt_kernel;

struct dt_backend {
    const char *name;
    const char *isa; /* the instruction set of its kernels */
    dt_dtype dtype;  /* of products: how weights of linear and embedding are held (f32, bf16, f16, q8_0) */
    /* The kernel for an op, or NULL when this backend has none. */
    const dt_kernel *(*kernel)(const dt_backend *backend, const dt_op *op);
    /* The form in which `op` reads its parameter in input `slot`. Never NULL for kernels of this backend. */
    const dt_weight_form *(*form)(const dt_backend *backend, const dt_op *op, int slot);
    /* Rewrite permitted patterns into fused ops in a finished graph. NULL = none. */
    dt_status (*fuse)(const dt_backend *backend, dt_graph *g, dt_error *err);
    const void *private_table;
};

/*
 * The backend of that name ("reference", "cpu") computing products in `dtype`. Owned by the library, immutable.
 * `isa` NULL = the best this machine has; else "baseline", "avx2", "avx512", "avx512bf16" (for tests).
 * DT_UNSUPPORTED names the pair that does not exist.
 */
dt_status dt_backend_find(const dt_backend **out, const char *name, dt_dtype dtype, const char *isa,
                          dt_error *err);

/* ---- running ---- */

typedef struct dt_executor_options {
    bool keep_points; /* named values stay readable after a run */
} dt_executor_options;

/*
 * Plan `graph` for `backend` and make it ready: kernels chosen, weights packed, arena taken. The graph may be
 * rewritten by fusion and must outlive the executor. `pool` and `weights` are borrowed.
 */
dt_status dt_executor_create(dt_executor **out, const dt_backend *backend, dt_graph *graph,
                             dt_weights *weights, dt_pool *pool, const dt_executor_options *options,
                             dt_error *err);
void dt_executor_destroy(dt_executor *executor);

/*
 * What an executor of the graph would ask for, without memory or weights: `use` is called for each op with its kernel,
 * and for each parameter that it reads with its form (else form and name NULL). Rewrites the graph as creating does.
 */
typedef dt_status (*dt_form_user)(void *user, const dt_op *op, const dt_kernel *kernel, const char *name,
                                  const dt_weight_form *form, dt_error *err);
dt_status dt_executor_forms(const dt_backend *backend, dt_graph *graph, dt_form_user use, void *user,
                            dt_error *err);

/* Bind an input or state to the caller's memory (dense; valid until rebound). */
dt_status dt_executor_bind(dt_executor *executor, const char *name, void *data, dt_error *err);
/* The count of an axis in the runs that follow, at first its capacity; at most that. */
dt_status dt_executor_count(dt_executor *executor, const char *axis, int64_t count, dt_error *err);

/*
 * Run the forward phase; or, after it and with the same counts, the backward phase of a graph that has one. Allocates
 * nothing and takes no lock. Checks ids before use: DT_INVALID names the input, the row and the range. One run at a
 * time on a pool.
 */
dt_status dt_executor_run(dt_executor *executor, dt_error *err);
dt_status dt_executor_run_backward(dt_executor *executor, dt_error *err);

/* A value after a run: an output, or any point when keep_points. DT_NOT_FOUND lists near names. */
dt_status dt_executor_read(const dt_executor *executor, const char *name, dt_data *out, dt_error *err);
dt_status dt_executor_read_tensor(const dt_executor *executor, const dt_tensor *tensor, dt_data *out,
                                  dt_error *err);

size_t dt_executor_bytes(const dt_executor *executor); /* arena and saved block */

/* For verify -v: the kernel of each op, and whether it fell back to `reference`. */
int dt_executor_op_count(const dt_executor *executor);
const dt_op *dt_executor_op(const dt_executor *executor, int index, const char **kernel, bool *fell_back);

#endif
