/*
 * inputs.c - what a model is given, by kind: the inputs of a recording read and packed, or made up where two models are
 * compared. replay.c binds them.
 */
#include "verify/replay.h"

#include "base/rng.h"
#include "models/build.h"

#include <string.h>

bool dt_replay_two_sided(const dt_model_config *c)
{
    return strcmp(c->model_type, "t5") == 0 && !c->encoder_only;
}

/* What is read, for which model, and where it lives. */
typedef struct reading {
    const dt_recording *recording;
    const char *model; /* its folder: raw pictures are made into pixels as it says */
    const dt_model_config *config;
    dt_arena *arena;
} reading;

/* ---- texts ---- */

static dt_status read_source(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    return dt_rows_read(in->recording, "in.encoder_", in->arena, &out->source, err);
}

static dt_status read_target(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    DT_PASS(
        dt_rows_read(in->recording, out->source.batch ? "in.decoder_" : "in.", in->arena, &out->target, err));
    if (out->source.batch && out->source.batch != out->target.batch)
        return dt_fail(err, DT_FORMAT, "in.encoder_tokens has %lld rows, in.decoder_tokens %lld",
                       (long long)out->source.batch, (long long)out->target.batch);
    return DT_OK;
}

/* Token types of each row, and which sentence comes first; what is not recorded stays NULL. */
static dt_status read_bert(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    int32_t *types, *order;
    dt_shape shape, tokens = {.rank = 2, .dim = {out->target.batch, out->target.length}};
    DT_PASS(dt_recording_ints(in->recording, "in.token_types", in->arena, &types, &shape, err));
    if (types && !dt_shape_equal(&shape, &tokens))
        return dt_fail(err, DT_FORMAT, "in.token_types is %s, expected %s", dt_shape_print(&shape).text,
                       dt_shape_print(&tokens).text);
    int32_t *packed = DT_NEW_ARRAY(in->arena, int32_t, out->target.total);
    float *known = DT_NEW_ARRAY(in->arena, float, out->target.batch);
    if (!packed || !known)
        return dt_fail_memory(err, (size_t)out->target.total * 4, "token types");
    if (types)
        dt_rows_pack(&out->target, types, packed);
    out->token_types = packed;
    DT_PASS(dt_recording_ints(in->recording, "in.sentence_order", in->arena, &order, &shape, err));
    if (!in->recording->sentence_order || !order)
        return DT_OK;
    if (shape.rank != 1 || shape.dim[0] != out->target.batch)
        return dt_fail(err, DT_FORMAT, "in.sentence_order is %s, expected [%lld]",
                       dt_shape_print(&shape).text, (long long)out->target.batch);
    for (int64_t b = 0; b < out->target.batch; b++)
        known[b] = order[b] >= 0;
    out->sentence_order = order;
    out->sentence_order_mask = known;
    return DT_OK;
}

/* Which row stands for each text. */
static dt_status find_pooled_rows(const dt_model_config *c, dt_arena *arena, dt_replay_inputs *out,
                                  dt_error *err)
{
    const dt_row_batch *texts = &out->target;
    int32_t *row = DT_NEW_ARRAY(arena, int32_t, texts->batch);
    if (!row)
        return dt_fail_memory(err, (size_t)texts->batch * sizeof *row, "rows of texts");
    for (int64_t b = 0; b < texts->batch; b++) {
        int32_t first = texts->cu_seqlens[b];
        row[b] =
            first + (int32_t)dt_model_pooled_row(c, texts->tokens + first, texts->cu_seqlens[b + 1] - first);
    }
    out->pooled_rows = row;
    return DT_OK;
}

static dt_status read_pooled_rows(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    return find_pooled_rows(in->config, in->arena, out, err);
}

static dt_status read_targets(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    int32_t *labels;
    float *mask;
    dt_shape shape, mask_shape, tokens = {.rank = 2, .dim = {out->target.batch, out->target.length}};
    DT_PASS(dt_recording_ints(in->recording, "in.labels", in->arena, &labels, &shape, err));
    DT_PASS(dt_recording_floats(in->recording, "in.loss_mask", in->arena, &mask, &mask_shape, err));
    if (!labels || !mask || !in->recording->loss || strcmp(in->recording->loss, "masked_mean") != 0)
        return DT_OK;
    if (!dt_shape_equal(&shape, &tokens) || !dt_shape_equal(&mask_shape, &tokens))
        return dt_fail(err, DT_FORMAT, "in.labels is %s and in.loss_mask %s, expected %s",
                       dt_shape_print(&shape).text, dt_shape_print(&mask_shape).text,
                       dt_shape_print(&tokens).text);
    int32_t *packed_labels = DT_NEW_ARRAY(in->arena, int32_t, out->target.total);
    float *packed_mask = DT_NEW_ARRAY(in->arena, float, out->target.total);
    if (!packed_labels || !packed_mask)
        return dt_fail_memory(err, (size_t)out->target.total * 8, "labels");
    dt_rows_pack(&out->target, labels, packed_labels);
    dt_rows_pack(&out->target, mask, packed_mask);
    out->loss = true;
    out->labels = packed_labels;
    out->loss_mask = packed_mask;
    out->loss_over_padded = in->recording->loss_over_padded_vocab;
    return DT_OK;
}

/* ---- pictures ---- */

static bool among_words(const dt_model_config *c)
{
    return c->vision && c->projection;
}

/* So many rows of each picture, as packed rows. */
static dt_status batch_of(dt_arena *arena, int64_t count, int64_t rows, dt_row_batch *out, dt_error *err)
{
    *out = (dt_row_batch){.batch = count, .length = rows, .total = count * rows};
    out->cu_seqlens = DT_NEW_ARRAY(arena, int32_t, count + 1);
    if (!out->cu_seqlens)
        return dt_fail_memory(err, sizeof(int32_t) * (size_t)count, "pictures");
    for (int64_t i = 0; i <= count; i++)
        out->cu_seqlens[i] = (int32_t)(i * rows);
    return DT_OK;
}

/* Pictures laid out for a tower: the rows of each are a sequence, as long as its size asks for. */
static dt_status pack_pictures(const dt_model_config *tower, dt_arena *arena, int64_t count,
                               const dt_picture *picture, dt_replay_inputs *out, dt_error *err)
{
    DT_PASS(dt_pictures_pack(&out->pictures, arena, tower, count, picture, err));
    out->tile = picture;
    const int32_t *end = out->pictures.cu_seqlens;
    out->vision =
        (dt_row_batch){.batch = count, .total = out->pictures.rows, .cu_seqlens = out->pictures.cu_seqlens};
    for (int64_t i = 0; i < count; i++)
        if (end[i + 1] - end[i] > out->vision.length)
            out->vision.length = end[i + 1] - end[i];
    return DT_OK;
}

/* Pixels [N, C, height, width], all of one size. */
static dt_status pack_pixels(const dt_model_config *tower, dt_arena *arena, const float *pixels,
                             const dt_shape *shape, dt_replay_inputs *out, dt_error *err)
{
    int64_t count = shape->dim[0], each = shape->dim[1] * shape->dim[2] * shape->dim[3];
    dt_picture *picture = DT_NEW_ARRAY(arena, dt_picture, count + 1);
    if (!picture)
        return dt_fail_memory(err, sizeof *picture * (size_t)count, "pictures");
    for (int64_t i = 0; i < count; i++)
        picture[i] = (dt_picture){pixels + i * each, shape->dim[2], shape->dim[3]};
    return pack_pictures(tower, arena, count, picture, out, err);
}

/* Where no pixels are recorded, raw pictures are made into them, each of its own size. */
static dt_status read_raw_pictures(const reading *in, const dt_model_config *tower, dt_replay_inputs *out,
                                   dt_error *err)
{
    dt_replay_pixels made;
    if (among_words(in->config) && !dt_stored_set_find(in->recording->tensors, "in.image.0"))
        return DT_OK; /* words alone */
    DT_PASS(dt_replay_pixels_make(in->recording, in->model, in->arena, &made, err));
    if (made.count == 0)
        return dt_fail(err, DT_NOT_FOUND, "the recording %s has neither in.pixels nor in.image.0",
                       in->recording->path);
    if (tower->num_channels != 3)
        return dt_fail(err, DT_UNSUPPORTED, "pictures of three colours for a tower that sees %lld",
                       (long long)tower->num_channels);
    return pack_pictures(tower, in->arena, made.count, made.picture, out, err);
}

static dt_status read_pictures(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    const dt_model_config *tower = in->config->vision ? in->config->vision : in->config;
    float *pixels;
    dt_shape shape;
    DT_PASS(dt_recording_floats(in->recording, "in.pixels", in->arena, &pixels, &shape, err));
    if (!pixels)
        return read_raw_pictures(in, tower, out, err);
    if (shape.rank != 4 || shape.dim[0] < 1 || shape.dim[1] != tower->num_channels)
        return dt_fail(err, DT_FORMAT, "in.pixels is %s, expected [pictures, %lld, height, width]",
                       dt_shape_print(&shape).text, (long long)tower->num_channels);
    return pack_pixels(tower, in->arena, pixels, &shape, out, err);
}

static dt_status read_seen(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    return dt_replay_read_seen(in->recording, in->model, in->config, in->arena, out, err);
}

static dt_status read_features(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    float *features;
    dt_shape shape;
    DT_PASS(dt_recording_floats(in->recording, "in.image_features", in->arena, &features, &shape, err));
    if (!features)
        return dt_fail(err, DT_NOT_FOUND, "the recording %s has no in.image_features", in->recording->path);
    if (shape.rank != 3 || shape.dim[0] < 1 || shape.dim[1] < 1 || shape.dim[2] != in->config->input_size)
        return dt_fail(err, DT_FORMAT, "in.image_features is %s, expected [pictures, rows, %lld]",
                       dt_shape_print(&shape).text, (long long)in->config->input_size);
    out->features = features; /* of one length each: packed already */
    return batch_of(in->arena, shape.dim[0], shape.dim[1], &out->vision, err);
}

/* The losses of models without words: of what is pooled, or of every row by a weight of its own. */
static dt_status read_row_loss(const reading *in, dt_replay_inputs *out, dt_error *err)
{
    float *weight;
    dt_shape shape;
    int64_t elements;
    if (in->recording->loss && strcmp(in->recording->loss, "pooled_sum_of_squares") == 0 &&
        in->config->vision_pooling != DT_POOL_NONE) {
        out->loss = true;
        out->loss_kind = DT_LOSS_POOLED_SQUARES;
    }
    DT_PASS(dt_recording_floats(in->recording, "in.hidden_weight", in->arena, &weight, &shape, err));
    if (!weight || !in->recording->loss || strcmp(in->recording->loss, "hidden_weighted_mean") != 0)
        return DT_OK;
    dt_shape rows = {.rank = 3, .dim = {out->vision.batch, out->vision.length, in->config->hidden_size}};
    if (!dt_shape_equal(&shape, &rows) || !dt_shape_elements(&shape, &elements))
        return dt_fail(err, DT_FORMAT, "in.hidden_weight is %s, expected %s", dt_shape_print(&shape).text,
                       dt_shape_print(&rows).text);
    if (out->vision.total != out->vision.batch * out->vision.length)
        return dt_fail(err, DT_UNSUPPORTED, "in.hidden_weight over pictures of different sizes");
    out->loss = true;
    out->loss_kind = DT_LOSS_HIDDEN_WEIGHTED;
    out->loss_factor = 1.0 / (double)elements;
    out->hidden_weight = weight;
    return DT_OK;
}

/* ---- by kind ---- */

static bool is_bert(const dt_model_config *c)
{
    return strcmp(c->model_type, "bert") == 0;
}

static bool pools_texts(const dt_model_config *c)
{
    return c->text_pooling != DT_TEXT_POOL_NONE;
}

static bool is_projector(const dt_model_config *c)
{
    return strcmp(c->model_type, "projector") == 0;
}

static bool sees(const dt_model_config *c)
{
    return c->vision || dt_config_is_tower(c);
}

static bool names_words(const dt_model_config *c)
{
    return dt_config_reads(c) && !c->encoder_only && !c->no_lm_head;
}

static bool has_row_loss(const dt_model_config *c)
{
    return !dt_config_reads(c);
}

/* What a model of which kind reads, in the order in which one follows from another. */
static const struct {
    bool (*has)(const dt_model_config *config);
    dt_status (*read)(const reading *in, dt_replay_inputs *out, dt_error *err);
} kinds[] = {
    {dt_replay_two_sided, read_source}, {dt_config_reads, read_target}, {is_bert, read_bert},
    {pools_texts, read_pooled_rows},    {sees, read_pictures},          {is_projector, read_features},
    {names_words, read_targets},        {has_row_loss, read_row_loss},  {among_words, read_seen}};

dt_status dt_replay_inputs_read(const dt_recording *r, const char *model, const dt_model_config *config,
                                dt_arena *arena, dt_replay_inputs *out, dt_error *err)
{
    reading in = {r, model, config, arena};
    *out = (dt_replay_inputs){0};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].has(config))
            DT_PASS(kinds[i].read(&in, out, err));
    return DT_OK;
}

/* ---- made up ---- */

/* Fixed prompts: a short, a middling and a longer row (within the model's positions), ids drawn from the vocabulary. */
static dt_status make_prompts(dt_arena *arena, const dt_model_config *c, uint64_t stream, dt_row_batch *out,
                              dt_error *err)
{
    int32_t length[3] = {33, 5, 17}, token[64];
    int count = 0;
    for (int b = 0; b < 3; b++) {
        int64_t skipped = c->positions_skip_padding ? c->pad_token_id + 1 : 0;
        if (c->max_sequence_length > 0 && length[b] > c->max_sequence_length - skipped)
            length[b] = (int32_t)(c->max_sequence_length - skipped);
        for (int s = 0; s < length[b]; s++, count++)
            token[count] =
                (int32_t)(dt_rng_uniform(&(dt_rng){1, stream}, (uint64_t)count) * (double)c->vocab_size);
    }
    return dt_rows_make(arena, 3, length, token, out, err);
}

static float *noise(dt_arena *arena, int64_t count, dt_error *err)
{
    float *x = DT_NEW_ARRAY(arena, float, count);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = (float)(2 * dt_rng_uniform(&(dt_rng){1, 3}, (uint64_t)i) - 1);
    if (!x)
        dt_fail_memory(err, sizeof *x * (size_t)count, "a picture");
    return x;
}

/* Two pictures of noise, as large as the tower was trained on. */
static dt_status make_pictures(dt_arena *arena, const dt_model_config *tower, dt_replay_inputs *out,
                               dt_error *err)
{
    dt_shape shape = {.rank = 4, .dim = {2, tower->num_channels, tower->img_h, tower->img_w}};
    float *pixels = noise(arena, shape.dim[0] * shape.dim[1] * shape.dim[2] * shape.dim[3], err);
    return pixels ? pack_pixels(tower, arena, pixels, &shape, out, err) : DT_NO_MEMORY;
}

static dt_status make_features(dt_arena *arena, const dt_model_config *c, dt_replay_inputs *out,
                               dt_error *err)
{
    enum { ROWS = 7 };
    out->features = noise(arena, 2 * ROWS * c->input_size, err);
    return out->features ? batch_of(arena, 2, ROWS, &out->vision, err) : DT_NO_MEMORY;
}

/* The first text shows both pictures, one behind its first word and one at its end; no other token stands for one. */
static dt_status make_seen(dt_arena *arena, const dt_model_config *c, dt_replay_inputs *out, dt_error *err)
{
    int32_t *tokens = out->target.tokens, last = out->target.cu_seqlens[1] - 1;
    for (int64_t i = 0; i < out->target.total; i++)
        if (tokens[i] == c->image_token_index)
            tokens[i] = tokens[i] > 0 ? 0 : 1;
    if (last > 1)
        tokens[1] = tokens[last] = (int32_t)c->image_token_index;
    DT_PASS(make_pictures(arena, c->vision, out, err));
    if (last <= 1)
        out->pictures.images = 0; /* no room: words alone */
    return last > 1 ? dt_replay_see(c, arena, out, err) : DT_OK;
}

dt_status dt_replay_inputs_make(const dt_model_config *c, dt_arena *arena, dt_replay_inputs *out,
                                dt_error *err)
{
    *out = (dt_replay_inputs){0};
    if (dt_config_is_tower(c))
        return make_pictures(arena, c, out, err);
    if (is_projector(c))
        return make_features(arena, c, out, err);
    if (dt_replay_two_sided(c))
        DT_PASS(make_prompts(arena, c, 1, &out->source, err));
    DT_PASS(make_prompts(arena, c, 2, &out->target, err));
    if (pools_texts(c))
        DT_PASS(find_pooled_rows(c, arena, out, err));
    if (among_words(c))
        return make_seen(arena, c, out, err);
    if (!is_bert(c))
        return DT_OK;
    out->token_types = DT_NEW_ARRAY(arena, int32_t, out->target.total);
    return out->token_types ? DT_OK : dt_fail_memory(err, 4 * (size_t)out->target.total, "token types");
}
