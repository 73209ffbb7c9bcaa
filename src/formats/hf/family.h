/*
 * family.h - what drivetrain knows of one Hugging Face model type: its keys, defaults, names and classes.
 *
 * Keys that carry one number over are rows (keys_*.def) that run both ways; what takes thought (activations, rotary
 * settings) is a pair of functions. A family is a file that ends in DT_HF_FAMILY, and a row of models.def.
 */
#ifndef DT_FORMATS_HF_FAMILY_H
#define DT_FORMATS_HF_FAMILY_H

#include "formats/names.h"

#include <jansson.h>
#include <stddef.h>

/*
 * An alias is another name that transformers reads, never writes: where it is given, it wins. Of the tanh form of gelu
 * transformers has two, which round differently in bf16: a torch activation is written as gelu_pytorch_tanh.
 */
typedef enum dt_hf_kind {
    DT_HF_INT,
    DT_HF_REAL,
    DT_HF_BOOL,
    DT_HF_ACTIVATION,
    DT_HF_TORCH_ACTIVATION,
    DT_HF_ALIAS
} dt_hf_kind;

typedef struct dt_hf_key {
    dt_hf_kind kind;
    const char *key;
    const char *field; /* its name in dt_model_config */
    size_t offset;     /* and where it lies there */
} dt_hf_key;

/* The rows of keys_*.def. */
#define KEY(kind, key, field) {DT_HF_##kind, key, #field, offsetof(dt_model_config, field)},

/* What the tensors say where a configuration is silent or wrong. */
typedef struct dt_hf_evidence {
    bool head;          /* there is a head of its own, different from the embedding */
    bool decoder;       /* T5: there is a decoder */
    bool encoder_table; /* the encoder has a table of tokens of its own, different from the decoder's */
    bool head_bias;     /* logits have a bias */
    bool positions;     /* positions are stored */
    bool pooler, lm_head, binary_head;                          /* BERT: which heads there are */
    bool projection, classifier, attention_pooling, mask_token; /* what a vision tower has */
    bool layer_scale;                                           /* of a tower whose files may lack it */
    const float *pixel_mean, *pixel_std;                        /* [3], where a tower stores them */
    bool text_projection;                                       /* CLIP: texts are projected */
    const struct dt_hf_evidence *vision; /* of a compound's tower; the rest is its text model's */
} dt_hf_evidence;

struct dt_hf_compound; /* compound.h */

typedef struct dt_hf_family {
    const char *model_type;   /* config.json's, and the row of models.def */
    const char *architecture; /* the class that transformers loads */
    const dt_hf_key *key;
    int key_count;
    const dt_name_table *names;
    const struct dt_hf_compound
        *compound; /* its members, or NULL; then keys, names and functions are its own alone */
    void (*defaults)(dt_model_config *config); /* the class's, for keys that are absent; model_type too */
    /* What no row of `key` says; either may be NULL. share_embeddings_… is set from the evidence before. */
    dt_status (*read)(dt_model_config *config, const json_t *json, const dt_hf_evidence *evidence,
                      dt_error *err);
    dt_status (*write)(const dt_model_config *config, json_t *json, dt_error *err);
} dt_hf_family;

/* A family's row, at the end of its file: `names`, `keys` and the functions are static there. */
#define DT_HF_FAMILY(name, class_name, defaults_of, read_of, write_of)                                       \
    DT_HF_COMPOUND(name, class_name, NULL, defaults_of, read_of, write_of)
#define DT_HF_COMPOUND(name, class_name, members, defaults_of, read_of, write_of)                            \
    extern const dt_hf_family dt_hf_##name##_family;                                                         \
    const dt_hf_family dt_hf_##name##_family = {.model_type = #name,                                         \
                                                .architecture = class_name,                                  \
                                                .key = keys,                                                 \
                                                .key_count = (int)(sizeof keys / sizeof keys[0]),            \
                                                .names = &names,                                             \
                                                .compound = members,                                         \
                                                .defaults = defaults_of,                                     \
                                                .read = read_of,                                             \
                                                .write = write_of};

const dt_hf_family *dt_hf_family_at(int index);                /* NULL past the end */
const dt_hf_family *dt_hf_family_find(const char *model_type); /* NULL when unknown */
dt_status dt_hf_family_of(const json_t *json, const dt_hf_family **out, dt_error *err); /* by "model_type" */

/* "quantization_config": 8-bit floats with static scales pass, everything else is DT_UNSUPPORTED by name. */
dt_status dt_hf_check_quantization(const json_t *json, dt_error *err);
/* The key for 8-bit floats with a scale a row, as compressed-tensors has it. 0, or no memory. */
int dt_hf_write_quantization(json_t *json);

/*
 * Read config.json (and generation_config.json, which may be NULL) into a configuration, and a compound's tower and projector
 * into *parts, which it then points to (NULL: no compound is expected). Derives nothing.
 */
dt_status dt_hf_read_config(const dt_hf_family *family, const json_t *json, const json_t *generation,
                            const dt_hf_evidence *evidence, dt_model_config *config, dt_config_parts *parts,
                            dt_error *err);

/*
 * The names that the class has, of a model's configuration: those that are written (spelling 0), and where a compound has
 * others, those of its DT_HF_SPELLINGS. They are made in `arena`.
 */
enum { DT_HF_SPELLINGS = 3 };
dt_status dt_hf_names(const dt_hf_family *family, const dt_model_config *config, int spelling,
                      dt_arena *arena, const dt_name_table **out, dt_error *err);

/* What the class loads, without the settings of generation and the type of weights. */
dt_status dt_hf_write_config(const dt_hf_family *family, const dt_model_config *config, json_t *json,
                             dt_error *err);
/*
 * What keeps a model out of a class: *key is the first field that would not come back from the config.json written
 * for it; NULL when the class computes the same. So a family says only what it reads and writes. An error: the class
 * refuses what was written for it, and says why.
 */
dt_status dt_hf_obstacle(const dt_hf_family *family, const dt_model_config *config, const char **key,
                         dt_error *err);

/* The first class that computes the same as a model of no class; NULL: none does. Errors: DT_NO_MEMORY. */
dt_status dt_hf_first_class(const dt_model_config *config, const dt_hf_family **out, dt_error *err);
/* "eos_token_id" and its like; not 0 when memory is short. */
int dt_hf_write_tokens(const dt_model_config *config, json_t *json);

/* Shared by families: activation and rotary keys. */
dt_status dt_hf_read_activation(const char *key, const char *name, dt_activation *out, dt_error *err);
const char *dt_hf_activation_name(dt_activation activation); /* NULL: transformers has none */
dt_status dt_hf_read_rope(dt_model_config *config, const json_t *json, dt_error *err);
dt_status dt_hf_read_partial_rope(dt_model_config *config, const json_t *json,
                                  dt_error *err); /* where a class may rotate a part of each head */
/* Where the class has "original_max_position_embeddings" with a default, which wins over one inside the settings. */
dt_status dt_hf_read_trained_rope(dt_model_config *config, const json_t *json, int64_t trained,
                                  dt_error *err);
/* Where windowed layers have a base of their own: `window_base` unless the file says another. */
dt_status dt_hf_read_layer_rope(dt_model_config *config, const json_t *json, double window_base,
                                dt_error *err);
dt_status dt_hf_write_layer_rope(const dt_model_config *config, json_t *json, dt_error *err);
dt_status dt_hf_write_rope(const dt_model_config *config, json_t *json, dt_error *err);

/* A switch that must not be on. */
dt_status dt_hf_refuse_true(const json_t *json, const char *key, dt_error *err);
/* Where a key is null its field gets `value`, whatever the class's default for an absent one. */
void dt_hf_null_means(const json_t *json, const char *key, int64_t *field, int64_t value);

/*
 * Windows. One for all layers, as "sliding_window" says (absent: `initial`; null, or -1: none); or for the layers that
 * "layer_types" lists (absent: all but one in `skip`, the last of each); or, Qwen's way, behind "use_sliding_window"
 * for the layers from "max_window_layers" on, or those listed.
 */
dt_status dt_hf_read_window(dt_model_config *config, const json_t *json, int64_t initial, dt_error *err);
dt_status dt_hf_read_layer_windows(dt_model_config *config, const json_t *json, int64_t initial, int64_t skip,
                                   dt_error *err);
dt_status dt_hf_read_switched_windows(dt_model_config *config, const json_t *json, dt_error *err);
dt_status dt_hf_write_window(const dt_model_config *config, json_t *json, dt_error *err);
dt_status dt_hf_write_layer_windows(const dt_model_config *config, json_t *json, dt_error *err);
dt_status dt_hf_write_switched_windows(const dt_model_config *config, json_t *json, dt_error *err);

/* Qwen's mixtures: which layers have experts, and of what softmax their weights are. */
dt_status dt_hf_read_experts(dt_model_config *config, const json_t *json, dt_error *err);
dt_status dt_hf_write_experts(const dt_model_config *config, json_t *json, dt_error *err);
/* The names of a file that holds a layer's experts in one tensor, where the class's have one an expert. */
const dt_name_table *dt_hf_fused_expert_names(void);
/* What Gemma 2 and 3 share: scores' scale, caps, the embedding's multiplier. */
dt_status dt_hf_read_gemma(dt_model_config *config, const json_t *json, dt_error *err);
dt_status dt_hf_write_gemma(const dt_model_config *config, json_t *json, dt_error *err);

/* Llama's class defaults, which its many relatives start from. */
void dt_hf_llama_defaults(dt_model_config *config);

#endif
