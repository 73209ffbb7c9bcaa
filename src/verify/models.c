/*
 * models.c - two models compared, `verify MODEL OTHER`: their tensors (tensors.c), then their numbers on the same fixed
 * inputs. The other plays the recording's part.
 */
#include "verify/report.h"

#include "inference/model.h"
#include "models/build.h"

#include <string.h>

static dt_status check_alike(const dt_model_config *a, const dt_model_config *b, dt_error *err)
{
    if (strcmp(a->model_type, b->model_type) != 0)
        return dt_fail(err, DT_MISMATCH, "one is a %s, the other a %s", a->model_type, b->model_type);
    bool padding =
        a->vocab_size + 1 == b->vocab_size && b->decoder_start_token_id == a->vocab_size &&
        b->pad_token_id == a->vocab_size; /* a Marian's last token, which CTranslate2 has no row for */
    if ((a->vocab_size != b->vocab_size && !padding) || a->hidden_size != b->hidden_size)
        return dt_fail(err, DT_MISMATCH, "vocabulary %lld and width %lld against %lld and %lld",
                       (long long)a->vocab_size, (long long)a->hidden_size, (long long)b->vocab_size,
                       (long long)b->hidden_size);
    return DT_OK;
}

static dt_status compare_points(dt_report *report, const dt_replay *ours, const dt_replay *theirs,
                                dt_error *err)
{
    for (int i = 0; i < dt_replay_point_count(theirs); i++) {
        dt_replay_value b = dt_replay_point(theirs, i), a;
        dt_verify_point p = {.name = b.name, .tolerance = report->shown.tolerance};
        if (!dt_replay_find(ours, b.name, &a) || a.width > b.width ||
            (a.width < b.width && strcmp(b.name, "out.logits") != 0)) {
            DT_PASS(dt_report_unchecked(report, b.name, err));
            continue;
        }
        dt_distance d = DT_DISTANCE_START;
        int64_t rows = b.rows ? b.rows->total : 1;
        for (int64_t r = 0; r < rows; r++)
            dt_distance_add(&d, a.data + r * a.stride, b.data + r * b.stride, a.width);
        p.rank = b.rows ? b.shape.rank - 1 : b.shape.rank;
        memcpy(p.dim, b.shape.dim + (b.rows ? 1 : 0), sizeof *p.dim * (size_t)p.rank);
        if (b.rows)
            p.dim[0] = rows; /* packed */
        p.max_abs = d.max_difference;
        p.max_rel = dt_distance_relative(&d);
        p.pass = d.finite && p.max_rel <= p.tolerance;
        DT_PASS(dt_report_add(report, &p, err));
    }
    return DT_OK;
}

static dt_status compare(dt_report *report, dt_model *a, dt_model *b, dt_error *err)
{
    dt_replay_inputs in = {0};
    dt_replay *ours = NULL, *theirs = NULL;
    const dt_model_config *config = dt_model_get_config(a);
    DT_PASS(check_alike(config, dt_model_get_config(b), err));
    DT_PASS(dt_replay_inputs_make(config, report->arena, &in, err));
    dt_status status;
    DT_GO(status, dt_replay_run(&ours, a, &in, err));
    DT_GO(status, dt_replay_run(&theirs, b, &in, err));
    DT_GO(status, compare_points(report, ours, theirs, err));
    DT_GO(status, dt_report_nodes(report, dt_replay_executor(ours), err));
done:
    dt_replay_destroy(ours);
    dt_replay_destroy(theirs);
    return status;
}

/* Both models opened and run. */
static dt_status compare_numbers(dt_report *report, const char *model, const char *other,
                                 const dt_model_options *open, dt_error *err)
{
    dt_model *a = NULL, *b = NULL;
    dt_status status;
    DT_GO(status, dt_model_open(&a, model, open, err));
    DT_GO(status, dt_model_open(&b, other, open, err));
    DT_GO(status, compare(report, a, b, err));
done:
    dt_model_close(a);
    dt_model_close(b);
    return status;
}

/* Why the numbers are not compared: asked for, or the model cannot be computed yet. NULL: they are. */
static const char *skip_numbers(dt_report *report, const dt_checkpoint *a, const dt_verify_options *options)
{
    dt_error why = {0};
    if (options->tensors_only)
        return "numbers: not computed";
    if (dt_model_computes(dt_checkpoint_config(a), &why) != DT_UNSUPPORTED)
        return NULL;
    const char *text = dt_arena_printf(report->arena, "numbers: not computed, %s",
                                       why.line_count ? why.line[0] : "the model cannot be computed yet");
    return text ? text : "numbers: not computed";
}

static dt_status compare_all(dt_report *report, const char *model, const char *other,
                             const dt_verify_options *options, const dt_model_options *open, dt_error *err)
{
    dt_checkpoint *a = NULL, *b = NULL;
    dt_status status;
    DT_GO(status, dt_checkpoint_open(&a, model, &open->open, err));
    DT_GO(status, dt_checkpoint_open(&b, other, &open->open, err));
    DT_GO(status, check_alike(dt_checkpoint_config(a), dt_checkpoint_config(b), err));
    if (!options->numbers_only)
        DT_GO(status, dt_compare_tensors(report, a, b, options->tolerance, err));
    report->shown.remark = skip_numbers(report, a, options);
done:
    dt_checkpoint_close(a);
    dt_checkpoint_close(b);
    return status == DT_OK && !report->shown.remark ? compare_numbers(report, model, other, open, err)
                                                    : status;
}

dt_status dt_verify_models(dt_verify_report **out, const char *model, const char *other,
                           const dt_verify_options *options, dt_error *err)
{
    static const dt_verify_options defaults;
    options = options ? options : &defaults;
    dt_report *report = dt_report_create(err);
    dt_model_options open = options->model;
    dt_status status = DT_NO_MEMORY;
    *out = NULL;
    if (!report)
        return status;
    open.dtype = open.dtype ? open.dtype : "f32";
    report->shown.tolerance = options->tolerance > 0 ? options->tolerance : 5e-6;
    report->shown.against = dt_report_text(report, other);
    report->shown.dtype = dt_report_text(report, open.dtype);
    status = compare_all(report, model, other, options, &open, err);
    if (status == DT_OK) {
        dt_report_conclude(report, options->allow_unchecked);
        *out = &report->shown;
        return DT_OK;
    }
    dt_error_while(err, "while comparing %s with %s", model, other);
    dt_verify_report_destroy(&report->shown);
    return status;
}
