/*
 * export.c - `drivetrain export`: write a model for another engine, with the proof that it is the same model.
 */
#include "cli/common.h"

#include "base/output.h"
#include "base/text.h"

#include <drivetrain/export.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const option_spec options[] = {
    {"to", 0, OPTION_TEXT, "TARGET", "what to write; --list shows them"},
    {"list", 0, OPTION_FLAG, NULL, "list the targets, their data types and the releases that take them"},
    {"output", 'o', OPTION_TEXT, "PATH", "folder or file to write [MODEL-TARGET]"},
    {"dtype", 0, OPTION_TEXT, "TYPE", "data type to store [as stored]"},
    {"spec", 0, OPTION_TEXT, "NAMES", "te or local: names in Megatron files [te]"},
    {"tp", 0, OPTION_INT, "N", "tensor-parallel ranks to write for [1]"},
    {"pp", 0, OPTION_INT, "N", "pipeline stages [1]"},
    {"vp", 0, OPTION_INT, "N", "virtual stages in each pipeline stage [1]"},
    {"ep", 0, OPTION_INT, "N", "expert-parallel ranks [1]"},
    {"vocab-size-divisible-by", 0, OPTION_INT, "N",
     "pad the vocabulary to a multiple of N times --tp [as stored, or 128]"},
    {"shard-bytes", 0, OPTION_BYTES, "BYTES", "hf: largest file [5G]"},
    {"opset", 0, OPTION_INT, "N", "onnx: version of the operators, 18 to 26 [18]"},
    {"model-type", 0, OPTION_TEXT, "TYPE",
     "trtllm: export as llama, gpt, falcon, … [as source or family says]"},
    {"parallel-embedding", 0, OPTION_FLAG, NULL, "trtllm: cut the embedding by rows among the ranks"},
    {"kv-cache-dtype", 0, OPTION_TEXT, "TYPE", "trtllm: fp8, keys and values kept in 8 bits [as weights]"},
    {"build", 0, OPTION_FLAG, NULL, "trtllm: build the engine, too, by trtllm-build"},
    {"check", 0, OPTION_TEXT, "on|off|peer",
     "reload what was written and compare it; peer: let the target's own runtime answer, too [on]"},
    {"check-text", 0, OPTION_TEXT, "FILE",
     "text that a quantised model is judged on [rows that the source writes]"},
    {"python", 0, OPTION_TEXT, "PROGRAM", "the Python that runs a peer [python3]"},
    {"force", 0, OPTION_FLAG, NULL, "replace an existing output"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* What the command line asks for, checked. */
typedef struct request {
    dt_model_options open;
    dt_export_request export;
    const char *model;
    char output[4096];
} request;

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

/* The peers' scripts: where DRIVETRAIN_PEERS says, else in share/ beside the program or its bin/. */
static const char *peers_folder(char path[4096])
{
    static const char *const place[] = {"share/drivetrain/peers", "../share/drivetrain/peers"};
    const char *given = getenv("DRIVETRAIN_PEERS");
    char self[2048];
    ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);
    while (bytes > 0 && self[bytes - 1] != '/')
        bytes--;
    for (size_t i = 0; !given && bytes > 0 && i < sizeof place / sizeof place[0]; i++) {
        snprintf(path, 4096, "%.*s%s", (int)bytes, self, place[i]);
        if (dt_is_folder(path))
            return path;
    }
    return given ? given : place[0];
}

static bool check_of(const command_line *line, const char *word, dt_export_request *e)
{
    static char folder[4096];
    e->unproved = word && strcmp(word, "off") == 0;
    e->ask_peer = word && strcmp(word, "peer") == 0;
    e->python = text_of(line, "python");
    e->peers = peers_folder(folder);
    if (word && !e->unproved && !e->ask_peer && strcmp(word, "on") != 0)
        return usage_error(line, "--check \"%s\": expected on, off or peer", word), false;
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

/* Options that the target would ignore are refused, not ignored. */
static bool heeded(const command_line *line, const dt_target *target)
{
    static const char *const names[] = {"tp",
                                        "pp",
                                        "vp",
                                        "ep",
                                        "vocab-size-divisible-by",
                                        "spec",
                                        "shard-bytes",
                                        "opset",
                                        "build",
                                        "parallel-embedding",
                                        "model-type",
                                        "kv-cache-dtype"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (option_of(line, names[i])->given && !dt_target_takes(target->options, names[i]))
            return usage_error(line, "--%s says nothing to %s, which heeds: %s", names[i], target->name,
                               target->options[0] ? target->options : "none of these"),
                   false;
    return true;
}

static bool write_options_of(const command_line *line, dt_export_options *e)
{
    bool names_given = text_of(line, "spec") != NULL, cache_given = text_of(line, "kv-cache-dtype") != NULL;
    e->parallel_embedding = flag(line, "parallel-embedding");
    e->vocab_divisible_by = int_of(line, "vocab-size-divisible-by", 0);
    e->shard_bytes = (uint64_t)option_of(line, "shard-bytes")->number;
    e->opset = (int)int_of(line, "opset", 0);
    e->replace = flag(line, "force");
    return count_of(line, "tp", &e->tensor_parallel) && count_of(line, "pp", &e->pipeline_parallel) &&
           count_of(line, "vp", &e->virtual_pipeline) && count_of(line, "ep", &e->expert_parallel) &&
           choice(line, "kv-cache-dtype", "fp8", "auto", cache_given, &e->fp8_kv_cache) &&
           choice(line, "spec", "local", "te", names_given, &e->local_names);
}

static void output_of(const command_line *line, request *r)
{
    const char *output = text_of(line, "output");
    size_t length = strlen(r->model);
    while (length > 1 && r->model[length - 1] == '/')
        length--;
    if (output)
        snprintf(r->output, sizeof r->output, "%s", output);
    else
        snprintf(r->output, sizeof r->output, "%.*s%s%s", (int)length, r->model,
                 strcmp(r->export.target, "gguf") == 0 ? "." : "-", r->export.target);
}

static bool request_of(const command_line *line, request *r)
{
    const dt_target *target;
    dt_error err = {0};
    const char *check = text_of(line, "check");
    if (!model_options_of(line, &r->open))
        return false;
    if (!line->positional_count || !text_of(line, "to"))
        return usage_error(line, "needs a model and --to TARGET; --list shows the targets"), false;
    r->model = line->positional[0];
    r->export = (dt_export_request){.target = text_of(line, "to"),
                                    .type = text_of(line, "dtype"),
                                    .model_type = text_of(line, "model-type"),
                                    .build = flag(line, "build"),
                                    .open = r->open.open,
                                    .proof_memory = (uint64_t)option_of(line, "max-memory")->number / 2};
    r->export.check_text = text_of(line, "check-text");
    r->export.write.log = r->open.open.log;
    r->export.write.threads = r->open.threads;
    if (dt_target_find(r->export.target, &target, &err) != DT_OK)
        return usage_error(line, "--to: %s", err.line[0]), false;
    if (!heeded(line, target) || !write_options_of(line, &r->export.write) ||
        !check_of(line, check, &r->export))
        return false;
    output_of(line, r);
    return true;
}

static json_t *files_json(const char *folder)
{
    json_t *files = json_array();
    if (dt_is_file(folder))
        json_array_append_new(files, json_string(strrchr(folder, '/') ? strrchr(folder, '/') + 1 : folder));
    char *names[256];
    int count = dt_is_folder(folder) ? list_folder(folder, names, 256) : 0;
    for (int i = 0; i < count; i++) {
        json_array_append_new(files, json_string(names[i]));
        dt_free(names[i]);
    }
    return files;
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
    return strncmp(r->export.target, "megatron", 8) == 0;
}

static void print_result(const request *r, const dt_checkpoint *c, const dt_exported *e)
{
    char size[16], rate[16];
    dt_human_bytes(e->written.bytes, size);
    dt_human_bytes((uint64_t)((double)e->written.bytes / (e->seconds > 1e-3 ? e->seconds : 1e-3)), rate);
    printf("%s: %d tensors, %s in %d files, %.2f s (%s/s)\n", r->output, e->written.tensors, size,
           e->written.files, e->seconds, rate);
    if (to_megatron(r))
        print_beyond_megatron(dt_checkpoint_config(c));
    if (e->peer)
        printf("peer: %s (%s; parity.txt has the numbers)\n", e->peer->pass ? "yes" : "NO",
               e->peer->source ? e->peer->source : "the target's runtime");
    if (!e->proof && e->reason)
        printf("check: %s\n", e->reason);
    if (!e->proof && e->note)
        printf("%s\n", e->note);
    if (!e->proof)
        return;
    printf("check: %s (%d points of the reloaded model against the source; parity.txt has them)\n",
           e->proof->pass ? "yes" : "NO", e->proof->point_count);
    if (e->proof->remark)
        printf("%s\n", e->proof->remark);
    if (e->note)
        printf("%s\n", e->note);
    if (e->proof->first_divergence)
        printf("first divergence at %s\n", e->proof->first_divergence);
}

static json_t *result_json(const request *r, const dt_checkpoint *c, const dt_exported *e)
{
    return json_pack("{s:s, s:s, s:o, s:i, s:I, s:o, s:o, s:f, s:I, s:o, s:o}", "format", r->export.target,
                     "path", r->output, "files", files_json(r->output), "tensors", e->written.tensors,
                     "bytes", (json_int_t)e->written.bytes, "skipped", skipped_json(c), "extensions",
                     to_megatron(r) ? beyond_megatron_json(dt_checkpoint_config(c)) : json_array(), "seconds",
                     e->seconds, "peak_bytes", (json_int_t)peak_resident_bytes(), "check",
                     check_json(e->proof), "peer", check_json(e->peer));
}

static dt_exit export_model(const command_line *line, request *r, const dt_checkpoint *c)
{
    dt_error err = {0};
    dt_exported done;
    progress p = progress_start(line, "exporting");
    r->export.write.progress = progress_show;
    r->export.write.user = &p;
    dt_status status = dt_export(&done, c, r->output, &r->export, &err);
    progress_end(&p);
    if (status != DT_OK)
        return report_failure(&err);
    if (flag(line, "json"))
        print_json(result_json(r, c, &done));
    else
        print_result(r, c, &done);
    dt_exit code =
        (done.proof && !done.proof->pass) || (done.peer && !done.peer->pass) ? DT_EXIT_FAILED : DT_EXIT_DONE;
    dt_exported_release(&done);
    return code;
}

static dt_exit list_targets(const command_line *line)
{
    const dt_target *t;
    json_t *list = json_array();
    for (int i = 0; (t = dt_target_at(i)); i++) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", t->name, "about", t->about,
                                        "types", t->types, "options", t->options, "releases", t->releases));
        if (!flag(line, "json"))
            printf("%s%s\n  %s\n  types     %s\n  options   %s\n  taken by  %s\n", i ? "\n" : "", t->name,
                   t->about, t->types, t->options[0] ? t->options : "-", t->releases);
    }
    if (flag(line, "json"))
        print_json(list);
    else
        json_decref(list);
    return DT_EXIT_DONE;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    request r;
    dt_checkpoint *c;
    if (flag(line, "list"))
        return list_targets(line);
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
    .summary = "write a model for another engine, with proof",
    .usage = "MODEL --to TARGET [-o PATH] [options] | --list",
    .about = "Streams tensor by tensor; the output appears under its name only when complete. The "
             "tokenizer's files\n"
             "are copied along.",
    .positional_min = 0,
    .positional_max = 1,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "Exit: 0 written and checked, 1 failed or the check said no, 2 usage.",
    .run = run,
};
