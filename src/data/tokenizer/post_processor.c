/*
 * post_processor.c - the "post_processor" of tokenizer.json: which ids stand around those of the text.
 *
 * For one text every kind comes down to a list of ids with holes for the text's own. Pairs of texts and offsets
 * are left out: nothing here asks for them yet.
 */
#include "data/tokenizer/parts.h"

#include <string.h>

dt_status dt_post_apply(const dt_tokenizer *t, const dt_text *ids, bool no_special, dt_text *out,
                        dt_error *err)
{
    if (no_special || t->post.item == NULL) {
        dt_put(out, ids->data, ids->bytes);
    } else {
        for (int32_t i = 0; i < t->post.count; i++) {
            if (t->post.item[i] == DT_POST_TEXT)
                dt_put(out, ids->data, ids->bytes);
            else
                dt_put(out, (const char *)&t->post.item[i], sizeof(int32_t));
        }
    }
    return out->failed ? dt_fail_memory(err, ids->bytes, "token ids") : DT_OK;
}

/* Put a new frame around what the earlier processors made: each hole of `frame` receives their list. */
static dt_status wrap(dt_tokenizer *t, const int32_t *frame, int32_t count, dt_error *err)
{
    static const int32_t bare[] = {DT_POST_TEXT};
    const int32_t *inner = t->post.item != NULL ? t->post.item : bare;
    int32_t inner_count = t->post.item != NULL ? t->post.count : 1;
    int32_t *all = DT_NEW_ARRAY(t->arena, int32_t, DT_POST_LIMIT);
    if (all == NULL)
        return dt_fail_memory(err, DT_POST_LIMIT * sizeof *all, "a post-processor");
    int32_t total = 0;
    for (int32_t i = 0; i < count; i++) {
        bool hole = frame[i] == DT_POST_TEXT;
        int32_t more = hole ? inner_count : 1;
        if (total + more > DT_POST_LIMIT)
            return dt_fail(err, DT_LIMIT, "the post-processor adds more than %d tokens", DT_POST_LIMIT);
        memcpy(all + total, hole ? inner : &frame[i], (size_t)more * sizeof *all);
        total += more;
    }
    t->post = (dt_post){all, total};
    return DT_OK;
}

dt_status dt_post_set(dt_tokenizer *t, int32_t before, int32_t after, dt_error *err)
{
    t->post = (dt_post){0};
    return dt_post_wrap(t, before, after, err);
}

dt_status dt_post_wrap(dt_tokenizer *t, int32_t before, int32_t after, dt_error *err)
{
    int32_t frame[3], count = 0;
    if (before >= 0)
        frame[count++] = before;
    frame[count++] = DT_POST_TEXT;
    if (after >= 0)
        frame[count++] = after;
    return wrap(t, frame, count, err);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

typedef struct frame {
    int32_t item[DT_POST_LIMIT];
    int32_t count;
} frame;

static dt_status add_id(frame *f, const json_t *id, dt_error *err)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= DT_VOCAB_LIMIT)
        return dt_fail(err, DT_FORMAT, "a special token's id is not an integer from 0 to %d",
                       DT_VOCAB_LIMIT - 1);
    if (f->count == DT_POST_LIMIT)
        return dt_fail(err, DT_LIMIT, "the post-processor adds more than %d tokens", DT_POST_LIMIT);
    f->item[f->count++] = (int32_t)json_integer_value(id);
    return DT_OK;
}

static dt_status add_special(frame *f, const json_t *tokens, const char *name, dt_error *err)
{
    const json_t *ids = dt_json_get(dt_json_get(tokens, name), "ids");
    if (!json_is_array(ids))
        return dt_fail(err, DT_FORMAT, "\"special_tokens\" does not say the ids of \"%s\"", name);
    for (size_t i = 0; i < json_array_size(ids); i++)
        DT_PASS(add_id(f, json_array_get(ids, i), err));
    return DT_OK;
}

static dt_status template_item(frame *f, const json_t *json, const json_t *item, dt_error *err)
{
    const char *id = NULL;
    const json_t *special = dt_json_get(item, "SpecialToken"), *sequence = dt_json_get(item, "Sequence");
    DT_PASS(dt_json_string(special != NULL ? special : sequence, "id", &id, err));
    if (id == NULL)
        return dt_fail(err, DT_FORMAT, "an item of \"single\" is neither a SpecialToken nor a Sequence");
    if (special != NULL)
        return add_special(f, dt_json_get(json, "special_tokens"), id, err);
    if (strcmp(id, "A") != 0)
        return dt_fail(err, DT_FORMAT, "\"single\" names the sequence \"%s\"; there is only \"A\"", id);
    if (f->count == DT_POST_LIMIT)
        return dt_fail(err, DT_LIMIT, "the post-processor adds more than %d tokens", DT_POST_LIMIT);
    f->item[f->count++] = DT_POST_TEXT;
    return DT_OK;
}

static dt_status read_template(frame *f, const json_t *json, dt_error *err)
{
    const json_t *single = dt_json_get(json, "single");
    if (!json_is_array(single))
        return dt_fail(err, DT_FORMAT, "\"single\" is not an array");
    for (size_t i = 0; i < json_array_size(single); i++)
        DT_TRY(template_item(f, json, json_array_get(single, i), err), err,
               "while reading item %zu of \"single\"", i);
    return DT_OK;
}

/* Bert's and Roberta's: [CLS] text [SEP], each given as ["spelling", id]. */
static dt_status read_cls_sep(frame *f, const json_t *json, dt_error *err)
{
    DT_TRY(add_id(f, json_array_get(dt_json_get(json, "cls"), 1), err), err, "while reading \"cls\"");
    f->item[f->count++] = DT_POST_TEXT;
    DT_TRY(add_id(f, json_array_get(dt_json_get(json, "sep"), 1), err), err, "while reading \"sep\"");
    return DT_OK;
}

static dt_status read_nothing(frame *f, const json_t *json, dt_error *err)
{
    (void)json, (void)err;
    f->item[f->count++] = DT_POST_TEXT; /* it moves offsets only */
    return DT_OK;
}

static const struct row {
    dt_type_row type;
    dt_status (*read)(frame *f, const json_t *json, dt_error *err); /* NULL: a sequence */
} rows[] = {
    {{"Sequence", "processors"}, NULL},
    {{"BertProcessing", NULL}, read_cls_sep},
    {{"ByteLevel", NULL}, read_nothing},
    {{"RobertaProcessing", "cls"}, read_cls_sep},
    {{"TemplateProcessing", "single"}, read_template},
};

static dt_status read_one(dt_tokenizer *t, const json_t *json, int depth, dt_error *err)
{
    size_t which;
    DT_PASS(
        dt_json_type(json, "post_processor", rows, sizeof *rows, sizeof rows / sizeof *rows, &which, err));
    if (rows[which].read == NULL) {
        const json_t *list = dt_json_get(json, "processors");
        if (!json_is_array(list) || depth > 16 || json_array_size(list) > DT_PART_LIMIT)
            return dt_fail(err, DT_FORMAT,
                           "post_processor Sequence: \"processors\" must be an array of at most %d, "
                           "nested at most 16 deep",
                           DT_PART_LIMIT);
        for (size_t i = 0; i < json_array_size(list); i++)
            DT_PASS(read_one(t, json_array_get(list, i), depth + 1, err));
        return DT_OK;
    }
    frame f = {.count = 0};
    DT_TRY(rows[which].read(&f, json, err), err, "while reading the post-processor %s",
           rows[which].type.type);
    return wrap(t, f.item, f.count, err);
}

dt_status dt_post_read(dt_tokenizer *tokenizer, const json_t *json, dt_error *err)
{
    return json == NULL ? DT_OK : read_one(tokenizer, json, 0, err);
}
