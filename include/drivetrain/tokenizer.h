/**
 * tokenizer.h - text to token ids and back, exactly as the model's own tokenizer does it.
 *
 * Reads `tokenizer.json` (Hugging Face), sentencepiece `.model`, tiktoken ranks, `vocab.txt`, or a model folder
 * that holds one of them (or `vocab.json` with `merges.txt`).
 * Nothing is fetched or executed. A tokenizer is immutable after opening: any number of threads may encode and
 * decode with one at the same time.
 *
 *     dt_tokenizer *tok;
 *     if (dt_tokenizer_open(&tok, "t5-small", &err)) ...
 *     int32_t *ids; size_t count;
 *     dt_tokenizer_encode(tok, "drive", 5, NULL, &ids, &count, &err);
 *     ...
 *     dt_free(ids);
 *     dt_tokenizer_close(tok);
 */
#ifndef DRIVETRAIN_TOKENIZER_H
#define DRIVETRAIN_TOKENIZER_H

#include <drivetrain/memory.h>
#include <drivetrain/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dt_tokenizer dt_tokenizer;

/**
 * Open a tokenizer file, or the tokenizer in a model folder (tokenizer.json first, then *.model, …; the
 * folder's tokenizer_config.json, special_tokens_map.json and added_tokens.json are honoured).
 *
 * Errors   DT_NOT_FOUND    no tokenizer there (the error lists what was looked for)
 *          DT_FORMAT       the file is malformed; names the key or field
 *          DT_UNSUPPORTED  a component we do not know; names its type
 */
dt_status dt_tokenizer_open(dt_tokenizer **out, const char *path, dt_error *err);

/* What some files do not say about themselves; all zero: told from the file. */
typedef struct dt_tokenizer_options {
    bool keep_case;    /**< vocab.txt: do not lower-case, nor strip accents */
    const char *split; /**< tiktoken ranks: how text is split, e.g. "cl100k" (an error lists the names) */
} dt_tokenizer_options;

/** As dt_tokenizer_open. `options` may be NULL; they say nothing to a file that says it itself. */
dt_status dt_tokenizer_open_with(dt_tokenizer **out, const char *path, const dt_tokenizer_options *options,
                                 dt_error *err);
void dt_tokenizer_close(dt_tokenizer *tokenizer); /**< NULL is fine */

typedef struct dt_encode_options {
    bool no_special;    /**< leave out what the post-processor would add (BOS, EOS, [CLS] …) */
    bool plain_special; /**< treat special tokens that occur in the text as plain text */
} dt_encode_options;

/**
 * Text to ids. `text` is UTF-8; invalid bytes are replaced by U+FFFD as the reference implementations do.
 *
 * Memory   *ids is the caller's, freed with dt_free; NULL when *count is 0.
 */
dt_status dt_tokenizer_encode(const dt_tokenizer *tokenizer, const char *text, size_t bytes,
                              const dt_encode_options *options, int32_t **ids, size_t *count, dt_error *err);

/**
 * Ids to text. With `skip_special`, special tokens leave nothing.
 *
 * Memory   *text is the caller's, terminated, freed with dt_free.
 * Errors   DT_INVALID  an id outside the vocabulary (the error names it and its place)
 */
dt_status dt_tokenizer_decode(const dt_tokenizer *tokenizer, const int32_t *ids, size_t count,
                              bool skip_special, char **text, size_t *bytes, dt_error *err);

/** Decoding as tokens arrive: every piece is whole UTF-8 characters; the pieces joined equal dt_tokenizer_decode. */
typedef struct dt_decode_stream dt_decode_stream;
dt_status dt_decode_stream_create(dt_decode_stream **out, const dt_tokenizer *tokenizer, bool skip_special,
                                  dt_error *err);
/** Append one id; *piece (borrowed until the next call) is what became certain, maybe "". */
dt_status dt_decode_stream_push(dt_decode_stream *stream, int32_t id, const char **piece, size_t *bytes,
                                dt_error *err);
/** What remains at the end (an incomplete character becomes U+FFFD). */
dt_status dt_decode_stream_finish(dt_decode_stream *stream, const char **piece, size_t *bytes, dt_error *err);
void dt_decode_stream_destroy(dt_decode_stream *stream);

const char *
dt_tokenizer_kind(const dt_tokenizer *tokenizer); /**< "bpe", "unigram", "wordpiece", "wordlevel" */
const char *dt_tokenizer_source(const dt_tokenizer *tokenizer); /**< the file it came from */
int32_t dt_tokenizer_vocab_size(const dt_tokenizer *tokenizer); /**< largest id + 1, added tokens included */
const char *dt_tokenizer_token(const dt_tokenizer *tokenizer,
                               int32_t id); /**< vocabulary spelling; NULL if none */
int32_t dt_tokenizer_id(const dt_tokenizer *tokenizer, const char *token); /**< -1 when unknown */
bool dt_tokenizer_is_special(const dt_tokenizer *tokenizer, int32_t id);

/** Ids that the tokenizer's own files name; -1 when they do not. */
typedef enum dt_special_token { DT_TOKEN_BOS, DT_TOKEN_EOS, DT_TOKEN_PAD, DT_TOKEN_UNK } dt_special_token;
int32_t dt_tokenizer_special(const dt_tokenizer *tokenizer, dt_special_token which);

#ifdef __cplusplus
}
#endif
#endif
