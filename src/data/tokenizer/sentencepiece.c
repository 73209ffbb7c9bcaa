/*
 * sentencepiece.c - reads a sentencepiece .model and does what only sentencepiece does: its normalizer, its
 * handling of unknown pieces, its decoder.
 *
 * The file is a protobuf message (sentencepiece.proto); Viterbi is unigram.c's, merging bpe_merge.c's, the pairs
 * that merge are made in sentencepiece_bpe.c.
 */
#include "data/tokenizer/sentencepiece.h"

#include "data/tokenizer/unigram.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- normalizer --------------------------------------------------------------------------------------------- */

/* What the text's beginning turns into: a user-defined symbol as it is, the longest rule, or one character. */
static dt_rule next_rule(const dt_normalizer *n, const char *text, size_t bytes)
{
    dt_rule rule;
    uint32_t code;
    size_t used = 0;
    if (n->symbols != NULL && dt_trie_longest(n->symbols, text, bytes, &used) >= 0)
        return (dt_rule){used, text, used};
    if (dt_charsmap_find(&n->charsmap, text, bytes, true, &rule))
        return rule;
    used = dt_utf8_decode(text, bytes, &code);
    if (used == 0)
        return (dt_rule){1, DT_REPLACEMENT, DT_REPLACEMENT_BYTES};
    return (dt_rule){used, text, used};
}

/* Behind the run of ASCII characters other than spaces that no rule and no symbol touches. */
static size_t plain_run(const dt_normalizer *n, const char *text, size_t bytes, size_t at)
{
    bool rules = n->charsmap.unit != NULL;
    for (; at < bytes; at++) {
        unsigned char c = (unsigned char)text[at];
        if (c >= 0x80 || c == ' ' || (n->symbols != NULL && n->symbols->first[c] != 0))
            break;
        if (rules && (n->charsmap.alone[c] || (at + 1 < bytes && (unsigned char)text[at + 1] >= 0x80)))
            break;
    }
    return at;
}

static void put_spaced(const dt_normalizer *n, dt_text *out, const char *text, size_t bytes)
{
    while (bytes > 0) {
        const char *space = n->escape_spaces ? memchr(text, ' ', bytes) : NULL;
        size_t plain = space == NULL ? bytes : (size_t)(space - text);
        dt_put(out, text, plain);
        if (space != NULL)
            dt_put(out, DT_LOW_LINE, DT_LOW_LINE_BYTES);
        plain += space != NULL;
        text += plain;
        bytes -= plain;
    }
}

static void strip_trailing(dt_text *out, const char *space, size_t bytes)
{
    while (out->bytes >= bytes && memcmp(out->data + out->bytes - bytes, space, bytes) == 0)
        out->bytes -= bytes;
}

dt_status dt_normalize_sentencepiece(const dt_normalizer *n, dt_work *work, dt_piece in, dt_text *out,
                                     size_t *zero)
{
    const char *space = n->escape_spaces ? DT_LOW_LINE : " ";
    size_t space_bytes = strlen(space), at = 0;
    *zero = 0; /* nothing behind this asks for it */
    while (n->remove_spaces && at < in.bytes) {
        dt_rule rule = next_rule(n, in.text + at, in.bytes - at);
        if (rule.bytes != 1 || rule.text[0] != ' ')
            break;
        at += rule.used;
    }
    if (at == in.bytes)
        return DT_OK;
    if (n->dummy_prefix && !n->space_as_suffix)
        dt_put(out, space, space_bytes);
    bool after_space = n->remove_spaces;
    while (at < in.bytes) {
        size_t plain = plain_run(n, in.text, in.bytes, at);
        if (plain > at) {
            dt_put(out, in.text + at, plain - at);
            after_space = false;
            at = plain;
            continue;
        }
        dt_rule rule = next_rule(n, in.text + at, in.bytes - at);
        at += rule.used;
        while (after_space && rule.bytes > 0 && rule.text[0] == ' ') {
            rule.text++;
            rule.bytes--;
        }
        if (rule.bytes == 0)
            continue;
        put_spaced(n, out, rule.text, rule.bytes);
        after_space = n->remove_spaces && rule.text[rule.bytes - 1] == ' ';
    }
    if (n->remove_spaces && !out->failed)
        strip_trailing(out, space, space_bytes);
    if (n->dummy_prefix && n->space_as_suffix)
        dt_put(out, space, space_bytes);
    return out->failed ? dt_work_no_memory(work) : DT_OK;
}

/* ---- encoding ----------------------------------------------------------------------------------------------- */

dt_status dt_spm_emit(const dt_model_part *model, dt_work *work, int32_t id, const char *text, size_t bytes,
                      void *context)
{
    bool *after_unknown = context;
    if (id != model->unk) {
        *after_unknown = false;
        return dt_emit_id(work, id);
    }
    if (model->byte_fallback) {
        for (size_t i = 0; i < bytes; i++)
            DT_PASS(dt_emit_id(work, model->byte_id[(unsigned char)text[i]]));
        return DT_OK;
    }
    bool again = *after_unknown;
    *after_unknown = true;
    return again ? DT_OK : dt_emit_id(work, id);
}

static dt_status encode_unigram(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    bool after_unknown = false;
    return dt_unigram_best(model, work, text, bytes, dt_spm_emit, &after_unknown);
}

/* ---- decoding ----------------------------------------------------------------------------------------------- */

enum { SEEN_TEXT = 0, TOOK_SPACE = 1 }; /* flags of the decoder's state */

static void hand_on(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    if (bytes == 0)
        return;
    run->state[d->index].flag[SEEN_TEXT] = true;
    dt_decoder_next(run, d->index, text, bytes);
}

/* Whole characters of the bytes so far; each byte that is part of none becomes U+FFFD. */
static void drain_bytes(const dt_decoder *d, dt_decoding *run, bool end)
{
    dt_text *bytes = &run->state[d->index].bytes;
    uint32_t code;
    size_t at = 0;
    while (at < bytes->bytes) {
        size_t used = dt_utf8_decode(bytes->data + at, bytes->bytes - at, &code);
        if (used == 0 && !end && dt_utf8_incomplete(bytes->data + at, bytes->bytes - at))
            break;
        if (used > 0)
            hand_on(d, run, bytes->data + at, used);
        else
            hand_on(d, run, DT_REPLACEMENT, DT_REPLACEMENT_BYTES);
        at += used > 0 ? used : 1;
    }
    if (at > 0) {
        memmove(bytes->data, bytes->data + at, bytes->bytes - at);
        bytes->bytes -= at;
    }
}

/* A piece with its low lines as spaces; at the very beginning the space that encoding added goes. */
static void hand_on_piece(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    const dt_normalizer *n = &run->tokenizer->normalizer[run->tokenizer->normalizer_count - 1];
    dt_decoder_state *state = &run->state[d->index];
    bool starts_spaced = bytes >= DT_LOW_LINE_BYTES && memcmp(text, DT_LOW_LINE, DT_LOW_LINE_BYTES) == 0;
    bool at_start = !state->flag[SEEN_TEXT] && !state->flag[TOOK_SPACE];
    if (at_start && starts_spaced && (n->dummy_prefix || n->remove_spaces)) {
        text += DT_LOW_LINE_BYTES;
        bytes -= DT_LOW_LINE_BYTES;
        state->flag[TOOK_SPACE] = !n->remove_spaces; /* removing all spaces, the next piece's goes too */
    }
    while (bytes > 0) {
        const char *low = memmem(text, bytes, DT_LOW_LINE, DT_LOW_LINE_BYTES);
        size_t plain = low == NULL ? bytes : (size_t)(low - text);
        hand_on(d, run, text, plain);
        if (low != NULL)
            hand_on(d, run, " ", 1);
        plain += low != NULL ? DT_LOW_LINE_BYTES : 0;
        text += plain;
        bytes -= plain;
    }
}

void dt_sentencepiece_push(const dt_decoder *d, dt_decoding *run, const char *text, size_t bytes)
{
    const dt_tokenizer *t = run->tokenizer;
    int type = run->id < t->piece_count ? t->piece_type[run->id] : 0;
    if (type == DT_PIECE_BYTE) {
        static const char digits[] = "0123456789ABCDEF";
        char one = (char)((strchr(digits, text[3]) - digits) * 16 + (strchr(digits, text[4]) - digits));
        if (!dt_put(&run->state[d->index].bytes, &one, 1) && run->status == DT_OK)
            run->status = dt_fail_memory(run->err, 1, "decoded text");
        drain_bytes(d, run, false);
        return;
    }
    drain_bytes(d, run, true);
    if (type == 0) /* added by the folder's other files */
        hand_on(d, run, text, bytes);
    else if (type == DT_PIECE_UNKNOWN)
        hand_on(d, run, t->unk_surface, strlen(t->unk_surface));
    else if (type != DT_PIECE_CONTROL)
        hand_on_piece(d, run, text, bytes);
}

void dt_sentencepiece_finish(const dt_decoder *d, dt_decoding *run)
{
    drain_bytes(d, run, true);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static dt_status check_piece(const DtSpm__Piece *piece, size_t id, bool byte_fallback, dt_error *err)
{
    int shown = piece->piece.len < 60 ? (int)piece->piece.len : 60;
    const char *text = (const char *)piece->piece.data;
    if (piece->piece.len == 0)
        return dt_fail(err, DT_FORMAT, "piece %zu is empty", id);
    if (!dt_utf8_valid(text, piece->piece.len))
        return dt_fail(err, DT_FORMAT, "piece %zu is not valid UTF-8", id);
    if (piece->type < DT_PIECE_NORMAL || piece->type > DT_PIECE_BYTE)
        return dt_fail(err, DT_FORMAT, "piece %zu \"%.*s\": type %d, expected 1 to 6", id, shown, text,
                       piece->type);
    if (!isfinite(piece->score))
        return dt_fail(err, DT_FORMAT, "piece %zu \"%.*s\": its score is not a finite number", id, shown,
                       text);
    if (piece->type == DT_PIECE_BYTE && !byte_fallback)
        return dt_fail(err, DT_FORMAT, "piece %zu \"%.*s\" is a byte, but byte_fallback is off", id, shown,
                       text);
    return DT_OK;
}

static dt_status read_pieces(dt_tokenizer *t, const DtSpm__Model *model, bool byte_fallback, dt_error *err)
{
    size_t count = model->n_pieces;
    if (count == 0)
        return dt_fail(err, DT_FORMAT, "the model has no pieces");
    uint8_t *type = DT_NEW_ARRAY(t->arena, uint8_t, count);
    float *score = DT_NEW_ARRAY(t->arena, float, count);
    if (count > DT_VOCAB_LIMIT || type == NULL || score == NULL ||
        !dt_vocab_create(&t->vocab, t->arena, count))
        return dt_fail_memory(err, count, "a vocabulary");
    for (size_t i = 0; i < count; i++) {
        const DtSpm__Piece *piece = model->pieces[i];
        const char *text = (const char *)piece->piece.data;
        DT_PASS(check_piece(piece, i, byte_fallback, err));
        if (dt_vocab_find(&t->vocab, text, piece->piece.len) >= 0)
            return dt_fail(err, DT_FORMAT, "piece %zu \"%.*s\" occurs twice", i,
                           piece->piece.len < 60 ? (int)piece->piece.len : 60, text);
        if (piece->type == DT_PIECE_UNKNOWN && t->model.unk >= 0)
            return dt_fail(err, DT_FORMAT, "pieces %d and %zu are both the unknown one", t->model.unk, i);
        if (piece->type == DT_PIECE_UNKNOWN)
            t->model.unk = (int32_t)i;
        type[i] = (uint8_t)piece->type;
        score[i] = piece->score;
        if (!dt_vocab_add(&t->vocab, t->arena, text, piece->piece.len, (int32_t)i))
            return dt_fail_memory(err, count, "a vocabulary");
    }
    t->piece_type = type;
    t->piece_score = score;
    t->piece_count = (int32_t)count;
    return t->model.unk >= 0 ? DT_OK : dt_fail(err, DT_FORMAT, "no piece is the unknown one");
}

/* A byte piece must be spelled as one, and with byte_fallback all 256 are there. */
static dt_status check_bytes(dt_tokenizer *t, dt_error *err)
{
    dt_find_byte_tokens(&t->model, &t->vocab);
    int32_t bytes = 0;
    for (int32_t i = 0; i < t->piece_count; i++)
        bytes += t->piece_type[i] == DT_PIECE_BYTE;
    int32_t spelled = 0;
    for (int byte = 0; byte < 256; byte++) {
        int32_t id = t->model.byte_id[byte];
        spelled += id >= 0 && t->piece_type[id] == DT_PIECE_BYTE;
    }
    if (spelled != bytes)
        return dt_fail(err, DT_FORMAT, "%d byte pieces are not spelled <0x00> to <0xFF>", bytes - spelled);
    if (t->model.byte_fallback && bytes != 256)
        return dt_fail(err, DT_FORMAT, "byte_fallback is on, but %d of 256 byte pieces are there", bytes);
    return DT_OK;
}

static dt_status read_normalizer(dt_tokenizer *t, const DtSpm__Normalizer *spec, bool suffix, dt_error *err)
{
    dt_normalizer *n = &t->normalizer[0];
    n->run = dt_normalize_sentencepiece;
    n->dummy_prefix = spec == NULL || spec->add_dummy_prefix;
    n->remove_spaces = spec == NULL || spec->remove_extra_whitespaces;
    n->escape_spaces = spec == NULL || spec->escape_whitespaces;
    n->space_as_suffix = suffix;
    t->normalizer_count = 1;
    dt_trie *symbols = NULL;
    for (int32_t i = 0; i < t->piece_count; i++) {
        if (t->piece_type[i] != DT_PIECE_USER_DEFINED)
            continue;
        if (symbols == NULL &&
            ((symbols = DT_NEW(t->arena, dt_trie)) == NULL || !dt_trie_create(symbols, t->arena)))
            return dt_fail_memory(err, sizeof *symbols, "user-defined symbols");
        const dt_entry *entry = &t->vocab.entry[i];
        if (!dt_trie_insert(symbols, entry->text, entry->bytes, i))
            return dt_fail(err, DT_LIMIT, "the user-defined symbols are too many or too long");
    }
    n->symbols = symbols;
    if (spec == NULL)
        return DT_OK;
    return dt_charsmap_parse(&n->charsmap, t->arena, spec->precompiled_charsmap.data,
                             spec->precompiled_charsmap.len, err);
}

static dt_status read_unigram(dt_tokenizer *t, const DtSpm__Model *model, dt_error *err)
{
    dt_unigram *u = DT_NEW(t->arena, dt_unigram);
    bool *bonus = DT_NEW_ARRAY(t->arena, bool, t->piece_count);
    if (u == NULL || bonus == NULL || !dt_trie_create(&u->trie, t->arena) ||
        (u->score = DT_NEW_ARRAY(t->arena, double, t->piece_count)) == NULL)
        return dt_fail_memory(err, (size_t)t->piece_count * sizeof(double), "a unigram model");
    float least = FLT_MAX, most = FLT_MIN; /* FLT_MIN, a positive number, is the reference's start */
    for (int32_t i = 0; i < t->piece_count; i++) {
        const dt_entry *entry = &t->vocab.entry[i];
        int type = t->piece_type[i];
        float score = model->pieces[i]->score;
        u->score[i] = score;
        bonus[i] = type == DT_PIECE_USER_DEFINED;
        if (type == DT_PIECE_NORMAL && score < least)
            least = score;
        if (type == DT_PIECE_NORMAL && score > most)
            most = score;
        if (type != DT_PIECE_NORMAL && type != DT_PIECE_USER_DEFINED)
            continue;
        if (!dt_trie_insert(&u->trie, entry->text, entry->bytes, i))
            return dt_fail(err, DT_LIMIT, "the pieces are too many or too long");
    }
    u->bonus = bonus;
    u->per_byte = most;
    u->unk_score = least - 10.0f;
    u->f32 = true;
    t->model.encode = encode_unigram;
    return dt_unigram_finish(t, u, err);
}

/* The id of a control piece with this spelling. */
static int32_t control_id(const dt_tokenizer *t, const ProtobufCBinaryData *name, const char *standard)
{
    int32_t id = name != NULL && name->data != NULL
                     ? dt_vocab_find(&t->vocab, (const char *)name->data, name->len)
                     : dt_vocab_find(&t->vocab, standard, strlen(standard));
    return id >= 0 && t->piece_type[id] == DT_PIECE_CONTROL ? id : -1;
}

static dt_status read_model(dt_tokenizer *t, const DtSpm__Model *model, dt_error *err)
{
    static const DtSpm__Trainer standard = DT_SPM__TRAINER__INIT;
    const DtSpm__Trainer *trainer = model->trainer_spec != NULL ? model->trainer_spec : &standard;
    t->model.byte_fallback = trainer->byte_fallback;
    DT_PASS(read_pieces(t, model, trainer->byte_fallback, err));
    DT_PASS(check_bytes(t, err));
    DT_PASS(read_normalizer(t, model->normalizer_spec, trainer->treat_whitespace_as_suffix, err));
    if (trainer->model_type == 1)
        DT_PASS(read_unigram(t, model, err));
    else if (trainer->model_type == 2)
        DT_PASS(dt_spm_read_bpe(t, model, err));
    else
        return dt_fail(err, DT_UNSUPPORTED, "model_type %d; known are 1 (unigram) and 2 (BPE)",
                       trainer->model_type);
    if (model->denormalizer_spec != NULL && model->denormalizer_spec->precompiled_charsmap.len > 0)
        return dt_fail(err, DT_UNSUPPORTED, "a denormalizer (denormalizer_spec with a charsmap)");
    t->unk_surface = " \xE2\x81\x87 ";
    if (trainer->has_unk_surface)
        t->unk_surface =
            dt_arena_text_n(t->arena, (const char *)trainer->unk_surface.data, trainer->unk_surface.len);
    if (t->unk_surface == NULL)
        return dt_fail_memory(err, trainer->unk_surface.len, "the unknown piece's surface");
    if (!dt_utf8_valid(t->unk_surface, strlen(t->unk_surface)))
        return dt_fail(err, DT_FORMAT, "trainer_spec.unk_surface is not valid UTF-8");
    t->special[DT_TOKEN_BOS] = control_id(t, &trainer->bos_piece, "<s>");
    t->special[DT_TOKEN_EOS] = control_id(t, &trainer->eos_piece, "</s>");
    t->special[DT_TOKEN_PAD] = control_id(t, &trainer->pad_piece, "<pad>");
    t->special[DT_TOKEN_UNK] = t->model.unk;
    return DT_OK;
}

dt_status dt_spm_read(dt_tokenizer *t, const DtSpm__Model *model, dt_error *err)
{
    t->raw_bytes = true;
    t->decoder[0] = (dt_decoder){.push = dt_sentencepiece_push, .finish = dt_sentencepiece_finish};
    t->decoder_count = 1;
    return read_model(t, model, err);
}

dt_status dt_tokenizer_read_sentencepiece(dt_tokenizer *t, const void *data, size_t bytes, dt_error *err)
{
    if (bytes > (64u << 20))
        return dt_fail(err, DT_LIMIT, "a sentencepiece model of %zu bytes; at most 64 MiB are read", bytes);
    DtSpm__Model *model = dt_spm__model__unpack(NULL, bytes, data);
    if (model == NULL)
        return dt_fail(err, DT_FORMAT, "not a sentencepiece model: its %zu bytes are no protobuf ModelProto",
                       bytes);
    dt_status status = t->fairseq ? dt_fairseq_read(t, model, err) : dt_spm_read(t, model, err);
    dt_spm__model__free_unpacked(model, NULL);
    return status;
}
