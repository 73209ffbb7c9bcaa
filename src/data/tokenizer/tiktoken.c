/*
 * tiktoken.c - OpenAI's rank files ("base64 rank" a line), Meta's tokenizer.model of Llama 3 among them.
 *
 * Two neighbours merge if their joined bytes are a token; its rank is its id and says how early. So every way of
 * cutting a token into two tokens is a pair. The file knows neither how text is split before merging nor special
 * tokens: the encoding table does, by the file's name or the number of its ranks. Where tiktoken itself treats
 * special tokens in a text as text (unless told otherwise), so do we: they have ids and spellings, and that is all.
 */
#include "data/tokenizer/base64.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/splits.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_LIMIT = 1024 }; /* bytes of one token; published ones have at most 128 */

typedef struct special {
    int32_t id;
    const char *text;
} special;

typedef struct encoding {
    const char *file; /* how the file's name begins; NULL: any */
    size_t ranks;     /* 0: any */
    const char *split;
    bool in_text; /* special tokens are found in texts */
    bool bos;     /* encoding begins with the first special token */
    special token[12];
    int32_t reserved; /* "<|reserved_special_token_N|>" fill the ids that are free up to here */
} encoding;

static const encoding encodings[] = {
    {"cl100k_base",
     100256,
     "cl100k",
     false,
     false,
     {{100257, "<|endoftext|>"},
      {100258, "<|fim_prefix|>"},
      {100259, "<|fim_middle|>"},
      {100260, "<|fim_suffix|>"},
      {100276, "<|endofprompt|>"}},
     0},
    {"o200k_base",
     199998,
     "o200k",
     false,
     false,
     {{199999, "<|endoftext|>"}, {200018, "<|endofprompt|>"}},
     0},
    {"p50k_base", 50280, "gpt2", false, false, {{50256, "<|endoftext|>"}}, 0},
    {"gpt2", 50256, "gpt2", true, false, {{50256, "<|endoftext|>"}}, 0}, /* as GPT-2's own tokenizer has it */
    {"r50k_base", 50256, "gpt2", false, false, {{50256, "<|endoftext|>"}}, 0},
    {"multilingual", 50257, "gpt2", false, false, {{0}}, 0}, /* Whisper's; its specials depend on the model */
    {"qwen",
     151643,
     "qwen2",
     true,
     false,
     {{151643, "<|endoftext|>"}, {151644, "<|im_start|>"}, {151645, "<|im_end|>"}},
     0},
    {"tokenizer.model",
     128000,
     "llama3",
     true,
     true,
     {{128000, "<|begin_of_text|>"},
      {128001, "<|end_of_text|>"},
      {128004, "<|finetune_right_pad_id|>"},
      {128006, "<|start_header_id|>"},
      {128007, "<|end_header_id|>"},
      {128008, "<|eom_id|>"},
      {128009, "<|eot_id|>"},
      {128010, "<|python_tag|>"}},
     128256},
};
static const encoding unknown_encoding = {.in_text = false};

/* ---- the file ----------------------------------------------------------------------------------------------- */

typedef struct ranks {
    dt_tokenizer *tokenizer;
    dt_arena *scratch;
    dt_vocab bytes; /* as they are; the tokenizer's vocabulary spells them as characters */
    dt_error *err;
} ranks;

static bool add_token(ranks *r, const char *bytes, size_t count, int32_t rank)
{
    char spelled[TOKEN_LIMIT * 2];
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += dt_utf8_encode(dt_byte_to_code((unsigned char)bytes[i]), spelled + length);
    return dt_vocab_add(&r->bytes, r->scratch, bytes, count, rank) &&
           dt_vocab_add(&r->tokenizer->vocab, r->tokenizer->arena, spelled, length, rank);
}

static dt_status bad_line(const ranks *r, size_t line, const char *why)
{
    return dt_fail(r->err, DT_FORMAT, "line %zu: %s; expected \"base64 rank\"", line, why);
}

static dt_status read_rank(const ranks *r, const char *text, size_t bytes, size_t line, int32_t *rank)
{
    int64_t value = 0;
    if (bytes == 0 || bytes > 9)
        return bad_line(r, line, "no rank");
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9')
            return bad_line(r, line, "the rank is not a number");
        value = value * 10 + (text[i] - '0');
    }
    if (value >= DT_VOCAB_LIMIT)
        return bad_line(r, line, "the rank is too large");
    *rank = (int32_t)value;
    return DT_OK;
}

static dt_status read_line(ranks *r, const char *text, size_t bytes, size_t line)
{
    const char *space = memchr(text, ' ', bytes);
    size_t coded = space == NULL ? bytes : (size_t)(space - text);
    int32_t rank = 0;
    dt_text token = {0};
    dt_status status = space == NULL ? bad_line(r, line, "no space") : DT_OK;
    if (status == DT_OK)
        status = read_rank(r, space + 1, bytes - coded - 1, line, &rank);
    if (status == DT_OK &&
        (coded == 0 || coded / 4 * 3 > TOKEN_LIMIT || dt_base64_decode(&token, text, coded) < coded))
        status = bad_line(r, line, "the token is not base64, or too long");
    if (status == DT_OK && token.bytes == 0)
        status = bad_line(r, line, "an empty token");
    if (status == DT_OK &&
        (dt_vocab_find(&r->bytes, token.data, token.bytes) >= 0 || dt_vocab_entry(&r->bytes, rank) != NULL))
        status = bad_line(r, line, "its token or its rank occurred before");
    if (status == DT_OK && !add_token(r, token.data, token.bytes, rank))
        status = dt_fail_memory(r->err, coded, "a tiktoken vocabulary");
    dt_text_free(&token);
    return status;
}

static dt_status read_ranks(ranks *r, const char *text, size_t bytes)
{
    size_t lines = 1;
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    if (!dt_vocab_create(&r->bytes, r->scratch, lines) ||
        !dt_vocab_create(&r->tokenizer->vocab, r->tokenizer->arena, lines))
        return dt_fail_memory(r->err, lines * sizeof(dt_entry), "a tiktoken vocabulary");
    size_t line = 1;
    for (size_t at = 0, end; at < bytes; at = end + 1, line++) {
        const char *newline = memchr(text + at, '\n', bytes - at);
        end = newline == NULL ? bytes : (size_t)(newline - text);
        size_t length = end - at;
        length -= length > 0 && text[at + length - 1] == '\r';
        if (length > 0)
            DT_PASS(read_line(r, text + at, length, line));
    }
    for (int byte = 0; byte < 256; byte++) {
        char one = (char)byte;
        if (dt_vocab_find(&r->bytes, &one, 1) < 0)
            return dt_fail(r->err, DT_FORMAT,
                           "no token is the single byte 0x%02X: these are no tiktoken ranks", byte);
    }
    return DT_OK;
}

/* ---- the pairs ---------------------------------------------------------------------------------------------- */

typedef struct cut {
    int32_t left, right, to;
} cut;

static dt_status add_cuts(const ranks *r, const dt_entry *token, dt_text *cuts)
{
    for (size_t at = 1; at < token->bytes; at++) {
        int32_t left = dt_vocab_find(&r->bytes, token->text, at);
        int32_t right = left < 0 ? -1 : dt_vocab_find(&r->bytes, token->text + at, token->bytes - at);
        cut one = {left, right, token->id};
        if (right >= 0 && !dt_put(cuts, (const char *)&one, sizeof one))
            return dt_fail_memory(r->err, cuts->bytes, "the merges of a tiktoken vocabulary");
    }
    return DT_OK;
}

static dt_status build_pairs(const ranks *r, dt_bpe *bpe)
{
    dt_text cuts = {0};
    dt_status status = DT_OK;
    for (uint32_t i = 0; i < r->bytes.count && status == DT_OK; i++)
        status = add_cuts(r, &r->bytes.entry[i], &cuts);
    size_t count = cuts.bytes / sizeof(cut);
    if (status == DT_OK && !dt_bpe_pairs_create(bpe, r->tokenizer->arena, count))
        status = dt_fail_memory(r->err, count * sizeof(dt_pair), "the merges of a tiktoken vocabulary");
    const cut *one = (const cut *)(const void *)cuts.data;
    for (size_t i = 0; i < count && status == DT_OK; i++)
        dt_bpe_pair_put(bpe, one[i].left, one[i].right, (uint32_t)one[i].to, one[i].to);
    dt_text_free(&cuts);
    return status;
}

/* ---- what the file does not say ----------------------------------------------------------------------------- */

static const encoding *recognise(const char *path, size_t count)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const encoding *by_count = NULL;
    for (size_t i = sizeof encodings / sizeof *encodings; i-- > 0;) {
        if (encodings[i].ranks != count)
            continue;
        by_count = &encodings[i];
        if (name != NULL && dt_starts_with(name, encodings[i].file))
            return by_count;
    }
    return by_count;
}

static dt_status add_special(dt_tokenizer *t, const char *text, int32_t id, bool in_text, dt_error *err)
{
    if (dt_vocab_entry(&t->vocab, id) != NULL)
        return DT_OK;
    return dt_added_add(
        t, (dt_added_token){.text = text, .bytes = strlen(text), .id = id, .special = true, .mute = !in_text},
        err);
}

static dt_status add_specials(dt_tokenizer *t, const encoding *e, dt_error *err)
{
    enum { NAMED = sizeof e->token / sizeof *e->token };
    DT_PASS(dt_added_create(t, t->added.capacity + NAMED + 256, err));
    for (int i = 0; i < NAMED && e->token[i].text != NULL; i++)
        DT_PASS(add_special(t, e->token[i].text, e->token[i].id, e->in_text, err));
    int number = 0;
    for (int32_t id = e->reserved > 0 ? e->token[0].id : 0; id < e->reserved; id++) {
        if (dt_vocab_entry(&t->added.vocab, id) != NULL)
            continue;
        const char *name = dt_arena_printf(t->arena, "<|reserved_special_token_%d|>", number++);
        if (name == NULL)
            return dt_fail_memory(err, 0, "a special token");
        DT_PASS(add_special(t, name, id, e->in_text, err));
    }
    return DT_OK;
}

/* The tokens that begin and end a text, by their spelling. */
static void name_specials(dt_tokenizer *t, const encoding *e)
{
    static const char *const ends[] = {"<|endoftext|>", "<|end_of_text|>"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (t->special[DT_TOKEN_EOS] < 0)
            t->special[DT_TOKEN_EOS] = dt_vocab_find(&t->added.vocab, ends[i], strlen(ends[i]));
    t->special[DT_TOKEN_BOS] = e->bos ? e->token[0].id : t->special[DT_TOKEN_EOS];
}

static dt_status choose_split(const dt_tokenizer *t, const encoding *e, const char *asked,
                              const dt_split **split, dt_error *err)
{
    *split = dt_split_find(asked != NULL ? asked : e->split);
    if (*split != NULL)
        return DT_OK;
    dt_text names = {0};
    dt_split_names(&names);
    dt_status status =
        asked != NULL
            ? dt_fail(err, DT_INVALID, "no split pattern is called \"%s\"; known are %s", asked,
                      names.data ? names.data : "")
            : dt_fail(err, DT_UNSUPPORTED,
                      "%u tiktoken ranks of an encoding that is not known, so not how it splits text",
                      t->vocab.count);
    if (asked == NULL)
        dt_error_try(err, "--split NAME, one of %s", names.data ? names.data : "");
    dt_text_free(&names);
    return status;
}

dt_status dt_tokenizer_read_tiktoken(dt_tokenizer *t, const char *data, size_t bytes, const char *path,
                                     const char *asked, dt_error *err)
{
    dt_bpe *bpe = DT_NEW(t->arena, dt_bpe);
    ranks r = {.tokenizer = t, .scratch = dt_arena_create(), .err = err};
    const dt_split *split = NULL;
    dt_status status = DT_OK;
    if (bpe == NULL || r.scratch == NULL)
        status = dt_fail_memory(err, sizeof *bpe, "a BPE model");
    if (status == DT_OK)
        status = read_ranks(&r, data, bytes);
    if (status == DT_OK)
        status = build_pairs(&r, bpe);
    dt_arena_destroy(r.scratch);
    DT_PASS(status);
    const encoding *e = recognise(path, t->vocab.count);
    e = e != NULL ? e : &unknown_encoding;
    bpe->ignore_merges = true; /* a piece that is a token is that token */
    dt_bpe_install(t, bpe);
    DT_PASS(choose_split(t, e, asked, &split, err));
    DT_PASS(dt_split_install(t, split, err));
    DT_PASS(add_specials(t, e, err));
    name_specials(t, e);
    return dt_post_set(t, e->bos ? e->token[0].id : -1, -1, err);
}
