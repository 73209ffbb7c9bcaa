/*
 * report.h - a verify report while it is being filled in.
 */
#ifndef DT_VERIFY_REPORT_H
#define DT_VERIFY_REPORT_H

#include "base/arena.h"
#include "verify/compare.h"
#include "verify/replay.h"

#include <drivetrain/verify.h>

typedef struct dt_report {
    dt_verify_report shown; /* first: what the caller holds a pointer to */
    dt_arena *arena;
    dt_verify_point *point;
    const char **unchecked;
    int point_capacity, unchecked_capacity;
} dt_report;

dt_report *dt_report_create(dt_error *err);
const char *dt_report_text(dt_report *report, const char *text); /* copied; NULL stays NULL */
dt_status dt_report_add(dt_report *report, const dt_verify_point *point, dt_error *err);
dt_status dt_report_unchecked(dt_report *report, const char *name, dt_error *err);
dt_status dt_report_nodes(dt_report *report, const dt_executor *executor, dt_error *err);
void dt_report_conclude(dt_report *report, bool allow_unchecked); /* pass and first_divergence */

/* Compare two checkpoints' tensors by canonical name (tensors.c); tolerance 0 = as their types allow. */
dt_status dt_compare_tensors(dt_report *report, const dt_checkpoint *a, const dt_checkpoint *b,
                             double tolerance, dt_error *err);

/* out.greedy and out.beam4 generated again and compared (continuations.c). */
dt_status dt_verify_continuations(dt_report *report, dt_model *model, const dt_recording *recording,
                                  const dt_replay_inputs *inputs, dt_error *err);

#endif
