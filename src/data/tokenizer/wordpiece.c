/*
 * wordpiece.c - WordPiece: the longest token that begins the word, then the longest that continues it, and so on.
 *
 * One trie holds everything; continuing tokens are those behind the node that the prefix ("##") leads to.
 */
#include "data/tokenizer/darray.h"
#include "data/tokenizer/parts.h"

#include <string.h>

typedef struct dt_wordpiece {
    dt_trie trie;     /* value = id */
    dt_darray tokens; /* the same, laid out for speed */
    uint32_t inside;  /* the unit that the prefix leads to; UINT32_MAX when nothing continues words */
    const char *prefix;
    size_t prefix_bytes;
    size_t longest_word; /* in characters; longer words are unknown */
} dt_wordpiece;

static bool too_long(const dt_wordpiece *w, const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t at = 0; at < bytes; at += dt_utf8_length(text[at]))
        if (++count > w->longest_word)
            return true;
    return false;
}

/* The unit from which the longest token at a word's inside is searched. */
static uint32_t inside_node(const dt_wordpiece *w)
{
    uint32_t node = 0;
    for (size_t i = 0; i < w->prefix_bytes; i++)
        if ((node = dt_darray_step(&w->tokens, node, (unsigned char)w->prefix[i])) == 0)
            return UINT32_MAX;
    return node;
}

static dt_status encode(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    const dt_wordpiece *w = model->wordpiece;
    size_t before = work->ids.bytes;
    if (too_long(w, text, bytes))
        return dt_emit_id(work, model->unk);
    for (size_t at = 0, used = 0; at < bytes; at += used) {
        uint32_t node = at == 0 ? 0 : w->inside;
        int32_t best = -1;
        for (size_t end = at; node != UINT32_MAX && end < bytes; end++) {
            node = dt_darray_step(&w->tokens, node, (unsigned char)text[end]);
            work->steps++;
            if (node == 0)
                break;
            if (w->tokens.unit[node].value >= 0) {
                best = w->tokens.unit[node].value;
                used = end + 1 - at;
            }
        }
        if (best < 0) {
            work->ids.bytes = before; /* one hole makes the whole word unknown */
            return dt_emit_id(work, model->unk);
        }
        DT_PASS(dt_emit_id(work, best));
    }
    return DT_OK;
}

dt_status dt_wordpiece_read(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    dt_wordpiece *w = DT_NEW(t->arena, dt_wordpiece);
    if (w == NULL || !dt_trie_create(&w->trie, t->arena))
        return dt_fail_memory(err, sizeof *w, "a WordPiece model");
    const char *unk = "[UNK]";
    size_t unk_bytes = strlen(unk);
    int64_t longest = 100;
    w->prefix = "##";
    w->prefix_bytes = 2;
    DT_PASS(dt_json_vocab(t, json, err));
    DT_PASS(dt_json_text(t, json, "continuing_subword_prefix", &w->prefix, &w->prefix_bytes, err));
    DT_PASS(dt_json_text(t, json, "unk_token", &unk, &unk_bytes, err));
    DT_PASS(dt_json_int(json, "max_input_chars_per_word", &longest, err));
    if (longest < 0)
        return dt_fail(err, DT_FORMAT, "max_input_chars_per_word is %lld", (long long)longest);
    w->longest_word = (size_t)longest;
    t->model.unk = dt_vocab_find(&t->vocab, unk, unk_bytes);
    if (t->model.unk < 0)
        return dt_fail(err, DT_FORMAT, "unk_token \"%s\" is not in the vocabulary", unk);
    for (uint32_t i = 0; i < t->vocab.count; i++) {
        const dt_entry *entry = &t->vocab.entry[i];
        if (entry->bytes > 0 && !dt_trie_insert(&w->trie, entry->text, entry->bytes, entry->id))
            return dt_fail(err, DT_LIMIT, "the vocabulary's tokens are too many or too long");
    }
    if (!dt_darray_create(&w->tokens, t->arena, &w->trie))
        return dt_fail_memory(err, w->trie.nodes * sizeof(dt_unit), "a WordPiece model");
    w->inside = inside_node(w);
    t->model.wordpiece = w;
    t->model.kind = "wordpiece";
    t->model.encode = encode;
    return DT_OK;
}
