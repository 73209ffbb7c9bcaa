/*
 * gguf_vocabulary.c - the tokenizer inside a GGUF file, as llama.cpp's converters write it.
 *
 *   gpt2    byte-level BPE with merges; how text is split is a name ("tokenizer.ggml.pre")
 *   llama   a sentencepiece BPE model: pieces, scores, types
 *   t5      a sentencepiece unigram model, with its charsmap
 *   bert    WordPiece whose tokens are respelled: words begin with a low line, and "##" is gone
 *
 * Reading the container is base/gguf.h's; each kind is put into the form of the reader that it came from.
 */
#include "base/gguf.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/companions.h"
#include "data/tokenizer/gguf_words.h"
#include "data/tokenizer/patterns.h"
#include "data/tokenizer/sentencepiece.h"
#include "data/tokenizer/splits.h"

#include <string.h>

typedef struct reading {
    dt_tokenizer *tokenizer;
    const dt_gguf_vocabulary *v;
    dt_error *err;
} reading;

static int type_of(const dt_gguf_vocabulary *v, size_t id)
{
    return v->type_count > 0 ? (int)v->type[id] : DT_PIECE_NORMAL;
}

static bool yes(int given, bool usual)
{
    return given < 0 ? usual : given > 0;
}

/* ---- what all kinds share ----------------------------------------------------------------------------------- */

/* Control tokens are special, user-defined ones are found in texts as well; `defined`: add those, too. */
static dt_status add_tokens(const reading *r, bool defined)
{
    dt_tokenizer *t = r->tokenizer;
    int32_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1)
            DT_PASS(dt_added_create(t, count, r->err));
        for (size_t id = 0; id < r->v->token_count; id++) {
            int type = type_of(r->v, id);
            if ((type != DT_PIECE_CONTROL && !(defined && type == DT_PIECE_USER_DEFINED)) ||
                r->v->token[id].bytes == 0)
                continue;
            dt_added_token token = {
                .text = r->v->token[id].data, .bytes = r->v->token[id].bytes, .id = (int32_t)id};
            token.special = type == DT_PIECE_CONTROL;
            if (dt_vocab_find(&t->vocab, token.text, token.bytes) != (int32_t)id)
                continue; /* another token has its spelling */
            if (pass == 0)
                count++;
            else
                DT_PASS(dt_added_add(t, token, r->err));
        }
    }
    return DT_OK;
}

static dt_status frame(const reading *r, int64_t before, bool add_before, int64_t after, bool add_after)
{
    const dt_gguf_vocabulary *v = r->v;
    int32_t *special = r->tokenizer->special;
    special[DT_TOKEN_BOS] = (int32_t)v->bos;
    special[DT_TOKEN_EOS] = (int32_t)v->eos;
    special[DT_TOKEN_PAD] = (int32_t)v->pad;
    special[DT_TOKEN_UNK] = r->tokenizer->model.unk;
    if ((add_before && before < 0) || (add_after && after < 0))
        return dt_fail(r->err, DT_FORMAT,
                       "a token is to be added %s every text, but the file does not say which",
                       add_before && before < 0 ? "before" : "after");
    return dt_post_set(r->tokenizer, add_before ? (int32_t)before : -1, add_after ? (int32_t)after : -1,
                       r->err);
}

/* ---- gpt2 --------------------------------------------------------------------------------------------------- */

/* llama.cpp's names for splitting rules. `whole`: a piece that is a token needs no merging. */
static const struct rule {
    const char *pre, *split;
    bool whole, bos;
} rules[] = {
    {"gpt-2", "gpt2", false, false},
    {"phi-2", "gpt2", false, false},
    {"roberta-bpe", "gpt2", false, false},
    {"mpt", "gpt2", false, false},
    {"olmo", "gpt2", false, false},
    {"jais", "gpt2", false, false},
    {"jina-es", "gpt2", false, false},
    {"jina-de", "gpt2", false, false},
    {"jina-v2-es", "gpt2", false, false},
    {"jina-v2-de", "gpt2", false, false},
    {"gigachat", "gpt2", false, false},
    {"llama-bpe", "llama3", true, true},
    {"llama3", "llama3", true, true},
    {"llama-v3", "llama3", true, true},
    {"falcon3", "llama3", true, true},
    {"falcon-h1", "llama3", true, true},
    {"pixtral", "llama3", true, true},
    {"lfm2", "llama3", true, true},
    {"smaug-bpe", "llama3", false, false},
    {"dbrx", "llama3", false, false},
    {"glm4", "llama3", false, false},
    {"chatglm-bpe", "llama3", false, false},
    {"qwen2", "qwen2", false, false},
    {"deepseek-r1-qwen", "qwen2", false, false},
    {"stablelm2", "qwen2", false, false},
    {"megrez", "qwen2", false, false},
    {"hunyuan", "qwen2", false, false},
    {"starcoder", "starcoder", false, false},
    {"refact", "starcoder", false, false},
    {"command-r", "starcoder", false, false},
    {"smollm", "starcoder", false, false},
    {"codeshell", "starcoder", false, false},
    {"exaone", "starcoder", false, false},
    {"minerva-7b", "starcoder", false, false},
    {"falcon", "falcon", false, false},
    {"deepseek-coder", "deepseek-coder", false, false},
    {"deepseek-v3", "deepseek-v3", false, false},
    {"gpt-4o", "o200k", false, false},
    {"llama4", "o200k", false, false},
    {"tekken", "tekken", true, true},
    {"bloom", "bloom", false, false},
    {"gpt3-finnish", "bloom", false, false},
};

/* Spellings of published patterns that match the same: the one in the table of splits. */
static const char *usual(const char *pattern)
{
    static const struct {
        const char *spelled, *usual;
    } row[] = {
        {DT_PATTERN_CL100K, DT_PATTERN_LLAMA3},
        {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", DT_PATTERN_GPT2},
        {"\\d", "\\p{N}"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (strcmp(row[i].spelled, pattern) == 0)
            return row[i].usual;
    return pattern;
}

static bool same_stages(const dt_split *split, const char *const *stage, int stages)
{
    int i = 0;
    for (; i < stages && i < DT_SPLIT_STEPS && split->pattern[i] != NULL; i++)
        if (strcmp(split->pattern[i], usual(stage[i])) != 0)
            return false;
    return i == stages && (i == DT_SPLIT_STEPS || split->pattern[i] == NULL);
}

const char *dt_gguf_pre_name(const char *const *stage, int stages, bool whole)
{
    const char *near = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (!same_stages(dt_split_find(rules[i].split), stage, stages))
            continue;
        if (rules[i].whole == whole)
            return rules[i].pre;
        near = near != NULL ? near : rules[i].pre;
    }
    return near;
}

const char *dt_gguf_pre_split(const char *pre, bool *whole)
{
    for (size_t i = 0; pre != NULL && i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].pre, pre) == 0) {
            *whole = rules[i].whole;
            return rules[i].split;
        }
    return NULL;
}

static dt_status find_rule(const reading *r, const struct rule **rule)
{
    dt_text known = {0};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (r->v->pre != NULL && strcmp(rules[i].pre, r->v->pre) == 0) {
            *rule = &rules[i];
            dt_text_free(&known);
            return DT_OK;
        }
        dt_text_printf(&known, "%s%s", i > 0 ? ", " : "", rules[i].pre);
    }
    dt_status status = dt_fail(r->err, DT_UNSUPPORTED, "tokenizer.ggml.pre is \"%s\"; known are %s",
                               r->v->pre != NULL ? r->v->pre : "(absent)", known.data ? known.data : "");
    dt_text_free(&known);
    return status;
}

static dt_status fill_vocabulary(const reading *r)
{
    const dt_gguf_vocabulary *v = r->v;
    dt_tokenizer *t = r->tokenizer;
    if (!dt_vocab_create(&t->vocab, t->arena, v->token_count))
        return dt_fail_memory(r->err, v->token_count, "a vocabulary");
    for (size_t id = 0; id < v->token_count; id++) {
        if (!dt_utf8_valid(v->token[id].data, v->token[id].bytes))
            return dt_fail(r->err, DT_FORMAT, "tokenizer.ggml.tokens[%zu] is not UTF-8", id);
        if (!dt_vocab_add(&t->vocab, t->arena, v->token[id].data, v->token[id].bytes, (int32_t)id))
            return dt_fail_memory(r->err, v->token_count, "a vocabulary");
    }
    return DT_OK;
}

static dt_status read_gpt2(const reading *r)
{
    const dt_gguf_vocabulary *v = r->v;
    dt_tokenizer *t = r->tokenizer;
    const struct rule *rule = NULL;
    dt_bpe *bpe = DT_NEW(t->arena, dt_bpe);
    DT_PASS(find_rule(r, &rule));
    DT_PASS(fill_vocabulary(r));
    if (bpe == NULL || !dt_bpe_pairs_create(bpe, t->arena, v->merge_count))
        return dt_fail_memory(r->err, v->merge_count * sizeof(dt_pair), "merges");
    bpe->prefix = bpe->suffix = "";
    bpe->ignore_merges = rule->whole;
    dt_text joined = {0};
    dt_status status = DT_OK;
    for (size_t i = 0; i < v->merge_count && status == DT_OK; i++)
        status = dt_bpe_add_merge(t, bpe, &joined, i, v->merge[i].data, v->merge[i].bytes, r->err);
    dt_text_free(&joined);
    DT_TRY(status, r->err, "while reading tokenizer.ggml.merges");
    dt_bpe_install(t, bpe);
    DT_PASS(dt_split_install(t, dt_split_find(rule->split), r->err));
    DT_PASS(add_tokens(r, true));
    t->model.unk = (int32_t)v->unknown;
    return frame(r, v->bos, yes(v->add_bos, rule->bos && v->bos >= 0), v->eos, yes(v->add_eos, false));
}

/* ---- llama, t5: sentencepiece's ----------------------------------------------------------------------------- */

static dt_status read_pieces(const reading *r, DtSpm__Model *model, dt_arena *scratch)
{
    const dt_gguf_vocabulary *v = r->v;
    DtSpm__Piece *piece = DT_NEW_ARRAY(scratch, DtSpm__Piece, v->token_count);
    DtSpm__Piece **list = DT_NEW_ARRAY(scratch, DtSpm__Piece *, v->token_count);
    if (piece == NULL || list == NULL)
        return dt_fail_memory(r->err, v->token_count * sizeof *piece, "the pieces of a vocabulary");
    for (size_t id = 0; id < v->token_count; id++) {
        dt_spm__piece__init(&piece[id]);
        piece[id].piece.data = (uint8_t *)v->token[id].data; /* only read */
        piece[id].piece.len = v->token[id].bytes;
        piece[id].score = v->score[id];
        piece[id].type = type_of(v, id);
        if ((int64_t)id == v->unknown)
            piece[id].type = DT_PIECE_UNKNOWN;
        else if (piece[id].type == DT_PIECE_UNKNOWN && v->unknown >= 0)
            piece[id].type = DT_PIECE_CONTROL;
        model->trainer_spec->byte_fallback |= piece[id].type == DT_PIECE_BYTE;
        list[id] = &piece[id];
    }
    model->pieces = list;
    model->n_pieces = v->token_count;
    return DT_OK;
}

static dt_status read_sentencepiece(const reading *r, bool unigram)
{
    const dt_gguf_vocabulary *v = r->v;
    DtSpm__Model model = DT_SPM__MODEL__INIT;
    DtSpm__Trainer trainer = DT_SPM__TRAINER__INIT;
    DtSpm__Normalizer normalizer = DT_SPM__NORMALIZER__INIT;
    if (v->score_count == 0)
        return dt_fail(r->err, DT_FORMAT, "tokenizer.ggml.scores is missing, which \"%s\" needs", v->model);
    trainer.model_type = unigram ? 1 : 2;
    normalizer.add_dummy_prefix = yes(v->add_space_prefix, true);
    normalizer.remove_extra_whitespaces = yes(v->remove_extra_whitespaces, unigram);
    normalizer.precompiled_charsmap.data = (uint8_t *)v->charsmap; /* only read */
    normalizer.precompiled_charsmap.len = v->charsmap_bytes;
    model.trainer_spec = &trainer;
    model.normalizer_spec = &normalizer;
    dt_arena *scratch = dt_arena_create();
    dt_status status =
        scratch == NULL ? dt_fail_memory(r->err, 0, "a vocabulary") : read_pieces(r, &model, scratch);
    if (status == DT_OK)
        status = dt_spm_read(r->tokenizer, &model, r->err);
    dt_arena_destroy(scratch);
    DT_PASS(status);
    DT_PASS(add_tokens(r, false));
    return frame(r, v->bos, yes(v->add_bos, !unigram && v->bos >= 0), v->eos,
                 yes(v->add_eos, unigram && v->eos >= 0));
}

/* ---- bert --------------------------------------------------------------------------------------------------- */

bool dt_gguf_bert_token(const dt_gguf_vocabulary *v, size_t id, dt_text *out)
{
    const dt_gguf_text *token = &v->token[id];
    bool word = token->bytes > DT_LOW_LINE_BYTES && memcmp(token->data, DT_LOW_LINE, DT_LOW_LINE_BYTES) == 0;
    dt_text_clear(out);
    if (type_of(v, id) != DT_PIECE_NORMAL)
        return dt_put(out, token->data, token->bytes);
    if (word)
        return dt_put(out, token->data + DT_LOW_LINE_BYTES, token->bytes - DT_LOW_LINE_BYTES);
    return dt_put(out, "##", 2) && dt_put(out, token->data, token->bytes);
}

static json_t *bert_vocabulary(const reading *r)
{
    json_t *vocab = json_object();
    dt_text spelled = {0};
    bool done = vocab != NULL;
    for (size_t id = 0; id < r->v->token_count && done; id++)
        done =
            dt_gguf_bert_token(r->v, id, &spelled) &&
            json_object_set_new(vocab, spelled.data ? spelled.data : "", json_integer((json_int_t)id)) == 0;
    dt_text_free(&spelled);
    if (!done) {
        json_decref(vocab);
        dt_fail(r->err, DT_FORMAT, "tokenizer.ggml.tokens are not all UTF-8");
        return NULL;
    }
    return vocab;
}

static dt_status read_bert(const reading *r)
{
    const dt_gguf_vocabulary *v = r->v;
    json_t *vocab = bert_vocabulary(r);
    if (vocab == NULL)
        return DT_FORMAT;
    const char *unknown = v->unknown >= 0 ? dt_arena_text_n(r->tokenizer->arena, v->token[v->unknown].data,
                                                            v->token[v->unknown].bytes)
                                          : "[UNK]";
    DT_PASS(dt_recipe_read_bert(r->tokenizer, vocab, unknown, r->err));
    DT_PASS(add_tokens(r, true));
    int64_t first = v->cls >= 0 ? v->cls : v->bos, last = v->separator >= 0 ? v->separator : v->eos;
    DT_PASS(frame(r, first, yes(v->add_bos, first >= 0), last, yes(v->add_eos, last >= 0)));
    r->tokenizer->special[DT_TOKEN_BOS] = r->tokenizer->special[DT_TOKEN_EOS] =
        -1; /* a frame, no beginning or end */
    return DT_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------- */

static dt_status read_vocabulary(dt_tokenizer *t, const dt_gguf_vocabulary *v, dt_error *err)
{
    reading r = {t, v, err};
    if (v->model == NULL || strcmp(v->model, "none") == 0)
        return dt_fail(err, DT_NOT_FOUND, "the file holds no tokenizer (no tokenizer.ggml.model)");
    if (v->token_count == 0 || v->token_count > DT_VOCAB_LIMIT)
        return dt_fail(err, DT_FORMAT, "tokenizer.ggml.tokens has %zu entries", v->token_count);
    if (strcmp(v->model, "gpt2") == 0)
        return read_gpt2(&r);
    if (strcmp(v->model, "llama") == 0)
        return read_sentencepiece(&r, false);
    if (strcmp(v->model, "t5") == 0)
        return read_sentencepiece(&r, true);
    if (strcmp(v->model, "bert") == 0)
        return read_bert(&r);
    return dt_fail(err, DT_UNSUPPORTED, "tokenizer.ggml.model is \"%s\"; known are gpt2, llama, t5, bert",
                   v->model);
}

dt_status dt_tokenizer_read_gguf(dt_tokenizer *t, dt_gguf *file, dt_error *err)
{
    dt_gguf_vocabulary v;
    DT_PASS(dt_gguf_vocabulary_of(file, &v, err));
    return read_vocabulary(t, &v, err);
}

dt_status dt_tokenizer_of_gguf(dt_tokenizer **out, const dt_gguf_vocabulary *v, dt_error *err)
{
    dt_tokenizer *t = dt_tokenizer_blank();
    *out = NULL;
    if (t == NULL)
        return dt_fail_memory(err, sizeof *t, "a tokenizer");
    dt_status status = read_vocabulary(t, v, err);
    if (status == DT_OK)
        status = dt_added_finish(t, err);
    if (status != DT_OK)
        dt_tokenizer_close(t);
    else
        *out = t;
    return status;
}
