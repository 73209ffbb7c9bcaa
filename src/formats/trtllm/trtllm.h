/*
 * trtllm.h - TensorRT-LLM checkpoints: config.json and one safetensors file a rank, as its releases up to 1.2 build
 * engines from; what the writer (helper.c) and the reader (open.c) share.
 *
 * The parts are those of Megatron's exporter: the helper puts them together, model_type says which class holds a model,
 * layer_names what its tensors are called, weights how ranks share them, model_config what config.json says.
 *
 * Source  TensorRT-LLM 1.x, docs/source/architecture/checkpoint.md and its model classes; megatron core/export/trtllm.
 */
#ifndef DT_FORMATS_TRTLLM_H
#define DT_FORMATS_TRTLLM_H

#include "formats/open.h"

#include <jansson.h>

enum { DT_TRTLLM_RANKS = 1024, DT_TRTLLM_NAME = 320 };

/* ---- layer names ---- */

/* How the ranks of one stage share a canonical tensor. */
typedef enum dt_trtllm_cut {
    DT_CUT_whole,  /* each has it all */
    DT_CUT_norm,   /* the same, zero-centred weights with 1 added */
    DT_CUT_column, /* rows */
    DT_CUT_row,    /* columns */
    DT_CUT_gated,  /* [gate; up]: rows of the one in the first name, of the other in the second */
    DT_CUT_qkv, /* grouped by key head → all q, then all k, then all v; key heads repeated where ranks are more */
    DT_CUT_cross_q,       /* the q of a q | k | v tensor */
    DT_CUT_cross_kv,      /* its k and v, from heads' k, v */
    DT_CUT_vocab,         /* the embedding: whole, or rows with a parallel embedding */
    DT_CUT_position,      /* the same for a table of positions */
    DT_CUT_head,          /* rows, filled up with zeros */
    DT_CUT_experts,       /* [E, out, in], columns */
    DT_CUT_experts_gated, /* [E, up; gate, in]: each half cut by rows */
    DT_CUT_router,        /* whole, always f32 */
    DT_CUT_bias_table,    /* [buckets, heads] → [heads, buckets], rows */
    DT_CUT_zeros          /* no part of it: the class asks for a bias [columns] that the model lacks */
} dt_trtllm_cut;

/* Which pipeline stage has it. */
typedef enum dt_trtllm_stage {
    DT_STAGE_layer, /* its layer's */
    DT_STAGE_first,
    DT_STAGE_last,
    DT_STAGE_every,
    DT_STAGE_each /* every layer of every stage has one: {} runs */
} dt_trtllm_stage;

typedef enum dt_trtllm_when {
    DT_HAS_always,
    DT_HAS_gate, /* the MLP has a gate */
    DT_HAS_no_gate,
    DT_HAS_tied,          /* the head is the embedding, and the class asks for it all the same */
    DT_HAS_shared_words,  /* the encoder has no table of its own */
    DT_HAS_lone_qkv_bias, /* q, k, v have a bias and the projection behind them has none */
} dt_trtllm_when;

typedef struct dt_trtllm_name {
    dt_trtllm_when when;
    dt_trtllm_stage stage;
    dt_trtllm_cut cut;
    const char *canonical;
    const char *name[2]; /* {} is the layer's number within its stage */
    bool again;          /* a second home of a tensor that is read elsewhere */
} dt_trtllm_name;

typedef struct dt_trtllm_names {
    const char *folder; /* "", "encoder/" or "decoder/" */
    const dt_trtllm_name *row;
    int count;
} dt_trtllm_names;

#define NAMES(class) extern const dt_trtllm_names dt_trtllm_##class##_names;
#include "formats/trtllm/layer_names.def"
#undef NAMES

/* Does a row stand for a canonical tensor of this model? *layer is its number, -1 outside layers. */
bool dt_trtllm_names_fit(const dt_trtllm_name *row, const char *canonical, const dt_model_config *config,
                         int64_t *layer);

/* ---- model types ---- */

/* What the export is asked for beyond the model: Megatron's ExportConfig. */
typedef struct dt_trtllm_plan {
    const struct dt_trtllm_type *type;
    int tensor, pipeline;
    bool parallel_embedding;
    const char *dtype;      /* "bfloat16" */
    const char *quant_algo; /* "FP8", …; NULL */
    const char *kv_cache;   /* "FP8"; NULL */
    int64_t group;          /* weights that share a scale, where quant_algo has groups */
    int64_t head_rows;      /* of the head before it is cut; 0: it is not written */
} dt_trtllm_plan;

typedef struct dt_trtllm_type {
    const char *name;                /* Megatron's ModelType, and what it lacks */
    const char *architecture;        /* the class; of two, the decoder's */
    const dt_trtllm_names *names[2]; /* the second: a decoder's */
    int parts;
    /* What the class has beyond the common keys. */
    int (*write)(const dt_model_config *config, const dt_trtllm_plan *plan, int part, json_t *json);
    /* What the class computes, by its keys; the common ones are read. */
    dt_status (*read)(dt_model_config *config, const json_t *const json[2], dt_error *err);
} dt_trtllm_type;

#define TYPE(name, architecture, names, keys)                                                                \
    int dt_trtllm_write_##keys(const dt_model_config *config, const dt_trtllm_plan *plan, int part,          \
                               json_t *json);                                                                \
    dt_status dt_trtllm_read_##keys(dt_model_config *config, const json_t *const json[2], dt_error *err);
#define PAIR(name, architecture, first, second, keys) TYPE(name, architecture, first, keys)
#include "formats/trtllm/model_types.def"
#undef TYPE
#undef PAIR

const dt_trtllm_type *dt_trtllm_type_at(int index); /* NULL past the end */
dt_status dt_trtllm_type_named(const char *name, const dt_trtllm_type **out, dt_error *err);
/* The first type of an architecture. */
dt_status dt_trtllm_type_of(const char *architecture, const dt_trtllm_type **out, dt_error *err);

/* ---- config.json ---- */

/* The file of one part. */
dt_status dt_trtllm_write_config(const dt_model_config *config, const dt_trtllm_plan *plan, int part,
                                 json_t **out, dt_error *err);
/*
 * One file, or an encoder's and a decoder's. `hints` (may be NULL) is what the ranks' metadata say where the format has no
 * words. The vocabulary's padded rows and the layout go into `config` and `plan`.
 */
dt_status dt_trtllm_read_config(const json_t *const json[2], const dt_model_config *hints, bool has_head,
                                dt_model_config *config, dt_trtllm_plan *plan, dt_error *err);
/* NULL, or the key that the type's class computes otherwise. An error: it refuses what is written for it. */
dt_status dt_trtllm_obstacle(const dt_model_config *config, const dt_trtllm_plan *plan, const char **key,
                             dt_error *err);

/* ---- weights ---- */

/* Do the sizes divide? Errors name the constraint and the nearest choice that works. */
dt_status dt_trtllm_check_ranks(const dt_model_config *config, const dt_trtllm_plan *plan, dt_error *err);
/* First layer of a stage; of stage `pipeline`: all layers. */
int64_t dt_trtllm_first_layer(int64_t layers, int pipeline, int stage);
int64_t dt_trtllm_layers(const dt_model_config *config, const dt_trtllm_names *names);

/* Has every canonical tensor a home? Errors: DT_UNSUPPORTED names the first that has none. */
dt_status dt_trtllm_check_places(const dt_model_config *config, const dt_trtllm_plan *plan,
                                 const dt_param_spec *specs, int count, dt_error *err);
/* For reading: every canonical tensor once, external ones called "FOLDERrankN:NAME", the first rank's where several agree. */
dt_status dt_trtllm_map(const dt_model_config *config, const dt_trtllm_plan *plan, dt_arena *arena,
                        dt_mapping *mapping, dt_error *err);
/* For writing: what one rank of one part has, under its names; a canonical tensor comes once for each home it has there. */
dt_status dt_trtllm_map_rank(const dt_model_config *config, const dt_trtllm_plan *plan, int part, int rank,
                             const dt_param_spec *specs, int count, dt_arena *arena, dt_mapping **out,
                             dt_error *err);

#endif
