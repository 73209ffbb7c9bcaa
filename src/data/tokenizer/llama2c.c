/*
 * llama2c.c - the vocabularies of llama2.c: a sentencepiece BPE model's pieces and scores, and nothing else.
 *
 *   i32 longest piece · for each piece: f32 score, i32 bytes, bytes
 *
 * Spaces stand where sentencepiece has low lines, and the ends of texts are respelled; what is a byte or an end is told
 * by spelling and place. They are put back, and sentencepiece's reader does the rest.
 *
 * Peer  llama2.c tokenizer.py (export), run.c (build_tokenizer).
 */
#include "data/tokenizer/sentencepiece.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_PIECE = 4, PIECE_HEAD = 8, PIECE_LIMIT = 4096 };

typedef struct cursor {
    const uint8_t *data;
    size_t bytes, at;
} cursor;

static uint32_t number_at(const uint8_t *b)
{
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

bool dt_llama2c_vocabulary_detect(const void *data, size_t bytes)
{
    static const char unknown[] = "<unk>";
    const uint8_t *b = data;
    size_t n = sizeof unknown - 1;
    return bytes >= FIRST_PIECE + PIECE_HEAD + n && number_at(b + FIRST_PIECE + 4) == n &&
           memcmp(b + FIRST_PIECE + PIECE_HEAD, unknown, n) == 0;
}

/* The next piece as the file has it. */
static dt_status take_piece(cursor *c, dt_piece *piece, float *score, dt_error *err)
{
    size_t left = c->bytes - c->at;
    if (left < PIECE_HEAD)
        return dt_fail(err, DT_FORMAT, "the vocabulary ends at byte %zu, inside a piece", c->bytes);
    uint32_t bytes = number_at(c->data + c->at + 4);
    if (bytes > PIECE_LIMIT || bytes > left - PIECE_HEAD)
        return dt_fail(err, DT_FORMAT,
                       "the piece at byte %zu claims %u bytes; %zu are left, and at most %d may be", c->at,
                       bytes, left - PIECE_HEAD, PIECE_LIMIT);
    memcpy(score, c->data + c->at, sizeof *score);
    if (!isfinite(*score))
        return dt_fail(err, DT_FORMAT, "the piece at byte %zu has a score that is no number", c->at);
    *piece = (dt_piece){.text = (const char *)c->data + c->at + PIECE_HEAD, .bytes = bytes};
    c->at += PIECE_HEAD + bytes;
    return DT_OK;
}

static dt_status count_pieces(cursor c, size_t *count, dt_error *err)
{
    for (*count = 0; c.at < c.bytes; (*count)++) {
        dt_piece piece;
        float score;
        DT_PASS(take_piece(&c, &piece, &score, err));
    }
    return DT_OK;
}

/* As sentencepiece has it; the first three are unknown, beginning and end. */
static bool fill_piece(DtSpm__Piece *out, size_t id, dt_piece from, dt_arena *scratch)
{
    static const char *const ends[] = {"<unk>", "<s>", "</s>"};
    static const int types[] = {DT_PIECE_UNKNOWN, DT_PIECE_CONTROL, DT_PIECE_CONTROL};
    unsigned byte;
    char end;
    dt_spm__piece__init(out);
    out->type = DT_PIECE_NORMAL;
    if (id < 3) {
        out->type = types[id];
        from = (dt_piece){.text = ends[id], .bytes = strlen(ends[id])};
    }
    char *text = dt_arena_alloc(scratch, DT_LOW_LINE_BYTES * from.bytes + 1);
    size_t bytes = 0;
    if (!text)
        return false;
    for (size_t i = 0; i < from.bytes; i++) {
        bool space = from.text[i] == ' ';
        memcpy(text + bytes, space ? DT_LOW_LINE : from.text + i, space ? DT_LOW_LINE_BYTES : 1);
        bytes += space ? DT_LOW_LINE_BYTES : 1;
    }
    text[bytes] = 0;
    if (bytes == 6 && sscanf(text, "<0x%2X%c", &byte, &end) == 2 && end == '>')
        out->type = DT_PIECE_BYTE;
    out->piece.data = (uint8_t *)text;
    out->piece.len = bytes;
    return true;
}

static dt_status read_pieces(DtSpm__Model *model, cursor c, size_t count, dt_arena *scratch, dt_error *err)
{
    DtSpm__Piece *piece = DT_NEW_ARRAY(scratch, DtSpm__Piece, count);
    model->pieces = DT_NEW_ARRAY(scratch, DtSpm__Piece *, count);
    if (!piece || !model->pieces)
        return dt_fail_memory(err, count * sizeof *piece, "the pieces of a vocabulary");
    for (size_t id = 0; id < count; id++) {
        dt_piece from;
        float score;
        DT_PASS(take_piece(&c, &from, &score, err));
        if (!fill_piece(&piece[id], id, from, scratch))
            return dt_fail_memory(err, from.bytes, "a piece");
        piece[id].score = score;
        model->trainer_spec->byte_fallback |= piece[id].type == DT_PIECE_BYTE;
        model->pieces[id] = &piece[id];
    }
    model->n_pieces = count;
    return DT_OK;
}

static dt_status read_with(dt_tokenizer *t, cursor c, dt_arena *scratch, dt_error *err)
{
    DtSpm__Model model = DT_SPM__MODEL__INIT;
    DtSpm__Trainer trainer = DT_SPM__TRAINER__INIT;
    DtSpm__Normalizer normalizer = DT_SPM__NORMALIZER__INIT;
    size_t count;
    trainer.model_type = 2;
    normalizer.add_dummy_prefix = true;
    normalizer.remove_extra_whitespaces = false;
    model.trainer_spec = &trainer;
    model.normalizer_spec = &normalizer;
    DT_PASS(count_pieces(c, &count, err));
    if (count < 4)
        return dt_fail(err, DT_FORMAT, "the vocabulary has %zu pieces", count);
    DT_PASS(read_pieces(&model, c, count, scratch, err));
    return dt_spm_read(t, &model, err);
}

dt_status dt_tokenizer_read_llama2c(dt_tokenizer *t, const void *data, size_t bytes, dt_error *err)
{
    dt_arena *scratch = dt_arena_create();
    if (!scratch)
        return dt_fail_memory(err, bytes, "a vocabulary");
    dt_status status = read_with(t, (cursor){data, bytes, FIRST_PIECE}, scratch, err);
    dt_arena_destroy(scratch);
    DT_PASS(status);
    DT_PASS(dt_added_create(t, 0, err));
    t->special[DT_TOKEN_UNK] = 0;
    t->special[DT_TOKEN_BOS] = 1;
    t->special[DT_TOKEN_EOS] = 2;
    return dt_post_set(t, 1, -1, err);
}
