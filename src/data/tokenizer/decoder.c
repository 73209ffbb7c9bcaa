/*
 * decoder.c - the "decoder" of tokenizer.json: token spellings back to text.
 *
 * Each stage is written for tokens as they arrive and holds back what later tokens may still change, so streaming
 * and decoding at once are the same code and cannot differ. A stage behind one that fuses all tokens into one
 * receives that one in parts; where it must see it whole (`gathers`) it waits for the end.
 * Leaves sentencepiece's own decoding to sentencepiece.c.
 */
#include "data/tokenizer/parts.h"

#include <string.h>

static void keep(dt_decoding *run, dt_text *to, const char *text, size_t bytes)
{
    if (!dt_put(to, text, bytes) && run->status == DT_OK)
        run->status = dt_fail_memory(run->err, bytes, "decoded text");
}

void dt_decoder_next(dt_decoding *run, int index, const char *text, size_t bytes)
{
    const dt_tokenizer *t = run->tokenizer;
    if (run->status != DT_OK)
        return;
    if (index + 1 == t->decoder_count) {
        keep(run, &run->out, text, bytes);
        return;
    }
    const dt_decoder *d = &t->decoder[index + 1];
    if (d->gathers)
        keep(run, &run->state[index + 1].gathered, text, bytes);
    else
        d->push(d, run, text, bytes);
}

static dt_status missing_id(const dt_decoding *run, int32_t id, dt_error *err)
{
    const dt_tokenizer *t = run->tokenizer;
    int32_t top = t->vocab.max_id > t->added.vocab.max_id ? t->vocab.max_id : t->added.vocab.max_id;
    return dt_fail(err, DT_INVALID, "token id %d is not in the vocabulary (ids 0 to %d)", id, top);
}

dt_status dt_decoding_push(dt_decoding *run, int32_t id, bool skip_special, dt_error *err)
{
    const dt_tokenizer *t = run->tokenizer;
    const dt_entry *added = dt_vocab_entry(&t->added.vocab, id), *entry = dt_vocab_entry(&t->vocab, id);
    if (added == NULL && entry == NULL)
        return missing_id(run, id, err);
    if (skip_special && dt_tokenizer_is_special(t, id))
        return DT_OK;
    run->id = id;
    run->err = err;
    if (added != NULL) {
        const dt_added_token *token = &t->added.token[added - t->added.vocab.entry];
        dt_decoder_next(run, -1, token->shown, token->shown_bytes);
    } else {
        dt_decoder_next(run, -1, entry->text, entry->bytes);
    }
    return run->status;
}

dt_status dt_decoding_finish(dt_decoding *run, dt_error *err)
{
    const dt_tokenizer *t = run->tokenizer;
    run->err = err;
    for (int i = 0; i < t->decoder_count && run->status == DT_OK; i++) {
        const dt_decoder *d = &t->decoder[i];
        dt_text *gathered = &run->state[i].gathered;
        if (d->gathers)
            d->push(d, run, gathered->data != NULL ? gathered->data : "", gathered->bytes);
        if (d->finish != NULL)
            d->finish(d, run);
    }
    return run->status;
}

void dt_decoding_free(dt_decoding *run)
{
    for (int i = 0; i < DT_PART_LIMIT; i++) {
        dt_text_free(&run->state[i].gathered);
        dt_text_free(&run->state[i].held);
        dt_text_free(&run->state[i].bytes);
    }
    dt_text_free(&run->out);
    dt_regex_space_free(&run->regex);
}

static void hand_on(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    dt_decoder_next(run, d->index, text, bytes);
}

/* Hand on a text that was built for it. */
static void hand_on_built(const dt_decoder *d, dt_decoding *run, dt_text *built)
{
    if (built->failed && run->status == DT_OK)
        run->status = dt_fail_memory(run->err, built->bytes, "decoded text");
    hand_on(d, run, built->data != NULL ? built->data : "", built->bytes);
    dt_text_free(built);
}

/* ---- bytes -------------------------------------------------------------------------------------------------- */

/* Hand on the whole characters of state.bytes; ill-formed parts become `bad`. At the end nothing is kept. */
static void drain(const dt_decoder *d, dt_decoding *run, const char *bad, bool end)
{
    dt_text *bytes = &run->state[d->index].bytes, built = {0};
    uint32_t code;
    size_t at = 0;
    while (at < bytes->bytes) {
        const char *text = bytes->data + at;
        size_t left = bytes->bytes - at, used = dt_utf8_decode(text, left, &code);
        if (used == 0 && !end && dt_utf8_incomplete(text, left))
            break;
        if (used > 0) {
            dt_put(&built, text, used);
        } else {
            dt_put(&built, bad, strlen(bad));
            used = dt_utf8_bad_bytes(text, left);
        }
        at += used;
    }
    if (at > 0) {
        memmove(bytes->data, bytes->data + at, bytes->bytes - at);
        bytes->bytes -= at;
        hand_on_built(d, run, &built);
    }
    dt_text_free(&built);
}

static void push_byte_level(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    dt_text *to = &run->state[d->index].bytes;
    size_t before = to->bytes;
    for (size_t at = 0, used; at < bytes; at += used) {
        int byte = dt_code_to_byte(dt_utf8_peek(text + at, &used));
        if (byte < 0) { /* not a spelling of bytes: an added token, taken as it is */
            to->bytes = before;
            keep(run, to, text, bytes);
            break;
        }
        char one = (char)byte;
        keep(run, to, &one, 1);
    }
    drain(d, run, DT_REPLACEMENT, false);
}

static void finish_byte_level(const dt_decoder *d, dt_decoding *run)
{
    drain(d, run, DT_REPLACEMENT, true);
}

void dt_byte_push(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    const dt_model_part *model = &run->tokenizer->model;
    char one = (char)(run->id - model->byte_id[0]);
    if (run->id >= model->byte_id[0] && run->id <= model->byte_id[255])
        keep(run, &run->state[d->index].bytes, &one, 1);
    else
        keep(run, &run->state[d->index].bytes, text, bytes);
    drain(d, run, "", false);
}

void dt_byte_finish(const dt_decoder *d, dt_decoding *run)
{
    drain(d, run, "", true);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte that "<0xHH>" spells, or -1. */
static int byte_of(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = text[3] == '+' ? 0 : hex_digit(text[3]),
        low = hex_digit(text[4]); /* the reference takes a plus */
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens is text if all of it is valid, else one U+FFFD for each. */
static void finish_byte_fallback(const dt_decoder *d, dt_decoding *run)
{
    dt_text *bytes = &run->state[d->index].bytes;
    if (bytes->bytes == 0)
        return;
    if (dt_utf8_valid(bytes->data, bytes->bytes))
        hand_on(d, run, bytes->data, bytes->bytes);
    else
        for (size_t i = 0; i < bytes->bytes; i++)
            hand_on(d, run, DT_REPLACEMENT, DT_REPLACEMENT_BYTES);
    dt_text_clear(bytes);
}

static void push_byte_fallback(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    int byte = byte_of(text, bytes);
    char one = (char)byte;
    if (byte >= 0) {
        keep(run, &run->state[d->index].bytes, &one, 1);
        return;
    }
    finish_byte_fallback(d, run);
    hand_on(d, run, text, bytes);
}

/* ---- token by token ----------------------------------------------------------------------------------------- */

static void replace_all(dt_text *out, const char *text, size_t bytes, const char *from, size_t from_bytes,
                        const char *to, size_t to_bytes)
{
    for (size_t at = 0; at < bytes;) {
        const char *hit = from_bytes == 0 ? NULL : memmem(text + at, bytes - at, from, from_bytes);
        size_t end = hit == NULL ? bytes : (size_t)(hit - text);
        dt_put(out, text + at, end - at);
        if (hit != NULL)
            dt_put(out, to, to_bytes);
        at = hit == NULL ? bytes : end + from_bytes;
    }
}

static void push_replace(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    dt_text built = {0};
    if (d->regex == NULL) {
        replace_all(&built, text, bytes, d->text, d->text_bytes, d->content, d->content_bytes);
        hand_on_built(d, run, &built);
        return;
    }
    dt_match_walk walk = {0};
    dt_match match;
    bool found = true;
    for (size_t at = 0; found && run->status == DT_OK; at = match.end) {
        run->status = dt_regex_next(d->regex, &run->regex, text, bytes, &walk, &match, &found, run->err);
        if (!found)
            match.begin = match.end = bytes;
        dt_put(&built, text + at, match.begin - at);
        if (found)
            dt_put(&built, d->content, d->content_bytes);
    }
    hand_on_built(d, run, &built);
}

static void push_fuse(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    hand_on(d, run, text, bytes);
}

/* Only behind a fusing stage does the state matter: there the token comes in parts. */
static void push_strip(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    dt_decoder_state *state = &run->state[d->index];
    size_t done = d->joined ? state->index : 0, begin = 0, end = bytes;
    while (done < d->start && bytes - begin >= d->text_bytes &&
           memcmp(text + begin, d->text, d->text_bytes) == 0) {
        begin += d->text_bytes;
        done++;
    }
    if (begin < bytes)
        done = d->start;
    state->index = done;
    for (size_t i = 0; i < d->stop && end - begin >= d->text_bytes &&
                       memcmp(text + end - d->text_bytes, d->text, d->text_bytes) == 0;
         i++)
        end -= d->text_bytes;
    hand_on(d, run, text + begin, end - begin);
}

static void push_metaspace(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    bool first = run->state[d->index].index++ == 0 && d->prefix_space;
    dt_text built = {0};
    replace_all(&built, text, bytes, d->text, d->text_bytes, " ", first ? 0 : 1);
    hand_on_built(d, run, &built);
}

/* The English clean-up that BERT's tokenizer does, in its order. */
static void clean_up(dt_text *text)
{
    static const char *const rules[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules && text->data != NULL; i++) {
        dt_text next = {0};
        replace_all(&next, text->data, text->bytes, rules[i][0], strlen(rules[i][0]), rules[i][1],
                    strlen(rules[i][1]));
        next.failed |= text->failed;
        dt_text_free(text);
        *text = next;
    }
}

static void push_wordpiece(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    bool first = run->state[d->index].index++ == 0;
    bool inside = d->text_bytes <= bytes && memcmp(text, d->text, d->text_bytes) == 0;
    dt_text built = {0};
    if (!first && !inside)
        dt_put(&built, " ", 1);
    size_t skip = !first && inside ? d->text_bytes : 0;
    dt_put(&built, text + skip, bytes - skip);
    if (d->cleanup)
        clean_up(&built);
    hand_on_built(d, run, &built);
}

/* The suffix is a space, but on the last token nothing: so a token waits for the next one. */
static void release_bpe(const dt_decoder *d, dt_decoding *run, bool last)
{
    dt_decoder_state *state = &run->state[d->index];
    if (!state->flag[0])
        return;
    dt_text built = {0};
    replace_all(&built, state->held.data ? state->held.data : "", state->held.bytes, d->text, d->text_bytes,
                " ", last ? 0 : 1);
    dt_text_clear(&state->held);
    state->flag[0] = false;
    hand_on_built(d, run, &built);
}

static void push_bpe(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    release_bpe(d, run, false);
    keep(run, &run->state[d->index].held, text, bytes);
    run->state[d->index].flag[0] = true;
}

static void finish_bpe(const dt_decoder *d, dt_decoding *run)
{
    release_bpe(d, run, true);
}

static void push_ctc(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    dt_decoder_state *state = &run->state[d->index];
    bool again = state->flag[0] && state->bytes.bytes == bytes &&
                 (bytes == 0 || memcmp(state->bytes.data, text, bytes) == 0);
    if (again)
        return;
    dt_text_clear(&state->bytes);
    keep(run, &state->bytes, text, bytes);
    state->flag[0] = true;
    dt_text built = {0};
    replace_all(&built, text, bytes, d->text, d->text_bytes, "", 0);
    if (d->cleanup) {
        dt_text spaced = {0};
        clean_up(&built);
        replace_all(&spaced, built.data ? built.data : "", built.bytes, d->content, d->content_bytes, " ", 1);
        spaced.failed |= built.failed;
        dt_text_free(&built);
        built = spaced;
    }
    if (built.bytes > 0 || built.failed)
        hand_on_built(d, run, &built);
    dt_text_free(&built);
}

/* Without a decoder, tokens are joined by spaces. */
static void push_join(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    if (run->state[d->index].index++ > 0)
        hand_on(d, run, " ", 1);
    hand_on(d, run, text, bytes);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static dt_status read_replace(dt_tokenizer *t, dt_decoder *d, const json_t *json, dt_error *err)
{
    DT_PASS(dt_json_text(t, json, "content", &d->content, &d->content_bytes, err));
    return dt_json_pattern(t, json, &d->text, &d->text_bytes, &d->regex, err);
}

static dt_status read_strip(dt_tokenizer *t, dt_decoder *d, const json_t *json, dt_error *err)
{
    int64_t start = 0, stop = 0;
    DT_PASS(dt_json_text(t, json, "content", &d->text, &d->text_bytes, err));
    DT_PASS(dt_json_int(json, "start", &start, err));
    DT_PASS(dt_json_int(json, "stop", &stop, err));
    if (start < 0 || stop < 0 || d->text_bytes == 0)
        return dt_fail(err, DT_FORMAT,
                       "\"content\" must be a character, \"start\" and \"stop\" not negative");
    d->start = (size_t)start;
    d->stop = (size_t)stop;
    return DT_OK;
}

static dt_status read_metaspace(dt_tokenizer *t, dt_decoder *d, const json_t *json, dt_error *err)
{
    const char *scheme = NULL;
    d->text = DT_LOW_LINE;
    d->text_bytes = DT_LOW_LINE_BYTES;
    d->prefix_space = true;
    DT_PASS(dt_json_text(t, json, "replacement", &d->text, &d->text_bytes, err));
    DT_PASS(dt_json_bool(json, "add_prefix_space", &d->prefix_space, err));
    DT_PASS(dt_json_string(json, "prepend_scheme", &scheme, err));
    if (scheme != NULL)
        d->prefix_space = strcmp(scheme, "never") != 0;
    return DT_OK;
}

static dt_status read_wordpiece(dt_tokenizer *t, dt_decoder *d, const json_t *json, dt_error *err)
{
    d->text = "##";
    d->text_bytes = 2;
    d->cleanup = true;
    DT_PASS(dt_json_bool(json, "cleanup", &d->cleanup, err));
    return dt_json_text(t, json, "prefix", &d->text, &d->text_bytes, err);
}

static dt_status read_bpe(dt_tokenizer *t, dt_decoder *d, const json_t *json, dt_error *err)
{
    d->text = "</w>";
    d->text_bytes = 4;
    return dt_json_text(t, json, "suffix", &d->text, &d->text_bytes, err);
}

static dt_status read_ctc(dt_tokenizer *t, dt_decoder *d, const json_t *json, dt_error *err)
{
    d->text = "<pad>";
    d->text_bytes = 5;
    d->content = "|";
    d->content_bytes = 1;
    d->cleanup = true;
    DT_PASS(dt_json_bool(json, "cleanup", &d->cleanup, err));
    DT_PASS(dt_json_text(t, json, "word_delimiter_token", &d->content, &d->content_bytes, err));
    return dt_json_text(t, json, "pad_token", &d->text, &d->text_bytes, err);
}

static const struct row {
    dt_type_row type;
    void (*push)(const dt_decoder *d, dt_decoding *run, const char *text,
                 size_t bytes); /* NULL: a sequence */
    void (*finish)(const dt_decoder *d, dt_decoding *run);
    dt_status (*read)(dt_tokenizer *t, dt_decoder *d, const json_t *json, dt_error *err);
    bool fuses;
} rows[] = {
    {{"Sequence", "decoders"}, NULL, NULL, NULL, false},
    {{"BPEDecoder", "suffix"}, push_bpe, finish_bpe, read_bpe, false},
    {{"ByteFallback", NULL}, push_byte_fallback, finish_byte_fallback, NULL, false},
    {{"ByteLevel", "trim_offsets"}, push_byte_level, finish_byte_level, NULL, true},
    {{"CTC", "pad_token"}, push_ctc, NULL, read_ctc, false},
    {{"Fuse", NULL}, push_fuse, NULL, NULL, true},
    {{"Metaspace", "replacement"}, push_metaspace, NULL, read_metaspace, false},
    {{"Replace", "pattern"}, push_replace, NULL, read_replace, false},
    {{"Strip", "content"}, push_strip, NULL, read_strip, false},
    {{"WordPiece", "prefix"}, push_wordpiece, NULL, read_wordpiece, false},
};

static dt_status read_one(dt_tokenizer *t, const json_t *json, int depth, dt_error *err)
{
    size_t which;
    DT_PASS(dt_json_type(json, "decoder", rows, sizeof *rows, sizeof rows / sizeof *rows, &which, err));
    if (rows[which].push == NULL) {
        const json_t *list = dt_json_get(json, "decoders");
        if (!json_is_array(list) || depth > 16)
            return dt_fail(err, DT_FORMAT,
                           "decoder Sequence: \"decoders\" must be an array, nested at most 16 deep");
        for (size_t i = 0; i < json_array_size(list); i++)
            DT_PASS(read_one(t, json_array_get(list, i), depth + 1, err));
        return DT_OK;
    }
    if (t->decoder_count == DT_PART_LIMIT)
        return dt_fail(err, DT_LIMIT, "more than %d decoders", DT_PART_LIMIT);
    dt_decoder *d = &t->decoder[t->decoder_count];
    const dt_decoder *before = t->decoder_count > 0 ? d - 1 : NULL;
    *d = (dt_decoder){.push = rows[which].push, .finish = rows[which].finish, .index = t->decoder_count};
    d->text = d->content = "";
    if (rows[which].read != NULL)
        DT_TRY(rows[which].read(t, d, json, err), err, "while reading the decoder %s", rows[which].type.type);
    d->joined = before != NULL && (before->joined || before->fuses);
    d->fuses = rows[which].fuses;
    d->gathers = d->joined && d->push != push_fuse && !(d->push == push_strip && d->stop == 0);
    t->decoder_count++;
    return DT_OK;
}

dt_status dt_decoders_read(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    if (json != NULL)
        return read_one(t, json, 0, err);
    t->decoder[0] = (dt_decoder){.push = push_join, .text = "", .content = ""};
    t->decoder_count = 1;
    return DT_OK;
}
