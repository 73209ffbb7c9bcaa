/*
 * trace.c (cli) - `drivetrain trace`: a recording's inputs in, our own recording out.
 */
#include "cli/common.h"

#include <stdio.h>
#include <string.h>

static const option_spec options[] = {
    {"inputs", 0, OPTION_TEXT, "REC", "recording whose in.* tensors are run"},
    {"out", 'o', OPTION_TEXT, "REC", "recording to write"},
    {"grad", 0, OPTION_FLAG, NULL, "also the gradients of the loss"},
    {"freeze", 0, OPTION_TEXT, "PARTS", "tower, projector, language: parts whose gradients are not wanted"},
    {"dtype", 0, OPTION_TEXT, "TYPE", "compute in f32, bf16, f16 or q8_0 [f32]"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* "tower,language" as bits; false: it names something else. */
static bool parts_of(const char *text, unsigned *out)
{
    static const struct {
        const char *name;
        dt_config_part part;
    } parts[] = {{"tower", DT_PART_TOWER}, {"projector", DT_PART_PROJECTOR}, {"language", DT_PART_LANGUAGE}};
    while (text && *text) {
        size_t n = strcspn(text, ","), i = 0;
        while (i < 3 && (strlen(parts[i].name) != n || strncmp(parts[i].name, text, n) != 0))
            i++;
        if (i == 3)
            return false;
        *out |= parts[i].part;
        text += n + (text[n] == ',');
    }
    return true;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_trace_options o = {.gradients = flag(line, "grad")};
    const char *inputs = text_of(line, "inputs"), *out = text_of(line, "out");
    int points = 0;
    if (!inputs || !out)
        return usage_error(line, "needs --inputs REC and --out REC");
    if (!parts_of(text_of(line, "freeze"), &o.frozen))
        return usage_error(line, "--freeze takes tower, projector and language, with commas between");
    if (!model_options_of(line, &o.model))
        return DT_EXIT_USAGE;
    if (dt_trace(line->positional[0], inputs, out, &o, &points, &err) != DT_OK)
        return report_failure(&err);
    if (flag(line, "json"))
        print_json(json_pack("{s:s, s:i}", "path", out, "points", points));
    else if (!flag(line, "quiet"))
        fprintf(stderr, "%d points written to %s\n", points, out);
    return DT_EXIT_DONE;
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         NULL};
static const char *const examples[] = {
    "trace t5-small/ --inputs recording.safetensors --out ours.safetensors",
    "trace gpt2/ --inputs recording.safetensors -o ours.safetensors --grad", NULL};

const command_spec command_trace = {
    .name = "trace",
    .summary = "run a recording's inputs and write every point of the model",
    .usage = "MODEL --inputs REC --out REC [options]",
    .about = "",
    .positional_min = 1,
    .positional_max = 1,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "What it writes is a recording too: verify another machine or backend against it.",
    .run = run,
};
