/*
 * open.h - an open checkpoint from the inside: what format readers fill and the public calls read.
 *
 * A format is a row of formats.def: detect, open, write. Its open() gathers stored tensors and the configuration,
 * expands its names into a mapping, binds the external tensors to stored ones, and accounts for every stored tensor:
 * used, skipped by a named rule, or an error. The helpers below are the parts that all of them share.
 */
#ifndef DT_FORMATS_OPEN_H
#define DT_FORMATS_OPEN_H

#include "base/bundle.h"
#include "formats/export_make.h"
#include "formats/export_queue.h"
#include "formats/mapping.h"
#include "formats/names.h"

#include <drivetrain/checkpoint.h>

#include <jansson.h>

typedef struct dt_format {
    const char *name, *description;
    bool (*detect)(const char *path);
    dt_status (*open)(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
    dt_status (*write)(const dt_checkpoint *checkpoint, const char *path, const dt_export_options *options,
                       dt_export_result *result, dt_error *err); /* NULL: this format is only read */
} dt_format;

/* What became of a stored tensor: `external` (and so a canonical one), or a rule. */
typedef struct dt_fate {
    int external;     /* the external tensor that it is, or is a copy of; -1 */
    const char *rule; /* why it is not read, or NULL */
} dt_fate;

/* A number in the maker's configuration, to name the key when a shape contradicts it. */
typedef struct dt_fact {
    const char *key;
    int64_t value;
} dt_fact;

enum { DT_FACT_LIMIT = 48, DT_PROBLEM_LIMIT = 64 };

/*
 * One arena owns the strings and tables, the stored set the files and their tensors. Written while opening; then
 * read-only, except for the problems that dt_checkpoint_check adds.
 */
struct dt_checkpoint {
    dt_arena *arena;
    const char *path;        /* as given */
    const char *root;        /* the folder whose files are read; file names are told relative to it */
    const char *config_file; /* where the configuration came from */
    const dt_format *format;
    const dt_log *log;
    dt_stored_set *set;
    dt_model_config config;
    dt_config_parts parts; /* what config.vision and config.projection point to, where it sees */
    dt_mapping *mapping;
    dt_fate *fate;      /* of each stored tensor, in the set's order */
    const char *before; /* what the files put before the names of the model's tensors */
    dt_fact fact[DT_FACT_LIMIT];
    int fact_count;
    const char *problem[DT_PROBLEM_LIMIT];
    int problem_count;
    dt_bundle *bundle;                       /* an engine's file, else NULL; then no row can be read */
    const char *engine_version, *engine_isa; /* what it was made by and for */
    dt_dtype engine_dtype;
    uint64_t engine_bytes;
    int64_t iteration; /* -1 when unknown */
    int64_t tensor_parallel, pipeline_parallel, virtual_pipeline, expert_parallel;
};

/* An engine's weights have no names to be read by. */
dt_status dt_checkpoint_refuse_engine(const dt_checkpoint *checkpoint, dt_error *err);

/* The functions of formats.def. */
bool dt_engine_detect(const char *path);
dt_status dt_engine_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
bool dt_hf_detect(const char *path);
dt_status dt_hf_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_hf_write(const dt_checkpoint *checkpoint, const char *path, const dt_export_options *options,
                      dt_export_result *result, dt_error *err);
bool dt_megatron_state_detect(const char *path);
dt_status dt_megatron_state_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_megatron_state_write(const dt_checkpoint *checkpoint, const char *path,
                                  const dt_export_options *options, dt_export_result *result, dt_error *err);
bool dt_megatron_legacy_detect(const char *path);
dt_status dt_megatron_legacy_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_megatron_legacy_write(const dt_checkpoint *checkpoint, const char *path,
                                   const dt_export_options *options, dt_export_result *result, dt_error *err);
bool dt_megatron_dist_detect(const char *path);
dt_status dt_megatron_dist_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_megatron_dist_write(const dt_checkpoint *checkpoint, const char *path,
                                 const dt_export_options *options, dt_export_result *result, dt_error *err);
bool dt_onnx_detect(const char *path);
dt_status dt_onnx_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_onnx_write(const dt_checkpoint *checkpoint, const char *path, const dt_export_options *options,
                        dt_export_result *result, dt_error *err);
bool dt_ct2_detect(const char *path);
dt_status dt_ct2_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_ct2_write(const dt_checkpoint *checkpoint, const char *path, const dt_export_options *options,
                       dt_export_result *result, dt_error *err);
bool dt_llama2c_detect(const char *path);
dt_status dt_llama2c_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
bool dt_vit_pytorch_detect(const char *path);
dt_status dt_vit_pytorch_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
bool dt_nemo_detect(const char *path);
dt_status dt_nemo_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
bool dt_gguf_model_detect(const char *path);
dt_status dt_gguf_model_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_gguf_model_write(const dt_checkpoint *checkpoint, const char *path,
                              const dt_export_options *options, dt_export_result *result, dt_error *err);

bool dt_trtllm_detect(const char *path);
dt_status dt_trtllm_open(dt_checkpoint *checkpoint, const dt_open_options *options, dt_error *err);
dt_status dt_trtllm_write(const dt_checkpoint *checkpoint, const char *path, const dt_export_options *options,
                          dt_export_result *result, dt_error *err);

const dt_format *dt_format_named(const char *name); /* NULL when unknown */
dt_status dt_format_unknown(const char *name, dt_error *err);
/* The rule under which a stored object that is no tensor is skipped. */
const char *dt_format_object_rule(const char *name);

/* "PATH/NAME" in the checkpoint's arena; NULL when memory is short. */
const char *dt_open_path(dt_checkpoint *checkpoint, const char *folder, const char *name);
void dt_open_fact(dt_checkpoint *checkpoint, const char *key, int64_t value);
void dt_open_problem(dt_checkpoint *checkpoint, const char *format, ...) DT_PRINTF(2, 3);

/* Derive and check the configuration, list the model's parameters, start a mapping of them. */
dt_status dt_open_parameters(dt_checkpoint *checkpoint, dt_error *err);

/* Leave of an open checkpoint one part: "tower", "projector" or "language"; one that is that part already stays as it is. Nothing that
 * the checkpoint points to changes but its arena: a copy of the struct may become a part, and the original stays whole. */
dt_status dt_open_part(dt_checkpoint *checkpoint, const char *part, dt_error *err);

/* Bind an external tensor to a stored one. Errors: DT_MISMATCH names the tensor, both shapes and the keys. */
dt_status dt_open_bind(dt_checkpoint *checkpoint, int external, const dt_stored_tensor *stored,
                       dt_error *err);
/* DT_NOT_FOUND: an external tensor that no file has. */
dt_status dt_open_missing(dt_checkpoint *checkpoint, int external, dt_error *err);

/*
 * Decide what a stored tensor is that no external tensor was bound to: leave *fate alone (external -1, no rule), give
 * it a rule, or call dt_open_copy. What it leaves alone goes through the table's copies and skip rules.
 */
typedef dt_status (*dt_fate_finder)(dt_checkpoint *checkpoint, const dt_stored_tensor *stored, dt_fate *fate,
                                    dt_error *err);

/*
 * Bind by name: each external tensor to the stored one of its name, of that name without the table's prefix, or to a
 * copy of it; then account for the rest. `before` is what the external names start with in this file ("module."; ""
 * for nothing); the table's names come after it. finder may be NULL.
 * Errors: DT_NOT_FOUND missing, DT_MISMATCH shapes or unequal copies, DT_FORMAT a tensor with no place.
 */
dt_status dt_open_bind_names(dt_checkpoint *checkpoint, const dt_name_table *table, const char *before,
                             dt_fate_finder finder, dt_error *err);

/* 8-bit weights count times the scales beside them (dt_open_bind_names sees to it); errors name both. */
dt_status dt_open_scales(dt_checkpoint *checkpoint, dt_error *err);
/* Why a tensor that is such a scale has no place of its own; NULL: it is none. */
const char *dt_open_scale_rule(const dt_stored_set *set, const char *name);

/* `stored` repeats the bound `external`. Unequal: DT_MISMATCH, or with `lenient` a problem. */
dt_status dt_open_copy(dt_checkpoint *checkpoint, const dt_stored_tensor *stored, int external, bool lenient,
                       dt_fate *fate, dt_error *err);

/* The stored tensor of a name, of the name without the table's prefix, or a copy of it; NULL. */
const dt_stored_tensor *dt_open_find(const dt_checkpoint *checkpoint, const dt_name_table *table,
                                     const char *before, const char *name);

/* Do two stored tensors hold the same values in the same type and shape? Reads both. */
dt_status dt_stored_same(const dt_stored_tensor *a, const dt_stored_tensor *b, bool *same, dt_error *err);

/* ---- writing (export.c) ---- */

/* One tensor of the output: `name` holds external tensor `external` (a second name for it: a copy). */
typedef struct dt_export_entry {
    const char *name;
    int external;
    dt_make_form form;
} dt_export_entry;

/* A file of the output. */
typedef struct dt_export_file {
    const char *name; /* in the output folder */
    int first, count; /* of the plan's entries */
} dt_export_file;

typedef struct dt_export_plan {
    dt_mapping *mapping;   /* for writing: externals unbound */
    const dt_dtype *dtype; /* of each external tensor */
    const dt_export_entry *entry;
    int entry_count;
    const dt_export_file *file;
    int file_count;
    const char *const *notes; /* safetensors metadata: key, value, … */
    size_t note_count;
} dt_export_plan;

/* What a whole export carries along from tensor to tensor. */
typedef struct dt_export_run {
    const dt_checkpoint *from;
    const dt_export_options *options;
    uint64_t done, total;   /* bytes */
    dt_export_queue *queue; /* made at the first tensor */
    struct dt_pool *pool;   /* that makes parts of tensors, made with it */
    const char *held;       /* the canonical tensor being read */
} dt_export_run;
/* All that was handed on is written: before a writer is finished, or thrown away. Errors: a sink's first. */
dt_status dt_export_run_wait(dt_export_run *run, dt_error *err);
void dt_export_run_end(dt_export_run *run);

/* Rows [first, first + rows) of an external tensor, as dt_mapping_assemble counts them. */
typedef struct dt_export_part {
    int external;
    int64_t first, rows;
    dt_make_form form;
} dt_export_part;
/* Make a part of a target tensor and hand it on in pieces, in order, to a sink on the queue's thread; *user is copied. */
dt_status dt_export_stream(dt_export_run *run, const dt_mapping *to, dt_dtype type,
                           const dt_export_part *part, dt_export_sink sink, const void *user,
                           size_t user_bytes, dt_error *err);

/* With options->quantize "fp8": the plan's matrices of layers as e4m3, and a tensor of scales beside each (export_fp8.c). */
dt_status dt_export_fp8(const dt_export_options *options, dt_arena *arena, dt_export_plan *plan,
                        dt_error *err);
/* An entry's type, shape and bytes in the file. */
dt_dtype dt_export_entry_type(const dt_export_plan *plan, const dt_export_entry *entry);
dt_shape dt_export_entry_shape(const dt_export_plan *plan, const dt_export_entry *entry);
uint64_t dt_export_entry_bytes(const dt_export_plan *plan, const dt_export_entry *entry);

/* The type each external tensor is written in: `cast`, or as its canonical tensors are stored. */
dt_status dt_export_types(const dt_checkpoint *from, const dt_mapping *to, const dt_export_options *options,
                          dt_arena *arena, const dt_dtype **out, dt_error *err);
uint64_t dt_export_bytes(const dt_mapping *to, const dt_dtype *types, int external);
uint64_t dt_export_total(const dt_export_plan *plan);
/* Write the plan's files as safetensors into a folder, streaming; adds to *result. */
dt_status dt_export_tensors(const dt_checkpoint *from, const char *folder, const dt_export_plan *plan,
                            const dt_export_options *options, dt_export_result *result, dt_error *err);
/* Names of files beside a model that go along: tokenizer, template, settings of generation, of pictures. NULL past the end. */
const char *dt_export_companion(const dt_model_config *config, size_t index);
/* Names of classes, which no configuration of ours holds: from the source's config.json into `json`, where they fit. */
dt_status dt_export_labels(const dt_checkpoint *from, json_t *json, dt_error *err);
/* config.json and generation_config.json of the class that computes a model. Errors: DT_UNSUPPORTED, when none does. */
dt_status dt_hf_save_config(const dt_checkpoint *from, const dt_model_config *config, dt_dtype type,
                            const char *folder, dt_export_result *result, dt_error *err);
/* Copy the tokenizer files that lie beside the model. */
dt_status dt_export_tokenizer(const dt_checkpoint *from, const char *folder, dt_export_result *result,
                              dt_error *err);

#endif
