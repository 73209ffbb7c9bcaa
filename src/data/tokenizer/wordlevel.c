/*
 * wordlevel.c - the two models without an algorithm: a table of whole words, and bytes as they are (ByT5).
 */
#include "data/tokenizer/parts.h"

static dt_status encode(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    int32_t id = dt_vocab_find(&work->tokenizer->vocab, text, bytes);
    if (id < 0)
        id = model->unk;
    if (id < 0)
        return dt_fail(work->err, DT_INVALID, "\"%.*s\" is not in the vocabulary, which has no unknown token",
                       (int)(bytes < 60 ? bytes : 60), text);
    return dt_emit_id(work, id);
}

dt_status dt_wordlevel_read(dt_tokenizer *t, const json_t *json, dt_error *err)
{
    const char *unk = NULL;
    size_t unk_bytes = 0;
    DT_PASS(dt_json_vocab(t, json, err));
    DT_PASS(dt_json_text(t, json, "unk_token", &unk, &unk_bytes, err));
    if (unk != NULL)
        t->model.unk = dt_vocab_find(&t->vocab, unk, unk_bytes);
    t->model.kind = "wordlevel";
    t->model.encode = encode;
    return DT_OK;
}

dt_status dt_byte_encode(const dt_model_part *model, dt_work *work, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        DT_PASS(dt_emit_id(work, model->byte_id[(unsigned char)text[i]]));
    return DT_OK;
}
