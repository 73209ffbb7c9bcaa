/*
 * added_tokens.c - tokens that are cut out of a text before the model sees it: specials and what users add.
 *
 * Two searches, as in the reference: tokens that are not "normalized" in the raw text, the others in the normalized
 * one (where they are looked for in their own normalized form). At each place the longest token wins; what a
 * rejected match covered is not searched again.
 */
#include "data/tokenizer/bpe.h"

#include <string.h>

dt_status dt_added_create(dt_tokenizer *t, int32_t capacity, dt_error *err)
{
    dt_added *added = &t->added;
    *added = (dt_added){.capacity = capacity};
    added->token = DT_NEW_ARRAY(t->arena, dt_added_token, capacity + 1);
    if (added->token == NULL || !dt_vocab_create(&added->vocab, t->arena, (size_t)capacity) ||
        !dt_trie_create(&added->raw, t->arena) || !dt_trie_create(&added->normalized, t->arena))
        return dt_fail_memory(err, (size_t)capacity * sizeof *added->token, "added tokens");
    return DT_OK;
}

const dt_added_token *dt_added_find(const dt_tokenizer *t, const char *text, size_t bytes)
{
    int32_t id = dt_vocab_find(&t->added.vocab, text, bytes);
    const dt_entry *entry = dt_vocab_entry(&t->added.vocab, id);
    return entry == NULL ? NULL : &t->added.token[entry - t->added.vocab.entry];
}

dt_status dt_added_add(dt_tokenizer *t, dt_added_token token, dt_error *err)
{
    dt_added *added = &t->added;
    if (token.bytes == 0)
        return DT_OK;
    if (added->count == added->capacity)
        return dt_fail(err, DT_INTERNAL, "more added tokens than announced");
    int32_t known = dt_vocab_find(&t->vocab, token.text, token.bytes);
    int32_t top = t->vocab.max_id > added->vocab.max_id ? t->vocab.max_id : added->vocab.max_id;
    if (known >= 0) /* a token of the model keeps its id, whatever the list says */
        token.id = known;
    else if (token.id < 0)
        token.id = top + 1;
    if (token.id >= DT_VOCAB_LIMIT)
        return dt_fail(err, DT_LIMIT, "added token \"%s\": id %d is beyond %d", token.text, token.id,
                       DT_VOCAB_LIMIT);
    if (!dt_vocab_add(&added->vocab, t->arena, token.text, token.bytes, token.id))
        return dt_fail_memory(err, token.bytes, "an added token");
    token.text = token.shown = added->vocab.entry[added->count].text;
    token.shown_bytes = token.bytes;
    added->token[added->count++] = token;
    return DT_OK;
}

/* The form of a normalized token that is searched for, and that decoding undoes. */
static dt_status normalize_token(dt_tokenizer *t, dt_work *work, dt_added_token *token)
{
    dt_piece form = {token->text, token->bytes, dt_utf8_length(token->text[0])};
    DT_TRY(dt_normalize(work, form, &form), work->err, "while normalizing the added token \"%s\"",
           token->text);
    token->shown = dt_arena_text_n(t->arena, form.text, form.bytes);
    token->shown_bytes = form.bytes;
    return token->shown != NULL ? DT_OK : dt_fail_memory(work->err, form.bytes, "an added token");
}

static dt_status add_to_search(dt_tokenizer *t, dt_work *work, int32_t index)
{
    dt_added_token *token = &t->added.token[index];
    if (token->normalized)
        DT_PASS(normalize_token(t, work, token));
    if (token->shown_bytes == 0 || token->mute)
        return DT_OK;
    dt_trie *trie = token->normalized ? &t->added.normalized : &t->added.raw;
    t->added.begins[token->normalized][(unsigned char)token->shown[0]] = true;
    if (dt_trie_insert(trie, token->shown, token->shown_bytes, index))
        return DT_OK;
    return dt_fail(work->err, DT_LIMIT, "the added tokens are too many or too long");
}

dt_status dt_added_finish(dt_tokenizer *t, dt_error *err)
{
    dt_work work = {.tokenizer = t, .arena = t->arena, .err = err};
    dt_status status = DT_OK;
    for (int special = 1; special >= 0; special--) /* of two that look alike the special one is found */
        for (int32_t i = 0; i < t->added.count && status == DT_OK; i++)
            if (t->added.token[i].special == special)
                status = add_to_search(t, &work, i);
    dt_text_free(&work.normal[0]);
    dt_text_free(&work.normal[1]);
    dt_regex_space_free(&work.regex);
    return status != DT_OK ? status : dt_bpe_finish(t, err);
}

/* ---- searching ---------------------------------------------------------------------------------------------- */

/* The text may be invalid UTF-8 here, when sentencepiece's normalizer is to deal with it. */
static uint32_t code_at(const char *text, size_t bytes, size_t at, size_t *used)
{
    uint32_t code;
    *used = dt_utf8_decode(text + at, bytes - at, &code);
    if (*used > 0)
        return code;
    *used = 1;
    return 0xFFFD;
}

static uint32_t code_before(const char *text, size_t at, size_t *used)
{
    size_t begin = at - 1;
    while (begin > 0 && at - begin < 4 && ((unsigned char)text[begin] & 0xC0) == 0x80)
        begin--;
    uint32_t code = code_at(text, at, begin, used);
    if (*used == at - begin)
        return code;
    *used = 1;
    return 0xFFFD;
}

static bool single_word(const char *text, size_t bytes, size_t begin, size_t end)
{
    size_t used;
    return (begin == 0 || !dt_is_word(code_before(text, begin, &used))) &&
           (end == bytes || !dt_is_word(code_at(text, bytes, end, &used)));
}

typedef struct cut {
    size_t begin, end;
    const dt_added_token *token;
} cut;

static void swallow_spaces(cut *found, const char *text, size_t bytes, size_t from)
{
    size_t used;
    if (found->token->lstrip)
        while (found->begin > from && dt_is_space(code_before(text, found->begin, &used)))
            found->begin -= used;
    if (found->token->rstrip)
        while (found->end < bytes && dt_is_space(code_at(text, bytes, found->end, &used)))
            found->end += used;
}

/* The next added token at or after *search; text before `from` is taken. */
static bool next_cut(dt_work *work, bool normalized, const char *text, size_t bytes, size_t from,
                     size_t *search, cut *found)
{
    const dt_added *added = &work->tokenizer->added;
    const dt_trie *trie = normalized ? &added->normalized : &added->raw;
    const bool *begins = added->begins[normalized];
    for (size_t at = *search, used = 1; trie->nodes > 0 && at < bytes; at += used) {
        used = 1;
        if (!begins[(unsigned char)text[at]])
            continue;
        int32_t index = dt_trie_longest(trie, text + at, bytes - at, &used);
        work->steps += used;
        if (index < 0) {
            used = 1;
            continue;
        }
        *found = (cut){at, at + used, &added->token[index]};
        if ((work->plain_special && found->token->special) ||
            (found->token->single_word && !single_word(text, bytes, at, at + used)))
            continue;
        *search = at + used;
        swallow_spaces(found, text, bytes, from);
        if (found->begin < from) /* it begins in spaces that the last one swallowed */
            found->begin = from;
        if (found->end < from)
            found->end = from;
        return true;
    }
    return false;
}

/* What lies between tokens of the raw text: normalize it, cut once more, and on to the pre-tokenizers. */
static dt_status encode_between(dt_work *work, const char *text, size_t begin, size_t end)
{
    if (begin == end)
        return DT_OK;
    dt_piece piece = {text + begin, end - begin, begin == 0 ? dt_utf8_length(text[0]) : 0};
    if (piece.zero > piece.bytes) /* only sentencepiece's normalizer is given invalid text */
        piece.zero = piece.bytes;
    DT_PASS(dt_normalize(work, piece, &piece));
    size_t from = 0, search = 0;
    cut found;
    while (next_cut(work, true, piece.text, piece.bytes, from, &search, &found)) {
        size_t zero = piece.zero > from ? piece.zero - from : 0;
        DT_PASS(dt_pre_next(work, -1, (dt_piece){piece.text + from, found.begin - from, zero}));
        DT_PASS(dt_emit_id(work, found.token->id));
        from = found.end;
    }
    size_t zero = piece.zero > from ? piece.zero - from : 0;
    return dt_pre_next(work, -1, (dt_piece){piece.text + from, piece.bytes - from, zero});
}

dt_status dt_added_encode(dt_work *work, const char *text, size_t bytes)
{
    size_t from = 0, search = 0;
    cut found;
    while (next_cut(work, false, text, bytes, from, &search, &found)) {
        DT_PASS(encode_between(work, text, from, found.begin));
        DT_PASS(dt_emit_id(work, found.token->id));
        from = found.end;
    }
    return encode_between(work, text, from, bytes);
}
