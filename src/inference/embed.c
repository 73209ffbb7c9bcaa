/*
 * embed.c - texts to vectors: packs them into steps of an EMBED graph, and keeps what the encoder gives of each.
 *
 * What the encoder computes is models/'s, how rows become one vector embeddings.c's; here is only who stands in which step.
 */
#include "base/arena.h"
#include "base/checked.h"
#include "inference/embeddings.h"
#include "inference/model.h"
#include "models/build.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_BATCH = 2048 };

/* One call: the plan, and the arrays that its inputs are bound to. */
typedef struct embedding {
    dt_model *model;
    const dt_embed_options *options;
    const dt_embed_input *input;
    size_t count;
    int64_t *length; /* tokens of each text that are used */
    dt_arena *arena;
    dt_graph *graph;
    dt_executor *executor;
    int64_t rows, sequences; /* capacities */
    int32_t *tokens, *token_types, *positions, *cu_seqlens, *pooled_rows;
    dt_embeddings *result;
} embedding;

/* ---- text towers ---- */

bool dt_projects_texts(const dt_model_config *c)
{
    return dt_config_compares(c) || (c->text_projection_dim && !c->text_projection_pools);
}

dt_pooling dt_text_tower_pooling(const dt_model_config *c)
{
    return dt_projects_texts(c) ? DT_POOLING_PROJECTION : DT_POOLING_POOLER;
}

/* A tower that reads texts of one length, padding and all, is given that length. */
static bool pads(const dt_model_config *c)
{
    return c->text_pooling == DT_TEXT_POOL_LAST && c->pad_token_id >= 0;
}

/* Is there one row a text where the values are? */
static bool one_row(const embedding *e)
{
    return e->options->pooling == DT_POOLING_POOLER || e->options->pooling == DT_POOLING_PROJECTION;
}

static const char *point_of(const embedding *e)
{
    return e->options->pooling == DT_POOLING_PROJECTION ? "out.text_features"
           : e->options->pooling == DT_POOLING_POOLER   ? "out.pooled"
                                                        : "out.hidden";
}

static int64_t width_of(const embedding *e)
{
    const dt_model_config *c = e->model->config;
    bool projected = e->options->pooling == DT_POOLING_PROJECTION ||
                     (e->options->pooling == DT_POOLING_POOLER && c->text_projection_pools);
    return projected ? dt_config_features(c) : c->hidden_size;
}

/* ---- what is asked ---- */

static dt_status check_ids(size_t text, const char *what, const int32_t *id, int64_t count, int64_t limit,
                           dt_error *err)
{
    for (int64_t i = 0; i < count; i++)
        if (id[i] < 0 || id[i] >= limit)
            return dt_fail(err, DT_INVALID,
                           "text %zu: token %" PRId64 " has %s %" PRId32 ", but the model has %" PRId64, text,
                           i, what, id[i], limit);
    return DT_OK;
}

static dt_status measure(embedding *e, size_t text, dt_error *err)
{
    const dt_model_config *c = e->model->config;
    const dt_embed_input *in = &e->input[text];
    int64_t positions = dt_model_positions(e->model);
    if (in->count == 0)
        return dt_fail(err, DT_INVALID, "text %zu is empty", text);
    if (in->count > INT32_MAX)
        return dt_fail(err, DT_LIMIT, "text %zu has %zu tokens, at most %d are embedded", text, in->count,
                       INT32_MAX);
    e->length[text] = (int64_t)in->count;
    if (e->length[text] > positions && !e->options->truncate)
        return dt_fail(err, DT_INVALID, "text %zu has %zu tokens, but the model has %" PRId64 " positions",
                       text, in->count, positions);
    if (e->length[text] > positions || pads(c))
        e->length[text] = positions;
    DT_PASS(check_ids(text, "id", in->tokens, (int64_t)in->count, c->vocab_size, err));
    if (!in->token_types)
        return DT_OK;
    return check_ids(text, "type", in->token_types, (int64_t)in->count, c->num_tokentypes, err);
}

static dt_status resolve(embedding *e, dt_error *err)
{
    int64_t total = 0, longest = 0;
    int64_t budget = e->options->max_batch > 0 ? e->options->max_batch : DEFAULT_BATCH;
    if (!dt_pooling_name(e->options->pooling))
        return dt_fail(err, DT_INVALID, "%d is no kind of pooling", (int)e->options->pooling);
    if (!(e->length = DT_NEW_ARRAY(e->arena, int64_t, e->count ? e->count : 1)))
        return dt_fail_memory(err, e->count * sizeof *e->length, "lengths");
    for (size_t i = 0; i < e->count; i++) {
        DT_PASS(measure(e, i, err));
        longest = e->length[i] > longest ? e->length[i] : longest;
        if (__builtin_add_overflow(total, e->length[i], &total))
            return dt_fail(err, DT_LIMIT, "the texts have more tokens than can be counted");
    }
    e->rows = total < budget ? total : budget;
    e->rows = e->rows > longest ? e->rows : longest;
    e->sequences = (int64_t)e->count < e->rows ? (int64_t)e->count : e->rows;
    return DT_OK;
}

/* ---- the plan ---- */

static dt_status bind(embedding *e, const char *name, int32_t **array, int64_t count, dt_error *err)
{
    return dt_model_bind_array(e->arena, e->graph, e->executor, name, array, count, err);
}

static dt_status plan(embedding *e, dt_error *err)
{
    const dt_build_options options = {.mode = DT_BUILD_EMBED,
                                      .spec = dt_model_layer_spec(e->model),
                                      .pooled = e->options->pooling == DT_POOLING_POOLER,
                                      .tokens = e->rows,
                                      .sequences = e->sequences,
                                      .kv_dtype = DT_F32};
    const dt_executor_options plain = {0};
    if (!(e->graph = dt_graph_create(err)))
        return DT_NO_MEMORY;
    DT_PASS(dt_model_build(e->graph, e->model->config, &options, err));
    DT_PASS(dt_model_executor(e->model, e->graph, &plain, &e->executor, err));
    DT_PASS(bind(e, "tokens", &e->tokens, e->rows, err));
    DT_PASS(bind(e, "positions", &e->positions, e->rows, err));
    DT_PASS(bind(e, "token_types", &e->token_types, e->rows, err));
    DT_PASS(bind(e, "cu_seqlens", &e->cu_seqlens, e->sequences + 1, err));
    DT_PASS(bind(e, "pooled_rows", &e->pooled_rows, e->sequences, err));
    return dt_graph_find(e->graph, "first_rows")
               ? dt_executor_bind(e->executor, "first_rows", e->cu_seqlens, err) /* where each text begins */
               : DT_OK;
}

/* ---- one step ---- */

/* Truncation keeps the last token: it ends the text (</s>, [SEP]). */
static void put_text(const embedding *e, size_t text, int64_t at)
{
    const dt_embed_input *in = &e->input[text];
    int64_t n = e->length[text], count = (int64_t)in->count, last = n < count ? n - 1 : count - 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = i == last ? count - 1 : i;
        e->tokens[at + i] = i > last ? (int32_t)e->model->config->pad_token_id : in->tokens[from];
        e->token_types[at + i] = i <= last && in->token_types ? in->token_types[from] : 0;
    }
    dt_model_number_positions(e->model->config, e->tokens + at, n, e->positions + at);
}

/* Take texts from `first` on while they fit; returns how many. */
static int64_t pack(const embedding *e, size_t first)
{
    int64_t rows = 0, count = 0;
    e->cu_seqlens[0] = 0;
    while (first + (size_t)count < e->count && count < e->sequences &&
           rows + e->length[first + (size_t)count] <= e->rows) {
        put_text(e, first + (size_t)count, rows);
        int64_t n = e->length[first + (size_t)count];
        e->pooled_rows[count] = (int32_t)(rows + dt_model_pooled_row(e->model->config, e->tokens + rows, n));
        rows += n;
        e->cu_seqlens[++count] = (int32_t)rows;
    }
    return count;
}

/* rows [n, width] of one text to what was asked for. */
static dt_status keep(embedding *e, size_t text, const float *row, int64_t n, dt_error *err)
{
    bool mean = e->options->pooling == DT_POOLING_MEAN;
    int64_t rows =
        mean || e->options->pooling == DT_POOLING_NONE ? n : 1; /* else the first, or the pooler's one */
    return dt_embeddings_keep(e->result, text, row, rows, mean, e->options->normalize, err);
}

static dt_status run(embedding *e, size_t first, int64_t count, dt_error *err)
{
    dt_data out;
    DT_PASS(dt_executor_count(e->executor, "tokens", e->cu_seqlens[count], err));
    DT_PASS(dt_executor_count(e->executor, "sequences", count, err));
    DT_PASS(dt_executor_run(e->executor, err));
    DT_PASS(dt_executor_read(e->executor, point_of(e), &out, err));
    for (int64_t i = 0; i < count; i++) {
        int64_t at = one_row(e) ? i : e->cu_seqlens[i];
        const float *row = (const float *)out.data + at * dt_embeddings_width(e->result);
        DT_PASS(keep(e, first + (size_t)i, row, e->length[first + (size_t)i], err));
    }
    return DT_OK;
}

/* ---- the call ---- */

static dt_status embed(embedding *e, dt_error *err)
{
    if (!dt_config_reads(e->model->config))
        return dt_fail(err, DT_UNSUPPORTED, "this %s reads no text to embed", e->model->config->family);
    if (e->model->config->vision && !dt_config_compares(e->model->config))
        return dt_fail(err, DT_UNSUPPORTED, "this %s embeds pictures: its texts it continues",
                       e->model->config->family);
    if (e->options->pooling == DT_POOLING_PROJECTION && !dt_projects_texts(e->model->config))
        return dt_fail(err, DT_UNSUPPORTED, "this %s has no projection", e->model->config->family);
    DT_PASS(dt_embeddings_create(&e->result, e->count, width_of(e), err));
    if (!(e->arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "a batch of texts");
    DT_PASS(resolve(e, err));
    if (e->count == 0)
        return DT_OK;
    DT_PASS(plan(e, err));
    for (size_t first = 0; first < e->count;) {
        int64_t count = pack(e, first);
        DT_PASS(run(e, first, count, err));
        first += (size_t)count;
    }
    return DT_OK;
}

dt_status dt_embed(dt_embeddings **out, dt_model *model, size_t count, const dt_embed_input *inputs,
                   const dt_embed_options *options, dt_error *err)
{
    static const dt_embed_options defaults = DT_EMBED_OPTIONS_DEFAULT;
    embedding e = {.model = model, .options = options ? options : &defaults, .input = inputs, .count = count};
    dt_model_enter(model);
    dt_status status = embed(&e, err);
    dt_executor_destroy(e.executor);
    dt_graph_destroy(e.graph);
    dt_arena_destroy(e.arena);
    dt_model_leave(model);
    *out = status == DT_OK ? e.result : NULL;
    if (status != DT_OK)
        dt_embeddings_destroy(e.result);
    return status;
}
