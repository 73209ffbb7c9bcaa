/*
 * report.c - collects points, unchecked names and kernels, and draws the verdict.
 */
#include "verify/report.h"

#include <stdlib.h>

dt_report *dt_report_create(dt_error *err)
{
    dt_report *report = calloc(1, sizeof *report);
    if (report && (report->arena = dt_arena_create())) {
        report->shown.greedy.first_difference = report->shown.beam4.first_difference = -1;
        return report;
    }
    free(report);
    dt_fail_memory(err, sizeof *report, "a report");
    return NULL;
}

void dt_verify_report_destroy(dt_verify_report *shown)
{
    dt_report *report = (dt_report *)shown;
    if (!report)
        return;
    dt_arena_destroy(report->arena);
    free(report);
}

const char *dt_report_text(dt_report *report, const char *text)
{
    return text ? dt_arena_text(report->arena, text) : NULL;
}

/* A larger copy of an array in the report's arena; NULL when memory is short. */
static void *grown(dt_report *report, const void *old, int *capacity, size_t element_bytes)
{
    int larger = *capacity ? *capacity * 2 : 64;
    void *array = dt_arena_grow(report->arena, (void *)(uintptr_t)old, (size_t)*capacity * element_bytes,
                                (size_t)larger * element_bytes);
    if (array)
        *capacity = larger;
    return array;
}

dt_status dt_report_add(dt_report *report, const dt_verify_point *point, dt_error *err)
{
    if (report->shown.point_count == report->point_capacity) {
        dt_verify_point *array = grown(report, report->point, &report->point_capacity, sizeof *array);
        if (!array)
            return dt_fail_memory(err, sizeof *array, "a report's points");
        report->shown.points = report->point = array;
    }
    dt_verify_point *added = &report->point[report->shown.point_count++];
    *added = *point;
    added->name = dt_report_text(report, point->name);
    return added->name ? DT_OK : dt_fail_memory(err, 64, "a point's name");
}

dt_status dt_report_unchecked(dt_report *report, const char *name, dt_error *err)
{
    if (report->shown.unchecked_count == report->unchecked_capacity) {
        const char **array = grown(report, report->unchecked, &report->unchecked_capacity, sizeof *array);
        if (!array)
            return dt_fail_memory(err, sizeof *array, "a report's unchecked points");
        report->shown.unchecked = report->unchecked = array;
    }
    const char *copy = dt_report_text(report, name);
    report->unchecked[report->shown.unchecked_count++] = copy;
    return copy ? DT_OK : dt_fail_memory(err, 64, "a point's name");
}

dt_status dt_report_nodes(dt_report *report, const dt_executor *executor, dt_error *err)
{
    int count = dt_executor_op_count(executor);
    struct dt_verify_node *node = dt_arena_array(report->arena, (size_t)count, sizeof *node);
    if (!node)
        return dt_fail_memory(err, (size_t)count * sizeof *node, "the list of kernels");
    for (int i = 0; i < count; i++) {
        const char *kernel;
        const dt_op *op = dt_executor_op(executor, i, &kernel, &node[i].fell_back);
        const char *point = op->output_count && op->output[0] ? op->output[0]->name : NULL;
        node[i].op = dt_op_info_of(op->kind)->name;
        node[i].point = dt_report_text(report, point);
        node[i].kernel = dt_report_text(report, kernel);
    }
    report->shown.nodes = node;
    report->shown.node_count = count;
    return DT_OK;
}

void dt_report_conclude(dt_report *report, bool allow_unchecked)
{
    dt_verify_report *r = &report->shown;
    for (int i = 0; i < r->point_count && !r->first_divergence; i++)
        if (!r->points[i].pass)
            r->first_divergence = r->points[i].name;
    r->pass = !r->first_divergence && (!r->greedy.present || r->greedy.match) &&
              (!r->beam4.present || r->beam4.match) && (!r->unchecked_count || allow_unchecked) &&
              r->point_count > 0;
}
