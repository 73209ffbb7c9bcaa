/*
 * tensors.c - compares what two checkpoints hold, tensor by tensor under canonical names, a few rows at a time.
 *
 * Whatever the layouts, canonical tensors have one shape; only the vocabulary's padding may differ, and rows beyond
 * the real vocabulary are not compared, nor those before position 0. A tensor that only one of the two has is unchecked.
 */
#include "models/build.h"
#include "tensor/convert.h"
#include "verify/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_ELEMENTS = 1 << 18, NAME_BYTES = 256 };

/* One tensor in both. */
typedef struct pair {
    const dt_checkpoint *a, *b;
    const char *name;
    int64_t first, rows, cols;
    dt_dtype type[2];
    bool shifted; /* one of the two holds it with a constant added */
} pair;

/* How far a value may move when it is rounded to a type: half of its last place, as a fraction of the largest. */
static double coarseness(dt_dtype type)
{
    switch (type) {
    case DT_BF16:
        return 1.0 / 256;
    case DT_F16:
        return 1.0 / 2048;
    case DT_F8E4M3:
        return 1.0 / 16;
    case DT_F8E5M2:
        return 1.0 / 8;
    default:
        return 1e-7;
    }
}

/* A constant of 1 added and taken off again rounds to a place of a number that large, in the type both are in. */
static double of_shift(const pair *p, double largest)
{
    double step = p->type[0] == p->type[1] ? coarseness(p->type[0]) : 0;
    return p->shifted ? (step > 1.2e-7 ? step : 1.2e-7) * (1 + largest) / (largest + 1e-6) : 0;
}

static double allowed(const pair *p, double tolerance)
{
    if (p->type[0] == p->type[1])
        return tolerance;
    double a = coarseness(p->type[0]), b = coarseness(p->type[1]), coarser = a > b ? a : b;
    return tolerance > coarser ? tolerance : coarser;
}

/* What is computed of rounded weights may be ten times as far away as they are. */
static void widen(dt_report *report, const pair *p)
{
    double reach = p->type[0] == p->type[1] ? 0 : 10 * allowed(p, 0);
    if (reach > report->shown.tolerance)
        report->shown.tolerance = reach;
}

static dt_status measure(const pair *p, float *buffer, int64_t chunk, dt_distance *d, dt_error *err)
{
    for (int64_t row = p->first; row < p->rows; row += chunk) {
        int64_t n = p->rows - row < chunk ? p->rows - row : chunk;
        float *other = buffer + chunk * p->cols;
        DT_PASS(dt_checkpoint_read(p->a, p->name, row, n, DT_F32, buffer, err));
        DT_PASS(dt_checkpoint_read(p->b, p->name, row, n, DT_F32, other, err));
        dt_distance_add(d, buffer, other, n * p->cols);
    }
    dt_checkpoint_drop(p->a, p->name);
    dt_checkpoint_drop(p->b, p->name);
    return DT_OK;
}

static dt_status add_point(dt_report *report, const pair *p, const dt_distance *d, int rank, double tolerance,
                           dt_error *err)
{
    char name[NAME_BYTES];
    double usual = allowed(p, tolerance), shifted = of_shift(p, d->max_reference);
    snprintf(name, sizeof name, "tensor %s", p->name);
    dt_verify_point point = {.name = name,
                             .rank = rank,
                             .dim = {p->rows, rank == 2 ? p->cols : 0},
                             .tolerance = shifted > usual ? shifted : usual,
                             .remark = p->shifted ? "one is stored with 1 added" : NULL,
                             .max_abs = d->max_difference,
                             .max_rel = dt_distance_relative(d)};
    /* NaN in both is no difference; in one it is */
    point.pass = d->finite == d->reference_finite && point.max_rel <= point.tolerance;
    return dt_report_add(report, &point, err);
}

static dt_status compare_one(dt_report *report, const dt_checkpoint *a, const dt_checkpoint *b,
                             const dt_param_spec *spec, double tolerance, dt_error *err)
{
    int64_t dim[2][5], vocabulary = dt_checkpoint_config(a)->vocab_size;
    pair p = {.a = a, .b = b, .name = spec->name};
    dt_error missing = {0};
    char name[NAME_BYTES];
    int rank;
    snprintf(name, sizeof name, "tensor %s", spec->name);
    DT_PASS(dt_checkpoint_shape(a, spec->name, &rank, dim[0], &p.type[0], err));
    if (dt_checkpoint_shape(b, spec->name, NULL, dim[1], &p.type[1], &missing) != DT_OK)
        return dt_report_unchecked(report, name, err);
    bool vocab = spec->split == DT_SPLIT_VOCAB;
    p.shifted = dt_checkpoint_shifted(a, spec->name) != dt_checkpoint_shifted(b, spec->name);
    p.rows = vocab && vocabulary < dim[0][0] ? vocabulary : dim[0][0];
    p.cols = rank == 2 ? dim[0][1] : 1;
    if (strstr(spec->name, "position_embeddings")) /* rows before that of position 0 are never read */
        p.first = dt_checkpoint_config(a)->position_offset;
    if ((vocab ? dim[1][0] < p.rows : dim[1][0] != p.rows) || dim[1][1] != dim[0][1])
        return dt_report_unchecked(report, name, err);
    int64_t chunk = p.cols < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / p.cols : 1;
    if (chunk > p.rows)
        chunk = p.rows;
    size_t bytes = 2 * sizeof(float) * (size_t)(chunk * p.cols);
    float *buffer = malloc(bytes);
    if (!buffer)
        return dt_fail_memory(err, bytes, spec->name);
    dt_distance d = DT_DISTANCE_START;
    dt_status status = measure(&p, buffer, chunk, &d, err);
    free(buffer);
    if (tolerance == 0)
        widen(report, &p);
    return status == DT_OK ? add_point(report, &p, &d, rank, tolerance, err) : status;
}

/* Tensors that only the other has. */
static dt_status list_others(dt_report *report, const dt_checkpoint *a, const dt_checkpoint *b, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    DT_PASS(dt_model_parameters(dt_checkpoint_config(b), report->arena, &spec, &count, err));
    for (int i = 0; i < count; i++) {
        char name[NAME_BYTES];
        dt_error missing = {0};
        snprintf(name, sizeof name, "tensor %s", spec[i].name);
        if (dt_checkpoint_shape(a, spec[i].name, NULL, NULL, NULL, &missing) != DT_OK)
            DT_PASS(dt_report_unchecked(report, name, err));
    }
    return DT_OK;
}

dt_status dt_compare_tensors(dt_report *report, const dt_checkpoint *a, const dt_checkpoint *b,
                             double tolerance, dt_error *err)
{
    const dt_param_spec *spec = NULL;
    int count = 0;
    DT_PASS(dt_model_parameters(dt_checkpoint_config(a), report->arena, &spec, &count, err));
    for (int i = 0; i < count; i++)
        DT_PASS(compare_one(report, a, b, &spec[i], tolerance, err));
    return list_others(report, a, b, err);
}
