/*
 * megatron.h - what the readers and writers of Megatron's files share.
 */
#ifndef DT_FORMATS_MEGATRON_H
#define DT_FORMATS_MEGATRON_H

#include "formats/open.h"
#include "formats/torch/pickle.h"

#include <jansson.h>

/*
 * Read a flat configuration with Megatron's names: config.json of a state folder, a run's arguments, a NeMo
 * configuration as JSON (config.c says which keys). `model_type` is what the tensors say.
 */
dt_status dt_megatron_read_config(const json_t *json, const char *model_type, dt_model_config *config,
                                  dt_error *err);
/* The same keys, written; extension keys only where they differ from the default. */
/* Layers that are not all alike: heterogeneous_layers_config_encoded_json (shapes.c). Writing: 0, or not enough memory. */
dt_status dt_megatron_read_shapes(const json_t *json, dt_model_config *config, dt_error *err);
int dt_megatron_write_shapes(const dt_model_config *config, json_t *json);
/* What is particular to towers and projectors, behind the keys of config.def (vision.c). Writing: 0, or no memory. */
dt_status dt_megatron_read_vision(const json_t *json, dt_model_config *config, dt_error *err);
int dt_megatron_write_vision(const dt_model_config *config, json_t *json);
/* LLaVAModel's compound configuration (llava.c): is it one, and read or written whole. */
bool dt_megatron_is_llava(const json_t *json);
dt_status dt_megatron_read_llava(const json_t *json, dt_model_config *config, dt_config_parts *parts,
                                 dt_error *err);
/* Any model's, with those of its parts: what dt_megatron_write_config wrote, whatever weights lie beside it. */
dt_status dt_megatron_read_model(const json_t *json, const char *model_type, dt_model_config *config,
                                 dt_config_parts *parts, dt_error *err);
/* DT_UNSUPPORTED for what Megatron Core has no model of: two towers that meet in one space, and such a text tower alone. */
dt_status dt_megatron_holds(const dt_model_config *config, dt_error *err);
/* A multimodal run's arguments, which name tower and projector by their presets (presets.c), as such a configuration. */
bool dt_megatron_is_multimodal_run(const json_t *args);
dt_status dt_megatron_of_multimodal_run(json_t **out, const json_t *args, dt_error *err);
dt_status dt_megatron_write_llava(const dt_model_config *config, json_t **out, dt_error *err);
dt_status dt_megatron_write_config(const dt_model_config *config, json_t **out, dt_error *err);
/* Read `path`, and note its numbers as facts. */
dt_status dt_megatron_load_config(dt_checkpoint *checkpoint, const char *path, dt_error *err);
dt_status dt_megatron_use_config(dt_checkpoint *checkpoint, const json_t *json, dt_error *err);

/* options->config when given, else `args` (NULL: an error that asks for --config). */
dt_status dt_megatron_any_config(dt_checkpoint *checkpoint, const dt_open_options *options,
                                 const json_t *args, dt_error *err);
/* Is it the table of words, of the model or below language_model.? What such a model's names of words have before them. */
bool dt_megatron_is_embedding(const char *canonical);
const char *dt_megatron_below(const dt_model_config *config);
/* Layers of the stack that a canonical name belongs to: the model's, an encoder's or decoder's, a tower's. */
int64_t dt_megatron_stack_layers(const dt_model_config *config, const char *canonical);
/* The stored table of words, below `prefix` and, of a model that sees, language_model.; NULL. */
const dt_stored_tensor *dt_megatron_embedding(const dt_stored_set *set, const char *prefix);
/* The padded vocabulary, where the configuration does not say: the embedding's rows times the ranks it is cut for. */
void dt_megatron_use_vocabulary(dt_checkpoint *checkpoint, const dt_stored_tensor *embedding, int64_t ranks);

/* RADIO's class tokens, where the configuration does not say how many: as many as are stored (8 and 10 are both common). */
void dt_megatron_use_class_tokens(dt_checkpoint *checkpoint);

/* The folder that holds one iteration: PATH, or the one that its tracker file names. false: there is none. */
bool dt_megatron_resolve(const char *path, char out[], size_t bytes);
/* An argparse.Namespace (or dict) as flat JSON; what has no plain value is left out. *out is NULL when it is neither. */
dt_status dt_megatron_arguments(json_t **out, const dt_value *args, dt_error *err);
/* YAML text as JSON, without anchors. Unsupported where libyaml is missing. */
dt_status dt_nemo_parse(json_t **out, const char *text, size_t bytes, dt_error *err);
/* NeMo 2's context/model.yaml: the model's configuration as flat JSON. */
dt_status dt_nemo_config(json_t **out, const char *path, dt_error *err);

/* One tensor-parallel rank's part of a canonical tensor. */
typedef struct dt_megatron_part {
    int rank;
    dt_shape shape; /* of the rank's tensor */
    dt_piece piece; /* external not set */
} dt_megatron_part;

/*
 * How `ranks` tensor-parallel ranks share a canonical tensor, or one expert's block of it (expert 0 where there are
 * none): at most 2 · ranks parts, in band order.
 * Errors: DT_MISMATCH does not divide.
 */
dt_status dt_megatron_cut(const dt_canonical *canonical, int ranks, int64_t expert, dt_megatron_part *part,
                          int *count, dt_error *err);

extern const dt_name_table dt_megatron_names; /* copies and skips; its rows are layout.c's */

/* How names are spelled in a file. */
typedef enum dt_megatron_spelling {
    DT_SPELL_TE,
    DT_SPELL_LOCAL,
    DT_SPELL_DIST, /* a local spec's in torch_dist */
    DT_SPELLINGS
} dt_megatron_spelling;

/* How the weights of experts lie in a file. */
typedef enum dt_expert_form {
    DT_EXPERTS_TOGETHER,   /* one tensor with an expert axis (torch_dist), under the canonical name */
    DT_EXPERTS_SEQUENTIAL, /* experts.local_experts.E.linear_fc1.weight */
    DT_EXPERTS_GROUPED,    /* experts.linear_fc1.weightE: Transformer Engine's grouped products */
    DT_EXPERTS_PACKED, /* experts.weight1, weight2: GroupedMLP's, of a rank's experts together, as [in, out] */
    DT_EXPERTS_APART,  /* experts.experts.E.linear_fc1.weight: torch_dist with singleton shards */
    DT_EXPERT_FORMS
} dt_expert_form;

/* The name of one expert's tensor; a name that is not of experts stays. false: too long. */
bool dt_megatron_expert(char *out, size_t bytes, const char *name, dt_expert_form form, int64_t expert);

/*
 * GroupedMLP (core/transformer/moe/experts.py) keeps its experts' matrices one behind another, each [in, out], in a parameter
 * whose shape says something else: weight1 [in, experts * out] is seen as [experts, in, out], weight2 has it by rows. `piece` is that of one expert's
 * block, of shape `one` [out, in]; it is turned, and its external set.
 */
dt_status dt_megatron_add_packed(dt_mapping *mapping, const char *name, const dt_shape *one, int64_t expert,
                                 int64_t each, dt_piece *piece, dt_error *err);

/* The file's name of a canonical tensor. false: too long. */
bool dt_megatron_spell(char *out, size_t bytes, const char *canonical, dt_megatron_spelling spelling);

/* "decoder.layers.3.mlp.x": "decoder", 3, ".mlp.x". */
typedef struct dt_megatron_layer {
    int stack_bytes; /* of the stack's name at the start */
    int64_t layer;
    const char *rest;
} dt_megatron_layer;
bool dt_megatron_split_layer(const char *name, dt_megatron_layer *out); /* false: belongs to no layer */

/*
 * Expand the canonical parameters into the tensors of a file without ranks: each under whichever spelling and
 * stacking (one a layer, or a leading layer axis; gated halves apart) `set` has. With set NULL: one a layer, under
 * `spelling`. prefix goes before every name.
 */
dt_status dt_megatron_map(const dt_model_config *config, const dt_stored_set *set, const char *prefix,
                          dt_megatron_spelling spelling, dt_mapping *mapping, dt_error *err);

/* Tensors that are no matrix in a file, and their shapes there; they are never cut. */
bool dt_megatron_file_shape(const dt_model_config *config, const dt_canonical *canonical, dt_shape *out);
/* dt_mapping_finish, and these shapes. */
dt_status dt_megatron_finish(const dt_model_config *config, dt_mapping *mapping, dt_error *err);

/* What the tensors' names say: "gpt", "t5" (an encoder), "bert" (its heads); or that it is not read yet. */
dt_status dt_megatron_family(const dt_stored_set *set, const char **model_type, dt_error *err);

#endif
