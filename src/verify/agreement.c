/*
 * agreement.c - how far a model whose weights were quantised is from its source: perplexity of both, mean KL divergence
 * and the share of first choices that the source would hardly make, on a text of the caller's or on rows that the source itself writes.
 *
 * Of rows that the source samples, the difference of perplexities has the divergence for its mean; so a model without
 * any text, and a random one, can be judged as well. Near ties are no disagreement: a first choice counts as another when
 * the source holds it less than half as likely as its own. The numbers are points of a report: agree.kl, agree.top1,
 * agree.perplexity, each with what is allowed.
 */
#include "verify/report.h"

#include "base/map.h"
#include "base/rng.h"

#include <drivetrain/tokenizer.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 8,
    ROW_TOKENS = 64,
    TEXT_ROWS = 32,
    SEED = 1,
    TEXT_LIMIT = 1 << 20,
    PROMPT_TOKENS = 4,
    SOURCE_TOKENS = 12
};

/* ---- rows ---- */

static int64_t row_tokens(const dt_model_config *c)
{
    bool bounded = c->max_sequence_length > 0 && c->max_sequence_length < ROW_TOKENS;
    return bounded ? c->max_sequence_length : ROW_TOKENS;
}

static int32_t drawn(const dt_model_config *c, uint64_t stream, int64_t index)
{
    return (int32_t)(dt_rng_uniform(&(dt_rng){SEED, stream}, (uint64_t)index) * (double)c->vocab_size);
}

/* A few tokens by chance, then what the source makes of them. */
static dt_status sample_rows(dt_arena *arena, dt_model *source, dt_replay_inputs *in, dt_error *err)
{
    const dt_model_config *c = dt_model_get_config(source);
    bool two = strcmp(c->model_type, "t5") == 0;
    int64_t room = row_tokens(c), before = two ? SOURCE_TOKENS : PROMPT_TOKENS;
    int32_t token[ROWS][ROW_TOKENS], length[ROWS], all[ROWS * ROW_TOKENS], start[ROWS * SOURCE_TOKENS],
        wide[ROWS];
    dt_prompt prompt[ROWS] = {0};
    dt_generate_options o = DT_GENERATE_OPTIONS_DEFAULT;
    dt_generation *made = NULL;
    before = before < room / 2 ? before : room / 2;
    for (int r = 0; r < ROWS; r++) {
        for (int64_t i = 0; i < before; i++)
            token[r][i] = start[r * before + i] = drawn(c, 7, r * before + i);
        prompt[r] = (dt_prompt){.tokens = token[r], .count = (size_t)before};
        wide[r] = (int32_t)before;
    }
    o.max_tokens = two ? room - 1 : room - before;
    o.temperature = 1;
    o.seed = SEED;
    o.ignore_eos = true;
    DT_PASS(dt_generate(&made, source, ROWS, prompt, &o, err));
    int count = 0;
    for (int r = 0; r < ROWS; r++) {
        const dt_generated *g = dt_generation_row(made, (size_t)r);
        int first = count;
        for (int64_t i = 0; i < (two ? 0 : before); i++)
            all[count++] = token[r][i];
        if (two)
            all[count++] = (int32_t)(c->decoder_start_token_id > 0 ? c->decoder_start_token_id : 0);
        for (size_t i = 0; i < g->count && count - first < room; i++)
            all[count++] = g->tokens[i];
        length[r] = count - first;
    }
    dt_generation_destroy(made);
    if (two)
        DT_PASS(dt_rows_make(arena, ROWS, wide, start, &in->source, err));
    return dt_rows_make(arena, ROWS, length, all, &in->target, err);
}

/* The text's first tokens in rows; an encoder-decoder reads each row and is asked for it. */
static dt_status text_rows(dt_arena *arena, const dt_model *source, const char *path, dt_replay_inputs *in,
                           dt_error *err)
{
    const dt_model_config *c = dt_model_get_config(source);
    dt_tokenizer *t = NULL;
    dt_map map = {0};
    int32_t *ids = NULL, length[TEXT_ROWS];
    size_t count = 0;
    int64_t room = row_tokens(c), rows;
    dt_status status = dt_map_open(&map, path, err);
    if (status == DT_OK)
        status = dt_tokenizer_open(&t, dt_checkpoint_describe(dt_model_checkpoint(source)).path, err);
    if (status == DT_OK)
        status = dt_tokenizer_encode(t, (const char *)map.data, map.size < TEXT_LIMIT ? map.size : TEXT_LIMIT,
                                     &(dt_encode_options){.no_special = true}, &ids, &count, err);
    rows = (int64_t)count / room < TEXT_ROWS ? (int64_t)count / room : TEXT_ROWS;
    if (status == DT_OK && rows < 1)
        status = dt_fail(err, DT_INVALID, "%s has %zu tokens; at least %lld are needed", path, count,
                         (long long)room);
    for (int64_t r = 0; r < rows; r++)
        length[r] = (int32_t)room;
    if (status == DT_OK)
        status = dt_rows_make(arena, rows, length, ids, &in->target, err);
    if (status == DT_OK && strcmp(c->model_type, "t5") == 0)
        in->source = in->target;
    dt_free(ids);
    dt_tokenizer_close(t);
    dt_map_close(&map);
    return status;
}

/* ---- numbers ---- */

typedef struct sums {
    double kl, loss[2]; /* of the artefact, of the source */
    int64_t rows, labels, same;
} sums;

static double log_sum(const float *x, int64_t n, int64_t *best)
{
    double sum = 0;
    *best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[*best])
            *best = i;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*best]);
    return (double)x[*best] + log(sum);
}

/* One position: `label` is the token that follows, or -1. */
static void add_row(sums *s, const float *ours, const float *theirs, int64_t n, int32_t label)
{
    int64_t best[2];
    double a = log_sum(ours, n, &best[0]), b = log_sum(theirs, n, &best[1]), kl = 0;
    for (int64_t i = 0; i < n; i++) {
        double p = (double)theirs[i] - b;
        kl += exp(p) * (p - ((double)ours[i] - a));
    }
    s->kl += kl;
    s->same += (double)theirs[best[0]] >= (double)theirs[best[1]] - M_LN2;
    s->rows++;
    if (label < 0)
        return;
    s->loss[0] += a - (double)ours[label];
    s->loss[1] += b - (double)theirs[label];
    s->labels++;
}

static dt_status add_point(dt_report *report, const char *name, double distance, double allowed,
                           const char *remark, dt_error *err)
{
    dt_verify_point p = {.name = name, .max_abs = distance, .max_rel = distance, .tolerance = allowed};
    p.pass = distance <= allowed; /* NaN is not */
    p.remark = remark;
    return dt_report_add(report, &p, err);
}

static dt_status conclude(dt_report *report, const sums *s, const dt_agreement_bounds *bounds, dt_error *err)
{
    double kl = s->kl / (double)s->rows, other = 1 - (double)s->same / (double)s->rows;
    double ours = exp(s->loss[0] / (double)s->labels), theirs = exp(s->loss[1] / (double)s->labels);
    const char *of_loss =
        dt_arena_printf(report->arena, "perplexity %.6g, of the source %.6g, on %lld tokens", ours, theirs,
                        (long long)s->labels);
    const char *of_top = dt_arena_printf(
        report->arena,
        "first choices that the source holds less than half as likely as its own: %lld of %lld",
        (long long)(s->rows - s->same), (long long)s->rows);
    DT_PASS(add_point(report, "agree.kl", kl, bounds->kl, "mean KL divergence from the source, nats a token",
                      err));
    DT_PASS(add_point(report, "agree.top1", other, bounds->top1, of_top, err));
    return add_point(report, "agree.perplexity", fabs(log(ours / theirs)), 2 * bounds->kl + 0.02, of_loss,
                     err);
}

static dt_status compare(dt_report *report, const dt_replay *ours, const dt_replay *theirs,
                         const dt_agreement_bounds *bounds, dt_error *err)
{
    dt_replay_value a, b;
    sums s = {0};
    if (!dt_replay_find(ours, "out.logits", &a) || !dt_replay_find(theirs, "out.logits", &b) || !b.rows ||
        a.width != b.width)
        return dt_report_unchecked(report, "out.logits", err);
    for (int64_t r = 0; r < b.rows->total; r++) {
        bool last = r + 1 == b.rows->total || b.rows->positions[r + 1] == 0;
        add_row(&s, a.data + r * a.stride, b.data + r * b.stride, b.width, last ? -1 : b.rows->tokens[r + 1]);
    }
    return conclude(report, &s, bounds, err);
}

static dt_status measure(dt_report *report, dt_model *artefact, dt_model *source, const char *text,
                         const dt_agreement_bounds *bounds, dt_error *err)
{
    dt_replay_inputs in = {0};
    dt_replay *ours = NULL, *theirs = NULL;
    dt_status status;
    DT_GO(status, text ? text_rows(report->arena, source, text, &in, err)
                       : sample_rows(report->arena, source, &in, err));
    DT_GO(status, dt_replay_run(&ours, artefact, &in, err));
    DT_GO(status, dt_replay_run(&theirs, source, &in, err));
    DT_GO(status, compare(report, ours, theirs, bounds, err));
done:
    dt_replay_destroy(ours);
    dt_replay_destroy(theirs);
    return status;
}

static dt_status open_and_measure(dt_report *report, const char *artefact, const char *source,
                                  const char *text, const dt_agreement_bounds *bounds,
                                  const dt_model_options *open, dt_error *err)
{
    dt_model *a = NULL, *b = NULL;
    dt_status status;
    DT_GO(status, dt_model_open(&a, artefact, open, err));
    DT_GO(status, dt_model_open(&b, source, open, err));
    DT_GO(status, measure(report, a, b, text, bounds, err));
done:
    dt_model_close(a);
    dt_model_close(b);
    return status;
}

dt_status dt_verify_agreement(dt_verify_report **out, const char *artefact, const char *source,
                              const char *text, const dt_agreement_bounds *bounds,
                              const dt_model_options *model, dt_error *err)
{
    dt_report *report = dt_report_create(err);
    dt_model_options open = *model;
    *out = NULL;
    if (!report)
        return DT_NO_MEMORY;
    open.dtype = open.dtype ? open.dtype : "f32";
    report->shown.tolerance = bounds->kl;
    report->shown.against = dt_report_text(report, source);
    report->shown.dtype = dt_report_text(report, open.dtype);
    report->shown.remark = text ? dt_arena_printf(report->arena, "judged on the text %s", text)
                                : "judged on rows that the source writes, sampled with seed 1";
    dt_status status = open_and_measure(report, artefact, source, text, bounds, &open, err);
    if (status == DT_OK) {
        dt_report_conclude(report, false);
        *out = &report->shown;
        return DT_OK;
    }
    dt_error_while(err, "while asking how far %s is from %s", artefact, source);
    dt_verify_report_destroy(&report->shown);
    return status;
}
