/**
 * checkpoint.h - open anybody's checkpoint, read it by canonical names, write it in another format.
 *
 * A checkpoint is a configuration (config.h) and named tensors. Whatever the files look like (shards, tensor and
 * pipeline ranks, pickles, fused or separate projections), drivetrain sees Megatron Core's parameters: global
 * shapes, Transformer Engine's spelling. Nothing in a file is ever executed; sizes are checked against the file
 * before they are used; files are mapped, so opening reads headers only.
 *
 *     dt_checkpoint *c;
 *     if (dt_checkpoint_open(&c, "iter_0001000", NULL, &err)) ...
 *     dt_checkpoint_read(c, "decoder.final_layernorm.weight", DT_F32, out, bytes, &err);
 *     dt_checkpoint_close(c);
 */
#ifndef DRIVETRAIN_CHECKPOINT_H
#define DRIVETRAIN_CHECKPOINT_H

#include <drivetrain/config.h>
#include <drivetrain/dtype.h>
#include <drivetrain/log.h>
#include <drivetrain/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dt_checkpoint dt_checkpoint;

typedef struct dt_open_options {
    const char *format; /**< NULL = found from the content; else a row's name ("hf", "megatron-state", …) */
    const char *config; /**< a configuration file beside the checkpoint's own, or NULL */
    bool master_weights; /**< where both are stored, the unrounded f32 masters */
    const char *part;    /**< one part of a model with eyes: "tower", "projector", "language"; NULL = whole */
    const dt_log *log;
} dt_open_options;

dt_status dt_checkpoint_open(dt_checkpoint **out, const char *path, const dt_open_options *options,
                             dt_error *err);
void dt_checkpoint_close(dt_checkpoint *checkpoint); /**< NULL is fine */

const dt_model_config *dt_checkpoint_config(const dt_checkpoint *checkpoint);

/** What the files say of themselves. Strings are borrowed from the checkpoint. */
typedef struct dt_checkpoint_about {
    const char *path, *format;
    int64_t tensor_parallel, pipeline_parallel, virtual_pipeline,
        expert_parallel; /**< 1 where it does not apply */
    int64_t iteration;   /**< -1 when unknown */
    int64_t parameters;  /**< elements of the model's own tensors, each counted once */
    uint64_t bytes;      /**< of those as stored */
    int tensor_count, skipped_count, problem_count;
} dt_checkpoint_about;
dt_checkpoint_about dt_checkpoint_describe(const dt_checkpoint *checkpoint);

/** A tensor as the files hold it, and what it is called inside drivetrain. */
typedef struct dt_checkpoint_tensor {
    const char *name;      /**< in the file */
    const char *canonical; /**< NULL when skipped */
    const char *rule;      /**< why it is skipped ("rotary table", "optimizer", …), else NULL */
    const char *file;      /**< relative to the checkpoint's path */
    dt_dtype dtype;
    int rank;
    int64_t dim[5];
    uint64_t bytes;
} dt_checkpoint_tensor;
bool dt_checkpoint_tensor_at(const dt_checkpoint *checkpoint, int index, dt_checkpoint_tensor *out);

/** A doubt that does not stop the model from loading; NULL past the end. */
const char *dt_checkpoint_problem_at(const dt_checkpoint *checkpoint, int index);

/** Read every byte: NaN and infinities, unreachable pages. The first few findings are added to the problems. */
dt_status dt_checkpoint_check(dt_checkpoint *checkpoint, dt_error *err);

/**
 * Read rows [row, row + rows) of one canonical tensor (seen as [dim 0, rest]), converted to `dtype`.
 *
 * Threads  safe on one checkpoint from many threads at once.
 * Errors   DT_NOT_FOUND  no such name (the error lists the nearest)
 */
dt_status dt_checkpoint_shape(const dt_checkpoint *checkpoint, const char *canonical, int *rank,
                              int64_t dim[5], dt_dtype *stored, dt_error *err);
dt_status dt_checkpoint_read(const dt_checkpoint *checkpoint, const char *canonical, int64_t row,
                             int64_t rows, dt_dtype dtype, void *out, dt_error *err);
/** Is the tensor stored with a constant added (norms in some formats)? Then it was rounded on the way. */
bool dt_checkpoint_shifted(const dt_checkpoint *checkpoint, const char *canonical);
/** The mapped bytes themselves, when the canonical tensor lies whole, dense and in this type; else NULL. */
const void *dt_checkpoint_direct(const dt_checkpoint *checkpoint, const char *canonical, dt_dtype dtype);
/** The mapped pages behind a canonical tensor may go. */
void dt_checkpoint_drop(const dt_checkpoint *checkpoint, const char *canonical);

/**
 * The maker's tensor `name` made from canonical ones: gradients under the names of the file they belong to.
 * `read` supplies canonical rows (as dt_checkpoint_read does); *elements receives the count.
 */
typedef dt_status (*dt_canonical_reader)(void *user, const char *canonical, int64_t row, int64_t rows,
                                         float *out, dt_error *err);
dt_status dt_checkpoint_external(const dt_checkpoint *checkpoint, const char *name, dt_canonical_reader read,
                                 void *user, float *out, int64_t elements, dt_error *err);

typedef struct dt_export_options {
    const char *format; /**< a row that writes: "hf", "megatron", "megatron-dist", "trtllm", … */
    bool cast;          /**< convert weights to `dtype`; else as stored */
    dt_dtype dtype;
    bool local_names;     /**< Megatron formats: names of the local spec; else Transformer Engine's */
    uint64_t shard_bytes; /**< hf: largest file; 0 = 5 GB */
    /** megatron, megatron-dist: ranks to write for; 0 = 1. Virtual stages need more than one pipeline stage. */
    int tensor_parallel, pipeline_parallel, virtual_pipeline, expert_parallel;
    /** The vocabulary is padded to a multiple of this times tensor_parallel; 0 = as the source is padded where the
     *  ranks can share it, else 128 as Megatron does. */
    int64_t vocab_divisible_by;
    int threads; /**< that make tensors; 0 = as many as the cores it may use. The bytes are the same */
    int opset;   /**< onnx: version of the operators; 0 = 18 */
    /** trtllm: the type to export as ("llama", …; NULL: the first whose class computes the same), "fp8", "int8" or
     *  "int4" weights (NULL: as `cast` says), an fp8 cache of keys and values, an embedding cut by rows. */
    const char *model_type, *quantize;
    bool fp8_kv_cache, parallel_embedding;
    bool replace; /**< an existing output may be replaced */
    const dt_log *log;
    /** progress in bytes; return false to cancel. May be NULL. */
    bool (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} dt_export_options;

typedef struct dt_export_result {
    int tensors, files;
    uint64_t bytes;
} dt_export_result;

/**
 * Write the checkpoint at `path` in another format, tensor by tensor; the name appears only when complete.
 *
 * Errors   DT_UNSUPPORTED  the format cannot hold this model; names the key that stands in the way
 *          DT_IO           names the file; nothing half-written is left
 */
dt_status dt_checkpoint_export(const dt_checkpoint *checkpoint, const char *path,
                               const dt_export_options *options, dt_export_result *result, dt_error *err);

/** Formats that can be opened and written: name and one line each; NULL past the end. */
typedef struct dt_format_about {
    const char *name, *description;
    bool reads, writes;
} dt_format_about;
const dt_format_about *dt_format_at(int index);

#ifdef __cplusplus
}
#endif
#endif
