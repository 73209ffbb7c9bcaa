/*
 * bpe.c - the BPE model of tokenizer.json: characters to symbols, and the reader of vocabulary and merges.
 *
 * Leaves merging to bpe_merge.c. `dropout` is a training option and ignored. Words that come again in one text are
 * answered from a small table that lives as long as the call.
 */
#include "data/tokenizer/bpe.h"

#include <string.h>

/* ---- words seen before -------------------------------------------------------------------------------------- */

enum { CACHE_SLOTS = 2048, CACHE_WORD = 27, CACHE_IDS = 8, CACHE_FROM_BYTES = 4096 };

typedef struct cached {
    int32_t id[CACHE_IDS];
    uint8_t ids, bytes; /* bytes 0: free */
    char text[CACHE_WORD + 3];
} cached;

struct dt_word_cache {
    cached slot[CACHE_SLOTS];
};

static cached *cache_slot(dt_work *work, const char *text, size_t bytes)
{
    if (bytes > CACHE_WORD || work->regex.scale < CACHE_FROM_BYTES)
        return NULL;
    if (work->cache == NULL)
        work->cache = DT_NEW(work->arena, struct dt_word_cache);
    return work->cache == NULL ? NULL : &work->cache->slot[dt_hash_bytes(text, bytes) % CACHE_SLOTS];
}

static void cache_store(cached *slot, const dt_work *work, size_t ids_before, const char *text, size_t bytes)
{
    size_t added = work->ids.bytes - ids_before;
    if (added == 0 || added > sizeof slot->id)
        return;
    memcpy(slot->id, work->ids.data + ids_before, added);
    memcpy(slot->text, text, bytes);
    slot->ids = (uint8_t)(added / sizeof(int32_t));
    slot->bytes = (uint8_t)bytes;
}

/* ---- a word's first symbols --------------------------------------------------------------------------------- */

typedef struct word {
    const dt_model_part *model;
    dt_work *work;
    dt_symbol *symbol;
    int32_t count;
    bool unk_waits; /* an unknown token that may still grow over the next unknown character */
    uint32_t unk_at, unk_bytes;
} word;

static void add_symbol(word *w, int32_t id, uint32_t at, uint32_t bytes)
{
    w->symbol[w->count] = (dt_symbol){id, w->count - 1, w->count + 1, at, bytes};
    w->count++;
}

static void flush_unknown(word *w)
{
    if (w->unk_waits)
        add_symbol(w, w->model->unk, w->unk_at, w->unk_bytes);
    w->unk_waits = false;
}

/* The token of the character at `at`, written as the model's prefix and suffix ask for. *spelling is the text. */
static int32_t letter_token(word *w, const char *text, size_t at, size_t used, bool last,
                            const char **spelling, size_t *spelling_bytes)
{
    const dt_bpe *bpe = w->model->bpe;
    const dt_tokenizer *t = w->work->tokenizer;
    *spelling = text + at;
    *spelling_bytes = used;
    if (bpe->plain_letters && used <= 2) {
        size_t ignored;
        return bpe->letter[dt_utf8_peek(text + at, &ignored)];
    }
    if ((at > 0 && bpe->prefix_bytes > 0) || (last && bpe->suffix_bytes > 0)) {
        dt_text *out = &w->work->word;
        dt_text_clear(out);
        if (at > 0)
            dt_put(out, bpe->prefix, bpe->prefix_bytes);
        dt_put(out, text + at, used);
        if (last)
            dt_put(out, bpe->suffix, bpe->suffix_bytes);
        if (out->failed)
            return -1; /* the caller sees `failed` */
        *spelling = out->data;
        *spelling_bytes = out->bytes;
    }
    return dt_vocab_find(&t->vocab, *spelling, *spelling_bytes);
}

static bool bytes_known(const dt_model_part *model, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (model->byte_id[(unsigned char)text[i]] < 0)
            return false;
    return true;
}

/* A character that is no token. Bytes do not flush a waiting unknown: neither do they in the reference. */
static void add_unknown(word *w, const char *spelling, size_t spelling_bytes, uint32_t at, uint32_t bytes)
{
    const dt_model_part *model = w->model;
    if (model->byte_fallback && bytes_known(model, spelling, spelling_bytes)) {
        for (size_t i = 0; i < spelling_bytes; i++)
            add_symbol(w, model->byte_id[(unsigned char)spelling[i]], at, 1);
        return;
    }
    if (model->unk < 0)
        return; /* nothing to say: the character vanishes */
    if (w->unk_waits && model->fuse_unk) {
        w->unk_bytes += bytes;
        return;
    }
    flush_unknown(w);
    w->unk_waits = true;
    w->unk_at = at;
    w->unk_bytes = bytes;
}

static void add_letters(word *w, const char *text, size_t bytes)
{
    for (size_t at = 0, used; at < bytes; at += used) {
        used = dt_utf8_length(text[at]);
        const char *spelling;
        size_t spelling_bytes;
        int32_t id = letter_token(w, text, at, used, at + used == bytes, &spelling, &spelling_bytes);
        if (id >= 0) {
            flush_unknown(w);
            add_symbol(w, id, (uint32_t)at, (uint32_t)used);
        } else {
            add_unknown(w, spelling, spelling_bytes, (uint32_t)at, (uint32_t)used);
        }
    }
    flush_unknown(w);
}

/* Bytes as they are, each a token. */
static void add_bytes(word *w, const char *text, size_t bytes)
{
    const dt_bpe *bpe = w->model->bpe;
    for (size_t at = 0; at < bytes; at++)
        add_symbol(w, bpe->byte_symbol[at + 1 == bytes][(unsigned char)text[at]], (uint32_t)at, 1);
}

static dt_status encode_word(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    const dt_bpe *bpe = model->bpe;
    if (bytes > INT32_MAX / 64)
        return dt_fail(work->err, DT_LIMIT, "a word of %zu bytes; at most %d can be encoded", bytes,
                       INT32_MAX / 64);
    /* fallback writes a symbol for each byte of a spelling */
    size_t most = bytes + (bpe->prefix_bytes > 0 ? bytes * bpe->prefix_bytes : 0) + bpe->suffix_bytes;
    word w = {.model = model, .work = work};
    w.symbol = most > INT32_MAX / 4 ? NULL : dt_block_need(work, &work->symbols, most * sizeof *w.symbol);
    if (w.symbol == NULL)
        return dt_work_no_memory(work);
    work->steps += bytes;
    if (bpe->byte_level)
        add_bytes(&w, text, bytes);
    else
        add_letters(&w, text, bytes);
    if (work->word.failed)
        return dt_work_no_memory(work);
    if (w.count == 0)
        return DT_OK;
    w.symbol[w.count - 1].next = -1;
    DT_PASS(dt_bpe_merge(bpe, work, w.symbol, w.count, NULL, NULL));
    for (int32_t i = 0; i >= 0; i = w.symbol[i].next)
        DT_PASS(dt_emit_id(work, w.symbol[i].id));
    return DT_OK;
}

/* A word, from the table of words that are tokens, or that of words seen before, or merged anew. */
static dt_status encode_cached(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    const dt_word *whole = dt_words_find(&model->bpe->words, text, bytes);
    if (whole != NULL)
        return dt_emit_id(work, whole->id);
    cached *slot = cache_slot(work, text, bytes);
    if (slot != NULL && slot->bytes == bytes && memcmp(slot->text, text, bytes) == 0) {
        if (!dt_put(&work->ids, (const char *)slot->id, slot->ids * sizeof(int32_t)))
            return dt_work_no_memory(work);
        return DT_OK;
    }
    size_t before = work->ids.bytes;
    DT_PASS(encode_word(model, work, text, bytes));
    if (slot != NULL)
        cache_store(slot, work, before, text, bytes);
    return DT_OK;
}

/* The token that is the whole piece; -1 when there is none. Short ones stand in the table of words. */
static int32_t find_whole(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    const dt_bpe *bpe = model->bpe;
    const dt_word *whole = dt_words_find(&bpe->words, text, bytes);
    if (whole != NULL)
        return whole->id;
    if (!bpe->byte_level)
        return dt_vocab_find(&work->tokenizer->vocab, text, bytes);
    if (bytes <= DT_WORD_BYTES || bytes > bpe->longest_token)
        return -1;
    dt_text *spelled = &work->word;
    dt_text_clear(spelled);
    for (size_t i = 0; i < bytes; i++) {
        char letter[4];
        dt_put(spelled, letter, dt_utf8_encode(dt_byte_to_code((unsigned char)text[i]), letter));
    }
    return spelled->failed ? -1 : dt_vocab_find(&work->tokenizer->vocab, spelled->data, spelled->bytes);
}

static dt_status encode(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    if (model->bpe->ignore_merges) {
        int32_t id = find_whole(model, work, text, bytes);
        if (id >= 0)
            return dt_emit_id(work, id);
    }
    if (!model->bpe->breaks_at_spaces || model->bpe->byte_level)
        return encode_cached(model, work, text, bytes);
    for (size_t at = 0, used; at < bytes; at += used) {
        used = dt_bpe_segment(text + at, bytes - at);
        DT_PASS(encode_cached(model, work, text + at, used));
    }
    return DT_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static dt_status unknown_half(size_t rank, const char *text, size_t bytes, dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "merge %zu: \"%.*s\" is not in the vocabulary", rank,
                   (int)(bytes < 80 ? bytes : 80), text);
}

static dt_status add_merge(dt_tokenizer *t, dt_bpe *bpe, dt_text *joined, size_t rank, const char *a,
                           size_t a_bytes, const char *b, size_t b_bytes, dt_error *err)
{
    int32_t left = dt_vocab_find(&t->vocab, a, a_bytes), right = dt_vocab_find(&t->vocab, b, b_bytes);
    if (left < 0)
        return unknown_half(rank, a, a_bytes, err);
    if (right < 0 || b_bytes < bpe->prefix_bytes)
        return unknown_half(rank, b, b_bytes, err);
    dt_text_clear(joined);
    dt_put(joined, a, a_bytes);
    dt_put(joined, b + bpe->prefix_bytes, b_bytes - bpe->prefix_bytes);
    if (joined->failed)
        return dt_fail_memory(err, a_bytes + b_bytes, "a merge");
    int32_t to = dt_vocab_find(&t->vocab, joined->data ? joined->data : "", joined->bytes);
    if (to < 0)
        return unknown_half(rank, joined->data ? joined->data : "", joined->bytes, err);
    dt_bpe_pair_put(bpe, left, right, (uint32_t)rank, to);
    return DT_OK;
}

static dt_status bad_merge(size_t rank, dt_error *err)
{
    return dt_fail(err, DT_FORMAT, "merge %zu is not two tokens (\"a b\" or [\"a\", \"b\"])", rank);
}

dt_status dt_bpe_add_merge(dt_tokenizer *t, dt_bpe *bpe, dt_text *joined, size_t rank, const char *text,
                           size_t bytes, dt_error *err)
{
    const char *space = memchr(text, ' ', bytes);
    size_t a_bytes = space == NULL ? bytes : (size_t)(space - text);
    if (space == NULL || memchr(space + 1, ' ', bytes - a_bytes - 1) != NULL)
        return bad_merge(rank, err);
    return add_merge(t, bpe, joined, rank, text, a_bytes, space + 1, bytes - a_bytes - 1, err);
}

/* "a b" (older files) or ["a", "b"]. */
static dt_status read_merge(dt_tokenizer *t, dt_bpe *bpe, dt_text *joined, size_t rank, const json_t *merge,
                            dt_error *err)
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
        if (json_is_string(a) && json_is_string(b))
            return add_merge(t, bpe, joined, rank, json_string_value(a), json_string_length(a),
                             json_string_value(b), json_string_length(b), err);
    } else if (json_is_string(merge)) {
        return dt_bpe_add_merge(t, bpe, joined, rank, json_string_value(merge), json_string_length(merge),
                                err);
    }
    return bad_merge(rank, err);
}

static dt_status read_merges(dt_tokenizer *t, dt_bpe *bpe, const json_t *merges, dt_error *err)
{
    size_t count = json_array_size(merges), rank = 0;
    if (merges != NULL && !json_is_array(merges))
        return dt_fail(err, DT_FORMAT, "\"merges\" is not an array");
    if (!dt_bpe_pairs_create(bpe, t->arena, count))
        return dt_fail_memory(err, count * sizeof(dt_pair), "merges");
    dt_text joined = {0};
    dt_status status = DT_OK;
    for (size_t i = 0; i < count && status == DT_OK; i++) {
        const json_t *merge = json_array_get(merges, i);
        if (json_is_string(merge) && dt_starts_with(json_string_value(merge), "#version"))
            continue;
        status = read_merge(t, bpe, &joined, rank++, merge, err);
    }
    dt_text_free(&joined);
    return status;
}

static void fill_letters(dt_tokenizer *t, dt_bpe *bpe)
{
    bpe->plain_letters = bpe->prefix_bytes == 0 && bpe->suffix_bytes == 0;
    for (uint32_t code = 0; code < sizeof bpe->letter / sizeof *bpe->letter; code++) {
        char letter[4];
        bpe->letter[code] = dt_vocab_find(&t->vocab, letter, dt_utf8_encode(code, letter));
    }
}

void dt_bpe_install(dt_tokenizer *t, dt_bpe *bpe)
{
    if (bpe->prefix == NULL)
        bpe->prefix = "";
    if (bpe->suffix == NULL)
        bpe->suffix = "";
    fill_letters(t, bpe);
    bpe->breaks_at_spaces = bpe->plain_letters && dt_bpe_breaks_at_spaces(&t->vocab);
    dt_find_byte_tokens(&t->model, &t->vocab);
    t->model.bpe = bpe;
    t->model.kind = "bpe";
    t->model.encode = encode;
}

/* ---- what can be told only when all parts are there --------------------------------------------------------- */

/* Every byte has a token, inside a word and at its end: then text need not be spelled for the model. */
static bool fill_byte_symbols(const dt_tokenizer *t, dt_bpe *bpe)
{
    if (bpe->prefix_bytes > 0)
        return false;
    for (int byte = 0; byte < 256; byte++) {
        char spelling[4 + 64];
        size_t bytes = dt_utf8_encode(dt_byte_to_code((unsigned char)byte), spelling);
        bpe->byte_symbol[0][byte] = dt_vocab_find(&t->vocab, spelling, bytes);
        memcpy(spelling + bytes, bpe->suffix, bpe->suffix_bytes);
        bpe->byte_symbol[1][byte] = dt_vocab_find(&t->vocab, spelling, bytes + bpe->suffix_bytes);
        if (bpe->byte_symbol[0][byte] < 0 || bpe->byte_symbol[1][byte] < 0)
            return false;
    }
    return true;
}

/* A token's text as the model will be asked for it; false when it never will. */
static bool word_text(const dt_bpe *bpe, const dt_entry *entry, dt_text *out)
{
    size_t bytes = entry->bytes, used;
    dt_text_clear(out);
    if (bytes < bpe->suffix_bytes ||
        memcmp(entry->text + bytes - bpe->suffix_bytes, bpe->suffix, bpe->suffix_bytes) != 0)
        return false;
    bytes -= bpe->suffix_bytes;
    if (!bpe->byte_level)
        return dt_put(out, entry->text, bytes) && bytes > 0;
    for (size_t at = 0; at < bytes; at += used) {
        int byte = dt_code_to_byte(dt_utf8_peek(entry->text + at, &used));
        char one = (char)byte;
        if (byte < 0 || !dt_put(out, &one, 1))
            return false;
    }
    return bytes > 0;
}

static dt_status add_word(const dt_tokenizer *t, dt_bpe *bpe, dt_work *work, const dt_entry *entry,
                          dt_text *text)
{
    if (!word_text(bpe, entry, text))
        return text->failed ? dt_work_no_memory(work) : DT_OK;
    if (text->bytes > bpe->longest_token)
        bpe->longest_token = text->bytes;
    if (text->bytes > DT_WORD_BYTES)
        return DT_OK;
    if (!bpe->ignore_merges) {
        work->ids.bytes = 0;
        DT_PASS(encode_word(&t->model, work, text->data, text->bytes));
        if (work->ids.bytes != sizeof entry->id || memcmp(work->ids.data, &entry->id, sizeof entry->id) != 0)
            return DT_OK;
    }
    dt_words_put(&bpe->words, text->data, text->bytes, dt_vocab_find(&t->vocab, entry->text, entry->bytes),
                 0);
    return DT_OK;
}

dt_status dt_bpe_finish(dt_tokenizer *t, dt_error *err)
{
    dt_bpe *bpe = t->model.bpe == NULL || t->model.encode != encode ? NULL : (dt_bpe *)t->model.bpe;
    if (bpe == NULL)
        return DT_OK;
    dt_pre *last = t->pre_count > 0 ? &t->pre[t->pre_count - 1] : NULL;
    bpe->byte_level = last != NULL && dt_pre_is_byte_level(last) && fill_byte_symbols(t, bpe);
    if (last != NULL)
        last->hands_bytes = bpe->byte_level;
    if (!bpe->byte_level && !bpe->breaks_at_spaces)
        return DT_OK;
    dt_words words = {0};
    if (!dt_words_create(&words, t->arena, t->vocab.count))
        return dt_fail_memory(err, t->vocab.count * sizeof(dt_word), "a table of words");
    dt_work work = {.tokenizer = t, .arena = dt_arena_create(), .err = err};
    dt_text text = {0};
    dt_status status = work.arena == NULL ? dt_work_no_memory(&work) : DT_OK;
    bpe->words = words;
    for (uint32_t i = 0; i < t->vocab.count && status == DT_OK; i++)
        status = add_word(t, bpe, &work, &t->vocab.entry[i], &text);
    dt_text_free(&text);
    dt_text_free(&work.ids);
    dt_text_free(&work.word);
    dt_arena_destroy(work.arena);
    return status;
}

dt_status dt_bpe_read(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    dt_bpe *bpe = DT_NEW(t->arena, dt_bpe);
    if (bpe == NULL)
        return dt_fail_memory(err, sizeof *bpe, "a BPE model");
    bpe->prefix = bpe->suffix = "";
    const char *unk = NULL;
    size_t unk_bytes = 0;
    DT_PASS(dt_json_vocab(t, json, err));
    DT_PASS(dt_json_text(t, json, "continuing_subword_prefix", &bpe->prefix, &bpe->prefix_bytes, err));
    DT_PASS(dt_json_text(t, json, "end_of_word_suffix", &bpe->suffix, &bpe->suffix_bytes, err));
    DT_PASS(dt_json_text(t, json, "unk_token", &unk, &unk_bytes, err));
    DT_PASS(dt_json_bool(json, "fuse_unk", &t->model.fuse_unk, err));
    DT_PASS(dt_json_bool(json, "byte_fallback", &t->model.byte_fallback, err));
    DT_PASS(dt_json_bool(json, "ignore_merges", &bpe->ignore_merges, err));
    if (bpe->prefix_bytes > 64 || bpe->suffix_bytes > 64)
        return dt_fail(err, DT_LIMIT, "continuing_subword_prefix and end_of_word_suffix may have 64 bytes");
    if (unk != NULL)
        t->model.unk = dt_vocab_find(&t->vocab, unk, unk_bytes);
    if (unk != NULL && unk_bytes > 0 && t->model.unk < 0)
        return dt_fail(err, DT_FORMAT, "unk_token \"%s\" is not in the vocabulary", unk);
    DT_PASS(read_merges(t, bpe, dt_json_get(json, "merges"), err));
    dt_bpe_install(t, bpe);
    return DT_OK;
}
