/*
 * gguf.h - the GGUF container: a header of keyed values, a list of tensors, their bytes. What the keys and names
 * mean is for data/ (vocabularies) and formats/gguf/ (models).
 *
 *     dt_gguf *g;
 *     DT_PASS(dt_gguf_open(&g, "model.gguf", err));
 *     DT_GO(status, dt_gguf_string(g, "tokenizer.ggml.model", &model, err));
 *     dt_gguf_close(g);
 *
 * Versions 2 and 3, little-endian; version 1 and big-endian files are refused by name. The file is mapped, and every
 * length is compared with the bytes there are before it is used. Stricter than ggml where a file could be understood
 * in two ways: no key twice, no empty tensor, no byte after the last one's padding.
 */
#ifndef DT_BASE_GGUF_H
#define DT_BASE_GGUF_H

#include "base/map.h"

#include <stdbool.h>

typedef enum dt_gguf_type {
    DT_GGUF_U8,
    DT_GGUF_I8,
    DT_GGUF_U16,
    DT_GGUF_I16,
    DT_GGUF_U32,
    DT_GGUF_I32,
    DT_GGUF_F32,
    DT_GGUF_BOOL,
    DT_GGUF_STRING,
    DT_GGUF_ARRAY,
    DT_GGUF_U64,
    DT_GGUF_I64,
    DT_GGUF_F64,
    DT_GGUF_TYPE_COUNT
} dt_gguf_type;

/* Bytes in the file, not terminated. */
typedef struct dt_gguf_text {
    const char *data;
    size_t bytes;
} dt_gguf_text;

/* A value, or an array of them; `data` is where the first lies in the file, at any address. */
typedef struct dt_gguf_value {
    const char *key;
    dt_gguf_type type; /* of the elements, when it is an array; never DT_GGUF_ARRAY */
    bool is_array;
    size_t count; /* 1 when it is none */
    const uint8_t *data;
    size_t bytes; /* of all elements, lengths of strings included */
} dt_gguf_value;

enum { DT_GGUF_RANK = 4 };

typedef struct dt_gguf_tensor {
    const char *name;
    int type; /* the id of gguf_types.def */
    const char *type_name;
    int64_t block_elements, block_bytes;
    int rank;
    int64_t dim[DT_GGUF_RANK]; /* innermost first, as the file has them */
    uint64_t offset, bytes;    /* in the file, checked */
} dt_gguf_tensor;

typedef struct dt_gguf dt_gguf;

/* Does the file begin as a GGUF file does? */
bool dt_gguf_detect(const char *path);

/*
 * A model with eyes is two files: "FOLDER/mmproj-NAME" beside "FOLDER/NAME". false: too long. Where drivetrain wrote the
 * second, DT_GGUF_PROCESSOR is how pictures are made, as the maker's preprocessor_config.json or processor_config.json says.
 */
#define DT_GGUF_PROCESSOR "drivetrain.processor"
bool dt_gguf_eyes_path(char *out, size_t bytes, const char *path);

/* Errors: DT_FORMAT and DT_UNSUPPORTED name the key or tensor, what was expected and what was found. */
dt_status dt_gguf_open(dt_gguf **out, const char *path, dt_error *err);
/* The same for bytes mapped by the caller, who keeps them. */
dt_status dt_gguf_open_map(dt_gguf **out, const dt_map *map, dt_error *err);
void dt_gguf_close(dt_gguf *gguf); /* NULL is fine; every text, value and name dies */

const dt_gguf_value *dt_gguf_find(const dt_gguf *gguf, const char *key);    /* NULL when absent */
const dt_gguf_value *dt_gguf_value_at(const dt_gguf *gguf, size_t index);   /* NULL past the end */
const dt_gguf_tensor *dt_gguf_tensor_at(const dt_gguf *gguf, size_t index); /* in the file's order */
size_t dt_gguf_tensor_count(const dt_gguf *gguf);
const dt_map *dt_gguf_map(const dt_gguf *gguf);

/* Each leaves *out as it was when the key is absent; another type is DT_FORMAT and names the key. */
dt_status dt_gguf_int(const dt_gguf *gguf, const char *key, int64_t *out, dt_error *err);
dt_status dt_gguf_real(const dt_gguf *gguf, const char *key, double *out, dt_error *err);
dt_status dt_gguf_bool(const dt_gguf *gguf, const char *key, bool *out, dt_error *err);
/* Terminated; a string that holds a NUL is DT_FORMAT. */
dt_status dt_gguf_string(dt_gguf *gguf, const char *key, const char **out, dt_error *err);

/* Arrays, copied out of the file. An absent key gives NULL and 0. */
dt_status dt_gguf_texts(dt_gguf *gguf, const char *key, const dt_gguf_text **out, size_t *count,
                        dt_error *err);
dt_status dt_gguf_reals(dt_gguf *gguf, const char *key, const float **out, size_t *count, dt_error *err);
dt_status dt_gguf_ints(dt_gguf *gguf, const char *key, const int64_t **out, size_t *count, dt_error *err);

/* Element of a value of any number type, as it is written; false: a string, or past the end. */
bool dt_gguf_int_at(const dt_gguf_value *value, size_t index, int64_t *out);
bool dt_gguf_real_at(const dt_gguf_value *value, size_t index, double *out);

/*
 * A vocabulary inside a file, by the names of "tokenizer.*". Lists of scores, types and merges may be absent
 * (count 0); where scores and types are there, they have one entry a token.
 */
typedef struct dt_gguf_vocabulary {
    const char *model; /* "gpt2", "llama", "bert", "t5", …; NULL: the file has no tokenizer */
    const char *pre;   /* name of the splitting rule; NULL when not given */
    const dt_gguf_text *token;
    size_t token_count;
    const float *score;
    size_t score_count;
    const int64_t *type; /* 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte */
    size_t type_count;
    const dt_gguf_text *merge; /* "left right" */
    size_t merge_count;
    int64_t bos, eos, unknown, separator, pad, cls, mask, eot, eom;   /* -1: not given */
    int add_bos, add_eos, add_space_prefix, remove_extra_whitespaces; /* 0, 1; -1: not given */
    const uint8_t *charsmap;                                          /* sentencepiece's normaliser */
    size_t charsmap_bytes;
    const char *chat_template;    /* NULL when not given */
    const char *huggingface_json; /* tokenizer.json itself, where a writer put it inside */
} dt_gguf_vocabulary;

/* Errors: DT_FORMAT names the key: lists of unequal length, an id outside the list of tokens. */
dt_status dt_gguf_vocabulary_of(dt_gguf *gguf, dt_gguf_vocabulary *out, dt_error *err);

/* Another named template ("tool_use"), or NULL; name NULL: the default one. */
dt_status dt_gguf_chat_template(dt_gguf *gguf, const char *name, const char **out, dt_error *err);

#endif
