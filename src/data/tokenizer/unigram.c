/*
 * unigram.c - Viterbi over byte positions, and the Unigram model of tokenizer.json.
 *
 * At each character, every piece that begins there may extend the best path; a character that no piece covers
 * alone may be unknown. A path replaces another only if strictly better, starts come left to right and pieces
 * short to long, and that decides ties:
 *   tokenizers     scores and sums in f64; every piece matches, control pieces too
 *   sentencepiece  all in f32, as 0.2.3 does (older releases compared before they rounded); user-defined pieces
 *                  score by their length. Known gap: among equally good paths through several user-defined
 *                  pieces 0.2.3 sometimes takes another one.
 */
#include "data/tokenizer/unigram.h"

#include <math.h>
#include <string.h>

typedef struct node {
    double score;
    int32_t id;
    uint32_t begin; /* UINT32_MAX: no path ends here */
} node;

static void offer(node *to, double score, int32_t id, size_t begin, bool f32)
{
    if (f32)
        score = (double)(float)score; /* two f32 added in f64 and rounded: the same as added in f32 */
    if (to->begin != UINT32_MAX && !(score > to->score))
        return;
    to->score = score;
    to->id = id;
    to->begin = (uint32_t)begin;
}

/* Extend the path that ends at `at` by every piece that begins there. */
static void extend(const dt_model_part *model, node *best, const char *text, size_t bytes, size_t at)
{
    const dt_unigram *u = model->unigram;
    size_t letter = dt_utf8_length(text[at]);
    double here = best[at].score;
    bool covered = false;
    uint32_t place = 0;
    for (size_t end = at; end < bytes;) {
        place = dt_trie_step(&u->trie, place, (unsigned char)text[end]);
        if (place == 0)
            break;
        end++;
        int32_t id = u->trie.value[place];
        if (id < 0)
            continue;
        double score = u->bonus != NULL && u->bonus[id] ? (double)((float)(end - at) * u->per_byte - 0.1f)
                                                        : u->score[id];
        offer(&best[end], score + here, id, at, u->f32);
        covered |= end - at == letter;
    }
    if (!covered)
        offer(&best[at + letter], u->unk_score + here, model->unk, at, u->f32);
}

dt_status dt_unigram_best(const dt_model_part *model, dt_work *work, const char *text, size_t bytes,
                          dt_unigram_emit emit, void *context)
{
    if (bytes > INT32_MAX / 16)
        return dt_fail(work->err, DT_LIMIT, "a text of %zu bytes; at most %d can be encoded", bytes,
                       INT32_MAX / 16);
    node *best = dt_block_need(work, &work->nodes, (bytes + 1) * sizeof *best);
    if (best == NULL)
        return dt_work_no_memory(work);
    for (size_t i = 1; i <= bytes; i++)
        best[i].begin = UINT32_MAX;
    best[0] = (node){.begin = 0};
    for (size_t at = 0; at < bytes; at += dt_utf8_length(text[at]))
        extend(model, best, text, bytes, at);
    /* turn the chain of beginnings round: best[begin].score is not needed any more, its `begin` becomes the end */
    size_t next = bytes;
    for (size_t end = bytes; end > 0; end = next) {
        next = best[end].begin;
        best[next].score = (double)end;
    }
    for (size_t begin = 0, end; begin < bytes; begin = end) {
        end = (size_t)best[begin].score;
        DT_PASS(emit(model, work, best[end].id, text + begin, end - begin, context));
    }
    return DT_OK;
}

/* ---- tokenizers' way ---------------------------------------------------------------------------------------- */

/* A stretch of unknown characters, which is looked up and emitted as one. */
typedef struct stretch {
    const char *text;
    size_t bytes;
} stretch;

static dt_status emit_text(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    int32_t id = dt_vocab_find(&work->tokenizer->vocab, text, bytes);
    if (id >= 0)
        return dt_emit_id(work, id);
    bool known = model->byte_fallback;
    for (size_t i = 0; i < bytes && known; i++)
        known = model->byte_id[(unsigned char)text[i]] >= 0;
    if (!known && model->unk < 0)
        return dt_fail(work->err, DT_INVALID, "\"%.*s\" is not in the vocabulary, which has no unknown token",
                       (int)(bytes < 60 ? bytes : 60), text);
    if (!known)
        return dt_emit_id(work, model->unk);
    for (size_t i = 0; i < bytes; i++)
        DT_PASS(dt_emit_id(work, model->byte_id[(unsigned char)text[i]]));
    return DT_OK;
}

static dt_status emit_stretch(const dt_model_part *model, dt_work *work, stretch *unknown)
{
    size_t bytes = unknown->bytes;
    unknown->bytes = 0;
    return bytes == 0 ? DT_OK : emit_text(model, work, unknown->text, bytes);
}

static dt_status emit_fused(const dt_model_part *model, dt_work *work, int32_t id, const char *text,
                            size_t bytes, void *context)
{
    stretch *unknown = context;
    if (id == model->unk && id >= 0) {
        if (unknown->bytes == 0)
            unknown->text = text;
        unknown->bytes += bytes;
        return DT_OK;
    }
    DT_PASS(emit_stretch(model, work, unknown));
    return emit_text(model, work, text, bytes);
}

static dt_status encode(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    stretch unknown = {0};
    DT_PASS(dt_unigram_best(model, work, text, bytes, emit_fused, &unknown));
    return emit_stretch(model, work, &unknown);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static dt_status read_piece(dt_tokenizer *t, dt_unigram *u, const json_t *pair, size_t id, dt_error *err)
{
    const json_t *text = json_array_get(pair, 0), *score = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_string(text) || !json_is_number(score))
        return dt_fail(err, DT_FORMAT, "\"vocab\"[%zu] is not a [piece, score]", id);
    u->score[id] = json_number_value(score);
    if (!dt_vocab_add(&t->vocab, t->arena, json_string_value(text), json_string_length(text), (int32_t)id))
        return dt_fail_memory(err, 0, "a vocabulary");
    return DT_OK;
}

/* A piece that occurs twice is known by its last id, as in the reference. */
static dt_status fill_trie(dt_tokenizer *t, dt_unigram *u, dt_error *err)
{
    double least = INFINITY;
    for (uint32_t i = 0; i < t->vocab.count; i++) {
        const dt_entry *entry = &t->vocab.entry[i];
        int32_t id = dt_vocab_find(&t->vocab, entry->text, entry->bytes);
        if (u->score[i] < least)
            least = u->score[i];
        if (entry->bytes > 0 && !dt_trie_insert(&u->trie, entry->text, entry->bytes, id))
            return dt_fail(err, DT_LIMIT, "the vocabulary's pieces are too many or too long");
    }
    u->unk_score = least - 10.0;
    return DT_OK;
}

dt_status dt_unigram_read(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    const json_t *vocab = dt_json_get(json, "vocab");
    size_t count = json_array_size(vocab);
    if (!json_is_array(vocab) || count > DT_VOCAB_LIMIT)
        return dt_fail(err, DT_FORMAT, "\"vocab\" of a Unigram model is not an array of [piece, score]");
    dt_unigram *u = DT_NEW(t->arena, dt_unigram);
    if (u == NULL || !dt_trie_create(&u->trie, t->arena) || !dt_vocab_create(&t->vocab, t->arena, count) ||
        (u->score = DT_NEW_ARRAY(t->arena, double, count + 1)) == NULL)
        return dt_fail_memory(err, count * sizeof(double), "a Unigram model");
    for (size_t i = 0; i < count; i++)
        DT_PASS(read_piece(t, u, json_array_get(vocab, i), i, err));
    int64_t unk = -1;
    DT_PASS(dt_json_int(json, "unk_id", &unk, err));
    if (unk < -1 || unk >= (int64_t)count)
        return dt_fail(err, DT_FORMAT, "unk_id is %lld, the vocabulary has %zu pieces", (long long)unk,
                       count);
    t->model.unk = (int32_t)unk;
    DT_PASS(dt_json_bool(json, "byte_fallback", &t->model.byte_fallback, err));
    DT_PASS(fill_trie(t, u, err));
    dt_find_byte_tokens(&t->model, &t->vocab);
    t->model.unigram = u;
    t->model.kind = "unigram";
    t->model.encode = encode;
    return DT_OK;
}
