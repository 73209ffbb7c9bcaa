/*
 * parts.h - what a tokenizer is made of, and how a text walks through it.
 *
 *   text → added tokens cut out (raw) → normalizers → added tokens cut out (normalized)
 *        → pre-tokenizers, each handing its pieces on → model → ids → post-processor
 *   ids → token spellings → decoder stages, each handing text on → text
 *
 * Every component is a row of a table (type name → how to read it) in its own file and ends up as a function plus
 * its options. All of it is built once, in the tokenizer's arena, and read-only afterwards; what one call needs
 * lives in its dt_work.
 */
#ifndef DT_DATA_TOKENIZER_PARTS_H
#define DT_DATA_TOKENIZER_PARTS_H

#include "base/arena.h"
#include "base/gguf.h"
#include "base/json.h"
#include "base/text.h"
#include "data/tokenizer/charsmap.h"
#include "data/tokenizer/regex.h"
#include "data/tokenizer/trie.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/vocab.h"

#include <drivetrain/tokenizer.h>

enum {
    DT_PART_LIMIT = 64,        /* components in one chain, nested sequences counted flat */
    DT_FILE_LIMIT = 256 << 20, /* bytes of a tokenizer file */
    DT_VOCAB_LIMIT = 1 << 27,  /* ids are below this */
};

/* ---- the work of one call ----------------------------------------------------------------------------------- */

/* Text on its way, and how many of its leading bytes stem from the very beginning of the caller's text. */
typedef struct dt_piece {
    const char *text;
    size_t bytes;
    size_t zero;
} dt_piece;

/* A block that grows and keeps its size from one use to the next. */
typedef struct dt_block {
    void *data;
    size_t bytes;
} dt_block;

typedef struct dt_work {
    const dt_tokenizer *tokenizer;
    dt_arena *arena;
    dt_error *err;
    bool plain_special;
    dt_text ids;                  /* int32_t each */
    dt_text normal[2];            /* normalizers read one and write the other */
    dt_text stage[DT_PART_LIMIT]; /* one for each pre-tokenizer */
    dt_regex_space regex;
    uint64_t steps;                /* of work, for the test that it grows no faster than the text */
    dt_block symbols, heap, nodes; /* the models' scratch */
    dt_text word;                  /* the models' scratch for a spelling */
    struct dt_word_cache *cache;   /* bpe.c's, NULL until a text is long enough to pay for it */
} dt_work;

/* At least `bytes`, content lost. NULL when memory is short. */
void *dt_block_need(dt_work *work, dt_block *block, size_t bytes);

static inline dt_status dt_emit_id(dt_work *work, int32_t id)
{
    if (dt_put(&work->ids, (const char *)&id, sizeof id))
        return DT_OK;
    return dt_fail_memory(work->err, work->ids.bytes, "token ids");
}

dt_status dt_work_no_memory(const dt_work *work);

/* ---- normalizers -------------------------------------------------------------------------------------------- */

typedef struct dt_normalizer dt_normalizer;

/* Reads `in`, appends to *out; *zero receives the leading bytes of *out that stem from the text's beginning. */
typedef dt_status (*dt_normalize_function)(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                           size_t *zero);

struct dt_normalizer {
    const char *type; /* as tokenizer.json names it; NULL: sentencepiece's */
    dt_normalize_function run;
    dt_form form;
    bool clean, chinese, strip_accents, lower; /* Bert */
    bool left, right;                          /* Strip */
    const char *pattern;                       /* Replace, when it is a string */
    size_t pattern_bytes;
    const dt_regex *regex; /* Replace, when it is a regex */
    const char *content;   /* Replace, Prepend */
    size_t content_bytes;
    dt_charsmap charsmap;                                             /* Precompiled, sentencepiece */
    bool dummy_prefix, remove_spaces, escape_spaces, space_as_suffix; /* sentencepiece */
    const dt_trie *symbols; /* sentencepiece: user-defined symbols */
};

dt_status dt_normalize(dt_work *work, dt_piece in, dt_piece *out);
dt_status dt_normalize_sentencepiece(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                     size_t *zero);

/* ---- pre-tokenizers ----------------------------------------------------------------------------------------- */

typedef struct dt_pre dt_pre;
typedef dt_status (*dt_pre_function)(const dt_pre *pre, dt_work *work, dt_piece piece);

typedef enum dt_behavior {
    DT_REMOVED,
    DT_ISOLATED,
    DT_MERGED_WITH_PREVIOUS,
    DT_MERGED_WITH_NEXT,
    DT_CONTIGUOUS,
} dt_behavior;

struct dt_pre {
    const char *type; /* as tokenizer.json names it */
    dt_pre_function run;
    int index; /* in the chain; its scratch is work->stage[index] */
    dt_behavior behavior;
    bool invert;
    bool add_prefix_space, use_regex; /* ByteLevel */
    bool hands_bytes;                 /* … whose model knows bytes and needs no characters */
    bool individual;                  /* Digits */
    bool split;                       /* Metaspace */
    enum { DT_PREPEND_ALWAYS, DT_PREPEND_FIRST, DT_PREPEND_NEVER } prepend;
    const char *text; /* the pattern, delimiter or replacement */
    size_t text_bytes;
    const dt_regex *regex;
    const char *pattern; /* Split: what `regex` was made from; NULL when a string is searched */
    size_t length;       /* FixedLength */
};

/* Hand a piece on to what follows stage `index` (-1: to the first). Empty pieces vanish. */
dt_status dt_pre_next(dt_work *work, int index, dt_piece piece);

bool dt_pre_is_byte_level(const dt_pre *pre);

/* ---- models ------------------------------------------------------------------------------------------------- */

typedef struct dt_model_part dt_model_part;

struct dt_model_part {
    const char *kind;
    dt_status (*encode)(const dt_model_part *model, dt_work *work, const char *text, size_t bytes);
    int32_t unk; /* -1: none */
    bool byte_fallback, fuse_unk;
    int32_t byte_id[256]; /* "<0x00>" …, -1 where missing */
    struct dt_bpe *bpe;
    const struct dt_unigram *unigram;
    const struct dt_wordpiece *wordpiece;
};

dt_status dt_byte_encode(const dt_model_part *model, dt_work *work, const char *text,
                         size_t bytes); /* ByT5 */

/* Fill model->byte_id from the vocabulary's "<0xHH>"; returns how many there are. */
int dt_find_byte_tokens(dt_model_part *model, const dt_vocab *vocab);

/* ---- added tokens ------------------------------------------------------------------------------------------- */

typedef struct dt_added_token {
    const char *text;
    size_t bytes;
    const char *shown; /* what decoding starts from: a normalized token's normalized form */
    size_t shown_bytes;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool mute; /* never looked for in a text; it has an id and a spelling */
} dt_added_token;

typedef struct dt_added {
    dt_added_token *token;
    int32_t count, capacity;
    dt_vocab vocab; /* their ids and spellings, which go before the model's */
    dt_trie raw,
        normalized;      /* what to look for before and after the normalizers; value = index of the token */
    bool begins[2][256]; /* may a token of raw (0) or normalized (1) begin with this byte? */
} dt_added;

dt_status dt_added_create(dt_tokenizer *tokenizer, int32_t capacity, dt_error *err);

/* An id below 0 asks for the model's own id of that text, or else the next free one. */
dt_status dt_added_add(dt_tokenizer *tokenizer, dt_added_token token, dt_error *err);
dt_status dt_added_finish(dt_tokenizer *tokenizer, dt_error *err); /* needs the normalizers */
const dt_added_token *dt_added_find(const dt_tokenizer *tokenizer, const char *text, size_t bytes);

/* Cut `text` at the added tokens and encode what lies between. */
dt_status dt_added_encode(dt_work *work, const char *text, size_t bytes);

/* ---- post-processor ----------------------------------------------------------------------------------------- */

typedef struct dt_post {
    int32_t *item; /* ids, or DT_POST_TEXT for the text's own */
    int32_t count;
} dt_post;
enum { DT_POST_TEXT = -1, DT_POST_LIMIT = 4096 };

dt_status dt_post_apply(const dt_tokenizer *tokenizer, const dt_text *ids, bool no_special, dt_text *out,
                        dt_error *err);

/* BOS before and EOS after; an id of -1 is left out. */
dt_status dt_post_set(dt_tokenizer *tokenizer, int32_t before, int32_t after, dt_error *err);
dt_status dt_post_wrap(dt_tokenizer *tokenizer, int32_t before, int32_t after,
                       dt_error *err); /* around what is there */

/* ---- decoders ----------------------------------------------------------------------------------------------- */

typedef struct dt_decoder dt_decoder;
typedef struct dt_decoding dt_decoding;

/* What a stage remembers between tokens. */
typedef struct dt_decoder_state {
    dt_text gathered; /* for a stage that gathers: what came in */
    dt_text held;     /* text it cannot hand on yet */
    dt_text bytes;
    size_t index; /* tokens seen */
    bool flag[2];
} dt_decoder_state;

struct dt_decoder {
    /* One token (or, behind a stage that fuses, the next part of the one token) comes in. */
    void (*push)(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes);
    void (*finish)(const dt_decoder *d, dt_decoding *run); /* no more comes; NULL: nothing to do */
    int index;
    bool joined;  /* what comes in is one token in parts, because an earlier stage fused them */
    bool fuses;   /* what goes out is one token in parts */
    bool gathers; /* joined, but wants the whole: push and finish are wrapped by one that waits */
    const char *text, *content;
    size_t text_bytes, content_bytes;
    const dt_regex *regex;
    size_t start, stop; /* Strip */
    bool cleanup, prefix_space;
};

/* The decoding of one sequence, whole or as tokens arrive. */
struct dt_decoding {
    const dt_tokenizer *tokenizer;
    dt_decoder_state state[DT_PART_LIMIT];
    dt_text out;
    dt_regex_space regex;
    dt_status status; /* sticky */
    dt_error *err;
    int32_t id; /* of the token being pushed, for decoders that care what kind of token it is */
};

void dt_decoder_next(dt_decoding *run, int index, const char *text, size_t bytes);
dt_status dt_decoding_push(dt_decoding *run, int32_t id, bool skip_special, dt_error *err);
dt_status dt_decoding_finish(dt_decoding *run, dt_error *err);
void dt_decoding_free(dt_decoding *run);

void dt_sentencepiece_push(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes);
void dt_sentencepiece_finish(const dt_decoder *d, dt_decoding *run);
void dt_byte_push(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes); /* ByT5 */
void dt_byte_finish(const dt_decoder *d, dt_decoding *run);

/* ---- the whole ---------------------------------------------------------------------------------------------- */

typedef enum dt_piece_type { /* sentencepiece's */
                             DT_PIECE_NORMAL = 1,
                             DT_PIECE_UNKNOWN = 2,
                             DT_PIECE_CONTROL = 3,
                             DT_PIECE_USER_DEFINED = 4,
                             DT_PIECE_UNUSED = 5,
                             DT_PIECE_BYTE = 6,
} dt_piece_type;

struct dt_tokenizer {
    dt_arena *arena;  /* everything below, except: */
    dt_regex **regex; /* PCRE2's own memory, destroyed one by one */
    int regex_count, regex_capacity;
    const char *source;
    dt_vocab vocab; /* the model's */
    dt_added added;
    dt_normalizer normalizer[DT_PART_LIMIT];
    int normalizer_count;
    dt_pre pre[DT_PART_LIMIT];
    int pre_count;
    dt_model_part model;
    dt_post post;
    dt_decoder decoder[DT_PART_LIMIT];
    int decoder_count;
    bool raw_bytes;            /* the normalizer itself deals with invalid UTF-8 */
    bool fairseq;              /* sentencepiece: pieces are numbered as fairseq does */
    const uint8_t *piece_type; /* sentencepiece: by id; else NULL */
    const float *piece_score;  /* sentencepiece: by id */
    int32_t piece_count;
    const char *unk_surface;      /* sentencepiece */
    dt_tokenizer_options options; /* while reading: what the caller asked for */
    int32_t special[4];           /* by dt_special_token; -1 = not named */
};

/* An empty tokenizer for a reader to fill, then dt_added_finish to complete. NULL when memory is short. */
dt_tokenizer *dt_tokenizer_blank(void);

/* Compile a regex that the tokenizer then owns. */
dt_status dt_own_regex(dt_tokenizer *tokenizer, const dt_regex **out, const char *pattern, size_t bytes,
                       dt_error *err);

/* ---- reading ------------------------------------------------------------------------------------------------ */

dt_status dt_normalizers_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);
dt_status dt_pre_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);
dt_status dt_post_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);
dt_status dt_decoders_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);
dt_status dt_bpe_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);
dt_status dt_unigram_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);
dt_status dt_wordpiece_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);
dt_status dt_wordlevel_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);

/* A whole document in the form of tokenizer.json. */
dt_status dt_tokenizer_read_json(dt_tokenizer *tokenizer, const json_t *json, dt_error *err);

/* A sentencepiece model in memory. */
dt_status dt_tokenizer_read_sentencepiece(dt_tokenizer *tokenizer, const void *data, size_t bytes,
                                          dt_error *err);

/* Ranks as tiktoken writes them. `path` (or NULL) may name a known encoding, `split` (or NULL) a split pattern. */
dt_status dt_tokenizer_read_tiktoken(dt_tokenizer *tokenizer, const char *data, size_t bytes,
                                     const char *path, const char *split, dt_error *err);

/* The tokenizer inside a GGUF file; nothing of the file is kept. */
dt_status dt_tokenizer_read_gguf(dt_tokenizer *tokenizer, struct dt_gguf *file, dt_error *err);

/* A vocabulary of llama2.c in memory, and whether bytes begin like one. */
dt_status dt_tokenizer_read_llama2c(dt_tokenizer *tokenizer, const void *data, size_t bytes, dt_error *err);
bool dt_llama2c_vocabulary_detect(const void *data, size_t bytes);

/* "<extra_id_N>", as T5 and ByT5 call their sentinels. */
void dt_sentinel_name(char name[32], int number);

/* What encoding a text costs, in steps that do not depend on the machine: for the test that it is linear. */
dt_status dt_tokenizer_count_steps(const dt_tokenizer *tokenizer, const char *text, size_t bytes,
                                   uint64_t *steps, dt_error *err);

/* A file or a folder; folder.c. */
dt_status dt_tokenizer_read_path(dt_tokenizer *tokenizer, const char *path, dt_error *err);

/* Helpers for readers (tokenizer_json.c). */
typedef struct dt_type_row {
    const char *type;
    const char *hint; /* the key by which files without "type" are recognised, or NULL */
} dt_type_row;

/* Which row's type (or hint) fits; DT_UNSUPPORTED names the unknown type and lists the known. */
dt_status dt_json_type(const json_t *json, const char *what, const void *rows, size_t row_bytes, size_t count,
                       size_t *row, dt_error *err);
dt_status dt_json_text(const dt_tokenizer *tokenizer, const json_t *json, const char *key, const char **text,
                       size_t *bytes, dt_error *err); /* a copy in the arena; left alone when absent */
dt_status dt_json_pattern(dt_tokenizer *tokenizer, const json_t *json, const char **text, size_t *bytes,
                          const dt_regex **regex, dt_error *err); /* "pattern": {"String"|"Regex": …} */
dt_status dt_json_vocab(dt_tokenizer *tokenizer, const json_t *json,
                        dt_error *err); /* "vocab": {token: id} */

#endif
