/*
 * bpe.h - byte pair encoding: symbols, a table of pairs that merge, and the loop that merges them.
 *
 * tokenizer.json's BPE and sentencepiece's run on the same loop: they differ in how symbols and ranks come about.
 * A symbol is a token id, or a number of its own (>= `free_symbol`) for a character that merges into a piece
 * without being one itself.
 */
#ifndef DT_DATA_TOKENIZER_BPE_H
#define DT_DATA_TOKENIZER_BPE_H

#include "data/tokenizer/parts.h"
#include "data/tokenizer/words.h"

typedef struct dt_pair {
    uint64_t key;  /* left symbol << 32 | right symbol */
    uint32_t rank; /* lower merges first */
    int32_t to;    /* -1: free slot */
} dt_pair;

typedef struct dt_bpe {
    dt_pair *pair; /* a hash table, at most half full */
    size_t mask;
    const char *prefix, *suffix; /* continuing_subword_prefix, end_of_word_suffix; "" when none */
    size_t prefix_bytes, suffix_bytes;
    bool ignore_merges;
    bool byte_level;             /* the byte-level stage before us hands bytes on, not their characters */
    int32_t byte_symbol[2][256]; /* byte-level: a byte's token inside a word [0] and at its end [1] */
    size_t longest_token;        /* in bytes */
    dt_words words;              /* words that merge into one token; bytes if byte_level, else text */
    bool breaks_at_spaces;       /* no token has a low line behind another letter: see dt_bpe_segment */
    bool plain_letters;          /* no prefix, no suffix: `letter` answers for most characters */
    int32_t letter[0x800];       /* by code point: the token of that character, or -1 */
    int32_t low_line;            /* sentencepiece: the symbol of U+2581 */
    const dt_trie *symbols;      /* sentencepiece: user-defined symbols, which never merge */
    const dt_vocab *letters;     /* sentencepiece: a character's symbol, be it a piece or not */
    int32_t free_symbol;         /* sentencepiece: symbols from here on are no pieces */
    bool has_unused;             /* sentencepiece: some merges must be taken apart again */
} dt_bpe;

/* One symbol of the text being merged, in a doubly linked list. */
typedef struct dt_symbol {
    int32_t id;         /* below 0: never merges */
    int32_t prev, next; /* -1 at the ends */
    uint32_t at, bytes; /* where it lies in the text; bytes 0: merged away */
} dt_symbol;

/*
 * Where no token has a low line (how sentencepiece spells a space) behind another letter, nothing merges over the
 * place between them, and a text falls into words that can be encoded one by one. dt_bpe_breaks_at_spaces asks the
 * vocabulary; dt_bpe_segment gives the bytes of a text's first such word.
 */
bool dt_bpe_breaks_at_spaces(const dt_vocab *vocab);
size_t dt_bpe_segment(const char *text, size_t bytes);

/* Words that merge into one token into bpe->words. Everything else of the tokenizer must be there. */
dt_status dt_bpe_finish(dt_tokenizer *tokenizer, dt_error *err);

/* "left right" becomes the pair of that rank; *joined is scratch. */
dt_status dt_bpe_add_merge(dt_tokenizer *tokenizer, dt_bpe *bpe, dt_text *joined, size_t rank,
                           const char *text, size_t bytes, dt_error *err);

/* `bpe`, its pairs filled, becomes the tokenizer's model; the vocabulary must be there. */
void dt_bpe_install(dt_tokenizer *tokenizer, dt_bpe *bpe);

bool dt_bpe_pairs_create(dt_bpe *bpe, dt_arena *arena, size_t capacity);
void dt_bpe_pair_put(dt_bpe *bpe, int32_t left, int32_t right, uint32_t rank,
                     int32_t to); /* replaces an older */

static inline const dt_pair *dt_bpe_pair(const dt_bpe *bpe, int32_t left, int32_t right)
{
    if ((left | right) < 0)
        return NULL;
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t slot = (size_t)dt_hash_mix(key) & bpe->mask;
    for (; bpe->pair[slot].to >= 0; slot = (slot + 1) & bpe->mask)
        if (bpe->pair[slot].key == key)
            return &bpe->pair[slot];
    return NULL;
}

enum { DT_BPE_FEW = 32 };

/* Called for each pair that could merge, before any does. NULL: not interested. */
typedef void (*dt_bpe_watch)(void *context, int32_t left, int32_t right, int32_t to);

/*
 * Merge until no pair is left: always the lowest rank, leftmost on ties. The list begins at symbol 0.
 * Three ways with one result: by search is the plain one; few symbols (at most DT_BPE_FEW) keep their pairs in a
 * row; many go through a heap. With `watch` it is always the heap: the order of its calls is sentencepiece's.
 */
dt_status dt_bpe_merge(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol, int32_t count, dt_bpe_watch watch,
                       void *context);
void dt_bpe_merge_by_search(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol);
void dt_bpe_merge_few(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol, int32_t count);
dt_status dt_bpe_merge_by_heap(const dt_bpe *bpe, dt_work *work, dt_symbol *symbol, int32_t count,
                               dt_bpe_watch watch, void *context);

#endif
