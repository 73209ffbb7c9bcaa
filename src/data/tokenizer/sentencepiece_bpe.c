/*
 * sentencepiece_bpe.c - sentencepiece's BPE: which pairs merge, told from the pieces alone.
 *
 * Two neighbours merge if their joined text is a piece; the piece with the higher score goes first, the leftmost on
 * ties. So every way of cutting a piece into two symbols is a pair, ranked by the piece's score. A symbol is a
 * piece, or a character that occurs in pieces without being one. User-defined symbols stand frozen. A merge into an
 * UNUSED piece is taken apart again at the end, by the pair that was last seen to make it.
 */
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/sentencepiece.h"

#include <stdlib.h>
#include <string.h>

static bool mergeable(int type)
{
    return type == DT_PIECE_NORMAL || type == DT_PIECE_USER_DEFINED || type == DT_PIECE_UNUSED;
}

/* ---- encoding ----------------------------------------------------------------------------------------------- */

static int32_t frozen(int32_t id)
{
    return -2 - id;
}

static int32_t first_symbol(const dt_bpe *bpe, const char *text, size_t bytes, size_t *used)
{
    int32_t id = bpe->symbols == NULL ? -1 : dt_trie_longest(bpe->symbols, text, bytes, used);
    if (id >= 0)
        return frozen(id);
    *used = dt_utf8_length(*text);
    if (*used <= 2) {
        size_t ignored;
        return bpe->letter[dt_utf8_peek(text, &ignored)];
    }
    if (*used == DT_LOW_LINE_BYTES && memcmp(text, DT_LOW_LINE, DT_LOW_LINE_BYTES) == 0)
        return bpe->low_line;
    return dt_vocab_find(bpe->letters, text, *used);
}

/* By id of an UNUSED piece: the pair that was last seen to make it. */
typedef struct halves {
    int32_t left, right;
} halves;

typedef struct watcher {
    const dt_tokenizer *tokenizer;
    halves *made;
} watcher;

static void watch_unused(void *context, int32_t left, int32_t right, int32_t to)
{
    const watcher *w = context;
    if (w->tokenizer->piece_type[to] == DT_PIECE_UNUSED)
        w->made[to] = (halves){left, right};
}

static size_t symbol_bytes(const dt_work *work, int32_t id)
{
    const dt_bpe *bpe = work->tokenizer->model.bpe;
    const dt_entry *entry = id < bpe->free_symbol ? dt_vocab_entry(&work->tokenizer->vocab, id)
                                                  : dt_vocab_entry(bpe->letters, id);
    return entry->bytes;
}

/* Emit a symbol, UNUSED ones by their halves. The stack cannot outgrow the symbol's bytes. */
static dt_status emit_symbol(dt_work *work, const watcher *w, dt_symbol symbol, const char *text,
                             bool *after_unknown)
{
    const dt_model_part *model = &work->tokenizer->model;
    int32_t *stack = dt_block_need(work, &work->heap, ((size_t)symbol.bytes + 2) * sizeof *stack);
    if (stack == NULL)
        return dt_work_no_memory(work);
    size_t depth = 0;
    text += symbol.at;
    stack[depth++] = symbol.id;
    while (depth > 0) {
        int32_t id = stack[--depth];
        bool piece = id >= 0 && id < model->bpe->free_symbol;
        if (piece && w->made != NULL && work->tokenizer->piece_type[id] == DT_PIECE_UNUSED &&
            w->made[id].left >= 0) {
            stack[depth++] = w->made[id].right;
            stack[depth++] = w->made[id].left;
            continue;
        }
        size_t bytes = w->made != NULL && id >= 0 ? symbol_bytes(work, id) : symbol.bytes;
        DT_PASS(dt_spm_emit(model, work,
                            piece     ? id
                            : id < -1 ? frozen(id)
                                      : model->unk,
                            text, bytes, after_unknown));
        text += bytes;
    }
    return DT_OK;
}

static dt_status encode_segment(const dt_bpe *bpe, dt_work *work, const watcher *w, const char *text,
                                size_t bytes, bool *after_unknown)
{
    dt_symbol *symbol = dt_block_need(work, &work->symbols, bytes * sizeof *symbol);
    if (symbol == NULL)
        return dt_work_no_memory(work);
    int32_t count = 0;
    for (size_t at = 0, used = 0; at < bytes; at += used) {
        int32_t id = first_symbol(bpe, text + at, bytes - at, &used);
        symbol[count] = (dt_symbol){id, count - 1, count + 1, (uint32_t)at, (uint32_t)used};
        count++;
    }
    symbol[count - 1].next = -1;
    work->steps += bytes;
    DT_PASS(dt_bpe_merge(bpe, work, symbol, count, w->made != NULL ? watch_unused : NULL, (void *)w));
    for (int32_t i = 0; i >= 0; i = symbol[i].next)
        DT_PASS(emit_symbol(work, w, symbol[i], text, after_unknown));
    return DT_OK;
}

static dt_status encode(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    const dt_bpe *bpe = model->bpe;
    if (bytes > INT32_MAX / 64)
        return dt_fail(work->err, DT_LIMIT, "a text of %zu bytes; at most %d can be encoded", bytes,
                       INT32_MAX / 64);
    watcher w = {.tokenizer = work->tokenizer};
    if (bpe->has_unused) {
        w.made = dt_block_need(work, &work->nodes, (size_t)work->tokenizer->piece_count * sizeof *w.made);
        if (w.made == NULL)
            return dt_work_no_memory(work);
        for (int32_t i = 0; i < work->tokenizer->piece_count; i++)
            w.made[i].left = -1;
    }
    bool after_unknown = false, whole = bpe->has_unused || !bpe->breaks_at_spaces;
    for (size_t at = 0, used; at < bytes; at += used) {
        used = whole ? bytes : dt_bpe_segment(text + at, bytes - at);
        const dt_word *word = dt_words_find(&bpe->words, text + at, used);
        if (word != NULL) {
            after_unknown = false;
            DT_PASS(dt_emit_id(work, word->id));
            continue;
        }
        DT_PASS(encode_segment(bpe, work, &w, text + at, used, &after_unknown));
    }
    return DT_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

typedef struct building {
    dt_tokenizer *tokenizer;
    const DtSpm__Model *model;
    dt_arena *scratch;
    dt_bpe *bpe;
    dt_vocab *letters; /* mergeable pieces, then free characters */
    dt_trie forward, backward;
    float *ranks; /* all scores, highest first, each once */
    size_t rank_count;
} building;

static bool add_symbol(building *b, const char *text, size_t bytes, int32_t symbol)
{
    char *reversed = dt_arena_alloc(b->scratch, bytes);
    if (reversed == NULL)
        return false;
    for (size_t i = 0; i < bytes; i++)
        reversed[i] = text[bytes - 1 - i];
    return dt_vocab_add(b->letters, b->tokenizer->arena, text, bytes, symbol) &&
           dt_trie_insert(&b->forward, text, bytes, symbol) &&
           dt_trie_insert(&b->backward, reversed, bytes, symbol);
}

static size_t letters_in(const dt_entry *entry)
{
    size_t count = 0;
    for (size_t at = 0; at < entry->bytes; at += dt_utf8_length(entry->text[at]))
        count++;
    return count;
}

/* Room for every mergeable piece, and for every character that might be no piece. Also counts the cuts. */
static bool count_symbols(building *b, size_t *cuts)
{
    size_t symbols = 0, letters = 0;
    *cuts = 0;
    for (int32_t i = 0; i < b->tokenizer->piece_count; i++) {
        if (!mergeable(b->tokenizer->piece_type[i]))
            continue;
        size_t length = letters_in(&b->tokenizer->vocab.entry[i]);
        symbols++;
        letters += length;
        *cuts += length - 1;
    }
    letters = letters < 0x110000 ? letters : 0x110000;
    b->letters = DT_NEW(b->tokenizer->arena, dt_vocab);
    return b->letters != NULL && dt_vocab_create(b->letters, b->tokenizer->arena, symbols + letters) &&
           dt_trie_create(&b->forward, b->scratch) && dt_trie_create(&b->backward, b->scratch);
}

static bool collect_symbols(building *b)
{
    const dt_tokenizer *t = b->tokenizer;
    for (int32_t i = 0; i < t->piece_count; i++)
        if (mergeable(t->piece_type[i]) && !add_symbol(b, t->vocab.entry[i].text, t->vocab.entry[i].bytes, i))
            return false;
    int32_t next = t->piece_count;
    for (int32_t i = 0; i < t->piece_count; i++) {
        const dt_entry *entry = &t->vocab.entry[i];
        if (!mergeable(t->piece_type[i]))
            continue;
        for (size_t at = 0, used; at < entry->bytes; at += used) {
            used = dt_utf8_length(entry->text[at]);
            if (dt_vocab_find(b->letters, entry->text + at, used) < 0 &&
                !add_symbol(b, entry->text + at, used, next++))
                return false;
        }
    }
    return true;
}

static int higher_first(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static bool sort_scores(building *b)
{
    const dt_tokenizer *t = b->tokenizer;
    b->ranks = DT_NEW_ARRAY(b->scratch, float, t->piece_count);
    if (b->ranks == NULL)
        return false;
    for (int32_t i = 0; i < t->piece_count; i++)
        b->ranks[i] = b->model->pieces[i]->score;
    qsort(b->ranks, (size_t)t->piece_count, sizeof *b->ranks, higher_first);
    for (int32_t i = 0; i < t->piece_count; i++)
        if (i == 0 || b->ranks[i] != b->ranks[b->rank_count - 1])
            b->ranks[b->rank_count++] = b->ranks[i];
    return true;
}

/* Equal scores have equal ranks: then only the place decides. */
static uint32_t rank_of(const building *b, float score)
{
    size_t low = 0, high = b->rank_count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (b->ranks[middle] > score)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)low;
}

/* Every cut of a piece into two symbols. One walk finds the symbols that begin it, one those that end it. */
static bool add_pairs(building *b, int32_t id)
{
    const dt_entry *entry = &b->tokenizer->vocab.entry[id];
    int32_t *left = DT_NEW_ARRAY(b->scratch, int32_t, entry->bytes + 1);
    if (left == NULL)
        return false;
    uint32_t node = 0;
    memset(left, -1, (entry->bytes + 1) * sizeof *left);
    for (size_t i = 0; i + 1 < entry->bytes; i++) {
        node = dt_trie_step(&b->forward, node, (unsigned char)entry->text[i]);
        if (node == 0)
            break;
        left[i + 1] = b->forward.value[node];
    }
    node = 0;
    uint32_t rank = rank_of(b, b->model->pieces[id]->score);
    for (size_t cut = entry->bytes - 1; cut > 0; cut--) {
        node = dt_trie_step(&b->backward, node, (unsigned char)entry->text[cut]);
        if (node == 0)
            break;
        if (left[cut] >= 0 && b->backward.value[node] >= 0)
            dt_bpe_pair_put(b->bpe, left[cut], b->backward.value[node], rank, id);
    }
    return true;
}

static bool build(building *b)
{
    const dt_tokenizer *t = b->tokenizer;
    size_t cuts;
    b->bpe = DT_NEW(t->arena, dt_bpe);
    if (b->bpe == NULL || !count_symbols(b, &cuts) || !collect_symbols(b) || !sort_scores(b) ||
        !dt_bpe_pairs_create(b->bpe, t->arena, cuts))
        return false;
    for (int32_t i = 0; i < t->piece_count; i++) {
        b->bpe->has_unused |= t->piece_type[i] == DT_PIECE_UNUSED;
        if (mergeable(t->piece_type[i]) && !add_pairs(b, i))
            return false;
    }
    b->bpe->free_symbol = t->piece_count;
    b->bpe->letters = b->letters;
    b->bpe->breaks_at_spaces = dt_bpe_breaks_at_spaces(&t->vocab);
    b->bpe->symbols = t->normalizer[0].symbols;
    for (uint32_t code = 0; code < sizeof b->bpe->letter / sizeof *b->bpe->letter; code++) {
        char letter[4];
        b->bpe->letter[code] = dt_vocab_find(b->letters, letter, dt_utf8_encode(code, letter));
    }
    b->bpe->low_line = dt_vocab_find(b->letters, DT_LOW_LINE, DT_LOW_LINE_BYTES);
    return true;
}

/* Pieces that come out as themselves, where texts fall into words. */
static dt_status fill_words(const dt_tokenizer *t, dt_bpe *bpe, dt_work *work)
{
    watcher w = {.tokenizer = t};
    if (bpe->has_unused || !bpe->breaks_at_spaces)
        return DT_OK;
    dt_words words = {0};
    if (!dt_words_create(&words, t->arena, t->vocab.count))
        return dt_work_no_memory(work);
    for (int32_t i = 0; i < t->piece_count; i++) {
        const dt_entry *entry = &t->vocab.entry[i];
        bool after_unknown = false;
        if (!mergeable(t->piece_type[i]) || entry->bytes > DT_WORD_BYTES)
            continue;
        work->ids.bytes = 0;
        DT_PASS(encode_segment(bpe, work, &w, entry->text, entry->bytes, &after_unknown));
        if (work->ids.bytes == sizeof i && memcmp(work->ids.data, &i, sizeof i) == 0)
            dt_words_put(&words, entry->text, entry->bytes, i, 0);
    }
    bpe->words = words;
    return DT_OK;
}

dt_status dt_spm_read_bpe(dt_tokenizer *t, const DtSpm__Model *model, dt_error *err)
{
    building b = {.tokenizer = t, .model = model, .scratch = dt_arena_create()};
    bool built = b.scratch != NULL && build(&b);
    dt_arena_destroy(b.scratch);
    if (!built)
        return dt_fail_memory(err, (size_t)t->piece_count, "a sentencepiece BPE model");
    t->model.bpe = b.bpe;
    t->model.kind = "bpe";
    t->model.encode = encode;
    dt_work work = {.tokenizer = t, .arena = dt_arena_create(), .err = err};
    dt_status status = work.arena == NULL ? dt_work_no_memory(&work) : fill_words(t, b.bpe, &work);
    dt_text_free(&work.ids);
    dt_arena_destroy(work.arena);
    return status;
}
