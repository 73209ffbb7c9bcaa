/*
 * fairseq.c - sentencepiece models of fairseq's making (XLM-R, mBART, NLLB), whose files number pieces otherwise than
 * the models do.
 *
 *   file     <unk> <s> </s> then the pieces
 *   model    <s> <pad> </s> <unk> then the pieces, language codes, <mask>
 *
 * The pieces are put into the model's order before they are read, so that the place is the id. Language codes come
 * from the folder ("additional_special_tokens") or from the table.
 */
#include "data/tokenizer/companions.h"
#include "data/tokenizer/sentencepiece.h"

#include <string.h>

static const char *const languages[] = {
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT",
    "ja_XX", "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK",
    "tr_TR", "vi_VN", "zh_CN", "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL", "hr_HR", "id_ID", "ka_GE",
    "km_KH", "mk_MK", "ml_IN", "mn_MN", "mr_IN", "pl_PL", "ps_AF", "pt_XX", "sv_SE", "sw_KE", "ta_IN",
    "te_IN", "th_TH", "tl_XX", "uk_UA", "ur_PK", "xh_ZA", "gl_ES", "sl_SI"};
enum { MBART_LANGUAGES = 25, MBART50_LANGUAGES = sizeof languages / sizeof *languages };

static const struct row {
    const char *class_name;
    int languages;        /* of the table above, when the folder names none */
    const char *language; /* the source text's, unless src_lang says otherwise; NULL: none is added */
    bool language_first;  /* before the text; else behind its end token */
} rows[] = {
    {"XLMRobertaTokenizer", 0, NULL, false},
    {"MBart50Tokenizer", MBART50_LANGUAGES, "en_XX", true},
    {"MBartTokenizer", MBART_LANGUAGES, "en_XX", false},
    {"NllbTokenizer", 0, "eng_Latn", true},
};

static const struct row *row_of(const dt_companions *c)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].class_name, c->family->class_name) == 0)
            return &rows[i];
    return NULL;
}

bool dt_fairseq_family(const dt_companions *c)
{
    return row_of(c) != NULL;
}

static bool is_piece(const DtSpm__Piece *piece, const char *text)
{
    return piece->piece.len == strlen(text) && memcmp(piece->piece.data, text, piece->piece.len) == 0;
}

/* Read the model with its pieces in the model's order; `model` is as it was afterwards. */
dt_status dt_fairseq_read(dt_tokenizer *t, DtSpm__Model *model, dt_error *err)
{
    static char pad_text[] = "<pad>";
    DtSpm__Piece pad = DT_SPM__PIECE__INIT, **file = model->pieces;
    size_t count = model->n_pieces;
    if (count < 3 || !is_piece(file[0], "<unk>") || !is_piece(file[1], "<s>") || !is_piece(file[2], "</s>"))
        return dt_fail(err, DT_FORMAT,
                       "the pieces do not begin with <unk>, <s>, </s>, as fairseq's models do");
    DtSpm__Piece **list = DT_NEW_ARRAY(t->arena, DtSpm__Piece *, count + 1);
    if (list == NULL)
        return dt_fail_memory(err, count * sizeof(DtSpm__Piece *), "the pieces of a vocabulary");
    pad.piece.data = (uint8_t *)pad_text;
    pad.piece.len = strlen(pad_text);
    pad.type = DT_PIECE_CONTROL;
    list[0] = file[1];
    list[1] = &pad;
    list[2] = file[2];
    list[3] = file[0];
    memcpy(list + 4, file + 3, (count - 3) * sizeof(DtSpm__Piece *));
    model->pieces = list;
    model->n_pieces = count + 1;
    dt_status status = dt_spm_read(t, model, err);
    model->pieces = file;
    model->n_pieces = count;
    return status;
}

static const json_t *listed(const dt_companions *c)
{
    const json_t *list = dt_json_get(c->config, "additional_special_tokens");
    return list != NULL ? list : dt_json_get(c->special_map, "additional_special_tokens");
}

int32_t dt_fairseq_tokens(const dt_companions *c)
{
    size_t count = json_array_size(listed(c)) + MBART50_LANGUAGES + 1;
    return row_of(c) == NULL ? 0 : count < DT_VOCAB_LIMIT / 4 ? (int32_t)count : DT_VOCAB_LIMIT / 4;
}

/* Language codes behind the pieces, then <mask>. Those that the folder gave ids keep them. */
dt_status dt_fairseq_add_tokens(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    const struct row *row = row_of(c);
    const json_t *list = listed(c);
    if (row == NULL)
        return DT_OK;
    for (size_t i = 0; i < json_array_size(list) && i < DT_VOCAB_LIMIT / 4; i++) {
        const json_t *item = json_array_get(list, i);
        const json_t *text = json_is_object(item) ? json_object_get(item, "content") : item;
        if (json_is_string(text))
            DT_PASS(dt_companions_add_special(t, json_string_value(text), -1, err));
    }
    for (int i = 0; json_array_size(list) == 0 && i < row->languages; i++)
        DT_PASS(dt_companions_add_special(t, languages[i], -1, err));
    return dt_companions_add_special(t, "<mask>", -1, err);
}

/* The source language's code around a text. */
dt_status dt_fairseq_frame(dt_tokenizer *t, const dt_companions *c, dt_error *err)
{
    const struct row *row = row_of(c);
    const char *language = row != NULL ? row->language : NULL;
    if (language == NULL)
        return DT_OK;
    if (c->config != NULL)
        DT_PASS(dt_json_string(c->config, "src_lang", &language, err));
    int32_t id = dt_tokenizer_id(t, language);
    if (id < 0)
        return dt_fail(err, DT_FORMAT,
                       "the language \"%s\" is not in the vocabulary, nor among additional_special_tokens",
                       language);
    return dt_post_wrap(t, row->language_first ? id : -1, row->language_first ? -1 : id, err);
}
