/*
 * seen.c - a recording's texts with pictures in them: which tiles are whose, what of them is projected, and where it stands
 * among the words. The pictures themselves were laid out before (inputs.c).
 */
#include "verify/replay.h"

#include <string.h>

/* ---- which tiles make a picture ---- */

/* One tile each, of the size that they have. */
static dt_status tile_each(dt_arena *arena, const dt_replay_inputs *in, const dt_model_config *tower,
                           int64_t *count, dt_tiling **out, dt_error *err)
{
    *count = in->pictures.images;
    if (!(*out = DT_NEW_ARRAY(arena, dt_tiling, *count + 1)))
        return dt_fail_memory(err, sizeof **out * (size_t)*count, "pictures");
    for (int64_t i = 0; i < *count; i++)
        (*out)[i] = (dt_tiling){.tiles = 1, .height = tower->img_h, .width = tower->img_w};
    return DT_OK;
}

/* As recorded: in.num_image_tiles, or in.tiles with in.image_sizes; how tiles lie is for the processor to say. */
static dt_status read_tiling(const dt_recording *r, const char *model, dt_arena *arena, int64_t *count,
                             dt_tiling **out, dt_error *err)
{
    int32_t *tiles, *sizes;
    dt_shape shape, of_sizes;
    dt_replay_pixels made = {0};
    *out = NULL;
    DT_PASS(dt_recording_ints(r, "in.num_image_tiles", arena, &tiles, &shape, err));
    if (!tiles)
        DT_PASS(dt_recording_ints(r, "in.tiles", arena, &tiles, &shape, err));
    DT_PASS(dt_recording_ints(r, "in.image_sizes", arena, &sizes, &of_sizes, err));
    if (!tiles)
        return DT_OK;
    if (shape.rank != 1 ||
        (sizes && (of_sizes.rank != 2 || of_sizes.dim[0] != shape.dim[0] || of_sizes.dim[1] != 2)))
        return dt_fail(err, DT_FORMAT, "the recording has tiles %s of pictures of sizes %s",
                       dt_shape_print(&shape).text, dt_shape_print(&of_sizes).text);
    if (sizes)
        DT_PASS(dt_replay_pixels_make(r, model, arena, &made, err));
    *count = shape.dim[0];
    if (!(*out = DT_NEW_ARRAY(arena, dt_tiling, *count + 1)))
        return dt_fail_memory(err, sizeof **out * (size_t)*count, "pictures");
    for (int64_t i = 0; i < *count; i++) {
        if (i < made.pictures)
            (*out)[i] = made.tiling[i];
        (*out)[i].tiles = tiles[i];
        if (sizes) {
            (*out)[i].height = sizes[2 * i];
            (*out)[i].width = sizes[2 * i + 1];
        }
    }
    return DT_OK;
}

/* The same pictures as generation takes them: tiles one behind another. */
static dt_status show(dt_arena *arena, bool overview, int64_t count, const dt_tiling *tiling,
                      dt_replay_inputs *in, dt_error *err)
{
    const dt_picture *tile = in->tile;
    if (!(in->shown = DT_NEW_ARRAY(arena, dt_pixels, count + 1)))
        return dt_fail_memory(err, sizeof *in->shown * (size_t)count, "pictures");
    for (int64_t i = 0; i < count; tile += tiling[i++].tiles)
        in->shown[i] = (dt_pixels){.values = (float *)(uintptr_t)tile->pixels,
                                   .tiles = tiling[i].tiles,
                                   .height = (int)tile->height,
                                   .width = (int)tile->width,
                                   .image_height = (int)tiling[i].height,
                                   .image_width = (int)tiling[i].width,
                                   .grid_rows = (int)tiling[i].grid_rows,
                                   .grid_columns = (int)tiling[i].grid_columns,
                                   .overview = overview ? 0 : -1};
    return DT_OK;
}

static dt_status lay_features(const dt_model_config *c, dt_arena *arena, int64_t count,
                              const dt_tiling *tiling, dt_replay_inputs *in, dt_error *err)
{
    DT_PASS(dt_features_pack(&in->features_of, arena, c, &in->pictures, err));
    DT_PASS(dt_image_rows_pack(&in->image_rows, arena, c, &in->features_of, count, tiling, err));
    DT_PASS(show(arena, c->image_newline, count, tiling, in, err));
    in->projected = (dt_row_batch){.batch = in->features_of.images,
                                   .total = in->features_of.rows,
                                   .cu_seqlens = in->features_of.cu_rows};
    for (int64_t i = 0; i < in->projected.batch; i++)
        if (in->features_of.cu_rows[i + 1] - in->features_of.cu_rows[i] > in->projected.length)
            in->projected.length = in->features_of.cu_rows[i + 1] - in->features_of.cu_rows[i];
    return DT_OK;
}

/* ---- whose pictures they are ---- */

static int64_t tokens_in(const dt_model_config *c, const dt_row_batch *words, int64_t b)
{
    int64_t n = 0;
    for (int32_t i = words->cu_seqlens[b]; i < words->cu_seqlens[b + 1]; i++)
        n += words->tokens[i] == c->image_token_index;
    return n;
}

/* Rows of pictures that a text has: one a token, or as many as its tokens are. */
static int64_t pictures_of(const dt_image_rows *rows, int64_t first, int64_t tokens, bool expanded)
{
    int64_t n = 0;
    if (!expanded)
        return tokens < rows->images - first ? tokens : rows->images - first;
    while (first + n < rows->images && rows->cu_rows[first + n] - rows->cu_rows[first] < tokens)
        n++;
    return n;
}

/* ---- merging ---- */

typedef struct merging {
    const dt_model_config *c;
    dt_arena *arena;
    dt_replay_inputs *in;
    dt_merged *part; /* of each text */
    bool expanded;   /* tokens stand for rows, and texts are as long as they will be */
} merging;

static dt_status merge_texts(merging *m, dt_error *err)
{
    const dt_row_batch *words = &m->in->words;
    int64_t image = 0, row = 0, all = 0;
    for (int64_t b = 0; b < words->batch; b++)
        all += tokens_in(m->c, words, b);
    m->expanded = all != m->in->image_rows.images;
    if (m->expanded && all != m->in->image_rows.rows)
        return dt_fail(
            err, DT_MISMATCH,
            "the texts have %lld image tokens (id %lld), but there are %lld pictures of %lld rows together",
            (long long)all, (long long)m->c->image_token_index, (long long)m->in->image_rows.images,
            (long long)m->in->image_rows.rows);
    for (int64_t b = 0; b < words->batch; b++) {
        int32_t first = words->cu_seqlens[b];
        int64_t mine = tokens_in(m->c, words, b);
        dt_seen_text text = {.tokens = words->tokens + first,
                             .count = words->cu_seqlens[b + 1] - first,
                             .labels = m->in->labels ? m->in->labels + first : NULL,
                             .loss_mask = m->in->loss_mask ? m->in->loss_mask + first : NULL,
                             .image = &m->in->image_rows,
                             .first_image = image,
                             .images = pictures_of(&m->in->image_rows, image, mine, m->expanded),
                             .first_row = row,
                             .limit = m->expanded ? 0 : m->c->max_sequence_length};
        DT_TRY(dt_merge_pictures(&m->part[b], m->arena, m->c, &text, err), err, "while reading text %lld",
               (long long)b);
        m->in->shown_count[b] = text.images;
        image += text.images;
        row += m->part[b].count;
    }
    if (image != m->in->image_rows.images)
        return dt_fail(err, DT_MISMATCH, "the texts have %lld image tokens, but there are %lld pictures",
                       (long long)all, (long long)m->in->image_rows.images);
    return DT_OK;
}

/* Columns of the merged batch: the longest text's, padding included, as far as the model reads. */
static int64_t merged_length(const merging *m)
{
    const dt_row_batch *words = &m->in->words;
    int64_t longest = 0, limit = m->expanded ? 0 : m->c->max_sequence_length, image = 0;
    for (int64_t b = 0; b < words->batch; b++) {
        int64_t tokens = tokens_in(m->c, words, b), length = words->length;
        int64_t images = pictures_of(&m->in->image_rows, image, tokens, m->expanded);
        if (!m->expanded)
            length += m->in->image_rows.cu_rows[image + images] - m->in->image_rows.cu_rows[image] - tokens;
        image += images;
        longest = length > longest ? length : longest;
    }
    return limit > 0 && longest > limit ? limit : longest;
}

/* The parts one behind another. */
static dt_status gather(merging *m, dt_error *err)
{
    dt_replay_inputs *in = m->in;
    dt_row_batch *words = &in->words, *to = &in->target;
    int32_t *length = DT_NEW_ARRAY(m->arena, int32_t, words->batch + 1);
    int64_t total = 0;
    for (int64_t b = 0; length && b < words->batch; total += length[b++])
        length[b] = (int32_t)m->part[b].count;
    int32_t *tokens = DT_NEW_ARRAY(m->arena, int32_t, total + 1);
    int32_t *labels = DT_NEW_ARRAY(m->arena, int32_t, total + 1);
    float *mask = DT_NEW_ARRAY(m->arena, float, total + 1);
    in->merged_rows = DT_NEW_ARRAY(m->arena, int32_t, total + 1);
    if (!length || !tokens || !labels || !mask || !in->merged_rows)
        return dt_fail_memory(err, 16 * (size_t)total, "texts with pictures");
    for (int64_t b = 0, at = 0; b < words->batch; at += length[b++]) {
        size_t bytes = sizeof(int32_t) * (size_t)length[b];
        memcpy(tokens + at, m->part[b].tokens, bytes);
        memcpy(in->merged_rows + at, m->part[b].row, bytes);
        if (in->labels)
            memcpy(labels + at, m->part[b].labels, bytes);
        if (in->loss_mask)
            memcpy(mask + at, m->part[b].loss_mask, bytes);
    }
    in->labels = in->labels ? labels : NULL;
    in->loss_mask = in->loss_mask ? mask : NULL;
    DT_PASS(dt_rows_make(m->arena, words->batch, length, tokens, to, err));
    to->length = merged_length(m);
    return DT_OK;
}

/* Labels as a point has them. */
static dt_status show_labels(const merging *m, dt_error *err)
{
    float *labels = DT_NEW_ARRAY(m->arena, float, m->in->target.total + 1);
    if (!labels)
        return dt_fail_memory(err, sizeof *labels * (size_t)m->in->target.total, "labels");
    for (int64_t i = 0; m->in->labels && i < m->in->target.total; i++)
        labels[i] = (float)m->in->labels[i];
    if (m->in->labels && !m->expanded)
        m->in->merged_labels = labels;
    return DT_OK;
}

static dt_status merge(const dt_model_config *c, dt_arena *arena, dt_replay_inputs *in, dt_error *err)
{
    merging m = {.c = c, .arena = arena, .in = in};
    in->words = in->target;
    in->shown_count = DT_NEW_ARRAY(arena, int64_t, in->words.batch + 1);
    if (!(m.part = DT_NEW_ARRAY(arena, dt_merged, in->words.batch + 1)) || !in->shown_count)
        return dt_fail_memory(err, sizeof *m.part * (size_t)in->words.batch, "texts with pictures");
    DT_PASS(merge_texts(&m, err));
    DT_PASS(gather(&m, err));
    return show_labels(&m, err);
}

dt_status dt_replay_see(const dt_model_config *c, dt_arena *arena, dt_replay_inputs *in, dt_error *err)
{
    dt_tiling *tiling;
    int64_t count;
    DT_PASS(tile_each(arena, in, c->vision, &count, &tiling, err));
    DT_PASS(lay_features(c, arena, count, tiling, in, err));
    return merge(c, arena, in, err);
}

/* ---- what a recording says of it ---- */

static dt_status check_lengths(const dt_recording *r, dt_arena *arena, const dt_replay_inputs *in,
                               dt_error *err)
{
    int32_t *lengths;
    dt_shape shape;
    DT_PASS(dt_recording_ints(r, "in.merged_lengths", arena, &lengths, &shape, err));
    if (lengths && (shape.rank != 1 || shape.dim[0] != in->target.batch))
        return dt_fail(err, DT_FORMAT, "in.merged_lengths is %s, expected [%lld]",
                       dt_shape_print(&shape).text, (long long)in->target.batch);
    for (int64_t b = 0; lengths && b < in->target.batch; b++) {
        int32_t ours = in->target.cu_seqlens[b + 1] - in->target.cu_seqlens[b];
        if (lengths[b] != ours)
            return dt_fail(err, DT_MISMATCH, "in.merged_lengths[%lld] is %d, but text and pictures make %d",
                           (long long)b, lengths[b], ours);
    }
    return DT_OK;
}

dt_status dt_replay_read_seen(const dt_recording *r, const char *model, const dt_model_config *c,
                              dt_arena *arena, dt_replay_inputs *in, dt_error *err)
{
    dt_tiling *tiling;
    int64_t count = 0;
    if (in->pictures.images == 0) /* words alone */
        return DT_OK;
    DT_PASS(read_tiling(r, model, arena, &count, &tiling, err));
    if (!tiling)
        DT_PASS(tile_each(arena, in, c->vision, &count, &tiling, err));
    DT_PASS(lay_features(c, arena, count, tiling, in, err));
    DT_PASS(merge(c, arena, in, err));
    return check_lengths(r, arena, in, err);
}
