/*
 * export.c - `drivetrain export`: write a model in another format, and check what was written.
 */
#include "cli/common.h"

#include "base/output.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const option_spec options[] = {
    {"to", 0, OPTION_TEXT, "FORMAT", "hf, megatron, megatron-dist or megatron-state"},
    {"output", 'o', OPTION_TEXT, "PATH", "folder to write [MODEL-FORMAT]"},
    {"dtype", 0, OPTION_TEXT, "TYPE", "f32, bf16 or f16 [as stored]"},
    {"spec", 0, OPTION_TEXT, "NAMES", "te or local: names in Megatron files [te]"},
    {"tp", 0, OPTION_INT, "N", "megatron, megatron-dist: tensor-parallel ranks [1]"},
    {"pp", 0, OPTION_INT, "N", "pipeline stages [1]"},
    {"vp", 0, OPTION_INT, "N", "virtual stages in each pipeline stage [1]"},
    {"ep", 0, OPTION_INT, "N", "expert-parallel ranks [1]"},
    {"vocab-size-divisible-by", 0, OPTION_INT, "N",
     "pad the vocabulary to a multiple of N times --tp [as stored, or 128]"},
    {"shard-bytes", 0, OPTION_BYTES, "BYTES", "hf: largest file [5G]"},
    {"check", 0, OPTION_TEXT, "on|off", "reload what was written and compare it: tensors, then numbers [on]"},
    {"force", 0, OPTION_FLAG, NULL, "replace an existing output"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* What the command line asks for, checked. */
typedef struct request {
    dt_model_options open;
    dt_export_options export;
    const char *model;
    char output[4096];
    bool check;
    bool tensors_only; /* the check: the numbers would not fit into memory twice */
} request;

static bool known_format(const char *name)
{
    const dt_format_about *f;
    for (int i = 0; (f = dt_format_at(i)); i++)
        if (f->writes && strcmp(f->name, name) == 0)
            return true;
    return false;
}

/* A word out of two; `otherwise` when the option is not given. */
static bool choice(const command_line *line, const char *option, const char *yes, const char *no,
                   bool otherwise, bool *out)
{
    const char *word = text_of(line, option);
    *out = word ? strcmp(word, yes) == 0 : otherwise;
    if (word && !*out && strcmp(word, no) != 0)
        return usage_error(line, "--%s \"%s\": expected %s or %s", option, word, yes, no), false;
    return true;
}

static bool count_of(const command_line *line, const char *option, int *out)
{
    long long n = (long long)int_of(line, option, 1);
    *out = (int)n;
    if (n < 1 || n > 999)
        return usage_error(line, "--%s %lld: expected 1 to 999", option, n), false;
    return true;
}

/* Ranks to write for. */
static bool layout_of(const command_line *line, dt_export_options *e)
{
    e->vocab_divisible_by = int_of(line, "vocab-size-divisible-by", 0);
    if (!count_of(line, "tp", &e->tensor_parallel) || !count_of(line, "pp", &e->pipeline_parallel) ||
        !count_of(line, "vp", &e->virtual_pipeline) || !count_of(line, "ep", &e->expert_parallel))
        return false;
    bool ranked = strcmp(e->format, "megatron") == 0 || strcmp(e->format, "megatron-dist") == 0;
    static const char *const options_of_ranks[] = {"tp", "pp", "vp", "ep", "vocab-size-divisible-by"};
    for (int i = 0; !ranked && i < 5; i++)
        if (option_of(line, options_of_ranks[i])->given)
            return usage_error(line, "--%s belongs to --to megatron and megatron-dist", options_of_ranks[i]),
                   false;
    return true;
}

static bool request_of(const command_line *line, request *r)
{
    const char *to = text_of(line, "to"), *output = text_of(line, "output");
    dt_export_options *e = &r->export;
    if (!model_options_of(line, &r->open))
        return false;
    r->open.dtype = NULL; /* --dtype is what to write */
    r->model = line->positional[0];
    if (!to)
        return usage_error(line, "needs --to FORMAT"), false;
    if (!known_format(to))
        return usage_error(line,
                           "--to \"%s\": drivetrain writes hf, megatron, megatron-dist and "
                           "megatron-state",
                           to),
               false;
    *e = (dt_export_options){.format = to,
                             .cast = text_of(line, "dtype") != NULL,
                             .shard_bytes = (uint64_t)option_of(line, "shard-bytes")->number,
                             .replace = flag(line, "force"),
                             .log = r->open.open.log};
    if (e->cast && (!dt_dtype_parse(text_of(line, "dtype"), &e->dtype) ||
                    (e->dtype != DT_F32 && e->dtype != DT_BF16 && e->dtype != DT_F16)))
        return usage_error(line, "--dtype \"%s\": expected f32, bf16 or f16", text_of(line, "dtype")), false;
    size_t length = strlen(r->model);
    while (length > 1 && r->model[length - 1] == '/')
        length--;
    if (output)
        snprintf(r->output, sizeof r->output, "%s", output);
    else
        snprintf(r->output, sizeof r->output, "%.*s-%s", (int)length, r->model, to);
    return layout_of(line, e) && choice(line, "spec", "local", "te", false, &e->local_names) &&
           choice(line, "check", "on", "off", true, &r->check);
}

static json_t *files_json(const char *folder)
{
    json_t *files = json_array();
    char *names[256];
    int count = list_folder(folder, names, 256);
    for (int i = 0; i < count; i++) {
        json_array_append_new(files, json_string(names[i]));
        dt_free(names[i]);
    }
    return files;
}

/* The written model against its source, both in f32: casts may move weights, nothing else may. */
static dt_status check_written(const request *r, dt_verify_report **report, dt_error *err)
{
    dt_verify_options o = {.model = r->open, .tensors_only = r->tensors_only};
    o.model.dtype = "f32";
    if (r->export.cast && r->export.dtype != DT_F32)
        o.tolerance = r->export.dtype == DT_BF16 ? 4e-2 : 5e-3; /* eight and eleven significant bits */
    return dt_verify_models(report, r->output, r->model, &o, err);
}

static json_t *check_json(const dt_verify_report *report)
{
    double farthest = 0;
    for (int i = 0; report && i < report->point_count; i++)
        if (report->points[i].max_rel > farthest)
            farthest = report->points[i].max_rel;
    return report ? json_pack("{s:b, s:f, s:i, s:f, s:s?}", "pass", report->pass, "tolerance",
                              report->tolerance, "points", report->point_count, "farthest", farthest,
                              "first_divergence", report->first_divergence)
                  : json_null();
}

static bool to_megatron(const request *r)
{
    return strncmp(r->export.format, "megatron", 8) == 0;
}

static void print_result(const request *r, const dt_checkpoint *c, const dt_export_result *result,
                         const dt_verify_report *report, double seconds)
{
    char size[16], rate[16];
    dt_human_bytes(result->bytes, size);
    dt_human_bytes((uint64_t)((double)result->bytes / (seconds > 1e-3 ? seconds : 1e-3)), rate);
    printf("%s: %d tensors, %s in %d files, %.2f s (%s/s)\n", r->output, result->tensors, size, result->files,
           seconds, rate);
    if (to_megatron(r))
        print_beyond_megatron(dt_checkpoint_config(c));
    if (report)
        printf("check: %s (%d points of the reloaded model against the source)\n",
               report->pass ? "yes" : "NO", report->point_count);
    if (report && report->remark)
        printf("%s\n", report->remark);
    if (report && report->first_divergence)
        printf("first divergence at %s\n", report->first_divergence);
}

/* Both models computed in f32 take eight bytes a parameter: within what is allowed, or a quarter of the machine. */
static bool too_large_to_compute(const command_line *line, const dt_checkpoint *c)
{
    const option_value *limit = option_of(line, "max-memory");
    double machine = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double room = limit->given ? (double)limit->number / 2 : machine / 4;
    return 8.0 * (double)dt_checkpoint_describe(c).parameters > room;
}

static dt_exit export_model(const command_line *line, request *r, const dt_checkpoint *c)
{
    dt_error err = {0};
    dt_export_result result;
    dt_verify_report *report = NULL;
    progress p = progress_start(line, "exporting");
    double started = seconds_now();
    r->export.progress = progress_show;
    r->export.user = &p;
    dt_status status = dt_checkpoint_export(c, r->output, &r->export, &result, &err);
    progress_end(&p);
    double seconds = seconds_now() - started;
    if (status != DT_OK)
        return report_failure(&err);
    r->tensors_only = too_large_to_compute(line, c);
    if (r->check && check_written(r, &report, &err) != DT_OK)
        return report_failure(&err);
    if (flag(line, "json"))
        print_json(json_pack("{s:s, s:s, s:o, s:i, s:I, s:o, s:o, s:f, s:I, s:o}", "format", r->export.format,
                             "path", r->output, "files", files_json(r->output), "tensors", result.tensors,
                             "bytes", (json_int_t)result.bytes, "skipped", skipped_json(c), "extensions",
                             to_megatron(r) ? beyond_megatron_json(dt_checkpoint_config(c)) : json_array(),
                             "seconds", seconds, "peak_bytes", (json_int_t)peak_resident_bytes(), "check",
                             check_json(report)));
    else
        print_result(r, c, &result, report, seconds);
    dt_exit code = report && !report->pass ? DT_EXIT_FAILED : DT_EXIT_DONE;
    dt_verify_report_destroy(report);
    return code;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    request r;
    dt_checkpoint *c;
    if (!request_of(line, &r))
        return DT_EXIT_USAGE;
    catch_interrupt();
    if (dt_checkpoint_open(&c, r.model, &r.open.open, &err) != DT_OK)
        return report_failure(&err);
    dt_exit code = export_model(line, &r, c);
    dt_checkpoint_close(c);
    return code;
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         NULL};
static const char *const examples[] = {"export iter_0001000/ --to hf -o llama-hf/",
                                       "export t5-small/ --to megatron-state --dtype bf16",
                                       "export llama-hf/ --to megatron-dist --tp 4 --pp 2", NULL};

const command_spec command_export = {
    .name = "export",
    .summary = "write a model in another format",
    .usage = "MODEL --to FORMAT [-o PATH] [options]",
    .about = "Streams tensor by tensor; the output appears under its name only when complete. The "
             "tokenizer's files\n"
             "are copied along.",
    .positional_min = 1,
    .positional_max = 1,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "Exit: 0 written and checked, 1 failed or the check said no, 2 usage.",
    .run = run,
};
