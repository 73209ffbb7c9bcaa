/*
 * verify.c (cli) - `drivetrain verify`: the verdict on a model, as a table or as JSON.
 */
#include "cli/common.h"

#include <stdio.h>
#include <string.h>

static const option_spec options[] = {
    {"against", 0, OPTION_TEXT, "REC", "the recording (safetensors) to replay"},
    DTYPE_OPTION,
    {"tolerance", 0, OPTION_REAL, "X",
     "allowed distance of points [5e-6; reduced types: see docs/recording.md]"},
    {"grad-tolerance", 0, OPTION_REAL, "X", "allowed distance of gradients [2e-5]"},
    {"allow-unchecked", 0, OPTION_FLAG, NULL, "points that cannot be produced do not spoil the verdict"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

static void shape_text(const dt_verify_point *p, char *out, size_t bytes)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < p->rank && at < bytes; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%lld", i ? "x" : "", (long long)p->dim[i]);
}

static json_t *real_or_null(double x)
{
    json_t *value = json_real(x); /* NULL when not finite */
    return value ? value : json_null();
}

static json_t *text_json(const dt_verify_text *t)
{
    return t->present ? json_pack("{s:b, s:I, s:s?}", "match", t->match, "rows", (json_int_t)t->rows,
                                  "remark", t->remark)
                      : json_null();
}

static json_t *points_json(const dt_verify_report *r)
{
    json_t *points = json_array();
    for (int i = 0; i < r->point_count; i++) {
        const dt_verify_point *p = &r->points[i];
        json_t *shape = json_array();
        for (int k = 0; k < p->rank; k++)
            json_array_append_new(shape, json_integer(p->dim[k]));
        json_array_append_new(points, json_pack("{s:s, s:o, s:o, s:o, s:f, s:b, s:s?}", "name", p->name,
                                                "shape", shape, "max_abs", real_or_null(p->max_abs),
                                                "max_rel", real_or_null(p->max_rel), "tolerance",
                                                p->tolerance, "pass", p->pass, "remark", p->remark));
    }
    return points;
}

static json_t *report_json(const dt_verify_report *r, bool nodes)
{
    json_t *unchecked = json_array();
    for (int i = 0; i < r->unchecked_count; i++)
        json_array_append_new(unchecked, json_string(r->unchecked[i]));
    json_t *json = json_pack(
        "{s:b, s:f, s:f, s:s, s:s?, s:s, s:o, s:s?, s:s?, s:o, s:o, s:o}", "pass", r->pass, "tolerance",
        r->tolerance, "grad_tolerance", r->grad_tolerance, "against", r->against, "source", r->source,
        "dtype", r->dtype, "points", points_json(r), "first_divergence", r->first_divergence, "remark",
        r->remark, "greedy", text_json(&r->greedy), "beam4", text_json(&r->beam4), "unchecked", unchecked);
    json_t *list = nodes ? json_array() : NULL;
    for (int i = 0; nodes && i < r->node_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s?, s:s, s:b}", "op", r->nodes[i].op, "point",
                                              r->nodes[i].point, "kernel", r->nodes[i].kernel, "fell_back",
                                              r->nodes[i].fell_back));
    if (list)
        json_object_set_new(json, "nodes", list);
    return json;
}

static void print_nodes(const dt_verify_report *r)
{
    int fell_back = 0;
    printf("%-20s %-40s %s\n", "op", "kernel", "point");
    for (int i = 0; i < r->node_count; i++) {
        fell_back += r->nodes[i].fell_back;
        printf("%-20s %-40s %s%s\n", r->nodes[i].op, r->nodes[i].kernel,
               r->nodes[i].point ? r->nodes[i].point : "",
               r->nodes[i].fell_back ? "  (fell back to reference)" : "");
    }
    printf("%d nodes, %d fell back to reference\n\n", r->node_count, fell_back);
}

static void print_text_check(const char *name, const dt_verify_text *t)
{
    if (t->present && t->match)
        printf("%-44s identical, %lld rows\n", name, (long long)t->rows);
    else if (t->present)
        printf("%-44s DIFFERS from row %lld%s%s\n", name, (long long)t->first_difference,
               t->remark ? ": " : "", t->remark ? t->remark : "");
}

/* Points of one kind that are told in one line. */
typedef struct bulk {
    const char *title, *prefix;
    int count;
    double worst, allowed;
} bulk;

static bool count_in_bulk(bulk *b, const dt_verify_point *p)
{
    if (strncmp(p->name, b->prefix, strlen(b->prefix)) != 0)
        return false;
    b->count++;
    b->worst = p->max_rel > b->worst ? p->max_rel : b->worst;
    b->allowed = p->tolerance > b->allowed ? p->tolerance : b->allowed;
    return true;
}

static void print_bulk(bulk *b)
{
    if (b->count)
        printf("%-44s %-14d %10.1e %10.1e\n", b->title, b->count, b->worst, b->allowed);
    b->count = 0;
}

static void print_report(const dt_verify_report *r, bool verbose)
{
    char shape[64];
    bulk tensors = {"all tensors, the farthest", "tensor ", 0, 0, 0},
         gradients = {"all gradients, the farthest", "grad.", 0, 0, 0};
    int failed = 0;
    if (verbose)
        print_nodes(r);
    printf("%-44s %-14s %10s %10s\n", "point", "shape", "distance", "allowed");
    for (int i = 0; i < r->point_count; i++) {
        const dt_verify_point *p = &r->points[i];
        bool many = count_in_bulk(&tensors, p) || count_in_bulk(&gradients, p);
        failed += !p->pass;
        shape_text(p, shape, sizeof shape);
        if (tensors.count && !many && !verbose)
            print_bulk(&tensors); /* they come first */
        if (!many || !p->pass || verbose)
            printf("%-44s %-14s %10.1e %10.1e%s%s%s%s\n", p->name, shape, p->max_rel, p->tolerance,
                   p->pass ? "" : "  FAILS", p->remark ? " (" : "", p->remark ? p->remark : "",
                   p->remark ? ")" : "");
    }
    if (!verbose) {
        print_bulk(&tensors);
        print_bulk(&gradients);
    }
    print_text_check("out.greedy", &r->greedy);
    print_text_check("out.beam4", &r->beam4);
    for (int i = 0; i < r->unchecked_count; i++)
        printf("%-44s not checked: drivetrain does not produce it\n", r->unchecked[i]);
    if (r->remark)
        printf("%s\n", r->remark);
    printf("\n%s: %d points in %s against %s%s%s", r->pass ? "yes" : "NO", r->point_count, r->dtype,
           r->against, r->source ? ", made by " : "", r->source ? r->source : "");
    if (r->first_divergence)
        printf("; first divergence at %s (%d fail)", r->first_divergence, failed);
    printf("\n");
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_verify_report *report;
    dt_verify_options o = {.tolerance = real_of(line, "tolerance", 0),
                           .grad_tolerance = real_of(line, "grad-tolerance", 0),
                           .allow_unchecked = flag(line, "allow-unchecked")};
    const char *recording = text_of(line, "against");
    if (!model_options_of(line, &o.model))
        return DT_EXIT_USAGE;
    if (!recording == (line->positional_count < 2))
        return usage_error(line, "needs either --against REC or a second model");
    dt_status status = recording
                           ? dt_verify(&report, line->positional[0], recording, &o, &err)
                           : dt_verify_models(&report, line->positional[0], line->positional[1], &o, &err);
    if (status != DT_OK)
        return report_failure(&err);
    if (flag(line, "json"))
        print_json(report_json(report, flag(line, "verbose")));
    else
        print_report(report, flag(line, "verbose"));
    dt_exit code = report->pass ? DT_EXIT_DONE : DT_EXIT_FAILED;
    dt_verify_report_destroy(report);
    return code;
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         "OTHER", "a second model, compared on fixed prompts", NULL};
static const char *const examples[] = {"verify t5-small/ --against recording.safetensors",
                                       "verify iter_0001000/ t5-hf/ --dtype bf16", NULL};

const command_spec command_verify = {
    .name = "verify",
    .summary = "replay a recording, or compare two models, and say how far apart they are",
    .usage = "MODEL --against REC | MODEL OTHER [options]",
    .about = "Computes every point that the recording holds (layers, logits, loss, gradients, generated "
             "text) and\n"
             "compares it. Computes in the recording's type unless --dtype is given. -v names every node's "
             "kernel.",
    .positional_min = 1,
    .positional_max = 2,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "Exit: 0 the verdict is yes, 1 it is no (or the check failed), 2 usage.",
    .run = run,
};
