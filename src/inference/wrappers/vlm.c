/*
 * vlm.c - the wrapper of models that see: windows of tokens as the GPT's, in which an image token stands for all rows of its
 * picture; the pictures are looked at once, with the input.
 *
 * Peer  megatron core/inference/model_inference_wrappers/multimodal/vlm_inference_wrapper.py
 * Unlike it, a window that is not the first may have pictures, too, and a row that would be cut at decoder_seq_length is
 * refused: there the peer's offset and its keys part.
 */
#include "base/checked.h"
#include "inference/among.h"
#include "inference/wrappers/wrapper.h"

#include <inttypes.h>
#include <string.h>

static bool is_image(const dt_wrapper *w, int32_t token)
{
    return token == w->model->config->image_token_index;
}

static int64_t images_in(const dt_wrapper *w, const int32_t *tokens, int64_t count)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        n += is_image(w, tokens[i]);
    return n;
}

/* ---- the input ---- */

static dt_status prep(dt_wrapper *w, const int32_t *tokens, const int32_t *encoder_tokens, dt_error *err)
{
    return dt_wrapper_gpt.prep(w, tokens, encoder_tokens, err);
}

/* Each picture as the rest of the library has them; tiles lie one behind another. */
static dt_status list_pictures(dt_wrapper *w, const dt_wrapper_images *images, dt_pixels **out, dt_error *err)
{
    int64_t at = 0, each = 3 * images->height * images->width;
    dt_pixels *picture = DT_NEW_ARRAY(w->input_arena, dt_pixels, images->count + 1);
    if (!picture)
        return dt_fail_memory(err, (size_t)images->count * sizeof *picture, "pictures");
    for (int64_t i = 0; i < images->count; at += images->num_tiles[i++]) {
        if (images->num_tiles[i] < 1)
            return dt_fail(err, DT_INVALID, "picture %" PRId64 " has %" PRId32 " tiles, expected 1 or more",
                           i, images->num_tiles[i]);
        picture[i] = (dt_pixels){.values = (float *)(uintptr_t)images->pixels + at * each, /* only read */
                                 .tiles = images->num_tiles[i],
                                 .height = (int)images->height,
                                 .width = (int)images->width,
                                 .image_height = (int)images->height,
                                 .image_width = (int)images->width,
                                 .overview = -1};
    }
    *out = picture;
    return DT_OK;
}

static dt_status check_images(const dt_wrapper *w, const dt_wrapper_images *images, dt_error *err)
{
    enum { MAX_SIDE = 1 << 15 };
    int64_t count = images ? images->count : 0, places;
    places = images_in(w, w->input.tokens, w->input.batch * w->input.length);
    if (count != places)
        return dt_fail(err, DT_MISMATCH,
                       "the tokens have %" PRId64 " images (id %" PRId64 "), but %" PRId64 " are given",
                       places, w->model->config->image_token_index, count);
    if (count && (!images->pixels || !images->num_tiles || images->height < 1 || images->width < 1 ||
                  images->height > MAX_SIDE || images->width > MAX_SIDE))
        return dt_fail(err, DT_INVALID, "pictures of %" PRId64 " x %" PRId64 " pixels", images->width,
                       images->height);
    return DT_OK;
}

/* How many rows each takes, which must be what the caller counts with. */
static dt_status count_rows(dt_wrapper *w, const dt_wrapper_images *images, const dt_pixels *picture,
                            dt_error *err)
{
    dt_wrapper_sight *s = &w->sight;
    if (!(s->rows_at = DT_NEW_ARRAY(w->input_arena, int64_t, images->count + 1)))
        return dt_fail_memory(err, (size_t)images->count * sizeof *s->rows_at, "pictures");
    for (s->images = 0; s->images < images->count; s->images++) {
        int64_t rows, told;
        DT_TRY(dt_among_rows(w->model->config, &picture[s->images], &rows, err), err, "of picture %" PRId64,
               s->images);
        if (!dt_mul_int64(images->num_img_embeddings_per_tile, images->num_tiles[s->images], &told) ||
            rows != told)
            return dt_fail(err, DT_MISMATCH,
                           "picture %" PRId64 " takes %" PRId64 " positions, but %" PRId32
                           " tiles with num_img_embeddings_per_tile %" PRId64 " take another number",
                           s->images, rows, images->num_tiles[s->images],
                           images->num_img_embeddings_per_tile);
        s->rows_at[s->images + 1] = s->rows_at[s->images] + rows;
    }
    return DT_OK;
}

/* Rows that stand for tokens [from, to) of row b of the input; *image becomes the first picture's among them. */
static int64_t merged(const dt_wrapper *w, int64_t b, int64_t from, int64_t to, int64_t *image)
{
    const int32_t *tokens = w->input.tokens;
    int64_t start = b * w->input.length + from, first = images_in(w, tokens, start);
    int64_t n = images_in(w, tokens + start, to - from);
    *image = first;
    return to - from - n + (n ? w->sight.rows_at[first + n] - w->sight.rows_at[first] : 0);
}

static dt_status check_lengths(const dt_wrapper *w, int64_t most, dt_error *err)
{
    int64_t image;
    for (int64_t b = 0; b < w->input.batch; b++) {
        int64_t rows = merged(w, b, 0, w->input.length, &image);
        if (rows > most || rows > w->capacity.length)
            return dt_fail(err, DT_LIMIT,
                           "row %" PRId64 " has %" PRId64 " positions with its pictures, at most %" PRId64
                           " are possible (%s)",
                           b, rows, rows > most ? most : w->capacity.length,
                           rows > most ? "decoder_seq_length" : "inference_max_seq_length, or the model's");
    }
    return DT_OK;
}

dt_status dt_wrapper_look(dt_wrapper *w, const dt_wrapper_images *images, dt_error *err)
{
    dt_pixels *picture;
    DT_PASS(check_images(w, images, err));
    w->input.decoder_seq_length = images ? images->decoder_seq_length : w->capacity.length;
    if (images && images->count) {
        DT_PASS(list_pictures(w, images, &picture, err));
        DT_PASS(count_rows(w, images, picture, err));
        w->input.num_img_embeddings = w->sight.rows_at[images->count];
    }
    DT_PASS(check_lengths(w, w->input.decoder_seq_length, err));
    if (!w->sight.images)
        return DT_OK;
    int64_t values = w->sight.rows_at[images->count] * w->config.hidden_size;
    if (!(w->sight.rows = DT_NEW_ARRAY(w->input_arena, float, values)))
        return dt_fail_memory(err, (size_t)values * sizeof *w->sight.rows, "pictures");
    return dt_eyes_see(w->eyes, (size_t)images->count, picture, w->sight.rows, err);
}

/* ---- windows ---- */

static dt_status cut(dt_wrapper *w, dt_error *err)
{
    return dt_wrapper_gpt.cut(w, err);
}

static int64_t rows(const dt_wrapper *w, const dt_wrapper_window *window)
{
    int64_t most = 0, image;
    if (window->end > w->input.length)
        return 1; /* no window of the input: refused with its first row */
    for (int64_t b = 0; b < window->batch && b < w->input.batch; b++) {
        int64_t own = merged(w, b, window->start, window->end, &image);
        most = own > most ? own : most;
    }
    return most;
}

/* A picture's rows at the place of its token; positions are those of the merged sequence. */
static dt_status row(dt_wrapper *w, const dt_wrapper_window *window, int64_t b, dt_wrapper_row *out,
                     dt_error *err)
{
    int64_t length = window->end - window->start, n = 0, image, before;
    const int32_t *tokens = window->tokens + b * length;
    if (b >= w->input.batch || window->end > w->input.length ||
        memcmp(tokens, w->input.tokens + b * w->input.length + window->start,
               (size_t)length * sizeof *tokens) != 0)
        return dt_fail(err, DT_INVALID, "the window is not cut out of the prepared input");
    before = merged(w, b, 0, window->start, &image);
    merged(w, b, window->start, window->end, &image);
    for (int64_t i = 0; i < length; i++) {
        bool seen = is_image(w, tokens[i]);
        int64_t times = seen ? w->sight.rows_at[image + 1] - w->sight.rows_at[image] : 1;
        for (int64_t k = 0; k < times; k++, n++) {
            w->row_tokens[n] = seen ? 0 : tokens[i];
            w->row_positions[n] = (int32_t)(before + n);
            w->row_place[n] = (int32_t)n;
            w->row_seen[n] =
                seen ? w->sight.rows + (w->sight.rows_at[image] + k) * w->config.hidden_size : NULL;
        }
        image += seen;
    }
    *out = (dt_wrapper_row){.tokens = w->row_tokens,
                            .positions = w->row_positions,
                            .place = w->row_place,
                            .count = n,
                            .seen = w->row_seen,
                            .ends = true};
    return DT_OK;
}

const dt_wrapper_kind dt_wrapper_vlm = {.prep = prep, .cut = cut, .row = row, .rows = rows};
