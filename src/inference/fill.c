/*
 * fill.c - a masked text through an EMBED graph with logits at its masks, and the best few of each row.
 */
#include "base/arena.h"
#include "inference/model.h"
#include "inference/scores.h"
#include "models/build.h"

#include <drivetrain/fill.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct dt_filled {
    dt_arena *arena; /* owns the places */
    dt_fill_place *place;
    size_t count;
};

/* One call: the plan, and the arrays that its inputs are bound to. */
typedef struct filling {
    dt_model *model;
    const int32_t *given;
    int64_t rows, masks, best;
    dt_arena *arena;
    dt_graph *graph;
    dt_executor *executor;
    int32_t *tokens, *token_types, *positions, *cu_seqlens, *output_rows;
    dt_filled *result;
} filling;

static dt_status check(filling *f, int32_t mask, dt_error *err)
{
    const dt_model_config *c = f->model->config;
    if (strcmp(c->model_type, "bert") != 0)
        return dt_fail(err, DT_UNSUPPORTED, "a %s does not fill masks: BERT and its kin do", c->family);
    if (f->rows > dt_model_positions(f->model) || f->rows > INT32_MAX)
        return dt_fail(err, DT_INVALID,
                       "the text has %" PRId64 " tokens, but the model has %" PRId64 " positions", f->rows,
                       dt_model_positions(f->model));
    for (int64_t i = 0; i < f->rows; i++) {
        if (f->given[i] < 0 || f->given[i] >= c->vocab_size)
            return dt_fail(err, DT_INVALID,
                           "token %" PRId64 " has id %" PRId32 ", but the model's vocabulary has %" PRId64, i,
                           f->given[i], (int64_t)c->vocab_size);
        f->masks += f->given[i] == mask;
    }
    if (f->masks == 0)
        return dt_fail(err, DT_INVALID, "the text has no mask (id %" PRId32 ") to fill", mask);
    return DT_OK;
}

/* ---- the plan ---- */

static dt_status bind(filling *f, const char *name, int32_t **array, int64_t count, dt_error *err)
{
    return dt_model_bind_array(f->arena, f->graph, f->executor, name, array, count, err);
}

static dt_status plan(filling *f, dt_error *err)
{
    const dt_build_options options = {.mode = DT_BUILD_EMBED,
                                      .spec = dt_model_layer_spec(f->model),
                                      .logits = true,
                                      .tokens = f->rows,
                                      .sequences = 1,
                                      .output_rows = f->masks,
                                      .kv_dtype = DT_F32};
    if (!(f->graph = dt_graph_create(err)))
        return DT_NO_MEMORY;
    DT_PASS(dt_model_build(f->graph, f->model->config, &options, err));
    DT_PASS(dt_model_executor(f->model, f->graph, NULL, &f->executor, err));
    DT_PASS(bind(f, "tokens", &f->tokens, f->rows, err));
    DT_PASS(bind(f, "positions", &f->positions, f->rows, err));
    DT_PASS(bind(f, "token_types", &f->token_types, f->rows, err));
    DT_PASS(bind(f, "cu_seqlens", &f->cu_seqlens, 2, err));
    return bind(f, "output_rows", &f->output_rows, f->masks, err);
}

static void put_text(filling *f, int32_t mask)
{
    int64_t n = 0;
    memcpy(f->tokens, f->given, (size_t)f->rows * sizeof *f->tokens);
    for (int64_t i = 0; i < f->rows; i++)
        if (f->given[i] == mask)
            f->output_rows[n++] = (int32_t)i;
    f->cu_seqlens[1] = (int32_t)f->rows;
    dt_model_number_positions(f->model->config, f->tokens, f->rows, f->positions);
}

static dt_status run(filling *f, dt_data *logits, dt_error *err)
{
    DT_PASS(dt_executor_count(f->executor, "tokens", f->rows, err));
    DT_PASS(dt_executor_count(f->executor, "sequences", 1, err));
    DT_PASS(dt_executor_count(f->executor, "output_rows", f->masks, err));
    DT_PASS(dt_executor_run(f->executor, err));
    return dt_executor_read(f->executor, "out.logits", logits, err);
}

/* ---- the answer ---- */

static dt_status keep(filling *f, int64_t mask, const float *logits, dt_error *err)
{
    int64_t vocab = f->model->config->vocab_size;
    int32_t *ids = DT_NEW_ARRAY(f->result->arena, int32_t, f->best);
    float *probability = DT_NEW_ARRAY(f->result->arena, float, f->best);
    if (!ids || !probability)
        return dt_fail_memory(err, (size_t)f->best * sizeof *ids, "the words of a mask");
    int64_t found = dt_scores_best(logits, vocab, f->best, ids);
    double sum = dt_scores_log_sum(logits, vocab);
    for (int64_t i = 0; i < found; i++)
        probability[i] = (float)exp((double)logits[ids[i]] - sum);
    f->result->place[mask] = (dt_fill_place){(size_t)f->output_rows[mask], (size_t)found, ids, probability};
    return DT_OK;
}

static dt_status make_result(filling *f, dt_error *err)
{
    dt_filled *r = f->result = calloc(1, sizeof *r);
    if (r && (r->arena = dt_arena_create()))
        r->place = DT_NEW_ARRAY(r->arena, dt_fill_place, f->masks);
    if (!r || !r->place)
        return dt_fail_memory(err, (size_t)f->masks * sizeof *r->place, "the places of masks");
    r->count = (size_t)f->masks;
    return DT_OK;
}

static dt_status fill(filling *f, int32_t mask, dt_error *err)
{
    dt_data logits;
    DT_PASS(check(f, mask, err));
    DT_PASS(make_result(f, err));
    if (!(f->arena = dt_arena_create()))
        return dt_fail_memory(err, 0, "a masked text");
    DT_PASS(plan(f, err));
    put_text(f, mask);
    DT_PASS(run(f, &logits, err));
    for (int64_t i = 0; i < f->masks; i++)
        DT_PASS(keep(f, i, (const float *)logits.data + i * logits.dim[1], err));
    return DT_OK;
}

dt_status dt_fill(dt_filled **out, dt_model *model, const int32_t *tokens, size_t count, int32_t mask,
                  size_t best, dt_error *err)
{
    int64_t vocab = model->config->vocab_size;
    filling f = {.model = model, .given = tokens, .rows = (int64_t)count};
    f.best = best < (size_t)vocab ? (int64_t)best : vocab;
    *out = NULL;
    dt_model_enter(model);
    dt_status status = fill(&f, mask, err);
    dt_executor_destroy(f.executor);
    dt_graph_destroy(f.graph);
    dt_arena_destroy(f.arena);
    dt_model_leave(model);
    if (status == DT_OK)
        *out = f.result;
    else
        dt_filled_destroy(f.result);
    return status;
}

void dt_filled_destroy(dt_filled *f)
{
    if (!f)
        return;
    dt_arena_destroy(f->arena);
    free(f);
}

size_t dt_filled_count(const dt_filled *f)
{
    return f->count;
}

const dt_fill_place *dt_filled_place(const dt_filled *f, size_t index)
{
    return index < f->count ? &f->place[index] : NULL;
}
