/*
 * companions.h - the files beside a tokenizer's own, and what a tokenizer's family does around them.
 *
 * tokenizer.json is complete in itself. The other files are not: which tokens encoding adds, how they are spelled and
 * which pieces make up the pipeline is a row of the family table, and tokenizer_config.json may say otherwise.
 */
#ifndef DT_DATA_TOKENIZER_COMPANIONS_H
#define DT_DATA_TOKENIZER_COMPANIONS_H

#include "data/tokenizer/parts.h"

typedef enum dt_role { DT_ROLE_BEFORE, DT_ROLE_AFTER, DT_ROLE_PAD, DT_ROLE_UNK, DT_ROLES } dt_role;

typedef struct dt_family {
    const char *class_name;      /* how tokenizer_class begins */
    const char *model_type;      /* config.json's, where tokenizer_class is missing; NULL: none */
    bool add_before, add_after;  /* what encoding adds unless add_bos_token, add_eos_token say otherwise */
    bool config_rules;           /* those two overrule tokenizer.json's post-processor as well */
    int extra_ids;               /* <extra_id_0> … are appended to a sentencepiece model */
    const char *token[DT_ROLES]; /* unless the files name others */
    const char *pipeline; /* for vocab.json + merges.txt, or vocab.txt: a tokenizer.json without vocabulary */
} dt_family;

typedef struct dt_companions {
    const char *folder;   /* NULL: a file was opened, nothing is beside it */
    json_t *config;       /* tokenizer_config.json */
    json_t *special_map;  /* special_tokens_map.json */
    json_t *added;        /* added_tokens.json */
    json_t *model_config; /* config.json */
    const dt_family *family;
} dt_companions;

/* The row whose class_name begins `name`; NULL when none does. */
const dt_family *dt_family_of_class(const char *name);

dt_status dt_companions_load(const dt_tokenizer *t, dt_companions *c, const char *folder, dt_error *err);
void dt_companions_free(dt_companions *c);

/* How many added tokens the companions can bring at most. */
int32_t dt_companion_tokens(const dt_companions *c);

/* The spelling of a role's token: as the files say, or as the family does; NULL when neither. */
const char *dt_companions_role_token(const dt_companions *c, dt_role role);

dt_status dt_companions_add_special(dt_tokenizer *t, const char *text, int32_t id, dt_error *err);
dt_status dt_companions_add_decoder_tokens(dt_tokenizer *t, const dt_companions *c, dt_error *err);
dt_status dt_companions_add_listed_tokens(dt_tokenizer *t, const dt_companions *c, dt_error *err);
dt_status dt_companions_add_sentinels(dt_tokenizer *t, const dt_companions *c, dt_error *err);

/* Fill tokenizer->special; with `add` these tokens are also cut out of texts. */
dt_status dt_companions_name_specials(dt_tokenizer *t, const dt_companions *c, bool add, dt_error *err);

/* What encoding adds. With `explicit_only` only if tokenizer_config.json says anything about it. */
dt_status dt_companions_frame(dt_tokenizer *t, const dt_companions *c, bool explicit_only, dt_error *err);

/* What a family does to texts before a sentencepiece model's own normalizer. */
dt_status dt_companions_canonicalize(dt_tokenizer *t, const dt_companions *c, dt_error *err);

/* fairseq.c: sentencepiece models whose ids are not their pieces' places. */
bool dt_fairseq_family(const dt_companions *c);
int32_t dt_fairseq_tokens(const dt_companions *c); /* at most so many are added */
dt_status dt_fairseq_add_tokens(dt_tokenizer *t, const dt_companions *c, dt_error *err);
dt_status dt_fairseq_frame(dt_tokenizer *t, const dt_companions *c, dt_error *err);

/* recipe.c: tokenizers that are put together from a vocabulary alone. */
dt_status dt_recipe_bpe(dt_tokenizer *t, const dt_companions *c, const char *vocab, const char *merges,
                        dt_error *err);
dt_status dt_recipe_wordpiece(dt_tokenizer *t, const dt_companions *c, const char *vocab, dt_error *err);
/* BERT's pipeline around a vocabulary {token: id}, which it takes over. */
dt_status dt_recipe_read_bert(dt_tokenizer *t, json_t *vocab, const char *unknown, dt_error *err);
dt_status dt_recipe_byt5(dt_tokenizer *t, const dt_companions *c, dt_error *err);
extern const char dt_pipeline_gpt2[], dt_pipeline_clip[], dt_pipeline_bert[];

#endif
