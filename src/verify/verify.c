/*
 * verify.c - a model against a recording, point by point in execution order, gradients and texts included.
 */
#include "verify/report.h"

#include "base/text.h"
#include "inference/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOLERANCE_F32      5e-6 /* an exact f64 program is within 2.6e-6 of every point of the small fixtures */
#define TOLERANCE_GRADIENT 2e-5 /* and within 6e-6 of every gradient */
#define TOLERANCE_REDUCED  2e-2 /* a reduced type whose f32 recording is not at hand */
#define MAX_CANCELLED      1e4
#define TOLERANCE_LOSS     4e-3 /* out.loss of a reduced type */

/* What one verification holds on to. */
typedef struct session {
    const dt_verify_options *options;
    dt_recording recording;
    dt_recording exact; /* reduced types: the f32 recording beside it, when there is one */
    dt_model *model;
    dt_replay *replay;
    dt_replay_inputs inputs;
    dt_report *report;
    double largest_gradient;
} session;

/* ---- one point ---- */

/*
 * Distance over valid positions: rows past a sequence's length are padding and are never looked at, nor are those
 * with mask 0 (of out.token_loss: not scored, and some makers record 0 there, others the loss).
 */
static dt_distance distance_to(const dt_replay_value *v, const float *recorded, const float *mask)
{
    dt_distance d = DT_DISTANCE_START;
    if (!v->rows) {
        dt_distance_add(&d, v->data, recorded, v->width);
        return d;
    }
    for (int64_t b = 0; b < v->rows->batch; b++)
        for (int64_t row = v->rows->cu_seqlens[b]; row < v->rows->cu_seqlens[b + 1]; row++) {
            int64_t position = b * v->rows->length + row - v->rows->cu_seqlens[b];
            if (!mask || mask[row] != 0)
                dt_distance_add(&d, v->data + row * v->stride, recorded + position * v->width, v->width);
        }
    return d;
}

/* Valid positions of a recorded point gathered as if they were ours, to measure one recording against another. */
static dt_distance between_recordings(const dt_replay_value *v, const float *a, const float *b)
{
    dt_distance d = DT_DISTANCE_START;
    int64_t sequences = v->rows ? v->rows->batch : 1;
    for (int64_t i = 0; i < sequences; i++) {
        int64_t at = v->rows ? i * v->rows->length * v->width : 0;
        int64_t count = v->rows ? v->rows->cu_seqlens[i + 1] - v->rows->cu_seqlens[i] : 1;
        dt_distance_add(&d, a + at, b + at, count * v->width);
    }
    return d;
}

static bool reduced(const session *s)
{
    return s->recording.dtype && strcmp(s->recording.dtype, "f32") != 0;
}

/*
 * A loss whose terms have both signs may cancel to almost nothing, and then holds the rounding of what was summed: so
 * much larger than itself that is, Σ |hidden·weight| / |Σ hidden·weight|.
 */
static double cancelled(const session *s)
{
    dt_replay_value hidden;
    double sum = 0, magnitude = 0;
    if (s->inputs.loss_kind != DT_LOSS_HIDDEN_WEIGHTED || !dt_replay_find(s->replay, "out.hidden", &hidden) ||
        !hidden.rows)
        return 1;
    for (int64_t i = 0; i < hidden.rows->total * hidden.width; i++) {
        double term = (double)hidden.data[i] * (double)s->inputs.hidden_weight[i];
        sum += term;
        magnitude += fabs(term);
    }
    return magnitude > fabs(sum) && sum != 0 ? magnitude / fabs(sum) : 1;
}

/* A reduced type is judged by the distance that its own recording has from the f32 one. */
static dt_status tolerance_of(session *s, const dt_replay_value *v, const float *recorded, double *tolerance,
                              dt_error *err)
{
    float *exact = NULL;
    dt_shape shape;
    bool is_loss = strcmp(v->name, "out.loss") == 0;
    *tolerance =
        s->report->shown.tolerance * (is_loss && !reduced(s) ? fmin(cancelled(s), MAX_CANCELLED) : 1);
    if (s->options->tolerance > 0 || !reduced(s))
        return DT_OK;
    if (is_loss) {
        *tolerance = TOLERANCE_LOSS;
        return DT_OK;
    }
    if (s->exact.tensors)
        DT_PASS(dt_recording_floats(&s->exact, v->name, s->report->arena, &exact, &shape, err));
    if (exact && dt_shape_equal(&v->shape, &shape)) {
        dt_distance own = between_recordings(v, recorded, exact);
        if (own.reference_finite && own.finite)
            *tolerance = 2 * dt_distance_relative(&own);
    }
    return DT_OK;
}

static dt_verify_point judged(const char *name, const dt_shape *shape, const dt_distance *d, double relative,
                              double tolerance)
{
    dt_verify_point p = {.name = name,
                         .rank = shape->rank,
                         .max_abs = d->max_difference,
                         .max_rel = relative,
                         .tolerance = tolerance};
    memcpy(p.dim, shape->dim, sizeof p.dim);
    p.pass = d->finite && relative <= tolerance;
    if (!d->finite)
        p.remark = "not finite";
    else if (!d->reference_finite)
        p.remark = d->compared ? "the reference overflowed in places"
                               : "the reference overflowed: nothing to compare";
    return p;
}

static dt_status check_point(session *s, const dt_replay_value *v, dt_error *err)
{
    float *recorded;
    dt_shape shape;
    double tolerance;
    const float *mask = strcmp(v->name, "out.token_loss") == 0 ? s->inputs.loss_mask : NULL;
    if (dt_starts_with(v->name, "grad."))
        return DT_OK; /* canonical; check_gradient compares the maker's */
    DT_PASS(dt_recording_floats(&s->recording, v->name, s->report->arena, &recorded, &shape, err));
    if (!recorded)
        return DT_OK;
    if (!dt_shape_equal(&v->shape, &shape)) {
        dt_verify_point p = {.name = v->name,
                             .rank = shape.rank,
                             .max_abs = INFINITY,
                             .max_rel = INFINITY,
                             .remark = "another shape"};
        memcpy(p.dim, shape.dim, sizeof p.dim);
        return dt_report_add(s->report, &p, err);
    }
    DT_PASS(tolerance_of(s, v, recorded, &tolerance, err));
    dt_distance d = distance_to(v, recorded, mask);
    dt_verify_point p = judged(v->name, &shape, &d, dt_distance_relative(&d), tolerance);
    return dt_report_add(s->report, &p, err);
}

/* ---- gradients ---- */

static dt_status largest_gradient(session *s, dt_error *err)
{
    for (size_t i = 0; i < dt_stored_set_count(s->recording.tensors); i++) {
        const dt_stored_tensor *t = dt_stored_set_at(s->recording.tensors, i);
        float *values;
        dt_shape shape;
        int64_t n;
        if (!dt_starts_with(t->name, "grad."))
            continue;
        DT_PASS(dt_recording_floats(&s->recording, t->name, s->report->arena, &values, &shape, err));
        for (n = dt_shape_elements(&shape, &n) ? n : 0; n-- > 0;)
            if (fabs((double)values[n]) > s->largest_gradient)
                s->largest_gradient = fabs((double)values[n]);
    }
    return DT_OK;
}

/* "grad.shared.weight": the maker's tensor, made from our canonical gradients by the format's own mapping. */
static dt_status check_gradient(session *s, const char *name, dt_error *err)
{
    float *recorded;
    dt_shape shape;
    int64_t n;
    DT_PASS(dt_recording_floats(&s->recording, name, s->report->arena, &recorded, &shape, err));
    float *ours = dt_shape_elements(&shape, &n) ? DT_NEW_ARRAY(s->report->arena, float, n) : NULL;
    if (!ours)
        return dt_fail_memory(err, 0, name);
    dt_error reason = {0};
    if (dt_checkpoint_external(dt_model_checkpoint(s->model), name + strlen("grad."), dt_replay_read_gradient,
                               s->replay, ours, n, &reason) != DT_OK)
        return dt_report_unchecked(s->report, name, err);
    dt_distance d = DT_DISTANCE_START;
    dt_distance_add(&d, ours, recorded, n);
    dt_verify_point p = judged(name, &shape, &d, dt_distance_gradient(&d, s->largest_gradient),
                               s->report->shown.grad_tolerance);
    return dt_report_add(s->report, &p, err);
}

/* ---- everything a recording has ---- */

static bool has_gradients(const dt_recording *r)
{
    for (size_t i = 0; i < dt_stored_set_count(r->tensors); i++)
        if (dt_starts_with(dt_stored_set_at(r->tensors, i)->name, "grad."))
            return true;
    return false;
}

static dt_status check_rest(session *s, dt_error *err)
{
    for (size_t i = 0; i < dt_stored_set_count(s->recording.tensors); i++) {
        const char *name = dt_stored_set_at(s->recording.tensors, i)->name;
        dt_replay_value value;
        if (dt_starts_with(name, "grad.") && s->inputs.gradients)
            DT_PASS(check_gradient(s, name, err));
        else if (dt_starts_with(name, "in.") || strcmp(name, "out.greedy") == 0 ||
                 strcmp(name, "out.beam4") == 0)
            continue;
        else if (!dt_replay_find(s->replay, name, &value))
            DT_PASS(dt_report_unchecked(s->report, name, err));
    }
    return DT_OK;
}

/* ---- pixels ---- */

/*
 * in.pixels against what the model's processor makes of in.image.K. Pillow's arithmetic is the same everywhere; where
 * torchvision's kernels differ from ours it is by one step of 255.
 */
static dt_status check_pixels(session *s, const char *model, dt_error *err)
{
    dt_replay_pixels made;
    float *recorded;
    dt_shape shape;
    dt_error reason = {0};
    dt_status status = dt_replay_pixels_make(&s->recording, model, s->report->arena, &made, &reason);
    if (status == DT_NOT_FOUND)
        return DT_OK; /* the model does not say how its pictures are made: the pixels are taken as they are */
    if (status != DT_OK)
        *err = reason;
    DT_PASS(status);
    DT_PASS(dt_recording_floats(&s->recording, "in.pixels", s->report->arena, &recorded, &shape, err));
    if (!recorded || made.count == 0)
        return DT_OK;
    dt_distance d = DT_DISTANCE_START;
    bool alike = shape.rank == 4 && shape.dim[0] == made.count;
    for (int64_t i = 0; alike && i < made.count; i++) {
        const dt_picture *p = &made.picture[i];
        int64_t n = shape.dim[1] * p->height * p->width;
        alike = shape.dim[1] == 3 && shape.dim[2] == p->height && shape.dim[3] == p->width;
        if (alike)
            dt_distance_add(&d, p->pixels, recorded + i * n, n);
    }
    double allowed = made.exact ? TOLERANCE_F32 : TOLERANCE_F32 + made.step / (d.max_reference + 1e-6);
    dt_verify_point point =
        judged("in.pixels", &shape, &d, alike ? dt_distance_relative(&d) : INFINITY, allowed);
    if (!alike)
        point.remark = "another shape";
    return dt_report_add(s->report, &point, err);
}

static dt_status check_all(session *s, const char *model, dt_error *err)
{
    DT_PASS(dt_replay_inputs_read(&s->recording, model, dt_model_get_config(s->model), s->report->arena,
                                  &s->inputs, err));
    DT_PASS(check_pixels(s, model, err));
    s->inputs.gradients = s->inputs.loss && has_gradients(&s->recording);
    DT_PASS(dt_replay_run(&s->replay, s->model, &s->inputs, err));
    for (int i = 0; i < dt_replay_point_count(s->replay); i++) {
        dt_replay_value value = dt_replay_point(s->replay, i);
        DT_PASS(check_point(s, &value, err));
    }
    DT_PASS(largest_gradient(s, err));
    DT_PASS(check_rest(s, err));
    DT_PASS(dt_report_nodes(s->report, dt_replay_executor(s->replay), err));
    return dt_verify_continuations(s->report, s->model, &s->recording, &s->inputs, err);
}

/* The f32 recording that lies beside recording.bf16.safetensors. */
static dt_status open_exact(session *s, const char *path, dt_error *err)
{
    char sibling[4096];
    const char *slash = strrchr(path, '/');
    snprintf(sibling, sizeof sibling, "%.*srecording.safetensors", slash ? (int)(slash + 1 - path) : 0, path);
    FILE *file = reduced(s) && strcmp(sibling, path) != 0 ? fopen(sibling, "rb") : NULL;
    if (!file)
        return DT_OK;
    fclose(file);
    return dt_recording_open(&s->exact, sibling, err);
}

static dt_status verify(session *s, const char *model, const char *recording, dt_error *err)
{
    dt_verify_report *shown = &s->report->shown;
    DT_PASS(dt_recording_open(&s->recording, recording, err));
    DT_PASS(open_exact(s, recording, err));
    dt_model_options options = s->options->model;
    if (!options.dtype)
        options.dtype = s->recording.dtype ? s->recording.dtype : "f32";
    shown->tolerance = s->options->tolerance > 0 ? s->options->tolerance
                       : reduced(s)              ? TOLERANCE_REDUCED
                                                 : TOLERANCE_F32;
    shown->grad_tolerance = s->options->grad_tolerance > 0 ? s->options->grad_tolerance : TOLERANCE_GRADIENT;
    shown->against = dt_report_text(s->report, recording);
    shown->source = dt_report_text(s->report, s->recording.source);
    shown->dtype = dt_report_text(s->report, options.dtype);
    DT_PASS(dt_model_open(&s->model, model, &options, err));
    DT_PASS(check_all(s, model, err));
    dt_report_conclude(s->report, s->options->allow_unchecked);
    return DT_OK;
}

dt_status dt_verify(dt_verify_report **out, const char *model, const char *recording,
                    const dt_verify_options *options, dt_error *err)
{
    static const dt_verify_options defaults;
    session s = {.options = options ? options : &defaults, .report = dt_report_create(err)};
    *out = NULL;
    if (!s.report)
        return DT_NO_MEMORY;
    dt_status status = verify(&s, model, recording, err);
    dt_replay_destroy(s.replay);
    dt_model_close(s.model);
    dt_recording_close(&s.exact);
    dt_recording_close(&s.recording);
    if (status == DT_OK) {
        *out = &s.report->shown;
        return DT_OK;
    }
    dt_error_while(err, "while verifying %s against %s", model, recording);
    dt_verify_report_destroy(&s.report->shown);
    return status;
}
