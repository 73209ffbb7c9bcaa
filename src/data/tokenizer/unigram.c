/*
 * unigram.c - Viterbi over byte positions, plainly and word by word, and the Unigram model of tokenizer.json.
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

#include "data/tokenizer/bpe.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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

static double piece_score(const dt_unigram *u, int32_t id, size_t bytes)
{
    return u->bonus != NULL && u->bonus[id] ? (double)((float)bytes * u->per_byte - 0.1f) : u->score[id];
}

/* Extend the path that ends at `at` by every piece that begins there, but by none of `most` bytes or more. */
static uint64_t extend(const dt_model_part *model, node *best, const char *text, size_t bytes, size_t at,
                       size_t most)
{
    const dt_unigram *u = model->unigram;
    size_t letter = dt_utf8_length(text[at]), end = at;
    double here = best[at].score;
    bool covered = false;
    for (uint32_t place = 0; end < bytes;) {
        place = dt_darray_step(&u->pieces, place, (unsigned char)text[end]);
        if (place == 0)
            break;
        end++;
        int32_t id = u->pieces.unit[place].value;
        if (id < 0 || end - at >= most)
            continue;
        offer(&best[end], piece_score(u, id, end - at) + here, id, at, u->f32);
        covered |= end - at == letter;
    }
    if (!covered)
        offer(&best[at + letter], u->unk_score + here, model->unk, at, u->f32);
    return end - at + 1;
}

/* The same by the plain trie. */
static void extend_plain(const dt_model_part *model, node *best, const char *text, size_t bytes, size_t at)
{
    const dt_unigram *u = model->unigram;
    size_t letter = dt_utf8_length(text[at]);
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
        offer(&best[end], piece_score(u, id, end - at) + best[at].score, id, at, u->f32);
        covered |= end - at == letter;
    }
    if (!covered)
        offer(&best[at + letter], u->unk_score + best[at].score, model->unk, at, u->f32);
}

/* Nodes for a text whose path so far scores `score`. NULL when memory is short. */
static node *start(dt_work *work, size_t bytes, double score)
{
    node *best = dt_block_need(work, &work->nodes, (bytes + 1) * sizeof *best);
    for (size_t i = 1; best != NULL && i <= bytes; i++)
        best[i].begin = UINT32_MAX;
    if (best != NULL)
        best[0] = (node){.score = score};
    return best;
}

/* Turn the chain of beginnings round, and emit: best[begin].score becomes the end of the piece that begins there. */
static dt_status emit_path(const dt_model_part *model, dt_work *work, node *best, const char *text,
                           size_t bytes, dt_unigram_emit emit, void *context)
{
    size_t next;
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

static dt_status check_length(const dt_work *work, size_t bytes)
{
    if (bytes <= INT32_MAX / 16)
        return DT_OK;
    return dt_fail(work->err, DT_LIMIT, "a text of %zu bytes; at most %d can be encoded", bytes,
                   INT32_MAX / 16);
}

dt_status dt_unigram_best_plain(const dt_model_part *model, dt_work *work, const char *text, size_t bytes,
                                dt_unigram_emit emit, void *context)
{
    DT_PASS(check_length(work, bytes));
    node *best = start(work, bytes, 0);
    if (best == NULL)
        return dt_work_no_memory(work);
    for (size_t at = 0; at < bytes; at += dt_utf8_length(text[at]))
        extend_plain(model, best, text, bytes, at);
    return emit_path(model, work, best, text, bytes, emit, context);
}

/* A word behind a path of *score, which becomes that of the path with it. */
static dt_status best_of_word(const dt_model_part *model, dt_work *work, const char *text, size_t bytes,
                              double *score, dt_unigram_emit emit, void *context)
{
    node *best = start(work, bytes, *score);
    if (best == NULL)
        return dt_work_no_memory(work);
    for (size_t at = 0; at < bytes; at += dt_utf8_length(text[at]))
        work->steps += extend(model, best, text, bytes, at, SIZE_MAX);
    *score = best[bytes].score;
    return emit_path(model, work, best, text, bytes, emit, context);
}

/*
 * May a word be its own piece without looking, behind a path of `score`? Its margin was computed behind 0; sums of
 * up to DT_WORD_BYTES terms that were rounded at most that often differ by less than this from exact ones.
 */
static bool certain(const dt_unigram *u, const dt_word *word, double score)
{
    double unit = u->f32 ? (double)FLT_EPSILON : DBL_EPSILON;
    return (double)word->margin > (fabs(score) + 2048) * unit * (DT_WORD_BYTES + 1);
}

/*
 * Where no piece has a low line behind another letter, every path goes through the place between them, so a word's
 * best pieces need nothing of the text but the score so far (which says how sums are rounded).
 */
dt_status dt_unigram_best(const dt_model_part *model, dt_work *work, const char *text, size_t bytes,
                          dt_unigram_emit emit, void *context)
{
    const dt_unigram *u = model->unigram;
    double score = 0;
    DT_PASS(check_length(work, bytes));
    for (size_t at = 0, used; at < bytes; at += used) {
        used = u->breaks_at_spaces ? dt_bpe_segment(text + at, bytes - at) : bytes;
        work->steps++;
        const dt_word *word = dt_words_find(&u->words, text + at, used);
        if (word != NULL && certain(u, word, score)) {
            score += u->score[word->id];
            if (u->f32)
                score = (double)(float)score;
            DT_PASS(emit(model, work, word->id, text + at, used, context));
        } else {
            DT_PASS(best_of_word(model, work, text + at, used, &score, emit, context));
        }
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
    return id >= 0 ? dt_emit_id(work, id) : emit_text(model, work, text, bytes);
}

static dt_status encode(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    stretch unknown = {0};
    DT_PASS(dt_unigram_best(model, work, text, bytes, emit_fused, &unknown));
    return emit_stretch(model, work, &unknown);
}

/* ---- the layout for speed ----------------------------------------------------------------------------------- */

/* How much worse a piece's text is in any other way; below 0 if the piece is not the best. */
static double margin_of(const dt_model_part *model, dt_work *work, const dt_entry *entry)
{
    node *best = start(work, entry->bytes, 0);
    if (best == NULL)
        return -1;
    for (size_t at = 0; at < entry->bytes; at += dt_utf8_length(entry->text[at]))
        extend(model, best, entry->text, entry->bytes, at, entry->bytes);
    return model->unigram->score[entry->id] - best[entry->bytes].score;
}

static void fill_words(const dt_tokenizer *t, dt_unigram *u, dt_work *work)
{
    for (uint32_t i = 0; i < t->vocab.count; i++) {
        const dt_entry *entry = &t->vocab.entry[i];
        size_t letter = entry->bytes > 0 ? dt_utf8_length(entry->text[0]) : 0, used;
        if (letter == 0 || letter >= entry->bytes || entry->bytes > DT_WORD_BYTES ||
            entry->id == t->model.unk || (u->bonus != NULL && u->bonus[entry->id]) ||
            dt_trie_longest(&u->trie, entry->text, entry->bytes, &used) != entry->id || used != entry->bytes)
            continue;
        double margin = margin_of(&t->model, work, entry);
        if (margin > 0)
            dt_words_put(&u->words, entry->text, entry->bytes, entry->id, (float)(margin * 0.999));
    }
}

dt_status dt_unigram_finish(dt_tokenizer *t, dt_unigram *u, dt_error *err)
{
    dt_work work = {.tokenizer = t, .arena = dt_arena_create(), .err = err};
    t->model.unigram = u;
    t->model.kind = "unigram";
    u->breaks_at_spaces = dt_bpe_breaks_at_spaces(&t->vocab);
    bool done = work.arena != NULL && dt_darray_create(&u->pieces, t->arena, &u->trie);
    if (done && u->breaks_at_spaces && (done = dt_words_create(&u->words, t->arena, t->vocab.count)))
        fill_words(t, u, &work);
    dt_arena_destroy(work.arena);
    return done ? DT_OK : dt_fail_memory(err, u->trie.nodes * sizeof(dt_unit), "a unigram model");
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/*
 * A score as tokenizers reads it. serde_json takes all digits as one integer and divides by a power of ten, which
 * rounds twice where strtod rounds once. Paths of the same pieces in another order tie but for such last bits.
 * The digits are the shortest that give the number: files are written so.
 */
static double as_read_by_tokenizers(double score)
{
    char text[48];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, fabs(score));
        if (strtod(text, NULL) == fabs(score))
            break;
    }
    uint64_t all = 0;
    int exponent = 0;
    const char *at = text;
    for (; *at != 0 && *at != 'e'; at++) {
        if (*at < '0' || *at > '9')
            continue;
        all = all * 10 + (uint64_t)(*at - '0');
        exponent -= at > text; /* digits behind the point */
    }
    exponent += *at == 'e' ? (int)strtol(at + 1, NULL, 10) : 0;
    for (; all > 0 && all % 10 == 0; exponent++)
        all /= 10;
    if (all < (uint64_t)1 << 53 || exponent >= 0 || exponent < -300) /* rounded once, or far from any score */
        return score;
    snprintf(text, sizeof text, "1e%d", -exponent);
    return copysign((double)all / strtod(text, NULL), score);
}

static dt_status read_piece(dt_tokenizer *t, dt_unigram *u, const json_t *pair, size_t id, dt_error *err)
{
    const json_t *text = json_array_get(pair, 0), *score = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_string(text) || !json_is_number(score))
        return dt_fail(err, DT_FORMAT, "\"vocab\"[%zu] is not a [piece, score]", id);
    u->score[id] = as_read_by_tokenizers(json_number_value(score));
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
    t->model.encode = encode;
    return dt_unigram_finish(t, u, err);
}
