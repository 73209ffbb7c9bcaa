/*
 * gguf_describe.c - a tokenizer, wherever it was read from, in GGUF's words: tokens with types and scores, merges, the
 * name of the splitting rule, which tokens stand around a text.
 *
 *   gpt2    byte-level BPE
 *   llama   BPE over characters with low lines for spaces; without scores of its own, a token's is minus the rank of
 *           the merge that makes it: llama.cpp merges the pair with the highest score first
 *   t5      unigram; and tables of whole words, which are a unigram model where every token costs the same
 *   bert    WordPiece, respelled
 *
 * Reading such words back is gguf_vocabulary.c's; whether they mean the same is asked by dt_tokenizer_differences.
 */
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/gguf_words.h"
#include "data/tokenizer/patterns.h"
#include "data/tokenizer/unigram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* llama.cpp's converter gives tokens outside the model these. */
static const float PADDING_SCORE = -10000, ADDED_SCORE = -1000;

typedef struct describing {
    const dt_tokenizer *t;
    dt_arena *arena;
    dt_gguf_vocabulary *v;
    dt_gguf_text *token;
    float *score;
    int64_t *type;
    dt_error *err;
} describing;

static dt_status no_memory(const describing *d)
{
    return dt_fail_memory(d->err, d->v->token_count, "a description of the tokenizer");
}

/* ---- tokens, their types ---- */

static bool put_padding(describing *d, size_t id)
{
    char *name = dt_arena_printf(d->arena, "[PAD%zu]", id);
    if (name == NULL)
        return false;
    d->token[id] = (dt_gguf_text){name, strlen(name)};
    d->type[id] = DT_PIECE_UNUSED;
    d->score[id] = PADDING_SCORE;
    return true;
}

static int64_t model_type(const dt_tokenizer *t, int32_t id, const dt_entry *entry)
{
    unsigned byte;
    char end;
    if (t->piece_type != NULL && id < t->piece_count)
        return t->piece_type[id];
    bool spelled = entry->bytes == 6 && sscanf(entry->text, "<0x%2X%c", &byte, &end) == 2 && end == '>';
    return t->model.byte_fallback && spelled ? DT_PIECE_BYTE : DT_PIECE_NORMAL;
}

static dt_status put_tokens(describing *d)
{
    const dt_tokenizer *t = d->t;
    for (size_t id = 0; id < d->v->token_count; id++) {
        const dt_entry *entry = dt_vocab_entry(&t->vocab, (int32_t)id);
        if (entry == NULL) {
            if (!put_padding(d, id))
                return no_memory(d);
            continue;
        }
        d->token[id] = (dt_gguf_text){entry->text, entry->bytes};
        d->type[id] = model_type(t, (int32_t)id, entry);
        d->score[id] = t->piece_score != NULL && (int32_t)id < t->piece_count ? t->piece_score[id] : 0;
    }
    for (int32_t i = 0; i < t->added.count; i++) {
        const dt_added_token *added = &t->added.token[i];
        if (added->mute || added->id < 0 || (size_t)added->id >= d->v->token_count)
            continue;
        if (dt_vocab_entry(&t->vocab, added->id) == NULL)
            d->score[added->id] = ADDED_SCORE;
        d->token[added->id] = (dt_gguf_text){added->text, added->bytes};
        d->type[added->id] = added->special ? DT_PIECE_CONTROL : DT_PIECE_USER_DEFINED;
    }
    return DT_OK;
}

static dt_status start(describing *d)
{
    dt_gguf_vocabulary *v = d->v;
    *v = (dt_gguf_vocabulary){.token_count = (size_t)dt_tokenizer_vocab_size(d->t)};
    d->token = DT_NEW_ARRAY(d->arena, dt_gguf_text, v->token_count + 1);
    d->score = DT_NEW_ARRAY(d->arena, float, v->token_count + 1);
    d->type = DT_NEW_ARRAY(d->arena, int64_t, v->token_count + 1);
    if (d->token == NULL || d->score == NULL || d->type == NULL)
        return no_memory(d);
    v->token = d->token;
    v->type = d->type;
    v->score = d->score;
    v->type_count = v->score_count = v->token_count;
    v->bos = v->eos = v->separator = v->cls = v->mask = v->eot = v->eom = -1;
    v->unknown = d->t->model.unk;
    v->pad = d->t->special[DT_TOKEN_PAD];
    v->add_space_prefix = v->remove_extra_whitespaces = -1;
    return put_tokens(d);
}

/* Before and after a text at most one token each. */
static dt_status put_frame(describing *d)
{
    const dt_post *post = &d->t->post;
    int32_t text = 0, before = -1, after = -1;
    while (text < post->count && post->item[text] != DT_POST_TEXT)
        text++;
    if (post->item != NULL && (text > 1 || post->count - text > 2))
        return dt_fail(d->err, DT_UNSUPPORTED,
                       "%d tokens are added before a text and %d after it; GGUF knows one each", text,
                       post->count - text - 1);
    if (post->item != NULL && text == 1)
        before = post->item[0];
    if (post->item != NULL && text + 1 < post->count)
        after = post->item[text + 1];
    d->v->add_bos = before >= 0;
    d->v->add_eos = after >= 0;
    d->v->bos = before >= 0 ? before : d->t->special[DT_TOKEN_BOS];
    d->v->eos = after >= 0 ? after : d->t->special[DT_TOKEN_EOS];
    return DT_OK;
}

/* ---- merges ---- */

static int by_rank(const void *a, const void *b)
{
    const dt_pair *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key;
}

/* The pairs that merge, first ones first. */
static dt_status sorted_pairs(const describing *d, dt_pair **out, size_t *count)
{
    const dt_bpe *bpe = d->t->model.bpe;
    *count = 0;
    for (size_t i = 0; i <= bpe->mask; i++)
        *count += bpe->pair[i].to >= 0;
    *out = DT_NEW_ARRAY(d->arena, dt_pair, *count + 1);
    if (*out == NULL)
        return no_memory(d);
    size_t n = 0;
    for (size_t i = 0; i <= bpe->mask; i++)
        if (bpe->pair[i].to >= 0)
            (*out)[n++] = bpe->pair[i];
    qsort(*out, n, sizeof **out, by_rank);
    return DT_OK;
}

static dt_status put_merges(describing *d)
{
    dt_pair *pair = NULL;
    DT_PASS(sorted_pairs(d, &pair, &d->v->merge_count));
    dt_gguf_text *merge = DT_NEW_ARRAY(d->arena, dt_gguf_text, d->v->merge_count + 1);
    if (merge == NULL)
        return no_memory(d);
    for (size_t i = 0; i < d->v->merge_count; i++) {
        const dt_entry *left = dt_vocab_entry(&d->t->vocab, (int32_t)(pair[i].key >> 32)),
                       *right = dt_vocab_entry(&d->t->vocab, (int32_t)(uint32_t)pair[i].key);
        if (left == NULL || right == NULL)
            return dt_fail(d->err, DT_UNSUPPORTED, "merge %zu joins what is no token", i);
        char *text = dt_arena_printf(d->arena, "%s %s", left->text, right->text);
        if (text == NULL)
            return no_memory(d);
        merge[i] = (dt_gguf_text){text, strlen(text)};
    }
    d->v->merge = merge;
    return DT_OK;
}

/* ---- byte-level BPE ---- */

static bool byte_level(const dt_tokenizer *t)
{
    return t->model.bpe != NULL && t->pre_count > 0 && dt_pre_is_byte_level(&t->pre[t->pre_count - 1]);
}

/* What a stage does as a split pattern; NULL: nothing that llama.cpp has patterns for. "" does not split. */
static const char *pattern_of(const dt_pre *pre)
{
    if (strcmp(pre->type, "Split") == 0 && pre->pattern != NULL &&
        (pre->behavior == DT_ISOLATED || (pre->behavior == DT_REMOVED && pre->invert)))
        return pre->pattern;
    if (strcmp(pre->type, "Digits") == 0)
        return pre->individual ? "\\p{N}" : "\\p{N}+";
    if (strcmp(pre->type, "Punctuation") == 0 && pre->behavior == DT_CONTIGUOUS)
        return "[\\p{P}\\$\\+<=>\\^~\\|`]+";
    if (strcmp(pre->type, "ByteLevel") == 0)
        return pre->use_regex ? DT_PATTERN_GPT2 : "";
    return NULL;
}

static dt_status put_pre(describing *d)
{
    const dt_tokenizer *t = d->t;
    const char *stage[DT_PART_LIMIT];
    int stages = 0;
    for (int i = 0; i < t->pre_count; i++) {
        const char *pattern = pattern_of(&t->pre[i]);
        if (pattern == NULL)
            return dt_fail(d->err, DT_UNSUPPORTED, "the pre-tokenizer %s; GGUF knows published splits only",
                           t->pre[i].type);
        if (t->pre[i].add_prefix_space)
            return dt_fail(d->err, DT_UNSUPPORTED,
                           "a space is put before every text (\"add_prefix_space\"), which llama.cpp does "
                           "not do for byte-level BPE");
        if (pattern[0] != 0)
            stage[stages++] = pattern;
    }
    d->v->pre = dt_gguf_pre_name(stage, stages, t->model.bpe->ignore_merges);
    if (d->v->pre == NULL)
        return dt_fail(d->err, DT_UNSUPPORTED, "text is split by %s, for which llama.cpp has no name",
                       stages > 0 ? stage[0] : "nothing");
    return DT_OK;
}

static dt_status describe_gpt2(describing *d)
{
    const dt_bpe *bpe = d->t->model.bpe;
    if (bpe->prefix_bytes > 0 || bpe->suffix_bytes > 0)
        return dt_fail(d->err, DT_UNSUPPORTED, "tokens within or at the end of words are marked (\"%s\")",
                       bpe->prefix_bytes > 0 ? bpe->prefix : bpe->suffix);
    for (int i = 0; i < d->t->normalizer_count; i++)
        if (d->t->normalizer[i].type == NULL || strcmp(d->t->normalizer[i].type, "NFC") != 0)
            return dt_fail(d->err, DT_UNSUPPORTED, "the normalizer %s before byte-level BPE",
                           d->t->normalizer[i].type);
    d->v->model = "gpt2";
    d->v->score_count = 0;
    DT_PASS(put_pre(d));
    return put_merges(d);
}

/* ---- spaces as low lines ---- */

static bool is_low_line(const char *text, size_t bytes)
{
    return text != NULL && bytes == DT_LOW_LINE_BYTES && memcmp(text, DT_LOW_LINE, bytes) == 0;
}

typedef struct spaces {
    bool escaped, prefix, squeezed;
    const dt_charsmap *charsmap;
} spaces;

/* Of a normalizer of tokenizer.json; false: it does something else. */
static bool normalizer_spaces(const dt_normalizer *n, spaces *s)
{
    if (n->type == NULL) { /* sentencepiece's own does it all */
        *s = (spaces){n->escape_spaces, n->dummy_prefix, n->remove_spaces, &n->charsmap};
        return !n->space_as_suffix;
    }
    if (strcmp(n->type, "Prepend") == 0 && is_low_line(n->content, n->content_bytes))
        return s->prefix = true;
    if (strcmp(n->type, "Replace") == 0 && is_low_line(n->content, n->content_bytes) && n->regex == NULL &&
        n->pattern_bytes == 1 && n->pattern[0] == ' ')
        return s->escaped = true;
    if (strcmp(n->type, "Replace") == 0 && n->regex != NULL && n->content_bytes <= DT_LOW_LINE_BYTES)
        return s->squeezed = true; /* " {2,}": runs of spaces */
    if (strcmp(n->type, "Strip") == 0)
        return s->squeezed = true;
    if (strcmp(n->type, "Precompiled") == 0)
        return (s->charsmap = &n->charsmap) != NULL;
    return false;
}

static bool pre_spaces(const dt_pre *pre, spaces *s)
{
    if (strcmp(pre->type, "WhitespaceSplit") == 0)
        return s->squeezed = true;
    if (strcmp(pre->type, "Metaspace") == 0 && is_low_line(pre->text, pre->text_bytes)) {
        s->prefix = pre->prepend != DT_PREPEND_NEVER;
        return s->escaped = true;
    }
    return strcmp(pre->type, "Split") == 0 && pre->pattern == NULL && pre->text_bytes == 1 &&
           pre->text[0] == ' '; /* spaces are low lines by now */
}

static dt_status find_spaces(const describing *d, spaces *s)
{
    *s = (spaces){0};
    for (int i = 0; i < d->t->normalizer_count; i++)
        if (!normalizer_spaces(&d->t->normalizer[i], s))
            return dt_fail(d->err, DT_UNSUPPORTED, "the normalizer %s of a %s model",
                           d->t->normalizer[i].type ? d->t->normalizer[i].type : "of sentencepiece",
                           d->t->model.kind);
    for (int i = 0; i < d->t->pre_count; i++)
        if (!pre_spaces(&d->t->pre[i], s))
            return dt_fail(d->err, DT_UNSUPPORTED, "the pre-tokenizer %s of a %s model", d->t->pre[i].type,
                           d->t->model.kind);
    if (!s->escaped)
        return dt_fail(d->err, DT_UNSUPPORTED, "a %s model whose spaces are no low lines (U+2581)",
                       d->t->model.kind);
    return DT_OK;
}

/* sentencepiece's form: the bytes of a double array, the double array, the replacements. */
static dt_status put_charsmap(describing *d, const dt_charsmap *map)
{
    if (map == NULL || map->unit == NULL)
        return DT_OK;
    size_t array = map->units * sizeof *map->unit, bytes = 4 + array + map->text_bytes;
    uint8_t *out = dt_arena_alloc(d->arena, bytes);
    if (out == NULL)
        return no_memory(d);
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(array >> (8 * i));
    memcpy(out + 4, map->unit, array);
    memcpy(out + 4 + array, map->text, map->text_bytes);
    d->v->charsmap = out;
    d->v->charsmap_bytes = bytes;
    return DT_OK;
}

static dt_status put_spaces(describing *d)
{
    spaces s;
    DT_PASS(find_spaces(d, &s));
    d->v->pre = "default";
    d->v->add_space_prefix = s.prefix;
    d->v->remove_extra_whitespaces = s.squeezed;
    if (d->v->unknown >= 0)
        d->type[d->v->unknown] = DT_PIECE_UNKNOWN;
    return put_charsmap(d, s.charsmap);
}

/* ---- llama, t5 ---- */

static dt_status describe_llama(describing *d)
{
    dt_pair *pair = NULL;
    size_t count = 0;
    d->v->model = "llama";
    DT_PASS(put_spaces(d));
    if (d->t->piece_score != NULL)
        return DT_OK;
    DT_PASS(sorted_pairs(d, &pair, &count));
    for (size_t id = 0; id < d->v->token_count; id++)
        if (d->type[id] == DT_PIECE_NORMAL)
            d->score[id] = -(float)(count + id);
    for (size_t i = count; i-- > 0;) /* the first merge that makes a token is the last to be noted */
        if (d->type[pair[i].to] == DT_PIECE_NORMAL)
            d->score[pair[i].to] = -(float)i;
    return DT_OK;
}

static dt_status describe_unigram(describing *d)
{
    d->v->model = "t5";
    DT_PASS(put_spaces(d));
    for (size_t id = 0; d->t->piece_score == NULL && id < d->v->token_count; id++)
        if (dt_vocab_entry(&d->t->vocab, (int32_t)id) != NULL)
            d->score[id] = (float)d->t->model.unigram->score[id];
    return DT_OK;
}

/* The fewest tokens win, as all cost the same; what is between words (spaces) has no token. */
static dt_status describe_words(describing *d)
{
    if (d->t->normalizer_count > 0 || d->v->unknown < 0)
        return dt_fail(d->err, DT_UNSUPPORTED, "a table of whole words %s",
                       d->v->unknown < 0 ? "without an unknown token" : "behind a normalizer");
    d->v->model = "t5";
    d->v->pre = "default";
    d->v->add_space_prefix = 0;
    d->v->remove_extra_whitespaces = 0; /* llama.cpp would put a space before every word */
    d->type[d->v->unknown] = DT_PIECE_UNKNOWN;
    for (size_t id = 0; id < d->v->token_count; id++)
        if (d->type[id] == DT_PIECE_NORMAL)
            d->score[id] = -1;
    return DT_OK;
}

/* ---- bert ---- */

static bool respell(describing *d, size_t id)
{
    dt_gguf_text *token = &d->token[id];
    if (d->type[id] != DT_PIECE_NORMAL)
        return true;
    if (token->bytes > 2 && memcmp(token->data, "##", 2) == 0) {
        *token = (dt_gguf_text){token->data + 2, token->bytes - 2};
        return true;
    }
    char *text = dt_arena_printf(d->arena, DT_LOW_LINE "%s", token->data);
    if (text != NULL)
        *token = (dt_gguf_text){text, strlen(text)};
    return text != NULL;
}

static dt_status describe_bert(describing *d)
{
    dt_gguf_vocabulary *v = d->v;
    const dt_normalizer *n = d->t->normalizer;
    if (d->t->normalizer_count != 1 || n->type == NULL || strcmp(n->type, "BertNormalizer") != 0 ||
        !n->lower || !n->strip_accents)
        return dt_fail(d->err, DT_UNSUPPORTED,
                       "WordPiece that keeps case or accents; llama.cpp's lower-cases every text");
    if (d->t->pre_count != 1 || strcmp(d->t->pre[0].type, "BertPreTokenizer") != 0)
        return dt_fail(d->err, DT_UNSUPPORTED, "WordPiece without BERT's pre-tokenizer");
    v->model = "bert";
    v->pre = "default";
    v->score_count = 0;
    v->cls = v->bos;
    v->separator = v->eos;
    v->mask = dt_vocab_find(&d->t->vocab, "[MASK]", 6);
    for (size_t id = 0; id < v->token_count; id++)
        if (!respell(d, id))
            return no_memory(d);
    return DT_OK;
}

dt_status dt_tokenizer_to_gguf(const dt_tokenizer *t, dt_arena *arena, dt_gguf_vocabulary *out, dt_error *err)
{
    describing d = {.t = t, .arena = arena, .v = out, .err = err};
    DT_PASS(start(&d));
    DT_PASS(put_frame(&d));
    if (byte_level(t))
        return describe_gpt2(&d);
    if (t->model.bpe != NULL)
        return describe_llama(&d);
    if (t->model.unigram != NULL)
        return describe_unigram(&d);
    if (t->model.wordpiece != NULL)
        return describe_bert(&d);
    if (strcmp(t->model.kind, "wordlevel") == 0)
        return describe_words(&d);
    return dt_fail(err, DT_UNSUPPORTED, "a tokenizer of kind %s", t->model.kind);
}
