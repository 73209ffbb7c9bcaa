/*
 * merge.c - puts pictures in their places among words (features.h): tokens, labels and the loss's mask of one sequence,
 * one entry a merged row.
 *
 * Peer  megatron core/models/multimodal/llava_model.py (_preprocess_data). There, a token stands for a whole picture;
 *       transformers repeats it once a row, so that texts come here expanded, with labels of their own.
 */
#include "models/features.h"

#include "base/fail.h"

enum { NO_LABEL = -100 }; /* torch's, for what is not to be learnt */

static int64_t rows_of(const dt_seen_text *t, int64_t image)
{
    const dt_image_rows *r = t->image;
    return r->cu_rows[t->first_image + image + 1] - r->cu_rows[t->first_image + image];
}

/* How the text names its pictures. */
typedef struct places {
    int64_t tokens, rows; /* image tokens in the text, and rows of its pictures */
    bool expanded;        /* a token stands for a row, not for a picture */
} places;

static dt_status count_places(const dt_model_config *c, const dt_seen_text *t, places *out, dt_error *err)
{
    *out = (places){0};
    for (int64_t i = 0; i < t->count; i++)
        out->tokens += t->tokens[i] == c->image_token_index;
    for (int64_t i = 0; i < t->images; i++)
        out->rows += rows_of(t, i);
    out->expanded = out->tokens != t->images;
    if (!out->expanded || out->tokens == out->rows)
        return DT_OK;
    return dt_fail(
        err, DT_MISMATCH,
        "the text has %lld image tokens (id %lld), but there are %lld pictures of %lld rows together",
        (long long)out->tokens, (long long)c->image_token_index, (long long)t->images, (long long)out->rows);
}

static dt_status allocate(dt_merged *out, dt_arena *arena, const dt_seen_text *t, int64_t rows, dt_error *err)
{
    out->tokens = DT_NEW_ARRAY(arena, int32_t, rows + 1);
    out->row = DT_NEW_ARRAY(arena, int32_t, rows + 1);
    out->labels = t->labels ? DT_NEW_ARRAY(arena, int32_t, rows + 1) : NULL;
    out->loss_mask = t->loss_mask ? DT_NEW_ARRAY(arena, float, rows + 1) : NULL;
    if (out->tokens && out->row && !out->labels == !t->labels && !out->loss_mask == !t->loss_mask)
        return DT_OK;
    return dt_fail_memory(err, 4 * sizeof(int32_t) * (size_t)rows, "a text with pictures");
}

/* One row; what is over the limit is only counted. */
static void put(dt_merged *out, int64_t *at, int32_t token, int32_t row, float mask)
{
    if (*at < out->count) {
        out->tokens[*at] = token;
        out->row[*at] = row;
        if (out->labels)
            out->labels[*at] = NO_LABEL;
        if (out->loss_mask)
            out->loss_mask[*at] = mask;
    }
    ++*at;
}

static void label(dt_merged *out, int64_t at, int32_t value)
{
    if (out->labels && at >= 0 && at < out->count)
        out->labels[at] = value;
}

/*
 * A row has the label of its token, the one before a picture and those of it excepted: nobody can foresee a picture. But
 * its last row, whose mask is 0, holds what follows.
 */
static void place(const dt_model_config *c, const dt_seen_text *t, const places *p, dt_merged *out)
{
    int64_t at = 0, image_row = t->images ? t->image->cu_rows[t->first_image] : 0, image = 0;
    for (int64_t i = 0; i < t->count; i++) {
        bool picture = t->tokens[i] == c->image_token_index;
        bool before = !p->expanded && i + 1 < t->count && t->tokens[i + 1] == c->image_token_index;
        int64_t rows = !picture ? 0 : p->expanded ? 1 : rows_of(t, image++);
        for (int64_t k = 0; k < rows; k++)
            put(out, &at, 0, (int32_t)(-1 - image_row++), t->loss_mask && p->expanded ? t->loss_mask[i] : 0);
        if (!picture)
            put(out, &at, t->tokens[i], (int32_t)(t->first_row + at),
                t->loss_mask && !before ? t->loss_mask[i] : 0);
        if (t->labels && !before)
            label(out, at - 1, t->labels[i]);
    }
}

dt_status dt_merge_pictures(dt_merged *out, dt_arena *arena, const dt_model_config *c, const dt_seen_text *t,
                            dt_error *err)
{
    places p;
    *out = (dt_merged){0};
    DT_PASS(count_places(c, t, &p, err));
    out->count = t->count - p.tokens + p.rows;
    if (t->limit > 0 && out->count > t->limit)
        out->count = t->limit;
    DT_PASS(allocate(out, arena, t, out->count, err));
    place(c, t, &p, out);
    return DT_OK;
}
